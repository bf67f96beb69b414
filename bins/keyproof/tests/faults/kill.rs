//! Servers are killed under load repeatedly.

use crate::{
    cluster::Cluster, installation::Installation, ledger::Promise, load::Load, seed::Seed,
};

const KILLS: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_fifty_kills() {
    survive(Cluster::start(Installation::on_sqlite(), 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_fifty_kills_of_three_nodes() {
    survive(Cluster::start(Installation::on_postgres(), 3)).await;
}

async fn survive(mut cluster: Cluster) {
    let seed = Seed::of_this_run();
    let load = Load::start(&cluster, seed).await;
    let ledger = load.ledger();
    let mut faults = seed.stream("faults");
    for _ in 0..KILLS {
        ledger
            .acknowledged(ledger.count() + faults.u64(1..30))
            .await;
        let node = faults.usize(..cluster.len());
        cluster.kill(node);
        cluster.bring_up(node);
    }
    let ledger = load.judge(&cluster.installation).await;
    let unknown = ledger.records().count(Promise::Unknown);
    eprintln!("{} acknowledged, {unknown} unknown", ledger.count());
    assert!(unknown > KILLS / 2, "it was killed while nobody asked");
}
