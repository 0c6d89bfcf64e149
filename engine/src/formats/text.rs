//! Lines of text: decode into one column, encode rows as lines.
//!
//! A line ends with LF or CRLF; the last one may end with the file. Every line is a row, the empty
//! one too. NUL and a CR that is not before a LF are data. The text must be UTF-8, and a byte
//! order mark at the start of a file is no part of it.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch},
    datatypes::{DataType, Field, Schema, SchemaRef},
};

use crate::formats::{
    BATCH_ROWS, Decoded, Decoder, MAX_RECORD_BYTES, Refusal,
    block::{Block, Views},
};

/// The one column of a text file.
pub const LINE_COLUMN: &str = "line";

/// The schema of every text file: the column `line`.
pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new(LINE_COLUMN, DataType::Utf8View, true)]))
}

/// Lines as views into their block.
pub(crate) struct TextDecoder {
    /// One text column, whatever its name.
    pub(crate) schema: SchemaRef,
}

impl Decoder for TextDecoder {
    fn decode(&mut self, block: &Block, from: usize) -> Result<Decoded, Refusal> {
        let from = block.behind_byte_order_mark(from);
        let mut lines = Views::new(block, BATCH_ROWS);
        let end = push_lines(block, from, &mut lines);
        if lines.len() == 0 {
            return block.ran_out(end);
        }
        let column: ArrayRef = Arc::new(lines.finish(None));
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), vec![column])?;
        Ok(Decoded { batch: Some(batch), end })
    }
}

/// Appends the lines from `from` on, a batch at most, and says where the first one begins that was
/// not appended: behind them, cut off, too long, or not UTF-8.
fn push_lines(block: &Block, from: usize, lines: &mut Views<'_>) -> usize {
    let bytes = block.text().as_bytes();
    let mut start = from;
    for newline in memchr::memchr_iter(b'\n', &bytes[from..]) {
        let newline = from + newline;
        if (newline - start) as u64 > MAX_RECORD_BYTES {
            return start;
        }
        let has_return = newline > start && bytes[newline - 1] == b'\r';
        lines.push(start, newline - usize::from(has_return));
        start = newline + 1;
        if lines.len() == BATCH_ROWS {
            return start;
        }
    }
    let rest = bytes.len() - start;
    if block.ends_with_text() && rest > 0 && rest as u64 <= MAX_RECORD_BYTES {
        lines.push(start, bytes.len());
        start = bytes.len();
    }
    start
}
