//! `limit`: the first rows of one partition.
//!
//! Which rows are first is the plan's business; here they are counted as they come.

use arrow::array::RecordBatch;

use crate::{Result, operators::Operator};

/// Leaves out `offset` rows of `input` and passes on the `n` that follow.
///
/// - Shape: same schema, same order; the input is not pulled again once `n` rows have left.
/// - Errors: those of its input.
pub struct Limit {
    input: Box<dyn Operator>,
    offset: u64,
    n: u64,
}

impl Limit {
    /// The rows `offset..offset + n` of `input`.
    pub fn new(input: Box<dyn Operator>, offset: u64, n: u64) -> Self {
        Self { input, offset, n }
    }
}

impl Operator for Limit {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        while self.n > 0 {
            let Some(batch) = self.input.next()? else { return Ok(None) };
            let skipped = at_most(batch.num_rows(), self.offset);
            self.offset -= skipped as u64;
            let kept = at_most(batch.num_rows() - skipped, self.n);
            self.n -= kept as u64;
            if kept > 0 {
                return Ok(Some(batch.slice(skipped, kept)));
            }
        }
        Ok(None)
    }
}

/// The lesser of a batch's rows and a count that may be far greater.
fn at_most(rows: usize, count: u64) -> usize {
    usize::try_from(count).map_or(rows, |count| rows.min(count))
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{RecordBatch, cast::AsArray, record_batch},
        datatypes::Int64Type,
    };

    use super::Limit;
    use crate::operators::{Batches, Operator};

    fn limit(offset: u64, n: u64) -> Vec<i64> {
        let batch = |values: [i64; 3]| -> RecordBatch {
            record_batch!(("n", Int64, values.to_vec())).unwrap()
        };
        let input = Box::new(Batches::new(vec![batch([1, 2, 3]), batch([4, 5, 6])]));
        let mut operator = Limit::new(input, offset, n);
        let mut rows = Vec::new();
        while let Some(next) = operator.next().unwrap() {
            rows.extend(next.column(0).as_primitive::<Int64Type>().values());
        }
        rows
    }

    #[test]
    fn offset_and_count_cross_batches() {
        assert_eq!(limit(2, 3), [3, 4, 5]);
        assert_eq!(limit(0, 3), [1, 2, 3]);
        assert_eq!(limit(4, u64::MAX), [5, 6]);
    }

    #[test]
    fn nothing_is_left_of_no_rows_or_a_far_offset() {
        assert_eq!(limit(0, 0), [0; 0]);
        assert_eq!(limit(7, 1), [0; 0]);
        assert_eq!(limit(u64::MAX, 1), [0; 0]);
    }
}
