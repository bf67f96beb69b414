//! Audit events for systemd's journal, which a datagram socket replaces here.

use std::{
    collections::BTreeMap, io::ErrorKind, net::SocketAddr, num::NonZeroUsize,
    os::unix::net::UnixDatagram, path::Path, sync::Arc, time::Duration,
};

use keyproof::{
    config::{Config, Sources},
    server::Server,
};
use keyproof_service::{AddressLimit, Clock, HashingSettings, Service, SystemClock};
use keyproof_store::{
    Engine, MasterKey, MasterKeys, Store, SystemEntropy,
    faults::{CommitMode, FaultyEngine},
    memory::MemoryEngine,
};
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::{
    stack::{Client, within},
    taler::site::administrator,
};

/// Each login attempt with this password has its own event.
const LOGIN: &str = r#"{"username":"nobody@example.com","password":"hidden-secret"}"#;

async fn start(socket: &Path) -> Server {
    start_on(socket, store(Arc::new(MemoryEngine::new())).await).await
}

/// Opens a store on an empty engine.
async fn store(engine: Arc<dyn Engine>) -> Store {
    let entropy = Arc::new(SystemEntropy::new());
    let keys = MasterKeys::new(&MasterKey::generate(&*entropy));
    let store = Store::open(engine, keys, entropy, SystemClock.now()).await;
    store.unwrap()
}

async fn start_on(socket: &Path, store: Store) -> Server {
    let flags: Vec<(&str, toml::Value)> = vec![
        ("http.listen", "127.0.0.1:0".into()),
        ("metrics.listen", "127.0.0.1:0".into()),
        ("store.url", "memory:".into()),
        ("audit.journald", true.into()),
        ("auth.address_limit", 0.into()),
        ("auth.argon2_memory_kib", 8.into()),
        ("auth.argon2_iterations", 1.into()),
        ("auth.argon2_insecure_for_tests", true.into()),
    ];
    let config = Config::load(&Sources {
        flags,
        ..Sources::default()
    });
    let mut config = config.unwrap();
    socket.clone_into(&mut config.journal);
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy::new()));
    let server = Server::start(Arc::new(config), store, clock, entropy);
    server.await.unwrap()
}

/// Sends a login that is refused and has an event.
async fn try_to_log_in(address: SocketAddr) {
    let mut client = Client::connect(address).await;
    let length = LOGIN.len();
    client
        .send(format!(
            "POST /api/v1/authenticate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{LOGIN}"
        ))
        .await;
    assert!(client.answer().await.status >= 400);
}

async fn counted(server: &Server, outcome: &str) -> u64 {
    let mut client = Client::connect(server.metrics_address().unwrap()).await;
    client
        .send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    let answer = client.answer().await;
    let series = format!("keyproof_audit_journal_total{{outcome=\"{outcome}\"}} ");
    let mut values = answer
        .body
        .lines()
        .filter_map(|line| line.strip_prefix(&series));
    values.next().unwrap().parse().unwrap()
}

/// Parses the fields of a datagram by their lengths.
fn fields(mut datagram: &[u8]) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    while !datagram.is_empty() {
        let end = datagram.iter().position(|byte| *byte == b'\n').unwrap();
        let (name, rest) = datagram.split_at(end);
        let (length, rest) = rest[1..].split_first_chunk::<8>().unwrap();
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap();
        let (value, rest) = rest.split_at(length);
        datagram = rest.strip_prefix(b"\n").unwrap();
        let (name, value) = (name.to_vec(), value.to_vec());
        fields.insert(
            String::from_utf8(name).unwrap(),
            String::from_utf8(value).unwrap(),
        );
    }
    fields
}

/// Binds a journal socket at `path`.
fn listen(path: &Path) -> UnixDatagram {
    let journal = UnixDatagram::bind(path).unwrap();
    journal
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    journal
}

/// Returns the next event of an action.
fn told(journal: &UnixDatagram, action: &str) -> Vec<u8> {
    let mut datagram = vec![0; 512 * 1024];
    loop {
        let length = journal.recv(&mut datagram).unwrap();
        if fields(&datagram[..length])["KEYPROOF_ACTION"] == action {
            datagram.truncate(length);
            return datagram;
        }
    }
}

#[tokio::test]
async fn the_journal_has_each_event_with_its_fields_and_no_secret() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("socket");
    let journal = listen(&path);
    let server = start(&path).await;
    try_to_log_in(server.address()).await;
    // Waiting events are sent before the server ends.
    within(server.drain()).await;
    // The events of a store's first start are attributed to the server itself.
    let first = fields(&told(&journal, "instance.add"));
    assert_eq!(first["KEYPROOF_WHO"], "keyproof");
    let datagram = told(&journal, "user.authenticate");
    let fields = fields(&datagram);
    let names: Vec<_> = fields.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "KEYPROOF_ACTION",
            "KEYPROOF_ADDRESS",
            "KEYPROOF_AT",
            "KEYPROOF_DETAIL",
            "KEYPROOF_ID",
            "KEYPROOF_OUTCOME",
            "KEYPROOF_REQUEST_ID",
            "KEYPROOF_TARGET",
            "KEYPROOF_WHO",
            "MESSAGE",
            "MESSAGE_ID",
            "PRIORITY",
            "SYSLOG_IDENTIFIER",
        ]
    );
    for (name, value) in [
        ("KEYPROOF_ACTION", "user.authenticate"),
        ("KEYPROOF_ADDRESS", "127.0.0.1"),
        ("KEYPROOF_OUTCOME", "refused"),
        ("KEYPROOF_WHO", "anonymous"),
        ("PRIORITY", "5"),
        ("SYSLOG_IDENTIFIER", "keyproof"),
    ] {
        assert_eq!(fields[name], value, "{name}");
    }
    assert!(fields["MESSAGE"].starts_with("user.authenticate of "));
    let id = fields["KEYPROOF_ID"].parse::<keyproof_service::audit::EventKey>();
    assert!(id.is_ok(), "it is the one that the export tells");
    let text = String::from_utf8_lossy(&datagram);
    assert!(!text.contains("hidden-secret") && !text.contains("nobody@example.com"));
}

/// A socket accepts datagrams of some 200 KiB, and a device's id may be as long as a request, and have line ends.
#[tokio::test]
async fn an_event_of_a_long_name_of_two_lines_reaches_the_journal_in_one() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("socket");
    let journal = listen(&path);
    let store = store(Arc::new(MemoryEngine::new())).await;
    let cost = keyproof_auth::Cost::insecure_for_tests(8, 1, 1).unwrap();
    let hashing = HashingSettings {
        cost,
        threads: NonZeroUsize::MIN,
        queue: 8,
        address_limit: AddressLimit::NONE,
    };
    let console = Service::start(store.clone(), Arc::new(SystemClock), hashing);
    let password = Zeroizing::new("correct horse".to_owned());
    let set = console.await.unwrap();
    set.otp_devices
        .set_password(&administrator("default"), password)
        .await
        .unwrap();
    let server = start_on(&path, store).await;
    let mut client = Client::connect(server.address()).await;
    let login = r#"{"scope":"all","duration":{"d_us":"forever"}}"#;
    client
        .send(format!(
            "POST /private/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             Authorization: Basic ZGVmYXVsdDpjb3JyZWN0IGhvcnNl\r\nContent-Length: {}\r\n\r\n{login}",
            login.len()
        ))
        .await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    let token = answer["access_token"].as_str().unwrap();
    let id = format!(r"a\n{}", "x".repeat(4_090));
    let device = format!(
        r#"{{"otp_device_id":"{id}","otp_device_description":"d","otp_key":"GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ","otp_algorithm":1,"otp_ctr":0}}"#
    );
    client
        .send(format!(
            "POST /private/otp-devices HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             Authorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{device}",
            device.len()
        ))
        .await;
    assert_eq!(client.answer().await.status, 204);
    within(server.drain()).await;
    let datagram = told(&journal, "otp_device.add");
    assert!(datagram.len() < 4 * 1024, "{}", datagram.len());
    let told = fields(&datagram);
    let target = &told["KEYPROOF_TARGET"];
    assert!(target.starts_with("instance/default/device/a\nxxx") && target.len() <= 512);
    let message = &told["MESSAGE"];
    let beginning = r"otp_device.add of instance/default/device/a\nxxx";
    assert!(message.starts_with(beginning), "{message}");
}

/// The database was lost during the commit: the event is reported, but as one with an unknown outcome.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_may_be_committed_is_told_as_such() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("socket");
    let journal = listen(&path);
    let engine = FaultyEngine::new();
    let server = start_on(&path, store(engine.clone()).await).await;
    // A store's first login creates its signing key in a separate commit.
    try_to_log_in(server.address()).await;
    let first = fields(&told(&journal, "user.authenticate"));
    assert_eq!(first["KEYPROOF_OUTCOME"], "refused");
    for fate in [CommitMode::Lost, CommitMode::LostNotApplied] {
        engine.commits(fate);
        try_to_log_in(server.address()).await;
        engine.commits(CommitMode::Made);
        let told = fields(&told(&journal, "user.authenticate"));
        assert_eq!(told["KEYPROOF_OUTCOME"], "unknown", "{fate:?}");
        assert_eq!(told["PRIORITY"], "4");
        assert!(told["MESSAGE"].contains("could not be learnt"), "{told:?}");
        let id = told["KEYPROOF_ID"].parse::<keyproof_service::audit::EventKey>();
        assert!(id.is_ok(), "it can be looked up in the export");
    }
    // A change that was certainly not committed is not reported.
    engine.commits(CommitMode::NotApplied);
    try_to_log_in(server.address()).await;
    within(server.drain()).await;
    journal.set_nonblocking(true).unwrap();
    let mut datagram = vec![0; 64 * 1024];
    while let Ok(length) = journal.recv(&mut datagram) {
        let told = fields(&datagram[..length]);
        assert_ne!(told["KEYPROOF_ACTION"], "user.authenticate", "{told:?}");
    }
}

#[tokio::test]
async fn a_journal_that_is_not_there_costs_events_which_are_counted_and_comes_back() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("socket");
    let server = start(&path).await;
    try_to_log_in(server.address()).await;
    // This event, and the one of the store's first start.
    within(async { while counted(&server, "lost").await < 2 {} }).await;
    assert_eq!(counted(&server, "delivered").await, 0);
    let _journal = UnixDatagram::bind(&path).unwrap();
    try_to_log_in(server.address()).await;
    within(async { while counted(&server, "delivered").await == 0 {} }).await;
}

#[tokio::test]
async fn a_journal_that_is_full_holds_up_no_request_and_what_is_lost_is_counted() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("socket");
    let journal = UnixDatagram::bind(&path).unwrap();
    // Somebody else has filled the journal, and nobody reads it.
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    filler.connect(&path).unwrap();
    let full = loop {
        if let Err(error) = filler.send(b"MESSAGE=full\n") {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    let server = start(&path).await;
    for _ in 0..3 {
        try_to_log_in(server.address()).await;
    }
    within(async { while counted(&server, "lost").await == 0 {} }).await;
    // Once there is space again, the events continue.
    let mut datagram = vec![0; 64 * 1024];
    journal.set_nonblocking(true).unwrap();
    while journal.recv(&mut datagram).is_ok() {}
    try_to_log_in(server.address()).await;
    within(async { while counted(&server, "delivered").await == 0 {} }).await;
}
