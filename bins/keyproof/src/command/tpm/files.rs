//! Files with a TPM's keys, certificates and registers, in the formats of tpm2-tools and PEM.

use std::{fmt::Display, path::Path};

use keyproof_tpm::{HashAlgorithm, TpmlPcrSelection, TpmsPcrSelection, TpmtPublic};
use keyproof_x509::{
    Certificate,
    crl::Crl,
    pem_bundle::{InvalidBlock, PemBlock, PemKind, certificates, certificates_and_crls},
};
use rustls_pki_types::pem::{PemObject, SectionKind};

use crate::command::{Failure, files::read};

pub(super) fn public(path: &Path) -> Result<TpmtPublic, Failure> {
    let bytes = read(path)?;
    if has_pem(&bytes) {
        return Err(wrong(path, &KEY_IN_PEM));
    }
    TpmtPublic::parse_any(&bytes).map_err(|error| wrong(path, &error))
}

/// The remedy for a key in PEM.
pub(super) const KEY_IN_PEM: &str = "this is PEM, which has only the key, without the TPM's attributes of it: \
     tpm2_readpublic -c KEY -o FILE writes its TPM2B_PUBLIC";

/// Whether the file contains the beginning of a PEM block.
fn has_pem(bytes: &[u8]) -> bool {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    lines.any(|line| line.trim_ascii_start().starts_with(b"-----BEGIN "))
}

/// Whether the file begins with a key in PEM, public or private.
pub(super) fn is_key_in_pem(bytes: &[u8]) -> bool {
    use SectionKind::{EcPrivateKey, PrivateKey, PublicKey, RsaPrivateKey};
    matches!(
        <(SectionKind, Vec<u8>)>::from_pem_slice(bytes),
        Ok((PublicKey | PrivateKey | EcPrivateKey | RsaPrivateKey, _))
    )
}

/// Reads trusted certificates, at least one. A broken one is an error, so that a listed root is never silently ignored.
pub(super) fn trusted(path: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let blocks = blocks(&read(path)?).map_err(|problem| wrong(path, &problem))?;
    if blocks.is_empty() {
        return Err(wrong(path, &"it contains no certificate in PEM"));
    }
    let trusted = blocks.into_iter().map(|PemBlock { block, der, .. }| {
        let broken = |error: keyproof_x509::X509Error| {
            let problem = error.to_string();
            wrong(path, &pem(&InvalidBlock { block, problem }))
        };
        Certificate::from_der_lenient(&der).map_err(broken)?;
        Ok(der)
    });
    trusted.collect()
}

/// Reads certificate revocation lists, at least one: in PEM, or one in DER. An unreadable one is an error: it would
/// revoke nothing.
pub(super) fn revocation_lists(path: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let bytes = read(path)?;
    let blocks = certificates_and_crls(&bytes).map_err(|broken| wrong(path, &pem(&broken)))?;
    if blocks.is_empty() {
        Crl::from_der(&bytes).map_err(|error| wrong(path, &error))?;
        return Ok(vec![bytes]);
    }
    let lists = blocks.into_iter().map(
        |PemBlock {
             block, kind, der, ..
         }| {
            let broken = |problem| {
                let broken = InvalidBlock { block, problem };
                wrong(path, &pem(&broken))
            };
            if kind != PemKind::Crl {
                return Err(broken(format!("it is a {kind}")));
            }
            Crl::from_der(&der).map_err(|error| broken(error.to_string()))?;
            Ok(der)
        },
    );
    lists.collect()
}

/// Returns the certificate in its encoding in the file; from PEM, the first one.
pub(super) fn certificate(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let first = blocks(bytes)?.into_iter().next();
    Ok(first.map_or_else(|| bytes.to_vec(), |first| first.der))
}

fn blocks(bytes: &[u8]) -> Result<Vec<PemBlock>, String> {
    certificates(bytes).map_err(|broken| pem(&broken))
}

fn pem(broken: &InvalidBlock) -> String {
    format!("PEM {broken}")
}

/// The concatenated values of registers, and their selection if the file contains it.
pub(super) struct PcrFile {
    pub(super) selection: Option<TpmlPcrSelection>,
    pub(super) values: Vec<u8>,
}

/// Reads a file of register values. Refuses a file that names a bank twice: a quote names each once, and splitting a
/// bank could assign a value to the wrong register.
pub(super) fn pcr_file(path: &Path) -> Result<PcrFile, Failure> {
    let values = read(path)?;
    let file = serialized(&values).unwrap_or(PcrFile {
        selection: None,
        values,
    });
    match file.selection.as_ref().and_then(bank_named_twice) {
        Some(hash) => Err(wrong(path, &format!("it names the bank {hash} twice"))),
        None => Ok(file),
    }
}

fn bank_named_twice(selection: &TpmlPcrSelection) -> Option<HashAlgorithm> {
    let banks = selection.banks();
    let mut hashes = banks.iter().map(|bank| bank.hash());
    hashes.find(|hash| banks.iter().filter(|bank| bank.hash() == *hash).count() > 1)
}

/// Parses the output of tpm2_quote and tpm2_pcrread with `-F serialized`: C structures with the memory layout of x86.
/// It consists of a `TPML_PCR_SELECTION` with 16 selections, the number of lists of values, and these lists. Each is a
/// `TPML_DIGEST` with 8 values in buffers of 64 bytes.
fn serialized(bytes: &[u8]) -> Option<PcrFile> {
    const SELECTIONS: usize = 16;
    const SELECTION_LEN: usize = 8;
    const VALUES: usize = 8;
    const VALUE_LEN: usize = 64;
    let (selected, rest) = split_u32(bytes)?;
    let (selections, rest) = rest.split_at_checked(SELECTIONS * SELECTION_LEN)?;
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
    let banks = selections.chunks(SELECTION_LEN).take(selected);
    let selection = banks.map(serialized_bank).collect();
    Some(PcrFile { selection, values })
}

/// Parses a `TPMS_PCR_SELECTION` in memory: the hash, the number of octets of registers, and four such octets.
fn serialized_bank(bytes: &[u8]) -> Option<TpmsPcrSelection> {
    let [h0, h1, size, octets @ .., _] = bytes else {
        return None;
    };
    let hash = HashAlgorithm::from_id(u16::from_le_bytes([*h0, *h1]))?;
    let octets = octets.get(..usize::from(*size))?;
    let is_chosen = |index: &u8| {
        let octet = octets.get(usize::from(index / 8));
        octet.is_some_and(|octet| octet >> (index % 8) & 1 == 1)
    };
    TpmsPcrSelection::new(hash, (0..32).filter(is_chosen)).ok()
}

fn split_u32(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((usize::try_from(u32::from_le_bytes(*number)).ok()?, rest))
}

pub(super) fn wrong(path: &Path, problem: &impl Display) -> Failure {
    Failure::refused(problem).about(path)
}
