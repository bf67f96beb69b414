//! What the audit trail is told of users: of whom, by whom, and in which words.

use super::records::{Owner, User};
use crate::{Action, Origin, Who, audit::Deed};
use keyproof_mfa::Failure;

/// Of an attempt that was not judged.
pub(super) const UNJUDGED: &str = "Too many failed authentication requests";

/// Of a code that is spent.
pub(super) const USED_CODE: &str = "MFA code used before";

/// Of a wrong password.
pub(super) const fn wrong_password(failure: &Failure) -> &'static str {
    match failure.locked_until {
        Some(_) => "Invalid password. Too many failed authentication requests",
        None => "Invalid password",
    }
}

/// Of a wrong code.
pub(super) const fn wrong_code(failure: &Failure) -> &'static str {
    match failure.locked_until {
        Some(_) => "Invalid MFA code. Too many failed authentication requests",
        None => "Invalid MFA code",
    }
}

/// A user.
pub(super) fn target(user: &User) -> String {
    owner(user.owner())
}

/// A user, whether or not there is one of this number.
pub(super) fn owner(Owner { organisation, user }: Owner) -> String {
    format!("organisation/{organisation}/user/{user}")
}

/// What a user does who has just shown who they are.
pub(super) fn by(user: &User, origin: &Origin) -> Origin {
    origin.by(Who::User {
        name: user.name.clone(),
        application_token: None,
    })
}

/// Something done to a user, or refused.
pub(super) fn deed<'a>(
    action: Action,
    user: &User,
    detail: Option<String>,
    origin: &'a Origin,
) -> Deed<'a> {
    Deed {
        action,
        target: target(user),
        detail,
        origin,
    }
}

/// Something refused to a user who has logged in.
pub(super) fn refused<'a>(action: Action, user: &User, why: &str, origin: &'a Origin) -> Deed<'a> {
    deed(action, user, Some(why.to_owned()), origin)
}

/// Whose login has failed.
#[derive(Clone, Copy)]
pub(super) enum Failed<'a> {
    /// A user's of this name.
    User(&'a str),
    /// Somebody's who typed a name that nobody has: what is told in its place.
    Unknown(&'a str),
    /// Nobody knows whose.
    Nobodys,
}

/// A failed login.
pub(super) fn failed<'a>(whose: Failed<'_>, reason: &str, origin: &'a Origin) -> Deed<'a> {
    let (target, by) = match whose {
        Failed::User(name) => {
            let name = name.escape_debug();
            (format!("user_name/{name}"), format!(" from '{name}'"))
        }
        Failed::Unknown(stand_in) => (format!("user_name/unknown/{stand_in}"), String::new()),
        Failed::Nobodys => ("user_name/".to_owned(), String::new()),
    };
    let from = origin
        .address
        .map_or_else(String::new, |address| format!(" from IP {address}"));
    Deed {
        action: Action::UserAuthenticate,
        target,
        detail: Some(format!(
            "type 6: Failed authentication request{by}, Reason: {reason}{from}"
        )),
        origin,
    }
}
