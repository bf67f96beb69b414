//! Which provisioning services there are that an operator reaches: for people, who do not know them by heart.

use keyproof_store::{Prefix, Record};

use super::{
    Certificates, ProvisioningService,
    records::{Holder, holder_key},
};
use crate::{
    StorageError,
    access::Operator,
    pages::{Listed, reached},
};

/// A provisioning service that has certificates.
#[derive(Clone, Debug)]
pub struct HoldingService {
    /// Which it is.
    pub service: ProvisioningService,
    /// How many certificates it has.
    pub certificates: u32,
}

impl Certificates {
    /// At most so many of the provisioning services that have certificates and that the operator reaches, by their names, behind
    /// `after`. A page may have none and yet a next one.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn services(
        &self,
        operator: &Operator,
        after: Option<&ProvisioningService>,
        most: usize,
    ) -> Result<Listed<HoldingService, ProvisioningService>, StorageError> {
        let after = after.map(holder_key);
        let all = Prefix::collection(Holder::TYPE);
        let row = |holder: Holder| {
            let service = holder.place.service();
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
