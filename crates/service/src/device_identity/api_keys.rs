//! API keys: what manufacturing stations provision with. Their text is shown once; their digests are kept.

use std::convert::Infallible;

use keyproof_auth::{Token, TokenDigest};
use keyproof_store::{Key, Prefix, Record, Stored, Timestamp};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    Actions, Administrator, Category, DeleteError, DeviceIdentity, Kind, Metadata, MetadataError,
    Object, authority::ATTESTATION_KEY_LIFE, revocation_list::LISTED_BEYOND_END,
};
use crate::{
    Action, Failure, StorageError,
    audit::ObjectKind,
    keys::draw_token,
    pages::Pages,
    storage::{Attempt, refuse, settle},
};

/// What such a key's text starts with, so that scanners for leaked secrets find it.
const TEXT_PREFIX: &str = "keyproof_tpm_";

/// An API key's own part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// The name of its category, in the same namespace.
    pub category: String,
    /// Whether it is taken only with a client certificate of its category.
    pub need_mtls: bool,
    /// Whether it is put out of use, and with it every certificate that it had made.
    pub is_disabled: bool,
    /// Why it is revoked.
    pub revoke_reason: String,
    /// From when on it is revoked; certificates made before stay good.
    pub revoked_at: Option<Timestamp>,
    /// Since when it is disabled, if it is; nothing if an earlier release disabled it.
    #[serde(default)]
    pub(super) disabled_at: Option<Timestamp>,
    /// The digest of its text, by which it is found there; nothing in what an earlier release has written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) digest: Option<String>,
}

/// What became of a certificate: through the API key that it was made with, or by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdrawal {
    /// Its device was forgotten.
    Forgotten {
        /// Since when.
        since: Timestamp,
    },
    /// The key is disabled; enabling it gives the certificate back.
    OnHold {
        /// Since when.
        since: Timestamp,
    },
    /// The key was revoked before the certificate was made.
    Revoked {
        /// Since when.
        since: Timestamp,
    },
    /// The credential of one that was made later was opened.
    Superseded {
        /// Since when.
        since: Timestamp,
    },
}

impl Kind for ApiKey {
    const KIND: ObjectKind = ObjectKind::ApiKey;

    const ACTIONS: Actions = Actions {
        create: Action::TpmApiKeyCreate,
        delete: Action::TpmApiKeyDelete,
        get: Action::TpmApiKeyGet,
        list: Action::TpmApiKeyList,
        replace: Action::TpmApiKeyReplace,
    };

    fn refers_to(&self) -> Option<(&'static str, &str)> {
        Some((Category::NAME, &self.category))
    }

    /// Deletes a key. Of its certificates those that it upholds stay good, and those that are on hold are revoked for
    /// good: nobody can enable it any more.
    async fn delete<B: Clone + Send + Sync>(
        devices: &DeviceIdentity,
        administrator: &Administrator<Self>,
        name: &str,
        body: Result<(), B>,
    ) -> Result<(), Failure<DeleteError<B>>> {
        settle("device_identity.delete_api_key", &devices.store, || async {
            let now = devices.clock.now();
            let (key, mut batch) = devices.deletion(administrator, name, &body, now).await?;
            if let Some((place, location)) = devices.location(&key).await? {
                batch.remove(&place, location.version);
            }
            if key.spec.withdraws_from().is_some() {
                let (namespace, category) = (&key.metadata.namespace, &key.spec.category);
                devices
                    .outdate_revocation_list(&mut batch, namespace, category, now)
                    .await?;
                let place = DeletedApiKey::key(namespace, category, &key.system.uid);
                let gone = now.saturating_add(ATTESTATION_KEY_LIFE + LISTED_BEYOND_END);
                batch.insert(&place, &DeletedApiKey { key }, Some(gone));
            }
            Ok(Attempt::Commit(batch, Ok(())))
        })
        .await
    }
}

impl ApiKey {
    /// Whether it is revoked at this moment.
    pub(super) fn is_revoked(&self, at: Timestamp) -> bool {
        self.revoked_at.is_some_and(|from| from <= at)
    }

    /// What became of a certificate that was made with it at that moment; `None` if that is still good.
    ///
    /// A disabled key takes all its certificates with it, a revoked one those made since, and those for good.
    pub(super) fn withdrawal(&self, made_at: Timestamp) -> Option<Withdrawal> {
        match self.revoked_at {
            Some(since) if since <= made_at => Some(Withdrawal::Revoked { since }),
            _ if self.is_disabled => Some(Withdrawal::OnHold {
                since: self.disabled_at.unwrap_or(made_at),
            }),
            _ => None,
        }
    }

    /// Whether a certificate that was made with it at that moment is still good.
    pub(super) fn upholds(&self, made_at: Timestamp) -> bool {
        self.withdrawal(made_at).is_none()
    }

    /// The same once the key is deleted: nobody can enable it any more.
    pub(super) fn withdrawal_for_good(&self, made_at: Timestamp) -> Option<Withdrawal> {
        let withdrawal = self.withdrawal(made_at)?;
        Some(match withdrawal {
            Withdrawal::OnHold { since } => Withdrawal::Revoked { since },
            other => other,
        })
    }

    /// The earliest moment since which it does not uphold certificates; `None` if it upholds all.
    pub(super) fn withdraws_from(&self) -> Option<Timestamp> {
        if self.is_disabled {
            return Some(Timestamp::EPOCH);
        }
        self.revoked_at
    }
}

impl Object<ApiKey> {
    /// Whether a certificate was made with this key, and not with one of its name that was deleted. Those of earlier
    /// releases, which deleted none, say the name alone.
    pub(super) fn has_made(&self, name: &str, uid: Option<&str>, made_at: Timestamp) -> bool {
        let is_this = match uid {
            Some(uid) => uid == self.system.uid,
            None => self.system.created_at <= made_at,
        };
        name == self.metadata.name && is_this
    }
}

/// At `tpm_deleted_api_key/<namespace>/<category>/<uid>`: a key that did not uphold all of its certificates when it was
/// deleted, for the category's revocation list.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct DeletedApiKey {
    pub(super) key: Object<ApiKey>,
}

record!(DeletedApiKey, "tpm_deleted_api_key");

impl DeletedApiKey {
    pub(super) fn key(namespace: &str, category: &str, uid: &str) -> Key {
        Key::new(Self::TYPE, [namespace, category, uid])
    }
}

/// At `tpm_api_key_digest/_/<digest>`: whose digest it is.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct KeyLocation {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) category: String,
    pub(super) manager: String,
}

record!(KeyLocation, "tpm_api_key_digest");

pub(super) fn location_key(digest: &TokenDigest) -> Key {
    Key::new(KeyLocation::TYPE, ["_", &digest.to_string()])
}

/// Reads the text of a key; `None` if it is not one.
pub(super) fn digest_of(text: &str) -> Option<TokenDigest> {
    let token = Token::parse(text.strip_prefix(TEXT_PREFIX)?).ok()?;
    Some(token.digest())
}

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewApiKey {
    /// What is said of it.
    pub metadata: Metadata,
    /// The name of its category, in the same namespace.
    pub category: String,
    /// Whether it is taken only with a client certificate of its category.
    pub need_mtls: bool,
}

/// A new key, with what is shown once.
#[derive(Clone)]
pub struct IssuedApiKey {
    /// The key's object.
    pub object: Object<ApiKey>,
    /// The key itself.
    pub text: Zeroizing<String>,
}

/// What a key is to be from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiKeyChange {
    /// Whether it is put out of use.
    pub is_disabled: bool,
    /// Why it is revoked.
    pub revoke_reason: String,
    /// From when on it is revoked.
    pub revoked_at: Option<Timestamp>,
}

/// Why a key was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateApiKeyError {
    /// There is one of this name.
    #[error("there is a tpm_api_key of this name")]
    Exists,
    /// Its metadata is not in order.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// Its category is not there.
    #[error("there is no such tpm_category")]
    UnknownCategory,
}

/// Why a key was not replaced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplaceApiKeyError<B> {
    /// The body was refused.
    #[error("the body was refused")]
    Body(B),
    /// It is revoked already, and would be revoked later or not at all.
    #[error("a revocation in force cannot be lifted")]
    Revoked,
    /// There is none of this name.
    #[error("there is no such tpm_api_key")]
    Unknown,
}

impl DeviceIdentity {
    /// Makes a key.
    ///
    /// # Errors
    ///
    /// [`CreateApiKeyError`].
    pub async fn create_api_key(
        &self,
        administrator: &Administrator<ApiKey>,
        new: NewApiKey,
    ) -> Result<IssuedApiKey, Failure<CreateApiKeyError>> {
        let refused = |why: CreateApiKeyError| Failure::Refused(why);
        let metadata = administrator.place(new.metadata).map_err(refused)?;
        settle("device_identity.create_api_key", &self.store, || async {
            let now = self.clock.now();
            let there = self.load::<ApiKey>(&metadata.namespace, &metadata.name);
            if there.await?.is_some() {
                return refuse(CreateApiKeyError::Exists);
            }
            let category = self
                .load::<Category>(&metadata.namespace, &new.category)
                .await?
                .ok_or_else(|| refused(CreateApiKeyError::UnknownCategory))?;
            let token = draw_token(self.store.entropy(), None);
            let digest = token.digest();
            let location = KeyLocation {
                namespace: metadata.namespace.clone(),
                name: metadata.name.clone(),
                category: new.category.clone(),
                manager: category.record.spec.manager.clone(),
            };
            let object = Object {
                system: self.system_metadata(now, administrator.origin()),
                spec: ApiKey {
                    category: new.category.clone(),
                    need_mtls: new.need_mtls,
                    is_disabled: false,
                    revoke_reason: String::new(),
                    revoked_at: None,
                    disabled_at: None,
                    digest: Some(digest.to_string()),
                },
                metadata: metadata.clone(),
            };
            let detail = Some(format!("for tpm_category {}", new.category));
            let mut batch = self.creation(administrator, &object, detail, now);
            Object::keep(&mut batch, &category);
            batch.insert(&location_key(&digest), &location, None);
            let issued = IssuedApiKey {
                object,
                text: Zeroizing::new(format!("{TEXT_PREFIX}{}", *token.text())),
            };
            Ok(Attempt::Commit(batch, Ok(issued)))
        })
        .await
    }

    /// Disables, enables or revokes a key. What refused the `body` is told only of a key that is there.
    ///
    /// # Errors
    ///
    /// [`ReplaceApiKeyError`].
    pub async fn replace_api_key<B: Clone>(
        &self,
        administrator: &Administrator<ApiKey>,
        name: &str,
        body: Result<ApiKeyChange, B>,
    ) -> Result<(), Failure<ReplaceApiKeyError<B>>> {
        self.change_api_key(administrator, name, |_, _| body.clone())
            .await
    }

    /// Revokes a key from now on, if it is not revoked already; whether it is disabled stays as it is.
    ///
    /// # Errors
    ///
    /// [`ReplaceApiKeyError::Unknown`].
    pub async fn revoke_api_key(
        &self,
        administrator: &Administrator<ApiKey>,
        name: &str,
        reason: &str,
    ) -> Result<(), Failure<ReplaceApiKeyError<Infallible>>> {
        let revoked = |spec: &ApiKey, now: Timestamp| {
            let since = spec.revoked_at.map_or(now, |since| since.min(now));
            Ok(ApiKeyChange {
                is_disabled: spec.is_disabled,
                revoke_reason: reason.to_owned(),
                revoked_at: Some(since),
            })
        };
        self.change_api_key(administrator, name, revoked).await
    }

    /// Puts a key out of use, or takes it back into use; a revocation stays as it is.
    ///
    /// # Errors
    ///
    /// [`ReplaceApiKeyError::Unknown`].
    pub async fn disable_api_key(
        &self,
        administrator: &Administrator<ApiKey>,
        name: &str,
        is_disabled: bool,
    ) -> Result<(), Failure<ReplaceApiKeyError<Infallible>>> {
        let change = |spec: &ApiKey, _| {
            Ok(ApiKeyChange {
                is_disabled,
                revoke_reason: spec.revoke_reason.clone(),
                revoked_at: spec.revoked_at,
            })
        };
        self.change_api_key(administrator, name, change).await
    }

    /// Changes a key to what `change` makes of it, at this time.
    async fn change_api_key<B>(
        &self,
        administrator: &Administrator<ApiKey>,
        name: &str,
        change: impl Fn(&ApiKey, Timestamp) -> Result<ApiKeyChange, B>,
    ) -> Result<(), Failure<ReplaceApiKeyError<B>>> {
        let refused = |why: ReplaceApiKeyError<B>| Failure::Refused(why);
        settle("device_identity.replace_api_key", &self.store, || async {
            let stored = self
                .load::<ApiKey>(administrator.namespace(), name)
                .await?
                .ok_or_else(|| refused(ReplaceApiKeyError::Unknown))?;
            let now = self.clock.now();
            let change = change(&stored.record.spec, now);
            let change = change.map_err(|why| refused(ReplaceApiKeyError::Body(why)))?;
            let mut object = stored.record;
            if let Some(from) = object.spec.revoked_at.filter(|from| *from <= now)
                && change.revoked_at.is_none_or(|to| to > from)
            {
                return refuse(ReplaceApiKeyError::Revoked);
            }
            let withdraws = |spec: &ApiKey| (spec.is_disabled, spec.revoked_at);
            let before = withdraws(&object.spec);
            object.spec.disabled_at = match (object.spec.is_disabled, change.is_disabled) {
                (true, true) => object.spec.disabled_at,
                (false, true) => Some(now),
                (_, false) => None,
            };
            object.spec.is_disabled = change.is_disabled;
            object.spec.revoke_reason.clone_from(&change.revoke_reason);
            object.spec.revoked_at = change.revoked_at;
            let detail = format!(
                "{}, {}",
                if change.is_disabled {
                    "disabled"
                } else {
                    "enabled"
                },
                match change.revoked_at {
                    Some(from) => format!("revoked from {} ms since 1970 on", from.as_millis()),
                    None => "not revoked".to_owned(),
                }
            );
            let mut batch =
                self.replacement(administrator, stored.version, &mut object, detail, now);
            if withdraws(&object.spec) != before {
                let (namespace, category) = (&object.metadata.namespace, &object.spec.category);
                self.outdate_revocation_list(&mut batch, namespace, category, now)
                    .await?;
            }
            Ok(Attempt::Commit(batch, Ok(())))
        })
        .await
    }

    /// Where a key is found by its text. All such places are looked through for one that an earlier release has written.
    async fn location(
        &self,
        key: &Object<ApiKey>,
    ) -> Result<Option<(Key, Stored<KeyLocation>)>, StorageError> {
        let is_of = |at: &KeyLocation| {
            at.namespace == key.metadata.namespace && at.name == key.metadata.name
        };
        let digest = key.spec.digest.as_deref();
        if let Some(digest) = digest.and_then(|digest| digest.parse().ok()) {
            let place = location_key(&digest);
            let found = self.store.get::<KeyLocation>(&place, self.clock.now());
            let found = found.await?.filter(|found| is_of(&found.record));
            return Ok(found.map(|found| (place, found)));
        }
        let all = Prefix::new(KeyLocation::TYPE, ["_"]);
        let mut pages = Pages::<KeyLocation>::of(&self.store, all);
        while let Some(page) = pages.next(self.clock.now()).await? {
            let mut page = page.into_iter();
            if let Some(found) = page.find(|(_, stored)| is_of(&stored.record)) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use keyproof_auth::TOKEN_BYTES;

    use super::{
        super::testing::{api_key, furnish, may},
        *,
    };
    use crate::{Clock, device_identity::Act, testing::bench};

    #[tokio::test]
    async fn a_key_is_deleted_without_looking_through_those_of_others() {
        let bench = bench().await;
        let devices = &bench.service.device_identity;
        let mut batch = bench.store.batch(bench.clock.now());
        for number in 0..500_u16 {
            let mut random = [0; TOKEN_BYTES];
            random[..2].copy_from_slice(&number.to_be_bytes());
            let location = KeyLocation {
                namespace: "theirs".to_owned(),
                name: number.to_string(),
                category: "theirs".to_owned(),
                manager: "theirs".to_owned(),
            };
            let place = location_key(&Token::from_random(random).digest());
            batch.insert(&place, &location, None);
        }
        bench.store.commit(batch).await.unwrap();
        furnish(&bench).await;
        let object = api_key(&bench).await.object;
        bench.faults.steps();
        let found = devices.location(&object).await.unwrap();
        let (place, location) = found.unwrap();
        assert_eq!(location.record.name, "k");
        assert_eq!(bench.faults.steps(), 1);

        // As an earlier release has written it.
        let mut earlier = object;
        earlier.spec.digest = None;
        let found = devices.location(&earlier).await.unwrap();
        assert_eq!(found.map(|(place, _)| place), Some(place.clone()));

        let deleting = may::<ApiKey>(&bench, Act::Delete, "k").await;
        let deleted = ApiKey::delete(devices, &deleting, "k", Ok::<_, Infallible>(()));
        deleted.await.unwrap();
        let now = bench.clock.now();
        let left = bench.store.get::<KeyLocation>(&place, now).await;
        assert!(left.unwrap().is_none());
    }
}
