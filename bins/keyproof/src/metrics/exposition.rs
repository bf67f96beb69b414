//! `/metrics`, for Prometheus.

use std::{future::ready, sync::Arc};

use http::{Method, StatusCode};
use keyproof_http::{
    Application, BoxFuture, Exchange, RequestId, RequestPath, Response, StackRefusal,
    plain_refusal, with_body,
};
use prometheus::TEXT_FORMAT;
use tracing::error;

use super::Metrics;

/// Serves the only path of the metrics listener.
pub(crate) struct Exposition(pub(crate) Arc<Metrics>);

impl Application for Exposition {
    fn name(&self) -> &'static str {
        "metrics"
    }

    fn claims(&self, path: &RequestPath) -> bool {
        matches!(path.segments().as_deref(), Ok(["metrics"]))
    }

    fn handle(self: Arc<Self>, exchange: Exchange) -> BoxFuture<Response> {
        exchange.matched("/metrics");
        let response = match *exchange.method() {
            Method::GET | Method::HEAD => self.answer(exchange.request_id()),
            _ => {
                exchange.mark_method_not_allowed("GET, HEAD");
                let mut response = Response::default();
                *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
                response
            }
        };
        Box::pin(ready(response))
    }

    fn refuse(&self, refusal: StackRefusal, request_id: RequestId) -> Response {
        plain_refusal(refusal, request_id)
    }
}

impl Exposition {
    fn answer(&self, request_id: RequestId) -> Response {
        match self.0.expose() {
            Ok(text) => with_body(StatusCode::OK, TEXT_FORMAT, text),
            Err(error) => {
                error!(%error, "the metrics cannot be written");
                plain_refusal(StackRefusal::Internal, request_id)
            }
        }
    }
}
