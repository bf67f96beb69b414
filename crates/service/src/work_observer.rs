//! Tells an observer (tracing) while a request waits for a password hash or for CPU-bound work.

use std::sync::{Arc, OnceLock};

/// What takes a processor's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A password is hashed, or waits for a thread that does.
    Hashing,
    /// Something is decoded, judged or signed, or waits for its turn.
    Judging,
}

/// Is told of work, in the task that asks for it.
pub trait WorkObserver: Send + Sync + 'static {
    /// Work is asked for. What is returned is dropped once it is done or given up.
    ///
    /// Called on a request's way: it must be quick and not panic.
    fn asked(&self, work: Work) -> Option<Box<dyn Send>>;
}

/// Who is told, if anybody is.
#[derive(Clone, Default)]
pub(crate) struct Followed(Arc<OnceLock<Arc<dyn WorkObserver>>>);

impl Followed {
    /// The first is told, if there are several.
    pub(crate) fn by(&self, observer: Arc<dyn WorkObserver>) {
        self.0.get_or_init(|| observer);
    }

    pub(crate) fn asked(&self, work: Work) -> Option<Box<dyn Send>> {
        self.0.get()?.asked(work)
    }
}

impl std::fmt::Debug for Followed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Followed")
    }
}
