//! Refusals shown in place of a page, and the one table of the refusals of `accounts`.

use keyproof_http::Response;
use keyproof_service::accounts::{NotPermitted, RemoveDeviceError, SessionError, SessionRefused};

use super::{
    Context,
    pages::{Frame, RefusalPage},
    return_to::{OVERVIEW, with_return_to},
    texts::Texts,
};
use crate::sites::{page::see_other, refusal::Refusal};

/// Returns a refusal's page, in place of the requested one.
pub(super) fn refused(refusal: &Refusal, context: &Context) -> Response {
    if let Some(location) = location(refusal, context) {
        return see_other(&location);
    }
    let t = Texts::of(context.language);
    let (title, text) = words(refusal, t);
    let request = context.request_id.to_string();
    let is_ours = refusal.status().is_server_error();
    let page = RefusalPage {
        frame: &Frame::of_nobody(t, "/account/help"),
        title,
        text: &text,
        stays_signed_in: context.has_session && refusal.ends_no_session(),
        request: is_ours.then_some(&*request),
    };
    refusal.answered_with(&page)
}

/// Returns where the browser is redirected to, if it is.
fn location(refusal: &Refusal, context: &Context) -> Option<String> {
    match refusal {
        Refusal::ConfirmFirst(_) => Some(with_return_to("/account/confirm", context.page)),
        Refusal::SignInFirst(_) if context.page != OVERVIEW => {
            Some(format!("/account/sign-in?over&to={}", context.page))
        }
        Refusal::SignInFirst(_) => Some("/account/sign-in?over".to_owned()),
        _ => None,
    }
}

fn words(refusal: &Refusal, t: &'static Texts) -> (&'static str, String) {
    let (title, text) = match refusal {
        Refusal::Away => (t.away_title, t.away_text),
        Refusal::Busy => (t.busy_title, t.busy_text),
        Refusal::Broken => (t.broken_title, t.broken_text),
        Refusal::ConfirmFirst(_) | Refusal::SignInFirst(_) => (t.sign_in, t.session_over),
        Refusal::Forged => (t.forged_title, t.forged_text),
        Refusal::Insecure => (t.insecure_title, t.insecure_text),
        Refusal::Limited(wait) => return (t.limited_title, t.limited(*wait)),
        Refusal::Malformed(_) => (t.malformed_title, t.malformed_text),
        Refusal::Method(_) => (t.method_title, t.method_text),
        Refusal::NotFound | Refusal::OutOfReach => (t.not_found_title, t.not_found_text),
        Refusal::NotServed => (t.not_served_title, t.not_served_text),
        Refusal::Unsure => (t.unsure_title, t.unsure_text),
    };
    (title, text.to_owned())
}

impl From<SessionRefused> for Refusal {
    fn from(error: SessionRefused) -> Self {
        match error {
            SessionRefused::Ended | SessionRefused::Expired => Self::SignInFirst(None),
            SessionRefused::FactorNeeded => Self::ConfirmFirst(None),
        }
    }
}

impl From<SessionError> for Refusal {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Expired | SessionError::Invalid | SessionError::Missing => {
                Self::SignInFirst(None)
            }
        }
    }
}

impl From<NotPermitted> for Refusal {
    fn from(NotPermitted: NotPermitted) -> Self {
        // Only application tokens lack permission for their own user's data, and none has a session here.
        Self::SignInFirst(None)
    }
}

impl From<RemoveDeviceError> for Refusal {
    fn from(error: RemoveDeviceError) -> Self {
        match error {
            RemoveDeviceError::SessionRefused(why) => why.into(),
            RemoveDeviceError::Unknown => Self::NotFound,
            RemoveDeviceError::UserUnknown => Self::SignInFirst(None),
        }
    }
}
