//! The published crates as a new user gets them: packaged, unpacked, and used as their READMEs say.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use toml::Value;

use crate::{
    failure::Failure,
    process::{cargo, extract, run},
    readme::Readme,
    workspace::{self, Member},
};

/// The files of each package besides its sources.
const FILES: &[&str] = &["CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT", "README.md"];

/// Files for commands of the workspace, which no package contains.
const NOT_PACKAGED: &[&str] = &["mutants.toml", "public-api.txt"];

/// The fields of each packaged manifest besides those that cargo requires.
const FIELDS: &[&str] = &[
    "categories",
    "keywords",
    "license",
    "readme",
    "repository",
    "rust-version",
];

/// The most lines of a program in a README, which is one complete task that a newcomer reads at once.
const LONGEST_TASK: usize = 19;

/// Rehearses the publication of all crates, then builds and runs each README's programs in an empty project with the
/// packages.
pub(crate) fn hold() -> Result<(), Failure> {
    // Everything that publishing does except the upload and the build; the later build as a new user is more realistic.
    // Each package is resolved against those before it.
    cargo_on(&workspace::published()?, &["publish", "--dry-run"])?;
    let home = workspace::target_folder().join("stranger");
    let packages = Package::all(&home.join("packages"))?;
    for package in &packages {
        package.is_complete()?;
    }
    let patch = patch(&packages)?;
    for package in &packages {
        package.run_the_programs_of_its_readme(&home, &patch)?;
    }
    Ok(())
}

/// Runs a command of cargo on these crates, including uncommitted changes, as every other stage does.
fn cargo_on(published: &[Member], command: &[&str]) -> Result<(), Failure> {
    let mut command = cargo(command.iter().copied());
    command.args(["--locked", "--no-verify", "--allow-dirty", "--quiet"]);
    for member in published {
        command.args(["--package", member.name()?]);
    }
    run(&mut command)
}

/// An unpacked package.
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
}

impl Package {
    /// Packages all published crates, and unpacks them into this folder.
    pub(crate) fn all(into: &Path) -> Result<Vec<Self>, Failure> {
        let published = workspace::published()?;
        cargo_on(&published, &["package"])?;
        let unpacked = published.iter().map(|member| Self::unpack(member, into));
        unpacked.collect()
    }

    fn unpack(member: &Member, into: &Path) -> Result<Self, Failure> {
        let name = member.name()?.to_owned();
        let version = workspace::version()?;
        let folder = into.join(format!("{name}-{version}"));
        workspace::empty(&folder)?;
        let archive = workspace::target_folder()
            .join("package")
            .join(format!("{name}-{version}.crate"));
        // The archive's files all have one old date, so cargo would take an earlier build for current.
        extract(&archive, into, &["--touch"])?;
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
        // The run's lock file: newer releases of dependencies are tested when that file is updated.
        let lock = project.join("Cargo.lock");
        workspace::copy("Cargo.lock", &lock)?;
        // Next to the programs, which may read it.
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
                // One folder for all projects, so that shared dependencies are built once.
                .env(
                    "CARGO_TARGET_DIR",
                    workspace::absolute(&home.join("target"))?,
                )
                .envs([workspace::shared_builds()?]))?;
        }
        Ok(())
    }
}

/// The same profile as the workspace, so that built dependencies can be reused.
const HEAD: &str = "[package]\nname = \"stranger\"\nedition = \"2024\"\n\n[workspace]\n\n\
    [profile.dev]\ndebug = \"line-tables-only\"\n";

/// Returns the part of a manifest or a configuration that replaces the registry's crates by these packages.
pub(crate) fn patch<'a>(
    packages: impl IntoIterator<Item = &'a Package>,
) -> Result<String, Failure> {
    let mut patch = "[patch.crates-io]\n".to_owned();
    for Package { name, folder } in packages {
        let folder = workspace::absolute(folder)?;
        let path = Value::String(folder.to_string_lossy().into_owned());
        patch += &format!("{name} = {{ path = {path} }}\n");
    }
    Ok(patch)
}
