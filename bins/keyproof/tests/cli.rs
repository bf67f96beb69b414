//! The commands as a script sees them: exit codes, standard output, standard error, signals.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// The program, in an environment of its own.
fn keyproof(home: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyproof"));
    command.env_clear().env("HOME", home.path());
    command
}

fn run(arguments: &[&str]) -> Output {
    let home = TempDir::new().unwrap();
    keyproof(&home).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[track_caller]
fn prints(arguments: &[&str], expected: &str) {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).trim_end(), expected);
}

/// Ends with this exit code, says this on standard error, and nothing on standard output.
#[track_caller]
fn fails(output: &Output, code: i32, says: &str) {
    assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains(says),
        "{}",
        text(&output.stderr)
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn wrong_flags_end_with_2() {
    for wrong in [
        &["serve", "--listen", "nowhere"][..],
        &["serve", "--no-such-flag"],
        &["serve", "--dialects", "taler,nonsense"],
        &["no-such-command"],
        &["otp", "code"],
        &[],
    ] {
        let output = run(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(!output.stderr.is_empty());
    }
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(text(&help.stdout).contains("serve"));
}

/// RFC 6238, appendix B.
const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

fn secret_file(folder: &TempDir, secret: &str) -> String {
    let path = folder.path().join("secret");
    fs::write(&path, secret).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn otp_code_prints_the_code() {
    let folder = TempDir::new().unwrap();
    let file = secret_file(&folder, "gezd gnbv gy3t qojq gezd gnbv gy3t qojq\n");
    prints(
        &[
            "otp",
            "code",
            "--secret-file",
            &file,
            "--digits",
            "8",
            "--at",
            "59",
        ],
        "94287082",
    );
    prints(
        &["otp", "code", "--secret-file", &file, "--counter", "9"],
        "520489",
    );
    let uri = format!("otpauth://totp/a?secret={SECRET}&digits=8");
    prints(
        &["otp", "code", "--uri", &uri, "--at", "1111111109"],
        "07081804",
    );

    let output = run(&["otp", "code", "--uri", &uri, "--at", "59", "--json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected = serde_json::json!({ "code": "94287082", "step": 1, "valid_until": 60 });
    assert_eq!(document, expected);
}

#[test]
fn otp_verify_reports() {
    let uri = format!("otpauth://totp/a?secret={SECRET}&digits=8");
    let verify = |code: &str, window: &str| {
        run(&[
            "otp", "verify", "--uri", &uri, "--at", "60", "--window", window, "--json", code,
        ])
    };
    let output = verify("94287082", "1,0");
    assert_eq!(output.status.code(), Some(0));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report.get("accepted"), Some(&true.into()));
    assert_eq!(
        (&report["step"], &report["drift"]),
        (&1.into(), &(-1).into())
    );
    assert_eq!(report["checks"][0]["outcome"], "pass");

    let output = verify("94287082", "0,1");
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report.get("accepted"), Some(&false.into()));
    assert_eq!(report["checks"][0]["outcome"], "fail");

    fails(&verify("9428708", "1,1"), 1, "keyproof: ");
    fails(&verify("94287082", "1"), 2, "two numbers");
}

#[test]
fn otp_uri_builds_what_otp_code_reads() {
    let folder = TempDir::new().unwrap();
    let file = secret_file(&folder, SECRET);
    let arguments = [
        "otp",
        "uri",
        "--secret-file",
        &file,
        "--account",
        "alice",
        "--issuer",
        "ACME",
    ];
    let built = format!("otpauth://totp/ACME:alice?secret={SECRET}&issuer=ACME&digits=6&period=30");
    prints(&arguments, &built);
    prints(&["otp", "code", "--uri", &built, "--at", "59"], "287082");
}

#[test]
fn otp_inputs_that_do_not_parse_end_with_1_and_files_that_cannot_be_read_with_2() {
    let folder = TempDir::new().unwrap();
    let file = secret_file(&folder, "not base32!");
    fails(
        &run(&["otp", "code", "--secret-file", &file]),
        1,
        "keyproof: ",
    );
    fails(
        &run(&["otp", "code", "--uri", "https://example.com"]),
        1,
        "keyproof: ",
    );
    fails(
        &run(&["otp", "code", "--secret-file", "/nonexistent"]),
        2,
        "/nonexistent",
    );
}

/// `config check` with a file.
fn check(file: &str, variables: &[(&str, &str)], flags: &[&str]) -> Output {
    let home = TempDir::new().unwrap();
    let path = home.path().join("keyproof.toml");
    fs::write(&path, file).unwrap();
    let mut command = keyproof(&home);
    command
        .args(["config", "check", "--config"])
        .arg(&path)
        .args(flags);
    command.envs(variables.iter().copied()).output().unwrap()
}

#[test]
fn flags_win_over_environment_over_file_over_defaults() {
    let file = "[http]\nlisten = \"127.0.0.1:1\"\nmax_connections = 11\nmax_body_bytes = 22\n";
    let variables = [
        ("KEYPROOF_HTTP__LISTEN", "127.0.0.1:2"),
        ("KEYPROOF_HTTP__MAX_CONNECTIONS", "12"),
        ("KEYPROOF_HTTP__TRUSTED_PROXIES", "[\"10.0.0.0/8\"]"),
        ("KEYPROOF_TALER__CURRENCY", "EUR"),
        ("KEYPROOF_TLS__SELF_SIGNED", "true"),
    ];
    let output = check(file, &variables, &["--listen", "127.0.0.1:3", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let effective: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(effective["http"]["listen"], "127.0.0.1:3");
    assert_eq!(effective["http"]["max_connections"], 12);
    assert_eq!(effective["http"]["max_body_bytes"], 22);
    assert_eq!(effective["http"]["header_timeout_ms"], 10_000);
    assert_eq!(effective["http"]["trusted_proxies"][0], "10.0.0.0/8");
    assert_eq!(effective["taler"]["currency"], "EUR");
    assert_eq!(effective["tls"]["self_signed"], true);
}

#[test]
fn what_config_check_prints_is_a_configuration() {
    let first = check("", &[], &[]);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first.stderr));
    let again = check(text(&first.stdout), &[], &[]);
    assert_eq!(text(&first.stdout), text(&again.stdout));
}

#[test]
fn a_wrong_configuration_is_named_with_its_place() {
    for (file, says) in [
        (
            "[http]\n\nlistn = 1\n",
            "keyproof.toml:3: unknown field `listn`",
        ),
        ("[http]\nmax_connections = 0\n", "keyproof.toml:2: "),
        (
            "http.max_connections = 1\ndialects.taler.listen = \"127.0.0.1:0\"",
            "http.max_connections",
        ),
        (
            "[log]\nlevel = \"loud\"\n",
            "keyproof.toml:2: unknown variant",
        ),
        ("[nonsense]\n", "keyproof.toml:1: unknown field `nonsense`"),
        ("[http\n", "keyproof.toml:1: "),
        ("http.listen = \"0.0.0.0:80\"", "http.insecure"),
        ("dialects.taler.listen = \"192.0.2.1:80\"", "192.0.2.1:80"),
        ("tls.key = \"key.pem\"", "tls: "),
        (
            "tls = { key = \"/none\", certificate = \"/none\" }",
            "/none",
        ),
        ("store.url = \"mysql:x\"", "store.url"),
        (
            "store.url = \"postgres://u:hunter2@h/d\"",
            "not in this version",
        ),
        ("taler.currency = \"euro\"", "taler.currency"),
        ("auth.argon2_memory_kib = 1024", "auth.argon2"),
        (
            "metrics.listen = \"127.0.0.1:1\"",
            "metrics: not in this version",
        ),
        ("dps.max_certificates = 25", "dps: not in this version"),
        ("dialects.f5.enabled = true", "f5 is not in this version"),
    ] {
        let output = check(file, &[], &[]);
        fails(&output, 2, says);
        assert!(!text(&output.stderr).contains("hunter2"));
    }
    fails(
        &check("", &[("KEYPROOF_HTTP__LISTN", "x")], &[]),
        2,
        "KEYPROOF_HTTP__LISTN: unknown",
    );
    fails(
        &check("", &[("KEYPROOF_LOG__LEVEL", "loud")], &[]),
        2,
        "KEYPROOF_LOG__LEVEL: ",
    );
    fails(
        &check("", &[], &["--dialects", "taler,emnify"]),
        2,
        "emnify is not in this version",
    );
    fails(
        &run(&["config", "check", "--config", "/nonexistent"]),
        2,
        "/nonexistent",
    );
    let floor = "auth.argon2_memory_kib = 1024\nauth.argon2_insecure_for_tests = true";
    assert_eq!(check(floor, &[], &[]).status.code(), Some(0));
}

#[test]
fn no_secret_is_printed() {
    let key = (
        "KEYPROOF_STORE__MASTER_KEY_BASE64",
        "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=",
    );
    let output = check("", &[key], &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for stream in [&output.stdout, &output.stderr] {
        assert!(!text(stream).contains("MTIz"));
    }
    // Not even one that stands where it does not belong.
    let misplaced = check("store.master_key_base64 = \"MTIz\"", &[], &[]);
    fails(&misplaced, 2, "unknown field `master_key_base64`");
    assert!(!text(&misplaced.stderr).contains("MTIz"));
}

/// A server as a child process, killed at the latest when the test ends.
struct Serving {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
    url: String,
}

impl Serving {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut serving = Self {
            stderr: BufReader::new(child.stderr.take().unwrap()),
            child,
            url: String::new(),
        };
        loop {
            let line = serving.line();
            if let Some(url) = line.trim_end().strip_prefix("listening on ") {
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

    fn address(&self) -> &str {
        self.url.split_once("://").unwrap().1
    }

    fn get(&self, path: &str) -> String {
        let mut socket = TcpStream::connect(self.address()).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end, and returns the exit code and what it still said.
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
    serving.signal(Signal::TERM);
    assert_eq!(serving.end().0, Some(0));

    let folder = home.path().join(".local/state/keyproof");
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join("keyproof.db")), 0o600);
    let key = folder.join("keyproof.db.master-key");
    assert_eq!(mode(&key), 0o600);

    // The key is the store's, and nobody else's.
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    fails(
        &keyproof(&home).args(listen).output().unwrap(),
        2,
        "master-key",
    );
    fs::remove_file(&key).unwrap();
    fails(
        &keyproof(&home).args(listen).output().unwrap(),
        2,
        "master-key",
    );
    assert!(!key.exists());
}

#[test]
fn serve_ends_on_sigint_too() {
    let home = TempDir::new().unwrap();
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--store", "memory:"];
    let mut serving = Serving::start(keyproof(&home).args(arguments));
    serving.signal(Signal::INT);
    assert_eq!(serving.end().0, Some(0));
}

#[test]
fn a_second_signal_ends_at_once() {
    let home = TempDir::new().unwrap();
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--store", "memory:"];
    // Only the second signal can end this drain while the test lives.
    let mut serving = Serving::start(
        keyproof(&home)
            .args(arguments)
            .env("KEYPROOF_HTTP__DRAIN_TIMEOUT_MS", "3600000")
            .env("KEYPROOF_HTTP__HEADER_TIMEOUT_MS", "3600000"),
    );
    let mut open = TcpStream::connect(serving.address()).unwrap();
    open.write_all(b"GET /hea").unwrap();
    // Connections are accepted in order: once these are answered, that one has begun.
    for _ in 0..20 {
        serving.get("/healthz");
    }
    serving.signal(Signal::TERM);
    while !serving.line().contains("draining") {}
    serving.signal(Signal::TERM);
    assert_eq!(serving.end().0, Some(1));
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

/// However many connections there are: those beyond the descriptors wait, and the server serves on.
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
        .args(["serve", "--listen", "127.0.0.1:0", "--store", "memory:"]);
    let mut serving = Serving::start(&mut shell);
    let connect = || TcpStream::connect(serving.address()).unwrap();
    let connections: Vec<TcpStream> = std::iter::repeat_with(connect).take(100).collect();
    while !serving.line().contains("cannot accept") {}
    drop(connections);
    assert!(serving.get("/healthz").starts_with("HTTP/1.1 200"));
    serving.signal(Signal::TERM);
    assert_eq!(serving.end().0, Some(0));
}

#[test]
fn json_logs_hold_no_path_and_no_query() {
    let home = TempDir::new().unwrap();
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--store", "memory:"];
    let logging = ["--log-format", "json", "--log-level", "trace"];
    let mut serving = Serving::start(keyproof(&home).args(arguments).args(logging));
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

#[test]
fn a_self_signed_certificate_is_announced() {
    let home = TempDir::new().unwrap();
    let arguments = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--store",
        "memory:",
        "--tls-self-signed",
    ];
    let mut serving = Serving::start(keyproof(&home).args(arguments));
    assert!(serving.url.starts_with("https://"));
    assert!(serving.line().contains("fingerprint (SHA-256) "));
    // The certificate stays when there are no files to read again.
    serving.signal(Signal::HUP);
    serving.signal(Signal::TERM);
    assert_eq!(serving.end().0, Some(0));
}

#[test]
fn the_demo_passes_and_leaves_nothing_behind() {
    let home = TempDir::new().unwrap();
    let demo = |arguments: &[&str]| {
        let mut command = keyproof(&home);
        command
            .env("TMPDIR", home.path())
            .arg("demo")
            .args(arguments);
        command.output().unwrap()
    };
    let told = demo(&[]);
    assert_eq!(told.status.code(), Some(0), "{}", text(&told.stdout));
    assert!(text(&told.stdout).ends_with("Every step passed.\n"));

    let output = demo(&["--json"]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(findings["passed"], true);
    let steps = findings["steps"].as_array().unwrap();
    let names: Vec<&str> = steps
        .iter()
        .map(|step| step["name"].as_str().unwrap())
        .collect();
    for walked in [
        "token",
        "device_with_price",
        "idempotent",
        "conflict",
        "readonly_token",
    ] {
        assert!(names.contains(&walked), "{names:?}");
    }
    assert!(
        steps
            .iter()
            .all(|step| step["passed"] == true && step["detail"].is_string())
    );
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn a_demo_that_fails_says_so() {
    let home = TempDir::new().unwrap();
    let mut command = keyproof(&home);
    let output = command
        .env("TMPDIR", "/nonexistent")
        .args(["demo", "--json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(findings["passed"], false);
    assert_eq!(findings["steps"][0]["passed"], false);
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let folder = TempDir::new().unwrap();
    let file = secret_file(&folder, SECRET);
    let mut child = keyproof(&folder)
        .args(["otp", "code", "--secret-file", &file])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}
