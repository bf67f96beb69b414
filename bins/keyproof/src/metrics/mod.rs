//! What Prometheus reads, at `/metrics` on the listener of `metrics.listen`.
//!
//! | name | type | labels | what |
//! |---|---|---|---|
//! | `keyproof_http_requests_total` | counter | `dialect`, `method`, `route`, `status` | requests that have ended |
//! | `keyproof_http_request_duration_seconds` | histogram | `dialect`, `method`, `route` | from a request's head to the end of its answer's making, reading the body included |
//! | `keyproof_http_connections` | gauge | | open connections of all listeners, the scrape's own included |
//! | `keyproof_store_commits_total` | counter | `outcome` | batches, by how they ended |
//! | `keyproof_store_commit_group_size` | histogram | | batches in one transaction; the engines of this version take up to 256 |
//!
//! Labels are bounded: clients choose none of their values.
//!
//! - `dialect`: its name in the configuration; `metrics` for scrapes; `-` where no dialect claims the path.
//! - `method`: one of RFC 9110's and `PATCH`; `other`; `-` for a head that cannot be read, which has no duration.
//! - `route`: the template, never the path: `/private/otp-devices/{id}`; `-` where there is none.
//! - `status`: three digits; `none` where the client hung up before it was answered.
//! - `outcome`: `applied`, `conflict`, `not_applied` or `unknown`, as [`CommitError`] tells them apart. A batch that is
//!   refused before it reaches a transaction is not counted.
//!
//! The listener has connections of its own, so that a server at `http.max_connections` can still be looked at. TLS and
//! `http.insecure` concern it as they do every other.

mod exposition;

use std::time::Duration;

pub(crate) use exposition::Exposition;
use http::StatusCode;
use keyproof_http::{RequestLabels, RequestObserver};
use keyproof_store::{CommitError, CommitObserver};
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};

/// From a read in memory to `http.handler_timeout_ms` and a slow body, in seconds.
const DURATIONS: [f64; 15] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

const GROUP_SIZES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// The metrics of one server.
pub(crate) struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    durations: HistogramVec,
    connections: IntGauge,
    commits: IntCounterVec,
    group_sizes: Histogram,
}

impl Metrics {
    /// All of them, at zero.
    ///
    /// # Errors
    ///
    /// If two have one name, or a name is none.
    pub(crate) fn new() -> prometheus::Result<Self> {
        let metrics = Self {
            registry: Registry::new(),
            requests: IntCounterVec::new(
                Opts::new("keyproof_http_requests_total", "Requests that have ended."),
                &["dialect", "method", "route", "status"],
            )?,
            durations: HistogramVec::new(
                HistogramOpts::new(
                    "keyproof_http_request_duration_seconds",
                    "From a request's head to its answer.",
                )
                .buckets(DURATIONS.to_vec()),
                &["dialect", "method", "route"],
            )?,
            connections: IntGauge::new("keyproof_http_connections", "Open connections.")?,
            commits: IntCounterVec::new(
                Opts::new(
                    "keyproof_store_commits_total",
                    "Batches, by how they ended.",
                ),
                &["outcome"],
            )?,
            group_sizes: Histogram::with_opts(
                HistogramOpts::new(
                    "keyproof_store_commit_group_size",
                    "Batches in one transaction.",
                )
                .buckets(GROUP_SIZES.to_vec()),
            )?,
        };
        let registry = &metrics.registry;
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.durations.clone()))?;
        registry.register(Box::new(metrics.connections.clone()))?;
        registry.register(Box::new(metrics.commits.clone()))?;
        registry.register(Box::new(metrics.group_sizes.clone()))?;
        // A rate needs a first value before the first failure.
        for outcome in ["applied", "conflict", "not_applied", "unknown"] {
            metrics.commits.with_label_values(&[outcome]);
        }
        Ok(metrics)
    }

    /// All of them, in the text format of Prometheus, version 0.0.4.
    ///
    /// # Errors
    ///
    /// If one cannot be written in that format.
    fn expose(&self) -> prometheus::Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

impl RequestObserver for Metrics {
    fn connection_opened(&self) {
        self.connections.inc();
    }

    fn connection_closed(&self) {
        self.connections.dec();
    }

    fn request_ended(
        &self,
        labels: RequestLabels,
        status: Option<StatusCode>,
        took: Option<Duration>,
    ) {
        let RequestLabels {
            application,
            method,
            route,
        } = labels;
        let status = status.as_ref().map_or("none", StatusCode::as_str);
        let counted = self
            .requests
            .with_label_values(&[application, method, route, status]);
        counted.inc();
        if let Some(took) = took {
            let durations = self
                .durations
                .with_label_values(&[application, method, route]);
            durations.observe(took.as_secs_f64());
        }
    }
}

impl CommitObserver for Metrics {
    fn committed(&self, group: &[Result<(), CommitError>]) {
        // Exact: no group has 2^32 batches.
        let size = u32::try_from(group.len()).unwrap_or(u32::MAX);
        self.group_sizes.observe(size.into());
        for outcome in group {
            let outcome = match outcome {
                Ok(()) => "applied",
                Err(CommitError::Conflict { .. }) => "conflict",
                Err(CommitError::NotApplied(_)) => "not_applied",
                // `Unknown`, and whatever a later store cannot say more of.
                Err(_) => "unknown",
            };
            self.commits.with_label_values(&[outcome]).inc();
        }
    }
}
