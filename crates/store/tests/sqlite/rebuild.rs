//! A file of schema 1 is rewritten when it is opened: all or nothing, and only while no other process has it open.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use keyproof_store::{
    Engine, EngineError, Key, Migration, OpenError, Prefix, Row, SystemEntropy, Timestamp, Version,
    sqlite::{SqliteEngine, SqliteOptions},
};
use rusqlite::{Connection, params};

use super::{folder, open, open_at_once, place, put};

/// Creates a file of schema 1, and returns its contents in key order.
fn old_file(path: &Path, records: usize) -> Vec<(Key, Row)> {
    let mut connection = Connection::open(path).expect("a new file");
    connection
        .execute_batch(include_str!("../fixture/schema_1.sql"))
        .expect("the earlier schema");
    let transaction = connection.transaction().expect("nobody else writes");
    let mut rows: Vec<_> = (0..records).map(record).collect();
    for (key, row) in &rows {
        let expires_at = row.expires_at.map(|at| at.as_millis() as i64);
        let columns = params![
            key.as_bytes(),
            row.version.as_bytes(),
            &*row.body,
            expires_at
        ];
        transaction
            .execute("INSERT INTO records VALUES (?1, ?2, ?3, ?4)", columns)
            .expect("it is new");
    }
    transaction.commit().expect("nothing is in the way");
    rows.sort_by(|(a, _), (b, _)| a.cmp(b));
    rows
}

/// Short and long bodies, some longer than a page, not in key order; half of them expire, some at the same moment.
fn record(number: usize) -> (Key, Row) {
    let scattered = number.wrapping_mul(7_919) % 10_007;
    let key = Key::new("thing", [format!("{scattered:05}"), number.to_string()]);
    let row = Row {
        version: Version::random(&SystemEntropy::new()),
        body: vec![b'a' + (number % 26) as u8; number * 37 % 9_001].into(),
        expires_at: number
            .is_multiple_of(2)
            .then(|| Timestamp::from_secs(1 + scattered as u64 % 500)),
    };
    (key, row)
}

async fn dump(engine: &dyn Engine) -> Vec<(Key, Row)> {
    let all = Prefix::all();
    let found = engine.scan(&all, None, usize::MAX, Timestamp::EPOCH);
    found.await.expect("a scan")
}

fn schema(connection: &Connection) -> i64 {
    let schema = connection.pragma_query_value(None, "user_version", |row| row.get(0));
    schema.expect("a schema")
}

fn count(connection: &Connection) -> usize {
    let count = connection.query_row("SELECT count(*) FROM records", (), |row| row.get(0));
    count.map_or(0, i64::unsigned_abs) as usize
}

/// The file's layout as `sqlite3` shows it.
fn layout(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).expect("a database");
    let mut statement = connection
        .prepare("SELECT concat(type, name, tbl_name, sql) FROM sqlite_schema ORDER BY name")
        .expect("a query");
    let lines = statement
        .query_map((), |row| row.get(0))
        .expect("an answer");
    lines.collect::<Result<_, _>>().expect("texts")
}

#[tokio::test]
async fn a_file_of_schema_1_is_written_anew_with_all_that_is_in_it() {
    let folder = folder();
    let (path, new) = (folder.path().join("store.db"), folder.path().join("new.db"));
    let records = old_file(&path, 3_000);
    let engine = open(&path).expect("the earlier schema");
    assert_eq!(engine.migration(), Migration { from: 1, to: 2 });
    let found = dump(&engine).await;
    assert_eq!(found.len(), records.len());
    assert!(found == records, "keys, versions, bodies and expiries");
    let mut expired: Vec<_> = records
        .iter()
        .filter_map(|(key, row)| Some((row.expires_at?, key.clone(), row.version)))
        .collect();
    expired.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    let expired: Vec<_> = expired
        .into_iter()
        .map(|(_, key, version)| (key, version))
        .collect();
    let within = Timestamp::EPOCH..=Timestamp::MAX;
    assert_eq!(engine.expired(within, usize::MAX).await, Ok(expired));
    let key = Key::new("thing", ["new"]);
    put(&engine, &key, "new").await;
    engine.close().await;
    drop(engine);

    let again = open(&path).expect("this release's schema");
    assert_eq!(again.migration(), Migration { from: 2, to: 2 });
    assert_eq!(dump(&again).await.len(), records.len() + 1);
    drop((again, open(&new).expect("a new store")));
    assert_eq!(layout(&path), layout(&new));
    let connection = Connection::open(&path).expect("a database");
    let check: String = connection
        .query_row("PRAGMA integrity_check", (), |row| row.get(0))
        .expect("an answer");
    assert_eq!(check, "ok");
}

/// Another process has read the file, and keeps it open until it gets a line.
#[test]
fn a_file_that_another_process_has_open_is_left_as_it_is() {
    let (_folder, path) = place();
    old_file(&path, 100);
    let mut other = Command::new("python3")
        .args([
            "-c",
            "import sqlite3, sys\n\
             c = sqlite3.connect(sys.argv[1])\n\
             print(c.execute('SELECT count(*) FROM records').fetchone()[0], flush=True)\n\
             sys.stdin.readline()\n\
             c.execute('DELETE FROM records')\n\
             c.commit()\n\
             print('still there', flush=True)\n\
             sys.stdin.readline()",
        ])
        .arg(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let mut said = BufReader::new(other.stdout.take().expect("a pipe")).lines();
    let mut told = other.stdin.take().expect("a pipe");
    let mut next = || said.next().expect("a line").expect("text");
    assert_eq!(next(), "100");
    let mut options = SqliteOptions::default();
    options.busy_timeout = Duration::from_millis(100);
    let refused = SqliteEngine::open(&path, &options);
    assert_eq!(
        refused.expect_err("it is in use"),
        OpenError::InUse { found: 1 }
    );
    // The other process continues undisturbed.
    std::io::Write::write_all(&mut told, b"\n").expect("it listens");
    assert_eq!(next(), "still there");
    let refused = SqliteEngine::open(&path, &options);
    assert_eq!(
        refused.expect_err("it is in use"),
        OpenError::InUse { found: 1 }
    );
    drop(told);
    assert!(other.wait().expect("its end").success());
    let opened = SqliteEngine::open(&path, &options).expect("nobody has it open");
    assert_eq!(opened.migration(), Migration { from: 1, to: 2 });
}

#[tokio::test]
async fn many_may_open_a_file_of_schema_1_at_once() {
    let (_folder, path) = place();
    let records = old_file(&path, 300);
    let engines = open_at_once(&path, 6);
    let rebuilt = engines.iter().filter(|engine| engine.migration().from == 1);
    assert_eq!(rebuilt.count(), 1);
    for engine in &engines {
        assert!(dump(engine).await == records);
    }
}

const CHILD: &str = "KEYPROOF_STORE_TEST_REBUILD";

/// The process that the next test kills.
#[test]
fn child() {
    if let Some(path) = std::env::var_os(CHILD) {
        drop(open(Path::new(&path)));
    }
}

/// Kills a process that rewrites the file, once part of the copy is in it.
fn kill_halfway(path: &Path) {
    let (journal, size) = (beside(path, "-journal"), || {
        fs::metadata(path).map_or(0, |found| found.len())
    });
    let before = size();
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "rebuild::child"])
        .env(CHILD, path)
        .stdout(Stdio::null())
        .spawn()
        .expect("this test again");
    while child.try_wait().expect("a child").is_none() {
        if journal.exists() && size() > before + (1 << 20) {
            child.kill().expect("SIGKILL");
        }
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[tokio::test]
async fn what_was_killed_halfway_has_changed_nothing() {
    for is_looked_at in [true, false] {
        let (mut kills, mut halfway) = (0, None);
        while halfway.is_none() {
            // It may have finished before it was killed.
            assert!(kills < 100, "never killed halfway");
            kills += 1;
            let (folder, path) = place();
            let records = old_file(&path, 5_000);
            kill_halfway(&path);
            let journal = fs::metadata(beside(&path, "-journal"));
            if journal.is_ok_and(|journal| journal.len() > 0) {
                halfway = Some((folder, path, records));
            }
        }
        let (_folder, path, records) = halfway.expect("a file and its journal");
        if is_looked_at {
            let connection = Connection::open(&path).expect("the file is whole");
            assert_eq!(schema(&connection), 1);
            assert_eq!(count(&connection), records.len());
        }
        let engine = open(&path).expect("the file is whole");
        assert_eq!(engine.migration(), Migration { from: 1, to: 2 });
        assert!(dump(&engine).await == records);
    }
}

/// A foreign table in the way stops the rewrite, and the file stays as it was.
#[test]
fn a_file_that_cannot_be_copied_stays_as_it_is() {
    let (_folder, path) = place();
    old_file(&path, 100);
    let connection = Connection::open(&path).expect("a database");
    connection
        .execute_batch("CREATE TABLE records_of_schema_1 (x)")
        .expect("a table in the way");
    drop(connection);
    for _ in 0..2 {
        let refused = open(&path).expect_err("a table is in the way");
        assert!(
            matches!(refused, OpenError::Engine(EngineError::Other { .. })),
            "{refused:?}"
        );
    }
    let connection = Connection::open(&path).expect("a database");
    assert_eq!(schema(&connection), 1);
    assert_eq!(count(&connection), 100);
}
