//! Limits concurrent searches in total and for each reader, so that nobody shuts the others out.

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{QuotaPermit, QuotaSemaphore, TooBusy};

/// How many searches read at once, since they share the store with logins.
const SEARCHES: usize = 4;

/// How many more wait.
const WAITING: usize = 28;

/// How many of these one reader may have.
const EACH: usize = 2;

/// The permits for searches.
#[derive(Debug)]
pub(in crate::audit) struct Turns {
    /// One place for each search that reads or waits.
    places: QuotaSemaphore,
    /// One permit for each search that reads.
    turns: Semaphore,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            places: QuotaSemaphore::new(SEARCHES + WAITING, EACH),
            turns: Semaphore::new(SEARCHES),
        }
    }
}

impl Turns {
    pub(super) async fn take(
        &self,
        party: &str,
    ) -> Result<(QuotaPermit, SemaphorePermit<'_>), TooBusy> {
        let place = self.places.try_take(party)?;
        let turn = self.turns.acquire().await.map_err(|_| TooBusy)?;
        Ok((place, turn))
    }

    /// Returns how many searches were refused.
    pub(in crate::audit) fn refused(&self) -> u64 {
        self.places.refused()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        StorageError,
        audit::{AuditReader, Search},
        testing::{READER, START, bench},
    };
    use std::time::Duration;

    #[tokio::test]
    async fn so_many_look_at_once_and_the_rest_is_told_to_come_again() {
        let bench = bench().await;
        let audit = &bench.service.audit;
        let places = &audit.turns.places;
        let all = (0..SEARCHES + WAITING).map(|number| number.to_string());
        let full: Vec<_> = all.map(|whose| places.try_take(&whose).unwrap()).collect();
        let search = Search::default();
        let refused = audit.search(&READER, &search, None, START, 5).await;
        assert_eq!(refused.unwrap_err(), StorageError::Busy(TooBusy));
        assert_eq!(bench.service.figures().lists[1], ("audit", 1));
        drop(full);
        // A search that waits for its turn gets it.
        let turns = u32::try_from(SEARCHES).unwrap();
        let turns = audit.turns.turns.try_acquire_many(turns).unwrap();
        let mut waiting = Box::pin(audit.search(&READER, &search, None, START, 5));
        let waits = tokio::time::timeout(Duration::from_millis(1), &mut waiting).await;
        assert!(waits.is_err());
        drop(turns);
        assert!(!waiting.await.unwrap().events.is_empty());
    }

    #[tokio::test]
    async fn whoever_looks_for_too_much_shuts_nobody_else_out() {
        let bench = bench().await;
        let audit = &bench.service.audit;
        let search = Search::default();
        let looks = async |party: &str| {
            let reader = AuditReader::unasked(party.to_owned());
            audit.search(&reader, &search, None, START, 5).await
        };
        let taken = [(); EACH].map(|()| audit.turns.places.try_take("1").unwrap());
        let refused = looks("1").await;
        assert_eq!(refused.unwrap_err(), StorageError::Busy(TooBusy));
        assert!(looks("2").await.is_ok());
        drop(taken);
        assert!(looks("1").await.is_ok());
    }
}
