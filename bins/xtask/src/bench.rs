//! `cargo xtask bench`: the benchmarks, each a program that prints its ratios; all of them as JSON, and as a chart.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::chart;
use crate::failure::Failure;
use crate::process::{cargo, echoed, output, run as execute};
use crate::workspace;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The only benchmark to run
    name: Option<String>,

    /// Also writes what was measured into `benches/ratios.json`, and the chart that README shows
    #[arg(long, conflicts_with = "name")]
    record: bool,

    /// What it is told, after `--`
    #[arg(last = true, requires = "name")]
    arguments: Vec<String>,
}

const RECORD: &str = "benches/ratios.json";
const CHART: &str = "benches/ratios.svg";

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
    let mut ratios = Vec::new();
    for bench in benches {
        let mut run = cargo([
            "run",
            "--locked",
            "--release",
            "--quiet",
            "--package",
            "keyproof-benches",
            "--bin",
            &bench,
            "--",
        ]);
        let printed = echoed(run.args(&options.arguments))?;
        ratios.extend(Ratio::all_of(&bench, &printed));
    }
    let record = record(&ratios)?;
    println!("{record}");
    if options.record {
        write(RECORD, &format!("{record}\n"))?;
        write(CHART, &chart::draw(&ratios))?;
    }
    Ok(())
}

/// A ratio to a raw limit or to a peer, and where it should be.
#[derive(Debug, PartialEq)]
pub(crate) struct Ratio {
    bench: String,
    /// The line above it that begins at the margin, such as `32 connections`; empty if there is none.
    under: String,
    what: String,
    pub(crate) ratio: f64,
    is_lower_bound: bool,
    pub(crate) bound: f64,
}

impl Ratio {
    /// The ratios in what a benchmark printed: `keyproof_benches::report` writes them.
    fn all_of(bench: &str, printed: &str) -> Vec<Self> {
        let mut under = "";
        let mut ratios = Vec::new();
        for line in printed.lines() {
            match Self::parse(bench, under, line) {
                Some(ratio) => ratios.push(ratio),
                None if !line.starts_with(' ') => under = line.trim_end_matches(':'),
                None => {}
            }
        }
        ratios
    }

    /// `what: 0.42 (aim at least 0.50: MISSED)`
    fn parse(bench: &str, under: &str, line: &str) -> Option<Self> {
        let (left, aim) = line.rsplit_once(" (aim at ")?;
        let (what, ratio) = left.rsplit_once(": ")?;
        let (bound, _) = aim.split_once(':')?;
        let (word, bound) = bound.split_once(' ')?;
        Some(Self {
            bench: bench.to_owned(),
            under: under.to_owned(),
            what: what.trim().to_owned(),
            ratio: ratio.parse().ok()?,
            is_lower_bound: word == "least",
            bound: bound.parse().ok()?,
        })
    }

    /// What it is the ratio of, in one line.
    pub(crate) fn name(&self) -> String {
        match self.under.as_str() {
            "" => format!("{}: {}", self.bench, self.what),
            under => format!("{}, {under}: {}", self.bench, self.what),
        }
    }

    /// How many times better it is than its aim; below one if it misses it.
    pub(crate) fn times_better(&self) -> f64 {
        if self.is_lower_bound {
            self.ratio / self.bound
        } else {
            self.bound / self.ratio
        }
    }

    pub(crate) fn aim(&self) -> String {
        let word = if self.is_lower_bound { "least" } else { "most" };
        format!("{:.2} (aim: at {word} {:.2})", self.ratio, self.bound)
    }
}

/// With what they were measured on, without which they say little.
fn record(ratios: &[Ratio]) -> Result<String, Failure> {
    let commit = output(std::process::Command::new("git").args(["rev-parse", "--short", "HEAD"]))?;
    let rustc = output(std::process::Command::new("rustc").arg("--version"))?;
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let ratios: Vec<_> = ratios
        .iter()
        .map(|ratio| {
            json!({
                "bench": ratio.bench,
                "under": ratio.under,
                "what": ratio.what,
                "ratio": ratio.ratio,
                "aim": {
                    "at": if ratio.is_lower_bound { "least" } else { "most" },
                    "bound": ratio.bound,
                    "met": ratio.times_better() >= 1.0,
                },
            })
        })
        .collect();
    let record = json!({
        "commit": commit.trim(),
        "rustc": rustc.trim(),
        "cores": cores,
        "ratios": ratios,
    });
    Ok(format!("{record:#}"))
}

fn write(path: &str, text: &str) -> Result<(), Failure> {
    fs::write(Path::new(path), text).map_err(|source| Failure::File {
        path: PathBuf::from(path),
        source,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const PRINTED: &str = "\
folder: /tmp
32 connections
  second steps of logins                        3811/s
  logins, of the store's batches: 0.22 (aim at least 0.50: MISSED)
one code (HMAC-SHA-1, 6 digits):
Totp::code, of two compressions: 1.20 (aim at most 1.50: met)
";

    pub(crate) fn ratios() -> Vec<Ratio> {
        Ratio::all_of("login", PRINTED)
    }

    #[test]
    fn ratios_are_read_with_what_they_stand_under() {
        let names: Vec<String> = ratios().iter().map(Ratio::name).collect();
        assert_eq!(
            names,
            [
                "login, 32 connections: logins, of the store's batches",
                "login, one code (HMAC-SHA-1, 6 digits): Totp::code, of two compressions"
            ]
        );
        let better: Vec<f64> = ratios().iter().map(Ratio::times_better).collect();
        assert_eq!(better, [0.44, 1.25]);
    }

    #[test]
    fn the_record_is_json_that_says_what_was_met() {
        let record: serde_json::Value = serde_json::from_str(&record(&ratios()).unwrap()).unwrap();
        assert_eq!(record["ratios"][0]["aim"]["met"], false);
        assert_eq!(record["ratios"][1]["aim"]["met"], true);
        assert_eq!(record["ratios"][1]["ratio"], 1.2);
    }
}
