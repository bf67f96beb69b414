//! The applications that answer requests.

use std::{future::Future, pin::Pin, sync::Arc};

use http::HeaderName;

use crate::{ClientAuthorities, Exchange, RequestId, RequestPath, Response, StackRefusal};

/// A future that owns its data, since a handler may outlive its client.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// A part of the URL space, with its handlers.
pub trait Application: Send + Sync + 'static {
    /// Returns its name in logs and metrics.
    fn name(&self) -> &'static str;

    /// Returns whether this application answers requests for a path, even if only with a 404.
    fn claims(&self, path: &RequestPath) -> bool;

    /// Answers a request. The handler reads the body with [`Exchange::body`], after authentication.
    ///
    /// For a method that changes state, the future runs to its end even if the client disconnects or the deadline passes.
    fn handle(self: Arc<Self>, exchange: Exchange) -> BoxFuture<Response>;

    /// Converts a refusal of the stack to this application's form.
    fn refuse(&self, refusal: StackRefusal, request_id: RequestId) -> Response;

    /// Returns the CAs whose client certificates its listener requests in TLS handshakes; `None` if it requests none.
    fn client_authorities(self: Arc<Self>) -> Option<Arc<dyn ClientAuthorities>> {
        None
    }

    /// Returns the header for the request id, which the stack sets on every answer.
    fn request_id_header(&self) -> HeaderName {
        X_REQUEST_ID
    }
}

/// The default header for the request id.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
