//! The walk for GNU Taler's OTP devices: a shop, its two devices at the point of sale, and their permissions.

use data_encoding::BASE64;
use http::StatusCode;
use keyproof_otp::{
    Algorithm, Base32Profile, Digits, Secret, Totp,
    pos::{Amount, PosAlgorithm, confirmation_codes},
};
use keyproof_service::otp_devices::InstanceAdministrator;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{
    StepError, Stopped, Walk, client::Client, expect, member, otherwise, same, stage::Stage, text,
};

const INSTANCE: &str = "demo-shop";
const KEY: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
const PRICE: &str = "EUR:1.23";
const OTHER_PRICE: &str = "EUR:1.22";

const DEVICES: &str = "/instances/demo-shop/private/otp-devices";
const TOKEN: &str = "/instances/demo-shop/private/token";

/// The GANA error codes that this walk expects.
const TOKEN_PERMISSION_INSUFFICIENT: u64 = 16;
const OTP_DEVICE_EXISTS: u64 = 2851;

pub(super) async fn walk(walk: &mut Walk<'_>, stage: &mut Stage) -> Result<(), Stopped> {
    walk.part("GNU Taler: OTP devices at a point of sale");
    let password = stage.draw();
    walk.step("instance", instance(stage, &password)).await?;

    let mut owner = stage.client();
    walk.step("token", async {
        owner = login(stage, &password, "all").await?;
        Ok("only the right password gives a token with every permission".to_owned())
    })
    .await?;
    let shop = Shop {
        client: owner,
        stage,
    };

    walk.step("device_without_price", shop.without_price())
        .await?;
    walk.step("device_with_price", shop.with_price()).await?;
    walk.step("idempotent", shop.same_again()).await?;
    walk.step("conflict", shop.differently_again()).await?;
    walk.step("key_never_returned", shop.looks_for_the_key())
        .await?;
    walk.step("readonly_token", shop.lends(&password)).await?;

    let owner = shop.client.clone();
    walk.step("restart", restart(stage, owner)).await
}

/// Does what `keyproof instance add` does.
async fn instance(stage: &Stage, password: &str) -> Result<String, StepError> {
    let service = stage.console().await?;
    let administrator = InstanceAdministrator::of_command_line(&Stage::command_line(), INSTANCE);
    let password = Zeroizing::new(password.to_owned());
    let added = service
        .otp_devices
        .add_instance(&administrator, password)
        .await;
    same("adding the instance", &Ok(()), &added)?;

    let config = stage.client().get("/instances/demo-shop/config").await?;
    expect("GET config", StatusCode::OK, config.status)?;
    same(
        "its name",
        &json!("taler-merchant"),
        member(&config.json, "name"),
    )?;
    Ok(format!("{INSTANCE} is added while the server runs"))
}

/// Returns a client with a token of this scope.
async fn login(stage: &Stage, password: &str, scope: &str) -> Result<Client, StepError> {
    let with = |password: &str| {
        let credentials = BASE64.encode(format!("{INSTANCE}:{password}").as_bytes());
        stage.client().authorized(&format!("Basic {credentials}"))
    };
    let request = json!({ "scope": scope });
    let refused = with("not the password").post(TOKEN, &request).await?;
    expect(
        "POST token, wrong password",
        StatusCode::UNAUTHORIZED,
        refused.status,
    )?;
    let issued = with(password).post(TOKEN, &request).await?;
    expect("POST token", StatusCode::OK, issued.status)?;
    let token = text(&issued.json, "access_token");
    Ok(stage.client().authorized(&format!("Bearer {token}")))
}

/// The shop's owner with a token.
struct Shop<'a> {
    client: Client,
    stage: &'a Stage,
}

impl Shop<'_> {
    async fn without_price(&self) -> Result<String, StepError> {
        self.add("till", "TOTP_WITHOUT_PRICE", StatusCode::NO_CONTENT)
            .await?;
        let shown = codes(&self.show("till", "").await?);
        let own = self.till_shows()?;
        found(&own, &shown)?;
        Ok(format!(
            "the till, offline, shows {own}; the server shows it among its five codes"
        ))
    }

    async fn with_price(&self) -> Result<String, StepError> {
        self.add("kiosk", "TOTP_WITH_PRICE", StatusCode::NO_CONTENT)
            .await?;
        let without = codes(&self.show("kiosk", "").await?);
        same("codes without a price", &Vec::new(), &without)?;
        let shown = codes(&self.show("kiosk", &format!("?price={PRICE}")).await?);
        let own = self.kiosk_shows(PRICE)?;
        found(&own, &shown)?;
        let cheaper = self.kiosk_shows(OTHER_PRICE)?;
        same("codes for another price", &false, &shown.contains(&cheaper))?;
        Ok(format!(
            "{own} confirms {PRICE}; {OTHER_PRICE} would need {cheaper}"
        ))
    }

    async fn same_again(&self) -> Result<String, StepError> {
        self.add("till", "TOTP_WITHOUT_PRICE", StatusCode::NO_CONTENT)
            .await?;
        Ok("adding the same device again succeeds and changes nothing".to_owned())
    }

    async fn differently_again(&self) -> Result<String, StepError> {
        let refused = self
            .add("till", "TOTP_WITH_PRICE", StatusCode::CONFLICT)
            .await?;
        same(
            "the code",
            &json!(OTP_DEVICE_EXISTS),
            member(&refused, "code"),
        )?;
        Ok("the same id with other details is refused: 409, code 2851".to_owned())
    }

    async fn looks_for_the_key(&self) -> Result<String, StepError> {
        for path in ["", "/till", "/kiosk?price=EUR:1"] {
            let answer = self.client.get(&format!("{DEVICES}{path}")).await?;
            expect("GET", StatusCode::OK, answer.status)?;
            same("the key in the answer", &false, &answer.text.contains(KEY))?;
        }
        Ok("no response contains a device's key".to_owned())
    }

    async fn lends(&self, password: &str) -> Result<String, StepError> {
        let reader = login(self.stage, password, "readonly").await?;
        lists_both(&reader).await?;
        let refused = reader
            .post(DEVICES, &device("stall", "TOTP_WITHOUT_PRICE"))
            .await?;
        expect("POST device", StatusCode::FORBIDDEN, refused.status)?;
        let code = member(&refused.json, "code");
        same("the code", &json!(TOKEN_PERMISSION_INSUFFICIENT), code)?;
        Ok("a token for reading can read, but not add: 403, code 16".to_owned())
    }

    async fn add(&self, id: &str, algorithm: &str, status: StatusCode) -> Result<Value, StepError> {
        let answer = self.client.post(DEVICES, &device(id, algorithm)).await?;
        expect("POST device", status, answer.status)?;
        Ok(answer.json)
    }

    async fn show(&self, id: &str, query: &str) -> Result<Value, StepError> {
        let answer = self.client.get(&format!("{DEVICES}/{id}{query}")).await?;
        expect("GET device", StatusCode::OK, answer.status)?;
        Ok(answer.json)
    }

    /// Returns the code of an offline till: RFC 6238 with the key and its own clock.
    fn till_shows(&self) -> Result<String, StepError> {
        let totp = Totp::new(&key()?, Algorithm::Sha1, Digits::EIGHT);
        Ok(totp.code(self.stage.clock().now().as_secs()).to_string())
    }

    /// Returns the code of an offline kiosk: from the key, its own clock, and the price to be paid.
    fn kiosk_shows(&self, price: &str) -> Result<String, StepError> {
        let now = self.stage.clock().now().as_secs();
        let price: Amount = price.parse()?;
        let key = key()?;
        let confirmation = confirmation_codes(
            key.as_bytes(),
            PosAlgorithm::TotpWithPrice,
            Some(&price),
            now,
        );
        let own = confirmation.map(|confirmation| {
            let [_, _, present, _, _] = confirmation.codes();
            present.to_string()
        });
        own.ok_or("none").map_err(otherwise("the kiosk's own code"))
    }
}

async fn restart(stage: &mut Stage, owner: Client) -> Result<String, StepError> {
    stage.restart().await?;
    lists_both(&owner.to(stage.client())).await?;
    Ok("the server is restarted: the token and both devices still exist".to_owned())
}

/// Expects both devices in the list.
async fn lists_both(client: &Client) -> Result<(), StepError> {
    let listed = client.get(DEVICES).await?;
    expect("GET devices", StatusCode::OK, listed.status)?;
    let devices = member(&listed.json, "otp_devices").as_array();
    same("devices listed", &Some(2), &devices.map(Vec::len))
}

fn key() -> Result<Secret, StepError> {
    Ok(Secret::from_base32(KEY, Base32Profile::Taler)?)
}

fn device(id: &str, algorithm: &str) -> Value {
    json!({
        "otp_device_id": id,
        "otp_device_description": format!("the {id} in the demo shop"),
        "otp_key": KEY,
        "otp_algorithm": algorithm,
    })
}

fn codes(device: &Value) -> Vec<String> {
    let lines = text(device, "otp_code");
    lines.lines().map(str::to_owned).collect()
}

fn found(own: &String, shown: &[String]) -> Result<(), StepError> {
    if shown.len() == 5 && shown.contains(own) {
        return Ok(());
    }
    Err(StepError::Otherwise {
        what: "the codes that the server shows",
        expected: format!("five with {own} among them"),
        found: format!("{shown:?}"),
    })
}
