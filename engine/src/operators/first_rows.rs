//! `first_rows`: drops rows before a window of which nobody wants them.
//!
//! Where only rows of a rank up to `n` are asked for, a row behind `n` better ones of its partition
//! need not be sorted. Which those are follows from the greatest of the `n` least keys so far, which
//! a heap a partition keeps. Rows are compared by the first key of the order alone: equal ones stay,
//! and the window behind decides. So this may stop at any time, which it does when memory is refused
//! or when it hardly drops anything.

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch},
    buffer::{BooleanBuffer, ScalarBuffer},
    compute::filter_record_batch,
    datatypes::{DataType, UInt64Type},
};

use crate::{
    Error, Result,
    expr::SortKey,
    kernels::{
        column::word_order,
        group_index::GroupIndex,
        growth::{bytes_of, growth_from, reserve, settle},
        hash::canonical_words,
        key_table::MAX_GROUPS,
    },
    memory::Reservation,
    operators::Operator,
    task::{context::TaskContext, metrics::RowCounter},
};

/// So many rows tell whether it is worth it.
const PROBED_ROWS: u64 = 1 << 17;
/// The greatest `n`: beyond, keys kept are many and rows dropped few.
pub const MOST_RANK: u64 = 64;

/// Whether rows can be told apart by a key of this type.
pub fn orders_by(of: &DataType) -> bool {
    of.is_primitive()
        && of.primitive_width().is_some_and(|width| width <= 8)
        && !matches!(of, DataType::Float16 | DataType::Interval(_))
        && !matches!(of, DataType::Decimal32(..) | DataType::Decimal64(..))
}

/// Which rows are wanted.
pub struct Wanted {
    /// The columns of the partition's key.
    pub partition_by: Vec<usize>,
    /// The first key of the order.
    pub key: SortKey,
    /// Rows behind so many better ones of their partition are not.
    pub rank: u64,
    /// Whether the last column is the hash of the partition's key.
    pub is_hashed: bool,
}

/// Drops rows of `input` that have `rank` better ones in their partition.
///
/// - Shape: same schema, same order; never less than the rows wanted. Empty batches are not passed on.
/// - Memory: the partitions' keys and `rank` words each; refused, all further rows are passed on.
/// - Errors: [`Error::Internal`] where columns are not what the plan says.
/// - Source: a bound on the k-th value is the "threshold" of R. Fagin et al., "Optimal aggregation
///   algorithms for middleware" (2003).
pub struct FirstRows {
    input: Box<dyn Operator>,
    wanted: Wanted,
    /// Absent once it has stopped.
    known: Option<Known>,
    dropped: RowCounter,
    reservation: Reservation,
    context: TaskContext,
}

/// What is known of the partitions.
struct Known {
    index: GroupIndex,
    /// Of each partition the `rank` least words so far, as a heap with the greatest in front.
    heaps: Vec<i64>,
    seen: u64,
    kept: u64,
}

impl FirstRows {
    /// Over the rows of `input`, with partition keys of these types.
    ///
    /// # Errors
    /// [`Error::Internal`] for a type that is no key's.
    pub fn new(
        input: Box<dyn Operator>,
        wanted: Wanted,
        types: &[DataType],
        context: &TaskContext,
    ) -> Result<Self> {
        let index = GroupIndex::new(types, wanted.is_hashed)?;
        let known = Some(Known { index, heaps: Vec::new(), seen: 0, kept: 0 });
        let reservation = context.budget.reservation("first_rows");
        let dropped = RowCounter::default();
        Ok(Self { input, wanted, known, dropped, reservation, context: context.clone() })
    }

    /// Counts the rows that it drops there.
    #[must_use]
    pub fn counting(mut self, dropped: RowCounter) -> Self {
        self.dropped = dropped;
        self
    }

    /// Which rows of a batch stay; `None` for all of them.
    fn stay(&mut self, batch: &RecordBatch) -> Result<Option<BooleanArray>> {
        let Some(known) = &mut self.known else { return Ok(None) };
        let of = batch.column(self.wanted.key.column);
        let words = ranked(of, &self.wanted.key)?;
        let keys = self.wanted.partition_by.iter();
        let keys: Vec<ArrayRef> = keys.map(|key| ArrayRef::clone(batch.column(*key))).collect();
        let hashes = hashes(batch, self.wanted.is_hashed)?;
        let rows = batch.num_rows();
        let index = &mut known.index;
        let unknown = index.look_up(&keys, rows, hashes.as_ref(), &mut self.reservation)?;
        let rank = usize::try_from(self.wanted.rank).unwrap_or(usize::MAX);
        let after = (index.len() + unknown.len()).saturating_mul(rank);
        let growth = index.growth(&unknown) + growth_from::<i64>(known.heaps.capacity(), after);
        let needed = known.memory_bytes() + growth.bytes();
        let more = needed.saturating_sub(self.reservation.held_bytes());
        let fits = known.index.len() + unknown.len() <= MAX_GROUPS;
        if !fits || !self.reservation.try_grow(more) {
            self.stop();
            return Ok(None);
        }
        known.index.enter(&unknown);
        let len = known.index.len() * rank;
        if len > known.heaps.len() {
            let added = len - known.heaps.len();
            reserve(&mut known.heaps, added);
            known.heaps.resize(len, i64::MAX);
        }
        let mut stays = Vec::with_capacity(rows);
        for (group, word) in known.index.groups().iter().zip(&words) {
            let first = *group as usize * rank;
            let heap = &mut known.heaps[first..first + rank];
            let greatest = heap[0];
            stays.push(*word <= greatest);
            if *word < greatest {
                replace_greatest(heap, *word);
            }
        }
        let stays = BooleanBuffer::from(stays);
        known.seen += rows as u64;
        known.kept += stays.count_set_bits() as u64;
        self.dropped.add((rows - stays.count_set_bits()) as u64);
        settle(&mut self.reservation, known.memory_bytes());
        if known.seen >= PROBED_ROWS && known.kept > known.seen / 8 * 7 {
            self.stop();
        }
        Ok(Some(BooleanArray::new(stays, None)))
    }

    fn stop(&mut self) {
        self.known = None;
        self.reservation.free();
    }
}

impl Known {
    fn memory_bytes(&self) -> u64 {
        self.index.memory_bytes() + bytes_of(&self.heaps)
    }
}

/// The key's values as integers of which the least comes first in the order.
fn ranked(of: &ArrayRef, key: &SortKey) -> Result<Vec<i64>> {
    let words = canonical_words(of.as_ref())
        .ok_or_else(|| Error::Internal(format!("rows by a key of type {}", of.data_type())))?;
    let order = word_order(of.data_type());
    let descending = key.descending;
    let mut ranked: Vec<i64> = words
        .iter()
        .map(|word| {
            let word = order(word.cast_signed());
            if descending { !word } else { word }
        })
        .collect();
    if let Some(nulls) = of.logical_nulls().filter(|nulls| nulls.null_count() > 0) {
        let of_nulls = if key.nulls_first { i64::MIN } else { i64::MAX };
        for (word, is_valid) in ranked.iter_mut().zip(&nulls) {
            if !is_valid {
                *word = of_nulls;
            }
        }
    }
    Ok(ranked)
}

fn hashes(batch: &RecordBatch, is_hashed: bool) -> Result<Option<ScalarBuffer<u64>>> {
    if !is_hashed {
        return Ok(None);
    }
    let hashes = batch.columns().last().and_then(|last| last.as_primitive_opt::<UInt64Type>());
    let missing = || Error::Internal(String::from("rows of a bucket have no hash column"));
    Ok(Some(hashes.ok_or_else(missing)?.values().clone()))
}

/// Puts a word in the place of a heap's front and restores the heap.
fn replace_greatest(heap: &mut [i64], word: i64) {
    let mut place = 0;
    loop {
        let (left, right) = (2 * place + 1, 2 * place + 2);
        let Some(mut greater) = heap.get(left).map(|_| left) else { break };
        if heap.get(right).is_some_and(|of_right| *of_right > heap[left]) {
            greater = right;
        }
        if heap[greater] <= word {
            break;
        }
        heap[place] = heap[greater];
        place = greater;
    }
    heap[place] = word;
}

impl Operator for FirstRows {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        while let Some(batch) = self.input.next()? {
            self.context.cancel.check()?;
            let Some(stays) = self.stay(&batch)? else { return Ok(Some(batch)) };
            if stays.true_count() == batch.num_rows() {
                return Ok(Some(batch));
            }
            let kept = filter_record_batch(&batch, &stays)?;
            if kept.num_rows() > 0 {
                return Ok(Some(kept));
            }
        }
        // Those that read on sort what they have, and need the memory.
        self.stop();
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, sync::Arc};

    use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        memory::spill::tests::{FaultyDisk, context},
        operators::Batches,
    };

    type Row = (Option<i32>, Option<f64>);

    fn batch(rows: &[Row], first: usize) -> RecordBatch {
        let numbers = (0_i64..).skip(first).take(rows.len());
        let columns: [(&str, ArrayRef); 3] = [
            ("g", Arc::new(rows.iter().map(|row| row.0).collect::<Int32Array>())),
            ("x", Arc::new(rows.iter().map(|row| row.1).collect::<Float64Array>())),
            ("n", Arc::new(Int64Array::from_iter_values(numbers))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap()
    }

    /// The numbers of the rows that are passed on.
    fn kept(batches: &[Vec<Row>], key: &SortKey, rank: u64, budget_bytes: u64) -> Vec<usize> {
        let folder = tempfile::tempdir().unwrap();
        let context = context(FaultyDisk::counting(), folder.path(), budget_bytes);
        let mut first = 0;
        let mut input = Vec::new();
        for rows in batches {
            input.push(batch(rows, first));
            first += rows.len();
        }
        let (partition_by, key) = (vec![0], key.clone());
        let wanted = Wanted { partition_by, key, rank, is_hashed: false };
        let input = Box::new(Batches::new(input));
        let mut rows = FirstRows::new(input, wanted, &[DataType::Int32], &context).unwrap();
        let mut numbers = Vec::new();
        while let Some(batch) = rows.next().unwrap() {
            let column = batch.column(2).as_primitive::<arrow::datatypes::Int64Type>();
            numbers.extend(column.values().iter().map(|n| usize::try_from(*n).unwrap()));
        }
        assert_eq!(context.budget.used_bytes(), 0);
        numbers
    }

    proptest! {
        #[test]
        fn no_row_of_a_wanted_rank_is_lost(
            batches in prop::collection::vec(
                prop::collection::vec(
                    (prop::option::of(0..4i32), prop::option::of(prop::sample::select(
                        vec![-1.5, -0.0, 0.0, 1.0, 2.0, f64::NAN, f64::INFINITY]))),
                    0..40,
                ),
                0..5,
            ),
            rank in 1..4u64,
            descending in any::<bool>(),
            nulls_first in any::<bool>(),
        ) {
            let key = SortKey { column: 1, descending, nulls_first };
            let all: Vec<Row> = batches.concat();
            // Nulls, then numbers with NaN as the greatest, in the order that is asked for.
            let place = |value: Option<f64>| match value {
                None => (if nulls_first { -1 } else { 1 }, 0.0),
                Some(value) => {
                    let value = if value.is_nan() { 2e300 } else { value.min(1e300) };
                    (0, if descending { -value } else { value })
                }
            };
            let numbers = kept(&batches, &key, rank, 1 << 30);
            let mut by_group: HashMap<Option<i32>, Vec<usize>> = HashMap::new();
            for (number, row) in all.iter().enumerate() {
                by_group.entry(row.0).or_default().push(number);
            }
            for rows in by_group.values() {
                for number in rows {
                    let own = place(all[*number].1);
                    let better = rows.iter().filter(|other| place(all[**other].1) < own).count();
                    if (better as u64) < rank {
                        prop_assert!(numbers.contains(number), "row {number} is lost");
                    }
                }
            }
            prop_assert!(numbers.is_sorted());
            prop_assert_eq!(kept(&batches, &key, rank, 0).len(), all.len());
        }
    }

    #[test]
    fn most_rows_of_a_long_partition_are_dropped() {
        let rows: Vec<Row> =
            (0..20_000).map(|n| (Some(n % 3), Some(f64::from(n * 7919 % 20_011)))).collect();
        let batches: Vec<Vec<Row>> = rows.chunks(1_000).map(<[Row]>::to_vec).collect();
        let key = SortKey { column: 1, descending: true, nulls_first: false };
        let numbers = kept(&batches, &key, 2, 1 << 30);
        assert!(numbers.len() < 200, "{} rows", numbers.len());
    }
}
