//! Every aggregate over every type, against the values that `DuckDB` gives for the same rows.
//!
//! `duckdb.txt` has an aggregate a paragraph, with its value for each `k` and, at `*`, for all rows.
//! The SQL differs from our text where `DuckDB` keeps nulls (`first`, `array_agg`) or follows no order:
//! there it says `filter (where x is not null)` and `order by ..., i`. `skewness(y)`, `kurtosis(y)` and
//! `mode` were computed with Python's fractions and counters, since `DuckDB`'s sums cancel there and
//! its choice among equals is another.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, ListBuilder, PrimitiveBuilder, RecordBatch, StringArray},
    compute::cast,
    datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit},
    util::display::array_value_to_string,
};
use proptest::prelude::*;
use tempfile::TempDir;

use super::{Rows, all, roomy, rows_of};
use crate::{
    Error, Result,
    disk::RealDisk,
    expr::{Aggregate, Expr, TIMESTAMP, aggregate, parse},
    memory::spill::tests::context,
    operators::{
        Batches,
        reduce_by_key::{FinalReduce, PartialReduce, state_fields},
    },
    plan::with_hash_column,
    task::context::TaskContext,
};

const DATA: &str = include_str!("data.csv");
const EXPECTED: &str = include_str!("duckdb.txt");

/// The rows of `data.csv`; an empty cell is null.
fn data() -> RecordBatch {
    let list = DataType::new_list(DataType::Int64, true);
    let types = [
        ("i", DataType::Int64),
        ("k", DataType::Utf8View),
        ("n", DataType::Int64),
        ("u", DataType::UInt64),
        ("w", DataType::Int8),
        ("x", DataType::Float64),
        ("y", DataType::Float64),
        ("f", DataType::Float32),
        ("d", DataType::Decimal128(9, 2)),
        ("e", DataType::Decimal128(38, 4)),
        ("day", DataType::Date32),
        ("t", TIMESTAMP),
        ("s", DataType::Utf8View),
        ("ok", DataType::Boolean),
        ("bin", DataType::BinaryView),
        ("l", list),
        ("dur", DataType::Duration(TimeUnit::Microsecond)),
    ];
    let lines: Vec<Vec<&str>> =
        DATA.lines().skip(1).map(|line| line.split(';').collect()).collect();
    let column = |(index, (_, of)): (usize, &(&str, DataType))| -> ArrayRef {
        let cells = lines.iter().map(|cells| Some(cells[index]).filter(|cell| !cell.is_empty()));
        if of.is_nested() {
            let mut lists = ListBuilder::new(PrimitiveBuilder::<Int64Type>::new());
            for cell in cells {
                let values = cell.map(|cell| cell.split('|').map(|n| Some(n.parse().unwrap())));
                lists.append_option(values);
            }
            return Arc::new(lists.finish());
        }
        let texts: ArrayRef = Arc::new(cells.collect::<StringArray>());
        let texts = match of {
            DataType::Duration(_) => cast(&texts, &DataType::Int64).unwrap(),
            _ => texts,
        };
        cast(&texts, of).unwrap()
    };
    let columns = types.iter().enumerate().map(column).collect();
    let fields = types.iter().map(|(name, of)| Field::new(*name, of.clone(), true));
    RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns).unwrap()
}

/// How the rows come: in batches of so many, the batches spread over so many tasks in their order.
#[derive(Clone, Copy, Debug)]
struct Way {
    batch_rows: usize,
    tasks: usize,
    least_bytes: u64,
}

const WHOLE: Way = Way { batch_rows: 8192, tasks: 1, least_bytes: 1 << 20 };

fn reduce(
    rows: &RecordBatch,
    keys: &[&str],
    aggregates: &[Aggregate],
    way: Way,
    context: &TaskContext,
) -> Result<Vec<RecordBatch>> {
    let schema = rows.schema();
    let key = |name: &&str| parse::column(&schema, schema.index_of(name).unwrap());
    let keys: Vec<Expr> = keys.iter().map(key).collect();
    let names: Vec<String> = (0..aggregates.len()).map(|n| format!("a{n}")).collect();
    let mut fields: Vec<Field> =
        keys.iter().map(|of| Field::new("key", of.data_type(), true)).collect();
    let mut finals = fields.clone();
    fields.extend(state_fields(aggregates, &names).unwrap());
    let states = with_hash_column(&Schema::new(fields));
    for (aggregate, name) in aggregates.iter().zip(&names) {
        finals.push(Field::new(name, aggregate.data_type.clone(), true));
    }
    let starts = (0..rows.num_rows()).step_by(way.batch_rows);
    let batches: Vec<RecordBatch> = starts
        .map(|start| rows.slice(start, way.batch_rows.min(rows.num_rows() - start)))
        .collect();
    let mut partial = Vec::new();
    let shares = batches.chunks(batches.len().div_ceil(way.tasks).max(1));
    for (partition, share) in (0u32..).zip(shares) {
        let input = Box::new(Batches::new(share.to_vec()));
        let (keys, aggregates) = (keys.clone(), aggregates.to_vec());
        let task = PartialReduce::new(input, keys, aggregates, Arc::clone(&states), context);
        let mut task = task.of_partition(partition);
        task.least_bytes = way.least_bytes;
        task.probed_rows = if partition % 2 == 1 { 1 } else { task.probed_rows };
        partial.extend(all(task)?);
    }
    // States come from the tasks in any order.
    partial.reverse();
    let finals: SchemaRef = Arc::new(Schema::new(finals));
    let input = Box::new(Batches::new(partial));
    let mut task = FinalReduce::new(input, keys.len(), aggregates.to_vec(), finals, context);
    task.least_bytes = way.least_bytes;
    all(task)
}

/// The paragraphs of `duckdb.txt`: an aggregate, and its values by `k`.
fn expected() -> Vec<(&'static str, Vec<(&'static str, &'static str)>)> {
    let mut paragraphs = Vec::new();
    for line in EXPECTED.lines() {
        match line.strip_prefix("  ") {
            None => paragraphs.push((line, Vec::new())),
            Some(pair) => {
                let pair = pair.split_once('\t').unwrap();
                paragraphs.last_mut().unwrap().1.push(pair);
            }
        }
    }
    paragraphs
}

/// Whether two texts are the same value; floats to the last digits, which differ from sum to sum.
fn is_same(found: &str, expected: &str, of: &DataType) -> bool {
    match (found.parse::<f64>(), expected.parse::<f64>()) {
        (Ok(found), Ok(expected)) if of.is_floating() => {
            let scale = found.abs().max(expected.abs()).max(1e-300);
            found.to_bits() == expected.to_bits()
                || (found.is_nan() && expected.is_nan())
                || (found - expected).abs() / scale < 1e-8
        }
        _ => found == expected,
    }
}

fn text_of(column: &ArrayRef, row: usize) -> String {
    if column.is_null(row) {
        return String::from("null");
    }
    match column.data_type() {
        DataType::Duration(_) => {
            array_value_to_string(&cast(column, &DataType::Int64).unwrap(), row).unwrap()
        }
        DataType::BinaryView => {
            array_value_to_string(&cast(column, &DataType::Utf8View).unwrap(), row).unwrap()
        }
        _ => array_value_to_string(column, row).unwrap(),
    }
}

#[test]
fn values_are_those_of_duckdb() {
    let rows = data();
    let folder = TempDir::new().unwrap();
    let context = roomy(&folder);
    let paragraphs = expected();
    let bind = |text: &str| aggregate::parse(text, &rows.schema());
    let aggregates: Vec<Aggregate> = paragraphs
        .iter()
        .map(|(text, _)| bind(text).unwrap_or_else(|error| panic!("{text}: {error:?}")))
        .collect();
    let mut wrong = Vec::new();
    for (keys, is_all) in [(&["k"][..], false), (&[], true)] {
        let way = Way { batch_rows: 17, tasks: 3, least_bytes: 1 << 20 };
        let groups = reduce(&rows, keys, &aggregates, way, &context).unwrap();
        for group in &groups {
            for row in 0..group.num_rows() {
                let key = if is_all { String::from("*") } else { text_of(group.column(0), row) };
                for (index, (text, values)) in paragraphs.iter().enumerate() {
                    let column = group.column(index + keys.len());
                    let found = text_of(column, row);
                    let (_, value) = values.iter().find(|(known, _)| *known == key).unwrap();
                    if !is_same(&found, value, column.data_type()) {
                        wrong.push(format!("{text} of {key}: {found} instead of {value}"));
                    }
                }
            }
        }
        assert_eq!(
            groups.iter().map(RecordBatch::num_rows).sum::<usize>(),
            if is_all { 1 } else { 5 }
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// All aggregates of `duckdb.txt`, with some for which it has none.
fn all_aggregates(schema: &Schema) -> Vec<Aggregate> {
    let more = [
        "approx_quantile(x, 0.3)",
        "approx_quantile(n, 0.9)",
        "mode(l)",
        "min_by(bin, f)",
        "count(distinct bin)",
        "sum(distinct e)",
        "avg(dur)",
        "array_agg(distinct bin)",
        "array_agg(dur order by ok)",
        "last(bin order by f)",
    ];
    let texts = expected().into_iter().map(|(text, _)| text).chain(more);
    texts.filter_map(|text| aggregate::parse(text, schema).ok()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn values_do_not_depend_on_how_rows_come_or_on_memory(
        batch_rows in 1usize..60,
        tasks in 1usize..6,
        budget_bytes in prop::sample::select(vec![1, 30_000, 300_000, u64::MAX]),
        keys in prop::sample::subsequence(
            vec!["k", "n", "x", "d", "e", "day", "t", "s", "ok", "bin", "l", "dur"], 0..3),
        chosen in prop::collection::vec(any::<prop::sample::Index>(), 20),
    ) {
        let rows = data();
        let known = all_aggregates(&rows.schema());
        let aggregates: Vec<Aggregate> =
            chosen.iter().map(|index| index.get(&known).clone()).collect();
        let folder = TempDir::new().unwrap();
        let all_memory = roomy(&folder);
        let whole = reduce(&rows, &keys, &aggregates, WHOLE, &all_memory).unwrap();
        let context = context(RealDisk::shared(), folder.path(), budget_bytes);
        let way = Way { batch_rows, tasks, least_bytes: 0 };
        let parts = reduce(&rows, &keys, &aggregates, way, &context).unwrap();
        let (all_rows, part_rows): (Rows, Rows) = (rows_of(&whole), rows_of(&parts));
        for (of_all, of_parts) in all_rows.iter().zip(&part_rows) {
            for (index, (one, part)) in of_all.iter().zip(of_parts).enumerate() {
                let of = index.checked_sub(keys.len()).map(|at| aggregates[at].to_string());
                prop_assert_eq!(one, part, "{:?}", of);
            }
        }
        prop_assert_eq!(all_rows.len(), part_rows.len());
        prop_assert_eq!(context.budget.used_bytes(), 0);
    }
}

#[test]
fn no_rows_without_a_key_are_one_row() {
    let rows = data();
    let schema = rows.schema();
    let folder = TempDir::new().unwrap();
    let context = roomy(&folder);
    let aggregates = all_aggregates(&schema);
    let groups = reduce(&rows.slice(0, 0), &[], &aggregates, WHOLE, &context).unwrap();
    let found = rows_of(&groups);
    assert_eq!(found.len(), 1);
    for (aggregate, value) in aggregates.iter().zip(&found[0]) {
        let is_count = ["count(", "approx_count_distinct("]
            .iter()
            .any(|name| aggregate.to_string().starts_with(name));
        assert_eq!(value.as_deref(), is_count.then_some("0"), "{aggregate}");
    }
    assert!(reduce(&rows.slice(0, 0), &["k"], &aggregates, WHOLE, &context).unwrap().is_empty());
}

#[test]
fn a_filter_keeps_arguments_from_being_evaluated() {
    let rows = data();
    let folder = TempDir::new().unwrap();
    let context = roomy(&folder);
    let reduce = |text: &str| {
        let aggregate = aggregate::parse(text, &rows.schema()).unwrap();
        reduce(&rows, &[], &[aggregate], WHOLE, &context)
    };
    assert!(reduce("sum(10 div (i - 3)) filter (where i <> 3)").is_ok());
    assert!(matches!(reduce("sum(10 div (i - 3))"), Err(Error::Evaluate { .. })));
}

#[test]
fn values_of_one_group_beyond_half_of_the_budget_are_a_memory_limit() {
    let text = "x".repeat(1 << 20);
    let plain: StringArray = (0..48).map(|n| Some(format!("{text}{n}"))).collect();
    let texts = cast(&(Arc::new(plain) as ArrayRef), &DataType::Utf8View).unwrap();
    let rows = RecordBatch::try_from_iter_with_nullable([("s", texts, true)]).unwrap();
    let way = Way { batch_rows: 2, tasks: 1, least_bytes: 0 };
    for call in ["array_agg(s)", "count(distinct s)", "mode(s)"] {
        let aggregate = aggregate::parse(call, &rows.schema()).unwrap();
        let folder = TempDir::new().unwrap();
        let small = context(RealDisk::shared(), folder.path(), 20 << 20);
        let result = reduce(&rows, &[], std::slice::from_ref(&aggregate), way, &small);
        assert!(matches!(result, Err(Error::MemoryLimit { .. })), "{call}: {result:?}");
        // Groups of their own go to disk.
        let keyed = reduce(&rows, &["s"], &[aggregate], way, &small).unwrap();
        assert_eq!(rows_of(&keyed).len(), 48);
    }
}

#[test]
fn long_lists_come_in_pieces_and_everything_else_once() {
    let text = "x".repeat(30_000);
    let plain: StringArray = (0..60).map(|n| Some(format!("{text}{n}"))).collect();
    let column = cast(&(Arc::new(plain) as ArrayRef), &DataType::Utf8View).unwrap();
    let numbers = Arc::new(arrow::array::Int64Array::from_iter_values(0..60)) as ArrayRef;
    let rows =
        RecordBatch::try_from_iter_with_nullable([("s", column, true), ("n", numbers, true)]);
    let rows = rows.unwrap();
    let texts = [
        "count(*)",
        "sum(n)",
        "avg(n)",
        "min(n)",
        "last(n)",
        "median(n)",
        "stddev_pop(n)",
        "approx_count_distinct(n)",
        "count(distinct s)",
        "array_agg(s)",
        "string_agg(s)",
        "mode(s)",
        "quantile_disc(n, 0.5)",
        "bit_xor(n)",
        "max(s)",
    ];
    let aggregates: Vec<Aggregate> =
        texts.iter().map(|each| aggregate::parse(each, &rows.schema()).unwrap()).collect();
    let folder = TempDir::new().unwrap();
    for budget_bytes in [u64::MAX, 1] {
        let context = context(RealDisk::shared(), folder.path(), budget_bytes);
        let way = Way { batch_rows: 25, tasks: 2, least_bytes: 0 };
        let groups = reduce(&rows, &[], &aggregates, way, &context).unwrap();
        let found = rows_of(&groups).remove(0).into_iter().map(Option::unwrap);
        let found: Vec<String> = found.collect();
        assert_eq!(found[..5], ["60", "1770", "29.5", "0", "59"]);
        assert_eq!(
            (&found[5..7], &*found[8]),
            (&["29.5", "17.318102282486574"].map(String::from)[..], "60")
        );
        let approximate: u64 = found[7].parse().unwrap();
        assert!((58..=62).contains(&approximate), "{approximate}");
        assert_eq!(found[9].matches('x').count(), 1_800_000);
        assert!(found[10].starts_with(&text) && found[10].ends_with("x59"));
        assert_eq!(found[10].matches(',').count(), 59);
        assert!(found[11].ends_with("x0") && found[14].ends_with("x9"));
        assert_eq!(found[12..14], ["29", "0"]);
    }
}

#[test]
fn examples_of_the_table_give_what_it_says() {
    use crate::expr::aggregate::signature::EXAMPLE_ROWS;
    let lines: Vec<Vec<&str>> =
        EXAMPLE_ROWS.lines().skip(1).map(|line| line.split(',').collect()).collect();
    let types = [
        ("n", DataType::Int64),
        ("x", DataType::Float64),
        ("s", DataType::Utf8View),
        ("ok", DataType::Boolean),
    ];
    let columns = types.iter().enumerate().map(|(index, (name, of))| {
        let cells = lines.iter().map(|cells| Some(cells[index]).filter(|cell| !cell.is_empty()));
        let texts: ArrayRef = Arc::new(cells.collect::<StringArray>());
        (*name, cast(&texts, of).unwrap(), true)
    });
    let rows = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let folder = TempDir::new().unwrap();
    let context = roomy(&folder);
    for definition in &aggregate::AGGREGATES {
        let bound = aggregate::parse(definition.example, &rows.schema());
        let bound = bound.unwrap_or_else(|error| panic!("{}: {error:?}", definition.example));
        let of = bound.data_type.clone();
        let groups = reduce(&rows, &[], &[bound], WHOLE, &context).unwrap();
        let found = text_of(groups[0].column(0), 0);
        let is_right = if of.is_floating() {
            is_same(&found, definition.example_result, &of)
        } else {
            found == definition.example_result
        };
        assert!(
            is_right,
            "{}: {found} instead of {}",
            definition.example, definition.example_result
        );
    }
}

#[test]
fn sums_beyond_their_type_say_so() {
    let folder = TempDir::new().unwrap();
    let context = roomy(&folder);
    let sum = |values: ArrayRef| {
        let rows = RecordBatch::try_from_iter_with_nullable([("v", values, true)]).unwrap();
        let aggregate = aggregate::parse("sum(v)", &rows.schema()).unwrap();
        let way = Way { batch_rows: 1, tasks: 2, least_bytes: 0 };
        reduce(&rows, &[], &[aggregate], way, &context)
            .map(|groups| text_of(groups[0].column(0), 0))
    };
    let decimal = |values: Vec<i128>| -> ArrayRef {
        let array = arrow::array::Decimal128Array::from(values);
        Arc::new(array.with_precision_and_scale(38, 2).unwrap())
    };
    let most = 10i128.pow(38) - 1;
    assert_eq!(
        sum(decimal(vec![most, most])).unwrap_err().to_string(),
        format!(
            "sum `a0` is 1{}.98, which is beyond {}",
            "9".repeat(36),
            parse::type_name(&DataType::Decimal128(38, 2))
        )
    );
    assert_eq!(sum(decimal(vec![most, most, -most])).unwrap(), format!("{}.99", "9".repeat(36)));
    let unsigned = |values: Vec<u64>| Arc::new(arrow::array::UInt64Array::from(values)) as ArrayRef;
    assert_eq!(sum(unsigned(vec![u64::MAX])).unwrap(), u64::MAX.to_string());
    assert_eq!(
        sum(unsigned(vec![u64::MAX, 1])).unwrap_err().to_string(),
        format!(
            "sum `a0` is 18446744073709551616, which is beyond {}",
            parse::type_name(&DataType::UInt64)
        )
    );
}

#[test]
fn moments_stand_far_from_zero_and_close_together() {
    let folder = TempDir::new().unwrap();
    let context = roomy(&folder);
    let value = |values: Vec<f64>, text: &str| {
        let values = Arc::new(arrow::array::Float64Array::from(values)) as ArrayRef;
        let rows = RecordBatch::try_from_iter_with_nullable([("v", values, true)]).unwrap();
        let aggregate = aggregate::parse(text, &rows.schema()).unwrap();
        let groups = reduce(&rows, &[], &[aggregate], WHOLE, &context).unwrap();
        text_of(groups[0].column(0), 0)
    };
    // 1, 2, 3 and 4 behind 10⁹ and 10¹⁵: 5/3 is the variance.
    for far in [0.0, 1e9, 1e15] {
        let values = (1..=4).map(|n| far + f64::from(n)).collect();
        assert_eq!(value(values, "variance(v)"), "1.6666666666666667");
    }
    for (text, expected) in [("kurtosis(v)", -1.2), ("skewness(v)", 0.0)] {
        let found = value((1..=4).map(|n| 1e6 + f64::from(n)).collect(), text);
        assert!((found.parse::<f64>().unwrap() - expected).abs() < 1e-3, "{text}: {found}");
    }
    assert_eq!(value(vec![0.1; 10], "stddev(v)"), "0.0");
    assert_eq!(value(vec![1e200, -1e200], "variance(v)"), "inf");
    assert_eq!(value(vec![f64::NAN, 1.0], "variance(v)"), "NaN");
    assert_eq!(value(vec![1.0], "variance(v)"), "null");
    assert_eq!(value(vec![1.0], "var_pop(v)"), "0.0");
}

#[test]
fn approximate_aggregates_keep_their_promise() {
    let folder = TempDir::new().unwrap();
    let context = roomy(&folder);
    let count = 100_000i32;
    let values: ArrayRef = Arc::new(
        (0..count).map(|n| Some(f64::from(n) - 1000.0)).collect::<arrow::array::Float64Array>(),
    );
    let rows = RecordBatch::try_from_iter_with_nullable([("v", values, true)]).unwrap();
    for (text, exact, error) in [
        ("approx_count_distinct(v)", 100_000.0, 0.04),
        ("approx_quantile(v, 0.5)", 48_999.0, 0.004),
        ("approx_quantile(v, 0.001)", -901.0, 0.004),
        ("approx_quantile(v, 1)", 98_999.0, 0.004),
    ] {
        let aggregate = aggregate::parse(text, &rows.schema()).unwrap();
        let mut found = Vec::new();
        for tasks in [1, 5] {
            let way = Way { batch_rows: 8192, tasks, least_bytes: 0 };
            let groups = reduce(&rows, &[], std::slice::from_ref(&aggregate), way, &context);
            found.push(text_of(groups.unwrap()[0].column(0), 0));
        }
        assert_eq!(found[0], found[1]);
        let value: f64 = found[0].parse().unwrap();
        assert!((value - exact).abs() <= error * exact.abs(), "{text}: {value}");
    }
}
