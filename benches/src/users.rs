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
        let console = service(store, clock.clone(), count).await?;
        let now = clock.now();
        let mut tasks = JoinSet::new();
        for number in 0..count {
            let console = Arc::clone(&console);
            tasks.spawn(async move {
                let new = NewUser {
                    name: format!("user{number}"),
                    organisation: "org".to_owned(),
                    role: Role::User,
                };
                let (_, phone) = enrol(&console, &new, now).await?;
                Ok((new.name, phone))
            });
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
                let anonymous = origin(Principal::Anonymous);
                let step = console.accounts.login(password_of(&name), &anonymous);
                let FirstStep::Challenged(token) = step.await? else {
                    return Err("no code was asked for".into());
                };
                Ok(json!({ "mfa_token": *token, "code": code }).to_string())
            });
        }
        tasks.join_all().await.into_iter().collect()
    }
}

/// Starts the use cases as a server does, except that passwords are hashed at almost no cost. At most `queue` hashes wait.
pub async fn service(store: Store, clock: Arc<dyn Clock>, queue: usize) -> Result<Arc<Service>> {
    let hashing = HashingSettings {
        cost: Cost::insecure_for_tests(8, 1, 1)?,
        threads: NonZeroUsize::MIN,
        queue,
        address_limit: AddressLimit::NONE,
    };
    Ok(Service::start(store, clock, hashing).await?)
}

/// Adds a user with an active key. Returns the key's secret in Base32, and the phone with it.
pub async fn enrol(service: &Service, new: &NewUser, now: Timestamp) -> Result<(String, Totp)> {
    let accounts = &service.accounts;
    let anonymous = origin(Principal::Anonymous);
    accounts.add_user(new, password(), &command_line()).await?;
    let step = accounts.login(password_of(&new.name), &anonymous).await?;
    let FirstStep::Authenticated(tokens) = step else {
        return Err("a code was asked for".into());
    };
    let address = [127, 0, 0, 1].into();
    let session = accounts.session(Some(&tokens.access), address).await?;
    let person = async |act| accounts.person(session.clone(), act, &anonymous).await;
    let adding = person(Action::MfaKeyAdd).await?;
    let enrolled = accounts.enrol_key(&adding, sent(password())).await?;
    let secret = Secret::from_base32(&enrolled.secret, Base32Profile::Strict)?;
    let phone = Totp::new(&secret, Algorithm::Sha1, Digits::SIX);
    let code = phone.code(now.as_secs()).to_string();
    let activating = person(Action::MfaKeyActivate).await?;
    let code = sent(Zeroizing::new(code));
    accounts
        .activate_key(&activating, enrolled.key.id, code)
        .await?;
    Ok((enrolled.secret.to_string(), phone))
}

/// Returns the origin of a person at the console, or of an anonymous client.
pub fn origin(who: Principal) -> Origin {
    Origin {
        who,
        request_id: None,
        address: None,
        requester: Requester::default(),
        warrants: Vec::new(),
    }
}

/// Returns a valid body.
pub fn sent<T>(body: T) -> std::result::Result<T, Infallible> {
    Ok(body)
}

/// Returns the credentials of a user.
pub fn password_of(name: &str) -> PasswordLogin {
    PasswordLogin {
        name: name.to_owned(),
        password: password(),
        fingerprint: None,
    }
}

/// Returns the password of all users and instances.
pub fn password() -> Zeroizing<String> {
    Zeroizing::new("correct horse".to_owned())
}

/// Returns the caller that may do everything.
pub fn command_line() -> CommandLine {
    CommandLine::of("root".to_owned())
}
