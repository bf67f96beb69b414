//! What a README tells a newcomer to copy: the lines of the manifest, and the program.

use std::{fs, path::Path};

use crate::failure::Failure;

/// The first `[dependencies]` and the first program of a README.
#[derive(Debug)]
pub(crate) struct Readme {
    pub(crate) dependencies: String,
    example: String,
}

impl Readme {
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(|source| Failure::File {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text).ok_or_else(|| Failure::Manifest {
            path: path.to_owned(),
            problem: "has no block of `toml` with [dependencies], or none of `rust`".to_owned(),
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let dependencies = block(text, "toml")?;
        dependencies.starts_with("[dependencies]\n").then_some(())?;
        Some(Self {
            dependencies,
            example: block(text, "rust")?,
        })
    }

    /// How many lines of the program a reader sees: blank and hidden ones are none.
    pub(crate) fn lines(&self) -> usize {
        let seen = |line: &&str| !line.trim().is_empty() && shown(line).trim_end() == *line;
        self.example.lines().filter(seen).count()
    }

    /// The program, as rustdoc makes one of a documentation test: hidden lines shown, and a `main` around it.
    pub(crate) fn program(&self) -> String {
        let code: String = self.example.lines().map(shown).collect();
        if code.contains("fn main()") {
            return code;
        }
        if code.trim_end().ends_with("(())") {
            format!(
                "fn main() {{\n    task().unwrap();\n}}\n\nfn task() -> Result<(), impl core::fmt::Debug> {{\n{code}}}\n"
            )
        } else {
            format!("fn main() {{\n{code}}}\n")
        }
    }
}

/// The first fenced block of a language.
fn block(text: &str, language: &str) -> Option<String> {
    let mut lines = text.lines();
    lines.find(|line| *line == format!("```{language}"))?;
    let block: Vec<&str> = lines.take_while(|line| *line != "```").collect();
    Some(block.join("\n") + "\n")
}

fn shown(line: &str) -> String {
    let line = match line.trim_start() {
        "#" => "",
        hidden => hidden.strip_prefix("# ").unwrap_or(line),
    };
    format!("{line}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDENCIES: &str = "```toml\n[dependencies]\nkeyproof-otp = \"0.1\"\n```\n";

    fn program(example: &str) -> String {
        let text = format!("# A crate\n\n{DEPENDENCIES}\nText.\n\n```rust\n{example}```\n");
        Readme::parse(&text).unwrap().program()
    }

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
    fn what_a_reader_does_not_see_is_no_line() {
        let lines = |example: &str| {
            let text = format!("{DEPENDENCIES}```rust\n{example}```\n");
            Readme::parse(&text).unwrap().lines()
        };
        assert_eq!(
            lines(
                "use a::B;\n\n# fn main() {\n    # hidden();\n#[derive(Debug)]\nstruct C;\n#\n# }\n"
            ),
            3
        );
    }

    #[test]
    fn a_program_is_what_rustdoc_would_run() {
        assert_eq!(program("let a = 1;\n"), "fn main() {\nlet a = 1;\n}\n");
        assert_eq!(
            program("# fn main() -> Result<(), E> {\n#[derive(Debug)]\n#\nf()?;\n# Ok(())\n# }\n"),
            "fn main() -> Result<(), E> {\n#[derive(Debug)]\n\nf()?;\nOk(())\n}\n"
        );
        assert!(
            program("f()?;\n# Ok::<(), E>(())\n")
                .ends_with("impl core::fmt::Debug> {\nf()?;\nOk::<(), E>(())\n}\n")
        );
    }
}
