//! Limits on the number of connections: in total, and per address.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::warn;

use crate::Limits;

/// The connections of the metrics listener, in addition to `http.max_connections`, so that a full server can still be
/// observed.
const METRICS: u32 = 8;

/// The metrics connections per address, except for loopback and proxies, so that one idle client cannot take all slots.
const METRICS_PER_ADDRESS: u32 = 3;

/// The configuration key of the limit per address.
const MAX_PER_ADDRESS: &str = "http.max_connections_per_address";

/// The slots for connections, which listeners share.
#[derive(Clone)]
pub struct Slots {
    free: Arc<Semaphore>,
    max: u32,
    addresses: Arc<Addresses>,
}

/// The slot of a connection. It is taken for as long as the connection or one of its handlers lives.
pub(crate) struct Slot {
    _permit: OwnedSemaphorePermit,
    _from: Option<AddressSlot>,
}

/// The number of connections per address.
struct Addresses {
    /// 0 means no limit.
    max_per_address: u32,
    /// The configuration key of the limit, if it is configurable.
    chosen_by: Option<&'static str>,
    open: Mutex<BTreeMap<IpAddr, Open>>,
}

#[derive(Default)]
struct Open {
    count: u32,
    /// Whether the log already contains a warning that the limit was reached.
    is_logged: bool,
}

/// A connection counted for an address.
struct AddressSlot {
    addresses: Arc<Addresses>,
    host: IpAddr,
}

impl Slots {
    /// Creates slots according to these limits.
    pub fn of(limits: &Limits) -> Self {
        Self::new(limits.max_connections, limits.max_connections_per_address)
    }

    /// Creates `max` slots, of which one IPv4 address or IPv6 /64 may take `max_per_address`; 0 means no limit.
    fn new(max: u32, max_per_address: u32) -> Self {
        Self::chosen(max, max_per_address, Some(MAX_PER_ADDRESS))
    }

    fn chosen(max: u32, max_per_address: u32, chosen_by: Option<&'static str>) -> Self {
        let count = usize::try_from(max).unwrap_or(usize::MAX);
        Self {
            free: Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS))),
            max,
            addresses: Arc::new(Addresses {
                max_per_address,
                chosen_by,
                open: Mutex::default(),
            }),
        }
    }

    /// Creates the slots of the metrics listener, which are separate.
    pub fn of_metrics() -> Self {
        Self::chosen(METRICS, METRICS_PER_ADDRESS, None)
    }

    /// Waits for a free slot and returns its permit; `None` once the server is gone.
    pub(crate) async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).acquire_owned().await.ok()
    }

    /// Returns the slot of a connection from this address, or the permit if the address has reached its limit. Exempt
    /// connections are not counted.
    pub(crate) fn slot(
        &self,
        permit: OwnedSemaphorePermit,
        peer: IpAddr,
        is_exempt: bool,
    ) -> Result<Slot, OwnedSemaphorePermit> {
        let from = if is_exempt || self.addresses.max_per_address == 0 {
            None
        } else if let Some(from) = Addresses::count(&self.addresses, peer) {
            Some(from)
        } else {
            return Err(permit);
        };
        Ok(Slot {
            _permit: permit,
            _from: from,
        })
    }

    /// Waits until every slot is free.
    pub async fn all_free(&self) {
        // The semaphore is never closed.
        let _ = self.free.acquire_many(self.max).await;
    }

    /// Returns the number of slots taken.
    pub fn taken(&self) -> usize {
        let max = usize::try_from(self.max).unwrap_or(usize::MAX);
        max.saturating_sub(self.free.available_permits())
    }
}

impl Addresses {
    fn count(this: &Arc<Self>, peer: IpAddr) -> Option<AddressSlot> {
        let host = host(peer);
        let mut all = this.lock();
        let open = all.entry(host).or_default();
        if open.count >= this.max_per_address {
            if !std::mem::replace(&mut open.is_logged, true) {
                warn!(
                    client = %host,
                    max = this.max_per_address,
                    key = this.chosen_by,
                    "one address has the maximum number of connections: further ones are closed"
                );
            }
            return None;
        }
        open.count = open.count.saturating_add(1);
        Some(AddressSlot {
            addresses: Arc::clone(this),
            host,
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpAddr, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AddressSlot {
    fn drop(&mut self) {
        let mut all = self.addresses.lock();
        let Some(open) = all.get_mut(&self.host) else {
            return;
        };
        open.count = open.count.saturating_sub(1);
        if open.count == 0 {
            all.remove(&self.host);
        }
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots")
            .field("taken", &self.taken())
            .finish_non_exhaustive()
    }
}

/// Returns the address that identifies a client: an IPv4 address, or the /64 of an IPv6 address, all of which one host may
/// have.
fn host(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Opens a connection, or returns its permit if the limit is reached.
    async fn open(slots: &Slots, peer: &str, is_exempt: bool) -> Option<Slot> {
        let permit = slots.permit().await?;
        slots.slot(permit, peer.parse().unwrap(), is_exempt).ok()
    }

    #[tokio::test]
    async fn one_address_leaves_slots_to_others() {
        let slots = Slots::new(10, 2);
        let first = open(&slots, "192.0.2.1", false).await;
        assert!(first.is_some());
        let second = open(&slots, "::ffff:192.0.2.1", false).await;
        assert!(
            second.is_some(),
            "written as an IPv6 address it is the same"
        );
        assert!(open(&slots, "192.0.2.1", false).await.is_none());
        assert_eq!(slots.taken(), 2, "what is refused takes no slot");
        let _other = open(&slots, "192.0.2.2", false).await.unwrap();
        // A host can use its whole /64.
        let _hosts = [
            open(&slots, "2001:db8::1", false).await.unwrap(),
            open(&slots, "2001:db8::2", false).await.unwrap(),
        ];
        assert!(open(&slots, "2001:db8::3", false).await.is_none());
        assert!(open(&slots, "2001:db8:0:1::1", false).await.is_some());
        drop(first);
        let third = open(&slots, "192.0.2.1", false).await;
        assert!(third.is_some());
        drop((second, third));
        assert_eq!(slots.addresses.lock().len(), 2, "who has none is forgotten");
    }

    #[tokio::test]
    async fn there_are_as_many_as_the_limits_say() {
        let slots = Slots::of(&Limits {
            max_body_bytes: 0,
            header_timeout: Duration::ZERO,
            body_timeout: Duration::ZERO,
            handler_timeout: Duration::ZERO,
            max_connections: 3,
            max_connections_per_address: 2,
            drain_timeout: Duration::ZERO,
        });
        assert_eq!(slots.free.available_permits(), 3);
        let _open = [
            open(&slots, "192.0.2.1", false).await.unwrap(),
            open(&slots, "192.0.2.1", false).await.unwrap(),
        ];
        assert!(open(&slots, "192.0.2.1", false).await.is_none());
        assert!(open(&slots, "192.0.2.2", false).await.is_some());
    }

    #[tokio::test]
    async fn whoever_looks_at_metrics_leaves_slots_to_others() {
        let slots = Slots::of_metrics();
        assert_eq!(slots.free.available_permits(), 8);
        let mut of_one = Vec::new();
        for _ in 0..3 {
            of_one.push(open(&slots, "192.0.2.1", false).await.unwrap());
        }
        assert!(open(&slots, "192.0.2.1", false).await.is_none());
        assert!(open(&slots, "192.0.2.2", false).await.is_some());
        // The log must not name a configuration key that has no effect here.
        assert_eq!(slots.addresses.chosen_by, None);
        let chosen = Slots::new(10, 2).addresses.chosen_by;
        assert_eq!(chosen, Some("http.max_connections_per_address"));
    }

    #[tokio::test]
    async fn proxies_and_loopback_have_what_there_is() {
        let slots = Slots::new(10, 1);
        let mut open_ones = Vec::new();
        for _ in 0..10 {
            open_ones.push(open(&slots, "192.0.2.1", true).await.unwrap());
        }
        assert_eq!(slots.taken(), 10);
        drop(open_ones);
        slots.all_free().await;
        let unlimited = Slots::new(10, 0);
        let mut open_ones = Vec::new();
        for _ in 0..10 {
            open_ones.push(open(&unlimited, "192.0.2.1", false).await.unwrap());
        }
        assert_eq!(unlimited.taken(), 10);
    }
}
