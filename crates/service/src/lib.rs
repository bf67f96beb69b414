//! keyproof's use cases. Each loads records, lets a pure crate decide, and commits the result.
//!
//! No result is returned unless its commit succeeded. If a commit loses a race, the use case loads the records and decides again.
//! Nothing here depends on HTTP or assumes that this is the only process on the store.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

// Must come first because it defines a macro.
#[macro_use]
mod storage;

pub mod access;
pub mod accounts;
pub mod audit;
pub mod certificates;
mod clock;
mod collections;
mod cpu_queue;
mod derived;
pub mod device_identity;
mod expiry;
mod figures;
mod keys;
mod mutex;
pub mod otp_devices;
mod pages;
mod quota_semaphore;
mod rate_limit;
mod session_life;
mod slot;
mod status;
#[cfg(test)]
mod testing;
mod text;
pub mod upkeep;
mod work_observer;

pub use access::{
    Access, AddressLimit, HashingError, HashingPool, HashingSettings, PasswordVerdict, Requester,
};
pub use accounts::{AccountSettings, Accounts};
pub use audit::{Action, Audit, AuditSettings, AuditSink, CommandLine, Origin, Principal, Warrant};
pub use certificates::{CertificateSettings, Certificates};
pub use clock::{Clock, ClockDifference, ManualClock, SystemClock};
pub use collections::{Ended, RestoreError, Restoring};
pub use cpu_queue::{CpuQueue, CpuQueueSettings, TooBusy};
pub use device_identity::{DeviceIdentity, DeviceIdentitySettings};
pub use expiry::{Coverage, Expiries, Expiry};
pub use figures::{Figures, HashingFigures, LockFigures, QueueFigures, UpkeepFigures};
pub use otp_devices::OtpDevices;
pub use pages::ListPage;
pub use quota_semaphore::{QuotaPermit, QuotaSemaphore};
pub use status::ServiceStatus;
pub use storage::{Failure, NotReady, StorageError};
pub use upkeep::Upkeep;
pub use work_observer::{Work, WorkObserver};

/// Re-exported for callers that do not depend on the store crate.
pub use keyproof_store::{Timestamp, Version};

use std::{
    fmt, io, mem,
    sync::{Arc, Mutex},
};

use keyproof_store::{Standbys, Store, StoreError};
use zeroize::Zeroizing;

use keys::draw_token;
use mutex::lock;
use work_observer::WorkObserverHandle;

/// The maximum number of unpaged lists in memory at once.
const LISTS: usize = 8;

/// The maximum number of those lists for one party.
const LISTS_EACH: usize = 2;

/// All use cases over one store.
pub struct Service {
    /// Operators' tokens and sessions.
    pub access: Access,
    /// Users, their second factors and tokens.
    pub accounts: Accounts,
    /// The audit trail.
    pub audit: Arc<Audit>,
    /// CA certificates of provisioning services.
    pub certificates: Certificates,
    /// Runs CPU-bound work. Each domain has a queue of its own beside this one.
    pub cpu_queue: Arc<CpuQueue>,
    /// The queue of OTP devices, for compressed bodies of requests.
    pub inflating: CpuQueue,
    /// Places for the lists of contracts without paging and for files, limited in total and per party ([`Principal::party`]). Each
    /// stays in memory as a whole until its client has read it.
    pub lists: QuotaSemaphore,
    /// Taler instances, their login tokens and OTP devices.
    pub otp_devices: OtpDevices,
    /// TPM managers, categories and API keys, and the provisioning of devices.
    pub device_identity: Arc<DeviceIdentity>,
    /// Removes expired records.
    pub upkeep: Upkeep,
    hashing: Arc<HashingPool>,
    queues: [(&'static str, CpuQueue); 4],
    followed: [WorkObserverHandle; 2],
    standbys: Mutex<Standbys>,
    clock_difference: Mutex<Option<ClockDifference>>,
    store: Store,
    clock: Arc<dyn Clock>,
}

/// The settings that an operator chooses. `From<HashingSettings>` uses the default for everything else.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How passwords are hashed.
    pub hashing: HashingSettings,
    /// How much CPU-bound work runs and waits at once.
    pub cpu_queue: CpuQueueSettings,
    /// How long the audit trail keeps its events.
    pub audit: AuditSettings,
    /// Receives audit events in addition to the store.
    pub audit_sink: Option<Arc<dyn AuditSink>>,
    /// The rules for users' accounts.
    pub accounts: AccountSettings,
    /// The rules for CA certificates.
    pub certificates: CertificateSettings,
    /// The rules for TPM provisioning.
    pub device_identity: DeviceIdentitySettings,
}

impl From<HashingSettings> for Settings {
    fn from(hashing: HashingSettings) -> Self {
        Self {
            hashing,
            cpu_queue: CpuQueueSettings::default(),
            audit: AuditSettings::default(),
            audit_sink: None,
            accounts: AccountSettings::default(),
            certificates: CertificateSettings::default(),
            device_identity: DeviceIdentitySettings::default(),
        }
    }
}

/// The error when the use cases cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The hashing threads could not be started.
    #[error("cannot start the threads for hashing passwords: {0}")]
    Hashing(#[from] io::Error),
    /// The store did not accept its initial records.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Service {
    /// Starts the use cases of a store and creates the records that must exist from the start.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn start(
        store: Store,
        clock: Arc<dyn Clock>,
        settings: impl Into<Settings>,
    ) -> Result<Arc<Self>, StartError> {
        let Settings {
            hashing,
            cpu_queue,
            audit,
            audit_sink,
            accounts,
            certificates,
            device_identity,
        } = settings.into();
        let audit = Audit::with_settings(store.clone(), clock.clone(), audit, audit_sink);
        let audit = Arc::new(audit);
        let hashing = Arc::new(HashingPool::start(hashing)?);
        let cpu_queue = CpuQueue::new(cpu_queue);
        let [
            of_accounts,
            of_certificates,
            of_device_identity,
            of_otp_devices,
        ] = [(); 4].map(|()| cpu_queue.with_shared_turns());
        let queues = [
            ("accounts", of_accounts.clone()),
            ("certificates", of_certificates.clone()),
            ("device_identity", of_device_identity.clone()),
            ("otp_devices", of_otp_devices.clone()),
        ];
        let service = Self {
            access: Access::new(store.clone(), clock.clone(), audit.clone()),
            accounts: Accounts::new(
                store.clone(),
                clock.clone(),
                audit.clone(),
                Arc::clone(&hashing),
                of_accounts,
                accounts,
            ),
            certificates: Certificates::new(
                store.clone(),
                clock.clone(),
                audit.clone(),
                of_certificates,
                certificates,
            ),
            otp_devices: OtpDevices::new(
                store.clone(),
                clock.clone(),
                audit.clone(),
                Arc::clone(&hashing),
                accounts.policy,
            ),
            device_identity: Arc::new(DeviceIdentity::new(
                store.clone(),
                clock.clone(),
                audit.clone(),
                of_device_identity,
                device_identity,
            )),
            upkeep: Upkeep::new(store.clone(), clock.clone()),
            followed: [hashing.followed.clone(), cpu_queue.followed.clone()],
            hashing,
            queues,
            standbys: Mutex::default(),
            clock_difference: Mutex::default(),
            audit,
            cpu_queue: Arc::new(cpu_queue),
            inflating: of_otp_devices,
            lists: QuotaSemaphore::new(LISTS, LISTS_EACH),
            store,
            clock,
        };
        service.audit.begin_index().await?;
        service.otp_devices.ensure_default().await?;
        Ok(Arc::new(service))
    }

    /// Reports the work that requests wait for to this observer from now on. Only the first observer is used.
    pub fn follow(&self, observer: &Arc<dyn WorkObserver>) {
        for followed in &self.followed {
            followed.by(Arc::clone(observer));
        }
    }

    /// Checks that the store can be expected to answer and compares this machine's clock with its database's (see
    /// [`clock_difference`](Self::clock_difference)). A wrong clock does not make the server unready: if the database's clock were
    /// wrong, no server would be left.
    ///
    /// # Errors
    ///
    /// [`NotReady`].
    pub async fn ready(&self) -> Result<(), NotReady> {
        self.store.ready().await?;
        self.compare_clocks().await?;
        Ok(())
    }

    /// Compares this machine's clock with that of the store's database, if it has one. Logs when the two become too far apart and
    /// when they agree again.
    async fn compare_clocks(&self) -> Result<Option<ClockDifference>, StoreError> {
        let asked = self.now();
        let theirs = self.store.server_time().await?;
        let now = theirs.map(|theirs| ClockDifference::between(asked, theirs, self.now()));
        let before = mem::replace(&mut *lock(&self.clock_difference), now);
        let is_apart = ClockDifference::is_too_much;
        match (before.filter(is_apart), now.filter(is_apart)) {
            (None, Some(apart)) => tracing::warn!(
                "{apart}: until both are right, expired records are not deleted here, and no key or CA is renewed"
            ),
            (Some(_), None) => {
                tracing::info!("this machine's clock and the database's agree again");
            }
            _ => {}
        }
        Ok(now)
    }

    /// Returns the current time of the use cases' clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns 256 random bits as base64url text, for a secret that only its holder may know.
    pub fn draw_text(&self) -> Zeroizing<String> {
        draw_token(self.store.entropy(), None).text()
    }

    /// Returns the current figures for a dashboard.
    pub fn figures(&self) -> Figures {
        let queues = self.queues.each_ref();
        Figures {
            hashing: self.hashing.figures(),
            queues: queues.map(|(domain, queue)| (*domain, queue.figures())),
            lists: [
                ("all_at_once", self.lists.refused()),
                ("audit", self.audit.refused_searches()),
                ("users", self.accounts.listings.refused()),
            ],
            locks: [
                ("accounts", self.accounts.locks.figures()),
                ("otp_devices", self.otp_devices.locks.figures()),
            ],
            retries: storage::retries(),
            audit_left_out: self.audit.left_out.get(),
            upkeep: self.upkeep.figures(),
            standbys: self.standbys(),
            clock_difference: self.clock_difference(),
            pool: self.store.pool(),
            certificates_end: self.certificates.next_end(),
            authorities_end: self.device_identity.authorities_end(),
            tpm_certificates_end: self.device_identity.next_end(),
        }
    }

    /// Returns how far this machine's clock was from that of the store's database at the last comparison, or `None` if the store
    /// has no database on another machine or they were not compared yet.
    pub fn clock_difference(&self) -> Option<ClockDifference> {
        *lock(&self.clock_difference)
    }

    /// Returns the standbys of the store's database, as of the last query.
    pub fn standbys(&self) -> Standbys {
        *lock(&self.standbys)
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}
