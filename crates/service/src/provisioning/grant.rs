//! What an API key grants: its category and manager, as long as all three are in use.

use super::api_keys::KeyLocation;
use super::{
    ApiKey, Category, Manager, Metadata, Object, Provisioning,
    api_keys::{digest_of, location_key},
};
use crate::StorageError;
use keyproof_store::{Batch, Stored, Timestamp};

/// The longest text that is looked at as a key, in characters.
const LONGEST_KEY: usize = 1024;

/// Why an API key grants nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyRefusal {
    /// It, its category or its manager is disabled.
    #[error("the API key, its category or its manager is disabled")]
    Disabled,
    /// It is absent, empty or too long.
    #[error("an API key has 1 to {LONGEST_KEY} characters")]
    Length,
    /// It is taken only with a client certificate, which this version does not ask for.
    #[error("the API key is taken only with a client certificate of its category")]
    NeedsClientCertificate,
    /// It is revoked.
    #[error("the API key is revoked")]
    Revoked,
    /// There is none like it.
    #[error("the API key is unknown")]
    Unknown,
}

/// The records behind a key, as they were at one moment.
pub(super) struct Grant {
    pub(super) key: Stored<Object<ApiKey>>,
    pub(super) category: Stored<Object<Category>>,
    pub(super) manager: Stored<Object<Manager>>,
}

/// What is known about a key that was shown.
pub(super) enum Shown {
    /// It is good.
    Granted(Box<Grant>),
    /// It is not; where it is known, here is whose it is.
    Refused(ApiKeyRefusal, Option<Metadata>),
}

impl Provisioning {
    /// Looks a key up and judges it.
    pub(super) async fn show_key(&self, text: &str, now: Timestamp) -> Result<Shown, StorageError> {
        if !(1..=LONGEST_KEY).contains(&text.chars().count()) {
            return Ok(Shown::Refused(ApiKeyRefusal::Length, None));
        }
        let unknown = Ok(Shown::Refused(ApiKeyRefusal::Unknown, None));
        let Some(digest) = digest_of(text) else {
            return unknown;
        };
        let located = self
            .store
            .get::<KeyLocation>(&location_key(&digest), now)
            .await?;
        let Some(Stored { record: at, .. }) = located else {
            return unknown;
        };
        let grant = self.load_grant(&at, now).await?;
        Ok(match grant.refusal(now) {
            None => Shown::Granted(Box::new(grant)),
            Some(refusal) => Shown::Refused(refusal, Some(grant.key.record.metadata)),
        })
    }

    /// All three records, from one moment. Nothing removes them.
    async fn load_grant(&self, at: &KeyLocation, now: Timestamp) -> Result<Grant, StorageError> {
        use super::objects::object_key;
        let keys = [
            object_key::<ApiKey>(&at.namespace, &at.name),
            object_key::<Category>(&at.namespace, &at.category),
            object_key::<Manager>(&at.namespace, &at.manager),
        ];
        let records = self.store.get_many(&keys, now).await?;
        let [Some(key), Some(category), Some(manager)] = records.as_slice() else {
            let damage = format!("an API key of {} lacks its records", at.namespace);
            return Err(StorageError::Damaged(damage));
        };
        Ok(Grant {
            key: key.decode()?,
            category: category.decode()?,
            manager: manager.decode()?,
        })
    }
}

impl Grant {
    fn refusal(&self, now: Timestamp) -> Option<ApiKeyRefusal> {
        let key = &self.key.record.spec;
        let disabled = key.is_disabled
            || self.key.record.metadata.disable
            || self.category.record.metadata.disable
            || self.manager.record.metadata.disable;
        if disabled {
            Some(ApiKeyRefusal::Disabled)
        } else if key.is_revoked(now) {
            Some(ApiKeyRefusal::Revoked)
        } else if key.need_mtls {
            Some(ApiKeyRefusal::NeedsClientCertificate)
        } else {
            None
        }
    }

    /// Lets a batch go through only while the grant is as it was.
    pub(super) fn require(&self, batch: &mut Batch) {
        let key = &self.key;
        batch.require(&ApiKey::record_key(&key.record.metadata), key.version);
        let category = &self.category;
        batch.require(
            &Category::record_key(&category.record.metadata),
            category.version,
        );
        let manager = &self.manager;
        batch.require(
            &Manager::record_key(&manager.record.metadata),
            manager.version,
        );
    }
}
