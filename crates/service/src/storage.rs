//! What can go wrong between a use case and the store, in the words that every use case shares.

use std::{
    borrow::Borrow,
    collections::BTreeMap,
    convert::Infallible,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use keyproof_store::{
    Batch, CommitError, EngineError, Key, NotApplied, Record, Store, StoreError, Stored, Timestamp,
    UnsealError,
};

use crate::{Clock, HashingError, Origin, TooBusy};

/// Why a use case was not decided: the store did not answer, or there was too much to do to ask it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// Too much was waiting to be judged. Nothing was changed.
    #[error(transparent)]
    Busy(#[from] TooBusy),
    /// The race for a record was lost again and again. Nothing was changed.
    #[error("the record changed during each of {tries} tries: try again")]
    Contended {
        /// How often it was tried.
        tries: u32,
    },
    /// What is stored cannot be understood: a defect, or somebody wrote to the store.
    #[error("a record cannot be read: {0}")]
    Damaged(String),
    /// Nothing was changed, and nothing will be.
    #[error("nothing was stored: {0}")]
    NotApplied(String),
    /// It could not be learnt whether the change was made.
    #[error("the outcome of a change is unknown, so look what is there before another try: {0}")]
    OutcomeUnknown(String),
    /// What the client sent is more than fits into a record. Nothing was changed.
    #[error("the record would have {found} bytes, more than the {limit} allowed")]
    TooLarge {
        /// The size of the record that it would have made, in bytes.
        found: usize,
        /// The size of the largest record, in bytes.
        limit: usize,
    },
    /// The store did not answer a question. Nothing was changed.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
}

/// What is stored cannot be understood, for this reason.
pub(crate) fn damaged(why: impl ToString) -> StorageError {
    StorageError::Damaged(why.to_string())
}

/// Why the store cannot be expected to answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// A file of an embedded store is not where it was.
    #[error("the store does not answer: {0}")]
    Moved(EngineError),
    /// Another master key seals since this server was started, which it does not have.
    #[error("{0}")]
    MasterKey(StoreError),
    /// A pooler gives each transaction another session of the database.
    #[error("the store does not answer: {0}")]
    Pooled(EngineError),
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
            StoreError::Engine(error @ EngineError::Moved { .. }) => Self::Moved(error),
            StoreError::Engine(error @ EngineError::Pooled) => Self::Pooled(error),
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
            CommitError::NotApplied(error) => Self::NotApplied(error.to_string()),
            // A race that is not run again.
            error @ CommitError::Conflict { .. } => Self::NotApplied(error.to_string()),
            CommitError::Unknown(error) => Self::OutcomeUnknown(error.to_string()),
            // Whatever a later store says, it does not say that it is done.
            other => Self::OutcomeUnknown(other.to_string()),
        }
    }
}

impl From<StoreError> for StorageError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Engine(error) => Self::Unavailable(error.to_string()),
            error @ StoreError::MasterKey { .. } => Self::Unavailable(error.to_string()),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<UnsealError> for StorageError {
    fn from(error: UnsealError) -> Self {
        match error {
            // The key has been changed, and this server has not been given the other one.
            UnsealError::UnknownMasterKey { .. } => Self::Unavailable(error.to_string()),
            other => Self::Damaged(other.to_string()),
        }
    }
}

/// Why a use case has not done what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure<E> {
    /// It was refused.
    #[error(transparent)]
    Refused(E),
    /// It was not decided.
    #[error(transparent)]
    Storage(StorageError),
}

impl<E> Failure<E> {
    /// The refusal, for whoever answers what was not decided in another place.
    ///
    /// # Errors
    ///
    /// The [`StorageError`], where it was not decided.
    pub fn refusal(self) -> Result<E, StorageError> {
        match self {
            Self::Refused(refusal) => Ok(refusal),
            Self::Storage(error) => Err(error),
        }
    }

    /// The same, with another refusal.
    pub fn map<F>(self, refusal: impl FnOnce(E) -> F) -> Failure<F> {
        match self {
            Self::Refused(refused) => Failure::Refused(refusal(refused)),
            Self::Storage(error) => Failure::Storage(error),
        }
    }
}

/// Refuses a use case.
///
/// # Errors
///
/// Always this refusal.
pub(crate) const fn refuse<T, E>(refusal: E) -> Result<T, Failure<E>> {
    Err(Failure::Refused(refusal))
}

impl Failure<Infallible> {
    /// What is left where nothing is refused.
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

/// What one attempt at a use case came to.
pub(crate) enum Attempt<T, E> {
    /// Nothing is decided yet: the attempt did something slow, so the records are to be loaded again.
    Again,
    /// Nothing is to be changed.
    Done(T),
    /// The batch is to be committed, and then this is the verdict. A refusal may change something, too: it is counted.
    Commit(Batch, Result<T, E>),
}

/// The body, or the refusal that says why it could not be read. To be called once existence and precondition are judged.
///
/// # Errors
///
/// What `refusal` makes of that.
pub(crate) fn said<T, B: Clone, E>(
    body: &Result<T, B>,
    refusal: impl FnOnce(B) -> E,
) -> Result<&T, Failure<E>> {
    body.as_ref()
        .map_err(|why| Failure::Refused(refusal(why.clone())))
}

/// Settles races: runs load, decide, commit, and runs it again where a record has changed since it was loaded. No verdict
/// is returned whose commit did not happen. `name` tells the log and [`retries`] which use case is contended.
///
/// # Errors
///
/// What the attempt refuses, or what a commit says other than that a race was lost; [`StorageError::Contended`] once
/// enough of them were lost.
pub(crate) async fn settle<T, E, F>(
    name: &'static str,
    store: &Store,
    attempt: impl Fn() -> F,
) -> Result<T, Failure<E>>
where
    F: Future<Output = Result<Attempt<T, E>, Failure<E>>>,
{
    let mut race = Race::default();
    loop {
        let (batch, verdict) = match attempt().await? {
            Attempt::Again => continue,
            Attempt::Done(value) => return Ok(value),
            Attempt::Commit(batch, verdict) => (batch, verdict),
        };
        if race.won(store.commit(batch).await).await? {
            return verdict.map_err(Failure::Refused);
        }
        count_retry(name);
        tracing::debug!(name, lost = race.lost, "a record changed meanwhile");
    }
}

/// Like [`settle`]. After a lost race it first asks whether the caller's own token or session (the records that permit
/// `origin`) still exists: if not, every further commit would fail, so `gone()` is returned without judging again.
///
/// # Errors
///
/// Those of [`settle`], and what `gone` makes.
pub(crate) async fn settle_permitted<T, E, F>(
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
    settle(name, store, || async {
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

/// What a request comes to whose token was revoked while it was on its way, at contracts that tell it to the next request: one
/// that lost its race.
pub(crate) const fn overtaken<E>() -> Failure<E> {
    Failure::Storage(StorageError::Contended { tries: 1 })
}

/// How often each use case of this process has run again, for those that have.
static AGAIN: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());

fn count_retry(name: &'static str) {
    let mut again = AGAIN.lock().unwrap_or_else(PoisonError::into_inner);
    *again.entry(name).or_default() += 1;
}

/// How often each use case of this process has run again, because a record changed meanwhile; for those that have.
pub(crate) fn retries() -> BTreeMap<&'static str, u64> {
    let again = AGAIN.lock().unwrap_or_else(PoisonError::into_inner);
    again.clone()
}

/// How often a lost race is run again before the caller is told.
const TRIES: u32 = 16;

/// A use case's tries to commit what it decided. Whoever loses loads and decides again.
#[derive(Default)]
struct Race {
    lost: u32,
}

impl Race {
    /// Sorts the outcome of a commit: whether it is done. If it is not, a record had changed since it was loaded.
    ///
    /// # Errors
    ///
    /// What the commit says, or [`StorageError::Contended`] once there have been enough tries.
    async fn won(&mut self, outcome: Result<(), CommitError>) -> Result<bool, StorageError> {
        match outcome {
            Ok(()) => Ok(true),
            Err(CommitError::Conflict { .. }) => {
                self.lost += 1;
                if self.lost == TRIES {
                    return Err(StorageError::Contended { tries: TRIES });
                }
                // Lets the winner's task run where there is only one thread.
                tokio::task::yield_now().await;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// A type of records, with its name. All are at version 1 but those that say so themselves.
macro_rules! record {
    ($record:ty, $name:literal) => {
        impl ::keyproof_store::Record for $record {
            const TYPE: &'static str = $name;
            const VERSION: u32 = 1;
        }
    };
}

/// For numbers that a record does not have while they are zero.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
pub(crate) fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Adds one record to a batch: writes `next` over the version that was read if the two differ, else requires that the record
/// is still at that version.
pub(crate) fn put<R: Record + PartialEq>(
    batch: &mut Batch,
    place: &Key,
    read: Option<&Stored<impl Borrow<R>>>,
    next: Option<R>,
    expires_at: Option<Timestamp>,
) {
    match (read, next) {
        (None, None) => {}
        (None, Some(next)) => {
            batch.insert(place, &next, expires_at);
        }
        (Some(read), None) => batch.remove(place, read.version),
        (Some(read), Some(next)) if Borrow::<R>::borrow(&read.record) == &next => {
            batch.require(place, read.version);
        }
        (Some(read), Some(next)) => {
            batch.replace(place, read.version, &next, expires_at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit::Warrant,
        testing::{START, bench, origin},
    };
    use keyproof_store::{Key, Record};
    use std::cell::Cell;

    #[tokio::test]
    async fn a_race_is_run_again_and_given_up_in_the_end() {
        let conflict = || Err(CommitError::Conflict { entry: 0 });
        let mut race = Race::default();
        for _ in 1..TRIES {
            assert_eq!(race.won(conflict()).await, Ok(false));
        }
        assert_eq!(race.won(Ok(())).await, Ok(true));
        assert_eq!(
            race.won(conflict()).await,
            Err(StorageError::Contended { tries: TRIES })
        );
    }

    #[tokio::test]
    async fn an_unknown_outcome_is_not_taken_for_one_not_applied() {
        let closed = || EngineError::Closed;
        let unknown = Race::default()
            .won(Err(CommitError::Unknown(closed())))
            .await;
        assert!(
            matches!(unknown, Err(StorageError::OutcomeUnknown(_))),
            "{unknown:?}"
        );
        let error = CommitError::NotApplied(NotApplied::Engine(closed()));
        let not_applied = Race::default().won(Err(error)).await;
        assert!(
            matches!(not_applied, Err(StorageError::NotApplied(_))),
            "{not_applied:?}"
        );
    }

    #[tokio::test]
    async fn a_use_case_is_settled_by_its_commit_alone() {
        let bench = bench().await;
        let key = Key::new("settled", ["_"]);
        let attempts = Cell::new(0);
        let settled = settle("test.settled", &bench.store, || async {
            attempts.set(attempts.get() + 1);
            let found = bench.store.get::<Marker>(&key, START).await?;
            if found.is_some() {
                return Err(Failure::Refused("it is there"));
            }
            let mut batch = bench.store.batch(START);
            batch.insert(&key, &Marker {}, None);
            if attempts.get() == 1 {
                // Somebody else is quicker.
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
                // It is revoked while the request is judged.
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
        let settled = settle_permitted(name, store, clock, &permitted, gone, attempt).await;
        assert_eq!(settled, Err(Failure::Refused("it is gone")));
        assert_eq!(attempts.get(), 1, "nothing is judged again");
        let made = bench.store.get::<Marker>(&changed, START).await;
        assert!(made.unwrap().is_none(), "nothing is changed");
    }

    #[tokio::test]
    async fn a_refusal_that_is_counted_is_told_once_it_is_committed() {
        let bench = bench().await;
        let key = Key::new("settled", ["_"]);
        let refused: Result<(), _> = settle("test.refused", &bench.store, || async {
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

    impl Record for Marker {
        const TYPE: &'static str = "marker";
        const VERSION: u32 = 1;
    }
}
