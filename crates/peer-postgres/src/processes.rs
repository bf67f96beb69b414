//! Which processes a server consists of: each works in its data folder.

use std::{fs, io, path::Path};

/// Whether any process works in `folder`.
pub(crate) fn any_in(folder: &Path) -> io::Result<bool> {
    for process in fs::read_dir("/proc")? {
        // What is no process, or has just ended, works nowhere.
        if fs::read_link(process?.path().join("cwd")).is_ok_and(|cwd| cwd == folder) {
            return Ok(true);
        }
    }
    Ok(false)
}
