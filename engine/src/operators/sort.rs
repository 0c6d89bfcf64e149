//! `sort`: rows in the order of keys, in memory while they fit and by sorted runs beyond.
//!
//! Rows stay where they are until their order is known; then they are gathered batch by batch.
//! Spilled runs are merged with bounded fan-in. With a limit, what can't be among the first rows is
//! dropped early.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, BooleanArray, RecordBatch},
    compute::{SortOptions, concat, filter_record_batch},
    datatypes::{DataType, SchemaRef},
};

use crate::{
    Result,
    expr::SortKey,
    formats::BATCH_ROWS,
    kernels::{
        compact::{compact, row_bytes, unique_bytes},
        sort_rows::{ROW_BYTES, sort_rows},
    },
    memory::{Reservation, spill::SpillFile},
    operators::{
        Operator,
        merge::{
            Merge, RUN_BLOCK_BYTES, SortedInput, fan_in, gather,
            keys::{KeyEncoder, options},
            merge_in_rounds, write_in_blocks,
        },
    },
    task::context::TaskContext,
};

/// A run smaller than this is not worth a file; so much is held even where the budget refuses.
const MIN_RUN_BYTES: u64 = 1 << 20;

/// A run has no more rows than this, so that they can be numbered.
const MAX_RUN_ROWS: usize = 1 << 31;

/// A run's nested key columns have no more bytes than this: as one array they have 32-bit offsets.
const MAX_NESTED_BYTES: u64 = 1 << 30;

/// With a limit, rows are cut to it whenever so many, and twice the limit, have gathered.
const MIN_CUT_ROWS: usize = 64 << 10;

/// Sorts its input by `keys`.
///
/// - Shape: same schema, same rows (only the first `limit`), batches of 8192.
/// - Order: by `keys`; nulls where each key says; NaN equals NaN and is greatest, -0.0 equals
///   0.0; text by its bytes; equal rows as the input has them.
/// - Memory: rows, a copy of the key columns and 60 bytes a row are charged. Refused, it spills what
///   it has as a sorted run, unless that is less than 1 MiB. Text stays in the rows' buffers.
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
    options: Vec<SortOptions>,
    limit: usize,
    /// A row whose word is greater can't be among the first `limit`; nor can a row whose word is
    /// equal and does not go on, since it comes later.
    bound: Option<u128>,
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
            options: sort.keys.iter().map(options).collect(),
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            bound: None,
            run: Run::default(),
            reservation: sort.context.budget.reservation("sort"),
            spilled: Vec::new(),
        })
    }

    fn add(&mut self, batch: RecordBatch) -> Result<()> {
        let Some(batch) = self.below_bound(batch)? else { return Ok(()) };
        let batch = compact(&batch)?;
        let keys = KeyBytes::of(&batch, &self.sort.keys);
        let bytes = unique_bytes(&batch) + keys.bytes + ROW_BYTES * batch.num_rows() as u64;
        let is_full = self.run.rows + batch.num_rows() > MAX_RUN_ROWS
            || self.run.keys.nested + keys.nested > MAX_NESTED_BYTES;
        let is_refused = !self.reservation.try_grow(bytes);
        if is_refused || is_full {
            let is_run = self.reservation.held_bytes() >= self.sort.min_run_bytes || is_full;
            if self.run.rows > 0 && is_run {
                self.spill()?;
                self.reservation.grow(bytes);
            } else if is_refused {
                self.reservation.grow(bytes);
            }
        }
        self.run.push(batch, keys);
        if self.run.rows > self.limit.saturating_mul(2).max(self.sort.min_cut_rows) {
            self.cut()?;
        }
        Ok(())
    }

    /// The rows that may be among the first `limit`, where there are some.
    fn below_bound(&self, batch: RecordBatch) -> Result<Option<RecordBatch>> {
        let Some(bound) = self.bound else { return Ok(Some(batch)) };
        let is_in = |word: u128| word < bound || (word == bound && self.encoder.goes_on(word));
        let words = self.encoder.words(&batch);
        let kept: BooleanArray = words.iter().map(|word| Some(is_in(*word))).collect();
        Ok(match kept.true_count() {
            0 => None,
            count if count == batch.num_rows() => Some(batch),
            _ => Some(filter_record_batch(&batch, &kept)?),
        })
    }

    /// Keeps only the first `limit` rows of what was collected.
    fn cut(&mut self) -> Result<()> {
        let mut sorted = self.sorted_run()?;
        let mut kept = Run::default();
        let mut bytes = 0;
        while let Some(batch) = sorted.next(&self.sort.schema)? {
            let batch = compact(&batch)?;
            let keys = KeyBytes::of(&batch, &self.sort.keys);
            bytes += unique_bytes(&batch) + keys.bytes + ROW_BYTES * batch.num_rows() as u64;
            self.bound = self.encoder.words(&batch).last().copied();
            kept.push(batch, keys);
        }
        self.run = kept;
        self.reservation.free();
        self.reservation.grow(bytes);
        Ok(())
    }

    /// The collected rows, in order.
    fn sorted_run(&mut self) -> Result<SortedRun> {
        let run = std::mem::take(&mut self.run);
        run.sorted(&self.sort.keys, &self.options, self.limit)
    }

    fn spill(&mut self) -> Result<()> {
        let mut sorted = self.sorted_run()?;
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
            let work_bytes = self.run.keys.bytes + ROW_BYTES * self.run.rows as u64;
            let mut sorted = self.sorted_run()?;
            self.reservation.shrink(work_bytes);
            self.reservation.grow(sorted.order_bytes());
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

/// What key columns take once more while they are sorted, each in one array for all of the run.
#[derive(Clone, Copy, Default)]
struct KeyBytes {
    bytes: u64,
    /// Those of columns that have offsets.
    nested: u64,
}

impl KeyBytes {
    fn of(batch: &RecordBatch, keys: &[SortKey]) -> Self {
        let mut sum = Self::default();
        for key in keys {
            let column = batch.column(key.column);
            let width = match column.data_type() {
                // Text stays where it is.
                DataType::Utf8View | DataType::BinaryView => Some(size_of::<u128>()),
                DataType::Boolean => Some(1),
                other => other.primitive_width(),
            };
            if let Some(width) = width {
                sum.bytes += (width * column.len()) as u64;
            } else {
                let bytes = batch.project(&[key.column]).map_or(0, |alone| row_bytes(&alone));
                sum.bytes += bytes;
                sum.nested += bytes;
            }
        }
        sum
    }
}

/// Collected rows.
#[derive(Default)]
struct Run {
    batches: Vec<RecordBatch>,
    rows: usize,
    keys: KeyBytes,
}

impl Run {
    fn push(&mut self, batch: RecordBatch, keys: KeyBytes) {
        self.rows += batch.num_rows();
        self.keys.bytes += keys.bytes;
        self.keys.nested += keys.nested;
        self.batches.push(batch);
    }

    /// The first `limit` rows in order.
    fn sorted(self, keys: &[SortKey], options: &[SortOptions], limit: usize) -> Result<SortedRun> {
        let whole = |key: &SortKey| -> Result<ArrayRef> {
            let pieces: Vec<&dyn Array> =
                self.batches.iter().map(|batch| batch.column(key.column).as_ref()).collect();
            match self.batches.as_slice() {
                [only] => Ok(Arc::clone(only.column(key.column))),
                _ => Ok(concat(&pieces)?),
            }
        };
        let order = if self.rows == 0 {
            Vec::new()
        } else {
            let columns = keys.iter().map(whole).collect::<Result<Vec<_>>>()?;
            sort_rows(&columns, options, limit)?
        };
        Ok(SortedRun {
            places: Places::new(self.batches.iter().map(RecordBatch::num_rows)),
            batches: self.batches,
            order,
            position: 0,
            reservation: None,
        })
    }
}

/// Where the rows of a run are, by their numbers.
struct Places {
    /// The number of each batch's first row, and behind the last one how many there are.
    starts: Vec<usize>,
    /// The batch of every [`Self::STEP`]th row.
    batches: Vec<usize>,
}

impl Places {
    const STEP: usize = 1 << 10;

    fn new(batch_rows: impl Iterator<Item = usize>) -> Self {
        let mut starts = vec![0];
        let mut batches = Vec::new();
        for (batch, rows) in batch_rows.enumerate() {
            let end = starts[batch] + rows;
            while batches.len() * Self::STEP < end {
                batches.push(batch);
            }
            starts.push(end);
        }
        Self { starts, batches }
    }

    /// The batch of a row, and its number there.
    fn of(&self, row: usize) -> (usize, usize) {
        let mut batch = self.batches[row / Self::STEP];
        while self.starts[batch + 1] <= row {
            batch += 1;
        }
        (batch, row - self.starts[batch])
    }
}

/// Rows in memory with their order.
struct SortedRun {
    batches: Vec<RecordBatch>,
    places: Places,
    order: Vec<u32>,
    position: usize,
    /// Held until the rows are gone, where they are the output.
    reservation: Option<Reservation>,
}

impl SortedRun {
    fn next(&mut self, schema: &SchemaRef) -> Result<Option<RecordBatch>> {
        let end = self.order.len().min(self.position + BATCH_ROWS);
        let chunk = &self.order[self.position..end];
        if chunk.is_empty() {
            return Ok(None);
        }
        self.position = end;
        if let Some(whole) = self.as_it_is(chunk) {
            return Ok(Some(whole));
        }
        let indices: Vec<_> = chunk.iter().map(|row| self.places.of(*row as usize)).collect();
        gather(&self.batches.iter(), &indices, schema).map(Some)
    }

    /// Rows that follow one another in one batch.
    fn as_it_is(&self, rows: &[u32]) -> Option<RecordBatch> {
        let (first, last) = (*rows.first()? as usize, *rows.last()? as usize);
        let (batch, row) = self.places.of(first);
        let is_in_turn = last == first + rows.len() - 1
            && last < self.places.starts[batch + 1]
            && rows.is_sorted();
        is_in_turn.then(|| self.batches[batch].slice(row, rows.len()))
    }

    /// What the order takes.
    fn order_bytes(&self) -> u64 {
        size_of_val(self.order.as_slice()) as u64
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
