//! The real Azure client for Python as a peer: all six operations over TLS, with CAs and leaves that `openssl` makes.
//!
//! The client lives in a virtual environment below `target/`, made at the first run from `requirements.txt`. What is
//! missing fails this test; nothing is skipped.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test code"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use keyproof::{
    config::{Config, Sources},
    server::Server,
};
use keyproof_auth::OperatorScopes;
use keyproof_service::{
    Clock, HashingSettings, Origin, Service, SystemClock, Who, access::NewOperatorToken,
    audit::Outcome,
};
use keyproof_store::{
    MasterKey, MasterKeys, Store, SystemEntropy, Timestamp, memory::MemoryEngine,
};

/// What the client needs, to the byte.
const REQUIREMENTS: &str = include_str!("requirements.txt");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_azure_client_does_all_it_can_do_with_certificates() {
    let python = environment();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = server_certificate(folder.path());

    let config = Config::load(&Sources {
        flags: vec![
            ("http.listen", "127.0.0.1:0".into()),
            ("store.url", "memory:".into()),
            ("tls.certificate", certificate.to_str().unwrap().into()),
            ("tls.key", key.to_str().unwrap().into()),
        ],
        ..Sources::default()
    })
    .unwrap();
    let hashing: HashingSettings = config.hashing;
    let entropy = Arc::new(SystemEntropy::new());
    let clock = Arc::new(SystemClock);
    let keys = MasterKeys::new(&MasterKey::generate(&*entropy));
    let engine = Arc::new(MemoryEngine::new());
    let store = Store::open(engine, keys, entropy.clone(), clock.now())
        .await
        .unwrap();
    let server = Server::start(Arc::new(config), store.clone(), clock.clone(), entropy)
        .await
        .unwrap();
    let console = Service::start(store, clock, hashing).await.unwrap();
    let new = NewOperatorToken {
        subject: "azure client".to_owned(),
        scopes: OperatorScopes::parse(["certificates:sub-1"]).unwrap(),
        lifetime: None,
    };
    let origin = Origin {
        who: Who::Console("test".to_owned()),
        request_id: None,
        address: None,
    };
    let token = console.access.create(new, &origin).await.unwrap();

    let mut client = Command::new(python);
    client
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peer_azure/client.py"))
        .arg(server.urls().next().unwrap())
        .arg(&certificate)
        .current_dir(folder.path())
        .env("KEYPROOF_TOKEN", &*token.text);
    let output = tokio::task::spawn_blocking(move || client.output())
        .await
        .unwrap()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // What the client says that it has seen, the server's own trail has seen too.
    let events = console.audit.events(Timestamp::EPOCH, None).await.unwrap();
    let count = |action: &str, outcome| {
        let events = events.iter().map(|(_, event)| event);
        events
            .filter(|event| event.action == action && event.outcome == outcome)
            .count()
    };
    let proven = count("certificate.verify", Outcome::Done);
    let refused = count("certificate.verify", Outcome::Refused);
    assert_eq!(
        told.lines().last(),
        Some(&*format!("proven {proven}, refused {refused}"))
    );
    assert!(proven > 0 && refused > 0);
    assert_eq!(
        count("certificate.create", Outcome::Done),
        count("certificate.delete", Outcome::Done)
    );
}

/// A certificate for 127.0.0.1 and its key, as files.
fn server_certificate(folder: &Path) -> (PathBuf, PathBuf) {
    let signed = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (folder.join("server.pem"), folder.join("server.key"));
    fs::write(&certificate, signed.cert.pem()).unwrap();
    fs::write(&key, signed.signing_key.serialize_pem()).unwrap();
    (certificate, key)
}

/// The Python of a virtual environment that holds exactly the requirements.
fn environment() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peer_azure");
    let python = folder.join("bin/python");
    let installed = folder.join("installed.txt");
    if fs::read_to_string(&installed).is_ok_and(|text| text == REQUIREMENTS) {
        return python;
    }
    run(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&folder),
        "install the packages python3 and python3-venv",
    );
    let requirements =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peer_azure/requirements.txt");
    run(
        Command::new(&python)
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
            ])
            .args([
                "--require-hashes",
                "--only-binary",
                ":all:",
                "--requirement",
            ])
            .arg(requirements),
        "let pip reach its package index",
    );
    // Last, so that an installation that was cut short is begun anew.
    fs::write(&installed, REQUIREMENTS).unwrap();
    python
}

fn run(command: &mut Command, remedy: &str) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; {remedy}"));
    assert!(
        output.status.success(),
        "{command:?}: {}; {remedy}",
        String::from_utf8_lossy(&output.stderr)
    );
}
