//! The contents of the store as a value, with the rules of the memory engine.

use std::collections::BTreeMap;

use keyproof_store::{
    Change, Changes, CommitError, Engine, Entry, Key, Prefix, Row, Timestamp, Version,
    memory::MemoryEngine,
};
use serde_json::Value;

use crate::{
    operation::{Seeded, finish},
    script::{collection, is_fixed, is_never_read},
    setting::OLD_KEY_CHANGES,
};

#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Contents(Vec<Held>);

/// A record and its version. Versions are counted instead of drawn, so that states do not differ by random values. No
/// version is ever reused.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Held {
    key: Key,
    /// The number of times it was written.
    version: u32,
    /// `None` if it was removed.
    row: Option<(Vec<u8>, Option<Timestamp>)>,
}

/// Which of the port's rules the engine follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    Kept,
    /// In each change of a user's record, restores the activations of when the attacker's token was issued.
    ForgetsActivations,
    /// Reports a lost commit as done.
    AcknowledgesTheLost,
    /// Takes any expected version as the record's.
    IgnoresVersions,
    /// Skips entries that only require a version.
    IgnoresRequirements,
}

impl Contents {
    /// Returns the contents of an engine, without the records that no operation reads.
    pub(crate) fn of(engine: &MemoryEngine) -> Self {
        let rows = all(engine).into_iter();
        Self(rows.map(|(key, row)| Held::first(key, row)).collect())
    }

    pub(crate) fn read(&self, keys: &[Key], now: Timestamp) -> Vec<Option<Row>> {
        finish(self.engine().get_many(keys, now)).unwrap()
    }

    pub(crate) fn apply(&self, changes: &Changes, port: Port) -> Result<Self, CommitError> {
        let engine = self.engine();
        // Fixed records are not part of the contents; every operation's requirements on them are met.
        let changes = &rewritten(changes, |entry| {
            (!is_fixed(&entry.key)).then_some(entry.change)
        });
        let changes = match port {
            Port::Kept | Port::AcknowledgesTheLost => changes.clone(),
            Port::IgnoresVersions => self.at_any_version(changes),
            Port::ForgetsActivations => rewritten(changes, |entry| {
                Some(match (collection(&entry.key).as_str(), entry.change) {
                    ("user", Change::Replace { at, row }) => Change::Replace {
                        at,
                        row: without_activation(row),
                    },
                    (_, change) => change,
                })
            }),
            Port::IgnoresRequirements => rewritten(changes, |entry| {
                let is_requirement = matches!(entry.change, Change::Require { .. });
                (!is_requirement).then_some(entry.change)
            }),
        };
        let written = changes
            .entries()
            .iter()
            .filter_map(|entry| match &entry.change {
                Change::Insert(_) | Change::Replace { .. } => Some(entry.key.clone()),
                Change::Remove { .. } | Change::Require { .. } | Change::Reseal { .. } => None,
            });
        let written: Vec<Key> = written.collect();
        finish(engine.commit(changes))?;
        Ok(self.become_of(all(&engine), &written))
    }

    fn become_of(&self, mut rows: BTreeMap<Key, Row>, written: &[Key]) -> Self {
        let mut next = self.clone();
        for held in &mut next.0 {
            let row = rows.remove(&held.key);
            held.row = row.map(|row| (row.body.into(), row.expires_at));
            held.version += u32::from(written.contains(&held.key));
        }
        next.0
            .extend(rows.into_iter().map(|(key, row)| Held::first(key, row)));
        next.0.sort_by(|a, b| a.key.cmp(&b.key));
        next
    }

    fn engine(&self) -> MemoryEngine {
        let engine = MemoryEngine::new();
        let rows = self.0.iter().cloned().filter_map(Held::into_insert);
        let changes = Changes::new(rows, Timestamp::EPOCH, &Seeded::new("contents")).unwrap();
        finish(engine.commit(changes)).unwrap();
        engine
    }

    fn at_any_version(&self, changes: &Changes) -> Changes {
        let now = changes.now();
        rewritten(changes, |entry| {
            let key = std::slice::from_ref(&entry.key);
            let current = self.read(key, now).pop().flatten().map(|row| row.version);
            match (entry.change, current) {
                (Change::Insert(row) | Change::Replace { row, .. }, Some(at)) => {
                    Some(Change::Replace { at, row })
                }
                (Change::Insert(row) | Change::Replace { row, .. }, None) => {
                    Some(Change::Insert(row))
                }
                (Change::Remove { .. }, Some(at)) => Some(Change::Remove { at }),
                (Change::Reseal { body, .. }, Some(at)) => Some(Change::Reseal { at, body }),
                _ => None,
            }
        })
    }
}

fn rewritten(changes: &Changes, rewrite: impl Fn(Entry) -> Option<Change>) -> Changes {
    let mut entries = changes.entries().to_vec();
    // The index of an entry is its position in the order of addition.
    entries.sort_by_key(|entry| entry.index);
    let entries = entries.into_iter();
    let entries = entries.filter_map(|entry| Some((entry.key.clone(), rewrite(entry)?)));
    Changes::new(entries, changes.now(), &Seeded::new("rewritten")).unwrap()
}

fn without_activation(row: Row) -> Row {
    let mut body: Value = serde_json::from_slice(&row.body).unwrap();
    body["data"]["key_changes"] = OLD_KEY_CHANGES.into();
    body["data"]["activation"]["key_changes"] = OLD_KEY_CHANGES.into();
    Row {
        body: serde_json::to_vec(&body).unwrap().into(),
        ..row
    }
}

fn all(engine: &MemoryEngine) -> BTreeMap<Key, Row> {
    let all = Prefix::all();
    let rows = finish(engine.scan(&all, None, usize::MAX, Timestamp::EPOCH)).unwrap();
    rows.into_iter()
        .filter(|(key, _)| !is_never_read(key))
        .collect()
}

impl Held {
    fn first(key: Key, row: Row) -> Self {
        Self {
            key,
            version: 1,
            row: Some((row.body.into(), row.expires_at)),
        }
    }

    fn into_insert(self) -> Option<(Key, Change)> {
        let (body, expires_at) = self.row?;
        let row = Row {
            version: Version::from_bytes(u128::from(self.version).to_be_bytes()),
            body: body.into(),
            expires_at,
        };
        Some((self.key, Change::Insert(row)))
    }
}
