//! Opens the store that flags name, for `serve` and for commands that work on it while servers run.

use std::{
    io::{self, stdin},
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use keyproof_service::{Action, Audit, Clock, Service, SystemClock};
use keyproof_store::{Batch, Store, SystemEntropy};
use tokio::runtime::{Builder, Runtime};

use super::{Failure, Outcome, flags::StoreFlags, terminal::command_line};
use crate::{config::Config, store::StoreUrl};

/// Runs a command with the use cases, on the store that the flags name.
pub(super) fn with_service(
    flags: &StoreFlags,
    command: impl AsyncFnOnce(Arc<Service>) -> Outcome,
) -> Outcome {
    with_store(flags, async |service, _| command(service).await)
}

/// Runs a command with the use cases, on the store that the flags name. Passes it the store's name.
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

/// Runs a command on the store that the flags name, without the use cases. Passes it the configuration.
pub(super) fn with_records(
    flags: &StoreFlags,
    command: impl AsyncFnOnce(&Store, &Config) -> Outcome,
) -> Outcome {
    let config = flags.load()?;
    with_records_of(&config, async |store| command(store, &config).await)
}

/// Runs a command on the configured store, without the use cases.
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

/// Opens the configured store, which must exist: a missing one was named by mistake, and a new one would be empty, so that
/// the command could do nothing.
pub(super) async fn open_existing(config: &Config) -> Result<Store, Failure> {
    let entropy = Arc::new(SystemEntropy::new());
    Ok(config
        .store
        .open_existing(entropy, SystemClock.now())
        .await?)
}

/// Writes to the audit trail what a command has done to a store as a whole.
pub(super) async fn record_event(store: &Store, action: Action, detail: Option<String>) -> Outcome {
    let audit = Audit::new(store.clone(), Arc::new(SystemClock));
    let person = command_line();
    let told = audit.of_store(action, detail, person.origin()).await;
    told.map_err(|error| {
        Failure::Refused(format!(
            "the change is made, but its event could not be written to the audit trail: {error}"
        ))
    })
}

/// Adds the event of what a command does to a store as a whole to the batch that does it.
pub(super) fn add_event(store: &Store, batch: &mut Batch, action: Action, detail: String) {
    let audit = Audit::new(store.clone(), Arc::new(SystemClock));
    let person = command_line();
    audit.add_of_store(batch, action, Some(detail), person.origin());
}

/// Runs a command to its end.
pub(super) fn block_on<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    runtime(&mut Builder::new_current_thread())?.block_on(command)
}

/// Builds the runtime for a command, with timers, sockets and signals.
pub(super) fn runtime(builder: &mut Builder) -> io::Result<Runtime> {
    /// At least the number of descriptors that the runtime opens. It panics if they run out midway.
    const DESCRIPTORS: usize = 8;
    let spare = (0..DESCRIPTORS).map(|_| stdin().as_fd().try_clone_to_owned());
    drop(spare.collect::<io::Result<Vec<OwnedFd>>>()?);
    builder.enable_all().build()
}

/// Refuses a store in memory: a command would work on its own empty one.
pub(super) fn must_be_shared(config: &Config) -> Outcome {
    must_be_shared_as(config, "--store, --config")
}

/// The same for a store that is named by this argument.
pub(super) fn must_be_shared_as(config: &Config, argument: &str) -> Outcome {
    match config.store.url {
        StoreUrl::Memory => Err(Failure::Usage(format!(
            "a memory: store exists in the server's own process, where commands cannot reach it: name another ({argument})"
        ))),
        StoreUrl::Postgres(_) | StoreUrl::Sqlite(_) => Ok(()),
    }
}
