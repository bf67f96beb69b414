//! A file of keys that is read again when it changes.

use std::{
    fs::Metadata,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::SystemTime,
};

use keyproof_store::file;

use super::KeySet;
use crate::mutex::lock;

/// The maximum size of the file in bytes, enough for hundreds of keys.
const MAX_LENGTH: usize = 256 * 1024;

/// The error when a file of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file contains no key that can verify signatures.
    #[error("{}: it contains no key that verifies signatures", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file is not a JWK set.
    #[error("{}: not a JWK set: {source}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// The file is too long.
    #[error("{}: longer than {MAX_LENGTH} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// A file and the keys that were in it when it was last read.
pub(super) struct KeyFile {
    path: PathBuf,
    last: Mutex<Last>,
}

struct Last {
    /// The file's state at that time; `None` if there was no file.
    stamp: Option<FileStamp>,
    keys: Keys,
}

/// The current keys.
#[derive(Clone)]
pub(super) struct Keys {
    /// How often the keys were replaced.
    pub(super) generation: u64,
    pub(super) set: Arc<KeySet>,
}

/// What changes when a file is written or replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
struct FileStamp {
    modified: Option<SystemTime>,
    length: u64,
    /// Differs for another file of the same name; 0 on systems without inodes.
    inode: u64,
}

impl KeyFile {
    /// Reads the file for the first time.
    pub(super) fn load(path: PathBuf) -> Result<Self, KeyFileError> {
        let stamp = stamp_of(&path);
        let set = Arc::new(read(&path)?);
        if set.is_empty() {
            return Err(KeyFileError::Empty { path });
        }
        let keys = Keys { generation: 0, set };
        Ok(Self {
            path,
            last: Mutex::new(Last { stamp, keys }),
        })
    }

    /// Returns the file's current keys, or the last ones if the file cannot be read.
    pub(super) async fn current(this: &Arc<Self>) -> Keys {
        let file = Arc::clone(this);
        let reloaded = tokio::task::spawn_blocking(move || file.reload_if_changed()).await;
        reloaded.unwrap_or_else(|_| lock(&this.last).keys.clone())
    }

    /// Checks the file and reads it only if it changed. Blocks on the file system.
    fn reload_if_changed(&self) -> Keys {
        let stamp = stamp_of(&self.path);
        if stamp == lock(&self.last).stamp {
            return lock(&self.last).keys.clone();
        }
        let read = read(&self.path);
        let mut last = lock(&self.last);
        // `stamp` was taken before the read, so that a write in between counts as another change.
        last.stamp = stamp;
        match read {
            Ok(keys) => {
                tracing::info!(path = %self.path.display(), keys = keys.len(), "an issuer's keys were read again");
                last.keys = Keys {
                    generation: last.keys.generation.wrapping_add(1),
                    set: Arc::new(keys),
                };
            }
            Err(error) => {
                tracing::error!(%error, "an issuer's keys cannot be read again; the old ones stay in use");
            }
        }
        last.keys.clone()
    }
}

fn stamp_of(path: &Path) -> Option<FileStamp> {
    let metadata = path.metadata().ok()?;
    Some(FileStamp {
        modified: metadata.modified().ok(),
        length: metadata.len(),
        inode: inode(&metadata),
    })
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}

fn read(path: &Path) -> Result<KeySet, KeyFileError> {
    let unreadable = |source| KeyFileError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let json = file::read(path, MAX_LENGTH).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => KeyFileError::TooLong {
            path: path.to_owned(),
        },
        _ => unreadable(error),
    })?;
    KeySet::parse(&json).map_err(|source| KeyFileError::Malformed {
        path: path.to_owned(),
        source,
    })
}
