//! The wire contracts, one module each.
//!
//! A dialect owns its routes, its JSON types, its authentication header, and one table from service errors to its own
//! error body. It contains no domain logic, which belongs in a crate.

mod codes;
pub mod dps;
pub mod emnify;
pub mod f5;
pub mod taler;

use std::{error::Error, fmt, future::ready, path::Path, str::FromStr, sync::Arc};

use keyproof_http::{Application, BoxFuture};
use keyproof_service::{Service, Settings as Rules};

use crate::config::{AuthSettings, Settings};

/// The one list of dialects: module, type and display name. The module's name is also the dialect's and that of its
/// settings. A shared listener asks them in this order whether they claim a path. The first one refuses unclaimed
/// paths.
macro_rules! dialects {
    ($then:ident) => {
        $then! {
            /// GNU Taler OTP devices.
            taler: Taler = "GNU Taler",
            /// Azure DPS certificates.
            dps: Dps = "Azure DPS",
            /// F5 XC TPM provisioning.
            f5: F5 = "F5 XC",
            /// emnify second factors.
            emnify: Emnify = "emnify",
        }
    };
}
pub(crate) use dialects;

/// What a dialect registers, for the server, the configuration and the commands. Its settings implement this.
pub trait Dialect: Sync {
    /// Returns the keys that have an older name in its section, each with that name.
    fn renamed() -> &'static [(&'static str, &'static str)]
    where
        Self: Sized,
    {
        &[]
    }

    /// Validates the settings. Settings that are now shared ones move to `auth.*`.
    ///
    /// # Errors
    ///
    /// The first invalid setting.
    fn check(&mut self, _: &mut AuthSettings) -> Result<(), DialectError> {
        Ok(())
    }

    /// Validates the files that the settings name, and returns warnings about them.
    ///
    /// # Errors
    ///
    /// The first file that cannot be used.
    fn check_files(&self) -> Result<Vec<String>, DialectError> {
        Ok(Vec::new())
    }

    /// Returns the files that the settings name, each with its key. There is a warning for each file that others can
    /// write to.
    fn files(&self) -> Vec<(&'static str, &Path)> {
        Vec::new()
    }

    /// Returns whether its listener requests client certificates.
    fn asks_for_client_certificates(&self) -> bool {
        false
    }

    /// Returns a warning about settings that are allowed but unwise.
    fn warning(&self) -> Option<&'static str> {
        None
    }

    /// Adds the settings to the rules of the use cases. Called whether or not the dialect is enabled, as sites use the
    /// same use cases. Where several contracts cover a domain, only one of them may implement this: the rules of a
    /// later one would replace its.
    fn rule(&self, _: &mut Rules) {}

    /// Logs what is stored but does not work with the settings. Called once after a start.
    fn review(&self, _: Arc<Service>) -> BoxFuture<()> {
        Box::pin(ready(()))
    }

    /// Creates the dialect over these use cases.
    ///
    /// # Errors
    ///
    /// An error in a file that the settings name.
    fn mount(&self, service: Arc<Service>) -> Result<Arc<dyn Application>, DialectError>;
}

/// An error in a dialect's settings, with its key.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct DialectError(Box<dyn Error + Send + Sync>);

impl DialectError {
    fn of(error: impl Error + Send + Sync + 'static) -> Self {
        Self(Box::new(error))
    }
}

macro_rules! register {
    ($($(#[$doc:meta])* $module:ident: $dialect:ident = $title:literal,)+) => {
        /// The names of the dialects.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum DialectName {
            $($(#[$doc])* $dialect,)+
        }

        impl DialectName {
            /// All dialects, in the list's order.
            pub const ALL: &'static [Self] = &[$(Self::$dialect,)+];

            /// Returns the configuration key that enables it.
            pub const fn enabled_key(self) -> &'static str {
                match self {
                    $(Self::$dialect => concat!("dialects.", stringify!($module), ".enabled"),)+
                }
            }

            /// Returns its name in the configuration.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$dialect => stringify!($module),)+
                }
            }

            /// Returns its display name.
            pub const fn title(self) -> &'static str {
                match self {
                    $(Self::$dialect => $title,)+
                }
            }

            /// Returns [`Dialect::renamed`].
            pub(crate) fn renamed(self) -> &'static [(&'static str, &'static str)] {
                match self {
                    $(Self::$dialect => $module::settings::Settings::renamed(),)+
                }
            }

            /// Returns its settings.
            pub(crate) fn of(self, settings: &Settings) -> &dyn Dialect {
                match self {
                    $(Self::$dialect => &settings.$module,)+
                }
            }

            /// Calls [`Dialect::check`].
            pub(crate) fn check(self, settings: &mut Settings) -> Result<(), DialectError> {
                match self {
                    $(Self::$dialect => settings.$module.check(&mut settings.auth),)+
                }
            }
        }
    };
}

dialects!(register);

impl fmt::Display for DialectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not the name of a dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a dialect: they are {}", DialectName::names("and"))]
pub struct UnknownDialect;

impl DialectName {
    /// Lists all names in a sentence, with `conjunction` before the last.
    pub(crate) fn names(conjunction: &str) -> String {
        let names: Vec<_> = Self::ALL.iter().map(|name| name.as_str()).collect();
        match names.as_slice() {
            [before @ .., last] => format!("{} {conjunction} {last}", before.join(", ")),
            [] => String::new(),
        }
    }
}

impl FromStr for DialectName {
    type Err = UnknownDialect;

    fn from_str(text: &str) -> Result<Self, UnknownDialect> {
        let mut all = Self::ALL.iter();
        let found = all.find(|name| name.as_str() == text);
        found.copied().ok_or(UnknownDialect)
    }
}

/// Returns the first cells of each row in a guide's table of refusals: the number, the usual status, and the text.
#[cfg(test)]
fn documented_codes<const CELLS: usize>(guide: &str) -> Vec<[String; CELLS]> {
    let (_, table) = guide.split_once("| code | status |").unwrap();
    let rows = table.lines().skip(2).take_while(|row| row.starts_with('|'));
    rows.map(|row| {
        let mut all = row.split('|').skip(1).map(str::trim);
        let mut cells: [String; CELLS] = std::array::from_fn(|_| all.next().unwrap().to_owned());
        // Some codes have other statuses, too, which follow in brackets.
        cells[1] = cells[1].split(' ').next().unwrap().to_owned();
        cells
    })
    .collect()
}

/// Checks that a contract keeps the status of the stack's refusals, and sends `Retry-After` while the server drains.
#[cfg(test)]
fn assert_refusals_of_the_stack_keep_their_status(
    answer: impl Fn(keyproof_http::StackRefusal) -> keyproof_http::Response,
) {
    use keyproof_http::StackRefusal;

    for refusal in [
        StackRefusal::BodyMalformed,
        StackRefusal::BodyTimedOut,
        StackRefusal::BodyTooLarge { limit: 1 },
        StackRefusal::CodingUnknown,
        StackRefusal::DeadlineExceeded { may_change: false },
        StackRefusal::DeadlineExceeded { may_change: true },
        StackRefusal::Draining,
        StackRefusal::HeadMalformed("x"),
        StackRefusal::HeadTimedOut,
        StackRefusal::HeadTooLarge,
        StackRefusal::Internal,
        StackRefusal::MethodNotAllowed,
        StackRefusal::NotFound,
        StackRefusal::TargetTooLong,
    ] {
        let response = answer(refusal);
        assert_eq!(response.status(), refusal.status(), "{refusal:?}");
        if refusal == StackRefusal::Draining {
            assert_eq!(response.headers()[http::header::RETRY_AFTER], "1");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_none_has_is_told_all_of_them() {
        assert_eq!("dps".parse(), Ok(DialectName::Dps));
        let told = "azure".parse::<DialectName>().unwrap_err().to_string();
        let all = told.strip_prefix("not a dialect: they are ").unwrap();
        let (before, last) = all.rsplit_once(" and ").unwrap();
        let names: Vec<_> = before.split(", ").chain([last]).collect();
        let listed = DialectName::ALL.iter().map(|name| name.as_str());
        assert_eq!(names, listed.collect::<Vec<_>>());
        assert!(names.contains(&"dps"));
    }
}
