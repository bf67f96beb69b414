//! `/account`: the owner of a second factor signs in and manages it.
//!
//! All rules are those of the use cases of `accounts`, which emnify's contract uses, too: who is locked out, what a
//! session without a second factor may not do, and which change ends what. This module calls them, and puts their
//! results into words.

mod devices;
mod overview;
mod pages;
mod password;
mod phone;
mod refusal;
mod return_to;
mod routes;
mod sign_in;
mod texts;

use std::sync::Arc;

use keyproof_http::{
    Application, BoxFuture, Exchange, RequestId, RequestPath, Response, StackRefusal,
};
use keyproof_service::{
    Accounts, Action, Service,
    accounts::{Manager, Person, TargetUser, UserSession},
};
use zeroize::Zeroizing;

use super::{
    cookies::Cookie,
    entries::{Entries, Wrong},
    language::{Language, Reader},
    operation,
    page::{self, render},
    refusal::{HandlerResult, Refusal},
    visit::{self, Bound, Site, Visitor},
};
use pages::Frame;
use refusal::refused;
use return_to::page_of;
use routes::ROUTES;
use texts::Texts;

/// The site.
pub struct Account {
    service: Arc<Service>,
}

type Visit<W> = visit::Visit<Account, W>;

impl Account {
    /// Creates the site for these use cases.
    pub fn new(service: Arc<Service>) -> Self {
        Self { service }
    }
}

impl Site for Account {
    const VISITOR: Cookie = Cookie::Visit;

    type Area = Own;

    type Signed = Signed;

    fn service(&self) -> &Service {
        &self.service
    }

    async fn signed(visit: Visit<()>, _: Own) -> Result<Visit<Signed>, Refusal> {
        let cookie = visit.cookie(Cookie::Account);
        let cookie = cookie.ok_or(Refusal::SignInFirst(None))?;
        let browser = visit.accounts().user_session(&cookie).await?;
        Ok(visit.by(Signed { cookie, browser }))
    }

    async fn change(
        mut visit: Visit<Signed>,
        change: fn(Visit<Signed>) -> BoxFuture<HandlerResult>,
    ) -> HandlerResult {
        let browser = visit
            .accounts()
            .session_for_change(&visit.who.cookie)
            .await?;
        visit.who.browser = browser;
        change(visit).await
    }
}

impl Application for Account {
    fn name(&self) -> &'static str {
        "account"
    }

    fn claims(&self, path: &RequestPath) -> bool {
        path.first() == Some("account")
    }

    fn handle(self: Arc<Self>, exchange: Exchange) -> BoxFuture<Response> {
        Box::pin(async move {
            let reader = Reader::of(&exchange);
            let path = format!("/{}", exchange.path().lossy_segments().join("/"));
            let context = Context {
                language: reader.language,
                request_id: exchange.request_id(),
                // A sign-in step belongs to the page that it leads to.
                page: page_of(exchange.query().first("to").unwrap_or(&path)),
                has_session: visit::has_cookie(&exchange, Cookie::Account),
            };
            let answered = operation::answer(self, &ROUTES, exchange, context.language).await;
            let mut response = answered.unwrap_or_else(|why| refused(&why, &context));
            reader.keep(&mut response);
            page::stamp(response)
        })
    }

    fn refuse(&self, refusal: StackRefusal, request_id: RequestId) -> Response {
        // The request's language and session are unknown here.
        let context = Context {
            language: Language::English,
            request_id,
            page: page_of(""),
            has_session: false,
        };
        page::stamp(refused(&refusal.into(), &context))
    }
}

/// Facts from a request's head that outlive it.
struct Context {
    language: Language,
    request_id: RequestId,
    /// The page that the request belongs to.
    page: &'static str,
    /// Whether the request has a session's cookie.
    has_session: bool,
}

/// The only area of this site: a person's own data.
#[derive(Clone, Copy)]
pub(super) struct Own;

/// A person who is signed in.
pub(super) struct Signed {
    /// The value of their cookie.
    cookie: Zeroizing<String>,
    browser: UserSession,
}

impl Bound for Signed {
    fn cookie(&self) -> &str {
        &self.cookie
    }
}

/// A visitor whom a page may show as signed in.
pub(super) trait Known: Bound {
    fn user(&self) -> Option<String>;
}

impl Known for Visitor {
    fn user(&self) -> Option<String> {
        None
    }
}

impl Known for Signed {
    fn user(&self) -> Option<String> {
        Some(self.browser.session().name().to_owned())
    }
}

impl<W> Visit<W> {
    fn accounts(&self) -> &Accounts {
        &self.site.service.accounts
    }

    fn t(&self) -> &'static Texts {
        Texts::of(self.language)
    }
}

impl<W: Known> Visit<W> {
    /// Creates the frame of a page, with a notice of what was just done. Each notice has its own page and parameter, so
    /// that no address shows it elsewhere.
    fn frame(&self, here: &'static str) -> Frame {
        let t = self.t();
        let mut told = [
            ("/account/recovery-codes", "activated", t.activated),
            ("/account", "ended", t.sessions_ended),
            ("/account", "removed", t.phone_removed),
            ("/account/devices", "revoked", t.device_revoked),
        ]
        .into_iter();
        let told = told.find(|(page, done, _)| *page == here && self.is_sent_with(done));
        Frame {
            user: self.who.user(),
            csrf: self.csrf(),
            notice: told.map(|(.., text)| text),
            ..Frame::of_nobody(t, here)
        }
    }

    /// Creates the frame with an error at a field.
    fn frame_with(&self, here: &'static str, field: &'static str, text: String) -> Frame {
        Frame {
            entries: Entries {
                wrong: Some(Wrong::at(field, text)),
                ..Entries::default()
            },
            ..self.frame(here)
        }
    }
}

impl Visit<Signed> {
    async fn person(&self, act: Action) -> Result<Person, Refusal> {
        let session = self.who.browser.session().clone();
        Ok(self.accounts().person(session, act, &self.origin).await?)
    }

    async fn manager(&self, act: Action) -> Result<Manager, Refusal> {
        let session = self.who.browser.session().clone();
        let accounts = self.accounts();
        let manager = accounts.manager(session, act, TargetUser::Mine, &self.origin);
        Ok(manager.await?)
    }
}
