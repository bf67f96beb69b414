//! Password hashing: one admission for all callers, and dedicated threads. A hash takes tens of milliseconds and 19 MiB. So it must
//! not block the async threads, the number of concurrent hashes is limited, and one client must not take the place of all others.
//!
//! A request is counted once against its address and then waits in a queue. Sites (IPv6 /48, IPv4 /24) take turns, within a site
//! its hosts (/64, /32), and within a host the use cases. When the queue is full, the longest share of it loses its last entry, so
//! a newcomer with few requests is never the loser. If a client has gone when its turn comes, nothing is hashed.

#[cfg(test)]
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{
    fmt, io,
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use keyproof_auth::{AuthError, Cost, HashingMemory, PasswordHash, PasswordMatch, SALT_BYTES};
use keyproof_store::{Entropy, Timestamp};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::{
    addresses::{AddressLimit, Addresses, Network},
    fair_queue::{FairQueue, Fifo, RoundRobin},
    requester::{Presence, Requester},
};
use crate::{
    Origin,
    figures::{Count, HashingFigures},
    work_observer::{Work, WorkObserverHandle},
};

/// How passwords are hashed, and how many at once.
#[derive(Clone, Copy, Debug)]
pub struct HashingSettings {
    /// The rate limit per address for requests that cost a hash.
    pub address_limit: AddressLimit,
    /// The cost of a new hash.
    pub cost: Cost,
    /// How many hashes run at once. Each thread keeps its memory after its first hash.
    pub threads: NonZeroUsize,
    /// How many more may wait. Beyond that, the party with the largest share gets [`HashingError::Busy`].
    pub queue: usize,
}

/// The error when a password was not verified or not hashed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashingError {
    /// The queue is full; retry in a second.
    #[error("too many passwords are waiting to be hashed")]
    Busy,
    /// The hash failed: out of memory, or the stored string cannot be parsed.
    #[error("hashing failed: {0}")]
    Failed(#[from] AuthError),
    /// The client went away before its turn.
    #[error("the client has gone")]
    Gone,
    /// The address, or a network around it, has used up its window.
    #[error("too many requests from this address")]
    Limited {
        /// How long until the window is over.
        retry_after: Duration,
    },
    /// The pool was shut down, or the hash of this password panicked.
    #[error("the hashing threads have stopped")]
    Stopped,
}

/// The result of verifying a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordVerdict {
    /// The password is correct.
    Accepted {
        /// The stored hash has another cost than the current one, so the password should be hashed again now.
        needs_rehash: bool,
    },
    /// The password is wrong, or there is no stored hash.
    Refused,
}

/// The use cases that need hashes. They take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UseCase {
    /// Users' accounts.
    Accounts,
    /// Instances of OTP devices.
    OtpDevices,
}

/// The admission, the queue and the hashing threads. The threads stop when the last handle is dropped.
pub struct HashingPool {
    shared: Arc<Shared>,
    addresses: Addresses,
    cost: Cost,
    pub(crate) followed: WorkObserverHandle,
}

/// Hashes in a thread's memory, or passes on the error.
type Job = Box<dyn FnOnce(Result<&mut HashingMemory, HashingError>) + Send>;

/// An entry of the queue.
struct Waiting {
    job: Job,
    requester: Requester,
    /// A thread was free when the entry came, so its turn is at once.
    is_at_once: bool,
}

/// By site, host and use case. Requests without an address share one place.
type Waitlist =
    RoundRobin<Option<Network>, RoundRobin<Option<Network>, RoundRobin<UseCase, Fifo<Waiting>>>>;

type Place = <Waitlist as FairQueue>::Place;

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    threads: usize,
    /// The most hashes that may wait and run together.
    capacity: usize,
    counts: Counts,
    /// How many hashes were requested.
    #[cfg(test)]
    asked: AtomicUsize,
}

/// The outcomes of requests for a hash.
#[derive(Default)]
struct Counts {
    hashed: Count,
    busy: Count,
    gone: Count,
    limited: Count,
}

#[derive(Default)]
struct State {
    waiting: Waitlist,
    running: usize,
    closed: bool,
}

impl HashingPool {
    /// Starts the threads. They allocate no memory for hashing before the first hash.
    ///
    /// # Errors
    ///
    /// The error of the operating system if a thread cannot be started.
    pub fn start(settings: HashingSettings) -> io::Result<Self> {
        let pool = Self {
            shared: Arc::new(Shared {
                state: Mutex::default(),
                work: Condvar::new(),
                threads: settings.threads.get(),
                capacity: settings.queue.saturating_add(settings.threads.get()),
                counts: Counts::default(),
                #[cfg(test)]
                asked: AtomicUsize::new(0),
            }),
            addresses: Addresses::new(settings.address_limit),
            cost: settings.cost,
            followed: WorkObserverHandle::default(),
        };
        for number in 0..settings.threads.get() {
            let shared = Arc::clone(&pool.shared);
            thread::Builder::new()
                .name(format!("hashing-{number}"))
                .spawn(move || shared.serve(settings.cost))?;
        }
        Ok(pool)
    }

    /// Counts a request against its address, unless it was counted before. Call it to refuse a request early, before reading more
    /// of it; requesting a hash counts the request in any case.
    ///
    /// # Errors
    ///
    /// [`HashingError::Limited`].
    pub fn admit(&self, origin: &Origin, now: Timestamp) -> Result<(), HashingError> {
        match origin.address {
            Some(address) if origin.requester.counts() => {
                self.addresses.take(address, now).map_err(|retry_after| {
                    self.shared.counts.limited.add(1);
                    HashingError::Limited { retry_after }
                })
            }
            _ => Ok(()),
        }
    }

    /// Hashes a new password with a fresh salt and returns the PHC string to be stored.
    ///
    /// # Errors
    ///
    /// [`HashingError`].
    pub async fn hash(
        &self,
        turn: Turn<'_>,
        password: Zeroizing<String>,
        entropy: &dyn Entropy,
    ) -> Result<String, HashingError> {
        let mut salt = [0; SALT_BYTES];
        entropy.fill(&mut salt);
        let cost = self.cost;
        let work = move |memory: &mut HashingMemory| {
            PasswordHash::create(password.as_bytes(), salt, cost, memory)
        };
        Ok(self.run(turn, work).await?.to_phc())
    }

    /// Verifies a password against the stored PHC string. Without one (no such account), the work of the current cost is done and
    /// the result is `Refused`, so that the time reveals nothing. A hash of a lower cost takes as long, also if it accepts: a login
    /// that is locked out refuses the right password, too. A hash of a higher cost takes longer, which cannot be avoided.
    ///
    /// # Errors
    ///
    /// [`HashingError`].
    pub async fn verify(
        &self,
        turn: Turn<'_>,
        stored: Option<&str>,
        password: Zeroizing<String>,
    ) -> Result<PasswordVerdict, HashingError> {
        let cost = self.cost;
        let Some(stored) = stored else {
            let work = move |memory: &mut HashingMemory| {
                PasswordHash::verify_dummy(password.as_bytes(), cost, memory)
            };
            let _ = self.run(turn, work).await?;
            return Ok(PasswordVerdict::Refused);
        };
        let hash = PasswordHash::parse(stored)?;
        let needs_rehash = hash.needs_rehash(cost);
        let missing = cost.excess_over(hash.cost());
        let work = move |memory: &mut HashingMemory| {
            let verdict = hash.verify(password.as_bytes(), memory)?;
            if let Some(missing) = missing {
                let _ = PasswordHash::verify_dummy(password.as_bytes(), missing, memory)?;
            }
            Ok(verdict)
        };
        Ok(match self.run(turn, work).await? {
            PasswordMatch::Correct => PasswordVerdict::Accepted { needs_rehash },
            PasswordMatch::Wrong => PasswordVerdict::Refused,
        })
    }

    /// Returns how much runs and waits and how many requests were refused.
    pub fn figures(&self) -> HashingFigures {
        let (running, waiting) = {
            let state = self.shared.lock();
            (state.running, state.waiting.len())
        };
        let counts = &self.shared.counts;
        HashingFigures {
            running,
            waiting,
            hashed: counts.hashed.get(),
            busy: counts.busy.get(),
            gone: counts.gone.get(),
            limited: counts.limited.get(),
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        turn: Turn<'_>,
        work: impl FnOnce(&mut HashingMemory) -> Result<T, AuthError> + Send + 'static,
    ) -> Result<T, HashingError> {
        self.admit(turn.origin, turn.now)?;
        let _told = self.followed.asked(Work::Hashing);
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |memory| {
            // The caller may have been dropped while this was waiting.
            if !answer.is_closed() {
                let _ = answer.send(memory.and_then(|memory| Ok(work(memory)?)));
            }
        });
        let requester = turn.origin.requester.clone();
        self.shared.enqueue(turn.place(), requester, job);
        answered.await.map_err(|_| HashingError::Stopped)?
    }
}

/// Identifies a request for a hash, which decides its place in the queue.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    /// The request.
    pub origin: &'a Origin,
    /// The use case that needs the hash.
    pub use_case: UseCase,
    /// The current time.
    pub now: Timestamp,
}

impl Turn<'_> {
    fn place(self) -> Place {
        let address = self.origin.address;
        let (site, host) = (address.map(Network::site), address.map(Network::host));
        (site, (host, (self.use_case, ())))
    }
}

#[cfg(test)]
impl HashingPool {
    /// How many hashes were requested.
    pub(crate) fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }
}

impl Drop for HashingPool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
    }
}

impl fmt::Debug for HashingPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashingPool")
            .field("cost", &self.cost)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enqueue(&self, place: Place, requester: Requester, job: Job) {
        #[cfg(test)]
        self.asked.fetch_add(1, Ordering::SeqCst);
        let pushed_out = {
            let mut state = self.lock();
            let before = state.waiting.len() + state.running;
            let waiting = Waiting {
                job,
                requester,
                is_at_once: before < self.threads,
            };
            state.waiting.join(place, waiting);
            if before < self.capacity {
                None
            } else {
                state.waiting.evict_last()
            }
        };
        self.work.notify_one();
        if let Some(pushed_out) = pushed_out {
            self.counts.busy.add(1);
            (pushed_out.job)(Err(HashingError::Busy));
        }
    }

    /// Runs one thread.
    fn serve(&self, cost: Cost) {
        let mut memory = HashingMemory::new();
        while let Some(waiting) = self.next() {
            let (granted, count) = if waiting.is_wanted() {
                (Ok(&mut memory), &self.counts.hashed)
            } else {
                (Err(HashingError::Gone), &self.counts.gone)
            };
            count.add(1);
            // A panic fails its own request and does not end the thread.
            if catch_unwind(AssertUnwindSafe(|| (waiting.job)(granted))).is_err() {
                memory = HashingMemory::new();
            }
            memory.shrink_to(cost);
            self.lock().running -= 1;
        }
    }

    fn next(&self) -> Option<Waiting> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(waiting) = state.waiting.next() {
                state.running += 1;
                return Some(waiting);
            }
            state = self
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Waiting {
    /// Whether the client still waits now that its turn has come. For a client that sends no more this is unknown: it is served
    /// only if nobody has to wait for that.
    fn is_wanted(&self) -> bool {
        match self.requester.presence() {
            Presence::Here => true,
            Presence::SendsNoMore => self.is_at_once,
            Presence::Gone => false,
        }
    }
}

#[cfg(test)]
mod tests;
