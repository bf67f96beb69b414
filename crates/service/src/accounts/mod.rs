//! User accounts: organisations and their users, passwords and second factors, and the tokens issued to users.
//!
//! `keyproof-mfa` decides whether a password or code is accepted. This module loads the records for the decision, commits its
//! result and issues tokens. Permission is a value (`person`), and the caller's records are read in the same snapshot as the
//! records that are decided on (`authorized`). Besides their name, a user has two identities: their number within the organisation,
//! and their *generation*, which rises with every new password and suspension. Access and refresh tokens, challenges and trusted
//! devices belong to a generation, so that they all end at once.
//!
//! Failed logins are counted by *name*, whether or not the user exists, so that a lockout does not reveal who has an account. An
//! unknown name also costs the same reads and the same hash as a known one. In addition, failures are counted for each address and
//! trusted device that a user is known at, and in each of their sessions.

mod access_token;
mod account;
mod administration;
mod application_login;
mod application_tokens;
mod authorized;
mod browser;
mod caller;
mod detail;
mod devices;
mod directory;
mod ended_tokens;
mod events;
mod forgetting;
mod keys;
mod login;
mod overview;
mod own_password;
mod password;
mod person;
mod reading;
mod records;
mod recovery_codes;
mod refresh;
mod restored;
mod session;
mod session_id;
mod signing_key;
#[cfg(test)]
mod tests;
mod user_query;
mod user_tokens;

pub use administration::{
    AccountTarget, AddUserError, ChangeUserError, NewUser, SetUserPasswordError, UnknownUser,
    Unlocking, UserChange, is_number,
};
pub use application_login::ApplicationLoginError;
pub use application_tokens::{
    AddApplicationTokenError, ApplicationTokenChange, ApplicationTokenState,
    ApplicationTokenSummary, ChangeApplicationTokenError, NewApplicationToken,
};
pub use authorized::SessionRefused;
pub use browser::UserSession;
pub use caller::{AddUserAsError, Caller, SeeUsersError, UserState};
pub use detail::{Detail, Reason, Wording};
pub use devices::{DeviceView, RemoveDeviceError};
pub use directory::{UserPage, UserView};
pub use forgetting::Forgetting;
pub use keys::{ActivateKeyError, EnrolKeyError, EnrolledKey, KeySummary, RemoveKeyError};
pub use login::{AnswerError, FirstStep, LoginError, PasswordLogin, Tokens, TrustRequest};
pub use overview::Overview;
pub use own_password::{ChangePasswordError, PasswordChange};
pub use password::PasswordRefused;
pub use person::{Editor, Manager, NotPermitted, Person};
pub use records::{Organisation, Role, UnknownRole, UserStatus};
pub use recovery_codes::{RecoveryCodesError, RecoveryCodesRequest};
pub use refresh::Refreshed;
pub(crate) use restored::{without_steps, without_validity};
pub use session::{Session, SessionError, TargetUser};
pub use signing_key::{EndedKey, PublicKey, ReplacedKey, UnknownSigningKey};
pub use user_query::{Filter, Sort, SortKey, UserQuery, UserQueryError};
pub use user_tokens::{Revocation, RevokeApplicationTokenError};

use std::{fmt, sync::Arc, time::Duration};

use keyproof_mfa::Policy;
use keyproof_store::Store;
use ring::hmac;
use zeroize::Zeroizing;

use crate::{
    Action, Audit, Clock, CommandLine, CpuQueue, Failure, HashingError, HashingPool, Origin,
    QuotaSemaphore, StorageError,
    access::{Turn, UseCase, VerifiedTokenCache},
    audit::{NewEvent, Target},
    clock::{millis, timestamp},
    figures::Locks,
    keys::draw_bytes,
};
use access_token::Claims;
use session_id::SessionId;
use signing_key::SigningKeys;

/// The settings for accounts.
#[derive(Clone, Copy, Debug)]
pub struct AccountSettings {
    /// The rules of the second factor, such as when a name is locked out and for how long.
    pub policy: Policy,
    /// Whether a refresh token can be used only once and then yields its successor.
    pub rotate_refresh_tokens: bool,
    /// Words the details of audit events. The default is the `Debug` form of the type.
    pub wording: Wording,
}

impl Default for AccountSettings {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            rotate_refresh_tokens: false,
            wording: |detail| format!("{detail:?}"),
        }
    }
}

/// How long an access token is valid.
pub const ACCESS_TOKEN_LIFETIME: Duration = Duration::from_secs(240 * 60);

/// How long a refresh token and its successors are valid.
pub const REFRESH_TOKEN_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Numbers are below this, so that clients that parse them as 32-bit floats get exact values.
const NUMBERS: u32 = 1 << 24;

/// How many verified access tokens are cached, which takes a few megabytes.
const REMEMBERED: usize = 8_192;

/// How many listings of users or application tokens may run at once for one party, since all share the queue of CPU-bound work.
const LISTINGS_EACH: usize = 8;

/// The use cases of user accounts.
pub struct Accounts {
    store: Store,
    clock: Arc<dyn Clock>,
    audit: Arc<Audit>,
    hashing: Arc<HashingPool>,
    cpu_queue: CpuQueue,
    pub(crate) listings: QuotaSemaphore,
    pub(crate) locks: Arc<Locks>,
    policy: Policy,
    rotate_refresh_tokens: bool,
    wording: Wording,
    signing: SigningKeys,
    /// Computes the stand-ins for unknown names in audit events.
    stand_ins: hmac::Key,
    /// The claims of access tokens that a key of `signing` has verified.
    verified: VerifiedTokenCache<Arc<Claims>>,
}

impl Accounts {
    /// Creates the use cases for this store's accounts.
    pub fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        audit: Arc<Audit>,
        hashing: Arc<HashingPool>,
        cpu_queue: CpuQueue,
        settings: AccountSettings,
    ) -> Self {
        let mut drawn = Zeroizing::new([0; 32]);
        store.entropy().fill(&mut *drawn);
        Self {
            signing: SigningKeys::new(store.clone()),
            stand_ins: hmac::Key::new(hmac::HMAC_SHA256, &*drawn),
            verified: VerifiedTokenCache::new(REMEMBERED),
            store,
            clock,
            audit,
            hashing,
            cpu_queue,
            listings: QuotaSemaphore::new(usize::MAX, LISTINGS_EACH),
            locks: Arc::default(),
            policy: settings.policy,
            rotate_refresh_tokens: settings.rotate_refresh_tokens,
            wording: settings.wording,
        }
    }

    /// Returns the public keys that verify access tokens, newest first. Creates a signing key if there is none yet.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn public_keys(&self) -> Result<Vec<PublicKey>, StorageError> {
        self.signing.public_keys(self.clock.now()).await
    }

    /// Replaces the key that signs access tokens. Earlier keys stay valid until they expire.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn replace_signing_key(
        &self,
        command: &CommandLine,
    ) -> Result<ReplacedKey, StorageError> {
        let now = self.clock.now();
        let replaced = self.signing.replace(now, |batch, replaced| {
            let former = replaced.former.as_ref();
            let detail = former.map(|(former, _)| format!("in place of {former}"));
            let new_event = NewEvent {
                action: Action::SigningKeyReplace,
                target: Target::SigningKey(replaced.signing.clone()),
                detail,
                origin: command.origin(),
            };
            self.audit.done(batch, now, new_event);
        });
        replaced.await
    }

    /// Revokes a current or former signing key: from now on every server rejects its access tokens. If it is the current one, a new
    /// key replaces it.
    ///
    /// # Errors
    ///
    /// [`UnknownSigningKey`].
    pub async fn end_signing_key(
        &self,
        id: &str,
        command: &CommandLine,
    ) -> Result<EndedKey, Failure<UnknownSigningKey>> {
        let now = self.clock.now();
        let ended = self.signing.end(id, now, |batch, ended| {
            let signing = ended.signing.as_ref();
            let new_event = NewEvent {
                action: Action::SigningKeyEnd,
                target: Target::SigningKey(ended.ended.clone()),
                detail: signing.map(|signing| format!("signing_key/{signing} signs")),
                origin: command.origin(),
            };
            self.audit.done(batch, now, new_event);
        });
        ended.await
    }

    /// Switches to the signing key that another server has created, and creates one if the current key is gone or too old. If the
    /// clocks are too far apart, no key is too old. Called by the upkeep. Returns how many keys were created.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn renew_signing_key(&self) -> Result<usize, StorageError> {
        let renewed = self.signing.renew(self.clock.now()).await?;
        Ok(usize::from(renewed))
    }

    /// Counts a login request against its address. Call it before reading the body.
    ///
    /// # Errors
    ///
    /// [`HashingError::Limited`].
    pub fn admit(&self, origin: &Origin) -> Result<(), HashingError> {
        self.hashing.admit(origin, self.clock.now())
    }

    /// Returns the place in the hashing queue for this request.
    fn turn<'a>(&self, origin: &'a Origin) -> Turn<'a> {
        Turn {
            origin,
            use_case: UseCase::Accounts,
            now: self.clock.now(),
        }
    }

    fn random<const N: usize>(&self) -> [u8; N] {
        draw_bytes(self.store.entropy())
    }

    /// Draws a number from 1 to 2^24 - 1. The caller draws again if it is taken.
    fn draw_number(&self) -> u32 {
        u32::from_be_bytes(self.random()) % (NUMBERS - 1) + 1
    }
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts").finish_non_exhaustive()
    }
}
