//! How many records there are, as the server knows it.

use keyproof_store::Engine;

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
