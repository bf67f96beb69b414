//! The load: clients of the dialects, each with its own things, which work until they are stopped.

mod dps;
mod emnify;
mod f5;
mod taler;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use fastrand::Rng;
use serde_json::Value;
use tokio::{sync::watch, task::JoinSet};

use self::{dps::Certificates, emnify::Codes, f5::Stations, taler::Devices};
use crate::{
    check::{Event, violations},
    client::{Answer, Call, Fleet, Reply},
    clock::Clock,
    cluster::Cluster,
    installation::Installation,
    ledger::{Deed, Ledger, Left, Promise, Round, State},
    seed::Seed,
};

pub(crate) use self::{
    dps::ProvisioningService,
    emnify::{PASSWORD, User},
    taler::Instance,
};

/// The number of clients of each dialect.
const CLIENTS: usize = 3;

/// The running clients.
pub(crate) struct Load {
    clients: JoinSet<Client>,
    ledger: Arc<Ledger>,
    stop: watch::Sender<bool>,
    /// The events of the preparations, by their request ids.
    prepared: BTreeSet<String>,
    /// The prefixes of the clients' things.
    names: Vec<String>,
}

impl Load {
    /// Prepares what the clients need, and starts them.
    pub(crate) async fn start(cluster: &Cluster, seed: Seed) -> Self {
        Self::start_by(&Clock::default(), cluster, seed).await
    }

    /// The same, with phones that use this clock.
    pub(crate) async fn start_by(clock: &Clock, cluster: &Cluster, seed: Seed) -> Self {
        Self::start_with(clock, cluster, seed, false).await
    }

    /// The same with stations, whose certificates and tickets cannot follow a clock that is set.
    pub(crate) async fn start_with_stations(cluster: &Cluster, seed: Seed) -> Self {
        Self::start_with(&Clock::default(), cluster, seed, true).await
    }

    async fn start_with(clock: &Clock, cluster: &Cluster, seed: Seed, has_stations: bool) -> Self {
        let Cluster {
            installation,
            fleet,
            ..
        } = cluster;
        let ledger = Arc::new(Ledger::new());
        let (stop, stopped) = watch::channel(false);
        let worker = |name: String| Worker {
            rng: seed.stream(&name),
            name,
            fleet: fleet.clone(),
            clock: clock.clone(),
            ledger: Arc::clone(&ledger),
            stopped: stopped.clone(),
        };
        let token = installation.token("certificates");
        let mut prepared = Vec::new();
        for number in 0..CLIENTS {
            let devices = Devices::prepare(worker(format!("taler{number}")), installation).await;
            prepared.push(Client::Taler(devices));
            let certificates = Certificates::prepare(worker(format!("dps{number}")), &token);
            prepared.push(Client::Dps(certificates));
            let codes = Codes::prepare(worker(format!("emnify{number}")), installation).await;
            prepared.push(Client::Emnify(Box::new(codes)));
        }
        if has_stations {
            let token = installation.token("tpm");
            for number in 0..CLIENTS {
                let stations = Stations::prepare(worker(format!("f5-{number}")), &token).await;
                prepared.push(Client::F5(Box::new(stations)));
            }
        }
        let before = installation.trail();
        let names = prepared.iter().map(|client| client.worker().name.clone());
        let names = names.collect();
        let mut clients = JoinSet::new();
        for client in prepared {
            clients.spawn(client.work());
        }
        Self {
            clients,
            ledger,
            stop,
            prepared: before.iter().filter_map(request_id).collect(),
            names,
        }
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Drops the clients, and returns what was acknowledged to them but is not in the audit trail.
    pub(crate) fn lost(self, installation: &Installation) -> Vec<Deed> {
        let Self {
            clients, ledger, ..
        } = self;
        drop(clients);
        let trail = installation.trail();
        let kept: BTreeSet<_> = trail.iter().filter_map(request_id).collect();
        let records = ledger.records();
        let done = records.deeds().filter(|deed| deed.promise == Promise::Done);
        let is_lost = |deed: &&Deed| {
            let id = deed.request_id.as_ref();
            id.is_some_and(|id| !kept.contains(id))
        };
        done.filter(is_lost).cloned().collect()
    }

    /// Lets the clients finish their current requests, reads everything back, and compares it with what was promised.
    pub(crate) async fn judge(mut self, installation: &Installation) -> Arc<Ledger> {
        self.stop.send_replace(true);
        let mut clients = Vec::new();
        while let Some(client) = self.clients.join_next().await {
            clients.push(client.expect("a client that found nothing odd"));
        }
        // Read before the codes are tried once more, which may create events.
        let trail = installation.trail();
        let trail: Vec<_> = trail
            .iter()
            .filter(|event| event["outcome"] == "done")
            .filter(|event| request_id(event).is_none_or(|id| !self.prepared.contains(&id)))
            .map(|event| Event {
                action: event["action"].as_str().unwrap().to_owned(),
                target: event["target"].as_str().unwrap().to_owned(),
                request_id: request_id(event),
            })
            .collect();
        let mut found = BTreeMap::new();
        for client in &mut clients {
            client.read_back(&mut found).await;
        }
        let violations = violations(&self.ledger.records(), &found, &trail);
        assert!(violations.is_empty(), "{violations:#?}");
        self.ledger
    }
}

fn request_id(event: &Value) -> Option<String> {
    event["request_id"].as_str().map(str::to_owned)
}

enum Client {
    Dps(Certificates),
    Emnify(Box<Codes>),
    F5(Box<Stations>),
    Taler(Devices),
}

impl Client {
    async fn work(mut self) -> Self {
        for number in 0.. {
            match &mut self {
                Self::Dps(certificates) => certificates.live(number).await,
                Self::Emnify(codes) => codes.live().await,
                Self::F5(stations) => stations.live(number).await,
                Self::Taler(devices) => devices.live(number).await,
            }
            if *self.worker().stopped.borrow() {
                break;
            }
        }
        self
    }

    fn worker(&self) -> &Worker {
        match self {
            Self::Dps(certificates) => &certificates.worker,
            Self::Emnify(codes) => &codes.worker,
            Self::F5(stations) => &stations.worker,
            Self::Taler(devices) => &devices.worker,
        }
    }

    /// Adds the current state of each of its things.
    async fn read_back(&mut self, found: &mut BTreeMap<String, State>) {
        match self {
            Self::Dps(certificates) => certificates.read_back(found).await,
            Self::Emnify(codes) => codes.read_back(found).await,
            Self::F5(stations) => stations.read_back(found).await,
            Self::Taler(devices) => devices.read_back(found).await,
        }
    }
}

/// The parts that every client has.
struct Worker {
    name: String,
    rng: Rng,
    fleet: Fleet,
    clock: Clock,
    ledger: Arc<Ledger>,
    stopped: watch::Receiver<bool>,
}

impl Worker {
    /// Returns the node that the next request prefers.
    fn wish(&mut self) -> usize {
        usize::from(self.rng.u8(..))
    }

    async fn insist(&mut self, call: &Call) -> Answer {
        let wish = self.wish();
        call.insist(&self.fleet, wish).await
    }

    /// Sends these requests concurrently, and records the promises: `deed` reads each from the reply.
    async fn race(
        &mut self,
        thing: &str,
        calls: Vec<Call>,
        deed: impl Fn(&Reply) -> Deed,
    ) -> (Left, Vec<Reply>) {
        let mut hands = JoinSet::new();
        for call in calls {
            let (fleet, wish) = (self.fleet.clone(), self.wish());
            hands.spawn(async move { call.send(&fleet, wish).await });
        }
        let replies = hands.join_all().await;
        let round: Round = replies.iter().map(deed).collect();
        (self.ledger.round(thing, round), replies)
    }

    /// Returns the things that this client has requested.
    fn things(&self) -> Vec<String> {
        let records = self.ledger.records();
        let all = records.things.keys();
        let prefix = format!("{}/", self.name);
        all.filter(|name| name.starts_with(&prefix))
            .cloned()
            .collect()
    }
}
