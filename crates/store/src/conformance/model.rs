//! Generated sequences of operations, each applied to the engine and to the model.

use std::{collections::BTreeMap, time::Duration};

use proptest::{
    collection::{btree_set, vec},
    prelude::*,
    test_runner::{Config, TestRunner},
};

use super::{Database, NOW, changes, commit, dump, read, remove, run, scan};
use crate::{
    Change, Engine, Key, Prefix, ReadPlan, Row, SystemEntropy, Timestamp, Version,
    memory::MemoryEngine,
};

/// Few keys, close to each other, so that operations meet.
fn keys() -> [Key; 7] {
    [
        Key::new("a", ["t"]),
        Key::new("a", ["t", ""]),
        Key::new("a", ["t", "1"]),
        Key::new("a", ["t\0", "1"]),
        Key::new("a", ["u", "1"]),
        Key::new("b", ["t", "1"]),
        Key::new("b", ["x".repeat(300)]),
    ]
}

#[derive(Clone, Debug)]
enum Operation {
    Commit {
        entries: Vec<(usize, Verb)>,
    },
    Expired {
        /// How far back, in milliseconds.
        back: u64,
        limit: usize,
    },
    Get {
        keys: Vec<usize>,
    },
    Pass {
        millis: u64,
    },
    Read {
        keys: Vec<usize>,
        follow: usize,
    },
    Scan {
        prefix: usize,
        from: Option<usize>,
        limit: usize,
        is_back: bool,
    },
}

#[derive(Clone, Copy, Debug)]
enum Verb {
    Insert { lifetime: Option<u64> },
    Remove(At),
    Replace { at: At, lifetime: Option<u64> },
    Require(At),
    Reseal(At),
}

/// Which version to use.
#[derive(Clone, Copy, Debug)]
enum At {
    /// The last one written, whether or not it has been removed since.
    Latest,
    /// The one before.
    Earlier,
}

fn operation() -> impl Strategy<Value = Operation> {
    let index = 0..keys().len();
    let from = proptest::option::of(index.clone());
    let entries = btree_set(index.clone(), 1..4).prop_flat_map(|keys| {
        let keys: Vec<_> = keys.into_iter().collect();
        let verbs = vec(verb(), keys.len());
        // Not in key order.
        (Just(keys), verbs)
            .prop_map(|(keys, verbs)| keys.into_iter().zip(verbs).collect())
            .prop_shuffle()
    });
    prop_oneof![
        8 => entries.prop_map(|entries| Operation::Commit { entries }),
        1 => (0..8u64, 0..8usize).prop_map(|(back, limit)| Operation::Expired { back, limit }),
        1 => vec(index.clone(), 0..5).prop_map(|keys| Operation::Get { keys }),
        2 => (0..4u64).prop_map(|millis| Operation::Pass { millis }),
        1 => (vec(index, 0..3), 0..keys().len())
            .prop_map(|(keys, follow)| Operation::Read { keys, follow }),
        2 => (0..prefixes().len(), from, 0..9usize, any::<bool>())
            .prop_map(|(prefix, from, limit, is_back)| {
                Operation::Scan { prefix, from, limit, is_back }
            }),
    ]
}

fn verb() -> impl Strategy<Value = Verb> {
    let at = || prop_oneof![4 => Just(At::Latest), 1 => Just(At::Earlier)];
    let lifetime = || proptest::option::of(0..6u64);
    prop_oneof![
        4 => lifetime().prop_map(|lifetime| Verb::Insert { lifetime }),
        2 => at().prop_map(Verb::Remove),
        4 => (at(), lifetime()).prop_map(|(at, lifetime)| Verb::Replace { at, lifetime }),
        1 => at().prop_map(Verb::Require),
        1 => at().prop_map(Verb::Reseal),
    ]
}

fn prefixes() -> [Prefix; 5] {
    [
        Prefix::all(),
        Prefix::collection("a"),
        Prefix::collection("b"),
        Prefix::new("a", ["t"]),
        Prefix::new("c", ["t"]),
    ]
}

/// After any sequence of operations, the engine has returned and stored the same as the model.
pub fn agrees_with_the_model(database: &dyn Database) {
    let config = Config {
        cases: 200,
        failure_persistence: None,
        ..Config::default()
    };
    run(async {
        let engine = database.open().await;
        // Every sequence starts from an empty database, since the one before cleared it.
        TestRunner::new(config)
            .run(&vec(operation(), 1..40), |operations| {
                tokio::task::block_in_place(|| {
                    tokio::runtime::Handle::current().block_on(compare(&*engine, &operations))
                })
            })
            .unwrap_or_else(|failure| panic!("{failure}"));
    });
}

async fn compare(engine: &dyn Engine, operations: &[Operation]) -> Result<(), TestCaseError> {
    clear(engine).await;
    let model = MemoryEngine::new();
    let mut scene = Scene {
        now: NOW,
        written: BTreeMap::new(),
    };
    for operation in operations {
        scene.step(engine, &model, operation).await?;
    }
    prop_assert_eq!(dump(engine).await, dump(&model).await);
    Ok(())
}

async fn clear(engine: &dyn Engine) {
    let rows = dump(engine).await;
    let removals = rows.iter().map(|(key, row)| remove(key, row));
    let removed = commit(engine, removals, NOW).await;
    removed.expect("nobody else writes");
}

struct Scene {
    now: Timestamp,
    /// The last two versions written to each key.
    written: BTreeMap<Key, [Version; 2]>,
}

impl Scene {
    async fn step(
        &mut self,
        engine: &dyn Engine,
        model: &MemoryEngine,
        operation: &Operation,
    ) -> Result<(), TestCaseError> {
        let now = self.now;
        match operation {
            Operation::Commit { entries } => {
                let entries: Vec<_> = entries
                    .iter()
                    .map(|&(at, verb)| (keys()[at].clone(), self.change(at, verb)))
                    .collect();
                let batch = changes(entries.clone(), now);
                let outcome = engine.commit(batch.clone()).await;
                prop_assert_eq!(
                    &outcome,
                    &model.commit(batch).await,
                    "{:?} at {}",
                    entries,
                    now
                );
                if outcome.is_ok() {
                    self.note(entries);
                }
            }
            Operation::Expired { back, limit } => {
                let within = now.saturating_sub(Duration::from_millis(*back))..=now;
                prop_assert_eq!(
                    engine.expired(within.clone(), *limit).await,
                    model.expired(within, *limit).await
                );
            }
            Operation::Get { keys: indices } => {
                let keys: Vec<_> = indices.iter().map(|&at| keys()[at].clone()).collect();
                prop_assert_eq!(
                    engine.get_many(&keys, now).await,
                    model.get_many(&keys, now).await
                );
            }
            Operation::Pass { millis } => {
                self.now = now.saturating_add(Duration::from_millis(*millis));
            }
            Operation::Read {
                keys: indices,
                follow,
            } => {
                // Each key with a record leads to the key this many places further on.
                let plan = || {
                    let first = indices.iter().map(|&at| keys()[at].clone());
                    let follow = *follow;
                    ReadPlan::new(first).then(move |found| {
                        let keys = keys();
                        let is_there = |at: &usize| matches!(found.raw(&keys[*at]), Ok(Some(_)));
                        let there = (0..keys.len()).filter(is_there);
                        Ok(there
                            .map(|at| keys[(at + follow) % keys.len()].clone())
                            .collect())
                    })
                };
                prop_assert_eq!(
                    read(engine, plan(), now).await,
                    read(model, plan(), now).await
                );
            }
            Operation::Scan {
                prefix,
                from,
                limit,
                is_back,
            } => {
                let prefix = &prefixes()[*prefix];
                let from = from.map(|at| keys()[at].clone());
                let place = (prefix, from.as_ref());
                prop_assert_eq!(
                    scan(engine, *is_back, place, *limit, now).await,
                    scan(model, *is_back, place, *limit, now).await
                );
            }
        }
        Ok(())
    }

    fn change(&self, at: usize, verb: Verb) -> Change {
        let row = |lifetime: Option<u64>| Row {
            version: Version::random(&SystemEntropy::new()),
            body: "written".into(),
            expires_at: lifetime
                .map(|millis| self.now.saturating_add(Duration::from_millis(millis))),
        };
        let version = |which| match (self.written.get(&keys()[at]), which) {
            (Some([_, latest]), At::Latest) => *latest,
            (Some([earlier, _]), At::Earlier) => *earlier,
            (None, _) => Version::random(&SystemEntropy::new()),
        };
        match verb {
            Verb::Insert { lifetime } => Change::Insert(row(lifetime)),
            Verb::Remove(at) => Change::Remove { at: version(at) },
            Verb::Replace { at, lifetime } => Change::Replace {
                at: version(at),
                row: row(lifetime),
            },
            Verb::Require(at) => Change::Require { at: version(at) },
            Verb::Reseal(at) => Change::Reseal {
                at: version(at),
                body: "resealed".into(),
            },
        }
    }

    fn note(&mut self, entries: Vec<(Key, Change)>) {
        for (key, change) in entries {
            if let Change::Insert(row) | Change::Replace { row, .. } = change {
                let last = self.written.entry(key).or_insert([row.version; 2]);
                *last = [last[1], row.version];
            }
        }
    }
}
