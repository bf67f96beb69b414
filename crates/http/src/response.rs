//! What a dialect answers with, and what the stack adds.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;
use serde_json::json;

use crate::{RequestId, StackRefusal};

/// An answer, whole in memory: no contract here streams.
pub type Response = http::Response<Full<Bytes>>;

/// How much room a body has at first, in bytes: most answers need no more.
const ROOM: usize = 1024;

/// An answer with a JSON body, whose maps have texts for keys: then it always serialises.
pub fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let mut text = Vec::with_capacity(ROOM);
    if serde_json::to_writer(&mut text, body).is_err() {
        text.clear();
    }
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// A refusal where no application has a shape for it.
pub fn plain_refusal(refusal: StackRefusal, request_id: RequestId) -> Response {
    json(
        refusal.status(),
        &json!({ "error": refusal.to_string(), "request_id": request_id.to_string() }),
    )
}

/// The matched route: told by the handler, read by the access log when it has answered.
#[derive(Default)]
pub(crate) struct Route {
    template: OnceLock<&'static str>,
    is_login: AtomicBool,
}

impl Route {
    pub(crate) fn matched(&self, template: &'static str) {
        // The first one told stands.
        let _ = self.template.set(template);
    }

    pub(crate) fn template(&self) -> &'static str {
        self.template.get().copied().unwrap_or("-")
    }

    pub(crate) fn logs_in(&self) {
        self.is_login.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_login(&self) -> bool {
        self.is_login.load(Ordering::Relaxed)
    }
}
