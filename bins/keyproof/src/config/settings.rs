//! The configuration's keys, their types and their defaults: what a file may contain.

use std::{
    net::{Ipv4Addr, SocketAddr},
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::address;
use crate::{
    dialect::{Dialect, DialectName, dialects, dps, emnify, f5, taler},
    telemetry::{LogFormat, LogLevel},
};

macro_rules! settings {
    ($($(#[$doc:meta])* $module:ident: $dialect:ident,)+) => {
        /// A whole configuration. Any other key is refused.
        #[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Settings {
            /// The main listener and the stack's limits.
            pub http: HttpSettings,
            /// TLS on all listeners.
            pub tls: TlsSettings,
            /// Metrics.
            pub metrics: MetricsSettings,
            /// Logs.
            pub log: LogSettings,
            /// Where state is kept.
            pub store: StoreSettings,
            /// Which wire contracts are served, and where.
            pub dialects: DialectsSettings,
            $($(#[$doc])* pub $module: <$module::$dialect as Dialect>::Settings,)+
            /// Passwords.
            pub auth: AuthSettings,
            /// The audit trail.
            pub audit: AuditTrailSettings,
        }

        /// `dialects.*`
        #[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct DialectsSettings {
            $($(#[$doc])* pub $module: DialectSettings,)+
        }

        impl DialectsSettings {
            pub(super) fn of(&mut self, name: DialectName) -> &mut DialectSettings {
                match name {
                    $(DialectName::$dialect => &mut self.$module,)+
                }
            }
        }
    };
}

dialects!(settings);

/// `http.*`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// The main listener's address.
    #[serde(deserialize_with = "address::address")]
    pub listen: SocketAddr,
    /// Allows plain HTTP beyond loopback.
    pub insecure: bool,
    /// The longest request body, in bytes.
    pub max_body_bytes: NonZeroU32,
    /// For a whole head, in milliseconds.
    pub header_timeout_ms: NonZeroU32,
    /// For a whole body, in milliseconds.
    pub body_timeout_ms: NonZeroU32,
    /// For an answer, in milliseconds.
    pub handler_timeout_ms: NonZeroU32,
    /// Over all listeners.
    pub max_connections: NonZeroU32,
    /// For open requests at the end, in milliseconds.
    pub drain_timeout_ms: NonZeroU32,
    /// Networks whose `X-Forwarded-For` is believed.
    #[serde(deserialize_with = "address::networks")]
    pub trusted_proxies: Vec<IpNet>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        const fn non_zero(value: u32) -> NonZeroU32 {
            NonZeroU32::MIN.saturating_add(value - 1)
        }
        Self {
            listen: (Ipv4Addr::LOCALHOST, 8080).into(),
            insecure: false,
            max_body_bytes: non_zero(1024 * 1024),
            header_timeout_ms: non_zero(10_000),
            body_timeout_ms: non_zero(15_000),
            handler_timeout_ms: non_zero(15_000),
            max_connections: non_zero(8192),
            drain_timeout_ms: non_zero(10_000),
            trusted_proxies: Vec::new(),
        }
    }
}

/// `tls.*`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsSettings {
    /// A PEM file: the chain, the server's own certificate first.
    pub certificate: Option<PathBuf>,
    /// A PEM file: its private key.
    pub key: Option<PathBuf>,
    /// A fresh certificate for each start, for trying out.
    pub self_signed: bool,
}

/// `metrics.*`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsSettings {
    /// The listener where Prometheus reads them; none if absent.
    #[serde(deserialize_with = "address::optional_address")]
    pub listen: Option<SocketAddr>,
}

/// `log.*`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// `text` or `json`.
    pub format: LogFormat,
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`.
    pub level: LogLevel,
}

/// `store.*`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSettings {
    /// `memory:`, `sqlite:PATH` or `postgres://…`; once checked, without a password.
    pub url: Option<String>,
    /// The file with the master key.
    pub master_key: Option<PathBuf>,
    /// Whether `serve` brings the store to this release's schema before it starts.
    pub migrate: bool,
    /// To a PostgreSQL database, at most: 1 to 1024.
    pub max_connections: Option<NonZeroU32>,
    /// How long connecting to a PostgreSQL database may take, as `5s` or `500ms`.
    pub connect_timeout: Option<ShortTime>,
    /// How long a PostgreSQL server may work on one statement.
    pub statement_timeout: Option<ShortTime>,
}

/// From a millisecond to an hour, as people write it: `5s`, `500ms`, `1m 30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ShortTime(pub Duration);

impl TryFrom<String> for ShortTime {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        const LONGEST: Duration = Duration::from_secs(60 * 60);
        let time = text.parse::<jiff::SignedDuration>().ok();
        let time = time.and_then(|time| Duration::try_from(time).ok());
        time.filter(|time| (Duration::from_millis(1)..=LONGEST).contains(time))
            .map(Self)
            .ok_or("a time from 1ms to 1h, such as 5s or 500ms")
    }
}

impl From<ShortTime> for String {
    fn from(time: ShortTime) -> Self {
        match time.0.subsec_millis() {
            0 => format!("{}s", time.0.as_secs()),
            _ => format!("{}ms", time.0.as_millis()),
        }
    }
}

/// `dialects.NAME.*`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct DialectSettings {
    /// On unless said otherwise, if this version has it.
    pub enabled: Option<bool>,
    /// A listener of its own.
    #[serde(deserialize_with = "address::optional_address")]
    pub listen: Option<SocketAddr>,
}

/// `audit.*`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditTrailSettings {
    /// How many days what was done stays; for ever if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_days: Option<NonZeroU32>,
    /// How many days what was refused stays, and uses of what was granted before.
    pub keep_refusals_days: NonZeroU32,
}

impl Default for AuditTrailSettings {
    fn default() -> Self {
        Self {
            keep_days: None,
            keep_refusals_days: NonZeroU32::MIN.saturating_add(89),
        }
    }
}

/// `auth.*`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthSettings {
    /// Requests that cost a hash, an address and window, on each server; 0 is without a limit.
    pub address_limit: Option<u32>,
    /// The length of that window, in seconds.
    pub address_window_s: Option<NonZeroU32>,
    /// Memory of one hash, in KiB.
    pub argon2_memory_kib: u32,
    /// Passes over it.
    pub argon2_iterations: u32,
    /// Hashes at once, 1 to 1024; the machine's cores if absent.
    pub argon2_concurrency: Option<NonZeroUsize>,
    /// Allows costs under the floor.
    pub argon2_insecure_for_tests: bool,
}

impl Default for AuthSettings {
    fn default() -> Self {
        Self {
            address_limit: None,
            address_window_s: None,
            argon2_memory_kib: 19_456,
            argon2_iterations: 2,
            argon2_concurrency: None,
            argon2_insecure_for_tests: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them_and_shown_so_that_they_are_read_again() {
        for (text, shown) in [
            ("5s", "5s"),
            ("500ms", "500ms"),
            ("1m 30s", "90s"),
            ("1.5s", "1500ms"),
            ("1h", "3600s"),
        ] {
            let time = ShortTime::try_from(text.to_owned()).unwrap();
            assert_eq!(String::from(time), shown);
            assert_eq!(ShortTime::try_from(shown.to_owned()), Ok(time));
        }
        for wrong in ["", "5", "0s", "-5s", "2h", "1 day", "soon"] {
            assert!(ShortTime::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
