//! Tests of the server itself: it keeps what it has acknowledged, its settings are as documented, and it leaves nothing behind.
#![allow(
    clippy::unwrap_used,
    reason = "a peer that does not answer fails the test"
)]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use keyproof_peer_postgres::{Postgres, Setup};

fn ask(postgres: &Postgres, url: &str, sql: &str) -> String {
    let psql = postgres
        .program("psql")
        .args(["-XAtq", "-c", sql, url])
        .output()
        .unwrap();
    assert!(
        psql.status.success(),
        "{}",
        String::from_utf8_lossy(&psql.stderr)
    );
    String::from_utf8(psql.stdout).unwrap().trim().to_owned()
}

fn folder(pid: u32) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/cwd")).unwrap()
}

fn processes(folder: &Path) -> usize {
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter(|process| fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == folder))
        .count()
}

fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn what_was_committed_survives_a_kill_and_a_restart_on_the_same_port() {
    let mut postgres = Postgres::start().unwrap();
    let url = postgres.database().unwrap();
    assert_eq!(ask(&postgres, &url, "SHOW fsync"), "on");
    ask(&postgres, &url, "CREATE TABLE kept AS SELECT 1 AS one");
    let port = postgres.port();
    assert!(postgres.restart().is_err(), "it runs");
    for _ in 0..2 {
        let pid = postgres.pid().unwrap();
        let data = folder(pid);
        postgres.kill().unwrap();
        assert_eq!((processes(&data), postgres.pid()), (0, None));
        postgres.restart().unwrap();
        assert_eq!(ask(&postgres, &url, "SELECT one FROM kept"), "1");
        assert_eq!(postgres.port(), port);
    }
}

#[test]
fn it_takes_settings_and_files_and_no_wrong_password() {
    let hba = "host all all 127.0.0.1/32 scram-sha-256\n";
    let setup = Setup::default().setting("max_connections", "7");
    let postgres = setup.file("pg_hba.conf", hba).start().unwrap();
    assert_eq!(ask(&postgres, &postgres.url(), "SHOW max_connections"), "7");
    let method = "SELECT DISTINCT auth_method FROM pg_hba_file_rules";
    assert_eq!(ask(&postgres, &postgres.url(), method), "scram-sha-256");
    let wrong = format!(
        "postgres://keyproof:wrong@127.0.0.1:{}/postgres",
        postgres.port()
    );
    let psql = postgres
        .program("psql")
        .args(["-Xc", "SELECT 1", &wrong])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&psql.stderr).contains("password authentication failed"));
}

#[test]
fn a_server_that_does_not_start_says_why() {
    let failed = Setup::default().setting("no_such_setting", "1").start();
    assert!(failed.unwrap_err().to_string().contains("no_such_setting"));
}

#[test]
fn nothing_is_left_when_it_is_dropped_not_even_by_a_panic() {
    let postgres = Postgres::start().unwrap();
    let pid = postgres.pid().unwrap();
    let data = folder(pid);
    assert!(processes(&data) > 1);
    std::thread::spawn(move || {
        let _postgres = postgres;
        std::panic::resume_unwind(Box::new("as a failing assertion would"));
    })
    .join()
    .unwrap_err();
    assert_eq!((processes(&data), data.exists()), (0, false));
}

#[test]
fn a_shared_server_has_a_database_for_each_and_goes_with_the_last() {
    let (a, b) = (Postgres::shared().unwrap(), Postgres::shared().unwrap());
    assert_eq!(a.pid(), b.pid());
    assert_ne!(a.database().unwrap(), b.database().unwrap());
    let pid = a.pid().unwrap();
    drop(a);
    assert!(exists(pid));
    drop(b);
    assert!(!exists(pid));
}

/// Runs itself as a test that is then killed.
#[test]
fn a_server_goes_with_a_test_that_is_killed() {
    if std::env::var_os("TO_BE_KILLED").is_some() {
        let postgres = Postgres::start().unwrap();
        println!("pid={};", postgres.pid().unwrap());
        sleep(Duration::MAX);
    }
    let mut test = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "a_server_goes_with_a_test_that_is_killed",
            "--nocapture",
        ])
        .env("TO_BE_KILLED", "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The test harness may write on the same line.
    let pid = BufReader::new(test.stdout.take().unwrap())
        .lines()
        .find_map(|line| {
            Some(
                line.unwrap()
                    .split_once("pid=")?
                    .1
                    .split_once(';')?
                    .0
                    .parse()
                    .unwrap(),
            )
        })
        .unwrap();
    let data = folder(pid);
    test.kill().unwrap();
    test.wait().unwrap();
    let began = Instant::now();
    while exists(pid) || data.exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "{pid} stays");
        sleep(Duration::from_millis(20));
    }
}
