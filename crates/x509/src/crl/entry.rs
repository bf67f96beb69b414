//! The entries of a CRL (RFC 5280 section 5.3).

use der::{ErrorKind, Reader, SliceReader, Tag, asn1::ObjectIdentifier};
use x509_cert::ext::pkix::CrlReason as ReasonCode;

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
        let found = CrlReason::of(decode(extension.value, field)?);
        let found = found.ok_or(X509Error::CrlUnsupported {
            what: "delta (removeFromCRL)",
        })?;
        if reason.replace(found).is_some() {
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

/// Why a certificate is revoked or on hold (RFC 5280 section 5.3.1). The reason *removeFromCRL* is missing, since it occurs only in
/// delta CRLs.
///
/// ```
/// use keyproof_x509::crl::CrlReason;
///
/// assert_eq!(CrlReason::CertificateHold.name(), "certificateHold");
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum CrlReason {
    /// aACompromise: the key of an attribute authority may be known to others.
    AaCompromise,
    /// affiliationChanged: the subject's name or another field has changed.
    AffiliationChanged,
    /// cACompromise: the key of the CA may be known to others.
    CaCompromise,
    /// certificateHold: the certificate is on hold, and may become valid again.
    CertificateHold,
    /// cessationOfOperation: the certificate is no longer needed.
    CessationOfOperation,
    /// keyCompromise: the certificate's key may be known to others.
    KeyCompromise,
    /// privilegeWithdrawn: a privilege in the certificate has been withdrawn.
    PrivilegeWithdrawn,
    /// superseded: another certificate replaces it.
    Superseded,
    /// unspecified.
    Unspecified,
}

impl CrlReason {
    /// Returns the name in RFC 5280.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AaCompromise => "aACompromise",
            Self::AffiliationChanged => "affiliationChanged",
            Self::CaCompromise => "cACompromise",
            Self::CertificateHold => "certificateHold",
            Self::CessationOfOperation => "cessationOfOperation",
            Self::KeyCompromise => "keyCompromise",
            Self::PrivilegeWithdrawn => "privilegeWithdrawn",
            Self::Superseded => "superseded",
            Self::Unspecified => "unspecified",
        }
    }

    const fn of(code: ReasonCode) -> Option<Self> {
        Some(match code {
            ReasonCode::Unspecified => Self::Unspecified,
            ReasonCode::KeyCompromise => Self::KeyCompromise,
            ReasonCode::CaCompromise => Self::CaCompromise,
            ReasonCode::AffiliationChanged => Self::AffiliationChanged,
            ReasonCode::Superseded => Self::Superseded,
            ReasonCode::CessationOfOperation => Self::CessationOfOperation,
            ReasonCode::CertificateHold => Self::CertificateHold,
            ReasonCode::PrivilegeWithdrawn => Self::PrivilegeWithdrawn,
            ReasonCode::AaCompromise => Self::AaCompromise,
            ReasonCode::RemoveFromCRL => return None,
        })
    }

    #[cfg(feature = "prover")]
    pub(super) const fn code(self) -> ReasonCode {
        match self {
            Self::AaCompromise => ReasonCode::AaCompromise,
            Self::AffiliationChanged => ReasonCode::AffiliationChanged,
            Self::CaCompromise => ReasonCode::CaCompromise,
            Self::CertificateHold => ReasonCode::CertificateHold,
            Self::CessationOfOperation => ReasonCode::CessationOfOperation,
            Self::KeyCompromise => ReasonCode::KeyCompromise,
            Self::PrivilegeWithdrawn => ReasonCode::PrivilegeWithdrawn,
            Self::Superseded => ReasonCode::Superseded,
            Self::Unspecified => ReasonCode::Unspecified,
        }
    }
}

#[cfg(all(test, feature = "prover"))]
mod tests {
    use super::*;
    use der::{Decode, Encode};

    /// The numbers of RFC 5280 section 5.3.1; 7 is unused, and 8 is removeFromCRL.
    #[test]
    fn reasons_have_the_numbers_of_the_standard() {
        for (number, name) in [
            (0, "unspecified"),
            (1, "keyCompromise"),
            (2, "cACompromise"),
            (3, "affiliationChanged"),
            (4, "superseded"),
            (5, "cessationOfOperation"),
            (6, "certificateHold"),
            (9, "privilegeWithdrawn"),
            (10, "aACompromise"),
        ] {
            let der = [0x0A, 1, number];
            let reason = CrlReason::of(ReasonCode::from_der(&der).unwrap()).unwrap();
            assert_eq!(reason.name(), name);
            assert_eq!(reason.code().to_der().unwrap(), der);
        }
        assert_eq!(CrlReason::of(ReasonCode::RemoveFromCRL), None);
    }
}
