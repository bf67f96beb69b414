//! State shared by all connections.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{sync::watch, time::sleep};

use crate::{
    BoxFuture, Limits, RequestObserver, RequestTracer, TrustedProxies, limits::DRAINING_GRACE,
};

/// The check behind `/readyz`. Returns `Ok` with warnings for operators if the store responds, otherwise a reason that
/// anyone may see.
pub type Readiness =
    Arc<dyn Fn() -> BoxFuture<Result<&'static [&'static str], &'static str>> + Send + Sync>;

/// The number of random bytes generated at once: the ids of 32 requests.
const BLOCK: usize = 512;

/// Fills bytes with unpredictable randomness.
pub type FillRandom = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// Generates random bytes in blocks and returns each byte once. A system call for a few bytes costs as much as for many.
pub fn in_blocks(draw: impl Fn(&mut [u8]) + Send + Sync + 'static) -> FillRandom {
    let left = Mutex::new(Vec::new());
    Arc::new(move |bytes| {
        // Under this lock, no foreign code runs except `draw`, which leaves the block intact if it panics.
        let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
        if left.len() < bytes.len() {
            let mut block = vec![0; bytes.len().max(BLOCK)];
            draw(&mut block);
            *left = block;
        }
        let from = left.len().saturating_sub(bytes.len());
        bytes
            .iter_mut()
            .zip(left.drain(from..))
            .for_each(|(byte, drawn)| *byte = drawn);
    })
}

/// The reason shown when details are only for the log.
pub const NO_ANSWER: &str = "the store does not answer";

/// The state reported by a server that is stopping.
pub const DRAINING: &str = "draining";

/// The state on which answers depend, for every listener.
#[derive(Clone)]
pub struct Stack {
    /// The limits.
    pub limits: Limits,
    /// The proxies whose statements about the client are trusted.
    pub proxies: TrustedProxies,
    /// The source of request ids.
    pub draw: FillRandom,
    /// The check behind `/readyz`.
    pub ready: Readiness,
    /// The observer of requests and connections.
    pub observer: Arc<dyn RequestObserver>,
    /// The tracer, if requests are traced.
    pub tracer: Option<Arc<dyn RequestTracer>>,
    /// Becomes true when the server stops.
    pub draining: watch::Receiver<bool>,
}

impl Stack {
    pub(crate) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Waits until the server drains, or is dropped.
    pub(crate) async fn drained(&self) {
        let mut draining = self.draining.clone();
        // An error means that the sender, and so the server, is gone.
        let _ = draining.wait_for(|draining| *draining).await;
    }

    /// Waits until the server drains, and then for [`DRAINING_GRACE`], so that data in flight can arrive.
    pub(crate) async fn drain_grace_passed(&self) {
        self.drained().await;
        sleep(DRAINING_GRACE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU8, Ordering};

    #[test]
    fn no_byte_of_a_block_is_given_away_twice() {
        let blocks = Arc::new(AtomicU8::new(0));
        let drawn = Arc::clone(&blocks);
        let draw = in_blocks(move |bytes| {
            let block = drawn.fetch_add(1, Ordering::Relaxed);
            for (place, byte) in (0_u8..=255).cycle().zip(bytes) {
                *byte = block.wrapping_add(place);
            }
        });
        // Each half of a block counts up from the block's number, so the ids within a half differ.
        let mut ids = [[0; 16]; BLOCK / 16];
        ids.iter_mut().for_each(|id| draw(id));
        assert_eq!(blocks.load(Ordering::Relaxed), 1);
        let (first, second) = ids.split_at(BLOCK / 32);
        for half in [first, second] {
            let unique: std::collections::BTreeSet<_> = half.iter().collect();
            assert_eq!(unique.len(), half.len());
        }
        draw(&mut [0; 16]);
        assert_eq!(blocks.load(Ordering::Relaxed), 2);
        // More than one block.
        draw(&mut [0; BLOCK + 1]);
        assert_eq!(blocks.load(Ordering::Relaxed), 3);
    }
}
