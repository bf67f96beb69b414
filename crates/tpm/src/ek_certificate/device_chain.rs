//! The CA certificates that a TPM carries beside its endorsement certificate.

use alloc::{string::ToString, vec::Vec};

use keyproof_x509::{Certificate, pem_bundle};

use super::stored;
use crate::TpmError;

/// The CA certificates between an endorsement certificate and its root that the device itself hands over,
/// as Intel's on-die CA has them in NV memory from 0x01C00100 on; serial numbers may have octets to spare, as those of some of
/// STMicroelectronics' CAs have. Nobody trusts them: they may be links of a chain, never its end.
///
/// ```
/// use keyproof_tpm::{EkChain, pem_bundle};
///
/// # let intermediate = include_bytes!("../../tests/vectors/rsa2048/ca.intermediate.der");
/// let chain = EkChain::from_der(intermediate)?;
/// assert_eq!(chain.certificates().count(), 1); // for `EkCertificatePolicy::intermediates`
/// assert!(EkChain::from_pem(b"-----BEGIN CERTIFICATE-----").is_err()); // cut short
/// # Ok::<(), keyproof_tpm::TpmError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EkChain(Vec<Vec<u8>>);

/// No chain needs more.
const MAX_CERTIFICATES: usize = 8;

impl EkChain {
    /// Reads one to eight certificates in PEM (RFC 7468), in any order.
    ///
    /// # Errors
    ///
    /// [`TpmError::EkChain`] for none, for more than eight, and for a block of another label or that is
    /// broken; [`TpmError::Certificate`] for a certificate that cannot be read.
    pub fn from_pem(pem: &[u8]) -> Result<Self, TpmError> {
        let blocks = pem_bundle::certificates(pem).map_err(|broken_block| TpmError::EkChain {
            what: broken_block.to_string(),
        })?;
        let certificates: Vec<Vec<u8>> = blocks.into_iter().map(|block| block.der).collect();
        check_number(&certificates)?;
        Self::of(certificates)
    }

    /// Reads one to eight certificates in DER, one after the other, as the contents of a TPM's NV indices
    /// make them together, and the padding behind them.
    ///
    /// # Errors
    ///
    /// [`TpmError::EkChain`] for none, for more than eight, and for what is neither certificate nor padding;
    /// [`TpmError::Certificate`] for a certificate that cannot be read.
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

    /// The certificates, in DER.
    pub fn certificates(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(Vec::as_slice)
    }

    fn of(certificates: Vec<Vec<u8>>) -> Result<Self, TpmError> {
        if certificates.is_empty() {
            return Err(broken("it has no certificate"));
        }
        for der in &certificates {
            Certificate::from_der_as_issued(der)?;
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
