//! Creating the file and its directory so that nobody else can read them, durably.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Read},
    path::Path,
};

/// Makes sure that there is a file at `path`. SQLite gives its companions (`-wal`, `-shm`) the mode
/// of the file, so this is the one place that decides it.
pub(super) fn create(path: &Path) -> io::Result<()> {
    let directory = directory_of(path);
    create_directory(directory)?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => sync(directory),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Writes as many bytes, within reason, to a file beside the one at `path` that has no name and is gone at once.
pub(super) fn find_room(path: &Path, bytes: u64) -> io::Result<()> {
    const WITHIN_REASON: u64 = 16 << 20;
    let mut file = tempfile::tempfile_in(directory_of(path))?;
    io::copy(&mut io::repeat(0).take(bytes.min(WITHIN_REASON)), &mut file)?;
    // Some file systems only look for room now.
    file.sync_data()
}

/// How many bytes the disk that the file at `path` is on has left for us, if it can be told.
#[cfg(unix)]
pub(super) fn free_room(path: &Path) -> io::Result<Option<u64>> {
    let found = rustix::fs::statvfs(path)?;
    Ok(Some(found.f_bavail.saturating_mul(found.f_frsize)))
}

/// Elsewhere the disk is found to be full when it is.
#[cfg(not(unix))]
pub(super) fn free_room(_: &Path) -> io::Result<Option<u64>> {
    Ok(None)
}

/// Makes what is in the log of the store at `path` durable, whoever wrote it.
///
/// A process that was killed between writing a commit and syncing it leaves the commit to be found by whoever opens the
/// store next, who would take it for done. After that nobody sees a commit before it was synced.
pub(super) fn sync_log(path: &Path) -> io::Result<()> {
    let log = super::identity::log(path)?;
    File::open(&log)?.sync_all()?;
    sync(directory_of(&log))
}

/// Creates `directory` and whatever above it is missing, and syncs the entry of each.
fn create_directory(directory: &Path) -> io::Result<()> {
    if fs::metadata(directory).is_ok_and(|found| found.is_dir()) {
        return Ok(());
    }
    let parent = directory_of(directory);
    create_directory(parent)?;
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(directory) {
        Ok(()) => sync(parent),
        // Another process was faster, unless it is no directory; opening the file will tell.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

#[cfg(unix)]
fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Elsewhere directories cannot be opened, and their entries are not ours to sync.
#[cfg(not(unix))]
fn sync(_: &Path) -> io::Result<()> {
    Ok(())
}
