//! The programs that the commands need besides the toolchain, and their installation.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    failure::Failure,
    process::{cargo, line, output, run, search_path, test_threads},
    workspace,
};

/// A program, and its Debian package.
pub(crate) struct Program {
    name: &'static str,
    package: &'static str,
    home: Home,
}

/// The folder in which a package installs its programs.
enum Home {
    Path,
    /// This folder, which may only be on root's path.
    Folder(&'static str),
    /// The folder of python3's modules.
    PythonModules,
    /// The folder `bin` of any version below this one.
    Versions(&'static str),
}

/// The folder that may only be on root's path.
const SYSTEM: Home = Home::Folder("/usr/sbin");

/// The folder of the modules of Debian's interpreter, even if another python3 comes first on the path.
const PYTHON: Home = Home::Folder("/usr/lib/python3/dist-packages");

/// The program that compiles the same C only once.
pub(crate) const COMPILING: &[Program] = &[Program::on_path("ccache", "ccache")];

/// The programs that the tests run beside keyproof.
pub(crate) const PEERS: &[Program] = &[
    Program::on_path("chromedriver", "chromium-driver"),
    Program::on_path("chromium", "chromium"),
    Program::on_path("faketime", "faketime"),
    Program::new(
        "initdb",
        "postgresql",
        Home::Versions("/usr/lib/postgresql"),
    ),
    Program::on_path("npm", "npm"),
    Program::on_path("oathtool", "oathtool"),
    Program::on_path("openssl", "openssl"),
    Program::on_path("promtool", "prometheus"),
    Program::on_path("protoc", "protobuf-compiler"),
    Program::new("pgbouncer", "pgbouncer", SYSTEM),
    Program::on_path("pskctool", "pskctool"),
    Program::new("pskc/__init__.py", "python3-pskc", PYTHON),
    Program::new("cryptography/__init__.py", "python3-cryptography", PYTHON),
    // Without it, an existing python3 cannot create an environment. The package also installs python3.
    Program::new("ensurepip", "python3-venv", Home::PythonModules),
    Program::on_path("strace", "strace"),
    Program::on_path("swtpm", "swtpm"),
    Program::on_path("swtpm_setup", "swtpm-tools"),
    Program::on_path("systemd-analyze", "systemd"),
    Program::on_path("tpm2_quote", "tpm2-tools"),
];

/// The programs for a database of several machines, each with its own network.
pub(crate) const CLUSTER: &[Program] = &[
    Program::on_path("etcd", "etcd-server"),
    Program::new("haproxy", "haproxy", SYSTEM),
    Program::new("ip", "iproute2", SYSTEM),
    Program::on_path("patronictl", "patroni"),
    // Patroni's client for etcd's older API.
    Program::new("etcd/__init__.py", "python3-etcd", PYTHON),
];

/// The program that compresses pictures.
pub(crate) const PICTURES: &[Program] = &[Program::on_path("pngquant", "pngquant")];

/// The compiler for libFuzzer.
pub(crate) const FUZZING: &[Program] = &[Program::on_path("c++", "g++")];

/// The program that counts instructions.
pub(crate) const COUNTING: &[Program] = &[Program::on_path("valgrind", "valgrind")];

/// The programs that pack and unpack seeds, and inspect binaries.
pub(crate) const OSS_FUZZ: &[Program] = &[
    Program::on_path("nm", "binutils"),
    Program::on_path("unzip", "unzip"),
    Program::on_path("zip", "zip"),
];

/// The nightly for features that stable lacks: sanitisers, and rustdoc's JSON, whose format changes between nightlies.
const NIGHTLY: &str = "2026-05-20";

/// A program from the crate of the same name, in one version.
pub(crate) struct CargoTool {
    package: &'static str,
    version: &'static str,
}

pub(crate) const CARGO_DENY: CargoTool = CargoTool::new("cargo-deny", "0.20.2");
pub(crate) const CARGO_HACK: CargoTool = CargoTool::new("cargo-hack", "0.6.46");
pub(crate) const CARGO_MUTANTS: CargoTool = CargoTool::new("cargo-mutants", "27.1.0");
pub(crate) const CARGO_PUBLIC_API: CargoTool = CargoTool::new("cargo-public-api", "0.52.0");

/// The same version as the library in the workspace's manifest.
pub(crate) const GUNGRAUN_RUNNER: CargoTool = CargoTool::new("gungraun-runner", "0.20.0");
pub(crate) const CARGO_FUZZ: CargoTool = CargoTool::new("cargo-fuzz", "0.13.2");

/// Installs missing programs as root; otherwise fails with the command to run.
pub(crate) fn need_programs(programs: &[Program]) -> Result<(), Failure> {
    let missing: Vec<&Program> = programs
        .iter()
        .filter(|program| !program.is_found())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut update = Command::new("apt-get");
    update.arg("update");
    let mut install = Command::new("apt-get");
    install
        .args(["install", "--yes", "--no-install-recommends"])
        .args(missing.iter().map(|program| program.package));

    let is_root = is_root()?;
    if is_root && is_on_path("apt-get") {
        run(update.env("DEBIAN_FRONTEND", "noninteractive"))?;
        let _no_cluster = NoCluster::while_installing()?;
        run(install.env("DEBIAN_FRONTEND", "noninteractive"))?;
    }
    let missing: Vec<&str> = missing
        .into_iter()
        .filter(|program| !program.is_found())
        .map(|program| program.name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let sudo = if is_root { "" } else { "sudo " };
    Err(Failure::MissingPrograms {
        programs: missing,
        install: format!("{sudo}{} && {sudo}{}", line(&update), line(&install)),
    })
}

/// Keeps Debian's PostgreSQL packages from creating and starting a system database: the tests start their own.
struct NoCluster(PathBuf);

impl NoCluster {
    /// Applies until it is dropped, so that later installations behave as usual.
    fn while_installing() -> Result<Self, Failure> {
        Self::in_folder(Path::new("/etc/postgresql-common/createcluster.d"))
    }

    fn in_folder(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("keyproof.conf");
        workspace::write(&path, b"create_main_cluster = false\n")?;
        Ok(Self(path))
    }
}

impl Drop for NoCluster {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            eprintln!("xtask: {}: {error}", self.0.display());
        }
    }
}

/// Installs the program if it is missing or has another version.
pub(crate) fn need_cargo_tool(tool: &CargoTool) -> Result<(), Failure> {
    let CargoTool { package, version } = tool;
    let mut version_of = match package.strip_prefix("cargo-") {
        Some(subcommand) => cargo([subcommand]),
        None => Command::new(package),
    };
    let found = output(version_of.arg("--version"));
    if found.is_ok_and(|found| found.trim() == format!("{package} {version}")) {
        return Ok(());
    }
    let tool = format!("{package}@{version}");
    // Unoptimised: optimising would take longer than it saves in all runs.
    run(cargo(["install", &tool, "--locked", "--debug"])
        // Dependencies that tools share with each other or with the workspace are built once.
        .env(
            "CARGO_TARGET_DIR",
            workspace::absolute(&workspace::target_folder())?,
        )
        .env("CARGO_PROFILE_DEV_DEBUG", "0"))
}

/// A toolchain of rustup, in addition to the one that runs this program.
pub(crate) struct Toolchain {
    /// Such as `1.89.0` or `nightly-2026-05-20`.
    name: String,
}

impl Toolchain {
    /// Returns the nightly of [`NIGHTLY`], installing it if it is missing.
    pub(crate) fn nightly() -> Result<Self, Failure> {
        let name = format!("nightly-{NIGHTLY}");
        Self { name }.installed()
    }

    /// Returns exactly the release that a `rust-version` names, installing it if it is missing.
    pub(crate) fn release(version: &str) -> Result<Self, Failure> {
        Self::of_rust_version(version).installed()
    }

    /// Without a third number, it is the first release.
    fn of_rust_version(version: &str) -> Self {
        let name = match version.matches('.').count() {
            1 => format!("{version}.0"),
            _ => version.to_owned(),
        };
        Self { name }
    }

    fn installed(self) -> Result<Self, Failure> {
        let there = output(Command::new("rustup").args(["toolchain", "list"]))?;
        if !there.lines().any(|listed| self.is_listed_as(listed)) {
            run(Command::new("rustup")
                .args(["toolchain", "install", &self.name])
                .args(["--profile", "minimal"]))?;
        }
        Ok(self)
    }

    /// Adds a component if it is missing.
    pub(crate) fn need_component(&self, component: &str) -> Result<(), Failure> {
        run(Command::new("rustup").args(["component", "add", component, "--toolchain", &self.name]))
    }

    /// Lines of rustup's list begin with a name such as `1.89.0-x86_64-unknown-linux-gnu`.
    fn is_listed_as(&self, line: &str) -> bool {
        line.strip_prefix(&self.name)
            .is_some_and(|rest| rest.starts_with('-'))
    }

    /// Returns its cargo, which builds into its own folder, because it cannot use another toolchain's results.
    pub(crate) fn cargo<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = self.command("cargo");
        command.args(arguments);
        command.env("CARGO_TARGET_DIR", self.target_folder());
        command
    }

    /// Returns a program with it as the toolchain.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("rustup");
        command.args(["run", &self.name, program]);
        command.env("PATH", search_path());
        command.envs(test_threads());
        // Otherwise those of the toolchain that runs this program would take precedence.
        for variable in ["CARGO", "RUSTC", "RUSTDOC", "LD_LIBRARY_PATH"] {
            command.env_remove(variable);
        }
        command
    }

    /// Returns its build folder.
    pub(crate) fn target_folder(&self) -> PathBuf {
        workspace::target_folder().join(&self.name)
    }
}

/// Adds targets to the toolchain that runs this program.
pub(crate) fn need_targets(targets: &[&str]) -> Result<(), Failure> {
    run(Command::new("rustup").args(["target", "add"]).args(targets))
}

impl CargoTool {
    const fn new(package: &'static str, version: &'static str) -> Self {
        Self { package, version }
    }
}

impl Program {
    pub(crate) const fn on_path(name: &'static str, package: &'static str) -> Self {
        Self::new(name, package, Home::Path)
    }

    const fn new(name: &'static str, package: &'static str, home: Home) -> Self {
        Self {
            name,
            package,
            home,
        }
    }

    fn is_found(&self) -> bool {
        match self.home {
            Home::Path => is_on_path(self.name),
            Home::Folder(folder) => {
                is_file(&Path::new(folder).join(self.name)) || is_on_path(self.name)
            }
            Home::PythonModules => has_python_module(self.name),
            Home::Versions(folder) => {
                is_in_a_version(Path::new(folder), self.name) || is_on_path(self.name)
            }
        }
    }
}

fn is_in_a_version(folder: &Path, program: &str) -> bool {
    let versions = fs::read_dir(folder).into_iter().flatten().flatten();
    versions
        .map(|version| version.path().join("bin").join(program))
        .any(|program| is_file(&program))
}

fn has_python_module(module: &str) -> bool {
    let find =
        "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)";
    output(Command::new("python3").args(["-c", find, module])).is_ok()
}

fn is_on_path(program: &str) -> bool {
    env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|folder| is_file(&folder.join(program))))
}

fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file())
}

pub(crate) fn is_root() -> Result<bool, Failure> {
    Ok(output(Command::new("id").arg("-u"))?.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_in_the_folder_of_any_version() {
        let folder = tempfile::tempdir().unwrap();
        let programs = folder.path().join("15").join("bin");
        fs::create_dir_all(&programs).unwrap();
        assert!(!is_in_a_version(folder.path(), "initdb"));
        fs::write(programs.join("initdb"), "").unwrap();
        assert!(is_in_a_version(folder.path(), "initdb"));
        assert!(!is_in_a_version(folder.path(), "pgbench"));
        assert!(!is_in_a_version(&programs, "initdb"));
    }

    #[test]
    fn a_toolchain_is_found_by_its_whole_name() {
        let release = Toolchain::of_rust_version("1.89");
        assert!(release.is_listed_as("1.89.0-x86_64-unknown-linux-gnu (active)"));
        assert!(!release.is_listed_as("1.89-x86_64-unknown-linux-gnu"));
        assert!(!release.is_listed_as("1.89.01-x86_64-unknown-linux-gnu"));
        let name = "nightly-2026-05-20".to_owned();
        let nightly = Toolchain { name };
        assert!(nightly.is_listed_as("nightly-2026-05-20-x86_64-unknown-linux-gnu"));
        assert!(!nightly.is_listed_as("nightly-x86_64-unknown-linux-gnu"));
    }

    #[test]
    fn a_python_module_is_found_where_python_finds_it() {
        assert!(has_python_module("sys"));
        assert!(!has_python_module("keyproof_has_no_such_module"));
    }

    #[test]
    fn clusters_are_kept_from_being_made_no_longer_than_needed() {
        let folder = tempfile::tempdir().unwrap();
        let nested = folder.path().join("a").join("b");
        let no_cluster = NoCluster::in_folder(&nested).unwrap();
        let setting = fs::read_to_string(nested.join("keyproof.conf")).unwrap();
        assert_eq!(setting, "create_main_cluster = false\n");
        drop(no_cluster);
        assert!(!nested.join("keyproof.conf").exists());
    }
}
