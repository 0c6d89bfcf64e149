//! CSV (RFC 4180): decode and encode.

use serde::{Deserialize, Serialize};

use crate::formats::DeclaredColumn;

/// How CSV is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CsvOptions {
    /// Whether each file's first record names the columns.
    pub header: bool,
    /// Declared columns; a type that is absent is inferred. `None`: names from the header.
    pub columns: Option<Vec<DeclaredColumn>>,
    /// Between fields.
    pub delimiter: u8,
}

/// How CSV is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CsvWriteOptions {
    /// Whether each file begins with the columns' names.
    pub header: bool,
    /// Between fields.
    pub delimiter: u8,
}
