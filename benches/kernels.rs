//! Throughput of the kernels, and of the readers and operators that are made of them, in rows and
//! bytes of their input; under `bound/` plain loops over the same, which no engine can beat.
//!
//! `cargo bench -p minispark-engine --bench kernels -- <filter>`. All inputs come from a fixed seed;
//! batches have the engine's 8192 rows. Files are in the page cache and never made durable. Whole
//! jobs are measured elsewhere.

#![expect(clippy::unwrap_used, reason = "a bench whose input fails should stop and say so")]

use std::{hint::black_box, path::PathBuf, sync::Arc, time::Duration};

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringViewArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use criterion::{Criterion, Throughput};
use minispark_engine::{
    disk::{DataDisks, Disk, RealDisk},
    exchange::{LocalExchange, store::PartitionStore},
    expr::Expr,
    formats::BATCH_ROWS,
    kernels::compact::row_bytes,
    memory::Budget,
    operators::{Batches, Operator},
    task::context::{CancelFlag, TaskContext},
};

#[path = "kernels/bounds.rs"]
mod bounds;
#[path = "kernels/decode.rs"]
mod decode;
#[path = "kernels/encode.rs"]
mod encode;
#[path = "kernels/narrow.rs"]
mod narrow;
#[path = "kernels/keyed.rs"]
mod keyed;
#[path = "kernels/ordered.rs"]
mod ordered;
#[path = "kernels/spill.rs"]
mod spill;

/// What the program allocates with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rows of an input: enough that tables leave the caches.
const ROWS: usize = 128 * BATCH_ROWS;
/// The least size of the text that is read and cut into words.
const TEXT_BYTES: usize = 8 << 20;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1))
        .without_plots()
        .configure_from_args();
    decode::bench(&mut criterion);
    encode::bench(&mut criterion);
    narrow::bench(&mut criterion);
    keyed::bench(&mut criterion);
    ordered::bench(&mut criterion);
    spill::bench(&mut criterion);
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

/// What a task may use where all fits into memory.
fn context() -> TaskContext {
    limited_context(u64::MAX, PathBuf::from("never-used"))
}

/// What a task may use with this budget, and a folder for what exceeds it.
fn limited_context(budget_bytes: u64, folder: PathBuf) -> TaskContext {
    let disk: Arc<dyn Disk> = RealDisk::shared();
    let budget = Budget::new(budget_bytes);
    let store = Arc::new(PartitionStore::new(Arc::clone(&disk), folder.clone(), budget.clone()));
    TaskContext {
        budget,
        cancel: CancelFlag::default(),
        disk,
        data: DataDisks::everywhere(),
        scratch: folder,
        spilled_bytes: Arc::default(),
        read_bytes: Arc::default(),
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

fn collect(mut operator: impl Operator) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    while let Some(batch) = operator.next().unwrap() {
        batches.push(batch);
    }
    batches
}

/// An input's rows, and the bytes that they need.
fn throughput(batches: &[RecordBatch]) -> Throughput {
    let rows = batches.iter().map(RecordBatch::num_rows).sum();
    rows_and_bytes(rows, batches.iter().map(row_bytes).sum())
}

fn rows_and_bytes(rows: usize, bytes: u64) -> Throughput {
    Throughput::ElementsAndBytes { elements: rows as u64, bytes }
}
