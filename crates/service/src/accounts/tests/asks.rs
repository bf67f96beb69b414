//! Use cases as a session calls them: permission first.

use std::{convert::Infallible, ops::Deref};

use zeroize::Zeroizing;

use crate::{
    Accounts, Action, Failure,
    accounts::{
        ActivateKeyError, AddApplicationTokenError, ApplicationTokenChange,
        ChangeApplicationTokenError, ChangePasswordError, DeviceView, EnrolKeyError, EnrolledKey,
        Manager, NewApplicationToken, PasswordChange, Person, RecoveryCodesError,
        RecoveryCodesRequest, RemoveDeviceError, RemoveKeyError, Session, TargetUser,
    },
    testing::{Bench, origin, secret},
};

/// The accounts, with the permissions requested on behalf of sessions.
#[derive(Clone, Copy)]
pub(in crate::accounts) struct Asks<'a>(&'a Accounts);

pub(in crate::accounts) fn asks(bench: &Bench) -> Asks<'_> {
    Asks(&bench.service.accounts)
}

impl Deref for Asks<'_> {
    type Target = Accounts;

    fn deref(&self) -> &Accounts {
        self.0
    }
}

/// The result of a use case whose body was readable.
type Sent<T, E> = Result<T, Failure<E>>;

impl Asks<'_> {
    async fn person(self, session: &Session, act: Action) -> Person {
        let person = self.0.person(session.clone(), act, &origin()).await;
        person.unwrap()
    }

    async fn manager(self, session: &Session, act: Action, whose: TargetUser) -> Manager {
        let origin = origin();
        let manager = self.0.manager(session.clone(), act, whose, &origin);
        manager.await.unwrap()
    }

    pub(in crate::accounts) async fn enrol_key(
        self,
        session: &Session,
        password: &str,
    ) -> Sent<EnrolledKey, EnrolKeyError<Infallible>> {
        let person = self.person(session, Action::MfaKeyAdd).await;
        self.0.enrol_key(&person, Ok(secret(password))).await
    }

    pub(in crate::accounts) async fn activate_key(
        self,
        session: &Session,
        id: u32,
        code: &str,
    ) -> Sent<(), ActivateKeyError<Infallible>> {
        let person = self.person(session, Action::MfaKeyActivate).await;
        self.0.activate_key(&person, id, Ok(secret(code))).await
    }

    pub(in crate::accounts) async fn remove_key(
        self,
        session: &Session,
        whose: TargetUser,
        id: u32,
    ) -> Sent<(), RemoveKeyError> {
        let manager = self.manager(session, Action::MfaKeyRemove, whose).await;
        self.0.remove_key(&manager, id).await
    }

    pub(in crate::accounts) async fn devices(
        self,
        session: &Session,
        whose: TargetUser,
    ) -> Sent<Vec<DeviceView>, RemoveDeviceError> {
        let manager = self
            .manager(session, Action::TrustedDeviceList, whose)
            .await;
        self.0.devices(&manager).await
    }

    pub(in crate::accounts) async fn remove_device(
        self,
        session: &Session,
        whose: TargetUser,
        id: u32,
    ) -> Sent<(), RemoveDeviceError> {
        let manager = self
            .manager(session, Action::TrustedDeviceRemove, whose)
            .await;
        self.0.remove_device(&manager, id).await
    }

    pub(in crate::accounts) async fn make_recovery_codes(
        self,
        session: &Session,
        password: &str,
        code: Option<&str>,
    ) -> Sent<Vec<Zeroizing<String>>, RecoveryCodesError<Infallible>> {
        let person = self.person(session, Action::RecoveryCodesMake).await;
        let (password, code) = (secret(password), code.map(secret));
        let request = RecoveryCodesRequest { password, code };
        self.0.make_recovery_codes(&person, Ok(request)).await
    }

    pub(in crate::accounts) async fn change_password(
        self,
        session: &Session,
        old: &str,
        new: &str,
    ) -> Sent<(), ChangePasswordError<Infallible>> {
        let person = self.person(session, Action::UserSetPassword).await;
        let (old, new) = (secret(old), secret(new));
        let change = PasswordChange { old, new };
        self.0.change_password(&person, Ok(change)).await
    }

    /// Adds an application token for all addresses, without an end.
    pub(in crate::accounts) async fn application_token(
        self,
        session: &Session,
    ) -> Sent<Zeroizing<String>, AddApplicationTokenError<Infallible>> {
        let new = NewApplicationToken::default();
        self.add_application_token(session, new).await
    }

    pub(in crate::accounts) async fn add_application_token(
        self,
        session: &Session,
        new: NewApplicationToken,
    ) -> Sent<Zeroizing<String>, AddApplicationTokenError<Infallible>> {
        let act = Action::ApplicationTokenAdd;
        let editor = self.0.editor(session.clone(), act, &origin()).await;
        self.0
            .add_application_token(&editor.unwrap(), Ok(new))
            .await
    }

    pub(in crate::accounts) async fn change_application_token(
        self,
        session: &Session,
        id: u32,
        change: &ApplicationTokenChange,
    ) -> Sent<(), ChangeApplicationTokenError<Infallible>> {
        let act = Action::ApplicationTokenChange;
        let person = self.person(session, act).await;
        let changed = self
            .0
            .change_application_token(&person, id, Ok(change.clone()));
        changed.await
    }
}
