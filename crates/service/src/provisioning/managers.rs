//! Managers: each with a root CA of its own, and the manufacturers' roots that it trusts.

use super::{
    AuthorityError, Kind, Metadata, MetadataError, Object, Provisioning, TrustListError,
    authority::Authority,
    endorsement::check_roots,
    objects::{deed, object_key},
};
use crate::{Origin, StorageError, storage::Race};
use keyproof_store::Key;
use serde::{Deserialize, Serialize};

/// A manager's own part.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manager {
    /// The CAs of TPM manufacturers, in PEM as they were given.
    pub ek_roots: Vec<String>,
    pub(super) root: Authority,
}

impl Kind for Manager {
    const NAME: &'static str = "tpm_manager";

    fn refers_to(&self) -> Option<(&'static str, &str)> {
        None
    }
}

impl Manager {
    /// The name of its root CA.
    pub fn root_ca_name(&self) -> &str {
        &self.root.name
    }

    /// The certificate of its root CA, in PEM.
    pub fn root_ca_certificate(&self) -> &str {
        &self.root.certificate
    }

    pub(super) fn record_key(metadata: &Metadata) -> Key {
        object_key::<Self>(&metadata.namespace, &metadata.name)
    }
}

/// Why a manager was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateManagerError {
    /// Its root CA could not be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// There is one of this name.
    #[error("there is a tpm_manager of this name")]
    Exists,
    /// Its metadata is not in order.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A manufacturer's root is not a CA's certificate.
    #[error("spec.ek_root_certificates, {0}")]
    Roots(#[from] TrustListError),
    /// No verdict.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why a manager was not replaced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplaceManagerError {
    /// A manufacturer's root is not a CA's certificate.
    #[error("spec.ek_root_certificates, {0}")]
    Roots(#[from] TrustListError),
    /// No verdict.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// There is none of this name.
    #[error("there is no such tpm_manager")]
    Unknown,
}

impl Provisioning {
    /// Makes a manager and its root CA.
    ///
    /// # Errors
    /// [`CreateManagerError`].
    pub async fn create_manager(
        &self,
        metadata: Metadata,
        ek_roots: Vec<String>,
        origin: &Origin,
    ) -> Result<Object<Manager>, CreateManagerError> {
        metadata.check()?;
        self.check_roots(&ek_roots).await??;
        let key = Manager::record_key(&metadata);
        let mut race = Race::default();
        loop {
            let now = self.clock.now();
            let there = self.load::<Manager>(&metadata.namespace, &metadata.name);
            if there.await?.is_some() {
                return Err(CreateManagerError::Exists);
            }
            let root = {
                let (store, key, owner) = (self.store.clone(), key.clone(), metadata.clone());
                self.judge(move || Authority::root(&store, &key, &owner, now))
            };
            let object = Object {
                system: self.system_metadata(now, origin),
                spec: Manager {
                    ek_roots: ek_roots.clone(),
                    root: root.await??,
                },
                metadata: metadata.clone(),
            };
            let mut batch = self.store.batch(now);
            batch.insert(&key, &object, None);
            let deed = deed::<Manager>("tpm_manager.create", &metadata, None, origin);
            self.audit.done(&mut batch, now, deed);
            if race.won(self.store.commit(batch).await).await? {
                return Ok(object);
            }
        }
    }

    /// Replaces a manager's list of manufacturers' roots, and nothing else.
    ///
    /// # Errors
    /// [`ReplaceManagerError`].
    pub async fn replace_manager(
        &self,
        namespace: &str,
        name: &str,
        ek_roots: Vec<String>,
        origin: &Origin,
    ) -> Result<(), ReplaceManagerError> {
        let mut race = Race::default();
        loop {
            let Some(stored) = self.load::<Manager>(namespace, name).await? else {
                return Err(ReplaceManagerError::Unknown);
            };
            self.check_roots(&ek_roots).await??;
            let now = self.clock.now();
            let mut object = stored.record;
            object.spec.ek_roots.clone_from(&ek_roots);
            object.system.modified_at = now;
            let mut batch = self.store.batch(now);
            let key = Manager::record_key(&object.metadata);
            batch.replace(&key, stored.version, &object, None);
            let detail = format!("{} entries of manufacturers' roots", ek_roots.len());
            let deed = deed::<Manager>(
                "tpm_manager.replace",
                &object.metadata,
                Some(detail),
                origin,
            );
            self.audit.done(&mut batch, now, deed);
            if race.won(self.store.commit(batch).await).await? {
                return Ok(());
            }
        }
    }

    async fn check_roots(
        &self,
        entries: &[String],
    ) -> Result<Result<(), TrustListError>, StorageError> {
        let entries = entries.to_vec();
        self.judge(move || check_roots(&entries)).await
    }
}
