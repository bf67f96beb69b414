//! Rotating the master key while servers run: every node gets both keys, then the store names the new one, then every
//! sealed value is sealed again.
//!
//! A record's secrets are found by their envelope alone. Everything around them stays the same byte for byte, except
//! for white space: numbers are not parsed and names not sorted.

use std::{fmt, slice};

use serde::{
    Deserialize,
    de::{Deserializer, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    Batch, Change, CommitError, EngineSnapshot, Key, KeyId, NotApplied, Prefix, Raw, Row, Sealed,
    Store, StoreError, Stored, Timestamp, UnsealError,
    fingerprint::{Fingerprint, fingerprint_key},
};

/// How many records are read at a time, each of at most a mebibyte.
const PAGE: usize = 64;

/// The depth to which serde_json reads, so that everything the record's own type can read is found.
const MAX_DEPTH: usize = 128;

/// Why a step of a rotation failed. Completed work is harmless, and another attempt continues from there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RotateError {
    /// A record, or finally the fingerprint, could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The store does not name its master keys.
    #[error("the store does not name its master key")]
    NoFingerprint,
    /// No next key was prepared.
    #[error("no other master key is prepared")]
    NotPrepared,
    /// A record could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another rotation is not finished.
    #[error("a rotation from master key {from} to {to} is not finished")]
    UnderWay {
        /// A key that some secrets may still be under.
        from: KeyId,
        /// The key that seals, or will.
        to: KeyId,
    },
    /// Some values are still sealed under another key than the current one.
    #[error(
        "records that still have values under an older master key: {left}, the first of them {first}"
    )]
    Unfinished {
        /// How many records have such values.
        left: u64,
        /// The first of them in key order.
        first: Key,
    },
    /// The key was not given.
    #[error("master key {id} was not given")]
    UnknownKey {
        /// Its id.
        id: KeyId,
    },
    /// A secret could not be opened.
    #[error(transparent)]
    Unseal(#[from] UnsealError),
}

/// The state of a rotation.
///
/// ```
/// # use std::sync::Arc;
/// # use keyproof_store::memory::MemoryEngine;
/// # use keyproof_store::{MasterKey, MasterKeys, Store, SystemEntropy, Timestamp};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (engine, entropy) = (Arc::new(MemoryEngine::new()), Arc::new(SystemEntropy::new()));
/// # let now = Timestamp::from_secs(1_700_000_000);
/// # let (old, new) = (MasterKey::generate(&*entropy), MasterKey::generate(&*entropy));
/// let store = Store::open(engine, MasterKeys::new(&old).with(&new), entropy, now).await?; // every node has both
/// store.prepare_rotation(new.id()).await?;
/// store.switch_key().await?; // from here on nothing is sealed under the old one
/// store.reseal_all(|records| println!("{records} records")).await?;
/// store.finish_rotation(|_| ()).await?; // from here on the old one can be discarded
/// assert_eq!(store.rotation().await?.needed(), [new.id()]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rotation {
    /// The key that seals.
    pub sealing: KeyId,
    /// Earlier keys that may still seal some secrets.
    pub opening: Vec<KeyId>,
    /// The key that seals next, if one was prepared.
    pub next: Option<KeyId>,
}

impl Rotation {
    /// Returns the keys that a store named at the moment of a snapshot. Everything in the snapshot is sealed under
    /// these.
    ///
    /// # Errors
    ///
    /// [`RotateError::NoFingerprint`], or an error of the engine.
    pub async fn from_snapshot(snapshot: &mut dyn EngineSnapshot) -> Result<Self, RotateError> {
        let mut last = None;
        loop {
            let page = snapshot.page(last.as_ref(), 1).await;
            let record = page.map_err(StoreError::from)?.into_iter().next();
            let (key, row) = record.ok_or(RotateError::NoFingerprint)?;
            if let Some(named) = Self::from_record(&key, &row)? {
                return Ok(named);
            }
            if key > fingerprint_key() {
                return Err(RotateError::NoFingerprint);
            }
            last = Some(key);
        }
    }

    /// Returns the keys that a record names, if it is the store's fingerprint.
    ///
    /// # Errors
    ///
    /// If it is the fingerprint and cannot be decoded.
    pub fn from_record(key: &Key, row: &Row) -> Result<Option<Self>, StoreError> {
        if *key != fingerprint_key() {
            return Ok(None);
        }
        let named = Raw::from_row(key.clone(), row.clone()).decode::<Fingerprint>()?;
        Ok(Some(named.record.into()))
    }

    /// The keys needed to open every secret: the one that seals, and earlier ones.
    pub fn needed(&self) -> Vec<KeyId> {
        [slice::from_ref(&self.sealing), &self.opening].concat()
    }
}

impl From<Fingerprint> for Rotation {
    fn from(named: Fingerprint) -> Self {
        Self {
            sealing: named.sealing,
            opening: named.opening,
            next: named.next,
        }
    }
}

impl Store {
    /// Returns the keys that the store names.
    ///
    /// # Errors
    ///
    /// If the engine fails, or the fingerprint is missing.
    pub async fn rotation(&self) -> Result<Rotation, RotateError> {
        Ok(self.named_keys().await?.record.into())
    }

    /// Prepares `next`, which must have been given to this store, as the key that seals next. Nothing is sealed under
    /// it before [`Store::switch_key`], and until then the store can be opened without it.
    ///
    /// # Errors
    ///
    /// [`RotateError::UnderWay`] if another key is prepared, or an earlier rotation is not finished;
    /// [`RotateError::NotPrepared`] if `next` is the key that seals already; [`RotateError::UnknownKey`].
    pub async fn prepare_rotation(&self, next: KeyId) -> Result<(), RotateError> {
        self.prepare_rotation_with(next, None, |_, _| ()).await
    }

    /// Like [`Store::prepare_rotation`], also if another key is prepared already and `lost`. Nothing was sealed under it,
    /// so no secret is lost. `also` adds to the batch what is to be stored together with the step, such as its audit
    /// event, and is given the keys that the store named before. Nothing counts as expired in this batch, and it may
    /// contain no sealed value. `also` is called again if the commit loses a race, and not at all if nothing is left to
    /// do.
    ///
    /// # Errors
    ///
    /// As for [`Store::prepare_rotation`]; [`RotateError::UnderWay`] also if the prepared key is not `lost`, or was
    /// given to this store.
    pub async fn prepare_rotation_with(
        &self,
        next: KeyId,
        lost: Option<KeyId>,
        also: impl Fn(&mut Batch, &Rotation),
    ) -> Result<(), RotateError> {
        let keys = self.keyring.keys();
        if !keys.has(next) {
            return Err(RotateError::UnknownKey { id: next });
        }
        let is_lost = |id: KeyId| lost == Some(id) && !keys.has(id);
        let change = |named: Fingerprint| {
            let to = named.next.unwrap_or(named.sealing);
            match (named.opening.first(), named.next) {
                (Some(&from), _) => Err(RotateError::UnderWay { from, to }),
                (None, Some(there)) if there == next => Ok(None),
                (None, Some(there)) if !is_lost(there) => Err(RotateError::UnderWay {
                    from: named.sealing,
                    to,
                }),
                (None, _) if next == named.sealing => Err(RotateError::NotPrepared),
                (None, _) => Ok(Some(Fingerprint {
                    next: Some(next),
                    ..named
                })),
            }
        };
        self.rename_keys(change, also).await
    }

    /// Makes the prepared key the one that seals. From then on no node writes anything under an older one, and a node
    /// without the new key writes no secrets. Does nothing if it was done already.
    ///
    /// # Errors
    ///
    /// [`RotateError::NotPrepared`], [`RotateError::UnknownKey`].
    pub async fn switch_key(&self) -> Result<(), RotateError> {
        self.switch_key_with(|_, _| ()).await
    }

    /// Like [`Store::switch_key`]. `also` adds to the batch, as for [`Store::prepare_rotation_with`].
    ///
    /// # Errors
    ///
    /// As for [`Store::switch_key`].
    pub async fn switch_key_with(
        &self,
        also: impl Fn(&mut Batch, &Rotation),
    ) -> Result<(), RotateError> {
        let change = |named: Fingerprint| match (named.next, named.opening.is_empty()) {
            (Some(next), _) if !self.keyring.keys().has(next) => {
                Err(RotateError::UnknownKey { id: next })
            }
            (Some(next), _) => {
                let mut opening = vec![named.sealing];
                opening.extend(&named.opening);
                opening.retain(|id| *id != next);
                Ok(Some(Fingerprint {
                    sealing: next,
                    opening,
                    next: None,
                }))
            }
            (None, false) => Ok(None),
            (None, true) => Err(RotateError::NotPrepared),
        };
        self.rename_keys(change, also).await
    }

    /// Seals every value that is under an older key again, under the current one. Versions stay. `told` is called with
    /// the number of records read so far. Returns how many were changed. A repeated call handles what is left.
    ///
    /// Each record is a commit of its own. Where other processes write to the same SQLite file, `told` must block now
    /// and then for as long as it took since: otherwise they wait in vain for their turn.
    ///
    /// # Errors
    ///
    /// [`RotateError`].
    pub async fn reseal_all(&self, mut told: impl FnMut(u64)) -> Result<u64, RotateError> {
        self.learn().await?;
        if let Some(missing) = self.keyring.missing() {
            return Err(missing.into());
        }
        let (mut read, mut count) = (0, 0);
        let mut pages = Pages::default();
        while let Some(page) = pages.next(self).await? {
            for raw in page {
                read += 1;
                count += u64::from(self.reseal_record(raw).await?);
            }
            told(read);
        }
        Ok(count)
    }

    /// Removes the older keys from the store's fingerprint once no value is sealed under them, so that they can be
    /// discarded.
    ///
    /// # Errors
    ///
    /// [`RotateError::Unfinished`] while there are such values; [`RotateError::UnderWay`] before the switch.
    pub async fn finish_rotation(&self, told: impl FnMut(u64)) -> Result<(), RotateError> {
        self.finish_rotation_with(told, |_, _| ()).await
    }

    /// Like [`Store::finish_rotation`]. `also` adds to the batch, as for [`Store::prepare_rotation_with`].
    ///
    /// # Errors
    ///
    /// As for [`Store::finish_rotation`].
    pub async fn finish_rotation_with(
        &self,
        mut told: impl FnMut(u64),
        also: impl Fn(&mut Batch, &Rotation),
    ) -> Result<(), RotateError> {
        loop {
            let named = self.named_keys().await?;
            self.keyring.learn(&named);
            if let Some(to) = named.record.next {
                let from = named.record.sealing;
                return Err(RotateError::UnderWay { from, to });
            }
            let sealing = named.record.sealing;
            let (mut read, mut left, mut first) = (0, 0, None);
            let mut pages = Pages::default();
            while let Some(page) = pages.next(self).await? {
                for raw in page {
                    read += 1;
                    if has_other(raw.key(), raw.json(), sealing)? {
                        left += 1;
                        first.get_or_insert_with(|| raw.key().clone());
                    }
                }
                told(read);
            }
            if let Some(first) = first {
                return Err(RotateError::Unfinished { left, first });
            }
            // Commits even if there is no key to remove. The caller discards the old keys now, and the process that
            // sealed the last value may not know whether its commit is durable.
            let (key, at) = (fingerprint_key(), named.version);
            let mut batch = self.batch(Timestamp::EPOCH);
            if named.record.opening.is_empty() {
                batch.require(&key, at);
            } else {
                also(&mut batch, &Rotation::from(named.record.clone()));
                let struck = Fingerprint {
                    opening: Vec::new(),
                    ..named.record
                };
                batch.replace(&key, at, &struck, None);
            }
            match self.commit_keys(batch).await {
                // Somebody else has finished it, or prepared another key.
                Err(CommitError::Conflict { .. }) => continue,
                committed => committed?,
            }
            return Ok(self.learn().await?);
        }
    }

    async fn named_keys(&self) -> Result<Stored<Fingerprint>, RotateError> {
        self.fingerprint().await?.ok_or(RotateError::NoFingerprint)
    }

    /// Applies `change` to the store's fingerprint, and writes it if it differs.
    async fn rename_keys(
        &self,
        change: impl Fn(Fingerprint) -> Result<Option<Fingerprint>, RotateError>,
        also: impl Fn(&mut Batch, &Rotation),
    ) -> Result<(), RotateError> {
        loop {
            let named = self.named_keys().await?;
            let at = named.version;
            let before = Rotation::from(named.record.clone());
            if let Some(next) = change(named.record)? {
                let mut batch = self.batch(Timestamp::EPOCH);
                batch.replace(&fingerprint_key(), at, &next, None);
                also(&mut batch, &before);
                match self.commit_keys(batch).await {
                    Err(CommitError::Conflict { .. }) => continue,
                    committed => committed?,
                }
            }
            return Ok(self.learn().await?);
        }
    }

    /// Commits a batch that itself changes which keys the store names. It must contain no sealed value.
    async fn commit_keys(&self, mut batch: Batch) -> Result<(), CommitError> {
        let listeners = batch.take_listeners();
        let outcome = match batch.into_changes() {
            Ok(changes) => self.engine.commit(changes).await,
            Err(error) => Err(error.into()),
        };
        listeners.end(&outcome);
        outcome
    }

    /// Returns whether the record had to be changed.
    async fn reseal_record(&self, mut raw: Raw) -> Result<bool, RotateError> {
        loop {
            let sealing = self.keyring.named().sealing;
            let body = self.resealed(raw.key(), raw.json(), sealing);
            let Some(body) = body.map_err(RotateError::of)? else {
                return Ok(false);
            };
            let (at, body) = (raw.version(), body.into());
            let mut batch = self.batch(Timestamp::EPOCH);
            batch.push(raw.key(), Change::Reseal { at, body });
            match self.commit(batch).await {
                Ok(()) => return Ok(true),
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            // It was changed concurrently, and may still contain the same secret.
            match self.get_raw(raw.key(), Timestamp::EPOCH).await? {
                None => return Ok(false),
                Some(now) => raw = now,
            }
        }
    }

    /// Returns the body with all its secrets under this master key, which must have been given; `None` if there is
    /// nothing to change.
    pub(crate) fn resealed(
        &self,
        key: &Key,
        body: &[u8],
        sealing: KeyId,
    ) -> Result<Option<Vec<u8>>, NotApplied> {
        let mut resealed = false;
        let out = rewritten(body, &mut |sealed: Sealed| {
            if sealed.master_key() == sealing {
                return Ok(sealed);
            }
            resealed = true;
            let plaintext = self.unseal(key, sealed.field(), &sealed)?;
            // Not the key that seals now, which may be another one meanwhile.
            let sealing = self.keyring.keys().get_or_first(sealing);
            Ok(sealing.seal(self.entropy(), key, sealed.field(), &plaintext))
        })
        .map_err(|error| match error {
            RewriteError::Json => NotApplied::NotARecord { key: key.clone() },
            RewriteError::Unseal(error) => error.into(),
        })?;
        Ok(resealed.then_some(out))
    }
}

impl RotateError {
    fn of(error: NotApplied) -> Self {
        match error {
            NotApplied::NotARecord { key } => StoreError::NotARecord { key }.into(),
            NotApplied::Unseal(error) => error.into(),
            other => CommitError::from(other).into(),
        }
    }
}

/// Whether a body has a value under another key.
fn has_other(key: &Key, body: &[u8], sealing: KeyId) -> Result<bool, StoreError> {
    let mut has_other = false;
    let read = rewritten(body, &mut |sealed: Sealed| {
        has_other |= sealed.master_key() != sealing;
        Ok(sealed)
    });
    match read {
        Ok(_) => Ok(has_other),
        Err(_) => Err(StoreError::NotARecord { key: key.clone() }),
    }
}

/// Pages of all records, read at the epoch, so that expired ones are sealed again too: a clock may go back.
#[derive(Default)]
struct Pages {
    after: Option<Key>,
}

impl Pages {
    async fn next(&mut self, store: &Store) -> Result<Option<Vec<Raw>>, StoreError> {
        let all = Prefix::all();
        let page = store
            .scan_raw(&all, self.after.as_ref(), PAGE, Timestamp::EPOCH)
            .await?;
        let last = page.last().map(|raw| raw.key().clone());
        Ok(last.map(|last| {
            self.after = Some(last);
            page
        }))
    }
}

enum RewriteError {
    Json,
    Unseal(UnsealError),
}

impl From<serde_json::Error> for RewriteError {
    fn from(_: serde_json::Error) -> Self {
        Self::Json
    }
}

/// Returns a record's body with `seal` applied to each sealed value.
fn rewritten(
    body: &[u8],
    seal: &mut impl FnMut(Sealed) -> Result<Sealed, UnsealError>,
) -> Result<Vec<u8>, RewriteError> {
    let value: &RawValue = serde_json::from_slice(body)?;
    let mut out = String::with_capacity(body.len());
    rewrite(value, MAX_DEPTH, &mut out, seal)?;
    Ok(out.into_bytes())
}
/// Copies `value` to `out`, with `seal` applied to each sealed value.
fn rewrite(
    value: &RawValue,
    depth: usize,
    out: &mut String,
    seal: &mut impl FnMut(Sealed) -> Result<Sealed, UnsealError>,
) -> Result<(), RewriteError> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(RewriteError::Json);
    };
    let text = value.get();
    if text.starts_with('{') {
        if let Ok(sealed) = serde_json::from_str(text) {
            let sealed = seal(sealed).map_err(RewriteError::Unseal)?;
            out.push_str(&serde_json::to_string(&sealed)?);
            return Ok(());
        }
        let RawMembers(members) = serde_json::from_str(text)?;
        out.push('{');
        for (index, (name, value)) in members.into_iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            out.push_str(name.get());
            out.push(':');
            rewrite(value, depth, out, seal)?;
        }
        out.push('}');
    } else if text.starts_with('[') {
        out.push('[');
        for (index, value) in serde_json::from_str::<Vec<&RawValue>>(text)?
            .into_iter()
            .enumerate()
        {
            if index > 0 {
                out.push(',');
            }
            rewrite(value, depth, out, seal)?;
        }
        out.push(']');
    } else {
        out.push_str(text);
    }
    Ok(())
}

/// An object's members, in their order.
struct RawMembers<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for RawMembers<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = RawMembers<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(RawMembers(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}
