//! Who may work with certificates at all.

use super::*;
use crate::{
    access::{NewOperatorToken, Operator},
    audit::Outcome,
    testing::console,
};
use keyproof_auth::OperatorScopes;

async fn operator(bench: &Bench, scope: &str) -> Operator {
    let new = NewOperatorToken {
        subject: "ops".to_owned(),
        scopes: OperatorScopes::parse([scope]).unwrap(),
        lifetime: None,
    };
    let access = &bench.service.access;
    let issued = access.create(new, &console()).await.unwrap();
    access.authenticate(&issued.text).await.unwrap()
}

#[tokio::test]
async fn a_caller_is_whom_a_scope_lets_and_is_told_by_name() {
    let bench = bench().await;
    let operator = operator(&bench, "certificates:sub/group/dps").await;
    let (certificates, origin) = (bench.certificates(), origin());
    let permitted = certificates.permit(&operator, Act::Put, service("DPS"), "c", &origin);
    let caller = permitted.await.unwrap();
    let upload = Ca::new("A").upload(None);
    let put = certificates.put(&caller, "c", &Precondition::Any, upload);
    put.await.unwrap();

    for act in [Act::Delete, Act::Get, Act::List] {
        bench.clock.advance(Duration::from_millis(1));
        let permitted = certificates.permit(&operator, act, service("dps2"), "C", &origin);
        let refused = permitted.await.map(|_| ()).unwrap_err();
        assert_eq!(refused.needed, service("dps2").scope());
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
