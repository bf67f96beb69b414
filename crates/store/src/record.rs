//! How a record becomes a body and a body a record: JSON that names its type and version.

use std::sync::Arc;

use itoa::Buffer;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{Entropy, Key, NotApplied, Row, StoreError, Timestamp, Version};

/// A type of record, kept as JSON.
///
/// A release that changes the JSON raises [`Record::VERSION`] and teaches [`Record::upgrade`] every
/// version that may still be in a store.
///
/// ```
/// use keyproof_store::{Record, Sealed};
///
/// #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// struct Device {
///     name: String,
///     /// Of `Store::seal`: nobody reads it without the master key.
///     secret: Sealed,
/// }
///
/// impl Record for Device {
///     const TYPE: &'static str = "device";
///     const VERSION: u32 = 1;
/// }
/// ```
pub trait Record: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The name under which it is stored: fixed for ever, unlike the Rust type's.
    const TYPE: &'static str;
    /// The version of the JSON that this release writes.
    const VERSION: u32;

    /// The data of version `from`, which is less than [`Record::VERSION`], brought up to it; `None`
    /// if that cannot be done.
    ///
    /// ```
    /// use keyproof_store::{Record, serde_json::Value};
    ///
    /// #[derive(Clone, serde::Serialize, serde::Deserialize)]
    /// struct Device { uses: u64, name: String }
    ///
    /// impl Record for Device {
    ///     const TYPE: &'static str = "device";
    ///     const VERSION: u32 = 2; // 1 had no name
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

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored<R> {
    /// The record itself.
    pub record: R,
    /// The state it was in.
    pub version: Version,
    /// From when on it is absent, if ever.
    pub expires_at: Option<Timestamp>,
}

/// A record as it was read, before anything is asked about its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    key: Key,
    row: Row,
}

impl Raw {
    /// Where the record is.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The state it was in.
    pub fn version(&self) -> Version {
        self.row.version
    }

    /// From when on it is absent, if ever.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.row.expires_at
    }

    /// The body: `{"type": …, "v": …, "data": …}` in UTF-8.
    pub fn json(&self) -> &[u8] {
        &self.row.body
    }

    /// The [`Record::TYPE`] that the record names.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotARecord`] if the body is nothing a [`Batch`](crate::Batch) wrote.
    pub fn record_type(&self) -> Result<String, StoreError> {
        Ok(self.body()?.kind)
    }

    /// The record as an `R`, brought up to date if need be.
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

    /// The same for whoever only looks at it: all who read a record that is kept in memory share one.
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

    /// The record, if it stands there exactly as this release writes an `R`: read in one pass.
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

    /// The record, whatever it is, or what is wrong with it.
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

    /// A record as an engine keeps it.
    pub fn from_row(key: Key, row: Row) -> Self {
        Self { key, row }
    }

    /// The row that an engine keeps of it.
    pub fn row(&self) -> &Row {
        &self.row
    }

    /// The same record in another state: `record` in place of what it was, under a version never used before.
    ///
    /// # Errors
    ///
    /// [`NotApplied::NotSerializable`] if it cannot be written as JSON.
    pub fn rewritten<R: Record>(
        self,
        record: &R,
        entropy: &dyn Entropy,
    ) -> Result<Self, NotApplied> {
        let body = to_body(record).map_err(|_| NotApplied::NotSerializable {
            entry: 0,
            kind: R::TYPE,
        })?;
        let row = Row {
            version: Version::draw(entropy),
            body: body.into(),
            expires_at: self.row.expires_at,
        };
        Ok(Self { key: self.key, row })
    }

    /// Its key, and the row that an engine keeps of it.
    pub fn into_parts(self) -> (Key, Row) {
        (self.key, self.row)
    }

    fn body(&self) -> Result<Envelope<'_>, StoreError> {
        serde_json::from_slice(&self.row.body).map_err(|_| StoreError::NotARecord {
            key: self.key.clone(),
        })
    }
}

/// The body of `record`, unless its `Serialize` fails.
pub(crate) fn to_body<R: Record>(record: &R) -> Result<Vec<u8>, serde_json::Error> {
    let mut body = Vec::new();
    write_body(&mut body, record)?;
    Ok(body)
}

/// Writes the body of `record`, unless its `Serialize` fails.
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
