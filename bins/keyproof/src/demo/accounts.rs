//! The walk for emnify's second factors: a user, their phone, and a laptop that is trusted for a while.

use http::StatusCode;
use keyproof_otp::{Totp, otpauth::OtpauthUri};
use keyproof_service::accounts::{NewUser, Role};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{StepError, Stopped, Walk, client::Client, expect, member, same, stage::Stage, text};
use crate::qr;

const NAME: &str = "ada@example.org";
const ORGANISATION: &str = "Demo";
const LAPTOP: &str = "the fingerprint of a laptop";

const AUTHENTICATE: &str = "/api/v1/authenticate";
const KEYS: &str = "/api/v1/user/mfa";
const DEVICES: &str = "/api/v1/user/my/mfa/trusted_device";
const RECOVERY_CODES: &str = "/api/v1/user/my/mfa/recovery_codes";

const TOKENS: [&str; 2] = ["auth_token", "refresh_token"];
const CHALLENGE: [&str; 1] = ["mfa_token"];

/// How many seconds the phone's clock is fast, so that no code expires before the server has received it.
const FAST: u64 = 10;

pub(super) async fn walk(walk: &mut Walk<'_>, stage: &Stage) -> Result<(), Stopped> {
    walk.part("emnify: a second factor at login");
    let person = Person {
        password: stage.draw(),
        stage,
    };
    walk.step("user", person.is_added()).await?;

    let mut session = stage.client();
    walk.step("password_alone", async {
        session = person.logs_in_with_a_password().await?;
        Ok("without a second factor, the right password alone gives both tokens".to_owned())
    })
    .await?;

    let mut enrolled = None;
    walk.step("enrol", async {
        let (key, uri) = person.enrols(&session).await?;
        enrolled = Some((key, Phone::reads(&uri)?, qr::draw(&uri)?));
        Ok("the user has a key, still pending; a phone scans it from this code:".to_owned())
    })
    .await?;
    let (key, mut phone, drawing) = enrolled.ok_or(Stopped)?;
    walk.show(&drawing);
    walk.step("activate_key", person.activates(&session, key, &mut phone))
        .await?;

    let mut code = String::new();
    walk.step("two_steps", async {
        code = person.logs_in_in_two_steps(&mut phone).await?;
        Ok(format!(
            "the password gives a challenge, and {code} from the phone the tokens"
        ))
    })
    .await?;
    walk.step("same_code_refused", person.shows_again(&code))
        .await?;
    walk.step("trust_device", person.trusts(&mut phone)).await?;
    walk.step("one_step", person.logs_in_from_the_laptop())
        .await?;
    walk.step("revoke_device", person.revokes(&session)).await?;

    walk.step("recovery_code", async {
        code = person.recovers(&session).await?;
        Ok("the phone is lost: one of ten recovery codes replaces its code".to_owned())
    })
    .await?;
    walk.step("recovery_code_refused", person.shows_again(&code))
        .await
}

/// An authenticator whose clock is a little fast. Instead of waiting for its next code, the walk makes it faster,
/// within the window that the server accepts and adapts to.
struct Phone {
    totp: Totp,
    shown: Option<u64>,
}

impl Phone {
    /// Reads the text of a QR code.
    fn reads(uri: &str) -> Result<Self, StepError> {
        let uri = OtpauthUri::parse_strict(uri)?;
        let totp = uri.totp().ok_or_else(|| StepError::Otherwise {
            what: "the type of the key",
            expected: "totp".to_owned(),
            found: format!("{:?}", uri.kind()),
        })?;
        Ok(Self { totp, shown: None })
    }

    /// Returns a code that it has not shown before.
    fn shows(&mut self, stage: &Stage) -> String {
        let now = stage.clock().now().as_secs().saturating_add(FAST);
        let next = self.shown.map_or(0, |step| step.saturating_add(1));
        let step = self.totp.step_at(now).max(next);
        self.shown = Some(step);
        self.totp.code_at_step(step).to_string()
    }
}

/// A user with an account.
struct Person<'a> {
    password: String,
    stage: &'a Stage,
}

impl Person<'_> {
    /// Does what `keyproof user add` does.
    async fn is_added(&self) -> Result<String, StepError> {
        let service = self.stage.console().await?;
        let new = NewUser {
            name: NAME.to_owned(),
            organisation: ORGANISATION.to_owned(),
            role: Role::User,
        };
        let password = Zeroizing::new(self.password.clone());
        let command = Stage::command_line();
        let added = service.accounts.add_user(&new, password, &command).await;
        same("adding the user", &Ok(()), &added)?;
        Ok(format!(
            "{NAME} of {ORGANISATION} is added while the server runs"
        ))
    }

    /// Returns a client with an access token.
    async fn logs_in_with_a_password(&self) -> Result<Client, StepError> {
        let wrong = json!({ "username": NAME, "password": "not the password" });
        self.is_refused(&wrong).await?;
        let tokens = self.password(None).await?;
        holds(&TOKENS, &tokens)?;
        let bearer = format!("Bearer {}", text(&tokens, "auth_token"));
        Ok(self.stage.client().authorized(&bearer))
    }

    /// Adds a key, and returns its number and URI.
    async fn enrols(&self, session: &Client) -> Result<(Value, String), StepError> {
        let body = json!({ "type": { "id": 0 }, "password": self.password });
        let answer = session.post(KEYS, &body).await?;
        expect("POST mfa", StatusCode::OK, answer.status)?;
        let status = member(member(&answer.json, "status"), "description");
        same("its status", &json!("Activation Pending"), status)?;
        Ok((
            member(&answer.json, "id").clone(),
            text(&answer.json, "otpauth"),
        ))
    }

    async fn activates(
        &self,
        session: &Client,
        key: Value,
        phone: &mut Phone,
    ) -> Result<String, StepError> {
        let code = phone.shows(self.stage);
        let body = json!({ "status": { "id": 1 }, "code": code });
        let activated = session.patch(&format!("{KEYS}/{key}"), &body).await?;
        expect("PATCH mfa", StatusCode::NO_CONTENT, activated.status)?;
        Ok(format!(
            "{code} proves that the phone has the key; from now on, a login needs a code"
        ))
    }

    /// Logs in with a code, and returns it.
    async fn logs_in_in_two_steps(&self, phone: &mut Phone) -> Result<String, StepError> {
        let code = phone.shows(self.stage);
        self.answers(&code, &json!({})).await?;
        Ok(code)
    }

    async fn shows_again(&self, code: &str) -> Result<String, StepError> {
        let body = json!({ "mfa_token": self.challenge().await?, "code": code });
        self.is_refused(&body).await?;
        Ok(format!("{code} is refused the second time: 401"))
    }

    async fn trusts(&self, phone: &mut Phone) -> Result<String, StepError> {
        let laptop = json!({
            "trusted_device": { "fingerprint": LAPTOP, "operating_system": "Debian", "browser": "Firefox" },
        });
        self.answers(&phone.shows(self.stage), &laptop).await?;
        Ok("a login with the next code makes a laptop trusted".to_owned())
    }

    async fn logs_in_from_the_laptop(&self) -> Result<String, StepError> {
        let tokens = self.password(Some(LAPTOP)).await?;
        holds(&TOKENS, &tokens)?;
        self.challenge().await?;
        Ok("from the laptop the password is enough, from elsewhere it is not".to_owned())
    }

    async fn revokes(&self, session: &Client) -> Result<String, StepError> {
        let listed = session.get(DEVICES).await?;
        expect("GET trusted_device", StatusCode::OK, listed.status)?;
        let devices = listed.json.as_array().map_or(&[][..], Vec::as_slice);
        same("devices listed", &1, &devices.len())?;
        for device in devices {
            let path = format!("{DEVICES}/{}", member(device, "id"));
            let removed = session.delete(&path).await?;
            expect("DELETE device", StatusCode::NO_CONTENT, removed.status)?;
        }
        let challenge = self.password(Some(LAPTOP)).await?;
        holds(&CHALLENGE, &challenge)?;
        Ok("no longer trusted: from the laptop, too, a login takes two steps again".to_owned())
    }

    /// Makes recovery codes, logs in with the first one, and returns it.
    async fn recovers(&self, session: &Client) -> Result<String, StepError> {
        let body = json!({ "password": self.password });
        let made = session.post(RECOVERY_CODES, &body).await?;
        expect("POST recovery_codes", StatusCode::OK, made.status)?;
        let codes = member(&made.json, "codes").as_array();
        same("codes", &Some(10), &codes.map(Vec::len))?;
        let code = codes.and_then(|codes| codes.first()?.as_str());
        let code = code.unwrap_or_default().to_owned();
        self.answers(&code, &json!({})).await?;
        Ok(code)
    }

    /// Does both steps of a login, and returns both tokens.
    async fn answers(&self, code: &str, more: &Value) -> Result<(), StepError> {
        let mut body = json!({ "mfa_token": self.challenge().await?, "code": code });
        if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
            body.extend(more.clone());
        }
        let answer = self.stage.client().post(AUTHENTICATE, &body).await?;
        expect("POST authenticate, the code", StatusCode::OK, answer.status)?;
        holds(&TOKENS, &answer.json)
    }

    /// Returns the challenge that a password leads to on an untrusted device.
    async fn challenge(&self) -> Result<String, StepError> {
        let answer = self.password(None).await?;
        holds(&CHALLENGE, &answer)?;
        Ok(text(&answer, "mfa_token"))
    }

    async fn password(&self, fingerprint: Option<&str>) -> Result<Value, StepError> {
        let body =
            json!({ "username": NAME, "password": self.password, "fingerprint": fingerprint });
        let answer = self.stage.client().post(AUTHENTICATE, &body).await?;
        expect(
            "POST authenticate, the password",
            StatusCode::OK,
            answer.status,
        )?;
        Ok(answer.json)
    }

    /// Expects 401 with an empty body.
    async fn is_refused(&self, credentials: &Value) -> Result<(), StepError> {
        let answer = self.stage.client().post(AUTHENTICATE, credentials).await?;
        expect("POST authenticate", StatusCode::UNAUTHORIZED, answer.status)?;
        same("the body", &String::new(), &answer.text)
    }
}

/// Expects a response with exactly these members.
fn holds(members: &[&str], answer: &Value) -> Result<(), StepError> {
    let found = answer.as_object().into_iter();
    let names = found.flat_map(|answer| answer.keys()).map(String::as_str);
    same("members", &members.to_vec(), &names.collect())
}
