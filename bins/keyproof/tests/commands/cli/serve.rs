//! `keyproof serve` as a process: start, signals, end.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rcgen::{CertificateParams, CertifiedKey, KeyPair, date_time_ymd, generate_simple_self_signed};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::{fails, keyproof, succeeds, text, write_file};

/// The arguments of a server whose store is in memory.
const IN_MEMORY: [&str; 5] = ["serve", "--listen", "127.0.0.1:0", "--store", "memory:"];

/// A server as a child process, killed at the latest when the test ends.
pub(crate) struct Serving {
    child: Child,
    stderr: BufReader<ChildStderr>,
    url: String,
}

impl Serving {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut serving = Self {
            stderr: BufReader::new(child.stderr.take().unwrap()),
            child,
            url: String::new(),
        };
        loop {
            let mut line = serving.line().trim_end().to_owned();
            // A JSON log has the line as its message.
            if let Ok(event) = serde_json::from_str::<Value>(&line) {
                event["message"]
                    .as_str()
                    .unwrap_or_default()
                    .clone_into(&mut line);
            }
            if let Some(url) = line.strip_prefix("listening on ") {
                url.clone_into(&mut serving.url);
                return serving;
            }
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.stderr.read_line(&mut line).unwrap();
        assert_ne!(read, 0, "the server has ended");
        line
    }

    /// Returns the next line that contains this text.
    fn line_with(&mut self, says: &str) -> String {
        loop {
            let line = self.line();
            if line.contains(says) {
                return line;
            }
        }
    }

    pub(crate) fn address(&self) -> &str {
        self.url.split_once("://").unwrap().1
    }

    fn get(&self, path: &str) -> String {
        get(self.address(), path, "")
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends the server with SIGTERM.
    #[track_caller]
    fn stop(&mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.end().0, Some(0));
    }

    /// Waits for the end. Returns the exit code and the remaining output.
    fn end(&mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get(address: &str, path: &str, fields: &str) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n");
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

/// Waits for a condition that is soon true.
#[track_caller]
fn wait_until(mut has_come: impl FnMut() -> bool) {
    let began = Instant::now();
    while !has_come() {
        assert!(began.elapsed() < Duration::from_secs(60), "it never comes");
        thread::sleep(Duration::from_millis(10));
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn serve_needs_no_configuration() {
    let home = TempDir::new().unwrap();
    let listen = ["serve", "--listen", "127.0.0.1:0"];
    let mut serving = Serving::start(keyproof(&home).args(listen));
    assert!(serving.url.starts_with("http://127.0.0.1:"));
    assert!(serving.get("/healthz").starts_with("HTTP/1.1 200"));
    assert!(serving.get("/readyz").starts_with("HTTP/1.1 200"));
    serving.stop();

    let folder = home.path().join(".local/state/keyproof");
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join("keyproof.db")), 0o600);
    let key = folder.join("keyproof.db.master-key");
    assert_eq!(mode(&key), 0o600);

    // Only the store's owner may read the key.
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let again = || keyproof(&home).args(listen).output().unwrap();
    fails(&again(), 2, "master-key");
    fs::remove_file(&key).unwrap();
    fails(&again(), 2, "master-key");
    assert!(!key.exists());
}

/// A migration cannot be undone. Files of dialects that are off are not read.
#[test]
fn nothing_is_migrated_if_a_file_that_is_read_at_the_start_is_missing() {
    let home = TempDir::new().unwrap();
    let file = write_file(
        &home,
        "keyproof.toml",
        "[[dps.issuers]]\nissuer = \"i\"\naudience = \"a\"\njwks_file = \"/nowhere/jwks\"\n",
        0o600,
    );
    let serve = |flags: &[&str]| {
        let common = ["serve", "--migrate", "--listen", "127.0.0.1:0"];
        let mut command = keyproof(&home);
        command.args(common).args(["--config", &file]).args(flags);
        command
    };
    let tls = ["--tls-cert", "/nowhere/pem", "--tls-key", "/nowhere/key"];
    let without_tls = [&["--dialects", "f5"][..], &tls].concat();
    for (flags, says) in [
        (&without_tls[..], "tls.certificate: /nowhere/pem"),
        (&["--dialects", "dps"], "dps.issuers: /nowhere/jwks"),
    ] {
        fails(&serve(flags).output().unwrap(), 2, says);
        assert!(!home.path().join(".local").exists(), "{flags:?}");
    }
    #[cfg(feature = "otlp")]
    {
        let mut untrusting = serve(&["--dialects", "f5"]);
        untrusting
            .env("KEYPROOF_TELEMETRY__OTLP", "https://collector.example")
            .env("SSL_CERT_FILE", "/nowhere/roots");
        let says = "telemetry.otlp: the system trusts no CA";
        fails(&untrusting.output().unwrap(), 2, says);
        assert!(!home.path().join(".local").exists());
    }
    Serving::start(&mut serve(&["--dialects", "f5"])).stop();
}

#[test]
fn serve_ends_on_sigint_too() {
    let home = TempDir::new().unwrap();
    let mut serving = Serving::start(keyproof(&home).args(IN_MEMORY));
    serving.signal(Signal::INT);
    assert_eq!(serving.end().0, Some(0));
}

/// A database that accepts the connection and never answers is waited for up to ten minutes.
#[test]
fn a_signal_ends_a_start_that_waits() {
    for signal in [Signal::TERM, Signal::INT] {
        let home = TempDir::new().unwrap();
        let database = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = database.local_addr().unwrap();
        let store = format!("postgres://u@{address}/d?sslmode=disable");
        let key = data_encoding::BASE64.encode(&[7; 32]);
        let mut child = keyproof(&home)
            .args(["serve", "--listen", "127.0.0.1:0", "--store", &store])
            .env("KEYPROOF_STORE__MASTER_KEY_BASE64", key)
            .env("KEYPROOF_STORE__CONNECT_TIMEOUT", "10m")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The server handles signals before it connects to its store.
        let _silent = database.accept().unwrap();
        kill_process(Pid::from_child(&child), signal).unwrap();
        let code = child.wait().unwrap().code();
        assert_eq!(code, Some(0));
    }
}

/// Locks a store's file exclusively until its input ends.
const LOCKED: &str = "
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute('BEGIN EXCLUSIVE')
print('locked', flush=True)
sys.stdin.readline()
";

/// Without signal handling the server would wait for the file until its timeout, and end with 1.
#[test]
fn a_signal_ends_a_start_that_waits_for_a_file() {
    let home = TempDir::new().unwrap();
    let store = write_file(&home, "k.db", "", 0o600);
    let mut other = Command::new("python3")
        .args(["-c", LOCKED])
        .arg(&store)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut output = BufReader::new(other.stdout.take().unwrap());
    output.read_line(&mut said).unwrap();
    assert_eq!(said, "locked\n");
    let mut child = keyproof(&home)
        .args(["serve", "--listen", "127.0.0.1:0", "--store"])
        .arg(format!("sqlite:{store}"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The server handles signals before it makes a new store's key, and makes the key before it opens the file.
    let key = home.path().join("k.db.master-key");
    wait_until(|| key.exists());
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    drop(other.stdin.take());
    assert!(other.wait().unwrap().success());
}

/// Returns a client that sends many requests and reads nothing. The server waits for its answers.
fn deaf_client_of(serving: &Serving) -> TcpStream {
    let mut deaf = TcpStream::connect(serving.address()).unwrap();
    // Longer than a busy machine keeps a server that reads from its turn.
    deaf.set_write_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let requests = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
    while deaf.write_all(&requests).is_ok() {}
    deaf
}

fn serving_with_a_drain_of(home: &TempDir, milliseconds: &str) -> Serving {
    Serving::start(
        keyproof(home)
            .args(IN_MEMORY)
            .env("KEYPROOF_HTTP__DRAIN_TIMEOUT_MS", milliseconds)
            .env("KEYPROOF_HTTP__BODY_TIMEOUT_MS", "3600000")
            .env("KEYPROOF_LOG__LEVEL", "warn"),
    )
}

#[test]
fn a_second_signal_ends_at_once() {
    let home = TempDir::new().unwrap();
    // Only the second signal can end this drain before the test does.
    let mut serving = serving_with_a_drain_of(&home, "3600000");
    let _deaf = deaf_client_of(&serving);
    serving.signal(Signal::TERM);
    wait_until(|| TcpStream::connect(serving.address()).is_err());
    // One within a second of the first is ignored, and only the server knows when that second began.
    wait_until(|| {
        serving.signal(Signal::TERM);
        serving.child.try_wait().unwrap().is_some()
    });
    assert_eq!(serving.end().0, Some(1));
}

/// timeout(1) sends signals like this.
#[test]
fn a_signal_sent_twice_at_once_is_one() {
    let home = TempDir::new().unwrap();
    let mut serving = serving_with_a_drain_of(&home, "200");
    let _deaf = deaf_client_of(&serving);
    serving.signal(Signal::TERM);
    wait_until(|| TcpStream::connect(serving.address()).is_err());
    serving.signal(Signal::TERM);
    assert_eq!(serving.end().0, Some(0));
}

#[test]
fn an_address_in_use_ends_with_1() {
    let home = TempDir::new().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let arguments = ["serve", "--listen", &address, "--store", "memory:"];
    fails(
        &keyproof(&home).args(arguments).output().unwrap(),
        1,
        &address,
    );
}

/// Whatever the number of connections: those beyond the descriptor limit wait, and the server keeps serving.
#[test]
fn a_server_out_of_descriptors_recovers() {
    let home = TempDir::new().unwrap();
    let mut shell = Command::new("/bin/sh");
    shell
        .env_clear()
        .env("HOME", home.path())
        .args([
            "-c",
            "ulimit -n 64 && exec \"$0\" \"$@\"",
            env!("CARGO_BIN_EXE_keyproof"),
        ])
        .args(IN_MEMORY);
    let mut serving = Serving::start(&mut shell);
    let connect = || TcpStream::connect(serving.address()).unwrap();
    let connections: Vec<TcpStream> = std::iter::repeat_with(connect).take(100).collect();
    while !serving.line().contains("cannot accept") {}
    drop(connections);
    assert!(serving.get("/healthz").starts_with("HTTP/1.1 200"));
    serving.stop();
}

#[test]
fn json_logs_hold_no_path_and_no_query() {
    let home = TempDir::new().unwrap();
    let logging = ["--log-format", "json", "--log-level", "trace"];
    let mut serving = Serving::start(keyproof(&home).args(IN_MEMORY).args(logging));
    let answer = serving.get("/hidden-path?hidden=query");
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    serving.signal(Signal::TERM);
    let (code, log) = serving.end();
    assert_eq!(code, Some(0));
    let events: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let request = events.iter().find(|event| event["status"] == 404).unwrap();
    assert_eq!(request["method"], "GET");
    let id = request["span"]["id"].as_str().unwrap();
    assert!(
        answer
            .to_ascii_lowercase()
            .contains(&format!("x-request-id: {id}"))
    );
    assert!(!log.contains("hidden"), "{log}");
}

#[cfg(feature = "otlp")]
#[test]
fn log_lines_of_a_request_carry_the_trace_that_it_is_part_of() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let home = TempDir::new().unwrap();
    for (format, is_told) in [
        ("json", format!("\"trace_id\":\"{TRACE}\"")),
        ("text", format!("trace_id=\"{TRACE}\"")),
    ] {
        let mut command = keyproof(&home);
        // The collector is unreachable, which must not affect the request.
        command
            .args(IN_MEMORY)
            .args(["--log-format", format])
            .env("KEYPROOF_TELEMETRY__OTLP", "http://127.0.0.1:1")
            .env("KEYPROOF_HTTP__TRUSTED_PROXIES", "[\"127.0.0.1/32\"]");
        let mut serving = Serving::start(&mut command);
        let parent = format!("traceparent: 00-{TRACE}-00f067aa0ba902b7-01\r\n");
        let answer = get(serving.address(), "/healthz", &parent);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let line = serving.line_with("/healthz");
        assert!(line.contains(&is_told), "{line}");
        serving.line_with("telemetry.otlp");
        serving.stop();
    }
}

#[test]
fn with_json_logs_every_line_is_json() {
    let home = TempDir::new().unwrap();
    let message = |line: &str, level: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["level"], level, "{line}");
        assert!(
            event["timestamp"].as_str().unwrap().ends_with('Z'),
            "{line}"
        );
        event["message"].as_str().unwrap().to_owned()
    };
    let arguments = [
        "--metrics-listen",
        "127.0.0.1:0",
        "--tls-self-signed",
        "--log-format",
        "json",
    ];
    // The address is printed at every log level.
    let mut child = keyproof(&home)
        .args(IN_MEMORY)
        .args(arguments)
        .args(["--log-level", "off"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let told: Vec<_> = lines
        .take(3)
        .map(|line| message(&line.unwrap(), "INFO"))
        .collect();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        told[0].starts_with("listening on https://127.0.0.1:"),
        "{told:?}"
    );
    assert!(told[1].starts_with("metrics on "), "{told:?}");
    assert!(told[2].starts_with("certificate fingerprint "), "{told:?}");

    let file = home.path().join("keyproof.toml");
    let config = file.to_str().unwrap();
    fs::write(
        &file,
        "[log]\nformat = \"json\"\n[http]\nlisten = \"nowhere\"\n",
    )
    .unwrap();
    let absent = home.path().join("absent").to_str().unwrap().to_owned();
    for (arguments, variable, code, says) in [
        (&["--config", config][..], "", 2, "127.0.0.1:8080"),
        (
            &["--config", &absent, "--log-format", "json"],
            "",
            2,
            "absent",
        ),
        (&["--log-format", "json", "--port", "80"], "", 2, "--listen"),
        (&["--store", "nonsense"], "json", 2, "sqlite:PATH"),
        (
            &["--listen", "192.0.2.1:0", "--insecure-http"],
            "json",
            1,
            "cannot listen",
        ),
        (
            &["--tls-cert", &absent, "--tls-key", &absent],
            "json",
            2,
            "absent",
        ),
    ] {
        let mut command = keyproof(&home);
        command.arg("serve").args(arguments);
        if !variable.is_empty() {
            command.env("KEYPROOF_LOG__FORMAT", variable);
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        let lines: Vec<_> = text(&output.stderr).lines().collect();
        let said = message(lines.last().unwrap(), "ERROR");
        assert!(said.contains(says), "{arguments:?}: {said}");
        for line in lines {
            serde_json::from_str::<Value>(line).unwrap();
        }
    }
}

#[test]
fn a_self_signed_certificate_is_announced() {
    let home = TempDir::new().unwrap();
    let mut serving = Serving::start(keyproof(&home).args(IN_MEMORY).arg("--tls-self-signed"));
    assert!(serving.url.starts_with("https://"));
    assert!(serving.line().contains("fingerprint (SHA-256) "));
    // The certificate stays in use if its files are gone.
    serving.signal(Signal::HUP);
    serving.stop();
}

/// Writes a new certificate and its key into a folder, and returns the certificate's fingerprint.
fn renew_certificate(folder: &TempDir) -> String {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(folder.path().join("cert.pem"), cert.pem()).unwrap();
    fs::write(folder.path().join("key.pem"), signing_key.serialize_pem()).unwrap();
    let digest = Sha256::digest(cert.der());
    let bytes: Vec<_> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}

#[test]
fn sighup_reads_the_tls_files_again() {
    let home = TempDir::new().unwrap();
    let old = renew_certificate(&home);
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| home.path().join(name));
    let mut serving = Serving::start(
        keyproof(&home)
            .args(IN_MEMORY)
            .arg("--tls-cert")
            .arg(&certificate)
            .arg("--tls-key")
            .arg(&key),
    );
    assert!(serving.url.starts_with("https://"));
    assert!(serving.line_with("fingerprint").contains(&old));

    // The log names a file that cannot be used, and the server keeps serving.
    fs::write(&key, "no key").unwrap();
    serving.signal(Signal::HUP);
    let log = serving.line_with("TLS files");
    assert!(
        log.contains("ERROR") && log.contains("key.pem") && log.contains("the old ones stay"),
        "{log}"
    );

    // The same for a chain in which only the first certificate is valid.
    let new = renew_certificate(&home);
    let whole = fs::read_to_string(&certificate).unwrap();
    let broken = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";
    fs::write(&certificate, whole.clone() + broken).unwrap();
    let paths = [&certificate, &key].map(|path| path.to_str().unwrap());
    let check = [
        "config",
        "check",
        "--tls-cert",
        paths[0],
        "--tls-key",
        paths[1],
    ];
    fails(
        &keyproof(&home).args(check).output().unwrap(),
        2,
        "cert.pem: certificate 2: ",
    );
    serving.signal(Signal::HUP);
    let log = serving.line_with("TLS files");
    assert!(
        log.contains("ERROR") && log.contains("certificate 2"),
        "{log}"
    );

    fs::write(&certificate, whole.clone() + &whole).unwrap();
    serving.signal(Signal::HUP);
    let log = serving.line_with("TLS files were read again");
    assert!(log.contains(&new), "{log}");
    serving.stop();
}

#[test]
fn a_certificate_that_has_ended_or_not_begun_is_warned_of_and_served() {
    for (from, to, says) in [
        (2001, 2002, "the certificate has expired"),
        (2998, 2999, "the certificate is not valid yet"),
    ] {
        let home = TempDir::new().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        let own = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&own).unwrap().pem();
        let certificate = write_file(&home, "cert.pem", certificate, 0o644);
        let key = write_file(&home, "key.pem", own.serialize_pem(), 0o600);
        let tls = ["--tls-cert", &certificate, "--tls-key", &key];
        let check = [&["config", "check", "--quiet"], &tls[..]].concat();
        let checked = keyproof(&home).args(check).output().unwrap();
        assert_eq!(checked.status.code(), Some(0));
        let said = text(&checked.stderr);
        assert!(
            said.starts_with("warning: tls.certificate: ") && said.contains(says),
            "{said}"
        );
        let mut serving = Serving::start(keyproof(&home).args(IN_MEMORY).args(tls));
        serving.signal(Signal::HUP);
        let log = serving.line_with("tls.certificate: ");
        assert!(log.contains("WARN") && log.contains(says), "{log}");
        serving.stop();
    }
}

/// API keys that need a client certificate are useless until the listener requests one.
#[test]
fn api_keys_that_are_always_refused_are_warned_of() {
    let home = TempDir::new().unwrap();
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    let mut serving = Serving::start(keyproof(&home).args(serve));
    let create = ["token", "create", "--quiet", "--scope", "tpm"];
    let created = keyproof(&home).args(create).output().unwrap();
    let token = succeeds(&created).trim().to_owned();
    for (kind, name, spec) in [
        ("tpm_managers", "acme", json!({})),
        (
            "tpm_categorys",
            "line-1",
            json!({ "tpm_manager_ref": [{ "name": "acme" }] }),
        ),
        (
            "tpm_api_keys",
            "bound",
            json!({ "category_ref": [{ "name": "line-1" }], "need_mtls": true }),
        ),
    ] {
        let body = json!({ "metadata": { "name": name }, "spec": spec }).to_string();
        let request = format!(
            "POST /api/tpm/namespaces/default/{kind} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Authorization: APIToken {token}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut socket = TcpStream::connect(serving.address()).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let log = serving.line_with("this server refuses the new API key");
    assert!(log.contains("WARN") && log.contains("bound"), "{log}");
    serving.stop();

    // The warning may come before the address, so the lines are read from the first on.
    let mut child = keyproof(&home)
        .args(serve)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut lines = lines.map(Result::unwrap);
    let log = lines.find(|line| line.contains("API keys that need a client certificate"));
    child.kill().unwrap();
    child.wait().unwrap();
    let log = log.unwrap();
    assert!(log.contains("WARN") && log.contains("bound"), "{log}");
}

#[test]
fn metrics_have_a_listener_of_their_own() {
    let home = TempDir::new().unwrap();
    let arguments = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--metrics-listen",
        "127.0.0.1:0",
    ];
    let mut serving = Serving::start(keyproof(&home).args(arguments));
    let line = serving.line_with("metrics on ");
    let url = line.trim_end().strip_prefix("metrics on http://").unwrap();
    let address = url.strip_suffix("/metrics").unwrap();
    assert_ne!(address, serving.address());
    assert!(serving.get("/metrics").starts_with("HTTP/1.1 404"));

    // The engine, which makes the groups, counts each of their batches once.
    let answer = get(address, "/metrics", "");
    let value = |series: &str| -> u64 {
        let mut lines = answer.lines().filter_map(|line| line.rsplit_once(' '));
        lines
            .find(|(name, _)| *name == series)
            .unwrap()
            .1
            .parse()
            .unwrap()
    };
    let applied = value("keyproof_store_commits_total{outcome=\"applied\"}");
    assert_ne!(applied, 0);
    assert_eq!(value("keyproof_store_commit_group_size_sum"), applied);
    serving.stop();
}

/// Returns the next message to the supervisor.
fn told(supervisor: &UnixDatagram) -> String {
    let mut message = [0; 256];
    let length = supervisor.recv(&mut message).unwrap();
    text(&message[..length]).trim_end().to_owned()
}

/// Returns a supervisor and the path of its socket.
fn supervisor_in(home: &TempDir) -> (UnixDatagram, PathBuf) {
    let socket = home.path().join("notify");
    let supervisor = UnixDatagram::bind(&socket).unwrap();
    let patience = Some(Duration::from_secs(60));
    supervisor.set_read_timeout(patience).unwrap();
    (supervisor, socket)
}

#[test]
fn a_supervisor_is_told_of_the_start_of_life_and_of_the_end() {
    let home = TempDir::new().unwrap();
    let (supervisor, socket) = supervisor_in(&home);
    let mut serving = Serving::start(
        keyproof(&home)
            .args(IN_MEMORY)
            .env("NOTIFY_SOCKET", &socket)
            .env("WATCHDOG_USEC", "200000"),
    );
    assert_eq!(told(&supervisor), "READY=1");
    for _ in 0..3 {
        assert_eq!(told(&supervisor), "WATCHDOG=1");
    }
    let next_but_life = || {
        let mut messages = std::iter::repeat_with(|| told(&supervisor));
        messages.find(|message| message != "WATCHDOG=1").unwrap()
    };
    serving.signal(Signal::HUP);
    let reloading = next_but_life();
    let moment = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
    assert!(moment.unwrap().parse::<u64>().is_ok(), "{reloading}");
    assert_eq!(next_but_life(), "READY=1");
    serving.signal(Signal::TERM);
    // Ten seconds for draining, two for the audit trail, five for the last commit, five for callers that still wait for the store,
    // and one for the log.
    assert_eq!(next_but_life(), "STOPPING=1\nEXTEND_TIMEOUT_USEC=23000000");
    assert_eq!(serving.end().0, Some(0));
}

#[test]
fn a_supervisor_waits_for_a_drain_of_hours() {
    let home = TempDir::new().unwrap();
    let (supervisor, socket) = supervisor_in(&home);
    let mut serving = Serving::start(
        keyproof(&home)
            .args(IN_MEMORY)
            .env("KEYPROOF_HTTP__DRAIN_TIMEOUT", "2h")
            .env("NOTIFY_SOCKET", &socket),
    );
    assert_eq!(told(&supervisor), "READY=1");
    serving.signal(Signal::TERM);
    let extended = "STOPPING=1\nEXTEND_TIMEOUT_USEC=7213000000";
    assert_eq!(told(&supervisor), extended);
    assert_eq!(serving.end().0, Some(0));
}
