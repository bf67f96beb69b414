//! Which files were opened, and whether they are still where they were.
//!
//! A file that is renamed or deleted is written to as before by whoever has it open, and what is written is gone at the next
//! start. While a connection is open that has read, nobody who uses SQLite deletes the log or the index of the log, nor puts
//! others in their place: the last connection to close does, and every thread of an engine keeps one for its life. So for
//! as long as the engine is open all three must stay the files that they are.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::EngineError;

/// The store's file, its log and the index of the log.
#[derive(Debug)]
pub(super) struct Identities {
    files: Vec<(PathBuf, Identity)>,
}

impl Identities {
    /// Takes them down. The files are only looked at: to close one here would let go of SQLite's own locks on it.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let files = [path.to_owned(), log(path)?, index(path)?];
        let identified = files.into_iter().map(|path| {
            let identity = identify(&path)?;
            Ok((path, identity))
        });
        let files = identified.collect::<io::Result<_>>()?;
        Ok(Self { files })
    }

    /// Whether each path still leads to the file that was opened.
    ///
    /// # Errors
    ///
    /// [`EngineError::Moved`] names the first that does not.
    pub(super) fn check(&self) -> Result<(), EngineError> {
        let moved = self.files.iter().find_map(|(path, opened)| {
            let what = match identify(path) {
                Ok(found) if found == *opened => return None,
                Ok(_) => "is another file".to_owned(),
                Err(error) => error.to_string(),
            };
            Some(format!("{}: {what}", path.display()))
        });
        moved.map_or(Ok(()), |detail| Err(EngineError::Moved { detail }))
    }
}

/// Where SQLite keeps the log of the file at `path`: beside the file itself, whatever links led there.
pub(super) fn log(path: &Path) -> io::Result<PathBuf> {
    beside(path, "-wal")
}

/// Where it keeps the index of that log.
pub(super) fn index(path: &Path) -> io::Result<PathBuf> {
    beside(path, "-shm")
}

fn beside(path: &Path, suffix: &str) -> io::Result<PathBuf> {
    let mut name = fs::canonicalize(path)?.into_os_string();
    name.push(suffix);
    Ok(name.into())
}

/// A file system's device, and the number of the file there.
#[cfg(unix)]
type Identity = (u64, u64);

#[cfg(unix)]
fn identify(path: &Path) -> io::Result<Identity> {
    use std::os::unix::fs::MetadataExt;
    let found = fs::metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// Elsewhere files that are open cannot be renamed or deleted.
#[cfg(not(unix))]
type Identity = ();

#[cfg(not(unix))]
fn identify(path: &Path) -> io::Result<Identity> {
    fs::metadata(path).map(drop)
}
