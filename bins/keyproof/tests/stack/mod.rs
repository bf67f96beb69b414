//! A server with a dialect for tests, and a client that sends raw bytes.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "test code"
)]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{StatusCode, header};
use keyproof::{
    config::{Config, Sources},
    server::Server,
};
use keyproof_http::{
    Application, BoxFuture, Exchange, RequestId, RequestPath, Response, StackRefusal, json,
};
use keyproof_store::SystemEntropy;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    time::timeout,
};

/// Long enough for any machine: it only ends tests that hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// The number of bytes that the test dialect allows in a body of `/trial/echo` and `/trial/write`.
pub(crate) const NEEDED: usize = 1 << 30;

/// The test dialect's state and counters.
pub(crate) struct Trial {
    /// Each permit lets one `/trial/write` or `/trial/wait` continue.
    pub(crate) gate: Semaphore,
    /// The number of `/trial/write` and `/trial/wait` that wait for a permit.
    pub(crate) waiting: Semaphore,
    /// The number of writes.
    pub(crate) writes: AtomicUsize,
    /// Whether the store is reported as ready.
    pub(crate) ready: AtomicBool,
}

impl Trial {
    async fn pass(&self) {
        self.waiting.add_permits(1);
        self.gate.acquire().await.unwrap().forget();
    }

    /// Waits until a handler waits for a permit.
    pub(crate) async fn handler_waits(&self) {
        within(self.waiting.acquire()).await.unwrap().forget();
    }

    /// Waits for this number of writes.
    pub(crate) async fn written(&self, writes: usize) {
        let reached = async {
            while self.writes.load(Ordering::SeqCst) != writes {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        within(reached).await;
    }
}

struct TrialDialect {
    trial: Arc<Trial>,
}

impl Application for TrialDialect {
    fn name(&self) -> &'static str {
        "taler"
    }

    fn claims(&self, path: &RequestPath) -> bool {
        path.starts_with(&["trial"])
    }

    fn handle(self: Arc<Self>, mut exchange: Exchange) -> BoxFuture<Response> {
        Box::pin(async move {
            let path = exchange.path().clone();
            let Ok(segments) = path.segments() else {
                return json(StatusCode::BAD_REQUEST, &json!({ "refused": "path" }));
            };
            if segments.len() == 2 {
                exchange.matched("/trial/{what}");
            }
            match segments.as_slice() {
                ["trial", "panic"] => panic!("on purpose"),
                ["trial", "unread"] => json(StatusCode::UNAUTHORIZED, &json!({})),
                ["trial", "client"] => json(
                    StatusCode::OK,
                    &json!({ "client": exchange.client_address().to_string() }),
                ),
                ["trial", "host"] => json(
                    StatusCode::OK,
                    &json!({ "host": exchange.header(&header::HOST) }),
                ),
                ["trial", "wait"] => {
                    self.trial.pass().await;
                    json(StatusCode::OK, &json!({}))
                }
                ["trial", what @ ("echo" | "echo_later" | "write")] => {
                    if *what == "echo_later" {
                        self.trial.pass().await;
                    }
                    let body = match exchange.body(NEEDED).await {
                        Ok(body) => body,
                        Err(refusal) => return self.refuse(refusal, exchange.request_id()),
                    };
                    if *what == "write" {
                        self.trial.pass().await;
                        self.trial.writes.fetch_add(1, Ordering::SeqCst);
                    }
                    json(StatusCode::OK, &json!({ "read": body.len() }))
                }
                _ => json(StatusCode::NOT_FOUND, &json!({})),
            }
        })
    }

    fn refuse(&self, refusal: StackRefusal, _: RequestId) -> Response {
        json(refusal.status(), &json!({ "refused": refusal.to_string() }))
    }
}

/// A running server.
pub(crate) struct Stack {
    pub(crate) server: Server,
    pub(crate) address: SocketAddr,
    pub(crate) trial: Arc<Trial>,
}

impl Stack {
    /// Starts with limits that no test reaches, except the given ones.
    pub(crate) async fn start(flags: &[(&'static str, toml::Value)]) -> Self {
        let trial = Arc::new(Trial {
            gate: Semaphore::new(0),
            waiting: Semaphore::new(0),
            writes: AtomicUsize::new(0),
            ready: AtomicBool::new(true),
        });
        let patience = i64::try_from(PATIENCE.as_millis()).unwrap();
        let mut all: Vec<(&'static str, toml::Value)> = vec![
            ("http.listen", "127.0.0.1:0".into()),
            ("http.header_timeout_ms", patience.into()),
            ("http.body_timeout_ms", patience.into()),
            ("http.handler_timeout_ms", patience.into()),
            ("http.max_body_bytes", 1000.into()),
            ("store.url", "memory:".into()),
        ];
        all.extend_from_slice(flags);
        let config = Config::load(&Sources {
            flags: all,
            ..Sources::default()
        })
        .unwrap();
        let dialect = Arc::new(TrialDialect {
            trial: Arc::clone(&trial),
        });
        let asked = Arc::clone(&trial);
        let server = Server::start_with(
            Arc::new(config),
            vec![(dialect, None)],
            Arc::new(move || {
                let ready = asked.ready.load(Ordering::SeqCst);
                let no_warnings: &[&str] = &[];
                Box::pin(async move { ready.then_some(no_warnings).ok_or("on purpose") })
            }),
            Arc::new(SystemEntropy::new()),
        )
        .await
        .unwrap();
        Self {
            address: server.address(),
            server,
            trial,
        }
    }

    pub(crate) async fn connect(&self) -> Client {
        Client::connect(self.address).await
    }

    pub(crate) async fn connect_with(&self, bytes: impl AsRef<[u8]>) -> Client {
        Client::connect_with(self.address, bytes).await
    }

    /// Sends bytes on a new connection and returns the first answer.
    pub(crate) async fn send(&self, bytes: impl AsRef<[u8]>) -> Answer {
        self.connect_with(bytes).await.answer().await
    }

    /// Asserts that the server still serves.
    pub(crate) async fn serves(&self) {
        let answer = self.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(answer.status, 200);
    }
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("the test hangs")
}

/// A connection.
pub(crate) struct Client {
    pub(crate) socket: TcpStream,
    received: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let socket = within(TcpStream::connect(address)).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Self {
            socket,
            received: Vec::new(),
        }
    }

    /// Connects and sends bytes.
    pub(crate) async fn connect_with(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Self {
        let mut client = Self::connect(address).await;
        client.send(bytes).await;
        client
    }

    /// Sends bytes. A connection that the server has closed is not an error.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = within(self.socket.write_all(bytes.as_ref())).await;
    }

    /// Shuts down the write side; reading continues.
    pub(crate) async fn finish(&mut self) {
        within(self.socket.shutdown()).await.unwrap();
    }

    /// Reads one answer.
    pub(crate) async fn answer(&mut self) -> Answer {
        loop {
            if let Some(answer) = Answer::take(&mut self.received) {
                return answer;
            }
            let more = self.read_more().await;
            assert!(
                more,
                "closed after {:?}",
                String::from_utf8_lossy(&self.received)
            );
        }
    }

    /// Reads until the server closes, and returns the received bytes.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.read_more().await {}
        std::mem::take(&mut self.received)
    }

    async fn read_more(&mut self) -> bool {
        within(self.socket.read_buf(&mut self.received))
            .await
            .unwrap()
            > 0
    }
}

/// An answer as received.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    fn take(received: &mut Vec<u8>) -> Option<Self> {
        // The last character may be incomplete.
        let text = String::from_utf8(received.clone()).ok()?;
        let (head, rest) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Self {
            status,
            head: head.to_ascii_lowercase(),
            body: String::new(),
        };
        let length = answer
            .header("content-length")
            .map_or(0, |length| length.parse().unwrap());
        answer.body = rest.get(..length)?.to_owned();
        received.drain(..head.len() + 4 + length);
        Some(answer)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields
            .find(|(field, _)| *field == name)
            .map(|(_, value)| value)
    }

    /// Asserts a refusal: this status, in the dialect's form, with a request id.
    #[track_caller]
    pub(crate) fn refuses(&self, status: u16) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.body.starts_with("{\"refused\":"), "{self:?}");
        let id = self.header("x-request-id").expect("a request id");
        assert!(
            id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{id}"
        );
    }

    /// Returns whether the answer announces that the server closes the connection.
    pub(crate) fn closes(&self) -> bool {
        self.header("connection") == Some("close")
    }
}
