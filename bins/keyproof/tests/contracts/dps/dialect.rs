//! The parts specific to DPS: the setup of its site, its requests and answers, and CAs.

use std::sync::Arc;

use data_encoding::BASE64;
use keyproof_service::audit::Event;
use keyproof_store::{Timestamp, memory::MemoryEngine};
use keyproof_x509::{
    Certificate, Validity, VerificationCode, algorithms,
    prover::{AwsLcRsSigner, PrivateKey, VerificationLeaf},
};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair};
use serde_json::{Value, json};

use crate::dps::site::{Answer, Call, Site};

/// The initial time of the clock, in seconds: `Tue, 14 Nov 2023 22:13:20 GMT`.
pub(crate) const START: u64 = 1_700_000_000;

/// The certificates of the service that most tests use.
pub(crate) const CERTIFICATES: &str = "/subscriptions/Sub-1/resourceGroups/Group/providers/Microsoft.Devices/provisioningServices/Dps/certificates";

/// The newest version that is documented in full.
pub(crate) const VERSION: &str = "2022-12-12";

impl Site {
    pub(crate) async fn start() -> Self {
        Self::with("").await
    }

    /// Starts a server with these keys of `dps.*`, as TOML.
    pub(crate) async fn with(dps: &str) -> Self {
        let mut settings: toml::Table = format!("[dps]\n{dps}").parse().unwrap();
        let flags = [
            ("http.max_body_bytes", 400_000.into()),
            ("dps", settings.remove("dps").unwrap()),
        ];
        let engine = Arc::new(MemoryEngine::new());
        let now = Timestamp::from_secs(START);
        let mut site = Self::set_up(now, engine, &flags, every_answer).await;
        site.admin = site.operator_token(&["certificates"], None).await;
        site
    }

    /// Returns a request below the service's certificates, with a token and an api-version.
    pub(crate) fn to(&self, method: &str, rest: &str) -> Call {
        self.call(
            method,
            &format!("{CERTIFICATES}{rest}?api-version={VERSION}"),
        )
        .bearer(&self.admin)
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

    /// Generates a code. Returns it and the new etag.
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

    /// Returns the events about certificates, in order of time.
    pub(crate) async fn told(&self) -> Vec<Event> {
        let mut events = self.events().await;
        events.retain(|event| event.action.starts_with("certificate."));
        events
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

    /// Returns the body that uploads it.
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
            validity: Validity::between(START - 90 * 86_400, not_after),
            serial: [7; 16],
        };
        let signer = AwsLcRsSigner::new(&self.key, &ca).unwrap();
        leaf.sign(&signer, algorithms::ALL).unwrap()
    }
}

/// Asserts the properties of every answer.
fn every_answer(answer: &Answer, is_head: bool) {
    assert_eq!(answer.header("cache-control"), "no-cache", "{answer:?}");
    answer.is_identified_in("x-ms-request-id");
    assert_eq!(
        answer.header("x-ms-correlation-request-id"),
        answer.header("x-ms-request-id"),
        "{answer:?}"
    );
    assert_eq!(answer.header("x-request-id"), "", "{answer:?}");
    let kind = answer.header("content-type");
    if answer.body.is_empty() {
        assert!(is_head || kind.is_empty(), "{answer:?}");
    } else {
        assert_eq!(kind, "application/json; charset=utf-8", "{answer:?}");
        assert!(answer.json.is_object(), "{answer:?}");
    }
}

impl Call {
    /// Sets the header as newer clients write it: in quotes.
    pub(crate) fn if_match(self, etag: &str) -> Self {
        self.header("if-match", &format!("\"{etag}\""))
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json")
            .body(body.to_string())
    }
}

impl Answer {
    #[track_caller]
    pub(crate) fn etag(&self) -> String {
        let etag = self.json["etag"].as_str().unwrap();
        assert!(!etag.is_empty() && !etag.contains('"'), "{etag}");
        etag.to_owned()
    }

    /// Asserts a refusal as `ErrorDetails`, with these codes and exactly its four members.
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
        let name = match status {
            413 => "RequestEntityTooLarge".to_owned(),
            414 => "RequestUriTooLong".to_owned(),
            _ => self.status.canonical_reason().unwrap().replace(' ', ""),
        };
        assert_eq!(self.json["httpStatusCode"], name, "{self:?}");
        assert!(self.json["details"].is_string(), "{self:?}");
        assert!(self.message().len() > 10, "{self:?}");
        self
    }

    /// Asserts a refusal in the form of Azure Resource Manager.
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
