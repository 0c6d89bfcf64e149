//! Random numbers from a seed, and the real functions that drawing from them takes.
//!
//! The generator is `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number
//! generators", 2014): a state of 64 bits grows by 0x9e3779b97f4a7c15, and each number is the state
//! mixed by `z ^= z >> 30; z *= 0xbf58476d1ce4e5b9; z ^= z >> 27; z *= 0x94d049bb133111eb;
//! z ^= z >> 31`. It is no source of secrets.

/// A stream of numbers.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The stream of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next one, all 64 bits alike.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`: the high half of the next one's product with it. 0 where the bound is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.next()) * u128::from(bound);
        // The high half has 64 bits.
        u64::try_from(product >> 64).unwrap_or(u64::MAX)
    }

    /// From 0 to 1, exclusively, in steps of 2 to the -53.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    pub(crate) fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / FRACTIONS
    }

    /// True with this probability.
    pub(crate) fn is(&mut self, probability: f64) -> bool {
        self.fraction() < probability
    }
}

/// 2 to the 53.
const FRACTIONS: f64 = 9_007_199_254_740_992.0;

/// `base` to the power of `exponent`, for bases above 0 and up to 1, and exponents from 0 on.
pub(crate) fn power(base: f64, exponent: f64) -> f64 {
    exp_of_negative(exponent * ln(base))
}

/// The natural logarithm of a positive, normal number.
///
/// It is taken apart into a power of two and a mantissa `m` near 1, whose logarithm is
/// `2 artanh((m - 1) / (m + 1))`.
fn ln(number: f64) -> f64 {
    const MANTISSA_BITS: u32 = 52;
    let bits = number.to_bits();
    // Eleven bits of exponent.
    let mut exponent = i32::try_from(bits >> MANTISSA_BITS).unwrap_or(0) - 1023;
    let mantissa_bits = bits & ((1 << MANTISSA_BITS) - 1);
    let mut mantissa = f64::from_bits(mantissa_bits | (1023 << MANTISSA_BITS));
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa /= 2.0;
        exponent += 1;
    }
    let z = (mantissa - 1.0) / (mantissa + 1.0);
    let square = z * z;
    let mut sum = 0.0;
    for divisor in (1..=25).rev().step_by(2) {
        sum = sum * square + 1.0 / f64::from(divisor);
    }
    f64::from(exponent) * std::f64::consts::LN_2 + 2.0 * z * sum
}

/// e to the power of a number that is not positive; 0 where that is no normal number.
fn exp_of_negative(number: f64) -> f64 {
    if number < -700.0 {
        return 0.0;
    }
    let halvings = (-number / std::f64::consts::LN_2).floor();
    let rest = number + halvings * std::f64::consts::LN_2;
    let mut sum = 1.0;
    for divisor in (1..=18).rev() {
        sum = 1.0 + sum * rest / f64::from(divisor);
    }
    let mut halvings_left = halvings;
    while halvings_left >= 1.0 {
        sum /= 2.0;
        halvings_left -= 1.0;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::{Random, power};

    /// The numbers of the seed 1234567 that descriptions of the generator give.
    #[test]
    fn the_numbers_are_those_of_splitmix64() {
        let mut random = Random::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| random.next()).collect();
        assert_eq!(
            first,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn a_bound_is_not_reached() {
        let mut random = Random::new(1);
        assert!((0..1000).all(|_| random.below(3) < 3));
        assert_eq!((random.below(1), random.below(0)), (0, 0));
        let mut seen = [false; 3];
        (0..100).for_each(|_| seen[usize::try_from(random.below(3)).unwrap()] = true);
        assert_eq!(seen, [true; 3]);
        assert!((0..1000).all(|_| (0.0..1.0).contains(&random.fraction())));
        assert!(!random.is(0.0) && random.is(1.0));
    }

    #[test]
    fn a_power_is_that_of_the_machine_but_for_the_last_bits() {
        for base in [1.0, 0.999, 0.75, 0.7072, 0.5, 0.1, 1e-9, 1e-200] {
            for exponent in [0.0, 0.5, 1.0, 1.1, 2.0, 7.25] {
                let (ours, theirs) = (power(base, exponent), f64::powf(base, exponent));
                let difference = (ours - theirs).abs();
                assert!(difference <= 1e-12 * theirs, "{base}^{exponent}: {ours}, {theirs}");
            }
        }
    }
}
