//! Request bodies. Unknown members are ignored, `null` is absent, and types are not coerced.

use keyproof_http::{Exchange, JsonObject, UniqueMembers};
use keyproof_service::device_identity::{
    Activation, ApiKeyChange, AttestRequest, AttestationKeyTemplate, CategoryChange, DeviceClaim,
    ExpectedRegister, Metadata, NewApiKey, NewCategory, NonceRequest, PcrPolicy, ProvisionRequest,
    Sent, SentEvidence, TrustedMakers, decode_der,
};
use keyproof_tpm::HashAlgorithm;
use serde::{Deserialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::{Place, errors::Refusal};
use crate::rfc3339::{is_zero_of_go, moment};

#[derive(Deserialize)]
struct Envelope<S> {
    metadata: Option<JsonObject<MetadataBody>>,
    spec: Option<JsonObject<S>>,
}

#[derive(Default, Deserialize)]
struct MetadataBody {
    name: Option<String>,
    namespace: Option<String>,
    labels: Option<UniqueMembers<String>>,
    annotations: Option<UniqueMembers<String>>,
    description: Option<String>,
    disable: Option<bool>,
}

#[derive(Default, Deserialize)]
struct ManagerSpec {
    ek_root_certificates: Option<Vec<String>>,
    ek_trust_bundle: Option<bool>,
}

#[derive(Default, Deserialize)]
struct CategorySpec {
    tpm_manager_ref: Option<Vec<JsonObject<Reference>>>,
    tpm_allow_list: Option<Vec<String>>,
    ak_template: Option<JsonObject<TemplateBody>>,
    pcr_policy: Option<JsonObject<PcrPolicyBody>>,
}

/// Exactly one member must be present.
#[derive(Default, Deserialize)]
struct PcrPolicyBody {
    any: Option<JsonObject<Nothing>>,
    expected: Option<Vec<JsonObject<ExpectedBody>>>,
    learn: Option<JsonObject<Nothing>>,
}

#[derive(Default, Deserialize)]
struct Nothing {}

#[derive(Default, Deserialize)]
struct ExpectedBody {
    /// `sha256`, `sha384` or `sha512`.
    bank: Option<String>,
    index: Option<u8>,
    /// Digests in hexadecimal.
    values: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
struct TemplateBody {
    /// `TPMA_OBJECT` in hexadecimal: `0x00050472`.
    attributes: Option<String>,
    /// `sha256` or `sha384`.
    scheme_hash: Option<String>,
}

#[derive(Default, Deserialize)]
struct ApiKeySpec {
    category_ref: Option<Vec<JsonObject<Reference>>>,
    need_mtls: Option<bool>,
}

#[derive(Deserialize)]
struct ApiKeyChangeSpec {
    is_disabled: Option<bool>,
    revoke_reason: Option<String>,
    revoked_timestamp: Option<String>,
}

#[derive(Deserialize)]
struct Reference {
    name: Option<String>,
    namespace: Option<String>,
}

/// `DeleteRequest`, as for F5's other objects.
#[derive(Default, Deserialize)]
struct DeletionBody {
    /// Ignored: objects that others refer to are never deleted.
    #[serde(rename = "fail_if_referred")]
    _fail_if_referred: Option<bool>,
    name: Option<String>,
    namespace: Option<String>,
}

#[derive(Deserialize)]
struct PreauthBody {
    api_key: Option<String>,
    device: Option<JsonObject<DeviceBody>>,
}

#[derive(Default, Deserialize)]
struct DeviceBody {
    name: Option<String>,
    serial: Option<String>,
    vendor: Option<String>,
    version: Option<String>,
}

#[derive(Deserialize)]
struct ProvisionBody {
    api_key: Option<String>,
    device: Option<JsonObject<DeviceBody>>,
    ek_cert: Option<String>,
    ek_chain: Option<String>,
    ek_pub_key: Option<String>,
    ak_pub_key: Option<String>,
    csr: Option<String>,
    ak_public: Option<String>,
}

#[derive(Default, Deserialize)]
struct ActivationBody {
    ticket: Option<String>,
    proof: Option<String>,
}

impl From<ActivationBody> for Activation {
    fn from(body: ActivationBody) -> Self {
        Self {
            ticket: body.ticket.unwrap_or_default(),
            proof: bytes(body.proof),
        }
    }
}

#[derive(Deserialize)]
struct NonceBody {
    namespace: Option<String>,
    category: Option<String>,
    ak_name: Option<String>,
    pcr_selection: Option<String>,
}

#[derive(Deserialize)]
struct AttestBody {
    namespace: Option<String>,
    category: Option<String>,
    nonce: Option<String>,
    ak_public: Option<String>,
    attest: Option<String>,
    signature: Option<String>,
    pcr_values: Option<String>,
    event_log: Option<String>,
    activation: Option<JsonObject<ActivationBody>>,
}

/// Returns the API key and the device of a preauth request.
pub(super) async fn preauth(
    exchange: &mut Exchange,
    needed: usize,
) -> Result<(Zeroizing<String>, DeviceClaim), Refusal> {
    let PreauthBody { api_key, device } = read(exchange, needed).await?;
    let api_key = Zeroizing::new(api_key.unwrap_or_default());
    Ok((api_key, device.unwrap_or_default().0.into()))
}

pub(super) async fn nonce(exchange: &mut Exchange, needed: usize) -> Result<NonceRequest, Refusal> {
    let body: NonceBody = read(exchange, needed).await?;
    Ok(NonceRequest {
        namespace: body.namespace.unwrap_or_default(),
        category: body.category.unwrap_or_default(),
        ak_name: bytes(body.ak_name),
        selection: body.pcr_selection.and_then(|text| text.parse().ok()),
    })
}

pub(super) async fn attest(
    exchange: &mut Exchange,
    needed: usize,
) -> Result<(AttestRequest, SentEvidence), Refusal> {
    let body: AttestBody = read(exchange, needed).await?;
    let request = AttestRequest {
        namespace: body.namespace.unwrap_or_default(),
        category: body.category.unwrap_or_default(),
        activation: body.activation.map(|JsonObject(body)| body.into()),
    };
    let evidence = SentEvidence {
        nonce: bytes(body.nonce),
        ak_public: bytes(body.ak_public),
        attest: bytes(body.attest),
        signature: bytes(body.signature),
        pcr_values: optional(body.pcr_values),
        event_log: optional(body.event_log),
    };
    Ok((request, evidence))
}

pub(super) async fn activation(
    exchange: &mut Exchange,
    needed: usize,
) -> Result<Activation, Refusal> {
    let body: ActivationBody = read(exchange, needed).await?;
    Ok(body.into())
}

pub(super) async fn provision(
    exchange: &mut Exchange,
    needed: usize,
) -> Result<ProvisionRequest, Refusal> {
    let body = exchange.body(needed).await?;
    provision_request(&body).map_err(|error| malformed(&error))
}

/// Decodes the fields of a provision request's body, without validating them.
///
/// # Errors
///
/// Returns an error if the body is not the JSON of such a request. The error may quote the body.
pub fn provision_request(body: &[u8]) -> Result<ProvisionRequest, serde_json::Error> {
    let body: ProvisionBody = JsonObject::from_slice(body)?;
    Ok(ProvisionRequest {
        api_key: Zeroizing::new(body.api_key.unwrap_or_default()),
        device: body.device.unwrap_or_default().0.into(),
        ek_certificate: der(body.ek_cert, &["CERTIFICATE"]),
        ek_chain: body.ek_chain.filter(|text| !text.is_empty()),
        ek_public_key: der(body.ek_pub_key, &["PUBLIC KEY"]),
        ak_public_key: der(body.ak_pub_key, &["PUBLIC KEY"]),
        // Some programs use the second label (RFC 7468, section 7).
        certification_request: der(
            body.csr,
            &["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"],
        ),
        ak_public: optional(body.ak_public),
    })
}

/// Decodes DER in Base64 or PEM.
fn der(text: Option<String>, labels: &[&str]) -> Sent {
    decode_der(text.as_deref().unwrap_or_default(), labels)
}

/// Decodes Base64 of data that has no PEM form.
fn bytes(text: Option<String>) -> Sent {
    der(text, &[])
}

/// Like `bytes`, but an empty text is absent.
fn optional(text: Option<String>) -> Option<Sent> {
    let text = text.filter(|text| !text.is_empty());
    text.map(|text| bytes(Some(text)))
}

impl From<DeviceBody> for DeviceClaim {
    fn from(device: DeviceBody) -> Self {
        Self {
            name: device.name,
            serial: device.serial,
            vendor: device.vendor,
            version: device.version,
        }
    }
}

pub(super) async fn new_manager(
    exchange: &mut Exchange,
    at: &Place,
) -> Result<(Metadata, TrustedMakers), Refusal> {
    let (metadata, spec): (_, ManagerSpec) = create(exchange, at).await?;
    Ok((metadata, spec.into()))
}

impl From<ManagerSpec> for TrustedMakers {
    fn from(spec: ManagerSpec) -> Self {
        Self {
            ek_roots: spec.ek_root_certificates.unwrap_or_default(),
            ek_trust_bundle: spec.ek_trust_bundle.unwrap_or_default(),
        }
    }
}

pub(super) async fn new_category(
    exchange: &mut Exchange,
    at: &Place,
) -> Result<NewCategory, Refusal> {
    let (metadata, spec): (_, CategorySpec) = create(exchange, at).await?;
    Ok(NewCategory {
        manager: one(spec.tpm_manager_ref, "spec.tpm_manager_ref", &at.namespace)?,
        allow_list: spec.tpm_allow_list.unwrap_or_default(),
        attestation_key: spec.ak_template.unwrap_or_default().0.read()?,
        pcr_policy: pcr_policy(spec.pcr_policy)?.unwrap_or_default(),
        metadata,
    })
}

pub(super) async fn new_api_key(exchange: &mut Exchange, at: &Place) -> Result<NewApiKey, Refusal> {
    let (metadata, spec): (_, ApiKeySpec) = create(exchange, at).await?;
    Ok(NewApiKey {
        category: one(spec.category_ref, "spec.category_ref", &at.namespace)?,
        need_mtls: spec.need_mtls.unwrap_or_default(),
        metadata,
    })
}

pub(super) async fn trusted_makers(
    exchange: &mut Exchange,
    at: &Place,
) -> Result<TrustedMakers, Refusal> {
    let spec: ManagerSpec = replace(exchange, at).await?;
    Ok(spec.into())
}

pub(super) async fn category_change(
    exchange: &mut Exchange,
    at: &Place,
) -> Result<CategoryChange, Refusal> {
    let spec: CategorySpec = replace(exchange, at).await?;
    Ok(CategoryChange {
        allow_list: spec.tpm_allow_list.unwrap_or_default(),
        pcr_policy: pcr_policy(spec.pcr_policy)?,
    })
}

pub(super) async fn api_key_change(
    exchange: &mut Exchange,
    at: &Place,
) -> Result<ApiKeyChange, Refusal> {
    let spec: ApiKeyChangeSpec = replace(exchange, at).await?;
    Ok(ApiKeyChange {
        is_disabled: spec.is_disabled.unwrap_or_default(),
        revoke_reason: spec.revoke_reason.unwrap_or_default(),
        revoked_at: match spec.revoked_timestamp.as_deref() {
            None | Some("") => None,
            // Go clients send the zero time if no time is set.
            Some(text) if is_zero_of_go(text) => None,
            Some(text) => Some(moment(text).ok_or_else(|| {
                Refusal::invalid("spec.revoked_timestamp is not an RFC 3339 time")
            })?),
        },
    })
}

/// Parses the body of a deletion. It may be empty; otherwise it must match the path.
pub(super) async fn deletion(exchange: &mut Exchange, at: &Place) -> Result<(), Refusal> {
    let body = exchange.body(at.body).await?;
    if body.trim_ascii().is_empty() {
        return Ok(());
    }
    let body: DeletionBody = JsonObject::from_slice(&body).map_err(|error| malformed(&error))?;
    must_match("namespace", body.namespace.as_deref(), &at.namespace)?;
    must_match("name", body.name.as_deref(), &at.name)
}

/// Returns whether a body contradicts the path.
fn differs(said: Option<&str>, path: &str) -> bool {
    said.is_some_and(|said| !said.is_empty() && said != path)
}

/// Checks that a member does not contradict the path.
fn must_match(member: &str, said: Option<&str>, path: &str) -> Result<(), Refusal> {
    if differs(said, path) {
        return Err(Refusal::invalid(format!("{member} differs from the path")));
    }
    Ok(())
}

async fn create<S: DeserializeOwned + Default>(
    exchange: &mut Exchange,
    at: &Place,
) -> Result<(Metadata, S), Refusal> {
    let body: Envelope<S> = read(exchange, at.body).await?;
    let JsonObject(metadata) = body.metadata.unwrap_or_default();
    let namespace = metadata.namespace.as_deref();
    must_match("metadata.namespace", namespace, &at.namespace)?;
    let metadata = Metadata {
        name: metadata.name.unwrap_or_default(),
        namespace: at.namespace.clone(),
        labels: metadata.labels.unwrap_or_default().0,
        annotations: metadata.annotations.unwrap_or_default().0,
        description: metadata.description.unwrap_or_default(),
        disable: metadata.disable.unwrap_or_default(),
    };
    Ok((metadata, body.spec.unwrap_or_default().0))
}

/// Parses a replacement. Empty bodies are rejected, since a member that is left out would reset its value.
async fn replace<S: DeserializeOwned>(exchange: &mut Exchange, at: &Place) -> Result<S, Refusal> {
    let body: Envelope<S> = read(exchange, at.body).await?;
    let JsonObject(metadata) = body.metadata.unwrap_or_default();
    let namespace = metadata.namespace.as_deref();
    must_match("metadata.namespace", namespace, &at.namespace)?;
    must_match("metadata.name", metadata.name.as_deref(), &at.name)?;
    if metadata.name.unwrap_or_default().is_empty() {
        return Err(Refusal::invalid("metadata.name is required"));
    }
    let spec = body.spec.map(|JsonObject(spec)| spec);
    spec.ok_or_else(|| Refusal::invalid("spec is required"))
}

impl TemplateBody {
    fn read(self) -> Result<AttestationKeyTemplate, Refusal> {
        let attributes = self.attributes.map(|text| {
            let digits = text.strip_prefix("0x").filter(|digits| digits.len() <= 8);
            let digits = digits.filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
            digits
                .and_then(|digits| u32::from_str_radix(digits, 16).ok())
                .ok_or_else(|| {
                    Refusal::invalid("spec.ak_template.attributes: hexadecimal, as in 0x00050072")
                })
        });
        let scheme_hash = self.scheme_hash.map(|name| {
            HashAlgorithm::from_name(&name)
                .map(HashAlgorithm::id)
                .ok_or_else(|| Refusal::invalid("spec.ak_template.scheme_hash: as in sha256"))
        });
        Ok(AttestationKeyTemplate {
            attributes: attributes.transpose()?,
            scheme_hash: scheme_hash.transpose()?,
        })
    }
}

/// Parses `{"any": {}}`, `{"expected": [{"bank", "index", "values": []}]}` or `{"learn": {}}`.
fn pcr_policy(body: Option<JsonObject<PcrPolicyBody>>) -> Result<Option<PcrPolicy>, Refusal> {
    let Some(JsonObject(body)) = body else {
        return Ok(None);
    };
    let policy = match (body.any, body.expected, body.learn) {
        (Some(_), None, None) => PcrPolicy::Any,
        (None, Some(expected), None) => {
            let read = |JsonObject(register): JsonObject<ExpectedBody>| {
                let values = register.values.unwrap_or_default();
                Some(ExpectedRegister {
                    bank: register.bank?,
                    index: register.index?,
                    values: values.iter().map(|value| value.to_lowercase()).collect(),
                })
            };
            let expected: Option<Vec<_>> = expected.into_iter().map(read).collect();
            let unnamed = "spec.pcr_policy.expected: each has a bank and an index";
            PcrPolicy::Expected(expected.ok_or_else(|| Refusal::invalid(unnamed))?)
        }
        (None, None, Some(_)) => PcrPolicy::Learn,
        _ => {
            let one = "spec.pcr_policy has exactly one of any, expected and learn";
            return Err(Refusal::invalid(one));
        }
    };
    Ok(Some(policy))
}

/// Parses a reference to exactly one object of the same namespace.
fn one(
    references: Option<Vec<JsonObject<Reference>>>,
    field: &str,
    namespace: &str,
) -> Result<String, Refusal> {
    let references = references.unwrap_or_default();
    let [JsonObject(reference)] = references.as_slice() else {
        return Err(Refusal::invalid(format!(
            "{field} must have exactly one reference"
        )));
    };
    if differs(reference.namespace.as_deref(), namespace) {
        return Err(Refusal::invalid(format!("{field} is in another namespace")));
    }
    match reference.name.as_deref() {
        None | Some("") => Err(Refusal::invalid(format!("{field} has no name"))),
        Some(name) => Ok(name.to_owned()),
    }
}

async fn read<T: DeserializeOwned>(exchange: &mut Exchange, needed: usize) -> Result<T, Refusal> {
    let body = exchange.body(needed).await?;
    JsonObject::from_slice(&body).map_err(|error| malformed(&error))
}

/// Reports only the position. serde's message would quote the value, which may be a key.
fn malformed(error: &serde_json::Error) -> Refusal {
    let (line, column) = (error.line(), error.column());
    Refusal::invalid(format!(
        "the body is not the JSON that is expected here: line {line}, column {column}"
    ))
}
