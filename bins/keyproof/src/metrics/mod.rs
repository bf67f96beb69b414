//! The Prometheus metrics, at `/metrics` on the listener of `metrics.listen`.
//!
//! `docs/operate/metrics.md` lists them with their labels. A test here compares that list with a scrape.
//!
//! The listener has its own connections, so that a server at `http.max_connections` can still be scraped. TLS and
//! `http.insecure` apply to it as to every other listener.

mod exposition;
mod request_history;
mod scrape;

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock, PoisonError, RwLock, Weak},
    time::{Duration, SystemTime},
};

use http::StatusCode;
use keyproof_http::{RequestLabels, RequestObserver};
use keyproof_service::Service;
use keyproof_store::{CommitError, CommitObserver, Timestamp};
use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::telemetry::outbox::Counts;
use request_history::RequestHistory;

pub(crate) use exposition::Exposition;
pub(crate) use request_history::Minute;

/// Buckets in seconds, from a read in memory to `http.handler_timeout_ms` with a slow body.
const DURATIONS: [f64; 15] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

const GROUP_SIZES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// The origins of listener sockets: opened by the server, or passed by a supervisor.
const OWN: &str = "own";
const PASSED: &str = "passed";

/// The metrics of one server.
pub(crate) struct Metrics {
    registry: Registry,
    /// The last hour.
    request_history: RequestHistory,
    requests: IntCounterVec,
    durations: HistogramVec,
    /// The metrics of requests with equal labels and status, so that one look-up finds them.
    labelled: RwLock<HashMap<(RequestLabels, Option<StatusCode>), LabelledRequests>>,
    connections: IntGauge,
    commits: IntCounterVec,
    group_sizes: Histogram,
    start: Gauge,
    draining: IntGauge,
    listeners: IntGaugeVec,
    /// Set once there is a certificate.
    tls_expiry: OnceLock<IntGauge>,
    /// The use cases whose figures are exposed. They hold the store, which holds these metrics.
    service: OnceLock<Weak<Service>>,
}

/// A counter of `requests`, and a histogram of `durations` unless these requests have none.
struct LabelledRequests {
    requests: IntCounter,
    durations: Option<Histogram>,
}

impl Metrics {
    /// Creates all metrics, at zero.
    ///
    /// # Errors
    ///
    /// If two have the same name, or a name is invalid.
    pub(crate) fn new() -> prometheus::Result<Self> {
        let metrics = Self {
            registry: Registry::new(),
            request_history: RequestHistory::default(),
            requests: IntCounterVec::new(
                Opts::new("keyproof_http_requests_total", "Completed requests."),
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
            labelled: RwLock::default(),
            connections: IntGauge::new("keyproof_http_connections", "Open connections.")?,
            commits: IntCounterVec::new(
                Opts::new("keyproof_store_commits_total", "Batches, by their outcome."),
                &["outcome"],
            )?,
            group_sizes: Histogram::with_opts(
                HistogramOpts::new(
                    "keyproof_store_commit_group_size",
                    "Batches in one transaction.",
                )
                .buckets(GROUP_SIZES.to_vec()),
            )?,
            start: Gauge::new(
                "process_start_time_seconds",
                "When the process started, in seconds since 1970.",
            )?,
            draining: IntGauge::new("keyproof_draining", "1 while the server shuts down.")?,
            listeners: IntGaugeVec::new(
                Opts::new(
                    "keyproof_listeners",
                    "Listeners, by where their sockets come from.",
                ),
                &["socket"],
            )?,
            tls_expiry: OnceLock::new(),
            service: OnceLock::new(),
        };
        let registry = &metrics.registry;
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.durations.clone()))?;
        registry.register(Box::new(metrics.connections.clone()))?;
        registry.register(Box::new(metrics.commits.clone()))?;
        registry.register(Box::new(metrics.group_sizes.clone()))?;
        registry.register(Box::new(metrics.start.clone()))?;
        registry.register(Box::new(metrics.draining.clone()))?;
        registry.register(Box::new(metrics.listeners.clone()))?;
        // The server starts with its process. A clock before 1970 is reported as 1970.
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        metrics.start.set(since.unwrap_or_default().as_secs_f64());
        // A rate needs a first value before the first failure.
        for outcome in ["applied", "conflict", "not_applied", "unknown"] {
            metrics.commits.with_label_values(&[outcome]);
        }
        for socket in [OWN, PASSED] {
            metrics.listeners.with_label_values(&[socket]);
        }
        Ok(metrics)
    }

    /// Encodes all metrics in the text format of Prometheus, version 0.0.4.
    ///
    /// # Errors
    ///
    /// If one cannot be encoded.
    fn expose(&self) -> prometheus::Result<Vec<u8>> {
        let service = self.service.get().and_then(Weak::upgrade);
        let figures = service.map(|service| service.figures());
        let mut families = self.registry.gather();
        families.extend(scrape::gather(figures.as_ref())?);
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text)?;
        Ok(text)
    }

    /// Records that the server drains.
    pub(crate) fn drains(&self) {
        self.draining.set(1);
    }

    /// Records another listener, whose socket a supervisor may have passed.
    pub(crate) fn listens(&self, is_passed: bool) {
        let socket = if is_passed { PASSED } else { OWN };
        self.listeners.with_label_values(&[socket]).inc();
    }

    /// Also exposes the figures of these use cases. Only the first call counts.
    pub(crate) fn watch(&self, service: &Arc<Service>) {
        self.service.get_or_init(|| Arc::downgrade(service));
    }

    /// Registers and returns the counters for spans.
    ///
    /// # Errors
    ///
    /// If the metric's name is taken.
    #[cfg(any(feature = "otlp", test))]
    pub(crate) fn spans(&self) -> prometheus::Result<Counts> {
        self.outgoing(
            "keyproof_otlp_spans_total",
            "Spans, by whether the collector received them.",
        )
    }

    /// Registers and returns the counters for audit events sent to the journal.
    ///
    /// # Errors
    ///
    /// If the metric's name is taken.
    pub(crate) fn journal(&self) -> prometheus::Result<Counts> {
        self.outgoing(
            "keyproof_audit_journal_total",
            "Events of the audit trail, by whether the journal received them.",
        )
    }

    fn outgoing(&self, name: &str, help: &str) -> prometheus::Result<Counts> {
        let counted = IntCounterVec::new(Opts::new(name, help), &["outcome"])?;
        self.registry.register(Box::new(counted.clone()))?;
        Ok(Counts {
            delivered: counted.with_label_values(&["delivered"]),
            lost: counted.with_label_values(&["lost"]),
        })
    }

    fn labelled(
        &self,
        labels: RequestLabels,
        status: Option<StatusCode>,
        took: Option<Duration>,
    ) -> LabelledRequests {
        let (application, method, route) = (labels.application, labels.method, labels.route);
        let status = status.as_ref().map_or("none", StatusCode::as_str);
        LabelledRequests {
            requests: self
                .requests
                .with_label_values(&[application, method, route, status]),
            // Malformed heads have labels of their own, and never a duration.
            durations: took.map(|_| {
                self.durations
                    .with_label_values(&[application, method, route])
            }),
        }
    }

    /// Returns the requests of the last hour by minute, oldest first.
    pub(crate) fn last_hour(&self) -> Vec<Minute> {
        self.request_history.minutes()
    }

    /// Returns when the listeners' certificate expires, if there is one.
    pub(crate) fn tls_end(&self) -> Option<Timestamp> {
        let end = self.tls_expiry.get()?.get();
        u64::try_from(end).ok().map(Timestamp::from_secs)
    }

    /// Records when the listeners' certificate expires.
    ///
    /// # Errors
    ///
    /// If the metric's name is taken.
    pub(crate) fn tls_ends(&self, not_after: i64) -> prometheus::Result<()> {
        if self.tls_expiry.get().is_none() {
            let gauge = IntGauge::new(
                "keyproof_tls_certificate_expiry_timestamp_seconds",
                "When the listeners' certificate expires, in seconds since 1970.",
            )?;
            self.registry.register(Box::new(gauge.clone()))?;
            self.tls_expiry.get_or_init(|| gauge);
        }
        if let Some(gauge) = self.tls_expiry.get() {
            gauge.set(not_after);
        }
        Ok(())
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
        self.request_history.note(status, labels.is_login);
        let count = |labelled: &LabelledRequests| {
            labelled.requests.inc();
            if let (Some(took), Some(durations)) = (took, &labelled.durations) {
                durations.observe(took.as_secs_f64());
            }
        };
        // The lock cannot be poisoned by code here, as none can panic.
        let labelled = self.labelled.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(labelled) = labelled.get(&(labels, status)) {
            return count(labelled);
        }
        drop(labelled);
        let mut labelled = self
            .labelled
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let first = || self.labelled(labels, status, took);
        count(labelled.entry((labels, status)).or_insert_with(first));
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
                Err(CommitError::Unknown(_)) => "unknown",
            };
            self.commits.with_label_values(&[outcome]).inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyproof_service::{ClockDifference, Figures};
    use keyproof_store::PoolStatus;
    use prometheus::proto::{MetricFamily, MetricType};
    use std::collections::BTreeSet;

    const LIST: &str = include_str!("../../../../docs/operate/metrics.md");

    fn line(family: &MetricFamily) -> String {
        let kind = match family.get_field_type() {
            MetricType::COUNTER => "counter",
            MetricType::GAUGE => "gauge",
            MetricType::HISTOGRAM => "histogram",
            other => panic!("{other:?}"),
        };
        let labels: Vec<_> = family
            .get_metric()
            .first()
            .into_iter()
            .flat_map(|metric| metric.get_label())
            .map(|label| format!("`{}`", label.name()))
            .collect();
        format!("| `{}` | {kind} | {} |", family.name(), labels.join(", "))
    }

    #[test]
    fn the_list_for_operators_is_what_a_scrape_says() {
        let metrics = Metrics::new().unwrap();
        metrics.tls_ends(0).unwrap();
        metrics.spans().unwrap();
        metrics.journal().unwrap();
        let labels = RequestLabels {
            application: "taler",
            method: "GET",
            route: "/config",
            is_login: false,
        };
        metrics.request_ended(labels, Some(StatusCode::OK), Some(Duration::ZERO));
        let mut families = metrics.registry.gather();
        let figures = Figures {
            clock_difference: Some(ClockDifference::default()),
            pool: Some(PoolStatus::default()),
            retries: [("accounts.log_in", 1)].into(),
            certificates_end: Some(Timestamp::EPOCH),
            authorities_end: Some(Timestamp::EPOCH),
            tpm_certificates_end: Some(Timestamp::EPOCH),
            ..Figures::default()
        };
        families.extend(scrape::gather(Some(&figures)).unwrap());
        let told: BTreeSet<_> = families.iter().map(line).collect();
        let listed: BTreeSet<_> = LIST
            .lines()
            .filter(|line| line.starts_with("| `"))
            .map(|line| line.splitn(5, '|').take(4).collect::<Vec<_>>().join("|") + "|")
            .collect();
        assert_eq!(told, listed);
    }
}
