//! Files that exist completely or not at all, and that only their owner can read.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, fchown},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags},
    process::geteuid,
};
use tempfile::{Builder, NamedTempFile};

/// The prefix of drafts' names, which continue with six letters and digits.
const DRAFT: &str = ".keyproof-";

/// A file that is written beside its target with mode 0600, and removed unless it replaces that.
///
/// It is locked while it is being written. One without a lock was left by a process that was killed.
#[derive(Debug)]
pub(crate) struct Draft {
    file: NamedTempFile,
    path: PathBuf,
}

impl Draft {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        loop {
            let file = Builder::new()
                .prefix(DRAFT)
                .make_in(folder_of(path), open_new)?;
            lock(file.as_file());
            // Before it was locked it looked abandoned, and may have been removed.
            if !is_gone(file.path()) {
                let path = path.to_owned();
                return Ok(Self { file, path });
            }
        }
    }

    /// Removes the abandoned drafts in a folder, and returns their paths.
    pub(crate) fn remove_abandoned(folder: &Path) -> io::Result<Vec<PathBuf>> {
        let mut removed = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            let is_draft = is_file && name.to_str().is_some_and(is_draft_name);
            // Left alone if it is gone, not ours, or on a file system without locks.
            if is_draft
                && let Ok(file) = open_as_it_is(&entry.path())
                && file.try_lock().is_ok()
                && fs::remove_file(entry.path()).is_ok()
            {
                removed.push(entry.path());
            }
        }
        removed.sort_unstable();
        Ok(removed)
    }

    /// Syncs the draft and renames it to its target, replacing any file there.
    pub(crate) fn replace(self) -> io::Result<()> {
        self.file.as_file().sync_all()?;
        self.file.persist(&self.path)?;
        sync_folder_of(&self.path)
    }

    /// Replaces the target, and keeps that file's owner, so that a service can still read a file that root has
    /// replaced.
    ///
    /// Only for files that were read before they are replaced. In a shared folder, the owner of an arbitrary file must
    /// not get the new one.
    pub(crate) fn replace_for_its_owner(self) -> io::Result<()> {
        keep_owner(&self.path, self.file.as_file())?;
        self.replace()
    }

    /// Syncs the draft and renames it to its target, unless another file was created there first.
    pub(crate) fn create(self) -> io::Result<()> {
        self.file.as_file().sync_all()?;
        match self.file.persist_noclobber(&self.path) {
            Err(error) if error.error.kind() == ErrorKind::AlreadyExists => {}
            persisted => drop(persisted?),
        }
        sync_folder_of(&self.path)
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_file_mut().flush()
    }
}

/// Creates a new file. An error is the system's own, without the draft's name.
fn open_new(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create_new(true);
    options.mode(0o600).open(path)
}

/// Locks a file or folder while it is open here, waiting for other locks.
///
/// Does nothing on a file system without locks.
pub(crate) fn lock(file: &File) {
    let is_interrupted = |error: io::Error| error.kind() == ErrorKind::Interrupted;
    while file.lock().is_err_and(is_interrupted) {}
}

fn is_gone(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

fn is_draft_name(name: &str) -> bool {
    let rest = name.strip_prefix(DRAFT).map(str::as_bytes);
    rest.is_some_and(|rest| rest.len() == 6 && rest.iter().all(u8::is_ascii_alphanumeric))
}

/// Opens a regular file for a lock. NFS requires write access for it. Does not follow links.
fn open_as_it_is(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

/// Gives a file the owner of the one at `path`, if that exists and this process may.
fn keep_owner(path: &Path, file: &File) -> io::Result<()> {
    let Ok(before) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if geteuid().is_root() {
        fchown(file, Some(before.uid()), Some(before.gid()))?;
    }
    Ok(())
}

/// Returns the folder of a file.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_takes_its_place_and_nothing_else_is_left() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let draft = |path: &Path, text: &str| {
            let mut draft = Draft::of(path).unwrap();
            draft.write_all(text.as_bytes()).unwrap();
            draft
        };
        let read = || fs::read_to_string(&path).unwrap();
        draft(&path, "never").flush().unwrap();
        assert!(!path.exists(), "it was dropped");
        draft(&path, "first").create().unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!((read().as_str(), mode & 0o777), ("first", 0o600));
        draft(&path, "late").create().unwrap();
        assert_eq!(read(), "first", "somebody was there before");
        draft(&path, "second").replace().unwrap();
        assert_eq!(read(), "second");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn only_drafts_that_nobody_writes_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let inside = |name: &str| folder.path().join(name);
        let mut draft = Draft::of(&inside("file")).unwrap();
        let others = [".keyproof-12345", ".keyproof-1234567", ".keyproof-12.456"];
        for name in [".keyproof-killed"].iter().chain(&others) {
            fs::write(inside(name), "x").unwrap();
        }
        std::os::unix::fs::symlink(inside(others[0]), inside(".keyproof-linked")).unwrap();
        fs::create_dir(inside(".keyproof-folder")).unwrap();
        let removed = Draft::remove_abandoned(folder.path()).unwrap();
        assert_eq!(removed, [inside(".keyproof-killed")]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 6);
        draft.write_all(b"whole").unwrap();
        draft.replace().unwrap();
        assert_eq!(fs::read_to_string(inside("file")).unwrap(), "whole");
    }

    /// The situation when one backup begins while another removes abandoned drafts.
    #[test]
    fn a_draft_that_is_removed_before_it_is_locked_is_begun_again() {
        use std::sync::atomic::{AtomicBool, Ordering};

        let folder = tempfile::tempdir().unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    Draft::remove_abandoned(folder.path()).unwrap();
                }
            });
            let drafted: io::Result<()> = (0..500).try_for_each(|number| {
                let path = folder.path().join(number.to_string());
                Draft::of(&path)?.file.persist(path)?;
                Ok(())
            });
            over.store(true, Ordering::SeqCst);
            drafted.unwrap();
        });
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 500);
    }

    #[test]
    fn what_goes_wrong_is_told_without_the_name_of_the_draft() {
        let folder = tempfile::tempdir().unwrap();
        let absent = Draft::of(&folder.path().join("absent/file")).unwrap_err();
        assert_eq!(absent.raw_os_error(), Some(2));
        assert!(!absent.to_string().contains(DRAFT), "{absent}");
    }

    #[test]
    fn a_bare_name_is_in_the_folder_that_we_are_in() {
        assert_eq!(folder_of(Path::new("file")), Path::new("."));
        assert_eq!(folder_of(Path::new("folder/file")), Path::new("folder"));
    }
}
