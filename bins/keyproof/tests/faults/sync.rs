//! What an acknowledgement rests on: the log was synced before the answer went out. A killed process does not show
//! that, for what it wrote is the kernel's.

use std::collections::HashMap;

use crate::{
    client::Fleet,
    installation::Installation,
    ledger::Promise,
    load::Load,
    node::Node,
    seed::Seed,
    trace::{self, SystemCall, traced},
};

/// How the sync of one acknowledged change went.
#[derive(Debug, PartialEq, Eq)]
enum Durability {
    /// Its event was written to the log, then the log was synced, then the answer went out.
    BeforeTheAnswer,
    TooLate,
    /// The trace does not show the event in the log, or not the answer.
    NotShown,
}

/// System calls, by the ids of requests that they wrote.
struct Trace {
    calls: Vec<SystemCall>,
    carriers: HashMap<String, Vec<usize>>,
}

impl Trace {
    fn new(calls: Vec<SystemCall>) -> Self {
        let mut carriers = HashMap::<_, Vec<_>>::new();
        for (at, call) in calls.iter().enumerate().filter(|(_, call)| call.is_write()) {
            let words = call
                .arguments
                .split(|letter: char| !letter.is_ascii_hexdigit());
            for id in words.filter(|word| word.len() == 32) {
                carriers.entry(id.to_owned()).or_default().push(at);
            }
        }
        Self { calls, carriers }
    }

    /// Both the event in the log and the answer carry the request's id.
    fn durability(&self, request_id: &str, is_log: impl Fn(&SystemCall) -> bool) -> Durability {
        let carriers = self.carriers.get(request_id).into_iter().flatten();
        let carriers = carriers.map(|at| &self.calls[*at]);
        let logged = carriers.clone().filter(|call| is_log(call));
        let logged = logged.map(|call| call.ended).min();
        let answered = carriers.filter(|call| call.target.starts_with("TCP:"));
        let answered = answered.map(|call| call.begun).min();
        let (Some(logged), Some(answered)) = (logged, answered) else {
            return Durability::NotShown;
        };
        let in_time = |call: &SystemCall| logged <= call.begun && call.ended <= answered;
        let mut syncs = self.calls.iter().filter(|call| call.is_sync());
        match syncs.any(|call| in_time(call) && is_log(call)) {
            true => Durability::BeforeTheAnswer,
            false => Durability::TooLate,
        }
    }
}

fn is_wal(call: &SystemCall) -> bool {
    call.target.ends_with("/k.db-wal")
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_syncs_its_log_before_each_acknowledgement() {
    let seed = Seed::of_this_run();
    let installation = Installation::on_sqlite();
    let output = installation.folder().join("strace");
    let node = Node::start(traced(&installation.keyproof(&["serve"]), &output));
    let process = node.id();
    let fleet = Fleet::new([node.address]);
    let load = Load::start(&installation, &fleet, seed).await;
    load.ledger().acknowledged(200).await;
    let ledger = load.judge(&installation).await;
    drop(node);

    let trace = Trace::new(trace::read(&output, process));
    let records = ledger.records();
    let done = records.deeds().filter(|deed| deed.promise == Promise::Done);
    let ids: Vec<_> = done
        .map(|deed| deed.request_id.as_deref().unwrap())
        .collect();
    assert!(ids.len() >= 200);
    for id in &ids {
        let durability = trace.durability(id, is_wal);
        assert_eq!(durability, Durability::BeforeTheAnswer, "{id}");
    }
    // The same trace as a server would leave that syncs nothing.
    let unsynced = trace.calls.into_iter().filter(|call| !call.is_sync());
    let unsynced = Trace::new(unsynced.collect());
    for id in &ids {
        assert_eq!(unsynced.durability(id, is_wal), Durability::TooLate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "00112233445566778899aabbccddeeff";

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
        Trace::new(calls.to_vec()).durability(ID, is_wal)
    }

    #[test]
    fn only_a_sync_between_the_write_and_the_answer_counts() {
        let written = call("pwrite64", "/x/k.db-wal", &format!("\\\"{ID}\\\""), 10, 20);
        let answered = call(
            "sendto",
            "TCP:[1->2",
            &format!("x-request-id: {ID}"),
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
            // Of what was written before.
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
