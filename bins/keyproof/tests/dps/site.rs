//! A server, its clock and its store, a client for it, and CAs.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use data_encoding::BASE64;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use keyproof::{
    config::{Config, Sources},
    server::Server,
};
use keyproof_auth::{Cost, OperatorScopes};
use keyproof_service::{
    Clock, HashingSettings, ManualClock, Origin, Service, Who, access::NewOperatorToken,
    audit::Event,
};
use keyproof_store::{
    MasterKey, MasterKeys, Store, SystemEntropy, Timestamp, memory::MemoryEngine,
};
use keyproof_x509::{
    Certificate, Validity, VerificationCode, algorithms,
    prover::{AwsLcRsSigner, PrivateKey, VerificationLeaf},
};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair};
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// When the clock starts, in seconds: `Tue, 14 Nov 2023 22:13:20 GMT`.
pub(crate) const START: u64 = 1_700_000_000;

/// The certificates of the service that most tests work with.
pub(crate) const CERTIFICATES: &str = "/subscriptions/Sub-1/resourceGroups/Group/providers/Microsoft.Devices/provisioningServices/Dps/certificates";

/// The newest version that is documented in full.
pub(crate) const VERSION: &str = "2022-12-12";

pub(crate) struct Site {
    address: SocketAddr,
    /// Stops the server when it goes.
    _server: Server,
    pub(crate) clock: Arc<ManualClock>,
    /// What the commands use, in another process.
    pub(crate) console: Arc<Service>,
    /// A token that reaches all certificates.
    token: String,
}

impl Site {
    pub(crate) async fn start() -> Self {
        Self::with("").await
    }

    /// A server with some of `dps.*` set, as TOML.
    pub(crate) async fn with(dps: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keyproof.toml");
        let text = format!(
            "[http]\nlisten = \"127.0.0.1:0\"\nmax_body_bytes = 400000\n[store]\nurl = \"memory:\"\n\
             [auth]\nargon2_memory_kib = 8\nargon2_iterations = 1\nargon2_insecure_for_tests = true\n[dps]\n{dps}\n"
        );
        std::fs::write(&file, text).unwrap();
        let config = Config::load(&Sources {
            file: Some(file),
            ..Sources::default()
        })
        .unwrap();
        let entropy = Arc::new(SystemEntropy::new());
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(START)));
        let keys = MasterKeys::new(&MasterKey::generate(&*entropy));
        let engine = Arc::new(MemoryEngine::new());
        let store = Store::open(engine, keys, entropy.clone(), clock.now())
            .await
            .unwrap();
        let server = Server::start(Arc::new(config), store.clone(), clock.clone(), entropy);
        let server = server.await.unwrap();
        let hashing = HashingSettings {
            cost: Cost::insecure_for_tests(8, 1, 1).unwrap(),
            threads: std::num::NonZeroUsize::MIN,
            queue: 8,
        };
        let console = Service::start(store, clock.clone(), hashing).await.unwrap();
        let mut site = Self {
            address: server.address(),
            _server: server,
            clock,
            console,
            token: String::new(),
        };
        site.token = site.token_of(&["certificates"], None).await;
        site
    }

    /// A new token with these scopes, and a lifetime in seconds.
    pub(crate) async fn token_of(&self, scopes: &[&str], lifetime: Option<u64>) -> String {
        let new = NewOperatorToken {
            subject: "test".to_owned(),
            scopes: OperatorScopes::parse(scopes.iter().copied()).unwrap(),
            lifetime: lifetime.map(std::time::Duration::from_secs),
        };
        let issued = self.console.access.create(new, &console_origin()).await;
        issued.unwrap().text.to_string()
    }

    /// A request to exactly this target, without a token.
    pub(crate) fn call<'a>(&'a self, method: &str, target: &str) -> Call<'a> {
        Call {
            site: self,
            request: Request::builder()
                .method(method)
                .uri(target)
                .header(header::HOST, "localhost"),
            body: Bytes::new(),
        }
    }

    /// A request below the service's certificates, with a token and an api-version.
    pub(crate) fn to<'a>(&'a self, method: &str, rest: &str) -> Call<'a> {
        self.call(
            method,
            &format!("{CERTIFICATES}{rest}?api-version={VERSION}"),
        )
        .bearer(&self.token)
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    pub(crate) async fn get(&self, name: &str) -> Answer {
        self.to("GET", &format!("/{name}")).send().await
    }

    /// Creates a certificate.
    pub(crate) async fn put(&self, name: &str, body: &Value) -> Answer {
        let put = self.to("PUT", &format!("/{name}")).json(body).send().await;
        put.is(200);
        put
    }

    /// Generates a code; answers it and the new etag.
    pub(crate) async fn code(&self, name: &str, etag: &str) -> (String, String) {
        let code = self
            .to("POST", &format!("/{name}/generateVerificationCode"))
            .if_match(etag)
            .send()
            .await;
        code.is(200);
        let digits = code.json["properties"]["verificationCode"].as_str();
        (digits.unwrap().to_owned(), code.etag())
    }

    pub(crate) async fn verify(&self, name: &str, etag: &str, leaf: &[u8]) -> Answer {
        self.to("POST", &format!("/{name}/verify"))
            .if_match(etag)
            .json(&json!({"certificate": BASE64.encode(leaf)}))
            .send()
            .await
    }

    /// The events about certificates, in the order of their time.
    pub(crate) async fn told(&self) -> Vec<Event> {
        let events = self.console.audit.events(Timestamp::EPOCH, None).await;
        let events = events.unwrap().into_iter().map(|(_, event)| event);
        events
            .filter(|event| event.action.starts_with("certificate."))
            .collect()
    }
}

pub(crate) fn console_origin() -> Origin {
    Origin {
        who: Who::Console("test".to_owned()),
        request_id: None,
        address: None,
    }
}

/// A CA with its key.
pub(crate) struct Ca {
    pub(crate) der: Vec<u8>,
    pub(crate) pem: String,
    key: PrivateKey,
}

impl Ca {
    /// `CN=name,O=Acme`
    pub(crate) fn new(name: &str) -> Self {
        Self::made(name, |_| {})
    }

    pub(crate) fn made(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let pair = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Acme");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2030, 5, 6);
        change(&mut params);
        let certificate = params.self_signed(&pair).unwrap();
        Self {
            der: certificate.der().to_vec(),
            pem: certificate.pem(),
            key: PrivateKey::from_pem_or_der(&pair.serialize_der()).unwrap(),
        }
    }

    /// The body that uploads it.
    pub(crate) fn body(&self) -> Value {
        json!({"properties": {"certificate": BASE64.encode(&self.der)}})
    }

    pub(crate) fn leaf(&self, code: &str) -> Vec<u8> {
        self.leaf_until(code, START + 30 * 86_400)
    }

    pub(crate) fn leaf_until(&self, code: &str, not_after: u64) -> Vec<u8> {
        let ca = Certificate::from_der(&self.der).unwrap();
        let code = VerificationCode::parse(code).unwrap();
        let leaf = VerificationLeaf {
            ca: &ca,
            code: &code,
            validity: Validity {
                not_before: START - 90 * 86_400,
                not_after,
            },
            serial: [7; 16],
        };
        let signer = AwsLcRsSigner::new(&self.key, &ca).unwrap();
        leaf.sign(&signer, algorithms::ALL).unwrap()
    }
}

/// A request to be sent.
pub(crate) struct Call<'a> {
    site: &'a Site,
    request: http::request::Builder,
    body: Bytes,
}

impl Call<'_> {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// As the newer clients write it: in quotes.
    pub(crate) fn if_match(self, etag: &str) -> Self {
        self.header("if-match", &format!("\"{etag}\""))
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json")
            .body(body.to_string())
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) async fn send(self) -> Answer {
        let stream = TcpStream::connect(self.site.address).await.unwrap();
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        let request = self.request.body(Full::new(self.body)).unwrap();
        let is_head = request.method() == Method::HEAD;
        let response = sender.send_request(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let answer = Answer {
            status: head.status,
            headers: head.headers,
            json: serde_json::from_slice(&body).unwrap_or(Value::Null),
            body,
        };
        answer.has_what_every_answer_has(is_head);
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
    #[track_caller]
    fn has_what_every_answer_has(&self, is_head: bool) {
        assert_eq!(self.header("cache-control"), "no-cache", "{self:?}");
        let id = self.header("x-ms-request-id");
        assert!(
            id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()),
            "{self:?}"
        );
        assert_eq!(self.header("x-ms-correlation-request-id"), id, "{self:?}");
        assert_eq!(self.header("x-request-id"), "", "{self:?}");
        if self.body.is_empty() {
            assert!(
                is_head || self.header("content-type").is_empty(),
                "{self:?}"
            );
        } else {
            assert_eq!(
                self.header("content-type"),
                "application/json; charset=utf-8",
                "{self:?}"
            );
            assert!(self.json.is_object(), "{self:?}");
        }
    }

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

    #[track_caller]
    pub(crate) fn etag(&self) -> String {
        let etag = self.json["etag"].as_str().unwrap();
        assert!(!etag.is_empty() && !etag.contains('"'), "{etag}");
        etag.to_owned()
    }

    /// A refusal as `ErrorDetails`, with these codes and exactly its four members.
    #[track_caller]
    pub(crate) fn refuses(&self, status: u16, code: u32) -> &Self {
        self.is(status);
        let members: Vec<_> = self.json.as_object().unwrap().keys().collect();
        assert_eq!(
            members,
            ["code", "details", "httpStatusCode", "message"],
            "{self:?}"
        );
        assert_eq!(self.json["code"], code, "{self:?}");
        let reason = self.status.canonical_reason().unwrap().replace(' ', "");
        assert_eq!(self.json["httpStatusCode"], reason, "{self:?}");
        assert!(self.json["details"].is_string(), "{self:?}");
        assert!(self.message().len() > 10, "{self:?}");
        self
    }

    /// A refusal as Azure Resource Manager tells it.
    #[track_caller]
    pub(crate) fn refuses_as_arm(&self, status: u16, code: &str) -> &Self {
        self.is(status);
        assert_eq!(self.json.as_object().unwrap().len(), 1, "{self:?}");
        let error = self.json["error"].as_object().unwrap();
        assert_eq!(error.len(), 2, "{self:?}");
        assert_eq!(error["code"], code, "{self:?}");
        assert!(error["message"].as_str().unwrap().len() > 10, "{self:?}");
        self
    }

    pub(crate) fn message(&self) -> &str {
        self.json["message"].as_str().unwrap()
    }

    pub(crate) fn details(&self) -> &str {
        self.json["details"].as_str().unwrap()
    }
}
