//! The extensions of a certificate that decide what its key may be used for.

use alloc::format;
use alloc::string::{String, ToString};

use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode, Reader, SliceReader, Tag, Tagged};
use keyproof_x509::Certificate;

/// tcg-kp-EKCertificate, 2.23.133.8.1: the contents octets, as rustls-webpki takes them.
pub(super) const EK_CERTIFICATE_USE: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x01];

const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
const CERTIFICATE_POLICIES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.32");

/// What rustls-webpki reads: keyUsage, subjectAltName, basicConstraints, nameConstraints,
/// cRLDistributionPoints, extKeyUsage. It refuses anything else that is critical.
const KNOWN: [ObjectIdentifier; 6] = [
    ObjectIdentifier::new_unwrap("2.5.29.15"),
    ObjectIdentifier::new_unwrap("2.5.29.17"),
    ObjectIdentifier::new_unwrap("2.5.29.19"),
    ObjectIdentifier::new_unwrap("2.5.29.30"),
    ObjectIdentifier::new_unwrap("2.5.29.31"),
    EXTENDED_KEY_USAGE,
];

/// The first critical extension that nothing here understands.
pub(super) fn unknown_critical(certificate: &Certificate<'_>) -> Option<String> {
    certificate
        .extensions()
        .iter()
        .filter(|extension| extension.critical)
        .find(|extension| !KNOWN.iter().any(|known| extension.id == *known))
        .map(|extension| {
            if extension.id == CERTIFICATE_POLICIES {
                format!("certificatePolicies ({})", extension.id)
            } else {
                extension.id.to_string()
            }
        })
}

/// Whether the extended key usage names endorsement certificates; `None` if there is none.
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

/// ExtKeyUsageSyntax (RFC 5280 section 4.2.1.12).
fn names_endorsement(value: &[u8]) -> Result<bool, der::Error> {
    let mut reader = SliceReader::new(value)?;
    let found = reader.sequence(|reader| {
        let mut found = false;
        while !reader.is_finished() {
            let purpose = AnyRef::decode(reader)?;
            purpose.tag().assert_eq(Tag::ObjectIdentifier)?;
            found |= purpose.value() == EK_CERTIFICATE_USE;
        }
        Ok::<_, der::Error>(found)
    })?;
    reader.finish()?;
    Ok(found)
}
