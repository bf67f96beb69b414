//! The duration of a login while an attacker sends as many requests as 200 connections can, compared with its duration without an
//! attack.
//!
//! `cargo xtask bench hostile`: about two minutes. It builds the release binary first, unless a binary is given. The server is a
//! process of its own, with passwords at their default cost and without a rate limit per address, which would stop the attack by
//! itself. The attacker has addresses of one /48 and requests logins of users that do not exist, and tokens of an instance; the
//! logins come from elsewhere. All share the machine's cores with the server.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Parser;
use keyproof_benches::{
    Aim, Result, in_folder_below, load::Connection, program::Program, progress, report,
};
use tokio::task::JoinSet;

const STRANGERS: usize = 200;
const AUTHENTICATE: &str = "/api/v1/authenticate";
const TOKEN: &str = "/private/token";
/// `default:wrong`
const WRONG: &str = "Authorization: Basic ZGVmYXVsdDp3cm9uZw==\r\n";

#[derive(Parser)]
struct Options {
    /// Where the store is made; by default below `target/`
    folder: Option<PathBuf>,
    /// Logins that are measured: this many without the attack, and as many during it
    #[arg(long, default_value_t = 300)]
    logins: usize,
    /// The keyproof binary to measure, instead of building one first
    #[arg(long)]
    program: Option<PathBuf>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let program = Program::built_or(options.program.as_deref())?;
    in_folder_below(options.folder, "hostile", |folder| {
        let program = program
            .on(&folder.join("hostile.db"))
            .with("KEYPROOF_AUTH__ADDRESS_LIMIT", "0")
            .with("KEYPROOF_HTTP__TRUSTED_PROXIES", "[\"127.0.0.0/8\"]");
        let server = program.serve()?;
        let add = ["user", "add", "ada", "--organisation", "org", "--stdin"];
        program.run(&add, "correct horse")?;
        program.run(
            &["instance", "set-password", "default", "--stdin"],
            "correct horse",
        )?;
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(measure(server.address(), options.logins))
    })
}

async fn measure(address: &str, count: usize) -> Result<()> {
    // The first ones warm up, and are discarded.
    logins(address, 20).await?;
    let quiet = logins(address, count).await?;
    let mut strangers = JoinSet::new();
    for number in 0..STRANGERS {
        strangers.spawn(stranger(address.to_owned(), number));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let attacked = logins(address, count).await?;
    if let Some(ended) = strangers.try_join_next() {
        return Err(format!("a stranger has ended: {:?}", ended?.err()).into());
    }
    strangers.abort_all();
    let milliseconds = |time: Duration| time.as_secs_f64() * 1_000.0;
    println!("p99 of {count} logins, one after the other:");
    println!("  {:<44} {:>10.1} ms", "quiet", milliseconds(quiet));
    println!(
        "  {:<44} {:>10.1} ms",
        "under 200 connections of a stranger",
        milliseconds(attacked)
    );
    report(
        "  p99 under attack, of the quiet one",
        attacked.as_secs_f64() / quiet.as_secs_f64(),
        Aim::AtMost(10.0),
    );
    Ok(())
}

/// Logs in this number of times; each login must succeed. Returns the 99th percentile.
async fn logins(address: &str, count: usize) -> Result<Duration> {
    let body = r#"{"username":"ada","password":"correct horse"}"#;
    let login = post("203.0.113.5", AUTHENTICATE, "", body);
    let mut connection = Connection::open(address).await?;
    let mut times = Vec::with_capacity(count);
    for number in 0..count {
        if number % 50 == 0 {
            progress("logins", number, count);
        }
        let sent = Instant::now();
        let (status, _) = connection.ask(&login).await?;
        if status != 200 {
            return Err(format!("a login was answered {status}").into());
        }
        times.push(sent.elapsed());
    }
    times.sort_unstable();
    Ok(times.get(count * 99 / 100).copied().unwrap_or_default())
}

/// Sends requests without end over one connection.
async fn stranger(address: String, number: usize) -> Result<()> {
    let from = format!("2001:db8:1:{number:x}::1");
    let mut connection = Connection::open(&address).await?;
    for attempt in 0_u64.. {
        let name = format!(r#"{{"username":"{number}-{attempt}","password":"b"}}"#);
        let request = match attempt % 2 {
            0 => post(&from, AUTHENTICATE, "", &name),
            _ => post(&from, TOKEN, WRONG, r#"{"scope":"all"}"#),
        };
        let (status, _) = connection.ask(&request).await?;
        if !matches!(status, 401 | 429 | 503) {
            return Err(format!("a stranger was answered {status}").into());
        }
    }
    Ok(())
}

fn post(client: &str, path: &str, fields: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {client}\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    )
}
