//! The wire contracts, one module each.
//!
//! A dialect owns its routes, its JSON types, its authentication header, and one table from service errors to its
//! own error body. It decides nothing: an `if` about the domain belongs in a crate.

pub mod dps;
pub mod emnify;
pub mod f5;
pub mod route_table;
pub mod taler;

use std::{fmt, str::FromStr};

use keyproof_http::{Client, Exchange, Presence};
use keyproof_service::{
    Origin, Who,
    access::{self, Applicant},
};

/// Where a request comes from, as use cases and the audit trail want to know it.
fn origin(exchange: &Exchange) -> Origin {
    Origin {
        who: Who::Anonymous,
        request_id: Some(exchange.request_id().to_string()),
        address: Some(exchange.client()),
        applicant: Applicant::new(Waiting(exchange.waiting())),
    }
}

/// A client, as hashing asks for it.
struct Waiting(Client);

impl access::Client for Waiting {
    fn presence(&self) -> access::Presence {
        match self.0.presence() {
            Presence::Here => access::Presence::Here,
            Presence::SendsNoMore => access::Presence::SendsNoMore,
            Presence::Gone => access::Presence::Gone,
        }
    }
}

/// The dialects that the configuration knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialectName {
    /// Azure DPS certificates.
    Dps,
    /// emnify second factors.
    Emnify,
    /// F5 XC TPM provisioning.
    F5,
    /// GNU Taler OTP devices.
    Taler,
}

impl DialectName {
    /// All of them, in the order in which a shared listener asks them whether they claim a path.
    pub const ALL: [Self; 4] = [Self::Taler, Self::Dps, Self::F5, Self::Emnify];

    /// The key that switches it.
    #[must_use]
    pub fn enabled_key(self) -> &'static str {
        match self {
            Self::Dps => "dialects.dps.enabled",
            Self::Emnify => "dialects.emnify.enabled",
            Self::F5 => "dialects.f5.enabled",
            Self::Taler => "dialects.taler.enabled",
        }
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dps => "dps",
            Self::Emnify => "emnify",
            Self::F5 => "f5",
            Self::Taler => "taler",
        }
    }
}

impl fmt::Display for DialectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No dialect has that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a dialect: they are taler, dps, f5 and emnify")]
pub struct UnknownDialect;

impl FromStr for DialectName {
    type Err = UnknownDialect;

    fn from_str(text: &str) -> Result<Self, UnknownDialect> {
        let mut all = Self::ALL.into_iter();
        all.find(|name| name.as_str() == text).ok_or(UnknownDialect)
    }
}
