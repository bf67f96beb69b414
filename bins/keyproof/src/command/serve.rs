//! `keyproof serve`

use std::{
    io::ErrorKind, num::NonZeroUsize, process, sync::Arc, thread::available_parallelism,
    time::Duration,
};

use keyproof_service::{Clock, SystemClock};
use keyproof_store::{Entropy, Store, SystemEntropy};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, timeout},
};
use tracing::{error, info, warn};

use super::{Failure, Outcome, flags::ServeFlags, migrate, output, with_store};
use crate::{
    config::Config,
    interruption::Interruption,
    server::{Server, StartError},
    sockets::Sockets,
    supervisor::Supervisor,
    telemetry,
};

/// Requests are short and wait for the store, so more threads would only cost memory.
const MAX_WORKERS: usize = 4;

/// How long the store may take to complete its commits after the drain. With the default drain this adds up to half of the
/// time that supervisors wait before they kill a process.
const CLOSING: Duration = Duration::from_secs(5);

/// How long shutting down may take after the drain: for the store, for threads that wait for it, and for the last log lines.
const AFTER_DRAIN: Duration = CLOSING
    .saturating_mul(2)
    .saturating_add(telemetry::LAST_LINES);

/// A second signal to stop within this time is treated as the first one repeated.
const ECHO: Duration = Duration::from_secs(1);

pub(super) fn run(flags: &ServeFlags) -> Outcome {
    telemetry::watch_panics();
    let sockets = Sockets::inherited();
    let named = sockets.as_ref().map(Sockets::named).unwrap_or_default();
    let mut config = flags.load_for_logs(named, telemetry::write_as)?;
    config.sockets = sockets.map_err(|error| Failure::Usage(error.to_string()))?;
    let config = Arc::new(config);
    telemetry::init(config.settings.log.format, config.settings.log.level)?;
    raise_descriptor_limit();
    let runtime = runtime()?;
    let outcome = runtime.block_on(serve(config));
    // Threads that still wait for a store are not waited for either.
    runtime.shutdown_timeout(CLOSING);
    telemetry::flush();
    outcome
}

fn runtime() -> Result<Runtime, Failure> {
    let cores = available_parallelism().map_or(1, NonZeroUsize::get);
    let mut builder = Builder::new_multi_thread();
    Ok(with_store::runtime(
        builder.worker_threads(cores.min(MAX_WORKERS)),
    )?)
}

async fn serve(config: Arc<Config>) -> Outcome {
    let mut signals = Signals::listen()?;
    let (server, opened) = tokio::select! {
        started = start(config) => started?,
        // The next migration continues from the schema that an interrupted one leaves.
        () = signals.stop() => {
            info!("stopped before it was ready");
            return Ok(());
        }
    };
    for url in server.urls() {
        output::print_notice(&format!("listening on {url}"));
    }
    if let Some(url) = server.metrics_url() {
        output::print_notice(&format!("metrics on {url}"));
    }
    if let Some(fingerprint) = server.fingerprint() {
        output::print_notice(&format!("certificate fingerprint (SHA-256) {fingerprint}"));
    }

    let supervisor = Supervisor::ready();
    while let Request::Reload = signals.next().await {
        match supervisor.reload(|| server.reload()) {
            Ok(true) => {
                let fingerprint = server.fingerprint();
                info!(fingerprint, "the TLS files were read again");
            }
            Ok(false) => info!("there are no TLS files to read again"),
            Err(error) => error!(%error, "the TLS files cannot be used; the old ones stay"),
        }
    }
    supervisor.stopping(server.longest_drain().saturating_add(AFTER_DRAIN));
    tokio::select! {
        () = end(server, &opened) => {}
        () = signals.stop_at_once() => {
            telemetry::flush();
            process::exit(1)
        }
    }
    Ok(())
}

/// Starts the server, and returns it with its store.
async fn start(config: Arc<Config>) -> Result<(Server, Store), Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::new());
    if config.settings.store.migrate {
        // A migration cannot be undone, so it is not made if a file stops the server afterwards.
        config.store.check()?;
        check_files(&config)?;
        let migration = config.store.migrate(&*entropy).await?;
        let store = config.store.to_string();
        info!("{}", migrate::words(&store, migration));
    }
    let opened = config.store.open(Arc::clone(&entropy), clock.now()).await?;
    let server = Server::start(config, opened.clone(), clock, entropy).await?;
    Ok((server, opened))
}

/// Checks the files that the server reads when it starts, except those of the store.
fn check_files(config: &Config) -> Result<(), StartError> {
    if let Some(source) = &config.tls {
        source.reload()?;
    }
    for (name, _) in &config.dialects {
        name.of(&config.settings).check_files()?;
    }
    telemetry::check_collector(config)
}

/// Completes open requests, then closes the store. Does not wait for a database that hangs.
async fn end(server: Server, store: &Store) {
    server.drain().await;
    if timeout(CLOSING, store.close()).await.is_err() {
        warn!(
            "the store was not closed in time: a commit that is under way may or may not be completed"
        );
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match &error {
            StartError::Bind { source, .. } => Self::Refused(match unbound(source.kind()) {
                Some(remedy) => format!("{error}: {remedy}"),
                None => error.to_string(),
            }),
            StartError::Metrics(_) | StartError::Service(_) => Self::Refused(error.to_string()),
            StartError::CollectorFields(_)
            | StartError::Dialect(_)
            | StartError::Otlp(_)
            | StartError::SpareSocket { .. }
            | StartError::Tls(_) => Self::Usage(error.to_string()),
        }
    }
}

/// Returns the remedy for an address that cannot be listened on.
const fn unbound(why: ErrorKind) -> Option<&'static str> {
    match why {
        ErrorKind::AddrInUse => Some(
            "another process listens there (ss -ltnp shows which): end it, or listen elsewhere",
        ),
        ErrorKind::AddrNotAvailable => Some("this machine does not have that address (ip addr)"),
        ErrorKind::PermissionDenied => Some(
            "ports below 1024 need a privilege (AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit), or a socket from systemd",
        ),
        _ => None,
    }
}

/// A signal from the operator to a running server.
enum Request {
    /// SIGHUP
    Reload,
    /// SIGTERM or SIGINT
    Stop,
}

struct Signals {
    hangup: Signal,
    interruption: Interruption,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interruption: Interruption::listen()?,
        })
    }

    async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.hangup.recv() => Request::Reload,
            _ = self.interruption.comes() => Request::Stop,
        }
    }

    /// Waits for the next signal to stop. A SIGHUP meanwhile is left for [`Signals::next`]: the files may have been read
    /// already.
    async fn stop(&mut self) {
        self.interruption.comes().await;
    }

    /// Waits for a second signal to stop. One right after the first is ignored: a wrapper such as timeout(1)
    /// sends the signal to the process and to its group.
    async fn stop_at_once(&mut self) {
        let second = Instant::now() + ECHO;
        while !matches!(self.next().await, Request::Stop) || Instant::now() < second {}
    }
}

/// Raises the limit of descriptors. Each connection needs one, and the usual soft limit is far below `http.max_connections`.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // If that is not allowed, `accept` waits when the descriptors are used up.
    let _ = setrlimit(Resource::Nofile, raised);
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    #[tokio::test]
    async fn a_sighup_during_the_start_reads_the_files_again_after_it() {
        let mut signals = Signals::listen().unwrap();
        kill_process(getpid(), Signal::HUP).unwrap();
        let stopped = timeout(Duration::from_millis(100), signals.stop()).await;
        assert!(stopped.is_err(), "it is no signal to stop");
        let next = timeout(Duration::from_secs(10), signals.next()).await;
        assert!(matches!(next, Ok(Request::Reload)), "it was lost");
    }
}
