//! What managers, categories and API keys have in common: a name in a namespace, metadata, and their creation and
//! changes.

use std::{collections::BTreeMap, sync::Arc};

use keyproof_auth::operator::is_dns_label;
use keyproof_store::{Batch, Key, Prefix, Record, Stored, Timestamp, Version};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Builder;

use super::{
    Administrator, ApiKey, Category, DeviceIdentity, LabelSelector, Manager, ObjectOperation,
};
use crate::{
    Action, Failure, ListPage, Origin, StorageError,
    audit::{NewEvent, ObjectKind, Target},
    keys::draw_bytes,
    pages::{Pages, scan_page},
    storage::{Attempt, refuse, require_body, transact},
};

/// A kind of object.
pub trait Kind: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The kind's value.
    const KIND: ObjectKind;

    /// The kind's name in the store, the audit trail and references, such as `tpm_manager`.
    const NAME: &'static str = Self::KIND.name();

    /// The name of a deletion in the log and the figures.
    const DELETE: &'static str;

    /// How many objects are read at once where all are read, so that a page of the largest ones is not too much memory.
    const AT_ONCE: usize;

    /// Returns the action in the audit trail for an operation on objects of this kind.
    fn action(operation: ObjectOperation) -> Action;

    /// Returns the kind's name and the name of the parent object, in the same namespace.
    fn refers_to(&self) -> Option<(&'static str, &str)>;

    /// Adds to the batch that deletes an object what must change with it.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    fn clear(
        devices: &DeviceIdentity,
        deleted: Object<Self>,
        batch: &mut Batch,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), StorageError>> + Send;

    /// Returns the target of an object's audit events, or that of the whole namespace if `name` is empty.
    fn target(namespace: &str, name: &str) -> Target {
        Target::TpmObject {
            kind: Self::KIND,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

/// A reference to an object.
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

/// An object, stored at `<kind>/<namespace>/<name>`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Object<K> {
    /// The metadata that its creator sets.
    pub metadata: Metadata,
    /// The metadata that keyproof sets.
    pub system: SystemMetadata,
    /// The fields of its kind.
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

/// The metadata of an object that its creator sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The name, unique in the namespace for its kind.
    pub name: String,
    /// The namespace.
    pub namespace: String,
    /// Labels, which selectors match.
    pub labels: BTreeMap<String, String>,
    /// Annotations for other tools.
    pub annotations: BTreeMap<String, String>,
    /// A description for people.
    pub description: String,
    /// Whether the object is disabled. Requests that need it are rejected.
    pub disable: bool,
}

/// The metadata of an object that keyproof sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemMetadata {
    /// A random UUID (RFC 9562, version 4).
    pub uid: String,
    /// Who created it, as in the audit trail.
    pub creator: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last replaced; the time of creation if it never was.
    pub modified_at: Timestamp,
}

impl SystemMetadata {
    /// Sets the time of the last change. It never goes back, even if the clock of the server that made the last change was ahead.
    pub(super) fn touch(&mut self, now: Timestamp) {
        self.modified_at = self.modified_at.max(now);
    }
}

/// Why metadata was rejected. Reports the first problem.
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
        /// Its length in bytes.
        found: usize,
    },
    /// The name is not a DNS label.
    #[error("name is not a DNS label (RFC 1035) in lower case")]
    Name,
    /// The namespace is not a DNS label.
    #[error("the namespace is not a DNS label (RFC 1035) in lower case")]
    Namespace,
}

/// Why an object was not returned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// There is no object of this name.
    #[error("there is no such object")]
    Unknown,
}

/// Why an object was not deleted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteError<B> {
    /// The body was refused.
    #[error("the body was refused")]
    Body(B),
    /// Other objects refer to it.
    #[error("it is referred to by {} {:?}{}", .one.kind, .one.name, and_more(*.count))]
    Referred {
        /// One of the objects that refer to it.
        one: Reference,
        /// How many objects refer to it.
        count: usize,
    },
    /// There is no object of this name.
    #[error("there is no such object")]
    Unknown,
}

/// Tells that there are more objects than the one that is named.
fn and_more(count: usize) -> String {
    match count.saturating_sub(1) {
        0 => String::new(),
        more => format!(" and {more} more"),
    }
}

impl<K: Kind> Object<K> {
    /// Lets a batch commit only if the object is unchanged.
    pub(super) fn require(batch: &mut Batch, read: &Stored<Self>) {
        batch.require(&read.record.metadata.key::<K>(), read.version);
    }

    /// Rewrites an object unchanged, so that it cannot be deleted while a child is created.
    pub(super) fn keep(batch: &mut Batch, read: &Stored<Self>) {
        let key = read.record.metadata.key::<K>();
        batch.replace(&key, read.version, &read.record, None);
    }
}

impl Metadata {
    /// The limit of a description, in bytes.
    pub const LONGEST_DESCRIPTION: usize = 1200;

    /// Returns the store key of the object of this kind.
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
    /// Returns an object by its name.
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
        let stored = match administrator.prefetch.get(&key)? {
            Some(read) => read,
            None => self.store.get_shared(&key, self.clock.now()).await?,
        };
        Ok(stored.ok_or(Failure::Refused(FindError::Unknown))?.record)
    }

    /// Lists the objects of a namespace whose labels match the selector, by name.
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

    /// Lists at most `most` objects of a namespace, by name, after the given one.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn objects_page<K: Kind>(
        &self,
        administrator: &Administrator<K>,
        after: Option<&str>,
        most: usize,
    ) -> Result<ListPage<Object<K>, String>, StorageError> {
        let namespace = administrator.namespace();
        let prefix = Prefix::new(K::NAME, [namespace]);
        let after = after.map(|name| object_key::<K>(namespace, name));
        let now = self.clock.now();
        let read = scan_page::<Object<K>>(&self.store, &prefix, after.as_ref(), most, now);
        let (read, is_more) = read.await?;
        let rows = read.into_iter().map(|(_, stored)| stored.record);
        let name = |object: &Object<K>| object.metadata.name.clone();
        Ok(ListPage::of(rows.collect(), is_more, name))
    }

    /// Returns a new object and a batch that creates it, with its audit event.
    pub(super) fn creation<K: Kind>(
        &self,
        administrator: &Administrator<K>,
        metadata: &Metadata,
        spec: K,
        detail: Option<String>,
        now: Timestamp,
    ) -> (Object<K>, Batch) {
        let origin = administrator.origin();
        let bytes = draw_bytes(self.store.entropy());
        let object = Object {
            metadata: metadata.clone(),
            system: SystemMetadata {
                uid: Builder::from_random_bytes(bytes).into_uuid().to_string(),
                creator: origin.who.to_string(),
                created_at: now,
                modified_at: now,
            },
            spec,
        };
        let mut batch = self.store.batch(now);
        batch.insert(&metadata.key::<K>(), &object, None);
        let action = K::action(ObjectOperation::Create);
        let new_event = new_event::<K>(action, metadata, detail, origin);
        self.audit.done(&mut batch, now, new_event);
        (object, batch)
    }

    /// Returns a batch that replaces an object read at this version, with its audit event.
    pub(super) fn replacement<K: Kind>(
        &self,
        administrator: &Administrator<K>,
        version: Version,
        object: &mut Object<K>,
        detail: String,
        now: Timestamp,
    ) -> Batch {
        let action = K::action(ObjectOperation::Replace);
        self.change(administrator, action, version, object, detail, now)
    }

    /// Returns the batch of [`replacement`](Self::replacement), with another action in the audit trail.
    pub(super) fn change<K: Kind>(
        &self,
        administrator: &Administrator<K>,
        action: Action,
        version: Version,
        object: &mut Object<K>,
        detail: String,
        now: Timestamp,
    ) -> Batch {
        object.system.touch(now);
        let metadata = &object.metadata;
        let mut batch = self.store.batch(now);
        batch.replace(&metadata.key::<K>(), version, &*object, None);
        let new_event = new_event::<K>(action, metadata, Some(detail), administrator.origin());
        self.audit.done(&mut batch, now, new_event);
        batch
    }

    /// Deletes an object that no other refers to. An error in `body` is returned only if the object exists.
    ///
    /// A child that is created concurrently rewrites its parent, so one of the two commits fails.
    ///
    /// # Errors
    ///
    /// [`DeleteError`].
    pub async fn delete<K: Kind, B: Clone>(
        &self,
        administrator: &Administrator<K>,
        name: &str,
        body: Result<(), B>,
    ) -> Result<(), Failure<DeleteError<B>>> {
        transact(K::DELETE, &self.store, || async {
            let now = self.clock.now();
            let stored = self
                .load::<K>(administrator.namespace(), name)
                .await?
                .ok_or(Failure::Refused(DeleteError::Unknown))?;
            require_body(&body, DeleteError::Body)?;
            let object = stored.record;
            let below = self.referring(&object).await?;
            let count = below.len();
            if let Some(one) = below.into_iter().next() {
                return refuse(DeleteError::Referred { one, count });
            }
            let metadata = &object.metadata;
            let mut batch = self.store.batch(now);
            batch.remove(&metadata.key::<K>(), stored.version);
            let action = K::action(ObjectOperation::Delete);
            let new_event = new_event::<K>(action, metadata, None, administrator.origin());
            self.audit.done(&mut batch, now, new_event);
            K::clear(self, object, &mut batch, now).await?;
            Ok(Attempt::Commit(batch, Ok(())))
        })
        .await
    }

    /// Collects what `keep` returns for the objects of a namespace, by name.
    pub(super) async fn gather<K: Kind, T>(
        &self,
        namespace: &str,
        keep: impl FnMut(Object<K>) -> Option<T>,
    ) -> Result<Vec<T>, StorageError> {
        let prefix = Prefix::new(K::NAME, [namespace]);
        let pages = Pages::<Object<K>>::of(&self.store, prefix).at_once(K::AT_ONCE);
        pages.collect(&*self.clock, keep).await
    }

    /// Lists the direct children of an object, categories before API keys, each by name.
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

    /// Returns the parent of this object if the parent is disabled.
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
}

/// Returns the audit event of an action on an object.
pub(super) fn new_event<'a, K: Kind>(
    action: Action,
    metadata: &Metadata,
    detail: Option<String>,
    origin: &'a Origin,
) -> NewEvent<'a> {
    NewEvent {
        action,
        target: K::target(&metadata.namespace, &metadata.name),
        detail,
        origin,
    }
}

#[cfg(test)]
mod unit_tests {
    use super::*;
    use crate::{
        Clock,
        access::Prefetch,
        device_identity::{
            TrustedMakers,
            testing::{furnish, named},
        },
        expiry::Coverage,
        testing::{bench, origin, refusal},
    };

    #[tokio::test]
    async fn an_object_that_is_only_shown_is_read_with_the_token_that_asks_for_it() {
        let bench = bench().await;
        let (access, devices) = (&bench.service.access, &bench.service.device_identity);
        let token = bench.operator_token("tpm:default").await;
        let origin = origin();
        let administrator = async |act, prefetch| {
            let operator = access.authenticate_with_prefetch(&token, prefetch).await;
            let permitted = devices
                .permit(&operator.unwrap(), act, "default", "made", &origin)
                .await;
            permitted.unwrap()
        };
        let creating = administrator(ObjectOperation::Create, Prefetch::default()).await;
        let trusted = TrustedMakers {
            ek_roots: Vec::new(),
            ek_trust_bundle: true,
        };
        let made = devices.create_manager(&creating, named("made"), trusted);
        let uid = made.await.unwrap().system.uid;
        let prefetch = |name| DeviceIdentity::prefetch::<Manager>("default", name);
        bench.faults.steps();
        let asking = administrator(ObjectOperation::Get, prefetch("made")).await;
        let found = devices.find(&asking, "made").await.unwrap();
        assert_eq!(
            (found.system.uid.as_str(), bench.faults.steps()),
            (&*uid, 1)
        );
        // An object that was not prefetched is read from the store. One that was read and not found is not read again.
        assert!(devices.find(&creating, "made").await.is_ok());
        assert_eq!(bench.faults.steps(), 1);
        let asking = administrator(ObjectOperation::Get, prefetch("other")).await;
        let unknown = devices.find(&asking, "other").await;
        assert_eq!(unknown.err(), refusal(FindError::Unknown));
        assert_eq!(bench.faults.steps(), 1);
    }

    /// Each may take a megabyte.
    #[tokio::test]
    async fn a_few_categories_are_read_at_once() {
        let bench = bench().await;
        furnish(&bench).await;
        let devices = &bench.service.device_identity;
        let (manager, category) = (
            devices.load::<Manager>("default", "m").await.unwrap(),
            devices.load::<Category>("default", "c").await.unwrap(),
        );
        let (manager, mut category) = (manager.unwrap().record, category.unwrap().record);
        let mut batch = bench.store.batch(bench.clock.now());
        for number in 1..45 {
            category.metadata.name = format!("c{number}");
            batch.insert(&category.metadata.key::<Category>(), &category, None);
        }
        bench.store.commit(batch).await.unwrap();
        bench.faults.steps();
        let referring = devices.referring(&manager).await.unwrap();
        assert_eq!(referring.len(), 45);
        assert_eq!(bench.faults.steps(), 3 + 1, "and the API keys");
        devices.look_for_ends().await.unwrap();
        assert_eq!(bench.faults.steps(), 3);
        let expiries = devices.expiry(bench.clock.now()).await.unwrap();
        assert_eq!((expiries.seen, bench.faults.steps()), (Coverage::All, 3));
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
