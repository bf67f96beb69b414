//! The setting before the model starts: a user whose password is known to all, and her session.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use keyproof_auth::Cost;
use keyproof_mfa::Policy;
use keyproof_otp::{Algorithm, Base32Profile, Digits, Secret, Totp};
use keyproof_service::{
    AccountSettings, Accounts, Action, AddressLimit, Audit, Clock, CpuQueue, HashingPool,
    HashingSettings, ManualClock,
    accounts::{FirstStep, NewUser, PasswordLogin, Role, Session, Tokens},
};
use keyproof_store::{MasterKey, MasterKeys, Store, Timestamp, memory::MemoryEngine};
use zeroize::Zeroizing;

use crate::{
    commands::{NAME, command_line, manager, origin, password, person, sent},
    operation::{Seeded, finish},
};

/// The start of a time step.
pub(crate) const START: Timestamp = Timestamp::from_secs(30 * 56_666_667);

/// The model's unit of time.
pub(crate) const STEP: Duration = Duration::from_secs(30);

pub(crate) struct Setting {
    pub(crate) master_key: MasterKey,
    pub(crate) hashing: Arc<HashingPool>,
    pub(crate) session: Session,
    /// Another session of the user, which the attacker has. It even passed a second factor, with a key that it has
    /// removed.
    pub(crate) old: Session,
    /// All that is stored before the first command.
    pub(crate) fixed: Arc<MemoryEngine>,
}

impl Setting {
    pub(crate) fn new() -> Self {
        let settings = HashingSettings {
            cost: Cost::insecure_for_tests(8, 1, 1).unwrap(),
            threads: NonZeroUsize::MIN,
            queue: 16,
            address_limit: AddressLimit::NONE,
        };
        let hashing = Arc::new(HashingPool::start(settings).unwrap());
        let entropy = Arc::new(Seeded::new("setting"));
        let master_key = MasterKey::generate(&*entropy);
        let fixed = Arc::new(MemoryEngine::new());
        let keys = MasterKeys::new(&master_key);
        let before = START.saturating_sub(DAY * 4);
        let store = finish(Store::open(fixed.clone(), keys, entropy, before)).unwrap();
        let clock = Arc::new(ManualClock::new(before));
        let audit = Arc::new(Audit::new(store.clone(), clock.clone()));
        let accounts = Accounts::new(
            store,
            clock.clone(),
            audit,
            Arc::clone(&hashing),
            CpuQueue::default(),
            policy(),
        );
        let (session, old) = finish(begin(&accounts, &clock));
        Self {
            master_key,
            hashing,
            session,
            old,
            fixed,
        }
    }
}

/// The default rules, with shorter times.
pub(crate) fn policy() -> AccountSettings {
    let mut policy = Policy::default();
    policy.lockout = LOCKOUT;
    policy.challenge_lifetime = CHALLENGE_LIFETIME;
    AccountSettings {
        policy,
        ..AccountSettings::default()
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) const LOCKOUT: Duration = STEP;
pub(crate) const CHALLENGE_LIFETIME: Duration = STEP.saturating_mul(3);

/// The user's `key_changes` when the attacker's token was issued.
pub(crate) const OLD_KEY_CHANGES: u64 = 1;

async fn begin(accounts: &Accounts, clock: &ManualClock) -> (Session, Session) {
    let new = NewUser {
        name: NAME.to_owned(),
        organisation: "Example Org".to_owned(),
        role: Role::User,
    };
    accounts
        .add_user(&new, password(), &command_line())
        .await
        .unwrap();
    let first = log_in(accounts, clock).await;
    let enrolling = person(accounts, &first, Action::MfaKeyAdd).await;
    let enrolled = accounts.enrol_key(&enrolling, sent(password())).await;
    let enrolled = enrolled.unwrap();
    let secret = Secret::from_base32(&enrolled.secret, Base32Profile::Strict).unwrap();
    let totp = Totp::new(&secret, Algorithm::Sha1, Digits::SIX);
    let code = |ahead| {
        let step = totp.step_at(clock.now().as_secs()) + ahead;
        totp.code_at_step(step).to_string()
    };
    let (key, activating) = (enrolled.key.id, code(0));
    let person = person(accounts, &first, Action::MfaKeyActivate).await;
    let activated = accounts.activate_key(&person, key, sent(Zeroizing::new(activating)));
    activated.await.unwrap();
    let FirstStep::Challenged(asked) = step_one(accounts).await else {
        panic!("a key is active");
    };
    let answered = accounts
        .answer_challenge(&asked, &code(1), None, &origin())
        .await
        .unwrap();
    let old = session(accounts, clock, &answered).await;
    // The session that removes the key is the only one that survives the removal.
    let manager = manager(accounts, &old, Action::MfaKeyRemove).await;
    accounts.remove_key(&manager, key).await.unwrap();
    (log_in(accounts, clock).await, old)
}

async fn log_in(accounts: &Accounts, clock: &ManualClock) -> Session {
    let FirstStep::Authenticated(tokens) = step_one(accounts).await else {
        panic!("there is no key to ask for a code of");
    };
    session(accounts, clock, &tokens).await
}

async fn step_one(accounts: &Accounts) -> FirstStep {
    let login = PasswordLogin {
        name: NAME.to_owned(),
        password: password(),
        fingerprint: None,
    };
    accounts.login(login, &origin()).await.unwrap()
}

/// Returns the session of an access token that is issued at the model's start, and so lasts until the model's end.
async fn session(accounts: &Accounts, clock: &ManualClock, tokens: &Tokens) -> Session {
    let now = clock.now();
    clock.set(START);
    let refreshed = accounts.refresh(&tokens.refresh, &origin()).await.unwrap();
    clock.set(now);
    let address = [127, 0, 0, 1].into();
    let session = accounts.session(Some(&refreshed.access), address).await;
    session.unwrap()
}
