//! `keyproof serve`

use std::{
    io::ErrorKind, num::NonZeroUsize, process, sync::Arc, thread::available_parallelism,
    time::Duration,
};

use clap::Args;
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
    server::{Server, StartError},
    sockets::Sockets,
    supervisor::Supervisor,
    telemetry,
};

/// The work is short and waits on the store: more threads would only cost memory.
const MAX_WORKERS: usize = 4;

/// How long the store may take to end what it is committing, after the drain: with that drain's default, half of what
/// supervisors leave a process before they kill it.
const CLOSING: Duration = Duration::from_secs(5);

/// How long the end may take after the drain: for the store, for whoever still waits for it, and for the last lines of the log.
const AFTER_DRAIN: Duration = CLOSING
    .saturating_mul(2)
    .saturating_add(telemetry::LAST_LINES);

/// How long after the order to stop another one is the same.
const ECHO: Duration = Duration::from_secs(1);

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    flags: ServeFlags,
}

pub(super) fn run(arguments: Arguments) -> Outcome {
    telemetry::watch_panics();
    let sockets = Sockets::inherited();
    let named = sockets.as_ref().map(Sockets::named).unwrap_or_default();
    let mut config = arguments.flags.load_for_logs(named, telemetry::write_as)?;
    config.sockets = sockets.map_err(|error| Failure::Usage(error.to_string()))?;
    let config = Arc::new(config);
    telemetry::init(config.settings.log.format, config.settings.log.level)?;
    raise_descriptor_limit();
    let runtime = runtime()?;
    let outcome = runtime.block_on(serve(config));
    // Whoever still waits for a store in a thread of its own is not waited for either.
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
        // A migration that is interrupted leaves a schema that the next one goes on from.
        () = signals.stop() => {
            info!("stopped before it was ready");
            return Ok(());
        }
    };
    for url in server.urls() {
        output::say(&format!("listening on {url}"));
    }
    if let Some(url) = server.metrics_url() {
        output::say(&format!("metrics on {url}"));
    }
    if let Some(fingerprint) = server.fingerprint() {
        output::say(&format!("certificate fingerprint (SHA-256) {fingerprint}"));
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

/// The server, and the store that it has.
async fn start(config: Arc<Config>) -> Result<(Server, Store), Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::new());
    if config.settings.store.migrate {
        // A migration is not undone, so nobody makes one who could not serve.
        config.store.check()?;
        let migration = config.store.migrate(&*entropy).await?;
        let store = config.store.to_string();
        info!("{}", migrate::words(&store, migration));
    }
    let opened = config.store.open(Arc::clone(&entropy), clock.now()).await?;
    let server = Server::start(config, opened.clone(), clock, entropy).await?;
    Ok((server, opened))
}

/// Answers what is under way, then lets go of the store: a database that has come to a halt is not waited for.
async fn end(server: Server, store: &Store) {
    server.drain().await;
    if timeout(CLOSING, store.close()).await.is_err() {
        warn!("a commit is still under way: whether it is made is up to the store");
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

/// What to do about an address that cannot be listened on.
const fn unbound(why: ErrorKind) -> Option<&'static str> {
    match why {
        ErrorKind::AddrInUse => Some(
            "another process listens there (ss -ltnp says which): end that, or listen elsewhere",
        ),
        ErrorKind::AddrNotAvailable => Some("this machine does not have that address (ip addr)"),
        ErrorKind::PermissionDenied => Some(
            "ports below 1024 take a privilege (AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit), or a socket of systemd's",
        ),
        _ => None,
    }
}

/// What an operator asks of a running server.
enum Request {
    /// SIGHUP
    Reload,
    /// SIGTERM or SIGINT
    Stop,
}

struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.hangup.recv() => Request::Reload,
            _ = self.interrupt.recv() => Request::Stop,
            _ = self.terminate.recv() => Request::Stop,
        }
    }

    /// The next order to stop.
    async fn stop(&mut self) {
        while !matches!(self.next().await, Request::Stop) {}
    }

    /// A second order to stop. One that comes right after the first is the first again: a wrapper such as timeout(1)
    /// sends it to the process and to its group.
    async fn stop_at_once(&mut self) {
        let second = Instant::now() + ECHO;
        while !matches!(self.next().await, Request::Stop) || Instant::now() < second {}
    }
}

/// Each connection is a descriptor, and the usual soft limit is a small part of `http.max_connections`.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // Where that is not allowed, `accept` waits when the descriptors are used up.
    let _ = setrlimit(Resource::Nofile, raised);
}
