//! `union`: the rows of several inputs, one input after another.
//!
//! That names and types meet is the plan's business; here the inputs are read in turn.

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    datatypes::SchemaRef,
};

use crate::{Result, operators::Operator};

/// The rows of `inputs`, in their order.
///
/// - Shape: `schema`, whose types are those of every input; nothing is copied.
/// - Order: each input's, and input after input.
/// - Errors: those of its inputs.
pub struct Union {
    inputs: std::vec::IntoIter<Box<dyn Operator>>,
    current: Option<Box<dyn Operator>>,
    schema: SchemaRef,
}

impl Union {
    /// Of operators that are not pulled before their turn.
    pub fn new(inputs: Vec<Box<dyn Operator>>, schema: SchemaRef) -> Self {
        let mut inputs = inputs.into_iter();
        let current = inputs.next();
        Self { inputs, current, schema }
    }
}

impl Operator for Union {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        while let Some(current) = &mut self.current {
            if let Some(batch) = current.next()? {
                let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
                let (schema, columns) = (SchemaRef::clone(&self.schema), batch.columns().to_vec());
                return Ok(Some(RecordBatch::try_new_with_options(schema, columns, &rows)?));
            }
            self.current = self.inputs.next();
        }
        Ok(None)
    }
}
