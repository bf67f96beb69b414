//! The texts of emnify's events of types 6, 7 and 14, for the audit trail.
//!
//! They omit emnify's trailing `from IP`: an event stores its address separately, and drops it after a while.

use keyproof_service::accounts::{ApplicationTokenState, Detail, Reason};

/// Returns the text of an event's detail.
pub(super) fn word(detail: &Detail<'_>) -> String {
    match *detail {
        Detail::ApplicationRefused { why } => {
            let why = token_status(why);
            format!("type 7: Failed authentication request, Reason: {why}")
        }
        Detail::DeviceTrusted {
            user,
            operating_system,
            browser,
        } => {
            let device = device(operating_system, browser);
            format!("type 14: New trusted device registered for user {user}{device}")
        }
        Detail::KeyRemoved {
            key,
            user,
            devices,
            recovery_codes,
        } => format!(
            "type 14: MFA key with Id '{key}' of Type 'Time-Based One-Time Password' deleted for user '{user}' \
             (with {devices} trusted devices, {recovery_codes} recovery codes)"
        ),
        Detail::LoginRefused { name, why } => {
            let by = match name {
                "" => String::new(),
                name => format!(" from '{name}'"),
            };
            let why = reason(why);
            format!("type 6: Failed authentication request{by}, Reason: {why}")
        }
        Detail::Refused(why) => reason(why).to_owned(),
    }
}

/// Quoted, as the client chose the text.
fn device(operating_system: Option<&str>, browser: Option<&str>) -> String {
    match (operating_system, browser) {
        (Some(system), Some(browser)) => {
            format!(" (operating system {system:?}, browser {browser:?})")
        }
        (Some(system), None) => format!(" (operating system {system:?})"),
        (None, Some(browser)) => format!(" (browser {browser:?})"),
        (None, None) => String::new(),
    }
}

const fn token_status(why: ApplicationTokenState) -> &'static str {
    match why {
        ApplicationTokenState::CreatorGone => "its creator is gone or suspended",
        ApplicationTokenState::Elsewhere => "IP not allowed",
        ApplicationTokenState::Expired => "TokenStatus Expired",
        ApplicationTokenState::Revoked => "TokenStatus Revoked",
        ApplicationTokenState::Unknown => "TokenStatus Unknown",
    }
}

const fn reason(why: Reason) -> &'static str {
    match why {
        Reason::ChallengeUnknown => "Invalid or expired MFA token",
        Reason::CodeMissing => "no MFA code",
        Reason::CodeUsed => "MFA code used before",
        Reason::CodeWrong { locks: false } => "Invalid MFA code",
        Reason::CodeWrong { locks: true } => {
            "Invalid MFA code. Too many failed authentication requests"
        }
        Reason::FactorNeeded => "the session has shown no second factor",
        Reason::KeyActive => "a key is active",
        Reason::KeyUnknown => "there is no key",
        Reason::NoActiveKey => "no key is active",
        Reason::NotJudged => "Too many failed authentication requests",
        Reason::PasswordWrong { locks: false } => "Invalid password",
        Reason::PasswordWrong { locks: true } => {
            "Invalid password. Too many failed authentication requests"
        }
        Reason::RefreshTokenCopied => "Refresh token used twice: all tokens of its login end",
        Reason::RefreshTokenUnknown => "Invalid refresh token",
        Reason::RightPasswordLocked => {
            "Too many failed authentication requests. The password is right"
        }
    }
}
