//! The walk for Azure DPS's certificates: a CA is uploaded, and its owner proves possession of its key.

use std::time::Duration;

use http::StatusCode;
use keyproof_x509::{
    Upload, Validity, VerificationCode, algorithms,
    prover::{AwsLcRsSigner, PrivateKey, VerificationLeaf},
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};

use super::{
    StepError, Stopped, Walk,
    client::{Answer, Client},
    expect, member, same,
    stage::Stage,
    text, token,
};

const SERVICE: &str = "/subscriptions/demo/resourceGroups/shop/providers/Microsoft.Devices/provisioningServices/fleet";
const VERSION: &str = "api-version=2022-12-12";

/// Azure's code for "the proof of possession failed".
const POSSESSION_NOT_PROVEN: u64 = 400_053;
/// Azure's code for "the entity tag is not the certificate's".
const PRECONDITION_FAILED: u64 = 412_001;

pub(super) async fn walk(walk: &mut Walk<'_>, stage: &Stage) -> Result<(), Stopped> {
    walk.part("Azure DPS: proof of possession of a CA's key");
    let mut onboarding = None;
    walk.step("operator_token", async {
        onboarding = Some(Onboarding::begin(stage).await?);
        Ok("a token for this one subscription, and a new P-256 CA".to_owned())
    })
    .await?;
    let mut onboarding = onboarding.ok_or(Stopped)?;
    walk.step("upload", onboarding.upload()).await?;
    walk.step("verification_code", onboarding.ask_for_a_code())
        .await?;
    walk.step("wrong_leaf", onboarding.sign_with_another_key())
        .await?;
    walk.step("right_leaf", onboarding.sign_with_the_key())
        .await?;
    walk.step("code_spent", onboarding.sign_again()).await?;
    walk.step("stale_etag", onboarding.use_an_old_state()).await
}

/// A CA that is to be verified.
struct Onboarding<'a> {
    stage: &'a Stage,
    client: Client,
    ca: Ca,
    etag: String,
    first_etag: String,
    code: String,
}

impl<'a> Onboarding<'a> {
    async fn begin(stage: &'a Stage) -> Result<Self, StepError> {
        let service = stage.console().await?;
        let lifetime = Some(Duration::from_secs(60));
        let text = token(&service, "certificates:demo", lifetime).await?;
        Ok(Self {
            stage,
            client: stage.client().authorized(&format!("Bearer {}", *text)),
            ca: Ca::make()?,
            etag: String::new(),
            first_etag: String::new(),
            code: String::new(),
        })
    }

    async fn upload(&mut self) -> Result<String, StepError> {
        let body = json!({ "properties": { "certificate": self.ca.pem } });
        let answer = self.client.put(&path(""), &body).await?;
        expect("PUT certificate", StatusCode::OK, answer.status)?;
        same("isVerified", &json!(false), verified(&answer))?;
        self.etag = text(&answer.json, "etag");
        self.first_etag.clone_from(&self.etag);
        Ok("the CA is stored, and not yet trusted: isVerified is false".to_owned())
    }

    async fn ask_for_a_code(&mut self) -> Result<String, StepError> {
        let client = self.client.if_match(&self.etag);
        let answer = client
            .post_nothing(&path("/generateVerificationCode"))
            .await?;
        expect("generateVerificationCode", StatusCode::OK, answer.status)?;
        self.etag = text(&answer.json, "etag");
        let properties = member(&answer.json, "properties");
        self.code = text(properties, "verificationCode");
        same("digits of the code", &48, &self.code.len())?;
        Ok("a code of 24 random bytes, for this certificate and for one use".to_owned())
    }

    async fn sign_with_another_key(&self) -> Result<String, StepError> {
        let impostor = Ca::make()?;
        let answer = self.verify(&impostor.leaf(&self.code, self.stage)?).await?;
        expect(
            "verify, another key",
            StatusCode::BAD_REQUEST,
            answer.status,
        )?;
        let code = member(&answer.json, "code");
        same("the code", &json!(POSSESSION_NOT_PROVEN), code)?;
        let details = text(&answer.json, "details");
        same("a report", &true, &details.contains("signature"))?;
        Ok("a leaf of a CA with the same name and another key is refused, 400053, and the report says which check failed".to_owned())
    }

    async fn sign_with_the_key(&mut self) -> Result<String, StepError> {
        let answer = self.verify(&self.ca.leaf(&self.code, self.stage)?).await?;
        expect("verify", StatusCode::OK, answer.status)?;
        same("isVerified", &json!(true), verified(&answer))?;
        self.etag = text(&answer.json, "etag");
        Ok(
            "a leaf naming the code, signed with the CA's key, is accepted: isVerified is true"
                .to_owned(),
        )
    }

    async fn sign_again(&self) -> Result<String, StepError> {
        let answer = self.verify(&self.ca.leaf(&self.code, self.stage)?).await?;
        expect("verify again", StatusCode::BAD_REQUEST, answer.status)?;
        Ok("the same code proves nothing a second time".to_owned())
    }

    async fn use_an_old_state(&self) -> Result<String, StepError> {
        let client = self.client.if_match(&self.first_etag);
        let answer = client
            .post_nothing(&path("/generateVerificationCode"))
            .await?;
        let status = StatusCode::PRECONDITION_FAILED;
        expect("generateVerificationCode, old etag", status, answer.status)?;
        let code = member(&answer.json, "code");
        same("the code", &json!(PRECONDITION_FAILED), code)?;
        Ok("a change with an outdated entity tag is refused: 412, code 412001".to_owned())
    }

    async fn verify(&self, leaf: &str) -> Result<Answer, StepError> {
        let client = self.client.if_match(&self.etag);
        let body = json!({ "certificate": leaf });
        Ok(client.post(&path("/verify"), &body).await?)
    }
}

/// The demo's own CA, on the prover's side.
struct Ca {
    pem: String,
    key: PrivateKey,
}

impl Ca {
    fn make() -> Result<Self, StepError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "keyproof demo CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Ok(Self {
            pem: params.self_signed(&key)?.pem(),
            key: PrivateKey::from_pem_or_der(key.serialized_der())?,
        })
    }

    /// Returns a leaf with the code as its name, in Base64 of DER.
    fn leaf(&self, code: &str, stage: &Stage) -> Result<String, StepError> {
        let upload = Upload::decode(self.pem.as_bytes())?;
        let ca = upload.certificate()?;
        let now = stage.clock().now().as_secs();
        let leaf = VerificationLeaf {
            ca: &ca,
            code: &VerificationCode::parse(code)?,
            validity: Validity::between(now.saturating_sub(60), now.saturating_add(3_600)),
            serial: [1; 16],
        };
        let leaf = leaf.sign(&AwsLcRsSigner::new(&self.key, &ca)?, algorithms::ALL)?;
        Ok(data_encoding::BASE64.encode(&leaf))
    }
}

fn path(operation: &str) -> String {
    format!("{SERVICE}/certificates/demo-ca{operation}?{VERSION}")
}

fn verified(answer: &Answer) -> &Value {
    member(member(&answer.json, "properties"), "isVerified")
}
