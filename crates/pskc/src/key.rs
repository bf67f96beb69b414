//! Keys: their descriptions in a container, and their values.

use alloc::{string::String, vec::Vec};
use core::fmt;

use subtle::ConstantTimeEq;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::{
    PskcError,
    policy::Policy,
    xml::{Element, PSKC, once},
};

/// A container's description of a key (RFC 6030 section 4), none of it secret.
/// Whatever the container does not contain is `None`.
///
/// The feature `serde` serialises it as a structure of its fields. An unknown field is rejected, because it may
/// restrict the use of the key.
///
/// ```
/// use keyproof_pskc::{Container, Encoding, KeyInfo};
///
/// let document = r#"<KeyContainer Version="1.0" xmlns="urn:ietf:params:xml:ns:keyprov:pskc"><KeyPackage>
///   <DeviceInfo><Manufacturer>ACME</Manufacturer><SerialNo>7</SerialNo></DeviceInfo>
///   <Key Id="k" Algorithm="urn:ietf:params:xml:ns:keyprov:pskc:totp"><AlgorithmParameters>
///     <ResponseFormat Length="6" Encoding="DECIMAL"/></AlgorithmParameters></Key>
/// </KeyPackage></KeyContainer>"#;
/// let container = Container::parse(document)?;
/// let key: &KeyInfo = container.keys().next().unwrap();
/// assert_eq!((key.id.as_str(), key.algorithm.as_deref()), ("k", Some(KeyInfo::TOTP)));
/// assert_eq!(key.device.serial_number.as_deref(), Some("7"));
/// let response = key.response.as_ref().unwrap();
/// assert_eq!((response.encoding, response.length), (Encoding::Decimal, 6));
/// # Ok::<(), keyproof_pskc::PskcError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct KeyInfo {
    /// The key's identifier, unique in the container.
    pub id: String,
    /// The algorithm of the key: a URI, such as [`KeyInfo::HOTP`].
    pub algorithm: Option<String>,
    /// The issuer.
    pub issuer: Option<String>,
    /// The algorithm's suite, such as `HMAC-SHA256` or an OCRA suite.
    pub suite: Option<String>,
    /// The format of challenges.
    pub challenge: Option<ChallengeFormat>,
    /// The format of codes or responses.
    pub response: Option<ResponseFormat>,
    /// The profile, which defines what the container leaves out.
    pub profile_id: Option<String>,
    /// The key that this one is derived from, or refers to.
    pub reference: Option<String>,
    /// A name for people.
    pub friendly_name: Option<String>,
    /// The user of the key.
    pub user_id: Option<String>,
    /// The policy of the key, which callers must check before they use it.
    pub policy: Option<Policy>,
    /// The device that contains the key.
    pub device: DeviceInfo,
    /// The device's cryptographic module.
    pub crypto_module: Option<String>,
}

impl KeyInfo {
    /// The algorithm of HOTP keys (RFC 6030 section 10.1).
    pub const HOTP: &str = "urn:ietf:params:xml:ns:keyprov:pskc:hotp";
    /// The algorithm of PINs (RFC 6030 section 10.2).
    pub const PIN: &str = "urn:ietf:params:xml:ns:keyprov:pskc:pin";
    /// The algorithm of TOTP keys, as registered with IANA.
    pub const TOTP: &str = "urn:ietf:params:xml:ns:keyprov:pskc:totp";

    /// Creates a description with this identifier and nothing else.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            ..Self::default()
        }
    }

    /// The hash function of an HOTP or TOTP key: `SHA1`, `SHA256` or `SHA512`, as keyproof-otp's `Algorithm` parses it.
    /// SHA-1 if there is no suite, `None` if the suite is anything else.
    ///
    /// ```
    /// use keyproof_pskc::KeyInfo;
    ///
    /// let mut key = KeyInfo::new("1");
    /// assert_eq!((key.hash(), key.digits()), (Some("SHA1"), Some(6)));
    /// key.suite = Some("HMAC-SHA256".to_owned());
    /// assert_eq!(key.hash(), Some("SHA256"));
    /// key.suite = Some("OCRA-1:HOTP-SHA1-6:QN08".to_owned());
    /// assert_eq!(key.hash(), None);
    /// ```
    pub fn hash(&self) -> Option<&'static str> {
        let Some(suite) = &self.suite else {
            return Some("SHA1");
        };
        let suite = suite.strip_prefix("HMAC-").unwrap_or(suite);
        ["SHA1", "SHA256", "SHA512"]
            .into_iter()
            .find(|name| *name == suite)
    }

    /// The number of decimal digits of its codes: 6 if there is no response format. `None` if codes have other
    /// characters or a check digit.
    pub fn digits(&self) -> Option<u32> {
        match self.response {
            None => Some(6),
            Some(response) => (response.encoding == Encoding::Decimal && !response.check_digits)
                .then_some(response.length),
        }
    }

    pub(crate) fn read_parameters(&mut self, element: Element<'_, '_>) -> Result<(), PskcError> {
        for child in element.children()? {
            match (child.namespace(), child.name()) {
                (PSKC, "Suite") => once(&mut self.suite, child.owned_text()?, child)?,
                (PSKC, "ChallengeFormat") => {
                    once(&mut self.challenge, ChallengeFormat::read(child)?, child)?;
                }
                (PSKC, "ResponseFormat") => {
                    once(&mut self.response, ResponseFormat::read(child)?, child)?;
                }
                (PSKC, "Extensions") => {}
                _ => return Err(child.unexpected()),
            }
        }
        Ok(())
    }
}

/// The device that contains a key (RFC 6030 section 4.3.1).
///
/// ```
/// use keyproof_pskc::KeyInfo;
///
/// let mut key = KeyInfo::new("0755224");
/// key.device.manufacturer = Some("ACME".to_owned()); // as printed on the device
/// key.device.serial_number = Some("987654321".to_owned());
/// assert_eq!(key.device.expiry_date, None); // unknown
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct DeviceInfo {
    /// The manufacturer.
    pub manufacturer: Option<String>,
    /// The serial number.
    pub serial_number: Option<String>,
    /// The model.
    pub model: Option<String>,
    /// The issue number, which distinguishes devices with the same serial number.
    pub issue_number: Option<String>,
    /// An identifier that the device is bound to, such as an IMEI.
    pub binding: Option<String>,
    /// The start of use: the container's text, which should be an `xs:dateTime`, but is not checked.
    pub start_date: Option<String>,
    /// The end of use: the container's text, which should be an `xs:dateTime`, but is not checked.
    pub expiry_date: Option<String>,
    /// The user of the device.
    pub user_id: Option<String>,
}

impl DeviceInfo {
    pub(crate) fn read(element: Element<'_, '_>) -> Result<Self, PskcError> {
        let mut device = Self::default();
        for child in element.children()? {
            let place = match (child.namespace(), child.name()) {
                (PSKC, "Manufacturer") => &mut device.manufacturer,
                (PSKC, "SerialNo") => &mut device.serial_number,
                (PSKC, "Model") => &mut device.model,
                (PSKC, "IssueNo") => &mut device.issue_number,
                (PSKC, "DeviceBinding") => &mut device.binding,
                (PSKC, "StartDate") => &mut device.start_date,
                (PSKC, "ExpiryDate") => &mut device.expiry_date,
                (PSKC, "UserId") => &mut device.user_id,
                (PSKC, "Extensions") => continue,
                _ => return Err(child.unexpected()),
            };
            once(place, child.owned_text()?, child)?;
        }
        Ok(device)
    }
}

/// The format of challenges (RFC 6030 section 4.3.4, `ChallengeFormat`).
///
/// ```
/// use keyproof_pskc::{ChallengeFormat, Encoding};
///
/// let format = ChallengeFormat::new(Encoding::Decimal, 4, 8);
/// assert_eq!((format.min, format.max, format.check_digits), (4, 8, false));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct ChallengeFormat {
    /// The kind of characters, or bytes.
    pub encoding: Encoding,
    /// The smallest number of them.
    pub min: u32,
    /// The largest number of them.
    pub max: u32,
    /// Whether the last one is a check digit.
    pub check_digits: bool,
}

impl ChallengeFormat {
    /// A format of `min` to `max` characters, without a check digit.
    pub const fn new(encoding: Encoding, min: u32, max: u32) -> Self {
        Self {
            encoding,
            min,
            max,
            check_digits: false,
        }
    }

    fn read(element: Element<'_, '_>) -> Result<Self, PskcError> {
        Ok(Self {
            encoding: Encoding::needed(element)?,
            min: needed(element, "Min")?,
            max: needed(element, "Max")?,
            check_digits: check_digits(element)?,
        })
    }
}

/// The format of a key's codes or responses (RFC 6030 section 4.3.4, `ResponseFormat`).
///
/// ```
/// use keyproof_pskc::{Encoding, KeyInfo, ResponseFormat};
///
/// let mut key = KeyInfo::new("0755224");
/// key.response = Some(ResponseFormat::new(Encoding::Decimal, 8));
/// assert_eq!(key.digits(), Some(8));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct ResponseFormat {
    /// The kind of characters, or bytes.
    pub encoding: Encoding,
    /// The number of them.
    pub length: u32,
    /// Whether the last one is a check digit.
    pub check_digits: bool,
}

impl ResponseFormat {
    /// A format of `length` characters, without a check digit.
    pub const fn new(encoding: Encoding, length: u32) -> Self {
        Self {
            encoding,
            length,
            check_digits: false,
        }
    }

    fn read(element: Element<'_, '_>) -> Result<Self, PskcError> {
        Ok(Self {
            encoding: Encoding::needed(element)?,
            length: needed(element, "Length")?,
            check_digits: check_digits(element)?,
        })
    }
}

/// The attribute has one name in the RFC's schema and another in its text (section 4.3.4).
fn check_digits(element: Element<'_, '_>) -> Result<bool, PskcError> {
    Ok(element.flag("CheckDigits")? || element.flag("CheckDigit")?)
}

fn needed(element: Element<'_, '_>, name: &'static str) -> Result<u32, PskcError> {
    let missing = PskcError::Attribute {
        name,
        at: element.at(),
    };
    element.number(name)?.ok_or(missing)
}

/// The kind of characters in challenges, responses and PINs (RFC 6030, `ValueFormatType`).
///
/// ```
/// use keyproof_pskc::Encoding;
///
/// assert_eq!((Encoding::Decimal.name(), Encoding::Hexadecimal.to_string().as_str()), ("DECIMAL", "HEXADECIMAL"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "UPPERCASE"))]
pub enum Encoding {
    /// `DECIMAL`: digits.
    Decimal,
    /// `HEXADECIMAL`: hexadecimal digits.
    Hexadecimal,
    /// `ALPHANUMERIC`: letters and digits.
    Alphanumeric,
    /// `BASE64`: Base64.
    Base64,
    /// `BINARY`: bytes.
    Binary,
}

impl Encoding {
    const ALL: [Self; 5] = [
        Self::Decimal,
        Self::Hexadecimal,
        Self::Alphanumeric,
        Self::Base64,
        Self::Binary,
    ];

    /// The word in a container, such as `DECIMAL`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decimal => "DECIMAL",
            Self::Hexadecimal => "HEXADECIMAL",
            Self::Alphanumeric => "ALPHANUMERIC",
            Self::Base64 => "BASE64",
            Self::Binary => "BINARY",
        }
    }

    pub(crate) fn read(
        element: Element<'_, '_>,
        name: &'static str,
    ) -> Result<Option<Self>, PskcError> {
        let unknown = PskcError::Attribute {
            name,
            at: element.at(),
        };
        let word = element.attribute(name);
        word.map(|word| {
            Self::ALL
                .into_iter()
                .find(|encoding| encoding.name() == word)
                .ok_or(unknown)
        })
        .transpose()
    }

    fn needed(element: Element<'_, '_>) -> Result<Self, PskcError> {
        let name = "Encoding";
        let missing = PskcError::Attribute {
            name,
            at: element.at(),
        };
        Self::read(element, name)?.ok_or(missing)
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An opened key: its description and its values.
///
/// ```
/// use keyproof_pskc::{Key, KeyData, KeyInfo, Secret};
///
/// let (mut info, mut data) = (KeyInfo::new("0755224"), KeyData::default());
/// info.algorithm = Some(KeyInfo::TOTP.to_owned());
/// data.secret = Some(Secret::from(&b"12345678901234567890"[..]));
/// let key = Key::new(info, data); // for a `Writer`
/// assert_eq!((key.info.hash(), key.info.digits()), (Some("SHA1"), Some(6))); // the defaults
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Key {
    /// The description in the container.
    pub info: KeyInfo,
    /// The values.
    pub data: KeyData,
}

impl Key {
    /// Creates a key, to be written.
    pub const fn new(info: KeyInfo, data: KeyData) -> Self {
        Self { info, data }
    }
}

/// The values of a key (RFC 6030 section 4.1, `Data`).
///
/// ```
/// use keyproof_pskc::{KeyData, Secret};
///
/// // For a token that has been used 42 times.
/// let mut data = KeyData::default();
/// data.secret = Some(Secret::from(vec![7_u8; 20]));
/// data.counter = Some(42);
/// assert!(data.time_interval.is_none()); // it is event-based
/// assert!(!format!("{data:?}").contains('7'));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyData {
    /// The key itself; `None` if it must be obtained elsewhere ([`KeyInfo::reference`]).
    pub secret: Option<Secret>,
    /// The counter of an event-based algorithm: the next one to use, 0 to 2^63 - 1.
    pub counter: Option<u64>,
    /// The time of a time-based algorithm, in time steps: 0 to 2^63 - 1.
    pub time: Option<u64>,
    /// The length of a time step, in seconds: 0 to 2^63 - 1. No algorithm has steps of 0 seconds, but a container may.
    pub time_interval: Option<u64>,
    /// The last known drift of the device's clock from the server's, in time steps.
    pub time_drift: Option<i64>,
}

/// A key's bytes: wiped on drop, hidden in `Debug`, compared in constant time.
///
/// ```
/// use keyproof_pskc::Secret;
///
/// let secret = Secret::from(vec![7_u8; 20]); // wiped on drop
/// assert_eq!(secret.as_bytes().len(), 20); // for keyproof-otp's `Secret::from_bytes`
/// assert_eq!(format!("{secret:?}"), "Secret([redacted; 20])");
/// assert_eq!(secret, Secret::from(&[7_u8; 20][..]));
/// ```
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    pub(crate) const fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Secret {
    /// Takes ownership of the bytes, which are wiped on drop.
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(Zeroizing::new(bytes))
    }
}

impl From<&[u8]> for Secret {
    fn from(bytes: &[u8]) -> Self {
        Self::from(Vec::from(bytes))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret([redacted; {}])", self.0.len())
    }
}

impl ConstantTimeEq for Secret {
    fn ct_eq(&self, other: &Self) -> subtle::Choice {
        self.as_bytes().ct_eq(other.as_bytes())
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for Secret {}

impl ZeroizeOnDrop for Secret {}
