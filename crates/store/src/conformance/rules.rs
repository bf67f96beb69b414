//! Rules that a single caller can see.

use std::time::Duration;

use super::{
    Database, NOW, commit, dump, expiring, fill, get, insert, key, leads_to, read, remove, replace,
    require, reseal, row, row_of, run, scan,
};
use crate::{
    Changes, CommitError, Engine, EngineError, Key, NotApplied, Prefix, ReadPlan, Row, StoreError,
    Timestamp,
};

const MOMENT: Duration = Duration::from_millis(1);

const fn conflict(entry: usize) -> Result<(), CommitError> {
    Err(CommitError::Conflict { entry })
}

/// A new database is empty, and expired records count as records.
pub fn a_new_database_is_empty_and_ready(database: &dyn Database) {
    run(async {
        let engine = database.open().await;
        assert_eq!(engine.ready().await, Ok(()));
        assert_eq!(engine.is_empty().await, Ok(true));
        assert_eq!(engine.get_many(&[], NOW).await, Ok(vec![]));
        assert_eq!(
            engine.get_many(&[key("a"), key("b")], NOW).await,
            Ok(vec![None, None])
        );
        assert_eq!(
            engine.expired(Timestamp::EPOCH..=Timestamp::MAX, 10).await,
            Ok(vec![])
        );
        fill(&*engine, &[(key("a"), expiring("gone", Timestamp::EPOCH))]).await;
        assert_eq!(engine.is_empty().await, Ok(false));
    });
}

/// A second insert conflicts and leaves the first; reads return rows in the requested order.
pub fn inserting_is_unique(database: &dyn Database) {
    run(async {
        let engine = database.open().await;
        let (first, second) = (row("first"), row("second"));
        let a = key("a");
        assert_eq!(commit(&*engine, [insert(&a, &first)], NOW).await, Ok(()));
        assert_eq!(
            commit(&*engine, [insert(&a, &second)], NOW).await,
            conflict(0)
        );
        assert_eq!(get(&*engine, &a, NOW).await.as_ref(), Some(&first));
        let asked = [key("b"), a.clone(), key(""), a];
        let want = vec![None, Some(first.clone()), None, Some(first)];
        assert_eq!(engine.get_many(&asked, NOW).await, Ok(want));
    });
}

/// A reading continues as long as what it finds leads to further keys. Absent and expired records lead nowhere.
pub fn a_reading_follows_what_it_finds(database: &dyn Database) {
    run(async {
        let engine = database.open().await;
        let rows = [
            (key("a"), row("b")),
            (key("b"), row("c")),
            (key("c"), row("d")),
            (key("gone"), expiring("a", NOW)),
            (key("loop"), row("loop")),
            (key("stray"), row("nowhere")),
        ];
        fill(&*engine, &rows).await;
        // The keys that all found records lead to, whether or not they were read.
        let plan = |names: &[&str]| {
            let keys: Vec<_> = names.iter().map(|name| key(name)).collect();
            let rows = rows.clone();
            ReadPlan::new(keys).then(move |found| {
                let found = |key: &Key| found.raw(key).ok().flatten().is_some();
                let read = rows.iter().filter(|(key, _)| found(key));
                Ok(read.map(|(_, row)| leads_to(row)).collect())
            })
        };
        for (names, want) in [
            (&[][..], &[][..]),
            (&["a"], &["a", "b", "c", "d"]),
            (&["c", "b"], &["b", "c", "d"]),
            (&["d", "absent"], &["d", "absent"]),
            (&["gone"], &["gone"]),
            (&["loop", "loop", "stray"], &["loop", "stray", "nowhere"]),
        ] {
            let found = read(&*engine, plan(names), NOW).await.expect("a read");
            for name in [
                "a", "b", "c", "d", "absent", "gone", "loop", "stray", "nowhere",
            ] {
                let key = key(name);
                if want.contains(&name) {
                    let stored = rows.iter().find(|(stored, _)| *stored == key);
                    let live = stored.filter(|(_, row)| !row.is_expired(NOW));
                    let live = live.map(|(_, row)| row.clone());
                    assert_eq!(row_of(&found, &key), live, "{name}, from {names:?}");
                } else {
                    let unread = Err(StoreError::NotRead { key: key.clone() });
                    assert_eq!(found.raw(&key), unread, "from {names:?}");
                }
            }
        }

        // Without a rule it is a read of many keys.
        let found = read(&*engine, ReadPlan::new([key("a"), key("d")]), NOW).await;
        let found = found.expect("a read");
        assert_eq!(row_of(&found, &key("a")), Some(rows[0].1.clone()));
        assert_eq!(row_of(&found, &key("d")), None);

        // The rule receives the time of the read, and so does the reader.
        let telling = ReadPlan::new([key("a")]).then(|found| {
            let now = found.now().as_millis().to_string();
            Ok(vec![key(&now)])
        });
        let found = read(&*engine, telling, NOW).await.expect("a read");
        let told = key(&NOW.as_millis().to_string());
        assert_eq!(found.raw(&told), Ok(None));
        assert_eq!(found.now(), NOW);

        // The rule's own error becomes the reading's.
        let failing =
            ReadPlan::new([key("a")]).then(|_| Err(StoreError::NotARecord { key: key("a") }));
        let failed = read(&*engine, failing, NOW).await;
        assert_eq!(failed, Err(StoreError::NotARecord { key: key("a") }));
    });
}

/// A rule that panics does so in the reading task, and all other reads continue.
pub fn a_reading_that_panics_harms_nobody_else(database: &dyn Database) {
    run(async {
        let engine = database.open().await;
        let a = row("a");
        fill(&*engine, &[(key("a"), a.clone())]).await;
        // More often than an engine has threads or connections.
        for _ in 0..20 {
            let engine = engine.clone();
            let panicking = tokio::spawn(async move {
                let plan = ReadPlan::new([key("a"), key("b")]);
                let plan = plan.then(|_| std::panic::panic_any("on purpose"));
                read(&*engine, plan, NOW).await
            });
            let panic = panicking.await.expect_err("a panic").into_panic();
            assert_eq!(panic.downcast_ref(), Some(&"on purpose"));
        }
        assert_eq!(get(&*engine, &key("a"), NOW).await, Some(a.clone()));
        let keys = [key("a"), key("b")];
        assert_eq!(engine.get_many(&keys, NOW).await, Ok(vec![Some(a), None]));
        assert_eq!(
            commit(&*engine, [insert(&key("b"), &row("b"))], NOW).await,
            Ok(())
        );
    });
}

/// Only a record's current version matches.
pub fn stale_versions_conflict(database: &dyn Database) {
    run(async {
        let engine = database.open().await;
        let (a, absent) = (key("a"), key("absent"));
        let (old, new) = (row("old"), row("new"));
        fill(&*engine, &[(a.clone(), old.clone())]).await;
        let commit = async |entry| commit(&*engine, [entry], NOW).await;
        assert_eq!(commit(replace(&a, &old, &new)).await, Ok(()));
        for key in [&a, &absent] {
            for entry in [
                replace(key, &old, &row("x")),
                remove(key, &old),
                require(key, &old),
                reseal(key, &old, "x"),
            ] {
                assert_eq!(commit(entry.clone()).await, conflict(0), "{entry:?}");
            }
        }
        assert_eq!(dump(&*engine).await, [(a.clone(), new.clone())]);
        assert_eq!(commit(require(&a, &new)).await, Ok(()));
        assert_eq!(dump(&*engine).await, [(a.clone(), new.clone())]);
        assert_eq!(commit(remove(&a, &new)).await, Ok(()));
        assert_eq!(dump(&*engine).await, []);
    });
}

/// A record that was removed and inserted again matches no earlier version.
pub fn no_version_comes_back(database: &dyn Database) {
    run(async {
        let engine = database.open().await;
        let a = key("a");
        let mut before: Vec<Row> = Vec::new();
        for round in 0..8 {
            let current = row("the same body");
            fill(&*engine, &[(a.clone(), current.clone())]).await;
            for old in &before {
                for entry in [
                    replace(&a, old, &row("x")),
                    remove(&a, old),
                    require(&a, old),
                ] {
                    assert_eq!(
                        commit(&*engine, [entry], NOW).await,
                        conflict(0),
                        "round {round}"
                    );
                }
            }
            assert_eq!(commit(&*engine, [remove(&a, &current)], NOW).await, Ok(()));
            before.push(current);
        }
    });
}

/// One conflict anywhere leaves nothing of the batch; without it, everything is there.
pub fn a_batch_is_all_or_nothing(database: &dyn Database) {
    run(async {
        let engine = database.open().await;
        let keys: Vec<_> = ["a", "b", "c", "d", "e", "f"]
            .into_iter()
            .map(key)
            .collect();
        let old: Vec<_> = ["1", "2", "3", "4", "5"].into_iter().map(row).collect();
        let before: Vec<_> = keys.iter().cloned().zip(old.iter().cloned()).collect();
        fill(&*engine, &before).await;
        let good = [
            replace(&keys[0], &old[0], &row("new")),
            remove(&keys[1], &old[1]),
            require(&keys[2], &old[2]),
            reseal(&keys[3], &old[3], "resealed"),
            remove(&keys[4], &old[4]),
            insert(&keys[5], &row("inserted")),
        ];
        let stale = row("never stored");
        let bad = [
            insert(&keys[0], &row("x")),
            remove(&keys[1], &stale),
            require(&keys[2], &stale),
            reseal(&keys[3], &stale, "x"),
            replace(&keys[4], &stale, &row("x")),
            require(&keys[5], &stale),
        ];
        for (at, entry) in bad.into_iter().enumerate() {
            let mut entries = good.clone();
            entries[at] = entry;
            assert_eq!(commit(&*engine, entries, NOW).await, conflict(at));
            assert_eq!(
                dump(&*engine).await,
                before,
                "after a conflict of entry {at}"
            );
        }
        assert_eq!(commit(&*engine, good, NOW).await, Ok(()));
        let bodies: Vec<_> = dump(&*engine)
            .await
            .into_iter()
            .map(|(key, row)| (key, row.body))
            .collect();
        let want: Vec<_> = [(0, "new"), (2, "3"), (3, "resealed"), (5, "inserted")]
            .into_iter()
            .map(|(at, body)| (keys[at].clone(), body.into()))
            .collect();
        assert_eq!(bodies, want);
    });
}

/// Entries apply in key order and are numbered in the order in which they were added.
pub fn the_first_conflict_in_key_order_is_named(database: &dyn Database) {
    run(async {
        let engine = database.open().await;
        let taken = row("taken");
        fill(
            &*engine,
            &[(key("b"), taken.clone()), (key("c"), taken.clone())],
        )
        .await;
        let entries = [
            insert(&key("c"), &taken),
            insert(&key("d"), &taken),
            insert(&key("b"), &taken),
            insert(&key("a"), &taken),
        ];
        assert_eq!(commit(&*engine, entries, NOW).await, conflict(2));
    });
}

/// The body is new; version and expiry stay.
pub fn resealing_keeps_the_version(database: &dyn Database) {
    run(async {
        let engine = database.open().await;
        let (a, b) = (key("a"), key("b"));
        let (kept, passing) = (row("old"), expiring("old", NOW.saturating_add(MOMENT)));
        fill(
            &*engine,
            &[(a.clone(), kept.clone()), (b.clone(), passing.clone())],
        )
        .await;
        let entries = [reseal(&a, &kept, "new"), reseal(&b, &passing, "new")];
        assert_eq!(commit(&*engine, entries, NOW).await, Ok(()));
        let new = |row: Row| Row {
            body: "new".into(),
            ..row
        };
        assert_eq!(dump(&*engine).await, [(a, new(kept)), (b, new(passing))]);
    });
}

/// From `expires_at` on, a record is absent except for its removal.
pub fn expired_records_are_absent(database: &dyn Database) {
    run(async {
        let engine = database.open().await;
        let a = key("a");
        let old = expiring("old", NOW);
        let before = NOW.saturating_sub(MOMENT);
        fill(&*engine, &[]).await;
        let commit = async |entry, now| commit(&*engine, [entry], now).await;
        assert_eq!(commit(insert(&a, &old), before).await, Ok(()));

        // Just before it expires it is there.
        assert_eq!(get(&*engine, &a, before).await.as_ref(), Some(&old));
        assert_eq!(commit(insert(&a, &row("x")), before).await, conflict(0));
        assert_eq!(commit(require(&a, &old), before).await, Ok(()));

        // At that moment it is not.
        assert_eq!(get(&*engine, &a, NOW).await, None);
        assert_eq!(engine.scan(&Prefix::all(), None, 10, NOW).await, Ok(vec![]));
        for entry in [
            replace(&a, &old, &row("x")),
            require(&a, &old),
            reseal(&a, &old, "x"),
        ] {
            assert_eq!(commit(entry.clone(), NOW).await, conflict(0), "{entry:?}");
        }
        assert_eq!(
            get(&*engine, &a, before).await.as_ref(),
            Some(&old),
            "those left it as it was"
        );

        // It can then be inserted over, and its old version no longer removes it.
        let next = expiring("next", NOW.saturating_add(MOMENT));
        assert_eq!(commit(insert(&a, &next), NOW).await, Ok(()));
        assert_eq!(get(&*engine, &a, NOW).await.as_ref(), Some(&next));
        assert_eq!(commit(remove(&a, &old), NOW).await, conflict(0));

        // A later state may expire later than an earlier one, or never.
        let lasting = row("lasting");
        assert_eq!(commit(replace(&a, &next, &lasting), NOW).await, Ok(()));
        assert_eq!(
            get(&*engine, &a, Timestamp::MAX).await.as_ref(),
            Some(&lasting)
        );

        // An expired record can be removed.
        let brief = expiring("brief", NOW);
        let replaced = commit(replace(&a, &lasting, &brief), before).await;
        assert_eq!(replaced, Ok(()));
        assert_eq!(commit(remove(&a, &brief), NOW).await, Ok(()));
        assert_eq!(engine.is_empty().await, Ok(true));
    });
}

/// `expired` returns the records that expired in a range of time, the earliest first, up to the limit.
pub fn expired_records_are_listed(database: &dyn Database) {
    run(async {
        let engine = database.open().await;
        let at = |millis| NOW.saturating_add(Duration::from_millis(millis));
        let rows = [
            (key("a"), expiring("", at(3))),
            (key("b"), expiring("", at(1))),
            (key("c"), row("")),
            (key("d"), expiring("", at(2))),
            (key("e"), expiring("", at(1))),
            (key("f"), expiring("", Timestamp::MAX)),
        ];
        fill(&*engine, &rows).await;
        let listed = |order: &[usize]| {
            Ok(order
                .iter()
                .map(|&at| (rows[at].0.clone(), rows[at].1.version))
                .collect::<Vec<_>>())
        };
        for (within, limit, order) in [
            (
                Timestamp::EPOCH..=Timestamp::MAX,
                usize::MAX,
                &[1, 4, 3, 0, 5][..],
            ),
            (Timestamp::EPOCH..=at(0), 10, &[]),
            (Timestamp::EPOCH..=at(1), 10, &[1, 4]),
            (Timestamp::EPOCH..=at(2), 10, &[1, 4, 3]),
            (Timestamp::EPOCH..=at(2), 2, &[1, 4]),
            (Timestamp::EPOCH..=at(2), 0, &[]),
            (at(1)..=at(1), 10, &[1, 4]),
            (at(2)..=at(3), 10, &[3, 0]),
            (at(2)..=Timestamp::MAX, 2, &[3, 0]),
            (at(4)..=Timestamp::MAX, 10, &[5]),
            (at(2)..=at(1), 10, &[]),
        ] {
            let found = engine.expired(within.clone(), limit).await;
            assert_eq!(found, listed(order), "{within:?}, {limit}");
        }
    });
}

/// A scan, forwards or back, returns the keys of its prefix in order, and its pages have no gap or overlap.
pub fn scans_are_ordered_and_paged(database: &dyn Database) {
    run(async {
        let engine = database.open().await;
        let names = [
            "",
            "\0",
            "\0\0",
            "\u{1}",
            "a",
            "a\0",
            "a\0b",
            "aa",
            "ab",
            "b",
            "\u{ff}",
            "\u{10ffff}",
        ];
        let long = "a".repeat(500);
        let mut rows = Vec::new();
        for tenant in ["s", "t", "t\0", "t\u{1}", "tt", &long] {
            rows.push((Key::new("case", [tenant]), row(tenant)));
            rows.extend(names.map(|name| (Key::new("case", [tenant, name]), row(name))));
        }
        for collection in ["", "cas", "case\0", "cases"] {
            rows.extend(names.map(|name| (Key::new(collection, ["t", name]), row(name))));
        }
        fill(&*engine, &rows).await;
        rows.sort_by(|(a, _), (b, _)| a.cmp(b));
        let prefixes = [
            Prefix::all(),
            Prefix::collection("case"),
            Prefix::collection("none"),
            Prefix::new("case", ["t"]),
            Prefix::new("case", ["t\0"]),
            Prefix::new("case", [&long]),
            Prefix::new("case", ["t", "a"]),
            Prefix::new("case", ["t", "a", "deeper"]),
        ];
        // `from` need not be stored or within the prefix.
        let unstored = Key::new("case", ["t", "aaa"]);
        let froms: Vec<_> = rows
            .iter()
            .map(|(key, _)| key)
            .chain([&unstored])
            .cloned()
            .collect();
        for is_back in [false, true] {
            if is_back {
                rows.reverse();
            }
            for prefix in &prefixes {
                let all = rows.iter().filter(|(key, _)| prefix.contains(key));
                let all: Vec<_> = all.cloned().collect();
                let found = scan(&*engine, is_back, (prefix, None), usize::MAX, NOW).await;
                assert_eq!(found.as_ref(), Ok(&all), "{prefix:?}");
                let found = scan(&*engine, is_back, (prefix, None), 0, NOW).await;
                assert_eq!(found, Ok(vec![]));
                for size in [1, 7, all.len().max(1)] {
                    let paged = in_pages(&*engine, is_back, prefix, size, all.len()).await;
                    assert_eq!(paged, all, "{prefix:?} in pages of {size}");
                }
            }
            let within = &prefixes[3];
            for from in &froms {
                let is_beyond = |key: &Key| if is_back { key < from } else { key > from };
                let want = rows
                    .iter()
                    .filter(|(key, _)| within.contains(key) && is_beyond(key));
                let want: Vec<_> = want.cloned().collect();
                let found = scan(&*engine, is_back, (within, Some(from)), usize::MAX, NOW).await;
                assert_eq!(found, Ok(want), "{from}");
            }
        }
    });
}

/// Reads a prefix page by page, which must end once there are `most` records.
async fn in_pages(
    engine: &dyn Engine,
    is_back: bool,
    prefix: &Prefix,
    size: usize,
    most: usize,
) -> Vec<(Key, Row)> {
    let mut paged: Vec<(Key, Row)> = Vec::new();
    loop {
        let from = paged.last().map(|(key, _)| key);
        let page = scan(engine, is_back, (prefix, from), size, NOW).await;
        let page = page.expect("a page");
        assert!(page.len() <= size);
        if page.is_empty() {
            return paged;
        }
        paged.extend(page);
        assert!(
            paged.len() <= most,
            "{prefix:?} in pages of {size} has no end"
        );
    }
}

/// The longest keys, the largest bodies, the last moment and the largest batch all fit.
pub fn the_limits_are_reached(database: &dyn Database) {
    run(async {
        let engine = database.open().await;
        let widest = [0xFF; 126];
        let longest = Key::new(&"c".repeat(126), [widest; Key::MAX_SEGMENTS - 1]);
        assert_eq!(longest.as_bytes().len(), Key::MAX_LEN);
        let body: Vec<u8> = (0..=255).cycle().take(Changes::MAX_BODY_LEN).collect();
        let large = Row {
            body: body.into(),
            ..expiring("", Timestamp::MAX)
        };
        let empty = expiring("", Timestamp::MAX);
        fill(
            &*engine,
            &[(longest.clone(), large.clone()), (key(""), empty.clone())],
        )
        .await;
        let almost = Timestamp::MAX.saturating_sub(MOMENT);
        assert_eq!(get(&*engine, &longest, almost).await, Some(large));
        assert_eq!(get(&*engine, &key(""), almost).await, Some(empty));
        assert_eq!(get(&*engine, &key(""), Timestamp::MAX).await, None);

        let many: Vec<_> = (0..Changes::MAX_ENTRIES)
            .map(|at| (Key::new("many", [format!("{at:04}")]), row("one of many")))
            .collect();
        fill(&*engine, &many).await;
        let many_keys: Vec<_> = many.iter().map(|(key, _)| key.clone()).collect();
        let want = many.into_iter().map(|(_, row)| Some(row)).collect();
        assert_eq!(engine.get_many(&many_keys, NOW).await, Ok(want));
    });
}

/// After a reopen, the acknowledged records are there, and nothing else.
pub fn acknowledged_writes_outlive_the_engine(database: &dyn Database) {
    run(async {
        let mut want = Vec::new();
        for round in 0..4 {
            let engine = database.open().await;
            if database.is_durable() {
                assert_eq!(dump(&*engine).await, want, "opened for round {round}");
            } else {
                want.clear();
            }
            let written = ["a", "b", "c"].map(|name| (key(&format!("{round}{name}")), row(name)));
            for (key, row) in &written {
                assert_eq!(commit(&*engine, [insert(key, row)], NOW).await, Ok(()));
            }
            let [(a, old_a), (b, old_b), (c, old_c)] = written;
            let new_a = row("replaced");
            assert_eq!(
                commit(&*engine, [replace(&a, &old_a, &new_a)], NOW).await,
                Ok(())
            );
            assert_eq!(commit(&*engine, [remove(&b, &old_b)], NOW).await, Ok(()));
            let refused = [insert(&b, &row("x")), require(&key("absent"), &row("x"))];
            assert_eq!(commit(&*engine, refused, NOW).await, conflict(1));
            want.extend([(a, new_a), (c, old_c)]);
            assert_eq!(
                dump(&*engine).await,
                want,
                "before the end of round {round}"
            );
            if !database.is_durable() {
                return;
            }
            engine.close().await;
        }
    });
}

/// After `close` every call fails with that reason, and closing again is harmless.
pub fn a_closed_engine_says_so(database: &dyn Database) {
    run(async {
        let engine = database.open().await;
        fill(&*engine, &[(key("a"), row("a"))]).await;
        engine.close().await;
        engine.close().await;
        assert_eq!(engine.ready().await, Err(EngineError::Closed));
        assert_eq!(
            engine.get_many(&[key("a")], NOW).await,
            Err(EngineError::Closed)
        );
        assert_eq!(
            read(&*engine, ReadPlan::new([key("a")]), NOW).await,
            Err(EngineError::Closed.into())
        );
        assert_eq!(
            engine.scan(&Prefix::all(), None, 1, NOW).await,
            Err(EngineError::Closed)
        );
        assert_eq!(engine.expired(NOW..=NOW, 1).await, Err(EngineError::Closed));
        let closed = Err(CommitError::NotApplied(NotApplied::Engine(
            EngineError::Closed,
        )));
        assert_eq!(
            commit(&*engine, [insert(&key("b"), &row("b"))], NOW).await,
            closed
        );
    });
}
