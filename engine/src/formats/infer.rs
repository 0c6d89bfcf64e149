//! The schema of files: declared, or from a bounded sample of their first records.
//!
//! A type is the narrowest that every sampled value fits; it is enforced on all values when they
//! are read, so a later value that does not fit is a bad row, never a silent null.
//!
//! - CSV: bool, int64, float64, date, timestamp, else string. Digits with a leading zero or a plus
//!   sign stay text, so that postcodes and telephone numbers survive; so do integers beyond int64,
//!   because a float would lose their digits. `NaN` and infinities make a float column only beside
//!   numbers. A column without a value is text.
//! - JSON: the types that JSON has. Integers beyond int64, nested values and mixtures of types are
//!   kept as JSON text in a string column; dates are strings unless declared.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{DataType, Field as SchemaField, Schema, SchemaRef};

use crate::{
    Error, Result,
    disk::Disk,
    formats::{
        DeclaredColumn, Format, Refusal,
        block::Block,
        csv::{self, CsvOptions},
        fields::{Field, Fields, Kind, TIMESTAMP, check_types},
        jsonl::{self, JsonlOptions},
        scalar, text,
    },
    plan::InputFile,
    source::{blocks::Blocks, columnar, split::Split},
};

/// The sample ends with the batch that reaches so many records.
const SAMPLE_RECORDS: usize = 10_000;
/// The sample ends with the batch that reaches so many bytes.
const SAMPLE_BYTES: usize = 1 << 20;

/// The schema of the rows that a reader with this format makes of `files`, in their order.
///
/// - Shape: text as `Utf8View`, all columns nullable; declared columns in the declared order,
///   otherwise those of the header, or the keys in order of first appearance.
/// - Reading: none if everything is declared and there is no header; otherwise the first files, up
///   to about 1 MiB or 10,000 records.
///
/// # Errors
/// `BadRow` where the header is not what is declared, has an empty or a repeated name, or is not
/// there; and for bad records in the sample. `RecordTooLarge`, `InputNotFound`, `InputChanged`,
/// `Io`. `Evaluate` for a declared type that text can't be read as.
pub fn schema(disk: &Arc<dyn Disk>, format: &Format, files: &[InputFile]) -> Result<SchemaRef> {
    let schema = match format {
        Format::Text => return Ok(text::schema()),
        Format::Csv(options) => csv_schema(disk, options, files)?,
        Format::Jsonl(options) => jsonl_schema(disk, options, files)?,
        Format::Parquet | Format::Arrow => {
            return columnar::schema::inspect(format, files, None, disk).map(|found| found.schema);
        }
    };
    check_types(&schema)?;
    Ok(Arc::new(schema))
}

fn csv_schema(disk: &Arc<dyn Disk>, options: &CsvOptions, files: &[InputFile]) -> Result<Schema> {
    csv::check_delimiter(options.delimiter)?;
    let declared = options.columns.as_deref();
    let mut names: Option<Vec<String>> =
        declared.map(|columns| columns.iter().map(|column| column.name.clone()).collect());
    if let Some(schema) = declared.filter(|_| !options.header).and_then(declared_schema) {
        return Ok(schema);
    }
    let mut fields = Fields::new(names.as_ref().map_or(0, Vec::len));
    let mut seen = vec![Seen::default(); fields.width];
    sample(disk, files, |block, from| {
        let mut from = from;
        if block.offset() == 0 && from == 0 {
            from = block.behind_byte_order_mark(0);
            if options.header {
                let Some((found, end)) = csv::header(block, options.delimiter)? else {
                    return Ok(Sampled { records: 0, end: 0 });
                };
                if let Some(expected) = &names {
                    csv::check_header(block, expected, &found, end)?;
                } else {
                    check_names(&found, from..end)?;
                    fields.width = found.len();
                    seen.resize(found.len(), Seen::default());
                    names = Some(found);
                }
                from = end;
            }
        }
        let end = csv::split(block, from, options.delimiter, &mut fields)?;
        for (number, column) in seen.iter_mut().enumerate() {
            fields.column(number).for_each(|field| column.add(seen_in_csv(block, field)));
        }
        if fields.records.is_empty() {
            block.ran_out(end)?;
        }
        Ok(Sampled { records: fields.records.len(), end })
    })?;
    let Some(names) = names else { return Err(nothing_to_name_columns(files)) };
    let types = seen.into_iter().map(Seen::csv_type);
    Ok(typed_schema(names.into_iter().zip(types), declared))
}

fn jsonl_schema(
    disk: &Arc<dyn Disk>,
    options: &JsonlOptions,
    files: &[InputFile],
) -> Result<Schema> {
    let declared = options.columns.as_deref();
    if let Some(schema) = declared.and_then(declared_schema) {
        return Ok(schema);
    }
    let mut names: Vec<String> =
        declared.unwrap_or_default().iter().map(|column| column.name.clone()).collect();
    let mut places: HashMap<String, usize> =
        names.iter().enumerate().map(|(place, name)| (name.clone(), place)).collect();
    let mut seen = vec![Seen::default(); names.len()];
    sample(disk, files, |block, from| {
        let (records, end) = jsonl::visit(block, from, &mut |key, field| {
            let place = match places.get(key) {
                Some(place) => *place,
                None if declared.is_some() => return,
                None => {
                    names.push(key.to_owned());
                    seen.push(Seen::default());
                    places.insert(key.to_owned(), names.len() - 1);
                    names.len() - 1
                }
            };
            seen[place].add(seen_in_json(block, field));
        })?;
        Ok(Sampled { records, end })
    })?;
    if names.is_empty() {
        return Err(nothing_to_name_columns(files));
    }
    let types = seen.into_iter().map(Seen::json_type);
    Ok(typed_schema(names.into_iter().zip(types), declared))
}

/// The schema of columns whose types are all declared.
fn declared_schema(columns: &[DeclaredColumn]) -> Option<Schema> {
    let fields = columns.iter().map(|column| {
        let data_type = column.data_type.clone()?;
        Some(SchemaField::new(&column.name, as_view(data_type), true))
    });
    fields.collect::<Option<Vec<_>>>().map(Schema::new)
}

/// Names with their inferred types, where none is declared.
fn typed_schema(
    inferred: impl Iterator<Item = (String, DataType)>,
    declared: Option<&[DeclaredColumn]>,
) -> Schema {
    let mut declared = declared.unwrap_or_default().iter();
    let fields = inferred.map(|(name, data_type)| {
        let declared = declared.next().and_then(|column| column.data_type.clone());
        SchemaField::new(name, as_view(declared.unwrap_or(data_type)), true)
    });
    Schema::new(fields.collect::<Vec<_>>())
}

/// Text as it is inside a pipeline.
fn as_view(data_type: DataType) -> DataType {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        other => other,
    }
}

fn check_names(names: &[String], range: std::ops::Range<usize>) -> Result<(), Refusal> {
    let reason = if let Some(place) = names.iter().position(String::is_empty) {
        format!("column {} of the header has no name; declare `columns`", place + 1)
    } else if let Some(place) =
        (1..names.len()).find(|place| names[..*place].contains(&names[*place]))
    {
        format!("the header names `{}` twice; declare `columns`", names[place].escape_debug())
    } else {
        return Ok(());
    };
    Err(Refusal::BadRecord { range, column: None, reason })
}

fn nothing_to_name_columns(files: &[InputFile]) -> Error {
    let Some(first) = files.first() else {
        return Error::Evaluate { reason: String::from("no file, and no `columns` declared") };
    };
    Error::BadRow {
        path: first.path.clone(),
        offset: 0,
        line: 1,
        column: None,
        text: String::from("``"),
        reason: String::from("there is nothing that names columns; declare `columns`"),
    }
}

/// What a visit of a block found.
struct Sampled {
    records: usize,
    /// Where the next visit begins.
    end: usize,
}

/// Calls `visit` with blocks of the files and where in them it left off, until the sample is large
/// enough or the files end.
fn sample(
    disk: &Arc<dyn Disk>,
    files: &[InputFile],
    mut visit: impl FnMut(&Block, usize) -> Result<Sampled, Refusal>,
) -> Result<()> {
    let (mut records, mut bytes) = (0, 0);
    for file in files {
        let whole = Split { file: file.clone(), start: 0, end: file.size_bytes, aligned: true };
        let mut blocks = Blocks::open(&whole, disk)?;
        let mut rest = Vec::new();
        while let Some(block) = blocks.next(&rest)? {
            let mut from = 0;
            loop {
                if records >= SAMPLE_RECORDS || bytes >= SAMPLE_BYTES {
                    return Ok(());
                }
                let sampled =
                    visit(&block, from).map_err(|refusal| blocks.error(&block, refusal))?;
                records += sampled.records;
                bytes += sampled.end - from;
                from = sampled.end;
                if sampled.records == 0 {
                    break;
                }
            }
            rest = block.bytes()[from..].to_vec();
        }
    }
    Ok(())
}

/// The kinds of values that a column was seen with, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen(u8);

impl Seen {
    const NULL: Self = Self(0);
    const BOOL: Self = Self(1);
    const INT: Self = Self(2);
    const FLOAT: Self = Self(4);
    const NOT_FINITE: Self = Self(8);
    const DATE: Self = Self(16);
    const TIMESTAMP: Self = Self(32);
    const TEXT: Self = Self(64);

    fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    fn has(self, kinds: Self) -> bool {
        self.0 & kinds.0 != 0
    }

    /// Whether something was seen, and nothing but these.
    fn is_only(self, kinds: &[Self]) -> bool {
        let kinds = kinds.iter().fold(0, |bits, kind| bits | kind.0);
        self.0 != 0 && self.0 & !kinds == 0
    }

    fn csv_type(self) -> DataType {
        if self.is_only(&[Self::DATE]) {
            DataType::Date32
        } else if self.is_only(&[Self::DATE, Self::TIMESTAMP]) {
            TIMESTAMP
        } else {
            self.json_type()
        }
    }

    fn json_type(self) -> DataType {
        if self.is_only(&[Self::BOOL]) {
            DataType::Boolean
        } else if self.is_only(&[Self::INT]) {
            DataType::Int64
        } else if self.is_only(&[Self::INT, Self::FLOAT, Self::NOT_FINITE])
            && self.has(Self(Self::INT.0 | Self::FLOAT.0))
        {
            DataType::Float64
        } else {
            DataType::Utf8View
        }
    }
}

fn seen_in_csv(block: &Block, field: Field) -> Seen {
    let text = &block.text()[field.range()];
    match field.kind() {
        Kind::Null => Seen::NULL,
        Kind::Text => seen_in_text(text),
        Kind::Escaped | Kind::Literal => Seen::TEXT,
    }
}

/// The narrowest kind that some text is of.
fn seen_in_text(text: &str) -> Seen {
    let bytes = text.as_bytes();
    let unsigned = bytes.strip_prefix(b"-").unwrap_or(bytes);
    match unsigned {
        [b'0', b'0'..=b'9', ..] if scalar::parse_date(bytes).is_some() => Seen::DATE,
        [b'0', b'0'..=b'9', ..] if scalar::parse_timestamp(bytes).is_some() => Seen::TIMESTAMP,
        [] | [b'0', b'0'..=b'9', ..] | [b'+', ..] => Seen::TEXT,
        digits if digits.iter().all(u8::is_ascii_digit) => {
            if scalar::parse_int64(bytes).is_some() {
                Seen::INT
            } else {
                Seen::TEXT
            }
        }
        [b'0'..=b'9' | b'.', ..] if scalar::parse_float64(text).is_some() => Seen::FLOAT,
        _ if scalar::parse_date(bytes).is_some() => Seen::DATE,
        _ if scalar::parse_timestamp(bytes).is_some() => Seen::TIMESTAMP,
        _ if scalar::parse_bool(bytes).is_some() => Seen::BOOL,
        b"NaN" | b"inf" => Seen::NOT_FINITE,
        _ => Seen::TEXT,
    }
}

fn seen_in_json(block: &Block, field: Field) -> Seen {
    let text = &block.text()[field.range()];
    match (field.kind(), text.as_bytes()) {
        (Kind::Null, _) => Seen::NULL,
        (Kind::Text | Kind::Escaped, _) | (_, [b'{' | b'[', ..]) => Seen::TEXT,
        (_, [b't' | b'f', ..]) => Seen::BOOL,
        (_, number) if number.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E')) => {
            // One beyond float64 stays as it is written.
            if scalar::parse_float64(text).is_some() { Seen::FLOAT } else { Seen::TEXT }
        }
        (_, number) if scalar::parse_int64(number).is_some() => Seen::INT,
        _ => Seen::TEXT,
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::{TIMESTAMP, schema};
    use crate::{
        formats::{DeclaredColumn, Format, csv::CsvOptions, jsonl::JsonlOptions},
        source::tests::Input,
    };

    fn csv(header: bool, columns: Option<&[(&str, Option<DataType>)]>) -> Format {
        let columns = columns.map(|columns| {
            let declared = |(name, data_type): &(&str, Option<DataType>)| DeclaredColumn {
                name: (*name).to_owned(),
                data_type: data_type.clone(),
            };
            columns.iter().map(declared).collect()
        });
        Format::Csv(CsvOptions { header, columns, delimiter: b',' })
    }

    fn columns(format: &Format, files: &[&str]) -> Vec<(String, DataType)> {
        let files: Vec<&[u8]> = files.iter().map(|text| text.as_bytes()).collect();
        let input = Input::of(&files);
        let schema = schema(&input.disk, format, &input.files).unwrap();
        let column = |field: &std::sync::Arc<arrow::datatypes::Field>| {
            (field.name().clone(), field.data_type().clone())
        };
        schema.fields().iter().map(column).collect()
    }

    fn type_of(values: &[&str]) -> DataType {
        let text = format!("v,w\n{},", values.join(",\n"));
        columns(&csv(true, None), &[&text]).remove(0).1
    }

    #[test]
    fn a_type_is_the_narrowest_that_every_value_fits() {
        assert_eq!(type_of(&["true", "", "FALSE"]), DataType::Boolean);
        assert_eq!(type_of(&["0", "-1", "12"]), DataType::Int64);
        assert_eq!(type_of(&["0.5", "-1", "1e3", "NaN"]), DataType::Float64);
        assert_eq!(type_of(&["2024-02-29", "0999-01-01"]), DataType::Date32);
        assert_eq!(type_of(&["2024-02-29", "2024-02-29 10:00"]), TIMESTAMP);
        assert_eq!(type_of(&["2024-02-29T10:00:00.5"]), TIMESTAMP);
        for text in
            [vec!["true", "1"], vec!["1", "x"], vec!["2024-02-30"], vec!["NaN"], vec!["", ""]]
        {
            assert_eq!(type_of(&text), DataType::Utf8View, "{text:?}");
        }
    }

    #[test]
    fn postcodes_telephone_numbers_and_long_digits_stay_text() {
        for text in ["01067", "00", "-01", "+491234", "00.5", "12345678901234567890", "\"\"", " 1"]
        {
            assert_eq!(type_of(&["1", text]), DataType::Utf8View, "{text:?}");
        }
    }

    #[test]
    fn declared_columns_win_and_their_names_must_be_the_headers() {
        let declared = [("a", Some(DataType::Utf8)), ("b", None)];
        let expected =
            [(String::from("a"), DataType::Utf8View), (String::from("b"), DataType::Int64)];
        assert_eq!(columns(&csv(false, Some(&declared)), &["1,2\n"]), expected);
        assert_eq!(columns(&csv(true, Some(&declared)), &["a,b\n1,2\n"]), expected);
        assert_eq!(
            Input::of(&[b"a,c\n1,2\n"]).error(&csv(true, Some(&declared)), 1),
            "bad row in `0`, line 1 (byte 0): the header names `a`, `c`, expected `a`, `b`: `a,c`"
        );
    }

    #[test]
    fn a_header_without_or_with_repeated_names_is_refused() {
        assert_eq!(
            Input::of(&[b"\na,,c\n"]).error(&csv(true, None), 1),
            "bad row in `0`, line 1 (byte 0): column 2 of the header has no name; declare \
             `columns`: `\\na,,c\\n`"
        );
        assert_eq!(
            Input::of(&[b"a,\"b\"\"\",\"b\"\"\"\n"]).error(&csv(true, None), 1),
            "bad row in `0`, line 1 (byte 0): the header names `b\\\"` twice; declare `columns`: \
             `a,\"b\"\"\",\"b\"\"\"\\n`"
        );
        assert_eq!(
            Input::of(&[b"", b""]).error(&csv(true, None), 1),
            "bad row in `0`, line 1 (byte 0): there is nothing that names columns; declare \
             `columns`: ``"
        );
    }

    #[test]
    fn an_empty_file_lends_its_names_to_nobody() {
        let expected = [(String::from("a"), DataType::Int64)];
        assert_eq!(columns(&csv(true, None), &["", "a\n", "a\n5\n"]), expected);
    }

    #[test]
    fn a_json_number_beyond_float64_stays_text() {
        let input = Input::of(&[b"{\"a\": 1e999, \"b\": 1e9}\n"]);
        let format = Format::Jsonl(JsonlOptions::default());
        let found = schema(&input.disk, &format, &input.files).unwrap();
        let types: Vec<_> = found.fields().iter().map(|field| field.data_type().clone()).collect();
        assert_eq!(types, [DataType::Utf8View, DataType::Float64]);
    }

    #[test]
    fn keys_of_objects_come_in_order_of_first_appearance() {
        let jsonl = Format::Jsonl(JsonlOptions::default());
        let text = concat!(
            "{\"z\": 1, \"a\": \"x\", \"n\": null}\n",
            "\n",
            "{\"a\": \"2024-01-01\", \"m\": {\"k\": [1]}, \"z\": 2.5, \"b\": true}\n",
            "{\"big\": 12345678901234567890, \"mix\": 1}\n{\"mix\": \"x\"}"
        );
        let expected = [
            ("z", DataType::Float64),
            ("a", DataType::Utf8View),
            ("n", DataType::Utf8View),
            ("m", DataType::Utf8View),
            ("b", DataType::Boolean),
            ("big", DataType::Utf8View),
            ("mix", DataType::Utf8View),
        ];
        assert_eq!(columns(&jsonl, &[text]), expected.map(|(name, t)| (name.to_owned(), t)));
    }
}
