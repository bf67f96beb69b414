//! The rules of accounts, on a store in memory whose tasks interleave like servers.

mod asks;
mod clocks;
mod ended_meanwhile;
mod forgetting;
mod half_way;
mod hops;
mod listing;
mod locks;
mod overtaken;
mod races;
mod remembered;
mod restored;
mod rotation;
mod sessions;
mod token_times;
mod tokens;

pub(super) use asks::asks;

pub(super) use crate::testing::command_line;

use std::{net::IpAddr, time::Duration};

use keyproof_mfa::otp::{Algorithm, Base32Profile, Digits, Secret, Totp};
use keyproof_store::Timestamp;

use super::{
    AccountTarget, AnswerError, ApplicationTokenChange, FirstStep, LoginError, NewUser,
    PasswordLogin, Role, Session, Tokens, TrustRequest, Unlocking, UserChange,
};
use crate::{
    Clock, Failure, Origin,
    testing::{Bench, PASSWORD, bench, origin, secret},
};

pub(super) const ADA: &str = "ada@example.org";
pub(super) const BOB: &str = "bob@example.org";

pub(super) const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) const STEP: Duration = Duration::from_secs(30);

/// The length of a first lockout.
pub(super) const LOCK: Duration = Duration::from_secs(5 * 60);

/// The change that revokes an application token.
pub(super) static REVOKED: ApplicationTokenChange = ApplicationTokenChange {
    description: None,
    is_revoked: Some(true),
};

/// An authenticator.
#[derive(Clone)]
pub(super) struct Phone(Totp);

impl Phone {
    pub(super) fn shows(&self, at: Timestamp) -> String {
        self.0.code(at.as_secs()).to_string()
    }

    /// A code that the authenticator does not show near this time.
    pub(super) fn never_shows(&self, at: Timestamp) -> String {
        let near: Vec<_> = (0..9)
            .map(|step| self.0.code(at.as_secs() + 30 * step - 120).to_string())
            .collect();
        let mut codes = (0..).map(|code| format!("{code:06}"));
        codes.find(|code| !near.contains(code)).unwrap()
    }
}

/// A bench with Ada, a user without a key.
pub(super) async fn with_ada() -> Bench {
    let bench = bench().await;
    add(&bench, ADA, Role::User).await;
    bench
}

pub(super) async fn add(bench: &Bench, name: &str, role: Role) {
    let new = NewUser {
        name: name.to_owned(),
        organisation: "Example Org".to_owned(),
        role,
    };
    bench
        .service
        .accounts
        .add_user(&new, secret(PASSWORD), &command_line())
        .await
        .unwrap();
}

pub(super) async fn log_in(
    bench: &Bench,
    name: &str,
    password: &str,
    fingerprint: Option<&str>,
) -> Result<FirstStep, Failure<LoginError>> {
    log_in_from(bench, name, password, fingerprint, &origin()).await
}

pub(super) async fn log_in_from(
    bench: &Bench,
    name: &str,
    password: &str,
    fingerprint: Option<&str>,
    origin: &Origin,
) -> Result<FirstStep, Failure<LoginError>> {
    let login = password_login(name, password, fingerprint);
    bench.service.accounts.login(login, origin).await
}

pub(super) fn password_login(
    name: &str,
    password: &str,
    fingerprint: Option<&str>,
) -> PasswordLogin {
    PasswordLogin {
        name: name.to_owned(),
        password: secret(password),
        fingerprint: fingerprint.map(ToOwned::to_owned),
    }
}

/// Logs in a user who needs no code with a browser, and returns the session's token.
pub(super) async fn in_browser(bench: &Bench, name: &str) -> String {
    let login = password_login(name, PASSWORD, None);
    let step = bench.service.accounts.sign_in(login, None, &origin()).await;
    match step.unwrap() {
        FirstStep::Authenticated(token) => token.to_string(),
        other => panic!("{other:?}"),
    }
}

/// Logs in a user with password and code, trusts the laptop, and returns the tokens.
pub(super) async fn log_in_by_code(bench: &Bench, name: &str, phone: &Phone) -> Tokens {
    let token = challenge(log_in(bench, name, PASSWORD, None).await);
    let (code, trust) = (phone.shows(bench.clock.now()), laptop());
    let answered = answer_challenge(bench, &token, &code, Some(&trust)).await;
    answered.unwrap()
}

pub(super) async fn answer_challenge(
    bench: &Bench,
    token: &str,
    code: &str,
    trusts: Option<&TrustRequest>,
) -> Result<Tokens, Failure<AnswerError>> {
    let (accounts, origin) = (&bench.service.accounts, origin());
    let answered = accounts.answer_challenge(token, code, trusts, &origin);
    answered.await
}

/// Logs in a user who needs no code, and returns the tokens.
pub(super) async fn tokens_of(bench: &Bench, name: &str) -> Tokens {
    tokens(log_in(bench, name, PASSWORD, None).await)
}

/// Logs in a user who needs no code, and returns the session.
pub(super) async fn signed_in(bench: &Bench, name: &str) -> Session {
    session(bench, &tokens_of(bench, name).await).await
}

/// Changes a user at the command line.
pub(super) async fn change(bench: &Bench, name: &str, change: UserChange) -> Option<Unlocking> {
    let (accounts, command) = (&bench.service.accounts, command_line());
    let changed = accounts.change_user(AccountTarget::Named(&command, name), change);
    changed.await.unwrap()
}

/// Sets a user's password at the command line.
pub(super) async fn set_password(bench: &Bench, name: &str, password: &str) {
    let (accounts, command) = (&bench.service.accounts, command_line());
    let set = accounts.set_user_password(name, secret(password), &command);
    set.await.unwrap();
}

#[track_caller]
pub(super) fn tokens(step: Result<FirstStep, Failure<LoginError>>) -> Tokens {
    match step {
        Ok(FirstStep::Authenticated(tokens)) => tokens,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
pub(super) fn challenge(step: Result<FirstStep, Failure<LoginError>>) -> String {
    match step {
        Ok(FirstStep::Challenged(token)) => token.to_string(),
        other => panic!("{other:?}"),
    }
}

pub(super) async fn session(bench: &Bench, tokens: &Tokens) -> Session {
    let accounts = &bench.service.accounts;
    accounts
        .session(Some(&tokens.access), ADDRESS)
        .await
        .unwrap()
}

/// Gives a user without a key an active one and waits for the end of its first code's time step.
pub(super) async fn enrol(bench: &Bench, name: &str) -> (Phone, Session, u32) {
    let session = signed_in(bench, name).await;
    let (phone, key) = activate(bench, &session).await;
    (phone, session, key)
}

/// Gives the session's user an active key.
pub(super) async fn activate(bench: &Bench, session: &Session) -> (Phone, u32) {
    let (phone, key) = pending(bench, session).await;
    let code = phone.shows(bench.clock.now());
    let accounts = asks(bench);
    accounts.activate_key(session, key, &code).await.unwrap();
    bench.clock.advance(STEP);
    (phone, key)
}

/// Gives the session's user a pending key.
pub(super) async fn pending(bench: &Bench, session: &Session) -> (Phone, u32) {
    let accounts = asks(bench);
    let enrolled = accounts.enrol_key(session, PASSWORD).await.unwrap();
    let shared = Secret::from_base32(&enrolled.secret, Base32Profile::Strict).unwrap();
    let phone = Phone(Totp::new(&shared, Algorithm::Sha1, Digits::SIX));
    (phone, enrolled.key.id)
}

pub(super) fn laptop() -> TrustRequest {
    TrustRequest {
        fingerprint: "laptop".to_owned(),
        replacing: None,
        browser: Some("Firefox".to_owned()),
        name: None,
        operating_system: Some("Debian".to_owned()),
    }
}
