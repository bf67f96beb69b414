//! Provision: a certificate for a device's attestation key, which only the TPM with its endorsement key can read.
//!
//! The certificate is encrypted under a fresh key, and that key in a credential (`TPM2_MakeCredential`) for the
//! attestation key's Name. A TPM opens it only if it holds both keys, and the attestation key with exactly the attributes
//! that were assumed: so nothing else has to prove possession of it.

use super::{
    ApiKeyRefusal, AuthorityError, DerTextError, DeviceClaim, EndorsementError, IdentityConflict,
    Metadata, Provisioning,
    authority::Authority,
    der_text::decode,
    endorsement::{self, Endorsement},
    grant::{Grant, Shown},
    identity::Certified,
    objects::deed,
};
use crate::{Origin, StorageError, storage::Race};
use keyproof_store::{Stored, Timestamp};
use keyproof_tpm::{
    AttestationKeyPolicy, AwsLcRs, Check, DeviceInfo, EccCurve, Name, Outcome, Structure, TpmError,
    TpmtPublic, make_credential,
};
use keyproof_x509::{algorithms, prover::CertificationRequest};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustls_pki_types::pem::SectionKind;
use std::time::Duration;
use zeroize::Zeroizing;

/// What a station sends. The binary fields are DER in Base64 or PEM, still unread.
#[derive(Clone)]
pub struct ProvisionRequest {
    /// The API key.
    pub api_key: Zeroizing<String>,
    /// The device.
    pub device: DeviceClaim,
    /// The endorsement key's certificate.
    pub ek_certificate: String,
    /// The endorsement key's SubjectPublicKeyInfo.
    pub ek_public_key: String,
    /// The attestation key's SubjectPublicKeyInfo.
    pub ak_public_key: String,
    /// A certification request by any key of the device.
    pub csr: String,
    /// The attestation key's TPM2B_PUBLIC, where the category's template is not what it was made with.
    pub ak_public: Option<String>,
}

/// What the station is to carry to the device.
#[derive(Clone, PartialEq, Eq)]
pub struct Provisioned {
    /// The certificate, encrypted: AES-256-GCM without associated data, the tag last.
    pub encrypted_certificate: Vec<u8>,
    /// A credential file of tpm2-tools, which holds the key.
    pub credential: Vec<u8>,
    /// The 12 bytes of the encryption's nonce.
    pub nonce: [u8; NONCE_LEN],
    /// The category's CA and the manager's root, in PEM.
    pub chain: String,
}

/// Why no certificate is made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProvisionError {
    /// The API key is no good.
    #[error("api_key: {0}")]
    ApiKey(ApiKeyRefusal),
    /// The certificate could not be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The device is not the one that it says.
    #[error("{0}")]
    Conflict(IdentityConflict),
    /// The endorsement certificate does not speak for the endorsement key.
    #[error(transparent)]
    Endorsement(#[from] EndorsementError),
    /// The key was used too often.
    #[error("the API key is used too often: wait {} s", .retry_after.as_secs())]
    RateLimited {
        /// How long to wait.
        retry_after: Duration,
    },
    /// The request is malformed.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The cryptography failed: a defect.
    #[error("the certificate could not be sealed")]
    Sealing,
    /// No verdict.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The attestation key is not one.
    #[error("{field}: {problem}")]
    AttestationKey {
        /// The field that it stands in.
        field: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The certification request is malformed, badly signed, or of another device.
    #[error("csr: {0}")]
    Csr(String),
    /// A field that is not DER.
    #[error("{field}: {problem}")]
    Der {
        /// The field.
        field: &'static str,
        /// What is wrong.
        problem: DerTextError,
    },
    /// A property of the device.
    #[error("device: {0}")]
    Device(#[from] TpmError),
}

/// A request that is in order.
struct Evidence<'a> {
    device: DeviceInfo<'a>,
    endorsement: Endorsement,
    ek: Name,
    ak: TpmtPublic,
    ak_name: Name,
}

impl Provisioning {
    /// Makes, or makes again, the certificate of a device's attestation key, readable by its TPM alone.
    ///
    /// # Errors
    /// [`ProvisionError`].
    pub async fn provision(
        &self,
        request: &ProvisionRequest,
        origin: &Origin,
    ) -> Result<Provisioned, ProvisionError> {
        let mut whose = None;
        let outcome = self.try_provision(request, origin, &mut whose).await;
        if let Err(
            refusal @ (ProvisionError::ApiKey(_)
            | ProvisionError::Conflict(_)
            | ProvisionError::Endorsement(_)
            | ProvisionError::Request(_)),
        ) = &outcome
        {
            let rule = refusal.to_string();
            self.note_refusal("tpm.provision", whose.as_ref(), rule, origin)
                .await;
        }
        outcome
    }

    async fn try_provision(
        &self,
        request: &ProvisionRequest,
        origin: &Origin,
        whose: &mut Option<Metadata>,
    ) -> Result<Provisioned, ProvisionError> {
        let mut race = Race::default();
        let mut first = true;
        loop {
            let now = self.clock.now();
            let grant = match self.show_key(&request.api_key, now).await? {
                Shown::Granted(grant) => grant,
                Shown::Refused(refusal, metadata) => {
                    *whose = metadata;
                    return Err(ProvisionError::ApiKey(refusal));
                }
            };
            *whose = Some(grant.key.record.metadata.clone());
            if std::mem::take(&mut first)
                && let Err(retry_after) = self.take_turn(&grant, now)
            {
                return Err(ProvisionError::RateLimited { retry_after });
            }
            let evidence = Evidence::of(request, &grant, now)?;
            let Evidence {
                device,
                ek,
                ak_name,
                ..
            } = &evidence;
            let identity = self.identity(&grant, device, ek, ak_name, now).await?;
            identity
                .check(device, ek)
                .map_err(ProvisionError::Conflict)?;

            let mut batch = self.store.batch(now);
            grant.require(&mut batch);
            identity.write(&mut batch, device, ek);
            let kept = match &identity.certified {
                Some(Stored { record, .. })
                    if record.is_fresh(now) && self.is_upheld(record, &grant).await? =>
                {
                    Some(record.clone())
                }
                _ => None,
            };
            let (certified, how) = match kept {
                Some(certified) => {
                    identity.require_certified(&mut batch);
                    (certified, "certificate kept")
                }
                None => {
                    let certificate = Authority::certify_attestation_key(
                        &grant.category.record,
                        &self.store,
                        &evidence.ak,
                        &evidence.endorsement.tpm,
                        device.serial(),
                        now,
                    )?;
                    let new = Certified::new(certificate, &grant.key.record.metadata.name);
                    identity.certify(&mut batch, &new, &grant, now);
                    (new, "certificate made")
                }
            };
            let provisioned = self.seal(&grant, &evidence, &certified)?;
            let detail = format!(
                "{how}: serial {}, for vendor {:?}, serial {:?}",
                certified.serial,
                device.vendor(),
                device.serial()
            );
            let key = &grant.key.record.metadata;
            let deed = deed::<super::ApiKey>("tpm.provision", key, Some(detail), origin);
            self.audit.done(&mut batch, now, deed);
            if race.won(self.store.commit(batch).await).await? {
                return Ok(provisioned);
            }
        }
    }

    /// Encrypts a certificate to the TPM, under a key and a nonce that were never used before.
    fn seal(
        &self,
        grant: &Grant,
        evidence: &Evidence<'_>,
        certified: &Certified,
    ) -> Result<Provisioned, ProvisionError> {
        let failed = |_| ProvisionError::Sealing;
        let entropy = self.store.entropy();
        let mut secret = Zeroizing::new([0; 32]);
        entropy.fill(secret.as_mut_slice());
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce);
        let key = UnboundKey::new(&AES_256_GCM, secret.as_slice()).map_err(failed)?;
        let mut sealed = certified.certificate.clone();
        LessSafeKey::new(key)
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::empty(),
                &mut sealed,
            )
            .map_err(failed)?;
        let credential = make_credential(
            &AwsLcRs,
            &evidence.endorsement.ek,
            &evidence.ak_name,
            secret.as_slice(),
            &mut |bytes| entropy.fill(bytes),
        )
        .map_err(|error| match error {
            // A point that is not on its curve is the first thing that only the provider sees.
            TpmError::Provider => EndorsementError::Key("it is not a valid key".to_owned()).into(),
            _ => ProvisionError::Sealing,
        })?;
        let (category, manager) = (&grant.category.record.spec, &grant.manager.record.spec);
        Ok(Provisioned {
            encrypted_certificate: sealed,
            credential: credential.to_bytes(),
            nonce,
            chain: [category.sub_ca_certificate(), manager.root_ca_certificate()].concat(),
        })
    }
}

impl<'a> Evidence<'a> {
    /// Reads and judges a request, as far as no record of the device is needed for it.
    fn of(
        request: &'a ProvisionRequest,
        grant: &Grant,
        now: Timestamp,
    ) -> Result<Self, ProvisionError> {
        let device = request.device.judge().map_err(RequestError::from)?;
        let der = |field, text: &str, kind| {
            decode(text, &[kind]).map_err(|problem| RequestError::Der { field, problem })
        };
        let certificate = der("ek_cert", &request.ek_certificate, SectionKind::Certificate)?;
        let ek_spki = der("ek_pub_key", &request.ek_public_key, SectionKind::PublicKey)?;
        let ak_spki = der("ak_pub_key", &request.ak_public_key, SectionKind::PublicKey)?;
        let csr = der("csr", &request.csr, SectionKind::Csr)?;
        let ak_public = match &request.ak_public {
            None => None,
            Some(text) => Some(der("ak_public", text, SectionKind::PublicKey)?),
        };
        let category = &grant.category.record.spec;
        let manager = &grant.manager.record.spec;
        let endorsement = endorsement::judge(&certificate, &ek_spki, category, manager, now)?;
        let template = category.attestation_key.below(&endorsement.ek);
        let template = template.map_err(attestation_key("ak_pub_key"))?;
        let assumed = TpmtPublic::attestation_from_spki(&ak_spki, &template)
            .map_err(attestation_key("ak_pub_key"))?;
        let ak = match ak_public {
            None => assumed,
            Some(sized) => told(&sized, &assumed)?,
        };
        check_attestation_key(&ak)?;
        check_csr(&csr, &device).map_err(RequestError::Csr)?;
        let name = |key: &TpmtPublic| Name::of(key).map_err(attestation_key("ak_public"));
        Ok(Self {
            device,
            ek: name(&endorsement.ek)?,
            ak_name: name(&ak)?,
            endorsement,
            ak,
        })
    }
}

fn attestation_key(field: &'static str) -> impl Fn(TpmError) -> RequestError {
    move |error| RequestError::AttestationKey {
        field,
        problem: error.to_string(),
    }
}

/// The public area that the station sent, which must be of the same key as the bare one.
fn told(sized: &[u8], bare: &TpmtPublic) -> Result<TpmtPublic, RequestError> {
    let wrong = attestation_key("ak_public");
    let public = TpmtPublic::parse_sized(sized).map_err(&wrong)?;
    if public.to_spki().map_err(&wrong)? == bare.to_spki().map_err(&wrong)? {
        return Ok(public);
    }
    Err(RequestError::AttestationKey {
        field: "ak_public",
        problem: "it is not the key in ak_pub_key".to_owned(),
    })
}

fn check_attestation_key(ak: &TpmtPublic) -> Result<(), RequestError> {
    let policy = AttestationKeyPolicy {
        // P-521 certificates are not made.
        curves: vec![EccCurve::NistP256, EccCurve::NistP384],
        ..AttestationKeyPolicy::default()
    };
    let report = policy.check(ak);
    let failed = keyproof_tpm::AttestationKeyCheck::ALL
        .iter()
        .find(|check| report.outcome(**check) == Outcome::Fail);
    match failed {
        None => Ok(()),
        Some(check) => Err(RequestError::AttestationKey {
            field: "the attestation key",
            problem: format!("{}: {}", check.name(), report.detail(*check)),
        }),
    }
}

/// A certification request by any key of the device: a restricted attestation key cannot sign one. The subject must be
/// the device's, and the request signed by its own key.
fn check_csr(der: &[u8], device: &DeviceInfo<'_>) -> Result<(), String> {
    let request = CertificationRequest::from_der(der).map_err(|error| error.to_string())?;
    request
        .verify(algorithms::ALL)
        .map_err(|error| error.to_string())?;
    let attribute = |kind: &[u8]| {
        let mut attributes = request.subject().attributes();
        let found = attributes.find(|attribute| attribute.kind.as_bytes() == kind);
        found.map(|attribute| attribute.value.text().map(String::from).unwrap_or_default())
    };
    match (attribute(SERIAL_NUMBER), attribute(COMMON_NAME)) {
        (Some(serial), _) if serial == device.serial() => {}
        (Some(_), _) => return Err("its serialNumber is not the device's serial".to_owned()),
        (None, Some(name)) if name == device.serial() || name == device.name() => {}
        (None, _) => {
            return Err("its subject names neither the device's serial nor its name".to_owned());
        }
    }
    match attribute(ORGANIZATION) {
        Some(organization) if organization != device.vendor() => {
            Err("its organization is not the device's vendor".to_owned())
        }
        _ => Ok(()),
    }
}

// The contents of 2.5.4.3, 2.5.4.5 and 2.5.4.10.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const SERIAL_NUMBER: &[u8] = &[0x55, 4, 5];
const ORGANIZATION: &[u8] = &[0x55, 4, 10];
