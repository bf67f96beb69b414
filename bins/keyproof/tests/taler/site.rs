//! A server, its clock and its store, and a client for it.

use std::{net::SocketAddr, num::NonZeroUsize, sync::Arc};

use bytes::Bytes;
use data_encoding::BASE64;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use keyproof::{
    config::{Config, Sources},
    server::Server,
};
use keyproof_auth::Cost;
use keyproof_service::{
    Clock, HashingSettings, ManualClock, Origin, Service, Who, otp_devices::Lifetime,
};
use keyproof_store::{
    MasterKey, MasterKeys, Store, SystemEntropy, Timestamp, memory::MemoryEngine,
};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

/// When the clock starts, in seconds.
pub(crate) const START: u64 = 1_700_000_000;

/// The password of every instance.
pub(crate) const PASSWORD: &str = "correct horse";

/// The key of RFC 6238's appendix B.
pub(crate) const KEY: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

/// The longest body.
pub(crate) const LIMIT: usize = 60_000;

pub(crate) const DEVICES: &str = "/private/otp-devices";

pub(crate) const TOKEN: &str = "/private/token";

pub(crate) struct Site {
    address: SocketAddr,
    /// Stops the server when it goes.
    _server: Server,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) store: Store,
    /// What the commands use, in another process.
    pub(crate) console: Arc<Service>,
}

impl Site {
    pub(crate) async fn start() -> Self {
        let config = Config::load(&Sources {
            flags: vec![
                ("http.listen", "127.0.0.1:0".into()),
                ("http.max_body_bytes", i64::try_from(LIMIT).unwrap().into()),
                ("store.url", "memory:".into()),
                ("taler.currency", "EUR".into()),
                ("auth.argon2_memory_kib", 8.into()),
                ("auth.argon2_iterations", 1.into()),
                ("auth.argon2_insecure_for_tests", true.into()),
            ],
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
            threads: NonZeroUsize::MIN,
            queue: 8,
        };
        let console = Service::start(store.clone(), clock.clone(), hashing)
            .await
            .unwrap();
        let site = Self {
            address: server.address(),
            _server: server,
            clock,
            store,
            console,
        };
        let devices = &site.console.otp_devices;
        devices
            .set_password("default", secret(PASSWORD), &console_origin())
            .await
            .unwrap();
        devices
            .add_instance("shop", secret(PASSWORD), &console_origin())
            .await
            .unwrap();
        site
    }

    pub(crate) fn call<'a>(&'a self, method: &str, path: &str) -> Call<'a> {
        Call {
            site: self,
            request: Request::builder()
                .method(method)
                .uri(path)
                .header(header::HOST, "localhost"),
            body: Bytes::new(),
        }
    }

    pub(crate) fn get(&self, path: &str) -> Call<'_> {
        self.call("GET", path)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Call<'_> {
        self.call("POST", path).body(body.to_string())
    }

    pub(crate) fn patch(&self, path: &str, body: &Value) -> Call<'_> {
        self.call("PATCH", path).body(body.to_string())
    }

    pub(crate) fn delete(&self, path: &str) -> Call<'_> {
        self.call("DELETE", path)
    }

    /// Logs in to the default instance.
    pub(crate) async fn login(&self, request: Value) -> Answer {
        self.post(TOKEN, &request)
            .basic("default", PASSWORD)
            .send()
            .await
    }

    /// A token of the default instance, with `secret-token:`.
    pub(crate) async fn token(&self, scope: &str) -> String {
        let answer = self
            .login(json!({ "scope": scope, "duration": { "d_us": "forever" } }))
            .await;
        answer.is(200).json["access_token"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// A token of another instance, made past the server.
    pub(crate) async fn token_of(&self, instance: &str) -> String {
        let devices = &self.console.otp_devices;
        let login = devices
            .login(instance, instance, secret(PASSWORD), &console_origin())
            .await;
        let request = keyproof_service::otp_devices::TokenRequest {
            scope: "all".parse().unwrap(),
            lifetime: Lifetime::Forever,
            description: None,
        };
        let issued = devices
            .issue(&login.unwrap(), &request, &console_origin())
            .await
            .unwrap();
        format!("secret-token:{}", *issued.text)
    }

    /// Adds a device to the default instance.
    pub(crate) async fn add(&self, token: &str, device: Value) {
        self.post(DEVICES, &device)
            .bearer(token)
            .send()
            .await
            .is_empty();
    }
}

pub(crate) fn secret(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_owned())
}

pub(crate) fn console_origin() -> Origin {
    Origin {
        who: Who::Console("test".to_owned()),
        request_id: None,
        address: None,
    }
}

/// The body that adds a device.
pub(crate) fn device(id: &str) -> Value {
    json!({
        "otp_device_id": id,
        "otp_device_description": "Till",
        "otp_key": KEY,
        "otp_algorithm": 1,
    })
}

/// A body with some members set, or taken out where they are `null`.
pub(crate) fn with(mut body: Value, members: Value) -> Value {
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    body
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

    pub(crate) fn basic(self, name: &str, password: &str) -> Self {
        let credentials = BASE64.encode(format!("{name}:{password}").as_bytes());
        self.header("authorization", &format!("Basic {credentials}"))
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
        assert_eq!(self.header("access-control-allow-origin"), "*", "{self:?}");
        assert_eq!(
            self.header("access-control-expose-headers"),
            "*",
            "{self:?}"
        );
        let id = self.header("x-request-id");
        assert!(
            id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()),
            "{self:?}"
        );
        if self.status == StatusCode::NO_CONTENT || is_head {
            assert!(self.body.is_empty(), "{self:?}");
        } else {
            assert_eq!(self.header("content-type"), "application/json", "{self:?}");
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

    /// 204
    #[track_caller]
    pub(crate) fn is_empty(&self) {
        self.is(204);
    }

    /// A refusal in Taler's shape, with this status and code and nothing else in it but what the caller then checks.
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

    /// 400/22 about a member of the body.
    #[track_caller]
    pub(crate) fn refuses_field(&self, name: &str) {
        self.refuses(400, 22);
        assert_eq!(self.json["field"], name, "{self:?}");
        assert!(self.json["line"].is_u64(), "{self:?}");
    }
}
