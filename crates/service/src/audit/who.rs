//! Those who ask for changes, and what the trail calls them.

use std::fmt;

use super::Subject;

/// What the text of a user begins with.
const USER: &str = "user:";

/// What stands between a user and the number of their application's token.
pub(super) const APPLICATION_TOKEN: &str = "/application_token:";

/// Who asks for a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Nobody who could be told apart.
    Anonymous,
    /// Somebody at the machine's own command line, by the name of their account there.
    CommandLine(String),
    /// The bearer of an external issuer's token.
    External {
        /// The issuer.
        issuer: String,
        /// Whose token it says that it is.
        subject: String,
    },
    /// Whoever knows a Taler instance's password, or shows one of its tokens.
    Instance {
        /// The instance's name.
        name: String,
        /// The token's id: the first 16 hex digits of its digest.
        token: Option<String>,
    },
    /// keyproof itself, tidying up.
    Keyproof,
    /// The bearer of an operator's token.
    Operator {
        /// The token's id.
        token: String,
        /// Whose the token is.
        subject: String,
    },
    /// A manufacturing station, by the client certificate of its TPM category.
    Station {
        /// The category's namespace.
        namespace: String,
        /// The category's name.
        category: String,
    },
    /// A user who is logged in, or an application that acts for one.
    User {
        /// Whose account it is.
        subject: Subject,
        /// The number of the application's token.
        application_token: Option<u32>,
    },
}

impl Who {
    /// Whose share of what all askers have in common they take ([`Places`](crate::Places)): all users of an organisation, all
    /// tokens of an instance and all stations of a namespace are one party. What is asked for does not matter: whoever may ask
    /// for more has no more.
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

    /// What an asker's text calls a user by, if it is one's: by their subject, in events of earlier releases by their name. An
    /// application's token stands behind it.
    pub fn user_in(text: &str) -> Option<&str> {
        text.strip_prefix(USER)
    }

    /// A user's text in events of earlier releases.
    pub(crate) fn user_named(name: &str) -> String {
        format!("{USER}{name}")
    }

    /// The account of a user whose text this is.
    pub(super) fn subject_in(text: &str) -> Option<Subject> {
        let subject = Self::user_in(text)?.split('/').next()?;
        subject.parse().ok()
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anonymous"),
            Self::CommandLine(user) => write!(f, "console:{user}"),
            Self::External { issuer, subject } => write!(f, "external:{issuer}/{subject}"),
            Self::Instance { name, token: None } => write!(f, "instance:{name}"),
            Self::Instance {
                name,
                token: Some(token),
            } => write!(f, "instance:{name}/token:{token}"),
            Self::Keyproof => f.write_str("keyproof"),
            Self::Operator { token, .. } => write!(f, "operator:{token}"),
            Self::Station {
                namespace,
                category,
            } => write!(f, "station:{namespace}/{category}"),
            Self::User {
                subject,
                application_token: None,
            } => write!(f, "{USER}{subject}"),
            Self::User {
                subject,
                application_token: Some(token),
            } => write!(f, "{USER}{subject}{APPLICATION_TOKEN}{token}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_a_tenant_has_is_one_party() {
        let instance = |token: Option<&str>| Who::Instance {
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
            let who = Who::User {
                subject: subject.parse().unwrap(),
                application_token,
            };
            assert_eq!(who.party(), "organisation:1");
        }
        for category in ["laptops", "servers"] {
            let who = Who::Station {
                namespace: "factory".to_owned(),
                category: category.to_owned(),
            };
            assert_eq!(who.party(), "station:factory");
        }
        let operator = |token: &str| Who::Operator {
            token: token.to_owned(),
            subject: "ci".to_owned(),
        };
        let (one, other) = (operator("0123456789abcdef"), operator("fedcba9876543210"));
        assert_ne!(one.party(), other.party());
        let external = |subject: &str| Who::External {
            issuer: "https://login.example.com".to_owned(),
            subject: subject.to_owned(),
        };
        assert_ne!(external("ada").party(), external("bob").party());
    }

    #[test]
    fn a_user_is_found_in_what_is_written_of_them() {
        let subject: Subject = "1:7:0000000000".parse().unwrap();
        for application_token in [None, Some(3)] {
            let who = Who::User {
                subject,
                application_token,
            };
            assert_eq!(Who::subject_in(&who.to_string()), Some(subject));
        }
        assert_eq!(Who::user_in(&Who::user_named("ada")), Some("ada"));
        assert_eq!(Who::subject_in(&Who::user_named("ada")), None);
        assert_eq!(Who::user_in(&Who::Anonymous.to_string()), None);
    }
}
