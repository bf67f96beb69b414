//! The thread that writes, and the queue before it.

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
use crate::{Changes, CommitError, CommitObserver, EngineError, NotApplied, observer::Observed};

/// Batches that one transaction takes at most.
const GROUP: usize = 256;
/// Batches that wait for the writer before callers wait for room.
const QUEUE: usize = 1_024;
/// Pages in the write-ahead log from which on it is copied back into the file, 16 MiB: a page that is written again and
/// again is copied once, and the file is synced as seldom. No more than one part of the log's index has (4,062), so that
/// readers look a page up in one place.
const CHECKPOINT_PAGES: i32 = 4_000;
/// To how many bytes a log that once grew large is cut when it is next begun anew.
const LOG_SIZE_LIMIT: i64 = 32 << 20;

#[derive(Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Message>,
    doubt: Arc<Doubt>,
    observed: Arc<Observed>,
}

/// The size in bytes of the largest group that has failed since one as large succeeded; 0 if none.
///
/// On a disk that is all but full a small group's success says nothing of a large one.
#[derive(Debug, Default)]
struct Doubt(AtomicU64);

impl Doubt {
    fn raised(&self, failed: u64) {
        self.0.fetch_max(failed, Ordering::Relaxed);
    }

    /// Only the writer's thread calls this, as it does the other: nothing comes in between.
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

    /// How much was to be written when it last failed, if that has not been made up for.
    pub(super) fn doubt(&self) -> Result<Option<u64>, EngineError> {
        self.is_open()?;
        let size = self.doubt.0.load(Ordering::Relaxed);
        Ok((size > 0).then_some(size))
    }

    /// Writes, to find out whether that works. Success dispels the doubt about groups up to `size`, for which the
    /// caller has found room.
    pub(super) async fn probe(&self, size: u64) -> Result<(), EngineError> {
        failure_of(self.write(Work::Probe { size }).await)
    }

    /// Waits for the lock for writing, which another process may keep, but no longer than this.
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
        // An error says that it is closed.
        let _ = self.queue.send(Message::Close).await;
    }

    async fn write(&self, work: Work) -> Result<(), CommitError> {
        let (reply, answer) = oneshot::channel();
        let closed = |_| CommitError::NotApplied(EngineError::Closed.into());
        self.queue
            .send(Message::Write(work, reply))
            .await
            .map_err(closed)?;
        // The thread answers all that it took, unless it panics: then nobody knows.
        answer
            .await
            .unwrap_or(Err(CommitError::Unknown(EngineError::Closed)))
    }
}

/// What failed of a work that conflicts with nothing, and is within every limit.
fn failure_of(outcome: Result<(), CommitError>) -> Result<(), EngineError> {
    match outcome {
        Err(CommitError::NotApplied(NotApplied::Engine(error)) | CommitError::Unknown(error)) => {
            Err(error)
        }
        _ => Ok(()),
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
    /// Serves until the queue is closed and empty, with another connection when one broke.
    fn run(mut self, connection: Connection) {
        let mut opened = Ok(connection);
        loop {
            let served = opened.and_then(|connection| self.serve(connection).map_err(engine_error));
            match served {
                Ok(Served::All) => return,
                Ok(Served::UntilBroken) => {}
                // No connection, so the next group learns why, and then another is tried.
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

    /// Another connection, to the same file.
    fn reopen(&self) -> Result<Connection, EngineError> {
        self.identities.check()?;
        let connection =
            connect(&self.path, &self.options, Access::ReadWrite).map_err(engine_error)?;
        self.identities.check()?;
        Ok(connection)
    }

    /// One transaction for the whole group. Nothing is acknowledged that the next start would not find.
    fn commit(&self, transactions: &mut Transactions<'_>, group: &[(Work, Reply)]) -> Outcome {
        self.identities.check().map_err(Failure::NotApplied)?;
        self.has_written.store(false, Ordering::Relaxed);
        let mut begun = None;
        let outcome = transactions.run(group.iter().map(|(work, _)| work), || {
            begun = Some(self.cache.begun());
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
        // Called by a commit that has written to the log, and by no other. An error from here would be taken for the
        // commit's, which it is not.
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
            } else {
                self.doubt.dispelled(size(&group));
            }
            answer(group, &outcome, &self.observed);
            // After the answers, which it would only delay. After a failure too: on a full disk
            // the log may then be begun anew in place.
            if failed || self.wal_pages.load(Ordering::Relaxed) >= CHECKPOINT_PAGES {
                self.wal_pages.store(0, Ordering::Relaxed);
                // The log keeps what could not be copied; the next time will do.
                let _ = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(()));
            }
            if failed && !connection.is_autocommit() {
                return Ok(Served::UntilBroken);
            }
        }
        Ok(Served::All)
    }

    /// All that waits, up to [`GROUP`]; waits for the first. `None` once closed and drained.
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
    // A probe is nobody's commit.
    let batches = group.iter().enumerate();
    let batches = batches.filter(|(_, (work, _))| matches!(work, Work::Batch(_)));
    let results: Vec<_> = batches.map(|(at, _)| result(at)).collect();
    observed.committed(&results);
    for (at, (_, reply)) in group.into_iter().enumerate() {
        // Nobody listens if the caller has given up.
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
