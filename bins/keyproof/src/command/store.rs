//! Opening the store that flags name: for `serve`, and for commands that work on it beside running servers.

use std::sync::Arc;

use keyproof_service::{Action, Audit, Clock, Service, SystemClock};
use keyproof_store::{EngineError, OpenError, Store, SystemEntropy};
use tokio::runtime;

use super::{Failure, Outcome, flags::StoreFlags, terminal::origin};
use crate::{
    config::Config,
    store::{OpenStoreError, StoreUrl},
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
    must_be_shared(&config)?;
    block_on(async {
        let store = open_existing(&config).await?;
        let outcome = command(&store, &config).await;
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
        let message = error.to_string();
        match error {
            OpenStoreError::Absent { .. } => Self::Usage(format!(
                "{message}: name the one that is meant (--store, --config), or make it with `keyproof serve` or `keyproof \
                 migrate`"
            )),
            OpenStoreError::Open {
                source: OpenError::OlderSchema { .. },
                ..
            } => Self::Usage(format!(
                "{message}: run `keyproof migrate`, or serve with --migrate"
            )),
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
