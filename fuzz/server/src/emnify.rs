//! The targets of the emnify dialect: bodies of logins and activations, compared with an untyped reading of the same JSON that
//! restates the contract's rules at their simplest.

use keyproof::dialect::emnify::body::{BodyError, Credentials, activation};
use keyproof_service::accounts::TrustRequest;
use serde_json::{Map, Value, json};

/// The members that identify the kind of credentials in a body.
const KINDS: [&[&str]; 4] = [
    &["application_token"],
    &["refresh_token"],
    &["username", "password"],
    &["mfa_token", "code"],
];

/// `POST authenticate`: an accepted body contains exactly one complete kind of credentials, with the members as sent. A rejected
/// body has the fault that the error names.
pub fn authenticate(data: &[u8]) {
    let read = Credentials::parse(data);
    let Some(mut members) = untyped(data, read.as_ref().err()) else {
        return;
    };
    // A code may be inside `status`, as at activation.
    if member(&members, "mfa_token").is_some()
        && member(&members, "code").is_none()
        && let Some(code) = members.get("status").and_then(|status| status.get("code"))
    {
        members.insert("code".to_owned(), code.clone());
    }
    let kinds: Vec<_> = KINDS
        .iter()
        .filter(|kind| kind.iter().any(|name| member(&members, name).is_some()))
        .collect();
    match read {
        Ok(credentials) => {
            assert_eq!(kinds.len(), 1, "{members:?}");
            assert!(
                kinds
                    .iter()
                    .copied()
                    .flat_map(|kind| *kind)
                    .all(|name| member(&members, name).is_some())
            );
            let shown = show(&credentials);
            compare(&shown, &members);
            holds_its_shape(&shown);
        }
        Err(BodyError::NotOneKind) => assert_ne!(kinds.len(), 1, "{members:?}"),
        Err(BodyError::Incomplete) => {
            let [kind] = kinds[..] else {
                panic!("{members:?}");
            };
            assert!(kind.iter().any(|name| member(&members, name).is_none()));
        }
        Err(BodyError::Type(name, _)) => assert!(has_wrong_type(&members, name), "{name}"),
        // The untyped reading keeps the last of the repeated members.
        Err(BodyError::Repeated) => {}
        Err(error) => panic!("{error:?} of {members:?}"),
    }
}

/// `PATCH user/mfa/{id}`: the result is the code, from the top level if there is one, padded if it has only digits, together with a
/// status of 1.
pub fn activate(data: &[u8]) {
    let read = activation(data);
    let Some(members) = untyped(data, read.as_ref().err()) else {
        return;
    };
    let status = member(&members, "status").and_then(Value::as_object);
    let id = status.and_then(|status| member(status, "id"));
    let outer = member(&members, "code");
    let inner = status.and_then(|status| member(status, "code"));
    match read {
        Ok(read) => {
            assert_eq!(id.and_then(whole), Some(1));
            let expected = outer.or(inner).and_then(code);
            assert_eq!(Some(read.as_str()), expected.as_deref());
            for again in [
                json!({ "status": { "id": 1 }, "code": *read }),
                json!({ "status": { "id": 1.0, "code": *read }, "code": null }),
            ] {
                let again = activation(again.to_string().as_bytes());
                assert_eq!(again.as_deref(), Ok(&*read), "padding has an end");
            }
        }
        Err(BodyError::Required(_, "status")) => assert!(id.is_none()),
        Err(BodyError::Required(_, "code")) => assert!(outer.is_none() && inner.is_none()),
        Err(BodyError::UnknownKeyStatus(found)) => {
            assert_ne!(found, 1);
            assert_eq!(id.and_then(whole), Some(found));
        }
        Err(BodyError::Type("status", _)) => assert!(status.is_none()),
        Err(BodyError::Type("id", _)) => assert_eq!(id.and_then(whole), None),
        Err(BodyError::Type("code", _)) => {
            assert!(
                [outer, inner]
                    .into_iter()
                    .flatten()
                    .any(|value| code(value).is_none())
            );
        }
        Err(BodyError::Repeated) => {}
        Err(error) => panic!("{error:?} of {members:?}"),
    }
}

/// Returns the members of the body if it can be read without types. That reading is stricter about members that are not used.
fn untyped(data: &[u8], error: Option<&BodyError>) -> Option<Map<String, Value>> {
    match serde_json::from_slice(data) {
        Ok(Value::Object(members)) => Some(members),
        Ok(_) => {
            assert_eq!(error, Some(&BodyError::NotAnObject));
            None
        }
        // A body that does not begin as an object need not be parsed further.
        Err(_) => {
            let begins_as_object = data.trim_ascii_start().starts_with(b"{");
            assert!(!begins_as_object || error != Some(&BodyError::NotAnObject));
            None
        }
    }
}

/// Returns a member that is not null.
fn member<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    members.get(name).filter(|value| !value.is_null())
}

fn whole(value: &Value) -> Option<i64> {
    let float =
        |number: f64| (number.fract() == 0.0 && number.abs() < 1e15).then_some(number as i64);
    match value.as_i64() {
        Some(number) => Some(number),
        None if value.is_u64() => None,
        None => value.as_f64().and_then(float),
    }
}

fn code(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        value => whole(value).filter(|number| *number >= 0)?.to_string(),
    };
    let is_digits = text.chars().all(|symbol| symbol.is_ascii_digit());
    let missing = 6_usize.saturating_sub(text.len());
    Some(if is_digits && !text.is_empty() {
        "0".repeat(missing) + &text
    } else {
        text
    })
}

/// Returns whether the body, or its device, has a member of that name with the wrong type.
fn has_wrong_type(members: &Map<String, Value>, name: &str) -> bool {
    let device = member(members, "trusted_device");
    let of_device = |name: &str| device.and_then(|device| device.get(name));
    match name {
        "code" => member(members, name).is_some_and(|value| code(value).is_none()),
        "status" | "trusted_device" => {
            member(members, name).is_some_and(|value| !value.is_object())
        }
        name => [member(members, name), of_device(name)]
            .into_iter()
            .flatten()
            .any(|value| !value.is_string() && !value.is_null()),
    }
}

/// Returns the credentials as a body that contains nothing else.
fn show(credentials: &Credentials) -> Value {
    match credentials {
        Credentials::Application(token) => json!({ "application_token": **token }),
        Credentials::Refresh(token) => json!({ "refresh_token": **token }),
        Credentials::Password(login) => json!({
            "username": login.name,
            "password": *login.password,
            "fingerprint": login.fingerprint,
        }),
        Credentials::SecondFactor { token, code, trust } => json!({
            "mfa_token": **token,
            "code": **code,
            "trusted_device": trust.as_ref().map(show_device),
        }),
    }
}

fn show_device(trust: &TrustRequest) -> Value {
    json!({
        "fingerprint": trust.fingerprint,
        "browser": trust.browser,
        "name": trust.name,
        "operating_system": trust.operating_system,
    })
}

/// Asserts that the credentials are those that were sent.
fn compare(shown: &Value, members: &Map<String, Value>) {
    let sent = |name: &str| member(members, name);
    // An empty one counts as none.
    let given = |value: &&Value| !value.is_null() && **value != "";
    let of_device = |device: &Value| device.get("fingerprint").filter(given).cloned();
    let flat = sent("fingerprint").filter(given);
    let fingerprinted = sent("trusted_device").filter(|device| of_device(device).is_some());
    for (name, value) in shown.as_object().into_iter().flatten() {
        match name.as_str() {
            "code" => assert_eq!(value.as_str(), sent(name).and_then(code).as_deref()),
            "fingerprint" => {
                let of_device = fingerprinted.and_then(of_device);
                let expected = flat.cloned().or(of_device).unwrap_or_default();
                assert_eq!(*value, expected);
            }
            "trusted_device" => match (fingerprinted, flat) {
                (Some(device), _) => {
                    for (name, value) in value.as_object().into_iter().flatten() {
                        assert_eq!(value, device.get(name).unwrap_or(&Value::Null), "{name}");
                    }
                }
                (None, Some(flat)) => assert_eq!(value.get("fingerprint"), Some(flat)),
                (None, None) => assert!(value.is_null()),
            },
            name => assert_eq!(Some(value), sent(name), "{name}"),
        }
    }
}

/// Asserts that the canonical body reads back the same, and is rejected with a second kind of credentials or with a repeated
/// member.
fn holds_its_shape(shown: &Value) {
    let read = |text: &str| Credentials::parse(text.as_bytes()).map(|read| show(&read));
    let text = shown.to_string();
    assert_eq!(read(&text).as_ref(), Ok(shown));
    let rest = text.strip_prefix('{').unwrap_or_default();
    for kind in KINDS {
        let beside = kind.iter().all(|name| shown.get(name).is_none());
        let name = kind.last().copied().unwrap_or_default();
        let expected = if beside {
            BodyError::NotOneKind
        } else {
            BodyError::Repeated
        };
        let both = format!(r#"{{"{name}":"1",{rest}"#);
        assert_eq!(read(&both), Err(expected), "{both}");
    }
}
