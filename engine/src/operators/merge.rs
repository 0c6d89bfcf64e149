//! Merge: sorted inputs → one sorted sequence.
//!
//! Keys are normalised once a batch into bytes whose order is the keys' order; a tree of losers
//! then finds each next row in about log₂(inputs) comparisons. More inputs than may be open at
//! once are merged in rounds, through spill files.

use std::{cmp::Ordering, sync::Arc};

use arrow::{
    array::{Array, RecordBatch, RecordBatchOptions},
    compute::{SortOptions, interleave},
    datatypes::{Schema, SchemaRef},
    row::{RowConverter, Rows, SortField},
};

use crate::{
    Error, Result,
    expr::SortKey,
    formats::BATCH_ROWS,
    kernels::{
        canonical::with_one_zero_and_nan,
        compact::{row_bytes, unique_bytes},
    },
    memory::{
        Budget, Reservation,
        spill::{SpillFile, SpillWriter},
    },
    operators::Operator,
    task::context::TaskContext,
};

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
/// - Shape: the inputs' schema; batches of 8192 rows, the last of what is left. Rows of one input
///   alone come in its own batches.
/// - Order: by `keys`, as [`Sort`](super::sort::Sort) has it; equal rows by the number of their
///   input, then as that input has them.
/// - Memory: one batch of each input with its normalised keys, charged by `grow` where
///   [`Merge::charged_to`] says so. Text stays in the inputs' buffers.
/// - Errors: its inputs'.
pub struct Merge {
    keys: Vec<SortKey>,
    schema: SchemaRef,
    /// How many rows are still wanted.
    wanted: u64,
    reservation: Reservation,
    state: State,
}

enum State {
    /// The inputs have not been pulled.
    Waiting(Vec<Box<dyn Operator>>),
    Merging(Tree),
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
        Self { keys, schema, wanted, reservation, state: State::Waiting(inputs) }
    }

    /// The same, with what it holds charged to a budget.
    #[must_use]
    pub fn charged_to(mut self, budget: &Budget) -> Self {
        self.reservation = budget.reservation("merge");
        self
    }
}

impl Operator for Merge {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        if let State::Waiting(inputs) = &mut self.state {
            let inputs = std::mem::take(inputs);
            let encoder = KeyEncoder::new(&self.keys, &self.schema)?;
            self.state = State::Merging(Tree::new(inputs, encoder, &mut self.reservation)?);
        }
        let State::Merging(tree) = &mut self.state else { return Ok(None) };
        let batch = tree.next_batch(self.wanted, &self.schema, &mut self.reservation)?;
        if let Some(given) = &batch {
            self.wanted -= given.num_rows() as u64;
        } else {
            self.state = State::Done;
            self.reservation.free();
        }
        Ok(batch)
    }
}

/// Turns the key columns of a batch into one byte string a row that sorts like them.
pub(crate) struct KeyEncoder {
    converter: RowConverter,
    columns: Vec<usize>,
}

impl KeyEncoder {
    /// An encoder for batches of `schema`.
    ///
    /// # Errors
    /// [`Error::Internal`] and [`Error::Arrow`] for keys that the plan should not have let
    /// through: none at all, a column that is not there, a type without order.
    pub(crate) fn new(keys: &[SortKey], schema: &Schema) -> Result<Self> {
        let column_count = schema.fields().len();
        if keys.is_empty() || keys.iter().any(|key| key.column >= column_count) {
            let reason = format!("sort keys {keys:?} over {column_count} columns");
            return Err(Error::Internal(reason));
        }
        let field = |key: &SortKey| {
            let options = SortOptions { descending: key.descending, nulls_first: key.nulls_first };
            SortField::new_with_options(schema.field(key.column).data_type().clone(), options)
        };
        Ok(Self {
            converter: RowConverter::new(keys.iter().map(field).collect())?,
            columns: keys.iter().map(|key| key.column).collect(),
        })
    }

    pub(crate) fn encode(&self, batch: &RecordBatch) -> Result<Rows> {
        let columns: Vec<_> = self
            .columns
            .iter()
            .map(|column| with_one_zero_and_nan(batch.column(*column)))
            .collect::<Result<_>>()?;
        Ok(self.converter.convert_columns(&columns)?)
    }
}

/// The first eight bytes of `key` behind `skipped` as a number: keys whose numbers differ, and
/// which agree in what was skipped, sort like their numbers.
pub(crate) fn prefix(key: &[u8], skipped: usize) -> u64 {
    let rest = key.get(skipped..).unwrap_or_default();
    if let Some(first) = rest.first_chunk() {
        return u64::from_be_bytes(*first);
    }
    let mut padded = [0; 8];
    padded[..rest.len()].copy_from_slice(rest);
    u64::from_be_bytes(padded)
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
            Ok(interleave(&arrays, indices)?)
        })
        .collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(indices.len()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// A tree of losers over cursors: each inner node remembers who lost there, node 0 who won all.
struct Tree {
    encoder: KeyEncoder,
    cursors: Vec<Cursor>,
    nodes: Vec<usize>,
    /// The cursors that have rows left.
    active: usize,
    /// The cursors' batches, and those before them whose rows have not been given out.
    held: Vec<Loaded>,
    /// The rows of the next output, as (batch, row).
    chosen: Vec<(usize, usize)>,
}

struct Loaded {
    batch: RecordBatch,
    charged_bytes: u64,
}

/// A place in one input.
struct Cursor {
    input: Box<dyn Operator>,
    /// The normalised keys of the input's batch; `None` at its end.
    rows: Option<Rows>,
    /// The batch's place in [`Tree::held`].
    batch: usize,
    row: usize,
    /// The first bytes of the row's key.
    prefix: u64,
}

impl Cursor {
    fn key(&self) -> Option<&[u8]> {
        self.rows.as_ref().map(|rows| rows.row(self.row).data())
    }

    /// The order of two cursors' rows; a cursor at its end comes last.
    fn compare(&self, other: &Self) -> Ordering {
        match (&self.rows, &other.rows) {
            (Some(_), Some(_)) => {
                self.prefix.cmp(&other.prefix).then_with(|| self.key().cmp(&other.key()))
            }
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        }
    }
}

impl Tree {
    fn new(
        inputs: Vec<Box<dyn Operator>>,
        encoder: KeyEncoder,
        reservation: &mut Reservation,
    ) -> Result<Self> {
        let before_rows = |input| Cursor { input, rows: None, batch: 0, row: 0, prefix: 0 };
        let mut tree = Self {
            encoder,
            active: inputs.len(),
            cursors: inputs.into_iter().map(before_rows).collect(),
            nodes: Vec::new(),
            held: Vec::new(),
            chosen: Vec::new(),
        };
        for cursor in 0..tree.cursors.len() {
            tree.load(cursor, reservation)?;
        }
        tree.play_all();
        Ok(tree)
    }

    /// The next rows, at most `wanted`.
    fn next_batch(
        &mut self,
        wanted: u64,
        schema: &SchemaRef,
        reservation: &mut Reservation,
    ) -> Result<Option<RecordBatch>> {
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        if wanted == 0 || self.active == 0 {
            return Ok(None);
        }
        if self.active == 1 {
            return self.rest_of_batch(wanted, reservation);
        }
        let count = wanted.min(BATCH_ROWS);
        while self.chosen.len() < count && self.active > 0 {
            let winner = self.nodes[0];
            let cursor = &self.cursors[winner];
            self.chosen.push((cursor.batch, cursor.row));
            self.advance(winner, reservation)?;
            self.replay(winner);
        }
        let batch = gather(&self.held.iter().map(|l| &l.batch), &self.chosen, schema)?;
        self.chosen.clear();
        self.release(reservation);
        Ok(Some(batch))
    }

    /// What is left of the batch of the only input that has rows left.
    fn rest_of_batch(
        &mut self,
        wanted: usize,
        reservation: &mut Reservation,
    ) -> Result<Option<RecordBatch>> {
        let winner = self.nodes[0];
        let Cursor { batch, row, .. } = self.cursors[winner];
        let whole = &self.held[batch].batch;
        let rest = whole.slice(row, wanted.min(whole.num_rows() - row));
        self.load(winner, reservation)?;
        self.release(reservation);
        Ok(Some(rest))
    }

    fn advance(&mut self, cursor: usize, reservation: &mut Reservation) -> Result<()> {
        let moved = &mut self.cursors[cursor];
        moved.row += 1;
        let row_count = moved.rows.as_ref().map_or(0, Rows::num_rows);
        if moved.row == row_count {
            return self.load(cursor, reservation);
        }
        moved.prefix = moved.key().map_or(0, |key| prefix(key, 0));
        Ok(())
    }

    /// Puts a cursor onto the first row of its input's next batch, or at its end.
    fn load(&mut self, cursor: usize, reservation: &mut Reservation) -> Result<()> {
        let cursor = &mut self.cursors[cursor];
        let batch = loop {
            match cursor.input.next()? {
                Some(batch) if batch.num_rows() == 0 => {}
                other => break other,
            }
        };
        let Some(batch) = batch else {
            cursor.rows = None;
            self.active -= 1;
            return Ok(());
        };
        let rows = self.encoder.encode(&batch)?;
        let charged_bytes = unique_bytes(&batch) + rows.size() as u64;
        reservation.grow(charged_bytes);
        (cursor.batch, cursor.row) = (self.held.len(), 0);
        cursor.prefix = prefix(rows.row(0).data(), 0);
        cursor.rows = Some(rows);
        self.held.push(Loaded { batch, charged_bytes });
        Ok(())
    }

    /// Lets go of the batches that no cursor stands in.
    fn release(&mut self, reservation: &mut Reservation) {
        let mut held: Vec<_> = std::mem::take(&mut self.held).into_iter().map(Some).collect();
        for cursor in self.cursors.iter_mut().filter(|cursor| cursor.rows.is_some()) {
            if let Some(loaded) = held[cursor.batch].take() {
                cursor.batch = self.held.len();
                self.held.push(loaded);
            }
        }
        let released = held.into_iter().flatten().map(|loaded| loaded.charged_bytes).sum();
        reservation.shrink(released);
    }

    fn play_all(&mut self) {
        const NOBODY: usize = usize::MAX;
        let count = self.cursors.len();
        self.nodes = vec![NOBODY; count];
        for cursor in 0..count {
            let mut winner = cursor;
            let mut node = usize::midpoint(cursor, count);
            while node != 0 && self.nodes[node] != NOBODY {
                if self.beats(self.nodes[node], winner) {
                    std::mem::swap(&mut winner, &mut self.nodes[node]);
                }
                node /= 2;
            }
            self.nodes[node] = winner;
        }
    }

    /// Plays a cursor that has moved up to the root.
    fn replay(&mut self, cursor: usize) {
        let mut winner = cursor;
        let mut node = usize::midpoint(cursor, self.cursors.len());
        while node != 0 {
            if self.beats(self.nodes[node], winner) {
                std::mem::swap(&mut winner, &mut self.nodes[node]);
            }
            node /= 2;
        }
        self.nodes[0] = winner;
    }

    fn beats(&self, one: usize, other: usize) -> bool {
        self.cursors[one].compare(&self.cursors[other]).then(one.cmp(&other)).is_lt()
    }
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
