//! `cargo xtask fuzz`: the fuzz targets under libFuzzer, without a sanitiser and so on stable.

use std::fs;
use std::path::Path;

use crate::failure::Failure;
use crate::process::{cargo, run as execute};
use crate::tools::{self, need_cargo_tool, need_programs};
use crate::workspace;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The only target to run
    #[arg(long)]
    target: Option<String>,

    /// How long each target runs
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,

    /// Prints the targets and runs none
    #[arg(long)]
    list: bool,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let targets = workspace::select(
        "fuzz target",
        "fuzz/fuzz_targets",
        options.target.as_deref(),
    )?;
    if options.list {
        for target in targets {
            println!("{target}");
        }
        return Ok(());
    }
    need_programs(tools::FUZZING)?;
    need_cargo_tool(&tools::CARGO_FUZZ)?;
    for target in &targets {
        fuzz(target, options.seconds)?;
    }
    println!(
        "\n{} targets, {} s each: no finding",
        targets.len(),
        options.seconds
    );
    Ok(())
}

/// A finding ends it with cargo-fuzz's own words on where the input is and how to run it again.
fn fuzz(target: &str, seconds: u32) -> Result<(), Failure> {
    // The first corpus gets the new inputs, so that the committed one stays as it is.
    let found = Path::new("target/fuzz-corpus").join(target);
    fs::create_dir_all(&found).map_err(|source| Failure::File {
        path: found.clone(),
        source,
    })?;
    let seeds = Path::new("fuzz/corpus").join(target);
    execute(
        cargo(["fuzz", "run", "--sanitizer", "none", target])
            .args([found, seeds])
            .arg("--")
            .arg(format!("-max_total_time={seconds}"))
            .args(["-timeout=10", "-print_final_stats=1"])
            // Linking a target with LTO takes longer than the target runs.
            .env("CARGO_PROFILE_RELEASE_LTO", "off"),
    )
}
