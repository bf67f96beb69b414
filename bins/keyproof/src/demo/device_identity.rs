//! The walk for F5's TPM provisioning: a station, a device with a software TPM, and its attestations.

use data_encoding::BASE64;
use http::StatusCode;
use keyproof_service::device_identity::{DeviceAdministrator, DevicePlace};
use keyproof_tpm::{
    ActivationKey, Name, QuoteCheck, QuoteEvidence, QuotePolicy, Structure, TpmlPcrSelection,
    TpmtPublic, algorithms, check_quote,
};
use keyproof_x509::Certificate;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde_json::{Value, json};
use x509_cert::{crl::CertificateList, der::Decode};

use super::{
    StepError, Stopped, Walk,
    client::Client,
    expect, member, otherwise, same,
    software_tpm::{Quote, SoftwareTpm},
    stage::Stage,
    text, token,
};

const ACTIVATE: &str = "/api/tpm/tpm/activate";
const ATTEST: &str = "/api/tpm/tpm/attest";
const NONCE: &str = "/api/tpm/tpm/attest/nonce";
const PREAUTH: &str = "/api/tpm/tpm/preauth";
const PROVISION: &str = "/api/tpm/tpm/provision";

const REVOCATION_LIST: &str = "/api/tpm/namespaces/default/tpm_categorys/demo/crl";

const SERIAL: &str = "SN0001";
const VENDOR: &str = "ExampleCorp";

/// The registers of the demo, all zero.
const SELECTION: &str = "sha256:0,1,7";
const UNTOUCHED: [u8; 3 * 32] = [0; 3 * 32];

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
        .await?;
    walk.step("attest_inactive", station.is_not_believed())
        .await?;
    walk.step("activation", station.shows_its_proof(&answer))
        .await?;
    walk.step("attest", station.attests()).await?;
    walk.step("attest_tampered", station.is_tampered_with())
        .await?;
    walk.step("revocation", station.is_revoked(stage, &answer))
        .await
}

/// A manufacturing station with a device in it.
struct Station {
    client: Client,
    api_key: String,
    tpm: SoftwareTpm,
}

impl Station {
    /// Creates an operator's objects, and gives the station its token.
    async fn set_up(stage: &Stage) -> Result<Self, StepError> {
        let tpm = SoftwareTpm::manufacture()?;
        let operator = client_with(stage, "tpm").await?;
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
            client: client_with(stage, "tpm-station").await?,
            api_key: text(&made, "api_key"),
            tpm,
        })
    }

    async fn is_refused_for_its_key(&self) -> Result<String, StepError> {
        let status = self.asks("not the key", device()).await?;
        same("its status", &"PREAUTH_RSP_INVALID_API_KEY", &&*status)?;
        Ok("a station with a wrong key is refused: invalid API key".to_owned())
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
        Ok("the API key and the device are accepted".to_owned())
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
        Ok("the device's TPM gets the key out of the credential; another TPM cannot".to_owned())
    }

    fn certificate(&self, answer: &Value) -> Result<String, StepError> {
        let certificate = self.opened(answer)?;
        let certified = Certificate::from_der(&certificate)
            .map(|certificate| certificate.public_key().as_der().to_vec());
        same("the certified key", &Ok(self.tpm.ak_spki()), &certified)?;
        Ok("the key decrypts the certificate, which is for the attestation key".to_owned())
    }

    /// Returns the certificate in a response, in DER.
    fn opened(&self, answer: &Value) -> Result<Vec<u8>, StepError> {
        let key = self.tpm.activate(&bytes(answer, "credential_bundle"))?;
        let nonce: Option<[u8; NONCE_LEN]> = bytes(answer, "nonce").try_into().ok();
        let mut sealed = bytes(answer, "encrypted_ak_cert");
        let key = UnboundKey::new(&AES_256_GCM, &key).ok();
        let opened = key.zip(nonce).and_then(|(key, nonce)| {
            let nonce = Nonce::assume_unique_for_key(nonce);
            let opened = LessSafeKey::new(key).open_in_place(nonce, Aad::empty(), &mut sealed);
            opened.ok().map(|opened| opened.to_vec())
        });
        Ok(opened.unwrap_or_default())
    }

    /// The TPM has not yet proved that it can open the credential.
    async fn is_not_believed(&self) -> Result<String, StepError> {
        let failed = self.asked_to_attest(&UNTOUCHED).await?;
        same("failed checks", &vec!["activation".to_owned()], &failed)?;
        Ok("a quote by a key that is not active yet is refused".to_owned())
    }

    async fn shows_its_proof(&self, answer: &Value) -> Result<String, StepError> {
        let key = self.tpm.activate(&bytes(answer, "credential_bundle"))?;
        let name = Name::of(&self.tpm.ak_public()?)?;
        let proof = ActivationKey::from_bytes(&key)?.proof(&name);
        let body = json!({
            "ticket": text(answer, "activation_ticket"),
            "proof": BASE64.encode(&proof),
        });
        let activated = self.client.post(ACTIVATE, &body).await?;
        expect("POST activate", StatusCode::NO_CONTENT, activated.status)?;
        let again = self.client.post(ACTIVATE, &body).await?;
        expect("the same ticket again", StatusCode::CONFLICT, again.status)?;
        Ok(
            "the proof of the key, with provision's ticket, binds the device to its TPM; the ticket works once"
                .to_owned(),
        )
    }

    async fn attests(&self) -> Result<String, StepError> {
        for _ in 0..2 {
            let failed = self.asked_to_attest(&UNTOUCHED).await?;
            same("failed checks", &Vec::new(), &failed)?;
        }
        Ok(format!(
            "the server learns {SELECTION} as the device's registers, and accepts the same again"
        ))
    }

    async fn is_tampered_with(&self) -> Result<String, StepError> {
        let mut values = UNTOUCHED;
        // PCR 7, the last of the selection: the Secure Boot policy.
        if let Some(last) = values.last_mut() {
            *last ^= 1;
        }
        let failed = self.asked_to_attest(&values).await?;
        same("failed checks", &vec!["pcr-policy".to_owned()], &failed)?;
        Ok("PCR 7 has changed: the attestation is refused".to_owned())
    }

    /// Does what `keyproof device forget` does.
    async fn is_revoked(&self, stage: &Stage, answer: &Value) -> Result<String, StepError> {
        let device = DevicePlace {
            namespace: "default".to_owned(),
            manager: "demo".to_owned(),
            vendor: VENDOR.to_owned(),
            serial: SERIAL.to_owned(),
        };
        let service = stage.console().await?;
        let devices = &service.device_identity;
        let device_administrator = DeviceAdministrator::of_command_line(&Stage::command_line());
        let forgotten = devices.forget_device(&device_administrator, &device).await;
        same("certificates revoked", &Ok(1), &forgotten)?;

        let list = stage.client().get(REVOCATION_LIST).await?;
        expect("GET crl", StatusCode::OK, list.status)?;
        let list = CertificateList::from_der(&list.body).map_err(otherwise("a CRL"))?;
        let certificate = self.opened(answer)?;
        let certificate = x509_cert::Certificate::from_der(&certificate);
        let certificate = certificate.map_err(otherwise("a certificate"))?;
        let revoked = list.tbs_cert_list.revoked_certificates.unwrap_or_default();
        let serials: Vec<_> = revoked.iter().map(|one| &one.serial_number).collect();
        let own = certificate.tbs_certificate().serial_number();
        same("the serial numbers on the list", &vec![own], &serials)?;

        let failed = self.asked_to_attest(&UNTOUCHED).await?;
        same("failed checks", &vec!["activation".to_owned()], &failed)?;
        Ok("the device is forgotten: its certificate is on the category's CRL, and it can no longer attest".to_owned())
    }

    /// Attests the device with the server's nonce and these values of its registers. Returns the names of the checks
    /// that failed.
    async fn asked_to_attest(&self, values: &[u8]) -> Result<Vec<String>, StepError> {
        let ak = self.tpm.ak_public()?;
        let asked = json!({
            "namespace": "default",
            "category": "demo",
            "ak_name": BASE64.encode(Name::of(&ak)?.as_bytes()),
            "pcr_selection": SELECTION,
        });
        let answer = self.client.post(NONCE, &asked).await?;
        expect("POST attest/nonce", StatusCode::OK, answer.status)?;
        let nonce = bytes(&answer.json, "nonce");
        let quote = self.tpm.quote(&nonce, &SELECTION.parse()?, values)?;
        let body = json!({
            "namespace": "default",
            "category": "demo",
            "nonce": BASE64.encode(&nonce),
            "ak_public": BASE64.encode(&ak.to_sized_bytes()),
            "attest": BASE64.encode(&quote.attest),
            "signature": BASE64.encode(&quote.signature),
            "pcr_values": BASE64.encode(values),
        });
        let answer = self.client.post(ATTEST, &body).await?;
        expect("POST attest", StatusCode::OK, answer.status)?;
        let checks = member(&answer.json, "checks").as_array();
        let failed: Vec<String> = checks
            .into_iter()
            .flatten()
            .filter(|check| member(check, "outcome") == "fail")
            .map(|check| text(check, "name"))
            .collect();
        let accepted = failed.is_empty();
        same(
            "accepted",
            &json!(accepted),
            member(&answer.json, "accepted"),
        )?;
        Ok(failed)
    }

    fn quotes(&self, stage: &Stage) -> Result<String, StepError> {
        let (nonce, selection) = challenge(stage)?;
        let quote = self.tpm.quote(nonce.as_bytes(), &selection, &UNTOUCHED)?;
        let ak = self.tpm.ak_public()?;
        let failed = self.judge(&ak, &quote, &nonce, &selection)?;
        same("failed checks", &Vec::new(), &failed)?;
        Ok(format!(
            "the TPM's quote of {SELECTION} is accepted, offline"
        ))
    }

    /// Forges two quotes: by a key that is not the device's, and by one that signs anything.
    fn forges(&self, stage: &Stage) -> Result<String, StepError> {
        let (nonce, selection) = challenge(stage)?;
        let ak = self.tpm.ak_public()?;
        let mut forged =
            SoftwareTpm::manufacture()?.quote(nonce.as_bytes(), &selection, &UNTOUCHED)?;
        let failed = self.judge(&ak, &forged, &nonce, &selection)?;
        same(
            "the signature is refused",
            &true,
            &failed.contains(&"signature"),
        )?;

        forged = self.tpm.quote(nonce.as_bytes(), &selection, &UNTOUCHED)?;
        let unrestricted = self.tpm.unrestricted_public()?;
        let failed = self.judge(&unrestricted, &forged, &nonce, &selection)?;
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

    /// Returns the names of the checks that a quote of the untouched registers fails.
    fn judge(
        &self,
        ak: &TpmtPublic,
        quote: &Quote,
        nonce: &str,
        selection: &TpmlPcrSelection,
    ) -> Result<Vec<&'static str>, StepError> {
        use keyproof_tpm::Check;

        let ek = self.tpm.ek_public()?;
        let evidence = QuoteEvidence {
            attest: &quote.attest,
            signature: &quote.signature,
            pcr_values: Some(&UNTOUCHED),
        };
        let mut policy = QuotePolicy::new(nonce.as_bytes(), selection, algorithms::ALL);
        policy.ek = Some(&ek);
        let report = check_quote(ak, &evidence, &policy).report;
        let failed = QuoteCheck::ALL
            .iter()
            .filter(|check| report.outcome(**check).refuses());
        Ok(failed.map(|check| check.name()).collect())
    }
}

/// Returns a fresh nonce and the registers to quote.
fn challenge(stage: &Stage) -> Result<(String, TpmlPcrSelection), StepError> {
    Ok((stage.draw(), SELECTION.parse()?))
}

fn device() -> Value {
    json!({ "name": "device-0001", "serial": SERIAL, "vendor": VENDOR, "version": "1" })
}

/// Returns a client with a new token of this scope.
async fn client_with(stage: &Stage, scope: &str) -> Result<Client, StepError> {
    let console = stage.console().await?;
    let text = token(&console, scope, None).await?;
    Ok(stage.client().authorized(&format!("APIToken {}", *text)))
}

fn bytes(answer: &Value, name: &str) -> Vec<u8> {
    let bytes = BASE64.decode(text(answer, name).as_bytes());
    bytes.unwrap_or_default()
}
