//! keyproof's developer commands: `cargo xtask test`, `fuzz` and `bench`.

mod bench;
mod failure;
mod fuzz;
mod layers;
mod packages;
mod postgres;
mod process;
mod readme;
mod test;
mod tools;
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
            Self::Bench(options) => bench::run(&options),
        }
    }
}
