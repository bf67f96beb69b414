//! A server, its clock and its store, and a client for it.

use std::{net::SocketAddr, num::NonZeroUsize, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use keyproof::{
    config::{Config, Sources},
    server::Server,
};
use keyproof_auth::Cost;
use keyproof_otp::{Algorithm, Base32Profile, Digits, Secret, Totp};
use keyproof_service::{
    Clock, HashingSettings, ManualClock, Origin, Service, Who,
    accounts::{NewUser, Role},
};
use keyproof_store::{
    Engine, MasterKey, MasterKeys, Store, SystemEntropy, Timestamp,
    memory::MemoryEngine,
    sqlite::{SqliteEngine, SqliteOptions},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpStream, sync::Barrier};
use toml::Value as Setting;
use zeroize::Zeroizing;

/// When the clock starts, in seconds: the first of a step.
pub(crate) const START: u64 = 1_700_000_010;

/// The password of every user.
pub(crate) const PASSWORD: &str = "correct horse";

/// Its SHA-1, as clients send it.
pub(crate) const PASSWORD_SHA1: &str = "2f9e53523b62abc141a2b4d6019d23cba835dbd0";

pub(crate) const ADA: &str = "ada@example.org";
pub(crate) const BOB: &str = "bob@example.org";

pub(crate) const AUTHENTICATE: &str = "/api/v1/authenticate";

/// A key of the configuration, and what it is set to.
type Flag = (&'static str, Setting);

const UNLIMITED: Flag = ("emnify.authenticate_limit", Setting::Integer(0));

pub(crate) struct Site {
    address: SocketAddr,
    /// Stops the server when it goes.
    _server: Server,
    config: Arc<Config>,
    keys: MasterKeys,
    folder: Option<TempDir>,
    pub(crate) clock: Arc<ManualClock>,
    /// What the commands use, in another process.
    pub(crate) console: Arc<Service>,
}

impl Site {
    /// With Ada, a user, and Bob, an administrator, and without a limit of logins an address.
    pub(crate) async fn start() -> Self {
        let site = Self::on(Arc::new(MemoryEngine::new()), None, &[UNLIMITED]).await;
        site.add(ADA, "Example Org", Role::User).await;
        site.add(BOB, "Example Org", Role::Administrator).await;
        site
    }

    /// The same on SQLite.
    pub(crate) async fn on_sqlite() -> Self {
        Self::on_sqlite_with(&[UNLIMITED]).await
    }

    /// The same, where refresh tokens are good once.
    pub(crate) async fn rotating() -> Self {
        Self::on_sqlite_with(&[
            UNLIMITED,
            ("emnify.rotate_refresh_tokens", Setting::Boolean(true)),
        ])
        .await
    }

    async fn on_sqlite_with(flags: &[Flag]) -> Self {
        let folder = TempDir::new().unwrap();
        let engine = sqlite(&folder);
        let site = Self::on(engine, Some(folder), flags).await;
        site.add(ADA, "Example Org", Role::User).await;
        site
    }

    /// Another server on the same SQLite file, under the same clock.
    pub(crate) async fn twin(&self) -> Twin {
        let engine = sqlite(self.folder.as_ref().unwrap());
        let entropy = Arc::new(SystemEntropy::new());
        let now = self.clock.now();
        let store = Store::open(engine, self.keys.clone(), entropy.clone(), now);
        let (config, clock) = (Arc::clone(&self.config), self.clock.clone());
        let server = Server::start(config, store.await.unwrap(), clock, entropy);
        Twin(server.await.unwrap())
    }

    /// With nobody, and with these settings.
    pub(crate) async fn configured(flags: &[Flag]) -> Self {
        Self::on(Arc::new(MemoryEngine::new()), None, flags).await
    }

    async fn on(engine: Arc<dyn Engine>, folder: Option<TempDir>, flags: &[Flag]) -> Self {
        let mut all = vec![
            ("http.listen", "127.0.0.1:0".into()),
            ("store.url", "memory:".into()),
            ("auth.argon2_memory_kib", 8.into()),
            ("auth.argon2_iterations", 1.into()),
            ("auth.argon2_insecure_for_tests", true.into()),
        ];
        all.extend_from_slice(flags);
        let config = Config::load(&Sources {
            flags: all,
            ..Sources::default()
        });
        let config = Arc::new(config.unwrap());
        let entropy = Arc::new(SystemEntropy::new());
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(START)));
        let keys = MasterKeys::new(&MasterKey::generate(&*entropy));
        let store = Store::open(engine, keys.clone(), entropy.clone(), clock.now())
            .await
            .unwrap();
        let server = Server::start(config.clone(), store.clone(), clock.clone(), entropy);
        let server = server.await.unwrap();
        let hashing = HashingSettings {
            cost: Cost::insecure_for_tests(8, 1, 1).unwrap(),
            threads: NonZeroUsize::MIN,
            queue: 8,
        };
        Self {
            address: server.address(),
            _server: server,
            config,
            keys,
            folder,
            console: Service::start(store, clock.clone(), hashing).await.unwrap(),
            clock,
        }
    }

    pub(crate) async fn add(&self, name: &str, organisation: &str, role: Role) {
        let new = NewUser {
            name: name.to_owned(),
            organisation: organisation.to_owned(),
            role,
        };
        let added = self
            .console
            .accounts
            .add_user(&new, secret(PASSWORD), &console_origin())
            .await;
        added.unwrap();
    }

    /// The time on the clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn call(&self, method: &str, path: &str) -> Call {
        Call {
            address: self.address,
            request: Request::builder()
                .method(method)
                .uri(path)
                .header(header::HOST, "localhost"),
            body: Bytes::new(),
        }
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

    pub(crate) async fn authenticate(&self, body: Value) -> Answer {
        self.post(AUTHENTICATE, &body).send().await
    }

    /// Step one.
    pub(crate) async fn password(&self, name: &str, password: &str) -> Answer {
        self.authenticate(json!({ "username": name, "password": password }))
            .await
    }

    /// An access token of a user without a key.
    pub(crate) async fn token(&self, name: &str) -> String {
        self.password(name, PASSWORD)
            .await
            .is(200)
            .text("auth_token")
    }

    /// The challenge of a user with one.
    pub(crate) async fn challenge(&self, name: &str) -> String {
        self.password(name, PASSWORD)
            .await
            .is(200)
            .text("mfa_token")
    }

    /// Gives a user a pending key, and says its number.
    pub(crate) async fn pending(&self, name: &str) -> u64 {
        let token = self.token(name).await;
        let body = json!({ "type": { "id": 0 }, "password": PASSWORD });
        let key = self
            .post("/api/v1/user/mfa", &body)
            .bearer(&token)
            .send()
            .await;
        key.is(200).json["id"].as_u64().unwrap()
    }

    /// Gives a user an active key; the step of its first code is over after.
    pub(crate) async fn enrol(&self, name: &str) -> Enrolled {
        let token = self.token(name).await;
        let body = json!({ "type": { "id": 0 }, "password": PASSWORD });
        let key = self
            .post("/api/v1/user/mfa", &body)
            .bearer(&token)
            .send()
            .await;
        let phone = Phone::of(&key.is(200).text("secret_key"));
        let id = key.json["id"].as_u64().unwrap();
        let body = json!({ "status": { "id": 1 }, "code": phone.shows(self.clock.now()) });
        let path = format!("/api/v1/user/mfa/{id}");
        self.patch(&path, &body)
            .bearer(&token)
            .send()
            .await
            .is_empty(204);
        self.clock.advance(Duration::from_secs(30));
        Enrolled { phone, id, token }
    }
}

fn sqlite(folder: &TempDir) -> Arc<dyn Engine> {
    let path = folder.path().join("k.db");
    Arc::new(SqliteEngine::open(&path, &SqliteOptions::default()).unwrap())
}

/// A second server.
pub(crate) struct Twin(Server);

pub(crate) struct Enrolled {
    pub(crate) phone: Phone,
    pub(crate) id: u64,
    pub(crate) token: String,
}

/// What an authenticator shows.
pub(crate) struct Phone(Totp);

impl Phone {
    pub(crate) fn of(base32: &str) -> Self {
        let secret = Secret::from_base32(base32, Base32Profile::Strict).unwrap();
        Self(Totp::new(&secret, Algorithm::Sha1, Digits::SIX))
    }

    pub(crate) fn shows(&self, at: Timestamp) -> String {
        self.0.code(at.as_secs()).to_string()
    }

    /// A code that it shows at no time near.
    pub(crate) fn never_shows(&self, at: Timestamp) -> String {
        let near: Vec<_> = (0..9)
            .map(|step| self.0.code(at.as_secs() + 30 * step - 120).to_string())
            .collect();
        let mut codes = (0..).map(|code| format!("{code:06}"));
        codes.find(|code| !near.contains(code)).unwrap()
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

/// A request to be sent.
pub(crate) struct Call {
    address: SocketAddr,
    request: http::request::Builder,
    body: Bytes,
}

impl Call {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// To the other server.
    pub(crate) fn to(mut self, twin: &Twin) -> Self {
        self.address = twin.0.address();
        self
    }

    pub(crate) async fn send(self) -> Answer {
        self.send_with(&Barrier::new(1)).await
    }

    /// Connects, and sends when all others at the barrier have connected too.
    pub(crate) async fn send_with(self, others: &Barrier) -> Answer {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        others.wait().await;
        let request = self.request.body(Full::new(self.body)).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let answer = Answer {
            status: head.status,
            headers: head.headers,
            json: serde_json::from_slice(&body).unwrap_or(Value::Null),
            body,
        };
        answer.has_what_every_answer_has();
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
    fn has_what_every_answer_has(&self) {
        let id = self.header("x-request-id");
        assert!(
            id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()),
            "{self:?}"
        );
        assert!(!self.header("cache-control").is_empty(), "{self:?}");
        if !self.body.is_empty() {
            assert_eq!(
                self.header("content-type"),
                "application/json; charset=UTF-8",
                "{self:?}"
            );
            assert!(!self.json.is_null(), "{self:?}");
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
    pub(crate) fn is_empty(&self, status: u16) {
        self.is(status);
        assert!(self.body.is_empty(), "{self:?}");
    }

    /// The one member that it is to be read from.
    #[track_caller]
    pub(crate) fn text(&self, member: &str) -> String {
        let text = self.json[member].as_str();
        text.unwrap_or_else(|| panic!("{self:?}")).to_owned()
    }

    /// This refusal to the letter.
    #[track_caller]
    pub(crate) fn says(&self, status: u16, code: u16, token: &str, message: &str) {
        let body = json!({ "error_code": code, "error_token": token, "message": message });
        assert_eq!(self.is(status).json, body, "{self:?}");
    }

    /// A refusal with this status, code and message, and nothing else in it but `errors`.
    #[track_caller]
    pub(crate) fn refuses(&self, status: u16, code: u16, message: &str) -> &Self {
        self.is(status);
        assert_eq!(self.json["error_code"], code, "{self:?}");
        assert!(self.json["error_token"].is_string(), "{self:?}");
        assert!(
            self.json["message"].as_str().unwrap().contains(message),
            "{self:?}"
        );
        let known = ["error_code", "error_token", "message", "errors"];
        let members = self.json.as_object().unwrap();
        assert!(
            members.keys().all(|name| known.contains(&&**name)),
            "{self:?}"
        );
        self
    }
}
