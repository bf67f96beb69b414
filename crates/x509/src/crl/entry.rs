//! The entries of a CRL (RFC 5280 section 5.3).

use der::{ErrorKind, Reader, SliceReader, Tag, asn1::ObjectIdentifier};
use x509_cert::ext::pkix::CrlReason;

use super::{MAX_CRL_EXTENSIONS, extensions::decode, unknown};
use crate::{
    X509Error, certificate::Serial, extension::Extension, reader::nested, time::read_time,
};

pub(super) const REASON_CODE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.21");
const INVALIDITY_DATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.24");
const CERTIFICATE_ISSUER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.29");

/// An entry for a certificate that is revoked or on hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Revocation<'a> {
    /// The certificate's serial number.
    pub serial: Serial<'a>,
    /// The revocation date, in seconds since the Unix epoch.
    pub since: i64,
    /// The reason, if the entry contains one. [`CrlReason::CertificateHold`] means on hold.
    pub reason: Option<CrlReason>,
}

impl<'a> Revocation<'a> {
    /// Parses an entry. `refusal` receives the error if the entry is rejected for another reason than its structure.
    pub(super) fn read(
        reader: &mut SliceReader<'a>,
        refusal: &mut Option<X509Error>,
    ) -> der::Result<Self> {
        reader.sequence(|reader| {
            // CAs that pad the serial numbers of certificates also pad them here. A rejected CRL would revoke nothing.
            let serial = Serial::read_as_issued(reader)?;
            let (since, _) = read_time(reader)?;
            let mut reason = None;
            if !reader.is_finished() {
                nested(reader, Tag::Sequence, |reader| {
                    let mut count = 0;
                    while !reader.is_finished() {
                        if count == MAX_CRL_EXTENSIONS {
                            return Err(reader.error(ErrorKind::Overlength));
                        }
                        count += 1;
                        let extension = Extension::read(reader)?;
                        if let Err(error) = read_extension(&extension, &mut reason) {
                            *refusal = Some(error);
                            return Err(reader.error(Tag::Sequence.value_error()));
                        }
                    }
                    Ok(())
                })?;
            }
            Ok(Self {
                serial,
                since,
                reason,
            })
        })
    }
}

fn read_extension(
    extension: &Extension<'_>,
    reason: &mut Option<CrlReason>,
) -> Result<(), X509Error> {
    if extension.id == REASON_CODE {
        let field = "reasonCode";
        let code: CrlReason = decode(extension.value, field)?;
        if code == CrlReason::RemoveFromCRL {
            // RFC 5280 section 5.3.1: this reason occurs only in delta CRLs.
            return Err(X509Error::CrlUnsupported {
                what: "delta (removeFromCRL)",
            });
        }
        if reason.replace(code).is_some() {
            return Err(X509Error::malformed(field, Tag::Enumerated.value_error()));
        }
        return Ok(());
    }
    if extension.id == CERTIFICATE_ISSUER {
        return Err(X509Error::CrlUnsupported { what: "indirect" });
    }
    if extension.critical && extension.id != INVALIDITY_DATE {
        Err(unknown(extension))
    } else {
        Ok(())
    }
}

/// Returns the name of a reason in RFC 5280 section 5.3.1.
pub(crate) const fn reason_name(reason: CrlReason) -> &'static str {
    match reason {
        CrlReason::Unspecified => "unspecified",
        CrlReason::KeyCompromise => "keyCompromise",
        CrlReason::CaCompromise => "cACompromise",
        CrlReason::AffiliationChanged => "affiliationChanged",
        CrlReason::Superseded => "superseded",
        CrlReason::CessationOfOperation => "cessationOfOperation",
        CrlReason::CertificateHold => "certificateHold",
        CrlReason::RemoveFromCRL => "removeFromCRL",
        CrlReason::PrivilegeWithdrawn => "privilegeWithdrawn",
        CrlReason::AaCompromise => "aACompromise",
    }
}
