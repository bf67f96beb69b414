use std::time::Duration;

use keyproof_store::faults::CommitMode;
use serde_json::{Value, json};

use super::*;

const LATER: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_certificate_is_shown_as_it_was_uploaded() {
    let bench = bench().await;
    let ca = Ca::new("Acme Root");
    let put = bench.put("Root", &ca, None).await;
    assert_eq!((&put.service, &*put.name), (&service("dps"), "Root"));
    let described = &put.description;
    assert_eq!(described.subject, "CN=Acme Root");
    assert_eq!(described.subject_common_name.as_deref(), Some("Acme Root"));
    assert_eq!(put.verification, Verification::None);
    assert_eq!(put.der, ca.der);
    assert_eq!((put.created_at, put.updated_at), (START, START));
    assert_eq!(
        described.thumbprint,
        keyproof_x509::Sha1Thumbprint::of_der(&ca.der).to_string()
    );
    assert_eq!(bench.shown("rOOT").await, put);
    let listed = bench.certificates().list(&caller("DPS")).await.unwrap();
    assert_eq!(listed, [put]);
}

/// A certificate's record from before the uploaded file was stored.
#[derive(Clone, Serialize, Deserialize)]
struct OldCertificate {
    place: Value,
    name: String,
    der: String,
    verification: Verification,
    code: Option<()>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl keyproof_store::Record for OldCertificate {
    const TYPE: &'static str = "dps_certificate";
    const VERSION: u32 = 1;
}

#[tokio::test]
async fn a_record_of_before_the_file_was_kept_is_read_and_changed() {
    let bench = bench().await;
    let ca = Ca::new("Acme Root");
    bench.put("Root", &ca, None).await;
    let mut batch = bench.store.batch(START);
    let stored = bench.certificates().load(&caller("dps"), "Root").await;
    let stored = stored.unwrap().unwrap();
    let place = stored.record.place;
    let old = OldCertificate {
        place: json!({
            "subscription": place.subscription,
            "resource_group": place.resource_group,
            "service": place.name,
        }),
        name: stored.record.name,
        der: data_encoding::BASE64.encode(&ca.der),
        verification: Verification::Asserted,
        code: None,
        created_at: START,
        updated_at: START,
    };
    let key = certificate_key(&service("dps"), "Root");
    batch.replace(&key, stored.version, &old, None);
    bench.store.commit(batch).await.unwrap();

    let shown = bench.shown("Root").await;
    assert_eq!((&shown.der, &shown.pem), (&ca.der, &None));
    assert_eq!(shown.verification, Verification::Asserted);
    let listed = bench.certificates().list(&caller("dps")).await.unwrap();
    assert_eq!(listed, [shown]);
    assert_eq!(bench.code("Root").await.certificate.pem, None);
}

#[tokio::test]
async fn the_pem_file_is_kept_with_its_certificate_alone() {
    let bench = bench().await;
    let (ca, other) = (Ca::new("A"), Ca::new("B"));
    let base64 = data_encoding::BASE64.encode(&ca.der);
    let pem = format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n");
    let put = async |certificate: &[u8]| {
        let upload = upload(certificate, None);
        let (dps, any) = (caller("dps"), Precondition::Any);
        let put = bench.certificates().put(&dps, "c", &any, upload);
        put.await.unwrap()
    };
    assert_eq!(put(pem.as_bytes()).await.pem.as_ref(), Some(&pem));
    assert_eq!(bench.code("c").await.certificate.pem.as_ref(), Some(&pem));
    // In another encoding it is the same certificate and keeps its code.
    let digits = bench.code("c").await.digits;
    assert_eq!(put(&ca.der).await.pem, None);
    assert_eq!(put(pem.as_bytes()).await.pem.as_ref(), Some(&pem));
    let verified = bench.verify("c", &ca.leaf(&digits)).await.unwrap();
    assert_eq!(verified.pem.as_ref(), Some(&pem));
    assert_eq!(put(&other.der).await.pem, None);
}

#[tokio::test]
async fn names_compare_without_case_and_stay_as_first_written() {
    let bench = bench().await;
    let ca = Ca::new("A");
    let put = bench.put("Root", &ca, None).await;
    let shouted = ProvisioningService {
        subscription: "SUB".to_owned(),
        resource_group: "GROUP".to_owned(),
        name: "DPS".to_owned(),
    };
    let shouted = Caller::unasked(shouted, &origin());
    let certificates = bench.certificates();
    let again = certificates
        .put(&shouted, "ROOT", &at(put.version), ca.upload(None))
        .await
        .unwrap();
    let beside = certificates
        .put(&shouted, "Other", &Precondition::Missing, ca.upload(None))
        .await
        .unwrap();
    for (view, name) in [(again, "Root"), (beside, "Other")] {
        assert_eq!((view.service, &*view.name), (service("dps"), name));
    }
    assert_eq!(certificates.list(&shouted).await.unwrap().len(), 2);
    // Another service has its own certificates.
    let elsewhere = caller("dps2");
    assert_eq!(certificates.list(&elsewhere).await.unwrap(), []);
}

#[tokio::test]
async fn a_list_is_sorted_whatever_the_names_are_stored_by() {
    let bench = bench().await;
    let ca = Ca::new("A");
    let long = format!("m{}", "x".repeat(255));
    for name in ["z", &long, "B", "a"] {
        bench.put(name, &ca, None).await;
    }
    let listed = bench.certificates().list(&caller("dps")).await.unwrap();
    let names: Vec<_> = listed.iter().map(|view| &*view.name).collect();
    assert_eq!(names, ["a", "B", &*long, "z"]);
}

#[tokio::test]
async fn what_exists_is_changed_at_its_version_alone() {
    let bench = bench().await;
    let ca = Ca::new("A");
    let certificates = bench.certificates();
    let first = bench.put("c", &ca, None).await;
    let second = bench.put("c", &ca, None).await;
    assert_ne!(first.version, second.version);
    let before = bench.told().await.len();
    for stale in [
        Precondition::Missing,
        at(first.version),
        Precondition::OneOf(vec!["x".to_owned()]),
    ] {
        let dps = caller("dps");
        let put = certificates.put(&dps, "c", &stale, ca.upload(None)).await;
        assert_eq!(put.err(), refusal(PutError::Precondition));
        let deleted = certificates.delete(&dps, "c", &stale).await;
        assert_eq!(deleted.err(), refusal(DeleteError::Precondition));
        let code = certificates.generate_code(&dps, "c", &stale).await;
        assert_eq!(code.err(), refusal(GenerateCodeError::Precondition));
        let verified = certificates
            .verify(&dps, "c", &stale, Sent::Ok(Vec::new()))
            .await;
        assert_eq!(verified.err(), refusal(VerifyError::Precondition));
    }
    assert_eq!(bench.shown("c").await, second);
    assert_eq!(bench.told().await.len(), before);
    // A read needs no version, but one that is given must match.
    let read = certificates
        .get(&caller("dps"), "c", &at(first.version))
        .await;
    assert_eq!(read.err(), refusal(GetError::Precondition));
    let read = certificates
        .get(&caller("dps"), "c", &at(second.version))
        .await;
    assert_eq!(read, Ok(second));
}

#[tokio::test]
async fn what_is_absent_is_unknown_whatever_version_is_named() {
    let bench = bench().await;
    let certificates = bench.certificates();
    let dps = caller("dps");
    for precondition in [Precondition::Missing, Precondition::Any] {
        let read = certificates.get(&dps, "c", &precondition).await;
        assert_eq!(read.err(), refusal(GetError::Unknown));
        let code = certificates.generate_code(&dps, "c", &precondition).await;
        assert_eq!(code.err(), refusal(GenerateCodeError::Unknown));
        let verified = certificates
            .verify(&dps, "c", &precondition, Sent::Ok(Vec::new()))
            .await;
        assert_eq!(verified.err(), refusal(VerifyError::Unknown));
        let deleted = certificates.delete(&dps, "c", &precondition).await;
        assert_eq!(deleted, Ok(Deletion::Absent));
    }
    assert_eq!(bench.told().await, []);
}

#[tokio::test]
async fn a_body_is_judged_after_existence_and_precondition() {
    let bench = bench().await;
    let (certificates, dps, any) = (bench.certificates(), caller("dps"), Precondition::Any);
    let put = async |name: &str, precondition: &Precondition| {
        let body = Sent::Err("not JSON");
        let put = certificates.put(&dps, name, precondition, body).await;
        put.err().unwrap()
    };
    let verify = async |name: &str, precondition: &Precondition| {
        let body = Sent::Err("not JSON");
        let verified = certificates.verify(&dps, name, precondition, body).await;
        verified.err().unwrap()
    };
    let (no_put, no_leaf) = (PutError::Body("not JSON"), VerifyError::Body("not JSON"));
    // After an unreadable body nothing else is checked, such as an empty name or a certificate without a code.
    assert_eq!(put("", &any).await, Failure::Refused(no_put.clone()));
    assert_eq!(
        verify("c", &any).await,
        Failure::Refused(VerifyError::Unknown)
    );
    let stored = bench.put("c", &Ca::new("A"), None).await;
    let missing = Precondition::Missing;
    assert_eq!(
        put("c", &missing).await,
        Failure::Refused(PutError::Precondition)
    );
    assert_eq!(
        verify("c", &missing).await,
        Failure::Refused(VerifyError::Precondition)
    );
    assert_eq!(put("c", &any).await, Failure::Refused(no_put));
    assert_eq!(verify("c", &any).await, Failure::Refused(no_leaf));
    assert_eq!(bench.shown("c").await, stored);
    assert_eq!(bench.told().await.len(), 1);
}

#[tokio::test]
async fn a_change_reads_the_store_once() {
    let bench = bench().await;
    let ca = Ca::new("A");
    let steps = || bench.faults.steps();
    bench.put("c", &ca, None).await;
    steps();
    bench.put("c", &ca, None).await;
    assert_eq!(steps(), 2, "a read and a commit");
    let digits = bench.code("c").await.digits;
    assert_eq!(steps(), 2);
    bench.verify("c", &ca.leaf(&digits)).await.unwrap();
    assert_eq!(steps(), 2);
    let (dps, any) = (caller("dps"), Precondition::Any);
    let deleted = bench.certificates().delete(&dps, "c", &any).await;
    assert_eq!((deleted, steps()), (Ok(Deletion::Deleted), 2));
}

#[tokio::test]
async fn the_same_certificate_keeps_its_state_and_another_starts_anew() {
    let bench = bench().await;
    let (ca, other) = (Ca::new("A"), Ca::new("B"));
    bench.put("c", &ca, None).await;
    let digits = bench.code("c").await.digits;
    bench.clock.advance(LATER);
    // The code stays valid after an upload of the same certificate.
    let same = bench.put("c", &ca, None).await;
    assert_eq!(same.created_at, START);
    assert_eq!(same.updated_at, START.saturating_add(LATER));
    bench.verify("c", &ca.leaf(&digits)).await.unwrap();
    for verified in [None, Some(true)] {
        let kept = bench.put("c", &ca, verified).await;
        assert_eq!(kept.verification, Verification::Proven);
    }
    bench.code("c").await;
    let cleared = bench.put("c", &ca, Some(false)).await;
    assert_eq!(cleared.verification, Verification::None);
    let digits = bench.code("c").await.digits;
    bench.put("c", &ca, Some(false)).await;
    assert_eq!(
        bench.verify("c", &ca.leaf(&digits)).await.err(),
        refusal(VerifyError::NoCode)
    );

    let digits = bench.code("c").await.digits;
    bench.verify("c", &ca.leaf(&digits)).await.unwrap();
    let digits = bench.code("c").await.digits;
    let replaced = bench.put("c", &other, None).await;
    assert_eq!(replaced.verification, Verification::None);
    assert_eq!(replaced.created_at, START);
    assert_eq!(
        bench.verify("c", &ca.leaf(&digits)).await.err(),
        refusal(VerifyError::NoCode)
    );
}

#[tokio::test]
async fn an_assertion_is_told_as_one_and_can_be_refused() {
    let bench = bench().await;
    let ca = Ca::new("A");
    let asserted = bench.put("c", &ca, Some(true)).await;
    assert_eq!(asserted.verification, Verification::Asserted);
    bench.clock.advance(LATER);
    assert_eq!(
        bench.put("c", &ca, None).await.verification,
        Verification::Asserted
    );
    bench.clock.advance(LATER);
    let told = bench.told().await;
    let detail = told[0].detail.as_deref().unwrap();
    assert!(detail.contains("possession NOT proven"), "{detail}");
    bench.put("c", &ca, Some(false)).await;
    let told = bench.told().await;
    let detail = told[2].detail.as_deref().unwrap();
    assert!(detail.contains("no longer verified"), "{told:?}");

    let strict = bench_with(|settings| settings.certificates.allow_unproven = false).await;
    let (dps, any) = (caller("dps"), Precondition::Any);
    let upload = ca.upload(Some(true));
    let put = strict.certificates().put(&dps, "c", &any, upload).await;
    assert_eq!(put.err(), refusal(PutError::Unproven));
    strict.put("c", &ca, Some(false)).await;
    let digits = strict.code("c").await.digits;
    strict.verify("c", &ca.leaf(&digits)).await.unwrap();
    // A proven state may be sent back.
    let kept = strict.put("c", &ca, Some(true)).await;
    assert_eq!(kept.verification, Verification::Proven);
}

#[tokio::test]
async fn names_and_uploads_are_checked() {
    let bench = bench().await;
    let ca = Ca::new("A");
    let put = async |name: &str, certificate: &[u8]| {
        let upload = upload(certificate, None);
        let (dps, any) = (caller("dps"), Precondition::Any);
        let put = bench.certificates().put(&dps, name, &any, upload).await;
        put.err()
    };
    for wrong in ["", &"ä".repeat(257), "a\nb", "\u{7f}", "\u{85}"] {
        assert_eq!(put(wrong, &ca.der).await, refusal(PutError::Name));
    }
    assert_eq!(put(&"ä".repeat(256), &ca.der).await, None);
    for wrong in [&b""[..], b"-----BEGIN", b"AAAA", &ca.der[..40]] {
        let refused = put("c", wrong).await;
        assert!(
            matches!(refused, Some(Failure::Refused(PutError::Upload(_)))),
            "{refused:?}"
        );
    }
    assert_eq!(bench.told().await.len(), 1);
}

#[tokio::test]
async fn a_service_has_so_many_certificates_and_no_more_under_any_race() {
    let limit = 3;
    let bench = bench_with(|settings| {
        settings.certificates.max_certificates = NonZeroU32::new(limit).unwrap();
    })
    .await;
    let ca = Ca::new("A");
    let puts = (0..8).map(|number| {
        let (service_handle, der) = (bench.service.clone(), ca.der.clone());
        tokio::spawn(async move {
            let upload = upload(&der, None);
            let name = format!("c{number}");
            service_handle
                .certificates
                .put(&caller("dps"), &name, &Precondition::Missing, upload)
                .await
        })
    });
    let puts: Vec<_> = puts.collect();
    let mut stored = 0;
    for put in puts {
        match put.await.unwrap() {
            Ok(_) => stored += 1,
            Err(error) => assert_eq!(error, Failure::Refused(PutError::Full { limit })),
        }
    }
    assert_eq!(stored, limit);
    let listed = bench.certificates().list(&caller("dps")).await.unwrap();
    assert_eq!(listed.len(), 3);
    // Page by page, after a name that need not exist.
    let page = async |after: Option<&str>| {
        let dps = caller("dps");
        let page = bench.certificates().list_page(&dps, after, 2).await;
        page.unwrap()
    };
    let first = page(None).await;
    assert_eq!(first.rows, listed[..2]);
    assert_eq!(first.next.as_ref(), Some(&listed[1].name));
    let last = page(first.next.as_deref()).await;
    assert_eq!((&*last.rows, last.next), (&listed[2..], None));
    let beyond = page(Some("zzz")).await;
    assert_eq!((beyond.rows, beyond.next), (Vec::new(), None));
    // Existing certificates can still be changed, and deleting one makes room.
    bench.put(&listed[0].name, &ca, None).await;
    let (dps, any) = (caller("dps"), Precondition::Any);
    for view in &listed {
        let deleted = bench.certificates().delete(&dps, &view.name, &any).await;
        assert_eq!(deleted, Ok(Deletion::Deleted));
    }
    for name in ["d", "e", "f"] {
        bench.put(name, &ca, None).await;
    }
}

#[tokio::test]
async fn of_two_changes_at_one_version_one_is_made() {
    let bench = bench().await;
    let ca = Ca::new("A");
    let base = bench.put("c", &ca, None).await;
    let change = |deletes: bool| {
        let (all, der, version) = (bench.service.clone(), ca.der.clone(), base.version);
        tokio::spawn(async move {
            let (dps, at) = (caller("dps"), at(version));
            let upload = upload(&der, None);
            if deletes {
                matches!(
                    all.certificates.delete(&dps, "c", &at).await,
                    Ok(Deletion::Deleted)
                )
            } else {
                all.certificates.put(&dps, "c", &at, upload).await.is_ok()
            }
        })
    };
    let (one, two) = (change(false), change(false));
    let made = [one.await.unwrap(), two.await.unwrap()];
    assert_eq!(made.iter().filter(|made| **made).count(), 1);
    assert_eq!(bench.told().await.len(), 2);
}

#[tokio::test]
async fn nothing_is_said_to_be_done_that_is_not() {
    let bench = bench().await;
    let ca = Ca::new("A");
    let put = bench.put("c", &ca, None).await;
    bench.faults.commits(CommitMode::NotApplied);
    let (dps, any) = (caller("dps"), Precondition::Any);
    let certificates = bench.certificates();
    let changed = certificates
        .put(&dps, "c", &any, ca.upload(Some(true)))
        .await;
    assert!(matches!(
        changed,
        Err(Failure::Storage(StorageError::NotApplied(_)))
    ));
    let deleted = certificates.delete(&dps, "c", &any).await;
    assert!(matches!(
        deleted,
        Err(Failure::Storage(StorageError::NotApplied(_)))
    ));
    bench.faults.commits(CommitMode::Made);
    assert_eq!(bench.shown("c").await, put);
    bench.faults.commits(CommitMode::Lost);
    // The second time the certificate is absent, as far as this server knows.
    for _ in 0..2 {
        let deleted = certificates.delete(&dps, "c", &any).await;
        assert!(matches!(
            deleted,
            Err(Failure::Storage(StorageError::OutcomeUnknown(_)))
        ));
    }
    bench.faults.commits(CommitMode::Made);
    for _ in 0..2 {
        let deleted = certificates.delete(&dps, "c", &any).await;
        assert_eq!(deleted, Ok(Deletion::Absent));
    }
    let put = certificates
        .put(&dps, "c", &any, ca.upload(Some(true)))
        .await;
    put.unwrap();
}

#[tokio::test]
async fn what_ends_soon_is_told_of_records_of_before_too() {
    let bench = bench().await;
    let ca = Ca::new("Acme Root");
    bench.put("root", &ca, None).await;
    let ends = X509Certificate::from_der(&ca.der)
        .unwrap()
        .validity()
        .not_after;
    let ends = Timestamp::from_secs(u64::try_from(ends).unwrap());
    let expiry = async |until| {
        let endings = bench.certificates().expiry(until).await.unwrap();
        let found = endings.found.into_iter();
        found
            .map(|expiry| (expiry.at, expiry.what))
            .collect::<Vec<_>>()
    };
    let told = vec![(ends, "certificate/sub/group/dps/root".to_owned())];
    let later = ends.saturating_add(Duration::from_secs(1));
    assert_eq!(expiry(later).await, told);
    assert_eq!(expiry(ends).await, []);
    // Earlier releases did not store a description.
    let key = certificate_key(&service("dps"), "root");
    let now = bench.clock.now();
    let stored = bench.store.get::<Certificate>(&key, now).await.unwrap();
    let stored = stored.unwrap();
    let mut record = stored.record;
    record.description = None;
    let mut batch = bench.store.batch(now);
    batch.replace(&key, stored.version, &record, None);
    bench.store.commit(batch).await.unwrap();
    assert_eq!(expiry(later).await, told);
}
