//! What is stored, and where.

use std::{fmt, str::FromStr};

use data_encoding::HEXLOWER;
use ipnet::IpNet;
use itoa::Buffer;
use keyproof_auth::{Token, TokenDigest};
use keyproof_mfa::{
    Addresses, Challenge, Devices, KeyRecord, Lockout, RecoveryCodes, Sessions, Shown,
};
use keyproof_store::{Key, Prefix, Sealed, Timestamp};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::session_id::{SessionId, TokenId};
use crate::{
    audit::Subject,
    keys::{made_at, moment, token_key, token_key_at},
    session_life::{SessionLife, SessionRecord},
};

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// Manages the organisation's users.
    Administrator,
    /// Uses it.
    User,
    /// Looks on.
    Observer,
    /// As an administrator.
    SuperAdmin,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Administrator,
        Self::User,
        Self::Observer,
        Self::SuperAdmin,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Administrator => "Administrator",
            Self::User => "User",
            Self::Observer => "Observer",
            Self::SuperAdmin => "SuperAdmin",
        }
    }

    /// Whether it may see and remove other users' keys and devices.
    pub(super) const fn administers(self) -> bool {
        matches!(self, Self::Administrator | Self::SuperAdmin)
    }

    /// Whether it may change what belongs to the organisation.
    pub(super) const fn changes(self) -> bool {
        !matches!(self, Self::Observer)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No role has that name.
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
    /// They may.
    Active,
    /// They may not, until an operator activates them again.
    Suspended,
}

/// At `organisation/<number>`; their names never change.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Organisation {
    pub(super) id: u32,
    pub(super) name: String,
}

record!(Organisation, "organisation");

pub(super) fn organisation_key(id: u32) -> Key {
    Key::new("organisation", [id.to_string()])
}

/// At `organisation_name/<name>`.
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

/// Whose records: an organisation's number and the user's in it. `(0, 0)` is nobody's.
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

/// At `user_name/_/<digest of the name>`: names are unique over all organisations, for a login says nothing else.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct UserName {
    pub(super) owner: Owner,
}

record!(UserName, "user_name");

pub(super) fn user_name_key(name: &str) -> Key {
    NameDigest::of(name).key("user_name")
}

/// What stands for a user's name in keys.
struct NameDigest(String);

impl NameDigest {
    fn of(name: &str) -> Self {
        Self(HEXLOWER.encode(digest(&SHA256, name.as_bytes()).as_ref()))
    }

    fn key(&self, collection: &str) -> Key {
        Key::new(collection, ["_", &self.0])
    }
}

/// At `user/<organisation>/<number>`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct User {
    pub(super) id: u32,
    pub(super) name: String,
    pub(super) organisation: u32,
    pub(super) organisation_name: String,
    pub(super) role: Role,
    pub(super) status: UserStatus,
    /// A PHC string over the canonical form.
    pub(super) password: String,
    /// Rises with every password and suspension; its first value is drawn, so that a number drawn again for another
    /// user does not bring tokens of the one before back.
    pub(super) generation: u64,
    /// Application tokens belong to it: drawn anew when an operator ends them all, and for each account, so that a number
    /// drawn again for another user does not bring those of the one before back.
    pub(super) incarnation: u64,
    /// Rises when a key comes to be asked for at login, when it no longer is, and when other sessions are ended: earlier
    /// refresh tokens end, and stay ended.
    pub(super) key_changes: u64,
    pub(super) created_at: Timestamp,
    /// The last of these changes; earlier releases kept none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) activation: Option<Activation>,
}

/// What the activation of a key, its removal, and the end of other sessions end: earlier access tokens, but for the one that
/// it was done with.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Activation {
    /// The user's `key_changes` from it on.
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

    /// The same user, whose earlier refresh tokens end, and all earlier access tokens but this one.
    pub(super) fn ending_sessions(self, by: Option<TokenId>) -> Self {
        let key_changes = self.key_changes.wrapping_add(1);
        Self {
            key_changes,
            activation: Some(Activation { key_changes, by }),
            ..self
        }
    }

    /// How the audit trail has them.
    pub(super) const fn subject(&self) -> Subject {
        Subject {
            organisation: self.organisation,
            user: self.id,
            since: self.created_at,
        }
    }
}

/// At `removed_user/<organisation>/<user>/<moment of the account's making>`: what an account was called that is gone. It is
/// the one place where that stands.
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

/// At `mfa_lockout/_/<digest of the name>`, of users and of nobody alike.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct LockoutRecord(pub(super) Lockout);

record!(LockoutRecord, "mfa_lockout");

/// Where a name is looked up, and where what is counted against it is.
pub(super) fn name_keys(name: &str) -> [Key; 2] {
    let digest = NameDigest::of(name);
    [digest.key("user_name"), digest.key("mfa_lockout")]
}

/// At `mfa_addresses/<organisation>/<user>`: where the user is known, and what is counted there.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct AddressesRecord(pub(super) Addresses);

record!(AddressesRecord, "mfa_addresses");

pub(super) fn addresses_key(owner: Owner) -> Key {
    owner.key("mfa_addresses")
}

/// At `mfa_sessions/<organisation>/<user>`: what is counted in sessions of the user's.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct SessionsRecord(pub(super) Sessions);

record!(SessionsRecord, "mfa_sessions");

pub(super) fn sessions_key(owner: Owner) -> Key {
    owner.key("mfa_sessions")
}

/// At `mfa_key/<organisation>/<user>`.
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

/// At `mfa_devices/<organisation>/<user>`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct DevicesRecord(pub(super) Devices);

record!(DevicesRecord, "mfa_devices");

pub(super) fn devices_key(owner: Owner) -> Key {
    owner.key("mfa_devices")
}

/// At `mfa_recovery/<organisation>/<user>`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct RecoveryRecord(pub(super) RecoveryCodes);

record!(RecoveryRecord, "mfa_recovery");

pub(super) fn recovery_key(owner: Owner) -> Key {
    owner.key("mfa_recovery")
}

/// At `mfa_challenge/_/<its token's time>/<digest>`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ChallengeRecord {
    pub(super) owner: Owner,
    /// The user's name, by which their failures are counted.
    pub(super) name: String,
    pub(super) challenge: Challenge,
}

record!(ChallengeRecord, "mfa_challenge");

pub(super) fn challenge_key(token: &Token) -> Key {
    token_key("mfa_challenge", "_", token)
}

/// At `refresh_token/_/<time>/<digest>`.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct RefreshToken {
    pub(super) owner: Owner,
    /// Which of the user's generations it belongs to.
    pub(super) generation: u64,
    /// How often the key asked for at login had changed.
    pub(super) key_changes: u64,
    /// When its user logged in.
    pub(super) created_at: Timestamp,
    /// The family that its login's tokens are of, by its name; a first one has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) family: Option<String>,
    /// How it was spent, if tokens were rotated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) spent: Option<Spent>,
    /// Its login's session; those of earlier releases have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sid: Option<SessionId>,
    /// The second factor that was shown at its login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) shown: Option<Shown>,
}

/// What makes, of the token that was spent, its successor.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Spent {
    pub(super) at: Timestamp,
    /// 32 random bytes in hex.
    pub(super) drawn: String,
    /// Whether the successor, and the family that begins with it, carry the moment in their keys: not those of earlier
    /// releases.
    #[serde(default)]
    pub(super) is_timed: bool,
}

record!(RefreshToken, "refresh_token");

pub(super) fn refresh_token_key(token: &Token) -> Key {
    token_key("refresh_token", "_", token)
}

/// At `refresh_family/_/<moment of its beginning>/<digest of the first token>`, that of an earlier release at
/// `refresh_family/<organisation>/<user>/<digest of the first token>`: while it is there, its tokens may be valid.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct RefreshFamily {}

record!(RefreshFamily, "refresh_family");

/// What a family is called that begins now; the digest alone is the name of one of an earlier release.
pub(super) fn refresh_family_name(now: Timestamp, first: &TokenDigest) -> String {
    format!("{}-{first}", moment(now))
}

pub(super) fn refresh_family_key(owner: Owner, name: &str) -> Key {
    const COLLECTION: &str = "refresh_family";
    match name.split_once('-') {
        Some((moment, first)) => Key::new(COLLECTION, ["_", moment, first]),
        None => {
            let (organisation, user) = (owner.organisation.to_string(), owner.user.to_string());
            Key::new(COLLECTION, [&organisation, &user, name])
        }
    }
}

/// At `user_session/_/<time>/<digest>`: a login that a browser has a cookie for.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct UserSessionRecord {
    pub(super) owner: Owner,
    pub(super) generation: u64,
    pub(super) key_changes: u64,
    pub(super) sid: SessionId,
    /// In the place of an access token's, by which an activation or a removal knows whose it is.
    pub(super) token: TokenId,
    /// The second factor that was shown at its login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) shown: Option<Shown>,
    /// When the user logged in.
    pub(super) logged_in_at: Timestamp,
    pub(super) life: SessionLife,
}

record!(UserSessionRecord, "user_session");

impl SessionRecord for UserSessionRecord {
    fn life(&self) -> SessionLife {
        self.life
    }

    fn lasting(self, life: SessionLife) -> Self {
        Self { life, ..self }
    }
}

pub(super) fn user_session_key(token: &Token) -> Key {
    token_key("user_session", "_", token)
}

/// At `application_token/<organisation>/<number>`.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct ApplicationToken {
    pub(super) id: u32,
    pub(super) description: Option<String>,
    pub(super) created_at: Timestamp,
    /// The first moment at which it is no longer valid.
    pub(super) valid_until: Option<Timestamp>,
    /// The only addresses that it is valid for.
    pub(super) network: Option<IpNet>,
    pub(super) is_revoked: bool,
    /// Whom it acts for.
    pub(super) creator: u32,
    pub(super) creator_incarnation: u64,
    pub(super) creator_name: String,
    /// Not known of those of earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<TextPlace>,
}

/// Where the text of an application token is: what its record's key is made of.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct TextPlace {
    made_at: Timestamp,
    /// In hex.
    digest: String,
}

impl TextPlace {
    /// Of a token that says when it was made.
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

/// At `application_token_text/_/<time>/<digest>`.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct ApplicationTokenText {
    pub(super) organisation: u32,
    pub(super) id: u32,
}

record!(ApplicationTokenText, "application_token_text");

pub(super) fn application_token_text_key(token: &Token) -> Key {
    token_key("application_token_text", "_", token)
}
