//! A chunk: rows that are computed at once, and where partitions and equal rows begin in them.

use std::ops::Range;

use arrow::{
    array::{ArrayRef, RecordBatch, make_comparator},
    compute::{SortOptions, partition},
};

use crate::{Result, kernels::canonical::with_one_zero_and_nan};

/// Rows that come sorted by partition and order.
pub(super) struct Chunk {
    /// The rows.
    pub(super) batch: RecordBatch,
    /// What begins with each row.
    pub(super) starts: Vec<Start>,
}

/// What begins with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Start {
    /// Nothing: it is equal to the row before.
    Row,
    /// A group of rows that are equal in the order.
    Group,
    /// A partition, and so a group.
    Partition,
}

impl Chunk {
    /// How many rows.
    pub(super) fn rows(&self) -> usize {
        self.starts.len()
    }

    /// Whether the first rows belong to the partition of the last rows of the chunk before.
    pub(super) fn goes_on(&self) -> bool {
        self.starts.first().is_some_and(|start| *start != Start::Partition)
    }

    /// The partitions; the first and the last may be parts of one.
    pub(super) fn partitions(&self) -> Vec<Range<usize>> {
        self.ranges(Start::Partition)
    }

    /// The groups of rows that are equal in partition and order.
    pub(super) fn groups(&self) -> Vec<Range<usize>> {
        self.ranges(Start::Group)
    }

    fn ranges(&self, of: Start) -> Vec<Range<usize>> {
        let begins = |row: &usize| *row == 0 || self.starts[*row] >= of;
        let starts: Vec<_> = (0..self.rows()).filter(begins).collect();
        let ends = starts.iter().skip(1).copied().chain([self.rows()]);
        starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect()
    }
}

/// Finds where partitions and groups begin, batch after batch.
pub(super) struct Starts {
    partition_by: Vec<usize>,
    order_by: Vec<usize>,
    /// The keys of the row before, partition keys first.
    before: Option<Vec<ArrayRef>>,
}

impl Starts {
    pub(super) fn new(partition_by: Vec<usize>, order_by: Vec<usize>) -> Self {
        Self { partition_by, order_by, before: None }
    }

    /// What begins with each row of the next batch, which has rows.
    pub(super) fn of(&mut self, batch: &RecordBatch) -> Result<Vec<Start>> {
        let key = |column: &usize| with_one_zero_and_nan(batch.column(*column));
        let partitions = self.partition_by.iter().map(key).collect::<Result<Vec<_>>>()?;
        let orders = self.order_by.iter().map(key).collect::<Result<Vec<_>>>()?;
        let mut starts = vec![Start::Row; batch.num_rows()];
        mark(&orders, Start::Group, &mut starts)?;
        mark(&partitions, Start::Partition, &mut starts)?;
        let count = partitions.len();
        let keys = [partitions, orders].concat();
        starts[0] = match &self.before {
            None => Start::Partition,
            Some(before) => match first_difference(before, &keys)? {
                Some(column) if column < count => Start::Partition,
                Some(_) => Start::Group,
                None => Start::Row,
            },
        };
        let last = batch.num_rows() - 1;
        // Taken and not sliced, so that the batch itself is not kept.
        let index = arrow::array::UInt64Array::from(vec![last as u64]);
        let last_key = |of: &ArrayRef| Ok(arrow::compute::take(of, &index, None)?);
        self.before = Some(keys.iter().map(last_key).collect::<Result<_>>()?);
        Ok(starts)
    }
}

/// Marks the rows that differ from the one before them in one of `keys`.
fn mark(keys: &[ArrayRef], start: Start, starts: &mut [Start]) -> Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    for range in partition(keys)?.ranges() {
        starts[range.start] = start;
    }
    Ok(())
}

/// The first key in which the first row differs from the one before.
fn first_difference(before: &[ArrayRef], keys: &[ArrayRef]) -> Result<Option<usize>> {
    for (column, (last, key)) in before.iter().zip(keys).enumerate() {
        if make_comparator(last, key, SortOptions::default())?(0, 0).is_ne() {
            return Ok(Some(column));
        }
    }
    Ok(None)
}
