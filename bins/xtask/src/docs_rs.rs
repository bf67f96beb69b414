//! Builds the published crates' documentation like docs.rs: on nightly, with all features, and with the required
//! feature shown at each item.

use std::path::Path;

use crate::{
    failure::Failure,
    process::run,
    sources,
    tools::Toolchain,
    workspace::{self, Member},
};

/// The label of an item that requires a feature.
const LABEL: &str = "crate feature";

pub(crate) fn hold() -> Result<(), Failure> {
    let nightly = Toolchain::nightly()?;
    for member in workspace::published()? {
        let name = member.name()?;
        let pages = nightly.target_folder().join("doc");
        let pages = pages.join(name.replace('-', "_"));
        // Those of an earlier run may be of items that no longer exist. Cargo generates missing pages again.
        workspace::empty(&pages)?;
        let rustdoc = ["rustdoc", "--locked", "--quiet", "--lib", "--all-features"];
        run(nightly
            .cargo(rustdoc)
            .args(["--package", name, "--", "--cfg", "docsrs"])
            // The same flags as for the lists of public items, so that nothing is rebuilt.
            .env("RUSTFLAGS", "--cap-lints allow"))?;
        if takes_features(&member)? && !is_labelled(&pages)? {
            let problem = "say of no item which feature it takes".to_owned();
            return Err(Failure::wrong(pages, problem));
        }
    }
    Ok(())
}

/// Whether an item has a condition. A derive behind a feature has no label.
fn takes_features(member: &Member) -> Result<bool, Failure> {
    let sources = sources::below(&member.folder().join("src"))?;
    let has_condition = |(_, text): &(_, String)| text.contains("#[cfg(feature");
    Ok(sources.iter().any(has_condition))
}

/// Whether a page in a folder has a label.
fn is_labelled(folder: &Path) -> Result<bool, Failure> {
    let pages = sources::with_extension(folder, "html")?;
    Ok(pages.iter().any(|(_, page)| page.contains(LABEL)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_label_is_found_on_any_page() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("prover");
        fs::create_dir(&below).unwrap();
        fs::write(folder.path().join("index.html"), "no such thing").unwrap();
        fs::write(below.join("script.js"), LABEL).unwrap();
        assert!(!is_labelled(folder.path()).unwrap());
        fs::write(below.join("index.html"), format!("<b>{LABEL}</b>")).unwrap();
        assert!(is_labelled(folder.path()).unwrap());
    }
}
