//! Filters, order and paging of a list of users, with limits on its cost: an organisation may have hundreds of thousands of users.

use std::{cmp::Ordering, sync::Arc};

use keyproof_store::Raw;

use super::records::{User, UserStatus};
use crate::StorageError;

/// The maximum number of filters in a query.
const MAX_FILTERS: usize = 8;

/// The maximum number of sort keys in a query.
const MAX_SORT_KEYS: usize = 4;

/// The maximum number of users kept while a page is assembled: its own and those of the pages before it.
const MAX_ROWS: usize = 10_000;

/// What to sort users by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortKey {
    /// The time of creation.
    Created,
    /// The number.
    Id,
    /// The name.
    Name,
    /// The organisation's number.
    Organisation,
    /// The status, active users first.
    Status,
}

/// One key of a sort order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    /// What to sort by.
    pub key: SortKey,
    /// Whether the order is reversed.
    pub descending: bool,
}

/// A condition for a user to be listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The number.
    Id(u32),
    /// A part of the name, ignoring case.
    Name(String),
    /// The organisation's number.
    Organisation(u32),
    /// The status; `None` matches no user.
    Status(Option<UserStatus>),
}

/// A query for users.
#[derive(Clone, Debug)]
pub struct UserQuery {
    filters: Vec<Filter>,
    sort: Vec<Sort>,
    page: usize,
    per_page: usize,
}

/// The error when a query is too expensive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserQueryError {
    /// The page is so far from the first that too many users would have to be sorted.
    #[error("page times users a page is more than {MAX_ROWS}")]
    TooDeep,
    /// Too many filters.
    #[error("more than {MAX_FILTERS} filters")]
    TooManyFilters,
    /// Too many sort keys.
    #[error("more than {MAX_SORT_KEYS} keys to sort by")]
    TooManySortKeys,
}

impl UserQuery {
    /// Creates a query for a page of the users that match all filters, sorted by `sort` and then by number. The first page is 1.
    ///
    /// # Errors
    ///
    /// [`UserQueryError`] if the query would be too expensive.
    pub fn new(
        mut filters: Vec<Filter>,
        sort: Vec<Sort>,
        page: usize,
        per_page: usize,
    ) -> Result<Self, UserQueryError> {
        if filters.len() > MAX_FILTERS {
            return Err(UserQueryError::TooManyFilters);
        }
        if sort.len() > MAX_SORT_KEYS {
            return Err(UserQueryError::TooManySortKeys);
        }
        if page
            .checked_mul(per_page)
            .is_none_or(|rows| rows > MAX_ROWS)
        {
            return Err(UserQueryError::TooDeep);
        }
        for filter in &mut filters {
            if let Filter::Name(part) = filter {
                *part = part.to_lowercase();
            }
        }
        Ok(Self {
            filters,
            sort,
            page,
            per_page,
        })
    }

    /// Returns the last page available with so many users a page.
    pub const fn last_page(per_page: usize) -> usize {
        match MAX_ROWS.checked_div(per_page) {
            Some(last) => last,
            None => usize::MAX,
        }
    }

    /// Returns the page number. The first page is 1.
    pub fn page(&self) -> usize {
        self.page
    }

    /// Returns the number of users a page.
    pub fn per_page(&self) -> usize {
        self.per_page
    }
}

/// The result of a query so far, with at most the users of its page and those before it.
pub(super) struct Listing {
    query: UserQuery,
    /// The first matching users, in order.
    first: Vec<Arc<User>>,
    /// The number of matching users.
    total: usize,
}

impl Listing {
    pub(super) fn of(query: UserQuery) -> Self {
        Self {
            query,
            first: Vec::new(),
            total: 0,
        }
    }

    /// Adds more users.
    pub(super) fn with(mut self, more: &[Raw]) -> Result<Self, StorageError> {
        for raw in more {
            let user = raw.decode_shared::<User>()?.record;
            if self.query.passes(&user) {
                self.total += 1;
                self.first.push(user);
            }
        }
        // The existing part is already sorted, which makes this sort cheap.
        self.first.sort_by(|a, b| self.query.order(a, b));
        let most = self.query.page.saturating_mul(self.query.per_page);
        self.first.truncate(most);
        Ok(self)
    }

    /// Returns the page and the number of users on all pages. Call it after all users were added.
    pub(super) fn into_page(self) -> (Vec<Arc<User>>, usize) {
        let Self {
            query,
            first,
            total,
        } = self;
        let before = query.page.saturating_sub(1).saturating_mul(query.per_page);
        (first.into_iter().skip(before).collect(), total)
    }
}

impl UserQuery {
    fn passes(&self, user: &User) -> bool {
        let by_name = |filter: &Filter| matches!(filter, Filter::Name(_));
        let name = if self.filters.iter().any(by_name) {
            user.name.to_lowercase()
        } else {
            String::new()
        };
        self.filters.iter().all(|filter| match filter {
            Filter::Id(id) => user.id == *id,
            Filter::Name(part) => name.contains(part),
            Filter::Organisation(id) => user.organisation == *id,
            Filter::Status(status) => Some(user.status) == *status,
        })
    }

    fn order(&self, a: &User, b: &User) -> Ordering {
        let mut steps = self.sort.iter().map(|sort| {
            let order = match sort.key {
                SortKey::Created => a.created_at.cmp(&b.created_at),
                SortKey::Id => a.id.cmp(&b.id),
                SortKey::Name => a.name.cmp(&b.name),
                SortKey::Organisation => a.organisation.cmp(&b.organisation),
                SortKey::Status => a.status.cmp(&b.status),
            };
            if sort.descending {
                order.reverse()
            } else {
                order
            }
        });
        steps
            .find(|order| order.is_ne())
            .unwrap_or_else(|| a.id.cmp(&b.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        TooBusy,
        accounts::{
            Session,
            directory::{FEW, view},
            records::{Role, user_key, users_of},
            tests::{ADA, BOB, add, signed_in},
        },
        testing::{Bench, START, bench},
    };

    /// The number of users that takes three reads.
    const MANY: usize = 1_010;

    /// Adds an administrator and this number of users with unsorted names and states.
    async fn crowd(bench: &Bench, more: usize) -> (Session, Vec<User>) {
        add(bench, ADA, Role::Administrator).await;
        let ada = signed_in(bench, ADA).await;
        let first = bench.store.get::<User>(&user_key(ada.owner), START).await;
        let first = first.unwrap().unwrap().record;
        let mut batch = bench.store.batch(START);
        let mut all = vec![first.clone()];
        let more = u32::try_from(more).unwrap();
        for id in (1..=more).filter(|id| *id != first.id) {
            let user = User {
                id,
                name: format!("User-{}", (id * 7_919) % 1_009),
                status: match id % 3 {
                    0 => UserStatus::Suspended,
                    _ => UserStatus::Active,
                },
                ..first.clone()
            };
            batch.insert(&user_key(user.owner()), &user, None);
            all.push(user);
        }
        bench.store.commit(batch).await.unwrap();
        (ada, all)
    }

    fn by(key: SortKey, descending: bool) -> Sort {
        Sort { key, descending }
    }

    #[tokio::test]
    async fn a_page_is_what_sorting_all_users_would_give() {
        let bench = bench().await;
        let (ada, all) = crowd(&bench, MANY).await;
        for sort in [
            vec![],
            vec![by(SortKey::Name, false)],
            vec![by(SortKey::Status, true), by(SortKey::Name, true)],
            vec![by(SortKey::Created, false), by(SortKey::Id, true)],
        ] {
            for filters in [
                vec![],
                vec![Filter::Status(Some(UserStatus::Suspended))],
                vec![Filter::Name("R-1".to_owned()), Filter::Name("5".to_owned())],
            ] {
                for (page, per_page) in [(1, 10), (7, 13), (2, 1_000), (40, 100)] {
                    let query =
                        UserQuery::new(filters.clone(), sort.clone(), page, per_page).unwrap();
                    let mut expected: Vec<_> =
                        all.iter().filter(|user| query.passes(user)).collect();
                    expected.sort_by(|a, b| query.order(a, b));
                    let total = expected.len();
                    let expected = expected.into_iter().skip((page - 1) * per_page);
                    let expected = expected.take(per_page);
                    let expected = expected.map(|user| view(user, None).visible_to(&ada));
                    let found = bench.service.accounts.users(&ada, &query).await.unwrap();
                    assert_eq!(found.total, total, "{query:?}");
                    assert!(found.users.into_iter().eq(expected), "{query:?}");
                }
            }
        }
    }

    #[tokio::test]
    async fn no_more_users_are_kept_than_the_pages_up_to_the_one_asked_for_have() {
        let bench = bench().await;
        let (_, all) = crowd(&bench, MANY).await;
        let prefix = users_of(all[0].organisation);
        let raws = bench.store.scan_raw(&prefix, None, usize::MAX, START).await;
        let raws = raws.unwrap();
        let query = UserQuery::new(vec![], vec![by(SortKey::Name, true)], 3, 20).unwrap();
        let mut listing = Listing::of(query);
        for page in raws.chunks(100) {
            listing = listing.with(page).unwrap();
            assert_eq!(listing.first.len(), 60);
        }
        let (page, total) = listing.into_page();
        assert_eq!((page.len(), total), (20, all.len()));
    }

    #[test]
    fn what_a_query_may_cost_is_bounded() {
        let query = |filters: usize, sort: usize, page, per_page| {
            let filters = vec![Filter::Id(1); filters];
            let sort = vec![by(SortKey::Id, false); sort];
            UserQuery::new(filters, sort, page, per_page).err()
        };
        assert_eq!(query(8, 4, 10, 1_000), None);
        assert_eq!(query(8, 4, 10_000, 1), None);
        assert_eq!(query(9, 4, 1, 1), Some(UserQueryError::TooManyFilters));
        assert_eq!(query(8, 5, 1, 1), Some(UserQueryError::TooManySortKeys));
        for per_page in [1, 50, 999, 1_000, 10_000] {
            let last = UserQuery::last_page(per_page);
            assert_eq!(query(0, 0, last, per_page), None, "{per_page}");
            let refused = query(0, 0, last + 1, per_page);
            assert_eq!(refused, Some(UserQueryError::TooDeep), "{per_page}");
        }
        for (page, per_page) in [(11, 1_000), (10_001, 1), (usize::MAX, 2)] {
            let refused = query(0, 0, page, per_page);
            assert_eq!(refused, Some(UserQueryError::TooDeep), "{page}");
        }
    }

    #[tokio::test]
    async fn more_users_than_a_few_are_filtered_and_sorted_where_that_is_bounded_in_number() {
        let bench = bench().await;
        let (ada, all) = crowd(&bench, FEW - 1).await;
        assert_eq!(all.len(), FEW);
        let accounts = &bench.service.accounts;
        let query = UserQuery::new(vec![], vec![], 1, 10).unwrap();
        let full = accounts.cpu_queue.fill();
        let found = accounts.users(&ada, &query).await.unwrap();
        assert_eq!(found.total, FEW);
        add(&bench, BOB, Role::User).await;
        let refused = accounts.users(&ada, &query).await;
        assert_eq!(refused, Err(StorageError::Busy(TooBusy)));
        drop(full);
        let found = accounts.users(&ada, &query).await.unwrap();
        assert_eq!(found.total, FEW + 1);
    }
}
