//! What answers the requests.

use std::{future::Future, pin::Pin, sync::Arc};

use http::HeaderName;

use crate::{ClientAuthorities, Exchange, RequestId, RequestPath, Response, StackRefusal};

/// A future that owns what it needs, as a handler that outlives its client must.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// A part of the URL space, and the answers there.
pub trait Application: Send + Sync + 'static {
    /// Its name in logs and metrics.
    fn name(&self) -> &'static str;

    /// Whether a path is this application's to answer, found or not.
    fn claims(&self, path: &RequestPath) -> bool;

    /// Answers one request. The body is read by the handler, after authentication, by [`Exchange::body`].
    ///
    /// The future of a state-changing method runs to its end even when the client hangs up or the deadline passes.
    fn handle(self: Arc<Self>, exchange: Exchange) -> BoxFuture<Response>;

    /// Puts a refusal of the stack in this application's shape.
    fn refuse(&self, refusal: StackRefusal, request_id: RequestId) -> Response;

    /// The CAs whose client certificates its listener asks for in TLS handshakes; `None` if it asks for none.
    fn client_authorities(self: Arc<Self>) -> Option<Arc<dyn ClientAuthorities>> {
        None
    }

    /// The header that carries the request id; the stack sets it on every answer.
    fn request_id_header(&self) -> HeaderName {
        X_REQUEST_ID
    }
}

/// Where a request id goes unless an application names a header of its own.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
