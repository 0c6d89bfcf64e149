//! Arrow IPC, as a file or as a stream. Text leaves as `Utf8`, because not every
//! reader knows views.

use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    compute::cast,
    datatypes::{DataType, Field, Schema, SchemaRef},
    ipc::writer::{FileWriter, StreamWriter},
};

use crate::{Result, formats::Encoder};

pub(crate) mod file;
pub(crate) mod read;

/// Rows as an Arrow IPC file, one record batch for each.
pub(crate) struct ArrowEncoder {
    schema: SchemaRef,
    /// Writes into memory that is emptied into the caller's after every batch.
    writer: FileWriter<Vec<u8>>,
}

impl ArrowEncoder {
    /// An encoder of rows with this schema.
    ///
    /// # Errors
    /// Arrow's, where a type has no place in a file.
    pub(crate) fn new(schema: &SchemaRef) -> Result<Self> {
        let schema = edge_schema(schema);
        let writer = FileWriter::try_new(Vec::new(), &schema)?;
        Ok(Self { schema, writer })
    }

    fn empty_into(&mut self, out: &mut Vec<u8>) {
        out.append(self.writer.get_mut());
    }
}

/// The schema as it is outside of pipelines: text as `Utf8`.
pub fn edge_schema(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Utf8View => Arc::new(Field::clone(field).with_data_type(DataType::Utf8)),
        _ => Arc::clone(field),
    });
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone()))
}

/// The batch under an [`edge_schema`], whose columns differ from its own in the form of text.
pub(crate) fn edge_batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = (batch.columns().iter().zip(schema.fields()))
        .map(|(column, field)| match column.data_type() {
            same if same == field.data_type() => Ok(Arc::clone(column)),
            _ => cast(column, field.data_type()),
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

impl Encoder for ArrowEncoder {
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.empty_into(out);
        Ok(())
    }

    fn encode(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        self.writer.write(&edge_batch(batch, &self.schema)?)?;
        self.empty_into(out);
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.writer.finish()?;
        self.empty_into(out);
        Ok(())
    }
}

/// Rows as an Arrow IPC stream, one record batch for each.
pub(crate) struct ArrowStreamEncoder {
    schema: SchemaRef,
    /// Writes into memory that is emptied into the caller's after every batch.
    writer: StreamWriter<Vec<u8>>,
}

impl ArrowStreamEncoder {
    /// An encoder of rows with this schema.
    ///
    /// # Errors
    /// Arrow's, where a type has no place in a stream.
    pub(crate) fn new(schema: &SchemaRef) -> Result<Self> {
        let schema = edge_schema(schema);
        let writer = StreamWriter::try_new(Vec::new(), &schema)?;
        Ok(Self { schema, writer })
    }
}

impl Encoder for ArrowStreamEncoder {
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<()> {
        out.append(self.writer.get_mut());
        Ok(())
    }

    fn encode(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        self.writer.write(&edge_batch(batch, &self.schema)?)?;
        out.append(self.writer.get_mut());
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.writer.finish()?;
        out.append(self.writer.get_mut());
        Ok(())
    }
}
