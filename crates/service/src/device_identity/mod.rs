//! TPM provisioning with the API of F5 Distributed Cloud. A manufacturing station sends an API key and a device's TPM
//! keys, and receives an attestation key (AK) certificate that only that TPM can decrypt.
//!
//! A *manager* owns a root CA. Each *category* below it has its own CA and an allow-list of endorsement key (EK)
//! certificates. Each *API key* lets stations provision for one category. A *device* is a vendor and a serial number
//! within a manager. It is bound to an EK once its TPM has opened the credential of an AK. The private keys of CAs are
//! stored sealed in their records. A category's client key is returned once and not stored.

mod activation;
mod api_keys;
mod attestation;
mod attestation_report;
mod authority;
mod caller;
mod categories;
mod certified;
mod client_certificates;
mod der_text;
mod devices;
mod endorsement;
mod evidence;
mod expiry;
mod field;
mod forgetting;
mod grant;
mod history;
mod identity;
mod key_records;
mod label_selector;
mod leftovers;
mod managers;
mod nonce;
mod objects;
mod pcr_policy;
mod preauth;
mod provision;
mod reached;
mod renewal;
mod request;
mod restored;
mod revocation_list;
#[cfg(test)]
mod testing;
mod ticket;
mod trust;
mod trust_lists;

pub use activation::{ActivateError, Activation};
pub use api_keys::{
    ApiKey, ApiKeyChange, CreateApiKeyError, IssuedApiKey, NewApiKey, ReplaceApiKeyError,
    Withdrawal,
};
pub use attestation::AttestError;
pub use attestation_report::{DeviceCheck, DeviceFinding, DeviceReport};
pub use authority::{AuthorityError, ClientCertificate};
pub use caller::{Administrator, DeviceAdministrator, ObjectOperation, Station, StationOperation};
pub use categories::{
    AttestationKeyTemplate, Category, CategoryChange, CreateCategoryError, IssuedCategory,
    NewCategory, ReplaceCategoryError,
};
pub use client_certificates::{CertificateNotAccepted, EndClientsError, RenewClientError};
pub use der_text::{DerTextError, decode_der};
pub use devices::{BoundDevice, DeviceError, DeviceKey};
pub use endorsement::{EndorsementError, TrustListError};
pub use evidence::{AttestRequest, SentEvidence};
pub use field::{Field, FieldError, FieldProblem, Sent};
pub use grant::ApiKeyRefusal;
pub use history::{LoggedEvent, Registers, Verdict};
pub use identity::{DevicePlace, IdentityConflict};
pub use label_selector::{LabelSelector, LabelSelectorError};
pub use managers::{CreateManagerError, Manager, ReplaceManagerError, TrustedMakers};
pub use nonce::{IssuedNonce, NonceRequest};
pub use objects::{
    DeleteError, FindError, Kind, Metadata, MetadataError, Object, Reference, SystemMetadata,
};
pub use pcr_policy::{ExpectedRegister, LearntRegister, PcrPolicy, PcrPolicyError};
pub use preauth::{PreauthError, PreauthVerdict};
pub use provision::{ProvisionError, Provisioned};
pub use request::{DecodedRequest, DeviceClaim, ProvisionRequest};
pub use revocation_list::RevocationListError;
pub use trust::{
    AddTrustError, CoveredMaker, RemoveTrustError, TrustAdded, TrustCheck, TrustEntry,
    TrustFileError, TrustItem, TrustKind,
};
pub use trust_lists::{AllowedCertificate, ListingError, PolicyChangeError};

pub(crate) use restored::without_list;

use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
};

use keyproof_store::Store;
use tokio::sync::Mutex;

use crate::{
    Audit, Clock, CpuQueue, Principal, StorageError, expiry::EarliestExpiries,
    rate_limit::RateLimit,
};
use client_certificates::KnownAuthorities;
use revocation_list::{ListMaking, SharedLists};
use trust::KnownBundle;

/// The settings that operators choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceIdentitySettings {
    /// The most calls per minute with one API key, on each server. 0 means no limit.
    pub rate_limit_per_minute: u32,
    /// The URL template of a category's CRL, with the placeholders `{namespace}` and `{name}`. Must be ASCII, as it is
    /// written into certificates.
    pub revocation_list_url: Option<String>,
}

impl Default for DeviceIdentitySettings {
    /// 600 calls per minute, and no CRL URL.
    fn default() -> Self {
        Self {
            rate_limit_per_minute: 600,
            revocation_list_url: None,
        }
    }
}

/// The use cases of TPM provisioning.
pub struct DeviceIdentity {
    store: Store,
    clock: Arc<dyn Clock>,
    audit: Arc<Audit>,
    cpu_queue: CpuQueue,
    rate_limit: RateLimit,
    list_making: ListMaking,
    lists: SharedLists,
    authorities: KnownAuthorities,
    /// When the first category CA expires, in milliseconds since the Unix epoch; 0 if none does.
    authorities_end: AtomicU64,
    first_to_end: EarliestExpiries,
    trust: KnownBundle,
    /// Held while this server reads the trust bundle.
    trust_reading: Mutex<()>,
    revocation_list_url: Option<String>,
}

impl DeviceIdentity {
    /// Creates the use cases over this store.
    pub(crate) fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        audit: Arc<Audit>,
        cpu_queue: CpuQueue,
        settings: DeviceIdentitySettings,
    ) -> Self {
        Self {
            store,
            clock,
            audit,
            cpu_queue,
            rate_limit: RateLimit::per_minute(settings.rate_limit_per_minute),
            list_making: ListMaking::default(),
            lists: SharedLists::default(),
            authorities: KnownAuthorities::default(),
            authorities_end: AtomicU64::default(),
            first_to_end: EarliestExpiries::new(Category::AT_ONCE),
            trust: KnownBundle::default(),
            trust_reading: Mutex::new(()),
            revocation_list_url: settings.revocation_list_url,
        }
    }

    /// Runs CPU-bound work off the async threads, counted against the share of `who`. Work that serves all callers
    /// counts against [`Principal::Keyproof`].
    async fn on_cpu_queue<T: Send + 'static>(
        &self,
        who: &Principal,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StorageError> {
        Ok(self.cpu_queue.run_for(&who.party(), work).await?)
    }
}

impl fmt::Debug for DeviceIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceIdentity").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{
        testing::{api_key, furnish, may, named, nothing_but, station},
        *,
    };
    use crate::{
        Action, Failure, TooBusy,
        testing::{bench, origin},
    };

    #[tokio::test]
    async fn whoever_asks_has_half_of_what_is_judged_and_shuts_no_other_out() {
        let bench = bench().await;
        furnish(&bench).await;
        let devices = &bench.service.device_identity;
        let busy = StorageError::Busy(TooBusy);

        let one = may::<Manager>(&bench, ObjectOperation::Create, "new").await;
        let other = may::<Manager>(&bench, ObjectOperation::Create, "new").await;
        let crowd = devices.cpu_queue.fill_of(&one.who().party());
        let made = devices.create_manager(&one, named("new"), TrustedMakers::default());
        assert_eq!(made.await.err(), Some(Failure::Storage(busy.clone())));
        let made = devices.create_manager(&other, named("new"), TrustedMakers::default());
        assert!(made.await.is_ok());
        drop(crowd);

        let station = Station::with_api_key_only(origin(), None);
        let request = nothing_but(&api_key(&bench).await);
        let crowd = devices.cpu_queue.fill_of("station:default");
        let refused = devices.provision(&station, request.clone()).await.err();
        assert_eq!(refused, Some(Failure::Storage(busy)));
        drop(crowd);
        // Work for another namespace's API keys does not block this one.
        let _crowd = devices.cpu_queue.fill_of("station:other");
        let refused = devices.provision(&station, request).await.err();
        assert!(matches!(refused, Some(Failure::Refused(_))));
    }

    /// The share is counted per namespace, whichever operator's token a station sends with its API key.
    #[tokio::test]
    async fn the_stations_of_a_namespace_have_half_of_what_is_judged_together() {
        let bench = bench().await;
        furnish(&bench).await;
        let devices = &bench.service.device_identity;
        let request = nothing_but(&api_key(&bench).await);
        let stations = [station(&bench).await, station(&bench).await];
        let [one, other] = stations.each_ref().map(|station| &station.origin().who);
        assert_ne!(one, other);

        let crowd = devices.cpu_queue.fill_of("station:default");
        for station in &stations {
            let refused = devices.provision(station, request.clone()).await.err();
            let busy = StorageError::Busy(TooBusy);
            assert_eq!(refused, Some(Failure::Storage(busy)));
        }
        drop(crowd);
        // Load from keys of another namespace, or from the operator's own requests with the same token.
        for party in ["station:other".to_owned(), one.party()] {
            let _crowd = devices.cpu_queue.fill_of(&party);
            let refused = devices.provision(&stations[0], request.clone()).await.err();
            assert!(matches!(refused, Some(Failure::Refused(_))), "{party}");
        }
        // The audit trail records the operator's token.
        let events = bench.events().await;
        let told = events.iter();
        let told = told.filter(|event| event.action == Action::TpmProvision.name());
        let by: Vec<&str> = told.map(|event| &*event.who).collect();
        let token = one.to_string();
        assert!(!by.is_empty() && by.iter().all(|by| *by == token));
    }
}
