//! `map`: one expression per output column.
//!
//! Stateless and order-preserving; a column that stays as it is is not copied.

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    datatypes::SchemaRef,
};

use crate::{
    Result,
    expr::{Expr, evaluate::evaluate_all},
    operators::Operator,
};

/// Gives exactly `columns`, evaluated over each batch of `input`.
///
/// - Shape: `schema`; as many rows as the input, in its order.
/// - Memory: one batch of output, not charged to the budget.
/// - Errors: [`Error::Evaluate`](crate::Error).
pub struct Map {
    /// Whose rows.
    pub input: Box<dyn Operator>,
    /// One a column of `schema`.
    pub columns: Vec<Expr>,
    /// What comes out.
    pub schema: SchemaRef,
}

impl Operator for Map {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        let Some(batch) = self.input.next()? else { return Ok(None) };
        let columns = evaluate_all(&self.columns, &batch)?;
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let schema = SchemaRef::clone(&self.schema);
        Ok(Some(RecordBatch::try_new_with_options(schema, columns, &rows)?))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{Int64Array, RecordBatch, cast::AsArray, record_batch},
        datatypes::{DataType, Field, Int64Type, Schema},
    };

    use super::Map;
    use crate::{
        expr::parse,
        operators::{Batches, Operator},
    };

    #[test]
    fn each_column_is_its_expression_and_a_plain_column_is_not_copied() {
        let batch = record_batch!(("n", Int64, [Some(1), None]), ("m", Int64, [10, 20])).unwrap();
        let columns = ["m", "n + m"].map(|e| parse::expression(e, batch.schema_ref()).unwrap());
        let fields = ["m", "sum"].map(|name| Field::new(name, DataType::Int64, true));
        let mut map = Map {
            input: Box::new(Batches::new(vec![batch.clone()])),
            columns: columns.to_vec(),
            schema: Arc::new(Schema::new(fields.to_vec())),
        };
        let out: RecordBatch = map.next().unwrap().unwrap();
        assert!(Arc::ptr_eq(out.column(0), batch.column(1)));
        assert_eq!(
            out.column(1).as_primitive::<Int64Type>(),
            &Int64Array::from(vec![Some(11), None])
        );
        assert!(map.next().unwrap().is_none());
    }
}
