//! The files of TPMs' keys, certificates and registers, as tpm2-tools and people keep them.

use std::{fmt::Display, path::Path};

use keyproof_tpm::{Structure, TpmtPublic};
use keyproof_x509::Certificate;
use rustls_pki_types::pem::{self, PemObject, SectionKind};

use crate::command::{Failure, files::read};

pub(super) fn public(path: &Path) -> Result<TpmtPublic, Failure> {
    let bytes = read(path)?;
    if !pem_blocks(&bytes).is_empty() {
        return Err(wrong(
            path,
            &"this is PEM, which has the key alone and not what a TPM says of it: \
             tpm2_readpublic -c KEY -o FILE writes its TPM2B_PUBLIC",
        ));
    }
    TpmtPublic::parse_sized(&bytes)
        .or_else(|error| {
            // The error is about the form that the file seems to have.
            let is_sized = bytes
                .first_chunk()
                .map(|size| u16::from_be_bytes(*size).into())
                == bytes.len().checked_sub(2);
            TpmtPublic::parse(&bytes).map_err(|bare| if is_sized { error } else { bare })
        })
        .map_err(|error| wrong(path, &error))
}

/// Trusted certificates, at least one. What is broken is refused: who lists a root is to know that it is not looked at.
pub(super) fn trusted(path: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let blocks = certificates(&read(path)?).map_err(|broken| wrong(path, &broken))?;
    if blocks.is_empty() {
        return Err(wrong(path, &"it holds no certificate in PEM"));
    }
    let trusted = blocks.into_iter().map(|Block { number, der }| {
        let broken = |error: keyproof_x509::Error| {
            let why = error.to_string();
            wrong(path, &BrokenBlock { number, why })
        };
        Certificate::from_der(&der).map_err(broken)?;
        Ok(der)
    });
    trusted.collect()
}

/// A certificate in PEM, and which block of its file it is, the first being 1.
pub(super) struct Block {
    number: usize,
    pub(super) der: Vec<u8>,
}

/// A block of PEM that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("PEM block {number}: {why}")]
pub(super) struct BrokenBlock {
    number: usize,
    why: String,
}

/// The certificates of a PEM file; none if it is something else.
pub(super) fn certificates(bytes: &[u8]) -> Result<Vec<Block>, BrokenBlock> {
    let mut certificates = Vec::new();
    for (number, block) in (1..).zip(pem_blocks(bytes)) {
        let why = match <(SectionKind, Vec<u8>)>::from_pem_slice(block) {
            Ok((SectionKind::Certificate, der)) => {
                certificates.push(Block { number, der });
                continue;
            }
            // Something else, and whole.
            Ok(_) => continue,
            Err(pem::Error::NoItemsFound) if has_line(block, b"-----END ") => continue,
            Err(pem::Error::NoItemsFound | pem::Error::MissingSectionEnd { .. }) => {
                "it has no end".to_owned()
            }
            Err(error) => error.to_string(),
        };
        return Err(BrokenBlock { number, why });
    }
    Ok(certificates)
}

/// Each from its first line up to the next one's.
fn pem_blocks(bytes: &[u8]) -> Vec<&[u8]> {
    let mut blocks = Vec::new();
    let mut rest = bytes;
    let mut begin = None;
    let mut at = 0;
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let (line, next) = rest.split_at(end.map_or(rest.len(), |end| end + 1));
        if line.trim_ascii_start().starts_with(b"-----BEGIN ") {
            blocks.extend(begin.and_then(|begin| bytes.get(begin..at)));
            begin = Some(at);
        }
        at += line.len();
        rest = next;
    }
    blocks.extend(begin.and_then(|begin| bytes.get(begin..)));
    blocks
}

fn has_line(block: &[u8], start: &[u8]) -> bool {
    let mut lines = block.split(|byte| *byte == b'\n');
    lines.any(|line| line.trim_ascii_start().starts_with(start))
}

/// The registers' values one after the other.
pub(super) fn pcr_values(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = read(path)?;
    Ok(serialized(&bytes).unwrap_or(bytes))
}

/// The values in what tpm2_quote and tpm2_pcrread write with `-F serialized`: C's structures as they lie in memory on a
/// machine of x86. A `TPML_PCR_SELECTION` of 16 selections, how many lists of values follow, and these: each a
/// `TPML_DIGEST` of 8 values in 64 bytes.
fn serialized(bytes: &[u8]) -> Option<Vec<u8>> {
    const SELECTIONS: usize = 16;
    const SELECTION_LEN: usize = 8;
    const VALUES: usize = 8;
    const VALUE_LEN: usize = 64;
    let (selected, rest) = split_u32(bytes)?;
    let (_, rest) = rest.split_at_checked(SELECTIONS * SELECTION_LEN)?;
    let (lists, mut rest) = split_u32(rest)?;
    let list_len = 4 + VALUES * (2 + VALUE_LEN);
    let is_whole = lists.checked_mul(list_len) == Some(rest.len());
    if selected == 0 || selected > SELECTIONS || !is_whole {
        return None;
    }
    let mut values = Vec::new();
    for _ in 0..lists {
        let (count, list) = split_u32(rest)?;
        let (list, next) = list.split_at_checked(VALUES * (2 + VALUE_LEN))?;
        for entry in list.chunks(2 + VALUE_LEN).take(count) {
            let (len, value) = entry.split_first_chunk()?;
            values.extend_from_slice(value.get(..u16::from_le_bytes(*len).into())?);
        }
        if count > VALUES {
            return None;
        }
        rest = next;
    }
    Some(values)
}

fn split_u32(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((usize::try_from(u32::from_le_bytes(*number)).ok()?, rest))
}

pub(super) fn wrong(path: &Path, problem: &impl Display) -> Failure {
    Failure::Refused(format!("{}: {problem}", path.display()))
}
