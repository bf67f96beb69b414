//! The real Azure client for Python as a peer: all six operations over TLS, with CAs and leaves made by `openssl`.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use keyproof::{
    config::{Config, Sources},
    server::Server,
};
use keyproof_auth::operator::OperatorScopes;
use keyproof_service::{
    Clock, CommandLine, HashingSettings, Service, SystemClock, access::NewOperatorToken,
    audit::Outcome,
};
use keyproof_store::{SystemEntropy, Timestamp};

use crate::python;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_azure_client_does_all_it_can_do_with_certificates() {
    let mut client = python::client("peers/azure");
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
    let store = config.store.open(entropy.clone(), clock.now());
    let store = store.await.unwrap();
    let server = Server::start(Arc::new(config), store.clone(), clock.clone(), entropy)
        .await
        .unwrap();
    let console = Service::start(store, clock, hashing).await.unwrap();
    let new = NewOperatorToken {
        subject: "azure client".to_owned(),
        scopes: OperatorScopes::parse(["certificates:sub-1"]).unwrap(),
        lifetime: None,
    };
    let command = CommandLine::of("test".to_owned());
    let token = console.access.create(new, &command).await.unwrap();

    client
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
    // What the client reports to have seen is also in the server's trail.
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

/// Creates a certificate for 127.0.0.1 and its key, as files.
fn server_certificate(folder: &Path) -> (PathBuf, PathBuf) {
    let signed = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (folder.join("server.pem"), folder.join("server.key"));
    fs::write(&certificate, signed.cert.pem()).unwrap();
    fs::write(&key, signed.signing_key.serialize_pem()).unwrap();
    (certificate, key)
}
