//! A server with a single worker for expensive checks, which the test can occupy.
#![allow(clippy::panic, clippy::unwrap_used, reason = "test code")]

use std::{
    io::Write,
    net::SocketAddr,
    num::NonZeroUsize,
    sync::{Arc, mpsc},
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use http::StatusCode;
use keyproof::{
    config::{Config, Sources},
    server::Server,
};
use keyproof_auth::{operator::OperatorScopes, taler::LoginScope};
use keyproof_service::{
    CommandLine, CpuQueueSettings, ManualClock, Origin, Principal, Requester, Service, Settings,
    TooBusy,
    access::NewOperatorToken,
    accounts::{FirstStep, NewUser, PasswordLogin, Role},
    device_identity::{
        Administrator, AttestationKeyTemplate, Kind, Metadata, NewApiKey, NewCategory,
        ObjectOperation, PcrPolicy, TrustedMakers,
    },
    otp_devices::{InstanceAdministrator, Lifetime, TokenRequest},
};
use keyproof_store::{SystemEntropy, Timestamp};
use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinHandle};
use zeroize::Zeroizing;

use crate::stack::{Answer, Client};

/// Enough users to make a list of them expensive.
const USERS: usize = 200;
pub(crate) const PASSWORD: &str = "correct horse";

const CERTIFICATES: &str = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Devices/provisioningServices/p/certificates";

/// A server with all dialects.
pub(crate) struct Judged {
    server: Server,
    service: Arc<Service>,
    /// A token with all of an operator's permissions.
    operator: String,
}

/// A request that needs an expensive check, and its refusal if the check is not possible now.
pub(crate) struct CpuQueue {
    pub(crate) what: &'static str,
    head: String,
    body: Vec<u8>,
    /// The name of the refusal's code in the body, and its value.
    code: (&'static str, u64),
}

impl Judged {
    /// Starts with one check at a time, and `queue` more waiting in each queue.
    pub(crate) async fn start(queue: usize) -> Self {
        let config = Config::load(&Sources {
            flags: vec![
                ("http.listen", "127.0.0.1:0".into()),
                ("store.url", "memory:".into()),
                // No rate limit, so that every request is checked.
                ("auth.address_limit", 0.into()),
                ("auth.argon2_memory_kib", 8.into()),
                ("auth.argon2_iterations", 1.into()),
                ("auth.argon2_insecure_for_tests", true.into()),
            ],
            ..Sources::default()
        });
        let config = Arc::new(config.unwrap());
        let entropy = Arc::new(SystemEntropy::new());
        let now = Timestamp::from_secs(1_700_000_000);
        let clock = Arc::new(ManualClock::new(now));
        let store = config.store.open(entropy.clone(), now);
        let settings = Settings {
            cpu_queue: CpuQueueSettings {
                threads: NonZeroUsize::MIN,
                queue,
            },
            ..Settings::from(config.hashing)
        };
        let service = Service::start(store.await.unwrap(), clock, settings);
        let service = service.await.unwrap();
        let server = Server::start_with_service(config, Arc::clone(&service), entropy);
        let new = NewOperatorToken {
            subject: "test".to_owned(),
            scopes: OperatorScopes::parse(["admin"]).unwrap(),
            lifetime: Some(Duration::from_secs(3_600)),
        };
        let operator = service.access.create(new, &command_line()).await.unwrap();
        Self {
            server: server.await.unwrap(),
            operator: operator.text.to_string(),
            service,
        }
    }

    /// Returns at least one request for each dialect that has one.
    pub(crate) async fn requests(&self) -> Vec<CpuQueue> {
        let Self { operator, .. } = self;
        let user = self.user_token().await;
        let instance = self.instance_token().await;
        let api_key = self.api_key().await;
        let certificate = json!({ "properties": { "certificate": "none" } });
        let manager = json!({ "metadata": { "name": "another", "namespace": "default" } });
        vec![
            CpuQueue {
                what: "an upload of a certificate",
                head: format!(
                    "PUT {CERTIFICATES}/c?api-version=2022-12-12 HTTP/1.1\r\nAuthorization: Bearer {operator}\r\n"
                ),
                body: certificate.to_string().into_bytes(),
                code: ("/code", 503_003),
            },
            CpuQueue {
                what: "a list of users",
                head: format!("GET /api/v1/user HTTP/1.1\r\nAuthorization: Bearer {user}\r\n"),
                body: Vec::new(),
                code: ("/error_code", 1601),
            },
            CpuQueue {
                what: "the keys of a CA",
                head: format!(
                    "POST /api/tpm/namespaces/default/tpm_managers HTTP/1.1\r\nAuthorization: APIToken {operator}\r\n"
                ),
                body: manager.to_string().into_bytes(),
                code: ("/code", 14),
            },
            CpuQueue {
                what: "a provision request",
                head: format!(
                    "POST /api/tpm/tpm/provision HTTP/1.1\r\nAuthorization: APIToken {operator}\r\n"
                ),
                body: json!({ "api_key": api_key }).to_string().into_bytes(),
                code: ("/code", 14),
            },
            CpuQueue {
                what: "a compressed body",
                head: format!(
                    "POST /private/otp-devices HTTP/1.1\r\nAuthorization: Bearer secret-token:{instance}\r\nContent-Encoding: gzip\r\n"
                ),
                body: gzip(b"{}"),
                code: ("/code", 77),
            },
        ]
    }

    /// Adds a user, and returns the login.
    async fn add_user(&self, name: &str) -> PasswordLogin {
        let new = NewUser {
            name: name.to_owned(),
            organisation: "Example Org".to_owned(),
            role: Role::User,
        };
        let accounts = &self.service.accounts;
        let command = command_line();
        let added = accounts.add_user(&new, secret(PASSWORD), &command);
        added.await.unwrap();
        PasswordLogin {
            name: new.name,
            password: secret(PASSWORD),
            fingerprint: None,
        }
    }

    async fn user_token(&self) -> String {
        // A shorter list is made in place, without the queue.
        for number in 0..USERS {
            self.add_user(&format!("user-{number}@example.org")).await;
        }
        let login = self.add_user("ada@example.org").await;
        let accounts = &self.service.accounts;
        match accounts.login(login, &origin()).await.unwrap() {
            FirstStep::Authenticated(tokens) => tokens.access.to_string(),
            FirstStep::Challenged(_) => panic!("there is no second factor"),
        }
    }

    async fn instance_token(&self) -> String {
        let devices = &self.service.otp_devices;
        let default = "default";
        let origin = origin();
        let administrator =
            InstanceAdministrator::of_command_line(&CommandLine::of("test".to_owned()), default);
        let set = devices.set_password(&administrator, secret(PASSWORD));
        set.await.unwrap();
        let login = devices.log_in(default, default, secret(PASSWORD), &origin);
        let issuer = login.await.unwrap();
        let request = TokenRequest {
            scope: "all".parse::<LoginScope>().unwrap(),
            lifetime: Lifetime::Forever,
            description: None,
        };
        let issued = devices.issue(&issuer, &request).await;
        issued.unwrap().text.to_string()
    }

    pub(crate) async fn api_key(&self) -> String {
        let devices = &self.service.device_identity;
        let named = |name: &str| Metadata {
            name: name.to_owned(),
            namespace: "default".to_owned(),
            ..Metadata::default()
        };
        let manager = devices
            .create_manager(
                &self.administrator().await,
                named("manager"),
                TrustedMakers::default(),
            )
            .await;
        manager.unwrap();
        let category = NewCategory {
            metadata: named("category"),
            manager: "manager".to_owned(),
            allow_list: Vec::new(),
            attestation_key: AttestationKeyTemplate::default(),
            pcr_policy: PcrPolicy::default(),
        };
        let category = devices
            .create_category(&self.administrator().await, category)
            .await;
        assert!(category.is_ok());
        let key = NewApiKey {
            metadata: named("station"),
            category: "category".to_owned(),
            need_mtls: false,
        };
        let issued = devices
            .create_api_key(&self.administrator().await, key)
            .await;
        issued.unwrap().text.to_string()
    }

    async fn administrator<K: Kind>(&self) -> Administrator<K> {
        let operator = self.service.access.authenticate(&self.operator).await;
        let devices = &self.service.device_identity;
        let permitted = devices
            .permit(
                &operator.unwrap(),
                ObjectOperation::Create,
                "default",
                "",
                &origin(),
            )
            .await;
        permitted.unwrap()
    }

    /// Returns the address that the server listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Returns the token of an operator's session at the console.
    pub(crate) async fn console_session(&self) -> String {
        let origin = origin();
        let signed = self.service.access.sign_in(&self.operator, None, &origin);
        signed.await.unwrap().to_string()
    }

    /// Returns the token of a session at the account site, for a new user with this name.
    pub(crate) async fn account_session(&self, name: &str) -> String {
        let login = self.add_user(name).await;
        let accounts = &self.service.accounts;
        match accounts.sign_in(login, None, &origin()).await {
            Ok(FirstStep::Authenticated(token)) => token.to_string(),
            other => panic!("there is no second factor: {other:?}"),
        }
    }

    /// Occupies the only worker.
    pub(crate) async fn occupy(&self) -> Occupied {
        let (release, released) = mpsc::channel();
        let (started, has_started) = oneshot::channel();
        let cpu_queue = Arc::clone(&self.service.cpu_queue);
        let work = tokio::spawn(async move {
            let held = cpu_queue.run(move || {
                let _ = started.send(());
                let _ = released.recv();
            });
            held.await
        });
        has_started.await.unwrap();
        Occupied { release, work }
    }

    /// Returns how many requests the metrics count as put off.
    pub(crate) fn put_off(&self) -> u64 {
        let queues = self.service.figures().queues;
        queues.iter().map(|(_, queue)| queue.refused).sum()
    }

    /// Sends a request on a new connection.
    pub(crate) async fn send(&self, request: &CpuQueue) -> Client {
        let length = request.body.len();
        let head = format!(
            "{}Host: x\r\nContent-Length: {length}\r\n\r\n",
            request.head
        );
        let request = [head.as_bytes(), &request.body].concat();
        Client::connect_with(self.server.address(), request).await
    }

    /// Asserts that the server serves, whatever is being checked.
    pub(crate) async fn is_healthy(&self) {
        let health = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
        let mut client = Client::connect_with(self.server.address(), health).await;
        assert_eq!(client.answer().await.status, 200);
    }
}

impl CpuQueue {
    /// Asserts that the request is refused for now, in its dialect's form.
    #[track_caller]
    pub(crate) fn is_put_off(&self, answer: &Answer) {
        assert_eq!(answer.status, 503, "{}: {answer:?}", self.what);
        assert_eq!(answer.header("retry-after"), Some("1"), "{}", self.what);
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        let (at, code) = self.code;
        assert_eq!(body.pointer(at), Some(&json!(code)), "{}", self.what);
    }

    /// Asserts that the request was checked, whatever the verdict.
    #[track_caller]
    pub(crate) fn is_judged(&self, answer: &Answer) {
        let status = StatusCode::from_u16(answer.status).unwrap();
        assert!(!status.is_server_error(), "{}: {answer:?}", self.what);
        assert_ne!(status, StatusCode::UNAUTHORIZED, "{}", self.what);
        assert_ne!(status, StatusCode::NOT_FOUND, "{}", self.what);
    }
}

/// The only worker, occupied until this is released.
pub(crate) struct Occupied {
    release: mpsc::Sender<()>,
    work: JoinHandle<Result<(), TooBusy>>,
}

impl Occupied {
    pub(crate) async fn end(self) {
        drop(self.release);
        assert_eq!(self.work.await.unwrap(), Ok(()));
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn secret(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_owned())
}

fn command_line() -> CommandLine {
    CommandLine::of("test".to_owned())
}

fn origin() -> Origin {
    Origin {
        who: Principal::CommandLine("test".to_owned()),
        request_id: None,
        address: Some([127, 0, 0, 1].into()),
        requester: Requester::default(),
        warrants: Vec::new(),
    }
}
