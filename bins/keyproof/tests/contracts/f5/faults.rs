//! A store that can be made to fail or to hang.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use keyproof_store::{
    BoxFuture, Changes, CommitError, Engine, EngineError, Key, Prefix, Row, Timestamp, Version,
    memory::MemoryEngine,
};
use tokio::sync::Semaphore;

/// The memory engine, and what it is told to do wrong.
pub(crate) struct FaultyEngine {
    inner: MemoryEngine,
    pub(crate) unreachable: AtomicBool,
    commits: Mutex<Commits>,
    /// Reads wait for a permit while it is closed by [`FaultyEngine::stall`].
    gate: Semaphore,
    stalled: AtomicBool,
    /// Gets a permit once the commit that [`Commits::HoldNext`] is about has come, and that one waits for `released`.
    held: Semaphore,
    released: Semaphore,
}

/// What becomes of commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commits {
    /// The first waits, and others overtake it.
    HoldNext,
    /// They are made, and the answer is lost.
    Lost,
    /// They are not made, and nobody can say so.
    LostUnmade,
    /// They are made.
    Made,
    /// They are not made.
    NotApplied,
}

impl FaultyEngine {
    /// Nothing is wrong with it yet.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryEngine::new(),
            unreachable: AtomicBool::new(false),
            commits: Mutex::new(Commits::Made),
            gate: Semaphore::new(0),
            stalled: AtomicBool::new(false),
            held: Semaphore::new(0),
            released: Semaphore::new(0),
        })
    }

    pub(crate) fn commits(&self, fate: Commits) {
        *self.commits.lock().unwrap() = fate;
    }

    /// Runs `overtaking` while the commit of `slow` is under way.
    pub(crate) async fn overtake<T>(
        &self,
        slow: impl Future<Output = T>,
        overtaking: impl Future<Output = ()>,
    ) -> T {
        self.commits(Commits::HoldNext);
        let overtaking = async {
            self.held.acquire().await.unwrap().forget();
            overtaking.await;
            self.released.add_permits(1);
            std::future::pending().await
        };
        // A call that never comes to its commit ends all the same.
        tokio::select! {
            outcome = slow => outcome,
            never = overtaking => never,
        }
    }

    pub(crate) fn stall(&self) {
        self.stalled.store(true, Ordering::SeqCst);
    }

    pub(crate) fn go_on(&self) {
        self.stalled.store(false, Ordering::SeqCst);
        self.gate.add_permits(1000);
    }

    async fn before(&self) -> Result<(), EngineError> {
        if self.stalled.load(Ordering::SeqCst) {
            self.gate.acquire().await.unwrap().forget();
        }
        match self.unreachable.load(Ordering::SeqCst) {
            true => Err(failure()),
            false => Ok(()),
        }
    }
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
            self.before().await?;
            self.inner.get_many(keys, now).await
        })
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a Key>,
        limit: usize,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<(Key, Row)>, EngineError>> {
        self.inner.scan(prefix, after, limit, now)
    }

    fn expired(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Key, Version)>, EngineError>> {
        self.inner.expired(before, limit)
    }

    fn commit(&self, changes: Changes) -> BoxFuture<'_, Result<(), CommitError>> {
        Box::pin(async move {
            let fate = *self.commits.lock().unwrap();
            match fate {
                Commits::HoldNext => {
                    self.commits(Commits::Made);
                    self.held.add_permits(1);
                    self.released.acquire().await.unwrap().forget();
                    self.inner.commit(changes).await
                }
                Commits::Lost => {
                    self.inner.commit(changes).await?;
                    Err(CommitError::Unknown(failure()))
                }
                Commits::LostUnmade => Err(CommitError::Unknown(failure())),
                Commits::Made => self.inner.commit(changes).await,
                Commits::NotApplied => Err(CommitError::NotApplied(failure().into())),
            }
        })
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        self.inner.ready()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}
