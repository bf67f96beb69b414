//! Opening a store with the right engine and its master key.
//!
//! A master key is generated only for a new embedded store. In all other cases the store's own key must exist. A store
//! that has lost its key is never given a new one, with which nothing could be decrypted. The nodes of a shared
//! database are given the key by whoever sets them up, so that all have the same.

mod embedded;
mod exposure;
mod key_file;
mod master_key;
mod url;

pub(crate) use embedded::files as files_of_embedded;
pub(crate) use exposure::Access;
pub use exposure::Exposure;
pub use key_file::GivenKeys;
pub use master_key::{MasterKeyError, MasterKeySource};
pub use url::{Shared, StoreUrl};

use std::{
    fmt,
    fs::{DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    panic::resume_unwind,
    path::{Path, PathBuf},
    sync::Arc,
};

use keyproof_store::{
    Engine, EngineError, EngineSnapshot, Entropy, Key, KeyId, MasterKey, Migration, OpenError,
    Store, Timestamp,
    memory::MemoryEngine,
    postgres::{ParsePostgresUrlError, PostgresEngine},
    sqlite::{SqliteEngine, SqliteOptions},
};
use tokio::task::spawn_blocking;

use crate::{telemetry::traced, whole_file::folder_of};

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenStoreError {
    /// The directory of an embedded store could not be created.
    #[error("cannot make the directory {}: {source}", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// Others on the machine may read or write the store's files.
    #[error(
        "the store {} {first}: chmod 600{}",
        .files.first().map(|file| file.display().to_string()).unwrap_or_default(),
        embedded::for_shell(.files)
    )]
    Exposed {
        /// The exposed files, the main file first.
        files: Vec<PathBuf>,
        /// The access to the first of them.
        first: Exposure,
    },
    /// The store's path is a folder.
    #[error("the store {} is a folder: name a file, which may be in it", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// There is no store to open.
    #[error("there is no store at {url}")]
    Absent {
        /// Where it should be.
        url: StoreUrl,
    },
    /// The master key could not be read or created.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// Text after `sqlite:` that other programs interpret. Here it would become the name of a file.
    #[error("an embedded store is sqlite:PATH: {0}")]
    NotAPath(&'static str),
    /// The store or its engine could not be opened.
    #[error("cannot open the store {url}: {source}")]
    Open {
        /// The store.
        url: StoreUrl,
        /// The reason.
        source: OpenError,
    },
    /// The text is not a URL of a PostgreSQL database.
    #[error(transparent)]
    PostgresUrl(#[from] ParsePostgresUrlError),
    /// The text is not the URL of a store.
    #[error("a store is memory:, sqlite:PATH or postgres://…")]
    UnknownUrl,
}

/// The location of a store and the source of its master key.
#[derive(Clone, Debug)]
pub struct Location {
    /// The location of the records.
    pub url: StoreUrl,
    /// The source of the master key.
    pub master_key: MasterKeySource,
}

impl fmt::Display for Location {
    /// Formats the store's URL without credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

impl Location {
    /// Checks what can be checked without opening the store: the master key and the files that the URL names. Creates
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`OpenStoreError`] describes the first problem.
    pub fn check(&self) -> Result<(), OpenStoreError> {
        match &self.url {
            StoreUrl::Memory => {
                master_key::check_for_memory(&self.master_key)?;
            }
            StoreUrl::Postgres(shared) => {
                master_key::for_shared(&self.master_key)?;
                shared
                    .url
                    .check_files()
                    .map_err(|error| self.failed(error))?;
            }
            StoreUrl::Sqlite(path) => {
                embedded::check_files(path)?;
                master_key::check_for_embedded(&self.master_key, path)?;
            }
        }
        Ok(())
    }

    /// Opens the store like [`open`](Self::open), but only if it exists. Creates neither a store nor a key.
    ///
    /// # Errors
    ///
    /// [`OpenStoreError`] describes the problem.
    pub async fn open_existing(
        &self,
        entropy: Arc<dyn Entropy>,
        now: Timestamp,
    ) -> Result<Store, OpenStoreError> {
        if let StoreUrl::Sqlite(path) = &self.url {
            let exists = embedded::exists(path).map_err(|error| {
                let detail = error.to_string();
                self.failed(EngineError::Io { detail })
            })?;
            if !exists {
                let url = self.url.clone();
                return Err(OpenStoreError::Absent { url });
            }
        }
        self.open(entropy, now).await
    }

    /// Opens the store with its master key. A missing embedded store is created with its key.
    ///
    /// # Errors
    ///
    /// [`OpenStoreError`] describes the problem.
    pub async fn open(
        &self,
        entropy: Arc<dyn Entropy>,
        now: Timestamp,
    ) -> Result<Store, OpenStoreError> {
        let keys = match &self.url {
            StoreUrl::Memory => master_key::for_memory(&self.master_key, &*entropy)?,
            StoreUrl::Postgres(_) => master_key::for_shared(&self.master_key)?,
            StoreUrl::Sqlite(path) => {
                make_directory(path)?;
                embedded::check_files(path)?;
                master_key::for_embedded(&self.master_key, path, &*entropy)?
            }
        };
        let engine = self.engine().await?;
        let opened = Store::open(engine, keys.prepared(), entropy, now).await;
        opened.map_err(|error| self.failed(error))
    }

    /// Opens the store's engine to fill the store. A missing embedded store is created, without a key.
    ///
    /// # Errors
    ///
    /// [`OpenStoreError`] describes the problem.
    pub async fn open_to_fill(&self) -> Result<Arc<dyn Engine>, OpenStoreError> {
        if let StoreUrl::Sqlite(path) = &self.url {
            make_directory(path)?;
            embedded::check_files(path)?;
        }
        self.engine().await
    }

    async fn engine(&self) -> Result<Arc<dyn Engine>, OpenStoreError> {
        let engine: Arc<dyn Engine> = match &self.url {
            StoreUrl::Memory => Arc::new(MemoryEngine::new()),
            StoreUrl::Postgres(shared) => {
                let engine = PostgresEngine::open(&shared.url, &shared.options).await;
                Arc::new(engine.map_err(|error| self.failed(error))?)
            }
            StoreUrl::Sqlite(path) => {
                let engine = open_embedded(path).await;
                Arc::new(engine.map_err(|error| self.failed(error))?)
            }
        };
        Ok(traced(engine, self.url.system()))
    }

    /// Returns a snapshot of the store if its records were moved to another store, or `None` if they were not.
    ///
    /// # Errors
    ///
    /// [`OpenStoreError::Open`] if this cannot be determined.
    pub async fn moved(&self) -> Result<Option<Box<dyn EngineSnapshot>>, OpenStoreError> {
        let moved = match &self.url {
            StoreUrl::Sqlite(path) if embedded::exists(path).unwrap_or_default() => {
                embedded::check_files(path)?;
                match open_embedded(path).await {
                    Err(OpenError::Engine(EngineError::Relocated)) => {
                        SqliteEngine::moved(path, &SqliteOptions::default())
                            .await
                            .map(Some)
                    }
                    _ => Ok(None),
                }
            }
            StoreUrl::Postgres(_) => {
                let engine = self.engine().await?;
                let key = Key::new("$store", ["master_key"]);
                match engine.get_many(&[key], Timestamp::EPOCH).await {
                    Err(EngineError::Relocated) => engine.snapshot().await.map(Some),
                    _ => Ok(None),
                }
            }
            StoreUrl::Memory | StoreUrl::Sqlite(_) => Ok(None),
        };
        moved.map_err(|error| self.failed(error))
    }

    /// Ensures that the fence of a store whose records were moved is durable. This includes the disk of a standby if
    /// the database waits for one. The process that set the fence may not have learnt that it was. Replaces the
    /// snapshot `found` by a new one, as another leader may have more records.
    ///
    /// # Errors
    ///
    /// [`OpenStoreError::Open`] if the fence is not durable, or this cannot be determined.
    pub async fn confirm_fence(
        &self,
        found: Box<dyn EngineSnapshot>,
    ) -> Result<Box<dyn EngineSnapshot>, OpenStoreError> {
        let StoreUrl::Postgres(_) = &self.url else {
            // A file's contents are read only after its log is synced.
            return Ok(found);
        };
        drop(found);
        let engine = self.engine().await?;
        let rest = match engine.fence().await {
            Ok(()) => engine.snapshot().await,
            Err(error) => Err(error),
        };
        rest.map_err(|error| self.failed(error))
    }

    /// Returns the time by the clock of the store's database; `None` for a store on this machine.
    ///
    /// # Errors
    ///
    /// [`OpenStoreError::Open`] if the database does not answer.
    pub async fn server_time(&self) -> Result<Option<Timestamp>, OpenStoreError> {
        // Nothing is created: opening an embedded store would.
        let StoreUrl::Postgres(_) = &self.url else {
            return Ok(None);
        };
        let engine = self.engine().await?;
        let time = engine.server_time().await;
        engine.close().await;
        time.map_err(|error| self.failed(error))
    }

    /// Returns the existing master keys of the store, if any. Creates none.
    ///
    /// # Errors
    ///
    /// [`OpenStoreError::MasterKey`] if a key is invalid.
    pub fn find_keys(&self) -> Result<Option<GivenKeys>, OpenStoreError> {
        Ok(master_key::find(&self.master_key, self.url.path())?)
    }

    /// Returns all files of the store and its master keys, including those that exist only while it is open.
    pub fn files(&self) -> Vec<PathBuf> {
        let own = self.url.path().map(embedded::files);
        own.into_iter().flatten().chain(self.key_file()).collect()
    }

    /// Returns the file of the store's master keys, if they are in a file.
    pub fn key_file(&self) -> Option<PathBuf> {
        master_key::file(&self.master_key, self.url.path())
    }

    /// Checks that keys from elsewhere can be stored in a key file, which need not exist.
    ///
    /// # Errors
    ///
    /// [`OpenStoreError::MasterKey`] if they cannot.
    pub fn check_key_file(&self) -> Result<(), OpenStoreError> {
        match self.key_file() {
            Some(_) => Ok(()),
            None => Err(MasterKeyError::NoPlace.into()),
        }
    }

    /// Returns the first master key after `sealing` in the store's key file. Adds `new` if there is none.
    ///
    /// # Errors
    ///
    /// [`OpenStoreError::MasterKey`] if there is no such file, or it cannot be written.
    pub fn key_after(&self, sealing: KeyId, new: &MasterKey) -> Result<KeyId, OpenStoreError> {
        let path = self.url.path();
        Ok(master_key::add_after(&self.master_key, path, sealing, new)?)
    }

    /// Stores master keys from elsewhere in the store's key file, and returns its path.
    ///
    /// # Errors
    ///
    /// [`OpenStoreError::MasterKey`] if there is no such file, or it contains other keys.
    pub fn keep_keys(&self, keys: &GivenKeys) -> Result<PathBuf, OpenStoreError> {
        if let Some(path) = self.url.path() {
            make_directory(path)?;
        }
        Ok(master_key::keep(&self.master_key, self.url.path(), keys)?)
    }

    /// Migrates the store to this release's schema. Returns `None` for a store in memory.
    ///
    /// An embedded store is migrated whenever it is opened, and a missing one is created with its key. So it is opened
    /// here.
    ///
    /// # Errors
    ///
    /// [`OpenStoreError`] describes the problem.
    pub async fn migrate(
        &self,
        entropy: &dyn Entropy,
    ) -> Result<Option<Migration>, OpenStoreError> {
        let migrated = match &self.url {
            StoreUrl::Memory => return Ok(None),
            StoreUrl::Postgres(shared) => {
                PostgresEngine::migrate(&shared.url, &shared.options).await
            }
            StoreUrl::Sqlite(path) => {
                make_directory(path)?;
                embedded::check_files(path)?;
                master_key::for_embedded(&self.master_key, path, entropy)?;
                let engine = open_embedded(path).await;
                engine.map(|engine| engine.migration())
            }
        };
        migrated.map(Some).map_err(|error| self.failed(error))
    }

    fn failed(&self, source: impl Into<OpenError>) -> OpenStoreError {
        OpenStoreError::Open {
            url: self.url.clone(),
            source: source.into(),
        }
    }
}

/// Opens the engine on a blocking thread, as it waits while another process locks or rewrites the file. The caller can
/// be cancelled meanwhile.
async fn open_embedded(path: &Path) -> Result<SqliteEngine, OpenError> {
    let path = path.to_owned();
    let opening = spawn_blocking(move || SqliteEngine::open(path, &SqliteOptions::default()));
    opening
        .await
        .unwrap_or_else(|failure| match failure.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime is shutting down.
            Err(failure) => Err(OpenError::Engine(EngineError::Other {
                detail: failure.to_string(),
            })),
        })
}

fn make_directory(store: &Path) -> Result<(), OpenStoreError> {
    let directory = folder_of(store);
    make_folder(directory).map_err(|source| OpenStoreError::Directory {
        path: directory.to_owned(),
        source,
    })
}

/// Creates a folder and its missing parents, and syncs the entry of each, without which the loss of power may take the folder
/// with all that is in it.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder_of(folder);
    let make = || DirBuilder::new().mode(0o700).create(folder);
    let made = match make() {
        // Only `.` is its own parent, in a current folder that is gone.
        Err(error) if error.kind() == io::ErrorKind::NotFound && parent != folder => {
            make_folder(parent)?;
            make()
        }
        made => made,
    };
    match made {
        // Another process created it first.
        Err(_) if folder.is_dir() => {}
        made => made?,
    }
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::StoreSettings;
    use data_encoding::BASE64;
    use keyproof_store::{MasterKey, SystemEntropy, postgres::PostgresOptions};
    use std::time::Duration;
    use zeroize::Zeroizing;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn location(url: &str, master_key: &MasterKeySource) -> Location {
        Location {
            url: url.parse().unwrap(),
            master_key: master_key.clone(),
        }
    }

    async fn open(url: &str, master_key: &MasterKeySource) -> Result<Store, OpenStoreError> {
        let entropy = Arc::new(SystemEntropy::new());
        location(url, master_key).open(entropy, NOW).await
    }

    async fn migrate(url: &str) -> Option<Migration> {
        let location = location(url, &MasterKeySource::Beside);
        location.migrate(&SystemEntropy::new()).await.unwrap()
    }

    #[test]
    fn urls_are_read_and_shown_without_credentials() {
        for (text, shown) in [
            ("memory:", "memory:"),
            ("sqlite:/var/lib/k.db", "sqlite:/var/lib/k.db"),
            ("sqlite:k.db", "sqlite:k.db"),
            ("sqlite:///var/lib/k.db", "sqlite:///var/lib/k.db"),
            (
                "postgres://user:secret@host/db",
                "postgres://user@host:5432/db",
            ),
        ] {
            assert_eq!(text.parse::<StoreUrl>().unwrap().to_string(), shown);
        }
        for wrong in [
            "",
            "memory",
            "memory:x",
            "sqlite:",
            "sqlite::memory:",
            "sqlite:k.db?mode=ro",
            "sqlite://k.db",
            "/var/lib/k.db",
            "postgres:x",
            "postgres://user:se@cret@host/db",
            "mysql://h",
        ] {
            assert!(wrong.parse::<StoreUrl>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_shared_database_is_waited_for_as_the_configuration_has_it() {
        let url = |text: &str| text.parse::<StoreUrl>().unwrap();
        let shared = |url: StoreUrl| match url {
            StoreUrl::Postgres(shared) => shared.options,
            other => panic!("{other:?}"),
        };
        let default = PostgresOptions::default();
        let said = StoreSettings::default();
        let unsaid = url("postgres://u@h/d").waiting(
            said.max_connections.get().try_into().unwrap(),
            said.connect_timeout.0,
            said.statement_timeout.0,
        );
        assert_eq!(shared(unsaid), default);
        let (connect, statement) = (Duration::from_millis(500), Duration::from_secs(2));
        let set = url("postgres://u@h/d").waiting(3, connect, statement);
        let set = shared(set);
        assert_eq!((set.connections, set.connect_timeout), (3, connect));
        assert_eq!(
            (set.statement_timeout, set.lock_timeout),
            (statement, statement)
        );
        assert_eq!(set.commit_timeout, Duration::from_millis(4_800));
        let embedded = url("sqlite:k.db");
        assert_eq!(embedded.clone().waiting(3, connect, statement), embedded);
    }

    fn given(key: &MasterKey) -> MasterKeySource {
        MasterKeySource::Base64(Zeroizing::new(BASE64.encode(key.as_bytes())))
    }

    #[tokio::test]
    async fn a_shared_database_opens_under_the_one_key_that_its_nodes_were_given() {
        let server = keyproof_peer_postgres::Postgres::shared().unwrap();
        let url = server.database().unwrap();
        let entropy = SystemEntropy::new();
        let (own, other) = (MasterKey::generate(&entropy), MasterKey::generate(&entropy));

        let none = open(&url, &MasterKeySource::Beside).await;
        assert!(matches!(
            none,
            Err(OpenStoreError::MasterKey(MasterKeyError::NotGiven))
        ));
        let folder = tempfile::tempdir().unwrap();
        let absent = MasterKeySource::File(folder.path().join("key"));
        let absent_key = open(&url, &absent).await;
        assert!(matches!(
            absent_key,
            Err(OpenStoreError::MasterKey(MasterKeyError::Missing { .. }))
        ));
        assert!(!folder.path().join("key").exists());
        let unmigrated = open(&url, &given(&own)).await;
        let Err(OpenStoreError::Open {
            source: OpenError::OlderSchema { .. },
            ..
        }) = unmigrated
        else {
            panic!("{unmigrated:?}");
        };

        assert_eq!(migrate(&url).await, Some(Migration { from: 0, to: 1 }));
        let first = open(&url, &given(&own)).await.unwrap();
        let second = open(&url, &given(&own)).await.unwrap();
        let stranger = open(&url, &given(&other)).await;
        let Err(OpenStoreError::Open {
            source: OpenError::MasterKey { sealed, given },
            ..
        }) = stranger
        else {
            panic!("{stranger:?}");
        };
        assert_eq!((sealed, given), (vec![own.id()], vec![other.id()]));
        first.close().await;
        second.close().await;
    }

    #[tokio::test]
    async fn migrating_an_embedded_store_makes_it_with_its_key() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("k.db").display());
        for (from, to) in [(0, 2), (2, 2)] {
            assert_eq!(migrate(&url).await, Some(Migration { from, to }));
        }
        let opened = open(&url, &MasterKeySource::Beside).await;
        assert!(opened.is_ok());
        assert_eq!(migrate("memory:").await, None);
    }

    #[tokio::test]
    async fn neither_a_store_nor_a_key_is_made_for_whoever_expects_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("k.db");
        let url = format!("sqlite:{}", path.display());
        let store = location(&url, &MasterKeySource::Beside);
        let existing = || store.open_existing(Arc::new(SystemEntropy::new()), NOW);
        for begun in [false, true] {
            if begun {
                std::fs::write(&path, "").unwrap();
            }
            let refused = existing().await.unwrap_err().to_string();
            assert_eq!(refused, format!("there is no store at {url}"));
            let files = std::fs::read_dir(directory.path()).unwrap().count();
            assert_eq!(files, usize::from(begun));
        }
        std::fs::remove_file(&path).unwrap();
        open(&url, &MasterKeySource::Beside)
            .await
            .unwrap()
            .close()
            .await;
        assert!(existing().await.is_ok());
    }

    #[tokio::test]
    async fn an_embedded_store_opens_again_under_its_own_key_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state").join("k.db");
        let url = format!("sqlite:{}", path.display());
        for _ in 0..2 {
            let opened = open(&url, &MasterKeySource::Beside).await;
            opened.unwrap().close().await;
        }

        let key_file = directory.path().join("state").join("k.db.master-key");
        let own = std::fs::read(&key_file).unwrap();
        std::fs::remove_file(&key_file).unwrap();
        let lost = open(&url, &MasterKeySource::Beside).await;
        assert!(matches!(
            lost,
            Err(OpenStoreError::MasterKey(MasterKeyError::Missing { .. }))
        ));

        let other = MasterKey::generate(&SystemEntropy::new());
        let wrong = open(&url, &given(&other)).await;
        let Err(OpenStoreError::Open {
            source: OpenError::MasterKey { given, .. },
            ..
        }) = wrong
        else {
            panic!("{wrong:?}");
        };
        assert_eq!(given, [other.id()]);

        let own = String::from_utf8(own).unwrap();
        let right = MasterKeySource::Base64(Zeroizing::new(own));
        assert!(open(&url, &right).await.is_ok());
    }
}
