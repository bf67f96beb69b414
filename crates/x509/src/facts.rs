//! The fields of a certificate as owned data, for display and storage.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};

use crate::{
    certificate::{Certificate, SerialOddity},
    extension::{BasicConstraints, KeyUsage},
    time::Moment,
};

/// The fields of a certificate. With the feature `serde` it is the object that `keyproof x509 show --json` prints.
///
/// ```
/// use keyproof_x509::{Certificate, CertificateSummary};
///
/// let facts = CertificateSummary::from(&Certificate::from_der(include_bytes!("../tests/data/p256-ca.der"))?);
/// assert_eq!(facts.subject_common_name.as_deref(), Some("P-256 CA"));
/// assert_eq!((facts.key_algorithm.as_str(), facts.not_before.as_str()), ("P-256", "2026-11-22T03:01:35Z"));
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct CertificateSummary {
    /// The subject as RFC 4514 text.
    pub subject: String,
    /// The text of the subject's last common name.
    pub subject_common_name: Option<String>,
    /// The issuer as RFC 4514 text.
    pub issuer: String,
    /// The text of the issuer's last common name.
    pub issuer_common_name: Option<String>,
    /// Whether issuer and subject are the same name.
    pub self_issued: bool,
    /// The version number: 1, 2 or 3.
    pub version: u8,
    /// The serial number's octets in upper-case hexadecimal.
    pub serial: String,
    /// What is irregular about the serial number, if anything.
    pub serial_oddity: Option<SerialOddity>,
    /// The first valid second, RFC 3339 in UTC.
    pub not_before: String,
    /// The last valid second, RFC 3339 in UTC.
    pub not_after: String,
    /// SHA-1 over the received DER, 40 upper-case hexadecimal digits.
    pub sha1_thumbprint: String,
    /// SHA-256 over the received DER, 64 upper-case hexadecimal digits.
    pub sha256_thumbprint: String,
    /// The kind of key, such as `RSA` or `P-256`, or the algorithm's name or OID if the kind is unknown.
    pub key_algorithm: String,
    /// The key's size in bits, if known.
    pub key_bits: Option<u32>,
    /// The name or OID of the signature algorithm.
    pub signature_algorithm: String,
    /// basicConstraints; `None` if absent or malformed.
    pub basic_constraints: Option<BasicConstraints>,
    /// keyUsage; `None` if absent or malformed.
    pub key_usage: Option<KeyUsage>,
    /// The OIDs of the critical extensions.
    pub critical_extensions: Vec<String>,
}

impl From<&Certificate<'_>> for CertificateSummary {
    fn from(certificate: &Certificate<'_>) -> Self {
        let key = certificate.public_key();
        Self {
            subject: certificate.subject().to_string(),
            subject_common_name: certificate.subject().common_name().map(Into::into),
            issuer: certificate.issuer().to_string(),
            issuer_common_name: certificate.issuer().common_name().map(Into::into),
            self_issued: certificate.is_self_issued(),
            version: certificate.version().number(),
            serial: certificate.serial().to_string(),
            serial_oddity: certificate.serial().oddity(),
            not_before: Moment(certificate.validity().not_before).to_string(),
            not_after: Moment(certificate.validity().not_after).to_string(),
            sha1_thumbprint: certificate.sha1_thumbprint().to_string(),
            sha256_thumbprint: certificate.sha256_thumbprint().to_string(),
            key_algorithm: key
                .kind()
                .map_or_else(|_| key.algorithm().to_string(), |kind| kind.to_string()),
            key_bits: key.bits(),
            signature_algorithm: certificate.algorithm().to_string(),
            basic_constraints: certificate.basic_constraints().ok().flatten(),
            key_usage: certificate.key_usage().ok().flatten(),
            critical_extensions: certificate
                .extensions()
                .iter()
                .filter(|extension| extension.critical)
                .map(|extension| extension.id.to_string())
                .collect(),
        }
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for SerialOddity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
