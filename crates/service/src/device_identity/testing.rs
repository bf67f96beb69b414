//! What the tests of this domain share.

use keyproof_auth::operator::OperatorScopes;

use super::{
    Act, AttestationKeyTemplate, Category, Manager, Metadata, NewCategory, PcrPolicy, TrustedMakers,
};
use crate::{
    access::NewOperatorToken,
    testing::{Bench, command_line, console},
};

/// A category `c` below a manager `m`, in the namespace `default`.
pub(super) async fn furnish(bench: &Bench) {
    let service = &bench.service;
    let new = NewOperatorToken {
        subject: "ci".to_owned(),
        scopes: OperatorScopes::new(["tpm".parse().unwrap()]).unwrap(),
        lifetime: None,
    };
    let token = service.access.create(new, &command_line()).await.unwrap();
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
    let categories = devices.permit::<Category>(&operator, Act::Create, "default", "c", &origin);
    let category = NewCategory {
        metadata: metadata("c"),
        manager: "m".to_owned(),
        allow_list: Vec::new(),
        attestation_key: AttestationKeyTemplate::default(),
        pcr_policy: PcrPolicy::default(),
    };
    let categories = categories.await.unwrap();
    let made = devices.create_category(&categories, category).await;
    assert!(made.is_ok());
}
