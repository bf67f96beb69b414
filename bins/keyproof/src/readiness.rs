//! Whether the store responds, for `/readyz`; and if not, the reason for the log, which has one line per change rather
//! than per probe.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use keyproof_http::{NO_ANSWER, Readiness};
use keyproof_service::{NotReady, Service};
use tracing::{info, warn};

/// How long a probe must have waited before its cancellation is logged: a client that hangs up earlier may just be
/// gone, and must not fill the log.
const PATIENCE: Duration = Duration::from_millis(500);

/// The warning about clocks, which does not affect readiness. The service logs the difference.
pub(crate) const APART: &str = "this server's clock and the database's are more than a minute apart: synchronise both (NTP); until \
     then expired records are not deleted here, and no key or CA is renewed";

/// The warning about failovers, which does not affect readiness.
const UNSAFE: &str = "a failover of the database may lose what was acknowledged: standbys follow it, and no commit waits for one \
     (synchronous_standby_names is empty)";

/// Creates the check of the service's store.
pub(crate) fn of(service: Arc<Service>) -> Readiness {
    let last = Arc::new((LastAnswer::new(PATIENCE), SingleFlight::default()));
    Arc::new(move || {
        let (service, last) = (Arc::clone(&service), Arc::clone(&last));
        Box::pin(async move {
            let (last, probes) = &*last;
            let question = async {
                let asked = async { service.ready().await.map_err(ReadinessLog) };
                let answer = last.note(asked).await;
                answer.map_err(|ReadinessLog(error)| in_public(&error))?;
                let difference = service.clock_difference();
                let is_apart = difference.is_some_and(|difference| difference.is_too_much());
                let is_unsafe = service.standbys().is_failover_unsafe();
                Ok(warnings(is_apart, is_unsafe))
            };
            probes.ask(question).await
        })
    })
}

type Answer = Result<&'static [&'static str], &'static str>;

/// Returns the warnings for operators.
const fn warnings(is_apart: bool, is_unsafe: bool) -> &'static [&'static str] {
    match (is_apart, is_unsafe) {
        (false, false) => &[],
        (true, false) => &[APART],
        (false, true) => &[UNSAFE],
        (true, true) => &[APART, UNSAFE],
    }
}

/// Runs one check at a time. Anybody may send a probe, and a check may cost the store a transaction or a file access.
/// Its result also answers every probe that arrived before it began.
#[derive(Default)]
struct SingleFlight(tokio::sync::Mutex<Option<(Instant, Answer)>>);

impl SingleFlight {
    async fn ask(&self, question: impl Future<Output = Answer>) -> Answer {
        let asked = Instant::now();
        let mut last = self.0.lock().await;
        if let Some((began, answer)) = *last
            && began > asked
        {
            return answer;
        }
        let began = Instant::now();
        let answer = question.await;
        *last = Some((began, answer));
        answer
    }
}

/// Returns the remedy, if it is known. Paths and addresses are only logged.
pub(crate) const fn in_public(error: &NotReady) -> &'static str {
    match error {
        NotReady::MasterKey(_) => {
            "the store's master key has been changed, and this server does not have the new one: give it the key file, and restart it"
        }
        NotReady::FileReplaced(_) => {
            "the store was renamed, deleted or replaced while it was open: put its files back where they were, \
             or restart on those that are to be served"
        }
        NotReady::TransactionPooling(_) => {
            "the database is reached through a pooler that gives each transaction another session: let it give each \
             connection a session of its own (of PgBouncer, pool_mode = session)"
        }
        NotReady::Relocated(_) => "the store was moved to another one: serve that",
        NotReady::Storage(_) => NO_ANSWER,
    }
}

/// The log's message: the affected file or key, and the remedy.
struct ReadinessLog(NotReady);

impl fmt::Display for ReadinessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(error) = self;
        match error {
            // Their text includes the remedy, or there is none.
            NotReady::TransactionPooling(_) | NotReady::Storage(_) => error.fmt(f),
            NotReady::MasterKey(_) | NotReady::FileReplaced(_) | NotReady::Relocated(_) => {
                write!(f, "{error} ({})", in_public(error))
            }
        }
    }
}

/// The last state in the log.
struct LastAnswer {
    is_ready: AtomicBool,
    patience: Duration,
}

impl LastAnswer {
    /// Starts as ready, because a server starts only with a working store.
    const fn new(patience: Duration) -> Self {
        Self {
            is_ready: AtomicBool::new(true),
            patience,
        }
    }

    async fn note<E: fmt::Display>(
        &self,
        question: impl Future<Output = Result<(), E>>,
    ) -> Result<(), E> {
        let mut waiting = Waiting {
            last: self,
            since: Instant::now(),
            is_over: false,
        };
        let answer = question.await;
        waiting.is_over = true;
        match &answer {
            Ok(()) if self.set_ready(true) => info!("ready again"),
            Err(error) if self.set_ready(false) => warn!(%error, "not ready"),
            Ok(()) | Err(_) => {}
        }
        answer
    }

    /// Records the state, and returns whether it is new.
    fn set_ready(&self, is_ready: bool) -> bool {
        self.is_ready.swap(is_ready, Ordering::Relaxed) != is_ready
    }
}

/// A running check. If the store hangs, this is dropped when `/readyz` or its client gives up.
struct Waiting<'a> {
    last: &'a LastAnswer,
    since: Instant,
    is_over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let waited = self.since.elapsed();
        if !self.is_over && waited >= self.last.patience && self.last.set_ready(false) {
            let error = format!("the store has not answered for {} ms", waited.as_millis());
            warn!(%error, "not ready");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        future::{pending, ready},
        sync::atomic::AtomicUsize,
    };

    use tokio::task::JoinSet;

    const NONE: &[&str] = warnings(false, false);

    fn answer(is_ready: bool) -> Result<(), &'static str> {
        is_ready.then_some(()).ok_or("on purpose")
    }

    #[test]
    fn operators_are_warned_of_all_that_there_is() {
        assert_eq!(warnings(true, false), [APART]);
        assert_eq!(warnings(false, true), [UNSAFE]);
        assert_eq!(warnings(true, true), [APART, UNSAFE]);
    }

    #[tokio::test]
    async fn those_who_ask_during_a_question_share_the_next() {
        let shared = Arc::new((SingleFlight::default(), AtomicUsize::new(0)));
        let ask = || {
            let shared = Arc::clone(&shared);
            async move {
                let (probes, asked) = &*shared;
                let question = async {
                    let number = asked.fetch_add(1, Ordering::Relaxed);
                    // All others ask meanwhile.
                    for _ in 0..10 {
                        tokio::task::yield_now().await;
                    }
                    (number > 0).then_some(NONE).ok_or("on purpose")
                };
                probes.ask(question).await
            }
        };
        let all: JoinSet<Answer> = (0..100).map(|_| ask()).collect();
        let mut answers = all.join_all().await;
        answers.sort_by_key(Result::is_ok);
        assert_eq!(answers[0], Err("on purpose"));
        assert!(answers[1..].iter().all(|answer| *answer == Ok(NONE)));
        assert_eq!(shared.1.load(Ordering::Relaxed), 2);
        // A later probe does not get an old result.
        assert_eq!(ask().await, Ok(NONE));
        assert_eq!(shared.1.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn a_question_that_is_given_up_keeps_nobody_waiting() {
        let probes = SingleFlight::default();
        tokio::select! {
            biased;
            _ = probes.ask(pending()) => {}
            () = ready(()) => {}
        }
        assert_eq!(probes.ask(ready(Ok(NONE))).await, Ok(NONE));
    }

    #[tokio::test]
    async fn every_probe_is_answered_and_every_change_told_once() {
        let last = LastAnswer::new(Duration::MAX);
        for is_ready in [true, false, false, true, false] {
            assert_eq!(last.note(ready(answer(is_ready))).await.is_ok(), is_ready);
            assert!(!last.set_ready(is_ready), "it was not noted");
        }
    }

    #[tokio::test]
    async fn a_probe_that_is_given_up_counts_once_it_has_waited() {
        for (patience, is_ready) in [(Duration::MAX, true), (Duration::ZERO, false)] {
            let last = LastAnswer::new(patience);
            tokio::select! {
                biased;
                _ = last.note(pending::<Result<(), &str>>()) => {}
                () = ready(()) => {}
            }
            assert!(!last.set_ready(is_ready), "{patience:?}");
        }
    }
}
