//! Tests: files that are not as they should be, wherever they are cut.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::DataType};
use proptest::prelude::*;

use super::{
    Source,
    blocks::{Blocks, PinnedFile},
    quotes::{record_starts, record_starts_by},
    split::Split,
    tests::{Input, rows_of},
};
use crate::{
    Error,
    formats::{
        BadRecords, DeclaredColumn, Format,
        csv::{CsvOptions, Nulls},
        infer,
        intake::{BadRowMode, Encoding, Intake, OnBadRow},
        jsonl::JsonlOptions,
    },
    operators::Operator,
};

fn skipping() -> Intake {
    let on_bad_row = OnBadRow { mode: BadRowMode::Skip, ..OnBadRow::default() };
    Intake { on_bad_row, ..Intake::default() }
}

fn columns(types: &[(&str, DataType)]) -> Vec<DeclaredColumn> {
    let column = |(name, data_type): &(&str, DataType)| DeclaredColumn {
        name: String::from(*name),
        data_type: Some(data_type.clone()),
    };
    types.iter().map(column).collect()
}

fn texts(count: usize) -> Vec<DeclaredColumn> {
    let names = ["a", "b", "c", "d"];
    columns(&names[..count].iter().map(|name| (*name, DataType::Utf8View)).collect::<Vec<_>>())
}

/// The rows of some splits as text, a null as `∅`, and their bad records: place, column, reason and
/// text.
fn read(input: &Input, format: &Format, splits: &[Split]) -> (Vec<String>, Vec<String>) {
    let schema = infer::schema(&input.disk, format, &input.files).unwrap();
    let (mut rows, mut bad, mut of_sources) = (Vec::new(), Vec::new(), Vec::new());
    for split in splits {
        let mut blocks = Blocks::open(split, format, &input.disk).unwrap();
        let mut decoder = crate::formats::decoder(format, Arc::clone(&schema)).unwrap();
        let mut records = BadRecords { are_tolerated: true, found: Vec::new() };
        let mut rest = Vec::new();
        let mut of_source = 0;
        while let Some(next) = blocks.next(&rest).unwrap() {
            let (mut block, mut from) = (next, 0);
            loop {
                let found = decoder.decode(&block, from, &mut records).unwrap();
                from = found.end;
                records.found.sort_by_key(|record| record.range.start);
                let mut goes_on = !records.found.is_empty();
                of_source += records.found.len();
                for record in records.found.drain(..) {
                    let row = blocks.bad_row(&block, record);
                    bad.push(format!(
                        "{} {}: {}: {}",
                        row.offset.unwrap(),
                        row.column.unwrap_or_default(),
                        row.reason,
                        String::from_utf8_lossy(&row.raw).escape_debug()
                    ));
                }
                if let Some(behind) = block.behind(from) {
                    blocks.pass(&block, from);
                    (block, from, goes_on) = (behind, 0, true);
                }
                match found.batch {
                    Some(batch) => rows.extend(shown(&batch)),
                    None if goes_on => {}
                    None => break,
                }
            }
            blocks.pass(&block, from);
            rest = block.bytes()[from..].to_vec();
        }
        // The source makes the same of it.
        let mut source = Source::over(split, format, Arc::clone(&schema), &input.disk).unwrap();
        let mut given = Vec::new();
        while let Some(batch) = source.next().unwrap() {
            given.extend(shown(&batch));
        }
        assert_eq!(source.records().rows(), (given.len() + of_source) as u64);
        of_sources.extend(given);
    }
    assert_eq!(of_sources, rows);
    (rows, bad)
}

fn shown(batch: &RecordBatch) -> Vec<String> {
    let row = |row: Vec<Option<String>>| {
        let fields = row.into_iter().map(|field| field.unwrap_or(String::from("∅")));
        fields.collect::<Vec<_>>().join("|")
    };
    rows_of(batch).into_iter().map(row).collect()
}

/// The file in two splits that are cut at byte `at`.
fn cut_at(input: &Input, options: &CsvOptions, at: u64) -> Vec<Split> {
    let file = &input.files[0];
    let pinned = PinnedFile::open(file, &input.disk).unwrap();
    let cuts = [0, at, file.size_bytes];
    let starts = record_starts(&pinned, file.size_bytes, options.dialect(), &cuts).unwrap();
    for unit_bytes in [3, 4, 16] {
        let dialect = options.dialect();
        let found = record_starts_by(&pinned, file.size_bytes, dialect, &cuts, unit_bytes).unwrap();
        assert_eq!(found, starts, "in units of {unit_bytes} bytes");
    }
    let split =
        |range: &[u64]| Split { file: file.clone(), start: range[0], end: range[1], aligned: true };
    starts.windows(2).map(split).collect()
}

/// Reads a file of CSV cut at every byte; always the same rows and bad records come out.
fn everywhere(options: &CsvOptions, text: &[u8]) -> (Vec<String>, Vec<String>) {
    let input = Input::of(&[text]);
    let format = Format::Csv(options.clone());
    let whole = read(&input, &format, &cut_at(&input, options, 0));
    for at in 1..text.len() as u64 {
        let cut = read(&input, &format, &cut_at(&input, options, at));
        assert_eq!(cut, whole, "cut at {at} of {:?}", String::from_utf8_lossy(text));
    }
    whole
}

// Python's csv module reads the same fields, where it has the option.
#[test]
fn a_nasty_file_has_the_same_rows_wherever_it_is_cut() {
    let options = CsvOptions {
        columns: Some(texts(3)),
        delimiter: b';',
        quote: Some(b'\''),
        comment: Some(b'#'),
        intake: skipping(),
        ..CsvOptions::default()
    };
    let text = "\u{feff}# no; record '\n'it''s';a\\';b\r\n#no;x;y\n\n'#yes';' ';''\r\n\
                'l1\nl2\r\n#l3';'x;y';zé😀\n;;\n'open'x;'y\nz';1\na;b\n1;2;3;4\n'é;\u{1};\n#last";
    let (rows, bad) = everywhere(&options, text.as_bytes());
    assert_eq!(rows, ["it's|a\\'|b", "#yes| |", "l1\nl2\r\n#l3|x;y|zé😀", "∅|∅|∅"]);
    let reasons: Vec<_> = bad.iter().map(|bad| bad.split_once(": ").unwrap().1).collect();
    assert_eq!(
        reasons,
        [
            "expected a delimiter or the line's end behind a closing quote: \
             \\'open\\'x;\\'y\\nz\\';1",
            "expected 3 fields, found 2: a;b",
            "expected 3 fields, found 4: 1;2;3;4",
            "a quote is opened and never closed: \\'é;\\u{1};\\n#last",
        ]
    );
}

#[test]
fn escapes_blanks_nulls_and_short_records_are_as_the_reader_says() {
    let escaping = CsvOptions {
        columns: Some(texts(3)),
        escape: Some(b'\\'),
        intake: skipping(),
        ..CsvOptions::default()
    };
    let (rows, bad) = everywhere(&escaping, b"\"a\\\"b\",c\\d,\"e\\\\\"\n\"f\\\nx\",\"g\"\"\",h\n");
    assert_eq!((rows, bad.len()), (vec!["a\"b|c\\d|e\\".into(), "f\nx|g\"|h".into()], 0));
    let loose = CsvOptions {
        columns: Some(texts(3)),
        delimiter: b'|',
        trim: true,
        pads: true,
        nulls: Nulls(vec![String::from("NA"), String::from("-")]),
        comment: Some(b'#'),
        intake: skipping(),
        ..CsvOptions::default()
    };
    let (of_loose, odd) = everywhere(
        &loose,
        b" a | \" b \" |\tNA \n\"NA\"|-\n# x\n x#y |  | \"\"\n \"q\nr\" | 1\n1|2|3|4\n \"a\" b|\"c\n",
    );
    assert_eq!(of_loose, ["a| b |∅", "NA|∅|∅", "x#y|∅|", "q\nr|1|∅"]);
    // What a quote opens in a bad record belongs to it.
    assert_eq!(odd.len(), 2, "{odd:?}");
    let plain = CsvOptions {
        columns: Some(texts(3)),
        quote: None,
        intake: skipping(),
        ..CsvOptions::default()
    };
    let (of_plain, long) = everywhere(&plain, b"a\"b,\"c\",'d'\n\"x,y\n,\"\",\n");
    assert_eq!(of_plain, ["a\"b|\"c\"|'d'", "∅|\"\"|∅"]);
    assert_eq!(long.len(), 1);
}

#[test]
fn dates_are_read_by_their_pattern_and_inferred_by_it() {
    let options = CsvOptions {
        header: true,
        date_format: Some(String::from("%d.%m.%Y")),
        timestamp_format: Some(String::from("%d/%m/%Y %H:%M")),
        intake: skipping(),
        ..CsvOptions::default()
    };
    let text = b"d,t,x\n29.02.2024,29/02/2024 10:30,2024-02-29\n31.12.1999,,x\n";
    let input = Input::of(&[text]);
    let format = Format::Csv(options.clone());
    let schema = infer::schema(&input.disk, &format, &input.files).unwrap();
    let types: Vec<_> = schema.fields().iter().map(|field| field.data_type().clone()).collect();
    assert_eq!(types, [DataType::Date32, crate::formats::fields::TIMESTAMP, DataType::Utf8View]);
    let (rows, bad) = everywhere(&options, text);
    assert_eq!(rows, ["2024-02-29|2024-02-29T10:30:00|2024-02-29", "1999-12-31|∅|x"]);
    assert_eq!(bad, [""; 0]);
}

#[test]
fn what_is_no_value_of_its_column_is_one_bad_row() {
    let options = CsvOptions {
        columns: Some(columns(&[
            ("i", DataType::Int8),
            ("d", DataType::Decimal128(5, 2)),
            ("l", DataType::new_list(DataType::Int64, true)),
        ])),
        intake: skipping(),
        ..CsvOptions::default()
    };
    let text = "1,1.5,\"[1, null]\"\n128,1.234,x\n2,100000,[]\n,,\n3,1,\"[1, \"\"x\"\"]\"\n4,1,{}\n\
                -128,-999.99,[]\n";
    let (rows, bad) = everywhere(&options, text.as_bytes());
    assert_eq!(rows, ["1|1.50|[1, ]", "∅|∅|∅", "-128|-999.99|[]"]);
    assert_eq!(
        bad,
        [
            "18 i: expected int8, found `128`: 128,1.234,x",
            "30 d: expected decimal(5,2), found `100000`: 2,100000,[]",
            "45 l: expected list<int64>, found `[1, \\\"\\\"x\\\"\\\"]`: 3,1,\"[1, \"\"x\"\"]\""
                .replace("\"[1, \"\"x\"\"]\"", "\\\"[1, \\\"\\\"x\\\"\\\"]\\\"")
                .as_str(),
            "62 l: expected list<int64>, found `{}`: 4,1,{}",
        ]
    );
}

#[test]
fn lines_that_are_no_text_are_bad_and_those_behind_them_are_not() {
    let mut text = Vec::new();
    for number in 0..30_000 {
        let line: &[u8] = if number % 3 == 0 { b"caf\xe9\n" } else { b"caf\xc3\xa9\n" };
        text.extend_from_slice(line);
    }
    let input = Input::of(&[&text]);
    let format = Format::Text(skipping());
    for partitions in [1, 7] {
        let splits = input.splits(&format, partitions).unwrap();
        let (rows, bad) = read(&input, &format, &splits);
        assert_eq!((rows.len(), bad.len()), (20_000, 10_000));
        assert_eq!(
            bad[1],
            "17 : expected UTF-8 text (of another encoding? set `encoding`): caf\u{fffd}"
        );
    }
}

#[test]
fn elements_of_an_array_are_told_apart_where_some_are_bad() {
    let format = Format::Jsonl(JsonlOptions { intake: skipping(), ..JsonlOptions::default() });
    let text = b"\xef\xbb\xbf [\n{\"a\": 1, \"s\": \"],{\\\"\"},\n 7, {\"a\": [2},{\"a\":\n2},,\
        {\"a\": \"\xff\"} {\"a\": 3}, {\"a\": 4}\n]\n";
    let input = Input::of(&[text]);
    for partitions in [1, 5] {
        let splits = input.splits(&format, partitions).unwrap();
        assert_eq!(splits.len(), 1);
        let (rows, bad) = read(&input, &format, &splits);
        assert_eq!(rows, ["1|],{\""]);
        // Brackets that don't match take what follows with them, the array's own too.
        assert_eq!(bad.len(), 3, "{bad:?}");
        assert!(bad[2].contains("the array is never closed"), "{bad:?}");
    }
    let closed = b"[{\"a\":1},7,{\"a\":2} x,{\"b\":1},\n\n{\"a\":3},]";
    let whole = Input::of(&[closed]);
    let (rows, bad) = read(&whole, &format, &whole.splits(&format, 2).unwrap());
    assert_eq!(rows, ["1|∅", "2|∅", "∅|1", "3|∅"]);
    let reasons: Vec<_> = bad.iter().map(|bad| bad.split_once(": ").unwrap().1).collect();
    assert_eq!(
        reasons,
        [
            "expected an object at byte 1 of the record: 7",
            "expected `,` or `]` behind an element: x",
            "expected an object: ]",
        ]
    );
}

#[test]
fn an_array_longer_than_a_block_is_read_in_pieces() {
    let elements: Vec<String> =
        (0..200_000).map(|number| format!("{{\"n\":{number},\"é\":\"é\"}}")).collect();
    let text = format!("[{}]", elements.join(","));
    let input = Input::of(&[text.as_bytes()]);
    let format = Format::Jsonl(JsonlOptions::default());
    let (rows, bad) = read(&input, &format, &input.splits(&format, 4).unwrap());
    assert_eq!((rows.len(), bad.len()), (200_000, 0));
    assert_eq!(rows[199_999], "199999|é");
}

#[test]
fn offsets_are_those_of_the_file_in_its_own_encoding() {
    let intake = Intake { encoding: Encoding::Utf16, ..skipping() };
    let columns = Some(columns(&[("n", DataType::Int64)]));
    let format = Format::Csv(CsvOptions { columns, intake, ..CsvOptions::default() });
    let mut bytes = b"\xff\xfe".to_vec();
    for text in ["1\n", "é\n", "😀\n", "x\n"] {
        bytes.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
    }
    bytes.extend([0, 0xd8, b'\n', 0]);
    let input = Input::of(&[&bytes]);
    let (rows, bad) = read(&input, &format, &input.splits(&format, 3).unwrap());
    assert_eq!(rows, ["1"]);
    let places: Vec<_> = bad.iter().map(|bad| bad.split_once(' ').unwrap().0).collect();
    assert_eq!(places, ["6", "10", "16", "20"]);
    let strict = Format::Csv(CsvOptions {
        columns: Some(self::columns(&[("n", DataType::Int64)])),
        intake: Intake { encoding: Encoding::Utf16, ..Intake::default() },
        ..CsvOptions::default()
    });
    assert_eq!(
        input.error(&strict, 1),
        "bad row in `0`, line 2 (byte 6), column `n`: expected int64, found `é`: `é`"
    );
}

#[test]
fn a_compressed_file_that_is_cut_off_is_corrupt_and_no_bad_row() {
    use std::io::Write;
    let compression = crate::formats::compression::Compression::Gzip;
    let mut writer = compression.writer(Vec::new()).unwrap();
    writer.write_all(&b"{\"a\": 1}\n".repeat(1000)).unwrap();
    let bytes = writer.finish().unwrap();
    let intake = Intake { compression: Some(compression), ..skipping() };
    let format = Format::Jsonl(JsonlOptions { intake, ..JsonlOptions::default() });
    let cut = Input::of(&[&bytes[..bytes.len() - 9]]);
    assert!(matches!(cut.rows(&format, 1), Err(Error::Corrupt { .. })));
    let whole = Input::of(&[&bytes]);
    assert_eq!(whole.rows(&format, 4).unwrap().len(), 1000);
}

#[test]
fn a_comment_that_is_no_text_ends_nothing() {
    let options = CsvOptions {
        columns: Some(texts(1)),
        comment: Some(b'#'),
        intake: skipping(),
        ..CsvOptions::default()
    };
    let (rows, bad) = everywhere(&options, b"a\n#\xff\nb\n#\xff\n#\xff\nc");
    assert_eq!(
        (rows, bad),
        (vec![String::from("a"), String::from("b"), String::from("c")], vec![])
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn dirt_makes_the_same_rows_and_bad_rows_wherever_csv_is_cut(
        text in "([ab1\"'#\\\\;, é\n]|\r\n|\t){0,60}",
        spoiled in prop::option::of(0usize..60),
        escape in prop::option::of(Just(b'\\')),
        comment in prop::option::of(Just(b'#')),
        trim: bool,
        pads: bool,
        quote in prop::sample::select(vec![Some(b'"'), Some(b'\''), None]),
        width in 1usize..4,
    ) {
        let mut text = text.into_bytes();
        let place = spoiled.filter(|at| *at < text.len());
        if let Some(byte) = place.and_then(|at| text.get_mut(at)) {
            *byte = 0xff;
        }
        let escape = escape.filter(|_| quote.is_some());
        let options = CsvOptions {
            columns: Some(texts(width)), escape, comment, trim, pads, quote, intake: skipping(),
            ..CsvOptions::default()
        };
        everywhere(&options, &text);
    }

    #[test]
    fn dirt_makes_the_same_rows_and_bad_rows_wherever_lines_are_cut(
        lines in prop::collection::vec(
            prop_oneof![
                Just(&b"{\"a\": 1}"[..]), Just(&b"{\"a\": \"x\"}"[..]), Just(&b"\xff"[..]),
                Just(&b"{\"a\": 1"[..]), Just(&b""[..]), Just(&b"{\"a\":\xc3"[..]), Just(&b"[]"[..]),
            ],
            1..20,
        ),
        partitions in 2u32..30,
    ) {
        let text = [&b"{\"a\": null}"[..]].into_iter().chain(lines).collect::<Vec<_>>().join(&b'\n');
        let input = Input::of(&[&text]);
        let columns = Some(columns(&[("a", DataType::Int64)]));
        let jsonl = Format::Jsonl(
            JsonlOptions { columns, intake: skipping(), ..JsonlOptions::default() });
        for format in [jsonl, Format::Text(skipping())] {
            let whole = read(&input, &format, &input.splits(&format, 1).unwrap());
            let cut = read(&input, &format, &input.splits(&format, partitions).unwrap());
            prop_assert_eq!(cut, whole);
        }
    }
}
