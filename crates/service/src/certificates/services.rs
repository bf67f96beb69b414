//! Lists the provisioning services that an operator has access to, for people who do not know their names.

use keyproof_store::{Prefix, Record};

use super::{
    Certificates, ProvisioningService,
    records::{HoldingService, holder_key},
};
use crate::{
    StorageError,
    access::Operator,
    pages::{ListPage, reached},
};

impl Certificates {
    /// Returns at most `most` provisioning services after `after`, by name, that have certificates and that the operator has access
    /// to. A page may be empty and yet have a next page.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn services(
        &self,
        operator: &Operator,
        after: Option<&ProvisioningService>,
        most: usize,
    ) -> Result<ListPage<HoldingService, ProvisioningService>, StorageError> {
        let after = after.map(holder_key);
        let all = Prefix::collection(HoldingService::TYPE);
        let row = |holder: HoldingService| {
            let is_reached = operator.may(&holder.service.scope());
            (holder.service.clone(), is_reached.then_some(holder))
        };
        let now = self.clock.now();
        reached(&self.store, &all, after.as_ref(), most, now, row).await
    }
}
