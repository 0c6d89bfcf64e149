//! Expr × RecordBatch → array.

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};

use crate::{
    Result,
    expr::{Expr, Predicate},
};

impl Expr {
    /// The expression's value for every row of `batch`.
    ///
    /// # Errors
    /// [`Error::Evaluate`](crate::Error) on overflow, division by zero, a bad cast.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        todo!()
    }
}

impl Predicate {
    /// For every row whether it is true; null may stand for false.
    ///
    /// # Errors
    /// As [`Expr::evaluate`].
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        todo!()
    }
}
