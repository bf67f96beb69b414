//! What all connections share.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{sync::watch, time::sleep};

use crate::{
    BoxFuture, Limits, RequestObserver, RequestTracer, TrustedProxies, limits::DRAINING_GRACE,
};

/// The check behind `/readyz`: `Ok` if the store answers, with what operators are to be warned of; else the reason, in words
/// that anybody may see.
pub type Readiness =
    Arc<dyn Fn() -> BoxFuture<Result<&'static [&'static str], &'static str>> + Send + Sync>;

/// How many bytes are drawn at once: the ids of 32 requests.
const BLOCK: usize = 512;

/// Fills bytes with randomness that nobody can foretell.
pub type Draw = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// Draws random bytes in blocks and hands out each byte once: asking the system for a few costs as much as asking for many.
pub fn in_blocks(draw: impl Fn(&mut [u8]) + Send + Sync + 'static) -> Draw {
    let left = Mutex::new(Vec::new());
    Arc::new(move |bytes| {
        // No code of others runs under this lock but `draw`, which leaves the block whole if it panics.
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

/// The reason that is shown where anything more precise is for the log alone.
pub const NO_ANSWER: &str = "the store does not answer";

/// What is said of a server that ends.
pub const DRAINING: &str = "draining";

/// What the answer to a request depends on, whichever listener it came by.
#[derive(Clone)]
pub struct Stack {
    /// What is bounded, and how.
    pub limits: Limits,
    /// Whose word on the client's address is taken.
    pub proxies: TrustedProxies,
    /// Where request ids come from.
    pub draw: Draw,
    /// What `/readyz` asks.
    pub ready: Readiness,
    /// Who counts.
    pub observer: Arc<dyn RequestObserver>,
    /// Who follows requests, if anybody does.
    pub tracer: Option<Arc<dyn RequestTracer>>,
    /// Becomes true when the server stops.
    pub draining: watch::Receiver<bool>,
}

impl Stack {
    pub(crate) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Waits until the server drains, or is gone.
    pub(crate) async fn drained(&self) {
        let mut draining = self.draining.clone();
        // An error means that the sender is gone, and the server with it.
        let _ = draining.wait_for(|draining| *draining).await;
    }

    /// Waits until the server drains and what was on its way then has had the time to arrive.
    pub(crate) async fn stopped_waiting(&self) {
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
        // Each half of a block counts up from its block's number, so that the ids within a half differ.
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
        // More than a block has at once.
        draw(&mut [0; BLOCK + 1]);
        assert_eq!(blocks.load(Ordering::Relaxed), 3);
    }
}
