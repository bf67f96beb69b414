//! What an operator sets up once: a configuration, a store under it, and commands beside the servers.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// A configuration in a folder of its own.
pub(crate) struct Installation {
    folder: TempDir,
}

impl Installation {
    /// On a new SQLite file.
    pub(crate) fn on_sqlite() -> Self {
        Self::on_sqlite_in(TempDir::new().unwrap())
    }

    /// The same in this folder.
    pub(crate) fn on_sqlite_in(folder: TempDir) -> Self {
        let store = format!("sqlite:{}", folder.path().join("k.db").display());
        Self::of(folder, &store)
    }

    fn of(folder: TempDir, store: &str) -> Self {
        // What an address or a service may do is not what is tried here.
        let config = format!(
            "[http]\nlisten = \"127.0.0.1:0\"\n\
             [log]\nlevel = \"warn\"\n\
             [store]\nurl = \"{store}\"\n\
             [auth]\nargon2_memory_kib = 8\nargon2_iterations = 1\nargon2_insecure_for_tests = true\n\
             [dps]\nmax_certificates = 1000000\n\
             [emnify]\nauthenticate_limit = 0\n"
        );
        fs::write(folder.path().join("keyproof.toml"), config).unwrap();
        Self { folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The program with these arguments, in an environment of its own.
    pub(crate) fn keyproof(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyproof"));
        command
            .env_clear()
            .env("HOME", self.folder.path())
            .args(arguments)
            .arg("--config")
            .arg(self.folder.path().join("keyproof.toml"));
        command
    }

    /// What a command prints that must succeed and is told this on standard input.
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
        // One that reads nothing may have ended already.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {complaint}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The whole audit trail, as the command prints it.
    pub(crate) fn trail(&self) -> Vec<Value> {
        let document: Value = serde_json::from_str(&self.run(&["audit", "--json"], "")).unwrap();
        document["events"].as_array().unwrap().clone()
    }
}
