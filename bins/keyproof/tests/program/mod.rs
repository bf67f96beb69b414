//! The program in a process of its own, so that its use of the machine can be measured.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::{
    fs,
    io::{self, BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    thread,
};

use tempfile::TempDir;

/// A running `keyproof serve`, killed at the latest when the test ends.
pub(crate) struct Program {
    home: TempDir,
    child: Option<Child>,
    pub(crate) address: SocketAddr,
}

impl Program {
    /// Starts a server on a new embedded store, with this configuration.
    pub(crate) fn serve(configuration: &str) -> Self {
        let home = TempDir::new().unwrap();
        fs::write(home.path().join("keyproof.toml"), configuration).unwrap();
        let mut program = Self {
            home,
            child: None,
            address: ([127, 0, 0, 1], 0).into(),
        };
        let mut serve = program.command(&["serve", "--listen", "127.0.0.1:0"]);
        let mut child = serve.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        program.child = Some(child);
        let mut line = String::new();
        while !line.starts_with("listening on ") {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "it has ended");
        }
        let address = line.trim_end().rsplit('/').next().unwrap();
        program.address = address.parse().unwrap();
        // A full pipe would stop the server.
        thread::spawn(move || io::copy(&mut log, &mut io::sink()));
        program
    }

    /// Runs a command with one line of input.
    pub(crate) fn run(&self, command: &[&str], line: &str) {
        let mut child = self.command(command).stdin(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        writeln!(input, "{line}").unwrap();
        drop(input);
        assert!(child.wait().unwrap().success());
    }

    /// Returns a command's output.
    pub(crate) fn output(&self, command: &[&str]) -> String {
        let output = self.command(command).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyproof"));
        let home = self.home.path();
        command
            .env_clear()
            .env("HOME", home)
            .args(words)
            .arg("--config")
            .arg(home.join("keyproof.toml"));
        command
    }

    /// Returns its peak memory so far, in MiB.
    pub(crate) fn peak_mib(&self) -> u64 {
        self.memory_mib("VmHWM:")
    }

    /// Returns its current memory, in MiB.
    pub(crate) fn resident_mib(&self) -> u64 {
        self.memory_mib("VmRSS:")
    }

    /// Returns the value of a line in proc(5)'s `status`.
    fn memory_mib(&self, what: &str) -> u64 {
        let child = self.child.as_ref().unwrap();
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.unwrap().trim().parse::<u64>().unwrap() / 1_024
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
