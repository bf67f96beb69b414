//! Tests specific to the embedded engine: a file, a schema, other processes, a queue.
#![cfg(feature = "sqlite")]
#![expect(clippy::expect_used, reason = "tests may")]

mod rebuild;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use keyproof_store::{
    Change, Changes, CommitError, CommitObserver, Engine, EngineError, Key, Migration, NotApplied,
    OpenError, Prefix, Row, SystemEntropy, Timestamp, Version,
    memory::MemoryEngine,
    sqlite::{SqliteEngine, SqliteOptions},
};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::task::JoinSet;

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

fn folder() -> TempDir {
    TempDir::new().expect("a temporary directory")
}

/// The place of a store, and the directory that is deleted with the test.
fn place() -> (TempDir, PathBuf) {
    let folder = folder();
    let path = folder.path().join("store.db");
    (folder, path)
}

fn open(path: &Path) -> Result<SqliteEngine, OpenError> {
    SqliteEngine::open(path, &SqliteOptions::default())
}

/// Opens the store from several threads at once, each of which waits for the others as long as it takes.
fn open_at_once(path: &Path, count: usize) -> Vec<SqliteEngine> {
    let mut options = SqliteOptions::default();
    options.busy_timeout = Duration::from_secs(120);
    std::thread::scope(|scope| {
        let openers: Vec<_> = (0..count)
            .map(|_| scope.spawn(|| SqliteEngine::open(path, &options)))
            .collect();
        openers
            .into_iter()
            .map(|opener| opener.join().expect("no panic").expect("one store for all"))
            .collect()
    })
}

/// A connection that has the write lock.
fn locked(path: &Path) -> Connection {
    let other = Connection::open(path).expect("the same file");
    let begun = other.execute_batch("BEGIN IMMEDIATE");
    begun.expect("nobody else writes");
    other
}

fn row(body: &str) -> Row {
    Row {
        version: Version::random(&SystemEntropy::new()),
        body: body.into(),
        expires_at: None,
    }
}

fn insert(key: &Key, body: &str) -> (Key, Change) {
    (key.clone(), Change::Insert(row(body)))
}

async fn commit(
    engine: &dyn Engine,
    entries: impl IntoIterator<Item = (Key, Change)>,
) -> Result<(), CommitError> {
    let changes = Changes::new(entries, NOW, &SystemEntropy::new());
    engine
        .commit(changes.expect("a batch within the limits"))
        .await
}

async fn put(engine: &dyn Engine, key: &Key, body: &str) {
    let inserted = commit(engine, [insert(key, body)]).await;
    inserted.expect("it is new, and nothing is in the way");
}

async fn bodies(engine: &dyn Engine) -> Vec<(Key, String)> {
    let rows = engine
        .scan(&Prefix::all(), None, usize::MAX, NOW)
        .await
        .expect("a scan");
    rows.into_iter()
        .map(|(key, row)| (key, String::from_utf8(row.body.into()).expect("text")))
        .collect()
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_can_read_what_it_creates() {
    use std::os::unix::fs::PermissionsExt;

    let folder = folder();
    let directory = folder.path().join("state/keyproof");
    let engine = open(&directory.join("store.db")).expect("a new store");
    put(&engine, &Key::new("a", ["a"]), "a").await;
    let mode = |path: &Path| fs::metadata(path).expect("it exists").permissions().mode() & 0o777;
    assert_eq!(mode(&folder.path().join("state")), 0o700);
    assert_eq!(mode(&directory), 0o700);
    for name in ["store.db", "store.db-wal", "store.db-shm"] {
        assert_eq!(mode(&directory.join(name)), 0o600, "{name}");
    }
}

#[test]
fn another_programs_file_is_refused_and_left_alone() {
    let folder = folder();
    let text = folder.path().join("text");
    fs::write(
        &text,
        "any text that is longer than the header of a database".repeat(40),
    )
    .expect("a file");
    let database = folder.path().join("database");
    Connection::open(&database)
        .and_then(|connection| {
            connection.execute_batch("CREATE TABLE theirs (x); PRAGMA user_version = 1")
        })
        .expect("a database");
    for path in [text, database] {
        let before = fs::read(&path).expect("a file");
        assert!(
            matches!(open(&path), Err(OpenError::Foreign { .. })),
            "{}",
            path.display()
        );
        assert!(
            fs::read(&path).expect("a file") == before,
            "{} changed",
            path.display()
        );
    }
}

#[tokio::test]
async fn a_schema_one_ahead_is_served_and_two_ahead_is_refused() {
    let (_folder, path) = place();
    let migration = open(&path).expect("a new store").migration();
    assert_eq!((migration.from, migration.to), (0, 2));
    let set = |schema: u32| {
        let connection = Connection::open(&path).expect("a database");
        connection
            .pragma_update(None, "user_version", schema)
            .expect("a schema");
    };
    set(3);
    let engine = open(&path).expect("the next release's schema");
    assert_eq!(engine.migration(), Migration { from: 3, to: 3 });
    put(&engine, &Key::new("a", ["a"]), "a").await;
    engine.close().await;
    set(4);
    assert_eq!(
        open(&path).expect_err("too new"),
        OpenError::NewerSchema {
            found: 4,
            newest: 3
        }
    );
    set(3);
    assert_eq!(
        bodies(&open(&path).expect("nothing was changed"))
            .await
            .len(),
        1
    );
}

#[test]
fn a_path_that_cannot_be_is_an_error() {
    let folder = folder();
    fs::write(folder.path().join("file"), "").expect("a file");
    for path in ["file/store.db", "."] {
        let error = open(&folder.path().join(path)).expect_err("no file can be there");
        assert!(
            matches!(error, OpenError::Engine(EngineError::Io { .. })),
            "{path}: {error:?}"
        );
    }
}

#[tokio::test]
async fn many_may_create_one_store_at_once() {
    for _ in 0..10 {
        let folder = folder();
        let path = folder.path().join("new/store.db");
        let engines = open_at_once(&path, 8);
        for (at, engine) in engines.iter().enumerate() {
            put(engine, &Key::new("a", [format!("{at}")]), "a").await;
        }
        for engine in &engines {
            assert_eq!(bodies(engine).await.len(), 8, "each sees what all wrote");
        }
    }
}

#[tokio::test]
async fn waits_for_another_writer_and_then_says_busy() {
    let (_folder, path) = place();
    let mut options = SqliteOptions::default();
    options.busy_timeout = Duration::from_millis(50);
    let engine = SqliteEngine::open(&path, &options).expect("a new store");
    let other = locked(&path);

    let (a, b) = (Key::new("a", ["a"]), Key::new("a", ["b"]));
    let busy = commit(&engine, [insert(&a, "a")]).await;
    assert!(
        matches!(
            busy,
            Err(CommitError::NotApplied(NotApplied::Engine(
                EngineError::Busy { .. }
            )))
        ),
        "{busy:?}"
    );
    assert!(
        matches!(engine.ready().await, Err(EngineError::Busy { .. })),
        "it cannot write"
    );
    assert_eq!(bodies(&engine).await, [], "but read");

    other.execute_batch("COMMIT").expect("nothing was written");
    assert_eq!(
        engine.ready().await,
        Ok(()),
        "finds out by itself that it can again"
    );
    put(&engine, &b, "b").await;
    assert_eq!(bodies(&engine).await, [(b, "b".to_owned())]);
}

/// Another process has the lock, such as a command suspended during a change. Nothing is written here, so only `ready`
/// can notice.
#[tokio::test]
async fn a_store_whose_lock_somebody_keeps_is_not_ready_long_before_a_change_fails_of_it() {
    let (_folder, path) = place();
    let mut options = SqliteOptions::default();
    options.busy_timeout = Duration::from_secs(600);
    let engine = SqliteEngine::open(&path, &options).expect("a new store");
    assert_eq!(engine.ready().await, Ok(()));
    for _ in 0..2 {
        let other = locked(&path);
        let ready = engine.ready().await;
        assert!(matches!(ready, Err(EngineError::Busy { .. })), "{ready:?}");
        assert_eq!(bodies(&engine).await, [], "it can be read from");
        other.execute_batch("COMMIT").expect("nothing was written");
        assert_eq!(engine.ready().await, Ok(()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn judges_by_what_the_writer_that_it_waited_for_left() {
    let (_folder, path) = place();
    let engine = Arc::new(open(&path).expect("a new store"));
    let (a, b) = (Key::new("a", ["a"]), Key::new("a", ["b"]));
    let kept = row("kept");
    let version = kept.version;
    commit(
        &*engine,
        [(a.clone(), Change::Insert(kept)), insert(&b, "old")],
    )
    .await
    .expect("they are new");

    let other = locked(&path);
    other
        .execute("DELETE FROM records WHERE key = ?1", [b.as_bytes()])
        .expect("it is there");
    let waiting = tokio::spawn({
        let (engine, entries) = (
            engine.clone(),
            [(a, Change::Require { at: version }), insert(&b, "new")],
        );
        async move { commit(&*engine, entries).await }
    });
    // Long enough to begin to wait; the outcome does not depend on it.
    tokio::time::sleep(Duration::from_millis(100)).await;
    other
        .execute_batch("COMMIT")
        .expect("nothing is in the way");
    assert_eq!(waiting.await.expect("no panic"), Ok(()));
}

#[tokio::test]
async fn closing_finishes_what_was_queued() {
    let (_folder, path) = place();
    let engine = Arc::new(open(&path).expect("a new store"));
    let mut commits = JoinSet::new();
    for at in 0..2_000 {
        let engine = engine.clone();
        commits.spawn(async move {
            let key = Key::new("a", [format!("{at:04}")]);
            (key.clone(), commit(&*engine, [insert(&key, "a")]).await)
        });
    }
    // Some commits begin; whichever do, the answers and the file must agree.
    tokio::task::yield_now().await;
    engine.close().await;
    let mut acknowledged = Vec::new();
    for (key, outcome) in commits.join_all().await {
        match outcome {
            Ok(()) => acknowledged.push((key, "a".to_owned())),
            closed => assert_eq!(
                closed,
                Err(CommitError::NotApplied(EngineError::Closed.into()))
            ),
        }
    }
    acknowledged.sort();
    assert_eq!(
        bodies(&open(&path).expect("it is closed")).await,
        acknowledged
    );
}

/// Whoever copies a store that is not in use may copy the file alone.
#[tokio::test]
async fn a_closed_store_is_one_file() {
    let folder = folder();
    let key = |at: u8| Key::new("a", [at.to_string()]);
    for at in 0..20 {
        let engine = open(&folder.path().join("store.db")).expect("it is closed");
        put(&engine, &key(at), "a").await;
        assert_eq!(bodies(&engine).await.len(), usize::from(at) + 1);
        if at % 2 == 0 {
            engine.close().await;
        }
        drop(engine);
        let left = fs::read_dir(folder.path()).expect("the folder").count();
        assert_eq!(left, 1, "after {at}");
    }
}

#[tokio::test]
async fn a_commit_whose_caller_has_gone_is_applied() {
    let (_folder, path) = place();
    let engine = open(&path).expect("a new store");
    let key = Key::new("a", ["a"]);
    let other = locked(&path);
    {
        let commit = std::pin::pin!(commit(&engine, [insert(&key, "a")]));
        // One poll queues it.
        assert!(
            futures_poll_once(commit).is_none(),
            "not done yet, for another writer has the lock"
        );
    }
    other.execute_batch("COMMIT").expect("nothing was written");
    drop(engine);
    assert_eq!(
        bodies(&open(&path).expect("it is closed")).await,
        [(key, "a".to_owned())]
    );
}

fn futures_poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

#[tokio::test]
async fn damage_is_an_error() {
    let (_folder, path) = place();
    let engine = open(&path).expect("a new store");
    Connection::open(&path)
        .and_then(|connection| {
            connection.execute("INSERT INTO records VALUES (x'63', x'00', x'00', NULL)", ())
        })
        .expect("a row that is no record");
    let scan = engine.scan(&Prefix::all(), None, 10, NOW).await;
    assert!(matches!(scan, Err(EngineError::Corrupt { .. })), "{scan:?}");
}

const CHILD: &str = "KEYPROOF_STORE_TEST_CHILD";

/// The process that the next test kills: it writes pairs of records as fast as it can, eight at a
/// time, and prints the name of each pair once it was acknowledged.
#[test]
fn child() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let engine = Arc::new(open(Path::new(&path)).expect("a store"));
        let mut writers = JoinSet::new();
        for writer in 0..8 {
            let engine = engine.clone();
            writers.spawn(async move {
                let run = Version::random(&SystemEntropy::new());
                for at in 0.. {
                    let name = format!("{run}-{writer}-{at}");
                    let entries =
                        ["left", "right"].map(|side| insert(&Key::new(side, [&name]), &name));
                    commit(&*engine, entries).await.expect("it is new");
                    // One write for the line, so that lines do not mix.
                    let line = format!("acknowledged {name}\n");
                    std::io::stdout()
                        .write_all(line.as_bytes())
                        .expect("the parent reads");
                }
            });
        }
        writers.join_all().await;
    });
}

#[tokio::test]
async fn acknowledged_writes_survive_a_kill() {
    let (_folder, path) = place();
    let mut acknowledged = Vec::new();
    for round in 0..5 {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "child", "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test again");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut names = Vec::new();
        // Killed while it writes; its output up to then is read to the end.
        for line in lines {
            let line = line.expect("text");
            if let Some(name) = line.strip_prefix("acknowledged ") {
                names.push(name.to_owned());
            }
            if names.len() == 300 {
                child.kill().expect("SIGKILL");
            }
        }
        child.wait().expect("it is gone");
        assert!(names.len() >= 300, "round {round}");
        acknowledged.extend(names);

        let engine = open(&path).expect("the file is whole");
        let side = async |side| {
            let rows = engine
                .scan(&Prefix::collection(side), None, usize::MAX, NOW)
                .await
                .expect("a scan");
            rows.into_iter()
                .map(|(_, row)| String::from_utf8(row.body.into()).expect("text"))
                .collect::<Vec<_>>()
        };
        let (left, right) = (side("left").await, side("right").await);
        assert_eq!(left, right, "no half of a batch");
        for name in &acknowledged {
            assert!(
                left.binary_search(name).is_ok(),
                "round {round}: {name} was acknowledged"
            );
        }
    }
}

/// Every group that was reported.
#[derive(Default)]
struct Groups(Mutex<Vec<Vec<Result<(), CommitError>>>>);

impl Groups {
    fn take(&self) -> Vec<Vec<Result<(), CommitError>>> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl CommitObserver for Groups {
    fn committed(&self, group: &[Result<(), CommitError>]) {
        let mut groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        groups.push(group.to_vec());
    }
}

#[tokio::test]
async fn an_observer_is_told_each_group_before_its_callers() {
    let (_folder, path) = place();
    let mut options = SqliteOptions::default();
    options.busy_timeout = Duration::ZERO;
    let engine = Arc::new(SqliteEngine::open(&path, &options).expect("a new store"));
    let groups = Arc::new(Groups::default());
    let engines: [Arc<dyn Engine>; 2] = [engine.clone(), Arc::new(MemoryEngine::new())];
    for engine in engines {
        let key = Key::new("thing", ["a"]);
        put(&*engine, &key, "unseen").await;
        engine.observe(groups.clone());
        assert_eq!(groups.take(), Vec::<Vec<_>>::new());
        let other = Key::new("thing", ["b"]);
        put(&*engine, &other, "applied").await;
        assert_eq!(groups.take(), [[Ok(())]]);
        let conflict = commit(&*engine, [insert(&other, "again")]).await;
        assert_eq!(conflict, Err(CommitError::Conflict { entry: 0 }));
        assert_eq!(groups.take(), [[conflict]]);
    }

    // All waiting batches go into few transactions; each is reported exactly once.
    let mut commits = JoinSet::new();
    for number in 0..500 {
        let engine = engine.clone();
        let key = Key::new("many", [number.to_string().as_str()]);
        commits.spawn(async move { commit(&*engine, [insert(&key, "")]).await });
    }
    commits.join_all().await;
    let told = groups.take();
    assert_eq!(told.iter().map(Vec::len).sum::<usize>(), 500);
    assert!(told.len() < 500, "{}", told.len());

    // Another process has the lock, so nothing is applied. The probe that follows is not reported as a commit.
    let writer = locked(&path);
    let refused = commit(&*engine, [insert(&Key::new("thing", ["c"]), "")]).await;
    assert!(
        matches!(refused, Err(CommitError::NotApplied(_))),
        "{refused:?}"
    );
    assert_eq!(groups.take(), [[refused]]);
    writer.execute_batch("ROLLBACK").expect("its end");
    engine.ready().await.expect("a probe that writes");
    assert_eq!(groups.take(), Vec::<Vec<_>>::new());
}

/// A change to a file of an open store, and its name.
#[cfg(unix)]
type Displacement = (&'static str, fn(&Path));

#[cfg(unix)]
fn displacements() -> [Displacement; 3] {
    [
        ("renamed", |path| {
            fs::rename(path, path.with_extension("away")).expect("a rename");
        }),
        ("deleted", |path| {
            fs::remove_file(path).expect("a deletion");
        }),
        ("replaced", |path| {
            let copy = path.with_extension("copy");
            fs::copy(path, &copy).expect("a copy");
            fs::rename(copy, path).expect("a rename");
        }),
    ]
}

#[cfg(unix)]
#[tokio::test]
async fn a_store_that_was_renamed_deleted_or_replaced_acknowledges_nothing() {
    for file in ["store.db", "store.db-wal", "store.db-shm"] {
        for (how, displace) in displacements() {
            let folder = folder();
            let engine = open(&folder.path().join("store.db")).expect("a new store");
            put(&engine, &Key::new("a", ["before"]), "a").await;
            assert_eq!(engine.ready().await, Ok(()));
            displace(&folder.path().join(file));
            for of in [1, 2] {
                let entries = (0..of).map(|at| insert(&Key::new("a", [at.to_string()]), "a"));
                let outcome = commit(&engine, entries).await;
                let Err(CommitError::NotApplied(NotApplied::Engine(EngineError::FileReplaced {
                    detail,
                }))) = outcome
                else {
                    panic!("{file} {how}: {outcome:?}")
                };
                assert!(detail.contains(&format!("{file}: ")), "{detail}");
            }
            let ready = engine.ready().await;
            assert!(
                matches!(ready, Err(EngineError::FileReplaced { .. })),
                "{ready:?}"
            );
            assert_eq!(bodies(&engine).await.len(), 1, "none of it was applied");
        }
    }
}

/// Nothing is written, so only `ready` can notice.
#[cfg(unix)]
#[tokio::test]
async fn a_store_that_was_moved_is_not_ready_though_nothing_was_written() {
    for (_, displace) in displacements() {
        let (_folder, path) = place();
        let engine = open(&path).expect("a new store");
        assert_eq!(engine.ready().await, Ok(()));
        displace(&path);
        let ready = engine.ready().await;
        assert!(
            matches!(ready, Err(EngineError::FileReplaced { .. })),
            "{ready:?}"
        );
    }
}

/// It is written to the file that was opened, where no later start looks for it.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_during_which_the_store_is_moved_is_not_acknowledged() {
    for (how, displace) in displacements() {
        let (_folder, path) = place();
        let engine = Arc::new(open(&path).expect("a new store"));
        let other = locked(&path);
        let waiting = tokio::spawn({
            let engine = engine.clone();
            async move { commit(&*engine, [insert(&Key::new("a", ["a"]), "a")]).await }
        });
        // Until it waits for the other writer. If it comes later, it finds the store moved before it begins.
        tokio::time::sleep(Duration::from_millis(100)).await;
        displace(&path);
        other.execute_batch("COMMIT").expect("nothing was written");
        let outcome = waiting.await.expect("no panic");
        assert!(
            matches!(
                outcome,
                Err(CommitError::Unknown(EngineError::FileReplaced { .. })
                    | CommitError::NotApplied(NotApplied::Engine(
                        EngineError::FileReplaced { .. }
                    )))
            ),
            "{how}: {outcome:?}"
        );
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_store_that_was_put_back_is_gone_on_with() {
    let folder = folder();
    let (path, away) = (folder.path().join("store.db"), folder.path().join("away"));
    let engine = open(&path).expect("a new store");
    fs::rename(&path, &away).expect("a rename");
    let moved = commit(&engine, [insert(&Key::new("a", ["a"]), "a")]).await;
    assert!(
        matches!(moved, Err(CommitError::NotApplied(_))),
        "{moved:?}"
    );
    fs::rename(&away, &path).expect("a rename");
    assert_eq!(engine.ready().await, Ok(()));
    put(&engine, &Key::new("a", ["b"]), "b").await;
    engine.close().await;
    let again = open(&path).expect("the same store");
    assert_eq!(
        bodies(&again).await,
        [(Key::new("a", ["b"]), "b".to_owned())]
    );
}

/// Other processes open and close the same store, copy its log back and truncate it, and it is opened through a link.
#[cfg(unix)]
#[tokio::test]
async fn what_others_rightly_do_to_a_store_is_no_displacement() {
    let folder = folder();
    let (path, link) = (
        folder.path().join("store.db"),
        folder.path().join("link.db"),
    );
    fs::write(&path, "").expect("an empty file");
    std::os::unix::fs::symlink("store.db", &link).expect("a link");
    let engine = open(&link).expect("a new store");
    for round in 0..3 {
        let key = |who: &str| Key::new("a", [format!("{who} {round}")]);
        put(&engine, &key("ours"), "a").await;
        let child = Command::new("python3")
            .args(["-c", "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1])\nc.execute('PRAGMA wal_checkpoint(TRUNCATE)')\nc.close()"])
            .arg(&path)
            .status();
        assert!(child.expect("python3").success());
        let other = open(&path).expect("the same store");
        put(&other, &key("theirs"), "a").await;
        other.close().await;
        assert_eq!(engine.ready().await, Ok(()));
    }
    assert_eq!(bodies(&engine).await.len(), 6);
}
