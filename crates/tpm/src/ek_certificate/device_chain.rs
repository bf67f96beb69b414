//! The CA certificates that a TPM stores beside its endorsement certificate.

use alloc::{string::ToString, vec::Vec};

use keyproof_x509::{Certificate, pem_bundle};

use super::stored;
use crate::TpmError;

/// The CA certificates between an endorsement certificate and its root, as sent by the device.
///
/// For example, Intel's on-die CA stores them in NV memory from 0x01C00100 on. Serial numbers may
/// be padded with redundant octets, as some of STMicroelectronics' CAs do. The certificates are
/// untrusted: a chain may contain them but never end with one.
///
/// ```
/// use keyproof_tpm::{EkChain, pem_bundle};
///
/// # let intermediate = include_bytes!("../../tests/vectors/rsa2048/ca.intermediate.der");
/// let chain = EkChain::from_der(intermediate)?;
/// assert_eq!(chain.certificates().count(), 1); // for `EkCertificatePolicy::intermediates`
/// assert!(EkChain::from_pem(b"-----BEGIN CERTIFICATE-----").is_err()); // truncated
/// # Ok::<(), keyproof_tpm::TpmError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EkChain(Vec<Vec<u8>>);

/// The maximum length of a chain that is accepted.
const MAX_CERTIFICATES: usize = 8;

impl EkChain {
    /// Parses one to eight certificates in PEM (RFC 7468), in any order.
    ///
    /// # Errors
    ///
    /// [`TpmError::EkChain`] for no certificate, for more than eight, and for a malformed block or
    /// one with another label; [`TpmError::Certificate`] for a certificate that cannot be parsed.
    pub fn from_pem(pem: &[u8]) -> Result<Self, TpmError> {
        let blocks = pem_bundle::certificates(pem).map_err(|broken_block| TpmError::EkChain {
            what: broken_block.to_string(),
        })?;
        let certificates: Vec<Vec<u8>> = blocks.into_iter().map(|block| block.der).collect();
        check_number(&certificates)?;
        Self::of(certificates)
    }

    /// Parses one to eight concatenated DER certificates, with optional padding at the end: the
    /// joined contents of a TPM's NV indices.
    ///
    /// # Errors
    ///
    /// [`TpmError::EkChain`] for no certificate, for more than eight, and for data that is neither
    /// certificate nor padding; [`TpmError::Certificate`] for a certificate that cannot be parsed.
    pub fn from_der(concatenated: &[u8]) -> Result<Self, TpmError> {
        let mut certificates = Vec::new();
        let mut rest = concatenated;
        while !stored::is_padding(rest) {
            let size = stored::der_size(rest).ok_or(broken("its DER is broken"))?;
            let split = rest.split_at_checked(size);
            let (certificate, after) = split.ok_or(broken("its last certificate is cut"))?;
            certificates.push(certificate.to_vec());
            check_number(&certificates)?;
            rest = after;
        }
        Self::of(certificates)
    }

    /// Returns the certificates, in DER.
    pub fn certificates(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(Vec::as_slice)
    }

    fn of(certificates: Vec<Vec<u8>>) -> Result<Self, TpmError> {
        if certificates.is_empty() {
            return Err(broken("it has no certificate"));
        }
        for der in &certificates {
            Certificate::from_der_lenient(der)?;
        }
        Ok(Self(certificates))
    }
}

fn check_number(certificates: &[Vec<u8>]) -> Result<(), TpmError> {
    match certificates.len() {
        0..=MAX_CERTIFICATES => Ok(()),
        _ => Err(broken("it has more than 8 certificates")),
    }
}

fn broken(what: &'static str) -> TpmError {
    TpmError::EkChain { what: what.into() }
}
