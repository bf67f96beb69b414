//! A user's password: changing it, or checking it again.

use std::{convert::Infallible, time::Duration};

use http::StatusCode;
use keyproof_auth::NewPasswordError;
use keyproof_service::{
    Action,
    accounts::{ChangePasswordError, PasswordChange, PasswordRefused},
};

use super::{Frame, HandlerResult, Signed, Visit, pages::PasswordPage, render, texts::Texts};
use crate::sites::{
    cookies::Cookie,
    page::{limited, see_other},
    refusal::Refusal,
};

const HERE: &str = "/account/password";

impl Visit<Signed> {
    pub(super) async fn show_password(self) -> HandlerResult {
        self.password_page(&self.frame(HERE), StatusCode::OK).await
    }

    async fn password_page(&self, frame: &Frame, status: StatusCode) -> HandlerResult {
        let overview = self.accounts().overview(self.who.browser.session()).await?;
        let may_decide = overview.may_decide;
        render(&PasswordPage { frame, may_decide }, status)
    }

    /// Shows the page with an error.
    async fn password_page_with(&self, (field, text, wait): Told) -> HandlerResult {
        let frame = self.frame_with(HERE, field, text);
        let page = self.password_page(&frame, StatusCode::UNPROCESSABLE_ENTITY);
        Ok(limited(page.await?, wait))
    }

    pub(super) async fn change_password(self) -> HandlerResult {
        let t = self.t();
        if self.typed("new") != self.typed("repeat") {
            let told = ("repeat", t.passwords_differ.to_owned(), None);
            return self.password_page_with(told).await;
        }
        let person = self.person(Action::UserSetPassword).await?;
        let passwords = PasswordChange {
            old: self.secret("old"),
            new: self.secret("new"),
        };
        let accounts = self.accounts();
        let changed = accounts.change_password::<Infallible>(&person, Ok(passwords));
        let why = match changed.await {
            Ok(()) => {
                let mut response = see_other("/account/sign-in?changed");
                self.forget(&mut response, Cookie::Account);
                return Ok(response);
            }
            Err(failure) => failure.refusal()?,
        };
        let told = match why {
            ChangePasswordError::Body(never) => match never {},
            ChangePasswordError::Password(NewPasswordError::TooShort { .. }) => {
                ("new", t.password_short.to_owned(), None)
            }
            ChangePasswordError::Password(_) => ("new", t.password_long.to_owned(), None),
            ChangePasswordError::SessionRefused(why) => return Err(why.into()),
            ChangePasswordError::PasswordRefused(why) => password_refused(why, "old", t)?,
        };
        self.password_page_with(told).await
    }
}

/// An error: the field, the text, and how long nothing is checked, if so.
pub(super) type Told = (&'static str, String, Option<Duration>);

/// Returns the error for a password that was checked again, in this field.
pub(super) fn password_refused(
    why: PasswordRefused,
    field: &'static str,
    t: &'static Texts,
) -> Result<Told, Refusal> {
    match why {
        PasswordRefused::Hashing(error) => Err(error.into()),
        PasswordRefused::Locked { wait } => Ok(("", t.locked(wait), Some(wait))),
        PasswordRefused::WrongPassword => Ok((field, t.password_wrong.to_owned(), None)),
    }
}
