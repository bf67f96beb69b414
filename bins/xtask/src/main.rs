//! keyproof's developer commands: `cargo xtask test`, `fuzz` and `bench`.

mod architecture;
mod bench;
mod chart;
mod data_model;
mod distribution;
mod failure;
mod fuzz;
mod instructions;
mod layers;
mod layout;
mod mutants;
mod packages;
mod postgres;
mod process;
mod public_api;
mod readme;
mod screenshots;
mod sources;
mod test;
mod toolchains;
mod tools;
mod upgrade;
mod wire_words;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

use crate::failure::Failure;

/// keyproof's developer commands
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
enum Xtask {
    /// Runs every check and every test, as CI does; installs what they need
    Test(test::Options),
    /// Runs the fuzz targets on the stable toolchain
    Fuzz(fuzz::Options),
    /// Compares what each published crate offers with its public-api.txt
    PublicApi(public_api::Options),
    /// Makes the Debian package and the OCI image, each with a bill of materials
    Package(distribution::Options),
    /// Breaks a crate in every way that cargo-mutants knows, and names what its tests do not notice
    Mutants(mutants::Options),
    /// Counts the instructions of hot paths, and compares them with benches/instructions.toml
    Instructions(instructions::Options),
    /// Writes a picture of every page of the sites, as Chromium shows it
    Screenshots(screenshots::Options),
    /// Builds and runs the benchmarks
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let xtask = Xtask::parse();
    match workspace::enter().and_then(|()| xtask.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nxtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

impl Xtask {
    fn run(self) -> Result<(), Failure> {
        match self {
            Self::Test(options) => test::run(&options),
            Self::Fuzz(options) => fuzz::run(&options),
            Self::PublicApi(options) => public_api::run(&options),
            Self::Package(options) => distribution::run_package(&options),
            Self::Mutants(options) => mutants::run(&options),
            Self::Instructions(options) => instructions::run(&options),
            Self::Screenshots(options) => screenshots::run(&options),
            Self::Bench(options) => bench::run(&options),
        }
    }
}
