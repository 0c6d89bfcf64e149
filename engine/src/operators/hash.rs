//! `hash`: one more column, the hash of the keys, by which an exchange spreads the rows.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, UInt64Array},
    datatypes::SchemaRef,
};

use crate::{
    Result,
    expr::Expr,
    kernels::hash::{SEED, hash_columns},
    operators::Operator,
};

/// Appends the [hash](crate::kernels::hash) of `keys` as the last column, a `UInt64`.
///
/// - Shape: `schema`, which is the input's and the hash; same rows, same order.
/// - Memory: 8 bytes a row beside the input's batch, not charged to the budget.
/// - Errors: [`Error::Evaluate`](crate::Error) of a key.
pub struct Hash {
    input: Box<dyn Operator>,
    keys: Vec<Expr>,
    schema: SchemaRef,
}

impl Hash {
    /// Over the rows of `input`.
    pub fn new(input: Box<dyn Operator>, keys: Vec<Expr>, schema: SchemaRef) -> Self {
        Self { input, keys, schema }
    }
}

impl Operator for Hash {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        let Some(batch) = self.input.next()? else { return Ok(None) };
        let mut hashes = Vec::new();
        evaluate_keys(&self.keys, &batch, &mut hashes)?;
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(UInt64Array::from(hashes)));
        Ok(Some(RecordBatch::try_new(Arc::clone(&self.schema), columns)?))
    }
}

/// The keys' columns; their hashes go to `hashes`, whose old content goes.
///
/// # Errors
/// [`Error::Evaluate`](crate::Error) of a key.
pub(crate) fn evaluate_keys(
    keys: &[Expr],
    batch: &RecordBatch,
    hashes: &mut Vec<u64>,
) -> Result<Vec<ArrayRef>> {
    let columns = keys.iter().map(|key| key.evaluate(batch)).collect::<Result<Vec<_>>>()?;
    hash_columns(&columns, hashes);
    // Without a key all rows are one.
    hashes.resize(batch.num_rows(), SEED);
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{AsArray, Int64Array, RecordBatch, StringViewArray},
        datatypes::{DataType, Field, Schema, UInt64Type},
    };

    use super::Hash;
    use crate::{
        expr::Expr,
        operators::{Batches, Operator},
        plan::with_hash_column,
    };

    #[test]
    fn the_last_column_is_the_hash_of_the_keys() {
        let schema = Schema::new(vec![
            Field::new("n", DataType::Int64, true),
            Field::new("word", DataType::Utf8View, true),
        ]);
        let with_hash = with_hash_column(&schema);
        let batch = RecordBatch::try_new(
            Arc::new(schema),
            vec![
                Arc::new(Int64Array::from(vec![1, 2])),
                Arc::new(StringViewArray::from(vec![Some("mancha"), None])),
            ],
        )
        .unwrap();
        let key =
            |index, name: &str, data_type| Expr::Column { index, name: name.to_owned(), data_type };
        let hashes = |keys| {
            let input = Box::new(Batches::new(vec![batch.clone()]));
            let out = Hash::new(input, keys, Arc::clone(&with_hash)).next().unwrap().unwrap();
            assert_eq!(out.project(&[0, 1]).unwrap(), batch);
            out.column(2).as_primitive::<UInt64Type>().values().to_vec()
        };
        // The vectors of the kernel's own test.
        let word = key(1, "word", DataType::Utf8View);
        assert_eq!(hashes(vec![word]), [0xe79e_ebd6_fa9f_2c7c, 0xa85c_8dbc_889d_ea19]);
        assert_eq!(hashes(vec![key(0, "n", DataType::Int64)])[0], 0x0578_2395_dbd2_f573);
        assert_eq!(hashes(vec![]), [0x006d_696e_6973_7061; 2]);
    }
}
