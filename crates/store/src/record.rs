//! Conversion between records and bodies: JSON that contains its type and version.

use std::sync::Arc;

use itoa::Buffer;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{Body, Entropy, Key, NotApplied, Row, StoreError, Timestamp, Version};

/// A type of record, stored as JSON.
///
/// A release that changes the JSON increases [`Record::VERSION`], and [`Record::upgrade`] must convert every version
/// that may still be in a store.
///
/// ```
/// use keyproof_store::{Record, Sealed};
///
/// #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// struct Device {
///     name: String,
///     /// From `Store::seal`: unreadable without the master key.
///     secret: Sealed,
/// }
///
/// impl Record for Device {
///     const TYPE: &'static str = "device";
///     const VERSION: u32 = 1;
/// }
/// ```
pub trait Record: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The name under which it is stored. Unlike the Rust type's, it never changes.
    const TYPE: &'static str;
    /// The version of the JSON that this release writes.
    const VERSION: u32;

    /// Converts data of version `from`, which is less than [`Record::VERSION`], to the current version. Returns `None`
    /// if that is impossible.
    ///
    /// ```
    /// use keyproof_store::{Record, serde_json::Value};
    ///
    /// #[derive(Clone, serde::Serialize, serde::Deserialize)]
    /// struct Device { uses: u64, name: String }
    ///
    /// impl Record for Device {
    ///     const TYPE: &'static str = "device";
    ///     const VERSION: u32 = 2; // version 1 had no name
    ///
    ///     fn upgrade(from: u32, mut data: Value) -> Option<Value> {
    ///         if from == 1 {
    ///             data.as_object_mut()?.insert("name".to_owned(), "unnamed".into());
    ///         }
    ///         Some(data)
    ///     }
    /// }
    /// ```
    fn upgrade(from: u32, data: serde_json::Value) -> Option<serde_json::Value> {
        let _ = (from, data);
        None
    }
}

/// A record, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored<R> {
    /// The record itself.
    pub record: R,
    /// Its version.
    pub version: Version,
    /// When it expires, if ever.
    pub expires_at: Option<Timestamp>,
}

/// A record, as it was read, before decoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    key: Key,
    row: Row,
}

impl Raw {
    /// The record's key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Its version.
    pub fn version(&self) -> Version {
        self.row.version
    }

    /// When it expires, if ever.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.row.expires_at
    }

    /// The body: `{"type": …, "v": …, "data": …}` in UTF-8.
    pub fn json(&self) -> &[u8] {
        &self.row.body
    }

    /// The [`Record::TYPE`] in the record.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotARecord`] if the body was not written by a [`Batch`](crate::Batch).
    pub(crate) fn record_type(&self) -> Result<String, StoreError> {
        Ok(self.body()?.kind)
    }

    /// Decodes the record as an `R`, and upgrades it if necessary.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`] but [`StoreError::Engine`].
    pub fn decode<R: Record>(&self) -> Result<Stored<R>, StoreError> {
        let Stored {
            record,
            version,
            expires_at,
        } = self.decode_shared()?;
        Ok(Stored {
            record: Arc::unwrap_or_clone(record),
            version,
            expires_at,
        })
    }

    /// Like [`Raw::decode`], for read-only use: all readers of a record that is cached in memory share one value.
    ///
    /// # Errors
    ///
    /// As for [`Raw::decode`].
    pub fn decode_shared<R: Record>(&self) -> Result<Stored<Arc<R>>, StoreError> {
        let record = match self.row.body.as_read::<R>() {
            Some(record) => record,
            None => self.read()?,
        };
        Ok(Stored {
            record,
            version: self.row.version,
            expires_at: self.row.expires_at,
        })
    }

    fn read<R: Record>(&self) -> Result<Arc<R>, StoreError> {
        let record = match self.written_now::<R>() {
            Some(record) => record,
            None => self.decode_any()?,
        };
        let record = Arc::new(record);
        self.row.body.keep(&record);
        Ok(record)
    }

    /// Decodes the record in one pass, if it is written exactly as this release writes an `R`.
    fn written_now<R: Record>(&self) -> Option<R> {
        let data = self
            .row
            .body
            .strip_prefix(br#"{"type":""#)?
            .strip_prefix(R::TYPE.as_bytes())?
            .strip_prefix(br#"","v":"#)?
            .strip_prefix(Buffer::new().format(R::VERSION).as_bytes())?
            .strip_prefix(br#","data":"#)?
            .strip_suffix(b"}")?;
        serde_json::from_slice(data).ok()
    }

    /// Decodes any record, or returns what is wrong with it.
    fn decode_any<R: Record>(&self) -> Result<R, StoreError> {
        let Envelope {
            kind,
            version,
            data,
        } = self.body()?;
        if kind != R::TYPE {
            return Err(StoreError::WrongType {
                key: self.key.clone(),
                expected: R::TYPE,
                found: kind,
            });
        }
        let malformed = |error: serde_json::Error| StoreError::Malformed {
            key: self.key.clone(),
            kind: R::TYPE.to_owned(),
            version,
            column: error.column(),
        };
        if version == R::VERSION {
            serde_json::from_str(data.get()).map_err(malformed)
        } else if version > R::VERSION {
            Err(StoreError::NewerVersion {
                key: self.key.clone(),
                kind,
                found: version,
                known: R::VERSION,
            })
        } else {
            let old = serde_json::from_str(data.get()).map_err(malformed)?;
            let new = R::upgrade(version, old).ok_or_else(|| StoreError::NoUpgrade {
                key: self.key.clone(),
                kind,
                found: version,
                known: R::VERSION,
            })?;
            serde_json::from_value(new).map_err(malformed)
        }
    }

    /// Creates a record from an engine's row.
    pub fn from_row(key: Key, row: Row) -> Self {
        Self { key, row }
    }

    /// The engine's row of the record.
    pub fn row(&self) -> &Row {
        &self.row
    }

    /// Returns the same record with `record` as its data, under a version that was never used before.
    ///
    /// # Errors
    ///
    /// [`NotApplied::NotSerializable`] if it cannot be serialised.
    pub fn rewritten<R: Record>(
        self,
        record: &R,
        entropy: &dyn Entropy,
    ) -> Result<Self, NotApplied> {
        let row = Row {
            version: Version::random(entropy),
            body: to_body(record)?,
            expires_at: self.row.expires_at,
        };
        Ok(Self { key: self.key, row })
    }

    /// Returns the key and the engine's row.
    pub fn into_parts(self) -> (Key, Row) {
        (self.key, self.row)
    }

    fn body(&self) -> Result<Envelope<'_>, StoreError> {
        serde_json::from_slice(&self.row.body).map_err(|_| StoreError::NotARecord {
            key: self.key.clone(),
        })
    }
}

/// Returns the body of `record`. Fails only if its `Serialize` does.
pub(crate) fn to_body<R: Record>(record: &R) -> Result<Body, NotApplied> {
    let mut body = Vec::new();
    let (entry, kind) = (0, R::TYPE);
    write_body(&mut body, record).map_err(|_| NotApplied::NotSerializable { entry, kind })?;
    Ok(body.into())
}

/// Writes the body of `record`. Fails only if its `Serialize` does.
pub(crate) fn write_body<R: Record>(
    body: &mut Vec<u8>,
    record: &R,
) -> Result<(), serde_json::Error> {
    #[derive(Serialize)]
    struct Envelope<'a, R> {
        #[serde(rename = "type")]
        kind: &'static str,
        #[serde(rename = "v")]
        version: u32,
        data: &'a R,
    }
    let envelope = Envelope {
        kind: R::TYPE,
        version: R::VERSION,
        data: record,
    };
    serde_json::to_writer(body, &envelope)
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "v")]
    version: u32,
    #[serde(borrow)]
    data: &'a RawValue,
}
