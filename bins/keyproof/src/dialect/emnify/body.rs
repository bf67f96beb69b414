//! Request bodies: one JSON object, member by member, as leniently as the contract's clients need it.

use ipnet::IpNet;
use jiff::{
    civil::{Date, DateTime},
    tz::TimeZone,
};
use keyproof_service::accounts::{ApplicationTokenChange, NewApplicationToken, TrustRequest};
use keyproof_store::Timestamp;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::errors::Refusal;
use crate::http::Exchange;

/// The length that codes are padded to, in digits: a client that reads them as numbers loses zeros.
const CODE_DIGITS: usize = 6;

/// The members of a JSON object. `null` is absent; members that nobody asks for are ignored.
pub(super) struct Members(Map<String, Value>);

impl Members {
    pub(super) async fn of(exchange: &mut Exchange) -> Result<Self, Refusal> {
        Self::parse(&exchange.body().await?)
    }

    fn parse(body: &[u8]) -> Result<Self, Refusal> {
        serde_json::from_slice(body)
            .map(Self)
            .map_err(|_| Refusal::bad_request("The body is not a JSON object"))
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    fn text(&mut self, name: &'static str) -> Result<Option<String>, Refusal> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(malformed(name, "a String")),
        }
    }

    fn secret(&mut self, name: &'static str) -> Result<Option<Zeroizing<String>>, Refusal> {
        Ok(self.text(name)?.map(Zeroizing::new))
    }

    /// A password that must be there.
    pub(super) fn password(
        &mut self,
        object: &str,
        name: &'static str,
    ) -> Result<Zeroizing<String>, Refusal> {
        self.secret(name)?
            .ok_or_else(|| Refusal::required(object, name))
    }

    fn object(&mut self, name: &'static str) -> Result<Option<Self>, Refusal> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Object(members)) => Ok(Some(Self(members))),
            Some(_) => Err(malformed(name, "an Object")),
        }
    }

    /// A number, which may come with a fraction of nothing.
    fn number(&mut self, name: &'static str) -> Result<Option<i64>, Refusal> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => integral(&value)
                .map(Some)
                .ok_or_else(|| malformed(name, "a Number")),
        }
    }

    /// A code as a text or a number, padded if it has digits only.
    fn code(&mut self) -> Result<Option<Zeroizing<String>>, Refusal> {
        let text = match self.take("code") {
            None => return Ok(None),
            Some(Value::String(text)) => text,
            Some(value) => match integral(&value) {
                Some(number) if number >= 0 => number.to_string(),
                _ => return Err(malformed("code", "a String")),
            },
        };
        let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        Ok(Some(Zeroizing::new(if is_digits {
            format!("{text:0>CODE_DIGITS$}")
        } else {
            text
        })))
    }
}

/// What `POST authenticate` shows.
pub(super) enum Credentials {
    Application {
        token: Zeroizing<String>,
    },
    Password {
        name: String,
        password: Zeroizing<String>,
        fingerprint: Option<String>,
    },
    Refresh {
        token: Zeroizing<String>,
    },
    SecondFactor {
        token: Zeroizing<String>,
        code: Zeroizing<String>,
        trust: Option<TrustRequest>,
    },
}

impl Credentials {
    /// One kind of them, whole.
    pub(super) fn read(mut members: Members) -> Result<Self, Refusal> {
        let application = members.secret("application_token")?;
        let refresh = members.secret("refresh_token")?;
        let (name, password) = (members.text("username")?, members.secret("password")?);
        let (challenge, code) = (members.secret("mfa_token")?, members.code()?);
        let kinds = [
            application.is_some(),
            refresh.is_some(),
            name.is_some() || password.is_some(),
            challenge.is_some() || code.is_some(),
        ];
        if kinds.iter().filter(|is_there| **is_there).count() != 1 {
            return Err(Refusal::bad_request(
                "Exactly one kind of credentials is needed",
            ));
        }
        let fingerprint = members.text("fingerprint")?;
        let trust = members.object("trusted_device")?.map(trust).transpose()?;
        match (application, refresh, name, password, challenge, code) {
            (Some(token), ..) => Ok(Self::Application { token }),
            (_, Some(token), ..) => Ok(Self::Refresh { token }),
            (_, _, Some(name), Some(password), ..) => Ok(Self::Password {
                name,
                password,
                fingerprint: fingerprint.or(trust.map(|trust| trust.fingerprint)),
            }),
            (.., Some(token), Some(code)) => Ok(Self::SecondFactor {
                token,
                code,
                trust: trust.or(fingerprint.map(|fingerprint| TrustRequest {
                    fingerprint,
                    browser: None,
                    name: None,
                    operating_system: None,
                })),
            }),
            _ => Err(Refusal::bad_request("The credentials are not complete")),
        }
    }
}

fn trust(mut members: Members) -> Result<TrustRequest, Refusal> {
    Ok(TrustRequest {
        fingerprint: members
            .text("fingerprint")?
            .ok_or_else(|| malformed("trusted_device.fingerprint", "a String"))?,
        browser: members.text("browser")?,
        name: members.text("name")?,
        operating_system: members.text("operating_system")?,
    })
}

/// The password that goes with a new TOTP key.
pub(super) fn enrolment(mut members: Members) -> Result<Zeroizing<String>, Refusal> {
    let kind = members.object("type")?;
    let kind = kind
        .ok_or_else(|| Refusal::required("MFA key", "type"))?
        .number("id")?;
    let password = members.password("MFA key", "password")?;
    match kind {
        None => Err(Refusal::required("MFA key", "type")),
        Some(0) => Ok(password),
        Some(other) => Err(Refusal::invalid(format!(
            "MFA key validation error: Type with Id '{other}' is not known"
        ))),
    }
}

/// The code that activates a key.
pub(super) fn activation(mut members: Members) -> Result<Zeroizing<String>, Refusal> {
    let outer = members.code()?;
    let status = members.object("status")?;
    let mut status = status.ok_or_else(|| Refusal::required("MFA key", "status"))?;
    match status.number("id")? {
        Some(1) => {}
        None => return Err(Refusal::required("MFA key", "status")),
        Some(other) => {
            return Err(Refusal::invalid(format!(
                "MFA key validation error: Status with Id '{other}' is not allowed"
            )));
        }
    }
    let inner = status.code()?;
    outer
        .or(inner)
        .ok_or_else(|| Refusal::required("MFA key", "code"))
}

pub(super) fn new_application_token(mut members: Members) -> Result<NewApplicationToken, Refusal> {
    let description = members.text("description")?;
    let valid_until = match members.text("expiry_date")? {
        None => None,
        Some(text) => Some(moment(&text).ok_or_else(|| {
            Refusal::format(
                "Application Token",
                "Expiry Date",
                "a date or an ISO 8601 timestamp",
            )
        })?),
    };
    let network = match members.text("ip")? {
        None => None,
        Some(text) => Some(text.parse::<IpNet>().map_err(|_| {
            Refusal::format("Application Token", "IP", "IP Address in CIDR Notation.")
        })?),
    };
    Ok(NewApplicationToken {
        description,
        valid_until,
        network,
    })
}

pub(super) fn application_token_change(
    mut members: Members,
) -> Result<ApplicationTokenChange, Refusal> {
    let description = members.text("description")?;
    let status = members.object("status")?;
    let status = status
        .map(|mut status| status.number("id"))
        .transpose()?
        .flatten();
    let is_revoked = match status {
        None => None,
        Some(0) => Some(false),
        Some(1) => Some(true),
        Some(other) => {
            return Err(Refusal::invalid(format!(
                "Application Token validation error: Status with Id '{other}' is not known"
            )));
        }
    };
    Ok(ApplicationTokenChange {
        description,
        is_revoked,
    })
}

/// A timestamp with its zone, one in UTC without, or a date, which begins at midnight in UTC.
fn moment(text: &str) -> Option<Timestamp> {
    let zoned = text.parse::<jiff::Timestamp>().ok();
    let at = zoned.or_else(|| {
        let local = text.parse::<DateTime>().ok();
        let local = local.or_else(|| text.parse::<Date>().ok().map(|date| date.at(0, 0, 0, 0)));
        Some(local?.to_zoned(TimeZone::UTC).ok()?.timestamp())
    })?;
    // A moment before 1970 is over as any other.
    Some(Timestamp::from_millis(
        u64::try_from(at.as_millisecond()).unwrap_or(0),
    ))
}

fn integral(value: &Value) -> Option<i64> {
    /// Beyond it neighbours are not told apart.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if let Some(number) = value.as_i64() {
        return Some(number);
    }
    let number = value
        .as_f64()
        .filter(|number| number.fract() == 0.0 && number.abs() < EXACT)?;
    #[expect(clippy::cast_possible_truncation, reason = "whole, and in range")]
    Some(number as i64)
}

fn malformed(name: &str, expected: &str) -> Refusal {
    Refusal::bad_request(format!("Cannot parse {name}: Expecting {expected}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn members(json: &Value) -> Members {
        Members::parse(json.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn codes_come_in_every_shape() {
        for (body, expected) in [
            (json!({ "status": { "id": 1 }, "code": "123456" }), "123456"),
            (
                json!({ "status": { "id": 1.0, "code": 12345.0 } }),
                "012345",
            ),
            (json!({ "status": { "id": 1 }, "code": 7 }), "000007"),
            (json!({ "status": { "id": 1 }, "code": "12345" }), "012345"),
            (
                json!({ "status": { "id": 1, "code": 1 }, "code": null }),
                "000001",
            ),
            (
                json!({ "status": { "id": 1 }, "code": "ABCD-EFGH" }),
                "ABCD-EFGH",
            ),
            (
                json!({ "status": { "id": 1 }, "code": "1234567" }),
                "1234567",
            ),
        ] {
            let code = activation(members(&body));
            assert_eq!(
                code.map(|code| code.to_string()),
                Ok(expected.to_owned()),
                "{body}"
            );
        }
        for body in [
            json!({ "status": { "id": 1 }, "code": 1.5 }),
            json!({ "status": { "id": 1 }, "code": -1 }),
            json!({ "status": { "id": "1" }, "code": 1 }),
            json!({ "status": 1, "code": 1 }),
        ] {
            assert!(activation(members(&body)).is_err(), "{body}");
        }
    }

    #[test]
    fn one_kind_of_credentials_is_read() {
        for body in [
            json!({}),
            json!({ "username": "a" }),
            json!({ "username": "a", "password": null }),
            json!({ "mfa_token": "a" }),
            json!({ "code": "1" }),
            json!({ "application_token": "a", "refresh_token": "b" }),
            json!({ "username": "a", "password": "b", "code": 1 }),
            json!({ "username": 1, "password": "b" }),
        ] {
            assert!(Credentials::read(members(&body)).is_err(), "{body}");
        }
        let flat = json!({ "mfa_token": "t", "code": 1, "fingerprint": "f", "username": null });
        let Ok(Credentials::SecondFactor { trust, code, .. }) = Credentials::read(members(&flat))
        else {
            panic!("{flat}");
        };
        assert_eq!(*code, "000001");
        assert_eq!(trust.map(|trust| trust.fingerprint), Some("f".to_owned()));
    }

    #[test]
    fn moments_are_dates_too() {
        let at = Some(Timestamp::from_secs(1_622_246_400));
        for text in [
            "2021-05-29",
            "2021-05-29T00:00:00.000Z",
            "2021-05-29T02:00:00+02:00",
            "2021-05-29T00:00:00",
        ] {
            assert_eq!(moment(text), at, "{text}");
        }
        assert_eq!(moment("yesterday"), None);
    }

    #[test]
    fn only_objects_are_read() {
        let nested = "[".repeat(100_000);
        for wrong in ["", "[]", "7", "null", "{", r#"{"a":1}{}"#, &nested] {
            assert!(Members::parse(wrong.as_bytes()).is_err());
        }
    }
}
