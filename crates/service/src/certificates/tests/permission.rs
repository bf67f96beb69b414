//! Permission to work with certificates.

use super::*;
use crate::{
    Action,
    access::{Issuers, OutOfScope},
    audit::Outcome,
    testing::command_line,
};

#[tokio::test]
async fn a_caller_is_whom_a_scope_lets_and_is_told_by_name() {
    let bench = bench().await;
    let operator = bench.operator("certificates:sub/group/dps").await;
    let (certificates, origin) = (bench.certificates(), origin());
    let permitted = certificates.permit(
        &operator,
        Action::CertificatePut,
        service("DPS"),
        "c",
        &origin,
    );
    let caller = permitted.await.unwrap();
    let upload = Ca::new("A").upload(None);
    let put = certificates.put(&caller, "c", &Precondition::Any, upload);
    put.await.unwrap();

    for act in [
        Action::CertificateDelete,
        Action::CertificateGet,
        Action::CertificateList,
    ] {
        bench.clock.advance(Duration::from_millis(1));
        let permitted = certificates.permit(&operator, act, service("dps2"), "C", &origin);
        let refused = permitted.await.map(|_| ()).unwrap_err();
        let needed = service("dps2").scope();
        assert_eq!(refused, Failure::Refused(OutOfScope { needed }));
    }
    let told = bench.told().await;
    let told: Vec<_> = told
        .iter()
        .map(|event| (&*event.action, &*event.target, event.outcome, &event.who))
        .collect();
    let (who, elsewhere) = (operator.who.to_string(), "certificate/sub/group/dps2/c");
    assert_eq!(
        told,
        [
            (
                "certificate.create",
                "certificate/sub/group/dps/c",
                Outcome::Done,
                &who
            ),
            ("certificate.delete", elsewhere, Outcome::Refused, &who),
            ("certificate.get", elsewhere, Outcome::Refused, &who),
            ("certificate.list", elsewhere, Outcome::Refused, &who),
        ]
    );
}

/// A request may take a while between its head and its last byte.
#[tokio::test]
async fn nothing_is_changed_by_a_token_that_was_revoked_meanwhile() {
    let bench = bench().await;
    let operator = bench.operator("certificates").await;
    let crate::Principal::Operator { token, .. } = &operator.who else {
        panic!("not an operator")
    };
    let (certificates, origin) = (bench.certificates(), origin());
    let act = Action::CertificatePut;
    let permitted = certificates.permit(&operator, act, service("dps"), "c", &origin);
    let caller = permitted.await.unwrap();
    let access = &bench.service.access;
    access.revoke(token, &command_line()).await.unwrap();
    let upload = Ca::new("A").upload(None);
    let put = certificates.put(&caller, "c", &Precondition::Any, upload);
    // Nothing is tried again.
    let lost = Err(StorageError::Contended { tries: 1 });
    assert_eq!(changed(put.await), lost);
    assert_eq!(certificates.list(&caller).await.unwrap(), []);
    assert_eq!(bench.times(Action::CertificateCreate).await, 0);
    // The absence of a certificate is not reported either.
    let deleted = certificates.delete(&caller, "c", &Precondition::Any).await;
    assert_eq!(changed(deleted), lost);
}

#[tokio::test]
async fn nothing_is_changed_by_an_issuers_token_that_expired_meanwhile() {
    let bench = bench().await;
    let ca = Ca::new("A");
    bench.put("c", &ca, None).await;
    let leaf = ca.leaf(&bench.code("c").await.digits);
    let before = bench.shown("c").await;
    let mut operator = bench.operator("certificates").await;
    operator.who = crate::Principal::External {
        issuer: "https://login.example/".to_owned(),
        subject: "ada".to_owned(),
    };
    operator.warrants.clear();
    operator.expires_at = Some(START.saturating_add(Duration::from_secs(1)));
    let (certificates, origin) = (bench.certificates(), origin());
    let act = Action::CertificatePut;
    let permitted = certificates.permit(&operator, act, service("dps"), "c", &origin);
    let (caller, any) = (permitted.await.unwrap(), Precondition::Any);
    bench.clock.advance(Duration::from_millis(999));
    let put = certificates.put(&caller, "d", &any, ca.upload(None));
    put.await.unwrap();
    bench.clock.advance(Duration::from_millis(1));

    let put = certificates.put(&caller, "c", &any, ca.upload(Some(true)));
    let made = certificates.generate_code(&caller, "c", &any);
    let verified = certificates.verify(&caller, "c", &any, Ok::<_, &str>(leaf));
    let deleted = certificates.delete(&caller, "c", &any);
    let absent = certificates.delete(&caller, "e", &any);
    let lost = Err(StorageError::Contended { tries: 1 });
    assert_eq!(changed(put.await), lost);
    assert_eq!(changed(made.await), lost);
    assert_eq!(changed(verified.await), lost);
    assert_eq!(changed(deleted.await), lost);
    assert_eq!(changed(absent.await), lost);
    assert_eq!(bench.shown("c").await, before);
}

/// The storage error of a change, if that is why nothing was changed.
fn changed<T, E>(outcome: Result<T, Failure<E>>) -> Result<(), StorageError> {
    match outcome {
        Err(Failure::Storage(error)) => Err(error),
        Ok(_) | Err(Failure::Refused(_)) => Ok(()),
    }
}

#[tokio::test]
async fn what_is_shown_is_read_along_with_the_token() {
    let bench = bench().await;
    bench.put("c", &Ca::new("A"), None).await;
    let token = bench.operator_token("certificates").await;
    let (certificates, access) = (bench.certificates(), &bench.service.access);
    let (origin, issuers) = (origin(), Issuers::load(Vec::new()).unwrap());
    bench.faults.steps();
    let prefetch = Certificates::prefetch(&service("dps"), "C");
    let operator = access.authenticate_with_issuers(&token, &issuers, prefetch);
    let operator = operator.await.unwrap();
    let get = async |name: &str| {
        let act = Action::CertificateGet;
        let caller = certificates.permit(&operator, act, service("dps"), name, &origin);
        let caller = caller.await.unwrap();
        certificates
            .get(&caller, name, &Precondition::Missing)
            .await
    };
    assert_eq!(get("C").await.unwrap().name, "c");
    assert_eq!(bench.faults.steps(), 1);
    // A certificate that was not read with the token does not count as absent.
    bench.put("d", &Ca::new("B"), None).await;
    assert_eq!(get("d").await.unwrap().name, "d");
    assert_eq!(get("e").await.err(), refusal(GetError::Unknown));
}
