//! What managers, categories and API keys have in common: a name in a namespace, metadata, and who made them when.

use std::{collections::BTreeMap, sync::Arc};

use keyproof_auth::operator::is_dns_label;
use keyproof_store::{Batch, Key, Prefix, Record, Stored, Timestamp, Version};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Builder;

use super::{Administrator, ApiKey, Category, DeviceIdentity, LabelSelector, Manager};
use crate::{
    Action, Failure, Listed, Origin, StorageError,
    audit::{Deed, ObjectKind, Target},
    pages::{Pages, some},
    storage::{refuse, said},
};

/// A kind of object.
pub trait Kind: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Which kind it is.
    const KIND: ObjectKind;

    /// What it is called in the store, the audit trail and references: `tpm_manager`.
    const NAME: &'static str = Self::KIND.name();

    /// What is done to it, as the audit trail calls it.
    const ACTIONS: Actions;

    /// The object of the same namespace that it is below, by kind and name.
    fn refers_to(&self) -> Option<(&'static str, &str)>;

    /// Deletes one that no other refers to. What refused the `body` is told only of one that is there.
    ///
    /// # Errors
    ///
    /// [`DeleteError`].
    fn delete<B: Clone + Send + Sync>(
        devices: &DeviceIdentity,
        administrator: &Administrator<Self>,
        name: &str,
        body: Result<(), B>,
    ) -> impl Future<Output = Result<(), Failure<DeleteError<B>>>> + Send;

    /// What events of this object are of; of all of a namespace without a name.
    fn target(namespace: &str, name: &str) -> Target {
        Target::TpmObject {
            kind: Self::KIND,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

/// What is done to objects of a kind, as the audit trail calls it.
#[derive(Clone, Copy, Debug)]
pub struct Actions {
    /// One is made: `tpm_manager.create`.
    pub create: Action,
    /// One is deleted.
    pub delete: Action,
    /// One is read.
    pub get: Action,
    /// Those of a namespace are read.
    pub list: Action,
    /// One is replaced.
    pub replace: Action,
}

/// An object, as others are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Its kind's name.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its UUID.
    pub uid: String,
}

/// An object at `<kind>/<namespace>/<name>`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Object<K> {
    /// What its creator says of it.
    pub metadata: Metadata,
    /// What keyproof says of it.
    pub system: SystemMetadata,
    /// What it is.
    pub spec: K,
}

impl<K: Kind> Object<K> {
    fn reference(&self) -> Reference {
        Reference {
            kind: K::NAME,
            name: self.metadata.name.clone(),
            namespace: self.metadata.namespace.clone(),
            uid: self.system.uid.clone(),
        }
    }
}

impl<K: Kind> Record for Object<K> {
    const TYPE: &'static str = K::NAME;
    const VERSION: u32 = 1;
}

/// What its creator says of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Its name, unique in the namespace for its kind.
    pub name: String,
    /// Where it is.
    pub namespace: String,
    /// For selectors.
    pub labels: BTreeMap<String, String>,
    /// For other tools.
    pub annotations: BTreeMap<String, String>,
    /// For people.
    pub description: String,
    /// Put out of use: whatever needs it is refused.
    pub disable: bool,
}

/// What keyproof says of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemMetadata {
    /// A random UUID (RFC 9562, version 4).
    pub uid: String,
    /// Who made it, as the audit trail names them.
    pub creator: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last replaced; when it was made if it never was.
    pub modified_at: Timestamp,
}

/// Why metadata is not taken. The first thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// A key or value of the annotations is empty or too long.
    #[error("keys have 1 to 64 characters, values 1 to 1024")]
    Annotation,
    /// The description is too long.
    #[error(
        "description has {found} bytes, more than {}",
        Metadata::LONGEST_DESCRIPTION
    )]
    Description {
        /// Its length.
        found: usize,
    },
    /// The name is not a DNS label.
    #[error("name is not a DNS label (RFC 1035) in lower case")]
    Name,
    /// The namespace is not a DNS label.
    #[error("the namespace is not a DNS label (RFC 1035) in lower case")]
    Namespace,
}

/// Why an object is not shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// There is none of this name.
    #[error("there is no such object")]
    Unknown,
}

/// Why an object was not deleted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteError<B> {
    /// The body was refused.
    #[error("the body was refused")]
    Body(B),
    /// Others are below it.
    #[error("it is referred to by {count} objects, {} {:?} among them", .one.kind, .one.name)]
    Referred {
        /// One of those below it.
        one: Reference,
        /// How many there are.
        count: usize,
    },
    /// There is none of this name.
    #[error("there is no such object")]
    Unknown,
}

impl<K: Kind> Object<K> {
    /// Lets a batch go through only while it is as it was read.
    pub(super) fn require(batch: &mut Batch, read: &Stored<Self>) {
        batch.require(&read.record.metadata.key::<K>(), read.version);
    }

    /// Writes an object over as it was read, so that it is not deleted while another is made below it.
    pub(super) fn keep(batch: &mut Batch, read: &Stored<Self>) {
        let key = read.record.metadata.key::<K>();
        batch.replace(&key, read.version, &read.record, None);
    }
}

impl Metadata {
    /// The longest description, in bytes.
    pub const LONGEST_DESCRIPTION: usize = 1200;

    /// Where the object of this kind is.
    pub(super) fn key<K: Kind>(&self) -> Key {
        object_key::<K>(&self.namespace, &self.name)
    }

    pub(super) fn check(&self) -> Result<(), MetadataError> {
        if !is_dns_label(&self.name) {
            return Err(MetadataError::Name);
        }
        if !is_dns_label(&self.namespace) {
            return Err(MetadataError::Namespace);
        }
        let within = |text: &str, most| (1..=most).contains(&text.chars().count());
        let mut annotations = self.annotations.iter();
        if !annotations.all(|(key, value)| within(key, 64) && within(value, 1024)) {
            return Err(MetadataError::Annotation);
        }
        let found = self.description.len();
        if found > Self::LONGEST_DESCRIPTION {
            return Err(MetadataError::Description { found });
        }
        Ok(())
    }
}

pub(super) fn object_key<K: Kind>(namespace: &str, name: &str) -> Key {
    Key::new(K::NAME, [namespace, name])
}

impl DeviceIdentity {
    /// An object by its name.
    ///
    /// # Errors
    ///
    /// [`FindError`].
    pub async fn find<K: Kind>(
        &self,
        administrator: &Administrator<K>,
        name: &str,
    ) -> Result<Arc<Object<K>>, Failure<FindError>> {
        let key = object_key::<K>(administrator.namespace(), name);
        let stored = match administrator.along.get(&key)? {
            Some(read) => read,
            None => self.store.get_shared(&key, self.clock.now()).await?,
        };
        Ok(stored.ok_or(Failure::Refused(FindError::Unknown))?.record)
    }

    /// The objects of a namespace whose labels are those that the selector asks for, by name.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn list<K: Kind>(
        &self,
        administrator: &Administrator<K>,
        selector: &LabelSelector,
    ) -> Result<Vec<Object<K>>, StorageError> {
        let wanted = |object: Object<K>| {
            let matches = selector.matches(&object.metadata.labels);
            matches.then_some(object)
        };
        self.gather(administrator.namespace(), wanted).await
    }

    /// At most so many objects of a namespace, by name, behind the one of this name.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn objects_page<K: Kind>(
        &self,
        administrator: &Administrator<K>,
        after: Option<&str>,
        most: usize,
    ) -> Result<Listed<Object<K>, String>, StorageError> {
        let namespace = administrator.namespace();
        let prefix = Prefix::new(K::NAME, [namespace]);
        let after = after.map(|name| object_key::<K>(namespace, name));
        let now = self.clock.now();
        let read = some::<Object<K>>(&self.store, &prefix, after.as_ref(), most, now);
        let (read, is_more) = read.await?;
        let rows = read.into_iter().map(|(_, stored)| stored.record);
        let rows: Vec<_> = rows.collect();
        let last = rows.last().map(|object| object.metadata.name.clone());
        Ok(Listed {
            rows,
            next: last.filter(|_| is_more),
        })
    }

    /// A batch that makes an object, with its event.
    pub(super) fn creation<K: Kind>(
        &self,
        administrator: &Administrator<K>,
        object: &Object<K>,
        detail: Option<String>,
        now: Timestamp,
    ) -> Batch {
        let metadata = &object.metadata;
        let mut batch = self.store.batch(now);
        batch.insert(&metadata.key::<K>(), object, None);
        let deed = deed::<K>(K::ACTIONS.create, metadata, detail, administrator.origin());
        self.audit.done(&mut batch, now, deed);
        batch
    }

    /// A batch that replaces an object which has changed since it was read as this version, with its event.
    pub(super) fn replacement<K: Kind>(
        &self,
        administrator: &Administrator<K>,
        version: Version,
        object: &mut Object<K>,
        detail: String,
        now: Timestamp,
    ) -> Batch {
        object.system.modified_at = now;
        let metadata = &object.metadata;
        let mut batch = self.store.batch(now);
        batch.replace(&metadata.key::<K>(), version, &*object, None);
        let (replace, origin) = (K::ACTIONS.replace, administrator.origin());
        let deed = deed::<K>(replace, metadata, Some(detail), origin);
        self.audit.done(&mut batch, now, deed);
        batch
    }

    /// An object that is to be deleted, and a batch that does it, with its event: refused while another refers to it. An
    /// object that is made below it meanwhile writes over it, so that one of the two loses the race.
    pub(super) async fn deletion<K: Kind, B: Clone>(
        &self,
        administrator: &Administrator<K>,
        name: &str,
        body: &Result<(), B>,
        now: Timestamp,
    ) -> Result<(Object<K>, Batch), Failure<DeleteError<B>>> {
        let stored = self
            .load::<K>(administrator.namespace(), name)
            .await?
            .ok_or(Failure::Refused(DeleteError::Unknown))?;
        said(body, DeleteError::Body)?;
        let object = stored.record;
        let below = self.referring(&object).await?;
        let count = below.len();
        if let Some(one) = below.into_iter().next() {
            return refuse(DeleteError::Referred { one, count });
        }
        let metadata = &object.metadata;
        let mut batch = self.store.batch(now);
        batch.remove(&metadata.key::<K>(), stored.version);
        let deed = deed::<K>(K::ACTIONS.delete, metadata, None, administrator.origin());
        self.audit.done(&mut batch, now, deed);
        Ok((object, batch))
    }

    /// What is to be kept of the objects of a namespace, by name: a page of them is in memory at a time.
    pub(super) async fn gather<K: Kind, T>(
        &self,
        namespace: &str,
        mut keep: impl FnMut(Object<K>) -> Option<T>,
    ) -> Result<Vec<T>, StorageError> {
        let prefix = Prefix::new(K::NAME, [namespace]);
        let mut pages = Pages::<Object<K>>::of(&self.store, prefix);
        let mut kept = Vec::new();
        while let Some(page) = pages.next(self.clock.now()).await? {
            kept.extend(
                page.into_iter()
                    .filter_map(|(_, stored)| keep(stored.record)),
            );
        }
        Ok(kept)
    }

    /// The objects that are right below one, by name.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn referring<K: Kind>(
        &self,
        object: &Object<K>,
    ) -> Result<Vec<Reference>, StorageError> {
        fn below<K: Kind>(
            above: &'static str,
            name: &str,
        ) -> impl Fn(Object<K>) -> Option<Reference> {
            move |object| {
                let is_below = object.spec.refers_to() == Some((above, name));
                is_below.then(|| object.reference())
            }
        }

        let Metadata {
            namespace, name, ..
        } = &object.metadata;
        let mut found = self
            .gather(namespace, below::<Category>(K::NAME, name))
            .await?;
        let api_keys = self.gather(namespace, below::<ApiKey>(K::NAME, name));
        found.extend(api_keys.await?);
        Ok(found)
    }

    /// The object that this one is below, if that is disabled.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn disabled_referred<K: Kind>(
        &self,
        object: &Object<K>,
    ) -> Result<Option<Reference>, StorageError> {
        fn if_disabled<K: Kind>(stored: Option<Stored<Object<K>>>) -> Option<Reference> {
            let object = stored?.record;
            object.metadata.disable.then(|| object.reference())
        }

        let namespace = &object.metadata.namespace;
        Ok(match object.spec.refers_to() {
            Some((Category::NAME, name)) => {
                if_disabled(self.load::<Category>(namespace, name).await?)
            }
            Some((_, name)) => if_disabled(self.load::<Manager>(namespace, name).await?),
            None => None,
        })
    }

    pub(super) async fn load<K: Kind>(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Stored<Object<K>>>, StorageError> {
        let key = object_key::<K>(namespace, name);
        Ok(self.store.get(&key, self.clock.now()).await?)
    }

    /// A new object's system metadata.
    pub(super) fn system_metadata(&self, now: Timestamp, origin: &Origin) -> SystemMetadata {
        let mut bytes = [0; 16];
        self.store.entropy().fill(&mut bytes);
        SystemMetadata {
            uid: Builder::from_random_bytes(bytes).into_uuid().to_string(),
            creator: origin.who.to_string(),
            created_at: now,
            modified_at: now,
        }
    }
}

/// The event of something done to an object.
pub(super) fn deed<'a, K: Kind>(
    action: Action,
    metadata: &Metadata,
    detail: Option<String>,
    origin: &'a Origin,
) -> Deed<'a> {
    Deed {
        action,
        target: K::target(&metadata.namespace, &metadata.name),
        detail,
        origin,
    }
}

#[cfg(test)]
mod unit_tests {
    use keyproof_auth::operator::OperatorScopes;

    use super::*;
    use crate::{
        access::{Along, NewOperatorToken},
        device_identity::{Act, TrustedMakers, testing::named},
        testing::{bench, command_line, origin},
    };

    #[tokio::test]
    async fn an_object_that_is_only_shown_is_read_with_the_token_that_asks_for_it() {
        let bench = bench().await;
        let (access, devices) = (&bench.service.access, &bench.service.device_identity);
        let new = NewOperatorToken {
            subject: "ops".to_owned(),
            scopes: OperatorScopes::parse(["tpm:default"]).unwrap(),
            lifetime: None,
        };
        let issued = access.create(new, &command_line()).await.unwrap();
        let origin = origin();
        let administrator = async |act, along| {
            let operator = access.authenticate_along(&issued.text, along).await;
            let permitted = devices
                .permit(&operator.unwrap(), act, "default", "made", &origin)
                .await;
            permitted.unwrap()
        };
        let creating = administrator(Act::Create, Along::default()).await;
        let trusted = TrustedMakers {
            ek_roots: Vec::new(),
            ek_trust_bundle: true,
        };
        let made = devices.create_manager(&creating, named("made"), trusted);
        let uid = made.await.unwrap().system.uid;
        let along = |name| DeviceIdentity::along::<Manager>("default", name);
        bench.faults.steps();
        let asking = administrator(Act::Get, along("made")).await;
        let found = devices.find(&asking, "made").await.unwrap();
        assert_eq!(
            (found.system.uid.as_str(), bench.faults.steps()),
            (&*uid, 1)
        );
        // What was not read along is read, and what is not there is not looked for again.
        assert!(devices.find(&creating, "made").await.is_ok());
        assert_eq!(bench.faults.steps(), 1);
        let asking = administrator(Act::Get, along("other")).await;
        let unknown = devices.find(&asking, "other").await;
        assert_eq!(unknown.err(), Some(Failure::Refused(FindError::Unknown)));
        assert_eq!(bench.faults.steps(), 1);
    }

    #[test]
    fn metadata_keeps_to_its_limits() {
        let good = Metadata {
            name: "a-1".to_owned(),
            namespace: "default".to_owned(),
            description: "d".repeat(1200),
            annotations: [("k".repeat(64), "é".repeat(1024))].into(),
            ..Metadata::default()
        };
        assert_eq!(good.check(), Ok(()));
        for name in ["", "A", "1a", "a-", "a_b", "a.b", &"a".repeat(64)] {
            let name = name.to_owned();
            let named = Metadata {
                name: name.clone(),
                ..good.clone()
            };
            assert_eq!(named.check(), Err(MetadataError::Name), "{name}");
            let placed = Metadata {
                namespace: name.clone(),
                ..good.clone()
            };
            assert_eq!(placed.check(), Err(MetadataError::Namespace), "{name}");
        }
        for (key, value) in [(0, 1), (65, 1), (1, 0), (1, 1025)] {
            let annotated = Metadata {
                annotations: [("k".repeat(key), "v".repeat(value))].into(),
                ..good.clone()
            };
            assert_eq!(annotated.check(), Err(MetadataError::Annotation));
        }
        let described = Metadata {
            description: "d".repeat(1201),
            ..good
        };
        let refused = MetadataError::Description { found: 1201 };
        assert_eq!(described.check(), Err(refused));
    }
}
