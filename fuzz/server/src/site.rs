//! A whole server in this process, with an in-memory store and a stopped clock, and one client of it.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use data_encoding::BASE64;
use keyproof::{
    config::{Config, Sources},
    server::Server,
};
use keyproof_auth::operator::OperatorScopes;
use keyproof_service::{
    Clock, CommandLine, ManualClock, Service,
    access::NewOperatorToken,
    otp_devices::{InstanceAdministrator, Lifetime, TokenRequest},
};
use keyproof_store::{
    MasterKey, MasterKeys, Store, SystemEntropy, Timestamp, memory::MemoryEngine,
};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use zeroize::Zeroizing;

use crate::{dps, stations, taler};

/// The password of Taler's default instance.
pub(crate) const PASSWORD: &str = "correct horse";

/// A time in 2027 at which the devices' certificates are valid, in seconds since the Unix epoch.
const NOW: u64 = 1_800_000_000;

/// Runs after which the server is replaced: each run leaves events in the store, which would grow without limit.
const RUNS: u32 = 50_000;

/// An answer that takes longer is a finding.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running server.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    /// A token with all permissions for Taler's default instance.
    pub(crate) taler: String,
    /// A token with all permissions for certificates.
    pub(crate) dps: String,
    /// A token with all permissions for TPMs.
    pub(crate) f5: String,
    /// What the server has issued to a device.
    pub(crate) given: stations::Given,
    client: Option<TcpStream>,
    left: u32,
    _server: Server,
    _runtime: Runtime,
}

/// A complete answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The header fields, as received.
    pub(crate) head: String,
    /// Null if there is no body.
    pub(crate) json: Value,
}

static SITE: Mutex<Option<Site>> = Mutex::new(None);

/// Runs with the server. Starts it at first, and replaces it from time to time.
pub(crate) fn with_site(run: impl FnOnce(&mut Site)) {
    let mut place = SITE.lock().unwrap_or_else(PoisonError::into_inner);
    if place.as_ref().is_none_or(|site| site.left == 0) {
        *place = None;
        let mut site = Site::start();
        dps::prepare(&mut site);
        taler::prepare(&mut site);
        stations::prepare(&mut site);
        *place = Some(site);
    }
    if let Some(site) = place.as_mut() {
        site.left -= 1;
        run(site);
    }
}

impl Site {
    fn start() -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let (server, taler, [dps, f5]) = runtime.block_on(started());
        Self {
            address: server.address(),
            taler,
            dps,
            f5,
            given: stations::Given::default(),
            client: None,
            left: RUNS,
            _server: server,
            _runtime: runtime,
        }
    }

    /// Sends a request on the existing connection. Asserts that the answer is not a 5xx, and that a body, if there is one, is JSON.
    pub(crate) fn send(&mut self, request: &str, fields: &str, body: &[u8]) -> Answer {
        let length = body.len();
        let head = format!(
            "{request} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{fields}\r\n"
        );
        let request = [head.as_bytes(), body].concat();
        // The server may have closed a connection that was idle for long, as after the machine was suspended. Only then is the
        // request sent again.
        let kept = self.client.take().and_then(|mut client| {
            client.write_all(&request).ok()?;
            Some((receive(&mut client)?, client))
        });
        let (answer, client) = kept.unwrap_or_else(|| {
            let mut client = connect(self.address);
            client.write_all(&request).expect("it is read");
            let answer = receive(&mut client).expect("an answer");
            (answer, client)
        });
        if !answer.head.contains("connection: close") {
            self.client = Some(client);
        }
        assert!((200..500).contains(&answer.status), "{answer:?}");
        answer
    }

    /// Sends a request with a bearer token.
    pub(crate) fn call(&mut self, request: &str, token: &str, more: &str, body: &[u8]) -> Answer {
        let fields = format!("Authorization: Bearer {token}\r\n{more}");
        self.send(request, &fields, body)
    }

    /// Sends a request with the password of the default instance.
    pub(crate) fn log_in(&mut self, request: &str, more: &str, body: &[u8]) -> Answer {
        let credentials = BASE64.encode(format!("default:{PASSWORD}").as_bytes());
        let fields = format!("Authorization: Basic {credentials}\r\n{more}");
        self.send(request, &fields, body)
    }
}

/// Returns a connection with a read timeout.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).expect("it listens");
    client.set_nodelay(true).expect("an option");
    client.set_read_timeout(Some(PATIENCE)).expect("an option");
    client
}

/// Returns `None` if the connection was closed before the first byte of an answer.
fn receive(client: &mut TcpStream) -> Option<Answer> {
    let mut received = Vec::new();
    let mut buffer = [0; 8192];
    let mut more = |received: &mut Vec<u8>| {
        let len = loop {
            match client.read(&mut buffer) {
                // libFuzzer's own timer interrupts reads.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset && received.is_empty() => {
                    break 0;
                }
                read => break read.expect("an answer in time"),
            }
        };
        assert!(
            len > 0 || received.is_empty(),
            "cut: {}",
            String::from_utf8_lossy(received)
        );
        received.extend_from_slice(&buffer[..len]);
        len > 0
    };
    let body = loop {
        let end = received.windows(4).position(|end| end == b"\r\n\r\n");
        match end {
            Some(end) => break end + 4,
            None if more(&mut received) => {}
            None => return None,
        }
    };
    let head = str::from_utf8(&received[..body]).expect("a head is ASCII");
    let head = head.to_ascii_lowercase();
    let status = head.get(9..12).and_then(|status| status.parse().ok());
    let status = status.expect("a status");
    let length =
        field(&head, "content-length").map_or(0, |length| length.parse().expect("a length"));
    while received.len() < body + length {
        more(&mut received);
    }
    assert_eq!(received.len(), body + length, "more than it announces");
    let json = match &received[body..] {
        [] => Value::Null,
        json => serde_json::from_slice(json).expect("JSON"),
    };
    Some(Answer { status, head, json })
}

/// Returns the value of a field of a head, whose name is given in lower case.
pub(crate) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix(':');
    head.lines().find_map(value).map(str::trim)
}

async fn started() -> (Server, String, [String; 2]) {
    let config = Config::load(&Sources {
        flags: vec![
            ("http.listen", "127.0.0.1:0".into()),
            ("store.url", "memory:".into()),
            ("taler.currency", "EUR".into()),
            ("dps.allow_unproven", false.into()),
            ("auth.address_limit", 0.into()),
            ("auth.argon2_memory_kib", 8.into()),
            ("auth.argon2_iterations", 1.into()),
            ("auth.argon2_insecure_for_tests", true.into()),
        ],
        ..Sources::default()
    });
    let config = Arc::new(config.unwrap_or_else(|error| panic!("{error}")));
    let entropy = Arc::new(SystemEntropy::new());
    let clock = Arc::new(ManualClock::new(Timestamp::from_secs(NOW)));
    let keys = MasterKeys::new(&MasterKey::generate(&*entropy));
    let engine = Arc::new(MemoryEngine::new());
    let store = Store::open(engine, keys, entropy.clone(), clock.now())
        .await
        .expect("an empty store");
    let service = Service::start(store.clone(), clock.clone(), config.hashing)
        .await
        .expect("use cases");
    let root = CommandLine::of("fuzz".to_owned());

    let password = || Zeroizing::new(PASSWORD.to_owned());
    let devices = &service.otp_devices;
    devices
        .set_password(
            &InstanceAdministrator::of_command_line(&root, "default"),
            password(),
        )
        .await
        .expect("an instance");
    let login = devices
        .log_in("default", "default", password(), root.origin())
        .await
        .unwrap_or_else(|_| panic!("the right password"));
    let request = TokenRequest {
        scope: "all".parse().expect("a scope"),
        lifetime: Lifetime::Forever,
        description: None,
    };
    let taler = devices
        .issue(&login, &request)
        .await
        .unwrap_or_else(|_| panic!("a token"));
    let operator = async |scope: &str| {
        let new = NewOperatorToken {
            subject: "fuzz".to_owned(),
            scopes: OperatorScopes::parse([scope]).expect("a scope"),
            lifetime: None,
        };
        let token = service.access.create(new, &root).await;
        token.unwrap_or_else(|_| panic!("a token")).text.to_string()
    };
    let operators = [operator("certificates").await, operator("tpm").await];
    let server = Server::start(config, store, clock, entropy)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let taler = format!("secret-token:{}", *taler.text);
    (server, taler, operators)
}
