//! Filling a store from another: exact copies, continuing after an interruption, and only into an empty store.
#![expect(clippy::expect_used, reason = "tests may")]

mod fixture;

use std::sync::Arc;

use keyproof_store::{
    Change, Changes, Engine, EngineError, Fill, FillError, Key, OpenError, Records, Row, Store,
    SystemEntropy, Timestamp, Version, memory::MemoryEngine,
};

use fixture::{NOW, account, keys, open, plant};

const FROM: &str = "the store of a test";

/// A store with sealed and expiring records.
async fn source(records: usize) -> (Arc<MemoryEngine>, Store) {
    let engine = Arc::new(MemoryEngine::new());
    let store = open(&engine, keys(1)).await.expect("an empty store");
    for chunk in (0..records).collect::<Vec<_>>().chunks(500) {
        let mut batch = store.batch(NOW);
        for number in chunk {
            let key = Key::new("account", [format!("{number:05}")]);
            let mut record = account("ada");
            record.secret = Some(store.seal(&key, "secret", b"hunter2"));
            let expires_at = (number % 7 == 0).then_some(Timestamp::from_secs(5));
            batch.insert(&key, &record, expires_at);
        }
        store.commit(batch).await.expect("nothing is there");
    }
    (engine, store)
}

/// Puts all records of one engine into another, up to `stop` of them.
async fn put(from: &dyn Engine, to: &dyn Engine, stop: usize) -> Result<u64, FillError> {
    let entropy = SystemEntropy::new();
    let fill = Fill::begin(to, &entropy, FROM).await?;
    let mut records = Records::new(from.snapshot().await?);
    let mut given = 0;
    let next = async || {
        given += 1;
        if given > stop {
            return Err(FillError::Engine(EngineError::Closed));
        }
        Ok(records.next().await?)
    };
    let filled = fill.put(next, |_| ()).await?;
    let written = filled.written;
    fill.finish(filled).await?;
    Ok(written)
}

/// All records of an engine, one by one.
async fn all_of(engine: &dyn Engine) -> impl AsyncFnMut() -> Result<Option<(Key, Row)>, FillError> {
    let mut records = Records::new(engine.snapshot().await.expect("a snapshot"));
    async move || Ok(records.next().await?)
}

async fn dump(engine: &dyn Engine) -> Vec<(Key, Row)> {
    let mut records = Records::new(engine.snapshot().await.expect("a snapshot"));
    let mut all = Vec::new();
    while let Some(record) = records.next().await.expect("a record") {
        all.push(record);
    }
    all
}

#[tokio::test]
async fn a_copy_is_the_same_to_the_byte_and_opens_under_the_same_key() {
    let (from, _) = source(2_500).await;
    let to = Arc::new(MemoryEngine::new());
    assert_eq!(put(&*from, &*to, usize::MAX).await, Ok(2_500));
    assert_eq!(dump(&*from).await, dump(&*to).await);
    open(&to, keys(1)).await.expect("the same key");
    assert!(matches!(
        open(&to, keys(2)).await,
        Err(OpenError::MasterKey { .. })
    ));
}

#[tokio::test]
async fn what_was_begun_is_no_store_and_goes_on_where_it_was() {
    let (from, store) = source(5_000).await;
    let to = Arc::new(MemoryEngine::new());
    let ended = put(&*from, &*to, 3_500).await;
    assert_eq!(ended, Err(FillError::Engine(EngineError::Closed)));
    let unfinished = open(&to, keys(1)).await;
    let Err(OpenError::Unfinished { from: named }) = unfinished else {
        panic!("{unfinished:?}");
    };
    assert_eq!(named, FROM);

    // Meanwhile the source has changed.
    let key = |number: usize| Key::new("account", [format!("{number:05}")]);
    let found = store
        .get_many(&[key(1), key(2)], NOW)
        .await
        .expect("a read");
    let [Some(changed), Some(removed)] = found.as_slice() else {
        panic!("{found:?}");
    };
    let mut batch = store.batch(NOW);
    batch.replace(&key(1), changed.version(), &account("grace"), None);
    batch.remove(&key(2), removed.version());
    batch.insert(&Key::new("account", ["00001a"]), &account("new"), None);
    store.commit(batch).await.expect("nobody else writes");

    let written = put(&*from, &*to, usize::MAX).await.expect("it goes on");
    assert!((1_500..2_600).contains(&written), "{written} of 5000");
    assert_eq!(dump(&*from).await, dump(&*to).await);
    assert!(open(&to, keys(1)).await.is_ok());
}

/// A move of a store that was interrupted after its final step began.
#[tokio::test]
async fn what_is_left_of_a_fenced_store_can_be_moved_still() {
    let (from, store) = source(3_000).await;
    let to = Arc::new(MemoryEngine::new());
    let ended = put(&*from, &*to, 1_000).await;
    assert_eq!(ended, Err(FillError::Engine(EngineError::Closed)));
    store.fence().await.expect("it is open");
    let moved = store.get_many(&[Key::new("account", ["00001"])], NOW).await;
    assert_eq!(moved, Err(EngineError::Relocated.into()));
    assert!(matches!(put(&*from, &*to, usize::MAX).await, Ok(1..)));
    assert_eq!(dump(&*from).await, dump(&*to).await);
    assert!(open(&to, keys(1)).await.is_ok());
    let again = open(&from, keys(1)).await;
    let relocated = OpenError::Fingerprint(EngineError::Relocated.into());
    assert_eq!(again.err(), Some(relocated));
}

#[tokio::test]
async fn a_store_that_has_something_is_not_filled() {
    let (from, _) = source(10).await;
    let (full, _) = source(1).await;
    let before = dump(&*full).await;
    assert_eq!(
        put(&*from, &*full, usize::MAX).await,
        Err(FillError::NotEmpty)
    );
    assert_eq!(dump(&*full).await, before);
    // Nor is one that contains only an expired record.
    let gone = MemoryEngine::new();
    let row = Row {
        version: Version::random(&SystemEntropy::new()),
        body: "null".into(),
        expires_at: Some(Timestamp::EPOCH),
    };
    let insert = [(Key::new("a", ["b"]), Change::Insert(row))];
    let changes = Changes::new(insert, NOW, &SystemEntropy::new()).expect("one entry");
    gone.commit(changes).await.expect("it is empty");
    assert_eq!(
        put(&*from, &gone, usize::MAX).await,
        Err(FillError::NotEmpty)
    );

    let begun = MemoryEngine::new();
    let entropy = SystemEntropy::new();
    Fill::begin(&begun, &entropy, "another")
        .await
        .expect("it is empty");
    let other = Err(FillError::Other {
        from: "another".to_owned(),
    });
    assert_eq!(put(&*from, &begun, usize::MAX).await, other);
}

/// For example if the master key of the source cannot be stored.
#[tokio::test]
async fn what_is_withdrawn_before_anything_is_put_there_leaves_it_empty() {
    let (from, _) = source(2_500).await;
    let entropy = SystemEntropy::new();
    let another = "another";
    let to = MemoryEngine::new();
    let begun = Fill::begin(&to, &entropy, another).await;
    let begun = begun.expect("it is empty");
    assert_eq!(begun.abort().await, Ok(()));
    assert_eq!(to.is_empty().await, Ok(true));
    // A later fill can still continue.
    let early = Fill::begin(&to, &entropy, another).await;
    let late = Fill::begin(&to, &entropy, another).await;
    let [early, late] = [early, late].map(|begun| begun.expect("it is empty"));
    assert_eq!(early.abort().await, Ok(()));
    let other = Err(FillError::Other {
        from: another.to_owned(),
    });
    assert_eq!(put(&*from, &to, usize::MAX).await, other);
    assert_eq!(late.abort().await, Ok(()));
    assert_eq!(put(&*from, &to, usize::MAX).await, Ok(2_500));

    // Records put there by an earlier fill stay.
    let to = MemoryEngine::new();
    let ended = put(&*from, &to, 2_000).await;
    assert_eq!(ended, Err(FillError::Engine(EngineError::Closed)));
    let before = dump(&to).await.len();
    let again = Fill::begin(&to, &entropy, FROM).await.expect("it goes on");
    assert_eq!(again.abort().await, Ok(()));
    assert_eq!(dump(&to).await.len(), before);
    assert!(matches!(put(&*from, &to, usize::MAX).await, Ok(1..2_500)));
}

#[tokio::test]
async fn somebody_else_who_writes_is_noticed_before_it_is_a_store() {
    let (from, _) = source(10).await;
    let to = MemoryEngine::new();
    let entropy = SystemEntropy::new();
    let fill = Fill::begin(&to, &entropy, FROM).await.expect("it is empty");
    let mut records = Records::new(from.snapshot().await.expect("a snapshot"));
    let next = async || Ok::<_, FillError>(records.next().await?);
    let filled = fill.put(next, |_| ()).await.expect("they fit");
    plant(&to, &Key::new("stranger", [""]), "").await;
    assert!(matches!(
        fill.finish(filled).await,
        Err(FillError::Differs { .. })
    ));

    // Two processes fill one store: the later to finish gets an error.
    let to = MemoryEngine::new();
    let late = Fill::begin(&to, &entropy, FROM).await.expect("it is empty");
    put(&*from, &to, usize::MAX)
        .await
        .expect("nobody else writes");
    let filled = late
        .put(all_of(&*from).await, |_| ())
        .await
        .expect("nothing is to be written");
    assert_eq!(late.finish(filled).await, Err(FillError::Overtaken));
}

/// Otherwise each would compare with a mix of both at the end.
#[tokio::test]
async fn of_two_who_fill_a_store_only_the_later_goes_on() {
    let (from, _) = source(10).await;
    let entropy = SystemEntropy::new();
    // Which step the earlier one has reached when the later one begins.
    for is_filled in [false, true] {
        let to = MemoryEngine::new();
        let early = Fill::begin(&to, &entropy, FROM).await.expect("it is empty");
        let mut filled = None;
        if is_filled {
            let put = early.put(all_of(&*from).await, |_| ()).await;
            filled = Some(put.expect("nobody else writes"));
        }
        let later = Fill::begin(&to, &entropy, FROM).await.expect("it goes on");
        let overtaken = match filled {
            None => early.put(all_of(&*from).await, |_| ()).await.map(drop),
            Some(filled) => early.finish(filled).await.map(drop),
        };
        assert_eq!(overtaken, Err(FillError::Overtaken), "{is_filled}");
        let filled = later.put(all_of(&*from).await, |_| ()).await;
        let there = later.finish(filled.expect("it alone writes")).await;
        assert_eq!(there.map(|there| there.records), Ok(10));
        assert_eq!(dump(&*from).await, dump(&to).await);
    }
}

#[tokio::test]
async fn records_out_of_order_and_without_a_fingerprint_are_refused() {
    let entropy = SystemEntropy::new();
    let row = || Row {
        version: Version::random(&entropy),
        body: Vec::new().into(),
        expires_at: None,
    };
    let [a, b] = ["a", "b"].map(|name| Key::new("case", [name]));
    for (given, expected) in [
        (
            vec![b.clone(), a.clone()],
            FillError::Order { key: a.clone() },
        ),
        (
            vec![a.clone(), a.clone()],
            FillError::Order { key: a.clone() },
        ),
        (vec![a, b], FillError::NoFingerprint),
    ] {
        let to = MemoryEngine::new();
        let fill = Fill::begin(&to, &entropy, FROM).await.expect("it is empty");
        let mut given = given.into_iter();
        let next = async || Ok::<_, FillError>(given.next().map(|key| (key, row())));
        assert_eq!(fill.put(next, |_| ()).await.err(), Some(expected));
    }
}
