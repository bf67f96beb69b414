//! Files that offline commands read and write.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    mem,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use keyproof_store::file;
use pem_rfc7468::LineEnding;
use zeroize::Zeroizing;

use super::Failure;

/// Longer than anything that is read here.
const LONGEST_FILE: usize = 16 * 1024 * 1024;

pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    file::read(path, LONGEST_FILE)
        .map(|mut bytes| mem::take(&mut *bytes))
        .map_err(|error| unusable(path, &error))
}

pub(super) fn read_text(path: &Path) -> Result<Zeroizing<String>, Failure> {
    file::read_text(path, LONGEST_FILE).map_err(|error| unusable(path, &error))
}

pub(super) fn write(path: &Path, contents: &[u8]) -> Result<(), Failure> {
    fs::write(path, contents).map_err(|error| unusable(path, &error))
}

/// Writes a new file for its owner alone; one that is there is left as it is.
pub(super) fn write_secret(path: &Path, contents: &[u8]) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(path);
    let mut file = opened.map_err(|error| unusable(path, &error))?;
    file.write_all(contents)
        .and_then(|()| file.sync_all())
        .map_err(|error| unusable(path, &error))
}

pub(super) fn unusable(path: &Path, reason: &dyn std::fmt::Display) -> Failure {
    Failure::Usage(format!("{}: {reason}", path.display()))
}

/// A certificate as RFC 7468 writes it.
pub(super) fn pem(der: &[u8]) -> Result<String, Failure> {
    pem_rfc7468::encode_string("CERTIFICATE", LineEnding::LF, der).map_err(Failure::refused)
}
