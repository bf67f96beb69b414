//! CPU-bound work: decoding and validating what clients send, and making keys and certificates.
//!
//! The async threads serve every connection, including health probes, so this work does not run there. It runs on the runtime's
//! blocking threads, a few pieces at once. Some more wait in order; beyond that, a request gets [`TooBusy`]. Each kind of use case
//! has its own queue, and all queues share the threads. A party has at most half of a queue's places, so that it cannot shut the
//! others out. Passwords are not hashed here: hashing also takes memory and has its own threads.

use std::{num::NonZeroUsize, panic::resume_unwind, sync::Arc, thread};

use tokio::{sync::Semaphore, task::spawn_blocking};
use tracing::Span;

use crate::{
    QuotaPermit, QuotaSemaphore,
    figures::QueueFigures,
    work_observer::{Work, WorkObserverHandle},
};

/// Limits for CPU-bound work.
#[derive(Clone, Copy, Debug)]
pub struct CpuQueueSettings {
    /// How many pieces of work run at once.
    pub threads: NonZeroUsize,
    /// How many more may wait in each queue. Further requests get [`TooBusy`], as do those of a party that has half of the places.
    pub queue: usize,
}

impl Default for CpuQueueSettings {
    /// As many threads as the machine has processors, and a queue of 128. At a few milliseconds each, the wait is less than a
    /// second.
    fn default() -> Self {
        Self {
            threads: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            queue: 128,
        }
    }
}

/// The queue is full, or the caller's party has its share of it. Nothing was done or changed; retry in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many requests are waiting for a processor")]
pub struct TooBusy;

/// A queue for CPU-bound work. Clones share the queue.
#[derive(Clone, Debug)]
pub struct CpuQueue {
    /// One place for each piece of work of this queue that may run or wait.
    places: Arc<QuotaSemaphore>,
    /// One permit for each piece of work that may run, from any queue.
    turns: Arc<Semaphore>,
    /// The number of places in the queue.
    capacity: usize,
    /// The observer of the work in all queues.
    pub(crate) followed: WorkObserverHandle,
}

impl CpuQueue {
    /// Creates the first queue. It starts no thread before there is work.
    pub(crate) fn new(settings: CpuQueueSettings) -> Self {
        let CpuQueueSettings { threads, queue } = settings;
        let turns = threads.get().min(Semaphore::MAX_PERMITS);
        let capacity = turns.saturating_add(queue);
        Self::with(
            Arc::new(Semaphore::new(turns)),
            capacity,
            WorkObserverHandle::default(),
        )
    }

    /// Creates another queue that shares the threads.
    pub(crate) fn with_shared_turns(&self) -> Self {
        Self::with(
            Arc::clone(&self.turns),
            self.capacity,
            self.followed.clone(),
        )
    }

    fn with(turns: Arc<Semaphore>, capacity: usize, followed: WorkObserverHandle) -> Self {
        let capacity = capacity.min(Semaphore::MAX_PERMITS);
        Self {
            places: Arc::new(QuotaSemaphore::new(capacity, capacity.div_ceil(2))),
            turns,
            capacity,
            followed,
        }
    }

    /// Returns how much runs and waits and how many requests were refused.
    pub(crate) fn figures(&self) -> QueueFigures {
        QueueFigures {
            taken: self.capacity.saturating_sub(self.places.free()),
            capacity: self.capacity,
            refused: self.places.refused(),
        }
    }

    /// Runs work off the async threads when its turn comes. Work is dropped if its caller goes away before that, and a panic is
    /// passed on to the caller. The work counts against no party's share: its number must be limited by other means.
    ///
    /// # Errors
    ///
    /// [`TooBusy`], if the work was not started.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, TooBusy> {
        self.run_in(self.places.try_take_unshared(), work).await
    }

    /// Like [`run`](Self::run), for a party as [`Principal::party`](crate::Principal::party) names it. A party has at most half of the queue's
    /// places.
    ///
    /// # Errors
    ///
    /// [`TooBusy`], if the work was not started.
    pub async fn run_for<T: Send + 'static>(
        &self,
        party: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, TooBusy> {
        self.run_in(self.places.try_take(party), work).await
    }

    async fn run_in<T: Send + 'static>(
        &self,
        place: Result<QuotaPermit, TooBusy>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, TooBusy> {
        let _told = self.followed.asked(Work::CpuQueue);
        let place = place?;
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let held = (place, turn.map_err(|_| TooBusy)?);
        let span = Span::current();
        let done = spawn_blocking(move || {
            // Kept until the work has ended, even if its caller has gone away.
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
impl CpuQueue {
    /// Takes every place of the queue.
    pub(crate) fn fill(&self) -> tokio::sync::OwnedSemaphorePermit {
        self.places.fill()
    }

    /// Takes every place that a party may have in this queue.
    pub(crate) fn fill_of(&self, party: &str) -> Vec<QuotaPermit> {
        std::iter::from_fn(|| self.places.try_take(party).ok()).collect()
    }
}

impl Default for CpuQueue {
    fn default() -> Self {
        Self::new(CpuQueueSettings::default())
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

    fn cpu_queue(queue: usize) -> Arc<CpuQueue> {
        Arc::new(CpuQueue::new(CpuQueueSettings {
            threads: NonZeroUsize::MIN,
            queue,
        }))
    }

    /// Lets other tasks run until so many places are free.
    async fn until_free(cpu_queue: &CpuQueue, places: usize) {
        while cpu_queue.places.free() != places {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn work_is_done_off_the_async_threads() {
        let here = thread::current().id();
        let there = cpu_queue(0).run(|| thread::current().id()).await;
        assert_ne!(there, Ok(here));
    }

    #[tokio::test]
    async fn the_only_async_thread_goes_on_while_work_is_held() {
        let cpu_queue = cpu_queue(1);
        let occupied = Occupied::of(&cpu_queue).await;
        let waiting = tokio::spawn({
            let cpu_queue = Arc::clone(&cpu_queue);
            async move { cpu_queue.run(|| 7).await }
        });
        // This task itself runs on that thread.
        until_free(&cpu_queue, 0).await;
        assert!(!waiting.is_finished());
        occupied.end().await;
        assert_eq!(waiting.await.unwrap(), Ok(7));
    }

    #[tokio::test]
    async fn more_than_may_wait_is_refused_and_not_begun() {
        let cpu_queue = cpu_queue(0);
        let occupied = Occupied::of(&cpu_queue).await;
        let refused = cpu_queue.run(|| panic!("begun all the same")).await;
        assert_eq!(refused, Err::<(), _>(TooBusy));
        let figures = |taken| QueueFigures {
            taken,
            capacity: 1,
            refused: 1,
        };
        assert_eq!(cpu_queue.figures(), figures(1));
        occupied.end().await;
        assert_eq!(cpu_queue.figures(), figures(0));
        assert_eq!(cpu_queue.run(|| 7).await, Ok(7));
    }

    #[tokio::test]
    async fn a_full_queue_shuts_no_other_out_and_turns_are_shared() {
        let one = cpu_queue(1);
        let other = Arc::new(one.with_shared_turns());
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
        let cpu_queue = cpu_queue(3);
        let occupied = Occupied::of(&cpu_queue).await;
        let run_for = |party: &'static str| {
            let cpu_queue = Arc::clone(&cpu_queue);
            tokio::spawn(async move { cpu_queue.run_for(party, || 7).await })
        };
        let crowd = [run_for("a"), run_for("a")];
        until_free(&cpu_queue, 1).await;
        assert_eq!(cpu_queue.run_for("a", || 7).await, Err(TooBusy));
        assert_eq!(cpu_queue.figures().refused, 1);
        let other = run_for("b");
        until_free(&cpu_queue, 0).await;
        occupied.end().await;
        assert_eq!(other.await.unwrap(), Ok(7));
        for one in crowd {
            assert_eq!(one.await.unwrap(), Ok(7));
        }
        assert_eq!(cpu_queue.run_for("a", || 7).await, Ok(7));
    }

    #[tokio::test]
    async fn nothing_is_done_for_a_caller_that_left() {
        let cpu_queue = cpu_queue(1);
        let occupied = Occupied::of(&cpu_queue).await;
        let done = Arc::new(AtomicBool::new(false));
        let mark = Arc::clone(&done);
        let abandoned = cpu_queue.run(move || mark.store(true, Ordering::SeqCst));
        assert!(
            tokio::time::timeout(Duration::ZERO, abandoned)
                .await
                .is_err()
        );
        assert_eq!(cpu_queue.places.free(), 1, "its place is free");
        occupied.end().await;
        assert_eq!(cpu_queue.run(|| ()).await, Ok(()));
        assert!(!done.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn work_whose_caller_left_keeps_its_turn_until_it_ends() {
        let cpu_queue = cpu_queue(0);
        let occupied = Occupied::of(&cpu_queue).await;
        let release = occupied.abandon().await;
        assert_eq!(cpu_queue.run(|| ()).await, Err(TooBusy));
        drop(release);
        until_free(&cpu_queue, 1).await;
        assert_eq!(cpu_queue.run(|| ()).await, Ok(()));
    }

    #[tokio::test]
    async fn a_panic_is_its_callers_and_takes_no_turn_away() {
        let cpu_queue = cpu_queue(0);
        let caller = tokio::spawn({
            let cpu_queue = Arc::clone(&cpu_queue);
            async move { cpu_queue.run(|| -> () { panic!("on purpose") }).await }
        });
        assert!(caller.await.unwrap_err().is_panic());
        until_free(&cpu_queue, 1).await;
        assert_eq!(cpu_queue.run(|| 7).await, Ok(7));
    }
}
