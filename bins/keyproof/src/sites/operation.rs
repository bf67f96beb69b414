//! The operations of a site, one per line of its route table; and how a request is dispatched to one.

use std::sync::Arc;

use http::Method;
use keyproof_http::{BoxFuture, Exchange};

use super::{
    asset::Asset,
    language::Language,
    refusal::{HandlerResult, Refusal},
    visit::{Fields, Site, Visit, Visitor},
};
use crate::route_table::{Route, RouteTable, login_route, route};

/// An operation, and who may use it.
pub(super) enum Operation<S: Site> {
    /// For everybody: a file that pages refer to.
    Asset(Asset),
    /// For everybody, before and after signing in.
    Open(fn(Visit<S, Visitor>) -> BoxFuture<HandlerResult>),
    /// For everybody: a login, with a form of these fields.
    Enter(
        &'static [&'static str],
        fn(Visit<S, Visitor>) -> BoxFuture<HandlerResult>,
    ),
    /// For whoever is signed in and may see this area.
    Show(S::Area, fn(Visit<S, S::Signed>) -> BoxFuture<HandlerResult>),
    /// The same, for a request that a page makes by itself: it does not count as a use of the session.
    Watch(S::Area, fn(Visit<S, S::Signed>) -> BoxFuture<HandlerResult>),
    /// The same, with a form of these fields.
    Change(
        S::Area,
        Fields,
        fn(Visit<S, S::Signed>) -> BoxFuture<HandlerResult>,
    ),
}

/// The longest body of a form, in bytes: it has few fields, each of which may be fully escaped.
const FORM: usize = 48 * 1024;

/// Declares a page.
pub(super) const fn page<S: Site>(
    template: &'static str,
    operation: Operation<S>,
) -> Route<Operation<S>> {
    route(Method::GET, template, 0, operation)
}

/// Declares a form without a file.
pub(super) const fn form<S: Site>(
    template: &'static str,
    operation: Operation<S>,
) -> Route<Operation<S>> {
    match &operation {
        Operation::Enter(..) => login_route(Method::POST, template, FORM, operation),
        _ => route(Method::POST, template, FORM, operation),
    }
}

/// Declares a form with a file, whose body has at most `longest` bytes.
pub(super) const fn upload<S: Site>(
    template: &'static str,
    longest: usize,
    operation: Operation<S>,
) -> Route<Operation<S>> {
    route(Method::POST, template, longest, operation)
}

/// Dispatches a request to its operation.
pub(super) async fn answer<S: Site>(
    site: Arc<S>,
    routes: &'static RouteTable<Operation<S>>,
    exchange: Exchange,
    language: Language,
) -> HandlerResult {
    let segments = exchange.path().segments();
    let segments = segments.map_err(|_| Refusal::NotFound)?;
    let resource = routes.resource(&segments).ok_or(Refusal::NotFound)?;
    let route = resource.asked(&exchange);
    let route = route.ok_or_else(|| Refusal::Method(resource.allow()))?;
    if let Operation::Asset(asset) = &route.operation {
        return Ok(asset.answer(exchange.query().first("v")));
    }
    let variables = resource.variables();
    let visit = Visit::new(site, exchange, variables, route.body, language)?;
    match &route.operation {
        // Already handled above.
        Operation::Asset(_) => Err(Refusal::NotFound),
        Operation::Open(show) => show(visit.visitor()).await,
        Operation::Enter(fields, enter) => {
            let visit = visit.visitor();
            // Guesses and requests that cost a hash are counted against the address before their body is read, except
            // those that another site's page makes its reader's browser send.
            visit.same_origin()?;
            visit.admit()?;
            enter(visit.filled_in(Fields::Lines(fields)).await?).await
        }
        Operation::Show(area, show) => show(S::signed(visit, *area).await?).await,
        Operation::Watch(area, show) => show(S::watching(visit, *area).await?).await,
        Operation::Change(area, fields, change) => {
            let visit = S::signed(visit, *area).await?;
            S::change(visit.filled_in(*fields).await?, *change).await
        }
    }
}
