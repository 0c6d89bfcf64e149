//! How often something may happen: a bucket a key, as one point in time each (GCRA).
//!
//! Time is an argument, and the number of keys has a bound: beyond it all further keys share one
//! bucket, so that many addresses get no more than one.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use minispark_engine::schedule::Now;

/// The most keys that have a bucket of their own.
const MOST_KEYS: usize = 4_096;

/// So many a second, and so many at once after a while of none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// In the long run.
    pub(crate) per_second: u32,
    /// At once.
    pub(crate) burst: u32,
}

/// Counts by key.
#[derive(Debug)]
pub(crate) struct Meter<K> {
    rate: Rate,
    buckets: Mutex<Buckets<K>>,
}

/// When each bucket will be full again.
#[derive(Debug)]
struct Buckets<K> {
    own: HashMap<K, Now>,
    shared: Now,
}

impl<K: Eq + Hash> Meter<K> {
    /// One whose buckets are full.
    pub(crate) fn new(rate: Rate) -> Self {
        let buckets = Buckets { own: HashMap::new(), shared: Duration::ZERO };
        Self { rate, buckets: Mutex::new(buckets) }
    }

    /// Takes one from the bucket of `key`; `false` where it is empty.
    pub(crate) fn allow(&self, key: K, now: Now) -> bool {
        let step = Duration::from_secs(1) / self.rate.per_second.max(1);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let Buckets { own, shared } = &mut *buckets;
        if own.len() >= MOST_KEYS {
            // A bucket that is full again is as good as none.
            own.retain(|_, full| *full > now);
        }
        let full = if own.len() < MOST_KEYS || own.contains_key(&key) {
            own.entry(key).or_insert(now)
        } else {
            shared
        };
        let then = (*full).max(now) + step;
        if then.saturating_sub(now) > step * self.rate.burst {
            return false;
        }
        *full = then;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{MOST_KEYS, Meter, Rate};

    fn taken(meter: &Meter<usize>, key: usize, tries: usize, now_ms: u64) -> usize {
        let now = Duration::from_millis(now_ms);
        (0..tries).filter(|_| meter.allow(key, now)).count()
    }

    #[test]
    fn a_burst_is_followed_by_the_rate_and_keys_do_not_meet() {
        let meter = Meter::new(Rate { per_second: 50, burst: 100 });
        assert_eq!(taken(&meter, 1, 300, 0), 100);
        assert_eq!(taken(&meter, 1, 300, 19), 0);
        assert_eq!(taken(&meter, 1, 300, 20), 1);
        assert_eq!(taken(&meter, 1, 300, 1_020), 50);
        assert_eq!(taken(&meter, 2, 300, 1_020), 100);
        assert_eq!(taken(&meter, 1, 300, 60_000), 100, "no more than a burst is saved up");
    }

    #[test]
    fn keys_beyond_the_bound_share_one_bucket() {
        let meter = Meter::new(Rate { per_second: 1, burst: 2 });
        for key in 0..MOST_KEYS {
            assert_eq!(taken(&meter, key, 1, 0), 1);
        }
        assert_eq!(taken(&meter, MOST_KEYS, 1, 0), 1);
        assert_eq!(taken(&meter, MOST_KEYS + 1, 9, 0), 1);
        assert_eq!(taken(&meter, MOST_KEYS + 2, 9, 0), 0);
        assert_eq!(taken(&meter, 7, 9, 0), 1, "the others keep their own");
        assert_eq!(taken(&meter, MOST_KEYS + 2, 9, 5_000), 2, "full buckets make room");
    }
}
