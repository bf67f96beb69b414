//! `cargo xtask instructions`: counts the instructions of each hot path under Valgrind, and compares them with the
//! recorded counts. Times on a busy machine mean little, but counts are the same everywhere with the same toolchain and
//! processor features.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;
use serde_json::Value;
use toml::Table;

use crate::{
    failure::Failure,
    process::{output, run as execute},
    test::Ran,
    tools::{self, Toolchain, need_cargo_tool, need_programs},
    workspace,
};

#[derive(Default, clap::Args)]
pub(crate) struct Options {
    /// Counts with this toolchain, such as 1.95.0, instead of the recorded one; without `--update` this only reports
    #[arg(long)]
    toolchain: Option<String>,

    /// Records new counts, and those that changed by more than the limit
    #[arg(long, requires = "reason")]
    update: bool,

    /// The reason for the new counts
    #[arg(long, value_name = "TEXT", requires = "update", value_parser = some_text)]
    reason: Option<String>,
}

const FILE: &str = "benches/instructions.toml";
const PACKAGE: &str = "keyproof-instructions";
const UPDATE: &str = "cargo xtask instructions --update --reason TEXT";
/// The limit in percent: a larger change is neither noise nor due to another build.
const LIMIT: u64 = 3;

/// Refuses a reason without words: no run would read the file with it.
fn some_text(text: &str) -> Result<String, &'static str> {
    match text.trim() {
        "" => Err("it is empty"),
        text => Ok(text.to_owned()),
    }
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    judge(options).map(drop)
}

/// The stage of `cargo xtask test`.
pub(crate) fn hold() -> Result<Ran, Failure> {
    judge(&Options::default())
}

/// Only reports the counts if the recorded ones are of another toolchain or processor, and so do not show a change.
fn judge(options: &Options) -> Result<Ran, Failure> {
    let written = Record::read(Path::new(FILE))?;
    let toolchain = options.toolchain.as_ref().unwrap_or(&written.toolchain);
    let counted = Counted::with(toolchain)?;
    if let (true, Some(reason)) = (options.update, &options.reason) {
        let record = written.updated(&counted, reason);
        fs::write(FILE, record.to_string()).map_err(Failure::at(FILE))?;
        println!("{FILE} is written");
        return Ok(Ran::Passed);
    }
    let changes = written.changes(&counted);
    for change in &changes {
        println!("{change}");
    }
    if !written.is_of(&counted) {
        println!(
            "counted with {} on `{}`, written down with {} on `{}`: only reported",
            counted.toolchain, counted.processor, written.toolchain, written.processor
        );
        return Ok(Ran::OnlyReported);
    }
    if changes.iter().any(Change::is_past_the_limit) {
        return Err(Failure::Outdated {
            files: vec![PathBuf::from(FILE)],
            command: UPDATE,
        });
    }
    Ok(Ran::Passed)
}

/// The new counts.
struct Counted {
    toolchain: String,
    processor: String,
    instructions: BTreeMap<String, u64>,
}

impl Counted {
    fn with(toolchain: &str) -> Result<Self, Failure> {
        need_programs(tools::COUNTING)?;
        need_cargo_tool(&tools::GUNGRAUN_RUNNER)?;
        let release = Toolchain::release(toolchain)?;
        let cargo = |arguments: &[&str]| {
            let mut command = release.cargo(arguments.iter().copied());
            // Flags of this machine's environment would build another program.
            command.env("RUSTFLAGS", "");
            command
        };
        let program = ["build", "--locked", "--release", "--package", PACKAGE];
        execute(&mut cargo(&program))?;
        let home = workspace::absolute(&workspace::target_folder())?.join("instructions");
        let mut bench = cargo(&["bench", "--locked", "--package", PACKAGE]);
        bench.args(["--", "--output-format=json", "--home"]);
        bench.arg(home);
        Ok(Self {
            toolchain: toolchain.to_owned(),
            processor: processor(&release)?,
            instructions: instructions(&output(&mut bench)?)?,
        })
    }
}

/// Returns the processor features that programs see under Valgrind, and choose their code by.
fn processor(release: &Toolchain) -> Result<String, Failure> {
    let program = release.target_folder().join("release").join(PACKAGE);
    let mut valgrind = Command::new("valgrind");
    let told = output(valgrind.args(["--tool=none", "--quiet"]).arg(program))?;
    Ok(told.trim().to_owned())
}

/// Parses Gungraun's summaries, one per line: the number of instructions of each benchmark.
fn instructions(summaries: &str) -> Result<BTreeMap<String, u64>, Failure> {
    let mut all = BTreeMap::new();
    for line in summaries.lines().filter(|line| line.starts_with('{')) {
        let (name, count) = instructions_of(line).ok_or_else(|| {
            Failure::wrong(
                PACKAGE,
                "gungraun's summary says no instructions: is it of another version?",
            )
        })?;
        all.insert(name, count);
    }
    Ok(all)
}

fn instructions_of(summary: &str) -> Option<(String, u64)> {
    let summary: Value = serde_json::from_str(summary).ok()?;
    let function = summary.get("function_name")?.as_str()?;
    let case = summary.get("id")?.as_str()?;
    let profile = summary.get("profiles")?.get(0)?;
    let count = profile.pointer("/data/total/metrics/Ir/values/new")?;
    Some((format!("{function}/{case}"), count.as_u64()?))
}

/// A recorded count.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Line {
    count: u64,
    reason: String,
}

/// The file with the recorded counts.
#[derive(Debug, PartialEq, Deserialize)]
struct Record {
    toolchain: String,
    processor: String,
    #[serde(rename = "instructions")]
    lines: BTreeMap<String, Line>,
}

impl Record {
    fn read(path: &Path) -> Result<Self, Failure> {
        let table = workspace::read(path)?;
        Self::of(table).ok_or_else(|| {
            Failure::wrong(
                path,
                "has no `toolchain`, no `processor`, or a line without `count` or `reason`",
            )
        })
    }

    fn of(table: Table) -> Option<Self> {
        let record: Self = table.try_into().ok()?;
        let has_reason = |line: &Line| !line.reason.trim().is_empty();
        let is_whole = record.lines.values().all(has_reason);
        is_whole.then_some(record)
    }

    fn is_of(&self, counted: &Counted) -> bool {
        self.toolchain == counted.toolchain && self.processor == counted.processor
    }

    /// Returns all benchmarks that are recorded or were counted, sorted by name.
    fn changes(&self, counted: &Counted) -> Vec<Change> {
        let names = self.lines.keys().chain(counted.instructions.keys());
        let mut names: Vec<&String> = names.collect();
        names.sort_unstable();
        names.dedup();
        names
            .into_iter()
            .map(|name| Change {
                name: name.clone(),
                before: self.lines.get(name).map(|line| line.count),
                now: counted.instructions.get(name).copied(),
            })
            .collect()
    }

    /// Smaller changes keep the recorded count: otherwise many small increases would pass where a large one does not.
    fn updated(&self, counted: &Counted, reason: &str) -> Self {
        let is_same = self.is_of(counted);
        let lines = self.changes(counted).into_iter().filter_map(|change| {
            let kept = self.lines.get(&change.name).cloned();
            let count = change.now?;
            let line = match kept {
                Some(line) if is_same && !change.is_past_the_limit() => line,
                _ => Line {
                    count,
                    reason: reason.to_owned(),
                },
            };
            Some((change.name, line))
        });
        Self {
            lines: lines.collect(),
            toolchain: counted.toolchain.clone(),
            processor: counted.processor.clone(),
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &str| toml::Value::String(text.to_owned());
        writeln!(
            f,
            "# How many instructions each hot path takes, and why it was last written down. More than {LIMIT} % more or less fails\n\
             # the stage `instructions` of `cargo xtask test`; `{UPDATE}` writes it.\n\
             # Another toolchain, or a processor that shows programs under Valgrind other features, is only reported.\n"
        )?;
        writeln!(f, "toolchain = {}", quoted(&self.toolchain))?;
        writeln!(f, "processor = {}", quoted(&self.processor))?;
        writeln!(f, "\n[instructions]")?;
        for (name, Line { count, reason }) in &self.lines {
            let (name, reason) = (quoted(name), quoted(reason));
            writeln!(f, "{name} = {{ count = {count}, reason = {reason} }}")?;
        }
        Ok(())
    }
}

/// A benchmark's old and new count.
struct Change {
    name: String,
    before: Option<u64>,
    now: Option<u64>,
}

impl Change {
    /// Decreases count, too: a recorded count that is too high would hide a later increase.
    fn is_past_the_limit(&self) -> bool {
        let both = self.before.zip(self.now);
        both.is_none_or(|(before, now)| now.abs_diff(before) * 100 > before * LIMIT)
    }

    /// Returns `None` if there is nothing to compare.
    fn percent(&self) -> Option<f64> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "instructions are far fewer than 2^52"
        )]
        let (before, now) = (self.before? as f64, self.now? as f64);
        Some((now / before - 1.0) * 100.0)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, before, now } = self;
        match (before, now, self.percent()) {
            (Some(before), Some(now), Some(percent)) => {
                let mark = if self.is_past_the_limit() {
                    "  CHANGED"
                } else {
                    ""
                };
                write!(
                    f,
                    "{name:<40} {before:>10} {now:>10} {percent:>+8.2} %{mark}"
                )
            }
            (None, Some(now), _) => write!(f, "{name:<40} {:>10} {now:>10}  NEW", "-"),
            _ => write!(f, "{name:<40} is no longer counted  GONE"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: &str = "\
toolchain = '1.95.0'
processor = 'x86_64 aes'
[instructions]
'otp_totp_verify/three_steps' = { count = 1000, reason = 'first' }
'service_login/second_step' = { count = 2000, reason = 'first' }
";

    fn written() -> Record {
        Record::of(WRITTEN.parse().unwrap()).unwrap()
    }

    fn counted(otp: u64, login: u64) -> Counted {
        Counted {
            toolchain: "1.95.0".to_owned(),
            processor: "x86_64 aes".to_owned(),
            instructions: BTreeMap::from([
                ("otp_totp_verify/three_steps".to_owned(), otp),
                ("service_login/second_step".to_owned(), login),
            ]),
        }
    }

    fn fails(counted: &Counted) -> bool {
        let changes = written().changes(counted);
        changes.iter().any(Change::is_past_the_limit)
    }

    #[test]
    fn three_percent_pass_and_no_more_either_way() {
        assert!(!fails(&counted(1_030, 1_940)));
        assert!(fails(&counted(1_031, 2_000)));
        assert!(fails(&counted(1_000, 1_939)));
    }

    #[test]
    fn what_is_new_or_gone_is_written_down() {
        let mut one_more = counted(1_000, 2_000);
        one_more.instructions.insert("mfa/one".to_owned(), 1);
        assert!(fails(&one_more));
        one_more.instructions.clear();
        assert!(fails(&one_more));
    }

    #[test]
    fn another_toolchain_or_processor_says_nothing() {
        let mut other = counted(1_000, 2_000);
        assert!(written().is_of(&other));
        other.processor += " avx512f";
        assert!(!written().is_of(&other));
    }

    #[test]
    fn an_update_writes_what_has_changed_and_why() {
        let updated = written().updated(&counted(1_010, 3_000), "a second signature");
        let kept = Line {
            count: 1_000,
            reason: "first".to_owned(),
        };
        assert_eq!(updated.lines["otp_totp_verify/three_steps"], kept);
        let new = Line {
            count: 3_000,
            reason: "a second signature".to_owned(),
        };
        assert_eq!(updated.lines["service_login/second_step"], new);
        let read = Record::of(updated.to_string().parse().unwrap());
        assert_eq!(read.as_ref(), Some(&updated));
    }

    #[test]
    fn with_another_toolchain_all_is_written_anew() {
        let mut other = counted(1_010, 2_010);
        other.toolchain = "1.96.0".to_owned();
        let updated = written().updated(&other, "Rust 1.96");
        let lines = updated.lines.values();
        assert!(lines.into_iter().all(|line| line.reason == "Rust 1.96"));
        assert_eq!(updated.toolchain, "1.96.0");
    }

    #[test]
    fn a_reason_that_no_run_would_read_is_not_written() {
        assert_eq!(some_text(" Rust 1.96\n"), Ok("Rust 1.96".to_owned()));
        for empty in ["", " \t"] {
            assert!(some_text(empty).is_err(), "{empty:?}");
        }
    }

    #[test]
    fn a_line_has_its_reason() {
        let without = WRITTEN.replacen("reason = 'first'", "reason = ' '", 1);
        assert_eq!(Record::of(without.parse().unwrap()), None);
    }

    #[test]
    fn instructions_are_read_from_gungrauns_summary() {
        let summary =
            r#"{"function_name":"read","id":"of_a_device","profiles":[{"tool":"Callgrind",
            "data":{"parts":[],"total":{"metrics":{"Ir":{"values":{"new":72,"old":70}}}}}}]}"#
                .replace('\n', "");
        let read = instructions(&format!("{summary}\n")).unwrap();
        assert_eq!(read, BTreeMap::from([("read/of_a_device".to_owned(), 72)]));
        assert!(instructions("{\"function_name\":\"read\"}").is_err());
    }
}
