//! Every type as a key, and as a passenger of keys, in memory and through spilled runs.

use std::sync::atomic::Ordering::Relaxed;

use arrow::{
    array::{
        Array, ArrayRef, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array,
        Decimal256Array, DurationMillisecondArray, Float32Array, Float64Array, Int8Array,
        Int64Array, IntervalMonthDayNanoArray, ListArray, NullArray, StringViewArray, StructArray,
        Time64MicrosecondArray, TimestampNanosecondArray, UInt64Array, make_comparator,
    },
    buffer::{NullBuffer, OffsetBuffer},
    compute::{concat_batches, take, take_record_batch},
    datatypes::{DataType, Field, IntervalMonthDayNano, i256},
};

use super::*;
use crate::{
    kernels::canonical::with_one_zero_and_nan,
    memory::spill::tests::{FaultyDisk, context},
    operators::{
        Batches,
        sort::tests::{ids, pull},
    },
};

const ROWS: i64 = 300;

/// Numbers in no order, each about five times, and every ninth null.
fn numbers() -> impl Iterator<Item = Option<i64>> {
    (0..ROWS).map(|row| (row * 7_919 % 61) - 30).map(|n| (n % 9 != 0).then_some(n))
}

fn text(n: i64) -> String {
    if n % 2 == 0 { format!("{n}") } else { format!("a text that no view holds by itself: {n}") }
}

/// A column of each type, with its name.
fn columns() -> Vec<(&'static str, ArrayRef)> {
    fn of<A: Array + FromIterator<Option<T>> + 'static, T>(value: impl Fn(i64) -> T) -> ArrayRef {
        Arc::new(numbers().map(|n| n.map(&value)).collect::<A>())
    }
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let float = |n: i64| match n {
        -29 => f64::NAN,
        -28 => -f64::NAN,
        1 => -0.0,
        2 => 0.0,
        n => n as f64 / 3.0,
    };
    #[expect(clippy::cast_possible_truncation, reason = "rounded on purpose")]
    let small = |n: i64| float(n) as f32;
    let decimals: Decimal128Array =
        numbers().map(|n| n.map(|n| i128::from(n) * 10_i128.pow(34))).collect();
    let wide: Decimal256Array =
        numbers().map(|n| n.map(|n| i256::from_i128(i128::from(n) * 10_i128.pow(35)))).collect();
    let item = |of: DataType| Arc::new(Field::new("item", of, true));
    let lengths = || numbers().map(|n| n.map_or(0, |n| usize::try_from(n.rem_euclid(3)).unwrap()));
    let list = |values: ArrayRef| -> ArrayRef {
        let nulls: NullBuffer = numbers().map(|n| n.is_some()).collect();
        let count: usize = lengths().sum();
        let values = values.slice(0, count);
        let offsets = OffsetBuffer::from_lengths(lengths());
        Arc::new(ListArray::new(item(values.data_type().clone()), offsets, values, Some(nulls)))
    };
    let floats: ArrayRef = of::<Float64Array, _>(float);
    let texts: ArrayRef = of::<StringViewArray, _>(text);
    let fields = [("f", Arc::clone(&floats)), ("l", list(Arc::clone(&texts)))];
    let members = fields
        .map(|(name, array)| (Arc::new(Field::new(name, array.data_type().clone(), true)), array));
    vec![
        ("bool", of::<BooleanArray, _>(|n| n % 2 == 0)),
        ("int8", of::<Int8Array, _>(|n| i8::try_from(n).unwrap())),
        ("uint64", of::<UInt64Array, _>(|n| u64::MAX - n.unsigned_abs())),
        ("float32", of::<Float32Array, _>(small)),
        ("float64", floats),
        ("decimal", Arc::new(decimals.with_precision_and_scale(38, 3).unwrap())),
        ("wide", Arc::new(wide.with_precision_and_scale(60, 3).unwrap())),
        ("text", Arc::clone(&texts)),
        ("binary", of::<BinaryViewArray, _>(|n| text(n).into_bytes())),
        ("date", of::<Date32Array, _>(|n| i32::try_from(n).unwrap())),
        (
            "zoned",
            Arc::new(
                numbers().collect::<TimestampNanosecondArray>().with_timezone("Europe/Berlin"),
            ),
        ),
        ("time", of::<Time64MicrosecondArray, _>(|n| n + 40)),
        ("duration", of::<DurationMillisecondArray, _>(|n| n)),
        (
            "interval",
            of::<IntervalMonthDayNanoArray, _>(|n| {
                IntervalMonthDayNano::new(i32::try_from(n % 3).unwrap(), 2, n)
            }),
        ),
        ("list", list(texts)),
        ("struct", Arc::new(StructArray::from(members.to_vec()))),
        ("null", Arc::new(NullArray::new(usize::try_from(ROWS).unwrap()))),
    ]
}

fn input() -> RecordBatch {
    let id: ArrayRef = Arc::new(Int64Array::from_iter_values(0..ROWS));
    let columns = columns().into_iter().chain([("id", id)]);
    RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap()
}

fn sorted(input: &RecordBatch, key: &SortKey, budget_bytes: u64) -> RecordBatch {
    let folder = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::counting();
    let context = context(Arc::clone(&disk) as _, folder.path(), budget_bytes);
    let slices = (0..input.num_rows()).step_by(37);
    let slices = slices.map(|at| input.slice(at, 37.min(input.num_rows() - at))).collect();
    let schema = input.schema();
    let batches = Box::new(Batches::new(slices));
    let mut sort = Sort::new(batches, vec![key.clone()], None, Arc::clone(&schema), &context);
    sort.min_run_bytes = 0;
    let found = concat_batches(&schema, &pull(sort).unwrap()).unwrap();
    assert_eq!(context.spilled_bytes.load(Relaxed) > 0, budget_bytes == 0);
    assert_eq!((disk.file_count(), context.budget.used_bytes()), (0, 0));
    found
}

#[test]
fn every_type_sorts_as_arrow_compares_it_with_one_nan_and_zero_and_rows_stay_whole() {
    let input = input();
    for (column, field) in input.schema().fields().iter().enumerate() {
        for (descending, nulls_first) in
            [(false, false), (true, false), (false, true), (true, true)]
        {
            let key = SortKey { column, descending, nulls_first };
            let found = sorted(&input, &key, 1 << 30);
            let spilled = sorted(&input, &key, 0);
            assert_eq!(found, spilled, "{} {key:?}", field.name());

            let order = ids(std::slice::from_ref(&found));
            let places = UInt64Array::from_iter_values(order.iter().map(|id| id.unsigned_abs()));
            assert_eq!(take_record_batch(&input, &places).unwrap(), found, "{}", field.name());
            if field.data_type().is_nested() {
                continue;
            }
            let values = with_one_zero_and_nan(input.column(column)).unwrap();
            let options = SortOptions { descending, nulls_first };
            let compare = make_comparator(&values, &values, options).unwrap();
            let mut expected: Vec<i64> = (0..ROWS).collect();
            let place = |id: &i64| usize::try_from(*id).unwrap();
            expected.sort_by(|a, b| compare(place(a), place(b)));
            assert_eq!(order, expected, "{} {key:?}", field.name());
        }
    }
}

#[test]
fn lists_compare_element_by_element_and_structs_member_by_member() {
    let items = |rows: Vec<Option<Vec<Option<f64>>>>| -> ArrayRef {
        let lengths = rows.iter().map(|row| row.as_ref().map_or(0, Vec::len));
        let offsets = OffsetBuffer::from_lengths(lengths);
        let nulls: NullBuffer = rows.iter().map(Option::is_some).collect();
        let values: ArrayRef =
            Arc::new(rows.into_iter().flatten().flatten().collect::<Float64Array>());
        let item = Arc::new(Field::new("item", DataType::Float64, true));
        Arc::new(ListArray::new(item, offsets, values, Some(nulls)))
    };
    let nan = Some(f64::NAN);
    let lists = items(vec![
        Some(vec![Some(1.0), nan]),
        None,
        Some(vec![Some(1.0)]),
        Some(vec![]),
        Some(vec![Some(-0.0), Some(3.0)]),
        Some(vec![Some(0.0), Some(2.0)]),
        Some(vec![Some(1.0), None]),
        Some(vec![Some(-f64::NAN)]),
    ]);
    let order = |array: &ArrayRef, descending| {
        let id: ArrayRef = Arc::new(Int64Array::from_iter_values((0..).take(array.len())));
        let columns = [("key", Arc::clone(array)), ("id", id)];
        let batch =
            RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let context = context(FaultyDisk::counting(), folder.path(), 1 << 20);
        let key = SortKey { column: 0, descending, nulls_first: false };
        let schema = batch.schema();
        let sort =
            Sort::new(Box::new(Batches::new(vec![batch])), vec![key], None, schema, &context);
        ids(&pull(sort).unwrap())
    };
    // A shorter list comes first, nulls behind all values, also inside, and NaN is greatest.
    // DuckDB: [], [-0.0, 3.0] > [0.0, 2.0], [1.0], [1.0, nan], [1.0, null], [nan], null.
    assert_eq!(order(&lists, false), [3, 5, 4, 2, 0, 6, 7, 1]);
    let rows = UInt64Array::from(vec![0, 4, 5]);
    let texts: ArrayRef = Arc::new(StringViewArray::from(vec![Some("b"), Some("a"), None]));
    let members = [("s", texts), ("l", take(&lists, &rows, None).unwrap())]
        .map(|(name, array)| (Arc::new(Field::new(name, array.data_type().clone(), true)), array));
    let structs: ArrayRef = Arc::new(StructArray::from(members.to_vec()));
    assert_eq!(order(&structs, false), [1, 0, 2]);
}
