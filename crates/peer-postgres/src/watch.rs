//! Stops a server whose test was killed and so could not stop it.

use std::{
    io,
    path::Path,
    process::{Child, Command, Stdio},
};

/// A shell that waits for the end of its input, which comes when this process ends, however it ends.
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
    /// Dropped before the server is stopped, so that it does not kill another process that has got the same id since.
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
