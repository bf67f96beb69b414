//! The time until `keyproof serve` is ready, and its memory while it is idle.
//!
//! `cargo xtask bench server`: half a minute. It builds the release binary first, unless a binary is given. Each start uses its own
//! embedded store: first without a store, then again on the one that was made. A start ends when `/readyz` has answered, which
//! needs the store. Memory is the resident set size that the kernel reports one second later, and again one second after a hundred
//! logins by password, each of which takes 19 MiB during its check.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use clap::Parser;
use keyproof_benches::{Aim, Result, in_folder_below, median, program::Program, progress, report};

const IDLE: Duration = Duration::from_secs(1);
const LOGINS: usize = 100;
/// The default memory of one password hash, in MiB.
const HASH_MIB: f64 = 19.0;

#[derive(Parser)]
struct Options {
    /// Where the stores are made; by default below `target/`
    folder: Option<PathBuf>,
    /// The number of starts without a store, and of starts with one
    #[arg(long, default_value_t = 5)]
    starts: usize,
    /// The keyproof binary to measure, instead of building one first
    #[arg(long)]
    program: Option<PathBuf>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let program = Program::built_or(options.program.as_deref())?;
    in_folder_below(options.folder, "server", |folder| {
        measure(&program, folder, options.starts)
    })
}

fn measure(program: &Program, folder: &Path, starts: usize) -> Result<()> {
    let mut first = Vec::new();
    let mut again = Vec::new();
    let mut resident = Vec::new();
    for start in 0..starts {
        progress("starts", start + 1, starts);
        let store = folder.join(format!("{start}.db"));
        for starts in [&mut first, &mut again] {
            let server = program.on(&store).serve()?;
            let answer = get(server.address(), "/readyz")?;
            starts.push(server.age().as_secs_f64() * 1_000.0);
            if !answer.starts_with("HTTP/1.1 200") {
                return Err(format!("not ready: {answer}").into());
            }
            thread::sleep(IDLE);
            resident.push(server.resident_mib()?);
        }
    }
    println!("median of {starts} starts each:");
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
    // By default there are as many concurrent hashes as cores.
    let cores = thread::available_parallelism()?.get();
    report(
        "MiB resident while idle after 100 logins by password",
        after_logins(program, &folder.join("logins.db"), cores)?,
        Aim::AtMost(20.0 + HASH_MIB * cores as f64),
    );
    Ok(())
}

/// Logs in often enough, and from enough concurrent clients, that every hashing thread has hashed.
fn after_logins(program: &Program, store: &Path, cores: usize) -> Result<f64> {
    let program = program.on(store);
    let server = program.serve()?;
    let add = ["user", "add", "ada", "--organisation", "org", "--stdin"];
    program.run(&add, "correct horse")?;
    let clients = 2 * cores;
    let address = server.address();
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
    server.resident_mib()
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
