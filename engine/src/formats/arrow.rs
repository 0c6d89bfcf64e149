//! Arrow IPC, as a file or as a stream. Text leaves as `Utf8` and bytes as `Binary`, because not
//! every reader knows views.

use std::sync::Arc;

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Field, Schema, SchemaRef},
    ipc::{
        CompressionType,
        writer::{FileWriter, IpcWriteOptions, StreamWriter},
    },
};

use crate::{
    Result,
    formats::{Encoder, compression::Compression},
};

pub(crate) mod file;
pub(crate) mod read;

/// What may compress the buffers.
pub(crate) const COMPRESSIONS: [Compression; 3] =
    [Compression::None, Compression::Lz4, Compression::Zstd];

/// The most rows of a record batch of a file.
pub(crate) const BATCH_ROWS: usize = 1 << 14;
/// About the most bytes of a record batch of a file, as its types have it.
pub(crate) const BATCH_BYTES: usize = 2 << 20;

fn write_options(compression: Compression) -> Result<IpcWriteOptions> {
    let compression = match compression {
        Compression::Lz4 => Some(CompressionType::LZ4_FRAME),
        Compression::Zstd => Some(CompressionType::ZSTD),
        _ => None,
    };
    Ok(IpcWriteOptions::default().try_with_compression(compression)?)
}

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
    pub(crate) fn new(schema: &SchemaRef, compression: Compression) -> Result<Self> {
        let schema = edge_schema(schema);
        let options = write_options(compression)?;
        let writer = FileWriter::try_new_with_options(Vec::new(), &schema, options)?;
        Ok(Self { schema, writer })
    }

    fn empty_into(&mut self, out: &mut Vec<u8>) {
        out.append(self.writer.get_mut());
    }
}

/// The schema as it is outside of pipelines: text as `Utf8`, bytes as `Binary`, nested ones too.
pub fn edge_schema(schema: &Schema) -> SchemaRef {
    let fields: Vec<_> = schema.fields().iter().map(edge_field).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn edge_field(field: &Arc<Field>) -> Arc<Field> {
    match field.data_type() {
        data_type @ (DataType::Utf8View
        | DataType::BinaryView
        | DataType::List(_)
        | DataType::Struct(_)) => {
            Arc::new(Field::clone(field).with_data_type(edge_type(data_type)))
        }
        _ => Arc::clone(field),
    }
}

fn edge_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::List(element) => DataType::List(edge_field(element)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(edge_field).collect()),
        other => other.clone(),
    }
}

/// The batch under an [`edge_schema`], whose columns differ from its own in the form of text.
pub(crate) fn edge_batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = (batch.columns().iter().zip(schema.fields()))
        .map(|(column, field)| match column.data_type() {
            same if same == field.data_type() => Ok(Arc::clone(column)),
            // Strict: a value without a place is an error, never a null.
            _ => cast_with_options(
                column,
                field.data_type(),
                &CastOptions { safe: false, ..CastOptions::default() },
            ),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &rows)?)
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
