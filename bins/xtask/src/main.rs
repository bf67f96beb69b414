//! keyproof's developer commands: CONTRIBUTING.md lists them.

mod architecture;
mod bench;
mod chart;
mod data_model;
mod distribution;
mod docs_rs;
mod failure;
mod fuzz;
mod instructions;
mod layers;
mod layout;
mod mutants;
mod packages;
mod postgres;
mod process;
mod public_api;
mod readme;
mod screenshots;
mod sources;
mod test;
mod toolchains;
mod tools;
mod upgrade;
mod wire_words;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

use crate::failure::Failure;

/// keyproof's developer commands
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
enum Xtask {
    /// Runs every check and every test, as CI does; installs what they need
    Test(test::Options),
    /// Runs the fuzz targets on the stable toolchain
    Fuzz(fuzz::Options),
    /// Compares the public items of each published crate with its public-api.txt
    PublicApi(public_api::Options),
    /// Builds the Debian package and the OCI image, each with a bill of materials
    Package(distribution::Options),
    /// Runs cargo-mutants on a crate, and lists the mutants that its tests do not detect
    Mutants(mutants::Options),
    /// Counts the instructions of hot paths, and compares them with benches/instructions.toml
    Instructions(instructions::Options),
    /// Takes a picture of every page of the sites in Chromium
    Screenshots(screenshots::Options),
    /// Builds and runs the benchmarks
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let xtask = Xtask::parse();
    match workspace::enter().and_then(|()| xtask.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nxtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

impl Xtask {
    fn run(self) -> Result<(), Failure> {
        match self {
            Self::Test(options) => test::run(&options),
            Self::Fuzz(options) => fuzz::run(&options),
            Self::PublicApi(options) => public_api::run(&options),
            Self::Package(options) => distribution::run_package(&options),
            Self::Mutants(options) => mutants::run(&options),
            Self::Instructions(options) => instructions::run(&options),
            Self::Screenshots(options) => screenshots::run(&options),
            Self::Bench(options) => bench::run(&options),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use std::{
        collections::BTreeSet,
        fs,
        path::{Path, PathBuf},
    };

    /// Returns the workspace's documents, except the changelogs.
    fn documents() -> Vec<PathBuf> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let folders = [
            "",
            "docs",
            "docs/operate",
            "fuzz",
            "benches",
            "benches/compare",
        ];
        let mut documents = Vec::new();
        for folder in folders {
            for entry in fs::read_dir(root.join(folder)).unwrap() {
                let path = entry.unwrap().path();
                let is_history = path.ends_with("CHANGELOG.md");
                if path.extension().is_some_and(|end| end == "md") && !is_history {
                    documents.push(path);
                }
            }
        }
        assert!(documents.len() > 10, "{documents:?}");
        documents
    }

    /// Returns the commands in a text as lists of words, including words in brackets.
    fn commands(text: &str) -> Vec<Vec<String>> {
        let named = text.split("cargo xtask").skip(1);
        let named = named.map(|rest| rest.split(['`', '\n', '#']).next().unwrap_or_default());
        let words = |command: &str| {
            let given = command.replace(['[', ']'], "");
            given.split_whitespace().map(str::to_owned).collect()
        };
        named.map(words).collect()
    }

    #[test]
    fn documents_name_commands_that_there_are_and_the_list_for_contributors_all_of_them() {
        for path in documents() {
            let text = fs::read_to_string(&path).unwrap();
            for command in commands(&text) {
                // Skips the program itself, and remarks about every command.
                if command.is_empty() || command.iter().any(|word| word == "--help") {
                    continue;
                }
                let words = ["xtask".to_owned()].into_iter().chain(command);
                if let Err(error) = Xtask::try_parse_from(words) {
                    panic!("{}: {error}", path.display());
                }
            }
        }
        let list = include_str!("../../../CONTRIBUTING.md");
        let listed: BTreeSet<String> = commands(list)
            .into_iter()
            .filter_map(|command| command.into_iter().next())
            .collect();
        for command in Xtask::command().get_subcommands() {
            let name = command.get_name();
            assert!(
                listed.contains(name),
                "CONTRIBUTING.md does not list {name}"
            );
        }
    }
}
