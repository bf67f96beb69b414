//! How soon `keyproof serve` serves, and how little memory it holds while nobody asks for anything.
//!
//! `cargo run --release -p keyproof-benches --bin server`; builds the release binary first. Each start is on an
//! embedded store of its own: once before there is one, once again on it. A start ends when `/readyz` has answered,
//! which needs the store. Memory is the resident set of the kernel's count, a second after that; and again a second
//! after a hundred logins by password, each of which takes 19 MiB while it is judged.

use std::{
    env,
    error::Error,
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use keyproof_benches::{Aim, median, report};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const STARTS: usize = 9;
const IDLE: Duration = Duration::from_secs(1);
const LOGINS: usize = 100;
/// The memory of one password's hash, in MiB, by default.
const HASH_MIB: f64 = 19.0;

fn main() -> Result<()> {
    let program = build()?;
    let folder = env::temp_dir().join(format!("keyproof-bench-server-{}", std::process::id()));
    fs::create_dir(&folder)?;
    let measured = measure(&program, &folder);
    fs::remove_dir_all(&folder)?;
    measured
}

/// Builds the program as it is released.
fn build() -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "--release",
            "--package",
            "keyproof",
            "--bin",
            "keyproof",
        ])
        .status()?;
    if !built.success() {
        return Err("the release binary does not build".into());
    }
    // It lies where this program does: both are of the release profile, or should be.
    let this = env::current_exe()?;
    let target = this
        .parent()
        .and_then(Path::parent)
        .ok_or("no target folder")?;
    Ok(target.join("release").join("keyproof"))
}

fn measure(program: &Path, folder: &Path) -> Result<()> {
    let mut first = Vec::new();
    let mut again = Vec::new();
    let mut resident = Vec::new();
    for start in 0..STARTS {
        let store = folder.join(format!("{start}.db"));
        for starts in [&mut first, &mut again] {
            let (server, took) = Server::start(program, &store)?;
            starts.push(took.as_secs_f64() * 1_000.0);
            thread::sleep(IDLE);
            resident.push(server.resident_mib()?);
            server.stop()?;
        }
    }
    println!("median of {STARTS} starts each:");
    report(
        "ms from start to ready, no store yet",
        median(first),
        Aim::AtMost(200.0),
    );
    report(
        "ms from start to ready, store there",
        median(again),
        Aim::AtMost(200.0),
    );
    report(
        "MiB resident while idle",
        median(resident),
        Aim::AtMost(20.0),
    );
    // As many hashes run at once as there are cores, by default.
    let cores = thread::available_parallelism()?.get();
    report(
        "MiB resident while idle after 100 logins by password",
        after_logins(program, &folder.join("logins.db"), cores)?,
        Aim::AtMost(20.0 + HASH_MIB * cores as f64),
    );
    Ok(())
}

/// Logs in often enough, and from enough clients at once, that every hashing thread has hashed.
fn after_logins(program: &Path, store: &Path, cores: usize) -> Result<f64> {
    let (server, _) = Server::start(program, store)?;
    let mut add = Command::new(program)
        .args(["user", "add", "ada", "--organisation", "org", "--stdin"])
        .arg("--store")
        .arg(url(store))
        .stdin(Stdio::piped())
        .spawn()?;
    let mut password = add.stdin.take().ok_or("no standard input")?;
    password.write_all(b"correct horse\n")?;
    drop(password);
    if !add.wait()?.success() {
        return Err("no user was added".into());
    }
    let clients = 2 * cores;
    let address = server.address.as_str();
    let outcomes: Vec<_> = thread::scope(|scope| {
        let client = |number| {
            scope.spawn(move || -> io::Result<String> {
                let body = r#"{"username":"ada","password":"correct horse"}"#;
                for _ in (number..LOGINS).step_by(clients) {
                    let answer = post(address, "/api/v1/authenticate", body)?;
                    if !answer.starts_with("HTTP/1.1 200") {
                        return Ok(answer);
                    }
                }
                Ok(String::new())
            })
        };
        let clients: Vec<_> = (0..clients).map(client).collect();
        clients
            .into_iter()
            .map(thread::ScopedJoinHandle::join)
            .collect()
    });
    for outcome in outcomes {
        let refused = outcome.map_err(|_| "a client has died")??;
        if !refused.is_empty() {
            return Err(format!("a login was refused: {refused}").into());
        }
    }
    thread::sleep(IDLE);
    let resident = server.resident_mib()?;
    server.stop()?;
    Ok(resident)
}

fn url(store: &Path) -> String {
    format!("sqlite:{}", store.display())
}

struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(program: &Path, store: &Path) -> Result<(Self, Duration)> {
        let begin = Instant::now();
        let mut child = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0", "--store"])
            .arg(url(store))
            .stderr(Stdio::piped())
            .spawn()?;
        let mut log = BufReader::new(child.stderr.take().ok_or("no standard error")?);
        let mut server = Self {
            process: child,
            address: String::new(),
        };
        let mut line = String::new();
        while !line.starts_with("listening on ") {
            line.clear();
            if log.read_line(&mut line)? == 0 {
                return Err("the server has ended".into());
            }
        }
        let address = line.trim_end().rsplit('/').next().unwrap_or_default();
        address.clone_into(&mut server.address);
        let answer = get(address, "/readyz")?;
        let took = begin.elapsed();
        if !answer.starts_with("HTTP/1.1 200") {
            return Err(format!("not ready: {answer}").into());
        }
        // Nobody reads on: a full pipe would stop the server, so its few lines go where nothing fills up.
        thread::spawn(move || io::copy(&mut log, &mut io::sink()));
        Ok((server, took))
    }

    /// `VmRSS` of proc(5), in MiB.
    fn resident_mib(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: f64 = line
            .and_then(|line| line.trim().strip_suffix("kB"))
            .ok_or("no VmRSS")?
            .trim()
            .parse()?;
        Ok(kib / 1_024.0)
    }

    fn stop(mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone, unless a measurement failed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn get(address: &str, path: &str) -> io::Result<String> {
    exchange(address, &format!("GET {path}"), "")
}

fn post(address: &str, path: &str, body: &str) -> io::Result<String> {
    exchange(address, &format!("POST {path}"), body)
}

fn exchange(address: &str, request: &str, body: &str) -> io::Result<String> {
    let mut socket = TcpStream::connect(address)?;
    let length = body.len();
    write!(
        socket,
        "{request} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer)
}
