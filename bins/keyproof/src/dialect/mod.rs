//! The wire contracts, one module each.
//!
//! A dialect owns its routes, its JSON types, its authentication header, and one table from service errors to its
//! own error body. It decides nothing: an `if` about the domain belongs in a crate.

pub mod dps;
pub mod emnify;
pub mod f5;
pub mod route_table;
pub mod taler;

use std::{fmt, future::Future, pin::Pin, str::FromStr, sync::Arc};

use http::HeaderName;

use crate::http::{Exchange, RequestId, RequestPath, Response, StackRefusal};

/// A future that owns what it needs, as a handler that outlives its client must.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// One wire contract.
pub trait Dialect: Send + Sync + 'static {
    /// Its name in the configuration, in logs and in metrics.
    fn name(&self) -> &'static str;

    /// Whether a path is this dialect's to answer, found or not.
    fn claims(&self, path: &RequestPath) -> bool;

    /// Answers one request. The body is read by the handler, after authentication, by [`Exchange::body`].
    ///
    /// The future of a state-changing method runs to its end even when the client hangs up or the deadline passes.
    fn handle(self: Arc<Self>, exchange: Exchange) -> BoxFuture<Response>;

    /// Puts a refusal of the stack in this dialect's shape.
    fn refuse(&self, refusal: StackRefusal, request_id: RequestId) -> Response;

    /// The header that carries the request id; the stack sets it on every answer.
    fn request_id_header(&self) -> HeaderName {
        X_REQUEST_ID
    }
}

/// Where a request id goes unless a contract names a header of its own.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The dialects that the configuration knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialectName {
    /// Azure DPS certificates.
    Dps,
    /// emnify second factors.
    Emnify,
    /// F5 XC TPM provisioning.
    F5,
    /// GNU Taler OTP devices.
    Taler,
}

impl DialectName {
    /// All of them, in the order in which a shared listener asks them whether they claim a path.
    pub const ALL: [Self; 4] = [Self::Taler, Self::Dps, Self::F5, Self::Emnify];

    /// The key that switches it.
    #[must_use]
    pub fn enabled_key(self) -> &'static str {
        match self {
            Self::Dps => "dialects.dps.enabled",
            Self::Emnify => "dialects.emnify.enabled",
            Self::F5 => "dialects.f5.enabled",
            Self::Taler => "dialects.taler.enabled",
        }
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dps => "dps",
            Self::Emnify => "emnify",
            Self::F5 => "f5",
            Self::Taler => "taler",
        }
    }
}

impl fmt::Display for DialectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No dialect has that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a dialect: they are taler, dps, f5 and emnify")]
pub struct UnknownDialect;

impl FromStr for DialectName {
    type Err = UnknownDialect;

    fn from_str(text: &str) -> Result<Self, UnknownDialect> {
        let mut all = Self::ALL.into_iter();
        all.find(|name| name.as_str() == text).ok_or(UnknownDialect)
    }
}
