//! Permitted uses of a key (RFC 6030 section 5).

use alloc::{string::String, vec::Vec};
use core::{fmt, str::FromStr};

use thiserror::Error;

use crate::{
    PskcError,
    key::Encoding,
    xml::{Element, PSKC, decimal, once},
};

/// The policy of a key: how it may be used.
///
/// ```
/// use keyproof_pskc::{Container, KeyUsage};
///
/// let document = r#"<KeyContainer Version="1.0" xmlns="urn:ietf:params:xml:ns:keyprov:pskc"><KeyPackage>
///   <Key Id="k"><Policy><KeyUsage>OTP</KeyUsage></Policy></Key>
/// </KeyPackage></KeyContainer>"#;
/// let container = Container::parse(document)?;
/// let policy = container.keys().next().and_then(|key| key.policy.as_ref()).unwrap();
/// assert!(policy.permits(KeyUsage::Otp) && !policy.permits("Encrypt".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct Policy {
    /// The start of use: the container's text, which should be an `xs:dateTime`, but is not checked.
    pub start_date: Option<String>,
    /// The end of use: the container's text, which should be an `xs:dateTime`, but is not checked.
    pub expiry_date: Option<String>,
    /// How the PIN is used.
    pub pin: Option<PinPolicy>,
    /// The permitted uses; any use if empty.
    pub usages: Vec<KeyUsage>,
    /// The largest number of uses.
    pub transactions: Option<u64>,
    /// Whether the container's policy contains unknown elements, attributes or uses. If so, the key must not be used at
    /// all (RFC 6030 section 5).
    pub has_unknown: bool,
}

impl Policy {
    /// Whether the policy permits this use of the key. The caller must also check the dates, the transactions, the PIN
    /// and the device's dates ([`DeviceInfo`](crate::DeviceInfo)): outside the dates the key must not be used. If the
    /// PIN is [part of the code](PinUsage::is_part_of_code), the key alone does not produce a valid code.
    #[must_use = "the key must not be used for what its policy does not permit"]
    pub fn permits(&self, usage: KeyUsage) -> bool {
        !self.has_unknown && (self.usages.is_empty() || self.usages.contains(&usage))
    }

    pub(crate) fn read(element: Element<'_, '_>) -> Result<Self, PskcError> {
        let mut policy = Self {
            has_unknown: element.has_other_attributes(&[]),
            ..Self::default()
        };
        for child in element.children()? {
            if child.namespace() != PSKC {
                policy.has_unknown = true;
                continue;
            }
            let attributes: &[&str] = match child.name() {
                "PINPolicy" => PinPolicy::ATTRIBUTES,
                _ => &[],
            };
            policy.has_unknown |= child.has_other_attributes(attributes);
            match child.name() {
                "StartDate" => once(&mut policy.start_date, child.owned_text()?, child)?,
                "ExpiryDate" => once(&mut policy.expiry_date, child.owned_text()?, child)?,
                "PINPolicy" => {
                    policy.has_unknown |= child.children()?.next().is_some();
                    once(&mut policy.pin, PinPolicy::read(child)?, child)?;
                }
                "KeyUsage" => match child.text()?.parse() {
                    Ok(usage) => policy.usages.push(usage),
                    Err(UnknownKeyUsage) => policy.has_unknown = true,
                },
                "NumberOfTransactions" => {
                    let number = decimal(child.text()?);
                    let number = number.ok_or(PskcError::Number { at: child.at() })?;
                    once(&mut policy.transactions, number, child)?;
                }
                _ => return Err(child.unexpected()),
            }
        }
        Ok(policy)
    }
}

/// A use of a key (RFC 6030 section 5, `KeyUsage`, and IANA's Key Usage Registry, which may grow).
///
/// ```
/// use keyproof_pskc::KeyUsage;
///
/// assert_eq!("CR".parse(), Ok(KeyUsage::ChallengeResponse));
/// assert_eq!(KeyUsage::Otp.to_string(), "OTP");
/// assert!("otp".parse::<KeyUsage>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is named as in RFC 6030")]
pub enum KeyUsage {
    #[cfg_attr(feature = "serde", serde(rename = "OTP"))]
    Otp,
    #[cfg_attr(feature = "serde", serde(rename = "CR"))]
    ChallengeResponse,
    Encrypt,
    Integrity,
    Verify,
    Unlock,
    Decrypt,
    KeyWrap,
    Unwrap,
    Derive,
    Generate,
}

impl KeyUsage {
    const ALL: [Self; 11] = [
        Self::Otp,
        Self::ChallengeResponse,
        Self::Encrypt,
        Self::Integrity,
        Self::Verify,
        Self::Unlock,
        Self::Decrypt,
        Self::KeyWrap,
        Self::Unwrap,
        Self::Derive,
        Self::Generate,
    ];

    /// The word in a container, such as `OTP` or `CR`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Otp => "OTP",
            Self::ChallengeResponse => "CR",
            Self::Encrypt => "Encrypt",
            Self::Integrity => "Integrity",
            Self::Verify => "Verify",
            Self::Unlock => "Unlock",
            Self::Decrypt => "Decrypt",
            Self::KeyWrap => "KeyWrap",
            Self::Unwrap => "Unwrap",
            Self::Derive => "Derive",
            Self::Generate => "Generate",
        }
    }
}

impl fmt::Display for KeyUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for KeyUsage {
    type Err = UnknownKeyUsage;

    /// Parses [`KeyUsage::name`], case-sensitively.
    fn from_str(name: &str) -> Result<Self, UnknownKeyUsage> {
        Self::ALL
            .into_iter()
            .find(|usage| usage.name() == name)
            .ok_or(UnknownKeyUsage)
    }
}

/// The text is not a [`KeyUsage`].
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not a key usage of RFC 6030 section 5, such as OTP, CR or Encrypt (case-sensitive)")]
pub struct UnknownKeyUsage;

/// How the PIN of a key is used (RFC 6030 section 5, `PINPolicy`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct PinPolicy {
    /// The identifier of the container's key that is the PIN.
    pub key_id: Option<String>,
    /// The use of the PIN.
    pub usage: Option<PinUsage>,
    /// The number of wrong PINs in a row that locks the key.
    pub max_failed_attempts: Option<u32>,
    /// The smallest number of characters.
    pub min_len: Option<u32>,
    /// The largest number of characters.
    pub max_len: Option<u32>,
    /// The kind of characters.
    pub encoding: Option<Encoding>,
}

/// The use of a PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum PinUsage {
    /// `Local`: the device checks it.
    Local,
    /// `Prepend`: it is typed before the code.
    Prepend,
    /// `Append`: it is typed after the code.
    Append,
    /// `Algorithmic`: the code is computed from it as well.
    Algorithmic,
}

impl PinUsage {
    const ALL: [Self; 4] = [Self::Local, Self::Prepend, Self::Append, Self::Algorithmic];

    /// Whether the code to enter differs from the code of the key alone.
    ///
    /// ```
    /// use keyproof_pskc::PinUsage;
    ///
    /// assert!(PinUsage::Append.is_part_of_code() && !PinUsage::Local.is_part_of_code());
    /// ```
    pub const fn is_part_of_code(self) -> bool {
        match self {
            Self::Local => false,
            Self::Algorithmic | Self::Append | Self::Prepend => true,
        }
    }

    /// The word in a container, such as `Local`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "Local",
            Self::Prepend => "Prepend",
            Self::Append => "Append",
            Self::Algorithmic => "Algorithmic",
        }
    }
}

impl fmt::Display for PinUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl PinPolicy {
    const ATTRIBUTES: &[&str] = &[
        "MaxFailedAttempts",
        "MaxLength",
        "MinLength",
        "PINEncoding",
        "PINKeyId",
        "PINUsageMode",
    ];

    fn read(element: Element<'_, '_>) -> Result<Self, PskcError> {
        let name = "PINUsageMode";
        let unknown = PskcError::Attribute {
            name,
            at: element.at(),
        };
        let word = element.attribute(name);
        let usage = word.map(|word| {
            PinUsage::ALL
                .into_iter()
                .find(|usage| usage.name() == word)
                .ok_or(unknown)
        });
        let usage = usage.transpose()?;
        Ok(Self {
            key_id: element.attribute("PINKeyId").map(String::from),
            usage,
            max_failed_attempts: element.number("MaxFailedAttempts")?,
            min_len: element.number("MinLength")?,
            max_len: element.number("MaxLength")?,
            encoding: Encoding::read(element, "PINEncoding")?,
        })
    }
}
