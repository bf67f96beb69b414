//! What the server costs over HTTP: each dialect's main read and main write, beside a bare hyper server that answers
//! with as many bytes.
//!
//! `cargo run --release -p keyproof-benches --bin http [FOLDER]`; builds the release binary first. The folder, by
//! default one below `target/`, decides which disk is measured.
//!
//! Both servers are processes of their own, so that the processor time of each is its own; the client is a third, and
//! shares the machine's cores with them. All take turns at 1, 32 and 256 kept connections. Reads and writes go to one
//! embedded store, with the configuration that `serve` has by default, but for limits on addresses and API keys, and
//! for the cost of passwords, none of which is measured.

use std::{
    env,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use data_encoding::BASE64;
use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use keyproof_benches::{
    Aim, Result, in_folder,
    load::{self, Connection, Turn, request},
    median,
    program::{Process, Program},
    report,
    users::{self, Users},
};
use keyproof_service::{Clock, ManualClock, SystemClock};
use keyproof_store::{MasterKey, SystemEntropy};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};

/// Connections, requests of a turn of reads, and requests of a turn of writes.
const TURNS: [(usize, usize, usize); 3] =
    [(1, 4_000, 300), (32, 24_000, 2_048), (256, 24_000, 4_096)];
const ROUNDS: usize = 3;
/// The kept connections whose memory is measured.
const KEPT: usize = 2_000;
/// Writes of a dialect: one turn a round of each size.
const WRITES: usize = (ROUNDS + 1) * (300 + 2_048 + 4_096);
/// A user answers one challenge a step: the one of now, the one before it and the one after.
const USERS: usize = WRITES.div_ceil(3);

const BARE: &str = "bare";
const DPS: &str =
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.Devices/provisioningServices";
const VERSION: &str = "api-version=2022-12-12";
const NAMESPACE: &str = "/api/tpm/namespaces/default";

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    if env::args().nth(1).as_deref() == Some(BARE) {
        return runtime.block_on(bare());
    }
    let program = Program::build()?;
    in_folder("http", |folder| {
        println!("folder: {}", folder.display());
        println!("cores: {}", std::thread::available_parallelism()?);
        runtime.block_on(async {
            let site = Site::start(&program, &folder.join("keyproof.db")).await?;
            site.reads().await?;
            site.writes().await?;
            site.kept_connections().await
        })
    })
}

/// One of a dialect's operations, as often as it is asked for.
struct Work {
    name: &'static str,
    requests: Vec<String>,
}

struct Site {
    server: Process,
    bare: Process,
    reads: Vec<Work>,
    writes: Vec<Work>,
    users: Users,
}

impl Site {
    async fn start(program: &Program, store: &std::path::Path) -> Result<Self> {
        let key = MasterKey::generate(&SystemEntropy::new());
        let program = program
            .on(store)
            .with(
                "KEYPROOF_STORE__MASTER_KEY_BASE64",
                BASE64.encode(key.as_bytes()),
            )
            .with("KEYPROOF_AUTH__ADDRESS_LIMIT", "0")
            .with("KEYPROOF_EMNIFY__AUTHENTICATE_LIMIT", "0")
            .with("KEYPROOF_F5__RATE_LIMIT_PER_MINUTE", "0")
            .with("KEYPROOF_AUTH__ARGON2_INSECURE_FOR_TESTS", "true")
            .with("KEYPROOF_AUTH__ARGON2_MEMORY_KIB", "8")
            .with("KEYPROOF_AUTH__ARGON2_ITERATIONS", "1");
        // The keys were activated two steps ago, so that the codes of three steps are left.
        let now = SystemClock.now().saturating_sub(2 * users::STEP);
        let clock = Arc::new(ManualClock::new(now));
        let users = Users::enrol(users::open(store, &key, now).await?, clock, USERS).await?;
        let bare = Process::start(
            Command::new(env::current_exe()?)
                .arg(BARE)
                .stderr(Stdio::piped()),
        )?;
        let mut site = Self {
            server: program.serve()?,
            bare,
            reads: Vec::new(),
            writes: Vec::new(),
            users,
        };
        site.taler(&program).await?;
        site.dps(&program).await?;
        site.f5(&program).await?;
        site.emnify(&program).await?;
        Ok(site)
    }

    async fn ask(&self, request: &str) -> Result<Value> {
        let mut connection = Connection::open(self.server.address()).await?;
        let (status, body) = connection.ask(request).await?;
        let text = String::from_utf8_lossy(body);
        if !(200..300).contains(&status) {
            let line = request.lines().next().unwrap_or_default();
            return Err(format!("{line}: answered {status}: {text}").into());
        }
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    async fn taler(&mut self, program: &Program) -> Result<()> {
        program.run(
            &["instance", "set-password", "default", "--stdin"],
            "correct horse",
        )?;
        let basic = format!("Basic {}", BASE64.encode(b"default:correct horse"));
        let login = request("POST", "/private/token", &basic, r#"{"scope":"write"}"#);
        let bearer = format!("Bearer {}", text(&self.ask(&login).await?, "token")?);
        let add = |id: &str| {
            let body = json!({
                "otp_device_id": id,
                "otp_device_description": "front till",
                "otp_key": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
                "otp_algorithm": 1,
            });
            request("POST", "/private/otp-devices", &bearer, &body.to_string())
        };
        self.ask(&add("till")).await?;
        self.read("Taler: a device", "/private/otp-devices/till", &bearer);
        self.writes.push(Work {
            name: "Taler: a new device",
            requests: (0..WRITES)
                .map(|number| add(&format!("till-{number}")))
                .collect(),
        });
        Ok(())
    }

    async fn dps(&mut self, program: &Program) -> Result<()> {
        let bearer = format!("Bearer {}", token(program, "certificates")?);
        let body = json!({ "properties": { "certificate": ca()? } }).to_string();
        let put = |number: usize| {
            // A service holds 25 certificates.
            let path = format!(
                "{DPS}/service-{}/certificates/ca-{number}?{VERSION}",
                number / 20
            );
            request("PUT", &path, &bearer, &body)
        };
        self.ask(&put(0)).await?;
        let path = format!("{DPS}/service-0/certificates/ca-0?{VERSION}");
        self.read("DPS: a certificate", &path, &bearer);
        self.writes.push(Work {
            name: "DPS: a new certificate",
            requests: (1..=WRITES).map(put).collect(),
        });
        Ok(())
    }

    async fn f5(&mut self, program: &Program) -> Result<()> {
        let bearer = format!("APIToken {}", token(program, "tpm")?);
        let ca = ca()?;
        let post = |name: &str| {
            let spec = json!({ "ek_root_certificates": [ca] });
            let body = json!({ "metadata": { "name": name }, "spec": spec });
            request(
                "POST",
                &format!("{NAMESPACE}/tpm_managers"),
                &bearer,
                &body.to_string(),
            )
        };
        self.ask(&post("maker")).await?;
        self.read(
            "F5: a manager",
            &format!("{NAMESPACE}/tpm_managers/maker"),
            &bearer,
        );
        self.writes.push(Work {
            name: "F5: a new manager",
            requests: (0..WRITES)
                .map(|number| post(&format!("maker-{number}")))
                .collect(),
        });
        Ok(())
    }

    async fn emnify(&mut self, program: &Program) -> Result<()> {
        program.run(
            &["user", "add", "ada", "--organisation", "org", "--stdin"],
            "correct horse",
        )?;
        let body = json!({ "username": "ada", "password": "correct horse" }).to_string();
        let login = request("POST", "/api/v1/authenticate", "", &body);
        let bearer = format!("Bearer {}", text(&self.ask(&login).await?, "auth_token")?);
        self.read(
            "emnify: trusted devices",
            "/api/v1/user/my/mfa/trusted_device",
            &bearer,
        );
        self.read("emnify: key statuses", "/api/v1/user/mfa/status", &bearer);
        let mut requests = Vec::new();
        while requests.len() < WRITES {
            self.users.next_step();
            for body in self
                .users
                .challenge(0, USERS.min(WRITES - requests.len()))
                .await?
            {
                requests.push(request("POST", "/api/v1/authenticate", "", &body));
            }
        }
        self.writes.push(Work {
            name: "emnify: the second step of a login",
            requests,
        });
        Ok(())
    }

    fn read(&mut self, name: &'static str, path: &str, authorization: &str) {
        let requests = vec![request("GET", path, authorization, "")];
        self.reads.push(Work { name, requests });
    }

    async fn reads(&self) -> Result<()> {
        for work in &self.reads {
            let request = work.requests.first().ok_or("no request")?;
            let mut connection = Connection::open(self.server.address()).await?;
            let (_, body) = connection.ask(request).await?;
            let size = body.len();
            let bare = load::request("GET", &format!("/{size}"), "", "");
            println!("\n{}: {size} bytes", work.name);
            heading();
            for (connections, requests, _) in TURNS {
                let mut ours = Vec::new();
                let mut theirs = Vec::new();
                for round in 0..=ROUNDS {
                    let turns = [
                        cost(&self.server, connections, &vec![request.clone(); requests]).await?,
                        cost(&self.bare, connections, &vec![bare.clone(); requests]).await?,
                    ];
                    // The first round warms up, and is thrown away.
                    if round > 0 {
                        ours.push(turns[0]);
                        theirs.push(turns[1]);
                    }
                }
                let (ours, theirs) = (middle(&ours), middle(&theirs));
                ours.print("keyproof", connections);
                theirs.print("bare hyper", connections);
                match connections {
                    1 => report(
                        "  p50, of the bare server's",
                        ours.p50 / theirs.p50,
                        Aim::AtMost(3.0),
                    ),
                    _ => report(
                        "  rate, of the bare server's",
                        ours.rate / theirs.rate,
                        Aim::AtLeast(0.5),
                    ),
                }
                report(
                    "  processor time, of the bare server's",
                    ours.processor / theirs.processor,
                    Aim::AtMost(3.0),
                );
            }
        }
        Ok(())
    }

    async fn writes(&self) -> Result<()> {
        for work in &self.writes {
            println!("\n{}", work.name);
            heading();
            let mut left = work.requests.as_slice();
            for (connections, _, requests) in TURNS {
                let mut costs = Vec::new();
                for round in 0..=ROUNDS {
                    let (turn, rest) = left.split_at_checked(requests).ok_or("too few writes")?;
                    left = rest;
                    let cost = cost(&self.server, connections, turn).await?;
                    if round > 0 {
                        costs.push(cost);
                    }
                }
                middle(&costs).print("keyproof", connections);
            }
        }
        Ok(())
    }

    /// What a connection holds that was answered once and is kept.
    async fn kept_connections(&self) -> Result<()> {
        let request = request("GET", "/config", "", "");
        let before = self.server.resident_mib()?;
        let mut kept = Vec::new();
        for _ in 0..KEPT {
            let mut connection = Connection::open(self.server.address()).await?;
            connection.ask(&request).await?;
            kept.push(connection);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let kib = (self.server.resident_mib()? - before) * 1_024.0 / KEPT as f64;
        println!();
        report("KiB a kept idle connection", kib, Aim::AtMost(16.0));
        Ok(())
    }
}

/// Requests a second, times, and the processor time of the server alone: of one turn, or the median of several.
#[derive(Clone, Copy)]
struct Cost {
    rate: f64,
    p50: f64,
    p99: f64,
    processor: f64,
}

fn heading() {
    println!(
        "  {:<12} {:>11} {:>10} {:>9} {:>9} {:>12}",
        "", "connections", "requests/s", "p50 us", "p99 us", "CPU us each"
    );
}

impl Cost {
    fn print(&self, name: &str, connections: usize) {
        let Self {
            rate,
            p50,
            p99,
            processor,
        } = self;
        println!(
            "  {name:<12} {connections:>11} {rate:>10.0} {p50:>9.0} {p99:>9.0} {processor:>12.1}"
        );
    }
}

async fn cost(server: &Process, connections: usize, requests: &[String]) -> Result<Cost> {
    let before = server.processor_time()?;
    let turn: Turn = load::send(server.address(), connections, requests).await?;
    let used = server.processor_time()?.saturating_sub(before);
    let microseconds = |time: Duration| time.as_secs_f64() * 1e6;
    Ok(Cost {
        rate: turn.rate,
        p50: microseconds(turn.p50),
        p99: microseconds(turn.p99),
        processor: microseconds(used) / turn.requests as f64,
    })
}

fn middle(costs: &[Cost]) -> Cost {
    let of = |figure: fn(&Cost) -> f64| median(costs.iter().map(figure).collect());
    Cost {
        rate: of(|cost| cost.rate),
        p50: of(|cost| cost.p50),
        p99: of(|cost| cost.p99),
        processor: of(|cost| cost.processor),
    }
}

fn text<'a>(answer: &'a Value, member: &str) -> Result<&'a str> {
    let value = answer.get(member).and_then(Value::as_str);
    value.ok_or_else(|| format!("no {member} in {answer}").into())
}

fn token(program: &Program, scope: &str) -> Result<String> {
    program.run(&["token", "create", "--quiet", "--scope", scope], "")
}

/// A CA certificate of its own, in PEM.
fn ca() -> Result<String> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "keyproof bench CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    Ok(params.self_signed(&key)?.pem())
}

/// A hyper server with nothing behind it: `GET /N` gives N bytes.
async fn bare() -> Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    eprintln!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let serve = service_fn(async |request: Request<Incoming>| {
            let size = request
                .uri()
                .path()
                .trim_start_matches('/')
                .parse()
                .unwrap_or(0);
            let mut response = Response::new(Full::new(Bytes::from(vec![b'x'; size])));
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            Ok::<_, std::convert::Infallible>(response)
        });
        let mut connection = hyper::server::conn::http1::Builder::new();
        connection.timer(TokioTimer::new());
        tokio::spawn(connection.serve_connection(TokioIo::new(stream), serve));
    }
}
