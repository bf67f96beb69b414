//! Lists the provisioning services that an operator has access to, for people who do not know their names.

use keyproof_store::{Prefix, Record};

use super::{
    Certificates, ProvisioningService,
    records::{Holder, holder_key},
};
use crate::{
    StorageError,
    access::Operator,
    pages::{ListPage, reached},
};

/// A provisioning service that has certificates.
#[derive(Clone, Debug)]
pub struct HoldingService {
    /// The service.
    pub service: ProvisioningService,
    /// The number of its certificates.
    pub certificates: u32,
}

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
        let all = Prefix::collection(Holder::TYPE);
        let row = |holder: Holder| {
            let service = holder.place;
            let is_reached = operator.may(&service.scope());
            let holding = is_reached.then(|| HoldingService {
                service: service.clone(),
                certificates: holder.certificates,
            });
            (service, holding)
        };
        let now = self.clock.now();
        reached(&self.store, &all, after.as_ref(), most, now, row).await
    }
}
