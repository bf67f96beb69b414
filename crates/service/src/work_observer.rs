//! Notifies an observer (tracing) while a request waits for a password hash or for CPU-bound work.

use std::sync::{Arc, OnceLock};

/// A kind of CPU-bound work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A password is hashed or waits for a hashing thread.
    Hashing,
    /// Something is decoded, validated or signed, or waits for its turn.
    CpuQueue,
}

/// Observes work, in the task that requests it.
pub trait WorkObserver: Send + Sync + 'static {
    /// Called when work is requested. The returned value is dropped once the work is done or given up.
    ///
    /// Called within a request: it must be quick and must not panic.
    fn asked(&self, work: Work) -> Option<Box<dyn Send>>;
}

/// The observer, if there is one.
#[derive(Clone, Default)]
pub(crate) struct WorkObserverHandle(Arc<OnceLock<Arc<dyn WorkObserver>>>);

impl WorkObserverHandle {
    /// Sets the observer. Only the first one is used.
    pub(crate) fn by(&self, observer: Arc<dyn WorkObserver>) {
        self.0.get_or_init(|| observer);
    }

    pub(crate) fn asked(&self, work: Work) -> Option<Box<dyn Send>> {
        self.0.get()?.asked(work)
    }
}

impl std::fmt::Debug for WorkObserverHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WorkObserverHandle")
    }
}
