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

use std::collections::HashMap;

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

use crate::{
    Result,
    formats::{
        BATCH_ROWS, Decoded, DeclaredColumn, Decoder, MAX_RECORD_BYTES, Refusal,
        block::Block,
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
        let first = self.fields.fields.len();
        self.fields.fields.resize(first + width, Field::NULL);
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
            self.fields.fields[first + place] = field;
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
                        self.fields.fields.truncate(kept);
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
