//! Checks that the opened files are still at their paths.
//!
//! If a file is renamed or deleted, processes that have it open keep writing to it, and what they write is lost at the
//! next start. While a connection that has read is open, no program that uses SQLite deletes or replaces the log or its
//! index; only the last connection to close does. Every thread of an engine keeps a connection open as long as it
//! lives. So all three files must stay the same as long as the engine is open.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::EngineError;

/// The identities of the store's file, its log and the log's index.
#[derive(Debug)]
pub(super) struct Identities {
    files: Vec<(PathBuf, Identity)>,
}

impl Identities {
    /// Records the identities. The files are not opened: closing one would release SQLite's own locks on it.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let files = [path.to_owned(), log(path)?, index(path)?];
        let identified = files.into_iter().map(|path| {
            let identity = identify(&path)?;
            Ok((path, identity))
        });
        let files = identified.collect::<io::Result<_>>()?;
        Ok(Self { files })
    }

    /// Checks that each path still leads to the file that was opened.
    ///
    /// # Errors
    ///
    /// [`EngineError::FileReplaced`] with the first file that differs.
    pub(super) fn check(&self) -> Result<(), EngineError> {
        let moved = self.files.iter().find_map(|(path, opened)| {
            let what = match identify(path) {
                Ok(found) if found == *opened => return None,
                Ok(_) => "is another file".to_owned(),
                Err(error) => error.to_string(),
            };
            Some(format!("{}: {what}", path.display()))
        });
        moved.map_or(Ok(()), |detail| Err(EngineError::FileReplaced { detail }))
    }
}

/// The path of SQLite's log for the file at `path`: beside the file itself, after resolving links.
pub(super) fn log(path: &Path) -> io::Result<PathBuf> {
    beside(path, "-wal")
}

/// The path of the index of that log.
pub(super) fn index(path: &Path) -> io::Result<PathBuf> {
    beside(path, "-shm")
}

fn beside(path: &Path, suffix: &str) -> io::Result<PathBuf> {
    let mut name = fs::canonicalize(path)?.into_os_string();
    name.push(suffix);
    Ok(name.into())
}

/// The device of a file system, and the file's number on it.
#[cfg(unix)]
type Identity = (u64, u64);

#[cfg(unix)]
fn identify(path: &Path) -> io::Result<Identity> {
    use std::os::unix::fs::MetadataExt;
    let found = fs::metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// On other systems open files cannot be renamed or deleted.
#[cfg(not(unix))]
type Identity = ();

#[cfg(not(unix))]
fn identify(path: &Path) -> io::Result<Identity> {
    fs::metadata(path).map(drop)
}
