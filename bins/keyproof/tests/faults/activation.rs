//! Sockets that outlive the server: during a restart under load, no connection is refused and every request is answered.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::node::{Node, PATIENCE};

const CLIENTS: usize = 8;
const RESTARTS: usize = 5;

/// How long a server that ends waits for the first request of a connection.
const GRACE: Duration = Duration::from_millis(250);

/// Passes a socket as systemd does: as descriptor 3, with a name. The shell moves it there.
const PASS: &str = "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=$1; \
                    export LISTEN_PID LISTEN_FDS LISTEN_FDNAMES; shift; exec \"$@\"";

/// Also passes a second socket, which is the standard output before.
const PASS_TWO: &str = "exec 3<&0 4<&1 0</dev/null 1>&2; LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=$1; \
                        export LISTEN_PID LISTEN_FDS LISTEN_FDNAMES; shift; exec \"$@\"";

fn serve(home: &TempDir, socket: &TcpListener, name: &str, flags: &[&str]) -> Command {
    serve_by(PASS, home, socket, name, flags)
}

fn serve_two(home: &TempDir, sockets: [&TcpListener; 2], names: &str) -> Command {
    let [first, second] = sockets;
    let mut command = serve_by(PASS_TWO, home, first, names, &[]);
    command.stdout(OwnedFd::from(second.try_clone().unwrap()));
    command
}

fn serve_by(
    pass: &str,
    home: &TempDir,
    socket: &TcpListener,
    names: &str,
    flags: &[&str],
) -> Command {
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            pass,
            "sh",
            names,
            env!("CARGO_BIN_EXE_keyproof"),
            "serve",
        ])
        .arg("--store")
        .arg(format!("sqlite:{}", home.path().join("k.db").display()))
        .args(flags)
        .stdin(OwnedFd::from(socket.try_clone().unwrap()));
    command
}

#[test]
fn over_restarts_under_load_no_connection_is_refused_and_every_request_is_answered() {
    let home = TempDir::new().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let start = || Node::start_with(serve(&home, &socket, "http", &[]));
    let mut node = start();
    assert_eq!(node.address, address);

    let over = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (over, answered) = (Arc::clone(&over), Arc::clone(&answered));
            thread::spawn(move || {
                let mut failures = Vec::new();
                while !over.load(Ordering::SeqCst) {
                    let began = Instant::now();
                    let sent = send(address, "/healthz");
                    // A busy machine may have kept this thread from its turn for longer.
                    let is_prompt = sent.is_err() || began.elapsed() < GRACE;
                    match sent.and_then(status) {
                        Ok(200) => {
                            answered.fetch_add(1, Ordering::SeqCst);
                        }
                        other if is_prompt => failures.push(format!("{other:?}")),
                        _ => {}
                    }
                }
                failures
            })
        })
        .collect();
    for _ in 0..RESTARTS {
        let before = answered.load(Ordering::SeqCst);
        while answered.load(Ordering::SeqCst) < before + 20 * CLIENTS {
            thread::yield_now();
        }
        let pid = Pid::from_raw(i32::try_from(node.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        node.ends_well();
        node = start();
    }
    over.store(true, Ordering::SeqCst);
    for client in clients {
        assert_eq!(client.join().unwrap(), [] as [&str; 0]);
    }
}

#[test]
fn a_passed_socket_is_judged_by_its_own_address_and_name() {
    let home = TempDir::new().unwrap();
    let everywhere = TcpListener::bind("0.0.0.0:0").unwrap();
    let here = TcpListener::bind("127.0.0.1:0").unwrap();
    let file = home.path().join("keyproof.toml");
    fs::write(&file, "account.enabled = false\n").unwrap();
    let without_account = ["--config", file.to_str().unwrap()];
    for (socket, name, flags, says) in [
        (&everywhere, "http", &[][..], "is not loopback"),
        (&everywhere, "dps", &[], "is not loopback"),
        (&everywhere, "console", &[], "is not loopback"),
        (
            &here,
            "radius",
            &[],
            "no listener takes a socket called radius",
        ),
        // Nobody would accept connections on it.
        (&here, "dps", &["--dialects", "taler"], "and dps is off"),
        (&here, "account", &without_account, "and account is off"),
    ] {
        let flags = [&["--listen", "127.0.0.1:0"], flags].concat();
        let mut command = serve(&home, socket, name, &flags);
        let output = command.stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(says), "{said}");
    }
    // The address in a flag is ignored, because the socket is already there.
    let flags = ["--listen", "192.0.2.1:80"];
    let node = Node::start_with(serve(&home, &here, "keyproof.socket", &flags));
    assert_eq!(node.address, here.local_addr().unwrap());
}

#[test]
fn a_socket_that_nothing_would_listen_on_is_refused() {
    let home = TempDir::new().unwrap();
    let first = TcpListener::bind("127.0.0.1:0").unwrap();
    let second = TcpListener::bind("127.0.0.1:0").unwrap();
    let spare = format!(
        "nothing listens on the socket dps at {} that was passed: take it away",
        first.local_addr().unwrap()
    );
    for (sockets, names, says) in [
        (
            [&first, &second],
            "dps:dps",
            "two sockets are called dps: only the name http may be used more than once",
        ),
        // A socket that is passed twice: dialects with the same address share one listener.
        ([&first, &first], "http:dps", spare.as_str()),
    ] {
        let mut command = serve_two(&home, sockets, names);
        let output = command.stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn a_site_listens_on_the_socket_of_its_name() {
    let home = TempDir::new().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let command = serve(&home, &socket, "account", &["--listen", "127.0.0.1:0"]);
    let node = Node::start_with(command);
    let asked = |address| send(address, "/account/sign-in").and_then(status).unwrap();
    assert_eq!(asked(socket.local_addr().unwrap()), 200);
    assert_eq!(asked(node.address), 404);
}

/// Sends one request on a new connection.
fn send(address: SocketAddr, path: &str) -> std::io::Result<TcpStream> {
    let mut client = TcpStream::connect(address)?;
    client.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    client.write_all(request.as_bytes())?;
    Ok(client)
}

/// Returns the answer's status.
fn status(mut client: TcpStream) -> std::io::Result<u16> {
    let mut answer = String::new();
    client.read_to_string(&mut answer)?;
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    status.ok_or_else(|| std::io::Error::other(format!("no answer: {answer:?}")))
}
