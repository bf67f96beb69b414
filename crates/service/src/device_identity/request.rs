//! What a station sends to provision a device, and its judgement: keys and certificates that are well formed, whoever's
//! they are. Nothing here knows a record, so that any request may be tried on it.

use keyproof_tpm::{
    AttestationKeyCheck, AttestationKeyPolicy, AttestationTemplate, Check, DeviceInfo,
    DeviceProperties, EccCurve, EkCertificate, EkChain, Structure, TpmAttributes, TpmError,
    TpmtPublic, algorithms, check_certification_request,
};
use keyproof_x509::{Certificate, pem_bundle};
use zeroize::Zeroizing;

use super::{Field, FieldError, FieldProblem, Sent};

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

/// What a station sends: each key and certificate in DER, or why it cannot be read.
#[derive(Clone)]
pub struct ProvisionRequest {
    /// The API key.
    pub api_key: Zeroizing<String>,
    /// The device.
    pub device: DeviceClaim,
    /// The endorsement key's certificate.
    pub ek_certificate: Sent,
    /// The certificates that the device carries of those who issued the endorsement key's, in PEM: one to eight. None of
    /// them is trusted, and one that cannot be read is left out.
    pub ek_chain: Option<String>,
    /// The endorsement key's SubjectPublicKeyInfo.
    pub ek_public_key: Sent,
    /// The attestation key's SubjectPublicKeyInfo.
    pub ak_public_key: Sent,
    /// A certification request by any key of the device.
    pub certification_request: Sent,
    /// The attestation key's TPM2B_PUBLIC, where the category's template is not what it was made with.
    pub ak_public: Option<Sent>,
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
    pub ek_certificate: &'a [u8],
    /// What that says of the TPM, if it does.
    pub tpm: Option<TpmAttributes>,
    /// What the device carries of the certificate's chain, as far as that can be read.
    pub ek_chain: Option<EkChain>,
    /// The endorsement key, by the default template for its type.
    pub ek: TpmtPublic,
    /// The attestation key's SubjectPublicKeyInfo, in DER.
    pub ak_spki: &'a [u8],
    /// The attestation key's public area, if it was sent: it is of the same key.
    pub ak_public: Option<TpmtPublic>,
}

impl DeviceClaim {
    pub(super) fn judge(&self) -> Result<DeviceInfo<'_>, TpmError> {
        DeviceInfo::new(DeviceProperties {
            name: self.name.as_deref().unwrap_or_default(),
            serial: self.serial.as_deref().unwrap_or_default(),
            vendor: self.vendor.as_deref().unwrap_or_default(),
            version: self.version.as_deref().unwrap_or_default(),
        })
    }
}

impl ProvisionRequest {
    /// Judges the request, as far as that takes nothing but the request. The API key is not looked at.
    ///
    /// # Errors
    ///
    /// [`FieldError`] says what is wrong with which field: the first of device, endorsement certificate, its chain,
    /// endorsement key, attestation key and certification request.
    pub fn decode(&self) -> Result<DecodedRequest<'_>, FieldError> {
        let device = self.device.judge().map_err(Field::Device.malformed())?;
        let field = Field::EndorsementCertificate;
        let ek_certificate = field.read(&self.ek_certificate)?;
        let tpm = EkCertificate::parse(ek_certificate).map_err(field.malformed())?;
        let tpm = tpm.tpm_attributes().ok();
        let ek_chain = match self.ek_chain.as_deref() {
            None => None,
            Some(pem) => {
                endorsement_chain(pem.as_bytes()).map_err(Field::EndorsementChain.malformed())?
            }
        };
        let field = Field::EndorsementKey;
        let ek = TpmtPublic::endorsement_from_spki(field.read(&self.ek_public_key)?)
            .map_err(field.malformed())?;
        let field = Field::AttestationKey;
        let ak_spki = field.read(&self.ak_public_key)?;
        let ak = bare_attestation_key(ak_spki, &ek)?;
        if ak.is_same_key(&ek) {
            return Err(field.wrong(FieldProblem::EndorsementKey));
        }
        let field = Field::AttestationKeyPublic;
        let ak_public = match &self.ak_public {
            None => None,
            Some(sent) => Some(told(field.read(sent)?, &ak)?),
        };
        let field = Field::CertificationRequest;
        let csr = field.read(&self.certification_request)?;
        check_certification_request(csr, &device, algorithms::ALL).map_err(field.malformed())?;
        Ok(DecodedRequest {
            device,
            ek_certificate,
            tpm,
            ek_chain,
            ek,
            ak_spki,
            ak_public,
        })
    }
}

/// What a device carries of the chain: makers write odd certificates, which are no links of a path and no reason to refuse
/// the others. `None` if none can be read.
fn endorsement_chain(pem: &[u8]) -> Result<Option<EkChain>, TpmError> {
    match EkChain::from_pem(pem) {
        // One of them, whichever it is.
        Err(TpmError::Certificate(_)) => {}
        read => return read.map(Some),
    }
    let mut readable = Vec::new();
    for block in pem_bundle::certificates(pem).unwrap_or_default() {
        match Certificate::from_der_as_issued(&block.der) {
            Ok(_) => readable.extend_from_slice(&block.der),
            Err(error) => tracing::warn!(
                block = block.block,
                %error,
                "a certificate of an endorsement certificate's chain cannot be read, and is left out"
            ),
        }
    }
    if readable.is_empty() {
        return Ok(None);
    }
    EkChain::from_der(&readable).map(Some)
}

impl DecodedRequest<'_> {
    /// The attestation key: the public area that was sent, or else what the bare key is by a template.
    ///
    /// # Errors
    ///
    /// [`FieldError`] if by that template it is none.
    pub fn attestation_key(
        &self,
        template: &AttestationTemplate,
    ) -> Result<TpmtPublic, FieldError> {
        if let Some(told) = &self.ak_public {
            return Ok(told.clone());
        }
        let field = Field::AttestationKey;
        let assumed =
            TpmtPublic::attestation_from_spki(self.ak_spki, template).map_err(field.malformed())?;
        check_attestation_key(field, &assumed)?;
        Ok(assumed)
    }
}

/// A bare key, which is of a kind that attestation keys are.
fn bare_attestation_key(spki: &[u8], ek: &TpmtPublic) -> Result<TpmtPublic, FieldError> {
    let field = Field::AttestationKey;
    let ak = AttestationTemplate::below(ek)
        .and_then(|template| TpmtPublic::attestation_from_spki(spki, &template))
        .map_err(field.malformed())?;
    check_attestation_key(field, &ak)?;
    if ak.is_sound() {
        Ok(ak)
    } else {
        Err(field.wrong(FieldProblem::NoSuchKey))
    }
}

/// The public area that the station sent, which must be an attestation key's, and of the same key as the bare one.
fn told(sized: &[u8], bare: &TpmtPublic) -> Result<TpmtPublic, FieldError> {
    let field = Field::AttestationKeyPublic;
    let public = TpmtPublic::parse_sized(sized).map_err(field.malformed())?;
    if !public.is_same_key(bare) {
        return Err(field.wrong(FieldProblem::OtherKey));
    }
    check_attestation_key(field, &public)?;
    Ok(public)
}

fn check_attestation_key(field: Field, ak: &TpmtPublic) -> Result<(), FieldError> {
    let policy = AttestationKeyPolicy {
        // P-521 certificates are not made.
        curves: vec![EccCurve::NistP256, EccCurve::NistP384],
        ..AttestationKeyPolicy::default()
    };
    let report = policy.check(ak);
    let mut checks = AttestationKeyCheck::ALL.iter().copied();
    match checks.find(|check| report.outcome(*check).refuses()) {
        None => Ok(()),
        Some(check) => Err(field.wrong(FieldProblem::Attestation {
            check,
            detail: report.detail(check),
        })),
    }
}
