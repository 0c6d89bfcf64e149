//! Encoders of files whose bytes follow from their rows alone, never from the batches these come
//! in: [`Rebatched`] in front of formats that keep batches, [`Compressed`] behind those of text.

use std::io::Write;

use arrow::{
    array::RecordBatch,
    compute::BatchCoalescer,
    datatypes::{DataType, Schema, SchemaRef},
};

use crate::{
    Error, Result,
    formats::{
        Encoder,
        compression::{Compression, Compressor},
    },
};

/// A compressor gets its input in pieces of so many bytes, since some end a block with a write.
const PIECE_BYTES: usize = 64 << 10;

/// The rows that a row group or a record batch of about `bytes` has, from the types alone: a power
/// of two from 8,192 to `most`.
pub(crate) fn group_rows(schema: &Schema, bytes: usize, most: usize) -> usize {
    const LEAST: usize = 8192;
    let width: usize = schema.fields().iter().map(|field| width(field.data_type())).sum();
    let rows = (bytes / width.max(1)).clamp(LEAST, most);
    // The power of two at or below.
    1 << rows.ilog2()
}

/// About what a value takes, in bytes.
fn width(data_type: &DataType) -> usize {
    const TEXT: usize = 32;
    const LIST: usize = 8;
    match data_type {
        DataType::List(element) => LIST + 2 * width(element.data_type()),
        DataType::Struct(fields) => fields.iter().map(|field| width(field.data_type())).sum(),
        other => other.primitive_width().unwrap_or(TEXT),
    }
}

/// Gives an encoder batches of one size, but for the last.
pub(crate) struct Rebatched {
    encoder: Box<dyn Encoder>,
    coalescer: BatchCoalescer,
}

impl Rebatched {
    pub(crate) fn new(encoder: Box<dyn Encoder>, schema: &SchemaRef, rows: usize) -> Self {
        Self { encoder, coalescer: BatchCoalescer::new(SchemaRef::clone(schema), rows) }
    }

    fn pass_on(&mut self, out: &mut Vec<u8>) -> Result<()> {
        while let Some(batch) = self.coalescer.next_completed_batch() {
            self.encoder.encode(&batch, out)?;
        }
        Ok(())
    }
}

impl Encoder for Rebatched {
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.encoder.begin(out)
    }

    fn encode(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        self.coalescer.push_batch(batch.clone())?;
        self.pass_on(out)
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.coalescer.finish_buffered_batch()?;
        self.pass_on(out)?;
        self.encoder.finish(out)
    }

    fn held_bytes(&self) -> u64 {
        self.encoder.held_bytes()
    }
}

/// Compresses what an encoder gives.
pub(crate) struct Compressed {
    encoder: Box<dyn Encoder>,
    /// Absent once the stream is ended.
    compressor: Option<Compressor<Vec<u8>>>,
    /// What is not a whole piece yet.
    plain: Vec<u8>,
}

impl Compressed {
    pub(crate) fn new(encoder: Box<dyn Encoder>, compression: Compression) -> Result<Self> {
        let compressor = compression.writer(Vec::new()).map_err(failed)?;
        Ok(Self { encoder, compressor: Some(compressor), plain: Vec::new() })
    }

    fn pass_on(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let Some(compressor) = &mut self.compressor else { return Ok(()) };
        let whole = self.plain.len() / PIECE_BYTES * PIECE_BYTES;
        for piece in self.plain[..whole].chunks(PIECE_BYTES) {
            compressor.write_all(piece).map_err(failed)?;
        }
        self.plain.drain(..whole);
        out.append(compressor.get_mut());
        Ok(())
    }
}

/// Memory takes all that is written to it: only a bug can have a codec fail.
fn failed(error: std::io::Error) -> Error {
    Error::Internal(format!("compression: {error}"))
}

impl Encoder for Compressed {
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.encoder.begin(&mut self.plain)?;
        self.pass_on(out)
    }

    fn encode(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        self.encoder.encode(batch, &mut self.plain)?;
        self.pass_on(out)
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.encoder.finish(&mut self.plain)?;
        self.pass_on(out)?;
        if let Some(mut compressor) = self.compressor.take() {
            compressor.write_all(&self.plain).map_err(failed)?;
            out.append(&mut compressor.finish().map_err(failed)?);
        }
        Ok(())
    }

    fn held_bytes(&self) -> u64 {
        self.encoder.held_bytes() + self.plain.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};

    use super::group_rows;

    #[test]
    fn groups_follow_from_types() {
        let wide = |columns: usize| {
            let field = |number| Field::new(format!("c{number}"), DataType::Int64, true);
            Schema::new((0..columns).map(field).collect::<Vec<_>>())
        };
        assert_eq!(group_rows(&wide(1), 64 << 20, 1 << 17), 1 << 17);
        assert_eq!(group_rows(&wide(100), 64 << 20, 1 << 17), 1 << 16);
        assert_eq!(group_rows(&wide(100_000), 64 << 20, 1 << 17), 8192);
    }
}
