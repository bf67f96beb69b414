//! What OSS-Fuzz does with the packages: runs their script with its variables, and tests the results.

use std::{collections::BTreeSet, fs, os::unix::fs::symlink, path::PathBuf, process::Command};

use super::harness::{self, Harness, Target};
use crate::{
    failure::Failure,
    process::{output, run},
    tools::{self, Toolchain, need_cargo_tool, need_programs},
    workspace,
};

/// OSS-Fuzz's folder in the image, and the project's script.
const FOLDER: &str = "target/oss-fuzz";
const SCRIPT: &str = "fuzz/oss-fuzz/build.sh";

/// Runs the script with the address sanitiser on nightly, as in the image, then each target with its packed seeds.
pub(crate) fn try_out(harnesses: &[Harness]) -> Result<(), Failure> {
    need_programs(tools::FUZZING)?;
    need_programs(tools::OSS_FUZZ)?;
    need_cargo_tool(&tools::CARGO_FUZZ)?;
    let nightly = Toolchain::nightly()?;
    let place = Place::prepared()?;
    let names: Vec<String> = harnesses.iter().map(Harness::name).collect();
    run(nightly
        .command("bash")
        .args(["-eu", SCRIPT])
        .env("SRC", &place.src)
        .env("OUT", &place.out)
        .env("WORK", &place.work)
        .env("SANITIZER", "address")
        .env("FUZZING_ENGINE", "libfuzzer")
        // As in the image. It is a flag for the C linker, which libfuzzer-sys in Rust does not use.
        .env("LIB_FUZZING_ENGINE", "-fsanitize=fuzzer")
        .env("PACKAGES", names.join(" ")))?;
    let targets = harness::select(harnesses, &[])?;
    let mut expected = BTreeSet::new();
    for target in &targets {
        expected.extend(check(target, &place)?);
    }
    let left: BTreeSet<PathBuf> = workspace::entries(&place.out)?.into_iter().collect();
    if let Some(other) = left.difference(&expected).next() {
        return Err(Failure::wrong(other, "belongs to no target"));
    }
    println!(
        "\n{} targets of {SCRIPT} run over their seeds",
        targets.len()
    );
    Ok(())
}

/// The folders of the image.
struct Place {
    src: PathBuf,
    out: PathBuf,
    work: PathBuf,
    seeds: PathBuf,
}

impl Place {
    /// Creates them empty, except for earlier builds and the source tree, which is this one.
    fn prepared() -> Result<Self, Failure> {
        fs::create_dir_all(FOLDER).map_err(Failure::at(FOLDER))?;
        let top = fs::canonicalize(FOLDER).map_err(Failure::at(FOLDER))?;
        let [src, out, work, seeds] = ["src", "out", "work", "seeds"].map(|name| top.join(name));
        for folder in [&src, &out, &seeds] {
            workspace::empty(folder)?;
        }
        fs::create_dir_all(&work).map_err(Failure::at(&work))?;
        let tree = fs::canonicalize(".").map_err(Failure::at("."))?;
        let link = src.join("keyproof");
        symlink(tree, &link).map_err(Failure::at(&link))?;
        Ok(Self {
            src,
            out,
            work,
            seeds,
        })
    }
}

/// Checks that a target's files for OSS-Fuzz exist and are correct, and that it runs with its seeds. Returns the files.
fn check(target: &Target, place: &Place) -> Result<Vec<PathBuf>, Failure> {
    let file = |suffix: &str| place.out.join(format!("{}{suffix}", target.name));
    let (binary, options, seeds) = (file(""), file(".options"), file("_seed_corpus.zip"));
    let mut left = vec![binary.clone(), options.clone(), seeds.clone()];

    let table = workspace::read(&options)?;
    let told = harness::Options::read(&table);
    let told = told.map_err(|problem| Failure::wrong(&options, problem))?;
    let odr = table
        .get("asan")
        .and_then(|asan| asan.get("detect_odr_violation"));
    if odr.and_then(toml::Value::as_integer) != Some(0) {
        let problem = "leaves detect_odr_violation on, which bundled SQLite trips";
        return Err(Failure::wrong(&options, problem));
    }

    let dictionary = file(".dict");
    match target.dictionary() {
        Some(own) => {
            let [own, packed] =
                [&own, &dictionary].map(|path| fs::read(path).map_err(Failure::at(path)));
            if own? != packed? {
                return Err(Failure::wrong(&dictionary, "is not the target's"));
            }
            left.push(dictionary.clone());
        }
        None if dictionary.exists() => {
            return Err(Failure::wrong(&dictionary, "is of a target that has none"));
        }
        None => {}
    }

    let folder = place.seeds.join(&target.name);
    run(Command::new("unzip")
        .args(["-q", "-o"])
        .arg(&seeds)
        .arg("-d")
        .arg(&folder))?;
    let mut inputs = workspace::entries(target.corpus())?.len();
    if let Some(regressions) = target.regressions() {
        inputs += workspace::entries(regressions)?.len();
    }
    let packed = workspace::entries(&folder)?.len();
    if packed != inputs {
        let problem = format!("has {packed} of the target's {inputs} inputs");
        return Err(Failure::wrong(&seeds, problem));
    }

    let mut command = Command::new(&binary);
    command
        .arg(&folder)
        .arg("-runs=0")
        .args(told.flags(1))
        .env("ASAN_OPTIONS", "detect_odr_violation=0")
        // Outside the source tree, as in OSS-Fuzz's runners.
        .current_dir(&place.work);
    if target.dictionary().is_some() {
        command.arg(format!("-dict={}", dictionary.display()));
    }
    run(&mut command)?;
    // Checks that it was really built with the sanitiser.
    let symbols = output(Command::new("nm").arg(&binary))?;
    if symbols.contains("__asan_init") {
        Ok(left)
    } else {
        Err(Failure::wrong(&binary, "has no address sanitiser in it"))
    }
}
