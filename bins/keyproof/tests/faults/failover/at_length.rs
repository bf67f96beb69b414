//! All other losses of a leader, which take too long for CI.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    Run,
    machine::{Disk, is_inside},
    replicated::{
        MACHINES, Replicated,
        Replication::{Asynchronous, Synchronous},
    },
};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "`cargo xtask test cluster` runs it"]
async fn what_was_acknowledged_survives_a_leader_without_a_network() {
    if !is_inside("failover::at_length::what_was_acknowledged_survives_a_leader_without_a_network")
    {
        return;
    }
    let mut run = Run::start(Synchronous).await;
    let alone = run.leader;
    run.database.machine(alone).unplug();
    run.fails_over().await;
    run.database.machine(alone).reconnect();
    run.keeps_its_promises().await;
}

/// Servers with all machines in their URL do not wait for the one that does not respond.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "`cargo xtask test cluster` runs it"]
async fn what_was_acknowledged_survives_a_silent_leader_without_a_proxy() {
    if !is_inside(
        "failover::at_length::what_was_acknowledged_survives_a_silent_leader_without_a_proxy",
    ) {
        return;
    }
    let mut run = Run::start_without_proxy().await;
    let alone = run.leader;
    run.database.machine(alone).unplug();
    run.fails_over().await;
    run.database.machine(alone).reconnect();
    run.keeps_its_promises().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "`cargo xtask test cluster` runs it"]
async fn what_was_acknowledged_survives_a_switchover() {
    if !is_inside("failover::at_length::what_was_acknowledged_survives_a_switchover") {
        return;
    }
    let mut run = Run::start(Synchronous).await;
    run.database.switch_over(run.leader);
    run.fails_over().await;
    run.keeps_its_promises().await;
}

/// Nothing is acknowledged that only one machine has.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "`cargo xtask test cluster` runs it"]
async fn nothing_is_acknowledged_without_a_standby_that_has_it() {
    if !is_inside("failover::at_length::nothing_is_acknowledged_without_a_standby_that_has_it") {
        return;
    }
    let mut run = Run::start(Synchronous).await;
    let leader = run.leader;
    let standbys = MACHINES.into_iter().filter(|number| *number != leader);
    for standby in standbys.clone() {
        run.database.kill(standby);
    }
    // A round is counted after its last answer, and these answers wait for a standby in vain.
    sleep(Duration::from_secs(25)).await;
    let before = run.load.ledger().count();
    let add = ["instance", "add", "alone"];
    let added = run.cluster.installation.keyproof(&add).output().unwrap();
    assert!(!added.status.success(), "{added:?}");
    sleep(Duration::from_secs(5)).await;
    assert_eq!(run.load.ledger().count(), before);
    for standby in standbys.clone() {
        run.database.bring_up(standby);
    }
    run.goes_on(50).await;
    run.database.convalesce();
    // The leader, which had waited, may be killed too.
    run.database.kill(leader);
    run.fails_over().await;
    run.database.bring_up(leader);
    run.keeps_its_promises().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "`cargo xtask test cluster` runs it"]
async fn what_was_acknowledged_survives_a_leader_whose_disk_is_full() {
    if !is_inside("failover::at_length::what_was_acknowledged_survives_a_leader_whose_disk_is_full")
    {
        return;
    }
    let url = Replicated::url();
    let run = Run::start_on(Synchronous, Disk::SMALL, &url).await;
    let ledger = run.load.ledger();
    let failures = ledger.failures();
    let ballast = run.database.machine(run.leader).fill_disk();
    ledger.failed(failures + 20).await;
    ballast.remove();
    run.goes_on(50).await;
    run.keeps_its_promises().await;
}

/// The leader continues for a while after the others have elected another one. What it acknowledges then is lost. `/readyz` warns
/// of this.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "`cargo xtask test cluster` runs it"]
async fn what_was_acknowledged_can_be_lost_with_asynchronous_replication() {
    if !is_inside(
        "failover::at_length::what_was_acknowledged_can_be_lost_with_asynchronous_replication",
    ) {
        return;
    }
    let mut run = Run::start(Asynchronous).await;
    let alone = run.leader;
    for other in MACHINES.into_iter().filter(|other| *other != alone) {
        run.database.machine(alone).cut_off_from(other);
    }
    // It answers its clients as long as it believes that it is the leader.
    run.goes_on(50).await;
    run.fails_over().await;
    run.database.machine(alone).reconnect();
    // So an operator is warned, as soon as a server has checked.
    run.is_unsafe().await;
    let lost = run.losses();
    assert!(!lost.is_empty(), "nothing was lost");
    eprintln!(
        "{} changes that were acknowledged are lost, such as {:?}",
        lost.len(),
        lost[0]
    );
}
