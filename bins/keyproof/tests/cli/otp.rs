//! `keyproof otp`

use std::{fs, process::Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::{fails, keyproof, run, text};

/// RFC 6238, appendix B.
const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

fn secret_file(folder: &TempDir, secret: &str) -> String {
    let path = folder.path().join("secret");
    fs::write(&path, secret).unwrap();
    path.to_str().unwrap().to_owned()
}

#[track_caller]
fn prints(arguments: &[&str], expected: &str) {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).trim_end(), expected);
}

#[test]
fn otp_code_prints_the_code() {
    let folder = TempDir::new().unwrap();
    let file = secret_file(&folder, "gezd gnbv gy3t qojq gezd gnbv gy3t qojq\n");
    prints(
        &[
            "otp",
            "code",
            "--secret-file",
            &file,
            "--digits",
            "8",
            "--at",
            "59",
        ],
        "94287082",
    );
    prints(
        &["otp", "code", "--secret-file", &file, "--counter", "9"],
        "520489",
    );
    let uri = format!("otpauth://totp/a?secret={SECRET}&digits=8");
    prints(
        &["otp", "code", "--uri", &uri, "--at", "1111111109"],
        "07081804",
    );

    let output = run(&["otp", "code", "--uri", &uri, "--at", "59", "--json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected = serde_json::json!({ "code": "94287082", "step": 1, "valid_until": 60 });
    assert_eq!(document, expected);
}

#[test]
fn otp_verify_reports() {
    let uri = format!("otpauth://totp/a?secret={SECRET}&digits=8");
    let verify = |code: &str, window: &str| {
        run(&[
            "otp", "verify", "--uri", &uri, "--at", "60", "--window", window, "--json", code,
        ])
    };
    let output = verify("94287082", "1,0");
    assert_eq!(output.status.code(), Some(0));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report.get("accepted"), Some(&true.into()));
    assert_eq!(
        (&report["step"], &report["drift"]),
        (&1.into(), &(-1).into())
    );
    assert_eq!(report["checks"][0]["outcome"], "pass");

    let output = verify("94287082", "0,1");
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report.get("accepted"), Some(&false.into()));
    assert_eq!(report["checks"][0]["outcome"], "fail");

    fails(&verify("9428708", "1,1"), 1, "keyproof: ");
    fails(&verify("94287082", "1"), 2, "two numbers");
}

#[test]
fn otp_uri_builds_what_otp_code_reads() {
    let folder = TempDir::new().unwrap();
    let file = secret_file(&folder, SECRET);
    let arguments = [
        "otp",
        "uri",
        "--secret-file",
        &file,
        "--account",
        "alice",
        "--issuer",
        "ACME",
    ];
    let built = format!("otpauth://totp/ACME:alice?secret={SECRET}&issuer=ACME&digits=6&period=30");
    prints(&arguments, &built);
    prints(&["otp", "code", "--uri", &built, "--at", "59"], "287082");
}

#[test]
fn otp_inputs_that_do_not_parse_end_with_1_and_files_that_cannot_be_read_with_2() {
    let folder = TempDir::new().unwrap();
    let file = secret_file(&folder, "not base32!");
    fails(
        &run(&["otp", "code", "--secret-file", &file]),
        1,
        "keyproof: ",
    );
    fails(
        &run(&["otp", "code", "--uri", "https://example.com"]),
        1,
        "keyproof: ",
    );
    fails(
        &run(&["otp", "code", "--secret-file", "/nonexistent"]),
        2,
        "/nonexistent",
    );
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let folder = TempDir::new().unwrap();
    let file = secret_file(&folder, SECRET);
    let mut child = keyproof(&folder)
        .args(["otp", "code", "--secret-file", &file])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}
