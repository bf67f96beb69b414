//! Opening: authentication codes first, then decryption.

use alloc::vec::Vec;
use core::fmt;

use zeroize::Zeroizing;

use crate::{
    PskcError,
    container::{DecryptionKey, MacMethod, Protection, SealedKey},
    key::{Key, KeyData, Secret},
    protection::Cipher,
    xml::{Element, PSKC, decimal, once},
};

/// The values of a key, as in the container.
#[derive(Clone, Debug, Default)]
pub(crate) struct SealedData {
    secret: Option<Value<Secret>>,
    counter: Option<Value<u64>>,
    time: Option<Value<u64>>,
    time_interval: Option<Value<u64>>,
    time_drift: Option<Value<i64>>,
}

#[derive(Clone, Debug)]
enum Value<T> {
    Plain {
        value: T,
        at: usize,
    },
    Encrypted {
        value: SealedValue,
        /// The authentication code of the encrypted value.
        code: Option<Vec<u8>>,
        at: usize,
    },
}

/// An encrypted value. Its length is one that the cipher produces.
#[derive(Clone)]
pub(crate) struct SealedValue {
    pub(crate) cipher: Cipher,
    pub(crate) bytes: Vec<u8>,
}

impl fmt::Debug for SealedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedValue({}; {})", self.cipher, self.bytes.len())
    }
}

impl SealedData {
    pub(crate) fn read(element: Element<'_, '_>) -> Result<Self, PskcError> {
        let mut data = Self::default();
        let number = |element: Element<'_, '_>| {
            let number = decimal(element.text()?).filter(|number| i64::try_from(*number).is_ok());
            number.ok_or(PskcError::Number { at: element.at() })
        };
        let signed = |element: Element<'_, '_>| {
            let text = element.text()?;
            let digits = text.strip_prefix('-').unwrap_or(text);
            let number = decimal(digits).and_then(|_| text.parse().ok());
            number.ok_or(PskcError::Number { at: element.at() })
        };
        let secret = |element: Element<'_, '_>| secret(element.base64()?, element.at());
        for child in element.children()? {
            if child.namespace() != PSKC {
                // The schema allows values of other namespaces here, which are ignored.
                continue;
            }
            match child.name() {
                "Secret" => once(&mut data.secret, Value::read(child, secret)?, child)?,
                "Counter" => once(&mut data.counter, Value::read(child, number)?, child)?,
                "Time" => once(&mut data.time, Value::read(child, number)?, child)?,
                "TimeInterval" => {
                    once(&mut data.time_interval, Value::read(child, number)?, child)?
                }
                "TimeDrift" => once(&mut data.time_drift, Value::read(child, signed)?, child)?,
                _ => return Err(child.unexpected()),
            }
        }
        Ok(data)
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.secret.as_ref().is_some_and(Value::is_encrypted)
            || self.counter.as_ref().is_some_and(Value::is_encrypted)
            || self.time.as_ref().is_some_and(Value::is_encrypted)
            || self.time_interval.as_ref().is_some_and(Value::is_encrypted)
            || self.time_drift.as_ref().is_some_and(Value::is_encrypted)
    }

    /// Rejects a secret that is not encrypted: anybody could have put it there.
    fn refuse_plain_secret(&self) -> Result<(), PskcError> {
        match self.secret {
            Some(Value::Plain { at, .. }) => Err(PskcError::PlainSecret { at }),
            Some(Value::Encrypted { .. }) | None => Ok(()),
        }
    }

    fn verify(&self, keys: &Keys<'_>) -> Result<(), PskcError> {
        keys.verify(self.secret.as_ref())?;
        keys.verify(self.counter.as_ref())?;
        keys.verify(self.time.as_ref())?;
        keys.verify(self.time_interval.as_ref())?;
        keys.verify(self.time_drift.as_ref())
    }

    fn open(&self, keys: &Keys<'_>) -> Result<KeyData, PskcError> {
        Ok(KeyData {
            secret: keys.open(self.secret.as_ref(), secret)?,
            counter: keys.open(self.counter.as_ref(), unsigned)?,
            time: keys.open(self.time.as_ref(), unsigned)?,
            time_interval: keys.open(self.time_interval.as_ref(), unsigned)?,
            time_drift: keys.open(self.time_drift.as_ref(), signed)?,
        })
    }
}

/// Rejects an empty secret, which everybody knows.
fn secret(bytes: Zeroizing<Vec<u8>>, at: usize) -> Result<Secret, PskcError> {
    if bytes.is_empty() {
        return Err(PskcError::EmptySecret { at });
    }
    Ok(Secret::new(bytes))
}

impl<T> Value<T> {
    /// Parses a value: plain, or encrypted with or without an authentication code.
    fn read<'a, 'i>(
        element: Element<'a, 'i>,
        plain: impl Fn(Element<'a, 'i>) -> Result<T, PskcError>,
    ) -> Result<Self, PskcError> {
        let (mut plain_value, mut encrypted, mut code) = (None, None, None);
        let at = element.at();
        for child in element.children()? {
            match (child.namespace(), child.name()) {
                (PSKC, "PlainValue") => once(&mut plain_value, plain(child)?, child)?,
                (PSKC, "EncryptedValue") => once(&mut encrypted, SealedValue::read(child)?, child)?,
                (PSKC, "ValueMAC") => once(&mut code, child.base64()?.to_vec(), child)?,
                _ => return Err(child.unexpected()),
            }
        }
        match (plain_value, encrypted, code) {
            (Some(value), None, None) => Ok(Self::Plain { value, at }),
            // RFC 6030 defines authentication codes for encrypted values only.
            (Some(_), None, Some(_)) => Err(PskcError::Mac { at }),
            (None, Some(value), code) => Ok(Self::Encrypted { value, code, at }),
            (Some(_), Some(_), _) => Err(PskcError::Duplicate { at }),
            (None, None, _) => Err(PskcError::MissingElement {
                name: "PlainValue",
                at,
            }),
        }
    }

    const fn is_encrypted(&self) -> bool {
        matches!(self, Self::Encrypted { .. })
    }
}

/// The keys to open a container.
struct Keys<'a> {
    encryption: Zeroizing<Vec<u8>>,
    mac: Option<(&'a MacMethod, Zeroizing<Vec<u8>>)>,
}

impl Keys<'_> {
    fn verify<T>(&self, value: Option<&Value<T>>) -> Result<(), PskcError> {
        let Some(Value::Encrypted { value, code, at }) = value else {
            return Ok(());
        };
        match (&self.mac, code) {
            (Some((method, key)), Some(code)) => method.algorithm.verify(key, &value.bytes, code),
            (_, None) if value.cipher.is_authenticated() => Ok(()),
            _ => Err(PskcError::Mac { at: *at }),
        }
    }

    fn open<T: Clone>(
        &self,
        value: Option<&Value<T>>,
        read: impl Fn(Zeroizing<Vec<u8>>, usize) -> Result<T, PskcError>,
    ) -> Result<Option<T>, PskcError> {
        match value {
            None => Ok(None),
            Some(Value::Plain { value, .. }) => Ok(Some(value.clone())),
            Some(Value::Encrypted { value, at, .. }) => {
                let bytes = value.cipher.decrypt(&self.encryption, &value.bytes)?;
                read(bytes, *at).map(Some)
            }
        }
    }
}

/// Whether any value is encrypted, or the container has an `EncryptionKey`.
pub(crate) fn is_encrypted(protection: &Protection, sealed: &[SealedKey]) -> bool {
    let is_said = match protection {
        Protection::Password(_) | Protection::PreShared(_) => true,
        Protection::Unnamed => false,
    };
    is_said || sealed.iter().any(|key| key.data.is_encrypted())
}

pub(crate) fn open(
    protection: &Protection,
    mac: Option<&MacMethod>,
    sealed: &[SealedKey],
    unlock: DecryptionKey<'_>,
) -> Result<Vec<Key>, PskcError> {
    if !matches!(unlock, DecryptionKey::None) {
        let mut data = sealed.iter().map(|key| &key.data);
        data.try_for_each(SealedData::refuse_plain_secret)?;
    }
    let keys = if is_encrypted(protection, sealed) {
        Keys::new(protection, mac, unlock)?
    } else {
        Keys {
            encryption: Zeroizing::default(),
            mac: None,
        }
    };
    sealed.iter().try_for_each(|key| key.data.verify(&keys))?;
    let opened = sealed.iter().map(|key| {
        Ok(Key {
            info: key.info.clone(),
            data: key.data.open(&keys)?,
        })
    });
    opened.collect()
}

impl<'a> Keys<'a> {
    fn new(
        protection: &Protection,
        mac: Option<&'a MacMethod>,
        unlock: DecryptionKey<'_>,
    ) -> Result<Self, PskcError> {
        let encryption = match (protection, unlock) {
            // Anybody could make a container of the empty password.
            (Protection::Password(derivation), DecryptionKey::Password(password))
                if !password.is_empty() =>
            {
                derivation.derive(password)
            }
            (Protection::Password(_), _) => return Err(PskcError::PasswordNeeded),
            (_, DecryptionKey::Key(key)) => Zeroizing::new(Vec::from(key)),
            _ => return Err(PskcError::KeyNeeded),
        };
        let mac = mac.map(|method| {
            let key = match &method.key {
                Some(key) => key.cipher.decrypt(&encryption, &key.bytes)?,
                None => encryption.clone(),
            };
            // Anybody could make codes with a key that is easy to guess.
            if key.len() < MIN_MAC_KEY_LEN {
                return Err(PskcError::Authentication);
            }
            Ok((method, key))
        });
        Ok(Self {
            mac: mac.transpose()?,
            encryption,
        })
    }
}

/// The length of the shortest encryption key.
const MIN_MAC_KEY_LEN: usize = 16;

/// Decodes an encrypted number: big-endian, of up to eight bytes, because writers use different
/// lengths.
fn unsigned(bytes: Zeroizing<Vec<u8>>, at: usize) -> Result<u64, PskcError> {
    if bytes.is_empty() || bytes.len() > 8 {
        return Err(PskcError::Number { at });
    }
    let number = bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte));
    if i64::try_from(number).is_ok() {
        Ok(number)
    } else {
        Err(PskcError::Number { at })
    }
}

/// Decodes a number in two's complement, of one to eight bytes.
fn signed(bytes: Zeroizing<Vec<u8>>, at: usize) -> Result<i64, PskcError> {
    let unused = 8_usize
        .checked_sub(bytes.len())
        .filter(|unused| *unused < 8)
        .ok_or(PskcError::Number { at })?;
    let number = bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte));
    Ok((number << (unused * 8)).cast_signed() >> (unused * 8))
}
