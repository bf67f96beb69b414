//! Grants: an API key with its category and manager, if none of the three is disabled.

use std::{sync::Arc, time::Duration};

use keyproof_store::{Batch, Key, ReadPlan, Stored, Timestamp, Version};

use super::{
    ApiKey, Category, DeviceIdentity, Kind, Manager, Metadata, Object, Station,
    api_keys::{KeyLocation, digest_of, location_key},
    objects::object_key,
    trust,
};
use crate::{
    Failure, Principal,
    audit::Target,
    slot::next_keys,
    storage::{damaged, refuse},
};

/// The longest text that is looked up as a key, in characters.
const LONGEST_KEY: usize = 1024;

/// Why an API key was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyRefusal {
    /// The key, its category or its manager is disabled.
    #[error("the API key, its category or its manager is disabled")]
    Disabled,
    /// The key is missing, empty or too long.
    #[error("an API key has 1 to {LONGEST_KEY} characters")]
    Length,
    /// The key requires its category's client certificate, which was not sent or is not valid.
    #[error("the API key requires the client certificate of its category")]
    NeedsClientCertificate,
    /// The key is revoked.
    #[error("the API key is revoked")]
    Revoked,
    /// There is no such key.
    #[error("the API key is unknown")]
    Unknown,
}

/// The records behind a key, from one snapshot.
pub(super) struct Grant {
    pub(super) key: Stored<Object<ApiKey>>,
    pub(super) category: Stored<Object<Category>>,
    pub(super) manager: Stored<Object<Manager>>,
    /// The version of the trust bundle in that snapshot, if there is one.
    pub(super) trust: Option<Version>,
}

impl DeviceIdentity {
    /// Reads a key and the records it depends on in one snapshot, and validates it. A refusal comes with its audit target.
    pub(super) async fn show_key(
        &self,
        text: &str,
        station: &Station,
        now: Timestamp,
    ) -> Result<Arc<Grant>, Failure<(Target, ApiKeyRefusal)>> {
        let unknown = |why| refuse((Target::UnknownTpmApiKey, why));
        if !(1..=LONGEST_KEY).contains(&text.chars().count()) {
            return unknown(ApiKeyRefusal::Length);
        }
        let Some(digest) = digest_of(text) else {
            return unknown(ApiKeyRefusal::Unknown);
        };
        let location = location_key(&digest);
        let keys = |at: &KeyLocation| Vec::from(at.places());
        let plan = ReadPlan::new([location.clone(), trust::place()])
            .then(next_keys(location.clone(), keys));
        let found = self.store.read(plan, now).await?;
        let Some(Stored { record: at, .. }) = found.get::<KeyLocation>(&location)? else {
            return unknown(ApiKeyRefusal::Unknown);
        };
        let [key, category, manager] = at.places();
        // The location is deleted in the same batch as the key, and a category or manager in use cannot be deleted.
        let (Some(key), Some(category), Some(manager)) = (
            found.get(&key)?,
            found.get(&category)?,
            found.get(&manager)?,
        ) else {
            let damage = format!("an API key of {} lacks its records", at.namespace);
            return Err(damaged(damage).into());
        };
        let grant = Grant {
            key,
            category,
            manager,
            trust: trust::version(&found)?,
        };
        match grant.refusal(station, now) {
            None => Ok(Arc::new(grant)),
            Some(why) => refuse((grant.target(), why)),
        }
    }

    /// Counts a use of the key against its rate limit.
    pub(super) fn take_turn(&self, grant: &Grant, now: Timestamp) -> Result<(), Duration> {
        let Metadata {
            namespace, name, ..
        } = &grant.key.record.metadata;
        self.rate_limit.take(&format!("{namespace}/{name}"), now)
    }
}

impl KeyLocation {
    /// Returns the places of the key, its category and its manager.
    fn places(&self) -> [Key; 3] {
        [
            object_key::<ApiKey>(&self.namespace, &self.name),
            object_key::<Category>(&self.namespace, &self.category),
            object_key::<Manager>(&self.namespace, &self.manager),
        ]
    }
}

impl Grant {
    /// Returns the key's target in the audit trail.
    pub(super) fn target(&self) -> Target {
        let key = &self.key.record.metadata;
        ApiKey::target(&key.namespace, &key.name)
    }

    /// Returns whose share of CPU-bound work is used: that of the station's client certificate, or else of the key's
    /// namespace. The stations of a factory share it even if each has its own operator's token. The audit trail records
    /// the station's own origin.
    pub(super) fn asker(&self, station: &Station) -> Principal {
        let who = &station.origin().who;
        if matches!(who, Principal::Station { .. }) {
            return who.clone();
        }
        let category = &self.category.record.metadata;
        Principal::Station {
            namespace: category.namespace.clone(),
            category: category.name.clone(),
        }
    }

    fn refusal(&self, station: &Station, now: Timestamp) -> Option<ApiKeyRefusal> {
        let key = &self.key.record.spec;
        let disabled = key.is_disabled
            || self.key.record.metadata.disable
            || self.category.record.metadata.disable
            || self.manager.record.metadata.disable;
        if disabled {
            Some(ApiKeyRefusal::Disabled)
        } else if self.key.record.is_revoked(now) {
            Some(ApiKeyRefusal::Revoked)
        } else if key.need_mtls && !self.is_of_station(station, now) {
            Some(ApiKeyRefusal::NeedsClientCertificate)
        } else {
            None
        }
    }

    /// Returns whether the station has the client certificate of the key's category.
    fn is_of_station(&self, station: &Station, now: Timestamp) -> bool {
        let category = &self.category.record.spec;
        let shown = station.certificate();
        shown.is_some_and(|shown| category.has_client(shown, now))
    }

    /// Lets a batch commit only if key, category and manager are unchanged.
    pub(super) fn require(&self, batch: &mut Batch) {
        Object::require(batch, &self.key);
        Object::require(batch, &self.category);
        Object::require(batch, &self.manager);
    }
}
