//! Arrow IPC, through the spill file: encode into it, decode from it; both with checksums.

use std::{path::PathBuf, sync::Arc};

use arrow::array::RecordBatch;
use criterion::{BatchSize, Criterion};
use minispark_engine::{
    disk::RealDisk,
    kernels::compact::row_bytes,
    memory::spill::{SpillFile, SpillWriter},
};

use crate::{Numbers, ROWS, bounds, drain, input, schema, throughput};

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut numbers = Numbers(9);
    let batches = input(ROWS / 4, || numbers.rank(300_000));
    let folder = tempfile::tempdir().unwrap();
    let mut group = criterion.benchmark_group("ipc");
    group.throughput(throughput(&batches));
    for (name, compress) in [("plain", false), ("lz4", true)] {
        // The file goes with its last handle, outside of the time measured.
        let fresh_path = || folder.path().join(name);
        let write = |path| written(path, &batches, compress);
        group.bench_function(format!("encode/{name}"), |bencher| {
            bencher.iter_batched(fresh_path, write, BatchSize::PerIteration);
        });
        let file = Arc::new(write(fresh_path()));
        group.bench_function(format!("decode/{name}"), |bencher| {
            bencher.iter(|| drain(file.reader(0..file.blocks())));
        });
    }
    bounds::copy(&mut group, batches.iter().map(row_bytes).sum());
    group.finish();
}

fn written(path: PathBuf, batches: &[RecordBatch], compress: bool) -> SpillFile {
    let mut writer = SpillWriter::create(&RealDisk::shared(), path, schema(), compress).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.finish().unwrap()
}
