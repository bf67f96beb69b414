//! Configuration errors.

use std::{io, net::SocketAddr, path::PathBuf};

use keyproof_auth::AuthError;

use crate::{
    dialect::{DialectError, DialectName},
    sites::SiteName,
    store::OpenStoreError,
};

/// A configuration that cannot be used. No error quotes a secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A number is too large.
    #[error("{key}: {found} is not in 1 to {most}")]
    Above {
        /// The key.
        key: &'static str,
        /// The value found.
        found: u64,
        /// The maximum.
        most: u64,
    },
    /// `auth.argon2_*` is out of range.
    #[error("auth.argon2_*: {0} (auth.argon2_insecure_for_tests lifts the minimum)")]
    Argon2(AuthError),
    /// Client certificates need TLS.
    #[error("{0}.client_certificates: this needs a TLS certificate (tls.certificate, tls.key)")]
    ClientCertificates(DialectName),
    /// Browsers would prompt their users for a certificate that they do not have.
    #[error(
        "{dialect}.client_certificates: the site {site} is on the same listener, where browsers would be asked for \
         certificates: give {dialect} one of its own (dialects.{dialect}.listen)"
    )]
    ClientCertificatesBeside {
        /// The dialect that requests them.
        dialect: DialectName,
        /// The site on the same listener.
        site: SiteName,
    },
    /// A dialect's own settings cannot be used.
    #[error(transparent)]
    Dialect(#[from] DialectError),
    /// A variable is unknown, or its value is invalid.
    #[error("{variable}: {message}")]
    Environment {
        /// The variable.
        variable: String,
        /// What is wrong with it.
        message: String,
    },
    /// Header fields for a collector that is reached over plain HTTP.
    #[error("telemetry.otlp_headers: on the way to {0} others could read them: use https")]
    ExposedFields(String),
    /// The file is not TOML, or has an unknown key or an invalid value.
    #[error("{}:{line}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The line; the first is 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// A flag's value is invalid.
    #[error("{0}")]
    Flag(String),
    /// Metrics have a listener of their own.
    #[error("metrics.listen: another listener has {0}: give metrics an address of their own")]
    MetricsBeside(SocketAddr),
    /// Header fields without a collector.
    #[error("telemetry.otlp_headers: there is no collector: set telemetry.otlp")]
    NoCollector,
    /// The build has no feature for traces.
    #[error(
        "telemetry.otlp: this program was built without OpenTelemetry (cargo build --features otlp); the packages have it"
    )]
    Otlp,
    /// `--port`, which other servers have instead of `--listen`.
    #[error("there is no --port: use --listen ADDR:{0}, for example --listen 127.0.0.1:{0}")]
    Port(String),
    /// Plain HTTP beyond loopback, without `http.insecure`.
    #[error("{0} is not loopback: set a TLS certificate, or http.insecure (--insecure-http)")]
    PlainHttp(SocketAddr),
    /// The default store's folder is unknown.
    #[error("store.url: neither XDG_STATE_HOME nor HOME has an absolute path; set store.url")]
    NoStateFolder,
    /// The path of a file with a secret is the secret itself, which is not quoted.
    #[error(
        "{key}: this is {what}, and not the path of a file that contains one: put it into a file that only its owner can read"
    )]
    SecretAsPath {
        /// The key.
        key: &'static str,
        /// What was given.
        what: &'static str,
    },
    /// Two sockets for a listener that may have only one.
    #[error("two sockets are called {0}: only the name http may be used more than once")]
    SecondSocket(String),
    /// A passed socket that belongs to no listener.
    #[error(
        "no listener takes a socket called {0}: FileDescriptorName= must be http, metrics, account, console, {dialects}",
        dialects = DialectName::names("or")
    )]
    Socket(String),
    /// A passed socket of something that is off: its connections would wait for ever.
    #[error("a socket called {0} was passed, and {0} is off: turn it on, or take the socket away")]
    SocketOfNothing(String),
    /// `store.url` is not the URL of a store.
    #[error("store.url: {0}")]
    StoreUrl(OpenStoreError),
    /// The keys under `tls` contradict each other.
    #[error("tls: give certificate and key, or self_signed alone")]
    Tls,
    /// Each listener occupies a connection while it waits for the next.
    #[error(
        "http.max_connections: {found} is too few for {listeners} listeners, each of which needs one"
    )]
    TooFewConnections {
        /// The configured maximum.
        found: u32,
        /// The number of listeners.
        listeners: usize,
    },
    /// The file cannot be read.
    #[error("the configuration file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}
