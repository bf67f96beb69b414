//! A client: one connection per request, to any node that is running.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    net::TcpStream,
    sync::watch,
    time::{sleep, timeout},
};

use crate::node::PATIENCE;

/// The addresses of the running nodes.
#[derive(Clone)]
pub(crate) struct Fleet(Arc<watch::Sender<Vec<Option<SocketAddr>>>>);

impl Fleet {
    /// Creates a fleet of this many nodes, none of which is running.
    pub(crate) fn of(nodes: usize) -> Self {
        Self(Arc::new(watch::Sender::new(vec![None; nodes])))
    }

    pub(crate) fn up(&self, node: usize, address: SocketAddr) {
        self.0.send_modify(|nodes| nodes[node] = Some(address));
    }

    pub(crate) fn down(&self, node: usize) {
        self.0.send_modify(|nodes| nodes[node] = None);
    }

    /// Returns the preferred node, or the next running one. Waits until there is one.
    async fn pick(&self, wish: usize) -> SocketAddr {
        let next = |nodes: &[Option<SocketAddr>]| {
            let count = nodes.len();
            (0..count).find_map(|step| nodes[(wish + step) % count])
        };
        let mut nodes = self.0.subscribe();
        let up = nodes.wait_for(|nodes| next(nodes).is_some()).await;
        let up = up.expect("the fleet outlives its clients");
        next(&up).expect("one is up")
    }
}

/// A request.
#[derive(Clone)]
pub(crate) struct Call {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Call {
    pub(crate) fn new(method: &'static str, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            headers: Vec::new(),
            body: String::new(),
        }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    pub(crate) fn json(mut self, body: &Value) -> Self {
        self.body = body.to_string();
        self
    }

    /// Sends the request to a node that accepts it, and waits for the answer.
    pub(crate) async fn send(&self, fleet: &Fleet, wish: usize) -> Reply {
        let reply = timeout(PATIENCE, async {
            loop {
                match TcpStream::connect(fleet.pick(wish).await).await {
                    Ok(stream) => return self.exchange(stream).await.unwrap_or(Reply::Broken),
                    // The node is gone, and nothing was sent.
                    Err(_) => sleep(Duration::from_millis(2)).await,
                }
            }
        });
        let Ok(reply) = reply.await else {
            panic!("{} {}: no answer, and no end", self.method, self.path)
        };
        reply
    }

    /// Repeats the request until a node returns its outcome. For requests that change nothing that is checked.
    pub(crate) async fn insist(&self, fleet: &Fleet, wish: usize) -> Answer {
        let answered = timeout(PATIENCE, async {
            loop {
                match self.send(fleet, wish).await {
                    Reply::Answered(answer) if answer.status < 500 => return answer,
                    _ => sleep(Duration::from_millis(10)).await,
                }
            }
        });
        let Ok(answer) = answered.await else {
            panic!("{} {}: never answered", self.method, self.path)
        };
        answer
    }

    async fn exchange(&self, stream: TcpStream) -> hyper::Result<Reply> {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(self.method)
            .uri(&self.path)
            .header(header::HOST, "localhost");
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let body = Full::new(Bytes::from(self.body.clone()));
        let request = request.body(body).expect("a well-formed request");
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        let header = |name: &str| {
            let value = head.headers.get(name)?;
            Some(value.to_str().expect("plain text").to_owned())
        };
        if head.status == StatusCode::SERVICE_UNAVAILABLE && self.path != "/readyz" {
            // A change that took too long may have been made, so its answer must not tell the client to retry.
            let is_told = header("retry-after").is_some();
            let said = String::from_utf8_lossy(&body);
            let may_be_made = ["it is not known whether it is carried out", "503001"]
                .iter()
                .any(|words| said.contains(words));
            assert!(is_told || may_be_made, "{}: {head:?} {body:?}", self.path);
        }
        Ok(Reply::Answered(Answer {
            status: head.status.as_u16(),
            request_id: header("x-request-id").or_else(|| header("x-ms-request-id")),
            json: serde_json::from_slice(&body).unwrap_or_default(),
            body: String::from_utf8_lossy(&body).into_owned(),
        }))
    }
}

/// The outcome of a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Answered(Answer),
    /// The connection broke after it was made, so the request may have arrived.
    Broken,
}

#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The id in the audit trail.
    pub(crate) request_id: Option<String>,
    pub(crate) json: Value,
    pub(crate) body: String,
}

impl Answer {
    /// Returns the member with this name of an answer that must have status 200.
    #[track_caller]
    pub(crate) fn text(&self, member: &str) -> String {
        assert_eq!(self.status, 200, "{self:?}");
        let text = self.json[member].as_str();
        text.unwrap_or_else(|| panic!("no {member} in {self:?}"))
            .to_owned()
    }
}
