//! `keyproof demo`

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use super::{keyproof, text};

#[test]
fn the_demo_passes_and_leaves_nothing_behind() {
    let home = TempDir::new().unwrap();
    let demo = |arguments: &[&str]| {
        let mut command = keyproof(&home);
        command
            .env("TMPDIR", home.path())
            .arg("demo")
            .args(arguments);
        command.output().unwrap()
    };
    let told = demo(&[]);
    assert_eq!(told.status.code(), Some(0), "{}", text(&told.stdout));
    assert!(text(&told.stdout).ends_with("Every step passed.\n"));
    let drawn = text(&told.stdout).lines().filter(|line| {
        let blocks = line.chars().filter(|c| "█▀▄ ".contains(*c)).count();
        blocks > 30 && blocks == line.chars().count()
    });
    // Two modules a line, of a code that holds a whole URI.
    assert!(drawn.count() > 15, "{}", text(&told.stdout));

    let output = demo(&["--json"]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(findings["passed"], true);
    let steps = findings["steps"].as_array().unwrap();
    let names: Vec<&str> = steps
        .iter()
        .map(|step| step["name"].as_str().unwrap())
        .collect();
    for walked in [
        "token",
        "device_with_price",
        "idempotent",
        "conflict",
        "readonly_token",
        "preauth_invalid_key",
        "preauth_invalid_device",
        "preauth_granted",
        "provision",
        "activate",
        "ak_certificate",
        "quote",
        "forged_quote",
        "attest_inactive",
        "activation",
        "attest",
        "attest_tampered",
        "revocation",
        "enrol",
        "activate_key",
        "two_steps",
        "same_code_refused",
        "trust_device",
        "one_step",
        "revoke_device",
        "recovery_code",
        "recovery_code_refused",
    ] {
        assert!(names.contains(&walked), "{names:?}");
    }
    assert!(
        steps
            .iter()
            .all(|step| step["passed"] == true && step["detail"].is_string())
    );
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn a_demo_that_fails_says_so() {
    let home = TempDir::new().unwrap();
    let mut command = keyproof(&home);
    let output = command
        .env("TMPDIR", "/nonexistent")
        .args(["demo", "--json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(findings["passed"], false);
    assert_eq!(findings["steps"][0]["passed"], false);
}
