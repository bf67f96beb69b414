//! The certification request that a device sends with its keys.

use keyproof_x509::{
    KeyKind, RSA_MAXIMUM_BITS, RSA_MINIMUM_BITS, SignatureVerificationAlgorithm, X509Error,
    prover::CertificationRequest,
};
use thiserror::Error;

use crate::device::DeviceInfo;

/// The reason why a device's certification request was rejected.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificationRequestError {
    /// It is signed with an RSA key that is too short or too long.
    #[error("it is signed with an RSA key of {bits} bits, not 2048 to 8192")]
    Key {
        /// The size of the key.
        bits: u32,
    },
    /// It cannot be parsed, or is not signed with its own key.
    #[error(transparent)]
    Request(#[from] X509Error),
    /// Its subject does not match the device.
    #[error("{what}")]
    Subject {
        /// The part of the subject that does not match.
        what: &'static str,
    },
}

// The contents octets of the OIDs 2.5.4.3, 2.5.4.5 and 2.5.4.10.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const SERIAL_NUMBER: &[u8] = &[0x55, 4, 5];
const ORGANIZATION: &[u8] = &[0x55, 4, 10];

/// Checks a certification request (PKCS#10, DER) of a device. Any key of the device may sign it
/// except a restricted attestation key, which cannot.
///
/// The request must be signed with its own key. Its serialNumber, if present, must be the device's
/// serial; otherwise its commonName must be the device's serial or name. Its organization, if
/// present, must be the device's vendor. An attribute that occurs several times must match every
/// time.
///
/// # Errors
///
/// [`CertificationRequestError`].
pub fn check_certification_request(
    der: &[u8],
    device: &DeviceInfo<'_>,
    algorithms: &[&dyn SignatureVerificationAlgorithm],
) -> Result<(), CertificationRequestError> {
    let request = CertificationRequest::from_der(der)?;
    let key = request.public_key();
    // The libraries report such a key as an invalid signature.
    if let (Ok(KeyKind::Rsa | KeyKind::RsaPss), Some(bits)) = (key.kind(), key.bits())
        && !(RSA_MINIMUM_BITS..=RSA_MAXIMUM_BITS).contains(&bits)
    {
        return Err(CertificationRequestError::Key { bits });
    }
    request.verify(algorithms)?;
    // A value that is not text becomes empty, which matches no property.
    let all = |kind: &[u8], is_own: &dyn Fn(&str) -> bool| {
        let attributes = request.subject().attributes();
        attributes
            .filter(|attribute| attribute.kind.as_bytes() == kind)
            .map(|attribute| is_own(&attribute.value.text().unwrap_or_default()))
            .reduce(|others, own| others && own)
    };
    let refused = |what| Err(CertificationRequestError::Subject { what });
    let is_serial = |text: &str| text == device.serial();
    let is_name = |text: &str| is_serial(text) || text == device.name();
    match (all(SERIAL_NUMBER, &is_serial), all(COMMON_NAME, &is_name)) {
        (Some(true), _) | (None, Some(true)) => {}
        (Some(false), _) => return refused("its serialNumber is not the device's serial"),
        (None, _) => {
            return refused("its subject names neither the device's serial nor its name");
        }
    }
    match all(ORGANIZATION, &|text| text == device.vendor()) {
        Some(false) => refused("its organization is not the device's vendor"),
        _ => Ok(()),
    }
}
