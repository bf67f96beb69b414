//! One attempt to commit a batch: all requests are sent at once, then every answer is checked.
//!
//! `BEGIN`, the attempt's id, the entries in key order and `COMMIT` take one round trip. A check that fails is an
//! error, after which the server treats `COMMIT` as `ROLLBACK`. So `COMMIT` counts only if everything before it
//! succeeded, and if the server did not warn that it is less durable than requested.

use std::{collections::VecDeque, fmt, future::poll_fn, pin::Pin, task::Poll, time::Duration};

use bytes::BytesMut;
use tokio::time::{Instant, error::Elapsed, timeout_at};
use tokio_postgres::{
    Error, Statement,
    types::{IsNull, ToSql, Type, to_sql_checked},
};

use super::{
    connection::{Connection, not_durable},
    error::{engine_error, is_cancelled, is_contention, is_failed_check, is_lost, is_read_only},
    statements::{BEGIN, Check},
};
use crate::{Change, Changes, EngineError, Entry, Row, sql::millis};

/// How much of a batch may be in flight, in bytes of keys and bodies, since sent data is buffered in memory once more.
const WINDOW: usize = 4 << 20;

/// The outcome of one attempt.
#[derive(Debug)]
pub(super) enum Outcome {
    Applied,
    /// Nothing was applied: the check of this entry failed.
    Conflict(usize),
    /// Nothing was applied, and the same batch may succeed on the next attempt.
    Contention(EngineError),
    /// Nothing was applied.
    Refused(EngineError),
    /// The outcome is unknown: the batch was applied, durably or not, or it was not, or it is still in flight.
    Lost(EngineError),
}

/// How long to wait.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// For each answer.
    pub(super) answer: Duration,
    /// For all of them.
    pub(super) deadline: Instant,
}

impl Patience {
    pub(super) async fn wait<T>(self, answer: impl Future<Output = T>) -> Result<T, Elapsed> {
        let until = self.deadline.min(Instant::now() + self.answer);
        timeout_at(until, answer).await
    }
}

impl Connection {
    /// Attempts the batch under an id that was never used before. Afterwards nothing is in flight unless the connection
    /// is marked busy.
    pub(super) async fn attempt(
        &mut self,
        id: &[u8],
        changes: &Changes,
        patience: Patience,
    ) -> Outcome {
        self.is_busy = true;
        self.session.take_warning();
        let (outcome, is_settled) = match changes.entries() {
            [entry] => {
                self.attempt_alone(id, entry, millis(changes.now()), patience)
                    .await
            }
            _ => self.attempt_all(id, changes, patience).await,
        };
        self.is_busy = !is_settled;
        match outcome {
            Outcome::Applied if self.session.take_warning() => Outcome::Lost(not_durable()),
            outcome => outcome,
        }
    }

    /// Commits a single statement, which is a transaction of its own.
    async fn attempt_alone(
        &self,
        id: &[u8],
        entry: &Entry,
        now: i64,
        patience: Patience,
    ) -> (Outcome, bool) {
        match patience.wait(self.check(entry, now, Some(id))).await {
            Ok(Ok(_)) => (Outcome::Applied, true),
            Ok(Err(error)) => {
                // The server commits at the end of this statement, and may be cancelled after that.
                let judged = if is_cancelled(&error) {
                    Outcome::Lost(engine_error(&error))
                } else {
                    judge(Step::Entry(entry.index), &error)
                };
                (judged, !is_lost(&error) && !is_read_only(&error))
            }
            Err(_) => (Outcome::Lost(unanswered()), false),
        }
    }

    async fn attempt_all(
        &self,
        id: &[u8],
        changes: &Changes,
        patience: Patience,
    ) -> (Outcome, bool) {
        let now = millis(changes.now());
        let client = &self.session.client;
        let mut pipeline = Pipeline::new(patience);
        pipeline
            .send(Step::Frame, 0, async { client.batch_execute(BEGIN).await })
            .await;
        let name = async { self.execute(&self.statements.name, &[&Binary(id)]).await };
        pipeline.send(Step::Frame, id.len(), name).await;
        for entry in changes.entries() {
            if pipeline.has_failed() {
                break;
            }
            let check = self.check(entry, now, None);
            pipeline
                .send(Step::Entry(entry.index), size(entry), check)
                .await;
        }
        if pipeline.has_failed() {
            let rollback = async { client.batch_execute("ROLLBACK").await };
            pipeline.send(Step::Rollback, 0, rollback).await;
        } else {
            let commit = async { client.batch_execute("COMMIT").await };
            pipeline.send(Step::Commit, 0, commit).await;
        }
        pipeline.finish().await
    }

    /// Makes the entry's change, which fails unless its record is in the required state. Sent when first polled.
    async fn check(&self, entry: &Entry, now: i64, id: Option<&[u8]>) -> Result<(), Error> {
        let statements = &self.statements;
        let key = Binary(entry.key.as_bytes());
        match &entry.change {
            Change::Insert(row) => {
                let (version, body, expires_at) = columns(row);
                let row: [Parameter<'_>; 5] = [&key, &version, &body, &expires_at, &now];
                self.run(&statements.insert, &row, id).await
            }
            Change::Remove { at } => {
                let at = Binary(at.as_bytes());
                self.run(&statements.remove, &[&key, &at], id).await
            }
            Change::Replace { at, row } => {
                let at = Binary(at.as_bytes());
                let (version, body, expires_at) = columns(row);
                let row: [Parameter<'_>; 6] = [&key, &at, &version, &body, &expires_at, &now];
                self.run(&statements.replace, &row, id).await
            }
            Change::Require { at } => {
                let at = Binary(at.as_bytes());
                self.run(&statements.require, &[&key, &at, &now], id).await
            }
            Change::Reseal { at, body } => {
                let (at, body) = (Binary(at.as_bytes()), Binary(body));
                self.run(&statements.reseal, &[&key, &at, &body, &now], id)
                    .await
            }
        }
    }

    async fn run(
        &self,
        check: &Check,
        parameters: &[Parameter<'_>],
        id: Option<&[u8]>,
    ) -> Result<(), Error> {
        match id {
            None => self.execute(&check.among_others, parameters).await,
            Some(id) => {
                let id = Binary(id);
                let parameters = [parameters, &[&id]].concat();
                self.execute(&check.alone, &parameters).await
            }
        }
    }

    async fn execute(
        &self,
        statement: &Statement,
        parameters: &[Parameter<'_>],
    ) -> Result<(), Error> {
        self.session
            .client
            .execute(statement, parameters)
            .await
            .map(drop)
    }
}

fn columns(row: &Row) -> (Binary<'_>, Binary<'_>, Option<i64>) {
    (
        Binary(row.version.as_bytes()),
        Binary(&row.body),
        row.expires_at.map(millis),
    )
}

/// The memory an entry needs while in flight, with a constant for the overhead.
fn size(entry: &Entry) -> usize {
    256 + entry.key.as_bytes().len() + entry.change.body_len()
}

#[derive(Clone, Copy)]
enum Step {
    /// `BEGIN` and the attempt's id.
    Frame,
    Entry(usize),
    Commit,
    Rollback,
}

/// Requests in flight, in the order in which they were sent, and the result of those before.
struct Pipeline<'c> {
    under_way: VecDeque<(Step, usize, Request<'c>)>,
    bytes: usize,
    patience: Patience,
    /// The first failure; its transaction can no longer commit.
    failure: Option<Outcome>,
    /// Whether every answered request left the connection usable.
    is_settled: bool,
}

type Answer = Result<(), Error>;

/// A request that was sent, and possibly answered at once.
enum Request<'c> {
    Sent(Pin<Box<dyn Future<Output = Answer> + Send + 'c>>),
    Answered(Answer),
}

impl<'c> Pipeline<'c> {
    fn new(patience: Patience) -> Self {
        Self {
            under_way: VecDeque::new(),
            bytes: 0,
            patience,
            failure: None,
            is_settled: true,
        }
    }

    fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Sends a request, after waiting for earlier answers if the window is full.
    async fn send(
        &mut self,
        step: Step,
        bytes: usize,
        request: impl Future<Output = Answer> + Send + 'c,
    ) {
        while self.bytes + bytes > WINDOW && !self.under_way.is_empty() && self.is_settled {
            self.settle().await;
        }
        let mut request: Pin<Box<dyn Future<Output = Answer> + Send + 'c>> = Box::pin(request);
        // The first poll sends it; `settle` polls it again.
        let request = poll_fn(|context| {
            Poll::Ready(match request.as_mut().poll(context) {
                Poll::Ready(answer) => Some(answer),
                Poll::Pending => None,
            })
        })
        .await
        .map_or_else(|| Request::Sent(request), Request::Answered);
        self.bytes += bytes;
        self.under_way.push_back((step, bytes, request));
    }

    /// Waits for all answers. Also returns whether the connection can be reused.
    async fn finish(mut self) -> (Outcome, bool) {
        while self.is_settled && !self.under_way.is_empty() {
            self.settle().await;
        }
        (self.failure.unwrap_or(Outcome::Applied), self.is_settled)
    }

    /// Waits for the answer to the oldest request. After a failure, later answers are ignored.
    async fn settle(&mut self) {
        let Some((step, bytes, request)) = self.under_way.pop_front() else {
            return;
        };
        self.bytes -= bytes;
        let answer = match request {
            Request::Answered(answer) => Ok(answer),
            Request::Sent(request) => self.patience.wait(request).await,
        };
        let (outcome, is_spoilt) = match answer {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                // If it could not be ended, the transaction is still open.
                let is_open = matches!(step, Step::Commit | Step::Rollback);
                let is_spoilt = is_open || is_lost(&error) || is_read_only(&error);
                (judge(step, &error), is_spoilt)
            }
            Err(_) => (Outcome::Lost(unanswered()), true),
        };
        self.is_settled &= !is_spoilt;
        self.failure.get_or_insert(outcome);
    }
}

/// The error of a commit whose answer did not come in time.
fn unanswered() -> EngineError {
    EngineError::Io {
        detail: "committing took too long: the database is slow, or a standby that commits wait for is away"
            .to_owned(),
    }
}

/// What the first error of a transaction means for the batch.
fn judge(step: Step, error: &Error) -> Outcome {
    let words = engine_error(error);
    if is_lost(error) {
        return Outcome::Lost(words);
    }
    if is_contention(error) {
        return Outcome::Contention(words);
    }
    match step {
        Step::Entry(index) if is_failed_check(error) => Outcome::Conflict(index),
        // A server that fails to commit should have rolled back, but the outcome is read back to be certain.
        Step::Commit => Outcome::Lost(words),
        Step::Entry(_) | Step::Frame | Step::Rollback => Outcome::Refused(words),
    }
}

pub(super) type Parameter<'a> = &'a (dyn ToSql + Sync);

/// Bytes as a parameter, hidden from the client library's debug log.
pub(super) struct Binary<'a>(pub(super) &'a [u8]);

impl fmt::Debug for Binary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl ToSql for Binary<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(self.0);
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::BYTEA
    }

    to_sql_checked!();
}
