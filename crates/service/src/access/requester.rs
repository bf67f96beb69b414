//! The request for which a password is hashed.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Whether a client still waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// There is no sign that the client is gone.
    Here,
    /// The client sends no more. It may have closed its connection or may just have nothing to add, which cannot be distinguished
    /// without sending to it.
    SendsNoMore,
    /// The client is gone, or was answered without the use case, for example after a deadline.
    Gone,
}

/// A request that waits for a password hash. Clones are the same request: it counts once against its address, however many hashes
/// it needs.
#[derive(Clone)]
pub struct Requester(Arc<Request<Client>>);

struct Request<C: ?Sized> {
    has_counted: AtomicBool,
    client: C,
}

/// Returns whether the client is still there.
type Client = dyn Fn() -> Presence + Send + Sync;

impl Requester {
    /// Creates the request of a client. `client` must return without waiting.
    pub fn new(client: impl Fn() -> Presence + Send + Sync + 'static) -> Self {
        let request = Arc::new(Request {
            has_counted: AtomicBool::new(false),
            client,
        });
        Self(request)
    }

    /// Returns whether the client still waits.
    pub(super) fn presence(&self) -> Presence {
        (self.0.client)()
    }

    /// Whether the request must be counted now. True for the first call only.
    pub(super) fn counts(&self) -> bool {
        !self.0.has_counted.swap(true, Ordering::AcqRel)
    }
}

/// A client that waits as long as it takes.
impl Default for Requester {
    fn default() -> Self {
        Self::new(|| Presence::Here)
    }
}

/// All are equal, so that comparing two [`Origin`](crate::Origin)s ignores which request they belong to.
impl PartialEq for Requester {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Requester {}

impl fmt::Debug for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requester").finish_non_exhaustive()
    }
}
