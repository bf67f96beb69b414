//! The parts of a README that a newcomer copies: the lines of the manifest, and the programs.

use std::{fs, path::Path};

use crate::failure::Failure;

/// The first `[dependencies]` of a README, and its programs.
#[derive(Debug)]
pub(crate) struct Readme {
    pub(crate) dependencies: String,
    /// The programs, unchanged. Only rustdoc hides lines that begin with `# `; readers elsewhere see and copy them.
    pub(crate) programs: Vec<String>,
}

impl Readme {
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(Failure::at(path))?;
        Self::parse(&text).ok_or_else(|| {
            Failure::wrong(
                path,
                "has no block of `toml` with [dependencies], or none of `rust`",
            )
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let dependencies = blocks(text, "toml").into_iter().next()?;
        dependencies.starts_with("[dependencies]\n").then_some(())?;
        let programs = blocks(text, "rust");
        (!programs.is_empty()).then_some(Self {
            dependencies,
            programs,
        })
    }

    /// Returns the number of non-blank lines of the longest program.
    pub(crate) fn lines(&self) -> usize {
        let lines = |program: &String| {
            let lines = program.lines();
            lines.filter(|line| !line.trim().is_empty()).count()
        };
        self.programs.iter().map(lines).max().unwrap_or_default()
    }
}

/// Returns the fenced blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let opened = text.split(&*fence).skip(1);
    let closed = opened.filter_map(|rest| Some(rest.split_once("```\n")?.0.to_owned()));
    closed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDENCIES: &str = "```toml\n[dependencies]\nkeyproof-otp = \"0.1\"\n```\n";

    #[test]
    fn the_lines_of_the_manifest_are_as_they_stand() {
        let text = format!("{DEPENDENCIES}```rust\nlet a = 1;\n```\n");
        assert_eq!(
            Readme::parse(&text).unwrap().dependencies,
            "[dependencies]\nkeyproof-otp = \"0.1\"\n"
        );
        assert!(Readme::parse("```rust\nlet a = 1;\n```\n").is_none());
        assert!(Readme::parse(DEPENDENCIES).is_none());
    }

    #[test]
    fn every_program_is_one_as_it_stands_and_what_readers_see_of_it_is_a_line() {
        let (one, other) = (
            "fn main() {}\n",
            "use a::B;\n\n# hidden();\nfn main() {\n}\n",
        );
        let text = format!(
            "# A crate\n\n{DEPENDENCIES}\nText.\n\n```rust\n{one}```\nText.\n```rust\n{other}```\n"
        );
        let readme = Readme::parse(&text).unwrap();
        assert_eq!(readme.programs, [one, other]);
        assert_eq!(readme.lines(), 4);
    }
}
