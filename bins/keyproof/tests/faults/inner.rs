//! Tests that need surroundings of their own, and run themselves again there.

use std::{env, process::Command};

/// Runs the test of this name once more, in a process that the command makes surroundings for, with these flags of
/// libtest's.
///
/// Of a name that no test has, libtest says that all of nothing passed: that is a failure here.
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
