//! What puts rows in order: sort, in memory and by spilled runs, and merge.

use arrow::array::RecordBatch;
use criterion::Criterion;
use minispark_engine::{
    expr::SortKey,
    operators::{Operator, merge::Merge, sort::Sort},
    task::context::TaskContext,
};

use crate::{
    Numbers, ROWS, bounds, boxed, collect, context, drain, input, limited_context, schema,
    throughput,
};

/// The columns to sort by.
const COLUMNS: [(&str, usize); 2] = [("text", 0), ("int", 1)];
/// How many sorted inputs are merged: as many as a small job has partitions.
const INPUTS: usize = 16;
/// Less than a quarter of what the rows need.
const SMALL_BUDGET_BYTES: u64 = 8 << 20;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut numbers = Numbers(8);
    let batches = input(ROWS, || numbers.below(1 << 40));
    sort(criterion, &batches);
    merge(criterion, &batches);
}

fn sort(criterion: &mut Criterion, batches: &[RecordBatch]) {
    let folder = tempfile::tempdir().unwrap();
    let small = limited_context(SMALL_BUDGET_BYTES, folder.path().join("spill"));
    let ample = context();
    let mut group = criterion.benchmark_group("sort");
    group.throughput(throughput(batches));
    for (name, column) in COLUMNS {
        for (how, limit, context) in [
            ("in memory", None, &ample),
            ("first 100", Some(100), &ample),
            ("spilled", None, &small),
        ] {
            group.bench_function(format!("{name}/{how}"), |bencher| {
                bencher.iter(|| drain(sorted(batches, column, limit, context)));
            });
        }
    }
    bounds::sort(&mut group, ROWS);
    group.finish();
}

fn merge(criterion: &mut Criterion, batches: &[RecordBatch]) {
    let context = context();
    let mut group = criterion.benchmark_group("merge");
    group.throughput(throughput(batches));
    for (name, column) in COLUMNS {
        let share = batches.len().div_ceil(INPUTS);
        let runs: Vec<_> =
            batches.chunks(share).map(|run| collect(sorted(run, column, None, &context))).collect();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let inputs: Vec<Box<dyn Operator>> = runs.iter().map(|run| boxed(run)).collect();
                drain(Merge::new(inputs, keys(column), schema(), None))
            });
        });
    }
    group.finish();
}

fn sorted(
    batches: &[RecordBatch],
    column: usize,
    limit: Option<u64>,
    context: &TaskContext,
) -> Sort {
    Sort::new(boxed(batches), keys(column), limit, schema(), context)
}

fn keys(column: usize) -> Vec<SortKey> {
    vec![SortKey { column, descending: false, nulls_first: false }]
}
