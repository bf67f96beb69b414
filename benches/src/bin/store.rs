//! Durable commits per second through the embedded store, compared with the rate of the disk itself.
//!
//! `cargo xtask bench store`: two to three minutes. `--help` lists the options; the folder, by default one below `target/`,
//! decides which disk is measured.
//!
//! A commit is a batch of one compare-and-set: a caller replaces its own record, about 200 bytes of JSON, at the version that it
//! wrote last. The raw limit is a sequence of 4 KiB overwrites, each followed by fdatasync, on a preallocated file in the same
//! folder. The bare loop is rusqlite in one thread, with 128 of the same changes per transaction. All take turns.
//!
//! Then batches of a login's shape from 256 callers (one replacement, three inserts) are compared with batches of one replacement
//! each, both on records of users in no order. The bytes that the former write to disk are counted (`write_bytes` of
//! `/proc/self/io`, including checkpoints). The store is new, or has 400,000 records of earlier logins. `cargo xtask bench store --
//! --users 1000000` does only that, with this number of users: making them takes about a minute.
//!
//! Then reads per second, and the processor time of each, in the store with 400,000 records: of one record, of as many as a login
//! needs, and of one that leads to another; without writers, and while 32 callers commit batches of a login's shape.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Parser;
use keyproof_benches::{
    Aim, Result,
    batches::{Batches, Shape},
    in_folder_below, median, progress,
    reads::{self, Question},
    report,
    usage::written_bytes,
    users,
};
use keyproof_store::{
    Entropy, Key, MasterKey, MasterKeys, Record, Store, SystemEntropy, Timestamp, Version,
    sqlite::{SqliteEngine, SqliteOptions},
};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use tokio::{runtime::Runtime, task::JoinSet};

const CALLERS: [usize; 3] = [1, 32, 256];
const ROUND: Duration = Duration::from_millis(1_000);
const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
/// The default number of users in batches of a login's shape, which the aims are for.
const USERS: usize = 2_048;
/// Records that earlier logins have left.
const LEFT: usize = 400_000;
const LOGIN_CALLERS: usize = 256;
/// The number of turns whose bytes are counted.
const BYTES: usize = 5;
/// The number of writers while reads are measured.
const WRITERS: usize = 32;

#[derive(Parser)]
struct Options {
    /// Where the stores are made; by default below `target/`
    folder: Option<PathBuf>,
    /// Only batches of a login's shape, of this number of users, in a store without records of logins
    #[arg(long)]
    users: Option<usize>,
    /// Turns of each, after a warm-up turn
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let rounds = options.rounds;
    in_folder_below(options.folder, "store", |folder| {
        println!("folder: {}", folder.display());
        println!("file system: {}", file_system(folder)?);
        println!("cores: {}", std::thread::available_parallelism()?);
        let runtime = Runtime::new()?;
        if let Some(users) = options.users {
            return runtime.block_on(logins(&folder.join("logins.db"), users, 0, rounds));
        }
        commits(&runtime, folder, rounds)?;
        runtime.block_on(async {
            logins(&folder.join("logins.db"), USERS, 0, rounds).await?;
            logins(&folder.join("left.db"), USERS, LEFT, rounds).await?;
            reading(&folder.join("reads.db")).await
        })
    })
}

/// Compares one-record commits with the disk's own rate and rusqlite's.
fn commits(runtime: &Runtime, folder: &Path, rounds: usize) -> Result<()> {
    let raw = Raw::create(folder)?;
    let mut bare = Bare::create(folder)?;
    let engine = SqliteEngine::open(folder.join("store.db"), &SqliteOptions::default())?;
    let entropy = Arc::new(SystemEntropy::new());
    let keys = MasterKeys::new(&MasterKey::generate(&*entropy));
    let store = runtime.block_on(Store::open(Arc::new(engine), keys, entropy, NOW))?;
    let mut callers = Vec::new();
    for count in CALLERS {
        callers.push(Callers::start(runtime, &store, count)?);
    }

    let mut raw_rates = Vec::new();
    let mut bare_rates = Vec::new();
    let mut store_rates = [const { Vec::new() }; CALLERS.len()];
    for round in 0..=rounds {
        progress("commits of one record, round", round, rounds);
        let raw_rate = raw.rate()?;
        let bare_rate = bare.rate()?;
        let mut rates = Vec::new();
        for callers in &mut callers {
            rates.push(callers.rate(runtime, &store)?);
        }
        // The first round warms up, and is discarded.
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
    println!("commits of one record");
    let line =
        |what: &str, rate: f64| println!("  {what:<44} {rate:>10.0}/s {:>8.2} x", rate / raw);
    line("4 KiB overwrite and fdatasync", raw);
    line("rusqlite alone, 128 to a transaction", median(bare_rates));
    let rates = store_rates.map(median);
    for (count, rate) in CALLERS.iter().zip(rates) {
        line(&format!("store, {count} concurrent callers"), rate);
    }
    let [.., at_256] = rates;
    report(
        "  durable commits at 256 callers, of the disk's own rate",
        at_256 / raw,
        Aim::AtLeast(8.0),
    );
    Ok(())
}

/// Compares batches of a login's shape with batches of one replacement, and counts the bytes that the former write.
async fn logins(path: &Path, users: usize, records: usize, rounds: usize) -> Result<()> {
    println!("{users} users, {records} records of logins before, {LOGIN_CALLERS} callers");
    let store = users::open(path, &MasterKey::generate(&SystemEntropy::new()), NOW).await?;
    let mut batches = Batches::start(store, users, records).await?;
    let each = 2_048;
    let mut rates = [const { Vec::new() }; 2];
    for round in 0..=rounds {
        progress("batches of logins, round", round, rounds);
        let turn = [
            batches.commit(Shape::Login, LOGIN_CALLERS, each, 4).await?,
            batches
                .commit(Shape::Single, LOGIN_CALLERS, each, 32)
                .await?,
        ];
        if round > 0 {
            rates
                .iter_mut()
                .zip(turn)
                .for_each(|(all, rate)| all.push(rate));
        }
    }
    let [login, single] = rates.map(median);
    println!("  {:<44} {login:>10.0}/s", "batches of a login's shape");
    println!("  {:<44} {single:>10.0}/s", "batches of one replacement");
    let before = written_bytes("self").ok();
    for _ in 0..BYTES {
        batches.commit(Shape::Login, LOGIN_CALLERS, each, 4).await?;
    }
    // The last checkpoint is made when the store is closed.
    batches.close().await;
    let kib = before
        .zip(written_bytes("self").ok())
        .map(|(before, after)| (after - before) as f64 / (BYTES * each * 4) as f64 / 1_024.0);
    let kib = kib.ok_or("the system does not count bytes to disk")?;
    if users == USERS {
        let ratio = login / single;
        report(
            "  login-shaped, of single replacements",
            ratio,
            Aim::AtLeast(0.08),
        );
        report("  KiB to disk a login-shaped batch", kib, Aim::AtMost(12.0));
    } else {
        println!(
            "  login-shaped, of single replacements: {:.2}",
            login / single
        );
        println!("  KiB to disk a login-shaped batch: {kib:.1}");
    }
    Ok(())
}

/// Measures reads, alone and beside writers.
async fn reading(path: &Path) -> Result<()> {
    let store = users::open(path, &MasterKey::generate(&SystemEntropy::new()), NOW).await?;
    let mut batches = Batches::start(store.clone(), USERS, LEFT).await?;
    let places = batches.places();
    for is_written in [false, true] {
        let meanwhile = if is_written {
            "while others write"
        } else {
            "alone"
        };
        for (number, callers) in CALLERS.into_iter().enumerate() {
            progress("reads, callers", number + 1, CALLERS.len());
            println!("reads {meanwhile}, {callers} callers");
            for question in [Question::One, Question::Many, Question::Followed] {
                let read = reads::measure(&store, &places, question, callers, ROUND);
                let figures = if is_written {
                    beside(&mut batches, read).await?
                } else {
                    read.await?
                };
                let reads::Figures { rate, processor } = figures;
                println!(
                    "  {:<44} {rate:>10.0}/s {processor:>8.1} us",
                    format!("{question:?}")
                );
            }
        }
    }
    batches.close().await;
    Ok(())
}

/// Measures while others commit batches of a login's shape.
async fn beside<T>(batches: &mut Batches, measured: impl Future<Output = Result<T>>) -> Result<T> {
    let is_over = AtomicBool::new(false);
    let writing = async {
        while !is_over.load(Ordering::Relaxed) {
            batches.commit(Shape::Login, WRITERS, WRITERS, 8).await?;
        }
        Ok(())
    };
    let measured = async {
        let measured = measured.await;
        is_over.store(true, Ordering::Relaxed);
        measured
    };
    let (measured, written): (_, Result<()>) = tokio::join!(measured, writing);
    written?;
    measured
}

/// Returns the file system of `folder`, from the system's list of mounts.
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

/// Returns how often `step` succeeds per second in one round.
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
        // Written, not only resized, so that no sync has to allocate blocks.
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

/// The same table and the same changes, without channels, JSON and concurrent callers.
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
            "CREATE TABLE records (key BLOB NOT NULL PRIMARY KEY, version BLOB NOT NULL, body BLOB NOT NULL) STRICT",
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

/// Callers that each replace their own record repeatedly.
struct Callers(Vec<(Key, Version)>);

#[derive(Clone, Serialize, Deserialize)]
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
