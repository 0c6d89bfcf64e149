//! CSV (RFC 4180): decode and encode.
//!
//! What the RFC leaves open is decided here, so that reading gives back exactly what was written:
//!
//! - Nothing between delimiters is null; `""` is the empty string. `null` names further texts that
//!   stand for no value, where they are not quoted.
//! - A quote opens a field only as its first byte; elsewhere in an unquoted field it is text.
//!   Behind the closing quote must come a delimiter or the record's end. Inside quotes a doubled
//!   quote is one, and `escape` makes any character behind it stand for itself.
//! - Records end with LF or CRLF, the last one also with the file. A CR anywhere else is text.
//! - An empty line is skipped, except in a file of one column, where it is a null; so is a line
//!   whose first character is `comment`, wherever a record could begin.
//! - A record with another number of fields than the file has columns is a bad row; with `ragged`
//!   as `pad` only one with more.
//! - Blanks (and tabs) belong to their field, with `trim` only those inside of quotes. A byte order
//!   mark at the start of a file does not.
//! - With a header, every file has its own, and all name the same columns in the same order; a
//!   file without a byte has none and no rows.
//! - Lists and structs are JSON, bytes are hexadecimal digits; [`crate::formats::scalar`] says the
//!   others.
//!
//! Written are records that end with LF, quoted only where reading needs it; floats in the
//! shortest form that reads back, with `.0` where whole, so that an inferred type comes back too.

use arrow::{
    array::{RecordBatch, StringViewArray},
    datatypes::SchemaRef,
};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    formats::{
        BadRecords, DeclaredColumn, Decoded, Decoder, Encoder, Refusal,
        block::Block,
        cells::{Normal, Scratch, Style},
        fields::{Columns, Fields, Kind},
        intake::Intake,
        values::{Pattern, Rules},
    },
};

mod bits;
mod dialect;
mod plain;
pub(crate) mod records;

use bits::has_one_of;
pub(crate) use dialect::{Dialect, State};
use records::Layout;
pub(crate) use records::{check_header, header, split};

/// How CSV is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CsvOptions {
    /// Whether each file's first record names the columns.
    pub header: bool,
    /// Declared columns; a type that is absent is inferred. `None`: names from the header.
    pub columns: Option<Vec<DeclaredColumn>>,
    /// Between fields.
    pub delimiter: u8,
    /// Around fields; `None`: no character is.
    #[serde(default = "usual_quote")]
    pub quote: Option<u8>,
    /// Before a character inside quotes that stands for itself.
    #[serde(default)]
    pub escape: Option<u8>,
    /// Begins a line that is no record.
    #[serde(default)]
    pub comment: Option<u8>,
    /// Unquoted texts that stand for no value, beside nothing at all.
    #[serde(default)]
    pub nulls: Nulls,
    /// Whether blanks around fields are no part of them.
    #[serde(default)]
    pub trim: bool,
    /// Whether fields that a record lacks at its end are nulls.
    #[serde(default)]
    pub pads: bool,
    /// How dates are written, as `strftime` has it; ISO 8601 where absent.
    #[serde(default)]
    pub date_format: Option<String>,
    /// How timestamps are written, as `strftime` has it; ISO 8601 where absent.
    #[serde(default)]
    pub timestamp_format: Option<String>,
    /// What all text formats have.
    #[serde(default)]
    pub intake: Intake,
}

#[expect(clippy::unnecessary_wraps, reason = "it stands for a field that may be absent")]
fn usual_quote() -> Option<u8> {
    Some(b'"')
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            header: false,
            columns: None,
            delimiter: b',',
            quote: usual_quote(),
            escape: None,
            comment: None,
            nulls: Nulls::default(),
            trim: false,
            pads: false,
            date_format: None,
            timestamp_format: None,
            intake: Intake::default(),
        }
    }
}

/// Texts that stand for no value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nulls(pub Vec<String>);

impl Nulls {
    /// Whether `text` is one of them.
    #[inline]
    fn contains(&self, text: &[u8]) -> bool {
        self.0.iter().any(|null| null.as_bytes() == text)
    }
}

impl CsvOptions {
    /// The characters that the files are made of.
    pub(crate) fn dialect(&self) -> Dialect {
        Dialect {
            delimiter: self.delimiter,
            quote: self.quote,
            // Doubled quotes are told apart anyway.
            escape: self.escape.filter(|escape| self.quote.is_some_and(|quote| quote != *escape)),
            comment: self.comment,
            trim: self.trim,
        }
    }

    /// What tells the files' fields apart.
    pub(crate) fn layout(&self) -> Layout {
        Layout { dialect: self.dialect(), nulls: self.nulls.clone(), pads: self.pads }
    }

    /// Whether only header, columns and delimiter are not as they usually are.
    pub fn is_usual(&self) -> bool {
        let Self { header, columns, delimiter, intake, .. } = self;
        let usual = Self {
            header: *header,
            columns: columns.clone(),
            delimiter: *delimiter,
            intake: intake.clone(),
            ..Self::default()
        };
        *self == usual
    }

    /// How its fields say values.
    pub(crate) fn rules(&self) -> Rules {
        Rules {
            scalar_kind: Kind::Text,
            unescape: self.layout().unescape(),
            date: self.date_format.as_deref().and_then(Pattern::new),
            timestamp: self.timestamp_format.as_deref().and_then(Pattern::new),
            leaves_out: true,
        }
    }

    /// Whether its characters can be told apart.
    ///
    /// # Errors
    /// [`Error::Evaluate`] for two that are the same, and for those that can't be what they are.
    pub(crate) fn check(&self) -> Result<()> {
        check_delimiter(self.delimiter)?;
        let named = [
            ("delimiter", Some(self.delimiter)),
            ("quote", self.quote),
            ("escape", self.escape.filter(|escape| self.quote != Some(*escape))),
            ("comment", self.comment),
        ];
        for (at, (name, byte)) in named.iter().enumerate() {
            let Some(byte) = byte else { continue };
            let same = named[..at].iter().find(|(_, other)| other.as_ref() == Some(byte));
            let reason = if let Some((other, _)) = same {
                format!("`{other}` and `{name}` are both `{}`", byte.escape_ascii())
            } else if !byte.is_ascii() || matches!(byte, b'\n' | b'\r') {
                format!("`{name}` must be one ASCII character, and no line break")
            } else {
                continue;
            };
            return Err(Error::Evaluate { reason });
        }
        Ok(())
    }
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
    layout: Layout,
    columns: Columns,
    fields: Fields,
}

impl CsvDecoder {
    /// A decoder into `schema`, which has a column for each of a record's fields.
    ///
    /// # Errors
    /// [`Error::Evaluate`]: a type that can't be read, or a delimiter that can't delimit.
    pub(crate) fn new(options: &CsvOptions, schema: SchemaRef) -> Result<Self> {
        options.check()?;
        let names = schema.fields().iter().map(|field| field.name().clone()).collect();
        Ok(Self {
            header: options.header.then_some(names),
            layout: options.layout(),
            fields: Fields::new(schema.fields().len()),
            columns: Columns::new(schema, options.rules())?,
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
    fn decode(
        &mut self,
        block: &Block,
        from: usize,
        bad: &mut BadRecords,
    ) -> Result<Decoded, Refusal> {
        let mut from = from;
        if block.offset() == 0 && from == 0 {
            if let Some(expected) = &self.header {
                match header(block, &self.layout)? {
                    Some((names, end)) => {
                        check_header(block, expected, &names, end)?;
                        from = end;
                    }
                    None => return block.ran_out(0, bad),
                }
            } else {
                from = block.behind_byte_order_mark(0);
            }
        }
        let end = split(block, from, &self.layout, &mut self.fields, bad)?;
        if self.fields.records.is_empty() {
            return Ok(Decoded { batch: None, end });
        }
        let (batch, end) = self.columns.rows(block, &self.fields, end, bad)?;
        Ok(Decoded { batch, end })
    }
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
                    column.write(row, &style, &mut self.scratch, out);
                }
            }
            out.push(b'\n');
        }
        Ok(())
    }
}

/// The most bytes that stand in a view itself.
const SHORT_BYTES: u128 = 12;

/// What is not part of a file's text at its start.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Quotes where needed; holds the delimiter.
struct Quoting(u8);

impl Quoting {
    /// The characters that only quotes keep apart.
    #[inline]
    fn special(&self) -> [u8; 4] {
        [self.0, b'"', b'\n', b'\r']
    }

    /// Whether `value` would be read as something else without quotes.
    #[inline]
    fn is_needed(&self, value: &[u8]) -> bool {
        let special = self.special();
        let has_special = match value.last_chunk::<16>() {
            // Without an early end, and the last ones perhaps twice.
            Some(last) => (value.as_chunks().0.iter().chain([last]))
                .fold(false, |found, sixteen| found | has_one_of(sixteen, special)),
            None => value.iter().any(|byte| special.contains(byte)),
        };
        has_special || value.is_empty() || value.starts_with(BYTE_ORDER_MARK)
    }

    /// Appends a text of 16 to 32 bytes that needs no quotes; whether it is one. No call for so few
    /// bytes: the first 16, and the last 16 over their end.
    #[inline]
    fn is_short_and_plain(&self, value: &[u8], out: &mut Vec<u8>) -> bool {
        let (Some(first), Some(last)) = (value.first_chunk::<16>(), value.last_chunk::<16>())
        else {
            return false;
        };
        let special = self.special();
        if value.len() > 32
            || has_one_of(first, special) | has_one_of(last, special)
            || first.starts_with(BYTE_ORDER_MARK)
        {
            return false;
        }
        let end = out.len() + value.len();
        out.extend_from_slice(first);
        out.truncate(end - last.len());
        out.extend_from_slice(last);
        true
    }

    #[inline]
    fn bytes(&self, value: &[u8], out: &mut Vec<u8>) {
        if self.is_short_and_plain(value, out) {
            return;
        }
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

    #[inline]
    fn text_at(&self, array: &StringViewArray, row: usize, out: &mut Vec<u8>) {
        // A short text stands in its view, with zeros behind it: no call for a few bytes.
        let view = array.views()[row];
        let (length, short) = (view & u128::from(u32::MAX), (view >> 32).to_le_bytes());
        let is_plain = (1..=SHORT_BYTES).contains(&length)
            && !has_one_of(&short, self.special())
            && !short.starts_with(BYTE_ORDER_MARK);
        if !is_plain {
            return self.bytes(array.value(row).as_bytes(), out);
        }
        let end = out.len() + length as usize;
        out.extend_from_slice(&short);
        out.truncate(end);
    }

    // The delimiter may be a character that times or numbers have.
    fn time(&self, value: &[u8], out: &mut Vec<u8>) {
        self.bytes(value, out);
    }

    fn float(&self, value: &[u8], _is_finite: bool, out: &mut Vec<u8>) {
        self.bytes(value, out);
    }

    fn nested(&self, value: &[u8], out: &mut Vec<u8>) {
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

    use super::{CsvOptions, Quoting, records::Ends};
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
        Format::Csv(CsvOptions { columns, ..CsvOptions::default() })
    }

    fn with_header() -> Format {
        Format::Csv(CsvOptions { header: true, ..CsvOptions::default() })
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
    fn a_text_of_any_length_is_quoted_where_it_must_be_and_nowhere_else() {
        let written = |text: &[u8]| {
            let mut out = b"before,".to_vec();
            Quoting(b';').bytes(text, &mut out);
            out.split_off(7)
        };
        for length in 1..70_usize {
            let plain: Vec<u8> = (b'a'..=b'z').cycle().take(length).collect();
            assert_eq!(written(&plain), plain);
            for place in 0..length {
                for special in *b";\"\r\n" {
                    let mut text = plain.clone();
                    text[place] = special;
                    let doubled = text.iter().flat_map(|byte| {
                        std::iter::repeat_n(*byte, 1 + usize::from(*byte == b'"'))
                    });
                    let quoted: Vec<u8> = [b'"'].into_iter().chain(doubled).chain([b'"']).collect();
                    assert_eq!(written(&text), quoted);
                }
            }
        }
        let marked = "\u{feff}a text behind a mark".as_bytes();
        assert_eq!(written(marked), [b"\"", marked, b"\""].concat());
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
            "bad row in `0`, line 2 (byte 4): expected UTF-8 text (of another encoding? set `encoding`): `1,\u{fffd}`"
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
