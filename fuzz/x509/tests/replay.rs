//! Runs every input of `corpus/` and `regressions/` through its target on the stable toolchain, without libFuzzer.

use std::collections::BTreeSet;
use std::path::Path;
use std::{fs, io};

use keyproof_fuzz_x509::TARGETS;

#[test]
fn inputs_pass() -> io::Result<()> {
    for (name, run) in TARGETS {
        for folder in ["corpus", "regressions"] {
            for input in entries(&Path::new(folder).join(name))? {
                // Shown only if the target panics.
                println!("replaying {folder}/{name}/{input}");
                run(&fs::read(Path::new(folder).join(name).join(&input))?);
            }
        }
    }
    Ok(())
}

#[test]
fn each_target_has_a_binary_and_a_corpus() -> io::Result<()> {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let binaries = entries(Path::new("fuzz_targets"))?;
    let binaries = binaries
        .iter()
        .map(|file| file.trim_end_matches(".rs").to_owned());
    assert_eq!(binaries.collect::<BTreeSet<_>>(), targets);
    assert_eq!(entries(Path::new("corpus"))?, targets);
    for target in &targets {
        assert!(
            !entries(&Path::new("corpus").join(target))?.is_empty(),
            "the corpus of {target} is empty"
        );
    }
    Ok(())
}

/// The names of what a folder has; nothing if there is none.
fn entries(folder: &Path) -> io::Result<BTreeSet<String>> {
    if !folder.exists() {
        return Ok(BTreeSet::new());
    }
    let entries = fs::read_dir(folder)?;
    entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}
