//! TLS on the listeners: files, their reload, and the self-signed certificate.

use std::{fs, io, net::SocketAddr, sync::Arc};

use keyproof::server::Drained;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName, version};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::stack::{Stack, within};

/// The files of a certificate for `localhost`.
struct Files {
    folder: TempDir,
}

impl Files {
    fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
        }
    }

    /// Writes a new pair, and returns the roots that a client must trust.
    fn renew(&self) -> RootCertStore {
        self.renew_until(4096)
    }

    /// The same, for a certificate that expires at the start of `year`.
    fn renew_until(&self, year: i32) -> RootCertStore {
        let signing_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".into()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let cert = params.self_signed(&signing_key).unwrap();
        fs::write(self.path("cert.pem"), cert.pem()).unwrap();
        fs::write(self.path("key.pem"), signing_key.serialize_pem()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        roots
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn flags(&self) -> [(&'static str, toml::Value); 2] {
        [
            ("tls.certificate", self.path("cert.pem").into()),
            ("tls.key", self.path("key.pem").into()),
        ]
    }
}

/// Returns the answer of `/healthz` to a client with these roots.
async fn health(
    stack: &Stack,
    roots: &RootCertStore,
    version: &'static rustls::SupportedProtocolVersion,
) -> io::Result<String> {
    get(stack.address, "/healthz", roots, version).await
}

async fn get(
    address: SocketAddr,
    path: &str,
    roots: &RootCertStore,
    version: &'static rustls::SupportedProtocolVersion,
) -> io::Result<String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    let socket = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut session = TlsConnector::from(Arc::new(config))
        .connect(name, socket)
        .await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    session.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    session.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn files_are_served_and_read_again() {
    let files = Files::new();
    let old = files.renew();
    let stack = Stack::start(&files.flags()).await;
    for version in [&version::TLS12, &version::TLS13] {
        let answer = within(health(&stack, &old, version)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    let new = files.renew();
    within(health(&stack, &new, &version::TLS13))
        .await
        .unwrap_err();
    stack.server.reload().unwrap();
    within(health(&stack, &new, &version::TLS13)).await.unwrap();
    within(health(&stack, &old, &version::TLS13))
        .await
        .unwrap_err();

    // Unusable files change nothing.
    fs::write(files.path("key.pem"), "no key").unwrap();
    stack.server.reload().unwrap_err();
    within(health(&stack, &new, &version::TLS13)).await.unwrap();
}

#[tokio::test]
async fn the_metrics_say_when_the_certificate_ends_also_of_a_new_one() {
    let files = Files::new();
    let [certificate, key] = files.flags();
    let listen = ("metrics.listen", "127.0.0.1:0".into());
    let mut roots = files.renew_until(2030);
    let stack = Stack::start(&[certificate, key, listen]).await;
    let metrics = stack.server.metrics_address().unwrap();
    // Both from `date -ud 2030-01-01 +%s`.
    for (ends, next) in [("1893456000", Some(2031)), ("1924992000", None)] {
        let answer = get(metrics, "/metrics", &roots, &version::TLS13);
        let answer = within(answer).await.unwrap();
        let line = format!("keyproof_tls_certificate_expiry_timestamp_seconds {ends}\n");
        assert!(answer.contains(&line), "{answer}");
        if let Some(year) = next {
            roots = files.renew_until(year);
            stack.server.reload().unwrap();
        }
    }
}

#[tokio::test]
async fn a_stalled_or_failed_handshake_ends_alone() {
    let files = Files::new();
    let roots = files.renew();
    let [certificate, key] = files.flags();
    // The valid handshake has the same deadline.
    let deadline = ("http.header_timeout_ms", 3_000.into());
    let stack = Stack::start(&[certificate, key, deadline]).await;

    let mut silent = stack.connect().await;
    assert!(silent.rest().await.is_empty());
    let mut plain = stack.connect().await;
    plain.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(!plain.rest().await.starts_with(b"HTTP"));
    within(health(&stack, &roots, &version::TLS13))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_drain_does_not_wait_for_a_handshake() {
    let files = Files::new();
    files.renew();
    let [certificate, key] = files.flags();
    let deadlines = ["http.header_timeout_ms", "http.drain_timeout_ms"];
    let [head, drain] = deadlines.map(|deadline| (deadline, 3_600_000.into()));
    let stack = Stack::start(&[certificate, key, head, drain]).await;
    let mut silent = stack.connect().await;
    let mut half = stack.connect().await;
    // The header of a TLS record with a ClientHello.
    half.send([22, 3, 1, 0, 200, 1, 0, 0]).await;
    // Connections are accepted in order: once this one has ended, the earlier ones have begun.
    let mut plain = stack.connect().await;
    plain.send("GET /healthz HTTP/1.1\r\n\r\n").await;
    plain.rest().await;
    assert_eq!(within(stack.server.drain()).await, Drained::Whole);
    assert!(silent.rest().await.is_empty());
    assert!(half.rest().await.is_empty());
}

#[tokio::test]
async fn a_self_signed_certificate_has_a_fingerprint() {
    let stack = Stack::start(&[("tls.self_signed", true.into())]).await;
    let fingerprint = stack.server.fingerprint().unwrap();
    let bytes: Vec<&str> = fingerprint.split(':').collect();
    assert_eq!(bytes.len(), 32);
    assert!(bytes.iter().all(|byte| byte.len() == 2));
    // A client without the root rejects it.
    let nobody = RootCertStore::empty();
    within(health(&stack, &nobody, &version::TLS13))
        .await
        .unwrap_err();
    assert!(stack.server.urls().all(|url| url.starts_with("https://")));
}
