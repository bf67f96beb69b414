//! What a path names.

use std::fmt;

use keyproof_service::accounts::Whose;

use super::errors::Refusal;
use keyproof_http::RequestPath;

/// A number in a path, as it was asked for: one that nothing can have is read all the same, to be found unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Id(i64);

impl Id {
    /// The number to look for; 0, which nothing has, if it is too large or negative.
    pub(super) fn get(self) -> u32 {
        u32::try_from(self.0).unwrap_or(0)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whose keys or devices a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    /// The session's own user's.
    Me,
    /// Those of the user of this number.
    User(Id),
}

impl Whom {
    pub(super) fn whose(self) -> Whose {
        match self {
            Self::Me => Whose::Mine,
            Self::User(id) => Whose::Of(id.get()),
        }
    }
}

/// Which user a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// By number.
    Of(Id),
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
    ApplicationToken(Id),
    ApplicationTokens,
    Authenticate,
    Device(Whom, Id),
    Devices(Whom),
    Jwks,
    Key(Whom, Id, Under),
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
            ["user", "mfa", "trusted_device"] => Self::Devices(Whom::Me),
            ["user", "mfa", "trusted_device", id] => Self::Device(Whom::Me, number(id)?),
            ["user", "mfa", id] => Self::Key(Whom::Me, number(id)?, Under::Mfa),
            ["user", "password"] => Self::Password,
            ["user", "role"] => Self::UserRoles,
            ["user", "status"] => Self::UserStatuses,
            ["user", "my", "mfa", "recovery_codes"] => Self::RecoveryCodes,
            ["user", who, "mfa", "trusted_device"] => Self::Devices(whom(who)?),
            ["user", who, "mfa", "trusted_device", id] => Self::Device(whom(who)?, number(id)?),
            ["user", who, "mfa", id] => Self::Key(whom(who)?, number(id)?, Under::User),
            ["user", who] if !who.is_empty() => Self::User(match integral(who) {
                Some(id) => Number::Of(Id(id)),
                // No user's name is a number of any kind.
                None if who.parse::<f64>().is_ok() => Number::Of(number(who)?),
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

fn whom(segment: &str) -> Result<Whom, Refusal> {
    match segment {
        "my" => Ok(Whom::Me),
        _ => number(segment).map(Whom::User),
    }
}

fn number(segment: &str) -> Result<Id, Refusal> {
    integral(segment).map(Id).ok_or_else(|| {
        let text: String = segment.chars().take(64).collect();
        Refusal::bad_request(format!(
            "Cannot parse parameter id as Long: For input string: {text:?}"
        ))
    })
}

/// `44` and `44.0`.
pub(super) fn integral(text: &str) -> Option<i64> {
    let whole = match text.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|b| b == b'0') => whole,
        Some(_) => return None,
        None => text,
    };
    let has_sign = whole.starts_with('+');
    whole.parse().ok().filter(|_| !has_sign)
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
            ("user/mfa/44", Resource::Key(Whom::Me, Id(44), Under::Mfa)),
            (
                "user/my/mfa/44.0",
                Resource::Key(Whom::Me, Id(44), Under::User),
            ),
            (
                "user/7/mfa/44",
                Resource::Key(Whom::User(Id(7)), Id(44), Under::User),
            ),
            ("user/mfa/trusted_device", Resource::Devices(Whom::Me)),
            (
                "user/my/mfa/trusted_device/3",
                Resource::Device(Whom::Me, Id(3)),
            ),
            (
                "user/7.00/mfa/trusted_device",
                Resource::Devices(Whom::User(Id(7))),
            ),
            ("user/my/mfa/recovery_codes", Resource::RecoveryCodes),
            ("user/7", Resource::User(Number::Of(Id(7)))),
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
    fn numbers_that_are_not_whole_are_nobodys_name() {
        for number in ["4.5", "1e3", "+4", "9223372036854775808"] {
            let refused = route(&format!("user/{number}"));
            assert!(
                refused
                    .as_ref()
                    .is_err_and(|refusal| *refusal != Refusal::not_found()),
                "{number}: {refused:?}"
            );
        }
        for name in ["4e", "1st", "0x4", "1.2.3"] {
            let named = Resource::User(Number::Name(name.to_owned()));
            assert_eq!(route(&format!("user/{name}")), Ok(named));
        }
    }

    #[test]
    fn numbers_are_whole() {
        for (text, expected) in [
            ("44", Some(44)),
            ("44.0", Some(44)),
            ("044.00", Some(44)),
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("-1.0", Some(-1)),
            ("16777216", Some(1 << 24)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("99999999999999999999999999999999", None),
            ("44.5", None),
            ("44.", None),
            (".0", None),
            ("4.4.0", None),
            ("", None),
            ("-", None),
            ("None", None),
            ("4e1", None),
            ("1e400", None),
            ("0x4", None),
            (" 4", None),
            ("+4", None),
            ("\u{0664}", None),
        ] {
            assert_eq!(integral(text), expected, "{text}");
        }
        for (id, number) in [(44, 44), (-1, 0), (1 << 32, 0), ((1 << 32) + 44, 0)] {
            assert_eq!(Id(id).get(), number);
        }
    }
}
