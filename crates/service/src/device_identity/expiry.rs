//! Which category CAs expire soon although upkeep should have renewed them.

use keyproof_auth::operator::OperatorScope;
use keyproof_store::Timestamp;

use super::{Category, DeviceIdentity, Object};
use crate::{
    StorageError,
    expiry::{Expiries, Expiry},
};

impl DeviceIdentity {
    /// Returns the categories whose CA expires before a moment, or has expired.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub(crate) async fn expiry(&self, until: Timestamp) -> Result<Expiries, StorageError> {
        let (first, now) = (&self.first_to_end, self.clock.now());
        first.before(until, &self.store, now, of).await
    }

    /// Scans all categories for the CAs that expire first.
    pub(crate) async fn look_for_ends(&self) -> Result<(), StorageError> {
        let now = self.clock.now();
        self.first_to_end.scan(&self.store, now, of).await
    }
}

fn of(category: &Object<Category>) -> Option<Expiry> {
    let of = &category.metadata;
    Some(Expiry {
        at: category.spec.authority.ends_at(),
        what: format!("tpm_category/{}/{}", of.namespace, of.name),
        needed: OperatorScope::Tpm(Some(of.namespace.clone())),
        kind: "a TPM category’s CA",
    })
}
