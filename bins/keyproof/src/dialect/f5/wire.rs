//! Answers.

use ::http::StatusCode;
use data_encoding::BASE64;
use keyproof_service::provisioning::{
    ApiKey, Category, IssuedApiKey, IssuedCategory, Kind, Manager, Metadata, Object,
    PreauthVerdict, Provisioned, SystemMetadata,
};
use keyproof_store::Timestamp;
use keyproof_tpm::HashAlgorithm;
use serde_json::{Value, json};

use crate::http::{self, Response};

/// The one tenant of a server of one's own.
const TENANT: &str = "keyproof";

/// A kind of object that can be shown.
pub(super) trait Spec {
    /// As `GetSpecType` has it.
    fn spec(&self, namespace: &str) -> Value;
}

impl Spec for Manager {
    fn spec(&self, _: &str) -> Value {
        json!({
            "ak_root_ca_name": self.root_ca_name(),
            "ak_root_ca_certificate": self.root_ca_certificate(),
            "ek_root_certificates": self.ek_roots,
        })
    }
}

impl Spec for Category {
    fn spec(&self, namespace: &str) -> Value {
        let template = self.attestation_key;
        let attributes = template.attributes.map(|bits| format!("{bits:#010x}"));
        let scheme_hash = template.scheme_hash.and_then(HashAlgorithm::from_id);
        let ak_template = (template != Default::default()).then(|| {
            json!({
                "attributes": attributes,
                "scheme_hash": scheme_hash.map(HashAlgorithm::name),
            })
        });
        json!({
            "tpm_manager_ref": [reference::<Manager>(namespace, &self.manager)],
            "tpm_allow_list": self.allow_list,
            "ak_sub_ca_name": self.sub_ca_name(),
            "ak_sub_ca_certificate": self.sub_ca_certificate(),
            "ak_template": ak_template,
            "client_cert": self.client_certificate,
            // Shown once, at creation.
            "client_key": "",
        })
    }
}

impl Spec for ApiKey {
    fn spec(&self, namespace: &str) -> Value {
        json!({
            "category_ref": [reference::<Category>(namespace, &self.category)],
            "need_mtls": self.need_mtls,
            "is_disabled": self.is_disabled,
            "revoke_reason": self.revoke_reason,
            "revoked_timestamp": self.revoked_at.map(moment),
        })
    }
}

fn reference<K: Kind>(namespace: &str, name: &str) -> Value {
    json!({
        "kind": K::NAME,
        "name": name,
        "namespace": namespace,
        "tenant": TENANT,
        "uid": "",
    })
}

pub(super) fn preauth(verdict: &PreauthVerdict) -> Response {
    let status = match verdict {
        PreauthVerdict::Granted => "PREAUTH_RSP_SUCCESS",
        PreauthVerdict::InvalidApiKey(_) => "PREAUTH_RSP_INVALID_API_KEY",
        PreauthVerdict::InvalidDevice(_) => "PREAUTH_RSP_INVALID_DEVICE_INFO",
    };
    // Always written: without it clients read success, which is the type's default.
    ok(&json!({ "status": status }))
}

pub(super) fn provisioned(provisioned: &Provisioned) -> Response {
    ok(&json!({
        "encrypted_ak_cert": BASE64.encode(&provisioned.encrypted_certificate),
        "credential_bundle": BASE64.encode(&provisioned.credential),
        "nonce": BASE64.encode(&provisioned.nonce),
        "ak_cert_chain": provisioned.chain,
    }))
}

pub(super) fn created<K: Kind + Spec>(object: &Object<K>) -> Response {
    ok(&created_body(object))
}

pub(super) fn issued_category(issued: &IssuedCategory) -> Response {
    let mut body = created_body(&issued.object);
    if let Some(key) = body.pointer_mut("/spec/client_key") {
        *key = issued.client_key.as_str().into();
    }
    ok(&body)
}

pub(super) fn issued_api_key(issued: &IssuedApiKey) -> Response {
    let mut body = created_body(&issued.object);
    if let Some(members) = body.as_object_mut() {
        members.insert("api_key".to_owned(), issued.text.as_str().into());
    }
    ok(&body)
}

fn created_body<K: Kind + Spec>(object: &Object<K>) -> Value {
    json!({
        "metadata": metadata(&object.metadata),
        "spec": object.spec.spec(&object.metadata.namespace),
        "system_metadata": system_metadata(&object.system),
    })
}

pub(super) fn replaced() -> Response {
    ok(&json!({}))
}

pub(super) fn object<K: Kind + Spec>(object: &Object<K>) -> Response {
    ok(&json!({
        "create_form": null,
        "replace_form": null,
        "metadata": metadata(&object.metadata),
        "spec": object.spec.spec(&object.metadata.namespace),
        "system_metadata": system_metadata(&object.system),
        "status": [],
        "referring_objects": [],
        "deleted_referred_objects": [],
        "disabled_referred_objects": [],
    }))
}

/// A list of summaries, or of whole objects.
pub(super) fn list<K: Kind + Spec>(objects: &[Object<K>], whole: bool) -> Response {
    let item = |object: &Object<K>| {
        let Object {
            metadata: data,
            system,
            spec,
        } = object;
        json!({
            "name": data.name,
            "namespace": data.namespace,
            "tenant": TENANT,
            "uid": system.uid,
            "description": data.description,
            "disabled": data.disable,
            "labels": data.labels,
            "annotations": data.annotations,
            "metadata": whole.then(|| metadata(data)),
            "get_spec": whole.then(|| spec.spec(&data.namespace)),
            "status_set": [],
            "system_metadata": whole.then(|| system_metadata(system)),
            "owner_view": null,
        })
    };
    let items: Vec<Value> = objects.iter().map(item).collect();
    ok(&json!({ "items": items, "errors": [] }))
}

fn metadata(metadata: &Metadata) -> Value {
    json!({
        "name": metadata.name,
        "namespace": metadata.namespace,
        "labels": metadata.labels,
        "annotations": metadata.annotations,
        "description": metadata.description,
        "disable": metadata.disable,
    })
}

fn system_metadata(system: &SystemMetadata) -> Value {
    json!({
        "uid": system.uid,
        "tenant": TENANT,
        "creation_timestamp": moment(system.created_at),
        "modification_timestamp": moment(system.modified_at),
        "deletion_timestamp": null,
        "creator_class": TENANT,
        "creator_id": system.creator,
        "finalizers": [],
        "initializers": null,
        "labels": {},
        "object_index": 0,
        "owner_view": null,
    })
}

/// RFC 3339.
fn moment(at: Timestamp) -> String {
    let millis = i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis)
        .unwrap_or(jiff::Timestamp::MAX)
        .to_string()
}

fn ok(body: &Value) -> Response {
    http::json(StatusCode::OK, body)
}
