//! Reproducible float sums: the same bits whatever the order and the grouping of the additions.
//!
//! # How
//! The range of `f64` is cut into bins of 26 bits. A value's 53-bit mantissa, shifted to the bins'
//! grid, is cut without error into three slices, one a bin. A [`FloatSum`] keeps the sums of the
//! slices of four neighbouring bins, its *window*, as integers; the window's place is given by the
//! greatest value so far, and moves up when a greater one comes. Then the lowest bins are dropped,
//! and slices that later values have there are dropped too.
//!
//! # Why the order does not matter
//! Bins never carry into each other while values are added, so each is the plain integer sum of
//! the slices that fell into it. At the end the window lies under the greatest value of all, which
//! no order changes; a bin of it was inside every earlier window that could have received a slice
//! (windows only move up, and a slice above the window moves it first), so no slice of the final
//! window was ever dropped. What is left is, bit for bit, the sum of "each value, cut off below the
//! final window". Merging two states is the same argument over their windows. The one rounding, to
//! nearest even, is in [`FloatSum::value`].
//!
//! # How good
//! The greatest value has its first bit in the top bin, so 78 to 104 bits below it are kept, and
//! `n` values lose less than `n × 2⁻⁷⁸ × max |x|` together, before the one rounding: better than
//! any order of plain additions, and exact where all values lie within 2²⁵ of each other.
//! A bin holds the slices of 2³⁷ values; [`FloatSum::merge`] reports where that was not enough.
//!
//! Source: J. Demmel and H. D. Nguyen, "Parallel Reproducible Summation", IEEE Transactions on
//! Computers 64 (2015); their bins hold floats and carry, these hold integers and don't.

use crate::kernels::prefetch::{is_far, prefetch};

/// Bits of a bin.
const WIDTH: u32 = 26;
/// Bins of a window.
const BINS: usize = 4;
/// The exponent of the least bit of any `f64`.
const LEAST_EXPONENT: i32 = -1074;
/// `place` of a state without finite values.
const NOWHERE: i16 = -1;
/// The greatest `place`: of values of the greatest exponent.
const GREATEST_PLACE: i16 = 78;

const NAN: u16 = 1;
const INFINITE: u16 = 2;
const NEGATIVE_INFINITE: u16 = 4;

/// The state of a sum of `f64`s, to be added to and merged in any order.
///
/// - Shape: bin `j` counts units of `2^(26 × (place - 1 + j) - 1074)`.
/// - Memory: 40 bytes, one cache line or two; groups keep them in one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloatSum {
    bins: [i64; BINS],
    /// The least bin that the greatest value has a slice in: the window's second.
    place: i16,
    /// What was seen beside finite values.
    flags: u16,
}

impl Default for FloatSum {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl FloatSum {
    /// The sum of no values.
    pub const EMPTY: Self = Self { bins: [0; BINS], place: NOWHERE, flags: 0 };

    /// The bytes of [`Self::to_bytes`].
    pub const BYTES: usize = 40;

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.place == NOWHERE && self.flags == 0
    }

    /// Adds one value.
    #[inline]
    pub fn add(&mut self, value: f64) {
        self.add_slices(&Slices::of(value));
    }

    #[inline]
    fn add_slices(&mut self, slices: &Slices) {
        if slices.place == self.place {
            self.bins[1] = self.bins[1].wrapping_add(slices.low);
            self.bins[2] = self.bins[2].wrapping_add(slices.middle);
            self.bins[3] = self.bins[3].wrapping_add(slices.high);
        } else {
            self.add_elsewhere(slices);
        }
    }

    /// Adds a value that is not of the window's own place.
    fn add_elsewhere(&mut self, slices: &Slices) {
        let Slices { low, middle, high, place } = *slices;
        if place == SPECIAL {
            self.flags |= Slices::flags(low);
            return;
        }
        if place > self.place {
            self.move_to(place);
            self.bins[1] = self.bins[1].wrapping_add(low);
            self.bins[2] = self.bins[2].wrapping_add(middle);
            self.bins[3] = self.bins[3].wrapping_add(high);
            return;
        }
        match self.place - place {
            1 => {
                self.bins[0] = self.bins[0].wrapping_add(low);
                self.bins[1] = self.bins[1].wrapping_add(middle);
                self.bins[2] = self.bins[2].wrapping_add(high);
            }
            2 => {
                self.bins[0] = self.bins[0].wrapping_add(middle);
                self.bins[1] = self.bins[1].wrapping_add(high);
            }
            3 => self.bins[0] = self.bins[0].wrapping_add(high),
            _ => {}
        }
    }

    /// Adds all that another state has seen; `false` means that a bin has overflowed, which takes
    /// more than 2³⁷ values, and that the state is of no use any more.
    #[must_use]
    pub fn merge(&mut self, other: &Self) -> bool {
        self.flags |= other.flags;
        if other.place > self.place {
            self.move_to(other.place);
        }
        let mut other = *other;
        other.move_to(self.place);
        let mut fits = true;
        for (bin, more) in self.bins.iter_mut().zip(other.bins) {
            let (sum, overflow) = bin.overflowing_add(more);
            *bin = sum;
            fits &= !overflow;
        }
        fits
    }

    /// The sum, rounded once, to nearest even; `None` where nothing was added.
    ///
    /// As IEEE 754 has it: a NaN, or infinities of both signs, give NaN; otherwise an infinity stays;
    /// a sum beyond the greatest float is infinite (though never in between). Zero is +0.0.
    pub fn value(&self) -> Option<f64> {
        const BOTH: u16 = INFINITE | NEGATIVE_INFINITE;
        if self.is_empty() {
            return None;
        }
        Some(if self.flags & NAN != 0 || self.flags & BOTH == BOTH {
            f64::NAN
        } else if self.flags & INFINITE != 0 {
            f64::INFINITY
        } else if self.flags & NEGATIVE_INFINITE != 0 {
            f64::NEG_INFINITY
        } else {
            self.finite_value()
        })
    }

    /// The sum as two floats, `high + low`, of which the first is [`Self::value`]: about 104 bits of
    /// it, for sums that are going to cancel each other. Zero over nothing.
    pub fn parts(&self) -> (f64, f64) {
        let high = self.value().unwrap_or(0.0);
        if !high.is_finite() {
            return (high, 0.0);
        }
        let mut rest = *self;
        rest.add(-high);
        (high, rest.value().unwrap_or(0.0))
    }

    /// The state as it travels, little endian: bins, place, flags, four zeros.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        for (bin, chunk) in self.bins.iter().zip(bytes.chunks_exact_mut(8)) {
            chunk.copy_from_slice(&bin.to_le_bytes());
        }
        bytes[32..34].copy_from_slice(&self.place.to_le_bytes());
        bytes[34..36].copy_from_slice(&self.flags.to_le_bytes());
        bytes
    }

    /// The state of [`Self::to_bytes`]; `None` for bytes that are none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        let mut bins = [0; BINS];
        for (bin, chunk) in bins.iter_mut().zip(bytes.chunks_exact(8)) {
            *bin = i64::from_le_bytes(chunk.try_into().ok()?);
        }
        let place = i16::from_le_bytes([bytes[32], bytes[33]]);
        let flags = u16::from_le_bytes([bytes[34], bytes[35]]);
        let is_state = (NOWHERE..=GREATEST_PLACE).contains(&place)
            && flags <= (NAN | INFINITE | NEGATIVE_INFINITE);
        is_state.then_some(Self { bins, place, flags })
    }

    /// Moves the window up, dropping what falls out below.
    #[cold]
    fn move_to(&mut self, place: i16) {
        let by = usize::try_from(place - self.place).unwrap_or(0);
        for bin in 0..BINS {
            self.bins[bin] = self.bins.get(bin + by).copied().unwrap_or(0);
        }
        self.place = place;
    }

    /// The value of the bins, rounded.
    fn finite_value(&self) -> f64 {
        let [lowest, low, middle, high] = self.bins.map(i128::from);
        let exponent = WIDTH.cast_signed() * (i32::from(self.place) - 1) + LEAST_EXPONENT;
        // At most 2¹¹⁶; with the lowest bin's own bits it may be beyond 128 bits.
        let upper = (high << (2 * WIDTH)) + (middle << WIDTH) + low + (lowest >> WIDTH);
        let rest = lowest & ((1 << WIDTH) - 1);
        if upper.unsigned_abs() < 1 << 100 {
            round((upper << WIDTH) | rest, exponent)
        } else {
            // Far more than 53 bits are left; all that the rest can do is to break a tie.
            let sticky = i128::from(rest != 0);
            round((upper << 1) | sticky, exponent + WIDTH.cast_signed() - 1)
        }
    }
}

/// Adds each value to the sum of its group: that of group `g` is number `g × stride + offset`.
///
/// Values are cut into slices some at a time first, and meanwhile the sums are asked for.
///
/// # Panics
/// Where a group has no such sum; callers know their groups.
pub(crate) fn add_each(
    sums: &mut [FloatSum],
    (stride, offset): (usize, usize),
    groups: &[u32],
    values: &[f64],
) {
    let mut slices = [Slices::NONE; CHUNK];
    for (group_chunk, value_chunk) in groups.chunks(CHUNK).zip(values.chunks(CHUNK)) {
        if is_far(sums) {
            for group in group_chunk {
                prefetch(sums, *group as usize * stride + offset);
            }
        }
        for (cut, value) in slices.iter_mut().zip(value_chunk) {
            *cut = Slices::of(*value);
        }
        for (group, cut) in group_chunk.iter().zip(&slices) {
            sums[*group as usize * stride + offset].add_slices(cut);
        }
    }
}

/// Values that are cut before they are added.
const CHUNK: usize = 128;

/// The [`Slices::place`] of what is not finite; its bits stand in `low`.
const SPECIAL: i16 = i16::MAX;

/// A value cut at the bins' edges.
#[derive(Clone, Copy)]
struct Slices {
    low: i64,
    middle: i64,
    high: i64,
    /// The least bin that it has a slice in.
    place: i16,
}

impl Slices {
    const NONE: Self = Self { low: 0, middle: 0, high: 0, place: 0 };

    #[inline]
    fn of(value: f64) -> Self {
        let bits = value.to_bits();
        let exponent = (bits >> 52) & 0x7ff;
        if exponent == 0x7ff {
            return Self { low: bits.cast_signed(), place: SPECIAL, ..Self::NONE };
        }
        // A subnormal has the exponent of the least normal number and no hidden bit.
        let is_normal = u64::from(exponent != 0);
        let mantissa = (bits & ((1 << 52) - 1)) | (is_normal << 52);
        #[expect(clippy::cast_possible_truncation, reason = "below 2046")]
        let position = (exponent - is_normal) as u32;
        let shift = position % WIDTH;
        #[expect(clippy::cast_possible_truncation, reason = "at most 78")]
        let place = (position / WIDTH) as i16;
        let mask = (1 << WIDTH) - 1;
        let sign = bits.cast_signed() >> 63;
        let signed = |slice: u64| (slice.cast_signed() ^ sign) - sign;
        Self {
            low: signed((mantissa << shift) & mask),
            middle: signed((mantissa >> (WIDTH - shift)) & mask),
            high: signed(mantissa >> (2 * WIDTH - shift)),
            place,
        }
    }

    /// What the bits of a value that is not finite leave in a state.
    fn flags(bits: i64) -> u16 {
        let value = f64::from_bits(bits.cast_unsigned());
        if value.is_nan() {
            NAN
        } else if value > 0.0 {
            INFINITE
        } else {
            NEGATIVE_INFINITE
        }
    }
}

/// `value × 2^exponent` as the nearest float, ties to even.
fn round(value: i128, exponent: i32) -> f64 {
    let magnitude = value.unsigned_abs();
    let bits = 128 - magnitude.leading_zeros().cast_signed();
    let shift = (bits - 53).max(LEAST_EXPONENT - exponent);
    let kept = if shift <= 0 {
        magnitude
    } else {
        let kept = magnitude >> shift;
        let rest = magnitude & ((1 << shift) - 1);
        let half = 1 << (shift - 1);
        kept + u128::from(rest > half || (rest == half && kept & 1 == 1))
    };
    #[expect(clippy::cast_precision_loss, reason = "at most 2⁵³, hence exact")]
    let rounded = kept as f64 * power_of_two(exponent + shift.max(0));
    if value < 0 { -rounded } else { rounded }
}

/// 2^exponent, for exponents from the least one on.
fn power_of_two(exponent: i32) -> f64 {
    match exponent {
        ..=-1023 => f64::from_bits(1 << (exponent - LEAST_EXPONENT)),
        -1022..=1023 => f64::from_bits(u64::from((exponent + 1023).cast_unsigned()) << 52),
        1024.. => f64::INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::FloatSum;

    fn sum(values: &[f64]) -> FloatSum {
        let mut sum = FloatSum::EMPTY;
        for value in values {
            sum.add(*value);
        }
        sum
    }

    fn bits(sum: &FloatSum) -> Option<u64> {
        sum.value().map(f64::to_bits)
    }

    /// The exact sum in units of 2^-1074, as a big integer of 32-bit digits in 64-bit cells.
    #[derive(Clone)]
    struct Exact(Vec<i64>);

    impl Exact {
        fn of(values: &[f64]) -> Self {
            let mut cells = vec![0i64; 70];
            for value in values {
                let bits = value.to_bits();
                let exponent = (bits >> 52) & 0x7ff;
                let mantissa = bits & ((1 << 52) - 1) | if exponent > 0 { 1 << 52 } else { 0 };
                let position = exponent.max(1) - 1;
                let wide = u128::from(mantissa) << (position % 32);
                let at = usize::try_from(position / 32).unwrap();
                for digit in 0..3 {
                    let part = i64::try_from((wide >> (32 * digit)) & 0xffff_ffff).unwrap();
                    cells[at + digit] += if value.is_sign_negative() { -part } else { part };
                }
            }
            Self::carry(&mut cells);
            Self(cells)
        }

        /// The distance to a float, itself as a float that is right to a few bits.
        fn error(&self, value: f64) -> f64 {
            let mut cells = self.0.clone();
            for (cell, other) in cells.iter_mut().zip(Self::of(&[value]).0) {
                *cell -= other;
            }
            Self::carry(&mut cells);
            if cells[69] < 0 {
                for cell in &mut cells {
                    *cell = -*cell;
                }
                Self::carry(&mut cells);
            }
            #[expect(clippy::cast_precision_loss, reason = "a few bits are enough")]
            let sum = cells.iter().enumerate().fold(0.0, |sum, (at, cell)| {
                let exponent = 32 * i32::try_from(at).unwrap() - 1074;
                // In two steps, since 2^-1074 alone is fine but 2^1100 is not.
                sum + *cell as f64 * 2f64.powi(exponent / 2) * 2f64.powi(exponent - exponent / 2)
            });
            sum
        }

        fn carry(cells: &mut [i64]) {
            for at in 0..cells.len() - 1 {
                let carry = cells[at] >> 32;
                cells[at] -= carry << 32;
                cells[at + 1] += carry;
            }
        }
    }

    #[test]
    fn small_sums_are_what_one_expects() {
        assert_eq!(sum(&[]).value(), None);
        assert_eq!(sum(&[0.1]).value(), Some(0.1));
        assert_eq!(sum(&[1.5, 2.25, -0.75]).value(), Some(3.0));
        assert_eq!(sum(&[-1.0, -2.0]).value(), Some(-3.0));
        assert_eq!(sum(&[1e16, 1.0, -1e16]).value(), Some(1.0));
        assert_eq!(bits(&sum(&[-0.0, -0.0])), Some(0));
        assert_eq!(bits(&sum(&[5.0, -5.0])), Some(0));
        // Ten times 0.1, correctly rounded; plain addition gives 0.999…89.
        assert_eq!(sum(&[0.1; 10]).value(), Some(1.0));
    }

    #[test]
    fn parts_hold_what_one_float_cannot() {
        assert_eq!(sum(&[]).parts(), (0.0, 0.0));
        assert_eq!(sum(&[1e16, 1.0]).parts(), (1e16, 1.0));
        let least = 2f64.powi(-70);
        assert_eq!(sum(&[1.0, least, -1e-3, 1e-3]).parts(), (1.0, least));
        assert_eq!(sum(&[f64::INFINITY]).parts(), (f64::INFINITY, 0.0));
    }

    #[test]
    fn infinities_and_nans_do_as_ieee_has_it() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        assert_eq!(sum(&[1.0, inf]).value(), Some(inf));
        assert_eq!(sum(&[-inf, 1e308]).value(), Some(-inf));
        assert!(sum(&[inf, -inf]).value().unwrap().is_nan());
        assert!(sum(&[nan, inf]).value().unwrap().is_nan());
        assert!(sum(&[-nan]).value().unwrap().is_nan());
        assert_eq!(sum(&[f64::MAX, f64::MAX]).value(), Some(inf));
        assert_eq!(sum(&[-f64::MAX, -f64::MAX]).value(), Some(-inf));
        // No overflow on the way.
        assert_eq!(sum(&[f64::MAX, f64::MAX, -f64::MAX]).value(), Some(f64::MAX));
    }

    #[test]
    fn ties_round_to_even_and_the_edges_of_the_range_hold() {
        let ulp = 2f64.powi(-52);
        assert_eq!(sum(&[1.0, ulp / 2.0]).value(), Some(1.0));
        assert_eq!(sum(&[1.0 + ulp, ulp / 2.0]).value(), Some(1.0 + 2.0 * ulp));
        assert_eq!(sum(&[1.0, ulp / 2.0, 2f64.powi(-76)]).value(), Some(1.0 + ulp));
        let least = f64::from_bits(1);
        assert_eq!(sum(&[least, least, least]).value(), Some(f64::from_bits(3)));
        assert_eq!(sum(&[f64::MIN_POSITIVE, -least]).value(), Some(f64::from_bits((1 << 52) - 1)));
        // Half an ulp of the greatest float is the least that rounds to infinity.
        let half_ulp = 2f64.powi(970);
        assert_eq!(sum(&[f64::MAX, half_ulp]).value(), Some(f64::INFINITY));
        assert_eq!(sum(&[f64::MAX, half_ulp, -2f64.powi(940)]).value(), Some(f64::MAX));
    }

    #[test]
    fn sums_of_very_many_values_stay_right() {
        // 2³⁰ times the greatest mantissa, by doubling the state.
        let value = f64::from_bits((1023 << 52) | ((1 << 52) - 1));
        let mut state = sum(&[value]);
        for _ in 0..30 {
            let twin = state;
            assert!(state.merge(&twin));
        }
        assert_eq!(state.value(), Some(value * 2f64.powi(30)));
        let mut fits = true;
        for _ in 0..10 {
            let twin = state;
            fits &= state.merge(&twin);
        }
        assert!(!fits, "2⁴⁰ values are more than the bins hold");
    }

    #[test]
    fn bytes_that_are_no_state_are_refused() {
        let state = sum(&[1.0, 3e-300, f64::NAN]);
        assert_eq!(FloatSum::from_bytes(&state.to_bytes()), Some(state));
        assert_eq!(FloatSum::from_bytes(&[0; 39]), None);
        let mut bytes = state.to_bytes();
        bytes[32] = 79;
        assert_eq!(FloatSum::from_bytes(&bytes), None);
    }

    /// Floats of all sizes, with some sizes often met together.
    fn floats() -> impl Strategy<Value = f64> {
        prop_oneof![
            4 => -1e6..1e6f64,
            2 => (any::<i32>(), -60..60i32).prop_map(|(m, e)| f64::from(m) * 2f64.powi(e)),
            2 => any::<f64>().prop_filter("finite", |value| value.is_finite()),
            1 => (0..100u64).prop_map(f64::from_bits),
            1 => Just(f64::MAX),
            1 => Just(-f64::MAX),
            1 => Just(-0.0),
        ]
    }

    proptest! {
        #[test]
        fn neither_order_nor_grouping_changes_a_bit(
            (values, shuffled) in prop::collection::vec(
                prop_oneof![30 => floats(), 1 => Just(f64::INFINITY), 1 => Just(f64::NAN)], 0..60
            ).prop_flat_map(|values| (Just(values.clone()), Just(values).prop_shuffle())),
            cuts in prop::collection::vec(0usize..60, 0..6),
            seed in any::<u64>(),
        ) {
            let expected = sum(&values);
            prop_assert_eq!(sum(&shuffled), expected);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(values.len())).collect();
            cuts.extend([0, values.len()]);
            cuts.sort_unstable();
            let mut parts: Vec<FloatSum> =
                cuts.windows(2).map(|ends| sum(&shuffled[ends[0]..ends[1]])).collect();
            let mut random = seed;
            let mut pick = |bound: usize| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                usize::try_from((random >> 33) % u64::try_from(bound).unwrap()).unwrap()
            };
            while parts.len() > 1 {
                let from = pick(parts.len());
                let part = parts.swap_remove(from);
                let into = pick(parts.len());
                prop_assert!(parts[into].merge(&part));
            }
            prop_assert_eq!(parts[0], expected);
            // Many values at once, the others' sums beside it.
            let mut sums = [FloatSum::EMPTY; 6];
            let groups: Vec<u32> = (0..).take(shuffled.len()).map(|row: u32| row % 2).collect();
            super::add_each(&mut sums, (3, 1), &groups, &shuffled);
            let [_, mut first, _, _, second, _] = sums;
            prop_assert!(first.merge(&second));
            prop_assert_eq!(first, expected);
            prop_assert_eq!(FloatSum::from_bytes(&expected.to_bytes()), Some(expected));
        }

        #[test]
        fn the_error_is_within_the_bound(values in prop::collection::vec(floats(), 1..60)) {
            let value = sum(&values).value().unwrap();
            prop_assume!(value.is_finite());
            let greatest = values.iter().fold(0f64, |most, each| most.max(each.abs()));
            let count = f64::from(u32::try_from(values.len()).unwrap());
            // Half an ulp from the rounding, with a little for the model's own.
            let next = f64::from_bits(value.abs().to_bits() + 1).min(f64::MAX);
            let ulp = (next - value.abs()).max(value.abs() * 2f64.powi(-53));
            let bound = ulp * 0.500_001 + count * greatest * 2f64.powi(-78);
            prop_assert!(Exact::of(&values).error(value) <= bound);
        }
    }
}
