//! Request bodies: each is one JSON object.

use ipnet::{IpNet, Ipv4Net};
use keyproof_service::accounts::{
    ApplicationTokenChange, NewApplicationToken, PasswordChange, PasswordLogin,
    RecoveryCodesRequest, TrustRequest,
};
use zeroize::Zeroizing;

use super::json::Members;
use crate::rfc3339::moment_or_date;

/// The name of the enrolled object in messages.
const KEY: &str = "MFA key";

/// Why a body was rejected. No variant contains any part of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// A malformed date.
    #[error(
        "Application Token - Expiry Date has invalid format: Expecting a date or an ISO 8601 timestamp."
    )]
    ExpiryDate,
    /// Only a part of one kind of credentials.
    #[error("The credentials are not complete")]
    Incomplete,
    /// A malformed address range.
    #[error("Application Token - IP has invalid format: Expecting IP Address in CIDR Notation.")]
    Network,
    /// JSON that is not an object.
    #[error("The body is not a JSON object")]
    NotAnObject,
    /// Malformed JSON.
    #[error("The body is not JSON")]
    NotJson,
    /// None or several kinds of credentials.
    #[error("Exactly one kind of credentials is needed")]
    NotOneKind,
    /// A member that occurs twice.
    #[error("A member of the body occurs twice")]
    Repeated,
    /// A missing member: the object's name and its own.
    #[error("{0} - {1} is required")]
    Required(&'static str, &'static str),
    /// A member of the wrong type: its name and the expected type.
    #[error("Cannot parse {0}: Expecting {1}")]
    Type(&'static str, &'static str),
    /// A key status other than 1.
    #[error("MFA key validation error: Status with Id '{0}' is not allowed")]
    UnknownKeyStatus(i64),
    /// A key type other than 0.
    #[error("MFA key validation error: Type with Id '{0}' is not known")]
    UnknownKeyType(i64),
    /// An application token status other than 0 and 1.
    #[error("Application Token validation error: Status with Id '{0}' is not known")]
    UnknownTokenStatus(i64),
}

/// The credentials of `POST authenticate`: one complete kind.
pub enum Credentials {
    /// An application token, which programs use.
    Application(Zeroizing<String>),
    /// The first step of a person's login. The fingerprint is also read from `trusted_device`.
    Password(PasswordLogin),
    /// A refresh token from an earlier login.
    Refresh(Zeroizing<String>),
    /// The second step.
    SecondFactor {
        /// The challenge from the first step.
        token: Zeroizing<String>,
        /// A TOTP code, padded to six digits if it is numeric, or a recovery code unchanged. Also read from `status`,
        /// where clients put it in an activation.
        code: Zeroizing<String>,
        /// The device to trust: `trusted_device`, or only a `fingerprint`.
        trust: Option<TrustRequest>,
    },
}

impl Credentials {
    /// Parses the body.
    ///
    /// # Errors
    ///
    /// [`BodyError`].
    pub fn parse(body: &[u8]) -> Result<Self, BodyError> {
        let mut members = Members::parse(body)?;
        let application = members.secret("application_token")?;
        let refresh = members.secret("refresh_token")?;
        let (name, password) = (members.text("username")?, members.secret("password")?);
        let (challenge, mut code) = (members.secret("mfa_token")?, members.code()?);
        if challenge.is_some()
            && code.is_none()
            && let Some(mut status) = members.object("status")?
        {
            code = status.code()?;
        }
        let kinds = [
            application.is_some(),
            refresh.is_some(),
            name.is_some() || password.is_some(),
            challenge.is_some() || code.is_some(),
        ];
        if kinds.iter().filter(|is_there| **is_there).count() != 1 {
            return Err(BodyError::NotOneKind);
        }
        let fingerprint = fingerprint(&mut members)?;
        let device = members.object("trusted_device")?;
        let trust = device.map(trust).transpose()?.flatten();
        match (application, refresh, name, password, challenge, code) {
            (Some(token), ..) => Ok(Self::Application(token)),
            (_, Some(token), ..) => Ok(Self::Refresh(token)),
            (_, _, Some(name), Some(password), ..) => Ok(Self::Password(PasswordLogin {
                name,
                password,
                fingerprint: fingerprint.or(trust.map(|trust| trust.fingerprint)),
            })),
            (.., Some(token), Some(code)) => Ok(Self::SecondFactor {
                token,
                code,
                trust: trust.or(fingerprint.map(|fingerprint| TrustRequest {
                    fingerprint,
                    replacing: None,
                    browser: None,
                    name: None,
                    operating_system: None,
                })),
            }),
            _ => Err(BodyError::Incomplete),
        }
    }
}

/// Parses the device to trust. Returns `None` without a fingerprint.
fn trust(mut members: Members) -> Result<Option<TrustRequest>, BodyError> {
    let fingerprint = fingerprint(&mut members)?;
    let (browser, name) = (members.text("browser")?, members.text("name")?);
    let operating_system = members.text("operating_system")?;
    Ok(fingerprint.map(|fingerprint| TrustRequest {
        fingerprint,
        replacing: None,
        browser,
        name,
        operating_system,
    }))
}

/// Takes a fingerprint. An empty one counts as none, as some clients send members that were not set.
fn fingerprint(members: &mut Members) -> Result<Option<String>, BodyError> {
    let fingerprint = members.text("fingerprint")?;
    Ok(fingerprint.filter(|text| !text.is_empty()))
}

/// Parses the enrolment of a TOTP key, and returns the password.
pub(super) fn enrolment(body: &[u8]) -> Result<Zeroizing<String>, BodyError> {
    const TYPE: BodyError = BodyError::Required(KEY, "type");
    let mut members = Members::parse(body)?;
    let kind = members.object("type")?.ok_or(TYPE)?.number("id")?;
    let password = password(&mut members, KEY, "password")?;
    match kind {
        None => Err(TYPE),
        Some(0) => Ok(password),
        Some(other) => Err(BodyError::UnknownKeyType(other)),
    }
}

/// Parses an activation and returns the code, from the top level or from `status`, as a string or number. Numeric codes
/// are padded to six digits.
///
/// # Errors
///
/// [`BodyError`]; also for a status other than 1 (active).
pub fn activation(body: &[u8]) -> Result<Zeroizing<String>, BodyError> {
    const STATUS: BodyError = BodyError::Required(KEY, "status");
    let mut members = Members::parse(body)?;
    let outer = members.code()?;
    let mut status = members.object("status")?.ok_or(STATUS)?;
    match status.number("id")?.ok_or(STATUS)? {
        1 => {}
        other => return Err(BodyError::UnknownKeyStatus(other)),
    }
    let inner = status.code()?;
    outer.or(inner).ok_or(BodyError::Required(KEY, "code"))
}

/// Parses a request for recovery codes: the password, and a code as in a login. The use case decides whether the code
/// is required.
pub(super) fn recovery_codes(body: &[u8]) -> Result<RecoveryCodesRequest, BodyError> {
    let mut members = Members::parse(body)?;
    let password = password(&mut members, "Recovery codes", "password")?;
    let code = members.code()?;
    Ok(RecoveryCodesRequest { password, code })
}

/// Parses the old and the new password.
pub(super) fn new_password(body: &[u8]) -> Result<PasswordChange, BodyError> {
    let mut members = Members::parse(body)?;
    let mut password = |name| password(&mut members, "Password", name);
    let (old, new) = (password("old_password")?, password("new_password")?);
    Ok(PasswordChange { old, new })
}

fn password(
    members: &mut Members,
    object: &'static str,
    name: &'static str,
) -> Result<Zeroizing<String>, BodyError> {
    let password = members.secret(name)?;
    password.ok_or(BodyError::Required(object, name))
}

pub(super) fn new_application_token(body: &[u8]) -> Result<NewApplicationToken, BodyError> {
    let mut members = Members::parse(body)?;
    let description = members.text("description")?;
    let valid_until = members.text("expiry_date")?;
    let valid_until = valid_until.map(|text| moment_or_date(&text).ok_or(BodyError::ExpiryDate));
    let network = members.text("ip")?;
    let network = network.map(|text| network_of(&text).ok_or(BodyError::Network));
    Ok(NewApplicationToken {
        description,
        valid_until: valid_until.transpose()?,
        network: network.transpose()?,
    })
}

/// Parses an address range. IPv4-mapped IPv6 ranges become IPv4 ranges, as clients' addresses are IPv4 then.
fn network_of(text: &str) -> Option<IpNet> {
    let network = text.parse::<IpNet>().ok()?;
    let mapped = match network {
        IpNet::V4(_) => None,
        IpNet::V6(network) => network.addr().to_ipv4_mapped(),
    };
    let Some(address) = mapped else {
        return Some(network);
    };
    // A shorter prefix covers more than mapped addresses.
    let prefix = network.prefix_len().checked_sub(96)?;
    Ipv4Net::new(address, prefix).ok().map(IpNet::V4)
}

pub(super) fn application_token_change(body: &[u8]) -> Result<ApplicationTokenChange, BodyError> {
    const STATUS: BodyError = BodyError::Required("Application Token", "status");
    let mut members = Members::parse(body)?;
    let description = members.text("description")?;
    let is_revoked = match members.object("status")? {
        None => None,
        Some(mut status) => match status.number("id")?.ok_or(STATUS)? {
            0 => Some(false),
            1 => Some(true),
            other => return Err(BodyError::UnknownTokenStatus(other)),
        },
    };
    Ok(ApplicationTokenChange {
        description,
        is_revoked,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(json: &Value) -> Result<Credentials, BodyError> {
        Credentials::parse(json.to_string().as_bytes())
    }

    #[test]
    fn an_activation_has_its_code_in_either_place() {
        for (body, expected) in [
            (json!({ "status": { "id": 1 }, "code": "123456" }), "123456"),
            (
                json!({ "status": { "id": 1.0, "code": 12345.0 } }),
                "012345",
            ),
            (json!({ "status": { "id": 1 }, "code": 7 }), "000007"),
            (
                json!({ "status": { "id": 1, "code": 1 }, "code": null }),
                "000001",
            ),
            (
                json!({ "status": { "id": 1, "code": 1 }, "code": 2 }),
                "000002",
            ),
        ] {
            let code = activation(body.to_string().as_bytes());
            assert_eq!(code.unwrap().as_str(), expected, "{body}");
        }
        for (body, expected) in [
            (json!({ "code": 1 }), BodyError::Required(KEY, "status")),
            (
                json!({ "status": {}, "code": 1 }),
                BodyError::Required(KEY, "status"),
            ),
            (
                json!({ "status": { "id": 1 } }),
                BodyError::Required(KEY, "code"),
            ),
            (
                json!({ "status": { "id": 0 }, "code": 1 }),
                BodyError::UnknownKeyStatus(0),
            ),
            (
                json!({ "status": { "id": "1" }, "code": 1 }),
                BodyError::Type("id", "a Number"),
            ),
            (
                json!({ "status": 1, "code": 1 }),
                BodyError::Type("status", "an Object"),
            ),
        ] {
            let error = activation(body.to_string().as_bytes()).err();
            assert_eq!(error, Some(expected), "{body}");
        }
    }

    #[test]
    fn one_kind_of_credentials_is_read() {
        use BodyError::{Incomplete, NotOneKind};
        for (body, expected) in [
            (json!({}), NotOneKind),
            (json!({ "fingerprint": "f" }), NotOneKind),
            (
                json!({ "application_token": "a", "refresh_token": "b" }),
                NotOneKind,
            ),
            (
                json!({ "username": "a", "password": "b", "code": 1 }),
                NotOneKind,
            ),
            (json!({ "username": "a" }), Incomplete),
            (json!({ "username": "a", "password": null }), Incomplete),
            (json!({ "password": "a" }), Incomplete),
            (json!({ "mfa_token": "a" }), Incomplete),
            (json!({ "code": "1" }), Incomplete),
            (
                json!({ "username": 1, "password": "b" }),
                BodyError::Type("username", "a String"),
            ),
            (
                json!({ "mfa_token": "a", "code": 1, "trusted_device": { "browser": 1 } }),
                BodyError::Type("browser", "a String"),
            ),
        ] {
            assert_eq!(read(&body).err(), Some(expected), "{body}");
        }
    }

    #[test]
    fn ipv4_networks_are_such_however_they_are_written() {
        for (written, read) in [
            ("192.0.2.0/24", Some("192.0.2.0/24")),
            ("::ffff:192.0.2.0/120", Some("192.0.2.0/24")),
            ("::ffff:c000:207/128", Some("192.0.2.7/32")),
            ("::ffff:0:0/96", Some("0.0.0.0/0")),
            ("::ffff:192.0.2.0/95", None),
            ("::ffff:192.0.2.7/64", None),
            ("2001:db8::/32", Some("2001:db8::/32")),
            ("::/0", Some("::/0")),
            ("192.0.2.7", None),
        ] {
            let body = json!({ "ip": written }).to_string();
            let new = new_application_token(body.as_bytes());
            let network = new.map(|new| new.network.unwrap().to_string());
            let read = read.map(ToOwned::to_owned).ok_or(BodyError::Network);
            assert_eq!(network, read, "{written}");
        }
    }

    #[test]
    fn a_code_may_stand_where_activation_has_it() {
        for (body, expected) in [
            (json!({ "status": { "code": 1.0, "id": 1.0 } }), "000001"),
            (json!({ "status": { "code": 1 }, "code": 2 }), "000002"),
            (json!({ "status": { "code": 1 }, "code": null }), "000001"),
            (json!({ "status": "on", "code": 3 }), "000003"),
        ] {
            let mut body = body;
            body["mfa_token"] = json!("t");
            let Ok(Credentials::SecondFactor { code, .. }) = read(&body) else {
                panic!("{body}");
            };
            assert_eq!(*code, expected, "{body}");
        }
        let status = json!({ "mfa_token": "t", "status": "on" });
        let error = BodyError::Type("status", "an Object");
        assert_eq!(read(&status).err(), Some(error));
        // Elsewhere it is ignored like any unknown member.
        let password = json!({ "username": "a", "password": "b", "status": { "code": 1 } });
        assert!(matches!(read(&password), Ok(Credentials::Password(_))));
    }

    #[test]
    fn a_fingerprint_comes_flat_or_in_a_device() {
        let flat = json!({ "mfa_token": "t", "code": 1, "fingerprint": "f", "username": null });
        let Ok(Credentials::SecondFactor { trust, code, .. }) = read(&flat) else {
            panic!("{flat}");
        };
        assert_eq!(*code, "000001");
        let trust = trust.unwrap();
        assert_eq!((trust.fingerprint.as_str(), trust.browser), ("f", None));
        let device = json!({ "fingerprint": "f", "browser": "b", "operating_system": "o" });
        for (member, value) in [("fingerprint", json!("f")), ("trusted_device", device)] {
            let mut body = json!({ "username": "a", "password": "b" });
            body[member] = value;
            let Ok(Credentials::Password(login)) = read(&body) else {
                panic!("{body}");
            };
            assert_eq!(login.fingerprint.as_deref(), Some("f"));
        }
    }

    #[test]
    fn an_empty_fingerprint_does_not_hide_the_other() {
        for (flat, of_device, expected) in
            [("", "f", Some("f")), ("f", "", Some("f")), ("", "", None)]
        {
            let device = json!({ "fingerprint": of_device });
            let mut body = json!({ "fingerprint": flat, "trusted_device": device });
            body["username"] = json!("a");
            body["password"] = json!("b");
            let Ok(Credentials::Password(login)) = read(&body) else {
                panic!("{body}");
            };
            assert_eq!(login.fingerprint.as_deref(), expected, "{body}");
            let mut body = json!({ "fingerprint": flat, "trusted_device": device });
            body["mfa_token"] = json!("t");
            body["code"] = json!(1);
            let Ok(Credentials::SecondFactor { trust, .. }) = read(&body) else {
                panic!("{body}");
            };
            let trusted = trust.map(|trust| trust.fingerprint);
            assert_eq!(trusted.as_deref(), expected, "{body}");
        }
    }
}
