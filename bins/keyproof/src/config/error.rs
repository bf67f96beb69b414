//! Why a configuration is refused.

use std::{io, net::SocketAddr, path::PathBuf};

use keyproof_auth::AuthError;

use crate::{
    dialect::{DialectError, DialectName},
    sites::SiteName,
    store::OpenStoreError,
};

/// A configuration that cannot be used. None of these quotes a secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A number is too large.
    #[error("{key}: {found} is not in 1 to {most}")]
    Above {
        /// The key.
        key: &'static str,
        /// What was asked for.
        found: u64,
        /// The most that may be.
        most: u64,
    },
    /// `auth.argon2_*` is out of range.
    #[error("auth.argon2_*: {0} (auth.argon2_insecure_for_tests lifts the floor)")]
    Argon2(AuthError),
    /// Client certificates are shown in TLS handshakes alone.
    #[error("{0}.client_certificates: give a TLS certificate (tls.certificate, tls.key)")]
    ClientCertificates(DialectName),
    /// Browsers would ask their users for a certificate that they do not have.
    #[error(
        "{dialect}.client_certificates: the site {site} is on the same listener, where browsers would be asked for \
         certificates: give {dialect} one of its own (dialects.{dialect}.listen)"
    )]
    ClientCertificatesBeside {
        /// What asks for them.
        dialect: DialectName,
        /// What is beside it.
        site: SiteName,
    },
    /// A dialect's own settings cannot be used.
    #[error(transparent)]
    Dialect(#[from] DialectError),
    /// A variable is unknown or does not fit.
    #[error("{variable}: {message}")]
    Environment {
        /// The variable.
        variable: String,
        /// What is wrong with it.
        message: String,
    },
    /// Header fields for a collector that others could read on the way.
    #[error("telemetry.otlp_headers: on the way to {0} anybody could read them: https")]
    ExposedFields(String),
    /// The file is not TOML, or has an unknown key or a value that does not fit.
    #[error("{}:{line}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Where, the first line being 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// A flag's value does not fit.
    #[error("{0}")]
    Flag(String),
    /// Header fields for no collector.
    #[error("telemetry.otlp_headers: there is no collector: name one (telemetry.otlp)")]
    NoCollector,
    /// Nobody sends traces.
    #[error(
        "telemetry.otlp: this program was built without OpenTelemetry (cargo build --features otlp); the packages have it"
    )]
    Otlp,
    /// The flag that other servers have for `--listen`.
    #[error("there is no --port: use --listen ADDR:{0}, for example --listen 127.0.0.1:{0}")]
    Port(String),
    /// Plain HTTP beyond loopback, and nobody said that this is meant.
    #[error("{0} is not loopback: give a TLS certificate, or say http.insecure (--insecure-http)")]
    PlainHttp(SocketAddr),
    /// No folder is known for the default store.
    #[error("store.url: neither XDG_STATE_HOME nor HOME is set; set store.url")]
    NoStateFolder,
    /// Two sockets for a listener that has one.
    #[error("two sockets are called {0}: only the name http may be used more than once")]
    SecondSocket(String),
    /// A socket that was passed is nobody's.
    #[error(
        "no listener takes a socket called {0}: FileDescriptorName= must be http, metrics, account, console, {dialects}",
        dialects = DialectName::names("or")
    )]
    Socket(String),
    /// A socket that was passed is for what is off: its connections would wait for ever.
    #[error("a socket called {0} was passed, and {0} is off: turn it on, or take the socket away")]
    SocketOfNothing(String),
    /// `store.url` is no store's URL.
    #[error("store.url: {0}")]
    StoreUrl(OpenStoreError),
    /// The keys under `tls` do not go together.
    #[error("tls: give certificate and key, or self_signed alone")]
    Tls,
    /// Each listener takes one connection's place while it waits for the next.
    #[error("http.max_connections: less than the number of listeners")]
    TooFewConnections,
    /// The file cannot be read.
    #[error("the configuration file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}
