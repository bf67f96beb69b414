//! The extensions of a CRL (RFC 5280 section 5.2).

use alloc::vec::Vec;
use core::{cmp::Ordering, fmt};

use der::{Decode, Encode, asn1::ObjectIdentifier};
use x509_cert::ext::pkix::{
    self, CrlDistributionPoints,
    crl::IssuingDistributionPoint,
    name::{DistributionPointName, GeneralName, GeneralNames},
};

use super::unknown;
use crate::{
    X509Error,
    certificate::Certificate,
    extension::{AUTHORITY_KEY_IDENTIFIER, CRL_DISTRIBUTION_POINTS, Extension, key_identifier},
    name::Name,
};

pub(super) const CRL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.20");
const DELTA_CRL_INDICATOR: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.27");
const ISSUING_DISTRIBUTION_POINT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.28");

/// RFC 5280 section 5.2.3: a CRL number has at most 20 octets.
const MAX_NUMBER_LEN: usize = 20;

/// The parsed extensions of a CRL.
#[derive(Clone, Debug, Default)]
pub(super) struct CrlExtensions {
    pub(super) authority_key_identifier: Option<Vec<u8>>,
    pub(super) number: Option<CrlNumber>,
    pub(super) scope: Scope,
}

impl CrlExtensions {
    pub(super) fn of(extensions: &[Extension<'_>]) -> Result<Self, X509Error> {
        let mut read = Self::default();
        for extension in extensions {
            if extension.id == CRL_NUMBER {
                read.number = Some(CrlNumber::from_der(extension.value)?);
            } else if extension.id == AUTHORITY_KEY_IDENTIFIER {
                read.authority_key_identifier = key_identifier(extension.value).map(<[u8]>::to_vec);
            } else if extension.id == ISSUING_DISTRIBUTION_POINT {
                let field = "issuingDistributionPoint";
                read.scope = Scope::of(decode(extension.value, field)?)?;
            } else if extension.id == DELTA_CRL_INDICATOR {
                return Err(X509Error::CrlUnsupported { what: "delta" });
            } else if extension.critical {
                return Err(unknown(extension));
            }
        }
        Ok(read)
    }
}

pub(super) fn decode<'a, T: Decode<'a, Error = der::Error>>(
    value: &'a [u8],
    field: &'static str,
) -> Result<T, X509Error> {
    T::from_der(value).map_err(|error| X509Error::malformed(field, error.kind()))
}

/// The number of a CRL, of at most 20 octets. Later CRLs of an issuer have higher numbers.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct CrlNumber(Vec<u8>);

impl CrlNumber {
    fn from_der(value: &[u8]) -> Result<Self, X509Error> {
        let field = "cRLNumber";
        let number: pkix::CrlNumber = decode(value, field)?;
        match number.0.as_bytes() {
            long if long.len() > MAX_NUMBER_LEN => {
                Err(X509Error::malformed(field, der::ErrorKind::Overlength))
            }
            octets => Ok(Self(octets.to_vec())),
        }
    }

    /// Returns the octets, most significant first, without leading zeros.
    pub fn as_bytes(&self) -> &[u8] {
        let zeros = self.0.iter().take_while(|octet| **octet == 0).count();
        self.0.get(zeros..).unwrap_or_default()
    }
}

impl Ord for CrlNumber {
    fn cmp(&self, other: &Self) -> Ordering {
        let [one, other] = [self.as_bytes(), other.as_bytes()];
        (one.len(), one).cmp(&(other.len(), other))
    }
}

impl PartialOrd for CrlNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for CrlNumber {
    /// Writes upper-case hexadecimal, as OpenSSL does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_bytes() {
            [] => f.write_str("00"),
            octets => octets.iter().try_for_each(|octet| write!(f, "{octet:02X}")),
        }
    }
}

/// The certificates that a CRL covers.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    holders: Holders,
    /// The distribution point whose certificates it covers; `None` means all.
    distribution_point: Option<GeneralNames>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Holders {
    #[default]
    All,
    Cas,
    Leaves,
}

impl Scope {
    fn of(point: IssuingDistributionPoint) -> Result<Self, X509Error> {
        let unsupported = |what| Err(X509Error::CrlUnsupported { what });
        if point.indirect_crl {
            return unsupported("indirect");
        }
        if point.only_some_reasons.is_some() {
            return unsupported("partial (onlySomeReasons)");
        }
        if point.only_contains_attribute_certs {
            return unsupported("attribute-certificate");
        }
        let holders = match (point.only_contains_user_certs, point.only_contains_ca_certs) {
            (false, false) => Holders::All,
            (false, true) => Holders::Cas,
            (true, false) => Holders::Leaves,
            // RFC 5280 section 5.2.5: at most one of them may be set.
            (true, true) => return unsupported("empty (of neither CAs nor others)"),
        };
        let distribution_point = match point.distribution_point {
            Some(DistributionPointName::NameRelativeToCRLIssuer(_)) => {
                return unsupported("relatively named");
            }
            Some(DistributionPointName::FullName(names)) => Some(names),
            None => None,
        };
        Ok(Self {
            holders,
            distribution_point,
        })
    }

    /// Returns whether it covers each certificate that `other` covers.
    pub(super) fn includes(&self, other: &Self) -> bool {
        let has_points = match (&self.distribution_point, &other.distribution_point) {
            (None, _) => true,
            (Some(_), None) => false,
            // Each name of a point identifies it.
            (Some(names), Some(others)) => others.iter().all(|name| have(names, name)),
        };
        has_points && (self.holders == Holders::All || self.holders == other.holders)
    }

    /// Returns whether a certificate without an entry is not revoked. An entry revokes a certificate whatever the scope
    /// (`Crl::coverage`).
    pub(super) fn coverage(&self, certificate: &Certificate<'_>) -> Coverage {
        let is_ca = certificate
            .basic_constraints()
            .map(|constraints| constraints.is_some_and(|constraints| constraints.ca));
        let of_holders = match (self.holders, is_ca) {
            (Holders::All, _) | (Holders::Cas, Ok(true)) | (Holders::Leaves, Ok(false)) => {
                Coverage::Whole
            }
            (Holders::Cas, Ok(false)) | (Holders::Leaves, Ok(true)) => Coverage::None,
            // If basicConstraints cannot be parsed, it may or may not be a CA.
            (Holders::Cas | Holders::Leaves, Err(_)) => Coverage::Doubtful,
        };
        let of_point = match &self.distribution_point {
            Some(names) => coverage_by_points(certificate, names),
            None => Coverage::Whole,
        };
        of_holders.min(of_point)
    }
}

/// Whether a CRL covers a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Coverage {
    /// It covers only other certificates.
    None,
    /// It might not cover the certificate, might omit some reasons, or has an entry for it despite its scope. It cannot clear the
    /// certificate.
    Doubtful,
    /// It covers the certificate for all reasons.
    Whole,
}

/// Returns whether a CRL with these names covers a certificate, by its distribution points (RFC 5280 section 6.3.3 (b) (2) (i)).
fn coverage_by_points(certificate: &Certificate<'_>, names: &GeneralNames) -> Coverage {
    let Some(value) = certificate.extension(CRL_DISTRIBUTION_POINTS) else {
        return Coverage::None;
    };
    let Ok(points) = CrlDistributionPoints::from_der(value) else {
        return Coverage::Doubtful;
    };
    let coverages = points.0.iter().map(|point| {
        let own = match &point.distribution_point {
            Some(DistributionPointName::FullName(own)) => Some(own),
            Some(DistributionPointName::NameRelativeToCRLIssuer(_)) => return Coverage::Doubtful,
            None => point.crl_issuer.as_ref(),
        };
        let is_of_it = own.is_some_and(|own| own.iter().any(|name| have(names, name)));
        if !is_of_it {
            Coverage::None
        } else if point.reasons.is_some() || point.crl_issuer.is_some() {
            // A point for some reasons only, or for an indirect CRL of another issuer (RFC 5280 section 4.2.1.13).
            Coverage::Doubtful
        } else {
            Coverage::Whole
        }
    });
    coverages.max().unwrap_or(Coverage::None)
}

/// Returns whether `names` contains `wanted`.
fn have(names: &[GeneralName], wanted: &GeneralName) -> bool {
    names.iter().any(|name| match (name, wanted) {
        // The same name may be encoded in different string types.
        (GeneralName::DirectoryName(name), GeneralName::DirectoryName(wanted)) => {
            name == wanted || are_the_same(name, wanted)
        }
        _ => name == wanted,
    })
}

/// Returns whether two directory names match as text (RFC 5280 section 7.1).
fn are_the_same(one: &impl Encode, other: &impl Encode) -> bool {
    let (Ok(one), Ok(other)) = (one.to_der(), other.to_der()) else {
        return false;
    };
    let names = (Name::from_der(&one), Name::from_der(&other));
    matches!(names, (Ok(one), Ok(other)) if one.compare(&other).is_match())
}
