//! JSON Lines: decode and encode.
//!
//! - A line is one object; an empty line, or one of blanks, is skipped. A byte order mark at the
//!   start of a file is no part of it. Anything else is a bad row.
//! - A key that is absent is a null, like one with `null`. A key twice in one object is a bad row.
//! - A key that is no column: where `columns` are declared it is left out, because they say what
//!   is wanted. Where they were inferred it is a bad row, because nobody has said that its values
//!   may be lost; declare `columns` to have it, or to have it left out.
//! - A string column holds strings; any other value stands in it as its JSON text, exactly as the
//!   file has it. Nested objects and arrays are kept so, and numbers beyond int64 with all digits.
//! - Objects and arrays are nested at most 64 deep.
//!
//! Written is one object a line without blanks, every column in it, a null as `null`, text as it
//! is (escaped only where JSON must), times as strings, and decimals and other types that JSON has
//! not as strings too. JSON has no `NaN` and no infinities: they become `null`.

use std::collections::HashMap;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use serde::{Deserialize, Serialize};

use crate::{
    Result,
    formats::{
        BATCH_ROWS, DeclaredColumn, Decoded, Decoder, Encoder, MAX_RECORD_BYTES, Refusal,
        block::Block,
        cells::{Normal, Scratch, Style},
        fields::{Columns, Field, Fields, Kind},
    },
};

/// How JSON Lines are read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JsonlOptions {
    /// Declared columns, and then only these; a type that is absent is inferred. `None`: the keys
    /// of the sampled objects, in order of first appearance.
    pub columns: Option<Vec<DeclaredColumn>>,
}

/// How deep objects and arrays may be nested.
const MAX_DEPTH: u32 = 64;

/// Objects as rows of typed columns.
pub(crate) struct JsonlDecoder {
    /// Whether keys that are no columns are left out.
    leaves_out: bool,
    names: Vec<String>,
    places: HashMap<String, usize>,
    /// For each column the last record that has its key, counted from 1.
    last_record: Vec<usize>,
    columns: Columns,
    fields: Fields,
}

impl JsonlDecoder {
    /// A decoder into `schema`.
    ///
    /// # Errors
    /// [`Error::Evaluate`](crate::Error) for a type that can't be read.
    pub(crate) fn new(options: &JsonlOptions, schema: SchemaRef) -> Result<Self> {
        let names: Vec<_> = schema.fields().iter().map(|field| field.name().clone()).collect();
        Ok(Self {
            leaves_out: options.columns.is_some(),
            places: names.iter().cloned().zip(0..).collect(),
            last_record: vec![0; names.len()],
            fields: Fields::new(names.len()),
            names,
            columns: Columns::new(schema, Kind::Literal, unescape)?,
        })
    }

    /// Puts the fields of the record at `start` into their columns' places.
    fn add_record(&mut self, bytes: &[u8], start: usize, end: usize) -> Result<(), Refused> {
        let width = self.names.len();
        let first = self.fields.places.len();
        self.fields.places.resize(first + width, Field::NULL);
        self.fields.records.push(start);
        let record = self.fields.records.len();
        // Objects of one file mostly have their keys in one order.
        let mut expected = 0;
        object(bytes, start, end, &mut |key, field| {
            let place = if self.names.get(expected).is_some_and(|name| name == key) {
                expected
            } else if let Some(place) = self.places.get(key) {
                *place
            } else if self.leaves_out {
                return Ok(());
            } else {
                return Err(format!(
                    "key `{}` is in no object of the sample; declare `columns`",
                    key.escape_debug()
                ));
            };
            expected = place + 1;
            if self.last_record[place] == record {
                return Err(format!("key `{}` comes twice", key.escape_debug()));
            }
            self.last_record[place] = record;
            self.fields.places[first + place] = field;
            Ok(())
        })
    }
}

impl Decoder for JsonlDecoder {
    fn decode(&mut self, block: &Block, from: usize) -> Result<Decoded, Refusal> {
        self.fields.clear();
        self.last_record.fill(0);
        let bytes = block.text().as_bytes();
        let mut lines = Lines::new(block, from);
        let mut end = lines.at;
        while self.fields.records.len() < BATCH_ROWS {
            let Some((start, line_end)) = lines.next_filled(bytes) else {
                end = lines.at;
                break;
            };
            let is_too_large = (line_end - start) as u64 > MAX_RECORD_BYTES;
            let refusal = if is_too_large {
                Refusal::TooLarge { start }
            } else {
                match self.add_record(bytes, start, line_end) {
                    Ok(()) => {
                        end = lines.at;
                        continue;
                    }
                    Err(refused) => {
                        self.fields.records.pop();
                        let kept = self.fields.records.len() * self.names.len();
                        self.fields.places.truncate(kept);
                        refused.of(start..line_end)
                    }
                }
            };
            if self.fields.records.is_empty() {
                return Err(refusal);
            }
            end = start;
            break;
        }
        if self.fields.records.is_empty() {
            return block.ran_out(end);
        }
        let (batch, end) = self.columns.rows(block, &mut self.fields, end)?;
        Ok(Decoded { batch: Some(batch), end })
    }
}

/// Calls `see` with every key and field of the objects from `from` on, a batch at most; returns
/// how many objects there were and where the next line begins.
///
/// # Errors
/// The first line that is no object.
pub(crate) fn visit(
    block: &Block,
    from: usize,
    see: &mut dyn FnMut(&str, Field),
) -> Result<(usize, usize), Refusal> {
    let bytes = block.text().as_bytes();
    let mut lines = Lines::new(block, from);
    let mut records = 0;
    while records < BATCH_ROWS {
        let Some((start, end)) = lines.next_filled(bytes) else { break };
        object(bytes, start, end, &mut |key, field| {
            see(key, field);
            Ok(())
        })
        .map_err(|refused| refused.of(start..end))?;
        records += 1;
    }
    if records == 0 {
        block.ran_out(lines.at)?;
    }
    Ok((records, lines.at))
}

/// The lines of a block.
struct Lines {
    /// Where the next one begins.
    at: usize,
    ends_with_text: bool,
}

impl Lines {
    fn new(block: &Block, from: usize) -> Self {
        let at = block.behind_byte_order_mark(from);
        Self { at, ends_with_text: block.ends_with_text() }
    }

    /// The next line with something in it, without the blanks around that; `None` where no whole
    /// line is left.
    fn next_filled(&mut self, bytes: &[u8]) -> Option<(usize, usize)> {
        loop {
            let start = self.at;
            let end = match memchr::memchr(b'\n', &bytes[start..]) {
                Some(newline) => {
                    self.at = start + newline + 1;
                    start + newline
                }
                None if self.ends_with_text && start < bytes.len() => {
                    self.at = bytes.len();
                    bytes.len()
                }
                None => return None,
            };
            let line = &bytes[start..end];
            let Some(first) = line.iter().position(|byte| !is_blank(*byte)) else { continue };
            let blanks = line.iter().rev().take_while(|byte| is_blank(**byte)).count();
            return Some((start + first, end - blanks));
        }
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Why a line is no object that can be taken.
enum Refused {
    /// It is not JSON: what was expected, and at which byte of the block.
    Syntax { expected: &'static str, at: usize },
    /// Whoever took its fields refused one.
    Field(String),
}

impl Refused {
    fn of(self, range: std::ops::Range<usize>) -> Refusal {
        let reason = match self {
            Self::Syntax { expected, at } => {
                format!("expected {expected} at byte {} of the record", at - range.start + 1)
            }
            Self::Field(reason) => reason,
        };
        Refusal::BadRecord { range, column: None, reason }
    }
}

/// Goes through the object that is all of `bytes[start..end]`.
fn object(
    bytes: &[u8],
    start: usize,
    end: usize,
    take: &mut dyn FnMut(&str, Field) -> Result<(), String>,
) -> Result<(), Refused> {
    let mut scanner = Scanner { bytes: &bytes[..end], at: start };
    let mut unescaped = String::new();
    scanner.expect(b'{', "an object")?;
    scanner.skip_blanks();
    if !scanner.take(b'}') {
        loop {
            let key = scanner.key()?;
            let field = scanner.value(1)?;
            // Keys are cut at quotes out of text, so they are text.
            let raw = std::str::from_utf8(&bytes[key.range()]).unwrap_or_default();
            let name = if key.kind() == Kind::Escaped {
                unescaped.clear();
                unescape(raw, &mut unescaped);
                &unescaped
            } else {
                raw
            };
            take(name, field).map_err(Refused::Field)?;
            if !scanner.goes_on(b'}', "`,` or `}`")? {
                break;
            }
        }
    }
    scanner.skip_blanks();
    if scanner.at == end { Ok(()) } else { scanner.refuse("nothing more") }
}

/// A strict reader of JSON (RFC 8259) that only says where values are.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(is_blank) {
            self.at += 1;
        }
    }

    fn refuse<T>(&self, expected: &'static str) -> Result<T, Refused> {
        Err(Refused::Syntax { expected, at: self.at })
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn expect(&mut self, byte: u8, name: &'static str) -> Result<(), Refused> {
        if self.take(byte) { Ok(()) } else { self.refuse(name) }
    }

    /// Behind a member: whether another one follows, or `close` ends them.
    fn goes_on(&mut self, close: u8, expected: &'static str) -> Result<bool, Refused> {
        self.skip_blanks();
        if self.take(b',') {
            return Ok(true);
        }
        self.expect(close, expected).map(|()| false)
    }

    /// A key and its colon.
    fn key(&mut self) -> Result<Field, Refused> {
        self.skip_blanks();
        self.expect(b'"', "a key in quotes")?;
        let key = self.string()?;
        self.skip_blanks();
        self.expect(b':', "`:`")?;
        Ok(key)
    }

    /// A value inside `depth` objects and arrays.
    fn value(&mut self, depth: u32) -> Result<Field, Refused> {
        self.skip_blanks();
        let start = self.at;
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                return self.string();
            }
            Some(b'n') => {
                self.word(b"null")?;
                return Ok(Field::NULL);
            }
            Some(b't') => self.word(b"true")?,
            Some(b'f') => self.word(b"false")?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b'{' | b'[') if depth >= MAX_DEPTH => {
                return self.refuse("nesting of at most 64 objects and arrays");
            }
            Some(b'{') => {
                self.at += 1;
                self.skip_blanks();
                if !self.take(b'}') {
                    loop {
                        self.key()?;
                        self.value(depth + 1)?;
                        if !self.goes_on(b'}', "`,` or `}`")? {
                            break;
                        }
                    }
                }
            }
            Some(b'[') => {
                self.at += 1;
                self.skip_blanks();
                if !self.take(b']') {
                    loop {
                        self.value(depth + 1)?;
                        if !self.goes_on(b']', "`,` or `]`")? {
                            break;
                        }
                    }
                }
            }
            _ => return self.refuse("a value"),
        }
        Ok(Field::new(start, self.at, Kind::Literal))
    }

    fn word(&mut self, word: &'static [u8]) -> Result<(), Refused> {
        if !self.bytes[self.at..].starts_with(word) {
            return self.refuse("a value");
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), Refused> {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'-') {
                self.take(b'+');
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Refused> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { self.refuse("a digit") } else { Ok(()) }
    }

    /// The rest of a string whose opening quote was taken.
    fn string(&mut self) -> Result<Field, Refused> {
        let start = self.at;
        let mut kind = Kind::Text;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Field::new(start, self.at - 1, kind));
                }
                Some(b'\\') => {
                    kind = Kind::Escaped;
                    match escaped(&self.bytes[self.at..]) {
                        Some((_, length)) => self.at += length,
                        None => return self.refuse("an escape that JSON has"),
                    }
                }
                Some(0..=0x1f) => return self.refuse("control characters to be escaped"),
                Some(_) => self.at += 1,
                None => return self.refuse("a closing quote"),
            }
        }
    }
}

/// The character of the escape that `bytes` begin with, and the escape's length.
fn escaped(bytes: &[u8]) -> Option<(char, usize)> {
    let character = match bytes.get(1)? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let unit = code_unit(bytes)?;
            if let Some(character) = char::from_u32(unit) {
                return Some((character, 6));
            }
            // Half of a surrogate pair: the other half must follow.
            let other = code_unit(bytes.get(6..)?)?;
            let is_pair = (0xd800..0xdc00).contains(&unit) && (0xdc00..0xe000).contains(&other);
            let code = is_pair.then(|| 0x1_0000 + ((unit - 0xd800) << 10 | (other - 0xdc00)))?;
            return Some((char::from_u32(code)?, 12));
        }
        _ => return None,
    };
    Some((character, 2))
}

/// The number in `\uXXXX`.
fn code_unit(bytes: &[u8]) -> Option<u32> {
    let [b'\\', b'u', digits @ ..] = bytes.get(..6)? else { return None };
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
}

/// Puts characters in the place of escapes, which were checked when the string was found.
fn unescape(text: &str, out: &mut String) {
    let mut rest = text;
    while let Some(escape) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..escape]);
        let (character, length) = escaped(&rest.as_bytes()[escape..]).unwrap_or(('\u{fffd}', 1));
        out.push(character);
        rest = rest.get(escape + length..).unwrap_or_default();
    }
    out.push_str(rest);
}

/// Rows as objects.
pub(crate) struct JsonlEncoder {
    /// What stands before each column's value: `{"a":`, `,"b":`.
    before: Vec<Vec<u8>>,
    scratch: Scratch,
}

impl JsonlEncoder {
    /// An encoder of rows with this schema.
    pub(crate) fn new(schema: &SchemaRef) -> Self {
        let before = (schema.fields().iter().enumerate())
            .map(|(number, field)| {
                let mut before = vec![if number == 0 { b'{' } else { b',' }];
                Json.text(field.name(), &mut before);
                before.push(b':');
                before
            })
            .collect();
        Self { before, scratch: Scratch::default() }
    }
}

impl Encoder for JsonlEncoder {
    fn encode(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        let columns = Normal::new(batch)?;
        let columns = columns.cells()?;
        for row in 0..batch.num_rows() {
            for (column, before) in columns.iter().zip(&self.before) {
                out.extend_from_slice(before);
                if column.is_null(row) {
                    out.extend_from_slice(b"null");
                } else {
                    column.write(row, &Json, &mut self.scratch, out)?;
                }
            }
            out.extend_from_slice(if columns.is_empty() { b"{}\n" } else { b"}\n" });
        }
        Ok(())
    }
}

struct Json;

impl Style for Json {
    fn text(&self, value: &str, out: &mut Vec<u8>) {
        out.push(b'"');
        let bytes = value.as_bytes();
        let mut start = 0;
        for (at, byte) in bytes.iter().enumerate() {
            if *byte >= b' ' && *byte != b'"' && *byte != b'\\' {
                continue;
            }
            out.extend_from_slice(&bytes[start..at]);
            start = at + 1;
            match byte {
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
                _ => {
                    let digit = |half: u8| b"0123456789abcdef"[usize::from(half)];
                    out.extend_from_slice(b"\\u00");
                    out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
                }
            }
        }
        out.extend_from_slice(&bytes[start..]);
        out.push(b'"');
    }

    fn time(&self, value: &[u8], out: &mut Vec<u8>) {
        out.push(b'"');
        out.extend_from_slice(value);
        out.push(b'"');
    }

    fn float(&self, value: &[u8], is_finite: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(if is_finite { value } else { b"null" });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::JsonlOptions;
    use crate::{
        formats::{DeclaredColumn, Format},
        source::tests::Input,
    };
    use arrow::datatypes::DataType;

    fn inferred() -> Format {
        Format::Jsonl(JsonlOptions::default())
    }

    fn declared(columns: &[(&str, DataType)]) -> Format {
        let column = |(name, data_type): &(&str, DataType)| DeclaredColumn {
            name: (*name).to_owned(),
            data_type: Some(data_type.clone()),
        };
        Format::Jsonl(JsonlOptions { columns: Some(columns.iter().map(column).collect()) })
    }

    /// Rows as text: fields joined by `|`, a null as `∅`.
    fn rows(format: &Format, text: &str) -> Vec<String> {
        let rows = Input::of(&[text.as_bytes()]).rows(format, 2).unwrap();
        rows.into_iter()
            .map(|row| {
                let fields: Vec<_> =
                    row.into_iter().map(|field| field.unwrap_or(String::from("∅"))).collect();
                fields.join("|")
            })
            .collect()
    }

    #[test]
    fn objects_are_rows_and_absent_keys_are_nulls() {
        let text =
            "\u{feff}{\"a\": 1, \"b\": \"x\"}\r\n\n \t\r\n{\"b\":null}\n{\"b\":\"\",\"a\":-0}";
        assert_eq!(rows(&inferred(), text), ["1|x", "∅|∅", "0|"]);
    }

    #[test]
    fn integers_are_exact_and_nested_values_are_their_own_text() {
        let text = concat!(
            "{\"i\": 9223372036854775807, \"n\": {\"k\": [1, {}], \"é\": \"\\u00e9\"}}\n",
            "{\"i\": -9223372036854775808, \"n\": [ ]}"
        );
        assert_eq!(
            rows(&inferred(), text),
            [
                "9223372036854775807|{\"k\": [1, {}], \"é\": \"\\u00e9\"}",
                "-9223372036854775808|[ ]"
            ]
        );
    }

    #[test]
    fn escapes_are_characters() {
        let text = r#"{"a\u0020b": "\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"}"#;
        assert_eq!(rows(&inferred(), text), ["\"\\/\u{8}\u{c}\n\r\té😀"]);
    }

    #[test]
    fn declared_columns_choose_keys_and_types() {
        let format = declared(&[
            ("t", DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None)),
            ("d", DataType::Date32),
            ("x", DataType::Float64),
            ("s", DataType::Utf8),
        ]);
        let text =
            r#"{"d": "2024-02-29", "s": 12.50, "other": 1, "x": 3, "t": "2024-02-29T10:00"}"#;
        assert_eq!(rows(&format, text), ["2024-02-29T10:00:00|2024-02-29|3.0|12.50"]);
    }

    #[test]
    fn a_bad_line_is_named_with_place_and_reason() {
        let error = |line: &str| {
            let text = format!("{{\"a\": 1}}\n{line}\n");
            let message = Input::of(&[text.as_bytes()]).error(&inferred(), 1);
            let place = "bad row in `0`, line 2 (byte 9)";
            message.strip_prefix(place).unwrap_or(&message).to_owned()
        };
        assert_eq!(error("[1]"), ": expected an object at byte 1 of the record: `[1]`");
        assert_eq!(
            error(" {\"a\": 1,}"),
            "bad row in `0`, line 2 (byte 10): expected a key in quotes at byte 9 of the record: \
             `{\"a\": 1,}`"
        );
        assert_eq!(error("{\"a\": 1, \"a\": 2}"), ": key `a` comes twice: `{\"a\": 1, \"a\": 2}`");
        assert_eq!(
            error("{\"a\": 01}"),
            ": expected `,` or `}` at byte 8 of the record: `{\"a\": 01}`"
        );
        let deep = format!("{{\"a\": {}1{}}}", "[".repeat(64), "]".repeat(64));
        assert!(error(&deep).starts_with(": expected nesting of at most 64 objects and arrays at"));
        let fits = format!("{{\"a\": {}1{}}}", "[".repeat(63), "]".repeat(63));
        assert_eq!(rows(&inferred(), &fits).len(), 1);
    }

    #[test]
    fn what_the_sample_has_not_shown_is_a_bad_row() {
        let mut text = "{\"a\": 1}\n".repeat(20_000);
        text.push_str("{\"a\": 1, \"b\": 2}\n");
        assert_eq!(
            Input::of(&[text.as_bytes()]).error(&inferred(), 3),
            "bad row in `0`, line 20001 (byte 180000): key `b` is in no object of the sample; \
             declare `columns`: `{\"a\": 1, \"b\": 2}`"
        );
        let mut typed = "{\"a\": 1}\n".repeat(20_000);
        typed.push_str("{\"a\": \"1\"}\n");
        assert_eq!(
            Input::of(&[typed.as_bytes()]).error(&inferred(), 3),
            "bad row in `0`, line 20001 (byte 180000), column `a`: expected int64, found `1`: \
             `{\"a\": \"1\"}`"
        );
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map("[a-zé\"\\\\]{0,4}", inner, 0..4)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_json_and_what_is_not_is_as_serde_has_it(
            value in json(),
            cut in 0usize..200,
            byte in prop::sample::select(b"{}[]\",:\\0e-.nut x\t".to_vec()),
        ) {
            let mut line = serde_json::to_vec(&serde_json::json!({ "k": value })).unwrap();
            let at = cut % (line.len() + 1);
            if cut < 100 && line.get(at).is_some_and(u8::is_ascii) {
                line[at] = byte;
            }
            if line.contains(&b'\n') {
                return Ok(());
            }
            let format = declared(&[("k", DataType::Utf8View)]);
            let found = Input::of(&[&line]).rows(&format, 1);
            match serde_json::from_slice::<Value>(&line) {
                Ok(Value::Object(object)) => {
                    // serde_json lets the last of two equal keys win.
                    if let Err(error) = &found {
                        prop_assert!(error.to_string().contains("comes twice"), "{}", error);
                        return Ok(());
                    }
                    let found = found.unwrap().concat().remove(0);
                    match object.get("k").unwrap_or(&Value::Null) {
                        Value::Null => prop_assert_eq!(found, None),
                        Value::String(text) => prop_assert_eq!(found.as_ref(), Some(text)),
                        other => {
                            let found: Value = serde_json::from_str(&found.unwrap()).unwrap();
                            prop_assert_eq!(&found, other);
                        }
                    }
                }
                // serde_json knows no floats beyond the greatest; as text they are kept.
                Err(error) if error.to_string().contains("out of range") => {}
                _ => prop_assert!(found.is_err() || line.iter().all(|other| *other == b' ')),
            }
        }
    }
}
