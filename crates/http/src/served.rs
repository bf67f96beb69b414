//! The applications that a listener serves.

use std::sync::Arc;

use http::{HeaderValue, header};

use crate::{
    Application, RequestId, RequestPath, Response, StackRefusal, application::X_REQUEST_ID,
    response::plain_refusal, retry::retry_soon,
};

/// All methods that any path has.
const ALLOW: HeaderValue = HeaderValue::from_static("DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT");

/// The applications of one listener, in the order in which their claims to a path are checked.
#[derive(Clone, Default)]
pub struct Served {
    /// The applications, in this order.
    pub applications: Vec<Arc<dyn Application>>,
    /// Determines the form of refusals for paths that no application claims. Without it, they are plain JSON.
    pub unclaimed: Option<Arc<dyn Application>>,
}

impl Served {
    pub(crate) fn application(&self, path: &RequestPath) -> Option<&Arc<dyn Application>> {
        self.applications
            .iter()
            .find(|application| application.claims(path))
    }

    /// Returns the application that refuses a head that could not be parsed: the only one, or the one that claims the path
    /// in it.
    pub(crate) fn application_of_unread(&self, unread: &[u8]) -> Option<&Arc<dyn Application>> {
        match self.applications.as_slice() {
            [only] => Some(only),
            _ => self.application(&unread_path(unread)?),
        }
    }

    /// Converts a refusal to the form of the application that claims the path, or of the one for unclaimed paths. Sets
    /// `Retry-After` independently of the form.
    pub(crate) fn refuse(
        &self,
        application: Option<&Arc<dyn Application>>,
        refusal: StackRefusal,
        request_id: RequestId,
    ) -> Response {
        let mut response = match application.or(self.unclaimed.as_ref()) {
            Some(application) => application.refuse(refusal, request_id),
            None => plain_refusal(refusal, request_id),
        };
        let headers = response.headers_mut();
        if refusal.may_be_retried() {
            retry_soon(headers);
        } else {
            headers.remove(header::RETRY_AFTER);
        }
        if refusal == StackRefusal::MethodNotAllowed {
            headers.insert(header::ALLOW, ALLOW);
        }
        response
    }

    /// Sets the request id on an answer, in the application's own header.
    pub(crate) fn stamp(
        &self,
        application: Option<&Arc<dyn Application>>,
        request_id: RequestId,
        response: &mut Response,
    ) {
        let name = application
            .or(self.unclaimed.as_ref())
            .map_or(X_REQUEST_ID, |application| application.request_id_header());
        if let Ok(value) = HeaderValue::from_str(request_id.as_str()) {
            response.headers_mut().insert(name, value);
        }
    }
}

/// Returns the target in a head's first line if it begins with a path, even if the head is invalid or truncated.
pub(crate) fn unread_target(unread: &[u8]) -> Option<&[u8]> {
    let mut words = unread
        .trim_ascii_start()
        .split(|byte| byte.is_ascii_whitespace());
    words.nth(1).filter(|target| target.starts_with(b"/"))
}

/// Returns the path in a head's first line, even if the head is invalid. The first segments of a truncated path suffice for
/// a claim.
fn unread_path(unread: &[u8]) -> Option<RequestPath> {
    let target = String::from_utf8_lossy(unread_target(unread)?);
    let path = target.split(['?', '#']).next()?;
    Some(RequestPath::of_target(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_that_cannot_be_read_names_its_path_if_it_names_one() {
        let path = |head: &str| unread_path(head.as_bytes());
        for head in [
            "GET /a/b HTTP/1.1\r\nno field\r\n",
            "\r\nGET /a/b?c HTTP/1.1\r\n",
            "GET /a/b#c HTTP/9\r\n",
            "GET /a/b",
        ] {
            assert_eq!(path(head), Some(RequestPath::parse("/a/b")), "{head:?}");
        }
        for none in [
            "",
            "GET",
            "GET ",
            "GET  /a HTTP/1.1",
            "no head",
            "GET a/b HTTP/1.1",
        ] {
            assert_eq!(path(none), None, "{none:?}");
        }
        let odd = unread_path(b"GET /a/\xff HTTP/1.1\r\n").unwrap();
        assert!(odd.starts_with(&["a"]));
    }
}
