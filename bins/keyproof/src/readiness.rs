//! Whether the store answers, for `/readyz`, and why not, for the log: a line whenever that changes, not one a probe.

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

/// What a probe waits for at least before it counts for the log that it was given up: who hangs up earlier may just be
/// gone, and shall not fill the log.
const PATIENCE: Duration = Duration::from_millis(500);

/// What is said beside that all is well. The service's log says how far they are apart.
pub(crate) const APART: &str = "this server's clock and the database's are more than a minute apart: synchronise both (NTP); until \
     then what has ended is not removed here, and no key or CA is renewed";

/// What is said likewise.
const UNSAFE: &str = "a failover of the database may lose what was acknowledged: standbys follow it, and no commit waits for one \
     (synchronous_standby_names is empty)";

/// Asks the service's store.
pub(crate) fn of(service: Arc<Service>) -> Readiness {
    let last = Arc::new((LastAnswer::new(PATIENCE), OneAtATime::default()));
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

/// What operators are to be warned of.
const fn warnings(is_apart: bool, is_unsafe: bool) -> &'static [&'static str] {
    match (is_apart, is_unsafe) {
        (false, false) => &[],
        (true, false) => &[APART],
        (false, true) => &[UNSAFE],
        (true, true) => &[APART, UNSAFE],
    }
}

/// Anybody may ask, and a question may cost the store a transaction or a file: one is asked at a time, and its answer is that
/// of everybody who had asked before it began.
#[derive(Default)]
struct OneAtATime(tokio::sync::Mutex<Option<(Instant, Answer)>>);

impl OneAtATime {
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

/// What is to be done, where that is known. Paths and addresses are for the log.
pub(crate) const fn in_public(error: &NotReady) -> &'static str {
    match error {
        NotReady::MasterKey(_) => {
            "the store's master key has been changed, and this server does not have the new one: give it the key file, and restart it"
        }
        NotReady::Moved(_) => {
            "the store was renamed, deleted or replaced while it was open: put its files back where they were, \
             or restart on those that are to be served"
        }
        NotReady::Pooled(_) => {
            "the database is reached through a pooler that gives each transaction another session: let it give each \
             connection a session of its own (of PgBouncer, pool_mode = session)"
        }
        NotReady::Relocated(_) => "the store was moved to another one: serve that",
        NotReady::Storage(_) => NO_ANSWER,
    }
}

/// For the log: which file or key it is, and what is to be done.
struct ReadinessLog(NotReady);

impl fmt::Display for ReadinessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(error) = self;
        match error {
            // They say so themselves, or it is not known.
            NotReady::Pooled(_) | NotReady::Storage(_) => error.fmt(f),
            NotReady::MasterKey(_) | NotReady::Moved(_) | NotReady::Relocated(_) => {
                write!(f, "{error} ({})", in_public(error))
            }
        }
    }
}

/// What the log was last told.
struct LastAnswer {
    is_ready: AtomicBool,
    patience: Duration,
}

impl LastAnswer {
    /// A server starts on a store that answers.
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
            Ok(()) if self.becomes(true) => info!("ready again"),
            Err(error) if self.becomes(false) => warn!(%error, "not ready"),
            Ok(()) | Err(_) => {}
        }
        answer
    }

    /// Whether that is new.
    fn becomes(&self, is_ready: bool) -> bool {
        self.is_ready.swap(is_ready, Ordering::Relaxed) != is_ready
    }
}

/// A question that has no answer yet. A store that hangs gives none before `/readyz` or its client gives up.
struct Waiting<'a> {
    last: &'a LastAnswer,
    since: Instant,
    is_over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let waited = self.since.elapsed();
        if !self.is_over && waited >= self.last.patience && self.last.becomes(false) {
            let error = format_args!("the store has not answered for {} ms", waited.as_millis());
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
        let shared = Arc::new((OneAtATime::default(), AtomicUsize::new(0)));
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
        // Whoever asks later is not told of what was.
        assert_eq!(ask().await, Ok(NONE));
        assert_eq!(shared.1.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn a_question_that_is_given_up_keeps_nobody_waiting() {
        let probes = OneAtATime::default();
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
            assert!(!last.becomes(is_ready), "it was not noted");
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
            assert!(!last.becomes(is_ready), "{patience:?}");
        }
    }
}
