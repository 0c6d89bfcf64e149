//! What holds of every function of the tables: its examples, its nulls, the same values for
//! constants and columns, for slices and wholes.

use std::{fmt::Write, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array,
        DurationMicrosecondArray, Float64Array, Int64Array, IntervalMonthDayNanoArray, ListArray,
        RecordBatch, RecordBatchOptions, StringViewArray, StructArray, Time64MicrosecondArray,
        TimestampMicrosecondArray, new_null_array,
    },
    datatypes::{DataType, Field, Int64Type, IntervalMonthDayNano, Schema},
};

use super::{
    GROUPS, Kind, Nulls, Overload, Signature, Volatility, public,
    resolve::{self, resolve},
};
use crate::{
    Error,
    expr::{Expr, Literal, cast::TextOf, parse},
};

/// The rows of the sample columns.
const ROWS: usize = 6;

fn one_row() -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap()
}

/// A value as text; a null is `null`.
fn text_of(array: &ArrayRef, row: usize) -> String {
    if array.is_null(row) {
        return String::from("null");
    }
    let mut text = String::new();
    TextOf::new(array.as_ref()).unwrap().write(row, &mut text);
    text
}

#[test]
fn every_example_has_its_value() {
    let (schema, batch) = (Schema::empty(), one_row());
    let mut wrong = String::new();
    for signature in public() {
        assert!(
            !signature.examples.is_empty() || signature.volatility == Volatility::Job,
            "{} has no example",
            signature.name
        );
        for (call, expected) in signature.examples {
            let found = match parse::expression(call, &schema) {
                Err(refusal) => refusal.message,
                Ok(expr) => match expr.evaluate(&batch) {
                    Ok(array) => text_of(&array, 0),
                    Err(error) => error.to_string(),
                },
            };
            if found != *expected {
                writeln!(wrong, "{call}\n  is       {found}\n  expected {expected}").unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// A column for a parameter of this kind, with a null in its last row.
fn sample(kind: Kind) -> ArrayRef {
    let micros = [0, 1_709_214_359_123_456, -1, 86_399_999_999, 1_000_000, 0].map(Some);
    let mut micros = micros.to_vec();
    micros[ROWS - 1] = None;
    let numbers = || Int64Array::from(vec![Some(1), Some(2), Some(0), Some(-1), Some(3), None]);
    let texts = || {
        StringViewArray::from(vec![
            Some("a text that is longer than a view"),
            Some("añb,c"),
            Some(""),
            Some("{\"a\": [1.50, \"x\\u00e9\"]}"),
            Some("2024-02-29 13:45"),
            None,
        ])
    };
    match kind {
        Kind::Any | Kind::Text => Arc::new(texts()),
        Kind::Int64 | Kind::Whole | Kind::Number | Kind::Same | Kind::Element => {
            Arc::new(numbers())
        }
        Kind::Binary => Arc::new(BinaryViewArray::from(vec![
            Some(b"abc".as_slice()),
            Some(b""),
            Some(b"a value that is longer than a view"),
            Some("ñ".as_bytes()),
            Some(b"1"),
            None,
        ])),
        Kind::Bool => Arc::new(BooleanArray::from(vec![
            Some(true),
            Some(false),
            Some(true),
            Some(true),
            Some(false),
            None,
        ])),
        Kind::Float64 | Kind::Float => Arc::new(Float64Array::from(vec![
            Some(0.5),
            Some(1.0),
            Some(0.25),
            Some(1.0),
            Some(0.125),
            None,
        ])),
        Kind::Decimal => {
            let values = vec![Some(12_345), Some(-5), Some(0), Some(99_999), Some(50), None];
            Arc::new(Decimal128Array::from(values).with_precision_and_scale(8, 2).unwrap())
        }
        Kind::Date => Arc::new(Date32Array::from(vec![
            Some(0),
            Some(19_782),
            Some(-1),
            Some(18_630),
            Some(365),
            None,
        ])),
        Kind::Timestamp => Arc::new(TimestampMicrosecondArray::from(micros)),
        Kind::Zoned => {
            Arc::new(TimestampMicrosecondArray::from(micros).with_timezone("Europe/Madrid"))
        }
        Kind::Time => {
            let day = |time: i64| time.rem_euclid(86_400_000_000);
            let times = micros.into_iter().map(|time| time.map(day));
            Arc::new(times.collect::<Time64MicrosecondArray>())
        }
        Kind::Duration => Arc::new(micros.into_iter().collect::<DurationMicrosecondArray>()),
        Kind::Interval => {
            let interval =
                |months, days, nanos| Some(IntervalMonthDayNano::new(months, days, nanos));
            Arc::new(IntervalMonthDayNanoArray::from(vec![
                interval(1, 0, 0),
                interval(0, 40, 5),
                interval(-14, 1, -1),
                interval(0, 0, 3_600_000_000_000),
                interval(12, -3, 0),
                None,
            ]))
        }
        Kind::List | Kind::NumberList => {
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(vec![
                Some(vec![Some(1), Some(2), Some(1)]),
                Some(vec![]),
                Some(vec![None, Some(5)]),
                Some(vec![Some(-1)]),
                Some(vec![Some(3), None, Some(2)]),
                None,
            ]))
        }
        Kind::TextList => {
            Arc::new(new_null_array(&DataType::new_list(DataType::Utf8View, true), ROWS))
                as ArrayRef
        }
        Kind::Struct => {
            let field = Arc::new(Field::new("a", DataType::Int64, true));
            let array: ArrayRef = Arc::new(numbers());
            Arc::new(StructArray::from(vec![(field, array)]))
        }
    }
}

/// Constants that parameters want which take no columns: parts, formats, fields, orders, paths.
const WORDS: [&str; 7] = ["hour", "day", "%Y-%m-%d %H:%M", "$.a", "asc", "nulls last", "a"];

/// A call of `signature` by `way` with columns where it takes them, and the batch of these.
fn sample_call(signature: &'static Signature, way: &Overload) -> Option<(Expr, RecordBatch)> {
    let kinds: Vec<Kind> = if way.is_variadic {
        (0..way.parameters.len().max(2)).map(|index| way.parameter(index)).collect()
    } else {
        way.parameters.to_vec()
    };
    let columns: Vec<_> = kinds
        .iter()
        .map(|kind| match (signature.name, kind) {
            // These want lists of their `T`, or a list of lists.
            ("list_concat" | "list_has_any" | "list_has_all", Kind::Same) => sample(Kind::List),
            ("mod" | "div" | "try_add" | "try_subtract" | "try_multiply" | "try_divide", _) => {
                sample(Kind::Int64)
            }
            _ => sample(*kind),
        })
        .collect();
    let fields = columns.iter().enumerate();
    let fields =
        fields.map(|(at, column)| Field::new(format!("c{at}"), column.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let options = RecordBatchOptions::new().with_row_count(Some(ROWS));
    let batch = RecordBatch::try_new_with_options(schema, columns, &options).unwrap();
    let column = |index| parse::column(batch.schema_ref(), index);
    let all: Vec<_> = (0..kinds.len()).map(column).collect();
    let call = |arguments: &[Expr]| resolve::call(signature, arguments.to_vec()).ok();
    if let Some(expr) = call(&all) {
        return Some((expr, batch));
    }
    // One text, or two, must be a constant.
    let texts: Vec<_> = (0..kinds.len()).filter(|index| kinds[*index] == Kind::Text).collect();
    let word = |word: &str| Expr::Literal(Literal::Utf8(String::from(word)));
    for first in WORDS {
        for at in &texts {
            let mut arguments = all.clone();
            arguments[*at] = word(first);
            if let Some(expr) = call(&arguments) {
                return Some((expr, batch));
            }
            for second in WORDS {
                for other in texts.iter().filter(|other| *other != at) {
                    let mut two = arguments.clone();
                    two[*other] = word(second);
                    if let Some(expr) = call(&two) {
                        return Some((expr, batch));
                    }
                }
            }
        }
    }
    // A number must be.
    let mut arguments = all;
    if let Some(last) = arguments.last_mut() {
        *last = Expr::Literal(Literal::Int64(1));
    }
    call(&arguments).map(|expr| (expr, batch))
}

/// `expr` with the values of a row in the place of its columns, where constants can say them.
fn with_constants(expr: &Expr, batch: &RecordBatch, row: usize) -> Option<Expr> {
    let mut expr = expr.clone();
    fill(&mut expr, batch, row)?;
    Some(expr)
}

fn fill(expr: &mut Expr, batch: &RecordBatch, row: usize) -> Option<()> {
    if let Expr::Column { index, .. } = expr {
        *expr = Expr::Literal(Literal::of(batch.column(*index).as_ref(), row)?);
        return Some(());
    }
    expr.children_mut().into_iter().try_for_each(|child| fill(child, batch, row))
}

/// The value of each row, computed alone; `None` where it fails.
fn row_by_row(expr: &Expr, batch: &RecordBatch) -> Vec<Option<String>> {
    let of_row = |row| match expr.evaluate(&batch.slice(row, 1)) {
        Ok(array) => Some(text_of(&array, 0)),
        Err(Error::Evaluate { .. }) => None,
        Err(error) => panic!("{expr}: {error}"),
    };
    (0..batch.num_rows()).map(of_row).collect()
}

/// Every way to call every function, with sample columns.
fn samples() -> Vec<(&'static Signature, &'static Overload, Expr, RecordBatch)> {
    let mut all = Vec::new();
    for signature in public().filter(|signature| signature.volatility == Volatility::Pure) {
        for way in signature.overloads {
            if signature.name == "flatten" || signature.name == "named_struct" {
                continue; // Their types follow from constants and nesting; the examples have them.
            }
            let Some((expr, batch)) = sample_call(signature, way) else {
                panic!("{} was not called: {:?}", signature.name, way.parameters);
            };
            all.push((signature, way, expr, batch));
        }
    }
    all
}

#[test]
fn a_batch_has_the_values_of_its_rows() {
    for (signature, _, expr, batch) in samples() {
        let alone = row_by_row(&expr, &batch);
        if signature.fails.is_none() && expr.is_fallible() {
            continue; // An argument's cast may fail.
        }
        if signature.fails.is_none() {
            assert!(alone.iter().all(Option::is_some), "{expr} fails, and does not say when");
        }
        let good: Vec<_> = (0..ROWS).filter(|row| alone[*row].is_some()).collect();
        let places = arrow::array::UInt32Array::from_iter_values(
            good.iter().map(|row| u32::try_from(*row).unwrap()),
        );
        let kept = arrow::compute::take_record_batch(&batch, &places).unwrap();
        let whole = expr.evaluate(&kept).unwrap_or_else(|error| panic!("{expr}: {error}"));
        assert_eq!(whole.data_type(), &expr.data_type(), "{expr}");
        for (at, row) in good.iter().enumerate() {
            assert_eq!(Some(text_of(&whole, at)), alone[*row], "{expr}, row {row}");
        }
        for start in 1..good.len() {
            let part = expr.evaluate(&kept.slice(start, good.len() - start)).unwrap();
            for at in 0..part.len() {
                assert_eq!(text_of(&part, at), text_of(&whole, start + at), "{expr} from {start}");
            }
        }
        let empty = expr.evaluate(&batch.slice(0, 0)).unwrap();
        assert_eq!((empty.len(), empty.data_type()), (0, &expr.data_type()), "{expr}");
    }
}

#[test]
fn constants_give_what_columns_give() {
    for (_, _, expr, batch) in samples() {
        let alone = row_by_row(&expr, &batch);
        for (row, expected) in alone.iter().enumerate() {
            let Some(constant) = with_constants(&expr, &batch, row) else { continue };
            let found = match constant.evaluate(&one_row()) {
                Ok(array) => Some(text_of(&array, 0)),
                Err(Error::Evaluate { .. }) => None,
                Err(error) => panic!("{constant}: {error}"),
            };
            assert_eq!(&found, expected, "{constant}");
        }
        // One constant among columns.
        for index in 0..batch.num_columns() {
            let Some(value) = Literal::of(batch.column(index).as_ref(), 0) else { continue };
            let mut mixed = expr.clone();
            put(&mut mixed, index, &value);
            let column = arrow::compute::take(
                batch.column(index),
                &arrow::array::UInt32Array::from_value(0, ROWS),
                None,
            );
            let mut columns = batch.columns().to_vec();
            columns[index] = column.unwrap();
            let same = RecordBatch::try_new(batch.schema(), columns).unwrap();
            assert_eq!(row_by_row(&mixed, &batch), row_by_row(&expr, &same), "{mixed}");
        }
    }
}

/// Puts a constant in the place of a column.
fn put(expr: &mut Expr, column: usize, value: &Literal) {
    match expr {
        Expr::Column { index, .. } if *index == column => *expr = Expr::Literal(value.clone()),
        other => other.children_mut().into_iter().for_each(|child| put(child, column, value)),
    }
}

#[test]
fn nulls_are_what_the_table_says() {
    for (signature, _, expr, batch) in samples() {
        if !(0..batch.num_columns()).any(|index| expr.reads(index)) {
            continue;
        }
        let nulls = batch.columns().iter().map(|column| new_null_array(column.data_type(), ROWS));
        let all = RecordBatch::try_new(batch.schema(), nulls.collect()).unwrap();
        let value = expr.evaluate(&all).unwrap_or_else(|error| panic!("{expr}: {error}"));
        match signature.nulls {
            Nulls::Strict | Nulls::Lenient(_) => {
                assert_eq!(value.logical_null_count(), ROWS, "{expr} of nulls alone");
            }
            Nulls::Never(_) => assert_eq!(value.logical_null_count(), 0, "{expr} of nulls alone"),
        }
        if signature.nulls != Nulls::Strict {
            continue;
        }
        for index in 0..batch.num_columns() {
            if !expr.reads(index) {
                continue;
            }
            let mut columns = batch.columns().to_vec();
            columns[index] = new_null_array(columns[index].data_type(), ROWS);
            let one = RecordBatch::try_new(batch.schema(), columns).unwrap();
            let of_one = expr.evaluate(&one).unwrap_or_else(|error| panic!("{expr}: {error}"));
            assert_eq!(of_one.logical_null_count(), ROWS, "{expr}, argument {index} null");
        }
    }
}

#[test]
fn every_function_says_what_it_does() {
    for group in &GROUPS {
        for signature in group.functions {
            assert!(
                !signature.about.is_empty() && !signature.about.ends_with('.'),
                "{}",
                signature.name
            );
            assert!(!signature.overloads.is_empty(), "{} cannot be called", signature.name);
        }
    }
}

/// What a call is refused with.
fn refusal(text: &str) -> String {
    let schema = Schema::new(vec![
        Field::new("n", DataType::Int64, true),
        Field::new("s", DataType::Utf8View, true),
        Field::new("day", DataType::Date32, true),
    ]);
    let refusal = parse::expression(text, &schema).expect_err(text);
    let meant = refusal.suggestion.map(|name| format!(" ({name}?)")).unwrap_or_default();
    format!("{}{meant}", refusal.message)
}

#[test]
fn refusals_teach() {
    for (text, expected) in [
        (
            "random()",
            "`random` is not offered: a task that runs again would draw other numbers; take `sample` for some of the rows, or `hash(...)` of a key for numbers that stay",
        ),
        (
            "unnest(s)",
            "`unnest` makes rows; say {\"op\":\"flat_map\",\"fn\":\"explode\",\"column\":...}",
        ),
        ("lag(n)", "`lag` is a window function; it stands in `with` of window"),
        (
            "substing(s, 1)",
            "no function `substing`; docs/functions.md lists those that there are (substring?)",
        ),
        ("lower(n)", "argument 1 of `lower` must be string, not int64"),
        ("lower(s, s)", "`lower` takes 1 arguments, not 2"),
        ("date_trunc('mont', day)", "`date_trunc`: no unit 'mont' of time; did you mean 'month'?"),
        ("date_part(s, day)", "`date_part`: the part must be a constant, such as 'year'"),
        ("year(s)", "`year` takes (date) or (timestamp), not (string)"),
        ("regexp_matches(s, '(')", "`regexp_matches`: `(` is no pattern: unclosed group"),
        ("strptime(s, '%Q')", "`strptime`: '%Q' is no format; see chrono's `strftime`"),
        (
            "timezone('Mars', day)",
            "`timezone`: no time zone 'Mars'; names are as in 'Europe/Madrid', 'UTC' or '+01:00'",
        ),
        (
            "json_extract(s, '$.a[x]')",
            "`json_extract`: '$.a[x]' is no path: `x` is no place of an element; paths are as in '$.a[0].b'",
        ),
        (
            "coalesce(n, s)",
            "argument 1 of `coalesce` must be of a type in which all of them meet, not int64",
        ),
        ("now()", "the time is known only where a job is checked"),
    ] {
        assert_eq!(refusal(text), expected, "{text}");
    }
}

#[test]
fn the_time_of_a_job_is_a_constant_of_its_plan() {
    let schema = Schema::empty();
    super::instant::within(1_500_000, || {
        for (text, expected) in [
            ("now()", "1970-01-01T00:00:01.500000Z"),
            ("current_timestamp", "1970-01-01T00:00:01.500000Z"),
            ("current_date", "1970-01-01"),
            ("today()", "1970-01-01"),
            ("localtimestamp", "1970-01-01T00:00:01.500000"),
        ] {
            let expr = parse::expression(text, &schema).unwrap();
            assert!(matches!(expr, Expr::Literal(_)), "{expr:?}");
            assert_eq!(text_of(&expr.evaluate(&one_row()).unwrap(), 0), expected);
        }
    });
}

#[test]
fn what_is_not_needed_does_not_fail() {
    let schema = Schema::new(vec![Field::new("n", DataType::Int64, true)]);
    let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(0), Some(2), None]));
    let batch = RecordBatch::try_new(Arc::new(schema.clone()), vec![column]).unwrap();
    for (text, expected) in [
        ("coalesce(n, 1 div 0)", None),
        ("coalesce(nullif(n, 0), 7 div (n + 1))", None),
        ("if(n = 0, 0, 6 div n)", Some(["0", "3", "null"])),
        ("nvl2(n, n, 5)", Some(["0", "2", "5"])),
        ("coalesce(n, 5)", Some(["0", "2", "5"])),
        ("coalesce(case when n = 0 then 1 end, 6 div n)", Some(["1", "3", "null"])),
        ("greatest(n, 1)", Some(["1", "2", "1"])),
        ("least(n, null)", Some(["0", "2", "null"])),
        ("nullif(n, 2)", Some(["0", "null", "null"])),
    ] {
        let expr =
            parse::expression(text, &schema).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        let found =
            expr.evaluate(&batch).ok().map(|array| [0, 1, 2].map(|row| text_of(&array, row)));
        if let Some(expected) = expected {
            assert_eq!(found, Some(expected.map(String::from)), "{text}");
        }
    }
    assert!(resolve("coalesce", Vec::new()).is_err());
}
