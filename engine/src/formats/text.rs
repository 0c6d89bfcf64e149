//! Lines of text: decode into one column, encode rows as lines.
//!
//! A line ends with LF or CRLF; the last one may end with the file. Every line is a row, the empty
//! one too. NUL and a CR that is not before a LF are data. The text must be UTF-8, and a byte
//! order mark at the start of a file is no part of it.
//!
//! Rows are written with their columns joined by `, `, a null as nothing, floats in the shortest
//! form and whole ones without a fraction, times as ISO 8601, bytes as hexadecimal digits, lists
//! and structs as JSON, and a line break inside a value as
//! the two characters `\n` or `\r`. That is for people: unlike CSV it can't be read back exactly.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch},
    datatypes::{DataType, Field, Schema, SchemaRef},
};

use crate::{
    Result,
    formats::{
        BATCH_ROWS, BadRecords, Decoded, Decoder, Encoder, MAX_RECORD_BYTES, Refusal,
        block::{Block, Views},
        cells::{Normal, Scratch, Style},
    },
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
    fn decode(
        &mut self,
        block: &Block,
        from: usize,
        bad: &mut BadRecords,
    ) -> Result<Decoded, Refusal> {
        let from = block.behind_byte_order_mark(from);
        let mut lines = Views::new(block, BATCH_ROWS);
        let end = push_lines(block, from, &mut lines);
        if lines.len() == 0 {
            return block.ran_out(end, bad);
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
    if start > bytes.len() {
        return start;
    }
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

/// Rows as lines for people.
#[derive(Default)]
pub(crate) struct TextEncoder {
    scratch: Scratch,
}

impl Encoder for TextEncoder {
    fn encode(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        let columns = Normal::new(batch)?;
        let columns = columns.cells()?;
        for row in 0..batch.num_rows() {
            for (number, column) in columns.iter().enumerate() {
                if number > 0 {
                    out.extend_from_slice(b", ");
                }
                if !column.is_null(row) {
                    column.write(row, &Line, &mut self.scratch, out);
                }
            }
            out.push(b'\n');
        }
        Ok(())
    }
}

struct Line;

impl Style for Line {
    fn text(&self, value: &str, out: &mut Vec<u8>) {
        let mut rest = value.as_bytes();
        while let Some(line_break) = memchr::memchr2(b'\n', b'\r', rest) {
            out.extend_from_slice(&rest[..line_break]);
            out.extend_from_slice(if rest[line_break] == b'\n' { b"\\n" } else { b"\\r" });
            rest = &rest[line_break + 1..];
        }
        out.extend_from_slice(rest);
    }

    fn time(&self, value: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(value);
    }

    fn float(&self, value: &[u8], _is_finite: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(value.strip_suffix(b".0").unwrap_or(value));
    }

    fn nested(&self, value: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{
            ArrayRef, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float64Array,
            Int32Array, RecordBatch, StringViewArray, TimestampMicrosecondArray, UInt64Array,
        },
        datatypes::Int8Type,
    };

    use crate::formats::{WriteFormat, encoder};

    fn lines(columns: Vec<ArrayRef>) -> String {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
        let batch = RecordBatch::try_from_iter(names.into_iter().zip(columns)).unwrap();
        let mut encoder = encoder(&WriteFormat::Text, &batch.schema()).unwrap();
        let mut out = Vec::new();
        encoder.begin(&mut out).unwrap();
        encoder.encode(&batch, &mut out).unwrap();
        encoder.finish(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_are_joined_and_a_null_is_nothing() {
        let words: DictionaryArray<Int8Type> = [Some("x"), None].into_iter().collect();
        assert_eq!(
            lines(vec![
                Arc::new(Int32Array::from(vec![Some(-1), None])),
                Arc::new(StringViewArray::from(vec![Some("á, b"), None])),
                Arc::new(BooleanArray::from(vec![Some(true), None])),
                Arc::new(UInt64Array::from(vec![Some(u64::MAX), None])),
                Arc::new(words),
                Arc::new(
                    Decimal128Array::from(vec![Some(12345), None])
                        .with_precision_and_scale(9, 2)
                        .unwrap()
                ),
            ]),
            "-1, á, b, true, 18446744073709551615, x, 123.45\n, , , , , \n"
        );
    }

    #[test]
    fn whole_floats_have_no_fraction_and_others_are_the_shortest() {
        let floats = [1.0, -0.0, 0.1, 1e300, 2.5e-7, f64::NAN, f64::NEG_INFINITY, 123_456_789.0];
        assert_eq!(
            lines(vec![Arc::new(Float64Array::from(floats.to_vec()))]),
            "1\n-0\n0.1\n1e300\n2.5e-7\nNaN\n-inf\n123456789\n"
        );
    }

    #[test]
    fn times_are_iso_8601_and_a_row_stays_a_line() {
        assert_eq!(
            lines(vec![
                Arc::new(Date32Array::from(vec![0])),
                Arc::new(TimestampMicrosecondArray::from(vec![1_500_000])),
                Arc::new(StringViewArray::from(vec!["a\r\nb\\n"])),
            ]),
            "1970-01-01, 1970-01-01T00:00:01.500, a\\r\\nb\\n\n"
        );
    }
}
