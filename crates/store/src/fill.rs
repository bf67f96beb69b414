//! Filling an empty store with exact copies of another store's records, or with those of a backup.
//!
//! Records come in key order and are compared with what the store contains; only differences are written. So no
//! progress needs to be stored: a retry reads what is there and continues. Meanwhile a record of another type takes the
//! place of the store's fingerprint, which is written last. Until then the store cannot be opened.

use serde::{Deserialize, Serialize};

use crate::{
    Change, Changes, CommitError, Engine, EngineError, Entropy, Key, Raw, Record, Records, Row,
    StoreError, Tally, TallyBuilder, Timestamp, Version, fingerprint::fingerprint_key,
    record::to_body, scan::PAGE_BYTES,
};

/// Marks a store that is being filled, and names the source.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Filling {
    pub(crate) from: String,
}

impl Record for Filling {
    const TYPE: &'static str = "filling";
    const VERSION: u32 = 1;
}

/// Why a store was not filled. What was written so far stays, and another attempt continues from there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FillError {
    /// A batch was not applied, or its outcome is unknown. A conflict means that something else writes to the store.
    #[error("writing to the store that is being filled: {0}")]
    Commit(#[from] CommitError),
    /// The final contents of the store differ from what was written to it.
    #[error(
        "the store that was filled has {} records of {} bytes, but was given {} of {}: somebody else writes to it",
        .found.records, .found.bytes, .expected.records, .expected.bytes
    )]
    Differs {
        /// What was put in.
        expected: Tally,
        /// What was found.
        found: Tally,
    },
    /// An engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The store is not empty.
    #[error("the store that is to be filled is not empty")]
    NotEmpty,
    /// The store was being filled from another source.
    #[error("the store that is to be filled was being filled from {from}, which was not finished")]
    Other {
        /// The other source.
        from: String,
    },
    /// The records were not in key order.
    #[error("the records that a store is filled with are not in order at {key}")]
    Order {
        /// The first key out of order.
        key: Key,
    },
    /// Another process has since begun to fill the same store, or has finished filling it.
    #[error("somebody else has begun to fill the same store since, or has filled it")]
    Overtaken,
    /// The source has no fingerprint of a master key.
    #[error("the records that a store is filled with do not name their master key")]
    NoFingerprint,
    /// The record in the fingerprint's place cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A store that is being filled.
///
/// ```
/// # use std::sync::Arc;
/// # use keyproof_store::memory::MemoryEngine;
/// # use keyproof_store::{Fill, FillError, MasterKey, MasterKeys, Records, Store, SystemEntropy, Timestamp};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (engine, entropy) = (Arc::new(MemoryEngine::new()), Arc::new(SystemEntropy::new()));
/// # let (keys, now) = (MasterKeys::new(&MasterKey::generate(&*entropy)), Timestamp::from_secs(1_700_000_000));
/// # let store = Store::open(engine, keys, entropy.clone(), now).await?;
/// let to = MemoryEngine::new();
/// let fill = Fill::begin(&to, &*entropy, "the store at the old place").await?;
/// let mut records = Records::new(store.snapshot().await?);
/// let next = async || records.next().await.map_err(FillError::from);
/// let filled = fill.put(next, |_| ()).await?;
/// let there = fill.finish(filled).await?; // from here on it is a store, under the same master key
/// assert_eq!(there.records, 0); // except for the fingerprint
/// # Ok(())
/// # }
/// ```
pub struct Fill<'e> {
    engine: &'e dyn Engine,
    entropy: &'e dyn Entropy,
    at: Version,
}

/// What was put into a store, for [`Fill::finish`].
#[derive(Debug)]
pub struct Filled {
    tally: Tally,
    fingerprint: Row,
    /// How many records had to be written: fewer than came in, if some were there.
    pub written: u64,
}

impl<'e> Fill<'e> {
    /// Begins to fill the store, or continues an earlier fill with the same `from`. The process that began that one
    /// gets [`FillError::Overtaken`].
    ///
    /// # Errors
    ///
    /// [`FillError::NotEmpty`], [`FillError::Other`], or an error of the engine.
    pub async fn begin(
        engine: &'e dyn Engine,
        entropy: &'e dyn Entropy,
        from: &str,
    ) -> Result<Self, FillError> {
        let filling = Filling {
            from: from.to_owned(),
        };
        loop {
            let row = Row {
                version: Version::random(entropy),
                body: to_body(&filling).map_err(CommitError::from)?,
                expires_at: None,
            };
            let at = row.version;
            let change = match Self::there(engine).await? {
                Some((_, other)) if other.from != from => {
                    return Err(FillError::Other { from: other.from });
                }
                // A new version, so that two processes never fill at once: each would compare with a mix of both.
                Some((at, _)) => Change::Replace { at, row },
                None if engine.is_empty().await? => Change::Insert(row),
                None => return Err(FillError::NotEmpty),
            };
            match commit(engine, entropy, Vec::new(), change).await {
                // Another process was faster, so check again what is there.
                Err(FillError::Overtaken) => {}
                begun => {
                    begun?;
                    return Ok(Self {
                        engine,
                        entropy,
                        at,
                    });
                }
            }
        }
    }

    /// Cancels the fill if no record has been put: the store is then as empty as before. Otherwise the records stay,
    /// and so does the mark that the store is being filled.
    ///
    /// # Errors
    ///
    /// An error of the engine.
    pub async fn abort(self) -> Result<(), FillError> {
        if next_but_fingerprint(&mut self.records().await?)
            .await?
            .is_some()
        {
            return Ok(());
        }
        let withdrawn = Change::Remove { at: self.at };
        match commit(self.engine, self.entropy, Vec::new(), withdrawn).await {
            // Another process has continued the fill.
            Err(FillError::Overtaken) => Ok(()),
            withdrawn => withdrawn,
        }
    }

    /// Returns the mark that the store is being filled, if it is there.
    async fn there(engine: &dyn Engine) -> Result<Option<(Version, Filling)>, FillError> {
        let place = fingerprint_key();
        let mut rows = engine
            .get_many(std::slice::from_ref(&place), Timestamp::EPOCH)
            .await?;
        let Some(row) = rows.pop().flatten() else {
            return Ok(None);
        };
        let raw = Raw::from_row(place, row);
        if raw.record_type()? != Filling::TYPE {
            return Err(FillError::NotEmpty);
        }
        Ok(Some((raw.version(), raw.decode::<Filling>()?.record)))
    }

    /// Makes the store's records those that `next` returns, until it returns `None`. They must come in key order and
    /// include the fingerprint of their master key. `told` is called with the number of records so far.
    ///
    /// # Errors
    ///
    /// An error of `next`, or a [`FillError`].
    pub async fn put<E: From<FillError>>(
        &self,
        mut next: impl AsyncFnMut() -> Result<Option<(Key, Row)>, E>,
        mut told: impl FnMut(u64),
    ) -> Result<Filled, E> {
        let mut there = self.records().await?;
        let mut old = next_but_fingerprint(&mut there).await?;
        let mut counting = TallyBuilder::new();
        let mut writing = Writing {
            fill: self,
            entries: Vec::new(),
            bytes: 0,
            written: 0,
        };
        let (mut fingerprint, mut last) = (None, None::<Key>);
        while let Some((key, row)) = next().await? {
            if last.as_ref().is_some_and(|last| *last >= key) {
                return Err(FillError::Order { key }.into());
            }
            last = Some(key.clone());
            if key == fingerprint_key() {
                fingerprint = Some(row);
                continue;
            }
            counting.add(&key, &row);
            while let Some((gone, row)) = old.take_if(|(there, _)| *there < key) {
                writing
                    .push(gone, Change::Remove { at: row.version })
                    .await?;
                old = next_but_fingerprint(&mut there).await?;
            }
            match old.take_if(|(there, _)| *there == key) {
                None => writing.push(key, Change::Insert(row)).await?,
                Some((_, before)) => {
                    if let Some(change) = change(&before, row) {
                        writing.push(key, change).await?;
                    }
                    old = next_but_fingerprint(&mut there).await?;
                }
            }
            told(counting.records());
        }
        while let Some((gone, row)) = old {
            writing
                .push(gone, Change::Remove { at: row.version })
                .await?;
            old = next_but_fingerprint(&mut there).await?;
        }
        writing.flush().await?;
        Ok(Filled {
            tally: counting.finish(),
            fingerprint: fingerprint.ok_or(FillError::NoFingerprint)?,
            written: writing.written,
        })
    }

    /// Reads everything that is there, compares it with what was put there, and writes the fingerprint, which makes the
    /// store usable.
    ///
    /// # Errors
    ///
    /// [`FillError::Differs`], or an error of the engine.
    pub async fn finish(self, filled: Filled) -> Result<Tally, FillError> {
        let mut there = self.records().await?;
        let mut counting = TallyBuilder::new();
        while let Some((key, row)) = next_but_fingerprint(&mut there).await? {
            counting.add(&key, &row);
        }
        let (expected, found) = (filled.tally, counting.finish());
        if found != expected {
            return Err(FillError::Differs { expected, found });
        }
        let (at, row) = (self.at, filled.fingerprint);
        let finished = Change::Replace { at, row };
        commit(self.engine, self.entropy, Vec::new(), finished).await?;
        Ok(found)
    }

    async fn records(&self) -> Result<Records, FillError> {
        Ok(Records::new(self.engine.snapshot().await?))
    }
}

impl std::fmt::Debug for Fill<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fill")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

/// The change that turns `before` into `row`, if they differ.
fn change(before: &Row, row: Row) -> Option<Change> {
    if *before == row {
        return None;
    }
    let at = before.version;
    Some(if before.is_expired(Timestamp::EPOCH) {
        Change::Insert(row)
    } else if at == row.version {
        // The same state, sealed under another master key.
        Change::Reseal { at, body: row.body }
    } else {
        Change::Replace { at, row }
    })
}

async fn next_but_fingerprint(records: &mut Records) -> Result<Option<(Key, Row)>, FillError> {
    loop {
        match records.next().await? {
            Some((key, _)) if key == fingerprint_key() => {}
            next => return Ok(next),
        }
    }
}

/// Collects changes into batches.
struct Writing<'f> {
    fill: &'f Fill<'f>,
    entries: Vec<(Key, Change)>,
    bytes: usize,
    written: u64,
}

impl Writing<'_> {
    async fn push(&mut self, key: Key, change: Change) -> Result<(), FillError> {
        self.bytes += change.body_len();
        self.entries.push((key, change));
        if self.bytes >= PAGE_BYTES || self.entries.len() + 1 >= Changes::MAX_ENTRIES {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), FillError> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let entries = std::mem::take(&mut self.entries);
        self.bytes = 0;
        self.written += entries.len() as u64;
        let still = Change::Require { at: self.fill.at };
        commit(self.fill.engine, self.fill.entropy, entries, still).await
    }
}

/// Commits changes to records together with a change in the fingerprint's place. That one conflicts if another process
/// has taken over.
///
/// It commits at the epoch, when only a row of [`Batch::require_absent`](crate::Batch::require_absent) has expired, so the
/// clock does not matter.
async fn commit(
    engine: &dyn Engine,
    entropy: &dyn Entropy,
    mut entries: Vec<(Key, Change)>,
    place: Change,
) -> Result<(), FillError> {
    let index = entries.len();
    entries.push((fingerprint_key(), place));
    let changes = Changes::new(entries, Timestamp::EPOCH, entropy).map_err(CommitError::from)?;
    match engine.commit(changes).await {
        Err(CommitError::Conflict { entry }) if entry == index => Err(FillError::Overtaken),
        committed => Ok(committed?),
    }
}
