//! Files for the trust bundle: certificates and CRLs in PEM or PKCS #7, or a single one in DER.

use keyproof_x509::{
    Certificate, Sha256Thumbprint, X509Error, algorithms,
    crl::Crl,
    pem_bundle::{InvalidBlock, PemBlock, PemKind, certificates_and_crls},
    pkcs7::Pkcs7,
    verify,
};

use super::TrustKind;

/// The largest CRL, in bytes of DER. Encoded in Base64, it fits in a record.
const LONGEST: usize = 512 * 1024;

/// An item of a file for the bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustItem {
    /// Its PEM block, or its element in PKCS #7 in DER, from 1; `None` if it is the whole file.
    pub block: Option<usize>,
    /// Its kind.
    pub kind: TrustKind,
    /// Its DER.
    pub der: Vec<u8>,
}

/// Why a whole file was rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", .block.map(|block| format!("block {block}: ")).unwrap_or_default())]
pub struct TrustFileError {
    /// The PEM block or the PKCS #7 element, from 1; `None` if that does not matter.
    pub block: Option<usize>,
    /// What is wrong with it.
    pub problem: String,
}

impl TrustItem {
    /// Parses a file: PEM blocks (also of PKCS #7), PKCS #7 in DER (`.p7b`), or a single certificate or CRL in DER.
    /// Self-signed certificates become roots and others intermediates. With `are_roots`, all become roots.
    ///
    /// # Errors
    ///
    /// [`TrustFileError`] for the first block that is malformed or of another kind, or a certificate that is not a
    /// CA's.
    pub fn read(file: &[u8], are_roots: bool) -> Result<Vec<Self>, TrustFileError> {
        let blocks = certificates_and_crls(file).map_err(|InvalidBlock { block, problem }| {
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
            let blocks = blocks.into_iter().map(
                |PemBlock {
                     block, kind, der, ..
                 }| { element(Some(block), kind == PemKind::Certificate, der) },
            );
            return blocks.collect();
        }
        if let Ok(Pkcs7 {
            certificates, crls, ..
        }) = Pkcs7::from_der(file)
        {
            let certificates = certificates.into_iter().map(|der| (true, der));
            let all = certificates.chain(crls.into_iter().map(|der| (false, der)));
            if all.clone().next().is_none() {
                return Err(TrustFileError {
                    block: None,
                    problem: "it has no certificate and no CRL".to_owned(),
                });
            }
            let all = all.zip(1..).map(|((is_certificate, der), block)| {
                element(Some(block), is_certificate, der.to_vec())
            });
            return all.collect();
        }
        // Both a certificate and a CRL begin with the tag of a SEQUENCE.
        if file.first() != Some(&0x30) {
            return Err(TrustFileError {
                block: None,
                problem: "it is neither PEM nor PKCS #7 nor DER".to_owned(),
            });
        }
        let is_certificate = Crl::from_der(file).is_err();
        Ok(vec![element(None, is_certificate, file.to_vec())?])
    }

    /// Returns the SHA-256 of its DER, which identifies it.
    pub fn fingerprint(&self) -> Sha256Thumbprint {
        Sha256Thumbprint::of_der(&self.der)
    }
}

/// Parses the certificate of a CA.
pub(in super::super) fn certificate_of_ca(der: &[u8]) -> Result<Certificate<'_>, String> {
    let certificate = Certificate::from_der_lenient(der).map_err(|error| error.to_string())?;
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

/// Verifies the signature too, as a CA may issue a certificate for its own name and another key, which is not a root.
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
        return Err(format!("a CRL of {found} bytes, more than {LONGEST}"));
    }
    Crl::from_der(der).map_err(|error| error.to_string())?;
    Ok(TrustKind::RevocationList)
}
