//! `/healthz` and `/readyz`, on any listener.

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::Full;
use tokio::time::timeout;

use crate::{DRAINING, NO_ANSWER, RequestPath, Response, limits::READINESS_TIMEOUT, stack::Stack};

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

    /// Returns whether probes support this method.
    pub(crate) fn has(method: &Method) -> bool {
        matches!(*method, Method::GET | Method::HEAD)
    }

    pub(crate) async fn answer(self, method: &Method, stack: &Stack) -> Response {
        if !Self::has(method) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
            response
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match self {
            Self::Health => text(StatusCode::OK, "ok\n"),
            Self::Readiness if stack.is_draining() => {
                text(StatusCode::SERVICE_UNAVAILABLE, format!("{DRAINING}\n"))
            }
            Self::Readiness => match timeout(READINESS_TIMEOUT, (stack.ready)()).await {
                Ok(Ok(warnings)) => {
                    let warnings = warnings
                        .iter()
                        .map(|warning| format!("warning: {warning}\n"));
                    text(
                        StatusCode::OK,
                        format!("ready\n{}", warnings.collect::<String>()),
                    )
                }
                Ok(Err(why)) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
                Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{NO_ANSWER}\n")),
            },
        }
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Full::from(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
