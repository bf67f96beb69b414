use std::{
    net::IpAddr,
    sync::{
        atomic::{AtomicBool, AtomicU8},
        mpsc,
    },
};

use keyproof_store::SystemEntropy;

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

fn settings(threads: usize, queue: usize) -> HashingSettings {
    HashingSettings {
        address_limit: AddressLimit::NONE,
        cost: Cost::insecure_for_tests(8, 1, 1).unwrap(),
        threads: NonZeroUsize::new(threads).unwrap(),
        queue,
    }
}

fn pool(threads: usize, queue: usize) -> HashingPool {
    HashingPool::start(settings(threads, queue)).unwrap()
}

fn password(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_owned())
}

fn from(address: &str) -> Origin {
    Origin {
        address: Some(address.parse::<IpAddr>().unwrap()),
        ..Origin::keyproof()
    }
}

fn turn(origin: &Origin) -> Turn<'_> {
    Turn {
        origin,
        use_case: UseCase::Accounts,
        now: NOW,
    }
}

async fn hash(pool: &HashingPool) -> Result<String, HashingError> {
    let origin = Origin::keyproof();
    let entropy = SystemEntropy::new();
    pool.hash(turn(&origin), password("correct horse"), &entropy)
        .await
}

async fn verify(
    pool: &HashingPool,
    stored: Option<&str>,
    text: &str,
) -> Result<PasswordVerdict, HashingError> {
    let origin = Origin::keyproof();
    pool.verify(turn(&origin), stored, password(text)).await
}

/// Occupies the pool's only thread until the sender is dropped.
async fn occupy(pool: &HashingPool) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel::<()>();
    let (started, has_started) = oneshot::channel();
    let job: Job = Box::new(move |_| {
        let _ = started.send(());
        let _ = released.recv();
    });
    let origin = Origin::keyproof();
    let place = turn(&origin).place();
    pool.shared.enqueue(place, origin.requester.clone(), job);
    has_started.await.unwrap();
    release
}

/// Records which of many requests are hashed, in order, and the result of each.
struct Crowd {
    pool: Arc<HashingPool>,
    order: Arc<Mutex<Vec<&'static str>>>,
    tasks: Vec<(
        &'static str,
        tokio::task::JoinHandle<Result<(), HashingError>>,
    )>,
}

impl Crowd {
    fn before(pool: HashingPool) -> Self {
        Self {
            pool: Arc::new(pool),
            order: Arc::default(),
            tasks: Vec::new(),
        }
    }

    /// Joins the queue, and returns once it is in it.
    async fn join(&mut self, name: &'static str, origin: Origin, use_case: UseCase) {
        let asked = self.pool.asked();
        let (pool, order) = (Arc::clone(&self.pool), Arc::clone(&self.order));
        let task = tokio::spawn(async move {
            let turn = Turn {
                use_case,
                ..turn(&origin)
            };
            let work = move |_: &mut HashingMemory| {
                order.lock().unwrap().push(name);
                Ok(())
            };
            pool.run(turn, work).await
        });
        self.tasks.push((name, task));
        while self.pool.asked() == asked {
            tokio::task::yield_now().await;
        }
    }

    /// Waits for all answers. Returns the hashed requests in order, and the errors of the others.
    async fn ends(self) -> (Vec<&'static str>, Vec<(&'static str, HashingError)>) {
        let mut refused = Vec::new();
        for (name, task) in self.tasks {
            if let Err(error) = task.await.unwrap() {
                refused.push((name, error));
            }
        }
        let order = self.order.lock().unwrap().clone();
        (order, refused)
    }
}

#[tokio::test]
async fn hashes_verify_and_salts_differ() {
    let pool = pool(2, 4);
    let one = hash(&pool).await.unwrap();
    let two = hash(&pool).await.unwrap();
    assert_ne!(one, two);
    let accepted = PasswordVerdict::Accepted {
        needs_rehash: false,
    };
    assert_eq!(
        verify(&pool, Some(&one), "correct horse").await,
        Ok(accepted)
    );
    for (stored, text) in [(Some(&*one), "battery staple"), (None, "correct horse")] {
        let refused = verify(&pool, stored, text).await;
        assert_eq!(refused, Ok(PasswordVerdict::Refused));
    }
}

#[tokio::test]
async fn an_older_cost_is_accepted_and_named() {
    let older = Cost::insecure_for_tests(16, 1, 1).unwrap();
    let stored =
        PasswordHash::create(b"correct horse", [1; 16], older, &mut HashingMemory::new()).unwrap();
    assert_eq!(
        verify(&pool(1, 1), Some(&stored.to_phc()), "correct horse").await,
        Ok(PasswordVerdict::Accepted { needs_rehash: true })
    );
}

/// The thread keeps as much memory as its largest hash took, which shows what was computed.
#[tokio::test]
async fn a_cheaper_hash_takes_the_work_of_the_cost_in_force_whatever_the_verdict() {
    let cost = |memory_kib| Cost::insecure_for_tests(memory_kib, 1, 1).unwrap();
    let pool = HashingPool::start(HashingSettings {
        cost: cost(64),
        ..settings(1, 1)
    });
    let pool = pool.unwrap();
    let stored = PasswordHash::create(
        b"correct horse",
        [1; 16],
        cost(8),
        &mut HashingMemory::new(),
    );
    let stored = stored.unwrap().to_phc();
    let held = async || {
        let origin = Origin::keyproof();
        let look = |memory: &mut HashingMemory| Ok(memory.allocated_kib());
        pool.run(turn(&origin), look).await.unwrap()
    };
    let accepted = PasswordVerdict::Accepted { needs_rehash: true };
    for (hash, text, verdict, kib) in [
        (Some(&*stored), "correct horse", accepted, 64 - 8),
        (
            Some(&*stored),
            "wrong horse",
            PasswordVerdict::Refused,
            64 - 8,
        ),
        (None, "wrong horse", PasswordVerdict::Refused, 64),
    ] {
        assert_eq!(verify(&pool, hash, text).await, Ok(verdict));
        assert_eq!(held().await, kib, "{text}");
    }
}

#[tokio::test]
async fn sites_take_turns_then_hosts_then_use_cases() {
    let pool = pool(1, 64);
    let release = occupy(&pool).await;
    let mut crowd = Crowd::before(pool);
    use UseCase::{Accounts, OtpDevices};
    for (name, address, use_case) in [
        ("a1", "2001:db8:a:1::1", Accounts),
        // Another address of the same host.
        ("a2", "2001:db8:a:1::2", Accounts),
        ("a3", "2001:db8:a:1::1", OtpDevices),
        ("a4", "2001:db8:a:2::1", Accounts),
        ("a5", "2001:db8:a:3::1", Accounts),
        ("b1", "192.0.2.1", Accounts),
        ("b2", "::ffff:192.0.2.1", Accounts),
        ("b3", "192.0.2.2", Accounts),
        ("c1", "192.0.3.1", Accounts),
    ] {
        crowd.join(name, from(address), use_case).await;
    }
    drop(release);
    let (order, refused) = crowd.ends().await;
    assert_eq!(
        order,
        ["a1", "b1", "c1", "a4", "b3", "a5", "b2", "a3", "a2"]
    );
    assert_eq!(refused, []);
}

#[tokio::test]
async fn a_full_line_pushes_out_who_asks_for_most_and_not_who_comes_new() {
    let pool = pool(1, 3);
    let release = occupy(&pool).await;
    let mut crowd = Crowd::before(pool);
    for (name, address) in [
        ("stranger 1", "2001:db8:a:1::1"),
        ("stranger 2", "2001:db8:a:2::1"),
        ("stranger 3", "2001:db8:a:2::2"),
        ("ada", "2001:db8:b::1"),
        ("stranger 4", "2001:db8:a:9::1"),
        ("bob", "192.0.2.1"),
    ] {
        crowd.join(name, from(address), UseCase::Accounts).await;
    }
    let shared = Arc::clone(&crowd.pool.shared);
    assert_eq!(crowd.pool.figures().waiting, 3);
    drop(release);
    let (order, refused) = crowd.ends().await;
    assert_eq!(shared.counts.busy.get(), 3);
    assert_eq!(order, ["stranger 1", "ada", "bob"]);
    let busy = |name| (name, HashingError::Busy);
    assert_eq!(
        refused,
        [busy("stranger 2"), busy("stranger 3"), busy("stranger 4")]
    );
}

/// A client whose presence the test sets.
fn told(presence: u8) -> (Origin, Arc<AtomicU8>) {
    let told = Arc::new(AtomicU8::new(presence));
    let client = Arc::clone(&told);
    let origin = Origin {
        requester: Requester::new(move || match client.load(Ordering::SeqCst) {
            0 => Presence::Here,
            1 => Presence::SendsNoMore,
            _ => Presence::Gone,
        }),
        ..from("192.0.2.1")
    };
    (origin, told)
}

#[tokio::test]
async fn nothing_is_hashed_for_a_client_that_has_gone_before_its_turn() {
    let pool = pool(1, 64);
    let release = occupy(&pool).await;
    let mut crowd = Crowd::before(pool);
    let mut presences = Vec::new();
    for name in ["here", "closed", "gone"] {
        let (origin, presence) = told(0);
        presences.push(presence);
        crowd.join(name, origin, UseCase::Accounts).await;
    }
    presences[1].store(1, Ordering::SeqCst);
    presences[2].store(2, Ordering::SeqCst);
    let shared = Arc::clone(&crowd.pool.shared);
    drop(release);
    let (order, refused) = crowd.ends().await;
    assert_eq!(shared.counts.gone.get(), 2);
    assert_eq!(order, ["here"]);
    let gone = |name| (name, HashingError::Gone);
    assert_eq!(refused, [gone("closed"), gone("gone")]);
}

#[tokio::test]
async fn a_client_that_only_sends_no_more_is_served_by_a_free_thread() {
    for (presence, expected) in [
        (0, Ok(PasswordVerdict::Refused)),
        (1, Ok(PasswordVerdict::Refused)),
        (2, Err(HashingError::Gone)),
    ] {
        let (origin, _told) = told(presence);
        let pool = pool(1, 1);
        let verdict = pool.verify(turn(&origin), None, password("x")).await;
        assert_eq!(verdict, expected, "{presence}");
    }
}

#[tokio::test]
async fn a_request_counts_once_against_its_address_however_often_it_is_hashed_for() {
    let pool = HashingPool::start(HashingSettings {
        address_limit: AddressLimit {
            requests: 2,
            window: Duration::from_secs(300),
        },
        ..settings(1, 4)
    })
    .unwrap();
    let request = from("192.0.2.1");
    for _ in 0..3 {
        let verdict = pool.verify(turn(&request), None, password("x")).await;
        assert_eq!(verdict, Ok(PasswordVerdict::Refused));
    }
    assert_eq!(pool.admit(&from("192.0.2.1"), NOW), Ok(()));
    let retry_after = Duration::from_secs(300);
    let limited = HashingError::Limited { retry_after };
    let asked = pool.asked();
    for _ in 0..2 {
        let third = from("192.0.2.1");
        let refused = pool.verify(turn(&third), None, password("x")).await;
        assert_eq!(refused, Err(limited.clone()));
    }
    assert_eq!(pool.asked(), asked, "hashed past the limit");
    let figures = pool.figures();
    assert_eq!((figures.hashed, figures.limited), (3, 2));
    let other = from("192.0.2.2");
    let verdict = pool.verify(turn(&other), None, password("x")).await;
    assert_eq!(verdict, Ok(PasswordVerdict::Refused));
}

#[tokio::test]
async fn nothing_is_hashed_for_a_caller_that_left() {
    let pool = pool(1, 8);
    let release = occupy(&pool).await;
    let hashed = Arc::new(AtomicBool::new(false));
    let mark = Arc::clone(&hashed);
    let origin = Origin::keyproof();
    let abandoned = pool.run(turn(&origin), move |_| {
        mark.store(true, Ordering::SeqCst);
        Ok(())
    });
    // One poll queues it; then its future is dropped.
    let dropped = tokio::time::timeout(Duration::ZERO, abandoned).await;
    assert!(dropped.is_err());
    assert_eq!(pool.shared.lock().waiting.len(), 1);
    drop(release);
    // The single thread serves in order, so this comes after the abandoned request.
    assert!(hash(&pool).await.is_ok());
    assert!(!hashed.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_panic_costs_one_answer_and_no_thread() {
    let pool = pool(1, 4);
    let origin = Origin::keyproof();
    let dead = pool.run(turn(&origin), |_| -> Result<(), AuthError> {
        panic!("a defect, for this test")
    });
    assert_eq!(dead.await, Err(HashingError::Stopped));
    assert!(hash(&pool).await.is_ok());
}

#[tokio::test]
async fn a_stored_string_that_cannot_be_read_is_an_error_and_not_a_refusal() {
    let verdict = verify(&pool(1, 1), Some("$argon2id$"), "x").await;
    assert!(
        matches!(verdict, Err(HashingError::Failed(_))),
        "{verdict:?}"
    );
}
