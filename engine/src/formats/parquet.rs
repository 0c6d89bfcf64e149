//! Parquet files. Text leaves as `Utf8`, columns are compressed with Zstandard.
//!
//! A row group is held back until it is full, in rows or in bytes, or until the caller wants its
//! memory back.

use arrow::{array::RecordBatch, datatypes::SchemaRef, error::ArrowError};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};

use crate::{
    Result,
    formats::{
        Encoder,
        arrow::{edge_batch, edge_schema},
    },
};

pub(crate) mod chunks;
pub(crate) mod file;
pub(crate) mod prune;
pub(crate) mod read;

/// The most rows of a row group.
const GROUP_ROWS: usize = 1 << 20;

/// About the most bytes of a row group, encoded.
const GROUP_BYTES: usize = 8 << 20;

/// Rows as a Parquet file.
pub(crate) struct ParquetEncoder {
    schema: SchemaRef,
    /// Writes into memory that is emptied into the caller's after every batch.
    writer: ArrowWriter<Vec<u8>>,
}

impl ParquetEncoder {
    /// An encoder of rows with this schema.
    ///
    /// # Errors
    /// Arrow's, where a type has no place in a file.
    pub(crate) fn new(schema: &SchemaRef) -> Result<Self> {
        let schema = edge_schema(schema);
        let properties = WriterProperties::builder()
            .set_created_by(concat!("minispark ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_max_row_group_bytes(Some(GROUP_BYTES))
            .build();
        let writer = ArrowWriter::try_new(Vec::new(), SchemaRef::clone(&schema), Some(properties))
            .map_err(ArrowError::from)?;
        Ok(Self { schema, writer })
    }

    fn empty_into(&mut self, out: &mut Vec<u8>) {
        out.append(self.writer.inner_mut());
    }
}

impl Encoder for ParquetEncoder {
    fn encode(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        let batch = edge_batch(batch, &self.schema)?;
        self.writer.write(&batch).map_err(ArrowError::from)?;
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
