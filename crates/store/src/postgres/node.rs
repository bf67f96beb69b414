//! One node's use of its pool: retries batches, reads back lost answers, and tracks its health.

use std::{
    ops::{Deref, DerefMut},
    slice,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use deadpool::managed::{Object, Pool, PoolError, QueueMode};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    LONGEST, PostgresOptions,
    commit::{Binary, Outcome, Parameter, Patience},
    connection::{Connection, Connector, not_durable, took_too_long},
    error::{engine_error, is_lost, is_read_only},
    names::{Name, Names},
    pooler,
};
use crate::{
    Changes, CommitError, CommitObserver, EngineError, NotApplied, PoolStatus, SystemEntropy,
    Timestamp, observer::Observed, sql::failure_of,
};

/// The maximum number of attempts for one batch.
const TRIES: u8 = 8;
/// The first pause between two attempts; it doubles with each.
const BACKOFF: Duration = Duration::from_millis(4);
/// The pause between two queries that read back an attempt.
const READ_BACK_PAUSE: Duration = Duration::from_millis(100);
/// How long each step of `close` may wait for the server; it need not succeed.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long a connection that the server refused is not asked for again.
const REFUSED_PAUSE: Duration = Duration::from_millis(250);
/// With only one connection: how often to try to get more.
const LOOK_PAUSE: Duration = Duration::from_secs(60);
/// How long a connection stays open that no caller needs.
pub(super) const IDLE: Duration = Duration::from_secs(5 * 60);

pub(super) struct Node {
    pub(super) pool: Pool<Connector>,
    /// One place for each connection of the pool that may be open. Callers wait here, first come, first served; in the
    /// pool's own queue, one that the server refused a connection would be overtaken.
    places: Arc<Semaphore>,
    pub(super) options: PostgresOptions,
    names: Names,
    observed: Observed,
    /// Whether the last commit found the database in order.
    is_healthy: AtomicBool,
    is_closed: AtomicBool,
    /// The number of callers that wait for a connection.
    waiting: Arc<AtomicUsize>,
}

/// A connection for exclusive use, which goes back to the pool when this is dropped.
pub(super) struct Leased {
    connection: Object<Connector>,
    /// Dropped last, so that whoever gets it finds the connection in the pool.
    _place: OwnedSemaphorePermit,
}

impl Leased {
    /// Removes the connection from the pool.
    pub(super) fn remove(self) -> Connection {
        Object::take(self.connection)
    }
}

impl Deref for Leased {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Leased {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

impl Node {
    /// Starts with this maximum number of connections.
    pub(super) fn new(
        connector: Connector,
        options: &PostgresOptions,
        connections: usize,
    ) -> Result<Self, EngineError> {
        let connections = connections.max(1);
        let pool = Pool::builder(connector)
            .max_size(connections)
            // Used last, reused first: those that are not needed become idle.
            .queue_mode(QueueMode::Lifo)
            .build();
        let pool = pool.map_err(|error| EngineError::Other {
            detail: error.to_string(),
        })?;
        Ok(Self {
            pool,
            places: Arc::new(Semaphore::new(connections)),
            options: options.clone(),
            names: Names::default(),
            observed: Observed::default(),
            is_healthy: AtomicBool::new(true),
            is_closed: AtomicBool::new(false),
            waiting: Arc::default(),
        })
    }

    /// Raises the number of connections to the configured maximum as soon as the server has room for one more.
    pub(super) fn look_for_more(self: &Arc<Self>) {
        let node = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                sleep(LOOK_PAUSE).await;
                let Some(node) = node.upgrade().filter(|node| !node.is_closed()) else {
                    return;
                };
                if let Ok(Some(_)) = node.pool.manager().reach_another().await {
                    let connections = node.options.connections.max(1);
                    node.pool.resize(connections);
                    node.places.add_permits(connections - 1);
                    return;
                }
            }
        });
    }

    /// Closes connections that were idle for this long, except one. They count in the server's limits, which another
    /// node may have reached.
    pub(super) fn give_up_idle(self: &Arc<Self>, idle: Duration) {
        let node = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                sleep(idle / 5).await;
                let Some(node) = node.upgrade().filter(|node| !node.is_closed()) else {
                    return;
                };
                let mut open = node.pool.status().size;
                // A spare that came when its caller had found another one.
                if open > 0 && node.waiting.load(Ordering::Relaxed) == 0 {
                    drop(node.pool.manager().take_spare());
                }
                // The one used last comes last.
                node.pool.retain(|_, metrics| {
                    let is_kept = open <= 1 || metrics.last_used() < idle;
                    open -= usize::from(!is_kept);
                    is_kept
                });
            }
        });
    }

    pub(super) fn observe(&self, observer: Arc<dyn CommitObserver>) {
        self.observed.by(observer);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    /// Rejects further calls.
    pub(super) fn refuse(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }

    /// Disconnects from the database; no commit may be in progress.
    pub(super) async fn close(&self) {
        if !self.pool.is_closed() {
            self.forget(self.names.take_all(), FAREWELL).await;
        }
        self.places.close();
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
                // Removed from the pool, so that its transaction ends with it.
                connection.remove().session.give_up();
            } else {
                // It may be the only one, and reading back needs a connection from the pool.
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
                    // It was cancelled on purpose or takes too long, so another attempt would end the same.
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

    /// Returns whether an attempt whose answer was lost was applied. If it was not, it never will be. `None` if that
    /// could not be learnt in time.
    async fn read_back(&self, name: &Name, deadline: Instant) -> Option<bool> {
        while Instant::now() < deadline {
            if let Ok(was_applied) = self.query_outcome(name, deadline).await {
                return Some(was_applied);
            }
            sleep(READ_BACK_PAUSE).await;
        }
        None
    }

    /// Inserts the id as that of an attempt that was not applied, unless the id is there already. Repeating this is
    /// harmless.
    ///
    /// The answer counts only if what it reports is as durable as an acknowledged commit.
    async fn query_outcome(&self, name: &Name, deadline: Instant) -> Result<bool, EngineError> {
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
            Ok(Err(error)) => is_lost(error) || is_read_only(error),
            Err(_) => true,
        };
        let is_doubtful = connection.session.take_warning();
        if connection.is_busy {
            connection.remove().session.give_up();
        }
        let row = answer
            .map_err(too_long)?
            .map_err(|error| engine_error(&error))?;
        if is_doubtful {
            return Err(not_durable());
        }
        row.try_get(0).map_err(|error| engine_error(&error))
    }

    /// Records that the attempt's answer is final, so its id is no longer needed.
    fn settled(self: &Arc<Self>, name: Name) {
        if let Some(names) = self.names.settle(name) {
            let node = self.clone();
            let patience = node.options.answer_timeout();
            tokio::spawn(async move { node.forget(names, patience).await });
        }
    }

    /// Deletes ids that are no longer needed. If this fails, they are deleted when they are old.
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
            if self.names.is_cleanup_due() {
                client
                    .execute(&connection.statements.forget_old, &[])
                    .await?;
            }
            Ok::<_, tokio_postgres::Error>(())
        });
        match done.await {
            Ok(Ok(())) => connection.is_busy = false,
            _ => connection.remove().session.give_up(),
        }
    }

    /// Checks that the server accepts writes and, after a failure, that it accepts one of ours.
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
        failure_of(self.commit_unobserved(&nothing).await)
    }

    pub(super) fn pool_figures(&self) -> PoolStatus {
        let status = self.pool.status();
        PoolStatus {
            most: status.max_size,
            open: status.size,
            idle: status.available,
            waiting: self.waiting.load(Ordering::Relaxed),
        }
    }

    /// Checks that connections keep their sessions. If only one connection is available, a later `takes_writes` may
    /// detect it.
    async fn keeps_sessions(&self) -> Result<(), EngineError> {
        let mut first = self.acquire().await?;
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            return Ok(());
        };
        let mut second = match self.connection_for(place).await {
            Ok(second) => second,
            Err((EngineError::TransactionPooling, _)) => {
                return Err(EngineError::TransactionPooling);
            }
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

    /// Returns a connection for exclusive use. If the server has no room for another, waits for one of ours as if the
    /// pool were full.
    pub(super) async fn acquire(&self) -> Result<Leased, EngineError> {
        let deadline = Instant::now() + self.options.acquire_timeout.min(LONGEST);
        let _waits = Waits::count(&self.waiting);
        let mut refused = None;
        loop {
            let place = timeout_at(deadline, self.places.clone().acquire_owned()).await;
            let Ok(place) = place else {
                return Err(refused.unwrap_or_else(in_use));
            };
            let place = place.map_err(|_| EngineError::Closed)?;
            match self.connection_for(place).await {
                Ok(connection) => return Ok(connection),
                Err((error @ EngineError::Busy { .. }, place)) if Instant::now() < deadline => {
                    self.set_aside(place);
                    refused = Some(error);
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    /// Returns an idle connection or a new one; the place is given back if there is neither.
    async fn connection_for(
        &self,
        place: OwnedSemaphorePermit,
    ) -> Result<Leased, (EngineError, OwnedSemaphorePermit)> {
        match self.pool.get().await {
            Ok(connection) => Ok(Leased {
                connection,
                _place: place,
            }),
            Err(error) => Err((unpooled(error), place)),
        }
    }

    /// Withholds a place that the server has no room for, as long as it has none and callers wait, so that none of them
    /// loses its turn by asking the server in vain.
    fn set_aside(&self, place: OwnedSemaphorePermit) {
        let (pool, waiting) = (self.pool.weak(), self.waiting.clone());
        tokio::spawn(async move {
            let _withheld = place;
            loop {
                sleep(REFUSED_PAUSE).await;
                let Some(pool) = pool.upgrade().filter(|pool| !pool.is_closed()) else {
                    return;
                };
                if waiting.load(Ordering::Relaxed) == 0 {
                    return;
                }
                match pool.manager().reach_another().await {
                    Ok(None) => {}
                    Ok(Some(session)) => {
                        pool.manager().keep(session);
                        if pool.is_closed() {
                            // `close` may have looked for it before it was there.
                            drop(pool.manager().take_spare());
                        }
                        return;
                    }
                    // The next caller asks, and gets the error.
                    Err(_) => return,
                }
            }
        });
    }
}

fn unpooled(error: PoolError<EngineError>) -> EngineError {
    match error {
        PoolError::Backend(error) => error,
        PoolError::Closed => EngineError::Closed,
        PoolError::Timeout(_) | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
            EngineError::Other {
                detail: "the pool of connections is not set up as it was".to_owned(),
            }
        }
    }
}

fn in_use() -> EngineError {
    EngineError::Busy {
        detail: "every connection to the database is in use".to_owned(),
    }
}

/// Counts a waiting caller while this exists.
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

/// The pause doubles with every attempt and differs between batches, so that two batches that collided do not collide
/// again.
fn backoff(id: &[u8; Changes::ID_LEN], attempt: u8) -> Duration {
    // The random part of an id is at its end.
    let random = id.iter().rev().nth(usize::from(attempt));
    let random = random.copied().unwrap_or_default();
    let longest = BACKOFF.saturating_mul(1 << attempt.min(6));
    longest / 2 + longest.mul_f32(f32::from(random) / 512.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::testing;

    #[tokio::test]
    async fn connections_that_no_caller_needs_are_closed_except_one() {
        let (url, client, _server) = testing::database().await;
        let sessions = async || {
            let count = "SELECT count(*) FROM pg_stat_activity
                WHERE application_name = 'keyproof' AND datname = current_database()";
            let row = client.query_one(count, &[]).await.unwrap();
            row.get::<_, i64>(0)
        };

        let options = PostgresOptions::default();
        let connector = Connector::new(&url, &options).unwrap();
        let node = Arc::new(Node::new(connector, &options, 3).unwrap());
        let all = tokio::join!(node.acquire(), node.acquire(), node.acquire());
        assert!(all.0.is_ok() && all.1.is_ok() && all.2.is_ok());
        drop(all);
        let spare = node.pool.manager().reach().await.unwrap();
        node.pool.manager().keep(spare);
        assert_eq!((node.pool_figures().open, sessions().await), (3, 4));

        let idle = Duration::from_secs(1);
        node.give_up_idle(idle);
        // A caller every few milliseconds needs one of them.
        let closed = timeout(Duration::from_secs(120), async {
            while sessions().await > 1 {
                drop(node.acquire().await.unwrap());
                sleep(Duration::from_millis(10)).await;
            }
        });
        assert!(closed.await.is_ok());
        sleep(idle * 2).await;
        assert_eq!((node.pool_figures().open, sessions().await), (1, 1));
    }

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
