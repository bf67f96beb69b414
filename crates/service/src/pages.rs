//! Reads the records under a prefix page by page, so that a tenant is never read as a whole.

use std::marker::PhantomData;

use keyproof_store::{Batch, Key, Prefix, Record, Store, Stored, Timestamp};

use crate::{
    Clock, Failure, StorageError,
    storage::{Attempt, transact},
};

/// The number of records read at once.
pub(crate) const PAGE: usize = 200;

/// A reading of the records under a prefix.
pub(crate) struct Pages<'a, R> {
    store: &'a Store,
    prefix: Prefix,
    after: Option<Key>,
    at_once: usize,
    is_over: bool,
    records: PhantomData<fn() -> R>,
}

impl<'a, R: Record> Pages<'a, R> {
    /// Starts at the first record.
    pub(crate) const fn of(store: &'a Store, prefix: Prefix) -> Self {
        Self::after(store, prefix, None)
    }

    /// Starts at the first record after a key.
    pub(crate) const fn after(store: &'a Store, prefix: Prefix, after: Option<Key>) -> Self {
        Self {
            store,
            prefix,
            after,
            at_once: PAGE,
            is_over: false,
            records: PhantomData,
        }
    }

    /// Sets the number of records a page.
    pub(crate) fn at_once(mut self, at_once: usize) -> Self {
        self.at_once = at_once;
        self
    }

    /// Whether the last page was read.
    pub(crate) const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Reads the next page, in key order; `None` once all were read. Each page is from its own moment.
    pub(crate) async fn next(
        &mut self,
        now: Timestamp,
    ) -> Result<Option<Vec<(Key, Stored<R>)>>, StorageError> {
        if self.is_over {
            return Ok(None);
        }
        let page = self
            .store
            .scan(&self.prefix, self.after.as_ref(), self.at_once, now)
            .await?;
        self.is_over = page.len() < self.at_once;
        self.after = page.last().map(|(last, _)| last.clone());
        Ok(Some(page))
    }

    /// Collects what `keep` returns for the records. Only one page of them is in memory at a time.
    pub(crate) async fn collect<T>(
        mut self,
        clock: &dyn Clock,
        mut keep: impl FnMut(R) -> Option<T>,
    ) -> Result<Vec<T>, StorageError> {
        let mut kept = Vec::new();
        while let Some(page) = self.next(clock.now()).await? {
            let page = page.into_iter();
            kept.extend(page.filter_map(|(_, stored)| keep(stored.record)));
        }
        Ok(kept)
    }
}

/// Some rows of a list, and where the next page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPage<T, P> {
    /// The rows, in order.
    pub rows: Vec<T>,
    /// The value of `after` for the next page, if there may be one.
    pub next: Option<P>,
}

impl<T, P> ListPage<T, P> {
    /// Returns the page of these rows. If there are more, the next one begins after the place of the last row.
    pub(crate) fn of(rows: Vec<T>, is_more: bool, place: impl FnOnce(&T) -> P) -> Self {
        let next = rows.last().filter(|_| is_more).map(place);
        Self { rows, next }
    }
}

/// How many records are read for a page of accessible records, since an operator may have access to few of them.
const READ: usize = 1_000;

/// Returns a page of those records under a prefix that an operator has access to: at most `most` rows after `after`. `row` returns
/// a record's position in the list, and its row if it is accessible. A page may have no rows and yet a next page.
pub(crate) async fn reached<R: Record, T, P>(
    store: &Store,
    prefix: &Prefix,
    after: Option<&Key>,
    most: usize,
    now: Timestamp,
    row: impl Fn(R) -> (P, Option<T>),
) -> Result<ListPage<T, P>, StorageError> {
    let read = store.scan::<R>(prefix, after, READ, now).await?;
    let is_all = read.len() < READ;
    let (mut rows, mut last) = (Vec::new(), None);
    for (_, Stored { record, .. }) in read {
        if rows.len() == most {
            return Ok(ListPage { rows, next: last });
        }
        let (place, reached) = row(record);
        last = Some(place);
        rows.extend(reached);
    }
    let next = last.filter(|_| !is_all);
    Ok(ListPage { rows, next })
}

/// Returns a page of records under a prefix, at most `most` after `after`, and whether there are more.
pub(crate) async fn scan_page<R: Record>(
    store: &Store,
    prefix: &Prefix,
    after: Option<&Key>,
    most: usize,
    now: Timestamp,
) -> Result<(Vec<(Key, Stored<R>)>, bool), StorageError> {
    let mut read = store
        .scan(prefix, after, most.saturating_add(1), now)
        .await?;
    let is_more = read.len() > most;
    read.truncate(most);
    Ok((read, is_more))
}

/// A page passed to an attempt of [`transact_pages`].
pub(crate) struct Page<R> {
    pub(crate) records: Vec<(Key, Stored<R>)>,
    /// Whether it is the last page.
    pub(crate) is_last: bool,
    /// When it was read.
    pub(crate) now: Timestamp,
}

/// Runs an attempt on the records under a prefix, page by page. Each page's batch is committed before the next page is read, and
/// a page that lost its race is read again. `attempt` returns the batch and a number; the result is the sum of these numbers.
///
/// # Errors
///
/// The error of an attempt or commit; the pages before it stay committed.
pub(crate) async fn transact_pages<R: Record, E, F>(
    name: &'static str,
    (store, clock): (&Store, &dyn Clock),
    prefix: &Prefix,
    at_once: usize,
    attempt: impl Fn(Page<R>) -> F,
) -> Result<usize, Failure<E>>
where
    F: Future<Output = Result<(Batch, usize), Failure<E>>>,
{
    let (mut after, mut total) = (None, 0_usize);
    loop {
        let settled = transact(name, store, || async {
            let now = clock.now();
            let records = store.scan(prefix, after.as_ref(), at_once, now).await?;
            let is_last = records.len() < at_once;
            let next = records.last().map(|(last, _)| last.clone());
            let page = Page {
                records,
                is_last,
                now,
            };
            let (batch, count) = attempt(page).await?;
            Ok(Attempt::Commit(
                batch,
                Ok((count, next.filter(|_| !is_last))),
            ))
        });
        let (count, next) = settled.await?;
        total = total.saturating_add(count);
        if next.is_none() {
            return Ok(total);
        }
        after = next;
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, convert::Infallible};

    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::testing::bench;

    #[derive(Clone, Serialize, Deserialize)]
    struct Numbered {
        number: usize,
    }

    record!(Numbered, "numbered");

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn key(number: usize) -> Key {
        Key::new(Numbered::TYPE, [&*format!("{number:04}")])
    }

    async fn add(store: &Store, count: usize) {
        for number in 0..count {
            let mut batch = store.batch(NOW);
            batch.insert(&key(number), &Numbered { number }, None);
            store.commit(batch).await.unwrap();
        }
    }

    async fn numbers(count: usize, after: Option<usize>) -> Vec<usize> {
        let store = bench().await.store;
        add(&store, count).await;
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

    #[tokio::test]
    async fn each_page_is_settled_and_one_that_lost_a_race_once_more() {
        let bench = bench().await;
        let store = &bench.store;
        add(store, 7).await;
        let (attempts, lasts) = (Cell::new(0), Cell::new(0));
        let all = Prefix::collection(Numbered::TYPE);
        let removed = transact_pages::<Numbered, Infallible, _>(
            "test",
            (store, &*bench.clock),
            &all,
            3,
            async |page| {
                attempts.set(attempts.get() + 1);
                lasts.set(lasts.get() + usize::from(page.is_last));
                let mut batch = store.batch(page.now);
                for (key, stored) in &page.records {
                    batch.remove(key, stored.version);
                }
                if attempts.get() == 2 {
                    // Another task removes a record of this page.
                    let mut theirs = store.batch(page.now);
                    let (key, stored) = &page.records[0];
                    theirs.remove(key, stored.version);
                    store.commit(theirs).await.unwrap();
                }
                Ok((batch, page.records.len()))
            },
        );
        assert_eq!(removed.await, Ok(6), "without the one of somebody else's");
        assert_eq!((attempts.get(), lasts.get()), (4, 1));
        let left = store.scan::<Numbered>(&all, None, 10, NOW).await.unwrap();
        assert!(left.is_empty());
    }
}
