//! Several nodes on one PostgreSQL database: migration, keys, passwords, and a database that is lost.
//!
//! A missing PostgreSQL fails these tests; nothing is skipped.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a peer that does not answer fails the test"
)]

mod node;
mod pooler;
mod standby;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio},
    thread,
};

use keyproof_peer_postgres::Postgres;
use serde_json::{Value, json};
use tempfile::TempDir;

use node::{Node, until};

/// An operator's setup: an empty database, and a master key made as the README describes.
struct Site {
    server: Postgres,
    url: String,
    folder: TempDir,
}

impl Site {
    fn new() -> Self {
        let server = Postgres::start().unwrap();
        let site = Self {
            url: server.database().unwrap(),
            server,
            folder: TempDir::new().unwrap(),
        };
        site.make_key("master-key");
        site
    }

    fn make_key(&self, name: &str) {
        let made = Command::new("sh")
            .current_dir(self.folder.path())
            .args([
                "-c",
                &format!("head -c 32 /dev/urandom | base64 > {name}; chmod 600 {name}"),
            ])
            .status();
        assert!(made.unwrap().success());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn password(&self) -> &str {
        let (credentials, _) = self.url.split_once('@').unwrap();
        credentials.rsplit_once(':').unwrap().1
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyproof"));
        command
            .env_clear()
            .env("HOME", self.folder.path())
            .env("KEYPROOF_STORE__URL", &self.url)
            .env("KEYPROOF_STORE__MASTER_KEY", self.path("master-key"))
            .env("KEYPROOF_AUTH__ARGON2_MEMORY_KIB", "8")
            .env("KEYPROOF_AUTH__ARGON2_ITERATIONS", "1")
            .env("KEYPROOF_AUTH__ARGON2_INSECURE_FOR_TESTS", "true")
            .stdin(Stdio::null())
            .args(arguments);
        command
    }

    /// Runs a command, and asserts that its output never contains the password.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        self.ended(self.command(arguments).output().unwrap())
    }

    fn ended(&self, output: Output) -> (Option<i32>, String, String) {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (printed, complaint) = (text(output.stdout), text(output.stderr));
        assert!(!printed.contains(self.password()), "{printed}");
        assert!(!complaint.contains(self.password()), "{complaint}");
        (output.status.code(), printed, complaint)
    }

    #[track_caller]
    fn document(&self, arguments: &[&str]) -> Value {
        let (code, printed, complaint) = self.run(arguments);
        assert_eq!(code, Some(0), "{complaint}");
        serde_json::from_str(&printed).unwrap()
    }

    /// Asserts that a command fails, and returns its error.
    #[track_caller]
    fn fails(&self, command: &mut Command, expected: i32, says: &str) -> String {
        let (code, _, complaint) = self.ended(command.output().unwrap());
        assert_eq!(code, Some(expected), "{complaint}");
        assert!(complaint.contains(says), "{complaint}");
        complaint
    }

    /// Adds the instance `shop`.
    fn add_shop(&self) {
        let mut add = self.command(&["instance", "add", "shop", "--stdin"]);
        let mut add = add.stdin(Stdio::piped()).spawn().unwrap();
        let password = b"correct horse\n";
        add.stdin.take().unwrap().write_all(password).unwrap();
        assert!(add.wait().unwrap().success());
    }

    /// Returns a new token.
    fn token(&self, scopes: &[&str]) -> String {
        let create = ["token", "create", "--quiet", "--scope"];
        let (code, token, _) = self.run(&[&create[..], scopes].concat());
        assert_eq!(code, Some(0));
        token.trim().to_owned()
    }

    fn node(&self, flags: &[&str]) -> Node {
        let arguments = [&["serve", "--listen", "127.0.0.1:0"], flags].concat();
        Node::start(&mut self.command(&arguments))
    }
}

#[test]
fn a_database_is_migrated_by_whoever_is_asked_to_and_by_nobody_else() {
    let site = Site::new();
    let mut serve = site.command(&["serve", "--listen", "127.0.0.1:0"]);
    let complaint = site.fails(&mut serve, 2, "keyproof migrate");
    assert!(complaint.contains("no schema"), "{complaint}");
    let mut list = site.command(&["token", "list"]);
    site.fails(&mut list, 2, "keyproof migrate");

    let shown = site.url.replace(&format!(":{}@", site.password()), "@");
    let migrated = site.document(&["migrate", "--json"]);
    assert_eq!(migrated, json!({ "store": shown, "from": 0, "to": 1 }));
    let again = site.document(&["migrate", "--json"]);
    assert_eq!(again, json!({ "store": shown, "from": 1, "to": 1 }));
    let (_, printed, _) = site.run(&["migrate"]);
    assert_eq!(printed, format!("{shown} has schema 1 already\n"));
    drop(site.node(&[]));
}

#[test]
fn three_nodes_may_migrate_and_serve_at_once() {
    let site = Site::new();
    let commands: Vec<_> = (0..3)
        .map(|_| {
            site.command(&["migrate", "--json"])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut from = Vec::new();
    for command in commands {
        let (code, printed, complaint) = site.ended(command.wait_with_output().unwrap());
        assert_eq!(code, Some(0), "{complaint}");
        let migrated: Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(migrated["to"], 1);
        from.push(migrated["from"].as_u64());
    }
    // Only the one that migrated reports it.
    from.sort_unstable();
    assert_eq!(from, [Some(0), Some(1), Some(1)]);

    let fresh = Site::new();
    let nodes: Vec<Node> = thread::scope(|scope| {
        let nodes: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| fresh.node(&["--migrate"])))
            .collect();
        nodes.into_iter().map(|node| node.join().unwrap()).collect()
    });
    for node in &nodes {
        assert_eq!(node.ask("GET /readyz").0, 200);
    }
    // A change at one node is known to all.
    fresh.add_shop();
    for node in &nodes {
        assert_eq!(node.ask("GET /instances/shop/config").0, 200);
    }
    assert_eq!(
        fresh.document(&["instance", "list", "--json"])["instances"][1]["name"],
        "shop"
    );
}

#[test]
fn whoever_has_no_usable_master_key_migrates_nothing() {
    let site = Site::new();
    let key = site.path("absent");
    let serve = ["serve", "--migrate", "--listen", "127.0.0.1:0"];
    let without = [&serve[..], &["--master-key", key.to_str().unwrap()]].concat();
    site.fails(&mut site.command(&without), 2, "is missing");
    let migrated = site.document(&["migrate", "--json"]);
    assert_eq!(migrated["from"], 0);
}

#[test]
fn a_node_with_another_master_key_or_none_is_refused_by_name() {
    let site = Site::new();
    let _first = site.node(&["--migrate"]);
    site.make_key("other-key");
    let refused = |key: &str, says: &str| {
        let key = site.path(key);
        let serve = [
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--master-key",
            key.to_str().unwrap(),
        ];
        site.fails(&mut site.command(&serve), 2, says);
    };
    refused("other-key", "sealed under master key");
    refused("absent", "is missing");
    assert!(!site.path("absent").exists());
    fs::set_permissions(site.path("master-key"), fs::Permissions::from_mode(0o644)).unwrap();
    refused("master-key", "can be read by others");

    let mut none = site.command(&["serve", "--listen", "127.0.0.1:0"]);
    none.env_remove("KEYPROOF_STORE__MASTER_KEY");
    site.fails(&mut none, 2, "needs a master key, the same for all");
}

#[test]
fn neither_the_configuration_nor_a_failure_shows_the_password() {
    let site = Site::new();
    let shown = site.url.replace(&format!(":{}@", site.password()), "@");
    let config = site.document(&["config", "check", "--json"]);
    assert_eq!(config["store"]["url"], shown.as_str());
    let (code, printed, _) = site.run(&["config", "check"]);
    assert_eq!(code, Some(0));
    assert!(printed.contains(&shown), "{printed}");
    let wrong = site.url.replace("/test0", "/nothing");
    for command in [&["migrate"][..], &["instance", "list"]] {
        let mut command = site.command(&[command, &["--store", &wrong]].concat());
        site.fails(&mut command, 1, "does not exist");
    }
}

#[test]
fn files_that_cannot_be_used_are_told_from_a_server_that_refuses() {
    let site = Site::new();
    fs::write(site.path("empty.pem"), "").unwrap();
    for name in ["absent.pem", "empty.pem"] {
        let url = format!("{}?sslrootcert={}", site.url, site.path(name).display());
        for command in [&["migrate"][..], &["instance", "list"], &["serve"]] {
            let mut command = site.command(&[command, &["--store", &url]].concat());
            let complaint = site.fails(&mut command, 2, "sslrootcert");
            assert!(complaint.contains(name), "{complaint}");
        }
    }
    let wrong = site.url.replace(site.password(), "hunter2");
    let (code, _, complaint) = site.run(&["migrate", "--store", &wrong]);
    assert_eq!(code, Some(1), "{complaint}");
    assert!(!complaint.contains("hunter2"), "{complaint}");
}

#[test]
fn a_database_that_goes_away_is_told_of_and_found_again() {
    let mut site = Site::new();
    let node = site.node(&["--migrate"]);
    assert_eq!(node.ask("GET /readyz").0, 200);
    let token = site.token(&["certificates", "tpm"]);
    let devices = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Devices/provisioningServices/p/certificates";
    let requests = [
        ("GET /instances/nobody/config".to_owned(), 404),
        (
            "POST /api/v1/authenticate\n\n{\"username\":\"a\",\"password\":\"b\"}".to_owned(),
            401,
        ),
        (
            format!(
                "GET /api/tpm/namespaces/default/tpm_managers/m\nAuthorization: APIToken {token}"
            ),
            404,
        ),
        (
            format!("GET {devices}?api-version=2022-02-05\nAuthorization: Bearer {token}"),
            200,
        ),
    ];
    for (request, status) in &requests {
        assert_eq!(node.ask(request).0, *status, "{request}");
    }
    site.server.kill().unwrap();
    for _ in 0..3 {
        let (status, _, body) = node.ask("GET /readyz");
        assert_eq!(status, 503, "{body}");
    }
    node.wait_until_logged("not ready");
    assert_eq!(node.ask("GET /healthz").0, 200);
    for (request, _) in &requests {
        let (status, head, body) = node.ask(request);
        // Taler's contract has its own code for this, with status 500.
        if request.contains("/instances/") {
            assert_eq!((status, body.contains("53")), (500, true), "{body}");
        } else {
            assert_eq!(status, 503, "{request}: {body}");
            assert!(head.contains("retry-after: "), "{request}: {head}");
        }
        assert!(!body.contains("127.0.0.1"), "{body}");
    }
    site.server.restart().unwrap();
    node.wait_until_ready();
    node.wait_until_logged("ready again");
    let log = node.log.lock().unwrap().clone();
    assert_eq!(node.logged("not ready"), 1, "{log}");
    let why = log.lines().find(|line| line.contains("not ready")).unwrap();
    assert!(
        why.contains("WARN") && why.contains("the store does not answer: "),
        "{why}"
    );
    assert!(!log.contains(site.password()), "{log}");
    for (request, status) in &requests {
        assert_eq!(node.ask(request).0, *status, "{request}");
    }
}

#[test]
fn a_table_that_somebody_keeps_locked_is_told_of_by_readyz() {
    let site = Site::new();
    let node = site.node(&["--migrate"]);
    assert_eq!(node.ask("GET /readyz").0, 200);
    // The second mode blocks only changes, and the node has made none that could have failed.
    for mode in ["ACCESS EXCLUSIVE", "SHARE"] {
        let mut psql = Psql::start(&site);
        psql.run(&format!(
            "BEGIN; LOCK TABLE keyproof_records IN {mode} MODE;"
        ));
        let (status, _, body) = node.ask("GET /readyz");
        assert_eq!(status, 503, "{mode}: {body}");
        assert_eq!(node.ask("GET /healthz").0, 200);
        psql.end();
        node.wait_until_ready();
    }
}

/// As while the table is being altered: a supervisor should start the node again.
#[test]
fn a_node_that_starts_while_the_table_is_locked_ends_with_1() {
    let site = Site::new();
    site.document(&["migrate", "--json"]);
    let mut psql = Psql::start(&site);
    psql.run("BEGIN; LOCK TABLE keyproof_records IN ACCESS EXCLUSIVE MODE;");
    for arguments in [
        &["serve", "--listen", "127.0.0.1:0"][..],
        &["token", "list"],
    ] {
        let mut command = site.command(arguments);
        command.env("KEYPROOF_STORE__STATEMENT_TIMEOUT", "1s");
        site.fails(&mut command, 1, "try again");
    }
    psql.end();
}

/// A psql session, which accepts commands as long as it lives.
struct Psql {
    child: Child,
    commands: ChildStdin,
    said: BufReader<ChildStdout>,
}

impl Psql {
    fn start(site: &Site) -> Self {
        let mut child = site
            .server
            .program("psql")
            .args(["--quiet", "--no-psqlrc", "--tuples-only", &site.url])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut psql = Self {
            commands: child.stdin.take().unwrap(),
            said: BufReader::new(child.stdout.take().unwrap()),
            child,
        };
        psql.run("");
        psql
    }

    /// Runs a command, and returns once it is done.
    fn run(&mut self, command: &str) {
        writeln!(self.commands, "{command}\n\\echo done").unwrap();
        let mut line = String::new();
        while line != "done\n" {
            line.clear();
            assert_ne!(self.said.read_line(&mut line).unwrap(), 0, "{command}");
        }
    }

    /// Ends the session, and with it an open transaction.
    fn end(mut self) {
        drop(self.commands);
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn a_database_that_takes_connections_and_answers_none_is_given_up_in_time() {
    let site = Site::new();
    let patience = |command: &mut Command| {
        command.env("KEYPROOF_STORE__CONNECT_TIMEOUT", "3s");
        // Nothing else ends a request while the test runs.
        command.env("KEYPROOF_HTTP__HANDLER_TIMEOUT_MS", "3600000");
        command.env("KEYPROOF_STORE__STATEMENT_TIMEOUT", "1h");
    };
    let mut serve = site.command(&["serve", "--listen", "127.0.0.1:0", "--migrate"]);
    patience(&mut serve);
    let node = Node::start(&mut serve);
    assert_eq!(node.ask("GET /readyz").0, 200);
    let mut psql = Psql::start(&site);
    // The kernel still accepts connections for a stopped server.
    let server = site.server.pid().unwrap().to_string();
    let signal = |name: &str| {
        let sent = Command::new("kill").args([name, &server]).status();
        assert!(sent.unwrap().success());
    };
    signal("-STOP");
    psql.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'keyproof';",
    );
    let (status, head, body) =
        node.ask("POST /api/v1/authenticate\n\n{\"username\":\"a\",\"password\":\"b\"}");
    assert_eq!(status, 503, "{body}");
    assert!(head.contains("retry-after: "), "{head}");
    let (status, _, body) = node.ask("GET /readyz");
    assert_eq!((status, &*body), (503, "the store does not answer\n"));
    node.wait_until_logged("connecting took too long");
    assert_eq!(node.ask("GET /healthz").0, 200);
    let mut list = site.command(&["instance", "list"]);
    patience(&mut list);
    site.fails(&mut list, 1, "connecting took too long");
    signal("-CONT");
    node.wait_until_ready();
    psql.end();
}

#[test]
fn the_pool_of_connections_is_told_by_the_metrics() {
    let site = Site::new();
    let mut serve = site.command(&["serve", "--listen", "127.0.0.1:0", "--migrate"]);
    serve.args(["--metrics-listen", "127.0.0.1:0"]);
    serve.env("KEYPROOF_STORE__MAX_CONNECTIONS", "2");
    serve.env("KEYPROOF_STORE__STATEMENT_TIMEOUT", "1h");
    let node = Node::start(&mut serve);
    let metrics = node.metrics();
    let figures = || {
        let (_, _, text) = metrics.ask("GET /metrics");
        let series = [
            "keyproof_store_connections{state=\"used\"}",
            "keyproof_store_connections{state=\"idle\"}",
            "keyproof_store_connections_max",
            "keyproof_store_connections_waiting",
        ];
        series.map(|series| {
            let mut lines = text.lines();
            let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
            value.unwrap().parse::<u32>().unwrap()
        })
    };
    let becomes = |expected: &dyn Fn([u32; 4]) -> bool| {
        until("the pool's figures", || expected(figures()));
    };
    becomes(&|[used, idle, most, waiting]| used == 0 && idle > 0 && most == 2 && waiting == 0);
    let mut psql = Psql::start(&site);
    psql.run("BEGIN; LOCK TABLE keyproof_records IN ACCESS EXCLUSIVE MODE;");
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert_eq!(node.ask("GET /instances/nobody/config").0, 404));
        }
        becomes(&|[used, idle, most, waiting]| (used, idle, most) == (2, 0, 2) && waiting > 0);
        psql.end();
    });
    becomes(&|[used, idle, _, waiting]| (used, idle, waiting) == (0, 2, 0));
}
