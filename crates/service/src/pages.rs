//! The records of a prefix a page at a time, so that nothing reads a tenant whole at once.

use std::marker::PhantomData;

use keyproof_store::{Key, Prefix, Record, Store, Stored, Timestamp};

use crate::StorageError;

/// So many records are read at once.
pub(crate) const PAGE: usize = 200;

/// Where a reading of a prefix's records is.
pub(crate) struct Pages<'a, R> {
    store: &'a Store,
    prefix: Prefix,
    after: Option<Key>,
    is_over: bool,
    records: PhantomData<fn() -> R>,
}

impl<'a, R: Record> Pages<'a, R> {
    /// From the first on.
    pub(crate) const fn of(store: &'a Store, prefix: Prefix) -> Self {
        Self::after(store, prefix, None)
    }

    /// From the first behind a key on.
    pub(crate) const fn after(store: &'a Store, prefix: Prefix, after: Option<Key>) -> Self {
        Self {
            store,
            prefix,
            after,
            is_over: false,
            records: PhantomData,
        }
    }

    /// The next page, in order of keys; `None` once all were read. Pages are of different moments.
    pub(crate) async fn next(
        &mut self,
        now: Timestamp,
    ) -> Result<Option<Vec<(Key, Stored<R>)>>, StorageError> {
        if self.is_over {
            return Ok(None);
        }
        let page = self
            .store
            .scan(&self.prefix, self.after.as_ref(), PAGE, now);
        let page = page.await?;
        self.is_over = page.len() < PAGE;
        self.after = page.last().map(|(last, _)| last.clone());
        Ok(Some(page))
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::testing::bench;

    #[derive(Clone, Serialize, Deserialize)]
    struct Numbered {
        number: usize,
    }

    impl Record for Numbered {
        const TYPE: &'static str = "numbered";
        const VERSION: u32 = 1;
    }

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    async fn numbers(count: usize, after: Option<usize>) -> Vec<usize> {
        let key = |number: usize| Key::new(Numbered::TYPE, [&*format!("{number:04}")]);
        let store = bench().await.store;
        for number in 0..count {
            let mut batch = store.batch(NOW);
            batch.insert(&key(number), &Numbered { number }, None);
            store.commit(batch).await.unwrap();
        }
        let all = Prefix::collection(Numbered::TYPE);
        let mut pages = Pages::<Numbered>::after(&store, all, after.map(key));
        let mut read = Vec::new();
        while let Some(page) = pages.next(NOW).await.unwrap() {
            read.extend(page.into_iter().map(|(_, stored)| stored.record.number));
        }
        read
    }

    #[tokio::test]
    async fn each_record_is_read_once_whatever_the_pages_are() {
        for count in [0, 1, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE] {
            let all: Vec<usize> = (0..count).collect();
            assert_eq!(numbers(count, None).await, all);
        }
        assert_eq!(
            numbers(PAGE + 2, Some(0)).await,
            (1..PAGE + 2).collect::<Vec<_>>()
        );
    }
}
