//! The workspace's source files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{failure::Failure, workspace};

/// Returns the Rust files below a folder with their text, sorted by path.
pub(crate) fn below(folder: &Path) -> Result<Vec<(PathBuf, String)>, Failure> {
    let mut sources = Vec::new();
    for path in workspace::entries(folder)? {
        if path.is_dir() {
            if !path.ends_with("target") {
                sources.extend(below(&path)?);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).map_err(Failure::at(&path))?;
            sources.push((path, text));
        }
    }
    sources.sort();
    Ok(sources)
}
