//! cargo-fuzz's own commands for each package: on nightly, with the address sanitiser.

use std::{fs, path::Path, process::Command};

use super::harness::{FEW_RUNS, Harness, UNITS};
use crate::{
    failure::Failure,
    process::{output, run},
    tools::{self, Toolchain, need_cargo_tool, need_programs},
    workspace,
};

/// The folder for the corpora that the commands may change.
const CORPORA: &str = "target/fuzz-verbs";

/// Runs `list` and `build` for a package, then `run`, `cmin` and `coverage` for its first target, with a copy of its
/// corpus.
pub(crate) fn try_out(harnesses: &[Harness]) -> Result<(), Failure> {
    need_programs(tools::FUZZING)?;
    need_cargo_tool(&tools::CARGO_FUZZ)?;
    let nightly = Toolchain::nightly()?;
    nightly.need_component("llvm-tools")?;
    for harness in harnesses {
        each(harness, &nightly)?;
    }
    println!(
        "\n{} packages: list, build, run, cmin and coverage work",
        harnesses.len()
    );
    Ok(())
}

fn each(harness: &Harness, nightly: &Toolchain) -> Result<(), Failure> {
    let verb = |verb: &str| {
        let mut command = nightly.cargo(["fuzz", verb, "--fuzz-dir"]);
        // Bundled SQLite triggers it, as the page on fuzzing explains.
        command
            .arg(&harness.folder)
            .env("ASAN_OPTIONS", "detect_odr_violation=0");
        command
    };
    let targets = harness.targets()?;
    let listed = output(&mut verb("list"))?;
    if !listed
        .lines()
        .eq(targets.iter().map(|target| target.name.as_str()))
    {
        let problem = format!("cargo fuzz lists other targets:\n{listed}");
        return Err(Failure::wrong(&harness.folder, problem));
    }
    run(verb("build").args(UNITS))?;
    let Some(target) = targets.first() else {
        return Ok(());
    };
    let corpus = Path::new(CORPORA).join(&target.name);
    // `run` adds to a corpus, and `cmin` removes from it.
    workspace::empty(&corpus)?;
    run(Command::new("cp")
        .arg("-r")
        .arg(target.corpus().join("."))
        .arg(&corpus))?;
    run(verb("run")
        .args(UNITS)
        .arg(&target.name)
        .arg(&corpus)
        .args(["--", FEW_RUNS])
        .args(target.options()?.flags(1)))?;
    minimised(&corpus, verb("cmin").args(UNITS).arg(&target.name))?;
    let profile = harness.folder.join("coverage").join(&target.name);
    let profile = profile.join("coverage.profdata");
    if profile.exists() {
        fs::remove_file(&profile).map_err(Failure::at(&profile))?;
    }
    run(verb("coverage").args(UNITS).arg(&target.name).arg(&corpus))?;
    if profile.is_file() {
        Ok(())
    } else {
        Err(Failure::wrong(&profile, "coverage left no profile"))
    }
}

/// Checks that `cmin` worked: it succeeds even if libFuzzer failed, but then a duplicate input remains.
fn minimised(corpus: &Path, cmin: &mut Command) -> Result<(), Failure> {
    let Some(input) = workspace::entries(corpus)?.into_iter().next() else {
        return Err(Failure::wrong(corpus, "is empty"));
    };
    let copy = corpus.join("copy");
    workspace::copy(input, &copy)?;
    run(cmin.arg(corpus))?;
    let is_left = !workspace::entries(corpus)?.is_empty();
    if is_left && !copy.exists() {
        Ok(())
    } else {
        Err(Failure::wrong(corpus, "cmin did not minimise it"))
    }
}
