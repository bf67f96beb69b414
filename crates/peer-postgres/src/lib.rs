//! A temporary PostgreSQL server for tests and benchmarks: on loopback, in a temporary folder that is removed when the server is
//! dropped.
//!
//! It is a real server with `fsync` on, and as durable as any after [`Postgres::kill`]. It runs as the current user. For root,
//! which PostgreSQL rejects, it runs as `postgres` or `nobody`. Linux only.
#![forbid(unsafe_code)]

mod owner;
mod pooler;
mod port;
mod processes;
mod programs;
mod watch;

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use owner::Owner;
use watch::Watch;

pub use pooler::Pooler;
pub use programs::folder as programs_folder;

/// The start timeout, which is far longer than a server needs.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);
/// The server's superuser.
const USER: &str = "keyproof";

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    owner: Option<Owner>,
    settings: Vec<String>,
    /// A password, so that nobody else on this machine becomes superuser of a server that runs as this user.
    password: String,
    port: u16,
    databases: AtomicU32,
    server: Option<Child>,
    /// Before the folder, because fields drop in order of declaration.
    watch: Option<Watch>,
    folder: TempDir,
}

/// Differences from a server as `initdb` makes it.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    settings: Vec<String>,
    files: Vec<(String, Vec<u8>)>,
}

impl Setup {
    /// Adds a setting as in `postgresql.conf`, effective from the first start on.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push(format!("{name}={value}"));
        self
    }

    /// Adds a file to the data folder that only the server can read, such as a certificate's key, or replaces `pg_hba.conf`.
    pub fn file(mut self, name: &str, contents: impl Into<Vec<u8>>) -> Self {
        self.files.push((name.to_owned(), contents.into()));
        self
    }

    /// Initialises the server and starts it.
    ///
    /// # Errors
    ///
    /// If PostgreSQL is not installed or does not start; the error quotes its log.
    pub fn start(self) -> io::Result<Postgres> {
        let folder = tempfile::Builder::new().prefix("postgres-").tempdir()?;
        let owner = Owner::of_server()?;
        if let Some(owner) = &owner {
            owner.own(folder.path())?;
        }
        let mut postgres = Postgres {
            programs: programs::folder()?,
            owner,
            settings: self.settings,
            password: random_hex()?,
            port: 0,
            databases: AtomicU32::new(0),
            server: None,
            watch: None,
            folder,
        };
        postgres.init()?;
        for (name, contents) in self.files {
            postgres.write(&postgres.data().join(name), &contents)?;
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            postgres.port = port::free()?;
            match postgres.restart() {
                // Another process may have taken the port meanwhile.
                Err(_) if postgres.log()?.contains("Address already in use") => {
                    if Instant::now() > deadline {
                        return Err(io::Error::other("no port is free for long enough"));
                    }
                    fs::remove_file(postgres.log_file())?;
                }
                started => return started.map(|()| postgres),
            }
        }
    }
}

/// How to stop a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Ends every session, then writes a last checkpoint.
    Fast,
    /// Stops at once, like a crash, but sends the standbys what they still lack.
    Immediate,
}

impl Postgres {
    /// Starts a server as `initdb` makes it.
    ///
    /// # Errors
    ///
    /// Same as [`Setup::start`].
    pub fn start() -> io::Result<Self> {
        Setup::default().start()
    }

    /// Returns the server that the tests of this process share. It stops when its last owner drops it. Tests must not kill it.
    ///
    /// # Errors
    ///
    /// Same as [`Setup::start`].
    pub fn shared() -> io::Result<Arc<Self>> {
        static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = shared.upgrade() {
            return Ok(running);
        }
        // Concurrent tests each have several pools.
        let setup = Setup::default().setting("max_connections", "500");
        let started = Arc::new(setup.start()?);
        *shared = Arc::downgrade(&started);
        Ok(started)
    }

    /// Returns the URL of the database `postgres`, with the superuser's name and password.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// Creates an empty database, and returns its URL.
    ///
    /// # Errors
    ///
    /// If the server rejects the connection or the command.
    pub fn database(&self) -> io::Result<String> {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.run(
            self.program("createdb")
                .args(["--maintenance-db", &self.url(), &name]),
        )?;
        Ok(self.url_of(&name))
    }

    /// Returns the command for a PostgreSQL program, such as `psql` or `pgbench`, of the server's version.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        if let Some(libraries) = programs::libraries(&self.programs) {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command
    }

    /// Returns the port that it listens on, on 127.0.0.1. It does not change at a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the process id of the postmaster, whose children serve the connections, or `None` while it is stopped.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Child::id)
    }

    /// Returns everything that the server has written to its log.
    ///
    /// # Errors
    ///
    /// If the log cannot be read.
    pub fn log(&self) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(self.log_file())?).into_owned())
    }

    /// Kills the postmaster with SIGKILL, after which its children end too. Returns when the last of them has ended, and with it
    /// the shared memory.
    ///
    /// # Errors
    ///
    /// If one of them does not end.
    pub fn kill(&mut self) -> io::Result<()> {
        self.watch = None;
        if let Some(mut server) = self.server.take() {
            server.kill()?;
            server.wait()?;
        }
        self.wait_for_the_last()
    }

    /// Stops the server. Returns when the last of its processes has ended.
    ///
    /// # Errors
    ///
    /// If one of them does not end.
    pub fn stop(&mut self, how: Stop) -> io::Result<()> {
        self.watch = None;
        if let Some(mut server) = self.server.take() {
            let signal = match how {
                Stop::Fast => Signal::INT,
                Stop::Immediate => Signal::QUIT,
            };
            kill_process(Pid::from_child(&server), signal)?;
            server.wait()?;
        }
        self.wait_for_the_last()
    }

    /// Makes a standby of this server and starts it: a copy that replicates continuously, under `name`, until it is promoted. It
    /// has the same databases, users and passwords. As a primary it would wait for no standby of its own.
    ///
    /// # Errors
    ///
    /// If it cannot be copied or does not start.
    pub fn standby(&self, name: &str) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("postgres-").tempdir()?;
        let owner = Owner::of_server()?;
        if let Some(owner) = &owner {
            owner.own(folder.path())?;
        }
        let mut standby = Self {
            programs: self.programs.clone(),
            owner,
            settings: self.settings.clone(),
            password: self.password.clone(),
            port: port::free()?,
            databases: AtomicU32::new(self.databases.load(Ordering::Relaxed)),
            server: None,
            watch: None,
            folder,
        };
        standby
            .settings
            .push("synchronous_standby_names=".to_owned());
        let mut copy = standby.as_owner("pg_basebackup");
        copy.args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync"])
            .arg("--dbname")
            .arg(format!("{}?application_name={name}", self.url()))
            .arg("--pgdata")
            .arg(standby.data());
        standby.run(&mut copy)?;
        standby.restart()?;
        Ok(standby)
    }

    /// Promotes a standby to primary. Returns when it accepts writes.
    ///
    /// # Errors
    ///
    /// If it is not a standby, or the promotion fails.
    pub fn promote(&self) -> io::Result<()> {
        let mut promote = self.as_owner("pg_ctl");
        promote
            .args(["promote", "--wait", "--silent", "--pgdata"])
            .arg(self.data());
        self.run(&mut promote)
    }

    /// Returns the URL of this server's copy of the database at `url`.
    pub fn url_of_copy(&self, url: &str) -> String {
        let database = url.rsplit('/').next().unwrap_or_default();
        self.url_of(database)
    }

    /// Starts the server again, after [`Postgres::kill`], with the same data and port. Returns when it accepts connections.
    ///
    /// # Errors
    ///
    /// If it does not start; the error quotes its log.
    pub fn restart(&mut self) -> io::Result<()> {
        if self.server.is_some() {
            return Err(io::Error::other("the server runs"));
        }
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_file())?;
        let mut command = self.as_owner("postgres");
        command.arg("-D").arg(self.data());
        for setting in [
            "fsync=on",
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            &format!("port={}", self.port),
        ] {
            command.args(["-c", setting]);
        }
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let server = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let pid = server.id();
        self.server = Some(server);
        self.watch = Some(Watch::over(pid, self.folder.path())?);
        self.wait_until_ready()
    }

    fn init(&self) -> io::Result<()> {
        let password = self.folder.path().join("password");
        self.write(&password, self.password.as_bytes())?;
        let mut initdb = self.as_owner("initdb");
        initdb
            .args(["--encoding=UTF8", "--no-locale", "--no-instructions"])
            // Only the files that `initdb` itself writes are not synced.
            .arg("--no-sync")
            // Not SCRAM, which is expensive on purpose, especially in unoptimised builds.
            .args(["--auth=password", "--username", USER])
            .arg("--pwfile")
            .arg(&password)
            .arg("-D")
            .arg(self.data());
        self.run(&mut initdb)
    }

    /// Waits until the server is ready. The first line of `postmaster.pid` is the process id, and the eighth is the state.
    fn wait_until_ready(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while let Some(server) = &mut self.server {
            if let Some(status) = server.try_wait()? {
                self.server = None;
                return Err(self.failed(&format!("ended: {status}")));
            }
            let pid = server.id().to_string();
            let state = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
            let mut lines = state.lines().map(str::trim);
            if lines.next() == Some(&pid) && lines.nth(6) == Some("ready") {
                return Ok(());
            }
            if Instant::now() > deadline {
                break;
            }
            sleep(PAUSE);
        }
        Err(self.failed("does not start"))
    }

    fn wait_for_the_last(&self) -> io::Result<()> {
        let data = self.data();
        let deadline = Instant::now() + PATIENCE;
        while processes::any_in(&data)? {
            if Instant::now() > deadline {
                return Err(self.failed("leaves processes behind"));
            }
            sleep(PAUSE);
        }
        Ok(())
    }

    fn failed(&self, how: &str) -> io::Error {
        let log = self.log().unwrap_or_default();
        io::Error::other(format!("PostgreSQL {how}; its log:\n{log}"))
    }

    fn run(&self, command: &mut Command) -> io::Result<()> {
        let output = command.stdin(Stdio::null()).output()?;
        if output.status.success() {
            return Ok(());
        }
        let program = Path::new(command.get_program()).display();
        let words = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("{program} failed: {words}")))
    }

    fn as_owner(&self, program: &str) -> Command {
        let mut command = self.program(program);
        // The server's user may have no access to the current folder.
        command.current_dir(self.folder.path());
        if let Some(owner) = &self.owner {
            owner.runs(&mut command);
        }
        command
    }

    fn write(&self, path: &Path, contents: &[u8]) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        fs::write(path, contents)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        self.owner.as_ref().map_or(Ok(()), |owner| owner.own(path))
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn url_of(&self, database: &str) -> String {
        let (password, port) = (&self.password, self.port);
        format!("postgres://{USER}:{password}@127.0.0.1:{port}/{database}")
    }
}

impl Drop for Postgres {
    /// The data is not needed any more, so no last checkpoint is written.
    fn drop(&mut self) {
        self.watch = None;
        if let Some(mut server) = self.server.take() {
            // An error means that it has ended already.
            let _ = kill_process(Pid::from_child(&server), Signal::QUIT);
            let _ = server.wait();
        }
        // Otherwise the remaining processes write into a folder that is being removed.
        let _ = self.wait_for_the_last();
    }
}

fn random_hex() -> io::Result<String> {
    let mut bytes = [0; 16];
    io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    }))
}
