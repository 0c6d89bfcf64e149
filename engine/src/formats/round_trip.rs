//! Tests: tables of every type through text and back.

use std::{io::Write, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array,
        Decimal256Array, DurationMillisecondArray, Float32Array, Float64Array, Int8Array,
        Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray, RecordBatch,
        StringViewArray, StructArray, Time64MicrosecondArray, TimestampNanosecondArray,
        TimestampSecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
    },
    buffer::{NullBuffer, OffsetBuffer},
    compute::concat_batches,
    datatypes::{DataType, Field, Fields, IntervalMonthDayNano, i256},
};
use proptest::prelude::*;

use crate::{
    formats::{
        DeclaredColumn, Format, WriteFormat,
        compression::Compression,
        csv::{CsvOptions, CsvWriteOptions},
        encoder,
        intake::{Encoding, Intake},
        jsonl::JsonlOptions,
    },
    source::tests::Input,
};

/// A row of values that several columns are made of; `None` is a null in all of them.
type Row = Option<(i64, f64, String, Vec<u8>, i128)>;

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let text = prop_oneof!["[a-zé \",\n\r\\\\;#'\t]{0,12}", ".{0,12}"];
    let number = prop_oneof![any::<i64>(), -100_i64..100, Just(i64::MIN), Just(i64::MAX)];
    let float = any::<f64>().prop_filter("JSON has others not", |float| float.is_finite());
    let row = (number, float, text, prop::collection::vec(any::<u8>(), 0..6), any::<i128>());
    prop::collection::vec(prop::option::weighted(0.9, row), 1..12)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "any number of the type will do"
)]
fn batch(rows: &[Row]) -> RecordBatch {
    fn each<T, C: FromIterator<Option<T>>>(
        rows: &[Row],
        value: impl Fn(&(i64, f64, String, Vec<u8>, i128)) -> T,
    ) -> C {
        rows.iter().map(|row| row.as_ref().map(&value)).collect()
    }
    let interval = |row: &(i64, f64, String, Vec<u8>, i128)| IntervalMonthDayNano {
        months: row.0 as i32,
        days: (row.0 >> 32) as i32,
        nanoseconds: row.4 as i64,
    };
    let decimal = |row: &(i64, f64, String, Vec<u8>, i128)| row.4 % 10_i128.pow(38);
    // A list's elements are the text's characters, a struct has two members.
    let words: Vec<Option<Vec<Option<String>>>> = rows
        .iter()
        .map(|row| {
            let text = &row.as_ref()?.2;
            Some(text.chars().map(|c| (c != 'a').then(|| c.to_string())).collect())
        })
        .collect();
    let elements: StringViewArray = words.iter().flatten().flatten().cloned().collect();
    let nulls: NullBuffer = rows.iter().map(Option::is_some).collect();
    let list = ListArray::new(
        Arc::new(Field::new("item", DataType::Utf8View, true)),
        OffsetBuffer::from_lengths(words.iter().map(|word| word.as_ref().map_or(0, Vec::len))),
        Arc::new(elements),
        Some(nulls.clone()),
    );
    let days: ArrayRef = Arc::new(each::<_, Date32Array>(rows, |row| row.0 as i32 / 8));
    let members = Fields::from(vec![
        Field::new("l", list.data_type().clone(), true),
        Field::new("d \"", DataType::Date32, true),
    ]);
    let nested =
        StructArray::new(members, vec![Arc::new(list.clone()), Arc::clone(&days)], Some(nulls));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("bool", Arc::new(each::<_, BooleanArray>(rows, |row| row.0 % 2 == 0))),
        ("int8", Arc::new(each::<_, Int8Array>(rows, |row| row.0 as i8))),
        ("int16", Arc::new(each::<_, Int16Array>(rows, |row| row.0 as i16))),
        ("int32", Arc::new(each::<_, Int32Array>(rows, |row| row.0 as i32))),
        ("int64", Arc::new(each::<_, Int64Array>(rows, |row| row.0))),
        ("uint8", Arc::new(each::<_, UInt8Array>(rows, |row| row.0 as u8))),
        ("uint16", Arc::new(each::<_, UInt16Array>(rows, |row| row.0 as u16))),
        ("uint32", Arc::new(each::<_, UInt32Array>(rows, |row| row.0 as u32))),
        ("uint64", Arc::new(each::<_, UInt64Array>(rows, |row| row.0.cast_unsigned()))),
        ("float32", Arc::new(each::<_, Float32Array>(rows, |row| (row.0 as f32) / 7.0))),
        ("float64", Arc::new(each::<_, Float64Array>(rows, |row| row.1))),
        (
            "decimal128",
            Arc::new(
                each::<_, Decimal128Array>(rows, decimal).with_precision_and_scale(38, 9).unwrap(),
            ),
        ),
        (
            "decimal256",
            Arc::new(
                each::<_, Decimal256Array>(rows, |row| {
                    i256::from_i128(row.4) * i256::from_i128(10_i128.pow(30))
                })
                .with_precision_and_scale(76, 40)
                .unwrap(),
            ),
        ),
        ("text", Arc::new(each::<_, StringViewArray>(rows, |row| row.2.clone()))),
        ("bytes", Arc::new(each::<_, BinaryViewArray>(rows, |row| row.3.clone()))),
        ("date", days),
        (
            "time",
            Arc::new(each::<_, Time64MicrosecondArray>(rows, |row| {
                row.0.rem_euclid(86_400_000_000)
            })),
        ),
        ("second", Arc::new(each::<_, TimestampSecondArray>(rows, |row| row.0 >> 30))),
        ("nano", Arc::new(each::<_, TimestampNanosecondArray>(rows, |row| row.0))),
        (
            "moment",
            Arc::new(
                each::<_, TimestampNanosecondArray>(rows, |row| row.0 & i64::MAX)
                    .with_timezone("Europe/Berlin"),
            ),
        ),
        (
            "utc",
            Arc::new(each::<_, TimestampNanosecondArray>(rows, |row| row.0).with_timezone("UTC")),
        ),
        ("duration", Arc::new(each::<_, DurationMillisecondArray>(rows, |row| row.0))),
        ("interval", Arc::new(each::<_, IntervalMonthDayNanoArray>(rows, interval))),
        ("list", Arc::new(list)),
        ("struct", Arc::new(nested)),
    ];
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, column)| (name, column, true)),
    )
    .unwrap()
}

fn declared(batch: &RecordBatch) -> Vec<DeclaredColumn> {
    let column = |field: &Arc<Field>| DeclaredColumn {
        name: field.name().clone(),
        data_type: Some(field.data_type().clone()),
    };
    batch.schema().fields().iter().map(column).collect()
}

fn encode(format: &WriteFormat, batch: &RecordBatch) -> Vec<u8> {
    let mut encoder = encoder(format, &batch.schema()).unwrap();
    let mut out = Vec::new();
    encoder.begin(&mut out).unwrap();
    encoder.encode(batch, &mut out).unwrap();
    encoder.finish(&mut out).unwrap();
    out
}

fn read(format: &Format, bytes: &[u8], partitions: u32) -> RecordBatch {
    let batches = Input::of(&[bytes]).batches(format, partitions).unwrap();
    concat_batches(&batches[0].schema(), &batches).unwrap()
}

fn compressed(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    let mut writer = compression.writer(Vec::new()).unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn in_encoding(encoding: Encoding, text: &str) -> Vec<u8> {
    let units = |to: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(to).collect::<Vec<u8>>();
    match encoding {
        Encoding::Utf16 => [b"\xfe\xff".to_vec(), units(u16::to_be_bytes)].concat(),
        Encoding::Utf16Le => units(u16::to_le_bytes),
        Encoding::Utf16Be => units(u16::to_be_bytes),
        Encoding::Utf8 | Encoding::Latin1 | Encoding::Windows1252 => text.as_bytes().to_vec(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_type_reads_back_from_csv_in_every_compression(
        rows in rows(),
        header: bool,
        compression in prop::sample::select(Compression::OF_FILES.to_vec()),
        partitions in 1u32..4,
    ) {
        let batch = batch(&rows);
        let bytes =
            encode(&WriteFormat::Csv(CsvWriteOptions { header, delimiter: b',' }), &batch);
        let intake = Intake { compression: Some(compression), ..Intake::default() };
        let columns = Some(declared(&batch));
        let format = Format::Csv(CsvOptions { header, columns, intake, ..CsvOptions::default() });
        prop_assert_eq!(read(&format, &compressed(compression, &bytes), partitions), batch);
    }

    #[test]
    fn every_type_reads_back_from_json_lines_and_from_an_array_of_them(
        rows in rows(),
        compression in prop::sample::select(Compression::OF_FILES.to_vec()),
        partitions in 1u32..4,
        blank in prop::sample::select(vec!["", "\n", " \r\n\t"]),
    ) {
        let batch = batch(&rows);
        let bytes = encode(&WriteFormat::Jsonl, &batch);
        let intake = Intake { compression: Some(compression), ..Intake::default() };
        let columns = Some(declared(&batch));
        let format = Format::Jsonl(JsonlOptions { columns, intake, ..JsonlOptions::default() });
        prop_assert_eq!(&read(&format, &compressed(compression, &bytes), partitions), &batch);
        let lines = String::from_utf8(bytes).unwrap();
        let array = format!("{blank}[{blank}{}{blank}]{blank}",
            lines.trim_end().split('\n').collect::<Vec<_>>().join(&format!("{blank},{blank}")));
        let array = compressed(compression, array.as_bytes());
        prop_assert_eq!(read(&format, &array, partitions), batch);
    }

    #[test]
    fn text_is_the_same_in_utf_16(
        rows in rows(),
        encoding in
            prop::sample::select(vec![Encoding::Utf16, Encoding::Utf16Le, Encoding::Utf16Be]),
    ) {
        // A byte order mark in front of the header would be one of the file.
        let batch = batch(&rows);
        let bytes =
            encode(&WriteFormat::Csv(CsvWriteOptions { header: true, delimiter: b';' }), &batch);
        let text = String::from_utf8(bytes).unwrap();
        let intake = Intake { encoding, ..Intake::default() };
        let (header, columns) = (true, Some(declared(&batch)));
        let format = Format::Csv(
            CsvOptions { header, columns, delimiter: b';', intake, ..CsvOptions::default() });
        prop_assert_eq!(read(&format, &in_encoding(encoding, &text), 3), batch);
    }

    #[test]
    fn lines_read_back_what_was_written_where_they_are_all_there_is(
        lines in prop::collection::vec("[^\n\r\u{feff}]{0,20}", 1..20),
        compression in prop::sample::select(Compression::OF_FILES.to_vec()),
    ) {
        let column: ArrayRef = Arc::new(lines.iter().map(Some).collect::<StringViewArray>());
        let batch = RecordBatch::try_from_iter_with_nullable([("line", column, true)]).unwrap();
        let bytes = compressed(compression, &encode(&WriteFormat::Text, &batch));
        let intake = Intake { compression: Some(compression), ..Intake::default() };
        prop_assert_eq!(read(&Format::Text(intake), &bytes, 2), batch);
    }
}

// The values of every type as text, by hand.
#[test]
fn every_type_has_its_text() {
    let row = (-5, 2.5, String::from("a\"b"), vec![0, 255], -12_345_678_901);
    let batch = batch(&[Some(row), None]);
    let expected = concat!(
        r#"{"bool":false,"int8":-5,"int16":-5,"int32":-5,"int64":-5,"uint8":251,"#,
        r#""uint16":65531,"uint32":4294967291,"uint64":18446744073709551611,"#,
        r#""float32":-0.71428573,"float64":2.5,"decimal128":-12.345678901,"#,
        r#""decimal256":-1.2345678901000000000000000000000000000000,"text":"a\"b","#,
        r#""bytes":"00ff","date":"1970-01-01","time":"23:59:59.999995","#,
        r#""second":"1969-12-31T23:59:59","nano":"1969-12-31T23:59:59.999999995","#,
        r#""moment":"2262-04-12T00:47:16.854775803+01:00","#,
        r#""utc":"1969-12-31T23:59:59.999999995Z","duration":"PT-0.005S","#,
        r#""interval":"P-5M-1DT-12.345678901S","list":[null,"\"","b"],"#,
        r#""struct":{"l":[null,"\"","b"],"d \"":"1970-01-01"}}"#,
        "\n"
    );
    let text = String::from_utf8(encode(&WriteFormat::Jsonl, &batch)).unwrap();
    let (first, second) = text.split_at(expected.len().min(text.len()));
    // 2262-04-12 is in summer time, which the tables of zones no longer know for that year.
    let first = first.replace("01:47:16.854775803+02:00", "00:47:16.854775803+01:00");
    assert_eq!(first, expected);
    assert!(second.starts_with("{\"bool\":null,") && second.ends_with("\"struct\":null}\n"));
}
