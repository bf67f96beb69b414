//! The trace that a request is part of, for who follows requests from program to program.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, StatusCode};

use crate::{BoxFuture, RequestLabels, Response, stack::Stack};

/// W3C Trace Context, section 3.2.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Follows requests.
pub trait RequestTracer: Send + Sync + 'static {
    /// A request's head was read. `parent` is its `traceparent`, if a trusted proxy has sent one: as it came, so it may be
    /// none.
    ///
    /// Called on the request's way: it must be quick and not panic.
    fn begin(&self, parent: Option<&str>) -> Box<dyn RequestTrace>;
}

/// One request that is followed.
pub trait RequestTrace: Send + Sync {
    /// The trace's id, for log lines: 32 hexadecimal digits.
    fn id(&self) -> &str;

    /// The handler, run so that what it waits for can be told as parts of the request.
    fn around(&self, handler: BoxFuture<Response>) -> BoxFuture<Response>;

    /// The request has ended; without a status if nobody waits for its answer.
    fn end(self: Box<Self>, labels: RequestLabels, status: Option<StatusCode>);
}

impl Stack {
    /// Begins to follow a request, if anybody does.
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
