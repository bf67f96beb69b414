//! Each fuzz package as another project would have it: copied into an empty folder, with the packaged crates.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{self, Command},
};

use super::harness::{Harness, SHARED_TARGET};
use crate::{
    failure::Failure,
    process::{cargo, run},
    tools::{self, need_cargo_tool, need_programs},
    workspace,
};

/// The number of runs of a target: enough to see that it works.
const RUNS: u32 = 1000;

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
    let packages = place.join("packages");
    fs::create_dir_all(&packages).map_err(Failure::at(&packages))?;
    let crates = unpack(&packages)?;
    for harness in &harnesses {
        let folder = place.join(harness.name());
        run(Command::new("cp")
            .arg("-r")
            .arg(&harness.folder)
            .arg(&folder))?;
        let settings = folder.join(".cargo");
        fs::create_dir_all(&settings).map_err(Failure::at(&settings))?;
        let settings = settings.join("config.toml");
        let lock = harness.folder.join("Cargo.lock");
        let lock = fs::read_to_string(&lock).map_err(Failure::at(&lock))?;
        fs::write(&settings, patches(&crates, &lock)).map_err(Failure::at(&settings))?;
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
        .args(["--codegen-units", "16", &target.name, "--"])
        .arg(format!("-runs={RUNS}")))
}

/// A published crate, and the folder where it is unpacked.
struct Unpacked {
    name: String,
    path: PathBuf,
}

/// Returns the configuration that makes a package use the unpacked crates that its lock file names.
fn patches(crates: &[Unpacked], lock: &str) -> String {
    let is_used = |unpacked: &&Unpacked| lock.contains(&format!("name = \"{}\"\n", unpacked.name));
    let patch =
        |unpacked: &Unpacked| format!("{} = {{ path = {:?} }}\n", unpacked.name, unpacked.path);
    let used: String = crates.iter().filter(is_used).map(patch).collect();
    format!("[patch.crates-io]\n{used}")
}

fn unpack(packages: &Path) -> Result<Vec<Unpacked>, Failure> {
    let mut names = Vec::new();
    for member in workspace::members()? {
        // The remaining member is the binary, which none of them needs.
        if member.is_published() && member.name()? != "keyproof" {
            names.push(member.name()?.to_owned());
        }
    }
    let mut package = cargo(["package", "--locked", "--no-verify", "--allow-dirty"]);
    package.args(SHARED_TARGET);
    for name in &names {
        package.args(["--package", name]);
    }
    run(&mut package)?;
    let archives = workspace::entries("target/package")?;
    let unpacked = names.into_iter().map(|name| {
        let archive = archives.iter().find(|path| is_of(path, &name));
        let archive = archive.ok_or_else(|| {
            let problem = format!("has no package of {name}");
            Failure::wrong("target/package", problem)
        })?;
        run(Command::new("tar")
            .args(["--extract", "--gzip", "--file"])
            .arg(archive)
            .arg("--directory")
            .arg(packages))?;
        let path = packages.join(archive.file_stem().unwrap_or_default());
        Ok(Unpacked { name, path })
    });
    unpacked.collect()
}

/// Whether the archive is named `NAME-VERSION.crate`.
fn is_of(archive: &Path, name: &str) -> bool {
    let file = archive.file_name().unwrap_or_default().to_string_lossy();
    let version = file
        .strip_prefix(name)
        .and_then(|rest| rest.strip_prefix('-'));
    version.is_some_and(|version| {
        version.starts_with(|first: char| first.is_ascii_digit()) && version.ends_with(".crate")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_finds_the_crates_that_it_uses() {
        let unpacked = |name: &str| Unpacked {
            name: name.to_owned(),
            path: PathBuf::from("/p").join(name),
        };
        let crates = ["keyproof", "keyproof-otp"].map(unpacked);
        let lock = "name = \"keyproof-otp\"\n";
        let found = "[patch.crates-io]\nkeyproof-otp = { path = \"/p/keyproof-otp\" }\n";
        assert_eq!(patches(&crates, lock), found);
    }

    #[test]
    fn a_package_is_found_by_its_whole_name() {
        assert!(is_of(Path::new("a/keyproof-0.1.0.crate"), "keyproof"));
        assert!(!is_of(Path::new("a/keyproof-otp-0.1.0.crate"), "keyproof"));
        assert!(!is_of(Path::new("a/keyproof-0.1.0"), "keyproof"));
    }
}
