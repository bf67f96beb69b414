//! Where a store is, as the configuration and commands say it.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use keyproof_store::postgres::{PostgresOptions, PostgresUrl};

use super::OpenStoreError;

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// `memory:`, gone with the process.
    Memory,
    /// `postgres://…` or `postgresql://…`.
    Postgres(Box<Shared>),
    /// `sqlite:PATH`, embedded.
    Sqlite(PathBuf),
}

/// A database that nodes share, and how a node deals with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    pub(super) url: PostgresUrl,
    pub(super) options: PostgresOptions,
}

impl Shared {
    /// [`PostgresUrl::is_exposed`].
    pub(crate) fn is_exposed(&self) -> bool {
        self.url.is_exposed()
    }
}

impl StoreUrl {
    /// The same store, by so many connections at most to a database that nodes share, with these times to wait for it.
    pub fn waiting(mut self, connections: usize, connect: Duration, statement: Duration) -> Self {
        if let Self::Postgres(shared) = &mut self {
            let options = &mut shared.options;
            options.connections = connections;
            options.connect_timeout = connect;
            // The others in the proportions that they have by default.
            options.statement_timeout = statement;
            options.lock_timeout = options.lock_timeout.min(statement);
            options.commit_timeout = statement.saturating_mul(12) / 5;
        }
        self
    }

    /// What OpenTelemetry's semantic conventions call the kind of database.
    pub(super) fn system(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Postgres(_) => "postgresql",
            Self::Sqlite(_) => "sqlite",
        }
    }

    /// As the configuration has it, but for a password: read again, it is the same store in the same way.
    pub(crate) fn configured(&self) -> String {
        match self {
            Self::Memory | Self::Sqlite(_) => self.to_string(),
            Self::Postgres(shared) => shared.url.without_password().to_owned(),
        }
    }

    /// Where an embedded store's file is.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Memory | Self::Postgres(_) => None,
        }
    }
}

impl FromStr for StoreUrl {
    type Err = OpenStoreError;

    fn from_str(text: &str) -> Result<Self, OpenStoreError> {
        // A PostgreSQL URL may hold a password, so no error repeats any URL.
        match text.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("sqlite", ":memory:")) => Err(OpenStoreError::NotAPath(
                "memory: is the store that is gone with the process",
            )),
            Some(("sqlite", path)) if path.contains('?') => Err(OpenStoreError::NotAPath(
                "it has no parameters, and no ? in its path",
            )),
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            Some(("postgres" | "postgresql", _)) => {
                let (url, options) = (text.parse()?, PostgresOptions::default());
                Ok(Self::Postgres(Box::new(Shared { url, options })))
            }
            _ => Err(OpenStoreError::UnknownUrl),
        }
    }
}

impl fmt::Display for StoreUrl {
    /// Without credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Postgres(shared) => shared.url.fmt(f),
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
        }
    }
}
