//! A server as a process that can be killed.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// Long enough for any machine: it only ends tests that hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// A running `keyproof serve`, killed when it is dropped.
pub(crate) struct Node {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Node {
    /// Starts it, and waits until it listens.
    #[track_caller]
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null());
        Self::start_with(command)
    }

    /// Starts it with the command's own standard input.
    #[track_caller]
    pub(crate) fn start_with(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (listening, told) = mpsc::channel();
        // Keeps reading to the end, because a full pipe would stop the server.
        let log = thread::spawn(move || {
            let mut log = Vec::new();
            for line in lines.map_while(Result::ok) {
                if let Some(address) = line.strip_prefix("listening on http://") {
                    // Nobody waits any more if it took too long.
                    let _ = listening.send(address.parse().unwrap());
                }
                log.push(line);
            }
            log
        });
        match told.recv_timeout(PATIENCE) {
            Ok(address) => Self { child, address },
            Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                panic!("the server does not start: {:#?}", log.join().unwrap());
            }
        }
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub(crate) fn ends_well(&mut self) {
        assert!(self.child.wait().unwrap().success());
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

/// Kills the process with SIGKILL.
impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
