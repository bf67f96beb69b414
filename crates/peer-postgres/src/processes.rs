//! Finds the processes of a server: their current folder is its data folder.

use std::{fs, io, path::Path};

/// Returns whether any process has `folder` as its current folder.
pub(crate) fn any_in(folder: &Path) -> io::Result<bool> {
    for process in fs::read_dir("/proc")? {
        // Entries that are not processes, and processes that have just ended, have no such link.
        if fs::read_link(process?.path().join("cwd")).is_ok_and(|cwd| cwd == folder) {
            return Ok(true);
        }
    }
    Ok(false)
}
