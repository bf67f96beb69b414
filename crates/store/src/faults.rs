//! An engine that fails on purpose, for testing programs built on a store.

use std::{
    future::poll_fn,
    ops::RangeInclusive,
    pin::pin,
    slice,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
};

use tokio::sync::{Semaphore, watch};

use crate::{
    BoxFuture, Changes, CommitError, CommitObserver, Engine, EngineError, EngineSnapshot, Key,
    Prefix, Reading, Row, Timestamp, Version, memory::MemoryEngine, observer::Observed,
};

/// How commits end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommitMode {
    /// The next commit waits while others overtake it; see [`FaultyEngine::overtake`].
    HoldNext,
    /// Commits are applied, but the answer is lost.
    Lost,
    /// Commits are not applied, and the answer is lost.
    LostNotApplied,
    /// Commits are applied.
    Made,
    /// This many commits are applied, and then no others.
    MadeOnly(usize),
    /// Commits are not applied.
    NotApplied,
}

/// The memory engine with failures on demand. It yields before each step, so that tasks on one thread interleave as
/// servers would.
///
/// ```
/// # use std::sync::Arc;
/// # use keyproof_store::{CommitError, Key, MasterKey, MasterKeys, Record, Store, SystemEntropy, Timestamp};
/// use keyproof_store::faults::{CommitMode, FaultyEngine};
///
/// # #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// # struct Device { uses: u64 }
/// # impl Record for Device { const TYPE: &'static str = "device"; const VERSION: u32 = 1; }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let entropy = Arc::new(SystemEntropy::new());
/// # let (keys, now) = (MasterKeys::new(&MasterKey::generate(&*entropy)), Timestamp::from_secs(1_700_000_000));
/// # let key = Key::new("device", ["shop", "till-1"]);
/// let engine = FaultyEngine::new();
/// let store = Store::open(engine.clone(), keys, entropy, now).await?;
/// engine.commits(CommitMode::Lost);
/// let mut batch = store.batch(now);
/// batch.insert(&key, &Device { uses: 0 }, None);
/// assert!(matches!(store.commit(batch).await, Err(CommitError::Unknown(_))));
/// assert!(store.get::<Device>(&key, now).await?.is_some()); // it was applied all the same
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FaultyEngine {
    inner: MemoryEngine,
    observed: Observed,
    commits: Mutex<CommitMode>,
    reads_fail: AtomicBool,
    steps: AtomicUsize,
    server_time: Mutex<Option<Timestamp>>,
    /// Reads wait while this is true.
    is_stalled: watch::Sender<bool>,
    /// Gets a permit once the held commit arrives; that commit then waits for `released`.
    held: Semaphore,
    released: Semaphore,
}

impl FaultyEngine {
    /// Creates an empty engine without failures.
    pub fn new() -> Arc<Self> {
        Self::over(MemoryEngine::new())
    }

    /// Wraps an engine that may contain records.
    pub fn over(inner: MemoryEngine) -> Arc<Self> {
        Arc::new(Self {
            inner,
            observed: Observed::default(),
            commits: Mutex::new(CommitMode::Made),
            reads_fail: AtomicBool::new(false),
            steps: AtomicUsize::new(0),
            server_time: Mutex::default(),
            is_stalled: watch::Sender::new(false),
            held: Semaphore::new(0),
            released: Semaphore::new(0),
        })
    }

    /// Sets how commits end from now on.
    pub fn commits(&self, fate: CommitMode) {
        *lock(&self.commits) = fate;
    }

    /// Sets whether reads fail from now on. [`Engine::ready`] counts as a read.
    pub fn fail_reads(&self, fail: bool) {
        self.reads_fail.store(fail, Ordering::SeqCst);
    }

    /// Blocks reads until [`resume_reads`](Self::resume_reads).
    pub fn stall(&self) {
        self.is_stalled.send_replace(true);
    }

    /// Unblocks reads, including those that wait.
    pub fn resume_reads(&self) {
        self.is_stalled.send_replace(false);
    }

    /// Sets the time that the database machine's clock shows; it stands still. Initially there is no such clock.
    pub fn set_server_time(&self, now: Timestamp) {
        *lock(&self.server_time) = Some(now);
    }

    /// Returns how many reads and commits there were since the last call.
    pub fn steps(&self) -> usize {
        self.steps.swap(0, Ordering::SeqCst)
    }

    /// Runs `overtaking` while the commit of `slow` is held, and returns the output of `slow`, which need not commit at
    /// all.
    pub async fn overtake<T>(
        &self,
        slow: impl Future<Output = T>,
        overtaking: impl Future<Output = ()>,
    ) -> T {
        self.commits(CommitMode::HoldNext);
        let overtaking = async {
            take(&self.held).await;
            overtaking.await;
            self.released.add_permits(1);
        };
        let mut slow = pin!(slow);
        let mut overtaking = pin!(overtaking);
        let mut is_overtaken = false;
        poll_fn(|context| {
            if let Poll::Ready(outcome) = slow.as_mut().poll(context) {
                return Poll::Ready(outcome);
            }
            if !is_overtaken {
                is_overtaken = overtaking.as_mut().poll(context).is_ready();
            }
            Poll::Pending
        })
        .await
    }

    async fn before_reading(&self) -> Result<(), EngineError> {
        self.step().await;
        let mut is_stalled = self.is_stalled.subscribe();
        // The sender is `self`, which is borrowed, so this cannot fail.
        drop(is_stalled.wait_for(|is_stalled| !is_stalled).await);
        if self.reads_fail.load(Ordering::SeqCst) {
            Err(failure())
        } else {
            Ok(())
        }
    }

    /// Commits, or fails as requested.
    async fn end(&self, changes: Changes) -> Result<(), CommitError> {
        let fate = *lock(&self.commits);
        match fate {
            CommitMode::HoldNext => {
                self.commits(CommitMode::Made);
                self.held.add_permits(1);
                take(&self.released).await;
                self.inner.commit(changes).await
            }
            CommitMode::Lost => {
                self.inner.commit(changes).await?;
                Err(CommitError::Unknown(failure()))
            }
            CommitMode::LostNotApplied => Err(CommitError::Unknown(failure())),
            CommitMode::Made => self.inner.commit(changes).await,
            CommitMode::MadeOnly(more) => match more.checked_sub(1) {
                Some(more) => {
                    self.commits(CommitMode::MadeOnly(more));
                    self.inner.commit(changes).await
                }
                None => Err(CommitError::NotApplied(failure().into())),
            },
            CommitMode::NotApplied => Err(CommitError::NotApplied(failure().into())),
        }
    }

    async fn step(&self) {
        self.steps.fetch_add(1, Ordering::SeqCst);
        let mut has_given_way = false;
        poll_fn(|context| {
            if has_given_way {
                return Poll::Ready(());
            }
            has_given_way = true;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

/// Waits for a permit and uses it up. The semaphores here are never closed.
async fn take(semaphore: &Semaphore) {
    if let Ok(permit) = semaphore.acquire().await {
        permit.forget();
    }
}

/// Nothing panics while it holds a lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failure() -> EngineError {
    EngineError::Io {
        detail: "on purpose".to_owned(),
    }
}

impl Engine for FaultyEngine {
    fn get_many<'a>(
        &'a self,
        keys: &'a [Key],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Option<Row>>, EngineError>> {
        Box::pin(async move {
            self.before_reading().await?;
            self.inner.get_many(keys, now).await
        })
    }

    fn read(
        &self,
        reading: Reading,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Reading, EngineError>> {
        Box::pin(async move {
            self.before_reading().await?;
            self.inner.read(reading, now).await
        })
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a Key>,
        limit: usize,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<(Key, Row)>, EngineError>> {
        Box::pin(async move {
            self.before_reading().await?;
            self.inner.scan(prefix, after, limit, now).await
        })
    }

    fn scan_back<'a>(
        &'a self,
        prefix: &'a Prefix,
        before: Option<&'a Key>,
        limit: usize,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<(Key, Row)>, EngineError>> {
        Box::pin(async move {
            self.before_reading().await?;
            self.inner.scan_back(prefix, before, limit, now).await
        })
    }

    fn expired(
        &self,
        within: RangeInclusive<Timestamp>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Key, Version)>, EngineError>> {
        Box::pin(async move {
            self.before_reading().await?;
            self.inner.expired(within, limit).await
        })
    }

    fn commit(&self, changes: Changes) -> BoxFuture<'_, Result<(), CommitError>> {
        Box::pin(async move {
            self.step().await;
            let outcome = self.end(changes).await;
            self.observed.committed(slice::from_ref(&outcome));
            outcome
        })
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Box<dyn EngineSnapshot>, EngineError>> {
        Box::pin(async {
            self.before_reading().await?;
            self.inner.snapshot().await
        })
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(async {
            self.before_reading().await?;
            self.inner.ready().await
        })
    }

    fn server_time(&self) -> BoxFuture<'_, Result<Option<Timestamp>, EngineError>> {
        let shown = *lock(&self.server_time);
        Box::pin(async move { Ok(shown) })
    }

    fn fence(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        self.inner.fence()
    }

    fn observe(&self, observer: Arc<dyn CommitObserver>) {
        self.observed.by(observer);
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemEntropy;
    use tokio::task::{JoinHandle, yield_now};

    #[derive(Default)]
    struct Told(Mutex<Vec<Result<(), CommitError>>>);

    impl CommitObserver for Told {
        fn committed(&self, group: &[Result<(), CommitError>]) {
            lock(&self.0).extend_from_slice(group);
        }
    }

    #[tokio::test]
    async fn an_observer_is_told_what_the_caller_is() {
        let engine = FaultyEngine::new();
        let told = Arc::new(Told::default());
        engine.observe(told.clone());
        let mut answers = Vec::new();
        for mode in [
            CommitMode::Made,
            CommitMode::Lost,
            CommitMode::LostNotApplied,
            CommitMode::NotApplied,
        ] {
            engine.commits(mode);
            let nothing = Changes::new([], Timestamp::EPOCH, &SystemEntropy::new()).unwrap();
            answers.push(engine.commit(nothing).await);
        }
        assert_eq!(*lock(&told.0), answers);
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    }

    #[tokio::test]
    async fn its_records_are_copied_and_fenced_as_those_of_other_engines() {
        let engine = FaultyEngine::new();
        let mut snapshot = engine.snapshot().await.unwrap();
        assert_eq!(snapshot.page(None, 1).await, Ok(Vec::new()));
        assert_eq!(engine.fence().await, Ok(()));
        let fenced = engine.get_many(&[], Timestamp::EPOCH).await;
        assert_eq!(fenced, Err(EngineError::Relocated));
    }

    #[tokio::test]
    async fn every_read_fails_on_demand() {
        let engine = FaultyEngine::new();
        for fails in [true, false] {
            engine.fail_reads(fails);
            let (now, all) = (Timestamp::EPOCH, Prefix::collection("any"));
            let failures = [
                engine.get_many(&[], now).await.is_err(),
                engine.scan(&all, None, 1, now).await.is_err(),
                engine.expired(now..=now, 1).await.is_err(),
                engine.snapshot().await.is_err(),
                engine.ready().await.is_err(),
            ];
            assert_eq!(failures, [fails; 5]);
        }
    }

    /// Starts a read in its own task, and lets it run as far as it can.
    async fn read(engine: &Arc<FaultyEngine>) -> JoinHandle<()> {
        let engine = Arc::clone(engine);
        let reading = tokio::spawn(async move {
            let read = engine.get_many(&[], Timestamp::EPOCH).await;
            assert_eq!(read.unwrap().len(), 0);
        });
        for _ in 0..10 {
            yield_now().await;
        }
        reading
    }

    #[tokio::test]
    async fn reads_wait_each_time_that_they_are_stalled() {
        let engine = FaultyEngine::new();
        for _ in 0..2 {
            read(&engine).await.await.unwrap();
            engine.stall();
            let first = read(&engine).await;
            let second = read(&engine).await;
            assert!(!first.is_finished() && !second.is_finished());
            engine.resume_reads();
            first.await.unwrap();
            second.await.unwrap();
        }
    }
}
