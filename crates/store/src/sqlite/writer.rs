//! The writing thread, and its queue.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering},
    },
    time::Duration,
};

use rusqlite::Connection;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    Access, SqliteOptions, Threads,
    cache::{Cache, Ended},
    connect, engine_error,
    identity::Identities,
    transaction::{Failure, Outcome, Transactions, Work},
};
use crate::{
    Changes, CommitError, CommitObserver, EngineError, NotApplied, observer::Observed,
    sql::failure_of,
};

/// The maximum number of batches in one transaction.
const GROUP: usize = 256;
/// How many batches may be queued before callers wait.
const QUEUE: usize = 1_024;
/// The size of the write-ahead log, in pages, from which it is copied back into the file: 16 MiB. The larger it is, the
/// less often pages are copied and the file is synced. It stays below one segment of the log's index (4,062 pages), so
/// that readers look a page up in one place.
const CHECKPOINT_PAGES: i32 = 4_000;
/// The size, in bytes, to which a log that grew larger is truncated when it restarts.
const LOG_SIZE_LIMIT: i64 = 32 << 20;

#[derive(Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Message>,
    doubt: Arc<Doubt>,
    observed: Arc<Observed>,
}

/// The size in bytes of the largest group that failed, until one as large succeeds; 0 if none.
///
/// On an almost full disk, the success of a small group does not prove that a large one works.
#[derive(Debug, Default)]
struct Doubt(AtomicU64);

impl Doubt {
    fn raised(&self, failed: u64) {
        self.0.fetch_max(failed, Ordering::Relaxed);
    }

    /// Only the writer's thread calls this and `raised`, so nothing can happen between load and store.
    fn dispelled(&self, succeeded: u64) {
        if succeeded >= self.0.load(Ordering::Relaxed) {
            self.0.store(0, Ordering::Relaxed);
        }
    }
}

enum Message {
    Close,
    Write(Work, Reply),
}

type Reply = oneshot::Sender<Result<(), CommitError>>;

impl Writer {
    pub(super) fn start(
        path: &Path,
        options: &SqliteOptions,
        connection: Connection,
        identities: &Arc<Identities>,
        cache: &Arc<Cache>,
        threads: &mut Threads,
    ) -> Result<Self, EngineError> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let doubt = Arc::<Doubt>::default();
        let observed = Arc::<Observed>::default();
        let thread = Thread {
            path: path.to_owned(),
            options: options.clone(),
            jobs,
            identities: identities.clone(),
            cache: cache.clone(),
            doubt: doubt.clone(),
            observed: observed.clone(),
            wal_pages: Arc::default(),
            has_written: Arc::default(),
        };
        threads.spawn("keyproof-write", move || thread.run(connection))?;
        Ok(Self {
            queue,
            doubt,
            observed,
        })
    }

    pub(super) async fn commit(&self, changes: Changes) -> Result<(), CommitError> {
        self.write(Work::Batch(changes)).await
    }

    pub(super) fn is_open(&self) -> Result<(), EngineError> {
        if self.queue.is_closed() {
            Err(EngineError::Closed)
        } else {
            Ok(())
        }
    }

    /// The size of the largest failed group, if none as large has succeeded since.
    pub(super) fn doubt(&self) -> Result<Option<u64>, EngineError> {
        self.is_open()?;
        let size = self.doubt.0.load(Ordering::Relaxed);
        Ok((size > 0).then_some(size))
    }

    /// Writes, to check that it works. Success clears the doubt about groups up to `size`, for which the caller has
    /// checked that there is room.
    pub(super) async fn probe(&self, size: u64) -> Result<(), EngineError> {
        failure_of(self.write(Work::Probe { size }).await)
    }

    /// Waits for the write lock, which another process may hold, for at most `patience`.
    pub(super) async fn lock(&self, patience: Duration) -> Result<(), EngineError> {
        match timeout(patience, self.write(Work::Lock)).await {
            Ok(outcome) => failure_of(outcome),
            Err(_) => Err(EngineError::Busy {
                detail: format!("nothing could be written for {} ms", patience.as_millis()),
            }),
        }
    }

    pub(super) fn observe(&self, observer: Arc<dyn CommitObserver>) {
        self.observed.by(observer);
    }

    pub(super) async fn close(&self) {
        // An error means that it is closed already.
        let _ = self.queue.send(Message::Close).await;
    }

    async fn write(&self, work: Work) -> Result<(), CommitError> {
        let (reply, answer) = oneshot::channel();
        let closed = |_| CommitError::NotApplied(EngineError::Closed.into());
        self.queue
            .send(Message::Write(work, reply))
            .await
            .map_err(closed)?;
        // The thread answers everything that it took, unless it panics; then the outcome is unknown.
        answer
            .await
            .unwrap_or(Err(CommitError::Unknown(EngineError::Closed)))
    }
}

struct Thread {
    path: PathBuf,
    options: SqliteOptions,
    jobs: mpsc::Receiver<Message>,
    identities: Arc<Identities>,
    cache: Arc<Cache>,
    doubt: Arc<Doubt>,
    observed: Arc<Observed>,
    wal_pages: Arc<AtomicI32>,
    /// Whether the last transaction wrote to the log.
    has_written: Arc<AtomicBool>,
}

impl Thread {
    /// Serves until the queue is closed and empty; reconnects if a connection breaks.
    fn run(mut self, connection: Connection) {
        let mut opened = Ok(connection);
        loop {
            let served = opened.and_then(|connection| self.serve(connection).map_err(engine_error));
            match served {
                Ok(Served::All) => return,
                Ok(Served::UntilBroken) => {}
                // Without a connection, the next group gets the error, and then another connection is tried.
                Err(error) => match self.next_group() {
                    None => return,
                    Some(group) => {
                        self.doubt.raised(size(&group));
                        let failure = Failure::NotApplied(error);
                        answer(group, &Err(failure), &self.observed);
                    }
                },
            }
            opened = self.reopen();
        }
    }

    /// Opens another connection to the same file.
    fn reopen(&self) -> Result<Connection, EngineError> {
        self.identities.check()?;
        let connection =
            connect(&self.path, &self.options, Access::ReadWrite).map_err(engine_error)?;
        self.identities.check()?;
        Ok(connection)
    }

    /// Runs one transaction for the whole group. Acknowledges only what the next start would find.
    fn commit(&self, transactions: &mut Transactions<'_>, group: &[(Work, Reply)]) -> Outcome {
        self.identities.check().map_err(Failure::NotApplied)?;
        self.has_written.store(false, Ordering::Relaxed);
        let mut begun = None;
        let outcome = transactions.run(group.iter().map(|(work, _)| work), || {
            begun = self.cache.begun();
        });
        let ended = match &outcome {
            Err(_) => Ended::Unknown,
            Ok(_) if !self.has_written.load(Ordering::Relaxed) => Ended::Unchanged,
            Ok(conflicts) => {
                let works = group.iter().zip(conflicts);
                Ended::Changed(
                    works.filter_map(|((work, _), conflict)| match (work, conflict) {
                        (Work::Batch(changes), None) => Some(changes),
                        _ => None,
                    }),
                )
            }
        };
        self.cache.committed(begun, ended);
        let conflicts = outcome?;
        self.identities.check().map_err(Failure::Unknown)?;
        Ok(conflicts)
    }

    fn serve(&mut self, mut connection: Connection) -> rusqlite::Result<Served> {
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "journal_size_limit", LOG_SIZE_LIMIT)?;
        let (wal_pages, has_written) = (self.wal_pages.clone(), self.has_written.clone());
        // Called only by a commit that has written to the log. It returns no error, since that would be reported as the
        // commit's.
        connection.wal_hook(Some(move |_: &mut _, pages| {
            wal_pages.store(pages, Ordering::Relaxed);
            has_written.store(true, Ordering::Relaxed);
            Ok(())
        }))?;
        let mut transactions = Transactions::prepare(&connection)?;
        while let Some(group) = self.next_group() {
            let outcome = self.commit(&mut transactions, &group);
            let failed = outcome.is_err();
            if failed {
                self.doubt.raised(size(&group));
            } else if self.has_written.load(Ordering::Relaxed) {
                self.doubt.dispelled(size(&group));
            }
            answer(group, &outcome, &self.observed);
            // After the answers, so as not to delay them. Also after a failure: on a full disk the log can then restart
            // in place.
            if failed || self.wal_pages.load(Ordering::Relaxed) >= CHECKPOINT_PAGES {
                self.wal_pages.store(0, Ordering::Relaxed);
                // What could not be copied stays in the log until the next time.
                let _ = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(()));
            }
            if failed && !connection.is_autocommit() {
                return Ok(Served::UntilBroken);
            }
        }
        Ok(Served::All)
    }

    /// Returns all waiting work, up to [`GROUP`], after waiting for the first. `None` once closed and drained.
    fn next_group(&mut self) -> Option<Vec<(Work, Reply)>> {
        let mut messages = Vec::with_capacity(GROUP);
        loop {
            if self.jobs.blocking_recv_many(&mut messages, GROUP) == 0 {
                return None;
            }
            let mut group = Vec::with_capacity(messages.len());
            for message in messages.drain(..) {
                match message {
                    Message::Close => self.jobs.close(),
                    Message::Write(work, reply) => group.push((work, reply)),
                }
            }
            if !group.is_empty() {
                return Some(group);
            }
        }
    }
}

enum Served {
    All,
    UntilBroken,
}

fn size(group: &[(Work, Reply)]) -> u64 {
    group.iter().map(|(work, _)| work.size()).sum()
}

fn answer(group: Vec<(Work, Reply)>, outcome: &Outcome, observed: &Observed) {
    let result = |at| match outcome {
        Ok(conflicts) => match conflicts.get(at).copied().flatten() {
            Some(entry) => Err(CommitError::Conflict { entry }),
            None => Ok(()),
        },
        Err(Failure::NotApplied(error)) => Err(NotApplied::from(error.clone()).into()),
        Err(Failure::Unknown(error)) => Err(CommitError::Unknown(error.clone())),
    };
    // A probe is not a commit of any caller.
    let batches = group.iter().enumerate();
    let batches = batches.filter(|(_, (work, _))| matches!(work, Work::Batch(_)));
    let results: Vec<_> = batches.map(|(at, _)| result(at)).collect();
    observed.committed(&results);
    for (at, (_, reply)) in group.into_iter().enumerate() {
        // There is no receiver if the caller has given up.
        let _ = reply.send(result(at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_reaches_every_caller() {
        let failed = |failure: Failure| {
            let (replies, answers): (Vec<_>, Vec<_>) = (0..3).map(|_| oneshot::channel()).unzip();
            let group = replies
                .into_iter()
                .map(|reply| (Work::Probe { size: 1 }, reply))
                .collect();
            answer(group, &Err(failure), &Observed::default());
            answers
                .into_iter()
                .map(|mut answer| answer.try_recv().unwrap())
                .collect::<Vec<_>>()
        };
        let busy = EngineError::Busy {
            detail: "so it is".to_owned(),
        };
        let not_applied = Err(CommitError::NotApplied(busy.clone().into()));
        assert_eq!(
            failed(Failure::NotApplied(busy.clone())),
            vec![not_applied; 3]
        );
        let unknown = Err(CommitError::Unknown(busy.clone()));
        assert_eq!(failed(Failure::Unknown(busy)), vec![unknown; 3]);
    }
}
