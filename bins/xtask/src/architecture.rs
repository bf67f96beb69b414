//! Checks ARCHITECTURE.md: every source that it names exists; and from its section about URLs on, the files contain the
//! items named.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

use crate::{failure::Failure, sources};

const PAGE: &str = "ARCHITECTURE.md";

/// The start of the part whose items are checked: prose and tables, line by line.
const HEADING: &str = "## From a URL to its rule";

/// The section that belongs to no contract. It names files from the whole workspace.
const NO_CONTRACT: &str = "### On every listener";

/// The folders that a file may be in, in addition to those in a section's heading.
const FOLDERS: [&str; 4] = ["crates", "bins/keyproof/src", "crates/service/src", ""];

/// Words in code style that are not items of Rust.
const METHODS: [&str; 4] = ["DELETE", "GET", "PATCH", "POST"];

/// Keywords that make the next word an item.
const KINDS: [&str; 7] = ["const", "enum", "fn", "static", "struct", "trait", "type"];

/// The file with the operations of a contract or a site, one per line.
const TABLE: &str = "routes.rs";

/// The starts of its lines.
const MAKERS: [&str; 6] = [
    "form(",
    "login_route(",
    "page(",
    "route(",
    "show(",
    "upload(",
];

/// The folders with the sources that the page names.
const SOURCES: [&str; 3] = ["crates", "bins/keyproof/src", "bins/xtask/src"];

/// Checks every source that is named; every function, type and constant that is named from the section about URLs on;
/// and that each operation has a row there.
pub(crate) fn check() -> Result<(), Failure> {
    let page = fs::read_to_string(PAGE).map_err(Failure::at(PAGE))?;
    let mut tree = Tree::default();
    for folder in SOURCES {
        tree.sources.extend(sources::below(Path::new(folder))?);
    }
    let wrong = |problem: String| Failure::wrong(PAGE, problem);
    let paths = tree.paths_in(&page).map_err(wrong)?;
    let names = tree.named_in(&page).map_err(wrong)?;
    println!("{PAGE}: {paths} paths of sources; from URLs on, {names} names of files and items");
    Ok(())
}

/// The sources by path.
#[derive(Default)]
struct Tree {
    sources: HashMap<PathBuf, String>,
}

impl Tree {
    /// Counts the paths of sources, or returns the first that is not exactly one source. The file names that every
    /// dialect has are exempt.
    fn paths_in(&self, page: &str) -> Result<usize, String> {
        let mut count = 0;
        for line in page.lines() {
            for path in spans(line).filter(|span| span.ends_with(".rs")) {
                let files = self.sources.keys().filter(|file| file.ends_with(path));
                match files.count() {
                    0 => return Err(format!("there is no source {path}: {}", line.trim())),
                    2.. if path.contains('/') => {
                        return Err(format!("several sources are {path}: {}", line.trim()));
                    }
                    _ => count += 1,
                }
            }
        }
        Ok(count)
    }

    /// Counts the names, or returns the first that does not exist.
    fn named_in(&self, page: &str) -> Result<usize, String> {
        let (_, part) = page
            .split_once(HEADING)
            .ok_or_else(|| format!("has no section {HEADING:?}"))?;
        let part = part.split("\n## ").next().unwrap_or_default();
        let mut section = Section::default();
        let (mut count, mut told) = (0, HashSet::new());
        for line in part.lines() {
            if line.starts_with("### ") {
                section = Section::of(line);
                if section.folders.is_empty() && line != NO_CONTRACT {
                    return Err(format!("names no routes.rs and no folder: {line}"));
                }
                continue;
            }
            if let Some(row) = line.strip_prefix("| `") {
                let lines = self.operation(row, &section);
                told.extend(lines.map_err(|why| format!("{why}: {line}"))?);
            }
            // The first cell is the operation.
            let cells = line
                .split('|')
                .skip(if line.starts_with('|') { 2 } else { 0 });
            for clause in cells.flat_map(|cell| cell.split(';')) {
                let named = self.clause(clause, &section);
                count += named.map_err(|why| format!("{why}: {}", line.trim()))?;
            }
        }
        let files = self.sources.iter();
        for (path, table) in files.filter(|(path, _)| path.ends_with(TABLE)) {
            if let Some(line) = lines(table).find(|line| !told.contains(&(path.as_path(), *line))) {
                let path = path.display();
                return Err(format!("has no row for a line of {path}: {line}"));
            }
        }
        Ok(count)
    }

    /// Returns the lines for the row's method and path, each with its table, or an error if there is none.
    fn operation(&self, row: &str, section: &Section) -> Result<Vec<(&Path, &str)>, String> {
        let operation = row.split('`').next().unwrap_or_default();
        let (method, path) = operation.split_once(' ').unwrap_or_default();
        let mut found = Vec::new();
        for folder in &section.folders {
            if let Some((table, text)) = self.sources.get_key_value(&folder.join(TABLE)) {
                found.extend(lines_for(text, method, path).map(|line| (table.as_path(), line)));
            }
        }
        if found.is_empty() {
            return Err(format!("no route table has {operation}"));
        }
        Ok(found)
    }

    /// Checks a clause. Names come before their file; without a file, they are in the section's folders.
    fn clause(&self, clause: &str, section: &Section) -> Result<usize, String> {
        let (mut names, mut count) = (Vec::new(), 0);
        for span in spans(clause) {
            if span.ends_with(".rs") {
                let files = self.files(span, section);
                // A file name without a path is that of every dialect.
                if files.is_empty() && !section.folders.is_empty() {
                    return Err(format!("there is no file {span}"));
                }
                for name in names.drain(..) {
                    if !section.folders.is_empty() && !files.iter().any(|text| has(text, name)) {
                        return Err(format!("there is no {name} in {span}"));
                    }
                }
                count += 1;
            } else if is_item(span) {
                names.push(span);
                count += 1;
            }
        }
        for name in names {
            let texts = self.sources.iter();
            let mut texts = texts.filter(|(path, _)| section.contains(path));
            if !section.folders.is_empty() && !texts.any(|(_, text)| has(text, name)) {
                return Err(format!("there is no {name}"));
            }
        }
        Ok(count)
    }

    fn files(&self, name: &str, section: &Section) -> Vec<&str> {
        let own = section.folders.iter().map(PathBuf::as_path);
        let folders = own.chain(FOLDERS.map(Path::new));
        let found = folders.filter_map(|folder| self.sources.get(&folder.join(name)));
        found.map(String::as_str).collect()
    }
}

/// A contract's part of the page.
#[derive(Default)]
struct Section {
    /// The folders of its dialect or site, and of its domain.
    folders: Vec<PathBuf>,
}

impl Section {
    fn of(heading: &str) -> Self {
        let folders = spans(heading).filter_map(|span| match span.strip_suffix("/routes.rs") {
            Some(folder) => Some(Path::new("bins/keyproof/src").join(folder)),
            None => Some(PathBuf::from(span.strip_suffix('/')?)),
        });
        Self {
            folders: folders.collect(),
        }
    }

    fn contains(&self, path: &Path) -> bool {
        self.folders.iter().any(|folder| path.starts_with(folder))
    }
}

/// Returns the lines of a route table.
fn lines(table: &str) -> impl Iterator<Item = &str> {
    let lines = table.lines().map(str::trim_start);
    lines.filter(|line| MAKERS.iter().any(|maker| line.starts_with(maker)))
}

/// Returns the lines of a route table with this method and this path, or with the constant that is the path. Pages and
/// forms have an implicit method.
fn lines_for<'t>(table: &'t str, method: &str, path: &str) -> impl Iterator<Item = &'t str> {
    let written = format!("\"{}\"", path.trim_start_matches('…'));
    let constant = table.lines().find_map(|line| {
        let (name, value) = line.split_once("const ")?.1.split_once(':')?;
        value.contains(&written).then(|| format!(" {name},"))
    });
    let unsaid: &[&str] = match method {
        "GET" => &["page(", "show("],
        "POST" => &["form(", "upload("],
        _ => &[],
    };
    let said = format!("Method::{method},");
    lines(table).filter(move |line| {
        let is_for_method =
            line.contains(&said) || unsaid.iter().any(|maker| line.starts_with(maker));
        let is_constant = || constant.as_ref().is_some_and(|name| line.contains(name));
        is_for_method && (line.contains(&written) || is_constant())
    })
}

/// Returns the texts in backquotes.
pub(crate) fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Whether a text may be a function, a type, a constant or an item of a type.
pub(crate) fn is_item(span: &str) -> bool {
    let is_word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_alphabetic())
            && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    !METHODS.contains(&span) && span.split("::").all(is_word)
}

/// Whether a source defines this item. For an item of a type, the source must also contain the type.
pub(crate) fn has(source: &str, item: &str) -> bool {
    let (owner, name) = match item.rsplit_once("::") {
        Some((owner, name)) => (Some(owner), name),
        None => (None, item),
    };
    let code = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let (mut is_defined, mut has_owner) = (false, owner.is_none());
    for line in code {
        let words = line.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        let mut pairs = words.windows(2);
        is_defined |= pairs.any(|pair| match pair {
            [kind, defined] => KINDS.contains(kind) && *defined == name,
            _ => false,
        });
        has_owner |= owner.is_some_and(|owner| words.contains(&owner));
    }
    is_defined && has_owner
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "
## Elsewhere
`nothing.rs`
## From a URL to its rule
Of `ROUTES` in the dialect's `routes.rs`.

### F5: `dialect/f5/routes.rs`, `crates/service/src/devices/`
The token: `permit` in `caller.rs`.

| operation | use case | rule |
|---|---|---|
| `GET …/a` | `list` in `objects.rs` | `Name::parse` in `tpm/src/name.rs`; there `order` |
| `PUT …/list` | — | — |
| `GET /page` | — | — |

## Behind
`nothing.rs`
";

    fn tree() -> Tree {
        let sources = [
            (
                "bins/keyproof/src/dialect/f5/routes.rs",
                "const LIST: &str = api!(\"/list\");\nroute(Method::GET, api!(\"/a\"), 0),\nroute(Method::PUT, LIST, 0),\npage(\"/page\", 0),",
            ),
            (
                "crates/service/src/devices/caller.rs",
                "pub(crate) async fn permit() {}",
            ),
            (
                "crates/service/src/devices/objects.rs",
                "// fn parse\nfn list<K>() {}\nfn order() {}",
            ),
            (
                "crates/tpm/src/name.rs",
                "impl Name {\n    pub const fn parse() {}\n}",
            ),
        ];
        let sources = sources.map(|(path, text)| (PathBuf::from(path), text.to_owned()));
        Tree {
            sources: HashMap::from(sources),
        }
    }

    #[test]
    fn what_is_there_is_counted() {
        assert_eq!(tree().named_in(PAGE), Ok(9));
    }

    #[test]
    fn a_path_may_be_a_constant_and_a_method_unsaid() {
        let tree = tree();
        let table = &tree.sources[Path::new("bins/keyproof/src/dialect/f5/routes.rs")];
        let has = |method, path| lines_for(table, method, path).count() == 1;
        assert!(has("PUT", "…/list") && !has("GET", "…/list"));
        assert!(has("GET", "/page") && !has("POST", "/page"));
    }

    #[test]
    fn each_line_of_each_table_has_its_row() {
        for (row, line) in [
            ("| `PUT …/list` | — | — |\n", "route(Method::PUT, LIST, 0),"),
            ("| `GET /page` | — | — |\n", "page(\"/page\", 0),"),
        ] {
            let table = "bins/keyproof/src/dialect/f5/routes.rs";
            let told = format!("has no row for a line of {table}: {line}");
            assert_eq!(tree().named_in(&PAGE.replace(row, "")), Err(told));
        }
        // A table that no section names.
        let mut tree = tree();
        let other = "bins/keyproof/src/dialect/other/routes.rs";
        let line = "route(Method::GET, api!(\"/a\"), 0),";
        tree.sources.insert(PathBuf::from(other), line.to_owned());
        let told = format!("has no row for a line of {other}: {line}");
        assert_eq!(tree.named_in(PAGE), Err(told));
    }

    #[test]
    fn each_path_is_that_of_one_source() {
        let mut tree = tree();
        let other = PathBuf::from("crates/other/devices/caller.rs");
        tree.sources.insert(other, String::new());
        let page = "Of `caller.rs` and `f5/routes.rs`,\n| not `a.txt` | but `tpm/src/name.rs` |";
        assert_eq!(tree.paths_in(page), Ok(3));
        for (wrong, told) in [
            ("call.rs", "there is no source call.rs: "),
            ("aller.rs", "there is no source aller.rs: "),
            ("f6/routes.rs", "there is no source f6/routes.rs: "),
            (
                "devices/caller.rs",
                "several sources are devices/caller.rs: ",
            ),
        ] {
            let page = format!("`name.rs`\n  and `{wrong}`");
            let problem = format!("{told}and `{wrong}`");
            assert_eq!(tree.paths_in(&page), Err(problem));
        }
    }

    #[test]
    fn what_leads_nowhere_is_told_with_its_line() {
        for (right, wrong, told) in [
            ("`list`", "`lists`", "there is no lists in objects.rs"),
            ("`objects.rs`", "`object.rs`", "there is no file object.rs"),
            ("`order`", "`orders`", "there is no orders"),
            ("`permit`", "`list`", "there is no list in caller.rs"),
            ("`Name::parse`", "`Name::read`", "there is no Name::read in"),
            (
                "`Name::parse`",
                "`Names::parse`",
                "there is no Names::parse in",
            ),
            ("`list` in", "`parse` in", "there is no parse in objects.rs"),
            ("`GET …/a`", "`GET …/b`", "no route table has GET …/b"),
            ("`GET …/a`", "`PUT …/a`", "no route table has PUT …/a"),
            (
                "### F5: `dialect/f5/routes.rs`, `crates/service/src/devices/`",
                "### F5",
                "names no routes.rs and no folder",
            ),
        ] {
            let page = PAGE.replace(right, wrong);
            let problem = tree().named_in(&page).unwrap_err();
            assert!(problem.starts_with(told), "{problem}");
            assert!(problem.contains(wrong), "{problem}");
        }
        assert!(tree().named_in("# A page").is_err());
    }
}
