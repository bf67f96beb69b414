//! A whole store in one file: compressed, encrypted and authenticated under a key derived from the master key.
//!
//! ```text
//! "keyproof-backup\n"  16 bytes
//! format               1 byte: 1
//! length of the header 4 bytes, the highest first; at most 4,096
//! header               JSON: when it was made, a salt, the id of the master key, and optionally that key itself
//! tag of the header    32 bytes: HMAC-SHA-256 over all bytes before it
//! frames               index (8 bytes), last-frame mark (1), length (4), then AES-256-GCM over at most 64 KiB,
//!                      with those 13 bytes as associated data and the index as nonce
//! ```
//!
//! The concatenated frames are a raw deflate stream (RFC 1951) of records in key order. Each is `01`, length of the key
//! (2), the key, version (16), expiry in milliseconds since 1970 or 2^64-1 for none (8), length of the body (4), the
//! body. At the end come `00`, the number of records (8) and the SHA-256 of their [`Tally`]. The HMAC and AES keys are
//! derived from the master key by HKDF-SHA-256 with the header's salt. The salt is drawn anew for each backup, so no two
//! backups share a key, and a nonce is used once.
//!
//! [`BackupError`] distinguishes a backup that was cut, reordered or altered from one made under another master key.
//! The master key is included only on request, encrypted under a passphrase by Argon2id (RFC 9106).
//!
//! ```
//! # use std::sync::Arc;
//! # use keyproof_store::memory::MemoryEngine;
//! use keyproof_store::backup::{BackupHeader, BackupReader, BackupWriter};
//! use keyproof_store::{MasterKey, MasterKeys, Records, Store, SystemEntropy, Timestamp};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (engine, entropy, now) = (Arc::new(MemoryEngine::new()), Arc::new(SystemEntropy::new()), Timestamp::from_secs(1_700_000_000));
//! # let master_key = MasterKey::generate(&*entropy);
//! # let store = Store::open(engine, MasterKeys::new(&master_key), entropy.clone(), now).await?;
//! // Write to a file here, and sync it after `finish`.
//! let mut backup = BackupWriter::new(Vec::new(), &master_key, None, now, &*entropy)?;
//! let mut records = Records::new(store.snapshot().await?);
//! while let Some((key, row)) = records.next().await? {
//!     backup.record(&key, &row)?;
//! }
//! let (file, written) = backup.finish()?;
//!
//! let mut file = file.as_slice();
//! let head = BackupHeader::read(&mut file)?;
//! assert_eq!((head.made_at(), head.master_key()), (now, master_key.id()));
//! let mut backup = BackupReader::new(&head, file, &master_key)?;
//! while let Some((key, row)) = backup.next()? {
//!     println!("{key}: {} bytes", row.body.len()); // into an empty store with `Fill`
//! }
//! assert_eq!(backup.tally(), Some(written)); // none is missing
//! # Ok(())
//! # }
//! ```

mod frames;
mod passphrase;

use std::io::{self, ErrorKind, Read, Write};

use data_encoding::BASE64;
use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};
use ring::{
    hkdf::{HKDF_SHA256, KeyType, Salt},
    hmac,
};
use serde::{Deserialize, Serialize};

use self::{
    frames::{Opening, Sealing},
    passphrase::WrappedKey,
};
use crate::{
    Changes, Entropy, Key, KeyId, MasterKey, Row, Tally, TallyBuilder, Timestamp, Version,
};

const MAGIC: &[u8; 16] = b"keyproof-backup\n";
/// The format that this release writes, and the newest that it reads.
const FORMAT: u8 = 1;
const MAX_HEAD_LEN: usize = 4_096;
const TAG_LEN: usize = 32;
const SALT_LEN: usize = 32;

/// A record follows.
const RECORD: u8 = 1;
/// The end follows.
const END: u8 = 0;
/// In place of an expiry: there is none.
const NEVER: u64 = u64::MAX;

/// What is wrong with a backup. Positions are offsets in bytes from its start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// A frame was altered, or comes from another backup.
    #[error("the backup was altered between bytes {start} and {end}")]
    Altered {
        /// Where the frame begins.
        start: u64,
        /// Where it ends.
        end: u64,
    },
    /// The backup is incomplete.
    #[error("the backup is cut short: it ends at byte {at}")]
    Truncated {
        /// Its length.
        at: u64,
    },
    /// The header was altered.
    #[error("the backup's head was altered")]
    Header,
    /// The file cannot be read or written.
    #[error("{detail}")]
    Io {
        /// The system's message.
        detail: String,
    },
    /// The passphrase's key derivation would cost more than this release accepts.
    #[error(
        "the backup's passphrase key derivation sets {what} to {found}, but at most {most} is accepted"
    )]
    Cost {
        /// `memory in KiB`, `passes` or `lanes`.
        what: &'static str,
        /// The cost that the backup requires.
        found: u32,
        /// The maximum that is accepted.
        most: u32,
    },
    /// The contents are authentic but invalid: a bug in the program that wrote it.
    #[error("the backup's contents cannot be read: {what}, after {records} records")]
    Malformed {
        /// What is invalid.
        what: &'static str,
        /// How many records were read before it.
        records: u64,
    },
    /// The backup was made under another master key.
    #[error("the backup was made under master key {made}, but {given} was given")]
    MasterKey {
        /// The key that the backup names.
        made: KeyId,
        /// The key that was given.
        given: KeyId,
    },
    /// The backup was made by a later release.
    #[error("the backup has format {found}, but this release reads up to {FORMAT}")]
    NewerFormat {
        /// Its format.
        found: u8,
    },
    /// The backup does not contain the master key.
    #[error("the backup does not contain its master key {made}")]
    NoKey {
        /// The key that it was made under.
        made: KeyId,
    },
    /// The file is not a backup.
    #[error("this is not a keyproof backup")]
    NotABackup,
    /// The frames are in another order than they were written in.
    #[error(
        "the backup's parts are not in order: at byte {at} is part {found}, but part {expected} belongs there"
    )]
    OutOfOrder {
        /// Where the frame begins.
        at: u64,
        /// The index that was found, from 0.
        found: u64,
        /// The index that was expected.
        expected: u64,
    },
    /// The passphrase is wrong, or the included key was altered.
    #[error("this is not the passphrase of the master key in the backup")]
    Passphrase,
    /// There is data after the end.
    #[error("there is data after the backup's end at byte {at}")]
    Trailing {
        /// Where the backup ends.
        at: u64,
    },
}

impl From<io::Error> for BackupError {
    /// Unwraps the errors that `frames` passes through the decompressor.
    fn from(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(own) => own,
            // The frames are authentic, so the stream in them was written wrong.
            Err(error) if error.kind() == ErrorKind::InvalidInput => Self::Malformed {
                what: "the compressed stream",
                records: 0,
            },
            Err(error) => Self::Io {
                detail: error.to_string(),
            },
        }
    }
}

impl From<BackupError> for io::Error {
    fn from(error: BackupError) -> Self {
        Self::other(error)
    }
}

/// The header of a backup.
#[derive(Clone, Debug)]
pub struct BackupHeader {
    head: Header,
    /// As it was read, to verify its tag.
    bytes: Vec<u8>,
    tag: [u8; TAG_LEN],
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    /// In milliseconds since the Unix epoch.
    made_at: Timestamp,
    master_key: KeyId,
    salt: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wrapped_key: Option<WrappedKey>,
}

impl BackupHeader {
    /// Reads the header. It is unauthenticated until [`BackupReader::new`] verifies it with the master key.
    ///
    /// # Errors
    ///
    /// [`BackupError::NotABackup`], [`BackupError::NewerFormat`], [`BackupError::Truncated`], [`BackupError::Header`].
    pub fn read(input: &mut impl Read) -> Result<Self, BackupError> {
        let mut bytes = Vec::new();
        let mut take = |count: usize| {
            let start = bytes.len();
            let read = input.by_ref().take(count as u64).read_to_end(&mut bytes)?;
            if read == count {
                Ok(bytes.get(start..).unwrap_or_default().to_vec())
            } else {
                Err(BackupError::Truncated {
                    at: bytes.len() as u64,
                })
            }
        };
        match take(MAGIC.len()) {
            Ok(magic) if magic == MAGIC => {}
            Ok(_) | Err(BackupError::Truncated { .. }) => return Err(BackupError::NotABackup),
            Err(error) => return Err(error),
        }
        match take(1)?.as_slice() {
            [FORMAT] => {}
            [found] => return Err(BackupError::NewerFormat { found: *found }),
            _ => return Err(BackupError::Header),
        }
        let length = take(4)?.try_into().map_err(|_| BackupError::Header)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > MAX_HEAD_LEN {
            return Err(BackupError::Header);
        }
        let head = take(length)?;
        let head = serde_json::from_slice(&head).map_err(|_| BackupError::Header)?;
        let tag = take(TAG_LEN)?.try_into().map_err(|_| BackupError::Header)?;
        bytes.truncate(bytes.len() - TAG_LEN);
        Ok(Self { head, bytes, tag })
    }

    /// When the backup was made, by the clock of the machine that made it.
    pub fn made_at(&self) -> Timestamp {
        self.head.made_at
    }

    /// The id of the master key that it was made under, which is the store's.
    pub fn master_key(&self) -> KeyId {
        self.head.master_key
    }

    /// Whether the backup contains that key, encrypted under a passphrase.
    pub fn has_key(&self) -> bool {
        self.head.wrapped_key.is_some()
    }

    /// A name that is unique to this backup.
    pub fn name(&self) -> &str {
        &self.head.salt
    }

    /// Decrypts the master key that the backup contains.
    ///
    /// # Errors
    ///
    /// [`BackupError::NoKey`] if it contains none, [`BackupError::Passphrase`] if it cannot be decrypted, and
    /// [`BackupError::Cost`] if the key derivation would exceed the accepted cost; that is checked first.
    pub fn open_key(&self, passphrase: &[u8]) -> Result<MasterKey, BackupError> {
        let made = self.head.master_key;
        let wrapped = self.head.wrapped_key.as_ref();
        let key = wrapped
            .ok_or(BackupError::NoKey { made })?
            .open(made, passphrase)?;
        if key.id() == made {
            Ok(key)
        } else {
            Err(BackupError::Passphrase)
        }
    }
}

/// Writes a backup.
pub struct BackupWriter<W: Write> {
    deflate: DeflateEncoder<Sealing<W>>,
    counting: TallyBuilder,
}

impl<W: Write> BackupWriter<W> {
    /// Writes the header. With a passphrase, the backup contains `master_key`.
    ///
    /// # Errors
    ///
    /// [`BackupError::Io`].
    pub fn new(
        mut output: W,
        master_key: &MasterKey,
        passphrase: Option<&[u8]>,
        made_at: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<Self, BackupError> {
        let mut salt = [0; SALT_LEN];
        entropy.fill(&mut salt);
        let wrapped_key = passphrase
            .map(|passphrase| WrappedKey::seal(master_key, passphrase, entropy))
            .transpose()?;
        let head = Header {
            made_at,
            master_key: master_key.id(),
            salt: BASE64.encode(&salt),
            wrapped_key,
        };
        let head = serde_json::to_vec(&head).map_err(|_| BackupError::Header)?;
        let mut bytes = MAGIC.to_vec();
        bytes.push(FORMAT);
        // A header has a few hundred bytes.
        bytes.extend((head.len() as u32).to_be_bytes());
        bytes.extend(&head);
        let keys = Keys::derive(master_key, &salt)?;
        bytes.extend(hmac::sign(&keys.head, &bytes).as_ref());
        output.write_all(&bytes)?;
        let frames = Sealing::new(output, keys.frames);
        Ok(Self {
            deflate: DeflateEncoder::new(frames, Compression::default()),
            counting: TallyBuilder::new(),
        })
    }

    /// Writes one record. Records must be written in key order.
    ///
    /// # Errors
    ///
    /// [`BackupError::Io`].
    pub fn record(&mut self, key: &Key, row: &Row) -> Result<(), BackupError> {
        self.counting.add(key, row);
        let key = key.as_bytes();
        let mut before = Vec::with_capacity(key.len() + 31);
        before.push(RECORD);
        // A key has at most 1,024 bytes, a body at most a mebibyte.
        before.extend((key.len() as u16).to_be_bytes());
        before.extend(key);
        before.extend(row.version.as_bytes());
        let expires_at = row.expires_at.map_or(NEVER, Timestamp::as_millis);
        before.extend(expires_at.to_be_bytes());
        before.extend((row.body.len() as u32).to_be_bytes());
        self.deflate.write_all(&before)?;
        Ok(self.deflate.write_all(&row.body)?)
    }

    /// Writes the end. Returns the output, so that it can be synced.
    ///
    /// # Errors
    ///
    /// [`BackupError::Io`].
    pub fn finish(mut self) -> Result<(W, Tally), BackupError> {
        let tally = self.counting.finish();
        let mut end = vec![END];
        end.extend(tally.records.to_be_bytes());
        end.extend(tally.digest);
        self.deflate.write_all(&end)?;
        let output = self.deflate.finish()?.finish()?;
        Ok((output, tally))
    }
}

/// Reads the records of a backup.
///
/// Each returned record is authentic. That none is missing is certain only once [`BackupReader::next`] has returned
/// `None`.
pub struct BackupReader<R: Read> {
    inflate: DeflateDecoder<Opening<R>>,
    counting: TallyBuilder,
    last: Option<Key>,
    tally: Option<Tally>,
}

impl<R: Read> BackupReader<R> {
    /// Creates a reader for the backup whose header was read from `input`.
    ///
    /// # Errors
    ///
    /// [`BackupError::MasterKey`] names the key that is needed; [`BackupError::Header`].
    pub fn new(head: &BackupHeader, input: R, master_key: &MasterKey) -> Result<Self, BackupError> {
        let (made, given) = (head.head.master_key, master_key.id());
        if made != given {
            return Err(BackupError::MasterKey { made, given });
        }
        let salt = BASE64.decode(head.head.salt.as_bytes());
        let salt = salt.map_err(|_| BackupError::Header)?;
        let keys = Keys::derive(master_key, &salt)?;
        hmac::verify(&keys.head, &head.bytes, &head.tag).map_err(|_| BackupError::Header)?;
        let start = head.bytes.len() + TAG_LEN;
        let frames = Opening::new(input, keys.frames, start as u64);
        Ok(Self {
            inflate: DeflateDecoder::new(frames),
            counting: TallyBuilder::new(),
            last: None,
            tally: None,
        })
    }

    /// Returns the next record, in key order; `None` after the last one, once it is certain that none is missing.
    ///
    /// # Errors
    ///
    /// See [`BackupError`].
    #[expect(
        clippy::should_implement_trait,
        reason = "most adapters call an iterator again after an error"
    )]
    pub fn next(&mut self) -> Result<Option<(Key, Row)>, BackupError> {
        if self.tally.is_some() {
            return Ok(None);
        }
        match self.bytes::<1>("a mark")? {
            [RECORD] => self.record().map(Some),
            [END] => {
                self.end()?;
                Ok(None)
            }
            _ => Err(self.malformed("a mark")),
        }
    }

    /// Returns the tally of all records, once they have been read.
    pub fn tally(&self) -> Option<Tally> {
        self.tally
    }

    fn record(&mut self) -> Result<(Key, Row), BackupError> {
        let length = usize::from(u16::from_be_bytes(self.bytes("a key's length")?));
        if length > Key::MAX_LEN {
            return Err(self.malformed("a key's length"));
        }
        let key = self.take(length, "a key")?;
        let key = Key::from_bytes(&key).map_err(|_| self.malformed("a key"))?;
        if self.last.as_ref().is_some_and(|last| *last >= key) {
            return Err(self.malformed("the order of keys"));
        }
        let version = Version::from_bytes(self.bytes("a version")?);
        let expires_at = match u64::from_be_bytes(self.bytes("an expiry")?) {
            NEVER => None,
            millis => Some(Timestamp::from_millis(millis)),
        };
        let length = u32::from_be_bytes(self.bytes("a body's length")?) as usize;
        if length > Changes::MAX_BODY_LEN {
            return Err(self.malformed("a body's length"));
        }
        let row = Row {
            version,
            body: self.take(length, "a body")?.into(),
            expires_at,
        };
        self.counting.add(&key, &row);
        self.last = Some(key.clone());
        Ok((key, row))
    }

    /// Reads the end, and checks that nothing follows it, neither in the stream nor in the file.
    fn end(&mut self) -> Result<(), BackupError> {
        let records = u64::from_be_bytes(self.bytes("the end")?);
        let digest: [u8; 32] = self.bytes("the end")?;
        let tally = self.counting.clone().finish();
        if (records, digest) != (tally.records, tally.digest) {
            return Err(self.malformed("the number of records"));
        }
        if self.inflate.read(&mut [0])? != 0 {
            return Err(self.malformed("something after the end"));
        }
        self.inflate.get_mut().end()?;
        self.tally = Some(tally);
        Ok(())
    }

    fn bytes<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], BackupError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    /// `length` must have been checked.
    fn take(&mut self, length: usize, what: &'static str) -> Result<Vec<u8>, BackupError> {
        let mut bytes = vec![0; length];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8], what: &'static str) -> Result<(), BackupError> {
        match self.inflate.read_exact(bytes) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(self.malformed(what)),
            Err(error) => Err(match error.into() {
                BackupError::Malformed { what, .. } => self.malformed(what),
                other => other,
            }),
        }
    }

    fn malformed(&self, what: &'static str) -> BackupError {
        BackupError::Malformed {
            what,
            records: self.counting.records(),
        }
    }
}

impl<W: Write> std::fmt::Debug for BackupWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackupWriter")
            .field("counting", &self.counting)
            .finish_non_exhaustive()
    }
}

impl<R: Read> std::fmt::Debug for BackupReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackupReader")
            .field("counting", &self.counting)
            .finish_non_exhaustive()
    }
}

/// The two keys of one backup.
struct Keys {
    head: hmac::Key,
    frames: ring::aead::UnboundKey,
}

impl Keys {
    fn derive(master_key: &MasterKey, salt: &[u8]) -> Result<Self, BackupError> {
        /// A key as long as the hash's output, for HMAC-SHA-256.
        struct HeadKey;
        impl KeyType for HeadKey {
            fn len(&self) -> usize {
                TAG_LEN
            }
        }
        let drawn = Salt::new(HKDF_SHA256, salt).extract(master_key.as_bytes());
        let mut head = zeroize::Zeroizing::new([0; TAG_LEN]);
        let expanded = drawn
            .expand(&[b"keyproof backup 1: head"], HeadKey)
            .and_then(|key| key.fill(&mut *head));
        expanded.map_err(|_| BackupError::Header)?;
        let frames = drawn
            .expand(&[b"keyproof backup 1: frames"], &ring::aead::AES_256_GCM)
            .map_err(|_| BackupError::Header)?;
        Ok(Self {
            head: hmac::Key::new(hmac::HMAC_SHA256, &*head),
            frames: frames.into(),
        })
    }
}
