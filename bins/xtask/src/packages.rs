//! The published crates as a stranger gets them: packaged, unpacked, and built by what their READMEs say alone.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use toml::{Table, Value};

use crate::{
    failure::Failure,
    process::{cargo, run},
    readme::Readme,
    workspace::{self, Member},
};

/// What each package contains beside its sources.
const FILES: &[&str] = &["CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT", "README.md"];

/// What only commands of the workspace read, so that no package contains it.
const NOT_PACKAGED: &[&str] = &["mutants.toml", "public-api.txt"];

/// What each packaged manifest says beside what cargo asks for.
const FIELDS: &[&str] = &[
    "categories",
    "keywords",
    "license",
    "readme",
    "repository",
    "rust-version",
];

/// The most lines of a program in a README: it is one complete task, and no more than a newcomer reads at once.
const LONGEST_TASK: usize = 19;

/// Rehearses the publishing of all crates, then runs each README's programs in an empty project of its own, over the packages.
pub(crate) fn hold() -> Result<(), Failure> {
    let published = workspace::published()?;
    rehearse(&published)?;
    let home = workspace::target_folder().join("stranger");
    let packages: Vec<Package> = published
        .iter()
        .map(|member| Package::unpack(member, &home.join("packages")))
        .collect::<Result<_, _>>()?;
    for package in &packages {
        package.is_complete()?;
    }
    let patch = patch(&packages)?;
    for package in &packages {
        package.run_the_programs_of_its_readme(&home, &patch)?;
    }
    Ok(())
}

/// All that publishing does but the upload, and the build, which a stranger's is better than: each package is resolved
/// against those before it. Then the same packages once more, to be kept. What is not committed yet is packaged too, as
/// every other stage tests it.
fn rehearse(published: &[Member]) -> Result<(), Failure> {
    for command in [&["publish", "--dry-run"][..], &["package"]] {
        let mut command = cargo(command.iter().copied());
        command.args(["--locked", "--no-verify", "--allow-dirty", "--quiet"]);
        for member in published {
            command.args(["--package", member.name()?]);
        }
        run(&mut command)?;
    }
    Ok(())
}

/// A package, unpacked.
struct Package {
    name: String,
    folder: PathBuf,
}

impl Package {
    fn unpack(member: &Member, into: &Path) -> Result<Self, Failure> {
        let name = member.name()?.to_owned();
        let version = workspace::version()?;
        let folder = into.join(format!("{name}-{version}"));
        workspace::empty(&folder)?;
        let archive = workspace::target_folder()
            .join("package")
            .join(format!("{name}-{version}.crate"));
        // Its files are all of one old day, and cargo would take what an earlier one left for built.
        run(Command::new("tar")
            .args(["--extract", "--gzip", "--touch", "--file"])
            .arg(archive)
            .arg("--directory")
            .arg(into))?;
        Ok(Self { name, folder })
    }

    fn is_complete(&self) -> Result<(), Failure> {
        let problem = |path: PathBuf, problem: String| Err(Failure::wrong(path, problem));
        for file in FILES {
            if !self.folder.join(file).is_file() {
                return problem(self.folder.clone(), format!("lacks {file}"));
            }
        }
        for file in NOT_PACKAGED {
            if self.folder.join(file).exists() {
                return problem(self.folder.clone(), format!("contains {file}"));
            }
        }
        let path = self.folder.join("Cargo.toml");
        let manifest = workspace::read(&path)?;
        let package = manifest.get("package");
        for field in FIELDS {
            if package.and_then(|package| package.get(field)).is_none() {
                return problem(path, format!("lacks `package.{field}`"));
            }
        }
        let documented = package
            .and_then(|package| package.get("metadata")?.get("docs")?.get("rs"))
            .and_then(|docs| docs.get("all-features")?.as_bool());
        if documented != Some(true) {
            return problem(path, "does not show all features on docs.rs".to_owned());
        }
        Ok(())
    }

    fn run_the_programs_of_its_readme(&self, home: &Path, patch: &str) -> Result<(), Failure> {
        let path = self.folder.join("README.md");
        let readme = Readme::read(&path)?;
        if readme.lines() > LONGEST_TASK {
            let problem = format!(
                "has a program of {} lines, more than {LONGEST_TASK}",
                readme.lines()
            );
            return Err(Failure::wrong(path, problem));
        }
        let project = home.join("projects").join(&self.name);
        workspace::empty(&project)?;
        let sources = project.join("src");
        workspace::empty(&sources)?;
        let manifest = format!("{HEAD}\n{}\n{patch}", readme.dependencies);
        workspace::write(&project.join("Cargo.toml"), manifest.as_bytes())?;
        // As everywhere in a run: what a newer release of a dependency brings is found when the lock file is renewed.
        let lock = project.join("Cargo.lock");
        workspace::copy("Cargo.lock", &lock)?;
        // Beside the programs, for what their tasks read.
        if readme
            .programs
            .iter()
            .any(|program| program.contains("include_bytes!(\"tests/"))
        {
            run(Command::new("cp")
                .arg("--recursive")
                .arg(self.folder.join("tests"))
                .arg(&sources))?;
        }
        for program in &readme.programs {
            workspace::write(&sources.join("main.rs"), program.as_bytes())?;
            run(cargo(["run", "--quiet"])
                .current_dir(&project)
                // One for all projects, so that what they share is built once.
                .env(
                    "CARGO_TARGET_DIR",
                    workspace::absolute(&home.join("target"))?,
                )
                .envs([workspace::shared_builds()?]))?;
        }
        Ok(())
    }
}

/// With the profile of ours, so that its crates of others may be those that we have built.
const HEAD: &str = "[package]\nname = \"stranger\"\nedition = \"2024\"\n\n[workspace]\n\n\
    [profile.dev]\ndebug = \"line-tables-only\"\n";

/// What stands in for the registry: each crate by its unpacked package.
fn patch(packages: &[Package]) -> Result<String, Failure> {
    let mut table = Table::new();
    for package in packages {
        let folder = workspace::absolute(&package.folder)?;
        let mut place = Table::new();
        place.insert(
            "path".to_owned(),
            Value::String(folder.to_string_lossy().into_owned()),
        );
        table.insert(package.name.clone(), Value::Table(place));
    }
    let mut patch = Table::new();
    patch.insert("crates-io".to_owned(), Value::Table(table));
    let mut document = Table::new();
    document.insert("patch".to_owned(), Value::Table(patch));
    Ok(document.to_string())
}
