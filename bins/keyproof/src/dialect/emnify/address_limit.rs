//! How often an address may try to log in on this server: so many times a window, which begins with its first.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use keyproof_store::Timestamp;

/// Windows that are over are forgotten once there are this many; while none is, further addresses share one.
const REMEMBERED: usize = 65_536;

pub(super) struct AddressLimit {
    limit: u32,
    window: Duration,
    windows: Mutex<Windows>,
}

#[derive(Default)]
struct Windows {
    of: BTreeMap<IpAddr, Window>,
    /// The end of the first to be over when there were too many: to look earlier would be in vain.
    full_until: Timestamp,
}

/// What an address has used of its window.
struct Window {
    ends: Timestamp,
    used: u32,
}

impl AddressLimit {
    pub(super) fn new(limit: u32, window: Duration) -> Self {
        Self {
            limit,
            window,
            windows: Mutex::default(),
        }
    }

    /// Takes one try, or says how long to wait.
    pub(super) fn take(&self, address: IpAddr, now: Timestamp) -> Result<(), Duration> {
        if self.limit == 0 {
            return Ok(());
        }
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut whose = network(address);
        if windows.of.len() >= REMEMBERED && !windows.of.contains_key(&whose) {
            if now >= windows.full_until {
                windows.of.retain(|_, window| now < window.ends);
                let first = windows.of.values().map(|window| window.ends).min();
                windows.full_until = first.unwrap_or_default();
            }
            if windows.of.len() >= REMEMBERED {
                whose = Ipv6Addr::UNSPECIFIED.into();
            }
        }
        let fresh = || Window {
            ends: now.saturating_add(self.window),
            used: 0,
        };
        let window = windows.of.entry(whose).or_insert_with(fresh);
        if now >= window.ends {
            *window = fresh();
        }
        if window.used >= self.limit {
            return Err(window.ends.saturating_since(now));
        }
        window.used += 1;
        Ok(())
    }
}

/// An IPv6 address stands for its /64: one host has all of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_address_has_its_window() {
        let limit = AddressLimit::new(2, Duration::from_secs(300));
        let at = Timestamp::from_secs;
        assert_eq!(limit.take(ip("192.0.2.1"), at(0)), Ok(()));
        assert_eq!(limit.take(ip("::ffff:192.0.2.1"), at(100)), Ok(()));
        let wait = Err(Duration::from_secs(100));
        assert_eq!(limit.take(ip("192.0.2.1"), at(200)), wait);
        assert_eq!(limit.take(ip("192.0.2.2"), at(200)), Ok(()));
        assert_eq!(limit.take(ip("192.0.2.1"), at(300)), Ok(()));
    }

    #[test]
    fn a_host_has_one_ipv6_network() {
        let limit = AddressLimit::new(1, Duration::from_secs(300));
        assert_eq!(limit.take(ip("2001:db8::1"), Timestamp::EPOCH), Ok(()));
        assert!(limit.take(ip("2001:db8::2"), Timestamp::EPOCH).is_err());
        assert_eq!(limit.take(ip("2001:db8:0:1::1"), Timestamp::EPOCH), Ok(()));
    }

    #[test]
    fn its_memory_is_bounded() {
        let limit = AddressLimit::new(1, Duration::from_secs(300));
        let address = |number: u32| IpAddr::from(number.to_be_bytes());
        for number in 0..70_000 {
            let _ = limit.take(address(number), Timestamp::EPOCH);
        }
        assert!(limit.windows.lock().unwrap().of.len() <= REMEMBERED + 1);
        assert_eq!(
            limit.take(address(80_000), Timestamp::from_secs(300)),
            Ok(())
        );
        assert_eq!(limit.windows.lock().unwrap().of.len(), 1);
    }

    #[test]
    fn zero_is_no_limit() {
        let limit = AddressLimit::new(0, Duration::from_secs(300));
        assert!((0..1000).all(|_| limit.take(ip("192.0.2.1"), Timestamp::EPOCH).is_ok()));
    }
}
