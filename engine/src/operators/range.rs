//! A sort by ranges: a sample of the keys, and the range of each row, by which an exchange scatters.
//!
//! Keys are compared as [`Merge`](super::merge::Merge) compares them, so that the ranges one after
//! another are the order. All tasks that scatter must find the same ranges, also one that is run again
//! behind a sample that was taken again: a sample follows from its partition's rows alone, never from
//! how they came in batches.

use std::{collections::BTreeSet, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray, BinaryViewArray, RecordBatch, UInt32Array, UInt64Array},
    compute::take_record_batch,
    datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type},
};

use crate::{
    Error, Result,
    expr::SortKey,
    kernels::hash::hash_columns,
    memory::Reservation,
    operators::{Operator, merge::keys::KeyEncoder, spread::hash_of},
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
        let places: Vec<_> = self.keys.iter().map(|key| key.column).collect();
        while let Some(batch) = input.next()? {
            if self.in_order {
                by_number.add(&batch, &encoder)?;
            } else {
                by_hash.add(&batch, &places, &encoder)?;
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

/// The keys of some rows of a batch, as far as they are sampled.
fn keys_of(batch: &RecordBatch, rows: &[u32], encoder: &KeyEncoder) -> Result<Vec<Vec<u8>>> {
    let chosen = take_record_batch(batch, &UInt32Array::from(rows.to_vec()))?;
    let mut keys = encoder.whole(&chosen)?;
    for key in &mut keys {
        key.truncate(MAX_KEY_BYTES);
    }
    Ok(keys)
}

/// The numbers of a batch's rows.
fn numbers_of(batch: &RecordBatch) -> impl Iterator<Item = u32> {
    (0_u32..).take(batch.num_rows())
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

    fn add(&mut self, batch: &RecordBatch, encoder: &KeyEncoder) -> Result<()> {
        let is_chosen = |row: &u32| (self.seen + u64::from(*row)).is_multiple_of(self.stride);
        let rows: Vec<u32> = numbers_of(batch).filter(is_chosen).collect();
        if !rows.is_empty() {
            for (row, key) in rows.iter().zip(keys_of(batch, &rows, encoder)?) {
                self.add_key(self.seen + u64::from(*row), key);
            }
        }
        self.seen += batch.num_rows() as u64;
        Ok(())
    }

    fn add_key(&mut self, number: u64, key: Vec<u8>) {
        // The stride may have grown since the row was chosen.
        if !number.is_multiple_of(self.stride) {
            return;
        }
        self.kept.push(key);
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
    hashes: Vec<u64>,
}

impl ByHash {
    fn new(most: usize) -> Self {
        Self { most, seen: 0, kept: BTreeSet::new(), hashes: Vec::new() }
    }

    fn add(&mut self, batch: &RecordBatch, columns: &[usize], encoder: &KeyEncoder) -> Result<()> {
        hash_columns(batch.project(columns)?.columns(), &mut self.hashes);
        self.seen += batch.num_rows() as u64;
        let is_full = self.kept.len() >= self.most;
        let greatest = self.kept.last().map_or(u64::MAX, |(greatest, _)| *greatest);
        let is_chosen = |row: &u32| !is_full || self.hashes[*row as usize] <= greatest;
        let rows: Vec<u32> = numbers_of(batch).filter(is_chosen).collect();
        if rows.is_empty() {
            return Ok(());
        }
        for (row, key) in rows.iter().zip(keys_of(batch, &rows, encoder)?) {
            self.kept.insert((self.hashes[*row as usize], key));
            if self.kept.len() > self.most {
                self.kept.pop_last();
            }
        }
        Ok(())
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
/// - Memory: the sample while ranges are made, then their bounds, charged by `grow`; 24 bytes a row
///   beside the input's batch, and its encoded keys where bounds agree with them in 16 bytes, not
///   charged.
/// - Errors: those of its inputs; [`Error::Internal`] for a sample that is none.
pub struct Range {
    input: Box<dyn Operator>,
    sample: Option<Box<dyn Operator>>,
    encoder: KeyEncoder,
    buckets: u32,
    schema: SchemaRef,
    bounds: Bounds,
    /// The hash of each range's rows.
    hashes: Vec<u64>,
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
            bounds: Bounds::default(),
            hashes: (0..buckets.max(1)).map(|range| hash_of(range, buckets.max(1))).collect(),
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
        let bounds = bounds(keys, self.buckets);
        self.reservation.free();
        self.reservation.grow(bounds.iter().map(|key| key.len() as u64 + ENTRY_BYTES).sum());
        for key in bounds {
            let Some((word, tail)) = key.split_first_chunk() else {
                return Err(Error::Internal(String::from("a sampled key without a word")));
            };
            let word = u128::from_be_bytes(*word);
            self.bounds.heads.push(head(word));
            self.bounds.words.push(word);
            self.bounds.tails.push(tail.to_vec());
        }
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
        let ranges = self.bounds.ranges(&batch, &self.encoder)?;
        let hashes: Vec<u64> = ranges.iter().map(|range| self.hashes[*range]).collect();
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(UInt64Array::from(hashes)));
        Ok(Some(RecordBatch::try_new(Arc::clone(&self.schema), columns)?))
    }
}

/// The least keys of all ranges but the first, ascending.
#[derive(Default)]
struct Bounds {
    words: Vec<u128>,
    /// The upper halves of the words.
    heads: Vec<u64>,
    /// What follows the words.
    tails: Vec<Vec<u8>>,
}

fn head(word: u128) -> u64 {
    (word >> 64) as u64
}

impl Bounds {
    /// The range of each row.
    fn ranges(&self, batch: &RecordBatch, encoder: &KeyEncoder) -> Result<Vec<usize>> {
        let words = encoder.words(batch);
        let mut tails = None;
        let mut range = |(row, word): (usize, &u128)| -> Result<usize> {
            // Halves are compared in a step, and mostly decide.
            let place = self.heads.partition_point(|bound| *bound < head(*word));
            if self.heads.get(place) != Some(&head(*word)) {
                return Ok(place);
            }
            let first = place + self.words[place..].partition_point(|bound| bound < word);
            if self.words.get(first) != Some(word) {
                return Ok(first);
            }
            let equal = self.words[first..].partition_point(|bound| bound == word);
            if !encoder.goes_on(*word) {
                return Ok(first + equal);
            }
            let tails = match &tails {
                Some(tails) => tails,
                None => tails.insert(encoder.tail(batch)?),
            };
            let tail = tails.row(row);
            let bounds = &self.tails[first..first + equal];
            Ok(first + bounds.partition_point(|bound| bound.as_slice() <= tail.data()))
        };
        words.iter().enumerate().map(&mut range).collect()
    }
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
