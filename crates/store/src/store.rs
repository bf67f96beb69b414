use std::{ops::RangeInclusive, sync::Arc};

use zeroize::Zeroizing;

use crate::{
    Batch, CommitError, CommitObserver, Engine, EngineSnapshot, Entropy, Key, KeyId, MasterKeys,
    OpenError, PoolStatus, Prefix, Raw, ReadPlan, Reading, Record, Sealed, Snapshot, Standbys,
    StoreError, Stored, Timestamp, UnsealError, Version, keyring::Keyring,
};

/// Typed records over an [`Engine`], and the sealing of the secrets in them.
///
/// It is cheap to clone, and all clones are the same store.
///
/// ```
/// use std::sync::Arc;
/// use keyproof_store::memory::MemoryEngine;
/// use keyproof_store::{Key, MasterKey, MasterKeys, OpenError, Prefix, Record, Store, SystemEntropy, Timestamp};
///
/// #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// struct Device { name: String }
/// impl Record for Device { const TYPE: &'static str = "device"; const VERSION: u32 = 1; }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (engine, entropy) = (Arc::new(MemoryEngine::new()), Arc::new(SystemEntropy::new()));
/// let (keys, now) = (MasterKeys::new(&MasterKey::generate(&*entropy)), Timestamp::from_secs(1_700_000_000));
/// let store = Store::open(engine.clone(), keys, entropy.clone(), now).await?;
///
/// let mut batch = store.batch(now);
/// for name in ["till-1", "till-2"] {
///     batch.insert(&Key::new("device", ["shop", name]), &Device { name: name.to_owned() }, None);
/// }
/// store.commit(batch).await?;
/// let devices = store.scan::<Device>(&Prefix::new("device", ["shop"]), None, 100, now).await?;
/// assert_eq!(devices.len(), 2);
/// assert_eq!(devices[0].1.record.name, "till-1");
///
/// // With another master key the store cannot be opened.
/// let other = MasterKeys::new(&MasterKey::generate(&*entropy));
/// let refused = Store::open(engine, other, entropy, now).await;
/// assert!(matches!(refused, Err(OpenError::MasterKey { .. })));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Store {
    pub(crate) engine: Arc<dyn Engine>,
    entropy: Arc<dyn Entropy>,
    pub(crate) keyring: Arc<Keyring>,
}

impl Store {
    /// Opens the store of `engine`.
    ///
    /// If it is empty, the first of `keys` becomes the one that seals. Otherwise `keys` must include every key that the
    /// store's secrets may be sealed under.
    ///
    /// # Errors
    ///
    /// [`OpenError::MasterKey`] with the ids if the keys do not match; see [`OpenError`] for the others.
    pub async fn open(
        engine: Arc<dyn Engine>,
        keys: MasterKeys,
        entropy: Arc<dyn Entropy>,
        now: Timestamp,
    ) -> Result<Self, OpenError> {
        let store = Self {
            engine,
            entropy,
            keyring: Arc::new(Keyring::new(keys)),
        };
        // Another node may do the same at the same time; the one that loses tries again.
        while !store.claim(now).await? {}
        store.learn().await.map_err(OpenError::Fingerprint)?;
        Ok(store)
    }

    /// The entropy source for versions and nonces.
    pub fn entropy(&self) -> &dyn Entropy {
        &*self.entropy
    }

    /// Returns the record at `key`, or `None` if it is absent or expired.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use keyproof_store::memory::MemoryEngine;
    /// # use keyproof_store::{MasterKey, MasterKeys, Record, Store, SystemEntropy, Timestamp};
    /// # #[derive(Clone, serde::Serialize, serde::Deserialize)]
    /// # struct Voucher { cents: u64 }
    /// # impl Record for Voucher { const TYPE: &'static str = "voucher"; const VERSION: u32 = 1; }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (engine, entropy) = (Arc::new(MemoryEngine::new()), Arc::new(SystemEntropy::new()));
    /// # let (keys, now) = (MasterKeys::new(&MasterKey::generate(&*entropy)), Timestamp::from_secs(1_700_000_000));
    /// # let store = Store::open(engine, keys, entropy, now).await?;
    /// use keyproof_store::Key;
    ///
    /// let found = store.get::<Voucher>(&Key::new("voucher", ["shop", "4711"]), now).await?;
    /// assert!(found.is_none()); // never inserted, removed or expired
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If the engine fails, or the record is not an `R`.
    pub async fn get<R: Record>(
        &self,
        key: &Key,
        now: Timestamp,
    ) -> Result<Option<Stored<R>>, StoreError> {
        let raw = self.get_raw(key, now).await?;
        raw.as_ref().map(Raw::decode).transpose()
    }

    /// Like [`Store::get`], for read-only use; see [`Raw::decode_shared`].
    ///
    /// # Errors
    ///
    /// As for [`Store::get`].
    pub async fn get_shared<R: Record>(
        &self,
        key: &Key,
        now: Timestamp,
    ) -> Result<Option<Stored<Arc<R>>>, StoreError> {
        let raw = self.get_raw(key, now).await?;
        raw.as_ref().map(Raw::decode_shared).transpose()
    }

    pub(crate) async fn get_raw(
        &self,
        key: &Key,
        now: Timestamp,
    ) -> Result<Option<Raw>, StoreError> {
        let rows = self.engine.get_many(std::slice::from_ref(key), now);
        let row = rows.await?.pop().flatten();
        Ok(row.map(|row| Raw::from_row(key.clone(), row)))
    }

    /// Returns the records at `keys`, in their order, all from one consistent state.
    ///
    /// # Errors
    ///
    /// If the engine fails.
    pub async fn get_many(
        &self,
        keys: &[Key],
        now: Timestamp,
    ) -> Result<Vec<Option<Raw>>, StoreError> {
        let rows = self.engine.get_many(keys, now).await?;
        Ok(keys
            .iter()
            .zip(rows)
            .map(|(key, row)| Some(Raw::from_row(key.clone(), row?)))
            .collect())
    }

    /// Reads everything that a use case needs from one consistent state: the initial keys of `plan`, and those that
    /// follow from what is found.
    ///
    /// Whatever the number of records and rounds, an embedded store needs one hop to a reading thread, and a database
    /// one round trip per round. The state is one from between the call and the answer.
    ///
    /// # Errors
    ///
    /// If the engine fails; the error of the plan's rule; [`StoreError::TooManyKeys`], [`StoreError::TooManyRounds`].
    pub async fn read(&self, plan: ReadPlan, now: Timestamp) -> Result<Snapshot, StoreError> {
        let reading = self.engine.read(Reading::new(plan, now), now).await?;
        reading.into_snapshot()
    }

    /// Returns the first `limit` records of `prefix` whose key is greater than `after`, in key order. To page, pass the
    /// last key of the previous page.
    ///
    /// # Errors
    ///
    /// If the engine fails, or a record is not an `R`.
    pub async fn scan<R: Record>(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(Key, Stored<R>)>, StoreError> {
        let raws = self.scan_raw(prefix, after, limit, now).await?;
        raws.into_iter()
            .map(|raw| Ok((raw.key().clone(), raw.decode()?)))
            .collect()
    }

    /// Like [`Store::scan`], for records of any type. At [`Timestamp::EPOCH`] nothing has expired, so a scan then
    /// returns every record, for example to copy the store.
    ///
    /// # Errors
    ///
    /// If the engine fails.
    pub async fn scan_raw(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Raw>, StoreError> {
        let rows = self.engine.scan(prefix, after, limit, now).await?;
        Ok(rows
            .into_iter()
            .map(|(key, row)| Raw::from_row(key, row))
            .collect())
    }

    /// Returns the last `limit` records of `prefix` whose key is less than `before`, the last first. To page, pass the last
    /// key of the previous page.
    ///
    /// # Errors
    ///
    /// If the engine fails, or a record is not an `R`.
    pub async fn scan_back<R: Record>(
        &self,
        prefix: &Prefix,
        before: Option<&Key>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(Key, Stored<R>)>, StoreError> {
        let rows = self.engine.scan_back(prefix, before, limit, now).await?;
        rows.into_iter()
            .map(|(key, row)| {
                let stored = Raw::from_row(key.clone(), row).decode()?;
                Ok((key, stored))
            })
            .collect()
    }

    /// Returns at most `limit` stored records that expired in `within`, the earliest first. [`Batch::remove`]
    /// at the returned version deletes one for good, and conflicts if it has been inserted again meanwhile.
    ///
    /// Records that [`Batch::require_absent`] wrote expired at [`Timestamp::EPOCH`], and others may write them anew all
    /// the time. Remove these apart, so that they do not keep what expired later.
    ///
    /// # Errors
    ///
    /// If the engine fails.
    pub async fn expired(
        &self,
        within: RangeInclusive<Timestamp>,
        limit: usize,
    ) -> Result<Vec<(Key, Version)>, StoreError> {
        Ok(self.engine.expired(within, limit).await?)
    }

    /// Creates an empty batch, which decides expiry by `now`.
    pub fn batch(&self, now: Timestamp) -> Batch {
        Batch::new(self.entropy.clone(), now)
    }

    /// Applies all of `batch`, durably, or nothing.
    ///
    /// Dropping the future does not cancel the commit.
    ///
    /// Sealed values in the batch are committed under the key that the store names, whatever key they were sealed under
    /// before. If the store's key changes meanwhile, the commit conflicts at an entry index after the batch's own.
    ///
    /// # Errors
    ///
    /// [`CommitError`] distinguishes a conflict, a batch that was not applied, and one whose outcome is unknown.
    pub async fn commit(&self, mut batch: Batch) -> Result<(), CommitError> {
        let listeners = batch.take_listeners();
        let outcome = if batch.is_empty() {
            Ok(())
        } else {
            self.commit_guarded(batch).await
        };
        listeners.end(&outcome);
        outcome
    }

    /// Seals a secret for one field of the record at `key`. It cannot be opened for any other.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use keyproof_store::memory::MemoryEngine;
    /// # use keyproof_store::{Key, MasterKey, MasterKeys, Store, SystemEntropy, Timestamp};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (engine, entropy) = (Arc::new(MemoryEngine::new()), Arc::new(SystemEntropy::new()));
    /// # let (keys, now) = (MasterKeys::new(&MasterKey::generate(&*entropy)), Timestamp::from_secs(1_700_000_000));
    /// # let store = Store::open(engine, keys, entropy, now).await?;
    /// let key = Key::new("device", ["shop", "till-1"]);
    /// let sealed = store.seal(&key, "secret", b"12345"); // stored in the record's field `secret`
    /// assert_eq!(*store.unseal(&key, "secret", &sealed)?, *b"12345");
    /// assert!(store.unseal(&Key::new("device", ["shop", "till-2"]), "secret", &sealed).is_err()); // another record
    /// # Ok(())
    /// # }
    /// ```
    pub fn seal(&self, key: &Key, field: &str, plaintext: &[u8]) -> Sealed {
        let sealing = self.keyring.sealing();
        sealing.seal(&*self.entropy, key, field, plaintext)
    }

    /// Opens a value that [`Store::seal`] sealed for the same key and field.
    ///
    /// # Errors
    ///
    /// If it was altered or moved, or its master key was not given.
    pub fn unseal(
        &self,
        key: &Key,
        field: &str,
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, UnsealError> {
        self.keyring.keys().open(key, field, sealed)
    }

    /// Returns a snapshot of everything stored at one moment between the call and the answer.
    ///
    /// # Errors
    ///
    /// If the engine fails, or has no snapshots.
    pub async fn snapshot(&self) -> Result<Box<dyn EngineSnapshot>, StoreError> {
        Ok(self.engine.snapshot().await?)
    }

    /// Checks that the store can be expected to work.
    ///
    /// # Errors
    ///
    /// The reason why not; [`StoreError::MasterKey`] if the store's current master key was not given here.
    pub async fn ready(&self) -> Result<(), StoreError> {
        self.engine.ready().await?;
        self.learn().await?;
        self.keyring.missing().map_or(Ok(()), Err)
    }

    /// Returns the approximate number of stored records, including expired ones and the store's own; see
    /// [`Engine::estimate`](crate::Engine::estimate).
    ///
    /// # Errors
    ///
    /// If the engine fails.
    pub async fn estimate(&self) -> Result<Option<u64>, StoreError> {
        Ok(self.engine.estimate().await?)
    }

    /// Returns the database's standbys; see [`Engine::standbys`](crate::Engine::standbys).
    ///
    /// # Errors
    ///
    /// If the engine fails.
    pub async fn standbys(&self) -> Result<Standbys, StoreError> {
        Ok(self.engine.standbys().await?)
    }

    /// Returns the clock of the database's machine; see [`Engine::server_time`](crate::Engine::server_time).
    ///
    /// # Errors
    ///
    /// If the engine fails.
    pub async fn server_time(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.engine.server_time().await?)
    }

    /// Returns the state of the connection pool; see [`Engine::pool`](crate::Engine::pool).
    pub fn pool(&self) -> Option<PoolStatus> {
        self.engine.pool()
    }

    /// The master key that seals, as last read.
    pub fn sealing_key(&self) -> KeyId {
        self.keyring.named().sealing
    }

    /// Fences the store for good, for every process that has it open; see [`Engine::fence`](crate::Engine::fence).
    ///
    /// # Errors
    ///
    /// If the engine fails.
    pub async fn fence(&self) -> Result<(), StoreError> {
        Ok(self.engine.fence().await?)
    }

    /// Frees the space of removed and replaced records and overwrites it, as far as the engine can.
    ///
    /// # Errors
    ///
    /// If the engine fails.
    pub async fn compact(&self) -> Result<(), StoreError> {
        Ok(self.engine.compact().await?)
    }

    /// Reports how the commits of all clones end to `observer` from now on, instead of any earlier one.
    pub fn observe(&self, observer: Arc<dyn CommitObserver>) {
        self.engine.observe(observer);
    }

    /// Finishes the operations in progress and closes the engine, for all clones.
    pub async fn close(&self) {
        self.engine.close().await;
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("keys", self.keyring.keys())
            .finish_non_exhaustive()
    }
}
