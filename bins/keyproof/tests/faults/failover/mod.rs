//! A database on three machines loses its leader, under the load of clients of three servers.
//!
//! `cargo xtask test failover` runs the tests in `in_ci`, and `cargo xtask test cluster` runs all.

mod at_length;
mod in_ci;
mod machine;
mod replicated;

use std::{
    env,
    time::{Duration, Instant},
};

use tokio::time::{sleep, timeout};

use self::{
    machine::Disk,
    replicated::{Replicated, Replication},
};
use crate::{
    client::{Call, Reply},
    cluster::Cluster,
    installation::Installation,
    ledger::{Deed, Promise},
    load::Load,
    node::PATIENCE,
    seed::Seed,
};

const NODES: usize = 3;

/// The environment variable that makes [`BACK`] an assertion; the stage `cluster` sets it.
const ON_TIME: &str = "KEYPROOF_FAILOVER_ON_TIME";

/// The maximum time between a new leader and the next acknowledgement.
const BACK: Duration = Duration::from_secs(5);

/// Three servers on a database of three machines, under load.
struct Run {
    database: Replicated,
    cluster: Cluster,
    load: Load,
    /// The machine that is the leader.
    leader: u8,
}

impl Run {
    async fn start(replication: Replication) -> Self {
        Self::start_on(replication, Disk::ROOMY, &Replicated::url()).await
    }

    /// The same, with servers that find the leader themselves, without a proxy.
    async fn start_without_proxy() -> Self {
        let url = Replicated::url_of_all_machines();
        Self::start_on(Replication::Synchronous, Disk::ROOMY, &url).await
    }

    /// The same on disks of this many bytes, with servers that use this database URL.
    async fn start_on(replication: Replication, disk: u64, url: &str) -> Self {
        let seed = Seed::of_this_run();
        let database = Replicated::start(replication, disk);
        let cluster = Cluster::start(Installation::on_database(url).without_locks(), NODES);
        let load = Load::start_with_stations(&cluster, seed).await;
        let leader = database.leader_other_than(None);
        let run = Self {
            database,
            cluster,
            load,
            leader,
        };
        run.goes_on(100).await;
        run
    }

    /// Waits for this many more acknowledged changes.
    async fn goes_on(&self, count: u64) {
        let ledger = self.load.ledger();
        ledger.acknowledged(ledger.count() + count).await;
    }

    /// Waits for another leader, and for changes that it acknowledges.
    async fn fails_over(&mut self) {
        let lost = Instant::now();
        let leader = self.database.leader_other_than(Some(self.leader));
        let led = Instant::now();
        self.goes_on(1).await;
        let back = led.elapsed();
        eprintln!(
            "machine {leader} leads after {:.1} s, and {:.1} s later something is acknowledged",
            (led - lost).as_secs_f64(),
            back.as_secs_f64()
        );
        // Operators are promised this time. The complete test command only prints it, because its machine may be busy.
        let kept = back < BACK;
        assert!(
            kept || env::var_os(ON_TIME).is_none(),
            "{back:?} after there was a leader"
        );
        self.leader = leader;
        self.goes_on(50).await;
    }

    /// Waits until a server warns about its database.
    async fn is_unsafe(&self) {
        let warned = async {
            while !self.warns().await {
                sleep(Duration::from_millis(100)).await;
            }
        };
        let warned = timeout(PATIENCE, warned).await;
        assert!(warned.is_ok(), "no server warns");
    }

    async fn warns(&self) -> bool {
        match Call::new("GET", "/readyz")
            .send(&self.cluster.fleet, 0)
            .await
        {
            Reply::Answered(answer) => answer.body.contains("warning: a failover"),
            Reply::Broken => false,
        }
    }

    /// Ends the load, and returns what was acknowledged but lost.
    fn losses(self) -> Vec<Deed> {
        self.database.convalesce();
        self.load.lost(&self.cluster.installation)
    }

    /// Ends the load, and compares the stored state with what was promised.
    async fn keeps_its_promises(self) {
        self.database.convalesce();
        let ledger = self.load.judge(&self.cluster.installation).await;
        let count = |promise| ledger.records().count(promise);
        let (not_done, unknown) = (count(Promise::NotDone), count(Promise::Unknown));
        eprintln!(
            "{} acknowledged, {not_done} not done, {unknown} unknown",
            ledger.count()
        );
        assert!(not_done + unknown > 0, "nobody noticed");
    }
}
