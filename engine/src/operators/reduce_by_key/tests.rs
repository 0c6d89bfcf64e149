//! Groups and values against a model, whatever the budget.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch,
        StringViewArray, TimestampMicrosecondArray, UInt64Array,
    },
    datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, UInt64Type},
    util::display::array_value_to_string,
};
use proptest::prelude::*;
use tempfile::TempDir;

use super::{FinalReduce, PartialReduce, state_fields};
use crate::{
    Error, Result,
    disk::{Disk, RealDisk},
    expr::{Aggregate, AggregateFunction, Expr, TIMESTAMP},
    kernels::scatter::bucket_of,
    memory::spill::tests::{FaultyDisk, context},
    operators::{Batches, Operator},
    plan::with_hash_column,
    task::context::TaskContext,
};

mod aggregates;

/// Rows as text, nulls apart, sorted: no order is defined.
type Rows = Vec<Vec<Option<String>>>;

fn rows_of(batches: &[RecordBatch]) -> Rows {
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let text = |column: &ArrayRef| {
                column.is_valid(row).then(|| array_value_to_string(column, row).unwrap())
            };
            rows.push(batch.columns().iter().map(text).collect());
        }
    }
    rows.sort();
    rows
}

fn all(mut operator: impl Operator) -> Result<Vec<RecordBatch>> {
    let mut batches = Vec::new();
    while let Some(batch) = operator.next()? {
        assert!((1..=8192).contains(&batch.num_rows()));
        batches.push(batch);
    }
    assert!(operator.next()?.is_none());
    Ok(batches)
}

fn column(schema: &Schema, index: usize) -> Expr {
    let field = schema.field(index);
    let (name, data_type) = (field.name().clone(), field.data_type().clone());
    Expr::Column { index, name, data_type }
}

/// A reduction and how it is run: `tasks` map tasks of equal shares of the batches.
struct Reduction<'a> {
    context: &'a TaskContext,
    keys: &'a [usize],
    aggregates: &'a [(AggregateFunction, Option<usize>)],
    least_bytes: u64,
    tasks: usize,
}

impl Reduction<'_> {
    fn aggregates(&self, schema: &Schema) -> Vec<Aggregate> {
        self.aggregates
            .iter()
            .map(|(function, argument)| {
                let argument = argument.map(|index| column(schema, index));
                Aggregate::new(*function, argument.into_iter().collect()).unwrap()
            })
            .collect()
    }

    fn run(&self, batches: &[RecordBatch]) -> Result<Vec<RecordBatch>> {
        let schema = batches[0].schema();
        let aggregates = self.aggregates(&schema);
        let keys: Vec<Expr> = self.keys.iter().map(|index| column(&schema, *index)).collect();
        let names: Vec<String> = (0..aggregates.len()).map(|n| format!("a{n}")).collect();
        let mut fields: Vec<Field> =
            self.keys.iter().map(|index| schema.field(*index).clone()).collect();
        let mut finals = fields.clone();
        fields.extend(state_fields(&aggregates, &names).unwrap());
        let states = with_hash_column(&Schema::new(fields));
        for (aggregate, name) in aggregates.iter().zip(&names) {
            finals.push(Field::new(name, aggregate.data_type.clone(), true));
        }
        let mut partial = Vec::new();
        let shares = batches.chunks(batches.len().div_ceil(self.tasks));
        for (number, share) in shares.enumerate() {
            let input = Box::new(Batches::new(share.to_vec()));
            let mut task = PartialReduce::new(
                input,
                keys.clone(),
                aggregates.clone(),
                Arc::clone(&states),
                self.context,
            );
            task.least_bytes = self.least_bytes;
            // Some tasks soon hand rows on as they are.
            task.probed_rows = if number % 2 == 1 { 1 } else { task.probed_rows };
            partial.extend(all(task)?);
        }
        let input = Box::new(Batches::new(partial));
        let finals: SchemaRef = Arc::new(Schema::new(finals));
        let mut task = FinalReduce::new(input, self.keys.len(), aggregates, finals, self.context);
        task.least_bytes = self.least_bytes;
        all(task)
    }
}

#[test]
fn groups_for_an_exchange_come_bucket_after_bucket_and_there_as_they_came() {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
    let batch = |first: i64| {
        let numbers: Int64Array = (first..first + 8_000).map(Some).collect();
        RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(numbers)]).unwrap()
    };
    let input = Box::new(Batches::new(vec![batch(0), batch(8_000), batch(0), batch(16_000)]));
    let count = Aggregate::new(Count, Vec::new()).unwrap();
    let mut fields = vec![schema.field(0).clone()];
    fields.extend(state_fields(std::slice::from_ref(&count), &["a"]).unwrap());
    let states = with_hash_column(&Schema::new(fields));
    let folder = TempDir::new().unwrap();
    let context = roomy(&folder);
    let task = PartialReduce::new(input, vec![column(&schema, 0)], vec![count], states, &context);
    let batches = all(task.for_buckets(5)).unwrap();
    let mut found: Vec<(u32, i64)> = Vec::new();
    for groups in &batches {
        let numbers = groups.column(0).as_primitive::<Int64Type>();
        let hashes = groups.column(2).as_primitive::<UInt64Type>();
        let buckets = hashes.values().iter().map(|hash| bucket_of(*hash, 5));
        found.extend(buckets.zip(numbers.values().iter().copied()));
    }
    assert_eq!(found.len(), 24_000);
    assert!(found.is_sorted());
    assert_eq!(context.budget.used_bytes(), 0);
}

fn roomy(folder: &TempDir) -> TaskContext {
    context(RealDisk::shared(), folder.path(), u64::MAX)
}

type Row = (Option<String>, Option<i64>, Option<f64>, Option<bool>, Option<i32>);

fn batch(rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.0.as_deref()).collect::<StringViewArray>()),
        Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|row| row.3).collect::<BooleanArray>()),
        Arc::new(rows.iter().map(|row| row.4).collect::<Date32Array>()),
        Arc::new(
            rows.iter().map(|row| row.4.map(i64::from)).collect::<TimestampMicrosecondArray>(),
        ),
    ];
    let fields = vec![
        Field::new("text", DataType::Utf8View, true),
        Field::new("int", DataType::Int64, true),
        Field::new("float", DataType::Float64, true),
        Field::new("bool", DataType::Boolean, true),
        Field::new("date", DataType::Date32, true),
        Field::new("time", TIMESTAMP, true),
    ];
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn texts() -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        1 => Just(None),
        1 => Just(Some(String::new())),
        4 => "[ab]{1,2}".prop_map(Some),
        2 => "a long common prefix [ab]{1,3}".prop_map(Some),
        2 => "[a,\"\n\r;ñ]{0,14}".prop_map(Some),
    ]
}

/// Floats whose plain sums are exact, so that any model will do.
fn floats() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => (-40..40i32).prop_map(|quarter| f64::from(quarter) / 4.0),
        1 => prop::sample::select(vec![-0.0, f64::NAN, -f64::NAN, f64::INFINITY, -f64::INFINITY]),
    ]
}

/// A value of the model, as arrow shows it.
fn shown(array: impl Array + 'static) -> Option<String> {
    array.is_valid(0).then(|| array_value_to_string(&array, 0).unwrap())
}

/// One NaN and one zero, as the engine has them.
fn canonical(value: f64) -> f64 {
    if value.is_nan() { f64::NAN } else { value + 0.0 }
}

/// The aggregates of [`ALL`] over the rows of one group.
fn model(rows: &[&Row]) -> Vec<Option<String>> {
    let count = |n: usize| Some(n.to_string());
    let ints: Vec<i64> = rows.iter().filter_map(|row| row.1).collect();
    let mut floats: Vec<f64> = rows.iter().filter_map(|row| row.2.map(canonical)).collect();
    floats.sort_by(f64::total_cmp);
    let texts: Vec<&String> = rows.iter().filter_map(|row| row.0.as_ref()).collect();
    let bools: Vec<bool> = rows.iter().filter_map(|row| row.3).collect();
    let dates: Vec<i32> = rows.iter().filter_map(|row| row.4).collect();
    let int_sum = (!ints.is_empty()).then(|| ints.iter().sum::<i64>());
    let float_sum = (!floats.is_empty()).then(|| floats.iter().sum::<f64>() + 0.0);
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let (int_average, float_average) = (
        int_sum.map(|sum| sum as f64 / ints.len() as f64),
        float_sum.map(|sum| sum / floats.len() as f64),
    );
    let float = |value: Option<f64>| shown(Float64Array::from(vec![value]));
    let date = |value: Option<&i32>| shown(Date32Array::from(vec![value.copied()]));
    let time = |value: Option<&i32>| {
        shown(TimestampMicrosecondArray::from(vec![value.map(|value| i64::from(*value))]))
    };
    vec![
        count(rows.len()),
        count(ints.len()),
        int_sum.map(|sum| sum.to_string()),
        float(int_average),
        ints.iter().min().map(i64::to_string),
        ints.iter().max().map(i64::to_string),
        float(float_sum),
        float(float_average),
        float(floats.first().copied()),
        float(floats.last().copied()),
        count(texts.len()),
        texts.iter().min().map(|text| (*text).clone()),
        texts.iter().max().map(|text| (*text).clone()),
        bools.iter().min().map(bool::to_string),
        bools.iter().max().map(bool::to_string),
        date(dates.iter().min()),
        time(dates.iter().max()),
    ]
}

use AggregateFunction::{Avg, Count, Max, Min, Sum};

const ALL: [(AggregateFunction, Option<usize>); 17] = [
    (Count, None),
    (Count, Some(1)),
    (Sum, Some(1)),
    (Avg, Some(1)),
    (Min, Some(1)),
    (Max, Some(1)),
    (Sum, Some(2)),
    (Avg, Some(2)),
    (Min, Some(2)),
    (Max, Some(2)),
    (Count, Some(0)),
    (Min, Some(0)),
    (Max, Some(0)),
    (Min, Some(3)),
    (Max, Some(3)),
    (Min, Some(4)),
    (Max, Some(5)),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn groups_and_values_are_those_of_a_model_whatever_the_budget(
        rows in prop::collection::vec((
            texts(),
            prop::option::of(-3..4i64),
            prop::option::weighted(0.8, floats()),
            any::<Option<bool>>(),
            prop::option::of(-2..3i32),
        ), 1..250),
        keys in prop::sample::subsequence(vec![0, 1, 2, 3, 4], 0..=3),
        batch_rows in 1usize..40,
        tasks in 1usize..4,
    ) {
        let mut groups: BTreeMap<Vec<Option<String>>, Vec<&Row>> = BTreeMap::new();
        for row in &rows {
            let all = [
                row.0.clone(),
                row.1.map(|value| value.to_string()),
                shown(Float64Array::from(vec![row.2.map(canonical)])),
                row.3.map(|value| value.to_string()),
                shown(Date32Array::from(vec![row.4])),
            ];
            let key = keys.iter().map(|key| all[*key].clone()).collect();
            groups.entry(key).or_default().push(row);
        }
        let mut expected: Rows = groups
            .into_iter()
            .map(|(key, members)| [key, model(&members)].concat())
            .collect();
        expected.sort();
        let batches: Vec<RecordBatch> = rows.chunks(batch_rows).map(batch).collect();
        for (budget_bytes, least_bytes) in [(u64::MAX, 0), (1, 0), (30_000, 0), (1, 20_000)] {
            let folder = TempDir::new().unwrap();
            let context = context(RealDisk::shared(), folder.path(), budget_bytes);
            let reduction =
                Reduction { context: &context, keys: &keys, aggregates: &ALL, least_bytes, tasks };
            prop_assert_eq!(rows_of(&reduction.run(&batches).unwrap()), expected.clone());
            prop_assert_eq!(context.budget.used_bytes(), 0);
        }
    }
}

/// `rows` rows in batches, with `n % distinct` as number and as text.
fn numbered(rows: i64, distinct: i64) -> Vec<RecordBatch> {
    let fields =
        vec![Field::new("n", DataType::Int64, true), Field::new("t", DataType::Utf8View, true)];
    let schema = Arc::new(Schema::new(fields));
    let all: Vec<i64> = (0..rows).map(|n| n % distinct).collect();
    all.chunks(8192)
        .map(|numbers| {
            let texts: StringViewArray =
                numbers.iter().map(|n| Some(format!("a key that is long, no. {n}"))).collect();
            let numbers = Int64Array::from(numbers.to_vec());
            let columns: Vec<ArrayRef> = vec![Arc::new(numbers), Arc::new(texts)];
            RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()
        })
        .collect()
}

#[test]
fn a_small_budget_spills_stays_near_it_and_leaves_nothing_behind() {
    let batches = numbered(120_000, 60_000);
    for (keys, budget_bytes) in [(vec![0], 2 << 20), (vec![1], 4 << 20), (vec![0, 1], 4 << 20)] {
        let run = |context: &TaskContext| {
            let aggregates = &[(Count, None), (Sum, Some(0)), (Max, Some(1))];
            let reduction =
                Reduction { context, keys: &keys, aggregates, least_bytes: 1 << 20, tasks: 2 };
            rows_of(&reduction.run(&batches).unwrap())
        };
        let folder = TempDir::new().unwrap();
        let disk = FaultyDisk::counting();
        let small = context(Arc::clone(&disk) as Arc<dyn Disk>, folder.path(), budget_bytes);
        let rows = run(&small);
        assert_eq!(rows.len(), 60_000);
        assert!(small.spilled_bytes.load(Ordering::Relaxed) > 0);
        assert_eq!(disk.file_count(), 0);
        let peak = small.budget.peak_bytes();
        assert!(peak <= budget_bytes + (1 << 20), "{peak} of {budget_bytes} bytes");
        let roomy = roomy(&folder);
        assert_eq!(rows, run(&roomy));
        assert_eq!(roomy.spilled_bytes.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn a_disk_that_fails_while_spilling_fails_the_task_and_leaves_nothing_behind() {
    let batches = numbered(100, 100);
    let mut failures = 0;
    for writes in (0..).map(|n| n * n / 4) {
        let folder = TempDir::new().unwrap();
        let disk = FaultyDisk::failing_after(writes);
        let context = context(Arc::clone(&disk) as Arc<dyn Disk>, folder.path(), 1);
        let aggregates = &[(Count, None)];
        let reduction =
            Reduction { context: &context, keys: &[1], aggregates, least_bytes: 0, tasks: 1 };
        // The partial step gives two batches; the second makes the final one spill the first.
        let twice = [batches.clone(), batches.clone()].concat();
        let result = reduction.run(&twice);
        assert_eq!(disk.file_count(), 0);
        match result {
            Ok(groups) => {
                assert_eq!(rows_of(&groups).len(), 100);
                break;
            }
            Err(error) => {
                assert!(matches!(error, Error::Io { .. }), "{error}");
                failures += 1;
            }
        }
    }
    assert!(failures > 0);
}

#[test]
fn keys_of_a_megabyte_survive_a_spill() {
    let wide: Vec<Row> = (0..40)
        .map(|n: i64| {
            let text = format!("{},\"\n{}", "x".repeat(1 << 20), n % 8);
            (Some(text), Some(n), None, None, None)
        })
        .collect();
    let batches: Vec<RecordBatch> = wide.chunks(4).map(batch).collect();
    let folder = TempDir::new().unwrap();
    let context = context(RealDisk::shared(), folder.path(), 1);
    let aggregates = &[(Count, None), (Max, Some(0)), (Sum, Some(1))];
    let reduction =
        Reduction { context: &context, keys: &[0], aggregates, least_bytes: 0, tasks: 1 };
    let rows = rows_of(&reduction.run(&batches).unwrap());
    assert!(context.spilled_bytes.load(Ordering::Relaxed) > 8 << 20);
    assert_eq!(rows.len(), 8);
    for (n, row) in (0i64..).zip(&rows) {
        let text = format!("{},\"\n{n}", "x".repeat(1 << 20));
        assert_eq!((&row[0], &row[2]), (&Some(text.clone()), &Some(text)));
        // n, n + 8, …, n + 32
        let sum = 5 * n + 80;
        assert_eq!((&row[1], &row[3]), (&Some("5".to_owned()), &Some(sum.to_string())));
    }
}

#[test]
fn groups_of_one_hash_are_merged_though_no_split_parts_them() {
    let fields = vec![Field::new("n", DataType::Int64, true)];
    let count = Aggregate::new(Count, Vec::new()).unwrap();
    let aggregates = vec![count];
    let with_states = [fields.clone(), state_fields(&aggregates, &["count"]).unwrap()].concat();
    let schema = with_hash_column(&Schema::new(with_states));
    let states = |first: i64, hash: fn(i64) -> u64| {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(first..first + 500)),
            Arc::new(Int64Array::from(vec![2; 500])),
            Arc::new(UInt64Array::from_iter_values((first..first + 500).map(hash))),
        ];
        RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()
    };
    let constant = |_| 5;
    // Two hashes that differ in one bit, which only a late split finds.
    let two = |n: i64| 5 | u64::from(n % 2 == 0) << 63;
    let mut output = fields;
    output.push(Field::new("count", DataType::Int64, true));
    let output: SchemaRef = Arc::new(Schema::new(output));
    for hash in [constant, two] {
        let folder = TempDir::new().unwrap();
        let context = context(RealDisk::shared(), folder.path(), 1);
        let batches = vec![states(0, hash), states(250, hash), states(500, hash)];
        let input = Box::new(Batches::new(batches));
        let mut task =
            FinalReduce::new(input, 1, aggregates.clone(), Arc::clone(&output), &context);
        task.least_bytes = 0;
        let rows = rows_of(&all(task).unwrap());
        assert_eq!(rows.len(), 1000);
        assert_eq!(rows.iter().filter(|row| row[1] == Some("4".to_owned())).count(), 500);
    }
}

#[test]
fn a_sum_beyond_int64_is_an_error_that_names_it() {
    let rows: Vec<Row> = vec![(None, Some(i64::MAX), None, None, None); 2];
    let folder = TempDir::new().unwrap();
    let context = roomy(&folder);
    let reduction = Reduction {
        context: &context,
        keys: &[0],
        aggregates: &[(Count, None), (Sum, Some(1))],
        least_bytes: 0,
        tasks: 2,
    };
    let error = reduction.run(&[batch(&rows[..1]), batch(&rows[1..])]).unwrap_err();
    assert_eq!(error.to_string(), "sum `a1` is 18446744073709551614, which is beyond int64");
    // On the way it may be.
    let back = vec![(None, Some(-i64::MAX), None, None, None)];
    let values = reduction.run(&[batch(&rows), batch(&back)]).unwrap();
    assert_eq!(rows_of(&values)[0][2], Some(i64::MAX.to_string()));
    // And small sums become large ones.
    let small = vec![(None, Some(7), None, None, None); 3];
    let large = reduction.run(&[batch(&small), batch(&rows), batch(&back), batch(&back)]).unwrap();
    assert_eq!(rows_of(&large)[0][2], Some(21.to_string()));
}

#[test]
fn no_rows_are_no_groups() {
    let folder = TempDir::new().unwrap();
    let context = roomy(&folder);
    let aggregates = &[(Count, None)];
    let reduction =
        Reduction { context: &context, keys: &[0], aggregates, least_bytes: 0, tasks: 1 };
    assert!(reduction.run(&[batch(&[])]).unwrap().is_empty());
}

#[test]
fn a_cancelled_task_ends() {
    let folder = TempDir::new().unwrap();
    let context = roomy(&folder);
    context.cancel.cancel();
    let aggregates = &[(Count, None)];
    let reduction =
        Reduction { context: &context, keys: &[0], aggregates, least_bytes: 0, tasks: 1 };
    let result = reduction.run(&numbered(10, 3));
    assert!(matches!(result, Err(Error::Cancelled)));
}
