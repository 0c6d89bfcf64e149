//! Ranks by Zipf's law: the k-th of `ranks` is drawn with a probability proportional to k^-s.
//!
//! Ranks are cut into octaves, [2^b, 2^(b+1)). An octave is drawn as if all its ranks were as
//! frequent as its first one, a rank in it as if all were alike, and the rank is kept with the
//! probability (2^b / k)^s, else all is drawn anew. So the law is met exactly, and the memory is
//! that of one number an octave. Source: rejection sampling (von Neumann 1951).

use std::num::NonZeroU64;

use super::random::{Random, power};

/// A source of ranks.
#[derive(Clone, Debug)]
pub(crate) struct Zipf {
    ranks: NonZeroU64,
    exponent: f64,
    /// For each octave the share of it and of all before it.
    octaves: Vec<f64>,
}

impl Zipf {
    /// Ranks from 1 to `ranks`; with an exponent of 0 all are alike.
    #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
    pub(crate) fn new(ranks: NonZeroU64, exponent: f64) -> Self {
        let mut octaves: Vec<f64> = Vec::new();
        let mut total = 0.0;
        for octave in 0..=ranks.ilog2() {
            let (first, count) = range(ranks, octave);
            total += count as f64 * power(1.0 / first as f64, exponent);
            octaves.push(total);
        }
        for share in &mut octaves {
            *share /= total;
        }
        Self { ranks, exponent, octaves }
    }

    /// The next rank, from 1 on.
    #[expect(clippy::cast_precision_loss, reason = "a probability need not be exact")]
    pub(crate) fn draw(&self, random: &mut Random) -> u64 {
        loop {
            let at = random.fraction();
            let octave = self.octaves.iter().take_while(|share| **share <= at).count();
            let last = self.octaves.len() - 1;
            let octave = u32::try_from(octave.min(last)).unwrap_or(0);
            let (first, count) = range(self.ranks, octave);
            let rank = first + random.below(count);
            if rank == first || self.exponent == 0.0 {
                return rank;
            }
            let ratio = first as f64 / rank as f64;
            let is_one = (self.exponent - 1.0).abs() < f64::EPSILON;
            let kept = if is_one { ratio } else { power(ratio, self.exponent) };
            if random.is(kept) {
                return rank;
            }
        }
    }
}

/// The first rank of an octave, and how many there are in it.
fn range(ranks: NonZeroU64, octave: u32) -> (u64, u64) {
    let first = 1 << octave;
    (first, first.min(ranks.get() - first + 1))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::{Random, Zipf};

    /// How often each rank comes up in `draws`.
    fn counts(ranks: u64, exponent: f64, draws: u32) -> Vec<f64> {
        let zipf = Zipf::new(NonZeroU64::new(ranks).unwrap(), exponent);
        let mut random = Random::new(5);
        let mut counts = vec![0.0; usize::try_from(ranks).unwrap()];
        for _ in 0..draws {
            counts[usize::try_from(zipf.draw(&mut random)).unwrap() - 1] += 1.0;
        }
        counts
    }

    /// Compares with the law itself by Pearson's test: the statistic has the mean n - 1 and the
    /// variance 2 (n - 1), and stays below the mean and five deviations.
    #[test]
    fn ranks_follow_the_law() {
        for (ranks, exponent) in [(1, 1.0), (19, 0.0), (19, 1.0), (100, 0.7), (100, 1.5), (21, 3.0)]
        {
            let draws = 200_000;
            let shares: Vec<f64> =
                (1..=ranks).map(|rank: u32| f64::from(rank).powf(-exponent)).collect();
            let total: f64 = shares.iter().sum();
            let found = counts(u64::from(ranks), exponent, draws);
            let statistic: f64 = found
                .iter()
                .zip(shares)
                .map(|(found, share)| {
                    let expected = share / total * f64::from(draws);
                    (found - expected) * (found - expected) / expected
                })
                .sum();
            let freedom = f64::from(ranks - 1);
            let limit = freedom + 5.0 * (2.0 * freedom).sqrt() + 1e-9;
            assert!(statistic <= limit, "{ranks} ranks, exponent {exponent}: {statistic}");
        }
    }

    #[test]
    fn all_of_many_ranks_are_in_reach() {
        let zipf = Zipf::new(NonZeroU64::new(1 << 40).unwrap(), 0.0);
        let mut random = Random::new(1);
        let largest = (0..1000).map(|_| zipf.draw(&mut random)).max().unwrap();
        assert!(largest > (1 << 40) / 10 * 9, "{largest}");
    }
}
