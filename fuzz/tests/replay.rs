//! Runs every committed corpus through its target on the stable toolchain, without libFuzzer.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use keyproof_fuzz::TARGETS;
use toml::{Table, Value};

#[test]
fn corpora_pass() -> io::Result<()> {
    for target in TARGETS {
        let inputs = entries(&Path::new("corpus").join(target.name))?;
        assert!(!inputs.is_empty(), "the corpus of {} is empty", target.name);
        for input in inputs {
            // Shown only if the target panics.
            println!("replaying {}", input.display());
            (target.run)(&fs::read(&input)?);
        }
    }
    Ok(())
}

#[test]
fn each_target_has_a_corpus_and_a_binary() -> io::Result<()> {
    let targets: BTreeSet<String> = TARGETS
        .iter()
        .map(|target| target.name.to_owned())
        .collect();
    assert_eq!(targets.len(), TARGETS.len(), "two targets share a name");
    assert_eq!(names("corpus")?, targets);
    assert_eq!(names("fuzz_targets")?, targets);
    Ok(())
}

#[test]
fn each_target_has_limits_and_its_corpus_keeps_to_them() -> io::Result<()> {
    let limits = limits()?;
    let limited: BTreeSet<&str> = limits.keys().map(String::as_str).collect();
    let targets: BTreeSet<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(limited, targets);
    for target in TARGETS {
        for input in entries(&Path::new("corpus").join(target.name))? {
            let length = fs::metadata(&input)?.len();
            let within = length <= max_len(&limits, target.name);
            assert!(within, "libFuzzer would cut {}", input.display());
        }
    }
    Ok(())
}

#[test]
fn inputs_grow_as_long_as_the_product_reads() -> io::Result<()> {
    let limits = limits()?;
    for (target, read) in [
        ("store_key", keyproof_store::Key::MAX_LEN),
        ("tpm_ek_certificate", keyproof_x509::MAX_UPLOAD_LEN),
        ("tpm_public", usize::from(u16::MAX)),
        ("x509_certificate", keyproof_x509::MAX_UPLOAD_LEN),
        ("x509_upload", keyproof_x509::MAX_UPLOAD_LEN),
    ] {
        assert!(max_len(&limits, target) >= read as u64, "{target}");
    }
    Ok(())
}

/// By target: `cargo xtask fuzz` reads the same file.
fn limits() -> io::Result<Table> {
    let text = fs::read_to_string("src/limits.toml")?;
    text.parse().map_err(io::Error::other)
}

fn max_len(limits: &Table, target: &str) -> u64 {
    let limit = limits.get(target).and_then(|limits| limits.get("max_len"));
    let limit = limit.and_then(Value::as_integer);
    limit
        .and_then(|limit| u64::try_from(limit).ok())
        .unwrap_or(0)
}

/// The entries of a folder by name, without `.rs`.
fn names(folder: &str) -> io::Result<BTreeSet<String>> {
    let paths = entries(Path::new(folder))?;
    let stems = paths.iter().filter_map(|path| path.file_stem());
    Ok(stems
        .map(|stem| stem.to_string_lossy().into_owned())
        .collect())
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect()
}
