//! Throughput of whole jobs, from the text file to the published result, in lines and bytes read.
//!
//! `cargo bench -p minispark --bench jobs`. Jobs run embedded, with one thread and with one for
//! each core; the text comes from a fixed seed and is in the page cache. A cluster is not measured.

#![expect(clippy::unwrap_used, reason = "a bench whose job fails should stop and say so")]

use std::{fs, path::Path, thread, time::Duration};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use minispark_engine::{
    runtime::{Session, SessionOptions},
    schedule::JobStatus,
    task::context::CancelFlag,
};
use tempfile::TempDir;

#[path = "../tests/support/generate.rs"]
mod generate;

/// What the program allocates with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The size of the text: a run takes much longer than to start it.
const TEXT_BYTES: u64 = 32 << 20;
/// More than the jobs need, so that nothing spills.
const MEMORY_BYTES: u64 = 1 << 30;

/// A word count as the first mini-Spark wrote it, cut by the size of its text alone.
const WORD_COUNT: &str = r#"{
  "name": "word-count",
  "dag": {
    "nodes": [
      {"id": "read", "op": "read_csv", "path": "text"},
      {"id": "flat", "op": "flat_map", "fn": "tokenize"},
      {"id": "map1", "op": "map", "fn": "to_lower"},
      {"id": "agg", "op": "reduce_by_key", "key": "token", "fn": "sum"}
    ],
    "edges": [["read", "flat"], ["flat", "map1"], ["map1", "agg"]]
  }
}"#;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5))
        .without_plots()
        .configure_from_args();
    word_count(&mut criterion);
    criterion.final_summary();
}

fn word_count(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text");
    generate::text(&path, TEXT_BYTES, 42).unwrap();
    let text = fs::read(&path).unwrap();
    let lines = text.split_inclusive(|byte| *byte == b'\n').count();
    let mut thread_counts = vec![1, thread::available_parallelism().map_or(1, usize::from)];
    thread_counts.dedup();
    let mut group = criterion.benchmark_group("word count");
    group.throughput(Throughput::ElementsAndBytes {
        elements: lines as u64,
        bytes: text.len() as u64,
    });
    for threads in thread_counts {
        group.bench_function(BenchmarkId::new("threads", threads), |bencher| {
            let prepared = || Run::prepared(folder.path(), threads);
            bencher.iter_batched(prepared, Run::finished, BatchSize::PerIteration);
        });
    }
    group.finish();
}

/// A session whose results go to a folder of its own, which is removed when this is dropped.
struct Run {
    session: Session,
    _output: TempDir,
}

impl Run {
    fn prepared(base: &Path, threads: usize) -> Self {
        let output = tempfile::tempdir_in(base).unwrap();
        let options = SessionOptions {
            base_dir: base.to_owned(),
            output_dir: output.path().join("results"),
            scratch_dir: output.path().join("scratch"),
            threads,
            memory_bytes: MEMORY_BYTES,
        };
        Self { session: Session::new(options).unwrap(), _output: output }
    }

    /// Checks, runs and publishes. It is given back, so that its results are removed off the clock.
    fn finished(self) -> Self {
        let checked = self.session.check(WORD_COUNT, true).unwrap();
        let outcome = self.session.run(checked, &CancelFlag::default(), &mut |_| ()).unwrap();
        assert_eq!(outcome.status, JobStatus::Completed, "{:?}", outcome.error);
        self
    }
}
