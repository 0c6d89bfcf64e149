//! Parquet and Arrow files as sources: a split is a file plus the units that begin in its bytes.
//!
//! A unit is what its format can be read by alone: a row group, a record batch of an Arrow file, or
//! a whole Arrow stream. Units are grouped into splits by their bytes, as text is cut, so that the
//! tasks of a job follow from its files alone.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};

use crate::{
    Error, Result,
    disk::Disk,
    formats::{Format, arrow::read::Messages, parquet::read::RowGroups},
    memory::Reservation,
    operators::Operator,
    plan::{InputFile, Read, Scan},
    source::{
        runtime_filter::{KnownKeys, Told},
        split::{Split, pieces_by_size, pieces_of},
    },
    task::context::{CancelFlag, TaskContext},
};

pub(crate) mod condition;
pub(crate) mod conform;
pub(crate) mod schema;

/// A piece of a file that can be read by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Where it begins.
    pub(crate) offset: u64,
    /// What of it is read.
    pub(crate) bytes: u64,
}

/// The units of one split, pulled batch by batch.
pub(crate) trait Units: Send {
    /// The next batch, under the plan's schema and not empty. Rows that have no partner by `keys` may be
    /// missing.
    fn next(&mut self, keys: &mut KnownKeys) -> Result<Option<RecordBatch>>;

    /// Whether the scan's predicate holds for all rows of the batch that was given last.
    fn are_tested(&self) -> bool {
        false
    }

    /// How far the split's file has been read.
    fn position(&self) -> u64;

    /// What it holds in memory beside the batches that it gave.
    fn held_bytes(&self) -> u64;
}

/// The rows of the units that begin in one split, in the file's order.
///
/// - Shape: the given schema; batches of at most [`BATCH_ROWS`](crate::formats::BATCH_ROWS) rows,
///   never empty. Rows for which the scan's predicate does not hold, and those without a partner by
///   [a filter](crate::source::runtime_filter), may be missing.
/// - Memory: a window of each column and a page of each, of an Arrow file one record batch; charged
///   whatever the budget says, because nothing is read without them.
/// - Errors: `InputNotFound`, `InputChanged`, `Io`; `Corrupt` with the file's name.
pub(crate) struct ColumnarSource {
    /// What is opened at the first pull, when what is known of the rows wanted is known.
    asked: Asked,
    told: Told,
    /// Of the filters, those that were known at the first pull.
    keys: KnownKeys,
    units: Option<Box<dyn Units>>,
    has_ended: bool,
    cancel: CancelFlag,
    /// Grows to the split's length.
    read_bytes: Arc<AtomicU64>,
    position: u64,
    memory: Option<Reservation>,
}

/// Which rows of which file.
struct Asked {
    split: Split,
    format: Format,
    scan: Scan,
    schema: SchemaRef,
    disk: Arc<dyn Disk>,
}

impl Asked {
    fn open(&self, keys: &KnownKeys) -> Result<Box<dyn Units>> {
        let Self { split, format, scan, schema, disk } = self;
        let schema = Arc::clone(schema);
        Ok(match format {
            Format::Parquet => Box::new(RowGroups::open(split, scan, schema, keys, disk)?),
            Format::Arrow => Box::new(Messages::open(split, scan, schema, disk)?),
            Format::Text(_) | Format::Csv(_) | Format::Jsonl(_) => {
                return Err(Error::Internal(String::from("a text format has no units")));
            }
        })
    }
}

impl ColumnarSource {
    /// Over a split's file, which is opened at the first pull.
    pub(crate) fn open(
        split: &Split,
        format: &Format,
        scan: &Scan,
        schema: SchemaRef,
        context: &TaskContext,
    ) -> Self {
        Self {
            cancel: context.cancel.clone(),
            read_bytes: Arc::clone(&context.read_bytes),
            memory: Some(context.budget.reservation("source")),
            ..Self::over(split, format, scan, schema, &context.data.inputs)
        }
    }

    /// A source that needs nothing of a task but its disk.
    pub(crate) fn over(
        split: &Split,
        format: &Format,
        scan: &Scan,
        schema: SchemaRef,
        disk: &Arc<dyn Disk>,
    ) -> Self {
        let asked = Asked {
            split: split.clone(),
            format: format.clone(),
            scan: scan.clone(),
            schema,
            disk: Arc::clone(disk),
        };
        Self {
            asked,
            told: Told::default(),
            keys: KnownKeys::default(),
            units: None,
            has_ended: false,
            cancel: CancelFlag::default(),
            read_bytes: Arc::default(),
            position: split.start,
            memory: None,
        }
    }

    /// The same, without rows that a filter known at the first pull leaves out.
    pub(crate) fn telling(self, told: Told) -> Self {
        Self { told, ..self }
    }
}

impl Operator for ColumnarSource {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        self.cancel.check()?;
        if self.has_ended {
            return Ok(None);
        }
        let units = if let Some(units) = &mut self.units {
            units
        } else {
            self.keys = KnownKeys::of(&self.told.filters);
            self.units.insert(self.asked.open(&self.keys)?)
        };
        let batch = units.next(&mut self.keys)?;
        self.told.tested.set(units.are_tested());
        if let Some(memory) = &mut self.memory {
            let (held, wanted) = (memory.held_bytes(), units.held_bytes());
            memory.grow(wanted.saturating_sub(held));
            memory.shrink(held.saturating_sub(wanted));
        }
        let position = units.position().max(self.position);
        self.read_bytes.fetch_add(position - self.position, Ordering::Relaxed);
        self.position = position;
        if batch.is_none() {
            // With them go the keys, whose memory is the join's to give back.
            self.units = None;
            self.told.filters.clear();
            self.keys = KnownKeys::default();
            self.has_ended = true;
        }
        Ok(batch)
    }
}

/// The units of a file that may have rows for the scan.
fn units(
    file: &InputFile,
    format: &Format,
    scan: &Scan,
    schema: &SchemaRef,
    disk: &Arc<dyn Disk>,
) -> Result<Vec<Unit>> {
    match format {
        Format::Parquet => crate::formats::parquet::read::units(file, scan, schema, disk),
        _ => crate::formats::arrow::read::units(file, disk),
    }
}

/// Cuts a reader's files into splits; see [`split::splits`](crate::source::split::splits).
///
/// - Shape: as there, but no split has less than a unit, unless `partitions` asks for more splits
///   than there are units: then some are empty.
/// - Reading: what each file says of its units; units that the predicate can't hold for don't count.
pub(crate) fn splits(read: &Read, schema: &SchemaRef, disk: &Arc<dyn Disk>) -> Result<Vec<Split>> {
    let of_files = (read.files.iter())
        .map(|file| units(file, &read.format, &read.scan, schema, disk))
        .collect::<Result<Vec<_>>>()?;
    // A unit without a byte of the columns that are read still has rows.
    let weight = |unit: &Unit| unit.bytes.max(1);
    let sizes: Vec<u64> = of_files.iter().map(|units| units.iter().map(weight).sum()).collect();
    let pieces_of_files = match read.partitions {
        Some(partitions) => pieces_of(&sizes, u64::from(partitions)),
        None => pieces_by_size(&sizes),
    };
    let mut splits = Vec::new();
    for ((file, units), (size, pieces)) in
        read.files.iter().zip(of_files).zip(sizes.into_iter().zip(pieces_of_files))
    {
        let pieces =
            if read.partitions.is_none() { pieces.min(units.len().max(1) as u64) } else { pieces };
        let mut cuts = vec![file.size_bytes; usize::try_from(pieces).unwrap_or(0) + 1];
        let mut before = 0;
        for unit in &units {
            // A unit goes to the piece that its middle lies in.
            let middle = u128::from(before) + u128::from(weight(unit) / 2);
            let piece = middle * u128::from(pieces) / u128::from(size.max(1));
            let piece = usize::try_from(piece).unwrap_or(0);
            if let Some(cut) = cuts.get_mut(piece) {
                *cut = (*cut).min(unit.offset);
            }
            before += weight(unit);
        }
        // A piece without a unit begins where the next one does.
        for piece in (0..cuts.len().saturating_sub(1)).rev() {
            cuts[piece] = cuts[piece].min(cuts[piece + 1]);
        }
        splits.extend(cuts.windows(2).map(|range| Split {
            file: file.clone(),
            start: range[0],
            end: range[1],
            aligned: true,
        }));
    }
    Ok(splits)
}

#[cfg(test)]
mod tests;
