use std::sync::Arc;

use zeroize::Zeroizing;

use crate::{
    Batch, CommitError, CommitObserver, Engine, EngineSnapshot, Entropy, Key, KeyId, MasterKeys,
    OpenError, PoolFigures, Prefix, Raw, ReadPlan, Reading, Record, Sealed, Snapshot, Standbys,
    StoreError, Stored, Timestamp, UnsealError, Version, keyring::Keyring,
};

/// Typed records over an [`Engine`], and the sealing of the secrets in them.
///
/// Cheap to clone; all clones are one store.
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
/// // Under another master key nothing of it can be opened.
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
    /// Opens the store that `engine` keeps.
    ///
    /// An empty one notes the first of `keys` as the one that seals; any other must name only keys that are among them.
    ///
    /// # Errors
    ///
    /// [`OpenError::MasterKey`] names the ids if the keys do not match; [`OpenError`] says what else.
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
        // Another node may do the same at the same time: whoever loses looks again.
        while !store.claim(now).await? {}
        store.learn().await.map_err(OpenError::Fingerprint)?;
        Ok(store)
    }

    /// The source that versions and nonces are drawn from.
    pub fn entropy(&self) -> &dyn Entropy {
        &*self.entropy
    }

    /// The record at `key`, unless it is absent or expired.
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
    /// assert!(found.is_none()); // nobody has inserted it, or it has expired
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If the engine cannot answer, or the record is no `R`.
    pub async fn get<R: Record>(
        &self,
        key: &Key,
        now: Timestamp,
    ) -> Result<Option<Stored<R>>, StoreError> {
        let raw = self.get_raw(key, now).await?;
        raw.as_ref().map(Raw::decode).transpose()
    }

    /// The same for whoever only looks at it: [`Raw::decode_shared`].
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

    async fn get_raw(&self, key: &Key, now: Timestamp) -> Result<Option<Raw>, StoreError> {
        let rows = self.engine.get_many(std::slice::from_ref(key), now);
        let row = rows.await?.pop().flatten();
        Ok(row.map(|row| Raw::from_row(key.clone(), row)))
    }

    /// The records at `keys`, in their order, all from one consistent state.
    ///
    /// # Errors
    ///
    /// If the engine cannot answer.
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

    /// All that a use case reads, in one go and from one consistent state: the keys that `plan` knows at once, and those
    /// that follow from what is found there.
    ///
    /// However many records and rounds, it is one hop to a thread that reads an embedded store, and for a database one round
    /// trip a round. The state is one of those between the call and the answer.
    ///
    /// # Errors
    ///
    /// If the engine cannot answer; what the plan's rule says; [`StoreError::TooManyKeys`], [`StoreError::TooManyRounds`].
    pub async fn read(&self, plan: ReadPlan, now: Timestamp) -> Result<Snapshot, StoreError> {
        let reading = self.engine.read(Reading::new(plan, now), now).await?;
        reading.into_snapshot()
    }

    /// The first `limit` records of `prefix` whose key is greater than `after`, in key order. To
    /// page, hand in the last key of the page before.
    ///
    /// # Errors
    ///
    /// If the engine cannot answer, or a record is no `R`.
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

    /// Like [`Store::scan`], for records of any type. At [`Timestamp::EPOCH`] nothing has expired:
    /// that is how to copy all there is.
    ///
    /// # Errors
    ///
    /// If the engine cannot answer.
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

    /// At most `limit` records that expired at or before `before` and are still stored, the
    /// earliest first. [`Batch::remove`] at the version given takes one away for good, and conflicts
    /// if it has been inserted again meanwhile.
    ///
    /// # Errors
    ///
    /// If the engine cannot answer.
    pub async fn expired(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Key, Version)>, StoreError> {
        Ok(self.engine.expired(before, limit).await?)
    }

    /// An empty batch, which judges expiry at `now`.
    pub fn batch(&self, now: Timestamp) -> Batch {
        Batch::new(self.entropy.clone(), now)
    }

    /// Applies all of `batch`, durably, or nothing.
    ///
    /// Dropping the future does not take the batch back.
    ///
    /// What is sealed in it is committed under the key that the store names, whatever it was sealed under before. If another
    /// key was named meanwhile, that is a conflict of an entry behind the batch's own.
    ///
    /// # Errors
    ///
    /// [`CommitError`] tells apart a conflict, a batch that was not applied, and one of which that
    /// could not be learnt.
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

    /// Seals a secret for one field of the record at `key`; elsewhere it does not open.
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
    /// let sealed = store.seal(&key, "secret", b"12345"); // a field of the record, next to what is no secret
    /// assert_eq!(*store.unseal(&key, "secret", &sealed)?, *b"12345");
    /// assert!(store.unseal(&Key::new("device", ["shop", "till-2"]), "secret", &sealed).is_err()); // moved
    /// # Ok(())
    /// # }
    /// ```
    pub fn seal(&self, key: &Key, field: &str, plaintext: &[u8]) -> Sealed {
        let sealing = self.keyring.sealing();
        sealing.seal(&*self.entropy, key, field, plaintext)
    }

    /// Opens what [`Store::seal`] sealed for the same key and field.
    ///
    /// # Errors
    ///
    /// If it was altered or moved, or its master key is not at hand.
    pub fn unseal(
        &self,
        key: &Key,
        field: &str,
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, UnsealError> {
        self.keyring.keys().open(key, field, sealed)
    }

    /// All that is stored, as it is at one moment between the call and the answer.
    ///
    /// # Errors
    ///
    /// If the engine cannot answer, or keeps no state open.
    pub async fn snapshot(&self) -> Result<Box<dyn EngineSnapshot>, StoreError> {
        Ok(self.engine.snapshot().await?)
    }

    /// The version of the record by which the store knows its master keys: it names this store among others, until its keys
    /// are rotated. `None` if the record is gone.
    ///
    /// # Errors
    ///
    /// If the engine cannot answer, or the record cannot be read.
    pub async fn identity(&self) -> Result<Option<Version>, StoreError> {
        Ok(self.fingerprint().await?.map(|stored| stored.version))
    }

    /// Whether the store can be expected to answer.
    ///
    /// # Errors
    ///
    /// Why it cannot; [`StoreError::MasterKey`] if another key seals since, which is not at hand here.
    pub async fn ready(&self) -> Result<(), StoreError> {
        self.engine.ready().await?;
        self.learn().await?;
        self.keyring.missing().map_or(Ok(()), Err)
    }

    /// About how many records are stored, expired ones and the store's own included: see [`Engine::estimate`](crate::Engine::estimate).
    ///
    /// # Errors
    ///
    /// If the engine cannot answer.
    pub async fn estimate(&self) -> Result<Option<u64>, StoreError> {
        Ok(self.engine.estimate().await?)
    }

    /// Which copies of the database follow it at the moment: see [`Engine::standbys`](crate::Engine::standbys).
    ///
    /// # Errors
    ///
    /// Why it could not be asked.
    pub async fn standbys(&self) -> Result<Standbys, StoreError> {
        Ok(self.engine.standbys().await?)
    }

    /// What the clock of the database's machine says: see [`Engine::server_time`](crate::Engine::server_time).
    ///
    /// # Errors
    ///
    /// Why it could not be asked.
    pub async fn server_time(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.engine.server_time().await?)
    }

    /// The connections to the database, as they are now: see [`Engine::pool`](crate::Engine::pool).
    pub fn pool(&self) -> Option<PoolFigures> {
        self.engine.pool()
    }

    /// The master key that seals, as it was last found.
    pub fn sealing_key(&self) -> KeyId {
        self.keyring.named().sealing
    }

    /// Takes the records away from everybody who has the store open, for good: see [`Engine::fence`](crate::Engine::fence).
    ///
    /// # Errors
    ///
    /// If the engine fails.
    pub async fn fence(&self) -> Result<(), StoreError> {
        Ok(self.engine.fence().await?)
    }

    /// Gives back the room of what was removed or replaced, and overwrites it, as far as the engine can.
    ///
    /// # Errors
    ///
    /// If the engine fails.
    pub async fn compact(&self) -> Result<(), StoreError> {
        Ok(self.engine.compact().await?)
    }

    /// From now on tells `observer`, in place of any before, how the commits of all clones end.
    pub fn observe(&self, observer: Arc<dyn CommitObserver>) {
        self.engine.observe(observer);
    }

    /// Finishes what was begun and closes the engine, for all clones.
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
