//! `keyproof serve` as a process, an operator's token, and a client that sends HTTP as text.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, ChildStderr, Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// The base of the CRL's URL in certificates.
pub(crate) const PUBLIC_URL: &str = "http://tpm.example.com";

pub(crate) struct Server {
    home: TempDir,
    child: Child,
    /// Kept open, because the server may write more.
    stderr: BufReader<ChildStderr>,
    address: String,
    token: String,
}

impl Server {
    /// Starts a server on a new store.
    pub(crate) fn start() -> Self {
        let home = TempDir::new().unwrap();
        let (child, stderr, address) = serve(&home, &[]);
        let mut server = Self {
            token: String::new(),
            home,
            child,
            stderr,
            address,
        };
        server.token = server.token("tpm");
        server
    }

    /// Restarts it on the same store, with TLS flags and with client certificates requested.
    pub(crate) fn restart(&mut self, flags: &[&str]) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        (self.child, self.stderr, self.address) = serve(&self.home, flags);
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Returns a new token.
    pub(crate) fn token(&self, scope: &str) -> String {
        let line = format!("token create --scope {scope} --quiet");
        let token = self.keyproof(self.home.path(), &line);
        assert!(token.status.success());
        String::from_utf8(token.stdout)
            .unwrap()
            .trim_end()
            .to_owned()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Posts JSON, and returns the JSON of the answer, which must be a success.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        serde_json::from_slice(&self.send("POST", path, &body.to_string())).unwrap()
    }

    /// Puts JSON, which must succeed.
    pub(crate) fn put(&self, path: &str, body: &Value) {
        self.send("PUT", path, &body.to_string());
    }

    /// Deletes what is at this path, which must succeed.
    pub(crate) fn delete(&self, path: &str) {
        self.send("DELETE", path, "");
    }

    /// Returns the body at this path.
    pub(crate) fn get(&self, path: &str) -> Vec<u8> {
        self.send("GET", path, "")
    }

    fn send(&self, method: &str, path: &str, body: &str) -> Vec<u8> {
        let mut socket = TcpStream::connect(&self.address).unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: APIToken {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.token,
            body.len()
        );
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with("HTTP/1.1 200 "), "{path}: {text}");
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n");
        answer.split_off(head.unwrap() + 4)
    }

    /// Runs a command with blank-separated arguments in a folder.
    pub(crate) fn keyproof(&self, folder: &Path, line: &str) -> Output {
        self.command(folder, line).output().unwrap()
    }

    /// Returns a command with blank-separated arguments in a folder.
    pub(crate) fn command(&self, folder: &Path, line: &str) -> Command {
        let mut command = program(&self.home);
        command.args(line.split_whitespace()).current_dir(folder);
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a server. Returns the process, its standard error and its address.
fn serve(home: &TempDir, flags: &[&str]) -> (Child, BufReader<ChildStderr>, String) {
    let mut child = program(home)
        .args(["serve", "--listen", "127.0.0.1:0"])
        .args(flags)
        .env("KEYPROOF_F5__PUBLIC_URL", PUBLIC_URL)
        .envs((!flags.is_empty()).then_some(("KEYPROOF_F5__CLIENT_CERTIFICATES", "true")))
        // A listener that requests client certificates serves no site.
        .envs((!flags.is_empty()).then_some(("KEYPROOF_ACCOUNT__ENABLED", "false")))
        .envs((!flags.is_empty()).then_some(("KEYPROOF_CONSOLE__ENABLED", "false")))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let address = loop {
        let mut line = String::new();
        assert_ne!(
            stderr.read_line(&mut line).unwrap(),
            0,
            "the server has ended"
        );
        if let Some((_, address)) = line.trim_end().split_once("listening on http")
            && let Some((_, address)) = address.split_once("://")
        {
            break address.to_owned();
        }
    };
    (child, stderr, address)
}

/// Returns the program's command with a separate environment.
fn program(home: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyproof"));
    command.env_clear().env("HOME", home.path());
    command
}
