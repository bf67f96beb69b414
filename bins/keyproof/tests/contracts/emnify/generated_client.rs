//! A client as generators make it from the published schema: numbers are 32-bit floats, in bodies and in paths; codes are numbers
//! too and lose leading zeros; and `Authorization` is `Bearer None` before there is a token.

use std::time::Duration;

use serde_json::{Value, json};

use crate::emnify::{
    dialect::{ADA, AUTHENTICATE, BOB, PASSWORD, Phone},
    site::{Answer, Site},
};

/// The client, with the token in its runtime.
struct Generated<'a> {
    site: &'a Site,
    token: String,
}

impl<'a> Generated<'a> {
    async fn log_in(site: &'a Site, name: &str) -> Self {
        let mut client = Self {
            site,
            token: "None".to_owned(),
        };
        let tokens = client
            .authenticate(json!({ "username": name, "password": PASSWORD }))
            .await;
        client.token = tokens.is(200).text("auth_token");
        client
    }

    async fn authenticate(&self, body: Value) -> Answer {
        let call = self.site.post(AUTHENTICATE, &body);
        call.send_as(&self.token).await
    }

    async fn send(&self, method: &str, path: &str, body: Value) -> Answer {
        let call = self.site.call(method, path).bearer(&self.token);
        call.body(body.to_string()).send().await
    }

    async fn number_of(&self, name: &str) -> f32 {
        let path = format!("/api/v1/user/{name}");
        let found = self.send("GET", &path, json!(null)).await;
        float(&found.is(200).json["id"])
    }
}

/// Returns a number as this client parses it.
#[track_caller]
fn float(value: &Value) -> f32 {
    let number: f32 = value.to_string().parse().unwrap();
    assert_eq!(value.as_f64(), Some(number.into()), "read exactly");
    number
}

/// Moves the clock to a time near now at which the phone's code starts with a zero, and returns the code.
fn code_with_a_zero(site: &Site, phone: &Phone) -> f32 {
    loop {
        let code = phone.shows(site.now());
        if code.starts_with('0') {
            return code.parse().unwrap();
        }
        site.clock.advance(Duration::from_secs(30));
    }
}

#[tokio::test]
async fn a_generated_client_goes_all_the_way() {
    let site = Site::start().await;
    let ada = Generated::log_in(&site, ADA).await;
    let enrolment = json!({ "type": { "id": 0.0_f32 }, "password": PASSWORD });
    let key = ada.send("POST", "/api/v1/user/mfa", enrolment).await;
    let phone = Phone::of(&key.is(200).text("secret_key"));
    let id = float(&key.json["id"]);
    let code = code_with_a_zero(&site, &phone);
    let activation = json!({ "status": { "id": 1.0_f32, "code": code } });
    assert!(activation.to_string().contains(".0"), "{activation}");
    let path = format!("/api/v1/user/mfa/{id:?}");
    assert!(path.ends_with(".0"), "{path}");
    ada.send("PATCH", &path, activation.clone())
        .await
        .is_empty(204);
    ada.send("PATCH", &path, activation)
        .await
        .refuses(409, 1405, "MFA already activated");

    site.clock.advance(Duration::from_secs(30));
    // May take longer than a challenge is valid.
    let code = code_with_a_zero(&site, &phone);
    let challenge = ada
        .authenticate(json!({ "username": ADA, "password": PASSWORD }))
        .await
        .is(200)
        .text("mfa_token");
    let body = json!({ "mfa_token": challenge, "code": code, "fingerprint": "f" });
    ada.authenticate(body).await.is(200);
    let number = ada.number_of(ADA).await;
    let devices = format!("/api/v1/user/{number:?}/mfa/trusted_device");
    let listed = ada.send("GET", &devices, json!(null)).await;
    let device = float(&listed.is(200).json[0]["id"]);
    let device = format!("{devices}/{device:?}");
    ada.send("DELETE", &device, json!(null)).await.is_empty(204);

    let bob = Generated::log_in(&site, BOB).await;
    let tokens = "/api/v1/application_token";
    bob.send("POST", tokens, json!({})).await.is(200);
    let listed = bob.send("GET", tokens, json!(null)).await;
    let token = float(&listed.is(200).json[0]["id"]);
    let revocation = json!({ "description": null, "status": { "id": 1.0_f32 } });
    bob.send("PATCH", &format!("{tokens}/{token:?}"), revocation)
        .await
        .is_empty(204);
    let key = format!("/api/v1/user/{number:?}/mfa/{id:?}");
    bob.send("DELETE", &key, json!(null)).await.is_empty(204);
    let gone = bob.send("DELETE", &key, json!(null)).await;
    gone.refuses(404, 1401, &format!("MFA Key with id '{id}' not found"));
}

/// Java and Go give large floats an exponent, and the numbers here are large.
#[tokio::test]
async fn numbers_in_paths_may_have_an_exponent() {
    let site = Site::start().await;
    let ada = Generated::log_in(&site, ADA).await;
    let enrolment = json!({ "type": { "id": 0 }, "password": PASSWORD });
    let key = ada.send("POST", "/api/v1/user/mfa", enrolment).await;
    let phone = Phone::of(&key.is(200).text("secret_key"));
    let id = float(&key.json["id"]);
    let activation = json!({ "status": { "id": 1 }, "code": phone.shows(site.now()) });
    let java = format!("/api/v1/user/mfa/{id:E}");
    ada.send("PATCH", &java, activation).await.is_empty(204);
    let number = ada.number_of(ADA).await;
    let bob = Generated::log_in(&site, BOB).await;
    let go = |number: f32| format!("{number:e}").replace('e', "e+0");
    let key = format!("/api/v1/user/{}/mfa/{}", go(number), go(id));
    bob.send("DELETE", &key, json!(null)).await.is_empty(204);
}
