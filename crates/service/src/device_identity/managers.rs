//! Managers: each has a root CA, and a list of TPM manufacturers' roots that it trusts.

use keyproof_store::{Batch, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    Administrator, AuthorityError, DeviceIdentity, Kind, Metadata, MetadataError, Object,
    ObjectOperation, TrustListError, authority::Authority, endorsement::check_roots,
    identity::draw,
};
use crate::{
    Action, Failure, StorageError,
    audit::ObjectKind,
    storage::{Attempt, refuse, refused, transact},
};

/// The manager's own fields.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manager {
    /// The trusted CAs of TPM manufacturers, in PEM as uploaded.
    pub ek_roots: Vec<String>,
    /// Whether the roots of the trust bundle are trusted too.
    #[serde(default)]
    pub ek_trust_bundle: bool,
    /// Drawn when the manager is created; empty if an earlier release created it. Devices bound below a deleted manager
    /// of the same name are not bound below this one.
    #[serde(default)]
    pub(super) incarnation: String,
    pub(super) root: Authority,
}

impl Kind for Manager {
    const KIND: ObjectKind = ObjectKind::Manager;

    const DELETE: &'static str = "device_identity.delete_manager";

    /// A list of manufacturers' roots may take a megabyte.
    const AT_ONCE: usize = 20;

    fn action(operation: ObjectOperation) -> Action {
        match operation {
            ObjectOperation::Create => Action::TpmManagerCreate,
            ObjectOperation::Delete => Action::TpmManagerDelete,
            ObjectOperation::Get => Action::TpmManagerGet,
            ObjectOperation::List => Action::TpmManagerList,
            ObjectOperation::Replace => Action::TpmManagerReplace,
        }
    }

    fn refers_to(&self) -> Option<(&'static str, &str)> {
        None
    }

    /// Nothing: the key of its root CA is in its own record.
    async fn clear(
        _: &DeviceIdentity,
        _: Object<Self>,
        _: &mut Batch,
        _: Timestamp,
    ) -> Result<(), StorageError> {
        Ok(())
    }
}

impl Manager {
    /// Returns the commonName of its root CA.
    pub fn root_ca_name(&self) -> &str {
        &self.root.name
    }

    /// Returns the certificate of its root CA, in PEM.
    pub fn root_ca_certificate(&self) -> &str {
        &self.root.certificate
    }
}

/// Which TPM manufacturers a manager trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedMakers {
    /// The CAs of TPM manufacturers, in PEM.
    pub ek_roots: Vec<String>,
    /// Whether the roots of the trust bundle are trusted too.
    pub ek_trust_bundle: bool,
}

impl TrustedMakers {
    /// Returns those that a manager trusts.
    pub(super) fn of(manager: &Manager) -> Self {
        Self {
            ek_roots: manager.ek_roots.clone(),
            ek_trust_bundle: manager.ek_trust_bundle,
        }
    }
}

/// Why a manager was not created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateManagerError {
    /// Its root CA could not be created.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A manager of this name exists.
    #[error("there is a tpm_manager of this name")]
    Exists,
    /// The metadata is invalid.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A manufacturer's root is not a CA's certificate.
    #[error("manufacturers' roots, {0}")]
    Roots(#[from] TrustListError),
}

/// Why a manager was not replaced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplaceManagerError<B> {
    /// The body was refused.
    #[error("the body was refused")]
    Body(B),
    /// A manufacturer's root is not a CA's certificate.
    #[error("manufacturers' roots, {0}")]
    Roots(#[from] TrustListError),
    /// There is no manager of this name.
    #[error("there is no such tpm_manager")]
    Unknown,
}

impl DeviceIdentity {
    /// Creates a manager and its root CA.
    ///
    /// # Errors
    ///
    /// [`CreateManagerError`].
    pub async fn create_manager(
        &self,
        administrator: &Administrator<Manager>,
        metadata: Metadata,
        trusted: TrustedMakers,
    ) -> Result<Object<Manager>, Failure<CreateManagerError>> {
        let metadata = administrator.place(metadata).map_err(refused)?;
        let checked = self.check_roots(administrator, &trusted.ek_roots).await?;
        checked.map_err(refused)?;
        transact("device_identity.create_manager", &self.store, || async {
            let now = self.clock.now();
            let there = self.load::<Manager>(&metadata.namespace, &metadata.name);
            if there.await?.is_some() {
                return refuse(CreateManagerError::Exists);
            }
            let root = {
                let (store, owner) = (self.store.clone(), metadata.clone());
                self.on_cpu_queue(administrator.who(), move || {
                    Authority::root(&store, &owner, now)
                })
            };
            let spec = Manager {
                ek_roots: trusted.ek_roots.clone(),
                ek_trust_bundle: trusted.ek_trust_bundle,
                incarnation: draw(&self.store),
                root: root.await?.map_err(refused)?,
            };
            let (object, batch) = self.creation(administrator, &metadata, spec, None, now);
            Ok(Attempt::Commit(batch, Ok(object)))
        })
        .await
    }

    /// Replaces only which TPM manufacturers a manager trusts. An error in `body` is returned only if the manager
    /// exists.
    ///
    /// # Errors
    ///
    /// [`ReplaceManagerError`].
    pub async fn replace_manager<B: Clone>(
        &self,
        administrator: &Administrator<Manager>,
        name: &str,
        body: Result<TrustedMakers, B>,
    ) -> Result<(), Failure<ReplaceManagerError<B>>> {
        self.change_manager(administrator, name, |_| body.clone())
            .await
    }

    /// Applies `change` to the TPM manufacturers that a manager trusts.
    pub(super) async fn change_manager<B>(
        &self,
        administrator: &Administrator<Manager>,
        name: &str,
        change: impl Fn(&Manager) -> Result<TrustedMakers, B>,
    ) -> Result<(), Failure<ReplaceManagerError<B>>> {
        transact("device_identity.replace_manager", &self.store, || async {
            let stored = self
                .load::<Manager>(administrator.namespace(), name)
                .await?
                .ok_or(Failure::Refused(ReplaceManagerError::Unknown))?;
            let trusted = change(&stored.record.spec).map_err(ReplaceManagerError::Body);
            let trusted = trusted.map_err(Failure::Refused)?;
            let checked = self.check_roots(administrator, &trusted.ek_roots).await?;
            checked.map_err(refused)?;
            let now = self.clock.now();
            let mut object = stored.record;
            object.spec.ek_roots.clone_from(&trusted.ek_roots);
            object.spec.ek_trust_bundle = trusted.ek_trust_bundle;
            let bundle = if trusted.ek_trust_bundle {
                "with"
            } else {
                "without"
            };
            let detail = format!(
                "{} entries of manufacturers' roots, {bundle} the trust bundle's",
                trusted.ek_roots.len()
            );
            let batch = self.replacement(administrator, stored.version, &mut object, detail, now);
            Ok(Attempt::Commit(batch, Ok(())))
        })
        .await
    }

    async fn check_roots(
        &self,
        administrator: &Administrator<Manager>,
        entries: &[String],
    ) -> Result<Result<(), TrustListError>, StorageError> {
        let entries = entries.to_vec();
        self.on_cpu_queue(administrator.who(), move || check_roots(&entries))
            .await
    }
}
