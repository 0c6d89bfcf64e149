//! Values of expressions, most of them what `DuckDB` gives for the same text.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch,
        StringViewArray, StructArray,
        builder::{Int64Builder, ListBuilder},
        record_batch,
    },
    compute::concat,
    datatypes::{DataType, Field, Schema},
    util::display::array_value_to_string,
};
use proptest::prelude::*;

use crate::expr::{
    Expr,
    cast::{TextOf, cast},
    literal::tests::literals,
    parse,
};

fn batch() -> RecordBatch {
    let numbers = record_batch!(
        ("n", Int64, [Some(1), Some(2), None, Some(0)]),
        ("text", Utf8View, [Some("Ana, 7"), Some("bob"), None, Some("")])
    )
    .unwrap();
    let floats: ArrayRef =
        Arc::new(Float64Array::from(vec![Some(0.5), Some(f64::NAN), None, Some(-0.0)]));
    let flags: ArrayRef =
        Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, Some(true)]));
    let days: ArrayRef = Arc::new(Date32Array::from(vec![Some(0), Some(1), None, Some(19_782)]));
    let mut fields: Vec<_> = numbers.schema().fields().iter().cloned().collect();
    let mut columns = numbers.columns().to_vec();
    for (name, column) in [("x", floats), ("b", flags), ("day", days)] {
        fields.push(Arc::new(Field::new(name, column.data_type().clone(), true)));
        columns.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// The values of an expression, one a row; a null is empty.
fn values(text: &str) -> Result<Vec<String>, String> {
    let batch = batch();
    let expr =
        parse::expression(text, batch.schema_ref()).unwrap_or_else(|e| panic!("{text}: {e:?}"));
    let array = expr.evaluate(&batch).map_err(|error| error.to_string())?;
    assert_eq!((array.len(), array.data_type()), (batch.num_rows(), &expr.data_type()), "{text}");
    Ok((0..array.len()).map(|row| array_value_to_string(&array, row).unwrap()).collect())
}

#[test]
fn expressions_have_these_values() {
    for (text, expected) in [
        ("n", ["1", "2", "", "0"]),
        ("n + 1", ["2", "3", "", "1"]),
        ("7 - n * 2", ["5", "3", "", "7"]),
        ("n / 2", ["0.5", "1.0", "", "0.0"]),
        ("n div 2", ["0", "1", "", "0"]),
        ("-7 div 2", ["-3"; 4]),
        ("-7 % 4", ["-3"; 4]),
        ("-n", ["-1", "-2", "", "0"]),
        ("x = x", ["true", "true", "", "true"]),
        ("x > 1e308", ["false", "true", "", "false"]),
        ("x = 0", ["false", "false", "", "true"]),
        ("x < 0", ["false", "false", "", "false"]),
        ("0.5 >= x", ["true", "false", "", "true"]),
        ("x <> null", [""; 4]),
        ("null is null", ["true"; 4]),
        ("n is null", ["false", "false", "true", "false"]),
        ("n is not null", ["true", "true", "false", "true"]),
        ("b and n > 0", ["true", "false", "", "false"]),
        ("b or n > 0", ["true", "true", "", "true"]),
        ("not b", ["false", "true", "", "false"]),
        ("b and null", ["", "false", "", ""]),
        ("b or null", ["true", "", "", "true"]),
        ("text = 'bob'", ["false", "true", "", "false"]),
        ("text < 'b'", ["true", "false", "", "true"]),
        ("day = '1970-01-02'", ["false", "true", "", "false"]),
        ("day < '1970-01-01T12:00:00'", ["true", "false", "", "false"]),
        ("case when n = 1 then 'one' when n = 2 then 'two' end", ["one", "two", "", ""]),
        ("case n when 1 then 10 else n end", ["10", "2", "", "0"]),
        ("case when b then x else n end", ["0.5", "2.0", "", "-0.0"]),
        ("case when null then 1 end", [""; 4]),
        ("lower(text)", ["ana, 7", "bob", "", ""]),
        ("upper(text)", ["ANA, 7", "BOB", "", ""]),
        ("length(text)", ["6", "3", "", "0"]),
        ("length('añ')", ["2"; 4]),
        ("trim('  a b ')", ["a b"; 4]),
        ("trim('   ')", [""; 4]),
        ("substr(text, 2)", ["na, 7", "ob", "", ""]),
        ("substr('abcdef', n, 2)", ["ab", "bc", "", "a"]),
        ("concat(text, '|', n, b)", ["Ana, 7|1true", "bob|2false", "|", "|0true"]),
        ("text || '!' || text", ["Ana, 7!Ana, 7", "bob!bob", "", "!"]),
        ("try_cast(text as int64)", [""; 4]),
        ("cast(n as string) || '.'", ["1.", "2.", "", "0."]),
        ("cast(2.5 as int64)", ["2"; 4]),
        ("cast(day as string)", ["1970-01-01", "1970-01-02", "", "2024-02-29"]),
        ("cast(b as int64) + 1", ["2", "1", "", "2"]),
    ] {
        assert_eq!(values(text), Ok(expected.map(String::from).to_vec()), "{text}");
    }
}

#[test]
fn what_has_no_value_is_an_error_that_names_it() {
    for (text, expected) in [
        (
            "9223372036854775807 + n",
            "addition overflows int64: 9223372036854775807 + 1, at row n=1",
        ),
        (
            "n - 9223372036854775807 - 9",
            "subtraction overflows int64: -9223372036854775806 - 9, at row n=1",
        ),
        (
            "n * 9223372036854775807",
            "multiplication overflows int64: 2 * 9223372036854775807, at row n=2",
        ),
        ("1 / n", "division by zero, at row n=0"),
        ("1 div n", "division by zero, at row n=0"),
        ("5 % n", "modulo by zero, at row n=0"),
        ("1.5 / x", "division by zero, at row x=-0"),
        ("n % 0.0", "modulo by zero, at row n=1"),
        ("cast(text as int64)", "cannot cast 'Ana, 7' to int64, at row text=\"Ana, 7\""),
        ("substr(text, 1, -1)", "substr of -1 characters, at row text=\"Ana, 7\""),
    ] {
        assert_eq!(values(text), Err(String::from(expected)), "{text}");
    }
    assert_eq!(values("null / x").map(|v| v.len()), Ok(4), "null divided by zero is null");
}

#[test]
fn the_error_of_a_branch_is_that_of_the_rows_that_take_it() {
    assert_eq!(
        values("case when n = 0 then -1 else 6 div n end"),
        Ok(["6", "3", "", "-1"].map(String::from).to_vec())
    );
    assert_eq!(
        values("n <> 0 and 6 div n = 3"),
        Ok(["false", "true", "", "false"].map(String::from).to_vec())
    );
    assert_eq!(
        values("n = 0 or case when n = 1 then true else 6 div n = 3 end"),
        Ok(["true", "true", "", "true"].map(String::from).to_vec())
    );
}

#[test]
fn a_column_is_not_copied() {
    let batch = batch();
    let expr = parse::expression("text", batch.schema_ref()).unwrap();
    assert!(Arc::ptr_eq(&expr.evaluate(&batch).unwrap(), batch.column(1)));
}

/// One row of ordinary values, one at the edges, one of nulls and one of zeros; the same rows were
/// put into `DuckDB`.
fn typed_batch() -> RecordBatch {
    let names = [
        ("i8", "int8", [Some("1"), Some("-128"), None, Some("0")]),
        ("i32", "int32", [Some("100000"), Some("-7"), None, Some("0")]),
        ("i64", "int64", [Some("5000000000"), Some("-3"), None, Some("0")]),
        ("u8", "uint8", [Some("200"), Some("7"), None, Some("0")]),
        ("u64", "uint64", [Some("10000000000000000000"), Some("3"), None, Some("0")]),
        ("f32", "float32", [Some("0.5"), Some("-1.5"), None, Some("0")]),
        ("f64", "float64", [Some("0.1"), Some("NaN"), None, Some("-0")]),
        ("d", "decimal(15,2)", [Some("12.34"), Some("-0.05"), None, Some("0")]),
        ("e", "decimal(10,4)", [Some("0.0625"), Some("-2.5"), None, Some("0")]),
        ("s", "string", [Some("Ana, 7"), Some("b_b%"), None, Some("")]),
        ("day", "date", [Some("1995-01-31"), Some("2000-02-29"), None, Some("1970-01-01")]),
        (
            "ts",
            "timestamp",
            [
                Some("1995-01-31 12:30:15.5"),
                Some("1969-12-31 23:59:59.25"),
                None,
                Some("1970-01-01"),
            ],
        ),
        (
            "tz",
            "timestamp_tz",
            [
                Some("1995-03-26T01:30:00Z"),
                Some("1969-12-31T23:59:59Z"),
                None,
                Some("1970-01-01 00:00:00+00"),
            ],
        ),
        ("tm", "time", [Some("12:30:15.5"), Some("00:00"), None, Some("23:59:59.999999")]),
        ("iv", "interval", [Some("1 month 2 days"), Some("-3 hours"), None, Some("0 days")]),
        ("b", "bool", [Some("true"), Some("false"), None, Some("true")]),
    ];
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for (name, data_type, texts) in names {
        let data_type = parse::data_type(data_type).unwrap();
        let texts = StringViewArray::from_iter(texts);
        fields.push(Field::new(name, data_type.clone(), true));
        columns.push(cast(&texts, &data_type, false).unwrap());
    }
    let mut lists = ListBuilder::new(Int64Builder::new());
    lists.append_value([Some(1), None, Some(3)]);
    lists.append_value([]);
    lists.append_null();
    lists.append_value([Some(-1)]);
    let members: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![Some(1), None, Some(9), Some(0)])),
        Arc::new(StringViewArray::from_iter([Some("a"), Some("b"), Some("x"), None])),
    ];
    let members_of =
        vec![Field::new("x", DataType::Int64, true), Field::new("y", DataType::Utf8View, true)];
    let present = Some(vec![true, true, false, true].into());
    let pairs = StructArray::new(members_of.into(), members, present);
    let nested: [(&str, ArrayRef); 2] = [("l", Arc::new(lists.finish())), ("p", Arc::new(pairs))];
    for (name, column) in nested {
        fields.push(Field::new(name, column.data_type().clone(), true));
        columns.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// A value as text: floats with a point, all else as a cast writes it.
fn shown(array: &ArrayRef, row: usize) -> String {
    if array.is_null(row) || array.data_type().is_floating() {
        return array_value_to_string(array, row).unwrap();
    }
    let mut text = String::new();
    TextOf::new(array).unwrap().write(row, &mut text);
    text
}

fn evaluated(text: &str, batch: &RecordBatch) -> Result<Vec<String>, String> {
    let expr =
        parse::expression(text, batch.schema_ref()).unwrap_or_else(|e| panic!("{text}: {e:?}"));
    let array = expr.evaluate(batch).map_err(|error| error.to_string())?;
    assert_eq!((array.len(), array.data_type()), (batch.num_rows(), &expr.data_type()), "{text}");
    Ok((0..array.len()).map(|row| shown(&array, row)).collect())
}

#[test]
fn values_of_all_types_are_those_of_duckdb() {
    let batch = typed_batch();
    for (text, expected) in [
        ("i8 + i32", ["100001", "-135", "", "0"]),
        ("i8 - 128", ["-127", "-256", "", "-128"]),
        ("u8 * 2", ["400", "14", "", "0"]),
        ("u8 - u8", ["0", "0", "", "0"]),
        ("i32 % 7", ["5", "0", "", "0"]),
        ("i64 div 7", ["714285714", "0", "", "0"]),
        ("-i8", ["-1", "128", "", "0"]),
        ("u64 + 1", ["10000000000000000001", "4", "", "1"]),
        ("u64 + u8", ["10000000000000000200", "10", "", "0"]),
        ("i64 + u64", ["10000000005000000000", "0", "", "0"]),
        ("f32 + f32", ["1.0", "-3.0", "", "0.0"]),
        ("f32 * f64", ["0.05", "NaN", "", "-0.0"]),
        ("f32 + i8", ["1.5", "-129.5", "", "0.0"]),
        ("i32 / 8", ["12500.0", "-0.875", "", "0.0"]),
        ("d + e", ["12.4025", "-2.5500", "", "0.0000"]),
        ("d - 1", ["11.34", "-1.05", "", "-1.00"]),
        ("d * e", ["0.771250", "0.125000", "", "0.000000"]),
        ("d * 2", ["24.68", "-0.10", "", "0.00"]),
        ("d + 0.5", ["12.84", "0.45", "", "0.50"]),
        ("d / 4", ["3.085", "-0.0125", "", "0.0"]),
        ("d % 5", ["2.34", "-0.05", "", "0.00"]),
        ("- d", ["-12.34", "0.05", "", "0.00"]),
        ("d * d * d", ["1879.080904", "-0.000125", "", "0.000000"]),
        ("1 - d", ["-11.34", "1.05", "", "1.00"]),
        ("d * (1 - e) * (1 + e)", ["12.2917968750", "0.2625000000", "", "0.0000000000"]),
        ("d > 0.05", ["true", "false", "", "false"]),
        ("d = -0.05", ["false", "true", "", "false"]),
        ("d = 12.34", ["true", "false", "", "false"]),
        ("d < e", ["false", "false", "", "false"]),
        ("d = i8", ["false", "false", "", "true"]),
        ("d < f64", ["false", "true", "", "false"]),
        ("u64 > i64", ["true", "true", "", "false"]),
        ("u64 = 3", ["false", "true", "", "false"]),
        ("i8 = u8", ["false", "false", "", "true"]),
        ("i8 < 1.5", ["true", "true", "", "true"]),
        ("f32 = 0.5", ["true", "false", "", "false"]),
        ("0.06 + 0.01 = 0.07", ["true"; 4]),
        ("cast(0.06 + 0.01 as string)", ["0.07"; 4]),
        ("0.1 + 0.2 = 0.3", ["true"; 4]),
        ("f64 = 0.1", ["true", "false", "", "false"]),
        ("f64 > 1e308", ["false", "true", "", "false"]),
        ("f64 = f64", ["true", "true", "", "true"]),
        ("f64 = 0", ["false", "false", "", "true"]),
        ("f64 between -1 and 1", ["true", "false", "", "true"]),
        ("d between 0.06 - 0.11 and 0.06 + 0.01", ["false", "true", "", "true"]),
        ("i32 between -7 and 0", ["false", "true", "", "true"]),
        ("i32 not between -7 and 0", ["true", "false", "", "false"]),
        ("day between '1970-01-01' and '1999-12-31'", ["true", "false", "", "true"]),
        ("i32 in (1, 2, 100000)", ["true", "false", "", "false"]),
        ("i32 in (1, 2, 3, 4, 5, -7)", ["false", "true", "", "false"]),
        ("i32 in (1, 2, 3, 4, 5, -7, null)", ["", "true", "", ""]),
        ("i32 not in (1, null)", ["", "", "", ""]),
        ("i32 not in (1, 2, 3, 4, 5, 0, null)", ["", "", "", "false"]),
        ("i32 in (i8, 100 * 1000)", ["true", "false", "", "true"]),
        ("d in (0, 12.34, 3.5, 7, 8)", ["true", "false", "", "true"]),
        ("f64 in (0, 1, 2, 3, 4)", ["false", "false", "", "true"]),
        ("s in ('', 'x', 'y', 'b_b%', 'z')", ["false", "true", "", "true"]),
        ("s in ('Ana, 7')", ["true", "false", "", "false"]),
        ("day in ('2000-02-29', '1970-01-01')", ["false", "true", "", "true"]),
        ("s like 'A%'", ["true", "false", "", "false"]),
        ("s like '%7'", ["true", "false", "", "false"]),
        ("s like '%n%'", ["true", "false", "", "false"]),
        ("s like '_%'", ["true", "true", "", "false"]),
        ("s like 'b!_b!%' escape '!'", ["false", "true", "", "false"]),
        ("s not like '%\\%' escape '\\'", ["true", "false", "", "true"]),
        ("s ilike 'ana%'", ["true", "false", "", "false"]),
        ("s like s", ["true", "true", "", "true"]),
        ("s like null", ["", "", "", ""]),
        ("i32 is distinct from null", ["true", "true", "false", "true"]),
        ("i32 is not distinct from null", ["false", "false", "true", "false"]),
        ("i8 is distinct from u8", ["true", "true", "false", "false"]),
        ("f64 is not distinct from f64", ["true"; 4]),
        ("b is true", ["true", "false", "false", "true"]),
        ("b is not true", ["false", "true", "true", "false"]),
        ("b is false", ["false", "true", "false", "false"]),
        ("b is not false", ["true", "false", "true", "true"]),
        ("(i32 > 0) is unknown", ["false", "false", "true", "false"]),
        ("(i32 > 0) is not unknown", ["true", "true", "false", "true"]),
        ("b and i32 > 0", ["true", "false", "", "false"]),
        ("b or i32 > 0", ["true", "false", "", "true"]),
        ("not (i32 > 0)", ["false", "true", "", "true"]),
        ("day + 1", ["1995-02-01", "2000-03-01", "", "1970-01-02"]),
        ("1 + day", ["1995-02-01", "2000-03-01", "", "1970-01-02"]),
        ("day - 31", ["1994-12-31", "2000-01-29", "", "1969-12-01"]),
        ("day - date '1970-01-01'", ["9161", "11016", "", "0"]),
        ("day + interval '1' month", ["1995-02-28", "2000-03-29", "", "1970-02-01"]),
        ("day - interval '1 year 1 day'", ["1994-01-30", "1999-02-27", "", "1968-12-31"]),
        ("day + interval '90 days'", ["1995-05-01", "2000-05-29", "", "1970-04-01"]),
        ("interval '1' month + day", ["1995-02-28", "2000-03-29", "", "1970-02-01"]),
        (
            "day + interval '1' hour",
            ["1995-01-31T01:00:00", "2000-02-29T01:00:00", "", "1970-01-01T01:00:00"],
        ),
        ("day + iv", ["1995-03-02T00:00:00", "2000-02-28T21:00:00", "", "1970-01-01T00:00:00"]),
        (
            "ts + iv",
            ["1995-03-02T12:30:15.500000", "1969-12-31T20:59:59.250000", "", "1970-01-01T00:00:00"],
        ),
        (
            "ts - interval '1' day",
            ["1995-01-30T12:30:15.500000", "1969-12-30T23:59:59.250000", "", "1969-12-31T00:00:00"],
        ),
        (
            "ts + interval '1.5 seconds'",
            ["1995-01-31T12:30:17", "1970-01-01T00:00:00.750000", "", "1970-01-01T00:00:01.500000"],
        ),
        ("ts > '1970-01-01'", ["true", "false", "", "false"]),
        ("ts = '1969-12-31 23:59:59.25'", ["false", "true", "", "false"]),
        ("ts < day", ["false", "true", "", "false"]),
        ("day < '1995-01-31 12:00:00'", ["true", "false", "", "true"]),
        ("date '1995-01-01' + interval '3' month <= day", ["false", "true", "", "false"]),
        ("tm > '12:00:00'", ["true", "false", "", "true"]),
        ("tm = time '00:00:00'", ["false", "true", "", "false"]),
        ("iv > interval '1 day'", ["true", "false", "", "false"]),
        ("iv = interval '32 days'", ["true", "false", "", "false"]),
        ("try_cast(f64 as decimal(5,1))", ["0.1", "", "", "0.0"]),
        ("try_cast(d as int8)", ["12", "0", "", "0"]),
        ("cast(d as int64)", ["12", "0", "", "0"]),
        ("cast(e as int64)", ["0", "-3", "", "0"]),
        ("cast(e as decimal(10,2))", ["0.06", "-2.50", "", "0.00"]),
        ("cast(d as float64)", ["12.34", "-0.05", "", "0.0"]),
        ("cast(d as string)", ["12.34", "-0.05", "", "0.00"]),
        ("cast(i8 as decimal(5,2))", ["1.00", "-128.00", "", "0.00"]),
        ("cast(i8 as bool)", ["true", "true", "", "false"]),
        ("cast(d as bool)", ["true", "true", "", "false"]),
        ("cast(b as int32)", ["1", "0", "", "1"]),
        ("cast(b as decimal(3,1))", ["1.0", "0.0", "", "1.0"]),
        ("try_cast(i64 as int32)", ["", "-3", "", "0"]),
        ("try_cast(i32 as int8)", ["", "-7", "", "0"]),
        ("try_cast(i8 as uint8)", ["1", "", "", "0"]),
        ("try_cast(f64 as int64)", ["0", "", "", "0"]),
        ("try_cast(s as date)", ["", "", "", ""]),
        ("cast('1.005' as decimal(5,2))", ["1.01"; 4]),
        ("cast('-0.5' as decimal(5,0))", ["-1"; 4]),
        ("cast('1e2' as decimal(5,1))", ["100.0"; 4]),
        ("cast(ts as date)", ["1995-01-31", "1969-12-31", "", "1970-01-01"]),
        ("cast(ts as time)", ["12:30:15.500000", "23:59:59.250000", "", "00:00:00"]),
        (
            "cast(ts as timestamp(s))",
            ["1995-01-31T12:30:16", "1969-12-31T23:59:59", "", "1970-01-01T00:00:00"],
        ),
        (
            "cast(day as timestamp)",
            ["1995-01-31T00:00:00", "2000-02-29T00:00:00", "", "1970-01-01T00:00:00"],
        ),
        (
            "cast(tz as timestamp)",
            ["1995-03-26T01:30:00", "1969-12-31T23:59:59", "", "1970-01-01T00:00:00"],
        ),
        (
            "cast(ts as string)",
            ["1995-01-31T12:30:15.500000", "1969-12-31T23:59:59.250000", "", "1970-01-01T00:00:00"],
        ),
        ("cast(f32 as float64)", ["0.5", "-1.5", "", "0.0"]),
        ("i64::string", ["5000000000", "-3", "", "0"]),
        ("cast('2024-02-29' as date) - day", ["10621", "8766", "", "19782"]),
        ("l[1]", ["1", "", "", "-1"]),
        ("l[3]", ["3", "", "", ""]),
        ("l[0]", ["", "", "", ""]),
        ("l[-1]", ["3", "", "", "-1"]),
        ("p.x", ["1", "", "", "0"]),
        ("p['y']", ["a", "b", "", ""]),
        ("p.x + i8", ["2", "", "", "0"]),
        ("case when d > 0 then d else 0 end", ["12.34", "0.00", "0.00", "0.00"]),
        ("case when i8 = 1 then 0.5 else 2 end", ["0.5", "2.0", "2.0", "2.0"]),
        (
            "case when i8 = 1 then day else ts end",
            ["1995-01-31T00:00:00", "1969-12-31T23:59:59.250000", "", "1970-01-01T00:00:00"],
        ),
        ("case i8 when 1 then 'one' when 0 then 'zero' end", ["one", "", "", "zero"]),
        ("coalesce(null, i32)", ["100000", "-7", "", "0"]),
        ("case when b then i8 else u64 end", ["1", "3", "", "0"]),
        ("cast(d as float64) / 3", ["4.113333333333333", "-0.016666666666666666", "", "0.0"]),
        ("d / 3", ["4.113333333333333", "-0.016666666666666666", "", "0.0"]),
        ("1.5 + 1", ["2.5"; 4]),
        ("2.5 * 2", ["5.0"; 4]),
        ("3 div 2", ["1"; 4]),
        ("-7 div 2", ["-3"; 4]),
        ("-7 % 4", ["-3"; 4]),
        ("7 % -4", ["3"; 4]),
        ("-7.5 % 2", ["-1.5"; 4]),
        ("x'00ff' = x'00FF'", ["true"; 4]),
        ("l = [1, null, 3]", ["true", "false", "", "false"]),
        ("l < [2]", ["true", "true", "", "true"]),
        ("p = p", ["true", "true", "", "true"]),
        ("tz > '1970-01-01 00:00:00+00:00'", ["true", "false", "", "false"]),
        ("tz = '1995-03-26 02:30:00+01:00'", ["true", "false", "", "false"]),
        ("i8 + i32 + i64 + u8 + 1 + 2 + 3 + 4 + 5 + 6 - 7", ["5000100215", "-117", "", "14"]),
        ("i64 * 2 - i64 / 2", ["7500000000.0", "-4.5", "", "0.0"]),
    ] {
        assert_eq!(evaluated(text, &batch), Ok(expected.map(String::from).to_vec()), "{text}");
    }
}

#[test]
fn results_have_these_types() {
    let batch = typed_batch();
    for (text, expected) in [
        ("i8 + u8", "int64"),
        ("u64 + u8", "uint64"),
        ("u64 + i8", "decimal(20,0)"),
        ("u64 + 1", "uint64"),
        ("f32 * f32", "float32"),
        ("f32 * i8", "float64"),
        ("i32 / i8", "float64"),
        ("d + e", "decimal(18,4)"),
        ("d * e", "decimal(25,6)"),
        ("d * (1 - d) * (1 + d)", "decimal(38,6)"),
        ("d + 0.5", "decimal(16,2)"),
        ("d + i32", "decimal(16,2)"),
        ("d + f64", "float64"),
        ("d / d", "float64"),
        ("f64 * 0.5", "float64"),
        ("i64 * 18446744073709551616", "decimal(38,0)"),
        ("u64 + 18446744073709551615", "uint64"),
        ("i64 * 0.5", "float64"),
        ("0.5", "float64"),
        ("1 - 0.5", "float64"),
        ("-7.5 % 2", "float64"),
        ("day - day", "int64"),
        ("day + 1", "date"),
        ("day + interval '1' day", "date"),
        ("day + interval '1' minute", "timestamp"),
        ("day + iv", "timestamp"),
        ("ts - ts", "duration"),
        ("ts - day", "duration"),
        ("tz + iv", "timestamp_tz"),
        ("tm - tm", "duration"),
        ("iv * 2", "interval"),
        ("(ts - day) * 2", "duration"),
        ("case when b then i8 else u8 end", "int16"),
        ("case when b then d else 0 end", "decimal(15,2)"),
        ("case when b then d else 0.005 end", "decimal(16,3)"),
        ("case when b then day else ts end", "timestamp"),
        ("p.y", "string"),
        ("l[1]", "int64"),
        ("cast(l as list<string>)", "list<string>"),
    ] {
        let expr = parse::expression(text, batch.schema_ref()).unwrap();
        assert_eq!(parse::type_name(&expr.data_type()), expected, "{text}");
    }
}

#[test]
fn three_valued_logic_is_sqls() {
    let batch = batch();
    let of = |value: &str| match value {
        "t" => "(n = 1 or n is null or n <> 1)",
        "f" => "(n is null and n is not null)",
        _ => "cast(null as bool)",
    };
    for (left, right, and, or) in [
        ("t", "t", "true", "true"),
        ("t", "f", "false", "true"),
        ("t", "u", "", "true"),
        ("f", "t", "false", "true"),
        ("f", "f", "false", "false"),
        ("f", "u", "false", ""),
        ("u", "t", "", "true"),
        ("u", "f", "false", ""),
        ("u", "u", "", ""),
    ] {
        for (op, expected) in [("and", and), ("or", or)] {
            let text = format!("{} {op} {}", of(left), of(right));
            assert_eq!(evaluated(&text, &batch).unwrap()[0], expected, "{left} {op} {right}");
        }
    }
}

#[test]
fn errors_name_values_and_the_row() {
    let batch = typed_batch();
    for (text, expected) in [
        (
            "d * 99999999999999999999999999999999999 * d",
            "multiplication overflows decimal(38,2), at row d=12.34",
        ),
        ("u64 - 4", "subtraction overflows uint64: 3 - 4, at row u64=3"),
        (
            "-i64 * 9223372036854775807",
            "multiplication overflows int64: -5000000000 * 9223372036854775807, at row i64=5000000000",
        ),
        ("e / d", "division by zero, at row d=0.00, e=0.0000"),
        ("cast(i32 as int8)", "cannot cast '100000' to int8, at row i32=100000"),
        ("cast(i8 as uint8)", "cannot cast '-128' to uint8, at row i8=-128"),
        ("cast(f64 as int64)", "cannot cast 'NaN' to int64, at row f64=NaN"),
        ("cast(f64 as decimal(3,1))", "cannot cast 'NaN' to decimal(3,1), at row f64=NaN"),
        ("cast(d * 100 as decimal(4,1))", "cannot cast '1234.00' to decimal(4,1), at row d=12.34"),
        ("cast(s as date)", "cannot cast 'Ana, 7' to date, at row s=\"Ana, 7\""),
        (
            "day + i32 * 100000",
            "cannot cast '10000000000' to int32, at row i32=100000, day=1995-01-31",
        ),
        ("day + 2147483647", "addition leaves the range of date, at row day=1995-01-31"),
        ("case when i8 = 0 then 1 div i8 else 0 end", "division by zero, at row i8=0"),
    ] {
        assert_eq!(evaluated(text, &batch), Err(String::from(expected)), "{text}");
    }
    assert_eq!(evaluated("1 div 0", &batch), Err(String::from("division by zero")));
}

#[test]
fn a_constant_that_has_no_value_is_the_error_of_the_rows_that_reach_it() {
    let batch = typed_batch();
    assert_eq!(
        evaluated("case when i8 = 5 then 1 div 0 else i8 end", &batch),
        Ok(["1", "-128", "", "0"].map(String::from).to_vec())
    );
    assert_eq!(
        evaluated("i8 is not null and i8 = 5 and 1 div 0 = 1", &batch).unwrap(),
        ["false", "false", "false", "false"],
    );
}

#[test]
fn long_chains_and_lists_have_values_and_travel() {
    let batch = typed_batch();
    let sum = vec!["i64"; 400].join(" + ");
    assert_eq!(evaluated(&sum, &batch).unwrap(), ["2000000000000", "-1200", "", "0"]);
    let mixed = format!("i64{}", " * 1 + 2 - i8".repeat(150));
    assert_eq!(evaluated(&mixed, &batch).unwrap()[0], "5000000150");
    let many: Vec<_> = (0..10_000).map(|n| n.to_string()).collect();
    let list = format!("i64 in ({}, 5000000000)", many.join(", "));
    assert_eq!(evaluated(&list, &batch).unwrap(), ["true", "false", "", "true"]);
    let parens = format!("{}i64{}", "(1 - ".repeat(18), ")".repeat(18));
    for text in [sum, mixed, list, parens] {
        let expr = parse::expression(&text, batch.schema_ref()).unwrap();
        // As deep as it stands in a plan.
        let mut sent = serde_json::to_string(&expr).unwrap();
        sent = format!("{}{sent}{}", "[".repeat(16), "]".repeat(16));
        let mut value: serde_json::Value = serde_json::from_str(&sent).unwrap();
        for _ in 0..16 {
            value = value[0].take();
        }
        assert_eq!(serde_json::from_value::<Expr>(value).unwrap(), expr);
    }
}

#[test]
fn what_is_shared_has_the_values_of_what_is_not() {
    let batch = typed_batch();
    let texts = [
        "d * (1 - e)",
        "d * (1 - e) * (1 + e)",
        "case when i8 > 0 then d * (1 - e) else -(d * (1 - e)) end",
        "i8 > 0 and d * (1 - e) > 1 and 1 div i8 = 1",
        "case when i8 <> 0 then 1 div i8 when i8 = 0 then 7 end",
        "case when i8 <> 0 then 1 div i8 + 1 end",
        "lower(s) || lower(s)",
    ];
    let exprs = texts.map(|text| parse::expression(text, batch.schema_ref()).unwrap());
    let refs: Vec<_> = exprs.iter().collect();
    assert!(super::Shared::of(&refs).len() > 3);
    let together = super::evaluate_all(&exprs, &batch).unwrap();
    for (expr, array) in exprs.iter().zip(together) {
        assert_eq!(&expr.evaluate(&batch).unwrap(), &array, "{expr}");
    }
}

proptest! {
    #[test]
    fn a_batch_in_two_halves_has_the_same_values(
        cut in 0usize..=4,
        text in prop::sample::select(vec![
            "n + 1", "lower(text)", "case when b then x when n = 2 then 3 else 4 end",
            "b and x > 0 or text = 'bob'", "substr(text, n, 2)", "concat(text, x, day)", "upper(trim(text))",
        ]),
    ) {
        let batch = batch();
        let expr = parse::expression(text, batch.schema_ref()).unwrap();
        let whole = expr.evaluate(&batch).unwrap();
        let halves = [batch.slice(0, cut), batch.slice(cut, 4 - cut)].map(|half| expr.evaluate(&half).unwrap());
        let joined = concat(&[halves[0].as_ref(), halves[1].as_ref()]).unwrap();
        prop_assert_eq!(&whole, &joined);
    }
}

proptest! {
    #[test]
    fn halves_of_any_type_have_the_same_values(
        cut in 0usize..=4,
        text in prop::sample::select(vec![
            "d * (1 - e)", "l[1]", "l[i8]", "p.x + 1", "p = p", "l < [2]", "iv > interval '1 day'", "u64 + i8",
            "s like '%a%'", "s like s", "i32 in (1, 2, 3, 4, null)", "f64 is distinct from f32", "cast(tz as string)",
            "cast(l as string)", "cast(p as string)", "day + i8", "ts - day", "tm", "case when b then l else [7] end",
            "case when i8 > 0 then p end", "try_cast(s as decimal(5,2))", "(ts - day) * i8", "iv * i8",
        ]),
    ) {
        let batch = typed_batch();
        let expr = parse::expression(text, batch.schema_ref()).unwrap();
        let whole = expr.evaluate(&batch).unwrap();
        let halves = [batch.slice(0, cut), batch.slice(cut, 4 - cut)].map(|half| expr.evaluate(&half).unwrap());
        let joined = concat(&[halves[0].as_ref(), halves[1].as_ref()]).unwrap();
        prop_assert_eq!(&whole, &joined, "{}", text);
    }

    #[test]
    fn what_is_cast_to_text_casts_back(literal in literals()) {
        let array = literal.to_array();
        let data_type = array.data_type();
        prop_assume!(*data_type != DataType::BinaryView);
        let text = cast(&array, &DataType::Utf8View, false).unwrap();
        prop_assert_eq!(&cast(&text, data_type, false).unwrap(), &array);
    }
}
