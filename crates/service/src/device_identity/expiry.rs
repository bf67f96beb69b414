//! Which category CAs expire soon although upkeep should have renewed them, and which client certificates of stations.

use keyproof_auth::operator::OperatorScope;
use keyproof_store::Timestamp;

use super::{Category, DeviceIdentity, Object};
use crate::{
    StorageError,
    expiry::{Expiries, Expiry},
};

impl DeviceIdentity {
    /// Returns the categories' CAs and latest client certificates that expire before a moment, or have expired.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub(crate) async fn expiry(&self, until: Timestamp) -> Result<Expiries, StorageError> {
        let (first, now) = (&self.first_to_end, self.clock.now());
        first.before(until, &self.store, now, of).await
    }

    /// Returns when the next category's CA or latest client certificate expires, as of the last look by the upkeep.
    pub(crate) fn next_end(&self) -> Option<Timestamp> {
        self.first_to_end.next()
    }

    /// Scans all categories for the CAs and client certificates that expire first.
    pub(crate) async fn look_for_ends(&self) -> Result<(), StorageError> {
        let now = self.clock.now();
        self.first_to_end.scan(&self.store, now, of).await
    }
}

fn of(category: &Object<Category>) -> Vec<Expiry> {
    let of = &category.metadata;
    let authority = Expiry {
        at: category.spec.authority.ends_at(),
        what: format!("tpm_category/{}/{}", of.namespace, of.name),
        needed: OperatorScope::Tpm(Some(of.namespace.clone())),
        kind: "a TPM category’s CA",
    };
    let client = category.spec.client_ends().map(|at| Expiry {
        at,
        what: format!("client certificate of {}", authority.what),
        needed: authority.needed.clone(),
        kind: "a TPM category’s client certificate",
    });
    client.into_iter().chain([authority]).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        super::{
            ObjectOperation,
            testing::{furnish, may},
        },
        *,
    };
    use crate::{Clock, testing::bench};

    #[tokio::test]
    async fn the_latest_client_certificate_of_a_category_ends_before_its_ca() {
        const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
        let bench = bench().await;
        furnish(&bench).await;
        let devices = &bench.service.device_identity;
        let found = async |years| {
            let until = bench.clock.now().saturating_add(YEAR.saturating_mul(years));
            let expiries = devices.expiry(until).await.unwrap();
            let found = expiries.found.into_iter();
            found
                .map(|expiry| (expiry.at, expiry.what))
                .collect::<Vec<_>>()
        };
        assert_eq!(found(9).await, []);
        let all = found(21).await;
        let names: Vec<_> = all.iter().map(|(_, what)| &**what).collect();
        let client = "client certificate of tpm_category/default/c";
        assert_eq!(names, [client, "tpm_category/default/c"]);
        devices.look_for_ends().await.unwrap();
        assert_eq!(bench.service.figures().tpm_certificates_end, Some(all[0].0));

        // Only the latest counts.
        bench.clock.advance(YEAR.saturating_mul(5));
        let changing = may::<Category>(&bench, ObjectOperation::Replace, "c").await;
        let renewed = devices.renew_client(&changing, "c", None).await;
        let end = renewed.ok().map(|renewed| renewed.not_after);
        devices.look_for_ends().await.unwrap();
        assert_eq!(bench.service.figures().tpm_certificates_end, end);
    }
}
