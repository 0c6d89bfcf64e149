//! Lower bounds: plain loops over the same bytes or keys, beside which the kernels' figures are read.
//!
//! They know no nulls, no quoting, no spilling and no budget. Each stands in the group of what it
//! bounds, under `bound/`, with the same throughput.

use std::hint::black_box;

use criterion::{BenchmarkGroup, measurement::WallTime};
use hashbrown::HashMap;

use crate::Numbers;

type Group<'a> = BenchmarkGroup<'a, WallTime>;

/// Copies so many bytes: what moving rows from one place to another costs at least.
pub(crate) fn copy(group: &mut Group<'_>, bytes: u64) {
    let from = vec![7_u8; usize::try_from(bytes).unwrap()];
    let mut to = vec![0_u8; from.len()];
    group.bench_function("bound/copy", |bencher| {
        bencher.iter(|| {
            to.copy_from_slice(black_box(&from));
            black_box(to.last().copied())
        });
    });
}

/// Looks at each byte once: what finding the ends of lines, fields or words costs at least.
pub(crate) fn find(group: &mut Group<'_>, text: &[u8], wanted: u8) {
    group.bench_function("bound/find a byte", |bencher| {
        bencher.iter(|| {
            black_box(text).iter().fold(0, |found, byte| found + usize::from(*byte == wanted))
        });
    });
}

/// Adds all words of eight bytes: what reading numbers once costs at least.
pub(crate) fn sum(group: &mut Group<'_>, numbers: &[u64]) {
    group.bench_function("bound/sum", |bencher| {
        bencher.iter(|| {
            black_box(numbers).iter().fold(0, |sum: u64, number| sum.wrapping_add(*number))
        });
    });
}

/// Counts and places: what sorting row numbers into buckets costs at least.
pub(crate) fn place(group: &mut Group<'_>, numbers: &[u64], buckets: usize) {
    let mut starts = vec![0_u32; buckets + 1];
    let mut rows = vec![0_u32; numbers.len()];
    let bucket = |number: u64| usize::try_from(number).unwrap_or(0) & (buckets - 1);
    group.bench_function(format!("bound/place/{buckets}"), |bencher| {
        bencher.iter(|| {
            starts.fill(0);
            for number in black_box(numbers) {
                starts[bucket(*number) + 1] += 1;
            }
            for at in 1..starts.len() {
                starts[at] += starts[at - 1];
            }
            for (row, number) in (0..).zip(numbers) {
                let start = &mut starts[bucket(*number)];
                rows[*start as usize] = row;
                *start += 1;
            }
            black_box(rows.last().copied())
        });
    });
}

/// A hash map from a number to a count and a sum: a group-by of one thread without an engine.
pub(crate) fn group(group: &mut Group<'_>, name: &str, keys: &[u64]) {
    group.bench_function(format!("bound/hash map/{name}"), |bencher| {
        bencher.iter(|| {
            let mut groups: HashMap<u64, (u64, u64)> = HashMap::new();
            for key in black_box(keys) {
                let (count, sum) = groups.entry(*key).or_default();
                *count += 1;
                *sum = sum.wrapping_add(*key);
            }
            groups.len()
        });
    });
}

/// Looks numbers up in a hash map: the probe side of a join without an engine.
pub(crate) fn look_up(group: &mut Group<'_>, name: &str, build: &[u64], probe: &[u64]) {
    let table: HashMap<u64, u64> = build.iter().map(|key| (*key, *key)).collect();
    let mut found: Vec<u64> = Vec::with_capacity(probe.len());
    group.bench_function(format!("bound/hash map/{name}"), |bencher| {
        bencher.iter(|| {
            found.clear();
            found.extend(black_box(probe).iter().filter_map(|key| table.get(key)));
            found.len()
        });
    });
}

/// Sorts pairs of a number and a row: what a sort by one integer costs at least, before rows move.
pub(crate) fn sort(group: &mut Group<'_>, rows: usize) {
    let mut numbers = Numbers(8);
    let pairs: Vec<(u64, u32)> =
        (0..).map(|row| (numbers.below(1 << 40), row)).take(rows).collect();
    group.bench_function("bound/sort pairs", |bencher| {
        bencher.iter_batched_ref(
            || pairs.clone(),
            |pairs| pairs.sort_unstable(),
            criterion::BatchSize::PerIteration,
        );
    });
}
