//! A partition that memory can't hold: its rows wait in a file, from which each function reads them.
//!
//! Functions that need no partition, or only equal rows, run over the file as they run over any
//! input. What is the same for a whole partition is computed in one pass; what looks around a row sees as
//! many blocks at a time as its frames reach. Frames that reach from every row to an end of the
//! partition, and running aggregates without states that can go on, can't be had this way.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array,
    },
    compute::{concat, take},
    datatypes::SchemaRef,
};

use crate::{
    Error, Result,
    expr::{
        SortKey,
        window::{Frame, FrameBound, FrameUnit, Kind, WindowFunction},
    },
    formats::BATCH_ROWS,
    memory::spill::{SpillFile, SpillReader, SpillWriter},
    operators::{
        Operator,
        merge::write_in_blocks,
        window::{
            Functions, Hold, Window,
            around::Around,
            chunk::{Start, Starts},
            hold,
            whole::whole,
        },
    },
    task::context::TaskContext,
};

/// What the functions of a window are over.
#[derive(Clone)]
pub(super) struct Over {
    pub(super) partition_by: Vec<usize>,
    pub(super) order_by: Vec<SortKey>,
    pub(super) input_schema: SchemaRef,
    pub(super) context: TaskContext,
}

impl Over {
    /// Finds where partitions and groups begin.
    pub(super) fn starts(&self) -> Starts {
        let order_by = self.order_by.iter().map(|key| key.column).collect();
        Starts::new(self.partition_by.clone(), order_by)
    }
}

/// The rows of a partition on their way to a file.
pub(super) struct Writing(SpillWriter);

impl Writing {
    /// Begins with some rows.
    pub(super) fn new(over: &Over, rows: &[RecordBatch]) -> Result<Self> {
        let mut writing = Self(over.context.spill(Arc::clone(&over.input_schema))?);
        rows.iter().try_for_each(|batch| writing.add(batch))?;
        Ok(writing)
    }

    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        write_in_blocks(&mut self.0, batch)
    }

    /// All rows are there.
    pub(super) fn file(self) -> Result<Arc<SpillFile>> {
        Ok(Arc::new(self.0.finish()?))
    }

    /// All rows are there: the partition with its functions' values.
    pub(super) fn finish<'a>(
        self,
        functions: impl Iterator<Item = &'a WindowFunction>,
        columns: usize,
        schema: &SchemaRef,
        over: &Over,
    ) -> Result<Large> {
        let file = self.file()?;
        let of_function = |(function, place): (&WindowFunction, usize)| -> Result<Aligned> {
            let column = Arc::new(schema.project(&[place])?);
            Ok(Aligned { values: values(function, column, &file, over)?, left: None })
        };
        let values = functions.zip(columns..).map(of_function).collect::<Result<_>>()?;
        let rows = file.reader(0..file.blocks());
        Ok(Large { rows, columns, schema: Arc::clone(schema), values })
    }
}

/// The rows of a large partition with functions' values.
///
/// - Shape: the window's; the file's batches.
/// - Memory: a block of the file, and what each function holds.
pub(super) struct Large {
    rows: SpillReader,
    columns: usize,
    schema: SchemaRef,
    values: Vec<Aligned>,
}

impl Operator for Large {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        let Some(batch) = self.rows.next()? else { return Ok(None) };
        let mut columns = batch.columns()[..self.columns].to_vec();
        for values in &mut self.values {
            columns.push(values.next(batch.num_rows())?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(Some(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?))
    }
}

/// A function's values for the rows of a file, one array after another.
pub(super) trait Values: Send {
    /// The next ones; `None` at the end.
    fn next(&mut self) -> Result<Option<ArrayRef>>;
}

/// Values in arrays of the lengths that are asked for.
struct Aligned {
    values: Box<dyn Values>,
    left: Option<ArrayRef>,
}

impl Aligned {
    fn next(&mut self, rows: usize) -> Result<ArrayRef> {
        let mut found = self.left.take().into_iter().collect::<Vec<_>>();
        let mut count: usize = found.iter().map(Array::len).sum();
        while count < rows {
            let missing = || Error::Internal(String::from("fewer values than rows of a window"));
            let next = self.values.next()?.ok_or_else(missing)?;
            count += next.len();
            found.push(next);
        }
        let all = match found.as_slice() {
            [only] => Arc::clone(only),
            _ => concat(&found.iter().map(AsRef::as_ref).collect::<Vec<_>>())?,
        };
        self.left = (count > rows).then(|| all.slice(rows, count - rows));
        Ok(all.slice(0, rows))
    }
}

/// How a function's values for the one partition of a file come about.
fn values(
    function: &WindowFunction,
    column: SchemaRef,
    file: &Arc<SpillFile>,
    over: &Over,
) -> Result<Box<dyn Values>> {
    let reader = || file.reader(0..file.blocks());
    if hold(function) < Hold::Partitions {
        return Ok(Box::new(Nested::new(reader(), function, column, over)));
    }
    let rows = file.rows();
    Ok(match &function.function {
        Kind::PercentRank => Box::new(Ranks::new(Rank::Percent, rows, reader(), None, over)),
        Kind::CumeDist => Box::new(Ranks::new(Rank::UpTo, rows, reader(), Some(reader()), over)),
        Kind::Ntile(tiles) => Box::new(Ranks::new(Rank::Tile(*tiles), rows, reader(), None, over)),
        kind if kind.has_frame() && is_whole(&function.frame, &over.order_by) => {
            Box::new(Constant { value: whole(function, reader(), over)?, rows })
        }
        Kind::Lag(_) if function.ignore_nulls => return Err(too_large(rows, over)),
        kind if kind.has_frame() && !is_bounded(&function.frame) => {
            return Err(too_large(rows, over));
        }
        _ => Box::new(Around::new(function, file, over)),
    })
}

/// Whether every frame is its whole partition.
fn is_whole(frame: &Frame, order_by: &[SortKey]) -> bool {
    // Without an order all rows are equal.
    let current = frame.unit != FrameUnit::Rows && order_by.is_empty();
    let is_end = |bound: FrameBound, end: FrameBound| {
        bound == end || (current && bound == FrameBound::CurrentRow)
    };
    is_end(frame.start, FrameBound::UnboundedPreceding)
        && is_end(frame.end, FrameBound::UnboundedFollowing)
}

/// Whether no frame reaches to an end of its partition by itself.
fn is_bounded(frame: &Frame) -> bool {
    frame.start != FrameBound::UnboundedPreceding && frame.end != FrameBound::UnboundedFollowing
}

/// The error of a function that must hold a partition which memory can't.
pub(super) fn too_large(rows: u64, over: &Over) -> Error {
    let limit = over.context.budget.limit_bytes();
    Error::MemoryLimit {
        operator: format!("window over a partition of {rows} rows"),
        asked_bytes: limit.saturating_add(1),
        budget_bytes: limit,
    }
}

/// A function that a window over the file computes without holding the partition.
struct Nested(Box<Window>);

impl Nested {
    fn new(reader: SpillReader, function: &WindowFunction, column: SchemaRef, over: &Over) -> Self {
        let functions = Functions {
            columns: 0,
            partition_by: over.partition_by.clone(),
            order_by: over.order_by.clone(),
            functions: vec![function.clone()],
        };
        let schema = Arc::clone(&over.input_schema);
        Self(Box::new(Window::new(Box::new(reader), functions, schema, column, &over.context)))
    }
}

impl Values for Nested {
    fn next(&mut self) -> Result<Option<ArrayRef>> {
        Ok(self.0.next()?.map(|batch| Arc::clone(batch.column(0))))
    }
}

/// One value in all rows.
struct Constant {
    value: ArrayRef,
    rows: u64,
}

impl Values for Constant {
    fn next(&mut self) -> Result<Option<ArrayRef>> {
        let rows = usize::try_from(self.rows).unwrap_or(usize::MAX).min(BATCH_ROWS);
        self.rows -= rows as u64;
        if rows == 0 {
            return Ok(None);
        }
        Ok(Some(take(&self.value, &UInt32Array::from(vec![0; rows]), None)?))
    }
}

/// A rank that needs to know how many rows there are.
#[derive(Clone, Copy)]
enum Rank {
    /// `percent_rank`
    Percent,
    /// `cume_dist`
    UpTo,
    /// `ntile`
    Tile(u64),
}

struct Ranks {
    rank: Rank,
    all: u64,
    reader: SpillReader,
    starts: Starts,
    /// The rows before.
    before: u64,
    /// The rows before the group.
    group: u64,
    /// The rows up to the end of the group.
    up_to: u64,
    ahead: Option<Ahead>,
}

impl Ranks {
    fn new(
        rank: Rank,
        all: u64,
        reader: SpillReader,
        ahead: Option<SpillReader>,
        over: &Over,
    ) -> Self {
        let ahead = ahead.map(|rows| Ahead {
            reader: rows,
            starts: over.starts(),
            known: Vec::new().into_iter(),
            before: 0,
        });
        Self { rank, all, reader, starts: over.starts(), before: 0, group: 0, up_to: 0, ahead }
    }

    fn of_row(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "2⁵³ rows are out of reach")]
        let ratio = |part: u64, whole: u64| part as f64 / whole as f64;
        match self.rank {
            Rank::Percent if self.all < 2 => 0.0,
            Rank::Percent => ratio(self.group, self.all - 1),
            Rank::UpTo | Rank::Tile(_) => ratio(self.up_to, self.all),
        }
    }
}

impl Values for Ranks {
    fn next(&mut self) -> Result<Option<ArrayRef>> {
        let Some(batch) = self.reader.next()? else { return Ok(None) };
        let rows = batch.num_rows() as u64;
        if let Rank::Tile(tiles) = self.rank {
            let numbers = self.before..self.before + rows;
            self.before += rows;
            let tile = |row: u64| tile_of(row, self.all, tiles);
            return Ok(Some(Arc::new(Int64Array::from_iter_values(numbers.map(tile)))));
        }
        let mut values = Vec::with_capacity(batch.num_rows());
        for start in self.starts.of(&batch)? {
            if start != Start::Row {
                self.group = self.before;
                if let Some(ahead) = &mut self.ahead {
                    self.up_to = ahead.end_behind(self.before, self.all)?;
                }
            }
            self.before += 1;
            values.push(self.of_row());
        }
        Ok(Some(Arc::new(Float64Array::from(values))))
    }
}

/// The tile of a row of `rows`; the first tiles have one row more where they don't come out even.
fn tile_of(row: u64, rows: u64, tiles: u64) -> i64 {
    let (small, large) = (rows / tiles, rows % tiles);
    let in_large = large * (small + 1);
    let tile = if row < in_large {
        row / (small + 1)
    } else {
        // With fewer rows than tiles all rows are in tiles of one.
        large + (row - in_large) / small.max(1)
    };
    i64::try_from(tile).unwrap_or(i64::MAX).saturating_add(1)
}

/// Reads ahead for the ends of groups.
struct Ahead {
    reader: SpillReader,
    starts: Starts,
    known: std::vec::IntoIter<Start>,
    /// The rows that have been looked at.
    before: u64,
}

impl Ahead {
    /// How many rows there are up to the end of the group that begins with row `first`.
    fn end_behind(&mut self, first: u64, all: u64) -> Result<u64> {
        loop {
            match self.known.next() {
                Some(start) => {
                    let row = self.before;
                    self.before += 1;
                    if start != Start::Row && row > first {
                        return Ok(row);
                    }
                }
                None => match self.reader.next()? {
                    Some(batch) => self.known = self.starts.of(&batch)?.into_iter(),
                    None => return Ok(all),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::tile_of;

    #[test]
    fn tiles_are_of_one_size_but_that_the_first_may_have_one_row_more() {
        let tiles =
            |rows: u64, tiles| (0..rows).map(|row| tile_of(row, rows, tiles)).collect::<Vec<_>>();
        assert_eq!(tiles(7, 3), [1, 1, 1, 2, 2, 3, 3]);
        assert_eq!(tiles(6, 3), [1, 1, 2, 2, 3, 3]);
        assert_eq!(tiles(2, 5), [1, 2]);
    }
}
