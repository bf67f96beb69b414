//! The configuration: flags over environment over file over defaults.

mod address;
mod error;
mod layers;
pub mod reference;
mod settings;
mod warning;

use std::{
    collections::BTreeSet,
    ffi::OsString,
    iter,
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    path::{Path, PathBuf},
    thread::available_parallelism,
    time::Duration,
};

use data_encoding::BASE64;
use http::HeaderName;
use keyproof_auth::Cost;
use keyproof_http::{Limits, TrustedProxies};
use keyproof_service::{AddressLimit, HashingSettings};
use keyproof_store::MasterKey;
use serde::Deserialize;
use toml::{Table, Value};
use zeroize::Zeroizing;

use crate::{
    dialect::DialectName,
    server_certificate::TlsSource,
    sites::SiteName,
    sockets::{self, Sockets},
    store::{Location, MasterKeySource, StoreUrl},
    telemetry::{CollectorFields, LogFormat, journal},
};

pub use reference::Key;
pub(crate) use reference::{Form, forms, keys, name_of};

pub(crate) use address::parse_address;
pub use error::ConfigError;
pub use settings::{
    AuditTrailSettings, AuthSettings, DialectsSettings, HttpSettings, LogSettings, MetricsSettings,
    ServedSettings, Settings, ShortTime, StoreSettings, TelemetrySettings, TlsSettings,
};

pub use crate::http_client::{ServerUrl, ServerUrlError};

/// How many passwords may wait to be hashed: a few seconds' work, well within a handler's time limit.
const HASHING_QUEUE: usize = 128;

/// The maximum number of passwords that are hashed at once, each in its own thread with some 19 MiB. More would exceed
/// the cores of any machine and only wait for each other.
const MAX_HASHING_THREADS: u16 = 1024;

/// The maximum number of connections from one node to a PostgreSQL database: each is a process there, and nodes share
/// it.
const MAX_STORE_CONNECTIONS: u64 = 1000;

/// The largest body limit that may be configured, in bytes: bodies are read into memory whole.
const MAX_BODY_BYTES: u64 = 1 << 30;

/// The sources of a configuration.
#[derive(Default)]
pub struct Sources {
    /// `--config FILE`
    pub file: Option<PathBuf>,
    /// The process's environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Flags, by the key that they set.
    pub flags: Vec<(&'static str, Value)>,
    /// The names and addresses of sockets that are already open. Each replaces a configured address.
    pub sockets: Vec<(String, SocketAddr)>,
}

impl Sources {
    /// Returns the process's own environment, without file and flags.
    pub fn of_this_process() -> Self {
        Self {
            environment: std::env::vars_os().collect(),
            ..Self::default()
        }
    }

    /// Returns the platform's state folder: systemd's for a service, otherwise the user's (XDG base directories).
    pub(crate) fn state_folder(&self) -> Option<PathBuf> {
        let absolute = |name| {
            let path = self.variable(name).map(PathBuf::from);
            path.filter(|path| path.is_absolute())
        };
        // systemd separates several folders by colons.
        let first = |list: &Path| list.to_str()?.split(':').next().map(PathBuf::from);
        absolute("STATE_DIRECTORY")
            .and_then(|list| first(&list))
            .or_else(|| absolute("XDG_STATE_HOME"))
            .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
    }

    fn variable(&self, name: &str) -> Option<&OsString> {
        let mut variables = self.environment.iter();
        variables
            .find(|(variable, value)| variable == name && !value.is_empty())
            .map(|(_, value)| value)
    }
}

/// A checked configuration, as the server uses it. It may contain the master key, so it is not `Debug`.
pub struct Config {
    /// The keys' effective values.
    pub settings: Settings,
    /// The limits of the HTTP stack.
    pub limits: Limits,
    /// The proxies whose `X-Forwarded-For` is trusted.
    pub proxies: TrustedProxies,
    /// TLS; `None` for plain HTTP.
    pub tls: Option<TlsSource>,
    /// Where state is stored, and the master key.
    pub store: Location,
    /// Further addresses of the main listener, from sockets that were already open.
    pub further_main: Vec<SocketAddr>,
    /// The sockets that were already open.
    pub sockets: Sockets,
    /// The enabled dialects, each with the address of its own listener if it has one.
    pub dialects: Vec<(DialectName, Option<SocketAddr>)>,
    /// The enabled sites, each with the address of its own listener if it has one.
    pub sites: Vec<(SiteName, Option<SocketAddr>)>,
    /// How passwords are hashed.
    pub hashing: HashingSettings,
    /// The source of header fields for the trace collector, if there are any.
    pub collector_fields: Option<CollectorFields>,
    /// The configuration file, if there is one.
    pub(crate) file: Option<ConfigFile>,
    /// The socket of systemd's journal. No key sets it.
    pub journal: PathBuf,
}

/// A configuration's file.
pub(crate) struct ConfigFile {
    path: PathBuf,
    has_password: bool,
    /// Whether it names an embedded store by a relative path.
    has_relative_store: bool,
}

impl Config {
    /// Reads all layers and checks them.
    ///
    /// # Errors
    ///
    /// The first error found, with its place.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let mut table = match &sources.file {
            Some(path) => layers::file(path)?,
            None => Table::new(),
        };
        let file = sources.file.as_ref().map(|path| ConfigFile {
            path: path.clone(),
            has_password: has_password(&table),
            has_relative_store: has_relative_store(&table),
        });
        let environment = sources.environment.iter().cloned();
        layers::put_over(&mut table, layers::environment(environment)?);
        let mut flags = Table::new();
        for (key, value) in &sources.flags {
            layers::set(&mut flags, key, value.clone());
        }
        layers::put_over(&mut table, flags);
        let settings = Settings::deserialize(table)
            .map_err(|error| ConfigError::Flag(layers::in_words(error.message())))?;
        Ok(Self {
            file,
            ..Self::check(settings, sources)?
        })
    }

    /// Returns the log format from the layers that can be read, so that errors in the others can be logged in it.
    /// Ignores a file that is not a regular file, as that may be readable only once.
    pub fn log_format(sources: &Sources) -> LogFormat {
        let key = "log.format";
        let flag = sources.flags.iter().find(|(name, _)| *name == key);
        if let Some(format) = flag.and_then(|(_, value)| LogFormat::of(value.as_str()?)) {
            return format;
        }
        let variable = sources.variable("KEYPROOF_LOG__FORMAT");
        if let Some(format) = variable.and_then(|value| LogFormat::of(value.to_str()?)) {
            return format;
        }
        let file = sources.file.as_deref().filter(|path| path.is_file());
        file.and_then(layers::log_format).unwrap_or_default()
    }

    fn check(mut settings: Settings, sources: &Sources) -> Result<Self, ConfigError> {
        no_secrets_as_paths(&settings)?;
        let further_main = listen_on(&mut settings, &sources.sockets)?;
        let dialects = DialectName::ALL.iter();
        let dialects = dialects.filter_map(|name| served(*name, settings.dialects.of(*name)));
        let dialects = dialects.collect();
        let sites = SiteName::ALL.into_iter();
        let sites = sites.filter_map(|name| served(name, name.settings(&mut settings)));
        let sites = sites.collect();
        let body = settings.http.max_body_bytes.get();
        at_most("http.max_body_bytes", body.into(), MAX_BODY_BYTES)?;
        if settings.telemetry.otlp.is_some() && !cfg!(feature = "otlp") {
            return Err(ConfigError::Otlp);
        }
        let collector_fields = collector_fields(&settings.telemetry, sources)?;
        for name in DialectName::ALL {
            name.check(&mut settings)?;
        }
        let store = Location {
            url: store_url(&mut settings.store, sources)?,
            master_key: master_key(&mut settings.store, sources)?,
        };
        let address_limit = address_limit(&mut settings.auth);
        let hashing = hashing(&settings.auth, address_limit)?;
        let config = Self {
            limits: limits(&settings.http),
            proxies: TrustedProxies::new(settings.http.trusted_proxies.clone()),
            tls: tls(&settings.tls)?,
            store,
            further_main,
            sockets: Sockets::default(),
            dialects,
            sites,
            hashing,
            collector_fields,
            file: None,
            journal: PathBuf::from(journal::SOCKET),
            settings,
        };
        config.check_listeners()?;
        config.check_client_certificates()?;
        Ok(config)
    }

    /// Each listener needs a connection, and TLS if other machines can reach it. Metrics share none.
    fn check_listeners(&self) -> Result<(), ConfigError> {
        let http = &self.settings.http;
        let metrics = self.settings.metrics.listen;
        if let Some(metrics) = metrics.filter(|metrics| metrics.port() != 0)
            && self.listeners().any(|listen| listen == metrics)
        {
            return Err(ConfigError::MetricsBeside(metrics));
        }
        let (found, listeners) = (http.max_connections.get(), self.socket_count());
        if listeners > found as usize {
            return Err(ConfigError::TooFewConnections { found, listeners });
        }
        match self.exposed_listeners().next() {
            Some(exposed) if !http.insecure => Err(ConfigError::PlainHttp(exposed)),
            _ => Ok(()),
        }
    }

    /// A listener that requests client certificates needs TLS, and must not serve a site.
    fn check_client_certificates(&self) -> Result<(), ConfigError> {
        let asks = |(name, _): &&(DialectName, Option<SocketAddr>)| {
            name.of(&self.settings).asks_for_client_certificates()
        };
        let Some(&(dialect, listen)) = self.dialects.iter().find(asks) else {
            return Ok(());
        };
        if self.tls.is_none() {
            return Err(ConfigError::ClientCertificates(dialect));
        }
        let place = |listen: Option<SocketAddr>| listen.unwrap_or(self.settings.http.listen);
        let is_beside = |other: Option<SocketAddr>| {
            // Port 0 picks another port for each listener.
            let is_one = place(listen).port() != 0 || (listen, other) == (None, None);
            is_one && place(other) == place(listen)
        };
        let mut sites = self.sites.iter();
        match sites.find(|(_, other)| is_beside(*other)) {
            Some(&(site, _)) => Err(ConfigError::ClientCertificatesBeside { dialect, site }),
            None => Ok(()),
        }
    }

    /// Returns whether any listener requests client certificates.
    pub fn requests_client_certificates(&self) -> bool {
        let mut dialects = self.dialects.iter();
        dialects.any(|(name, _)| name.of(&self.settings).asks_for_client_certificates())
    }

    /// Returns every address on which an application is served.
    fn listeners(&self) -> impl Iterator<Item = SocketAddr> {
        let main = iter::once(self.settings.http.listen).chain(self.further_main.iter().copied());
        let dialects = self.dialects.iter().filter_map(|(_, listen)| *listen);
        let sites = self.sites.iter().filter_map(|(_, listen)| *listen);
        main.chain(dialects).chain(sites)
    }

    /// Returns the number of sockets for these addresses. Applications with the same address share one, except that port 0
    /// picks another port for each.
    fn socket_count(&self) -> usize {
        let (picked, fixed): (Vec<_>, Vec<_>) =
            self.listeners().partition(|listen| listen.port() == 0);
        let fixed: BTreeSet<_> = fixed.into_iter().collect();
        picked.len() + fixed.len()
    }

    /// Returns every address on which other machines can speak plain HTTP.
    fn exposed_listeners(&self) -> impl Iterator<Item = SocketAddr> {
        let all = self.listeners().chain(self.settings.metrics.listen);
        all.filter(move |listen| self.tls.is_none() && !listen.ip().is_loopback())
    }

    /// Returns the effective configuration as TOML. It contains no secret, because no key has one.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(&self.settings).unwrap_or_default()
    }
}

/// Returns `store.url` as a file's layer has it.
fn written_store(layer: &Table) -> Option<&str> {
    let url = layer.get("store").and_then(|store| store.get("url"));
    url.and_then(Value::as_str)
}

/// Whether a file's layer names an embedded store by a relative path.
fn has_relative_store(layer: &Table) -> bool {
    let path = written_store(layer).and_then(|url| url.strip_prefix("sqlite:"));
    path.is_some_and(|path| Path::new(path).is_relative())
}

/// Whether a file's layer contains a database password. No other key has a secret.
fn has_password(layer: &Table) -> bool {
    written_store(layer).is_some_and(|text| {
        let url = text.parse::<StoreUrl>();
        url.is_ok_and(|url| matches!(url, StoreUrl::Postgres(_)) && url.configured() != text)
    })
}

fn limits(http: &HttpSettings) -> Limits {
    let milliseconds = |value: NonZeroU32| Duration::from_millis(value.get().into());
    let max_connections = http.max_connections.get();
    // All clients of an office may share one address, and so do those behind a load balancer at TCP level.
    let a_quarter = (max_connections / 4).max(64);
    Limits {
        max_body_bytes: usize::try_from(http.max_body_bytes.get()).unwrap_or(usize::MAX),
        header_timeout: milliseconds(http.header_timeout_ms),
        body_timeout: milliseconds(http.body_timeout_ms),
        handler_timeout: milliseconds(http.handler_timeout_ms),
        max_connections,
        max_connections_per_address: http.max_connections_per_address.unwrap_or(a_quarter),
        drain_timeout: milliseconds(http.drain_timeout_ms),
    }
}

/// Refuses secrets that are given in the place of their files' paths. A path is shown in errors, and so in the log; and a new
/// store would get another master key, in a file of that name.
fn no_secrets_as_paths(settings: &Settings) -> Result<(), ConfigError> {
    let refuse = |key, what, path: &Option<PathBuf>, is_secret: fn(&str) -> bool| {
        let text = path.as_ref().and_then(|path| path.to_str());
        if text.is_some_and(is_secret) {
            return Err(ConfigError::SecretAsPath { key, what });
        }
        Ok(())
    };
    let Settings {
        store,
        telemetry,
        tls,
        ..
    } = settings;
    let fields = &telemetry.otlp_headers;
    refuse("store.master_key", "a key", &store.master_key, is_key)?;
    refuse("telemetry.otlp_headers", "a header field", fields, is_field)?;
    refuse("tls.key", "a private key", &tls.key, is_private_key)
}

/// Whether the first line is a master key in Base64.
fn is_key(text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default().trim();
    let decoded = BASE64.decode(first.as_bytes()).map(Zeroizing::new);
    decoded.is_ok_and(|key| key.len() == MasterKey::LEN)
}

/// Whether it is `name: value`, or `name=value` as in OpenTelemetry's own variables.
fn is_field(text: &str) -> bool {
    let name = text.split_once([':', '=']).map(|(name, _)| name);
    name.is_some_and(|name| HeaderName::from_bytes(name.as_bytes()).is_ok())
}

/// Whether it has the beginning of a block in PEM.
fn is_private_key(text: &str) -> bool {
    text.contains("-----BEGIN ")
}

/// Assigns sockets that are already open to listeners by name: `http`, `metrics`, a dialect's or a site's. Returns the
/// main listener's further addresses.
fn listen_on(
    settings: &mut Settings,
    sockets: &[(String, SocketAddr)],
) -> Result<Vec<SocketAddr>, ConfigError> {
    let (mut main, mut seen) = (Vec::new(), Vec::new());
    for (name, address) in sockets {
        let is_main = name == sockets::MAIN;
        if !is_main && seen.contains(&name) {
            return Err(ConfigError::SecondSocket(name.clone()));
        }
        seen.push(name);
        if is_main {
            main.push(*address);
        } else if name == sockets::METRICS {
            settings.metrics.listen = Some(*address);
        } else {
            let served = served_as(settings, name);
            let served = served.ok_or_else(|| ConfigError::Socket(name.clone()))?;
            if served.enabled == Some(false) {
                return Err(ConfigError::SocketOfNothing(name.clone()));
            }
            served.listen = Some(*address);
        }
    }
    if let Some(first) = main.first() {
        settings.http.listen = *first;
        main.remove(0);
    }
    Ok(main)
}

/// Returns the settings of the dialect or site with this name.
fn served_as<'s>(settings: &'s mut Settings, name: &str) -> Option<&'s mut ServedSettings> {
    if let Ok(dialect) = name.parse::<DialectName>() {
        return Some(settings.dialects.of(dialect));
    }
    let site = SiteName::ALL
        .into_iter()
        .find(|site| site.as_str() == name)?;
    Some(site.settings(settings))
}

/// Returns the dialect or site with its own listener's address, if it is enabled. It is by default.
fn served<N>(name: N, settings: &mut ServedSettings) -> Option<(N, Option<SocketAddr>)> {
    let is_on = *settings.enabled.get_or_insert(true);
    is_on.then_some((name, settings.listen))
}

fn tls(settings: &TlsSettings) -> Result<Option<TlsSource>, ConfigError> {
    match (&settings.certificate, &settings.key, settings.self_signed) {
        (None, None, false) => Ok(None),
        (None, None, true) => Ok(Some(TlsSource::SelfSigned)),
        (Some(certificate), Some(key), false) => Ok(Some(TlsSource::Files {
            certificate: certificate.clone(),
            key: key.clone(),
        })),
        _ => Err(ConfigError::Tls),
    }
}

fn store_url(settings: &mut StoreSettings, sources: &Sources) -> Result<StoreUrl, ConfigError> {
    let connections = settings.max_connections.get();
    at_most(
        "store.max_connections",
        connections.into(),
        MAX_STORE_CONNECTIONS,
    )?;
    let url = match &settings.url {
        Some(url) => url.clone(),
        None => {
            let folder = sources.state_folder().ok_or(ConfigError::NoStateFolder)?;
            let path = folder.join("keyproof").join("keyproof.db");
            format!("sqlite:{}", path.display())
        }
    };
    let location: StoreUrl = url.parse().map_err(ConfigError::StoreUrl)?;
    // From here on it is only shown.
    settings.url = Some(location.configured());
    Ok(location.waiting(
        usize::try_from(connections).unwrap_or(usize::MAX),
        settings.connect_timeout.0,
        settings.statement_timeout.0,
    ))
}

/// Header fields for the collector. Without a collector they have no use, and over plain HTTP anybody could read them.
fn collector_fields(
    settings: &TelemetrySettings,
    sources: &Sources,
) -> Result<Option<CollectorFields>, ConfigError> {
    let credentials = sources.variable("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let fields = CollectorFields::choose(settings.otlp_headers.clone(), credentials);
    match (&settings.otlp, &fields) {
        (None, _) if settings.otlp_headers.is_some() => Err(ConfigError::NoCollector),
        (Some(url), Some(_)) if url.is_exposed() => {
            Err(ConfigError::ExposedFields(url.clone().into()))
        }
        (None, _) => Ok(None),
        (Some(_), _) => Ok(fields),
    }
}

fn address_limit(auth: &mut AuthSettings) -> AddressLimit {
    let default = AddressLimit::default();
    let seconds = |seconds: NonZeroU32| Duration::from_secs(seconds.get().into());
    let limit = AddressLimit {
        requests: auth.address_limit.unwrap_or(default.requests),
        window: auth.address_window_s.map_or(default.window, seconds),
    };
    // From here on they are only shown.
    auth.address_limit = Some(limit.requests);
    let seconds = u32::try_from(limit.window.as_secs()).unwrap_or(u32::MAX);
    auth.address_window_s = NonZeroU32::new(seconds);
    limit
}

fn at_most(key: &'static str, found: u64, most: u64) -> Result<(), ConfigError> {
    if found > most {
        return Err(ConfigError::Above { key, found, most });
    }
    Ok(())
}

/// Costs below the minimum are allowed only with `argon2_insecure_for_tests`.
fn hashing(
    settings: &AuthSettings,
    address_limit: AddressLimit,
) -> Result<HashingSettings, ConfigError> {
    let cost = if settings.argon2_insecure_for_tests {
        Cost::insecure_for_tests
    } else {
        Cost::new
    };
    let most = NonZeroUsize::new(MAX_HASHING_THREADS.into()).unwrap_or(NonZeroUsize::MIN);
    let cores = available_parallelism()
        .unwrap_or(NonZeroUsize::MIN)
        .min(most);
    let threads = settings.argon2_concurrency.unwrap_or(cores);
    let found = threads.get().try_into().unwrap_or(u64::MAX);
    at_most("auth.argon2_concurrency", found, MAX_HASHING_THREADS.into())?;
    Ok(HashingSettings {
        address_limit,
        cost: cost(settings.argon2_memory_kib, settings.argon2_iterations, 1)
            .map_err(ConfigError::Argon2)?,
        threads,
        queue: HASHING_QUEUE,
    })
}

/// A flag names a file. The environment may contain the key itself, which then wins over a file's `store.master_key`.
fn master_key(
    settings: &mut StoreSettings,
    sources: &Sources,
) -> Result<MasterKeySource, ConfigError> {
    let by_flag = sources
        .flags
        .iter()
        .any(|(key, _)| *key == "store.master_key");
    let given = sources
        .variable(layers::MASTER_KEY_VARIABLE)
        .filter(|_| !by_flag);
    let base64 = given.map(|value| {
        let text = value.to_str().ok_or_else(|| ConfigError::Environment {
            variable: layers::MASTER_KEY_VARIABLE.to_owned(),
            message: "not UTF-8".to_owned(),
        })?;
        Ok::<_, ConfigError>(Zeroizing::new(text.to_owned()))
    });
    if base64.is_some() {
        settings.master_key = None;
    }
    Ok(MasterKeySource::choose(
        settings.master_key.clone(),
        base64.transpose()?,
        sources.variable("CREDENTIALS_DIRECTORY").map(PathBuf::from),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_a_quarter_of_the_connections_unless_it_is_said() {
        let limit = |flags: &[(&'static str, Value)]| {
            let config = Config::load(&Sources {
                flags: flags.to_vec(),
                environment: vec![("HOME".into(), "/nowhere".into())],
                ..Sources::default()
            });
            config.unwrap().limits.max_connections_per_address
        };
        assert_eq!(limit(&[]), 2048);
        assert_eq!(limit(&[("http.max_connections", 400.into())]), 100);
        assert_eq!(limit(&[("http.max_connections", 50.into())]), 64);
        for said in [0, 7] {
            let key = "http.max_connections_per_address";
            assert_eq!(limit(&[(key, said.into())]), said);
        }
    }
}
