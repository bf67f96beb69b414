//! The JSON of responses. Absent members are left out.

use http::{HeaderValue, StatusCode, header};
use keyproof_http::{Response, json_as};
use keyproof_service::{
    Timestamp,
    accounts::{
        ApplicationTokenSummary, DeviceView, EnrolledKey, KeySummary, PublicKey, Role, UserPage,
        UserStatus, UserView,
    },
};
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use crate::rfc3339::utc;

/// How long a JWK set may be cached. Clients fetch it again for an unknown key id anyway.
const JWKS_CACHED: &str = "public, max-age=300";

/// A number with its text, in most objects.
#[derive(Serialize)]
struct Described {
    id: u32,
    description: &'static str,
}

impl Described {
    const fn new(id: u32, description: &'static str) -> Self {
        Self { id, description }
    }
}

/// A number with its text, in the other objects.
#[derive(Serialize)]
struct Named<'a> {
    id: u32,
    name: &'a str,
}

/// A time in the contract's format: UTC, in milliseconds.
struct Moment(Timestamp);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:.3}Z", utc(self.0)))
    }
}

pub(super) fn tokens(access: &str, refresh: Option<&Zeroizing<String>>) -> Response {
    #[derive(Serialize)]
    struct Tokens<'a> {
        auth_token: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        refresh_token: Option<&'a str>,
    }

    ok(&Tokens {
        auth_token: access,
        refresh_token: refresh.map(|token| token.as_str()),
    })
}

pub(super) fn challenge(token: &str) -> Response {
    #[derive(Serialize)]
    struct Challenge<'a> {
        mfa_token: &'a str,
    }

    ok(&Challenge { mfa_token: token })
}

pub(super) fn application_token(text: &str) -> Response {
    #[derive(Serialize)]
    struct Created<'a> {
        application_token: &'a str,
    }

    ok(&Created {
        application_token: text,
    })
}

pub(super) fn recovery_codes(codes: &[Zeroizing<String>]) -> Response {
    #[derive(Serialize)]
    struct Codes<'a> {
        codes: Vec<&'a str>,
    }

    ok(&Codes {
        codes: codes.iter().map(|code| code.as_str()).collect(),
    })
}

pub(super) fn enrolled(enrolled: &EnrolledKey) -> Response {
    #[derive(Serialize)]
    struct Key<'a> {
        id: u32,
        status: Described,
        #[serde(rename = "type")]
        kind: Described,
        secret_key: &'a str,
        otpauth: &'a str,
        creation_date: Moment,
    }

    ok(&Key {
        id: enrolled.key.id,
        status: key_status(&enrolled.key),
        kind: TYPE,
        secret_key: &enrolled.secret,
        otpauth: &enrolled.uri,
        creation_date: Moment(enrolled.key.created_at),
    })
}

/// The only key type.
const TYPE: Described = Described::new(0, "Time-Based One-Time Password");

const PENDING: Described = Described::new(0, "Activation Pending");

const ACTIVE: Described = Described::new(1, "Active");

const SUSPENDED: Described = Described::new(2, "Suspended");

const fn key_status(key: &KeySummary) -> Described {
    match key.activated_at {
        None => PENDING,
        Some(_) => ACTIVE,
    }
}

pub(super) fn key_statuses() -> Response {
    ok(&[PENDING, ACTIVE])
}

pub(super) fn key_types() -> Response {
    ok(&[TYPE])
}

pub(super) fn devices(devices: &[DeviceView]) -> Response {
    #[derive(Serialize)]
    struct Device<'a> {
        id: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        operating_system: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        browser: Option<&'a str>,
        activation_date: Moment,
    }

    let devices: Vec<_> = devices
        .iter()
        .map(|device| Device {
            id: device.id,
            operating_system: device.operating_system.as_deref(),
            browser: device.browser.as_deref(),
            activation_date: Moment(device.trusted_at),
        })
        .collect();
    ok(&devices)
}

#[derive(Serialize)]
struct User<'a> {
    id: u32,
    username: &'a str,
    name: &'a str,
    created: Moment,
    status: Described,
    organisation: Named<'a>,
    roles: [Named<'a>; 1],
    /// Left out where the caller may not see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    mfa: Option<Vec<UserKey>>,
}

/// A key, as in the user resource.
#[derive(Serialize)]
struct UserKey {
    id: u32,
    #[serde(rename = "type")]
    kind: Named<'static>,
    status: Named<'static>,
    creation_date: Moment,
    #[serde(skip_serializing_if = "Option::is_none")]
    activation_date: Option<Moment>,
}

impl<'a> User<'a> {
    fn of(user: &'a UserView) -> Self {
        Self {
            id: user.id,
            username: &user.name,
            name: &user.name,
            created: Moment(user.created_at),
            status: match user.status {
                UserStatus::Active => ACTIVE,
                UserStatus::Suspended => SUSPENDED,
            },
            organisation: Named {
                id: user.organisation,
                name: &user.organisation_name,
            },
            roles: [role(user.role)],
            mfa: user
                .shows_key
                .then(|| user.key.iter().map(UserKey::of).collect()),
        }
    }
}

impl UserKey {
    fn of(key: &KeySummary) -> Self {
        let named = |Described { id, description }| Named {
            id,
            name: description,
        };
        Self {
            id: key.id,
            kind: named(TYPE),
            status: named(key_status(key)),
            creation_date: Moment(key.created_at),
            activation_date: key.activated_at.map(Moment),
        }
    }
}

pub(super) fn user(user: &UserView) -> Response {
    ok(&User::of(user))
}

pub(super) fn users(page: &UserPage) -> Response {
    let users: Vec<_> = page.users.iter().map(User::of).collect();
    ok(&users)
}

pub(super) fn user_statuses() -> Response {
    let deleted = Described::new(3, "Deleted");
    ok(&[PENDING, ACTIVE, SUSPENDED, deleted])
}

const fn role(role: Role) -> Named<'static> {
    let id = match role {
        Role::Administrator => 1,
        Role::User => 2,
        Role::Observer => 3,
        // The contract has no number for it.
        Role::SuperAdmin => 4,
    };
    Named {
        id,
        name: role.name(),
    }
}

/// Returns the roles that the contract lists.
pub(super) fn roles() -> Response {
    ok(&[Role::Administrator, Role::User, Role::Observer].map(role))
}

pub(super) fn application_tokens(tokens: &[ApplicationTokenSummary]) -> Response {
    #[derive(Serialize)]
    struct Token<'a> {
        id: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a str>,
        created: Moment,
        status: Described,
        #[serde(skip_serializing_if = "Option::is_none")]
        expiry_date: Option<Moment>,
        #[serde(skip_serializing_if = "Option::is_none")]
        ip: Option<String>,
        creator: Creator<'a>,
    }

    #[derive(Serialize)]
    struct Creator<'a> {
        id: u32,
        name: &'a str,
        username: &'a str,
    }

    let tokens: Vec<_> = tokens
        .iter()
        .map(|token| Token {
            id: token.id,
            description: token.description.as_deref(),
            created: Moment(token.created_at),
            status: if token.is_revoked {
                Described::new(1, "Revoked")
            } else {
                Described::new(0, "Activated")
            },
            expiry_date: token.valid_until.map(Moment),
            ip: token.network.map(|network| network.to_string()),
            creator: Creator {
                id: token.creator,
                name: &token.creator_name,
                username: &token.creator_name,
            },
        })
        .collect();
    ok(&tokens)
}

/// A JWK set (RFC 7517, section 5).
pub(super) fn jwks(keys: &[PublicKey]) -> Response {
    #[derive(Serialize)]
    struct Set<'a> {
        keys: Vec<Jwk<'a>>,
    }

    #[derive(Serialize)]
    struct Jwk<'a> {
        kty: &'static str,
        crv: &'static str,
        alg: &'static str,
        #[serde(rename = "use")]
        purpose: &'static str,
        kid: &'a str,
        x: &'a str,
        y: &'a str,
    }

    let keys = keys.iter().map(|key| Jwk {
        kty: "EC",
        crv: "P-256",
        alg: "ES256",
        purpose: "sig",
        kid: &key.id,
        x: &key.x,
        y: &key.y,
    });
    let mut response = ok(&Set {
        keys: keys.collect(),
    });
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static(JWKS_CACHED));
    response
}

fn ok(body: &impl Serialize) -> Response {
    json(StatusCode::OK, body)
}

pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    json_as(status, "application/json; charset=UTF-8", body)
}
