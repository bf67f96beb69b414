//! How a restore from a backup changes the record of a CRL.

use keyproof_store::Raw;

use super::revocation_list::Latest;
use crate::collections::{Outcome, RestoreError, Restoring};

/// Marks the CRL as outdated. A new one gets a higher number, as the backup does not show which CRLs were served since.
pub(crate) fn without_list(raw: Raw, restoring: &Restoring<'_>) -> Result<Outcome, RestoreError> {
    let list = raw.decode::<Latest>()?.record.outdated();
    let left = raw.rewritten(&list, restoring.entropy)?;
    Ok((Some(left), None))
}

#[cfg(test)]
mod tests {
    use super::super::testing::furnish;
    use crate::{
        Clock,
        testing::{Bench, bench},
    };
    use keyproof_x509::crl::Crl;
    use std::{sync::Arc, time::Duration};

    async fn list(bench: &Bench) -> Arc<Vec<u8>> {
        let devices = &bench.service.device_identity;
        devices.revocation_list("default", "c").await.unwrap()
    }

    fn number(der: &[u8]) -> u64 {
        let crl = Crl::from_der(der).unwrap();
        let octets = crl.number().unwrap().as_bytes().iter();
        octets.fold(0, |number, octet| number << 8 | u64::from(*octet))
    }

    /// The backup does not contain the number of a CRL that was made after it.
    #[tokio::test]
    async fn lists_after_a_restore_have_higher_numbers_than_any_before() {
        let bench = bench().await;
        furnish(&bench).await;
        let backed_up = list(&bench).await;
        let (restored, _) = bench.restored(Duration::from_secs(60)).await;
        // CRLs that the backup does not contain.
        let mut before = backed_up;
        for _ in 0..3 {
            bench.clock.advance(Duration::from_secs(13 * 60 * 60));
            let next = list(&bench).await;
            assert!(number(&next) > number(&before));
            before = next;
        }
        restored.clock.set(bench.clock.now());
        restored.clock.advance(Duration::from_secs(1));
        assert!(number(&list(&restored).await) > number(&before));

        // A CRL in the backup is not served again, even before its `nextUpdate`.
        let (restored, _) = bench.restored(Duration::from_secs(1)).await;
        assert!(number(&list(&restored).await) > number(&before));
    }
}
