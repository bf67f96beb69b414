//! Common code for issuing certificates and CRLs.

use alloc::{string::ToString, vec::Vec};

use der::{
    Decode, Encode, Sequence, Tag,
    asn1::{AnyRef, BitStringRef, ObjectIdentifier, OctetString, OctetStringRef},
};
use rustls_pki_types::SignatureVerificationAlgorithm;
use sha1::{Digest, Sha1};
use x509_cert::ext::{Extension, ToExtension, pkix::AuthorityKeyIdentifier};

use super::Signer;
use crate::{
    Scheme, X509Error,
    certificate::Certificate,
    extension::{AUTHORITY_KEY_IDENTIFIER, SUBJECT_KEY_IDENTIFIER},
};

/// A signed structure: Certificate and CertificateList have the same form.
#[derive(Sequence)]
struct Signed<'a> {
    to_be_signed: AnyRef<'a>,
    algorithm: AnyRef<'a>,
    signature: BitStringRef<'a>,
}

/// Signs the data of a CA and verifies the signature, because otherwise only the recipients would notice a wrong key.
pub(crate) fn sign(
    to_be_signed: &[u8],
    ca: &Certificate<'_>,
    signer: &dyn Signer,
    algorithms: &[&dyn SignatureVerificationAlgorithm],
) -> Result<Vec<u8>, X509Error> {
    let scheme = signer.scheme();
    let signature = signer.sign(to_be_signed)?;
    scheme.verify(algorithms, &ca.public_key(), to_be_signed, &signature)?;
    let algorithm = algorithm_identifier(scheme)?;
    let signed = Signed {
        to_be_signed: element(to_be_signed)?,
        algorithm: element(&algorithm)?,
        signature: BitStringRef::from_bytes(&signature).map_err(unwritable)?,
    };
    signed.to_der().map_err(unwritable)
}

/// Encodes the algorithm identifier from the table of algorithms, so that the signed and the verified algorithm are the same.
pub(crate) fn algorithm_identifier(scheme: Scheme) -> Result<Vec<u8>, X509Error> {
    // Its ID in the table is not an algorithm identifier, which would contain the length of the salt.
    if matches!(scheme, Scheme::RsaPssMaxSalt(_)) {
        return Err(X509Error::AlgorithmUnsupported {
            algorithm: scheme.to_string(),
        });
    }
    AnyRef::new(Tag::Sequence, scheme.signature_id().as_ref())
        .and_then(|any| any.to_der())
        .map_err(unwritable)
}

/// Wraps received DER, so that it is encoded unchanged.
pub(crate) fn element(der: &[u8]) -> Result<AnyRef<'_>, X509Error> {
    AnyRef::from_der(der).map_err(unwritable)
}

/// Creates an extension with the given criticality instead of its type's default.
pub(crate) fn extension<T: Encode>(
    id: ObjectIdentifier,
    critical: bool,
    value: &T,
) -> Result<Extension, X509Error> {
    // Only types with their own criticality use the subject and the other extensions.
    (id, critical, value)
        .to_extension(&Default::default(), &[])
        .map_err(unwritable)
}

/// Creates the authorityKeyIdentifier of what a CA signs: the CA's subjectKeyIdentifier, or that of RFC 5280 section 4.2.1.2 method
/// 1 if it has none.
pub(crate) fn authority_key_identifier(ca: &Certificate<'_>) -> Result<Extension, X509Error> {
    let own = ca.extension(SUBJECT_KEY_IDENTIFIER);
    let identifier = own
        .and_then(|value| <&OctetStringRef>::from_der(value).ok())
        .map_or_else(
            || Sha1::digest(ca.public_key().key()).to_vec(),
            |identifier| identifier.as_bytes().to_vec(),
        );
    let identifier = AuthorityKeyIdentifier {
        key_identifier: Some(OctetString::new(identifier).map_err(unwritable)?),
        ..AuthorityKeyIdentifier::default()
    };
    extension(AUTHORITY_KEY_IDENTIFIER, false, &identifier)
}

/// Converts an encoding error, which occurs if the DER becomes too long.
pub(crate) fn unwritable(error: der::Error) -> X509Error {
    X509Error::malformed("encoded output", error.kind())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hash, algorithm::AlgorithmIdentifier};

    #[test]
    fn a_scheme_is_written_as_its_algorithm_identifier_or_not_at_all() {
        for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
            let written = algorithm_identifier(Scheme::RsaPss(hash)).unwrap();
            let algorithm = AlgorithmIdentifier::from_der(&written).unwrap();
            assert!(algorithm.pss().is_ok());
            assert!(matches!(
                algorithm_identifier(Scheme::RsaPssMaxSalt(hash)),
                Err(X509Error::AlgorithmUnsupported { .. })
            ));
        }
    }
}
