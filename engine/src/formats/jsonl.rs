//! JSON Lines: decode and encode.
//!
//! - A line is one object; an empty line, or one of blanks, is skipped. A byte order mark at the
//!   start of a file is no part of it. Anything else is a bad row.
//! - A key that is absent is a null, like one with `null`. A key twice in one object is a bad row.
//! - A key that is no column: where `columns` are declared it is left out, because they say what
//!   is wanted. Where they were inferred it is a bad row, because nobody has said that its values
//!   may be lost; declare `columns` to have it, or to have it left out.
//! - Lists and structs are arrays and objects; declared ones leave out members that their type does
//!   not name, inferred ones have none. Dates, times and bytes (as hexadecimal digits) are strings,
//!   decimals numbers or strings, both exact.
//! - A string column holds strings; any other value stands in it as its JSON text, exactly as the
//!   file has it. Nested objects and arrays are kept so, and numbers beyond int64 with all digits.
//! - Objects and arrays are nested at most 64 deep.
//!
//! A file whose first character is `[` is one array of objects instead, over any number of lines.
//!
//! Written is one object a line without blanks, every column in it, a null as `null`, text as it
//! is (escaped only where JSON must), decimals as numbers with all their places, and times, bytes
//! and other types that JSON has not as strings. JSON has no `NaN` and no infinities: they become
//! `null`.

use std::{collections::HashMap, ops::Range};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use serde::{Deserialize, Serialize};

use crate::{
    Result,
    formats::{
        BATCH_ROWS, BadRecord, BadRecords, DeclaredColumn, Decoded, Decoder, Encoder,
        MAX_RECORD_BYTES, Refusal,
        block::Block,
        cells::{Json, Normal, Scratch, before},
        fields::{Columns, Field, Fields, Kind, Unescape},
        intake::Intake,
        values::{Pattern, Rules},
    },
};

pub(crate) mod scan;
mod items;

pub(crate) use items::Items;
use items::Next;

/// How JSON Lines are read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JsonlOptions {
    /// Declared columns, and then only these; a type that is absent is inferred. `None`: the keys
    /// of the sampled objects, in order of first appearance.
    pub columns: Option<Vec<DeclaredColumn>>,
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
    items: Items,
}

impl JsonlDecoder {
    /// A decoder into `schema`.
    ///
    /// # Errors
    /// [`Error::Evaluate`](crate::Error) for a type that can't be read.
    pub(crate) fn new(options: &JsonlOptions, schema: SchemaRef) -> Result<Self> {
        let names: Vec<_> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let rules = Rules {
            scalar_kind: Kind::Literal,
            unescape: Unescape::Json,
            date: options.date_format.as_deref().and_then(Pattern::new),
            timestamp: options.timestamp_format.as_deref().and_then(Pattern::new),
            leaves_out: options.columns.is_some(),
        };
        Ok(Self {
            leaves_out: options.columns.is_some(),
            places: names.iter().cloned().zip(0..).collect(),
            last_record: vec![0; names.len()],
            fields: Fields::new(names.len()),
            names,
            columns: Columns::new(schema, rules)?,
            items: Items::default(),
        })
    }

    /// Puts the fields of a record into their columns' places.
    fn add_record(&mut self, bytes: &[u8], range: Range<usize>) -> Result<(), BadRecord> {
        let width = self.names.len();
        let first = self.fields.places.len();
        self.fields.places.resize(first + width, Field::NULL);
        let record = self.fields.records.len() + 1;
        // Objects of one file mostly have their keys in one order.
        let mut expected = 0;
        let taken = scan::object(bytes, range.start, range.end, &mut |key, field| {
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
        });
        match taken {
            Ok(()) => {
                self.fields.add(range);
                Ok(())
            }
            Err(refused) => {
                self.fields.places.truncate(first);
                // The next record has this one's number.
                for last in self.last_record.iter_mut().filter(|last| **last == record) {
                    *last = 0;
                }
                Err(refused.of(range))
            }
        }
    }
}

impl Decoder for JsonlDecoder {
    fn decode(
        &mut self,
        block: &Block,
        from: usize,
        bad: &mut BadRecords,
    ) -> Result<Decoded, Refusal> {
        self.fields.clear();
        self.last_record.fill(0);
        let bytes = block.text().as_bytes();
        let mut items = self.items.at(block, from);
        let mut end = items.position();
        while self.fields.records.len() + bad.found.len() < BATCH_ROWS {
            let before = items;
            let refused = match items.next(block) {
                Next::Record(range) if (range.len() as u64) > MAX_RECORD_BYTES => {
                    Err(Refusal::TooLarge { start: range.start })
                }
                Next::Record(range) => {
                    self.add_record(bytes, range).or_else(|record| bad.take(record))
                }
                Next::Bad(record) => bad.take(record),
                Next::None => {
                    end = items.position();
                    break;
                }
            };
            if let Err(refusal) = refused {
                if self.fields.records.is_empty() {
                    return Err(refusal);
                }
                items = before;
                end = before.position();
                break;
            }
            end = items.position();
        }
        self.items = items;
        if self.fields.records.is_empty() {
            if bad.found.is_empty() && !block.is_whole() {
                return block.ran_out(end, bad);
            }
            return Ok(Decoded { batch: None, end });
        }
        let (batch, behind) = self.columns.rows(block, &self.fields, end, bad)?;
        if behind != end {
            self.items.back_to(behind);
        }
        Ok(Decoded { batch, end: behind })
    }
}

/// Calls `see` with every key and field of the objects from `from` on, a batch at most, and passes
/// over what is none; returns how many records there were and where the next begins.
///
/// # Errors
/// A record is too large.
pub(crate) fn visit(
    block: &Block,
    from: usize,
    state: &mut Items,
    bad: &mut BadRecords,
    see: &mut dyn FnMut(&str, Field),
) -> Result<(usize, usize), Refusal> {
    let bytes = block.text().as_bytes();
    let mut items = state.at(block, from);
    let mut records = 0;
    let mut seen: Vec<(String, Field)> = Vec::new();
    while records < BATCH_ROWS {
        match items.next(block) {
            Next::Record(range) => {
                seen.clear();
                let taken = scan::object(bytes, range.start, range.end, &mut |key, field| {
                    seen.push((key.to_owned(), field));
                    Ok(())
                });
                // What is no object shall not decide what the others are.
                match taken {
                    Ok(()) => seen.iter().for_each(|(key, field)| see(key, *field)),
                    Err(refused) => bad.found.push(refused.of(range)),
                }
            }
            Next::Bad(record) => bad.found.push(record),
            Next::None => break,
        }
        records += 1;
    }
    let mut end = items.position();
    *state = items;
    if records == 0 && !block.is_whole() {
        let decoded = block.ran_out(end, bad)?;
        records += usize::from(decoded.end != end);
        end = decoded.end;
    }
    Ok((records, end))
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
        let fields = schema.fields().iter().enumerate();
        let before = fields.map(|(number, field)| before(number, field)).collect();
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
                    column.write(row, &Json, &mut self.scratch, out);
                }
            }
            out.extend_from_slice(if columns.is_empty() { b"{}\n" } else { b"}\n" });
        }
        Ok(())
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
        let columns = Some(columns.iter().map(column).collect());
        Format::Jsonl(JsonlOptions { columns, ..JsonlOptions::default() })
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
        // An array beside an object is neither a list nor a struct.
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
