//! A semaphore with a quota: at most `all` permits in total, and at most `each` for one party (a tenant or a user).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{TooBusy, figures::Count, mutex::lock};

/// How long to wait for a place.
const PATIENCE: Duration = Duration::from_secs(5);

/// A semaphore whose places are each taken by a party: the caller as [`Principal::party`](crate::Principal::party) names it, never
/// the object of the request.
#[derive(Debug)]
pub struct QuotaSemaphore {
    all: Arc<Semaphore>,
    /// The maximum for one party.
    each: usize,
    parties: Arc<Parties>,
    /// How many requests got [`TooBusy`].
    refused: Count,
}

/// The parties that have a place or wait for one.
#[derive(Debug, Default)]
struct Parties(Mutex<BTreeMap<String, Share>>);

/// The share of one party.
#[derive(Debug)]
struct Share {
    places: Arc<Semaphore>,
    /// The number of requests that have a place or wait for one.
    users: usize,
}

/// A request that has a place in a party's share or waits for one.
#[derive(Debug)]
struct User {
    parties: Arc<Parties>,
    party: String,
}

/// A place in a [`QuotaSemaphore`], released on drop.
#[derive(Debug)]
#[must_use = "dropping it gives the place to another"]
pub struct QuotaPermit {
    _of_all: OwnedSemaphorePermit,
    /// The part that counts against its party's share.
    _own: Option<(OwnedSemaphorePermit, User)>,
}

impl QuotaSemaphore {
    /// Creates `all` places in total, at most `each` for one party.
    pub fn new(all: usize, each: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(all.min(Semaphore::MAX_PERMITS))),
            each: each.min(Semaphore::MAX_PERMITS),
            parties: Arc::default(),
            refused: Count::default(),
        }
    }

    /// Takes a place for this party, waiting up to five seconds for one.
    ///
    /// # Errors
    ///
    /// [`TooBusy`] if no place became free.
    pub async fn take(&self, party: &str) -> Result<QuotaPermit, TooBusy> {
        self.counted(self.wait(party).await)
    }

    async fn wait(&self, party: &str) -> Result<QuotaPermit, TooBusy> {
        if let Ok(place) = self.free_place(party) {
            return Ok(place);
        }
        let (user, own) = self.share_of(party);
        let places = async {
            // A party's excess requests wait here, where they take no place from others.
            let own = own.acquire_owned().await.map_err(|_| TooBusy)?;
            let of_all = Arc::clone(&self.all).acquire_owned().await;
            Ok::<_, TooBusy>((of_all.map_err(|_| TooBusy)?, own))
        };
        let (of_all, own) = timeout(PATIENCE, places).await.map_err(|_| TooBusy)??;
        Ok(QuotaPermit {
            _of_all: of_all,
            _own: Some((own, user)),
        })
    }

    /// Takes a place for this party without waiting.
    pub(crate) fn try_take(&self, party: &str) -> Result<QuotaPermit, TooBusy> {
        self.counted(self.free_place(party))
    }

    fn free_place(&self, party: &str) -> Result<QuotaPermit, TooBusy> {
        let (user, own) = self.share_of(party);
        let own = own.try_acquire_owned().map_err(|_| TooBusy)?;
        Ok(QuotaPermit {
            _own: Some((own, user)),
            ..self.free_unshared_place()?
        })
    }

    /// Takes a place that counts against no party's share, without waiting.
    pub(crate) fn try_take_unshared(&self) -> Result<QuotaPermit, TooBusy> {
        self.counted(self.free_unshared_place())
    }

    fn free_unshared_place(&self) -> Result<QuotaPermit, TooBusy> {
        let of_all = Arc::clone(&self.all).try_acquire_owned();
        Ok(QuotaPermit {
            _of_all: of_all.map_err(|_| TooBusy)?,
            _own: None,
        })
    }

    /// Returns the number of free places.
    pub(crate) fn free(&self) -> usize {
        self.all.available_permits()
    }

    /// Returns how many requests got [`TooBusy`].
    pub(crate) fn refused(&self) -> u64 {
        self.refused.get()
    }

    fn counted(&self, place: Result<QuotaPermit, TooBusy>) -> Result<QuotaPermit, TooBusy> {
        place.inspect_err(|_| self.refused.add(1))
    }

    fn share_of(&self, party: &str) -> (User, Arc<Semaphore>) {
        let mut parties = lock(&self.parties.0);
        let share = parties.entry(party.to_owned()).or_insert_with(|| Share {
            places: Arc::new(Semaphore::new(self.each)),
            users: 0,
        });
        share.users = share.users.saturating_add(1);
        let user = User {
            parties: Arc::clone(&self.parties),
            party: party.to_owned(),
        };
        (user, Arc::clone(&share.places))
    }
}

/// Removes a party's share with its last user.
impl Drop for User {
    fn drop(&mut self) {
        let mut parties = lock(&self.parties.0);
        let Some(share) = parties.get_mut(&self.party) else {
            return;
        };
        share.users = share.users.saturating_sub(1);
        if share.users == 0 {
            parties.remove(&self.party);
        }
    }
}

#[cfg(test)]
impl QuotaSemaphore {
    /// Takes all free places.
    pub(crate) fn fill(&self) -> OwnedSemaphorePermit {
        let free = u32::try_from(self.free()).unwrap();
        Arc::clone(&self.all).try_acquire_many_owned(free).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_party_has_a_few_and_shuts_no_other_out() {
        let places = QuotaSemaphore::new(3, 2);
        let first = places.take("a").await.unwrap();
        let _second = places.take("a").await.unwrap();
        assert_eq!(places.take("a").await.err(), Some(TooBusy));
        assert_eq!(places.try_take("a").err(), Some(TooBusy));
        let _other = places.try_take("b").unwrap();
        assert_eq!(places.take("c").await.err(), Some(TooBusy), "all are taken");
        assert_eq!(places.try_take_unshared().err(), Some(TooBusy));
        assert_eq!(places.refused(), 4);
        drop(first);
        let _third = places.try_take("a").unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_has_the_place_that_comes_free() {
        let places = Arc::new(QuotaSemaphore::new(1, 1));
        let first = places.take("a").await.unwrap();
        let waiting = tokio::spawn({
            let places = Arc::clone(&places);
            async move { places.take("b").await.map(drop) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        assert_eq!(waiting.await.unwrap(), Ok(()));
        assert_eq!(places.refused(), 0, "waiting is no refusal");
    }

    #[tokio::test(start_paused = true)]
    async fn whom_nobody_uses_is_forgotten() {
        let places = QuotaSemaphore::new(10, 1);
        for party in 0..100 {
            let party = party.to_string();
            let place = places.take(&party).await.unwrap();
            assert_eq!(places.take(&party).await.err(), Some(TooBusy));
            drop(place);
        }
        assert!(lock(&places.parties.0).is_empty());
    }
}
