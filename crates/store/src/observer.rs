//! How metrics learn what an engine does.

use std::sync::{Arc, PoisonError, RwLock};

use crate::CommitError;

/// Is told how commits end; for metrics.
pub trait CommitObserver: Send + Sync + 'static {
    /// One transaction was tried for this group of batches, at least one, and they ended like this, in the order in
    /// which they were queued.
    ///
    /// Called before the callers have their answers, and by the thread that writes: it must be quick and not panic.
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
