//! A cache of rows that were read or committed, and of short lists that were read whole. It is used only while the file
//! is in the state that they belong to.
//!
//! A read takes the file's state from the log's index. As long as that is the cache's state, the cached rows are
//! current, and no thread or disk is needed. A commit of this engine updates both, since the writer knows what it has
//! changed. A commit by anyone else invalidates the cache.

mod lists;

use std::{
    collections::hash_map::RandomState,
    sync::{Mutex, MutexGuard, PoisonError},
};

use hashlink::LruCache;

use self::lists::Lists;
use super::log_index::{LogIndex, State};
use crate::{Change, Changes, Key, Prefix, Reading, Row, Timestamp};

/// The maximum size of the cache, in bytes of keys and bodies with overhead: the rows of some ten thousand users.
const MAX_BYTES: usize = 32 << 20;
/// The maximum length of a cached body, in bytes.
const MAX_BODY: usize = 16 << 10;
/// The approximate overhead of an entry besides its key and body, in bytes.
const OVERHEAD: usize = 192;
/// The approximate size of a body with its decoded record, as a multiple of the body.
const READ: usize = 3;

#[derive(Debug)]
pub(super) struct Cache {
    index: LogIndex,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    /// The state that all rows and lists belong to. Without it, none are cached.
    state: Option<State>,
    /// `None` for a key without a record, not even an expired one.
    rows: LruCache<Key, Option<Row>, RandomState>,
    bytes: usize,
    /// The cached lists, which do not count towards `bytes`.
    lists: Lists,
    /// Whether this engine's writer has a transaction open, and will report how it ends.
    is_committing: bool,
}

impl Cache {
    pub(super) fn new(index: LogIndex) -> Self {
        Self {
            index,
            kept: Mutex::new(Kept {
                state: None,
                rows: LruCache::with_hasher(usize::MAX, RandomState::new()),
                bytes: 0,
                lists: Lists::default(),
                is_committing: false,
            }),
        }
    }

    /// The state that the next read would see, if it can be determined.
    pub(super) fn state(&self) -> Option<State> {
        self.index.state()
    }

    /// Returns the rows of these keys, if all are cached.
    pub(super) fn get_many(&self, keys: &[Key], now: Timestamp) -> Option<Vec<Option<Row>>> {
        let state = self.state()?;
        self.rows(keys, state, now)
    }

    /// Reads everything that is wanted, if all of it is cached. Otherwise some rounds may have been done.
    pub(super) fn read(&self, reading: &mut Reading, now: Timestamp) -> Option<()> {
        let state = self.state()?;
        while !reading.wanted().is_empty() {
            let rows = self.rows(reading.wanted(), state, now)?;
            reading.found(rows);
        }
        Some(())
    }

    /// Returns the result of [`Engine::scan`](crate::Engine::scan), if the whole prefix is cached.
    pub(super) fn scan(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
        now: Timestamp,
    ) -> Option<Vec<(Key, Row)>> {
        let state = self.state()?;
        self.current(state)?.lists.scan(prefix, after, limit, now)
    }

    fn rows(&self, keys: &[Key], state: State, now: Timestamp) -> Option<Vec<Option<Row>>> {
        let mut kept = self.current(state)?;
        let mut rows = Vec::with_capacity(keys.len());
        for key in keys {
            let row = kept.rows.get(key)?;
            rows.push(row.as_ref().filter(|row| !row.is_expired(now)).cloned());
        }
        Some(rows)
    }

    /// Caches rows that were read while the file was in this state.
    pub(super) fn found<'r>(
        &self,
        state: State,
        rows: impl Iterator<Item = (&'r Key, Option<&'r Row>)>,
    ) {
        let Some(mut kept) = self.kept_of(state) else {
            return;
        };
        for (key, row) in rows {
            kept.put(key, row);
        }
    }

    /// Caches all records of a prefix that were read while the file was in this state.
    pub(super) fn found_all(
        &self,
        state: State,
        prefix: Prefix,
        rows: Vec<(Key, Row)>,
        now: Timestamp,
    ) {
        if let Some(mut kept) = self.kept_of(state) {
            kept.lists.keep(prefix, rows, now);
        }
    }

    /// Returns the cache for this state, emptied first if it belonged to another one. Returns `None` if this state may
    /// be outdated.
    fn kept_of(&self, state: State) -> Option<MutexGuard<'_, Kept>> {
        let mut kept = self.kept();
        if kept.state != Some(state) {
            // It is unclear which state is the later one. If the writer is busy, it will report what changed.
            if kept.is_committing || self.state() != Some(state) {
                return None;
            }
            kept.forget();
            kept.state = Some(state);
        }
        Some(kept)
    }

    /// Returns the state in which the transaction began, if it can be determined. Call this in the writer's
    /// transaction, when no other process can commit. [`Cache::committed`] must follow, whatever happens.
    pub(super) fn begun(&self) -> Option<State> {
        self.kept().is_committing = true;
        self.state()
    }

    /// Reports how the transaction ended.
    pub(super) fn committed<'c>(
        &self,
        begun: Option<State>,
        ended: Ended<impl Iterator<Item = &'c Changes>>,
    ) {
        let after = self.state();
        let mut kept = self.kept();
        kept.is_committing = false;
        let applied = match ended {
            // If the file's state has changed by now, the change is another process's.
            Ended::Unchanged => return,
            Ended::Unknown => return kept.forget(),
            Ended::Changed(applied) => applied,
        };
        let (Some(before), Some(after)) = (begun, after) else {
            return kept.forget();
        };
        if !after.follows(before) {
            return kept.forget();
        }
        if kept.state != Some(before) {
            kept.forget();
        }
        kept.state = Some(after);
        for entry in applied.flat_map(Changes::entries) {
            if !matches!(entry.change, Change::Require { .. }) {
                kept.lists.forget(&entry.key);
            }
            match &entry.change {
                Change::Insert(row) | Change::Replace { row, .. } => {
                    kept.put(&entry.key, Some(row));
                }
                Change::Remove { .. } => kept.put(&entry.key, None),
                Change::Require { .. } => {}
                Change::Reseal { .. } => kept.remove(&entry.key),
            }
        }
    }

    /// Returns the cache, if it belongs to this state.
    fn current(&self, state: State) -> Option<MutexGuard<'_, Kept>> {
        Some(self.kept()).filter(|kept| kept.state == Some(state))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // No code that can panic runs under this lock.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a transaction of the writer ended.
#[derive(Debug)]
pub(super) enum Ended<I> {
    /// These changes were applied and written to the log.
    Changed(I),
    /// Nothing was written to the log, so every commit since it began is another process's.
    Unchanged,
    Unknown,
}

impl Kept {
    fn forget(&mut self) {
        self.state = None;
        self.rows.clear();
        self.bytes = 0;
        self.lists.clear();
    }

    fn put(&mut self, key: &Key, row: Option<&Row>) {
        if row.is_some_and(|row| row.body.len() > MAX_BODY) {
            return self.remove(key);
        }
        self.bytes += size(key, row);
        if let Some(former) = self.rows.insert(key.clone(), row.cloned()) {
            self.bytes -= size(key, former.as_ref());
        }
        while self.bytes > MAX_BYTES
            && let Some((key, row)) = self.rows.remove_lru()
        {
            self.bytes -= size(&key, row.as_ref());
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(row) = self.rows.remove(key) {
            self.bytes -= size(key, row.as_ref());
        }
    }
}

fn size(key: &Key, row: Option<&Row>) -> usize {
    OVERHEAD + key.as_bytes().len() + row.map_or(0, |row| READ * row.body.len())
}

#[cfg(test)]
mod tests;
