//! [`Split`]: a range of a file that holds whole records, and how files are cut into them.

use serde::{Deserialize, Serialize};

use crate::plan::InputFile;

/// A byte range of one file; the records that begin in it are one task's input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// The file.
    pub file: InputFile,
    /// First byte.
    pub start: u64,
    /// Behind the last byte.
    pub end: u64,
    /// Whether `start` and `end` are known record boundaries (then only the records in the range
    /// are touched). Otherwise the reader begins behind the first newline at or after `start - 1`
    /// and ends with the record that contains byte `end - 1`.
    pub aligned: bool,
}
