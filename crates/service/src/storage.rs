//! The errors between a use case and the store, shared by all use cases, and the retry loop for lost races.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use keyproof_store::{Batch, CommitError, EngineError, NotApplied, Store, StoreError, UnsealError};

use crate::{Clock, HashingError, Origin, TooBusy, mutex::lock};

/// The error when a use case was not decided: the store did not answer, or the server was too busy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// Too much CPU-bound work was waiting. Nothing was changed.
    #[error(transparent)]
    Busy(#[from] TooBusy),
    /// The race for a record was lost too often. Nothing was changed.
    #[error("the record was changed by others during each of {tries} attempts: try again")]
    Contended {
        /// How many attempts were made.
        tries: u32,
    },
    /// A record cannot be understood: a defect, or somebody else wrote to the store.
    #[error("a record cannot be read: {0}")]
    Damaged(String),
    /// Nothing was changed, and nothing will be.
    #[error("nothing was stored: {0}")]
    NotApplied(String),
    /// This server serves the store no more: the records were moved to another one, or need a master key that this server
    /// does not have. Nothing was changed.
    #[error("this server serves its store no more: {0}")]
    NotServed(String),
    /// It is unknown whether the change was made.
    #[error("it is unknown whether the change was made; check before trying again: {0}")]
    OutcomeUnknown(String),
    /// The client's data does not fit into a record. Nothing was changed.
    #[error("the record would have {found} bytes, more than the {limit} allowed")]
    TooLarge {
        /// The size that the record would have, in bytes.
        found: usize,
        /// The maximum size of a record, in bytes.
        limit: usize,
    },
    /// The store did not answer a read. Nothing was changed.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
}

/// Returns [`StorageError::Damaged`] with this reason.
pub(crate) fn damaged(why: impl ToString) -> StorageError {
    StorageError::Damaged(why.to_string())
}

/// The reason why the store cannot be expected to answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// A file of an embedded store was moved.
    #[error("the store does not answer: {0}")]
    FileReplaced(EngineError),
    /// The store now uses another master key, which this server, started before that, does not have.
    #[error("{0}")]
    MasterKey(StoreError),
    /// A connection pooler gives each transaction another session of the database.
    #[error("the store does not answer: {0}")]
    TransactionPooling(EngineError),
    /// The records were moved to another store.
    #[error("the store does not answer: {0}")]
    Relocated(EngineError),
    /// Anything else.
    #[error(transparent)]
    Storage(StorageError),
}

impl From<StoreError> for NotReady {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Engine(error @ EngineError::FileReplaced { .. }) => {
                Self::FileReplaced(error)
            }
            StoreError::Engine(error @ EngineError::TransactionPooling) => {
                Self::TransactionPooling(error)
            }
            StoreError::Engine(error @ EngineError::Relocated) => Self::Relocated(error),
            error @ StoreError::MasterKey { .. } => Self::MasterKey(error),
            other => Self::Storage(other.into()),
        }
    }
}

impl From<CommitError> for StorageError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::NotApplied(NotApplied::BodyTooLong { len, limit, .. }) => {
                Self::TooLarge { found: len, limit }
            }
            CommitError::NotApplied(
                error @ (NotApplied::Engine(EngineError::Relocated)
                | NotApplied::MasterKey { .. }
                | NotApplied::Unseal(UnsealError::UnknownMasterKey { .. })),
            ) => Self::NotServed(error.to_string()),
            CommitError::NotApplied(error) => Self::NotApplied(error.to_string()),
            // This commit is not retried after a lost race.
            error @ CommitError::Conflict { .. } => Self::NotApplied(error.to_string()),
            CommitError::Unknown(error) => Self::OutcomeUnknown(error.to_string()),
        }
    }
}

impl From<StoreError> for StorageError {
    fn from(error: StoreError) -> Self {
        match error {
            error @ (StoreError::Engine(EngineError::Relocated) | StoreError::MasterKey { .. }) => {
                Self::NotServed(error.to_string())
            }
            StoreError::Engine(error) => Self::Unavailable(error.to_string()),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<UnsealError> for StorageError {
    fn from(error: UnsealError) -> Self {
        match error {
            // The key was changed, and this server was not given the new one.
            UnsealError::UnknownMasterKey { .. } => Self::NotServed(error.to_string()),
            other => Self::Damaged(other.to_string()),
        }
    }
}

/// The error of a use case.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure<E> {
    /// The use case refused the request.
    #[error(transparent)]
    Refused(E),
    /// The use case was not decided.
    #[error(transparent)]
    Storage(StorageError),
}

impl<E> Failure<E> {
    /// Returns the refusal, for a caller that reports storage errors elsewhere.
    ///
    /// # Errors
    ///
    /// The [`StorageError`], if the use case was not decided.
    pub fn refusal(self) -> Result<E, StorageError> {
        match self {
            Self::Refused(refusal) => Ok(refusal),
            Self::Storage(error) => Err(error),
        }
    }

    /// Maps the refusal.
    pub fn map<F>(self, refusal: impl FnOnce(E) -> F) -> Failure<F> {
        match self {
            Self::Refused(refused) => Failure::Refused(refusal(refused)),
            Self::Storage(error) => Failure::Storage(error),
        }
    }
}

/// Returns this refusal.
pub(crate) const fn refuse<T, E>(refusal: E) -> Result<T, Failure<E>> {
    Err(Failure::Refused(refusal))
}

/// Returns this error as a refusal of the use case.
pub(crate) fn refused<E>(why: impl Into<E>) -> Failure<E> {
    Failure::Refused(why.into())
}

impl Failure<Infallible> {
    /// Returns the storage error of a use case that refuses nothing.
    pub(crate) fn without_refusal(self) -> StorageError {
        match self {
            Self::Refused(never) => match never {},
            Self::Storage(error) => error,
        }
    }
}

impl<E: From<HashingError>> From<HashingError> for Failure<E> {
    fn from(error: HashingError) -> Self {
        Self::Refused(error.into())
    }
}

impl<E> From<StorageError> for Failure<E> {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl<E> From<StoreError> for Failure<E> {
    fn from(error: StoreError) -> Self {
        Self::Storage(error.into())
    }
}

impl<E> From<UnsealError> for Failure<E> {
    fn from(error: UnsealError) -> Self {
        Self::Storage(error.into())
    }
}

/// The result of one attempt at a use case.
pub(crate) enum Attempt<T, E> {
    /// Not decided yet: the attempt did something slow, so the records must be loaded again.
    Again,
    /// Decided without a change.
    Done(T),
    /// The batch to commit, and the result to return afterwards. A refusal may change something too, such as a count of failures.
    Commit(Batch, Result<T, E>),
}

/// Returns the body, or the refusal for a body that could not be read. To be called after existence and precondition are checked.
pub(crate) fn require_body<T, B: Clone, E>(
    body: &Result<T, B>,
    refusal: impl FnOnce(B) -> E,
) -> Result<&T, Failure<E>> {
    body.as_ref()
        .map_err(|why| Failure::Refused(refusal(why.clone())))
}

/// Runs an attempt (load, decide) and commits its batch. Loads and decides again if a record has changed since it was loaded. No
/// result is returned unless its commit succeeded. `name` identifies the use case in the log and in [`retries`].
///
/// # Errors
///
/// The refusal of the attempt, any commit error other than a lost race, or [`StorageError::Contended`] after too many lost races.
pub(crate) async fn transact<T, E, F>(
    name: &'static str,
    store: &Store,
    attempt: impl Fn() -> F,
) -> Result<T, Failure<E>>
where
    F: Future<Output = Result<Attempt<T, E>, Failure<E>>>,
{
    let mut lost = 0;
    loop {
        let (batch, verdict) = match attempt().await? {
            Attempt::Again => continue,
            Attempt::Done(value) => return Ok(value),
            Attempt::Commit(batch, verdict) => (batch, verdict),
        };
        if commit_unless_changed(store, batch).await? {
            return verdict.map_err(Failure::Refused);
        }
        lost += 1;
        if lost == TRIES {
            return Err(Failure::Storage(StorageError::Contended { tries: TRIES }));
        }
        count_retry(name);
        tracing::debug!(name, lost, "a record was changed concurrently");
        // Lets the winner's task run on a single-threaded runtime.
        tokio::task::yield_now().await;
    }
}

/// Commits a batch. Returns `false`, with nothing changed, if one of its records has changed since it was loaded.
pub(crate) async fn commit_unless_changed(
    store: &Store,
    batch: Batch,
) -> Result<bool, StorageError> {
    match store.commit(batch).await {
        Ok(()) => Ok(true),
        Err(CommitError::Conflict { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Like [`transact`], but checks after a lost race whether the caller's own token or session (the records that permit `origin`) still
/// exists. If not, every further commit would fail, so `gone()` is returned without another attempt.
///
/// # Errors
///
/// Those of [`transact`], and the error that `gone` returns.
pub(crate) async fn transact_permitted<T, E, F>(
    name: &'static str,
    store: &Store,
    clock: &dyn Clock,
    origin: &Origin,
    gone: impl Fn() -> Failure<E>,
    attempt: impl Fn() -> F,
) -> Result<T, Failure<E>>
where
    F: Future<Output = Result<Attempt<T, E>, Failure<E>>>,
{
    let has_committed = AtomicBool::new(false);
    transact(name, store, || async {
        let is_lost = has_committed.load(Ordering::Relaxed);
        if is_lost && !origin.is_permitted_still(store, clock.now()).await? {
            return Err(gone());
        }
        let attempted = attempt().await?;
        let commits = matches!(attempted, Attempt::Commit(..));
        has_committed.store(commits, Ordering::Relaxed);
        Ok(attempted)
    })
    .await
}

/// The error of a request whose token was revoked meanwhile, for contracts that report the revocation only to the next request: a
/// lost race.
pub(crate) const fn contended<E>() -> Failure<E> {
    Failure::Storage(StorageError::Contended { tries: 1 })
}

/// How often each use case of this process was retried. Use cases without a retry are absent.
static AGAIN: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());

fn count_retry(name: &'static str) {
    *lock(&AGAIN).entry(name).or_default() += 1;
}

/// Returns how often each use case of this process was retried because a record changed meanwhile. Others are absent.
pub(crate) fn retries() -> BTreeMap<&'static str, u64> {
    lock(&AGAIN).clone()
}

/// How many races may be lost before the caller gets an error. In each round one caller wins, so everybody succeeds of as
/// many as this who change one record at once.
const TRIES: u32 = 64;

/// Implements `Record` with this name at version 1. Types at other versions implement it themselves.
macro_rules! record {
    ($record:ty, $name:literal) => {
        impl ::keyproof_store::Record for $record {
            const TYPE: &'static str = $name;
            const VERSION: u32 = 1;
        }
    };
}

/// For serde: skips a number while it is zero.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
pub(crate) fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit::Warrant,
        testing::{START, bench, origin},
    };
    use keyproof_store::Key;
    use std::cell::Cell;

    #[tokio::test]
    async fn a_race_is_run_again_and_given_up_in_the_end() {
        // The last of fifty who change one record at once loses to all others.
        const { assert!(TRIES >= 50) };
        let bench = bench().await;
        let key = Key::new("settled", ["_"]);
        let mut theirs = bench.store.batch(START);
        theirs.insert(&key, &Marker {}, None);
        bench.store.commit(theirs).await.unwrap();
        let attempts = Cell::new(0);
        let settled = transact("test.contended", &bench.store, || async {
            attempts.set(attempts.get() + 1);
            let mut batch = bench.store.batch(START);
            batch.insert(&key, &Marker {}, None);
            Ok::<_, Failure<&str>>(Attempt::Commit(batch, Ok(())))
        });
        let contended = StorageError::Contended { tries: TRIES };
        assert_eq!(settled.await, Err(Failure::Storage(contended)));
        assert_eq!(attempts.get(), TRIES);
    }

    #[tokio::test]
    async fn a_use_case_is_settled_by_its_commit_alone() {
        let bench = bench().await;
        let key = Key::new("settled", ["_"]);
        let attempts = Cell::new(0);
        let settled = transact("test.settled", &bench.store, || async {
            attempts.set(attempts.get() + 1);
            let found = bench.store.get::<Marker>(&key, START).await?;
            if found.is_some() {
                return Err(Failure::Refused("it is there"));
            }
            let mut batch = bench.store.batch(START);
            batch.insert(&key, &Marker {}, None);
            if attempts.get() == 1 {
                // Another task is quicker.
                let mut theirs = bench.store.batch(START);
                theirs.insert(&key, &Marker {}, None);
                bench.store.commit(theirs).await.unwrap();
            }
            Ok(Attempt::Commit(batch, Ok(())))
        });
        assert_eq!(settled.await, Err(Failure::Refused("it is there")));
        assert_eq!(attempts.get(), 2, "the loser has loaded and decided again");
        assert_eq!(retries().get("test.settled"), Some(&1));
    }

    #[tokio::test]
    async fn what_a_record_permitted_that_is_gone_is_tried_once() {
        let bench = bench().await;
        let [permits, changed] = ["permits", "changed"].map(|id| Key::new("settled", [id]));
        let mut batch = bench.store.batch(START);
        batch.insert(&permits, &Marker {}, None);
        bench.store.commit(batch).await.unwrap();
        let stored = bench.store.get::<Marker>(&permits, START).await.unwrap();
        let version = stored.unwrap().version;
        let mut permitted = origin();
        permitted.warrants.push(Warrant {
            place: permits.clone(),
            version,
        });
        let attempts = Cell::new(0);
        let attempt = || async {
            attempts.set(attempts.get() + 1);
            if attempts.get() == 1 {
                // The token is revoked while the request is processed.
                let mut revoking = bench.store.batch(START);
                revoking.remove(&permits, version);
                bench.store.commit(revoking).await.unwrap();
            }
            let mut batch = bench.store.batch(START);
            permitted.require(&mut batch);
            batch.insert(&changed, &Marker {}, None);
            Ok(Attempt::Commit(batch, Ok(())))
        };
        let (name, gone) = ("test.gone", || Failure::Refused("it is gone"));
        let (store, clock) = (&bench.store, &*bench.clock);
        let settled = transact_permitted(name, store, clock, &permitted, gone, attempt).await;
        assert_eq!(settled, Err(Failure::Refused("it is gone")));
        assert_eq!(attempts.get(), 1, "nothing is judged again");
        let made = bench.store.get::<Marker>(&changed, START).await;
        assert!(made.unwrap().is_none(), "nothing is changed");
    }

    #[tokio::test]
    async fn a_refusal_that_is_counted_is_told_once_it_is_committed() {
        let bench = bench().await;
        let key = Key::new("settled", ["_"]);
        let refused: Result<(), _> = transact("test.refused", &bench.store, || async {
            let mut batch = bench.store.batch(START);
            batch.insert(&key, &Marker {}, None);
            Ok(Attempt::Commit(batch, Err("wrong")))
        })
        .await;
        assert_eq!(refused, Err(Failure::Refused("wrong")));
        assert_eq!(retries().get("test.refused"), None, "nobody was quicker");
        let counted = bench.store.get::<Marker>(&key, START).await;
        assert!(counted.unwrap().is_some(), "it is counted");
    }

    #[derive(Clone, serde::Serialize, serde::Deserialize)]
    struct Marker {}

    record!(Marker, "marker");
}
