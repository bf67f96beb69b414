//! The walks' environment: a server with its own store, and access to that store as commands have it.

use std::{io, sync::Arc};

use keyproof_service::{Clock, CommandLine, Service, SystemClock};
use keyproof_store::{Entropy, Store, SystemEntropy};
use tempfile::TempDir;

use super::client::Client;
use crate::{
    config::{Config, ConfigError, Sources},
    server::{Server, StartError},
    store::OpenStoreError,
};

/// Why the server could not be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum StageError {
    #[error("the configuration: {0}")]
    Config(#[from] ConfigError),
    #[error("no temporary folder: {0}")]
    Folder(#[from] io::Error),
    #[error("the server does not start: {0}")]
    Server(#[from] StartError),
    #[error(transparent)]
    Service(#[from] keyproof_service::StartError),
    #[error("no signals: {0}")]
    Signals(io::Error),
    #[error(transparent)]
    Vault(#[from] OpenStoreError),
}

/// A running server and its store.
pub(super) struct Stage {
    running: Option<(Server, Store)>,
    config: Arc<Config>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// The store's folder, which is removed at the end.
    _folder: TempDir,
}

impl Stage {
    /// Starts a server on a new store in a temporary folder.
    pub(super) async fn set() -> Result<Self, StageError> {
        let folder = TempDir::with_prefix("keyproof-demo-")?;
        let store = folder.path().join("keyproof.db");
        // This machine's configuration is ignored.
        let config = Config::load(&Sources {
            flags: vec![
                ("http.listen", "127.0.0.1:0".into()),
                ("store.url", format!("sqlite:{}", store.display()).into()),
            ],
            ..Sources::default()
        })?;
        let mut stage = Self {
            running: None,
            config: Arc::new(config),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy::new()),
            _folder: folder,
        };
        stage.start().await?;
        Ok(stage)
    }

    /// Drains the server, and starts another one on its store.
    pub(super) async fn restart(&mut self) -> Result<(), StageError> {
        self.stop().await;
        self.start().await
    }

    /// Drains and stops the server.
    pub(super) async fn clear(mut self) {
        self.stop().await;
    }

    pub(super) fn url(&self) -> String {
        let server = self.running.iter().flat_map(|(server, _)| server.urls());
        server.take(1).collect()
    }

    pub(super) fn client(&self) -> Client {
        let server = self.running.as_ref().map(|(server, _)| server.address());
        Client::new(server.unwrap_or(self.config.settings.http.listen))
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Returns 128 random bits in hexadecimal, for passwords and names.
    pub(super) fn draw(&self) -> String {
        let mut bytes = [0; 16];
        self.entropy.fill(&mut bytes);
        format!("{:032x}", u128::from_be_bytes(bytes))
    }

    /// Returns the person at this machine, who changes the store while the server runs.
    pub(super) fn command_line() -> CommandLine {
        CommandLine::of("demo".to_owned())
    }

    /// Returns the use cases on a second connection to the store, as a command has them while servers run.
    pub(super) async fn console(&self) -> Result<Arc<Service>, StageError> {
        let store = self.open().await?;
        let clock = Arc::clone(&self.clock);
        Ok(Service::start(store, clock, self.config.hashing).await?)
    }

    async fn start(&mut self) -> Result<(), StageError> {
        let store = self.open().await?;
        let server = Server::start(
            Arc::clone(&self.config),
            store.clone(),
            Arc::clone(&self.clock),
            Arc::clone(&self.entropy),
        )
        .await?;
        self.running = Some((server, store));
        Ok(())
    }

    async fn stop(&mut self) {
        if let Some((server, store)) = self.running.take() {
            server.drain().await;
            store.close().await;
        }
    }

    async fn open(&self) -> Result<Store, StageError> {
        let (config, entropy) = (&self.config, Arc::clone(&self.entropy));
        let now = self.clock.now();
        Ok(config.store.open(entropy, now).await?)
    }
}
