//! The records of each request: one log event, its metrics, and its part of a trace.

use std::{net::IpAddr, sync::Arc, time::Instant};

use http::{Method, StatusCode};
use tracing::info;

use crate::{RequestLabels, RequestTrace, answer::Origin, progress::Progress};

/// The label of methods that are unknown, or that the route does not have.
const OTHER: &str = "other";

/// Writes its record when dropped, so that a request whose connection ended before the answer is recorded too, without a
/// status.
///
/// It never contains the path or the query, which may hold secrets. The route's *template* is enough.
pub(crate) struct AccessRecord {
    method: &'static str,
    application: &'static str,
    progress: Arc<Progress>,
    client: IpAddr,
    started: Instant,
    status: Option<StatusCode>,
    origin: Arc<Origin>,
    trace: Option<Box<dyn RequestTrace>>,
}

impl AccessRecord {
    pub(crate) fn start(
        method: &Method,
        application: &'static str,
        progress: Arc<Progress>,
        client: IpAddr,
        origin: Arc<Origin>,
        trace: Option<Box<dyn RequestTrace>>,
    ) -> Self {
        Self {
            method: known(method),
            application,
            progress,
            client,
            started: Instant::now(),
            status: None,
            origin,
            trace,
        }
    }

    pub(crate) fn trace(&self) -> Option<&dyn RequestTrace> {
        self.trace.as_deref()
    }

    pub(crate) fn answered(mut self, status: StatusCode) {
        self.status = Some(status);
    }
}

impl Drop for AccessRecord {
    fn drop(&mut self) {
        let duration = self.started.elapsed();
        let progress = &self.progress;
        let labels = RequestLabels {
            application: self.application,
            // Otherwise, anyone could create a label for each route and method, without credentials.
            method: match progress.allow.get() {
                Some(_) => OTHER,
                None => self.method,
            },
            route: progress.template(),
            is_login: progress.is_login(),
        };
        let observer = &self.origin.stack.observer;
        observer.request_ended(labels, self.status, Some(duration));
        if let Some(trace) = self.trace.take() {
            trace.end(labels, self.status);
        }
        info!(
            method = self.method,
            dialect = labels.application,
            route = labels.route,
            status = self.status.map(|status| status.as_u16()),
            duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
            client = %self.client,
            "{}",
            if self.status.is_some() { "answered" } else { "not answered" },
        );
    }
}

/// Returns a method's name if it is a registered one.
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
        _ => OTHER,
    }
}
