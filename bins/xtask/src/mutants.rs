//! `cargo xtask mutants CRATE`: lists the mutants of a crate that its tests do not detect, and compares them with the
//! accepted ones.

use std::{collections::BTreeSet, fs, path::Path};

use serde::Deserialize;
use serde_json::Value;

use crate::{
    failure::Failure,
    process::{cargo, status},
    tools::{self, need_cargo_tool},
    workspace,
};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The crate, such as `otp`
    name: String,

    /// Only these mutants, by a regular expression of cargo-mutants
    #[arg(long)]
    matching: Option<String>,
}

/// Tests the crate with each mutation of cargo-mutants. Fails for undetected mutants that are not in the crate's
/// `mutants.toml` with a reason why they are harmless.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    need_cargo_tool(&tools::CARGO_MUTANTS)?;
    let package = format!("keyproof-{}", options.name);
    let published = workspace::published()?;
    let mut members = published.iter();
    let Some(member) = members.find(|member| member.name().is_ok_and(|name| name == package))
    else {
        let names = published.iter().filter_map(|member| member.name().ok());
        return Err(Failure::Unknown {
            kind: "crate",
            name: package,
            known: names.map(str::to_owned).collect(),
        });
    };
    let output = workspace::target_folder()
        .join("mutants")
        .join(&options.name);
    fs::create_dir_all(&output).map_err(Failure::at(&output))?;
    let mut mutants = cargo(["mutants", "--package", &package, "--all-features"]);
    mutants.args([
        "--jobs",
        "1",
        "--no-shuffle",
        "--colors",
        "never",
        "--output",
    ]);
    mutants.arg(&output);
    if let Some(matching) = &options.matching {
        mutants.args(["--re", matching]);
    }
    let code = status(&mut mutants)?.code();
    // cargo-mutants' exit codes: 2 for undetected mutants, 3 for timeouts.
    if !matches!(code, Some(0 | 2 | 3)) {
        return Err(Failure::wrong(output, "cargo-mutants came to no end"));
    }
    let results = output.join("mutants.out");
    need_mutants(&results)?;
    let survivors = survivors(&results, member.folder())?;
    let path = member.path.with_file_name("mutants.toml");
    compare(&path, &survivors, options.matching.is_none())
}

/// Fails if there was no mutant to test: cargo-mutants reports success if none matches.
fn need_mutants(results: &Path) -> Result<(), Failure> {
    let path = results.join("mutants.json");
    let text = fs::read_to_string(&path).map_err(Failure::at(&path))?;
    let mutants: Vec<Value> =
        serde_json::from_str(&text).map_err(|error| Failure::wrong(&path, error.to_string()))?;
    if mutants.is_empty() {
        return Err(Failure::wrong(path, "has no mutant: none was tested"));
    }
    Ok(())
}

/// Returns the undetected mutants and timeouts without line numbers, which change with any edit above.
fn survivors(results: &Path, folder: &Path) -> Result<BTreeSet<String>, Failure> {
    let mut survivors = BTreeSet::new();
    for list in ["missed.txt", "timeout.txt"] {
        let path = results.join(list);
        let text = fs::read_to_string(&path).map_err(Failure::at(&path))?;
        survivors.extend(text.lines().filter_map(|line| without_place(line, folder)));
    }
    Ok(survivors)
}

/// Turns `crates/otp/src/code.rs:12:9: replace …` into `src/code.rs: replace …`.
fn without_place(line: &str, folder: &Path) -> Option<String> {
    let (file, rest) = line.split_once(':')?;
    let (_, rest) = rest.split_once(':')?;
    let (_, mutation) = rest.split_once(": ")?;
    let file = Path::new(file)
        .strip_prefix(folder)
        .unwrap_or(Path::new(file));
    Some(format!("{}: {mutation}", file.display()))
}

fn compare(path: &Path, survivors: &BTreeSet<String>, is_whole: bool) -> Result<(), Failure> {
    let accepted = accepted(path)?;
    let surprises: Vec<&String> = survivors.difference(&accepted).collect();
    let gone: Vec<&String> = accepted.difference(survivors).collect();
    for survivor in &surprises {
        println!("SURVIVES {survivor}");
    }
    if is_whole {
        for mutant in &gone {
            println!("NOTICED NOW, or no longer there: {mutant}");
        }
    }
    println!(
        "{} survive, {} of them as written down",
        survivors.len(),
        survivors.len() - surprises.len()
    );
    if surprises.is_empty() && (gone.is_empty() || !is_whole) {
        return Ok(());
    }
    Err(Failure::wrong(
        path,
        "is no longer the list of what survives; write a test, or an entry with the reason why none is needed",
    ))
}

/// The file with the accepted mutants.
#[derive(Deserialize)]
struct Accepted {
    #[serde(default)]
    survivor: Vec<Survivor>,
}

#[derive(Deserialize)]
struct Survivor {
    why: String,
    mutants: Vec<String>,
}

/// Returns the accepted mutants in the file. Each must have a reason.
fn accepted(path: &Path) -> Result<BTreeSet<String>, Failure> {
    if !path.exists() {
        return Ok(BTreeSet::new());
    }
    let file: Option<Accepted> = workspace::read(path)?.try_into().ok();
    let is_whole = |file: &Accepted| file.survivor.iter().all(|entry| !entry.why.is_empty());
    let file = file
        .filter(is_whole)
        .ok_or_else(|| Failure::wrong(path, "has an entry without `mutants` or without `why`"))?;
    let mutants = file.survivor.into_iter().flat_map(|entry| entry.mutants);
    Ok(mutants.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MUTANT: &str = "src/code.rs: replace < with <= in Code::parse";

    fn set(mutants: &[&str]) -> BTreeSet<String> {
        mutants.iter().map(|mutant| (*mutant).to_owned()).collect()
    }

    #[test]
    fn a_mutant_is_known_by_what_it_does_and_not_by_its_line() {
        let line = "crates/otp/src/code.rs:12:9: replace < with <= in Code::parse";
        let folder = Path::new("crates/otp");
        assert_eq!(without_place(line, folder).as_deref(), Some(MUTANT));
        assert_eq!(without_place("no mutant", folder), None);
    }

    #[test]
    fn a_run_without_a_mutant_shows_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert!(need_mutants(folder.path()).is_err());
        for (list, is_enough) in [("[]", false), ("[{\"line\": 1}]", true), ("{}", false)] {
            fs::write(folder.path().join("mutants.json"), list).unwrap();
            assert_eq!(need_mutants(folder.path()).is_ok(), is_enough, "{list}");
        }
    }

    #[test]
    fn what_survives_is_written_down_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mutants.toml");
        assert!(compare(&path, &set(&[]), true).is_ok());
        assert!(compare(&path, &set(&[MUTANT]), true).is_err());
        fs::write(
            &path,
            format!("[[survivor]]\nwhy = 'equal'\nmutants = ['{MUTANT}']\n"),
        )
        .unwrap();
        assert!(compare(&path, &set(&[MUTANT]), true).is_ok());
        assert!(compare(&path, &set(&[]), true).is_err());
        assert!(compare(&path, &set(&[]), false).is_ok());
        fs::write(&path, format!("[[survivor]]\nmutants = ['{MUTANT}']\n")).unwrap();
        assert!(compare(&path, &set(&[MUTANT]), true).is_err());
    }
}
