//! What to do about a store that could not be opened, and whether a retry may help.

use std::{io::ErrorKind, path::Path};

use keyproof_store::{CommitError, EngineError, NotApplied, OpenError, StoreError};
use rustix::{
    fs::{Access, access},
    io::Errno,
};

use super::{
    ANOTHER_USER, Failure,
    files::{is_full, is_shortage},
};
use crate::{
    store::{MasterKeyError, OpenStoreError, StoreUrl, files_of_embedded},
    whole_file::folder_of,
};

impl From<OpenStoreError> for Failure {
    fn from(error: OpenStoreError) -> Self {
        let message = match remedy(&error) {
            Some(remedy) => format!("{error}: {remedy}"),
            None => error.to_string(),
        };
        if may_pass(&error) {
            Self::Refused(message)
        } else {
            Self::Usage(message)
        }
    }
}

/// Whether a retry may succeed: a supervisor retries after exit code 1, and not after 2.
fn may_pass(error: &OpenStoreError) -> bool {
    match error {
        OpenStoreError::Directory { source, .. }
        | OpenStoreError::MasterKey(MasterKeyError::File { source, .. }) => is_shortage(source),
        OpenStoreError::Open {
            source: OpenError::InUse { .. },
            ..
        } => true,
        OpenStoreError::Open { url, source } => match (of_engine(source), url) {
            (
                None
                | Some(
                    EngineError::Configuration { .. }
                    | EngineError::Corrupt { .. }
                    | EngineError::TransactionPooling
                    | EngineError::Relocated,
                ),
                _,
            ) => false,
            // A file that cannot be used is a wrong configuration; a server that does not respond may do so soon.
            (Some(EngineError::Io { detail }), StoreUrl::Sqlite(path)) => {
                !is_denied(detail) && obstacle(path).is_none()
            }
            // Most other errors are a damaged file or a defect, and a retry helps with neither.
            (Some(EngineError::Other { .. }), StoreUrl::Sqlite(_)) => false,
            (Some(_), _) => true,
        },
        _ => false,
    }
}

/// Returns the engine's error inside the store's error.
fn of_engine(error: &OpenError) -> Option<&EngineError> {
    match error {
        OpenError::Engine(engine)
        | OpenError::Fingerprint(StoreError::Engine(engine))
        | OpenError::Commit(
            CommitError::NotApplied(NotApplied::Engine(engine)) | CommitError::Unknown(engine),
        ) => Some(engine),
        _ => None,
    }
}

/// Whether the engine's error is a denied permission. It contains only the system's message.
fn is_denied(detail: &str) -> bool {
    detail.contains("Permission denied")
}

/// Returns the error that this user gets when using or creating an embedded store's files, if there is one.
fn obstacle(store: &Path) -> Option<Errno> {
    let files = files_of_embedded(store);
    let [file, ..] = &files;
    let folder = access(folder_of(file), Access::WRITE_OK | Access::EXEC_OK);
    let found = files
        .iter()
        .map(|file| access(file.as_path(), Access::READ_OK | Access::WRITE_OK))
        .filter(|found| *found != Err(Errno::NOENT));
    found.chain([folder]).find_map(Result::err)
}

/// Returns the remedy for a store that could not be opened, unless the error contains it.
fn remedy(error: &OpenStoreError) -> Option<&'static str> {
    const KEY_BACK: &str = "put your copy of the key there, or name the file that has it (store.master_key, --master-key FILE)";
    match error {
        OpenStoreError::Absent { .. } => Some(
            "name the right one (--store, --config), or create it with `keyproof serve` or `keyproof migrate`",
        ),
        OpenStoreError::Directory { source, .. }
        | OpenStoreError::MasterKey(MasterKeyError::File { source, .. })
            if source.kind() == ErrorKind::PermissionDenied =>
        {
            Some(ANOTHER_USER)
        }
        OpenStoreError::Directory { source, .. }
        | OpenStoreError::MasterKey(MasterKeyError::File { source, .. })
            if is_full(source) =>
        {
            Some(ROOM)
        }
        OpenStoreError::MasterKey(
            MasterKeyError::Missing { .. } | MasterKeyError::Malformed { .. },
        ) => Some(KEY_BACK),
        OpenStoreError::Open { url, source } => match source {
            OpenError::OlderSchema { .. } => {
                Some("run `keyproof migrate`, or serve with --migrate")
            }
            OpenError::NewerSchema { .. } => {
                Some("run the release that migrated it, or a later one")
            }
            OpenError::MasterKey { .. } => {
                Some("name the file that has it (store.master_key, --master-key FILE)")
            }
            OpenError::Foreign { .. } => Some(
                "name another (store.url, --store); if this was a store of keyproof, restore a backup",
            ),
            OpenError::MissingFingerprint => Some(RESTORE),
            other => of_engine(other).and_then(|engine| remedy_of_engine(engine, url)),
        },
        _ => None,
    }
}

/// The remedy for a damaged store.
const RESTORE: &str =
    "keep it unchanged, and restore a backup into another store (keyproof restore)";
/// The remedy for a full disk.
const ROOM: &str = "free some space, and try again";

fn remedy_of_engine(error: &EngineError, url: &StoreUrl) -> Option<&'static str> {
    match (error, url) {
        (EngineError::Corrupt { .. }, _) => Some(RESTORE),
        (EngineError::Relocated, _) => {
            Some("name the store that it was moved to (store.url, --store)")
        }
        (EngineError::Busy { .. }, _) => {
            Some("another process is using it: try again once that has ended")
        }
        (EngineError::Full { .. }, _) => Some(ROOM),
        // rustls' text for a certificate that the client does not accept.
        (EngineError::Io { detail }, StoreUrl::Postgres(_))
            if detail.contains("invalid peer certificate") =>
        {
            Some(
                "the URL must name the certificate's CA (sslrootcert) and the server by the certificate's name",
            )
        }
        // The engine's texts for a commit that may lack its standby.
        (EngineError::Io { detail }, StoreUrl::Postgres(_)) if detail.contains(" a standby ") => {
            Some("check whether its standby follows it, and try again")
        }
        (EngineError::Io { .. }, StoreUrl::Postgres(_)) => {
            Some("check whether the database runs, and accepts this user's connections from here")
        }
        (EngineError::Io { detail }, StoreUrl::Sqlite(path))
            if is_denied(detail) || obstacle(path) == Some(Errno::ACCESS) =>
        {
            Some(ANOTHER_USER)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        io,
        os::unix::fs::{PermissionsExt, symlink},
    };

    use rustix::process::geteuid;

    use super::*;

    /// Returns a command's message, and whether its exit code is 2.
    fn told(url: &str, source: OpenError) -> (String, bool) {
        let url = url.parse().unwrap();
        match Failure::from(OpenStoreError::Open { url, source }) {
            Failure::Usage(said) => (said, true),
            Failure::Refused(said) => (said, false),
            Failure::Negative => panic!("it says nothing"),
        }
    }

    #[test]
    fn a_store_that_is_not_opened_says_what_to_do() {
        const FILE: &str = "sqlite:k.db";
        const DATABASE: &str = "postgres://u@h/d";
        let detail = || "so it is".to_owned();
        for (url, source, says, is_wrong) in [
            (
                FILE,
                OpenError::NewerSchema {
                    found: 9,
                    newest: 3,
                },
                "run the release",
                true,
            ),
            (
                DATABASE,
                OpenError::OlderSchema {
                    found: 0,
                    oldest: 1,
                },
                "run `keyproof migrate`",
                true,
            ),
            (
                FILE,
                OpenError::InUse { found: 1 },
                "end every keyproof that uses it",
                false,
            ),
            (
                FILE,
                OpenError::Foreign { detail: detail() },
                "name another",
                true,
            ),
            (
                FILE,
                OpenError::MissingFingerprint,
                "restore a backup",
                true,
            ),
            (
                FILE,
                OpenError::MasterKey {
                    sealed: Vec::new(),
                    given: Vec::new(),
                },
                "name the file that has it",
                true,
            ),
            (
                FILE,
                EngineError::Busy { detail: detail() }.into(),
                "try again",
                false,
            ),
            (
                FILE,
                EngineError::Full { detail: detail() }.into(),
                "free some space",
                false,
            ),
            (
                FILE,
                EngineError::Corrupt { detail: detail() }.into(),
                "restore a backup",
                true,
            ),
            (
                FILE,
                EngineError::Relocated.into(),
                "moved to (store.url",
                true,
            ),
            (
                FILE,
                EngineError::Io {
                    detail: io::Error::from_raw_os_error(13).to_string(),
                }
                .into(),
                "runuser",
                true,
            ),
            (
                DATABASE,
                EngineError::Io { detail: detail() }.into(),
                "whether the database runs",
                false,
            ),
            (
                DATABASE,
                EngineError::Io {
                    detail: "invalid peer certificate: UnknownIssuer".to_owned(),
                }
                .into(),
                "sslrootcert",
                false,
            ),
            (
                DATABASE,
                EngineError::Io {
                    detail: "the commit waits for a standby (synchronous_standby_names)".to_owned(),
                }
                .into(),
                "standby follows it",
                false,
            ),
            (
                FILE,
                EngineError::Other { detail: detail() }.into(),
                "so it is",
                true,
            ),
            (
                DATABASE,
                EngineError::Other { detail: detail() }.into(),
                "so it is",
                false,
            ),
            // For the first record that is read, and for the first that is written.
            (
                DATABASE,
                OpenError::Fingerprint(EngineError::Busy { detail: detail() }.into()),
                "try again",
                false,
            ),
            (
                DATABASE,
                OpenError::Fingerprint(EngineError::Relocated.into()),
                "moved to (store.url",
                true,
            ),
            (
                FILE,
                OpenError::Fingerprint(EngineError::Corrupt { detail: detail() }.into()),
                "restore a backup",
                true,
            ),
            (
                FILE,
                OpenError::Commit(NotApplied::from(EngineError::Full { detail: detail() }).into()),
                "free some space",
                false,
            ),
            (
                DATABASE,
                OpenError::Commit(CommitError::Unknown(EngineError::Io { detail: detail() })),
                "whether the database runs",
                false,
            ),
        ] {
            let (said, code) = told(url, source);
            assert!(said.contains(says), "{said}");
            assert_eq!(code, is_wrong, "{said}");
        }
    }

    #[test]
    fn what_others_may_free_is_worth_another_try() {
        let failed = |source: io::Error| {
            let path = "k.db.master-key".into();
            let error = MasterKeyError::File { path, source };
            match Failure::from(OpenStoreError::MasterKey(error)) {
                Failure::Usage(_) => 2,
                Failure::Refused(_) => 1,
                Failure::Negative => 0,
            }
        };
        for (errno, code) in [
            (Errno::NOSPC, 1),
            (Errno::DQUOT, 1),
            (Errno::MFILE, 1),
            (Errno::NFILE, 1),
            (Errno::ACCESS, 2),
            (Errno::NOENT, 2),
        ] {
            assert_eq!(failed(errno.into()), code, "{errno}");
        }
    }

    #[test]
    fn a_file_that_can_be_used_was_not_the_wrong_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k.db");
        let nowhere = folder.path().join("absent/k.db");
        for is_there in [false, true] {
            if is_there {
                fs::write(&path, "").unwrap();
            }
            for (path, is_wrong) in [(&path, false), (&nowhere, true)] {
                let url = format!("sqlite:{}", path.display());
                let (said, code) = told(&url, unopened());
                assert_eq!(code, is_wrong, "{said}");
            }
        }
    }

    #[test]
    fn any_file_of_a_store_can_be_the_wrong_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k.db");
        let url = format!("sqlite:{}", path.display());
        for file in files_of_embedded(&path) {
            // Not even root may follow it.
            symlink(&file, &file).unwrap();
            let (said, code) = told(&url, unopened());
            assert!(code, "{said}");
            fs::remove_file(&file).unwrap();

            fs::write(&file, "").unwrap();
            fs::set_permissions(&file, Permissions::from_mode(0o000)).unwrap();
            let (said, code) = told(&url, unopened());
            let is_root = geteuid().is_root();
            assert_eq!(code, !is_root, "{said}");
            assert_eq!(said.contains("runuser"), !is_root, "{said}");
            fs::remove_file(&file).unwrap();
        }
    }

    /// As with a link in /etc to a store that is the user's own.
    #[test]
    fn the_folder_of_a_link_to_a_store_need_not_be_writable() {
        let folder = tempfile::tempdir().unwrap();
        let inside = |name: &str| folder.path().join(name);
        fs::create_dir(inside("etc")).unwrap();
        fs::write(inside("k.db"), "").unwrap();
        symlink("../k.db", inside("etc/k.db")).unwrap();
        let chmod = |mode| fs::set_permissions(inside("etc"), Permissions::from_mode(mode));
        chmod(0o500).unwrap();
        let url = format!("sqlite:{}", inside("etc/k.db").display());
        let (said, is_wrong) = told(&url, unopened());
        chmod(0o700).unwrap();
        assert!(!is_wrong, "{said}");
    }

    /// SQLite's error for any of its files.
    fn unopened() -> OpenError {
        let detail = "unable to open database file".to_owned();
        EngineError::Io { detail }.into()
    }
}
