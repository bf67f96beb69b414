//! The basis of an acknowledgement: the log was synced before the answer was sent. Killing a process does not test this, because
//! what it has written is in the kernel.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use keyproof_peer_postgres::Setup;

use crate::{
    cluster::Cluster,
    installation::Installation,
    ledger::Promise,
    load::Load,
    seed::Seed,
    trace::{self, Attached, SystemCall, family, traced},
};

/// The sync of one acknowledged change.
#[derive(Debug, PartialEq, Eq)]
enum Durability {
    /// Its event was written to the log, then the log was synced, then the answer was sent.
    BeforeTheAnswer,
    TooLate,
    /// The trace lacks the event in the log, or the answer.
    NotShown,
}

/// System calls, by the ids of requests in what they wrote.
struct Trace {
    calls: Vec<SystemCall>,
    /// By either half of an id, because a log may have a page header in the middle of it.
    carriers: HashMap<String, Vec<usize>>,
}

const ID: usize = 32;

impl Trace {
    fn new(calls: Vec<SystemCall>) -> Self {
        let mut carriers = HashMap::<_, Vec<_>>::new();
        for (at, call) in calls.iter().enumerate().filter(|(_, call)| call.is_write()) {
            let words = call
                .arguments
                .split(|letter: char| !letter.is_ascii_hexdigit());
            for word in words.filter(|word| word.len() >= ID / 2) {
                for half in [&word[..ID / 2], &word[word.len() - ID / 2..]] {
                    carriers.entry(half.to_owned()).or_default().push(at);
                }
            }
        }
        Self { calls, carriers }
    }

    /// Both the event in the log and the answer contain the request's id.
    fn durability(&self, request_id: &str, is_log: impl Fn(&SystemCall) -> bool) -> Durability {
        let halves = [&request_id[..ID / 2], &request_id[ID / 2..]];
        let carriers = halves.iter().filter_map(|half| self.carriers.get(*half));
        let carriers = carriers.flatten().map(|at| &self.calls[*at]);
        let logged = carriers.clone().filter(|call| is_log(call));
        let logged = logged.map(|call| call.ended).min();
        let answered = carriers.filter(|call| call.arguments.contains("HTTP/1.1 2"));
        let answered = answered.map(|call| call.begun).min();
        let (Some(logged), Some(answered)) = (logged, answered) else {
            return Durability::NotShown;
        };
        let in_time = |call: &SystemCall| logged <= call.begun && call.ended <= answered;
        let mut syncs = self.calls.iter().filter(|call| call.is_sync());
        if syncs.any(|call| in_time(call) && is_log(call)) {
            Durability::BeforeTheAnswer
        } else {
            Durability::TooLate
        }
    }
}

fn is_wal(call: &SystemCall) -> bool {
    call.target.ends_with("/k.db-wal")
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_syncs_its_log_before_each_acknowledgement() {
    let installation = Installation::on_sqlite();
    let traced = TracedNodes::of(&installation);
    let cluster = Cluster::start_by(installation, 1, traced.by());
    acknowledged_changes_are_durable(cluster, &traced, Vec::new, is_wal).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_syncs_its_log_before_each_acknowledgement() {
    // A server that does not sync commits by default.
    let postgres = Setup::default().setting("synchronous_commit", "off");
    let postgres = postgres.start().unwrap();
    let installation = Installation::on_database(&postgres.database().unwrap());
    // The process that writes the log may exist already.
    let server = family(postgres.pid().unwrap());
    let attached = Attached::to(&server, installation.folder().join("strace-postgres"));
    let traced = TracedNodes::of(&installation);
    let cluster = Cluster::start_by(installation, 2, traced.by());
    let is_wal = |call: &SystemCall| call.target.contains("/pg_wal/");
    acknowledged_changes_are_durable(cluster, &traced, || attached.detach(), is_wal).await;
}

/// A killed server may have written data that it never synced, and the next one to open the store treats it as committed.
#[tokio::test(flavor = "multi_thread")]
async fn sqlite_syncs_the_log_that_a_killed_server_left_before_anything_else() {
    let installation = Installation::on_sqlite();
    let log = installation.folder().join("k.db-wal");
    let traced = TracedNodes::of(&installation);
    let mut cluster = Cluster::start_by(installation, 1, traced.by());
    let add = ["instance", "add", "shop", "--stdin"];
    cluster.installation.run(&add, "correct horse\n");
    cluster.kill(0);
    assert!(log.metadata().unwrap().len() > 0, "nothing was left");
    cluster.bring_up(0);
    let process = cluster.processes().next().unwrap();
    cluster.kill(0);
    let calls = traced.read(process).into_iter().filter(is_wal);
    let first = calls.min_by_key(|call| call.begun);
    assert!(first.as_ref().is_some_and(SystemCall::is_sync), "{first:?}");
}

/// The process that fenced a store may have been killed before the fence was synced, and another one that finds the fence continues
/// from it.
#[tokio::test(flavor = "multi_thread")]
async fn sqlite_syncs_the_log_before_a_fence_that_is_found_is_believed() {
    let installation = Installation::on_sqlite();
    let folder = installation.folder().to_owned();
    // It keeps the log in existence.
    let _cluster = Cluster::start(installation, 1);
    let url = |name: &str| format!("sqlite:{}", folder.join(name).display());
    let moves = |to: &str| {
        let mut copy = Command::new(env!("CARGO_BIN_EXE_keyproof"));
        copy.env_clear().env("HOME", &folder);
        copy.args(["store", "copy", &url("k.db"), &url(to), "--move"]);
        copy
    };
    assert!(moves("b.db").status().unwrap().success());
    let calls = trace::calls_of(&moves("c.db"), &folder.join("strace-move"));
    let mut syncs = calls.iter().filter(|call| call.is_sync());
    assert!(syncs.any(is_wal), "{calls:?}");
}

/// Otherwise the loss of power may take a new store with its folder.
#[test]
fn the_folders_that_are_made_for_a_store_are_entered_durably() {
    let folder = tempfile::tempdir().unwrap();
    let home = fs::canonicalize(folder.path()).unwrap();
    let store = format!("sqlite:{}", home.join("new/state/k.db").display());
    let mut migrate = Command::new(env!("CARGO_BIN_EXE_keyproof"));
    migrate.env_clear().env("HOME", &home);
    migrate.args(["migrate", "--store", &store]);
    let calls = trace::calls_of(&migrate, &home.join("strace-migrate"));
    for entered in [home.clone(), home.join("new"), home.join("new/state")] {
        let mut syncs = calls.iter().filter(|call| call.is_sync());
        let is_synced = syncs.any(|call| Path::new(&call.target) == entered);
        assert!(is_synced, "{}: {calls:?}", entered.display());
    }
}

/// Works for a while, and examines what was acknowledged. The database may be traced separately.
async fn acknowledged_changes_are_durable(
    mut cluster: Cluster,
    traced: &TracedNodes,
    database: impl FnOnce() -> Vec<SystemCall>,
    is_log: impl Fn(&SystemCall) -> bool,
) {
    let seed = Seed::of_this_run();
    let load = Load::start(&cluster, seed).await;
    load.ledger().acknowledged(200).await;
    let ledger = load.judge(&cluster.installation).await;
    let processes: Vec<_> = cluster.processes().collect();
    (0..cluster.len()).for_each(|node| cluster.kill(node));
    let mut calls = database();
    for process in processes {
        calls.extend(traced.read(process));
    }

    let trace = Trace::new(calls);
    let records = ledger.records();
    let done = records.deeds().filter(|deed| deed.promise == Promise::Done);
    let ids: Vec<_> = done
        .map(|deed| deed.request_id.as_deref().unwrap())
        .collect();
    assert!(ids.len() >= 200);
    for id in &ids {
        let durability = trace.durability(id, &is_log);
        assert_eq!(durability, Durability::BeforeTheAnswer, "{id}");
    }
    // The trace that a server without syncs would leave.
    let unsynced = trace.calls.into_iter().filter(|call| !call.is_sync());
    let unsynced = Trace::new(unsynced.collect());
    for id in &ids {
        assert_eq!(unsynced.durability(id, &is_log), Durability::TooLate);
    }
}

/// The files that the nodes' straces write.
#[derive(Clone)]
struct TracedNodes {
    folder: PathBuf,
    started: Arc<AtomicUsize>,
}

impl TracedNodes {
    fn of(installation: &Installation) -> Self {
        Self {
            folder: installation.folder().to_owned(),
            started: Arc::default(),
        }
    }

    fn by(&self) -> impl Fn(Command) -> Command + 'static {
        let Self { folder, started } = self.clone();
        move |command| {
            let number = started.fetch_add(1, Ordering::SeqCst);
            traced(&command, &folder.join(format!("strace{number}")))
        }
    }

    /// Returns what a killed node did.
    fn read(&self, process: u32) -> Vec<SystemCall> {
        let files = 0..self.started.load(Ordering::SeqCst);
        let mut files = files.map(|number| self.folder.join(format!("strace{number}")));
        let own = files.find(|file| trace::is_of(file, process));
        trace::read(&own.unwrap(), process)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = "00112233445566778899aabbccddeeff";

    fn call(name: &str, target: &str, arguments: &str, begun: u64, ended: u64) -> SystemCall {
        SystemCall {
            name: name.to_owned(),
            target: target.to_owned(),
            arguments: arguments.to_owned(),
            result: if name == "fsync" { 0 } else { 1 },
            begun,
            ended,
        }
    }

    fn judge(calls: &[SystemCall]) -> Durability {
        Trace::new(calls.to_vec()).durability(REQUEST, is_wal)
    }

    #[test]
    fn only_a_sync_between_the_write_and_the_answer_counts() {
        let written = call(
            "pwrite64",
            "/x/k.db-wal",
            &format!("\\\"{REQUEST}\\\""),
            10,
            20,
        );
        let answered = call(
            "sendto",
            "TCP:[1->2",
            &format!("HTTP/1.1 200 OK\\r\\nx-request-id: {REQUEST}"),
            50,
            60,
        );
        let sync = |path, begun, ended| call("fsync", path, "", begun, ended);
        let with = |sync| judge(&[written.clone(), sync, answered.clone()]);
        assert_eq!(
            with(sync("/x/k.db-wal", 20, 50)),
            Durability::BeforeTheAnswer
        );
        for late in [
            sync("/x/k.db", 20, 50),
            // A sync of earlier writes.
            sync("/x/k.db-wal", 19, 50),
            sync("/x/k.db-wal", 20, 51),
            sync("/x/k.db-wal", 60, 70),
            SystemCall {
                result: -1,
                ..sync("/x/k.db-wal", 20, 50)
            },
        ] {
            assert_eq!(with(late.clone()), Durability::TooLate, "{late:?}");
        }
        assert_eq!(
            judge(&[written.clone(), answered.clone()]),
            Durability::TooLate
        );
        assert_eq!(judge(&[written]), Durability::NotShown);
        assert_eq!(judge(&[answered]), Durability::NotShown);
    }
}
