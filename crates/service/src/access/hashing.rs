//! Password hashing on threads of its own. A hash takes tens of milliseconds and 19 MiB: it must neither hold up
//! the async threads nor be had in any number at once, so both its workers and its queue are bounded.

use keyproof_auth::{AuthError, Cost, Memory, PasswordHash, SALT_BYTES};
use keyproof_store::Entropy;
#[cfg(test)]
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{
    collections::VecDeque,
    fmt, io,
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

/// How passwords are hashed, and how much of it goes on at once.
#[derive(Clone, Copy, Debug)]
pub struct HashingSettings {
    /// The cost of a new hash.
    pub cost: Cost,
    /// How many hashes run at once; each thread keeps its memory once it has hashed.
    pub threads: NonZeroUsize,
    /// How many more may wait. The next one is told [`HashingError::Busy`].
    pub queue: usize,
}

/// Why no verdict on a password can be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashingError {
    /// As many hashes wait as may; try again in a second.
    #[error("too many passwords are waiting to be hashed")]
    Busy,
    /// The hash failed: no memory, or a stored string that cannot be read.
    #[error("hashing failed: {0}")]
    Failed(#[from] AuthError),
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

/// The hashing threads and their queue. They end with the last handle to it.
pub struct HashingPool {
    shared: Arc<Shared>,
    cost: Cost,
}

type Job = Box<dyn FnOnce(&mut Memory) + Send>;

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    /// The most that may be waiting and running together.
    capacity: usize,
    /// How many hashes were asked for.
    #[cfg(test)]
    asked: AtomicUsize,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    running: usize,
    closed: bool,
}

impl HashingPool {
    /// Starts the threads. No memory is taken before the first hash.
    ///
    /// # Errors
    /// The operating system's, if it starts no thread.
    pub fn start(settings: HashingSettings) -> io::Result<Self> {
        let pool = Self {
            shared: Arc::new(Shared {
                state: Mutex::default(),
                work: Condvar::new(),
                capacity: settings.queue.saturating_add(settings.threads.get()),
                #[cfg(test)]
                asked: AtomicUsize::new(0),
            }),
            cost: settings.cost,
        };
        for number in 0..settings.threads.get() {
            let shared = Arc::clone(&pool.shared);
            thread::Builder::new()
                .name(format!("hashing-{number}"))
                .spawn(move || shared.serve(settings.cost))?;
        }
        Ok(pool)
    }

    /// Hashes a new password, under a fresh salt, to the PHC string that is stored.
    ///
    /// # Errors
    /// [`HashingError`].
    pub async fn hash(
        &self,
        password: Zeroizing<String>,
        entropy: &dyn Entropy,
    ) -> Result<String, HashingError> {
        let mut salt = [0; SALT_BYTES];
        entropy.fill(&mut salt);
        let cost = self.cost;
        let hash = self
            .run(move |memory| PasswordHash::create(password.as_bytes(), salt, cost, memory))
            .await?;
        Ok(hash.to_phc())
    }

    /// Compares a password with the stored PHC string. Where there is none (no such account, or one without a
    /// password) the same work is done and the answer is no, so that nobody learns from the time it takes.
    ///
    /// # Errors
    /// [`HashingError`].
    pub async fn verify(
        &self,
        stored: Option<&str>,
        password: Zeroizing<String>,
    ) -> Result<PasswordVerdict, HashingError> {
        let cost = self.cost;
        let Some(stored) = stored else {
            self.run(move |memory| PasswordHash::verify_absent(password.as_bytes(), cost, memory))
                .await?;
            return Ok(PasswordVerdict::Refused);
        };
        let hash = PasswordHash::parse(stored)?;
        let needs_rehash = hash.needs_rehash(cost);
        let accepted = self
            .run(move |memory| hash.verify(password.as_bytes(), memory))
            .await?;
        Ok(if accepted {
            PasswordVerdict::Accepted { needs_rehash }
        } else {
            PasswordVerdict::Refused
        })
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Memory) -> Result<T, AuthError> + Send + 'static,
    ) -> Result<T, HashingError> {
        let (answer, answered) = oneshot::channel();
        self.shared.enqueue(Box::new(move |memory| {
            // Whoever asked may have gone away while this was waiting.
            if !answer.is_closed() {
                let _ = answer.send(work(memory));
            }
        }))?;
        Ok(answered.await.map_err(|_| HashingError::Stopped)??)
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

    fn enqueue(&self, job: Job) -> Result<(), HashingError> {
        #[cfg(test)]
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut state = self.lock();
        if state.waiting.len() + state.running >= self.capacity {
            return Err(HashingError::Busy);
        }
        state.waiting.push_back(job);
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    /// One thread's life.
    fn serve(&self, cost: Cost) {
        let mut memory = Memory::new();
        while let Some(job) = self.next() {
            // A panic costs its own caller the answer and nobody else the thread.
            if catch_unwind(AssertUnwindSafe(|| job(&mut memory))).is_err() {
                memory = Memory::new();
            }
            memory.shrink_to(cost);
            self.lock().running -= 1;
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.waiting.pop_front() {
                state.running += 1;
                return Some(job);
            }
            state = self
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyproof_store::SystemEntropy;
    use std::{
        sync::{atomic::AtomicBool, mpsc},
        time::Duration,
    };

    fn pool(threads: usize, queue: usize) -> HashingPool {
        let settings = HashingSettings {
            cost: Cost::insecure_for_tests(8, 1, 1).unwrap(),
            threads: NonZeroUsize::new(threads).unwrap(),
            queue,
        };
        HashingPool::start(settings).unwrap()
    }

    fn password(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    /// Occupies the pool's only thread until the sender is dropped.
    async fn occupy(pool: &HashingPool) -> mpsc::Sender<()> {
        let (release, released) = mpsc::channel::<()>();
        let (started, has_started) = oneshot::channel();
        pool.shared
            .enqueue(Box::new(move |_| {
                let _ = started.send(());
                let _ = released.recv();
            }))
            .unwrap();
        has_started.await.unwrap();
        release
    }

    #[tokio::test]
    async fn hashes_verify_and_salts_differ() {
        let pool = pool(2, 4);
        let one = pool
            .hash(password("correct horse"), &SystemEntropy::new())
            .await
            .unwrap();
        let two = pool
            .hash(password("correct horse"), &SystemEntropy::new())
            .await
            .unwrap();
        assert_ne!(one, two);
        assert_eq!(
            pool.verify(Some(&one), password("correct horse")).await,
            Ok(PasswordVerdict::Accepted {
                needs_rehash: false
            })
        );
        assert_eq!(
            pool.verify(Some(&one), password("battery staple")).await,
            Ok(PasswordVerdict::Refused)
        );
        assert_eq!(
            pool.verify(None, password("correct horse")).await,
            Ok(PasswordVerdict::Refused)
        );
    }

    #[tokio::test]
    async fn an_older_cost_is_accepted_and_named() {
        let older = Cost::insecure_for_tests(16, 1, 1).unwrap();
        let stored =
            PasswordHash::create(b"correct horse", [1; 16], older, &mut Memory::new()).unwrap();
        assert_eq!(
            pool(1, 1)
                .verify(Some(&stored.to_phc()), password("correct horse"))
                .await,
            Ok(PasswordVerdict::Accepted { needs_rehash: true })
        );
    }

    #[tokio::test]
    async fn a_full_queue_is_busy_and_drains() {
        let pool = Arc::new(pool(1, 1));
        let release = occupy(&pool).await;
        let waiting = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move {
                pool.hash(password("correct horse"), &SystemEntropy::new())
                    .await
            }
        });
        while pool.shared.lock().waiting.is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(
            pool.verify(None, password("correct horse")).await,
            Err(HashingError::Busy)
        );
        drop(release);
        assert!(waiting.await.unwrap().is_ok());
        assert_eq!(
            pool.verify(None, password("correct horse")).await,
            Ok(PasswordVerdict::Refused)
        );
    }

    #[tokio::test]
    async fn nothing_is_hashed_for_a_caller_that_left() {
        let pool = pool(1, 8);
        let release = occupy(&pool).await;
        let hashed = Arc::new(AtomicBool::new(false));
        let mark = Arc::clone(&hashed);
        let abandoned = pool.run(move |_| {
            mark.store(true, Ordering::SeqCst);
            Ok(())
        });
        // One poll queues it; then its future is dropped.
        assert!(
            tokio::time::timeout(Duration::ZERO, abandoned)
                .await
                .is_err()
        );
        assert_eq!(pool.shared.lock().waiting.len(), 1);
        drop(release);
        // The one thread takes what waits in order, so this comes after what was abandoned.
        assert!(
            pool.hash(password("correct horse"), &SystemEntropy::new())
                .await
                .is_ok()
        );
        assert!(!hashed.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn a_panic_costs_one_answer_and_no_thread() {
        let pool = pool(1, 4);
        let dead = pool.run(|_| -> Result<(), AuthError> { panic!("a defect, for this test") });
        assert_eq!(dead.await, Err(HashingError::Stopped));
        assert!(
            pool.hash(password("correct horse"), &SystemEntropy::new())
                .await
                .is_ok()
        );
    }

    #[tokio::test]
    async fn a_stored_string_that_cannot_be_read_is_an_error_and_not_a_refusal() {
        let verdict = pool(1, 1).verify(Some("$argon2id$"), password("x")).await;
        assert!(
            matches!(verdict, Err(HashingError::Failed(_))),
            "{verdict:?}"
        );
    }
}
