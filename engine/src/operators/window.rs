//! `window`: a value for each row from the rows around it, of rows that come sorted.
//!
//! Rows are computed in chunks that are as small as the functions allow: what only counts on from
//! row to row takes any rows, what sees equal rows takes their groups, and what looks around takes
//! whole partitions.

use std::{collections::VecDeque, ops::Range};

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions},
    compute::concat_batches,
    datatypes::SchemaRef,
};

use crate::{
    Error, Result,
    expr::{
        SortKey,
        window::{Frame, FrameBound, FrameUnit, Kind, WindowFunction},
    },
    formats::BATCH_ROWS,
    kernels::compact::{compact, unique_bytes},
    memory::Reservation,
    operators::{
        Operator,
        window::{
            aggregate::{Carried, Method},
            chunk::{Chunk, Start, Starts},
            frames::frames,
            rank::Counts,
            value::{First, Lag},
        },
    },
    task::context::TaskContext,
};

mod aggregate;
mod chunk;
mod frames;
mod rank;
mod sliding;
mod states;
mod value;

/// So much is held even where the budget refuses it.
const MIN_HELD_BYTES: u64 = 1 << 20;

/// What the work on a row takes beside its values, for each function, in bytes.
const ROW_BYTES: u64 = 64;

/// The furthest that `lag` looks back without holding the partition.
const MAX_LAG_ROWS: i64 = 64 << 10;

/// What is asked of the rows around each row.
pub struct Functions {
    /// How many of the input's first columns are given.
    pub columns: usize,
    /// Columns of the input; rows that are equal in them are a partition.
    pub partition_by: Vec<usize>,
    /// The order within a partition.
    pub order_by: Vec<SortKey>,
    /// The functions.
    pub functions: Vec<WindowFunction>,
}

/// Adds columns of window functions to rows that come sorted by partition and order.
///
/// - Shape: the input's first columns, then one of each function; batches of at most 8192 rows.
/// - Order: the input's.
/// - Memory: a partition, or its equal rows, where a function sees so many, twice, with 64 bytes a
///   row and function; charged, and not spilled. `row_number`, `rank`, `dense_rank`, `lag` and
///   running aggregates over `rows` hold a batch.
/// - Errors: [`Error::MemoryLimit`] for a partition beyond the budget; [`Error::Evaluate`] of
///   arguments, and for a sum beyond its type.
pub struct Window {
    input: Box<dyn Operator>,
    columns: usize,
    order_by: Vec<SortKey>,
    functions: Vec<(WindowFunction, State)>,
    schema: SchemaRef,
    input_schema: SchemaRef,
    /// What must be whole in a chunk.
    hold: Hold,
    starts: Starts,
    held: Held,
    given: VecDeque<RecordBatch>,
    context: TaskContext,
    has_ended: bool,
}

/// What must be whole in a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Hold {
    Rows,
    Groups,
    Partitions,
}

/// What a function knows of the rows before a chunk.
enum State {
    Counts(Counts),
    Lag(Lag),
    First(First),
    Aggregate(Method, Carried),
    Nothing,
}

/// Rows that wait until they are whole.
struct Held {
    batches: Vec<RecordBatch>,
    starts: Vec<Start>,
    reservation: Reservation,
}

impl Window {
    /// Window functions over `input`, whose rows have `input_schema`.
    pub fn new(
        input: Box<dyn Operator>,
        functions: Functions,
        input_schema: SchemaRef,
        schema: SchemaRef,
        context: &TaskContext,
    ) -> Self {
        let Functions { columns, partition_by, order_by, functions } = functions;
        let hold = functions.iter().map(hold).max().unwrap_or(Hold::Rows);
        let state = |function: WindowFunction| {
            let state = state(&function, hold);
            (function, state)
        };
        Self {
            input,
            columns,
            functions: functions.into_iter().map(state).collect(),
            starts: Starts::new(partition_by, order_by.iter().map(|key| key.column).collect()),
            order_by,
            schema,
            input_schema,
            hold,
            held: Held {
                batches: Vec::new(),
                starts: Vec::new(),
                reservation: context.budget.reservation("window"),
            },
            given: VecDeque::new(),
            context: context.clone(),
            has_ended: false,
        }
    }

    /// Takes a batch in; what is whole by now is computed.
    fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        let starts = self.starts.of(batch)?;
        // The rows from here on are not known to be whole yet.
        let rest = match self.hold {
            Hold::Rows => batch.num_rows(),
            Hold::Groups => starts.iter().rposition(|start| *start >= Start::Group).unwrap_or(0),
            Hold::Partitions => {
                starts.iter().rposition(|start| *start == Start::Partition).unwrap_or(0)
            }
        };
        let is_cut = starts.get(rest).is_none_or(|start| match self.hold {
            Hold::Rows | Hold::Groups => *start >= Start::Group,
            Hold::Partitions => *start == Start::Partition,
        });
        if !is_cut {
            return self.hold(batch, &starts);
        }
        if rest > 0 {
            self.held.starts.extend(&starts[..rest]);
            self.held.batches.push(batch.slice(0, rest));
        }
        self.compute()?;
        let count = batch.num_rows() - rest;
        if count > 0 { self.hold(&batch.slice(rest, count), &starts[rest..]) } else { Ok(()) }
    }

    /// Keeps rows until they are whole.
    fn hold(&mut self, rows: &RecordBatch, starts: &[Start]) -> Result<()> {
        // A few rows of a batch must not keep all of it.
        let batch = compact(rows)?;
        let work = ROW_BYTES * (self.functions.len() as u64 + 1) * batch.num_rows() as u64;
        let bytes = 2 * unique_bytes(&batch) + work;
        let held = &mut self.held;
        if !held.reservation.try_grow(bytes) {
            if held.reservation.held_bytes() + bytes > MIN_HELD_BYTES {
                let count = held.starts.len() + starts.len();
                let what = format!("window over a partition of {count} rows or more");
                held.reservation.grow_in_turn(bytes, &what, &self.context.cancel)?;
            } else {
                held.reservation.grow(bytes);
            }
        }
        held.starts.extend(starts);
        held.batches.push(batch);
        Ok(())
    }

    /// Computes what is held.
    fn compute(&mut self) -> Result<()> {
        let starts = std::mem::take(&mut self.held.starts);
        let batches = std::mem::take(&mut self.held.batches);
        if starts.is_empty() {
            return Ok(());
        }
        let batch = match <[RecordBatch; 1]>::try_from(batches) {
            Ok([batch]) => batch,
            Err(batches) => concat_batches(&self.input_schema, &batches)?,
        };
        let chunk = Chunk { batch, starts };
        let mut columns = chunk.batch.columns()[..self.columns].to_vec();
        let mut known: Vec<(Frame, Vec<Range<usize>>)> = Vec::new();
        for (function, state) in &mut self.functions {
            self.context.cancel.check()?;
            let place = if function.function.has_frame() && !matches!(state, State::First(_)) {
                frames_of(&function.frame, &self.order_by, &chunk, &mut known)?
            } else {
                None
            };
            let seen = place.map_or(&[][..], |place| known[place].1.as_slice());
            columns.push(value(function, state, &chunk, seen)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(chunk.rows()));
        let whole =
            RecordBatch::try_new_with_options(SchemaRef::clone(&self.schema), columns, &options)?;
        for start in (0..chunk.rows()).step_by(BATCH_ROWS) {
            self.given.push_back(whole.slice(start, BATCH_ROWS.min(chunk.rows() - start)));
        }
        self.held.reservation.free();
        Ok(())
    }
}

impl Operator for Window {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.given.pop_front() {
                return Ok(Some(batch));
            }
            if self.has_ended {
                return Ok(None);
            }
            if let Some(batch) = self.input.next()? {
                self.context.cancel.check()?;
                self.take(&batch)?;
            } else {
                self.has_ended = true;
                self.compute()?;
            }
        }
    }
}

/// Where `known` has the frames of a chunk, which are computed once.
fn frames_of(
    frame: &Frame,
    order_by: &[SortKey],
    chunk: &Chunk,
    known: &mut Vec<(Frame, Vec<Range<usize>>)>,
) -> Result<Option<usize>> {
    if let Some(place) = known.iter().position(|(other, _)| other == frame) {
        return Ok(Some(place));
    }
    known.push((frame.clone(), frames(frame, order_by, chunk)?));
    Ok(Some(known.len() - 1))
}

/// What must be whole where a function is computed.
fn hold(function: &WindowFunction) -> Hold {
    match &function.function {
        Kind::RowNumber | Kind::Rank | Kind::DenseRank => Hold::Rows,
        Kind::Lag(by) if !function.ignore_nulls && (0..=MAX_LAG_ROWS).contains(by) => Hold::Rows,
        Kind::FirstValue if is_first_of_partition(function) => Hold::Rows,
        Kind::Aggregate(aggregate) if Method::of(aggregate) != Method::States => {
            match (&function.frame.start, &function.frame.end, function.frame.unit) {
                (FrameBound::UnboundedPreceding, FrameBound::CurrentRow, FrameUnit::Rows) => {
                    Hold::Rows
                }
                (FrameBound::UnboundedPreceding, FrameBound::CurrentRow, _) => Hold::Groups,
                _ => Hold::Partitions,
            }
        }
        Kind::PercentRank
        | Kind::CumeDist
        | Kind::Ntile(_)
        | Kind::Lag(_)
        | Kind::FirstValue
        | Kind::LastValue
        | Kind::NthValue(_)
        | Kind::Aggregate(_) => Hold::Partitions,
    }
}

/// Whether every frame begins with its partition and is never empty.
fn is_first_of_partition(function: &WindowFunction) -> bool {
    let has_current = !matches!(function.frame.end, FrameBound::Preceding(_));
    !function.ignore_nulls && function.frame.start == FrameBound::UnboundedPreceding && has_current
}

/// What a function knows at the start, in chunks of so much.
fn state(function: &WindowFunction, held: Hold) -> State {
    match &function.function {
        Kind::RowNumber | Kind::Rank | Kind::DenseRank => State::Counts(Counts::default()),
        Kind::Lag(_) if held < Hold::Partitions => State::Lag(Lag::default()),
        Kind::FirstValue if is_first_of_partition(function) => State::First(First::default()),
        Kind::Aggregate(aggregate) => State::Aggregate(Method::of(aggregate), Carried::default()),
        Kind::PercentRank
        | Kind::CumeDist
        | Kind::Ntile(_)
        | Kind::Lag(_)
        | Kind::FirstValue
        | Kind::LastValue
        | Kind::NthValue(_) => State::Nothing,
    }
}

/// A function's values for the rows of a chunk.
fn value(
    function: &WindowFunction,
    state: &mut State,
    chunk: &Chunk,
    frames: &[Range<usize>],
) -> Result<ArrayRef> {
    let argument = |place: usize| function.arguments[place].evaluate(&chunk.batch);
    let ignore_nulls = function.ignore_nulls;
    match (&function.function, state) {
        (Kind::Rank, State::Counts(counts)) => Ok(counts.rank(chunk)),
        (Kind::DenseRank, State::Counts(counts)) => Ok(counts.dense_rank(chunk)),
        (_, State::Counts(counts)) => Ok(counts.row_number(chunk)),
        (_, State::First(first)) => first.next(chunk, &argument(0)?),
        (Kind::Lag(by), state) => {
            let values = argument(0)?;
            let default = function.arguments.get(1).map(|default| default.evaluate(&chunk.batch));
            let default = default.transpose()?;
            if let State::Lag(lag) = state {
                let by = usize::try_from(*by).unwrap_or(usize::MAX);
                return lag.next(chunk, &values, by, default.as_ref());
            }
            value::lag(chunk, &values, *by, default.as_ref(), ignore_nulls)
        }
        (Kind::PercentRank, _) => Ok(rank::percent_rank(chunk)),
        (Kind::CumeDist, _) => Ok(rank::cume_dist(chunk)),
        (Kind::Ntile(tiles), _) => Ok(rank::ntile(chunk, *tiles)),
        (Kind::FirstValue, _) => value::nth_value(&argument(0)?, frames, 0, ignore_nulls),
        (Kind::NthValue(n), _) => {
            let skip = usize::try_from(n - 1).unwrap_or(usize::MAX);
            value::nth_value(&argument(0)?, frames, skip, ignore_nulls)
        }
        (Kind::LastValue, _) => value::last_value(&argument(0)?, frames, ignore_nulls),
        (Kind::Aggregate(over), State::Aggregate(method, carried)) => {
            aggregate::evaluate(over, *method, chunk, frames, carried)
        }
        (Kind::RowNumber | Kind::Rank | Kind::DenseRank | Kind::Aggregate(_), _) => {
            Err(Error::Internal(String::from("a window function without its state")))
        }
    }
}

#[cfg(test)]
mod tests;
