//! The names of types, in both directions.
//!
//! [`data_type`] reads what documents and SQL call a type, [`type_name`] is its own name there,
//! and [`sql_type_name`] what it is called in SQL that other engines run; the first reads both.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, TimeUnit};

use super::{ParseError, ParseErrorKind, Result, error, nearest};
use crate::expr::{INTERVAL, TIME, TIMESTAMP};

/// How deep lists and structs may nest; a plan that holds them is sent as JSON.
const MAX_NESTING: usize = 8;

/// The most digits of a decimal of 128 bits.
pub(crate) const MAX_DIGITS: u8 = 38;

/// The most digits of a decimal of 256 bits.
pub(crate) const MAX_WIDE_DIGITS: u8 = 76;

/// Types that are a word, or words, without more: own name, name in SQL, type.
const PLAIN: [(&str, &str, DataType); 20] = [
    ("bool", "BOOLEAN", DataType::Boolean),
    ("int8", "TINYINT", DataType::Int8),
    ("int16", "SMALLINT", DataType::Int16),
    ("int32", "INT4", DataType::Int32),
    ("int64", "BIGINT", DataType::Int64),
    ("uint8", "UTINYINT", DataType::UInt8),
    ("uint16", "USMALLINT", DataType::UInt16),
    ("uint32", "UINTEGER", DataType::UInt32),
    ("uint64", "UBIGINT", DataType::UInt64),
    ("float32", "REAL", DataType::Float32),
    ("float64", "DOUBLE", DataType::Float64),
    ("string", "VARCHAR", DataType::Utf8View),
    ("binary", "BLOB", DataType::BinaryView),
    ("date", "DATE", DataType::Date32),
    ("time", "TIME", TIME),
    ("timestamp", "TIMESTAMP", TIMESTAMP),
    ("interval", "INTERVAL", INTERVAL),
    ("timestamp(s)", "TIMESTAMP_S", DataType::Timestamp(TimeUnit::Second, None)),
    ("timestamp(ms)", "TIMESTAMP_MS", DataType::Timestamp(TimeUnit::Millisecond, None)),
    ("timestamp(ns)", "TIMESTAMP_NS", DataType::Timestamp(TimeUnit::Nanosecond, None)),
];

/// Further words for them.
const SYNONYMS: [(&str, &str); 33] = [
    ("boolean", "bool"),
    ("tinyint", "int8"),
    ("int1", "int8"),
    ("smallint", "int16"),
    ("int2", "int16"),
    ("int4", "int32"),
    ("int", "int64"),
    ("integer", "int64"),
    ("bigint", "int64"),
    ("long", "int64"),
    ("utinyint", "uint8"),
    ("usmallint", "uint16"),
    ("uinteger", "uint32"),
    ("ubigint", "uint64"),
    ("real", "float32"),
    ("float", "float32"),
    ("float4", "float32"),
    ("float8", "float64"),
    ("double", "float64"),
    ("double precision", "float64"),
    ("text", "string"),
    ("varchar", "string"),
    ("char", "string"),
    ("character", "string"),
    ("character varying", "string"),
    ("utf8", "string"),
    ("blob", "binary"),
    ("bytea", "binary"),
    ("varbinary", "binary"),
    ("bytes", "binary"),
    ("datetime", "timestamp"),
    ("timestamp without time zone", "timestamp"),
    ("time without time zone", "time"),
];

/// What a message lists.
const KNOWN: &str = "bool, int8, int16, int32, int64, uint8, uint16, uint32, uint64, float32, \
     float64, decimal(p,s), string, binary, date, time, timestamp, timestamp_tz, duration, \
     interval, list<t>, struct<name t, ...>";

/// The words that begin the types of [`KNOWN`].
const WORDS: [&str; 22] = [
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float32",
    "float64",
    "decimal",
    "string",
    "binary",
    "date",
    "time",
    "timestamp",
    "timestamp_tz",
    "duration",
    "interval",
    "list",
    "struct",
];

/// The type that `text` names.
///
/// # Errors
/// The types that there are, and the nearest.
pub fn data_type(text: &str) -> Result<DataType> {
    let trimmed = text.trim();
    // A type that SQL's grammar has no words for stands in double quotes.
    let quoted = trimmed.strip_prefix('"').and_then(|inner| inner.strip_suffix('"'));
    let unquoted = quoted.map(|inner| inner.replace("\"\"", "\""));
    let mut reader = Reader { text: unquoted.as_deref().unwrap_or(trimmed), at: 0 };
    let named = reader.data_type(0)?;
    reader.skip_blanks();
    if reader.at < reader.text.len() {
        return Err(reader.refused("expected the end of the type"));
    }
    Ok(named)
}

/// The length of the type that `text` begins with, in bytes, where one does.
pub(super) fn prefix(text: &str) -> Option<usize> {
    let mut reader = Reader { text, at: 0 };
    reader.data_type(0).ok().map(|_| reader.at)
}

/// A list of such values.
pub fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

/// What a type is called in documents and messages.
pub fn type_name(data_type: &DataType) -> String {
    if let Some((name, ..)) = PLAIN.iter().find(|(.., known)| known == data_type) {
        return String::from(*name);
    }
    match data_type {
        DataType::Null => String::from("null"),
        DataType::Decimal256(precision, scale) if *precision <= MAX_DIGITS => {
            format!("decimal256({precision},{scale})")
        }
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            format!("decimal({precision},{scale})")
        }
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == "UTC" => {
            String::from("timestamp_tz")
        }
        DataType::Timestamp(unit, Some(zone)) => {
            format!("timestamp_tz({}, '{}')", unit_name(*unit), zone.replace('\'', "''"))
        }
        DataType::Duration(TimeUnit::Microsecond) => String::from("duration"),
        DataType::Duration(unit) => format!("duration({})", unit_name(*unit)),
        DataType::List(item) => format!("list<{}>", type_name(item.data_type())),
        DataType::Struct(fields) => format!("struct<{}>", named_fields(fields, type_name)),
        other => other.to_string(),
    }
}

/// What a type is called in SQL: in `DuckDB`'s words where it has the type, else as [`type_name`].
pub fn sql_type_name(data_type: &DataType) -> String {
    if let Some((_, name, _)) = PLAIN.iter().find(|(.., known)| known == data_type) {
        return String::from(*name);
    }
    match data_type {
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision},{scale})"),
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == "UTC" => {
            String::from("TIMESTAMPTZ")
        }
        DataType::List(item) => format!("{}[]", sql_type_name(item.data_type())),
        DataType::Struct(fields) => format!("STRUCT({})", named_fields(fields, sql_type_name)),
        other => type_name(other),
    }
}

fn named_fields(fields: &Fields, name: fn(&DataType) -> String) -> String {
    let named = fields.iter().map(|field| {
        let is_word = field.name().starts_with(|first: char| first.is_ascii_alphabetic())
            && field.name().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let data_type = name(field.data_type());
        if is_word {
            format!("{} {data_type}", field.name())
        } else {
            format!("\"{}\" {data_type}", field.name().replace('"', "\"\""))
        }
    });
    named.collect::<Vec<_>>().join(", ")
}

fn unit_name(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}

/// A unit by its name, or by the digits of a second that it can tell apart.
fn unit_of(name: &str) -> Option<TimeUnit> {
    Some(match name.to_ascii_lowercase().as_str() {
        "s" | "0" => TimeUnit::Second,
        "ms" | "3" => TimeUnit::Millisecond,
        "us" | "6" => TimeUnit::Microsecond,
        "ns" | "9" => TimeUnit::Nanosecond,
        _ => return None,
    })
}

/// Reads a type from the front of a text.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip_blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn take(&mut self, symbol: char) -> bool {
        self.skip_blanks();
        let is_there = self.rest().starts_with(symbol);
        if is_there {
            self.at += symbol.len_utf8();
        }
        is_there
    }

    fn expect(&mut self, symbol: char) -> Result<()> {
        if self.take(symbol) {
            return Ok(());
        }
        Err(self.refused(&format!("expected `{symbol}` in type")))
    }

    /// The word that comes next, empty where none does; it stays.
    fn peek_word(&mut self) -> String {
        self.skip_blanks();
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
        let end = self.rest().bytes().take_while(|byte| is_part(*byte)).count();
        String::from(&self.rest()[..end])
    }

    fn word(&mut self) -> String {
        let word = self.peek_word();
        self.at += word.len();
        word
    }

    /// What stands between `quote`s, doubled ones inside.
    fn quoted(&mut self, quote: char) -> Result<Option<String>> {
        if !self.take(quote) {
            return Ok(None);
        }
        let mut value = String::new();
        loop {
            let Some(end) = self.rest().find(quote) else {
                return Err(self.refused("a quote is left open in type"));
            };
            value.push_str(&self.rest()[..end]);
            self.at += end + quote.len_utf8();
            if !self.rest().starts_with(quote) {
                return Ok(Some(value));
            }
            value.push(quote);
            self.at += quote.len_utf8();
        }
    }

    fn refused(&self, message: &str) -> ParseError {
        let message = format!("{message} `{}`", self.text);
        error(ParseErrorKind::UnknownType, self.at, message)
    }

    fn data_type(&mut self, depth: usize) -> Result<DataType> {
        if depth > MAX_NESTING {
            let message = format!("a type is nested more than {MAX_NESTING} deep:");
            return Err(self.refused(&message));
        }
        let mut named = self.base(depth)?;
        let mut levels = depth;
        while self.take('[') {
            levels += 1;
            if levels > MAX_NESTING {
                let message = format!("a type is nested more than {MAX_NESTING} deep:");
                return Err(self.refused(&message));
            }
            self.expect(']')?;
            named = list_of(named);
        }
        Ok(named)
    }

    fn base(&mut self, depth: usize) -> Result<DataType> {
        let begin = self.at;
        let word = self.word();
        let lower = word.to_ascii_lowercase();
        match lower.as_str() {
            "list" | "array" => {
                self.expect('<')?;
                let item = self.data_type(depth + 1)?;
                self.expect('>')?;
                Ok(list_of(item))
            }
            "struct" => self.fields(depth),
            "map" => {
                let close = if self.take('<') { '>' } else { ')' };
                if close == ')' {
                    self.expect('(')?;
                }
                let key = self.data_type(depth + 2)?;
                self.expect(',')?;
                let value = self.data_type(depth + 2)?;
                self.expect(close)?;
                let fields = [Field::new("key", key, true), Field::new("value", value, true)];
                Ok(list_of(DataType::Struct(Fields::from_iter(fields))))
            }
            "decimal" | "numeric" | "dec" | "decimal256" => self.decimal(lower == "decimal256"),
            "timestamp" | "timestamptz" | "timestamp_tz" | "datetime" => self.timestamp(&lower),
            "timestamp_s" => Ok(DataType::Timestamp(TimeUnit::Second, None)),
            "timestamp_ms" => Ok(DataType::Timestamp(TimeUnit::Millisecond, None)),
            "timestamp_us" => Ok(TIMESTAMP),
            "timestamp_ns" => Ok(DataType::Timestamp(TimeUnit::Nanosecond, None)),
            "duration" => {
                let unit = if self.take('(') {
                    let unit = self.unit()?;
                    self.expect(')')?;
                    unit
                } else {
                    TimeUnit::Microsecond
                };
                Ok(DataType::Duration(unit))
            }
            _ => self.plain(&word, begin),
        }
    }

    /// A type that is nothing but a word or words; the length of a `varchar(20)` means nothing.
    fn plain(&mut self, word: &str, begin: usize) -> Result<DataType> {
        let mut name = word.to_ascii_lowercase();
        let second = self.peek_word().to_ascii_lowercase();
        if matches!(
            (name.as_str(), second.as_str()),
            ("double", "precision") | ("character", "varying")
        ) {
            self.word();
            name = format!("{name} {second}");
        }
        if name == "time" && second == "without" {
            self.words(&["without", "time", "zone"])?;
        }
        let own = SYNONYMS.iter().find(|(known, _)| *known == name).map_or(name.as_str(), |s| s.1);
        if let Some((.., data_type)) = PLAIN[..17].iter().find(|(known, ..)| *known == own) {
            let has_length =
                matches!(data_type, DataType::Utf8View | DataType::BinaryView) && self.take('(');
            if has_length {
                let length = self.word();
                if length.parse::<u32>().is_err() {
                    return Err(self.refused("expected a length in type"));
                }
                self.expect(')')?;
            }
            return Ok(data_type.clone());
        }
        let shown = if word.is_empty() { self.text } else { word };
        let message = format!("no type `{shown}`; there are {KNOWN}");
        Err(ParseError {
            suggestion: nearest(&name, WORDS),
            ..error(ParseErrorKind::UnknownType, begin, message)
        })
    }

    fn words(&mut self, expected: &[&str]) -> Result<()> {
        for word in expected {
            if !self.word().eq_ignore_ascii_case(word) {
                return Err(self.refused(&format!("expected `{word}` in type")));
            }
        }
        Ok(())
    }

    fn unit(&mut self) -> Result<TimeUnit> {
        let name = self.word();
        unit_of(&name).ok_or_else(|| {
            self.refused(&format!("`{name}` is no unit of time (s, ms, us, ns) in type"))
        })
    }

    fn decimal(&mut self, is_wide: bool) -> Result<DataType> {
        if !self.take('(') {
            return Err(self.refused("say decimal(digits, digits behind the point), not"));
        }
        let all = self.word();
        let behind = if self.take(',') { self.word() } else { String::from("0") };
        self.expect(')')?;
        let digits = all.parse::<u8>().ok().zip(behind.parse::<u8>().ok());
        let is_held = |(p, s): &(u8, u8)| (1..=MAX_WIDE_DIGITS).contains(p) && s <= p;
        let digits = digits.filter(is_held);
        let Some((precision, scale)) = digits.and_then(|(p, s)| Some((p, i8::try_from(s).ok()?)))
        else {
            let message = format!(
                "a decimal has 1 to {MAX_WIDE_DIGITS} digits, and no more of them behind the \
                 point; not"
            );
            return Err(self.refused(&message));
        };
        Ok(if is_wide || precision > MAX_DIGITS {
            DataType::Decimal256(precision, scale)
        } else {
            DataType::Decimal128(precision, scale)
        })
    }

    fn timestamp(&mut self, name: &str) -> Result<DataType> {
        let mut has_zone = matches!(name, "timestamp_tz" | "timestamptz");
        let mut unit = TimeUnit::Microsecond;
        let mut zone = String::from("UTC");
        if self.take('(') {
            unit = self.unit()?;
            if has_zone && self.take(',') {
                zone = match self.quoted('\'')? {
                    Some(named) => named,
                    None => self.unquoted_zone(),
                };
                if zone.parse::<arrow::array::timezone::Tz>().is_err() {
                    return Err(self.refused(&format!("no time zone `{zone}` is known, in type")));
                }
            }
            self.expect(')')?;
        }
        match self.peek_word().to_ascii_lowercase().as_str() {
            "with" => {
                self.words(&["with", "time", "zone"])?;
                has_zone = true;
            }
            "without" => self.words(&["without", "time", "zone"])?,
            _ => {}
        }
        Ok(DataType::Timestamp(unit, has_zone.then(|| zone.into())))
    }

    /// A zone whose quotes a parser took off.
    fn unquoted_zone(&mut self) -> String {
        self.skip_blanks();
        let end = self.rest().find(')').unwrap_or(self.rest().len());
        let zone = String::from(self.rest()[..end].trim_end());
        self.at += end;
        zone
    }

    fn fields(&mut self, depth: usize) -> Result<DataType> {
        let close = if self.take('<') { '>' } else { ')' };
        if close == ')' {
            self.expect('(')?;
        }
        let mut fields: Vec<Field> = Vec::new();
        loop {
            let name = match self.quoted('"')? {
                Some(name) => name,
                None => self.word(),
            };
            if name.is_empty() || fields.iter().any(|field| *field.name() == name) {
                return Err(self.refused("each field of a struct has a name of its own, in type"));
            }
            self.take(':');
            fields.push(Field::new(name, self.data_type(depth + 1)?, true));
            if self.take(close) {
                return Ok(DataType::Struct(Fields::from(fields)));
            }
            self.expect(',')?;
        }
    }
}

/// Whether it is one of the types that the engine computes with.
pub fn is_known(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) => is_known(item.data_type()),
        DataType::Struct(fields) => fields.iter().all(|field| is_known(field.data_type())),
        DataType::Null
        | DataType::Decimal128(..)
        | DataType::Decimal256(..)
        | DataType::Timestamp(..)
        | DataType::Duration(_)
        | DataType::Interval(IntervalUnit::MonthDayNano) => true,
        other => PLAIN.iter().any(|(.., known)| known == other),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
    use proptest::prelude::*;

    use super::{ParseErrorKind, data_type, is_known, list_of, sql_type_name, type_name};
    use crate::expr::{INTERVAL, TIME, TIMESTAMP};

    #[test]
    fn types_have_names() {
        for (text, expected) in [
            (" String ", DataType::Utf8View),
            ("varchar(20)", DataType::Utf8View),
            ("integer", DataType::Int64),
            ("INT4", DataType::Int32),
            ("double precision", DataType::Float64),
            ("decimal(10, 2)", DataType::Decimal128(10, 2)),
            ("numeric(5)", DataType::Decimal128(5, 0)),
            ("decimal(40,2)", DataType::Decimal256(40, 2)),
            ("timestamp", TIMESTAMP),
            ("timestamp(3)", DataType::Timestamp(TimeUnit::Millisecond, None)),
            (
                "timestamp with time zone",
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            ),
            (
                "timestamp_tz(ns, 'Europe/Berlin')",
                DataType::Timestamp(TimeUnit::Nanosecond, Some("Europe/Berlin".into())),
            ),
            ("time", TIME),
            ("interval", INTERVAL),
            ("duration(s)", DataType::Duration(TimeUnit::Second)),
            ("list<list<int8>>", list_of(list_of(DataType::Int8))),
            ("bigint[]", list_of(DataType::Int64)),
            (
                "struct<a int64, \"B c\" list<string>>",
                DataType::Struct(Fields::from(vec![
                    Field::new("a", DataType::Int64, true),
                    Field::new("B c", list_of(DataType::Utf8View), true),
                ])),
            ),
        ] {
            assert_eq!(data_type(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_type_is_told_what_there_is() {
        assert_eq!(data_type("strng").unwrap_err().suggestion, Some(String::from("string")));
        for bad in [
            "decimal",
            "decimal(0,0)",
            "decimal(77,0)",
            "decimal(4,5)",
            "list<int64",
            "list<>",
            "struct<>",
            "struct<a int64, a int64>",
            "timestamp(5)",
            "timestamp_tz(us, 'Europe/Nowhere')",
            "int64 int64",
            "",
            &"list<".repeat(100),
        ] {
            let refusal = data_type(bad).unwrap_err();
            assert_eq!(refusal.kind, ParseErrorKind::UnknownType, "{bad}");
        }
    }

    /// Any type that the engine computes with.
    pub(crate) fn types() -> impl Strategy<Value = DataType> {
        let unit = prop::sample::select(vec![
            TimeUnit::Second,
            TimeUnit::Millisecond,
            TimeUnit::Microsecond,
            TimeUnit::Nanosecond,
        ]);
        let zone =
            prop::sample::select(vec![None, Some("UTC"), Some("Europe/Berlin"), Some("+02:00")]);
        let leaf = prop_oneof![
            prop::sample::select(super::PLAIN.map(|(.., data_type)| data_type).to_vec()),
            (1u8..=38, 0i8..=38).prop_map(|(p, s)| DataType::Decimal128(p, s.min(p.cast_signed()))),
            (1u8..=76, 0i8..=76).prop_map(|(p, s)| DataType::Decimal256(p, s.min(p.cast_signed()))),
            (unit.clone(), zone)
                .prop_map(|(unit, zone)| DataType::Timestamp(unit, zone.map(Into::into))),
            unit.prop_map(DataType::Duration),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            let names = prop::sample::subsequence(vec!["a", "B", "odd, \"one\"", "é", "0"], 1..=3);
            prop_oneof![
                inner.clone().prop_map(list_of),
                (names, prop::collection::vec(inner, 3)).prop_map(|(names, types)| {
                    let fields = names.into_iter().zip(types);
                    let fields = fields.map(|(name, data_type)| Field::new(name, data_type, true));
                    DataType::Struct(fields.collect())
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_type_is_found_by_both_its_names(known in types()) {
            prop_assert!(is_known(&known));
            prop_assert_eq!(data_type(&type_name(&known)), Ok(known.clone()));
            prop_assert_eq!(data_type(&sql_type_name(&known)), Ok(known));
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            drop(data_type(&text));
        }
    }
}
