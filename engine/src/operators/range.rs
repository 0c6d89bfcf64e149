//! A sort by ranges: a sample of the keys, and the range of each row, by which an exchange scatters.
//!
//! Keys are compared as the bytes that [`Sort`](super::sort::Sort) and [`Merge`](super::merge::Merge)
//! compare, so that the ranges one after another are the order. All tasks that scatter must find the
//! same ranges, also one that is run again behind a sample that was taken again: a sample follows
//! from its partition's rows alone, never from how they came in batches.

use std::{collections::BTreeSet, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray, BinaryViewArray, RecordBatch, UInt64Array},
    datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type},
};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    Error, Result,
    expr::SortKey,
    memory::Reservation,
    operators::{Operator, merge::KeyEncoder, spread::hash_of},
    task::context::TaskContext,
};

/// The most bytes of a sampled key. Any bytes can divide two ranges, also the beginning of a key.
const MAX_KEY_BYTES: usize = 1 << 10;

/// What a sample's row costs beside its key while it is held.
const ENTRY_BYTES: u64 = 64;

/// The rows that [`SampleKeys`] gives: the beginning of an encoded key, and for how many rows it
/// stands.
pub(crate) fn sample_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("__key", DataType::BinaryView, false),
        Field::new("__rows", DataType::UInt64, false),
    ]))
}

/// A sample of the keys of its input's rows, in one batch of [`sample_schema`].
///
/// - Which: of rows in order those with the numbers 0, s, 2s, …, where s is the least power of two
///   that gives at most `rows`; of others the keys with the least hashes, each once.
/// - Memory: at most `rows` times 1 KiB, twice while it is put out; not charged to the budget.
/// - Errors: its input's; those of encoding keys.
pub struct SampleKeys {
    input: Option<Box<dyn Operator>>,
    keys: Vec<SortKey>,
    rows: usize,
    in_order: bool,
    input_schema: SchemaRef,
    schema: SchemaRef,
}

impl SampleKeys {
    /// Of rows of `input_schema`; `in_order` where they always come in the same sequence.
    pub fn new(
        input: Box<dyn Operator>,
        keys: Vec<SortKey>,
        rows: u32,
        in_order: bool,
        input_schema: SchemaRef,
        schema: SchemaRef,
    ) -> Self {
        let rows = usize::try_from(rows).unwrap_or(usize::MAX).max(1);
        Self { input: Some(input), keys, rows, in_order, input_schema, schema }
    }
}

impl Operator for SampleKeys {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        let Some(mut input) = self.input.take() else { return Ok(None) };
        let encoder = KeyEncoder::new(&self.keys, &self.input_schema)?;
        let (mut by_number, mut by_hash) = (ByNumber::new(self.rows), ByHash::new(self.rows));
        while let Some(batch) = input.next()? {
            for key in &encoder.encode(&batch)? {
                if self.in_order {
                    by_number.add(key.data());
                } else {
                    by_hash.add(key.data());
                }
            }
        }
        let (keys, weight) = if self.in_order { by_number.finish() } else { by_hash.finish() };
        if keys.is_empty() {
            return Ok(None);
        }
        let weights = UInt64Array::from(vec![weight; keys.len()]);
        let columns: Vec<ArrayRef> =
            vec![Arc::new(BinaryViewArray::from_iter_values(keys)), Arc::new(weights)];
        Ok(Some(RecordBatch::try_new(Arc::clone(&self.schema), columns)?))
    }
}

fn beginning(key: &[u8]) -> Vec<u8> {
    key[..key.len().min(MAX_KEY_BYTES)].to_vec()
}

/// The keys of rows with evenly spaced numbers.
struct ByNumber {
    most: usize,
    stride: u64,
    seen: u64,
    kept: Vec<Vec<u8>>,
}

impl ByNumber {
    fn new(most: usize) -> Self {
        Self { most, stride: 1, seen: 0, kept: Vec::new() }
    }

    fn add(&mut self, key: &[u8]) {
        if self.seen.is_multiple_of(self.stride) {
            self.kept.push(beginning(key));
            if self.kept.len() > self.most {
                // Every other one stays: those whose numbers the double stride divides.
                let mut is_odd = true;
                self.kept.retain(|_| {
                    is_odd = !is_odd;
                    !is_odd
                });
                self.stride *= 2;
            }
        }
        self.seen += 1;
    }

    /// The keys, and for how many rows each stands.
    fn finish(self) -> (Vec<Vec<u8>>, u64) {
        (self.kept, self.stride)
    }
}

/// The keys with the least hashes.
struct ByHash {
    most: usize,
    seen: u64,
    kept: BTreeSet<(u64, Vec<u8>)>,
}

impl ByHash {
    fn new(most: usize) -> Self {
        Self { most, seen: 0, kept: BTreeSet::new() }
    }

    fn add(&mut self, key: &[u8]) {
        self.seen += 1;
        let hash = xxh3_64(key);
        let is_full = self.kept.len() >= self.most;
        if is_full && self.kept.last().is_some_and(|(greatest, _)| hash > *greatest) {
            return;
        }
        self.kept.insert((hash, beginning(key)));
        if self.kept.len() > self.most {
            self.kept.pop_last();
        }
    }

    /// The keys, and for how many rows each stands.
    fn finish(self) -> (Vec<Vec<u8>>, u64) {
        let weight = (self.seen / (self.kept.len() as u64).max(1)).max(1);
        (self.kept.into_iter().map(|(_, key)| key).collect(), weight)
    }
}

/// Appends a `UInt64` column of hashes that go to the bucket of each row's range
/// ([`bucket_of`](crate::kernels::scatter::bucket_of)).
///
/// - Ranges: as many as there are buckets, with about as many rows each by the sample; a row goes to
///   that of its key, so that equal keys are in one. Some are empty where few keys have many rows.
/// - Shape: `schema`, which is the input's and the column; same rows, same order.
/// - Memory: the sample while ranges are made, then their bounds, charged by `grow`; encoded keys
///   and 8 bytes a row beside the input's batch, not charged.
/// - Errors: those of its inputs; [`Error::Internal`] for a sample that is none.
pub struct Range {
    input: Box<dyn Operator>,
    sample: Option<Box<dyn Operator>>,
    encoder: KeyEncoder,
    buckets: u32,
    schema: SchemaRef,
    /// The least keys of all ranges but the first, ascending.
    bounds: Vec<Vec<u8>>,
    reservation: Reservation,
}

impl Range {
    /// Over the rows of `input`, with what [`SampleKeys`] gave by the same keys.
    ///
    /// # Errors
    /// [`Error::Internal`] and [`Error::Arrow`] for keys that the plan should not have let through.
    pub fn new(
        input: Box<dyn Operator>,
        sample: Box<dyn Operator>,
        keys: &[SortKey],
        buckets: u32,
        schema: SchemaRef,
        context: &TaskContext,
    ) -> Result<Self> {
        Ok(Self {
            input,
            sample: Some(sample),
            encoder: KeyEncoder::new(keys, &schema)?,
            buckets: buckets.max(1),
            schema,
            bounds: Vec::new(),
            reservation: context.budget.reservation("sort (sample of keys)"),
        })
    }

    /// Makes the ranges.
    fn divide(&mut self, mut sample: Box<dyn Operator>) -> Result<()> {
        let mut keys = Vec::new();
        while let Some(batch) = sample.next()? {
            let columns = batch.columns();
            let found = columns.first().and_then(|column| column.as_binary_view_opt());
            let rows = columns.get(1).and_then(|column| column.as_primitive_opt::<UInt64Type>());
            let (Some(found), Some(rows)) = (found, rows) else {
                return Err(Error::Internal(String::from("a sample of keys is none")));
            };
            let bytes: u64 = found.iter().flatten().map(|key| key.len() as u64 + ENTRY_BYTES).sum();
            self.reservation.grow(bytes);
            let entry = |(key, count): (Option<&[u8]>, &u64)| Some((key?.to_vec(), *count));
            keys.extend(found.iter().zip(rows.values()).filter_map(entry));
        }
        self.bounds = bounds(keys, self.buckets);
        self.reservation.free();
        let bytes = self.bounds.iter().map(|key| key.len() as u64 + ENTRY_BYTES).sum();
        self.reservation.grow(bytes);
        Ok(())
    }
}

impl Operator for Range {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        if let Some(sample) = self.sample.take() {
            self.divide(sample)?;
        }
        let Some(batch) = self.input.next()? else {
            self.reservation.free();
            return Ok(None);
        };
        let keys = self.encoder.encode(&batch)?;
        let hash =
            |key: arrow::row::Row<'_>| hash_of(range_of(key.data(), &self.bounds), self.buckets);
        let hashes: Vec<u64> = keys.iter().map(hash).collect();
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(UInt64Array::from(hashes)));
        Ok(Some(RecordBatch::try_new(Arc::clone(&self.schema), columns)?))
    }
}

/// The range that a key is in.
fn range_of(key: &[u8], bounds: &[Vec<u8>]) -> u32 {
    let range = bounds.partition_point(|bound| bound.as_slice() <= key);
    u32::try_from(range).unwrap_or(u32::MAX)
}

/// The least keys of all ranges but the first, by sampled keys that each stand for so many rows;
/// fewer where no key is left to begin one.
fn bounds(mut sample: Vec<(Vec<u8>, u64)>, buckets: u32) -> Vec<Vec<u8>> {
    sample.sort_unstable();
    let buckets = u128::from(buckets);
    let all: u128 = sample.iter().map(|(_, rows)| u128::from(*rows)).sum();
    let (mut bounds, mut range, mut before) = (Vec::new(), 1, 0);
    for (key, rows) in sample {
        while range < buckets && before * buckets >= all * range {
            bounds.push(key.clone());
            range += 1;
        }
        before += u128::from(rows);
    }
    bounds
}

#[cfg(test)]
mod tests {
    use arrow::compute::concat_batches;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        kernels::scatter::bucket_of,
        memory::spill::tests::{FaultyDisk, context},
        operators::{
            Batches,
            sort::tests::{Row, batch, compare_rows, pull, row, sort_keys},
        },
        plan::with_hash_column,
    };

    fn in_batches(rows: &[Row], batch_rows: usize) -> Batches {
        let chunks = rows.chunks(batch_rows.max(1)).scan(0, |first, chunk| {
            let made = batch(chunk, *first);
            *first += i64::try_from(chunk.len()).unwrap();
            Some(made)
        });
        Batches::new(chunks.collect())
    }

    fn sample(
        rows: &[Row],
        keys: &[SortKey],
        most: u32,
        in_order: bool,
        batch_rows: usize,
    ) -> Vec<RecordBatch> {
        let schema = batch(&[], 0).schema();
        let input = Box::new(in_batches(rows, batch_rows));
        let sample = SampleKeys::new(input, keys.to_vec(), most, in_order, schema, sample_schema());
        pull(sample).unwrap()
    }

    fn by_first() -> Vec<SortKey> {
        vec![SortKey { column: 0, descending: false, nulls_first: false }]
    }

    fn numbers(numbers: impl IntoIterator<Item = i64>) -> Vec<Row> {
        numbers.into_iter().map(|n| (Some(n), None, None, None)).collect()
    }

    /// The range of each row.
    fn ranges(rows: &[Row], keys: &[SortKey], sample: Vec<RecordBatch>, buckets: u32) -> Vec<u32> {
        let folder = tempfile::tempdir().unwrap();
        let context = context(FaultyDisk::counting(), folder.path(), 0);
        let schema = with_hash_column(&batch(&[], 0).schema());
        let (input, sample) = (Box::new(in_batches(rows, 7)), Box::new(Batches::new(sample)));
        let range =
            Range::new(input, sample, keys, buckets, Arc::clone(&schema), &context).unwrap();
        let batches = pull(range).unwrap();
        assert_eq!(context.budget.used_bytes(), 0);
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), rows.len());
        let hashes = batches.iter().flat_map(|batch| {
            batch.columns().last().unwrap().as_primitive::<UInt64Type>().values().to_vec()
        });
        hashes.map(|hash| bucket_of(hash, buckets)).collect()
    }

    proptest! {
        #[test]
        fn a_lesser_row_is_never_in_a_later_range_and_equal_rows_are_in_one(
            rows in prop::collection::vec(row(), 0..60),
            sampled in prop::collection::vec(row(), 0..20),
            keys in sort_keys(),
            buckets in 1_u32..9,
            in_order in any::<bool>(),
        ) {
            let sample = sample(&sampled, &keys, 8, in_order, 5);
            let mut placed: Vec<_> =
                rows.iter().zip(ranges(&rows, &keys, sample, buckets)).collect();
            placed.sort_by(|a, b| compare_rows(a.0, b.0, &keys));
            for pair in placed.windows(2) {
                prop_assert!(pair[0].1 <= pair[1].1);
                if compare_rows(pair[0].0, pair[1].0, &keys).is_eq() {
                    prop_assert_eq!(pair[0].1, pair[1].1);
                }
            }
        }

        #[test]
        fn a_sample_does_not_depend_on_batches_nor_without_order_on_the_sequence(
            rows in prop::collection::vec(row(), 1..60),
            keys in sort_keys(),
            most in 1_u32..20,
            seed in any::<usize>(),
        ) {
            for in_order in [false, true] {
                let whole = sample(&rows, &keys, most, in_order, 1000);
                let count: usize = whole.iter().map(RecordBatch::num_rows).sum();
                prop_assert!(count >= 1 && count <= usize::try_from(most).unwrap());
                prop_assert_eq!(&whole, &sample(&rows, &keys, most, in_order, 1 + seed % 9));
            }
            let mut turned = rows.clone();
            turned.rotate_left(seed % rows.len());
            turned.reverse();
            let whole = sample(&rows, &keys, most, false, 1000);
            prop_assert_eq!(whole, sample(&turned, &keys, most, false, 3));
        }
    }

    #[test]
    fn ranges_have_about_as_many_rows_each() {
        // 7919 is prime, so that these are all numbers below 5000 in a mixed sequence.
        let rows = numbers((0..5000).map(|i| i * 7919 % 5000));
        for in_order in [true, false] {
            let sample = sample(&rows, &by_first(), 256, in_order, 100);
            let mut sizes = [0; 4];
            for range in ranges(&rows, &by_first(), sample, 4) {
                sizes[range as usize] += 1;
            }
            assert!(sizes.iter().all(|size| (900..1600).contains(size)), "{sizes:?}");
        }
    }

    #[test]
    fn a_sample_of_many_rows_stands_for_more_than_one_of_few() {
        // 4 of 8 rows and 3 of 3: the half of all is among the 8.
        let sample = [(0..8, 4), (100..103, 4)]
            .map(|(n, most)| sample(&numbers(n), &by_first(), most, true, 3));
        let all = concat_batches(&sample_schema(), sample.iter().flatten()).unwrap();
        let weights = all.column(1).as_primitive::<UInt64Type>().values().to_vec();
        assert_eq!(weights, [2, 2, 2, 2, 1, 1, 1]);
        let rows = numbers([0, 5, 6, 7, 100]);
        assert_eq!(ranges(&rows, &by_first(), vec![all], 2), [0, 0, 1, 1, 1]);
    }

    #[test]
    fn a_sample_that_is_empty_or_smaller_than_the_buckets_will_do() {
        let rows = numbers([3, 1, 2]);
        assert_eq!(ranges(&rows, &by_first(), Vec::new(), 5), [0, 0, 0]);
        let one = sample(&numbers([2]), &by_first(), 1, true, 1);
        assert_eq!(ranges(&rows, &by_first(), one, 5), [0, 0, 0]);
        // A fifth and two fifths of two rows are over before the second.
        let two = sample(&numbers([2, 1]), &by_first(), 2, true, 1);
        assert_eq!(ranges(&rows, &by_first(), two, 5), [2, 0, 2]);
    }

    #[test]
    fn a_long_key_is_sampled_by_its_beginning() {
        let text = |end: &str| (None, None, Some("x".repeat(5000) + end), None);
        let keys = [SortKey { column: 2, descending: false, nulls_first: false }];
        let rows = [text("a"), text("b")];
        let long = sample(&rows, &keys, 9, true, 1);
        assert!(long[0].column(0).as_binary_view().iter().all(|key| key.unwrap().len() == 1024));
        assert_eq!(ranges(&rows, &keys, long, 2), [1, 1]);
    }
}
