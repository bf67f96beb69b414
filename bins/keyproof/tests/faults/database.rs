//! The database of several nodes, or the connection to it, is lost.

use std::time::Duration;

use keyproof_peer_postgres::Postgres;
use tokio::time::sleep;

use crate::{
    cluster::Cluster, installation::Installation, ledger::Promise, load::Load, proxy::Proxy,
    seed::Seed,
};

const NODES: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_kills_of_the_database() {
    const KILLS: usize = 5;
    let seed = Seed::of_this_run();
    let mut faults = seed.stream("faults");
    let mut postgres = Postgres::start().unwrap();
    let installation = Installation::on_database(&postgres.database().unwrap());
    let cluster = Cluster::start(installation, NODES);
    let load = Load::start(&cluster, seed).await;
    let ledger = load.ledger();
    for _ in 0..KILLS {
        ledger
            .acknowledged(ledger.count() + faults.u64(1..150))
            .await;
        postgres.kill().unwrap();
        for node in 0..NODES {
            cluster.becomes(node, 503).await;
        }
        sleep(Duration::from_millis(faults.u64(..300))).await;
        postgres.restart().unwrap();
        for node in 0..NODES {
            cluster.becomes(node, 200).await;
        }
    }
    let ledger = load.judge(&cluster.installation).await;
    let count = |promise| ledger.records().count(promise);
    let (not_done, unknown) = (count(Promise::NotDone), count(Promise::Unknown));
    eprintln!(
        "{} acknowledged, {not_done} not done, {unknown} unknown",
        ledger.count()
    );
    assert!(not_done > KILLS, "no node said that nothing was done");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_bad_network() {
    let seed = Seed::of_this_run();
    let postgres = Postgres::shared().unwrap();
    let proxy = Proxy::before(postgres.port(), seed.stream("network")).await;
    let url = postgres.database().unwrap();
    let url = url.replace(
        &format!(":{}/", postgres.port()),
        &format!(":{}/", proxy.port),
    );
    let cluster = Cluster::start(Installation::on_database(&url), NODES);
    let load = Load::start(&cluster, seed).await;
    let ledger = load.ledger();
    proxy.set_bad(true);
    ledger.acknowledged(ledger.count() + 500).await;
    proxy.set_bad(false);
    for node in 0..NODES {
        cluster.becomes(node, 200).await;
    }
    let ledger = load.judge(&cluster.installation).await;
    let unknown = ledger.records().count(Promise::Unknown);
    let cuts = proxy.cuts();
    eprintln!(
        "{cuts} cuts, {} acknowledged, {unknown} unknown",
        ledger.count()
    );
    assert!(cuts > 100, "the network was hardly bad");
}
