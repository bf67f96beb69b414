//! Categories: each has a CA below its manager's root, and an allow-list of EK certificates.

use keyproof_store::{Batch, Key, Record, Timestamp};
use keyproof_tpm::{AttestationTemplate, HashAlgorithm, ObjectAttributes, TpmError, TpmtPublic};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    Administrator, AuthorityError, DeviceIdentity, Kind, Manager, Metadata, MetadataError, Object,
    ObjectOperation, PcrPolicy, PcrPolicyError, TrustListError,
    authority::{ATTESTATION_KEY_LIFE, Authority},
    endorsement::check_allow_list,
    revocation_list::LISTED_BEYOND_END,
};
use crate::{
    Action, Failure, StorageError,
    audit::ObjectKind,
    slot::Slot,
    storage::{Attempt, refuse, refused, transact},
};

/// The category's own fields.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Category {
    /// The name of its manager, in the same namespace.
    pub manager: String,
    /// The allow-list of EK certificates, as uploaded.
    pub allow_list: Vec<String>,
    /// The template of the devices' AKs.
    pub attestation_key: AttestationKeyTemplate,
    /// The policy for the PCRs of its devices.
    #[serde(default)]
    pub pcr_policy: PcrPolicy,
    /// The latest client certificate of its stations, in PEM.
    pub client_certificate: String,
    /// The client certificates before that one, in PEM, which stay accepted until they expire or are ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier_client_certificates: Vec<String>,
    pub(super) authority: Authority,
}

impl Kind for Category {
    const KIND: ObjectKind = ObjectKind::Category;

    const DELETE: &'static str = "device_identity.delete_category";

    /// An allow-list may take a megabyte.
    const AT_ONCE: usize = 20;

    fn action(operation: ObjectOperation) -> Action {
        match operation {
            ObjectOperation::Create => Action::TpmCategoryCreate,
            ObjectOperation::Delete => Action::TpmCategoryDelete,
            ObjectOperation::Get => Action::TpmCategoryGet,
            ObjectOperation::List => Action::TpmCategoryList,
            ObjectOperation::Replace => Action::TpmCategoryReplace,
        }
    }

    fn refers_to(&self) -> Option<(&'static str, &str)> {
        Some((Manager::NAME, &self.manager))
    }

    /// While certificates of a deleted category's CA may be valid, its CRL is still served and its name cannot be
    /// reused. Otherwise the CA's key is deleted too.
    async fn clear(
        devices: &DeviceIdentity,
        mut category: Object<Self>,
        batch: &mut Batch,
        now: Timestamp,
    ) -> Result<(), StorageError> {
        let metadata = category.metadata.clone();
        let place = metadata.key::<Self>();
        let clients = category.spec.client_certificates();
        devices
            .strike_clients(batch, &category, &clients, now)
            .await?;
        if devices.has_certificates(&metadata).await? {
            let next = DeletedCategory::key(&metadata.namespace, &metadata.name);
            let authority = category.spec.authority;
            category.spec.authority = authority.moved(&devices.store, &place, &next)?;
            // It may fill the record, which each activation in the namespace reads until it expires.
            category.spec.allow_list.clear();
            let gone = now.saturating_add(ATTESTATION_KEY_LIFE + LISTED_BEYOND_END);
            batch.insert(&next, &DeletedCategory { category }, Some(gone));
        }
        devices.retire_revocation_list(batch, &metadata, now).await
    }
}

impl Category {
    /// Returns the commonName of its CA.
    pub fn sub_ca_name(&self) -> &str {
        &self.authority.name
    }

    /// Returns when its CA expires.
    pub fn sub_ca_ends(&self) -> Timestamp {
        self.authority.ends_at()
    }

    /// Returns the certificate of its CA, in PEM.
    pub fn sub_ca_certificate(&self) -> &str {
        &self.authority.certificate
    }
}

/// At `tpm_deleted_category/<namespace>/<name>`: a category that was deleted while certificates of its CA were valid.
/// Its CRL is made from it. Until it expires, the name cannot be reused, as the CRL's URL contains it.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct DeletedCategory {
    pub(super) category: Object<Category>,
}

record!(DeletedCategory, "tpm_deleted_category");

impl DeletedCategory {
    pub(super) fn key(namespace: &str, name: &str) -> Key {
        Key::new(Self::TYPE, [namespace, name])
    }
}

/// How AKs are created, for requests that have only the bare public key. The name algorithm is the EK's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttestationKeyTemplate {
    /// `TPMA_OBJECT`; 0x00050072 if `None`.
    pub attributes: Option<u32>,
    /// The TCG algorithm ID of the signing scheme's hash; SHA-256 (0x000b) if `None`.
    pub scheme_hash: Option<u16>,
}

impl AttestationKeyTemplate {
    /// Returns the template for AKs below this EK.
    pub(super) fn below(self, ek: &TpmtPublic) -> Result<AttestationTemplate, TpmError> {
        let mut template = AttestationTemplate::below(ek)?;
        if let Some(attributes) = self.attributes {
            template.object_attributes = ObjectAttributes::from_bits(attributes)?;
        }
        if let Some(hash) = self.scheme_hash.and_then(HashAlgorithm::from_id) {
            template.scheme_hash = hash;
        }
        Ok(template)
    }

    fn check(self) -> Result<(), CreateCategoryError> {
        let attributes = self.attributes.map(ObjectAttributes::from_bits).transpose();
        let hash = self
            .scheme_hash
            .map(|hash| HashAlgorithm::from_id(hash).ok_or(()));
        let (Ok(attributes), Ok(hash)) = (attributes, hash.transpose()) else {
            return Err(CreateCategoryError::AttestationKey);
        };
        let template = AttestationTemplate {
            // A placeholder for the EK's name algorithm, which is never weak in an EK template.
            name_alg: HashAlgorithm::Sha256,
            object_attributes: attributes.unwrap_or(AttestationTemplate::ATTRIBUTES),
            scheme_hash: hash.unwrap_or(HashAlgorithm::Sha256),
        };
        if template.is_attestation_key() {
            Ok(())
        } else {
            Err(CreateCategoryError::AttestationKey)
        }
    }
}

/// A category to create.
#[derive(Clone, Debug)]
pub struct NewCategory {
    /// Its metadata.
    pub metadata: Metadata,
    /// The name of its manager, in the same namespace.
    pub manager: String,
    /// The allow-list of EK certificates, each in PEM or Base64-encoded DER.
    pub allow_list: Vec<String>,
    /// The template of the devices' AKs.
    pub attestation_key: AttestationKeyTemplate,
    /// The policy for the PCRs of its devices.
    pub pcr_policy: PcrPolicy,
}

/// The new values of a category.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CategoryChange {
    /// The allow-list of EK certificates, each in PEM or Base64-encoded DER.
    pub allow_list: Vec<String>,
    /// The policy for the PCRs of its devices; `None` keeps the present one.
    pub pcr_policy: Option<PcrPolicy>,
}

impl CategoryChange {
    /// Returns a change that keeps all values.
    pub(super) fn of(category: &Category) -> Self {
        Self {
            allow_list: category.allow_list.clone(),
            pcr_policy: None,
        }
    }
}

/// A new category with its client key, which is not stored.
#[derive(Clone)]
pub struct IssuedCategory {
    /// The stored category.
    pub object: Object<Category>,
    /// The private key of its client certificate, in PEM.
    pub client_key: Zeroizing<String>,
}

/// Why a category was not created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateCategoryError {
    /// An entry of the allow-list is not a certificate.
    #[error("allow-list, {0}")]
    AllowList(#[from] TrustListError),
    /// The template is not that of an AK.
    #[error("the template is not that of an attestation key")]
    AttestationKey,
    /// Its CA could not be created.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A deleted category of this name has certificates that have not expired.
    #[error(
        "a tpm_category of this name was deleted, and its CRL is served for its certificates: take another name"
    )]
    Deleted,
    /// A category of this name exists.
    #[error("there is a tpm_category of this name")]
    Exists,
    /// The metadata is invalid.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The PCR policy is invalid.
    #[error("policy of registers: {0}")]
    PcrPolicy(#[from] PcrPolicyError),
    /// The manager does not exist.
    #[error("there is no such tpm_manager")]
    UnknownManager,
}

/// Why a category was not replaced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplaceCategoryError<B> {
    /// An entry of the allow-list is not a certificate.
    #[error("allow-list, {0}")]
    AllowList(#[from] TrustListError),
    /// The body was refused.
    #[error("the body was refused")]
    Body(B),
    /// The PCR policy is invalid.
    #[error("policy of registers: {0}")]
    PcrPolicy(#[from] PcrPolicyError),
    /// There is no category of this name.
    #[error("there is no such tpm_category")]
    Unknown,
}

impl DeviceIdentity {
    /// Creates a category, its CA and its client certificate.
    ///
    /// # Errors
    ///
    /// [`CreateCategoryError`].
    pub async fn create_category(
        &self,
        administrator: &Administrator<Category>,
        new: NewCategory,
    ) -> Result<IssuedCategory, Failure<CreateCategoryError>> {
        let metadata = administrator.place(new.metadata).map_err(refused)?;
        let checked = self
            .check_allow_list(administrator, &new.allow_list)
            .await?;
        checked.map_err(refused)?;
        new.attestation_key.check().map_err(refused)?;
        new.pcr_policy.check().map_err(refused)?;
        transact("device_identity.create_category", &self.store, || async {
            let now = self.clock.now();
            let there = self.load::<Category>(&metadata.namespace, &metadata.name);
            if there.await?.is_some() {
                return refuse(CreateCategoryError::Exists);
            }
            let deleted = DeletedCategory::key(&metadata.namespace, &metadata.name);
            let deleted = Slot::<DeletedCategory>::read(&self.store, deleted, now).await?;
            if deleted.record().is_some() {
                return refuse(CreateCategoryError::Deleted);
            }
            let manager = self
                .load::<Manager>(&metadata.namespace, &new.manager)
                .await?
                .ok_or(Failure::Refused(CreateCategoryError::UnknownManager))?;
            let made = {
                let (store, owner) = (self.store.clone(), metadata.clone());
                let manager = manager.record.clone();
                self.on_cpu_queue(administrator.who(), move || {
                    Authority::below(&manager, &store, &owner, now)
                })
            };
            let (authority, client) = made.await?.map_err(refused)?;
            let spec = Category {
                manager: new.manager.clone(),
                allow_list: new.allow_list.clone(),
                attestation_key: new.attestation_key,
                pcr_policy: new.pcr_policy.clone(),
                client_certificate: client.certificate,
                earlier_client_certificates: Vec::new(),
                authority,
            };
            let detail = Some(format!("below tpm_manager {}", new.manager));
            let (object, mut batch) = self.creation(administrator, &metadata, spec, detail, now);
            Object::keep(&mut batch, &manager);
            // The CRL of one that was created and deleted meanwhile keeps its URL.
            deleted.require_as_read(&mut batch);
            self.retire_revocation_list(&mut batch, &metadata, now)
                .await?;
            self.enter_client(&mut batch, &object).await?;
            let issued = IssuedCategory {
                object,
                client_key: client.key,
            };
            Ok(Attempt::Commit(batch, Ok(issued)))
        })
        .await
    }

    /// Replaces only a category's allow-list and, if given, its PCR policy. An error in `body` is returned only if the
    /// category exists.
    ///
    /// # Errors
    ///
    /// [`ReplaceCategoryError`].
    pub async fn replace_category<B: Clone>(
        &self,
        administrator: &Administrator<Category>,
        name: &str,
        body: Result<CategoryChange, B>,
    ) -> Result<(), Failure<ReplaceCategoryError<B>>> {
        self.change_category(administrator, name, |_| body.clone())
            .await
    }

    /// Applies `change` to a category's allow-list and PCR policy.
    pub(super) async fn change_category<B>(
        &self,
        administrator: &Administrator<Category>,
        name: &str,
        change: impl Fn(&Category) -> Result<CategoryChange, B>,
    ) -> Result<(), Failure<ReplaceCategoryError<B>>> {
        transact("device_identity.replace_category", &self.store, || async {
            let stored = self
                .load::<Category>(administrator.namespace(), name)
                .await?
                .ok_or(Failure::Refused(ReplaceCategoryError::Unknown))?;
            let change = change(&stored.record.spec).map_err(ReplaceCategoryError::Body);
            let change = change.map_err(Failure::Refused)?;
            let CategoryChange {
                allow_list,
                pcr_policy,
            } = &change;
            if let Some(policy) = pcr_policy {
                policy.check().map_err(refused)?;
            }
            let checked = self.check_allow_list(administrator, allow_list).await?;
            checked.map_err(refused)?;
            let now = self.clock.now();
            let mut object = stored.record;
            object.spec.allow_list.clone_from(allow_list);
            if let Some(policy) = pcr_policy {
                object.spec.pcr_policy.clone_from(policy);
            }
            let mut detail = format!("{} allowed certificates", allow_list.len());
            if pcr_policy.is_some() {
                detail.push_str(", another policy of registers");
            }
            let batch = self.replacement(administrator, stored.version, &mut object, detail, now);
            Ok(Attempt::Commit(batch, Ok(())))
        })
        .await
    }

    async fn check_allow_list(
        &self,
        administrator: &Administrator<Category>,
        entries: &[String],
    ) -> Result<Result<(), TrustListError>, StorageError> {
        let entries = entries.to_vec();
        self.on_cpu_queue(administrator.who(), move || check_allow_list(&entries))
            .await
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, pin::pin};

    use super::{
        super::{
            certified::Issued,
            testing::{furnish, may, named},
        },
        *,
    };
    use crate::testing::{START, bench, refusal};

    /// Whenever another operator creates and deletes one of the same name, for which certificates were issued.
    #[tokio::test]
    async fn a_category_does_not_take_the_place_of_one_that_was_deleted_meanwhile() {
        for reached in 1.. {
            let bench = bench().await;
            furnish(&bench).await;
            let devices = &bench.service.device_identity;
            let category = devices.load::<Category>("default", "c").await.unwrap();
            let category = category.unwrap().record;
            let creating = may::<Category>(&bench, ObjectOperation::Create, "d").await;
            let new = NewCategory {
                metadata: named("d"),
                manager: "m".to_owned(),
                allow_list: Vec::new(),
                attestation_key: AttestationKeyTemplate::default(),
                pcr_policy: PcrPolicy::default(),
            };
            let mut created = pin!(devices.create_category(&creating, new));
            let early = bench.until_step(created.as_mut(), reached).await;
            if early.is_some() {
                // It is created in fewer steps than this.
                assert!(reached > 4, "{reached}");
                break;
            }
            let mut batch = bench.store.batch(START);
            let place = DeletedCategory::key("default", "d");
            batch.insert(&place, &DeletedCategory { category }, None);
            bench.store.commit(batch).await.unwrap();
            let refused = created.await.err();
            assert_eq!(refused, refusal(CreateCategoryError::Deleted), "{reached}");
        }
    }

    /// With a list that fills the record, it could not be deleted: the record of a deleted one is longer.
    #[tokio::test]
    async fn a_deleted_category_is_kept_without_its_allow_list() {
        let bench = bench().await;
        furnish(&bench).await;
        let devices = &bench.service.device_identity;
        let stored = devices.load::<Category>("default", "c").await.unwrap();
        let stored = stored.unwrap();
        let (version, mut category) = (stored.version, stored.record);
        category.spec.allow_list = vec!["a certificate".to_owned()];
        let issued = Issued {
            serial: "40:01".to_owned(),
            made_at: START,
            not_after: START.saturating_add(ATTESTATION_KEY_LIFE),
            api_key: "k".to_owned(),
            api_key_uid: None,
        };
        let mut batch = bench.store.batch(START);
        let place = category.metadata.key::<Category>();
        batch.replace(&place, version, &category, None);
        batch.insert(&issued.key("default", "c"), &issued, None);
        bench.store.commit(batch).await.unwrap();

        let deleting = may::<Category>(&bench, ObjectOperation::Delete, "c").await;
        let deleted = devices.delete(&deleting, "c", Ok::<_, Infallible>(()));
        deleted.await.unwrap();
        let place = DeletedCategory::key("default", "c");
        let kept = bench.store.get::<DeletedCategory>(&place, START).await;
        let kept = kept.unwrap().unwrap().record.category;
        assert_eq!(kept.spec.allow_list, [""; 0]);
        assert!(devices.revocation_list("default", "c").await.is_ok());
    }
}
