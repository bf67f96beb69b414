//! Keylime's functions on attestations that verifiers should reject: a comparison of which verifier accepts what.

use std::path::Path;

use crate::python;

#[test]
fn keylime_is_asked_about_the_hostile_attestations() {
    let vectors =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/tpm/tests/vectors/hostile");
    let mut client = python::client("peers/keylime");
    let output = client.arg(&vectors).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    print!("{told}");
    assert!(
        output.status.success(),
        "{told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // The README's statements are correct.
    let page = std::fs::read_to_string(vectors.join("README.md")).unwrap();
    let counts: Vec<&str> = told
        .lines()
        .filter(|line| !line.starts_with("  "))
        .collect();
    assert_eq!(counts.len(), 4, "{told}");
    for line in counts {
        assert!(page.contains(line), "{line}");
    }
}
