//! Errors of developer commands, with the next step in words.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitStatus,
};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("`{line}` failed: {status}")]
    Command { line: String, status: ExitStatus },

    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },

    #[error("did not run to their end, for the reason above: {}", targets.join(", "))]
    Fuzzing { targets: Vec<String> },

    #[error(
        "{package} must not depend on {dependency}; `cargo tree --package {package} --edges normal \
         --all-features --target all --invert {dependency}` shows how it does"
    )]
    KeptOut {
        package: &'static str,
        dependency: String,
    },

    #[error("{} not found; run\n    {install}", programs.join(", "))]
    MissingPrograms {
        programs: Vec<&'static str>,
        install: String,
    },

    #[error("`{line}` ran no test: was it renamed?")]
    NoTests { line: String },

    #[error("not everything was tried: {}", stages.join(", "))]
    NotWhole { stages: Vec<String> },

    #[error("out of date: {}; if intended, run `{command}`", list(files))]
    Outdated {
        files: Vec<PathBuf>,
        command: &'static str,
    },

    #[error("the stage `{stage}` failed; run it alone with `cargo xtask test {stage}`\n{cause}")]
    Stage { stage: String, cause: Box<Self> },

    #[error("cannot start `{line}`: {source}")]
    Start { line: String, source: io::Error },

    #[error("root is needed by {}, which create networks; run\n    {command}", stages.join(", "))]
    TakesRoot {
        stages: Vec<String>,
        command: String,
    },

    #[error("corpora reach less than {least} % of the lines of: {}", short.join(", "))]
    Uncovered { least: f64, short: Vec<String> },

    #[error("no {kind} is called {name}; there are: {}", known.join(", "))]
    Unknown {
        kind: &'static str,
        name: String,
        known: Vec<String>,
    },

    #[error("{}: {problem}", path.display())]
    Wrong { path: PathBuf, problem: String },
}

impl Failure {
    /// An I/O error of a file or a folder.
    pub(crate) fn at(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File {
            path: path.as_ref().to_owned(),
            source,
        }
    }

    /// Fails if a wanted name is not among the known ones.
    pub(crate) fn unless_known(
        kind: &'static str,
        wanted: &[String],
        known: Vec<String>,
    ) -> Result<(), Self> {
        match wanted.iter().find(|name| !known.contains(name)) {
            Some(name) => Err(Self::Unknown {
                kind,
                name: name.clone(),
                known,
            }),
            None => Ok(()),
        }
    }

    /// A problem with a file or a folder.
    pub(crate) fn wrong(path: impl AsRef<Path>, problem: impl Into<String>) -> Self {
        Self::Wrong {
            path: path.as_ref().to_owned(),
            problem: problem.into(),
        }
    }
}

fn list(files: &[PathBuf]) -> String {
    let names: Vec<String> = files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    names.join(", ")
}
