//! Rules that only show when callers race, within one node and between two.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::{Barrier, mpsc},
    task::JoinSet,
};

use super::{
    Database, NOW, commit, expiring, fill, get, insert, key, leads_to, read, remove, replace,
    require, row, row_of, run,
};
use crate::{CommitError, Engine, Key, ReadPlan, Row};

/// In every round, 64 writers replace one record at the version that they all read, and exactly one succeeds.
pub fn one_of_64_writers_wins(database: &dyn Database) {
    const WRITERS: usize = 64;
    const ROUNDS: usize = 20;
    run(async {
        let nodes = [database.open().await, database.open().await];
        let a = key("a");
        let mut current = row("start");
        fill(&*nodes[0], &[(a.clone(), current.clone())]).await;
        for round in 0..ROUNDS {
            let start = Arc::new(Barrier::new(WRITERS));
            let mut writers = JoinSet::new();
            for writer in 0..WRITERS {
                let (engine, start) = (nodes[writer % nodes.len()].clone(), start.clone());
                let row = row(&format!("writer {writer}"));
                let entry = replace(&a, &current, &row);
                writers.spawn(async move {
                    start.wait().await;
                    (row, commit(&*engine, [entry], NOW).await)
                });
            }
            let mut winners = Vec::new();
            for (row, outcome) in writers.join_all().await {
                match outcome {
                    Ok(()) => winners.push(row),
                    Err(CommitError::Conflict { entry: 0 }) => {}
                    Err(error) => panic!("round {round}: {error}"),
                }
            }
            assert_eq!(winners.len(), 1, "winners of round {round}");
            for engine in &nodes {
                assert_eq!(
                    get(&**engine, &a, NOW).await.as_ref(),
                    winners.first(),
                    "round {round}"
                );
            }
            current = winners.swap_remove(0);
        }
    });
}

/// In every round, one record has expired, and some callers insert over it while others remove it. One insert succeeds,
/// and its row stays.
pub fn an_expired_record_has_one_successor(database: &dyn Database) {
    const ROUNDS: usize = 40;
    const CALLERS: usize = 8;
    run(async {
        let nodes = [database.open().await, database.open().await];
        for round in 0..ROUNDS {
            let a = key(&format!("a{round}"));
            let expired = expiring("expired", NOW);
            fill(&*nodes[0], &[(a.clone(), expired.clone())]).await;
            let start = Arc::new(Barrier::new(CALLERS));
            let mut callers = JoinSet::new();
            for caller in 0..CALLERS {
                let engine = nodes[caller / 2 % nodes.len()].clone();
                let start = start.clone();
                let row = row(&format!("caller {caller}"));
                let (inserted, entry) = match caller % 2 {
                    0 => (Some(row.clone()), insert(&a, &row)),
                    _ => (None, remove(&a, &expired)),
                };
                callers.spawn(async move {
                    start.wait().await;
                    (inserted, commit(&*engine, [entry], NOW).await)
                });
            }
            let (mut inserted, mut removed) = (Vec::new(), 0);
            for (row, outcome) in callers.join_all().await {
                match (row, outcome) {
                    (Some(row), Ok(())) => inserted.push(row),
                    (None, Ok(())) => removed += 1,
                    (_, Err(CommitError::Conflict { entry: 0 })) => {}
                    (_, Err(error)) => panic!("round {round}: {error}"),
                }
            }
            assert_eq!(inserted.len(), 1, "inserts of round {round}");
            assert!(removed <= 1, "removals of round {round}");
            let found = get(&*nodes[1], &a, NOW).await;
            assert_eq!(found.as_ref(), inserted.first(), "round {round}");
        }
    });
}

/// Two batches each require what the other changes: one succeeds, the other conflicts.
pub fn crossed_requirements_exclude_each_other(database: &dyn Database) {
    const PAIRS: usize = 64;
    run(async {
        let nodes = [database.open().await, database.open().await];
        let pairs: Vec<_> = (0..PAIRS)
            .map(|pair| {
                [
                    (key(&format!("{pair}x")), row("x")),
                    (key(&format!("{pair}y")), row("y")),
                ]
            })
            .collect();
        fill(&*nodes[0], &pairs.concat()).await;
        let start = Arc::new(Barrier::new(2 * PAIRS));
        let mut writers = JoinSet::new();
        for (number, pair) in pairs.iter().enumerate() {
            for (at, engine) in nodes.iter().enumerate() {
                let (engine, start) = (engine.clone(), start.clone());
                let ((required, as_is), (changed, old)) = (&pair[at], &pair[1 - at]);
                let entries = [
                    require(required, as_is),
                    replace(changed, old, &row("changed")),
                ];
                writers.spawn(async move {
                    start.wait().await;
                    (number, commit(&*engine, entries, NOW).await)
                });
            }
        }
        let mut done = vec![0; PAIRS];
        for (pair, outcome) in writers.join_all().await {
            match outcome {
                Ok(()) => done[pair] += 1,
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(done, [1; PAIRS], "successes of each pair");
    });
}

/// Transfers between accounts keep the total, in every consistent read and at the end.
pub fn totals_hold_under_transfers(database: &dyn Database) {
    run(async {
        let nodes = [database.open().await, database.open().await];
        let keys: Arc<Vec<_>> = Arc::new(
            (0..ACCOUNTS)
                .map(|at| key(&format!("account {at:02}")))
                .collect(),
        );
        let rows: Vec<_> = keys
            .iter()
            .map(|key| (key.clone(), row(&EACH.to_string())))
            .collect();
        fill(&*nodes[0], &rows).await;
        let mut tasks = JoinSet::new();
        for task in 0..8 {
            let (engine, keys) = (nodes[task % nodes.len()].clone(), keys.clone());
            tasks.spawn(async move {
                let mut done = 0;
                for step in 0..50 {
                    let (from, to) = (
                        (task + step) % ACCOUNTS,
                        (task * 3 + step * 2 + 1) % ACCOUNTS,
                    );
                    if from != to && transfer(&*engine, &keys, from, to).await {
                        done += 1;
                    }
                }
                done
            });
        }
        let done: usize = tasks.join_all().await.into_iter().sum();
        assert!(done > 0, "some transfer succeeded");
        for engine in &nodes {
            let balances = balances(&**engine, &keys).await;
            assert_eq!(total(&balances), EACH * ACCOUNTS as u64);
        }
    });
}

/// One record names another, which is moved between the two rounds of a reading. The reading finds it all the same, at
/// its old or new place.
pub fn a_reading_is_of_one_state(database: &dyn Database) {
    const MOVES: usize = 4;
    run(async {
        let nodes = [database.open().await, database.open().await];
        let name = key("name");
        let (mut naming, mut moved) = (row("place 0"), row("moved"));
        let rows = [
            (name.clone(), naming.clone()),
            (leads_to(&naming), moved.clone()),
        ];
        fill(&*nodes[0], &rows).await;
        for number in 1..=MOVES {
            let (next, to) = (row(&format!("place {number}")), row("moved"));
            let entries = [
                replace(&name, &naming, &next),
                remove(&leads_to(&naming), &moved),
                insert(&leads_to(&next), &to),
            ];
            let (ask, mut asked) = mpsc::unbounded_channel();
            let (tell, told) = std::sync::mpsc::channel();
            let mover = nodes[number % nodes.len()].clone();
            let moving = tokio::spawn(async move {
                asked.recv().await.expect("the reading asks for it");
                let committed = commit(&*mover, entries, NOW).await;
                // There is no receiver left if the engine does not allow a commit meanwhile.
                let _ = tell.send(());
                committed
            });
            let told = Mutex::new(Some(told));
            let plan = ReadPlan::new([name.clone()]).then({
                let name = name.clone();
                move |found| {
                    let told = told.lock().map(|mut told| told.take());
                    if let Ok(Some(told)) = told {
                        ask.send(()).expect("the mover waits");
                        let _ = told.recv_timeout(PATIENCE);
                    }
                    Ok(row_of(found, &name).iter().map(leads_to).collect())
                }
            });
            let found = read(&*nodes[0], plan, NOW).await.expect("a read");
            let named = row_of(&found, &name).expect("it is never removed");
            assert!([&naming, &next].contains(&&named), "a state that was");
            let place = leads_to(&named);
            let there = row_of(&found, &place);
            let want = if named == naming { &moved } else { &to };
            assert_eq!(there.as_ref(), Some(want), "{place} is named");
            assert_eq!(moving.await.expect("no panic"), Ok(()));
            (naming, moved) = (next, to);
        }
    });
}

/// How long a reading waits for a commit to go first, if the engine allows that.
const PATIENCE: Duration = Duration::from_millis(250);

/// Enough accounts that reading all of them takes a while.
const ACCOUNTS: usize = 64;
/// The initial amount in each account.
const EACH: u64 = 100;

/// Reads all accounts, checks the total, and tries to move 1.
async fn transfer(engine: &dyn Engine, keys: &[Key], from: usize, to: usize) -> bool {
    let before = balances(engine, keys).await;
    assert_eq!(
        total(&before),
        100 * keys.len() as u64,
        "one consistent state"
    );
    let Some(less) = amount(&before[from]).checked_sub(1) else {
        return false;
    };
    let more = amount(&before[to]) + 1;
    let entries = [(to, more), (from, less)]
        .map(|(at, amount)| replace(&keys[at], &before[at], &row(&amount.to_string())));
    match commit(engine, entries, NOW).await {
        Ok(()) => true,
        Err(CommitError::Conflict { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

async fn balances(engine: &dyn Engine, keys: &[Key]) -> Vec<Row> {
    let rows = engine.get_many(keys, NOW).await.expect("a read");
    rows.into_iter()
        .map(|row| row.expect("no account is ever removed"))
        .collect()
}

fn amount(row: &Row) -> u64 {
    std::str::from_utf8(&row.body)
        .expect("digits")
        .parse()
        .expect("digits")
}

fn total(rows: &[Row]) -> u64 {
    rows.iter().map(amount).sum()
}
