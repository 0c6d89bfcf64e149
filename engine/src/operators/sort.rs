//! `sort`: rows in the order of keys, in memory while they fit and by sorted runs beyond.
//!
//! Keys are normalised into bytes once a row, runs are sorted by those, and spilled runs are
//! merged with bounded fan-in. With a limit, what can't be among the first rows is dropped early.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{BooleanArray, RecordBatch},
    compute::filter_record_batch,
    datatypes::SchemaRef,
    row::Rows,
};

use crate::{
    Result,
    expr::SortKey,
    formats::BATCH_ROWS,
    kernels::compact::{compact, unique_bytes},
    memory::{Reservation, spill::SpillFile},
    operators::{
        Operator,
        merge::{
            KeyEncoder, Merge, RUN_BLOCK_BYTES, SortedInput, fan_in, gather, merge_in_rounds,
            prefix, write_in_blocks,
        },
    },
    task::context::TaskContext,
};

/// A run smaller than this is not worth a file; so much is held even where the budget refuses.
const MIN_RUN_BYTES: u64 = 1 << 20;

/// With a limit, rows are cut to it whenever so many, and twice the limit, have gathered.
const MIN_CUT_ROWS: usize = 64 << 10;

/// Sorts its input by `keys`.
///
/// - Shape: same schema, same rows (only the first `limit`), batches of 8192.
/// - Order: by `keys`; nulls where each key says; NaN equals NaN and is greatest, -0.0 equals
///   0.0; text by its bytes; equal rows as the input has them.
/// - Memory: rows, normalised keys and 16 bytes a row are charged. Refused, it spills what it has
///   as a sorted run, unless that is less than 1 MiB. Text stays in the rows' buffers.
/// - Errors: its input's, those of the spill, [`Error::Cancelled`](crate::Error).
pub struct Sort {
    input: Option<Box<dyn Operator>>,
    keys: Vec<SortKey>,
    limit: Option<u64>,
    schema: SchemaRef,
    context: TaskContext,
    /// [`MIN_RUN_BYTES`], but in tests.
    min_run_bytes: u64,
    /// [`MIN_CUT_ROWS`], but in tests.
    min_cut_rows: usize,
    output: Output,
}

/// What it gives, once its input has ended.
enum Output {
    None,
    Memory(SortedRun),
    Merge(Box<Merge>),
}

impl Sort {
    /// A sort of `input`, whose rows have `schema`; it keeps what it needs of `context`.
    pub fn new(
        input: Box<dyn Operator>,
        keys: Vec<SortKey>,
        limit: Option<u64>,
        schema: SchemaRef,
        context: &TaskContext,
    ) -> Self {
        Self {
            input: Some(input),
            keys,
            limit,
            schema,
            context: context.clone(),
            min_run_bytes: MIN_RUN_BYTES,
            min_cut_rows: MIN_CUT_ROWS,
            output: Output::None,
        }
    }

    fn sort(&self, mut input: Box<dyn Operator>) -> Result<Output> {
        let mut collector = Collector::new(self)?;
        while let Some(batch) = input.next()? {
            self.context.cancel.check()?;
            collector.add(batch)?;
        }
        // The input's memory is given back before runs are merged.
        drop(input);
        collector.finish()
    }
}

impl Operator for Sort {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        if let Some(input) = self.input.take()
            && self.limit != Some(0)
        {
            self.output = self.sort(input)?;
        }
        let batch = match &mut self.output {
            Output::None => None,
            Output::Memory(run) => run.next(&self.schema)?,
            Output::Merge(merge) => merge.next()?,
        };
        if batch.is_none() {
            self.output = Output::None;
        }
        Ok(batch)
    }
}

/// Takes the input's rows in, and turns them into runs.
struct Collector<'a> {
    sort: &'a Sort,
    encoder: KeyEncoder,
    limit: usize,
    /// A row whose key is not less than this can't be among the first `limit`.
    bound: Option<Vec<u8>>,
    run: Run,
    reservation: Reservation,
    spilled: Vec<SpillFile>,
}

impl<'a> Collector<'a> {
    fn new(sort: &'a Sort) -> Result<Self> {
        let limit = sort.limit.unwrap_or(u64::MAX);
        Ok(Self {
            sort,
            encoder: KeyEncoder::new(&sort.keys, &sort.schema)?,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            bound: None,
            run: Run::default(),
            reservation: sort.context.budget.reservation("sort"),
            spilled: Vec::new(),
        })
    }

    fn add(&mut self, batch: RecordBatch) -> Result<()> {
        let mut batch = batch;
        let mut keys = self.encoder.encode(&batch)?;
        if let Some(bound) = &self.bound {
            let is_below = |row: arrow::row::Row<'_>| Some(row.data() < bound.as_slice());
            let kept: BooleanArray = keys.iter().map(is_below).collect();
            if kept.true_count() == 0 {
                return Ok(());
            }
            if kept.true_count() < batch.num_rows() {
                batch = filter_record_batch(&batch, &kept)?;
                keys = self.encoder.encode(&batch)?;
            }
        }
        let batch = compact(&batch)?;
        let bytes = cost(&batch, &keys);
        if !self.reservation.try_grow(bytes) {
            if self.run.rows > 0 && self.reservation.held_bytes() >= self.sort.min_run_bytes {
                self.spill()?;
            }
            if !self.reservation.try_grow(bytes) {
                self.reservation.grow(bytes);
            }
        }
        self.run.push(batch, keys);
        if self.run.rows > self.limit.saturating_mul(2).max(self.sort.min_cut_rows) {
            self.cut()?;
        }
        Ok(())
    }

    /// Keeps only the first `limit` rows of what was collected.
    fn cut(&mut self) -> Result<()> {
        let mut sorted = std::mem::take(&mut self.run).sorted(self.limit);
        let mut last_key = None;
        let mut kept = Run::default();
        let mut bytes = 0;
        while let Some(batch) = sorted.next(&self.sort.schema)? {
            let batch = compact(&batch)?;
            let keys = self.encoder.encode(&batch)?;
            last_key = keys.iter().last().map(|row| row.data().to_vec());
            bytes += cost(&batch, &keys);
            kept.push(batch, keys);
        }
        self.bound = last_key;
        self.run = kept;
        self.reservation.free();
        self.reservation.grow(bytes);
        Ok(())
    }

    fn spill(&mut self) -> Result<()> {
        let mut sorted = std::mem::take(&mut self.run).sorted(self.limit);
        let context = &self.sort.context;
        let mut writer = context.spill(Arc::clone(&self.sort.schema))?;
        while let Some(batch) = sorted.next(&self.sort.schema)? {
            context.cancel.check()?;
            write_in_blocks(&mut writer, &batch)?;
        }
        self.spilled.push(writer.finish()?);
        drop(sorted);
        self.reservation.free();
        Ok(())
    }

    fn finish(mut self) -> Result<Output> {
        if self.spilled.is_empty() {
            let mut sorted = self.run.sorted(self.limit);
            // The keys have done their work.
            self.reservation.shrink(sorted.drop_keys());
            sorted.reservation = Some(self.reservation);
            return Ok(Output::Memory(sorted));
        }
        if self.run.rows > 0 {
            self.spill()?;
        }
        let block_bytes = self.spilled.iter().map(SpillFile::largest_block_bytes).max();
        let Sort { keys, limit, schema, context, .. } = self.sort;
        let fan_in = fan_in(&context.budget, block_bytes.unwrap_or(RUN_BLOCK_BYTES));
        let runs = self.spilled.into_iter().map(SortedInput::run).collect();
        let merge = merge_in_rounds(runs, keys, schema, *limit, fan_in, context)?;
        Ok(Output::Merge(Box::new(merge)))
    }
}

/// What a batch costs while it is held for sorting, in bytes.
fn cost(batch: &RecordBatch, keys: &Rows) -> u64 {
    let entries = batch.num_rows() * size_of::<Entry>();
    unique_bytes(batch) + (keys.size() + entries) as u64
}

/// Collected rows with their normalised keys.
#[derive(Default)]
struct Run {
    batches: Vec<RecordBatch>,
    keys: Vec<Rows>,
    rows: usize,
}

/// A row to be sorted: where it is, and the part of its key that mostly decides.
#[derive(Clone, Copy)]
struct Entry {
    prefix: u64,
    batch: u32,
    row: u32,
}

impl Run {
    fn push(&mut self, batch: RecordBatch, keys: Rows) {
        self.rows += batch.num_rows();
        self.batches.push(batch);
        self.keys.push(keys);
    }

    /// The first `limit` rows in order.
    fn sorted(self, limit: usize) -> SortedRun {
        let skipped = self.common_prefix_len();
        let mut order = Vec::with_capacity(self.rows);
        for (batch, keys) in (0..).zip(&self.keys) {
            let entry = |(row, key): (u32, arrow::row::Row<'_>)| Entry {
                prefix: prefix(key.data(), skipped),
                batch,
                row,
            };
            order.extend((0..).zip(keys.iter()).map(entry));
        }
        let key = |entry: &Entry| self.keys[entry.batch as usize].row(entry.row as usize).data();
        order.sort_unstable_by(|a, b| {
            let by_key = a.prefix.cmp(&b.prefix).then_with(|| key(a).cmp(key(b)));
            by_key.then_with(|| (a.batch, a.row).cmp(&(b.batch, b.row)))
        });
        order.truncate(limit);
        SortedRun { run: self, order, position: 0, reservation: None }
    }

    /// How many first bytes all keys share: with them left out, a prefix decides more often.
    fn common_prefix_len(&self) -> usize {
        let mut keys = self.keys.iter().flat_map(Rows::iter);
        let Some(first) = keys.next() else { return 0 };
        let first = first.data();
        let mut len = first.len();
        for key in keys {
            let shared = first[..len].iter().zip(key.data()).take_while(|(a, b)| a == b).count();
            len = shared;
            if len == 0 {
                break;
            }
        }
        len
    }
}

/// Rows in memory with their order.
struct SortedRun {
    run: Run,
    order: Vec<Entry>,
    position: usize,
    /// Held until the rows are gone, where they are the output.
    reservation: Option<Reservation>,
}

impl SortedRun {
    fn next(&mut self, schema: &SchemaRef) -> Result<Option<RecordBatch>> {
        let end = self.order.len().min(self.position + BATCH_ROWS);
        let chunk: Range<usize> = self.position..end;
        if chunk.is_empty() {
            return Ok(None);
        }
        self.position = end;
        let indices: Vec<_> =
            self.order[chunk].iter().map(|e| (e.batch as usize, e.row as usize)).collect();
        gather(&self.run.batches.iter(), &indices, schema).map(Some)
    }

    /// Frees the keys, whose bytes it gives back.
    fn drop_keys(&mut self) -> u64 {
        std::mem::take(&mut self.run.keys).iter().map(|keys| keys.size() as u64).sum()
    }
}

#[cfg(test)]
mod types;

#[cfg(test)]
pub(crate) mod tests {
    use std::{cmp::Ordering, path::Path, sync::atomic::Ordering::Relaxed};

    use arrow::{
        array::{ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, StringViewArray},
        compute::concat_batches,
        datatypes::{Float64Type, Int64Type},
    };
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Error,
        memory::spill::tests::{FaultyDisk, context, flip_bits},
        operators::Batches,
    };

    /// One row of what is sorted.
    pub(crate) type Row = (Option<i64>, Option<f64>, Option<String>, Option<bool>);

    pub(crate) fn row() -> impl Strategy<Value = Row> {
        let float = prop::sample::select(vec![
            0.0,
            -0.0,
            1.5,
            -1.5,
            f64::NAN,
            -f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MIN_POSITIVE,
        ]);
        let number = prop_oneof![-3_i64..3, Just(i64::MIN), Just(i64::MAX)];
        let text = prop_oneof!["[ab]{0,2}", "a{30,40}[ab\\n\",]?", Just("\0".to_owned())];
        (
            prop::option::of(number),
            prop::option::of(float),
            prop::option::of(text),
            prop::option::of(any::<bool>()),
        )
    }

    pub(crate) fn sort_keys() -> impl Strategy<Value = Vec<SortKey>> {
        let key = (0_usize..4, any::<bool>(), any::<bool>());
        let key = key.prop_map(|(column, descending, nulls_first)| SortKey {
            column,
            descending,
            nulls_first,
        });
        prop::collection::vec(key, 1..4)
    }

    /// Rows with their number, from `first` on, behind the four columns.
    pub(crate) fn batch(rows: &[Row], first: i64) -> RecordBatch {
        let columns: [(&str, ArrayRef); 5] = [
            ("i", Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>())),
            ("f", Arc::new(rows.iter().map(|row| row.1).collect::<Float64Array>())),
            ("t", Arc::new(rows.iter().map(|row| row.2.as_deref()).collect::<StringViewArray>())),
            ("b", Arc::new(rows.iter().map(|row| row.3).collect::<BooleanArray>())),
            ("id", Arc::new((first..).take(rows.len()).map(Some).collect::<Int64Array>())),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap()
    }

    fn compare_values<T>(
        a: Option<&T>,
        b: Option<&T>,
        key: &SortKey,
        compare: impl Fn(&T, &T) -> Ordering,
    ) -> Ordering {
        match (a, b) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) if key.nulls_first => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => compare_values(b, a, key, compare).reverse(),
            (Some(a), Some(b)) if key.descending => compare(b, a),
            (Some(a), Some(b)) => compare(a, b),
        }
    }

    /// The order that the contract names, written down once more.
    pub(crate) fn compare_rows(a: &Row, b: &Row, keys: &[SortKey]) -> Ordering {
        let floats = |x: &f64, y: &f64| match (x.is_nan(), y.is_nan()) {
            (false, false) => x.partial_cmp(y).unwrap(),
            (x_is_nan, y_is_nan) => x_is_nan.cmp(&y_is_nan),
        };
        let by_key = |key: &SortKey| match key.column {
            0 => compare_values(a.0.as_ref(), b.0.as_ref(), key, Ord::cmp),
            1 => compare_values(a.1.as_ref(), b.1.as_ref(), key, floats),
            2 => compare_values(a.2.as_ref(), b.2.as_ref(), key, Ord::cmp),
            _ => compare_values(a.3.as_ref(), b.3.as_ref(), key, Ord::cmp),
        };
        keys.iter().map(by_key).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }

    pub(crate) fn pull(mut operator: impl Operator) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        while let Some(batch) = operator.next()? {
            assert!(batch.num_rows() > 0);
            batches.push(batch);
        }
        assert!(operator.next()?.is_none(), "the end is not the end");
        Ok(batches)
    }

    pub(crate) fn ids(batches: &[RecordBatch]) -> Vec<i64> {
        let ids = |batch: &RecordBatch| {
            let column = batch.columns().last().unwrap();
            column.as_primitive::<Int64Type>().values().to_vec()
        };
        batches.iter().flat_map(ids).collect()
    }

    fn key(column: usize) -> SortKey {
        SortKey { column, descending: false, nulls_first: false }
    }

    /// A sort that spills whatever it holds as soon as it is refused.
    fn eager(
        batches: Vec<RecordBatch>,
        keys: Vec<SortKey>,
        limit: Option<u64>,
        context: &TaskContext,
    ) -> Sort {
        let schema = batches[0].schema();
        let mut sort = Sort::new(Box::new(Batches::new(batches)), keys, limit, schema, context);
        (sort.min_run_bytes, sort.min_cut_rows) = (0, 10);
        sort
    }

    proptest! {
        #[test]
        fn it_sorts_like_the_model_whatever_the_budget_and_leaves_no_file(
            rows in prop::collection::vec(row(), 1..150),
            keys in sort_keys(),
            batch_rows in 1_usize..40,
            limit in prop::option::of(0_u64..100),
            budget_bytes in prop_oneof![Just(0_u64), Just(20_000), Just(1 << 30)],
        ) {
            let mut expected: Vec<_> = (0_i64..).zip(&rows).collect();
            expected.sort_by(|a, b| compare_rows(a.1, b.1, &keys));
            expected.truncate(limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap()));
            let expected: Vec<_> = expected.into_iter().map(|(id, _)| id).collect();

            let folder = tempfile::tempdir().unwrap();
            let disk = FaultyDisk::counting();
            let context = context(Arc::clone(&disk) as _, folder.path(), budget_bytes);
            let input = batch(&rows, 0);
            let batches: Vec<_> = (0..rows.len())
                .step_by(batch_rows)
                .map(|start| input.slice(start, batch_rows.min(rows.len() - start)))
                .collect();
            let spills = budget_bytes == 0 && batches.len() > 1 && limit.is_none();
            let sorted = pull(eager(batches, keys, limit, &context)).unwrap();
            prop_assert_eq!(&ids(&sorted), &expected);
            for sorted_batch in &sorted {
                for i in 0..sorted_batch.num_rows() {
                    let row = sorted_batch.slice(i, 1);
                    let id = usize::try_from(ids(std::slice::from_ref(&row))[0]).unwrap();
                    prop_assert_eq!(row, input.slice(id, 1));
                }
            }
            prop_assert_eq!(spills && context.spilled_bytes.load(Relaxed) == 0, false);
            prop_assert_eq!((disk.file_count(), context.budget.used_bytes()), (0, 0));
        }
    }

    fn numbered(count: i64) -> Vec<RecordBatch> {
        // 7,919 is prime to the row count: every number comes once, in no order.
        let numbers: Vec<_> = (0..count).map(|i| i * 7_919 % count).collect();
        let rows: Vec<Row> = numbers
            .iter()
            .map(|n| (Some(*n), None, Some(format!("text that is long enough: {n}")), None))
            .collect();
        rows.chunks(8_192).map(|rows| batch(rows, 0)).collect()
    }

    fn sorted_numbers(batches: &[RecordBatch]) -> Vec<i64> {
        let schema = batches[0].schema();
        let all = concat_batches(&schema, batches).unwrap();
        all.column(0).as_primitive::<Int64Type>().values().to_vec()
    }

    #[test]
    fn a_small_budget_spills_and_gives_the_same_rows_within_a_small_peak() {
        let count = 120_000;
        let folder = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::counting();
        let context = context(Arc::clone(&disk) as _, folder.path(), 4 << 20);
        let input = numbered(count);
        let schema = input[0].schema();
        let input = Box::new(Batches::new(input));
        let mut sort = Sort::new(input, vec![key(0)], None, schema, &context);
        let first = sort.next().unwrap().unwrap();
        assert!(disk.file_count() >= 3, "{} runs", disk.file_count());
        let mut sorted = vec![first];
        sorted.extend(pull(sort).unwrap());
        assert_eq!(sorted_numbers(&sorted), (0..count).collect::<Vec<_>>());
        assert!(sorted.iter().all(|batch| batch.num_rows() <= BATCH_ROWS));
        assert!(context.budget.peak_bytes() < 6 << 20, "{}", context.budget.peak_bytes());
        assert!(context.spilled_bytes.load(Relaxed) > 5 << 20);
        assert_eq!((disk.file_count(), context.budget.used_bytes()), (0, 0));
    }

    #[test]
    fn a_limit_holds_no_more_than_a_few_times_its_rows() {
        let folder = tempfile::tempdir().unwrap();
        let context = context(FaultyDisk::counting(), folder.path(), 1 << 30);
        let input = Box::new(Batches::new(numbered(300_000)));
        let schema = batch(&[], 0).schema();
        let sorted = pull(Sort::new(input, vec![key(0)], Some(10), schema, &context)).unwrap();
        assert_eq!(sorted_numbers(&sorted), (0..10).collect::<Vec<_>>());
        assert!(context.budget.peak_bytes() < 16 << 20, "{}", context.budget.peak_bytes());
    }

    #[test]
    fn megabyte_keys_with_separators_survive_the_spill() {
        let folder = tempfile::tempdir().unwrap();
        let context = context(FaultyDisk::counting(), folder.path(), 0);
        let long = "x,\"\n".repeat(250_000);
        let keys = [format!("{long}b"), "a,\"b\"\n".into(), format!("{long}a"), String::new()];
        let rows: Vec<Row> = keys.iter().map(|k| (None, None, Some(k.clone()), None)).collect();
        let batches = (0..).zip(&rows).map(|(id, row)| batch(std::slice::from_ref(row), id));
        let sorted = pull(eager(batches.collect(), vec![key(2)], None, &context)).unwrap();
        assert_eq!(ids(&sorted), [3, 1, 2, 0]);
        let all = concat_batches(&sorted[0].schema(), &sorted).unwrap();
        assert_eq!(all.column(2).as_string_view().value(3), keys[0]);
    }

    #[test]
    fn a_bit_flipped_in_a_run_is_corrupt_and_no_wrong_order() {
        let folder = tempfile::tempdir().unwrap();
        let context = context(FaultyDisk::counting(), folder.path(), 0);
        let mut sort = eager(numbered(20_000), vec![key(0)], None, &context);
        sort.next().unwrap();
        flip_bits(&folder.path().join("scratch"));
        assert!(matches!(pull(sort), Err(Error::Corrupt { .. })));
    }

    #[test]
    fn a_full_disk_is_an_error_and_leaves_nothing_behind() {
        for writes in [0, 3, 9] {
            let folder = tempfile::tempdir().unwrap();
            let disk = FaultyDisk::failing_after(writes);
            let context = context(Arc::clone(&disk) as _, folder.path(), 0);
            let sorted = pull(eager(numbered(40_000), vec![key(0)], None, &context));
            assert!(matches!(sorted, Err(Error::Io { .. })));
            assert_eq!((disk.file_count(), context.budget.used_bytes()), (0, 0));
        }
    }

    #[test]
    fn a_cancelled_sort_ends() {
        let folder = tempfile::tempdir().unwrap();
        let context = context(FaultyDisk::counting(), folder.path(), 0);
        context.cancel.cancel();
        let sorted = pull(eager(numbered(10), vec![key(0)], None, &context));
        assert!(matches!(sorted, Err(Error::Cancelled)));
    }

    #[test]
    fn zeros_are_equal_and_nans_are_equal_and_greatest() {
        let floats = [f64::NAN, 0.0, -f64::NAN, -0.0, f64::INFINITY, -1.0];
        let rows: Vec<Row> = floats.iter().map(|f| (None, Some(*f), None, None)).collect();
        let folder = tempfile::tempdir().unwrap();
        let context = context(FaultyDisk::counting(), folder.path(), 1 << 20);
        let sorted = pull(eager(vec![batch(&rows, 0)], vec![key(1)], None, &context)).unwrap();
        assert_eq!(ids(&sorted), [5, 1, 3, 4, 0, 2]);
        let values = sorted[0].column(1).as_primitive::<Float64Type>();
        assert!(values.value(2).is_sign_negative(), "the value itself is kept");
    }

    #[test]
    fn no_rows_are_no_rows() {
        let folder = tempfile::tempdir().unwrap();
        let context = context(FaultyDisk::counting(), folder.path(), 0);
        let empty = batch(&[], 0);
        assert!(pull(eager(vec![empty], vec![key(0)], None, &context)).unwrap().is_empty());
        assert!(!Path::new(&context.scratch).exists(), "nothing was spilled");
    }
}
