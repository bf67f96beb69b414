//! The routes of the sites, from ARCHITECTURE.md, which lists the same as their route tables. A test of all routes fails until it
//! covers a new one.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::{collections::BTreeSet, fs, path::Path};

/// Returns the templates in ARCHITECTURE.md's rows for a method and a site.
fn templates(method: &str, site: &str) -> BTreeSet<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ARCHITECTURE.md");
    let text = fs::read_to_string(file).unwrap();
    let mark = format!("| `{method} /");
    let rows = text.lines().filter_map(|line| line.strip_prefix(&*mark));
    let paths = rows.map(|rest| format!("/{}", rest.split('`').next().unwrap()));
    paths
        .filter(|path| path.starts_with(site))
        .filter(|path| !["svg", "js", "css"].iter().any(|end| path.ends_with(end)))
        .collect()
}

/// Asserts that each template of a method at a site matches one of these paths.
#[track_caller]
pub(crate) fn assert_complete(method: &str, site: &str, paths: &[String]) {
    let templates = templates(method, site);
    assert!(!templates.is_empty(), "{method} {site}");
    for template in templates {
        let fits = |path: &String| {
            let path = path.split('?').next().unwrap();
            let (path, template) = (path.split('/'), template.split('/'));
            path.clone().count() == template.clone().count()
                && path
                    .zip(template)
                    .all(|(one, of)| one == of || of.starts_with('{'))
        };
        assert!(paths.iter().any(fits), "{method} {template} is not tried");
    }
}
