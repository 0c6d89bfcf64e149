//! Merge: sorted inputs → one sorted sequence.
//!
//! Keys are turned once a batch into words whose order is the keys' order; a tree of losers then
//! finds each next row in about log₂(inputs) comparisons. What comes before all other inputs' rows is
//! passed on as it is. More inputs than may be open at once are merged in rounds, through spill
//! files.

use std::sync::Arc;

use arrow::{
    array::{Array, RecordBatch, RecordBatchOptions},
    datatypes::SchemaRef,
};

use crate::{
    Result,
    expr::SortKey,
    kernels::{compact::row_bytes, gather::interleave_rows},
    memory::{
        Budget, Reservation,
        spill::{SpillFile, SpillWriter},
    },
    operators::{
        Operator,
        merge::{keys::KeyEncoder, tree::Tree},
    },
    task::context::TaskContext,
};

pub(crate) mod keys;
mod tree;

/// The most inputs that are merged at once, with any budget.
const MAX_FAN_IN: u64 = 64;

/// The fewest, lest the rounds never end.
const MIN_FAN_IN: u64 = 4;

/// The part of the budget that the inputs of one merge may take.
const FAN_IN_SHARE: u64 = 4;

/// The aim for a block of a sorted run: a merge holds one of each run.
pub(crate) const RUN_BLOCK_BYTES: u64 = 256 << 10;

/// Merges inputs that are each sorted by `keys`.
///
/// - Shape: the inputs' schema; batches of 8192 rows, the last of what is left. Rows that come before
///   all other inputs' are in the batches of their own.
/// - Order: by `keys`, as [`Sort`](super::sort::Sort) has it; equal rows by the number of their
///   input, then as that input has them.
/// - Memory: one batch of each input with 16 bytes a row, and its encoded keys once such words do not
///   decide; charged by `grow` where [`Merge::charged_to`] says so. Text stays in the inputs' buffers.
/// - Errors: its inputs'.
pub struct Merge {
    keys: Vec<SortKey>,
    schema: SchemaRef,
    /// How many rows are still wanted.
    wanted: u64,
    state: State,
}

enum State {
    /// The inputs have not been pulled.
    Waiting(Vec<Box<dyn Operator>>, Reservation),
    Merging(Box<Tree>),
    Done,
}

impl Merge {
    /// A merge of `inputs`, of which only the first `limit` rows are wanted.
    pub fn new(
        inputs: Vec<Box<dyn Operator>>,
        keys: Vec<SortKey>,
        schema: SchemaRef,
        limit: Option<u64>,
    ) -> Self {
        let reservation = Budget::new(u64::MAX).reservation("merge");
        let wanted = limit.unwrap_or(u64::MAX);
        Self { keys, schema, wanted, state: State::Waiting(inputs, reservation) }
    }

    /// The same, with what it holds charged to a budget.
    #[must_use]
    pub fn charged_to(mut self, budget: &Budget) -> Self {
        if let State::Waiting(_, reservation) = &mut self.state {
            *reservation = budget.reservation("merge");
        }
        self
    }
}

impl Operator for Merge {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        if let State::Waiting(..) = &self.state
            && let State::Waiting(inputs, reservation) =
                std::mem::replace(&mut self.state, State::Done)
        {
            let encoder = KeyEncoder::new(&self.keys, &self.schema)?;
            self.state = State::Merging(Box::new(Tree::new(inputs, encoder, reservation)?));
        }
        let State::Merging(tree) = &mut self.state else { return Ok(None) };
        let batch = tree.next_batch(self.wanted, &self.schema)?;
        if let Some(given) = &batch {
            self.wanted -= given.num_rows() as u64;
        } else {
            self.state = State::Done;
        }
        Ok(batch)
    }
}

/// The rows of `batches` at `indices` (batch, row), in that order. Text buffers are shared.
pub(crate) fn gather<'a>(
    batches: &(impl Iterator<Item = &'a RecordBatch> + Clone),
    indices: &[(usize, usize)],
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let columns = (0..schema.fields().len())
        .map(|column| {
            let arrays: Vec<&dyn Array> =
                batches.clone().map(|batch| batch.column(column).as_ref()).collect();
            interleave_rows(&arrays, indices)
        })
        .collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(indices.len()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// A sorted input that has not been opened yet.
pub(crate) struct SortedInput {
    /// Its size, as far as it is known.
    pub(crate) bytes: u64,
    /// Opens it.
    pub(crate) open: Box<dyn FnOnce() -> Result<Box<dyn Operator>> + Send>,
}

impl SortedInput {
    /// The rows of a sorted run.
    pub(crate) fn run(file: SpillFile) -> Self {
        let (bytes, file) = (file.bytes(), Arc::new(file));
        let open =
            move || -> Result<Box<dyn Operator>> { Ok(Box::new(file.reader(0..file.blocks()))) };
        Self { bytes, open: Box::new(open) }
    }
}

/// How many inputs with batches of about `batch_bytes` may be merged at once.
pub(crate) fn fan_in(budget: &Budget, batch_bytes: u64) -> usize {
    // Normalised keys take about as much as the rows.
    let inputs = budget.limit_bytes() / FAN_IN_SHARE / (2 * batch_bytes.max(1));
    usize::try_from(inputs.clamp(MIN_FAN_IN, MAX_FAN_IN)).unwrap_or(usize::MAX)
}

/// Merges any number of inputs with at most `fan_in` of them open at once.
///
/// While there are more, the neighbours with the fewest bytes become one spilled run in their
/// place, so that ties stay in the order of the inputs.
///
/// # Errors
/// Those of the inputs and of the spill; [`Error::Cancelled`].
pub(crate) fn merge_in_rounds(
    mut inputs: Vec<SortedInput>,
    keys: &[SortKey],
    schema: &SchemaRef,
    limit: Option<u64>,
    fan_in: usize,
    context: &TaskContext,
) -> Result<Merge> {
    let merge = |opening: Vec<SortedInput>| -> Result<Merge> {
        let open = opening.into_iter().map(|input| (input.open)()).collect::<Result<_>>()?;
        Ok(Merge::new(open, keys.to_vec(), Arc::clone(schema), limit).charged_to(&context.budget))
    };
    while inputs.len() > fan_in {
        let width = fan_in.min(inputs.len() - fan_in + 1);
        let start = smallest_window(&inputs, width);
        let later = inputs.split_off(start + width);
        let mut merged = merge(inputs.split_off(start))?;
        let mut run = context.spill(Arc::clone(schema))?;
        while let Some(batch) = merged.next()? {
            context.cancel.check()?;
            write_in_blocks(&mut run, &batch)?;
        }
        inputs.push(SortedInput::run(run.finish()?));
        inputs.extend(later);
    }
    merge(inputs)
}

/// Where the `width` neighbours with the fewest bytes begin.
fn smallest_window(inputs: &[SortedInput], width: usize) -> usize {
    let bytes = |window: &[SortedInput]| window.iter().map(|input| input.bytes).sum::<u64>();
    let windows = inputs.windows(width).enumerate();
    windows.min_by_key(|(_, window)| bytes(window)).map_or(0, |(start, _)| start)
}

/// Writes rows of a sorted run in blocks small enough for a merge of many.
pub(crate) fn write_in_blocks(run: &mut SpillWriter, batch: &RecordBatch) -> Result<()> {
    let blocks = row_bytes(batch).div_ceil(RUN_BLOCK_BYTES).max(1);
    let rows = batch.num_rows().div_ceil(usize::try_from(blocks).unwrap_or(usize::MAX)).max(1);
    for start in (0..batch.num_rows()).step_by(rows) {
        run.write(&batch.slice(start, rows.min(batch.num_rows() - start)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Error,
        memory::spill::tests::{FaultyDisk, context},
        operators::{
            Batches,
            sort::tests::{Row, batch, compare_rows, ids, pull, row, sort_keys},
        },
    };

    /// Inputs sorted by `keys`, in batches of `batch_rows`, and the order of all their rows.
    fn inputs(
        mut runs: Vec<Vec<Row>>,
        keys: &[SortKey],
        batch_rows: usize,
    ) -> (Vec<Vec<RecordBatch>>, Vec<i64>) {
        let mut first = 0;
        let mut inputs = Vec::new();
        let mut all = Vec::new();
        for run in &mut runs {
            run.sort_by(|a, b| compare_rows(a, b, keys));
            let run_batch = batch(run, first);
            let starts = (0..run.len()).step_by(batch_rows);
            let slices = starts.map(|at| run_batch.slice(at, batch_rows.min(run.len() - at)));
            inputs.push(slices.collect());
            all.extend((first..).zip(run.iter()));
            first += i64::try_from(run.len()).unwrap();
        }
        all.sort_by(|a, b| compare_rows(a.1, b.1, keys));
        (inputs, all.into_iter().map(|(id, _)| id).collect())
    }

    proptest! {
        #[test]
        fn it_merges_like_a_stable_sort_of_the_inputs_in_a_row(
            runs in prop::collection::vec(prop::collection::vec(row(), 0..30), 0..20),
            keys in sort_keys(),
            batch_rows in 1_usize..10,
            limit in prop::option::of(0_u64..100),
        ) {
            let (inputs, mut expected) = inputs(runs, &keys, batch_rows);
            expected.truncate(limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap()));
            let schema = batch(&[], 0).schema();
            let budget = Budget::new(0);
            let inputs = inputs.into_iter().map(|input| Box::new(Batches::new(input)) as _);
            let merge = Merge::new(inputs.collect(), keys, schema, limit).charged_to(&budget);
            prop_assert_eq!(ids(&pull(merge).unwrap()), expected);
            prop_assert_eq!(budget.used_bytes(), 0);
        }

        #[test]
        fn rounds_give_the_same_rows_as_one_merge_and_leave_no_file(
            runs in prop::collection::vec(prop::collection::vec(row(), 0..10), 0..30),
            keys in sort_keys(),
            limit in prop::option::of(0_u64..100),
            fan_in in 2_usize..8,
        ) {
            let (inputs, mut expected) = inputs(runs, &keys, 4);
            expected.truncate(limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap()));
            let folder = tempfile::tempdir().unwrap();
            let disk = FaultyDisk::counting();
            let context = context(Arc::clone(&disk) as _, folder.path(), 0);
            let schema = batch(&[], 0).schema();
            let inputs = (0..).zip(inputs).map(|(i, input)| SortedInput {
                bytes: i * 37 % 11,
                open: Box::new(move || Ok(Box::new(Batches::new(input)) as _)),
            });
            let merge =
                merge_in_rounds(inputs.collect(), &keys, &schema, limit, fan_in, &context);
            prop_assert_eq!(ids(&pull(merge.unwrap()).unwrap()), expected);
            prop_assert_eq!((disk.file_count(), context.budget.used_bytes()), (0, 0));
        }
    }

    #[test]
    fn only_as_many_inputs_as_the_fan_in_are_open_at_once() {
        use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
        struct Counted(Batches, Arc<AtomicUsize>);
        impl Operator for Counted {
            fn next(&mut self) -> Result<Option<RecordBatch>> {
                self.0.next()
            }
        }
        impl Drop for Counted {
            fn drop(&mut self) {
                self.1.fetch_sub(1, Relaxed);
            }
        }
        let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let inputs = (0..40_i64).map(|i| {
            let (open, most) = (Arc::clone(&open), Arc::clone(&most));
            let rows = batch(&[(Some(i % 3), None, None, None)], i);
            let open_input = move || {
                most.fetch_max(open.fetch_add(1, Relaxed) + 1, Relaxed);
                Ok(Box::new(Counted(Batches::new(vec![rows]), open)) as _)
            };
            SortedInput { bytes: 1, open: Box::new(open_input) }
        });
        let folder = tempfile::tempdir().unwrap();
        let context = context(FaultyDisk::counting(), folder.path(), 0);
        let keys = [SortKey { column: 0, descending: true, nulls_first: false }];
        let schema = batch(&[], 0).schema();
        let merge = merge_in_rounds(inputs.collect(), &keys, &schema, None, 5, &context).unwrap();
        let remainder = |rest| (0..40).filter(move |i| i % 3 == rest);
        let expected: Vec<i64> = remainder(2).chain(remainder(1)).chain(remainder(0)).collect();
        assert_eq!(ids(&pull(merge).unwrap()), expected);
        assert_eq!((most.load(Relaxed), open.load(Relaxed)), (5, 0));
    }

    #[test]
    fn what_comes_before_all_others_is_passed_on_as_it_is() {
        // Tens of rows share a key; those of the inputs meet in one of them.
        let rows = |numbers: std::ops::Range<i64>| {
            let first = numbers.start + i64::from(numbers.start == 2995) * 10_000;
            let rows: Vec<Row> = numbers.map(|n| (Some(n / 10), None, None, None)).collect();
            batch(&rows, first)
        };
        let keys = [SortKey { column: 0, descending: false, nulls_first: false }];
        let merged = |inputs: [Vec<RecordBatch>; 2]| {
            let inputs = inputs.map(|input| Box::new(Batches::new(input)) as _).into();
            pull(Merge::new(inputs, keys.to_vec(), batch(&[], 0).schema(), None)).unwrap()
        };
        let low = || vec![rows(0..1500), rows(1500..3000)];
        let high = || vec![rows(2995..4500)];
        let found = merged([low(), high()]);
        let sizes: Vec<_> = found.iter().map(RecordBatch::num_rows).collect();
        assert_eq!(sizes, [1500, 1500, 1505]);
        assert_eq!(ids(&found), (0..3000).chain(12_995..14_500).collect::<Vec<_>>());
        let turned = merged([high(), low()]);
        let expected = (0..2990).chain(12_995..13_000).chain(2990..3000).chain(13_000..14_500);
        assert_eq!(ids(&turned), expected.collect::<Vec<_>>());
    }

    #[test]
    fn an_error_of_an_input_comes_out() {
        struct Broken;
        impl Operator for Broken {
            fn next(&mut self) -> Result<Option<RecordBatch>> {
                Err(Error::Cancelled)
            }
        }
        let keys = vec![SortKey { column: 0, descending: false, nulls_first: false }];
        let merge = Merge::new(vec![Box::new(Broken)], keys, batch(&[], 0).schema(), None);
        assert!(matches!(pull(merge), Err(Error::Cancelled)));
    }

    #[test]
    fn keys_that_the_plan_should_not_have_let_through_are_refused() {
        let schema = batch(&[], 0).schema();
        let beyond = SortKey { column: 5, descending: false, nulls_first: false };
        assert!(matches!(KeyEncoder::new(&[], &schema), Err(Error::Internal(_))));
        assert!(matches!(KeyEncoder::new(&[beyond], &schema), Err(Error::Internal(_))));
    }

    #[test]
    fn a_small_budget_narrows_the_fan_in() {
        assert_eq!(fan_in(&Budget::new(0), RUN_BLOCK_BYTES), 4);
        assert_eq!(fan_in(&Budget::new(32 << 20), RUN_BLOCK_BYTES), 16);
        assert_eq!(fan_in(&Budget::new(1 << 40), RUN_BLOCK_BYTES), 64);
    }
}
