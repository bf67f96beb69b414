//! Real clients for Python. Each runs in its own virtual environment below `target/`, made at the first run.
//!
//! A missing tool fails the test; nothing is skipped.
#![allow(clippy::panic, clippy::unwrap_used, reason = "test code")]

use std::{fs, path::Path, process::Command};

/// Returns the command for `client.py` in a peer's folder, with exactly the packages of its `requirements.txt`.
pub(crate) fn client(peer: &str) -> Command {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(peer);
    let requirements = sources.join("requirements.txt");
    let wanted = fs::read_to_string(&requirements).unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(peer);
    let python = folder.join("bin/python");
    let installed = folder.join("installed.txt");
    if fs::read_to_string(&installed).ok().as_ref() != Some(&wanted) {
        run(
            Command::new("python3")
                .args(["-m", "venv", "--clear"])
                .arg(&folder),
            "install the packages python3 and python3-venv",
        );
        run(
            Command::new(&python)
                .args(["-m", "pip", "install", "--quiet"])
                .args(["--disable-pip-version-check", "--require-hashes"])
                .args(["--only-binary", ":all:", "--requirement"])
                .arg(&requirements),
            "let pip reach its package index",
        );
        // Written last, so that an interrupted installation is repeated.
        fs::write(&installed, wanted).unwrap();
    }
    let mut client = Command::new(python);
    client.arg(sources.join("client.py"));
    client
}

fn run(command: &mut Command, remedy: &str) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; {remedy}"));
    assert!(
        output.status.success(),
        "{command:?}: {}; {remedy}",
        String::from_utf8_lossy(&output.stderr)
    );
}
