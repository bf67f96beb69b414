//! The variables of a path.

use std::fmt;

use keyproof_service::accounts::{TargetUser, is_number};

use super::{errors::Refusal, json::whole};
use crate::route_table::Resource;

/// A number in a path. Numbers that cannot exist are accepted too, and then not found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Id(i64);

impl Id {
    /// Returns the number to look up; 0, which is never assigned, if it is negative or too large.
    pub(super) fn get(self) -> u32 {
        u32::try_from(self.0).unwrap_or(0)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The user whose keys or devices a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathUser {
    /// The session's own user.
    Me,
    /// The user of this number.
    User(Id),
}

impl PathUser {
    pub(super) fn target_user(self) -> TargetUser {
        match self {
            Self::Me => TargetUser::Mine,
            Self::User(id) => TargetUser::Of(id.get()),
        }
    }
}

/// The user that a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// By number.
    Number(Id),
    /// By name.
    Name(String),
}

/// As in the path.
impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(id) => id.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// The variables of a path. A variable that the path lacks is the session's own user, or a number that is never
/// assigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Variables {
    /// `{user}`
    pub(super) path_user: PathUser,
    /// `{id}`
    pub(super) id: Id,
    /// `{name}`
    pub(super) named: Named,
}

impl Variables {
    pub(super) fn of<O>(resource: &Resource<'_, O>) -> Result<Self, Refusal> {
        let path_user = resource.variable("user").map(path_user).transpose()?;
        let id = resource.variable("id").map(number).transpose()?;
        let named = resource.variable("name").map(named).transpose()?;
        Ok(Self {
            path_user: path_user.unwrap_or(PathUser::Me),
            id: id.unwrap_or_default(),
            named: named.unwrap_or(Named::Number(Id::default())),
        })
    }
}

fn path_user(segment: &str) -> Result<PathUser, Refusal> {
    match segment {
        "my" => Ok(PathUser::Me),
        _ => number(segment).map(PathUser::User),
    }
}

fn named(segment: &str) -> Result<Named, Refusal> {
    match integral(segment) {
        Some(id) => Ok(Named::Number(Id(id))),
        None if segment.is_empty() => Err(Refusal::not_found()),
        // No user name is a number.
        None if is_number(segment) => number(segment).map(Named::Number),
        None => Ok(Named::Name(segment.to_owned())),
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

/// Parses integers such as `44` and `44.0`, and the forms `1.6559517E7` and `1.6559517e+07` that Java and Go give large
/// floats.
pub(super) fn integral(text: &str) -> Option<i64> {
    if text.starts_with('+') {
        return None;
    }
    if text.contains(['e', 'E']) {
        return text.parse::<f64>().ok().and_then(whole);
    }
    let digits = match text.split_once('.') {
        Some((digits, zeros)) if !zeros.is_empty() && zeros.bytes().all(|b| b == b'0') => digits,
        Some(_) => return None,
        None => text,
    };
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_not_whole_are_nobodys_name() {
        for number in ["4.5", "1e-3", "+4", "+4e1", "9223372036854775808"] {
            let refused = named(number);
            assert!(
                refused
                    .as_ref()
                    .is_err_and(|refusal| *refusal != Refusal::not_found()),
                "{number}: {refused:?}"
            );
        }
        for name in ["4e", "1st", "0x4", "1.2.3", "a/b", "nan", "inf"] {
            assert_eq!(named(name), Ok(Named::Name(name.to_owned())));
        }
        assert_eq!(named("7.0"), Ok(Named::Number(Id(7))));
        assert_eq!(named("1e3"), Ok(Named::Number(Id(1_000))));
        assert_eq!(named(""), Err(Refusal::not_found()));
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
            ("1.6559517E7", Some(16_559_517)),
            ("1.6559517e+07", Some(16_559_517)),
            ("1e+06", Some(1_000_000)),
            ("-4e1", Some(-40)),
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
            ("1.65595175E7", None),
            ("4e-1", None),
            ("4e", None),
            ("1e15", None),
            ("1e400", None),
            ("+4e1", None),
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
