//! Commit outcomes for metrics.

use std::sync::{Arc, PoisonError, RwLock};

use crate::CommitError;

/// Receives how commits end, for metrics.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use keyproof_store::{CommitError, CommitObserver};
/// # use keyproof_store::memory::MemoryEngine;
/// # use keyproof_store::{Key, MasterKey, MasterKeys, Store, SystemEntropy, Timestamp, Version};
///
/// #[derive(Default)]
/// struct Conflicts(AtomicUsize);
///
/// impl CommitObserver for Conflicts {
///     fn committed(&self, group: &[Result<(), CommitError>]) {
///         let lost = group.iter().filter(|end| matches!(end, Err(CommitError::Conflict { .. })));
///         self.0.fetch_add(lost.count(), Ordering::Relaxed);
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (engine, entropy) = (Arc::new(MemoryEngine::new()), Arc::new(SystemEntropy::new()));
/// # let (keys, now) = (MasterKeys::new(&MasterKey::generate(&*entropy)), Timestamp::from_secs(1_700_000_000));
/// # let store = Store::open(engine, keys, entropy, now).await?;
/// let conflicts = Arc::new(Conflicts::default());
/// store.observe(conflicts.clone());
/// let mut batch = store.batch(now);
/// batch.require(&Key::new("device", ["of", "nobody"]), Version::random(store.entropy()));
/// assert!(store.commit(batch).await.is_err());
/// assert_eq!(conflicts.0.load(Ordering::Relaxed), 1);
/// # Ok(())
/// # }
/// ```
pub trait CommitObserver: Send + Sync + 'static {
    /// Called after each transaction with the outcomes of its batches, at least one, in the order in which they were
    /// queued.
    ///
    /// It is called before the callers get their answers, by the thread that writes. It must be quick and not panic.
    fn committed(&self, group: &[Result<(), CommitError>]);
}

/// The observer of one engine, if it has one.
#[derive(Default)]
pub(crate) struct Observed(RwLock<Option<Arc<dyn CommitObserver>>>);

impl Observed {
    pub(crate) fn by(&self, observer: Arc<dyn CommitObserver>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(observer);
    }

    pub(crate) fn committed(&self, group: &[Result<(), CommitError>]) {
        let observer = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(observer) = &*observer
            && !group.is_empty()
        {
            observer.committed(group);
        }
    }
}

impl std::fmt::Debug for Observed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Observed")
    }
}
