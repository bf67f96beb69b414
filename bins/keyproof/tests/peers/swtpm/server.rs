//! `keyproof serve` as a process, an operator's token, and a client that speaks HTTP as text.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, ChildStderr, Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) struct Server {
    home: TempDir,
    child: Child,
    /// Kept open: a server may say more.
    _stderr: BufReader<ChildStderr>,
    address: String,
    token: String,
}

impl Server {
    /// Starts a server on a store of its own.
    pub(crate) fn start() -> Self {
        let home = TempDir::new().unwrap();
        let mut child = program(&home)
            .args(["serve", "--listen", "127.0.0.1:0"])
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
            if let Some(address) = line.trim_end().strip_prefix("listening on http://") {
                break address.to_owned();
            }
        };
        let mut create = program(&home);
        let token = create
            .args(["token", "create", "--scope", "tpm", "--quiet"])
            .output()
            .unwrap();
        assert!(token.status.success());
        Self {
            token: String::from_utf8(token.stdout)
                .unwrap()
                .trim_end()
                .to_owned(),
            home,
            child,
            _stderr: stderr,
            address,
        }
    }

    /// Posts JSON, and returns the answer's, which must be a success.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        let mut socket = TcpStream::connect(&self.address).unwrap();
        let (body, token) = (body.to_string(), &self.token);
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: APIToken {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// Runs a command with blank-separated arguments in a folder.
    pub(crate) fn keyproof(&self, folder: &Path, line: &str) -> Output {
        let mut command = program(&self.home);
        command.args(line.split_whitespace()).current_dir(folder);
        command.output().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, in an environment of its own.
fn program(home: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyproof"));
    command.env_clear().env("HOME", home.path());
    command
}
