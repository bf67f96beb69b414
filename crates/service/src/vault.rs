//! Opening a store: which engine, and under which master key.
//!
//! A master key is drawn only for an embedded store that does not exist yet. In every other case the key must be
//! there and be the store's own: a store that lost its key is never given a new one, under which nothing would open.

mod master_key;

pub use master_key::{MasterKeyError, MasterKeySource};

use keyproof_store::{
    Engine, Entropy, MasterKeys, OpenError, Store, Timestamp,
    memory::MemoryEngine,
    sqlite::{SqliteEngine, SqliteOptions},
};
use std::{
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// `memory:`, gone with the process.
    Memory,
    /// `postgres://…` or `postgresql://…`.
    Postgres,
    /// `sqlite:PATH`, embedded.
    Sqlite(PathBuf),
}

impl FromStr for StoreUrl {
    type Err = VaultError;

    fn from_str(text: &str) -> Result<Self, VaultError> {
        // A PostgreSQL URL may hold a password, so no error repeats any URL.
        match text.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => Ok(Self::Postgres),
            _ => Err(VaultError::UnknownUrl),
        }
    }
}

impl fmt::Display for StoreUrl {
    /// Without credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Postgres => f.write_str("postgres:"),
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
        }
    }
}

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// The directory of an embedded store could not be made.
    #[error("cannot make the directory {}: {source}", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The master key could not be had.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// The store itself refused.
    #[error("cannot open the store {url}: {source}")]
    Open {
        /// Which store.
        url: String,
        /// Why not.
        source: OpenError,
    },
    /// An engine that this version does not have.
    #[error("PostgreSQL stores are not in this version: use sqlite:PATH")]
    PostgresNotSupported,
    /// Not a store's URL.
    #[error("a store is memory:, sqlite:PATH or postgres://…")]
    UnknownUrl,
}

/// Opens the store at `url` under the master key from `source`.
///
/// # Errors
/// [`VaultError`] names what does not fit.
pub async fn open(
    url: &StoreUrl,
    source: &MasterKeySource,
    entropy: Arc<dyn Entropy>,
    now: Timestamp,
) -> Result<Store, VaultError> {
    let key = match url {
        StoreUrl::Postgres => return Err(VaultError::PostgresNotSupported),
        StoreUrl::Memory => master_key::for_memory(source, &*entropy)?,
        StoreUrl::Sqlite(path) => {
            make_directory(path)?;
            master_key::for_embedded(source, path, &*entropy)?
        }
    };
    let failed = |source| VaultError::Open {
        url: url.to_string(),
        source,
    };
    let engine: Arc<dyn Engine> = match url {
        StoreUrl::Sqlite(path) => {
            Arc::new(SqliteEngine::open(path, &SqliteOptions::default()).map_err(failed)?)
        }
        _ => Arc::new(MemoryEngine::new()),
    };
    Store::open(engine, MasterKeys::new(&key), entropy, now)
        .await
        .map_err(failed)
}

fn make_directory(store: &Path) -> Result<(), VaultError> {
    let Some(directory) = store.parent().filter(|path| !path.as_os_str().is_empty()) else {
        return Ok(());
    };
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(directory)
        .map_err(|source| VaultError::Directory {
            path: directory.to_owned(),
            source,
        })
}
