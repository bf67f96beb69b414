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

#[cfg(test)]
mod tests {
    use super::*;
    use keyproof_store::{MasterKey, SystemEntropy};

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    async fn open_url(url: &str, source: &MasterKeySource) -> Result<Store, VaultError> {
        open(&url.parse()?, source, Arc::new(SystemEntropy::new()), NOW).await
    }

    #[test]
    fn urls_are_read_and_shown_without_credentials() {
        for (text, shown) in [
            ("memory:", "memory:"),
            ("sqlite:/var/lib/k.db", "sqlite:/var/lib/k.db"),
            ("sqlite:k.db", "sqlite:k.db"),
            ("postgres://user:secret@host/db", "postgres:"),
        ] {
            assert_eq!(text.parse::<StoreUrl>().unwrap().to_string(), shown);
        }
        for wrong in [
            "",
            "memory",
            "memory:x",
            "sqlite:",
            "/var/lib/k.db",
            "postgres:x",
            "mysql://h",
        ] {
            assert!(wrong.parse::<StoreUrl>().is_err(), "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn postgres_says_that_it_is_to_come() {
        let refused = open_url("postgres://h/db", &MasterKeySource::Beside).await;
        assert!(matches!(refused, Err(VaultError::PostgresNotSupported)));
    }

    #[tokio::test]
    async fn an_embedded_store_opens_again_under_its_own_key_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state").join("k.db");
        let url = format!("sqlite:{}", path.display());
        open_url(&url, &MasterKeySource::Beside)
            .await
            .unwrap()
            .close()
            .await;
        open_url(&url, &MasterKeySource::Beside)
            .await
            .unwrap()
            .close()
            .await;

        let key_file = directory.path().join("state").join("k.db.master-key");
        let own = std::fs::read(&key_file).unwrap();
        std::fs::remove_file(&key_file).unwrap();
        let lost = open_url(&url, &MasterKeySource::Beside).await;
        assert!(matches!(
            lost,
            Err(VaultError::MasterKey(MasterKeyError::Missing { .. }))
        ));

        let other = MasterKey::generate(&SystemEntropy::new());
        let text = data_encoding::BASE64.encode(other.as_bytes());
        let wrong = open_url(
            &url,
            &MasterKeySource::Base64(zeroize::Zeroizing::new(text)),
        )
        .await;
        let Err(VaultError::Open {
            source: OpenError::MasterKey { given, .. },
            ..
        }) = wrong
        else {
            panic!("{wrong:?}");
        };
        assert_eq!(given, [other.id()]);

        let own = String::from_utf8(own).unwrap();
        let right = MasterKeySource::Base64(zeroize::Zeroizing::new(own));
        assert!(open_url(&url, &right).await.is_ok());
    }
}
