//! The parts specific to Taler: the setup of its site, its requests and answers.

use std::sync::Arc;

use data_encoding::BASE64;
use http::StatusCode;
use keyproof_service::otp_devices::{Lifetime, TokenRequest};
use keyproof_store::{Timestamp, memory::MemoryEngine};
use serde_json::{Value, json};

use crate::taler::site::{Answer, Call, Flag, Site, administrator, console_origin, secret};

/// The initial time of the clock, in seconds.
pub(crate) const START: u64 = 1_700_000_000;

/// The password of all instances.
pub(crate) const PASSWORD: &str = "correct horse";

/// The key of RFC 6238's appendix B.
pub(crate) const KEY: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

/// The maximum length of a body.
pub(crate) const LIMIT: usize = 60_000;

pub(crate) const DEVICES: &str = "/private/otp-devices";

pub(crate) const TOKEN: &str = "/private/token";

impl Site {
    /// Starts with the instances `default` and `shop`.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same, with these settings.
    pub(crate) async fn start_with(flags: &[Flag]) -> Self {
        let mut all = vec![
            ("http.max_body_bytes", i64::try_from(LIMIT).unwrap().into()),
            ("taler.currency", "EUR".into()),
        ];
        all.extend_from_slice(flags);
        let engine = Arc::new(MemoryEngine::new());
        let now = Timestamp::from_secs(START);
        let site = Self::set_up(now, engine, &all, every_answer).await;
        let devices = &site.console.otp_devices;
        devices
            .set_password(&administrator("default"), secret(PASSWORD))
            .await
            .unwrap();
        devices
            .add_instance(&administrator("shop"), secret(PASSWORD))
            .await
            .unwrap();
        site
    }

    pub(crate) fn get(&self, path: &str) -> Call {
        self.call("GET", path)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Call {
        self.call("POST", path).body(body.to_string())
    }

    pub(crate) fn patch(&self, path: &str, body: &Value) -> Call {
        self.call("PATCH", path).body(body.to_string())
    }

    pub(crate) fn delete(&self, path: &str) -> Call {
        self.call("DELETE", path)
    }

    /// Logs in to the default instance.
    pub(crate) async fn login(&self, request: Value) -> Answer {
        self.post(TOKEN, &request)
            .basic("default", PASSWORD)
            .send()
            .await
    }

    /// Returns a token of the default instance, with `secret-token:`.
    pub(crate) async fn token(&self, scope: &str) -> String {
        let request = json!({ "scope": scope, "duration": { "d_us": "forever" } });
        self.login(request).await.token()
    }

    /// Returns a token of another instance, created without the server.
    pub(crate) async fn token_of(&self, instance: &str) -> String {
        let devices = &self.console.otp_devices;
        let login = devices
            .log_in(instance, instance, secret(PASSWORD), &console_origin())
            .await;
        let request = TokenRequest {
            scope: "all".parse().unwrap(),
            lifetime: Lifetime::Forever,
            description: None,
        };
        let issued = devices.issue(&login.unwrap(), &request).await.unwrap();
        format!("secret-token:{}", *issued.text)
    }

    /// Adds a device to the default instance.
    pub(crate) async fn add(&self, token: &str, device: Value) {
        self.post(DEVICES, &device).send_as(token).await.is_empty();
    }
}

/// Returns the body that adds a device.
pub(crate) fn device(id: &str) -> Value {
    json!({
        "otp_device_id": id,
        "otp_device_description": "Till",
        "otp_key": KEY,
        "otp_algorithm": 1,
    })
}

/// Returns a body with some members replaced, or removed where they are `null`.
pub(crate) fn with(mut body: Value, members: Value) -> Value {
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    body
}

/// Asserts the properties of every answer.
fn every_answer(answer: &Answer, is_head: bool) {
    for cors in [
        "access-control-allow-origin",
        "access-control-expose-headers",
    ] {
        assert_eq!(answer.header(cors), "*", "{answer:?}");
    }
    answer.is_identified_in("x-request-id");
    if answer.status == StatusCode::NO_CONTENT || is_head {
        assert!(answer.body.is_empty(), "{answer:?}");
    } else {
        assert_eq!(
            answer.header("content-type"),
            "application/json",
            "{answer:?}"
        );
        assert!(answer.json.is_object(), "{answer:?}");
    }
}

impl Call {
    pub(crate) fn basic(self, name: &str, password: &str) -> Self {
        let credentials = BASE64.encode(format!("{name}:{password}").as_bytes());
        self.header("authorization", &format!("Basic {credentials}"))
    }
}

impl Answer {
    /// Returns the token of a login's answer, with `secret-token:`.
    #[track_caller]
    pub(crate) fn token(&self) -> String {
        let token = self.is(200).json["access_token"].as_str();
        token.unwrap().to_owned()
    }

    /// Asserts an answer with status 204.
    #[track_caller]
    pub(crate) fn is_empty(&self) {
        self.is(204);
    }

    /// Asserts a refusal in Taler's form, with this status and code; the caller may check further members.
    #[track_caller]
    pub(crate) fn refuses(&self, status: u16, code: u16) -> &Self {
        self.is(status);
        assert_eq!(self.json["code"], code, "{self:?}");
        assert!(
            self.json["hint"]
                .as_str()
                .is_some_and(|hint| !hint.is_empty()),
            "{self:?}"
        );
        let known = ["code", "hint", "detail", "field", "line"];
        let members = self.json.as_object().unwrap();
        assert!(
            members.keys().all(|name| known.contains(&&**name)),
            "{self:?}"
        );
        assert!(members.values().all(|value| !value.is_null()), "{self:?}");
        if status == 401 {
            assert!(
                self.header("www-authenticate").contains("Bearer"),
                "{self:?}"
            );
        }
        self
    }

    /// Asserts a refusal 400/22 of a member of the body.
    #[track_caller]
    pub(crate) fn refuses_field(&self, name: &str) {
        self.refuses(400, 22);
        assert_eq!(self.json["field"], name, "{self:?}");
        assert!(self.json["line"].is_u64(), "{self:?}");
    }
}
