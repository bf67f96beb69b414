//! API keys, with which manufacturing stations provision. The key text is returned once; only its digest is stored.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
};

use keyproof_auth::{Token, TokenDigest};
use keyproof_store::{Batch, Key, Prefix, ReadPlan, Record, Stored, Timestamp};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    Administrator, Category, DeviceIdentity, Kind, Manager, Metadata, MetadataError, Object,
    ObjectOperation, authority::ATTESTATION_KEY_LIFE, objects::object_key,
    revocation_list::LISTED_BEYOND_END,
};
use crate::{
    Action, Failure, StorageError,
    audit::ObjectKind,
    keys::draw_token,
    pages::{PAGE, Pages},
    storage::{Attempt, refuse, refused, transact},
};

/// The prefix of every key text, so that secret scanners can find leaked keys.
const TEXT_PREFIX: &str = "keyproof_tpm_";

/// The API key's own fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// The name of its category, in the same namespace.
    pub category: String,
    /// Whether the key is accepted only with its category's client certificate.
    pub need_mtls: bool,
    /// Whether the key is disabled. All certificates made with it are then on hold.
    pub is_disabled: bool,
    /// The reason for the revocation.
    pub revoke_reason: String,
    /// When the revocation takes effect. Certificates made earlier stay valid.
    pub revoked_at: Option<Timestamp>,
    /// When the key was disabled; `None` if it is enabled or an earlier release disabled it.
    #[serde(default)]
    pub(super) disabled_at: Option<Timestamp>,
    /// The digest of the key text, which locates its [`KeyLocation`]; `None` in records of earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) digest: Option<String>,
}

/// Why a certificate is not valid: because of the API key that it was made with, or because it was itself revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdrawal {
    /// The device was forgotten.
    Forgotten {
        /// When it was forgotten.
        since: Timestamp,
    },
    /// The API key is disabled. The certificate becomes valid again when the key is enabled.
    OnHold {
        /// When it was disabled.
        since: Timestamp,
    },
    /// The API key was already revoked when the certificate was made.
    Revoked {
        /// When the API key was revoked.
        since: Timestamp,
    },
    /// The credential of a later certificate was opened, or that of one for another EK of the device.
    Superseded {
        /// When it was opened.
        since: Timestamp,
    },
}

impl Kind for ApiKey {
    const KIND: ObjectKind = ObjectKind::ApiKey;

    const DELETE: &'static str = "device_identity.delete_api_key";

    const AT_ONCE: usize = PAGE;

    fn action(operation: ObjectOperation) -> Action {
        match operation {
            ObjectOperation::Create => Action::TpmApiKeyCreate,
            ObjectOperation::Delete => Action::TpmApiKeyDelete,
            ObjectOperation::Get => Action::TpmApiKeyGet,
            ObjectOperation::List => Action::TpmApiKeyList,
            ObjectOperation::Replace => Action::TpmApiKeyReplace,
        }
    }

    fn refers_to(&self) -> Option<(&'static str, &str)> {
        Some((Category::NAME, &self.category))
    }

    /// Certificates that a deleted key kept valid stay so. Those on hold are permanently revoked, since the key can no
    /// longer be enabled.
    async fn clear(
        devices: &DeviceIdentity,
        key: Object<Self>,
        batch: &mut Batch,
        now: Timestamp,
    ) -> Result<(), StorageError> {
        if let Some((place, location)) = devices.location(&key).await? {
            batch.remove(&place, location.version);
        }
        if key.spec.withdraws_from().is_some() {
            let (namespace, category) = (&key.metadata.namespace, &key.spec.category);
            devices
                .outdate_revocation_list(batch, namespace, category, now)
                .await?;
            let place = DeletedApiKey::key(namespace, category, &key.system.uid);
            let gone = now.saturating_add(ATTESTATION_KEY_LIFE + LISTED_BEYOND_END);
            batch.insert(&place, &DeletedApiKey { key }, Some(gone));
        }
        Ok(())
    }
}

impl Object<ApiKey> {
    /// Returns whether the key is revoked. A revocation in force on the server that last changed the key is in force on
    /// a server whose clock is behind, too.
    pub fn is_revoked(&self, now: Timestamp) -> bool {
        let now = now.max(self.system.modified_at);
        self.spec.revoked_at.is_some_and(|from| from <= now)
    }
}

impl ApiKey {
    /// Returns why a certificate made with this key at `made_at` is not valid, or `None` if it is valid.
    ///
    /// A disabled key puts all its certificates on hold. A revoked key permanently revokes those made since the
    /// revocation.
    pub(super) fn withdrawal(&self, made_at: Timestamp) -> Option<Withdrawal> {
        match self.revoked_at {
            Some(since) if since <= made_at => Some(Withdrawal::Revoked { since }),
            _ if self.is_disabled => Some(Withdrawal::OnHold {
                since: self.disabled_at.unwrap_or(made_at),
            }),
            _ => None,
        }
    }

    /// Like [`withdrawal`](Self::withdrawal) for a deleted key: what was on hold is revoked, as the key cannot be
    /// enabled.
    pub(super) fn withdrawal_for_good(&self, made_at: Timestamp) -> Option<Withdrawal> {
        let withdrawal = self.withdrawal(made_at)?;
        Some(match withdrawal {
            Withdrawal::OnHold { since } => Withdrawal::Revoked { since },
            other => other,
        })
    }

    /// Returns a lower bound for `made_at` of the certificates that the key does not keep valid; `None` if it keeps all valid.
    pub(super) fn withdraws_from(&self) -> Option<Timestamp> {
        if self.is_disabled {
            return Some(Timestamp::EPOCH);
        }
        self.revoked_at
    }
}

/// At `tpm_deleted_api_key/<namespace>/<category>/<uid>`: a deleted key that did not keep all of its certificates valid.
/// The category's CRL is made from it.
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

/// At `tpm_api_key_digest/_/<digest>`: the key that has this digest.
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

/// Parses a key text and returns its digest; `None` if it is not a key text.
pub(super) fn digest_of(text: &str) -> Option<TokenDigest> {
    let token = Token::parse(text.strip_prefix(TEXT_PREFIX)?).ok()?;
    Some(token.digest())
}

/// An API key to create.
#[derive(Clone, Debug)]
pub struct NewApiKey {
    /// Its metadata.
    pub metadata: Metadata,
    /// The name of its category, in the same namespace.
    pub category: String,
    /// Whether the key is accepted only with its category's client certificate.
    pub need_mtls: bool,
}

/// A new API key with its text, which is not stored.
#[derive(Clone)]
pub struct IssuedApiKey {
    /// The stored object.
    pub object: Object<ApiKey>,
    /// The key text.
    pub text: Zeroizing<String>,
}

/// The new values of an API key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiKeyChange {
    /// Whether it is disabled.
    pub is_disabled: bool,
    /// The reason for the revocation.
    pub revoke_reason: String,
    /// When the revocation takes effect.
    pub revoked_at: Option<Timestamp>,
}

/// Why a key was not created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateApiKeyError {
    /// A key of this name exists.
    #[error("there is a tpm_api_key of this name")]
    Exists,
    /// The metadata is invalid.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The category does not exist.
    #[error("there is no such tpm_category")]
    UnknownCategory,
}

/// Why a key was not replaced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplaceApiKeyError<B> {
    /// The body was refused.
    #[error("the body was refused")]
    Body(B),
    /// The key is already revoked, and the change would postpone or lift the revocation, or revoke the key again.
    #[error("a revocation in force cannot be lifted")]
    Revoked,
    /// There is no key of this name.
    #[error("there is no such tpm_api_key")]
    Unknown,
}

impl DeviceIdentity {
    /// Creates an API key.
    ///
    /// # Errors
    ///
    /// [`CreateApiKeyError`].
    pub async fn create_api_key(
        &self,
        administrator: &Administrator<ApiKey>,
        new: NewApiKey,
    ) -> Result<IssuedApiKey, Failure<CreateApiKeyError>> {
        let metadata = administrator.place(new.metadata).map_err(refused)?;
        transact("device_identity.create_api_key", &self.store, || async {
            let now = self.clock.now();
            let there = self.load::<ApiKey>(&metadata.namespace, &metadata.name);
            if there.await?.is_some() {
                return refuse(CreateApiKeyError::Exists);
            }
            let category = self
                .load::<Category>(&metadata.namespace, &new.category)
                .await?
                .ok_or(Failure::Refused(CreateApiKeyError::UnknownCategory))?;
            let token = draw_token(self.store.entropy(), None);
            let digest = token.digest();
            let location = KeyLocation {
                namespace: metadata.namespace.clone(),
                name: metadata.name.clone(),
                category: new.category.clone(),
                manager: category.record.spec.manager.clone(),
            };
            let spec = ApiKey {
                category: new.category.clone(),
                need_mtls: new.need_mtls,
                is_disabled: false,
                revoke_reason: String::new(),
                revoked_at: None,
                disabled_at: None,
                digest: Some(digest.to_string()),
            };
            let detail = Some(format!("for tpm_category {}", new.category));
            let (object, mut batch) = self.creation(administrator, &metadata, spec, detail, now);
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

    /// Disables, enables or revokes a key. An error in `body` is returned only if the key exists.
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
        let change = |_: &Object<ApiKey>, _| body.clone().map_err(ReplaceApiKeyError::Body);
        self.change_api_key(administrator, name, change).await
    }

    /// Revokes a key now, and leaves whether it is disabled unchanged. A revocation in force keeps its reason.
    ///
    /// # Errors
    ///
    /// [`ReplaceApiKeyError::Revoked`] if the key is already revoked; [`ReplaceApiKeyError::Unknown`].
    pub async fn revoke_api_key(
        &self,
        administrator: &Administrator<ApiKey>,
        name: &str,
        reason: &str,
    ) -> Result<(), Failure<ReplaceApiKeyError<Infallible>>> {
        let revoked = |key: &Object<ApiKey>, now| {
            if key.is_revoked(now) {
                return Err(ReplaceApiKeyError::Revoked);
            }
            Ok(ApiKeyChange {
                is_disabled: key.spec.is_disabled,
                revoke_reason: reason.to_owned(),
                revoked_at: Some(now),
            })
        };
        self.change_api_key(administrator, name, revoked).await
    }

    /// Disables or enables a key, and leaves its revocation unchanged.
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
        let change = |key: &Object<ApiKey>, _| {
            Ok(ApiKeyChange {
                is_disabled,
                revoke_reason: key.spec.revoke_reason.clone(),
                revoked_at: key.spec.revoked_at,
            })
        };
        self.change_api_key(administrator, name, change).await
    }

    /// Returns an API key that is accepted only with a client certificate, if there is one in use.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn key_with_client_certificate(&self) -> Result<Option<Metadata>, StorageError> {
        let now = self.clock.now();
        let is_sought = |key: &Object<ApiKey>| {
            let ApiKey {
                need_mtls,
                is_disabled,
                ..
            } = key.spec;
            need_mtls && !is_disabled && !key.metadata.disable && !key.is_revoked(now)
        };
        let all = Prefix::collection(ApiKey::NAME);
        let mut pages = Pages::<Object<ApiKey>>::of(&self.store, all);
        while let Some(page) = pages.next(now).await? {
            let mut keys = page.into_iter().map(|(_, stored)| stored.record);
            if let Some(key) = keys.find(is_sought) {
                return Ok(Some(key.metadata));
            }
        }
        Ok(None)
    }

    /// Returns the names of those categories of these API keys, all of one namespace, below which no key is accepted: the
    /// category or its manager is disabled or does not exist. All are read from one snapshot.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn closed_categories(
        &self,
        keys: &[Object<ApiKey>],
    ) -> Result<BTreeSet<String>, StorageError> {
        let manager_of = |category: &Object<Category>| {
            object_key::<Manager>(&category.metadata.namespace, &category.spec.manager)
        };
        let categories = keys.iter().map(|key| {
            let name = &*key.spec.category;
            (name, object_key::<Category>(&key.metadata.namespace, name))
        });
        let categories: BTreeMap<&str, Key> = categories.collect();
        let places: Vec<Key> = categories.values().cloned().collect();
        let plan = ReadPlan::new(places.clone()).then(move |found| {
            let mut managers = Vec::new();
            for place in &places {
                if let Some(category) = found.get_shared::<Object<Category>>(place)? {
                    managers.push(manager_of(&category.record));
                }
            }
            Ok(managers)
        });
        let found = self.store.read(plan, self.clock.now()).await?;
        let mut closed = BTreeSet::new();
        for (name, place) in categories {
            let is_open = match found.get_shared::<Object<Category>>(&place)? {
                Some(category) if !category.record.metadata.disable => {
                    let place = manager_of(&category.record);
                    let manager = found.get_shared::<Object<Manager>>(&place)?;
                    manager.is_some_and(|manager| !manager.record.metadata.disable)
                }
                _ => false,
            };
            if !is_open {
                closed.insert(name.to_owned());
            }
        }
        Ok(closed)
    }

    /// Applies `change`, which is given the current key and time.
    async fn change_api_key<B>(
        &self,
        administrator: &Administrator<ApiKey>,
        name: &str,
        change: impl Fn(&Object<ApiKey>, Timestamp) -> Result<ApiKeyChange, ReplaceApiKeyError<B>>,
    ) -> Result<(), Failure<ReplaceApiKeyError<B>>> {
        transact("device_identity.replace_api_key", &self.store, || async {
            let stored = self
                .load::<ApiKey>(administrator.namespace(), name)
                .await?
                .ok_or(Failure::Refused(ReplaceApiKeyError::Unknown))?;
            let now = self.clock.now();
            let change = change(&stored.record, now).map_err(Failure::Refused)?;
            let mut object = stored.record;
            if let Some(from) = object.spec.revoked_at
                && object.is_revoked(now)
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

    /// Finds the record that locates a key by its text. For a key of an earlier release this scans all of them.
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
    use std::time::Duration;

    use keyproof_auth::TOKEN_BYTES;

    use super::{
        super::{
            ApiKeyRefusal, AttestationKeyTemplate, NewCategory, PcrPolicy, ProvisionError, Station,
            TrustedMakers,
            testing::{api_key, furnish, may, named, nothing_but},
        },
        *,
    };
    use crate::{
        Clock,
        testing::{bench, origin},
    };

    #[tokio::test]
    async fn a_key_that_needs_a_client_certificate_is_found_while_it_is_in_use() {
        let bench = bench().await;
        furnish(&bench).await;
        api_key(&bench).await;
        let devices = &bench.service.device_identity;
        let found = async || {
            let found = devices.key_with_client_certificate().await.unwrap();
            found.map(|found| found.name)
        };
        assert_eq!(found().await, None);
        for (name, disable, expected) in [("dead", true, None), ("bound", false, Some("bound"))] {
            let new = NewApiKey {
                metadata: Metadata {
                    disable,
                    ..named(name)
                },
                category: "c".to_owned(),
                need_mtls: true,
            };
            let creating = may::<ApiKey>(&bench, ObjectOperation::Create, name).await;
            devices.create_api_key(&creating, new).await.unwrap();
            assert_eq!(found().await.as_deref(), expected);
        }
        let changing = may::<ApiKey>(&bench, ObjectOperation::Replace, "bound").await;
        for (is_disabled, expected) in [(true, None), (false, Some("bound"))] {
            let changed = devices.disable_api_key(&changing, "bound", is_disabled);
            changed.await.unwrap();
            assert_eq!(found().await.as_deref(), expected);
        }
        let revoked = devices.revoke_api_key(&changing, "bound", "");
        revoked.await.unwrap();
        assert_eq!(found().await, None);
    }

    /// Each key of a page may be of another category.
    #[tokio::test]
    async fn what_closes_the_categories_of_several_keys_is_read_at_once() {
        let bench = bench().await;
        furnish(&bench).await;
        let devices = &bench.service.device_identity;
        let off = Metadata {
            disable: true,
            ..named("off")
        };
        let creating = may::<Manager>(&bench, ObjectOperation::Create, "off").await;
        let made = devices.create_manager(&creating, off, TrustedMakers::default());
        made.await.unwrap();
        for (name, manager, disable) in [
            ("open", "m", false),
            ("shut", "m", true),
            ("below", "off", false),
        ] {
            let new = NewCategory {
                metadata: Metadata {
                    disable,
                    ..named(name)
                },
                manager: manager.to_owned(),
                allow_list: Vec::new(),
                attestation_key: AttestationKeyTemplate::default(),
                pcr_policy: PcrPolicy::default(),
            };
            let creating = may::<Category>(&bench, ObjectOperation::Create, name).await;
            assert!(devices.create_category(&creating, new).await.is_ok());
        }
        let key = api_key(&bench).await.object;
        let keys = ["c", "open", "shut", "below", "gone", "c"].map(|category| {
            let mut key = key.clone();
            key.spec.category = category.to_owned();
            key
        });
        bench.faults.steps();
        let closed = devices.closed_categories(&keys).await.unwrap();
        assert_eq!(bench.faults.steps(), 1);
        let closed: Vec<String> = closed.into_iter().collect();
        assert_eq!(closed, ["below", "gone", "shut"]);
    }

    /// Otherwise a server could still issue certificates, which would be from before the revocation and valid for good.
    #[tokio::test]
    async fn a_key_that_was_revoked_by_a_clock_that_is_ahead_is_revoked_on_all_servers() {
        let bench = bench().await;
        furnish(&bench).await;
        let key = api_key(&bench).await;
        let ahead = bench.another_ahead(Duration::from_secs(30)).await;
        let changing = may::<ApiKey>(&bench, ObjectOperation::Replace, "k").await;
        let revoked = ahead.device_identity.revoke_api_key(&changing, "k", "");
        revoked.await.unwrap();

        let devices = &bench.service.device_identity;
        let station = Station::with_api_key_only(origin(), None);
        let refused = async || devices.provision(&station, nothing_but(&key)).await.err();
        let expected = Failure::Refused(ProvisionError::ApiKey(ApiKeyRefusal::Revoked));
        assert_eq!(refused().await, Some(expected.clone()));
        let change = Ok::<_, Infallible>(ApiKeyChange::default());
        let lifted = devices.replace_api_key(&changing, "k", change).await;
        assert_eq!(lifted, Err(Failure::Refused(ReplaceApiKeyError::Revoked)));
        let again = devices.revoke_api_key(&changing, "k", "again").await;
        assert_eq!(again, Err(Failure::Refused(ReplaceApiKeyError::Revoked)));
        // Another change by this server does not forget that the time of the revocation has come.
        for is_disabled in [true, false] {
            let changed = devices.disable_api_key(&changing, "k", is_disabled);
            changed.await.unwrap();
        }
        assert_eq!(refused().await, Some(expected));
    }

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

        // A record as an earlier release wrote it.
        let mut earlier = object;
        earlier.spec.digest = None;
        let found = devices.location(&earlier).await.unwrap();
        assert_eq!(found.map(|(place, _)| place), Some(place.clone()));

        let deleting = may::<ApiKey>(&bench, ObjectOperation::Delete, "k").await;
        let deleted = devices.delete(&deleting, "k", Ok::<_, Infallible>(()));
        deleted.await.unwrap();
        let now = bench.clock.now();
        let left = bench.store.get::<KeyLocation>(&place, now).await;
        assert!(left.unwrap().is_none());
    }
}
