//! Sealing everything again under the current master key.
//!
//! A record's secrets are found by their envelope alone, and everything around them stays as it
//! is, byte for byte but for blanks: numbers are not parsed, names not sorted.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::{CommitError, Prefix, Raw, Row, Sealed, Store, StoreError, Timestamp, UnsealError};

/// Records read at a time.
const PAGE: usize = 256;

/// As deep as serde_json reads, so that whatever a record's own type can read is found.
const MAX_DEPTH: usize = 128;

/// Why not all of a store was sealed again. What was is no harm, and another run goes on from there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RotateError {
    /// A record, or in the end the fingerprint, could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A record could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A secret could not be opened.
    #[error(transparent)]
    Unseal(#[from] UnsealError),
}

impl Store {
    /// Seals every secret that is under an older master key again under the current one, and then
    /// strikes the older ones from the store's fingerprint, so that they can be thrown away.
    /// Gives the number of records that were changed; their versions stay.
    ///
    /// Every node must have been started with the new key as its current one before, or it goes on
    /// sealing under an older one, which nobody may have any more.
    ///
    /// # Errors
    ///
    /// [`RotateError`]; a conflict means that another node changed the fingerprint meanwhile.
    pub async fn rotate(&self) -> Result<u64, RotateError> {
        let fingerprint = self.fingerprint().await?;
        let mut count = 0;
        let mut after = None;
        loop {
            // At the epoch, so that what has expired is sealed again too: a clock may go back.
            let page = self
                .scan_raw(&Prefix::all(), after.as_ref(), PAGE, Timestamp::EPOCH)
                .await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key().clone());
            for raw in page {
                count += u64::from(self.rotate_record(raw).await?);
            }
        }
        if let Some(fingerprint) = fingerprint {
            self.disclaim_older(fingerprint).await?;
        }
        Ok(count)
    }

    /// Whether the record had to be changed.
    async fn rotate_record(&self, mut raw: Raw) -> Result<bool, RotateError> {
        loop {
            let Some(resealed) = self.reseal(&raw)? else {
                return Ok(false);
            };
            let mut batch = self.batch(Timestamp::EPOCH);
            batch.reseal(&resealed);
            match self.commit(batch).await {
                Ok(()) => return Ok(true),
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            // Somebody was faster; what they wrote may contain the same secret.
            let key = raw.key().clone();
            match self
                .get_many(&[key], Timestamp::EPOCH)
                .await?
                .pop()
                .flatten()
            {
                None => return Ok(false),
                Some(now) => raw = now,
            }
        }
    }

    /// The record with all its secrets under the current master key; `None` if they are already.
    fn reseal(&self, raw: &Raw) -> Result<Option<Raw>, RotateError> {
        let not_a_record = || StoreError::NotARecord {
            key: raw.key().clone(),
        };
        let body: &RawValue = serde_json::from_slice(raw.json()).map_err(|_| not_a_record())?;
        let mut resealed = false;
        let mut out = String::with_capacity(raw.json().len());
        rewrite(body, MAX_DEPTH, &mut out, &mut |sealed: Sealed| {
            if sealed.master_key() == self.keys.current() {
                return Ok(sealed);
            }
            resealed = true;
            let plaintext = self.unseal(raw.key(), sealed.field(), &sealed)?;
            Ok(self.seal(raw.key(), sealed.field(), &plaintext))
        })
        .map_err(|error| match error {
            RewriteError::Json => not_a_record().into(),
            RewriteError::Unseal(error) => RotateError::Unseal(error),
        })?;
        let row = Row {
            version: raw.version(),
            body: out.into_bytes(),
            expires_at: raw.expires_at(),
        };
        Ok(resealed.then(|| Raw::new(raw.key().clone(), row)))
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
        let Members(members) = serde_json::from_str(text)?;
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
struct Members<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}
