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
//! Moments of short integers, up to the second, are summed as integers of 128 bits, which hold 2⁶³ of
//! their products.
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
    datatypes::{DataType, Float64Type, Int64Type},
};

use super::{
    Accumulator, Coming, Taken, as_type, column,
    double::{AtLeast, Double, finite, product},
    extend, no_state, state_of_nothing,
    sums::merge_float,
};
use crate::{
    Error, Result,
    expr::AggregateFunction as F,
    kernels::{
        float_sum::{FloatSum, add_each},
        growth::{Growth, bytes_of, growth_from},
        prefetch::{for_each_at, is_far, prefetch},
    },
};

/// Counts and sums of powers, as many sums a group as the function needs.
#[derive(Debug)]
pub(super) struct Moments {
    function: F,
    terms: &'static [Term],
    counts: Vec<i64>,
    sums: Kept,
}

/// `terms.len()` sums a group.
#[derive(Debug)]
enum Kept {
    Floats(Vec<FloatSum>),
    /// Of short integers, whose products lack nothing.
    Whole(Vec<i128>),
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
const WHOLE_VARIANCE: &[Term] = &[X, Xx];
const WHOLE_COVARIANCE: &[Term] = &[X, Y, Xy];
const WHOLE_PAIR: &[Term] = &[X, Y, Xy, Xx, Yy];
/// Rows whose terms are computed together.
const CHUNK: usize = 128;
/// The bytes of a whole sum's state.
const WHOLE_BYTES: usize = size_of::<i128>();

impl Moments {
    /// For arguments of these types.
    pub(super) fn new(function: F, of: &[DataType]) -> Self {
        let is_short = |each: &DataType| {
            each.is_integer() && each.primitive_width().is_some_and(|width| width < 8)
        };
        let are_short = of.iter().all(is_short);
        let (terms, whole) = match function {
            F::Skewness => (THIRD, None),
            F::Kurtosis => (FOURTH, None),
            F::CovarSamp | F::CovarPop => (COVARIANCE, Some(WHOLE_COVARIANCE)),
            F::Corr | F::RegrSlope | F::RegrIntercept | F::RegrR2 => (PAIR, Some(WHOLE_PAIR)),
            _ => (VARIANCE, Some(WHOLE_VARIANCE)),
        };
        match whole.filter(|_| are_short) {
            Some(short_terms) => Self {
                function,
                terms: short_terms,
                counts: Vec::new(),
                sums: Kept::Whole(Vec::new()),
            },
            None => Self { function, terms, counts: Vec::new(), sums: Kept::Floats(Vec::new()) },
        }
    }

    fn has_pairs(&self) -> bool {
        self.terms.contains(&Y)
    }

    fn state_bytes(&self) -> usize {
        let sum_bytes = match &self.sums {
            Kept::Floats(_) => FloatSum::BYTES,
            Kept::Whole(_) => WHOLE_BYTES,
        };
        8 + self.terms.len() * sum_bytes
    }

    /// A sum of whole numbers; `None` where it is none, or not among the terms.
    fn whole(&self, group: usize, term: Term) -> Option<i128> {
        let Kept::Whole(sums) = &self.sums else { return None };
        let place = self.terms.iter().position(|known| *known == term)?;
        sums.get(group * self.terms.len() + place).copied()
    }

    /// The value of one term in two floats; a power with what its float lacks.
    fn sum(&self, group: usize, term: Term) -> Double {
        let of = |part: Term| {
            let Kept::Floats(sums) = &self.sums else {
                return Double::whole(self.whole(group, part).unwrap_or(0));
            };
            let place = self.terms.iter().position(|known| *known == part);
            let sum = place
                .and_then(|place| sums.get(group * self.terms.len() + place))
                .map(FloatSum::parts);
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
        if let Some(exact) = self.whole_spread(group, product, left, right) {
            return exact;
        }
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

    /// [`Self::spread`] of whole numbers, where 128 bits hold it.
    fn whole_spread(&self, group: usize, product: Term, left: Term, right: Term) -> Option<f64> {
        let whole = self.whole(group, product)?.checked_mul(self.counts[group].into())?;
        let of_sums = self.whole(group, left)?.checked_mul(self.whole(group, right)?)?;
        #[expect(clippy::cast_precision_loss, reason = "rounds to nearest")]
        let spread = whole.checked_sub(of_sums)? as f64;
        Some(spread)
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

/// A term of a row.
fn term(term: Term, x: f64, y: f64) -> f64 {
    match term {
        X => x,
        Y => y,
        Xx => product(x, x).0,
        XxRest => product(x, x).1,
        Xxx => product(product(x, x).0, x).0,
        XxxRest => {
            let (xx, rest) = product(x, x);
            finite(product(xx, x).1 + rest * x)
        }
        Xxxx => {
            let xx = product(x, x).0;
            product(xx, xx).0
        }
        XxxxRest => {
            let (xx, rest) = product(x, x);
            finite(product(xx, xx).1 + 2.0 * xx * rest)
        }
        Yy => product(y, y).0,
        YyRest => product(y, y).1,
        Xy => product(x, y).0,
        XyRest => product(x, y).1,
    }
}

/// Adds the terms of rows, one term of some rows after the other.
fn add_terms(terms: &[Term], xs: &[f64], ys: &[f64], groups: &[u32], sums: &mut [FloatSum]) {
    let rows = xs.chunks(CHUNK).zip(ys.chunks(CHUNK)).zip(groups.chunks(CHUNK));
    let mut values = [0.0; CHUNK];
    for ((x_chunk, y_chunk), group_chunk) in rows {
        for (offset, of) in terms.iter().enumerate() {
            for (value, (x, y)) in values.iter_mut().zip(x_chunk.iter().zip(y_chunk)) {
                *value = term(*of, *x, *y);
            }
            add_each(sums, (terms.len(), offset), group_chunk, &values);
        }
    }
}

/// Adds the terms of one row of short integers.
fn add_whole(terms: &[Term], x: i64, y: i64, sums: &mut [i128]) {
    let (x, y) = (i128::from(x), i128::from(y));
    for (term, sum) in terms.iter().zip(sums) {
        *sum += match term {
            X => x,
            Y => y,
            Xx => x * x,
            Xy => x * y,
            Yy => y * y,
            // Those of floats alone.
            XxRest | Xxx | XxxRest | Xxxx | XxxxRest | YyRest | XyRest => 0,
        };
    }
}

/// [`add_whole`] of a correlation's, without a choice a term.
fn add_whole_pair(x: i64, y: i64, sums: &mut [i128]) {
    if let [first, second, both, square, other_square] = sums {
        let (x, y) = (i128::from(x), i128::from(y));
        *first += x;
        *second += y;
        *both += x * y;
        *square += x * x;
        *other_square += y * y;
    }
}

impl Accumulator for Moments {
    fn state_types(&self) -> Vec<DataType> {
        let bytes = i32::try_from(self.state_bytes()).unwrap_or(i32::MAX);
        vec![DataType::FixedSizeBinary(bytes)]
    }

    fn memory_bytes(&self) -> u64 {
        let sums = match &self.sums {
            Kept::Floats(sums) => bytes_of(sums),
            Kept::Whole(sums) => bytes_of(sums),
        };
        bytes_of(&self.counts) + sums
    }

    fn growth(&self, _: &[ArrayRef], coming: Coming) -> Result<Growth> {
        let counts = growth_from::<i64>(self.counts.capacity(), coming.groups);
        let needed = coming.groups * self.terms.len();
        let sums = match &self.sums {
            Kept::Floats(sums) => growth_from::<FloatSum>(sums.capacity(), needed),
            Kept::Whole(sums) => growth_from::<i128>(sums.capacity(), needed),
        };
        Ok(counts + sums)
    }

    fn extend(&mut self, count: usize) {
        extend(&mut self.counts, count, 0);
        match &mut self.sums {
            Kept::Floats(sums) => extend(sums, count * self.terms.len(), FloatSum::EMPTY),
            Kept::Whole(sums) => extend(sums, count * self.terms.len(), 0),
        }
    }

    fn update(&mut self, taken: &Taken<'_>) -> Result<()> {
        self.extend(taken.count);
        let kind = match &self.sums {
            Kept::Floats(_) => DataType::Float64,
            Kept::Whole(_) => DataType::Int64,
        };
        let first = as_type(column(taken.columns, 0)?, &kind)?;
        let second = if self.has_pairs() {
            as_type(column(taken.columns, 1)?, &kind)?
        } else {
            ArrayRef::clone(&first)
        };
        for_each_at(&mut self.counts, taken.groups, |_, count| *count += 1);
        let (terms, width) = (self.terms, self.terms.len());
        match &mut self.sums {
            Kept::Floats(sums) => {
                let first = first.as_primitive::<Float64Type>().values();
                let second = second.as_primitive::<Float64Type>().values();
                add_terms(terms, first, second, taken.groups, sums);
            }
            Kept::Whole(sums) => {
                let first = first.as_primitive::<Int64Type>().values();
                let second = second.as_primitive::<Int64Type>().values();
                let rows = first.chunks(CHUNK).zip(second.chunks(CHUNK));
                for ((xs, ys), groups) in rows.zip(taken.groups.chunks(CHUNK)) {
                    let starts = groups.iter().map(|group| *group as usize * width);
                    if is_far(sums) {
                        for start in starts.clone() {
                            (start..start + width).step_by(4).for_each(|sum| prefetch(sums, sum));
                        }
                    }
                    for (start, (x, y)) in starts.zip(xs.iter().zip(ys)) {
                        let sums = &mut sums[start..start + width];
                        if terms == WHOLE_PAIR {
                            add_whole_pair(*x, *y, sums);
                        } else {
                            add_whole(terms, *x, *y, sums);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn merge(&mut self, taken: &Taken<'_>) -> Result<()> {
        let states = column(taken.columns, 0)?;
        let expected = self.state_bytes();
        let Some(states) = states.as_fixed_size_binary_opt() else { return Err(no_state(states)) };
        self.extend(taken.count);
        let width = self.terms.len();
        for (row, group) in taken.groups.iter().enumerate() {
            let group = *group as usize;
            let bytes = states.value(row);
            let Some((count, own_sums)) = bytes.split_first_chunk::<8>() else {
                return Err(no_state(states));
            };
            if bytes.len() != expected {
                return Err(no_state(states));
            }
            self.counts[group] += i64::from_le_bytes(*count);
            match &mut self.sums {
                Kept::Floats(sums) => {
                    let all = &mut sums[group * width..(group + 1) * width];
                    for (sum, own) in all.iter_mut().zip(own_sums.chunks_exact(FloatSum::BYTES)) {
                        let state = FloatSum::from_bytes(own).ok_or_else(|| no_state(states))?;
                        merge_float(sum, &state)?;
                    }
                }
                Kept::Whole(sums) => {
                    let all = &mut sums[group * width..(group + 1) * width];
                    for (sum, own) in all.iter_mut().zip(own_sums.as_chunks::<WHOLE_BYTES>().0) {
                        *sum += i128::from_le_bytes(*own);
                    }
                }
            }
        }
        Ok(())
    }

    fn nothing(&self) -> Result<Vec<ArrayRef>> {
        let sums = match &self.sums {
            Kept::Floats(_) => Kept::Floats(Vec::new()),
            Kept::Whole(_) => Kept::Whole(Vec::new()),
        };
        let (function, terms) = (self.function, self.terms);
        state_of_nothing(Self { function, terms, counts: Vec::new(), sums })
    }

    fn states(&self, groups: &[u32], columns: &mut Vec<ArrayRef>) -> Result<()> {
        let width = self.terms.len();
        let mut bytes = Vec::with_capacity(groups.len() * self.state_bytes());
        for group in groups {
            let group = *group as usize;
            bytes.extend_from_slice(&self.counts[group].to_le_bytes());
            let own = group * width..(group + 1) * width;
            match &self.sums {
                Kept::Floats(sums) => {
                    sums[own].iter().for_each(|sum| bytes.extend_from_slice(&sum.to_bytes()));
                }
                Kept::Whole(sums) => {
                    sums[own].iter().for_each(|sum| bytes.extend_from_slice(&sum.to_le_bytes()));
                }
            }
        }
        let state_bytes = i32::try_from(self.state_bytes())
            .map_err(|_| Error::Internal(String::from("a state of many terms")))?;
        columns.push(Arc::new(FixedSizeBinaryArray::try_new(
            state_bytes,
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
