//! Each fuzz package as another project would have it: copied into an empty folder, with the packaged crates.

use std::{
    env, fs,
    path::Path,
    process::{self, Command},
};

use super::harness::{FEW_RUNS, Harness, UNITS};
use crate::{
    failure::Failure,
    packages::{self, Package},
    process::{cargo, run},
    tools::{self, need_cargo_tool, need_programs},
    workspace,
};

/// Replays the corpora there on stable, and runs the first target under libFuzzer.
pub(crate) fn try_out(harnesses: &[Harness]) -> Result<(), Failure> {
    // The server's needs keyproof-http, which is not published and so has no package.
    let is_whole = |harness: &&Harness| harness.name() != "server";
    let harnesses: Vec<&Harness> = harnesses.iter().filter(is_whole).collect();
    need_programs(tools::FUZZING)?;
    need_cargo_tool(&tools::CARGO_FUZZ)?;
    let top = env::current_dir().map_err(Failure::at("."))?;
    // Outside the workspace, where cargo does not read its configuration.
    let place = env::temp_dir().join(format!("keyproof-fuzz-alone-{}", process::id()));
    let crates = Package::all(&place.join("packages"))?;
    for harness in &harnesses {
        let folder = place.join(harness.name());
        run(Command::new("cp")
            .arg("-r")
            .arg(&harness.folder)
            .arg(&folder))?;
        let lock = harness.folder.join("Cargo.lock");
        let lock = fs::read_to_string(&lock).map_err(Failure::at(&lock))?;
        let settings = folder.join(".cargo").join("config.toml");
        workspace::write(&settings, patches(&crates, &lock)?.as_bytes())?;
        build_and_run(harness, &folder, &top.join("target/fuzz-alone-builds"))?;
    }
    fs::remove_dir_all(&place).map_err(Failure::at(&place))?;
    println!(
        "\n{} packages build and run alone; the server's needs what is not published",
        harnesses.len()
    );
    Ok(())
}

fn build_and_run(harness: &Harness, folder: &Path, builds: &Path) -> Result<(), Failure> {
    let there = |arguments: &[&str]| {
        let mut command = cargo(arguments.iter().copied());
        command.current_dir(folder).env("CARGO_TARGET_DIR", builds);
        command
    };
    run(&mut there(&["test", "--locked", "--lib"]))?;
    let Some(target) = harness.targets()?.into_iter().next() else {
        return Ok(());
    };
    let fuzz = ["fuzz", "run", "--fuzz-dir", ".", "--sanitizer", "none"];
    run(there(&fuzz)
        .args(UNITS)
        .arg(&target.name)
        .args(["--", FEW_RUNS]))
}

/// Returns the configuration that makes a package use the unpacked crates that its lock file names.
fn patches(crates: &[Package], lock: &str) -> Result<String, Failure> {
    let is_used = |package: &&Package| lock.contains(&format!("name = \"{}\"\n", package.name));
    packages::patch(crates.iter().filter(is_used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_finds_the_crates_that_it_uses() {
        let unpacked = |name: &str| Package {
            name: name.to_owned(),
            folder: Path::new("/p").join(name),
        };
        let crates = ["keyproof", "keyproof-otp"].map(unpacked);
        let lock = "name = \"keyproof-otp\"\n";
        let found = "[patch.crates-io]\nkeyproof-otp = { path = \"/p/keyproof-otp\" }\n";
        assert_eq!(patches(&crates, lock).unwrap(), found);
    }
}
