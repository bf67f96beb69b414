//! Tests of the use cases: rules and races.

mod judging;
mod permission;
mod possession;
mod resources;

use keyproof_store::{Timestamp, Version};
use keyproof_x509::{
    Certificate as X509Certificate, Validity, VerificationCode, algorithms,
    prover::{AwsLcRsSigner, PrivateKey, VerificationLeaf},
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};

use super::*;
use crate::{
    Failure,
    audit::Event,
    testing::{Bench, START, bench, bench_with, origin, refusal},
};

/// A body, or why it was refused.
type Sent<T> = Result<T, &'static str>;

fn upload(certificate: &[u8], verified: Option<bool>) -> Sent<Upload> {
    Ok(Upload {
        certificate: certificate.to_vec(),
        verified,
    })
}

/// A CA with its key.
struct Ca {
    der: Vec<u8>,
    key: PrivateKey,
}

impl Ca {
    fn new(common_name: &str) -> Self {
        let pair = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self {
            der: params.self_signed(&pair).unwrap().der().to_vec(),
            key: PrivateKey::from_pem_or_der(&pair.serialize_der()).unwrap(),
        }
    }

    /// The leaf certificate for a code.
    fn leaf(&self, code: &str) -> Vec<u8> {
        let ca = X509Certificate::from_der(&self.der).unwrap();
        let code = VerificationCode::parse(code).unwrap();
        let leaf = VerificationLeaf {
            ca: &ca,
            code: &code,
            validity: Validity::between(START.as_secs() - 3600, START.as_secs() + 365 * 86_400),
            serial: [7; 16],
        };
        let signer = AwsLcRsSigner::new(&self.key, &ca).unwrap();
        leaf.sign(&signer, algorithms::ALL).unwrap()
    }

    fn upload(&self, verified: Option<bool>) -> Sent<Upload> {
        upload(&self.der, verified)
    }
}

fn service(name: &str) -> ProvisioningService {
    ProvisioningService {
        subscription: "Sub".to_owned(),
        resource_group: "Group".to_owned(),
        name: name.to_owned(),
    }
}

/// A caller who may work with the certificates of the service with this name.
fn caller(service_name: &str) -> Caller {
    Caller::unasked(service(service_name), &origin())
}

fn at(version: Version) -> Precondition {
    Precondition::OneOf(vec![version.to_string()])
}

impl Bench {
    fn certificates(&self) -> &Certificates {
        &self.service.certificates
    }

    async fn put(&self, name: &str, ca: &Ca, verified: Option<bool>) -> CertificateView {
        let (dps, any) = (caller("dps"), Precondition::Any);
        let upload = ca.upload(verified);
        let put = self.certificates().put(&dps, name, &any, upload).await;
        put.unwrap()
    }

    async fn code(&self, name: &str) -> IssuedCode {
        self.certificates()
            .generate_code(&caller("dps"), name, &Precondition::Any)
            .await
            .unwrap()
    }

    async fn verify(
        &self,
        name: &str,
        leaf: &[u8],
    ) -> Result<CertificateView, Failure<VerifyError<&'static str>>> {
        self.certificates()
            .verify(&caller("dps"), name, &Precondition::Any, Ok(leaf.to_vec()))
            .await
            .map(|verified| {
                assert!(verified.report.accepted());
                verified.certificate
            })
    }

    async fn shown(&self, name: &str) -> CertificateView {
        let nothing = Precondition::Missing;
        let view = self
            .certificates()
            .get(&caller("dps"), name, &nothing)
            .await;
        view.unwrap()
    }

    /// The events about certificates, in order.
    async fn told(&self) -> Vec<Event> {
        let mut events = self.events().await;
        events.retain(|event| event.action.starts_with("certificate."));
        events
    }
}
