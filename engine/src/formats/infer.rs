//! The schema of files: declared, or from a bounded sample of their first records.
//!
//! A type is the narrowest that every sampled value fits; it is enforced on all values when they
//! are read, so a later value that does not fit is a bad row, never a silent null.
//!
//! - CSV: bool, int64, float64, date, timestamp, else string. Digits with a leading zero or a plus
//!   sign stay text, so that postcodes and telephone numbers survive; so do integers beyond int64,
//!   because a float would lose their digits. `NaN` and infinities make a float column only beside
//!   numbers. A column without a value is text.
//!   With a format for dates or timestamps, texts of that format are, and no others.
//! - JSON: the types that JSON has, arrays as lists and objects as structs, whose elements and
//!   members have the narrowest type of all of them. Integers beyond int64, mixtures of types,
//!   empty objects, those with too many different members and what is nested too deep are kept as
//!   JSON text in a string column; dates are strings unless declared.
//!
//! Records that are none (bad rows) are passed over here: what becomes of them is decided where
//! they are read.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{DataType, Field as SchemaField, Schema, SchemaRef};

use crate::{
    Error, Result,
    disk::Disk,
    formats::{
        BadRecord, BadRecords, DeclaredColumn, Format, Refusal,
        block::Block,
        csv::{self, CsvOptions},
        fields::{Fields, check_types},
        jsonl::{self, JsonlOptions},
        normal::normal_type,
        text,
    },
    plan::InputFile,
    source::{blocks::Blocks, columnar, split::Split},
};

mod seen;

use seen::Seen;

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
/// there, and where no record names a column. `RecordTooLarge`, `InputNotFound`, `InputChanged`,
/// `Io`. `Evaluate` for a declared type that text can't be read as.
pub fn schema(disk: &Arc<dyn Disk>, format: &Format, files: &[InputFile]) -> Result<SchemaRef> {
    let schema = match format {
        Format::Text(_) => return Ok(text::schema()),
        Format::Csv(options) => csv_schema(disk, format, options, files)?,
        Format::Jsonl(options) => jsonl_schema(disk, format, options, files)?,
        Format::Parquet | Format::Arrow => {
            return columnar::schema::inspect(format, files, None, disk).map(|found| found.schema);
        }
    };
    check_types(&schema)?;
    Ok(Arc::new(schema))
}

fn csv_schema(
    disk: &Arc<dyn Disk>,
    format: &Format,
    options: &CsvOptions,
    files: &[InputFile],
) -> Result<Schema> {
    options.check()?;
    let declared = options.columns.as_deref();
    let mut names: Option<Vec<String>> =
        declared.map(|columns| columns.iter().map(|column| column.name.clone()).collect());
    if let Some(schema) = declared.filter(|_| !options.header).and_then(declared_schema) {
        return Ok(schema);
    }
    let (layout, rules) = (options.layout(), options.rules());
    let mut fields = Fields::new(names.as_ref().map_or(0, Vec::len));
    let mut seen = vec![Seen::default(); fields.width];
    sample(disk, format, files, |block, from, bad| {
        let mut from = from;
        if block.offset() == 0 && from == 0 {
            from = block.behind_byte_order_mark(0);
            if options.header {
                let Some((found, end)) = csv::header(block, &layout)? else {
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
            } else if names.is_none() {
                // Nobody names the columns: the first record says how many there are.
                let Some((found, _)) = csv::header(block, &layout)? else {
                    return Ok(Sampled { records: 0, end: 0 });
                };
                fields.width = found.len();
                seen.resize(found.len(), Seen::default());
                names = Some((1..=found.len()).map(|number| format!("column{number}")).collect());
            }
        }
        let end = csv::split(block, from, &layout, &mut fields, bad)?;
        for (number, column) in seen.iter_mut().enumerate() {
            fields.column(number).for_each(|field| column.add_csv(block, field, &rules));
        }
        Ok(Sampled { records: fields.records.len() + bad.found.len(), end })
    })?;
    let Some(names) = names else { return Err(nothing_to_name_columns(files)) };
    let has_patterns = rules.date.is_some() || rules.timestamp.is_some();
    let types = seen.into_iter().map(|column| column.csv_type(has_patterns));
    Ok(typed_schema(names.into_iter().zip(types), declared))
}

fn jsonl_schema(
    disk: &Arc<dyn Disk>,
    format: &Format,
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
    let mut items = jsonl::Items::default();
    let first_bad = sample(disk, format, files, |block, from, bad| {
        if block.offset() == 0 && from == 0 {
            items = jsonl::Items::default();
        }
        let (records, end) = jsonl::visit(block, from, &mut items, bad, &mut |key, field| {
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
            seen[place].add_json(block, field, 0);
        })?;
        Ok(Sampled { records, end })
    })?;
    if names.is_empty() {
        // A bad row says more than that there is nothing.
        return Err(first_bad.unwrap_or_else(|| nothing_to_name_columns(files)));
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

/// A type as it is inside a pipeline.
fn as_view(data_type: DataType) -> DataType {
    normal_type(&data_type).unwrap_or(data_type)
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
    Err(Refusal::BadRecord(BadRecord { range, column: None, reason }))
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
/// enough or the files end; gives the first bad row as an error.
fn sample(
    disk: &Arc<dyn Disk>,
    format: &Format,
    files: &[InputFile],
    mut visit: impl FnMut(&Block, usize, &mut BadRecords) -> Result<Sampled, Refusal>,
) -> Result<Option<Error>> {
    let (mut records, mut bytes) = (0, 0);
    let mut bad = BadRecords { are_tolerated: true, found: Vec::new() };
    let mut first_bad = None;
    for file in files {
        let whole = Split { file: file.clone(), start: 0, end: file.size_bytes, aligned: true };
        let mut blocks = Blocks::open(&whole, format, disk)?;
        let mut rest = Vec::new();
        while let Some(next) = blocks.next(&rest)? {
            let (mut block, mut from) = (next, 0);
            loop {
                if records >= SAMPLE_RECORDS || bytes >= SAMPLE_BYTES {
                    return Ok(first_bad);
                }
                bad.found.clear();
                let sampled = visit(&block, from, &mut bad);
                let sampled = sampled.map_err(|refusal| blocks.error(&block, refusal))?;
                if let Some(record) = bad.found.first().filter(|_| first_bad.is_none()) {
                    let row = blocks.bad_row(&block, record.clone());
                    first_bad = Some(blocks.bad_row_error(row));
                }
                records += sampled.records;
                bytes += sampled.end - from;
                from = sampled.end;
                if let Some(behind) = block.behind(from) {
                    blocks.pass(&block, from);
                    (block, from) = (behind, 0);
                }
                if sampled.records == 0 {
                    break;
                }
            }
            blocks.pass(&block, from);
            rest = block.bytes()[from..].to_vec();
        }
    }
    Ok(first_bad)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::schema;
    use crate::{
        formats::{
            DeclaredColumn, Format, csv::CsvOptions, fields::TIMESTAMP, jsonl::JsonlOptions,
        },
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
        Format::Csv(CsvOptions { header, columns, ..CsvOptions::default() })
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

    fn list(element: DataType) -> DataType {
        DataType::new_list(element, true)
    }

    fn object(members: &[(&str, DataType)]) -> DataType {
        let field = |(name, data_type): &(&str, DataType)| {
            arrow::datatypes::Field::new(*name, data_type.clone(), true)
        };
        DataType::Struct(members.iter().map(field).collect())
    }

    #[test]
    fn keys_of_objects_come_in_order_of_first_appearance() {
        let jsonl = Format::Jsonl(JsonlOptions::default());
        let text = concat!(
            "{\"z\": 1, \"a\": \"x\", \"n\": null}\n",
            "\n",
            "{\"a\": \"2024-01-01\", \"m\": {\"k\": [1]}, \"z\": 2.5, \"b\": true}\n",
            "{\"m\": {\"k\": [2.5, null], \"t\": \"x\"}, \"l\": [[], [1]], \"o\": {}, \"c\": [1]}\n",
            "no object\n{\"c\": {\"x\": 1}, \"s\": [1, \"x\"]}\n",
            "{\"big\": 12345678901234567890, \"mix\": 1}\n{\"mix\": \"x\"}"
        );
        let expected = [
            ("z", DataType::Float64),
            ("a", DataType::Utf8View),
            ("n", DataType::Utf8View),
            ("m", object(&[("k", list(DataType::Float64)), ("t", DataType::Utf8View)])),
            ("b", DataType::Boolean),
            ("l", list(list(DataType::Int64))),
            ("o", DataType::Utf8View),
            ("c", DataType::Utf8View),
            ("s", list(DataType::Utf8View)),
            ("big", DataType::Utf8View),
            ("mix", DataType::Utf8View),
        ];
        assert_eq!(columns(&jsonl, &[text]), expected.map(|(name, t)| (name.to_owned(), t)));
    }
}
