//! The coverage of a crate by its corpora: the replay, instrumented by rustc, as a table of files.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use super::harness::Harness;
use crate::{
    failure::Failure,
    process::{cargo, output, run},
    workspace,
};

const TARGET: &str = "target/coverage";

/// The minimum coverage of a protocol crate's lines, in percent.
const LEAST: f64 = 90.0;

/// Fails if the corpora of a protocol crate cover less than [`LEAST`].
pub(crate) fn show(harnesses: &[Harness]) -> Result<(), Failure> {
    let llvm = Llvm::of_the_toolchain()?;
    let mut short = Vec::new();
    for harness in harnesses {
        let mut files = llvm.lines(harness)?;
        // For the server, only the files that the targets test matter.
        let is_protocol = harness.name() != "server";
        files.retain(|file| is_protocol || file.covered > 0);
        let whole = print(harness, &files);
        if is_protocol && whole.percent() < LEAST {
            short.push(format!("{} ({:.1} %)", harness.name(), whole.percent()));
        }
    }
    if short.is_empty() {
        Ok(())
    } else {
        Err(Failure::Uncovered {
            least: LEAST,
            short,
        })
    }
}

/// A file's lines with code.
struct Lines {
    path: String,
    count: u64,
    covered: u64,
}

impl Lines {
    fn percent(&self) -> f64 {
        match self.count {
            0 => 100.0,
            count => self.covered as f64 * 100.0 / count as f64,
        }
    }
}

fn print(harness: &Harness, files: &[Lines]) -> Lines {
    let whole = Lines {
        path: format!("{}, all", harness.name()),
        count: files.iter().map(|file| file.count).sum(),
        covered: files.iter().map(|file| file.covered).sum(),
    };
    println!(
        "\n{:<60}{:>8}{:>9}{:>9}",
        "file", "lines", "covered", "percent"
    );
    for file in files.iter().chain([&whole]) {
        let (count, covered) = (file.count, file.covered);
        println!(
            "{:<60}{count:>8}{covered:>9}{:>9.1}",
            file.path,
            file.percent()
        );
    }
    whole
}

/// LLVM's tools in rustc's version, from the component `llvm-tools`.
struct Llvm(PathBuf);

impl Llvm {
    fn of_the_toolchain() -> Result<Self, Failure> {
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let library = output(Command::new(rustc).args(["--print", "target-libdir"]))?;
        let tools = Path::new(library.trim()).join("../bin");
        if !tools.join("llvm-profdata").is_file() {
            run(Command::new("rustup").args(["component", "add", "llvm-tools"]))?;
        }
        Ok(Self(tools))
    }

    fn lines(&self, harness: &Harness) -> Result<Vec<Lines>, Failure> {
        let profiles = Path::new(TARGET).join("profiles").join(harness.name());
        workspace::empty(&profiles)?;
        let top = fs::canonicalize(&profiles).map_err(Failure::at(&profiles))?;
        let replay = |arguments: &[&str]| {
            let mut command = cargo(["test", "--locked", "--lib", "--target-dir", TARGET]);
            command
                .arg("--manifest-path")
                .arg(harness.manifest())
                .args(arguments)
                .env("RUSTFLAGS", "-C instrument-coverage")
                .env("LLVM_PROFILE_FILE", top.join("%p-%m.profraw"));
            command
        };
        let messages = output(&mut replay(&["--no-run", "--message-format", "json"]))?;
        run(&mut replay(&[]))?;
        let merged = profiles.join("merged");
        let raw = workspace::entries(&profiles)?;
        run(Command::new(self.0.join("llvm-profdata"))
            .args(["merge", "--sparse", "--output"])
            .arg(&merged)
            .args(raw))?;
        let mut export = Command::new(self.0.join("llvm-cov"));
        export.args(["export", "--summary-only", "--instr-profile"]);
        let report = output(export.arg(&merged).arg(executable(&messages)?))?;
        ours(&report, harness)
    }
}

/// Returns the replay's executable from cargo's messages: it is the only test that is built.
fn executable(messages: &str) -> Result<String, Failure> {
    let mut messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let path = |message: Value| {
        let is_replay = message.pointer("/profile/test")?.as_bool()?;
        let path = message.get("executable")?.as_str()?;
        is_replay.then(|| path.to_owned())
    };
    messages
        .find_map(path)
        .ok_or_else(|| unread("cargo names no executable of the replay"))
}

/// Returns the files of the crates that the package patches, by path.
fn ours(report: &str, harness: &Harness) -> Result<Vec<Lines>, Failure> {
    let report: Value = serde_json::from_str(report).map_err(|error| unread(&error.to_string()))?;
    let top = env::current_dir().map_err(Failure::at("."))?;
    let sources = harness.sources()?;
    let files = report.pointer("/data/0/files").and_then(Value::as_array);
    let files = files.ok_or_else(|| unread("llvm-cov lists no files"))?;
    let lines = |file: &Value| {
        let path = Path::new(file.get("filename")?.as_str()?)
            .strip_prefix(&top)
            .ok()?;
        let is_ours = sources.iter().any(|source| path.starts_with(source));
        let number = |name: &str| file.pointer("/summary/lines")?.get(name)?.as_u64();
        is_ours.then_some(Lines {
            path: path.to_string_lossy().into_owned(),
            count: number("count")?,
            covered: number("covered")?,
        })
    };
    let mut found: Vec<Lines> = files.iter().filter_map(lines).collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    if found.is_empty() {
        Err(unread("llvm-cov lists none of the crate's files"))
    } else {
        Ok(found)
    }
}

fn unread(problem: &str) -> Failure {
    Failure::wrong(TARGET, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_replay_is_told_from_what_else_is_built() {
        let messages = [
            r#"{"reason":"compiler-artifact","profile":{"test":false},"executable":"/a"}"#,
            r#"{"reason":"compiler-artifact","profile":{"test":false},"executable":null}"#,
            r#"{"reason":"compiler-artifact","profile":{"test":true},"executable":"/b"}"#,
            r#"{"reason":"build-finished","success":true}"#,
            "no JSON",
        ];
        assert_eq!(executable(&messages.join("\n")).unwrap(), "/b");
        assert!(executable(messages[0]).is_err());
    }
}
