//! Second factors: several hands answer with the same code, from the phone or from the list of recovery codes.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use keyproof_otp::{Algorithm, Base32Profile, Digits, Secret, Totp};
use serde_json::json;

use super::Worker;
use crate::{
    client::{Call, Reply},
    installation::Installation,
    ledger::{Deed, Promise, State},
};

const PASSWORD: &str = "correct horse";
const HANDS: usize = 2;
const PERIOD: u64 = 30;

/// A user with a phone, and with several hands.
pub(super) struct User {
    pub(super) worker: Worker,
    /// As the audit trail calls the user.
    target: String,
    token: String,
    phone: Totp,
    /// The last step whose code was shown.
    step: u64,
    /// The recovery codes that are good unless used, by the names that they have in the ledger.
    codes: Vec<(String, String)>,
    lists: u32,
}

impl User {
    pub(super) async fn prepare(mut worker: Worker, installation: &Installation) -> Self {
        let name = worker.name.clone();
        installation.run(
            &["user", "add", &name, "--organisation", "org", "--stdin"],
            PASSWORD,
        );
        let login = authenticate(&json!({ "username": name, "password": PASSWORD }));
        let token = worker.insist(&login).await.text("auth_token");
        let enrol = Call::new("POST", "/api/v1/user/mfa")
            .bearer(&token)
            .json(&json!({ "type": { "id": 0 }, "password": PASSWORD }));
        let key = worker.insist(&enrol).await;
        let secret = Secret::from_base32(&key.text("secret_key"), Base32Profile::Strict).unwrap();
        let phone = Totp::new(&secret, Algorithm::Sha1, Digits::SIX);
        let step = now() / PERIOD;
        let code = phone.code(step * PERIOD).to_string();
        let activate = Call::new("PATCH", format!("/api/v1/user/mfa/{}", key.json["id"]))
            .bearer(&token)
            .json(&json!({ "status": { "id": 1 }, "code": code }));
        let activated = worker.insist(&activate).await;
        assert_eq!(activated.status, 204, "{activated:?}");
        let shown = Call::new("GET", format!("/api/v1/user/{name}")).bearer(&token);
        let shown = worker.insist(&shown).await.json;
        Self {
            worker,
            target: format!(
                "organisation/{}/user/{}",
                shown["organisation"]["id"], shown["id"]
            ),
            token,
            phone,
            step,
            codes: Vec::new(),
            lists: 0,
        }
    }

    /// A list of recovery codes, some of which are used, and the phone's code whenever it shows a new one.
    pub(super) async fn live(&mut self) {
        let used = self.worker.rng.usize(1..=4);
        if !self.make_codes().await {
            return;
        }
        for (thing, code) in self.codes.iter().take(used).cloned().collect::<Vec<_>>() {
            self.answer(&thing, &code).await;
            let step = now() / PERIOD;
            if step > self.step {
                self.step = step;
                let code = self.phone.code(step * PERIOD).to_string();
                let thing = format!("{}/step {step}", self.worker.name);
                self.answer(&thing, &code).await;
            }
        }
    }

    /// Every code that could still be good is tried once more.
    pub(super) async fn read_back(&mut self, found: &mut BTreeMap<String, State>) {
        let things = self.worker.things();
        for (thing, code) in self.codes.clone() {
            if !things.contains(&thing) {
                continue;
            }
            let challenge = self.challenge().await;
            let answer = authenticate(&json!({ "mfa_token": challenge, "code": code }));
            let state = match self.worker.insist(&answer).await.status {
                200 => State::Absent,
                401 => spent(),
                other => panic!("{other}"),
            };
            found.insert(thing, state);
        }
    }

    /// A new list; without an answer neither the old one nor the new one is known to be good.
    async fn make_codes(&mut self) -> bool {
        self.codes.clear();
        self.lists += 1;
        let thing = format!("{}/list {}", self.worker.name, self.lists);
        let make = Call::new("POST", "/api/v1/user/my/mfa/recovery_codes")
            .bearer(&self.token)
            .json(&json!({ "password": PASSWORD }));
        let target = self.target.clone();
        let deed = |reply: &Reply| {
            let made = State::Is("made".to_owned());
            Deed::new("recovery_codes.make", &target, reply, promise(reply), made)
        };
        let (_, replies) = self.worker.race(&thing, vec![make], deed).await;
        if let Some(Reply::Answered(answer)) = replies.first()
            && let Some(codes) = answer.json["codes"].as_array()
        {
            let name = |number| format!("{}/code {}.{number}", self.worker.name, self.lists);
            let codes = codes.iter().enumerate();
            let codes =
                codes.map(|(number, code)| (name(number), code.as_str().unwrap().to_owned()));
            self.codes = codes.collect();
        }
        !self.codes.is_empty()
    }

    /// All hands answer a challenge of their own with the same code.
    async fn answer(&mut self, thing: &str, code: &str) {
        let mut answers = Vec::new();
        for _ in 0..HANDS {
            let challenge = self.challenge().await;
            answers.push(authenticate(
                &json!({ "mfa_token": challenge, "code": code }),
            ));
        }
        let target = self.target.clone();
        let deed =
            |reply: &Reply| Deed::new("user.authenticate", &target, reply, promise(reply), spent());
        self.worker.race(thing, answers, deed).await;
    }

    async fn challenge(&mut self) -> String {
        let login = json!({ "username": self.worker.name, "password": PASSWORD });
        let challenged = self.worker.insist(&authenticate(&login)).await;
        challenged.text("mfa_token")
    }
}

fn authenticate(body: &serde_json::Value) -> Call {
    Call::new("POST", "/api/v1/authenticate").json(body)
}

fn spent() -> State {
    State::Is("spent".to_owned())
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap().as_secs()
}

/// What the statuses say, and the message where one status has two meanings.
fn promise(reply: &Reply) -> Promise {
    let Reply::Answered(answer) = reply else {
        return Promise::Unknown;
    };
    let message = answer.json["message"].as_str().unwrap_or_default();
    match answer.status {
        200..300 => Promise::Done,
        400..500 => Promise::Refused,
        503 if message.starts_with("Nothing was changed") => Promise::NotDone,
        _ => Promise::Unknown,
    }
}
