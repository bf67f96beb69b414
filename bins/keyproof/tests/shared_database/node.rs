//! A running server, and requests to it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::sleep,
    time::{Duration, Instant},
};

/// Long enough for any machine: it only ends tests that hang.
const PATIENCE: Duration = Duration::from_secs(120);

/// Repeats a check until it succeeds.
#[track_caller]
pub(crate) fn until(awaited: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < PATIENCE, "waited in vain: {awaited}");
        sleep(Duration::from_millis(10));
    }
}

pub(crate) struct Node {
    child: Child,
    address: String,
    pub(crate) log: Arc<Mutex<String>>,
}

impl Node {
    #[track_caller]
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut node = Self {
            child: command.stderr(Stdio::piped()).spawn().unwrap(),
            address: String::new(),
            log: Arc::default(),
        };
        let mut stderr = BufReader::new(node.child.stderr.take().unwrap());
        let mut said = String::new();
        while node.address.is_empty() {
            let from = said.len();
            let read = stderr.read_line(&mut said).unwrap();
            assert_ne!(read, 0, "the server has ended: {said}");
            if let Some(address) = said[from..].trim_end().strip_prefix("listening on http://") {
                address.clone_into(&mut node.address);
            }
        }
        // Keeps reading, because a full pipe would stop the server.
        let log = Arc::clone(&node.log);
        std::thread::spawn(move || {
            for line in stderr.lines() {
                let mut log = log.lock().unwrap();
                log.push_str(&line.unwrap());
                log.push('\n');
            }
        });
        node
    }

    /// The listener of its metrics, to be asked.
    #[allow(dead_code, reason = "only one of the tests that share this uses it")]
    pub(crate) fn metrics(&self) -> Asked {
        self.wait_until_logged("metrics on http://");
        let log = self.log.lock().unwrap();
        let lines = log
            .lines()
            .filter_map(|line| line.strip_prefix("metrics on http://"));
        let address = lines
            .filter_map(|line| line.strip_suffix("/metrics"))
            .next();
        Asked(address.unwrap().to_owned())
    }

    /// [`Asked::ask`] on the main listener.
    pub(crate) fn ask(&self, request: &str) -> (u16, String, String) {
        Asked(self.address.clone()).ask(request)
    }

    /// Returns the number of log lines that contain this text.
    pub(crate) fn logged(&self, what: &str) -> usize {
        let log = self.log.lock().unwrap();
        log.lines().filter(|line| line.contains(what)).count()
    }

    #[track_caller]
    pub(crate) fn wait_until_logged(&self, what: &str) {
        until(what, || self.logged(what) > 0);
    }

    #[track_caller]
    pub(crate) fn wait_until_ready(&self) {
        until("readyz", || self.ask("GET /readyz").0 == 200);
    }
}

/// A node's listener.
pub(crate) struct Asked(String);

impl Asked {
    /// Returns the answer's status, its head in lower case, and its body. A request is its first line without the version, headers,
    /// an empty line and a body.
    pub(crate) fn ask(&self, request: &str) -> (u16, String, String) {
        let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
        let (line, headers) = head.split_once('\n').unwrap_or((head, ""));
        let headers: String = headers
            .lines()
            .map(|header| format!("{header}\r\n"))
            .collect();
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        );
        let mut socket = TcpStream::connect(&self.0).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_ascii_lowercase(), body.to_owned())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
