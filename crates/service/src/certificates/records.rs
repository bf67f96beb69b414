//! The stored records and their keys.

use keyproof_store::{Key, Prefix, Sealed, Timestamp};
use keyproof_x509::Sha256Thumbprint;
use serde::{Deserialize, Serialize};

use super::{ProvisioningService, fold};

/// A provisioning service that has certificates, stored at `dps_service/<subscription>/<group>/<service>`. Every change of the
/// number of certificates replaces it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HoldingService {
    /// The service, as first spelled.
    #[serde(rename = "place")]
    pub service: ProvisioningService,
    /// The number of its certificates.
    pub certificates: u32,
}

record!(HoldingService, "dps_service");

pub(super) fn holder_key(service: &ProvisioningService) -> Key {
    Key::new("dps_service", service.folded())
}

/// Stored at `dps_certificate/<subscription>/<group>/<service>/<name>`.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Certificate {
    /// The service, as first spelled.
    pub(super) place: ProvisioningService,
    pub(super) name: String,
    #[serde(with = "base64")]
    pub(super) der: Vec<u8>,
    /// The uploaded PEM file, if it contained nothing else. Absent in records of earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pem: Option<String>,
    /// Read at the upload, so that showing the certificate needs no parsing. Absent in records of earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<Description>,
    pub(super) verification: Verification,
    pub(super) code: Option<Code>,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
}

/// What is shown of a certificate's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The subject as RFC 4514 text.
    pub subject: String,
    /// The value of the subject's last common name.
    pub subject_common_name: Option<String>,
    /// The last second of its validity period since the Unix epoch; negative before 1970.
    pub not_after: i64,
    /// SHA-1 over its DER: 40 upper-case hexadecimal digits.
    pub thumbprint: String,
}

record!(Certificate, "dps_certificate");

pub(super) fn certificate_key(service: &ProvisioningService, name: &str) -> Key {
    let [subscription, resource_group, service] = service.folded();
    Key::new(
        "dps_certificate",
        [subscription, resource_group, service, fold(name)],
    )
}

pub(super) fn all_certificates(service: &ProvisioningService) -> Prefix {
    Prefix::new("dps_certificate", service.folded())
}

/// Whether a certificate counts as verified, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verification {
    /// An authorised caller declared it verified; possession of the key was not proven.
    Asserted,
    /// Not verified.
    None,
    /// Possession of the key was proven.
    Proven,
}

impl Verification {
    /// Whether it counts as verified.
    pub fn is_verified(self) -> bool {
        self != Self::None
    }
}

/// A live verification code and what it is bound to.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Code {
    /// The 48 digits, sealed.
    pub(super) digits: Sealed,
    /// The SHA-256 thumbprint of the certificate that it was generated for.
    pub(super) certificate: Sha256Thumbprint,
    /// The first moment at which it is no longer valid. A record without this member is damaged.
    #[serde(deserialize_with = "Option::deserialize")]
    pub(super) expires_at: Option<Timestamp>,
}

impl Code {
    /// The name of the sealed field.
    pub(super) const DIGITS: &'static str = "code.digits";
}

/// Serialises DER as the base64 that clients see.
mod base64 {
    use data_encoding::BASE64;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(der: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(der))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64.decode(text.as_bytes()).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_needs, bench};

    #[tokio::test]
    async fn a_code_whose_expiry_is_missing_is_not_valid_for_ever() {
        let bench = bench().await;
        let key = Key::new("dps_certificate", ["sub", "group", "service", "ca"]);
        let code = Code {
            digits: bench.store.seal(&key, Code::DIGITS, b"1234"),
            certificate: Sha256Thumbprint::from([1; 32]),
            expires_at: None,
        };
        assert_needs(&code, "expires_at");
    }
}
