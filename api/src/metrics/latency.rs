//! Quantiles of durations in bounded memory: counts in buckets that grow by an eighth of their size.
//!
//! What it tells lies less than an eighth above the true value, whatever the number of durations.

use std::time::Duration;

/// Buckets for each doubling.
const STEPS: u64 = 8;
/// 8 buckets of 1 ms, then 8 for each doubling up to about 12 days.
const BUCKETS: usize = 8 * 28;

/// Durations seen so far.
#[derive(Clone, Debug)]
pub(crate) struct Latency {
    counts: Box<[u64; BUCKETS]>,
    count: u64,
    total: Duration,
}

impl Default for Latency {
    fn default() -> Self {
        Self { counts: Box::new([0; BUCKETS]), count: 0, total: Duration::ZERO }
    }
}

impl Latency {
    /// Counts one more.
    pub(crate) fn record(&mut self, duration: Duration) {
        self.counts[bucket(duration)] += 1;
        self.count += 1;
        self.total = self.total.saturating_add(duration);
    }

    /// How many were counted.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Their mean in seconds; 0 of none.
    pub(crate) fn mean_secs(&self) -> f64 {
        let count = u32::try_from(self.count).unwrap_or(u32::MAX);
        if count == 0 { 0.0 } else { self.total.as_secs_f64() / f64::from(count) }
    }

    /// The duration, in seconds, that `percent` of them do not exceed; 0 of none.
    pub(crate) fn quantile_secs(&self, percent: u64) -> f64 {
        let wanted = (self.count * percent).div_ceil(100);
        let mut seen = 0;
        for (index, count) in (0..).zip(self.counts.iter()) {
            seen += count;
            if *count > 0 && seen >= wanted {
                return Duration::from_millis(upper_ms(index)).as_secs_f64();
            }
        }
        0.0
    }
}

/// The bucket that a duration is counted in.
fn bucket(duration: Duration) -> usize {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let index = if ms < STEPS {
        ms
    } else {
        // 8..16 ms in steps of 1, 16..32 in steps of 2, and so on.
        let doublings = u64::from(ms.ilog2()) - 3;
        STEPS * (doublings + 1) + (ms >> doublings) - STEPS
    };
    usize::try_from(index).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

/// The longest duration of a bucket, in milliseconds.
fn upper_ms(index: u64) -> u64 {
    if index < STEPS {
        return index;
    }
    let doublings = index / STEPS - 1;
    ((index % STEPS + STEPS + 1) << doublings) - 1
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{BUCKETS, Latency, bucket, upper_ms};

    #[test]
    fn a_bucket_holds_its_upper_end_and_not_the_next_millisecond() {
        for index in 0..BUCKETS - 1 {
            let upper = upper_ms(index as u64);
            assert_eq!(bucket(Duration::from_millis(upper)), index);
            assert_eq!(bucket(Duration::from_millis(upper + 1)), index + 1);
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_right_to_an_eighth() {
        let mut latency = Latency::default();
        assert_eq!((latency.quantile_secs(50), latency.mean_secs()), (0.0, 0.0));
        for ms in 1..=1_000 {
            latency.record(Duration::from_millis(ms));
        }
        assert_eq!(latency.count(), 1_000);
        assert!((latency.mean_secs() - 0.5005).abs() < 1e-9);
        for (percent, exact) in [(50, 0.5), (95, 0.95), (99, 0.99)] {
            let told = latency.quantile_secs(percent);
            assert!(told >= exact && told < exact * 1.125, "{percent}: {told}");
        }
    }
}
