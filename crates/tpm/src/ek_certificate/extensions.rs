//! The extensions that limit the use of a certificate's key.

use alloc::string::{String, ToString};

use der::{
    Decode, Reader, SliceReader, Tag, Tagged,
    asn1::{AnyRef, ObjectIdentifier},
};
use keyproof_x509::{Certificate, path};

/// tcg-kp-EKCertificate.
pub(super) const EK_CERTIFICATE_USE: &str = "2.23.133.8.1";

const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");

/// Extensions that may be critical beside those that a path search processes: cRLDistributionPoints
/// only locates CRLs.
pub(super) const ALSO_UNDERSTOOD: [ObjectIdentifier; 1] =
    [ObjectIdentifier::new_unwrap("2.5.29.31")];

/// Returns the first critical extension that is not understood.
pub(super) fn unknown_critical(certificate: &Certificate<'_>) -> Option<String> {
    certificate
        .extensions()
        .iter()
        .filter(|extension| extension.critical && !path::is_processed_extension(extension.id))
        .find(|extension| !ALSO_UNDERSTOOD.iter().any(|known| extension.id == *known))
        .map(|extension| extension.id.to_string())
}

/// Returns whether the extended key usage includes endorsement certificates; `None` if there is no
/// extended key usage.
pub(super) fn is_for_endorsement(
    certificate: &Certificate<'_>,
) -> Result<Option<bool>, der::Error> {
    certificate
        .extensions()
        .iter()
        .find(|extension| extension.id == EXTENDED_KEY_USAGE)
        .map(|extension| names_endorsement(extension.value))
        .transpose()
}

/// Parses an ExtKeyUsageSyntax (RFC 5280 section 4.2.1.12).
fn names_endorsement(value: &[u8]) -> Result<bool, der::Error> {
    let mut reader = SliceReader::new(value)?;
    let found = reader.sequence(|reader| {
        let endorsement = ObjectIdentifier::new_unwrap(EK_CERTIFICATE_USE);
        let mut found = false;
        while !reader.is_finished() {
            let purpose = AnyRef::decode(reader)?;
            purpose.tag().assert_eq(Tag::ObjectIdentifier)?;
            found |= purpose.value() == endorsement.as_bytes();
        }
        Ok::<_, der::Error>(found)
    })?;
    reader.finish()?;
    Ok(found)
}
