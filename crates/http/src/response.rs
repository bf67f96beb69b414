//! The answers of applications, and what the stack adds.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use http_body_util::Full;
use hyper::body::Body;
use serde::Serialize;
use serde_json::json;

use crate::{RequestId, StackRefusal};

/// An answer with its whole body in memory; there is no streaming.
pub type Response = http::Response<Full<Bytes>>;

/// The initial capacity of a body, in bytes, enough for most answers.
const ROOM: usize = 1024;

/// Creates an answer with a JSON body. Maps must have string keys, so that serialisation never fails.
pub fn json(status: StatusCode, body: &impl Serialize) -> Response {
    json_as(status, "application/json", body)
}

/// Creates an answer like [`json()`], with another media type.
pub fn json_as(status: StatusCode, media_type: &'static str, body: &impl Serialize) -> Response {
    let mut text = Vec::with_capacity(ROOM);
    if serde_json::to_writer(&mut text, body).is_err() {
        text.clear();
    }
    with_body(status, media_type, text)
}

/// Creates an answer with this body and media type.
pub fn with_body(status: StatusCode, media_type: &'static str, body: Vec<u8>) -> Response {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let media_type = HeaderValue::from_static(media_type);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, media_type);
    response
}

/// Creates an answer with status 204 and no body.
pub fn no_content() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Keeps `kept` until the last piece of the answer is on its way to the client, or the connection has ended. A limit on
/// long answers thus applies for as long as the answer is in memory.
pub fn with_guard<K: Send + 'static>(response: Response, kept: K) -> Response {
    struct Guarded<K> {
        bytes: Bytes,
        _kept: K,
    }

    impl<K> AsRef<[u8]> for Guarded<K> {
        fn as_ref(&self) -> &[u8] {
            &self.bytes
        }
    }

    response.map(|mut body| {
        // `Full` returns all its bytes at once.
        let mut nobody = Context::from_waker(Waker::noop());
        let bytes = match Pin::new(&mut body).poll_frame(&mut nobody) {
            Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            _ => Bytes::new(),
        };
        Full::new(Bytes::from_owner(Guarded { bytes, _kept: kept }))
    })
}

/// Creates a refusal as plain JSON, where no application determines its form.
pub fn plain_refusal(refusal: StackRefusal, request_id: RequestId) -> Response {
    json(
        refusal.status(),
        &json!({ "error": refusal.to_string(), "request_id": request_id.to_string() }),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn what_is_kept_goes_with_the_last_of_the_answer() {
        let kept = Arc::new(());
        let response = Response::new(Full::new(Bytes::from("a list")));
        let response = with_guard(response, Arc::clone(&kept));
        assert_eq!(Arc::strong_count(&kept), 2);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "a list");
        drop(body);
        assert_eq!(Arc::strong_count(&kept), 1);
        // An empty body keeps nothing.
        let empty = with_guard(Response::default(), Arc::clone(&kept));
        assert_eq!(Arc::strong_count(&kept), 1);
        drop(empty);
    }
}
