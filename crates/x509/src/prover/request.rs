//! Certification requests (PKCS#10, RFC 2986), limited to what a verification leaf uses.

use der::{Reader, TagNumber};
use rustls_pki_types::SignatureVerificationAlgorithm;

use crate::{
    X509Error,
    algorithm::{AlgorithmIdentifier, verify},
    certificate::whole_octets,
    name::Name,
    public_key::SubjectPublicKeyInfo,
    reader::{contents, read_whole, received},
};

/// A certification request (PKCS #10, RFC 2986) as received. Its attributes are ignored.
///
/// ```
/// # #[cfg(feature = "ring")] {
/// use keyproof_x509::{algorithms::RING, prover::CertificationRequest};
///
/// let request = CertificationRequest::from_der(include_bytes!("../../tests/data/tpm2-openssl.csr.der"))?;
/// request.verify(RING)?; // the sender has the private key
/// assert_eq!(request.subject().common_name().as_deref(), Some("device-0001"));
/// # }
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CertificationRequest<'a> {
    info: &'a [u8],
    subject: Name<'a>,
    public_key: SubjectPublicKeyInfo<'a>,
    algorithm: AlgorithmIdentifier<'a>,
    signature: &'a [u8],
}

impl<'a> CertificationRequest<'a> {
    /// Parses a request from DER. No data may follow it. Does not verify the signature.
    ///
    /// # Errors
    ///
    /// [`X509Error::Malformed`] with field and offset, and [`X509Error::TooMany`].
    pub fn from_der(der: &'a [u8]) -> Result<Self, X509Error> {
        let request = read_whole(der, "CertificationRequest", |reader, field| {
            reader.sequence(|reader| {
                let (info, (subject, public_key)) = received(reader, |reader| {
                    reader.sequence(|reader| {
                        *field = "version";
                        reader.decode::<u8>()?;
                        *field = "subject";
                        let subject = Name::read(reader)?;
                        *field = "subjectPKInfo";
                        let public_key = SubjectPublicKeyInfo::read(reader)?;
                        *field = "attributes";
                        if !reader.is_finished() {
                            contents(reader, TagNumber(0).context_specific(true))?;
                        }
                        Ok((subject, public_key))
                    })
                })?;
                *field = "signatureAlgorithm";
                let algorithm = AlgorithmIdentifier::read(reader)?;
                *field = "signature";
                let signature = whole_octets(reader)?;
                Ok(Self {
                    info,
                    subject,
                    public_key,
                    algorithm,
                    signature,
                })
            })
        })?;
        request.subject.check_size("subject")?;
        Ok(request)
    }

    /// Returns the subject's name.
    pub fn subject(&self) -> Name<'a> {
        self.subject
    }

    /// Returns the subject's public key.
    pub fn public_key(&self) -> SubjectPublicKeyInfo<'a> {
        self.public_key
    }

    /// Verifies that the request was signed with the private key of its public key.
    ///
    /// NULL parameters count as absent for every algorithm, because tpm2-openssl writes them for ECDSA.
    ///
    /// # Errors
    ///
    /// Those of [`verify`](crate::verify()).
    pub fn verify(
        &self,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> Result<(), X509Error> {
        verify(
            algorithms,
            &self.public_key,
            &self.algorithm.with_null_absent(),
            self.info,
            self.signature,
        )
        .map(drop)
    }
}
