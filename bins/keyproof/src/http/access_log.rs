//! One log event a request.

use std::{net::IpAddr, sync::Arc, time::Instant};

use http::{Method, StatusCode};
use tracing::info;

use super::response::Route;

/// Writes its event when it is dropped, so that a request whose client hung up is logged too (without a status).
///
/// Never the path or the query: the route's *template* says enough, and the others may hold secrets.
pub(super) struct AccessRecord {
    method: &'static str,
    dialect: &'static str,
    route: Arc<Route>,
    client: IpAddr,
    started: Instant,
    status: Option<StatusCode>,
}

impl AccessRecord {
    pub(super) fn start(
        method: &Method,
        dialect: &'static str,
        route: Arc<Route>,
        client: IpAddr,
    ) -> Self {
        Self {
            method: known(method),
            dialect,
            route,
            client,
            started: Instant::now(),
            status: None,
        }
    }

    pub(super) fn answered(mut self, status: StatusCode) {
        self.status = Some(status);
    }
}

impl Drop for AccessRecord {
    fn drop(&mut self) {
        info!(
            method = self.method,
            dialect = self.dialect,
            route = self.route.template(),
            status = self.status.map(|status| status.as_u16()),
            duration_us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX),
            client = %self.client,
            "{}",
            if self.status.is_some() { "answered" } else { "client hung up" },
        );
    }
}

/// A method's name, unless the client made it up.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::CONNECT => "CONNECT",
        Method::DELETE => "DELETE",
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::TRACE => "TRACE",
        _ => "other",
    }
}
