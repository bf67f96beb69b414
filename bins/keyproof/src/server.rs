//! The server: starting listeners and dialects, and stopping them.

use std::{io, net::SocketAddr, num::NonZeroU32, sync::Arc, time::Duration};

use keyproof_http::{
    Application, BoxFuture, DRAINING, Limits, Listener, Readiness, RequestObserver, Served, Slots,
    Stack, Tls, in_blocks,
};
use keyproof_service::{AuditSettings, Clock, Service, Settings, SystemClock};
use keyproof_store::{CommitObserver, Entropy, Store};
use keyproof_x509::Certificate;
use rustls::sign::CertifiedKey;
use tokio::{net::TcpListener, sync::watch, task::AbortHandle, time::timeout};
use tracing::{info, warn};

use crate::{
    config::Config,
    dialect::{DialectError, DialectName},
    memory,
    metrics::{Exposition, Metrics},
    readiness,
    server_certificate::{TlsError, untimely},
    sites::{Front, Place, ServerContext, SiteName},
    sockets::Sockets,
    telemetry::{
        self, CollectorFieldsError,
        journal::Journal,
        outbox::{LAST, Outgoing},
    },
};

pub use crate::http_client::TlsSetupError;

/// A dialect with the address of its own listener, if it has one.
pub type Mounted = (Arc<dyn Application>, Option<SocketAddr>);

/// The time limit for receiving a request for metrics, unless `http.header_timeout` is shorter: there are few slots.
const METRICS_HEADER_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket cannot listen on an address.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// A file or value of a dialect's settings cannot be used.
    #[error(transparent)]
    Dialect(#[from] DialectError),
    /// The metrics cannot be set up.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The collector's header fields cannot be read.
    #[error("telemetry.otlp_headers: {0}")]
    CollectorFields(#[from] CollectorFieldsError),
    /// The client for the collector cannot be created.
    #[error("telemetry.otlp: {0}")]
    Otlp(#[from] TlsSetupError),
    /// The use cases cannot be started.
    #[error(transparent)]
    Service(#[from] keyproof_service::StartError),
    /// No listener uses a passed socket, so its connections would wait for ever.
    #[error("nothing listens on the socket {name} at {address} that was passed: take it away")]
    SpareSocket {
        /// Its name.
        name: String,
        /// Its address.
        address: SocketAddr,
    },
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A running server. Dropping it stops it without waiting for open requests; [`Server::drain`] waits.
pub struct Server {
    addresses: Vec<SocketAddr>,
    metrics_address: Option<SocketAddr>,
    config: Arc<Config>,
    tls: Option<Tls>,
    metrics: Arc<Metrics>,
    slots: Slots,
    draining: watch::Sender<bool>,
    /// The metrics listener runs as long as this exists.
    _metrics: watch::Sender<bool>,
    upkeep: Option<Upkeep>,
    /// Tasks that export data.
    outgoing: Vec<Outgoing>,
}

/// The background tasks of the server. They end when this is dropped.
struct Upkeep {
    service: Arc<Service>,
    task: AbortHandle,
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The result of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every connection and every handler has ended.
    Whole,
    /// The deadline passed first.
    CutShort {
        /// The number of connections, and of handlers without one, that were left.
        open: usize,
    },
}

impl Server {
    /// Starts a server on a store, with the enabled dialects.
    ///
    /// # Errors
    ///
    /// As for [`Server::start_with`].
    pub async fn start(
        config: Arc<Config>,
        store: Store,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, StartError> {
        let mut settings = Settings::from(config.hashing);
        let audit = config.settings.audit;
        settings.audit = AuditSettings::days(
            audit.keep_days.map(NonZeroU32::get),
            audit.keep_refusals_days.get(),
        );
        for name in DialectName::ALL {
            name.of(&config.settings).rule(&mut settings);
        }
        let metrics = Arc::new(Metrics::new()?);
        store.observe(Arc::clone(&metrics) as Arc<dyn CommitObserver>);
        // Before the use cases, because the first start of a store also writes events.
        let told = if audit.journald {
            let (journal, outgoing) = Journal::start(&config.journal, metrics.journal()?);
            settings.audit_sink = Some(journal);
            Some(outgoing)
        } else {
            None
        };
        let started = async {
            let service = Service::start(store, clock, settings).await?;
            Self::mount(config, service, entropy, metrics).await
        };
        match started.await {
            Ok(mut server) => {
                server.outgoing.extend(told);
                Ok(server)
            }
            Err(error) => {
                if let Some(told) = told {
                    told.finish().await;
                }
                Err(error)
            }
        }
    }

    /// Starts a server with existing use cases and the enabled dialects.
    ///
    /// # Errors
    ///
    /// As for [`Server::start_with`].
    pub async fn start_with_service(
        config: Arc<Config>,
        service: Arc<Service>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, StartError> {
        let metrics = Arc::new(Metrics::new()?);
        Self::mount(config, service, entropy, metrics).await
    }

    async fn mount(
        config: Arc<Config>,
        service: Arc<Service>,
        entropy: Arc<dyn Entropy>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StartError> {
        let applications = mount(&config, &service, &metrics)?;
        let task = tokio::spawn({
            let (config, service) = (Arc::clone(&config), Arc::clone(&service));
            async move {
                let review = review(&config, &service);
                tokio::join!(review, service.run_upkeep(), memory::trim_periodically())
            }
        });
        let ready = readiness::of(Arc::clone(&service));
        metrics.watch(&service);
        if let Some(work_observer) =
            telemetry::work_observer().filter(|_| config.settings.telemetry.otlp.is_some())
        {
            service.follow(&work_observer);
        }
        // Without a server, it ends here.
        let upkeep = Upkeep {
            service,
            task: task.abort_handle(),
        };
        let mut server = Self::listen(config, applications, ready, entropy, metrics).await?;
        server.upkeep = Some(upkeep);
        Ok(server)
    }

    /// Starts a server with these dialects. Listeners with the same address share a socket.
    ///
    /// A path that no dialect claims is refused in the shape of the first dialect in the list of all dialects, if it is
    /// one of these.
    ///
    /// # Errors
    ///
    /// If an address cannot be bound, or a certificate cannot be used.
    pub async fn start_with(
        config: Arc<Config>,
        dialects: Vec<Mounted>,
        ready: Readiness,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, StartError> {
        let metrics = Arc::new(Metrics::new()?);
        Self::listen(config, dialects, ready, entropy, metrics).await
    }

    async fn listen(
        config: Arc<Config>,
        dialects: Vec<Mounted>,
        ready: Readiness,
        entropy: Arc<dyn Entropy>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StartError> {
        let main = config.settings.http.listen;
        let tls = match &config.tls {
            None => None,
            Some(source) => {
                let certificate = source.load(main.ip())?;
                tell_end(&certificate, &metrics);
                Some(Tls::new(certificate).map_err(TlsError::from)?)
            }
        };
        let mut places = places(main, dialects);
        add_front(&config, &mut places);
        // The applications of the main listener, at all of its addresses.
        if let Some((_, first)) = places.first().cloned() {
            let further = config.further_main.iter();
            places.extend(further.map(|address| (*address, first.clone())));
        }
        let (tracer, outgoing) = telemetry::tracer(&config, &metrics)?.unzip();
        let (draining, drains) = watch::channel(false);
        let (metrics_live, metrics_end) = watch::channel(false);
        let stack = Stack {
            limits: config.limits,
            proxies: config.proxies.clone(),
            draw: in_blocks(move |bytes| entropy.fill(bytes)),
            ready,
            observer: Arc::clone(&metrics) as Arc<dyn RequestObserver>,
            tracer,
            draining: drains.clone(),
        };
        let beside = Arc::new(Stack {
            limits: Limits {
                header_timeout: config.limits.header_timeout.min(METRICS_HEADER_TIMEOUT),
                ..config.limits
            },
            ready: unless_draining(drains, &stack.ready),
            draining: metrics_end,
            ..stack.clone()
        });
        let stack = Arc::new(stack);
        let slots = Slots::of(&config.limits);

        // All sockets are opened before the first response, so that a server starts completely or not at all.
        let (serving, exposing) = listeners(&config, places, tls.as_ref(), &metrics).await?;
        let mut addresses = Vec::new();
        for (listener, address) in serving {
            addresses.push(address);
            tokio::spawn(listener.serve(Arc::clone(&stack), slots.clone()));
        }
        let metrics_address = exposing.map(|(listener, address)| {
            tokio::spawn(listener.serve(beside, Slots::of_metrics()));
            address
        });
        Ok(Self {
            addresses,
            metrics_address,
            config,
            tls,
            metrics,
            slots,
            draining,
            _metrics: metrics_live,
            upkeep: None,
            outgoing: outgoing.into_iter().collect(),
        })
    }

    /// The main listener's address.
    pub fn address(&self) -> SocketAddr {
        let main = self.addresses.first().copied();
        main.unwrap_or(self.config.settings.http.listen)
    }

    /// Returns the URL of every listener with dialects, the main one first.
    pub fn urls(&self) -> impl Iterator<Item = String> {
        let addresses = self.addresses.iter();
        addresses.map(|address| format!("{}://{address}", self.scheme()))
    }

    /// Returns the address of the metrics listener, if there is one.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Returns the metrics' URL for Prometheus, if there is one.
    pub fn metrics_url(&self) -> Option<String> {
        let address = self.metrics_address?;
        Some(format!("{}://{address}/metrics", self.scheme()))
    }

    fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Returns the SHA-256 fingerprint of the current certificate.
    pub fn fingerprint(&self) -> Option<String> {
        self.tls.as_ref().map(Tls::fingerprint)
    }

    /// Reloads the TLS files, and returns whether there are any. If they cannot be used, the current certificate
    /// remains.
    ///
    /// # Errors
    ///
    /// [`TlsError`] if the files cannot be used.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let (Some(tls), Some(source)) = (&self.tls, &self.config.tls) else {
            return Ok(false);
        };
        let certificate = source.reload()?;
        let is_read = certificate.is_some();
        if let Some(certificate) = certificate {
            tell_end(&certificate, &self.metrics);
            tls.set(certificate);
        }
        Ok(is_read)
    }

    /// Returns how long [`Server::drain`] may take.
    pub(crate) fn longest_drain(&self) -> Duration {
        let beside = u32::try_from(self.outgoing.len()).unwrap_or(u32::MAX);
        let audit = u32::from(self.upkeep.is_some());
        let last = LAST.saturating_mul(beside.saturating_add(audit));
        self.config.limits.drain_timeout.saturating_add(last)
    }

    /// Stops accepting connections, and waits for open requests, at most `http.drain_timeout_ms`. The metrics listener
    /// runs until then.
    pub async fn drain(mut self) -> Drained {
        info!("draining");
        self.metrics.drains();
        self.draining.send_replace(true);
        // Accept loops, connections and handlers each occupy a slot while they run.
        let all_free = self.slots.all_free();
        let drained = match timeout(self.config.limits.drain_timeout, all_free).await {
            Ok(()) => {
                info!("drained");
                Drained::Whole
            }
            Err(_) => {
                let open = self.slots.taken();
                warn!(open, "the drain timeout has passed");
                Drained::CutShort { open }
            }
        };
        if let Some(upkeep) = &self.upkeep {
            let finish = upkeep.service.audit.finish();
            if timeout(LAST, finish).await.is_err() {
                warn!("the count of omitted refusals was not written to the audit trail in time");
            }
        }
        for outgoing in self.outgoing.drain(..) {
            outgoing.finish().await;
        }
        drained
    }
}

/// Wraps the check so that it fails while the server drains.
fn unless_draining(drains: watch::Receiver<bool>, ready: &Readiness) -> Readiness {
    let ready = Arc::clone(ready);
    Arc::new(move || {
        let answer: BoxFuture<_> = if *drains.borrow() {
            Box::pin(std::future::ready(Err(DRAINING)))
        } else {
            ready()
        };
        answer
    })
}

/// A listener with its bound address.
type Bound = (Listener, SocketAddr);

/// Opens all sockets: those of the applications, and that of the metrics. Every passed socket must be used.
async fn listeners(
    config: &Config,
    places: Vec<(SocketAddr, Served)>,
    tls: Option<&Tls>,
    metrics: &Arc<Metrics>,
) -> Result<(Vec<Bound>, Option<Bound>), StartError> {
    let around = (&config.sockets, &**metrics);
    let mut serving = Vec::new();
    for (address, served) in places {
        serving.push(bind(around, address, served, tls).await?);
    }
    let mut exposing = None;
    if let Some(address) = config.settings.metrics.listen {
        let served = Served {
            applications: vec![Arc::new(Exposition(Arc::clone(metrics)))],
            unclaimed: None,
        };
        exposing = Some(bind(around, address, served, tls).await?);
    }
    match config.sockets.named().into_iter().next() {
        Some((name, address)) => Err(StartError::SpareSocket { name, address }),
        None => Ok((serving, exposing)),
    }
}

/// Creates a listener, from an open socket if there is one, and returns it with its bound address.
async fn bind(
    (sockets, metrics): (&Sockets, &Metrics),
    address: SocketAddr,
    served: Served,
    tls: Option<&Tls>,
) -> Result<Bound, StartError> {
    let refused = |source| StartError::Bind { address, source };
    let passed = sockets.take(address);
    metrics.listens(passed.is_some());
    let socket = match passed {
        Some(socket) => TcpListener::from_std(socket).map_err(refused)?,
        None => TcpListener::bind(address).await.map_err(refused)?,
    };
    let bound = socket.local_addr().map_err(refused)?;
    let listener = Listener {
        socket,
        tls: tls.map(|tls| Arc::new(tls.listener(&served))),
        served: Arc::new(served),
    };
    Ok((listener, bound))
}

/// Logs what is stored but does not work with the settings of the enabled dialects.
async fn review(config: &Config, service: &Arc<Service>) {
    for (name, _) in &config.dialects {
        name.of(&config.settings).review(Arc::clone(service)).await;
    }
}

/// Creates the enabled dialects and sites, in the order in which they may claim a path.
fn mount(
    config: &Config,
    service: &Arc<Service>,
    metrics: &Arc<Metrics>,
) -> Result<Vec<Mounted>, StartError> {
    let dialects = config.dialects.iter().map(|(name, listen)| {
        let dialect = name.of(&config.settings).mount(Arc::clone(service))?;
        Ok((dialect, *listen))
    });
    let around = Arc::new(ServerContext::of(config, Arc::clone(metrics)));
    let sites = config.sites.iter().map(|(name, listen)| {
        let site = name.mount(Arc::clone(service), &around);
        Ok((site, *listen))
    });
    dialects.chain(sites).collect()
}

/// Groups applications by address. The main listener's is first, with every dialect and site that has no own listener.
fn places(main: SocketAddr, applications: Vec<Mounted>) -> Vec<(SocketAddr, Served)> {
    let first = DialectName::ALL.first().map(|name| name.as_str());
    let mut all = applications.iter().map(|(application, _)| application);
    let nothing = Served {
        applications: Vec::new(),
        unclaimed: all
            .find(|application| Some(application.name()) == first)
            .cloned(),
    };
    let mut places = vec![(main, nothing.clone())];
    for (application, listen) in applications {
        let address = listen.unwrap_or(main);
        // Port 0 never means an existing socket, except the main one's default.
        let shared = places
            .iter_mut()
            .find(|(there, _)| *there == address && (listen.is_none() || address.port() != 0));
        match shared {
            Some((_, served)) => served.applications.push(application),
            None => places.push((
                address,
                Served {
                    applications: vec![application],
                    ..nothing.clone()
                },
            )),
        }
    }
    places
}

/// Adds the page with links to the sites at `/`, on each listener that serves a site, and on the main one if there is
/// any site.
fn add_front(config: &Config, places: &mut [(SocketAddr, Served)]) {
    let main = config.settings.http.listen;
    for (number, (address, served)) in places.iter_mut().enumerate() {
        let mut names = config.sites.iter();
        let is_served = |name: &SiteName| {
            let mut applications = served.applications.iter();
            applications.any(|application| application.name() == name.as_str())
        };
        if !(number == 0 || names.any(|(name, _)| is_served(name))) {
            continue;
        }
        let sites = config.sites.iter().filter_map(|(name, listen)| {
            let there = listen.unwrap_or(main);
            Place::seen_from(*address, *name, there, is_served(name))
        });
        let sites: Vec<_> = sites.collect();
        if !sites.is_empty() {
            let front = Front::new(sites, served.unclaimed.clone());
            served.applications.push(Arc::new(front));
        }
    }
}

/// Reports the certificate's end to the metrics, and warns if clients refuse it.
fn tell_end(certificate: &CertifiedKey, metrics: &Metrics) {
    if let Some(why) = untimely(certificate, SystemClock.now()) {
        warn!("tls.certificate: {why}");
    }
    let own = certificate.cert.first();
    // A certificate that cannot be parsed is still served: clients validate it.
    if let Some(own) = own.and_then(|der| Certificate::from_der(der).ok()) {
        let _ = metrics.tls_ends(own.validity().not_after);
    }
}

#[cfg(test)]
mod tests {
    use keyproof_http::RequestPath;
    use keyproof_store::{MasterKey, MasterKeys, SystemEntropy, memory::MemoryEngine};

    use super::*;
    use crate::config::Sources;

    /// Returns the default configuration, and the use cases over a store in memory.
    async fn use_cases() -> (Config, Arc<Service>) {
        let config = Config::load(&Sources {
            environment: vec![("HOME".into(), "/nowhere".into())],
            ..Sources::default()
        })
        .unwrap();
        let entropy = Arc::new(SystemEntropy::new());
        let keys = MasterKeys::new(&MasterKey::generate(&*entropy));
        let engine = Arc::new(MemoryEngine::new());
        let store = Store::open(engine, keys, entropy, SystemClock.now()).await;
        let clock = Arc::new(SystemClock);
        let service = Service::start(store.unwrap(), clock, config.hashing).await;
        (config, service.unwrap())
    }

    /// Returns all applications, as for one listener.
    async fn applications() -> Vec<Arc<dyn Application>> {
        let (config, service) = use_cases().await;
        let metrics = Arc::new(Metrics::new().unwrap());
        let mounted = mount(&config, &service, &metrics).unwrap();
        mounted.into_iter().map(|(one, _)| one).collect()
    }

    #[tokio::test]
    async fn a_server_that_cannot_listen_leaves_nothing_running() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (mut config, service) = use_cases().await;
        config.settings.http.listen = taken.local_addr().unwrap();
        let (config, entropy) = (Arc::new(config), Arc::new(SystemEntropy::new()));
        let started = Server::start_with_service(config, Arc::clone(&service), entropy).await;
        assert!(matches!(started, Err(StartError::Bind { .. })));
        let is_alone = async {
            while Arc::strong_count(&service) > 1 {
                tokio::task::yield_now().await;
            }
        };
        let ended = timeout(Duration::from_secs(10), is_alone).await;
        assert!(ended.is_ok(), "the upkeep goes on");
    }

    #[tokio::test]
    async fn each_path_is_claimed_by_its_own_dialect_or_site_first() {
        let applications = applications().await;
        let claims = |path: &str| {
            let path = RequestPath::parse(path);
            let mut all = applications.iter();
            all.find(|one| one.claims(&path)).map(|one| one.name())
        };
        let page = include_str!("../../../ARCHITECTURE.md");
        let (_, part) = page.split_once("## From a URL to its rule").unwrap();
        let (part, _) = part.split_once("\n## ").unwrap();
        let sections = part.split("\n### ").filter_map(|section| {
            let (folder, _) = section.split_once("/routes.rs`")?;
            Some((folder.rsplit('/').next()?, section))
        });
        let mut names = Vec::new();
        for (name, section) in sections {
            let said = |words: &str| {
                let (_, path) = section.split_once(words)?;
                path.split('`').next()
            };
            let short = said("`…` is `").unwrap_or_default();
            let prefix = said("Each path also stands behind `").unwrap_or_default();
            for row in section.lines().filter_map(|line| line.strip_prefix("| `")) {
                let path = row.split(['`', ' ']).nth(1).unwrap();
                let path = path.replace('…', short);
                for path in [format!("{prefix}{path}"), path] {
                    assert_eq!(claims(&path), Some(name), "{path}");
                }
            }
            names.push(name);
        }
        let all: Vec<_> = applications.iter().map(|one| one.name()).collect();
        assert_eq!(names, all);
        // The paths of the stack and of the front page.
        for path in ["/", "/front/style.css", "/healthz", "/metrics", "/readyz"] {
            assert_eq!(claims(path), None, "{path}");
        }
    }
}
