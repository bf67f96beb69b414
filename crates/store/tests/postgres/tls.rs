//! TLS, and which certificates are accepted.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use keyproof_peer_postgres::{Postgres, Setup};
use keyproof_store::{CommitError, EngineError, OpenError, postgres::PostgresEngine};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio_postgres::NoTls;

use super::{
    database::{commit, frugal, insert, parse, until},
    standby::{wait_for, waiting},
};

/// A server with a certificate for `localhost`, the CA that issued it, and another CA.
struct Site {
    server: Postgres,
    folder: TempDir,
}

impl Site {
    fn start(hba: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let ca = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new([]).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let certificate = params.self_signed(&key).unwrap();
            fs::write(folder.path().join(name), certificate.pem()).unwrap();
            Issuer::new(params, key)
        };
        let (issuer, _) = (ca("ca.pem"), ca("other.pem"));
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let setup = Setup::default()
            .setting("ssl", "on")
            .file("pg_hba.conf", hba);
        let setup = setup.file("server.crt", certificate.pem());
        let server = setup
            .file("server.key", key.serialize_pem())
            .start()
            .unwrap();
        fs::write(folder.path().join("empty.pem"), "").unwrap();
        Self { server, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn migrate(&self, host: &str, parameters: &str) -> Result<(), OpenError> {
        let url = self.server.url().replace("127.0.0.1", host);
        let url = parse(&format!("{url}?{parameters}"));
        PostgresEngine::migrate(&url, &frugal()).await.map(drop)
    }
}

fn roots(path: &Path) -> String {
    format!("sslrootcert={}", path.display())
}

#[tokio::test]
async fn a_certificate_is_believed_as_far_as_the_url_says() {
    let site = Site::start("hostssl all all 127.0.0.1/32 scram-sha-256\n");
    let (ca, other) = (roots(&site.path("ca.pem")), roots(&site.path("other.pem")));
    for (host, parameters) in [
        ("localhost", format!("sslmode=verify-full&{ca}")),
        ("localhost", ca.clone()),
        ("127.0.0.1", format!("sslmode=verify-ca&{ca}")),
        ("127.0.0.1", format!("sslmode=require&{ca}")),
        ("127.0.0.1", "sslmode=require".to_owned()),
        ("127.0.0.1", "sslmode=prefer".to_owned()),
        ("127.0.0.1", String::new()),
    ] {
        assert_eq!(
            site.migrate(host, &parameters).await,
            Ok(()),
            "{host} {parameters}"
        );
    }
    for (host, parameters) in [
        ("127.0.0.1", format!("sslmode=verify-full&{ca}")),
        ("127.0.0.1", ca),
        ("localhost", format!("sslmode=verify-full&{other}")),
        ("localhost", format!("sslmode=verify-ca&{other}")),
        ("localhost", format!("sslmode=require&{other}")),
        ("localhost", "sslmode=verify-full".to_owned()),
        ("localhost", "sslrootcert=system".to_owned()),
        ("localhost", "sslmode=disable".to_owned()),
    ] {
        let refused = site.migrate(host, &parameters).await;
        assert!(
            matches!(
                refused,
                Err(OpenError::Engine(
                    EngineError::Io { .. } | EngineError::Other { .. }
                ))
            ),
            "{host} {parameters}: {refused:?}"
        );
    }
    for name in ["empty.pem", "no such.pem"] {
        let refused = site.migrate("localhost", &roots(&site.path(name))).await;
        let Err(OpenError::Engine(EngineError::Configuration { detail })) = refused else {
            panic!("{name}: {refused:?}");
        };
        assert!(
            detail.contains("sslrootcert") && detail.contains(name),
            "{detail}"
        );
    }
}

/// A cancellation uses a connection of its own, which must be protected like the original.
#[tokio::test]
async fn a_write_that_is_given_up_is_cancelled_over_tls() {
    let site = Site::start("host all all 127.0.0.1/32 scram-sha-256\n");
    let plain = site.server.database().unwrap();
    let (back_door, connection) = tokio_postgres::connect(&plain, NoTls).await.unwrap();
    tokio::spawn(connection);
    let protected = plain.replace("127.0.0.1", "localhost");
    let ca = roots(&site.path("ca.pem"));
    let url = parse(&format!("{protected}?sslmode=verify-full&{ca}"));
    let mut options = frugal();
    options.statement_timeout = Duration::from_millis(200);
    options.commit_timeout = Duration::from_millis(500);
    PostgresEngine::migrate(&url, &frugal()).await.unwrap();
    let engine = PostgresEngine::open(&url, &options).await.unwrap();
    commit(&engine, [insert("before", "a")]).await.unwrap();
    wait_for(&back_door, "nowhere").await;
    let given_up = commit(&engine, [insert("a", "a")]).await;
    assert!(
        matches!(given_up, Err(CommitError::Unknown(_))),
        "{given_up:?}"
    );
    until(async || waiting(&back_door).await == 0).await;
}

#[tokio::test]
async fn tls_is_not_given_up_where_it_was_asked_for() {
    let server = Postgres::shared().unwrap();
    let database = server.database().unwrap();
    let migrate = async |parameters: &str| {
        let url = parse(&format!("{database}?{parameters}"));
        PostgresEngine::migrate(&url, &frugal()).await.map(drop)
    };
    for parameters in ["sslmode=prefer", "sslmode=disable", ""] {
        assert_eq!(migrate(parameters).await, Ok(()), "{parameters}");
    }
    for parameters in [
        "sslmode=require",
        "sslmode=verify-ca",
        "sslmode=verify-full",
    ] {
        assert!(migrate(parameters).await.is_err(), "{parameters}");
    }
}
