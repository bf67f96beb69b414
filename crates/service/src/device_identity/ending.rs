//! Which category CAs expire soon although upkeep should have renewed them.

use keyproof_auth::operator::OperatorScope;
use keyproof_store::{Prefix, Timestamp};

use super::{Category, DeviceIdentity, Kind, Object};
use crate::{
    StorageError,
    ending::{Ending, Endings},
};

impl DeviceIdentity {
    /// Returns the categories whose CA expires before a moment, or has expired.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub(crate) async fn ending(&self, until: Timestamp) -> Result<Endings, StorageError> {
        let (all, now) = (Prefix::collection(Category::NAME), self.clock.now());
        let first = &self.first_to_end;
        first.before(until, &self.store, all, now, of).await
    }

    /// Scans all categories for the CAs that expire first.
    pub(crate) async fn look_for_ends(&self) -> Result<(), StorageError> {
        let (all, now) = (Prefix::collection(Category::NAME), self.clock.now());
        self.first_to_end.look(&self.store, all, now, of).await
    }
}

fn of(category: &Object<Category>) -> Option<Ending> {
    let of = &category.metadata;
    Some(Ending {
        at: category.spec.authority.ends_at(),
        what: format!("tpm_category/{}/{}", of.namespace, of.name),
        needed: OperatorScope::Tpm(Some(of.namespace.clone())),
        kind: "a TPM category’s CA",
    })
}
