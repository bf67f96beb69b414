//! The cost of a console page that lists fifty users: its size with the stylesheet, and its time compared with a bare hyper server
//! that answers with as many bytes, for one caller and for many.
//!
//! `cargo xtask bench site`: half a minute. It builds the release binary first, unless a binary is given.

use std::{
    env,
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Command, Stdio},
};

use clap::Parser;
use data_encoding::BASE64;
use keyproof_benches::{
    Aim, Result, in_folder_below, limits, load, median,
    program::{Process, Program},
    progress, report,
};
use keyproof_store::{MasterKey, SystemEntropy};

const BARE: &str = "bare";

/// Users in the list.
const ROWS: usize = 50;

/// Requests per turn.
const REQUESTS: usize = 4_000;

/// Connections that request the page at once. For one alone, a virtual core sleeps between two requests, and is woken for each.
const CONNECTIONS: [(usize, &str); 2] = [(1, "1 connection"), (32, "32 connections")];

#[derive(Parser)]
struct Options {
    /// Where the store is made; by default below `target/`
    folder: Option<PathBuf>,
    /// Turns of each, after a warm-up turn
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The keyproof binary to measure, instead of building one first
    #[arg(long)]
    program: Option<PathBuf>,
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    if env::args().nth(1).as_deref() == Some(BARE) {
        return runtime.block_on(limits::bare());
    }
    let options = Options::parse();
    let program = Program::built_or(options.program.as_deref())?;
    in_folder_below(options.folder.clone(), "site", |folder| {
        let key = MasterKey::generate(&SystemEntropy::new());
        let key = BASE64.encode(key.as_bytes());
        let program = program
            .on(&folder.join("keyproof.db"))
            .with("KEYPROOF_STORE__MASTER_KEY_BASE64", key.clone())
            .with("KEYPROOF_AUTH__ARGON2_INSECURE_FOR_TESTS", "true")
            .with("KEYPROOF_AUTH__ARGON2_MEMORY_KIB", "8")
            .with("KEYPROOF_AUTH__ARGON2_ITERATIONS", "1");
        // Commands require an existing store.
        program.run(&["migrate"], "")?;
        for number in 0..ROWS {
            if number % 10 == 0 {
                progress("users", number, ROWS);
            }
            let name = format!("user-{number}@example.org");
            let add = [
                "user",
                "add",
                &name,
                "--organisation",
                "Example Org",
                "--stdin",
            ];
            program.run(&add, "correct horse")?;
        }
        let create = ["token", "create", "--quiet", "--scope", "users-read"];
        let token = program.run(&create, "")?;
        let server = program.serve()?;
        let mut command = Command::new(env::current_exe()?);
        let command = command.arg(BARE).stderr(Stdio::piped());
        let bare = Process::start(command.env(limits::KEY, key))?;
        let session = sign_in(server.address(), token.trim())?;
        let list = ask(server.address(), &get("/console/users", &session))?;
        let list = field(&list, "location: ", "\r").ok_or("the list is not told")?;
        runtime.block_on(measure(&options, &server, &bare, list, &session))
    })
}

async fn measure(
    options: &Options,
    server: &Process,
    bare: &Process,
    list: &str,
    session: &str,
) -> Result<()> {
    let page = get(list, session);
    let mut weights = [0, 0];
    let style = get("/console/style.css", "");
    for (weight, request) in weights.iter_mut().zip([&page, &style]) {
        let mut connection = load::Connection::open(server.address()).await?;
        let (_, body) = connection.ask(request).await?;
        *weight = body.len();
    }
    let [size, style] = weights;
    println!("a page of {ROWS} rows");
    println!("  {size} bytes, and {style} of the stylesheet");
    let kib = (size + style) as f64 / 1_024.0;
    report("  KiB with the stylesheet", kib, Aim::AtMost(60.0));
    let as_many = load::request("GET", &format!("/{size}"), "", "");
    for (connections, at) in CONNECTIONS {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..=options.rounds {
            progress("round", round, options.rounds);
            for (process, request, times) in
                [(server, &page, &mut ours), (bare, &as_many, &mut theirs)]
            {
                let requests = vec![request.clone(); REQUESTS];
                let turn = load::send(process.address(), connections, &requests).await?;
                // The first round warms up, and is discarded.
                if round > 0 {
                    times.push(turn.p50.as_secs_f64() * 1e6);
                }
            }
        }
        let (ours, theirs) = (median(ours), median(theirs));
        println!("  at {at}: keyproof {ours:.0} us, bare hyper {theirs:.0} us");
        let name = format!("  p50 at {at}, of the bare server's");
        report(&name, ours / theirs, Aim::AtMost(5.0));
    }
    Ok(())
}

fn get(path: &str, session: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nCookie: keyproof-console={session}\r\n\r\n")
}

/// Submits the token in the sign-in form, and returns the session's text.
fn sign_in(address: &str, token: &str) -> Result<String> {
    let form = ask(address, &get("/console/sign-in", ""))?;
    let visit = field(&form, "keyproof-console-visit=", ";").ok_or("no cookie")?;
    let csrf = field(&form, "name=\"csrf\" value=\"", "\"").ok_or("no form")?;
    let body = format!("csrf={csrf}&token={token}");
    let request = format!(
        "POST /console/sign-in HTTP/1.1\r\nHost: localhost\r\nCookie: keyproof-console-visit={visit}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = ask(address, &request)?;
    let session = field(&answer, "keyproof-console=", ";").ok_or("not signed in")?;
    Ok(session.to_owned())
}

/// Returns the complete answer, over a new connection.
fn ask(address: &str, request: &str) -> Result<String> {
    let mut socket = TcpStream::connect(address)?;
    let request = request.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    socket.write_all(request.as_bytes())?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Returns the text between these two.
fn field<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    let (found, _) = rest.split_once(after)?;
    Some(found)
}
