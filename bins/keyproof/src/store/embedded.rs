//! The files of an embedded store, checked before it is opened.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    OpenStoreError,
    exposure::{Access, Exposure},
};

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
/// but copies may have another one.
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
    match first {
        None => Ok(()),
        Some(first) => Err(OpenStoreError::Exposed {
            files: exposed,
            first,
        }),
    }
}

/// Returns all files that the store may have, the main file first.
pub(crate) fn files(path: &Path) -> [PathBuf; 4] {
    SUFFIXES.map(|suffix| with_suffix(path, suffix))
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
            fs::write(file(&name), "x").unwrap();
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
}
