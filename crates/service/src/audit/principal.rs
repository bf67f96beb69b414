//! The callers that request changes, and their texts in the trail.

use std::fmt;

use super::{PrincipalKind, Subject};

/// Separates a user and the number of their application token.
pub(super) const APPLICATION_TOKEN: &str = "/application_token:";

/// The caller that requests a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// An unauthenticated caller.
    Anonymous,
    /// A user of the machine's command line, by the name of their account there.
    CommandLine(String),
    /// The bearer of an external issuer's token.
    External {
        /// The issuer.
        issuer: String,
        /// The subject in the token.
        subject: String,
    },
    /// A caller with a Taler instance's password or one of its tokens.
    Instance {
        /// The instance's name.
        name: String,
        /// The token's id: the first 16 hex digits of its digest.
        token: Option<String>,
    },
    /// keyproof itself, during upkeep.
    Keyproof,
    /// The bearer of an operator's token.
    Operator {
        /// The token's id.
        token: String,
        /// The subject of the token.
        subject: String,
    },
    /// A manufacturing station, authenticated by the client certificate of its TPM category.
    Station {
        /// The category's namespace.
        namespace: String,
        /// The category's name.
        category: String,
    },
    /// A user who is logged in, or an application that acts for one.
    User {
        /// The user's account.
        subject: Subject,
        /// The number of the application token.
        application_token: Option<u32>,
    },
}

impl Principal {
    /// Returns the party of the caller for shared limits ([`QuotaSemaphore`](crate::QuotaSemaphore)). All users of an organisation, all tokens of
    /// an instance and all stations of a namespace are one party. The object of the request does not matter, so wider permissions
    /// give no larger share.
    pub fn party(&self) -> String {
        match self {
            Self::Instance { name, .. } => format!("instance:{name}"),
            Self::Station { namespace, .. } => format!("station:{namespace}"),
            Self::User { subject, .. } => format!("organisation:{}", subject.organisation),
            Self::Anonymous
            | Self::CommandLine(_)
            | Self::External { .. }
            | Self::Keyproof
            | Self::Operator { .. } => self.to_string(),
        }
    }

    /// Returns the part of a caller's text that identifies a user, if it is a user: their subject, or their name in events of
    /// earlier releases. It may be followed by an application token.
    pub fn user_in(text: &str) -> Option<&str> {
        text.strip_prefix(PrincipalKind::User.name())?
            .strip_prefix(':')
    }

    /// Returns the text of a user, given their subject or, for events of earlier releases, their name.
    pub(crate) fn user_named(name: &str) -> String {
        format!("{}:{name}", PrincipalKind::User.name())
    }

    /// Returns the account of the user with this text.
    pub(super) fn subject_in(text: &str) -> Option<Subject> {
        let subject = Self::user_in(text)?.split('/').next()?;
        subject.parse().ok()
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PrincipalKind::of(self).name())?;
        match self {
            Self::Anonymous | Self::Keyproof => Ok(()),
            Self::CommandLine(user) => write!(f, ":{user}"),
            Self::External { issuer, subject } => write!(f, ":{issuer}/{subject}"),
            Self::Instance { name, token: None } => write!(f, ":{name}"),
            Self::Instance {
                name,
                token: Some(token),
            } => write!(f, ":{name}/token:{token}"),
            Self::Operator { token, .. } => write!(f, ":{token}"),
            Self::Station {
                namespace,
                category,
            } => write!(f, ":{namespace}/{category}"),
            Self::User {
                subject,
                application_token: None,
            } => write!(f, ":{subject}"),
            Self::User {
                subject,
                application_token: Some(token),
            } => write!(f, ":{subject}{APPLICATION_TOKEN}{token}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_a_tenant_has_is_one_party() {
        let instance = |token: Option<&str>| Principal::Instance {
            name: "shop".to_owned(),
            token: token.map(str::to_owned),
        };
        for token in [None, Some("0123456789abcdef"), Some("fedcba9876543210")] {
            assert_eq!(instance(token).party(), "instance:shop");
        }
        for (subject, application_token) in [
            ("1:7:0000000000", None),
            ("1:7:0000000000", Some(3)),
            ("1:8:0000000000", None),
        ] {
            let who = Principal::User {
                subject: subject.parse().unwrap(),
                application_token,
            };
            assert_eq!(who.party(), "organisation:1");
        }
        for category in ["laptops", "servers"] {
            let who = Principal::Station {
                namespace: "factory".to_owned(),
                category: category.to_owned(),
            };
            assert_eq!(who.party(), "station:factory");
        }
        let operator = |token: &str| Principal::Operator {
            token: token.to_owned(),
            subject: "ci".to_owned(),
        };
        let (one, other) = (operator("0123456789abcdef"), operator("fedcba9876543210"));
        assert_ne!(one.party(), other.party());
        let external = |subject: &str| Principal::External {
            issuer: "https://login.example.com".to_owned(),
            subject: subject.to_owned(),
        };
        assert_ne!(external("ada").party(), external("bob").party());
    }

    #[test]
    fn a_user_is_found_in_what_is_written_of_them() {
        let subject: Subject = "1:7:0000000000".parse().unwrap();
        for application_token in [None, Some(3)] {
            let who = Principal::User {
                subject,
                application_token,
            };
            assert_eq!(Principal::subject_in(&who.to_string()), Some(subject));
        }
        assert_eq!(
            Principal::user_in(&Principal::user_named("ada")),
            Some("ada")
        );
        assert_eq!(Principal::subject_in(&Principal::user_named("ada")), None);
        assert_eq!(Principal::user_in(&Principal::Anonymous.to_string()), None);
    }
}
