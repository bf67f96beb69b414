//! The targets of events. Every text of a target is written and parsed here.
//!
//! A name chosen by a client may contain a slash, so its text may be parsed as another target. Written again, the text is the same.

use std::{fmt, str::FromStr};

use super::{Party, Subject};

/// The object of an action. Its text never changes after its first release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An application token: `organisation/NUMBER/application_token/NUMBER`.
    ApplicationToken {
        /// The organisation's number.
        organisation: u32,
        /// The token's number.
        id: u32,
    },
    /// A certificate, `certificate/SUBSCRIPTION/GROUP/SERVICE/NAME`, or without a name all certificates of a service.
    Certificate {
        /// The subscription.
        subscription: String,
        /// The resource group.
        resource_group: String,
        /// The provisioning service.
        service: String,
        /// The certificate's name.
        name: String,
    },
    /// A Taler instance: `instance/NAME`.
    Instance(String),
    /// The party whose refusals were left out of the trail.
    LeftOut(Party),
    /// The name given in a failed login.
    LoginName(LoginName),
    /// A login token: `instance/NAME/token/TOKEN`.
    LoginToken {
        /// The instance's name.
        instance: String,
        /// The token's id.
        id: String,
    },
    /// A user or something of a user.
    OfUser {
        /// The organisation's number.
        organisation: u32,
        /// The user's number within it.
        user: u32,
        /// The part of the user.
        part: UserPart,
    },
    /// An operator's token, `operator_token/TOKEN`, or `operator_token` for an unknown one.
    OperatorToken(Option<String>),
    /// An organisation that the caller must not learn about: `organisation`.
    Organisation,
    /// A point-of-sale device: `instance/NAME/device/ID`.
    OtpDevice {
        /// The instance's name.
        instance: String,
        /// The device's id.
        id: String,
    },
    /// A presented application token, `application_token/NUMBER`, or `application_token` for an unknown one.
    ShownApplicationToken(Option<u32>),
    /// A key that signs access tokens: `signing_key/KEY`.
    SigningKey(String),
    /// A station's request without a device or a known key: `station`.
    Station,
    /// The store as a whole: `store`.
    Store,
    /// A device of a manager: `tpm_device/NAMESPACE/MANAGER/VENDOR/SERIAL`.
    TpmDevice {
        /// The manager's namespace.
        namespace: String,
        /// The manager's name.
        manager: String,
        /// The device's vendor.
        vendor: String,
        /// The device's serial number.
        serial: String,
    },
    /// All devices of a manager: `tpm_device/NAMESPACE/MANAGER`.
    TpmDevices {
        /// The manager's namespace.
        namespace: String,
        /// The manager's name.
        manager: String,
    },
    /// A manager, category or API key, `KIND/NAMESPACE/NAME`, or without a name all of a namespace.
    TpmObject {
        /// The kind of object.
        kind: ObjectKind,
        /// The namespace.
        namespace: String,
        /// The name.
        name: String,
    },
    /// An entry of the trust bundle: `tpm_trust/SHA256`.
    TpmTrust(String),
    /// An unknown API key: `tpm_api_key`.
    UnknownTpmApiKey,
}

/// A part of a user: `organisation/NUMBER/user/NUMBER` and a suffix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserPart {
    /// The account itself.
    Account,
    /// A second factor: `/mfa_key/NUMBER`.
    MfaKey(u32),
    /// A login: `/session/SESSION`.
    Session(String),
    /// A trusted device: `/trusted_device/NUMBER`.
    TrustedDevice(u32),
}

/// The name in a login: `user_name/` and a suffix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginName {
    /// The name of an account, replaced by its subject.
    Of(Subject),
    /// A name that nobody has, `unknown/ID`, with the id that replaces it.
    Unknown(String),
    /// No suffix: the name is unknown, or too many unknown names have events already.
    Unrecorded,
    /// The name itself, as in events of releases before subjects.
    Former(String),
}

/// The kinds of TPM objects that operators create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// An API key.
    ApiKey,
    /// A category.
    Category,
    /// A manager.
    Manager,
}

impl ObjectKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::ApiKey, Self::Category, Self::Manager];

    /// Returns its name in the store and in the trail.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ApiKey => "tpm_api_key",
            Self::Category => "tpm_category",
            Self::Manager => "tpm_manager",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ApplicationToken { organisation, id } => {
                write!(f, "organisation/{organisation}/application_token/{id}")
            }
            Self::Certificate {
                subscription,
                resource_group,
                service,
                name,
            } => write!(
                f,
                "certificate/{subscription}/{resource_group}/{service}/{name}"
            ),
            Self::Instance(name) => write!(f, "instance/{name}"),
            Self::LeftOut(party) => party.fmt(f),
            Self::LoginName(name) => write!(f, "user_name/{name}"),
            Self::LoginToken { instance, id } => write!(f, "instance/{instance}/token/{id}"),
            Self::OfUser {
                organisation,
                user,
                part,
            } => write!(f, "organisation/{organisation}/user/{user}{part}"),
            Self::OperatorToken(None) => f.write_str("operator_token"),
            Self::OperatorToken(Some(id)) => write!(f, "operator_token/{id}"),
            Self::Organisation => f.write_str("organisation"),
            Self::OtpDevice { instance, id } => write!(f, "instance/{instance}/device/{id}"),
            Self::ShownApplicationToken(None) => f.write_str("application_token"),
            Self::ShownApplicationToken(Some(id)) => write!(f, "application_token/{id}"),
            Self::SigningKey(id) => write!(f, "signing_key/{id}"),
            Self::Station => f.write_str("station"),
            Self::Store => f.write_str("store"),
            Self::TpmDevice {
                namespace,
                manager,
                vendor,
                serial,
            } => write!(f, "tpm_device/{namespace}/{manager}/{vendor}/{serial}"),
            Self::TpmDevices { namespace, manager } => {
                write!(f, "tpm_device/{namespace}/{manager}")
            }
            Self::TpmObject {
                kind,
                namespace,
                name,
            } => write!(f, "{}/{namespace}/{name}", kind.name()),
            Self::TpmTrust(fingerprint) => write!(f, "tpm_trust/{fingerprint}"),
            Self::UnknownTpmApiKey => f.write_str(ObjectKind::ApiKey.name()),
        }
    }
}

impl fmt::Display for UserPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account => Ok(()),
            Self::MfaKey(id) => write!(f, "/mfa_key/{id}"),
            Self::Session(id) => write!(f, "/session/{id}"),
            Self::TrustedDevice(id) => write!(f, "/trusted_device/{id}"),
        }
    }
}

impl fmt::Display for LoginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(subject) => subject.fmt(f),
            Self::Unknown(id) => write!(f, "unknown/{id}"),
            Self::Unrecorded => Ok(()),
            Self::Former(name) => f.write_str(name),
        }
    }
}

/// The error for a text that is no target of this release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no event has this target")]
pub struct ParseTargetError;

impl FromStr for Target {
    type Err = ParseTargetError;

    fn from_str(text: &str) -> Result<Self, ParseTargetError> {
        let target = match text.split_once('/') {
            None => whole(text),
            Some(("application_token", id)) => {
                number(id).map(|id| Self::ShownApplicationToken(Some(id)))
            }
            Some(("certificate", rest)) => certificate(rest),
            Some(("instance", rest)) => Some(of_instance(rest)),
            Some(("operator_token", id)) => Some(Self::OperatorToken(Some(id.to_owned()))),
            Some(("organisation", rest)) => of_organisation(rest),
            Some(("signing_key", id)) => Some(Self::SigningKey(id.to_owned())),
            Some(("tpm_device", rest)) => device(rest),
            Some(("tpm_trust", fingerprint)) => Some(Self::TpmTrust(fingerprint.to_owned())),
            Some(("user_name", name)) => Some(Self::LoginName(LoginName::parse(name))),
            Some((kind, rest)) => object(kind, rest),
        };
        let target = target.or_else(|| Party::parse(text).map(Self::LeftOut));
        target.ok_or(ParseTargetError)
    }
}

impl Target {
    /// Returns the organisation's and user's numbers of a target that belongs to a user, even if this release does not know the
    /// part.
    pub(super) fn user_in(text: &str) -> Option<(u32, u32)> {
        if let Ok(Self::LoginName(LoginName::Of(subject))) = text.parse() {
            return Some((subject.organisation, subject.user));
        }
        let (organisation, user, _) = of_user(text.strip_prefix("organisation/")?)?;
        Some((organisation, user))
    }
}

impl LoginName {
    fn parse(text: &str) -> Self {
        if text.is_empty() {
            return Self::Unrecorded;
        }
        if let Some(id) = text.strip_prefix("unknown/") {
            return Self::Unknown(id.to_owned());
        }
        let subject = text.parse::<Subject>();
        subject.map_or_else(|_| Self::Former(text.to_owned()), Self::Of)
    }
}

/// Parses a target without a slash.
fn whole(text: &str) -> Option<Target> {
    match text {
        "application_token" => Some(Target::ShownApplicationToken(None)),
        "operator_token" => Some(Target::OperatorToken(None)),
        "organisation" => Some(Target::Organisation),
        "station" => Some(Target::Station),
        "store" => Some(Target::Store),
        text => (text == ObjectKind::ApiKey.name()).then_some(Target::UnknownTpmApiKey),
    }
}

fn certificate(rest: &str) -> Option<Target> {
    let mut parts = rest.splitn(4, '/').map(ToOwned::to_owned);
    Some(Target::Certificate {
        subscription: parts.next()?,
        resource_group: parts.next()?,
        service: parts.next()?,
        name: parts.next()?,
    })
}

fn of_instance(rest: &str) -> Target {
    if let Some((instance, part)) = rest.split_once('/') {
        let instance = instance.to_owned();
        if let Some(id) = part.strip_prefix("token/") {
            let id = id.to_owned();
            return Target::LoginToken { instance, id };
        }
        if let Some(id) = part.strip_prefix("device/") {
            let id = id.to_owned();
            return Target::OtpDevice { instance, id };
        }
    }
    Target::Instance(rest.to_owned())
}

fn of_organisation(rest: &str) -> Option<Target> {
    if let Some((organisation, id)) = rest.split_once("/application_token/")
        && let (Some(organisation), Some(id)) = (number(organisation), number(id))
    {
        return Some(Target::ApplicationToken { organisation, id });
    }
    let (organisation, user, part) = of_user(rest)?;
    let part = match part.map(|part| part.split_once('/')) {
        None => UserPart::Account,
        Some(Some(("mfa_key", id))) => UserPart::MfaKey(number(id)?),
        Some(Some(("session", id))) => UserPart::Session(id.to_owned()),
        Some(Some(("trusted_device", id))) => UserPart::TrustedDevice(number(id)?),
        Some(_) => return None,
    };
    Some(Target::OfUser {
        organisation,
        user,
        part,
    })
}

/// Parses a user after `organisation/`: the numbers, and the suffix after a slash.
fn of_user(rest: &str) -> Option<(u32, u32, Option<&str>)> {
    let (organisation, rest) = rest.split_once("/user/")?;
    let (user, part) = match rest.split_once('/') {
        Some((user, part)) => (user, Some(part)),
        None => (rest, None),
    };
    Some((number(organisation)?, number(user)?, part))
}

fn device(rest: &str) -> Option<Target> {
    let mut parts = rest.splitn(4, '/').map(ToOwned::to_owned);
    let (namespace, manager) = (parts.next()?, parts.next()?);
    match (parts.next(), parts.next()) {
        (None, _) => Some(Target::TpmDevices { namespace, manager }),
        (Some(vendor), Some(serial)) => Some(Target::TpmDevice {
            namespace,
            manager,
            vendor,
            serial,
        }),
        (Some(_), None) => None,
    }
}

fn object(kind: &str, rest: &str) -> Option<Target> {
    let mut kinds = ObjectKind::ALL.into_iter();
    let kind = kinds.find(|known| known.name() == kind)?;
    let (namespace, name) = rest.split_once('/')?;
    Some(Target::TpmObject {
        kind,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}

/// Parses a number in its canonical form.
fn number(text: &str) -> Option<u32> {
    let number: u32 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::Principal;

    const SUBJECT: &str = "1:7:0000000000";

    /// One of each, as in DATA_MODEL.md. Every number is 7.
    fn examples() -> Vec<Target> {
        let text = |text: &str| text.to_owned();
        let of_user = |part| Target::OfUser {
            organisation: 7,
            user: 7,
            part,
        };
        let objects = ObjectKind::ALL.into_iter().flat_map(|kind| {
            ["NAME", ""].map(|name| Target::TpmObject {
                kind,
                namespace: text("NAMESPACE"),
                name: text(name),
            })
        });
        let others = [
            Target::ApplicationToken {
                organisation: 7,
                id: 7,
            },
            Target::Certificate {
                subscription: text("SUBSCRIPTION"),
                resource_group: text("GROUP"),
                service: text("SERVICE"),
                name: text("NAME"),
            },
            Target::Instance(text("NAME")),
            Target::LeftOut(Party::Strangers),
            Target::LeftOut(Party::Others),
            Target::LoginName(LoginName::Of(SUBJECT.parse().unwrap())),
            Target::LoginName(LoginName::Unknown(text("ID"))),
            Target::LoginName(LoginName::Unrecorded),
            Target::LoginToken {
                instance: text("NAME"),
                id: text("TOKEN"),
            },
            of_user(UserPart::Account),
            of_user(UserPart::MfaKey(7)),
            of_user(UserPart::Session(text("SESSION"))),
            of_user(UserPart::TrustedDevice(7)),
            Target::OperatorToken(None),
            Target::OperatorToken(Some(text("TOKEN"))),
            Target::Organisation,
            Target::OtpDevice {
                instance: text("NAME"),
                id: text("ID"),
            },
            Target::ShownApplicationToken(None),
            Target::ShownApplicationToken(Some(7)),
            Target::SigningKey(text("KEY")),
            Target::Station,
            Target::Store,
            Target::TpmDevice {
                namespace: text("NAMESPACE"),
                manager: text("MANAGER"),
                vendor: text("VENDOR"),
                serial: text("SERIAL"),
            },
            Target::TpmDevices {
                namespace: text("NAMESPACE"),
                manager: text("MANAGER"),
            },
            Target::TpmTrust(text("SHA256")),
            Target::UnknownTpmApiKey,
        ];
        objects.chain(others).collect()
    }

    /// Targets without a row in DATA_MODEL.md: callers, and names of earlier releases.
    fn undocumented() -> Vec<Target> {
        let askers = [
            "console:root",
            "external:https://idp/ci",
            "instance:shop",
            "keyproof",
            "operator_subject:ci",
            "station:default/category",
            "user:1:7:0000000000",
        ];
        let asker = |asker: &str| Target::LeftOut(Party::One(asker.to_owned()));
        let former = Target::LoginName(LoginName::Former("ada".to_owned()));
        askers.map(asker).into_iter().chain([former]).collect()
    }

    /// The variant's number and the number of variants. A new variant does not compile before it is added here, and is then missing
    /// in the examples.
    const fn variant(target: &Target) -> (usize, usize) {
        let number = match target {
            Target::ApplicationToken { .. } => 0,
            Target::Certificate { .. } => 1,
            Target::Instance(_) => 2,
            Target::LeftOut(Party::Strangers) => 3,
            Target::LeftOut(Party::One(_)) => 4,
            Target::LeftOut(Party::Others) => 5,
            Target::LoginName(LoginName::Of(_)) => 6,
            Target::LoginName(LoginName::Unknown(_)) => 7,
            Target::LoginName(LoginName::Unrecorded) => 8,
            Target::LoginName(LoginName::Former(_)) => 9,
            Target::LoginToken { .. } => 10,
            Target::OfUser { part, .. } => match part {
                UserPart::Account => 11,
                UserPart::MfaKey(_) => 12,
                UserPart::Session(_) => 13,
                UserPart::TrustedDevice(_) => 14,
            },
            Target::OperatorToken(None) => 15,
            Target::OperatorToken(Some(_)) => 16,
            Target::Organisation => 17,
            Target::OtpDevice { .. } => 18,
            Target::ShownApplicationToken(None) => 19,
            Target::ShownApplicationToken(Some(_)) => 20,
            Target::SigningKey(_) => 21,
            Target::Station => 22,
            Target::Store => 23,
            Target::TpmDevice { .. } => 24,
            Target::TpmDevices { .. } => 25,
            Target::TpmObject { kind, .. } => match kind {
                ObjectKind::ApiKey => 26,
                ObjectKind::Category => 27,
                ObjectKind::Manager => 28,
            },
            Target::TpmTrust(_) => 29,
            Target::UnknownTpmApiKey => 30,
        };
        (number, 31)
    }

    #[test]
    fn each_is_read_as_it_is_written() {
        let all = [examples(), undocumented()].concat();
        for target in &all {
            assert_eq!(target.to_string().parse(), Ok(target.clone()), "{target}");
        }
        let variants: BTreeSet<_> = all.iter().map(|target| variant(target).0).collect();
        let (_, count) = variant(&Target::Store);
        assert_eq!(variants, (0..count).collect());
        let texts: BTreeSet<_> = all.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), all.len(), "no text is that of two");
    }

    /// The texts in the column of targets.
    fn documented() -> BTreeSet<String> {
        let text = include_str!("../../../../DATA_MODEL.md");
        let (_, trail) = text.split_once("## The audit trail").unwrap();
        let rows = trail.lines().filter(|line| line.starts_with("| "));
        let cells = rows.filter_map(|row| row.split('|').nth(2));
        let spans = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
        let whole = spans.map(|span| match span.strip_prefix("USER") {
            Some(part) => format!("organisation/7/user/7{part}"),
            None => span.replace("SUBJECT", SUBJECT),
        });
        let kinds = |span: String| match span.strip_prefix("KIND") {
            Some(rest) => ObjectKind::ALL
                .map(|kind| kind.name().to_owned() + rest)
                .to_vec(),
            None => vec![span],
        };
        let all = whole.flat_map(kinds);
        all.map(|span| span.replace("NUMBER", "7")).collect()
    }

    #[test]
    fn the_data_model_lists_every_target() {
        let all: BTreeSet<_> = examples().iter().map(ToString::to_string).collect();
        assert_eq!(documented(), all);
    }

    /// Whatever names clients choose, a parsed text is written unchanged.
    #[test]
    fn a_text_is_never_written_as_another() {
        for text in [
            "instance/a/b",
            "instance/a/device/b/token/c",
            "instance/a/token/b/device/c",
            "instance/",
            "certificate/a/b/c/",
            "certificate/a/b/c/d/e",
            "tpm_device/a/b/c/d/e",
            "tpm_manager/a/b/c",
            "user_name/unknown/1:7:0000000000",
            "user_name/unknown",
            "operator_token/",
        ] {
            let target = text.parse::<Target>();
            assert_eq!(target.unwrap().to_string(), text);
        }
        for unread in [
            "",
            "x",
            "x/y",
            "organisation/1",
            "organisation/01/user/7",
            "organisation/1/user/+7",
            "organisation/1/user/7/",
            "organisation/1/user/7/later/1",
            "organisation/1/user/7/mfa_key/x",
            "tpm_device/a/b/c",
            "instance",
            "users:ada",
        ] {
            assert_eq!(unread.parse::<Target>(), Err(ParseTargetError), "{unread}");
        }
    }

    #[test]
    fn a_users_are_all_below_them() {
        for text in [
            "organisation/1/user/7",
            "organisation/1/user/7/",
            "organisation/1/user/7/mfa_key/1",
            "organisation/1/user/7/later/1",
            "user_name/1:7:0000000000",
        ] {
            assert_eq!(Target::user_in(text), Some((1, 7)), "{text}");
        }
        let asker = Principal::user_named("1:7:0000000000");
        for text in [
            &*asker,
            "user_name/ada",
            "organisation/1",
            "organisation/1/user/x",
        ] {
            assert_eq!(Target::user_in(text), None, "{text}");
        }
    }
}
