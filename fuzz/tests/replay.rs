//! Runs every committed corpus through its target on the stable toolchain, without libFuzzer.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use keyproof_fuzz::TARGETS;

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
