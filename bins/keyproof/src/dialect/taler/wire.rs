//! The JSON of requests and responses. Absent members are left out of responses.

use std::time::Duration;

use http::{HeaderValue, StatusCode, header};
use keyproof_http::{JsonObject, Query, Response, no_content, with_body};
use keyproof_otp::pos::PosAlgorithm;
use keyproof_service::otp_devices::{
    DeviceChange, DeviceDetails, DeviceSummary, DeviceView, IssuedToken, Lifetime, Moment,
    TokenRequest,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use super::{
    body::{Fields, Members},
    errors::Refusal,
};

/// The protocol's version in libtool's form (current, revision, age).
const PROTOCOL: &str = "20:0:10";

/// The initial capacity of a response, in bytes: enough for a device with its codes.
const ROOM: usize = 512;

/// The URN of this implementation of the protocol.
const IMPLEMENTATION: &str = concat!("urn:keyproof:taler-merchant:", env!("CARGO_PKG_VERSION"));

pub(super) fn config(currency: &str) -> Response {
    #[derive(Serialize)]
    struct Config<'a> {
        version: &'static str,
        name: &'static str,
        currency: &'a str,
        currencies: Empty,
        exchanges: [(); 0],
        have_self_provisioning: bool,
        have_donau: bool,
        implementation: &'static str,
    }

    /// `{}`
    #[derive(Serialize)]
    struct Empty {}

    ok(&Config {
        version: PROTOCOL,
        name: "taler-merchant",
        currency,
        currencies: Empty {},
        exchanges: [],
        have_self_provisioning: false,
        have_donau: false,
        implementation: IMPLEMENTATION,
    })
}

/// The members of a token request, in the order of the specification. Errors contain the index.
const TOKEN_REQUEST: Fields = Fields(&["scope", "duration", "description", "refreshable"]);

/// The members of a new device.
pub(super) const DEVICE_DETAILS: Fields = Fields(&[
    "otp_device_id",
    "otp_device_description",
    "otp_key",
    "otp_algorithm",
    "otp_ctr",
]);

/// The members of a device change.
pub(super) const DEVICE_CHANGE: Fields = Fields(&[
    "otp_device_description",
    "otp_key",
    "otp_algorithm",
    "otp_ctr",
]);

pub(super) fn token_request(members: Members) -> Result<TokenRequest, Refusal> {
    #[derive(Deserialize)]
    struct RelativeTime {
        d_us: Microseconds,
    }

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Microseconds {
        Number(u64),
        Text(Forever),
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Forever {
        Forever,
    }

    let members = members.of(TOKEN_REQUEST);
    let scope = members.required::<String>("scope")?;
    let lifetime = match members.optional::<JsonObject<RelativeTime>>("duration")? {
        None => Lifetime::Default,
        Some(JsonObject(RelativeTime { d_us })) => match d_us {
            Microseconds::Number(microseconds) => {
                Lifetime::For(Duration::from_micros(microseconds))
            }
            Microseconds::Text(Forever::Forever) => Lifetime::Forever,
        },
    };
    let description = members.optional("description")?;
    let refreshable = members.optional::<bool>("refreshable")?;
    let mut scope: keyproof_auth::taler::LoginScope =
        scope.parse().map_err(|_| Refusal::parameter("scope"))?;
    // An older form of the scope's suffix.
    scope.refreshable |= refreshable == Some(true);
    Ok(TokenRequest {
        scope,
        lifetime,
        description,
    })
}

pub(super) fn issued_token(issued: &IssuedToken) -> Response {
    #[derive(Serialize)]
    struct LoginToken<'a> {
        token: &'a str,
        access_token: &'a str,
        scope: &'static str,
        expiration: AbsoluteTime,
        refreshable: bool,
    }

    #[derive(Serialize)]
    struct AbsoluteTime {
        /// Seconds, or `never`.
        t_s: Value,
    }

    let token = Zeroizing::new(format!("secret-token:{}", *issued.text));
    ok(&LoginToken {
        token: &token,
        access_token: &token,
        scope: issued.scope.grant.name(),
        expiration: AbsoluteTime {
            t_s: match issued.valid_until {
                Some(at) => at.as_secs().into(),
                None => "never".into(),
            },
        },
        refreshable: issued.scope.refreshable,
    })
}

pub(super) fn device_details(members: Members) -> Result<DeviceDetails, Refusal> {
    let members = members.of(DEVICE_DETAILS);
    Ok(DeviceDetails {
        id: members.required("otp_device_id")?,
        description: members.required("otp_device_description")?,
        key: Zeroizing::new(members.required("otp_key")?),
        algorithm: members.required_with("otp_algorithm", algorithm)?,
        counter: members.optional("otp_ctr")?,
    })
}

pub(super) fn device_change(members: Members) -> Result<DeviceChange, Refusal> {
    let members = members.of(DEVICE_CHANGE);
    Ok(DeviceChange {
        description: members.required("otp_device_description")?,
        key: members.optional("otp_key")?.map(Zeroizing::new),
        algorithm: members.optional_with("otp_algorithm", algorithm)?,
        counter: members.optional("otp_ctr")?,
    })
}

/// Parses a number, or a case-insensitive name.
fn algorithm(json: &str) -> Option<PosAlgorithm> {
    if let Ok(number) = serde_json::from_str::<u8>(json) {
        return PosAlgorithm::try_from(number).ok();
    }
    serde_json::from_str::<String>(json).ok()?.parse().ok()
}

pub(super) fn devices(devices: &[DeviceSummary]) -> Response {
    #[derive(Serialize)]
    struct Summaries<'a> {
        otp_devices: Vec<Summary<'a>>,
    }

    #[derive(Serialize)]
    struct Summary<'a> {
        otp_device_id: &'a str,
        device_description: &'a str,
    }

    let otp_devices = devices
        .iter()
        .map(|device| Summary {
            otp_device_id: &device.id,
            device_description: &device.description,
        })
        .collect();
    ok(&Summaries { otp_devices })
}

/// Parses the time and the price for which codes are requested.
pub(super) fn moment(query: &Query) -> Result<Moment, Refusal> {
    let at = parameter(query, "faketime", |text| {
        // `parse` alone would accept a sign.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| digits)
    })?;
    let price = parameter(query, "price", |text| text.parse().ok())?;
    Ok(Moment { at, price })
}

/// Parses an optional query parameter, which must not be malformed or duplicate.
fn parameter<T>(
    query: &Query,
    name: &'static str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Refusal> {
    let mut values = query.all(name);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => read(value)
            .map(Some)
            .ok_or_else(|| Refusal::parameter(name)),
        (Some(_), Some(_)) => Err(Refusal::parameter(name)),
    }
}

pub(super) fn device(view: &DeviceView) -> Response {
    #[derive(Serialize)]
    struct Details<'a> {
        device_description: &'a str,
        otp_algorithm: u8,
        #[serde(skip_serializing_if = "Option::is_none")]
        otp_ctr: Option<u64>,
        otp_timestamp: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        otp_code: Option<&'a str>,
    }

    ok(&Details {
        device_description: &view.description,
        otp_algorithm: view.algorithm.number(),
        otp_ctr: view.counter,
        otp_timestamp: view.at,
        otp_code: view.codes.as_ref().map(|codes| codes.as_str()),
    })
}

/// Allows calls from web pages of any origin. There are no cookies that they could abuse.
pub(super) fn preflight(allow: &str) -> Response {
    let mut response = no_content();
    let headers = response.headers_mut();
    if let Ok(allow) = HeaderValue::try_from(allow) {
        headers.insert(header::ALLOW, allow.clone());
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, allow);
    }
    // The wildcard does not include `Authorization` (Fetch, section 4.9).
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("*, Authorization"),
    );
    headers.insert(
        header::ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from_static("86400"),
    );
    response
}

fn ok(body: &impl Serialize) -> Response {
    json(StatusCode::OK, body)
}

/// Returns a JSON response, indented like Taler's own.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let mut text = Vec::with_capacity(ROOM);
    // These types always serialise, as they have no maps with keys other than strings.
    if serde_json::to_writer_pretty(&mut text, body).is_err() {
        text.clear();
    }
    with_body(status, "application/json", text)
}
