//! Rows that were read or committed before, each used only while the file is in the very state that they are of.
//!
//! A read asks the log's index which state the file is in. As long as that is the state of what is kept here, a row here is
//! the row there, and no thread and no disk need be asked. A commit of this engine moves both on, for the writer knows what
//! it has changed; after one of anybody else nothing here counts any more.

use std::collections::hash_map::RandomState;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hashlink::LruCache;

use super::log_index::{LogIndex, State};
use crate::{Change, Changes, Key, Reading, Row, Timestamp};

/// Bytes of keys and bodies that are kept, and what keeping them takes: the rows of a few thousand users.
const MAX_BYTES: usize = 8 << 20;
/// The longest body that is kept, in bytes.
const MAX_BODY: usize = 16 << 10;
/// What an entry takes beside its key and body, in bytes, more or less.
const OVERHEAD: usize = 192;

#[derive(Debug)]
pub(super) struct Cache {
    index: LogIndex,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    /// What all rows are of; none are kept without it.
    state: Option<State>,
    /// `None` for a key at which there is nothing, not even an expired record.
    rows: LruCache<Key, Option<Row>, RandomState>,
    bytes: usize,
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

    fn rows(&self, keys: &[Key], state: State, now: Timestamp) -> Option<Vec<Option<Row>>> {
        let mut kept = self.kept();
        if kept.state != Some(state) {
            return None;
        }
        let rows = keys.iter().map(|key| {
            let row = kept.rows.get(key)?;
            Some(row.as_ref().filter(|row| !row.is_expired(now)).cloned())
        });
        rows.collect()
    }

    /// Keeps what was read while the file was in this state.
    pub(super) fn found<'r>(
        &self,
        state: State,
        rows: impl Iterator<Item = (&'r Key, Option<&'r Row>)>,
    ) {
        let mut kept = self.kept();
        if kept.state != Some(state) {
            // Whose state is the later? If the writer is at work it will say what has changed.
            if kept.is_committing || self.state() != Some(state) {
                return;
            }
            kept.restart(state);
        }
        for (key, row) in rows {
            kept.put(key, row);
        }
    }

    /// To be called in a transaction of the writer's, while nobody else can commit; and to be ended by
    /// [`Cache::committed`], whatever happens.
    pub(super) fn begun(&self) -> Begun {
        self.kept().is_committing = true;
        Begun(self.state())
    }

    /// What has become of the transaction: those changes that were applied, or nothing if that is not known.
    pub(super) fn committed<'c>(
        &self,
        begun: Option<Begun>,
        applied: Option<impl Iterator<Item = &'c Changes>>,
    ) {
        let after = self.state();
        let mut kept = self.kept();
        kept.is_committing = false;
        let (Some(Begun(Some(before))), Some(applied), Some(after)) = (begun, applied, after)
        else {
            return kept.forget();
        };
        if after == before {
            // Nothing was written.
            return;
        }
        if !after.follows(before) {
            return kept.forget();
        }
        if kept.state != Some(before) {
            kept.forget();
        }
        kept.state = Some(after);
        for entry in applied.flat_map(Changes::entries) {
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
    }

    fn put(&mut self, key: &Key, row: Option<&Row>) {
        self.remove(key);
        if row.is_some_and(|row| row.body.len() > MAX_BODY) {
            return;
        }
        self.bytes += size(key, row);
        self.rows.insert(key.clone(), row.cloned());
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
    OVERHEAD + key.as_bytes().len() + row.map_or(0, |row| row.body.len())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;
    use crate::sqlite::{SqliteEngine, SqliteOptions};
    use crate::{Engine, SystemEntropy, Version};

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn key(name: &str) -> Key {
        Key::new("case", [name])
    }

    fn row(body: &str, expires_at: Option<Timestamp>) -> Row {
        Row {
            version: Version::draw(&SystemEntropy::new()),
            body: body.as_bytes().to_vec(),
            expires_at,
        }
    }

    async fn commit(engine: &SqliteEngine, name: &str, change: Change) {
        let changes = [(key(name), change)];
        let changes = Changes::new(changes, NOW, &SystemEntropy::new()).unwrap();
        engine.commit(changes).await.unwrap();
    }

    async fn read(engine: &SqliteEngine, name: &str) -> Option<Row> {
        let keys = [key(name)];
        engine.get_many(&keys, NOW).await.unwrap().pop().unwrap()
    }

    /// What is kept, if it counts.
    fn kept(engine: &SqliteEngine, name: &str, now: Timestamp) -> Option<Option<Row>> {
        engine.cache.get_many(&[key(name)], now)?.pop()
    }

    fn engines() -> (TempDir, [SqliteEngine; 2]) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("store.db");
        let open = || SqliteEngine::open(&path, &SqliteOptions::default()).unwrap();
        let engines = [open(), open()];
        (folder, engines)
    }

    #[tokio::test]
    async fn what_was_read_is_kept_until_anybody_else_commits() {
        let (_folder, [ours, theirs]) = engines();
        let first = row("1", None);
        commit(&theirs, "a", Change::Insert(first.clone())).await;
        assert_eq!(kept(&ours, "a", NOW), None);
        assert_eq!(read(&ours, "a").await, Some(first.clone()));
        assert_eq!(kept(&ours, "a", NOW), Some(Some(first.clone())));
        let second = row("2", None);
        let at = first.version;
        let row = second.clone();
        commit(&theirs, "a", Change::Replace { at, row }).await;
        assert_eq!(kept(&ours, "a", NOW), None);
        assert_eq!(read(&ours, "a").await, Some(second));
        // One of theirs before one of ours: the writer knows of ours alone.
        commit(&theirs, "b", Change::Insert(first.clone())).await;
        commit(&ours, "c", Change::Insert(first.clone())).await;
        assert_eq!(kept(&ours, "a", NOW), None);
        assert_eq!(kept(&ours, "b", NOW), None);
        assert_eq!(read(&ours, "b").await, Some(first));
    }

    #[tokio::test]
    async fn commits_of_the_engine_itself_move_on_what_is_kept() {
        let (_folder, [ours, _theirs]) = engines();
        let (a, b) = (row("a", None), row("b", None));
        commit(&ours, "a", Change::Insert(a.clone())).await;
        assert_eq!(kept(&ours, "a", NOW), Some(Some(a.clone())));
        assert_eq!(read(&ours, "b").await, None);
        assert_eq!(kept(&ours, "b", NOW), Some(None), "absence is kept, too");
        commit(&ours, "b", Change::Insert(b.clone())).await;
        assert_eq!(kept(&ours, "a", NOW), Some(Some(a.clone())));
        assert_eq!(kept(&ours, "b", NOW), Some(Some(b.clone())));
        commit(&ours, "a", Change::Remove { at: a.version }).await;
        assert_eq!(kept(&ours, "a", NOW), Some(None));
        let resealed = b"c".to_vec();
        let at = b.version;
        commit(&ours, "b", Change::Reseal { at, body: resealed }).await;
        assert_eq!(kept(&ours, "b", NOW), None);
        assert_eq!(read(&ours, "b").await.unwrap().body, b"c");
        // A conflict changes nothing, and what was to be written is not taken for what is there.
        let refused = [(key("b"), Change::Insert(a))];
        let refused = Changes::new(refused, NOW, &SystemEntropy::new()).unwrap();
        assert!(ours.commit(refused).await.is_err());
        assert_eq!(kept(&ours, "b", NOW).unwrap().unwrap().body, b"c");
        ours.close().await;
        assert!(ours.get_many(&[key("b")], NOW).await.is_err());
    }

    #[tokio::test]
    async fn a_kept_row_expires_by_the_readers_clock() {
        let (_folder, [ours, theirs]) = engines();
        let end = NOW.saturating_add(Duration::from_secs(1));
        let row = row("a", Some(end));
        commit(&theirs, "a", Change::Insert(row.clone())).await;
        // Read when it has expired, it is kept all the same for whoever asks at an earlier time.
        let keys = [key("a")];
        assert_eq!(ours.get_many(&keys, end).await.unwrap(), [None]);
        assert_eq!(kept(&ours, "a", NOW), Some(Some(row)));
        assert_eq!(kept(&ours, "a", end), Some(None));
    }

    #[tokio::test]
    async fn what_was_read_of_an_earlier_state_is_not_kept() {
        let (_folder, [ours, theirs]) = engines();
        let (a, b) = (row("1", None), row("2", None));
        commit(&theirs, "a", Change::Insert(a.clone())).await;
        assert_eq!(read(&ours, "a").await, Some(a.clone()));
        let earlier = ours.cache.state().unwrap();
        let at = a.version;
        let row = b.clone();
        commit(&theirs, "a", Change::Replace { at, row }).await;
        let later = ours.cache.state().unwrap();
        assert!(later.follows(earlier) && !earlier.follows(later));
        // A slow reader of that state, before and after a quick one of this.
        let slow = || {
            ours.cache
                .found(earlier, [(&key("a"), Some(&a))].into_iter())
        };
        slow();
        assert_eq!(kept(&ours, "a", NOW), None);
        assert_eq!(read(&ours, "a").await, Some(b.clone()));
        slow();
        assert_eq!(kept(&ours, "a", NOW), Some(Some(b)));
    }

    #[tokio::test]
    async fn while_the_writer_is_at_work_nobody_else_says_which_state_counts() {
        let (_folder, [ours, theirs]) = engines();
        let a = row("1", None);
        commit(&ours, "a", Change::Insert(a.clone())).await;
        let begun = ours.cache.begun();
        commit(&theirs, "b", Change::Insert(a.clone())).await;
        let state = ours.cache.state().unwrap();
        ours.cache.found(state, [(&key("b"), Some(&a))].into_iter());
        assert_eq!(kept(&ours, "b", NOW), None);
        // Whatever became of it.
        ours.cache
            .committed(Some(begun), None::<std::iter::Empty<_>>);
        assert_eq!(kept(&ours, "a", NOW), None);
        assert_eq!(read(&ours, "b").await, Some(a));
        assert!(kept(&ours, "b", NOW).is_some());
    }

    #[tokio::test]
    async fn no_more_is_kept_than_there_is_room_for() {
        let (_folder, [ours, _theirs]) = engines();
        let state = ours.cache.state().unwrap();
        let large = row(&"x".repeat(MAX_BODY + 1), None);
        ours.cache
            .found(state, [(&key("large"), Some(&large))].into_iter());
        assert_eq!(kept(&ours, "large", NOW), None);
        let body = row(&"x".repeat(MAX_BODY), None);
        let names: Vec<_> = (0..2 * MAX_BYTES / MAX_BODY)
            .map(|number| key(&number.to_string()))
            .collect();
        for name in &names {
            ours.cache.found(state, [(name, Some(&body))].into_iter());
            // The first is read again and again.
            assert!(kept(&ours, "0", NOW).is_some());
        }
        assert!(ours.cache.kept().bytes <= MAX_BYTES);
        let held = ours
            .cache
            .kept()
            .rows
            .iter()
            .map(|(key, row)| size(key, row.as_ref()))
            .sum::<usize>();
        assert_eq!(held, ours.cache.kept().bytes);
        assert_eq!(kept(&ours, "1", NOW), None);
    }
}
