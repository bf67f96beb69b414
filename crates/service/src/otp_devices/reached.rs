//! The instances that an operator may read.

use keyproof_auth::operator::Reach;

use super::{
    InstanceSummary, OtpDevices,
    caller::scope,
    records::{Instance, all_instances, instance_key},
};
use crate::{Listed, StorageError, access::Operator, pages::reached};

impl OtpDevices {
    /// Lists at most `most` of the instances that the operator may read, after the name `after`. A page may be empty
    /// although there is a next one.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn instances_page(
        &self,
        operator: &Operator,
        after: Option<&str>,
        most: usize,
    ) -> Result<Listed<InstanceSummary, String>, StorageError> {
        let (after, now) = (after.map(instance_key), self.clock.now());
        let row = |instance: Instance| {
            let is_reached = operator.may(&scope(Reach::Read, &instance.name));
            let name = instance.name.clone();
            (name, is_reached.then(|| InstanceSummary::of(instance)))
        };
        let all = all_instances();
        reached(&self.store, &all, after.as_ref(), most, now, row).await
    }
}
