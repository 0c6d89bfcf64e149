//! Numbers of rows: `row_number`, `rank`, `dense_rank`, `percent_rank`, `cume_dist`, `ntile`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array};

use crate::operators::window::chunk::{Chunk, Start};

/// Where the counting of a partition stands, for those that go on from chunk to chunk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    rows: i64,
    rank: i64,
    groups: i64,
}

impl Counts {
    /// The state at each row, of which `number` takes one.
    fn numbers(&mut self, chunk: &Chunk, number: impl Fn(Self) -> i64) -> ArrayRef {
        let next = |start: &Start| {
            if *start == Start::Partition {
                *self = Self::default();
            }
            self.rows += 1;
            if *start != Start::Row {
                self.rank = self.rows;
                self.groups += 1;
            }
            number(*self)
        };
        Arc::new(Int64Array::from_iter_values(chunk.starts.iter().map(next)))
    }

    pub(super) fn row_number(&mut self, chunk: &Chunk) -> ArrayRef {
        self.numbers(chunk, |counts| counts.rows)
    }

    pub(super) fn rank(&mut self, chunk: &Chunk) -> ArrayRef {
        self.numbers(chunk, |counts| counts.rank)
    }

    pub(super) fn dense_rank(&mut self, chunk: &Chunk) -> ArrayRef {
        self.numbers(chunk, |counts| counts.groups)
    }
}

/// `(rank - 1) / (rows - 1)` in whole partitions.
pub(super) fn percent_rank(chunk: &Chunk) -> ArrayRef {
    by_group(chunk, |before, _, rows| if rows < 2 { 0.0 } else { ratio(before, rows - 1) })
}

/// The part of the rows up to the last equal one, in whole partitions.
pub(super) fn cume_dist(chunk: &Chunk) -> ArrayRef {
    by_group(chunk, |_, up_to, rows| ratio(up_to, rows))
}

#[expect(clippy::cast_precision_loss, reason = "a partition of 2⁵³ rows is out of reach")]
fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

/// What `value` makes of the rows before a group, up to its end, and of its partition.
fn by_group(chunk: &Chunk, value: impl Fn(usize, usize, usize) -> f64) -> ArrayRef {
    let mut values = Vec::with_capacity(chunk.rows());
    let groups = chunk.groups();
    let mut groups = groups.iter().peekable();
    for partition in chunk.partitions() {
        while let Some(group) = groups.next_if(|group| group.start < partition.end) {
            let (before, up_to) = (group.start - partition.start, group.end - partition.start);
            let value = value(before, up_to, partition.len());
            values.extend(std::iter::repeat_n(value, group.len()));
        }
    }
    Arc::new(Float64Array::from(values))
}

/// The number of each row's tile of `tiles`, in whole partitions; the first ones are larger.
pub(super) fn ntile(chunk: &Chunk, tiles: u64) -> ArrayRef {
    let mut values = Vec::with_capacity(chunk.rows());
    for partition in chunk.partitions() {
        let rows = partition.len() as u64;
        let (small, large) = (rows / tiles, rows % tiles);
        let (mut tile, mut left) = (0, 0);
        for _ in 0..rows {
            if left == 0 {
                left = small + u64::from(tile < large.cast_signed());
                tile += 1;
            }
            left -= 1;
            values.push(tile);
        }
    }
    Arc::new(Int64Array::from(values))
}
