//! Attestations that verifiers must reject, and which verifiers accept them. The README beside the
//! vectors describes their content.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test reports by a panic"
)]

mod event_log_maker;
#[path = "hostile/maker.rs"]
mod maker;
mod software_tpm;
#[path = "hostile/vector.rs"]
mod vector;
mod vectors;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use keyproof_tpm::{Structure, TpmtPublic};
use tempfile::TempDir;

use vector::Vector;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/hostile")
}

/// Returns the vectors in a folder, by file name.
fn read_all(folder: &Path) -> BTreeMap<String, Vector> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.extension().is_some_and(|kind| kind == "json"));
    files
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let vector = serde_json::from_slice(&fs::read(&path).unwrap());
            let vector = vector.unwrap_or_else(|error| panic!("{name}: {error}"));
            (name, Vector(vector))
        })
        .collect()
}

/// Each vector fails exactly the checks that it lists, and its twin, which differs in one thing,
/// passes.
#[test]
fn each_vector_fails_where_it_should_and_its_twin_passes() {
    let hostile = read_all(&folder());
    let sound = read_all(&folder().join("sound"));
    assert!(hostile.len() >= 60, "{}", hostile.len());
    for (name, vector) in &hostile {
        assert_eq!(vector.text("name"), name);
        assert!(!vector.fails().is_empty(), "{name}");
        assert_eq!(
            vector.check(),
            vector.fails(),
            "{name}: {}",
            vector.text("what")
        );
        let twin = &sound[vector.text("twin")];
        assert_eq!(twin.text("kind"), vector.text("kind"), "{name}");
    }
    for (name, vector) in &sound {
        assert_eq!(vector.text("name"), name);
        assert_eq!(vector.check(), [""; 0], "{name}");
    }
    println!(
        "{} hostile vectors, {} sound twins",
        hostile.len(),
        sound.len()
    );
}

/// Regenerates all vectors: `cargo test -p keyproof-tpm --all-features --test hostile --
/// --ignored`.
#[test]
#[ignore = "writes into the source tree"]
fn make_the_vectors() {
    let folder = folder();
    fs::create_dir_all(folder.join("sound")).unwrap();
    for old in read_all(&folder).keys() {
        fs::remove_file(folder.join(format!("{old}.json"))).unwrap();
    }
    for vector in maker::all() {
        let sub = if vector.fails().is_empty() {
            "sound"
        } else {
            "."
        };
        let file = folder
            .join(sub)
            .join(format!("{}.json", vector.text("name")));
        let text = serde_json::to_string_pretty(&vector.0).unwrap() + "\n";
        fs::write(file, text).unwrap();
    }
}

/// Runs `tpm2_checkquote` over the quotes. It gets only the key, the nonce and the registers, so it
/// cannot check the key's attributes, its qualified name, or the earlier counters.
#[test]
fn tpm2_checkquote_is_asked_about_the_quotes() {
    let work = TempDir::new().unwrap();
    let takes = |vector: &Vector| {
        let put = |file: &str, bytes: &[u8]| fs::write(work.path().join(file), bytes).unwrap();
        let ak = TpmtPublic::parse(&vector.bytes("ak").unwrap()).unwrap();
        put("ak", &ak.to_sized_bytes());
        put("attest", &vector.bytes("attest").unwrap());
        put("signature", &vector.bytes("signature").unwrap());
        put("values", &vector.bytes("pcr_values").unwrap());
        let nonce = vector::hex(&vector.bytes("nonce").unwrap());
        let selection = vector.selection();
        let arguments = format!(
            "-u ak -m attest -s signature -g sha256 -q {nonce} -f values -F values -l {selection}"
        );
        let output = Command::new("tpm2_checkquote")
            .args(arguments.split(' '))
            .current_dir(work.path())
            .env("TPM2TOOLS_TCTI", "none")
            .env("TSS2_LOG", "all+none")
            .output();
        let output = output.unwrap_or_else(|error| panic!("tpm2_checkquote: {error}"));
        output.status.success()
    };
    for (name, vector) in read_all(&folder().join("sound")) {
        if vector.text("kind") == "quote" {
            assert!(takes(&vector), "{name}");
        }
    }
    let hostile = read_all(&folder());
    let quotes: Vec<_> = hostile
        .iter()
        .filter(|(_, vector)| vector.text("kind") == "quote")
        .collect();
    let (taken, refused): (Vec<_>, Vec<_>) = quotes.iter().partition(|(_, vector)| takes(vector));
    println!(
        "tpm2_checkquote refuses {} of {} hostile quotes, and takes:",
        refused.len(),
        quotes.len()
    );
    for (name, vector) in taken {
        println!("  {name}: {}", vector.text("what"));
    }
    // Even a verifier with only a bare key must reject these.
    for name in [
        "quote-stale-nonce",
        "quote-signed-by-another-key",
        "quote-other-values",
    ] {
        assert!(!takes(&hostile[name]), "{name}");
    }
}
