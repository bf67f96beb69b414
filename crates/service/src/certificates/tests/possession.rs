use std::time::Duration;

use keyproof_store::{Prefix, faults::CommitMode};

use super::*;
use crate::audit::Outcome;

#[tokio::test]
async fn a_code_and_its_leaf_prove_possession_once() {
    let bench = bench().await;
    let ca = Ca::new("A");
    let put = bench.put("c", &ca, None).await;
    bench.clock.advance(Duration::from_secs(1));
    let issued = bench.code("c").await;
    assert_eq!(issued.digits.len(), 48);
    assert!(VerificationCode::parse(&issued.digits).is_ok());
    assert_ne!(issued.certificate.version, put.version);
    assert_eq!(issued.certificate.verification, Verification::None);
    assert!(issued.certificate.updated_at > put.updated_at);
    assert_eq!(bench.shown("c").await, issued.certificate);

    let leaf = ca.leaf(&issued.digits);
    bench.clock.advance(Duration::from_millis(1));
    let proven = bench.verify("c", &leaf).await.unwrap();
    assert_eq!(proven.verification, Verification::Proven);
    assert_ne!(proven.version, issued.certificate.version);
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(
        bench.verify("c", &leaf).await.err(),
        refusal(VerifyError::NoCode)
    );
    assert_eq!(bench.shown("c").await, proven);

    let told = bench.told().await;
    let actions: Vec<_> = told
        .iter()
        .map(|event| (&*event.action, event.outcome))
        .collect();
    assert_eq!(
        actions[1..],
        [
            ("certificate.generate_code", Outcome::Done),
            ("certificate.verify", Outcome::Done),
            ("certificate.verify", Outcome::Refused),
        ],
        "{told:?}"
    );
    assert_eq!(told[0].target, "certificate/sub/group/dps/c");
    let detail = told[2].detail.as_deref().unwrap();
    assert!(detail.starts_with("possession proven"), "{detail}");
    assert_eq!(detail, detail.trim_end(), "a line without an end");
}

#[tokio::test]
async fn a_failed_proof_changes_nothing_but_the_audit_trail() {
    let bench = bench().await;
    let (ca, other) = (Ca::new("A"), Ca::new("B"));
    bench.put("c", &ca, None).await;
    let issued = bench.code("c").await;
    let wrong = [
        other.leaf(&issued.digits),
        ca.leaf(&"0".repeat(48)),
        ca.der.clone(),
        b"no certificate".to_vec(),
    ];
    for leaf in &wrong {
        // Within one millisecond the order of events is random.
        bench.clock.advance(Duration::from_millis(1));
        let refused = bench.verify("c", leaf).await;
        let Err(Failure::Refused(VerifyError::Refused(report))) = refused else {
            panic!("{refused:?}");
        };
        assert!(!report.accepted() && report.first_refusal().is_some());
        assert_eq!(bench.shown("c").await, issued.certificate);
    }
    let told = bench.told().await;
    let refusals: Vec<_> = told
        .iter()
        .filter(|event| event.outcome == Outcome::Refused)
        .map(|event| event.detail.as_deref().unwrap())
        .collect();
    assert_eq!(refusals.len(), wrong.len());
    assert!(refusals[0].contains("fail issuer: "), "{refusals:?}");
    assert!(refusals[1].contains("fail common-name: "), "{refusals:?}");
    assert!(refusals[2].contains("fail not-the-ca: "), "{refusals:?}");
    assert!(refusals[3].contains("fail leaf: "), "{refusals:?}");
    // The code stays valid.
    assert!(bench.verify("c", &ca.leaf(&issued.digits)).await.is_ok());
}

#[tokio::test]
async fn a_new_code_ends_the_old_one_and_leaves_a_verified_certificate_verified() {
    let bench = bench().await;
    let ca = Ca::new("A");
    bench.put("c", &ca, Some(true)).await;
    let old = bench.code("c").await.digits;
    let new = bench.code("c").await;
    assert_ne!(*old, *new.digits);
    assert_eq!(new.certificate.verification, Verification::Asserted);
    let refused = bench.verify("c", &ca.leaf(&old)).await;
    assert!(
        matches!(refused, Err(Failure::Refused(VerifyError::Refused(_)))),
        "{refused:?}"
    );
    assert_eq!(bench.shown("c").await.verification, Verification::Asserted);
    let proven = bench.verify("c", &ca.leaf(&new.digits)).await.unwrap();
    assert_eq!(proven.verification, Verification::Proven);
}

/// The proof may have been disclosed since the backup.
#[tokio::test]
async fn a_code_ends_with_a_restore_and_the_certificate_stays() {
    let bench = bench().await;
    let (with, without) = (Ca::new("A"), Ca::new("B"));
    bench.put("with", &with, None).await;
    let unchanged = bench.put("without", &without, None).await;
    let issued = bench.code("with").await;
    let (restored, ended) = bench.restored(Duration::ZERO).await;
    assert_eq!(ended.get(&crate::Ended::VerificationCodes), Some(&1));
    let leaf = with.leaf(&issued.digits);
    assert_eq!(
        restored.verify("with", &leaf).await.err(),
        refusal(VerifyError::NoCode)
    );
    assert_eq!(restored.shown("without").await, unchanged);
    let again = restored.code("with").await;
    let leaf = with.leaf(&again.digits);
    assert!(restored.verify("with", &leaf).await.is_ok());
}

#[tokio::test]
async fn a_code_dies_when_its_time_is_over() {
    let lifetime = Duration::from_secs(60);
    let bench = bench_with(|settings| settings.certificates.code_lifetime = Some(lifetime)).await;
    let ca = Ca::new("A");
    for (name, waits, verdict) in [
        ("a", lifetime - Duration::from_millis(1), true),
        ("b", lifetime, false),
        // Expiry and use within one second.
        ("c", lifetime - Duration::from_millis(1), true),
    ] {
        bench.put(name, &ca, None).await;
        let digits = bench.code(name).await.digits;
        bench.clock.advance(waits);
        match bench.verify(name, &ca.leaf(&digits)).await {
            Ok(_) => assert!(verdict, "{name}"),
            Err(error) => assert_eq!(
                (error, verdict),
                (Failure::Refused(VerifyError::NoCode), false)
            ),
        }
    }
}

#[tokio::test]
async fn of_two_proofs_at_once_one_is_taken() {
    let bench = bench().await;
    let ca = Ca::new("A");
    bench.put("c", &ca, None).await;
    let issued = bench.code("c").await;
    let leaf = ca.leaf(&issued.digits);
    for precondition in [at(issued.certificate.version), Precondition::Any] {
        let proof = || {
            let (all, precondition) = (bench.service.clone(), precondition.clone());
            let sent = Sent::Ok(leaf.clone());
            tokio::spawn(async move {
                let dps = caller("dps");
                all.certificates
                    .verify(&dps, "c", &precondition, sent)
                    .await
            })
        };
        let (one, two) = (proof(), proof());
        let verdicts = [one.await.unwrap(), two.await.unwrap()];
        let taken = verdicts.iter().filter(|verdict| verdict.is_ok()).count();
        // The losers find another version or a used code. In the second round nothing is left to prove.
        let expected = usize::from(precondition != Precondition::Any);
        assert_eq!(taken, expected, "{verdicts:?}");
        for verdict in verdicts.iter().filter_map(|verdict| verdict.as_ref().err()) {
            assert!(
                matches!(
                    verdict,
                    Failure::Refused(VerifyError::Precondition | VerifyError::NoCode)
                ),
                "{verdict:?}"
            );
        }
    }
}

#[tokio::test]
async fn no_proof_is_accepted_that_is_not_stored() {
    let bench = bench().await;
    let ca = Ca::new("A");
    bench.put("c", &ca, None).await;
    let digits = bench.code("c").await.digits;
    bench.faults.commits(CommitMode::NotApplied);
    let verdict = bench.verify("c", &ca.leaf(&digits)).await;
    assert!(matches!(
        verdict,
        Err(Failure::Storage(StorageError::NotApplied(_)))
    ));
    bench.faults.commits(CommitMode::Made);
    assert_eq!(bench.shown("c").await.verification, Verification::None);
    assert!(bench.verify("c", &ca.leaf(&digits)).await.is_ok());
}

#[tokio::test]
async fn no_code_is_in_the_store_in_the_clear_or_printed() {
    let bench = bench().await;
    bench.put("c", &Ca::new("A"), None).await;
    let issued = bench.code("c").await;
    assert!(!format!("{issued:?}").contains(&*issued.digits));
    let rows = bench.rows(&Prefix::all()).await;
    assert!(rows.len() >= 4);
    for row in rows {
        assert!(!String::from_utf8_lossy(row.json()).contains(&*issued.digits));
    }
}
