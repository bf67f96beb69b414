//! All that is stored, as it is at one moment: read in pages, counted, and compared.

#[cfg(any(feature = "postgres", feature = "sqlite"))]
use std::time::Duration;

use ring::digest::{Context, SHA256};

use crate::{BoxFuture, EngineError, Key, Row};

/// Everything that an engine stores, as it is at one moment, for as long as this lives.
///
/// Whatever is committed meanwhile is not in it. It costs the engine a connection, and the database the space of what is
/// replaced meanwhile: it is not to be kept longer than reading it takes. Where that is much, the engine gives it up once nobody
/// has asked for a page for an hour, and no page of it comes after that.
pub trait EngineSnapshot: Send {
    /// The records after `after` in key order, expired ones included: none at the end, and otherwise at least one, and no more
    /// once they take `bytes` bytes of keys and bodies or are [`PAGE_ROWS`].
    fn page<'a>(
        &'a mut self,
        after: Option<&'a Key>,
        bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<(Key, Row)>, EngineError>>;
}

/// The most records of one page.
pub const PAGE_ROWS: usize = 1_024;

/// How much of a store is held in memory at once where all of it is read, in bytes of keys and bodies. A page exceeds it by at
/// most one record.
pub const PAGE_BYTES: usize = 1 << 20;

/// How long an engine keeps a state that nobody reads from: where a backup goes may hang, and its reader with it.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(60 * 60);

/// How many records there are, and what they are: two stores with the same tally have the same records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub records: u64,
    /// Bytes of keys and bodies.
    pub bytes: u64,
    /// A SHA-256 over keys, versions, expiries and bodies, in key order.
    pub digest: [u8; 32],
}

/// A [`Tally`] that is being made.
#[derive(Clone)]
pub struct Counting {
    records: u64,
    bytes: u64,
    digest: Context,
}

impl Counting {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self {
            records: 0,
            bytes: 0,
            digest: Context::new(&SHA256),
        }
    }

    /// Takes one more record, which must be after the last in key order.
    pub fn add(&mut self, key: &Key, row: &Row) {
        let key = key.as_bytes();
        self.records += 1;
        self.bytes += size(key, row);
        // Lengths first, so that no two lists of records read alike.
        for part in [key, row.version.as_bytes().as_slice(), &row.body] {
            self.digest.update(&(part.len() as u64).to_be_bytes());
            self.digest.update(part);
        }
        // No expiry is beyond the last moment that there is.
        let expires_at = row.expires_at.map_or(u64::MAX, |at| at.as_millis());
        self.digest.update(&expires_at.to_be_bytes());
    }

    /// How many records were taken.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// What was counted.
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

impl Default for Counting {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Counting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counting")
            .field("records", &self.records)
            .finish_non_exhaustive()
    }
}

/// Cuts a page off rows that are given one by one, in key order.
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

    /// Adds a row; whether there is room for another.
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

/// A snapshot from its first record to its last, one by one; at the end the engine's state is let go.
///
/// ```
/// # use std::sync::Arc;
/// # use keyproof_store::memory::MemoryEngine;
/// # use keyproof_store::{Counting, MasterKey, MasterKeys, Records, Store, SystemEntropy, Timestamp};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (engine, entropy) = (Arc::new(MemoryEngine::new()), Arc::new(SystemEntropy::new()));
/// # let (keys, now) = (MasterKeys::new(&MasterKey::generate(&*entropy)), Timestamp::from_secs(1_700_000_000));
/// # let store = Store::open(engine, keys, entropy, now).await?;
/// let mut records = Records::of(store.snapshot().await?);
/// let mut counting = Counting::new();
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
    /// From the first on.
    pub fn of(snapshot: Box<dyn EngineSnapshot>) -> Self {
        Self {
            snapshot: Some(snapshot),
            page: Vec::new().into_iter(),
            last: None,
        }
    }

    /// The next one, in key order; `None` after the last.
    ///
    /// # Errors
    ///
    /// If the engine cannot answer.
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
