//! The commands that use a store, as a script runs them: each in a process of its own, on one store.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    os::unix::{
        fs::{PermissionsExt, symlink},
        process::ExitStatusExt,
    },
    process::{Command, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{node::Node, terminal::Terminal};

const PASSWORD: &str = "correct horse";

/// A folder with a store in it.
pub(crate) struct Home(pub(crate) TempDir);

impl Home {
    /// Returns a folder with a store that `migrate` has made.
    pub(crate) fn new() -> Self {
        let home = Self(TempDir::new().unwrap());
        let said = home.prints(&["migrate"], "");
        assert!(said.contains("and had none"), "{said}");
        home
    }

    /// Returns the store's URL.
    fn store(&self) -> String {
        format!("sqlite:{}", self.0.path().join("k.db").display())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyproof"));
        let store = self.store();
        command
            .env_clear()
            .env("HOME", self.0.path())
            .env("LOGNAME", "tester");
        for (key, value) in [
            ("KEYPROOF_STORE__URL", &*store),
            ("KEYPROOF_AUTH__ARGON2_MEMORY_KIB", "8"),
            ("KEYPROOF_AUTH__ARGON2_ITERATIONS", "1"),
            ("KEYPROOF_AUTH__ARGON2_INSECURE_FOR_TESTS", "true"),
        ] {
            command.env(key, value);
        }
        command.args(arguments);
        command
    }

    pub(crate) fn run_with(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = self.command(arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that reads no input may have ended already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// Returns the output of a command that must succeed.
    #[track_caller]
    pub(crate) fn prints(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run_with(arguments, input);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
        assert!(
            output.stderr.is_empty(),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
        text(&output.stdout).to_owned()
    }

    #[track_caller]
    pub(crate) fn document(&self, arguments: &[&str], input: &str) -> Value {
        serde_json::from_str(&self.prints(arguments, input)).unwrap()
    }

    /// Makes the records of the collections whose names begin with `begin` unreadable.
    pub(crate) fn damage(&self, begin: &str) {
        let mut damage = Command::new("python3");
        let damage = damage.args(["-c", DAMAGE]).arg(self.0.path().join("k.db"));
        assert!(damage.arg(begin).status().unwrap().success());
    }

    /// Asserts that a command fails, with nothing on standard output.
    #[track_caller]
    pub(crate) fn fails(&self, arguments: &[&str], input: &str, code: i32, says: &str) {
        let output = self.run_with(arguments, input);
        let complaint = text(&output.stderr);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {complaint}"
        );
        assert!(complaint.contains(says), "{arguments:?}: {complaint}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(!complaint.contains(PASSWORD));
    }
}

/// Runs the command by a shell's script, in which it is `"$0" "$@"`.
fn in_a_shell(script: &str, command: &Command) -> Command {
    let mut shell = Command::new("/bin/sh");
    let environment = command
        .get_envs()
        .filter_map(|(key, value)| Some((key, value?)));
    shell
        .args(["-c", script])
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .envs(environment);
    shell
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn instances_are_added_listed_changed_and_removed() {
    let home = Home::new();
    let names = || -> Vec<(String, bool)> {
        let listed = home.document(&["instance", "list", "--json"], "");
        let instances = listed["instances"].as_array().unwrap();
        let of = |instance: &Value| {
            assert!(instance["created_at"].as_str().unwrap().ends_with('Z'));
            let name = instance["name"].as_str().unwrap().to_owned();
            (name, instance["has_password"].as_bool().unwrap())
        };
        instances.iter().map(of).collect()
    };
    assert_eq!(names(), [("default".to_owned(), false)]);
    home.prints(&["instance", "add", "shop", "--stdin"], PASSWORD);
    let added = home.document(
        &["instance", "add", "bar", "--stdin", "--json"],
        "correct horse\r\nmore",
    );
    assert_eq!(added, json!({ "added": "bar" }));
    home.prints(
        &["instance", "set-password", "default", "--stdin"],
        "correct horse\n",
    );
    let with_passwords = ["bar", "default", "shop"].map(|name| (name.to_owned(), true));
    assert_eq!(names(), with_passwords);

    for (line, input, code, says) in [
        ("instance add shop --stdin", PASSWORD, 1, "exists"),
        ("instance add a/b --stdin", PASSWORD, 1, "name"),
        ("instance add new --stdin", "7 chars\n", 1, "at least 8"),
        ("instance add new --stdin", "", 1, "at least 8"),
        ("instance add new", "", 2, "--stdin"),
        (
            "instance set-password nowhere --stdin",
            PASSWORD,
            1,
            "no such instance",
        ),
        ("instance remove nowhere", "", 1, "no such instance"),
        ("instance add new a-password", "", 2, ""),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        home.fails(&words, input, code, says);
    }

    home.prints(&["instance", "remove", "shop"], "");
    let removed = home.document(&["instance", "remove", "default", "--json"], "");
    assert_eq!(removed, json!({ "removed": "default" }));
    assert_eq!(
        names(),
        [("bar".to_owned(), true), ("default".to_owned(), false)]
    );
    let lines = home.prints(&["instance", "list"], "");
    assert_eq!(lines.lines().count(), 2);
    assert!(
        lines
            .lines()
            .last()
            .unwrap()
            .starts_with("default\tno password\t20"),
        "{lines}"
    );
}

/// A forgotten `--config` must be noticed, or the command would make a token that no server accepts.
#[test]
fn a_command_on_a_store_that_is_not_there_names_it_and_makes_nothing() {
    let home = Home(TempDir::new().unwrap());
    let says = format!("there is no store at {}", home.store());
    for arguments in [
        &["token", "create", "--scope", "admin"][..],
        &["token", "list", "--json"],
        &["token", "revoke", "x"],
        &["instance", "list"],
        &["instance", "add", "shop", "--stdin"],
        &["instance", "remove", "shop"],
        &["instance", "set-password", "default", "--stdin"],
        &["user", "list"],
        &["user", "add", "ada", "--organisation", "Acme", "--stdin"],
        &["user", "remove", "ada"],
        &["user", "suspend", "ada"],
        &["audit"],
        &["audit", "--json", "--since", "1h"],
    ] {
        home.fails(arguments, PASSWORD, 2, &says);
    }
    home.fails(&["audit", "--follow"], "", 2, "keyproof migrate");
    let elsewhere = format!("sqlite:{}", home.0.path().join("folder/x.db").display());
    home.fails(&["user", "list", "--store", &elsewhere], "", 2, &elsewhere);
    assert_eq!(fs::read_dir(home.0.path()).unwrap().count(), 0);

    // `migrate` makes a store, and with it the key.
    home.prints(&["migrate"], "");
    assert!(home.0.path().join("k.db.master-key").exists());
    home.prints(&["token", "create", "--scope", "admin"], "");
}

/// Gives the store the layout of schema 1, and keeps it open until its input ends.
const AS_SCHEMA_1: &str = "
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.executescript('''
    BEGIN;
    DROP INDEX records_by_expiry;
    ALTER TABLE records RENAME TO newer;
    CREATE TABLE records (
        key BLOB NOT NULL PRIMARY KEY, version BLOB NOT NULL, body BLOB NOT NULL, expires_at INTEGER
    ) STRICT, WITHOUT ROWID;
    INSERT INTO records SELECT key, version, body, expires_at FROM newer;
    DROP TABLE newer;
    CREATE INDEX records_by_expiry ON records (expires_at, key) WHERE expires_at IS NOT NULL;
    PRAGMA user_version = 1;
    COMMIT;
''')
print('done', flush=True)
sys.stdin.readline()
";

#[test]
fn a_store_of_an_earlier_schema_is_written_anew_once_nobody_has_it_open() {
    let home = Home::new();
    home.prints(&["instance", "add", "shop", "--stdin"], PASSWORD);
    let listed = home.prints(&["instance", "list"], "");
    let mut other = Command::new("python3")
        .args(["-c", AS_SCHEMA_1])
        .arg(home.0.path().join("k.db"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut output = BufReader::new(other.stdout.take().unwrap());
    output.read_line(&mut said).unwrap();
    assert_eq!(said, "done\n");
    home.fails(&["migrate"], "", 1, "another process has it open");
    drop(other.stdin.take());
    assert!(other.wait().unwrap().success());
    let migrated = home.document(&["migrate", "--json"], "");
    let store = home.store();
    assert_eq!(migrated, json!({ "store": store, "from": 1, "to": 2 }));
    let said = home.prints(&["migrate"], "");
    assert_eq!(said, format!("{store} has schema 2 already\n"));
    assert_eq!(home.prints(&["instance", "list"], ""), listed);
}

/// Damages every record of the collections whose names begin with this.
const DAMAGE: &str = "
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
begin = sys.argv[2].encode()
damaged = connection.execute(\"UPDATE records SET body = X'7b' WHERE substr(key, 1, ?) = ?\", (len(begin), begin))
assert damaged.rowcount > 0
";

#[test]
fn a_list_that_cannot_be_read_is_not_the_beginning_of_a_document() {
    let home = Home::new();
    let add = ["user", "add", "ada", "--organisation", "Acme", "--stdin"];
    home.prints(&add, PASSWORD);
    home.damage("user");
    home.fails(&["user", "list", "--json"], "", 1, "keyproof: ");
}

/// With any number of descriptors: the command ends with 1, so that a supervisor tries again, and does not panic.
#[test]
fn a_command_out_of_descriptors_ends_with_1() {
    const FEWEST: usize = 7;
    let home = Home::new();
    for descriptors in [FEWEST, 8, 9, 10, 11, 12, 14, 16] {
        // Closes what the test's process may have left open.
        let script = format!(
            "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-; ulimit -n {descriptors} && exec \"$0\" \"$@\""
        );
        let mut command = in_a_shell(&script, &home.command(&["token", "list"]));
        let output = command.output().unwrap();
        let said = text(&output.stderr);
        let code = output.status.code();
        // The number that is enough depends on the libraries; the lowest is never enough.
        assert!(
            code == Some(1) || code == Some(0) && descriptors > FEWEST,
            "{descriptors}: {code:?}: {said}"
        );
        assert!(!said.contains("panicked"), "{descriptors}: {said}");
    }
}

#[test]
fn changes_say_what_they_did_and_in_which_store() {
    let home = Home::new();
    let tell = |arguments: &[&str], says: &str| {
        let said = home.prints(arguments, PASSWORD);
        assert!(said.starts_with(says), "{arguments:?}: {said}");
        let ends = format!(" (store {})\n", home.store());
        assert!(said.ends_with(&ends), "{arguments:?}: {said}");
        assert_eq!(said.lines().count(), 1);
    };
    let ada = ["user", "add", "ada", "--organisation", "Acme", "--stdin"];
    tell(
        &["instance", "add", "shop", "--stdin"],
        "added the instance shop",
    );
    tell(
        &["instance", "set-password", "shop", "--stdin"],
        "set the password of the instance shop",
    );
    tell(&["instance", "remove", "shop"], "removed the instance shop");
    tell(
        &["instance", "remove", "default", "--yes"],
        "emptied the instance default, which cannot be removed",
    );
    tell(&ada, "added the user ada");
    tell(&["user", "suspend", "ada"], "suspended the user ada");
    tell(&["user", "activate", "ada"], "activated the user ada");
    tell(
        &["user", "unlock", "ada"],
        "the user ada had no lock to lift",
    );
    tell(
        &["user", "set-password", "ada", "--stdin"],
        "set the password of the user ada",
    );
    tell(&["user", "remove", "ada"], "removed the user ada");
    for kind in ["instance", "user"] {
        let says = format!("eve: there is no such {kind} (store {})\n", home.store());
        home.fails(&[kind, "remove", "eve"], "", 1, &says);
    }
    let of_this_store = format!(" (store {})\n", home.store());
    for unknown in [
        &["token", "revoke", "nowhere"][..],
        &["tpm", "trust", "remove", &"00".repeat(32)],
        &["device", "forget", "default/acme/ExampleCorp/SN0001"],
        &["device", "relearn", "default/acme/ExampleCorp/SN0001"],
        &["tpm", "client-certificate", "end-earlier", "default/none"],
        &["user", "tokens", "eve", "revoke", "1"],
    ] {
        home.fails(unknown, "", 1, &of_this_store);
    }
    let created = home.document(&["token", "create", "--scope", "admin", "--json"], "");
    let id = created["id"].as_str().unwrap();
    tell(&["token", "revoke", id], &format!("revoked the token {id}"));
    let shown = home.prints(&["token", "create", "--scope", "admin"], "");
    assert!(
        shown.contains(&format!("\nstore    {}\n", home.store())),
        "{shown}"
    );
}

#[test]
fn a_removal_is_asked_about_at_a_terminal() {
    let home = Home::new();
    for name in ["shop", "bar"] {
        home.prints(&["instance", "add", name, "--stdin"], PASSWORD);
    }
    home.prints(
        &["user", "add", "ada", "--organisation", "Acme", "--stdin"],
        PASSWORD,
    );
    let remove = |arguments: &[&str], answer: &str| {
        let mut terminal = Terminal::open();
        let mut command = home.command(arguments);
        let child = command
            .stdin(terminal.end())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = child.spawn().unwrap();
        terminal.person.write_all(answer.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    for (arguments, question, yes) in [
        (
            &["instance", "remove", "shop"][..],
            "Remove the instance shop ",
            "y\n",
        ),
        (
            &["instance", "remove", "default"],
            "Empty the instance default ",
            "Yes\n",
        ),
        (&["user", "remove", "ada"], "Remove the user ada ", "YES\n"),
    ] {
        for answer in ["n\n", "\n", "yesterday\n"] {
            let kept = remove(arguments, answer);
            assert_eq!(kept.status.code(), Some(1), "{arguments:?}");
            let said = text(&kept.stderr);
            assert!(
                said.starts_with(question) && said.contains(&home.store()),
                "{said}"
            );
            assert!(
                said.contains("[y/N]") && said.contains("nothing was changed"),
                "{said}"
            );
            assert!(kept.stdout.is_empty());
        }
        assert_eq!(
            remove(arguments, yes).status.code(),
            Some(0),
            "{arguments:?}"
        );
    }
    for (arguments, question) in [
        (
            &["device", "forget", "default/acme/ExampleCorp/SN0001"][..],
            "Forget the device default/acme/ExampleCorp/SN0001, ",
        ),
        (
            &["tpm", "client-certificate", "end-earlier", "default/line-2"],
            "End all client certificates of the category default/line-2 ",
        ),
    ] {
        let kept = remove(arguments, "n\n");
        assert_eq!(kept.status.code(), Some(1), "{arguments:?}");
        assert!(text(&kept.stderr).starts_with(question), "{kept:?}");
    }
    let unasked = remove(&["instance", "remove", "bar", "--yes"], "");
    assert_eq!(
        (unasked.status.code(), text(&unasked.stderr)),
        (Some(0), "")
    );
    let names = home.document(&["instance", "list", "--json"], "");
    assert_eq!(names["instances"].as_array().unwrap().len(), 1);
}

/// The error names the given place, and not another file that the user has not named.
#[test]
fn places_where_no_backup_is_or_can_be_are_wrong() {
    let home = Home::new();
    let inside = |name: &str| home.0.path().join(name).display().to_string();
    let nowhere = inside("nope/x.backup");
    let output = home.run_with(&["backup", &nowhere], "");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("nope") && !said.contains(".keyproof-"),
        "{said}"
    );
    let made = inside("a.backup");
    home.fails(
        &["backup", &made, "--stdin"],
        PASSWORD,
        2,
        "--with-master-key",
    );
    home.prints(&["backup", &made], "");

    let restored = format!("sqlite:{}", inside("restored.db"));
    let key = inside("k.db.master-key");
    let on = ["--store", &restored, "--master-key", &key];
    let folder = home.0.path().display().to_string();
    home.fails(&[&["restore", &*folder], &on[..]].concat(), "", 2, &folder);
    home.fails(&[&["restore", &*key], &on[..]].concat(), "", 1, &key);
    let pipe = inside("pipe");
    let mkfifo = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(mkfifo.success());
    let writer = {
        let pipe = pipe.clone();
        std::thread::spawn(move || fs::write(pipe, fs::read(made).unwrap()).unwrap())
    };
    let said = home.prints(&[&["restore", &*pipe], &on[..]].concat(), "");
    assert!(said.contains("restored "), "{said}");
    writer.join().unwrap();
}

/// Runs the command in a shell's session with this terminal, then prints its exit code and the terminal's settings.
fn at_its_terminal(command: &Command, terminal: &Terminal) -> Command {
    let script = "trap : INT; \"$0\" \"$@\"; echo $?; stty -a";
    in_a_session(&["/bin/sh", "-c", script], command, terminal)
}

/// Runs the command, prefixed with these words, in its own session with this terminal.
fn in_a_session(words: &[&str], command: &Command, terminal: &Terminal) -> Command {
    let mut session = Command::new("/usr/bin/setsid");
    let environment = command.get_envs();
    session
        .arg("--ctty")
        .args(words)
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .envs(environment.filter_map(|(key, value)| Some((key, value?))))
        .stdin(terminal.end())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    session
}

/// Types an answer to a command's prompt. Returns what the user saw, and what the shell printed afterwards.
fn answering(command: &Command, answer: &[u8]) -> (String, String) {
    let mut terminal = Terminal::open();
    let child = at_its_terminal(command, &terminal).spawn().unwrap();
    prompted(&mut terminal);
    terminal.person.write_all(answer).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [&*output.stderr, &*output.stdout].map(|bytes| text(bytes).to_owned());
    (terminal.seen(), said.concat())
}

/// Waits for the prompt.
fn prompted(terminal: &mut Terminal) {
    let mut seen = Vec::new();
    while !seen.ends_with(b"Password: ") {
        let mut byte = [0];
        terminal.person.read_exact(&mut byte).unwrap();
        seen.extend(byte);
    }
}

/// A password is not shown while it is typed, and the terminal's settings are restored afterwards.
#[test]
fn a_prompt_that_is_interrupted_leaves_the_terminal_as_it_was() {
    let home = Home::new();
    let command = home.command(&["instance", "set-password", "default"]);
    let (_, said) = answering(&command, b"\x03");
    assert!(said.lines().any(|line| line == "130"), "{said}");
    for mode in ["echo", "icanon", "isig"] {
        assert!(said.split_whitespace().any(|word| word == mode), "{said}");
    }
}

/// Otherwise a shell's loop would continue.
#[test]
fn a_prompt_ends_by_the_signal_that_ends_it() {
    let home = Home::new();
    let command = home.command(&["instance", "set-password", "default"]);
    for (typed, signal) in [
        (true, Signal::INT),
        (false, Signal::INT),
        (false, Signal::TERM),
    ] {
        let mut terminal = Terminal::open();
        let mut child = in_a_session(&[], &command, &terminal).spawn().unwrap();
        prompted(&mut terminal);
        if typed {
            terminal.person.write_all(b"\x03").unwrap();
        } else {
            kill_process(Pid::from_child(&child), signal).unwrap();
        }
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(signal.as_raw()), "{status}");
    }
}

#[test]
fn a_password_that_cannot_be_one_is_not_asked_for_again() {
    let home = Home::new();
    let command = home.command(&["instance", "set-password", "default"]);
    let (seen, said) = answering(&command, b"short\n");
    assert!(!seen.contains("again"), "{seen}");
    assert!(said.contains("at least 8"), "{said}");
    let (_, said) = answering(&command, b"\x04");
    assert!(said.contains("no password was typed"), "{said}");

    // There is no prompt either if there is no store.
    let elsewhere = format!("sqlite:{}", home.0.path().join("x.db").display());
    let command = home.command(&["instance", "add", "shop", "--store", &elsewhere]);
    let terminal = Terminal::open();
    let output = at_its_terminal(&command, &terminal).output().unwrap();
    assert!(text(&output.stderr).contains("there is no store"));
    assert!(!terminal.seen().contains("Password"));
}

#[test]
fn a_token_that_cannot_be_printed_is_revoked() {
    let home = Home::new();
    for form in [&[][..], &["--quiet"], &["--json"]] {
        let create = [&["token", "create", "--scope", "admin"], form].concat();
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (reader, closed) = std::io::pipe().unwrap();
        drop(reader);
        for stdout in [Stdio::from(full), Stdio::from(closed)] {
            let output = home.command(&create).stdout(stdout).output().unwrap();
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{form:?}: {said}");
            assert!(
                said.contains("could not be printed, so it was revoked"),
                "{said}"
            );
            assert!(!said.contains("keyproof_"), "{said}");
        }
    }
    assert_eq!(home.prints(&["token", "list"], ""), "");
    let trail = home.prints(&["audit"], "");
    for action in ["operator_token.create", "operator_token.revoke"] {
        assert_eq!(trail.matches(action).count(), 6, "{trail}");
    }
}

#[test]
fn a_full_disk_behind_standard_output_is_named() {
    let home = Home::new();
    home.prints(&["token", "create", "--scope", "admin"], "");
    for words in [
        &["audit", "export"][..],
        &["token", "list", "--json"],
        &["backup", "-"],
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = home.command(words).stdout(full).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
        assert!(
            said.contains("standard output: No space left"),
            "{words:?}: {said}"
        );
    }
}

#[test]
fn no_token_is_made_where_nobody_would_see_it() {
    let home = Home::new();
    let written = || File::options().write(true).open("/dev/null").unwrap();
    for form in [&[][..], &["--quiet"], &["--json"]] {
        let create = [&["token", "create", "--scope", "admin"], form].concat();
        let mut commands = [0; 3].map(|_| home.command(&create));
        commands[0] = in_a_shell("exec \"$0\" \"$@\" >&-", &commands[0]);
        commands[1].stdout(Stdio::null());
        commands[2].stdout(written());
        for mut command in commands {
            let output = command.output().unwrap();
            let said = text(&output.stderr);
            let expected = "keyproof: standard output is /dev/null: the token would be lost\n";
            assert_eq!(
                (output.status.code(), said),
                (Some(2), expected),
                "{form:?}"
            );
        }
    }
    assert_eq!(home.prints(&["token", "list"], ""), "");
    assert!(!home.prints(&["audit"], "").contains("operator_token"));
}

/// Commands that open the store.
const OPENING: [&[&str]; 4] = [
    &["instance", "list"],
    &["migrate"],
    &["config", "check"],
    &["serve", "--listen", "127.0.0.1:0"],
];

#[test]
fn a_store_file_that_others_can_read_is_refused_by_name() {
    let home = Home::new();
    let path = |name: &str| home.0.path().join(name);
    let chmod = |name: &str, mode| {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(path(name), mode).unwrap();
    };
    for (name, mode, access) in [
        ("k.db", 0o644, "read"),
        ("k.db", 0o640, "read"),
        ("k.db", 0o622, "written"),
        ("k.db-wal", 0o644, "read"),
        ("k.db-shm", 0o644, "read"),
    ] {
        File::options()
            .create(true)
            .append(true)
            .open(path(name))
            .unwrap();
        chmod(name, mode);
        let mends = format!("chmod 600 '{}'", path(name).display());
        let says = format!("can be {access} by others (mode {mode:o}): {mends}");
        for command in OPENING {
            home.fails(command, "", 2, &says);
        }
        chmod(name, 0o600);
        home.prints(&["instance", "list"], "");
    }
}

#[test]
fn another_programs_file_is_called_no_store_and_its_mode_is_left_alone() {
    let home = Home::new();
    let theirs = home.0.path().join("passwd");
    fs::write(&theirs, "root:x:0:0:root:/root:/bin/bash\n").unwrap();
    let store = format!("sqlite:{}", theirs.display());
    let says = format!("cannot open the store {store}: not a keyproof store");
    for mode in [0o644, 0o600] {
        fs::set_permissions(&theirs, fs::Permissions::from_mode(mode)).unwrap();
        for command in OPENING {
            home.fails(&[command, &["--store", &store]].concat(), "", 2, &says);
        }
    }
    assert!(!home.0.path().join("passwd.master-key").exists());
}

#[test]
fn a_folder_is_no_store_and_is_called_one() {
    let home = Home::new();
    let folder = home.0.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let store = format!("sqlite:{}", folder.display());
    let says = format!("the store {} is a folder", folder.display());
    for mode in [0o755, 0o700] {
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
        for command in OPENING {
            home.fails(&[command, &["--store", &store]].concat(), "", 2, &says);
        }
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    let beside = home.0.path().join("folder.master-key");
    assert!(!beside.exists());
}

/// SQLite would take this name for a URI.
#[test]
fn a_store_is_at_its_path_whatever_that_is() {
    let home = Home::new();
    let mut migrate = home.command(&["migrate", "--store", "sqlite:file:k.db"]);
    let migrated = migrate.current_dir(home.0.path()).output().unwrap();
    assert!(migrated.status.success(), "{}", text(&migrated.stderr));
    let store = fs::metadata(home.0.path().join("file:k.db")).unwrap();
    assert!(store.len() > 0);
}

#[test]
fn tokens_are_shown_once_listed_and_revoked() {
    let home = Home::new();
    let create = [
        "token",
        "create",
        "--scope",
        "certificates:Sub/Group",
        "tpm-station",
        "--subject",
        "ci",
    ];
    let created = home.document(
        &[&create[..], &["--lifetime", "30d", "--json"]].concat(),
        "",
    );
    assert_eq!(created["subject"], "ci");
    assert_eq!(
        created["scopes"],
        json!(["certificates:sub/group", "tpm-station"])
    );
    assert!(
        created["expires_at"]
            .as_str()
            .is_some_and(|at| at.ends_with('Z'))
    );
    let secret = created["token"].as_str().unwrap();

    let alone = home.prints(
        &[
            "token",
            "create",
            "--scope",
            "admin",
            "--quiet",
            "--lifetime",
            "forever",
        ],
        "",
    );
    let alone = alone.strip_suffix('\n').unwrap();
    assert!(
        alone.starts_with("keyproof_") && !alone.contains(char::is_whitespace),
        "{alone}"
    );
    let shown = home.prints(
        &["token", "create", "--scope", "tpm", "--scope", "tpm:system"],
        "",
    );
    assert!(shown.contains("\nscopes   tpm\n"), "{shown}");

    let listed = home.document(&["token", "list", "--json"], "");
    let tokens = listed["tokens"].as_array().unwrap();
    assert_eq!(tokens.len(), 3);
    assert!(!listed.to_string().contains(secret) && !listed.to_string().contains(alone));
    let forever = tokens
        .iter()
        .find(|token| token["scopes"] == json!(["admin"]))
        .unwrap();
    assert!(forever.get("expires_at").is_none());
    assert!(
        home.prints(&["token", "list"], "")
            .contains("\tadmin\tnever\n")
    );

    let id = created["id"].as_str().unwrap();
    home.prints(&["token", "revoke", id], "");
    home.fails(&["token", "revoke", id], "", 1, "no token");
    assert_eq!(
        home.document(&["token", "list", "--json"], "")["tokens"]
            .as_array()
            .unwrap()
            .len(),
        2
    );

    for (wrong, says) in [
        (&[][..], "--scope"),
        (&["--scope", "everything"], "everything"),
        (&["--scope", "tpm:Upper"], "tpm:Upper"),
        (&["--scope", "admin", "--lifetime", "soon"], "--lifetime"),
        (&["--scope", "admin", "--lifetime", "0s"], "--lifetime"),
        (
            &["--scope", "admin", "--quiet", "--json"],
            "cannot be used with",
        ),
    ] {
        home.fails(&[&["token", "create"][..], wrong].concat(), "", 2, says);
    }
    home.fails(
        &["token", "create", "--scope", "admin", "--subject", ""],
        "",
        1,
        "subject",
    );
}

#[test]
fn a_token_is_listed_without_characters_that_hide_or_reorder_others() {
    let home = Home::new();
    let named = ["--scope", "users:Ac\u{202e}me", "--subject", "o\u{202e}ps"];
    let created = home.prints(&[&["token", "create"][..], &named].concat(), "");
    let listed = home.prints(&["token", "list"], "");
    for shown in [created, listed] {
        for expected in ["o\\u{202e}ps", "users:Ac\\u{202e}me"] {
            assert!(shown.contains(expected), "{shown}");
        }
        assert!(!shown.contains('\u{202e}'), "{shown}");
    }
}

/// The suffix for read-only access belongs to the scope, and not to the name after it.
#[test]
fn a_scope_whose_name_ends_in_read_is_warned_of() {
    let home = Home::new();
    for (scope, meant) in [
        ("users:Acme-read", Some("users-read:Acme")),
        ("instances:shop-read", Some("instances-read:shop")),
        ("users-read:Acme-read", None),
        ("users-read:Acme", None),
        ("users:Acme", None),
        ("tpm:factory-read", None),
        ("users:-read", None),
    ] {
        let output = home.run_with(&["token", "create", "--scope", scope], "");
        assert_eq!(output.status.code(), Some(0), "{scope}");
        assert!(text(&output.stdout).contains(&format!("\nscopes   {scope}\n")));
        let warned = text(&output.stderr);
        match meant {
            Some(meant) => assert!(warned.contains(scope) && warned.contains(meant), "{warned}"),
            None => assert_eq!(warned, "", "{scope}"),
        }
    }
}

#[test]
fn devices_are_named_in_full_and_those_that_nobody_activated_are_none() {
    let home = Home::new();
    assert_eq!(home.prints(&["device", "list"], ""), "");
    let listed = home.document(&["device", "list", "--json"], "");
    assert_eq!(listed, json!({ "devices": [] }));
    for command in ["show", "relearn", "forget"] {
        let known = &["device", command, "default/acme/Example%2FCorp/SN0001"];
        home.fails(known, "", 1, "no such device");
        for wrong in ["SN0001", "default/acme/ExampleCorp", "default/acme/a/b/c"] {
            let wrong = &["device", command, wrong];
            home.fails(wrong, "", 2, "NAMESPACE/MANAGER/VENDOR/SERIAL");
        }
    }
}

#[test]
fn the_trail_is_one_document_or_one_line_an_event() {
    let home = Home::new();
    home.prints(&["instance", "add", "shop", "--stdin"], PASSWORD);
    home.prints(&["instance", "remove", "shop"], "");
    let trail = home.document(&["audit", "--json"], "");
    let events = trail["events"].as_array().unwrap();
    let actions: Vec<_> = events
        .iter()
        .map(|event| event["action"].as_str().unwrap())
        .collect();
    assert_eq!(actions, ["instance.add", "instance.add", "instance.remove"]);
    let last = events.last().unwrap();
    assert_eq!(last["who"], "console:tester");
    assert_eq!(
        (&last["target"], &last["outcome"]),
        (&json!("instance/shop"), &json!("done"))
    );
    assert!(last["at"].as_str().is_some_and(|at| at.ends_with('Z')));
    assert!(last.get("request_id").is_none());

    let lines = home.prints(&["audit", "--since", "1h"], "");
    assert_eq!(lines.lines().count(), 3);
    assert!(
        lines.ends_with("done instance.remove instance/shop by console:tester\n"),
        "{lines}"
    );
    assert_eq!(
        home.prints(&["audit", "--since", "2999-01-01T00:00:00Z"], ""),
        ""
    );
    let nothing = home.document(&["audit", "--json", "--since", "32503680000"], "");
    assert_eq!(nothing, json!({ "events": [] }));
    home.fails(&["audit", "--since", "yesterday"], "", 2, "--since");
}

#[test]
fn a_follower_sees_what_other_processes_do_and_ends_with_its_reader() {
    let home = Home::new();
    let mut command = home.command(&["audit", "--follow", "--json"]);
    let mut follower = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut action = || {
        let event: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        event["action"].as_str().unwrap().to_owned()
    };
    assert_eq!(action(), "instance.add");
    home.prints(
        &["instance", "set-password", "default", "--stdin"],
        PASSWORD,
    );
    assert_eq!(action(), "instance.set_password");
    home.prints(&["token", "create", "--scope", "admin"], "");
    assert_eq!(action(), "operator_token.create");
    drop(lines);
    home.prints(&["instance", "remove", "default"], "");
    assert_eq!(follower.wait().unwrap().code(), Some(0));
}

#[test]
fn a_store_is_not_opened_under_another_key() {
    let home = Home::new();
    home.prints(&["instance", "list"], "");
    let key = home.0.path().join("k.db.master-key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    home.fails(&["instance", "list"], "", 2, "read by others");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    home.prints(&["instance", "list"], "");

    let base64 = |byte: u8| data_encoding::BASE64.encode(&[byte; 32]);
    let other = home
        .command(&["instance", "list"])
        .env("KEYPROOF_STORE__MASTER_KEY_BASE64", base64(1))
        .output();
    let other = other.unwrap();
    assert_eq!(other.status.code(), Some(2));
    assert!(
        text(&other.stderr).contains("master key"),
        "{}",
        text(&other.stderr)
    );

    fs::remove_file(&key).unwrap();
    home.fails(&["instance", "list"], "", 2, "missing");
    assert!(!key.exists());
    home.fails(
        &["instance", "list", "--store", "postgres://u:secret@h/d"],
        "",
        2,
        "head -c 32 /dev/urandom | base64",
    );
    let nonsense = ["instance", "list", "--store", "nonsense"];
    home.fails(&nonsense, "", 2, "sqlite:PATH");
}

#[test]
fn no_command_works_on_a_store_that_lives_in_a_servers_own_process() {
    let home = Home::new();
    for command in [
        &["audit"][..],
        &["instance", "add", "shop", "--stdin"],
        &["instance", "list"],
        &["instance", "remove", "shop"],
        &["instance", "set-password", "shop", "--stdin"],
        &["migrate"],
        &["token", "create", "--scope", "admin"],
        &["token", "list"],
        &["token", "revoke", "0123456789abcdef"],
        &["user", "add", "ada", "--organisation", "Acme", "--stdin"],
        &["user", "list"],
        &["user", "tokens", "ada", "list"],
    ] {
        let command = [command, &["--store", "memory:"]].concat();
        home.fails(&command, PASSWORD, 2, "in the server's own process");
    }
    let store = home.store();
    for (from, to, says) in [
        ("memory:", &*store, "name another (FROM)"),
        (&store, "memory:", "name another (TO)"),
    ] {
        home.fails(&["store", "copy", from, to], "", 2, says);
    }
}

#[test]
fn a_store_that_is_moved_or_deleted_while_it_is_served_takes_nothing_and_says_so() {
    let home = Home::new();
    let add = ["instance", "add", "shop", "--stdin"];
    home.run_with(&add, &format!("{PASSWORD}\n"));
    let node = Node::start(&mut home.command(&["serve", "--listen", "127.0.0.1:0"]));
    // shop:correct horse
    let login = "POST /instances/shop/private/token\nAuthorization: Basic c2hvcDpjb3JyZWN0IGhvcnNl\nContent-Type: application/json\n\n{\"scope\":\"all\"}";
    let (status, _, token) = node.ask(login);
    assert_eq!(status, 200);
    let token: Value = serde_json::from_str(&token).unwrap();
    let token = token["token"].as_str().unwrap();
    let device = json!({ "otp_device_id": "till", "otp_device_description": "till", "otp_algorithm": 1,
        "otp_key": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ" });
    let add = format!(
        "POST /instances/shop/private/otp-devices\nAuthorization: Bearer {token}\nContent-Type: application/json\n\n{device}"
    );
    for file in ["k.db", "k.db-wal"] {
        let (path, away) = (home.0.path().join(file), home.0.path().join("away"));
        fs::rename(&path, &away).unwrap();
        let (status, _, body) = node.ask(login);
        assert_eq!(status, 500, "{file}: {body}");
        assert!(body.contains("\"code\": 52"), "{file}: {body}");
        let (status, _, body) = node.ask(&add);
        assert_eq!(status, 500, "{file}: {body}");
        assert!(body.contains("\"code\": 54"), "{file}: {body}");
        let (status, _, body) = node.ask("GET /readyz");
        assert_eq!(status, 503);
        assert!(body.contains("renamed, deleted or replaced"), "{body}");
        assert!(!body.contains(file), "{body}");
        node.wait_until_logged(&path.display().to_string());
        fs::rename(&away, &path).unwrap();
        node.wait_until_ready();
        assert_eq!(node.ask(login).0, 200, "{file}");
        // Other processes open and close the store meanwhile.
        home.prints(&["instance", "list"], "");
        assert_eq!(node.ask("GET /readyz").0, 200);
    }
    fs::remove_file(home.0.path().join("k.db")).unwrap();
    assert!(node.ask(login).0 >= 500);
    assert_eq!(node.ask("GET /readyz").0, 503);
}

/// Files that it left would be refused as existing ones the next time.
#[test]
fn a_renewal_that_is_ended_while_it_waits_for_its_store_leaves_no_files() {
    let home = Home::new();
    let database = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = database.local_addr().unwrap();
    let store = format!("postgres://u@{address}/d?sslmode=disable");
    let files = ["client.pem", "client.key"].map(|name| home.0.path().join(name));
    let [cert, key] = &files;
    let key_of_store = data_encoding::BASE64.encode(&[7; 32]);
    let mut child = home
        .command(&["tpm", "client-certificate", "renew", "default/line-2"])
        .args(["--store", &store, "--cert-out"])
        .arg(cert)
        .arg("--key-out")
        .arg(key)
        .env("KEYPROOF_STORE__MASTER_KEY_BASE64", key_of_store)
        .spawn()
        .unwrap();
    let _silent = database.accept().unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(Signal::TERM.as_raw()), "{status}");
    assert_eq!(files.map(|file| file.exists()), [false; 2]);
}

#[test]
fn a_client_certificate_is_renewed_into_new_files_and_the_earlier_one_is_ended() {
    let home = Home::new();
    let token = home.prints(&["token", "create", "--scope", "tpm", "--quiet"], "");
    let node = Node::start(&mut home.command(&["serve", "--listen", "127.0.0.1:0"]));
    let makes = |kind: &str, name: &str, spec: Value| {
        let body = json!({ "metadata": { "name": name }, "spec": spec });
        let (status, _, answer) = node.ask(&format!(
            "POST /api/tpm/namespaces/default/{kind}\nAuthorization: APIToken {}\nContent-Type: application/json\n\n{body}",
            token.trim()
        ));
        assert_eq!(status, 200, "{answer}");
        serde_json::from_str::<Value>(&answer).unwrap()
    };
    makes("tpm_managers", "acme", json!({}));
    let above = json!({ "tpm_manager_ref": [{ "name": "acme" }] });
    let category = makes("tpm_categorys", "line-2", above);

    let path = |name: &str| home.0.path().join(name).to_str().unwrap().to_owned();
    let (cert, key) = (path("client.pem"), path("client.key"));
    let renew = ["tpm", "client-certificate", "renew"];
    let into = ["--cert-out", &cert, "--key-out", &key, "--json"];
    let renewal = [&renew[..], &["default/line-2"], &into].concat();
    let renewed = home.document(&renewal, "");
    assert_eq!(renewed["category"], "default/line-2");
    assert!(renewed["not_after"].as_str().unwrap().ends_with('Z'));
    for (file, what) in [(&cert, "CERTIFICATE"), (&key, "PRIVATE KEY")] {
        let mode = fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
        let begin = format!("-----BEGIN {what}-----");
        assert!(fs::read_to_string(file).unwrap().starts_with(&begin));
    }
    let issued = fs::read_to_string(&cert).unwrap();
    assert_ne!(category["spec"]["client_cert"], issued);

    // Nothing is issued that could not be written.
    let (new, nowhere) = (path("new.pem"), path("absent/new.key"));
    let (link, output) = (path("link.key"), "-".to_owned());
    symlink(&nowhere, &link).unwrap();
    for (cert, key, says) in [
        (&new, &key, "it exists"),
        (&cert, &new, "it exists"),
        (&new, &link, "it exists"),
        (&new, &nowhere, "its folder does not exist"),
        (&new, &new, "name another file"),
        (&new, &output, "name a file"),
    ] {
        let files = ["default/line-2", "--cert-out", cert, "--key-out", key];
        home.fails(&[&renew[..], &files].concat(), "", 2, says);
    }
    let new_key = path("new.key");
    let files = ["default/other", "--cert-out", &new, "--key-out", &new_key];
    let unknown = [&renew[..], &files].concat();
    home.fails(&unknown, "", 1, "no such tpm_category");
    assert!(!fs::exists(&new).unwrap());

    let end = ["tpm", "client-certificate", "end-earlier"];
    for ended in [1, 0] {
        let told = home.document(&[&end[..], &["default/line-2", "--json"]].concat(), "");
        assert_eq!(
            told,
            json!({ "category": "default/line-2", "ended": ended })
        );
    }
    let files = ["default/line-2", "--cert-out", &new, "--key-out", &new_key];
    home.prints(&[&renew[..], &files].concat(), "");
    let said = home.prints(&[&end[..], &["default/line-2"]].concat(), "");
    let says = "ended 1 earlier client certificate of default/line-2 (store ";
    assert!(said.starts_with(says), "{said}");
    let unknown = [&end[..], &["default/other"]].concat();
    home.fails(&unknown, "", 1, "no such tpm_category");
}
