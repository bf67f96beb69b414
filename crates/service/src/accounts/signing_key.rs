//! The keys that sign access tokens. They are stored sealed. One is in use at a time, and former keys are published for as long as
//! one of their tokens may be valid.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{DecodingKey, EncodingKey};
use keyproof_store::{Batch, Key, Prefix, Sealed, Store, Timestamp};
use ring::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use serde::{Deserialize, Serialize};

use super::ACCESS_TOKEN_LIFETIME;
use crate::{
    ClockDifference, Failure, StorageError,
    mutex::lock,
    pages::Pages,
    slot::Slot,
    storage::{Attempt, damaged, refuse, transact},
};

/// How long a key is used for signing.
const IN_USE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How far apart the clocks of two servers may be.
const APART: Duration = ACCESS_TOKEN_LIFETIME;

/// How long a key is published: until its last token has expired by any server's clock.
pub(super) const PUBLISHED: Duration =
    Duration::from_secs(IN_USE.as_secs() + ACCESS_TOKEN_LIFETIME.as_secs() + APART.as_secs());

/// How long a key replaced by command stays published: until the last token has expired, which may come from a server that has not
/// yet noticed the replacement and may have another clock.
const ENDING: Duration = Duration::from_secs(ACCESS_TOKEN_LIFETIME.as_secs() + APART.as_secs());

/// The number of keys read at once, far more than usually exist.
const PAGE: usize = 100;

/// The maximum number of published keys, because anybody may request them and a batch must require them. Even replacing the key by
/// command every minute leaves only half as many, since a replaced key expires within eight hours.
const MOST: usize = 1_000;

/// Stored at `signing_key/_/<id>`.
#[derive(Clone, Serialize, Deserialize)]
struct SigningKeyRecord {
    created_at: Timestamp,
    x: String,
    y: String,
    /// PKCS #8.
    private: Sealed,
}

impl SigningKeyRecord {
    const PRIVATE: &'static str = "private";
}

record!(SigningKeyRecord, "signing_key");

/// Returns the key of a signing key's record. The record expires at the end of its published time.
pub(super) fn place(id: &str) -> Key {
    Key::new("signing_key", ["_", id])
}

/// Stored at `signing_key_in_use/_`: which key signs. Servers that need a new key at the same time race for this record.
#[derive(Clone, Serialize, Deserialize)]
struct InUse {
    id: String,
    since: Timestamp,
}

record!(InUse, "signing_key_in_use");

/// A public key (RFC 7518, section 6.2): P-256, for ES256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// Its RFC 7638 thumbprint.
    pub id: String,
    /// The x coordinate, base64url.
    pub x: String,
    /// The y coordinate, base64url.
    pub y: String,
}

impl PublicKey {
    fn of(x: &[u8], y: &[u8]) -> Self {
        let (x, y) = (BASE64URL_NOPAD.encode(x), BASE64URL_NOPAD.encode(y));
        // RFC 7638, section 3: the required members in this order, without white space.
        let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let id = BASE64URL_NOPAD.encode(digest(&SHA256, members.as_bytes()).as_ref());
        Self { id, x, y }
    }
}

/// The result of replacing a signing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplacedKey {
    /// The id of the new key.
    pub signing: String,
    /// The id of the former key, and until when it is published; `None` if there was none.
    pub former: Option<(String, Timestamp)>,
}

/// The result of revoking a signing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedKey {
    /// The id of the revoked key, which verifies nothing any more.
    pub ended: String,
    /// The id of the new key, if the revoked one was in use.
    pub signing: Option<String>,
}

/// The error when no valid key has this id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no signing key in use or published has this id")]
pub struct UnknownSigningKey;

/// The key that signs.
pub(super) struct Signer {
    pub(super) id: String,
    pub(super) key: EncodingKey,
    since: Timestamp,
}

/// The signing keys of a store.
pub(super) struct SigningKeys {
    store: Store,
    opened: Mutex<Opened>,
}

/// A cache of keys that were read before. Keys never change, but expire.
#[derive(Default)]
struct Opened {
    signer: Option<Arc<Signer>>,
    verifiers: BTreeMap<String, Verifier>,
}

/// A key that verifies tokens.
struct Verifier {
    key: Arc<DecodingKey>,
    /// From when on it verifies nothing.
    ends: Timestamp,
}

impl SigningKeys {
    pub(super) fn new(store: Store) -> Self {
        Self {
            store,
            opened: Mutex::default(),
        }
    }

    /// Replaces the key that signs, and adds the audit event to the same batch with `tell`. Tokens of the former key stay valid
    /// until they expire. Other servers notice at their next [`renew`](Self::renew).
    pub(super) async fn replace(
        &self,
        now: Timestamp,
        tell: impl Fn(&mut Batch, &ReplacedKey),
    ) -> Result<ReplacedKey, StorageError> {
        let replaced = transact("accounts.replace_signing_key", &self.store, || async {
            let mut batch = self.store.batch(now);
            let used = self.in_use(now).await?;
            let (signing, _) = self.install(&mut batch, &used, now)?;
            let mut replaced = ReplacedKey {
                signing,
                former: None,
            };
            if let Some(InUse { id, .. }) = used.record() {
                let former = self.key(id, now).await?;
                if let Some(record) = former.record() {
                    let soon = now.saturating_add(ENDING);
                    let ends = former.expires_at().map_or(soon, |ends| ends.min(soon));
                    former.replace(&mut batch, record, Some(ends));
                    replaced.former = Some((id.clone(), ends));
                }
            }
            tell(&mut batch, &replaced);
            Ok(Attempt::Commit(batch, Ok(replaced)))
        });
        let replaced = replaced.await.map_err(Failure::without_refusal)?;
        lock(&self.opened).signer = None;
        Ok(replaced)
    }

    /// Revokes a key at once, whether it signs or is only published. Every server then rejects its tokens, because accepting a
    /// token includes checking that its key is at its [`place`]. If the key is in use, a new one replaces it in the same batch.
    pub(super) async fn end(
        &self,
        id: &str,
        now: Timestamp,
        tell: impl Fn(&mut Batch, &EndedKey),
    ) -> Result<EndedKey, Failure<UnknownSigningKey>> {
        let ended = transact("accounts.end_signing_key", &self.store, || async {
            let mut batch = self.store.batch(now);
            let ending = self.key(id, now).await?;
            if ending.record().is_none() {
                return refuse(UnknownSigningKey);
            }
            ending.remove(&mut batch);
            let used = self.in_use(now).await?;
            let mut ended = EndedKey {
                ended: id.to_owned(),
                signing: None,
            };
            if used.record().is_some_and(|used| used.id == id) {
                let (signing, _) = self.install(&mut batch, &used, now)?;
                ended.signing = Some(signing);
            }
            tell(&mut batch, &ended);
            Ok(Attempt::Commit(batch, Ok(ended)))
        });
        let ended = ended.await?;
        self.evict(id);
        Ok(ended)
    }

    /// Drops a key that is no longer valid from the cache, so that it signs nothing.
    pub(super) fn evict(&self, id: &str) {
        let mut opened = lock(&self.opened);
        opened.verifiers.remove(id);
        if opened.signer.as_ref().is_some_and(|signer| signer.id == id) {
            opened.signer = None;
        }
    }

    /// Drops the cached signer if another key signs now, and creates a new key when [`signer`](Self::signer) would. Returns whether
    /// it did. Does nothing if no key has signed yet.
    pub(super) async fn renew(&self, now: Timestamp) -> Result<bool, StorageError> {
        let Some(InUse { id, since }) = self.in_use(now).await?.into_record() else {
            return Ok(false);
        };
        let is_opened = |signer: &Arc<Signer>| signer.id == id;
        if !lock(&self.opened).signer.as_ref().is_some_and(is_opened) {
            lock(&self.opened).signer = None;
        }
        if is_young(since, now) {
            if self.key(&id, now).await?.record().is_some() {
                return Ok(false);
            }
            self.evict(&id);
        }
        let signer = self.signer(now).await?;
        Ok(signer.id != id)
    }

    /// Returns the key to sign with now. Creates a new one if the last is too old, or gone because a clock that was briefly ahead
    /// let the upkeep remove it. By a clock that is too far from the database's, no key is too old and the existing one stays in
    /// use.
    pub(super) async fn signer(&self, now: Timestamp) -> Result<Arc<Signer>, StorageError> {
        let is_young = |since: Timestamp| is_young(since, now);
        let opened = lock(&self.opened).signer.clone();
        if let Some(signer) = opened.filter(|signer| is_young(signer.since)) {
            return Ok(signer);
        }
        let signs = transact("accounts.signing_key", &self.store, || async {
            let used = self.in_use(now).await?;
            let goes_on = match used.record() {
                Some(used) if is_young(used.since) => Some(now),
                Some(_) => self.earlier_clock(now).await?,
                None => None,
            };
            if let (Some(InUse { id, .. }), Some(at)) = (used.record(), goes_on) {
                let key = self.key(id, at).await?;
                if let Some(record) = key.record() {
                    let mut batch = self.store.batch(at);
                    // The commit that created the key may not be durable, and what is signed with it depends on it.
                    used.require(&mut batch);
                    key.require(&mut batch);
                    return Ok(Attempt::Commit(batch, Ok((id.clone(), record.clone()))));
                }
            }
            if let Some(InUse { id, since }) = used.record()
                && (is_young(*since) || *since > now)
            {
                tracing::warn!(%id, "the signing key in use is missing or dated in the future: another key replaces it");
            }
            let mut batch = self.store.batch(now);
            let made = self.install(&mut batch, &used, now)?;
            Ok(Attempt::Commit(batch, Ok(made)))
        });
        let (id, record) = signs.await.map_err(Failure::without_refusal)?;
        let signer = Arc::new(self.open(id, &record)?);
        lock(&self.opened).signer = Some(Arc::clone(&signer));
        Ok(signer)
    }

    /// Returns the earlier of the two clocks if this machine's is too far from the database's, since the key may have expired by
    /// the later one. `None` if they agree.
    async fn earlier_clock(&self, now: Timestamp) -> Result<Option<Timestamp>, StorageError> {
        let theirs = self.store.server_time().await?;
        let is_apart =
            |theirs: &Timestamp| ClockDifference::between(now, *theirs, now).is_too_much();
        Ok(theirs.filter(is_apart).map(|theirs| theirs.min(now)))
    }

    /// Returns the key with this id for verifying tokens, unless its published time is over. A cached key may have been removed
    /// meanwhile, so accepting its token includes checking that it is at its [`place`].
    pub(super) async fn verifier(
        &self,
        id: &str,
        now: Timestamp,
    ) -> Result<Option<Arc<DecodingKey>>, StorageError> {
        let in_force = |known: &Verifier| (now < known.ends).then(|| Arc::clone(&known.key));
        if let Some(known) = lock(&self.opened).verifiers.get(id).and_then(in_force) {
            return Ok(Some(known));
        }
        let Some(SigningKeyRecord {
            x, y, created_at, ..
        }) = self.key(id, now).await?.into_record()
        else {
            self.evict(id);
            return Ok(None);
        };
        let key = DecodingKey::from_ec_components(&x, &y).map_err(damaged)?;
        let known = Verifier {
            key: Arc::new(key),
            ends: created_at.saturating_add(PUBLISHED),
        };
        let key = in_force(&known);
        lock(&self.opened).verifiers.insert(id.to_owned(), known);
        Ok(key)
    }

    /// Returns the keys that may have signed a currently valid token, newest first.
    pub(super) async fn public_keys(&self, now: Timestamp) -> Result<Vec<PublicKey>, StorageError> {
        let signer = self.signer(now).await?;
        // A key that is not young stays in use by the other clock and is read by that.
        let now = if is_young(signer.since, now) {
            now
        } else {
            self.earlier_clock(now).await?.unwrap_or(now)
        };
        let all = Prefix::collection("signing_key");
        let keys = transact("accounts.public_keys", &self.store, || async {
            let mut pages = Pages::<SigningKeyRecord>::of(&self.store, all.clone()).at_once(PAGE);
            let mut keys = Vec::new();
            while keys.len() < MOST
                && let Some(page) = pages.next(now).await?
            {
                keys.extend(page);
            }
            // Keys are not sorted by time, so the current one may be beyond the limit.
            let own = place(&signer.id);
            if !keys.iter().any(|(place, _)| *place == own) {
                let stored = self.store.get::<SigningKeyRecord>(&own, now).await?;
                keys.extend(stored.map(|stored| (own, stored)));
            }
            // Keys older than the current one are as durable as that.
            let mut newer = keys
                .iter()
                .filter(|(_, stored)| stored.record.created_at > signer.since)
                .peekable();
            if newer.peek().is_none() {
                return Ok(Attempt::Done(keys));
            }
            let mut batch = self.store.batch(now);
            for (key, stored) in newer {
                batch.require(key, stored.version);
            }
            Ok(Attempt::Commit(batch, Ok(keys)))
        });
        let mut keys = keys.await.map_err(Failure::without_refusal)?;
        keys.sort_by_key(|(_, stored)| std::cmp::Reverse(stored.record.created_at));
        keys.into_iter()
            .map(|(_, stored)| {
                let coordinate =
                    |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).map_err(damaged);
                let SigningKeyRecord { x, y, .. } = stored.record;
                Ok(PublicKey::of(&coordinate(&x)?, &coordinate(&y)?))
            })
            .collect()
    }

    /// Reads which key signs.
    async fn in_use(&self, now: Timestamp) -> Result<Slot<InUse>, StorageError> {
        Slot::read(&self.store, Key::new("signing_key_in_use", ["_"]), now).await
    }

    /// Reads the key with this id.
    async fn key(&self, id: &str, now: Timestamp) -> Result<Slot<SigningKeyRecord>, StorageError> {
        Slot::read(&self.store, place(id), now).await
    }

    /// Creates a key and adds to the batch that it signs from now on, in place of the one in use, if any.
    fn install(
        &self,
        batch: &mut Batch,
        used: &Slot<InUse>,
        now: Timestamp,
    ) -> Result<(String, SigningKeyRecord), StorageError> {
        let (PublicKey { id, .. }, record) = self.make(now)?;
        batch.insert(&place(&id), &record, Some(now.saturating_add(PUBLISHED)));
        let next = InUse {
            id: id.clone(),
            since: now,
        };
        used.replace(batch, &next, None);
        Ok((id, record))
    }

    fn make(&self, now: Timestamp) -> Result<(PublicKey, SigningKeyRecord), StorageError> {
        let failed = |_| StorageError::NotApplied("no signing key could be made".to_owned());
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let random = SystemRandom::new();
        let private = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(failed)?;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, private.as_ref(), &random);
        let pair = pair.map_err(|error| StorageError::NotApplied(error.to_string()))?;
        // SEC 1, section 2.3.3: 4, then both coordinates.
        let Some((4, coordinates)) = pair.public_key().as_ref().split_first() else {
            return Err(damaged("a public key is not uncompressed"));
        };
        let (x, y) = coordinates.split_at(coordinates.len() / 2);
        let public = PublicKey::of(x, y);
        let record = SigningKeyRecord {
            created_at: now,
            x: public.x.clone(),
            y: public.y.clone(),
            private: self.store.seal(
                &place(&public.id),
                SigningKeyRecord::PRIVATE,
                private.as_ref(),
            ),
        };
        Ok((public, record))
    }

    fn open(&self, id: String, record: &SigningKeyRecord) -> Result<Signer, StorageError> {
        let place = place(&id);
        let private = self
            .store
            .unseal(&place, SigningKeyRecord::PRIVATE, &record.private)?;
        Ok(Signer {
            id,
            key: EncodingKey::from_ec_der(&private),
            since: record.created_at,
        })
    }
}

/// Whether a key that signs since `since` may stay in use. One from the future was created by a wrong clock and would stay in use
/// for too long.
fn is_young(since: Timestamp, now: Timestamp) -> bool {
    now.saturating_since(since) < IN_USE && since <= now.saturating_add(APART)
}
