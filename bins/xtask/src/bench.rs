//! `cargo xtask bench`: runs the benchmarks, which print ratios, and writes all of them as JSON and as charts.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Value, json};

use crate::{
    chart,
    failure::Failure,
    process::{cargo, echoed, output, run as execute},
    workspace,
};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The only benchmark to run
    name: Option<String>,

    /// Also writes the results into `benches/ratios.json`, keeping those of other benchmarks, and draws the charts in README and
    /// benches/README.md
    #[arg(long)]
    record: bool,

    /// Measures nothing, and draws the charts from `benches/ratios.json`
    #[arg(long, conflicts_with_all = ["name", "record"])]
    draw: bool,

    /// The benchmark's own arguments, after `--`
    #[arg(last = true, requires = "name")]
    arguments: Vec<String>,
}

const RECORD: &str = "benches/ratios.json";
/// The chart of all ratios, for benches/README.md.
const CHART: &str = "benches/ratios.svg";
/// The chart of the main ratios, for README.
const SHORT_CHART: &str = "benches/ratios-main.svg";

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let known = workspace::binaries("benches/src/bin")?;
    if options.draw {
        return draw(&written_to(Path::new(RECORD), Measured::new(), &known)?);
    }
    let benches = match &options.name {
        None => known.clone(),
        Some(name) => vec![name.clone()],
    };
    Failure::unless_known("benchmark", &benches, known.clone())?;
    // One command each, as when it is run: built together, each would get the other's features, and be built again.
    for what in [
        ["keyproof", "--bin=keyproof"],
        ["keyproof-benches", "--bins"],
    ] {
        let build = ["build", "--locked", "--release", "--package"];
        execute(&mut cargo(build.into_iter().chain(what)))?;
    }
    let mut measured = Measured::new();
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
        let record = record(&Ratio::all_of(&bench, &printed))?;
        measured.insert(bench, record);
    }
    println!("{:#}", json!(measured));
    if options.record {
        let all = written_to(Path::new(RECORD), measured, &known)?;
        let text = format!("{:#}\n", json!(all));
        workspace::write(Path::new(RECORD), text.as_bytes())?;
        draw(&all)?;
    }
    Ok(())
}

fn draw(measured: &Measured) -> Result<(), Failure> {
    let ratios = ratios_of(measured);
    workspace::write(Path::new(CHART), chart::whole(&ratios).as_bytes())?;
    workspace::write(Path::new(SHORT_CHART), chart::short(&ratios).as_bytes())
}

/// The results by the name of the benchmark.
type Measured = BTreeMap<String, Value>;

/// Returns the contents of the file, updated with the new results.
fn written_to(path: &Path, measured: Measured, known: &[String]) -> Result<Measured, Failure> {
    let mut all = Measured::new();
    if path.exists() {
        let failure = |problem: String| Failure::wrong(path, problem);
        let text = fs::read_to_string(path).map_err(|error| failure(error.to_string()))?;
        all = serde_json::from_str(&text).map_err(|error| failure(error.to_string()))?;
    }
    all.extend(measured);
    all.retain(|bench, _| known.contains(bench));
    Ok(all)
}

fn ratios_of(measured: &Measured) -> Vec<Ratio> {
    let ratios = measured.iter().flat_map(|(bench, record)| {
        let ratios = record.get("ratios").and_then(Value::as_array);
        let ratios = ratios.into_iter().flatten();
        ratios.filter_map(|ratio| Ratio::of(bench, ratio))
    });
    ratios.collect()
}

/// A ratio to a raw limit or to a peer, with its aim.
#[derive(Debug, PartialEq)]
pub(crate) struct Ratio {
    bench: String,
    /// The unindented line above it, such as `32 connections`; empty if there is none.
    under: String,
    what: String,
    pub(crate) ratio: f64,
    is_lower_bound: bool,
    pub(crate) bound: f64,
}

impl Ratio {
    /// Parses the ratios in the output of a benchmark, as `keyproof_benches::report` prints them.
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

    /// Parses a ratio from the file.
    fn of(bench: &str, ratio: &Value) -> Option<Self> {
        let text = |name: &str| Some(ratio.get(name)?.as_str()?.to_owned());
        let aim = ratio.get("aim")?;
        Some(Self {
            bench: bench.to_owned(),
            under: text("under")?,
            what: text("what")?,
            ratio: ratio.get("ratio")?.as_f64()?,
            is_lower_bound: aim.get("at")?.as_str()? == "least",
            bound: aim.get("bound")?.as_f64()?,
        })
    }

    /// Parses `what: 0.42 (aim at least 0.50: MISSED)`.
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

    /// Returns the full name in one line.
    pub(crate) fn name(&self) -> String {
        match self.under.as_str() {
            "" => format!("{}: {}", self.bench, self.what),
            under => format!("{}, {under}: {}", self.bench, self.what),
        }
    }

    /// Whether it belongs to this benchmark, and its heading and name begin with these texts.
    pub(crate) fn is(&self, bench: &str, under: &str, what: &str) -> bool {
        self.bench == bench && self.under.starts_with(under) && self.what.starts_with(what)
    }

    /// Returns how many times better than its aim it is; less than one if it misses it.
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

/// Adds the machine on which they were measured, since they mean little without it.
fn record(ratios: &[Ratio]) -> Result<Value, Failure> {
    let commit = output(std::process::Command::new("git").args(["rev-parse", "--short", "HEAD"]))?;
    let rustc = output(std::process::Command::new("rustc").arg("--version"))?;
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let ratios: Vec<_> = ratios
        .iter()
        .map(|ratio| {
            json!({
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
    Ok(json!({
        "commit": commit.trim(),
        "rustc": rustc.trim(),
        "cores": cores,
        "ratios": ratios,
    }))
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

    /// Returns the ratios in the file.
    pub(crate) fn recorded() -> Vec<Ratio> {
        let measured = include_str!("../../../benches/ratios.json");
        ratios_of(&serde_json::from_str(measured).unwrap())
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
        let record = record(&ratios()).unwrap();
        assert_eq!(record["ratios"][0]["aim"]["met"], false);
        assert_eq!(record["ratios"][1]["aim"]["met"], true);
        assert_eq!(record["ratios"][1]["ratio"], 1.2);
    }

    #[test]
    fn a_benchmark_measured_alone_leaves_the_others_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ratios.json");
        let of = |bench: &str, ratios: &[Ratio]| {
            Measured::from([(bench.to_owned(), record(ratios).unwrap())])
        };
        let written = |measured| {
            let known = ["login".to_owned(), "otp".to_owned()];
            written_to(&path, measured, &known).unwrap()
        };
        let first = written(of("login", &ratios()));
        assert_eq!(ratios_of(&first), ratios());
        fs::write(&path, json!(first).to_string()).unwrap();
        let both = written(of("otp", &[]));
        assert_eq!(both.len(), 2);
        assert_eq!(ratios_of(&both), ratios());
        let again = written(of("login", &[]));
        assert_eq!(ratios_of(&again), []);
        fs::write(&path, json!(of("no_longer_there", &ratios())).to_string()).unwrap();
        assert_eq!(written(Measured::new()), Measured::new());
    }
}
