//! Checks the writers of records in DATA_MODEL.md: each use case that is named exists in the record's domain.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    architecture::{has, is_item, spans},
    failure::Failure,
    sources,
};

const PAGE: &str = "DATA_MODEL.md";

/// The heading of the checked table.
const HEAD: &str = "| key | what it is | sealed | written by | expires |";

/// The cell with the writers. Cell 0 is the empty text before the first bar.
const WRITERS: usize = 4;

/// The use cases, with one folder per domain; and the store.
const SERVICE: &str = "crates/service/src";
const STORE: &str = "crates/store/src";

/// Checks every writer in the table.
pub(crate) fn check() -> Result<(), Failure> {
    let page = fs::read_to_string(PAGE).map_err(Failure::at(PAGE))?;
    let mut all = Vec::new();
    for folder in [SERVICE, STORE] {
        all.extend(sources::below(Path::new(folder))?);
    }
    let count = writers_in(&page, &all).map_err(|problem| Failure::wrong(PAGE, problem))?;
    println!("{PAGE}: {count} names of writers");
    Ok(())
}

/// Counts the writers, or returns the first that does not exist.
fn writers_in(page: &str, sources: &[(PathBuf, String)]) -> Result<usize, String> {
    let (_, table) = page
        .split_once(HEAD)
        .ok_or_else(|| format!("has no table {HEAD:?}"))?;
    let rows = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    // Records in the rows before the first domain may be written by any domain.
    let mut folder = PathBuf::new();
    let mut count = 0;
    for row in rows {
        let cells: Vec<_> = row.split('|').collect();
        if row.starts_with("| **") {
            let domain = spans(row).next();
            folder = domain.map_or_else(PathBuf::new, |domain| Path::new(SERVICE).join(domain));
            continue;
        }
        let writers = cells.get(WRITERS).copied().unwrap_or_default();
        for writer in spans(writers).filter(|span| is_item(span)) {
            let mut texts = sources.iter().filter(|(path, _)| path.starts_with(&folder));
            if !texts.any(|(_, text)| has(text, writer)) {
                let key = spans(row).next().unwrap_or_default();
                return Err(format!("{key}: there is no {writer}"));
            }
            count += 1;
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: &str = "
|---|---|---|---|---|
| **all dialects** | | | | |
| `audit/_` | an `event` | | `Audit::refused`; every change | |
| **`certificates` (DPS)** | | | | |
| `dps_service/s` | how many | | `put`, `delete` | |

| `other` | | | `nobody` | |
";

    #[test]
    fn writers_are_looked_for_in_their_domain() {
        let page = format!("# A page\n{HEAD}{ROWS}");
        let sources = [
            (
                "crates/service/src/audit/mod.rs",
                "impl Audit {\n    pub async fn refused() {}\n}\nfn take() {}",
            ),
            (
                "crates/service/src/certificates/resources.rs",
                "fn put() {}\nfn delete() {}",
            ),
        ];
        let sources = sources.map(|(path, text)| (PathBuf::from(path), text.to_owned()));
        assert_eq!(writers_in(&page, &sources), Ok(3));
        for (right, wrong) in [
            ("`put`", "`puts`"),
            ("`put`", "`take`"),
            ("`Audit::refused`", "`Audits::refused`"),
        ] {
            let page = page.replace(right, wrong);
            let problem = writers_in(&page, &sources).unwrap_err();
            assert!(problem.ends_with(wrong.trim_matches('`')), "{problem}");
        }
        assert!(writers_in("# A page", &sources).is_err());
    }
}
