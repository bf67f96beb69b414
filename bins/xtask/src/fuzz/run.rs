//! Runs targets, and records the last run of each on a page.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    slice,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use super::harness::{Target, UNITS};
use crate::{
    failure::Failure,
    process::{cargo, output, watch},
    tools::{self, need_cargo_tool, need_programs},
};

/// How targets are run.
#[derive(clap::Args)]
pub(crate) struct Plan {
    /// How long each target runs
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,

    /// How many targets run at the same time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    jobs: u32,

    /// Multiplies the targets' time limits for an input, for a busy machine
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    patience: u32,

    /// Writes each run into fuzz/RUNS.md when it ends
    #[arg(long)]
    record: bool,
}

/// Runs all targets in order, several at a time as planned. After a finding, cargo-fuzz prints where the input is and
/// how to run it again; the other targets still run.
pub(crate) fn all(targets: &[Target], plan: &Plan) -> Result<(), Failure> {
    need_programs(tools::FUZZING)?;
    need_cargo_tool(&tools::CARGO_FUZZ)?;
    let waiting = Mutex::new(targets.iter());
    let page = Mutex::new(());
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..plan.jobs {
            scope.spawn(|| {
                while let Some(target) = next(&waiting) {
                    if let Err(failure) = one(target, plan, &page) {
                        eprintln!("{}: {failure}", target.name);
                        lock(&failed).push(target.name.clone());
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if !failed.is_empty() {
        return Err(Failure::Fuzzing { targets: failed });
    }
    let seconds = plan.seconds;
    println!("\n{} targets, {seconds} s each: no finding", targets.len());
    Ok(())
}

fn next<'a>(waiting: &Mutex<slice::Iter<'a, Target>>) -> Option<&'a Target> {
    lock(waiting).next()
}

/// A thread that panicked left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn one(target: &Target, plan: &Plan, page: &Mutex<()>) -> Result<(), Failure> {
    let executions = fuzz(target, plan)?;
    println!("{}: {executions} executions", target.name);
    if plan.record {
        let _one_writer = lock(page);
        write_down(target, plan.seconds, executions)?;
    }
    Ok(())
}

fn fuzz(target: &Target, plan: &Plan) -> Result<u64, Failure> {
    // New inputs go to the first corpus, so that the committed one does not change.
    let found = Path::new("target/fuzz-corpus").join(&target.name);
    fs::create_dir_all(&found).map_err(Failure::at(&found))?;
    let mut command = cargo(["fuzz", "run", "--sanitizer", "none", "--fuzz-dir"]);
    command
        .arg(&target.folder)
        // All packages share their builds.
        .args(["--target-dir", "target/fuzz"])
        .args(UNITS)
        .arg(&target.name)
        .args([found, target.corpus()])
        .args(target.regressions())
        .arg("--")
        .arg(format!("-max_total_time={}", plan.seconds))
        .args(target.options()?.flags(plan.patience))
        .arg("-print_final_stats=1");
    if let Some(dictionary) = target.dictionary() {
        command.arg(format!("-dict={}", dictionary.display()));
    }
    let stats = shown(&mut command, &target.name)?;
    stats.ok_or_else(|| {
        let problem = format!("{} ended without its statistics", target.name);
        Failure::wrong(&target.folder, problem)
    })
}

/// Runs it, shows its output under the target's name, and returns the number of executions from that.
fn shown(command: &mut Command, name: &str) -> Result<Option<u64>, Failure> {
    let mut executions = None;
    command.stderr(Stdio::piped());
    watch(
        command,
        |child| child.stderr.take(),
        |text| {
            eprintln!("{name}: {text}");
            executions = executed(text).or(executions);
        },
    )?;
    Ok(executions)
}

fn executed(line: &str) -> Option<u64> {
    let number = line.strip_prefix("stat::number_of_executed_units:")?;
    number.trim().parse().ok()
}

const RUNS: &str = "fuzz/RUNS.md";

fn write_down(target: &Target, seconds: u32, executions: u64) -> Result<(), Failure> {
    let commit = output(Command::new("git").args(["rev-parse", "--short", "HEAD"]))?;
    let day = output(Command::new("date").args(["--utc", "+%F"]))?;
    let row = format!(
        "| {} | {} | {} | {seconds} | {executions} |",
        target.name,
        day.trim(),
        commit.trim()
    );
    let path = Path::new(RUNS);
    let page = fs::read_to_string(path).map_err(Failure::at(path))?;
    fs::write(path, with_row(&page, &target.name, &row)).map_err(Failure::at(path))
}

/// Replaces the target's row on the page, or adds it. Rows are sorted by name, at the page's end.
fn with_row(page: &str, target: &str, row: &str) -> String {
    let is_row = |line: &str| line.starts_with("| ") && line.contains('_');
    let last = format!("| {target} |");
    let (rows, mut lines): (Vec<&str>, Vec<&str>) = page.lines().partition(|line| is_row(line));
    let mut rows: Vec<&str> = rows
        .into_iter()
        .filter(|line| !line.starts_with(&last))
        .chain([row])
        .collect();
    rows.sort_unstable();
    lines.extend(rows);
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_executions_is_libfuzzers() {
        let line = "stat::number_of_executed_units: 2097152";
        assert_eq!(executed(line), Some(2_097_152));
        assert_eq!(executed("stat::new_units_added:          12"), None);
    }

    #[test]
    fn a_run_takes_the_place_of_the_last_one() {
        let head =
            "# Runs\n\n| target | day | commit | seconds | executions |\n|---|---|---|---|---|\n";
        let one = with_row(head, "b_b", "| b_b | 2027-01-01 | abc | 60 | 1 |");
        assert_eq!(one, format!("{head}| b_b | 2027-01-01 | abc | 60 | 1 |\n"));
        let two = with_row(&one, "a_a", "| a_a | 2027-01-01 | abc | 60 | 2 |");
        let again = with_row(&two, "b_b", "| b_b | 2027-01-02 | def | 600 | 3 |");
        let rows = "| a_a | 2027-01-01 | abc | 60 | 2 |\n| b_b | 2027-01-02 | def | 600 | 3 |\n";
        assert_eq!(again, format!("{head}{rows}"));
    }
}
