//! Tests that need a special environment, and run themselves again in it.

use std::{env, process::Command};

/// Runs the test with this name again, in a process that the command prepares an environment for, with these libtest flags.
///
/// If no test has the name, libtest reports success after zero tests: that is a failure here.
pub(crate) fn run_again(test: &str, within: &mut Command, flags: &[&str], place: &str) {
    let output = within
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .args(flags)
        .output()
        .expect("unshare, of util-linux");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "{test}, in {place}:\n{stdout}{stderr}"
    );
    eprint!("{stderr}");
}
