//! A user's password: changing it, or checking it again.

use std::{convert::Infallible, time::Duration};

use http::StatusCode;
use keyproof_auth::NewPasswordError;
use keyproof_service::{
    Action,
    accounts::{ChangePasswordError, PasswordChange, PasswordRefused},
};

use super::{HandlerResult, Signed, Visit, pages::PasswordPage, render, texts::Texts};
use crate::sites::{
    cookies::Cookie,
    page::{limited, see_other},
    refusal::Refusal,
};

impl Visit<Signed> {
    pub(super) async fn show_password(self) -> HandlerResult {
        let frame = self.frame("/account/password");
        render(&PasswordPage { frame: &frame }, StatusCode::OK)
    }

    pub(super) async fn change_password(self) -> HandlerResult {
        let t = self.t();
        let wrong = |field, text: String| {
            let frame = self.frame_with("/account/password", field, text);
            render(
                &PasswordPage { frame: &frame },
                StatusCode::UNPROCESSABLE_ENTITY,
            )
        };
        if self.typed("new") != self.typed("repeat") {
            return wrong("repeat", t.passwords_differ.to_owned());
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
        match why {
            ChangePasswordError::Body(never) => match never {},
            ChangePasswordError::Password(NewPasswordError::TooShort { .. }) => {
                wrong("new", t.password_short.to_owned())
            }
            ChangePasswordError::Password(_) => wrong("new", t.password_long.to_owned()),
            ChangePasswordError::SessionRefused(why) => Err(why.into()),
            ChangePasswordError::PasswordRefused(why) => {
                let (field, text, wait) = password_refused(why, "old", t)?;
                Ok(limited(wrong(field, text)?, wait))
            }
        }
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
