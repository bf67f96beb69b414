//! How often a client's address may ask for what costs a hash: so many times a window, which begins with its first.
//!
//! A stranger has not one address but a network of them. So each request counts against its host and against the
//! networks around it, which may ask more often: an IPv6 /64 once the limit, its /56 four times and its /48 sixteen
//! times; an IPv4 address once and its /24 sixteen times.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use keyproof_store::Timestamp;

/// The most networks that are remembered, some ten megabytes. Then the least used goes: nobody shares a window with
/// strangers, and nobody who has asked often is forgotten for one who has asked once.
const REMEMBERED: usize = 65_536;

/// The limit of an address, on each server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressLimit {
    /// How many requests a window; 0 is without a limit.
    pub requests: u32,
    /// The length of a window.
    pub window: Duration,
}

impl AddressLimit {
    /// No limit.
    pub const NONE: Self = Self {
        requests: 0,
        window: Duration::ZERO,
    };
}

/// 100 requests in five minutes.
impl Default for AddressLimit {
    fn default() -> Self {
        Self {
            requests: 100,
            window: Duration::from_secs(300),
        }
    }
}

/// A network, by its leading bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Network {
    /// The address's upper bits, the others zero, and how many they are.
    V4(u32, u8),
    /// The same of the upper half of an IPv6 address: one host has all of a /64.
    V6(u64, u8),
}

impl Network {
    /// What stands for one client.
    pub(super) fn host(address: IpAddr) -> Self {
        Self::around(address, 32, 64)
    }

    /// What stands for one customer of a network's operator: an IPv4 /24, an IPv6 /48.
    pub(super) fn site(address: IpAddr) -> Self {
        Self::around(address, 24, 48)
    }

    /// An IPv4 address may come written as an IPv6 one.
    fn around(address: IpAddr, v4: u8, v6: u8) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let lower = u32::MAX.checked_shr(v4.into()).unwrap_or_default();
                Self::V4(address.to_bits() & !lower, v4)
            }
            IpAddr::V6(address) => {
                let upper = u64::try_from(address.to_bits() >> 64).unwrap_or_default();
                let lower = u64::MAX.checked_shr(v6.into()).unwrap_or_default();
                Self::V6(upper & !lower, v6)
            }
        }
    }

    /// The networks that an address counts against, the widest first, and how many times the limit each has.
    fn all_around(address: IpAddr) -> [(Self, u32); 3] {
        let host = Self::host(address);
        let between = match host {
            // There is none between a /24 and an address.
            Self::V4(..) => (host, 1),
            Self::V6(..) => (Self::around(address, 32, 56), 4),
        };
        [(Self::site(address), 16), between, (host, 1)]
    }
}

/// What every address has used of its windows.
pub(super) struct Addresses {
    limit: AddressLimit,
    windows: Mutex<Windows>,
}

#[derive(Default)]
struct Windows {
    of: BTreeMap<Network, Window>,
    /// The same windows, the least used first.
    by_use: BTreeSet<(u32, Timestamp, Network)>,
    /// The same windows, the first to end first.
    by_end: BTreeSet<(Timestamp, Network)>,
}

#[derive(Clone, Copy)]
struct Window {
    ends: Timestamp,
    used: u32,
}

impl Addresses {
    pub(super) fn new(limit: AddressLimit) -> Self {
        Self {
            limit,
            windows: Mutex::default(),
        }
    }

    /// Takes one request, or says how long to wait. What is refused counts for nothing.
    pub(super) fn take(&self, address: IpAddr, now: Timestamp) -> Result<(), Duration> {
        if self.limit.requests == 0 {
            return Ok(());
        }
        let mut windows = self.lock();
        windows.forget_ended(now);
        let networks = Network::all_around(address);
        for (network, times) in networks {
            if let Some(window) = windows.of.get(&network)
                && window.used >= self.limit.requests.saturating_mul(times)
            {
                return Err(window.ends.saturating_since(now));
            }
        }
        let ends = now.saturating_add(self.limit.window);
        let mut counted = None;
        for (network, _) in networks {
            // Where there is no network between, the host would count twice.
            if counted != Some(network) {
                windows.count(network, ends);
            }
            counted = Some(network);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Windows> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Windows {
    /// Counts one request; a window that begins with it ends at `ends`.
    fn count(&mut self, network: Network, ends: Timestamp) {
        let mut window = match self.of.get(&network).copied() {
            Some(window) => {
                self.remove(network, window);
                window
            }
            None => {
                if self.of.len() >= REMEMBERED
                    && let Some((_, _, least)) = self.by_use.first().copied()
                    && let Some(window) = self.of.get(&least).copied()
                {
                    self.remove(least, window);
                }
                Window { ends, used: 0 }
            }
        };
        window.used = window.used.saturating_add(1);
        self.of.insert(network, window);
        self.by_use.insert((window.used, window.ends, network));
        self.by_end.insert((window.ends, network));
    }

    fn forget_ended(&mut self, now: Timestamp) {
        while let Some((ends, network)) = self.by_end.first().copied()
            && ends <= now
            && let Some(window) = self.of.get(&network).copied()
        {
            self.remove(network, window);
        }
    }

    fn remove(&mut self, network: Network, window: Window) {
        self.of.remove(&network);
        self.by_use.remove(&(window.used, window.ends, network));
        self.by_end.remove(&(window.ends, network));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const WINDOW: Duration = Duration::from_secs(300);
    const AT: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn addresses(requests: u32) -> Addresses {
        Addresses::new(AddressLimit {
            requests,
            window: WINDOW,
        })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// How many of these requests are taken.
    fn taken(addresses: &Addresses, from: impl IntoIterator<Item = IpAddr>) -> usize {
        let from = from.into_iter();
        from.filter(|address| addresses.take(*address, AT).is_ok())
            .count()
    }

    /// Addresses of this network, each of a /64 of its own.
    fn subnets(network: &str, count: u16) -> impl Iterator<Item = IpAddr> {
        let base = network.parse::<Ipv6Addr>().unwrap().to_bits();
        (0..count).map(move |number| Ipv6Addr::from_bits(base | u128::from(number) << 64).into())
    }

    #[test]
    fn each_address_has_its_window() {
        let addresses = addresses(2);
        let after = |seconds| AT.saturating_add(Duration::from_secs(seconds));
        assert_eq!(addresses.take(ip("192.0.2.1"), AT), Ok(()));
        // Written as an IPv6 address it is the same one.
        assert_eq!(addresses.take(ip("::ffff:192.0.2.1"), after(100)), Ok(()));
        let wait = Err(Duration::from_secs(100));
        assert_eq!(addresses.take(ip("192.0.2.1"), after(200)), wait);
        assert_eq!(addresses.take(ip("192.0.2.2"), after(200)), Ok(()));
        assert_eq!(addresses.take(ip("192.0.2.1"), after(300)), Ok(()));
    }

    #[test]
    fn networks_have_1_4_and_16_times_the_limit() {
        let one_host =
            (0..100).map(|number| Ipv6Addr::from_bits(0x2001_0db8_u128 << 96 | number).into());
        assert_eq!(taken(&addresses(5), one_host), 5);
        assert_eq!(taken(&addresses(5), subnets("2001:db8::", 256)), 20);
        assert_eq!(taken(&addresses(5), subnets("2001:db8::", u16::MAX)), 80);
        let ipv4 = |network: [u8; 3]| {
            let [a, b, c] = network;
            (0..=255).map(move |host| Ipv4Addr::new(a, b, c, host).into())
        };
        assert_eq!(taken(&addresses(5), [ip("192.0.2.1"); 100]), 5);
        assert_eq!(taken(&addresses(5), ipv4([192, 0, 2])), 80);
        // Their neighbours are others.
        let addresses = addresses(5);
        assert_eq!(taken(&addresses, subnets("2001:db8::", u16::MAX)), 80);
        assert_eq!(taken(&addresses, subnets("2001:db8:1::", 256)), 20);
        assert_eq!(taken(&addresses, ipv4([192, 0, 2])), 80);
        assert_eq!(taken(&addresses, ipv4([192, 0, 3])), 80);
    }

    #[test]
    fn what_is_refused_counts_for_nothing() {
        let addresses = addresses(1);
        let one = [ip("192.0.2.1"); 100];
        assert_eq!(taken(&addresses, one), 1);
        let others = (2..=255).map(|host| Ipv4Addr::new(192, 0, 2, host).into());
        assert_eq!(taken(&addresses, others), 15);
        assert_eq!(addresses.lock().of.len(), 1 + 16);
    }

    #[test]
    fn one_network_cannot_fill_the_table() {
        let addresses = addresses(100);
        assert_eq!(taken(&addresses, subnets("2001:db8::", u16::MAX)), 1_600);
        assert!(addresses.lock().of.len() <= 1_600 + 256 + 1);
    }

    #[test]
    fn a_full_table_forgets_the_least_used_and_shares_no_window() {
        let addresses = addresses(2);
        let often = ip("198.51.100.7");
        assert_eq!(taken(&addresses, [often; 3]), 2);
        // From as many sites, each once: more than can be remembered.
        let many = (0..70_000_u128)
            .map(|site| Ipv6Addr::from_bits(0x2001_u128 << 112 | site << 80).into());
        assert_eq!(taken(&addresses, many), 70_000);
        assert_eq!(addresses.lock().of.len(), REMEMBERED);
        assert_eq!(addresses.lock().by_use.len(), REMEMBERED);
        assert_eq!(addresses.lock().by_end.len(), REMEMBERED);
        // Whoever is new has a window of their own, and whoever has used theirs up is still known.
        let next = AT.saturating_add(Duration::from_millis(1));
        let new = [ip("203.0.113.1"); 3].map(|address| addresses.take(address, next).is_ok());
        assert_eq!(new, [true, true, false]);
        assert_eq!(taken(&addresses, [often]), 0);
        let later = next.saturating_add(WINDOW);
        assert_eq!(addresses.take(often, later), Ok(()));
        assert_eq!(addresses.lock().of.len(), 2);
    }

    #[test]
    fn zero_is_no_limit() {
        assert_eq!(taken(&addresses(0), [ip("192.0.2.1"); 1_000]), 1_000);
    }
}
