//! An engine without persistence, for tests, and as the model that other engines are compared with.

use std::{
    collections::BTreeMap,
    future::ready,
    ops::{Bound, RangeInclusive},
    slice,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    BoxFuture, Change, Changes, CommitError, CommitObserver, Engine, EngineError, EngineSnapshot,
    Entry, Key, NotApplied, Prefix, Reading, Row, Timestamp, Version, observer::Observed,
    scan::Page,
};

/// Stores records in a map, which is lost with the engine.
///
/// ```
/// use std::sync::Arc;
/// use keyproof_store::memory::MemoryEngine;
/// use keyproof_store::{MasterKey, MasterKeys, Store, SystemEntropy, Timestamp};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (engine, entropy) = (Arc::new(MemoryEngine::new()), Arc::new(SystemEntropy::new()));
/// let (keys, now) = (MasterKeys::new(&MasterKey::generate(&*entropy)), Timestamp::from_secs(1_700_000_000));
/// // Like two servers on one database.
/// let one = Store::open(engine.clone(), keys.clone(), entropy.clone(), now).await?;
/// let other = Store::open(engine, keys, entropy, now).await?;
/// assert_eq!(one.rotation().await?, other.rotation().await?); // both under the key that was first
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MemoryEngine {
    /// `None` once closed. Shared with snapshots: a commit during a snapshot copies the map.
    records: Mutex<Option<Arc<Records>>>,
    is_fenced: AtomicBool,
    observed: Observed,
}

type Records = BTreeMap<Key, Row>;

impl MemoryEngine {
    /// Creates an empty engine.
    pub fn new() -> Self {
        Self {
            records: Mutex::new(Some(Arc::default())),
            is_fenced: AtomicBool::new(false),
            observed: Observed::default(),
        }
    }

    /// A panic while the lock was held cannot have left a batch half applied, since `apply` checks everything first.
    fn lock(&self) -> MutexGuard<'_, Option<Arc<Records>>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn locked<T>(&self, read: impl FnOnce(&Records) -> T) -> Result<T, EngineError> {
        let records = self.lock();
        let records = records.as_deref().ok_or(EngineError::Closed)?;
        self.check_fence()?;
        Ok(read(records))
    }

    /// Call under the lock, under which the flag is set.
    fn check_fence(&self) -> Result<(), EngineError> {
        if self.is_fenced.load(Ordering::SeqCst) {
            Err(EngineError::Relocated)
        } else {
            Ok(())
        }
    }
}

impl Default for MemoryEngine {
    fn default() -> Self {
        Self::new()
    }
}

impl Engine for MemoryEngine {
    fn get_many<'a>(
        &'a self,
        keys: &'a [Key],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Option<Row>>, EngineError>> {
        Box::pin(ready(self.locked(|records| rows(records, keys, now))))
    }

    fn read(
        &self,
        mut reading: Reading,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Reading, EngineError>> {
        let read = self.locked(|records| {
            while !reading.wanted().is_empty() {
                reading.found(rows(records, reading.wanted(), now));
            }
            reading
        });
        Box::pin(ready(read))
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a Key>,
        limit: usize,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<(Key, Row)>, EngineError>> {
        let is_behind = |key: &Key| after.is_none_or(|after| key > after);
        let rows = self.locked(|records| {
            let found = inside(records, prefix, now).filter(|(key, _)| is_behind(key));
            found.take(limit).map(owned).collect()
        });
        Box::pin(ready(rows))
    }

    fn scan_back<'a>(
        &'a self,
        prefix: &'a Prefix,
        before: Option<&'a Key>,
        limit: usize,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<(Key, Row)>, EngineError>> {
        let is_ahead = |key: &Key| before.is_none_or(|before| key < before);
        let rows = self.locked(|records| {
            let found = inside(records, prefix, now).rev();
            let found = found.filter(|(key, _)| is_ahead(key));
            found.take(limit).map(owned).collect()
        });
        Box::pin(ready(rows))
    }

    fn expired(
        &self,
        within: RangeInclusive<Timestamp>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Key, Version)>, EngineError>> {
        let found = self.locked(|records| {
            let mut expired: Vec<_> = records
                .iter()
                .filter(|(_, row)| row.expires_at.is_some_and(|at| within.contains(&at)))
                .collect();
            // The sort is stable and the map is in key order.
            expired.sort_by_key(|(_, row)| row.expires_at);
            expired
                .into_iter()
                .take(limit)
                .map(|(key, row)| (key.clone(), row.version))
                .collect()
        });
        Box::pin(ready(found))
    }

    fn commit(&self, changes: Changes) -> BoxFuture<'_, Result<(), CommitError>> {
        let mut records = self.lock();
        let open = records.as_mut().ok_or(EngineError::Closed);
        let outcome = match open.and_then(|open| self.check_fence().map(|()| open)) {
            Ok(records) => {
                let outcome = apply(Arc::make_mut(records), changes);
                self.observed.committed(slice::from_ref(&outcome));
                outcome
            }
            Err(error) => Err(NotApplied::from(error).into()),
        };
        Box::pin(ready(outcome))
    }

    fn fence(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        let records = self.lock();
        let fenced = records
            .as_ref()
            .map(|_| self.is_fenced.store(true, Ordering::SeqCst));
        Box::pin(ready(fenced.ok_or(EngineError::Closed)))
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Box<dyn EngineSnapshot>, EngineError>> {
        let records = self.lock().clone().ok_or(EngineError::Closed);
        let snapshot = records.map(|records| Box::new(MemorySnapshot(records)) as _);
        Box::pin(ready(snapshot))
    }

    fn estimate(&self) -> BoxFuture<'_, Result<Option<u64>, EngineError>> {
        Box::pin(ready(
            self.locked(|records| u64::try_from(records.len()).ok()),
        ))
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(ready(self.locked(|_| ())))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        *self.lock() = None;
        Box::pin(ready(()))
    }

    fn observe(&self, observer: Arc<dyn CommitObserver>) {
        self.observed.by(observer);
    }
}

struct MemorySnapshot(Arc<Records>);

impl EngineSnapshot for MemorySnapshot {
    fn page<'a>(
        &'a mut self,
        after: Option<&'a Key>,
        bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<(Key, Row)>, EngineError>> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut page = Page::new(bytes);
        for (key, row) in self.0.range::<Key, _>((after, Bound::Unbounded)) {
            if !page.push(key.clone(), row.clone()) {
                break;
            }
        }
        Box::pin(ready(Ok(page.into_rows())))
    }
}

fn rows(records: &Records, keys: &[Key], now: Timestamp) -> Vec<Option<Row>> {
    keys.iter()
        .map(|key| live(records, key, now).cloned())
        .collect()
}

fn live<'a>(records: &'a Records, key: &Key, now: Timestamp) -> Option<&'a Row> {
    records.get(key).filter(|row| !row.is_expired(now))
}

/// The records of a prefix, in key order.
fn inside<'a>(
    records: &'a Records,
    prefix: &Prefix,
    now: Timestamp,
) -> impl DoubleEndedIterator<Item = (&'a Key, &'a Row)> {
    records
        .iter()
        .filter(move |(key, row)| prefix.contains(key) && !row.is_expired(now))
}

fn owned((key, row): (&Key, &Row)) -> (Key, Row) {
    (key.clone(), row.clone())
}

/// Makes all checks first, so that nothing has to be undone.
fn apply(records: &mut Records, changes: Changes) -> Result<(), CommitError> {
    for entry in changes.entries() {
        if !holds(records, entry, changes.now()) {
            return Err(CommitError::Conflict { entry: entry.index });
        }
    }
    for Entry { key, change, .. } in changes.into_entries() {
        match change {
            Change::Insert(row) | Change::Replace { row, .. } => {
                records.insert(key, row);
            }
            Change::Remove { .. } => {
                records.remove(&key);
            }
            Change::Reseal { body, .. } => {
                records.entry(key).and_modify(|row| row.body = body);
            }
            Change::Require { .. } => {}
        }
    }
    Ok(())
}

fn holds(records: &Records, entry: &Entry, now: Timestamp) -> bool {
    let live = live(records, &entry.key, now);
    match &entry.change {
        Change::Insert(_) => live.is_none(),
        Change::Remove { at } => records
            .get(&entry.key)
            .is_some_and(|row| row.version == *at),
        Change::Replace { at, .. } | Change::Require { at } | Change::Reseal { at, .. } => {
            live.is_some_and(|row| row.version == *at)
        }
    }
}
