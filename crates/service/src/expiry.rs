//! What expires soon, for an operator of the whole server.
//!
//! A small collection is read whenever an operator asks. The upkeep reads a larger one periodically and remembers the records that
//! expire first. After its first run the answer is complete at any size, and states the time that it is from.

use std::sync::Mutex;

use keyproof_auth::operator::OperatorScope;
use keyproof_store::{Prefix, Record, Store, Timestamp};

use crate::{StorageError, access::Operator, mutex::lock, pages::Pages};

/// The most records of a collection that are read on request, up to the end of a page.
const MOST_READ: usize = 1_000;

/// How many of the records that expire first are remembered.
const REMEMBERED: usize = 100;

/// Something that expires.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expiry {
    /// The last moment at which it is valid.
    pub at: Timestamp,
    /// Its name, with that of the audit trail: `certificate/…`, `tpm_category/…` or `client certificate of
    /// tpm_category/…`.
    pub(crate) what: String,
    /// The scope that an operator needs to see the name.
    pub(crate) needed: OperatorScope,
    /// The name shown to an operator without that scope.
    pub(crate) kind: &'static str,
}

impl Expiry {
    /// Returns its name, with that of the audit trail: `certificate/…`, `tpm_category/…` or `client certificate of
    /// tpm_category/…`. An operator without access to it gets only its kind.
    pub fn name_for(&self, operator: &Operator) -> &str {
        if operator.may(&self.needed) {
            &self.what
        } else {
            self.kind
        }
    }
}

/// The records of a collection that expire before a given time, in order of expiry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiries {
    /// The records that were found.
    pub found: Vec<Expiry>,
    /// How much of the collection was read.
    pub seen: Coverage,
}

impl Expiries {
    /// Merges the expiries of two collections.
    pub(crate) fn and(self, other: Self) -> Self {
        let mut found = self.found;
        found.extend(other.found);
        found.sort();
        Self {
            found,
            seen: self.seen.max(other.seen),
        }
    }
}

/// How much of a collection was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Coverage {
    /// All of it, now.
    All,
    /// All of it, at this time. At most the hundred records that expire first are remembered.
    AllAt(Timestamp),
    /// A part. No complete reading has been made yet.
    Part,
}

/// The first records of a collection to expire, as of the last complete reading.
#[derive(Debug)]
pub(crate) struct EarliestExpiries {
    /// How many records are read at once.
    at_once: usize,
    last_scan: Mutex<Option<Scan>>,
}

/// The result of a complete reading.
#[derive(Debug)]
struct Scan {
    at: Timestamp,
    /// The records that expire first, including expired ones.
    first: Vec<Expiry>,
    /// When the next record expires.
    next: Option<Timestamp>,
}

impl EarliestExpiries {
    /// Creates it before any reading. `at_once` records of the largest size must fit in memory.
    pub(crate) const fn new(at_once: usize) -> Self {
        Self {
            at_once,
            last_scan: Mutex::new(None),
        }
    }

    /// Reads all records of this type and remembers those that expire first.
    pub(crate) async fn scan<R: Record, E: IntoIterator<Item = Expiry>>(
        &self,
        store: &Store,
        now: Timestamp,
        ends: impl Fn(&R) -> E,
    ) -> Result<(), StorageError> {
        let mut pages = self.pages::<R>(store);
        let (mut first, mut next) = (Vec::<Expiry>::new(), None::<Timestamp>);
        while let Some(page) = pages.next(now).await? {
            let before = first.len();
            first.extend(page.iter().flat_map(|(_, stored)| ends(&stored.record)));
            let found = first.iter().skip(before).map(|expiry| expiry.at);
            next = found.filter(|at| *at >= now).chain(next).min();
            first.sort();
            first.truncate(REMEMBERED);
        }
        let last_scan = Scan {
            at: now,
            first,
            next,
        };
        *lock(&self.last_scan) = Some(last_scan);
        Ok(())
    }

    fn pages<'a, R: Record>(&self, store: &'a Store) -> Pages<'a, R> {
        Pages::of(store, Prefix::collection(R::TYPE)).at_once(self.at_once)
    }

    /// Returns when the first record that had not yet expired expires, as of the last complete reading.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        lock(&self.last_scan).as_ref()?.next
    }

    /// Returns the records of this type that expire before `until`.
    pub(crate) async fn before<R: Record, E: IntoIterator<Item = Expiry>>(
        &self,
        until: Timestamp,
        store: &Store,
        now: Timestamp,
        ends: impl Fn(&R) -> E,
    ) -> Result<Expiries, StorageError> {
        let is_soon = |expiry: &Expiry| expiry.at < until;
        let mut pages = self.pages::<R>(store);
        let (mut found, mut read) = (Vec::new(), 0);
        while let Some(page) = pages.next(now).await? {
            if read >= MOST_READ && !page.is_empty() {
                let seen = lock(&self.last_scan);
                if let Some(Scan { at, first, .. }) = &*seen {
                    return Ok(Expiries {
                        found: first.iter().filter(|one| is_soon(one)).cloned().collect(),
                        seen: Coverage::AllAt(*at),
                    });
                }
                found.sort();
                let seen = Coverage::Part;
                return Ok(Expiries { found, seen });
            }
            read += page.len();
            let of_page = page.iter().flat_map(|(_, stored)| ends(&stored.record));
            found.extend(of_page.filter(is_soon));
        }
        found.sort();
        Ok(Expiries {
            found,
            seen: Coverage::All,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::{pages::PAGE, testing::bench};

    #[derive(Clone, Serialize, Deserialize)]
    struct Ends {
        at: u64,
    }

    record!(Ends, "ends");

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
    const SOON: Timestamp = Timestamp::from_secs(1_700_001_000);

    fn end(record: &Ends) -> Option<Expiry> {
        Some(Expiry {
            at: Timestamp::from_secs(record.at),
            what: record.at.to_string(),
            needed: OperatorScope::Admin,
            kind: "a record",
        })
    }

    async fn add(store: &Store, numbers: std::ops::Range<u64>, at: impl Fn(u64) -> u64) {
        let mut batch = store.batch(NOW);
        for number in numbers {
            let key = keyproof_store::Key::new(Ends::TYPE, [&*format!("{number:05}")]);
            batch.insert(&key, &Ends { at: at(number) }, None);
        }
        store.commit(batch).await.unwrap();
    }

    #[tokio::test]
    async fn which_it_is_is_told_to_whoever_reaches_it() {
        let bench = bench().await;
        let expiry = Expiry {
            needed: OperatorScope::Tpm(Some("shop".to_owned())),
            ..end(&Ends { at: 7 }).unwrap()
        };
        for (scope, told) in [("tpm:shop", "7"), ("tpm:yard", "a record")] {
            assert_eq!(expiry.name_for(&bench.operator(scope).await), told);
        }
    }

    async fn asked(known: &EarliestExpiries, store: &Store) -> (Vec<u64>, Coverage) {
        let endings = known.before(SOON, store, NOW, end).await.unwrap();
        let found = endings.found.iter().map(|expiry| expiry.at.as_secs());
        (found.collect(), endings.seen)
    }

    #[tokio::test]
    async fn what_ends_first_is_told_whatever_the_number_and_wherever_it_is() {
        let store = bench().await.store;
        let known = EarliestExpiries::new(PAGE);
        assert_eq!(asked(&known, &store).await, (vec![], Coverage::All));
        // As many records as are read on request. The last one expires soon.
        let late = 1_800_000_000;
        add(&store, 0..999, |_| late).await;
        add(&store, 999..1000, |_| 1_700_000_009).await;
        let found = vec![1_700_000_009];
        assert_eq!(asked(&known, &store).await, (found.clone(), Coverage::All));
        // One more behind them. No complete reading has been made yet.
        add(&store, 1000..1001, |_| 1_700_000_008).await;
        assert_eq!(asked(&known, &store).await, (found, Coverage::Part));
        known.scan(&store, NOW, end).await.unwrap();
        let found = vec![1_700_000_008, 1_700_000_009];
        assert_eq!(asked(&known, &store).await, (found, Coverage::AllAt(NOW)));
        // Of very many records that expire, only the first are remembered.
        add(&store, 1001..1300, |number| 1_700_000_009 + number % 299).await;
        known.scan(&store, NOW, end).await.unwrap();
        let (found, seen) = asked(&known, &store).await;
        assert_eq!((found.len(), seen), (100, Coverage::AllAt(NOW)));
        assert_eq!(found[..2], [1_700_000_008, 1_700_000_009]);
        assert!(found.is_sorted() && found[99] <= 1_700_000_009 + 98);
        assert_eq!(known.next(), Some(Timestamp::from_secs(1_700_000_008)));
        // A record that has expired is not the next to expire, however many there are.
        add(&store, 1300..1450, |_| 1_600_000_000).await;
        known.scan(&store, NOW, end).await.unwrap();
        assert_eq!(known.next(), Some(Timestamp::from_secs(1_700_000_008)));
        assert_eq!(EarliestExpiries::new(PAGE).next(), None);
    }
}
