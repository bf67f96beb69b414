//! The trace that a request belongs to, for tracing across programs.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, StatusCode};

use crate::{BoxFuture, RequestLabels, Response, stack::Stack};

/// W3C Trace Context, section 3.2.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Traces requests.
pub trait RequestTracer: Send + Sync + 'static {
    /// A request's head was parsed. `parent` is the `traceparent` of a trusted proxy, if there is one. It is not validated.
    ///
    /// Called while the request waits, so it must be fast and must not panic.
    fn begin(&self, parent: Option<&str>) -> Box<dyn RequestTrace>;
}

/// The trace of one request.
pub trait RequestTrace: Send + Sync {
    /// Returns the id of the trace, for log lines: 32 hexadecimal digits.
    fn id(&self) -> &str;

    /// Wraps the handler, so that its waits can be recorded as parts of the request.
    fn wrap_handler(&self, handler: BoxFuture<Response>) -> BoxFuture<Response>;

    /// The request has ended. `status` is `None` if its connection ended before the answer.
    fn end(self: Box<Self>, labels: RequestLabels, status: Option<StatusCode>);
}

impl Stack {
    /// Begins to trace a request, if there is a tracer.
    pub(crate) fn trace(&self, peer: IpAddr, headers: &HeaderMap) -> Option<Box<dyn RequestTrace>> {
        let tracer = self.tracer.as_ref()?;
        let mut fields = headers.get_all(TRACEPARENT).iter();
        let parent = match (fields.next(), fields.next()) {
            (Some(only), None) if self.proxies.trusts(peer.to_canonical()) => only.to_str().ok(),
            _ => None,
        };
        Some(tracer.begin(parent))
    }
}
