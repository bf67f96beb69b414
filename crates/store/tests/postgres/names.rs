//! The ids of batches are deleted.

use keyproof_store::Engine;

use super::database::{Database, commit, insert, number, until};

async fn names(back_door: &tokio_postgres::Client) -> i64 {
    number(back_door, "SELECT count(*) FROM keyproof_commits").await
}

#[tokio::test]
async fn ids_that_were_answered_are_deleted_many_at_a_time_and_at_the_end() {
    let database = Database::new();
    let engine = database.open().await;
    let back_door = database.back_door().await;
    for at in 0..600 {
        commit(&engine, [insert(&format!("a{at}"), "a")])
            .await
            .unwrap();
    }
    until(async || names(&back_door).await < 600).await;
    engine.close().await;
    assert_eq!(names(&back_door).await, 0);
}

#[tokio::test]
async fn ids_that_nobody_deletes_are_deleted_when_they_are_old() {
    let database = Database::new();
    let engine = database.open().await;
    let back_door = database.back_door().await;
    let left = "INSERT INTO keyproof_commits (id, applied, at) VALUES
        ('\\x01', true, now() - INTERVAL '25 hours'), ('\\x02', false, now() - INTERVAL '25 hours'),
        ('\\x03', true, now() - INTERVAL '23 hours'), ('\\x04', false, now() - INTERVAL '23 hours')";
    back_door.batch_execute(left).await.unwrap();
    commit(&engine, [insert("a", "a")]).await.unwrap();
    engine.close().await;
    assert_eq!(names(&back_door).await, 2);
}
