//! Signing in with a password, then a code; confirming both before an action that makes an account less safe; and
//! signing out.

use http::StatusCode;
use keyproof_http::Response;
use keyproof_service::{
    Action, Failure,
    accounts::{AnswerError, FirstStep, LoginError, PasswordLogin, TrustRequest},
};
use zeroize::Zeroizing;

use super::{
    HandlerResult, Known, Signed, Visit, Visitor,
    pages::{CodePage, Confirm, Frame, Help, SignIn, State},
    password::Told,
    render,
    return_to::{OVERVIEW, page_of, with_return_to},
    texts::Texts,
};
use crate::sites::{
    cookies::Cookie,
    page::{limited, see_other},
    refusal::Refusal,
    user_agent,
};

impl Visit<Visitor> {
    /// Shows the help page, also to somebody who is signed in. This does not count as a use of their session. If the
    /// session cannot be read, the page is shown without it.
    pub(super) async fn help(self) -> HandlerResult {
        if let Some(cookie) = self.cookie(Cookie::Account)
            && let Ok(browser) = self.accounts().peek_session(&cookie).await
        {
            return self.by(Signed { cookie, browser }).help_page();
        }
        let mut response = self.help_page()?;
        self.bind(&mut response);
        Ok(response)
    }

    /// Shows the sign-in page. Somebody who is signed in sees no notice, because a session may have begun since the
    /// redirect here. They are redirected onwards, unless the session may already have ended by another server's clock,
    /// which would redirect them here again.
    pub(super) async fn show_sign_in(self) -> HandlerResult {
        let t = self.t();
        let mut notice = if self.is_sent_with("changed") {
            Some(t.password_changed)
        } else if self.is_sent_with("out") {
            Some(t.signed_out)
        } else if self.is_sent_with("over") && self.cookie(Cookie::Account).is_some() {
            Some(t.session_over)
        } else {
            None
        };
        if notice.is_some()
            && let Some(cookie) = self.cookie(Cookie::Account)
        {
            match self.accounts().session_is_live(&cookie).await {
                Ok(true) => return Ok(see_other(self.return_page())),
                Err(Failure::Refused(_)) => {}
                // The session may still be valid.
                Ok(false) | Err(Failure::Storage(_)) => notice = None,
            }
        }
        let frame = Frame {
            notice,
            to: Some(self.return_page()).filter(|to| *to != OVERVIEW),
            ..self.frame("/account/sign-in")
        };
        let mut response = render(&SignIn { frame: &frame }, StatusCode::OK)?;
        if notice.is_some() {
            self.forget(&mut response, Cookie::Account);
        }
        self.bind(&mut response);
        Ok(response)
    }

    pub(super) async fn sign_in(self) -> HandlerResult {
        let login = PasswordLogin {
            // Keyboards with completion add a space, and no name begins or ends with one.
            name: self.typed("name").trim().to_owned(),
            password: self.secret("password"),
            fingerprint: self.cookie(Cookie::Device).map(|it| it.to_string()),
        };
        let before = self.cookie(Cookie::Account);
        let before = before.as_deref().map(String::as_str);
        let step = self.accounts().sign_in(login, before, &self.origin);
        match step.await {
            Ok(step) => Ok(self.stepped(step, page_of(self.typed("to")))),
            Err(failure) => {
                let t = self.t();
                let (field, text, wait) =
                    refusal_text(failure, "name", t.name_or_password_wrong, t)?;
                let mut frame = Frame {
                    to: Some(page_of(self.typed("to"))).filter(|to| *to != OVERVIEW),
                    ..self.frame_with("/account/sign-in", field, text)
                };
                frame.entries.filled = vec![("name", self.typed("name").to_owned())];
                let page = SignIn { frame: &frame };
                let mut page = render(&page, StatusCode::UNPROCESSABLE_ENTITY)?;
                self.bind(&mut page);
                Ok(limited(page, wait))
            }
        }
    }

    pub(super) async fn show_code(self) -> HandlerResult {
        if self.who.is_new {
            return Err(Refusal::SignInFirst(None));
        }
        let frame = Frame {
            to: Some(self.return_page()),
            ..self.frame("/account/code")
        };
        render(&CodePage { frame: &frame }, StatusCode::OK)
    }

    pub(super) async fn answer(self) -> HandlerResult {
        let (browser, system) = user_agent::names(self.exchange.headers());
        // A new fingerprint each time, so that a copy of a revoked one is not trusted again.
        let trust = self.is_ticked("trust").then(|| TrustRequest {
            fingerprint: self.site.service.draw_text().to_string(),
            replacing: self.cookie(Cookie::Device).map(|it| it.to_string()),
            browser: browser.map(ToOwned::to_owned),
            name: None,
            operating_system: system.map(ToOwned::to_owned),
        });
        let before = self.cookie(Cookie::Account);
        let code = self.code();
        let answered = self.accounts().answer_in_browser(
            &self.who.visit,
            &code,
            trust.as_ref(),
            before.as_deref().map(String::as_str),
            &self.origin,
        );
        let why = match answered.await {
            Ok(token) => {
                let mut response = see_other(page_of(self.typed("to")));
                self.keep(&mut response, Cookie::Account, &token, None);
                self.forget(&mut response, Cookie::Visit);
                if let Some(trust) = &trust {
                    let trusted = Some(self.accounts().device_lifetime());
                    self.keep(&mut response, Cookie::Device, &trust.fingerprint, trusted);
                }
                return Ok(response);
            }
            Err(failure) => failure.refusal()?,
        };
        let t = self.t();
        let (field, text, wait) = match why {
            // A random value has the form of a fingerprint, and the browser's names are ours.
            AnswerError::Device(_) => return Err(Refusal::Broken),
            AnswerError::Locked { wait } => ("", t.locked(wait), Some(wait)),
            AnswerError::Refused => ("code", t.code_late.to_owned(), None),
        };
        let mut frame = Frame {
            to: Some(page_of(self.typed("to"))),
            ..self.frame_with("/account/code", field, text)
        };
        frame.entries.filled = vec![("trust", self.typed("trust").to_owned())];
        let page = CodePage { frame: &frame };
        let page = render(&page, StatusCode::UNPROCESSABLE_ENTITY)?;
        Ok(limited(page, wait))
    }
}

impl Visit<Signed> {
    pub(super) async fn show_confirm(self) -> HandlerResult {
        let frame = Frame {
            to: Some(self.return_page()),
            ..self.frame("/account/confirm")
        };
        self.confirming(&frame, StatusCode::OK).await
    }

    /// The whole login again as the same user, including the code in a trusted browser.
    pub(super) async fn confirm(self) -> HandlerResult {
        self.admit()?;
        let to = page_of(self.typed("to"));
        let login = PasswordLogin {
            name: self.who.browser.session().name().to_owned(),
            password: self.secret("password"),
            fingerprint: None,
        };
        let accounts = self.accounts();
        let step = accounts.sign_in(login, Some(&self.who.cookie), &self.origin);
        match step.await {
            Ok(step) => Ok(self.stepped(step, to)),
            Err(failure) => {
                let t = self.t();
                let (field, text, wait) = refusal_text(failure, "password", t.password_wrong, t)?;
                let frame = Frame {
                    to: Some(to),
                    ..self.frame_with("/account/confirm", field, text)
                };
                let page = self.confirming(&frame, StatusCode::UNPROCESSABLE_ENTITY);
                Ok(limited(page.await?, wait))
            }
        }
    }

    async fn confirming(&self, frame: &Frame, status: StatusCode) -> HandlerResult {
        let overview = self.accounts().overview(self.who.browser.session()).await?;
        let page = Confirm {
            frame,
            has_phone: State::of(overview.user.key.as_ref()).is_active(),
        };
        render(&page, status)
    }

    pub(super) async fn end_sessions(self) -> HandlerResult {
        let person = self.person(Action::UserSessionsEnd).await?;
        let accounts = self.accounts();
        let ended = accounts.end_other_sessions(&person, &self.who.cookie);
        let token = ended.await?;
        let mut response = see_other("/account?ended");
        self.keep(&mut response, Cookie::Account, &token, None);
        Ok(response)
    }

    pub(super) async fn sign_out(self) -> HandlerResult {
        let ended = self.accounts().sign_out(&self.who.cookie, &self.origin);
        ended.await?;
        let mut response = see_other("/account/sign-in?out");
        self.forget(&mut response, Cookie::Account);
        self.forget(&mut response, Cookie::Visit);
        Ok(response)
    }
}

impl<W: Known> Visit<W> {
    fn help_page(&self) -> HandlerResult {
        let frame = self.frame("/account/help");
        render(&Help { frame: &frame }, StatusCode::OK)
    }
}

impl<W> Visit<W> {
    /// Returns the page that the address names for the return.
    fn return_page(&self) -> &'static str {
        page_of(self.exchange.query().first("to").unwrap_or_default())
    }

    /// Redirects to the next step, with its token.
    fn stepped(&self, step: FirstStep<Zeroizing<String>>, to: &'static str) -> Response {
        match step {
            FirstStep::Authenticated(token) => {
                let mut response = see_other(to);
                self.keep(&mut response, Cookie::Account, &token, None);
                self.forget(&mut response, Cookie::Visit);
                response
            }
            FirstStep::Challenged(token) => {
                let mut response = see_other(&with_return_to("/account/code", to));
                self.keep(&mut response, Cookie::Visit, &token, None);
                response
            }
        }
    }
}

/// Returns the error for a password that was not accepted.
fn refusal_text(
    failure: Failure<LoginError>,
    field: &'static str,
    wrong: &str,
    t: &'static Texts,
) -> Result<Told, Refusal> {
    match failure.refusal()? {
        LoginError::Hashing(error) => Err(error.into()),
        LoginError::Locked { wait } => Ok(("", t.locked(wait), Some(wait))),
        LoginError::Refused => Ok((field, wrong.to_owned(), None)),
    }
}
