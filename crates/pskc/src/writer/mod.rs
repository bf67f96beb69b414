//! Writes keys as a container.

mod document;
mod error;
mod key;

use alloc::{
    collections::BTreeSet,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

use zeroize::Zeroizing;

use self::{document::Document, key::write_package};
use crate::{
    key::{Key, Secret},
    protection::{Cipher, KeyDerivation, MacAlgorithm},
    xml::{DSIG, PKCS5, PSKC, XENC, XENC11},
};

pub use self::error::WriteError;

/// How the secrets of a container are encrypted when it is written.
///
/// ```
/// use keyproof_pskc::{Cipher, KeyProtection};
///
/// // Both sides have the key, and a name for it.
/// let lock = KeyProtection::Key { cipher: Cipher::Aes128KeyWrap, key: &[7; 16], name: "of 2027" };
/// assert_eq!(format!("{lock:?}"), r#"Key(kw-aes128, "of 2027", [redacted])"#);
/// ```
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum KeyProtection<'a> {
    /// A pre-shared key.
    Key {
        /// The cipher of the secrets.
        cipher: Cipher,
        /// The key, of [`Cipher::key_len`] bytes.
        key: &'a [u8],
        /// The name that both sides use for it.
        name: &'a str,
    },
    /// No protection: anybody who has the document has the secrets.
    None,
    /// A password.
    Password {
        /// The cipher of the secrets.
        cipher: Cipher,
        /// The derivation of the key from the password, for keys of this cipher.
        derivation: &'a KeyDerivation,
        /// The password, which must not be empty.
        password: &'a str,
    },
}

impl fmt::Debug for KeyProtection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { cipher, name, .. } => write!(f, "Key({cipher}, {name:?}, [redacted])"),
            Self::None => f.write_str("None"),
            Self::Password { cipher, .. } => write!(f, "Password({cipher}, [redacted])"),
        }
    }
}

/// Writes key containers (RFC 6030).
///
/// Secrets are encrypted with the [`KeyProtection`], and with CBC also authenticated: without the key nobody can read a secret,
/// and an altered one is detected. Everything else about a key is plain and not authenticated (RFC 6030 section 4.1), and the
/// secrets of two keys can be exchanged. With CBC, whoever knows one of the secrets can also forge others, because the
/// authentication key is encrypted with the same key and without a code (section 6.1.1). Elements are in the order of the RFC's
/// schema, and [`Container::parse`](crate::Container::parse) reads back the same keys.
///
/// ```
/// use keyproof_pskc::{
///     Cipher, Container, Encoding, Key, KeyData, KeyDerivation, KeyInfo, KeyProtection, Prf, ResponseFormat, Secret, DecryptionKey, Writer,
/// };
///
/// let mut info = KeyInfo::new("0755224");
/// info.algorithm = Some(KeyInfo::HOTP.to_owned());
/// info.response = Some(ResponseFormat::new(Encoding::Decimal, 6));
/// info.device.serial_number = Some("987654321".to_owned());
/// let mut data = KeyData::default();
/// data.secret = Some(Secret::from(&b"12345678901234567890"[..]));
/// data.counter = Some(0);
/// let keys = [Key::new(info, data)];
///
/// # fn random(bytes: &mut [u8]) -> Result<(), std::io::Error> { Ok(bytes.fill(7)) } // such as getrandom::fill
/// let mut salt = [0; 16];
/// random(&mut salt)?;
/// let derivation = KeyDerivation::new(Cipher::Aes256Cbc, Prf::HmacSha256, &salt)?;
/// # let derivation = derivation.with_iterations(1000)?;
/// let lock = KeyProtection::Password { cipher: Cipher::Aes256Cbc, derivation: &derivation, password: "correct horse" };
/// let document = Writer::new(lock).write(&keys, random)?;
///
/// let read = Container::parse(&document)?.open(DecryptionKey::Password("correct horse"))?;
/// assert_eq!(read, keys);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    id: Option<&'a str>,
    lock: KeyProtection<'a>,
    mac: MacAlgorithm,
}

impl<'a> Writer<'a> {
    /// Creates a writer. CBC is authenticated by HMAC-SHA-256 unless [`Writer::with_mac`] sets another algorithm.
    pub const fn new(lock: KeyProtection<'a>) -> Self {
        let mac = MacAlgorithm::HmacSha256;
        Self {
            id: None,
            lock,
            mac,
        }
    }

    /// Sets the container's identifier (`xs:ID`): an ASCII letter or `_`, then ASCII letters, digits, `.`, `-` and `_`.
    #[must_use = "only what it returns has the setting"]
    pub const fn with_id(mut self, id: &'a str) -> Self {
        self.id = Some(id);
        self
    }

    /// Sets the algorithm that authenticates CBC. Key wrap authenticates itself.
    ///
    /// ```
    /// use keyproof_pskc::{Cipher, Container, Key, KeyData, KeyInfo, KeyProtection, MacAlgorithm, Secret, Writer};
    ///
    /// let mut data = KeyData::default();
    /// data.secret = Some(Secret::from(vec![7_u8; 20]));
    /// let lock = KeyProtection::Key { cipher: Cipher::Aes128Cbc, key: &[1; 16], name: "of 2027" };
    /// let writer = Writer::new(lock).with_id("delivery-7").with_mac(MacAlgorithm::HmacSha512);
    /// # fn random(bytes: &mut [u8]) -> Result<(), std::io::Error> { Ok(bytes.fill(7)) }
    /// let document = writer.write(&[Key::new(KeyInfo::new("1"), data)], random)?;
    /// let read = Container::parse(&document)?;
    /// assert_eq!((read.id(), read.mac_algorithm()), (Some("delivery-7"), Some(MacAlgorithm::HmacSha512)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "only what it returns has the setting"]
    pub const fn with_mac(mut self, mac: MacAlgorithm) -> Self {
        self.mac = mac;
        self
    }

    /// Writes a container of these keys. The document is wiped on drop, because without encryption it contains the
    /// secrets.
    ///
    /// `random` fills a slice with random bytes, as `getrandom::fill` does. It is called only with CBC: for an
    /// authentication key as long as a code of its algorithm, and for a 16-byte initialisation vector for that key and
    /// for each secret.
    ///
    /// # Errors
    ///
    /// [`WriteError`] if something cannot be written; [`WriteError::Random`] if the source fails.
    pub fn write<E: fmt::Display>(
        &self,
        keys: &[Key],
        mut random: impl FnMut(&mut [u8]) -> Result<(), E>,
    ) -> Result<Zeroizing<String>, WriteError> {
        let mut random = |bytes: &mut [u8]| {
            random(bytes).map_err(|error| WriteError::Random {
                detail: error.to_string(),
            })
        };
        self.write_with(keys, &mut random)
    }

    fn write_with(
        &self,
        keys: &[Key],
        random: &mut Random<'_>,
    ) -> Result<Zeroizing<String>, WriteError> {
        if keys.is_empty() {
            return Err(WriteError::Empty);
        }
        let mut ids = BTreeSet::new();
        for key in keys {
            if !ids.insert(key.info.id.as_str()) {
                let id = key.info.id.clone();
                return Err(WriteError::Duplicate { id });
            }
        }
        let mut sealer = Sealer::new(self.lock, self.mac, random)?;
        let mut document = Document::new();
        let mut attributes = Vec::from([("Version", "1.0"), ("xmlns", PSKC)]);
        if let Some(id) = self.id {
            check_id(id)?;
            attributes.push(("Id", id));
        }
        match self.lock {
            KeyProtection::None => {}
            KeyProtection::Key { .. } => {
                attributes.extend([("xmlns:ds", DSIG), ("xmlns:xenc", XENC)])
            }
            KeyProtection::Password { .. } => attributes.extend([
                ("xmlns:xenc", XENC),
                ("xmlns:xenc11", XENC11),
                ("xmlns:pkcs5", PKCS5),
            ]),
        }
        document.begin("KeyContainer", &attributes)?;
        self.write_encryption_key(&mut document)?;
        sealer.write_mac_method(&mut document)?;
        for key in keys {
            write_package(&mut document, key, &mut sealer)?;
        }
        document.end("KeyContainer");
        document.finish()
    }

    fn write_encryption_key(&self, document: &mut Document) -> Result<(), WriteError> {
        match self.lock {
            KeyProtection::None => Ok(()),
            KeyProtection::Key { name, .. } => {
                document.begin("EncryptionKey", &[])?;
                document.text("ds:KeyName", name)?;
                document.end("EncryptionKey");
                Ok(())
            }
            KeyProtection::Password { derivation, .. } => {
                document.begin("EncryptionKey", &[])?;
                write_derivation(document, derivation)?;
                document.end("EncryptionKey");
                Ok(())
            }
        }
    }
}

/// Writes the derivation as in RFC 6030 figure 7.
fn write_derivation(document: &mut Document, derivation: &KeyDerivation) -> Result<(), WriteError> {
    document.begin("xenc11:DerivedKey", &[])?;
    let method = [("Algorithm", KeyDerivation::PBKDF2)];
    document.begin("xenc11:KeyDerivationMethod", &method)?;
    document.begin("pkcs5:PBKDF2-params", &[("xmlns", "")])?;
    document.begin("Salt", &[])?;
    document.text("Specified", &base64(derivation.salt()))?;
    document.end("Salt");
    document.text("IterationCount", &derivation.iterations().to_string())?;
    document.text("KeyLength", &derivation.key_len().to_string())?;
    document.empty("PRF", &[("Algorithm", derivation.prf().uri())])?;
    document.end("pkcs5:PBKDF2-params");
    document.end("xenc11:KeyDerivationMethod");
    for name in derivation.names() {
        document.text("xenc11:MasterKeyName", name)?;
    }
    document.end("xenc11:DerivedKey");
    Ok(())
}

/// Fills a slice with random bytes.
pub(crate) type Random<'a> = dyn FnMut(&mut [u8]) -> Result<(), WriteError> + 'a;

/// Encrypts secrets.
struct Sealer<'a> {
    /// `None` leaves secrets plain.
    key: Option<(Cipher, Zeroizing<Vec<u8>>)>,
    /// The algorithm and key of the authentication codes, if there are any.
    mac: Option<(MacAlgorithm, Zeroizing<Vec<u8>>)>,
    random: &'a mut Random<'a>,
}

impl<'a> Sealer<'a> {
    fn new(
        lock: KeyProtection<'_>,
        algorithm: MacAlgorithm,
        random: &'a mut Random<'a>,
    ) -> Result<Self, WriteError> {
        let key = match lock {
            KeyProtection::None => None,
            KeyProtection::Key { cipher, key, .. } => {
                Some((cipher, Zeroizing::new(Vec::from(key))))
            }
            KeyProtection::Password { password: "", .. } => {
                return Err(WriteError::EmptyPassword);
            }
            KeyProtection::Password {
                cipher,
                derivation,
                password,
            } => Some((cipher, derivation.derive(password))),
        };
        if let Some((cipher, key)) = &key {
            let (expected, found) = (cipher.key_len(), key.len());
            if found != expected {
                return Err(WriteError::KeyLength {
                    cipher: *cipher,
                    expected,
                    found,
                });
            }
        }
        let needs_mac = key
            .as_ref()
            .is_some_and(|(cipher, _)| !cipher.is_authenticated());
        let mac = if needs_mac {
            let mut mac_key = Zeroizing::new(alloc::vec![0; algorithm.code_len()]);
            random(&mut mac_key)?;
            Some((algorithm, mac_key))
        } else {
            None
        };
        Ok(Self { key, mac, random })
    }

    fn write_mac_method(&mut self, document: &mut Document) -> Result<(), WriteError> {
        let (Some((cipher, key)), Some((algorithm, mac_key))) = (&self.key, &self.mac) else {
            return Ok(());
        };
        document.begin("MACMethod", &[("Algorithm", algorithm.uri())])?;
        document.begin("MACKey", &[])?;
        // The key has a length that every cipher accepts.
        if let Some(sealed) = cipher.encrypt(key, mac_key, self.random)? {
            write_encrypted(document, *cipher, &sealed)?;
        }
        document.end("MACKey");
        document.end("MACMethod");
        Ok(())
    }

    fn write_secret(
        &mut self,
        document: &mut Document,
        id: &str,
        secret: &Secret,
    ) -> Result<(), WriteError> {
        let secret = secret.as_bytes();
        let wrong_length = || WriteError::SecretLength {
            id: String::from(id),
            found: secret.len(),
        };
        if secret.is_empty() {
            return Err(wrong_length());
        }
        document.begin("Secret", &[])?;
        match &self.key {
            None => document.text("PlainValue", &base64(secret))?,
            Some((cipher, key)) => {
                let sealed = cipher.encrypt(key, secret, self.random)?;
                let sealed = sealed.ok_or_else(wrong_length)?;
                document.begin("EncryptedValue", &[])?;
                write_encrypted(document, *cipher, &sealed)?;
                document.end("EncryptedValue");
                if let Some((algorithm, mac_key)) = &self.mac {
                    document.text("ValueMAC", &base64(&algorithm.code(mac_key, &sealed)))?;
                }
            }
        }
        document.end("Secret");
        Ok(())
    }
}

/// Writes the content of an `xenc:EncryptedData`.
fn write_encrypted(
    document: &mut Document,
    cipher: Cipher,
    sealed: &[u8],
) -> Result<(), WriteError> {
    document.empty("xenc:EncryptionMethod", &[("Algorithm", cipher.uri())])?;
    document.begin("xenc:CipherData", &[])?;
    document.text("xenc:CipherValue", &base64(sealed))?;
    document.end("xenc:CipherData");
    Ok(())
}

fn base64(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(data_encoding::BASE64.encode(bytes))
}

fn check_id(id: &str) -> Result<(), WriteError> {
    let mut bytes = id.bytes();
    let begins = bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    let goes_on = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if begins && bytes.all(goes_on) {
        return Ok(());
    }
    Err(WriteError::Text {
        field: "Id",
        problem: "is no identifier of XML: a letter or _, then letters, digits, '.', '-' and '_'",
    })
}
