//! The configuration's keys, their types and their defaults: what a file may contain.

use std::{
    net::{Ipv4Addr, SocketAddr},
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    address,
    reference::{Key, Quantity, keys},
};
use crate::{
    dialect::{self, DialectName, dialects},
    http_client::ServerUrl,
    telemetry::{LogFormat, LogLevel},
};

macro_rules! settings {
    ($($(#[$doc:meta])* $module:ident: $dialect:ident = $title:literal,)+) => {
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
            /// The wire contracts that are served, and their listeners.
            pub dialects: DialectsSettings,
            $($(#[$doc])* pub $module: dialect::$module::settings::Settings,)+
            /// The site for users.
            pub account: ServedSettings,
            /// The site for operators.
            pub console: ServedSettings,
            /// Passwords.
            pub auth: AuthSettings,
            /// The audit trail.
            pub audit: AuditTrailSettings,
            /// Traces.
            pub telemetry: TelemetrySettings,
        }

        /// `dialects.*`
        #[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct DialectsSettings {
            $($(#[$doc])* pub $module: ServedSettings,)+
        }

        impl Settings {
            /// The table of all keys.
            pub fn keys() -> Vec<Key> {
                [
                    HttpSettings::keys("http"),
                    TlsSettings::keys("tls"),
                    MetricsSettings::keys("metrics"),
                    LogSettings::keys("log"),
                    StoreSettings::keys("store"),
                    DialectsSettings::keys("dialects"),
                    $(dialect::$module::settings::Settings::keys(stringify!($module)),)+
                    ServedSettings::keys("account"),
                    ServedSettings::keys("console"),
                    AuthSettings::keys("auth"),
                    AuditTrailSettings::keys("audit"),
                    TelemetrySettings::keys("telemetry"),
                ]
                .concat()
            }
        }

        impl DialectsSettings {
            fn keys(of: &str) -> Vec<Key> {
                [$(ServedSettings::keys(&format!("{of}.{}", stringify!($module))),)+].concat()
            }

            pub(super) fn of(&mut self, name: DialectName) -> &mut ServedSettings {
                match name {
                    $(DialectName::$dialect => &mut self.$module,)+
                }
            }
        }
    };
}

dialects!(settings);

keys! {
    /// `http.*`
    #[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
    pub struct HttpSettings {
        /// The main listener's address; port 0 picks one.
        #[serde(deserialize_with = "address::address")]
        listen: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
        /// Allows plain HTTP beyond loopback.
        insecure: bool = false,
        /// The maximum length of a request body, up to 1 GiB.
        max_body_bytes: NonZeroU32 = non_zero(1024 * 1024),
        /// The time limit for a TLS handshake, and for receiving a request's head, including the wait for it on an open
        /// connection.
        header_timeout_ms: NonZeroU32 = non_zero(10_000),
        /// The time limit for receiving a whole body, and for sending a response without progress.
        body_timeout_ms: NonZeroU32 = non_zero(15_000),
        /// The time limit for producing a response, without the time for reading the body.
        handler_timeout_ms: NonZeroU32 = non_zero(15_000),
        /// The maximum number of simultaneous connections on all listeners except the metrics listener.
        max_connections: NonZeroU32 = non_zero(8192),
        /// The maximum number of simultaneous connections from one IPv4 address or IPv6 /64; 0 means no limit. Loopback
        /// and `http.trusted_proxies` are not limited.
        max_connections_per_address: Option<u32> = None => "a quarter of http.max_connections, and at least 64",
        /// How long a server that is shutting down waits for open requests.
        drain_timeout_ms: NonZeroU32 = non_zero(10_000),
        /// The networks and addresses whose `X-Forwarded-For`, `X-Forwarded-Proto` and `traceparent` are trusted. In a
        /// variable, commas separate them.
        #[serde(deserialize_with = "address::networks")]
        trusted_proxies: Vec<IpNet> = Vec::new(),
    }
}

keys! {
    /// `tls.*`
    #[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
    pub struct TlsSettings {
        /// A PEM file with the certificate chain, the server's own certificate first. Reloaded on SIGHUP.
        certificate: Option<PathBuf> = None,
        /// A PEM file with its private key. Reloaded on SIGHUP.
        key: Option<PathBuf> = None,
        /// Creates a new self-signed certificate at each start, for trials.
        self_signed: bool = false,
    }
}

keys! {
    /// `metrics.*`
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
    pub struct MetricsSettings {
        /// The listener where Prometheus reads `/metrics`.
        #[serde(deserialize_with = "address::optional_address")]
        listen: Option<SocketAddr> = None,
    }
}

keys! {
    /// `log.*`
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
    pub struct LogSettings {
        /// The format of log lines on standard error.
        format: LogFormat = LogFormat::default(),
        /// The least severe level that is logged.
        level: LogLevel = LogLevel::default(),
    }
}

keys! {
    /// `store.*`
    #[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
    pub struct StoreSettings {
        /// Where state is stored: `memory:`, `sqlite:PATH` or `postgres://…`.
        // After the check, without a password.
        url: Option<String> = None => "sqlite: with keyproof/keyproof.db in the platform's state folder",
        /// The master key's file. If unset, systemd's credential `keyproof-master-key` is used if there is one.
        master_key: Option<PathBuf> = None => "beside an embedded store",
        /// Whether `serve` migrates a PostgreSQL database to this release's schema before it starts. An SQLite file is
        /// migrated whenever it is opened.
        migrate: bool = false,
        /// The maximum number of simultaneous connections to a PostgreSQL database, 1 to 1000.
        max_connections: NonZeroU32 = non_zero(16),
        /// The time limit for connecting to a PostgreSQL database; up to twice this if several servers do not respond.
        connect_timeout: ShortTime = ShortTime(Duration::from_secs(5)),
        /// The time limit in PostgreSQL for one statement, and for a transaction that is idle.
        statement_timeout: ShortTime = ShortTime(Duration::from_secs(5)),
    }
}

const fn non_zero(value: u32) -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(value - 1)
}

/// A time from one millisecond to one hour, as people write it: `5s`, `500ms`, `1m 30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ShortTime(pub Duration);

impl TryFrom<String> for ShortTime {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        const LONGEST: u64 = 60 * 60 * 1000;
        match Quantity::Milliseconds.read(&text) {
            Ok(time @ ..=LONGEST) => Ok(Self(Duration::from_millis(time))),
            _ => Err("expected a time from 1ms to 1h in whole milliseconds, such as 5s or 500ms"),
        }
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

keys! {
    /// `dialects.NAME.*`, `account.*` and `console.*`
    #[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
    pub struct ServedSettings {
        /// Whether this dialect or site is served.
        enabled: Option<bool> = None => "true",
        /// Its own listener. It is then not served on the main one.
        #[serde(deserialize_with = "address::optional_address")]
        listen: Option<SocketAddr> = None,
    }
}

keys! {
    /// `audit.*`
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
    pub struct AuditTrailSettings {
        /// How many days events of changes are kept.
        #[serde(skip_serializing_if = "Option::is_none")]
        keep_days: Option<NonZeroU32> = None => "for ever",
        /// How many days events of refusals, of uses of what was granted before, and of first login steps are kept.
        keep_refusals_days: NonZeroU32 = non_zero(90),
        /// Whether each event is also sent to systemd's journal after its commit.
        journald: bool = false,
    }
}

keys! {
    /// `telemetry.*`
    #[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
    pub struct TelemetrySettings {
        /// An OpenTelemetry collector. It receives one span per request (OTLP over HTTP, under `/v1/traces`) with
        /// method, route template, status and dialect. Requires the build feature `otlp`, which the packages have.
        #[serde(skip_serializing_if = "Option::is_none")]
        otlp: Option<ServerUrl> = None,
        /// A file with header fields for the collector, such as an API key: one `name: value` per line. If unset,
        /// systemd's credential `keyproof-otlp-headers` is used if there is one.
        #[serde(skip_serializing_if = "Option::is_none")]
        otlp_headers: Option<PathBuf> = None,
    }
}

keys! {
    /// `auth.*`
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
    pub struct AuthSettings {
        /// How many requests one address may send in a window, on each server, that log somebody in (by any means) or
        /// cost a password hash; 0 means no limit.
        address_limit: Option<u32> = None => "100",
        /// The length of the window of `auth.address_limit`.
        address_window_s: Option<NonZeroU32> = None => "\"5m\"",
        /// The memory for one hash, up to 256 MiB. If this or the number of passes is lowered, the time that a rejected
        /// login takes reveals which names exist, until their users have logged in again.
        argon2_memory_kib: u32 = 19_456,
        /// The number of passes of Argon2id over that memory, up to 16.
        argon2_iterations: u32 = 2,
        /// How many passwords are hashed at once, 1 to 1024.
        argon2_concurrency: Option<NonZeroUsize> = None => "the machine's cores",
        /// For tests: allows Argon2id costs below the defaults, which are otherwise the minimum.
        argon2_insecure_for_tests: bool = false,
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
        for wrong in [
            "", "5", "0s", "-5s", "2h", "1 day", "soon", "1.5ms", "1.0001s",
        ] {
            assert!(ShortTime::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
