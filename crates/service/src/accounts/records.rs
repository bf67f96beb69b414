//! The stored records and their keys.

use std::{fmt, str::FromStr};

use data_encoding::HEXLOWER;
use ipnet::IpNet;
use itoa::Buffer;
use keyproof_auth::{Token, TokenDigest};
use keyproof_mfa::{
    Addresses, Challenge, Devices, KeyRecord, Lockout, RecoveryCodes, Sessions, VerifiedFactor,
};
use keyproof_store::{Key, Prefix, Sealed, Timestamp};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::session_id::{SessionId, TokenId};
use crate::{
    audit::Subject,
    keys::{made_at, moment, token_key, token_key_at},
    session_life::{SessionLifetime, SessionRecord},
};

/// The role of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// Manages the organisation's users.
    Administrator,
    /// Changes what belongs to the organisation, but does not manage its users.
    User,
    /// Reads, and changes only what is their own.
    Observer,
    /// Has the rights of an administrator.
    SuperAdmin,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 4] = [
        Self::Administrator,
        Self::User,
        Self::Observer,
        Self::SuperAdmin,
    ];

    /// Returns the role's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Administrator => "Administrator",
            Self::User => "User",
            Self::Observer => "Observer",
            Self::SuperAdmin => "SuperAdmin",
        }
    }

    /// Whether the role may see and remove other users' keys and devices.
    pub(super) const fn administers(self) -> bool {
        matches!(self, Self::Administrator | Self::SuperAdmin)
    }

    /// Whether the role may change what belongs to the organisation.
    pub(super) const fn changes(self) -> bool {
        !matches!(self, Self::Observer)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The error for an unknown role name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a role is User, Observer, Administrator or SuperAdmin")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        let mut all = Self::ALL.into_iter();
        all.find(|role| role.name().eq_ignore_ascii_case(text))
            .ok_or(UnknownRole)
    }
}

/// Whether a user may log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserStatus {
    /// The user may log in.
    Active,
    /// The user may not log in until an operator activates them again.
    Suspended,
}

/// An organisation, stored at `organisation/<number>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organisation {
    /// Its number.
    pub id: u32,
    /// Its name, which never changes.
    pub name: String,
}

record!(Organisation, "organisation");

pub(super) fn organisation_key(id: u32) -> Key {
    Key::new("organisation", [id.to_string()])
}

pub(super) fn all_organisations() -> Prefix {
    Prefix::collection("organisation")
}

/// Stored at `organisation_name/<name>`.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct OrganisationName {
    pub(super) id: u32,
}

record!(OrganisationName, "organisation_name");

pub(super) fn organisation_name_key(name: &str) -> Key {
    Key::new("organisation_name", [name])
}

pub(super) fn organisation_names() -> Prefix {
    Prefix::collection("organisation_name")
}

/// The owner of a record: an organisation's number and a user's number within it. `(0, 0)` is nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    pub(super) organisation: u32,
    pub(super) user: u32,
}

impl From<Subject> for Owner {
    fn from(subject: Subject) -> Self {
        Self {
            organisation: subject.organisation,
            user: subject.user,
        }
    }
}

impl Owner {
    pub(super) const NOBODY: Self = Self {
        organisation: 0,
        user: 0,
    };

    fn key(self, collection: &str) -> Key {
        let (mut organisation, mut user) = (Buffer::new(), Buffer::new());
        let segments = [
            organisation.format(self.organisation),
            user.format(self.user),
        ];
        Key::new(collection, segments)
    }
}

/// Stored at `user_name/_/<digest of the name>`. Names are unique across all organisations, because a login contains only the name.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct UserName {
    pub(super) owner: Owner,
}

record!(UserName, "user_name");

pub(super) fn user_name_key(name: &str) -> Key {
    let [key, _] = name_keys(name);
    key
}

/// Stored at `user/<organisation>/<number>`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct User {
    pub(super) id: u32,
    pub(super) name: String,
    pub(super) organisation: u32,
    pub(super) organisation_name: String,
    pub(super) role: Role,
    pub(super) status: UserStatus,
    /// A PHC string over the canonical form of the password.
    pub(super) password: String,
    /// Rises with every password and suspension. The first value is random, so that tokens of an earlier user with the same number
    /// do not become valid again.
    pub(super) generation: u64,
    /// Application tokens belong to it. It is drawn anew when an operator ends them all, and for each account, so that those of an
    /// earlier user with the same number do not become valid again.
    pub(super) incarnation: u64,
    /// Rises when a key becomes required at login, when it no longer is, and when other sessions are ended. Earlier refresh tokens
    /// become invalid for good.
    pub(super) key_changes: u64,
    pub(super) created_at: Timestamp,
    /// The last of these changes. Earlier releases did not store it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) activation: Option<Activation>,
}

/// The last activation or removal of a key, or end of other sessions. It revokes earlier access tokens, except the one that was
/// used for it.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Activation {
    /// The user's `key_changes` since then.
    pub(super) key_changes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) by: Option<TokenId>,
}

impl User {
    pub(super) const fn owner(&self) -> Owner {
        Owner {
            organisation: self.organisation,
            user: self.id,
        }
    }

    /// Returns the user with earlier refresh tokens revoked, and earlier access tokens except this one.
    pub(super) fn ending_sessions(self, by: Option<TokenId>) -> Self {
        let key_changes = self.key_changes.wrapping_add(1);
        Self {
            key_changes,
            activation: Some(Activation { key_changes, by }),
            ..self
        }
    }

    /// Returns the user as a subject of the audit trail.
    pub(super) const fn subject(&self) -> Subject {
        Subject {
            organisation: self.organisation,
            user: self.id,
            since: self.created_at,
        }
    }
}

/// Stored at `removed_user/<organisation>/<user>/<creation time of the account>`: the name of a removed account, which is stored
/// nowhere else.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RemovedUser {
    pub(super) name: String,
    #[serde(with = "subject_text")]
    pub(super) subject: Subject,
}

record!(RemovedUser, "removed_user");

pub(super) fn removed_user_key(subject: Subject) -> Key {
    let Subject {
        organisation,
        user,
        since,
    } = subject;
    Key::new(
        "removed_user",
        [organisation.to_string(), user.to_string(), moment(since)],
    )
}

pub(super) fn all_removed_users() -> Prefix {
    Prefix::collection("removed_user")
}

mod subject_text {
    use crate::audit::Subject;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(
        subject: &Subject,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(subject)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Subject, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

record!(User, "user");

pub(super) fn user_key(owner: Owner) -> Key {
    owner.key("user")
}

pub(super) fn users_of(organisation: u32) -> Prefix {
    Prefix::new("user", [organisation.to_string()])
}

pub(super) fn all_users() -> Prefix {
    Prefix::collection("user")
}

/// Stored at `mfa_lockout/_/<digest of the name>`, for known and unknown users alike.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct LockoutRecord(pub(super) Lockout);

record!(LockoutRecord, "mfa_lockout");

/// Returns the keys of a name's lookup record and of its counts.
pub(super) fn name_keys(name: &str) -> [Key; 2] {
    let digest = HEXLOWER.encode(digest(&SHA256, name.as_bytes()).as_ref());
    ["user_name", "mfa_lockout"].map(|collection| Key::new(collection, ["_", &digest]))
}

/// Stored at `mfa_addresses/<organisation>/<user>`: the addresses that the user is known at, and the counts for each.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct AddressesRecord(pub(super) Addresses);

record!(AddressesRecord, "mfa_addresses");

pub(super) fn addresses_key(owner: Owner) -> Key {
    owner.key("mfa_addresses")
}

/// Stored at `mfa_sessions/<organisation>/<user>`: the counts in the user's sessions.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct SessionsRecord(pub(super) Sessions);

record!(SessionsRecord, "mfa_sessions");

pub(super) fn sessions_key(owner: Owner) -> Key {
    owner.key("mfa_sessions")
}

/// Stored at `mfa_key/<organisation>/<user>`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct SecondFactor {
    pub(super) id: u32,
    pub(super) user: u32,
    /// The secret's bytes, sealed.
    pub(super) secret: Sealed,
    pub(super) key: KeyRecord,
}

impl SecondFactor {
    /// The name of the sealed field.
    pub(super) const SECRET: &'static str = "secret";
}

record!(SecondFactor, "mfa_key");

pub(super) fn second_factor_key(owner: Owner) -> Key {
    owner.key("mfa_key")
}

pub(super) fn second_factors_of(organisation: u32) -> Prefix {
    Prefix::new("mfa_key", [organisation.to_string()])
}

/// Stored at `mfa_devices/<organisation>/<user>`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct DevicesRecord(pub(super) Devices);

record!(DevicesRecord, "mfa_devices");

pub(super) fn devices_key(owner: Owner) -> Key {
    owner.key("mfa_devices")
}

/// Stored at `mfa_recovery/<organisation>/<user>`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct RecoveryRecord(pub(super) RecoveryCodes);

record!(RecoveryRecord, "mfa_recovery");

pub(super) fn recovery_key(owner: Owner) -> Key {
    owner.key("mfa_recovery")
}

/// Stored at `mfa_challenge/_/<its token's time>/<digest>`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ChallengeRecord {
    pub(super) owner: Owner,
    /// The user's name, by which failures are counted.
    pub(super) name: String,
    pub(super) challenge: Challenge,
}

record!(ChallengeRecord, "mfa_challenge");

pub(super) fn challenge_key(token: &Token) -> Key {
    token_key("mfa_challenge", "_", token)
}

/// Stored at `refresh_token/_/<time>/<digest>`.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct RefreshToken {
    pub(super) owner: Owner,
    /// The user's generation to which it belongs.
    pub(super) generation: u64,
    /// The user's `key_changes` when it was issued.
    pub(super) key_changes: u64,
    /// When the user logged in.
    pub(super) created_at: Timestamp,
    /// The name of the token family of its login. The first token has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) family: Option<String>,
    /// How it was used, if tokens are rotated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) spent: Option<Spent>,
    /// The session of its login. Tokens of earlier releases have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sid: Option<SessionId>,
    /// The second factor that was presented at its login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) shown: Option<VerifiedFactor>,
}

/// The data that, together with the used token, determines its successor.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Spent {
    pub(super) at: Timestamp,
    /// 32 random bytes in hex.
    pub(super) drawn: String,
    /// Whether the keys of the successor, and of the family that starts with it, contain the time. Those of earlier releases do
    /// not.
    #[serde(default)]
    pub(super) is_timed: bool,
}

record!(RefreshToken, "refresh_token");

pub(super) fn refresh_token_key(token: &Token) -> Key {
    token_key("refresh_token", "_", token)
}

/// Stored at `refresh_family/_/<time of its start>/<digest of the first token>`, or for an earlier release at
/// `refresh_family/<organisation>/<user>/<digest of the first token>`. Its tokens may be valid only while it exists.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct RefreshFamily {}

record!(RefreshFamily, "refresh_family");

/// Returns the name of a family that starts now. The name of one of an earlier release is the digest alone.
pub(super) fn refresh_family_name(now: Timestamp, first: &TokenDigest) -> String {
    format!("{}-{first}", moment(now))
}

pub(super) fn refresh_family_key(owner: Owner, name: &str) -> Key {
    const COLLECTION: &str = "refresh_family";
    match name.split_once('-') {
        Some((moment, first)) => Key::new(COLLECTION, ["_", moment, first]),
        None => {
            let (organisation, user) = (owner.organisation.to_string(), owner.user.to_string());
            Key::new(COLLECTION, [organisation.as_str(), &user, name])
        }
    }
}

/// Stored at `user_session/_/<time>/<digest>`: a login that a browser has a cookie for.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct UserSessionRecord {
    pub(super) owner: Owner,
    pub(super) generation: u64,
    pub(super) key_changes: u64,
    pub(super) sid: SessionId,
    /// Takes the role of an access token's id: identifies the session that activated or removed a key.
    pub(super) token: TokenId,
    /// The second factor that was presented at its login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) shown: Option<VerifiedFactor>,
    /// When the user logged in.
    pub(super) logged_in_at: Timestamp,
    pub(super) life: SessionLifetime,
}

record!(UserSessionRecord, "user_session");

impl SessionRecord for UserSessionRecord {
    fn life(&self) -> SessionLifetime {
        self.life
    }

    fn with_life(self, life: SessionLifetime) -> Self {
        Self { life, ..self }
    }
}

pub(super) fn user_session_key(token: &Token) -> Key {
    token_key("user_session", "_", token)
}

/// Stored at `application_token/<organisation>/<number>`.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct ApplicationToken {
    pub(super) id: u32,
    pub(super) description: Option<String>,
    pub(super) created_at: Timestamp,
    /// The first moment at which it is no longer valid. A record without this member is damaged.
    #[serde(deserialize_with = "Option::deserialize")]
    pub(super) valid_until: Option<Timestamp>,
    /// The only addresses that may use the token. A record without this member is damaged.
    #[serde(deserialize_with = "Option::deserialize")]
    pub(super) network: Option<IpNet>,
    pub(super) is_revoked: bool,
    /// The user for whom it acts.
    pub(super) creator: u32,
    pub(super) creator_incarnation: u64,
    pub(super) creator_name: String,
    /// Absent for tokens of earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<TextPlace>,
}

impl ApplicationToken {
    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        self.valid_until.is_some_and(|end| now >= end)
    }

    /// Returns the user for whom it acts, in the organisation that it belongs to.
    pub(super) const fn creator_in(&self, organisation: u32) -> Owner {
        Owner {
            organisation,
            user: self.creator,
        }
    }
}

/// The key of an application token's text, in parts.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct TextPlace {
    made_at: Timestamp,
    /// In hex.
    digest: String,
}

impl TextPlace {
    /// Returns `None` for a token that contains no time.
    pub(super) fn of(token: &Token) -> Option<Self> {
        Some(Self {
            made_at: made_at(token)?,
            digest: token.digest().to_string(),
        })
    }

    pub(super) fn key(&self) -> Option<Key> {
        let digest = self.digest.parse::<TokenDigest>().ok()?;
        let key = token_key_at("application_token_text", "_", self.made_at, &digest);
        Some(key)
    }
}

record!(ApplicationToken, "application_token");

pub(super) fn application_token_key(organisation: u32, id: u32) -> Key {
    Key::new(
        "application_token",
        [organisation.to_string(), id.to_string()],
    )
}

pub(super) fn application_tokens_of(organisation: u32) -> Prefix {
    Prefix::new("application_token", [organisation.to_string()])
}

/// Stored at `application_token_text/_/<time>/<digest>`.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct ApplicationTokenText {
    pub(super) organisation: u32,
    pub(super) id: u32,
}

record!(ApplicationTokenText, "application_token_text");

pub(super) fn application_token_text_key(token: &Token) -> Key {
    token_key("application_token_text", "_", token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{START, assert_needs};

    #[test]
    fn an_application_token_whose_limits_are_missing_is_not_valid_for_ever_and_everywhere() {
        let token = ApplicationToken {
            id: 1,
            description: None,
            created_at: START,
            valid_until: None,
            network: None,
            is_revoked: false,
            creator: 2,
            creator_incarnation: 3,
            creator_name: "ada".to_owned(),
            text: None,
        };
        for limit in ["valid_until", "network"] {
            assert_needs(&token, limit);
        }
    }
}
