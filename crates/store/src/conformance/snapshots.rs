//! Reading a whole store, and how much of it at once.

use super::{
    Database, NOW, commit, expiring, fill, insert, key, remove, replace, reseal, row, run,
};
use crate::{
    CommitError, Engine, EngineError, EngineSnapshot, Key, NotApplied, PAGE_ROWS, Row,
    TallyBuilder, Timestamp,
};

/// A snapshot has everything that was stored when it was taken, including expired records, and nothing committed later.
pub fn a_snapshot_is_of_one_state(database: &dyn Database) {
    run(async {
        let nodes = [database.open().await, database.open().await];
        let engine = &*nodes[0];
        assert_eq!(all(&mut *taken(engine).await, 1 << 20).await, []);
        let mut rows: Vec<_> = (0..50)
            .map(|number| (key(&format!("{number:02}")), row("before")))
            .collect();
        rows.push((key("expired"), expiring("gone", NOW)));
        rows.push((key("never there"), expiring("null", Timestamp::EPOCH)));
        fill(engine, &rows).await;
        rows.sort_by(|a, b| a.0.cmp(&b.0));

        let mut snapshot = taken(engine).await;
        let first = snapshot.page(None, 1).await.expect("a page");
        assert_eq!(first, rows[..1], "a page has at least one record");
        let replaced = row("after");
        let ours = [
            insert(&key("new"), &row("after")),
            replace(&rows[3].0, &rows[3].1, &replaced),
        ];
        let theirs = [
            remove(&rows[5].0, &rows[5].1),
            reseal(&rows[7].0, &rows[7].1, "resealed"),
        ];
        assert_eq!(commit(engine, ours, NOW).await, Ok(()));
        assert_eq!(commit(&*nodes[1], theirs, NOW).await, Ok(()));

        for bytes in [1, 100, 1 << 20] {
            assert_eq!(all(&mut *snapshot, bytes).await, rows, "as it was");
        }
        let after = all(&mut *taken(engine).await, 1 << 20).await;
        assert_eq!(after.len(), rows.len(), "one went and one came");
        assert!(after.contains(&(rows[3].0.clone(), replaced)));
        assert!(!after.iter().any(|(key, _)| *key == rows[5].0));
    });
}

/// A page exceeds the requested size by one record at most, and is limited in its number of records.
pub fn pages_of_a_snapshot_are_bounded(database: &dyn Database) {
    run(async {
        let engine = database.open().await;
        let large = "x".repeat(100_000);
        let mut rows: Vec<_> = (0..40)
            .map(|number| (key(&format!("large {number:02}")), row(&large)))
            .collect();
        rows.extend((0..PAGE_ROWS + 10).map(|number| (key(&format!("{number:05}")), row(""))));
        fill(&*engine, &rows[..20]).await;
        fill(&*engine, &rows[20..40]).await;
        fill(&*engine, &rows[40..]).await;
        rows.sort_by(|a, b| a.0.cmp(&b.0));

        let mut snapshot = taken(&*engine).await;
        let page = snapshot.page(None, usize::MAX).await.expect("a page");
        assert_eq!(page, rows[..PAGE_ROWS]);
        let before = rows[PAGE_ROWS + 9].0.clone();
        let page = snapshot.page(Some(&before), 250_000).await.expect("a page");
        assert_eq!(page, rows[PAGE_ROWS + 10..][..3]);
        let last = rows[rows.len() - 1].0.clone();
        assert_eq!(snapshot.page(Some(&last), 1).await, Ok(vec![]));

        let (mut counted, mut expected) = (TallyBuilder::new(), TallyBuilder::new());
        for (key, row) in all(&mut *snapshot, 1 << 20).await {
            counted.add(&key, &row);
        }
        for (key, row) in &rows {
            expected.add(key, row);
        }
        assert_eq!(counted.finish(), expected.finish());
    });
}

/// If an engine estimates the number of records, the estimate covers all of them.
pub fn an_estimate_is_of_all_that_is_stored(database: &dyn Database) {
    run(async {
        let engine = database.open().await;
        // So few that no server analyses its table meanwhile.
        let mut rows: Vec<_> = (0..30)
            .map(|number| (key(&format!("{number:02}")), row("stays")))
            .collect();
        rows.push((key("expired"), expiring("gone", NOW)));
        fill(&*engine, &rows).await;
        let estimate = engine.estimate().await.expect("an answer");
        assert!(estimate.is_none_or(|count| count == 31), "{estimate:?}");
        engine.close().await;
        let estimate = engine.estimate().await;
        assert!(
            matches!(estimate, Err(EngineError::Closed) | Ok(None)),
            "{estimate:?}"
        );
    });
}

/// After the records were moved, no node reads or writes any, and a snapshot has all that were acknowledged.
pub fn a_fenced_store_serves_nobody(database: &dyn Database) {
    run(async {
        let nodes = [database.open().await, database.open().await];
        let rows: Vec<_> = (0..20)
            .map(|number| (key(&format!("{number:02}")), row("kept")))
            .collect();
        fill(&*nodes[0], &rows[..10]).await;
        fill(&*nodes[1], &rows[10..]).await;
        for fencing in [1, 1, 0] {
            assert_eq!(nodes[fencing].fence().await, Ok(()));
            for engine in &nodes {
                let read = engine.get_many(&[rows[0].0.clone()], NOW).await;
                assert_eq!(read, Err(EngineError::Relocated));
                let all = crate::Prefix::all();
                let scanned = engine.scan(&all, None, 10, NOW).await;
                assert_eq!(scanned, Err(EngineError::Relocated));
                let expired = engine.expired(NOW..=NOW, 10).await;
                assert_eq!(expired, Err(EngineError::Relocated));
                let moved = NotApplied::from(EngineError::Relocated);
                let moved = Err(CommitError::NotApplied(moved));
                let one = vec![insert(&key("new"), &row("lost"))];
                let other = insert(&key("newer"), &row("lost"));
                for entries in [one.clone(), [one, vec![other]].concat()] {
                    assert_eq!(commit(&**engine, entries, NOW).await, moved);
                }
                assert_eq!(all_of(&**engine).await, rows);
            }
        }
    });
}

/// Compacting changes neither the records nor their order.
pub fn compacting_changes_nothing(database: &dyn Database) {
    run(async {
        let nodes = [database.open().await, database.open().await];
        let rows: Vec<_> = (0..100)
            .map(|number| (key(&format!("{number:03}")), row(&"x".repeat(10_000))))
            .collect();
        fill(&*nodes[0], &rows).await;
        let removed = rows[..50].iter().map(|(key, row)| remove(key, row));
        assert_eq!(commit(&*nodes[1], removed, NOW).await, Ok(()));
        assert_eq!(nodes[0].compact().await, Ok(()));
        for engine in &nodes {
            assert_eq!(all_of(&**engine).await, rows[50..]);
            let (name, row) = (key("after"), row("after"));
            for entry in [insert(&name, &row), remove(&name, &row)] {
                assert_eq!(commit(&**engine, [entry], NOW).await, Ok(()));
            }
        }
    });
}

async fn all_of(engine: &dyn Engine) -> Vec<(Key, Row)> {
    all(&mut *taken(engine).await, 1 << 20).await
}

async fn taken(engine: &dyn Engine) -> Box<dyn EngineSnapshot> {
    engine.snapshot().await.expect("a snapshot")
}

async fn all(snapshot: &mut dyn EngineSnapshot, bytes: usize) -> Vec<(Key, Row)> {
    let mut rows = Vec::<(Key, Row)>::new();
    loop {
        let after = rows.last().map(|(key, _)| key.clone());
        let page = snapshot.page(after.as_ref(), bytes).await.expect("a page");
        if page.is_empty() {
            return rows;
        }
        rows.extend(page);
    }
}
