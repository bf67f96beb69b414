//! The previous release for the upgrade test: built from its commit, and cached by it below `target/`.

use std::{fs, path::PathBuf, process::Command};

use crate::{
    failure::Failure,
    process::{cargo, extract, run, run_named_tests, status},
    test::Ran,
    tools::{self, need_programs},
    workspace,
};

/// The last commit whose SQLite schema is 1.
const COMMIT: &str = "033d30bd1f89f0bc701f1e55d35f52886b5748c2";

/// The variable with the path of its program (`bins/keyproof/tests/faults/upgrade.rs`).
const PROGRAM: &str = "KEYPROOF_RELEASE_BEFORE";

/// Runs servers of both releases on one store under load. Runs nothing if the clone does not contain the commit.
pub(crate) fn test() -> Result<Ran, Failure> {
    let is_there = status(Command::new("git").args(["cat-file", "-e", COMMIT]))?;
    if !is_there.success() {
        println!("{COMMIT} is not in this clone: nothing was run by the release before");
        return Ok(Ran::NotRun);
    }
    need_programs(tools::PEERS)?;
    let before = release_before()?;
    run_named_tests(
        workspace::integration_tests("faults")
            .args(["upgrade::", "--", "--ignored", "--test-threads=1"])
            .arg("--nocapture")
            .env(PROGRAM, before),
    )?;
    Ok(Ran::Passed)
}

/// Returns the program, which is built at the first run.
fn release_before() -> Result<PathBuf, Failure> {
    let home = workspace::absolute(&workspace::target_folder().join("releases"))?;
    let program = home.join(COMMIT);
    if program.is_file() {
        return Ok(program);
    }
    let (archive, source, build) = (
        home.join("source.tar"),
        home.join("source"),
        home.join("build"),
    );
    // Left by another commit, or by an interrupted run.
    workspace::empty(&source)?;
    run(Command::new("git")
        .args(["archive", "--output"])
        .arg(&archive)
        .arg(COMMIT))?;
    // The commit's date on all files would make cargo take an earlier build for current.
    extract(&archive, &source, &["--touch"])?;
    // The features of the whole workspace with its tests, as in ours, so that both share built dependencies.
    run(cargo(["build", "--locked", "--quiet", "--workspace"])
        .args(["--all-features", "--examples", "--bin", "keyproof"])
        .arg("--manifest-path")
        .arg(source.join("Cargo.toml"))
        .env("CARGO_TARGET_DIR", &build)
        .envs([workspace::shared_builds()?]))?;
    let built = build.join("debug").join("keyproof");
    fs::rename(&built, &program).map_err(Failure::at(&built))?;
    Ok(program)
}
