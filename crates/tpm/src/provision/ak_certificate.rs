//! The profile of an attestation key's certificate.

use alloc::vec::Vec;

use der::{
    Decode, Encode, Tag,
    asn1::{Any, ObjectIdentifier, PrintableStringRef},
    oid::AssociatedOid,
};
use x509_cert::{
    attr::AttributeTypeAndValue,
    ext::pkix::{ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName, name::GeneralName},
    name::{Name, RdnSequence, RelativeDistinguishedName},
};

use crate::{
    TpmError,
    ek_certificate::{TPM_MANUFACTURER, TPM_MODEL, TPM_VERSION, TpmAttributes},
};

/// An extension of a certificate (RFC 5280 section 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AkCertificateExtension {
    /// Its OID, as dotted decimal numbers.
    pub id: ObjectIdentifier,
    /// Whether a verifier that does not understand it must reject the certificate.
    pub critical: bool,
    /// Its value, in DER.
    pub value: Vec<u8>,
}

/// `tcg-kp-AIKCertificate`.
const AK_CERTIFICATE_USE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.8.3");
const SERIAL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.5");

/// Builds the extensions of an attestation key's certificate, except the key identifiers and
/// basicConstraints that every end-entity certificate has.
///
/// They are a keyUsage for signatures only, the extended key usage `tcg-kp-AIKCertificate`, and a
/// subjectAltName, critical since the subject is empty. The subjectAltName has two directory names:
/// the TPM's attributes, as far as its endorsement certificate states them, and the device's serial
/// (Web Authentication Level 2, 8.3.1; TCG EK Credential Profile for TPM Family 2.0, 3.2.9).
///
/// `device_serial` is written unchecked, so it should come from a
/// [`DeviceInfo`](crate::DeviceInfo). A serial is unique only per vendor, which the certificate
/// does not contain.
///
/// ```
/// use keyproof_tpm::{EkCertificate, ak_certificate_extensions};
///
/// let endorsement = EkCertificate::parse(include_bytes!("../../tests/vectors/rsa2048/ek.cert.der"))?;
/// let extensions = ak_certificate_extensions(Some(&endorsement.tpm_attributes()?), "SN0001")?;
/// for extension in &extensions {
///     // Add these to the certificate that your CA signs, beside its key identifiers.
///     println!("{} {} {} bytes", extension.id, extension.critical, extension.value.len());
/// }
/// # assert_eq!(extensions.len(), 3);
/// # Ok::<(), keyproof_tpm::TpmError>(())
/// ```
///
/// # Errors
///
/// [`TpmError::TooLong`] for texts that do not fit a certificate.
pub fn ak_certificate_extensions(
    tpm: Option<&TpmAttributes>,
    device_serial: &str,
) -> Result<Vec<AkCertificateExtension>, TpmError> {
    extensions(tpm, device_serial).map_err(|_| TpmError::TooLong {
        what: "the subjectAltName",
    })
}

fn extensions(
    tpm: Option<&TpmAttributes>,
    device_serial: &str,
) -> der::Result<Vec<AkCertificateExtension>> {
    let signatures = KeyUsage(KeyUsages::DigitalSignature.into());
    let attestation = ExtendedKeyUsage(Vec::from([AK_CERTIFICATE_USE]));
    Ok(Vec::from([
        extension(true, &signatures)?,
        extension(false, &attestation)?,
        extension(true, &alt_names(tpm, device_serial)?)?,
    ]))
}

fn extension<T: AssociatedOid + Encode>(
    critical: bool,
    value: &T,
) -> der::Result<AkCertificateExtension> {
    Ok(AkCertificateExtension {
        id: T::OID,
        critical,
        value: value.to_der()?,
    })
}

fn alt_names(tpm: Option<&TpmAttributes>, device_serial: &str) -> der::Result<SubjectAltName> {
    let mut names = Vec::new();
    if let Some(tpm) = tpm {
        names.push(directory_name([
            attribute(TPM_MANUFACTURER, Tag::Utf8String, &tpm.manufacturer)?,
            attribute(TPM_MODEL, Tag::Utf8String, &tpm.model)?,
            attribute(TPM_VERSION, Tag::Utf8String, &tpm.version)?,
        ])?);
    }
    // X.520 requires a PrintableString; use UTF8String for a serial number that cannot be one.
    let tag = match PrintableStringRef::new(device_serial) {
        Ok(_) => Tag::PrintableString,
        Err(_) => Tag::Utf8String,
    };
    names.push(directory_name([attribute(
        SERIAL_NUMBER,
        tag,
        device_serial,
    )?])?);
    Ok(SubjectAltName(names))
}

/// Builds one RDN with all attributes, as in endorsement certificates.
fn directory_name(
    attributes: impl IntoIterator<Item = AttributeTypeAndValue>,
) -> der::Result<GeneralName> {
    let attributes = Vec::from_iter(attributes);
    let name = RdnSequence::from(Vec::from([RelativeDistinguishedName::try_from(
        attributes,
    )?]));
    // The type of names has no other constructor.
    Ok(GeneralName::DirectoryName(Name::from_der(&name.to_der()?)?))
}

fn attribute(oid: ObjectIdentifier, tag: Tag, value: &str) -> der::Result<AttributeTypeAndValue> {
    let value = Any::new(tag, value.as_bytes())?;
    Ok(AttributeTypeAndValue { oid, value })
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    /// The TPM's directory name comes first, its attributes in the DER order of a SET; then the
    /// device's.
    #[test]
    fn the_subject_alt_name_names_tpm_and_device() {
        let tpm = TpmAttributes {
            manufacturer: "id:00001014".to_string(),
            vendor: Some("IBM"),
            model: "swtpm".to_string(),
            version: "id:1".to_string(),
        };
        let device = b"\xa4\x0d\x30\x0b\x31\x09\x30\x07\x06\x03\x55\x04\x05\x13\x00";
        let value = |tpm, serial| {
            let found = ak_certificate_extensions(tpm, serial).unwrap();
            let names = found
                .into_iter()
                .find(|found| found.id == SubjectAltName::OID);
            let names = names.unwrap();
            assert!(names.critical);
            names.value
        };
        assert_eq!(value(None, ""), [&b"\x30\x0f"[..], device].concat());
        let found = value(Some(&tpm), "");
        assert!(found.ends_with(device));
        for text in ["id:00001014", "swtpm", "id:1"] {
            let bytes = [&[0x0c, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
            assert!(found.windows(bytes.len()).any(|window| window == bytes));
        }
        // PrintableString does not allow an underscore.
        assert!(value(None, "S_1").ends_with(b"\x0c\x03S_1"));
        assert!(value(None, "S-1").ends_with(b"\x13\x03S-1"));
    }

    #[test]
    fn the_key_signs_attestations_and_nothing_else() {
        let found = ak_certificate_extensions(None, "1").unwrap();
        let ids: Vec<(&str, bool, &[u8])> = found
            .iter()
            .take(2)
            .map(|found| {
                let id = match found.id {
                    KeyUsage::OID => "keyUsage",
                    ExtendedKeyUsage::OID => "extKeyUsage",
                    _ => "",
                };
                (id, found.critical, &*found.value)
            })
            .collect();
        assert_eq!(
            ids,
            [
                ("keyUsage", true, &b"\x03\x02\x07\x80"[..]),
                (
                    "extKeyUsage",
                    false,
                    b"\x30\x07\x06\x05\x67\x81\x05\x08\x03"
                ),
            ]
        );
    }
}
