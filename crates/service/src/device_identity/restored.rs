//! What a restore from a backup leaves of a revocation list's record.

use keyproof_store::Raw;

use super::revocation_list::Latest;
use crate::collections::{Outcome, RestoreError, Restoring};

/// The list is made anew, under a higher number: the backup does not know which lists were served since.
pub(crate) fn without_list(raw: Raw, restoring: &Restoring<'_>) -> Result<Outcome, RestoreError> {
    let list = raw.decode::<Latest>()?.record.outdated();
    Ok(Outcome {
        left: Some(raw.rewritten(&list, restoring.entropy)?),
        ended: None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Act, Category, Manager, Metadata, NewCategory, PcrPolicy, TrustedMakers};
    use crate::{
        Clock,
        access::NewOperatorToken,
        testing::{Bench, bench, console},
    };
    use keyproof_auth::OperatorScopes;
    use keyproof_x509::crl::Crl;
    use std::time::Duration;

    async fn list(bench: &Bench) -> Vec<u8> {
        let devices = &bench.service.device_identity;
        devices.revocation_list("default", "c").await.unwrap()
    }

    fn number(der: &[u8]) -> u64 {
        let crl = Crl::from_der(der).unwrap();
        let octets = crl.number().unwrap().as_bytes().iter();
        octets.fold(0, |number, octet| number << 8 | u64::from(*octet))
    }

    /// A list that was made after the backup has a number that the backup does not know.
    #[tokio::test]
    async fn lists_after_a_restore_have_higher_numbers_than_any_before() {
        let bench = bench().await;
        let service = &bench.service;
        let new = NewOperatorToken {
            subject: "ci".to_owned(),
            scopes: OperatorScopes::new(["tpm".parse().unwrap()]).unwrap(),
            lifetime: None,
        };
        let token = service.access.create(new, &console()).await.unwrap();
        let operator = service.access.authenticate(&token.text).await.unwrap();
        let devices = &service.device_identity;
        let metadata = |name: &str| Metadata {
            name: name.to_owned(),
            namespace: "default".to_owned(),
            ..Metadata::default()
        };
        let origin = console();
        let managers = devices.permit::<Manager>(&operator, Act::Create, "default", "m", &origin);
        let trusted = TrustedMakers::default();
        let managers = managers.await.unwrap();
        let made = devices.create_manager(&managers, metadata("m"), trusted);
        made.await.unwrap();
        let categories =
            devices.permit::<Category>(&operator, Act::Create, "default", "c", &origin);
        let category = NewCategory {
            metadata: metadata("c"),
            manager: "m".to_owned(),
            allow_list: Vec::new(),
            attestation_key: super::super::AttestationKeyTemplate::default(),
            pcr_policy: PcrPolicy::default(),
        };
        let categories = categories.await.unwrap();
        let made = devices.create_category(&categories, category).await;
        assert!(made.is_ok());
        let backed_up = list(&bench).await;
        let (restored, _) = bench.restored(Duration::from_secs(60)).await;
        // In between there were others.
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

        // Nor is the one that was backed up served on, while it is in force.
        let (restored, _) = bench.restored(Duration::from_secs(1)).await;
        assert!(number(&list(&restored).await) > number(&before));
    }
}
