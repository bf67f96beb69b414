//! Stations: several requests use one ticket of a device, and API keys are created, disabled and deleted.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Worker;
use crate::{
    client::{Call, Reply},
    device::{Device, Manufacturer, VENDOR},
    ledger::{Deed, Left, Promise, State},
};

const HANDS: usize = 2;
const NAMESPACE: &str = "/api/tpm/namespaces/default";
const API_KEYS: &str = "tpm_api_keys";

/// A client with its own manager, category and key.
pub(super) struct Stations {
    pub(super) worker: Worker,
    token: String,
    manufacturer: Manufacturer,
    api_key: String,
}

impl Stations {
    pub(super) async fn prepare(worker: Worker, token: &str) -> Self {
        let mut stations = Self {
            worker,
            token: token.to_owned(),
            manufacturer: Manufacturer::new(),
            api_key: String::new(),
        };
        let name = stations.worker.name.clone();
        let roots = json!({ "ek_root_certificates": [stations.manufacturer.root] });
        let manager = json!({ "tpm_manager_ref": [{ "name": name }] });
        for create in [
            stations.change("POST", "tpm_managers", &name, roots),
            stations.change("POST", "tpm_categorys", &name, manager),
        ] {
            let created = stations.worker.insist(&create).await;
            assert_eq!(created.status, 200, "{created:?}");
        }
        let create = stations.create_key(&name);
        let created = stations.worker.insist(&create).await;
        stations.api_key = created.text("api_key");
        stations
    }

    /// Provisions and activates a device, and runs the complete life of an API key.
    pub(super) async fn live(&mut self, number: u32) {
        self.activate(number).await;
        self.manage_key(number).await;
    }

    pub(super) async fn read_back(&mut self, found: &mut BTreeMap<String, State>) {
        let prefix = format!("{}/", self.worker.name);
        for thing in self.worker.things() {
            let name = thing.strip_prefix(&prefix).unwrap_or_default();
            // No request returns whether a device is active, but the trail has it.
            if name.starts_with(&self.worker.name) {
                let state = self.look(name).await;
                found.insert(thing, state);
            }
        }
    }

    async fn activate(&mut self, number: u32) {
        let again = self.worker.rng.bool();
        let serial = format!("SN{number}");
        let device = Device::new(&self.manufacturer, &serial);
        let provision = self.call(
            "POST",
            "/api/tpm/tpm/provision",
            &device.request(&self.api_key),
        );
        let provisioned = self.worker.insist(&provision).await;
        assert_eq!(provisioned.status, 200, "{provisioned:?}");
        let shown = device.activation(&provisioned.json);
        let calls = vec![self.call("POST", "/api/tpm/tpm/activate", &shown); HANDS];
        let (name, worker) = (self.worker.name.clone(), &mut self.worker);
        let (thing, target) = (
            format!("{name}/device{number}"),
            format!("tpm_device/default/{name}/{VENDOR}/{serial}"),
        );
        let active = State::Is("active".to_owned());
        let deed = |reply: &Reply| {
            let promise = promise(reply);
            Deed::new("tpm.activate", &target, reply, promise, active.clone())
        };
        let (left, _) = worker.race(&thing, calls.clone(), deed).await;
        if again && left == Left::As(active.clone()) {
            worker.race(&thing, calls, deed).await;
        }
    }

    async fn manage_key(&mut self, number: u32) {
        // The names of keys are unique across clients.
        let name = format!("{}-key{number}", self.worker.name);
        let create = self.create_key(&name);
        let enabled = State::Is("enabled".to_owned());
        let disabled = State::Is("disabled".to_owned());
        let (left, replies) = self
            .key(&name, "tpm_api_key.create", create, &enabled)
            .await;
        let [Reply::Answered(created)] = &*replies else {
            return;
        };
        if left != Left::As(enabled.clone()) {
            return;
        }
        let api_key = created.text("api_key");
        self.is_taken_for(&name, &api_key, &enabled).await;
        let path = format!("{API_KEYS}/{name}");
        let disable = self.change("PUT", &path, &name, json!({ "is_disabled": true }));
        let (left, _) = self
            .key(&name, "tpm_api_key.replace", disable, &disabled)
            .await;
        if left != Left::As(disabled.clone()) {
            return;
        }
        self.is_taken_for(&name, &api_key, &disabled).await;
        let path = format!("{NAMESPACE}/{path}");
        let delete = Call::new("DELETE", path).header("authorization", self.authorization());
        self.key(&name, "tpm_api_key.delete", delete, &State::Absent)
            .await;
    }

    /// Checks the answer to stations about a key, at any node.
    async fn is_taken_for(&mut self, name: &str, api_key: &str, expected: &State) {
        let device = json!({ "name": "device-1", "serial": "1", "vendor": "v", "version": "1" });
        let body = json!({ "api_key": api_key, "device": device });
        let preauth = self.call("POST", "/api/tpm/tpm/preauth", &body);
        let answer = self.worker.insist(&preauth).await;
        let found = match &*answer.text("status") {
            "PREAUTH_RSP_SUCCESS" => "enabled",
            "PREAUTH_RSP_INVALID_API_KEY" => "disabled",
            other => panic!("{other}"),
        };
        let thing = self.thing(name);
        let found = State::Is(found.to_owned());
        self.worker.ledger.looked(&thing, expected, &found);
    }

    async fn look(&mut self, name: &str) -> State {
        let path = format!("{NAMESPACE}/{API_KEYS}/{name}");
        let get = Call::new("GET", path).header("authorization", self.authorization());
        let shown = self.worker.insist(&get).await;
        match (shown.status, &shown.json["spec"]["is_disabled"]) {
            (404, _) => State::Absent,
            (200, Value::Bool(true)) => State::Is("disabled".to_owned()),
            (200, _) => State::Is("enabled".to_owned()),
            _ => panic!("{shown:?}"),
        }
    }

    async fn key(
        &mut self,
        name: &str,
        action: &'static str,
        call: Call,
        becomes: &State,
    ) -> (Left, Vec<Reply>) {
        let target = format!("tpm_api_key/default/{name}");
        let deed =
            |reply: &Reply| Deed::new(action, &target, reply, promise(reply), becomes.clone());
        let thing = self.thing(name);
        self.worker.race(&thing, vec![call], deed).await
    }

    fn create_key(&self, name: &str) -> Call {
        let category = json!({ "category_ref": [{ "name": self.worker.name }] });
        self.change("POST", API_KEYS, name, category)
    }

    fn change(&self, method: &'static str, path: &str, name: &str, spec: Value) -> Call {
        let metadata = json!({ "name": name, "namespace": "default" });
        let body = json!({ "metadata": metadata, "spec": spec });
        self.call(method, &format!("{NAMESPACE}/{path}"), &body)
    }

    fn call(&self, method: &'static str, path: &str, body: &Value) -> Call {
        Call::new(method, path)
            .header("authorization", self.authorization())
            .json(body)
    }

    fn authorization(&self) -> String {
        format!("APIToken {}", self.token)
    }

    fn thing(&self, name: &str) -> String {
        format!("{}/{name}", self.worker.name)
    }
}

/// Follows the table in `dialect/f5/errors.rs`.
fn promise(reply: &Reply) -> Promise {
    let Reply::Answered(answer) = reply else {
        return Promise::Unknown;
    };
    match answer.status {
        200..300 => Promise::Done,
        400..500 => Promise::Refused,
        // UNAVAILABLE: nothing was changed.
        503 => Promise::NotDone,
        _ => Promise::Unknown,
    }
}
