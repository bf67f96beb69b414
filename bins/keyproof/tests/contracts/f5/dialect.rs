//! The parts specific to F5: the setup of its site, its requests and answers.

use std::sync::Arc;

use keyproof_store::{Engine, Timestamp, memory::MemoryEngine};
use keyproof_x509::Certificate;
use serde_json::{Value, json};

use crate::f5::{
    device::{Device, Manufacturer},
    site::{Answer, Call, Flag, Site, command_line},
};

/// The initial time of the clock, in seconds.
pub(crate) const START: u64 = 1_700_000_000;

pub(crate) const ACTIVATE: &str = "/api/tpm/tpm/activate";
pub(crate) const ATTEST: &str = "/api/tpm/tpm/attest";
pub(crate) const NONCE: &str = "/api/tpm/tpm/attest/nonce";
pub(crate) const PREAUTH: &str = "/api/tpm/tpm/preauth";
pub(crate) const PROVISION: &str = "/api/tpm/tpm/provision";
pub(crate) const MANAGERS: &str = "/api/tpm/namespaces/default/tpm_managers";
pub(crate) const CATEGORIES: &str = "/api/tpm/namespaces/default/tpm_categorys";
pub(crate) const API_KEYS: &str = "/api/tpm/namespaces/default/tpm_api_keys";

impl Site {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(crate) async fn start_with(flags: &[Flag]) -> Self {
        Self::on(Arc::new(MemoryEngine::new()), flags).await
    }

    pub(crate) async fn on(engine: Arc<dyn Engine>, flags: &[Flag]) -> Self {
        let now = Timestamp::from_secs(START);
        let mut site = Self::set_up(now, engine, flags, every_answer).await;
        site.admin = site.operator_token(&["tpm"], None).await;
        site
    }

    /// Starts with what `furnished` creates. Returns the site, the manufacturer and the API key's text.
    pub(crate) async fn start_furnished() -> (Self, Manufacturer, String) {
        let (site, manufacturer) = (Self::start().await, Manufacturer::new());
        let key = site.furnished(&manufacturer).await;
        (site, manufacturer, key)
    }

    /// Creates a manager that trusts a manufacturer, a category and an API key. Returns the key's text.
    pub(crate) async fn furnished(&self, manufacturer: &Manufacturer) -> String {
        let roots = json!({ "ek_root_certificates": [manufacturer.root] });
        self.create(MANAGERS, "manager", roots).await.is(200);
        self.category("category").await.is(200);
        self.api_key("station").await
    }

    /// Deletes the key, the category and the manager again.
    pub(crate) async fn strip(&self) {
        for object in [
            format!("{API_KEYS}/station"),
            format!("{CATEGORIES}/category"),
            format!("{MANAGERS}/manager"),
        ] {
            self.admin("DELETE", &object).send().await.is(200);
        }
    }

    pub(crate) async fn category(&self, name: &str) -> Answer {
        let spec = json!({ "tpm_manager_ref": [{ "name": "manager" }] });
        self.create(CATEGORIES, name, spec).await
    }

    /// Creates a key in the category `category`, and returns its text.
    pub(crate) async fn api_key(&self, name: &str) -> String {
        self.api_key_in("category", name).await
    }

    /// The same in another category.
    pub(crate) async fn api_key_in(&self, category: &str, name: &str) -> String {
        let spec = json!({ "category_ref": [{ "name": category }] });
        let answer = self.create(API_KEYS, name, spec).await;
        answer.is(200).json["api_key"].as_str().unwrap().to_owned()
    }

    /// Disables a key.
    pub(crate) async fn disable(&self, api_key: &str) {
        let disabled = json!({ "is_disabled": true });
        self.replace(API_KEYS, api_key, disabled).await.is(200);
    }

    /// Creates a key with the name of a furnished site's, in another namespace, and returns its text.
    pub(crate) async fn namesake(&self) -> String {
        let make = async |kind: &str, name: &str, spec: Value| {
            let body = json!({ "metadata": { "name": name }, "spec": spec });
            let path = format!("/api/tpm/namespaces/other/{kind}");
            self.post(&path, &body).await.is(200).json.clone()
        };
        make("tpm_managers", "manager", json!({})).await;
        let above = json!({ "tpm_manager_ref": [{ "name": "manager" }] });
        make("tpm_categorys", "category", above).await;
        let above = json!({ "category_ref": [{ "name": "category" }] });
        let key = make("tpm_api_keys", "station", above).await;
        key["api_key"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn create(&self, path: &str, name: &str, spec: Value) -> Answer {
        let body = json!({ "metadata": { "name": name, "namespace": "default" }, "spec": spec });
        self.admin("POST", path).json(&body).send().await
    }

    pub(crate) async fn replace(&self, path: &str, name: &str, spec: Value) -> Answer {
        let body = json!({ "metadata": { "name": name, "namespace": "default" }, "spec": spec });
        self.admin("PUT", &format!("{path}/{name}"))
            .json(&body)
            .send()
            .await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.admin("GET", path).send().await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.admin("POST", path).json(body).send().await
    }

    /// Provisions a device, and returns the answer.
    pub(crate) async fn provisioned(&self, api_key: &str, device: &Device) -> Value {
        let answer = self.post(PROVISION, &device.request(api_key)).await;
        answer.is(200).json.clone()
    }

    /// The same, but returns the certificate in the answer.
    pub(crate) async fn certificate(&self, api_key: &str, device: &Device) -> Vec<u8> {
        device.certificate(&self.provisioned(api_key, device).await)
    }

    /// The same, but returns the certificate's serial number.
    pub(crate) async fn serial(&self, api_key: &str, device: &Device) -> Vec<u8> {
        serial(&self.certificate(api_key, device).await)
    }

    /// Provisions a device, and activates the key with what the TPM finds.
    pub(crate) async fn activated(&self, api_key: &str, device: &Device) -> Value {
        let answer = self.provisioned(api_key, device).await;
        self.post(ACTIVATE, &device.activation(&answer))
            .await
            .is(204);
        answer
    }

    /// Returns a request with a token that has all permissions.
    pub(crate) fn admin(&self, method: &str, path: &str) -> Call {
        self.call(method, path)
            .authorization(&format!("APIToken {}", self.admin))
    }

    /// Returns a new station token.
    pub(crate) async fn station_token(&self) -> String {
        self.operator_token(&["tpm-station"], None).await
    }

    /// Revokes all station tokens.
    pub(crate) async fn revoke_stations(&self) {
        let access = &self.console.access;
        for listed in access.list().await.unwrap() {
            if listed.scopes.to_string() == "tpm-station" {
                access.revoke(&listed.id, &command_line()).await.unwrap();
            }
        }
    }

    /// Returns the number of records in a collection.
    pub(crate) async fn records(&self, collection: &str) -> usize {
        self.rows(collection).await.len()
    }

    /// Returns the outcome and detail of each audit event of an action.
    pub(crate) async fn trail(&self, action: &str) -> Vec<(String, String)> {
        let events = self.events_of(action).await.into_iter();
        events
            .map(|event| {
                assert!(event.request_id.is_some(), "{event:?}");
                (
                    format!("{:?}", event.outcome),
                    event.detail.unwrap_or_default(),
                )
            })
            .collect()
    }
}

/// Returns a certificate's serial number.
pub(crate) fn serial(der: &[u8]) -> Vec<u8> {
    let certificate = Certificate::from_der(der).unwrap();
    certificate.serial().as_bytes().to_vec()
}

/// Asserts the properties of every answer.
fn every_answer(answer: &Answer, _is_head: bool) {
    answer.is_identified_in("x-request-id");
    assert_eq!(answer.header("cache-control"), "no-store", "{answer:?}");
    // All answers are text, except CRLs.
    if answer.header("content-type") != "application/pkix-crl" {
        answer.text();
    }
}

impl Call {
    pub(crate) fn authorization(self, value: &str) -> Self {
        self.header("authorization", value)
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.body(body.to_string())
    }
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }

    /// Asserts a refusal in F5's form, with nothing else in it.
    #[track_caller]
    pub(crate) fn refuses(&self, status: u16, code: u16) -> &Self {
        self.is(status);
        assert_eq!(self.header("content-type"), "application/json");
        assert_eq!(self.json["code"], code, "{self:?}");
        assert_eq!(self.json["details"], json!([]), "{self:?}");
        assert!(
            !self.json["message"].as_str().unwrap().is_empty(),
            "{self:?}"
        );
        assert_eq!(self.json.as_object().unwrap().len(), 3, "{self:?}");
        self
    }

    /// Asserts that the message contains this text.
    #[track_caller]
    pub(crate) fn saying(&self, text: &str) {
        let message = self.json["message"].as_str().unwrap();
        assert!(message.contains(text), "{message}");
    }
}
