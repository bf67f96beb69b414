//! Which provisioning services there are that an operator reaches: for people, who do not know them by heart.

use keyproof_store::{Key, Prefix, Record, Stored};

use super::{
    Certificates, ProvisioningService,
    records::{Holder, holder_key},
};
use crate::{StorageError, access::Operator};

/// How many services are read for a page, of which the operator may reach few.
const READ: usize = 1_000;

/// A provisioning service that has certificates.
#[derive(Clone, Debug)]
pub struct HoldingService {
    /// Which it is.
    pub service: ProvisioningService,
    /// How many certificates it has.
    pub certificates: u32,
}

/// Some of the provisioning services that an operator reaches.
#[derive(Clone, Debug, Default)]
pub struct ServicesPage {
    /// The provisioning services, by their names.
    pub services: Vec<HoldingService>,
    /// What to hand in as `after` for the next page, if there may be one.
    pub next: Option<ProvisioningService>,
}

impl Certificates {
    /// At most so many of the provisioning services that have certificates and that the operator reaches, behind `after`. A
    /// page may have none and yet a next one.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn services(
        &self,
        operator: &Operator,
        after: Option<&ProvisioningService>,
        most: usize,
    ) -> Result<ServicesPage, StorageError> {
        let after = after.map(holder_key);
        let all = Prefix::collection(Holder::TYPE);
        let read = self
            .store
            .scan::<Holder>(&all, after.as_ref(), READ, self.clock.now());
        let read: Vec<(Key, Stored<Holder>)> = read.await?;
        let is_all = read.len() < READ;
        let mut page = ServicesPage::default();
        let mut last = None;
        for (_, Stored { record, .. }) in read {
            let service = record.place.service();
            if page.services.len() == most {
                page.next = last;
                return Ok(page);
            }
            last = Some(service.clone());
            if operator.may(&service.scope()) {
                page.services.push(HoldingService {
                    service,
                    certificates: record.certificates,
                });
            }
        }
        page.next = last.filter(|_| !is_all);
        Ok(page)
    }
}
