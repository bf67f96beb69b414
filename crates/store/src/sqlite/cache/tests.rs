use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::{
    CommitError, Engine, ReadPlan, SystemEntropy, Version,
    sqlite::{SqliteEngine, SqliteOptions},
};

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

fn key(name: &str) -> Key {
    Key::new("case", [name])
}

fn row(body: &str, expires_at: Option<Timestamp>) -> Row {
    Row {
        version: Version::random(&SystemEntropy::new()),
        body: body.into(),
        expires_at,
    }
}

fn changes(entries: impl IntoIterator<Item = (Key, Change)>) -> Changes {
    Changes::new(entries, NOW, &SystemEntropy::new()).unwrap()
}

async fn commit(engine: &SqliteEngine, name: &str, change: Change) {
    engine.commit(changes([(key(name), change)])).await.unwrap();
}

async fn read(engine: &SqliteEngine, name: &str) -> Option<Row> {
    let keys = [key(name)];
    engine.get_many(&keys, NOW).await.unwrap().pop().unwrap()
}

/// The cached row, if it is current.
fn kept(engine: &SqliteEngine, name: &str, now: Timestamp) -> Option<Option<Row>> {
    engine.cache.get_many(&[key(name)], now)?.pop()
}

fn engines() -> (TempDir, [SqliteEngine; 2]) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let open = || SqliteEngine::open(&path, &SqliteOptions::default()).unwrap();
    let engines = [open(), open()];
    (folder, engines)
}

#[tokio::test]
async fn what_was_read_is_kept_until_anybody_else_commits() {
    let (_folder, [ours, theirs]) = engines();
    let first = row("1", None);
    commit(&theirs, "a", Change::Insert(first.clone())).await;
    assert_eq!(kept(&ours, "a", NOW), None);
    assert_eq!(read(&ours, "a").await, Some(first.clone()));
    assert_eq!(kept(&ours, "a", NOW), Some(Some(first.clone())));
    let second = row("2", None);
    let at = first.version;
    let row = second.clone();
    commit(&theirs, "a", Change::Replace { at, row }).await;
    assert_eq!(kept(&ours, "a", NOW), None);
    assert_eq!(read(&ours, "a").await, Some(second));
    // One commit of theirs, then one of ours: the writer knows only ours.
    commit(&theirs, "b", Change::Insert(first.clone())).await;
    commit(&ours, "c", Change::Insert(first.clone())).await;
    assert_eq!(kept(&ours, "a", NOW), None);
    assert_eq!(kept(&ours, "b", NOW), None);
    assert_eq!(read(&ours, "b").await, Some(first));
}

#[tokio::test]
async fn commits_of_the_engine_itself_move_on_what_is_kept() {
    let (_folder, [ours, _theirs]) = engines();
    let (a, b) = (row("a", None), row("b", None));
    commit(&ours, "a", Change::Insert(a.clone())).await;
    assert_eq!(kept(&ours, "a", NOW), Some(Some(a.clone())));
    assert_eq!(read(&ours, "b").await, None);
    assert_eq!(kept(&ours, "b", NOW), Some(None), "absence is kept, too");
    commit(&ours, "b", Change::Insert(b.clone())).await;
    assert_eq!(kept(&ours, "a", NOW), Some(Some(a.clone())));
    assert_eq!(kept(&ours, "b", NOW), Some(Some(b.clone())));
    commit(&ours, "a", Change::Remove { at: a.version }).await;
    assert_eq!(kept(&ours, "a", NOW), Some(None));
    let resealed = "c".into();
    let at = b.version;
    commit(&ours, "b", Change::Reseal { at, body: resealed }).await;
    assert_eq!(kept(&ours, "b", NOW), None);
    assert_eq!(*read(&ours, "b").await.unwrap().body, *b"c");
    // A conflict changes nothing, and the rejected row is not cached.
    let refused = changes([(key("b"), Change::Insert(a))]);
    assert!(ours.commit(refused).await.is_err());
    assert_eq!(*kept(&ours, "b", NOW).unwrap().unwrap().body, *b"c");
    ours.close().await;
    assert!(ours.get_many(&[key("b")], NOW).await.is_err());
}

#[tokio::test]
async fn a_kept_row_expires_by_the_readers_clock() {
    let (_folder, [ours, theirs]) = engines();
    let end = NOW.saturating_add(Duration::from_secs(1));
    let row = row("a", Some(end));
    commit(&theirs, "a", Change::Insert(row.clone())).await;
    // If it has expired when it is read, it is still cached for readers at an earlier time.
    let keys = [key("a")];
    assert_eq!(ours.get_many(&keys, end).await.unwrap(), [None]);
    assert_eq!(kept(&ours, "a", NOW), Some(Some(row)));
    assert_eq!(kept(&ours, "a", end), Some(None));
}

#[tokio::test]
async fn what_was_read_of_an_earlier_state_is_not_kept() {
    let (_folder, [ours, theirs]) = engines();
    let (a, b) = (row("1", None), row("2", None));
    commit(&theirs, "a", Change::Insert(a.clone())).await;
    assert_eq!(read(&ours, "a").await, Some(a.clone()));
    let earlier = ours.cache.state().unwrap();
    let at = a.version;
    let row = b.clone();
    commit(&theirs, "a", Change::Replace { at, row }).await;
    let later = ours.cache.state().unwrap();
    assert!(later.follows(earlier) && !earlier.follows(later));
    // A slow reader of that state, before and after a fast one of the current state.
    let slow = || {
        ours.cache
            .found(earlier, [(&key("a"), Some(&a))].into_iter())
    };
    slow();
    assert_eq!(kept(&ours, "a", NOW), None);
    assert_eq!(read(&ours, "a").await, Some(b.clone()));
    slow();
    assert_eq!(kept(&ours, "a", NOW), Some(Some(b)));
}

#[tokio::test]
async fn while_the_writer_is_at_work_nobody_else_says_which_state_counts() {
    let (_folder, [ours, theirs]) = engines();
    let a = row("1", None);
    commit(&ours, "a", Change::Insert(a.clone())).await;
    let begun = ours.cache.begun();
    commit(&theirs, "b", Change::Insert(a.clone())).await;
    let state = ours.cache.state().unwrap();
    ours.cache.found(state, [(&key("b"), Some(&a))].into_iter());
    assert_eq!(kept(&ours, "b", NOW), None);
    // However the transaction ended.
    ours.cache
        .committed(begun, Ended::<std::iter::Empty<_>>::Unknown);
    assert_eq!(kept(&ours, "a", NOW), None);
    assert_eq!(read(&ours, "b").await, Some(a));
    assert!(kept(&ours, "b", NOW).is_some());
}

#[tokio::test]
async fn no_more_is_kept_than_there_is_room_for() {
    let (_folder, [ours, _theirs]) = engines();
    let state = ours.cache.state().unwrap();
    let large = row(&"x".repeat(MAX_BODY + 1), None);
    ours.cache
        .found(state, [(&key("large"), Some(&large))].into_iter());
    assert_eq!(kept(&ours, "large", NOW), None);
    let body = row(&"x".repeat(MAX_BODY), None);
    let names: Vec<_> = (0..2 * MAX_BYTES / MAX_BODY)
        .map(|number| key(&number.to_string()))
        .collect();
    for name in &names {
        ours.cache.found(state, [(name, Some(&body))].into_iter());
        // The first is read again and again.
        assert!(kept(&ours, "0", NOW).is_some());
    }
    assert!(ours.cache.kept().bytes <= MAX_BYTES);
    let held = ours
        .cache
        .kept()
        .rows
        .iter()
        .map(|(key, row)| size(key, row.as_ref()))
        .sum::<usize>();
    assert_eq!(held, ours.cache.kept().bytes);
    assert_eq!(kept(&ours, "1", NOW), None);
}

/// Commits while this thread waits, in the middle of a read.
fn commit_meanwhile(engine: &SqliteEngine, entries: impl IntoIterator<Item = (Key, Change)>) {
    let changes = changes(entries);
    let commit = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(engine.commit(changes)).unwrap();
    };
    std::thread::scope(|scope| scope.spawn(commit).join().unwrap());
}

fn replace(name: &str, at: &Row, row: &Row) -> (Key, Change) {
    let (at, row) = (at.version, row.clone());
    (key(name), Change::Replace { at, row })
}

/// With one plan, reads `a`, has `committer` replace `a` and `b` by second-generation rows, and reads `b`.
async fn read_across_a_commit(
    engine: &Arc<SqliteEngine>,
    committer: &Arc<SqliteEngine>,
    entries: Vec<(Key, Change)>,
) -> [Vec<u8>; 2] {
    let (committer, entries) = (Arc::clone(committer), Mutex::new(Some(entries)));
    let plan = ReadPlan::new([key("a")]).then(move |_| {
        if let Some(entries) = entries.lock().unwrap().take() {
            commit_meanwhile(&committer, entries);
        }
        Ok(vec![key("b")])
    });
    let reading = engine.read(Reading::new(plan, NOW), NOW).await.unwrap();
    let found = reading.into_snapshot().unwrap();
    ["a", "b"].map(|name| {
        let raw = found.raw(&key(name)).unwrap().unwrap();
        raw.json().to_vec()
    })
}

/// Cached rows and rows of a file state are never mixed with those of another state, and rows from a snapshot are not
/// cached for the state after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_reads_one_state_whoever_commits_between_its_rounds() {
    for (is_ours, is_kept) in [(true, true), (true, false), (false, true), (false, false)] {
        let (_folder, engines) = engines();
        let [ours, theirs] = engines.map(Arc::new);
        let first = row("first", None);
        commit(&ours, "a", Change::Insert(first.clone())).await;
        commit(&ours, "b", Change::Insert(first.clone())).await;
        if !is_kept {
            ours.cache.kept().forget();
        }
        let second = row("second", None);
        let entries = ["a", "b"].map(|name| replace(name, &first, &second));
        let committer = if is_ours { &ours } else { &theirs };
        let [a, b] = read_across_a_commit(&ours, committer, entries.to_vec()).await;
        assert_eq!(a, b, "by us: {is_ours}, kept: {is_kept}");
        for name in ["a", "b"] {
            for _ in 0..2 {
                let found = read(&ours, name).await;
                assert_eq!(
                    found.as_ref(),
                    Some(&second),
                    "by us: {is_ours}, kept: {is_kept}"
                );
            }
        }
    }
}

/// Two commits since the writer began: one is its own, the other is unknown to it.
#[tokio::test]
async fn what_others_commit_right_behind_the_writer_is_not_taken_for_its_own() {
    let (_folder, [ours, theirs]) = engines();
    let (first, second) = (row("1", None), row("2", None));
    commit(&ours, "a", Change::Insert(first.clone())).await;
    let begun = ours.cache.begun();
    // Stands for the writer's own commit, followed by another process's.
    let own = changes([(key("b"), Change::Insert(first.clone()))]);
    theirs.commit(own.clone()).await.unwrap();
    let (_, change) = replace("a", &first, &second);
    commit(&theirs, "a", change).await;
    ours.cache
        .committed(begun, Ended::Changed(std::iter::once(&own)));
    assert_eq!(kept(&ours, "a", NOW), None);
    assert_eq!(read(&ours, "a").await, Some(second));
}

/// One commit since the writer began, which is not its own: the writer wrote nothing.
#[tokio::test]
async fn what_others_commit_behind_a_writer_that_wrote_nothing_is_not_taken_for_its_own() {
    let (_folder, [ours, theirs]) = engines();
    let (first, second) = (row("1", None), row("2", None));
    commit(&ours, "a", Change::Insert(first.clone())).await;
    let begun = ours.cache.begun();
    let (_, change) = replace("a", &first, &second);
    commit(&theirs, "a", change).await;
    ours.cache
        .committed(begun, Ended::<std::iter::Empty<_>>::Unchanged);
    assert_eq!(kept(&ours, "a", NOW), None);
    assert_eq!(read(&ours, "a").await, Some(second));
}

/// Some batches of a group conflict; their rows are not stored and must not be cached.
#[tokio::test]
async fn of_a_group_only_what_was_applied_is_kept() {
    let (folder, [ours, _theirs]) = engines();
    let first = row("1", None);
    commit(&ours, "a", Change::Insert(first.clone())).await;
    let raw = Connection::open(folder.path().join("store.db")).unwrap();
    // All batches that arrive until this ends are one group, or two at most.
    raw.execute_batch("BEGIN IMMEDIATE").unwrap();
    let batches = [
        vec![(key("b"), Change::Insert(first.clone()))],
        vec![
            (key("0"), Change::Insert(row("refused", None))),
            (key("a"), Change::Insert(row("refused", None))),
        ],
        vec![(key("c"), Change::Insert(first.clone()))],
    ];
    let mut commits = batches.map(|entries| ours.commit(changes(entries)));
    for commit in &mut commits {
        // Queued at the first poll.
        assert!(futures_poll_once(commit).await.is_none());
    }
    raw.execute_batch("ROLLBACK").unwrap();
    let [b, refused, c] = commits;
    assert_eq!(b.await, Ok(()));
    assert_eq!(refused.await, Err(CommitError::Conflict { entry: 1 }));
    assert_eq!(c.await, Ok(()));
    assert_eq!(kept(&ours, "c", NOW), Some(Some(first.clone())));
    for (name, there) in [("0", None), ("a", Some(&first)), ("b", Some(&first))] {
        assert_eq!(read(&ours, name).await.as_ref(), there, "{name}");
    }
}

async fn futures_poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|cx| match std::pin::Pin::new(&mut *future).poll(cx) {
        std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}

/// A commit that failed, or whose outcome is unknown, invalidates the cache.
#[tokio::test]
async fn after_a_commit_that_failed_everything_is_read_anew() {
    let (_folder, [ours, theirs]) = engines();
    let first = row("1", None);
    commit(&ours, "a", Change::Insert(first.clone())).await;
    let begun = ours.cache.begun();
    // The writer's own commit, which was reported as failed.
    let (_, change) = replace("a", &first, &row("2", None));
    commit(&theirs, "a", change).await;
    ours.cache
        .committed(begun, Ended::<std::iter::Empty<_>>::Unknown);
    assert_eq!(ours.cache.kept().rows.len(), 0);
    assert_eq!(*read(&ours, "a").await.unwrap().body, *b"2");
}

/// A row that is too large for the cache replaces a cached one.
#[tokio::test]
async fn what_is_not_kept_leaves_nothing_older_in_its_place() {
    let (_folder, [ours, _theirs]) = engines();
    let short = row("short", None);
    commit(&ours, "a", Change::Insert(short.clone())).await;
    let long = row(&"x".repeat(MAX_BODY + 1), None);
    let (_, change) = replace("a", &short, &long);
    commit(&ours, "a", change).await;
    assert_eq!(kept(&ours, "a", NOW), None);
    assert_eq!(read(&ours, "a").await, Some(long));
}

/// Programs unaware of this one copy the log back, empty it and restart it, and rewrite the file.
#[tokio::test]
async fn whatever_becomes_of_the_log_the_next_commit_of_others_is_seen() {
    let (folder, [ours, _theirs]) = engines();
    let raw = Connection::open(folder.path().join("store.db")).unwrap();
    raw.busy_timeout(Duration::from_secs(60)).unwrap();
    commit(&ours, "a", Change::Insert(row("0", None))).await;
    let housekeeping = [
        "",
        "PRAGMA wal_checkpoint(PASSIVE)",
        "PRAGMA wal_checkpoint(FULL)",
        "PRAGMA wal_checkpoint(RESTART)",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "VACUUM",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "REINDEX",
        "ANALYZE",
    ];
    let mut bodies = (1..).map(|number: u32| number.to_string());
    for sql in housekeeping
        .into_iter()
        .cycle()
        .take(3 * housekeeping.len())
    {
        let kept_before = read(&ours, "a").await;
        raw.execute_batch(sql).unwrap();
        assert_eq!(read(&ours, "a").await, kept_before, "after {sql}");
        let body = bodies.next().unwrap();
        let changed = raw.execute("UPDATE records SET body = ?1", [body.as_bytes()]);
        assert_eq!(changed, Ok(1));
        assert_eq!(
            *read(&ours, "a").await.unwrap().body,
            *body.as_bytes(),
            "after {sql}"
        );
        // Likewise when the writer's own commit restarts the log.
        raw.execute_batch(sql).unwrap();
        let before = read(&ours, "a").await.unwrap();
        let after = row(&bodies.next().unwrap(), None);
        let (_, change) = replace("a", &before, &after);
        commit(&ours, "a", change).await;
        assert_eq!(
            kept(&ours, "a", NOW),
            Some(Some(after.clone())),
            "after {sql}"
        );
        assert_eq!(read(&ours, "a").await, Some(after), "after {sql}");
    }
}

/// After a store is closed and opened again, the index is another file.
#[tokio::test]
async fn a_store_that_is_opened_again_goes_by_the_index_of_now() {
    let (folder, engines) = engines();
    let path = folder.path().join("store.db");
    let first = row("1", None);
    commit(&engines[0], "a", Change::Insert(first.clone())).await;
    // The log and its index are deleted with the last connection.
    drop(engines);
    let ours = SqliteEngine::open(&path, &SqliteOptions::default()).unwrap();
    assert_eq!(read(&ours, "a").await, Some(first.clone()));
    let raw = Connection::open(&path).unwrap();
    let changed = raw.execute("UPDATE records SET body = ?1", [b"2".as_slice()]);
    assert_eq!(changed, Ok(1));
    assert_eq!(*read(&ours, "a").await.unwrap().body, *b"2");
}

fn all() -> Prefix {
    Prefix::collection("case")
}

async fn list(engine: &SqliteEngine) -> Vec<(Key, Row)> {
    engine.scan(&all(), None, 9, NOW).await.unwrap()
}

/// The cached list, if it is current.
fn kept_list(engine: &SqliteEngine) -> Option<Vec<(Key, Row)>> {
    engine.cache.scan(&all(), None, 9, NOW)
}

#[tokio::test]
async fn a_list_that_was_read_whole_is_kept_until_anybody_changes_it() {
    let (_folder, [ours, theirs]) = engines();
    let (a, b) = (row("1", None), row("2", None));
    assert!(list(&ours).await.is_empty());
    assert_eq!(kept_list(&ours), Some(Vec::new()));
    commit(&ours, "a", Change::Insert(a.clone())).await;
    assert_eq!(kept_list(&ours), None);
    let with_a = [(key("a"), a.clone())];
    assert_eq!(list(&ours).await, with_a);
    assert_eq!(kept_list(&ours).as_deref(), Some(&with_a[..]));
    // A change elsewhere, or one that changes nothing, leaves it cached.
    let at = a.version;
    let elsewhere = [
        (key("a"), Change::Require { at }),
        (Key::new("other", ["a"]), Change::Insert(b.clone())),
    ];
    ours.commit(changes(elsewhere)).await.unwrap();
    assert_eq!(kept_list(&ours).as_deref(), Some(&with_a[..]));
    let changes = [
        Change::Replace { at, row: b.clone() },
        Change::Reseal {
            at: b.version,
            body: "3".into(),
        },
        Change::Remove { at: b.version },
    ];
    for (change, bodies) in changes.into_iter().zip([&["2"][..], &["3"], &[]]) {
        assert!(kept_list(&ours).is_some(), "before {change:?}");
        commit(&ours, "a", change.clone()).await;
        assert_eq!(kept_list(&ours), None, "after {change:?}");
        let now = list(&ours).await;
        let now = now.iter().map(|(_, row)| &*row.body);
        let expected = bodies.iter().map(|body| body.as_bytes());
        assert!(now.eq(expected), "after {change:?}");
    }
    // A commit by another process invalidates everything, whatever it changes.
    commit(&theirs, "a", Change::Insert(a.clone())).await;
    assert_eq!(kept_list(&ours), None);
    assert_eq!(list(&ours).await, with_a);
}

#[tokio::test]
async fn a_list_that_may_go_on_is_not_kept() {
    let (_folder, [ours, _theirs]) = engines();
    for name in ["a", "b"] {
        commit(&ours, name, Change::Insert(row(name, None))).await;
    }
    for (after, limit) in [(None, 1), (None, 2), (Some("a"), 9)] {
        let after = after.map(key);
        let page = ours.scan(&all(), after.as_ref(), limit, NOW).await;
        assert!(!page.unwrap().is_empty());
        assert_eq!(kept_list(&ours), None, "{after:?} {limit}");
    }
    let page = ours.scan(&all(), None, 3, NOW).await;
    assert_eq!(kept_list(&ours), Some(page.unwrap()));
}

#[tokio::test]
async fn a_list_that_was_read_of_an_earlier_state_is_not_kept() {
    let (_folder, [ours, theirs]) = engines();
    list(&ours).await;
    let earlier = ours.cache.state().unwrap();
    commit(&theirs, "a", Change::Insert(row("1", None))).await;
    // A slow reader of that state, before and after a fast one of the current state.
    let slow = || ours.cache.found_all(earlier, all(), Vec::new(), NOW);
    slow();
    assert_eq!(kept_list(&ours), None);
    let found = list(&ours).await;
    slow();
    assert_eq!(kept_list(&ours), Some(found));
}

/// Records that a fence has moved away are not served from memory either.
#[tokio::test]
async fn a_fence_ends_what_is_kept() {
    let (_folder, [ours, theirs]) = engines();
    commit(&ours, "a", Change::Insert(row("1", None))).await;
    assert!(kept(&ours, "a", NOW).is_some());
    list(&ours).await;
    theirs.fence().await.unwrap();
    let found = ours.get_many(&[key("a")], NOW).await;
    assert_eq!(found, Err(crate::EngineError::Relocated));
    let listed = ours.scan(&all(), None, 9, NOW).await;
    assert_eq!(listed, Err(crate::EngineError::Relocated));
}
