//! Password hashing: one admission for all who ask for it, and threads of its own. A hash takes tens of milliseconds
//! and 19 MiB: it must neither hold up the async threads nor be had in any number at once, nor by one client in the
//! place of all others.
//!
//! A request is counted against its address, once, and then stands in line. Sites (IPv6 /48, IPv4 /24) take turns, in a
//! site its hosts (/64, /32), and for a host the use cases that ask. When the line is full, it is the longest share of
//! it that loses its last: never a newcomer who asks for little. Whoever has gone when their turn comes is not hashed
//! for.

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

use keyproof_auth::{AuthError, Cost, Memory, PasswordHash, PasswordMatch, SALT_BYTES};
use keyproof_store::{Entropy, Timestamp};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::{
    addresses::{AddressLimit, Addresses, Network},
    applicant::{Applicant, Presence},
    line::{InOrder, InTurns, Line},
};
use crate::{
    Origin,
    figures::{Count, HashingFigures},
    work_observer::{Followed, Work},
};

/// How passwords are hashed, and how much of it goes on at once.
#[derive(Clone, Copy, Debug)]
pub struct HashingSettings {
    /// How often an address may ask for what costs a hash.
    pub address_limit: AddressLimit,
    /// The cost of a new hash.
    pub cost: Cost,
    /// How many hashes run at once; each thread keeps its memory once it has hashed.
    pub threads: NonZeroUsize,
    /// How many more may wait. Of more, the one whose share is largest is told [`HashingError::Busy`].
    pub queue: usize,
}

/// Why a password was not judged, or not hashed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashingError {
    /// As many hashes wait as may; try again in a second.
    #[error("too many passwords are waiting to be hashed")]
    Busy,
    /// The hash failed: no memory, or a stored string that cannot be read.
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
    /// The pool has been shut down, or its worker died over this password.
    #[error("the hashing threads have stopped")]
    Stopped,
}

/// What became of a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordVerdict {
    /// It is the right one.
    Accepted {
        /// It was hashed with another cost than the one in force: hash it again while it is at hand.
        needs_rehash: bool,
    },
    /// It is not, or there is nothing to compare it with.
    Refused,
}

/// Who asks for hashes; they take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UseCase {
    /// Users' accounts.
    Accounts,
    /// OTP devices' instances.
    OtpDevices,
}

/// The admission, the line and the hashing threads. They end with the last handle to it.
pub struct HashingPool {
    shared: Arc<Shared>,
    addresses: Addresses,
    cost: Cost,
    followed: Followed,
}

/// Does the work with a thread's memory, or passes on why it is not done.
type Job = Box<dyn FnOnce(Result<&mut Memory, HashingError>) + Send>;

/// What stands in line.
struct Waiting {
    job: Job,
    applicant: Applicant,
    /// A thread was free when it came: its turn is at once.
    is_at_once: bool,
}

/// The site, the host and the use case; requests without an address have one place.
type Waitlist =
    InTurns<Option<Network>, InTurns<Option<Network>, InTurns<UseCase, InOrder<Waiting>>>>;

type Place = <Waitlist as Line>::Place;

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    threads: usize,
    /// The most that may be waiting and running together.
    capacity: usize,
    counts: Counts,
    /// How many hashes were asked for.
    #[cfg(test)]
    asked: AtomicUsize,
}

/// How often what came of a request for a hash.
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
    /// Starts the threads. No memory is taken before the first hash.
    ///
    /// # Errors
    ///
    /// The operating system's, if it starts no thread.
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
            followed: Followed::default(),
        };
        for number in 0..settings.threads.get() {
            let shared = Arc::clone(&pool.shared);
            thread::Builder::new()
                .name(format!("hashing-{number}"))
                .spawn(move || shared.serve(settings.cost))?;
        }
        Ok(pool)
    }

    /// Counts a request against its address, unless it was before. To be asked where a request is to be refused
    /// before more is read of it; whoever asks for a hash is counted in any case.
    ///
    /// # Errors
    ///
    /// [`HashingError::Limited`].
    pub fn admit(&self, origin: &Origin, now: Timestamp) -> Result<(), HashingError> {
        match origin.address {
            Some(address) if origin.applicant.counts() => {
                self.addresses.take(address, now).map_err(|retry_after| {
                    self.shared.counts.limited.add(1);
                    HashingError::Limited { retry_after }
                })
            }
            _ => Ok(()),
        }
    }

    /// Hashes a new password, under a fresh salt, to the PHC string that is stored.
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
        let work = move |memory: &mut Memory| {
            PasswordHash::create(password.as_bytes(), salt, cost, memory)
        };
        Ok(self.run(turn, work).await?.to_phc())
    }

    /// Compares a password with the stored PHC string. Where there is none (no such account) the work of the cost in force
    /// is done and the answer is no, so that nobody learns from the time it takes. A refusal by a hash of a lower cost takes
    /// as long; one by a hash of a higher cost takes longer, which cannot be helped.
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
            let work = move |memory: &mut Memory| {
                PasswordHash::verify_absent(password.as_bytes(), cost, memory)
            };
            let _ = self.run(turn, work).await?;
            return Ok(PasswordVerdict::Refused);
        };
        let hash = PasswordHash::parse(stored)?;
        let needs_rehash = hash.needs_rehash(cost);
        let missing = cost.beyond(hash.cost());
        let work = move |memory: &mut Memory| {
            let verdict = hash.verify(password.as_bytes(), memory)?;
            if let (PasswordMatch::Wrong, Some(missing)) = (verdict, missing) {
                let _ = PasswordHash::verify_absent(password.as_bytes(), missing, memory)?;
            }
            Ok(verdict)
        };
        Ok(match self.run(turn, work).await? {
            PasswordMatch::Correct => PasswordVerdict::Accepted { needs_rehash },
            PasswordMatch::Wrong => PasswordVerdict::Refused,
        })
    }

    /// Who is told of work.
    pub(crate) fn followed(&self) -> Followed {
        self.followed.clone()
    }

    /// What is done and waits, and what was turned away.
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
        work: impl FnOnce(&mut Memory) -> Result<T, AuthError> + Send + 'static,
    ) -> Result<T, HashingError> {
        self.admit(turn.origin, turn.now)?;
        let _told = self.followed.asked(Work::Hashing);
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |memory| {
            // Whoever asked may have been dropped while this was waiting.
            if !answer.is_closed() {
                let _ = answer.send(memory.and_then(|memory| Ok(work(memory)?)));
            }
        });
        let applicant = turn.origin.applicant.clone();
        self.shared.enqueue(turn.place(), applicant, job);
        answered.await.map_err(|_| HashingError::Stopped)?
    }
}

/// Who asks for a hash, and when.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    /// The request that it is for.
    pub origin: &'a Origin,
    /// What for.
    pub use_case: UseCase,
    /// Now.
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
    /// How many hashes were asked for.
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

    fn enqueue(&self, place: Place, applicant: Applicant, job: Job) {
        #[cfg(test)]
        self.asked.fetch_add(1, Ordering::SeqCst);
        let pushed_out = {
            let mut state = self.lock();
            let before = state.waiting.len() + state.running;
            let waiting = Waiting {
                job,
                applicant,
                is_at_once: before < self.threads,
            };
            state.waiting.join(place, waiting);
            if before < self.capacity {
                None
            } else {
                state.waiting.push_out()
            }
        };
        self.work.notify_one();
        if let Some(pushed_out) = pushed_out {
            self.counts.busy.add(1);
            (pushed_out.job)(Err(HashingError::Busy));
        }
    }

    /// One thread's life.
    fn serve(&self, cost: Cost) {
        let mut memory = Memory::new();
        while let Some(waiting) = self.next() {
            let (granted, count) = if waiting.is_wanted() {
                (Ok(&mut memory), &self.counts.hashed)
            } else {
                (Err(HashingError::Gone), &self.counts.gone)
            };
            count.add(1);
            // A panic costs its own caller the answer and nobody else the thread.
            if catch_unwind(AssertUnwindSafe(|| (waiting.job)(granted))).is_err() {
                memory = Memory::new();
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
    /// Whether somebody still waits for it, now that its turn has come. Of a client that will send no more it is not
    /// known; it gets what costs nobody a wait.
    fn is_wanted(&self) -> bool {
        match self.applicant.presence() {
            Presence::Here => true,
            Presence::SendsNoMore => self.is_at_once,
            Presence::Gone => false,
        }
    }
}

#[cfg(test)]
mod tests;
