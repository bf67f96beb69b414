//! What the published crates must build with: each its own `rust-version`, every set of its features, and targets without
//! an operating system.

use std::collections::BTreeMap;

use crate::failure::Failure;
use crate::process::{cargo, run};
use crate::tools::{self, Toolchain, need_cargo_tool, need_programs, need_targets};
use crate::workspace::{self, Member};

/// Tests each published crate with all features on exactly the release of Rust that its manifest names.
pub(crate) fn test_on_each_rust_version() -> Result<(), Failure> {
    need_programs(tools::PEERS)?;
    let published = workspace::published()?;
    let mut by_version: BTreeMap<String, Vec<&Member>> = BTreeMap::new();
    for member in &published {
        by_version
            .entry(workspace::rust_version(member)?)
            .or_default()
            .push(member);
    }
    for (version, members) in by_version {
        let toolchain = Toolchain::of_rust_version(&version);
        toolchain.need()?;
        let mut test = toolchain.cargo(["test", "--locked", "--quiet", "--all-features"]);
        for member in members {
            test.args(["--package", member.name()?]);
        }
        run(&mut test)?;
    }
    Ok(())
}

/// Clippy over each published crate alone, with every set of its features, and so over what is not published: each says
/// itself what it needs.
pub(crate) fn lint_each_set_of_features() -> Result<(), Failure> {
    need_cargo_tool(&tools::CARGO_HACK)?;
    let mut hack = cargo([
        "hack",
        "clippy",
        "--locked",
        "--feature-powerset",
        // Nothing but other features, each of which is in the set.
        "--skip",
        "default",
        "--quiet",
    ]);
    for member in workspace::published()? {
        hack.args(["--package", member.name()?]);
    }
    for package in ["keyproof-http", "keyproof-service", "keyproof"] {
        hack.args(["--package", package]);
    }
    run(hack.args(["--", "-D", "warnings"]))
}

/// Where no operating system is: a browser's or a runtime's WebAssembly, and a microcontroller.
const BARE_TARGETS: &[&str] = &["thumbv7em-none-eabi", "wasm32-unknown-unknown"];

/// Which features need no provider of cryptography in C or assembly; the embedder hands in a table of algorithms.
const BARE_FEATURES: &[(&str, &str)] = &[
    ("keyproof-auth", "serde"),
    ("keyproof-mfa", "serde"),
    ("keyproof-otp", "alloc,serde"),
    ("keyproof-pskc", ""),
    ("keyproof-tpm", "activate,provision,serde"),
    ("keyproof-x509", "prover,serde"),
];

/// Builds each protocol crate for those targets, without default features, and with those that they can have.
pub(crate) fn build_for_bare_targets() -> Result<(), Failure> {
    need_targets(BARE_TARGETS)?;
    for target in BARE_TARGETS {
        for (package, features) in BARE_FEATURES {
            let build = ["build", "--locked", "--quiet", "--no-default-features"];
            let with = |features: &str| {
                run(cargo(build)
                    .args(["--target", target, "--package", package])
                    .args(["--features", features]))
            };
            with("")?;
            if !features.is_empty() {
                with(features)?;
            }
        }
    }
    Ok(())
}
