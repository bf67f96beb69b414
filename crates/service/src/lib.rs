//! keyproof's use cases: each loads records, lets a pure crate decide, and commits the verdict.
//!
//! No verdict is returned whose commit did not happen, and a lost race is settled by loading and deciding again.
//! Nothing here knows HTTP, and nothing assumes that this is the only process on the store.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

// First, for its macro.
#[macro_use]
mod storage;

pub mod access;
pub mod accounts;
pub mod audit;
pub mod certificates;
mod clock;
mod collections;
mod derived;
pub mod device_identity;
mod ending;
mod figures;
mod judging;
mod keys;
pub mod otp_devices;
mod pages;
mod places;
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
    Access, AddressLimit, Applicant, HashingError, HashingPool, HashingSettings, PasswordVerdict,
};
pub use accounts::{AccountSettings, Accounts};
pub use audit::{Action, Audit, AuditSettings, AuditSink, CommandLine, Origin, Warrant, Who};
pub use certificates::{CertificateSettings, Certificates};
pub use clock::{Clock, ClockDifference, ManualClock, SystemClock};
pub use collections::{Ended, RestoreError, Restoring};
pub use device_identity::{DeviceIdentity, DeviceIdentitySettings};
pub use ending::{Ending, Endings, Seen};
pub use figures::{Figures, HashingFigures, LockFigures, QueueFigures, UpkeepFigures};
pub use judging::{Judging, JudgingSettings, TooBusy};
pub use otp_devices::OtpDevices;
pub use pages::Listed;
pub use places::{Place, Places};
pub use status::ServiceStatus;
pub use storage::{Failure, NotReady, StorageError};
pub use upkeep::Upkeep;
pub use work_observer::{Work, WorkObserver};

/// When something is or was, and which state of it is meant, as whoever knows no store says it.
pub use keyproof_store::{Timestamp, Version};

use std::{
    fmt, io, mem,
    sync::{Arc, Mutex, PoisonError},
};

use keyproof_store::{Standbys, Store, StoreError};
use zeroize::Zeroizing;

use keys::draw_token;
use work_observer::Followed;

/// How many lists without pages are in memory at once.
const LISTS: usize = 8;

/// How many of them are one party's.
const LISTS_EACH: usize = 2;

/// All use cases over one store.
pub struct Service {
    /// Operators' tokens.
    pub access: Access,
    /// Users, their second factors and tokens.
    pub accounts: Accounts,
    /// The audit trail.
    pub audit: Arc<Audit>,
    /// CA certificates of provisioning services.
    pub certificates: Certificates,
    /// Runs work that takes a processor's time; each domain has a queue of its own beside this one.
    pub judging: Arc<Judging>,
    /// Places for lists whose contract has no pages, each of a party ([`Who::party`]): they are in memory whole until their
    /// client has read them.
    pub lists: Places,
    /// Taler instances, their login tokens and OTP devices.
    pub otp_devices: OtpDevices,
    /// TPM managers, categories and API keys, and the provisioning of devices.
    pub device_identity: DeviceIdentity,
    /// The clean-up.
    pub upkeep: Upkeep,
    hashing: Arc<HashingPool>,
    queues: [(&'static str, Judging); 3],
    followed: [Followed; 2],
    standbys: Mutex<Standbys>,
    clock_difference: Mutex<Option<ClockDifference>>,
    store: Store,
    clock: Arc<dyn Clock>,
}

/// What operators choose. `From<HashingSettings>` takes the default for everything else.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How passwords are hashed.
    pub hashing: HashingSettings,
    /// How much is decoded and judged at once.
    pub judging: JudgingSettings,
    /// How long the audit trail's events stay.
    pub audit: AuditSettings,
    /// Who is told of them beside the store.
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
            judging: JudgingSettings::default(),
            audit: AuditSettings::default(),
            audit_sink: None,
            accounts: AccountSettings::default(),
            certificates: CertificateSettings::default(),
            device_identity: DeviceIdentitySettings::default(),
        }
    }
}

/// Why the use cases are not available.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The hashing threads did not start.
    #[error("no thread for hashing passwords: {0}")]
    Hashing(#[from] io::Error),
    /// The store did not take what has to be in it.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Service {
    /// Starts the use cases of a store, and makes what has to be in it from the start.
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
            judging,
            audit,
            audit_sink,
            accounts,
            certificates,
            device_identity,
        } = settings.into();
        let audit = Audit::with_settings(store.clone(), clock.clone(), audit, audit_sink);
        let audit = Arc::new(audit);
        let hashing = Arc::new(HashingPool::start(hashing)?);
        let judging = Judging::new(judging);
        let (of_accounts, of_certificates, of_device_identity) =
            (judging.beside(), judging.beside(), judging.beside());
        let queues = [
            ("accounts", of_accounts.clone()),
            ("certificates", of_certificates.clone()),
            ("device_identity", of_device_identity.clone()),
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
            device_identity: DeviceIdentity::new(
                store.clone(),
                clock.clone(),
                audit.clone(),
                of_device_identity,
                device_identity,
            ),
            upkeep: Upkeep::new(store.clone(), clock.clone()),
            followed: [hashing.followed(), judging.followed()],
            hashing,
            queues,
            standbys: Mutex::default(),
            clock_difference: Mutex::default(),
            audit,
            judging: Arc::new(judging),
            lists: Places::new(LISTS, LISTS_EACH),
            store,
            clock,
        };
        service.audit.begin_index().await?;
        service.otp_devices.ensure_default().await?;
        Ok(Arc::new(service))
    }

    /// Tells of the work that requests wait for, from now on. The first is told, if there are several.
    pub fn follow(&self, observer: &Arc<dyn WorkObserver>) {
        for followed in &self.followed {
            followed.by(Arc::clone(observer));
        }
    }

    /// Checks that the store can be expected to answer, and holds this machine's clock against that of its database: see
    /// [`clock_difference`](Self::clock_difference). One that is wrong makes nothing unready: where it is the database's,
    /// no server would be left.
    ///
    /// # Errors
    ///
    /// [`NotReady`].
    pub async fn ready(&self) -> Result<(), NotReady> {
        self.store.ready().await?;
        self.compare_clocks().await?;
        Ok(())
    }

    /// Holds this machine's clock against that of the store's database, if it has one, and says in the log whenever they come
    /// to be too far apart.
    async fn compare_clocks(&self) -> Result<Option<ClockDifference>, StoreError> {
        let asked = self.now();
        let theirs = self.store.server_time().await?;
        let now = theirs.map(|theirs| ClockDifference::between(asked, theirs, self.now()));
        let before = mem::replace(
            &mut *self
                .clock_difference
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
            now,
        );
        let is_apart = ClockDifference::is_too_much;
        match (before.filter(is_apart), now.filter(is_apart)) {
            (None, Some(apart)) => tracing::warn!(
                "{apart}: until both are right, what has ended is not removed here, and no key or CA is renewed"
            ),
            (Some(_), None) => {
                tracing::info!("this machine's clock and the database's agree again");
            }
            _ => {}
        }
        Ok(now)
    }

    /// The present moment, as the use cases have it.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// 256 random bits as a text (base64url), for what is to be known to nobody but its holder.
    pub fn draw_text(&self) -> Zeroizing<String> {
        draw_token(self.store.entropy(), None).text()
    }

    /// What a dashboard reads, as it is now.
    pub fn figures(&self) -> Figures {
        let queues = self.queues.each_ref();
        Figures {
            hashing: self.hashing.figures(),
            queues: queues.map(|(domain, queue)| (*domain, queue.figures())),
            locks: [
                ("accounts", self.accounts.lock_figures()),
                ("otp_devices", self.otp_devices.lock_figures()),
            ],
            retries: storage::retries(),
            audit_left_out: self.audit.left_out(),
            upkeep: self.upkeep.figures(),
            standbys: self.standbys(),
            clock_difference: self.clock_difference(),
            pool: self.store.pool(),
            certificates_end: self.certificates.next_end(),
            authorities_end: self.device_identity.authorities_end(),
        }
    }

    /// How far this machine's clock was from that of the store's database when they were last compared; `None` where there
    /// is no other machine's, or none was asked for the time yet.
    pub fn clock_difference(&self) -> Option<ClockDifference> {
        *self
            .clock_difference
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The copies of the store's database that follow it, as they were last asked for.
    pub fn standbys(&self) -> Standbys {
        *self.standbys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}
