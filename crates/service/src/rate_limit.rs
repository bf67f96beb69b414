//! A rate limit per key on this server: one token bucket for each key, which refills within a minute. The key is an API key or a
//! caller.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use keyproof_store::Timestamp;

use crate::mutex::lock;

const MINUTE_MS: u64 = 60_000;

/// From this number of buckets on, full ones are deleted.
const REMEMBERED: usize = 4096;

pub(crate) struct RateLimit {
    /// Calls a minute; 0 means no limit.
    limit: u64,
    buckets: Mutex<BTreeMap<String, Bucket>>,
}

/// The amount taken from a full bucket. A call takes 60,000 units, and `limit` units return each millisecond.
struct Bucket {
    taken: u64,
    at: Timestamp,
}

impl RateLimit {
    pub(crate) fn per_minute(limit: u32) -> Self {
        Self {
            limit: limit.into(),
            buckets: Mutex::default(),
        }
    }

    /// Takes one call for a key, or returns how long to wait for the next.
    pub(crate) fn take(&self, key: &str, now: Timestamp) -> Result<(), Duration> {
        if self.limit == 0 {
            return Ok(());
        }
        let mut buckets = lock(&self.buckets);
        if buckets.len() >= REMEMBERED {
            buckets.retain(|_, bucket| self.left_taken(bucket, now) > 0);
        }
        let mut taken = 0;
        if let Some(bucket) = buckets.get_mut(key) {
            taken = self.left_taken(bucket, now);
            // Also of a call that is refused: after a clock was set back, the bucket refills from then on.
            *bucket = Bucket { taken, at: now };
        }
        let capacity = self.limit.saturating_mul(MINUTE_MS);
        let with_this = taken.saturating_add(MINUTE_MS);
        if with_this > capacity {
            let wait = with_this.saturating_sub(capacity).div_ceil(self.limit);
            return Err(Duration::from_millis(wait));
        }
        let bucket = Bucket {
            taken: with_this,
            at: now,
        };
        buckets.insert(key.to_owned(), bucket);
        Ok(())
    }

    fn left_taken(&self, bucket: &Bucket, now: Timestamp) -> u64 {
        let elapsed = now.as_millis().saturating_sub(bucket.at.as_millis());
        bucket
            .taken
            .saturating_sub(elapsed.saturating_mul(self.limit))
    }
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn a_bucket_is_emptied_at_once_and_fills_over_a_minute() {
        let limit = RateLimit::per_minute(3);
        let at = Timestamp::from_millis;
        for _ in 0..3 {
            assert_eq!(limit.take("a", at(0)), Ok(()));
        }
        assert_eq!(limit.take("a", at(0)), Err(Duration::from_secs(20)));
        assert_eq!(limit.take("b", at(0)), Ok(()), "each key has its own");
        assert_eq!(limit.take("a", at(19_999)), Err(Duration::from_millis(1)));
        assert_eq!(limit.take("a", at(20_000)), Ok(()));
        assert_eq!(limit.take("a", at(20_000)), Err(Duration::from_secs(20)));
        for _ in 0..3 {
            assert_eq!(limit.take("a", at(80_000)), Ok(()));
        }
        assert!(
            limit.take("a", at(0)).is_err(),
            "a clock set back gives nothing"
        );
        assert_eq!(limit.take("a", at(20_000)), Ok(()), "and takes no longer");
    }

    #[test]
    fn zero_is_no_limit() {
        let limit = RateLimit::per_minute(0);
        assert!((0..10_000).all(|_| limit.take("a", Timestamp::EPOCH).is_ok()));
    }

    #[test]
    fn idle_keys_are_forgotten() {
        let limit = RateLimit::per_minute(60);
        for number in 0..REMEMBERED {
            assert_eq!(limit.take(&number.to_string(), Timestamp::EPOCH), Ok(()));
        }
        assert_eq!(limit.take("new", Timestamp::from_millis(60_000)), Ok(()));
        assert_eq!(limit.buckets.lock().unwrap().len(), 1);
    }
}
