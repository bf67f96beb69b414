//! GNU Taler's OTP devices: instances with passwords, login tokens, and the devices whose confirmation codes prove at
//! an offline point of sale that an order was paid.
//!
//! An instance has two identities besides its name. Its *incarnation* is drawn when it is created. Devices belong to
//! it, so those of a removed instance never reappear under a new one of the same name. Its *generation* is drawn when
//! it is created and with every new password. Login tokens belong to it, so a new password voids them all. Data of
//! earlier identities is unreachable, and is deleted in the background.

mod caller;
mod devices;
mod guesses;
mod instances;
mod leftovers;
mod password;
mod records;
mod tokens;

pub use caller::{
    AnyToken, Caller, InstanceAdministrator, NotPermitted, OperatorNotPermitted, OperatorRight,
    Reading, Refreshing, Right, Writing,
};
pub use devices::{
    AddDeviceError, ChangeDeviceError, CheckCodeError, DeviceChange, DeviceDetails, DeviceSummary,
    DeviceView, MatchingStep, Moment, RemoveDeviceError, ShowDeviceError, TooManyCodes,
};
pub use instances::{
    AddInstanceError, DEFAULT_INSTANCE, InstanceSummary, RemoveInstanceError, SetPasswordError,
};
pub use password::LoginError;
pub use tokens::{IssueError, IssuedToken, Issuer, Lifetime, RevokeError, TokenRequest};

use std::{fmt, sync::Arc};

use keyproof_auth::Generation;
use keyproof_mfa::Policy;
use keyproof_store::Store;

use crate::{
    Audit, Clock, HashingPool, Origin,
    access::{Turn, UseCase},
    figures::Locks,
    keys::draw_bytes,
    rate_limit::RateLimit,
};
use devices::CHECKS_PER_MINUTE;

/// The use cases of Taler's OTP devices.
pub struct OtpDevices {
    store: Store,
    clock: Arc<dyn Clock>,
    audit: Arc<Audit>,
    hashing: Arc<HashingPool>,
    pub(crate) locks: Arc<Locks>,
    policy: Policy,
    /// The rate limit for operators who view or check codes.
    checks: RateLimit,
}

impl OtpDevices {
    /// Creates the use cases over this store. `policy` limits password guesses, as it does for users.
    pub(crate) fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        audit: Arc<Audit>,
        hashing: Arc<HashingPool>,
        policy: Policy,
    ) -> Self {
        Self {
            store,
            clock,
            audit,
            hashing,
            locks: Arc::default(),
            policy,
            checks: RateLimit::per_minute(CHECKS_PER_MINUTE),
        }
    }

    /// Returns the context for a password hash by this request.
    fn turn<'a>(&self, origin: &'a Origin) -> Turn<'a> {
        Turn {
            origin,
            use_case: UseCase::OtpDevices,
            now: self.clock.now(),
        }
    }

    fn draw_generation(&self) -> Generation {
        Generation::from_random(draw_bytes(self.store.entropy()))
    }
}

impl fmt::Debug for OtpDevices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtpDevices").finish_non_exhaustive()
    }
}
