//! A rate limit per client address for requests that cost a password hash: so many in a window that begins with the first one.
//!
//! An attacker has a network of addresses rather than one. So each request counts against its host and against the networks around
//! it, which have higher limits: an IPv6 /64 has the limit once, its /56 four times and its /48 sixteen times; an IPv4 address has
//! it once and its /24 sixteen times.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Mutex,
    time::Duration,
};

use keyproof_store::Timestamp;

use crate::mutex::lock;

/// The most networks that are remembered, about ten megabytes. Beyond that, the least used one is evicted. So nobody shares a
/// window with strangers, and a heavy user is never evicted in favour of one with a single request.
const REMEMBERED: usize = 65_536;

/// The rate limit of an address, on each server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressLimit {
    /// Requests per window; 0 means no limit.
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

/// A network, identified by its leading bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Network {
    /// The address with all but its leading bits cleared, and the number of leading bits.
    V4(u32, u8),
    /// The same for the upper half of an IPv6 address, since one host has a whole /64.
    V6(u64, u8),
}

impl Network {
    /// Returns the network of one client.
    pub(super) fn host(address: IpAddr) -> Self {
        Self::around(address, 32, 64)
    }

    /// Returns the network of one customer of a network operator: an IPv4 /24 or an IPv6 /48.
    pub(super) fn site(address: IpAddr) -> Self {
        Self::around(address, 24, 48)
    }

    /// Also accepts an IPv4 address written as an IPv6 address.
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

    /// Returns the networks that an address counts against, widest first, and the multiple of the limit that each has.
    fn all_around(address: IpAddr) -> [(Self, u32); 3] {
        let host = Self::host(address);
        let between = match host {
            // There is no network between a /24 and an address.
            Self::V4(..) => (host, 1),
            Self::V6(..) => (Self::around(address, 32, 56), 4),
        };
        [(Self::site(address), 16), between, (host, 1)]
    }
}

/// The use that each network has made of its window.
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

    /// Counts one request, or returns how long to wait. A refused request is not counted.
    pub(super) fn take(&self, address: IpAddr, now: Timestamp) -> Result<(), Duration> {
        if self.limit.requests == 0 {
            return Ok(());
        }
        let mut windows = lock(&self.windows);
        windows.forget_ended(now);
        windows.forget_future(now, self.limit.window);
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
            // Without a network between, the host would count twice.
            if counted != Some(network) {
                windows.count(network, ends);
            }
            counted = Some(network);
        }
        Ok(())
    }
}

impl Windows {
    /// Counts one request. A window that begins with it ends at `ends`.
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

    /// Forgets the windows that began in the future: the clock was set back, and they would last as much longer. Requests that come
    /// at once may differ by less than a window in what the clock showed them.
    fn forget_future(&mut self, now: Timestamp, length: Duration) {
        let last = now.saturating_add(length.saturating_mul(2));
        while let Some((ends, network)) = self.by_end.last().copied()
            && ends > last
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

    /// Returns how many of these requests are allowed.
    fn taken(addresses: &Addresses, from: impl IntoIterator<Item = IpAddr>) -> usize {
        let from = from.into_iter();
        from.filter(|address| addresses.take(*address, AT).is_ok())
            .count()
    }

    /// Returns addresses in this network, each in its own /64.
    fn subnets(network: &str, count: u16) -> impl Iterator<Item = IpAddr> {
        let base = network.parse::<Ipv6Addr>().unwrap().to_bits();
        (0..count).map(move |number| Ipv6Addr::from_bits(base | u128::from(number) << 64).into())
    }

    #[test]
    fn each_address_has_its_window() {
        let addresses = addresses(2);
        let after = |seconds| AT.saturating_add(Duration::from_secs(seconds));
        assert_eq!(addresses.take(ip("192.0.2.1"), AT), Ok(()));
        // The same address written as an IPv6 address.
        assert_eq!(addresses.take(ip("::ffff:192.0.2.1"), after(100)), Ok(()));
        let wait = Err(Duration::from_secs(100));
        assert_eq!(addresses.take(ip("192.0.2.1"), after(200)), wait);
        assert_eq!(addresses.take(ip("192.0.2.2"), after(200)), Ok(()));
        assert_eq!(addresses.take(ip("192.0.2.1"), after(300)), Ok(()));
    }

    #[test]
    fn a_clock_that_was_ahead_makes_no_window_longer() {
        let addresses = addresses(2);
        let day = Duration::from_secs(24 * 60 * 60);
        let ahead = AT.saturating_add(day);
        let one = ip("192.0.2.1");
        assert!((0..2).all(|_| addresses.take(one, ahead).is_ok()));
        // Less than a window: what the clock showed to requests that come at once.
        let back = ahead.saturating_sub(WINDOW);
        assert_eq!(addresses.take(one, back), Err(2 * WINDOW));
        assert_eq!(taken(&addresses, [one; 3]), 2);
        assert_eq!(addresses.take(one, AT), Err(WINDOW));
        let windows = lock(&addresses.windows);
        let kept = (windows.of.len(), windows.by_use.len(), windows.by_end.len());
        assert_eq!(kept, (2, 2, 2), "of the host and its network");
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
        // Neighbouring networks have their own windows.
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
        assert_eq!(lock(&addresses.windows).of.len(), 1 + 16);
    }

    #[test]
    fn one_network_cannot_fill_the_table() {
        let addresses = addresses(100);
        assert_eq!(taken(&addresses, subnets("2001:db8::", u16::MAX)), 1_600);
        assert!(lock(&addresses.windows).of.len() <= 1_600 + 256 + 1);
    }

    #[test]
    fn a_full_table_forgets_the_least_used_and_shares_no_window() {
        let addresses = addresses(2);
        let often = ip("198.51.100.7");
        assert_eq!(taken(&addresses, [often; 3]), 2);
        // One request from each of more sites than can be remembered.
        let many = (0..70_000_u128)
            .map(|site| Ipv6Addr::from_bits(0x2001_u128 << 112 | site << 80).into());
        assert_eq!(taken(&addresses, many), 70_000);
        assert_eq!(lock(&addresses.windows).of.len(), REMEMBERED);
        assert_eq!(lock(&addresses.windows).by_use.len(), REMEMBERED);
        assert_eq!(lock(&addresses.windows).by_end.len(), REMEMBERED);
        // A newcomer has its own window, and one that has used up its window is still remembered.
        let next = AT.saturating_add(Duration::from_millis(1));
        let new = [ip("203.0.113.1"); 3].map(|address| addresses.take(address, next).is_ok());
        assert_eq!(new, [true, true, false]);
        assert_eq!(taken(&addresses, [often]), 0);
        let later = next.saturating_add(WINDOW);
        assert_eq!(addresses.take(often, later), Ok(()));
        assert_eq!(lock(&addresses.windows).of.len(), 2);
    }

    #[test]
    fn zero_is_no_limit() {
        assert_eq!(taken(&addresses(0), [ip("192.0.2.1"); 1_000]), 1_000);
    }
}
