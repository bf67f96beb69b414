//! A small disk that a test can fill.

use std::{
    env,
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::geteuid;

use crate::inner::run_again;

const INNER: &str = "KEYPROOF_TEST_INNER";

/// Returns whether this is the test itself. Otherwise runs the test in a process with its own mount namespace, whose mounts
/// disappear with the process, however it ends.
pub(crate) fn is_inside(test: &str) -> bool {
    if env::var_os(INNER).is_some() {
        return true;
    }
    let mut unshare = Command::new("unshare");
    if !geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare.arg("--mount").env(INNER, "1");
    let place = "a mount namespace (it takes root, or user namespaces)";
    run_again(test, &mut unshare, &[], place);
    false
}

/// An in-memory file system of a few megabytes, mounted over a folder.
pub(crate) struct Disk {
    ballast: PathBuf,
}

impl Disk {
    pub(crate) fn mount(folder: &Path, bytes: u64) -> Self {
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=0700")])
            .args(["tmpfs".as_ref(), folder.as_os_str()])
            .status()
            .unwrap();
        assert!(status.success(), "a tmpfs cannot be mounted");
        Self {
            ballast: folder.join("ballast"),
        }
    }

    /// Fills it except for this many bytes.
    pub(crate) fn fill(&self, leave: u64) {
        let mut ballast = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.ballast)
            .unwrap();
        let full = loop {
            if let Err(error) = ballast.write_all(&[0; 4096]) {
                break error;
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::StorageFull, "{full}");
        let len = ballast.metadata().unwrap().len();
        ballast.set_len(len.saturating_sub(leave)).unwrap();
    }

    /// Frees the space again.
    pub(crate) fn empty(&self) {
        File::create(&self.ballast).unwrap();
    }
}
