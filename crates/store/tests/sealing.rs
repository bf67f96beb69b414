//! Sealing, the master key's fingerprint, and its rotation.
#![expect(clippy::expect_used, reason = "tests may")]

mod fixture;

use std::sync::Arc;

use keyproof_store::{
    Batch, CommitError, Engine, Entropy, Key, KeyId, MasterKey, MasterKeys, NotApplied, OpenError,
    RotateError, Rotation, Sealed, Store, SystemEntropy, Timestamp, UnsealError,
    faults::{CommitMode, FaultyEngine},
    memory::MemoryEngine,
};
use serde_json::json;

use fixture::{Account, NOW, account, keys, open, plant};

fn master_key(byte: u8) -> MasterKey {
    MasterKey::from_bytes(&[byte; 32]).expect("32 bytes")
}

fn opened(store: &Store, key: &Key, field: &str, sealed: &Sealed) -> Vec<u8> {
    let plaintext = store.unseal(key, field, sealed).expect("it opens");
    plaintext.to_vec()
}

/// Computed with Python's `cryptography`: AES-256-GCM over "a secret" with the key 00..1F, the
/// nonce 64..6F, and as associated data the record key's length in two bytes, that key and the field.
#[test]
fn the_envelope_is_what_another_implementation_makes() {
    struct TallyBuilder;
    impl Entropy for TallyBuilder {
        fn fill(&self, dest: &mut [u8]) {
            dest.iter_mut()
                .zip(100..)
                .for_each(|(byte, next)| *byte = next);
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let bytes: Vec<u8> = (0..32).collect();
    let keys = MasterKeys::new(&MasterKey::from_bytes(&bytes).expect("32 bytes"));
    let engine = Arc::new(MemoryEngine::new());
    let store = runtime
        .block_on(Store::open(engine, keys, Arc::new(TallyBuilder), NOW))
        .expect("it opens");
    let key = Key::new("otp_device", ["shop", "till-1"]);
    let sealed = store.seal(&key, "otp_key", b"a secret");
    let envelope = json!({"$sealed": {
        "field": "otp_key",
        "key": "57a0eb1b63ac251b",
        "nonce": "ZGVmZ2hpamtsbW5v",
        "data": "KTutAxqbM+q6G4DGd+olYtUf8wABMicD",
    }});
    assert_eq!(serde_json::to_value(&sealed).expect("JSON"), envelope);
    let read: Sealed = serde_json::from_value(envelope).expect("an envelope");
    assert_eq!(opened(&store, &key, "otp_key", &read), b"a secret");
}

#[tokio::test]
async fn a_sealed_value_opens_nowhere_else_and_not_altered() {
    let store = open(&Arc::new(MemoryEngine::new()), keys(1)).await;
    let store = store.expect("an empty store opens");
    let (a, b) = (Key::new("account", ["a"]), Key::new("account", ["b"]));
    let sealed = store.seal(&a, "secret", b"hunter2");
    assert_eq!(opened(&store, &a, "secret", &sealed), b"hunter2");
    assert_ne!(
        sealed,
        store.seal(&a, "secret", b"hunter2"),
        "every nonce is new"
    );

    let master = sealed.master_key();
    let stays_closed = |key: &Key, field: &str, sealed: &Sealed| {
        let refused = store.unseal(key, field, sealed).map(|_| ());
        let key = key.clone();
        assert_eq!(
            refused,
            Err(UnsealError::Inauthentic { key, master }),
            "{field}"
        );
    };
    stays_closed(&b, "secret", &sealed);
    stays_closed(&a, "secrets", &sealed);

    let altered = |member: &str, text: &str| -> Sealed {
        let mut envelope = serde_json::to_value(&sealed).expect("JSON");
        envelope["$sealed"][member] = json!(text);
        serde_json::from_value(envelope).expect("an envelope still")
    };
    for other in [
        altered("nonce", "AAAAAAAAAAAAAAAA"),
        altered("data", "AAAA"),
        altered("data", ""),
    ] {
        stays_closed(&a, "secret", &other);
    }
    stays_closed(&a, "secrets", &altered("field", "secrets"));
    let other_key = altered("key", "0000000000000000");
    assert!(matches!(
        store.unseal(&a, "secret", &other_key),
        Err(UnsealError::UnknownMasterKey { .. })
    ));
}

#[test]
fn nothing_prints_a_master_key() {
    let key = MasterKey::from_bytes(&[0xAB; 32]).expect("32 bytes");
    assert_eq!(format!("{key:?}"), format!("MasterKey({})", key.id()));
    assert_eq!(
        format!("{:?}", MasterKeys::new(&key)),
        format!("MasterKeys([KeyId({})])", key.id())
    );
    assert!(MasterKey::from_bytes(&[0; 31]).is_none() && MasterKey::from_bytes(&[0; 33]).is_none());
    assert_ne!(
        MasterKey::generate(&SystemEntropy::new()).id(),
        MasterKey::generate(&SystemEntropy::new()).id()
    );
}

#[tokio::test]
async fn another_master_key_is_refused_by_name() {
    let engine = Arc::new(MemoryEngine::new());
    open(&engine, keys(1))
        .await
        .expect("an empty store takes any key");
    open(&engine, keys(1)).await.expect("its own key");
    let error = open(&engine, keys(2)).await.expect_err("another key");
    let (sealed, given) = (master_key(1).id(), master_key(2).id());
    assert_eq!(
        error,
        OpenError::MasterKey {
            sealed: vec![sealed],
            given: vec![given]
        }
    );
    let text = error.to_string();
    assert!(
        text.contains(&sealed.to_string()) && text.contains(&given.to_string()),
        "{text}"
    );
}

#[tokio::test]
async fn records_without_a_fingerprint_are_refused() {
    let engine = Arc::new(MemoryEngine::new());
    plant(&engine, &Key::new("account", ["a"]), "{}").await;
    assert_eq!(
        open(&engine, keys(1)).await.expect_err("not empty"),
        OpenError::MissingFingerprint
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_keys_for_one_empty_store_one_wins() {
    for _ in 0..50 {
        let engine = Arc::new(MemoryEngine::new());
        let nodes = [1, 2].map(|byte| {
            let engine = engine.clone();
            tokio::spawn(async move { open(&engine, keys(byte)).await.map(|_| ()) })
        });
        let mut outcomes = Vec::new();
        for node in nodes {
            outcomes.push(node.await.expect("no panic"));
        }
        let refused = outcomes
            .iter()
            .filter(|outcome| matches!(outcome, Err(OpenError::MasterKey { .. })));
        assert_eq!(refused.count(), 1, "{outcomes:?}");
    }
}

#[tokio::test]
async fn rotation_needs_no_types_and_keeps_versions() {
    let engine = Arc::new(MemoryEngine::new());
    let old = open(&engine, keys(1)).await.expect("an empty store opens");
    let (a, b, c) = (
        Key::new("account", ["a"]),
        Key::new("odd", ["b"]),
        Key::new("odd", ["c"]),
    );
    let mut batch = old.batch(NOW);
    let secret = Some(old.seal(&a, "secret", b"hunter2"));
    let expired = Some(NOW);
    let version = batch.insert(
        &a,
        &Account {
            secret,
            ..account("a")
        },
        expired,
    );
    old.commit(batch).await.expect("it is new");
    // Its type is unknown; it has secrets in odd places, and numbers that no float can represent.
    let deep = serde_json::to_string(&old.seal(&b, "deep", b"deep secret")).expect("JSON");
    let envelope = |inner: &str| {
        format!(
            r#"{{"type":"odd","v":9,"data":{{"z":[1.10,{{"é\n":{inner}}}],"a":340282366920938463463374607431768211455,"a":"$sealed","e":[{{}},[]]}}}}"#
        )
    };
    let odd = plant(&engine, &b, &envelope(&deep)).await;
    let plain = plant(
        &engine,
        &c,
        r#"{"type":"odd","v":9,"data":{ "$sealed" : 1 }}"#,
    )
    .await;

    let both = open(&engine, keys(1).with(&master_key(2)))
        .await
        .expect("it has the store's key");
    let new = master_key(2).id();
    assert_eq!(both.prepare_rotation(new).await, Ok(()));
    open(&engine, keys(1)).await.expect("it seals still");
    assert_eq!(both.switch_key().await, Ok(()));
    // From now on both are needed.
    for one in [1, 2] {
        let error = open(&engine, keys(one)).await.expect_err("one key of two");
        let sealed = vec![master_key(2).id(), master_key(1).id()];
        assert_eq!(
            error,
            OpenError::MasterKey {
                sealed,
                given: vec![master_key(one).id()]
            }
        );
    }
    let unfinished = Err(RotateError::Unfinished {
        left: 2,
        first: a.clone(),
    });
    assert_eq!(both.finish_rotation(|_| ()).await, unfinished);
    let mut read = 0;
    assert_eq!(both.reseal_all(|so_far| read = so_far).await, Ok(2));
    assert_eq!(read, 4, "with the record of the keys");
    assert_eq!(both.reseal_all(|_| ()).await, Ok(0));
    assert_eq!(both.finish_rotation(|_| ()).await, Ok(()));

    let new = open(&engine, keys(2))
        .await
        .expect("the old key is not needed any more");
    assert!(matches!(
        open(&engine, keys(1)).await,
        Err(OpenError::MasterKey { .. })
    ));
    let before = Timestamp::EPOCH;
    let stored = new
        .get::<Account>(&a, before)
        .await
        .expect("a read")
        .expect("it is there");
    assert_eq!((stored.version, stored.expires_at), (version, expired));
    let sealed = stored.record.secret.expect("a secret");
    assert_eq!(opened(&new, &a, "secret", &sealed), b"hunter2");

    let raws = new.get_many(&[b.clone(), c], NOW).await.expect("a read");
    let [Some(raw_b), Some(raw_c)] = raws.as_slice() else {
        panic!("both are there")
    };
    assert_eq!((raw_b.version(), raw_c.version()), (odd, plain));
    assert_eq!(
        raw_c.json(),
        br#"{"type":"odd","v":9,"data":{ "$sealed" : 1 }}"#
    );
    let body = std::str::from_utf8(raw_b.json()).expect("UTF-8");
    let start = body.find(r#"{"$sealed""#).expect("an envelope");
    let end = body[start..].find("}}").expect("its end") + start + 2;
    assert_eq!(
        body,
        envelope(&body[start..end]),
        "all but the envelope stayed as it was"
    );
    let sealed: Sealed = serde_json::from_str(&body[start..end]).expect("an envelope");
    assert_eq!(sealed.master_key(), master_key(2).id());
    assert_eq!(opened(&new, &b, "deep", &sealed), b"deep secret");
}

/// An earlier run's work may not be durable yet, and the old key is discarded after this one.
#[tokio::test]
async fn rotation_is_said_to_be_done_only_once_that_lasts() {
    let engine = FaultyEngine::new();
    let store = Store::open(engine.clone(), keys(1), Arc::new(SystemEntropy::new()), NOW)
        .await
        .expect("an empty store opens");
    assert_eq!(store.finish_rotation(|_| ()).await, Ok(()));
    engine.commits(CommitMode::Lost);
    let finished = store.finish_rotation(|_| ()).await;
    assert!(
        matches!(finished, Err(RotateError::Commit(CommitError::Unknown(_)))),
        "{finished:?}"
    );
}

#[tokio::test]
async fn rotation_stops_at_a_secret_that_does_not_open() {
    let engine = Arc::new(MemoryEngine::new());
    let old = open(&engine, keys(1)).await.expect("an empty store opens");
    let (a, b) = (Key::new("account", ["a"]), Key::new("account", ["b"]));
    let moved = old.seal(&a, "secret", b"hunter2");
    put(&old, &b, moved).await.expect("it is new");
    let both = open(&engine, keys(1).with(&master_key(2)))
        .await
        .expect("it has the store's key");
    switched(&both).await;
    let master = master_key(1).id();
    assert_eq!(
        both.reseal_all(|_| ()).await,
        Err(RotateError::Unseal(UnsealError::Inauthentic {
            key: b,
            master
        }))
    );
    assert!(
        open(&engine, keys(2)).await.is_err(),
        "the old key is still needed"
    );
}

#[tokio::test]
async fn the_steps_of_a_rotation_are_taken_in_their_order() {
    let engine = Arc::new(MemoryEngine::new());
    let store = open(&engine, keys(1).with(&master_key(2)).with(&master_key(3)))
        .await
        .expect("an empty store opens");
    let [one, two, three, four] = [1, 2, 3, 4].map(|byte| master_key(byte).id());
    // One that was opened before any key was prepared.
    let without = open(&engine, keys(1)).await.expect("its key seals");
    assert_eq!(store.switch_key().await, Err(RotateError::NotPrepared));
    assert_eq!(
        store.prepare_rotation(four).await,
        Err(RotateError::UnknownKey { id: four })
    );
    assert_eq!(
        store.prepare_rotation(one).await,
        Err(RotateError::NotPrepared)
    );
    for _ in 0..2 {
        assert_eq!(store.prepare_rotation(two).await, Ok(()));
    }
    assert_eq!(
        without.switch_key().await,
        Err(RotateError::UnknownKey { id: two })
    );
    let under_way = |from, to| Err(RotateError::UnderWay { from, to });
    assert_eq!(store.prepare_rotation(three).await, under_way(one, two));
    assert_eq!(store.finish_rotation(|_| ()).await, under_way(one, two));
    for _ in 0..2 {
        assert_eq!(store.switch_key().await, Ok(()));
        let switched = store.rotation().await.expect("a fingerprint");
        assert_eq!((switched.sealing, switched.next), (two, None));
        assert_eq!(switched.opening, [one]);
    }
    assert_eq!(store.sealing_key(), two);
    assert_eq!(store.prepare_rotation(three).await, under_way(one, two));
    assert_eq!(store.finish_rotation(|_| ()).await, Ok(()));
    assert_eq!(store.prepare_rotation(three).await, Ok(()));
}

#[tokio::test]
async fn two_who_finish_a_rotation_at_once_both_have_finished_it() {
    let engine = FaultyEngine::new();
    let node = || {
        let both = keys(1).with(&master_key(2));
        Store::open(engine.clone(), both, Arc::new(SystemEntropy::new()), NOW)
    };
    let one = node().await.expect("an empty store opens");
    let other = node().await.expect("the same keys");
    switched(&one).await;
    let both = tokio::join!(one.finish_rotation(|_| ()), other.finish_rotation(|_| ()));
    assert_eq!(both, (Ok(()), Ok(())));
}

/// Otherwise a process that dies after a step would lose its event, as a repeated step does nothing.
#[tokio::test]
async fn what_is_added_to_a_step_of_a_rotation_is_stored_with_it_once() {
    let engine = FaultyEngine::new();
    let entropy = Arc::new(SystemEntropy::new());
    let both = keys(1).with(&master_key(2));
    let store = Store::open(engine.clone(), both, entropy, NOW)
        .await
        .expect("an empty store opens");
    let [one, two] = [1, 2].map(|byte| master_key(byte).id());
    let made = (CommitMode::Made, true);
    let tries = [(CommitMode::NotApplied, false), made, made];
    // A second insertion would conflict.
    let note = |step: &'static str, sealing: KeyId, next: Option<KeyId>| {
        move |batch: &mut Batch, before: &Rotation| {
            assert_eq!((before.sealing, before.next), (sealing, next));
            batch.insert(&Key::new("account", [step]), &account(step), None);
        }
    };
    let is_noted = async |step: &str| {
        let key = Key::new("account", [step]);
        let found = store.get::<Account>(&key, NOW).await;
        found.expect("it answers").is_some()
    };
    for (mode, is_made) in tries {
        engine.commits(mode);
        let prepared = store.prepare_rotation_with(two, None, note("prepare", one, None));
        assert_eq!(prepared.await.is_ok(), is_made);
        assert_eq!(is_noted("prepare").await, is_made);
    }
    for (mode, is_made) in tries {
        engine.commits(mode);
        let switched = store.switch_key_with(note("switch", one, Some(two)));
        assert_eq!(switched.await.is_ok(), is_made);
        assert_eq!(is_noted("switch").await, is_made);
    }
    for (mode, is_made) in tries {
        engine.commits(mode);
        let finished = store.finish_rotation_with(|_| (), note("finish", two, None));
        assert_eq!(finished.await.is_ok(), is_made);
        assert_eq!(is_noted("finish").await, is_made);
    }
}

/// As after a restore of a backup that contained the current key, but not the prepared one.
#[tokio::test]
async fn a_prepared_key_that_is_lost_gives_way_to_another() {
    let engine = Arc::new(MemoryEngine::new());
    let [one, two, three] = [1, 2, 3].map(|byte| master_key(byte).id());
    let before = open(&engine, keys(1).with(&master_key(2))).await;
    let before = before.expect("an empty store opens");
    assert_eq!(before.prepare_rotation(two).await, Ok(()));
    let key = Key::new("account", ["a"]);
    put(&before, &key, before.seal(&key, "secret", b"1"))
        .await
        .expect("nothing is there");

    let store = open(&engine, keys(1).with(&master_key(3))).await;
    let store = store.expect("the key that seals is enough");
    let under_way = Err(RotateError::UnderWay { from: one, to: two });
    // Without a statement that it is lost, or with one about another key.
    assert_eq!(store.prepare_rotation(three).await, under_way);
    let instead_of = async |store: &Store, lost| {
        store
            .prepare_rotation_with(three, Some(lost), |_, _| ())
            .await
    };
    assert_eq!(instead_of(&store, one).await, under_way);
    let all = keys(1).with(&master_key(2)).with(&master_key(3));
    let has_it = open(&engine, all).await.expect("both and another");
    assert_eq!(instead_of(&has_it, two).await, under_way);
    for _ in 0..2 {
        assert_eq!(instead_of(&store, two).await, Ok(()));
    }
    // A node that has the lost key still needs the new one.
    let unknown = Err(RotateError::UnknownKey { id: three });
    assert_eq!(before.switch_key().await, unknown);
    assert_eq!(store.switch_key().await, Ok(()));
    assert_eq!(store.reseal_all(|_| ()).await, Ok(1));
    assert_eq!(store.finish_rotation(|_| ()).await, Ok(()));
    let after = open(&engine, keys(3)).await.expect("one key is enough");
    assert_eq!(sealed_under(&after, &key).await, three);
}

#[tokio::test]
async fn a_snapshot_says_which_keys_were_named_at_its_moment() {
    let engine = Arc::new(MemoryEngine::new());
    let store = open(&engine, keys(1).with(&master_key(2))).await;
    let store = store.expect("an empty store opens");
    plant(&engine, &Key::new("", ["before"]), "{}").await;
    let before = store.rotation().await;
    let mut snapshot = store.snapshot().await.expect("a snapshot");
    switched(&store).await;
    assert_ne!(store.rotation().await, before);
    assert_eq!(Rotation::from_snapshot(&mut *snapshot).await, before);
    let none = MemoryEngine::new();
    plant(&none, &Key::new("other", [""]), "{}").await;
    let mut snapshot = none.snapshot().await.expect("a snapshot");
    let unnamed = Err(RotateError::NoFingerprint);
    assert_eq!(Rotation::from_snapshot(&mut *snapshot).await, unnamed);
}

/// Prepares and switches to the second key.
async fn switched(store: &Store) {
    let prepared = store.prepare_rotation(master_key(2).id()).await;
    prepared.expect("the key is at hand");
    store.switch_key().await.expect("it is prepared");
}

async fn put(store: &Store, key: &Key, secret: Sealed) -> Result<(), CommitError> {
    let mut batch = store.batch(NOW);
    let record = Account {
        secret: Some(secret),
        ..account("a")
    };
    batch.insert(key, &record, None);
    store.commit(batch).await
}

async fn sealed_under(store: &Store, key: &Key) -> KeyId {
    let found = store.get::<Account>(key, NOW).await.expect("a read");
    let secret = found.expect("it is there").record.secret;
    let secret = secret.expect("a secret");
    store.unseal(key, "secret", &secret).expect("it opens");
    secret.master_key()
}

#[tokio::test]
async fn a_node_that_does_not_know_of_the_switch_writes_nothing_under_the_old_key() {
    let engine = Arc::new(MemoryEngine::new());
    let [one, two] = [1, 2].map(|byte| master_key(byte).id());
    let [console, node] = [(); 2].map(|()| keys(1).with(&master_key(2)));
    let console = open(&engine, console).await.expect("an empty store");
    let node = open(&engine, node).await.expect("the same keys");
    let (before, after) = (Key::new("account", ["a"]), Key::new("account", ["b"]));
    put(&node, &before, node.seal(&before, "secret", b"1"))
        .await
        .expect("nothing is there");
    assert_eq!(sealed_under(&node, &before).await, one);
    let read = node.get::<Account>(&before, NOW).await.expect("a read");
    let read = read.expect("it is there");
    switched(&console).await;

    // A new secret, and one that was read before and is written again with other data.
    let secret = node.seal(&after, "secret", b"2");
    assert_eq!(secret.master_key(), one, "it does not know yet");
    let refused = put(&node, &after, secret.clone()).await;
    assert_eq!(refused, Err(CommitError::Conflict { entry: 1 }));
    let mut batch = node.batch(NOW);
    let changed = Account {
        name: "changed".to_owned(),
        ..read.record
    };
    batch.replace(&before, read.version, &changed, None);
    assert_eq!(node.commit(batch).await, Ok(()), "it has learnt");
    assert_eq!(sealed_under(&node, &before).await, two);
    assert_eq!(put(&node, &after, secret).await, Ok(()));
    assert_eq!(sealed_under(&node, &after).await, two);
    assert_eq!(console.finish_rotation(|_| ()).await, Ok(()));
    open(&engine, keys(2)).await.expect("one key is enough");
}

#[tokio::test]
async fn a_node_without_the_new_key_writes_no_secret_and_says_which_it_needs() {
    let engine = Arc::new(MemoryEngine::new());
    let two = master_key(2).id();
    let console = open(&engine, keys(1).with(&master_key(2))).await;
    let console = console.expect("an empty store");
    let node = open(&engine, keys(1)).await.expect("the key that seals");
    assert_eq!(node.ready().await, Ok(()));
    switched(&console).await;
    let key = Key::new("account", ["a"]);
    let refused = put(&node, &key, node.seal(&key, "secret", b"1")).await;
    assert_eq!(refused, Err(CommitError::Conflict { entry: 1 }));
    let missing = NotApplied::MasterKey { sealing: two };
    for _ in 0..2 {
        let refused = put(&node, &key, node.seal(&key, "secret", b"1")).await;
        assert_eq!(refused, Err(CommitError::NotApplied(missing.clone())));
    }
    let ready = node.ready().await.expect_err("it lacks the key");
    assert!(ready.to_string().contains(&two.to_string()), "{ready}");
    // A record without secrets can still be written.
    let mut batch = node.batch(NOW);
    batch.insert(&key, &account("a"), None);
    assert_eq!(node.commit(batch).await, Ok(()));
}

#[tokio::test]
async fn a_value_that_was_sealed_again_is_the_same_state() {
    let engine = Arc::new(MemoryEngine::new());
    let store = open(&engine, keys(1).with(&master_key(2))).await;
    let store = store.expect("an empty store");
    let key = Key::new("account", ["a"]);
    put(&store, &key, store.seal(&key, "secret", b"1"))
        .await
        .expect("nothing is there");
    let read = store.get::<Account>(&key, NOW).await.expect("a read");
    let read = read.expect("it is there");
    switched(&store).await;
    assert_eq!(store.reseal_all(|_| ()).await, Ok(1));
    let again = store.get::<Account>(&key, NOW).await.expect("a read");
    assert_eq!(again.expect("it is there").version, read.version);
    // It is written by a client that read it before, and the old sealed value does not come back.
    let mut batch = store.batch(NOW);
    batch.replace(&key, read.version, &read.record, None);
    assert_eq!(store.commit(batch).await, Ok(()));
    assert_eq!(sealed_under(&store, &key).await, master_key(2).id());
}
