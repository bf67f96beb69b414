//! Everything stored at one moment: read in pages, counted, and compared.

#[cfg(any(feature = "postgres", feature = "sqlite"))]
use std::time::Duration;

use ring::digest::{Context, SHA256};

use crate::{BoxFuture, EngineError, Key, Row};

/// Everything that an engine stores, as of one moment, while this exists.
///
/// Later commits are not visible in it. It occupies a connection of the engine, and the database keeps replaced data as
/// long as it exists, so drop it as soon as it has been read. An engine for which that is expensive ends a snapshot
/// whose pages were not read for an hour; reading it then fails.
pub trait EngineSnapshot: Send {
    /// Returns the records after `after` in key order, including expired ones. The result is empty at the end.
    /// Otherwise it has at least one record, and ends once keys and bodies reach `bytes` bytes or [`PAGE_ROWS`]
    /// records.
    fn page<'a>(
        &'a mut self,
        after: Option<&'a Key>,
        bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<(Key, Row)>, EngineError>>;
}

/// The maximum number of records in a page.
pub const PAGE_ROWS: usize = 1_024;

/// How much of a store is in memory at once when all of it is read, in bytes of keys and bodies. A page exceeds it by
/// at most one record.
pub const PAGE_BYTES: usize = 1 << 20;

/// How long an engine keeps a state that is not being read, since the target of a backup may hang, and its reader with
/// it.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(60 * 60);

/// The number of records and their digest. Two stores with the same tally have the same records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// How many records.
    pub records: u64,
    /// Bytes of keys and bodies.
    pub bytes: u64,
    /// A SHA-256 over keys, versions, expiries and bodies, in key order.
    pub digest: [u8; 32],
}

/// Computes a [`Tally`].
#[derive(Clone)]
pub struct TallyBuilder {
    records: u64,
    bytes: u64,
    digest: Context,
}

impl TallyBuilder {
    /// Starts without records.
    pub fn new() -> Self {
        Self {
            records: 0,
            bytes: 0,
            digest: Context::new(&SHA256),
        }
    }

    /// Adds one record. Records must be added in key order.
    pub fn add(&mut self, key: &Key, row: &Row) {
        let key = key.as_bytes();
        self.records += 1;
        self.bytes += size(key, row);
        // Each part is prefixed with its length, so that different records never hash the same input.
        for part in [key, row.version.as_bytes().as_slice(), &row.body] {
            self.digest.update(&(part.len() as u64).to_be_bytes());
            self.digest.update(part);
        }
        // No expiry is later than this.
        let expires_at = row.expires_at.map_or(u64::MAX, |at| at.as_millis());
        self.digest.update(&expires_at.to_be_bytes());
    }

    /// How many records were added.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Returns the tally.
    pub fn finish(self) -> Tally {
        let mut digest = [0; 32];
        digest.copy_from_slice(self.digest.finish().as_ref());
        Tally {
            records: self.records,
            bytes: self.bytes,
            digest,
        }
    }
}

impl Default for TallyBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for TallyBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TallyBuilder")
            .field("records", &self.records)
            .finish_non_exhaustive()
    }
}

/// Collects rows, given one by one in key order, until a page is full.
pub(crate) struct Page {
    rows: Vec<(Key, Row)>,
    left: usize,
}

impl Page {
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            rows: Vec::new(),
            left: bytes,
        }
    }

    /// Adds a row. Returns whether there is room for another.
    pub(crate) fn push(&mut self, key: Key, row: Row) -> bool {
        let size = usize::try_from(size(key.as_bytes(), &row)).unwrap_or(usize::MAX);
        self.left = self.left.saturating_sub(size);
        self.rows.push((key, row));
        self.left > 0 && self.rows.len() < PAGE_ROWS
    }

    pub(crate) fn into_rows(self) -> Vec<(Key, Row)> {
        self.rows
    }
}

fn size(key: &[u8], row: &Row) -> u64 {
    (key.len() + row.body.len()) as u64
}

/// Reads a snapshot record by record, and releases it at the end.
///
/// ```
/// # use std::sync::Arc;
/// # use keyproof_store::memory::MemoryEngine;
/// # use keyproof_store::{TallyBuilder, MasterKey, MasterKeys, Records, Store, SystemEntropy, Timestamp};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (engine, entropy) = (Arc::new(MemoryEngine::new()), Arc::new(SystemEntropy::new()));
/// # let (keys, now) = (MasterKeys::new(&MasterKey::generate(&*entropy)), Timestamp::from_secs(1_700_000_000));
/// # let store = Store::open(engine, keys, entropy, now).await?;
/// let mut records = Records::new(store.snapshot().await?);
/// let mut counting = TallyBuilder::new();
/// while let Some((key, row)) = records.next().await? {
///     counting.add(&key, &row);
/// }
/// assert_eq!(counting.finish().records, 1); // an empty store has the record of its master key
/// # Ok(())
/// # }
/// ```
pub struct Records {
    snapshot: Option<Box<dyn EngineSnapshot>>,
    page: std::vec::IntoIter<(Key, Row)>,
    last: Option<Key>,
}

impl Records {
    /// Starts at the first record.
    pub fn new(snapshot: Box<dyn EngineSnapshot>) -> Self {
        Self {
            snapshot: Some(snapshot),
            page: Vec::new().into_iter(),
            last: None,
        }
    }

    /// Returns the next record, in key order; `None` after the last.
    ///
    /// # Errors
    ///
    /// If the engine fails.
    pub async fn next(&mut self) -> Result<Option<(Key, Row)>, EngineError> {
        if let Some(record) = self.page.next() {
            return Ok(Some(record));
        }
        let Some(snapshot) = &mut self.snapshot else {
            return Ok(None);
        };
        let page = snapshot.page(self.last.as_ref(), PAGE_BYTES).await?;
        match page.last() {
            Some((key, _)) => self.last = Some(key.clone()),
            None => self.snapshot = None,
        }
        self.page = page.into_iter();
        Ok(self.page.next())
    }
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Records")
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}
