//! `keyproof user`, alone and beside a running server.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::{Output, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{fails, keyproof, serve::Serving, text};

const PASSWORD: &str = "correct horse";
const ADA: &str = "ada@example.org";

/// A machine with a store on it.
struct Machine(TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(TempDir::new().unwrap());
        let made = keyproof(&machine.0).arg("migrate").output().unwrap();
        assert!(made.status.success());
        machine
    }

    /// Runs `keyproof user` with this standard input.
    fn user(&self, arguments: &[&str], input: impl AsRef<[u8]>) -> Output {
        let mut command = keyproof(&self.0);
        command
            .arg("user")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that reads no input may have ended already.
        let _ = child.stdin.take().unwrap().write_all(input.as_ref());
        let output = child.wait_with_output().unwrap();
        for told in [&output.stdout, &output.stderr] {
            assert!(!text(told).contains(PASSWORD), "{arguments:?}");
        }
        output
    }

    /// Returns the output of a command that must succeed without warnings.
    #[track_caller]
    fn prints(&self, arguments: &[&str], input: &str) -> String {
        let output = self.user(arguments, input);
        let told = (output.status.code(), text(&output.stderr));
        assert_eq!(told, (Some(0), ""), "{arguments:?}");
        text(&output.stdout).to_owned()
    }

    /// Returns the JSON document that the command prints.
    #[track_caller]
    fn document(&self, arguments: &[&str], input: &str) -> Value {
        let arguments = [arguments, &["--json"]].concat();
        serde_json::from_str(&self.prints(&arguments, input)).unwrap()
    }

    #[track_caller]
    fn add(&self, name: &str) {
        let arguments = ["add", name, "--organisation", "Example Org", "--stdin"];
        self.prints(&arguments, PASSWORD);
    }

    /// Returns name, role and status of every user, by name: an organisation's users are listed by their numbers, which are random.
    #[track_caller]
    fn users(&self) -> Vec<[String; 3]> {
        let listed = self.document(&["list"], "");
        let users = listed["users"].as_array().unwrap().iter();
        let mut users: Vec<_> = users
            .map(|user| {
                assert!((1..1 << 24).contains(&user["id"].as_u64().unwrap()));
                assert!(user["created_at"].as_str().unwrap().ends_with('Z'));
                ["name", "role", "status"].map(|member| user[member].as_str().unwrap().to_owned())
            })
            .collect();
        users.sort();
        users
    }

    /// Returns the audit trail, one line per event.
    fn trail(&self) -> String {
        let output = keyproof(&self.0).arg("audit").output().unwrap();
        text(&output.stdout).to_owned()
    }
}

#[test]
fn users_are_added_listed_changed_and_removed() {
    let machine = Machine::new();
    assert_eq!(machine.document(&["list"], ""), json!({ "users": [] }));
    assert_eq!(machine.prints(&["list"], ""), "");
    machine.add(ADA);
    // Only the first line, without the line ending.
    let bob = [
        "add",
        "bob",
        "--organisation",
        "Example Org",
        "--role",
        "administrator",
        "--stdin",
    ];
    let added = machine.document(&bob, "correct horse\r\nbattery staple");
    assert_eq!(added, json!({ "added": "bob" }));
    let ada = |status: &str| [ADA, "User", status].map(str::to_owned);
    let bob = ["bob", "Administrator", "active"].map(str::to_owned);
    assert_eq!(machine.users(), [ada("active"), bob.clone()]);

    let lines = machine.prints(&["list"], "");
    let mut columns: Vec<Vec<_>> = lines
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    columns.sort();
    assert_eq!(columns[0][..4], [ADA, "Example Org", "User", "active"]);
    assert_eq!(
        columns[1][..4],
        ["bob", "Example Org", "Administrator", "active"]
    );
    assert!(
        columns
            .iter()
            .all(|columns| columns.len() == 5 && columns[4].ends_with('Z'))
    );

    for (verb, done, status) in [
        ("suspend", "suspended", "suspended"),
        ("suspend", "suspended", "suspended"),
        ("activate", "activated", "active"),
        ("activate", "activated", "active"),
        ("unlock", "unlocked", "active"),
    ] {
        assert_eq!(machine.document(&[verb, ADA], ""), json!({ done: ADA }));
        machine.prints(&[verb, ADA], "");
        assert_eq!(machine.users(), [ada(status), bob.clone()]);
    }
    let set = ["set-password", ADA, "--stdin"];
    assert_eq!(
        machine.document(&set, PASSWORD),
        json!({ "password_set": ADA })
    );
    machine.prints(&set, PASSWORD);
    assert_eq!(
        machine.document(&["remove", ADA], ""),
        json!({ "removed": ADA })
    );
    machine.prints(&["remove", "bob"], "");
    assert_eq!(machine.document(&["list"], ""), json!({ "users": [] }));

    let trail = machine.trail();
    for action in [
        "add",
        "suspend",
        "activate",
        "unlock",
        "set_password",
        "remove",
    ] {
        let action = format!("done user.{action} organisation/");
        assert!(trail.contains(&action), "{action}: {trail}");
    }
    assert!(!trail.contains(PASSWORD));
}

#[test]
fn a_name_is_in_the_trail_until_it_is_forgotten() {
    let machine = Machine::new();
    machine.add(ADA);
    machine.add("bob");
    machine.prints(&["remove", ADA], "");
    assert!(machine.trail().contains(ADA), "{}", machine.trail());
    let exported = |more: &[&str]| {
        let output = keyproof(&machine.0)
            .args(["audit", "export"])
            .args(more)
            .output();
        text(&output.unwrap().stdout).to_owned()
    };
    assert!(!exported(&[]).contains(ADA));
    assert!(exported(&["--names"]).contains(ADA));

    let forget = ["remove", ADA, "--forget"];
    assert_eq!(machine.document(&forget, ""), json!({ "forgotten": ADA }));
    let trail = machine.trail();
    assert!(!trail.contains(ADA), "{trail}");
    assert!(!exported(&["--names"]).contains(ADA));
    for told in [
        "done user.add ",
        "done user.remove ",
        "done user.forget ",
        ": bob in Example Org, role User",
    ] {
        assert!(trail.contains(told), "{told}: {trail}");
    }
    fails(&machine.user(&forget, ""), 1, "no such user");

    // What is printed does not claim a removal that was made before.
    for (is_removed, says) in [
        (false, "removed the user bob with their keys"),
        (true, "the user bob was already removed; forgot the name"),
    ] {
        if is_removed {
            machine.add("bob");
            machine.prints(&["remove", "bob"], "");
        }
        let said = machine.prints(&["remove", "bob", "--forget"], "");
        assert!(said.starts_with(says), "{said}");
    }
}

#[test]
fn the_key_of_access_tokens_is_replaced_and_the_former_stays_for_a_while() {
    let machine = Machine::new();
    let rotate = || {
        let rotate = ["keys", "signing", "rotate", "--json"];
        let output = keyproof(&machine.0).args(rotate).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let (first, second) = (rotate(), rotate());
    assert_eq!(first["former"], Value::Null);
    assert_eq!(second["former"], first["signing"]);
    assert_ne!(second["signing"], first["signing"]);
    assert!(second["published_until"].as_str().unwrap().ends_with('Z'));
    let trail = machine.trail();
    let told = format!(
        "done signing_key.replace signing_key/{}",
        second["signing"].as_str().unwrap()
    );
    assert!(trail.contains(&told), "{trail}");
}

#[test]
fn what_is_refused_ends_with_1_and_changes_nothing() {
    let machine = Machine::new();
    machine.add(ADA);
    let (before, trail) = (machine.prints(&["list"], ""), machine.trail());
    let long = "n".repeat(255);
    let add = |name, organisation| ["add", name, "--organisation", organisation, "--stdin"];
    for (arguments, input, says) in [
        (
            &add(ADA, "Example Org")[..],
            PASSWORD,
            "the user exists already",
        ),
        // Names are unique across organisations.
        (
            &add(ADA, "Another Org"),
            PASSWORD,
            "the user exists already",
        ),
        (&add("eve", "x"), "7 chars", "8 characters"),
        (&add("eve", "x"), "7 chars\nand more", "8 characters"),
        (&add("eve", "x"), "", "8 characters"),
        (&add("44", "x"), PASSWORD, "a name has"),
        (&add("my", "x"), PASSWORD, "a name has"),
        (&add("a b", "x"), PASSWORD, "a name has"),
        (&add("", "x"), PASSWORD, "a name has"),
        (&add(&long, "x"), PASSWORD, "a name has"),
        (&add("eve", ""), PASSWORD, "an organisation's name has"),
        (&add("eve", " x"), PASSWORD, "an organisation's name has"),
        (&add("eve", "a:b"), PASSWORD, "an organisation's name has"),
        (&["set-password", ADA, "--stdin"], "7 chars", "8 characters"),
        (&["set-password", ADA, "--stdin"], "", "8 characters"),
        (
            &["set-password", "eve", "--stdin"],
            PASSWORD,
            "no such user",
        ),
        (&["remove", "eve"], "", "no such user"),
        (&["suspend", "eve"], "", "no such user"),
        (&["activate", "eve"], "", "no such user"),
        (&["unlock", "eve", "--json"], "", "no such user"),
    ] {
        fails(&machine.user(arguments, input), 1, says);
    }
    let binary = machine.user(&add("eve", "x"), b"\xff\xfe horse\n");
    fails(&binary, 1, "UTF-8");
    let endless = machine.user(&add("eve", "x"), "x".repeat(100_000));
    fails(&endless, 1, "password");
    assert_eq!(machine.prints(&["list"], ""), before);
    assert_eq!(machine.trail(), trail);
}

#[test]
fn wrong_flags_end_with_2_and_change_nothing() {
    let machine = Machine::new();
    let organisation = ["--organisation", "x"];
    for (arguments, says) in [
        (&["add", "eve", "--stdin"][..], "--organisation"),
        (&["add", "--stdin"], "NAME"),
        (&["add", "eve", "--role", "King", "--stdin"], "a role is"),
        // A password cannot be an argument, and without a terminal there is no prompt.
        (&["add", "eve", PASSWORD], "unexpected argument"),
        (&["add", "eve"], "use --stdin"),
        (&["set-password", "eve"], "use --stdin"),
        (&["list", "--store", "nonsense"], "store"),
        (&["list", "--config", "/nonexistent"], "/nonexistent"),
        (&["remove"], "NAME"),
        (&["rename", "eve"], "unrecognized"),
    ] {
        let mut arguments = arguments.to_vec();
        if arguments[0] == "add" && arguments != ["add", "eve", "--stdin"] {
            arguments.extend(organisation);
        }
        let mut command = keyproof(&machine.0);
        command.arg("user").args(&arguments).stdin(Stdio::null());
        fails(&command.output().unwrap(), 2, says);
    }
    assert_eq!(machine.document(&["list"], ""), json!({ "users": [] }));
}

#[test]
fn names_do_not_steer_the_terminal() {
    let machine = Machine::new();
    let eve = "eve\u{202e}gro.elpmaxe";
    machine.add(eve);
    let said = machine.prints(&["unlock", eve], "");
    assert!(
        said.contains("the user eve\\u{202e}gro.elpmaxe had no lock"),
        "{said}"
    );
    let lines = machine.prints(&["list"], "");
    assert!(lines.starts_with("eve\\u{202e}gro.elpmaxe\t"), "{lines}");
}

/// A client of a server that runs meanwhile.
struct Client {
    serving: Serving,
}

impl Client {
    fn send(&self, head: &str, token: &str, body: &Value) -> (u16, Value) {
        let mut socket = TcpStream::connect(self.serving.address()).unwrap();
        let body = body.to_string();
        let request = format!(
            "{head} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_default())
    }

    fn authenticate(&self, body: &Value) -> (u16, Value) {
        self.send("POST /api/v1/authenticate", "", body)
    }

    fn password(&self, password: &str) -> (u16, Value) {
        self.authenticate(&json!({ "username": ADA, "password": password }))
    }

    /// Logs in, and returns both tokens.
    #[track_caller]
    fn tokens(&self, password: &str) -> [String; 2] {
        let (status, tokens) = self.password(password);
        assert_eq!(status, 200, "{tokens}");
        ["auth_token", "refresh_token"].map(|name| tokens[name].as_str().unwrap().to_owned())
    }

    /// Returns whether the tokens are valid. Both must give the same result.
    #[track_caller]
    fn holds(&self, [access, refresh]: &[String; 2]) -> bool {
        let (status, _) = self.send("GET /api/v1/user", access, &Value::Null);
        let (refreshed, _) = self.authenticate(&json!({ "refresh_token": refresh }));
        assert_eq!(status, refreshed);
        assert!(matches!(status, 200 | 401), "{status}");
        status == 200
    }
}

#[test]
fn a_server_that_runs_goes_by_what_was_changed_at_once() {
    let machine = Machine::new();
    let listen = ["serve", "--listen", "127.0.0.1:0"];
    let client = Client {
        serving: Serving::start(keyproof(&machine.0).args(listen)),
    };
    assert_eq!(client.password(PASSWORD).0, 401);
    machine.add(ADA);
    let first = client.tokens(PASSWORD);
    assert!(client.holds(&first));

    machine.prints(&["set-password", ADA, "--stdin"], "another horse\n");
    assert!(!client.holds(&first));
    assert_eq!(client.password(PASSWORD), (401, Value::Null));
    let second = client.tokens("another horse");

    machine.prints(&["suspend", ADA], "");
    assert!(!client.holds(&second));
    assert_eq!(client.password("another horse"), (401, Value::Null));
    machine.prints(&["activate", ADA], "");
    assert!(!client.holds(&second));
    let third = client.tokens("another horse");

    for _ in 0..3 {
        assert_eq!(client.password("wrong horse").0, 401);
    }
    let (status, locked) = client.password("another horse");
    assert_eq!((status, &locked["error_code"]), (401, &json!(1105)));
    let lifted = machine.prints(&["unlock", ADA], "");
    let words = format!("lifted the lock of the user {ADA} (");
    assert!(lifted.starts_with(&words), "{lifted}");
    let none = machine.prints(&["unlock", ADA], "");
    let words = format!("the user {ADA} had no lock to lift (");
    assert!(none.starts_with(&words), "{none}");
    client.tokens("another horse");
    assert!(client.holds(&third));

    machine.prints(&["remove", ADA], "");
    assert!(!client.holds(&third));
    assert_eq!(client.password("another horse"), (401, Value::Null));
    machine.add(ADA);
    assert!(!client.holds(&third));
    client.tokens(PASSWORD);
}

#[test]
fn a_users_application_tokens_are_listed_and_revoked() {
    let machine = Machine::new();
    machine.add(ADA);
    machine.add("bob");
    let listen = ["serve", "--listen", "127.0.0.1:0"];
    let client = Client {
        serving: Serving::start(keyproof(&machine.0).args(listen)),
    };
    let [access, _] = client.tokens(PASSWORD);
    let (status, made) = client.send(
        "POST /api/v1/application_token",
        &access,
        &json!({ "description": "a job\u{202e}", "ip": "127.0.0.0/8" }),
    );
    assert_eq!(status, 200, "{made}");
    let log_in = json!({ "application_token": made["application_token"] });
    assert_eq!(client.authenticate(&log_in).0, 200);

    let list = ["tokens", ADA, "list"];
    let none = machine.document(&["tokens", "bob", "list"], "");
    assert_eq!(none, json!({ "tokens": [] }));
    let listed = machine.document(&list, "");
    let (id, created) = (
        listed["tokens"][0]["id"].clone(),
        listed["tokens"][0]["created_at"].clone(),
    );
    let token = |status: &str| {
        json!({ "tokens": [{
            "id": id, "description": "a job\u{202e}", "status": status, "created_at": created,
            "expires_at": null, "network": "127.0.0.0/8",
        }] })
    };
    assert_eq!(listed, token("active"));
    let created = created.as_str().unwrap();
    assert_eq!(
        machine.prints(&list, ""),
        format!("{id}\tactive\t{created}\tnever\t127.0.0.0/8\ta job\\u{{202e}}\n")
    );

    let id = id.to_string();
    for (name, id, says) in [
        ("bob", id.as_str(), "the user has no such application token"),
        (ADA, "0", "the user has no such application token"),
        ("eve", &id, "there is no such user"),
    ] {
        let refused = machine.user(&["tokens", name, "revoke", id], "");
        fails(&refused, 1, says);
    }
    assert_eq!(client.authenticate(&log_in).0, 200);
    let revoked = machine.document(&["tokens", ADA, "revoke", &id], "");
    assert_eq!(revoked["revoked"].to_string(), id);
    assert_eq!(client.authenticate(&log_in).0, 401);
    assert_eq!(machine.document(&list, ""), token("revoked"));
    let revoke = ["tokens", ADA, "revoke", &id];
    let again = machine.prints(&revoke, "");
    let already = format!("the application token {id} of the user {ADA} was already revoked (");
    assert!(again.starts_with(&already), "{again}");
    assert_eq!(machine.document(&revoke, ""), revoked);
    let trail = machine.trail();
    let events = trail.matches("done application_token.revoke").count();
    assert_eq!(events, 1, "{trail}");
}
