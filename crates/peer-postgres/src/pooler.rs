//! PgBouncer in front of a server, with settings that can be changed.

use std::{
    env, fs, io,
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Instant,
};

use tempfile::TempDir;

use crate::{PATIENCE, PAUSE, Postgres, owner::Owner, port, watch::Watch};

/// Debian's folder for it, which is only on root's path.
const FOLDER: &str = "/usr/sbin";

/// A running pooler, which accepts every client.
#[derive(Debug)]
pub struct Pooler {
    owner: Option<Owner>,
    /// The connection string for the server.
    upstream: String,
    server_port: u16,
    port: u16,
    child: Option<Child>,
    /// Before the folder, because fields drop in order of declaration.
    watch: Option<Watch>,
    folder: TempDir,
}

impl Pooler {
    /// Starts a pooler in front of `server`, with lines for the section `[pgbouncer]`, such as `pool_mode=session`.
    ///
    /// # Errors
    ///
    /// If PgBouncer is not installed or does not start.
    pub fn before(server: &Postgres, settings: &[&str]) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("pgbouncer-").tempdir()?;
        let owner = Owner::of_server()?;
        if let Some(owner) = &owner {
            owner.own(folder.path())?;
        }
        let (user, password) = (crate::USER, &server.password);
        let mut pooler = Self {
            owner,
            upstream: format!(
                "host=127.0.0.1 port={} user={user} password={password}",
                server.port()
            ),
            server_port: server.port(),
            port: port::free()?,
            child: None,
            watch: None,
            folder,
        };
        pooler.restart_with(settings)?;
        Ok(pooler)
    }

    /// Returns the URL of the same database through the pooler.
    pub fn url(&self, url: &str) -> String {
        url.replace(
            &format!(":{}/", self.server_port),
            &format!(":{}/", self.port),
        )
    }

    /// Stops the pooler, which ends all its connections, and starts it on the same port with other settings.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub fn restart_with(&mut self, settings: &[&str]) -> io::Result<()> {
        self.stop();
        let path = self.folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = {}\n[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port={}\nunix_socket_dir=\n\
             auth_type=any\n{}\n",
            self.upstream,
            self.port,
            settings.join("\n")
        );
        fs::write(&path, text)?;
        if let Some(owner) = &self.owner {
            owner.own(&path)?;
        }
        let log = fs::File::create(self.folder.path().join("log"))?;
        let mut command = Command::new(program()?);
        if let Some(owner) = &self.owner {
            owner.runs(&mut command);
        }
        let child = command
            .arg("--quiet")
            .arg(&path)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let pid = child.id();
        self.child = Some(child);
        self.watch = Some(Watch::over(pid, self.folder.path())?);
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            let ended = match &mut self.child {
                Some(child) => child.try_wait()?.is_some(),
                None => true,
            };
            if ended || Instant::now() > deadline {
                let log = fs::read(self.folder.path().join("log"))?;
                let log = String::from_utf8_lossy(&log);
                return Err(io::Error::other(format!(
                    "PgBouncer does not start; its log:\n{log}"
                )));
            }
            sleep(PAUSE);
        }
        Ok(())
    }

    fn stop(&mut self) {
        self.watch = None;
        if let Some(mut child) = self.child.take() {
            // An error means that it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        self.stop();
    }
}

fn program() -> io::Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders = env::split_paths(&path).chain([PathBuf::from(FOLDER)]);
    let found = folders.find_map(|folder| is_file(&folder.join("pgbouncer")));
    let missing = "no PgBouncer (`cargo xtask test tools` installs it)";
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, missing))
}

fn is_file(path: &Path) -> Option<PathBuf> {
    path.is_file().then(|| path.to_owned())
}
