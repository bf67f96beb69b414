//! Addresses where a user has logged in, each with its own failure count.

use alloc::vec::Vec;
use core::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use crate::{Lockout, MfaError, Policy, UnixMillis};

/// The unit that addresses are compared by: an IPv4 address, or an IPv6 /64, since one customer of
/// a network usually has a whole /64.
///
/// ```
/// use core::net::IpAddr;
/// use keyproof_mfa::Network;
///
/// let (one, other): (IpAddr, IpAddr) = ("2001:db8::1".parse()?, "2001:db8::ffff".parse()?);
/// assert_eq!(Network::containing(one), Network::containing(other)); // the same subscriber
/// assert_ne!(Network::containing("192.0.2.1".parse()?), Network::containing("192.0.2.2".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(Place);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    V4(Ipv4Addr),
    /// With an interface identifier of zero.
    V6(Ipv6Addr),
}

impl Network {
    /// Returns the network that contains an address. An IPv4-mapped IPv6 address (RFC 4291, section
    /// 2.5.5.2) is treated as an IPv4 address.
    pub fn containing(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => Place::V4(address),
            IpAddr::V6(address) => {
                let prefix = u128::from(address) & !u128::from(u64::MAX);
                Place::V6(Ipv6Addr::from(prefix))
            }
        })
    }
}

/// `192.0.2.1` or `2001:db8::/64`.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Place::V4(address) => write!(f, "{address}"),
            Place::V6(prefix) => write!(f, "{prefix}/64"),
        }
    }
}

impl FromStr for Network {
    type Err = MfaError;

    /// Parses the output of [`Display`](fmt::Display). [`Network`](MfaError::Network) for anything
    /// else.
    fn from_str(text: &str) -> Result<Self, MfaError> {
        let place = match text.strip_suffix("/64") {
            None => text.parse().ok().map(Place::V4),
            Some(prefix) => prefix.parse().ok().map(Place::V6),
        };
        let network = place.map(Self).filter(|network| match network.0 {
            Place::V4(_) => true,
            Place::V6(prefix) => Self::containing(IpAddr::V6(prefix)) == *network,
        });
        network.ok_or(MfaError::Network)
    }
}

/// The number of one of a user's known addresses. It is not reused while a challenge may refer to
/// it, even after the address has been forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct AddressId(pub(crate) u64);

/// The addresses where a user has recently logged in with every factor. They are in one record, so
/// that their number is bounded.
///
/// Each address has its own failure count, so a stranger elsewhere who guesses at the user's name
/// does not lock the user out there. An address is known for 30 days after its last login
/// ([`Policy::address_lifetime`]), and only the 10 latest are kept ([`Policy::addresses`]).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(
        into = "crate::stored::Addresses",
        try_from = "crate::stored::Addresses"
    )
)]
pub struct Addresses {
    /// The number of the next address.
    pub(crate) next: u64,
    /// Ordered by last login.
    pub(crate) known: Vec<KnownAddress>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KnownAddress {
    pub(crate) id: AddressId,
    pub(crate) network: Network,
    pub(crate) known_until: UnixMillis,
    pub(crate) lockout: Option<Lockout>,
}

impl Addresses {
    /// When the record no longer has any effect and may be removed.
    pub fn expires_at(&self) -> UnixMillis {
        let expiries = self.known.iter().map(|known| {
            let counted_until = known.lockout.map(|lockout| lockout.expires_at());
            known.known_until.max(counted_until.unwrap_or_default())
        });
        expiries.max().unwrap_or_default()
    }

    pub(crate) const fn new() -> Self {
        Self {
            next: 1,
            known: Vec::new(),
        }
    }

    pub(crate) fn recognise(&self, network: Network, now: UnixMillis) -> Option<AddressId> {
        let known = self.live(now).find(|known| known.network == network);
        known.map(|known| known.id)
    }

    pub(crate) fn get(&self, id: AddressId, now: UnixMillis) -> Option<&KnownAddress> {
        self.live(now).find(|known| known.id == id)
    }

    pub(crate) fn get_mut(&mut self, id: AddressId, now: UnixMillis) -> Option<&mut KnownAddress> {
        let mut known = self.known.iter_mut();
        known.find(|known| known.id == id && now < known.known_until)
    }

    /// Records a login with every factor from this network. If there are then too many addresses,
    /// the longest unused ones are forgotten.
    pub(crate) fn learn(&mut self, network: Network, now: UnixMillis, policy: &Policy) {
        let known_until = now.saturating_add(policy.address_lifetime);
        let before = self.recognise(network, now);
        let at = self.known.iter().position(|known| Some(known.id) == before);
        let known = match at {
            Some(at) => {
                let known = self.known.remove(at);
                KnownAddress {
                    known_until: known.known_until.max(known_until),
                    ..known
                }
            }
            None => {
                let id = AddressId(self.next);
                self.next = self.next.saturating_add(1);
                KnownAddress {
                    id,
                    network,
                    known_until,
                    lockout: None,
                }
            }
        };
        self.known.retain(|known| now < known.known_until);
        let keep = usize::from(policy.addresses.get()) - 1;
        let surplus = self.known.len().saturating_sub(keep);
        self.known.drain(..surplus);
        self.known.push(known);
    }

    /// The failure counts of the addresses that are known now.
    pub(crate) fn live_lockouts(&self, now: UnixMillis) -> impl Iterator<Item = Lockout> {
        self.live(now).filter_map(|known| known.lockout)
    }

    fn live(&self, now: UnixMillis) -> impl Iterator<Item = &KnownAddress> {
        let known = self.known.iter();
        known.filter(move |known| now < known.known_until)
    }

    pub(crate) fn lockouts_mut(&mut self) -> impl Iterator<Item = &mut Lockout> {
        let known = self.known.iter_mut();
        known.filter_map(|known| known.lockout.as_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn of(address: &str) -> Network {
        Network::containing(address.parse().unwrap())
    }

    #[test]
    fn an_ipv4_address_and_an_ipv6_64_are_one_place() {
        assert_eq!(of("192.0.2.1").to_string(), "192.0.2.1");
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::"));
        assert_ne!(of("2001:db8:1:2::"), of("2001:db8:1:3::"));
        assert_eq!(of("2001:db8:1:2:3:4:5:6").to_string(), "2001:db8:1:2::/64");
    }

    #[test]
    fn a_network_is_read_as_it_was_written() {
        for address in ["192.0.2.1", "0.0.0.0", "2001:db8:1:2::1", "::1"] {
            assert_eq!(of(address).to_string().parse(), Ok(of(address)));
        }
        for other in [
            "",
            "192.0.2.1/64",
            "192.0.2.1/32",
            "2001:db8::",
            "2001:db8::1/64",
            "2001:db8::/48",
            "::ffff:192.0.2.1/64",
        ] {
            assert_eq!(
                other.parse::<Network>(),
                Err(MfaError::Network),
                "{other:?}"
            );
        }
    }
    #[test]
    fn an_address_is_known_until_its_time_and_not_at_it() {
        let now = UnixMillis::from_secs(1_700_000_000);
        let policy = Policy::default();
        let mut addresses = Addresses::new();
        addresses.learn(of("192.0.2.1"), now, &policy);
        let end = now.saturating_add(policy.address_lifetime);
        let id = addresses.recognise(of("192.0.2.1"), now).unwrap();
        assert!(
            addresses
                .get_mut(id, UnixMillis::from_millis(end.as_millis() - 1))
                .is_some()
        );
        assert!(addresses.get_mut(id, end).is_none());
        addresses.learn(of("192.0.2.2"), end, &policy);
        assert_eq!(addresses.known.len(), 1, "the first has ended");
    }
}
