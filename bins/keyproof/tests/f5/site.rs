//! A server, its clock and its store, and a client for it.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use keyproof::{
    config::{Config, Sources},
    server::Server,
};
use keyproof_auth::OperatorScopes;
use keyproof_service::{Access, Audit, Clock, ManualClock, Origin, Who, access::NewOperatorToken};
use keyproof_store::{
    BoxFuture, Changes, CommitError, Engine, EngineError, Key, MasterKey, MasterKeys, Prefix, Row,
    Store, SystemEntropy, Timestamp, Version, memory::MemoryEngine,
};
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::Semaphore};

use crate::device::Manufacturer;

/// When the clock starts, in seconds.
pub(crate) const START: u64 = 1_700_000_000;

pub(crate) const PREAUTH: &str = "/api/tpm/tpm/preauth";
pub(crate) const PROVISION: &str = "/api/tpm/tpm/provision";
pub(crate) const MANAGERS: &str = "/api/tpm/namespaces/default/tpm_managers";
pub(crate) const CATEGORIES: &str = "/api/tpm/namespaces/default/tpm_categorys";
pub(crate) const API_KEYS: &str = "/api/tpm/namespaces/default/tpm_api_keys";

pub(crate) struct Site {
    address: SocketAddr,
    /// Stops the server when it goes.
    _server: Server,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) store: Store,
    pub(crate) audit: Arc<Audit>,
    access: Access,
    pub(crate) faults: Arc<Faults>,
    /// An operator's token that does everything.
    pub(crate) admin: String,
}

/// What the store is told to do wrong.
pub(crate) struct Faults {
    pub(crate) unreachable: AtomicBool,
    commits: Mutex<Commits>,
    /// Reads wait for a permit while it is closed by [`Faults::stall`].
    gate: Semaphore,
    stalled: AtomicBool,
    /// Gets a permit once the commit that [`Commits::HoldNext`] is about has come, and that one waits for `released`.
    held: Semaphore,
    released: Semaphore,
}

/// What becomes of commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commits {
    /// The first waits, and others overtake it.
    HoldNext,
    /// They are made, and the answer is lost.
    Lost,
    /// They are not made, and nobody can say so.
    LostUnmade,
    /// They are made.
    Made,
    /// They are not made.
    NotApplied,
}

impl Faults {
    pub(crate) fn commits(&self, fate: Commits) {
        *self.commits.lock().unwrap() = fate;
    }

    /// Runs `overtaking` while the commit of `slow` is under way.
    pub(crate) async fn overtake<T>(
        &self,
        slow: impl Future<Output = T>,
        overtaking: impl Future<Output = ()>,
    ) -> T {
        self.commits(Commits::HoldNext);
        let overtaking = async {
            self.held.acquire().await.unwrap().forget();
            overtaking.await;
            self.released.add_permits(1);
            std::future::pending().await
        };
        // A call that never comes to its commit ends all the same.
        tokio::select! {
            outcome = slow => outcome,
            never = overtaking => never,
        }
    }

    pub(crate) fn stall(&self) {
        self.stalled.store(true, Ordering::SeqCst);
    }

    pub(crate) fn go_on(&self) {
        self.stalled.store(false, Ordering::SeqCst);
        self.gate.add_permits(1000);
    }
}

impl Site {
    pub(crate) async fn start() -> Self {
        Self::start_with(vec![]).await
    }

    pub(crate) async fn start_with(flags: Vec<(&'static str, toml::Value)>) -> Self {
        let mut all: Vec<(&'static str, toml::Value)> = vec![
            ("http.listen", "127.0.0.1:0".into()),
            ("store.url", "memory:".into()),
            ("auth.argon2_memory_kib", 8.into()),
            ("auth.argon2_iterations", 1.into()),
            ("auth.argon2_insecure_for_tests", true.into()),
        ];
        all.extend(flags);
        let sources = Sources {
            flags: all,
            ..Sources::default()
        };
        let config = Config::load(&sources).unwrap();
        let entropy = Arc::new(SystemEntropy::new());
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(START)));
        let keys = MasterKeys::new(&MasterKey::generate(&*entropy));
        let faults = Arc::new(Faults {
            unreachable: AtomicBool::new(false),
            commits: Mutex::new(Commits::Made),
            gate: Semaphore::new(0),
            stalled: AtomicBool::new(false),
            held: Semaphore::new(0),
            released: Semaphore::new(0),
        });
        let engine = Arc::new(FaultyEngine {
            inner: MemoryEngine::new(),
            faults: Arc::clone(&faults),
        });
        let store = Store::open(engine, keys, entropy.clone(), clock.now())
            .await
            .unwrap();
        let server = Server::start(Arc::new(config), store.clone(), clock.clone(), entropy);
        let server = server.await.unwrap();
        let audit = Arc::new(Audit::new(store.clone(), clock.clone()));
        let mut site = Self {
            address: server.address(),
            _server: server,
            access: Access::new(store.clone(), clock.clone(), audit.clone()),
            clock,
            store,
            audit,
            faults,
            admin: String::new(),
        };
        site.admin = site.token("tpm").await;
        site
    }

    /// The text of a new token of this scope.
    pub(crate) async fn token(&self, scope: &str) -> String {
        let new = NewOperatorToken {
            subject: "test".to_owned(),
            scopes: OperatorScopes::parse([scope]).unwrap(),
            lifetime: None,
        };
        let origin = Origin {
            who: Who::Console("test".to_owned()),
            request_id: None,
            address: None,
        };
        self.access
            .create(new, &origin)
            .await
            .unwrap()
            .text
            .to_string()
    }

    /// A manager that trusts a manufacturer, a category and an API key, whose text is returned.
    pub(crate) async fn furnished(&self, manufacturer: &Manufacturer) -> String {
        let roots = json!({ "ek_root_certificates": [manufacturer.root] });
        self.create(MANAGERS, "manager", roots).await.is(200);
        self.category("category").await.is(200);
        self.api_key("station").await
    }

    pub(crate) async fn category(&self, name: &str) -> Answer {
        let spec = json!({ "tpm_manager_ref": [{ "name": "manager" }] });
        self.create(CATEGORIES, name, spec).await
    }

    /// The text of a new key in the category of that name.
    pub(crate) async fn api_key(&self, name: &str) -> String {
        let spec = json!({ "category_ref": [{ "name": "category" }] });
        let answer = self.create(API_KEYS, name, spec).await;
        answer.is(200).json["api_key"].as_str().unwrap().to_owned()
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

    /// A request with the token that may do everything.
    pub(crate) fn admin<'a>(&'a self, method: &str, path: &str) -> Call<'a> {
        self.call(method, path)
            .authorization(&format!("APIToken {}", self.admin))
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

    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// How many records a collection has.
    pub(crate) async fn records(&self, collection: &str) -> usize {
        let all = Prefix::collection(collection);
        let rows = self
            .store
            .scan_raw(&all, None, usize::MAX, self.clock.now());
        rows.await.unwrap().len()
    }

    /// What the audit trail says about an action: each event's outcome, and its detail.
    pub(crate) async fn trail(&self, action: &str) -> Vec<(String, String)> {
        let events = self.audit.events(Timestamp::EPOCH, None).await.unwrap();
        events
            .into_iter()
            .map(|(_, event)| event)
            .filter(|event| event.action == action)
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

/// A request to be sent.
pub(crate) struct Call<'a> {
    site: &'a Site,
    request: http::request::Builder,
    body: Bytes,
}

impl Call<'_> {
    pub(crate) fn authorization(self, value: &str) -> Self {
        self.header(header::AUTHORIZATION.as_str(), value)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.body(body.to_string())
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
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let answer = Answer {
            status: head.status,
            headers: head.headers,
            json: serde_json::from_slice(&body).unwrap_or(Value::Null),
            text: String::from_utf8(body.to_vec()).unwrap(),
        };
        assert_eq!(answer.header("x-request-id").len(), 32, "{answer:?}");
        assert_eq!(answer.header("cache-control"), "no-store", "{answer:?}");
        answer
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) json: Value,
    pub(crate) text: String,
}

impl Answer {
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

    /// A refusal in F5's shape, with nothing else in it.
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

    /// The message says this.
    #[track_caller]
    pub(crate) fn saying(&self, text: &str) {
        let message = self.json["message"].as_str().unwrap();
        assert!(message.contains(text), "{message}");
    }
}

/// The memory engine, which can be made to fail or to hang.
struct FaultyEngine {
    inner: MemoryEngine,
    faults: Arc<Faults>,
}

impl FaultyEngine {
    async fn before(&self) -> Result<(), EngineError> {
        if self.faults.stalled.load(Ordering::SeqCst) {
            self.faults.gate.acquire().await.unwrap().forget();
        }
        match self.faults.unreachable.load(Ordering::SeqCst) {
            true => Err(failure()),
            false => Ok(()),
        }
    }
}

fn failure() -> EngineError {
    EngineError::Io {
        detail: "on purpose".to_owned(),
    }
}

impl Engine for FaultyEngine {
    fn get_many<'a>(
        &'a self,
        keys: &'a [Key],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Option<Row>>, EngineError>> {
        Box::pin(async move {
            self.before().await?;
            self.inner.get_many(keys, now).await
        })
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a Key>,
        limit: usize,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<(Key, Row)>, EngineError>> {
        self.inner.scan(prefix, after, limit, now)
    }

    fn expired(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Key, Version)>, EngineError>> {
        self.inner.expired(before, limit)
    }

    fn commit(&self, changes: Changes) -> BoxFuture<'_, Result<(), CommitError>> {
        Box::pin(async move {
            let fate = *self.faults.commits.lock().unwrap();
            match fate {
                Commits::HoldNext => {
                    self.faults.commits(Commits::Made);
                    self.faults.held.add_permits(1);
                    self.faults.released.acquire().await.unwrap().forget();
                    self.inner.commit(changes).await
                }
                Commits::Lost => {
                    self.inner.commit(changes).await?;
                    Err(CommitError::Unknown(failure()))
                }
                Commits::LostUnmade => Err(CommitError::Unknown(failure())),
                Commits::Made => self.inner.commit(changes).await,
                Commits::NotApplied => Err(CommitError::NotApplied(failure().into())),
            }
        })
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        self.inner.ready()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}
