//! The program that users start, built as for a release, in a process of its own.

use std::{
    env,
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{Result, usage};

/// The release binary, and the arguments and environment variables of each start.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
}

impl Program {
    /// Returns the binary at this path, or otherwise builds it as for a release.
    pub fn built_or(path: Option<&Path>) -> Result<Self> {
        match path {
            Some(path) => Ok(Self::at(path)),
            None => Self::build(),
        }
    }

    fn build() -> Result<Self> {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        // Removes cargo's variables about our own package, as xtask does: ring is rebuilt whenever they differ.
        for (name, _) in env::vars_os() {
            let of_package = ["CARGO_PKG_", "CARGO_MANIFEST_"];
            if of_package
                .iter()
                .any(|prefix| name.to_string_lossy().starts_with(prefix))
            {
                build.env_remove(name);
            }
        }
        let built = build
            .args(["build", "--locked", "--release"])
            .args(["--package", "keyproof", "--bin", "keyproof"])
            .status()?;
        if !built.success() {
            return Err("the release binary does not build".into());
        }
        // The binary is in the same folder as this program: both are built with the release profile, or should be.
        let this = env::current_exe()?;
        let target = this.parent().and_then(Path::parent);
        let target = target.ok_or("no target folder")?;
        Ok(Self::at(&target.join("release").join("keyproof")))
    }

    fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            arguments: Vec::new(),
            variables: Vec::new(),
        }
    }

    /// Returns the same program on an embedded store at this path.
    pub fn on(&self, store: &Path) -> Self {
        let mut program = self.clone();
        let url = format!("sqlite:{}", store.display());
        program.arguments.extend(["--store".to_owned(), url]);
        program
    }

    /// Returns the same program with an environment variable.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// Runs a command with one line as its input, and returns its output.
    pub fn run(&self, command: &[&str], line: &str) -> Result<String> {
        let mut child = self.command(command).stdin(Stdio::piped()).spawn()?;
        let mut input = child.stdin.take().ok_or("no standard input")?;
        writeln!(input, "{line}")?;
        drop(input);
        let output = child.wait_with_output()?;
        if !output.status.success() {
            return Err(format!("{command:?} has failed").into());
        }
        Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
    }

    /// Starts a server on a free port of the loopback interface.
    pub fn serve(&self) -> Result<Process> {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0"]);
        Process::start(command.stderr(Stdio::piped()))
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command.args(words).args(&self.arguments);
        command
            .envs(self.variables.iter().cloned())
            .stdout(Stdio::piped());
        command
    }
}

/// A server's process.
#[derive(Debug)]
pub struct Process {
    child: Child,
    address: String,
    began: Instant,
}

impl Process {
    /// Starts a server that prints `listening on ADDRESS` to its standard error, which must be a pipe.
    pub fn start(command: &mut Command) -> Result<Self> {
        let began = Instant::now();
        let mut child = command.spawn()?;
        let mut log = BufReader::new(child.stderr.take().ok_or("no standard error")?);
        let mut process = Self {
            child,
            address: String::new(),
            began,
        };
        let mut line = String::new();
        while !line.starts_with("listening on ") {
            line.clear();
            if log.read_line(&mut line)? == 0 {
                return Err("the server has ended".into());
            }
        }
        let address = line.trim_end().rsplit(['/', ' ']).next();
        address.unwrap_or_default().clone_into(&mut process.address);
        // A full pipe would stop the server, so the rest of its log is read and discarded.
        thread::spawn(move || io::copy(&mut log, &mut io::sink()));
        Ok(process)
    }

    /// Returns the address that it listens on, as `IP:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns the time since the start.
    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// Returns the resident memory, in MiB.
    pub fn resident_mib(&self) -> Result<f64> {
        Ok(usage::resident_kib(&self.id())? as f64 / 1_024.0)
    }

    /// Returns the processor time used.
    pub fn processor_time(&self) -> Result<Duration> {
        Ok(Duration::from_secs_f64(usage::processor_time(&self.id())?))
    }

    fn id(&self) -> String {
        self.child.id().to_string()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already ended, unless a measurement failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
