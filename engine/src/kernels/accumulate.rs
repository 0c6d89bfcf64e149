//! Accumulators: the states of aggregates as columns, one entry a group.
//!
//! An [`Accumulators`] takes batches of values on the map side ([`Accumulators::update`]) and
//! batches of states on the reduce side ([`Accumulators::merge`]). All states are independent of
//! the order and the grouping of what went into them: integers add up in 128 bits, floats in bins
//! ([`crate::kernels::float_sum`]), -0.0 and NaN are brought to one form before they compare, and
//! what goes by the order of rows keeps the key of that order beside each value.
//!
//! | aggregate | states | file |
//! |---|---|---|
//! | count | int64 | `number` |
//! | sum, avg | int64 of short integers, 16 bytes (`i128`), 32 (`i256`), or a float or 40 bytes ([`FloatSum`]); avg a count too | `number`, `sums` |
//! | min, max, every, any, `bit_…` | the argument's type, null without values | `extreme` |
//! | first, last, `min_by`, `max_by` | the arguments and the bytes of the order key | `chosen` |
//! | stddev … kurtosis | the count and sums of powers: [`FloatSum`]s, or 16 bytes of short integers | `moments` |
//! | median, quantile, product, `array_agg`, `string_agg` | a list of the values | `list` |
//! | anything of `distinct` | a list of the different values | `distinct` |
//! | mode, `approx_quantile` | a list of values with their counts | `counted` |
//! | `approx_count_distinct` | the registers of a `HyperLogLog` | `registers` |
//!
//! A list may be longer than memory; [`Accumulators::are_unbounded`] says that it can be, and the
//! operators above bring it to disk with its group.
//!
//! [`FloatSum`]: crate::kernels::float_sum::FloatSum

use std::{fmt::Debug, ops::Range};

use arrow::{
    array::{Array, ArrayRef},
    buffer::NullBuffer,
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Field},
};

use crate::{
    Error, Result,
    expr::{Aggregate, AggregateFunction as F, Expr, Literal},
    kernels::{
        growth::{Growth, reserve},
        prefetch::for_each_at,
    },
};

mod number;
mod sums;
mod extreme;
mod chosen;
mod double;
mod moments;
mod list;
mod distinct;
mod counted;
mod registers;

/// The states of some aggregates for all groups.
///
/// - Shape: what goes in comes as one [`Inputs`] an aggregate.
/// - Memory: [`Accumulators::memory_bytes`]; [`Accumulators::growth`] before.
#[derive(Debug)]
pub struct Accumulators {
    each: Vec<Box<dyn Accumulator>>,
    carried: Carried,
}

/// What rows carry for aggregates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// The arguments' values.
    Values,
    /// What [`Accumulators::states`] gave.
    States,
}

/// What an aggregate takes of a batch.
#[derive(Debug)]
pub struct Inputs {
    /// Its [row arguments](row_arguments), and the key of its order behind them where it goes by
    /// one; or its states.
    pub columns: Vec<ArrayRef>,
    /// The rows of the batch that those of the columns stand for, ascending; all where absent.
    pub rows: Option<Vec<u32>>,
}

impl Accumulators {
    /// For these aggregates, without a group.
    ///
    /// # Errors
    /// [`Error::Internal`] for an aggregate over a type that it does not take.
    pub fn new(aggregates: &[Aggregate], carried: Carried) -> Result<Self> {
        Ok(Self { each: aggregates.iter().map(accumulator).collect::<Result<_>>()?, carried })
    }

    /// Bytes held.
    pub fn memory_bytes(&self) -> u64 {
        self.each.iter().map(|each| each.memory_bytes()).sum()
    }

    /// Whether the state of a single group can grow without end.
    pub fn are_unbounded(&self) -> bool {
        self.each.iter().any(|each| each.is_unbounded())
    }

    /// How many columns stand for each aggregate as its state.
    pub fn state_counts(&self) -> Vec<usize> {
        self.each.iter().map(|each| each.state_types().len()).collect()
    }

    /// The most that a batch of `rows` rows may add, with which there are at most `groups` groups.
    ///
    /// # Errors
    /// As [`Self::update`] where an input has a wrong type.
    pub fn growth(&self, inputs: &[Inputs], groups: usize, rows: usize) -> Result<Growth> {
        let coming = Coming { rows, groups, carried: self.carried };
        let pairs = self.each.iter().zip(inputs);
        pairs.map(|(each, input)| each.growth(&input.columns, coming)).sum()
    }

    /// Takes a batch's rows, values or states: row `i` belongs to group `groups[i]`, of `count`.
    ///
    /// # Errors
    /// [`Error::Internal`] for columns that are no states, [`Error::Evaluate`] where a float sum
    /// is over more than 2³⁷ values, [`Error::MemoryLimit`] where a state has more than 2³¹ entries.
    pub fn take(&mut self, inputs: &[Inputs], groups: &[u32], count: usize) -> Result<()> {
        let mut chosen = Vec::new();
        for (each, input) in self.each.iter_mut().zip(inputs) {
            let groups = match &input.rows {
                None => groups,
                Some(rows) => {
                    chosen.clear();
                    chosen.extend(rows.iter().map(|row| groups[*row as usize]));
                    &chosen
                }
            };
            let is_whole = input.rows.is_none();
            let taken = Taken { columns: &input.columns, groups, count, is_whole };
            match self.carried {
                Carried::Values => each.update(&taken)?,
                Carried::States => each.merge(&taken)?,
            }
        }
        Ok(())
    }

    /// Adds groups without a row, up to `count`.
    pub fn extend(&mut self, count: usize) {
        for each in &mut self.each {
            each.extend(count);
        }
    }

    /// Ends the taking, so that [`Self::states`] and [`Self::values`] can share what is held.
    pub fn freeze(&mut self) {
        for each in &mut self.each {
            each.freeze();
        }
    }

    /// The bytes of a group's states that differ from group to group.
    pub fn group_bytes(&self, group: u32) -> u64 {
        self.each.iter().map(|each| each.group_bytes(group)).sum()
    }

    /// How a group's states are spread over several rows, in which they are merged as in one: lists
    /// in pieces of about so many bytes, everything else in the first row.
    pub fn pieces(&self, group: u32, piece_bytes: u64) -> Pieces {
        let of_each: Vec<Vec<Range<usize>>> =
            self.each.iter().map(|each| each.pieces(group, piece_bytes)).collect();
        let rows = of_each.iter().map(Vec::len).max().unwrap_or(0).max(1);
        Pieces { group, of_each, rows }
    }

    /// The states of a group in one of its rows.
    ///
    /// # Errors
    /// As [`Self::states`].
    pub fn piece(&self, pieces: &Pieces, row: usize) -> Result<Vec<ArrayRef>> {
        let mut columns = Vec::new();
        for (each, own) in self.each.iter().zip(&pieces.of_each) {
            match own.get(row) {
                Some(entries) => each.piece(pieces.group, entries.clone(), &mut columns)?,
                None if row == 0 => each.states(&[pieces.group], &mut columns)?,
                None => columns.extend(each.nothing()?),
            }
        }
        Ok(columns)
    }

    /// The states of some groups, one column after the other as [`state_fields`] has them.
    ///
    /// # Errors
    /// [`Error::Internal`] where what is kept fits no array, which would be a bug.
    pub fn states(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut columns = Vec::new();
        for each in &self.each {
            each.states(groups, &mut columns)?;
        }
        Ok(columns)
    }

    /// The values of some groups, one column an aggregate (`first_row`: one an argument); errors
    /// call the columns by `names`.
    ///
    /// # Errors
    /// [`Error::Evaluate`] for a sum beyond its type.
    pub fn values(&self, groups: &[u32], names: &[&str]) -> Result<Vec<ArrayRef>> {
        let mut columns = Vec::new();
        for each in &self.each {
            let name = names.get(columns.len()).copied().unwrap_or_default();
            each.values(groups, name, &mut columns)?;
        }
        Ok(columns)
    }
}

/// The states of the rows of a batch, each a group of its own.
///
/// # Errors
/// As [`Accumulators::take`] and [`Accumulators::states`].
#[expect(clippy::cast_possible_truncation, reason = "a batch has fewer than 2³² rows")]
pub fn row_states(
    aggregates: &[Aggregate],
    inputs: &[Inputs],
    rows: usize,
) -> Result<Vec<ArrayRef>> {
    let groups: Vec<u32> = (0..rows as u32).collect();
    let mut columns = Vec::new();
    for (aggregate, input) in aggregates.iter().zip(inputs) {
        let mut each = accumulator(aggregate)?;
        if input.rows.is_none()
            && let Some(states) = each.row_states(&input.columns, rows)?
        {
            columns.extend(states);
            continue;
        }
        let to = input.rows.as_deref().unwrap_or(&groups);
        let is_whole = input.rows.is_none();
        each.update(&Taken { columns: &input.columns, groups: to, count: rows, is_whole })?;
        each.extend(rows);
        each.freeze();
        each.states(&groups, &mut columns)?;
    }
    Ok(columns)
}

/// The columns that stand for `aggregates`, which have these names, between partial and final.
///
/// # Errors
/// [`Error::Internal`] for an aggregate over a type that it does not take.
pub fn state_fields<N: AsRef<str>>(aggregates: &[Aggregate], names: &[N]) -> Result<Vec<Field>> {
    let mut fields = Vec::new();
    for (aggregate, name) in aggregates.iter().zip(names) {
        for (index, data_type) in accumulator(aggregate)?.state_types().into_iter().enumerate() {
            let name = name.as_ref();
            let name = if index == 0 { name.to_owned() } else { format!("{name}__{index}") };
            fields.push(Field::new(name, data_type, true));
        }
    }
    Ok(fields)
}

/// The arguments that are read from rows: all but constants, and what the order key holds.
pub fn row_arguments(aggregate: &Aggregate) -> &[Expr] {
    let arguments = &aggregate.arguments[..];
    match aggregate.function {
        F::QuantileCont | F::QuantileDisc | F::ApproxQuantile | F::StringAgg => {
            arguments.get(..1).unwrap_or_default()
        }
        F::MinBy | F::MaxBy => arguments.get(..1).unwrap_or_default(),
        _ => arguments,
    }
}

/// Whether its rows come with the key of their order.
pub fn takes_order(aggregate: &Aggregate) -> bool {
    match aggregate.function {
        // Different values have no other order than their own.
        F::StringAgg | F::ArrayAgg => !aggregate.distinct,
        F::AnyValue => !goes_by_least(aggregate),
        function => function.follows_order(),
    }
}

/// Whether its accumulator leaves nulls out by itself, or keeps them; of the others, rows in which
/// an argument is null don't come here.
pub fn sees_nulls(aggregate: &Aggregate) -> bool {
    if aggregate.function == F::FirstRow {
        return true;
    }
    let is_simple = matches!(
        aggregate.function,
        F::Count | F::Sum | F::Avg | F::Min | F::Max | F::Every | F::Any
    ) || matches!(aggregate.function, F::BitAnd | F::BitOr | F::BitXor);
    is_simple && !aggregate.distinct && aggregate.arguments.len() <= 1
}

/// Whether any value is the least one.
fn goes_by_least(aggregate: &Aggregate) -> bool {
    let of = aggregate.arguments.first().map(Expr::data_type);
    of.is_some_and(|of| crate::expr::aggregate::signature::is_ordered(&of))
}

/// A group whose states take several rows.
#[derive(Debug)]
pub struct Pieces {
    group: u32,
    /// Of each aggregate: the entries of its list in each row; none where it has no list.
    of_each: Vec<Vec<Range<usize>>>,
    /// How many rows they take.
    pub rows: usize,
}

/// What goes into an accumulator.
struct Taken<'a> {
    columns: &'a [ArrayRef],
    /// The group of each row.
    groups: &'a [u32],
    /// How many groups there are.
    count: usize,
    /// Whether every new group is among `groups`.
    is_whole: bool,
}

/// How much is about to go into an accumulator.
#[derive(Clone, Copy)]
struct Coming {
    /// At most so many rows.
    rows: usize,
    /// At most so many groups afterwards.
    groups: usize,
    carried: Carried,
}

/// The states of one aggregate.
trait Accumulator: Debug + Send {
    /// The columns that stand for it between partial and final.
    fn state_types(&self) -> Vec<DataType>;
    /// Bytes held.
    fn memory_bytes(&self) -> u64;
    /// The most that a batch may add.
    fn growth(&self, columns: &[ArrayRef], coming: Coming) -> Result<Growth>;
    /// Adds groups without a row.
    fn extend(&mut self, count: usize);
    /// Takes values.
    fn update(&mut self, taken: &Taken<'_>) -> Result<()>;
    /// Takes states.
    fn merge(&mut self, taken: &Taken<'_>) -> Result<()>;
    /// Ends the taking.
    fn freeze(&mut self) {}
    /// Whether a group's state can grow without end.
    fn is_unbounded(&self) -> bool {
        false
    }
    /// The bytes of a frozen group that differ from group to group.
    fn group_bytes(&self, _group: u32) -> u64 {
        0
    }
    /// The states of some groups.
    fn states(&self, groups: &[u32], columns: &mut Vec<ArrayRef>) -> Result<()>;
    /// The states of rows of values, each a group of its own, where they are had without one.
    fn row_states(&self, _columns: &[ArrayRef], _rows: usize) -> Result<Option<Vec<ArrayRef>>> {
        Ok(None)
    }
    /// Which entries of a frozen group's list go together in pieces of about so many bytes.
    fn pieces(&self, _group: u32, _piece_bytes: u64) -> Vec<Range<usize>> {
        Vec::new()
    }
    /// The state of a group with some of its list's entries.
    fn piece(&self, group: u32, _: Range<usize>, columns: &mut Vec<ArrayRef>) -> Result<()> {
        self.states(&[group], columns)
    }
    /// The state of a group without rows.
    fn nothing(&self) -> Result<Vec<ArrayRef>>;
    /// The values of some groups.
    fn values(&self, groups: &[u32], name: &str, columns: &mut Vec<ArrayRef>) -> Result<()>;
}

/// The one place where an aggregate becomes an accumulator.
fn accumulator(aggregate: &Aggregate) -> Result<Box<dyn Accumulator>> {
    if aggregate.distinct {
        return Ok(Box::new(distinct::Distinct::new(aggregate)?));
    }
    plain_accumulator(aggregate)
}

/// The accumulator that takes every row, repeats too.
fn plain_accumulator(aggregate: &Aggregate) -> Result<Box<dyn Accumulator>> {
    let of = aggregate.arguments.first().map(Expr::data_type);
    let Some(of) = of else { return Ok(Box::new(number::Count::default())) };
    let to = aggregate.data_type.clone();
    Ok(match aggregate.function {
        F::Count => Box::new(number::Count::default()),
        F::Sum => Box::new(number::Sum::new(&of, to)?),
        F::Avg => Box::new(number::Average::new(&of, to)?),
        F::Min | F::Every => extreme::extreme(&of, false)?,
        F::Max | F::Any => extreme::extreme(&of, true)?,
        F::AnyValue if goes_by_least(aggregate) => extreme::extreme(&of, false)?,
        F::BitAnd => Box::new(extreme::Words::new(of, extreme::Fold::And)),
        F::BitOr => Box::new(extreme::Words::new(of, extreme::Fold::Or)),
        F::BitXor => Box::new(extreme::Words::new(of, extreme::Fold::Xor)),
        F::First | F::AnyValue | F::FirstRow | F::MinBy | F::MaxBy | F::Last => {
            let types: Vec<DataType> =
                row_arguments(aggregate).iter().map(Expr::data_type).collect();
            Box::new(chosen::Chosen::new(&types, aggregate.function == F::Last)?)
        }
        F::StddevSamp
        | F::StddevPop
        | F::VarSamp
        | F::VarPop
        | F::CovarSamp
        | F::CovarPop
        | F::Corr
        | F::RegrSlope
        | F::RegrIntercept
        | F::RegrR2
        | F::Skewness
        | F::Kurtosis => {
            let types: Vec<DataType> =
                row_arguments(aggregate).iter().map(Expr::data_type).collect();
            Box::new(moments::Moments::new(aggregate.function, &types))
        }
        F::Median | F::QuantileCont | F::QuantileDisc | F::Product | F::StringAgg | F::ArrayAgg => {
            Box::new(list::Lists::new(&of, list::Made::of(aggregate)?)?)
        }
        F::Mode | F::ApproxQuantile => Box::new(counted::Counted::new(aggregate, &of)?),
        F::ApproxCountDistinct => Box::new(registers::Registers::default()),
    })
}

/// The state of a group without rows, of an accumulator that has no group yet.
fn state_of_nothing(mut empty: impl Accumulator) -> Result<Vec<ArrayRef>> {
    empty.extend(1);
    empty.freeze();
    let mut columns = Vec::new();
    empty.states(&[0], &mut columns)?;
    Ok(columns)
}

/// The quantile or other number that an aggregate is given.
fn constant_number(aggregate: &Aggregate) -> Result<f64> {
    match aggregate.arguments.get(1) {
        Some(Expr::Literal(Literal::Float64(number))) => Ok(*number),
        other => Err(Error::Internal(format!("{:?} of {other:?}", aggregate.function))),
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

/// Calls `each(row, state)` for the rows that are not null with their group's state.
fn each_state<S>(
    states: &mut [S],
    nulls: Option<&NullBuffer>,
    groups: &[u32],
    mut each: impl FnMut(usize, &mut S),
) {
    match nulls.filter(|nulls| nulls.null_count() > 0) {
        None => for_each_at(states, groups, each),
        Some(nulls) => {
            for row in nulls.valid_indices() {
                each(row, &mut states[groups[row] as usize]);
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
        return Ok(ArrayRef::clone(array));
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    Ok(cast_with_options(array, data_type, &options)?)
}

fn column(columns: &[ArrayRef], index: usize) -> Result<&ArrayRef> {
    let missing = || Error::Internal(String::from("an aggregate without its column"));
    columns.get(index).ok_or_else(missing)
}

fn no_state(array: &dyn Array) -> Error {
    Error::Internal(format!("no state of an aggregate in a column of type {}", array.data_type()))
}

fn refused(function: &str, of: &DataType) -> Error {
    Error::Internal(format!("aggregate {function} over {of}"))
}

#[cfg(test)]
mod tests;
