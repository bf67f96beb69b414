//! Refusals shown to an operator in place of a page.

use keyproof_http::{RequestId, Response};
use keyproof_service::access::{NoSession, OutOfScope};

use super::{
    addressing::{confirm, query},
    certificates,
    frame::Frame,
    tpms,
    words::seconds,
};
use crate::sites::{
    form::MAX_VALUE,
    page::{pages, see_other},
    refusal::Refusal,
};

pages! {
    #[derive(::askama::Template)]
    Frame;

    RefusalPage("console/refusal.html") {
        title: &'a str,
        text: &'a str,
        /// Whether the page says that the session has not ended.
        stays_signed_in: bool,
        request: Option<&'a str>,
    }
}

/// Returns a refusal's page, in place of the requested one. `has_session` is whether the request has a session's
/// cookie.
pub(super) fn refused(refusal: &Refusal, request_id: RequestId, has_session: bool) -> Response {
    if let Some(location) = location(refusal) {
        return see_other(&location);
    }
    let (title, text) = words(refusal);
    let request = request_id.to_string();
    let is_ours = refusal.status().is_server_error();
    let page = RefusalPage {
        frame: &Frame::of_nobody(),
        title,
        text: &text,
        stays_signed_in: has_session && refusal.ends_no_session(),
        request: is_ours.then_some(&*request),
    };
    refusal.answered_with(&page)
}

/// Returns where the browser is redirected to, if it is.
fn location(refusal: &Refusal) -> Option<String> {
    match refusal {
        Refusal::ConfirmFirst(page) => Some(confirm(page.as_deref().unwrap_or_default())),
        Refusal::SignInFirst(page) => Some(match page {
            None => "/console/sign-in?over".to_owned(),
            Some(page) => format!("/console/sign-in?over&{}", query(&[("to", page)])),
        }),
        _ => None,
    }
}

fn words(refusal: &Refusal) -> (&'static str, String) {
    let (title, text) = match refusal {
        Refusal::Away => (
            "The database does not answer",
            "The server cannot answer without it. Try again in a moment; if that goes on, check the database and the server’s log.",
        ),
        Refusal::Busy => (
            "The server is busy",
            "The server cannot answer just now. Try again in a moment.",
        ),
        Refusal::Broken => (
            "Something is wrong with this server",
            "Look for the request in its log, by the number below.",
        ),
        Refusal::ConfirmFirst(_) | Refusal::SignInFirst(_) => ("Sign in", "Sign in first."),
        Refusal::Forged => (
            "This form is out of date",
            "It was filled in before you signed in or out or showed your token again, perhaps in another window; or on a page \
             that is not ours. Nothing was done. Go back, load the page again, and fill it in once more. If that happens each \
             time, a proxy in front of this server does not preserve Host, or does not send X-Forwarded-Proto.",
        ),
        Refusal::Insecure => (
            "No safe connection",
            "Others could read your token on its way to the server. Open this page with https:// in front; on the machine that \
             keyproof runs on, http://localhost works, too.",
        ),
        Refusal::Limited(wait) => {
            let seconds = seconds(*wait);
            let text = format!("Too many requests came from your address: try again in {seconds}.");
            return ("Too many requests", text);
        }
        Refusal::Malformed(_) => {
            let text = format!(
                "What was sent is not a form of this page, or more than it takes: one certificate has at most {} KiB, a file of \
                 several {} KiB, and a line {MAX_VALUE} characters. Nothing was done.",
                certificates::LONGEST / 1024,
                tpms::LONGEST / 1024,
            );
            return ("This cannot be read", text);
        }
        Refusal::Method(_) => (
            "That is not possible here",
            "This address cannot be opened in this way. Nothing was done.",
        ),
        Refusal::NotFound => (
            "There is no such page",
            "The address may be mistyped, or the page no longer exists.",
        ),
        Refusal::NotServed => (
            "This server serves its store no more",
            "Nothing was changed. The store was moved to another one, or its master key was changed and this server does not \
             have the new one. The server’s log says which, and what to do.",
        ),
        Refusal::OutOfReach => (
            "Your token does not reach this",
            "Nothing was done. Whoever gave you the token can make one with more scopes.",
        ),
        Refusal::Unsure => (
            "It is not known whether it was done",
            "The server was too slow, or its answer was lost on its way: the change may or may not have been made. Check \
             whether it is there before you repeat it.",
        ),
    };
    (title, text.to_owned())
}

impl From<OutOfScope> for Refusal {
    fn from(_: OutOfScope) -> Self {
        Self::OutOfReach
    }
}

impl From<NoSession> for Refusal {
    fn from(NoSession: NoSession) -> Self {
        Self::SignInFirst(None)
    }
}
