//! `unpivot`: columns become rows of their names and values.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, RecordBatch, StringViewArray, UInt32Array},
    compute::{interleave, take},
    datatypes::SchemaRef,
};

use crate::{Result, expr::Expr, operators::Operator};

/// The most rows of an output batch, unless one row becomes more.
const BATCH_ROWS: usize = 8192;

/// Each row once for each of `values`: the columns `keep`, then the name, then the value.
///
/// - Shape: `schema`; a null is a value like any other.
/// - Order: rows keep theirs; a row's values come in the order of `values`.
/// - Memory: one batch of output, not charged to the budget.
/// - Errors: [`Error::Evaluate`](crate::Error) of a value.
pub struct Unpivot {
    input: Box<dyn Operator>,
    keep: Vec<usize>,
    values: Vec<(String, Expr)>,
    schema: SchemaRef,
    current: Option<Position>,
}

/// An input batch, and its first row that has not come out.
struct Position {
    kept: Vec<ArrayRef>,
    values: Vec<ArrayRef>,
    row: usize,
    rows: usize,
}

impl Unpivot {
    /// All of `values` have one type.
    pub fn new(
        input: Box<dyn Operator>,
        keep: Vec<usize>,
        values: Vec<(String, Expr)>,
        schema: SchemaRef,
    ) -> Self {
        Self { input, keep, values, schema, current: None }
    }

    fn output(&self, position: &Position, rows: Range<usize>) -> Result<RecordBatch> {
        let width = self.values.len();
        let each = rows.clone().flat_map(|row| std::iter::repeat_n(row, width));
        let repeated: UInt32Array = each.map(|row| u32::try_from(row).ok()).collect();
        let mut columns = Vec::with_capacity(position.kept.len() + 2);
        for kept in &position.kept {
            columns.push(take(kept, &repeated, None)?);
        }
        let names = self.values.iter().map(|(name, _)| name.as_str());
        let names = names.cycle().take(rows.len() * width);
        columns.push(Arc::new(names.map(Some).collect::<StringViewArray>()));
        let values: Vec<&dyn Array> = position.values.iter().map(AsRef::as_ref).collect();
        let places = rows.flat_map(|row| (0..width).map(move |value| (value, row)));
        columns.push(interleave(&values, &places.collect::<Vec<_>>())?);
        Ok(RecordBatch::try_new(SchemaRef::clone(&self.schema), columns)?)
    }
}

impl Operator for Unpivot {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(mut position) = self.current.take() {
                let most = (BATCH_ROWS / self.values.len().max(1)).max(1);
                let rows = position.row..position.rows.min(position.row + most);
                let batch = self.output(&position, rows.clone())?;
                position.row = rows.end;
                self.current = (position.row < position.rows).then_some(position);
                return Ok(Some(batch));
            }
            let Some(batch) = self.input.next()? else { return Ok(None) };
            let values = self.values.iter().map(|(_, value)| value.evaluate(&batch));
            let kept = self.keep.iter().map(|column| Arc::clone(batch.column(*column)));
            self.current = Some(Position {
                values: values.collect::<Result<_>>()?,
                kept: kept.collect(),
                row: 0,
                rows: batch.num_rows(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{ArrayRef, AsArray, Int64Array, RecordBatch, record_batch},
        datatypes::{DataType, Field, Int64Type, Schema},
    };

    use super::Unpivot;
    use crate::{
        expr::parse,
        operators::{Batches, Operator},
    };

    fn unpivoted(batch: &RecordBatch) -> Vec<RecordBatch> {
        let column = |name: &str| {
            let index = batch.schema().index_of(name).unwrap();
            (name.to_owned(), parse::column(&batch.schema(), index))
        };
        let fields = vec![
            Field::new("id", DataType::Int64, true),
            Field::new("name", DataType::Utf8View, true),
            Field::new("value", DataType::Int64, true),
        ];
        let input = Box::new(Batches::new(vec![batch.clone()]));
        let values = vec![column("a"), column("b")];
        let mut unpivot = Unpivot::new(input, vec![0], values, Arc::new(Schema::new(fields)));
        std::iter::from_fn(|| unpivot.next().unwrap()).collect()
    }

    #[test]
    fn a_row_becomes_one_for_each_column_and_nulls_stay() {
        let batch = record_batch!(
            ("id", Int64, [1, 2]),
            ("a", Int64, vec![Some(10), None]),
            ("b", Int64, vec![Some(11), Some(21)])
        )
        .unwrap();
        let [out] = &unpivoted(&batch)[..] else { panic!() };
        assert_eq!(out.column(0).as_primitive::<Int64Type>().values(), &[1, 1, 2, 2]);
        let names: Vec<_> = out.column(1).as_string_view().iter().map(Option::unwrap).collect();
        assert_eq!(names, ["a", "b", "a", "b"]);
        let values: Vec<_> = out.column(2).as_primitive::<Int64Type>().iter().collect();
        assert_eq!(values, [Some(10), Some(11), None, Some(21)]);
    }

    #[test]
    fn a_large_batch_comes_out_in_bounded_ones() {
        let numbers = || -> ArrayRef { Arc::new(Int64Array::from_iter_values(0..9000)) };
        let batch =
            RecordBatch::try_from_iter([("id", numbers()), ("a", numbers()), ("b", numbers())])
                .unwrap();
        let out = unpivoted(&batch);
        assert_eq!(out.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [8192, 8192, 1616]);
        assert_eq!(out[2].column(2).as_primitive::<Int64Type>().value(1615), 8999);
    }
}
