//! Rules for a file's layout that rustfmt does not have on the stable toolchain. The imports at its head form three
//! blocks, with one `use` per crate; an empty line follows each heading in docs; and `must_use` has a reason.

use std::{collections::HashSet, path::Path};

use crate::{failure::Failure, sources};

/// The folders with sources.
const FOLDERS: [&str; 5] = ["benches", "bins", "crates", "examples", "fuzz"];

/// The origin of an import, in the order of the blocks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    Standard,
    Crates,
    Own,
}

/// Checks the layout of every file.
pub(crate) fn check() -> Result<(), Failure> {
    let mut files = 0;
    for folder in FOLDERS {
        for (path, text) in sources::below(Path::new(folder))? {
            files += 1;
            if let Some((line, rule)) = broken(&text) {
                let problem = format!("line {line}: {rule}");
                return Err(Failure::wrong(path, problem));
            }
        }
    }
    println!("layout: {files} files");
    Ok(())
}

/// Returns the line of the first broken rule, and the rule.
fn broken(text: &str) -> Option<(usize, &'static str)> {
    let imports = "imports are in three blocks (std; other crates; crate, super and modules of the file), with an \
         empty line between them and none within";
    let repeats =
        "all imports of one crate are in one use, unless an attribute is for a part of them";
    let headings = "an empty line follows the heading of a section of docs";
    let must_use = "must_use must name what is lost without the result";
    let broken = [
        (misplaced(text), imports),
        (repeated(text), repeats),
        (crowded(text), headings),
        (unreasoned(text), must_use),
    ];
    broken
        .into_iter()
        .find_map(|(line, rule)| Some((line?, rule)))
}

/// Returns the line of the first heading in docs without an empty line below; lines count from 1.
fn crowded(text: &str) -> Option<usize> {
    let docs = |line: &str| line.trim_start().starts_with("///");
    let lines = (1..).zip(text.lines()).zip(text.lines().skip(1));
    // Other lines with this start are hidden lines of examples.
    let is_heading = |line: &str| {
        let heading = line.trim_start().strip_prefix("/// # ");
        matches!(heading, Some("Errors" | "Examples" | "Panics" | "Safety"))
    };
    let mut headings = lines.filter(|((_, line), _)| is_heading(line));
    let ((line, _), _) = headings.find(|(_, next)| docs(next) && next.trim() != "///")?;
    Some(line)
}

/// Returns the line of the first `must_use` without a reason; lines count from 1.
fn unreasoned(text: &str) -> Option<usize> {
    let mut lines = (1..).zip(text.lines());
    let (line, _) = lines.find(|(_, line)| line.trim() == "#[must_use]")?;
    Some(line)
}

/// Returns the line of the first import in the wrong block; lines count from 1.
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
            // The import continues.
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

/// Returns the line of the first repeated import of a crate at a file's head; lines count from 1.
fn repeated(text: &str) -> Option<usize> {
    let mut roots = HashSet::new();
    let mut has_attribute = false;
    for (number, line) in (1..).zip(text.lines()) {
        let is_import = line.starts_with("use ");
        if is_import && !has_attribute && !roots.insert(root(&line["use ".len()..])) {
            return Some(number);
        }
        let goes_on = line.is_empty() || line.starts_with(['#', '/', ' ', '}', ']', ')']);
        if !is_import && !goes_on && !is_of_the_head(line) {
            break;
        }
        has_attribute = line.starts_with('#');
    }
    None
}

/// Returns the module that a line declares.
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

/// Returns the crate or module at the start of a path.
fn root(path: &str) -> &str {
    let path = path.strip_prefix("::").unwrap_or(path);
    path.split([':', ';', ' ']).next().unwrap_or_default()
}

fn origin(path: &str, modules: &HashSet<&str>) -> Origin {
    match root(path) {
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

    #[test]
    fn what_is_imported_of_one_crate_stands_in_one_use() {
        let good = "#[cfg(unix)]\nuse std::os;\nuse std::{fmt, io};\n\nuse super::*;\n\nfn f() {}\nuse std::fs;\n";
        assert_eq!(repeated(good), None);
        assert_eq!(repeated(&good.replace("#[cfg(unix)]\n", "")), Some(2));
        assert_eq!(
            repeated(&good.replace("use super::*;", "use ::std::fs;")),
            Some(5)
        );
    }

    #[test]
    fn a_heading_stands_apart_and_must_use_says_why() {
        let good = "/// # Errors\n///\n/// None.\n#[must_use = \"it is lost\"]\nfn f() {}\n";
        assert_eq!(broken(good), None);
        assert_eq!(crowded(&good.replace("///\n", "")), Some(1));
        assert_eq!(crowded("/// # use std::fmt;\n/// f();\n"), None);
        assert_eq!(unreasoned(&good.replace(" = \"it is lost\"", "")), Some(4));
    }
}
