//! Durable commits a second through the embedded store, beside what the disk itself can do.
//!
//! `cargo run --release -p keyproof-benches --bin store [FOLDER]`; the folder, by default one below
//! `target/`, decides which disk is measured.
//!
//! A commit is a batch of one compare-and-set: a caller replaces a record of its own, about 200
//! bytes of JSON, at the version it wrote last. The raw limit is one 4 KiB overwrite and fdatasync
//! after the other on a preallocated file in the same folder; the loop is rusqlite in one thread
//! and nothing around it, 128 of the same changes to a transaction. All take turns.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyproof_benches::{Aim, Result, in_folder, median, report};
use keyproof_store::sqlite::{SqliteEngine, SqliteOptions};
use keyproof_store::{
    Entropy, Key, MasterKey, MasterKeys, Record, Store, SystemEntropy, Timestamp, Version,
};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const CALLERS: [usize; 3] = [1, 32, 256];
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(1_500);
const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

fn main() -> Result<()> {
    in_folder("store", measure)
}

fn measure(folder: &Path) -> Result<()> {
    println!("folder: {}", folder.display());
    println!("file system: {}", file_system(folder)?);
    println!("cores: {}", std::thread::available_parallelism()?);

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let raw = Raw::create(folder)?;
    let mut bare = Bare::create(folder)?;
    let engine = SqliteEngine::open(folder.join("store.db"), &SqliteOptions::default())?;
    let entropy = Arc::new(SystemEntropy::new());
    let keys = MasterKeys::new(&MasterKey::generate(&*entropy));
    let store = runtime.block_on(Store::open(Arc::new(engine), keys, entropy, NOW))?;
    let mut callers = Vec::new();
    for count in CALLERS {
        callers.push(Callers::start(&runtime, &store, count)?);
    }

    let mut raw_rates = Vec::new();
    let mut bare_rates = Vec::new();
    let mut store_rates = [const { Vec::new() }; CALLERS.len()];
    for round in 0..=ROUNDS {
        let raw_rate = raw.rate()?;
        let bare_rate = bare.rate()?;
        let mut rates = Vec::new();
        for callers in &mut callers {
            rates.push(callers.rate(&runtime, &store)?);
        }
        // The first round warms up, and is thrown away.
        if round > 0 {
            raw_rates.push(raw_rate);
            bare_rates.push(bare_rate);
            store_rates
                .iter_mut()
                .zip(rates)
                .for_each(|(all, rate)| all.push(rate));
        }
    }
    runtime.block_on(store.close());

    let raw = median(raw_rates);
    let line = |what: &str, rate: f64| println!("{what:<44} {rate:>10.0}/s {:>8.2} x", rate / raw);
    line("4 KiB overwrite and fdatasync", raw);
    line("rusqlite alone, 128 to a transaction", median(bare_rates));
    let rates = store_rates.map(median);
    for (count, rate) in CALLERS.iter().zip(rates) {
        line(&format!("store, {count} concurrent callers"), rate);
    }
    let [.., at_256] = rates;
    report(
        "durable commits at 256 callers, of the disk's own rate",
        at_256 / raw,
        Aim::AtLeast(8.0),
    );
    Ok(())
}

/// What `folder` is on, as the system's list of mounts says.
fn file_system(folder: &Path) -> Result<String> {
    let mounts = fs::read_to_string("/proc/mounts")?;
    let fields = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>());
    let mount = fields
        .filter(|fields| fields.get(1).is_some_and(|point| folder.starts_with(point)))
        .max_by_key(|fields| fields.get(1).map(|point| point.len()));
    Ok(match mount.as_deref() {
        Some([device, point, kind, options, ..]) => {
            format!("{kind} on {point} ({device}, {options})")
        }
        _ => "unknown".to_owned(),
    })
}

/// Counts how often `step` succeeds in one round, a second.
fn rate(mut step: impl FnMut() -> Result<usize>) -> Result<f64> {
    let start = Instant::now();
    let mut done = 0;
    while start.elapsed() < ROUND {
        done += step()?;
    }
    Ok(done as f64 / start.elapsed().as_secs_f64())
}

struct Raw(File);

impl Raw {
    const BLOCK: usize = 4_096;
    const BLOCKS: u64 = 1_024;

    fn create(folder: &Path) -> Result<Self> {
        let file = File::create_new(folder.join("raw"))?;
        // Written, not just sized, so that no sync has to allocate.
        file.write_all_at(&vec![1; Self::BLOCK * Self::BLOCKS as usize], 0)?;
        file.sync_all()?;
        Ok(Self(file))
    }

    fn rate(&self) -> Result<f64> {
        let mut block = 0;
        rate(|| {
            block = (block + 1) % Self::BLOCKS;
            self.0
                .write_all_at(&[block as u8; Self::BLOCK], block * Self::BLOCK as u64)?;
            self.0.sync_data()?;
            Ok(1)
        })
    }
}

/// The same table and the same changes, without channels, JSON and callers.
struct Bare {
    connection: Connection,
    records: Vec<(Key, [u8; 16])>,
}

impl Bare {
    const GROUP: usize = 128;

    fn create(folder: &Path) -> Result<Self> {
        let connection = Connection::open(folder.join("bare.db"))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(
            "CREATE TABLE records (key BLOB NOT NULL PRIMARY KEY, version BLOB NOT NULL, body BLOB NOT NULL)
                 STRICT, WITHOUT ROWID",
        )?;
        let records: Vec<_> = (0..2 * Self::GROUP)
            .map(|at| (caller_key(0, at), [0; 16]))
            .collect();
        for (key, version) in &records {
            let row = params![key.as_bytes(), version, [b'x'; 200]];
            connection.execute("INSERT INTO records VALUES (?1, ?2, ?3)", row)?;
        }
        Ok(Self {
            connection,
            records,
        })
    }

    fn rate(&mut self) -> Result<f64> {
        let mut replace = self.connection.prepare(
            "UPDATE records SET version = ?3, body = ?4 WHERE key = ?1 AND version = ?2",
        )?;
        let entropy = SystemEntropy::new();
        rate(|| {
            for group in self.records.chunks_mut(Self::GROUP) {
                let transaction = self.connection.unchecked_transaction()?;
                for (key, version) in group {
                    let mut next = [0; 16];
                    entropy.fill(&mut next);
                    if replace.execute(params![key.as_bytes(), &*version, next, [b'y'; 200]])? != 1
                    {
                        return Err("a lost compare-and-set".into());
                    }
                    *version = next;
                }
                transaction.commit()?;
            }
            Ok(self.records.len())
        })
    }
}

/// Callers that each replace a record of their own, again and again.
struct Callers(Vec<(Key, Version)>);

#[derive(Serialize, Deserialize)]
struct Counter {
    count: u64,
    ballast: String,
}

impl Record for Counter {
    const TYPE: &'static str = "counter";
    const VERSION: u32 = 1;
}

impl Callers {
    fn start(runtime: &Runtime, store: &Store, count: usize) -> Result<Self> {
        let mut batch = store.batch(NOW);
        let counter = Counter {
            count: 0,
            ballast: "x".repeat(150),
        };
        let records = (0..count)
            .map(|at| {
                let key = caller_key(count, at);
                let version = batch.insert(&key, &counter, None);
                (key, version)
            })
            .collect();
        runtime.block_on(store.commit(batch))?;
        Ok(Self(records))
    }

    fn rate(&mut self, runtime: &Runtime, store: &Store) -> Result<f64> {
        runtime.block_on(async {
            let start = Instant::now();
            let mut tasks = JoinSet::new();
            for (key, version) in self.0.drain(..) {
                tasks.spawn(replace(store.clone(), key, version, start));
            }
            let mut commits = 0;
            while let Some(task) = tasks.join_next().await {
                let (key, version, count) = task??;
                commits += count;
                self.0.push((key, version));
            }
            Ok(commits as f64 / start.elapsed().as_secs_f64())
        })
    }
}

async fn replace(
    store: Store,
    key: Key,
    mut at: Version,
    start: Instant,
) -> Result<(Key, Version, u64)> {
    let mut counter = Counter {
        count: 0,
        ballast: "x".repeat(150),
    };
    while start.elapsed() < ROUND {
        counter.count += 1;
        let mut batch = store.batch(NOW);
        at = batch.replace(&key, at, &counter, None);
        store.commit(batch).await?;
    }
    Ok((key, at, counter.count))
}

fn caller_key(callers: usize, caller: usize) -> Key {
    Key::new("bench", [format!("{callers}"), format!("{caller:04}")])
}
