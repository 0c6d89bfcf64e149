//! [`Operator`]: what every step of a pipeline keeps to.
//!
//! Operators are pulled, own their input, and know nothing of tasks, threads or networks. Rows,
//! time and cancellation are handled around each of them by [`crate::task::metrics`].

use arrow::array::RecordBatch;

use crate::Result;

pub mod map;
pub mod filter;
pub mod flat_map;
pub mod sleep;
pub mod hash;
pub mod reduce_by_key;
pub mod join;
pub mod sort;
pub mod merge;
pub mod limit;
pub mod window;
pub mod first_rows;
pub mod union;
pub mod explode;
pub mod unpivot;
pub mod sample;
pub mod spread;
pub mod range;
pub mod expect;

/// A stream of record batches, pulled one at a time.
///
/// - Shape: every batch has the schema that the plan gives this step, and at least one row.
/// - Order: as the operator's own documentation says.
/// - End: `Ok(None)`, and again `Ok(None)` ever after. After an error it is not pulled again.
pub trait Operator: Send {
    /// The next batch, or `None` at the end.
    ///
    /// # Errors
    /// Its own errors and those of its inputs.
    fn next(&mut self) -> Result<Option<RecordBatch>>;
}

/// A fixed sequence of batches; what tests and collected inputs are read from.
pub struct Batches(std::vec::IntoIter<RecordBatch>);

impl Batches {
    /// The batches in order; empty ones are left out.
    pub fn new(batches: Vec<RecordBatch>) -> Self {
        let kept: Vec<_> = batches.into_iter().filter(|batch| batch.num_rows() > 0).collect();
        Self(kept.into_iter())
    }
}

impl Operator for Batches {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        Ok(self.0.next())
    }
}
