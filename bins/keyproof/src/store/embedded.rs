//! The files of an embedded store, checked before it is opened.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use keyproof_store::OpenError;

use super::{
    OpenStoreError, StoreUrl,
    exposure::{Access, Exposure},
};

/// The beginning of each SQLite database that is not empty.
const HEADER: &[u8; 16] = b"SQLite format 3\0";

/// The suffixes of SQLite's files after the store's name.
const SUFFIXES: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// Returns whether there is a store at `path`. An empty file is not one: its creation was begun, and it has no contents.
pub(super) fn exists(path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.is_dir() || metadata.len() > 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Rejects a folder, and a store with a file that others can read or write. SQLite's files are created with mode 0600,
/// but copies may have another one. What is no store at all is named as such: its permissions are not keyproof's to change.
pub(super) fn check_files(path: &Path) -> Result<(), OpenStoreError> {
    if path.is_dir() {
        let path = path.to_owned();
        return Err(OpenStoreError::Folder { path });
    }
    let (mut exposed, mut first) = (Vec::new(), None);
    for file in files(path) {
        // If its metadata is unreadable, opening it fails too, with the reason.
        let Ok(metadata) = fs::metadata(&file) else {
            continue;
        };
        if let Some(exposure) = Exposure::of(&metadata, Access::Nobody) {
            first.get_or_insert(exposure);
            exposed.push(file);
        }
    }
    let Some(first) = first else { return Ok(()) };
    refuse_foreign(path)?;
    Err(OpenStoreError::Exposed {
        files: exposed,
        first,
    })
}

/// Rejects a file that is no store at all. Only for one that the caller rejects anyway, as [`is_foreign`] is.
pub(super) fn refuse_foreign(path: &Path) -> Result<(), OpenStoreError> {
    if !is_foreign(path) {
        return Ok(());
    }
    Err(OpenStoreError::Open {
        url: StoreUrl::Sqlite(path.to_owned()),
        source: OpenError::Foreign {
            detail: "it is not an SQLite database".to_owned(),
        },
    })
}

/// Whether there is a file at `path` that is not empty and not an SQLite database. An unreadable one may be a store.
///
/// Only for a file that this process refuses: closing one that it has open as a store would release SQLite's locks on it.
fn is_foreign(path: &Path) -> bool {
    // Opening a pipe would wait for its other end.
    if !fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() > 0) {
        return false;
    }
    let mut start = Vec::new();
    let length = HEADER.len() as u64;
    let read = File::open(path).and_then(|file| file.take(length).read_to_end(&mut start));
    read.is_ok() && start != HEADER
}

/// Returns all files that the store may have, the main file first. SQLite has the others beside the file that a link
/// leads to.
pub(crate) fn files(path: &Path) -> [PathBuf; 4] {
    let target = path.is_symlink().then(|| fs::canonicalize(path).ok());
    let target = target.flatten();
    SUFFIXES.map(|suffix| with_suffix(target.as_deref().unwrap_or(path), suffix))
}

/// Returns the file beside the store whose name has this suffix.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = OsString::from(path);
    path.push(suffix);
    path.into()
}

/// Formats the files as quoted arguments for a shell, each after a space.
pub(super) fn for_shell(files: &[PathBuf]) -> String {
    let mut words = String::new();
    for file in files {
        words += " '";
        words += &file.to_string_lossy().replace('\'', "'\\''");
        words += "'";
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn refusal(store: &Path) -> Option<String> {
        check_files(store).err().map(|error| error.to_string())
    }

    #[test]
    fn a_store_that_others_reach_is_refused_with_what_mends_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let chmod = |name: &str, mode| {
            let mode = fs::Permissions::from_mode(mode);
            fs::set_permissions(file(name), mode).unwrap();
        };
        let store = file("it's.db");
        assert_eq!(refusal(&store), None);
        for suffix in ["", "-wal", "-shm"] {
            let name = format!("it's.db{suffix}");
            fs::write(file(&name), "SQLite format 3\0 and so on").unwrap();
            chmod(&name, 0o600);
        }
        assert_eq!(refusal(&store), None);

        for (mode, access) in [(0o640, "read"), (0o604, "read"), (0o620, "written")] {
            for suffix in ["", "-wal", "-shm"] {
                let name = format!("it's.db{suffix}");
                chmod(&name, mode);
                let shown = file(&format!("it'\\''s.db{suffix}"));
                let expected = format!(
                    "the store {} can be {access} by others (mode {mode:03o}): chmod 600 '{}'",
                    file(&name).display(),
                    shown.display()
                );
                assert_eq!(refusal(&store), Some(expected));
                chmod(&name, 0o600);
            }
        }
        chmod("it's.db", 0o644);
        chmod("it's.db-wal", 0o644);
        let both = refusal(&store).unwrap();
        assert!(
            both.contains("s.db' '") && both.ends_with("-wal'"),
            "{both}"
        );
    }

    #[test]
    fn a_store_behind_a_link_has_its_other_files_beside_the_target() {
        let folder = tempfile::tempdir().unwrap();
        let inside = |name: &str| folder.path().join(name);
        fs::create_dir(inside("data")).unwrap();
        let (store, log) = (inside("data/store.db"), inside("data/store.db-wal"));
        for file in [&store, &log] {
            fs::write(file, "SQLite format 3\0 and so on").unwrap();
            fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let link = inside("k.db");
        std::os::unix::fs::symlink("data/store.db", &link).unwrap();
        assert_eq!(refusal(&link), None);
        fs::set_permissions(&log, fs::Permissions::from_mode(0o644)).unwrap();
        let refused = refusal(&link).unwrap();
        assert!(
            refused.contains("/data/store.db-wal can be read by others"),
            "{refused}"
        );
    }

    #[test]
    fn what_is_no_store_is_called_so_and_its_mode_is_left_to_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passwd");
        for (contents, is_foreign) in [
            (&b"root:x:0:0:root:/root:/bin/bash\n"[..], true),
            (b"SQLite", true),
            (b"SQLite format 3\0", false),
            // The creation of a store has begun.
            (b"", false),
        ] {
            fs::write(&path, contents).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            let refused = refusal(&path).unwrap();
            assert_eq!(
                refused.contains("not a keyproof store"),
                is_foreign,
                "{refused}"
            );
            assert_eq!(refused.contains("chmod"), !is_foreign, "{refused}");
        }
    }
}
