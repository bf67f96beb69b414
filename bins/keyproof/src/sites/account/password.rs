//! A user's password: changed, or asked for once more.

use std::{convert::Infallible, time::Duration};

use http::StatusCode;
use keyproof_auth::AuthError;
use keyproof_http::{Response, retry_after};
use keyproof_service::{
    Action,
    accounts::{ChangePasswordError, PasswordChange, Unproven},
};

use super::{Answered, Signed, Visit, pages::PasswordPage, render, texts::Texts};
use crate::sites::{cookies::Cookie, page::see_other, refusal::Refusal};

impl Visit<Signed> {
    pub(super) async fn show_password(self) -> Answered {
        let frame = self.frame("/account/password");
        render(&PasswordPage { frame: &frame }, StatusCode::OK)
    }

    pub(super) async fn change_password(self) -> Answered {
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
        let changed = self
            .accounts()
            .change_password::<Infallible>(&person, Ok(passwords));
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
            ChangePasswordError::Password(error) => {
                let is_short = matches!(error, AuthError::PasswordTooShort { .. });
                let text = if is_short {
                    t.password_short
                } else {
                    t.password_long
                };
                wrong("new", text.to_owned())
            }
            ChangePasswordError::Undecided(why) => Err(why.into()),
            ChangePasswordError::Unproven(why) => {
                let told = unproven(why, t)?;
                let field = if told.wait.is_some() { "" } else { "old" };
                Ok(locked(wrong(field, told.text)?, told.wait))
            }
        }
    }
}

/// Why a password that was asked for again is not accepted.
pub(super) struct NotAccepted {
    pub(super) text: String,
    /// How long nothing is judged, if so.
    pub(super) wait: Option<Duration>,
}

pub(super) fn unproven(why: Unproven, t: &'static Texts) -> Result<NotAccepted, Refusal> {
    match why {
        Unproven::Hashing(error) => Err(error.into()),
        Unproven::Locked { wait } => Ok(NotAccepted {
            text: t.locked(wait),
            wait: Some(wait),
        }),
        Unproven::WrongPassword => Ok(NotAccepted {
            text: t.password_wrong.to_owned(),
            wait: None,
        }),
    }
}

/// The page of somebody who is locked, if they are.
pub(super) fn locked(mut response: Response, wait: Option<Duration>) -> Response {
    if let Some(wait) = wait {
        *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        retry_after(response.headers_mut(), wait);
    }
    response
}
