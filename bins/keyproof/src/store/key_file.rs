//! A file of master keys: whole or not at all, and nobody else's to read.

use std::{
    io::{self, Write},
    path::Path,
};

use data_encoding::BASE64;
use keyproof_store::{MasterKey, file::NamedFile};
use zeroize::Zeroizing;

use super::{
    MasterKeyError,
    exposure::{Access, Exposure},
};
use crate::whole_file::Draft;

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

/// Makes a key file, and leaves one alone that another process made first.
pub(super) fn create(path: &Path, keys: &[MasterKey]) -> io::Result<()> {
    draft(path, keys)?.create()
}

/// Puts a key file in the place of the one that is there.
pub(super) fn replace(path: &Path, keys: &[MasterKey]) -> io::Result<()> {
    draft(path, keys)?.replace()
}

fn draft(path: &Path, keys: &[MasterKey]) -> io::Result<Draft> {
    let mut draft = Draft::of(path)?;
    for key in keys {
        let text = Zeroizing::new(BASE64.encode(key.as_bytes()));
        draft.write_all(text.as_bytes())?;
        draft.write_all(b"\n")?;
    }
    Ok(draft)
}
