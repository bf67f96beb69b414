//! What ends soon, for whoever looks after the whole server.

use keyproof_store::{Prefix, Record, Store, Timestamp};

use crate::{StorageError, pages::Pages};

/// The most records of a collection that are looked at: it is asked for with each look at a page.
const MOST_READ: usize = 1_000;

/// Something with an end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ending {
    /// The last moment at which it is valid.
    pub at: Timestamp,
    /// What it is, as the audit trail names it: `certificate/…` or `tpm_category/…`.
    pub what: String,
}

/// What of a collection ends before a moment, the first to end first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endings {
    /// All of it that was found.
    pub found: Vec<Ending>,
    /// Whether there is more in the collection than was looked at.
    pub is_cut: bool,
}

impl Endings {
    /// Looks through the records under a prefix.
    pub(crate) async fn of<R: Record>(
        store: &Store,
        prefix: Prefix,
        now: Timestamp,
        until: Timestamp,
        end: impl Fn(&R) -> Option<Ending>,
    ) -> Result<Self, StorageError> {
        let mut pages = Pages::<R>::of(store, prefix);
        let (mut endings, mut read) = (Self::default(), 0);
        while let Some(page) = pages.next(now).await? {
            if read >= MOST_READ && !page.is_empty() {
                endings.is_cut = true;
                break;
            }
            read += page.len();
            let ends = page.iter().filter_map(|(_, stored)| end(&stored.record));
            endings
                .found
                .extend(ends.filter(|ending| ending.at < until));
        }
        endings.found.sort();
        Ok(endings)
    }
}
