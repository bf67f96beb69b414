//! Child spans of a request for what it waits for: store operations and CPU-bound work. They have the kind of operation
//! and its outcome, and never a key, a name or a record.

use std::{ops::RangeInclusive, sync::Arc};

use keyproof_http::{BoxFuture as Handler, Response};
use keyproof_service::{Work, WorkObserver};
use keyproof_store::{
    BoxFuture, Changes, CommitError, CommitObserver, Engine, EngineError, EngineSnapshot, Key,
    PoolStatus, Prefix, Reading, Row, Standbys, Timestamp, Version,
};
use opentelemetry::{
    Context, KeyValue,
    trace::{
        Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _,
    },
};
use opentelemetry_sdk::trace::{SdkTracer, Span};

/// The request that a task is handling.
#[derive(Clone)]
pub(super) struct Current {
    pub(super) tracer: SdkTracer,
    pub(super) request: SpanContext,
}

tokio::task_local! {
    static CURRENT: Current;
}

impl Current {
    /// Runs a handler as part of this request.
    pub(super) fn scope(self, handler: Handler<Response>) -> Handler<Response> {
        Box::pin(CURRENT.scope(self, handler))
    }

    /// Begins a child span of the task's request. Returns `None` if the task is not handling a traced one.
    fn part(name: &'static str, kind: SpanKind) -> Option<Span> {
        let begun = CURRENT.try_with(|current| {
            let request = Context::new().with_remote_span_context(current.request.clone());
            let builder = SpanBuilder::from_name(name).with_kind(kind);
            // If the request is not sampled, neither is the span.
            current.tracer.build_with_context(builder, &request)
        });
        begun.ok()
    }
}

/// Creates spans for the work that requests wait for.
pub(in crate::telemetry) struct WorkSpans;

impl WorkObserver for WorkSpans {
    fn asked(&self, work: Work) -> Option<Box<dyn Send>> {
        let name = match work {
            Work::Hashing => "hash a password",
            Work::CpuQueue => "judge",
        };
        // The span ends when it is dropped.
        let span = Current::part(name, SpanKind::Internal)?;
        Some(Box::new(span))
    }
}

/// An engine whose operations become child spans of requests.
pub(in crate::telemetry) struct TracedEngine {
    pub(in crate::telemetry) inner: Arc<dyn Engine>,
    /// The database's name in OpenTelemetry's semantic conventions.
    pub(in crate::telemetry) system: &'static str,
}

impl TracedEngine {
    fn begin(&self, operation: &'static str) -> Option<Span> {
        let kind = match self.system {
            "memory" => SpanKind::Internal,
            _ => SpanKind::Client,
        };
        let mut span = Current::part(operation, kind)?;
        span.set_attribute(KeyValue::new("db.system.name", self.system));
        span.set_attribute(KeyValue::new("db.operation.name", operation));
        Some(span)
    }

    /// Wraps a read in a span.
    fn reading<'a, T: Send + 'a>(
        &self,
        operation: &'static str,
        reading: BoxFuture<'a, Result<T, EngineError>>,
    ) -> BoxFuture<'a, Result<T, EngineError>> {
        let Some(mut span) = self.begin(operation) else {
            return reading;
        };
        Box::pin(async move {
            let read = reading.await;
            if read.is_err() {
                fail(&mut span, "unavailable");
            }
            read
        })
    }
}

fn fail(span: &mut Span, why: &'static str) {
    span.set_attribute(KeyValue::new("error.type", why));
    span.set_status(Status::error(""));
}

impl Engine for TracedEngine {
    fn get_many<'a>(
        &'a self,
        keys: &'a [Key],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Option<Row>>, EngineError>> {
        self.reading("read", self.inner.get_many(keys, now))
    }

    fn read(
        &self,
        reading: Reading,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Reading, EngineError>> {
        self.reading("read", self.inner.read(reading, now))
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a Key>,
        limit: usize,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<(Key, Row)>, EngineError>> {
        self.reading("scan", self.inner.scan(prefix, after, limit, now))
    }

    fn scan_back<'a>(
        &'a self,
        prefix: &'a Prefix,
        before: Option<&'a Key>,
        limit: usize,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<(Key, Row)>, EngineError>> {
        self.reading("scan", self.inner.scan_back(prefix, before, limit, now))
    }

    fn expired(
        &self,
        within: RangeInclusive<Timestamp>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Key, Version)>, EngineError>> {
        self.reading("expired", self.inner.expired(within, limit))
    }

    fn commit(&self, changes: Changes) -> BoxFuture<'_, Result<(), CommitError>> {
        let Some(mut span) = self.begin("commit") else {
            return self.inner.commit(changes);
        };
        // By the conventions, a single operation has no batch size.
        if changes.entries().len() > 1 {
            let size = i64::try_from(changes.entries().len()).unwrap_or(i64::MAX);
            span.set_attribute(KeyValue::new("db.operation.batch.size", size));
        }
        let commit = self.inner.commit(changes);
        Box::pin(async move {
            let done = commit.await;
            match &done {
                Ok(()) => {}
                // Not an error of the span, as the use case decides again.
                Err(CommitError::Conflict { .. }) => {
                    span.set_attribute(KeyValue::new("error.type", "conflict"));
                }
                Err(CommitError::NotApplied(_)) => fail(&mut span, "not_applied"),
                Err(CommitError::Unknown(_)) => fail(&mut span, "unknown"),
            }
            done
        })
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Box<dyn EngineSnapshot>, EngineError>> {
        self.inner.snapshot()
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        self.inner.ready()
    }

    fn standbys(&self) -> BoxFuture<'_, Result<Standbys, EngineError>> {
        self.inner.standbys()
    }

    fn server_time(&self) -> BoxFuture<'_, Result<Option<Timestamp>, EngineError>> {
        self.inner.server_time()
    }

    fn pool(&self) -> Option<PoolStatus> {
        self.inner.pool()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }

    fn observe(&self, observer: Arc<dyn CommitObserver>) {
        self.inner.observe(observer);
    }

    fn fence(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        self.inner.fence()
    }

    fn compact(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        self.inner.compact()
    }

    fn estimate(&self) -> BoxFuture<'_, Result<Option<u64>, EngineError>> {
        self.inner.estimate()
    }

    fn is_empty(&self) -> BoxFuture<'_, Result<bool, EngineError>> {
        self.inner.is_empty()
    }
}
