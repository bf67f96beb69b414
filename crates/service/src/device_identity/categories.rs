//! Categories: each with a CA below its manager's root, and the endorsement certificates that it allows.

use keyproof_store::{Key, Record, Stored, Timestamp};
use keyproof_tpm::{AttestationTemplate, HashAlgorithm, ObjectAttributes, TpmError, TpmtPublic};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    Actions, Administrator, AuthorityError, DeleteError, DeviceIdentity, Kind, Manager, Metadata,
    MetadataError, Object, PcrPolicy, PcrPolicyError, TrustListError,
    authority::{ATTESTATION_KEY_LIFE, Authority},
    endorsement::check_allow_list,
    revocation_list::LISTED_BEYOND_END,
};
use crate::{
    Action, Failure, StorageError,
    audit::ObjectKind,
    storage::{Attempt, refuse, settle},
};

/// A category's own part.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Category {
    /// The name of its manager, in the same namespace.
    pub manager: String,
    /// The endorsement certificates that it allows, as they were given.
    pub allow_list: Vec<String>,
    /// How the attestation keys of its devices are made.
    pub attestation_key: AttestationKeyTemplate,
    /// What the registers of its devices are to be.
    #[serde(default)]
    pub pcr_policy: PcrPolicy,
    /// The certificate that its stations may authenticate with, in PEM.
    pub client_certificate: String,
    pub(super) authority: Authority,
}

impl Kind for Category {
    const KIND: ObjectKind = ObjectKind::Category;

    const ACTIONS: Actions = Actions {
        create: Action::TpmCategoryCreate,
        delete: Action::TpmCategoryDelete,
        get: Action::TpmCategoryGet,
        list: Action::TpmCategoryList,
        replace: Action::TpmCategoryReplace,
    };

    fn refers_to(&self) -> Option<(&'static str, &str)> {
        Some((Manager::NAME, &self.manager))
    }

    /// Deletes a category that no API key refers to. While certificates of its CA may be valid its revocation list is
    /// served, and its name is not given again; else the key of its CA goes with it.
    async fn delete<B: Clone + Send + Sync>(
        devices: &DeviceIdentity,
        administrator: &Administrator<Self>,
        name: &str,
        body: Result<(), B>,
    ) -> Result<(), Failure<DeleteError<B>>> {
        settle(
            "device_identity.delete_category",
            &devices.store,
            || async {
                let now = devices.clock.now();
                let (mut category, mut batch) =
                    devices.deletion(administrator, name, &body, now).await?;
                let metadata = category.metadata.clone();
                let place = metadata.key::<Self>();
                devices.strike_client(&mut batch, &category, now).await?;
                if devices.has_certificates(&metadata).await? {
                    let next = DeletedCategory::key(&metadata.namespace, &metadata.name);
                    let authority = category.spec.authority;
                    category.spec.authority = authority.moved(&devices.store, &place, &next)?;
                    let gone = now.saturating_add(ATTESTATION_KEY_LIFE + LISTED_BEYOND_END);
                    batch.insert(&next, &DeletedCategory { category }, Some(gone));
                }
                devices
                    .leave_revocation_list(&mut batch, &metadata, now)
                    .await?;
                Ok(Attempt::Commit(batch, Ok(())))
            },
        )
        .await
    }
}

impl Category {
    /// The name of its CA.
    pub fn sub_ca_name(&self) -> &str {
        &self.authority.name
    }

    /// When its CA ends.
    pub fn sub_ca_ends(&self) -> Timestamp {
        self.authority.ends_at()
    }

    /// The certificate of its CA, in PEM.
    pub fn sub_ca_certificate(&self) -> &str {
        &self.authority.certificate
    }
}

/// At `tpm_deleted_category/<namespace>/<name>`: a category that was deleted while certificates of its CA were valid, for
/// its revocation list. Until that is over its name is not given again: the list's address has it.
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

/// How attestation keys are made, where only their bare public keys are known. Their name algorithm is that of the
/// endorsement key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttestationKeyTemplate {
    /// `TPMA_OBJECT`; 0x00050072 if `None`.
    pub attributes: Option<u32>,
    /// The TCG's number of the signing scheme's hash; SHA-256 (0x000b) if `None`.
    pub scheme_hash: Option<u16>,
}

impl AttestationKeyTemplate {
    /// The template for keys below this endorsement key.
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
            // The endorsement key's, which no template of one has weak.
            name_alg: HashAlgorithm::Sha256,
            object_attributes: attributes.unwrap_or(AttestationTemplate::ATTRIBUTES),
            scheme_hash: hash.unwrap_or(HashAlgorithm::Sha256),
        };
        if template.attests() {
            Ok(())
        } else {
            Err(CreateCategoryError::AttestationKey)
        }
    }
}

/// A category to be made.
#[derive(Clone, Debug)]
pub struct NewCategory {
    /// What is said of it.
    pub metadata: Metadata,
    /// The name of its manager, in the same namespace.
    pub manager: String,
    /// The endorsement certificates that it allows, each in PEM or Base64 of its DER.
    pub allow_list: Vec<String>,
    /// How the attestation keys of its devices are made.
    pub attestation_key: AttestationKeyTemplate,
    /// What the registers of its devices are to be.
    pub pcr_policy: PcrPolicy,
}

/// What a category is to be from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CategoryChange {
    /// The endorsement certificates that it allows, each in PEM or Base64 of its DER.
    pub allow_list: Vec<String>,
    /// What the registers of its devices are to be; as before if `None`.
    pub pcr_policy: Option<PcrPolicy>,
}

impl CategoryChange {
    /// What changes nothing about it.
    pub(super) fn of(category: &Category) -> Self {
        Self {
            allow_list: category.allow_list.clone(),
            pcr_policy: None,
        }
    }
}

/// A new category, with what is shown once.
#[derive(Clone)]
pub struct IssuedCategory {
    /// The category.
    pub object: Object<Category>,
    /// The private key of its client certificate, in PEM. It is not kept.
    pub client_key: Zeroizing<String>,
}

/// Why a category was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateCategoryError {
    /// An entry of the allow-list is not a certificate.
    #[error("allow-list, {0}")]
    AllowList(#[from] TrustListError),
    /// Its template is not that of an attestation key.
    #[error("the template is not that of an attestation key")]
    AttestationKey,
    /// Its CA could not be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// One of this name was deleted, and certificates of its CA have not ended.
    #[error(
        "a tpm_category of this name was deleted, and its revocation list is served for its certificates: take another name"
    )]
    Deleted,
    /// There is one of this name.
    #[error("there is a tpm_category of this name")]
    Exists,
    /// Its metadata is not in order.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// What it asks of registers is not in order.
    #[error("policy of registers: {0}")]
    PcrPolicy(#[from] PcrPolicyError),
    /// Its manager is not there.
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
    /// What it asks of registers is not in order.
    #[error("policy of registers: {0}")]
    PcrPolicy(#[from] PcrPolicyError),
    /// There is none of this name.
    #[error("there is no such tpm_category")]
    Unknown,
}

impl DeviceIdentity {
    /// Makes a category, its CA and its client certificate.
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
        checked.map_err(|error| refused(error.into()))?;
        new.attestation_key.check().map_err(refused)?;
        let checked = new.pcr_policy.check();
        checked.map_err(|error| refused(error.into()))?;
        let key = metadata.key::<Category>();
        settle("device_identity.create_category", &self.store, || async {
            let now = self.clock.now();
            let there = self.load::<Category>(&metadata.namespace, &metadata.name);
            if there.await?.is_some() {
                return refuse(CreateCategoryError::Exists);
            }
            if self.deleted_category(&metadata, now).await?.is_some() {
                return refuse(CreateCategoryError::Deleted);
            }
            let manager = self
                .load::<Manager>(&metadata.namespace, &new.manager)
                .await?
                .ok_or_else(|| refused(CreateCategoryError::UnknownManager))?;
            let made = {
                let (store, key, owner) = (self.store.clone(), key.clone(), metadata.clone());
                let manager = manager.record.clone();
                self.judge(administrator.who(), move || {
                    Authority::below(&manager, &store, &key, &owner, now)
                })
            };
            let (authority, client) = made.await?.map_err(|error| refused(error.into()))?;
            let object = Object {
                system: self.system_metadata(now, administrator.origin()),
                spec: Category {
                    manager: new.manager.clone(),
                    allow_list: new.allow_list.clone(),
                    attestation_key: new.attestation_key,
                    pcr_policy: new.pcr_policy.clone(),
                    client_certificate: client.certificate,
                    authority,
                },
                metadata: metadata.clone(),
            };
            let detail = Some(format!("below tpm_manager {}", new.manager));
            let mut batch = self.creation(administrator, &object, detail, now);
            Object::keep(&mut batch, &manager);
            self.leave_revocation_list(&mut batch, &metadata, now)
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

    /// Replaces a category's allow-list and, if given, its register policy, and nothing else. A refused `body` is reported
    /// only if the category exists.
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

    /// Changes a category's allow-list, and what it asks of registers, to what `change` makes of them.
    pub(super) async fn change_category<B>(
        &self,
        administrator: &Administrator<Category>,
        name: &str,
        change: impl Fn(&Category) -> Result<CategoryChange, B>,
    ) -> Result<(), Failure<ReplaceCategoryError<B>>> {
        let refused = |why: ReplaceCategoryError<B>| Failure::Refused(why);
        settle("device_identity.replace_category", &self.store, || async {
            let stored = self
                .load::<Category>(administrator.namespace(), name)
                .await?
                .ok_or_else(|| refused(ReplaceCategoryError::Unknown))?;
            let change = change(&stored.record.spec);
            let change = change.map_err(|why| refused(ReplaceCategoryError::Body(why)))?;
            let CategoryChange {
                allow_list,
                pcr_policy,
            } = &change;
            if let Some(policy) = pcr_policy {
                let checked = policy.check();
                checked.map_err(|error| refused(error.into()))?;
            }
            let checked = self.check_allow_list(administrator, allow_list).await?;
            checked.map_err(|error| refused(error.into()))?;
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

    /// The category of this name that was deleted, if its certificates may be valid.
    async fn deleted_category(
        &self,
        metadata: &Metadata,
        now: Timestamp,
    ) -> Result<Option<Stored<DeletedCategory>>, StorageError> {
        let place = DeletedCategory::key(&metadata.namespace, &metadata.name);
        Ok(self.store.get(&place, now).await?)
    }

    async fn check_allow_list(
        &self,
        administrator: &Administrator<Category>,
        entries: &[String],
    ) -> Result<Result<(), TrustListError>, StorageError> {
        let entries = entries.to_vec();
        self.judge(administrator.who(), move || check_allow_list(&entries))
            .await
    }
}

fn refused(why: CreateCategoryError) -> Failure<CreateCategoryError> {
    Failure::Refused(why)
}
