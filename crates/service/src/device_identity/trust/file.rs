//! What a file has for the trust bundle: certificates and revocation lists, in PEM or PKCS #7, or one in DER.

use keyproof_x509::{
    Certificate, Sha256Thumbprint, X509Error, algorithms,
    crl::Crl,
    pem_bundle::{BrokenBlock, PemBlock, PemKind, certificates_and_crls},
    pkcs7::Pkcs7,
    verify,
};

use super::TrustKind;

/// The longest revocation list, in bytes of DER: in Base64 a record holds it.
const LONGEST: usize = 512 * 1024;

/// What a file has for the bundle, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustItem {
    /// Which block of PEM it is or is in, or which element of PKCS #7 in DER, the first being 1; none if it is the file.
    pub block: Option<usize>,
    /// What it is.
    pub kind: TrustKind,
    /// Its DER.
    pub der: Vec<u8>,
}

/// Why a file is not taken, whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", .block.map(|block| format!("block {block}: ")).unwrap_or_default())]
pub struct TrustFileError {
    /// Which block of its PEM or element of its PKCS #7, the first being 1; none if that makes no difference.
    pub block: Option<usize>,
    /// What is wrong with it.
    pub problem: String,
}

impl TrustItem {
    /// Reads a file: blocks of PEM (those of PKCS #7 too), PKCS #7 in DER (`.p7b`), or one certificate or revocation list in DER. Self-signed certificates are roots and
    /// others stand between, unless `are_roots` says that all of them are roots.
    ///
    /// # Errors
    ///
    /// [`TrustFileError`]: the first block that is something else or malformed, or a certificate that is no CA's.
    pub fn read(file: &[u8], are_roots: bool) -> Result<Vec<Self>, TrustFileError> {
        let blocks = certificates_and_crls(file).map_err(|BrokenBlock { block, problem }| {
            TrustFileError {
                block: Some(block),
                problem,
            }
        })?;
        let element = |block, is_certificate, der: Vec<u8>| {
            let kind = if is_certificate {
                certificate(&der, are_roots)
            } else {
                revocation_list(&der)
            };
            let kind = kind.map_err(|problem| TrustFileError { block, problem })?;
            Ok(Self { block, kind, der })
        };
        if !blocks.is_empty() {
            let blocks = blocks.into_iter().map(|PemBlock { block, kind, der }| {
                element(Some(block), kind == PemKind::Certificate, der)
            });
            return blocks.collect();
        }
        if let Ok(Pkcs7 { certificates, crls }) = Pkcs7::from_der(file) {
            let certificates = certificates.into_iter().map(|der| (true, der));
            let all = certificates.chain(crls.into_iter().map(|der| (false, der)));
            if all.clone().next().is_none() {
                return Err(TrustFileError {
                    block: None,
                    problem: "it has no certificate and no revocation list".to_owned(),
                });
            }
            let all = all.zip(1..).map(|((is_certificate, der), block)| {
                element(Some(block), is_certificate, der.to_vec())
            });
            return all.collect();
        }
        let is_certificate = Crl::from_der(file).is_err();
        Ok(vec![element(None, is_certificate, file.to_vec())?])
    }

    /// What it is called by: the SHA-256 over its DER.
    pub fn fingerprint(&self) -> Sha256Thumbprint {
        Sha256Thumbprint::of(&self.der)
    }
}

/// Reads the certificate of a CA.
pub(in super::super) fn certificate_of_ca(der: &[u8]) -> Result<Certificate<'_>, String> {
    let certificate = Certificate::from_der_as_issued(der).map_err(|error| error.to_string())?;
    if !matches!(certificate.basic_constraints(), Ok(Some(constraints)) if constraints.ca) {
        return Err("it is not the certificate of a CA".to_owned());
    }
    Ok(certificate)
}

fn certificate(der: &[u8], is_root: bool) -> Result<TrustKind, String> {
    let certificate = certificate_of_ca(der)?;
    Ok(if is_root || is_self_signed(&certificate) {
        TrustKind::Root
    } else {
        TrustKind::Intermediate
    })
}

/// A CA may certify its own name under another key, which makes no root.
fn is_self_signed(certificate: &Certificate<'_>) -> bool {
    let verified = || -> Result<_, X509Error> {
        verify(
            algorithms::ALL,
            &certificate.public_key(),
            &certificate.algorithm(),
            certificate.tbs(),
            certificate.signature(),
        )
    };
    certificate.is_self_issued() && verified().is_ok()
}

fn revocation_list(der: &[u8]) -> Result<TrustKind, String> {
    if der.len() > LONGEST {
        let found = der.len();
        return Err(format!(
            "a revocation list of {found} bytes, more than {LONGEST}"
        ));
    }
    Crl::from_der(der).map_err(|error| error.to_string())?;
    Ok(TrustKind::RevocationList)
}
