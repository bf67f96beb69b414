//! Which dialects a listener serves.

use std::sync::Arc;

use http::{HeaderValue, header};

use super::{RequestId, RequestPath, Response, StackRefusal, response::plain_refusal};
use crate::dialect::{Dialect, X_REQUEST_ID};

/// The methods that some path has.
const ALLOW: HeaderValue = HeaderValue::from_static("DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT");

/// The dialects of one listener, in the order in which they are asked whether they claim a path.
#[derive(Clone, Default)]
pub(crate) struct Site {
    /// Asked in this order.
    pub(crate) dialects: Vec<Arc<dyn Dialect>>,
    /// Gives its shape to refusals of paths that no dialect claims; without one they are plain JSON.
    pub(crate) unclaimed: Option<Arc<dyn Dialect>>,
}

impl Site {
    pub(super) fn dialect(&self, path: &RequestPath) -> Option<&Arc<dyn Dialect>> {
        self.dialects.iter().find(|dialect| dialect.claims(path))
    }

    /// Puts a refusal in the shape of the dialect that claims the path, or of the one for unclaimed paths. Whether it may
    /// be tried again is the same in all of them.
    pub(super) fn refuse(
        &self,
        dialect: Option<&Arc<dyn Dialect>>,
        refusal: StackRefusal,
        request_id: RequestId,
    ) -> Response {
        let mut response = match dialect.or(self.unclaimed.as_ref()) {
            Some(dialect) => dialect.refuse(refusal, request_id),
            None => plain_refusal(refusal, request_id),
        };
        let headers = response.headers_mut();
        match refusal.may_be_retried() {
            true => headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1")),
            false => headers.remove(header::RETRY_AFTER),
        };
        if refusal == StackRefusal::MethodNotAllowed {
            headers.insert(header::ALLOW, ALLOW);
        }
        response
    }

    /// Sets the request id on an answer, in the dialect's own header.
    pub(super) fn stamp(
        &self,
        dialect: Option<&Arc<dyn Dialect>>,
        request_id: RequestId,
        response: &mut Response,
    ) {
        let name = dialect
            .or(self.unclaimed.as_ref())
            .map_or(X_REQUEST_ID, |dialect| dialect.request_id_header());
        if let Ok(value) = request_id.to_string().try_into() {
            response.headers_mut().insert(name, value);
        }
    }
}
