//! CSV (RFC 4180): decode and encode.
//!
//! What the RFC leaves open is decided here, so that reading gives back exactly what was written:
//!
//! - Nothing between delimiters is null; `""` is the empty string.
//! - A quote opens a field only as its first byte; elsewhere in an unquoted field it is text.
//!   Behind the closing quote must come a delimiter or the record's end.
//! - Records end with LF or CRLF, the last one also with the file. A CR anywhere else is text.
//! - An empty line is skipped, except in a file of one column, where it is a null.
//! - A record with another number of fields than the file has columns is a bad row.
//! - Blanks belong to their field. A byte order mark at the start of a file does not.
//! - With a header, every file has its own, and all name the same columns in the same order; a
//!   file without a byte has none and no rows.
//!
//! Written are records that end with LF, quoted only where reading needs it; floats in the
//! shortest form that reads back, with `.0` where whole, so that an inferred type comes back too.

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    formats::{
        BATCH_ROWS, DeclaredColumn, Decoded, Decoder, Encoder, MAX_RECORD_BYTES, Refusal,
        block::Block,
        cells::{Normal, Scratch, Style},
        fields::{Columns, Field, Fields, Kind},
    },
};

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

/// Records as rows of typed columns.
pub(crate) struct CsvDecoder {
    /// The names that a header must have.
    header: Option<Vec<String>>,
    delimiter: u8,
    columns: Columns,
    fields: Fields,
}

impl CsvDecoder {
    /// A decoder into `schema`, which has a column for each of a record's fields.
    ///
    /// # Errors
    /// [`Error::Evaluate`]: a type that can't be read, or a delimiter that can't delimit.
    pub(crate) fn new(options: &CsvOptions, schema: SchemaRef) -> Result<Self> {
        check_delimiter(options.delimiter)?;
        let names = schema.fields().iter().map(|field| field.name().clone()).collect();
        Ok(Self {
            header: options.header.then_some(names),
            delimiter: options.delimiter,
            fields: Fields::new(schema.fields().len()),
            columns: Columns::new(schema, Kind::Text, unescape)?,
        })
    }
}

/// Whether fields can be told apart by it.
///
/// # Errors
/// [`Error::Evaluate`] for what is not ASCII, a quote, a line break, and what numbers consist of.
pub(crate) fn check_delimiter(delimiter: u8) -> Result<()> {
    let is_taken = delimiter.is_ascii_alphanumeric()
        || matches!(delimiter, b'"' | b'\n' | b'\r' | b'+' | b'-' | b'.');
    if delimiter.is_ascii() && !is_taken {
        return Ok(());
    }
    Err(Error::Evaluate {
        reason: format!(
            "`{}` can't be a delimiter: it must be one ASCII character, and no quote, line break, \
             letter, digit, sign or point",
            delimiter.escape_ascii()
        ),
    })
}

impl Decoder for CsvDecoder {
    fn decode(&mut self, block: &Block, from: usize) -> Result<Decoded, Refusal> {
        let mut from = from;
        if block.offset() == 0 && from == 0 {
            if let Some(expected) = &self.header {
                match header(block, self.delimiter)? {
                    Some((names, end)) => {
                        check_header(block, expected, &names, end)?;
                        from = end;
                    }
                    None => return block.ran_out(0),
                }
            } else {
                from = block.behind_byte_order_mark(0);
            }
        }
        let end = split(block, from, self.delimiter, &mut self.fields)?;
        if self.fields.records.is_empty() {
            return block.ran_out(end);
        }
        let (batch, end) = self.columns.rows(block, &mut self.fields, end)?;
        Ok(Decoded { batch: Some(batch), end })
    }
}

/// The names in the header of the file whose first block this is, and where its records begin;
/// `None` if the header is not wholly in the block.
pub(crate) fn header(
    block: &Block,
    delimiter: u8,
) -> Result<Option<(Vec<String>, usize)>, Refusal> {
    let bytes = block.text().as_bytes();
    let mut from = block.behind_byte_order_mark(0);
    while let Some(blank) = blank_line(&bytes[from..]) {
        from += blank;
    }
    if from == bytes.len() {
        return Ok(None);
    }
    let mut fields = Vec::new();
    match record(bytes, from, &mut Ends::new(delimiter), block.ends_with_text(), &mut fields) {
        Record::Whole { next } => {
            let names: Vec<String> = fields.iter().map(|field| string(block, *field)).collect();
            if names.iter().any(|name| name.contains('\r')) {
                // The file's lines end with it, or every row would be part of the header.
                let reason = String::from(
                    "the header holds a carriage return: lines end with LF or CRLF, not with CR",
                );
                return Err(Refusal::BadRecord { range: from..next, column: None, reason });
            }
            Ok(Some((names, next)))
        }
        Record::Cut => refuse_cut(block, from).map(|()| None),
        Record::Bad { at } => Err(behind_quote(block, from, at)),
    }
}

/// A field's text; nothing for a null.
pub(crate) fn string(block: &Block, field: Field) -> String {
    let text = &block.text()[field.range()];
    if field.kind() == Kind::Escaped {
        let mut unescaped = String::new();
        unescape(text, &mut unescaped);
        return unescaped;
    }
    text.to_owned()
}

/// Whether a header names what is expected of it.
pub(crate) fn check_header(
    block: &Block,
    expected: &[String],
    found: &[String],
    end: usize,
) -> Result<(), Refusal> {
    if expected == found {
        return Ok(());
    }
    let start = block.behind_byte_order_mark(0);
    let mut end = end;
    while end > start && matches!(block.bytes()[end - 1], b'\n' | b'\r') {
        end -= 1;
    }
    let names = |names: &[String]| format!("`{}`", names.join("`, `"));
    Err(Refusal::BadRecord {
        range: start..end,
        column: None,
        reason: format!(
            "the header names {}, expected {}",
            names(found).escape_debug(),
            names(expected).escape_debug()
        ),
    })
}

/// Fills `fields` with the records from `from` on, a batch at most, and says where the first one
/// begins that is not in it. Behind a bad record it does not go.
///
/// # Errors
/// The first record is bad, or is cut and can't become whole.
pub(crate) fn split(
    block: &Block,
    from: usize,
    delimiter: u8,
    fields: &mut Fields,
) -> Result<usize, Refusal> {
    fields.clear();
    let bytes = block.text().as_bytes();
    let ends_with_text = block.ends_with_text();
    let width = fields.width;
    let mut ends = Ends::new(delimiter);
    let mut start = from;
    while fields.records.len() < BATCH_ROWS && start < bytes.len() {
        if width != 1
            && let Some(blank) = blank_line(&bytes[start..])
        {
            start += blank;
            continue;
        }
        let before = fields.places.len();
        let refusal = match record(bytes, start, &mut ends, ends_with_text, &mut fields.places) {
            Record::Whole { next } => {
                let found = fields.places.len() - before;
                let end = record_end(bytes, start, next);
                if (end - start) as u64 > MAX_RECORD_BYTES {
                    Refusal::TooLarge { start }
                } else if found == width {
                    fields.records.push(start);
                    start = next;
                    continue;
                } else {
                    let reason = format!("expected {width} fields, found {found}");
                    Refusal::BadRecord { range: start..end, column: None, reason }
                }
            }
            Record::Cut => {
                fields.places.truncate(before);
                if fields.records.is_empty() {
                    refuse_cut(block, start)?;
                }
                return Ok(start);
            }
            Record::Bad { at } => behind_quote(block, start, at),
        };
        fields.places.truncate(before);
        return if fields.records.is_empty() { Err(refusal) } else { Ok(start) };
    }
    Ok(start)
}

/// How many bytes the line that `bytes` begin with has, if it is an empty one.
fn blank_line(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [b'\n', ..] => Some(1),
        [b'\r', b'\n', ..] => Some(2),
        _ => None,
    }
}

/// The end of a record without its line break.
fn record_end(bytes: &[u8], start: usize, next: usize) -> usize {
    match &bytes[start..next] {
        [.., b'\r', b'\n'] => next - 2,
        [.., b'\n'] => next - 1,
        _ => next,
    }
}

/// Whether a record that has no end in the block's text may get one.
fn refuse_cut(block: &Block, start: usize) -> Result<(), Refusal> {
    if block.ends_with_text() && ((block.text().len() - start) as u64) <= MAX_RECORD_BYTES {
        return Err(Refusal::BadRecord {
            range: start..block.text().len(),
            column: None,
            reason: String::from("a quote is opened and never closed"),
        });
    }
    block.ran_out(start).map(|_| ())
}

fn behind_quote(block: &Block, start: usize, at: usize) -> Refusal {
    Refusal::BadRecord {
        range: start..block.line_at(at).end,
        column: None,
        reason: String::from("expected a delimiter or the line's end behind a closing quote"),
    }
}

/// How a record ended.
enum Record {
    /// Whole; the next one begins there.
    Whole { next: usize },
    /// The bytes end before the record does.
    Cut,
    /// Something stands behind a closing quote at `at`.
    Bad { at: usize },
}

/// Appends the fields of the record at `start`; `is_last` if the end of the bytes ends it too.
#[inline]
fn record(
    bytes: &[u8],
    start: usize,
    ends: &mut Ends,
    is_last: bool,
    fields: &mut Vec<Field>,
) -> Record {
    let mut at = start;
    loop {
        if bytes.get(at) == Some(&b'"') {
            let Some((field, behind)) = quoted(bytes, at, is_last) else { return Record::Cut };
            fields.push(field);
            match &bytes[behind..] {
                [] => return Record::Whole { next: behind },
                [b'\n', ..] => return Record::Whole { next: behind + 1 },
                [b'\r', b'\n', ..] => return Record::Whole { next: behind + 2 },
                [b'\r'] if !is_last => return Record::Cut,
                [other, ..] if *other == ends.delimiter => at = behind + 1,
                [_, ..] => return Record::Bad { at: behind },
            }
            continue;
        }
        let Some(end) = ends.next(bytes, at) else {
            if !is_last {
                return Record::Cut;
            }
            fields.push(unquoted(at, bytes.len()));
            return Record::Whole { next: bytes.len() };
        };
        if bytes[end] == b'\n' {
            let has_return = end > at && bytes[end - 1] == b'\r';
            fields.push(unquoted(at, end - usize::from(has_return)));
            return Record::Whole { next: end + 1 };
        }
        fields.push(unquoted(at, end));
        at = end + 1;
    }
}

#[inline]
fn unquoted(start: usize, end: usize) -> Field {
    if start == end { Field::NULL } else { Field::new(start, end, Kind::Text) }
}

/// The field whose opening quote is at `open`, and what is behind its closing quote; `None` if the
/// bytes end before that is certain.
fn quoted(bytes: &[u8], open: usize, is_last: bool) -> Option<(Field, usize)> {
    let start = open + 1;
    let mut at = start;
    let mut kind = Kind::Text;
    loop {
        let quote = at + memchr::memchr(b'"', &bytes[at..])?;
        match bytes.get(quote + 1) {
            Some(b'"') => {
                kind = Kind::Escaped;
                at = quote + 2;
            }
            None if !is_last => return None,
            _ => return Some((Field::new(start, quote, kind), quote + 1)),
        }
    }
}

/// Finds where fields end outside of quotes. It looks at 64 bytes at once and remembers what it
/// saw, because fields are much shorter than that.
struct Ends {
    delimiter: u8,
    /// Where the bytes begin that were looked at.
    base: usize,
    /// A bit for each of them: whether it is a delimiter or a newline. None before the first look.
    found: Option<u64>,
}

impl Ends {
    fn new(delimiter: u8) -> Self {
        Self { delimiter, base: 0, found: None }
    }

    /// The first delimiter or newline from `from` on. `bytes` are always the same, and `from`
    /// never goes back.
    #[inline]
    fn next(&mut self, bytes: &[u8], from: usize) -> Option<usize> {
        let mut from = from;
        loop {
            // A base behind `from` is one that a longer search has left: it is of no use here.
            let skipped = from.wrapping_sub(self.base);
            if let Some(found) = self.found
                && skipped < 64
            {
                let found = found >> skipped;
                if found != 0 {
                    return Some(from + found.trailing_zeros() as usize);
                }
                from = self.base + 64;
            }
            if from >= bytes.len() {
                return None;
            }
            self.base = from;
            self.found = Some(match bytes[from..].first_chunk::<64>() {
                Some(chunk) => bits(chunk, self.delimiter, b'\n'),
                None => bits_of_few(&bytes[from..], self.delimiter, b'\n'),
            });
        }
    }
}

/// A bit for each byte that is one of two.
#[inline]
fn bits(chunk: &[u8; 64], one: u8, other: u8) -> u64 {
    /// Brings the lowest bits of eight bytes side by side into the product's highest byte.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    // Compilers make vector code of this loop, but not of one that gathers the bits as well.
    let equal = chunk.map(|byte| u8::from(byte == one || byte == other));
    equal
        .as_chunks::<8>()
        .0
        .iter()
        .rev()
        .fold(0, |found, eight| found << 8 | u64::from_le_bytes(*eight).wrapping_mul(GATHER) >> 56)
}

/// A bit for each byte that is one of two, of at most 64 bytes.
fn bits_of_few(bytes: &[u8], one: u8, other: u8) -> u64 {
    bytes.iter().rev().fold(0, |found, byte| found << 1 | u64::from(*byte == one || *byte == other))
}

/// Makes one quote of each two.
fn unescape(text: &str, out: &mut String) {
    let mut rest = text;
    while let Some(quote) = memchr::memchr(b'"', rest.as_bytes()) {
        out.push_str(&rest[..=quote]);
        rest = rest.get(quote + 2..).unwrap_or_default();
    }
    out.push_str(rest);
}

/// Rows as records.
pub(crate) struct CsvEncoder {
    header: Option<SchemaRef>,
    delimiter: u8,
    scratch: Scratch,
}

impl CsvEncoder {
    /// An encoder of rows with this schema.
    ///
    /// # Errors
    /// [`Error::Evaluate`]: a delimiter that can't delimit.
    pub(crate) fn new(options: &CsvWriteOptions, schema: &SchemaRef) -> Result<Self> {
        check_delimiter(options.delimiter)?;
        Ok(Self {
            header: options.header.then(|| SchemaRef::clone(schema)),
            delimiter: options.delimiter,
            scratch: Scratch::default(),
        })
    }
}

impl Encoder for CsvEncoder {
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let Some(schema) = &self.header else { return Ok(()) };
        for (number, field) in schema.fields().iter().enumerate() {
            if number > 0 {
                out.push(self.delimiter);
            }
            Quoting(self.delimiter).text(field.name(), out);
        }
        out.push(b'\n');
        Ok(())
    }

    fn encode(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        let columns = Normal::new(batch)?;
        let columns = columns.cells()?;
        let style = Quoting(self.delimiter);
        for row in 0..batch.num_rows() {
            for (number, column) in columns.iter().enumerate() {
                if number > 0 {
                    out.push(self.delimiter);
                }
                if !column.is_null(row) {
                    column.write(row, &style, &mut self.scratch, out)?;
                }
            }
            out.push(b'\n');
        }
        Ok(())
    }
}

/// Quotes where needed; holds the delimiter.
struct Quoting(u8);

impl Quoting {
    /// Whether `value` would be read as something else without quotes.
    #[inline]
    fn is_needed(&self, value: &[u8]) -> bool {
        // Without an early end, so that several bytes are looked at together.
        let special = value.iter().fold(0, |found, byte| {
            let byte = *byte;
            found | u8::from(byte == self.0 || byte == b'"' || byte == b'\n' || byte == b'\r')
        });
        special != 0 || value.is_empty() || value.starts_with(b"\xef\xbb\xbf")
    }

    #[inline]
    fn bytes(&self, value: &[u8], out: &mut Vec<u8>) {
        if !self.is_needed(value) {
            out.extend_from_slice(value);
            return;
        }
        out.push(b'"');
        let mut rest = value;
        while let Some(quote) = memchr::memchr(b'"', rest) {
            out.extend_from_slice(&rest[..=quote]);
            out.push(b'"');
            rest = &rest[quote + 1..];
        }
        out.extend_from_slice(rest);
        out.push(b'"');
    }
}

impl Style for Quoting {
    #[inline]
    fn text(&self, value: &str, out: &mut Vec<u8>) {
        self.bytes(value.as_bytes(), out);
    }

    // The delimiter may be a character that times or numbers have.
    fn time(&self, value: &[u8], out: &mut Vec<u8>) {
        self.bytes(value, out);
    }

    fn float(&self, value: &[u8], _is_finite: bool, out: &mut Vec<u8>) {
        self.bytes(value, out);
    }
}

#[cfg(test)]
mod tests {
    use std::{fmt::Write, sync::Arc};

    use arrow::{
        array::RecordBatch,
        csv::ReaderBuilder,
        datatypes::{DataType, Field, Schema},
    };
    use proptest::prelude::*;

    use super::{CsvOptions, Ends};
    use crate::{
        formats::{DeclaredColumn, Format, infer},
        operators::Operator,
        source::{
            Source,
            tests::{Input, rows_of},
        },
    };

    /// Columns `a`, `b`, …, all text.
    fn text_columns(count: usize) -> Format {
        let column = |number: u8| DeclaredColumn {
            name: char::from(b'a' + number).to_string(),
            data_type: Some(DataType::Utf8View),
        };
        let columns = Some((0..u8::try_from(count).unwrap()).map(column).collect());
        Format::Csv(CsvOptions { header: false, columns, delimiter: b',' })
    }

    fn with_header() -> Format {
        Format::Csv(CsvOptions { header: true, columns: None, delimiter: b',' })
    }

    /// Rows as text: fields joined by `|`, a null as `∅`.
    fn rows(format: &Format, bytes: &[u8], partitions: u32) -> Vec<String> {
        let rows = Input::of(&[bytes]).rows(format, partitions).unwrap();
        rows.into_iter()
            .map(|row| {
                let fields: Vec<_> =
                    row.into_iter().map(|field| field.unwrap_or(String::from("∅"))).collect();
                fields.join("|")
            })
            .collect()
    }

    #[test]
    fn nothing_is_null_and_two_quotes_are_the_empty_string() {
        assert_eq!(rows(&text_columns(3), b",\"\",x\r\n\"\",,\n", 1), ["∅||x", "|∅|∅"]);
        assert_eq!(rows(&text_columns(1), b"x\n\n\"\"\n\r\n", 1), ["x", "∅", "", "∅"]);
    }

    #[test]
    fn quotes_keep_delimiters_line_breaks_and_doubled_quotes() {
        assert_eq!(
            rows(
                &text_columns(2),
                b"\"a,b\",\"c\r\nd\"\n\"e\"\"f\",g\"h\"i\n\"\"\"\",\"\"\"j\"\"\"",
                1
            ),
            ["a,b|c\r\nd", "e\"f|g\"h\"i", "\"|\"j\""]
        );
    }

    #[test]
    fn empty_lines_are_skipped_where_there_are_several_columns() {
        assert_eq!(rows(&text_columns(2), b"\n\r\na,b\n\n\nc,d\r\n\r\n", 1), ["a|b", "c|d"]);
    }

    #[test]
    fn a_byte_order_mark_is_skipped_and_nul_blanks_and_a_lone_cr_are_text() {
        let text = b"\xef\xbb\xbf\"a\", b \nc\rd,\0e";
        assert_eq!(rows(&text_columns(2), text, 1), ["a| b ", "c\rd|\0e"]);
    }

    #[test]
    fn every_type_is_read() {
        let text = b"i,f,b,s,d,t\n-7,1.5,true,x,2024-02-29,1970-01-01 00:00:01\n,,,,,\n";
        assert_eq!(
            rows(&with_header(), text, 1),
            ["-7|1.5|true|x|2024-02-29|1970-01-01T00:00:01", "∅|∅|∅|∅|∅|∅"]
        );
    }

    #[test]
    fn a_bad_record_is_named_with_place_and_reason() {
        let error = |text: &[u8]| Input::of(&[text]).error(&with_header(), 1);
        assert_eq!(
            error(b"a,b\n1,2\n\"x\ny\",3,4\n"),
            "bad row in `0`, line 3 (byte 8): expected 2 fields, found 3: `\"x\\ny\",3,4`"
        );
        assert_eq!(
            error(b"a,b\n\"1\"x,2\n"),
            "bad row in `0`, line 2 (byte 4): expected a delimiter or the line's end behind a \
             closing quote: `\"1\"x,2`"
        );
        assert_eq!(
            error(b"a,b\n1,\xff\n"),
            "bad row in `0`, line 2 (byte 4): expected UTF-8 text: `1,\u{fffd}`"
        );
        assert_eq!(
            error(b"a,b\n1,2\n\"3\",\"4\n\n"),
            "bad row in `0`, line 3 (byte 8): a quote is opened and never closed: `\"3\",\"4\\n\\n`"
        );
    }

    #[test]
    fn a_value_that_is_not_of_its_inferred_type_is_a_bad_row_behind_the_sample() {
        let mut text = String::from("n,s\n");
        for number in 0..20_000 {
            writeln!(text, "{number},x").unwrap();
        }
        let offset = text.len();
        text.push_str("x1,x\n1,x\n");
        let input = Input::of(&[text.as_bytes()]);
        for partitions in [1, 7] {
            assert_eq!(
                input.error(&with_header(), partitions),
                format!(
                    "bad row in `0`, line 20002 (byte {offset}), column `n`: expected int64, \
                     found `x1`: `x1,x`"
                )
            );
        }
        let schema = infer::schema(&input.disk, &with_header(), &input.files).unwrap();
        let split = &input.splits(&with_header(), 1).unwrap()[0];
        let mut source = Source::over(split, &with_header(), schema, &input.disk).unwrap();
        let rows: usize =
            std::iter::from_fn(|| source.next().ok().flatten()).map(|batch| batch.num_rows()).sum();
        assert_eq!(rows, 20_000);
    }

    #[test]
    fn every_file_has_its_header_and_all_the_same() {
        let same = Input::of(&[b"a,b\n1,2\n", b"", b"\"a\",b\r\n3,4", b"a,b"]);
        for partitions in [1, 3, 20] {
            let rows = same.rows(&with_header(), partitions).unwrap().concat();
            assert_eq!(rows, ["1", "2", "3", "4"].map(|value| Some(value.to_owned())));
        }
        assert_eq!(
            Input::of(&[b"a,b\n1,2\n", b"b,a\n3,4\n"]).error(&with_header(), 1),
            "bad row in `1`, line 1 (byte 0): the header names `b`, `a`, expected `a`, `b`: `b,a`"
        );
    }

    #[test]
    fn a_quote_left_open_swallows_no_rows() {
        let mut text = String::from("a,b\n1,2\n3,\"4\n");
        text.push_str(&"5,6\n".repeat(1_000));
        let open = Input::of(&[text.as_bytes()]);
        for partitions in [1, 2, 50] {
            let message = open.error(&text_columns(2), partitions);
            let expected =
                "bad row in `0`, line 3 (byte 8): a quote is opened and never closed: `3,\"4\\n5,6";
            assert!(message.starts_with(expected), "{message}");
        }
        text.push_str(&"7,8\n".repeat(5 << 20));
        let large = Input::of(&[text.as_bytes()]);
        for partitions in [1, 3] {
            assert_eq!(
                large.error(&text_columns(2), partitions),
                "record of more than 16777216 bytes in `0`, line 3 (byte 8); is a quote left open?"
            );
        }
    }

    #[test]
    fn a_field_longer_than_a_block_is_read_whole() {
        let long = "x\n,\"\"".repeat(400_000);
        let text = format!("1,\"{long}\"\n2,y\n");
        for partitions in [1, 4] {
            let found = rows(&text_columns(2), text.as_bytes(), partitions);
            assert_eq!(found.len(), 2);
            assert_eq!(found[0], format!("1|{}", long.replace("\"\"", "\"")));
        }
    }

    proptest! {
        #[test]
        fn rows_are_the_same_wherever_the_file_is_cut(
            records in prop::collection::vec(
                ("[a-zé\"]{0,4}", "(\"([a-z,\n\r]|\"\"){0,6}\")?", "\r?\n(\r?\n)?"),
                0..12,
            ),
            partitions in 2u32..30,
        ) {
            let mut text = String::new();
            for (plain, quoted, line_break) in &records {
                // A leading quote would open a field.
                text.push_str(plain.trim_start_matches('"'));
                write!(text, ",{quoted}{line_break}").unwrap();
            }
            let format = text_columns(2);
            let whole = rows(&format, text.as_bytes(), 1);
            prop_assert_eq!(whole.len(), records.len());
            prop_assert_eq!(rows(&format, text.as_bytes(), partitions), whole);
        }

        #[test]
        fn fields_are_those_of_arrows_reader(
            records in prop::collection::vec(
                prop::collection::vec("[a-zé ]{1,12}|\"([a-z,\n ]|\"\"){1,12}\"", 3),
                1..20,
            ),
        ) {
            let text: String = records.iter().map(|record| record.join(",") + "\r\n").collect();
            let fields = ["a", "b", "c"].map(|name| Field::new(name, DataType::Utf8, true));
            let expected: Vec<RecordBatch> = ReaderBuilder::new(Arc::new(Schema::new(fields.to_vec())))
                .build(text.as_bytes())
                .unwrap()
                .collect::<Result<_, _>>()
                .unwrap();
            let expected: Vec<_> = expected.iter().flat_map(rows_of).collect();
            let found = Input::of(&[text.as_bytes()]).rows(&text_columns(3), 1).unwrap();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn ends_are_found_where_a_plain_search_finds_them(
            bytes in prop::collection::vec(
                prop_oneof![Just(b','), Just(b'\n'), any::<u8>(), Just(b'x'), Just(b'y')],
                0..300,
            ),
            steps in prop::collection::vec(0usize..90, 0..40),
        ) {
            let mut ends = Ends::new(b',');
            let mut from = 0;
            for step in steps {
                let expected = (from..bytes.len()).find(|at| matches!(bytes[*at], b',' | b'\n'));
                prop_assert_eq!(ends.next(&bytes, from), expected);
                from += step;
            }
        }
    }
}
