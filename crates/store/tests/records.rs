//! Typed records, batches and their limits.
#![expect(clippy::expect_used, reason = "tests may")]

mod fixture;

use std::{
    mem,
    sync::{Arc, Mutex},
    time::Duration,
};

use keyproof_store::{
    Batch, Changes, CommitError, CommitOutcome, Engine, Key, NotApplied, Prefix, Record, Store,
    StoreError, SystemEntropy, Timestamp,
    faults::{CommitMode, FaultyEngine},
    memory::MemoryEngine,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use fixture::{Account, NOW, account, keys, open, plant};

async fn new_store() -> Store {
    open(&Arc::new(MemoryEngine::new()), keys(1))
        .await
        .expect("an empty store opens")
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Other {}

impl Record for Other {
    const TYPE: &'static str = "other";
    const VERSION: u32 = 1;
}

#[tokio::test]
async fn the_default_engine_is_open() {
    assert_eq!(MemoryEngine::default().ready().await, Ok(()));
}

#[tokio::test]
async fn records_come_back_with_their_version_and_expiry() {
    let store = new_store().await;
    let (a, b) = (
        Key::new("account", ["t", "a"]),
        Key::new("account", ["t", "b"]),
    );
    let later = NOW.saturating_add(Duration::from_secs(1));
    let mut batch = store.batch(NOW);
    let first = batch.insert(&a, &account("a"), Some(later));
    let other = batch.insert(&b, &account("b"), None);
    store.commit(batch).await.expect("both are new");

    let stored = store
        .get::<Account>(&a, NOW)
        .await
        .expect("a read")
        .expect("it is there");
    assert_eq!(
        (stored.record, stored.version, stored.expires_at),
        (account("a"), first, Some(later))
    );
    assert_eq!(store.get::<Account>(&a, later).await, Ok(None));

    let mut batch = store.batch(NOW);
    let second = batch.replace(&a, first, &account("a2"), Some(later));
    batch.require(&b, other);
    store.commit(batch).await.expect("both are as they were");
    assert_ne!(first, second);

    let prefix = Prefix::new("account", ["t"]);
    let page = store
        .scan::<Account>(&prefix, None, 10, NOW)
        .await
        .expect("a scan");
    let found: Vec<_> = page
        .iter()
        .map(|(key, stored)| (key, stored.record.name.as_str(), stored.version))
        .collect();
    assert_eq!(found, [(&a, "a2", second), (&b, "b", other)]);
    assert_eq!(
        store.expired(Timestamp::EPOCH..=later, 10).await,
        Ok(vec![(a.clone(), second)])
    );

    let raws = store
        .get_many(&[b, Key::new("account", ["t", "c"]), a], NOW)
        .await
        .expect("a read");
    let versions: Vec<_> = raws
        .iter()
        .map(|raw| raw.as_ref().map(|raw| raw.version()))
        .collect();
    assert_eq!(versions, [Some(other), None, Some(second)]);
    let name = |at: usize| {
        raws[at]
            .as_ref()
            .map(|raw| raw.decode::<Account>().map(|stored| stored.record.name))
    };
    assert_eq!(name(0), Some(Ok("b".to_owned())));
}

#[tokio::test]
async fn a_conflict_names_the_entry_as_it_was_added() {
    let store = new_store().await;
    let keys = ["c", "b", "a"].map(|name| Key::new("account", [name]));
    let mut batch = store.batch(NOW);
    batch.insert(&keys[1], &account("b"), None);
    store.commit(batch).await.expect("it is new");
    let mut batch = store.batch(NOW);
    keys.iter().for_each(|key| {
        batch.insert(key, &account("x"), None);
    });
    assert_eq!(
        store.commit(batch).await,
        Err(CommitError::Conflict { entry: 1 })
    );
    assert_eq!(store.get::<Account>(&keys[2], NOW).await, Ok(None));
}

#[tokio::test]
async fn a_batch_out_of_bounds_is_not_applied() {
    #[derive(Clone)]
    struct Unwritable;
    impl Serialize for Unwritable {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no"))
        }
    }
    impl<'de> Deserialize<'de> for Unwritable {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Ok(Self)
        }
    }
    impl Record for Unwritable {
        const TYPE: &'static str = "unwritable";
        const VERSION: u32 = 1;
    }

    let store = new_store().await;
    let keys = ["a", "b", "c"].map(|name| Key::new("account", [name]));
    let refused = |reason| Err(CommitError::NotApplied(reason));

    assert_eq!(
        store.commit(store.batch(NOW)).await,
        Ok(()),
        "nothing to do is done"
    );

    let mut batch = store.batch(NOW);
    for at in [1, 2, 0, 1] {
        batch.insert(&keys[at], &account("x"), None);
    }
    assert_eq!(
        store.commit(batch).await,
        refused(NotApplied::DuplicateKey {
            first: 0,
            second: 3
        })
    );

    let mut batch = store.batch(NOW);
    batch.insert(&keys[0], &account("x"), None);
    batch.insert(&keys[1], &Unwritable, None);
    assert_eq!(
        store.commit(batch).await,
        refused(NotApplied::NotSerializable {
            entry: 1,
            kind: "unwritable"
        })
    );

    let mut batch = store.batch(NOW);
    batch.insert(&keys[0], &account("x"), None);
    batch.insert(&keys[1], &account(&"x".repeat(Changes::MAX_BODY_LEN)), None);
    let len = json!({"type": "account", "v": 3, "data": account("")})
        .to_string()
        .len()
        + Changes::MAX_BODY_LEN;
    let limit = Changes::MAX_BODY_LEN;
    assert_eq!(
        store.commit(batch).await,
        refused(NotApplied::BodyTooLong {
            entry: 1,
            len,
            limit
        })
    );

    let mut batch = store.batch(NOW);
    for at in 0..=Changes::MAX_ENTRIES {
        batch.insert(&Key::new("account", [format!("{at}")]), &account("x"), None);
    }
    let (count, limit) = (Changes::MAX_ENTRIES + 1, Changes::MAX_ENTRIES);
    assert_eq!(
        store.commit(batch).await,
        refused(NotApplied::TooManyEntries { count, limit })
    );

    assert_eq!(
        store
            .scan::<Account>(&Prefix::collection("account"), None, 10, NOW)
            .await,
        Ok(vec![])
    );
}

#[tokio::test]
async fn older_records_are_upgraded_and_others_refused() {
    let engine = Arc::new(MemoryEngine::new());
    let store = open(&engine, keys(1)).await.expect("an empty store opens");
    let key = |name| Key::new("account", [name]);
    let bodies = [
        (
            "upgraded",
            r#"{"type":"account","v":2,"data":{"label":"ann","secret":null}}"#,
        ),
        ("forgotten", r#"{"type":"account","v":1,"data":{}}"#),
        ("newer", r#"{"type":"account","v":4,"data":{}}"#),
        (
            "malformed",
            r#"{"type":"account","v":3,"data":{"name":"hunter2","secret":"hunter2"}}"#,
        ),
        ("no record", r#"{"type":"account"}"#),
        ("no json", "\u{1}"),
    ];
    for (name, body) in bodies {
        plant(&engine, &key(name), body).await;
    }
    let get = async |name| store.get::<Account>(&key(name), NOW).await;
    let kind = "account".to_owned();

    let upgraded = get("upgraded")
        .await
        .expect("version 2 can be read")
        .expect("it is there");
    assert_eq!(upgraded.record, account("ann"));
    assert_eq!(
        get("forgotten").await,
        Err(StoreError::NoUpgrade {
            key: key("forgotten"),
            kind: kind.clone(),
            found: 1,
            known: 3
        })
    );
    assert_eq!(
        get("newer").await,
        Err(StoreError::NewerVersion {
            key: key("newer"),
            kind: kind.clone(),
            found: 4,
            known: 3
        })
    );
    let malformed = get("malformed").await.expect_err("a secret is no text");
    assert!(
        matches!(
            &malformed,
            StoreError::Malformed {
                column: 1..,
                version: 3,
                ..
            }
        ),
        "{malformed:?}"
    );
    assert!(
        !format!("{malformed} {malformed:?}").contains("hunter2"),
        "{malformed:?}"
    );
    for name in ["no record", "no json"] {
        assert_eq!(
            get(name).await,
            Err(StoreError::NotARecord { key: key(name) })
        );
    }
    assert_eq!(
        store
            .get::<Other>(&key("upgraded"), NOW)
            .await
            .expect_err("of another type"),
        StoreError::WrongType {
            key: key("upgraded"),
            expected: "other",
            found: kind
        }
    );
}

/// Neither a clock that was set back, nor a copy or a rotation of the whole store finds it.
#[tokio::test]
async fn absence_that_was_required_leaves_nothing_to_be_found() {
    let store = new_store().await;
    let key = Key::new("account", ["t", "a"]);
    let everything = async || {
        let all = Prefix::all();
        let found = store.scan_raw(&all, None, 10, Timestamp::EPOCH).await;
        found.expect("a scan").len()
    };
    let before = everything().await;
    for _ in 0..2 {
        let mut batch = store.batch(NOW);
        batch.require_absent(&key);
        store.commit(batch).await.expect("it is absent");
    }
    for now in [Timestamp::EPOCH, NOW, Timestamp::MAX] {
        assert_eq!(store.get::<Account>(&key, now).await, Ok(None));
    }
    assert_eq!(everything().await, before);
    assert_eq!(store.reseal_all(|_| ()).await, Ok(0));
    let found = store.expired(Timestamp::EPOCH..=Timestamp::EPOCH, 10).await;
    assert_eq!(
        found.expect("a scan").len(),
        1,
        "it goes with what has expired"
    );

    let mut batch = store.batch(NOW);
    batch.insert(&key, &account("a"), None);
    store.commit(batch).await.expect("it is absent still");
    let mut batch = store.batch(NOW);
    batch.require_absent(&key);
    let conflict = Err(CommitError::Conflict { entry: 0 });
    assert_eq!(store.commit(batch).await, conflict);
}

#[tokio::test]
async fn who_asked_is_told_what_became_of_a_batch_unless_it_was_not_applied() {
    let engine = FaultyEngine::new();
    let store = Store::open(engine.clone(), keys(1), Arc::new(SystemEntropy::new()), NOW).await;
    let store = store.expect("an empty store opens");
    let told = Arc::new(Mutex::new(Vec::new()));
    let ask = |batch: &mut Batch, name: &str| {
        let (told, name) = (told.clone(), name.to_owned());
        batch.on_outcome(move |outcome| {
            let mut told = told.lock().expect("nobody has panicked");
            told.push((name, outcome));
        });
    };
    let batch_of = |name: &str| {
        let mut batch = store.batch(NOW);
        batch.insert(&Key::new("account", ["t", name]), &account(name), None);
        ask(&mut batch, name);
        ask(&mut batch, "too");
        batch
    };
    let taken = || mem::take(&mut *told.lock().expect("nobody has panicked"));
    let both =
        |name: &str, outcome| Vec::from([(name.to_owned(), outcome), ("too".to_owned(), outcome)]);

    store.commit(batch_of("new")).await.expect("it is new");
    assert_eq!(taken(), both("new", CommitOutcome::Applied));
    let twice = store.commit(batch_of("new")).await;
    assert_eq!(twice, Err(CommitError::Conflict { entry: 0 }));
    assert_eq!(taken(), []);
    engine.commits(CommitMode::NotApplied);
    let failed = store.commit(batch_of("failed")).await;
    assert!(
        matches!(failed, Err(CommitError::NotApplied(_))),
        "{failed:?}"
    );
    assert_eq!(taken(), []);
    engine.commits(CommitMode::Lost);
    let lost = store.commit(batch_of("lost")).await;
    assert!(matches!(lost, Err(CommitError::Unknown(_))), "{lost:?}");
    assert_eq!(taken(), both("lost", CommitOutcome::Unknown));
    engine.commits(CommitMode::Made);
    drop(batch_of("never committed"));
    assert_eq!(taken(), []);
    // The engine yields before it commits.
    tokio::select! {
        biased;
        outcome = store.commit(batch_of("left alone")) => panic!("{outcome:?}"),
        () = std::future::ready(()) => {}
    }
    assert_eq!(taken(), both("left alone", CommitOutcome::Unknown));
    let mut empty = store.batch(NOW);
    ask(&mut empty, "empty");
    store.commit(empty).await.expect("there is nothing to do");
    assert_eq!(taken(), [("empty".to_owned(), CommitOutcome::Applied)]);
}
