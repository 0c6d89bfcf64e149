//! `spread`: one more column, by which an exchange gives each bucket a row in turn.

use std::sync::Arc;

use arrow::{
    array::{RecordBatch, UInt64Array},
    datatypes::SchemaRef,
};

use crate::{Result, operators::Operator};

/// Appends a `UInt64` column of hashes that go to bucket after bucket
/// ([`bucket_of`](crate::kernels::scatter::bucket_of)).
///
/// - Shape: `schema`, which is the input's and the column; same rows, same order.
/// - Memory: 8 bytes a row beside the input's batch, not charged to the budget.
/// - Errors: those of its input.
pub struct Spread {
    input: Box<dyn Operator>,
    buckets: u32,
    next: u32,
    schema: SchemaRef,
}

impl Spread {
    /// Over the rows of `input`; the first one goes to bucket `first`, modulo `buckets`, so that
    /// many short inputs don't all begin with the same.
    pub fn new(input: Box<dyn Operator>, buckets: u32, first: u32, schema: SchemaRef) -> Self {
        let buckets = buckets.max(1);
        Self { input, buckets, next: first % buckets, schema }
    }
}

impl Operator for Spread {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        let Some(batch) = self.input.next()? else { return Ok(None) };
        let mut hashes = Vec::with_capacity(batch.num_rows());
        for _ in 0..batch.num_rows() {
            hashes.push(hash_of(self.next, self.buckets));
            self.next = (self.next + 1) % self.buckets;
        }
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(UInt64Array::from(hashes)));
        Ok(Some(RecordBatch::try_new(SchemaRef::clone(&self.schema), columns)?))
    }
}

/// The least hash that goes to `bucket`.
pub(crate) fn hash_of(bucket: u32, buckets: u32) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "`bucket` is below `buckets`")]
    let hash = (u128::from(bucket) << 64).div_ceil(u128::from(buckets)) as u64;
    hash
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{AsArray, record_batch},
        datatypes::UInt64Type,
    };

    use super::{Spread, hash_of};
    use crate::{
        kernels::scatter::bucket_of,
        operators::{Batches, Operator},
        plan::with_hash_column,
    };

    #[test]
    fn a_hash_goes_to_its_bucket() {
        for buckets in [1, 2, 3, 7, 64, 4096] {
            for bucket in 0..buckets {
                assert_eq!(bucket_of(hash_of(bucket, buckets), buckets), bucket);
            }
        }
    }

    #[test]
    fn rows_go_to_the_buckets_by_turns_across_batches() {
        let batch = record_batch!(("n", Int64, [1, 2, 3, 4])).unwrap();
        let schema = with_hash_column(&batch.schema());
        let input = Box::new(Batches::new(vec![batch.clone(), batch]));
        let mut spread = Spread::new(input, 3, 5, Arc::clone(&schema));
        let mut buckets = Vec::new();
        while let Some(rows) = spread.next().unwrap() {
            let hashes = rows.column(1).as_primitive::<UInt64Type>().values().to_vec();
            buckets.extend(hashes.into_iter().map(|hash| bucket_of(hash, 3)));
        }
        assert_eq!(buckets, [2, 0, 1, 2, 0, 1, 2, 0]);
    }
}
