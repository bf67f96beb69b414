//! The parts specific to emnify: the setup of its site, its users and their phones, and its answers.

use std::{path::Path, sync::Arc, time::Duration};

use keyproof::server::Server;
use keyproof_otp::{Algorithm, Base32Profile, Digits, Secret, Totp};
use keyproof_service::{
    accounts::{AccountTarget, NewUser, Role, UserChange},
    audit::Event,
};
use keyproof_store::{
    Engine, Store, SystemEntropy, Timestamp,
    memory::MemoryEngine,
    sqlite::{SqliteEngine, SqliteOptions},
};
use serde_json::{Value, json};

use crate::emnify::site::{Answer, Call, Flag, Site, command_line, secret};

/// The initial time of the clock, in seconds: the start of a TOTP step.
pub(crate) const START: u64 = 1_700_000_010;

/// The password of every user.
pub(crate) const PASSWORD: &str = "correct horse";

/// Its SHA-1, as clients send it.
pub(crate) const PASSWORD_SHA1: &str = "2f9e53523b62abc141a2b4d6019d23cba835dbd0";

pub(crate) const ADA: &str = "ada@example.org";
pub(crate) const BOB: &str = "bob@example.org";

pub(crate) const AUTHENTICATE: &str = "/api/v1/authenticate";

const UNLIMITED: Flag = ("auth.address_limit", toml::Value::Integer(0));

impl Site {
    /// Starts with the user Ada and the administrator Bob, and without a login limit per address.
    pub(crate) async fn start() -> Self {
        let site = Self::configured(&[UNLIMITED]).await;
        site.add(ADA, "Example Org", Role::User).await;
        site.add(BOB, "Example Org", Role::Administrator).await;
        site
    }

    /// Starts with only Ada, on SQLite in this folder.
    pub(crate) async fn on_sqlite(folder: &Path) -> Self {
        Self::on_sqlite_with(folder, &[UNLIMITED]).await
    }

    /// The same, with refresh tokens that are valid once.
    pub(crate) async fn rotating(folder: &Path) -> Self {
        let rotate = ("emnify.rotate_refresh_tokens", true.into());
        Self::on_sqlite_with(folder, &[UNLIMITED, rotate]).await
    }

    async fn on_sqlite_with(folder: &Path, flags: &[Flag]) -> Self {
        let site = Self::on(sqlite(folder), flags).await;
        site.add(ADA, "Example Org", Role::User).await;
        site
    }

    /// Starts another server on the same SQLite file, with the same clock.
    pub(crate) async fn twin(&self, folder: &Path) -> Server {
        let entropy = Arc::new(SystemEntropy::new());
        let (keys, now) = (self.keys.clone(), self.now());
        let store = Store::open(sqlite(folder), keys, entropy.clone(), now);
        let (config, clock) = (Arc::clone(&self.config), self.clock.clone());
        let server = Server::start(config, store.await.unwrap(), clock, entropy);
        server.await.unwrap()
    }

    /// Starts without users, with these settings.
    pub(crate) async fn configured(flags: &[Flag]) -> Self {
        Self::on(Arc::new(MemoryEngine::new()), flags).await
    }

    pub(crate) async fn on(engine: Arc<dyn Engine>, flags: &[Flag]) -> Self {
        Self::set_up(Timestamp::from_secs(START), engine, flags, every_answer).await
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
            .add_user(&new, secret(PASSWORD), &command_line())
            .await;
        added.unwrap();
    }

    /// Makes this change to a user, as a command does.
    pub(crate) async fn change(&self, name: &str, change: UserChange) {
        let command = command_line();
        let target = AccountTarget::Named(&command, name);
        let changed = self.console.accounts.change_user(target, change);
        changed.await.unwrap();
    }

    /// Returns the events of the audit trail with the names of users, as its readers see them.
    pub(crate) async fn named_events(&self) -> Vec<Event> {
        let mut events = self.events().await;
        let named = self.console.accounts.name_subjects(&mut events).await;
        named.unwrap();
        events
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

    /// Requests the list of users with this token.
    pub(crate) async fn users(&self, token: &str) -> Answer {
        self.get("/api/v1/user").send_as(token).await
    }

    /// Returns a user's number, as the user of this token sees it.
    pub(crate) async fn number(&self, name: &str, token: &str) -> Value {
        let user = self.get(&format!("/api/v1/user/{name}")).bearer(token);
        user.send().await.is(200).json["id"].clone()
    }

    /// Creates an application token, and returns its text.
    pub(crate) async fn application_token(&self, token: &str, body: &Value) -> String {
        let call = self.post("/api/v1/application_token", body).bearer(token);
        call.send().await.is(200).text("application_token")
    }

    /// Step one.
    pub(crate) async fn password(&self, name: &str, password: &str) -> Answer {
        self.authenticate(json!({ "username": name, "password": password }))
            .await
    }

    /// Returns an access token of a user without a key.
    pub(crate) async fn token(&self, name: &str) -> String {
        self.password(name, PASSWORD)
            .await
            .is(200)
            .text("auth_token")
    }

    /// Returns the challenge of a user with a key.
    pub(crate) async fn challenge(&self, name: &str) -> String {
        self.password(name, PASSWORD)
            .await
            .is(200)
            .text("mfa_token")
    }

    /// Does both steps from a device that is trusted from then on, and returns the answer to the second.
    pub(crate) async fn trusting(&self, name: &str, phone: &Phone, fingerprint: &str) -> Answer {
        let body = json!({
            "mfa_token": self.challenge(name).await,
            "code": phone.shows(self.now()),
            "fingerprint": fingerprint,
        });
        let both = self.authenticate(body).await;
        both.is(200);
        both
    }

    /// Gives a user a pending key, and returns its number.
    pub(crate) async fn pending(&self, name: &str) -> u64 {
        let token = self.token(name).await;
        self.pending_key(&token).await.json["id"].as_u64().unwrap()
    }

    /// Gives a user an active key. Afterwards the step of its first code is over.
    pub(crate) async fn enrol(&self, name: &str) -> Enrolled {
        let token = self.token(name).await;
        let key = self.pending_key(&token).await;
        let phone = Phone::of(&key.text("secret_key"));
        let id = key.json["id"].as_u64().unwrap();
        let body = json!({ "status": { "id": 1 }, "code": phone.shows(self.now()) });
        let path = format!("/api/v1/user/mfa/{id}");
        self.patch(&path, &body).send_as(&token).await.is_empty(204);
        self.clock.advance(Duration::from_secs(30));
        Enrolled { phone, id, token }
    }

    async fn pending_key(&self, token: &str) -> Answer {
        let body = json!({ "type": { "id": 0 }, "password": PASSWORD });
        let call = self.post("/api/v1/user/mfa", &body).bearer(token);
        let key = call.send().await;
        key.is(200);
        key
    }
}

fn sqlite(folder: &Path) -> Arc<dyn Engine> {
    // Two servers on one file wait for each other as long as it takes.
    let mut options = SqliteOptions::default();
    options.busy_timeout = Duration::from_secs(120);
    Arc::new(SqliteEngine::open(folder.join("k.db"), &options).unwrap())
}

pub(crate) struct Enrolled {
    pub(crate) phone: Phone,
    pub(crate) id: u64,
    pub(crate) token: String,
}

/// An authenticator app.
pub(crate) struct Phone(Totp);

impl Phone {
    pub(crate) fn of(base32: &str) -> Self {
        let secret = Secret::from_base32(base32, Base32Profile::Strict).unwrap();
        Self(Totp::new(&secret, Algorithm::Sha1, Digits::SIX))
    }

    pub(crate) fn shows(&self, at: Timestamp) -> String {
        self.0.code(at.as_secs()).to_string()
    }

    /// Returns a code that it shows at no time near now.
    pub(crate) fn never_shows(&self, at: Timestamp) -> String {
        let near: Vec<_> = (0..9)
            .map(|step| self.0.code(at.as_secs() + 30 * step - 120).to_string())
            .collect();
        let mut codes = (0..).map(|code| format!("{code:06}"));
        codes.find(|code| !near.contains(code)).unwrap()
    }
}

/// Asserts the properties of every answer.
fn every_answer(answer: &Answer, _is_head: bool) {
    answer.is_identified_in("x-request-id");
    assert!(!answer.header("cache-control").is_empty(), "{answer:?}");
    if !answer.body.is_empty() {
        assert_eq!(
            answer.header("content-type"),
            "application/json; charset=UTF-8",
            "{answer:?}"
        );
        assert!(!answer.json.is_null(), "{answer:?}");
    }
}

impl Call {
    /// Sends the request to the other server.
    pub(crate) fn to(mut self, twin: &Server) -> Self {
        self.address = twin.address();
        self
    }
}

impl Answer {
    #[track_caller]
    pub(crate) fn is_empty(&self, status: u16) {
        self.is(status);
        assert!(self.body.is_empty(), "{self:?}");
    }

    /// Returns the value of this member.
    #[track_caller]
    pub(crate) fn text(&self, member: &str) -> String {
        let text = self.json[member].as_str();
        text.unwrap_or_else(|| panic!("{self:?}")).to_owned()
    }

    /// Asserts exactly this refusal.
    #[track_caller]
    pub(crate) fn says(&self, status: u16, code: u16, token: &str, message: &str) {
        let body = json!({ "error_code": code, "error_token": token, "message": message });
        assert_eq!(self.is(status).json, body, "{self:?}");
    }

    /// Asserts a refusal with this status, code and message, and no other members but `errors`.
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
