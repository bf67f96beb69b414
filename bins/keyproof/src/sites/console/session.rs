//! Signing in with a token, showing it again, and signing out.

use http::StatusCode;
use keyproof_service::{Failure, access::SignInError};
use zeroize::Zeroizing;

use super::{
    Frame, HandlerResult, Signed, Visit, Visitor, addressing::with_notice, frame::Known, render,
};
use crate::sites::{
    cookies::Cookie,
    entries::Wrong,
    page::{pages, see_other},
    refusal::Refusal,
};

/// The error for an invalid token.
const UNKNOWN: &str =
    "This is not an operator’s token, or no longer. Paste the whole of it, from “keyproof_” on.";

/// The error for another session's token.
const ANOTHER: &str = "This is another token than the one that you are signed in with.";

/// The error for a form whose action needs the token again.
const NEEDED: &str = "Nothing is done yet. You last showed your token more than five minutes ago: show it once more.";

/// The field for the token in a form whose action weakens something.
pub(super) const CONFIRMATION: &str = "confirmation";

/// The same in the form for registers, whose page has two such forms.
pub(super) const REGISTERS_CONFIRMATION: &str = "registers-confirmation";

pages! {
    #[derive(::askama::Template)]
    Frame;

    SignIn("console/sign_in.html") {
        to: &'a str,
    }
    Confirm("console/confirm.html") {
        to: &'a str,
    }
}

impl Visit<Visitor> {
    /// Shows the sign-in page. Somebody who is signed in sees no notice, because a session may have begun since the
    /// redirect here. They are redirected onwards, unless the session may already have ended by another server's clock,
    /// which would redirect them here again.
    pub(super) async fn show_sign_in(self) -> HandlerResult {
        let to = &self.continue_url(self.exchange.query().first("to").unwrap_or_default());
        let mut notice = if self.is_sent_with("out") {
            Some("You are signed out.")
        } else if self.is_sent_with("everywhere") {
            Some("Every session of your token has ended.")
        } else if self.is_sent_with("over") && self.cookie(Cookie::Console).is_some() {
            Some(
                "Please sign in. A session ends after 15 minutes without use, after 8 hours, and with its token.",
            )
        } else {
            None
        };
        if notice.is_some()
            && let Some(cookie) = self.cookie(Cookie::Console)
        {
            match self.service().access.session_is_live(&cookie).await {
                Ok(true) => return Ok(see_other(to)),
                Err(Failure::Refused(_)) => {}
                // The session may still be valid.
                Ok(false) | Err(Failure::Storage(_)) => notice = None,
            }
        }
        let frame = Frame {
            notice,
            ..self.frame()
        };
        let mut response = render(&SignIn { frame: &frame, to }, StatusCode::OK)?;
        if notice.is_some() {
            self.forget(&mut response, Cookie::Console);
        }
        self.bind(&mut response);
        Ok(response)
    }

    pub(super) async fn sign_in(self) -> HandlerResult {
        let token = self.token();
        let to = &self.continue_url(self.typed("to"));
        let before = self.cookie(Cookie::Console);
        let before = before.as_deref().map(String::as_str);
        let access = &self.service().access;
        match access.sign_in(&token, before, &self.origin).await {
            Ok(session) => {
                let mut response = see_other(to);
                self.keep(&mut response, Cookie::Console, &session, None);
                self.forget(&mut response, Cookie::ConsoleVisit);
                Ok(response)
            }
            Err(failure) => {
                let frame = &self.frame_refusing(failure)?;
                let page = SignIn { frame, to };
                let mut response = render(&page, StatusCode::UNPROCESSABLE_ENTITY)?;
                self.bind(&mut response);
                Ok(response)
            }
        }
    }
}

impl Visit<Signed> {
    pub(super) async fn show_confirm(self) -> HandlerResult {
        let to = &self.continue_url(self.exchange.query().first("to").unwrap_or_default());
        let frame = &self.frame();
        render(&Confirm { frame, to }, StatusCode::OK)
    }

    /// Checks the token again, before an action that weakens something.
    pub(super) async fn confirm(self) -> HandlerResult {
        self.admit()?;
        let token = self.token();
        let to = &self.continue_url(self.typed("to"));
        let Signed {
            cookie, session, ..
        } = &self.who;
        let access = &self.service().access;
        let confirmed = access.confirm(&token, cookie, session, &self.origin);
        match confirmed.await {
            Ok(session) => {
                let mut response = see_other(&with_notice(to, "confirmed"));
                self.keep(&mut response, Cookie::Console, &session, None);
                Ok(response)
            }
            Err(failure) => {
                let frame = &self.frame_refusing(failure)?;
                render(&Confirm { frame, to }, StatusCode::UNPROCESSABLE_ENTITY)
            }
        }
    }

    /// Checks the token again if the form has one and the session needs it. Returns the new session's cookie, if the
    /// token confirms the session.
    pub(super) async fn confirm_by_form(&mut self) -> Result<Option<Zeroizing<String>>, Refusal> {
        if self.who.session.is_fresh() {
            return Ok(None);
        }
        let tokens = [CONFIRMATION, REGISTERS_CONFIRMATION].map(|field| self.typed(field).trim());
        let Some(token) = tokens.into_iter().find(|token| !token.is_empty()) else {
            return Ok(None);
        };
        self.admit()?;
        let Signed {
            cookie, session, ..
        } = &self.who;
        let access = &self.service().access;
        let confirmed = access.confirm(token, cookie, session, &self.origin).await;
        match confirmed {
            Ok(renewed) => Ok(Some(renewed)),
            Err(failure) => {
                self.who.unconfirmed = Some(refusal_text(failure)?);
                Ok(None)
            }
        }
    }

    /// Refuses a form whose action weakens something, at its field for the token, unless the token was shown recently
    /// or there.
    pub(super) fn token_shown(&self, field: &'static str) -> Result<(), Wrong> {
        if self.who.session.is_fresh() {
            Ok(())
        } else {
            Err(Wrong::at(field, self.who.unconfirmed.unwrap_or(NEEDED)))
        }
    }

    pub(super) async fn sign_out(self) -> HandlerResult {
        let access = &self.service().access;
        access.sign_out(&self.who.cookie, &self.origin).await?;
        Ok(self.signed_out("/console/sign-in?out"))
    }

    pub(super) async fn sign_out_everywhere(self) -> HandlerResult {
        let access = &self.service().access;
        let ended = access.sign_out_everywhere(&self.who.session, &self.origin);
        ended.await?;
        Ok(self.signed_out("/console/sign-in?everywhere"))
    }

    fn signed_out(&self, to: &str) -> keyproof_http::Response {
        let mut response = see_other(to);
        self.forget(&mut response, Cookie::Console);
        self.forget(&mut response, Cookie::ConsoleVisit);
        response
    }
}

impl<W: Known> Visit<W> {
    /// Returns the pasted token, without surrounding white space.
    fn token(&self) -> Zeroizing<String> {
        Zeroizing::new(self.typed("token").trim().to_owned())
    }

    /// Creates the frame with an error at the token.
    fn frame_refusing(&self, failure: Failure<SignInError>) -> Result<Frame, Refusal> {
        let text = refusal_text(failure)?;
        let mut frame = self.frame();
        frame.entries.wrong = Some(Wrong::at("token", text));
        Ok(frame)
    }
}

/// Returns the error for a token that was not accepted.
fn refusal_text(failure: Failure<SignInError>) -> Result<&'static str, Refusal> {
    Ok(match failure.refusal()? {
        SignInError::Unknown => UNKNOWN,
        SignInError::Another => ANOTHER,
    })
}
