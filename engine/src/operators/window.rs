//! `window`: a value for each row from the rows around it, of rows that come sorted.
//!
//! Rows are computed in chunks that are as small as the functions allow: what only counts on from
//! row to row takes any rows, what sees equal rows takes their groups, and what looks around takes
//! whole partitions.

use std::{collections::VecDeque, ops::Range};

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array},
    compute::{concat_batches, take},
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
            group::LargeGroup,
            large::{Large, Over, Writing},
            rank::Counts,
            value::{First, Lag},
        },
    },
    task::context::TaskContext,
};

mod aggregate;
mod around;
mod chunk;
mod frames;
mod group;
mod large;
mod rank;
mod sliding;
mod states;
mod value;
mod whole;

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
///   row and function; charged. Refused, it puts them into a file, from which each function reads what
///   it needs. `row_number`, `rank`, `dense_rank`, `lag` and running aggregates over `rows` hold a batch.
/// - Errors: [`Error::MemoryLimit`] for a partition beyond the budget in which rows see all before or
///   behind them, but for running aggregates; [`Error::Evaluate`] of arguments, and for a sum beyond its
///   type; those of the spill.
pub struct Window {
    input: Box<dyn Operator>,
    columns: usize,
    over: Over,
    functions: Vec<(WindowFunction, State)>,
    schema: SchemaRef,
    /// What must be whole in a chunk.
    hold: Hold,
    starts: Starts,
    held: Held,
    /// [`MIN_HELD_BYTES`], but in tests.
    min_held_bytes: u64,
    given: VecDeque<RecordBatch>,
    /// What memory can't hold, on its way to a file, and what its first row begins.
    writing: Option<(Writing, Start)>,
    /// What memory can't hold, computed.
    large: Option<LargeRows>,
    /// Rows that come behind [`Self::large`].
    waiting: Option<(RecordBatch, Vec<Start>)>,
    has_ended: bool,
}

/// Rows from a file.
enum LargeRows {
    Partition(Box<Large>),
    Group(LargeGroup),
}

/// What must be whole in a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Hold {
    Rows,
    Groups,
    Partitions,
}

impl Hold {
    /// Whether what must be whole begins with a row.
    fn begins(self, start: Start) -> bool {
        match self {
            Self::Rows | Self::Groups => start >= Start::Group,
            Self::Partitions => start == Start::Partition,
        }
    }
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
        let over = Over { partition_by, order_by, input_schema, context: context.clone() };
        Self {
            input,
            columns,
            functions: functions.into_iter().map(state).collect(),
            starts: over.starts(),
            over,
            schema,
            hold,
            held: Held {
                batches: Vec::new(),
                starts: Vec::new(),
                reservation: context.budget.reservation("window"),
            },
            min_held_bytes: MIN_HELD_BYTES,
            given: VecDeque::new(),
            writing: None,
            large: None,
            waiting: None,
            has_ended: false,
        }
    }

    /// Takes rows in; what is whole by now is computed.
    fn take(&mut self, batch: &RecordBatch, starts: &[Start]) -> Result<()> {
        if let Some((writing, _)) = &mut self.writing {
            let is_behind = |start: &Start| self.hold.begins(*start);
            let end = starts.iter().position(is_behind).unwrap_or(starts.len());
            if end > 0 {
                writing.add(&batch.slice(0, end))?;
            }
            if end < starts.len() {
                self.begin_large()?;
                let rest = batch.slice(end, starts.len() - end);
                self.waiting = Some((rest, starts[end..].to_vec()));
            }
            return Ok(());
        }
        // The rows from here on are not known to be whole yet.
        let rest = match self.hold {
            Hold::Rows => batch.num_rows(),
            Hold::Groups | Hold::Partitions => {
                starts.iter().rposition(|start| self.hold.begins(*start)).unwrap_or(0)
            }
        };
        let is_cut = starts.get(rest).is_none_or(|start| self.hold.begins(*start));
        if !is_cut {
            return self.hold(batch, starts);
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
        held.starts.extend(starts);
        held.batches.push(batch);
        if !held.reservation.try_grow(bytes) {
            if held.reservation.held_bytes() + bytes > self.min_held_bytes {
                let first = held.starts.first().copied().unwrap_or(Start::Partition);
                self.writing = Some((Writing::new(&self.over, &held.batches)?, first));
                held.starts.clear();
                held.batches.clear();
                held.reservation.free();
                return Ok(());
            }
            held.reservation.grow(bytes);
        }
        Ok(())
    }

    /// Computes what is in a file.
    fn begin_large(&mut self) -> Result<()> {
        let Some((writing, first)) = self.writing.take() else { return Ok(()) };
        self.large = Some(if self.hold == Hold::Partitions {
            let functions = self.functions.iter().map(|(function, _)| function);
            let large = writing.finish(functions, self.columns, &self.schema, &self.over)?;
            LargeRows::Partition(Box::new(large))
        } else {
            LargeRows::Group(LargeGroup::new(writing, first, &mut self.functions, &self.over)?)
        });
        Ok(())
    }

    /// The next rows from a file.
    fn next_large(&mut self) -> Result<Option<RecordBatch>> {
        match &mut self.large {
            None => Ok(None),
            Some(LargeRows::Partition(large)) => large.next(),
            Some(LargeRows::Group(group)) => {
                let Some((chunk, shared)) = group.next()? else { return Ok(None) };
                let shared = shared.iter().map(Option::as_ref);
                computed(
                    &chunk,
                    &mut self.functions,
                    shared,
                    self.columns,
                    &self.over,
                    &self.schema,
                )
                .map(Some)
            }
        }
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
            Err(batches) => concat_batches(&self.over.input_schema, &batches)?,
        };
        let chunk = Chunk { batch, starts };
        let none = std::iter::repeat(None);
        let whole =
            computed(&chunk, &mut self.functions, none, self.columns, &self.over, &self.schema)?;
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
            self.over.context.cancel.check()?;
            if let Some(batch) = self.given.pop_front() {
                return Ok(Some(batch));
            }
            if let Some(batch) = self.next_large()? {
                return Ok(Some(batch));
            }
            self.large = None;
            if let Some((rows, starts)) = self.waiting.take() {
                self.take(&rows, &starts)?;
            } else if self.has_ended {
                return Ok(None);
            } else if let Some(batch) = self.input.next()? {
                let starts = self.starts.of(&batch)?;
                self.take(&batch, &starts)?;
            } else {
                self.has_ended = true;
                self.begin_large()?;
                self.compute()?;
            }
        }
    }
}

/// The rows of a chunk with the functions' values, of which some are known: one for all rows.
fn computed<'a>(
    chunk: &Chunk,
    functions: &mut [(WindowFunction, State)],
    shared: impl Iterator<Item = Option<&'a ArrayRef>>,
    given_columns: usize,
    over: &Over,
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let mut columns = chunk.batch.columns()[..given_columns].to_vec();
    let mut known: Vec<(Frame, Vec<Range<usize>>)> = Vec::new();
    for ((function, state), of_all) in functions.iter_mut().zip(shared) {
        over.context.cancel.check()?;
        if let Some(of_all) = of_all {
            columns.push(take(of_all, &UInt32Array::from(vec![0; chunk.rows()]), None)?);
            continue;
        }
        let place = if function.function.has_frame() && !matches!(state, State::First(_)) {
            frames_of(&function.frame, &over.order_by, chunk, &mut known)?
        } else {
            None
        };
        let seen = place.map_or(&[][..], |place| known[place].1.as_slice());
        columns.push(value(function, state, chunk, seen)?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(chunk.rows()));
    Ok(RecordBatch::try_new_with_options(SchemaRef::clone(schema), columns, &options)?)
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
