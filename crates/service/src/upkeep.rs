//! Background work, done periodically in bounded portions.

use std::{
    collections::BTreeSet,
    fmt,
    ops::RangeInclusive,
    sync::{Arc, Mutex},
    time::Duration,
};

use keyproof_store::{CommitError, Store, Timestamp};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep};

use crate::{Clock, ClockDifference, Service, StorageError, figures::UpkeepFigures, mutex::lock};

/// How often the upkeep runs.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(60);

/// How often to check for CAs to renew, which is done years before they expire, and for application tokens that have ended.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(6 * 60 * 60);

/// How often to check whether the minute is over in which refusals were left out of the audit trail.
const LEFT_OUT_INTERVAL: Duration = Duration::from_secs(5);

/// How often to query the standbys of the store's database.
const STANDBYS_INTERVAL: Duration = Duration::from_secs(10);

/// Records removed by one batch.
const BATCH: usize = 200;

/// Batches in one round, for the records that expired and again for the marks of absent ones.
const BATCHES: usize = 25;

/// The number of consecutive lost races after which the rest is left to the winner.
const LOST: usize = 16;

/// Removes expired records from a store.
pub struct Upkeep {
    store: Store,
    clock: Arc<dyn Clock>,
    figures: Mutex<UpkeepFigures>,
}

/// The result of a round of the clean-up, or of a part of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// How many records were removed or changed.
    pub removed: usize,
    /// Whether there may be more for the next round.
    pub goes_on: bool,
}

impl Upkeep {
    /// Creates the upkeep of this store.
    pub(crate) fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            clock,
            figures: Mutex::default(),
        }
    }

    /// Returns the counts so far.
    pub fn figures(&self) -> UpkeepFigures {
        *lock(&self.figures)
    }

    /// Removes expired records, at most 5000 a call, and as many marks of absent ones. After each 200 it pauses for as long as they
    /// took, so that others can use the store. Readers treat an expired record as absent, so nobody waits for this. Several servers
    /// may run it at once.
    ///
    /// # Errors
    ///
    /// [`StorageError`]; the remaining records stay for the next call.
    pub async fn remove_expired(&self) -> Result<Round, StorageError> {
        // Marks are apart and last, since clients can write many of them anew all the time, and they sort before all others.
        let expired = Timestamp::from_millis(1)..=Timestamp::MAX;
        let marks = Timestamp::EPOCH..=Timestamp::EPOCH;
        let expired = self.remove_within(&expired).await?;
        let marks = self.remove_within(&marks).await?;
        Ok(Round {
            removed: expired.removed + marks.removed,
            goes_on: expired.goes_on || marks.goes_on,
        })
    }

    /// Removes records that have expired, and did so in `within`.
    async fn remove_within(
        &self,
        within: &RangeInclusive<Timestamp>,
    ) -> Result<Round, StorageError> {
        let mut removed = 0;
        let mut lost = 0;
        // What was created anew before it was removed is left to the next call. Otherwise a mark that somebody writes all
        // the time would keep all others.
        let mut changing = BTreeSet::new();
        for _ in 0..BATCHES {
            let began = Instant::now();
            let now = self.clock.now();
            let until_now = *within.start()..=now.min(*within.end());
            let mut expired = self.store.expired(until_now, BATCH).await?;
            let is_last = expired.len() < BATCH;
            expired.retain(|(key, _)| !changing.contains(key));
            let mut batch = self.store.batch(now);
            for (key, version) in &expired {
                batch.remove(key, *version);
            }
            let is_over = match self.store.commit(batch).await {
                Ok(()) => {
                    removed += expired.len();
                    lock(&self.figures).removed += expired.len() as u64;
                    lost = 0;
                    is_last || expired.is_empty()
                }
                Err(CommitError::Conflict { entry }) => {
                    // Another server does the same work, or a record was created anew: read again what is left.
                    changing.extend(expired.into_iter().nth(entry).map(|(key, _)| key));
                    lost += 1;
                    lost == LOST
                }
                Err(error) => return Err(error.into()),
            };
            if is_over {
                return Ok(Round {
                    removed,
                    goes_on: false,
                });
            }
            sleep(began.elapsed()).await;
        }
        Ok(Round {
            removed,
            goes_on: true,
        })
    }
}

impl fmt::Debug for Upkeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upkeep").finish_non_exhaustive()
    }
}

impl Service {
    /// Runs the upkeep forever. It cleans up once a minute, renews CAs before they expire, and reports to the audit trail what was
    /// left out of it. Spawn it beside the server and abort it at the end.
    pub async fn run_upkeep(&self) {
        tokio::join!(
            self.clean_up(),
            self.watch_ends(),
            self.record_left_out(),
            self.watch_standbys()
        );
    }

    /// Renews CAs before they expire, looks up what expires first, and lets application tokens expire that an operator ended. Tries
    /// again in a minute if the store does not answer.
    async fn watch_ends(&self) {
        let mut ticks = every(RENEWAL_INTERVAL);
        loop {
            ticks.tick().await;
            let trusted = self.clock_is_trusted().await;
            let may_change = trusted == Ok(true);
            let renewed = match trusted {
                Ok(true) => self.device_identity.renew_authorities().await,
                Ok(false) => Ok(0),
                Err(error) => Err(error),
            };
            let mut has_failed = renewed.is_err();
            match renewed {
                Ok(0) => {}
                Ok(renewed) => tracing::info!(renewed, "renewed CAs of TPM categories"),
                Err(error) => tracing::warn!(%error, "cannot renew the CAs of TPM categories"),
            }
            // After the renewal, so that renewed CAs count with their new expiry.
            let looks = tokio::join!(
                self.certificates.look_for_ends(),
                self.device_identity.look_for_ends()
            );
            for outcome in [looks.0, looks.1] {
                if let Err(error) = outcome {
                    has_failed = true;
                    tracing::warn!(%error, "cannot look for certificates that expire soon");
                }
            }
            if may_change && let Err(error) = self.accounts.end_application_tokens().await {
                has_failed = true;
                tracing::warn!(%error, "cannot let ended application tokens expire");
            }
            if has_failed {
                // The figures and the console lack what could not be read.
                ticks.reset_after(UPKEEP_INTERVAL);
            }
        }
    }

    async fn clean_up(&self) {
        let mut ticks = every(UPKEEP_INTERVAL);
        loop {
            ticks.tick().await;
            // More may have come in than one round handles, since each round does a bounded part of everything.
            while self.clean_up_once().await {}
        }
    }

    /// Runs one round. Returns whether another should follow at once because some part was not finished.
    pub(crate) async fn clean_up_once(&self) -> bool {
        match self.clock_is_trusted().await {
            Ok(true) => {}
            // Logged by `compare_clocks`.
            Ok(false) => {
                // A switch to another signing key must be noticed all the same. No key is renewed by age while the clocks are
                // apart.
                if let Err(error) = self.accounts.renew_signing_key().await {
                    tracing::warn!(%error, "cannot check whether the signing key has changed");
                }
                lock(&self.upkeep.figures).failed += 1;
                return false;
            }
            Err(error) => {
                tracing::warn!(%error, "no upkeep: cannot check whether this machine's clock is right");
                lock(&self.upkeep.figures).failed += 1;
                return false;
            }
        }
        let expired = self.upkeep.remove_expired().await;
        let began = Instant::now();
        let leftovers = self.otp_devices.clear_leftovers().await;
        // The other parts pause by themselves.
        sleep(began.elapsed()).await;
        let forgotten = self.audit.forget_old().await;
        let renewed = self.accounts.renew_signing_key().await;
        let renewed = renewed.map(|removed| Round {
            removed,
            goes_on: false,
        });
        let (mut goes_on, mut has_failed) = (false, false);
        for outcome in [expired, leftovers, forgotten, renewed] {
            match outcome {
                Ok(round) => {
                    goes_on |= round.goes_on;
                    if round.removed > 0 {
                        tracing::debug!(removed = round.removed, "upkeep");
                    }
                }
                // The next round tries again.
                Err(error) => {
                    has_failed = true;
                    tracing::warn!(%error, "a part of the upkeep failed");
                }
            }
        }
        let mut figures = lock(&self.upkeep.figures);
        if has_failed {
            figures.failed += 1;
        } else {
            figures.rounds += 1;
        }
        figures.is_behind = goes_on;
        goes_on
    }

    /// Whether this machine's clock may decide what has expired or is too old. A clock that is ahead would remove what others still
    /// use: signing keys, lockouts, and records of spent nonces.
    async fn clock_is_trusted(&self) -> Result<bool, StorageError> {
        let difference = self.compare_clocks().await?;
        Ok(difference.filter(ClockDifference::is_too_much).is_none())
    }

    /// Queries the standbys, and logs when a failover becomes able or unable to lose acknowledged commits.
    async fn watch_standbys(&self) {
        let mut ticks = every(STANDBYS_INTERVAL);
        loop {
            ticks.tick().await;
            // A store that does not answer is reported elsewhere.
            let Ok(now) = self.store.standbys().await else {
                continue;
            };
            let before = self.standbys();
            *lock(&self.standbys) = now;
            match (before.is_failover_unsafe(), now.is_failover_unsafe()) {
                (false, true) => tracing::warn!(
                    standbys = now.following,
                    "the store is not safe against a failover: no commit waits for a standby (synchronous_standby_names is \
                     empty), so a standby that takes over may lack acknowledged changes"
                ),
                (true, false) => tracing::info!(
                    standbys = now.following,
                    "the store is safe against a failover again"
                ),
                _ => {}
            }
        }
    }

    async fn record_left_out(&self) {
        let mut ticks = every(LEFT_OUT_INTERVAL);
        loop {
            ticks.tick().await;
            self.audit.record_left_out().await;
        }
    }
}

fn every(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        AuditSettings, ManualClock, Settings,
        otp_devices::{AnyToken, Lifetime},
        testing::{Bench, administrator, bench, bench_with, cheap_hashing, otp_device},
    };
    use keyproof_store::{Key, Prefix, faults::CommitMode};
    use serde::{Deserialize, Serialize};

    #[derive(Clone, Serialize, Deserialize)]
    struct Leavings;

    record!(Leavings, "leavings");

    /// Adds `count` records and lets them expire.
    async fn leave(bench: &Bench, count: u32) {
        let now = bench.clock.now();
        let end = Some(now.saturating_add(Duration::from_secs(1)));
        for number in (0..count).step_by(1000) {
            let mut batch = bench.store.batch(now);
            for number in number..count.min(number + 1000) {
                let key = Key::new("leavings", ["_", &number.to_string()]);
                batch.insert(&key, &Leavings, end);
            }
            bench.store.commit(batch).await.unwrap();
        }
        bench.clock.advance(Duration::from_secs(1));
    }

    async fn left(bench: &Bench) -> usize {
        let ever = Timestamp::EPOCH..=Timestamp::MAX;
        let all = bench.store.expired(ever, usize::MAX).await;
        all.unwrap().len()
    }

    const NOTHING: Round = Round {
        removed: 0,
        goes_on: false,
    };

    #[tokio::test]
    async fn expired_records_go_and_others_stay() {
        let bench = bench().await;
        let short = Lifetime::For(Duration::from_secs(1));
        for _ in 0..3 {
            bench.token("shop", "all", short).await;
        }
        let kept = bench.token("shop", "all", Lifetime::Forever).await;
        assert_eq!(bench.service.upkeep.remove_expired().await, Ok(NOTHING));
        bench.clock.advance(Duration::from_secs(2 * 24 * 60 * 60));
        // Includes the counter of guesses at the password.
        let four = Round {
            removed: 4,
            ..NOTHING
        };
        assert_eq!(bench.service.upkeep.remove_expired().await, Ok(four));
        let left = bench.rows(&Prefix::collection("login_token")).await;
        assert_eq!(left.len(), 1);
        assert!(bench.permitted::<AnyToken>("shop", &kept).await.is_ok());
    }

    #[tokio::test]
    async fn a_round_of_unknown_outcome_is_told_as_one() {
        let bench = bench().await;
        leave(&bench, 3).await;
        bench.faults.commits(CommitMode::NotApplied);
        let not_applied = bench.service.upkeep.remove_expired().await;
        assert!(
            matches!(not_applied, Err(StorageError::NotApplied(_))),
            "{not_applied:?}"
        );
        assert_eq!(left(&bench).await, 3);
        bench.faults.commits(CommitMode::Lost);
        let unknown = bench.service.upkeep.remove_expired().await;
        assert!(
            matches!(unknown, Err(StorageError::OutcomeUnknown(_))),
            "{unknown:?}"
        );
        assert_eq!(left(&bench).await, 0, "it was made, unheard of");
    }

    #[tokio::test]
    async fn one_failed_part_makes_the_round_a_failed_one() {
        let keep = |settings: &mut Settings| settings.audit = AuditSettings::days(Some(1), 90);
        let bench = bench_with(keep).await;
        bench.tell(1).await;
        bench.clock.advance(Duration::from_secs(2 * 24 * 60 * 60));
        let service = &bench.service;
        bench.faults.commits(CommitMode::NotApplied);
        // Only the audit trail has something to commit.
        assert_eq!(service.upkeep.remove_expired().await, Ok(NOTHING));
        assert_eq!(service.otp_devices.clear_leftovers().await, Ok(NOTHING));
        assert_eq!(service.accounts.renew_signing_key().await, Ok(0));
        service.clean_up_once().await;
        let figures = service.figures().upkeep;
        assert_eq!((figures.rounds, figures.failed), (0, 1));
        bench.faults.commits(CommitMode::Made);
        service.clean_up_once().await;
        let figures = service.figures().upkeep;
        assert_eq!((figures.rounds, figures.failed), (1, 1));
    }

    /// More than a hundred a second come in, so one round a minute would never catch up.
    #[tokio::test(start_paused = true)]
    async fn a_backlog_is_worked_off_before_the_next_minute() {
        let bench = bench().await;
        leave(&bench, 12_345).await;
        let service = Arc::clone(&bench.service);
        let upkeep = tokio::spawn(async move { service.run_upkeep().await });
        sleep(Duration::from_secs(59)).await;
        upkeep.abort();
        assert_eq!(left(&bench).await, 0);
    }

    /// There are as many old events as there were requests, and a removed instance leaves as many records as it had.
    #[tokio::test(start_paused = true)]
    async fn whatever_is_left_is_worked_off_before_the_next_minute() {
        let keep = |settings: &mut Settings| settings.audit = AuditSettings::days(Some(1), 90);
        let bench = bench_with(keep).await;
        let session = bench.session("shop").await;
        for number in 0..350 {
            session.add(&otp_device(&number.to_string())).await.unwrap();
        }
        // The removal is committed but what it leaves is not cleared away, as after a crash.
        bench.faults.commits(CommitMode::Lost);
        let (devices, shop) = (&bench.service.otp_devices, administrator("shop"));
        devices.remove_instance(&shop).await.unwrap_err();
        bench.faults.commits(CommitMode::Made);
        for _ in 0..80 {
            bench.tell(100).await;
        }
        bench.clock.advance(Duration::from_secs(2 * 24 * 60 * 60));

        let service = &bench.service;
        assert!(service.clean_up_once().await);
        assert!(service.figures().upkeep.is_behind);
        let service = Arc::clone(service);
        let upkeep = tokio::spawn(async move { service.run_upkeep().await });
        sleep(Duration::from_secs(59)).await;
        upkeep.abort();
        assert!(!bench.service.figures().upkeep.is_behind);
        for collection in ["audit", "otp_device", "otp_leftover"] {
            let left = bench.rows(&Prefix::collection(collection)).await;
            assert_eq!(left.len(), 0, "{collection}");
        }
    }

    /// By its clock, which is a month ahead, everything that others use has expired.
    #[tokio::test]
    async fn a_server_whose_clock_is_wrong_is_ready_and_removes_nothing() {
        const APART: Duration = Duration::from_secs(31 * 24 * 60 * 60);
        let bench = bench().await;
        leave(&bench, 3).await;
        bench.faults.set_server_time(bench.clock.now());
        let clock = Arc::new(ManualClock::new(bench.clock.now()));
        clock.advance(APART);
        let ahead = Service::start(bench.store.clone(), clock.clone(), cheap_hashing());
        let ahead = ahead.await.unwrap();

        assert!(!ahead.clean_up_once().await);
        assert_eq!(left(&bench).await, 3);
        let by = ClockDifference {
            by: APART,
            is_ahead: true,
        };
        assert_eq!(ahead.ready().await, Ok(()));
        assert!(by.is_too_much());
        let figures = ahead.figures();
        assert_eq!(figures.clock_difference, Some(by));
        assert_eq!((figures.upkeep.rounds, figures.upkeep.failed), (0, 1));
        let service = &bench.service;
        assert_eq!(service.ready().await, Ok(()));
        service.clean_up_once().await;
        assert_eq!(left(&bench).await, 0);

        clock.set(bench.clock.now());
        assert_eq!(ahead.ready().await, Ok(()));
        let agrees = Some(ClockDifference::default());
        assert_eq!(ahead.clock_difference(), agrees);
        ahead.clean_up_once().await;
        assert_eq!(ahead.figures().upkeep.rounds, 1);
    }

    #[tokio::test]
    async fn a_round_is_bounded_and_others_write_meanwhile() {
        let bench = bench().await;
        leave(&bench, 6_000).await;
        let others = async {
            bench.token("shop", "all", Lifetime::Forever).await;
            left(&bench).await
        };
        let (round, left_then) = tokio::join!(bench.service.upkeep.remove_expired(), others);
        let whole = Round {
            removed: BATCH * BATCHES,
            goes_on: true,
        };
        assert_eq!(round, Ok(whole));
        assert_eq!(bench.service.figures().upkeep.removed, 5_000);
        assert!(left_then > 1_000, "it was done first: {left_then}");
        // Two of them are left by a login.
        assert_eq!(left(&bench).await, 1_002);
    }

    /// Requires that `count` certificates are absent, as a client does that deletes them.
    async fn mark(bench: &Bench, count: u32) {
        let mut batch = bench.store.batch(bench.clock.now());
        for number in 0..count {
            let key = Key::new("absent", ["_", &format!("{number:03}")]);
            batch.require_absent(&key);
        }
        bench.store.commit(batch).await.unwrap();
    }

    /// Runs a round while the first `count` marks are written anew after each of its readings, before the removal.
    async fn round_while_marking(bench: &Bench, count: u32) -> Result<Round, StorageError> {
        let marking = async {
            for _ in 0..1_000_000 {
                mark(bench, count).await;
            }
        };
        // In this order, each takes one step at a time, the round first.
        tokio::select! {
            biased;
            round = bench.service.upkeep.remove_expired() => round,
            () = marking => panic!("the round does not end"),
        }
    }

    /// As when a client deletes the same absent certificate again and again.
    #[tokio::test]
    async fn a_mark_that_is_written_all_the_time_keeps_no_other() {
        let bench = bench().await;
        mark(&bench, 300).await;
        let all_but_one = Round {
            removed: 299,
            goes_on: false,
        };
        let round = round_while_marking(&bench, 1).await;
        assert_eq!((round, left(&bench).await), (Ok(all_but_one), 1));
    }

    /// As when a client deletes many absent certificates again and again: the marks that expired first are always new.
    #[tokio::test]
    async fn marks_that_are_written_all_the_time_keep_nothing_that_expired() {
        let bench = bench().await;
        leave(&bench, 300).await;
        let marks = u32::try_from(BATCH).unwrap() + 1;
        mark(&bench, marks).await;
        let all_that_expired = Round {
            removed: 300,
            goes_on: false,
        };
        let round = round_while_marking(&bench, marks).await;
        assert_eq!(
            (round, left(&bench).await),
            (Ok(all_that_expired), BATCH + 1)
        );
    }

    #[tokio::test]
    async fn several_servers_at_once_remove_all_of_it_once() {
        let bench = bench().await;
        leave(&bench, 3_000).await;
        let all = async || {
            let twin = Upkeep::new(bench.store.clone(), bench.clock.clone());
            let mut removed = 0;
            while left(&bench).await > 0 {
                removed += twin.remove_expired().await.unwrap().removed;
            }
            removed
        };
        let (first, second, third) = tokio::join!(all(), all(), all());
        assert_eq!(first + second + third, 3_000);
    }
}
