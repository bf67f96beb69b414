//! `backup`, `restore`, `store copy` and `keys rotate`, as an operator uses them.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Write,
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use keyproof_peer_postgres::Postgres;
use keyproof_store::{
    Engine, Fill, MasterKey, SystemEntropy,
    backup::{BackupHeader, BackupReader, BackupWriter},
    sqlite::{SqliteEngine, SqliteOptions},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    node::{Node, until},
    terminal::Terminal,
};

const PASSWORD: &str = "correct horse";
const PASSPHRASE: &str = "battery staple";

/// Part of the error about a target that began as a copy of another store than the one that is moved.
const OTHER_RECORDS: &str = "has other records than";

/// A folder for stores and backups.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    /// Returns a folder with a store in use, `k.db`, and the store's URL.
    fn filled() -> (Self, String) {
        let home = Self::new();
        let url = home.url("k.db");
        home.fill(&url);
        (home, url)
    }

    /// Copies the master key of `k.db` to where the store with this name expects it.
    fn copy_key_for(&self, store: &str) {
        let to = self.path(&format!("{store}.master-key"));
        fs::copy(self.path("k.db.master-key"), to).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn url(&self, name: &str) -> String {
        format!("sqlite:{}", self.path(name).display())
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyproof"));
        command
            .env_clear()
            .env("HOME", self.0.path())
            .env("KEYPROOF_AUTH__ARGON2_MEMORY_KIB", "8")
            .env("KEYPROOF_AUTH__ARGON2_ITERATIONS", "1")
            .env("KEYPROOF_AUTH__ARGON2_INSECURE_FOR_TESTS", "true")
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, words: &[&str], input: &[u8]) -> Output {
        let mut child = self.command(words).spawn().unwrap();
        // A command that reads no input may have ended already.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    #[track_caller]
    fn prints(&self, words: &[&str], input: &str) -> String {
        let output = self.run(words, input.as_bytes());
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{words:?}: {complaint}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn document(&self, words: &[&str], input: &str) -> Value {
        serde_json::from_str(&self.prints(words, input)).unwrap()
    }

    #[track_caller]
    fn fails(&self, words: &[&str], input: &[u8], code: i32, says: &str) {
        let output = self.run(words, input);
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {complaint}");
        assert!(complaint.contains(says), "{words:?}: {complaint}");
    }

    /// Creates a store with a user, an instance and a token, and returns the token.
    fn fill(&self, url: &str) -> String {
        self.prints(&["migrate", "--store", url], "");
        add_user(self, url, "ada");
        let add = ["instance", "add", "shop", "--stdin", "--store", url];
        self.prints(&add, PASSWORD);
        self.token(url, &[])
    }

    fn token(&self, url: &str, flags: &[&str]) -> String {
        let create = ["token", "create", "--scope", "certificates", "--quiet"];
        let words = [&create[..], &["--store", url], flags].concat();
        self.prints(&words, "").trim_end().to_owned()
    }

    fn users(&self, url: &str) -> Value {
        self.document(&["user", "list", "--json", "--store", url], "")
    }

    fn serve(&self, url: &str) -> Node {
        let serve = ["serve", "--listen", "127.0.0.1:0", "--store", url];
        Node::start(&mut self.command(&serve))
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Returns the status of a list of certificates under this token.
fn list_certificates(node: &Node, token: &str) -> u16 {
    let list = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Devices/provisioningServices/p/certificates";
    let request = format!("GET {list}?api-version=2022-12-12\nAuthorization: Bearer {token}");
    node.ask(&request).0
}

/// Returns whether a server accepts this token.
fn takes(node: &Node, token: &str) -> bool {
    list_certificates(node, token) == 200
}

#[test]
fn a_backup_of_a_store_that_serves_is_restored_without_what_was_spent() {
    let home = Home::new();
    let url = home.url("k.db");
    let token = home.fill(&url);
    let node = home.serve(&url);
    assert!(takes(&node, &token));
    let file = home.path("b.backup");
    fs::write(&file, "keyproof-backup\nan older one, that others read").unwrap();
    let backup = ["backup", text(&file), "--json", "--store", &url];
    let made = home.document(&backup, "");
    assert_eq!(made["has_master_key"], false);
    assert_eq!(mode(&file), 0o600);
    let left = fs::read_dir(home.0.path()).unwrap();
    let left = left.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_str().unwrap().starts_with(".keyproof-")
    });
    assert_eq!(left.count(), 0, "a draft is left");

    // Without its key a backup is useless, and a restore creates nothing.
    let other = home.url("other.db");
    let restore = ["restore", text(&file), "--json", "--store", &other];
    home.fails(&restore, b"", 2, made["master_key"].as_str().unwrap());
    assert!(!home.path("other.db").exists());
    home.copy_key_for("other.db");
    let restored = home.document(&restore, "");
    assert_eq!(restored["made_at"], made["made_at"]);
    assert_eq!(restored["ended"]["operator_tokens"], 1);
    assert_eq!(restored["unspent"], false);
    assert!(restored["age_s"].as_u64().unwrap() < 600, "{restored}");
    let as_they_were = [
        "passwords",
        "second_factors",
        "api_keys",
        "certificates",
        "users",
    ];
    assert_eq!(restored["as_they_were"], json!(as_they_were));
    let records = |of: &Value| of["records"].as_u64().unwrap();
    assert!((1..records(&made)).contains(&records(&restored)));
    assert_eq!(mode(&home.path("other.db")), 0o600);
    assert_eq!(home.users(&other), home.users(&url));
    assert!(!takes(&home.serve(&other), &token), "it has ended");

    // Again, as if it had been killed before its last line of output.
    let again = home.users(&other);
    home.fails(&restore, b"", 1, "may be of");
    assert_eq!(home.users(&other), again);
    let full = home.url("full.db");
    home.copy_key_for("full.db");
    home.prints(&["migrate", "--store", &full], "");
    home.prints(&["instance", "list", "--store", &full], "");
    let into_full = ["restore", text(&file), "--store", &full];
    home.fails(&into_full, b"", 1, "is not empty: name another");
    let third = home.url("third.db");
    home.copy_key_for("third.db");
    let restore = ["restore", text(&file), "--unspent", "--store", &third];
    let said = home.prints(&restore, "");
    assert!(said.contains("nothing was revoked"), "{said}");
    assert!(takes(&home.serve(&third), &token));
    assert!(takes(&node, &token));
}

/// The error describes all backups of a store, and all stores restored from them, in the same way.
#[test]
fn a_store_of_another_backup_is_not_said_to_be_of_this_one() {
    let (home, url) = Home::filled();
    let [one, two] = ["one.backup", "two.backup"].map(|name| home.path(name));
    home.prints(&["backup", text(&one), "--store", &url], "");
    add_user(&home, &url, "bob");
    home.prints(&["backup", text(&two), "--store", &url], "");
    let other = home.url("other.db");
    home.copy_key_for("other.db");
    home.prints(&["restore", text(&one), "--store", &other], "");
    let restored = home.users(&other);
    let refused = home.run(&["restore", text(&two), "--store", &other], b"");
    let complaint = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("may be of"), "{complaint}");
    for claim in ["from this backup", "before", "serve"] {
        assert!(!complaint.contains(claim), "{complaint}");
    }
    assert_eq!(home.users(&other), restored);
    assert_ne!(home.users(&url), restored);
}

#[test]
fn a_backup_of_a_database_is_restored_into_a_new_one_and_into_a_file() {
    let home = Home::new();
    let server = Postgres::shared().unwrap();
    let key = home.path("key");
    write_key(&key, [9; 32]);
    let of = |words: &[&str], url: &str| {
        let words = [words, &["--master-key", text(&key), "--store", url]].concat();
        home.prints(&words, PASSWORD)
    };
    let [from, to, other] = [(); 3].map(|()| server.database().unwrap());
    for url in [&from, &to] {
        of(&["migrate"], url);
    }
    let add = |name: &str| {
        of(
            &["user", "add", name, "--organisation", "Acme", "--stdin"],
            &from,
        )
    };
    add("ada");
    let file = home.path("b.backup");
    of(&["backup", text(&file)], &from);
    add("bob");
    let restore = ["restore", text(&file)];
    let file = home.url("k.db");
    for url in [&to, &file] {
        of(&restore, url);
        let users = of(&["user", "list"], url);
        assert!(
            users.starts_with("ada\t") && !users.contains("bob"),
            "{users}"
        );
    }
    // A store that was not migrated cannot be restored into.
    let words = [
        &restore[..],
        &["--master-key", text(&key), "--store", &other],
    ]
    .concat();
    home.fails(&words, b"", 2, "run `keyproof migrate`");
}

#[test]
fn a_backup_with_its_key_and_its_passphrase_is_all_that_is_needed() {
    let (home, url) = Home::filled();
    let file = home.path("b.backup");
    let backup = [
        "backup",
        text(&file),
        "--with-master-key",
        "--stdin",
        "--store",
        &url,
    ];
    home.fails(&backup, b"7 chars\n", 1, "at least 8");
    home.fails(&backup, b"\xff 8 chars\n", 1, "is not UTF-8");
    home.prints(&backup, PASSPHRASE);
    let other = home.url("state/other.db");
    let restore = ["restore", text(&file), "--stdin", "--store", &other];
    home.fails(&restore, b"not it at all\n", 1, "not the passphrase");
    // The backup and the passphrase cannot both come from standard input.
    let piped = ["restore", "-", "--stdin", "--store", &other];
    let backup_and_all = fs::read(&file).unwrap();
    home.fails(&piped, &backup_and_all, 2, "leave out --stdin");
    assert!(!home.path("state").exists());
    let said = home.prints(&restore, PASSPHRASE);
    assert_eq!(mode(&home.path("state/other.db.master-key")), 0o600);
    // The age of the backup, what has ended, and what cannot be known.
    let first = said.lines().next().unwrap();
    assert!(first.starts_with("restored ") && first.ends_with(" s ago"));
    let ended = format!("ended {:>6}  bearer tokens of operators and services", 1);
    assert!(said.lines().any(|line| line == ended), "{said}");
    let last = said.lines().last().unwrap();
    let look = "check passwords, second factors, API keys, certificates and users";
    assert!(last.ends_with(look), "{last}");
    assert_eq!(home.users(&other), home.users(&url));
}

/// A backup from a machine whose clock is two hours ahead of this one.
#[test]
fn a_backup_of_a_time_that_is_yet_to_come_is_said_to_be_one() {
    let home = Home::new();
    let url = home.url("k.db");
    let file = home.path("key");
    write_key(&file, [9; 32]);
    let flags = ["--master-key", text(&file), "--store"];
    let run = |words: &[&str], url: &str, input: &[u8]| {
        let output = home.run(&[words, &flags, &[url]].concat(), input);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {output:?}");
        output
    };
    run(&["migrate"], &url, b"");
    run(&["instance", "list"], &url, b"");
    let made = run(&["backup", "-"], &url, b"").stdout;

    let key = MasterKey::from_bytes(&[9; 32]).unwrap();
    let mut made = made.as_slice();
    let head = BackupHeader::read(&mut made).unwrap();
    let mut records = BackupReader::new(&head, made, &key).unwrap();
    let made_at = head.made_at().saturating_add(Duration::from_secs(7_200));
    let entropy = SystemEntropy::new();
    let ahead = BackupWriter::new(Vec::new(), &key, None, made_at, &entropy);
    let mut ahead = ahead.unwrap();
    while let Some((place, row)) = records.next().unwrap() {
        ahead.record(&place, &row).unwrap();
    }
    let (ahead, _) = ahead.finish().unwrap();

    let restored = run(&["restore", "-", "--json"], &home.url("b.db"), &ahead);
    let complaint = String::from_utf8(restored.stderr).unwrap();
    assert!(complaint.contains("from the future"), "{complaint}");
    let restored: Value = serde_json::from_slice(&restored.stdout).unwrap();
    assert!(restored["ahead_s"].as_u64() > Some(3_600), "{restored}");
    assert_eq!(restored["age_s"], 0);
    let said = run(&["restore", "-"], &home.url("c.db"), &ahead).stdout;
    let said = String::from_utf8(said).unwrap();
    let first = said.lines().next().unwrap();
    assert!(first.ends_with(" from now"), "{first}");

    // The error comes before anything is written, and contains the alternative.
    let full = home.url("c.db");
    let into_full = [&["restore", "-"][..], &flags, &[full.as_str()]].concat();
    home.fails(&into_full, &ahead, 1, "from the future");
    home.fails(&into_full, &ahead, 1, "--unspent into another");
    let unspent = run(&["restore", "-", "--unspent"], &home.url("d.db"), &ahead);
    let complaint = String::from_utf8(unspent.stderr).unwrap();
    assert!(complaint.contains("from the future"), "{complaint}");
    assert!(!complaint.contains("second factors"), "{complaint}");
}

#[test]
fn a_backup_that_was_cut_or_altered_changes_nothing() {
    let (home, url) = Home::filled();
    let whole = home.run(&["backup", "-", "--store", &url], b"");
    assert_eq!(whole.status.code(), Some(0));
    let whole = whole.stdout;
    let other = home.url("other.db");
    home.copy_key_for("other.db");
    let restore = ["restore", "-", "--store", &other];
    home.fails(&restore, &whole[..whole.len() - 1], 1, "cut short");
    home.fails(&restore, &whole[..whole.len() - 1], 1, "or another backup");
    let mut altered = whole.clone();
    let last = altered.len() - 20;
    altered[last] ^= 1;
    home.fails(&restore, &altered, 1, "was altered between bytes");
    home.fails(&restore, b"a text", 1, "not a keyproof backup");
    home.fails(
        &restore,
        &[whole.as_slice(), b"x"].concat(),
        1,
        "data after the backup's end",
    );
    let key = home.path("another-key");
    write_key(&key, [7; 32]);
    let with_another = [&restore[..], &["--master-key", text(&key)]].concat();
    home.fails(&with_another, &whole, 1, "was made under master key");
    assert!(!home.path("other.db").exists());
    assert_eq!(home.run(&restore, &whole).status.code(), Some(0));
    assert_eq!(home.users(&other), home.users(&url));
}

#[test]
fn a_folder_of_backups_keeps_the_latest() {
    let (home, url) = Home::filled();
    let folder = home.path("backups");
    fs::create_dir(&folder).unwrap();
    File::create(folder.join("note")).unwrap();
    let backup = [
        "backup",
        text(&folder),
        "--keep",
        "2",
        "--json",
        "--store",
        &url,
    ];
    let made: Vec<_> = (0..3)
        .map(|_| home.document(&backup, "")["file"].clone())
        .collect();
    let mut left: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    left.sort();
    let latest = made[1..]
        .iter()
        .map(|file| PathBuf::from(file.as_str().unwrap()));
    let expected: Vec<_> = latest.chain([folder.join("note")]).collect();
    assert_eq!(left, expected);

    // The draft of a killed backup is deleted and the new backup is kept, although a clock was ahead.
    let draft = folder.join(".keyproof-killed");
    File::create(&draft).unwrap();
    let ahead = ["20991231T235959000Z", "20991231T235959001Z"]
        .map(|time| folder.join(format!("keyproof-{time}.backup")));
    for path in &ahead {
        File::create(path).unwrap();
    }
    let output = home.run(&backup, b"");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("a name from the future"), "{said}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(Path::new(document["file"].as_str().unwrap()).exists());
    let removed = document["removed"].as_array().unwrap();
    let removed = removed.iter().map(|path| path.as_str().unwrap());
    let older = made[1..].iter().map(|file| file.as_str().unwrap());
    let expected = [text(&draft)].into_iter().chain(older);
    assert!(removed.eq(expected.chain([text(&ahead[0])])), "{document}");
    assert!(ahead[1].exists());
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 3);

    home.fails(
        &["backup", text(&folder), "--store", &url],
        b"",
        2,
        "not a file",
    );
    let absent = home.path("absent");
    for (keep, says) in [("2", "absent"), ("0", "a whole number of backups from 1")] {
        let backup = ["backup", text(&absent), "--keep", keep, "--store", &url];
        home.fails(&backup, b"", 2, says);
    }
}

#[test]
fn what_cannot_be_a_backup_is_refused_before_anything_is_written() {
    let (home, url) = Home::filled();
    for more in [&["--json"][..], &["--keep", "2"]] {
        let words = [&["backup", "-", "--store", &url], more].concat();
        home.fails(&words, b"", 2, "--json and --keep cannot be used");
    }
    let terminal = Terminal::open();
    let to_a_terminal = home
        .command(&["backup", "-", "--store", &url])
        .stdout(terminal.end())
        .output();
    let refused = to_a_terminal.unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("cannot be written to a terminal"), "{said}");
    assert_eq!(terminal.seen(), "");
}

/// A wrong argument must not destroy the store or its key.
#[test]
fn a_backup_replaces_an_older_one_and_no_other_file() {
    let (home, url) = Home::filled();
    let config = home.path("keyproof.toml");
    fs::write(&config, format!("store.url = \"{url}\"\n")).unwrap();
    fs::write(home.path("note"), "not a backup\n").unwrap();
    // Some of these exist only while the store is open.
    let names = [
        "k.db",
        "k.db-wal",
        "k.db-shm",
        "k.db-journal",
        "k.db.master-key",
        "keyproof.toml",
        "note",
    ];
    let contents = || names.map(|name| fs::read(home.path(name)).ok());
    let before = contents();
    for name in names {
        let (path, link) = (home.path(name), home.path(&format!("link-to-{name}")));
        let mut files = vec![name, text(&path)];
        if path.exists() {
            symlink(&path, &link).unwrap();
            files.push(text(&link));
        }
        for file in files {
            let mut backup = home.command(&["backup", file, "--config", text(&config)]);
            let refused = backup.current_dir(home.0.path()).output().unwrap();
            let said = String::from_utf8(refused.stderr).unwrap();
            assert_eq!(refused.status.code(), Some(2), "{file}: {said}");
            assert!(said.contains("name another"), "{file}: {said}");
            assert_eq!(contents(), before, "{file}");
        }
    }

    let file = home.path("b.backup");
    let backup = ["backup", text(&file), "--json", "--store", &url];
    // The link's target may be on a disk that is not mounted.
    symlink(home.path("away/b.backup"), &file).unwrap();
    home.fails(&backup, b"", 2, "a dangling link");
    assert!(fs::symlink_metadata(&file).unwrap().is_symlink());
    fs::remove_file(&file).unwrap();
    home.prints(&backup, "");
    let first = fs::read(&file).unwrap();
    home.prints(&backup, "");
    let second = fs::read(&file).unwrap();
    assert_ne!(second, first);
    // A link to a backup stays one, and its target is replaced.
    let target = home.path("target.backup");
    fs::rename(&file, &target).unwrap();
    symlink(&target, &file).unwrap();
    home.prints(&backup, "");
    assert!(fs::symlink_metadata(&file).unwrap().is_symlink());
    assert_ne!(fs::read(&target).unwrap(), second);
    fs::remove_file(&file).unwrap();
    // A truncated backup is replaced too, and an empty file, as `mktemp` makes it, has nothing to lose.
    for before in [&first[..20], &[]] {
        fs::write(&file, before).unwrap();
        home.prints(&backup, "");
        assert!(fs::read(&file).unwrap().len() > 20);
    }
    // The draft of a killed backup in the same folder is also deleted.
    let draft = home.path(".keyproof-killed");
    File::create(&draft).unwrap();
    assert_eq!(home.document(&backup, "")["removed"], json!([text(&draft)]));
    assert!(!draft.exists());
}

/// One of the nodes was not given the next key.
#[test]
fn a_node_without_the_prepared_key_goes_no_further() {
    let (home, url) = Home::filled();
    let rotate = |step: &'static str| ["keys", "rotate", step, "--store", &url];
    home.prints(&rotate("prepare"), "");
    let key = home.path("k.db.master-key");
    let both = fs::read_to_string(&key).unwrap();
    fs::write(&key, both.lines().next().unwrap()).unwrap();
    home.fails(&rotate("switch"), b"", 2, "add it to the key file");
    // It continues as before, until the switch.
    assert_eq!(home.users(&url)["users"].as_array().unwrap().len(), 1);
    fs::write(&key, both).unwrap();
    home.prints(&rotate("switch"), "");
    home.prints(&rotate("finish"), "");
}

/// While a backup is made, for example, the log cannot be emptied.
#[tokio::test]
async fn the_key_to_remove_is_named_although_the_file_still_contains_what_it_sealed() {
    let (home, url) = Home::filled();
    let rotate = |step: &'static str| ["keys", "rotate", step, "--json", "--store", &url];
    let prepared = home.document(&rotate("prepare"), "");
    let old = prepared["sealing"].as_str().unwrap();
    home.prints(&rotate("switch"), "");
    let engine = SqliteEngine::open(home.path("k.db"), &SqliteOptions::default()).unwrap();
    let snapshot = engine.snapshot().await.unwrap();
    let removal = format!("remove master key {old} from every node's key file");
    home.fails(&rotate("finish"), b"", 1, &removal);
    drop(snapshot);
    engine.close().await;
    let finished = home.document(&rotate("finish"), "");
    assert_eq!(finished["forgotten"], json!([]));
}

#[test]
fn a_store_is_copied_to_postgresql_and_back() {
    let home = Home::new();
    let server = Postgres::shared().unwrap();
    let shared = server.database().unwrap();
    let url = home.url("k.db");
    let token = home.fill(&url);
    let key = home.path("k.db.master-key");
    let with_key = ["--master-key", text(&key)];
    home.prints(
        &[&["migrate", "--store", &shared][..], &with_key].concat(),
        "",
    );
    let copy = |from: &str, to: &str| {
        let copy = ["store", "copy", from, to, "--json"];
        home.document(&[&copy[..], &with_key].concat(), "")
    };
    let node = home.serve(&url);
    let there = copy(&url, &shared);
    assert_eq!(there["written"], there["records"]);
    let back = home.url("back.db");
    let copied = copy(&shared, &back);
    assert_eq!(copied["records"], there["records"]);
    home.copy_key_for("back.db");
    assert_eq!(home.users(&back), home.users(&url));
    for url in [&url, &back] {
        assert!(takes(&home.serve(url), &token), "{url}");
    }
    drop(node);
    let again = ["store", "copy", &url, &back];
    home.fails(&[&again[..], &with_key].concat(), b"", 1, "not empty");
    let same = ["store", "copy", &url, &url];
    let says = format!("FROM and TO are the same store, {url}");
    home.fails(&[&same[..], &with_key].concat(), b"", 2, &says);
}

#[test]
fn a_copy_takes_its_key_along_where_there_is_none() {
    let home = Home::new();
    let (url, copy) = (home.url("k.db"), home.url("copies/c.db"));
    home.fill(&url);
    // In a file, because everybody can see a database's password in a command's arguments.
    let file = home.path("copy.toml");
    fs::write(&file, format!("store.url = \"{copy}\"\n")).unwrap();
    let to = format!("config:{}", text(&file));
    let said = home.prints(&["store", "copy", &url, &to], "");
    assert!(said.contains("is not in the copy"), "{said}");
    assert_eq!(mode(&home.path("copies/c.db.master-key")), 0o600);
    assert_eq!(home.users(&copy), home.users(&url));
    let other = home.url("other.db");
    home.prints(&["migrate", "--store", &other], "");
    fs::remove_file(home.path("other.db")).unwrap();
    home.fails(
        &["store", "copy", &url, &other],
        b"",
        2,
        "a copy keeps the master key",
    );
}

/// As in a container or a shell whose environment names the store that is served.
#[test]
fn no_other_store_is_moved_than_the_one_that_its_file_names() {
    let (home, served) = Home::filled();
    let [named, to] = ["named.db", "to.db"].map(|name| home.url(name));
    home.fill(&named);
    let file = home.path("named.toml");
    fs::write(&file, format!("store.url = \"{named}\"\n")).unwrap();
    let from = format!("config:{}", text(&file));
    let moving = |environment: &str| {
        let mut command = home.command(&["store", "copy", &from, &to, "--move"]);
        let output = command.env("KEYPROOF_STORE__URL", environment).output();
        let output = output.unwrap();
        let complaint = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), complaint)
    };
    let (code, complaint) = moving(&served);
    assert_eq!(code, Some(2), "{complaint}");
    assert!(complaint.contains("KEYPROOF_STORE__URL"), "{complaint}");
    // A store that was moved lists nobody.
    let users = home.users(&named);
    home.users(&served);
    // The same store twice is no contradiction.
    let (code, complaint) = moving(&named);
    assert_eq!(code, Some(0), "{complaint}");
    assert_eq!(home.users(&to), users);
    home.users(&served);
}

/// Sets a flag when it is dropped, so that a thread that waits for it ends with a failed test too.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn moves(home: &Home, from: &str, to: &str, flags: &[&str]) {
    let add = ["instance", "add", "second", "--stdin", "--store", from];
    let token = home.token(from, flags);
    let till = ["instance", "add", "till", "--stdin", "--store", from];
    home.prints(&[&till[..], flags].concat(), PASSWORD);
    let serve = |url: &str| {
        let words = [&["serve", "--listen", "127.0.0.1:0", "--store", url], flags].concat();
        home.command(&words)
    };
    let node = Node::start(&mut serve(from));
    assert!(takes(&node, &token));
    let copy = [&["store", "copy", from, to], flags].concat();
    // A writer runs meanwhile, and records what was acknowledged.
    let till = Shop::log_in(&node, "till");
    let (over, written) = (AtomicBool::new(false), AtomicBool::new(false));
    let (moved, acknowledged) = thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut acknowledged = Vec::new();
            for number in 0.. {
                let name = format!("written-{number}");
                if till.add(&node, &name) == 204 {
                    acknowledged.push(name);
                    written.store(true, Ordering::SeqCst);
                }
                if over.load(Ordering::SeqCst) {
                    break;
                }
            }
            acknowledged
        });
        let moved = {
            let _over = SetAtEnd(&over);
            until("a write before the move", || written.load(Ordering::SeqCst));
            home.document(&[&copy[..], &["--move", "--json"]].concat(), "")
        };
        (moved, writing.join().unwrap())
    });
    assert_eq!(moved["moved"], true);
    // The former server accepts no requests any more.
    assert_eq!(list_certificates(&node, &token), 503);
    assert_eq!(till.add(&node, "late"), 503);
    assert_eq!(till.code(&node, "late").0, 503);
    let (status, _, why) = node.ask("GET /readyz");
    assert_eq!(status, 503);
    assert!(why.contains("moved"), "{why}");
    let again = serve(from).output().unwrap();
    assert_eq!(again.status.code().map(|code| code > 0), Some(true));
    let why = String::from_utf8(again.stderr).unwrap();
    assert!(why.contains("was moved to another one"), "{why}");
    home.fails(
        &[&add[..], flags].concat(),
        PASSWORD.as_bytes(),
        2,
        "was moved to another one",
    );
    let there = Node::start(&mut serve(to));
    assert!(takes(&there, &token));
    let has_all = |node: &Node| {
        for name in &acknowledged {
            assert_eq!(till.code(node, name).0, 200, "{name} was acknowledged");
        }
    };
    has_all(&there);
    home.fails(&copy, b"", 1, "was moved to another one");
    // The copy has changed since, so that it looks like any other store.
    let again = [&copy[..], &["--move"]].concat();
    home.fails(&again, b"", 1, OTHER_RECORDS);
    // A move that was interrupted after the fence, or whose copy is lost, is completed from the source's data.
    drop(there);
    let again = home.url("again.db");
    let copy = [&["store", "copy", from, &again], flags].concat();
    let moving = home.run(&[&copy[..], &["--move"]].concat(), b"");
    let said = String::from_utf8(moving.stderr).unwrap();
    assert_eq!(moving.status.code(), Some(0), "{said}");
    assert!(said.contains("do not serve any other copy of it"), "{said}");
    let there = Node::start(&mut serve(&again));
    assert!(takes(&there, &token));
    has_all(&there);
}

/// As if it had been killed between its last write and the audit event: a copy leaves the same state.
#[test]
fn a_move_that_has_ended_but_for_its_event_is_ended_by_the_same_command() {
    let (home, url) = Home::filled();
    let [stale, moved, elsewhere] =
        ["stale.db", "moved.db", "elsewhere.db"].map(|name| home.url(name));
    home.prints(&["store", "copy", &url, &stale], "");
    let add = |store: &str, name: &str| {
        let add = ["instance", "add", name, "--stdin", "--store", store];
        home.prints(&add, PASSWORD);
    };
    add(&url, "late");
    home.prints(&["store", "copy", &url, &moved], "");
    home.prints(&["store", "copy", &url, &elsewhere, "--move"], "");
    let events = |store: &str| {
        let trail = home.prints(&["audit", "--store", store], "");
        trail.matches("store.move").count()
    };
    let again = ["store", "copy", &url, &moved, "--move", "--json"];
    let done = home.document(&again, "");
    assert_eq!(
        (&done["moved"], &done["written"]),
        (&json!(true), &json!(0))
    );
    assert_eq!(events(&moved), 1);
    // From now on it differs from the other store.
    home.fails(&again, b"", 1, OTHER_RECORDS);
    assert_eq!(events(&moved), 1);
    // A copy of an earlier moment never was the same.
    let into_stale = ["store", "copy", &url, &stale, "--move"];
    home.fails(&into_stale, b"", 1, OTHER_RECORDS);
    assert_eq!(events(&stale), 0);
}

/// The same in words: nothing was copied.
#[test]
fn a_complete_copy_is_said_to_be_one() {
    let (home, url) = Home::filled();
    let [copy, elsewhere] = ["copy.db", "elsewhere.db"].map(|name| home.url(name));
    home.prints(&["store", "copy", &url, &copy], "");
    home.prints(&["store", "copy", &url, &elsewhere, "--move"], "");
    let said = home.prints(&["store", "copy", &url, &copy, "--move"], "");
    assert!(
        said.contains("had all") && !said.contains("copied"),
        "{said}"
    );
}

fn add_user(home: &Home, url: &str, name: &str) {
    let add = ["user", "add", name, "--organisation", "Acme", "--stdin"];
    home.prints(&[&add[..], &["--store", url]].concat(), PASSWORD);
}

/// A copy contains the audit trail of its source, including the event of the source's own move.
#[test]
fn a_copy_of_what_was_moved_to_is_not_taken_for_it() {
    let home = Home::new();
    let [a, b, c] = ["a.db", "b.db", "c.db"].map(|name| home.url(name));
    home.fill(&a);
    home.prints(&["store", "copy", &a, &b, "--move"], "");
    home.prints(&["store", "copy", &b, &c], "");
    add_user(&home, &b, "bob");
    let before = home.users(&c);
    home.fails(&["store", "copy", &a, &c, "--move"], b"", 1, OTHER_RECORDS);
    assert_eq!(home.users(&c), before);
}

#[test]
fn a_move_that_is_refused_writes_no_key() {
    let home = Home::new();
    let [a, b, c] = ["a.db", "b.db", "c.db"].map(|name| home.url(name));
    home.fill(&a);
    home.prints(&["store", "copy", &a, &c], "");
    add_user(&home, &a, "bob");
    home.prints(&["store", "copy", &a, &b, "--move"], "");
    let key = home.path("c.db.master-key");
    fs::remove_file(&key).unwrap();
    home.fails(&["store", "copy", &a, &c, "--move"], b"", 1, OTHER_RECORDS);
    assert!(!key.exists());
}

/// A store is identified by the version of its keyring record, which each step of a rotation changes.
#[tokio::test]
async fn a_copy_that_was_begun_before_a_step_of_a_rotation_is_told_to_begin_elsewhere() {
    let home = Home::new();
    let [a, b, c] = ["a.db", "b.db", "c.db"].map(|name| home.url(name));
    home.fill(&a);
    let engine = SqliteEngine::open(home.path("b.db"), &SqliteOptions::default()).unwrap();
    let before = "the store of before";
    let entropy = SystemEntropy::new();
    let begun = Fill::begin(&engine, &entropy, before).await;
    assert!(begun.is_ok(), "{begun:?}");
    drop(begun);
    engine.close().await;
    home.prints(&["keys", "rotate", "prepare", "--store", &a], "");
    let copy = ["store", "copy", &a, &b];
    home.fails(&copy, b"", 1, "if a step of `keyproof keys rotate`");
    home.prints(&["store", "copy", &a, &c], "");
    assert_eq!(home.users(&c), home.users(&a));
}

/// The target is not empty, and its own key is missing.
#[test]
fn neither_a_restore_nor_a_copy_that_is_refused_writes_a_key() {
    let home = Home::new();
    let [a, b, c] = ["a.db", "b.db", "c.db"].map(|name| home.url(name));
    home.fill(&a);
    home.fill(&c);
    let key = home.path("c.db.master-key");
    fs::remove_file(&key).unwrap();
    let file = home.path("a.backup");
    let with_key = [
        "backup",
        text(&file),
        "--with-master-key",
        "--stdin",
        "--store",
        &a,
    ];
    home.prints(&with_key, PASSPHRASE);
    let restore = ["restore", text(&file), "--stdin", "--store", &c];
    home.fails(&restore, PASSPHRASE.as_bytes(), 1, "is not empty");
    assert!(!key.exists());
    let copy = ["store", "copy", &a, &c];
    home.fails(&copy, b"", 1, "is not empty");
    assert!(!key.exists());
    home.prints(&["store", "copy", &a, &b, "--move"], "");
    let end_move = ["store", "copy", &a, &c, "--move"];
    home.fails(&end_move, b"", 1, "is not empty");
    assert!(!key.exists());
}

/// It does not leave its mark either: a target that was refused because of its key can be filled from another source.
#[test]
fn a_store_whose_key_could_not_be_kept_is_filled_from_elsewhere() {
    let home = Home::new();
    let [a, b] = ["a.db", "b.db"].map(|name| home.url(name));
    let [one, two] = ["one.backup", "two.backup"].map(|name| home.path(name));
    for (url, file) in [(&a, &one), (&b, &two)] {
        home.fill(url);
        let backup = ["backup", text(file), "--with-master-key", "--stdin"];
        home.prints(&[&backup[..], &["--store", url]].concat(), PASSPHRASE);
    }
    add_user(&home, &b, "bob");
    let given = home.path("given.key");
    write_key(&given, [9; 32]);
    let server = Postgres::shared().unwrap();
    let database = || {
        let url = server.database().unwrap();
        let migrate = ["migrate", "--master-key", text(&given), "--store", &url];
        home.prints(&migrate, "");
        url
    };
    // A missing folder is not created, whoever runs this.
    let nowhere = home.path("nowhere/key");

    for (number, url) in [database(), home.url("restored.db")].iter().enumerate() {
        let [first, second] =
            [&one, &two].map(|file| ["restore", text(file), "--stdin", "--store", url.as_str()]);
        if number == 0 {
            home.fails(&first, b"", 2, "name one (store.master_key");
        }
        let to_nowhere = [&first[..], &["--master-key", text(&nowhere)]].concat();
        home.fails(&to_nowhere, PASSPHRASE.as_bytes(), 2, text(&nowhere));
        let key = home.path(&format!("restored{number}.key"));
        let with_key = ["--master-key", text(&key)];
        home.prints(&[&second[..], &with_key].concat(), PASSPHRASE);
        let users = ["user", "list", "--store", url];
        let users = home.prints(&[&users[..], &with_key].concat(), "");
        assert!(users.starts_with("ada\t"), "{users}");
    }

    for (number, url) in [database(), home.url("copied.db")].iter().enumerate() {
        let to = |key: &Path| {
            let file = home.path("copy.toml");
            let store = format!(
                "store.url = \"{url}\"\nstore.master_key = \"{}\"\n",
                text(key)
            );
            fs::write(&file, store).unwrap();
            format!("config:{}", text(&file))
        };
        if number == 0 {
            home.fails(
                &["store", "copy", &a, url],
                b"",
                2,
                "name one (store.master_key",
            );
        }
        home.fails(
            &["store", "copy", &a, &to(&nowhere)],
            b"",
            2,
            text(&nowhere),
        );
        let key = home.path(&format!("copied{number}.key"));
        home.prints(&["store", "copy", &b, &to(&key)], "");
        let users = ["user", "list", "--store", url, "--master-key", text(&key)];
        let users = home.prints(&users, "");
        assert!(users.contains("bob\t"), "{users}");
    }
}

#[test]
fn a_copy_that_has_the_event_of_an_earlier_move_is_not_taken_for_complete() {
    let home = Home::new();
    let [a, b, c, d] = ["a.db", "b.db", "c.db", "d.db"].map(|name| home.url(name));
    home.fill(&a);
    // There and back, so that the trail has a move from either store.
    home.prints(&["store", "copy", &a, &b, "--move"], "");
    for name in ["a.db", "a.db-wal", "a.db-shm"] {
        let _ = fs::remove_file(home.path(name));
    }
    home.prints(&["store", "copy", &b, &a, "--move"], "");
    home.prints(&["store", "copy", &a, &c], "");
    add_user(&home, &a, "bob");
    home.prints(&["store", "copy", &a, &d, "--move"], "");
    let before = home.users(&c);
    home.fails(&["store", "copy", &a, &c, "--move"], b"", 1, OTHER_RECORDS);
    assert_eq!(home.users(&c), before);
    assert_ne!(home.users(&d), before);
}

#[test]
fn a_store_that_is_moved_is_served_no_more() {
    let home = Home::new();
    let (from, to) = (home.url("k.db"), home.url("moved.db"));
    home.fill(&from);
    moves(&home, &from, &to, &[]);
}

#[test]
fn a_database_that_is_moved_is_served_no_more() {
    let home = Home::new();
    let server = Postgres::shared().unwrap();
    let shared = server.database().unwrap();
    let key = home.path("key");
    write_key(&key, [9; 32]);
    let flags = ["--master-key", text(&key)];
    home.prints(&[&["migrate", "--store", &shared][..], &flags].concat(), "");
    let first = ["instance", "list", "--store", &shared];
    home.prints(&[&first[..], &flags].concat(), "");
    moves(&home, &shared, &home.url("moved.db"), &flags);
}

fn write_key(path: &Path, contents: impl AsRef<[u8]>) {
    fs::write(path, contents).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// The owner of an instance, who is logged in.
struct Shop {
    devices: String,
    token: String,
}

impl Shop {
    fn log_in(node: &Node, instance: &str) -> Self {
        let path = format!("/instances/{instance}/private");
        let known = data_encoding::BASE64.encode(format!("{instance}:{PASSWORD}").as_bytes());
        let (status, _, answer) = node.ask(&format!(
            "POST {path}/token\nAuthorization: Basic {known}\nContent-Type: application/json\n\n{{\"scope\":\"all\",\"duration\":{{\"d_us\":\"forever\"}}}}"
        ));
        assert_eq!(status, 200, "{answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        Self {
            devices: format!("{path}/otp-devices"),
            token: answer["access_token"].as_str().unwrap().to_owned(),
        }
    }

    fn add(&self, node: &Node, id: &str) -> u16 {
        let Self { devices, token } = self;
        let device = format!(
            r#"{{"otp_device_id":"{id}","otp_device_description":"d","otp_key":"GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ","otp_algorithm":1,"otp_ctr":0}}"#
        );
        let request = format!(
            "POST {devices}\nAuthorization: Bearer {token}\nContent-Type: application/json\n\n{device}"
        );
        node.ask(&request).0
    }

    /// Returns the device's current code if the node can show it.
    fn code(&self, node: &Node, id: &str) -> (u16, Option<String>) {
        let Self { devices, token } = self;
        let (status, _, answer) = node.ask(&format!(
            "GET {devices}/{id}?faketime=1700000000\nAuthorization: Bearer {token}"
        ));
        let answer: Value = serde_json::from_str(&answer).unwrap();
        (status, answer["otp_code"].as_str().map(str::to_owned))
    }
}

/// Returns how many values sealed with a master key are anywhere in the files of an embedded store, in records or in remains of
/// them.
fn envelopes(store: &Path, key: &Value) -> usize {
    let mark = format!("\"key\":{key},\"nonce\"");
    let files = ["", "-wal"].map(|suffix| format!("{}{suffix}", store.display()));
    let count = |file: &String| {
        let bytes = fs::read(file).unwrap_or_default();
        let places = bytes.windows(mark.len());
        places.filter(|place| *place == mark.as_bytes()).count()
    };
    files.iter().map(count).sum()
}

/// Runs a rotation with two nodes that have both keys, and one that never got the new one. `file` is the store's file if it is
/// embedded.
fn rotates(home: &Home, url: &str, key: &Path, flags: &[&str], file: Option<&Path>) {
    let serve = || {
        let words = [&["serve", "--listen", "127.0.0.1:0", "--store", url], flags].concat();
        Node::start(&mut home.command(&words))
    };
    let rotate =
        |step: &'static str| [&["keys", "rotate", step, "--json", "--store", url], flags].concat();
    let stale = serve();
    let shop = Shop::log_in(&stale, "shop");
    assert_eq!(shop.add(&stale, "first"), 204);
    let shown = shop.code(&stale, "first");
    assert_eq!(shown.0, 200);
    assert!(shown.1.is_some());
    home.fails(&rotate("switch"), b"", 1, "no other master key is prepared");

    let old = home.document(&rotate("prepare"), "");
    assert_eq!(home.document(&rotate("prepare"), ""), old, "once");
    assert_eq!(fs::read_to_string(key).unwrap().lines().count(), 2);
    assert_eq!(mode(key), 0o600);
    let nodes = [serve(), serve()];
    assert_eq!(shop.add(&nodes[0], "prepared"), 204);
    home.fails(&rotate("finish"), b"", 1, "is not finished");

    let switched = home.document(&rotate("switch"), "");
    assert_eq!(switched["sealing"], old["next"]);
    assert!(switched["resealed"].as_u64() >= Some(2), "{switched}");
    for (node, id) in nodes.iter().zip(["second", "third"]) {
        assert_eq!(shop.code(node, "first"), shown);
        assert_eq!(shop.add(node, id), 204);
    }
    // It can neither write nor read secrets, and logs why.
    assert_eq!(shop.add(&stale, "fourth"), 503);
    assert_eq!(shop.code(&stale, "first").0, 503);
    let (status, _, why) = stale.ask("GET /readyz");
    assert_eq!(status, 503);
    assert!(why.contains("master key"), "{why}");
    stale.wait_until_logged(old["next"].as_str().unwrap());
    stale.wait_until_logged("give it the key file, and restart it");
    assert_eq!(nodes[0].ask("GET /readyz").0, 200);

    assert_eq!(home.document(&rotate("switch"), "")["resealed"], 0, "again");
    let left = || file.map(|file| envelopes(file, &old["sealing"]));
    assert_ne!(left(), Some(0), "in the log, or where records were");
    let finished = home.document(&rotate("finish"), "");
    assert_eq!(finished["forgotten"][0], old["sealing"]);
    // Nothing that was sealed with the old key is left in the file or in its log.
    assert!(matches!(left(), None | Some(0)), "{:?}", left());
    let keys = fs::read_to_string(key).unwrap();
    fs::write(key, keys.lines().last().unwrap()).unwrap();
    for node in [&nodes[0], &nodes[1], &serve()] {
        assert_eq!(shop.code(node, "first"), shown);
        assert_eq!(shop.code(node, "third"), shown);
        assert_eq!(shop.add(node, "first"), 204, "the same once more");
    }
    // Each step has one event, however often it is repeated.
    let trail = home.prints(&[&["audit", "--store", url], flags].concat(), "");
    for step in ["prepare", "switch", "finish"] {
        let action = format!("master_key.{step}");
        assert_eq!(trail.matches(&*action).count(), 1, "{action}: {trail}");
    }
}

#[test]
fn the_master_key_of_a_file_is_changed_while_two_nodes_serve() {
    let (home, url) = Home::filled();
    let key = home.path("k.db.master-key");
    let before = fs::read_to_string(&key).unwrap();
    rotates(&home, &url, &key, &[], Some(&home.path("k.db")));
    let words = ["keys", "rotate", "finish", "--store", &url];
    let said = home.prints(&words, "");
    assert!(
        said.contains("all records are sealed under master key"),
        "{said}"
    );
    let old = home.path("old");
    write_key(&old, before);
    let with_old = ["user", "list", "--store", &url, "--master-key", text(&old)];
    home.fails(&with_old, b"", 2, "is sealed under master key");
}

#[test]
fn a_backup_is_told_whatever_its_path_is() {
    let (home, url) = Home::filled();
    let file = home.0.path().join(OsStr::from_bytes(b"b\xff.backup"));
    let mut backup = home.command(&["backup", "--json", "--store", &url]);
    let output = backup.arg(&file).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(made["file"], file.display().to_string());
    assert!(file.exists());
}

/// Between two steps of a rotation, a backup needs two keys.
#[test]
fn what_is_saved_between_switch_and_finish_needs_both_keys() {
    let (home, url) = Home::filled();
    for step in ["prepare", "switch"] {
        home.prints(&["keys", "rotate", step, "--store", &url], "");
    }
    let keys = fs::read_to_string(home.path("k.db.master-key")).unwrap();
    let new = keys.lines().nth(1).unwrap();
    let file = home.path("b.backup");
    let backup = ["backup", text(&file), "--store", &url];
    let said = home.prints(&backup, "");
    assert!(said.contains("master keys "), "{said}");
    let with_key = ["--with-master-key", "--stdin"];
    let with_key = [&backup[..], &with_key].concat();
    home.fails(&with_key, PASSPHRASE.as_bytes(), 1, "keys rotate finish");

    let other = home.url("other.db");
    let key = home.path("other.db.master-key");
    let give = |keys: &str| write_key(&key, keys);
    let restore = ["restore", text(&file), "--store", &other];
    let copy = ["store", "copy", &url, &other];
    give(new);
    home.fails(&restore, b"", 2, "add the others to the key file");
    home.fails(&copy, b"", 2, "a copy keeps the master key");
    assert!(!home.path("other.db").exists());
    give(&keys);
    home.prints(&restore, "");
    assert_eq!(home.users(&other), home.users(&url));
}

#[test]
fn keys_of_the_environment_are_in_no_file_to_copy() {
    let (home, url) = Home::filled();
    let key = fs::read_to_string(home.path("k.db.master-key")).unwrap();
    let next = format!("{}q6s=", "q6ur".repeat(10));
    let output = home
        .command(&["keys", "rotate", "prepare", "--store", &url])
        .env("KEYPROOF_STORE__MASTER_KEY_BASE64", key + &next)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("give both keys to every node"), "{said}");
}

/// As after the restore of a backup that included only the key in use.
#[test]
fn a_prepared_key_that_is_lost_gives_way_to_another() {
    let (home, url) = Home::filled();
    let key = home.path("k.db.master-key");
    let rotate = |step: &'static str| ["keys", "rotate", step, "--json", "--store", &url];
    let lines = || {
        let text = fs::read_to_string(&key).unwrap();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    // If no key is prepared, none can be lost.
    let none = [&rotate("prepare")[..], &["--lost", "0000000000000000"]].concat();
    home.fails(&none, b"", 2, "no key is prepared");
    let first = home.document(&rotate("prepare"), "");
    assert_eq!(first["in_place_of"], Value::Null);
    let old = lines()[0].clone();
    fs::write(&key, &old).unwrap();
    let lost = first["next"].as_str().unwrap();
    // It may be on another server, so giving it up must be explicit.
    let hint = format!("keyproof keys rotate prepare --lost {lost}");
    for step in ["switch", "prepare"] {
        home.fails(&rotate(step), b"", 2, &hint);
    }
    let wrong = home.run(
        &[&rotate("prepare")[..], &["--lost", "0000000000000000"]].concat(),
        b"",
    );
    assert_eq!(wrong.status.code(), Some(2));
    assert_eq!(lines(), std::slice::from_ref(&old));

    let give_up = ["keys", "rotate", "prepare", "--lost", lost, "--store", &url];
    let said = home.prints(&give_up, "");
    assert!(
        said.contains(&format!("replaces the prepared master key {lost}")),
        "{said}"
    );
    let second = home.document(&rotate("prepare"), "");
    let again = home.document(&[&give_up[..], &["--json"]].concat(), "");
    assert_eq!(again, second);
    let sealing = second["sealing"].as_str().unwrap();
    let wrong = [&rotate("prepare")[..], &["--lost", sealing]].concat();
    home.fails(&wrong, b"", 2, "this is not the prepared key");
    assert_ne!(second["next"], first["next"]);
    assert_eq!(second["sealing"], first["sealing"]);
    let trail = home.prints(&["audit", "--json", "--store", &url], "");
    let next = second["next"].as_str().unwrap();
    assert!(
        trail.contains(&format!("to {next}, in place of {lost}")),
        "{trail}"
    );
    let switched = home.document(&rotate("switch"), "");
    assert_eq!(switched["sealing"], second["next"]);
    let finished = home.document(&rotate("finish"), "");
    assert_eq!(finished["forgotten"][0], first["sealing"]);

    // The old key was not removed from the file, but does not become the next key again.
    let third = home.document(&rotate("prepare"), "");
    assert_ne!(third["next"], first["sealing"]);
    assert_eq!(lines()[0], old);
    assert_eq!(lines().len(), 3);
}

#[test]
fn how_far_a_rotation_is_is_told_at_a_terminal() {
    let (home, url) = Home::filled();
    let rotate = |step: &'static str| ["keys", "rotate", step, "--store", &url];
    home.prints(&rotate("prepare"), "");
    for step in ["switch", "finish"] {
        let terminal = Terminal::open();
        let done = home.command(&rotate(step)).stderr(terminal.end()).output();
        let done = done.unwrap();
        let seen = terminal.seen();
        assert_eq!(done.status.code(), Some(0), "{seen}");
        // The line is redrawn repeatedly, and shows completion at the end.
        let last = seen.trim_end().rsplit('\r').next().unwrap();
        let all = last.trim_end_matches("\u{1b}[K");
        let all = all.strip_prefix(&format!("[{}] ", "#".repeat(30)));
        let all = all.and_then(|all| all.strip_suffix(" records"));
        let (read, of) = all.and_then(|all| all.split_once(" of ")).expect(&seen);
        assert_eq!(read, of);
        assert!(read.parse::<u32>().unwrap() > 5, "{seen}");
        // The approximate total was known from the start.
        let mut drawn = seen.split('\r').filter(|drawn| !drawn.trim().is_empty());
        assert!(drawn.all(|drawn| drawn.contains(" of ")), "{seen}");
    }
    // A script sees only the result.
    let again = home.run(&rotate("finish"), b"");
    assert_eq!(String::from_utf8(again.stderr).unwrap(), "");
}

/// Returns the password as emnify's clients send it: SHA-1, in hexadecimal.
fn digest() -> String {
    let digest = <sha1::Sha1 as sha1::Digest>::digest(PASSWORD);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the status and the document of the answer to a request to emnify's API.
fn asks(node: &Node, line: &str, token: Option<&str>, body: &Value) -> (u16, Value) {
    let bearer = token.map_or_else(String::new, |token| {
        format!("\nAuthorization: Bearer {token}")
    });
    let (status, _, answer) = node.ask(&format!(
        "{line}\nContent-Type: application/json{bearer}\n\n{body}"
    ));
    (status, serde_json::from_str(&answer).unwrap_or_default())
}

/// Submits ada's password, and returns the answer.
fn shows_password(node: &Node) -> Value {
    let body = json!({ "username": "ada", "password": digest() });
    let (status, answer) = asks(node, "POST /api/v1/authenticate", None, &body);
    assert_eq!(status, 200, "{answer}");
    answer
}

/// Logs ada in, and returns her access token.
fn logged_in(node: &Node) -> String {
    let answer = shows_password(node);
    answer["auth_token"].as_str().unwrap().to_owned()
}

/// Restores a backup that was made before a login with a code, and tries the same code again. If used codes are to be valid again,
/// the phone's code at that later time is submitted, because the code has changed meanwhile.
#[test]
fn a_code_that_was_used_after_the_backup_is_not_good_after_the_restore() {
    let (home, url) = Home::filled();
    let node = home.serve(&url);
    let token = logged_in(&node);
    let enrol = json!({ "type": { "id": 0 }, "password": digest() });
    let (status, key) = asks(&node, "POST /api/v1/user/mfa", Some(&token), &enrol);
    assert_eq!(status, 200, "{key}");
    let code = |steps: u64| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let at = (now.as_secs() + steps * 30).to_string();
        let uri = key["otpauth"].as_str().unwrap();
        let code = home.prints(&["otp", "code", "--uri", uri, "--at", &at], "");
        code.trim().to_owned()
    };
    let activate = json!({ "status": { "id": 1 }, "code": code(0) });
    let line = format!("PATCH /api/v1/user/mfa/{}", key["id"]);
    assert_eq!(asks(&node, &line, Some(&token), &activate).0, 204);

    let file = home.path("b.backup");
    home.prints(&["backup", text(&file), "--store", &url], "");
    // The phone's next code is accepted already, and belongs to another step than the first.
    let used = code(1);
    let is_let_in = |node: &Node, code: &str| {
        let asked = shows_password(node)["mfa_token"].clone();
        let body = json!({ "mfa_token": asked, "code": code });
        let (status, answer) = asks(node, "POST /api/v1/authenticate", None, &body);
        assert!(matches!(status, 200 | 401), "{status}: {answer}");
        status == 200
    };
    assert!(is_let_in(&node, &used));
    assert!(!is_let_in(&node, &used), "it is spent");
    for (name, flags, is_good) in [
        ("unspent.db", &["--unspent"][..], true),
        ("restored.db", &[], false),
    ] {
        let other = home.url(name);
        home.copy_key_for(name);
        let restore = [&["restore", text(&file), "--store", &other], flags].concat();
        home.prints(&restore, "");
        let node = home.serve(&other);
        let shown = if is_good { code(1) } else { used.clone() };
        assert_eq!(is_let_in(&node, &shown), is_good, "{name}");
    }
}

fn is_logged_in(node: &Node, token: &str) -> bool {
    let keys = format!("GET /api/v1/user/role\nAuthorization: Bearer {token}");
    let (status, _, body) = node.ask(&keys);
    assert!(matches!(status, 200 | 401), "{status}: {body}");
    status == 200
}

fn end_key<'a>(id: &'a str, url: &'a str) -> [&'a str; 7] {
    ["keys", "signing", "end", id, "--json", "--store", url]
}

#[test]
fn a_signing_key_that_has_leaked_is_ended_while_two_nodes_serve() {
    let (home, url) = Home::filled();
    let nodes = [(); 2].map(|()| home.serve(&url));
    let token = logged_in(&nodes[0]);
    // Both nodes cache it.
    for node in nodes.iter().chain(&nodes) {
        assert!(is_logged_in(node, &token));
    }
    let list = ["keys", "signing", "list", "--json", "--store", &url];
    let listed = home.document(&list, "");
    let [leaked] = &listed.as_array().unwrap()[..] else {
        panic!("{listed}");
    };
    let leaked = leaked.as_str().unwrap().to_owned();
    // A key that was only replaced is valid until it expires, and is listed after its successor.
    let rotate = ["keys", "signing", "rotate", "--json", "--store", &url];
    let rotated = home.document(&rotate, "");
    assert_eq!(rotated["former"], leaked);
    assert_ne!(rotated["signing"], leaked);
    assert!(rotated["published_until"].is_string());
    let listed = home.document(&list, "");
    assert_eq!(listed, json!([rotated["signing"], leaked]));
    for node in &nodes {
        assert!(is_logged_in(node, &token));
    }
    let ended = end_key(&leaked, &url);
    let said = home.document(&ended, "");
    assert_eq!(said["ended"], leaked);
    assert!(said["signing"].is_null(), "another signs already: {said}");
    for node in &nodes {
        assert!(!is_logged_in(node, &token));
        let (_, _, published) = node.ask("GET /keyproof/v1/jwks.json");
        assert!(!published.contains(&leaked));
    }
    let tokens = nodes.each_ref().map(logged_in);
    for (node, token) in nodes.iter().zip(&tokens) {
        assert!(is_logged_in(node, token));
    }
    // The signing key is ended too, and another replaces it.
    let signing = rotated["signing"].as_str().unwrap();
    let said = home.document(&end_key(signing, &url), "");
    assert_eq!(said["ended"], signing);
    let next = said["signing"].as_str().unwrap();
    assert_eq!(home.document(&list, ""), json!([next]));
    for (node, token) in nodes.iter().zip(&tokens) {
        assert!(!is_logged_in(node, token));
        let (_, _, published) = node.ask("GET /keyproof/v1/jwks.json");
        assert!(!published.contains(signing) && published.contains(next));
        assert!(is_logged_in(node, &logged_in(node)));
    }
    let unknown = "no signing key in use or published has this id: `keyproof keys signing list`";
    home.fails(&ended, b"", 1, unknown);
    // An id may start with a hyphen.
    let hyphen = end_key("-j1UgnIz3yHFPjxWoW19LFC5BqshBXT3Md9luCMbGSU", &url);
    home.fails(&hyphen, b"", 1, unknown);
    home.fails(&["keys", "signing", "end", "--store", &url], b"", 2, "KID");
}

#[test]
fn an_export_goes_on_from_any_cursor_that_was_printed() {
    let begun = Instant::now();
    let (home, url) = Home::filled();
    let export = |after: &str| {
        let lines = home.prints(&["audit", "export", "--after", after, "--store", &url], "");
        let lines = lines.lines();
        lines
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .collect::<Vec<_>>()
    };
    let ids = |events: &[Value]| {
        let ids = events.iter().map(|event| event["id"].clone());
        ids.collect::<Vec<_>>()
    };
    let all = export("");
    assert!(all.len() > 2);
    let have_cursors = all.iter().any(|event| !event["cursor"].is_null());
    // Events younger than five minutes have no cursor.
    if begun.elapsed() < Duration::from_secs(290) {
        assert!(!have_cursors, "{all:?}");
    }
    assert_eq!(ids(&export("null")), ids(&all));
    // A cursor from two minutes ago, one from a clock that is some minutes ahead, and one of tomorrow.
    let young = all[0]["id"].as_str().unwrap();
    let (moment, id) = young.split_once('-').unwrap();
    let moment = u64::from_str_radix(moment, 16).unwrap();
    let of = |moment: u64| format!("{moment:016x}-{id}");
    for (cursor, says, comes) in [
        (of(moment - 120_000), "", &all[..]),
        (young.to_owned(), "", &all[1..]),
        (of(moment + 86_400_000), "from the future", &all[..]),
    ] {
        let words = ["audit", "export", "--after", &cursor, "--store", &url];
        let complaint = String::from_utf8(home.run(&words, b"").stderr).unwrap();
        assert_eq!(complaint.is_empty(), says.is_empty(), "{complaint}");
        assert!(complaint.contains(says), "{complaint}");
        assert_eq!(ids(&export(&cursor)), ids(comes));
    }
    let wrong = ["audit", "export", "--after", "nil", "--store", &url];
    home.fails(&wrong, b"", 2, "not a cursor that");
}

/// An id that contains many texts that look like users, in a store in use.
#[test]
fn a_clients_text_stops_no_reader_of_the_trail() {
    let (home, url) = Home::filled();
    let node = home.serve(&url);
    let like: Vec<_> = (0..240)
        .map(|user| format!("1:{user}:0000000000"))
        .collect();
    let id = like.join(" ");
    assert_eq!(Shop::log_in(&node, "shop").add(&node, &id), 204);
    for words in [
        &["audit", "--store", &url][..],
        &["audit", "export", "--names", "--store", &url],
    ] {
        let text = home.prints(words, "");
        let mut lines = text.lines().filter(|line| line.contains("otp_device.add"));
        let line = lines.next().unwrap();
        assert!(line.contains("1:0:0000000000 1:1:0000000000"), "{line}");
        assert!(line.len() < 2_000 && lines.next().is_none(), "{line}");
    }
}

#[test]
fn the_master_key_of_a_database_is_changed_while_two_nodes_serve() {
    let home = Home::new();
    let server = Postgres::shared().unwrap();
    let shared = server.database().unwrap();
    let key = home.path("key");
    write_key(&key, [9; 32]);
    let flags = ["--master-key", text(&key)];
    home.prints(&[&["migrate", "--store", &shared][..], &flags].concat(), "");
    let add = ["instance", "add", "shop", "--stdin", "--store", &shared];
    home.prints(&[&add[..], &flags].concat(), PASSWORD);
    rotates(&home, &shared, &key, &flags, None);
}
