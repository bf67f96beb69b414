//! `keyproof x509`: from a code to an accepted leaf, and what is rejected on the way.

use std::{
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{fails, json_output, keyproof, run, run_line, succeeds, text};

const CA: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../crates/x509/tests/data/p256-ca.pem"
);
const CA_KEY: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../crates/x509/tests/data/p256-ca.key"
);

fn draw_code() -> String {
    let output = run(&["x509", "code"]);
    succeeds(&output).trim_end().to_owned()
}

/// Returns the line that makes a leaf for a new code.
fn prove(ca: &str, ca_key: &str) -> String {
    let code = draw_code();
    format!("x509 prove --ca {ca} --ca-key {ca_key} --code {code}")
}

fn make_leaf(folder: &TempDir, code: &str) -> String {
    let leaf = folder.path().join("leaf.pem").display().to_string();
    let line = format!("x509 prove --ca {CA} --ca-key {CA_KEY} --code {code} --out {leaf}");
    let output = run_line(&line);
    assert_eq!(succeeds(&output), "");
    leaf
}

fn check(leaf: &str, code: &str, more: &[&str]) -> (Option<i32>, Value) {
    let mut arguments = vec![
        "x509", "check", "--ca", CA, "--leaf", leaf, "--code", code, "--json",
    ];
    arguments.extend(more);
    let output = run(&arguments);
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    let report = serde_json::from_slice(&output.stdout).unwrap();
    (output.status.code(), report)
}

fn outcome<'a>(report: &'a Value, name: &str) -> &'a str {
    let checks = report["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == name).unwrap();
    check["outcome"].as_str().unwrap()
}

#[test]
fn codes_are_48_upper_case_digits_and_never_the_same() {
    let code = draw_code();
    assert_eq!(code.len(), 48);
    assert!(code.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F')));
    assert_ne!(code, draw_code());
    let json = json_output(&run(&["x509", "code", "--json"]), 0);
    assert_eq!(json["code"].as_str().unwrap().len(), 48);
}

#[test]
fn the_right_leaf_is_accepted_under_both_policies() {
    let folder = TempDir::new().unwrap();
    let code = draw_code();
    let leaf = make_leaf(&folder, &code);
    for policy in ["default", "strict"] {
        let (exit, report) = check(&leaf, &code, &["--policy", policy]);
        assert_eq!(exit, Some(0), "{report}");
        assert_eq!(report["accepted"], true);
        assert_eq!(report["policy"], policy);
        assert_eq!(outcome(&report, "signature"), "pass");
        assert_eq!(outcome(&report, "code"), "skipped");
        assert_eq!(report["leaf"]["subject"], format!("CN={code}"));
        assert_eq!(report["leaf"]["issuer"], report["ca"]["subject"]);
    }
    let drawn = run_line(&format!("x509 check --ca {CA} --leaf {leaf} --code {code}"));
    assert!(succeeds(&drawn).ends_with("accepted\n"));
}

#[test]
fn another_code_another_time_and_another_leaf_are_refused_each_for_its_reason() {
    let folder = TempDir::new().unwrap();
    let code = draw_code();
    let leaf = make_leaf(&folder, &code);
    let (exit, report) = check(&leaf, &draw_code(), &[]);
    assert_eq!((exit, &report["accepted"]), (Some(1), &Value::Bool(false)));
    assert_eq!(outcome(&report, "common-name"), "fail");
    assert_eq!(outcome(&report, "signature"), "pass");

    let (exit, report) = check(&leaf, &code, &["--at", "1000000000"]);
    assert_eq!(exit, Some(1));
    assert_eq!(outcome(&report, "leaf-validity"), "fail");
    // With `--at` the report does not say "now".
    let tomorrow = (SystemTime::now() + Duration::from_secs(3_600))
        .duration_since(UNIX_EPOCH)
        .unwrap();
    let at = tomorrow.as_secs().to_string();
    for (more, time) in [
        ("", "valid now"),
        (&*format!("--at {at}"), "valid at that time"),
    ] {
        let line = format!("x509 check --ca {CA} --leaf {leaf} --code {code} {more}");
        let output = run_line(&line);
        assert_eq!(text(&output.stdout).matches(time).count(), 2, "{output:?}");
    }

    let (exit, report) = check(CA, &code, &[]);
    assert_eq!(exit, Some(1));
    assert_eq!(outcome(&report, "not-the-ca"), "fail");
}

#[test]
fn no_input_is_replaced_by_the_leaf() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (ca, key) = (path("ca.pem"), path("ca.key"));
    fs::copy(CA, &ca).unwrap();
    fs::copy(CA_KEY, &key).unwrap();
    let line = prove(&ca, &key);
    let prove = |out: &str| run_line(&format!("{line} --out {out}"));
    for input in [&ca, &key] {
        fails(&prove(input), 2, "name another");
    }
    assert_eq!(fs::read(&key).unwrap(), fs::read(CA_KEY).unwrap());
    fails(&prove("-"), 2, "./-");
    fails(&prove("/dev/full"), 1, "No space left");
    let leaf = path("leaf.pem");
    for _ in 0..2 {
        succeeds(&prove(&leaf));
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
}

#[test]
fn the_leaf_goes_to_a_file_that_is_standard_output() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("leaf.pem");
    let mut command = keyproof(&folder);
    command
        .args(prove(CA, CA_KEY).split(' '))
        .args(["--out", "/dev/stdout"]);
    let done = command.stdout(fs::File::create(&path).unwrap()).output();
    succeeds(&done.unwrap());
    let leaf = fs::read_to_string(&path).unwrap();
    assert!(leaf.starts_with("-----BEGIN CERTIFICATE-----"), "{leaf}");
    assert!(leaf.ends_with("-----END CERTIFICATE-----\n"), "{leaf}");
}

#[test]
fn inputs_that_do_not_parse_end_with_1_and_files_that_are_not_there_with_2() {
    let folder = TempDir::new().unwrap();
    let code = draw_code();
    let missing = folder.path().join("missing").display().to_string();
    fails(&run(&["x509", "show", &missing]), 2, "missing");
    fails(&run(&["x509", "show", CA_KEY]), 1, "private key");
    let short = ["--ca-key", CA_KEY, "--code", &code[1..]];
    fails(
        &run(&[&["x509", "prove", "--ca", CA][..], &short].concat()),
        1,
        "47",
    );
    let rubbish = folder.path().join("rubbish");
    fs::write(&rubbish, b"rubbish").unwrap();
    let (exit, report) = check(&rubbish.display().to_string(), &code, &[]);
    assert_eq!(exit, Some(1));
    assert_eq!(outcome(&report, "leaf"), "fail");
}

#[test]
fn a_refusal_names_its_file() {
    let folder = TempDir::new().unwrap();
    let other = folder.path().join("other.key").display().to_string();
    let own = rcgen::generate_simple_self_signed(["other".to_owned()]).unwrap();
    fs::write(&other, own.signing_key.serialize_pem()).unwrap();
    fails(&run_line(&prove(CA, &other)), 1, "other.key: the private");
    fails(&run_line(&prove(CA, CA)), 1, "no RSA, EC or Ed25519 key");
    let request = CA.replace("p256-ca.pem", "tpm2-openssl.csr.der");
    for line in [format!("x509 show {request}"), prove(&request, CA_KEY)] {
        fails(&run_line(&line), 1, "csr.der: signature at byte");
    }
}

/// Nothing leaves the machine, so no key is disclosed.
#[test]
fn a_key_beside_a_certificate_is_no_disclosure() {
    let folder = TempDir::new().unwrap();
    let both = folder.path().join("both.pem").display().to_string();
    let [ca, key] = [CA, CA_KEY].map(|file| fs::read_to_string(file).unwrap());
    fs::write(&both, ca + &key).unwrap();
    let code = draw_code();
    let leaf = make_leaf(&folder, &code);
    for arguments in [
        &["show", &both][..],
        &["check", "--ca", &both, "--leaf", &leaf, "--code", &code],
        &["check", "--ca", CA, "--leaf", &both, "--code", &code],
        &["prove", "--ca", &both, "--ca-key", CA_KEY, "--code", &code],
    ] {
        let output = run(&[&["x509"], arguments].concat());
        fails(&output, 1, "both.pem: it contains a private key");
        assert!(!text(&output.stderr).contains("disclosed"));
    }
}

/// The formats of `openssl rsa -aes256 -traditional` and `openssl pkcs8 -topk8`.
#[test]
fn an_encrypted_key_is_called_so() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(path("cert.pem"), own.cert.pem()).unwrap();
    for (label, header) in [
        (
            "RSA PRIVATE KEY",
            "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00112233445566778899AABBCCDDEEFF\n\n",
        ),
        ("ENCRYPTED PRIVATE KEY", ""),
    ] {
        let key = format!("-----BEGIN {label}-----\n{header}MAA=\n-----END {label}-----\n");
        fs::write(path("a.key"), key).unwrap();
        let prove = run_line(&prove(CA, &path("a.key")));
        fails(&prove, 1, "a.key: the key is encrypted");
        let tls = ["--tls-cert", &path("cert.pem"), "--tls-key", &path("a.key")];
        let check = [&["config", "check", "--store", "memory:"], &tls[..]].concat();
        fails(&run(&check), 2, "a.key: the key is encrypted");
    }
}

#[test]
fn a_leaf_of_a_ca_that_is_none_is_warned_of() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let own = rcgen::generate_simple_self_signed(["none".to_owned()]).unwrap();
    fs::write(path("ca.pem"), own.cert.pem()).unwrap();
    fs::write(path("ca.key"), own.signing_key.serialize_pem()).unwrap();
    let none = run_line(&prove(&path("ca.pem"), &path("ca.key")));
    succeeds(&none);
    let said = text(&none.stderr);
    assert!(said.contains("warning: ca-constraints: "), "{said}");
    let sound = run_line(&prove(CA, CA_KEY));
    assert!(
        !text(&sound.stderr).contains("ca-constraints"),
        "{}",
        text(&sound.stderr)
    );
}

#[test]
fn a_certificate_shows_what_it_says_of_itself() {
    let facts = json_output(&run(&["x509", "show", CA, "--json"]), 0);
    assert_eq!(facts["key_algorithm"], "P-256");
    assert_eq!(facts["self_issued"], true);
    assert_eq!(facts["sha1_thumbprint"].as_str().unwrap().len(), 40);
    let text_form = run(&["x509", "show", CA]);
    assert!(text(&text_form.stdout).contains("key algorithm"));
}
