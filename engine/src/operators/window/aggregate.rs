//! Aggregates over frames.
//!
//! Sums, counts, averages and extremes slide ([`super::sliding`]); every other aggregate goes
//! through the accumulators that reduce has, as a tree of their states ([`super::states`]).

use std::{cell::Cell, cmp::Ordering, ops::Range, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, DynComparator, Float64Array,
        Int64Array, PrimitiveArray, UInt64Array, make_comparator,
    },
    buffer::NullBuffer,
    compute::{CastOptions, SortOptions, cast_with_options, concat, filter_record_batch, take},
    datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, UInt64Type},
};

use crate::{
    Error, Result,
    expr::{Aggregate, AggregateFunction, Expr, Predicate},
    kernels::{canonical::with_one_zero_and_nan, float_sum::FloatSum},
    operators::window::{
        chunk::Chunk,
        sliding::{Combine, sliding},
        states,
    },
};

/// How an aggregate over frames is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// Rows, or rows without a null argument.
    Count,
    /// Of whole numbers, decimals and durations.
    ExactSum,
    /// Of whole numbers.
    ExactAverage,
    FloatSum,
    FloatAverage,
    Min,
    Max,
    /// By the accumulators' states.
    States,
}

impl Method {
    pub(super) fn of(aggregate: &Aggregate) -> Self {
        let argument = aggregate.arguments.first().map(Expr::data_type);
        let is_whole = argument.as_ref().is_some_and(DataType::is_integer);
        let is_float = argument.as_ref().is_some_and(DataType::is_floating);
        match aggregate.function {
            AggregateFunction::Min => Self::Min,
            AggregateFunction::Max => Self::Max,
            _ if aggregate.distinct => Self::States,
            AggregateFunction::Count => Self::Count,
            AggregateFunction::Sum if is_float => Self::FloatSum,
            AggregateFunction::Sum => match aggregate.data_type {
                DataType::Int64
                | DataType::UInt64
                | DataType::Decimal128(..)
                | DataType::Duration(_) => Self::ExactSum,
                _ => Self::States,
            },
            AggregateFunction::Avg if is_float => Self::FloatAverage,
            AggregateFunction::Avg if is_whole => Self::ExactAverage,
            _ => Self::States,
        }
    }
}

/// The state of a partition that goes on in the next chunk.
#[derive(Debug, Default)]
pub(super) enum Carried {
    #[default]
    Nothing,
    Count(i64),
    Exact(ExactState),
    Float(FloatState),
    /// A column of the best value, or none.
    Extreme(ArrayRef),
}

/// `aggregate` over the frames of a chunk's rows.
///
/// `carried` is what the chunks before know of a partition that goes on here; only where all frames
/// begin with their partition does it have a meaning. Without frames the chunk's rows, which are of one
/// partition, are only added to that.
///
/// # Errors
/// [`Error::Evaluate`] of the arguments, and for a sum beyond its type.
pub(super) fn evaluate(
    aggregate: &Aggregate,
    method: Method,
    chunk: &Chunk,
    frames: &[Range<usize>],
    carried: &mut Carried,
) -> Result<ArrayRef> {
    let (kept, arguments) = if method == Method::States {
        // The accumulators have their own way to take rows.
        (None, Vec::new())
    } else {
        let kept = kept(aggregate, chunk)?;
        let arguments = arguments(aggregate, chunk, kept.as_ref())?;
        (kept, arguments)
    };
    let before = if chunk.goes_on() { std::mem::take(carried) } else { Carried::Nothing };
    match method {
        Method::Count => {
            let counts = Counts { nulls: nulls(kept, &arguments) };
            let first = if let Carried::Count(count) = before { count } else { 0 };
            let mut values = Vec::with_capacity(chunk.rows());
            let last = each(&counts, first, chunk, frames, |count| values.push(*count));
            *carried = Carried::Count(last);
            Ok(Arc::new(Int64Array::from(values)))
        }
        Method::ExactSum | Method::ExactAverage => {
            let values = exact_values(argument(&arguments)?)?;
            let sums = ExactSums { values, nulls: argument(&arguments)?.logical_nulls() };
            let first = if let Carried::Exact(state) = before { state } else { sums.empty() };
            let mut states = Vec::with_capacity(chunk.rows());
            let last = each(&sums, first, chunk, frames, |state| states.push(*state));
            *carried = Carried::Exact(last);
            if method == Method::ExactAverage {
                return Ok(Arc::new(
                    states.iter().map(ExactState::average).collect::<Float64Array>(),
                ));
            }
            exact_sums(&states, aggregate)
        }
        Method::FloatSum | Method::FloatAverage => {
            let floats = cast(argument(&arguments)?, &DataType::Float64)?;
            let floats = floats.as_primitive::<Float64Type>();
            let sums = FloatSums { values: floats, too_many: Cell::new(false) };
            let first = if let Carried::Float(state) = before { state } else { sums.empty() };
            let mut values = Vec::with_capacity(chunk.rows());
            let last = each(&sums, first, chunk, frames, |state| {
                let sum = state.sum.value().filter(|_| state.count > 0);
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "a count beyond 2⁵³ is out of reach"
                )]
                let count = if method == Method::FloatSum { 1.0 } else { state.count as f64 };
                values.push(sum.map(|sum| sum / count));
            });
            if sums.too_many.get() {
                let reason = String::from("a sum of floats over more than 2^37 values");
                return Err(Error::Evaluate { reason });
            }
            *carried = Carried::Float(last);
            Ok(Arc::new(Float64Array::from(values)))
        }
        Method::Min | Method::Max => {
            extremes(argument(&arguments)?, method == Method::Max, chunk, frames, before, carried)
        }
        Method::States => states::evaluate(aggregate, &chunk.batch, frames),
    }
}

/// Slides over each partition; the state of the last one comes back. Without frames all rows are added
/// to the first state, and no value comes out.
fn each<C: Combine>(
    combine: &C,
    first: C::State,
    chunk: &Chunk,
    frames: &[Range<usize>],
    mut emit: impl FnMut(&C::State),
) -> C::State {
    let mut state = first;
    if frames.is_empty() {
        (0..chunk.rows()).for_each(|row| combine.add(&mut state, row));
        return state;
    }
    for (place, partition) in chunk.partitions().into_iter().enumerate() {
        if place > 0 {
            state = combine.empty();
        }
        state = sliding(combine, state, frames[partition].iter().cloned(), &mut emit);
    }
    state
}

/// The arguments' values; null in rows that the filter leaves out, for which they are not
/// computed.
fn arguments(
    aggregate: &Aggregate,
    chunk: &Chunk,
    kept: Option<&NullBuffer>,
) -> Result<Vec<ArrayRef>> {
    let arguments = aggregate.arguments.iter();
    let Some(kept) = kept.filter(|kept| kept.null_count() > 0) else {
        return arguments.map(|argument| argument.evaluate(&chunk.batch)).collect();
    };
    let mask = BooleanArray::new(kept.inner().clone(), None);
    let batch = filter_record_batch(&chunk.batch, &mask)?;
    let mut place = 0;
    let places: UInt64Array = kept
        .iter()
        .map(|is_kept| {
            place += u64::from(is_kept);
            is_kept.then(|| place - 1)
        })
        .collect();
    arguments.map(|argument| Ok(take(&argument.evaluate(&batch)?, &places, None)?)).collect()
}

/// The rows for which the filter is true; `None` without one.
fn kept(aggregate: &Aggregate, chunk: &Chunk) -> Result<Option<NullBuffer>> {
    let Some(filter) = &aggregate.filter else { return Ok(None) };
    let mask = Predicate(filter.clone()).evaluate(&chunk.batch)?;
    let is_true = match mask.nulls() {
        Some(nulls) => mask.values() & nulls.inner(),
        None => mask.values().clone(),
    };
    Ok(Some(NullBuffer::new(is_true)))
}

fn argument(arguments: &[ArrayRef]) -> Result<&ArrayRef> {
    let missing = || Error::Internal(String::from("an aggregate without its argument"));
    arguments.first().ok_or_else(missing)
}

fn cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    Ok(cast_with_options(array, to, &options)?)
}

/// Which rows are not counted: `None` where all are.
fn nulls(kept: Option<NullBuffer>, arguments: &[ArrayRef]) -> Option<NullBuffer> {
    let union = |nulls: Option<NullBuffer>, array: &ArrayRef| {
        NullBuffer::union(nulls.as_ref(), array.logical_nulls().as_ref())
    };
    arguments.iter().fold(kept, union)
}

fn is_null(nulls: Option<&NullBuffer>, row: usize) -> bool {
    nulls.is_some_and(|nulls| nulls.is_null(row))
}

struct Counts {
    nulls: Option<NullBuffer>,
}

impl Combine for Counts {
    type State = i64;

    fn empty(&self) -> i64 {
        0
    }

    fn add(&self, state: &mut i64, row: usize) {
        *state += i64::from(!is_null(self.nulls.as_ref(), row));
    }

    fn merge(&self, state: &mut i64, other: &i64) {
        *state += other;
    }
}

/// A sum of whole numbers of up to 128 bits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ExactState {
    /// The sum, but for what does not fit, in which the floats tell.
    sum: i128,
    /// About the sum.
    about: f64,
    count: u64,
}

impl ExactState {
    /// The sum, unless it is beyond what 38 digits hold.
    fn sum(&self) -> Option<i128> {
        // A wrapped sum is at least 2¹²⁸ off, and 10³⁸ is less than a third of that.
        (self.about.abs() < 1.4e38).then_some(self.sum)
    }

    #[expect(clippy::cast_precision_loss, reason = "rounds to nearest, as avg does")]
    fn average(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }
}

struct ExactSums {
    values: Vec<i128>,
    nulls: Option<NullBuffer>,
}

impl Combine for ExactSums {
    type State = ExactState;

    fn empty(&self) -> ExactState {
        ExactState::default()
    }

    fn add(&self, state: &mut ExactState, row: usize) {
        if !is_null(self.nulls.as_ref(), row) {
            let value = self.values[row];
            state.sum = state.sum.wrapping_add(value);
            #[expect(clippy::cast_precision_loss, reason = "only the magnitude is asked for")]
            let about = value as f64;
            state.about += about;
            state.count += 1;
        }
    }

    fn merge(&self, state: &mut ExactState, other: &ExactState) {
        state.sum = state.sum.wrapping_add(other.sum);
        state.about += other.about;
        state.count += other.count;
    }
}

fn exact_values(array: &ArrayRef) -> Result<Vec<i128>> {
    Ok(match array.data_type() {
        DataType::Decimal128(..) => array.as_primitive::<Decimal128Type>().values().to_vec(),
        DataType::UInt64 => {
            let values = array.as_primitive::<UInt64Type>().values();
            values.iter().map(|value| i128::from(*value)).collect()
        }
        _ => {
            let array = cast(array, &DataType::Int64)?;
            let values = array.as_primitive::<Int64Type>().values();
            values.iter().map(|value| i128::from(*value)).collect()
        }
    })
}

/// Sums as values of the aggregate's type; null where there was none.
fn exact_sums(states: &[ExactState], aggregate: &Aggregate) -> Result<ArrayRef> {
    let to = &aggregate.data_type;
    let beyond = |state: &ExactState| {
        let sum =
            state.sum().map_or_else(|| format!("about {}", state.about), |sum| sum.to_string());
        let reason = format!(
            "`{aggregate}` is {sum}, which is beyond {}",
            crate::expr::parse::type_name(to)
        );
        Error::Evaluate { reason }
    };
    let is_there = |state: &ExactState| state.count > 0;
    Ok(match to {
        DataType::Decimal128(precision, scale) => {
            let most = 10_i128.pow(u32::from(*precision)) - 1;
            let sum = |state: &ExactState| {
                let fits = state.sum().filter(|sum| (-most..=most).contains(sum));
                fits.map(|sum| is_there(state).then_some(sum)).ok_or_else(|| beyond(state))
            };
            let sums = states.iter().map(sum).collect::<Result<Decimal128Array>>()?;
            Arc::new(sums.with_precision_and_scale(*precision, *scale)?)
        }
        DataType::UInt64 => {
            let sum = |state: &ExactState| {
                let fits = state.sum().and_then(|sum| u64::try_from(sum).ok());
                fits.map(|sum| is_there(state).then_some(sum)).ok_or_else(|| beyond(state))
            };
            Arc::new(states.iter().map(sum).collect::<Result<UInt64Array>>()?)
        }
        _ => {
            let sum = |state: &ExactState| {
                let fits = state.sum().and_then(|sum| i64::try_from(sum).ok());
                fits.map(|sum| is_there(state).then_some(sum)).ok_or_else(|| beyond(state))
            };
            let sums: PrimitiveArray<Int64Type> = states.iter().map(sum).collect::<Result<_>>()?;
            cast(&(Arc::new(sums) as ArrayRef), to)?
        }
    })
}

/// A reproducible sum of floats.
#[derive(Clone, Copy, Debug)]
pub(super) struct FloatState {
    sum: FloatSum,
    count: u64,
}

struct FloatSums<'a> {
    values: &'a Float64Array,
    /// Whether a bin has overflowed.
    too_many: Cell<bool>,
}

impl Combine for FloatSums<'_> {
    type State = FloatState;

    fn empty(&self) -> FloatState {
        FloatState { sum: FloatSum::EMPTY, count: 0 }
    }

    fn add(&self, state: &mut FloatState, row: usize) {
        if self.values.is_valid(row) {
            state.sum.add(self.values.value(row));
            state.count += 1;
        }
    }

    fn merge(&self, state: &mut FloatState, other: &FloatState) {
        if !state.sum.merge(&other.sum) {
            self.too_many.set(true);
        }
        state.count += other.count;
    }
}

/// The row of the least value, or of the greatest; the first of equal ones.
struct Extremes<'a> {
    nulls: Option<NullBuffer>,
    compare: &'a DynComparator,
    /// What makes a value better than another.
    better: Ordering,
}

impl Combine for Extremes<'_> {
    type State = Option<usize>;

    fn empty(&self) -> Option<usize> {
        None
    }

    fn add(&self, state: &mut Option<usize>, row: usize) {
        if !is_null(self.nulls.as_ref(), row) {
            self.merge(state, &Some(row));
        }
    }

    fn merge(&self, state: &mut Option<usize>, other: &Option<usize>) {
        *state = match (*state, *other) {
            (Some(one), Some(two)) if (self.compare)(two, one) == self.better => Some(two),
            (Some(one), _) => Some(one),
            (None, other) => other,
        };
    }
}

fn extremes(
    argument: &ArrayRef,
    is_max: bool,
    chunk: &Chunk,
    frames: &[Range<usize>],
    before: Carried,
    carried: &mut Carried,
) -> Result<ArrayRef> {
    let argument = with_one_zero_and_nan(argument)?;
    // What was best before stands behind the chunk's own values, so that rows keep their numbers.
    let all = match before {
        Carried::Extreme(best) => concat(&[&argument, &best])?,
        _ => Arc::clone(&argument),
    };
    let first = (all.len() > argument.len()).then_some(argument.len());
    let first = first.filter(|row| all.is_valid(*row));
    let compare = make_comparator(&all, &all, SortOptions::default())?;
    let better = if is_max { Ordering::Greater } else { Ordering::Less };
    let extremes = Extremes { nulls: all.logical_nulls(), compare: &compare, better };
    let mut rows = Vec::with_capacity(chunk.rows());
    let last = each(&extremes, first, chunk, frames, |row| rows.push(row.map(|row| row as u64)));
    let best = UInt64Array::from(vec![last.map(|row| row as u64)]);
    *carried = Carried::Extreme(take(&all, &best, None)?);
    Ok(take(&all, &UInt64Array::from(rows), None)?)
}
