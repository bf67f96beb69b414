//! Changing the master key while servers serve: all nodes have both keys, then the store names the other one, then everything
//! that is sealed is sealed again.
//!
//! A record's secrets are found by their envelope alone, and everything around them stays as it
//! is, byte for byte but for blanks: numbers are not parsed, names not sorted.

use std::{fmt, slice};

use serde::{
    Deserialize,
    de::{Deserializer, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    CommitError, EngineSnapshot, Key, KeyId, NotApplied, Prefix, Raw, Row, Sealed, Store,
    StoreError, Stored, Timestamp, UnsealError,
    fingerprint::{Fingerprint, fingerprint_key},
};

/// Records read at a time, each of at most a mebibyte.
const PAGE: usize = 64;

/// As deep as serde_json reads, so that whatever a record's own type can read is found.
const MAX_DEPTH: usize = 128;

/// Why a step of a rotation was not done. What was done so far is no harm, and another try goes on from there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RotateError {
    /// A record, or in the end the fingerprint, could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The store does not say under which keys it is.
    #[error("the store does not say under which master key it is")]
    NoFingerprint,
    /// No other key was named that is to seal.
    #[error("no other master key is prepared")]
    NotPrepared,
    /// A record could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another rotation has not come to its end.
    #[error("a rotation from master key {from} to {to} is not finished")]
    UnderWay {
        /// A key that some secrets may still be under.
        from: KeyId,
        /// The key that seals, or is to.
        to: KeyId,
    },
    /// Some values are still sealed under another key than the one that seals.
    #[error(
        "{left} records have values under an older master key still, the first of them {first}"
    )]
    Unfinished {
        /// How many records.
        left: u64,
        /// The first of them in key order.
        first: Key,
    },
    /// The key is not at hand.
    #[error("master key {id} is not at hand")]
    UnknownKey {
        /// Its name.
        id: KeyId,
    },
    /// A secret could not be opened.
    #[error(transparent)]
    Unseal(#[from] UnsealError),
}

/// How far a rotation is.
///
/// ```
/// # use std::sync::Arc;
/// # use keyproof_store::memory::MemoryEngine;
/// # use keyproof_store::{MasterKey, MasterKeys, Rotation, Store, SystemEntropy, Timestamp};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (engine, entropy) = (Arc::new(MemoryEngine::new()), Arc::new(SystemEntropy::new()));
/// # let now = Timestamp::from_secs(1_700_000_000);
/// # let (old, new) = (MasterKey::generate(&*entropy), MasterKey::generate(&*entropy));
/// let store = Store::open(engine, MasterKeys::new(&old).and(&new), entropy, now).await?; // every node has both
/// store.prepare_rotation(new.id()).await?;
/// store.switch_key().await?; // from here on nothing is sealed under the old one
/// store.reseal_all(|records| println!("{records} records")).await?;
/// store.finish_rotation(|_| ()).await?; // from here on the old one can be thrown away
/// let expected = Rotation { sealing: new.id(), opening: Vec::new(), next: None };
/// assert_eq!(store.rotation().await?, expected);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The key that seals.
    pub sealing: KeyId,
    /// Earlier keys, under which some secrets may still be.
    pub opening: Vec<KeyId>,
    /// The key that is to seal next, if one was named.
    pub next: Option<KeyId>,
}

impl Rotation {
    /// Which keys a store named at the moment of a snapshot of it: under those is all that is in it.
    ///
    /// # Errors
    ///
    /// [`RotateError::NoFingerprint`], or what the engine says.
    pub async fn at(snapshot: &mut dyn EngineSnapshot) -> Result<Self, RotateError> {
        let mut last = None;
        loop {
            let page = snapshot.page(last.as_ref(), 1).await;
            let record = page.map_err(StoreError::from)?.into_iter().next();
            let (key, row) = record.ok_or(RotateError::NoFingerprint)?;
            if let Some(named) = Self::named_by(&key, &row)? {
                return Ok(named);
            }
            if key > fingerprint_key() {
                return Err(RotateError::NoFingerprint);
            }
            last = Some(key);
        }
    }

    /// Which keys a record of a store names, if it is the one by which the store knows them.
    ///
    /// # Errors
    ///
    /// If it is that and cannot be read.
    pub fn named_by(key: &Key, row: &Row) -> Result<Option<Self>, StoreError> {
        if *key != fingerprint_key() {
            return Ok(None);
        }
        let named = Raw::from_row(key.clone(), row.clone()).decode::<Fingerprint>()?;
        Ok(Some(named.record.into()))
    }

    /// The keys without which something does not open: the one that seals, and earlier ones.
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
    /// Which keys the store names.
    ///
    /// # Errors
    ///
    /// If the engine cannot answer, or the record is gone.
    pub async fn rotation(&self) -> Result<Rotation, RotateError> {
        Ok(self.named_keys().await?.record.into())
    }

    /// Names the key that is to seal next, which is at hand here. Nothing is sealed under it before [`Store::switch_key`], and until
    /// then the store is opened without it, too.
    ///
    /// # Errors
    ///
    /// [`RotateError::UnderWay`] if another one is to, or an earlier rotation is not finished; [`RotateError::UnknownKey`].
    pub async fn prepare_rotation(&self, next: KeyId) -> Result<(), RotateError> {
        self.name_next(next, None).await
    }

    /// The same where another one is named already, which is lost: nothing is sealed under it, so nothing is lost with it.
    ///
    /// # Errors
    ///
    /// [`RotateError::UnderWay`] also if the one that is named is not the one that is `lost`, or is at hand here.
    pub async fn prepare_rotation_again(
        &self,
        lost: KeyId,
        next: KeyId,
    ) -> Result<(), RotateError> {
        self.name_next(next, Some(lost)).await
    }

    async fn name_next(&self, next: KeyId, lost: Option<KeyId>) -> Result<(), RotateError> {
        let keys = self.keyring.keys();
        if !keys.has(next) {
            return Err(RotateError::UnknownKey { id: next });
        }
        let is_lost = |id: KeyId| lost == Some(id) && !keys.has(id);
        self.rename_keys(|named| {
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
        })
        .await
    }

    /// Lets the key seal that was named. Once this is done, no node writes anything under an older one; one that does not
    /// have the new one writes no secret at all. Done already, it does nothing.
    ///
    /// # Errors
    ///
    /// [`RotateError::NotPrepared`], [`RotateError::UnknownKey`].
    pub async fn switch_key(&self) -> Result<(), RotateError> {
        self.rename_keys(|named| match (named.next, named.opening.is_empty()) {
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
        })
        .await
    }

    /// Seals every value that is under an older key again under the one that seals. Versions stay. `told` hears how many
    /// records were read so far. Gives how many were changed. Run again, it goes over what is left.
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

    /// Strikes the older keys from the store's record, once nothing is under them, so that they can be thrown away.
    ///
    /// # Errors
    ///
    /// [`RotateError::Unfinished`] while there is something; [`RotateError::NotPrepared`] before the switch.
    pub async fn finish_rotation(&self, mut told: impl FnMut(u64)) -> Result<(), RotateError> {
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
        // It commits even if there is none to be struck: the others are thrown away now, and whoever sealed the last value
        // again may have failed to learn whether that lasts.
        let (key, at) = (fingerprint_key(), named.version);
        let mut batch = self.batch(Timestamp::EPOCH);
        if named.record.opening.is_empty() {
            batch.require(&key, at);
        } else {
            let struck = Fingerprint {
                opening: Vec::new(),
                ..named.record
            };
            batch.replace(&key, at, &struck, None);
        }
        self.engine
            .commit(batch.into_changes().map_err(CommitError::from)?)
            .await?;
        Ok(self.learn().await?)
    }

    async fn named_keys(&self) -> Result<Stored<Fingerprint>, RotateError> {
        self.fingerprint().await?.ok_or(RotateError::NoFingerprint)
    }

    /// Writes the record of keys as `change` has it, if it differs.
    async fn rename_keys(
        &self,
        change: impl Fn(Fingerprint) -> Result<Option<Fingerprint>, RotateError>,
    ) -> Result<(), RotateError> {
        loop {
            let named = self.named_keys().await?;
            let at = named.version;
            if let Some(next) = change(named.record)? {
                let mut batch = self.batch(Timestamp::EPOCH);
                batch.replace(&fingerprint_key(), at, &next, None);
                let changes = batch.into_changes().map_err(CommitError::from)?;
                match self.engine.commit(changes).await {
                    Err(CommitError::Conflict { .. }) => continue,
                    committed => committed?,
                }
            }
            return Ok(self.learn().await?);
        }
    }

    /// Whether the record had to be changed.
    async fn reseal_record(&self, mut raw: Raw) -> Result<bool, RotateError> {
        loop {
            let sealing = self.keyring.named().sealing;
            let body = self.resealed(raw.key(), raw.json(), sealing);
            let Some(body) = body.map_err(RotateError::of)? else {
                return Ok(false);
            };
            let row = Row {
                version: raw.version(),
                body: body.into(),
                expires_at: raw.expires_at(),
            };
            let key = raw.key().clone();
            let mut batch = self.batch(Timestamp::EPOCH);
            batch.reseal(&Raw::from_row(key.clone(), row));
            match self.commit(batch).await {
                Ok(()) => return Ok(true),
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            // Somebody was faster; what they wrote may contain the same secret.
            let keys = [key];
            let now = self.get_many(&keys, Timestamp::EPOCH).await?;
            match now.into_iter().next().flatten() {
                None => return Ok(false),
                Some(now) => raw = now,
            }
        }
    }

    /// The body with all its secrets under this master key; `None` if they are already, or there are none.
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
            Ok(self.seal(key, sealed.field(), &plaintext))
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

/// All records, at the epoch, so that what has expired is sealed again too: a clock may go back.
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

/// A record's body, each sealed value in it as `seal` gives it back.
fn rewritten(
    body: &[u8],
    seal: &mut impl FnMut(Sealed) -> Result<Sealed, UnsealError>,
) -> Result<Vec<u8>, RewriteError> {
    let value: &RawValue = serde_json::from_slice(body)?;
    let mut out = String::with_capacity(body.len());
    rewrite(value, MAX_DEPTH, &mut out, seal)?;
    Ok(out.into_bytes())
}
/// Copies `value` to `out`, each sealed value in it as `seal` gives it back.
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
