//! The URL of a store, as in the configuration and commands.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use keyproof_store::postgres::{PostgresOptions, PostgresUrl};

use super::OpenStoreError;

/// The location of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// `memory:`, which is lost when the process ends.
    Memory,
    /// `postgres://…` or `postgresql://…`.
    Postgres(Box<Shared>),
    /// `sqlite:PATH`, an embedded store.
    Sqlite(PathBuf),
}

/// A database that nodes share, with the options of its connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    pub(crate) url: PostgresUrl,
    pub(super) options: PostgresOptions,
}

impl StoreUrl {
    /// Returns the same store with a limit of connections and these timeouts. They apply only to a shared database.
    pub fn waiting(mut self, connections: usize, connect: Duration, statement: Duration) -> Self {
        if let Self::Postgres(shared) = &mut self {
            let options = &mut shared.options;
            options.connections = connections;
            options.connect_timeout = connect;
            // The commit timeout keeps its default proportion, and the lock timeout must not be longer.
            options.statement_timeout = statement;
            options.lock_timeout = options.lock_timeout.min(statement);
            options.commit_timeout = statement.saturating_mul(12) / 5;
        }
        self
    }

    /// Returns the name of the database in OpenTelemetry's semantic conventions.
    pub(super) fn system(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Postgres(_) => "postgresql",
            Self::Sqlite(_) => "sqlite",
        }
    }

    /// Returns the URL without its password. It parses to the same store with the same options.
    pub(crate) fn configured(&self) -> String {
        match self {
            Self::Memory | Self::Sqlite(_) => self.to_string(),
            Self::Postgres(shared) => shared.url.without_password().to_owned(),
        }
    }

    /// Returns the path of an embedded store.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Memory | Self::Postgres(_) => None,
        }
    }
}

impl FromStr for StoreUrl {
    type Err = OpenStoreError;

    fn from_str(text: &str) -> Result<Self, OpenStoreError> {
        // No error repeats the URL, as one of PostgreSQL may contain a password.
        match text.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("sqlite", ":memory:")) => Err(OpenStoreError::NotAPath(
                "memory: is the store that is gone with the process",
            )),
            Some(("sqlite", path)) if path.contains('?') => Err(OpenStoreError::NotAPath(
                "it has no parameters, and no ? in its path",
            )),
            // So other programs begin the URL of a file in the current folder, and here it would be in the root folder.
            Some(("sqlite", path)) if path.starts_with("//") && !path.starts_with("///") => {
                Err(OpenStoreError::NotAPath(
                    "no // is before its path, as in sqlite:k.db or sqlite:/var/lib/k.db",
                ))
            }
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
    /// Formats the URL without credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Postgres(shared) => shared.url.fmt(f),
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
        }
    }
}
