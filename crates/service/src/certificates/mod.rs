//! CA certificates of Azure's provisioning services, and the proof that whoever uploaded one possesses its private key.
//!
//! A certificate belongs to a provisioning service, and is found by subscription, resource group, service and name
//! without regard to letter case. How many a service has stands in a record of its own (`records::Holder`), which
//! every change of that number replaces: so no race makes one too many. The version of a certificate's record is its
//! entity tag: every change makes a new one, and none ever comes back.

mod caller;
mod ending;
mod possession;
mod precondition;
mod records;
mod resources;
mod restored;
mod services;

pub use caller::Caller;
pub use possession::{GenerateCodeError, IssuedCode, Verified, VerifyError, findings};
pub use precondition::Precondition;
pub use records::Verification;
pub use resources::{
    CertificateView, DeleteError, Deletion, GetError, PutError, Upload, UploadError,
};
pub(crate) use restored::without_code;
pub use services::HoldingService;

use std::{fmt, num::NonZeroU32, sync::Arc, time::Duration};

use keyproof_auth::operator::OperatorScope;
use keyproof_store::{Store, Stored};

use crate::{Audit, Clock, Judging, StorageError, ending::FirstToEnd};
use records::{Certificate, certificate_key};

/// The rules that operators choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateSettings {
    /// Whether an upload may say that it is verified, without a proof.
    pub allow_unproven: bool,
    /// How many certificates a provisioning service has at most.
    pub max_certificates: NonZeroU32,
    /// How long a verification code lives; `None` is until it is used, or another is generated.
    pub code_lifetime: Option<Duration>,
}

impl Default for CertificateSettings {
    /// As Azure has it: 25 certificates, no proof where none is wanted, codes without an end.
    fn default() -> Self {
        Self {
            allow_unproven: true,
            max_certificates: NonZeroU32::MIN.saturating_add(24),
            code_lifetime: None,
        }
    }
}

/// A provisioning service. Nothing has to make one: it is there wherever a caller's scope reaches.
#[derive(Clone, Debug)]
pub struct ProvisioningService {
    /// The subscription that it is in.
    pub subscription: String,
    /// The resource group that it is in.
    pub resource_group: String,
    /// Its name.
    pub name: String,
}

impl ProvisioningService {
    /// What a caller needs to work with its certificates.
    pub fn scope(&self) -> OperatorScope {
        OperatorScope::certificates(self.spelled())
    }

    fn spelled(&self) -> [&str; 3] {
        [&self.subscription, &self.resource_group, &self.name]
    }

    /// Its names as they are compared: folded just as [`OperatorScope`] folds them, or a scope would reach less or more
    /// than it says.
    fn folded(&self) -> [String; 3] {
        self.spelled().map(fold)
    }
}

/// What two names that are one have in common.
fn fold(name: &str) -> String {
    name.to_lowercase()
}

/// The use cases of provisioning services' certificates.
pub struct Certificates {
    store: Store,
    clock: Arc<dyn Clock>,
    audit: Arc<Audit>,
    judging: Judging,
    settings: CertificateSettings,
    first_to_end: FirstToEnd,
}

impl Certificates {
    /// The certificates of this store, under these rules.
    pub(crate) fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        audit: Arc<Audit>,
        judging: Judging,
        settings: CertificateSettings,
    ) -> Self {
        Self {
            store,
            clock,
            audit,
            judging,
            settings,
            first_to_end: FirstToEnd::default(),
        }
    }

    /// Decodes or judges for this caller, off the async threads.
    async fn judge<T: Send + 'static>(
        &self,
        caller: &Caller,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StorageError> {
        Ok(self.judging.run_for(&caller.party(), work).await?)
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
