//! What was fetched from other workers, in numbers.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// The bounds by which fetches are counted, in seconds.
pub const FETCH_SECS: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// Fetches since the process's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fetched {
    /// Bytes received.
    pub bytes: u64,
    /// How long fetches that came to their end took, all together.
    pub seconds: f64,
    /// How many took at most each of [`FETCH_SECS`] and more than the one before; last, longer.
    pub counts: [u64; FETCH_SECS.len() + 1],
    /// Streams that could not be had or broke off.
    pub lost: u64,
    /// Messages whose bytes were wrong.
    pub corrupt: u64,
}

impl Fetched {
    /// What came since `before` was told; all of it where the process has started anew.
    #[must_use]
    pub fn since(mut self, before: &Self) -> Self {
        let has_restarted = self.bytes < before.bytes
            || self.counts.iter().zip(&before.counts).any(|(now, then)| now < then);
        if has_restarted {
            return self;
        }
        self.bytes -= before.bytes;
        self.seconds = (self.seconds - before.seconds).max(0.0);
        self.counts.iter_mut().zip(&before.counts).for_each(|(now, then)| *now -= then);
        self.lost = self.lost.saturating_sub(before.lost);
        self.corrupt = self.corrupt.saturating_sub(before.corrupt);
        self
    }

    /// Adds these.
    pub fn add(&mut self, more: &Self) {
        self.bytes += more.bytes;
        self.seconds += more.seconds;
        self.counts.iter_mut().zip(&more.counts).for_each(|(sum, more)| *sum += more);
        self.lost += more.lost;
        self.corrupt += more.corrupt;
    }
}

/// Counts fetches.
#[derive(Debug, Default)]
pub struct Traffic(Mutex<Fetched>);

impl Traffic {
    /// The counts so far.
    pub fn fetched(&self) -> Fetched {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, change: impl FnOnce(&mut Fetched)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// A message has come.
    pub(crate) fn received(&self, bytes: u64) {
        self.count(|fetched| fetched.bytes += bytes);
    }

    /// A stream has come to its end.
    pub(crate) fn ended(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let place = FETCH_SECS.iter().position(|bound| seconds <= *bound);
        self.count(|fetched| {
            fetched.seconds += seconds;
            fetched.counts[place.unwrap_or(FETCH_SECS.len())] += 1;
        });
    }

    /// A stream could not be had, or broke off.
    pub(crate) fn lost(&self) {
        self.count(|fetched| fetched.lost += 1);
    }

    /// A message's bytes were wrong.
    pub(crate) fn corrupt(&self) {
        self.count(|fetched| fetched.corrupt += 1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Fetched, Traffic};

    #[test]
    fn fetches_are_counted_by_how_long_they_took() {
        let traffic = Traffic::default();
        for ms in [1, 2, 60_000] {
            traffic.ended(Duration::from_millis(ms));
        }
        traffic.received(10);
        let fetched = traffic.fetched();
        assert_eq!(fetched.counts, [1, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(fetched.bytes, 10);
        assert!((fetched.seconds - 60.003).abs() < 1e-9);
    }

    #[test]
    fn what_came_since_is_added_once_and_a_restart_begins_at_nothing() {
        let told = |bytes, first| {
            let mut counts = [0; 10];
            counts[0] = first;
            Fetched { bytes, counts, ..Fetched::default() }
        };
        let mut sum = Fetched::default();
        let mut before = Fetched::default();
        for now in [told(5, 1), told(5, 1), told(9, 2), told(3, 1)] {
            sum.add(&now.since(&before));
            before = now;
        }
        assert_eq!((sum.bytes, sum.counts[0]), (12, 3));
    }
}
