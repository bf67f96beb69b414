//! A request from an application's view.

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::{
    Authorization, Client, ClientCertificate, Query, RequestBody, RequestId, RequestPath,
    StackRefusal, progress::Progress,
};

/// A request whose head was accepted. The body is read when the handler asks for it.
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
    /// Returns the method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Returns the path, split and decoded.
    pub fn path(&self) -> &RequestPath {
        &self.path
    }

    /// Returns the query's parameters.
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// Returns all header fields. The stack has rejected requests that repeat `Host`, `Authorization` or `Content-Type`.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Returns the first field with that name, if it is visible ASCII.
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Returns the credentials in `Authorization`, if they have this scheme.
    pub fn credentials(&self, scheme: &str) -> Option<&str> {
        let value = self.headers.get(header::AUTHORIZATION)?;
        Authorization::parse(value)?.of_scheme(scheme)
    }

    /// Returns the client's address: the peer, or the last untrusted hop behind a configured proxy.
    pub fn client_address(&self) -> IpAddr {
        self.client
    }

    /// Returns whether the request came over TLS, to this listener or to a configured proxy that states so in
    /// `X-Forwarded-Proto`.
    pub fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// Returns a handle to the client, for work that is only useful while it waits.
    pub fn client(&self) -> Client {
        self.waiting.clone()
    }

    /// Returns the certificate that the client presented on this connection, if one was requested. The stack does not
    /// validate it.
    pub fn client_certificate(&self) -> Option<ClientCertificate> {
        self.client_certificate
    }

    /// Returns the id of this request, for the audit trail. The stack adds it to the answer.
    pub fn request_id(&self) -> RequestId {
        self.request_id
    }

    /// Sets the route *template* that the request matched, for logs and metrics: `/private/otp-devices/{id}`.
    pub fn matched(&self, template: &'static str) {
        self.progress.matched(template);
    }

    /// Records that the route does not have the request's method, but those in `allow`. The stack adds them to an answer
    /// with status 405 (RFC 9110, section 10.2.1). Metrics count all such methods as one.
    pub fn mark_method_not_allowed(&self, allow: &str) {
        self.progress.mark_method_not_allowed(allow);
    }

    /// Records that the request logs a user in, unless it is refused. For metrics.
    pub fn mark_login(&self) {
        self.progress.mark_login();
    }

    /// Adds this `Set-Cookie` field to the answer, even if the stack answers because the handler's deadline passes or the
    /// handler panics. For a cookie whose predecessor is already invalid. Only the first call has an effect.
    pub fn set_cookie(&self, field: HeaderValue) {
        let _ = self.progress.cookie.set(field);
    }

    /// Returns the limit of the body in bytes: `needed`, or [`max_body_bytes`](crate::Limits::max_body_bytes) if that is
    /// less. The decompressed size of a compressed body must not exceed it either.
    pub fn body_limit(&self, needed: usize) -> usize {
        self.body.limit(needed)
    }

    /// Reads the whole body: at most `needed` bytes and at most [`max_body_bytes`](crate::Limits::max_body_bytes), within
    /// [`body_timeout`](crate::Limits::body_timeout). A second call returns an empty body.
    ///
    /// # Errors
    ///
    /// [`StackRefusal::BodyTooLarge`], before reading if `Content-Length` shows it (over
    /// [`max_body_bytes`](crate::Limits::max_body_bytes), the stack refuses the request before the application sees it);
    /// [`StackRefusal::BodyTimedOut`]; [`StackRefusal::BodyMalformed`]; [`StackRefusal::Draining`] if the server stops
    /// before the body is complete.
    pub async fn body(&mut self, needed: usize) -> Result<Bytes, StackRefusal> {
        self.body.read(needed).await
    }
}

/// Omits headers, query and path: they may contain secrets.
impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange")
            .field("method", &self.method)
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}
