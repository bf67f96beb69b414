//! Connections and servers that fail at any moment, checked against a model of what was acknowledged.

use std::{sync::Arc, time::Duration};

use keyproof_peer_postgres::Postgres;
use keyproof_store::{Engine, postgres::PostgresEngine};
use tokio::time::sleep;

use super::{
    database::{Database, frugal, parse},
    proxy::Proxy,
    workload::{Workload, keep_a_log},
};

const CALLERS: usize = 4;

/// How many connections are cut: `KEYPROOF_CUTS` of the environment, which is lower for repeated runs on other servers
/// or toolchains.
fn cuts() -> usize {
    std::env::var("KEYPROOF_CUTS").map_or(300, |cuts| cuts.parse().unwrap())
}

/// A small generator. A seed gives the same choices each time, but not the same timing.
struct Random(u64);

impl Random {
    /// The seed is `KEYPROOF_SEED` of the environment, or from the clock.
    fn new() -> Self {
        let seed: u64 = match std::env::var("KEYPROOF_SEED") {
            Ok(seed) => seed.parse().unwrap(),
            Err(_) => std::time::UNIX_EPOCH
                .elapsed()
                .unwrap()
                .subsec_nanos()
                .into(),
        };
        println!("KEYPROOF_SEED={seed}");
        Self(seed | 1 << 63)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_cut_anywhere_lose_nothing_and_apply_nothing_twice() {
    let mut random = Random::new();
    let database = Database::new();
    let truth: Arc<dyn Engine> = Arc::new(database.open().await);
    let back_door = database.back_door().await;
    keep_a_log(&back_door).await;
    let proxy = Proxy::before(database.server.port()).await;
    let engine = PostgresEngine::open(&parse(&proxy.url(&database.url)), &frugal()).await;
    let engine: Arc<dyn Engine> = Arc::new(engine.unwrap());
    let workload = Workload::start(&engine, &truth, CALLERS);
    for _ in 0..cuts() {
        workload.go_on(random.below(5) as usize).await;
        let bytes = i64::try_from(random.below(4_000)).unwrap();
        match random.below(3) {
            0 => proxy.cut_after(Some(bytes), None),
            1 => proxy.cut_after(None, Some(bytes / 8)),
            _ => proxy.cut(),
        }
    }
    let tally = workload.finish(&*truth, &back_door).await;
    println!("{tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terminated_sessions_lose_nothing_and_apply_nothing_twice() {
    let mut random = Random::new();
    let database = Database::new();
    let truth: Arc<dyn Engine> = Arc::new(database.open().await);
    let back_door = database.back_door().await;
    keep_a_log(&back_door).await;
    let url = parse(&format!("{}?application_name=victim", database.url));
    let engine = PostgresEngine::open(&url, &frugal()).await.unwrap();
    let engine: Arc<dyn Engine> = Arc::new(engine);
    let workload = Workload::start(&engine, &truth, CALLERS);
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'victim'
        ORDER BY random() LIMIT 1";
    let mut killed = 0;
    for _ in 0..cuts() {
        workload.go_on(random.below(5) as usize).await;
        killed += back_door.execute(kill, &[]).await.unwrap();
    }
    assert!(killed > 0, "the engine had no session");
    let tally = workload.finish(&*truth, &back_door).await;
    println!("{tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_under_load_loses_nothing_and_applies_nothing_twice() {
    const KILLS: usize = 3;
    let mut random = Random::new();
    let mut database = Database::of(Box::new(Postgres::start().unwrap()));
    let truth: Arc<dyn Engine> = Arc::new(database.open().await);
    keep_a_log(&database.back_door().await).await;
    let engine: Arc<dyn Engine> = Arc::new(database.open().await);
    let workload = Workload::start(&engine, &truth, CALLERS);
    for _ in 0..KILLS {
        workload.go_on(20 + random.below(50) as usize).await;
        database.server.kill().unwrap();
        sleep(Duration::from_millis(random.below(200))).await;
        database.server.restart().unwrap();
    }
    assert_eq!(truth.ready().await, Ok(()));
    let tally = workload.finish(&*truth, &database.back_door().await).await;
    println!("{tally:?}");
}
