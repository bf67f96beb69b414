//! Rows that were read or committed before, and short lists that were read whole, each used only while the file is in the
//! very state that they are of.
//!
//! A read asks the log's index which state the file is in. As long as that is the state of what is kept here, a row here is
//! the row there, and no thread and no disk need be asked. A commit of this engine moves both on, for the writer knows what
//! it has changed; after one of anybody else nothing here counts any more.

mod lists;

use std::{
    collections::hash_map::RandomState,
    sync::{Mutex, MutexGuard, PoisonError},
};

use hashlink::LruCache;

use self::lists::Lists;
use super::log_index::{LogIndex, State};
use crate::{Change, Changes, Key, Prefix, Reading, Row, Timestamp};

/// Bytes of keys and bodies that are kept, and what keeping them takes: the rows of some ten thousand users.
const MAX_BYTES: usize = 32 << 20;
/// The longest body that is kept, in bytes.
const MAX_BODY: usize = 16 << 10;
/// What an entry takes beside its key and body, in bytes, more or less.
const OVERHEAD: usize = 192;
/// What a body takes with the record that it was read as, in bodies, more or less.
const READ: usize = 3;

#[derive(Debug)]
pub(super) struct Cache {
    index: LogIndex,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    /// What all rows and lists are of; none are kept without it.
    state: Option<State>,
    /// `None` for a key at which there is nothing, not even an expired record.
    rows: LruCache<Key, Option<Row>, RandomState>,
    bytes: usize,
    /// Beside the rows, and not counted with them.
    lists: Lists,
    /// Whether this engine's writer has a transaction open, and will say what becomes of it.
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

    /// The state that the next read would be of, if that can be told.
    pub(super) fn state(&self) -> Option<State> {
        self.index.state()
    }

    /// The rows of these keys, if all of them are kept.
    pub(super) fn get_many(&self, keys: &[Key], now: Timestamp) -> Option<Vec<Option<Row>>> {
        let state = self.state()?;
        self.rows(keys, state, now)
    }

    /// All that is wanted, if all of it is kept. What is left may have gone some rounds.
    pub(super) fn read(&self, reading: &mut Reading, now: Timestamp) -> Option<()> {
        let state = self.state()?;
        while !reading.wanted().is_empty() {
            let rows = self.rows(reading.wanted(), state, now)?;
            reading.found(rows);
        }
        Some(())
    }

    /// What [`Engine::scan`](crate::Engine::scan) gives, if all of the prefix is kept.
    pub(super) fn scan(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
        now: Timestamp,
    ) -> Option<Vec<(Key, Row)>> {
        let state = self.state()?;
        let mut kept = self.kept();
        if kept.state != Some(state) {
            return None;
        }
        kept.lists.scan(prefix, after, limit, now)
    }

    fn rows(&self, keys: &[Key], state: State, now: Timestamp) -> Option<Vec<Option<Row>>> {
        let mut kept = self.kept();
        if kept.state != Some(state) {
            return None;
        }
        let mut rows = Vec::with_capacity(keys.len());
        for key in keys {
            let row = kept.rows.get(key)?;
            rows.push(row.as_ref().filter(|row| !row.is_expired(now)).cloned());
        }
        Some(rows)
    }

    /// Keeps what was read while the file was in this state.
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

    /// Keeps all records of a prefix, which were read while the file was in this state.
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

    /// What is kept of this state, which may be another than that of before; nothing if it is an earlier one.
    fn kept_of(&self, state: State) -> Option<MutexGuard<'_, Kept>> {
        let mut kept = self.kept();
        if kept.state != Some(state) {
            // Whose state is the later? If the writer is at work it will say what has changed.
            if kept.is_committing || self.state() != Some(state) {
                return None;
            }
            kept.restart(state);
        }
        Some(kept)
    }

    /// To be called in a transaction of the writer's, while nobody else can commit; and to be ended by
    /// [`Cache::committed`], whatever happens.
    pub(super) fn begun(&self) -> Begun {
        self.kept().is_committing = true;
        Begun(self.state())
    }

    /// What has become of the transaction.
    pub(super) fn committed<'c>(
        &self,
        begun: Option<Begun>,
        ended: Ended<impl Iterator<Item = &'c Changes>>,
    ) {
        let after = self.state();
        let mut kept = self.kept();
        kept.is_committing = false;
        let applied = match ended {
            // The file may be in another state by now, which is then somebody else's.
            Ended::Unchanged => return,
            Ended::Unknown => return kept.forget(),
            Ended::Changed(applied) => applied,
        };
        let (Some(Begun(Some(before))), Some(after)) = (begun, after) else {
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

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // No code that can panic runs under this lock.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a transaction of the writer's ended.
#[derive(Debug)]
pub(super) enum Ended<I> {
    /// These changes were applied, and it wrote to the log.
    Changed(I),
    /// It wrote nothing to the log: every commit since it began is somebody else's.
    Unchanged,
    Unknown,
}

/// The state in which a transaction of the writer's began, if it could be told.
#[derive(Debug)]
pub(super) struct Begun(Option<State>);

impl Kept {
    fn restart(&mut self, state: State) {
        self.forget();
        self.state = Some(state);
    }

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
