//! Sealing: AES-256-GCM under a master key, bound to the record and the field.

use std::fmt;

use data_encoding::BASE64;
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest::{Context, SHA256},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use zeroize::Zeroizing;

use crate::{Entropy, Key, UnsealError, hex::hexadecimal};

/// The id of a master key: the first 64 bits of a SHA-256 over a label and the key.
///
/// It is not secret. Its text form is 16 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 8]);

hexadecimal!(KeyId, 8, ParseKeyIdError);

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// A text that is not 16 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a master key's id is 16 lower-case hexadecimal digits")]
pub struct ParseKeyIdError;

/// The 256-bit key that seals a store's secrets. Zeroized on drop, never printed.
///
/// ```
/// use keyproof_store::{KeyId, MasterKey, SystemEntropy};
///
/// let key = MasterKey::generate(&SystemEntropy::new());
/// let kept = MasterKey::from_bytes(key.as_bytes()).ok_or("32 bytes")?;
/// assert_eq!(kept.id(), key.id());
/// assert_eq!(key.id().to_string().parse::<KeyId>()?, key.id()); // not secret: it identifies the key in logs
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; Self::LEN]>);

impl MasterKey {
    /// Length of a master key, in bytes.
    pub const LEN: usize = 32;

    /// Generates a new key.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut bytes = Zeroizing::new([0; Self::LEN]);
        entropy.fill(&mut *bytes);
        Self(bytes)
    }

    /// Creates a key from stored bytes; `None` unless there are exactly 32.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut key = Zeroizing::new([0; Self::LEN]);
        if bytes.len() != Self::LEN {
            return None;
        }
        key.copy_from_slice(bytes);
        Some(Self(key))
    }

    /// The bytes to store; keep them secret.
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// The id of this key.
    pub fn id(&self) -> KeyId {
        let mut context = Context::new(&SHA256);
        context.update(b"keyproof master key id\0");
        context.update(&*self.0);
        let mut id = [0; 8];
        id.iter_mut()
            .zip(context.finish().as_ref())
            .for_each(|(to, from)| *to = *from);
        KeyId(id)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.id())
    }
}

/// The master keys that were given to a process. The store names the one that seals; in an empty store it is the first.
///
/// AES-GCM with random nonces bounds one key to 2^32 seals (NIST SP 800-38D section 8.3): rotate
/// long before.
///
/// ```
/// use keyproof_store::{MasterKey, MasterKeys, SystemEntropy};
///
/// let entropy = SystemEntropy::new();
/// let (old, new) = (MasterKey::generate(&entropy), MasterKey::generate(&entropy));
/// let keys = MasterKeys::new(&old).with(&new); // as during a rotation
/// assert_eq!(keys.with(&new).ids(), [old.id(), new.id()]);
/// ```
#[derive(Clone)]
pub struct MasterKeys {
    first: Prepared,
    others: Vec<Prepared>,
}

impl MasterKeys {
    /// Starts with this key.
    pub fn new(first: &MasterKey) -> Self {
        Self {
            first: Prepared::new(first),
            others: Vec::new(),
        }
    }

    /// Adds another key, unless it is there already.
    #[must_use = "only what it returns contains the key"]
    pub fn with(mut self, other: &MasterKey) -> Self {
        if !self.has(other.id()) {
            self.others.push(Prepared::new(other));
        }
        self
    }

    /// The ids of all keys, in their order.
    pub fn ids(&self) -> Vec<KeyId> {
        self.all().map(|key| key.id).collect()
    }

    /// Whether the key with this id was given.
    pub(crate) fn has(&self, id: KeyId) -> bool {
        self.get(id).is_some()
    }

    pub(crate) fn first(&self) -> KeyId {
        self.first.id
    }

    /// Returns the key with this id, or the first if it was not given.
    pub(crate) fn get_or_first(&self, id: KeyId) -> &Prepared {
        self.get(id).unwrap_or(&self.first)
    }

    pub(crate) fn open(
        &self,
        key: &Key,
        field: &str,
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, UnsealError> {
        let master = sealed.master;
        let Some(opener) = self.get(master) else {
            let key = key.clone();
            return Err(UnsealError::UnknownMasterKey { key, master });
        };
        let mut data = Zeroizing::new(sealed.data.clone());
        let nonce = Nonce::assume_unique_for_key(sealed.nonce);
        let aad = Aad::from(associated_data(key, field));
        let Ok(plaintext) = opener.key.open_in_place(nonce, aad, &mut data) else {
            let key = key.clone();
            return Err(UnsealError::Inauthentic { key, master });
        };
        let len = plaintext.len();
        data.truncate(len);
        Ok(data)
    }

    fn get(&self, id: KeyId) -> Option<&Prepared> {
        self.all().find(|key| key.id == id)
    }

    fn all(&self) -> impl Iterator<Item = &Prepared> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

impl fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MasterKeys").field(&self.ids()).finish()
    }
}

#[derive(Clone)]
pub(crate) struct Prepared {
    id: KeyId,
    key: LessSafeKey,
}

impl Prepared {
    fn new(key: &MasterKey) -> Self {
        let unbound = UnboundKey::new(&AES_256_GCM, key.as_bytes());
        #[expect(
            clippy::expect_used,
            reason = "ring refuses only keys of another length"
        )]
        let unbound = unbound.expect("a master key has the 32 bytes of AES-256");
        Self {
            id: key.id(),
            key: LessSafeKey::new(unbound),
        }
    }

    pub(crate) fn seal(
        &self,
        entropy: &dyn Entropy,
        key: &Key,
        field: &str,
        plaintext: &[u8],
    ) -> Sealed {
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce);
        let mut data = Vec::with_capacity(plaintext.len().saturating_add(AES_256_GCM.tag_len()));
        data.extend_from_slice(plaintext);
        let sealed = self.key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(associated_data(key, field)),
            &mut data,
        );
        #[expect(
            clippy::expect_used,
            reason = "ring refuses only plaintexts of 2^36 bytes and more"
        )]
        sealed.expect("the plaintext is shorter than 64 GiB");
        Sealed {
            field: field.to_owned(),
            master: self.id,
            nonce,
            data,
        }
    }
}

/// The length of the key is included, so bytes cannot shift between key and field.
fn associated_data(key: &Key, field: &str) -> Vec<u8> {
    let key = key.as_bytes();
    let mut data = Vec::with_capacity(key.len() + field.len() + 2);
    // A key has at most 1,024 bytes, so two bytes can represent its length.
    data.extend((key.len() as u16).to_be_bytes());
    data.extend(key);
    data.extend(field.as_bytes());
    data
}

/// A secret, as it is stored in a record.
///
/// Its JSON is an object with the single member `$sealed`, by which [`Store::reseal_all`](crate::Store::reseal_all)
/// finds it without knowing the record's type. So no record may contain a map whose keys are chosen by others, unless
/// the keys cannot start with `$`.
///
/// ```
/// # use std::sync::Arc;
/// # use keyproof_store::memory::MemoryEngine;
/// # use keyproof_store::{Key, MasterKey, MasterKeys, Store, SystemEntropy, Timestamp};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (engine, entropy) = (Arc::new(MemoryEngine::new()), Arc::new(SystemEntropy::new()));
/// # let (keys, now) = (MasterKeys::new(&MasterKey::generate(&*entropy)), Timestamp::from_secs(1_700_000_000));
/// # let store = Store::open(engine, keys, entropy, now).await?;
/// let (hers, his) = (Key::new("user", ["ada"]), Key::new("user", ["ben"]));
/// let sealed = store.seal(&hers, "secret", b"12345");
/// assert_eq!(store.unseal(&hers, "secret", &sealed)?.as_slice(), b"12345");
/// assert!(store.unseal(&his, "secret", &sealed).is_err()); // moving it to another record makes it useless
/// assert_eq!(sealed.master_key(), store.sealing_key());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    field: String,
    master: KeyId,
    nonce: [u8; NONCE_LEN],
    data: Vec<u8>,
}

impl Sealed {
    /// The field that it claims to belong to. It is authentic only once it has been opened.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// The master key that it claims to be sealed under.
    pub fn master_key(&self) -> KeyId {
        self.master
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} under {})", self.field, self.master)
    }
}

impl Serialize for Sealed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let envelope = Envelope {
            sealed: EnvelopeMembers {
                field: self.field.as_str(),
                key: self.master,
                nonce: Octets(&self.nonce),
                data: Octets(&self.data),
            },
        };
        envelope.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Sealed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Envelope {
            sealed:
                EnvelopeMembers {
                    field,
                    key,
                    nonce,
                    data,
                },
        } = Envelope::<String, String>::deserialize(deserializer)?;
        let bytes = |text: String| {
            BASE64
                .decode(text.as_bytes())
                .map_err(|_| D::Error::custom("not Base64"))
        };
        let nonce = bytes(nonce)?
            .try_into()
            .map_err(|_| D::Error::custom("a nonce has 12 bytes"))?;
        Ok(Self {
            field,
            master: key,
            nonce,
            data: bytes(data)?,
        })
    }
}

/// `F` is the type of the field's name, and `O` that of octets as written or read.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<F, O> {
    #[serde(rename = "$sealed")]
    sealed: EnvelopeMembers<F, O>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvelopeMembers<F, O> {
    field: F,
    key: KeyId,
    nonce: O,
    data: O,
}

/// Octets that are serialised as Base64.
struct Octets<'a>(&'a [u8]);

impl Serialize for Octets<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&BASE64.encode_display(self.0))
    }
}
