//! The request on whose behalf a password is hashed.

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
    /// Nothing says that it does not.
    Here,
    /// It will send no more. So it looks when a client has closed its connection, and also when it only has nothing
    /// to add: nobody can tell without sending to it.
    SendsNoMore,
    /// It is gone, or was answered without the use case, as when a deadline has passed.
    Gone,
}

/// A request, as it stands in line for being judged. Its clones are the same request, which counts once against its
/// address however often it is hashed for.
#[derive(Clone)]
pub struct Applicant(Arc<Request<Client>>);

struct Request<C: ?Sized> {
    has_counted: AtomicBool,
    client: C,
}

/// Says whether it is still there.
type Client = dyn Fn() -> Presence + Send + Sync;

impl Applicant {
    /// The request of a client that says whether it is still there, as far as that can be told without waiting.
    pub fn new(client: impl Fn() -> Presence + Send + Sync + 'static) -> Self {
        let request = Arc::new(Request {
            has_counted: AtomicBool::new(false),
            client,
        });
        Self(request)
    }

    /// Whether the client still waits.
    pub(super) fn presence(&self) -> Presence {
        (self.0.client)()
    }

    /// Whether this is the first time that it is to be counted.
    pub(super) fn counts(&self) -> bool {
        !self.0.has_counted.swap(true, Ordering::AcqRel)
    }
}

/// One that waits for as long as it takes.
impl Default for Applicant {
    fn default() -> Self {
        Self::new(|| Presence::Here)
    }
}

/// Which request it is says nothing about where it comes from.
impl PartialEq for Applicant {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Applicant {}

impl fmt::Debug for Applicant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Applicant").finish_non_exhaustive()
    }
}
