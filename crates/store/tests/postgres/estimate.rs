//! Queries about the server itself: the number of records, and the time.

use std::time::{Duration, SystemTime};

use keyproof_store::{Engine, Timestamp};

use super::database::{Database, commit, insert};

#[tokio::test]
async fn an_estimate_is_of_the_servers_last_look_at_the_table() {
    let database = Database::new();
    let engine = database.open().await;
    let entries = ["a", "b", "c"].map(|name| insert(name, "x"));
    assert_eq!(commit(&engine, entries).await, Ok(()));
    assert_eq!(engine.estimate().await, Ok(None), "it has not looked yet");
    let analyze = "ANALYZE keyproof_records";
    database
        .back_door()
        .await
        .batch_execute(analyze)
        .await
        .unwrap();
    assert_eq!(engine.estimate().await, Ok(Some(3)));
}

#[tokio::test]
async fn the_time_is_that_of_the_servers_clock() {
    let database = Database::new();
    let engine = database.open().await;
    let ours = || Timestamp::try_from(SystemTime::now()).unwrap();
    // Whole milliseconds, rounded: one more either way.
    let one = Duration::from_millis(1);
    let before = ours().saturating_sub(one);
    let theirs = engine.server_time().await.unwrap().unwrap();
    let after = ours().saturating_add(one);
    assert!(
        before <= theirs && theirs <= after,
        "{before:?} {theirs:?} {after:?}"
    );
}
