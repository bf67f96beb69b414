//! Vouchers of several shops, in a store of their own. Each can be spent once, even by concurrent requests, and expires
//! by itself. Its code is sealed, and records of an earlier release are read and upgraded.
//!
//! `cargo run --package keyproof-store --example vouchers [FILE]`. Without a file it uses a temporary folder.

use std::{
    env,
    error::Error,
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use keyproof_store::{
    CommitError, Entropy, Key, MasterKey, MasterKeys, Prefix, Record, Sealed, Store, SystemEntropy,
    Timestamp,
    serde_json::Value,
    sqlite::{SqliteEngine, SqliteOptions},
};
use serde::{Deserialize, Serialize};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A voucher in the form of the first release.
#[derive(Clone, Serialize, Deserialize)]
struct OldVoucher {
    cents: u64,
}

impl Record for OldVoucher {
    const TYPE: &'static str = "voucher";
    const VERSION: u32 = 1;
}

/// A voucher in the form of this release.
#[derive(Clone, Serialize, Deserialize)]
struct Voucher {
    cents: u64,
    spent_at: Option<Timestamp>,
    /// The code that the customer shows, readable only with the master key.
    code: Option<Sealed>,
}

impl Record for Voucher {
    const TYPE: &'static str = "voucher";
    const VERSION: u32 = 2;

    /// The first release deleted spent vouchers, so the existing ones are unspent.
    fn upgrade(from: u32, mut data: Value) -> Option<Value> {
        let voucher = data.as_object_mut().filter(|_| from == 1)?;
        voucher.insert("spent_at".to_owned(), Value::Null);
        Some(data)
    }
}

fn voucher_key(shop: &str, number: &str) -> Key {
    Key::new("voucher", [shop, number])
}

/// Spends a voucher and returns its value; `None` if it is spent, has expired or never existed.
async fn spend(store: &Store, key: &Key, now: Timestamp) -> Outcome<Option<u64>> {
    loop {
        let Some(found) = store.get::<Voucher>(key, now).await? else {
            return Ok(None);
        };
        let mut voucher = found.record;
        if voucher.spent_at.replace(now).is_some() {
            return Ok(None);
        }
        let mut batch = store.batch(now);
        batch.replace(key, found.version, &voucher, found.expires_at);
        match store.commit(batch).await {
            Ok(()) => return Ok(Some(voucher.cents)),
            // It was changed concurrently: read it again.
            Err(CommitError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

async fn open(file: &Path, now: Timestamp) -> Outcome<Store> {
    let entropy = Arc::new(SystemEntropy::new());
    // A real program stores the key outside the file, and loads it at each start.
    let keys = MasterKeys::new(&MasterKey::generate(&*entropy));
    let engine = Arc::new(SqliteEngine::open(file, &SqliteOptions::default())?);
    Ok(Store::open(engine, keys, entropy, now).await?)
}

async fn run(file: &Path) -> Outcome<()> {
    let now = Timestamp::try_from(SystemTime::now())?;
    let store = open(file, now).await?;
    let (old, new) = (
        voucher_key("corner shop", "1"),
        voucher_key("corner shop", "2"),
    );
    let tomorrow = now.saturating_add(Duration::from_secs(86_400));

    // Both are inserted or neither, and durably when `commit` returns.
    let mut code = [0; 8];
    SystemEntropy::new().fill(&mut code);
    let mut batch = store.batch(now);
    batch.insert(&old, &OldVoucher { cents: 500 }, None);
    let voucher = Voucher {
        cents: 2_000,
        spent_at: None,
        code: Some(store.seal(&new, "code", &code)),
    };
    batch.insert(&new, &voucher, Some(tomorrow));
    store.commit(batch).await?;

    let of_shop = Prefix::new("voucher", ["corner shop"]);
    for (key, found) in store.scan::<Voucher>(&of_shop, None, 100, now).await? {
        println!("{key}: {} cents", found.record.cents);
        if let Some(sealed) = &found.record.code {
            assert_eq!(*store.unseal(&key, "code", sealed)?, code);
        }
    }
    // Twice at once: one of them succeeds.
    let (one, other) = tokio::join!(spend(&store, &old, now), spend(&store, &old, now));
    println!("spent at two tills at once: {:?}, {:?}", one?, other?);
    println!(
        "the other one tomorrow: {:?}",
        spend(&store, &new, tomorrow).await?
    );
    store.close().await;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    if let Some(file) = env::args_os().nth(1) {
        return run(Path::new(&file)).await;
    }
    let folder = env::temp_dir().join(format!("keyproof-vouchers-{}", std::process::id()));
    let outcome = run(&folder.join("vouchers.db")).await;
    fs::remove_dir_all(folder)?;
    outcome
}
