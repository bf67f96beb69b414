//! Traces of requests, sent to an OpenTelemetry collector: OTLP over HTTP, in protobuf.
//!
//! A request's span has the method, the route *template*, the status and the dialect. It never has a path, a query, a
//! tenant, a user or an id. Its child spans are the operations that the request waits for (`parts`).

mod parts;

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, StatusCode};
use keyproof_http::{BoxFuture, RequestLabels, RequestTrace, RequestTracer, Response};
use opentelemetry::{
    Context, InstrumentationScope, KeyValue,
    propagation::{Extractor, TextMapPropagator},
    trace::{Span as _, SpanBuilder, SpanKind, Status, Tracer as _, TracerProvider as _},
};
use opentelemetry_proto::{
    tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    transform::{
        common::tonic::ResourceAttributesWithSchema,
        trace::tonic::group_spans_by_resource_and_scope,
    },
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    propagation::TraceContextPropagator,
    trace::{
        IdGenerator, RandomIdGenerator, Sampler, SdkTracer, SdkTracerProvider, Span, SpanData,
        SpanProcessor,
    },
};
use prost::Message;

use super::outbox::{Counts, Exporter, Outbox, Outgoing, Room};
use crate::http_client::{ClientError, HttpClient, ServerUrl, TlsSetupError};
use parts::Current;

pub(super) use parts::{TracedEngine, WorkSpans};

/// Some megabytes of spans, which a busy server produces in seconds.
const ROOM: Room = Room {
    waiting: 4_096,
    at_once: 512,
    pause: Duration::from_secs(1),
    patience: Duration::from_secs(5),
};

/// The path in the OTLP specification, section *OTLP/HTTP request*.
const PATH: &str = "/v1/traces";

/// The tracer of requests.
pub(crate) struct Traces {
    tracer: SdkTracer,
    propagator: TraceContextPropagator,
}

impl Traces {
    /// Starts sending traces to the collector at this address, with these header fields.
    ///
    /// # Errors
    ///
    /// If TLS to the collector cannot be set up.
    pub(crate) fn start(
        url: &ServerUrl,
        fields: HeaderMap,
        counts: Counts,
    ) -> Result<(Arc<Self>, Outgoing), TlsSetupError> {
        let resource = resource();
        let collector = Collector {
            client: client(url)?,
            fields,
            resource: (&resource).into(),
        };
        let (outbox, outgoing) = Outbox::start(ROOM, collector, counts);
        let provider = SdkTracerProvider::builder()
            // For a trace that a proxy began, the proxy decides on sampling. All others are sampled.
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
            .with_resource(resource)
            .with_span_processor(Ended(outbox))
            .build();
        let scope = InstrumentationScope::builder("keyproof")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        let traces = Self {
            tracer: provider.tracer_with_scope(scope),
            propagator: TraceContextPropagator::new(),
        };
        Ok((Arc::new(traces), outgoing))
    }
}

/// Creates the client of the collector.
///
/// # Errors
///
/// If TLS to the collector cannot be set up.
pub(super) fn client(url: &ServerUrl) -> Result<HttpClient, TlsSetupError> {
    HttpClient::new(url.clone(), None, None, ROOM.patience)
}

/// Returns the attributes of this process, by OpenTelemetry's semantic conventions.
fn resource() -> Resource {
    let instance = RandomIdGenerator::default().new_trace_id().to_string();
    Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", "keyproof"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", instance),
        ])
        .build()
}

impl RequestTracer for Traces {
    fn begin(&self, parent: Option<&str>) -> Box<dyn RequestTrace> {
        let parent = Parent(parent);
        let parent = self
            .propagator
            .extract_with_context(&Context::new(), &parent);
        let builder = SpanBuilder::from_name("request").with_kind(SpanKind::Server);
        let span = self.tracer.build_with_context(builder, &parent);
        let id = span.span_context().trace_id().to_string();
        let current = Current {
            tracer: self.tracer.clone(),
            request: span.span_context().clone(),
        };
        Box::new(Trace { id, span, current })
    }
}

/// A trusted proxy's `traceparent`. Its `tracestate` is ignored, as it would be passed on to nobody.
struct Parent<'a>(Option<&'a str>);

impl Extractor for Parent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.filter(|_| key == "traceparent")
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent"]
    }
}

/// The span of a request.
struct Trace {
    id: String,
    span: Span,
    current: Current,
}

impl RequestTrace for Trace {
    fn id(&self) -> &str {
        &self.id
    }

    fn wrap_handler(&self, handler: BoxFuture<Response>) -> BoxFuture<Response> {
        self.current.clone().scope(handler)
    }

    /// Names attributes by OpenTelemetry's semantic conventions for HTTP spans.
    fn end(mut self: Box<Self>, labels: RequestLabels, status: Option<StatusCode>) {
        let (application, method, route) = (labels.application, labels.method, labels.route);
        let span = &mut self.span;
        let method = if method == "other" { "_OTHER" } else { method };
        span.set_attribute(KeyValue::new("http.request.method", method));
        span.set_attribute(KeyValue::new("keyproof.dialect", application));
        let named = if method == "_OTHER" { "HTTP" } else { method };
        if route == "-" {
            span.update_name(named);
        } else {
            span.update_name(format!("{named} {route}"));
            span.set_attribute(KeyValue::new("http.route", route));
        }
        match status {
            None => span.set_attribute(KeyValue::new("error.type", "client_hung_up")),
            Some(status) => {
                let code = i64::from(status.as_u16());
                span.set_attribute(KeyValue::new("http.response.status_code", code));
                if status.is_server_error() {
                    span.set_status(Status::error(""));
                }
            }
        }
        span.end();
    }
}

/// Sends ended spans to the outbox.
#[derive(Debug)]
struct Ended(Outbox<SpanData>);

impl SpanProcessor for Ended {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.add(span);
    }

    /// The server itself finishes the outbox.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// The connection to the collector.
struct Collector {
    client: HttpClient,
    /// Header fields besides those that each request has.
    fields: HeaderMap,
    resource: ResourceAttributesWithSchema,
}

/// Why spans were not accepted.
#[derive(Debug, thiserror::Error)]
enum CollectorError {
    /// The collector cannot be reached.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The collector returned an error.
    #[error("the collector answers {0}")]
    Status(StatusCode),
}

impl Exporter<SpanData> for Collector {
    type Error = CollectorError;

    const WHAT: &'static str = "traces reach the collector (telemetry.otlp)";

    async fn export(&mut self, spans: Vec<SpanData>) -> Result<usize, CollectorError> {
        let request = ExportTraceServiceRequest {
            resource_spans: group_spans_by_resource_and_scope(spans, &self.resource),
        };
        let kind = HeaderValue::from_static("application/x-protobuf");
        let body = request.encode_to_vec().into();
        let (client, fields) = (&self.client, &self.fields);
        let answer = client.post_bytes(PATH, fields, kind, body).await?;
        if !answer.status.is_success() {
            return Err(CollectorError::Status(answer.status));
        }
        // A malformed response reports no rejected spans.
        let answer = ExportTraceServiceResponse::decode(answer.body).unwrap_or_default();
        let partial = answer.partial_success.unwrap_or_default();
        Ok(usize::try_from(partial.rejected_spans).unwrap_or(0))
    }
}
