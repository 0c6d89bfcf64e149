//! Values of other rows: `lag`, `lead`, `first_value`, `last_value`, `nth_value`.
//!
//! Each is an index a row, and then one gather.

use std::ops::Range;

use arrow::{
    array::{Array, ArrayRef, BooleanArray, UInt64Array},
    compute::{concat, kernels::zip::zip, take},
};

use crate::{
    Result,
    operators::window::chunk::{Chunk, Start},
};

/// The values at some rows; null where there is none.
fn gather(values: &ArrayRef, indices: &UInt64Array) -> Result<ArrayRef> {
    Ok(take(values, indices, None)?)
}

/// Places of values that count: all, or those that are not null.
struct Places {
    /// The rows of values that count, ascending; absent where all do.
    rows: Option<Vec<usize>>,
}

impl Places {
    fn new(values: &ArrayRef, ignore_nulls: bool) -> Self {
        let nulls = values.logical_nulls().filter(|nulls| ignore_nulls && nulls.null_count() > 0);
        Self { rows: nulls.map(|nulls| nulls.valid_indices().collect()) }
    }

    /// The value so many behind the first that counts in `frame`.
    fn behind_start(&self, frame: &Range<usize>, skip: usize) -> Option<usize> {
        let row = match &self.rows {
            None => frame.start.checked_add(skip)?,
            Some(rows) => {
                let first = rows.partition_point(|row| *row < frame.start);
                *rows.get(first.checked_add(skip)?)?
            }
        };
        (row < frame.end).then_some(row)
    }

    /// The value so many before the last that counts in `frame`.
    fn before_end(&self, frame: &Range<usize>, skip: usize) -> Option<usize> {
        let row = match &self.rows {
            None => frame.end.checked_sub(skip)?.checked_sub(1)?,
            Some(rows) => {
                let behind = rows.partition_point(|row| *row < frame.end);
                rows[behind.checked_sub(skip)?.checked_sub(1)?]
            }
        };
        (row >= frame.start).then_some(row)
    }
}

/// The value of the frame's first row, second, and so on by `skip`.
pub(super) fn nth_value(
    values: &ArrayRef,
    frames: &[Range<usize>],
    skip: usize,
    ignore_nulls: bool,
) -> Result<ArrayRef> {
    let places = Places::new(values, ignore_nulls);
    let index = |frame| places.behind_start(frame, skip).map(|row| row as u64);
    gather(values, &frames.iter().map(index).collect())
}

/// The value of the frame's last row.
pub(super) fn last_value(
    values: &ArrayRef,
    frames: &[Range<usize>],
    ignore_nulls: bool,
) -> Result<ArrayRef> {
    let places = Places::new(values, ignore_nulls);
    let index = |frame| places.before_end(frame, 0).map(|row| row as u64);
    gather(values, &frames.iter().map(index).collect())
}

/// The values so many rows before in whole partitions, or behind where `by` is negative; where
/// there is none, `default`, or null.
pub(super) fn lag(
    chunk: &Chunk,
    values: &ArrayRef,
    by: i64,
    default: Option<&ArrayRef>,
    ignore_nulls: bool,
) -> Result<ArrayRef> {
    let places = Places::new(values, ignore_nulls);
    let distance = usize::try_from(by.unsigned_abs()).unwrap_or(usize::MAX);
    let mut indices = Vec::with_capacity(chunk.rows());
    for partition in chunk.partitions() {
        for row in partition.clone() {
            let index = match distance.checked_sub(1) {
                None => Some(row),
                Some(skip) if by > 0 => places.before_end(&(partition.start..row), skip),
                Some(skip) => places.behind_start(&(row + 1..partition.end), skip),
            };
            indices.push(index.map(|found| found as u64));
        }
    }
    with_default(&gather(values, &indices.iter().copied().collect())?, &indices, default)
}

/// The values, and the default in rows that have no index.
fn with_default(
    values: &ArrayRef,
    indices: &[Option<u64>],
    default: Option<&ArrayRef>,
) -> Result<ArrayRef> {
    let Some(default) = default else { return Ok(ArrayRef::clone(values)) };
    let is_there: BooleanArray = indices.iter().map(|index| Some(index.is_some())).collect();
    Ok(zip(&is_there, values, default)?)
}

/// `lag` from chunk to chunk: the last values of the chunks before are kept.
#[derive(Default)]
pub(super) struct Lag {
    /// At most as many values as `lag` looks back.
    before: Option<ArrayRef>,
    /// How many rows of the partition have been.
    rows: usize,
}

impl Lag {
    /// As [`lag`], of a distance that is not negative and bounded.
    pub(super) fn next(
        &mut self,
        chunk: &Chunk,
        values: &ArrayRef,
        by: usize,
        default: Option<&ArrayRef>,
    ) -> Result<ArrayRef> {
        let all = match &self.before {
            Some(before) => concat(&[before, values])?,
            None => ArrayRef::clone(values),
        };
        let first = all.len() - values.len();
        let index = |(row, start): (usize, &Start)| {
            self.rows = if *start == Start::Partition { 0 } else { self.rows };
            let index = (self.rows >= by).then(|| (first + row - by) as u64);
            self.rows += 1;
            index
        };
        let indices: Vec<_> = chunk.starts.iter().enumerate().map(index).collect();
        let given =
            with_default(&gather(&all, &indices.iter().copied().collect())?, &indices, default)?;
        let kept = by.min(all.len());
        // Taken and not sliced, so that the chunk itself is not kept.
        let last =
            UInt64Array::from_iter_values((all.len() - kept..all.len()).map(|row| row as u64));
        self.before = Some(gather(&all, &last)?);
        Ok(given)
    }
}

/// `first_value` from chunk to chunk, where every frame begins with its partition.
#[derive(Default)]
pub(super) struct First(Option<ArrayRef>);

impl First {
    pub(super) fn next(&mut self, chunk: &Chunk, values: &ArrayRef) -> Result<ArrayRef> {
        let all = match &self.0 {
            Some(before) => concat(&[before, values])?,
            None => ArrayRef::clone(values),
        };
        let before = (all.len() - values.len()) as u64;
        let mut first = 0;
        let index = |(row, start): (u64, &Start)| {
            first = if *start == Start::Partition { before + row } else { first };
            first
        };
        let indices = UInt64Array::from_iter_values((0..).zip(&chunk.starts).map(index));
        let given = gather(&all, &indices)?;
        let last = given.len() - 1;
        self.0 = Some(gather(&given, &UInt64Array::from(vec![last as u64]))?);
        Ok(given)
    }
}
