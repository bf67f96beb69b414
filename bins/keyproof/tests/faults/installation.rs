//! An operator's setup: a configuration, a store for it, and commands that run beside the servers.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use keyproof_peer_postgres::Postgres;
use serde_json::Value;
use tempfile::TempDir;

const KEYPROOF: &str = env!("CARGO_BIN_EXE_keyproof");

/// A configuration in a separate folder.
pub(crate) struct Installation {
    folder: TempDir,
    /// The program that serves and runs every command.
    program: PathBuf,
    /// A database that runs as long as an installation needs it.
    _postgres: Option<Arc<Postgres>>,
}

impl Installation {
    /// Creates an installation on a new SQLite file.
    pub(crate) fn on_sqlite() -> Self {
        Self::on_sqlite_in(TempDir::new().unwrap())
    }

    /// The same in this folder.
    pub(crate) fn on_sqlite_in(folder: TempDir) -> Self {
        Self::on_sqlite_of(folder, Path::new(KEYPROOF))
    }

    /// The same, created by this program.
    pub(crate) fn on_sqlite_by(program: &Path) -> Self {
        Self::on_sqlite_of(TempDir::new().unwrap(), program)
    }

    fn on_sqlite_of(folder: TempDir, program: &Path) -> Self {
        let file = folder.path().join("k.db");
        let store = format!("url = \"sqlite:{}\"", file.display());
        let installation = Self::of(folder, program, &store);
        installation.run(&["migrate"], "");
        installation
    }

    /// Creates an installation on a new database of the PostgreSQL server that this process's tests share.
    pub(crate) fn on_postgres() -> Self {
        let postgres = Postgres::shared().unwrap();
        let installation = Self::on_database(&postgres.database().unwrap());
        Self {
            _postgres: Some(postgres),
            ..installation
        }
    }

    /// Creates an installation on the database at this URL, and migrates it.
    pub(crate) fn on_database(url: &str) -> Self {
        Self::on_database_by(Path::new(KEYPROOF), url)
    }

    /// The same, created by this program.
    pub(crate) fn on_database_by(program: &Path, url: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let key = folder.path().join("master-key");
        let mut file = OpenOptions::new();
        let file = file.write(true).create_new(true).mode(0o600).open(&key);
        file.unwrap().write_all(&[42; 32]).unwrap();
        let key = key.display();
        let store = format!("url = \"{url}\"\nmaster_key = \"{key}\"");
        let installation = Self::of(folder, program, &store);
        installation.run(&["migrate"], "");
        installation
    }

    fn of(folder: TempDir, program: &Path, store: &str) -> Self {
        // Rate limits of addresses, keys and services are not tested here.
        let config = format!(
            "[http]\nlisten = \"127.0.0.1:0\"\n\
             [log]\nlevel = \"warn\"\n\
             [store]\n{store}\n\
             [auth]\nargon2_memory_kib = 8\nargon2_iterations = 1\nargon2_insecure_for_tests = true\n\
             address_limit = 0\n\
             [dps]\nmax_certificates = 1000000\n\
             [f5]\nrate_limit_per_minute = 0\n"
        );
        fs::write(folder.path().join("keyproof.toml"), config).unwrap();
        Self {
            folder,
            program: program.to_owned(),
            _postgres: None,
        }
    }

    /// Disables account locks: for tests that guess for longer than a lock lasts, and do not test locks.
    pub(crate) fn without_locks(self) -> Self {
        let config = OpenOptions::new().append(true).open(self.config());
        let text = b"[emnify]\nlockout_failures = 1000000\n";
        config.unwrap().write_all(text).unwrap();
        self
    }

    /// Uses this program for the server and every command from now on.
    pub(crate) fn run_by(&mut self, program: &Path) {
        program.clone_into(&mut self.program);
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn config(&self) -> PathBuf {
        self.folder().join("keyproof.toml")
    }

    /// Returns the program with these arguments, in a separate environment.
    pub(crate) fn keyproof(&self, arguments: &[&str]) -> Command {
        self.program(&self.program, arguments)
    }

    /// The same for another program.
    pub(crate) fn program(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", self.folder.path())
            .args(arguments)
            .arg("--config")
            .arg(self.config());
        command
    }

    /// Returns the output of a command that must succeed, with this standard input.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str], input: &str) -> String {
        let mut child = self
            .keyproof(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A command that reads no input may have ended already.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {complaint}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Returns a new operator's token with this scope.
    pub(crate) fn token(&self, scope: &str) -> String {
        let create = ["token", "create", "--quiet", "--scope", scope];
        self.run(&create, "").trim_end().to_owned()
    }

    /// Returns the whole audit trail, as the command prints it.
    pub(crate) fn trail(&self) -> Vec<Value> {
        let document: Value = serde_json::from_str(&self.run(&["audit", "--json"], "")).unwrap();
        document["events"].as_array().unwrap().clone()
    }
}
