//! The container: a parsed document whose values are still sealed.

use alloc::{collections::BTreeSet, string::String, vec::Vec};
use core::str::FromStr;

use crate::{
    PskcError,
    key::{DeviceInfo, Key, KeyInfo},
    open::{SealedData, SealedValue},
    policy::Policy,
    protection::{Cipher, KeyDerivation, MacAlgorithm},
    xml::{self, DSIG, Element, PSKC, XENC11, once},
};

/// A key container (RFC 6030), parsed but not yet opened.
///
/// `Debug` hides keys that are not encrypted. The document's text belongs to the caller, who should wipe it if it
/// contains keys that are not encrypted.
///
/// ```
/// use keyproof_pskc::{Container, PskcError, DecryptionKey};
///
/// let document = r#"<KeyContainer Version="1.0" xmlns="urn:ietf:params:xml:ns:keyprov:pskc"
///     xmlns:ds="http://www.w3.org/2000/09/xmldsig#" xmlns:xenc="http://www.w3.org/2001/04/xmlenc#">
///   <EncryptionKey><ds:KeyName>of 2027</ds:KeyName></EncryptionKey>
///   <KeyPackage><Key Id="1" Algorithm="urn:ietf:params:xml:ns:keyprov:pskc:totp"><Data><Secret><EncryptedValue>
///     <xenc:EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#kw-aes128"/>
///     <xenc:CipherData><xenc:CipherValue>H6aLCoEStEeu80vY+1p7gp0+hiNx0s/l</xenc:CipherValue></xenc:CipherData>
///   </EncryptedValue></Secret></Data></Key></KeyPackage>
/// </KeyContainer>"#;
/// let container: Container = document.parse()?;
/// assert_eq!((container.keys().len(), container.key_names()), (1, &["of 2027".to_owned()][..]));
/// assert!(container.is_encrypted() && container.key_derivation().is_none());
/// assert_eq!((container.id(), container.mac_algorithm()), (None, None)); // key wrap authenticates itself
///
/// let key: Vec<u8> = (0..16).collect();
/// let opened = container.open(DecryptionKey::Key(&key))?;
/// assert_eq!(opened[0].data.secret.as_ref().unwrap().as_bytes()[..3], [0x00, 0x11, 0x22]);
/// assert_eq!(container.open(DecryptionKey::Key(&[0; 16])), Err(PskcError::Authentication));
/// # Ok::<(), PskcError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Container {
    id: Option<String>,
    protection: Protection,
    mac: Option<MacMethod>,
    keys: Vec<SealedKey>,
    signed: bool,
}

/// The key that opens the encrypted values of a container.
#[derive(Clone, Debug)]
pub(crate) enum Protection {
    /// The container does not name one.
    Unnamed,
    /// A pre-shared key, with its names.
    PreShared(Vec<String>),
    /// A key derived from a password.
    Password(KeyDerivation),
}

/// The algorithm and key that authenticate the values of a container.
#[derive(Clone, Debug)]
pub(crate) struct MacMethod {
    pub(crate) algorithm: MacAlgorithm,
    /// The encrypted authentication key; if there is none, the encryption key is used.
    pub(crate) key: Option<SealedValue>,
}

#[derive(Clone, Debug)]
pub(crate) struct SealedKey {
    pub(crate) info: KeyInfo,
    pub(crate) data: SealedData,
}

/// The key or password to open a container with, which its sender communicated by another way.
///
/// ```
/// use keyproof_pskc::{Container, PskcError, DecryptionKey};
///
/// let document = r#"<KeyContainer Version="1.0" xmlns="urn:ietf:params:xml:ns:keyprov:pskc"><KeyPackage>
///   <Key Id="k"><Data><Secret><PlainValue>MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=</PlainValue></Secret></Data></Key>
/// </KeyPackage></KeyContainer>"#;
/// let container = Container::parse(document)?;
/// assert_eq!(container.open(DecryptionKey::None)?.len(), 1);
/// // A container without encryption is not the one that a password was sent for.
/// let refused = container.open(DecryptionKey::Password("correct horse")).unwrap_err();
/// assert!(matches!(refused, PskcError::PlainSecret { .. }));
/// assert_eq!(format!("{:?}", DecryptionKey::Password("correct horse")), "Password([redacted])");
/// # Ok::<(), keyproof_pskc::PskcError>(())
/// ```
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum DecryptionKey<'a> {
    /// The pre-shared key.
    Key(&'a [u8]),
    /// No key: the container has no encrypted value and names no encryption key.
    None,
    /// The password. An empty one opens nothing.
    Password(&'a str),
}

impl core::fmt::Debug for DecryptionKey<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Key(_) => "Key([redacted])",
            Self::None => "None",
            Self::Password(_) => "Password([redacted])",
        })
    }
}

impl Container {
    /// The length of the longest accepted document, in bytes: 8 MiB, some thousand keys.
    pub const MAX_LEN: usize = 8 * 1024 * 1024;

    /// Parses a document.
    ///
    /// # Errors
    ///
    /// [`PskcError`], with the position in the document. Nothing has been decrypted yet, so it is neither
    /// [`Authentication`](PskcError::Authentication), [`KeyLength`](PskcError::KeyLength),
    /// [`KeyNeeded`](PskcError::KeyNeeded), [`PasswordNeeded`](PskcError::PasswordNeeded) nor
    /// [`PlainSecret`](PskcError::PlainSecret).
    pub fn parse(document: &str) -> Result<Self, PskcError> {
        if document.len() > Self::MAX_LEN {
            return Err(PskcError::TooLong);
        }
        let document = xml::parse(document)?;
        let root = Element::root(&document);
        if !root.is(PSKC, "KeyContainer") {
            return Err(root.unexpected());
        }
        if !root.attribute("Version").is_some_and(is_known) {
            return Err(PskcError::Version);
        }
        let (mut protection, mut mac, mut signature) = (None, None, None);
        let mut keys = Vec::new();
        let mut ids = BTreeSet::new();
        for child in root.children()? {
            match (child.namespace(), child.name()) {
                (PSKC, "EncryptionKey") => once(&mut protection, Protection::read(child)?, child)?,
                (PSKC, "MACMethod") => once(&mut mac, MacMethod::read(child)?, child)?,
                (PSKC, "KeyPackage") => {
                    if let Some(key) = SealedKey::read_package(child)? {
                        if !ids.insert(key.info.id.clone()) {
                            return Err(PskcError::Duplicate { at: child.at() });
                        }
                        keys.push(key);
                    }
                }
                (PSKC, "Extensions") => {}
                (DSIG, "Signature") => once(&mut signature, (), child)?,
                _ => return Err(child.unexpected()),
            }
        }
        Ok(Self {
            id: root.attribute("Id").map(String::from),
            protection: protection.unwrap_or(Protection::Unnamed),
            mac: mac.flatten(),
            keys,
            signed: signature.is_some(),
        })
    }

    /// The container's identifier.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The descriptions of the keys, in order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &KeyInfo> {
        self.keys.iter().map(|key| &key.info)
    }

    /// Whether any value is encrypted, or the container has an `EncryptionKey`, so that [`Container::open`] needs a key
    /// or a password.
    ///
    /// Anybody who can change the document controls this. Learn from the sender, by another way, what the container
    /// must be opened with.
    pub fn is_encrypted(&self) -> bool {
        crate::open::is_encrypted(&self.protection, &self.keys)
    }

    /// The derivation of the key from a password, if the container uses one.
    pub const fn key_derivation(&self) -> Option<&KeyDerivation> {
        match &self.protection {
            Protection::Password(derivation) => Some(derivation),
            Protection::PreShared(_) | Protection::Unnamed => None,
        }
    }

    /// The names of the pre-shared key, if the container is encrypted with one.
    pub fn key_names(&self) -> &[String] {
        match &self.protection {
            Protection::PreShared(names) => names,
            Protection::Password(_) | Protection::Unnamed => &[],
        }
    }

    /// The algorithm that authenticates the encrypted values, if the container names one. Anybody who can change the
    /// document controls this: values are authentic only if [`Container::open`] opens them with a key or a password.
    pub fn mac_algorithm(&self) -> Option<MacAlgorithm> {
        self.mac.as_ref().map(|mac| mac.algorithm)
    }

    /// Whether there is an XML signature. This crate verifies none, so it proves nothing.
    pub const fn has_unverified_signature(&self) -> bool {
        self.signed
    }

    /// Opens all keys. Every authentication code is verified before the first value is decrypted.
    ///
    /// With a key or a password, every secret must be encrypted. Otherwise somebody could replace a protected container
    /// with an unprotected one, which any key would open. Other values may be plain, because manufacturers leave them
    /// plain beside encrypted secrets. They are not authenticated then: anybody who can change the document can change
    /// them, and the descriptions of the keys.
    ///
    /// # Errors
    ///
    /// [`PlainSecret`](PskcError::PlainSecret) if a secret is not encrypted and `unlock` is a key or a password.
    /// [`KeyNeeded`](PskcError::KeyNeeded), [`PasswordNeeded`](PskcError::PasswordNeeded) or
    /// [`KeyLength`](PskcError::KeyLength) if `unlock` is not what the container requires. [`Mac`](PskcError::Mac) if a
    /// value lacks a required authentication code. [`Authentication`](PskcError::Authentication) if the key or password
    /// is wrong, or the container was changed. [`EmptySecret`](PskcError::EmptySecret) or [`Number`](PskcError::Number)
    /// if a decrypted value is an empty secret or not a number.
    pub fn open(&self, unlock: DecryptionKey<'_>) -> Result<Vec<Key>, PskcError> {
        crate::open::open(&self.protection, self.mac.as_ref(), &self.keys, unlock)
    }
}

/// A reader may ignore what a later minor version adds (RFC 6030 section 1.2); unknown elements are rejected anyway.
fn is_known(version: &str) -> bool {
    let (major, minor) = version.split_once('.').unwrap_or_default();
    major.len() <= 2
        && xml::decimal(major) == Some(1)
        && minor.len() <= 3
        && xml::decimal(minor).is_some()
}

impl FromStr for Container {
    type Err = PskcError;

    /// The same as [`Container::parse`].
    fn from_str(document: &str) -> Result<Self, PskcError> {
        Self::parse(document)
    }
}

impl Protection {
    /// Parses an `EncryptionKey`, which is a `ds:KeyInfo`.
    fn read(element: Element<'_, '_>) -> Result<Self, PskcError> {
        let (mut names, mut derived) = (Vec::new(), None);
        for child in element.children()? {
            match (child.namespace(), child.name()) {
                (DSIG, "KeyName") => names.push(child.owned_text()?),
                (XENC11, "DerivedKey") => {
                    once(&mut derived, KeyDerivation::read(child)?, child)?;
                }
                (DSIG, _) => {
                    let what = "a container that is encrypted with a public key";
                    return Err(PskcError::Unsupported {
                        what,
                        at: child.at(),
                    });
                }
                _ => return Err(child.unexpected()),
            }
        }
        match derived {
            Some(_) if !names.is_empty() => {
                let what = "a key that is both derived and named";
                Err(PskcError::Unsupported {
                    what,
                    at: element.at(),
                })
            }
            Some(derivation) => Ok(Self::Password(derivation)),
            None => Ok(Self::PreShared(names)),
        }
    }
}

impl MacMethod {
    /// Parses a `MACMethod`. python-pskc writes one without an algorithm beside wrapped keys: it counts as none, so
    /// values that need an authentication code are rejected.
    fn read(element: Element<'_, '_>) -> Result<Option<Self>, PskcError> {
        let uri = element.attribute("Algorithm");
        let algorithm = uri
            .map(|uri| MacAlgorithm::of(uri, element.at()))
            .transpose()?;
        let mut key = None;
        for child in element.children()? {
            match (child.namespace(), child.name()) {
                (PSKC, "MACKey") => once(&mut key, SealedValue::read(child)?, child)?,
                _ => {
                    let what = "an authentication key from elsewhere";
                    return Err(PskcError::Unsupported {
                        what,
                        at: child.at(),
                    });
                }
            }
        }
        Ok(algorithm.map(|algorithm| Self { algorithm, key }))
    }
}

impl SealedKey {
    /// Parses a `KeyPackage`, which may contain a device and no key.
    fn read_package(element: Element<'_, '_>) -> Result<Option<Self>, PskcError> {
        let (mut device, mut module, mut key) = (None, None, None);
        for child in element.children()? {
            match (child.namespace(), child.name()) {
                (PSKC, "DeviceInfo") => once(&mut device, DeviceInfo::read(child)?, child)?,
                (PSKC, "CryptoModuleInfo") => once(&mut module, read_module(child)?, child)?,
                (PSKC, "Key") => once(&mut key, Self::read(child)?, child)?,
                (PSKC, "Extensions") => {}
                _ => return Err(child.unexpected()),
            }
        }
        Ok(key.map(|mut key: Self| {
            key.info.device = device.unwrap_or_default();
            key.info.crypto_module = module;
            key
        }))
    }

    fn read(element: Element<'_, '_>) -> Result<Self, PskcError> {
        let mut info = KeyInfo {
            id: String::from(element.needed("Id")?),
            algorithm: element.attribute("Algorithm").map(String::from),
            ..KeyInfo::default()
        };
        let (mut parameters, mut data) = (None, None);
        for child in element.children()? {
            let place = match (child.namespace(), child.name()) {
                (PSKC, "Issuer") => &mut info.issuer,
                (PSKC, "KeyProfileId") => &mut info.profile_id,
                (PSKC, "KeyReference") => &mut info.reference,
                (PSKC, "FriendlyName") => &mut info.friendly_name,
                (PSKC, "UserId") => &mut info.user_id,
                (PSKC, "AlgorithmParameters") => {
                    once(&mut parameters, (), child)?;
                    info.read_parameters(child)?;
                    continue;
                }
                (PSKC, "Data") => {
                    once(&mut data, SealedData::read(child)?, child)?;
                    continue;
                }
                (PSKC, "Policy") => {
                    once(&mut info.policy, Policy::read(child)?, child)?;
                    continue;
                }
                (PSKC, "Extensions") => continue,
                _ => return Err(child.unexpected()),
            };
            once(place, child.owned_text()?, child)?;
        }
        let data = data.unwrap_or_default();
        Ok(Self { info, data })
    }
}

fn read_module(element: Element<'_, '_>) -> Result<String, PskcError> {
    let mut id = None;
    for child in element.children()? {
        match (child.namespace(), child.name()) {
            (PSKC, "Id") => once(&mut id, child.owned_text()?, child)?,
            (PSKC, "Extensions") => {}
            _ => return Err(child.unexpected()),
        }
    }
    let missing = PskcError::MissingElement {
        name: "Id",
        at: element.at(),
    };
    id.ok_or(missing)
}

impl SealedValue {
    /// Parses an `xenc:EncryptedData`, under any element name.
    pub(crate) fn read(element: Element<'_, '_>) -> Result<Self, PskcError> {
        let (mut cipher, mut value) = (None, None);
        for child in element.children()? {
            match (child.namespace(), child.name()) {
                (xml::XENC, "EncryptionMethod") => once(&mut cipher, Cipher::read(child)?, child)?,
                (xml::XENC, "CipherData") => {
                    let child = child.only_child(xml::XENC, "CipherValue")?;
                    let bytes = child.base64()?;
                    once(&mut value, bytes.to_vec(), child)?;
                }
                _ => return Err(child.unexpected()),
            }
        }
        let missing = |name| PskcError::MissingElement {
            name,
            at: element.at(),
        };
        let cipher = cipher.ok_or(missing("EncryptionMethod"))?;
        let bytes = value.ok_or(missing("CipherData"))?;
        if !cipher.makes(bytes.len()) {
            return Err(PskcError::CipherValue { at: element.at() });
        }
        Ok(Self { cipher, bytes })
    }
}
