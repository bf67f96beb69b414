//! Many logins while the server is killed repeatedly: no accepted code is accepted again, and no acknowledged login, key or list of
//! recovery codes is lost.
//!
//! The mixed load races few logins for the same code. Here each user has more keys and codes than are needed, so that nearly every
//! answer is a login, and after every kill everything that was accepted is tried again.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use fastrand::Rng;
use keyproof_otp::{Algorithm, Base32Profile, Digits, Secret, Totp};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    client::{Answer, Call, Fleet, Reply},
    cluster::Cluster,
    installation::Installation,
    seed::Seed,
};

const USERS: usize = 8;
const KILLS: usize = 20;
const PASSWORD: &str = "correct horse";
const PERIOD: u64 = 30;

/// The state shared by the users and the killer.
struct Weather {
    fleet: Fleet,
    /// Acknowledged logins.
    logins: watch::Sender<usize>,
    /// Killed servers.
    kills: watch::Sender<usize>,
    over: watch::Sender<bool>,
}

#[tokio::test(flavor = "multi_thread")]
async fn no_login_is_lost_or_had_twice_in_a_storm() {
    let seed = Seed::of_this_run();
    let mut cluster = Cluster::start(Installation::on_sqlite(), 1);
    let weather = Arc::new(Weather {
        fleet: cluster.fleet.clone(),
        logins: watch::Sender::new(0),
        kills: watch::Sender::new(0),
        over: watch::Sender::new(false),
    });
    let mut users = JoinSet::new();
    for number in 0..USERS {
        let name = format!("user{number}");
        let add = ["user", "add", &name, "--organisation", "org", "--stdin"];
        cluster.installation.run(&add, PASSWORD);
        let user = User::new(seed.stream(&name), name, Arc::clone(&weather));
        users.spawn(user.live());
    }
    let mut faults = seed.stream("storm");
    for _ in 0..KILLS {
        let until = *weather.logins.borrow() + faults.usize(1..60);
        let mut logins = weather.logins.subscribe();
        tokio::select! {
            enough = logins.wait_for(|logins| *logins >= until) => drop(enough.unwrap()),
            // No user ends before the storm does, unless something is wrong.
            Some(ended) = users.join_next() => panic!("{:?}", ended.err()),
        }
        cluster.kill(0);
        weather.kills.send_modify(|kills| *kills += 1);
        cluster.bring_up(0);
    }
    weather.over.send_replace(true);
    let mut acknowledged = BTreeSet::new();
    let (mut logins, mut shown_again, mut unknown) = (0, 0, 0);
    while let Some(user) = users.join_next().await {
        let user = user.unwrap();
        logins += user.logins.len();
        acknowledged.extend(user.logins);
        shown_again += user.shown_again;
        unknown += user.unknown;
    }
    assert_eq!(acknowledged.len(), logins, "two answers have one id");
    let trail = cluster.installation.trail();
    let told = trail
        .iter()
        .filter(|event| event["action"] == "user.authenticate" && event["outcome"] == "done")
        .filter_map(|event| event["request_id"].as_str().map(ToOwned::to_owned));
    let told: Vec<_> = told.filter(|id| acknowledged.contains(id)).collect();
    let distinct: BTreeSet<_> = told.iter().cloned().collect();
    assert_eq!(distinct, acknowledged, "logins without an event");
    assert_eq!(told.len(), distinct.len(), "logins that happened twice");
    eprintln!("{logins} logins; {shown_again} codes shown again after a kill; {unknown} unknown");
    assert!(shown_again > KILLS, "too few codes were good still");
    assert!(unknown > 0, "it was killed while nobody asked");
}

/// A user, who sends one request at a time.
struct User {
    name: String,
    weather: Arc<Weather>,
    rng: Rng,
    /// An access token of the first login.
    token: String,
    key: Option<Key>,
    /// The request ids of the successful logins.
    logins: Vec<String>,
    /// The number of accepted codes that were tried again after a kill.
    shown_again: usize,
    /// The number of logins that were never answered.
    unknown: usize,
}

/// The data of one key.
struct Key {
    id: Value,
    phone: Totp,
    /// The last step whose code was sent, with any result.
    step: u64,
    /// Accepted codes, with the steps of the phone's codes.
    accepted: Vec<(String, Option<u64>)>,
    /// Recovery codes that were never sent.
    recovery: Vec<String>,
    /// Whether a list may have been created: another one would cost a code.
    has_list: bool,
    /// Refresh tokens of logins with this key.
    refresh: Vec<String>,
}

impl User {
    fn new(rng: Rng, name: String, weather: Arc<Weather>) -> Self {
        Self {
            name,
            weather,
            rng,
            token: String::new(),
            key: None,
            logins: Vec::new(),
            shown_again: 0,
            unknown: 0,
        }
    }

    /// Logs in until the storm is over.
    async fn live(mut self) -> Self {
        let mut kills = 0;
        self.token = self.password().await.text("auth_token");
        while !*self.weather.over.borrow() {
            let now = *self.weather.kills.borrow();
            if now > kills {
                kills = now;
                self.check().await;
            }
            let Some(key) = &mut self.key else {
                self.enrol().await;
                continue;
            };
            // The current step or the next: a phone may be a step ahead.
            let (now, step) = (now_in_steps(), key.step + 1);
            if step <= now + 1 {
                let step = step.max(now);
                key.step = step;
                let code = key.phone.code(step * PERIOD).to_string();
                self.log_in(code, Some(step)).await;
            } else if let Some(code) = key.recovery.pop() {
                self.log_in(code, None).await;
            } else if !key.has_list && self.rng.bool() {
                self.make_recovery_codes().await;
            } else {
                self.remove_key().await;
            }
        }
        self.check().await;
        self
    }

    /// Sends the password. The answer must be a challenge if a key was acknowledged, and tokens otherwise.
    async fn password(&self) -> Answer {
        let body = json!({ "username": self.name, "password": PASSWORD });
        let answer = self.insist(authenticate(&body)).await;
        let has_key = answer.json["mfa_token"].is_string();
        assert_eq!(has_key, self.key.is_some(), "{}: {answer:?}", self.name);
        answer
    }

    /// Answers a new challenge with a code that was never sent.
    async fn log_in(&mut self, code: String, step: Option<u64>) {
        let challenge = self.password().await.text("mfa_token");
        let body = json!({ "mfa_token": challenge, "code": code });
        match authenticate(&body).send(&self.weather.fleet, 0).await {
            Reply::Answered(answer) if answer.status < 500 => {
                let refresh = answer.text("refresh_token");
                self.logins
                    .push(answer.request_id.expect("every answer has one"));
                let key = self.key.as_mut().expect("a code is of a key");
                key.refresh.push(refresh);
                key.accepted.push((code, step));
                self.weather.logins.send_modify(|logins| *logins += 1);
            }
            _ => self.unknown += 1,
        }
    }

    /// Tries all accepted codes again, none of which may be accepted, and uses the refresh tokens.
    async fn check(&mut self) {
        let Some(key) = &self.key else {
            self.password().await;
            return;
        };
        let last = key.accepted.last().map(|(_, step)| *step);
        for (code, step) in &key.accepted {
            // A code of a past step is wrong like any other and would be counted, except that the last used step is always
            // recognised.
            if step.is_some_and(|step| step < now_in_steps()) && Some(*step) != last {
                continue;
            }
            let challenge = self.password().await.text("mfa_token");
            let body = json!({ "mfa_token": challenge, "code": code });
            let again = self.insist(authenticate(&body)).await;
            assert_eq!(
                again.status, 401,
                "{}: accepted twice: {again:?}",
                self.name
            );
            assert!(again.json.is_null(), "{}: counted: {again:?}", self.name);
            self.shown_again += 1;
        }
        for token in &key.refresh {
            let body = json!({ "refresh_token": token });
            self.insist(authenticate(&body)).await.text("auth_token");
        }
    }

    async fn enrol(&mut self) {
        let keys = "/api/v1/user/mfa";
        let body = json!({ "type": { "id": 0 }, "password": PASSWORD });
        let enrolled = self.insist(Call::new("POST", keys).json(&body)).await;
        let secret = Secret::from_base32(&enrolled.text("secret_key"), Base32Profile::Strict);
        let phone = Totp::new(&secret.unwrap(), Algorithm::Sha1, Digits::SIX);
        let id = enrolled.json["id"].clone();
        let step = now_in_steps();
        let code = phone.code(step * PERIOD).to_string();
        let body = json!({ "status": { "id": 1 }, "code": code });
        let activate = Call::new("PATCH", format!("{keys}/{id}")).json(&body);
        let activated = self.insist(activate).await;
        // An unanswered request may have been done.
        assert!(matches!(activated.status, 204 | 409), "{activated:?}");
        self.key = Some(Key {
            id,
            phone,
            step,
            accepted: Vec::new(),
            recovery: Vec::new(),
            has_list: false,
            refresh: Vec::new(),
        });
    }

    async fn make_recovery_codes(&mut self) {
        let path = "/api/v1/user/my/mfa/recovery_codes";
        let body = json!({ "password": PASSWORD });
        let made = self.insist(Call::new("POST", path).json(&body)).await;
        let key = self.key.as_mut().expect("they are of a key");
        key.has_list = true;
        if made.status == 422 {
            // A list whose answer was lost exists already, or the five minutes after the activation are over.
            return;
        }
        assert_eq!(made.status, 200, "{made:?}");
        let codes = made.json["codes"].as_array().unwrap().iter();
        key.recovery = codes
            .map(|code| code.as_str().unwrap().to_owned())
            .collect();
    }

    async fn remove_key(&mut self) {
        let key = self.key.as_ref().expect("there is one to remove");
        let path = format!("/api/v1/user/my/mfa/{}", key.id);
        let removed = self.insist(Call::new("DELETE", path)).await;
        assert!(matches!(removed.status, 204 | 404), "{removed:?}");
        self.key = None;
    }

    async fn insist(&self, call: Call) -> Answer {
        let call = match self.token.as_str() {
            "" => call,
            token => call.bearer(token),
        };
        call.insist(&self.weather.fleet, 0).await
    }
}

fn authenticate(body: &Value) -> Call {
    Call::new("POST", "/api/v1/authenticate").json(body)
}

fn now_in_steps() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap().as_secs() / PERIOD
}
