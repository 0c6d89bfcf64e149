//! What goes by a key's hash: the hash itself, scatter, group by and join; with the sums of floats.

use std::{hint::black_box, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray, RecordBatch, StringViewArray},
    datatypes::{DataType, Field, Int64Type, Schema, UInt64Type},
};
use criterion::{BatchSize, BenchmarkId, Criterion};
use minispark_engine::{
    expr::{Aggregate, AggregateFunction, Expr},
    formats::BATCH_ROWS,
    kernels::{float_sum::FloatSum, hash::hash_columns, scatter::Scatter},
    operators::{
        Operator,
        hash::Hash,
        join::{Join, JoinInput},
        reduce_by_key::{FinalReduce, PartialReduce, state_fields},
    },
    plan::{JoinRows, ProbeColumn, with_hash_column},
};

use crate::{
    Numbers, ROWS, bounds, boxed, collect, column, context, drain, input, rows_and_bytes, schema,
    throughput,
};

pub(crate) fn bench(criterion: &mut Criterion) {
    hash(criterion);
    scatter(criterion);
    float_sum(criterion);
    group_by(criterion);
    join(criterion);
}

fn hash(criterion: &mut Criterion) {
    let mut numbers = Numbers(1);
    let batch = input(BATCH_ROWS, || numbers.rank(300_000)).remove(0);
    let long: StringViewArray = (0..BATCH_ROWS).map(|n| Some(format!("{n:0>100}"))).collect();
    let long = RecordBatch::try_from_iter([("long", Arc::new(long) as ArrayRef)]).unwrap();
    let mut group = criterion.benchmark_group("hash");
    let mut hashes = Vec::new();
    for (name, keys) in [
        ("text", batch.project(&[0]).unwrap()),
        ("int", batch.project(&[1]).unwrap()),
        ("text+int", batch),
        ("text of 100 bytes", long),
    ] {
        group.throughput(throughput(std::slice::from_ref(&keys)));
        group.bench_function(name, |bencher| {
            bencher.iter(|| hash_columns(black_box(keys.columns()), &mut hashes));
        });
    }
    let plain: Vec<u64> = (0..BATCH_ROWS).map(|_| numbers.next()).collect();
    group.throughput(rows_and_bytes(BATCH_ROWS, size_of_val(&plain[..]) as u64));
    bounds::sum(&mut group, &plain);
    group.finish();
}

fn scatter(criterion: &mut Criterion) {
    let mut numbers = Numbers(2);
    let batch = input(BATCH_ROWS, || numbers.below(1 << 40)).remove(0);
    let schema = with_hash_column(&schema());
    let rows = Hash::new(boxed(&[batch]), vec![column(1)], schema).next().unwrap().unwrap();
    let hashes = rows.column(2).as_primitive::<UInt64Type>().values();
    let mut group = criterion.benchmark_group("scatter");
    let mut scatter = Scatter::default();
    for buckets in [4, 64, 1024] {
        group.throughput(rows_and_bytes(BATCH_ROWS, size_of_val::<[u64]>(hashes) as u64));
        group.bench_function(BenchmarkId::new("rows", buckets), |bencher| {
            bencher.iter(|| scatter.scatter(black_box(hashes), buckets));
        });
        group.throughput(throughput(std::slice::from_ref(&rows)));
        group.bench_function(BenchmarkId::new("batch", buckets), |bencher| {
            bencher.iter(|| {
                scatter.scatter(black_box(hashes), buckets);
                scatter.permute(&rows).unwrap()
            });
        });
        group.throughput(rows_and_bytes(BATCH_ROWS, size_of_val::<[u64]>(hashes) as u64));
        bounds::place(&mut group, hashes, buckets as usize);
    }
    group.finish();
}

fn float_sum(criterion: &mut Criterion) {
    let mut numbers = Numbers(3);
    #[expect(clippy::cast_precision_loss, reason = "any floats will do")]
    let values: Vec<f64> = (0..BATCH_ROWS).map(|_| numbers.below(1 << 40) as f64 / 1e4).collect();
    let mut group = criterion.benchmark_group("float_sum");
    group.throughput(rows_and_bytes(BATCH_ROWS, size_of_val(&values[..]) as u64));
    group.bench_function("add", |bencher| {
        bencher.iter(|| {
            let mut sum = FloatSum::EMPTY;
            for value in black_box(&values) {
                sum.add(*value);
            }
            sum.value()
        });
    });
    group.bench_function("bound/sum of floats", |bencher| {
        bencher.iter(|| black_box(&values).iter().sum::<f64>());
    });
    group.finish();
}

#[expect(clippy::panic, reason = "a benchmark has no other way to fail")]
fn aggregate(function: AggregateFunction, arguments: Vec<Expr>) -> Aggregate {
    Aggregate::new(function, arguments).unwrap_or_else(|message| panic!("{message}"))
}

fn group_by(criterion: &mut Criterion) {
    let context = context();
    let count = aggregate(AggregateFunction::Count, Vec::new());
    let sum = aggregate(AggregateFunction::Sum, vec![column(1)]);
    let aggregates = vec![count, sum];
    let mut group = criterion.benchmark_group("group by");
    for (name, key) in [("text", 0), ("int", 1)] {
        for (spread, distinct) in [("low", 1_000), ("words", 300_000), ("high", 1 << 40)] {
            let mut numbers = Numbers(5);
            let batches = input(ROWS, || match spread {
                "words" => numbers.rank(distinct),
                _ => numbers.below(distinct),
            });
            let key_field = schema().field(key).clone();
            let mut fields = vec![key_field.clone()];
            fields.extend(state_fields(&aggregates, &["count", "sum"]).unwrap());
            let states = with_hash_column(&Schema::new(fields));
            let partial = || {
                let (keys, states) = (vec![column(key)], Arc::clone(&states));
                PartialReduce::new(boxed(&batches), keys, aggregates.clone(), states, &context)
            };
            group.throughput(throughput(&batches));
            group.bench_function(format!("partial/{name}/{spread}"), |bencher| {
                bencher.iter(|| drain(partial()));
            });
            let all = collect(partial());
            let output = Arc::new(Schema::new(vec![
                key_field,
                Field::new("count", DataType::Int64, false),
                Field::new("sum", DataType::Int64, true),
            ]));
            // The partial states of two map tasks.
            let twice = [all.clone(), all].concat();
            group.throughput(throughput(&twice));
            group.bench_function(format!("final/{name}/{spread}"), |bencher| {
                bencher.iter(|| {
                    let (input, output) = (boxed(&twice), Arc::clone(&output));
                    drain(FinalReduce::new(input, 1, aggregates.clone(), output, &context))
                });
            });
            if key == 1 {
                group.throughput(throughput(&batches));
                bounds::group(&mut group, spread, &numbers_of(&batches));
            }
        }
    }
    group.finish();
}

fn join(criterion: &mut Criterion) {
    let context = context();
    let mut group = criterion.benchmark_group("join");
    for (name, key) in [("text", 0), ("int", 1)] {
        for (size, distinct) in [("small", 8_192), ("large", 1 << 20)] {
            let hashed = |batches: &[RecordBatch]| {
                let schema = with_hash_column(&schema());
                collect(Hash::new(boxed(batches), vec![column(key)], schema))
            };
            let mut next = 0;
            let build = hashed(&input(usize::try_from(distinct).unwrap(), || {
                next += 1;
                next - 1
            }));
            let mut numbers = Numbers(6);
            let probe = hashed(&input(ROWS, || numbers.below(distinct)));
            let join = |streamed: &[RecordBatch]| {
                let schema = Schema::new(vec![
                    Field::new("word", DataType::Utf8View, false),
                    Field::new("number", DataType::Int64, false),
                    Field::new("right", DataType::Int64, false),
                ]);
                let input = JoinInput {
                    probe: boxed(streamed),
                    build: boxed(&build),
                    probe_keys: vec![column(key)],
                    build_keys: vec![column(key)],
                    is_hashed: true,
                    null_safe: false,
                    condition: None,
                    rows: JoinRows::Pairs { lonely_probe: false, lonely_build: false },
                    shared: None,
                    filters: Vec::new(),
                    columns: vec![
                        ProbeColumn::Probe(0),
                        ProbeColumn::Probe(1),
                        ProbeColumn::Build(1),
                    ],
                    schema: Arc::new(schema),
                    build_schema: build[0].schema(),
                };
                Join::new(input, &context)
            };
            group.throughput(throughput(&build));
            group.bench_function(format!("build/{name}/{size}"), |bencher| {
                bencher.iter(|| drain(join(&[])));
            });
            group.throughput(throughput(&probe));
            group.bench_function(format!("probe/{name}/{size}"), |bencher| {
                // The first pull builds the table; it brings one batch that is not counted.
                let primed = || {
                    let mut join = join(&[&probe[..1], &probe[..]].concat());
                    join.next().unwrap();
                    join
                };
                bencher.iter_batched(primed, drain, BatchSize::PerIteration);
            });
            if key == 1 {
                let (build, probe) = (numbers_of(&build), numbers_of(&probe));
                bounds::look_up(&mut group, size, &build, &probe);
            }
        }
    }
    group.finish();
}

/// The numbers of the batches.
fn numbers_of(batches: &[RecordBatch]) -> Vec<u64> {
    let values =
        batches.iter().flat_map(|batch| batch.column(1).as_primitive::<Int64Type>().values());
    values.map(|number| u64::try_from(*number).unwrap()).collect()
}
