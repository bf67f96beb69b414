//! Opening the store that flags name: for `serve`, and for commands that work on it beside running servers.

use std::{io, sync::Arc};

use keyproof_service::{Action, Audit, Clock, Service, SystemClock};
use keyproof_store::{EngineError, OpenError, Store, SystemEntropy};
use tokio::runtime;

use super::{ANOTHER_USER, Failure, Outcome, flags::StoreFlags, terminal::origin};
use crate::{
    config::Config,
    store::{MasterKeyError, OpenStoreError, StoreUrl},
};

/// Runs a command on the use cases of the store that the flags name.
pub(super) fn with_service(
    flags: &StoreFlags,
    command: impl AsyncFnOnce(Arc<Service>) -> Outcome,
) -> Outcome {
    with_store(flags, async |service, _| command(service).await)
}

/// Runs a command on the use cases of the store that the flags name, and tells it the store's name.
pub(super) fn with_store(
    flags: &StoreFlags,
    command: impl AsyncFnOnce(Arc<Service>, &str) -> Outcome,
) -> Outcome {
    with_records(flags, async |store, config| {
        let service = Service::start(store.clone(), Arc::new(SystemClock), config.hashing).await;
        let service = service.map_err(Failure::refused)?;
        command(service, &config.store.to_string()).await
    })
}

/// Runs a command on the store that the flags name, beneath the use cases, and tells it the configuration.
pub(super) fn with_records(
    flags: &StoreFlags,
    command: impl AsyncFnOnce(&Store, &Config) -> Outcome,
) -> Outcome {
    let config = flags.load()?;
    with_records_of(&config, async |store| command(store, &config).await)
}

/// Runs a command on the configured store, beneath the use cases.
pub(super) fn with_records_of(
    config: &Config,
    command: impl AsyncFnOnce(&Store) -> Outcome,
) -> Outcome {
    must_be_shared(config)?;
    block_on(async {
        let store = open_existing(config).await?;
        let outcome = command(&store).await;
        store.close().await;
        outcome
    })
}

/// Opens the configured store, if it is there: one that is not was not meant, and a new one would hold nothing that the
/// command is about.
pub(super) async fn open_existing(config: &Config) -> Result<Store, Failure> {
    let entropy = Arc::new(SystemEntropy::new());
    Ok(config
        .store
        .open_existing(entropy, SystemClock.now())
        .await?)
}

/// Tells the audit trail what a command has done to a store as a whole.
pub(super) async fn tell(store: &Store, action: Action, detail: Option<String>) -> Outcome {
    let audit = Audit::new(store.clone(), Arc::new(SystemClock));
    let told = audit.of_store(action, detail, &origin()).await;
    told.map_err(|error| {
        Failure::Refused(format!(
            "the change is made, but its event could not be written to the audit trail: {error}"
        ))
    })
}

/// Runs a command to its end.
pub(super) fn block_on<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(command)
}

/// Refuses a store that only the process has which made it: a command would work on one of its own, and on nothing.
pub(super) fn must_be_shared(config: &Config) -> Outcome {
    match config.store.url {
        StoreUrl::Memory => Err(Failure::Usage(
            "a memory: store lives in the server's own process, where no command reaches it: name another (--store, --config)"
                .to_owned(),
        )),
        StoreUrl::Postgres(_) | StoreUrl::Sqlite(_) => Ok(()),
    }
}

impl From<OpenStoreError> for Failure {
    fn from(error: OpenStoreError) -> Self {
        let message = match remedy(&error) {
            Some(remedy) => format!("{error}: {remedy}"),
            None => error.to_string(),
        };
        match error {
            // What is busy or full now may not be in a moment: a supervisor tries again.
            OpenStoreError::Open {
                source:
                    OpenError::InUse { .. }
                    | OpenError::Engine(EngineError::Busy { .. } | EngineError::Full { .. }),
                ..
            } => Self::Refused(message),
            // A file that cannot be used is the wrong one; a server that does not answer may do so in a moment.
            OpenStoreError::Open {
                source: OpenError::Engine(EngineError::Configuration { .. } | EngineError::Pooled),
                ..
            } => Self::Usage(message),
            OpenStoreError::Open {
                url: StoreUrl::Postgres(_),
                source: OpenError::Engine(_),
            } => Self::Refused(message),
            _ => Self::Usage(message),
        }
    }
}

/// What to do about a store that was not opened, where its error does not say so.
fn remedy(error: &OpenStoreError) -> Option<&'static str> {
    const KEY_BACK: &str = "put the copy of it there, or name the file that has it (store.master_key, --master-key FILE)";
    let is_denied = |source: &io::Error| source.kind() == io::ErrorKind::PermissionDenied;
    match error {
        OpenStoreError::Absent { .. } => Some(
            "name the one that is meant (--store, --config), or make it with `keyproof serve` or `keyproof migrate`",
        ),
        OpenStoreError::Directory { source, .. }
        | OpenStoreError::MasterKey(MasterKeyError::File { source, .. })
            if is_denied(source) =>
        {
            Some(ANOTHER_USER)
        }
        OpenStoreError::MasterKey(
            MasterKeyError::Missing { .. } | MasterKeyError::Malformed { .. },
        ) => Some(KEY_BACK),
        OpenStoreError::Open { url, source } => match (source, url) {
            (OpenError::OlderSchema { .. }, _) => {
                Some("run `keyproof migrate`, or serve with --migrate")
            }
            (OpenError::NewerSchema { .. }, _) => {
                Some("run the release that brought it there, or a later one")
            }
            (OpenError::MasterKey { .. }, _) => {
                Some("give the file that has it (store.master_key, --master-key FILE)")
            }
            (OpenError::Foreign { .. }, _) => {
                Some("name another (store.url, --store); if it was one, restore a backup")
            }
            (OpenError::MissingFingerprint | OpenError::Engine(EngineError::Corrupt { .. }), _) => {
                Some("keep it as it is, and restore a backup into another (keyproof restore)")
            }
            (OpenError::Engine(EngineError::Relocated), _) => {
                Some("name the one that it was moved to (store.url, --store)")
            }
            (OpenError::Engine(EngineError::Busy { .. }), _) => {
                Some("somebody else keeps it busy: try again once that has ended")
            }
            (OpenError::Engine(EngineError::Full { .. }), _) => Some("make room, and try again"),
            (OpenError::Engine(EngineError::Io { .. }), StoreUrl::Postgres(_)) => {
                Some("see whether the database runs, and takes this user's connections from here")
            }
            // The engine has the system's words alone.
            (OpenError::Engine(EngineError::Io { detail }), StoreUrl::Sqlite(_))
                if detail.contains("Permission denied") =>
            {
                Some(ANOTHER_USER)
            }
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a command says, and whether it ends with 2.
    fn told(url: &str, source: OpenError) -> (String, bool) {
        let url = url.parse().unwrap();
        match Failure::from(OpenStoreError::Open { url, source }) {
            Failure::Usage(said) => (said, true),
            Failure::Refused(said) => (said, false),
            Failure::Negative => panic!("it says nothing"),
        }
    }

    #[test]
    fn a_store_that_is_not_opened_says_what_to_do() {
        const FILE: &str = "sqlite:k.db";
        const DATABASE: &str = "postgres://u@h/d";
        let detail = || "so it is".to_owned();
        for (url, source, says, is_wrong) in [
            (
                FILE,
                OpenError::NewerSchema {
                    found: 9,
                    newest: 3,
                },
                "run the release",
                true,
            ),
            (
                DATABASE,
                OpenError::OlderSchema {
                    found: 0,
                    oldest: 1,
                },
                "run `keyproof migrate`",
                true,
            ),
            (
                FILE,
                OpenError::InUse { found: 1 },
                "end every keyproof that uses it",
                false,
            ),
            (
                FILE,
                OpenError::Foreign { detail: detail() },
                "name another",
                true,
            ),
            (
                FILE,
                OpenError::MissingFingerprint,
                "restore a backup",
                true,
            ),
            (
                FILE,
                OpenError::MasterKey {
                    sealed: Vec::new(),
                    given: Vec::new(),
                },
                "give the file that has it",
                true,
            ),
            (
                FILE,
                EngineError::Busy { detail: detail() }.into(),
                "try again",
                false,
            ),
            (
                FILE,
                EngineError::Full { detail: detail() }.into(),
                "make room",
                false,
            ),
            (
                FILE,
                EngineError::Corrupt { detail: detail() }.into(),
                "restore a backup",
                true,
            ),
            (
                FILE,
                EngineError::Relocated.into(),
                "moved to (store.url",
                true,
            ),
            (
                FILE,
                EngineError::Io {
                    detail: io::Error::from_raw_os_error(13).to_string(),
                }
                .into(),
                "runuser",
                true,
            ),
            (
                DATABASE,
                EngineError::Io { detail: detail() }.into(),
                "whether the database runs",
                false,
            ),
        ] {
            let (said, code) = told(url, source);
            assert!(said.contains(says), "{said}");
            assert_eq!(code, is_wrong, "{said}");
        }
    }
}
