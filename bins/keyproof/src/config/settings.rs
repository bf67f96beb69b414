//! The configuration's keys, their types and their defaults: what a file may hold.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
};

use ipnet::IpNet;
use keyproof_service::{CertificateSettings, DeviceIdentitySettings};
use serde::{Deserialize, Serialize};

use super::address;
use crate::{
    dialect::{
        dps::SubjectForm,
        f5::{PublicUrl, StationAuth},
    },
    telemetry::{LogFormat, LogLevel},
};

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
    /// GNU Taler.
    pub taler: TalerSettings,
    /// Azure DPS certificates.
    pub dps: DpsSettings,
    /// F5 XC TPM provisioning.
    pub f5: F5Settings,
    /// emnify second factors.
    pub emnify: EmnifySettings,
    /// Passwords.
    pub auth: AuthSettings,
}

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
    /// The file that holds the master key.
    pub master_key: Option<PathBuf>,
    /// Whether `serve` brings the store to this release's schema before it starts.
    pub migrate: bool,
}

/// `dialects.*`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct DialectsSettings {
    /// GNU Taler OTP devices.
    pub taler: DialectSettings,
    /// Azure DPS certificates.
    pub dps: DialectSettings,
    /// F5 XC TPM provisioning.
    pub f5: DialectSettings,
    /// emnify second factors.
    pub emnify: DialectSettings,
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

/// `taler.*`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TalerSettings {
    /// 1 to 11 letters A to Z.
    pub currency: String,
}

impl Default for TalerSettings {
    fn default() -> Self {
        Self {
            currency: "KUDOS".to_owned(),
        }
    }
}

/// `dps.*`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct DpsSettings {
    /// Takes `isVerified: true` without a proof.
    pub allow_unproven: bool,
    /// The most that a provisioning service has.
    pub max_certificates: NonZeroU32,
    /// How long a verification code lives, in seconds; until it is used if absent.
    pub code_lifetime_s: Option<NonZeroU32>,
    /// How a certificate's subject is shown.
    pub subject: SubjectForm,
    /// Whose tokens are taken beside keyproof's own.
    pub issuers: Vec<DpsIssuer>,
}

impl Default for DpsSettings {
    fn default() -> Self {
        let CertificateSettings {
            allow_unproven,
            max_certificates,
            code_lifetime: _,
        } = CertificateSettings::default();
        Self {
            allow_unproven,
            max_certificates,
            code_lifetime_s: None,
            subject: SubjectForm::default(),
            issuers: Vec::new(),
        }
    }
}

/// `dps.issuers[]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DpsIssuer {
    /// The `iss` of its tokens.
    pub issuer: String,
    /// Their `aud`.
    pub audience: String,
    /// A JWK set: its keys.
    pub jwks_file: PathBuf,
    /// The claim that says what a token allows; `scp` if absent.
    #[serde(default = "scp")]
    pub scope_claim: String,
    /// The scopes that each value of that claim stands for.
    #[serde(default)]
    pub scopes: BTreeMap<String, OneOrMore>,
}

fn scp() -> String {
    "scp".to_owned()
}

/// A scope, or an array of them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum OneOrMore {
    /// One.
    One(String),
    /// An array.
    More(Vec<String>),
}

/// `f5.*`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct F5Settings {
    /// `authorization` or `api_key_only`: what stations show beside their API key.
    pub station_auth: StationAuth,
    /// Calls a minute with one API key, on each server; 0 is without a limit.
    pub rate_limit_per_minute: u32,
    /// The address under which others reach the API: certificates of attestation keys then say where the revocation list is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_url: Option<PublicUrl>,
}

impl Default for F5Settings {
    fn default() -> Self {
        Self {
            station_auth: StationAuth::default(),
            rate_limit_per_minute: DeviceIdentitySettings::default().rate_limit_per_minute,
            public_url: None,
        }
    }
}

/// `emnify.*`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmnifySettings {
    /// The older name of `auth.address_limit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authenticate_limit: Option<u32>,
    /// The older name of `auth.address_window_s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authenticate_window_s: Option<NonZeroU32>,
    /// How many consecutive failures lock a name.
    pub lockout_failures: NonZeroU32,
    /// How long a lock lasts, in seconds.
    pub lockout_s: NonZeroU32,
    /// Whether a refresh token is good once, and gives its successor.
    pub rotate_refresh_tokens: bool,
}

impl Default for EmnifySettings {
    fn default() -> Self {
        const FIVE_MINUTES: NonZeroU32 = NonZeroU32::MIN.saturating_add(299);
        Self {
            authenticate_limit: None,
            authenticate_window_s: None,
            lockout_failures: NonZeroU32::MIN.saturating_add(2),
            lockout_s: FIVE_MINUTES,
            rotate_refresh_tokens: false,
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
