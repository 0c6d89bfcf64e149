//! Variance and what is built like it, from exact sums of powers.
//!
//! Sums of squares cancel when the mean is far from zero: their difference may lie below the last
//! bit of each. So nothing is rounded on the way: a product of two floats is split into itself and
//! its rounding error, which are both floats (an error-free transformation), and each is added up
//! in a [`FloatSum`], which keeps about 104 bits. The differences are then taken in arithmetic of
//! two floats a number. The result is the same whatever the order of the rows, and better than that
//! of the usual running update (Welford's).
//!
//! What is left after the last cancellation may still be noise of 2⁻¹⁰¹ of what went into it, where all
//! values are equal for instance; as much counts as zero.
//!
//! The third and the fourth power cancel more than the second: of skewness and kurtosis about
//! 2⁻¹⁰⁰ × (mean / deviation)³ and ⁴ is lost, where plain floats would lose 2⁻⁵³ times as much.
//!
//! Source: T. J. Dekker, "A floating-point technique for extending the available precision",
//! Numerische Mathematik 18 (1971); the product is split by a fused multiply-add.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, FixedSizeBinaryArray, Float64Array},
    buffer::Buffer,
    datatypes::{DataType, Float64Type},
};

use super::{Accumulator, Coming, Taken, as_type, column, extend, no_state, number::merge_float};
use crate::{
    Error, Result,
    expr::AggregateFunction as F,
    kernels::{
        float_sum::FloatSum,
        growth::{Growth, bytes_of, growth_from},
    },
};

/// Counts and sums of powers, as many sums a group as the function needs.
#[derive(Debug)]
pub(super) struct Moments {
    function: F,
    terms: &'static [Term],
    counts: Vec<i64>,
    /// `terms.len()` sums a group.
    sums: Vec<FloatSum>,
}

/// What is added up. A power is two terms: its float and what that lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Term {
    X,
    Xx,
    XxRest,
    Xxx,
    XxxRest,
    Xxxx,
    XxxxRest,
    Y,
    Yy,
    YyRest,
    Xy,
    XyRest,
}

use Term::{X, Xx, XxRest, Xxx, XxxRest, Xxxx, XxxxRest, Xy, XyRest, Y, Yy, YyRest};

const VARIANCE: &[Term] = &[X, Xx, XxRest];
const THIRD: &[Term] = &[X, Xx, XxRest, Xxx, XxxRest];
const FOURTH: &[Term] = &[X, Xx, XxRest, Xxx, XxxRest, Xxxx, XxxxRest];
const COVARIANCE: &[Term] = &[X, Y, Xy, XyRest];
const PAIR: &[Term] = &[X, Y, Xy, XyRest, Xx, XxRest, Yy, YyRest];

impl Moments {
    pub(super) fn new(function: F) -> Self {
        let terms = match function {
            F::Skewness => THIRD,
            F::Kurtosis => FOURTH,
            F::CovarSamp | F::CovarPop => COVARIANCE,
            F::Corr | F::RegrSlope | F::RegrIntercept | F::RegrR2 => PAIR,
            _ => VARIANCE,
        };
        Self { function, terms, counts: Vec::new(), sums: Vec::new() }
    }

    fn has_pairs(&self) -> bool {
        self.terms.contains(&Y)
    }

    fn state_bytes(&self) -> usize {
        8 + self.terms.len() * FloatSum::BYTES
    }

    /// The value of one term in two floats; a power with what its float lacks.
    fn sum(&self, group: usize, term: Term) -> Double {
        let place = |term| self.terms.iter().position(|known| *known == term);
        let of = |term| {
            let sum = place(term).and_then(|place| {
                self.sums.get(group * self.terms.len() + place).map(FloatSum::parts)
            });
            let (high, low) = sum.unwrap_or((0.0, 0.0));
            Double::sum(high, low)
        };
        match term {
            Xx => of(Xx) + of(XxRest),
            Xxx => of(Xxx) + of(XxxRest),
            Xxxx => of(Xxxx) + of(XxxxRest),
            Yy => of(Yy) + of(YyRest),
            Xy => of(Xy) + of(XyRest),
            single => of(single),
        }
    }

    /// `n Σab - Σa Σb`: n² times the covariance of a and b.
    fn spread(&self, group: usize, product: Term, left: Term, right: Term) -> f64 {
        let n = self.float_count(group);
        let whole = self.sum(group, product).times(n);
        let spread = whole - self.sum(group, left) * self.sum(group, right);
        if product == Xy {
            // Compared with the spreads that it is part of, not with itself: it may cancel for good.
            return spread.settled(
                whole.high.abs().max((self.sum(group, left) * self.sum(group, right)).high.abs()),
            );
        }
        spread.settled(whole.high).max_or_nan(0.0)
    }

    #[expect(clippy::cast_precision_loss, reason = "a count beyond 2⁵³ is out of reach")]
    fn float_count(&self, group: usize) -> f64 {
        self.counts[group] as f64
    }

    fn value(&self, group: usize) -> Option<f64> {
        let n = self.float_count(group);
        let least = match self.function {
            F::StddevPop | F::VarPop | F::CovarPop => 1,
            F::Skewness => 3,
            F::Kurtosis => 4,
            _ => 2,
        };
        if self.counts[group] < least {
            return None;
        }
        let variance = || self.spread(group, Xx, X, X);
        let covariance = || self.spread(group, Xy, X, Y);
        match self.function {
            F::StddevPop => Some((variance() / (n * n)).sqrt()),
            F::VarPop => Some(variance() / (n * n)),
            F::StddevSamp => Some((variance() / (n * (n - 1.0))).sqrt()),
            F::VarSamp => Some(variance() / (n * (n - 1.0))),
            F::CovarPop => Some(covariance() / (n * n)),
            F::CovarSamp => Some(covariance() / (n * (n - 1.0))),
            F::Skewness => self.skewness(group, n, variance()),
            F::Kurtosis => self.kurtosis(group, n, variance()),
            function => self.line(
                function,
                group,
                n,
                [variance(), covariance(), self.spread(group, Yy, Y, Y)],
            ),
        }
    }

    /// Correlation and the line of least squares; `x` is the second argument, as SQL has it.
    fn line(&self, function: F, group: usize, n: f64, spreads: [f64; 3]) -> Option<f64> {
        let [of_y, of_both, of_x] = spreads;
        let slope = (of_x != 0.0).then(|| of_both / of_x);
        let correlation = || {
            let whole = of_x.sqrt() * of_y.sqrt();
            (whole != 0.0).then(|| (of_both / whole).clamp(-1.0, 1.0))
        };
        match function {
            F::RegrSlope => slope,
            F::RegrIntercept => slope.map(|slope| {
                let (sum_y, sum_x) = (self.sum(group, X), self.sum(group, Y));
                ((sum_y - sum_x.times(slope)).high) / n
            }),
            F::RegrR2 if of_x != 0.0 && of_y == 0.0 => Some(1.0),
            F::RegrR2 => correlation().map(|correlation| correlation * correlation),
            _ => correlation(),
        }
    }

    fn skewness(&self, group: usize, n: f64, spread: f64) -> Option<f64> {
        if spread == 0.0 {
            return None;
        }
        let [first, second, third] = [X, Xx, Xxx].map(|term| self.sum(group, term));
        // n³ times the third central moment.
        let cube = third.times(n).times(n) - (second * first).times(3.0).times(n)
            + (first * first * first).times(2.0);
        let skewness = cube.high / (spread * spread.sqrt());
        Some(skewness * (n * (n - 1.0)).sqrt() / (n - 2.0))
    }

    fn kurtosis(&self, group: usize, n: f64, spread: f64) -> Option<f64> {
        if spread == 0.0 {
            return None;
        }
        let [first, second, third, fourth] = [X, Xx, Xxx, Xxxx].map(|term| self.sum(group, term));
        let square = first * first;
        // n⁴ times the fourth central moment.
        let moment = fourth.times(n).times(n).times(n)
            - (third * first).times(4.0).times(n).times(n)
            + (second * square).times(6.0).times(n)
            - (square * square).times(3.0);
        let ratio = moment.high / (spread * spread);
        Some((n - 1.0) * ((n + 1.0) * ratio - 3.0 * (n - 1.0)) / ((n - 2.0) * (n - 3.0)))
    }
}

/// A product and what it lacks; nothing where it is beyond all floats.
fn product(left: f64, right: f64) -> (f64, f64) {
    let product = left * right;
    let rest = if product.is_finite() { left.mul_add(right, -product) } else { 0.0 };
    (product, rest)
}

/// The terms of one row.
fn terms(terms: &[Term], x: f64, y: f64, sums: &mut [FloatSum]) {
    let (xx, xx_rest) = product(x, x);
    for (term, sum) in terms.iter().zip(sums) {
        let value = match term {
            X => x,
            Y => y,
            Xx => xx,
            XxRest => xx_rest,
            Xxx => product(xx, x).0,
            XxxRest => finite(product(xx, x).1 + xx_rest * x),
            Xxxx => product(xx, xx).0,
            XxxxRest => finite(product(xx, xx).1 + 2.0 * xx * xx_rest),
            Yy => product(y, y).0,
            YyRest => product(y, y).1,
            Xy => product(x, y).0,
            XyRest => product(x, y).1,
        };
        sum.add(value);
    }
}

/// A rest beside which the product itself is infinite says nothing.
fn finite(rest: f64) -> f64 {
    if rest.is_finite() { rest } else { 0.0 }
}

impl Accumulator for Moments {
    fn state_types(&self) -> Vec<DataType> {
        let bytes = i32::try_from(self.state_bytes()).unwrap_or(i32::MAX);
        vec![DataType::FixedSizeBinary(bytes)]
    }

    fn memory_bytes(&self) -> u64 {
        bytes_of(&self.counts) + bytes_of(&self.sums)
    }

    fn growth(&self, _: &[ArrayRef], coming: Coming) -> Result<Growth> {
        let counts = growth_from::<i64>(self.counts.capacity(), coming.groups);
        let sums = coming.groups * self.terms.len();
        Ok(counts + growth_from::<FloatSum>(self.sums.capacity(), sums))
    }

    fn extend(&mut self, count: usize) {
        extend(&mut self.counts, count, 0);
        extend(&mut self.sums, count * self.terms.len(), FloatSum::EMPTY);
    }

    fn update(&mut self, taken: &Taken<'_>) -> Result<()> {
        self.extend(taken.count);
        let first = as_type(column(taken.columns, 0)?, &DataType::Float64)?;
        let second = match self.has_pairs() {
            true => as_type(column(taken.columns, 1)?, &DataType::Float64)?,
            false => ArrayRef::clone(&first),
        };
        let first = first.as_primitive::<Float64Type>().values();
        let second = second.as_primitive::<Float64Type>().values();
        let width = self.terms.len();
        for (group, (x, y)) in taken.groups.iter().zip(first.iter().zip(second)) {
            let group = *group as usize;
            self.counts[group] += 1;
            terms(self.terms, *x, *y, &mut self.sums[group * width..(group + 1) * width]);
        }
        Ok(())
    }

    fn merge(&mut self, taken: &Taken<'_>) -> Result<()> {
        let states = column(taken.columns, 0)?;
        let Some(states) = states.as_fixed_size_binary_opt() else { return Err(no_state(states)) };
        self.extend(taken.count);
        let width = self.terms.len();
        for (row, group) in taken.groups.iter().enumerate() {
            let group = *group as usize;
            let bytes = states.value(row);
            let Some((count, sums)) = bytes.split_first_chunk::<8>() else {
                return Err(no_state(states));
            };
            self.counts[group] += i64::from_le_bytes(*count);
            let all = &mut self.sums[group * width..(group + 1) * width];
            for (sum, bytes) in all.iter_mut().zip(sums.chunks_exact(FloatSum::BYTES)) {
                let state = FloatSum::from_bytes(bytes).ok_or_else(|| no_state(states))?;
                merge_float(sum, &state)?;
            }
        }
        Ok(())
    }

    fn states(&self, groups: &[u32], columns: &mut Vec<ArrayRef>) -> Result<()> {
        let width = self.terms.len();
        let mut bytes = Vec::with_capacity(groups.len() * self.state_bytes());
        for group in groups {
            let group = *group as usize;
            bytes.extend_from_slice(&self.counts[group].to_le_bytes());
            for sum in &self.sums[group * width..(group + 1) * width] {
                bytes.extend_from_slice(&sum.to_bytes());
            }
        }
        let width = i32::try_from(self.state_bytes())
            .map_err(|_| Error::Internal(String::from("a state of many terms")))?;
        columns.push(Arc::new(FixedSizeBinaryArray::try_new(
            width,
            Buffer::from_vec(bytes),
            None,
        )?));
        Ok(())
    }

    fn values(&self, groups: &[u32], _: &str, columns: &mut Vec<ArrayRef>) -> Result<()> {
        let values = groups.iter().map(|group| self.value(*group as usize));
        columns.push(Arc::new(values.collect::<Float64Array>()));
        Ok(())
    }
}

/// A number as the sum of two floats, the second below the last bit of the first.
#[derive(Clone, Copy, Debug)]
struct Double {
    high: f64,
    low: f64,
}

impl Double {
    fn sum(left: f64, right: f64) -> Self {
        let high = left + right;
        if !high.is_finite() {
            return Self { high, low: 0.0 };
        }
        let shadow = high - left;
        Self { high, low: (left - (high - shadow)) + (right - shadow) }
    }

    fn times(self, factor: f64) -> Self {
        let (high, rest) = product(self.high, factor);
        Self::sum(high, finite(self.low * factor + rest))
    }

    /// The number; zero where it is no more than the noise of what it was computed from.
    fn settled(self, from: f64) -> f64 {
        let noise = from.abs() * 2f64.powi(-101);
        if self.high.abs() <= noise { 0.0 } else { self.high }
    }
}

impl std::ops::Add for Double {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let high = Self::sum(self.high, other.high);
        let low = Self::sum(self.low, other.low);
        let first = Self::sum(high.high, high.low + low.high);
        Self::sum(first.high, first.low + low.low)
    }
}

impl std::ops::Sub for Double {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + Self { high: -other.high, low: -other.low }
    }
}

impl std::ops::Mul for Double {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        let (high, rest) = product(self.high, other.high);
        let cross = self.high * other.low + self.low * other.high;
        Self::sum(high, finite(rest + cross))
    }
}

/// The greater of a number and a bound; NaN stays.
trait AtLeast {
    fn max_or_nan(self, bound: f64) -> f64;
}

impl AtLeast for f64 {
    fn max_or_nan(self, bound: f64) -> f64 {
        if self < bound { bound } else { self }
    }
}
