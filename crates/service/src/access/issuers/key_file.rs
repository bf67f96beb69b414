//! A file of keys that is read again when it changes.

use std::{
    fs::Metadata,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use keyproof_store::file;
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Instant, timeout, timeout_at},
};

use super::{KeySet, key_set::IgnoredKey};
use crate::mutex::lock;

/// The maximum size of the file in bytes, enough for hundreds of keys.
const MAX_LENGTH: usize = 256 * 1024;

/// How long the file is not looked at again, and the longest that a token waits for a look.
const FRESH: Duration = Duration::from_secs(1);

/// After how long it is logged again that a file which is tried each time still cannot be read.
const REMINDER: Duration = Duration::from_secs(60 * 60);

/// The error when a file of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file contains no key that can verify signatures.
    #[error("{}: it contains no key that verifies signatures{}", path.display(), listed(keys.ignored()))]
    Empty {
        /// The file.
        path: PathBuf,
        /// What it contains instead.
        keys: Arc<KeySet>,
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
    look: watch::Sender<Look>,
}

/// The last time that somebody looked whether the file has changed.
struct Look {
    began: Instant,
    is_running: bool,
}

struct Last {
    /// The file's state at that time; `None` if there was no file.
    stamp: Option<FileStamp>,
    keys: Keys,
    /// The last error that was logged since the keys were read.
    logged: Option<Logged>,
}

/// An error that was logged.
struct Logged {
    stamp: Option<FileStamp>,
    error: String,
    at: Instant,
}

impl Last {
    /// Logs why the file cannot be read, unless this was logged less than [`REMINDER`] ago for the same state of the file.
    fn log(&mut self, stamp: Option<FileStamp>, error: &KeyFileError) {
        let text = error.to_string();
        let is_known = self.logged.as_ref().is_some_and(|logged| {
            logged.stamp == stamp && logged.error == text && logged.at.elapsed() < REMINDER
        });
        if is_known {
            return;
        }
        tracing::error!(%error, "an issuer's keys cannot be read again; the old ones stay in use");
        self.logged = Some(Logged {
            stamp,
            error: text,
            at: Instant::now(),
        });
    }
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
        let began = Instant::now();
        let stamp = stamp_of(&path);
        let set = Arc::new(read(&path)?);
        if set.is_empty() {
            return Err(KeyFileError::Empty { path, keys: set });
        }
        let keys = Keys { generation: 0, set };
        Ok(Self {
            path,
            last: Mutex::new(Last {
                stamp,
                keys,
                logged: None,
            }),
            look: watch::Sender::new(Look {
                began,
                is_running: false,
            }),
        })
    }

    /// Returns a warning for each key of the file that cannot be used.
    pub(super) fn warnings(&self) -> Vec<String> {
        let set = Arc::clone(&lock(&self.last).keys.set);
        let warning = |key: &IgnoredKey| {
            format!("{}: an issuer's key is ignored: {key}", self.path.display())
        };
        set.unusable().map(warning).collect()
    }

    /// Returns the keys that the file had at most a second ago, or the last ones if it cannot be read. Waits at most a second
    /// for a file system that does not answer.
    pub(super) async fn current(this: &Arc<Self>) -> Keys {
        let is_due = this.look.send_if_modified(|look| {
            let is_due = !look.is_running && look.began.elapsed() >= FRESH;
            if is_due {
                *look = Look {
                    began: Instant::now(),
                    is_running: true,
                };
            }
            is_due
        });
        if is_due {
            // In its own task, because the request may end first.
            tokio::spawn(Self::look_again(Arc::clone(this)));
        }
        let mut look = this.look.subscribe();
        let until = look.borrow().began + FRESH;
        let ended = look.wait_for(|look| !look.is_running);
        // If it does not end in time, the known keys decide.
        drop(timeout_at(until, ended).await);
        lock(&this.last).keys.clone()
    }

    /// Looks at the file on a blocking thread. A look that hangs occupies one such thread, because no other begins.
    async fn look_again(self: Arc<Self>) {
        let file = Arc::clone(&self);
        let mut look = spawn_blocking(move || file.reload_if_changed());
        if timeout(FRESH, &mut look).await.is_err() {
            tracing::warn!(
                path = %self.path.display(),
                "the file of an issuer's keys does not answer; the known keys stay in use"
            );
            // A look that panics has ended, too.
            let _ = look.await;
        }
        self.look.send_modify(|look| look.is_running = false);
    }

    /// Checks the file and reads it only if it changed. A file that exists and cannot be read is tried again at the next look: its
    /// permissions may be corrected, or file descriptors be free again. Blocks on the file system.
    fn reload_if_changed(&self) {
        let stamp = stamp_of(&self.path);
        if stamp == lock(&self.last).stamp {
            return;
        }
        let read = read(&self.path);
        let mut last = lock(&self.last);
        match read {
            Ok(keys) => {
                tracing::info!(path = %self.path.display(), keys = keys.len(), "an issuer's keys were read again");
                last.keys = Keys {
                    generation: last.keys.generation.wrapping_add(1),
                    set: Arc::new(keys),
                };
                last.logged = None;
            }
            Err(error) => {
                last.log(stamp, &error);
                if stamp.is_some() && matches!(error, KeyFileError::Unreadable { .. }) {
                    return;
                }
            }
        }
        // `stamp` was taken before the read, so that a write in between counts as another change.
        last.stamp = stamp;
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
    let keys = KeySet::parse(&json).map_err(|source| KeyFileError::Malformed {
        path: path.to_owned(),
        source,
    })?;
    for key in keys.unusable() {
        tracing::warn!(path = %path.display(), "an issuer's key is ignored: {key}");
    }
    Ok(keys)
}

fn listed(keys: &[IgnoredKey]) -> String {
    keys.iter().map(|key| format!("; {key}")).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The key of RFC 8037, appendix A.2.
    const ONE: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    #[tokio::test(start_paused = true)]
    async fn a_file_is_looked_at_once_a_second_and_not_while_a_look_hangs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jwks.json");
        fs::write(&path, ONE).unwrap();
        let file = Arc::new(KeyFile::load(path.clone()).unwrap());
        let known = async || KeyFile::current(&file).await.set.len();
        fs::write(&path, r#"{"keys":[]}"#).unwrap();
        assert_eq!(known().await, 1, "within the second");

        let began = Instant::now();
        file.look.send_replace(Look {
            began,
            is_running: true,
        });
        for _ in 0..3 {
            assert_eq!(known().await, 1);
            assert!(began.elapsed() >= FRESH && began.elapsed() < 2 * FRESH);
        }
        file.look.send_modify(|look| look.is_running = false);
        // Nobody is told the old keys once a look is due.
        assert_eq!(tokio::join!(known(), known()), (0, 0));

        fs::write(&path, ONE).unwrap();
        assert_eq!(known().await, 0, "within the second");
        tokio::time::advance(FRESH).await;
        assert_eq!(known().await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_exists_and_cannot_be_read_is_tried_again_and_logged_seldom() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jwks.json");
        fs::write(&path, ONE).unwrap();
        let file = Arc::new(KeyFile::load(path.clone()).unwrap());
        let looked_at = async || {
            tokio::time::advance(FRESH).await;
            assert_eq!(KeyFile::current(&file).await.set.len(), 1);
            lock(&file.last).stamp == stamp_of(&path)
        };
        fs::remove_file(&path).unwrap();
        assert!(looked_at().await);
        // Nobody can read it as a file.
        fs::create_dir(&path).unwrap();
        assert!(!looked_at().await);
        let logged = || lock(&file.last).logged.as_ref().map(|logged| logged.at);
        let first = logged();
        assert!(!looked_at().await);
        assert_eq!(logged(), first, "not a line for each look");
        tokio::time::advance(REMINDER).await;
        assert!(!looked_at().await);
        assert_ne!(logged(), first);
        fs::remove_dir(&path).unwrap();
        fs::write(&path, "{").unwrap();
        assert!(looked_at().await);
    }
}
