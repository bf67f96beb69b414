//! One request, as an application sees it.

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, header};

use crate::{
    Authorization, Client, ClientCertificate, Query, RequestBody, RequestId, RequestPath,
    StackRefusal, progress::Progress,
};

/// A request whose head was read and accepted; its body is read when the handler asks for it.
pub struct Exchange {
    pub(crate) method: Method,
    pub(crate) path: RequestPath,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) client: IpAddr,
    pub(crate) is_encrypted: bool,
    pub(crate) waiting: Client,
    pub(crate) client_certificate: Option<ClientCertificate>,
    pub(crate) request_id: RequestId,
    pub(crate) progress: Arc<Progress>,
    pub(crate) body: RequestBody,
}

impl Exchange {
    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The path, split and decoded.
    pub fn path(&self) -> &RequestPath {
        &self.path
    }

    /// The query's parameters.
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// All header fields. The stack has refused requests that repeat `Host`, `Authorization` or `Content-Type`.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The first field of that name, if it is visible ASCII.
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The credentials that `Authorization` has, if they are of this scheme.
    pub fn credentials(&self, scheme: &str) -> Option<&str> {
        let value = self.headers.get(header::AUTHORIZATION)?;
        Authorization::parse(value)?.of_scheme(scheme)
    }

    /// The client's address: the peer's, or the last untrusted hop behind a configured proxy.
    pub fn client_address(&self) -> IpAddr {
        self.client
    }

    /// Whether it came over TLS: to this listener, or to a configured proxy that says so in `X-Forwarded-Proto`.
    pub fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// The client at the other end, for work that is only done while it waits.
    pub fn client(&self) -> Client {
        self.waiting.clone()
    }

    /// The certificate that the client has shown on this connection, if it was asked for one. The stack judges none.
    pub fn client_certificate(&self) -> Option<ClientCertificate> {
        self.client_certificate
    }

    /// This request's id, for the audit trail. The stack puts it on the answer by itself.
    pub fn request_id(&self) -> RequestId {
        self.request_id
    }

    /// Names the route *template* that the request matched, for logs and metrics: `/private/otp-devices/{id}`.
    pub fn matched(&self, template: &'static str) {
        self.progress.route.matched(template);
    }

    /// Says that what the path names has not the request's method, for metrics: such methods are counted as one.
    pub fn lacks_method(&self) {
        self.progress.route.lacks_method();
    }

    /// Says that the request logs somebody in, unless it is refused: for whoever counts that.
    pub fn logs_in(&self) {
        self.progress.route.logs_in();
    }

    /// The limit of the body in bytes: `needed`, or [`max_body_bytes`](crate::Limits::max_body_bytes) if that is less. A compressed
    /// body may not exceed it once it is inflated, either.
    pub fn body_limit(&self, needed: usize) -> usize {
        self.body.limit(needed)
    }

    /// Reads the whole body: at most `needed` bytes, at most [`max_body_bytes`](crate::Limits::max_body_bytes), and within
    /// [`body_timeout`](crate::Limits::body_timeout). A second call returns an empty body.
    ///
    /// # Errors
    ///
    /// [`StackRefusal::BodyTooLarge`], before anything is read if the body's length is announced (one over
    /// [`max_body_bytes`](crate::Limits::max_body_bytes) is refused before the application sees it), [`StackRefusal::BodyTimedOut`],
    /// [`StackRefusal::BodyMalformed`], or [`StackRefusal::Draining`] if the server stops before the body is there.
    pub async fn body(&mut self, needed: usize) -> Result<Bytes, StackRefusal> {
        self.body.read(needed).await
    }
}

/// Without headers, query and path: they may hold secrets.
impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange")
            .field("method", &self.method)
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}
