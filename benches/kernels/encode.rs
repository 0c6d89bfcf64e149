//! From batches to a file's bytes, in memory, and from Parquet and Arrow files back to batches.

use std::{io::Write, path::Path};

use arrow::array::RecordBatch;
use criterion::Criterion;
use minispark_engine::{
    disk::{DataDisks, Disk, RealDisk},
    formats::{WriteFormat, compression::Compression, csv::CsvWriteOptions, file_encoder},
    kernels::compact::row_bytes,
    runtime::{Session, SessionOptions},
    schedule::JobStatus,
    task::context::CancelFlag,
};
use tempfile::TempDir;

use crate::{Numbers, ROWS, bounds, input, schema, throughput};

/// More than the rows need.
const MEMORY_BYTES: u64 = 1 << 30;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut numbers = Numbers(10);
    let batches = input(ROWS / 2, || numbers.rank(300_000));
    let bytes: u64 = batches.iter().map(row_bytes).sum();
    let csv = WriteFormat::Csv(CsvWriteOptions { header: true, delimiter: b',' });
    let mut group = criterion.benchmark_group("encode");
    group.throughput(throughput(&batches));
    for (name, format, compression) in [
        ("csv", &csv, Compression::None),
        ("jsonl", &WriteFormat::Jsonl, Compression::None),
        ("arrow", &WriteFormat::Arrow, Compression::None),
        ("parquet/none", &WriteFormat::Parquet, Compression::None),
        ("parquet/snappy", &WriteFormat::Parquet, Compression::Snappy),
        ("parquet/zstd", &WriteFormat::Parquet, Compression::Zstd),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| encoded(format, compression, &batches).len());
        });
    }
    bounds::copy(&mut group, bytes);
    group.finish();
    read(criterion, &batches, bytes);
}

fn encoded(format: &WriteFormat, compression: Compression, batches: &[RecordBatch]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = file_encoder(format, compression, &schema()).unwrap();
    encoder.begin(&mut bytes).unwrap();
    for batch in batches {
        encoder.encode(batch, &mut bytes).unwrap();
    }
    encoder.finish(&mut bytes).unwrap();
    bytes
}

/// Reads a file as a job of one thread does that leaves its rows in memory.
fn read(criterion: &mut Criterion, batches: &[RecordBatch], bytes: u64) {
    let folder = tempfile::tempdir().unwrap();
    let mut group = criterion.benchmark_group("read");
    group.throughput(throughput(batches));
    for (name, format, compression) in [
        ("arrow", WriteFormat::Arrow, Compression::None),
        ("parquet/none", WriteFormat::Parquet, Compression::None),
        ("parquet/snappy", WriteFormat::Parquet, Compression::Snappy),
        ("parquet/zstd", WriteFormat::Parquet, Compression::Zstd),
    ] {
        let path = folder.path().join(name.replace('/', "-"));
        let mut file = RealDisk.create(&path).unwrap();
        file.write_all(&encoded(&format, compression, batches)).unwrap();
        drop(file);
        let reader = if format == WriteFormat::Arrow { "read_arrow" } else { "read_parquet" };
        group.bench_function(name, |bencher| {
            let session = session(&folder);
            bencher.iter(|| collected(&session, reader, &path));
        });
    }
    bounds::copy(&mut group, bytes);
    group.finish();
}

fn session(folder: &TempDir) -> Session {
    Session::new(SessionOptions {
        data: DataDisks::everywhere(),
        base_dir: folder.path().to_owned(),
        output_dir: folder.path().join("output"),
        scratch_dir: folder.path().join("scratch"),
        threads: 1,
        memory_bytes: MEMORY_BYTES,
    })
    .unwrap()
}

fn collected(session: &Session, reader: &str, path: &Path) -> usize {
    let path = path.display();
    let document = format!(
        r#"{{"dag": {{"nodes": [
            {{"id": "read", "op": "{reader}", "path": "{path}"}},
            {{"id": "out", "op": "write_parquet", "path": "never-written"}}
        ], "edges": [["read", "out"]]}}}}"#
    );
    let checked = session.check(&document, true).unwrap();
    let cancel = CancelFlag::default();
    let (outcome, collected) = session.collect(checked, &cancel, &mut |_| ()).unwrap();
    assert_eq!(outcome.status, JobStatus::Completed, "{:?}", outcome.error);
    let batches = collected.iter().flat_map(|result| &result.batches);
    batches.map(RecordBatch::num_rows).sum()
}
