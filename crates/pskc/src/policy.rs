//! What a key may be used for (RFC 6030 section 5).

use alloc::{string::String, vec::Vec};
use core::{fmt, str::FromStr};

use thiserror::Error;

use crate::{
    PskcError,
    key::Encoding,
    xml::{Element, PSKC, decimal, once},
};

/// What a key may be used for.
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
    /// From when on, an `xs:dateTime` as it stands in the container.
    pub start_date: Option<String>,
    /// Until when, an `xs:dateTime` as it stands in the container.
    pub expiry_date: Option<String>,
    /// How its PIN is used.
    pub pin: Option<PinPolicy>,
    /// What for; any use if it is empty.
    pub usages: Vec<KeyUsage>,
    /// How often, at most.
    pub transactions: Option<u64>,
    /// Whether the container says more that is not known here. Then the key is to be used for
    /// nothing (RFC 6030 section 5).
    pub has_unknown: bool,
}

impl Policy {
    /// Whether the key may be used so. Dates, transactions and the PIN are for the caller to ask besides, and so are the dates of the
    /// device ([`DeviceInfo`](crate::DeviceInfo)): beyond them the key may not be used, and with a PIN that is
    /// [part of the code](PinUsage::is_part_of_code) it alone makes none.
    pub fn permits(&self, usage: KeyUsage) -> bool {
        !self.has_unknown && (self.usages.is_empty() || self.usages.contains(&usage))
    }

    pub(crate) fn read(element: Element<'_, '_>) -> Result<Self, PskcError> {
        let mut policy = Self::default();
        for child in element.children()? {
            if child.namespace() != PSKC {
                policy.has_unknown = true;
                continue;
            }
            match child.name() {
                "StartDate" => once(&mut policy.start_date, child.owned_text()?, child)?,
                "ExpiryDate" => once(&mut policy.expiry_date, child.owned_text()?, child)?,
                "PINPolicy" => once(&mut policy.pin, PinPolicy::read(child)?, child)?,
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

/// A use of a key (RFC 6030 section 5, `KeyUsage`), and in IANA's Key Usage Registry, which may grow.
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
#[expect(missing_docs, reason = "each is RFC 6030's own word")]
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

    /// Reads [`KeyUsage::name`].
    fn from_str(name: &str) -> Result<Self, UnknownKeyUsage> {
        Self::ALL
            .into_iter()
            .find(|usage| usage.name() == name)
            .ok_or(UnknownKeyUsage)
    }
}

/// The text names no [`KeyUsage`].
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "no usage of a key: RFC 6030 section 5 has the words, such as OTP, CR or Encrypt, in this case"
)]
pub struct UnknownKeyUsage;

/// How the PIN of a key is used (RFC 6030 section 5, `PINPolicy`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct PinPolicy {
    /// The key of the container that is the PIN.
    pub key_id: Option<String>,
    /// What is done with it.
    pub usage: Option<PinUsage>,
    /// How many wrong ones in a row lock it.
    pub max_failed_attempts: Option<u32>,
    /// How many characters it has at least.
    pub min_len: Option<u32>,
    /// How many characters it has at most.
    pub max_len: Option<u32>,
    /// What characters it has.
    pub encoding: Option<Encoding>,
}

/// What is done with a PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum PinUsage {
    /// `Local`: the device asks for it.
    Local,
    /// `Prepend`: it stands before the code.
    Prepend,
    /// `Append`: it stands behind the code.
    Append,
    /// `Algorithmic`: it goes into the code.
    Algorithmic,
}

impl PinUsage {
    const ALL: [Self; 4] = [Self::Local, Self::Prepend, Self::Append, Self::Algorithmic];

    /// Whether the code that is to be given is another one than the key's.
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
