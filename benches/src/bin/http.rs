//! The cost of the server over HTTP: each dialect's main read and main write, compared with a bare hyper server that answers with
//! as many bytes.
//!
//! `cargo xtask bench http`, or for a short look `cargo xtask bench http -- --only taler --connections 32 --rounds 1` (`--help`
//! lists the options). It builds the release binary first, unless a binary is given. The folder, by default one below `target/`,
//! decides which disk is measured.
//!
//! A third server is hyper with the use case of Taler's read and nothing else: the cost without our HTTP stack and without a
//! dialect. Each server is a process of its own, so that its processor time can be measured; the client is another process on the
//! same cores. All take turns at 1, 32 and 256 kept connections. Reads and writes go to one embedded store. The configuration is
//! `serve`'s default, except for limits on addresses and API keys and for the cost of passwords, none of which is measured.

use std::{
    env,
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use clap::Parser;
use data_encoding::BASE64;
use keyproof_benches::{
    Aim, Result, in_folder_below, limits,
    load::{self, Connection, Turn, request},
    median,
    program::{Process, Program},
    progress, report,
    users::{self, Users},
};
use keyproof_service::{Clock, ManualClock, SystemClock};
use keyproof_store::{MasterKey, SystemEntropy};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};

/// The number of connections, of requests in a turn of reads, and of requests in a turn of writes.
const TURNS: [(usize, usize, usize); 3] =
    [(1, 4_000, 300), (32, 24_000, 2_048), (256, 24_000, 4_096)];
/// The number of kept connections whose memory is measured.
const KEPT: usize = 2_000;
const KEPT_NAME: &str = "kept connections";
/// A user can answer three challenges: with the code of the current step, of the one before and of the one after.
const STEPS: usize = 3;

const BARE: &str = "bare";
const FLOOR: &str = "floor";
const TALER_DEVICE: &str = "Taler: a device";
const DPS: &str =
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.Devices/provisioningServices";
const VERSION: &str = "api-version=2022-12-12";
const NAMESPACE: &str = "/api/tpm/namespaces/default";
const LOGIN: &str = "emnify: the second step of a login";

#[derive(Parser)]
struct Options {
    /// Where the store is made; by default below `target/`
    folder: Option<PathBuf>,
    /// Only work whose name contains this, such as "taler", "new" or "kept"
    #[arg(long, default_value = "")]
    only: String,
    /// Only this number of connections: 1, 32 or 256
    #[arg(long)]
    connections: Option<usize>,
    /// Turns of each, after a warm-up turn
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The keyproof binary to measure, instead of building one first
    #[arg(long)]
    program: Option<PathBuf>,
}

impl Options {
    fn want(&self, name: &str) -> bool {
        name.to_lowercase().contains(&self.only.to_lowercase())
    }

    fn turns(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let only = self.connections;
        let turns = TURNS.into_iter();
        turns.filter(move |(connections, ..)| only.is_none_or(|only| only == *connections))
    }

    /// Returns the number of writes to a dialect.
    fn writes(&self) -> usize {
        let turn: usize = self.turns().map(|(_, _, writes)| writes).sum();
        // One more shows the length of an answer.
        (self.rounds + 1) * turn + 1
    }

    /// Returns the number of users that log in, so that no user logs in twice in one turn.
    fn users(&self) -> usize {
        let largest = self.turns().map(|(_, _, writes)| writes).max();
        if self.want(LOGIN) {
            self.writes().div_ceil(STEPS) + largest.unwrap_or_default()
        } else {
            0
        }
    }
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let mut arguments = env::args().skip(1);
    match arguments.next().as_deref() {
        Some(BARE) => return runtime.block_on(limits::bare()),
        Some(FLOOR) => {
            let store = arguments.next().ok_or("no store")?;
            return runtime.block_on(limits::one_use_case(store.as_ref()));
        }
        _ => {}
    }
    let options = Options::parse();
    let program = Program::built_or(options.program.as_deref())?;
    let parent = options.folder.clone();
    in_folder_below(parent, "http", |folder| {
        println!("folder: {}", folder.display());
        println!("cores: {}", std::thread::available_parallelism()?);
        runtime.block_on(async {
            let mut site = Site::start(options, &program, &folder.join("keyproof.db")).await?;
            site.reads().await?;
            site.writes().await?;
            site.kept_connections().await
        })
    })
}

/// The writes, one request each.
enum Writes {
    /// Requests that were made beforehand.
    Made(Vec<String>),
    /// Logins, whose codes are valid for only a minute.
    Logins,
}

struct Site {
    options: Options,
    server: Process,
    bare: Process,
    /// Hyper with the use case of [`TALER_DEVICE`] and without our HTTP stack.
    floor: Process,
    reads: Vec<(&'static str, String)>,
    writes: Vec<(&'static str, Writes)>,
    users: Users,
    clock: Arc<ManualClock>,
    /// The number of logins so far.
    logins: usize,
}

impl Site {
    async fn start(options: Options, program: &Program, store: &std::path::Path) -> Result<Self> {
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
        // The keys were activated two steps ago, so that the codes of three steps are unused.
        let now = SystemClock.now().saturating_sub(2 * users::STEP);
        let clock = Arc::new(ManualClock::new(now));
        let opened = users::open(store, &key, now).await?;
        let users = Users::enrol(opened, Arc::clone(&clock), options.users()).await?;
        let limit = |name: &str| {
            let mut command = Command::new(env::current_exe()?);
            let command = command.arg(name).arg(store).stderr(Stdio::piped());
            Process::start(command.env(limits::KEY, BASE64.encode(key.as_bytes())))
        };
        let mut site = Self {
            options,
            server: program.serve()?,
            bare: limit(BARE)?,
            floor: limit(FLOOR)?,
            reads: Vec::new(),
            writes: Vec::new(),
            users,
            clock,
            logins: 0,
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
        self.read(TALER_DEVICE, "/private/otp-devices/till", &bearer);
        self.write("Taler: a new device", |number| {
            add(&format!("till-{number}"))
        });
        Ok(())
    }

    async fn dps(&mut self, program: &Program) -> Result<()> {
        let bearer = format!("Bearer {}", token(program, "certificates")?);
        let body = json!({ "properties": { "certificate": ca()? } }).to_string();
        let put = |number: usize| {
            // A service has at most 25 certificates.
            let path = format!(
                "{DPS}/service-{}/certificates/ca-{number}?{VERSION}",
                number / 20
            );
            request("PUT", &path, &bearer, &body)
        };
        self.ask(&put(0)).await?;
        let path = format!("{DPS}/service-0/certificates/ca-0?{VERSION}");
        self.read("DPS: a certificate", &path, &bearer);
        self.write("DPS: a new certificate", |number| put(number + 1));
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
        self.write("F5: a new manager", |number| {
            post(&format!("maker-{number}"))
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
        if self.options.want(LOGIN) {
            self.writes.push((LOGIN, Writes::Logins));
        }
        Ok(())
    }

    fn read(&mut self, name: &'static str, path: &str, authorization: &str) {
        if self.options.want(name) {
            self.reads
                .push((name, request("GET", path, authorization, "")));
        }
    }

    fn write(&mut self, name: &'static str, request: impl Fn(usize) -> String) {
        if self.options.want(name) {
            let requests = (0..self.options.writes()).map(request).collect();
            self.writes.push((name, Writes::Made(requests)));
        }
    }

    async fn reads(&self) -> Result<()> {
        for (name, request) in &self.reads {
            let mut connection = Connection::open(self.server.address()).await?;
            let (_, body) = connection.ask(request).await?;
            let size = body.len();
            let bare = load::request("GET", &format!("/{size}"), "", "");
            println!("\n{name}: {size} bytes");
            heading();
            for (connections, requests, _) in self.options.turns() {
                let mut ours = Vec::new();
                let mut theirs = Vec::new();
                let mut floor = Vec::new();
                for round in 0..=self.options.rounds {
                    progress("round", round, self.options.rounds);
                    let turns = [
                        cost(&self.server, connections, &vec![request.clone(); requests]).await?,
                        cost(&self.bare, connections, &vec![bare.clone(); requests]).await?,
                    ];
                    // The first round warms up, and is discarded.
                    if round > 0 {
                        ours.push(turns[0]);
                        theirs.push(turns[1]);
                    }
                    if *name == TALER_DEVICE {
                        let requests = vec![request.clone(); requests];
                        floor.push(cost(&self.floor, connections, &requests).await?);
                    }
                }
                let (ours, theirs) = (middle(&ours), middle(&theirs));
                ours.print("keyproof", connections);
                theirs.print("bare hyper", connections);
                if !floor.is_empty() {
                    middle(&floor).print("and the use case", connections);
                }
                ours.compare(&theirs, connections);
            }
        }
        Ok(())
    }

    async fn writes(&mut self) -> Result<()> {
        for (name, writes) in std::mem::take(&mut self.writes) {
            let (first, mut made) = match &writes {
                Writes::Made(requests) => {
                    let (first, rest) = requests.split_first().ok_or("too few writes")?;
                    (first.clone(), rest)
                }
                Writes::Logins => (self.challenged(1).await?.swap_remove(0), &[][..]),
            };
            let mut connection = Connection::open(self.server.address()).await?;
            let (_, body) = connection.ask(&first).await?;
            let size = body.len();
            let bare = with_answer_of(size, &first)?;
            println!("\n{name}: {size} bytes");
            heading();
            let turns: Vec<_> = self.options.turns().collect();
            for (connections, _, requests) in turns {
                let (mut ours, mut theirs) = (Vec::new(), Vec::new());
                for round in 0..=self.options.rounds {
                    progress("round", round, self.options.rounds);
                    let logins;
                    let turn = match writes {
                        Writes::Made(_) => {
                            let (turn, rest) =
                                made.split_at_checked(requests).ok_or("too few writes")?;
                            made = rest;
                            turn
                        }
                        Writes::Logins => {
                            logins = self.challenged(requests).await?;
                            &logins
                        }
                    };
                    let turns = [
                        cost(&self.server, connections, turn).await?,
                        cost(&self.bare, connections, &vec![bare.clone(); turn.len()]).await?,
                    ];
                    if round > 0 {
                        ours.push(turns[0]);
                        theirs.push(turns[1]);
                    }
                }
                middle(&ours).print("keyproof", connections);
                middle(&theirs).print("bare hyper", connections);
            }
        }
        Ok(())
    }

    /// Returns requests that answer a challenge, each of another user. A user's first answer uses the code of the previous step,
    /// the second that of the current step, the third that of the next: a code is accepted only once, and not after a later one.
    async fn challenged(&mut self, count: usize) -> Result<Vec<String>> {
        let users = self.options.users();
        if self.logins % users + count > users {
            self.logins = self.logins.next_multiple_of(users);
        }
        let (pass, first) = (self.logins / users, self.logins % users);
        self.logins += count;
        let mut now = SystemClock.now();
        let left = users::STEP.as_secs() - now.as_secs() % users::STEP.as_secs();
        if pass == 0 && left < 10 {
            // Otherwise the code of the previous step would have expired when it is sent.
            tokio::time::sleep(Duration::from_secs(left)).await;
            now = SystemClock.now();
        }
        let step = now.saturating_sub(users::STEP);
        let ahead = users::STEP * u32::try_from(pass)?;
        self.clock.set(step.saturating_add(ahead));
        let bodies = self.users.challenge(first, count).await?;
        let post = |body: String| request("POST", "/api/v1/authenticate", "", &body);
        Ok(bodies.into_iter().map(post).collect())
    }

    /// Measures the memory of a kept connection on which one request was answered.
    async fn kept_connections(&self) -> Result<()> {
        if !self.options.want(KEPT_NAME) {
            return Ok(());
        }
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

/// Returns the same request for the bare server, with an answer of this size.
fn with_answer_of(size: usize, request: &str) -> Result<String> {
    let (head, body) = request.split_once("\r\n\r\n").ok_or("half a request")?;
    let (method, _) = head.split_once(' ').ok_or("no method")?;
    Ok(load::request(method, &format!("/{size}"), "", body))
}

/// Requests per second, durations, and the processor time of the server alone: of one turn, or the median of several.
#[derive(Clone, Copy)]
struct Cost {
    rate: f64,
    p50: f64,
    p99: f64,
    processor: f64,
    refused: f64,
}

fn heading() {
    println!(
        "  {:<12} {:>11} {:>10} {:>9} {:>9} {:>12}",
        "", "connections", "answers/s", "p50 us", "p99 us", "CPU us each"
    );
}

impl Cost {
    fn print(&self, name: &str, connections: usize) {
        let Self {
            rate,
            p50,
            p99,
            processor,
            refused,
        } = self;
        println!(
            "  {name:<12} {connections:>11} {rate:>10.0} {p50:>9.0} {p99:>9.0} {processor:>12.1}{}",
            match *refused {
                0.0 => String::new(),
                refused => format!("  ({refused:.0} refused with 503)"),
            }
        );
    }

    /// Prints a read, the ratio to the bare server's, and the aim.
    fn compare(&self, bare: &Self, connections: usize) {
        let ending = if connections == 1 { "" } else { "s" };
        let what = |figure: &str| {
            format!("  {figure} at {connections} connection{ending}, of the bare server's")
        };
        if connections == 1 {
            report(&what("p50"), self.p50 / bare.p50, Aim::AtMost(3.0));
        } else {
            report(&what("rate"), self.rate / bare.rate, Aim::AtLeast(0.5));
        }
        let processor = self.processor / bare.processor;
        report(&what("processor time"), processor, Aim::AtMost(3.0));
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
        refused: turn.refused as f64,
    })
}

fn middle(costs: &[Cost]) -> Cost {
    let of = |figure: fn(&Cost) -> f64| median(costs.iter().map(figure).collect());
    Cost {
        rate: of(|cost| cost.rate),
        p50: of(|cost| cost.p50),
        p99: of(|cost| cost.p99),
        processor: of(|cost| cost.processor),
        refused: of(|cost| cost.refused),
    }
}

fn text<'a>(answer: &'a Value, member: &str) -> Result<&'a str> {
    let value = answer.get(member).and_then(Value::as_str);
    value.ok_or_else(|| format!("no {member} in {answer}").into())
}

fn token(program: &Program, scope: &str) -> Result<String> {
    program.run(&["token", "create", "--quiet", "--scope", scope], "")
}

/// Returns a new CA certificate in PEM.
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
