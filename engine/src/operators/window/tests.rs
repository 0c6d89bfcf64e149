//! The window operator against a model that looks at every row for every row.

use std::sync::Arc;

use arrow::{
    array::{
        Array, AsArray, Decimal128Array, Float64Array, Int64Array, ListArray, StringViewArray,
        TimestampMicrosecondArray, UInt64Array,
    },
    compute::concat_batches,
    datatypes::{DataType, Field, Float64Type, Int64Type, Schema},
};
use proptest::prelude::*;

use super::*;
use crate::{
    expr::{
        OrderKey, parse,
        window::{self, frame as parse_frame},
    },
    kernels::float_sum::FloatSum,
    memory::spill::tests::{FaultyDisk, context},
    operators::{Batches, sort::tests::pull},
};

/// Partition, order key, whole number, float, text.
type Row = (Option<i64>, Option<i64>, Option<i64>, Option<f64>, Option<&'static str>);

fn row() -> impl Strategy<Value = Row> {
    let small = || prop_oneof![3 => (0_i64..4).prop_map(Some), 1 => Just(None)];
    let float = prop::sample::select(vec![0.1, -0.0, 1e300, -1e300, 0.7, f64::INFINITY, f64::NAN]);
    let text = prop::sample::select(vec!["a", "b", "", "a long text that is not inlined"]);
    (small(), small(), small(), prop::option::of(float), prop::option::of(text))
}

#[derive(Clone, Copy, Debug)]
enum Bound {
    First,
    Before(i64),
    Current,
    Behind(i64),
    Last,
}

impl Bound {
    fn text(self) -> String {
        match self {
            Self::First => String::from("unbounded preceding"),
            Self::Before(by) => format!("{by} preceding"),
            Self::Current => String::from("current row"),
            Self::Behind(by) => format!("{by} following"),
            Self::Last => String::from("unbounded following"),
        }
    }

    fn kind(self) -> u8 {
        match self {
            Self::First => 0,
            Self::Before(_) => 1,
            Self::Current => 2,
            Self::Behind(_) => 3,
            Self::Last => 4,
        }
    }

    /// As a distance from the current place; none where it has no bound.
    fn distance(self) -> Option<i64> {
        match self {
            Self::First | Self::Last => None,
            Self::Before(by) => Some(-by),
            Self::Current => Some(0),
            Self::Behind(by) => Some(by),
        }
    }
}

fn bound() -> impl Strategy<Value = Bound> {
    prop_oneof![
        Just(Bound::First),
        (0_i64..3).prop_map(Bound::Before),
        Just(Bound::Current),
        (0_i64..3).prop_map(Bound::Behind),
        Just(Bound::Last),
    ]
}

fn bounds() -> impl Strategy<Value = (Bound, Bound)> {
    (bound(), bound()).prop_filter("a frame begins before it ends", |(start, end)| {
        start.kind() <= end.kind() && start.kind() < 4 && end.kind() > 0
    })
}

/// Sorted by partition, then by order key; equal rows as they were.
fn sorted(mut rows: Vec<Row>, descending: bool) -> Vec<Row> {
    let last = |value: Option<i64>| (value.is_none(), value);
    rows.sort_by_key(|row| {
        let order = if descending { row.1.map(|order| -order) } else { row.1 };
        (last(row.0), last(order))
    });
    rows
}

fn batch(rows: &[Row]) -> RecordBatch {
    let columns: [(&str, ArrayRef); 5] = [
        ("p", Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>())),
        ("o", Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>())),
        ("n", Arc::new(rows.iter().map(|row| row.2).collect::<Int64Array>())),
        ("f", Arc::new(rows.iter().map(|row| row.3).collect::<Float64Array>())),
        ("t", Arc::new(rows.iter().map(|row| row.4).collect::<StringViewArray>())),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap()
}

fn key(column: usize, descending: bool) -> SortKey {
    SortKey { column, descending, nulls_first: false }
}

/// What functions over a frame give for rows that are cut into batches, as columns.
fn run(
    input: &RecordBatch,
    order_by: &[SortKey],
    functions: &[&str],
    frame: Option<&str>,
    batch_rows: usize,
    budget_bytes: u64,
) -> Result<RecordBatch> {
    let schema = input.schema();
    let order_keys: Vec<_> = order_by
        .iter()
        .map(|key| OrderKey {
            expr: parse::column(&schema, key.column),
            descending: key.descending,
            nulls_first: key.nulls_first,
        })
        .collect();
    let frame = frame.map(|text| parse_frame(text, &order_keys).unwrap()).unwrap_or_default();
    let functions: Vec<_> = functions
        .iter()
        .map(|text| {
            window::parse(text, &schema, &frame).unwrap_or_else(|e| panic!("{text}: {e:?}"))
        })
        .collect();
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    fields.extend(functions.iter().enumerate().map(|(place, function)| {
        Arc::new(Field::new(format!("w{place}"), function.data_type.clone(), true))
    }));
    let output: SchemaRef = Arc::new(Schema::new(fields));
    let slices = (0..input.num_rows())
        .step_by(batch_rows)
        .map(|at| input.slice(at, batch_rows.min(input.num_rows() - at)));
    let folder = tempfile::tempdir().unwrap();
    let context = context(FaultyDisk::counting(), folder.path(), budget_bytes);
    let asked = Functions {
        columns: schema.fields().len(),
        partition_by: vec![0],
        order_by: order_by.to_vec(),
        functions,
    };
    let source = Box::new(Batches::new(slices.collect()));
    let mut window = Window::new(source, asked, schema, Arc::clone(&output), &context);
    if budget_bytes == 0 {
        // Every partition is too large.
        window.min_held_bytes = 0;
    }
    let batches = pull(window)?;
    assert_eq!(context.budget.used_bytes(), 0);
    Ok(concat_batches(&output, &batches)?)
}

/// The rows that a row sees, by the definition.
fn seen(
    rows: &[Row],
    at: usize,
    unit: &str,
    (start, end): (Bound, Bound),
    descending: bool,
) -> Vec<usize> {
    let partition: Vec<usize> = (0..rows.len()).filter(|row| rows[*row].0 == rows[at].0).collect();
    // Where a row stands in the unit, relative to the current row; none where it can't be said.
    let group = |row: usize| {
        let before = partition.iter().filter(|other| **other <= row);
        let mut orders: Vec<_> = before.map(|other| rows[*other].1).collect();
        orders.dedup();
        i64::try_from(orders.len()).unwrap()
    };
    let place = |row: usize| -> Option<i64> {
        match unit {
            "rows" => Some(i64::try_from(row).unwrap() - i64::try_from(at).unwrap()),
            "groups" => Some(group(row) - group(at)),
            _ => match (rows[row].1, rows[at].1) {
                (Some(one), Some(current)) if descending => Some(current - one),
                (Some(one), Some(current)) => Some(one - current),
                (None, None) => Some(0),
                _ => None,
            },
        }
    };
    let is_seen = |row: &usize| {
        // Where there is no distance, a null stands behind all values.
        let (is_behind_start, is_before_end) = match place(*row) {
            Some(place) => (
                start.distance().is_none_or(|from| {
                    if rows[at].1.is_none() && unit == "range" { place >= 0 } else { place >= from }
                }),
                end.distance().is_none_or(|to| {
                    if rows[at].1.is_none() && unit == "range" { place <= 0 } else { place <= to }
                }),
            ),
            None if rows[*row].1.is_none() => (true, end.distance().is_none()),
            None => (start.distance().is_none(), true),
        };
        is_behind_start && is_before_end
    };
    partition.iter().copied().filter(is_seen).collect()
}

fn ints(batch: &RecordBatch, name: &str) -> Vec<Option<i64>> {
    batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().iter().collect()
}

fn texts(batch: &RecordBatch, name: &str) -> Vec<Option<String>> {
    let column = batch.column_by_name(name).unwrap().as_string_view();
    column.iter().map(|text| text.map(String::from)).collect()
}

/// Floats by their bits, NaN as one.
fn floats(batch: &RecordBatch, name: &str) -> Vec<Option<u64>> {
    let column = batch.column_by_name(name).unwrap().as_primitive::<Float64Type>();
    column.iter().map(|float| float.map(bits)).collect()
}

fn bits(float: f64) -> u64 {
    if float.is_nan() { f64::NAN.to_bits() } else { float.to_bits() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn framed_functions_give_what_the_rows_that_they_see_give(
        rows in prop::collection::vec(row(), 1..40),
        unit in prop::sample::select(vec!["rows", "range", "groups"]),
        bounds in bounds(),
        descending in any::<bool>(),
        batch_rows in 1_usize..12,
    ) {
        let rows = sorted(rows, descending);
        let frame = format!("{unit} between {} and {}", bounds.0.text(), bounds.1.text());
        let functions = [
            "sum(n)", "count(*)", "count(t)", "avg(n)", "min(t)", "max(t)", "sum(f)", "max(f)",
            "first_value(n)", "last_value(t)", "nth_value(n, 2)", "first_value(t ignore nulls)",
            "last_value(n ignore nulls)", "nth_value(t, 2 ignore nulls)",
            "sum(n) filter (where n > 1)", "count(*) filter (where t = 'a')",
        ];
        let found =
            run(&batch(&rows), &[key(1, descending)], &functions, Some(&frame), batch_rows, 1 << 30)
                .unwrap();

        let all: Vec<Vec<usize>> =
            (0..rows.len()).map(|at| seen(&rows, at, unit, bounds, descending)).collect();
        let each = |value: &dyn Fn(&[usize]) -> Option<i64>| -> Vec<Option<i64>> {
            all.iter().map(|seen| value(seen)).collect()
        };
        let text = |value: &dyn Fn(&[usize]) -> Option<&'static str>| -> Vec<Option<String>> {
            all.iter().map(|seen| value(seen).map(String::from)).collect()
        };
        let numbers = |seen: &[usize]| -> Vec<i64> { seen.iter().filter_map(|at| rows[*at].2).collect() };
        let words = |seen: &[usize]| -> Vec<&'static str> {
            seen.iter().filter_map(|at| rows[*at].4).collect()
        };
        let count = |count: usize| Some(i64::try_from(count).unwrap());
        let sum = |values: &[i64]| (!values.is_empty()).then(|| values.iter().sum::<i64>());

        prop_assert_eq!(ints(&found, "w0"), each(&|seen| sum(&numbers(seen))), "{}", frame);
        prop_assert_eq!(ints(&found, "w1"), each(&|seen| count(seen.len())), "{}", frame);
        prop_assert_eq!(ints(&found, "w2"), each(&|seen| count(words(seen).len())));
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let averages: Vec<_> = all
            .iter()
            .map(|seen| {
                let values = numbers(seen);
                sum(&values).map(|sum| bits(sum as f64 / values.len() as f64))
            })
            .collect();
        prop_assert_eq!(floats(&found, "w3"), averages);
        prop_assert_eq!(texts(&found, "w4"), text(&|seen| words(seen).into_iter().min()));
        prop_assert_eq!(texts(&found, "w5"), text(&|seen| words(seen).into_iter().max()));
        let float_sum = |seen: &Vec<usize>| {
            let mut exact = FloatSum::EMPTY;
            seen.iter().filter_map(|at| rows[*at].3).for_each(|float| exact.add(float));
            exact.value().map(bits)
        };
        prop_assert_eq!(floats(&found, "w6"), all.iter().map(float_sum).collect::<Vec<_>>());
        let greatest = |seen: &Vec<usize>| {
            let values = seen.iter().filter_map(|at| rows[*at].3).map(|float| float + 0.0);
            // NaN is greatest, and the total order has it there.
            values.max_by(f64::total_cmp).map(bits)
        };
        prop_assert_eq!(floats(&found, "w7"), all.iter().map(greatest).collect::<Vec<_>>());
        prop_assert_eq!(ints(&found, "w8"), each(&|seen| rows[*seen.first()?].2));
        prop_assert_eq!(texts(&found, "w9"), text(&|seen| rows[*seen.last()?].4));
        prop_assert_eq!(ints(&found, "w10"), each(&|seen| rows[*seen.get(1)?].2));
        prop_assert_eq!(texts(&found, "w11"), text(&|seen| words(seen).first().copied()));
        prop_assert_eq!(ints(&found, "w12"), each(&|seen| numbers(seen).last().copied()));
        prop_assert_eq!(texts(&found, "w13"), text(&|seen| words(seen).get(1).copied()));
        let large = |seen: &[usize]| numbers(seen).into_iter().filter(|n| *n > 1).collect::<Vec<_>>();
        prop_assert_eq!(ints(&found, "w14"), each(&|seen| sum(&large(seen))));
        let of_a = |seen: &[usize]| count(words(seen).into_iter().filter(|word| *word == "a").count());
        prop_assert_eq!(ints(&found, "w15"), each(&of_a));
    }

    #[test]
    fn what_is_held_is_not_seen_in_what_comes_out(
        rows in prop::collection::vec(row(), 1..60),
        descending in any::<bool>(),
        unit in prop::sample::select(vec!["rows", "range", "groups"]),
        batch_rows in 1_usize..12,
    ) {
        let rows = sorted(rows, descending);
        let frame = format!("{unit} between unbounded preceding and current row");
        let running = [
            "row_number()", "rank()", "dense_rank()", "lag(n)", "lag(t, 2, 'none')", "lag(n, 0)",
            "first_value(t)", "sum(n)", "avg(f)", "sum(f)", "count(t)", "min(t)", "max(f)",
            "sum(n) filter (where n > 1)",
        ];
        // Beside a function that looks ahead whole partitions are held.
        let whole = [&running[..], &["lead(n)"]].concat();
        let run = |functions: &[&str], at_once| {
            run(&batch(&rows), &[key(1, descending)], functions, Some(&frame), at_once, 1 << 30)
        };
        let expected = run(&whole, rows.len()).unwrap();
        for functions in [&running[..], &running[..7], &running[7..]] {
            let found = run(functions, batch_rows).unwrap();
            let skipped = if functions.first() == running.first() { 0 } else { 7 };
            for place in 0..functions.len() {
                prop_assert_eq!(found.column(5 + place), expected.column(5 + skipped + place));
            }
        }
    }

    #[test]
    fn a_partition_in_a_file_gives_what_one_in_memory_gives(
        rows in prop::collection::vec(row(), 1..60),
        descending in any::<bool>(),
        has_order in any::<bool>(),
        unit in prop::sample::select(vec!["rows", "range", "groups"]),
        bounds in prop_oneof![
            bounds(),
            Just((Bound::First, Bound::Last)),
            Just((Bound::First, Bound::Current)),
        ],
        batch_rows in 1_usize..12,
    ) {
        let rows = sorted(rows, descending);
        let has_order = has_order || unit == "groups" || [bounds.0, bounds.1]
            .iter()
            .any(|bound| matches!(bound, Bound::Before(_) | Bound::Behind(_)));
        let order_by = if has_order { vec![key(1, descending)] } else { Vec::new() };
        let frame = format!("{unit} between {} and {}", bounds.0.text(), bounds.1.text());
        let framed = [
            "sum(n)", "count(*)", "avg(n)", "min(t)", "max(f)", "sum(f)", "median(n)",
            "first_value(n)", "last_value(t)", "nth_value(n, 2)", "first_value(t ignore nulls)",
            "last_value(n ignore nulls)", "nth_value(t, 2 ignore nulls)",
            "sum(n) filter (where n > 1)",
        ];
        let others = [
            "row_number()", "rank()", "dense_rank()", "percent_rank()", "cume_dist()", "ntile(3)",
            "lag(n)", "lead(t, 2, 'none')", "lag(n, 0)",
        ];
        let all = [&framed[..], &others[..]].concat();
        let run = |functions: &[&str], budget| {
            run(&batch(&rows), &order_by, functions, Some(&frame), batch_rows, budget)
        };
        let expected = run(&all, 1 << 30).unwrap();
        let has_one_end = (bounds.0.kind() == 0) != (bounds.1.kind() == 4);
        for (place, function) in all.iter().enumerate() {
            match run(&[function], 0) {
                Ok(found) => prop_assert_eq!(found.column(5), expected.column(5 + place)),
                Err(Error::MemoryLimit { .. }) => {
                    prop_assert!(has_one_end && place < framed.len(), "{} {}", function, frame);
                }
                Err(error) => panic!("{function}: {error}"),
            }
        }
        let found = run(&others, 0).unwrap();
        for place in 0..others.len() {
            prop_assert_eq!(found.column(5 + place), expected.column(5 + framed.len() + place));
        }
        let running = ["row_number()", "lag(n)", "sum(n)", "max(f)", "first_value(t)"];
        if (bounds.0.kind(), bounds.1.kind()) == (0, 2) {
            prop_assert_eq!(run(&running, 0).unwrap(), run(&running, 1 << 30).unwrap());
        }
    }

    #[test]
    fn ranks_count_and_lags_look_back(
        rows in prop::collection::vec(row(), 1..40),
        descending in any::<bool>(),
        by in -3_i64..4,
    ) {
        let rows = sorted(rows, descending);
        let lag = format!("lag(n, {by}, -9)");
        let lead = format!("lead(t, {by} ignore nulls)");
        let functions = ["rank()", "dense_rank()", "ntile(3)", "percent_rank()", "cume_dist()", &lag, &lead];
        let found = run(&batch(&rows), &[key(1, descending)], &functions, None, 7, 1 << 30).unwrap();
        let mut expected: [Vec<Option<i64>>; 4] = Default::default();
        let mut parts: [Vec<Option<u64>>; 2] = Default::default();
        let mut leads: Vec<Option<String>> = Vec::new();
        for at in 0..rows.len() {
            let partition: Vec<usize> =
                (0..rows.len()).filter(|row| rows[*row].0 == rows[at].0).collect();
            let first = partition[0];
            let less = partition.iter().take_while(|row| rows[**row].1 != rows[at].1).count();
            let equal = partition.iter().filter(|row| rows[**row].1 == rows[at].1).count();
            let mut groups: Vec<_> = rows[first..=at].iter().map(|row| row.1).collect();
            groups.dedup();
            let size = partition.len();
            let (small, large, place) = (size / 3, size % 3, at - first);
            let head = large * (small + 1);
            let tile = if place < head { place / (small + 1) } else { large + (place - head) / small.max(1) };
            let number = |n: usize| Some(i64::try_from(n).unwrap());
            expected[0].push(number(less + 1));
            expected[1].push(number(groups.len()));
            expected[2].push(number(tile + 1));
            let other = i64::try_from(at).unwrap() - by;
            let is_there = other >= i64::try_from(first).unwrap() && other < i64::try_from(first + size).unwrap();
            expected[3].push(if is_there { rows[usize::try_from(other).unwrap()].2 } else { Some(-9) });
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let ratio = |part: usize, whole: usize| Some(bits(if whole == 0 { 0.0 } else { part as f64 / whole as f64 }));
            parts[0].push(ratio(less, size - 1));
            parts[1].push(ratio(less + equal, size));
            let texts = |rows_of: &mut dyn Iterator<Item = usize>| -> Vec<&'static str> {
                rows_of.filter_map(|row| rows[row].4).collect()
            };
            let skip = usize::try_from(by.unsigned_abs()).unwrap();
            leads.push(match by.signum() {
                0 => rows[at].4.map(String::from),
                1 => texts(&mut (at + 1..first + size)).get(skip - 1).map(|t| String::from(*t)),
                _ => texts(&mut (first..at).rev()).get(skip - 1).map(|t| String::from(*t)),
            });
        }
        for (place, name) in ["w0", "w1", "w2", "w5"].into_iter().enumerate() {
            prop_assert_eq!(&ints(&found, name), &expected[place], "{}", name);
        }
        prop_assert_eq!(floats(&found, "w3"), parts[0].clone());
        prop_assert_eq!(floats(&found, "w4"), parts[1].clone());
        prop_assert_eq!(texts(&found, "w6"), leads);
    }
}

/// One partition of these columns, ordered by the first of them.
fn one_partition(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let count = columns[0].1.len();
    let partition: ArrayRef = Arc::new(Int64Array::from(vec![1; count]));
    let all = std::iter::once(("p", partition)).chain(columns);
    RecordBatch::try_from_iter_with_nullable(all.map(|(n, c)| (n, c, true))).unwrap()
}

fn micros(text: &str) -> i64 {
    crate::expr::datetime::parse_timestamp(text).unwrap()
}

#[test]
fn ranges_of_times_go_by_calendar_months_and_days() {
    let times = [
        "2024-01-30T00:00:00",
        "2024-01-31T12:00:00",
        "2024-02-29T11:00:00",
        "2024-02-29T13:00:00",
    ];
    let times: ArrayRef =
        Arc::new(times.iter().map(|t| Some(micros(t))).collect::<TimestampMicrosecondArray>());
    let input = one_partition(vec![("o", times)]);
    let count = |frame: &str, descending| {
        let (input, keys) = if descending {
            let back =
                arrow::compute::take_record_batch(&input, &UInt64Array::from(vec![3, 2, 1, 0]));
            (back.unwrap(), [key(1, true)])
        } else {
            (input.clone(), [key(1, false)])
        };
        ints(&run(&input, &keys, &["count(*)"], Some(frame), 3, 1 << 20).unwrap(), "w0")
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
    };
    // DuckDB's: a month before 29 February is 29 January, a month behind 31 January is the 29th.
    assert_eq!(
        count("range between interval 1 month preceding and current row", false),
        [1, 2, 3, 4]
    );
    assert_eq!(
        count("range between current row and interval 1 month following", false),
        [2, 2, 2, 1]
    );
    assert_eq!(
        count("range between '2 hours' preceding and interval 2 hour following", false),
        [1, 1, 2, 2]
    );
    assert_eq!(
        count("range between interval '36' hour preceding and current row", true),
        [1, 2, 1, 2]
    );
}

#[test]
fn ranges_of_decimals_are_distances_of_their_values() {
    let decimals = Decimal128Array::from(vec![Some(100), Some(150), Some(151), Some(300), None])
        .with_precision_and_scale(10, 2)
        .unwrap();
    let input = one_partition(vec![("o", Arc::new(decimals) as ArrayRef)]);
    let frame = Some("range between 0.5 preceding and 0.505 following");
    let found = run(&input, &[key(1, false)], &["count(*)"], frame, 2, 1 << 20).unwrap();
    // 1.00 sees up to 1.505: 1.50; 1.51 begins at 1.01.
    assert_eq!(ints(&found, "w0"), [2, 3, 2, 1, 1].map(Some));
}

#[test]
fn ranges_of_floats_hold_infinities_and_nans_apart() {
    let floats =
        Float64Array::from(vec![f64::NEG_INFINITY, -1.0, -0.0, 0.0, f64::INFINITY, f64::NAN]);
    let input = one_partition(vec![("o", Arc::new(floats) as ArrayRef)]);
    let frame = Some("range between 1 preceding and 1 following");
    let found = run(&input, &[key(1, false)], &["count(*)"], frame, 2, 1 << 20).unwrap();
    assert_eq!(ints(&found, "w0"), [1, 3, 3, 3, 1, 1].map(Some));
}

#[test]
fn zeros_and_nans_of_any_sign_are_equal_rows() {
    let floats = Float64Array::from(vec![-0.0, 0.0, f64::NAN, -f64::NAN]);
    let input = one_partition(vec![("o", Arc::new(floats) as ArrayRef)]);
    let found = run(&input, &[key(1, false)], &["rank()"], None, 1, 1 << 20).unwrap();
    assert_eq!(ints(&found, "w0"), [1, 1, 3, 3].map(Some));
}

#[test]
fn sums_are_exact_beyond_64_bits_and_refused_beyond_their_type() {
    let numbers: ArrayRef =
        Arc::new(Int64Array::from(vec![i64::MAX, i64::MAX, -i64::MAX, -i64::MAX]));
    let input = one_partition(vec![("o", numbers)]);
    let whole = Some("rows between unbounded preceding and unbounded following");
    let found = run(&input, &[key(1, false)], &["sum(o)"], whole, 4, 1 << 20).unwrap();
    assert_eq!(ints(&found, "w0"), [Some(0); 4]);
    let error = run(&input, &[key(1, false)], &["sum(o)"], None, 4, 1 << 20).unwrap_err();
    let Error::Evaluate { reason } = error else { panic!("{error}") };
    assert_eq!(reason, "`sum(o)` is 18446744073709551614, which is beyond int64");
}

#[test]
fn decimals_of_38_digits_add_up_and_are_refused_beyond() {
    let most = 10_i128.pow(38) - 1;
    let decimals = |values: Vec<i128>| -> ArrayRef {
        Arc::new(Decimal128Array::from(values).with_precision_and_scale(38, 2).unwrap())
    };
    let frame = Some("rows between 3 preceding and current row");
    let sum = |values| {
        let input = one_partition(vec![("o", decimals(values))]);
        run(&input, &[key(1, false)], &["sum(o)"], frame, 4, 1 << 20)
    };
    // Two of them are beyond 128 bits, and all four together are not.
    let found = sum(vec![most, -most, -most, most]).unwrap();
    let sums = found.column(2).as_primitive::<arrow::datatypes::Decimal128Type>();
    assert_eq!(sums.values().to_vec(), [most, 0, -most, 0]);
    assert_eq!(*sums.data_type(), DataType::Decimal128(38, 2));
    for beyond in [vec![most, 1], vec![most, most], vec![-most, -most, -most, -most]] {
        assert!(matches!(sum(beyond), Err(Error::Evaluate { .. })));
    }
}

#[test]
fn values_of_any_type_are_looked_up_and_compared() {
    let items = Arc::new(Field::new("item", DataType::Int64, true));
    let values: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(2), Some(3)]));
    let offsets = arrow::buffer::OffsetBuffer::from_lengths([2, 0, 1, 1]);
    let nulls = arrow::buffer::NullBuffer::from(vec![true, true, false, true]);
    let lists: ArrayRef = Arc::new(ListArray::new(items, offsets, values, Some(nulls)));
    let order: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3, 4]));
    let input = one_partition(vec![("o", order), ("l", lists)]);
    let found =
        run(&input, &[key(1, false)], &["lag(l)", "last_value(l ignore nulls)"], None, 2, 1 << 20)
            .unwrap();
    let expected = |rows: [Option<u64>; 4]| {
        take(input.column(2), &UInt64Array::from(rows.to_vec()), None).unwrap()
    };
    assert_eq!(found.column(3), &expected([None, Some(0), Some(1), None]));
    assert_eq!(found.column(4), &expected([Some(0), Some(1), Some(1), Some(3)]));
}

#[test]
fn running_functions_hold_a_batch_and_others_a_partition_or_end_typed() {
    let count = 200_000_i64;
    let order: ArrayRef = Arc::new(Int64Array::from_iter_values(0..count));
    let input = one_partition(vec![("o", order)]);
    let budget = 1 << 20;
    let running = ["row_number()", "rank()", "lag(o)", "first_value(o)", "sum(o)"];
    let found = run(&input, &[key(1, false)], &running, None, 8_192, budget).unwrap();
    assert_eq!(found.num_rows(), 200_000);
    let ahead = run(&input, &[key(1, false)], &["lead(o)"], None, 8_192, budget).unwrap();
    assert_eq!(ints(&ahead, "w0")[199_998..], [Some(199_999), None]);
    let frame = Some("rows between current row and unbounded following");
    let error = run(&input, &[key(1, false)], &["sum(o)"], frame, 8_192, budget).unwrap_err();
    let Error::MemoryLimit { operator, budget_bytes, .. } = error else { panic!("{error}") };
    assert!(operator.starts_with("window over a partition of "), "{operator}");
    assert_eq!(budget_bytes, budget);
    let held = run(&input, &[key(1, false)], &["sum(o)"], frame, 8_192, 1 << 28).unwrap();
    assert_eq!(held.num_rows(), 200_000);
}

#[test]
fn a_wide_frame_takes_time_that_grows_with_the_rows_alone() {
    // 200,000 rows, each of which sees 100,000: row by row that would be 2 × 10¹⁰ steps.
    let count = 200_000_i64;
    let order: ArrayRef = Arc::new(Int64Array::from_iter_values(0..count));
    let input = one_partition(vec![("o", order)]);
    let frame = Some("rows between 50000 preceding and 50000 following");
    let functions = ["sum(o)", "min(o)", "avg(o)", "count(*)", "nth_value(o, 3)"];
    let found = run(&input, &[key(1, false)], &functions, frame, 8_192, 1 << 30).unwrap();
    let sums = ints(&found, "w0");
    assert_eq!(sums[100_000], Some((50_000..=150_000).sum()));
    assert_eq!(ints(&found, "w1")[199_999], Some(149_999));
}
