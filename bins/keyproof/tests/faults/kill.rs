//! The server is killed under load, again and again.

use crate::{
    client::Fleet, installation::Installation, ledger::Promise, load::Load, node::Node, seed::Seed,
};

const KILLS: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_fifty_kills() {
    let seed = Seed::of_this_run();
    let installation = Installation::on_sqlite();
    let serve = || Node::start(installation.keyproof(&["serve"]));
    let mut node = serve();
    let fleet = Fleet::new([node.address]);
    let load = Load::start(&installation, &fleet, seed).await;
    let mut faults = seed.stream("faults");
    for _ in 0..KILLS {
        let more = faults.u64(1..100);
        load.ledger()
            .acknowledged(load.ledger().count() + more)
            .await;
        fleet.down(0);
        drop(node);
        node = serve();
        fleet.up(0, node.address);
    }
    let ledger = load.judge(&installation).await;
    let unknown = ledger.records().count(Promise::Unknown);
    eprintln!("{} acknowledged, {unknown} unknown", ledger.count());
    assert!(unknown > KILLS / 2, "it was killed while nobody asked");
}
