//! What an API key grants: its category and manager, as long as all three are in use.

use std::time::Duration;

use keyproof_store::{Batch, Key, ReadPlan, Stored, Timestamp, Version};

use super::{
    ApiKey, Category, DeviceIdentity, Kind, Manager, Metadata, Object, Station,
    api_keys::{KeyLocation, digest_of, location_key},
    objects::object_key,
    trust,
};
use crate::{StorageError, Who, audit::Target};

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
    /// It is taken only with the client certificate of its category, which was not shown, or has ended.
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
    /// The version that the trust bundle had then, if there is one.
    pub(super) trust: Option<Version>,
}

/// What is known about a key that was shown.
pub(super) enum Shown {
    /// It is good.
    Granted(Box<Grant>),
    /// It is refused; and which it is, as the audit trail calls it.
    Refused(ApiKeyRefusal, Target),
}

impl DeviceIdentity {
    /// Looks a key up, with all that it rests on, in one go, and judges it.
    pub(super) async fn show_key(
        &self,
        text: &str,
        station: &Station,
        now: Timestamp,
    ) -> Result<Shown, StorageError> {
        let unknown = |refusal| Ok(Shown::Refused(refusal, Target::UnknownTpmApiKey));
        if !(1..=LONGEST_KEY).contains(&text.chars().count()) {
            return unknown(ApiKeyRefusal::Length);
        }
        let Some(digest) = digest_of(text) else {
            return unknown(ApiKeyRefusal::Unknown);
        };
        let location = location_key(&digest);
        let plan = ReadPlan::new([location.clone(), trust::place()]).then({
            let location = location.clone();
            move |found| {
                let located = found.get::<KeyLocation>(&location)?;
                Ok(located.map_or_else(Vec::new, |located| located.record.places().into()))
            }
        });
        let found = self.store.read(plan, now).await?;
        let Some(Stored { record: at, .. }) = found.get::<KeyLocation>(&location)? else {
            return unknown(ApiKeyRefusal::Unknown);
        };
        let [key, category, manager] = at.places();
        // They are removed together with it.
        let (Some(key), Some(category), Some(manager)) = (
            found.get(&key)?,
            found.get(&category)?,
            found.get(&manager)?,
        ) else {
            let damage = format!("an API key of {} lacks its records", at.namespace);
            return Err(StorageError::Damaged(damage));
        };
        let grant = Grant {
            key,
            category,
            manager,
            trust: trust::version(&found)?,
        };
        Ok(match grant.refusal(station, now) {
            None => Shown::Granted(Box::new(grant)),
            Some(refusal) => Shown::Refused(refusal, grant.target()),
        })
    }

    /// Counts a use of the key.
    pub(super) fn take_turn(&self, grant: &Grant, now: Timestamp) -> Result<(), Duration> {
        let Metadata {
            namespace, name, ..
        } = &grant.key.record.metadata;
        self.rate_limit.take(&format!("{namespace}/{name}"), now)
    }
}

impl KeyLocation {
    /// Where the key, its category and its manager stand.
    fn places(&self) -> [Key; 3] {
        [
            object_key::<ApiKey>(&self.namespace, &self.name),
            object_key::<Category>(&self.namespace, &self.category),
            object_key::<Manager>(&self.namespace, &self.manager),
        ]
    }
}

impl Grant {
    /// The key, as the audit trail calls it.
    pub(super) fn target(&self) -> Target {
        let key = &self.key.record.metadata;
        ApiKey::target(&key.namespace, &key.name)
    }

    /// Whose share of what is judged is taken: that of the station's client certificate, or else of the key's namespace. Each
    /// station of a factory may have an operator's token of its own, and all of them are one party. What is done is told of the
    /// station's origin.
    pub(super) fn asker(&self, station: &Station) -> Who {
        let who = &station.origin().who;
        if matches!(who, Who::Station { .. }) {
            return who.clone();
        }
        let category = &self.category.record.metadata;
        Who::Station {
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
        } else if key.is_revoked(now) {
            Some(ApiKeyRefusal::Revoked)
        } else if key.need_mtls && !self.is_of_station(station, now) {
            Some(ApiKeyRefusal::NeedsClientCertificate)
        } else {
            None
        }
    }

    /// Whether the station has shown the client certificate of the key's category.
    fn is_of_station(&self, station: &Station, now: Timestamp) -> bool {
        let category = &self.category.record.spec;
        let shown = station.certificate();
        shown.is_some_and(|shown| category.has_client(shown, now))
    }

    /// Lets a batch go through only while the grant is as it was.
    pub(super) fn require(&self, batch: &mut Batch) {
        Object::require(batch, &self.key);
        Object::require(batch, &self.category);
        Object::require(batch, &self.manager);
    }
}
