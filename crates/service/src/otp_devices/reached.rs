//! Which instances there are that an operator reaches.

use keyproof_auth::operator::{OperatorScope, Reach};
use keyproof_store::Stored;

use super::{
    InstanceSummary, OtpDevices,
    records::{Instance, all_instances, instance_key},
};
use crate::{StorageError, access::Operator};

/// How many instances are read for a page, of which the operator may reach few.
const READ: usize = 1_000;

/// Some of the instances that an operator reaches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstancesPage {
    /// The instances, by name.
    pub instances: Vec<InstanceSummary>,
    /// What to hand in as `after` for the next page, if there may be one.
    pub next: Option<String>,
}

impl OtpDevices {
    /// At most so many of the instances that the operator may read, behind `after`. A page may have none and yet a next one.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn instances_page(
        &self,
        operator: &Operator,
        after: Option<&str>,
        most: usize,
    ) -> Result<InstancesPage, StorageError> {
        let after = after.map(instance_key);
        let (all, now) = (all_instances(), self.clock.now());
        let read = self
            .store
            .scan::<Instance>(&all, after.as_ref(), READ, now)
            .await?;
        let is_all = read.len() < READ;
        let mut page = InstancesPage::default();
        let mut last = None;
        for (_, Stored { record, .. }) in read {
            if page.instances.len() == most {
                page.next = last;
                return Ok(page);
            }
            last = Some(record.name.clone());
            let needed = OperatorScope::Instances(Reach::Read, Some(record.name.clone()));
            if operator.may(&needed) {
                page.instances.push(InstanceSummary {
                    name: record.name,
                    has_password: record.password.is_some(),
                    created_at: record.created_at,
                });
            }
        }
        page.next = last.filter(|_| !is_all);
        Ok(page)
    }
}
