//! What a path names.

use keyproof_service::accounts::Whose;

use super::errors::Refusal;
use crate::http::RequestPath;

/// Which user a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// By number.
    Of(u32),
    /// By name.
    Name(String),
}

/// How a path came to name a key: the contract has some methods only under some paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Under {
    /// `user/mfa/{id}`
    Mfa,
    /// `user/{whose}/mfa/{id}`
    User,
}

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    ApplicationToken(u32),
    ApplicationTokens,
    Authenticate,
    Device(Whose, u32),
    Devices(Whose),
    Jwks,
    Key(Whose, u32, Under),
    KeyStatuses,
    KeyTypes,
    Keys,
    Password,
    RecoveryCodes,
    User(Number),
    UserRoles,
    UserStatuses,
    Users,
}

impl Resource {
    /// Those for which no token is asked.
    pub(super) fn public(path: &RequestPath) -> Option<Self> {
        match path.segments().ok()?.as_slice() {
            ["api", "v1", "authenticate"] => Some(Self::Authenticate),
            ["keyproof", "v1", "jwks.json"] => Some(Self::Jwks),
            _ => None,
        }
    }

    pub(super) fn of(path: &RequestPath) -> Result<Self, Refusal> {
        let segments = path
            .segments()
            .map_err(|error| Refusal::bad_request(error.to_string()))?;
        let ["api", "v1", rest @ ..] = segments.as_slice() else {
            return Err(Refusal::not_found());
        };
        Ok(match rest {
            ["authenticate"] => Self::Authenticate,
            ["application_token"] => Self::ApplicationTokens,
            ["application_token", id] => Self::ApplicationToken(number(id)?),
            ["user"] => Self::Users,
            ["user", "mfa"] => Self::Keys,
            ["user", "mfa", "status"] => Self::KeyStatuses,
            ["user", "mfa", "type"] => Self::KeyTypes,
            ["user", "mfa", "trusted_device"] => Self::Devices(Whose::Mine),
            ["user", "mfa", "trusted_device", id] => Self::Device(Whose::Mine, number(id)?),
            ["user", "mfa", id] => Self::Key(Whose::Mine, number(id)?, Under::Mfa),
            ["user", "password"] => Self::Password,
            ["user", "role"] => Self::UserRoles,
            ["user", "status"] => Self::UserStatuses,
            ["user", "my", "mfa", "recovery_codes"] => Self::RecoveryCodes,
            ["user", who, "mfa", "trusted_device"] => Self::Devices(whose(who)?),
            ["user", who, "mfa", "trusted_device", id] => Self::Device(whose(who)?, number(id)?),
            ["user", who, "mfa", id] => Self::Key(whose(who)?, number(id)?, Under::User),
            ["user", who] if !who.is_empty() => Self::User(match integral(who) {
                Some(id) => Number::Of(id),
                None => Number::Name((*who).to_owned()),
            }),
            _ => return Err(Refusal::not_found()),
        })
    }

    pub(super) const fn may_activate(&self) -> bool {
        matches!(self, Self::Key(_, _, Under::Mfa))
    }

    pub(super) const fn may_remove(&self) -> bool {
        matches!(self, Self::Key(_, _, Under::User))
    }

    pub(super) const fn template(&self) -> &'static str {
        match self {
            Self::ApplicationToken(_) => "/api/v1/application_token/{id}",
            Self::ApplicationTokens => "/api/v1/application_token",
            Self::Authenticate => "/api/v1/authenticate",
            Self::Device(..) => "/api/v1/user/{id}/mfa/trusted_device/{id}",
            Self::Devices(_) => "/api/v1/user/{id}/mfa/trusted_device",
            Self::Jwks => "/keyproof/v1/jwks.json",
            Self::Key(_, _, Under::Mfa) => "/api/v1/user/mfa/{id}",
            Self::Key(_, _, Under::User) => "/api/v1/user/{id}/mfa/{id}",
            Self::KeyStatuses => "/api/v1/user/mfa/status",
            Self::KeyTypes => "/api/v1/user/mfa/type",
            Self::Keys => "/api/v1/user/mfa",
            Self::Password => "/api/v1/user/password",
            Self::RecoveryCodes => "/api/v1/user/my/mfa/recovery_codes",
            Self::User(_) => "/api/v1/user/{id}",
            Self::UserRoles => "/api/v1/user/role",
            Self::UserStatuses => "/api/v1/user/status",
            Self::Users => "/api/v1/user",
        }
    }

    /// What another method is told: changes to users are not offered at all, elsewhere the method is the mistake.
    pub(super) fn no_such_method(&self) -> Refusal {
        Refusal::method(match self {
            Self::User(_) | Self::Users => return Refusal::not_found(),
            Self::ApplicationToken(_) | Self::Key(_, _, Under::Mfa) | Self::Password => "PATCH",
            Self::ApplicationTokens => "GET, HEAD, POST",
            Self::Authenticate | Self::Keys | Self::RecoveryCodes => "POST",
            Self::Device(..) | Self::Key(_, _, Under::User) => "DELETE",
            Self::Devices(_)
            | Self::Jwks
            | Self::KeyStatuses
            | Self::KeyTypes
            | Self::UserRoles
            | Self::UserStatuses => "GET, HEAD",
        })
    }
}

fn whose(segment: &str) -> Result<Whose, Refusal> {
    match segment {
        "my" => Ok(Whose::Mine),
        _ => number(segment).map(Whose::Of),
    }
}

/// A number in a path; one that no resource has is read all the same, to be found unknown.
fn number(segment: &str) -> Result<u32, Refusal> {
    integral(segment).ok_or_else(|| {
        let text: String = segment.chars().take(64).collect();
        Refusal::bad_request(format!(
            "Cannot parse parameter id as Long: For input string: {text:?}"
        ))
    })
}

/// `44` and `44.0`; what is too large becomes a number that nothing has. A negative one too.
fn integral(segment: &str) -> Option<u32> {
    let whole = match segment.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|b| b == b'0') => whole,
        Some(_) => return None,
        None => segment,
    };
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(whole.parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(path: &str) -> Result<Resource, Refusal> {
        Resource::of(&RequestPath::parse(&format!("/api/v1/{path}")))
    }

    #[test]
    fn words_come_before_numbers_and_names() {
        for (path, expected) in [
            ("user/mfa", Resource::Keys),
            ("user/mfa/status", Resource::KeyStatuses),
            ("user/mfa/type", Resource::KeyTypes),
            ("user/mfa/44", Resource::Key(Whose::Mine, 44, Under::Mfa)),
            (
                "user/my/mfa/44.0",
                Resource::Key(Whose::Mine, 44, Under::User),
            ),
            (
                "user/7/mfa/44",
                Resource::Key(Whose::Of(7), 44, Under::User),
            ),
            ("user/mfa/trusted_device", Resource::Devices(Whose::Mine)),
            (
                "user/my/mfa/trusted_device/3",
                Resource::Device(Whose::Mine, 3),
            ),
            (
                "user/7.00/mfa/trusted_device",
                Resource::Devices(Whose::Of(7)),
            ),
            ("user/my/mfa/recovery_codes", Resource::RecoveryCodes),
            ("user/7", Resource::User(Number::Of(7))),
            ("user/a%2Fb", Resource::User(Number::Name("a/b".to_owned()))),
        ] {
            assert_eq!(route(path), Ok(expected), "{path}");
        }
        for unknown in [
            "",
            "user/",
            "users",
            "user/7/event",
            "authenticate/workspace",
            "user/7/mfa",
        ] {
            assert_eq!(route(unknown), Err(Refusal::not_found()), "{unknown}");
        }
    }

    #[test]
    fn numbers_are_whole() {
        for (text, expected) in [
            ("44", Some(44)),
            ("44.0", Some(44)),
            ("0", Some(0)),
            ("-1", Some(u32::MAX)),
            ("99999999999999999999", Some(u32::MAX)),
            ("44.5", None),
            ("44.", None),
            ("", None),
            ("None", None),
            ("4e1", None),
            ("+4", None),
        ] {
            assert_eq!(integral(text), expected, "{text}");
        }
    }
}
