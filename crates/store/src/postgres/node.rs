//! What one node does with its pool: tries batches again, reads back what was lost, and knows whether all is well.

use std::{
    slice,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use deadpool::{
    Runtime,
    managed::{Object, Pool, PoolError, Timeouts},
};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{
    LONGEST, PostgresOptions,
    commit::{Binary, Outcome, Parameter, Patience},
    connection::{Connector, not_durable, took_too_long},
    error::{engine_error, is_lost},
    names::{Name, Names},
    pooler,
};
use crate::{
    Changes, CommitError, CommitObserver, EngineError, NotApplied, PoolFigures, SystemEntropy,
    Timestamp, observer::Observed,
};

/// How often one batch is tried at most.
const TRIES: u8 = 8;
/// Between two tries, at first; it doubles with each.
const BACKOFF: Duration = Duration::from_millis(4);
/// Between two questions about what became of a try.
const READ_BACK_PAUSE: Duration = Duration::from_millis(100);
/// How long whoever closes waits for the server to hear it: it need not.
const FAREWELL: Duration = Duration::from_secs(1);
/// Where the server gave no further connection: between two looks for one of ours that came free, and until the server is
/// asked again.
const FREE_PAUSE: Duration = Duration::from_millis(5);
const REFUSED_PAUSE: Duration = Duration::from_millis(250);
/// Where one connection was all there was: between two looks for more.
const LOOK_PAUSE: Duration = Duration::from_secs(60);

pub(super) struct Node {
    pub(super) pool: Pool<Connector>,
    pub(super) options: PostgresOptions,
    names: Names,
    observed: Observed,
    /// Whether the last commit found the database in order.
    is_healthy: AtomicBool,
    is_closed: AtomicBool,
    /// Callers to whom the server gave no connection, and who wait for one that comes free.
    refused: AtomicUsize,
}

impl Node {
    /// With so many connections, to begin with.
    pub(super) fn new(
        connector: Connector,
        options: &PostgresOptions,
        connections: usize,
    ) -> Result<Self, EngineError> {
        let timeouts = Timeouts {
            wait: Some(options.acquire_timeout),
            ..Timeouts::default()
        };
        let pool = Pool::builder(connector)
            .max_size(connections.max(1))
            .timeouts(timeouts)
            .runtime(Runtime::Tokio1)
            .build();
        let pool = pool.map_err(|error| EngineError::Other {
            detail: error.to_string(),
        })?;
        Ok(Self {
            pool,
            options: options.clone(),
            names: Names::default(),
            observed: Observed::default(),
            is_healthy: AtomicBool::new(true),
            is_closed: AtomicBool::new(false),
            refused: AtomicUsize::new(0),
        })
    }

    /// Has as many connections as it may, as soon as there is a place for one more.
    pub(super) fn look_for_more(self: &Arc<Self>) {
        let node = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                sleep(LOOK_PAUSE).await;
                let Some(node) = node.upgrade().filter(|node| !node.is_closed()) else {
                    return;
                };
                if let Ok(Some(_)) = node.pool.manager().reach_another().await {
                    node.pool.resize(node.options.connections.max(1));
                    return;
                }
            }
        });
    }

    pub(super) fn observe(&self, observer: Arc<dyn CommitObserver>) {
        self.observed.by(observer);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    /// Takes no more calls.
    pub(super) fn refuse(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }

    /// Lets go of the database; no commit may be under way.
    pub(super) async fn close(&self) {
        if !self.pool.is_closed() {
            self.forget(self.names.take_all(), FAREWELL).await;
        }
        self.pool.close();
        drop(self.pool.manager().take_spare());
        let _ = timeout(FAREWELL, self.pool.manager().is_idle()).await;
    }

    pub(super) async fn commit(self: &Arc<Self>, changes: &Changes) -> Result<(), CommitError> {
        let outcome = self.commit_unobserved(changes).await;
        self.observed.committed(slice::from_ref(&outcome));
        outcome
    }

    async fn commit_unobserved(self: &Arc<Self>, changes: &Changes) -> Result<(), CommitError> {
        let outcome = self.try_until_known(changes).await;
        let is_well = matches!(outcome, Ok(()) | Err(CommitError::Conflict { .. }));
        self.is_healthy.store(is_well, Ordering::Relaxed);
        outcome
    }

    async fn try_until_known(self: &Arc<Self>, changes: &Changes) -> Result<(), CommitError> {
        let deadline = self.options.commit_deadline();
        let mut reason = None;
        for attempt in 0..TRIES {
            if attempt > 0 {
                sleep(backoff(changes.id(), attempt)).await;
                if Instant::now() >= deadline {
                    break;
                }
            }
            let acquired = timeout_at(deadline, self.acquire()).await;
            let acquired = acquired.unwrap_or_else(|_| Err(reason.take().unwrap_or_else(in_use)));
            let mut connection = acquired.map_err(NotApplied::from)?;
            let name = Name::new(changes.id(), attempt);
            let patience = Patience {
                answer: self.options.answer_timeout(),
                deadline,
            };
            let outcome = connection.attempt(name.as_bytes(), changes, patience).await;
            if connection.is_busy {
                // Out of the pool, so that what it has open ends with it.
                Object::take(connection).session.give_up();
            } else {
                // It may be the only one, and what became of the try is asked on one of the pool's.
                drop(connection);
            }
            match outcome {
                Outcome::Applied => {
                    self.settled(name);
                    return Ok(());
                }
                Outcome::Conflict(entry) => return Err(CommitError::Conflict { entry }),
                Outcome::Refused(error) => return Err(NotApplied::from(error).into()),
                Outcome::Contention(error) => reason = Some(error),
                Outcome::Lost(error) => match self.read_back(&name, deadline).await {
                    Some(true) => {
                        self.settled(name);
                        return Ok(());
                    }
                    // Somebody ended it on purpose, or it takes too long: another try would, too.
                    Some(false) if matches!(error, EngineError::Busy { .. }) => {
                        return Err(NotApplied::from(error).into());
                    }
                    Some(false) => reason = Some(error),
                    None => return Err(CommitError::Unknown(error)),
                },
            }
        }
        let out_of_tries = || EngineError::Busy {
            detail: "too many tries".to_owned(),
        };
        Err(NotApplied::from(reason.unwrap_or_else(out_of_tries)).into())
    }

    /// Whether a try whose answer was lost was applied; if it was not, it never will be. `None` if nobody could be asked
    /// in time.
    async fn read_back(&self, name: &Name, deadline: Instant) -> Option<bool> {
        while Instant::now() < deadline {
            if let Ok(was_applied) = self.ask_for_fate(name, deadline).await {
                return Some(was_applied);
            }
            sleep(READ_BACK_PAUSE).await;
        }
        None
    }

    /// The id is inserted as that of a try that is not applied, unless it is there already. Asking twice is harmless.
    ///
    /// An answer counts only if what it tells of is as durable as a commit that is acknowledged.
    async fn ask_for_fate(&self, name: &Name, deadline: Instant) -> Result<bool, EngineError> {
        let too_long = |_| took_too_long("reading back");
        let mut connection = timeout_at(deadline, self.acquire())
            .await
            .map_err(too_long)??;
        connection.is_busy = true;
        connection.session.take_warning();
        let patience = Patience {
            answer: self.options.answer_timeout(),
            deadline,
        };
        let id = Binary(name.as_bytes());
        let client = &connection.session.client;
        let parameters: [Parameter<'_>; 1] = [&id];
        let asked = client.query_one(&connection.statements.fate, &parameters);
        let answer = patience.wait(asked).await;
        connection.is_busy = match &answer {
            Ok(Ok(_)) => false,
            Ok(Err(error)) => is_lost(error),
            Err(_) => true,
        };
        let is_doubtful = connection.session.take_warning();
        if connection.is_busy {
            Object::take(connection).session.give_up();
        }
        let row = answer
            .map_err(too_long)?
            .map_err(|error| engine_error(&error))?;
        if is_doubtful {
            return Err(not_durable());
        }
        row.try_get(0).map_err(|error| engine_error(&error))
    }

    /// The try with this id was answered for good: nobody will ask for it any more.
    fn settled(self: &Arc<Self>, name: Name) {
        if let Some(names) = self.names.settle(name) {
            let node = self.clone();
            let patience = node.options.answer_timeout();
            tokio::spawn(async move { node.forget(names, patience).await });
        }
    }

    /// Deletes ids that nobody will ask for. Should it fail, they grow old and are deleted then.
    async fn forget(&self, names: Vec<Name>, patience: Duration) {
        let Ok(Ok(mut connection)) = timeout(patience, self.acquire()).await else {
            return;
        };
        connection.is_busy = true;
        let client = &connection.session.client;
        let ids: Vec<&[u8]> = names.iter().map(Name::as_bytes).collect();
        let done = timeout(patience, async {
            client
                .execute(&connection.statements.forget, &[&ids])
                .await?;
            if self.names.is_time_to_forget_old() {
                client
                    .execute(&connection.statements.forget_old, &[])
                    .await?;
            }
            Ok::<_, tokio_postgres::Error>(())
        });
        match done.await {
            Ok(Ok(())) => connection.is_busy = false,
            _ => Object::take(connection).session.give_up(),
        }
    }

    /// Whether the server takes writes; after a failure, whether it takes one of ours.
    pub(super) async fn ready(self: &Arc<Self>) -> Result<(), EngineError> {
        self.takes_writes().await?;
        self.is_unlocked().await?;
        self.keeps_sessions().await?;
        if self.is_healthy.load(Ordering::Relaxed) {
            return Ok(());
        }
        let nothing = Changes::new([], Timestamp::EPOCH, &SystemEntropy::new());
        let nothing = nothing.map_err(|error| EngineError::Other {
            detail: error.to_string(),
        })?;
        match self.commit_unobserved(&nothing).await {
            Err(
                CommitError::NotApplied(NotApplied::Engine(error)) | CommitError::Unknown(error),
            ) => Err(error),
            // It conflicts with nothing, and is within every limit.
            _ => Ok(()),
        }
    }

    pub(super) fn pool_figures(&self) -> PoolFigures {
        let status = self.pool.status();
        PoolFigures {
            most: status.max_size,
            open: status.size,
            idle: status.available,
            waiting: status.waiting + self.refused.load(Ordering::Relaxed),
        }
    }

    /// Whether connections keep their sessions. Where only one is to be had, the next question whether it takes writes may
    /// tell.
    async fn keeps_sessions(&self) -> Result<(), EngineError> {
        let mut first = self.acquire().await?;
        let at_once = Timeouts {
            wait: Some(Duration::ZERO),
            ..Timeouts::default()
        };
        let mut second = match self.pool.timeout_get(&at_once).await {
            Ok(second) => second,
            Err(PoolError::Backend(EngineError::Pooled)) => return Err(EngineError::Pooled),
            Err(_) => return Ok(()),
        };
        (first.is_busy, second.is_busy) = (true, true);
        let patience = self.options.connect_timeout;
        let kept = pooler::check(&first.session.client, &second.session.client, patience);
        let kept = kept.await;
        first.is_busy = kept.is_err();
        second.is_busy = !matches!(kept, Ok(true));
        kept.map(drop)
    }

    /// A connection that nobody else uses. Where the server has no place for another, one of ours that comes free is waited
    /// for as if there were no more.
    pub(super) async fn acquire(&self) -> Result<Object<Connector>, EngineError> {
        let deadline = Instant::now() + self.options.acquire_timeout.min(LONGEST);
        loop {
            let refused = match self.pool.get().await.map_err(unpooled) {
                Err(error @ EngineError::Busy { .. }) if Instant::now() < deadline => error,
                done => return done,
            };
            let _waits = Waits::count(&self.refused);
            let again = deadline.min(Instant::now() + REFUSED_PAUSE);
            while self.pool.status().available == 0 {
                if Instant::now() >= deadline {
                    return Err(refused);
                }
                if Instant::now() >= again {
                    break;
                }
                sleep(FREE_PAUSE).await;
            }
        }
    }
}

fn unpooled(error: PoolError<EngineError>) -> EngineError {
    match error {
        PoolError::Backend(error) => error,
        PoolError::Closed => EngineError::Closed,
        PoolError::Timeout(_) => in_use(),
        PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => EngineError::Other {
            detail: "the pool of connections is not set up as it was".to_owned(),
        },
    }
}

fn in_use() -> EngineError {
    EngineError::Busy {
        detail: "every connection to the database is in use".to_owned(),
    }
}

/// One caller that waits, for as long as this lives.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn count(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Doubles with every try, and differs between batches, so that two which hindered each other do not meet again.
fn backoff(id: &[u8; Changes::ID_LEN], attempt: u8) -> Duration {
    // What is random of an id is at its end.
    let random = id.iter().rev().nth(usize::from(attempt));
    let random = random.copied().unwrap_or_default();
    let longest = BACKOFF.saturating_mul(1 << attempt.min(6));
    longest / 2 + longest.mul_f32(f32::from(random) / 512.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_that_met_wait_for_different_times() {
        let (a, b) = ([0; Changes::ID_LEN], [255; Changes::ID_LEN]);
        assert_eq!(backoff(&a, 1), Duration::from_millis(4));
        assert!(backoff(&b, 1) > backoff(&a, 1) && backoff(&b, 1) < Duration::from_millis(8));
        for attempt in 1..TRIES {
            assert!(backoff(&b, attempt) < Duration::from_millis(512));
        }
    }
}
