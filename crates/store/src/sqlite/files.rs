//! Creates the file and its directory durably, readable by their owner only.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Read},
    path::Path,
};

/// Creates the file at `path` if it does not exist. SQLite gives `-wal` and `-shm` the mode of the file, so only this
/// function decides the mode.
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

/// Writes `bytes` bytes, up to a limit, to an unnamed temporary file beside the one at `path`, or beside the target of a
/// link there, to check for space.
pub(super) fn find_room(path: &Path, bytes: u64) -> io::Result<()> {
    const WITHIN_REASON: u64 = 16 << 20;
    let mut file = tempfile::tempfile_in(directory_of(&fs::canonicalize(path)?))?;
    io::copy(&mut io::repeat(0).take(bytes.min(WITHIN_REASON)), &mut file)?;
    // Some file systems only allocate space now.
    file.sync_data()
}

/// The free space for us on the disk of the file at `path`, in bytes, if it can be determined.
#[cfg(unix)]
pub(super) fn free_room(path: &Path) -> io::Result<Option<u64>> {
    let found = rustix::fs::statvfs(path)?;
    Ok(Some(found.f_bavail.saturating_mul(found.f_frsize)))
}

/// On other systems, a full disk is noticed when a write fails.
#[cfg(not(unix))]
pub(super) fn free_room(_: &Path) -> io::Result<Option<u64>> {
    Ok(None)
}

/// Makes the log of the store at `path` durable, whichever process wrote it.
///
/// If a process is killed between writing a commit and syncing it, the next process to open the store would treat that
/// commit as done. After this call no commit is visible before it is synced.
pub(super) fn sync_log(path: &Path) -> io::Result<()> {
    let log = super::identity::log(path)?;
    File::open(&log)?.sync_all()?;
    sync(directory_of(&log))
}

/// Creates `directory` and its missing parents, and syncs the entry of each.
fn create_directory(directory: &Path) -> io::Result<()> {
    let found = fs::metadata(directory);
    if found.as_ref().is_ok_and(fs::Metadata::is_dir) {
        return Ok(());
    }
    let parent = directory_of(directory);
    // The empty path, or `.` if this user may not search it.
    if parent == directory {
        return found.map(drop);
    }
    create_directory(parent)?;
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(directory) {
        Ok(()) => sync(parent),
        // Another process created it first. If it is not a directory, opening the file will fail.
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

/// On other systems directories cannot be opened, so their entries cannot be synced.
#[cfg(not(unix))]
fn sync(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn an_empty_path_is_no_file() {
        let refused = create(Path::new("")).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn room_is_looked_for_where_a_link_leads_to() {
        let file = tempfile::NamedTempFile::new().unwrap();
        // A link in a directory where nobody can create a file.
        let link = format!("/proc/self/fd/{}", file.as_file().as_raw_fd());
        find_room(Path::new(&link), 1).unwrap();
    }
}
