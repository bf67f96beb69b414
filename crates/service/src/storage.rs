//! What can go wrong between a use case and the store, in the words that every use case shares.

use keyproof_store::{CommitError, NotApplied, StoreError, UnsealError};

/// Why a use case has no verdict: the store gave none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// The race for a record was lost again and again. Nothing was changed.
    #[error("the record kept changing under {tries} tries")]
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
    #[error("the outcome of a change is unknown: {0}")]
    OutcomeUnknown(String),
    /// What the client sent is more than a record holds. Nothing was changed.
    #[error("a record of {found} bytes, more than {limit}")]
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

impl From<StoreError> for StorageError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Engine(error) => Self::Unavailable(error.to_string()),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<UnsealError> for StorageError {
    fn from(error: UnsealError) -> Self {
        Self::Damaged(error.to_string())
    }
}

/// How often a lost race is run again before the caller is told.
const TRIES: u32 = 16;

/// What one attempt to load, decide and commit came to.
pub(crate) enum Attempt<T> {
    /// The verdict; what it rests on is committed.
    Done(T),
    /// A record had changed since it was loaded.
    Lost,
}

impl Attempt<()> {
    /// Sorts the outcome of a commit.
    pub(crate) fn of(outcome: Result<(), CommitError>) -> Result<Self, StorageError> {
        match outcome {
            Ok(()) => Ok(Self::Done(())),
            Err(CommitError::Conflict { .. }) => Ok(Self::Lost),
            Err(CommitError::NotApplied(NotApplied::BodyTooLong { len, limit, .. })) => {
                Err(StorageError::TooLarge { found: len, limit })
            }
            Err(CommitError::NotApplied(error)) => Err(StorageError::NotApplied(error.to_string())),
            Err(CommitError::Unknown(error)) => {
                Err(StorageError::OutcomeUnknown(error.to_string()))
            }
            Err(other) => Err(StorageError::OutcomeUnknown(other.to_string())),
        }
    }
}

/// Runs `attempt` until it is done: a lost race is settled by loading and deciding again.
///
/// # Errors
/// The attempt's own, or [`StorageError::Contended`].
pub(crate) async fn settle<T, E: From<StorageError>>(
    mut attempt: impl AsyncFnMut() -> Result<Attempt<T>, E>,
) -> Result<T, E> {
    for _ in 0..TRIES {
        if let Attempt::Done(verdict) = attempt().await? {
            return Ok(verdict);
        }
        // Lets the winner's task run where there is only one thread.
        tokio::task::yield_now().await;
    }
    Err(StorageError::Contended { tries: TRIES }.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyproof_store::EngineError;

    #[tokio::test]
    async fn a_race_is_run_again_and_given_up_in_the_end() {
        let mut tries = 0;
        let third_time: Result<u32, StorageError> = settle(async || {
            tries += 1;
            Ok(if tries == 3 {
                Attempt::Done(tries)
            } else {
                Attempt::Lost
            })
        })
        .await;
        assert_eq!(third_time, Ok(3));

        let mut tries = 0;
        let never: Result<(), StorageError> = settle(async || {
            tries += 1;
            Ok(Attempt::Lost)
        })
        .await;
        assert_eq!(never, Err(StorageError::Contended { tries: TRIES }));
        assert_eq!(tries, TRIES);
    }

    #[test]
    fn an_unknown_outcome_is_not_taken_for_one_not_applied() {
        let closed = || EngineError::Closed;
        assert!(matches!(
            Attempt::of(Err(CommitError::Unknown(closed()))),
            Err(StorageError::OutcomeUnknown(_))
        ));
        assert!(matches!(
            Attempt::of(Err(CommitError::NotApplied(NotApplied::Engine(closed())))),
            Err(StorageError::NotApplied(_))
        ));
        assert!(matches!(
            Attempt::of(Err(CommitError::Conflict { entry: 0 })),
            Ok(Attempt::Lost)
        ));
    }
}
