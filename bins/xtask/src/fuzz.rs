//! `cargo xtask fuzz`: the fuzz targets under libFuzzer, without a sanitiser and so on stable.

use std::fs;
use std::path::Path;

use toml::{Table, Value};

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
    let limits = limits()?;
    for target in &targets {
        fuzz(target, &limits.of(target)?, options.seconds)?;
    }
    println!(
        "\n{} targets, {} s each: no finding",
        targets.len(),
        options.seconds
    );
    Ok(())
}

/// What `fuzz/src/limits.toml` says of a target.
struct Limits {
    /// The longest input, in bytes.
    max_len: i64,
    /// The longest run, in seconds.
    timeout: i64,
}

const LIMITS: &str = "fuzz/src/limits.toml";

/// Those of all targets.
struct AllLimits(Table);

fn limits() -> Result<AllLimits, Failure> {
    workspace::read(Path::new(LIMITS)).map(AllLimits)
}

impl AllLimits {
    fn of(&self, target: &str) -> Result<Limits, Failure> {
        let number = |name: &str| {
            let limit = self.0.get(target).and_then(|limits| limits.get(name));
            let limit = limit.and_then(Value::as_integer).filter(|limit| *limit > 0);
            limit.ok_or_else(|| Failure::Manifest {
                path: LIMITS.into(),
                problem: format!("says no {name} of {target}"),
            })
        };
        Ok(Limits {
            max_len: number("max_len")?,
            timeout: number("timeout")?,
        })
    }
}

/// A finding ends it with cargo-fuzz's own words on where the input is and how to run it again.
fn fuzz(target: &str, limits: &Limits, seconds: u32) -> Result<(), Failure> {
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
            .args(limits.flags())
            .arg("-print_final_stats=1")
            // Linking a target with LTO takes longer than the target runs.
            .env("CARGO_PROFILE_RELEASE_LTO", "off"),
    )
}

impl Limits {
    fn flags(&self) -> [String; 3] {
        [
            format!("-max_len={}", self.max_len),
            // Long inputs from the start: a short run would not grow to them.
            "-len_control=0".to_owned(),
            format!("-timeout={}", self.timeout),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> AllLimits {
        AllLimits(text.parse().unwrap())
    }

    #[test]
    fn a_target_is_run_within_its_own_limits() {
        let all = read("[a]\nmax_len = 131_072\ntimeout = 1\n[b]\nmax_len = 5\ntimeout = 2");
        let flags = all.of("a").unwrap().flags();
        assert_eq!(flags, ["-max_len=131072", "-len_control=0", "-timeout=1"]);
    }

    #[test]
    fn a_target_without_limits_is_not_run() {
        for text in ["", "[a]\ntimeout = 1", "[a]\nmax_len = 0\ntimeout = 1"] {
            let refused = read(text).of("a").err().unwrap().to_string();
            assert_eq!(refused, format!("{LIMITS}: says no max_len of a"));
        }
    }
}
