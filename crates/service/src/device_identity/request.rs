//! What a station sends, and its reading: from fields of text to keys and certificates that are well formed, whoever's
//! they are. Nothing here knows a record, so that any text may be tried on it.

use super::{DerTextError, der_text::decode};
use keyproof_tpm::{
    AttestationKeyCheck, AttestationKeyPolicy, AttestationTemplate, Check, DeviceInfo, EccCurve,
    EkCertificate, EkChain, Structure, TpmError, TpmtPublic, algorithms,
    check_certification_request,
};
use rustls_pki_types::pem::SectionKind;
use zeroize::Zeroizing;

/// What a station says of a device, before any of it is judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceClaim {
    /// Its name.
    pub name: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Who made it.
    pub vendor: Option<String>,
    /// Its version.
    pub version: Option<String>,
}

/// What a station sends. The binary fields are DER in Base64 or PEM, still unread.
#[derive(Clone)]
pub struct ProvisionRequest {
    /// The API key.
    pub api_key: Zeroizing<String>,
    /// The device.
    pub device: DeviceClaim,
    /// The endorsement key's certificate.
    pub ek_certificate: String,
    /// The certificates that the device carries of those who issued the endorsement key's, in PEM: one to eight. None of
    /// them is trusted.
    pub ek_chain: Option<String>,
    /// The endorsement key's SubjectPublicKeyInfo.
    pub ek_public_key: String,
    /// The attestation key's SubjectPublicKeyInfo.
    pub ak_public_key: String,
    /// A certification request by any key of the device.
    pub csr: String,
    /// The attestation key's TPM2B_PUBLIC, where the category's template is not what it was made with.
    pub ak_public: Option<String>,
}

/// A request that is well formed: each field is read, each key is of a kind that is taken, and the certification request
/// is signed by its own key and names the device.
///
/// Still open is what takes a category to say: whether the endorsement certificate is trusted and of this key, and with
/// which template the attestation key was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedRequest<'a> {
    /// The device.
    pub device: DeviceInfo<'a>,
    /// The endorsement key's certificate, in DER, or as it lies in a TPM's memory.
    pub ek_certificate: Vec<u8>,
    /// What the device carries of the certificate's chain.
    pub ek_chain: Option<EkChain>,
    /// The endorsement key, by the default template for its type.
    pub ek: TpmtPublic,
    /// The attestation key's SubjectPublicKeyInfo, in DER.
    pub ak_spki: Vec<u8>,
    /// The attestation key's public area, if it was sent: it is of the same key.
    pub ak_public: Option<TpmtPublic>,
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
    Device(TpmError),
    /// The endorsement certificate is none.
    #[error("ek_cert: {0}")]
    EndorsementCertificate(TpmError),
    /// The chain that the device carries cannot be read.
    #[error("ek_chain: {0}")]
    EndorsementChain(TpmError),
    /// The endorsement key is malformed, or of no template.
    #[error("ek_pub_key: {0}")]
    EndorsementKey(TpmError),
}

impl DeviceClaim {
    pub(super) fn judge(&self) -> Result<DeviceInfo<'_>, TpmError> {
        DeviceInfo::new(
            self.name.as_deref(),
            self.serial.as_deref(),
            self.vendor.as_deref(),
            self.version.as_deref(),
        )
    }
}

impl ProvisionRequest {
    /// Reads and judges the request, as far as that takes nothing but the request. The API key is not looked at.
    ///
    /// # Errors
    /// [`RequestError`] says what is wrong with which field: the first of device, endorsement certificate, its chain,
    /// endorsement key, attestation key and certification request.
    pub fn decode(&self) -> Result<DecodedRequest<'_>, RequestError> {
        let device = self.device.judge().map_err(RequestError::Device)?;
        let ek_certificate = der("ek_cert", &self.ek_certificate, &[SectionKind::Certificate])?;
        EkCertificate::parse(&ek_certificate).map_err(RequestError::EndorsementCertificate)?;
        let ek_chain = self.ek_chain.as_deref().map(str::as_bytes);
        let ek_chain = ek_chain
            .map(EkChain::from_pem)
            .transpose()
            .map_err(RequestError::EndorsementChain)?;
        let ek_spki = der("ek_pub_key", &self.ek_public_key, &[SectionKind::PublicKey])?;
        let ek =
            TpmtPublic::endorsement_from_spki(&ek_spki).map_err(RequestError::EndorsementKey)?;
        let ak_spki = der("ak_pub_key", &self.ak_public_key, &[SectionKind::PublicKey])?;
        let ak = bare_attestation_key(&ak_spki, &ek)?;
        if ak.is_same_key(&ek) {
            return Err(RequestError::AttestationKey {
                field: "ak_pub_key",
                problem: "it is the endorsement key".to_owned(),
            });
        }
        let ak_public = match &self.ak_public {
            None => None,
            // A public area has no form in PEM.
            Some(text) => Some(told(&der("ak_public", text, &[])?, &ak)?),
        };
        let csr = der("csr", &self.csr, &[SectionKind::Csr])?;
        check_certification_request(&csr, &device, algorithms::ALL)
            .map_err(|error| RequestError::Csr(error.to_string()))?;
        Ok(DecodedRequest {
            device,
            ek_certificate,
            ek_chain,
            ek,
            ak_spki,
            ak_public,
        })
    }
}

impl DecodedRequest<'_> {
    /// The attestation key: the public area that was sent, or else what the bare key is by a template.
    ///
    /// # Errors
    /// [`RequestError::AttestationKey`] if by that template it is none.
    pub fn attestation_key(
        &self,
        template: &AttestationTemplate,
    ) -> Result<TpmtPublic, RequestError> {
        if let Some(told) = &self.ak_public {
            return Ok(told.clone());
        }
        let assumed = TpmtPublic::attestation_from_spki(&self.ak_spki, template)
            .map_err(attestation_key("ak_pub_key"))?;
        check_attestation_key("ak_pub_key", &assumed)?;
        Ok(assumed)
    }
}

fn der(field: &'static str, text: &str, kinds: &[SectionKind]) -> Result<Vec<u8>, RequestError> {
    decode(text, kinds).map_err(|problem| RequestError::Der { field, problem })
}

fn attestation_key(field: &'static str) -> impl Fn(TpmError) -> RequestError {
    move |error| RequestError::AttestationKey {
        field,
        problem: error.to_string(),
    }
}

/// A bare key, which is of a kind that attestation keys are.
fn bare_attestation_key(spki: &[u8], ek: &TpmtPublic) -> Result<TpmtPublic, RequestError> {
    let field = "ak_pub_key";
    let ak = AttestationTemplate::below(ek)
        .and_then(|template| TpmtPublic::attestation_from_spki(spki, &template))
        .map_err(attestation_key(field))?;
    check_attestation_key(field, &ak)?;
    match ak.is_sound() {
        true => Ok(ak),
        false => Err(RequestError::AttestationKey {
            field,
            problem: "no key has this point or modulus".to_owned(),
        }),
    }
}

/// The public area that the station sent, which must be an attestation key's, and of the same key as the bare one.
fn told(sized: &[u8], bare: &TpmtPublic) -> Result<TpmtPublic, RequestError> {
    let field = "ak_public";
    let wrong = attestation_key(field);
    let public = TpmtPublic::parse_sized(sized).map_err(&wrong)?;
    if !public.is_same_key(bare) {
        return Err(RequestError::AttestationKey {
            field,
            problem: "it is not the key in ak_pub_key".to_owned(),
        });
    }
    check_attestation_key(field, &public)?;
    Ok(public)
}

fn check_attestation_key(field: &'static str, ak: &TpmtPublic) -> Result<(), RequestError> {
    let policy = AttestationKeyPolicy {
        // P-521 certificates are not made.
        curves: vec![EccCurve::NistP256, EccCurve::NistP384],
        ..AttestationKeyPolicy::default()
    };
    let report = policy.check(ak);
    let failed = AttestationKeyCheck::ALL
        .iter()
        .find(|check| report.outcome(**check).refuses());
    match failed {
        None => Ok(()),
        Some(check) => Err(RequestError::AttestationKey {
            field,
            problem: format!("{}: {}", check.name(), report.detail(*check)),
        }),
    }
}
