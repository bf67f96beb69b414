//! OTP devices: added, changed, read and removed, each by one client.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::Worker;
use crate::{
    client::{Call, Fleet, Reply},
    installation::Installation,
    ledger::{Deed, Left, Promise, State},
};

const PASSWORD: &str = "correct horse";
const KEY: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

/// An instance, and a token for it.
pub(crate) struct Instance {
    name: String,
    token: String,
}

impl Instance {
    pub(crate) async fn add(installation: &Installation, fleet: &Fleet, name: &str) -> Self {
        installation.run(&["instance", "add", name, "--stdin"], PASSWORD);
        let instance = Self {
            name: name.to_owned(),
            token: String::new(),
        };
        let token = instance.login("forever".into()).insist(fleet, 0).await;
        Self {
            token: token.text("access_token"),
            ..instance
        }
    }

    /// Returns the request for a token with this lifetime in microseconds.
    pub(crate) fn login(&self, lifetime: Value) -> Call {
        let credentials = BASE64.encode(format!("{}:{PASSWORD}", self.name).as_bytes());
        Call::new("POST", format!("/instances/{}/private/token", self.name))
            .header("authorization", format!("Basic {credentials}"))
            .json(&json!({ "scope": "all", "duration": { "d_us": lifetime } }))
    }

    /// Returns the same instance with another token.
    pub(crate) fn with_token(self, token: String) -> Self {
        Self { token, ..self }
    }

    pub(crate) fn list(&self) -> Call {
        self.call("GET", "")
    }

    /// Returns the request that adds a device whose record is slightly longer than `length` bytes.
    pub(crate) fn add_large_device(&self, id: &str, length: usize) -> Call {
        self.call("POST", "").json(&json!({
            "otp_device_id": id,
            "otp_device_description": "till",
            "otp_key": "A".repeat(length),
            "otp_algorithm": 1,
        }))
    }

    /// Returns the request that adds a device.
    pub(crate) fn add_device(&self, id: &str, description: &str, counter: u32) -> Call {
        self.call("POST", "").json(&json!({
            "otp_device_id": id,
            "otp_device_description": description,
            "otp_key": KEY,
            "otp_algorithm": 1,
            "otp_ctr": counter,
        }))
    }

    fn call(&self, method: &'static str, rest: &str) -> Call {
        let path = format!("/instances/{}/private/otp-devices{rest}", self.name);
        Call::new(method, path).bearer(&self.token)
    }
}

/// A client with its own instance.
pub(super) struct Devices {
    pub(super) worker: Worker,
    instance: Instance,
}

impl Devices {
    pub(super) async fn prepare(worker: Worker, installation: &Installation) -> Self {
        Self {
            instance: Instance::add(installation, &worker.fleet, &worker.name).await,
            worker,
        }
    }

    /// Runs the complete life of a device.
    pub(super) async fn live(&mut self, number: u32) {
        let id = format!("till-{number}");
        let changes = self.worker.rng.u32(0..4);
        let looks = self.worker.rng.u8(..);
        let removes = self.worker.rng.bool();
        let mut counter = self.worker.rng.u32(..);

        let add = self.instance.add_device(&id, "0", counter);
        let becomes = is("0", counter);
        let mut left = self.change(&id, "otp_device.add", add, becomes).await;
        for change in 1..=changes {
            let Left::As(state @ State::Is(_)) = left else {
                return;
            };
            if looks >> change & 1 == 1 {
                let found = self.look(&id).await;
                let thing = self.thing(&id);
                self.worker.ledger.looked(&thing, &state, &found);
            }
            counter = counter.wrapping_add(1);
            let description = change.to_string();
            let changed = json!({ "otp_device_description": description, "otp_ctr": counter });
            let patch = self
                .instance
                .call("PATCH", &format!("/{id}"))
                .json(&changed);
            let becomes = is(&description, counter);
            left = self.change(&id, "otp_device.change", patch, becomes).await;
        }
        if let (Left::As(State::Is(_)), true) = (left, removes) {
            let delete = self.instance.call("DELETE", &format!("/{id}"));
            self.change(&id, "otp_device.remove", delete, State::Absent)
                .await;
        }
    }

    pub(super) async fn read_back(&mut self, found: &mut BTreeMap<String, State>) {
        let list = self.instance.list();
        let list = self.worker.insist(&list).await;
        let listed = list.json["otp_devices"].as_array().unwrap();
        for thing in self.worker.things() {
            found.insert(thing, State::Absent);
        }
        for device in listed {
            let id = device["otp_device_id"].as_str().unwrap();
            let state = self.look(id).await;
            found.insert(self.thing(id), state);
        }
    }

    async fn change(&mut self, id: &str, action: &'static str, call: Call, becomes: State) -> Left {
        let target = format!("instance/{}/device/{id}", self.worker.name);
        let deed =
            |reply: &Reply| Deed::new(action, &target, reply, promise(reply), becomes.clone());
        let thing = self.thing(id);
        self.worker.race(&thing, vec![call], deed).await.0
    }

    async fn look(&mut self, id: &str) -> State {
        let show = self.instance.call("GET", &format!("/{id}"));
        let shown = self.worker.insist(&show).await;
        match shown.status {
            404 => State::Absent,
            _ => {
                let counter = shown.json["otp_ctr"].as_u64();
                let counter = counter.and_then(|counter| counter.try_into().ok());
                is(&shown.text("device_description"), counter.unwrap())
            }
        }
    }

    fn thing(&self, id: &str) -> String {
        format!("{}/{id}", self.worker.name)
    }
}

fn is(description: &str, counter: u32) -> State {
    State::Is(format!("{description}, {counter}"))
}

/// Follows Taler's error codes (GANA's registry).
fn promise(reply: &Reply) -> Promise {
    let Reply::Answered(answer) = reply else {
        return Promise::Unknown;
    };
    match (answer.status, answer.json["code"].as_u64()) {
        (200..300, _) => Promise::Done,
        (400..500, _) => Promise::Refused,
        // A record that it depends on could not be read, or others kept changing it.
        (_, Some(53 | 55)) => Promise::NotDone,
        _ => Promise::Unknown,
    }
}
