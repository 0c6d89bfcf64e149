//! What goes row by row: filter, tokenise, `to_lower`.

use std::sync::Arc;

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{DataType, Field, Schema},
};
use criterion::{BenchmarkId, Criterion};
use minispark_engine::{
    expr::parse,
    kernels::compact::row_bytes,
    operators::{filter::Filter, flat_map::Tokenize, map::Map},
    source::runtime_filter::Tested,
    task::metrics::RowCounter,
};

use crate::{
    Numbers, ROWS, bounds, boxed, collect, context, decode::Table, drain, input, schema, throughput,
};

pub(crate) fn bench(criterion: &mut Criterion) {
    filter(criterion);
    words(criterion);
}

fn filter(criterion: &mut Criterion) {
    let mut numbers = Numbers(4);
    let batches = input(ROWS / 8, || numbers.below(100));
    let mut group = criterion.benchmark_group("filter");
    group.throughput(throughput(&batches));
    for percent in [1, 50, 99] {
        let predicate = parse::predicate(&format!("number < {percent}"), &schema()).unwrap();
        group.bench_function(BenchmarkId::new("percent kept", percent), |bencher| {
            bencher.iter(|| {
                drain(Filter {
                    input: boxed(&batches),
                    predicate: predicate.clone(),
                    dropped: RowCounter::default(),
                    tested: Tested::default(),
                })
            });
        });
    }
    bounds::copy(&mut group, batches.iter().map(row_bytes).sum());
    group.finish();
}

/// A word count's way from lines to keys.
fn words(criterion: &mut Criterion) {
    let lines = collect(Table::lines().read(&context()));
    let schema = Arc::new(Schema::new(vec![Field::new("token", DataType::Utf8View, true)]));
    let tokenize = || Tokenize::new(boxed(&lines), vec![0], Arc::clone(&schema));
    let tokens = collect(tokenize());
    let to_lower = parse::expression("to_lower(token)", &schema).unwrap();
    let mut group = criterion.benchmark_group("words");
    group.throughput(throughput(&lines));
    group.bench_function("tokenise lines", |bencher| bencher.iter(|| drain(tokenize())));
    group.bench_function("tokenise lines in lower case", |bencher| {
        bencher.iter(|| drain(tokenize().lowered(true)));
    });
    group.throughput(throughput(&tokens));
    group.bench_function("to_lower tokens", |bencher| {
        bencher.iter(|| {
            let (columns, schema) = (vec![to_lower.clone()], Arc::clone(&schema));
            drain(Map { input: boxed(&tokens), columns, schema })
        });
    });
    let text: Vec<u8> = tokens.iter().flat_map(joined).collect();
    bounds::find(&mut group, &text, b' ');
    bounds::copy(&mut group, text.len() as u64);
    group.finish();
}

/// The words of a batch as one text.
fn joined(tokens: &RecordBatch) -> Vec<u8> {
    let words = tokens.column(0).as_string_view().iter().flatten();
    words.flat_map(|word| word.bytes().chain([b' '])).collect()
}
