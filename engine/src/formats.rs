//! Formats: how bytes become record batches and record batches bytes.
//!
//! Each format's decoder and encoder stand side by side in one file. A decoder gets blocks that
//! begin at a record; what of a block is no whole record yet, it leaves, and gets it again with
//! more bytes behind it. It knows positions in blocks only: [`crate::source`] turns a
//! [`Refusal`] into an error with file, line and offset.

use std::ops::Range;

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, SchemaRef},
    error::ArrowError,
};
use serde::{Deserialize, Serialize};

use crate::Result;

pub(crate) mod block;
pub(crate) mod fields;
pub(crate) mod scalar;
pub mod csv;
pub mod jsonl;
pub mod text;
pub mod infer;

use block::Block;

/// How a reader's bytes become rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Format {
    /// One row a line, in one text column.
    Text,
    /// RFC 4180.
    Csv(csv::CsvOptions),
    /// One JSON object a line.
    Jsonl(jsonl::JsonlOptions),
}

/// A column that a reader's node declares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeclaredColumn {
    /// Its name.
    pub name: String,
    /// Its type; inferred where absent.
    pub data_type: Option<DataType>,
}

/// How a writer's rows become bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum WriteFormat {
    /// Columns joined by `, `, one row a line.
    Text,
    /// RFC 4180.
    Csv(csv::CsvWriteOptions),
    /// One JSON object a line.
    Jsonl,
    /// An Arrow IPC file, text as `Utf8`.
    Arrow,
}

/// The most bytes of one record, without the newline that ends it.
pub const MAX_RECORD_BYTES: u64 = 16 << 20;

/// How many rows a reader aims to put into one batch.
pub const BATCH_ROWS: usize = 8192;

/// Turns blocks into batches.
pub(crate) trait Decoder: Send {
    /// The rows of the records that begin at `from`, [`BATCH_ROWS`] at most.
    ///
    /// - Shape: the plan's schema; order and number of the records.
    /// - Memory: one batch, whose text points into the block.
    ///
    /// # Errors
    /// The record at `from` is refused; one behind it only ends the batch.
    fn decode(&mut self, block: &Block, from: usize) -> Result<Decoded, Refusal>;
}

/// What a decoder made of a block.
pub(crate) struct Decoded {
    /// Rows, or `None` where the block has no whole record any more.
    pub(crate) batch: Option<RecordBatch>,
    /// Where the first record begins that is not in the batch.
    pub(crate) end: usize,
}

/// Why a decoder can't go on; positions are those of the block.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// A record is not what its format or its types demand.
    BadRecord {
        /// The record.
        range: Range<usize>,
        /// The column, where one is to blame.
        column: Option<String>,
        /// What was expected.
        reason: String,
    },
    /// A record is over [`MAX_RECORD_BYTES`].
    TooLarge {
        /// Where it begins.
        start: usize,
    },
    /// A bug, or types that the plan should not have let through.
    Arrow(ArrowError),
}

impl From<ArrowError> for Refusal {
    fn from(error: ArrowError) -> Self {
        Self::Arrow(error)
    }
}

impl Block {
    /// What a decoder answers that finds no whole record at `from`.
    pub(crate) fn ran_out(&self, from: usize) -> Result<Decoded, Refusal> {
        let text_bytes = self.text().len();
        if let Some(line) = self.invalid_line().filter(|_| from <= text_bytes) {
            return Err(Refusal::BadRecord {
                range: from..line.end,
                column: None,
                reason: String::from("expected UTF-8 text"),
            });
        }
        if (text_bytes - from.min(text_bytes)) as u64 > MAX_RECORD_BYTES {
            return Err(Refusal::TooLarge { start: from });
        }
        Ok(Decoded { batch: None, end: from })
    }
}

/// The decoder of a format into a schema that [`infer::schema`] gave.
pub(crate) fn decoder(format: &Format, schema: SchemaRef) -> Result<Box<dyn Decoder>> {
    match format {
        Format::Text => Ok(Box::new(text::TextDecoder { schema })),
        Format::Csv(options) => Ok(Box::new(csv::CsvDecoder::new(options, schema)?)),
        Format::Jsonl(options) => Ok(Box::new(jsonl::JsonlDecoder::new(options, schema)?)),
    }
}
