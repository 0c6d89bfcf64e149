//! A task's batches → buckets in the partition store.
//!
//! Rows are scattered by their hash, and the many small pieces that this makes are put together
//! again before they are stored, because each stored batch costs a reader as much as a large one.

use arrow::{
    array::{AsArray, RecordBatch},
    compute::concat_batches,
    datatypes::{SchemaRef, UInt64Type},
};

use crate::{
    Error, Result,
    exchange::store::{Held, StoreWriter},
    formats::BATCH_ROWS,
    id::TaskAttempt,
    kernels::{
        compact::{compact, row_bytes, unique_bytes},
        scatter::Scatter,
    },
    memory::Reservation,
    operators::Operator,
    plan::Distribution,
    task::context::TaskContext,
};

/// The aim for a stored batch, where [`BATCH_ROWS`] would be more.
const BATCH_BYTES: u64 = 1 << 20;

/// The most that is gathered before it is stored, whatever the number of buckets.
const MAX_ROUND_BYTES: u64 = 16 << 20;

/// So much is gathered even where the budget refuses it: scraps would cost more in the store.
const MIN_ROUND_BYTES: u64 = 1 << 20;

/// What a gathered batch costs besides its buffers.
const BATCH_OVERHEAD_BYTES: u64 = 512;

/// Pulls `input` to its end into the task's own store, and announces nothing before that.
///
/// - Shape: the stored batches have `schema`, and about 8192 rows or 1 MiB.
/// - Order: each bucket has its rows in the order of the input.
/// - Memory: pieces are charged while they gather, 1 MiB a bucket and 16 MiB at most; refused,
///   they are stored, once there is 1 MiB of them.
///
/// # Errors
/// The input's; [`Error::Cancelled`]; [`Error::Io`] where the store moves to disk;
/// [`Error::Internal`] where a hash distribution's last column is no hash. Nothing is kept then.
pub fn write(
    input: Box<dyn Operator>,
    schema: &SchemaRef,
    distribution: &Distribution,
    attempt: TaskAttempt,
    context: &TaskContext,
) -> Result<Held> {
    let buckets = distribution.buckets();
    if buckets == 0 {
        return Err(Error::Internal(format!("{attempt} has no buckets to write to")));
    }
    let mut gathering = Gathering {
        is_scattered: buckets > 1
            && matches!(distribution, Distribution::Hash { .. } | Distribution::Range { .. }),
        schema: SchemaRef::clone(schema),
        limit_bytes: MAX_ROUND_BYTES.min(BATCH_BYTES * u64::from(buckets)),
        writer: context.store.writer_of(context, attempt, SchemaRef::clone(schema), buckets),
        scatter: Scatter::default(),
        batches: Vec::new(),
        pieces: vec![Vec::new(); buckets as usize],
        reservation: context.budget.reservation("exchange"),
    };
    let mut input = input;
    while let Some(batch) = input.next()? {
        context.cancel.check()?;
        gathering.add(&batch, buckets)?;
    }
    // What the operators hold is given back before the last rows are stored.
    drop(input);
    gathering.store()?;
    gathering.writer.finish()
}

/// Rows on their way into the store.
struct Gathering {
    is_scattered: bool,
    schema: SchemaRef,
    limit_bytes: u64,
    writer: StoreWriter,
    scatter: Scatter,
    /// Batches whose rows stand bucket after bucket.
    batches: Vec<RecordBatch>,
    /// Where each bucket's rows are in them.
    pieces: Vec<Vec<Piece>>,
    reservation: Reservation,
}

/// Rows of one batch that go to one bucket.
#[derive(Clone, Copy)]
struct Piece {
    batch: usize,
    start: usize,
    len: usize,
}

impl Gathering {
    fn add(&mut self, batch: &RecordBatch, buckets: u32) -> Result<()> {
        // An operator may have dropped most of a batch's rows and kept its buffers.
        let batch = compact(batch)?;
        let pieces = size_of::<Piece>() as u64 * u64::from(buckets);
        let bytes = unique_bytes(&batch) + BATCH_OVERHEAD_BYTES + pieces;
        if !self.reservation.try_grow(bytes) {
            if self.reservation.held_bytes() >= MIN_ROUND_BYTES {
                self.store()?;
            }
            self.reservation.grow(bytes);
        }
        let index = self.batches.len();
        if self.is_scattered {
            let hashes = batch.columns().last().and_then(|c| c.as_primitive_opt::<UInt64Type>());
            let Some(hashes) = hashes else {
                return Err(Error::Internal(String::from("rows to scatter have no hash column")));
            };
            self.scatter.scatter(hashes.values(), buckets);
            self.batches.push(self.scatter.permute(&batch)?);
            for bucket in self.scatter.occupied() {
                let range = self.scatter.range(bucket);
                let piece = Piece { batch: index, start: range.start, len: range.len() };
                self.pieces[bucket as usize].push(piece);
            }
        } else {
            let piece = Piece { batch: index, start: 0, len: batch.num_rows() };
            self.batches.push(batch);
            self.pieces[0].push(piece);
        }
        if self.reservation.held_bytes() >= self.limit_bytes { self.store() } else { Ok(()) }
    }

    /// Moves all that was gathered into the store.
    fn store(&mut self) -> Result<()> {
        let rows: usize = self.batches.iter().map(RecordBatch::num_rows).sum();
        let bytes: u64 = self.batches.iter().map(row_bytes).sum();
        let most_rows = rows_per_batch(rows, bytes);
        for (bucket, pieces) in (0..).zip(&mut self.pieces) {
            let mut group = Vec::new();
            let mut group_rows = 0;
            for piece in pieces.drain(..) {
                let batch = &self.batches[piece.batch];
                for start in (0..piece.len).step_by(most_rows) {
                    let len = most_rows.min(piece.len - start);
                    group.push(batch.slice(piece.start + start, len));
                    group_rows += len;
                    if group_rows > most_rows / 2 {
                        self.writer.push(bucket, joined(&mut group, &self.schema)?)?;
                        group_rows = 0;
                    }
                }
            }
            if group_rows > 0 {
                self.writer.push(bucket, joined(&mut group, &self.schema)?)?;
            }
        }
        self.batches.clear();
        self.reservation.free();
        Ok(())
    }
}

/// How many rows make a batch of about [`BATCH_BYTES`], and at most [`BATCH_ROWS`].
fn rows_per_batch(rows: usize, bytes: u64) -> usize {
    let bytes_per_row = bytes / (rows as u64).max(1);
    let most_rows = BATCH_BYTES.checked_div(bytes_per_row).unwrap_or(u64::MAX);
    usize::try_from(most_rows).unwrap_or(usize::MAX).clamp(1, BATCH_ROWS)
}

/// Several batches as one; the group is empty afterwards.
fn joined(group: &mut Vec<RecordBatch>, schema: &SchemaRef) -> Result<RecordBatch> {
    if group.len() == 1
        && let Some(only) = group.pop()
    {
        return Ok(only);
    }
    let joined = concat_batches(schema, group.iter())?;
    group.clear();
    Ok(joined)
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use arrow::{
        array::{ArrayRef, Int64Array, StringViewArray, UInt64Array},
        compute::concat_batches,
        datatypes::Int64Type,
    };
    use proptest::prelude::*;

    use super::*;
    use crate::{
        exchange::store::tests::attempt,
        id::JobId,
        kernels::scatter::bucket_of,
        memory::spill::tests::{FaultyDisk, context},
        operators::Batches,
    };

    /// Rows with their number, some text and this hash.
    fn rows(first: i64, hashes: &[u64]) -> RecordBatch {
        let numbers = (first..).take(hashes.len());
        let text = numbers.clone().map(|n| (n % 3 != 0).then(|| format!("{n},\n{n:\"^20}")));
        let columns: [(&str, ArrayRef); 3] = [
            ("n", Arc::new(numbers.collect::<Int64Array>())),
            ("text", Arc::new(text.collect::<StringViewArray>())),
            ("hash", Arc::new(UInt64Array::from(hashes.to_vec()))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap()
    }

    fn by_hash(buckets: u32) -> Distribution {
        Distribution::Hash { keys: vec![String::from("n")], buckets }
    }

    fn spread(n: i64) -> u64 {
        n.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn stored(context: &TaskContext, attempt: TaskAttempt, bucket: u32) -> Vec<RecordBatch> {
        let mut bucket = context.store.open(attempt, bucket).unwrap().unwrap();
        std::iter::from_fn(|| bucket.next().unwrap()).collect()
    }

    fn numbers(batches: &[RecordBatch]) -> Vec<i64> {
        let of =
            |batch: &RecordBatch| batch.column(0).as_primitive::<Int64Type>().values().to_vec();
        batches.iter().flat_map(of).collect()
    }

    fn write_all(
        batches: Vec<RecordBatch>,
        distribution: &Distribution,
        budget_bytes: u64,
        folder: &Path,
    ) -> (TaskContext, TaskAttempt, Held) {
        let context = context(FaultyDisk::counting(), folder, budget_bytes);
        let attempt = attempt(JobId::random(), 0);
        let schema = rows(0, &[]).schema();
        let input = Box::new(Batches::new(batches));
        let held = write(input, &schema, distribution, attempt, &context).unwrap();
        assert_eq!(context.budget.used_bytes(), context.store.memory_bytes());
        (context, attempt, held)
    }

    proptest! {
        #[test]
        fn every_row_is_in_the_bucket_of_its_hash_in_input_order(
            batches in prop::collection::vec(prop::collection::vec(any::<u64>(), 0..60), 0..12),
            buckets in 1_u32..9,
            budget_bytes in prop_oneof![Just(0_u64), Just(20_000), Just(1 << 30)],
        ) {
            let mut first = 0;
            let mut input = Vec::new();
            for hashes in &batches {
                input.push(rows(first, hashes));
                first += i64::try_from(hashes.len()).unwrap();
            }
            let folder = tempfile::tempdir().unwrap();
            let schema = rows(0, &[]).schema();
            let all = concat_batches(&schema, &input).unwrap();
            let (context, attempt, held) =
                write_all(input, &by_hash(buckets), budget_bytes, folder.path());
            prop_assert_eq!(held.rows, all.num_rows() as u64);
            let hashes = batches.concat();
            for bucket in 0..buckets {
                let found = concat_batches(&schema, &stored(&context, attempt, bucket)).unwrap();
                let expected: Vec<_> = (0..hashes.len())
                    .filter(|row| bucket_of(hashes[*row], buckets) == bucket)
                    .map(|row| all.slice(row, 1))
                    .collect();
                prop_assert_eq!(found, concat_batches(&schema, &expected).unwrap());
            }
        }
    }

    #[test]
    fn small_batches_become_large_ones_and_large_ones_smaller() {
        let folder = tempfile::tempdir().unwrap();
        let hashes: Vec<_> = (0..100_000).map(spread).collect();
        let small = (0..100_000)
            .step_by(100)
            .map(|at: usize| rows(i64::try_from(at).unwrap(), &hashes[at..at + 100]));
        for input in [small.collect(), vec![rows(0, &hashes)]] {
            for distribution in
                [by_hash(4), Distribution::Forward, Distribution::Gather { ordered: true }]
            {
                let (context, attempt, _) =
                    write_all(input.clone(), &distribution, 1 << 30, folder.path());
                let mut all_rows = 0;
                for bucket in 0..distribution.buckets() {
                    let batches = stored(&context, attempt, bucket);
                    let counts: Vec<_> = batches.iter().map(RecordBatch::num_rows).collect();
                    all_rows += counts.iter().sum::<usize>();
                    let scraps = counts.iter().filter(|count| **count < 4_096).count();
                    assert!(scraps <= 1 + counts.len() / 4, "{counts:?}");
                    assert!(counts.iter().all(|count| *count <= 12_288), "{counts:?}");
                }
                assert_eq!(all_rows, 100_000);
            }
        }
    }

    #[test]
    fn wide_rows_make_batches_of_about_a_megabyte() {
        let folder = tempfile::tempdir().unwrap();
        let wide: ArrayRef = Arc::new(StringViewArray::from(vec!["x".repeat(10_000); 2_000]));
        let batch = RecordBatch::try_from_iter([("wide", wide)]).unwrap();
        let context = context(FaultyDisk::counting(), folder.path(), 1 << 30);
        let (attempt, schema) = (attempt(JobId::random(), 0), batch.schema());
        let input = Box::new(Batches::new(vec![batch]));
        write(input, &schema, &Distribution::Forward, attempt, &context).unwrap();
        let counts: Vec<_> =
            stored(&context, attempt, 0).iter().map(RecordBatch::num_rows).collect();
        assert!(counts.iter().all(|count| *count < 160), "{counts:?}");
        assert!(counts.iter().filter(|count| **count < 50).count() < 2, "{counts:?}");
        assert_eq!(counts.iter().sum::<usize>(), 2_000);
    }

    #[test]
    fn rows_left_of_large_batches_do_not_keep_these_alive() {
        let folder = tempfile::tempdir().unwrap();
        let hashes: Vec<_> = (0..10_000).map(spread).collect();
        let whole = rows(0, &hashes);
        let one_percent = unique_bytes(&whole) / 100;
        let few = (0..10_000).step_by(1_000).map(|at| whole.slice(at, 10)).collect();
        let (context, _, held) = write_all(few, &Distribution::Forward, 1 << 30, folder.path());
        assert_eq!(held.rows, 100);
        let bytes = context.store.memory_bytes();
        assert!(bytes < one_percent * 2, "{bytes} bytes, where {one_percent} are one percent");
    }

    #[test]
    fn a_small_budget_gives_the_same_buckets_from_disk() {
        let folder = tempfile::tempdir().unwrap();
        let hashes: Vec<_> = (0..50_000).map(spread).collect();
        let input: Vec<_> = (0..50_000)
            .step_by(5_000)
            .map(|at: usize| rows(i64::try_from(at).unwrap(), &hashes[at..at + 5_000]))
            .collect();
        let (ample, ample_attempt, _) =
            write_all(input.clone(), &by_hash(5), 1 << 30, folder.path());
        let (tiny, tiny_attempt, _) = write_all(input, &by_hash(5), 0, folder.path());
        assert_eq!((ample.store.disk_bytes(), tiny.store.memory_bytes()), (0, 0));
        for bucket in 0..5 {
            let expected = numbers(&stored(&ample, ample_attempt, bucket));
            assert_eq!(numbers(&stored(&tiny, tiny_attempt, bucket)), expected);
        }
        assert!(tiny.budget.peak_bytes() < 3 << 20, "{}", tiny.budget.peak_bytes());
    }

    #[test]
    fn a_cancelled_or_failed_task_leaves_nothing_in_the_store() {
        struct Failing(u32);
        impl Operator for Failing {
            fn next(&mut self) -> Result<Option<RecordBatch>> {
                self.0 += 1;
                match self.0 {
                    5 => Err(Error::Cancelled),
                    n => Ok(Some(rows(0, &vec![u64::from(n); 9_000]))),
                }
            }
        }
        let folder = tempfile::tempdir().unwrap();
        for budget_bytes in [0, 1 << 30] {
            let disk = FaultyDisk::counting();
            let context = context(Arc::clone(&disk) as _, folder.path(), budget_bytes);
            let schema = rows(0, &[]).schema();
            let attempt = attempt(JobId::random(), 0);
            let written = write(Box::new(Failing(0)), &schema, &by_hash(3), attempt, &context);
            assert!(matches!(written, Err(Error::Cancelled)));
            assert!(context.store.held().is_empty());
            assert_eq!((disk.file_count(), context.budget.used_bytes()), (0, 0));
        }
    }

    #[test]
    fn rows_without_a_hash_are_not_scattered() {
        let folder = tempfile::tempdir().unwrap();
        let context = context(FaultyDisk::counting(), folder.path(), 0);
        let batch = rows(0, &[1, 2]).project(&[0, 1]).unwrap();
        let (schema, attempt) = (batch.schema(), attempt(JobId::random(), 0));
        let input = Box::new(Batches::new(vec![batch]));
        let written = write(input, &schema, &by_hash(3), attempt, &context);
        assert!(matches!(written, Err(Error::Internal(_))));
    }
}
