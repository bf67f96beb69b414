//! Runs every input of `corpus/` and `regressions/` through its target on the stable toolchain, without libFuzzer.

use std::{
    collections::BTreeSet,
    fs, io,
    path::Path,
    thread::{self, Builder},
};

use crate::{TARGETS, Target};

/// Runs the targets in parallel, each in a thread with its name, which a panic message begins with.
#[test]
fn inputs_pass() {
    thread::scope(|scope| {
        for target in TARGETS {
            let (name, _) = target;
            let thread = Builder::new().name((*name).to_owned());
            let replay = || replay(target).expect("inputs are read");
            thread.spawn_scoped(scope, replay).expect("a thread");
        }
    });
}

fn replay((name, run): &Target) -> io::Result<()> {
    for folder in ["corpus", "regressions"] {
        for input in entries(&Path::new(folder).join(name))? {
            // Shown only if a target panics; the last line then names the input.
            println!("replaying {folder}/{name}/{input}");
            run(&fs::read(Path::new(folder).join(name).join(&input))?);
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

/// Returns the names of a folder's entries, none if the folder does not exist.
fn entries(folder: &Path) -> io::Result<BTreeSet<String>> {
    if !folder.exists() {
        return Ok(BTreeSet::new());
    }
    let entries = fs::read_dir(folder)?;
    entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}
