//! Ends a server whose test was killed, and so did not end it.

use std::{
    io,
    path::Path,
    process::{Child, Command, Stdio},
};

/// A shell that waits for the end of its input, which comes when we end, in whatever way.
#[derive(Debug)]
pub(crate) struct Watch(Child);

impl Watch {
    pub(crate) fn over(server: u32, folder: &Path) -> io::Result<Self> {
        let shell = Command::new("sh")
            .args([
                "-c",
                "read -r _; kill -QUIT $0; while kill -0 $0; do sleep 0.1; done; rm -rf \"$1\"",
            ])
            .arg(server.to_string())
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        shell.map(Self)
    }
}

impl Drop for Watch {
    /// Before its server is ended, lest it end another process that has got the same number since.
    fn drop(&mut self) {
        // An error says that it is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
