//! The servers that a URL names. Each is tried separately, so one that does not answer uses up only its own share of
//! the time.

use std::{
    io::{self, ErrorKind},
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{net::lookup_host, time::Instant};
use tokio_postgres::{
    Config,
    config::{Host, LoadBalanceHosts},
};

use super::error::{engine_error, words};
use crate::{EngineError, Entropy, SystemEntropy};

/// PostgreSQL's default port.
const PORT: u16 = 5432;
/// The minimum time for one address, unless that would be too much for all of them together.
const SHORTEST_SHARE: Duration = Duration::from_secs(1);

/// All servers of a URL.
pub(super) struct Hosts {
    /// In the URL's order.
    all: Vec<Server>,
    is_random: bool,
    /// The server that accepted writes when one was last reached.
    leader: Mutex<Reached>,
}

/// The server and address of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reached {
    /// The index of the server.
    server: usize,
    /// Its address, if it was looked up or is in the URL. Each address may be another machine.
    address: Option<IpAddr>,
}

impl Reached {
    /// The target of this configuration, for the server with this index.
    pub(super) fn by(server: usize, config: &Config) -> Self {
        Self {
            server,
            address: address_of(config),
        }
    }
}

/// A server of a URL.
pub(super) struct Server {
    /// Everything that the URL specifies for this server, and for no other.
    config: Config,
    /// Its name in errors.
    name: String,
    /// The name to look up its addresses by, unless the URL contains the address.
    lookup: Option<String>,
    port: u16,
}

impl Hosts {
    pub(super) fn of(config: &Config) -> Result<Self, EngineError> {
        let (hosts, addresses) = (config.get_hosts(), config.get_hostaddrs());
        let ports = config.get_ports();
        let fits = (addresses.is_empty() || addresses.len() == hosts.len())
            && (ports.len() <= 1 || ports.len() == hosts.len());
        if !fits {
            return Err(EngineError::Configuration {
                detail: format!(
                    "the URL names {} hosts, {} addresses and {} ports",
                    hosts.len(),
                    addresses.len(),
                    ports.len()
                ),
            });
        }
        let all = hosts.iter().enumerate().map(|(at, host)| {
            let port = ports.get(at).or(ports.first()).copied();
            Server::of(config, host, addresses.get(at), port.unwrap_or(PORT))
        });
        Ok(Self {
            all: all.collect(),
            is_random: config.get_load_balance_hosts() == LoadBalanceHosts::Random,
            leader: Mutex::default(),
        })
    }

    /// The servers with their indices in the order to try: the last leader first, or random if the URL requests that.
    pub(super) fn in_order(&self) -> Vec<(usize, &Server)> {
        let mut order: Vec<_> = self.all.iter().enumerate().collect();
        if self.is_random {
            shuffle(&mut order);
        } else {
            let leader = self.leader().server;
            order.sort_by_key(|(at, _)| *at != leader);
        }
        order
    }

    /// The configuration and error name for each address of the server with this index: the last leader's address
    /// first, or random if the URL requests that.
    pub(super) async fn addresses(
        &self,
        at: usize,
        server: &Server,
    ) -> io::Result<Vec<(String, Config)>> {
        let Some(host) = &server.lookup else {
            return Ok(vec![(server.name.clone(), server.config.clone())]);
        };
        let found = lookup_host((host.as_str(), server.port)).await?;
        let addresses: Vec<_> = found.map(|found| server.at(found.ip())).collect();
        if addresses.is_empty() {
            return Err(ErrorKind::NotFound.into());
        }
        Ok(self.in_turn(at, addresses))
    }

    fn in_turn(&self, at: usize, mut addresses: Vec<(String, Config)>) -> Vec<(String, Config)> {
        if self.is_random {
            shuffle(&mut addresses);
        } else {
            let leader = *self.leader();
            let led = (leader.server == at).then_some(leader.address).flatten();
            addresses.sort_by_key(|(_, config)| address_of(config) != led);
        }
        addresses
    }

    /// Records that this server and address accepted writes.
    pub(super) fn leads(&self, reached: Reached) {
        *self.leader() = reached;
    }

    /// Whether a connection to there is as good as a new one. It is if that was the server that last accepted writes,
    /// or if hosts are chosen at random, so that a new one could lead anywhere.
    pub(super) fn is_leader(&self, reached: Reached) -> bool {
        self.is_random || *self.leader() == reached
    }

    /// The number of servers in the URL.
    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    fn leader(&self) -> MutexGuard<'_, Reached> {
        // No code that can panic runs under this lock.
        self.leader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn address_of(config: &Config) -> Option<IpAddr> {
    config.get_hostaddrs().first().copied()
}

impl Server {
    fn of(config: &Config, host: &Host, address: Option<&IpAddr>, port: u16) -> Self {
        let mut alone = without_hosts(config);
        alone.port(port);
        if let Some(address) = address {
            alone.hostaddr(*address);
        }
        let name = match host {
            Host::Tcp(host) => {
                alone.host(host.clone());
                if host.contains(':') {
                    format!("[{host}]:{port}")
                } else {
                    format!("{host}:{port}")
                }
            }
            #[cfg(unix)]
            Host::Unix(path) => {
                alone.host_path(path);
                path.display().to_string()
            }
        };
        let lookup = match host {
            Host::Tcp(host) if address.is_none() && host.parse::<IpAddr>().is_err() => {
                Some(host.clone())
            }
            _ => None,
        };
        Self {
            config: alone,
            name,
            lookup,
            port,
        }
    }

    /// The certificate is still verified against the server's name.
    fn at(&self, address: IpAddr) -> (String, Config) {
        let mut config = self.config.clone();
        config.hostaddr(address);
        (format!("{} ({address})", self.name), config)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// Copies every other setting, since hosts can be added to a configuration but not removed.
fn without_hosts(config: &Config) -> Config {
    let mut alone = Config::new();
    if let Some(user) = config.get_user() {
        alone.user(user);
    }
    if let Some(password) = config.get_password() {
        alone.password(password);
    }
    if let Some(name) = config.get_dbname() {
        alone.dbname(name);
    }
    if let Some(options) = config.get_options() {
        alone.options(options);
    }
    if let Some(name) = config.get_application_name() {
        alone.application_name(name);
    }
    if let Some(timeout) = config.get_connect_timeout() {
        alone.connect_timeout(*timeout);
    }
    if let Some(timeout) = config.get_tcp_user_timeout() {
        alone.tcp_user_timeout(*timeout);
    }
    if let Some(interval) = config.get_keepalives_interval() {
        alone.keepalives_interval(interval);
    }
    if let Some(retries) = config.get_keepalives_retries() {
        alone.keepalives_retries(retries);
    }
    alone
        .keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle())
        .ssl_mode(config.get_ssl_mode())
        .ssl_negotiation(config.get_ssl_negotiation())
        .channel_binding(config.get_channel_binding())
        .load_balance_hosts(config.get_load_balance_hosts())
        .target_session_attrs(config.get_target_session_attrs());
    alone
}

fn shuffle<T>(items: &mut [T]) {
    let entropy = SystemEntropy::new();
    items.sort_by_cached_key(|_| {
        let mut random = [0; 8];
        entropy.fill(&mut random);
        random
    });
}

/// The time in which servers, or the addresses of one, are tried one after the other.
#[derive(Clone, Copy)]
pub(super) struct Span {
    /// When all should have been tried.
    end: Instant,
    /// When all must have been tried: later than `end`, so that each has enough time to connect.
    last: Instant,
    /// The minimum for each, as long as that fits before `last`.
    least: Duration,
}

impl Span {
    /// Starts now. Trying all takes twice the given time at most.
    pub(super) fn new(now: Instant, all: Duration) -> Self {
        let end = now + all;
        Self {
            end,
            last: end + all,
            least: SHORTEST_SHARE.min(all),
        }
    }

    /// The share of the next of `among` remaining ones: an equal part of the remaining time, but at least `least`,
    /// unless that would leave too little for the others.
    pub(super) fn share(&self, now: Instant, among: usize) -> Self {
        let among = u32::try_from(among).unwrap_or(u32::MAX).max(1);
        let of = |end: Instant| end.saturating_duration_since(now) / among;
        let most = of(self.last);
        Self {
            end: now + of(self.end).max(self.least).min(most),
            last: now + most,
            least: self.least,
        }
    }

    /// For a single address, which takes no time from others: no extension beyond `end`.
    pub(super) fn alone(self) -> Self {
        Self {
            last: self.end,
            ..self
        }
    }

    pub(super) fn end(&self) -> Instant {
        self.end
    }
}

/// Why no server was reached: each server's name and failure.
#[derive(Default)]
pub(super) struct Unreached(Vec<(String, Failure)>);

pub(super) enum Failure {
    Refused(tokio_postgres::Error),
    /// It did not answer within its share of the time.
    Silent,
    /// Its address could not be looked up.
    Unknown(io::Error),
}

impl Unreached {
    pub(super) fn add(&mut self, name: &str, failure: Failure) {
        self.0.push((name.to_owned(), failure));
    }

    /// Whether any of them did not answer in time.
    pub(super) fn is_silent(&self) -> bool {
        let mut failures = self.0.iter();
        failures.any(|(_, failure)| matches!(failure, Failure::Silent))
    }

    pub(super) fn into_error(self) -> EngineError {
        let mut errors = self.0.iter().map(|(_, failure)| failure.error());
        // A server that has no room for another session may soon have some, whatever the others answered.
        if let Some(busy) = errors.find(|error| matches!(error, EngineError::Busy { .. })) {
            return busy;
        }
        if let [(_, failure)] = &*self.0 {
            return failure.error();
        }
        let each = |(name, failure): &(String, Failure)| format!("{name}: {}", failure.words());
        EngineError::Io {
            detail: self.0.iter().map(each).collect::<Vec<_>>().join("; "),
        }
    }
}

impl Failure {
    fn error(&self) -> EngineError {
        match self {
            Self::Refused(error) => engine_error(error),
            Self::Silent | Self::Unknown(_) => EngineError::Io {
                detail: self.words(),
            },
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Refused(error) => words(error),
            Self::Silent => "connecting took too long".to_owned(),
            Self::Unknown(error) => format!("its address cannot be looked up: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_postgres::config::SslNegotiation;

    use super::*;

    fn hosts(url: &str) -> Hosts {
        let config: Config = url.parse().unwrap();
        Hosts::of(&config).unwrap()
    }

    fn order(hosts: &Hosts) -> Vec<usize> {
        hosts.in_order().iter().map(|(at, _)| *at).collect()
    }

    #[test]
    fn a_server_keeps_all_that_the_url_says_of_it() {
        let mut config: Config =
            "postgres://u:p@db:1/k?hostaddr=192.0.2.1&options=-c%20a=b&application_name=x\
             &connect_timeout=7&tcp_user_timeout=8&keepalives=0&keepalives_idle=9&keepalives_interval=10\
             &keepalives_retries=11&target_session_attrs=read-write&channel_binding=disable\
             &load_balance_hosts=random&sslmode=require"
                .parse()
                .unwrap();
        config.ssl_negotiation(SslNegotiation::Direct);
        let hosts = Hosts::of(&config).unwrap();
        assert_eq!(hosts.all[0].config, config);
        let plain: Config = "postgres://db/".parse().unwrap();
        assert_eq!(Hosts::of(&plain).unwrap().all[0].config, plain);
    }

    #[test]
    fn each_server_has_its_own_name_address_and_port() {
        let of = |url: &str| {
            let hosts = hosts(url);
            let parts = hosts.all.iter().map(|server| {
                let address = server.config.get_hostaddrs().first().copied();
                let lookup = server.lookup.clone();
                (
                    server.name.clone(),
                    address.map(|ip| ip.to_string()),
                    lookup,
                )
            });
            parts.collect::<Vec<_>>()
        };
        let looked_up = |name: &str, host: &str| (name.to_owned(), None, Some(host.to_owned()));
        assert_eq!(
            of("postgres://u@a,b:2,[::1]:3/k"),
            [
                looked_up("a:5432", "a"),
                looked_up("b:2", "b"),
                ("[::1]:3".to_owned(), None, None)
            ]
        );
        let addressed = |name: &str, ip: &str| (name.to_owned(), Some(ip.to_owned()), None);
        assert_eq!(
            of("postgres://u@a,b/k?hostaddr=192.0.2.1,192.0.2.2"),
            [
                addressed("a:5432", "192.0.2.1"),
                addressed("b:5432", "192.0.2.2")
            ]
        );
        for url in [
            "postgres://u@a,b/k?hostaddr=192.0.2.1",
            "postgres://u@a,b/k?port=1",
        ] {
            let config: Config = url.parse().unwrap();
            let refused = Hosts::of(&config).err();
            assert!(
                matches!(refused, Some(EngineError::Configuration { .. })),
                "{url}: {refused:?}"
            );
        }
    }

    #[tokio::test]
    async fn the_addresses_of_a_name_are_tried_one_by_one_under_that_name() {
        let hosts = hosts("postgres://u@localhost:7/k");
        let addresses = hosts.addresses(0, &hosts.all[0]).await.unwrap();
        for (name, config) in &addresses {
            let [address] = config.get_hostaddrs() else {
                panic!("{config:?}");
            };
            assert_eq!(*name, format!("localhost:7 ({address})"));
            assert_eq!(config.get_hosts(), [Host::Tcp("localhost".to_owned())]);
            assert_eq!(config.get_ports(), [7]);
        }
        assert!(!addresses.is_empty());
    }

    #[test]
    fn the_one_that_led_last_is_tried_first() {
        let hosts = hosts("postgres://u@a,b,c/k");
        let reached = |at: usize| Reached::by(at, &hosts.all[at].config);
        assert_eq!(order(&hosts), [0, 1, 2]);
        assert!(hosts.is_leader(reached(0)));
        hosts.leads(reached(2));
        assert_eq!(order(&hosts), [2, 0, 1]);
        assert_eq!(
            [0, 1, 2].map(|at| hosts.is_leader(reached(at))),
            [false, false, true]
        );
        hosts.leads(reached(1));
        assert_eq!(order(&hosts), [1, 0, 2]);
    }

    #[test]
    fn where_chance_decides_all_are_as_good() {
        let hosts = hosts("postgres://u@a,b/k?load_balance_hosts=random");
        let reached = |at: usize| Reached::by(at, &hosts.all[at].config);
        hosts.leads(reached(1));
        assert!([0, 1].map(reached).iter().all(|at| hosts.is_leader(*at)));
    }

    #[test]
    fn of_a_servers_addresses_the_one_that_led_last_is_tried_first() {
        let hosts = hosts("postgres://u@a,b/k");
        let addresses = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
        let [first, second, third] = addresses.map(|address| address.parse::<IpAddr>().unwrap());
        let order = |at: usize| {
            let found = [first, second, third].map(|address| hosts.all[at].at(address));
            let ordered = hosts.in_turn(at, Vec::from(found));
            let addresses = ordered.iter().map(|(_, config)| address_of(config));
            addresses.collect::<Vec<_>>()
        };
        let as_found = [first, second, third].map(Some);
        assert_eq!(order(1), as_found);
        let reached = |at: usize, address| Reached::by(at, &hosts.all[at].at(address).1);
        hosts.leads(reached(1, third));
        assert_eq!(order(1), [third, first, second].map(Some));
        assert_eq!(order(0), as_found, "it is the other's");
        // A connection to another address of the same name is to another machine.
        assert!(hosts.is_leader(reached(1, third)));
        assert!(!hosts.is_leader(reached(1, first)) && !hosts.is_leader(reached(0, third)));
        // Likewise if the address is in the URL, or if there is none.
        hosts.leads(Reached::by(1, &hosts.all[1].config));
        assert_eq!(order(1), as_found);
    }

    #[test]
    fn chance_decides_where_the_url_says_so() {
        let hosts = hosts("postgres://u@a,b,c/k?load_balance_hosts=random");
        let mut firsts = [false; 3];
        for _ in 0..1_000 {
            let mut order = order(&hosts);
            firsts[order[0]] = true;
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2]);
            hosts.leads(Reached::by(0, &hosts.all[0].config));
        }
        assert_eq!(firsts, [true; 3]);
    }

    /// When each of some silent servers is given up, counted from the start.
    fn silence(start: Instant, span: Span, count: usize) -> Vec<Duration> {
        let mut now = start;
        let ends = (0..count).map(|tried| {
            let end = span.share(now, count - tried).end();
            assert!(end > now, "{tried} of {count} is not tried");
            now = end;
            end - start
        });
        ends.collect()
    }

    #[test]
    fn each_gets_an_equal_share_and_a_second_if_all_have_it_within_twice_the_time() {
        let start = Instant::now();
        let ends = |all, count| silence(start, Span::new(start, all), count);
        let milliseconds = Duration::from_millis;
        for (all, count, each) in [
            (6_000, 1, 6_000),
            (6_000, 3, 2_000),
            (5_000, 8, 1_000),
            (5_000, 10, 1_000),
            (5_000, 20, 500),
            (300, 2, 300),
            (300, 3, 200),
        ] {
            let expected: Vec<_> = (1..=count)
                .map(|ended| milliseconds(each * ended))
                .collect();
            let found = ends(milliseconds(all), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                // A share is truncated to whole nanoseconds.
                assert!(
                    expected.abs_diff(*found) < Duration::from_micros(1),
                    "{found:?} rather than {expected:?}: {count} in {all} ms"
                );
            }
        }
    }

    #[test]
    fn silent_servers_with_many_addresses_end_within_twice_the_time() {
        let (start, all) = (Instant::now(), Duration::from_secs(5));
        for (servers, addresses) in [(1, 20), (2, 20), (3, 10), (12, 1), (20, 1), (20, 20)] {
            let span = Span::new(start, all);
            let mut now = start;
            for tried in 0..servers {
                let share = span.share(now, servers - tried);
                // The look-up of its name takes half of it.
                now += (share.end() - now) / 2;
                let ends = silence(now, share, addresses);
                now += ends.last().copied().unwrap();
            }
            assert!(now <= start + all * 2, "{servers} of {addresses}");
        }
    }

    #[test]
    fn one_that_is_alone_has_the_time_and_no_more() {
        let (start, all) = (Instant::now(), Duration::from_secs(5));
        let share = Span::new(start, all).share(start, 1);
        // The look-up of its name took most of the time.
        let now = start + Duration::from_millis(4_900);
        assert_eq!(share.alone().share(now, 1).end(), start + all);
        assert_eq!(share.share(now, 1).end(), now + Duration::from_secs(1));
    }

    #[test]
    fn an_error_names_every_server_unless_there_is_but_one() {
        let unknown = || Failure::Unknown(ErrorKind::NotFound.into());
        let mut unreached = Unreached::default();
        unreached.add("a:1", Failure::Silent);
        assert!(unreached.is_silent());
        let detail = "connecting took too long".to_owned();
        let alone = Unreached(vec![("a:1".to_owned(), Failure::Silent)]);
        assert_eq!(alone.into_error(), EngineError::Io { detail });
        unreached.add("b:2", unknown());
        let EngineError::Io { detail } = unreached.into_error() else {
            panic!("another error");
        };
        let each: Vec<_> = detail.split("; ").collect();
        assert_eq!(each[0], "a:1: connecting took too long");
        assert!(
            each[1].starts_with("b:2: its address cannot be looked up"),
            "{detail}"
        );
        assert!(!Unreached(vec![("b:2".to_owned(), unknown())]).is_silent());
    }
}
