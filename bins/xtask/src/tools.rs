//! What the commands need beside the toolchain, and how it is installed.

use std::env;
use std::path::Path;
use std::process::Command;

use crate::failure::Failure;
use crate::process::{cargo, line, output, run};

/// A program, and the Debian package that holds it.
pub(crate) struct Program {
    name: &'static str,
    package: &'static str,
}

/// The programs that the tests run beside keyproof.
pub(crate) const PEERS: &[Program] = &[
    Program {
        name: "oathtool",
        package: "oathtool",
    },
    Program {
        name: "openssl",
        package: "openssl",
    },
    // The package is the one without which `python3 -m venv` does not work; it brings python3.
    Program {
        name: "python3",
        package: "python3-venv",
    },
    Program {
        name: "swtpm",
        package: "swtpm",
    },
    Program {
        name: "swtpm_setup",
        package: "swtpm-tools",
    },
    Program {
        name: "tpm2_quote",
        package: "tpm2-tools",
    },
];

/// What builds libFuzzer.
pub(crate) const FUZZING: &[Program] = &[Program {
    name: "c++",
    package: "g++",
}];

/// A cargo subcommand from the package of the same name, at one version.
pub(crate) struct CargoTool {
    subcommand: &'static str,
    version: &'static str,
}

pub(crate) const CARGO_DENY: CargoTool = CargoTool {
    subcommand: "deny",
    version: "0.20.2",
};

pub(crate) const CARGO_FUZZ: CargoTool = CargoTool {
    subcommand: "fuzz",
    version: "0.13.2",
};

/// Installs the programs that are not there: as root by itself, otherwise by telling how.
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

    if is_root()? && is_on_path("apt-get") {
        run(update.env("DEBIAN_FRONTEND", "noninteractive"))?;
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
    Err(Failure::MissingPrograms {
        programs: missing,
        install: format!("{} && {}", line(&update), line(&install)),
    })
}

/// Installs the subcommand where it is absent or of another version.
pub(crate) fn need_cargo_tool(tool: &CargoTool) -> Result<(), Failure> {
    let package = format!("cargo-{}", tool.subcommand);
    let wanted = format!("{package} {}", tool.version);
    if output(&mut cargo([tool.subcommand, "--version"])).is_ok_and(|found| found.trim() == wanted)
    {
        return Ok(());
    }
    // Unoptimised: the build it saves is longer than all the runs it slows.
    run(&mut cargo([
        "install",
        &format!("{package}@{}", tool.version),
        "--locked",
        "--debug",
    ]))
}

impl Program {
    fn is_found(&self) -> bool {
        is_on_path(self.name)
    }
}

fn is_on_path(program: &str) -> bool {
    env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|folder| is_file(&folder.join(program))))
}

fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file())
}

fn is_root() -> Result<bool, Failure> {
    Ok(output(Command::new("id").arg("-u"))?.trim() == "0")
}
