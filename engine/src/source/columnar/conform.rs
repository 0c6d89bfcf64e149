//! [`Conform`]: a file's columns → the columns that the plan wants.
//!
//! Files of one reader may have their columns in another order, of narrower types, or lack some;
//! folders give columns that no file has.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt64Array, new_null_array},
    compute::{CastOptions, cast_with_options, take},
    datatypes::{DataType, Schema, SchemaRef},
};

use crate::{
    Error, Result,
    formats::normal::normalise,
    plan::{FolderColumn, InputFile},
    source::folders,
};

/// Brings the batches of one file under the plan's schema.
pub(crate) struct Conform {
    schema: SchemaRef,
    columns: Vec<Column>,
    /// For messages.
    path: String,
}

enum Column {
    /// A column of the file's batches, by place.
    Found(usize),
    /// The same value for all rows; an array of one.
    Same(ArrayRef),
}

impl Conform {
    /// From batches of `found`, by name, to `wanted`; what the file lacks is null.
    pub(crate) fn new(
        found: &Schema,
        wanted: SchemaRef,
        folder_columns: &[FolderColumn],
        file: &InputFile,
    ) -> Result<Self> {
        let column = |field: &Arc<arrow::datatypes::Field>| {
            if let Some(folder) = folder_columns.iter().find(|folder| folder.name == *field.name())
            {
                return Ok(Column::Same(folders::value(&file.path, folder)?));
            }
            Ok(match found.index_of(field.name()) {
                Ok(place) => Column::Found(place),
                Err(_) => Column::Same(new_null_array(field.data_type(), 1)),
            })
        };
        let columns = wanted.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
        Ok(Self { schema: wanted, columns, path: file.path.display().to_string() })
    }

    /// Whether a batch of the file goes through as it is.
    pub(crate) fn is_identity(&self, found: &Schema) -> bool {
        let is_same =
            |(place, column): (usize, &Column)| matches!(column, Column::Found(at) if *at == place);
        *found == *self.schema && self.columns.iter().enumerate().all(is_same)
    }

    /// The batch under the plan's schema.
    ///
    /// # Errors
    /// `Corrupt` for a value that the plan's wider type can't hold, which only instants of a
    /// coarser unit can be.
    pub(crate) fn batch(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let columns = (self.columns.iter().zip(self.schema.fields()))
            .map(|(column, field)| match column {
                Column::Found(place) => self.found(batch.column(*place), field.data_type()),
                Column::Same(value) => repeated(value, rows),
            })
            .collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }

    fn found(&self, column: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
        let column = normalise(column)?;
        if column.data_type() == to {
            return Ok(column);
        }
        let options = CastOptions { safe: false, ..CastOptions::default() };
        cast_with_options(&column, to, &options)
            .map_err(|error| Error::Corrupt { what: self.path.clone(), reason: error.to_string() })
    }
}

/// The one value of an array, so many times.
pub(crate) fn repeated(value: &ArrayRef, rows: usize) -> Result<ArrayRef> {
    if value.is_null(0) {
        return Ok(new_null_array(value.data_type(), rows));
    }
    Ok(take(value, &UInt64Array::from(vec![0; rows]), None)?)
}
