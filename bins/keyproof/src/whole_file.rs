//! Files that are there whole or not at all, and nobody else's to read.

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

/// What drafts are called, before six letters and digits.
const DRAFT: &str = ".keyproof-";

/// A file that is written beside its place, with mode 0600, and gone if it does not take that.
///
/// It is locked while somebody writes it: one that nobody has locked is what a process has left that was killed.
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
            // Until it was locked it looked abandoned, and may have been removed as such.
            if !is_gone(file.path()) {
                let path = path.to_owned();
                return Ok(Self { file, path });
            }
        }
    }

    /// Removes the drafts in a folder that nobody writes any more, and names them.
    pub(crate) fn remove_abandoned(folder: &Path) -> io::Result<Vec<PathBuf>> {
        let mut removed = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            let is_draft = is_file && name.to_str().is_some_and(is_draft_name);
            // One that is gone, not ours, or of a file system without locks is left alone.
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

    /// Takes the place of the file that is there, if one is, once what was written is on disk.
    pub(crate) fn replace(self) -> io::Result<()> {
        self.file.as_file().sync_all()?;
        self.file.persist(&self.path)?;
        sync_folder_of(&self.path)
    }

    /// Does so and belongs to whom that file belonged: what root replaces, its service still reads.
    ///
    /// For files that were read before they are replaced. In a folder of everybody's, who made the file is no reason to
    /// give another one away.
    pub(crate) fn replace_for_its_owner(self) -> io::Result<()> {
        keep_owner(&self.path, self.file.as_file())?;
        self.replace()
    }

    /// Takes its place, once what was written is on disk, and leaves a file alone that somebody made there first.
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

/// Opens a file that is not there yet. What goes wrong is the system's own error, without the draft's name.
fn open_new(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create_new(true);
    options.mode(0o600).open(path)
}

/// Locks a file, or a folder, as long as it is open here, once nobody else has it locked.
///
/// Where a file system has no locks it does nothing: whoever is alone needs none.
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

/// Opens a regular file for a lock, which over NFS takes one that can be written to; never what a link leads to.
fn open_as_it_is(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

/// Gives a file the owner of the one at `path`, if there is one and we may.
fn keep_owner(path: &Path, file: &File) -> io::Result<()> {
    let Ok(before) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if geteuid().is_root() {
        fchown(file, Some(before.uid()), Some(before.gid()))?;
    }
    Ok(())
}

/// The folder that a file is in.
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

    /// As when one backup begins while another one removes what is left of others.
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
