//! `keyproof demo`

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{json_output, keyproof, succeeds, text};

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
    let told = succeeds(&told);
    assert!(told.ends_with("Every step passed.\n"));
    let drawn = told.lines().filter(|line| {
        let blocks = line.chars().filter(|c| "█▀▄ ".contains(*c)).count();
        blocks > 30 && blocks == line.chars().count()
    });
    // Each line draws two rows of modules, and the code contains a whole URI.
    assert!(drawn.count() > 15, "{told}");

    let output = demo(&["--json"]);
    let findings = json_output(&output, 0);
    assert_eq!(text(&output.stderr), "");
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
        "preauth_invalid_key",
        "preauth_invalid_device",
        "preauth_granted",
        "provision",
        "activate",
        "ak_certificate",
        "quote",
        "forged_quote",
        "attest_inactive",
        "activation",
        "attest",
        "attest_tampered",
        "revocation",
        "enrol",
        "activate_key",
        "two_steps",
        "same_code_refused",
        "trust_device",
        "one_step",
        "revoke_device",
        "recovery_code",
        "recovery_code_refused",
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
        .env("TMPDIR", home.path().join("absent"))
        .args(["demo", "--json"])
        .output();
    let findings = json_output(&output.unwrap(), 1);
    assert_eq!(findings["passed"], false);
    assert_eq!(findings["steps"][0]["passed"], false);
}

#[test]
fn a_demo_that_nobody_can_read_fails() {
    let home = TempDir::new().unwrap();
    for arguments in [&["demo"][..], &["demo", "--json"]] {
        let mut command = keyproof(&home);
        command.env("TMPDIR", home.path()).args(arguments);
        command.stdout(fs::File::create("/dev/full").unwrap());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("No space left"));
    }
}

#[test]
fn a_demo_that_is_ended_leaves_nothing_behind() {
    let home = TempDir::new().unwrap();
    let mut command = keyproof(&home);
    command.env("TMPDIR", home.path()).args(["demo", "--stay"]);
    let mut demo = Staying(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut told = BufReader::new(demo.0.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("listening on") {
        line.clear();
        assert_ne!(told.read_line(&mut line).unwrap(), 0, "it has ended");
    }
    kill_process(Pid::from_child(&demo.0), Signal::TERM).unwrap();
    told.read_to_string(&mut line).unwrap();
    assert_eq!(demo.0.wait().unwrap().code(), Some(1), "{line}");
    assert!(!line.contains("Every step passed"), "{line}");
    assert!(line.contains("FAILED  interruption: a signal"), "{line}");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "{line}");
}

/// A demo that keeps running, killed at the latest when the test ends.
struct Staying(Child);

impl Drop for Staying {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The parts of a browser that signing in needs.
struct Browser {
    address: String,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    /// Returns the complete answer, and stores its cookies.
    fn ask(&mut self, method: &str, path: &str, form: &str) -> String {
        let cookies = self.cookies.iter();
        let cookies: Vec<_> = cookies
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mut socket = TcpStream::connect(&self.address).unwrap();
        write!(
            socket,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAccept: text/html\r\nCookie: {}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            self.address,
            cookies.join("; "),
            form.len()
        )
        .unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        for line in answer.lines().take_while(|line| !line.is_empty()) {
            if let Some(cookie) = line.strip_prefix("set-cookie: ") {
                let (name, rest) = cookie.split_once('=').unwrap();
                let value = rest.split(';').next().unwrap();
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }

    /// Submits a page's form.
    fn sign_in(&mut self, page: &str, fields: &str) -> String {
        let form = self.ask("GET", page, "");
        let (_, csrf) = form.split_once("name=\"csrf\" value=\"").unwrap();
        let csrf = csrf.split('"').next().unwrap();
        let answer = self.ask("POST", page, &format!("csrf={csrf}&{fields}"));
        assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
        let home = page.strip_suffix("/sign-in").unwrap();
        self.ask("GET", home, "")
    }
}

#[test]
fn a_demo_that_stays_leaves_both_sites_open_until_it_is_ended() {
    let home = TempDir::new().unwrap();
    let mut command = keyproof(&home);
    command.env("TMPDIR", home.path()).args(["demo", "--stay"]);
    let mut staying = Staying(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut told = BufReader::new(staying.0.stdout.take().unwrap());
    let mut last = String::new();
    while !last.contains("is for the APIs, too.") {
        let before = last.len();
        told.read_line(&mut last).unwrap();
        assert_ne!(last.len(), before, "it has ended: {last}");
    }
    let told_of = |mark: &str| {
        let (before, rest) = last.split_once(mark).expect(mark);
        let url = before.rsplit("http://").next().unwrap();
        let secret = rest.split_whitespace().next().unwrap();
        (url.split('/').next().unwrap().to_owned(), secret.to_owned())
    };
    let (address, password) = told_of("sign in as demo with the password ");
    let (_, token) = told_of("sign in with the token ");
    let mut browser = Browser {
        address,
        cookies: BTreeMap::new(),
    };
    let front = browser.ask("GET", "/", "");
    for site in ["href=\"/account\"", "href=\"/console\""] {
        assert!(front.contains(site), "{front}");
    }
    let page = browser.sign_in(
        "/account/sign-in",
        &format!("name=demo&password={password}"),
    );
    assert!(page.contains("<bdi>demo</bdi>"), "{page}");
    let page = browser.sign_in("/console/sign-in", &format!("token={token}"));
    assert!(page.contains("Signed in as <bdi>demo</bdi>"), "{page}");
    // The records that the demo has made can be viewed.
    for (area, seen) in [
        ("tills", "demo-shop"),
        ("tpms", "/console/tpms/default"),
        ("audit", "operator_session.begin"),
    ] {
        let page = browser
            .ask("GET", &format!("/console/{area}"), "")
            .replace("<wbr>", "");
        assert!(page.contains(seen), "{area}: {page}");
    }
    kill_process(Pid::from_child(&staying.0), Signal::INT).unwrap();
    assert!(staying.0.wait().unwrap().success());
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}
