//! Parquet files. Text leaves as `Utf8`, bytes as `Binary`; columns have dictionaries where those
//! pay, statistics for row groups and pages, and are compressed.
//!
//! Whether a dictionary pays is seen in a file's first rows: the format's own way is to make one and
//! to give it up once it is large, and that costs more than all else of a column of different values.
//!
//! Times in seconds, which the format has not, leave in milliseconds.

use std::sync::Arc;

use arrow::{
    array::{Array, RecordBatch},
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
    error::ArrowError,
};
use hashbrown::HashSet;
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression as Codec, ZstdLevel},
    file::properties::{WriterProperties, WriterPropertiesBuilder},
    schema::types::ColumnPath,
};

use crate::{
    Result,
    formats::{
        Encoder,
        arrow::{edge_batch, edge_schema},
        compression::Compression,
        layout::group_rows,
    },
    kernels::hash::hash_columns,
};

pub(crate) mod chunks;
pub(crate) mod file;
mod flat;
mod footers;
mod late;
pub(crate) mod prune;
pub(crate) mod read;

/// The most rows of a row group of a download.
const STREAM_ROWS: usize = 1 << 20;
/// About the most bytes of a row group of a download, encoded.
const STREAM_BYTES: usize = 8 << 20;
/// The most rows of a row group of a file: enough for statistics to mean something, and few enough
/// for tasks to share a file.
const GROUP_ROWS: usize = 1 << 17;
/// About the most bytes of a row group of a file, as its types have it.
const GROUP_BYTES: usize = 64 << 20;
/// The writer gets so many rows at once, since pages end between its batches.
pub(crate) const WRITE_ROWS: usize = 8192;

/// What may compress the pages.
pub(crate) const COMPRESSIONS: [Compression; 6] = [
    Compression::None,
    Compression::Snappy,
    Compression::Gzip,
    Compression::Zstd,
    Compression::Lz4,
    Compression::Brotli,
];

/// From so many first rows on they tell whether a dictionary pays.
const TELLING_ROWS: usize = 1024;

/// Rows as a Parquet file.
pub(crate) struct ParquetEncoder {
    schema: SchemaRef,
    /// Writes into memory that is emptied into the caller's after every batch.
    writer: ArrowWriter<Vec<u8>>,
    /// What the file is written by, as long as no row of it has been seen.
    unseen: Option<WriterPropertiesBuilder>,
}

impl ParquetEncoder {
    /// An encoder of rows with this schema, for a stream: a row group is held back until it is
    /// full, in rows or in bytes, or until the caller wants its memory back.
    ///
    /// # Errors
    /// Arrow's, where a type has no place in a file.
    pub(crate) fn new(schema: &SchemaRef) -> Result<Self> {
        let properties = properties(Compression::Zstd)
            .set_max_row_group_row_count(Some(STREAM_ROWS))
            .set_max_row_group_bytes(Some(STREAM_BYTES));
        Self::with(schema, properties)
    }

    /// An encoder for a file, whose row groups and pages follow from its rows alone; it wants them
    /// in batches of [`WRITE_ROWS`].
    ///
    /// # Errors
    /// As [`ParquetEncoder::new`].
    pub(crate) fn of_file(schema: &SchemaRef, compression: Compression) -> Result<Self> {
        let rows = group_rows(schema, GROUP_BYTES, GROUP_ROWS);
        let properties = properties(compression)
            .set_max_row_group_row_count(Some(rows))
            .set_max_row_group_bytes(None);
        let encoder = Self::with(schema, properties.clone())?;
        Ok(Self { unseen: Some(properties), ..encoder })
    }

    fn with(schema: &SchemaRef, properties: WriterPropertiesBuilder) -> Result<Self> {
        if let Some(refused) = schema.fields().iter().find(|field| !is_writable(field.data_type()))
        {
            let (name, data_type) = (refused.name(), refused.data_type());
            let message = format!("Parquet has no place for column `{name}` of type {data_type}");
            return Err(ArrowError::NotYetImplemented(message).into());
        }
        let schema = file_schema(&edge_schema(schema));
        let writer = writer(&schema, properties)?;
        Ok(Self { schema, writer, unseen: None })
    }

    /// Has the file's first rows decide which columns get dictionaries.
    fn see(&mut self, batch: &RecordBatch) -> Result<()> {
        let Some(mut properties) = self.unseen.take() else { return Ok(()) };
        let mut has_changed = false;
        for (field, column) in self.schema.fields().iter().zip(batch.columns()) {
            if repeats_little(column) {
                let path = ColumnPath::new(vec![field.name().clone()]);
                properties = properties.set_column_dictionary_enabled(path, false);
                has_changed = true;
            }
        }
        if has_changed {
            self.writer = writer(&self.schema, properties)?;
        }
        Ok(())
    }

    fn empty_into(&mut self, out: &mut Vec<u8>) {
        out.append(self.writer.inner_mut());
    }
}

fn writer(schema: &SchemaRef, properties: WriterPropertiesBuilder) -> Result<ArrowWriter<Vec<u8>>> {
    let writer =
        ArrowWriter::try_new(Vec::new(), SchemaRef::clone(schema), Some(properties.build()));
    Ok(writer.map_err(ArrowError::from)?)
}

/// Whether most values of a column differ from one another; not known of nested ones.
fn repeats_little(column: &Arc<dyn Array>) -> bool {
    let valid = column.len() - column.null_count();
    if column.data_type().is_nested() || valid < TELLING_ROWS {
        return false;
    }
    let mut hashes = Vec::new();
    hash_columns(std::slice::from_ref(column), &mut hashes);
    let different: HashSet<u64> = hashes.into_iter().collect();
    different.len() > valid / 2
}

fn properties(compression: Compression) -> WriterPropertiesBuilder {
    let codec = match compression {
        Compression::None | Compression::Bzip2 => Codec::UNCOMPRESSED,
        Compression::Snappy => Codec::SNAPPY,
        Compression::Gzip => Codec::GZIP(parquet::basic::GzipLevel::default()),
        Compression::Zstd => Codec::ZSTD(ZstdLevel::default()),
        Compression::Lz4 => Codec::LZ4_RAW,
        Compression::Brotli => Codec::BROTLI(parquet::basic::BrotliLevel::default()),
    };
    WriterProperties::builder()
        .set_created_by(concat!("minispark ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(codec)
}

/// Whether the writer makes the same of a column as of one of the file's type: views of text and bytes
/// are written as these are, without a copy.
fn is_written_alike(column: &Arc<dyn Array>, field: &Field) -> bool {
    match (column.data_type(), field.data_type()) {
        (DataType::Utf8View, DataType::Utf8) | (DataType::BinaryView, DataType::Binary) => true,
        (own, of_file) => own == of_file,
    }
}

/// Whether a type can be written.
fn is_writable(data_type: &DataType) -> bool {
    match data_type {
        DataType::Interval(_) => false,
        DataType::List(element) => is_writable(element.data_type()),
        DataType::Struct(fields) => {
            !fields.is_empty() && fields.iter().all(|field| is_writable(field.data_type()))
        }
        _ => true,
    }
}

/// The schema as a file can have it.
fn file_schema(schema: &Schema) -> SchemaRef {
    let fields: Vec<_> = schema.fields().iter().map(file_field).collect();
    Arc::new(Schema::new(fields))
}

fn file_field(field: &Arc<Field>) -> Arc<Field> {
    Arc::new(Field::clone(field).with_data_type(file_type(field.data_type())))
}

fn file_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(TimeUnit::Second, zone) => {
            DataType::Timestamp(TimeUnit::Millisecond, zone.clone())
        }
        DataType::List(element) => DataType::List(file_field(element)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(file_field).collect()),
        other => other.clone(),
    }
}

impl Encoder for ParquetEncoder {
    fn encode(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        self.see(batch)?;
        if batch.columns().iter().zip(self.schema.fields()).all(|(c, f)| is_written_alike(c, f)) {
            self.writer.write(batch).map_err(ArrowError::from)?;
        } else {
            let batch = edge_batch(batch, &self.schema)?;
            self.writer.write(&batch).map_err(ArrowError::from)?;
        }
        self.empty_into(out);
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.writer.finish().map_err(ArrowError::from)?;
        self.empty_into(out);
        Ok(())
    }

    fn held_bytes(&self) -> u64 {
        self.writer.memory_size() as u64
    }

    fn release(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.writer.flush().map_err(ArrowError::from)?;
        self.empty_into(out);
        Ok(())
    }
}
