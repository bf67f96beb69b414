//! Files that offline commands read and write.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    mem,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use keyproof_store::file;
use pem_rfc7468::LineEnding;
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::Failure;
use crate::whole_file::folder_of;

/// Larger than any file that these commands read.
const LONGEST_FILE: usize = 16 * 1024 * 1024;

pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    file::read(path, LONGEST_FILE)
        .map(|mut bytes| mem::take(&mut *bytes))
        .map_err(|error| unusable(path, &error))
}

/// Reads a text. A byte order mark before it is left out: some editors and shells write one.
pub(super) fn read_text(path: &Path) -> Result<Zeroizing<String>, Failure> {
    const MARK: char = '\u{feff}';
    let mut text = file::read_text(path, LONGEST_FILE).map_err(|error| match error.kind() {
        // The file can be read, but it is not the text that it should be.
        ErrorKind::InvalidData => Failure::refused(error).about(path),
        _ => unusable(path, &error),
    })?;
    if text.starts_with(MARK) {
        text.replace_range(..MARK.len_utf8(), "");
    }
    Ok(text)
}

/// Writes a command's output, which must not overwrite any of `inputs`. An existing file is written to in place: it keeps its
/// owner, permissions and links, and may be a device or a pipe.
pub(super) fn write(path: &Path, contents: &[u8], inputs: &[&Path]) -> Result<(), Failure> {
    check_name(path)?;
    if let Some(input) = inputs.iter().find(|input| is_same_file(input, path)) {
        let message = format!("it is the input {}: name another", input.display());
        return Err(unusable(path, &message));
    }
    fs::write(path, contents).map_err(|error| unwritten(path, &error))
}

/// Whether two paths name the same file, which need not exist yet.
pub(super) fn is_same_file(one: &Path, other: &Path) -> bool {
    let file = |path: &Path| {
        let found = fs::metadata(path).ok()?;
        Some((found.dev(), found.ino()))
    };
    let name = |path: &Path| {
        let folder = fs::canonicalize(folder_of(path)).ok()?;
        Some(folder.join(path.file_name()?))
    };
    file(one).is_some_and(|found| file(other) == Some(found))
        || name(one).is_some_and(|found| name(other) == Some(found))
}

/// Writes a new file that only its owner can read, or none. An existing file is left unchanged.
pub(super) fn write_secret(path: &Path, contents: &[u8]) -> Result<(), Failure> {
    NewFile::create(path)?.fill(contents)
}

/// A new file that only its owner can read, created before its contents exist. It is removed unless it is filled.
#[derive(Debug)]
pub(super) struct NewFile<'a> {
    path: &'a Path,
    file: File,
    is_filled: bool,
}

impl<'a> NewFile<'a> {
    /// Creates the file, empty. An existing one is left unchanged.
    pub(super) fn create(path: &'a Path) -> Result<Self, Failure> {
        check_name(path)?;
        let mut options = OpenOptions::new();
        let created = options.write(true).create_new(true).mode(0o600).open(path);
        let file = created.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => unusable(path, &"it exists: name a new file"),
            ErrorKind::NotFound => unusable(path, &"its folder does not exist"),
            _ => unwritten(path, &error),
        })?;
        Ok(Self {
            path,
            file,
            is_filled: false,
        })
    }

    /// Writes the contents, and syncs them.
    pub(super) fn fill(mut self, contents: &[u8]) -> Result<(), Failure> {
        let written = self.file.write_all(contents);
        let written = written.and_then(|()| self.file.sync_all());
        self.is_filled = written.is_ok();
        written.map_err(|error| unwritten(self.path, &error))
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if !self.is_filled {
            // If this fails, the file that is left is incomplete, which the caller reports.
            let _ = fs::remove_file(self.path);
        }
    }
}

/// Refuses `-`, by which standard output may be meant.
fn check_name(path: &Path) -> Result<(), Failure> {
    if path == Path::new("-") {
        return Err(unusable(path, &"name a file (./- for one of this name)"));
    }
    Ok(())
}

/// A path that cannot be written to is a usage error; a full disk is a failure.
pub(super) fn unwritten(path: &Path, error: &io::Error) -> Failure {
    if is_shortage(error) {
        return Failure::refused(error).about(path);
    }
    unusable(path, error)
}

/// Whether disk space or descriptors ran out, which may be freed later.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    let is = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
    is_full(error) || is(Errno::MFILE) || is(Errno::NFILE)
}

pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    )
}

pub(super) fn unusable(path: &Path, reason: &dyn std::fmt::Display) -> Failure {
    Failure::Usage(format!("{}: {reason}", path.display()))
}

/// Encodes a certificate in PEM (RFC 7468).
pub(super) fn pem(der: &[u8]) -> Result<String, Failure> {
    pem_rfc7468::encode_string("CERTIFICATE", LineEnding::LF, der).map_err(Failure::refused)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use rustix::process::geteuid;

    use super::*;

    #[test]
    fn a_file_is_written_to_where_it_is_and_no_input_is() {
        let folder = tempfile::tempdir().unwrap();
        let inside = |name: &str| folder.path().join(name);
        let (input, out, link) = (inside("input"), inside("out"), inside("link"));
        fs::write(&input, "input").unwrap();
        write(&out, b"first", &[&input]).unwrap();
        fs::set_permissions(&out, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&out, &link).unwrap();
        write(&link, b"second", &[&input]).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&out).unwrap(), b"second");
        let mode = fs::metadata(&out).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        let (nowhere, through_nowhere) = (inside("absent"), inside("to-absent"));
        symlink(&nowhere, &through_nowhere).unwrap();
        write(&through_nowhere, b"third", &[&input]).unwrap();
        assert_eq!(fs::read(&nowhere).unwrap(), b"third");
        let through_link = inside("to-input");
        symlink(&input, &through_link).unwrap();
        let hard = inside("hard");
        fs::hard_link(&input, &hard).unwrap();
        for wrong in [&input, &through_link, &hard, &inside("./input")] {
            let refused = write(wrong, b"lost", &[&out, &input]);
            assert!(matches!(refused, Err(Failure::Usage(_))), "{refused:?}");
        }
        assert_eq!(fs::read(&input).unwrap(), b"input");
        assert!(write(Path::new("-"), b"", &[]).is_err());
        assert!(write_secret(Path::new("-"), b"").is_err());
        write(Path::new("/dev/null"), b"gone", &[]).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 7);
    }

    #[test]
    fn a_text_begins_after_its_byte_order_mark() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        for (written, expected) in [
            ("\u{feff}é\r\n", "é\r\n"),
            ("\u{feff}\u{feff}a", "\u{feff}a"),
            ("a\u{feff}", "a\u{feff}"),
            ("\u{feff}", ""),
        ] {
            fs::write(&path, written).unwrap();
            assert_eq!(*read_text(&path).unwrap(), expected, "{written:?}");
        }
    }

    #[test]
    fn a_new_file_is_only_left_if_it_is_filled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new");
        let unfilled = NewFile::create(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(unfilled);
        assert!(!path.exists());
        write_secret(&path, b"first").unwrap();
        let dangling = folder.path().join("link");
        symlink(folder.path().join("absent"), &dangling).unwrap();
        for there in [&path, &dangling] {
            let refused = write_secret(there, b"second");
            assert!(matches!(refused, Err(Failure::Usage(_))), "{refused:?}");
        }
        assert_eq!(fs::read(&path).unwrap(), b"first");
    }

    #[test]
    fn a_file_that_may_not_be_written_to_is_the_wrong_one() {
        if geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        fs::write(&path, "kept").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
        let refused = write(&path, b"lost", &[]);
        assert!(matches!(refused, Err(Failure::Usage(_))), "{refused:?}");
        assert_eq!(fs::read(&path).unwrap(), b"kept");
    }

    #[test]
    fn a_full_disk_is_a_failure_and_no_wrong_name() {
        let full = write(Path::new("/dev/full"), b"x", &[]);
        assert!(matches!(full, Err(Failure::Refused(_))), "{full:?}");
        let folder = tempfile::tempdir().unwrap();
        let nowhere = write(&folder.path().join("absent/out"), b"x", &[]);
        assert!(matches!(nowhere, Err(Failure::Usage(_))), "{nowhere:?}");
    }
}
