//! The public items of each published crate are recorded in a file, so that a review sees each change.

use std::{fs, path::PathBuf};

use crate::{
    failure::Failure,
    process::output,
    tools::{self, Toolchain, need_cargo_tool},
    workspace::{self, Member},
};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Writes the files instead of comparing
    #[arg(long)]
    update: bool,
}

/// Compares each crate's public items with its `public-api.txt`, or writes that file.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    need_cargo_tool(&tools::CARGO_PUBLIC_API)?;
    let nightly = Toolchain::nightly()?;
    let mut changed = Vec::new();
    for member in workspace::published()? {
        let snapshot = Snapshot::of(&member, &nightly)?;
        if options.update {
            snapshot.write()?;
        } else if !snapshot.is_current()? {
            changed.push(snapshot.path);
        }
    }
    match changed.as_slice() {
        [] => Ok(()),
        files => Err(Failure::Outdated {
            files: files.to_vec(),
            command: "cargo xtask public-api --update",
        }),
    }
}

/// The stage of `cargo xtask test`.
pub(crate) fn hold() -> Result<(), Failure> {
    run(&Options { update: false })
}

struct Snapshot {
    path: PathBuf,
    text: String,
}

impl Snapshot {
    fn of(member: &Member, nightly: &Toolchain) -> Result<Self, Failure> {
        let list = ["public-api", "--all-features", "--color", "never"];
        let text = output(
            nightly
                .cargo(list)
                // Without derived, automatic and blanket implementations.
                .args(["--simplified", "--simplified", "--simplified"])
                .args(["--package", member.name()?])
                // Lints are for the stable toolchain.
                .env("RUSTFLAGS", "--cap-lints allow"),
        )?;
        Ok(Self {
            path: member.path.with_file_name("public-api.txt"),
            text,
        })
    }

    fn is_current(&self) -> Result<bool, Failure> {
        let written = fs::read_to_string(&self.path).map_err(Failure::at(&self.path))?;
        for (sign, from, to) in [('-', &written, &self.text), ('+', &self.text, &written)] {
            for line in from
                .lines()
                .filter(|line| to.lines().all(|other| other != *line))
            {
                println!("{sign} {line}");
            }
        }
        Ok(written == self.text)
    }

    fn write(&self) -> Result<(), Failure> {
        println!(
            "{}: {} items",
            self.path.display(),
            self.text.lines().count()
        );
        fs::write(&self.path, &self.text).map_err(Failure::at(&self.path))
    }
}
