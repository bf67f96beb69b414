//! Client certificates: who is admitted by one, with which API keys, and what a handshake reveals to clients.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use data_encoding::BASE64;
use keyproof::{
    config::{Config, ConfigError, Sources},
    server::Server,
};
use keyproof_service::{
    CommandLine, Failure, StorageError,
    device_identity::{
        Activation, Administrator, Category, CertificateNotAccepted, EndClientsError,
        RenewClientError,
    },
};
use keyproof_store::SystemEntropy;
use keyproof_x509::{Certificate, Sha256Thumbprint, Upload};
use rcgen::{CertificateParams, CertifiedKey, Issuer, KeyPair, generate_simple_self_signed};
use rustls::{
    ClientConfig, RootCertStore, SignatureScheme, SupportedProtocolVersion,
    client::ResolvesClientCert,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    sign, version,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::f5::{
    device::{Device, Manufacturer},
    dialect::{API_KEYS, CATEGORIES, MANAGERS, NONCE, PREAUTH, PROVISION},
    machine::{Machine, SELECTION},
    provision::furnished,
    site::{Answer, Site, console_origin},
};

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

/// A site, and a TLS node on the same store.
struct Secured {
    site: Site,
    node: Server,
    folder: TempDir,
    roots: RootCertStore,
    manufacturer: Manufacturer,
}

/// The certificate that a station presents in its handshake.
struct Shows {
    identity: Option<Arc<sign::CertifiedKey>>,
    /// The CA names that the server sent.
    told: Mutex<Vec<Vec<u8>>>,
}

impl std::fmt::Debug for Shows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shows")
    }
}

impl ResolvesClientCert for Shows {
    fn resolve(&self, names: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<sign::CertifiedKey>> {
        *self.told.lock().unwrap() = names.iter().map(|name| name.to_vec()).collect();
        self.identity.clone()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn nothing() -> Arc<Shows> {
    shows(None)
}

fn shows(identity: Option<sign::CertifiedKey>) -> Arc<Shows> {
    Arc::new(Shows {
        identity: identity.map(Arc::new),
        told: Mutex::default(),
    })
}

/// Builds a station's identity from a certificate and a key in PEM, whether they match or not.
fn identity(certificate: &str, key: &str) -> Arc<Shows> {
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let key = ring::sign::any_supported_type(&key).unwrap();
    shows(Some(sign::CertifiedKey::new(chain, key)))
}

fn config(flags: &[(&'static str, toml::Value)]) -> Result<Config, ConfigError> {
    let mut all = vec![
        ("http.listen", "127.0.0.1:0".into()),
        ("store.url", "memory:".into()),
    ];
    all.extend_from_slice(flags);
    Config::load(&Sources {
        flags: all,
        ..Sources::default()
    })
}

impl Secured {
    async fn start() -> Self {
        Self::start_with(&[("f5.client_certificates", true.into())]).await
    }

    async fn start_with(flags: &[(&'static str, toml::Value)]) -> Self {
        let site = Site::start().await;
        let folder = TempDir::new().unwrap();
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        fs::write(path("server.pem"), cert.pem()).unwrap();
        fs::write(path("server.key"), signing_key.serialize_pem()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let mut all = vec![
            ("tls.certificate", path("server.pem").into()),
            ("tls.key", path("server.key").into()),
            // The site would be on the same listener.
            ("account.enabled", false.into()),
            ("console.enabled", false.into()),
        ];
        all.extend_from_slice(flags);
        let (config, entropy) = (config(&all).unwrap(), Arc::new(SystemEntropy::new()));
        let (store, clock) = (site.store.clone(), site.clock.clone());
        let node = Server::start(Arc::new(config), store, clock, entropy);
        let manufacturer = Manufacturer::new();
        let roots_of = json!({ "ek_root_certificates": [manufacturer.root] });
        site.create(MANAGERS, "manager", roots_of).await.is(200);
        Self {
            node: node.await.unwrap(),
            site,
            folder,
            roots,
            manufacturer,
        }
    }

    /// Creates a category, and returns its client certificate and key in PEM.
    async fn category(&self, name: &str) -> (String, String) {
        let made = self.site.category(name).await;
        let spec = &made.is(200).json["spec"];
        let text = |member: &str| spec[member].as_str().unwrap().to_owned();
        (text("client_cert"), text("client_key"))
    }

    /// Creates a key in a category, and returns its text.
    async fn api_key(&self, category: &str, name: &str, need_mtls: bool) -> String {
        let spec = json!({ "category_ref": [{ "name": category }], "need_mtls": need_mtls });
        let made = self.site.create(API_KEYS, name, spec).await;
        made.is(200).json["api_key"].as_str().unwrap().to_owned()
    }

    /// Returns the status and body of an answer, or `None` if the handshake failed.
    async fn send(
        &self,
        version: &'static SupportedProtocolVersion,
        shown: &Arc<Shows>,
        token: Option<&str>,
        (method, path, body): (&str, &str, &Value),
    ) -> Option<(u16, Value)> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_client_cert_resolver(Arc::clone(shown) as Arc<dyn ResolvesClientCert>);
        let socket = TcpStream::connect(self.node.address()).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let mut session = connector.connect(name, socket).await.ok()?;
        let body = body.to_string();
        let authorization = token.map_or_else(String::new, |token| {
            format!("Authorization: APIToken {token}\r\n")
        });
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{authorization}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        session.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        // In TLS 1.3 a client learns of a failed handshake only when it reads.
        session.read_to_end(&mut answer).await.ok()?;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Some((status, serde_json::from_str(body).unwrap()))
    }

    /// Returns preauth's status, or `None` if the handshake failed.
    async fn preauth(
        &self,
        version: &'static SupportedProtocolVersion,
        shown: &Arc<Shows>,
        token: Option<&str>,
        api_key: &str,
    ) -> Option<String> {
        let device = Device::new(&self.manufacturer, "SN0001").info();
        let body = json!({ "api_key": api_key, "device": device });
        let answer = self.send(version, shown, token, ("POST", PREAUTH, &body));
        let (status, body) = answer.await?;
        Some(match status {
            200 => body["status"].as_str().unwrap().to_owned(),
            _ => format!("{status}/{}", body["code"]),
        })
    }
}

const SUCCESS: &str = "PREAUTH_RSP_SUCCESS";
const INVALID: &str = "PREAUTH_RSP_INVALID_API_KEY";
const UNAUTHENTICATED: &str = "401/16";

/// Returns a certificate with the same names, issued by a CA with the same name, and its key.
fn made_at_home(of: &str) -> (String, String) {
    let upload = Upload::decode(of.as_bytes()).unwrap();
    let original = upload.certificate().unwrap();
    let named = |name: keyproof_x509::Name<'_>| {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in [
            rcgen::DnType::OrganizationName,
            rcgen::DnType::OrganizationalUnitName,
            rcgen::DnType::CommonName,
        ]
        .into_iter()
        .zip(name.attributes())
        {
            let text = value.value.text().unwrap().into_owned();
            params.distinguished_name.push(kind, text);
        }
        params
    };
    let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let ca = named(original.issuer());
    let issuer = Issuer::from_params(&ca, &ca_key);
    let made = named(original.subject()).signed_by(&key, &issuer).unwrap();
    let copy = Certificate::from_der(made.der()).unwrap();
    assert!(copy.subject().compare(&original.subject()).is_match());
    assert!(copy.issuer().compare(&original.issuer()).is_match());
    (made.pem(), key.serialize_pem())
}

#[tokio::test]
async fn a_categorys_certificate_lets_a_station_in_and_its_own_does_for_its_keys() {
    let secured = Secured::start().await;
    let (cert, key) = secured.category("category").await;
    let (other_cert, other_key) = secured.category("other").await;
    let bound = secured.api_key("category", "bound", true).await;
    let free = secured.api_key("category", "free", false).await;
    let station = secured.site.operator_token(&["tpm-station"], None).await;
    let token = Some(&*station);
    let own = identity(&cert, &key);
    let others = identity(&other_cert, &other_key);
    let (home_cert, home_key) = made_at_home(&cert);
    let homemade = identity(&home_cert, &home_key);
    for version in VERSIONS {
        for (shown, token, told_of_bound, told_of_free) in [
            (&own, None, SUCCESS, SUCCESS),
            (&own, token, SUCCESS, SUCCESS),
            (&own, Some("nonsense"), UNAUTHENTICATED, UNAUTHENTICATED),
            (&others, None, INVALID, SUCCESS),
            (&others, token, INVALID, SUCCESS),
            (&homemade, None, UNAUTHENTICATED, UNAUTHENTICATED),
            (&homemade, token, INVALID, SUCCESS),
            (&nothing(), None, UNAUTHENTICATED, UNAUTHENTICATED),
            (&nothing(), token, INVALID, SUCCESS),
        ] {
            let told = secured.preauth(version, shown, token, &bound).await;
            assert_eq!(told.as_deref(), Some(told_of_bound));
            let told = secured.preauth(version, shown, token, &free).await;
            assert_eq!(told.as_deref(), Some(told_of_free));
        }
        // Another one's certificate without its key is worthless: there is no connection.
        let stolen = identity(&cert, &other_key);
        assert_eq!(secured.preauth(version, &stolen, token, &free).await, None);
    }

    let device = Device::new(&secured.manufacturer, "SN0001");
    let request = device.request(&bound);
    let provision = ("POST", PROVISION, &request);
    let version = &version::TLS13;
    for (shown, says) in [
        (&homemade, "the client certificate is not accepted"),
        (&nothing(), "a token is needed"),
    ] {
        let refused = secured.send(version, shown, None, provision).await;
        let (status, body) = refused.unwrap();
        let message = body["message"].as_str().unwrap();
        assert!(status == 401 && message.starts_with(says), "{body}");
    }
    let refused = secured.send(version, &others, None, provision).await;
    let (status, body) = refused.unwrap();
    assert_eq!((status, &body["code"]), (403, &json!(7)), "{body}");
    let (status, body) = secured.send(version, &own, None, provision).await.unwrap();
    assert_eq!(status, 200, "{body}");
    assert!(device.opens(&body, &device.ak_public()).is_some());
    let provisions = secured.site.events_of("tpm.provision").await;
    let mut whose: Vec<&str> = provisions.iter().map(|event| &*event.who).collect();
    // The events are of one moment, so their order is not fixed.
    whose.sort_unstable();
    assert_eq!(whose, ["station:default/category", "station:default/other"]);

    // A station may access nothing else.
    for (method, path) in [("GET", MANAGERS), ("GET", API_KEYS), ("POST", CATEGORIES)] {
        let answer = secured
            .send(version, &own, None, (method, path, &json!({})))
            .await;
        assert_eq!(answer.unwrap().0, 401, "{path}");
    }
}

#[tokio::test]
async fn a_categorys_certificate_shows_devices_of_its_own_namespace() {
    let secured = Secured::start().await;
    let (cert, key) = secured.category("category").await;
    let made = async |kind: &str, name: &str, spec: Value| {
        let body = json!({ "metadata": { "name": name }, "spec": spec });
        let path = format!("/api/tpm/namespaces/other/{kind}");
        secured.site.post(&path, &body).await.is(200).json.clone()
    };
    made("tpm_managers", "manager", json!({})).await;
    let above = json!({ "tpm_manager_ref": [{ "name": "manager" }] });
    let others = made("tpm_categorys", "category", above).await;
    let text = |member: &str| others["spec"][member].as_str().unwrap().to_owned();
    let machine = Machine::new(Device::new(&secured.manufacturer, "SN0001"));
    let asks = machine.asks(SELECTION);
    for (shown, status) in [
        (identity(&cert, &key), 200),
        (identity(&text("client_cert"), &text("client_key")), 404),
    ] {
        let asked = ("POST", NONCE, &asks);
        let answer = secured.send(&version::TLS13, &shown, None, asked).await;
        let (answered, body) = answer.unwrap();
        assert_eq!(answered, status, "{body}");
    }
}

#[tokio::test]
async fn a_certificate_that_has_ended_or_whose_category_is_gone_or_disabled_counts_for_nothing() {
    let secured = Secured::start().await;
    let (cert, key) = secured.category("category").await;
    let bound = secured.api_key("category", "bound", true).await;
    let station = secured.site.operator_token(&["tpm-station"], None).await;
    let own = identity(&cert, &key);
    let version = &version::TLS13;
    let told = async |token| secured.preauth(version, &own, token, &bound).await.unwrap();
    secured.site.clock.advance(YEAR * 10);
    assert_eq!(told(None).await, SUCCESS, "its last second");
    secured.site.clock.advance(Duration::from_secs(1));
    assert_eq!(told(None).await, UNAUTHENTICATED);
    assert_eq!(told(Some(&*station)).await, INVALID);

    // Of a deleted category, and of a new one with its name.
    let (cert, key) = secured.category("short").await;
    let free = secured.api_key("category", "free", false).await;
    let short = identity(&cert, &key);
    let told = async || secured.preauth(version, &short, None, &free).await.unwrap();
    assert_eq!(told().await, SUCCESS);
    let object = format!("{CATEGORIES}/short");
    secured.site.admin("DELETE", &object).send().await.is(200);
    assert_eq!(told().await, UNAUTHENTICATED);
    secured.category("short").await;
    assert_eq!(told().await, UNAUTHENTICATED);

    let body = json!({
        "metadata": { "name": "off", "disable": true },
        "spec": { "tpm_manager_ref": [{ "name": "manager" }] },
    });
    let off: Answer = secured.site.post(CATEGORIES, &body).await;
    let text = |member: &str| {
        off.is(200).json["spec"][member]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let off = identity(&text("client_cert"), &text("client_key"));
    let told = secured.preauth(version, &off, None, &free).await;
    assert_eq!(told.as_deref(), Some(UNAUTHENTICATED));
}

/// Returns a site, the client certificate of its category `other`, and an activation that is to be sent with it.
async fn activation_below_another() -> (Site, Sha256Thumbprint, Activation) {
    let (site, key, device) = furnished().await;
    let other = site.category("other").await;
    let client = other.is(200).json["spec"]["client_cert"].as_str().unwrap();
    let client = Upload::decode(client.as_bytes()).unwrap();
    let client = client.certificate().unwrap().sha256_thumbprint();
    let shown = device.activation(&site.provisioned(&key, &device).await);
    let text = |member: &str| shown[member].as_str().unwrap().to_owned();
    let activation = Activation {
        ticket: text("ticket"),
        proof: Ok(BASE64.decode(text("proof").as_bytes()).unwrap()),
    };
    (site, client, activation)
}

#[tokio::test]
async fn a_station_whose_category_is_gone_by_then_changes_nothing() {
    let (site, client, activation) = activation_below_another().await;
    let devices = &site.console.device_identity;
    let station = async || {
        let origin = console_origin();
        devices.station_with_certificate(client, &origin).await
    };
    let before = station().await.unwrap();
    let gone = format!("{CATEGORIES}/other");
    site.admin("DELETE", &gone).send().await.is(200);
    let late = devices.activate(&before, &activation).await;
    assert!(
        matches!(late, Err(Failure::Storage(StorageError::Contended { .. }))),
        "{late:?}"
    );
    assert_eq!(site.records("tpm_attestation_key").await, 0);
    assert!(matches!(
        station().await,
        Err(Failure::Refused(CertificateNotAccepted))
    ));
}

/// The person at the command line, who renews client certificates.
fn administrator() -> Administrator<Category> {
    let person = CommandLine::of("tester".to_owned());
    Administrator::of_command_line(&person, "default".to_owned())
}

#[tokio::test]
async fn a_renewed_certificate_is_accepted_beside_the_earlier_ones_until_those_are_ended() {
    let secured = Secured::start().await;
    let (cert, key) = secured.category("category").await;
    let bound = secured.api_key("category", "bound", true).await;
    let station = secured.site.operator_token(&["tpm-station"], None).await;
    let devices = &secured.site.console.device_identity;
    let administrator = administrator();
    secured.site.clock.advance(YEAR * 9);
    let category = devices.find(&administrator, "category").await.unwrap();
    let known = category.spec.client_thumbprint();
    let renewed = devices.renew_client(&administrator, "category", None).await;
    let renewed = renewed.unwrap();
    let earlier = identity(&cert, &key);
    let latest = identity(&renewed.certificate, &renewed.key);
    let shown = secured.site.get(&format!("{CATEGORIES}/category")).await;
    assert_eq!(
        shown.is(200).json["spec"]["client_cert"],
        renewed.certificate
    );
    assert_eq!(shown.json["spec"]["client_key"], "");
    for version in VERSIONS {
        for shown in [&earlier, &latest] {
            let told = secured.preauth(version, shown, None, &bound).await;
            assert_eq!(told.as_deref(), Some(SUCCESS));
        }
    }
    // A server that makes the index anew finds the earlier one, too.
    let index = ["tpm_client_certificate", "tpm_client_certificates"];
    secured.site.lose(&index).await;
    let version = &version::TLS13;
    let told = secured.preauth(version, &earlier, None, &bound).await;
    assert_eq!(told.as_deref(), Some(SUCCESS));

    // Whoever knows only the earlier one would end it.
    let ended = devices.end_earlier_clients(&administrator, "category", known.as_ref());
    assert_eq!(ended.await, Err(Failure::Refused(EndClientsError::Renewed)));
    let ended = devices.end_earlier_clients(&administrator, "category", None);
    assert_eq!(ended.await, Ok(1));
    for (shown, token, expected) in [
        (&earlier, None, UNAUTHENTICATED),
        (&earlier, Some(&*station), INVALID),
        (&latest, None, SUCCESS),
        (&latest, Some(&*station), SUCCESS),
    ] {
        let told = secured.preauth(version, shown, token, &bound).await;
        assert_eq!(told.as_deref(), Some(expected));
    }
    let ended = devices.end_earlier_clients(&administrator, "category", None);
    assert_eq!(ended.await, Ok(0));
    // It is valid for ten years, from when it was issued.
    secured.site.clock.advance(YEAR * 10);
    let told = secured.preauth(version, &latest, None, &bound).await;
    assert_eq!(told.as_deref(), Some(SUCCESS));

    for action in ["tpm_category.renew_client", "tpm_category.end_clients"] {
        let events = secured.site.events_of(action).await;
        let told: Vec<(&str, &str)> = events
            .iter()
            .map(|event| (&*event.who, &*event.target))
            .collect();
        let expected = ("console:tester", "tpm_category/default/category");
        assert_eq!(told, [expected], "{action}");
    }
}

#[tokio::test]
async fn a_certificate_is_renewed_only_a_few_times_before_earlier_ones_are_ended() {
    let (site, _, _) = furnished().await;
    let devices = &site.console.device_identity;
    let administrator = administrator();
    let name = "category";
    for _ in 0..4 {
        assert!(
            devices
                .renew_client(&administrator, name, None)
                .await
                .is_ok()
        );
    }
    let many = devices.renew_client(&administrator, name, None).await.err();
    assert_eq!(many, Some(Failure::Refused(RenewClientError::TooMany)));
    let ended = devices
        .end_earlier_clients(&administrator, name, None)
        .await;
    assert_eq!(ended, Ok(4));
    assert_eq!(site.records("tpm_client_certificate").await, 1);
    assert!(
        devices
            .renew_client(&administrator, name, None)
            .await
            .is_ok()
    );

    let unknown = devices
        .renew_client(&administrator, "other", None)
        .await
        .err();
    assert_eq!(unknown, Some(Failure::Refused(RenewClientError::Unknown)));
    let unknown = devices
        .end_earlier_clients(&administrator, "other", None)
        .await;
    assert_eq!(unknown, Err(Failure::Refused(EndClientsError::Unknown)));
}

/// Otherwise those that stations still have would be ended with them.
#[tokio::test]
async fn earlier_certificates_that_have_expired_do_not_prevent_a_renewal() {
    let (site, _, _) = furnished().await;
    let devices = &site.console.device_identity;
    let administrator = administrator();
    let renewed = async || devices.renew_client(&administrator, "category", None).await;
    for _ in 0..4 {
        assert!(renewed().await.is_ok());
    }
    site.clock.advance(YEAR * 10 + Duration::from_secs(1));
    assert!(renewed().await.is_ok());
    assert_eq!(site.records("tpm_client_certificate").await, 1);
    let ended = devices.end_earlier_clients(&administrator, "category", None);
    assert_eq!(ended.await, Ok(0));
}

/// The body of a request may arrive long after its head, with which the station was authenticated.
#[tokio::test]
async fn a_station_whose_certificate_is_ended_by_then_changes_nothing() {
    let (site, client, activation) = activation_below_another().await;
    let devices = &site.console.device_identity;
    let administrator = administrator();
    assert!(
        devices
            .renew_client(&administrator, "other", None)
            .await
            .is_ok()
    );
    let origin = console_origin();
    let before = devices.station_with_certificate(client, &origin).await;
    let before = before.unwrap();
    let ended = devices
        .end_earlier_clients(&administrator, "other", None)
        .await;
    assert_eq!(ended, Ok(1));
    let late = devices.activate(&before, &activation).await;
    assert!(
        matches!(late, Err(Failure::Storage(StorageError::Contended { .. }))),
        "{late:?}"
    );
    assert_eq!(site.records("tpm_attestation_key").await, 0);
    let after = devices.station_with_certificate(client, &origin).await;
    assert!(matches!(
        after,
        Err(Failure::Refused(CertificateNotAccepted))
    ));
    // None of its records stays when the category is deleted.
    assert!(
        devices
            .renew_client(&administrator, "other", None)
            .await
            .is_ok()
    );
    let gone = format!("{CATEGORIES}/other");
    site.admin("DELETE", &gone).send().await.is(200);
    assert_eq!(site.records("tpm_client_certificate").await, 1);
}

/// Clients may choose a certificate by the names in the handshake, which contains each category as soon as it exists.
#[tokio::test]
async fn the_handshake_names_the_cas_of_the_categories_there_are() {
    let secured = Secured::start().await;
    let issuer = |cert: &str| {
        let upload = Upload::decode(cert.as_bytes()).unwrap();
        upload.certificate().unwrap().issuer().as_der().to_vec()
    };
    for version in VERSIONS {
        let told = async || {
            let shown = nothing();
            secured.preauth(version, &shown, None, "").await.unwrap();
            let mut names = shown.told.lock().unwrap().clone();
            names.sort();
            names
        };
        assert_eq!(told().await, Vec::<Vec<u8>>::new());
        let (first, _) = secured.category("first").await;
        assert_eq!(told().await, [issuer(&first)]);
        let (second, _) = secured.category("second").await;
        let mut both = [issuer(&first), issuer(&second)];
        both.sort();
        assert_eq!(told().await, both);
        for name in ["first", "second"] {
            let object = format!("{CATEGORIES}/{name}");
            secured.site.admin("DELETE", &object).send().await.is(200);
        }
    }
}

/// As an earlier release left them: without an index of client certificates.
#[tokio::test]
async fn categories_of_before_there_was_an_index_are_in_it() {
    let secured = Secured::start().await;
    let (cert, key) = secured.category("category").await;
    let bound = secured.api_key("category", "bound", true).await;
    let index = ["tpm_client_certificate", "tpm_client_certificates"];
    secured.site.lose(&index).await;
    let own = identity(&cert, &key);
    let told = secured.preauth(&version::TLS13, &own, None, &bound).await;
    assert_eq!(told.as_deref(), Some(SUCCESS));
    assert_eq!(own.told.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn no_certificate_is_asked_for_unless_that_is_configured_and_the_key_alone_may_do() {
    let version = &version::TLS13;
    let secured = Secured::start_with(&[]).await;
    let (cert, key) = secured.category("category").await;
    let bound = secured.api_key("category", "bound", true).await;
    let own = identity(&cert, &key);
    let station = secured.site.operator_token(&["tpm-station"], None).await;
    let told = secured.preauth(version, &own, None, &bound).await;
    assert_eq!(told.as_deref(), Some(UNAUTHENTICATED));
    let told = secured.preauth(version, &own, Some(&station), &bound).await;
    assert_eq!(told.as_deref(), Some(INVALID));

    let secured = Secured::start_with(&[
        ("f5.client_certificates", true.into()),
        ("f5.station_auth", "api_key_only".into()),
    ])
    .await;
    let (cert, key) = secured.category("category").await;
    let (other_cert, other_key) = secured.category("other").await;
    let bound = secured.api_key("category", "bound", true).await;
    let free = secured.api_key("category", "free", false).await;
    for (shown, told_of_bound) in [
        (identity(&cert, &key), SUCCESS),
        (identity(&other_cert, &other_key), INVALID),
        (nothing(), INVALID),
    ] {
        let told = secured.preauth(version, &shown, None, &bound).await;
        assert_eq!(told.as_deref(), Some(told_of_bound));
        let told = secured.preauth(version, &shown, None, &free).await;
        assert_eq!(told.as_deref(), Some(SUCCESS));
    }

    // Without TLS there are no handshakes to request a certificate in.
    let plain = config(&[("f5.client_certificates", true.into())]);
    assert!(matches!(plain, Err(ConfigError::ClientCertificates(_))));
    let elsewhere = config(&[
        ("f5.client_certificates", true.into()),
        ("dialects.f5.enabled", false.into()),
    ]);
    assert!(!elsewhere.unwrap().requests_client_certificates());

    // A browser would ask its user for a certificate.
    let beside = |flags: &[(&'static str, toml::Value)]| {
        let mut all = vec![
            ("f5.client_certificates", true.into()),
            ("tls.self_signed", true.into()),
        ];
        all.extend_from_slice(flags);
        config(&all)
    };
    let refused = beside(&[]).err().unwrap();
    assert!(matches!(
        refused,
        ConfigError::ClientCertificatesBeside { .. }
    ));
    assert!(
        refused.to_string().contains("dialects.f5.listen"),
        "{refused}"
    );
    for apart in [
        &[
            ("account.enabled", false.into()),
            ("console.enabled", false.into()),
        ][..],
        &[("dialects.f5.listen", "127.0.0.1:1".into())],
        &[("dialects.f5.listen", "127.0.0.1:0".into())],
        &[
            ("account.listen", "127.0.0.1:1".into()),
            ("console.listen", "127.0.0.1:1".into()),
        ],
    ] {
        let apart = beside(apart).unwrap();
        assert!(apart.requests_client_certificates());
    }
    // A single site is already rejected.
    for site in ["account.enabled", "console.enabled"] {
        assert!(beside(&[(site, false.into())]).is_err(), "{site}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_preauthorizes_with_a_categorys_client_key() {
    let secured = Secured::start().await;
    let (cert, key) = secured.category("category").await;
    let (other_cert, other_key) = secured.category("other").await;
    let bound = secured.api_key("category", "bound", true).await;
    let file = |name: &str, text: &str| {
        let path = secured.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let device = Device::new(&secured.manufacturer, "SN0001").info();
    let body = json!({ "api_key": bound, "device": device });
    let body = file("body.json", &body.to_string());
    let curl = |client: Option<(&Path, &Path)>| {
        let mut command = Command::new("curl");
        let port = secured.node.address().port();
        command
            .args(["--silent", "--show-error", "--cacert"])
            .arg(secured.folder.path().join("server.pem"))
            .args(["--resolve", &format!("localhost:{port}:127.0.0.1")]);
        if let Some((cert, key)) = client {
            command.arg("--cert").arg(cert).arg("--key").arg(key);
        }
        command
            .arg("--data-binary")
            .arg(format!("@{}", body.display()))
            .arg(format!("https://localhost:{port}{PREAUTH}"));
        let output = command
            .output()
            .expect("the peer `curl` cannot be run: install the package curl");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{told}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let own = (file("own.pem", &cert), file("own.key", &key));
    let others = (
        file("other.pem", &other_cert),
        file("other.key", &other_key),
    );
    let told = curl(Some((&own.0, &own.1)));
    assert_eq!(told, json!({ "status": SUCCESS }));
    let told = curl(Some((&others.0, &others.1)));
    assert_eq!(told, json!({ "status": INVALID }));
    assert_eq!(curl(None)["code"], 16);
}
