//! A file of master keys: whole or not at all, and nobody else's to read.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use data_encoding::{BASE64, HEXLOWER};
use keyproof_store::{Entropy, MasterKey, file::NamedFile};
use zeroize::Zeroizing;

use super::{
    MasterKeyError,
    exposure::{Access, Exposure},
};

/// The most bytes of a key file: a dozen keys and their line ends, as Windows writes them.
const LONGEST_FILE: usize = 12 * 46;

/// Reads a key file; `None` if there is none.
pub(super) fn read(path: &Path, others: Access) -> Result<Option<Vec<MasterKey>>, MasterKeyError> {
    let failed = |source| MasterKeyError::File {
        path: path.to_owned(),
        source,
    };
    let malformed = || MasterKeyError::Malformed {
        place: path.display().to_string(),
    };
    let file = match NamedFile::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if let Some(Exposure { access, mode }) = Exposure::of(file.metadata(), others) {
        return Err(MasterKeyError::Permissions {
            path: path.to_owned(),
            access,
            mode,
        });
    }
    match file.read(LONGEST_FILE) {
        Ok(text) => parse(&text).map(Some).ok_or_else(malformed),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Err(malformed()),
        Err(error) => Err(failed(error)),
    }
}

/// 32 bytes as they are, or one or more in Base64, each on a line of its own.
pub(super) fn parse(bytes: &[u8]) -> Option<Vec<MasterKey>> {
    if let Some(key) = MasterKey::from_bytes(bytes) {
        return Some(vec![key]);
    }
    let lines = bytes.trim_ascii().split(|byte| *byte == b'\n');
    lines
        .map(|line| {
            let decoded = Zeroizing::new(BASE64.decode(line.trim_ascii()).ok()?);
            MasterKey::from_bytes(&decoded)
        })
        .collect()
}

/// Makes a key file whole or not at all, and leaves one alone that another process made first.
pub(super) fn create(path: &Path, keys: &[MasterKey], entropy: &dyn Entropy) -> io::Result<()> {
    let draft = draft_of(path, entropy);
    let written = write_new(&draft, keys);
    // A link, unlike a rename, never takes the place of a file that is there.
    let linked = written.and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    let removed = fs::remove_file(&draft);
    linked.and(removed)?;
    sync_folder(path)
}

/// Puts a key file in the place of the one that is there, whole or not at all.
pub(super) fn replace(path: &Path, keys: &[MasterKey], entropy: &dyn Entropy) -> io::Result<()> {
    let draft = draft_of(path, entropy);
    if let Err(error) = write_new(&draft, keys).and_then(|()| fs::rename(&draft, path)) {
        // What was written of it is a secret.
        let _ = fs::remove_file(&draft);
        return Err(error);
    }
    sync_folder(path)
}

fn draft_of(path: &Path, entropy: &dyn Entropy) -> PathBuf {
    let mut suffix = [0; 8];
    entropy.fill(&mut suffix);
    let mut draft = OsString::from(path);
    draft.push(format!(".{}", HEXLOWER.encode(&suffix)));
    PathBuf::from(draft)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn write_new(path: &Path, keys: &[MasterKey]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    for key in keys {
        let text = Zeroizing::new(BASE64.encode(key.as_bytes()));
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
    }
    file.sync_all()
}
