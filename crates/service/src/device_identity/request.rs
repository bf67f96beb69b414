//! A station's provision request and its validation: whether keys and certificates are well formed. This reads no
//! records, so it can be run on any input.

use keyproof_tpm::{
    AttestationKeyCheck, AttestationKeyPolicy, AttestationTemplate, Check, DeviceInfo,
    DeviceInfoError, DeviceProperties, EccCurve, EkCertificate, EkChain, Structure, TpmAttributes,
    TpmError, TpmtPublic, algorithms, check_certification_request,
};
use keyproof_x509::{Certificate, pem_bundle};
use zeroize::Zeroizing;

use super::{Field, FieldError, FieldProblem, Sent};

/// A station's claim about a device, not yet validated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceClaim {
    /// The device's name.
    pub name: Option<String>,
    /// The device's serial number.
    pub serial: Option<String>,
    /// The device's vendor.
    pub vendor: Option<String>,
    /// The device's version.
    pub version: Option<String>,
}

/// A provision request: each key and certificate in DER, or why it cannot be decoded.
#[derive(Clone)]
pub struct ProvisionRequest {
    /// The API key.
    pub api_key: Zeroizing<String>,
    /// The device.
    pub device: DeviceClaim,
    /// The EK certificate.
    pub ek_certificate: Sent,
    /// Issuers of the EK certificate that the device carries, in PEM: one to eight. They are untrusted, and those that
    /// cannot be parsed are skipped.
    pub ek_chain: Option<String>,
    /// The EK's SubjectPublicKeyInfo.
    pub ek_public_key: Sent,
    /// The AK's SubjectPublicKeyInfo.
    pub ak_public_key: Sent,
    /// A certification request signed by any key of the device.
    pub certification_request: Sent,
    /// The AK's `TPM2B_PUBLIC`, for an AK that was not created with the category's template.
    pub ak_public: Option<Sent>,
}

/// A well-formed request: each field is decoded, the keys are of supported types, and the certification request is
/// signed by its own key and names the device.
///
/// The checks that depend on the category are still to be done: whether the EK certificate is trusted and for this EK,
/// and with which template the AK was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedRequest<'a> {
    /// The device.
    pub device: DeviceInfo<'a>,
    /// The EK certificate, in DER or as a TPM stores it.
    pub ek_certificate: &'a [u8],
    /// The TPM's attributes in that certificate, if present.
    pub tpm: Option<TpmAttributes>,
    /// The carried issuers that can be parsed.
    pub ek_chain: Option<EkChain>,
    /// The EK, with the default template for its type.
    pub ek: TpmtPublic,
    /// The AK's SubjectPublicKeyInfo, in DER.
    pub ak_spki: &'a [u8],
    /// The AK's public area, if it was sent. It has the same key.
    pub ak_public: Option<TpmtPublic>,
}

impl DeviceClaim {
    pub(super) fn check(&self) -> Result<DeviceInfo<'_>, DeviceInfoError> {
        DeviceInfo::new(DeviceProperties {
            name: self.name.as_deref().unwrap_or_default(),
            serial: self.serial.as_deref().unwrap_or_default(),
            vendor: self.vendor.as_deref().unwrap_or_default(),
            version: self.version.as_deref().unwrap_or_default(),
        })
    }
}

impl ProvisionRequest {
    /// Validates the request by itself. The API key is not checked.
    ///
    /// # Errors
    ///
    /// [`FieldError`] for the first invalid field, in this order: device, EK certificate, its chain, EK, AK and
    /// certification request.
    pub fn decode(&self) -> Result<DecodedRequest<'_>, FieldError> {
        let wrong = |error| Field::Device.wrong(FieldProblem::Device(error));
        let device = self.device.check().map_err(wrong)?;
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
            Some(sent) => Some(public_area(field.read(sent)?, &ak)?),
        };
        let field = Field::CertificationRequest;
        let csr = field.read(&self.certification_request)?;
        check_certification_request(csr, &device, algorithms::ALL)
            .map_err(|error| field.wrong(FieldProblem::Request(error)))?;
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

/// Parses the carried chain. Some manufacturers' certificates cannot be parsed; they are skipped, and the others are
/// used. Returns `None` if there are no others.
fn endorsement_chain(pem: &[u8]) -> Result<Option<EkChain>, TpmError> {
    match EkChain::from_pem(pem) {
        // The error may be in any of the certificates.
        Err(TpmError::Certificate(_)) => {}
        read => return read.map(Some),
    }
    let mut readable = Vec::new();
    for block in pem_bundle::certificates(pem).unwrap_or_default() {
        match Certificate::from_der_lenient(&block.der) {
            Ok(_) => readable.extend_from_slice(&block.der),
            Err(error) => tracing::warn!(
                block = block.block,
                %error,
                "a certificate of an endorsement certificate's chain cannot be read and is ignored"
            ),
        }
    }
    if readable.is_empty() {
        return Ok(None);
    }
    EkChain::from_der(&readable).map(Some)
}

impl DecodedRequest<'_> {
    /// Returns the AK: the public area that was sent, or else the bare key with the template applied.
    ///
    /// # Errors
    ///
    /// [`FieldError`] if the template does not make it an AK.
    pub fn attestation_key(
        &self,
        template: &AttestationTemplate,
    ) -> Result<TpmtPublic, FieldError> {
        if let Some(public_area) = &self.ak_public {
            return Ok(public_area.clone());
        }
        let field = Field::AttestationKey;
        let assumed =
            TpmtPublic::attestation_from_spki(self.ak_spki, template).map_err(field.malformed())?;
        check_attestation_key(field, &assumed)?;
        Ok(assumed)
    }
}

/// Parses a bare key, which must be of a type that AKs can have.
fn bare_attestation_key(spki: &[u8], ek: &TpmtPublic) -> Result<TpmtPublic, FieldError> {
    let field = Field::AttestationKey;
    let ak = AttestationTemplate::below(ek)
        .and_then(|template| TpmtPublic::attestation_from_spki(spki, &template))
        .map_err(field.malformed())?;
    check_attestation_key(field, &ak)?;
    if ak.is_valid() {
        Ok(ak)
    } else {
        Err(field.wrong(FieldProblem::NoSuchKey))
    }
}

/// Parses the public area that the station sent, which must be an AK's and have the same key as the bare one.
fn public_area(sized: &[u8], bare: &TpmtPublic) -> Result<TpmtPublic, FieldError> {
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
        // Certificates are not issued for P-521.
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
