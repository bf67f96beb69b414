//! OTP devices: added, changed, looked at, removed; each by one hand.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use serde_json::json;

use super::Worker;
use crate::{
    client::{Call, Reply},
    installation::Installation,
    ledger::{Deed, Left, Promise, State},
};

const PASSWORD: &str = "correct horse";
const KEY: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

/// A client with an instance of its own.
pub(super) struct Devices {
    pub(super) worker: Worker,
    token: String,
}

impl Devices {
    pub(super) async fn prepare(mut worker: Worker, installation: &Installation) -> Self {
        installation.run(&["instance", "add", &worker.name, "--stdin"], PASSWORD);
        let credentials = BASE64.encode(format!("{}:{PASSWORD}", worker.name).as_bytes());
        let login = Call::new("POST", format!("/instances/{}/private/token", worker.name))
            .header("authorization", format!("Basic {credentials}"))
            .json(&json!({ "scope": "all", "duration": { "d_us": "forever" } }));
        let token = worker.insist(&login).await.text("access_token");
        Self { worker, token }
    }

    /// The whole life of a device.
    pub(super) async fn live(&mut self, number: u32) {
        let id = format!("till-{number}");
        let changes = self.worker.rng.u32(0..4);
        let looks = self.worker.rng.u8(..);
        let removes = self.worker.rng.bool();
        let mut counter = self.worker.rng.u32(..);

        let added = json!({
            "otp_device_id": id,
            "otp_device_description": "0",
            "otp_key": KEY,
            "otp_algorithm": 1,
            "otp_ctr": counter,
        });
        let add = self.call("POST", "").json(&added);
        let becomes = is("0", counter);
        let mut left = self.change(&id, "otp_device.add", add, becomes).await;
        for change in 1..=changes {
            let Left::As(state) = left else { return };
            if looks >> change & 1 == 1 {
                let found = self.look(&id).await;
                let thing = self.thing(&id);
                self.worker.ledger.looked(&thing, &state, &found);
            }
            counter = counter.wrapping_add(1);
            let description = change.to_string();
            let changed = json!({ "otp_device_description": description, "otp_ctr": counter });
            let patch = self.call("PATCH", &format!("/{id}")).json(&changed);
            let becomes = is(&description, counter);
            left = self.change(&id, "otp_device.change", patch, becomes).await;
        }
        if let (Left::As(State::Is(_)), true) = (left, removes) {
            let delete = self.call("DELETE", &format!("/{id}"));
            self.change(&id, "otp_device.remove", delete, State::Absent)
                .await;
        }
    }

    pub(super) async fn read_back(&mut self, found: &mut BTreeMap<String, State>) {
        let list = self.call("GET", "");
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
        let show = self.call("GET", &format!("/{id}"));
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

    fn call(&self, method: &'static str, rest: &str) -> Call {
        let name = &self.worker.name;
        Call::new(
            method,
            format!("/instances/{name}/private/otp-devices{rest}"),
        )
        .bearer(&self.token)
    }

    fn thing(&self, id: &str) -> String {
        format!("{}/{id}", self.worker.name)
    }
}

fn is(description: &str, counter: u32) -> State {
    State::Is(format!("{description}, {counter}"))
}

/// What Taler's error codes say (GANA's registry).
fn promise(reply: &Reply) -> Promise {
    let Reply::Answered(answer) = reply else {
        return Promise::Unknown;
    };
    match (answer.status, answer.json["code"].as_u64()) {
        (200..300, _) => Promise::Done,
        (400..500, _) => Promise::Refused,
        // What it rests on could not be read, or others kept changing it.
        (_, Some(53 | 55)) => Promise::NotDone,
        _ => Promise::Unknown,
    }
}
