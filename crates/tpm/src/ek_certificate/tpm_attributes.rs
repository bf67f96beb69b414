//! The TPM attributes in an endorsement certificate: manufacturer, model, version and
//! specification.

use alloc::string::{String, ToString};

use der::{
    Decode, Header, Reader, SliceReader, Tag, TagNumber, Tagged,
    asn1::{AnyRef, ObjectIdentifier, Utf8StringRef},
};
use keyproof_x509::{Certificate, Name};

use super::vendor;

/// The `tpmManufacturer`, `tpmModel` and `tpmVersion` of a certificate's subjectAltName (TCG EK
/// Credential Profile for TPM Family 2.0, 3.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct TpmAttributes {
    /// The vendor's identifier as in the certificate: `id:` and eight hexadecimal digits.
    pub manufacturer: String,
    /// The vendor's name in the TCG's registry, if it is registered.
    pub vendor: Option<&'static str>,
    /// The model.
    pub model: String,
    /// The version, usually `id:` and hexadecimal digits.
    pub version: String,
}

/// The `tpmSpecification` attribute of a certificate's subjectDirectoryAttributes (TCG EK Credential
/// Profile for TPM Family 2.0, 3.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct TpmSpecification {
    /// The family, such as `2.0`.
    pub family: String,
    /// The level of the specification.
    pub level: u32,
    /// The revision of the specification, such as 164 for 1.64.
    pub revision: u32,
}

const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
const SUBJECT_DIRECTORY_ATTRIBUTES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.9");
pub(crate) const TPM_MANUFACTURER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.2.1");
pub(crate) const TPM_MODEL: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.2.2");
pub(crate) const TPM_VERSION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.2.3");
const TPM_SPECIFICATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.2.16");

/// The directoryName of GeneralName (RFC 5280 section 4.2.1.6).
const DIRECTORY_NAME: Tag = Tag::ContextSpecific {
    number: TagNumber(4),
    constructed: true,
};

/// Returns the attributes and whether the extension is critical, or why there are none.
pub(super) fn tpm_attributes(
    certificate: &Certificate<'_>,
) -> Result<(TpmAttributes, bool), &'static str> {
    let extension = certificate
        .extensions()
        .iter()
        .find(|extension| extension.id == SUBJECT_ALT_NAME)
        .ok_or("there is no subjectAltName")?;
    let mut found = [None, None, None];
    read_alt_names(extension.value, &mut found)?;
    let [manufacturer, model, version] = found;
    let manufacturer = manufacturer.ok_or("tpmManufacturer is missing")?;
    let id = vendor_id(&manufacturer).ok_or("tpmManufacturer is not id: and 8 hex digits")?;
    let attributes = TpmAttributes {
        vendor: vendor::name(id),
        manufacturer,
        model: model.ok_or("tpmModel is missing")?,
        version: version.ok_or("tpmVersion is missing")?,
    };
    Ok((attributes, extension.critical))
}

fn read_alt_names(value: &[u8], found: &mut [Option<String>; 3]) -> Result<(), &'static str> {
    const MALFORMED: &str = "the subjectAltName is malformed";
    let mut reader = SliceReader::new(value).map_err(|_| MALFORMED)?;
    let mut names = sequence(&mut reader).ok_or(MALFORMED)?;
    if !reader.is_finished() {
        return Err(MALFORMED);
    }
    while !names.is_finished() {
        let name = AnyRef::decode(&mut names).map_err(|_| MALFORMED)?;
        if name.tag() == DIRECTORY_NAME {
            let name = Name::from_der(name.value()).map_err(|_| MALFORMED)?;
            read_directory_name(&name, found)?;
        }
    }
    Ok(())
}

/// Reads the three attributes, each at most once, from one or more relative distinguished names.
fn read_directory_name(
    name: &Name<'_>,
    found: &mut [Option<String>; 3],
) -> Result<(), &'static str> {
    for attribute in name.attributes() {
        for (slot, kind) in found
            .iter_mut()
            .zip([TPM_MANUFACTURER, TPM_MODEL, TPM_VERSION])
        {
            if attribute.kind != kind {
                continue;
            }
            let text = attribute.value.text().filter(|text| !text.is_empty());
            let text = text.ok_or("a TPM attribute is no text, or empty")?;
            if slot.replace(text.to_string()).is_some() {
                return Err("a TPM attribute stands there twice");
            }
        }
    }
    Ok(())
}

fn vendor_id(manufacturer: &str) -> Option<u32> {
    let digits = manufacturer.strip_prefix("id:")?;
    let is_hex = digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u32::from_str_radix(digits, 16).ok())?
}

/// Returns the specification; `None` if there is none. Fails if it is malformed or duplicate.
pub(super) fn tpm_specification(
    certificate: &Certificate<'_>,
) -> Result<Option<TpmSpecification>, &'static str> {
    let Some(extension) = certificate
        .extensions()
        .iter()
        .find(|extension| extension.id == SUBJECT_DIRECTORY_ATTRIBUTES)
    else {
        return Ok(None);
    };
    read_directory_attributes(extension.value)
        .map_err(|_| "the subjectDirectoryAttributes are malformed")
}

/// Parses SubjectDirectoryAttributes (RFC 5280 section 4.2.1.8).
fn read_directory_attributes(value: &[u8]) -> der::Result<Option<TpmSpecification>> {
    let mut found = None;
    let mut reader = SliceReader::new(value)?;
    reader.sequence(|reader| {
        while !reader.is_finished() {
            reader.sequence(|reader| {
                let kind = AnyRef::decode(reader)?;
                kind.tag().assert_eq(Tag::ObjectIdentifier)?;
                let values = AnyRef::decode(reader)?;
                if kind.value() == TPM_SPECIFICATION.as_bytes() {
                    let specification = read_specification(values)?;
                    if found.replace(specification).is_some() {
                        return Err(Tag::Sequence.value_error().into());
                    }
                }
                Ok::<_, der::Error>(())
            })?;
        }
        Ok::<_, der::Error>(())
    })?;
    reader.finish()?;
    Ok(found)
}

/// Parses a SET of one TPMSpecification.
fn read_specification(values: AnyRef<'_>) -> der::Result<TpmSpecification> {
    values.tag().assert_eq(Tag::Set)?;
    let mut reader = SliceReader::new(values.value())?;
    let specification = reader.sequence(|reader| {
        Ok::<_, der::Error>(TpmSpecification {
            family: Utf8StringRef::decode(reader)?.as_str().to_string(),
            level: u32::decode(reader)?,
            revision: u32::decode(reader)?,
        })
    })?;
    reader.finish()?;
    Ok(specification)
}

/// Returns the contents of a SEQUENCE.
fn sequence<'a>(reader: &mut SliceReader<'a>) -> Option<SliceReader<'a>> {
    let header = Header::decode(reader).ok()?;
    header.tag().assert_eq(Tag::Sequence).ok()?;
    SliceReader::new(reader.read_slice(header.length()).ok()?).ok()
}
