//! What takes a processor's time: decoding and judging what clients send, and making keys and certificates.
//!
//! The async threads serve every connection, health probes included, so none of it runs there. It runs on the
//! runtime's blocking threads, on a few of them at once; some more waits, in order, and beyond that a request is told
//! that there is too much to do. Each kind of use case has a queue of its own for the turns that all share, and whoever asks
//! has at most half of its places, so that nobody's crowd shuts the others out. Passwords are not hashed here: those take memory too, and have threads of their
//! own.

use std::{num::NonZeroUsize, panic::resume_unwind, sync::Arc, thread};

use tokio::{sync::Semaphore, task::spawn_blocking};
use tracing::Span;

use crate::{
    Place, Places,
    figures::{Count, QueueFigures},
    work_observer::{Followed, Work},
};

/// How much is judged at once.
#[derive(Clone, Copy, Debug)]
pub struct JudgingSettings {
    /// How many pieces of work run at once.
    pub threads: NonZeroUsize,
    /// How many more may wait in each queue. The next one is told [`TooBusy`]; a party is, where it has half of all.
    pub queue: usize,
}

impl Default for JudgingSettings {
    /// As many as the machine has processors, and 128 in the queue: at a few milliseconds each, that is a wait of less
    /// than a second.
    fn default() -> Self {
        Self {
            threads: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            queue: 128,
        }
    }
}

/// As much waits to be judged as may, in all or of whoever asks; try again in a second. Nothing was judged, and nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too much is waiting to be judged")]
pub struct TooBusy;

/// A queue for the turns at which work is done that takes a processor's time. Its clones are the same queue.
#[derive(Clone, Debug)]
pub struct Judging {
    /// One for each piece of work of this queue that may run or wait.
    places: Arc<Places>,
    /// One for each that may run, of whichever queue.
    turns: Arc<Semaphore>,
    /// How many places a queue has.
    capacity: usize,
    /// How many were told [`TooBusy`].
    refused: Arc<Count>,
    /// Who is told of work in any queue.
    followed: Followed,
}

impl Judging {
    /// The first queue. Nothing is started before there is work.
    pub(crate) fn new(settings: JudgingSettings) -> Self {
        let JudgingSettings { threads, queue } = settings;
        let turns = threads.get().min(Semaphore::MAX_PERMITS);
        let capacity = turns.saturating_add(queue);
        Self::with(
            Arc::new(Semaphore::new(turns)),
            capacity,
            Followed::default(),
        )
    }

    /// Another queue for the same turns.
    pub fn beside(&self) -> Self {
        Self::with(
            Arc::clone(&self.turns),
            self.capacity,
            self.followed.clone(),
        )
    }

    fn with(turns: Arc<Semaphore>, capacity: usize, followed: Followed) -> Self {
        let capacity = capacity.min(Semaphore::MAX_PERMITS);
        Self {
            places: Arc::new(Places::new(capacity, capacity.div_ceil(2))),
            turns,
            capacity,
            refused: Arc::default(),
            followed,
        }
    }

    /// Who is told of work.
    pub(crate) fn followed(&self) -> Followed {
        self.followed.clone()
    }

    /// What is done and waits, and what was turned away.
    pub(crate) fn figures(&self) -> QueueFigures {
        QueueFigures {
            taken: self.capacity.saturating_sub(self.places.free()),
            capacity: self.capacity,
            refused: self.refused.get(),
        }
    }

    /// Does a piece of work off the async threads, once it is its turn. Work whose caller goes away before that is not
    /// done; a panic in it is its caller's. It is of no party's share: for work of whose number something else takes care.
    ///
    /// # Errors
    ///
    /// [`TooBusy`], and then the work was not begun.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, TooBusy> {
        self.run_in(self.places.try_take_unshared(), work).await
    }

    /// The same for a party, as [`Who::party`](crate::Who::party) names it: it has at most half of the queue's places.
    ///
    /// # Errors
    ///
    /// [`TooBusy`], and then the work was not begun.
    pub async fn run_for<T: Send + 'static>(
        &self,
        party: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, TooBusy> {
        self.run_in(self.places.try_take(party), work).await
    }

    async fn run_in<T: Send + 'static>(
        &self,
        place: Result<Place, TooBusy>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, TooBusy> {
        let _told = self.followed.asked(Work::Judging);
        let place = place.inspect_err(|_| self.refused.add(1))?;
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let held = (place, turn.map_err(|_| TooBusy)?);
        let span = Span::current();
        let done = spawn_blocking(move || {
            // Until the work has ended, even where its caller has gone away.
            let _held = held;
            span.in_scope(work)
        });
        done.await
            .map_err(|failure| match failure.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The runtime is shutting down.
                Err(_) => TooBusy,
            })
    }
}

#[cfg(test)]
impl Judging {
    /// Takes every place of the queue.
    pub(crate) fn fill(&self) -> tokio::sync::OwnedSemaphorePermit {
        self.places.fill()
    }

    /// Takes every place that a party may have.
    pub(crate) fn fill_of(&self, party: &str) -> Vec<Place> {
        std::iter::from_fn(|| self.places.try_take(party).ok()).collect()
    }
}

impl Default for Judging {
    fn default() -> Self {
        Self::new(JudgingSettings::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Occupied;
    use std::{
        sync::atomic::{AtomicBool, Ordering},
        time::Duration,
    };

    fn judging(queue: usize) -> Arc<Judging> {
        Arc::new(Judging::new(JudgingSettings {
            threads: NonZeroUsize::MIN,
            queue,
        }))
    }

    #[tokio::test]
    async fn work_is_done_off_the_async_threads() {
        let here = thread::current().id();
        let there = judging(0).run(|| thread::current().id()).await;
        assert_ne!(there, Ok(here));
    }

    #[tokio::test]
    async fn the_only_async_thread_goes_on_while_work_is_held() {
        let judging = judging(1);
        let occupied = Occupied::of(&judging).await;
        let waiting = tokio::spawn({
            let judging = Arc::clone(&judging);
            async move { judging.run(|| 7).await }
        });
        // This very task runs on that thread.
        while judging.places.free() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(!waiting.is_finished());
        occupied.end().await;
        assert_eq!(waiting.await.unwrap(), Ok(7));
    }

    #[tokio::test]
    async fn more_than_may_wait_is_refused_and_not_begun() {
        let judging = judging(0);
        let occupied = Occupied::of(&judging).await;
        let refused = judging.run(|| panic!("begun all the same")).await;
        assert_eq!(refused, Err::<(), _>(TooBusy));
        let figures = |taken| QueueFigures {
            taken,
            capacity: 1,
            refused: 1,
        };
        assert_eq!(judging.figures(), figures(1));
        occupied.end().await;
        assert_eq!(judging.figures(), figures(0));
        assert_eq!(judging.run(|| 7).await, Ok(7));
    }

    #[tokio::test]
    async fn a_full_queue_shuts_no_other_out_and_turns_are_shared() {
        let one = judging(1);
        let other = Arc::new(one.beside());
        let full = one.fill();
        assert_eq!(one.run(|| 7).await, Err(TooBusy));
        assert_eq!(other.run(|| 7).await, Ok(7));
        drop(full);

        let occupied = Occupied::of(&one).await;
        let waiting = tokio::spawn(async move { other.run(|| 7).await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        occupied.end().await;
        assert_eq!(waiting.await.unwrap(), Ok(7));
    }

    #[tokio::test]
    async fn a_party_has_half_of_a_queue_and_shuts_no_other_out() {
        let judging = judging(3);
        let occupied = Occupied::of(&judging).await;
        let run_for = |party: &'static str| {
            let judging = Arc::clone(&judging);
            tokio::spawn(async move { judging.run_for(party, || 7).await })
        };
        let crowd = [run_for("a"), run_for("a")];
        while judging.places.free() > 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(judging.run_for("a", || 7).await, Err(TooBusy));
        assert_eq!(judging.figures().refused, 1);
        let other = run_for("b");
        while judging.places.free() > 0 {
            tokio::task::yield_now().await;
        }
        occupied.end().await;
        assert_eq!(other.await.unwrap(), Ok(7));
        for one in crowd {
            assert_eq!(one.await.unwrap(), Ok(7));
        }
        assert_eq!(judging.run_for("a", || 7).await, Ok(7));
    }

    #[tokio::test]
    async fn nothing_is_done_for_a_caller_that_left() {
        let judging = judging(1);
        let occupied = Occupied::of(&judging).await;
        let done = Arc::new(AtomicBool::new(false));
        let mark = Arc::clone(&done);
        let abandoned = judging.run(move || mark.store(true, Ordering::SeqCst));
        assert!(
            tokio::time::timeout(Duration::ZERO, abandoned)
                .await
                .is_err()
        );
        assert_eq!(judging.places.free(), 1, "its place is free");
        occupied.end().await;
        assert_eq!(judging.run(|| ()).await, Ok(()));
        assert!(!done.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn work_whose_caller_left_keeps_its_turn_until_it_ends() {
        let judging = judging(0);
        let occupied = Occupied::of(&judging).await;
        let release = occupied.abandon().await;
        assert_eq!(judging.run(|| ()).await, Err(TooBusy));
        drop(release);
        while judging.places.free() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(judging.run(|| ()).await, Ok(()));
    }

    #[tokio::test]
    async fn a_panic_is_its_callers_and_takes_no_turn_away() {
        let judging = judging(0);
        let caller = tokio::spawn({
            let judging = Arc::clone(&judging);
            async move { judging.run(|| -> () { panic!("on purpose") }).await }
        });
        assert!(caller.await.unwrap_err().is_panic());
        while judging.places.free() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(judging.run(|| 7).await, Ok(7));
    }
}
