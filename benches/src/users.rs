//! Users with active keys, and challenges for them to answer, made in this process on a server's store. Passwords are hashed at
//! almost no cost, because they are not measured.

use std::{convert::Infallible, num::NonZeroUsize, path::Path, sync::Arc, time::Duration};

use keyproof_auth::Cost;
use keyproof_otp::{Algorithm, Base32Profile, Digits, Secret, Totp};
use keyproof_service::{
    Action, AddressLimit, Clock, CommandLine, HashingSettings, ManualClock, Origin, Principal,
    Requester, Service,
    accounts::{FirstStep, NewUser, PasswordLogin, Role},
};
use keyproof_store::{
    MasterKey, MasterKeys, Store, SystemEntropy, Timestamp,
    sqlite::{SqliteEngine, SqliteOptions},
};
use serde_json::json;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use crate::Result;

/// A TOTP step.
pub const STEP: Duration = Duration::from_secs(30);

/// The password of all users.
const PASSWORD: &str = "correct horse";

/// Opens the store with this key at this path.
pub async fn open(path: &Path, key: &MasterKey, now: Timestamp) -> Result<Store> {
    let engine = SqliteEngine::open(path, &SqliteOptions::default())?;
    let entropy = Arc::new(SystemEntropy::new());
    Ok(Store::open(Arc::new(engine), MasterKeys::new(key), entropy, now).await?)
}

/// The users of one organisation.
pub struct Users {
    console: Arc<Service>,
    clock: Arc<ManualClock>,
    users: Vec<(String, Totp)>,
}

impl Users {
    /// Adds `count` users, each of whom has activated a key with the code of the clock's step.
    pub async fn enrol(store: Store, clock: Arc<ManualClock>, count: usize) -> Result<Self> {
        let hashing = HashingSettings {
            cost: Cost::insecure_for_tests(8, 1, 1)?,
            threads: NonZeroUsize::MIN,
            queue: count,
            address_limit: AddressLimit::NONE,
        };
        let console = Service::start(store, clock.clone(), hashing).await?;
        let now = clock.now();
        let mut tasks = JoinSet::new();
        for number in 0..count {
            tasks.spawn(enrol(Arc::clone(&console), format!("user{number}"), now));
        }
        let users = tasks.join_all().await.into_iter().collect::<Result<_>>()?;
        Ok(Self {
            console,
            clock,
            users,
        })
    }

    /// Advances the clock to the next step, which no user has used yet.
    pub fn next_step(&self) {
        self.clock.advance(STEP);
    }

    /// Returns bodies that answer a challenge of each of the users from `first` on, with the code of the clock's step.
    pub async fn challenge(&self, first: usize, count: usize) -> Result<Vec<String>> {
        let now = self.clock.now();
        let mut tasks = JoinSet::new();
        for (name, phone) in self.users.iter().skip(first).take(count) {
            let (console, name) = (Arc::clone(&self.console), name.clone());
            let code = phone.code(now.as_secs()).to_string();
            tasks.spawn(async move {
                let step = console.accounts.login(password_of(name), &origin()).await?;
                let FirstStep::Challenged(token) = step else {
                    return Err("no code was asked for".into());
                };
                Ok(json!({ "mfa_token": *token, "code": code }).to_string())
            });
        }
        tasks.join_all().await.into_iter().collect()
    }
}

/// Creates an account with an active key.
async fn enrol(console: Arc<Service>, name: String, now: Timestamp) -> Result<(String, Totp)> {
    let accounts = &console.accounts;
    let new = NewUser {
        name: name.clone(),
        organisation: "org".to_owned(),
        role: Role::User,
    };
    let password = || Zeroizing::new(PASSWORD.to_owned());
    let root = CommandLine::of("root".to_owned());
    accounts.add_user(&new, password(), &root).await?;
    let step = accounts.login(password_of(name.clone()), &origin()).await?;
    let FirstStep::Authenticated(tokens) = step else {
        return Err("a code was asked for".into());
    };
    let session = accounts
        .session(Some(&tokens.access), [127, 0, 0, 1].into())
        .await?;
    let person = async |act| accounts.person(session.clone(), act, &origin()).await;
    let adding = person(Action::MfaKeyAdd).await?;
    let enrolled = accounts.enrol_key(&adding, sent(password())).await?;
    let secret = Secret::from_base32(&enrolled.secret, Base32Profile::Strict)?;
    let phone = Totp::new(&secret, Algorithm::Sha1, Digits::SIX);
    let code = phone.code(now.as_secs()).to_string();
    let person = accounts
        .person(session, Action::MfaKeyActivate, &origin())
        .await?;
    let code = sent(Zeroizing::new(code));
    accounts
        .activate_key(&person, enrolled.key.id, code)
        .await?;
    Ok((name, phone))
}

/// Returns a valid body.
fn sent<T>(body: T) -> std::result::Result<T, Infallible> {
    Ok(body)
}

fn password_of(name: String) -> PasswordLogin {
    PasswordLogin {
        name,
        password: Zeroizing::new(PASSWORD.to_owned()),
        fingerprint: None,
    }
}

fn origin() -> Origin {
    Origin {
        who: Principal::Anonymous,
        request_id: None,
        address: None,
        requester: Requester::default(),
        warrants: Vec::new(),
    }
}
