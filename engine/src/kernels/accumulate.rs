//! Accumulators: the states of aggregates as columns, one entry a group.
//!
//! An [`Accumulators`] takes batches of values on the map side ([`Accumulators::update`]) and
//! batches of states on the reduce side ([`Accumulators::merge`]). All states are independent of
//! the order and the grouping of what went into them: integers add up in 128 bits, floats in bins
//! ([`crate::kernels::float_sum`]), and -0.0 and NaN are brought to one form before they compare.
//!
//! | aggregate | states | type |
//! |---|---|---|
//! | sum of integers | `name` | 16 bytes: an `i128`, little endian; null without values |
//! | sum of floats | `name` | 40 bytes: a [`FloatSum`] |
//! | count | `name` | int64 |
//! | min, max | `name` | the argument's; null without values |
//! | avg | `name` and `name__count` | a sum's, int64 |

use std::{cmp::Ordering, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray, Float64Array, Int64Array},
    buffer::{Buffer, NullBuffer},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Field, Float64Type, Int64Type},
};

use crate::{
    Error, Result,
    expr::{Aggregate, AggregateFunction},
    kernels::{
        float_sum::FloatSum,
        growth::{Growth, bytes_of, growth_from, reserve},
        hash::canonical_words,
        key_table::from_canonical_words,
        text_column::{TextColumn, TextInput},
        validity::Validity,
    },
};

/// The type of an integer sum's state.
const INT_SUM: DataType = DataType::FixedSizeBinary(16);
/// The type of a float sum's state.
const FLOAT_SUM: DataType = DataType::FixedSizeBinary(40);

/// The states of some aggregates for all groups.
///
/// - Shape: what goes in comes as one list of columns an aggregate, with a group number a row;
///   every group that an accumulator has not seen yet is among a batch's group numbers.
/// - Memory: [`Accumulators::memory_bytes`]; [`Accumulators::growth`] before.
#[derive(Debug)]
pub struct Accumulators(Vec<Accumulator>);

/// The columns of a batch that an aggregate takes: its argument if any, or its states.
pub type Inputs = Vec<ArrayRef>;

impl Accumulators {
    /// For these aggregates, without a group.
    ///
    /// # Errors
    /// [`Error::Internal`] for an aggregate over a type that it does not take.
    pub fn new(aggregates: &[Aggregate]) -> Result<Self> {
        Ok(Self(aggregates.iter().map(Accumulator::new).collect::<Result<_>>()?))
    }

    /// Bytes held.
    pub fn memory_bytes(&self) -> u64 {
        self.0.iter().map(Accumulator::memory_bytes).sum()
    }

    /// The most that a batch of `rows` rows may add when there are `groups` groups now.
    ///
    /// # Errors
    /// As [`Self::update`] where an input has a wrong type.
    pub fn growth(&self, inputs: &[Inputs], groups: usize, rows: usize) -> Result<Growth> {
        self.0
            .iter()
            .zip(inputs)
            .map(|(accumulator, input)| accumulator.growth(input, groups + rows, rows))
            .sum()
    }

    /// Takes the arguments' values: row `i` belongs to group `groups[i]`, of `count` groups.
    ///
    /// # Errors
    /// [`Error::Arrow`] for an argument that can't be brought to the type that is accumulated.
    pub fn update(&mut self, inputs: &[Inputs], groups: &[u32], count: usize) -> Result<()> {
        for (accumulator, input) in self.0.iter_mut().zip(inputs) {
            accumulator.update(input.first(), groups, count)?;
        }
        Ok(())
    }

    /// Takes states that [`Self::states`] gave: row `i` belongs to group `groups[i]`, of `count`.
    ///
    /// # Errors
    /// [`Error::Internal`] for columns that are no states, [`Error::Evaluate`] where a float sum
    /// is over more than 2³⁷ values.
    pub fn merge(&mut self, inputs: &[Inputs], groups: &[u32], count: usize) -> Result<()> {
        for (accumulator, input) in self.0.iter_mut().zip(inputs) {
            accumulator.merge(input, groups, count)?;
        }
        Ok(())
    }

    /// Ends the taking, so that [`Self::states`] and [`Self::values`] can share what is held.
    pub fn freeze(&mut self) {
        for accumulator in &mut self.0 {
            if let Accumulator::TextExtreme(extreme) = accumulator {
                extreme.text.freeze();
            }
        }
    }

    /// The states of some groups, one column after the other as [`state_fields`] has them.
    ///
    /// # Errors
    /// [`Error::Internal`] where what is kept fits no array, which would be a bug.
    pub fn states(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut columns = Vec::new();
        for accumulator in &self.0 {
            accumulator.states(groups, &mut columns)?;
        }
        Ok(columns)
    }

    /// The values of some groups, one column an aggregate; errors call them by `names`.
    ///
    /// # Errors
    /// [`Error::Evaluate`] for an integer sum beyond int64.
    pub fn values<'a>(
        &self,
        groups: &[u32],
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<ArrayRef>> {
        self.0.iter().zip(names).map(|(each, name)| each.values(groups, name)).collect()
    }
}

/// The columns that stand for `aggregates`, which have these names, between partial and final.
pub fn state_fields<N: AsRef<str>>(aggregates: &[Aggregate], names: &[N]) -> Vec<Field> {
    let mut fields = Vec::new();
    for (aggregate, name) in aggregates.iter().zip(names) {
        let name = name.as_ref();
        let argument = aggregate.arguments.first().map(crate::expr::Expr::data_type);
        let sum =
            if argument.as_ref().is_some_and(DataType::is_floating) { FLOAT_SUM } else { INT_SUM };
        match aggregate.function {
            AggregateFunction::Sum => fields.push(Field::new(name, sum, true)),
            AggregateFunction::Count => fields.push(Field::new(name, DataType::Int64, false)),
            AggregateFunction::Min | AggregateFunction::Max => {
                fields.push(Field::new(name, argument.unwrap_or(DataType::Null), true));
            }
            AggregateFunction::Avg => {
                fields.push(Field::new(name, sum, true));
                fields.push(Field::new(format!("{name}__count"), DataType::Int64, false));
            }
            _ => {}
        }
    }
    fields
}

/// How many columns stand for an aggregate between partial and final.
pub fn state_count(aggregate: &Aggregate) -> usize {
    if aggregate.function == AggregateFunction::Avg { 2 } else { 1 }
}

#[derive(Debug)]
enum Accumulator {
    Count(Counts),
    IntSum(IntSums),
    FloatSum(FloatSums),
    IntAverage(IntSums, Counts),
    FloatAverage(FloatSums, Counts),
    Extreme(Extremes),
    TextExtreme(TextExtremes),
}

impl Accumulator {
    fn new(aggregate: &Aggregate) -> Result<Self> {
        let argument = aggregate.arguments.first().map(crate::expr::Expr::data_type);
        let refused = || {
            let (function, argument) = (aggregate.function, &argument);
            Err(Error::Internal(format!("aggregate {function:?} over {argument:?}")))
        };
        Ok(match (aggregate.function, &argument) {
            (AggregateFunction::Count, _) => Self::Count(Counts::default()),
            (AggregateFunction::Sum, Some(of)) if of.is_integer() => {
                Self::IntSum(IntSums::default())
            }
            (AggregateFunction::Sum, Some(of)) if of.is_floating() => {
                Self::FloatSum(FloatSums::default())
            }
            (AggregateFunction::Avg, Some(of)) if of.is_integer() => {
                Self::IntAverage(IntSums::default(), Counts::default())
            }
            (AggregateFunction::Avg, Some(of)) if of.is_floating() => {
                Self::FloatAverage(FloatSums::default(), Counts::default())
            }
            (AggregateFunction::Min | AggregateFunction::Max, Some(of)) => {
                let is_max = aggregate.function == AggregateFunction::Max;
                if of.is_string() {
                    Self::TextExtreme(TextExtremes::new(is_max))
                } else if of.primitive_width().is_some_and(|width| width <= 8)
                    || matches!(of, DataType::Boolean | DataType::Null)
                {
                    Self::Extreme(Extremes::new(of.clone(), is_max))
                } else {
                    return refused();
                }
            }
            _ => return refused(),
        })
    }

    fn memory_bytes(&self) -> u64 {
        match self {
            Self::Count(counts) => bytes_of(&counts.0),
            Self::IntSum(sums) => sums.memory_bytes(),
            Self::FloatSum(sums) => bytes_of(&sums.0),
            Self::IntAverage(sums, counts) => sums.memory_bytes() + bytes_of(&counts.0),
            Self::FloatAverage(sums, counts) => bytes_of(&sums.0) + bytes_of(&counts.0),
            Self::Extreme(extremes) => bytes_of(&extremes.words) + extremes.seen.memory_bytes(),
            Self::TextExtreme(extremes) => {
                extremes.text.memory_bytes() + extremes.seen.memory_bytes()
            }
        }
    }

    fn growth(&self, input: &[ArrayRef], groups: usize, rows: usize) -> Result<Growth> {
        fn of<T>(vec: &Vec<T>, groups: usize) -> Growth {
            growth_from::<T>(vec.capacity(), groups)
        }
        Ok(match self {
            Self::Count(counts) => of(&counts.0, groups),
            Self::IntSum(sums) => of(&sums.sums, groups) + sums.seen.growth(rows),
            Self::FloatSum(sums) => of(&sums.0, groups),
            Self::IntAverage(sums, counts) => {
                of(&sums.sums, groups) + sums.seen.growth(rows) + of(&counts.0, groups)
            }
            Self::FloatAverage(sums, counts) => of(&sums.0, groups) + of(&counts.0, groups),
            Self::Extreme(extremes) => of(&extremes.words, groups) + extremes.seen.growth(rows),
            Self::TextExtreme(extremes) => {
                let input = first(input)?;
                extremes.text.growth(&text_input(input)?) + extremes.seen.growth(rows)
            }
        })
    }

    fn update(&mut self, argument: Option<&ArrayRef>, groups: &[u32], count: usize) -> Result<()> {
        if let Self::Count(counts) = self {
            let nulls = argument.and_then(Array::logical_nulls);
            counts.count(nulls.as_ref(), groups, count);
            return Ok(());
        }
        let argument = first(argument.map(std::slice::from_ref).unwrap_or_default())?;
        match self {
            Self::Count(_) => {}
            Self::IntSum(sums) => sums.add(argument, groups, count)?,
            Self::FloatSum(sums) => sums.add(argument, groups, count)?,
            Self::IntAverage(sums, counts) => {
                sums.add(argument, groups, count)?;
                counts.count(argument.logical_nulls().as_ref(), groups, count);
            }
            Self::FloatAverage(sums, counts) => {
                sums.add(argument, groups, count)?;
                counts.count(argument.logical_nulls().as_ref(), groups, count);
            }
            Self::Extreme(extremes) => extremes.take(argument, groups, count)?,
            Self::TextExtreme(extremes) => extremes.take(argument, groups, count)?,
        }
        Ok(())
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[u32], count: usize) -> Result<()> {
        match self {
            Self::Count(counts) => counts.merge(first(states)?, groups, count),
            Self::IntSum(sums) => sums.merge(first(states)?, groups, count),
            Self::FloatSum(sums) => sums.merge(first(states)?, groups, count),
            Self::IntAverage(sums, counts) => {
                sums.merge(first(states)?, groups, count)?;
                counts.merge(first(states.get(1..).unwrap_or_default())?, groups, count)
            }
            Self::FloatAverage(sums, counts) => {
                sums.merge(first(states)?, groups, count)?;
                counts.merge(first(states.get(1..).unwrap_or_default())?, groups, count)
            }
            Self::Extreme(extremes) => extremes.take(first(states)?, groups, count),
            Self::TextExtreme(extremes) => extremes.take(first(states)?, groups, count),
        }
    }

    fn states(&self, groups: &[u32], columns: &mut Vec<ArrayRef>) -> Result<()> {
        match self {
            Self::Count(counts) => columns.push(counts.gather(groups)),
            Self::IntSum(sums) => columns.push(sums.states(groups)?),
            Self::FloatSum(sums) => columns.push(sums.states(groups)?),
            Self::IntAverage(sums, counts) => {
                columns.push(sums.states(groups)?);
                columns.push(counts.gather(groups));
            }
            Self::FloatAverage(sums, counts) => {
                columns.push(sums.states(groups)?);
                columns.push(counts.gather(groups));
            }
            Self::Extreme(extremes) => columns.push(extremes.gather(groups)?),
            Self::TextExtreme(extremes) => columns.push(extremes.gather(groups)?),
        }
        Ok(())
    }

    fn values(&self, groups: &[u32], name: &str) -> Result<ArrayRef> {
        match self {
            Self::Count(counts) => Ok(counts.gather(groups)),
            Self::IntSum(sums) => sums.values(groups, name),
            Self::FloatSum(sums) => {
                let values = groups.iter().map(|group| sums.0[*group as usize].value());
                Ok(Arc::new(values.collect::<Float64Array>()))
            }
            Self::IntAverage(sums, counts) => {
                #[expect(clippy::cast_precision_loss, reason = "rounds to nearest, as avg does")]
                let sum = |group: usize| sums.sums[group] as f64;
                Ok(counts.averages(groups, |group| Some(sum(group))))
            }
            Self::FloatAverage(sums, counts) => {
                Ok(counts.averages(groups, |group| sums.0[group].value()))
            }
            Self::Extreme(extremes) => extremes.gather(groups),
            Self::TextExtreme(extremes) => extremes.gather(groups),
        }
    }
}

/// Numbers of rows or values.
#[derive(Debug, Default)]
struct Counts(Vec<i64>);

impl Counts {
    fn count(&mut self, nulls: Option<&NullBuffer>, groups: &[u32], count: usize) {
        extend(&mut self.0, count, 0);
        each_valid(nulls, groups, |_, group| self.0[group] += 1);
    }

    fn merge(&mut self, states: &ArrayRef, groups: &[u32], count: usize) -> Result<()> {
        let Some(states) = states.as_primitive_opt::<Int64Type>() else {
            return Err(no_state(states));
        };
        extend(&mut self.0, count, 0);
        for (group, more) in groups.iter().zip(states.values()) {
            self.0[*group as usize] += more;
        }
        Ok(())
    }

    fn gather(&self, groups: &[u32]) -> ArrayRef {
        Arc::new(groups.iter().map(|group| Some(self.0[*group as usize])).collect::<Int64Array>())
    }

    /// Sums by counts; null where nothing was counted.
    fn averages(&self, groups: &[u32], sum: impl Fn(usize) -> Option<f64>) -> ArrayRef {
        let average = |group: &u32| {
            let group = *group as usize;
            #[expect(clippy::cast_precision_loss, reason = "a count beyond 2⁵³ is out of reach")]
            let count = self.0[group] as f64;
            sum(group).filter(|_| self.0[group] > 0).map(|sum| sum / count)
        };
        Arc::new(groups.iter().map(average).collect::<Float64Array>())
    }
}

/// Exact sums of integers.
#[derive(Debug, Default)]
struct IntSums {
    sums: Vec<i128>,
    seen: Validity,
}

impl IntSums {
    fn memory_bytes(&self) -> u64 {
        bytes_of(&self.sums) + self.seen.memory_bytes()
    }

    fn add(&mut self, argument: &ArrayRef, groups: &[u32], count: usize) -> Result<()> {
        let argument = as_type(argument, &DataType::Int64)?;
        let values = argument.as_primitive::<Int64Type>().values();
        let nulls = argument.logical_nulls();
        extend(&mut self.sums, count, 0);
        self.seen.see(nulls.as_ref(), groups, count);
        each_valid(nulls.as_ref(), groups, |row, group| {
            self.sums[group] += i128::from(values[row]);
        });
        Ok(())
    }

    fn merge(&mut self, states: &ArrayRef, groups: &[u32], count: usize) -> Result<()> {
        let states = binary(states, &INT_SUM)?;
        extend(&mut self.sums, count, 0);
        self.seen.see(states.nulls(), groups, count);
        each_valid(states.nulls(), groups, |row, group| {
            let mut bytes = [0; 16];
            bytes.copy_from_slice(states.value(row));
            self.sums[group] += i128::from_le_bytes(bytes);
        });
        Ok(())
    }

    fn states(&self, groups: &[u32]) -> Result<ArrayRef> {
        let bytes: Vec<u8> =
            groups.iter().flat_map(|group| self.sums[*group as usize].to_le_bytes()).collect();
        let nulls = self.seen.gather(groups);
        Ok(Arc::new(FixedSizeBinaryArray::try_new(16, Buffer::from_vec(bytes), nulls)?))
    }

    fn values(&self, groups: &[u32], name: &str) -> Result<ArrayRef> {
        let value = |group: &u32| {
            let sum = self.sums[*group as usize];
            i64::try_from(sum).map_err(|_| Error::Evaluate {
                reason: format!("sum `{name}` is {sum}, which is beyond int64"),
            })
        };
        let values = groups.iter().map(value).collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(Int64Array::new(values.into(), self.seen.gather(groups))))
    }
}

/// Reproducible sums of floats.
#[derive(Debug, Default)]
struct FloatSums(Vec<FloatSum>);

impl FloatSums {
    fn add(&mut self, argument: &ArrayRef, groups: &[u32], count: usize) -> Result<()> {
        let argument = as_type(argument, &DataType::Float64)?;
        let values = argument.as_primitive::<Float64Type>().values();
        extend(&mut self.0, count, FloatSum::EMPTY);
        let nulls = argument.logical_nulls();
        each_valid(nulls.as_ref(), groups, |row, group| self.0[group].add(values[row]));
        Ok(())
    }

    fn merge(&mut self, states: &ArrayRef, groups: &[u32], count: usize) -> Result<()> {
        let states = binary(states, &FLOAT_SUM)?;
        extend(&mut self.0, count, FloatSum::EMPTY);
        for (row, group) in groups.iter().enumerate() {
            let state = FloatSum::from_bytes(states.value(row)).ok_or_else(|| no_state(states))?;
            if !self.0[*group as usize].merge(&state) {
                let reason = String::from("a sum of floats over more than 2^37 values");
                return Err(Error::Evaluate { reason });
            }
        }
        Ok(())
    }

    fn states(&self, groups: &[u32]) -> Result<ArrayRef> {
        let bytes: Vec<u8> =
            groups.iter().flat_map(|group| self.0[*group as usize].to_bytes()).collect();
        Ok(Arc::new(FixedSizeBinaryArray::try_new(40, Buffer::from_vec(bytes), None)?))
    }
}

/// Least or greatest values of fixed width, as integers of the same order.
#[derive(Debug)]
struct Extremes {
    data_type: DataType,
    is_max: bool,
    words: Vec<i64>,
    seen: Validity,
}

impl Extremes {
    fn new(data_type: DataType, is_max: bool) -> Self {
        Self { data_type, is_max, words: Vec::new(), seen: Validity::default() }
    }

    fn take(&mut self, values: &ArrayRef, groups: &[u32], count: usize) -> Result<()> {
        let words = canonical_words(values.as_ref()).ok_or_else(|| no_state(values))?;
        let nulls = values.logical_nulls();
        let order = order_of(&self.data_type);
        let (all, seen) = (&mut self.words, &mut self.seen);
        extend(all, count, if self.is_max { i64::MIN } else { i64::MAX });
        seen.see(nulls.as_ref(), groups, count);
        if self.is_max {
            each_valid(nulls.as_ref(), groups, |row, group| {
                all[group] = all[group].max(order(words[row].cast_signed()));
            });
        } else {
            each_valid(nulls.as_ref(), groups, |row, group| {
                all[group] = all[group].min(order(words[row].cast_signed()));
            });
        }
        Ok(())
    }

    fn gather(&self, groups: &[u32]) -> Result<ArrayRef> {
        let order = order_of(&self.data_type);
        let words = groups.iter().map(|group| order(self.words[*group as usize]).cast_unsigned());
        from_canonical_words(&self.data_type, words, self.seen.gather(groups))
    }
}

/// From canonical words to integers of the values' order, and back: each is its own inverse.
fn order_of(data_type: &DataType) -> fn(i64) -> i64 {
    match data_type {
        // Negative floats order backwards by their bits below the sign; the one NaN is positive.
        DataType::Float32 | DataType::Float64 => {
            |word| word ^ ((word >> 63).cast_unsigned() >> 1).cast_signed()
        }
        DataType::UInt64 => |word| word ^ i64::MIN,
        _ => |word| word,
    }
}

/// Least or greatest texts, by bytes.
#[derive(Debug)]
struct TextExtremes {
    is_max: bool,
    text: TextColumn,
    seen: Validity,
}

impl TextExtremes {
    fn new(is_max: bool) -> Self {
        Self { is_max, text: TextColumn::default(), seen: Validity::default() }
    }

    fn take(&mut self, values: &ArrayRef, groups: &[u32], count: usize) -> Result<()> {
        let input = text_input(values)?;
        let better = if self.is_max { Ordering::Greater } else { Ordering::Less };
        self.text.resize(count);
        self.seen.extend(count - self.seen.len(), false);
        let (text, seen) = (&mut self.text, &mut self.seen);
        each_valid(input.nulls.as_ref(), groups, |row, group| {
            if !seen.is_valid(group) {
                seen.set_valid(group);
                text.set(group, &input, row);
            } else if text.compare_row(group, &input, row) == better {
                text.set(group, &input, row);
            }
        });
        self.text.collect_garbage();
        Ok(())
    }

    fn gather(&self, groups: &[u32]) -> Result<ArrayRef> {
        Ok(Arc::new(self.text.gather(groups, self.seen.gather(groups))?))
    }
}

/// Calls `each(row, group)` for the rows that are not null.
fn each_valid(nulls: Option<&NullBuffer>, groups: &[u32], mut each: impl FnMut(usize, usize)) {
    match nulls.filter(|nulls| nulls.null_count() > 0) {
        None => {
            for (row, group) in groups.iter().enumerate() {
                each(row, *group as usize);
            }
        }
        Some(nulls) => {
            for row in nulls.valid_indices() {
                each(row, groups[row] as usize);
            }
        }
    }
}

/// Gives new groups their first state.
fn extend<T: Clone>(states: &mut Vec<T>, count: usize, first: T) {
    if count > states.len() {
        reserve(states, count - states.len());
        states.resize(count, first);
    }
}

fn as_type(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    if array.data_type() == data_type {
        return Ok(Arc::clone(array));
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    Ok(cast_with_options(array, data_type, &options)?)
}

fn text_input(array: &ArrayRef) -> Result<TextInput> {
    Ok(TextInput::new(as_type(array, &DataType::Utf8View)?.as_string_view()))
}

fn binary<'a>(array: &'a ArrayRef, data_type: &DataType) -> Result<&'a FixedSizeBinaryArray> {
    let binary = array.as_fixed_size_binary_opt().filter(|_| array.data_type() == data_type);
    binary.ok_or_else(|| no_state(array))
}

fn first(columns: &[ArrayRef]) -> Result<&ArrayRef> {
    columns.first().ok_or_else(|| Error::Internal(String::from("an aggregate without its column")))
}

fn no_state(array: &dyn Array) -> Error {
    Error::Internal(format!("no state of an aggregate in a column of type {}", array.data_type()))
}
