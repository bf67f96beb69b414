//! `/healthz` and `/readyz`, on any listener.

use http::{HeaderValue, Method, StatusCode, header};
use tokio::time::timeout;

use crate::{
    DRAINING, NO_ANSWER, RequestPath, Response, limits::READINESS_TIMEOUT, stack::Stack, with_body,
};

/// The probes of an orchestrator.
#[derive(Clone, Copy)]
pub(crate) enum Probe {
    /// Whether the process is alive.
    Health,
    /// Whether requests are served: the store responds, and the server is not draining.
    Readiness,
}

impl Probe {
    pub(crate) fn at(path: &RequestPath) -> Option<Self> {
        match path.only()? {
            "healthz" => Some(Self::Health),
            "readyz" => Some(Self::Readiness),
            _ => None,
        }
    }

    pub(crate) fn route(self) -> &'static str {
        match self {
            Self::Health => "/healthz",
            Self::Readiness => "/readyz",
        }
    }

    /// The methods of probes, for `Allow`.
    pub(crate) const ALLOW: &str = "GET, HEAD";

    /// Returns whether probes support this method.
    pub(crate) fn has(method: &Method) -> bool {
        matches!(*method, Method::GET | Method::HEAD)
    }

    pub(crate) async fn answer(self, method: &Method, stack: &Stack) -> Response {
        if !Self::has(method) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        }
        let unready = |why: &str| text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"));
        match self {
            Self::Health => text(StatusCode::OK, "ok\n"),
            Self::Readiness if stack.is_draining() => unready(DRAINING),
            Self::Readiness => match timeout(READINESS_TIMEOUT, (stack.ready)()).await {
                Ok(Ok(warnings)) => {
                    let warnings = warnings.iter();
                    let lines = warnings.map(|warning| format!("warning: {warning}\n"));
                    let lines: String = lines.collect();
                    text(StatusCode::OK, format!("ready\n{lines}"))
                }
                Ok(Err(why)) => unready(why),
                Err(_) => unready(NO_ANSWER),
            },
        }
    }
}

fn text(status: StatusCode, body: impl Into<Vec<u8>>) -> Response {
    let mut response = with_body(status, "text/plain; charset=utf-8", body.into());
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    response
}
