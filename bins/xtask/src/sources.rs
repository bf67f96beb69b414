//! The workspace's source files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{failure::Failure, workspace};

/// Returns the Rust files below a folder with their text, sorted by path.
pub(crate) fn below(folder: &Path) -> Result<Vec<(PathBuf, String)>, Failure> {
    with_extension(folder, "rs")
}

/// Returns the files below a folder that have this extension with their text, sorted by path.
pub(crate) fn with_extension(
    folder: &Path,
    extension: &str,
) -> Result<Vec<(PathBuf, String)>, Failure> {
    let mut sources = Vec::new();
    for path in workspace::entries(folder)? {
        if path.is_dir() {
            if !path.ends_with("target") {
                sources.extend(with_extension(&path, extension)?);
            }
        } else if path.extension().is_some_and(|own| own == extension) {
            let text = fs::read_to_string(&path).map_err(Failure::at(&path))?;
            sources.push((path, text));
        }
    }
    sources.sort();
    Ok(sources)
}
