//! emnify's own SDK for Python as a peer: logins of users and applications, second factors and everything around them, with users
//! created by the command and codes made by `oathtool`.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use keyproof::{
    config::{Config, Sources},
    server::Server,
};
use keyproof_service::{
    Clock, ManualClock, Service, SystemClock,
    audit::{Event, Outcome},
};
use keyproof_store::{SystemEntropy, Timestamp};

use crate::python;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_emnify_client_does_all_it_can_do_with_logins() {
    let mut client = python::client("peers/emnify");
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("k.db").display());
    let config = Config::load(&Sources {
        flags: vec![
            ("http.listen", "127.0.0.1:0".into()),
            ("store.url", url.clone().into()),
        ],
        ..Sources::default()
    })
    .unwrap();
    let entropy = Arc::new(SystemEntropy::new());
    // The commands use the machine's clock.
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let store = config.store.open(entropy.clone(), clock.now());
    let store = store.await.unwrap();
    let console = Service::start(store.clone(), clock.clone(), config.hashing);
    let console = console.await.unwrap();
    let server = Server::start(Arc::new(config), store, clock.clone(), entropy);
    let server = server.await.unwrap();

    let address = format!("{}/api", server.urls().next().unwrap());
    client
        .args([env!("CARGO_BIN_EXE_keyproof"), &url])
        .env("EMNIFY_SDK_API_ENDPOINT_URL", address);
    let talk = tokio::task::spawn_blocking(move || converse(&mut client, &clock));
    let told = talk.await.unwrap();

    // What the client reports to have done is also in the server's trail.
    let mut events = Vec::new();
    loop {
        let after = events.last().map(|(key, _)| key);
        let page = console.audit.events(Timestamp::EPOCH, after).await.unwrap();
        if page.is_empty() {
            break;
        }
        events.extend(page);
    }
    let count = |action: &str| {
        let is_done = |event: &Event| event.action == action && event.outcome == Outcome::Done;
        events.iter().filter(|(_, event)| is_done(event)).count()
    };
    let (logins, keys) = (count("user.authenticate"), count("mfa_key.activate"));
    let devices = count("trusted_device.add");
    assert_eq!(
        told,
        format!("logins {logins}, keys {keys}, devices {devices}")
    );
}

/// Runs the client to its end, and moves the clock when it requests it. Returns the client's last output.
fn converse(client: &mut Command, clock: &ManualClock) -> String {
    let mut child = client
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut told = String::new();
    for line in BufReader::new(stdout).lines() {
        let line = line.unwrap();
        match line.strip_prefix("advance ") {
            Some(seconds) => {
                clock.advance(Duration::from_secs(seconds.parse().unwrap()));
                writeln!(stdin, "{}", clock.now().as_secs()).unwrap();
            }
            None => told = line,
        }
    }
    assert!(child.wait().unwrap().success(), "{told}");
    told
}
