//! Second factors: several requests answer with the same code, from the phone or from the list of recovery codes.

use std::{collections::BTreeMap, time::Duration};

use keyproof_otp::{Algorithm, Base32Profile, Digits, Secret, Totp};
use serde_json::{Value, json};

use super::Worker;
use crate::{
    client::{Call, Fleet, Reply},
    clock::{Clock, Reading},
    installation::Installation,
    ledger::{Deed, Promise, State},
};

pub(crate) const PASSWORD: &str = "correct horse";
const HANDS: usize = 2;
const PERIOD: u64 = 30;
/// The seconds after the activation in which the tests create a list of recovery codes without a code: less than the allowed five
/// minutes.
const WITHOUT_CODE: u64 = 240;

/// A user with a phone.
pub(crate) struct User {
    name: String,
    /// The user's name in the audit trail.
    target: String,
    token: String,
    phone: Totp,
    /// The time of the key's activation, in seconds since the Unix epoch.
    activated_at: u64,
}

impl User {
    /// Adds a user whose phone shows an unused code from the next step on.
    pub(crate) async fn add(
        installation: &Installation,
        fleet: &Fleet,
        clock: &Clock,
        name: &str,
    ) -> Self {
        let add = ["user", "add", name, "--organisation", "org", "--stdin"];
        installation.run(&add, PASSWORD);
        let token = login(name, PASSWORD).insist(fleet, 0).await;
        let token = token.text("auth_token");
        let enrol = Call::new("POST", "/api/v1/user/mfa")
            .bearer(&token)
            .json(&json!({ "type": { "id": 0 }, "password": PASSWORD }));
        let key = enrol.insist(fleet, 0).await;
        let secret = Secret::from_base32(&key.text("secret_key"), Base32Profile::Strict).unwrap();
        let phone = Totp::new(&secret, Algorithm::Sha1, Digits::SIX);
        let activated_at = clock.read().await.seconds();
        let code = phone.code(activated_at).to_string();
        let activate = Call::new("PATCH", format!("/api/v1/user/mfa/{}", key.json["id"]))
            .bearer(&token)
            .json(&json!({ "status": { "id": 1 }, "code": code }));
        let activated = activate.insist(fleet, 0).await;
        assert_eq!(activated.status, 204, "{activated:?}");
        let show = Call::new("GET", format!("/api/v1/user/{name}")).bearer(&token);
        let shown = show.insist(fleet, 0).await.json;
        let (organisation, id) = (&shown["organisation"]["id"], &shown["id"]);
        Self {
            name: name.to_owned(),
            target: format!("organisation/{organisation}/user/{id}"),
            token,
            phone,
            activated_at,
        }
    }

    /// Returns the phone's code at a time, in seconds since the Unix epoch.
    pub(crate) fn code(&self, at: u64) -> String {
        self.phone.code(at).to_string()
    }

    /// Returns a code that was not shown before and is accepted already.
    pub(crate) fn next_code(&self, now: &Reading) -> String {
        self.code(now.seconds() + PERIOD)
    }

    /// Returns a code that the phone shows at no time near now.
    pub(crate) fn wrong_code(&self, now: &Reading) -> String {
        let near: Vec<_> = (0..9)
            .map(|step| self.code(now.seconds() + PERIOD * step - PERIOD * 4))
            .collect();
        let mut codes = (0..).map(|code| format!("{code:06}"));
        codes.find(|code| !near.contains(code)).unwrap()
    }

    /// Returns the request for step one.
    pub(crate) fn login(&self, password: &str) -> Call {
        login(&self.name, password)
    }

    /// Returns the request for step two.
    pub(crate) fn answer(&self, challenge: &str, code: &str) -> Call {
        authenticate(&json!({ "mfa_token": challenge, "code": code }))
    }
}

fn login(name: &str, password: &str) -> Call {
    authenticate(&json!({ "username": name, "password": password }))
}

fn authenticate(body: &Value) -> Call {
    Call::new("POST", "/api/v1/authenticate").json(body)
}

/// A user who sends several requests at once.
pub(super) struct Codes {
    pub(super) worker: Worker,
    user: User,
    /// The latest step whose code was used.
    step: u64,
    /// The recovery codes that are valid unless used, by their names in the ledger.
    codes: Vec<(String, String)>,
    lists: u32,
    /// The recovery code that will authorise the next list.
    spare: Option<String>,
}

impl Codes {
    pub(super) async fn prepare(worker: Worker, installation: &Installation) -> Self {
        let Worker {
            fleet, clock, name, ..
        } = &worker;
        let user = User::add(installation, fleet, clock, name).await;
        let step = clock.read().await.seconds() / PERIOD;
        Self {
            user,
            step,
            worker,
            codes: Vec::new(),
            lists: 0,
            spare: None,
        }
    }

    /// Uses some recovery codes of a list, and the phone's code whenever there is a new one, or an old one if the clock was set
    /// back. Occasionally a code is tried again.
    pub(super) async fn live(&mut self) {
        let used = self.worker.rng.usize(1..=4);
        let again = self.worker.rng.u8(..);
        if !self.make_codes().await {
            return;
        }
        let clock = self.worker.clock.clone();
        for number in 0..used {
            // The clock is not set between a challenge and its answer.
            let now = clock.read().await;
            let (thing, code) = self.codes[number].clone();
            self.answer(&thing, &code).await;
            let step = now.seconds() / PERIOD;
            let thing = format!("{}/step {step}", self.worker.name);
            if step > self.step || self.worker.ledger.knows(&thing) {
                self.step = self.step.max(step);
                let code = self.user.code(step * PERIOD);
                self.answer(&thing, &code).await;
            }
            if again >> number & 1 == 1 {
                let (thing, code) = self.codes[usize::from(again) % (number + 1)].clone();
                self.answer(&thing, &code).await;
            }
        }
    }

    /// Tries every recovery code that could still be valid once more.
    pub(super) async fn read_back(&mut self, found: &mut BTreeMap<String, State>) {
        let things = self.worker.things();
        for (thing, code) in self.codes.clone() {
            if !things.contains(&thing) {
                continue;
            }
            let challenge = self.challenge().await;
            let answer = self.user.answer(&challenge, &code);
            let state = match self.worker.insist(&answer).await.status {
                200 => State::Absent,
                401 => spent(),
                other => panic!("{other}"),
            };
            found.insert(thing, state);
        }
    }

    /// Creates a new list, authorised by an unused code: the last one of the previous list, or the phone's. Soon after the
    /// activation the first list needs none. If there is no answer, neither the old list nor the new one is known to be valid.
    async fn make_codes(&mut self) -> bool {
        // The clock is not set before the answer has arrived.
        let now = self.worker.clock.read().await;
        let step = now.seconds() / PERIOD;
        let since_activation = now.seconds().abs_diff(self.user.activated_at);
        let code = match self.spare.take() {
            Some(code) => Some(code),
            None if self.lists == 0 && since_activation < WITHOUT_CODE => None,
            None if step > self.step => {
                self.step = step;
                Some(self.user.code(step * PERIOD))
            }
            None => {
                // Waits until the phone shows another code.
                drop(now);
                tokio::time::sleep(Duration::from_millis(100)).await;
                return false;
            }
        };
        self.codes.clear();
        self.lists += 1;
        let name = format!("{}/list {}", self.worker.name, self.lists);
        let make = Call::new("POST", "/api/v1/user/my/mfa/recovery_codes")
            .bearer(&self.user.token)
            .json(&json!({ "password": PASSWORD, "code": code }));
        let target = &self.user.target;
        let deed = |reply: &Reply| {
            let made = State::Is("made".to_owned());
            Deed::new("recovery_codes.make", target, reply, promise(reply), made)
        };
        let (_, replies) = self.worker.race(&name, vec![make], deed).await;
        if let Some(Reply::Answered(answer)) = replies.first()
            && let Some(codes) = answer.json["codes"].as_array()
        {
            let codes = codes.iter().map(|code| code.as_str().unwrap().to_owned());
            let names = (0..).map(|number| format!("{name}, code {number}"));
            self.codes = names.zip(codes).collect();
            self.spare = self.codes.pop().map(|(_, code)| code);
        }
        !self.codes.is_empty()
    }

    /// Answers several challenges with the same code, all at once.
    async fn answer(&mut self, thing: &str, code: &str) {
        let mut answers = Vec::new();
        for _ in 0..HANDS {
            let challenge = self.challenge().await;
            answers.push(self.user.answer(&challenge, code));
        }
        let target = &self.user.target;
        let deed =
            |reply: &Reply| Deed::new("user.authenticate", target, reply, promise(reply), spent());
        self.worker.race(thing, answers, deed).await;
    }

    async fn challenge(&mut self) -> String {
        let login = self.user.login(PASSWORD);
        self.worker.insist(&login).await.text("mfa_token")
    }
}

fn spent() -> State {
    State::Is("spent".to_owned())
}

/// Follows the statuses, and the message if a status has two meanings.
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
