//! The layout of imports at the head of a file: the standard library, other crates, and what is ours, a block each.
//! rustfmt sorts within blocks; its option for the blocks themselves is for nightly alone.

use std::{collections::HashSet, path::Path};

use crate::{failure::Failure, sources};

/// Where sources are.
const FOLDERS: [&str; 5] = ["benches", "bins", "crates", "examples", "fuzz"];

/// Whose an import is, in the order of the blocks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    Standard,
    Crates,
    Own,
}

/// Checks the imports of every file.
pub(crate) fn check() -> Result<(), Failure> {
    let mut files = 0;
    for folder in FOLDERS {
        for (path, text) in sources::below(Path::new(folder))? {
            files += 1;
            if let Some(line) = misplaced(&text) {
                let problem = format!(
                    "line {line}: imports stand in three blocks (std; other crates; crate, super and modules of \
                     the file), with an empty line between them and none within"
                );
                return Err(Failure::Source { path, problem });
            }
        }
    }
    println!("imports: {files} files");
    Ok(())
}

/// The line of the first import that stands in the wrong block, the first line being 1.
fn misplaced(text: &str) -> Option<usize> {
    let modules: HashSet<&str> = text.lines().filter_map(module).collect();
    let mut last: Option<Origin> = None;
    let (mut is_import, mut is_apart) = (false, false);
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(path) = line.strip_prefix("use ") {
            let origin = origin(path, &modules);
            let is_right = last.is_none_or(|last| last <= origin && (last < origin) == is_apart);
            if !is_right {
                return Some(number);
            }
            (last, is_apart, is_import) = (Some(origin), false, true);
        } else if is_import && (line.starts_with([' ', '}'])) {
            // It goes on.
        } else if line.is_empty() {
            (is_import, is_apart) = (false, true);
        } else if line.starts_with(['#', '/', ' ', '}', ']', ')']) || is_of_the_head(line) {
            is_import = false;
        } else {
            break;
        }
    }
    None
}

/// The module that a line declares.
fn module(line: &str) -> Option<&str> {
    let line = line.strip_prefix("pub ").unwrap_or(line);
    let line = line.strip_prefix("pub(crate) ").unwrap_or(line);
    let name = line.strip_prefix("mod ")?;
    name.split([';', ' ']).next()
}

fn is_of_the_head(line: &str) -> bool {
    let is_public_import = line.starts_with("pub") && line.contains("use ");
    is_public_import
        || line.starts_with("extern crate ")
        || (module(line).is_some() && line.ends_with(';'))
}

fn origin(path: &str, modules: &HashSet<&str>) -> Origin {
    let root = path.split([':', ';', ' ']).next().unwrap_or_default();
    match root {
        "alloc" | "core" | "std" => Origin::Standard,
        "crate" | "self" | "super" => Origin::Own,
        root if modules.contains(root) => Origin::Own,
        _ => Origin::Crates,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_block_has_its_own_and_they_come_in_order() {
        let good = "\
//! A file.

mod wire;

use std::{
    fmt,
    io,
};

use ::http::Method;
#[cfg(unix)]
use rustix::fs;

pub use other::Thing;

use super::Service;
use wire::Body;

fn body() {}

use late::Import;
";
        assert_eq!(misplaced(good), None);
        for (from, to, line) in [
            ("use std::{", "use crate::{", 10),
            ("use wire::Body", "use http::Body", 17),
            ("use rustix", "\nuse rustix", 13),
            ("};\n\nuse ::http", "};\nuse ::http", 9),
        ] {
            assert_eq!(misplaced(&good.replace(from, to)), Some(line), "{to}");
        }
    }
}
