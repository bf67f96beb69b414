//! A store's batches alone, in the shape of a login's: one record of the user is replaced, and three new records are inserted,
//! under keys in order of time as in the service.

use std::time::{Instant, SystemTime};

use keyproof_store::{Key, Record, Store, Timestamp, Version};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::Result;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_010);

/// Inserts per batch when records are made before a measurement.
const FILLED: usize = 500;

/// The collections that a login inserts into, and the lengths of their records in bytes.
const INSERTED: [(&str, usize); 3] = [("a", 150), ("b", 250), ("c", 350)];

/// The contents of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A login's batch: one replacement and three inserts.
    Login,
    /// One replacement.
    Single,
}

/// A store with records to replace, one per user.
pub struct Batches {
    store: Store,
    records: Vec<(Key, Version)>,
}

/// A record as large as a second factor's record, or as the others that a login writes.
#[derive(Clone, Serialize, Deserialize)]
pub struct Ballast(String);

impl Record for Ballast {
    const TYPE: &'static str = "ballast";
    const VERSION: u32 = 1;
}

impl Batches {
    /// Starts with this number of users, and this number of records as logins insert them.
    pub async fn start(store: Store, users: usize, inserted: usize) -> Result<Self> {
        let numbers: Vec<usize> = (0..users).collect();
        let mut records = Vec::new();
        for numbers in numbers.chunks(FILLED) {
            let mut batch = store.batch(NOW);
            for number in numbers {
                let key = Key::new("replaced", ["org".to_owned(), format!("{number:07}")]);
                let version = batch.insert(&key, &Ballast("x".repeat(500)), None);
                records.push((key, version));
            }
            store.commit(batch).await?;
        }
        let mut left = inserted;
        while left > 0 {
            let mut batch = store.batch(NOW);
            for _ in 0..left.min(FILLED).div_ceil(INSERTED.len()) {
                insert(&store, &mut batch);
            }
            left = left.saturating_sub(FILLED);
            store.commit(batch).await?;
        }
        // Users log in in no order, so consecutive users of a turn are a prime number of places apart.
        let mut scattered = Vec::with_capacity(users);
        let mut place = 0;
        for _ in 0..users {
            scattered.extend(records.get(place).cloned());
            place = (place + 7_919) % users;
        }
        Ok(Self {
            store,
            records: scattered,
        })
    }

    /// Returns the keys of the records that are replaced, in no order.
    pub fn places(&self) -> Vec<Key> {
        self.records.iter().map(|(key, _)| key.clone()).collect()
    }

    /// Commits batches for each of `users` users, from `callers` callers, and returns the batches per second. The next turn takes
    /// other users if there are any.
    pub async fn commit(
        &mut self,
        shape: Shape,
        callers: usize,
        users: usize,
        times: usize,
    ) -> Result<f64> {
        let others = self.records.split_off(users.min(self.records.len()));
        let mut tasks = JoinSet::new();
        let start = Instant::now();
        for share in self.records.chunks(users.div_ceil(callers)) {
            tasks.spawn(commit(self.store.clone(), shape, share.to_vec(), times));
        }
        let done = tasks.join_all().await;
        let rate = (self.records.len() * times) as f64 / start.elapsed().as_secs_f64();
        self.records = others;
        for records in done {
            self.records.extend(records?);
        }
        Ok(rate)
    }

    /// Waits until the store is closed, if this is its only owner.
    pub async fn close(self) {
        drop(self.records);
        // The writer's thread closes SQLite's last connection, and nothing waits for that thread.
        drop(self.store);
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    }
}

async fn commit(
    store: Store,
    shape: Shape,
    mut records: Vec<(Key, Version)>,
    times: usize,
) -> Result<Vec<(Key, Version)>> {
    for _ in 0..times {
        for (key, version) in &mut records {
            let mut batch = store.batch(NOW);
            *version = batch.replace(key, *version, &Ballast("y".repeat(500)), None);
            if shape == Shape::Login {
                insert(&store, &mut batch);
            }
            store.commit(batch).await?;
        }
    }
    Ok(records)
}

/// Adds the inserts of a login, each under the time and a random value.
fn insert(store: &Store, batch: &mut keyproof_store::Batch) {
    let moment = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let moment = format!("{:016x}", moment.as_millis());
    for (collection, length) in INSERTED {
        let mut id = [0; 32];
        store.entropy().fill(&mut id);
        let key = Key::new(collection, [&b"_"[..], moment.as_bytes(), &id]);
        batch.insert(&key, &Ballast("x".repeat(length)), None);
    }
}
