//! `/console`: an operator signs in with their token, and sees what its scopes allow.
//!
//! It has no rules, and names scopes only in `area.rs`. The area of an operation in the route table determines who may
//! see it. The use cases decide what an operator may do, and take the operator as a caller of their domain.

mod addressing;
mod area;
mod audit;
mod certificates;
mod chart;
mod frame;
mod refusal;
mod routes;
mod session;
mod start;
mod tills;
mod tpms;
mod users;
mod words;

use std::sync::Arc;

use keyproof_http::{
    Application, BoxFuture, Exchange, RequestId, RequestPath, Response, StackRefusal,
};
use keyproof_service::{
    Failure, Service,
    access::{NoSession, Operator, OperatorSession},
};
use zeroize::Zeroizing;

use super::{
    ServerContext,
    cookies::Cookie,
    language::Language,
    operation,
    page::{self, render},
    refusal::{HandlerResult, Refusal},
    visit::{self, Bound, Site, Visitor},
};
use area::Area;
use frame::Frame;
use refusal::refused;
use routes::ROUTES;

/// The number of rows of a list on a page.
const ROWS: usize = 50;

/// The site.
pub struct Console {
    service: Arc<Service>,
    server_context: Arc<ServerContext>,
}

type Visit<W> = visit::Visit<Console, W>;

/// An operator who is signed in.
pub(in crate::sites) struct Signed {
    /// The value of their cookie.
    cookie: Zeroizing<String>,
    session: OperatorSession,
    /// Why the token in the form does not confirm the session.
    unconfirmed: Option<&'static str>,
}

impl Bound for Signed {
    fn cookie(&self) -> &str {
        &self.cookie
    }
}

impl Console {
    /// Creates the site for these use cases, in this server.
    pub(crate) const fn new(service: Arc<Service>, server_context: Arc<ServerContext>) -> Self {
        Self {
            service,
            server_context,
        }
    }
}

impl Visit<()> {
    fn session_cookie(&self) -> Result<Zeroizing<String>, Refusal> {
        let cookie = self.cookie(Cookie::Console);
        cookie.ok_or_else(|| self.sign_in_first())
    }

    fn shown(
        self,
        area: Area,
        cookie: Zeroizing<String>,
        session: Result<OperatorSession, Failure<NoSession>>,
    ) -> Result<Visit<Signed>, Refusal> {
        let session = self.found(session)?;
        if area.is_shown_to(session.operator()) {
            Ok(self.by(Signed {
                cookie,
                session,
                unconfirmed: None,
            }))
        } else {
            Err(Refusal::OutOfReach)
        }
    }
}

impl<W> Visit<W> {
    fn service(&self) -> &Service {
        &self.site.service
    }

    fn found(
        &self,
        session: Result<OperatorSession, Failure<NoSession>>,
    ) -> Result<OperatorSession, Refusal> {
        match session {
            Err(Failure::Refused(NoSession)) => Err(self.sign_in_first()),
            session => Ok(session?),
        }
    }

    fn sign_in_first(&self) -> Refusal {
        Refusal::SignInFirst(self.asked_for())
    }
}

impl Visit<Signed> {
    fn operator(&self) -> &Operator {
        self.who.session.operator()
    }

    /// Reads the session again, so that it includes the update for its own use. An audit event that requires the record
    /// then does not conflict.
    async fn read_again(mut self) -> Result<Self, Refusal> {
        let access = &self.service().access;
        let session = access.peek_session(&self.who.cookie).await;
        self.who.session = self.found(session)?;
        Ok(self)
    }

    /// Reads the session for a change, in the version that the change requires.
    async fn read_for_change(mut self) -> Result<Self, Refusal> {
        let access = &self.service().access;
        let session = access.session_for_change(&self.who.cookie).await;
        self.who.session = self.found(session)?;
        Ok(self)
    }

    /// Returns the address that asks for the token again before an action on this page; `None` if it was shown
    /// recently.
    fn confirm_url(&self, page: &str) -> Option<String> {
        let is_fresh = self.who.session.is_fresh();
        (!is_fresh).then(|| addressing::confirm(page))
    }

    /// Refuses an action that weakens something unless the token was shown recently. The operator then returns to this
    /// page.
    fn confirmed(&self, page: &str) -> Result<(), Refusal> {
        if self.who.session.is_fresh() {
            Ok(())
        } else {
            Err(Refusal::ConfirmFirst(Some(page.to_owned())))
        }
    }
}

impl Site for Console {
    const VISITOR: Cookie = Cookie::ConsoleVisit;

    type Area = Area;

    type Signed = Signed;

    fn service(&self) -> &Service {
        &self.service
    }

    async fn signed(visit: Visit<()>, area: Area) -> Result<Visit<Signed>, Refusal> {
        let cookie = visit.session_cookie()?;
        let session = visit.service().access.operator_session(&cookie).await;
        visit.shown(area, cookie, session)
    }

    async fn watching(visit: Visit<()>, area: Area) -> Result<Visit<Signed>, Refusal> {
        let cookie = visit.session_cookie()?;
        let session = visit.service().access.peek_session(&cookie).await;
        visit.shown(area, cookie, session)
    }

    /// A form may have a field for the token. The session that it confirms replaces the former, so the new cookie is in
    /// the answer whatever becomes of the change, even if its deadline passes. If the answer is lost on its way, the
    /// operator has to sign in again: the former cookie must not open the renewed session, and the store has only the
    /// digest of the new one.
    async fn change(
        visit: Visit<Signed>,
        change: fn(Visit<Signed>) -> BoxFuture<HandlerResult>,
    ) -> HandlerResult {
        let mut visit = visit.read_for_change().await?;
        if let Some(renewed) = visit.confirm_by_form().await? {
            if let Some(cookie) = visit.set_cookie(Cookie::Console, &renewed, None) {
                visit.exchange.set_cookie(cookie);
            }
            visit.who.cookie = renewed;
            visit = visit.read_for_change().await?;
        }
        change(visit).await
    }
}

impl Application for Console {
    fn name(&self) -> &'static str {
        "console"
    }

    fn claims(&self, path: &RequestPath) -> bool {
        path.first() == Some("console")
    }

    fn handle(self: Arc<Self>, exchange: Exchange) -> BoxFuture<Response> {
        Box::pin(async move {
            let request_id = exchange.request_id();
            let has_session = visit::has_cookie(&exchange, Cookie::Console);
            let answered = operation::answer(self, &ROUTES, exchange, Language::English).await;
            page::stamp(answered.unwrap_or_else(|why| refused(&why, request_id, has_session)))
        })
    }

    fn refuse(&self, refusal: StackRefusal, request_id: RequestId) -> Response {
        // The sender is unknown here.
        page::stamp(refused(&refusal.into(), request_id, false))
    }
}
