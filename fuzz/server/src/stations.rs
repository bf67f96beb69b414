//! Bodies that devices send after their provision, to the whole server: activations and attestations.

use data_encoding::BASE64;
use keyproof_tpm::{Name, Structure, TpmtPublic};
use serde_json::{Value, json};

use crate::site::{Answer, Site, with_site};

const NAMESPACE: &str = "/api/tpm/namespaces/default";

/// A provision request of a TPM that is not available here.
const PROVISION: &str = include_str!("../corpus/f5_provision/rsa2048");

const AK_PUBLIC: &[u8] = include_bytes!("../vectors/rsa2048/ak.pub.tpm2b");

/// What the server gave the device of [`PROVISION`].
#[derive(Default)]
pub(crate) struct Given {
    ticket: String,
    nonce: String,
}

/// The data as an activation's body, in which `@ticket@` stands for the device's ticket. Nobody has opened its credential, so no
/// activation succeeds.
pub fn activate(data: &[u8]) {
    with_site(|site| {
        let body = replaced(data, "@ticket@", &site.given.ticket);
        let answer = post(site, "/api/tpm/tpm/activate", &body);
        refused(&answer);
    });
}

/// The data as an attestation's body, in which `@nonce@` stands for the device's nonce. The key was never activated and the nonce
/// was never quoted. These two checks always fail, and no report accepts.
pub fn attest(data: &[u8]) {
    with_site(|site| {
        let body = replaced(data, "@nonce@", &site.given.nonce);
        let answer = post(site, "/api/tpm/tpm/attest", &body);
        if answer.status != 200 {
            return refused(&answer);
        }
        assert_eq!(answer.json["accepted"], false, "{answer:?}");
        let outcome = |name: &str| {
            let mut checks = answer.json["checks"].as_array().into_iter().flatten();
            let check = checks.find(|check| check["name"] == name);
            check.map(|check| &check["outcome"]).expect("a report")
        };
        assert_ne!(outcome("activation"), "pass", "{answer:?}");
        assert_ne!(outcome("ak-certificate"), "pass", "{answer:?}");
        let is_quoted = outcome("nonce") == "pass" && outcome("extra-data") == "pass";
        assert!(!is_quoted, "{answer:?}");
    });
}

fn refused(answer: &Answer) {
    assert!((400..500).contains(&answer.status), "{answer:?}");
    assert!(
        answer.json["code"].is_u64() && answer.json["message"].is_string(),
        "{answer:?}"
    );
}

/// Adds what every new server starts with: a category that allows the device, its ticket, and a nonce.
pub(crate) fn prepare(site: &mut Site) {
    let mut request: Value = serde_json::from_str(PROVISION).expect("the seed is JSON");
    let allowed = json!({ "tpm_manager_ref": [{ "name": "manager" }], "tpm_allow_list": [request["ek_cert"]] });
    create(site, "tpm_managers", "manager", &json!({}));
    create(site, "tpm_categorys", "category", &allowed);
    let category = json!({ "category_ref": [{ "name": "category" }] });
    request["api_key"] = create(site, "tpm_api_keys", "station", &category)["api_key"].clone();
    let provisioned = post(
        site,
        "/api/tpm/tpm/provision",
        request.to_string().as_bytes(),
    );
    site.given.ticket = text(&provisioned, "activation_ticket");

    let ak = TpmtPublic::parse_sized(AK_PUBLIC).expect("a TPM made it");
    let name = Name::of(&ak).expect("its Name can be computed");
    let asked = json!({
        "namespace": "default",
        "category": "category",
        "ak_name": BASE64.encode(name.as_bytes()),
        "pcr_selection": "sha256:0,1,2,3,4,5,6,7,16",
    });
    let nonce = post(
        site,
        "/api/tpm/tpm/attest/nonce",
        asked.to_string().as_bytes(),
    );
    site.given.nonce = text(&nonce, "nonce");
}

fn create(site: &mut Site, kind: &str, name: &str, spec: &Value) -> Value {
    let body = json!({ "metadata": { "name": name, "namespace": "default" }, "spec": spec });
    let created = post(
        site,
        &format!("{NAMESPACE}/{kind}"),
        body.to_string().as_bytes(),
    );
    assert_eq!(created.status, 200, "{created:?}");
    created.json
}

fn text(answer: &Answer, member: &str) -> String {
    let text = answer.json[member].as_str();
    text.unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

fn post(site: &mut Site, path: &str, body: &[u8]) -> Answer {
    let fields = format!(
        "Authorization: APIToken {}\r\nContent-Type: application/json\r\n",
        site.f5
    );
    site.send(&format!("POST {path}"), &fields, body)
}

/// Returns the data with the placeholder replaced by a value of this server.
fn replaced(data: &[u8], mark: &str, by: &str) -> Vec<u8> {
    let at = data
        .windows(mark.len())
        .position(|window| window == mark.as_bytes());
    match at {
        Some(at) => [&data[..at], by.as_bytes(), &data[at + mark.len()..]].concat(),
        None => data.to_vec(),
    }
}
