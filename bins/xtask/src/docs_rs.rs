//! Builds the published crates' documentation like docs.rs: on nightly, with all features, and with the required
//! feature shown at each item.

use std::{ffi::OsStr, fs, io::ErrorKind, path::Path};

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
        empty(&pages)?;
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

/// Deletes the pages of an earlier run, which may contain items that no longer exist. Cargo generates missing pages
/// again.
fn empty(pages: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(pages) {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(Failure::at(pages)(source)),
        _ => Ok(()),
    }
}

/// Whether an item has a condition. A derive behind a feature has no label.
fn takes_features(member: &Member) -> Result<bool, Failure> {
    let sources = sources::below(&member.folder().join("src"))?;
    let has_condition = |(_, text): &(_, String)| text.contains("#[cfg(feature");
    Ok(sources.iter().any(has_condition))
}

/// Whether a page in a folder has a label.
fn is_labelled(folder: &Path) -> Result<bool, Failure> {
    for path in workspace::entries(folder)? {
        let is_page = path.extension() == Some(OsStr::new("html"));
        let found = if path.is_dir() {
            is_labelled(&path)?
        } else {
            is_page
                && fs::read_to_string(&path)
                    .map_err(Failure::at(&path))?
                    .contains(LABEL)
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn no_page_of_an_earlier_run_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let pages = folder.path().join("keyproof_otp");
        assert!(empty(&pages).is_ok());
        fs::create_dir(&pages).unwrap();
        fs::write(pages.join("index.html"), LABEL).unwrap();
        empty(&pages).unwrap();
        assert!(!pages.exists());
    }
}
