//! CA certificates of Azure's provisioning services, and the proof that the uploader possesses the private key.
//!
//! A certificate belongs to a provisioning service and is found by subscription, resource group, service and name, ignoring letter
//! case. The number of a service's certificates is in a record of its own ([`HoldingService`]), which every change of the number
//! replaces, so that no race exceeds the limit. The version of a certificate's record is its entity tag: every change creates a new
//! version, and no version is ever reused.

mod caller;
mod expiry;
mod possession;
mod precondition;
mod records;
mod resources;
mod restored;
mod services;

pub use caller::Caller;
pub use possession::{GenerateCodeError, IssuedCode, Verified, VerifyError, findings};
pub use precondition::Precondition;
pub use records::{Description, HoldingService, Verification};
pub use resources::{
    CertificateView, DeleteError, Deletion, GetError, PutError, Upload, UploadError,
};
pub(crate) use restored::without_code;

use std::{fmt, num::NonZeroU32, sync::Arc, time::Duration};

use keyproof_auth::operator::OperatorScope;
use keyproof_store::{Store, Stored};
use serde::{Deserialize, Serialize};

use crate::{
    Audit, Clock, CpuQueue, Failure, StorageError,
    expiry::EarliestExpiries,
    pages::PAGE,
    storage::{Attempt, contended, transact_permitted},
};
use records::{Certificate, certificate_key};

/// The settings for CA certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateSettings {
    /// Whether an upload may declare a certificate verified without a proof.
    pub allow_unproven: bool,
    /// The maximum number of certificates of a provisioning service.
    pub max_certificates: NonZeroU32,
    /// How long a verification code is valid; `None` means until it is used or another one is generated.
    pub code_lifetime: Option<Duration>,
}

impl Default for CertificateSettings {
    /// The behaviour of Azure: 25 certificates, uploads may be declared verified, and codes do not expire.
    fn default() -> Self {
        Self {
            allow_unproven: true,
            max_certificates: NonZeroU32::MIN.saturating_add(24),
            code_lifetime: None,
        }
    }
}

/// A provisioning service, as it is also stored. It need not be created: it exists wherever a caller's scope covers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvisioningService {
    /// The subscription.
    pub subscription: String,
    /// The resource group.
    pub resource_group: String,
    /// The service's name.
    #[serde(rename = "service")]
    pub name: String,
}

impl ProvisioningService {
    /// Returns the scope that a caller needs to work with its certificates.
    pub fn scope(&self) -> OperatorScope {
        OperatorScope::certificates(self.spelled())
    }

    fn spelled(&self) -> [&str; 3] {
        [&self.subscription, &self.resource_group, &self.name]
    }

    /// Returns its names in the form in which they are compared. They are folded exactly as [`OperatorScope`] folds them, because a
    /// scope would otherwise cover less or more than its text.
    fn folded(&self) -> [String; 3] {
        self.spelled().map(fold)
    }
}

/// Returns the form in which names are compared.
fn fold(name: &str) -> String {
    name.to_lowercase()
}

/// The use cases of provisioning services' certificates.
pub struct Certificates {
    store: Store,
    clock: Arc<dyn Clock>,
    audit: Arc<Audit>,
    cpu_queue: CpuQueue,
    settings: CertificateSettings,
    first_to_end: EarliestExpiries,
}

impl Certificates {
    /// Creates the use cases for this store's certificates, with these settings.
    pub(crate) fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        audit: Arc<Audit>,
        cpu_queue: CpuQueue,
        settings: CertificateSettings,
    ) -> Self {
        Self {
            store,
            clock,
            audit,
            cpu_queue,
            settings,
            first_to_end: EarliestExpiries::new(PAGE),
        }
    }

    /// Runs CPU-bound work for this caller off the async threads.
    async fn on_cpu_queue<T: Send + 'static>(
        &self,
        caller: &Caller,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StorageError> {
        Ok(self.cpu_queue.run_for(&caller.party(), work).await?)
    }

    /// Commits a caller's change. If their token has ended meanwhile, nothing is parsed or verified again.
    async fn transact_for<T, E, F>(
        &self,
        caller: &Caller,
        name: &'static str,
        attempt: impl Fn() -> F,
    ) -> Result<T, Failure<E>>
    where
        F: Future<Output = Result<Attempt<T, E>, Failure<E>>>,
    {
        let (store, clock, origin) = (&self.store, &*self.clock, caller.origin());
        transact_permitted(name, store, clock, origin, contended, attempt).await
    }

    async fn load(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<Option<Stored<Certificate>>, StorageError> {
        let key = certificate_key(caller.service(), name);
        Ok(self.store.get(&key, self.clock.now()).await?)
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
