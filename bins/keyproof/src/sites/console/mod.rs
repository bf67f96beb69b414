//! `/console`: an operator signs in with their token, and sees what its scopes reach.
//!
//! It has no rules and no scopes of its own. Which area a line of the route table belongs to says who is shown it; what
//! somebody may do there is asked of the use cases, which take an operator as a caller of their domain.

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

use askama::Template;
use http::StatusCode;
use keyproof_http::{
    Application, BoxFuture, Exchange, RequestId, RequestPath, Response, StackRefusal,
};
use keyproof_service::{
    Service,
    access::{Operator, OperatorSession},
};
use zeroize::Zeroizing;

use super::{
    Around,
    cookies::Cookie,
    language::Language,
    page,
    refusal::Refusal,
    visit::{self, Bound, Site, Visitor},
};
use area::Area;
use frame::Frame;
use refusal::refused;
use routes::{Operation, ROUTES};

/// The site.
pub struct Console {
    service: Arc<Service>,
    around: Arc<Around>,
}

type Answered = Result<Response, Refusal>;

type Visit<W> = visit::Visit<Console, W>;

/// An operator who is signed in.
struct Signed {
    /// Their cookie's value.
    cookie: Zeroizing<String>,
    session: OperatorSession,
}

impl Bound for Signed {
    fn cookie(&self) -> &str {
        &self.cookie
    }
}

impl Console {
    /// Over these use cases, in this server.
    pub(crate) const fn new(service: Arc<Service>, around: Arc<Around>) -> Self {
        Self { service, around }
    }

    async fn answer(self: Arc<Self>, exchange: Exchange) -> Answered {
        let segments = exchange.path().segments();
        let segments = segments.map_err(|_| Refusal::NotFound)?;
        let resource = ROUTES.resource(&segments).ok_or(Refusal::NotFound)?;
        exchange.matched(resource.template());
        let route = resource.route(exchange.method());
        let route = route.ok_or_else(|| Refusal::Method(resource.allow()))?;
        if let Operation::Asset(asset) = &route.operation {
            return Ok(asset.answer(exchange.query().first("v")));
        }
        let variables = resource.variables();
        let visit = Visit::new(self, exchange, variables, route.body, Language::English)?;
        match &route.operation {
            // It was answered above.
            Operation::Asset(_) => Err(Refusal::NotFound),
            Operation::Open(show) => show(visit.visitor()).await,
            Operation::Enter(fields, enter) => {
                let visit = visit.visitor();
                // Guesses are counted against the address before they are read.
                visit.admit()?;
                enter(visit.filled_in(fields).await?).await
            }
            Operation::Show(area, show) => show(visit.signed(*area).await?).await,
            Operation::Upload(area, parts, upload) => {
                let (visit, form) = visit.signed(*area).await?.uploaded(parts).await?;
                upload(visit, form).await
            }
            Operation::Watch(area, show) => show(visit.watching(*area).await?).await,
            Operation::Change(area, fields, change) => {
                change(visit.signed(*area).await?.filled_in(fields).await?).await
            }
        }
    }
}

impl Visit<()> {
    /// The operator who has sent it, if they are shown this area at all.
    async fn signed(self, area: Area) -> Result<Visit<Signed>, Refusal> {
        let cookie = self.session_cookie()?;
        let session = self.service().access.operator_session(&cookie).await?;
        self.shown(area, cookie, session)
    }

    /// The same, of what a page asks by itself.
    async fn watching(self, area: Area) -> Result<Visit<Signed>, Refusal> {
        let cookie = self.session_cookie()?;
        let session = self.service().access.watching_session(&cookie).await?;
        self.shown(area, cookie, session)
    }

    fn session_cookie(&self) -> Result<Zeroizing<String>, Refusal> {
        self.cookie(Cookie::Console).ok_or(Refusal::SignInFirst)
    }

    fn shown(
        self,
        area: Area,
        cookie: Zeroizing<String>,
        session: OperatorSession,
    ) -> Result<Visit<Signed>, Refusal> {
        match area.is_shown_to(session.operator()) {
            true => Ok(self.by(Signed { cookie, session })),
            false => Err(Refusal::OutOfReach),
        }
    }
}

impl<W> Visit<W> {
    fn service(&self) -> &Service {
        &self.site.service
    }

    fn admit(&self) -> Result<(), Refusal> {
        Ok(self.service().accounts.admit(&self.origin)?)
    }
}

impl Visit<Signed> {
    fn operator(&self) -> &Operator {
        self.who.session.operator()
    }

    /// Whether the token was shown lately enough for what weakens something; otherwise the page has a link to `confirm`.
    fn is_fresh(&self) -> bool {
        self.who.session.is_fresh()
    }

    /// To be asked before what weakens something.
    fn confirmed(&self) -> Result<(), Refusal> {
        match self.is_fresh() {
            true => Ok(()),
            false => Err(Refusal::ConfirmFirst),
        }
    }
}

fn render(page: &impl Template, status: StatusCode) -> Answered {
    let text = page.render().map_err(|error| {
        tracing::error!(%error, "a page could not be written");
        Refusal::Broken
    })?;
    Ok(page::html(status, text))
}

impl Site for Console {
    const VISITOR: Cookie = Cookie::ConsoleVisit;

    fn service(&self) -> &Service {
        &self.service
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
            let answered = self.answer(exchange).await;
            page::stamp(answered.unwrap_or_else(|why| refused(&why, request_id)))
        })
    }

    fn refuse(&self, refusal: StackRefusal, request_id: RequestId) -> Response {
        page::stamp(refused(&refusal.into(), request_id))
    }
}
