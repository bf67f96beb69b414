//! One example of each kind of loss.

use super::{
    Run,
    machine::is_inside,
    replicated::{MACHINES, Replication::Synchronous},
};

/// Servers with all machines in their URL find the next leader themselves.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "`cargo xtask test failover` runs it"]
async fn what_was_acknowledged_survives_a_kill_of_the_leader() {
    if !is_inside("failover::in_ci::what_was_acknowledged_survives_a_kill_of_the_leader") {
        return;
    }
    let mut run = Run::start_without_proxy().await;
    let killed = run.leader;
    run.database.kill(killed);
    run.fails_over().await;
    run.database.bring_up(killed);
    run.keeps_its_promises().await;
}

/// The former leader does not know of its successor, and acts as leader until it checks.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "`cargo xtask test failover` runs it"]
async fn what_was_acknowledged_survives_a_leader_that_comes_back_as_a_zombie() {
    if !is_inside(
        "failover::in_ci::what_was_acknowledged_survives_a_leader_that_comes_back_as_a_zombie",
    ) {
        return;
    }
    let mut run = Run::start(Synchronous).await;
    let frozen = run.leader;
    run.database.freeze(frozen);
    run.fails_over().await;
    run.database.thaw(frozen);
    run.goes_on(50).await;
    run.keeps_its_promises().await;
}

/// The clients can still reach it, but the other machines cannot.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "`cargo xtask test failover` runs it"]
async fn what_was_acknowledged_survives_a_leader_that_is_cut_off_from_the_others() {
    if !is_inside(
        "failover::in_ci::what_was_acknowledged_survives_a_leader_that_is_cut_off_from_the_others",
    ) {
        return;
    }
    let mut run = Run::start(Synchronous).await;
    let alone = run.leader;
    for other in MACHINES.into_iter().filter(|other| *other != alone) {
        run.database.machine(alone).cut_off_from(other);
    }
    run.fails_over().await;
    run.database.machine(alone).reconnect();
    run.keeps_its_promises().await;
}
