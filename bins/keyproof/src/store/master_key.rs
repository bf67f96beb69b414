//! The sources of the master key, and the permissions of its file.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use keyproof_store::{Entropy, KeyId, MasterKey};
use zeroize::Zeroizing;

use super::{
    OpenStoreError, embedded,
    exposure::{Access, Exposure},
    key_file::{self, GivenKeys},
};

/// The name of the systemd credential (`LoadCredential=keyproof-master-key:…`).
const CREDENTIAL: &str = "keyproof-master-key";

/// The source of the master key.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum MasterKeySource {
    /// The key itself, in Base64.
    Base64(Zeroizing<String>),
    /// The file beside an embedded store, with `.master-key` appended to the store's name.
    #[default]
    Beside,
    /// A file in a credentials directory (systemd.exec(5)).
    Credentials(PathBuf),
    /// Any other file.
    File(PathBuf),
}

impl fmt::Debug for MasterKeySource {
    /// Formats the source without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base64(_) => f.write_str("Base64(..)"),
            Self::Beside => f.write_str("Beside"),
            Self::Credentials(path) => f.debug_tuple("Credentials").field(path).finish(),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

impl MasterKeySource {
    /// Returns the first source that is present: a named file, a key in the environment, the file
    /// `keyproof-master-key` in the credentials directory, the file beside the store.
    pub fn choose(
        file: Option<PathBuf>,
        base64: Option<Zeroizing<String>>,
        credentials: Option<PathBuf>,
    ) -> Self {
        let credential = credentials
            .as_ref()
            .map(|directory| directory.join(CREDENTIAL));
        match (file, base64, credential.filter(|path| path.exists())) {
            (Some(file), ..)
                if credentials.is_some() && file.parent() == credentials.as_deref() =>
            {
                Self::Credentials(file)
            }
            (Some(file), ..) => Self::File(file),
            (None, Some(base64), _) => Self::Base64(base64),
            (None, None, Some(credential)) => Self::Credentials(credential),
            (None, None, None) => Self::Beside,
        }
    }
}

/// Why there is no master key.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// The file cannot be read or written.
    #[error("the master key {}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// The file has the maximum number of keys.
    #[error(
        "the master key {} has {most} keys, the most that one file can have: take out those that no backup needs any more",
        .path.display()
    )]
    Full {
        /// The file.
        path: PathBuf,
        /// The maximum number of keys.
        most: usize,
    },
    /// The text is not a valid key.
    #[error(
        "the master key in {place} is not 32 bytes, raw, or in Base64 with a line for each key"
    )]
    Malformed {
        /// Its source.
        place: String,
    },
    /// There is no key, and none may be created.
    #[error(
        "the master key {} is missing, and {reason}: a store's own key is never replaced by a new one",
        .path.display()
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
        /// Why none is created.
        reason: String,
    },
    /// A key cannot be added, as the keys are not in a file.
    #[error(
        "the master key comes from the environment or from systemd: put it in a file (--master-key FILE), or add a line with a \
         new key behind the others where it comes from (head -c 32 /dev/urandom | base64), and prepare again"
    )]
    NoFile,
    /// There is no file in which keys from elsewhere can be stored.
    #[error(
        "there is no file that the master key could be kept in: name one (store.master_key, --master-key FILE)"
    )]
    NoPlace,
    /// A shared database was given no key.
    #[error(
        "a store that nodes share needs a master key, the same for all: make one (head -c 32 /dev/urandom | base64 > FILE; \
         chmod 600 FILE) and name its file (store.master_key, --master-key FILE)"
    )]
    NotGiven,
    /// Others may read or write the file.
    #[error("the master key {} {exposure}: chmod 600 it", .path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Their access.
        exposure: Exposure,
    },
}

/// Returns the key for a store in memory: the given one, or a random one.
pub(super) fn for_memory(
    source: &MasterKeySource,
    entropy: &dyn Entropy,
) -> Result<GivenKeys, MasterKeyError> {
    let given = check_for_memory(source)?;
    Ok(given.unwrap_or_else(|| MasterKey::generate(entropy).into()))
}

/// Returns the given key for a store in memory, if there is one.
pub(super) fn check_for_memory(
    source: &MasterKeySource,
) -> Result<Option<GivenKeys>, MasterKeyError> {
    match given(source, None) {
        Ok(Found::Keys(keys)) => Ok(Some(keys)),
        Ok(Found::NoFile(path)) => Err(MasterKeyError::Missing {
            path,
            reason: "only an embedded store gets one made".to_owned(),
        }),
        Err(MasterKeyError::NotGiven) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the key for the embedded store at `store`: the given one, or a new one if the store is new.
pub(super) fn for_embedded(
    source: &MasterKeySource,
    store: &Path,
    entropy: &dyn Entropy,
) -> Result<GivenKeys, OpenStoreError> {
    match given(source, Some(store))? {
        Found::Keys(keys) => Ok(keys),
        Found::NoFile(path) => {
            check_new(store, &path)?;
            let new = MasterKey::generate(entropy).into();
            key_file::create(&path, &new).map_err(|source| MasterKeyError::File {
                path: path.clone(),
                source,
            })?;
            match key_file::read(&path, Access::Nobody)? {
                Some(keys) => Ok(keys),
                None => {
                    let reason = "it was taken away as soon as it was made".to_owned();
                    Err(MasterKeyError::Missing { path, reason }.into())
                }
            }
        }
    }
}

/// Checks that the embedded store at `store` has its key, or may be given a new one. Creates none.
pub(super) fn check_for_embedded(
    source: &MasterKeySource,
    store: &Path,
) -> Result<(), OpenStoreError> {
    match given(source, Some(store))? {
        Found::Keys(_) => Ok(()),
        Found::NoFile(path) => {
            check_new(store, &path)?;
            // Only the store's own folder is created with it.
            match path.parent() {
                Some(folder) if !store.starts_with(folder) && !folder.is_dir() => {
                    let missing = "its folder does not exist";
                    let source = io::Error::new(io::ErrorKind::NotFound, missing);
                    Err(MasterKeyError::File { path, source }.into())
                }
                _ => Ok(()),
            }
        }
    }
}

/// Checks that the store is empty, so that a key may be created at `path`.
fn check_new(store: &Path, path: &Path) -> Result<(), OpenStoreError> {
    let exists = embedded::exists(store).map_err(|source| MasterKeyError::File {
        path: store.to_owned(),
        source,
    })?;
    // A process that creates the same store creates its key first, so check the key again.
    if exists && !path.exists() {
        embedded::refuse_foreign(store)?;
        return Err(MasterKeyError::Missing {
            path: path.to_owned(),
            reason: format!("the store {} exists", store.display()),
        }
        .into());
    }
    Ok(())
}

/// Returns the key for a shared database. It must be given, and is never created.
pub(super) fn for_shared(source: &MasterKeySource) -> Result<GivenKeys, MasterKeyError> {
    match given(source, None)? {
        Found::Keys(keys) => Ok(keys),
        Found::NoFile(path) => Err(MasterKeyError::Missing {
            path,
            reason: "a store that nodes share gets none made".to_owned(),
        }),
    }
}

/// Returns the existing keys for the store at `store`, if any. A shared database has no default key file.
pub(super) fn find(
    source: &MasterKeySource,
    store: Option<&Path>,
) -> Result<Option<GivenKeys>, MasterKeyError> {
    match given(source, store) {
        Ok(Found::Keys(keys)) => Ok(Some(keys)),
        Ok(Found::NoFile(_)) | Err(MasterKeyError::NotGiven) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the file that contains the keys, if it is a file that keyproof may change.
pub(super) fn file(source: &MasterKeySource, store: Option<&Path>) -> Option<PathBuf> {
    match (source, store) {
        (MasterKeySource::File(path), _) => Some(path.clone()),
        (MasterKeySource::Beside, Some(store)) => Some(beside(store)),
        _ => None,
    }
}

/// Stores keys from elsewhere in the store's key file. Fails if that contains other keys.
pub(super) fn keep(
    source: &MasterKeySource,
    store: Option<&Path>,
    keys: &GivenKeys,
) -> Result<PathBuf, MasterKeyError> {
    let path = file(source, store).ok_or(MasterKeyError::NoPlace)?;
    let failed = |source| MasterKeyError::File {
        path: path.clone(),
        source,
    };
    key_file::create(&path, keys).map_err(failed)?;
    match key_file::read(&path, Access::Nobody)? {
        Some(kept) if kept.ids() == keys.ids() => Ok(path),
        _ => Err(failed(io::ErrorKind::AlreadyExists.into())),
    }
}

/// Returns the first key after `sealing` in the store's key file. Adds `new` if there is none.
pub(super) fn add_after(
    source: &MasterKeySource,
    store: Option<&Path>,
    sealing: KeyId,
    new: &MasterKey,
) -> Result<KeyId, MasterKeyError> {
    let path = file(source, store).ok_or(MasterKeyError::NoFile)?;
    key_file::add_after(&path, sealing, new)
}

enum Found {
    Keys(GivenKeys),
    /// There is no key. Contains the path for a new one.
    NoFile(PathBuf),
}

/// Reads the keys from the source. Returns [`MasterKeyError::NotGiven`] if there is no store for the key to be beside.
fn given(source: &MasterKeySource, store: Option<&Path>) -> Result<Found, MasterKeyError> {
    let (path, access) = match source {
        MasterKeySource::Base64(text) => {
            return key_file::parse(text.trim().as_bytes())
                .map(Found::Keys)
                .ok_or_else(|| MasterKeyError::Malformed {
                    place: "the environment".to_owned(),
                });
        }
        MasterKeySource::Beside => {
            let store = store.ok_or(MasterKeyError::NotGiven)?;
            (beside(store), Access::Nobody)
        }
        // systemd protects the directory, and may make the file readable by a group.
        MasterKeySource::Credentials(path) => (path.clone(), Access::Read),
        MasterKeySource::File(path) => (path.clone(), Access::Nobody),
    };
    Ok(match key_file::read(&path, access)? {
        Some(keys) => Found::Keys(keys),
        None => Found::NoFile(path),
    })
}

fn beside(store: &Path) -> PathBuf {
    embedded::with_suffix(store, ".master-key")
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::BASE64;
    use keyproof_store::SystemEntropy;
    use std::{fs, os::unix::fs::PermissionsExt};

    #[test]
    fn a_key_is_added_on_a_line_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let source = MasterKeySource::File(path.clone());
        let [first, second, third] = [(); 3].map(|()| MasterKey::generate(&entropy()));
        // A raw key, as an operator may have created it.
        fs::write(&path, first.as_bytes()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for key in [&second, &third] {
            add_after(&source, None, key.id(), key).unwrap();
        }
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let found = find(&source, None).unwrap().unwrap();
        assert_eq!(found.ids(), [&first, &second, &third].map(|key| key.id()));
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 3);
        for wrong in [text.replace('\n', " "), text + "x\n", "\n".to_owned()] {
            fs::write(&path, wrong).unwrap();
            assert!(matches!(
                find(&source, None),
                Err(MasterKeyError::Malformed { .. })
            ));
        }
        let outright = MasterKeySource::Base64(Zeroizing::new(String::new()));
        let nowhere = add_after(&outright, None, first.id(), &first);
        assert!(matches!(nowhere, Err(MasterKeyError::NoFile)));
    }

    fn entropy() -> SystemEntropy {
        SystemEntropy::new()
    }

    #[test]
    fn a_key_that_was_given_outright_is_not_printed() {
        let source = MasterKeySource::Base64(Zeroizing::new("c2VjcmV0".to_owned()));
        assert_eq!(format!("{source:?}"), "Base64(..)");
    }

    #[test]
    fn a_new_store_gets_a_key_that_only_its_owner_reads() {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("k.db");
        let key = for_embedded(&MasterKeySource::Beside, &store, &entropy()).unwrap();
        let path = directory.path().join("k.db.master-key");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            fs::read_dir(directory.path()).unwrap().count(),
            1,
            "a draft is left"
        );
        let again = for_embedded(&MasterKeySource::Beside, &store, &entropy()).unwrap();
        assert_eq!(again.ids(), key.ids());
    }

    #[test]
    fn two_processes_that_start_together_get_one_key() {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("k.db");
        let ids: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| for_embedded(&MasterKeySource::Beside, &store, &entropy())))
                .collect();
            starts
                .into_iter()
                .map(|start| start.join().unwrap().unwrap().ids())
                .collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }

    #[test]
    fn a_store_without_its_key_gets_no_new_one() {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("k.db");
        fs::write(&store, b"SQLite format 3\0").unwrap();
        for source in [
            MasterKeySource::Beside,
            MasterKeySource::File(directory.path().join("elsewhere")),
        ] {
            let refused = for_embedded(&source, &store, &entropy());
            assert!(
                matches!(
                    refused,
                    Err(OpenStoreError::MasterKey(MasterKeyError::Missing { .. }))
                ),
                "{refused:?}"
            );
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn checking_makes_nothing_and_refuses_what_opening_would() {
        let directory = tempfile::tempdir().unwrap();
        let inside = |name: &str| directory.path().join(name);
        let check = |source: &MasterKeySource, store: &Path| check_for_embedded(source, store);
        let elsewhere = MasterKeySource::File(inside("elsewhere"));
        let nowhere = MasterKeySource::File(inside("absent/key"));
        for store in [inside("k.db"), inside("new/k.db")] {
            assert!(check(&MasterKeySource::Beside, &store).is_ok());
            assert!(check(&elsewhere, &store).is_ok());
            let refused = check(&nowhere, &store);
            assert!(
                matches!(
                    refused,
                    Err(OpenStoreError::MasterKey(MasterKeyError::File { .. }))
                ),
                "{refused:?}"
            );
            assert!(for_embedded(&nowhere, &store, &entropy()).is_err());
        }
        assert!(matches!(
            check_for_memory(&MasterKeySource::Beside),
            Ok(None)
        ));
        assert!(check_for_memory(&elsewhere).is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);

        let store = inside("k.db");
        fs::write(&store, b"SQLite format 3\0").unwrap();
        for source in [MasterKeySource::Beside, elsewhere] {
            let refused = check(&source, &store);
            assert!(
                matches!(
                    refused,
                    Err(OpenStoreError::MasterKey(MasterKeyError::Missing { .. }))
                ),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn a_key_that_others_reach_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(CREDENTIAL);
        fs::write(&path, BASE64.encode(&[7; 32])).unwrap();
        let source = MasterKeySource::File(path.clone());
        let credentials = MasterKeySource::choose(None, None, Some(directory.path().to_owned()));
        assert_eq!(credentials, MasterKeySource::Credentials(path.clone()));
        // A unit may also name the credential, by `%d`.
        let named = |credentials: &Path| {
            MasterKeySource::choose(Some(path.clone()), None, Some(credentials.to_owned()))
        };
        assert_eq!(named(directory.path()), credentials);
        assert_eq!(named(Path::new("/run/credentials/other")), source);
        for (mode, as_file, as_credential) in [
            (0o600, true, true),
            (0o400, true, true),
            (0o440, false, true),
            (0o644, false, true),
            (0o620, false, false),
            (0o602, false, false),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let read = |source| for_memory(source, &entropy()).is_ok();
            assert_eq!(read(&source), as_file, "{mode:o} as a file");
            assert_eq!(
                read(&credentials),
                as_credential,
                "{mode:o} as a credential"
            );
        }
    }

    #[test]
    fn a_key_is_32_bytes_in_one_of_two_spellings() {
        let key = MasterKey::from_bytes(&[7; 32]).unwrap();
        let text = BASE64.encode(&[7; 32]);
        assert_eq!(
            key_file::parse(&[7; 32]).map(|keys| keys.ids()),
            Some(vec![key.id()])
        );
        assert_eq!(
            key_file::parse(format!("{text}\n").as_bytes()).map(|keys| keys.ids()),
            Some(vec![key.id()])
        );
        for wrong in [
            &b""[..],
            &[7; 31],
            &[7; 33],
            &text.as_bytes()[..40],
            BASE64.encode(&[7; 31]).as_bytes(),
        ] {
            assert!(key_file::parse(wrong).is_none());
        }
        let source = MasterKeySource::Base64(Zeroizing::new("not a key".to_owned()));
        assert!(matches!(
            for_memory(&source, &entropy()),
            Err(MasterKeyError::Malformed { .. })
        ));
    }

    #[test]
    fn the_first_place_that_is_given_counts() {
        let empty = tempfile::tempdir().unwrap();
        let credentials = || Some(empty.path().to_owned());
        let base64 = || Some(Zeroizing::new("x".to_owned()));
        let file = || Some(PathBuf::from("f"));
        let choose = MasterKeySource::choose;
        assert_eq!(
            choose(file(), base64(), credentials()),
            MasterKeySource::File("f".into())
        );
        assert_eq!(
            choose(None, base64(), credentials()),
            MasterKeySource::Base64(base64().unwrap())
        );
        assert_eq!(choose(None, None, credentials()), MasterKeySource::Beside);
    }
}
