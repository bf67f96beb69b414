//! Files that are there whole or not at all, and nobody else's to read.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    os::unix::fs::{MetadataExt, fchown},
    path::{Path, PathBuf},
};

use rustix::process::geteuid;
use tempfile::NamedTempFile;

/// A file that is written beside its place, with mode 0600, and gone if it does not take that.
#[derive(Debug)]
pub(crate) struct Draft {
    file: NamedTempFile,
    path: PathBuf,
}

impl Draft {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: NamedTempFile::with_prefix_in(".keyproof-", folder_of(path))?,
            path: path.to_owned(),
        })
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
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Locks a file, as long as it is open here, once nobody else has it locked.
///
/// Where a file system has no locks it does nothing: whoever is alone needs none.
pub(crate) fn lock(file: &File) {
    let is_interrupted = |error: io::Error| error.kind() == ErrorKind::Interrupted;
    while file.lock().is_err_and(is_interrupted) {}
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
    fn a_bare_name_is_in_the_folder_that_we_are_in() {
        assert_eq!(folder_of(Path::new("file")), Path::new("."));
        assert_eq!(folder_of(Path::new("folder/file")), Path::new("folder"));
    }
}
