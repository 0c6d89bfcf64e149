//! Scatter: rows → buckets, by the hash in their last column.
//!
//! A counting sort of row numbers, so that a batch is taken apart by one `take` over all its
//! columns, whatever the number of buckets. Rows of a bucket keep their order.

use std::ops::Range;

use arrow::{
    array::{RecordBatch, UInt32Array},
    compute::take_record_batch,
};

use crate::Result;

/// The bucket, below `buckets`, of a row with this hash: its high bits, by a multiplication.
pub fn bucket_of(hash: u64, buckets: u32) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "a product's high half is below `buckets`")]
    let bucket = ((u128::from(hash) * u128::from(buckets)) >> 64) as u32;
    bucket
}

/// Row numbers in the order of their buckets; its buffers are kept from batch to batch.
#[derive(Debug, Default)]
pub struct Scatter {
    /// The bucket of each row.
    bucket_of_row: Vec<u32>,
    /// Where each bucket's rows begin in `rows`, and behind the last one their number.
    starts: Vec<u32>,
    /// Row numbers, bucket after bucket.
    rows: Vec<u32>,
    /// Whether the rows stand so already.
    are_in_order: bool,
}

impl Scatter {
    /// Sorts the rows of a batch into `buckets` buckets by [`bucket_of`] their hashes.
    ///
    /// - Shape: fewer than 2³² rows, as every batch has.
    /// - Memory: 8 bytes a row and 4 bytes a bucket, kept for the next batch.
    pub fn scatter(&mut self, hashes: &[u64], buckets: u32) {
        self.scatter_by(hashes, buckets, |hash| bucket_of(hash, buckets));
    }

    /// [`Self::scatter`] by another function of the hash, whose values are below `buckets`.
    #[expect(clippy::cast_possible_truncation, reason = "a batch has fewer than 2³² rows")]
    pub fn scatter_by(
        &mut self,
        hashes: &[u64],
        buckets: u32,
        bucket_of_hash: impl Fn(u64) -> u32,
    ) {
        self.bucket_of_row.clear();
        self.bucket_of_row.extend(hashes.iter().map(|hash| bucket_of_hash(*hash)));
        self.are_in_order = self.bucket_of_row.is_sorted();
        self.starts.clear();
        self.starts.resize(buckets as usize + 2, 0);
        // Counts are kept two places on: the first sum makes them starts one place on, and placing
        // the rows, which moves each start to its end, the starts themselves.
        for bucket in &self.bucket_of_row {
            self.starts[*bucket as usize + 2] += 1;
        }
        let mut sum = 0;
        for start in &mut self.starts {
            sum += *start;
            *start = sum;
        }
        self.rows.clear();
        self.rows.resize(hashes.len(), 0);
        for (row, bucket) in self.bucket_of_row.iter().enumerate() {
            let next = &mut self.starts[*bucket as usize + 1];
            self.rows[*next as usize] = row as u32;
            *next += 1;
        }
        self.starts.truncate(buckets as usize + 1);
    }

    /// The numbers of a bucket's rows, ascending.
    pub fn rows(&self, bucket: u32) -> &[u32] {
        &self.rows[self.range(bucket)]
    }

    /// The numbers of all rows, bucket after bucket.
    pub fn into_rows(self) -> Vec<u32> {
        self.rows
    }

    /// Where a bucket's rows stand in [`Self::permute`]'s batch.
    pub fn range(&self, bucket: u32) -> Range<usize> {
        let bucket = bucket as usize;
        self.starts[bucket] as usize..self.starts[bucket + 1] as usize
    }

    /// The buckets that have rows.
    pub fn occupied(&self) -> impl Iterator<Item = u32> {
        (0u32..).zip(self.starts.windows(2)).filter(|(_, ends)| ends[0] < ends[1]).map(|(at, _)| at)
    }

    /// The rows of `batch` bucket after bucket, to be sliced by [`Self::range`].
    ///
    /// - Memory: a copy of the batch, without the bytes that views point to; none where its rows stand
    ///   so already.
    ///
    /// # Errors
    /// [`Error::Arrow`](crate::Error) where `batch` is not the one whose hashes were scattered.
    pub fn permute(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        if self.are_in_order && self.rows.len() == batch.num_rows() {
            return Ok(batch.clone());
        }
        Ok(take_record_batch(batch, &UInt32Array::from(self.rows.clone()))?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{AsArray, RecordBatch, UInt64Array},
        datatypes::{DataType, Field, Schema, UInt64Type},
    };
    use proptest::prelude::*;

    use super::{Scatter, bucket_of};

    #[test]
    fn buckets_are_equal_ranges_of_the_hash() {
        assert_eq!(bucket_of(0, 3), 0);
        assert_eq!(bucket_of(0x5555_5555_5555_5555, 3), 0);
        assert_eq!(bucket_of(0x5555_5555_5555_5556, 3), 1);
        assert_eq!(bucket_of(u64::MAX, 3), 2);
        assert_eq!(bucket_of(u64::MAX, 1), 0);
        assert_eq!(bucket_of(u64::MAX, u32::MAX), u32::MAX - 1);
    }

    proptest! {
        #[test]
        fn every_row_is_in_its_bucket_once_and_in_order(
            hashes in prop::collection::vec(any::<u64>(), 0..200), buckets in 1u32..40
        ) {
            let mut scatter = Scatter::default();
            scatter.scatter(&[7; 9], 3);
            scatter.scatter(&hashes, buckets);
            let schema = Schema::new(vec![Field::new("hash", DataType::UInt64, false)]);
            let column = UInt64Array::from(hashes.clone());
            let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(column)]).unwrap();
            let permuted = scatter.permute(&batch).unwrap();
            for bucket in 0..buckets {
                let expected: Vec<u32> = (0u32..)
                    .zip(&hashes)
                    .filter(|(_, hash)| bucket_of(**hash, buckets) == bucket)
                    .map(|(row, _)| row)
                    .collect();
                prop_assert_eq!(scatter.rows(bucket), &expected);
                let part = permuted.column(0).as_primitive::<UInt64Type>().slice(
                    scatter.range(bucket).start, scatter.range(bucket).len());
                let values: Vec<u64> = expected.iter().map(|row| hashes[*row as usize]).collect();
                prop_assert_eq!(part.values(), &values);
                prop_assert_eq!(scatter.occupied().any(|at| at == bucket), !expected.is_empty());
            }
        }
    }
}
