//! Stations at three nodes: an API key that is disabled at one is rejected at all, and a TPM has one identity.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
};

use serde_json::{Value, json};

use super::{NODES, count};
use crate::{
    client::{Answer, Call},
    cluster::Cluster,
    device::{Device, Manufacturer},
    installation::Installation,
};

const NAMESPACE: &str = "/api/tpm/namespaces/default";
const CATEGORIES: &str = "tpm_categorys";

/// Three nodes, and an operator's token.
struct Plant {
    cluster: Cluster,
    token: String,
    manufacturer: Manufacturer,
}

impl Plant {
    /// Starts with a manager that trusts a manufacturer, and a category.
    async fn start() -> Self {
        let cluster = Cluster::start(Installation::on_postgres(), NODES);
        let plant = Self {
            token: cluster.installation.token("tpm"),
            cluster,
            manufacturer: Manufacturer::new(),
        };
        let roots = json!({ "ek_root_certificates": [plant.manufacturer.root] });
        plant.create(0, "tpm_managers", "manager", roots).await;
        let manager = json!({ "tpm_manager_ref": [{ "name": "manager" }] });
        plant.create(1, CATEGORIES, "category", manager).await;
        plant
    }

    /// Returns the text of a new API key.
    async fn api_key(&self, name: &str) -> String {
        let category = json!({ "category_ref": [{ "name": "category" }] });
        let created = self.create(2, "tpm_api_keys", name, category).await;
        created.text("api_key")
    }

    async fn create(&self, node: usize, kind: &str, name: &str, spec: Value) -> Answer {
        let path = format!("{NAMESPACE}/{kind}");
        let created = self
            .cluster
            .send(node, &self.change("POST", &path, name, spec))
            .await;
        assert_eq!(created.status, 200, "{created:?}");
        created
    }

    fn change(&self, method: &'static str, path: &str, name: &str, spec: Value) -> Call {
        let metadata = json!({ "name": name, "namespace": "default" });
        self.call(method, path, &json!({ "metadata": metadata, "spec": spec }))
    }

    fn preauth(&self, api_key: &str) -> Call {
        let device = json!({ "name": "device-1", "serial": "1", "vendor": "v", "version": "1" });
        let body = json!({ "api_key": api_key, "device": device });
        self.call("POST", "/api/tpm/tpm/preauth", &body)
    }

    fn provision(&self, device: &Device, api_key: &str) -> Call {
        self.call("POST", "/api/tpm/tpm/provision", &device.request(api_key))
    }

    /// Provisions a device at one of the nodes, and returns its activation request.
    async fn activation(&self, node: usize, device: &Device, api_key: &str) -> Call {
        let provision = self.provision(device, api_key);
        let answer = self.cluster.send(node, &provision).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let shown = device.activation(&answer.json);
        self.call("POST", "/api/tpm/tpm/activate", &shown)
    }

    fn call(&self, method: &'static str, path: &str, body: &Value) -> Call {
        Call::new(method, path)
            .header("authorization", format!("APIToken {}", self.token))
            .json(body)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_one_node_disables_is_refused_by_all_from_the_next_request_on() {
    let plant = Plant::start().await;
    for round in 0..10 {
        let name = format!("station-{round}");
        let api_key = plant.api_key(&name).await;
        let (is_disabled, preauth) = (AtomicBool::new(false), plant.preauth(&api_key));
        // A station at each node repeats its request.
        let station = async |node: usize| {
            loop {
                let is_after = is_disabled.load(Ordering::SeqCst);
                let answer = plant.cluster.send(node, &preauth).await;
                let status = answer.text("status");
                let is_granted = status == "PREAUTH_RSP_SUCCESS";
                assert!(is_granted || status == "PREAUTH_RSP_INVALID_API_KEY");
                assert!(!(is_after && is_granted), "node {node}: {answer:?}");
                if is_after {
                    break;
                }
            }
        };
        let disable = async {
            let path = format!("{NAMESPACE}/tpm_api_keys/{name}");
            let spec = json!({ "is_disabled": true });
            let disable = plant.change("PUT", &path, &name, spec);
            let disabled = plant.cluster.send(round, &disable).await;
            assert_eq!(disabled.status, 200, "{disabled:?}");
            is_disabled.store(true, Ordering::SeqCst);
        };
        tokio::join!(station(0), station(1), station(2), disable);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stations_that_provision_one_tpm_at_once_get_one_identity() {
    let plant = Plant::start().await;
    let api_key = plant.api_key("station").await;
    for round in 0..3 {
        let device = Device::new(&plant.manufacturer, &format!("SN{round:04}"));
        let calls = vec![plant.provision(&device, &api_key); 2 * NODES];
        let answers = plant.cluster.race(calls).await;
        assert_eq!(count(&answers, 200, 200), Some(2 * NODES), "{answers:?}");
        let opened = answers.iter();
        let opened = opened.map(|answer| device.opens(&answer.json, &device.ak_public()).unwrap());
        assert_eq!(opened.collect::<BTreeSet<_>>().len(), 1, "one certificate");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_those_that_race_for_one_identity_one_gets_it() {
    let plant = Plant::start().await;
    let api_key = plant.api_key("station").await;
    for round in 0..3 {
        let serial = |name: &str| format!("SN{name}{round}");
        // Three TPMs that claim to be the same device.
        let same = || Device::new(&plant.manufacturer, &serial("A"));
        let mut calls = Vec::new();
        for (node, device) in [same(), same(), same()].iter().enumerate() {
            calls.push(plant.activation(node, device, &api_key).await);
        }
        let answers = plant.cluster.race(calls).await;
        assert_eq!(count(&answers, 204, 409), Some(1), "{answers:?}");
        // One TPM that claims to be three devices.
        let mut device = Device::new(&plant.manufacturer, &serial("B"));
        let mut calls = Vec::new();
        for (node, name) in ["B", "C", "D"].into_iter().enumerate() {
            device = device.with_serial(&serial(name));
            calls.push(plant.activation(node, &device, &api_key).await);
        }
        let answers = plant.cluster.race(calls).await;
        assert_eq!(count(&answers, 204, 409), Some(1), "{answers:?}");
        // One ticket that is used at each node.
        let device = Device::new(&plant.manufacturer, &serial("E"));
        let call = plant.activation(round, &device, &api_key).await;
        let answers = plant.cluster.race(vec![call; NODES]).await;
        assert_eq!(count(&answers, 204, 409), Some(1), "{answers:?}");
    }
}
