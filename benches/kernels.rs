//! Throughput of the kernels and of the operators that are made of them, in rows or bytes.
//!
//! `cargo bench -p minispark-engine --bench kernels -- <filter>`. All inputs come from a fixed seed;
//! batches have the engine's 8192 rows. Whole jobs are measured elsewhere.

#![expect(clippy::unwrap_used, reason = "a bench whose input fails should stop and say so")]

use std::{hint::black_box, path::PathBuf, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringViewArray},
    datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type},
};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use minispark_engine::{
    disk::{Disk, RealDisk},
    exchange::{LocalExchange, store::PartitionStore},
    expr::{Aggregate, AggregateFunction, BinaryOp, Expr, Literal, Predicate},
    kernels::{float_sum::FloatSum, hash::hash_columns, scatter::Scatter},
    memory::Budget,
    operators::{
        Batches, Operator,
        filter::Filter,
        hash::Hash,
        join::{Join, JoinInput},
        reduce_by_key::{FinalReduce, PartialReduce, state_fields},
    },
    plan::{ProbeColumn, with_hash_column},
    task::context::{CancelFlag, TaskContext},
};

/// Rows of a batch, as readers give them.
const BATCH_ROWS: usize = 8192;
/// Rows of an input: enough that tables leave the caches.
const ROWS: usize = 128 * BATCH_ROWS;

fn main() {
    let mut criterion = Criterion::default().sample_size(20).configure_from_args();
    hash(&mut criterion);
    scatter(&mut criterion);
    float_sum(&mut criterion);
    filter(&mut criterion);
    group_by(&mut criterion);
    join(&mut criterion);
    criterion.final_summary();
}

/// A small generator of numbers (xorshift64*), the same everywhere.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `bound`, all alike.
    fn below(&mut self, bound: u64) -> u64 {
        u64::try_from((u128::from(self.next()) * u128::from(bound)) >> 64).unwrap()
    }

    /// Below `bound`, the n-th about n times rarer than the first, as words are.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a draw need not be exact"
    )]
    fn rank(&mut self, bound: u64) -> u64 {
        let uniform = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        ((bound as f64).powf(uniform) as u64).min(bound) - 1
    }
}

/// A word of 3 to 9 letters.
fn word(mut number: u64) -> String {
    let mut word = String::from("w");
    number += 26;
    while number > 0 {
        word.push(char::from(b'a' + u8::try_from(number % 26).unwrap()));
        number /= 26;
    }
    word.push_str(&"xyz"[..usize::try_from(number % 3).unwrap()]);
    word
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("word", DataType::Utf8View, false),
        Field::new("number", DataType::Int64, false),
    ]))
}

/// Batches of a word and a number, drawn from `draw`.
fn input(rows: usize, mut draw: impl FnMut() -> u64) -> Vec<RecordBatch> {
    let schema = schema();
    (0..rows / BATCH_ROWS)
        .map(|_| {
            let numbers: Vec<u64> = (0..BATCH_ROWS).map(|_| draw()).collect();
            let words: StringViewArray = numbers.iter().map(|n| Some(word(*n))).collect();
            let numbers: Int64Array =
                numbers.into_iter().map(|n| Some(i64::try_from(n).unwrap())).collect();
            let columns: Vec<ArrayRef> = vec![Arc::new(words), Arc::new(numbers)];
            RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()
        })
        .collect()
}

fn column(index: usize) -> Expr {
    let schema = schema();
    let field = schema.field(index);
    Expr::Column { index, name: field.name().clone(), data_type: field.data_type().clone() }
}

fn context() -> TaskContext {
    let disk: Arc<dyn Disk> = RealDisk::shared();
    let budget = Budget::new(u64::MAX);
    let folder = PathBuf::from("never-used");
    let store = Arc::new(PartitionStore::new(Arc::clone(&disk), folder.clone(), budget.clone()));
    TaskContext {
        budget,
        cancel: CancelFlag::default(),
        disk,
        scratch: folder,
        spilled_bytes: Arc::default(),
        exchange: Arc::new(LocalExchange { store: Arc::clone(&store) }),
        store,
    }
}

fn boxed(batches: &[RecordBatch]) -> Box<dyn Operator> {
    Box::new(Batches::new(batches.to_vec()))
}

fn drain(mut operator: impl Operator) -> usize {
    let mut rows = 0;
    while let Some(batch) = operator.next().unwrap() {
        rows += black_box(batch).num_rows();
    }
    rows
}

fn elements(count: usize) -> Throughput {
    Throughput::Elements(count as u64)
}

fn hash(criterion: &mut Criterion) {
    let mut numbers = Numbers(1);
    let batch = input(BATCH_ROWS, || numbers.rank(300_000)).remove(0);
    let mut group = criterion.benchmark_group("hash");
    group.throughput(elements(BATCH_ROWS));
    for (name, columns) in [("text", vec![0]), ("int", vec![1]), ("text+int", vec![0, 1])] {
        let columns: Vec<ArrayRef> =
            columns.iter().map(|index| Arc::clone(batch.column(*index))).collect();
        let mut hashes = Vec::new();
        group.bench_function(name, |bencher| {
            bencher.iter(|| hash_columns(black_box(&columns), &mut hashes));
        });
    }
    let long: StringViewArray = (0..BATCH_ROWS).map(|n| Some(format!("{n:0>100}"))).collect();
    let long: Vec<ArrayRef> = vec![Arc::new(long)];
    let mut hashes = Vec::new();
    group.throughput(Throughput::Bytes(100 * BATCH_ROWS as u64));
    group.bench_function("text of 100 bytes", |bencher| {
        bencher.iter(|| hash_columns(black_box(&long), &mut hashes));
    });
    group.finish();
}

fn scatter(criterion: &mut Criterion) {
    let mut numbers = Numbers(2);
    let batch = input(BATCH_ROWS, || numbers.below(1 << 40)).remove(0);
    let schema = with_hash_column(&schema());
    let rows = Hash::new(boxed(&[batch]), vec![column(1)], schema).next().unwrap().unwrap();
    let hashes = rows.column(2).as_primitive::<UInt64Type>().values();
    let mut group = criterion.benchmark_group("scatter");
    group.throughput(elements(BATCH_ROWS));
    let mut scatter = Scatter::default();
    for buckets in [4, 64, 1024] {
        group.bench_function(BenchmarkId::new("rows", buckets), |bencher| {
            bencher.iter(|| scatter.scatter(black_box(hashes), buckets));
        });
        group.bench_function(BenchmarkId::new("batch", buckets), |bencher| {
            bencher.iter(|| {
                scatter.scatter(black_box(hashes), buckets);
                scatter.permute(&rows).unwrap()
            });
        });
    }
    group.finish();
}

fn float_sum(criterion: &mut Criterion) {
    let mut numbers = Numbers(3);
    #[expect(clippy::cast_precision_loss, reason = "any floats will do")]
    let values: Vec<f64> = (0..BATCH_ROWS).map(|_| numbers.below(1 << 40) as f64 / 1e4).collect();
    let mut group = criterion.benchmark_group("float_sum");
    group.throughput(elements(BATCH_ROWS));
    group.bench_function("add", |bencher| {
        bencher.iter(|| {
            let mut sum = FloatSum::EMPTY;
            for value in black_box(&values) {
                sum.add(*value);
            }
            sum.value()
        });
    });
    group.finish();
}

fn filter(criterion: &mut Criterion) {
    let mut numbers = Numbers(4);
    let batches = input(ROWS / 8, || numbers.below(100));
    let mut group = criterion.benchmark_group("filter");
    group.throughput(elements(ROWS / 8));
    for percent in [1, 50, 99] {
        let predicate = || {
            Predicate(Expr::Binary {
                op: BinaryOp::Less,
                left: Box::new(column(1)),
                right: Box::new(Expr::Literal(Literal::Int64(percent))),
                data_type: DataType::Boolean,
            })
        };
        group.bench_function(BenchmarkId::new("percent kept", percent), |bencher| {
            bencher.iter(|| drain(Filter { input: boxed(&batches), predicate: predicate() }));
        });
    }
    group.finish();
}

fn group_by(criterion: &mut Criterion) {
    let context = context();
    let count = Aggregate {
        function: AggregateFunction::Count,
        argument: None,
        data_type: DataType::Int64,
    };
    let sum = Aggregate {
        function: AggregateFunction::Sum,
        argument: Some(column(1)),
        data_type: DataType::Int64,
    };
    let aggregates = vec![count, sum];
    let mut group = criterion.benchmark_group("group by");
    group.throughput(elements(ROWS));
    for (name, key) in [("text", 0), ("int", 1)] {
        for (spread, distinct) in [("low", 1_000), ("words", 300_000), ("high", 1 << 40)] {
            let mut numbers = Numbers(5);
            let batches = input(ROWS, || match spread {
                "words" => numbers.rank(distinct),
                _ => numbers.below(distinct),
            });
            let key_field = schema().field(key).clone();
            let mut fields = vec![key_field.clone()];
            fields.extend(state_fields(&aggregates, &["count", "sum"]));
            let states = with_hash_column(&Schema::new(fields));
            let partial = || {
                let (keys, states) = (vec![column(key)], Arc::clone(&states));
                PartialReduce::new(boxed(&batches), keys, aggregates.clone(), states, &context)
            };
            group.bench_function(format!("partial/{name}/{spread}"), |bencher| {
                bencher.iter(|| drain(partial()));
            });
            let mut all = Vec::new();
            let mut operator = partial();
            while let Some(batch) = operator.next().unwrap() {
                all.push(batch);
            }
            let output = Arc::new(Schema::new(vec![
                key_field,
                Field::new("count", DataType::Int64, false),
                Field::new("sum", DataType::Int64, true),
            ]));
            // The partial states of two map tasks.
            let twice = [all.clone(), all].concat();
            group.throughput(elements(twice.iter().map(RecordBatch::num_rows).sum()));
            group.bench_function(format!("final/{name}/{spread}"), |bencher| {
                bencher.iter(|| {
                    let (input, output) = (boxed(&twice), Arc::clone(&output));
                    drain(FinalReduce::new(input, 1, aggregates.clone(), output, &context))
                });
            });
            group.throughput(elements(ROWS));
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
                let mut hash = Hash::new(boxed(batches), vec![column(key)], schema);
                let mut all = Vec::new();
                while let Some(batch) = hash.next().unwrap() {
                    all.push(batch);
                }
                all
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
                    keep_probe: false,
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
            group.throughput(elements(build.len() * BATCH_ROWS));
            group.bench_function(format!("build/{name}/{size}"), |bencher| {
                bencher.iter(|| drain(join(&[])));
            });
            group.throughput(elements(ROWS));
            group.bench_function(format!("probe/{name}/{size}"), |bencher| {
                // The first pull builds the table; it brings one batch that is not counted.
                let primed = || {
                    let mut join = join(&[&probe[..1], &probe[..]].concat());
                    join.next().unwrap();
                    join
                };
                bencher.iter_batched(primed, drain, BatchSize::PerIteration);
            });
        }
    }
    group.finish();
}
