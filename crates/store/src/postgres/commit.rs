//! One try of one batch: everything sent at once, then every answer judged.
//!
//! `BEGIN`, the try's id, the entries in key order and `COMMIT` are one round trip. A check that fails is an error, after
//! which the server takes `COMMIT` for `ROLLBACK`. So `COMMIT` is believed only if everything before it succeeded and the
//! server did not warn that it is less durable than was asked.

use std::{collections::VecDeque, fmt, future::poll_fn, pin::Pin, task::Poll, time::Duration};

use bytes::BytesMut;
use tokio::time::{Instant, error::Elapsed, timeout_at};
use tokio_postgres::{
    Error, Statement,
    types::{IsNull, ToSql, Type, to_sql_checked},
};

use super::{
    connection::{Connection, not_durable, took_too_long},
    error::{engine_error, is_cancelled, is_contention, is_failed_check, is_lost, is_read_only},
    millis,
    statements::{BEGIN, Check},
};
use crate::{Change, Changes, EngineError, Entry, Row};

/// How much of a batch is under way at most, in bytes of keys and bodies: what is sent is held in memory once more.
const WINDOW: usize = 4 << 20;

/// What became of one try.
#[derive(Debug)]
pub(super) enum Outcome {
    Applied,
    /// Nothing was applied: this entry's check failed.
    Conflict(usize),
    /// Nothing was applied, and the same batch may find a clear way next time.
    Contention(EngineError),
    /// Nothing was applied.
    Refused(EngineError),
    /// All of it was applied, durably or not, or nothing, or it is still under way.
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
    /// Tries the batch under an id that was never tried before. Whatever comes of it, nothing is left under way unless
    /// the connection is marked busy.
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

    /// A single statement is a transaction of its own.
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
                // The server commits at the end of this very statement, and may be told to stop after that.
                let judged = if is_cancelled(&error) {
                    Outcome::Lost(engine_error(&error))
                } else {
                    judge(Step::Entry(entry.index), &error)
                };
                (judged, !is_lost(&error) && !is_read_only(&error))
            }
            Err(_) => (Outcome::Lost(took_too_long("committing")), false),
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

    /// The entry's change, which fails unless its record is in the state that the entry asks for. Sent when first polled.
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

/// What an entry takes while it is under way; a constant for what surrounds key and body.
fn size(entry: &Entry) -> usize {
    let body = match &entry.change {
        Change::Insert(row) | Change::Replace { row, .. } => row.body.len(),
        Change::Reseal { body, .. } => body.len(),
        Change::Remove { .. } | Change::Require { .. } => 0,
    };
    256 + entry.key.as_bytes().len() + body
}

#[derive(Clone, Copy)]
enum Step {
    /// `BEGIN` and the try's id.
    Frame,
    Entry(usize),
    Commit,
    Rollback,
}

/// Requests under way, in the order in which they were sent, and what is known of those before.
struct Pipeline<'c> {
    under_way: VecDeque<(Step, usize, Request<'c>)>,
    bytes: usize,
    patience: Patience,
    /// The first failure, whose transaction cannot commit any more.
    failure: Option<Outcome>,
    /// Whether everything under way was answered and leaves the connection in order.
    is_settled: bool,
}

type Answer = Result<(), Error>;

/// A request that was sent, and maybe answered at once.
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

    /// Sends a request, if need be after the answers to earlier ones have made room for it.
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
        // Its first poll is what sends it; whoever waits for it polls it again.
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

    /// Waits for all answers. Also tells whether the connection is good for more.
    async fn finish(mut self) -> (Outcome, bool) {
        while self.is_settled && !self.under_way.is_empty() {
            self.settle().await;
        }
        (self.failure.unwrap_or(Outcome::Applied), self.is_settled)
    }

    /// Waits for the answer to the oldest request. Once something has failed, what follows is only waited for.
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
                // A transaction that could not be ended is open still.
                let is_open = matches!(step, Step::Commit | Step::Rollback);
                let is_spoilt = is_open || is_lost(&error) || is_read_only(&error);
                (judge(step, &error), is_spoilt)
            }
            Err(_) => (Outcome::Lost(took_too_long("committing")), true),
        };
        self.is_settled &= !is_spoilt;
        self.failure.get_or_insert(outcome);
    }
}

/// What the first error of a transaction means for it.
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
        // A server that fails to commit should have taken everything back; we rather ask.
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
