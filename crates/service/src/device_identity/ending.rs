//! Which categories' CAs end soon: those that upkeep could not renew.

use keyproof_store::{Prefix, Timestamp};

use super::{Category, DeviceIdentity, Kind, Object};
use crate::{
    StorageError,
    ending::{Ending, Endings},
};

impl DeviceIdentity {
    /// The categories whose CA ends before a moment, or has ended.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn ending(&self, until: Timestamp) -> Result<Endings, StorageError> {
        let all = Prefix::collection(Category::NAME);
        Endings::of(&self.store, all, self.clock.now(), until, of).await
    }
}

fn of(category: &Object<Category>) -> Option<Ending> {
    let of = &category.metadata;
    Some(Ending {
        at: category.spec.authority.ends_at(),
        what: format!("tpm_category/{}/{}", of.namespace, of.name),
    })
}
