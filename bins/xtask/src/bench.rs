//! `cargo xtask bench`: the benchmarks, each a program that prints its ratios.

use crate::failure::Failure;
use crate::process::{cargo, run as execute};
use crate::workspace;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The only benchmark to run
    name: Option<String>,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let benches = workspace::select("benchmark", "benches/src/bin", options.name.as_deref())?;
    // The server's benchmark starts the program that users start.
    execute(&mut cargo([
        "build",
        "--locked",
        "--release",
        "--package",
        "keyproof",
        "--package",
        "keyproof-benches",
    ]))?;
    for bench in benches {
        execute(&mut cargo([
            "run",
            "--locked",
            "--release",
            "--quiet",
            "--package",
            "keyproof-benches",
            "--bin",
            &bench,
        ]))?;
    }
    Ok(())
}
