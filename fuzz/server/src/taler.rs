//! Bodies of the Taler dialect, sent to the whole server and compared with an untyped reading of the same JSON.

use data_encoding::BASE32;
use keyproof_otp::Base32Profile;
use serde_json::Value;

use crate::site::{Answer, Site, with_site};

/// A device that always exists.
const TILL: &str =
    r#"{"otp_device_id":"till","otp_device_description":"","otp_key":"","otp_algorithm":0}"#;

/// Byte 0 selects the request: `a` adds a device, `c` changes one, `t` requests a token. The rest is the body. A body that begins
/// like gzip or zlib is declared as compressed. An accepted body is stored as sent, member by member, and a plainly valid body is
/// accepted.
pub fn body(data: &[u8]) {
    let Some((operation, body)) = data.split_first() else {
        return;
    };
    let coding = match body {
        [0x1f, 0x8b, ..] => "Content-Encoding: gzip\r\n",
        [0x78, ..] => "Content-Encoding: deflate\r\n",
        _ => "",
    };
    with_site(|site| match operation {
        b'a' => add(site, coding, body),
        b'c' => change(site, coding, body),
        b't' => ask(site, coding, body),
        _ => {}
    });
}

/// Adds what every new server starts with.
pub(crate) fn prepare(site: &mut Site) {
    let token = site.taler.clone();
    let added = site.call("POST /private/otp-devices", &token, "", TILL.as_bytes());
    assert_eq!(added.status, 204, "{added:?}");
}

fn add(site: &mut Site, coding: &str, body: &[u8]) {
    let token = site.taler.clone();
    let answer = site.call("POST /private/otp-devices", &token, coding, body);
    let sent = untyped(coding, body);
    if answer.status != 204 {
        assert_refused(&answer);
        assert!(
            !sent.is_some_and(|sent| is_plain(&sent, body)),
            "{answer:?}"
        );
        return;
    }
    let listed = site.call("GET /private/otp-devices", &token, "", b"");
    let listed = listed.json["otp_devices"].as_array().expect("a list");
    let ids = listed
        .iter()
        .map(|device| device["otp_device_id"].as_str().expect("an id").to_owned());
    let ids: Vec<String> = ids.filter(|id| id != "till").collect();
    let [id] = &ids[..] else {
        panic!("not one more: {ids:?}");
    };
    let path = format!("/private/otp-devices/{}", escaped(id));
    if let Some(sent) = sent {
        assert_eq!(sent["otp_device_id"], id.as_str());
        let shown = site.call(&format!("GET {path}"), &token, "", b"");
        assert_eq!(shown.status, 200, "{shown:?}");
        assert_shows(&shown.json, &sent);
    }
    let removed = site.call(&format!("DELETE {path}"), &token, "", b"");
    assert_eq!(removed.status, 204, "{removed:?}");
}

fn change(site: &mut Site, coding: &str, body: &[u8]) {
    let token = site.taler.clone();
    let path = "/private/otp-devices/till";
    let before = site.call(&format!("GET {path}"), &token, "", b"");
    let answer = site.call(&format!("PATCH {path}"), &token, coding, body);
    let after = site.call(&format!("GET {path}"), &token, "", b"");
    if answer.status != 204 {
        assert_refused(&answer);
        assert_eq!(after.json, before.json);
    } else if let Some(sent) = untyped(coding, body) {
        let description = &sent["otp_device_description"];
        assert_eq!(&after.json["device_description"], description);
    }
}

fn ask(site: &mut Site, coding: &str, body: &[u8]) {
    let answer = site.log_in("POST /private/token", coding, body);
    if answer.status != 200 {
        return assert_refused(&answer);
    }
    let token = answer.json["access_token"].as_str().expect("a token");
    if let Some(sent) = untyped(coding, body) {
        let scope = sent["scope"].as_str().expect("a scope");
        let granted = answer.json["scope"].as_str().expect("a scope");
        // `all:refreshable` grants `all`. Taler compares scopes without regard to case.
        let asked = scope.to_ascii_lowercase();
        assert!(asked.starts_with(granted), "{granted} for {scope}");
    }
    let revoked = site.call("DELETE /private/token", token, "", b"");
    assert_eq!(revoked.status, 204, "{revoked:?}");
    let again = site.call("GET /private/otp-devices", token, "", b"");
    assert_eq!(again.status, 401, "{again:?}");
}

fn assert_refused(answer: &Answer) {
    assert!(answer.status >= 400, "{answer:?}");
    assert!(answer.json["code"].as_u64().is_some(), "{answer:?}");
}

/// Returns the body without types, unless it is compressed.
fn untyped(coding: &str, body: &[u8]) -> Option<Value> {
    let json = coding.is_empty().then(|| serde_json::from_slice(body));
    json?.ok()
}

fn assert_shows(shown: &Value, sent: &Value) {
    assert_eq!(shown["device_description"], sent["otp_device_description"]);
    let algorithm = match &sent["otp_algorithm"] {
        Value::Number(number) => number.as_u64(),
        Value::String(name) => {
            let names = ["NONE", "TOTP_WITHOUT_PRICE", "TOTP_WITH_PRICE"];
            let place = names
                .iter()
                .position(|known| name.eq_ignore_ascii_case(known));
            place.and_then(|place| u64::try_from(place).ok())
        }
        other => panic!("{other}"),
    };
    assert_eq!(shown["otp_algorithm"].as_u64(), algorithm);
    let key = sent["otp_key"].as_str().expect("a key");
    let mut bytes = vec![0; Base32Profile::max_decoded_len(key.len())];
    assert!(Base32Profile::Taler.decode_to(key, &mut bytes).is_ok());
}

/// Returns whether a body is certainly valid: each member occurs once and in its simplest form.
fn is_plain(sent: &Value, body: &[u8]) -> bool {
    let text = |name: &str| sent[name].as_str();
    let id = text("otp_device_id").filter(|id| {
        (1..=64).contains(&id.len()) && *id != "till" && id.bytes().all(|b| b.is_ascii_lowercase())
    });
    let description =
        text("otp_device_description").filter(|text| text.len() <= 64 && text.is_ascii());
    let key = text("otp_key").filter(|key| {
        let bytes = BASE32.decode(key.as_bytes());
        bytes.is_ok_and(|bytes| bytes.len() == 20)
    });
    let algorithm = sent["otp_algorithm"].as_u64().filter(|number| *number <= 2);
    let members = sent.as_object().map_or(0, serde_json::Map::len);
    // Canonical, so no member is repeated.
    let is_canonical = sent.to_string().as_bytes() == body;
    let all = (id, description, key, algorithm);
    is_canonical && members == 4 && matches!(all, (Some(_), Some(_), Some(_), Some(_)))
}

/// Escapes a path segment (RFC 3986 section 2.1).
fn escaped(segment: &str) -> String {
    let byte = |byte: u8| match byte {
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    segment.bytes().map(byte).collect()
}
