//! How soon `keyproof serve` serves, and how little memory it holds while nobody asks for anything.
//!
//! `cargo run --release -p keyproof-benches --bin server`; builds the release binary first. Each start is on an
//! embedded store of its own: once before there is one, once again on it. A start ends when `/readyz` has answered,
//! which needs the store. Memory is the resident set of the kernel's count, a second after that.

use std::{
    env,
    error::Error,
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use keyproof_benches::{Aim, median, report};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const STARTS: usize = 9;
const IDLE: Duration = Duration::from_secs(1);

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
            sleep(IDLE);
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
    Ok(())
}

struct Server(Child);

impl Server {
    fn start(program: &Path, store: &Path) -> Result<(Self, Duration)> {
        let begin = Instant::now();
        let mut child = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0", "--store"])
            .arg(format!("sqlite:{}", store.display()))
            .stderr(Stdio::piped())
            .spawn()?;
        let mut log = BufReader::new(child.stderr.take().ok_or("no standard error")?);
        let server = Self(child);
        let mut line = String::new();
        while !line.starts_with("listening on ") {
            line.clear();
            if log.read_line(&mut line)? == 0 {
                return Err("the server has ended".into());
            }
        }
        let address = line.trim_end().rsplit('/').next().unwrap_or_default();
        let answer = get(address, "/readyz")?;
        let took = begin.elapsed();
        if !answer.starts_with("HTTP/1.1 200") {
            return Err(format!("not ready: {answer}").into());
        }
        // Nobody reads on: a full pipe would stop the server, so its few lines go where nothing fills up.
        std::thread::spawn(move || io::copy(&mut log, &mut io::sink()));
        Ok((server, took))
    }

    /// `VmRSS` of proc(5), in MiB.
    fn resident_mib(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: f64 = line
            .and_then(|line| line.trim().strip_suffix("kB"))
            .ok_or("no VmRSS")?
            .trim()
            .parse()?;
        Ok(kib / 1_024.0)
    }

    fn stop(mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone, unless a measurement failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn get(address: &str, path: &str) -> io::Result<String> {
    let mut socket = TcpStream::connect(address)?;
    write!(
        socket,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer)
}
