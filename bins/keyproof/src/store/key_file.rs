//! The file of master keys, which is written atomically and readable only by its owner.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    iter,
    os::unix::fs::MetadataExt,
    path::Path,
};

use data_encoding::BASE64;
use keyproof_store::{KeyId, MasterKey, MasterKeys, file::NamedFile};
use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

use super::{
    MasterKeyError,
    exposure::{Access, Exposure},
};
use crate::whole_file::{Draft, folder_of, lock};

/// The most keys in a file.
const MOST_KEYS: usize = 12;

/// The largest key file, in bytes: the keys with Windows line ends.
const LONGEST_FILE: usize = MOST_KEYS * 46;

/// The master keys as given: one or more, in order.
#[derive(Clone, Debug)]
pub struct GivenKeys {
    first: MasterKey,
    others: Vec<MasterKey>,
}

impl GivenKeys {
    /// Returns the first key.
    pub fn first(&self) -> &MasterKey {
        &self.first
    }

    /// Returns all keys in order.
    pub fn iter(&self) -> impl Iterator<Item = &MasterKey> {
        iter::once(&self.first).chain(&self.others)
    }

    /// Returns the key with this id.
    pub fn get(&self, id: KeyId) -> Option<&MasterKey> {
        self.iter().find(|key| key.id() == id)
    }

    /// Returns the ids of the keys in order.
    pub fn ids(&self) -> Vec<KeyId> {
        self.iter().map(MasterKey::id).collect()
    }

    /// Returns the first other key after this one. A key before it may have sealed once, and was not removed.
    pub fn after(&self, id: KeyId) -> Option<KeyId> {
        let mut from_it = self.iter().map(MasterKey::id).skip_while(|it| *it != id);
        from_it.find(|other| *other != id)
    }

    /// Converts the keys for the store.
    pub(super) fn prepared(&self) -> MasterKeys {
        let keys = MasterKeys::new(&self.first);
        self.others.iter().fold(keys, MasterKeys::with)
    }
}

impl From<MasterKey> for GivenKeys {
    fn from(first: MasterKey) -> Self {
        let others = Vec::new();
        Self { first, others }
    }
}

/// Reads a key file. Returns `None` if there is none.
pub(super) fn read(path: &Path, others: Access) -> Result<Option<GivenKeys>, MasterKeyError> {
    let failed = |source| MasterKeyError::File {
        path: path.to_owned(),
        source,
    };
    let malformed = || MasterKeyError::Malformed {
        place: path.display().to_string(),
    };
    let file = match NamedFile::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if let Some(exposure) = Exposure::of(file.metadata(), others) {
        return Err(MasterKeyError::Permissions {
            path: path.to_owned(),
            exposure,
        });
    }
    match file.read(LONGEST_FILE) {
        Ok(text) => parse(&text).map(Some).ok_or_else(malformed),
        Err(error) if error.kind() == ErrorKind::FileTooLarge => Err(malformed()),
        Err(error) => Err(failed(error)),
    }
}

/// Parses 32 raw bytes, or one or more keys in Base64, one per line.
pub(super) fn parse(bytes: &[u8]) -> Option<GivenKeys> {
    if let Some(key) = MasterKey::from_bytes(bytes) {
        return Some(key.into());
    }
    let lines = bytes.trim_ascii().split(|byte| *byte == b'\n');
    let mut keys = lines.map(|line| {
        let decoded = Zeroizing::new(BASE64.decode(line.trim_ascii()).ok()?);
        MasterKey::from_bytes(&decoded)
    });
    Some(GivenKeys {
        first: keys.next()??,
        others: keys.collect::<Option<_>>()?,
    })
}

/// Creates a key file. If another process has created it first, keeps that one.
pub(super) fn create(path: &Path, keys: &GivenKeys) -> io::Result<()> {
    draft(path, keys)?.create()
}

/// Returns the first key after `sealing` in a key file. If there is none, adds `new` and keeps the file's owner, or creates
/// the file. Concurrent calls wait for each other, so all return the same key.
pub(super) fn add_after(
    path: &Path,
    sealing: KeyId,
    new: &MasterKey,
) -> Result<KeyId, MasterKeyError> {
    let failed = |source| MasterKeyError::File {
        path: path.to_owned(),
        source,
    };
    // A symbolic link stays one, so that other readers of its target get the key, too.
    let target = match fs::canonicalize(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => path.to_owned(),
        target => target.map_err(failed)?,
    };
    let path = &*target;
    loop {
        let locked = locked(path).map_err(failed)?;
        let keys = match read(path, Access::Nobody)? {
            Some(mut keys) => {
                let there = keys.get(new.id()).map(MasterKey::id);
                if let Some(id) = keys.after(sealing).or(there) {
                    return Ok(id);
                }
                if keys.iter().count() >= MOST_KEYS {
                    return Err(MasterKeyError::Full {
                        path: path.to_owned(),
                        most: MOST_KEYS,
                    });
                }
                keys.others.push(new.clone());
                keys
            }
            None => new.clone().into(),
        };
        if locked.is_some() {
            let draft = draft(path, &keys);
            let replaced = draft.and_then(Draft::replace_for_its_owner);
            return replaced.map(|()| new.id()).map_err(failed);
        }
        // Creation is not locked, so another process may create the file first. Therefore it is read again.
        create(path, &keys).map_err(failed)?;
        if read(path, Access::Nobody)?.is_none() {
            return Err(failed(ErrorKind::AlreadyExists.into()));
        }
    }
}

/// Locks the file at `path`, if there is one. Retries if the file was replaced meanwhile.
fn locked(path: &Path) -> io::Result<Option<File>> {
    let of = |flags: OFlags| {
        let flags = flags | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).map(File::from)
    };
    let place = |file: &fs::Metadata| (file.dev(), file.ino());
    loop {
        // NFS locks only files that are open for writing.
        let file = match of(OFlags::RDWR).or_else(|_| of(OFlags::RDONLY)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        lock(&file);
        let ours = place(&file.metadata()?);
        match fs::metadata(path) {
            Ok(there) if place(&there) == ours => return Ok(Some(file)),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
}

fn draft(path: &Path, keys: &GivenKeys) -> io::Result<Draft> {
    // Drafts of killed processes contain all keys, so they are removed. One that cannot be removed does not stop this.
    let _ = Draft::remove_abandoned(folder_of(path));
    let mut draft = Draft::of(path)?;
    for key in keys.iter() {
        let text = Zeroizing::new(BASE64.encode(key.as_bytes()));
        draft.write_all(text.as_bytes())?;
        draft.write_all(b"\n")?;
    }
    Ok(draft)
}

#[cfg(test)]
mod tests {
    use keyproof_store::SystemEntropy;

    use super::*;

    /// Adds a key whatever other keys there are.
    fn add(path: &Path, key: &MasterKey) -> Result<KeyId, MasterKeyError> {
        add_after(path, key.id(), key)
    }

    #[test]
    fn those_that_prepare_at_once_get_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let key = || MasterKey::generate(&SystemEntropy::new());
        // One that sealed before, and the one that seals.
        let [former, sealing] = [key(), key()];
        add(&path, &former).unwrap();
        add(&path, &sealing).unwrap();
        let prepare = || add_after(&path, sealing.id(), &key()).unwrap();
        let ids: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(prepare)).collect();
            starts
                .into_iter()
                .map(|start| start.join().unwrap())
                .collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        let keys = read(&path, Access::Nobody).unwrap().unwrap();
        assert_eq!(keys.ids(), [former.id(), sealing.id(), ids[0]]);
    }

    #[test]
    fn a_file_takes_as_many_keys_as_can_be_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let key = || MasterKey::generate(&SystemEntropy::new());
        for count in 1..=MOST_KEYS {
            add(&path, &key()).unwrap();
            let keys = read(&path, Access::Nobody).unwrap().unwrap();
            assert_eq!(keys.iter().count(), count);
        }
        let before = fs::read(&path).unwrap();
        let refused = add(&path, &key()).unwrap_err();
        assert!(matches!(refused, MasterKeyError::Full { .. }), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn what_a_killed_one_has_left_of_a_key_file_is_removed_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let key = || MasterKey::generate(&SystemEntropy::new());
        let draft = folder.path().join(".keyproof-abc123");
        let under_way = Draft::of(&path).unwrap();
        for is_there in [false, true] {
            fs::write(&draft, "every key\n").unwrap();
            add(&path, &key()).unwrap();
            assert!(!draft.exists(), "{is_there}");
        }
        // The draft of a running process is locked, so it is kept.
        under_way.replace().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn none_is_lost_of_those_that_are_added_at_once() {
        for is_there in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("key");
            let keys = [(); MOST_KEYS].map(|()| MasterKey::generate(&SystemEntropy::new()));
            let (first, others) = keys.split_first().unwrap();
            if is_there {
                add(&path, first).unwrap();
            }
            std::thread::scope(|scope| {
                for key in others {
                    scope.spawn(|| add(&path, key).unwrap());
                }
            });
            add(&path, first).unwrap();
            let there = read(&path, Access::Nobody).unwrap().unwrap();
            let lost = keys.iter().filter(|key| there.get(key.id()).is_none());
            assert_eq!(lost.count(), 0, "{is_there}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_link_stays_one_and_what_it_leads_to_has_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = folder.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        let (link, file) = (folder.path().join("key"), elsewhere.join("key"));
        let [first, second] = [(); 2].map(|()| MasterKey::generate(&SystemEntropy::new()));
        add(&file, &first).unwrap();
        std::os::unix::fs::symlink("elsewhere/key", &link).unwrap();
        add(&link, &second).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let keys = read(&file, Access::Nobody).unwrap().unwrap();
        assert_eq!(keys.ids(), [first.id(), second.id()]);
        for folder in [folder.path(), &elsewhere] {
            assert!(!fs::read_dir(folder).unwrap().any(|entry| {
                let name = entry.unwrap().file_name();
                name.to_string_lossy().starts_with(".keyproof-")
            }));
        }
    }

    /// As when root prepares a key rotation for a service that runs as another user.
    #[test]
    fn the_file_stays_its_owners() {
        use std::os::unix::fs::{MetadataExt, chown};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let key = || MasterKey::generate(&SystemEntropy::new());
        add(&path, &key()).unwrap();
        // Only root can change the owner. For others, it stays the same anyway.
        let _ = chown(&path, Some(12345), Some(54321));
        let owner = |path: &Path| {
            let found = fs::metadata(path).unwrap();
            (found.uid(), found.gid(), found.mode() & 0o777)
        };
        let before = owner(&path);
        add(&path, &key()).unwrap();
        assert_eq!(owner(&path), before);
    }
}
