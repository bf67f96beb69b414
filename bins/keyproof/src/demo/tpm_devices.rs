//! The walk for F5's TPM provisioning: a station, a device with a TPM in software, and what the device attests.

use data_encoding::BASE64;
use http::StatusCode;
use keyproof_auth::OperatorScopes;
use keyproof_service::access::NewOperatorToken;
use keyproof_tpm::{
    AttestationKeyPolicy, QuoteCheck, QuoteEvidence, QuotePolicy, TpmlPcrSelection, TpmtPublic,
    algorithms, check_quote,
};
use keyproof_x509::Certificate;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde_json::{Value, json};

use super::{
    StepError, Stopped, Walk,
    client::Client,
    expect, same,
    software_tpm::{Quote, SoftwareTpm},
    stage::Stage,
    text,
};

const PREAUTH: &str = "/api/tpm/tpm/preauth";
const PROVISION: &str = "/api/tpm/tpm/provision";

const SERIAL: &str = "SN0001";
const VENDOR: &str = "ExampleCorp";

/// The registers of the demo, all zero.
const SELECTION: &str = "sha256:0,1,7";

pub(super) async fn walk(walk: &mut Walk<'_>, stage: &Stage) -> Result<(), Stopped> {
    walk.part("F5 XC: a TPM's identity, from the factory to its attestations");
    let mut set = None;
    walk.step("tpm_authority", async {
        let station = Station::set_up(stage).await?;
        set = Some(station);
        Ok("a manager with its root CA, a category with a CA below it, and an API key".to_owned())
    })
    .await?;
    let station = set.ok_or(Stopped)?;

    walk.step("preauth_invalid_key", station.is_refused_for_its_key())
        .await?;
    walk.step(
        "preauth_invalid_device",
        station.is_refused_for_its_device(),
    )
    .await?;
    walk.step("preauth_granted", station.is_granted()).await?;

    let mut answer = Value::Null;
    walk.step("provision", async {
        answer = station.provisions().await?;
        Ok("an attestation-key certificate, encrypted, and a credential with its key".to_owned())
    })
    .await?;
    walk.step("activate", async { station.only_its_tpm_opens(&answer) })
        .await?;
    walk.step("ak_certificate", async { station.certificate(&answer) })
        .await?;
    walk.step("quote", async { station.quotes(stage) }).await?;
    walk.step("forged_quote", async { station.forges(stage) })
        .await
}

/// A manufacturing station with a device in it.
struct Station {
    client: Client,
    api_key: String,
    tpm: SoftwareTpm,
}

impl Station {
    /// Makes what an operator makes, and gives the station its token.
    async fn set_up(stage: &Stage) -> Result<Self, StepError> {
        let tpm = SoftwareTpm::manufacture()?;
        let operator = stage.client().authorized(&token(stage, "tpm").await?);
        let make = async |kind: &str, spec: Value| {
            let body = json!({ "metadata": { "name": "demo" }, "spec": spec });
            let path = format!("/api/tpm/namespaces/default/{kind}");
            let made = operator.post(&path, &body).await?;
            expect("POST", StatusCode::OK, made.status)?;
            Ok::<_, StepError>(made.json)
        };
        let roots = json!({ "ek_root_certificates": [tpm.manufacturer] });
        make("tpm_managers", roots).await?;
        let below = json!({ "tpm_manager_ref": [{ "name": "demo" }] });
        make("tpm_categorys", below).await?;
        let of = json!({ "category_ref": [{ "name": "demo" }] });
        let made = make("tpm_api_keys", of).await?;
        Ok(Self {
            client: stage
                .client()
                .authorized(&token(stage, "tpm-station").await?),
            api_key: text(&made, "api_key"),
            tpm,
        })
    }

    async fn is_refused_for_its_key(&self) -> Result<String, StepError> {
        let status = self.asks("not the key", device()).await?;
        same("its status", &"PREAUTH_RSP_INVALID_API_KEY", &&*status)?;
        Ok("a station without the key is refused: invalid API key".to_owned())
    }

    async fn is_refused_for_its_device(&self) -> Result<String, StepError> {
        let nameless =
            json!({ "name": "short", "serial": SERIAL, "vendor": VENDOR, "version": "1" });
        let status = self.asks(&self.api_key, nameless).await?;
        same("its status", &"PREAUTH_RSP_INVALID_DEVICE_INFO", &&*status)?;
        Ok("a device whose name has 5 characters is refused: invalid device".to_owned())
    }

    async fn is_granted(&self) -> Result<String, StepError> {
        let status = self.asks(&self.api_key, device()).await?;
        same("its status", &"PREAUTH_RSP_SUCCESS", &&*status)?;
        Ok("the key and the device are in order".to_owned())
    }

    async fn asks(&self, api_key: &str, device: Value) -> Result<String, StepError> {
        let body = json!({ "api_key": api_key, "device": device });
        let answer = self.client.post(PREAUTH, &body).await?;
        expect("POST preauth", StatusCode::OK, answer.status)?;
        Ok(text(&answer.json, "status"))
    }

    async fn provisions(&self) -> Result<Value, StepError> {
        let csr = SoftwareTpm::csr(SERIAL, VENDOR)?;
        let body = json!({
            "api_key": self.api_key,
            "device": device(),
            "ek_cert": BASE64.encode(&self.tpm.ek_certificate),
            "ek_pub_key": BASE64.encode(&self.tpm.ek_spki()),
            "ak_pub_key": BASE64.encode(&self.tpm.ak_spki()),
            "csr": BASE64.encode(&csr),
        });
        let answer = self.client.post(PROVISION, &body).await?;
        expect("POST provision", StatusCode::OK, answer.status)?;
        Ok(answer.json)
    }

    fn only_its_tpm_opens(&self, answer: &Value) -> Result<String, StepError> {
        let credential = bytes(answer, "credential_bundle");
        let key = self.tpm.activate(&credential)?;
        same("the key's length", &32, &key.len())?;
        let stranger = SoftwareTpm::manufacture()?;
        let opened = stranger.activate(&credential).is_ok();
        same("opened by another TPM", &false, &opened)?;
        Ok("the device's TPM takes the key from the credential; another one cannot".to_owned())
    }

    fn certificate(&self, answer: &Value) -> Result<String, StepError> {
        let key = self.tpm.activate(&bytes(answer, "credential_bundle"))?;
        let nonce: Option<[u8; NONCE_LEN]> = bytes(answer, "nonce").try_into().ok();
        let mut sealed = bytes(answer, "encrypted_ak_cert");
        let key = UnboundKey::new(&AES_256_GCM, &key).ok();
        let opened = key.zip(nonce).and_then(|(key, nonce)| {
            let nonce = Nonce::assume_unique_for_key(nonce);
            let opened = LessSafeKey::new(key).open_in_place(nonce, Aad::empty(), &mut sealed);
            opened.ok().map(|opened| opened.to_vec())
        });
        let certificate = opened.unwrap_or_default();
        let certified = Certificate::from_der(&certificate)
            .map(|certificate| certificate.public_key().as_der().to_vec());
        same("the certified key", &Ok(self.tpm.ak_spki()), &certified)?;
        Ok("with it the certificate opens: it is the attestation key's".to_owned())
    }

    fn quotes(&self, stage: &Stage) -> Result<String, StepError> {
        let (nonce, selection, values) = challenge(stage)?;
        let quote = self.tpm.quote(nonce.as_bytes(), &selection, &values)?;
        let ak = self.tpm.ak_public()?;
        let failed = self.judge(&ak, &quote, &nonce, &selection, &values)?;
        same("failed checks", &Vec::new(), &failed)?;
        Ok(format!(
            "the TPM's quote of {SELECTION} is accepted, offline"
        ))
    }

    /// Twice: by a key that is not the device's, and by one that signs whatever it is given.
    fn forges(&self, stage: &Stage) -> Result<String, StepError> {
        let (nonce, selection, values) = challenge(stage)?;
        let ak = self.tpm.ak_public()?;
        let mut forged =
            SoftwareTpm::manufacture()?.quote(nonce.as_bytes(), &selection, &values)?;
        let failed = self.judge(&ak, &forged, &nonce, &selection, &values)?;
        same(
            "the signature is refused",
            &true,
            &failed.contains(&"signature"),
        )?;

        forged = self.tpm.quote(nonce.as_bytes(), &selection, &values)?;
        let unrestricted = self.tpm.unrestricted_public()?;
        let failed = self.judge(&unrestricted, &forged, &nonce, &selection, &values)?;
        same(
            "the key is refused",
            &true,
            &failed.contains(&"attesting-key"),
        )?;
        Ok(
            "another key's quote is refused, and so is one by a key that is not restricted"
                .to_owned(),
        )
    }

    /// The names of the checks that fail.
    fn judge(
        &self,
        ak: &TpmtPublic,
        quote: &Quote,
        nonce: &str,
        selection: &TpmlPcrSelection,
        values: &[u8],
    ) -> Result<Vec<&'static str>, StepError> {
        use keyproof_tpm::Check;

        let ek = self.tpm.ek_public()?;
        let evidence = QuoteEvidence {
            attest: &quote.attest,
            signature: &quote.signature,
            pcr_values: Some(values),
        };
        let policy = QuotePolicy {
            nonce: nonce.as_bytes(),
            selection: Some(selection),
            ek: Some(&ek),
            last_seen: None,
            key_policy: AttestationKeyPolicy::default(),
            algorithms: algorithms::ALL,
        };
        let report = check_quote(ak, &evidence, &policy);
        let failed = QuoteCheck::ALL
            .iter()
            .filter(|check| report.outcome(**check).refuses());
        Ok(failed.map(|check| check.name()).collect())
    }
}

/// A fresh nonce, and the registers whose quote is asked for.
fn challenge(stage: &Stage) -> Result<(String, TpmlPcrSelection, Vec<u8>), StepError> {
    let selection: TpmlPcrSelection = SELECTION.parse()?;
    let values = vec![0; selection.values_size()];
    Ok((stage.draw(), selection, values))
}

fn device() -> Value {
    json!({ "name": "device-0001", "serial": SERIAL, "vendor": VENDOR, "version": "1" })
}

/// What `keyproof token create` does, as an `Authorization`.
async fn token(stage: &Stage, scope: &str) -> Result<String, StepError> {
    let scopes = OperatorScopes::parse([scope]);
    let scopes = scopes.map_err(|error| StepError::Otherwise {
        what: "the scope",
        expected: scope.to_owned(),
        found: error.to_string(),
    })?;
    let new = NewOperatorToken {
        subject: "demo".to_owned(),
        scopes,
        lifetime: None,
    };
    let service = stage.console().await?;
    let issued = service.access.create(new, &Stage::origin()).await;
    let issued = issued.map_err(|error| StepError::Otherwise {
        what: "the token",
        expected: "one".to_owned(),
        found: error.to_string(),
    })?;
    Ok(format!("APIToken {}", *issued.text))
}

fn bytes(answer: &Value, name: &str) -> Vec<u8> {
    let bytes = BASE64.decode(text(answer, name).as_bytes());
    bytes.unwrap_or_default()
}
