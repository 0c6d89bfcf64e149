//! Formats: how bytes become record batches and record batches bytes.
//!
//! Each format's decoder and encoder stand side by side in one file. Decoders get whole records:
//! where a record ends is decided by [`crate::source`], before any of this runs.

use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};

pub mod csv;
pub mod jsonl;
pub mod text;
pub mod infer;

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

/// The most bytes of one record.
pub const MAX_RECORD_BYTES: u64 = 16 << 20;

/// How many rows a reader aims to put into one batch.
pub const BATCH_ROWS: usize = 8192;
