//! Certificates: several requests change one at the same entity tag, and prove possession with the same code.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use data_encoding::BASE64;
use keyproof_x509::{
    Certificate, Validity, VerificationCode, algorithms,
    prover::{AwsLcRsSigner, PrivateKey, VerificationLeaf},
};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair};
use serde_json::{Value, json};

use super::Worker;
use crate::{
    client::{Answer, Call, Reply},
    ledger::{Deed, Left, Promise, State},
};

const HANDS: usize = 3;
const API: &str = "2022-12-12";

/// A provisioning service, an operator's token for it, and one CA.
pub(crate) struct ProvisioningService {
    name: String,
    token: String,
    ca: Ca,
}

impl ProvisioningService {
    pub(crate) fn new(name: &str, token: &str) -> Self {
        Self {
            name: name.to_owned(),
            token: token.to_owned(),
            ca: Ca::new(),
        }
    }

    /// Creates a certificate, or changes it at an entity tag.
    pub(crate) fn put(&self, name: &str, etag: Option<&str>) -> Call {
        let certificate = BASE64.encode(&self.ca.der);
        let body = json!({ "properties": { "certificate": certificate } });
        let put = self.call("PUT", &format!("/{name}")).json(&body);
        etag.map_or(put.clone(), |etag| at(put, etag))
    }

    pub(crate) fn get(&self, name: &str) -> Call {
        self.call("GET", &format!("/{name}"))
    }

    pub(crate) fn generate_code(&self, name: &str, etag: &str) -> Call {
        let path = format!("/{name}/generateVerificationCode");
        at(self.call("POST", &path), etag)
    }

    pub(crate) fn verify(&self, name: &str, etag: &str, code: &str) -> Call {
        let leaf = json!({ "certificate": BASE64.encode(&self.ca.leaf(code)) });
        let path = format!("/{name}/verify");
        at(self.call("POST", &path).json(&leaf), etag)
    }

    fn delete(&self, name: &str, etag: &str) -> Call {
        at(self.call("DELETE", &format!("/{name}")), etag)
    }

    fn call(&self, method: &'static str, rest: &str) -> Call {
        let path = format!(
            "/subscriptions/sub/resourceGroups/group/providers/Microsoft.Devices\
             /provisioningServices/{}/certificates{rest}?api-version={API}",
            self.name
        );
        Call::new(method, path).bearer(&self.token)
    }
}

fn at(call: Call, etag: &str) -> Call {
    let value = match etag {
        "*" => etag.to_owned(),
        etag => format!("\"{etag}\""),
    };
    call.header("if-match", value)
}

/// A client with its own provisioning service.
pub(super) struct Certificates {
    pub(super) worker: Worker,
    service: ProvisioningService,
}

impl Certificates {
    pub(super) fn prepare(worker: Worker, token: &str) -> Self {
        Self {
            service: ProvisioningService::new(&worker.name, token),
            worker,
        }
    }

    /// Runs the complete life of a certificate.
    pub(super) async fn live(&mut self, number: u32) {
        let name = format!("c{number}");
        let updates = self.worker.rng.u32(0..3);
        let proves = self.worker.rng.bool();
        let removes = self.worker.rng.u8(0..4) > 0;
        let put = self.service.put(&name, None);
        let (mut left, _) = self.change(&name, "certificate.create", vec![put]).await;
        for _ in 0..updates {
            let Some(etag) = etag(&left) else { return };
            let puts = vec![self.service.put(&name, Some(etag)); HANDS];
            (left, _) = self.change(&name, "certificate.update", puts).await;
        }
        if proves {
            let Some(before) = etag(&left) else { return };
            let calls = vec![self.service.generate_code(&name, before)];
            let (coded, replies) = self.change(&name, "certificate.generate_code", calls).await;
            left = coded;
            let code = replies.iter().find_map(|reply| match reply {
                Reply::Answered(answer) => answer.json["properties"]["verificationCode"].as_str(),
                Reply::Broken => None,
            });
            if let (Some(etag), Some(code)) = (etag(&left), code) {
                let proofs = vec![self.service.verify(&name, etag, code); HANDS];
                (left, _) = self.change(&name, "certificate.verify", proofs).await;
            }
        }
        let Left::As(state) = &left else { return };
        let found = self.look(&name).await;
        self.worker.ledger.looked(&self.thing(&name), state, &found);
        if let (true, Some(etag)) = (removes, etag(&left)) {
            let deletes = vec![self.service.delete(&name, etag); HANDS];
            self.change(&name, "certificate.delete", deletes).await;
        }
    }

    pub(super) async fn read_back(&mut self, found: &mut BTreeMap<String, State>) {
        let list = self.service.call("GET", "");
        let list = self.worker.insist(&list).await;
        for thing in self.worker.things() {
            found.insert(thing, State::Absent);
        }
        for certificate in list.json["value"].as_array().unwrap() {
            let name = certificate["name"].as_str().unwrap();
            found.insert(self.thing(name), state(certificate));
        }
    }

    async fn change(
        &mut self,
        name: &str,
        action: &'static str,
        calls: Vec<Call>,
    ) -> (Left, Vec<Reply>) {
        let target = format!("certificate/sub/group/{}/{name}", self.worker.name);
        let removes = action == "certificate.delete";
        let deed = |reply: &Reply| {
            let becomes = match reply {
                _ if removes => State::Absent,
                Reply::Answered(answer) if answer.status == 200 => state(&answer.json),
                _ => State::Other,
            };
            Deed::new(action, &target, reply, promise(removes, reply), becomes)
        };
        let thing = self.thing(name);
        self.worker.race(&thing, calls, deed).await
    }

    async fn look(&mut self, name: &str) -> State {
        let get = self.service.get(name);
        match self.worker.insist(&get).await {
            Answer { status: 404, .. } => State::Absent,
            Answer { json, .. } => state(&json),
        }
    }

    fn thing(&self, name: &str) -> String {
        format!("{}/{name}", self.worker.name)
    }
}

/// Starts with the entity tag, which contains no spaces.
fn state(certificate: &Value) -> State {
    let etag = certificate["etag"].as_str().unwrap();
    let properties = &certificate["properties"];
    State::Is(format!(
        "{etag} {} {}",
        properties["thumbprint"], properties["isVerified"]
    ))
}

fn etag(left: &Left) -> Option<&str> {
    match left {
        Left::As(State::Is(state)) => state.split(' ').next(),
        _ => None,
    }
}

/// Follows the table at the head of `dialect/dps/errors.rs`.
fn promise(removes: bool, reply: &Reply) -> Promise {
    let Reply::Answered(answer) = reply else {
        return Promise::Unknown;
    };
    match (answer.status, answer.json["code"].as_u64()) {
        // It did not exist any more: another request was faster.
        (204, _) if removes => Promise::Refused,
        (200..300, _) => Promise::Done,
        (429, _) | (_, Some(503_002 | 503_003)) => Promise::NotDone,
        (400..500, _) => Promise::Refused,
        _ => Promise::Unknown,
    }
}

/// A CA with its key.
struct Ca {
    der: Vec<u8>,
    key: PrivateKey,
}

impl Ca {
    fn new() -> Self {
        let pair = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2099, 1, 1);
        Self {
            der: params.self_signed(&pair).unwrap().der().to_vec(),
            key: PrivateKey::from_pem_or_der(&pair.serialize_der()).unwrap(),
        }
    }

    fn leaf(&self, code: &str) -> Vec<u8> {
        let ca = Certificate::from_der(&self.der).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let day = Duration::from_secs(24 * 60 * 60);
        let leaf = VerificationLeaf {
            ca: &ca,
            code: &VerificationCode::parse(code).unwrap(),
            validity: Validity::between((now - day).as_secs(), (now + day).as_secs()),
            serial: [7; 16],
        };
        let signer = AwsLcRsSigner::new(&self.key, &ca).unwrap();
        leaf.sign(&signer, algorithms::ALL).unwrap()
    }
}
