//! A server in this process, whose clock and store the test controls, and a client for it.
#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "test code")]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use keyproof::{
    config::{Config, Sources},
    server::Server,
};
use keyproof_auth::operator::OperatorScopes;
use keyproof_service::{
    Clock, CommandLine, ManualClock, Origin, Principal, Requester, Service,
    access::NewOperatorToken, audit::Event, otp_devices::InstanceAdministrator,
};
use keyproof_store::{Engine, MasterKey, MasterKeys, Prefix, Raw, Store, SystemEntropy, Timestamp};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::Barrier,
};
use zeroize::Zeroizing;

use crate::{late, sites::console::operator::Operator};

/// A configuration key and its value.
pub(crate) type Flag = (&'static str, toml::Value);

/// Asserts the properties of every answer of a dialect. The flag is whether the method was `HEAD`.
pub(crate) type EveryAnswer = fn(&Answer, bool);

/// The server's time limits, in milliseconds, which no machine reaches.
const PATIENCE_MS: i64 = 120_000;

pub(crate) struct Site {
    pub(crate) server: Server,
    pub(crate) config: Arc<Config>,
    pub(crate) keys: MasterKeys,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) store: Store,
    /// The use cases that commands have, as in another process.
    pub(crate) console: Arc<Service>,
    /// A token with all of an operator's permissions that the dialect has; empty if it has none.
    pub(crate) admin: String,
    every_answer: EveryAnswer,
}

impl Site {
    /// Starts with the clock at this time, and with time limits that no test reaches, except the given ones.
    pub(crate) async fn set_up(
        now: Timestamp,
        engine: Arc<dyn Engine>,
        flags: &[Flag],
        every_answer: EveryAnswer,
    ) -> Self {
        let mut all = vec![
            ("http.listen", "127.0.0.1:0".into()),
            ("http.header_timeout_ms", PATIENCE_MS.into()),
            ("http.body_timeout_ms", PATIENCE_MS.into()),
            ("http.handler_timeout_ms", PATIENCE_MS.into()),
            ("store.url", "memory:".into()),
            ("auth.argon2_memory_kib", 8.into()),
            ("auth.argon2_iterations", 1.into()),
            ("auth.argon2_insecure_for_tests", true.into()),
        ];
        all.extend_from_slice(flags);
        let config = Config::load(&Sources {
            flags: all,
            ..Sources::default()
        });
        let config = Arc::new(config.unwrap());
        let entropy = Arc::new(SystemEntropy::new());
        let clock = Arc::new(ManualClock::new(now));
        let keys = MasterKeys::new(&MasterKey::generate(&*entropy));
        let store = Store::open(engine, keys.clone(), entropy.clone(), clock.now());
        let store = store.await.unwrap();
        let server = Server::start(config.clone(), store.clone(), clock.clone(), entropy);
        let console = Service::start(store.clone(), clock.clone(), config.hashing);
        Self {
            server: server.await.unwrap(),
            console: console.await.unwrap(),
            config,
            keys,
            clock,
            store,
            admin: String::new(),
            every_answer,
        }
    }

    /// Returns the time of the clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Creates a new operator's token.
    pub(crate) async fn operator_token(
        &self,
        scopes: &[&str],
        lifetime: Option<Duration>,
    ) -> String {
        let new = NewOperatorToken {
            subject: "test".to_owned(),
            scopes: OperatorScopes::parse(scopes.iter().copied()).unwrap(),
            lifetime,
        };
        let issued = self.console.access.create(new, &command_line()).await;
        issued.unwrap().text.to_string()
    }

    /// Returns a browser that is signed in to the console with a new token of these scopes, and the token.
    pub(crate) async fn operator(&self, scopes: &[&str]) -> (Operator, String) {
        let token = self.operator_token(scopes, None).await;
        let operator = Operator::signed_in(self.server.address(), &token).await;
        (operator, token)
    }

    /// Returns the events of the audit trail, in order of time.
    pub(crate) async fn events(&self) -> Vec<Event> {
        let events = self.console.audit.events(Timestamp::EPOCH, None).await;
        let events = events.unwrap().into_iter();
        events.map(|(_, event)| event).collect()
    }

    /// Returns those of this action.
    pub(crate) async fn events_of(&self, action: &str) -> Vec<Event> {
        let mut events = self.events().await;
        events.retain(|event| event.action == action);
        events
    }

    /// Returns the stored records of a collection.
    pub(crate) async fn rows(&self, collection: &str) -> Vec<Raw> {
        let all = Prefix::collection(collection);
        let rows = self.store.scan_raw(&all, None, usize::MAX, self.now());
        rows.await.unwrap()
    }

    /// Returns all stored records, including those that have expired.
    pub(crate) async fn all_rows(&self) -> Vec<Raw> {
        let (all, epoch) = (Prefix::all(), Timestamp::EPOCH);
        let rows = self.store.scan_raw(&all, None, usize::MAX, epoch);
        rows.await.unwrap()
    }

    /// Removes the records of these collections, which have some.
    pub(crate) async fn lose(&self, collections: &[&str]) {
        let mut batch = self.store.batch(self.now());
        for collection in collections {
            let rows = self.rows(collection).await;
            assert!(!rows.is_empty(), "{collection}");
            for row in rows {
                batch.remove(row.key(), row.version());
            }
        }
        self.store.commit(batch).await.unwrap();
    }

    /// Returns a request to exactly this target, with nothing else.
    pub(crate) fn call(&self, method: &str, target: &str) -> Call {
        Call {
            address: self.server.address(),
            request: Request::builder()
                .method(method)
                .uri(target)
                .header(header::HOST, "localhost"),
            body: Bytes::new(),
            every_answer: self.every_answer,
        }
    }
}

/// Makes the server trust the proxies on this machine, so that a test can choose the client's address.
pub(crate) fn trusted_proxy() -> Flag {
    ("http.trusted_proxies", vec!["127.0.0.0/8"].into())
}

/// Requests a list whose answer is read no further than its beginning. Returns the connection, and the beginning.
pub(crate) async fn begin_list(
    address: SocketAddr,
    target: &str,
    authorization: &str,
) -> (TcpStream, [u8; 100]) {
    let head =
        format!("GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n\r\n");
    begin(address, &head).await
}

/// Sends this head and reads the answer no further than its beginning. Returns the connection, and the beginning.
pub(crate) async fn begin(address: SocketAddr, head: &str) -> (TcpStream, [u8; 100]) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut beginning = [0; 100];
    stream.read_exact(&mut beginning).await.unwrap();
    (stream, beginning)
}

pub(crate) fn secret(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_owned())
}

/// Returns the user of a command on this instance.
pub(crate) fn administrator(instance: &str) -> InstanceAdministrator {
    InstanceAdministrator::of_command_line(&CommandLine::of("test".to_owned()), instance)
}

pub(crate) fn console_origin() -> Origin {
    Origin {
        who: Principal::CommandLine("test".to_owned()),
        request_id: None,
        address: None,
        requester: Requester::default(),
        warrants: Vec::new(),
    }
}

/// The same with a command's permissions.
pub(crate) fn command_line() -> CommandLine {
    CommandLine::of("test".to_owned())
}

/// A request to be sent.
pub(crate) struct Call {
    pub(crate) address: SocketAddr,
    request: http::request::Builder,
    body: Bytes,
    every_answer: EveryAnswer,
}

impl Call {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// Marks the answer as not being in the form of the dialect under test.
    pub(crate) fn of_another_dialect(mut self) -> Self {
        self.every_answer = |_, _| {};
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) async fn send(self) -> Answer {
        self.send_with(&Barrier::new(1)).await
    }

    /// Sends the request with this token.
    pub(crate) async fn send_as(self, token: &str) -> Answer {
        self.bearer(token).send().await
    }

    /// Connects, and sends once all others at the barrier have connected too.
    pub(crate) async fn send_with(self, others: &Barrier) -> Answer {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        others.wait().await;
        let request = self.request.body(Full::new(self.body)).unwrap();
        let is_head = request.method() == Method::HEAD;
        let response = sender.send_request(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let answer = Answer::of(head.status, head.headers, body);
        (self.every_answer)(&answer, is_head);
        answer
    }

    /// Sends the end of the body only after `meanwhile`, when the head was already checked.
    pub(crate) async fn send_late(self, meanwhile: impl Future<Output = ()>) -> Answer {
        let request = self.request.body(()).unwrap();
        let first = format!("{} {} HTTP/1.1\r\n", request.method(), request.uri());
        let fields = request.headers().iter();
        let fields = fields.map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap()));
        let head: String = [first].into_iter().chain(fields).collect();
        let sent = late::send(self.address, &head, &self.body, meanwhile).await;
        let answer = Answer::of(sent.0, sent.1, sent.2);
        (self.every_answer)(&answer, false);
        answer
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) json: Value,
}

impl Answer {
    fn of(status: StatusCode, headers: HeaderMap, body: Bytes) -> Self {
        Self {
            status,
            headers,
            json: serde_json::from_slice(&body).unwrap_or(Value::Null),
            body,
        }
    }

    /// Returns a header's value, empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    pub(crate) fn is(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// Asserts that this header contains a request id.
    #[track_caller]
    pub(crate) fn is_identified_in(&self, header: &str) {
        let id = self.header(header);
        assert!(
            id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()),
            "{self:?}"
        );
    }
}
