//! Cached lists: prefixes of which all records were read. A list is dropped as soon as any record in it changes.

use std::collections::VecDeque;

use super::size;
use crate::{Key, Prefix, Row, Timestamp};

/// The maximum number of lists; the most recently used are kept. Each commit checks all of them.
const MAX_LISTS: usize = 16;
/// The maximum size of a list, in bytes of keys and bodies with overhead: some three hundred users.
pub(super) const MAX_BYTES: usize = 512 << 10;

#[derive(Debug, Default)]
pub(super) struct Lists {
    /// The most recently used list is the last.
    kept: VecDeque<List>,
}

#[derive(Debug)]
struct List {
    prefix: Prefix,
    /// All records that had not expired at `read_at`, in key order.
    rows: Vec<(Key, Row)>,
    read_at: Timestamp,
}

impl Lists {
    /// Returns the first `limit` records of `prefix` after `after`, if the prefix is cached.
    pub(super) fn scan(
        &mut self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
        now: Timestamp,
    ) -> Option<Vec<(Key, Row)>> {
        let at = self.kept.iter().position(|list| list.prefix == *prefix)?;
        // A record that had expired by then may still exist at an earlier time.
        let list = self.kept.remove(at).filter(|list| list.read_at <= now)?;
        let first = list.rows.partition_point(|(key, _)| Some(key) <= after);
        let rows = list.rows.iter().skip(first);
        let rows = rows.filter(|(_, row)| !row.is_expired(now)).take(limit);
        let rows = rows.cloned().collect();
        self.kept.push_back(list);
        Some(rows)
    }

    /// Caches all records of `prefix`, as read at `now`, unless they are too large.
    pub(super) fn keep(&mut self, prefix: Prefix, rows: Vec<(Key, Row)>, now: Timestamp) {
        self.kept.retain(|list| list.prefix != prefix);
        let sizes = rows.iter().map(|(key, row)| size(key, Some(row)));
        if sizes.sum::<usize>() > MAX_BYTES {
            return;
        }
        if self.kept.len() == MAX_LISTS {
            self.kept.pop_front();
        }
        self.kept.push_back(List {
            prefix,
            rows,
            read_at: now,
        });
    }

    /// Drops every list that this record is in, or would be in.
    pub(super) fn forget(&mut self, key: &Key) {
        self.kept.retain(|list| !list.prefix.contains(key));
    }

    pub(super) fn clear(&mut self) {
        self.kept.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SystemEntropy, Version};
    use std::time::Duration;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn key(tenant: &str, name: &str) -> Key {
        Key::new("case", [tenant, name])
    }

    fn prefix(tenant: &str) -> Prefix {
        Prefix::new("case", [tenant])
    }

    fn row(body: &str, expires_at: Option<Timestamp>) -> Row {
        Row {
            version: Version::random(&SystemEntropy::new()),
            body: body.into(),
            expires_at,
        }
    }

    fn names(found: Option<Vec<(Key, Row)>>) -> Option<Vec<String>> {
        let text = |(key, _): (Key, Row)| key.to_string();
        Some(found?.into_iter().map(text).collect())
    }

    #[test]
    fn a_list_is_cut_as_the_engine_would() {
        let mut lists = Lists::default();
        let end = NOW.saturating_add(Duration::from_secs(1));
        let ends = [None, Some(end), None, None];
        let rows = ["a", "b", "c", "d"].into_iter().zip(ends);
        let rows = rows.map(|(name, ends)| (key("t", name), row("1", ends)));
        lists.keep(prefix("t"), rows.collect(), NOW);
        let mut scan = |after: Option<&str>, limit, now| {
            let after = after.map(|name| key("t", name));
            names(lists.scan(&prefix("t"), after.as_ref(), limit, now))
        };
        let some = |names: &[&str]| {
            let all = names.iter().map(|name| format!("case/t/{name}"));
            Some(all.collect::<Vec<_>>())
        };
        assert_eq!(scan(None, 9, NOW), some(&["a", "b", "c", "d"]));
        assert_eq!(scan(None, 2, NOW), some(&["a", "b"]));
        assert_eq!(scan(Some("a"), 9, NOW), some(&["b", "c", "d"]));
        assert_eq!(scan(Some("bb"), 1, NOW), some(&["c"]));
        assert_eq!(scan(Some("d"), 9, NOW), some(&[]));
        assert_eq!(scan(None, 2, end), some(&["a", "c"]));
        // At an earlier moment there may have been more records.
        let earlier = Timestamp::from_millis(NOW.as_millis() - 1);
        assert_eq!(scan(None, 9, earlier), None);
    }

    #[test]
    fn a_prefix_of_which_nothing_is_there_is_known_to_be_empty() {
        let mut lists = Lists::default();
        assert_eq!(lists.scan(&prefix("t"), None, 9, NOW), None);
        lists.keep(prefix("t"), Vec::new(), NOW);
        assert_eq!(lists.scan(&prefix("t"), None, 9, NOW), Some(Vec::new()));
        lists.forget(&key("t", "a"));
        assert_eq!(lists.scan(&prefix("t"), None, 9, NOW), None);
    }

    #[test]
    fn every_list_that_a_record_is_in_is_let_go_and_no_other() {
        let mut lists = Lists::default();
        let all = [
            Prefix::all(),
            Prefix::collection("case"),
            prefix("t"),
            prefix("u"),
        ];
        for prefix in &all {
            lists.keep(prefix.clone(), Vec::new(), NOW);
        }
        lists.forget(&key("t", "a"));
        let kept = all.map(|prefix| lists.scan(&prefix, None, 9, NOW).is_some());
        assert_eq!(kept, [false, false, false, true]);
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let mut lists = Lists::default();
        let prefixes: Vec<_> = (0..=MAX_LISTS)
            .map(|number| prefix(&number.to_string()))
            .collect();
        for prefix in &prefixes {
            lists.keep(prefix.clone(), Vec::new(), NOW);
            // The first is requested again and again.
            assert!(lists.scan(&prefixes[0], None, 9, NOW).is_some());
        }
        assert_eq!(lists.kept.len(), MAX_LISTS);
        assert_eq!(lists.scan(&prefixes[1], None, 9, NOW), None);
        // A list that has become too large replaces its earlier form.
        let body = "x".repeat(MAX_BYTES / 8);
        let rows = (0..8).map(|number| (key("0", &number.to_string()), row(&body, None)));
        lists.keep(prefixes[0].clone(), rows.collect(), NOW);
        assert_eq!(lists.scan(&prefixes[0], None, 9, NOW), None);
        assert_eq!(lists.kept.len(), MAX_LISTS - 1);
    }
}
