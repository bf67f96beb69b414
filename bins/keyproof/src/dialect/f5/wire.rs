//! The JSON of responses.

use std::{collections::BTreeMap, sync::Arc};

use ::http::StatusCode;
use bytes::Bytes;
use data_encoding::BASE64;
use http_body_util::Full;
use keyproof_http::{self as stack, Response};
use keyproof_service::{
    Timestamp,
    device_identity::{
        ApiKey, AttestationKeyTemplate, Category, DeviceReport, IssuedApiKey, IssuedCategory,
        IssuedNonce, Kind, Manager, Metadata, Object, PcrPolicy, PreauthVerdict, Provisioned,
        Reference, SystemMetadata,
    },
};
use keyproof_tpm::HashAlgorithm;
use serde::Serialize;
use serde_json::{Value, json};

use crate::rfc3339::utc;

/// The only tenant of a self-hosted server.
const TENANT: &str = "keyproof";

/// The representations of a kind of object.
pub(super) trait Spec {
    /// Returns the object as `GetSpecType`.
    fn spec(&self, namespace: &str) -> impl Serialize;

    /// Returns the object as `CreateSpecType`.
    fn create_spec(&self, namespace: &str) -> impl Serialize;

    /// Returns the object as `ReplaceSpecType`.
    fn replace_spec(&self) -> impl Serialize;
}

impl Spec for Manager {
    fn spec(&self, _: &str) -> impl Serialize {
        #[derive(Serialize)]
        struct Spec<'a> {
            ak_root_ca_certificate: &'a str,
            ak_root_ca_name: &'a str,
            ek_root_certificates: &'a [String],
            ek_trust_bundle: bool,
        }

        Spec {
            ak_root_ca_certificate: self.root_ca_certificate(),
            ak_root_ca_name: self.root_ca_name(),
            ek_root_certificates: &self.ek_roots,
            ek_trust_bundle: self.ek_trust_bundle,
        }
    }

    fn create_spec(&self, _: &str) -> impl Serialize {
        self.replace_spec()
    }

    fn replace_spec(&self) -> impl Serialize {
        json!({
            "ek_root_certificates": self.ek_roots,
            "ek_trust_bundle": self.ek_trust_bundle,
        })
    }
}

impl Spec for Category {
    fn spec(&self, namespace: &str) -> impl Serialize {
        json!({
            "tpm_manager_ref": [above(self, namespace)],
            "tpm_allow_list": self.allow_list,
            "ak_sub_ca_name": self.sub_ca_name(),
            "ak_sub_ca_certificate": self.sub_ca_certificate(),
            "ak_template": template(self.attestation_key),
            "pcr_policy": pcr_policy(&self.pcr_policy),
            "client_cert": self.client_certificate,
            // Only returned at creation.
            "client_key": "",
        })
    }

    fn create_spec(&self, namespace: &str) -> impl Serialize {
        json!({
            "tpm_manager_ref": [above(self, namespace)],
            "tpm_allow_list": self.allow_list,
            "ak_template": template(self.attestation_key),
            "pcr_policy": pcr_policy(&self.pcr_policy),
        })
    }

    fn replace_spec(&self) -> impl Serialize {
        json!({
            "tpm_allow_list": self.allow_list,
            "pcr_policy": pcr_policy(&self.pcr_policy),
        })
    }
}

/// Returns `null` for the default template.
fn template(template: AttestationKeyTemplate) -> Value {
    if template == AttestationKeyTemplate::default() {
        return Value::Null;
    }
    let scheme_hash = template.scheme_hash.and_then(HashAlgorithm::from_id);
    json!({
        "attributes": template.attributes.map(|bits| format!("{bits:#010x}")),
        "scheme_hash": scheme_hash.map(HashAlgorithm::name),
    })
}

fn pcr_policy(policy: &PcrPolicy) -> Value {
    match policy {
        PcrPolicy::Any => json!({ "any": {} }),
        PcrPolicy::Expected(registers) => {
            let registers: Vec<Value> = registers
                .iter()
                .map(|register| {
                    json!({
                        "bank": register.bank,
                        "index": register.index,
                        "values": register.values,
                    })
                })
                .collect();
            json!({ "expected": registers })
        }
        PcrPolicy::Learn => json!({ "learn": {} }),
    }
}

impl Spec for ApiKey {
    fn spec(&self, namespace: &str) -> impl Serialize {
        json!({
            "category_ref": [above(self, namespace)],
            "need_mtls": self.need_mtls,
            "is_disabled": self.is_disabled,
            "revoke_reason": self.revoke_reason,
            "revoked_timestamp": self.revoked_at.map(moment),
        })
    }

    fn create_spec(&self, namespace: &str) -> impl Serialize {
        json!({
            "category_ref": [above(self, namespace)],
            "need_mtls": self.need_mtls,
        })
    }

    fn replace_spec(&self) -> impl Serialize {
        json!({
            "is_disabled": self.is_disabled,
            "revoke_reason": self.revoke_reason,
            "revoked_timestamp": self.revoked_at.map(moment),
        })
    }
}

/// Returns the `ObjectRefType` of an object's parent.
fn above<K: Kind>(spec: &K, namespace: &str) -> Value {
    let (kind, name) = spec.refers_to().unzip();
    json!({
        "kind": kind,
        "name": name,
        "namespace": namespace,
        "tenant": TENANT,
        "uid": "",
    })
}

fn reference(reference: &Reference) -> Value {
    json!({
        "kind": reference.kind,
        "name": reference.name,
        "namespace": reference.namespace,
        "tenant": TENANT,
        "uid": reference.uid,
    })
}

/// What a client requests about an object besides the object itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResponseFormat {
    BrokenReferences,
    Default,
    ForCreate,
    ForReplace,
    ReferringObjects,
}

impl ResponseFormat {
    /// Returns `None` for a format that is not in the contract.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "GET_RSP_FORMAT_BROKEN_REFERENCES" => Some(Self::BrokenReferences),
            // There is no status to report.
            "" | "GET_RSP_FORMAT_DEFAULT" | "GET_RSP_FORMAT_READ" | "GET_RSP_FORMAT_STATUS" => {
                Some(Self::Default)
            }
            "GET_RSP_FORMAT_FOR_CREATE" => Some(Self::ForCreate),
            "GET_RSP_FORMAT_FOR_REPLACE" => Some(Self::ForReplace),
            "GET_RSP_FORMAT_REFERRING_OBJECTS" => Some(Self::ReferringObjects),
            _ => None,
        }
    }
}

/// The data for a [`ResponseFormat`].
#[derive(Clone, Debug, Default)]
pub(super) struct Related {
    pub(super) disabled_referred: Option<Reference>,
    pub(super) referring: Vec<Reference>,
}

pub(super) fn preauth(verdict: &PreauthVerdict) -> Response {
    let status = match verdict {
        PreauthVerdict::Granted => "PREAUTH_RSP_SUCCESS",
        PreauthVerdict::InvalidApiKey(_) => "PREAUTH_RSP_INVALID_API_KEY",
        PreauthVerdict::InvalidDevice(_) => "PREAUTH_RSP_INVALID_DEVICE_INFO",
    };
    // Always present, as clients would take an absent member for success, the default.
    ok(&json!({ "status": status }))
}

pub(super) fn provisioned(provisioned: &Provisioned) -> Response {
    ok(&json!({
        "encrypted_ak_cert": BASE64.encode(&provisioned.encrypted_certificate),
        "credential_bundle": BASE64.encode(&provisioned.credential),
        "nonce": BASE64.encode(&provisioned.nonce),
        "ak_cert_chain": provisioned.chain,
        "activation_ticket": provisioned.activation_ticket,
    }))
}

pub(super) fn nonce(issued: &IssuedNonce) -> Response {
    ok(&json!({
        "nonce": BASE64.encode(&issued.nonce),
        "expires_at": moment(issued.expires_at),
    }))
}

/// Returns a report, accepted or not.
pub(super) fn attested(report: &DeviceReport) -> Response {
    let checks: Vec<Value> = report
        .rows()
        .map(|row| json!({ "name": row.name, "outcome": row.outcome.name(), "detail": row.detail }))
        .collect();
    let device = report.device.as_ref().map(|device| {
        json!({
            "namespace": device.namespace,
            "manager": device.manager,
            "vendor": device.vendor,
            "serial": device.serial,
        })
    });
    ok(&json!({
        "accepted": report.accepted(),
        "checks": checks,
        "ak_name": report.ak_name.to_string(),
        "device": device,
    }))
}

pub(super) fn created<K: Kind + Spec>(object: &Object<K>) -> Response {
    ok(&Created::of(object))
}

pub(super) fn issued_category(issued: &IssuedCategory) -> Response {
    let mut body = json!(Created::of(&issued.object));
    if let Some(key) = body.pointer_mut("/spec/client_key") {
        *key = issued.client_key.as_str().into();
    }
    ok(&body)
}

pub(super) fn issued_api_key(issued: &IssuedApiKey) -> Response {
    let mut body = json!(Created::of(&issued.object));
    if let Some(members) = body.as_object_mut() {
        members.insert("api_key".to_owned(), issued.text.as_str().into());
    }
    ok(&body)
}

/// A created object.
#[derive(Serialize)]
struct Created<'a, S> {
    metadata: ObjectMeta<'a>,
    spec: S,
    system_metadata: SystemObjectMeta<'a>,
}

impl<'a> Created<'a, ()> {
    fn of<K: Kind + Spec>(object: &'a Object<K>) -> Created<'a, impl Serialize> {
        Created {
            metadata: ObjectMeta::of(&object.metadata),
            spec: object.spec.spec(&object.metadata.namespace),
            system_metadata: SystemObjectMeta::of(&object.system),
        }
    }
}

/// Returns the response to a replacement and to a deletion.
pub(super) fn empty() -> Response {
    ok(&json!({}))
}

pub(super) fn object<K: Kind + Spec>(
    object: &Object<K>,
    format: ResponseFormat,
    related: &Related,
) -> Response {
    #[derive(Serialize)]
    struct GetResponse<'a, C, R, S> {
        create_form: Option<Form<'a, C>>,
        // Objects that others refer to are never deleted.
        deleted_referred_objects: [(); 0],
        disabled_referred_objects: Vec<Value>,
        metadata: ObjectMeta<'a>,
        referring_objects: Vec<Value>,
        replace_form: Option<Form<'a, R>>,
        spec: S,
        status: [(); 0],
        system_metadata: SystemObjectMeta<'a>,
    }

    #[derive(Serialize)]
    struct Form<'a, S> {
        metadata: ObjectMeta<'a>,
        spec: S,
    }

    let (data, spec) = (&object.metadata, &object.spec);
    let namespace = &data.namespace;
    let metadata = || ObjectMeta::of(data);
    ok(&GetResponse {
        create_form: (format == ResponseFormat::ForCreate).then(|| Form {
            metadata: metadata(),
            spec: spec.create_spec(namespace),
        }),
        deleted_referred_objects: [],
        disabled_referred_objects: related.disabled_referred.iter().map(reference).collect(),
        metadata: metadata(),
        referring_objects: related.referring.iter().map(reference).collect(),
        replace_form: (format == ResponseFormat::ForReplace).then(|| Form {
            metadata: metadata(),
            spec: spec.replace_spec(),
        }),
        spec: spec.spec(namespace),
        status: [],
        system_metadata: SystemObjectMeta::of(&object.system),
    })
}

/// Returns a list of summaries or, if `whole`, of complete objects.
pub(super) fn list<K: Kind + Spec>(objects: &[Object<K>], whole: bool) -> Response {
    #[derive(Serialize)]
    struct Item<'a, S> {
        annotations: &'a BTreeMap<String, String>,
        description: &'a str,
        disabled: bool,
        get_spec: Option<S>,
        labels: &'a BTreeMap<String, String>,
        metadata: Option<ObjectMeta<'a>>,
        name: &'a str,
        namespace: &'a str,
        owner_view: (),
        status_set: [(); 0],
        system_metadata: Option<SystemObjectMeta<'a>>,
        tenant: &'static str,
        uid: &'a str,
    }

    #[derive(Serialize)]
    struct List<I> {
        errors: [(); 0],
        items: Vec<I>,
    }

    let items = objects.iter().map(|object| {
        let (data, spec) = (&object.metadata, &object.spec);
        Item {
            annotations: &data.annotations,
            description: &data.description,
            disabled: data.disable,
            get_spec: whole.then(|| spec.spec(&data.namespace)),
            labels: &data.labels,
            metadata: whole.then(|| ObjectMeta::of(data)),
            name: &data.name,
            namespace: &data.namespace,
            owner_view: (),
            status_set: [],
            system_metadata: whole.then(|| SystemObjectMeta::of(&object.system)),
            tenant: TENANT,
            uid: &object.system.uid,
        }
    });
    ok(&List {
        errors: [],
        items: items.collect(),
    })
}

/// F5's `ObjectMetaType`.
#[derive(Serialize)]
struct ObjectMeta<'a> {
    annotations: &'a BTreeMap<String, String>,
    description: &'a str,
    disable: bool,
    labels: &'a BTreeMap<String, String>,
    name: &'a str,
    namespace: &'a str,
}

impl<'a> ObjectMeta<'a> {
    fn of(metadata: &'a Metadata) -> Self {
        Self {
            annotations: &metadata.annotations,
            description: &metadata.description,
            disable: metadata.disable,
            labels: &metadata.labels,
            name: &metadata.name,
            namespace: &metadata.namespace,
        }
    }
}

/// `{}`
#[derive(Serialize)]
struct Empty {}

/// F5's `SystemObjectMetaType`.
#[derive(Serialize)]
struct SystemObjectMeta<'a> {
    creation_timestamp: String,
    creator_class: &'static str,
    creator_id: &'a str,
    deletion_timestamp: (),
    finalizers: [(); 0],
    initializers: (),
    labels: Empty,
    modification_timestamp: String,
    object_index: u32,
    owner_view: (),
    tenant: &'static str,
    uid: &'a str,
}

impl<'a> SystemObjectMeta<'a> {
    fn of(system: &'a SystemMetadata) -> Self {
        Self {
            creation_timestamp: moment(system.created_at),
            creator_class: TENANT,
            creator_id: &system.creator,
            deletion_timestamp: (),
            finalizers: [],
            initializers: (),
            labels: Empty {},
            modification_timestamp: moment(system.modified_at),
            object_index: 0,
            owner_view: (),
            tenant: TENANT,
            uid: &system.uid,
        }
    }
}

/// Formats a time as in RFC 3339.
fn moment(at: Timestamp) -> String {
    format!("{}Z", utc(at))
}

fn ok(body: &impl Serialize) -> Response {
    stack::json(StatusCode::OK, body)
}

/// Returns a CRL response (RFC 2585, section 4.2).
pub(super) fn revocation_list(der: Arc<Vec<u8>>) -> Response {
    let mut response = stack::with_body(StatusCode::OK, "application/pkix-crl", Vec::new());
    *response.body_mut() = Full::new(Bytes::from_owner(SharedDer(der)));
    response
}

/// Bytes that several responses share.
struct SharedDer(Arc<Vec<u8>>);

impl AsRef<[u8]> for SharedDer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
