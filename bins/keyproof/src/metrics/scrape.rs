//! The metrics computed at a scrape: the build, the process, and the figures of the use cases.

use keyproof_service::{Figures, HashingFigures, UpkeepFigures};
use keyproof_store::{PoolStatus, Standbys};
use procfs::process::Process;
use prometheus::{
    IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, proto::MetricFamily,
};

/// Returns the present metric families.
///
/// # Errors
///
/// If two have the same name, or a name is invalid.
pub(super) fn gather(figures: Option<&Figures>) -> prometheus::Result<Vec<MetricFamily>> {
    let families = Families(Registry::new());
    families.build()?;
    // Without `/proc`, these metrics are left out.
    if let Ok(process) = Process::myself() {
        families.process(&process)?;
    }
    if let Some(figures) = figures {
        families.hashing(&figures.hashing)?;
        families.queues(figures)?;
        families.counters(
            "keyproof_lists_refused_total",
            "Lists and searches refused because too many were running, in total or for their caller.",
            "list",
            figures.lists,
        )?;
        families.locks(figures)?;
        families.counters(
            "keyproof_use_case_retries_total",
            "Use cases that ran again, because a record changed meanwhile.",
            "use_case",
            figures
                .retries
                .iter()
                .map(|(name, retries)| (*name, *retries)),
        )?;
        families.counter(
            "keyproof_audit_left_out_total",
            "Refusals omitted from the audit trail because they came too fast.",
            figures.audit_left_out,
        )?;
        families.upkeep(&figures.upkeep)?;
        families.standbys(&figures.standbys)?;
        if let Some(difference) = figures.clock_difference {
            families.gauge(
                "keyproof_store_clock_difference_seconds",
                "How far this machine's clock is ahead of or behind that of the store's database.",
                difference.by.as_secs(),
            )?;
        }
        if let Some(pool) = &figures.pool {
            families.pool(pool)?;
        }
        if let Some(ends) = figures.certificates_end {
            families.gauge(
                "keyproof_dps_certificate_expiry_timestamp_seconds",
                "When the next CA certificate of a provisioning service expires, in seconds since 1970.",
                ends.as_secs(),
            )?;
        }
        if let Some(ends) = figures.authorities_end {
            families.gauge(
                "keyproof_tpm_ca_expiry_timestamp_seconds",
                "When the first CA of a TPM category expires, in seconds since 1970.",
                ends.as_secs(),
            )?;
        }
        if let Some(ends) = figures.tpm_certificates_end {
            families.gauge(
                "keyproof_tpm_certificate_expiry_timestamp_seconds",
                "When the next CA or client certificate of a TPM category expires, in seconds since 1970.",
                ends.as_secs(),
            )?;
        }
    }
    Ok(families.0.gather())
}

/// The metric families of one scrape.
struct Families(Registry);

impl Families {
    fn build(&self) -> prometheus::Result<()> {
        self.gauges(
            "keyproof_build_info",
            "The running build; always 1.",
            "version",
            [(env!("CARGO_PKG_VERSION"), 1)],
        )
    }

    /// Adds the process metrics, named as in the client libraries of Prometheus.
    fn process(&self, process: &Process) -> prometheus::Result<()> {
        if let Ok(stat) = process.stat() {
            let ticks = procfs::ticks_per_second();
            self.seconds_counter(
                "process_cpu_seconds_total",
                "User and system time.",
                seconds(stat.utime.saturating_add(stat.stime), ticks),
            )?;
            self.gauge(
                "process_virtual_memory_bytes",
                "Virtual memory.",
                stat.vsize,
            )?;
            let resident = stat.rss.saturating_mul(procfs::page_size());
            self.gauge(
                "process_resident_memory_bytes",
                "Resident memory.",
                resident,
            )?;
            let threads = u64::try_from(stat.num_threads).unwrap_or(0);
            self.gauge("process_threads", "Threads.", threads)?;
        }
        if let Ok(open) = process.fd_count() {
            let open = u64::try_from(open).unwrap_or(u64::MAX);
            self.gauge("process_open_fds", "Open file descriptors.", open)?;
        }
        if let Ok(limits) = process.limits()
            && let procfs::process::LimitValue::Value(most) = limits.max_open_files.soft_limit
        {
            self.gauge(
                "process_max_fds",
                "File descriptors that may be open.",
                most,
            )?;
        }
        Ok(())
    }

    fn hashing(&self, figures: &HashingFigures) -> prometheus::Result<()> {
        self.gauge(
            "keyproof_hashing_running",
            "Passwords being hashed now.",
            figures.running,
        )?;
        self.gauge(
            "keyproof_hashing_waiting",
            "Passwords that wait for a hashing thread.",
            figures.waiting,
        )?;
        self.counters(
            "keyproof_hashing_total",
            "Requests for a password's hash, by their outcome.",
            "outcome",
            [
                ("hashed", figures.hashed),
                ("busy", figures.busy),
                ("gone", figures.gone),
                ("limited", figures.limited),
            ],
        )
    }

    fn queues(&self, figures: &Figures) -> prometheus::Result<()> {
        self.gauges(
            "keyproof_judging_queue",
            "Jobs that run or wait beside the async threads.",
            "domain",
            figures
                .queues
                .map(|(domain, queue)| (domain, whole(queue.taken))),
        )?;
        self.gauges(
            "keyproof_judging_queue_capacity",
            "How many of these jobs may run or wait.",
            "domain",
            figures
                .queues
                .map(|(domain, queue)| (domain, whole(queue.capacity))),
        )?;
        self.counters(
            "keyproof_judging_refused_total",
            "Requests refused because the queue, or the caller's half of it, was full.",
            "domain",
            figures
                .queues
                .map(|(domain, queue)| (domain, queue.refused)),
        )
    }

    fn locks(&self, figures: &Figures) -> prometheus::Result<()> {
        self.counters(
            "keyproof_locks_total",
            "Locks that began after failed passwords and codes.",
            "domain",
            figures.locks.map(|(domain, locks)| (domain, locks.begun)),
        )?;
        self.counters(
            "keyproof_lock_refusals_total",
            "Attempts that were refused because of a lock.",
            "domain",
            figures.locks.map(|(domain, locks)| (domain, locks.refused)),
        )
    }

    fn upkeep(&self, figures: &UpkeepFigures) -> prometheus::Result<()> {
        self.counters(
            "keyproof_upkeep_rounds_total",
            "Rounds of the clean-up, by their outcome.",
            "outcome",
            [("done", figures.rounds), ("failed", figures.failed)],
        )?;
        self.counter(
            "keyproof_upkeep_removed_total",
            "Expired records that were deleted.",
            figures.removed,
        )?;
        self.gauge(
            "keyproof_upkeep_behind",
            "1 while a round leaves work for the next.",
            u8::from(figures.is_behind),
        )
    }

    fn standbys(&self, standbys: &Standbys) -> prometheus::Result<()> {
        self.gauge(
            "keyproof_store_standbys",
            "Standbys that follow the store's database.",
            standbys.following,
        )?;
        self.gauge(
            "keyproof_store_failover_unsafe",
            "1 while standbys follow the store's database and no commit waits for one.",
            u8::from(standbys.is_failover_unsafe()),
        )
    }

    fn pool(&self, pool: &PoolStatus) -> prometheus::Result<()> {
        self.gauges(
            "keyproof_store_connections",
            "Connections to the store's database.",
            "state",
            [
                ("idle", whole(pool.idle)),
                ("used", whole(pool.open.saturating_sub(pool.idle))),
            ],
        )?;
        self.gauge(
            "keyproof_store_connections_max",
            "The maximum number of connections to the store's database.",
            pool.most,
        )?;
        self.gauge(
            "keyproof_store_connections_waiting",
            "Callers that wait for a connection to the store's database.",
            pool.waiting,
        )
    }

    fn gauge(&self, name: &str, help: &str, value: impl TryInto<i64>) -> prometheus::Result<()> {
        let gauge = IntGauge::new(name, help)?;
        gauge.set(whole(value));
        self.0.register(Box::new(gauge))
    }

    fn counter(&self, name: &str, help: &str, value: u64) -> prometheus::Result<()> {
        let counter = IntCounter::new(name, help)?;
        counter.inc_by(value);
        self.0.register(Box::new(counter))
    }

    fn gauges<'v>(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'v str, i64)>,
    ) -> prometheus::Result<()> {
        let gauges = IntGaugeVec::new(Opts::new(name, help), &[label])?;
        for (value, number) in values {
            gauges.with_label_values(&[value]).set(number);
        }
        self.0.register(Box::new(gauges))
    }

    fn counters<'v>(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'v str, u64)>,
    ) -> prometheus::Result<()> {
        let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
        for (value, number) in values {
            counters.with_label_values(&[value]).inc_by(number);
        }
        self.0.register(Box::new(counters))
    }

    fn seconds_counter(&self, name: &str, help: &str, value: f64) -> prometheus::Result<()> {
        let counter = prometheus::Counter::new(name, help)?;
        counter.inc_by(value);
        self.0.register(Box::new(counter))
    }
}

fn seconds(ticks: u64, a_second: u64) -> f64 {
    precise(ticks) / precise(a_second)
}

/// Converts a number of ticks or seconds, far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "exact below 2^53")]
fn precise(number: u64) -> f64 {
    number as f64
}

fn whole(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use keyproof_service::{ClockDifference, LockFigures, QueueFigures};
    use keyproof_store::Timestamp;
    use prometheus::{Encoder, TextEncoder};

    /// Each figure has a different number, so that none can be mistaken for another.
    #[test]
    fn each_figure_is_told_under_its_own_name() {
        let queue = |taken, capacity, refused| QueueFigures {
            taken,
            capacity,
            refused,
        };
        let figures = Figures {
            hashing: HashingFigures {
                running: 1,
                waiting: 2,
                hashed: 3,
                busy: 4,
                gone: 5,
                limited: 6,
            },
            queues: [
                ("accounts", queue(7, 8, 9)),
                ("certificates", queue(10, 11, 12)),
                ("device_identity", queue(13, 14, 15)),
                ("otp_devices", queue(32, 33, 34)),
            ],
            lists: [("all_at_once", 35), ("audit", 36), ("users", 37)],
            locks: [
                (
                    "accounts",
                    LockFigures {
                        begun: 16,
                        refused: 17,
                    },
                ),
                (
                    "otp_devices",
                    LockFigures {
                        begun: 18,
                        refused: 19,
                    },
                ),
            ],
            retries: [("accounts.log_in", 20)].into(),
            audit_left_out: 21,
            upkeep: UpkeepFigures {
                rounds: 22,
                failed: 23,
                removed: 24,
                is_behind: true,
            },
            standbys: Standbys {
                following: 25,
                is_synchronous: false,
            },
            clock_difference: Some(ClockDifference {
                by: Duration::from_millis(61_999),
                is_ahead: true,
            }),
            pool: Some(PoolStatus {
                most: 26,
                open: 60,
                idle: 27,
                waiting: 28,
            }),
            certificates_end: Some(Timestamp::from_secs(29)),
            authorities_end: Some(Timestamp::from_secs(30)),
            tpm_certificates_end: Some(Timestamp::from_secs(31)),
        };
        assert_eq!(
            series(&figures),
            [
                "keyproof_audit_left_out_total 21",
                "keyproof_dps_certificate_expiry_timestamp_seconds 29",
                "keyproof_hashing_running 1",
                "keyproof_hashing_total{outcome=\"busy\"} 4",
                "keyproof_hashing_total{outcome=\"gone\"} 5",
                "keyproof_hashing_total{outcome=\"hashed\"} 3",
                "keyproof_hashing_total{outcome=\"limited\"} 6",
                "keyproof_hashing_waiting 2",
                "keyproof_judging_queue_capacity{domain=\"accounts\"} 8",
                "keyproof_judging_queue_capacity{domain=\"certificates\"} 11",
                "keyproof_judging_queue_capacity{domain=\"device_identity\"} 14",
                "keyproof_judging_queue_capacity{domain=\"otp_devices\"} 33",
                "keyproof_judging_queue{domain=\"accounts\"} 7",
                "keyproof_judging_queue{domain=\"certificates\"} 10",
                "keyproof_judging_queue{domain=\"device_identity\"} 13",
                "keyproof_judging_queue{domain=\"otp_devices\"} 32",
                "keyproof_judging_refused_total{domain=\"accounts\"} 9",
                "keyproof_judging_refused_total{domain=\"certificates\"} 12",
                "keyproof_judging_refused_total{domain=\"device_identity\"} 15",
                "keyproof_judging_refused_total{domain=\"otp_devices\"} 34",
                "keyproof_lists_refused_total{list=\"all_at_once\"} 35",
                "keyproof_lists_refused_total{list=\"audit\"} 36",
                "keyproof_lists_refused_total{list=\"users\"} 37",
                "keyproof_lock_refusals_total{domain=\"accounts\"} 17",
                "keyproof_lock_refusals_total{domain=\"otp_devices\"} 19",
                "keyproof_locks_total{domain=\"accounts\"} 16",
                "keyproof_locks_total{domain=\"otp_devices\"} 18",
                "keyproof_store_clock_difference_seconds 61",
                "keyproof_store_connections_max 26",
                "keyproof_store_connections_waiting 28",
                "keyproof_store_connections{state=\"idle\"} 27",
                "keyproof_store_connections{state=\"used\"} 33",
                "keyproof_store_failover_unsafe 1",
                "keyproof_store_standbys 25",
                "keyproof_tpm_ca_expiry_timestamp_seconds 30",
                "keyproof_tpm_certificate_expiry_timestamp_seconds 31",
                "keyproof_upkeep_behind 1",
                "keyproof_upkeep_removed_total 24",
                "keyproof_upkeep_rounds_total{outcome=\"done\"} 22",
                "keyproof_upkeep_rounds_total{outcome=\"failed\"} 23",
                "keyproof_use_case_retries_total{use_case=\"accounts.log_in\"} 20",
            ]
        );
        // Failover is safe if standbys are waited for, or if there are none. The other metrics are left out: there is
        // no pool, no other clock and no expiry.
        let safe = [(25, true), (0, false)].map(|(following, is_synchronous)| Figures {
            standbys: Standbys {
                following,
                is_synchronous,
            },
            ..Figures::default()
        });
        for figures in safe {
            let told = series(&figures);
            assert!(told.contains(&"keyproof_store_failover_unsafe 0".to_owned()));
            assert!(told.contains(&"keyproof_upkeep_behind 0".to_owned()));
            let absent = ["keyproof_store_c", "_expiry_"];
            let is_absent = |line: &String| absent.iter().all(|name| !line.contains(name));
            assert!(told.iter().all(is_absent), "{told:?}");
        }
    }

    /// Returns the lines about the use cases.
    fn series(figures: &Figures) -> Vec<String> {
        let mut text = Vec::new();
        let families = gather(Some(figures)).unwrap();
        TextEncoder::new().encode(&families, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let of_use_cases =
            |line: &&str| line.starts_with("keyproof_") && !line.starts_with("keyproof_build_info");
        let mut lines: Vec<_> = text
            .lines()
            .filter(of_use_cases)
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    }
}
