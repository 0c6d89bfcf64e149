//! `key filter`: rows of a join's probe side whose keys its build side has not, left out before they
//! move.
//!
//! Source: Bloom's filter for a semi-join, as in Mullin, "Optimal Semijoins for Distributed Database
//! Systems" (IEEE TSE 1990).

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, BooleanArray, RecordBatch},
    buffer::BooleanBuffer,
    compute::filter_record_batch,
    datatypes::UInt64Type,
};

use super::shared::{Build, BuildKey, Side};
use crate::{
    Error, Result,
    kernels::{bloom::BloomFilter, hash::hash_columns},
    memory::Reservation,
    operators::Operator,
    source::runtime_filter::{KeySet, Known, RuntimeFilter},
    task::context::TaskContext,
};

/// The hashes of a build side's keys.
#[derive(Debug)]
pub(super) struct KeyHashes {
    /// Absent where there was no memory for it: then any row may have a partner.
    filter: Option<BloomFilter>,
    _reservation: Reservation,
}

impl KeyHashes {
    /// Reads a build side, whose last column has its keys' hashes.
    fn of(build: &mut dyn Operator, context: &TaskContext) -> Result<Self> {
        let mut reservation = context.budget.reservation("join (keys)");
        let mut hashes: Vec<u64> = Vec::new();
        while let Some(batch) = build.next()? {
            context.cancel.check()?;
            // Those that were read, and the filter that they will make.
            let rows = hashes.len() + batch.num_rows();
            let wanted = 2 * size_of::<u64>() * rows + BloomFilter::bytes_for(rows);
            let more = (wanted as u64).saturating_sub(reservation.held_bytes());
            if !reservation.try_grow(more) {
                reservation.free();
                return Ok(Self { filter: None, _reservation: reservation });
            }
            hashes.extend_from_slice(hashes_of(&batch)?);
        }
        let filter = BloomFilter::of(&hashes);
        let kept = BloomFilter::bytes_for(hashes.len()) as u64;
        drop(hashes);
        reservation.shrink(reservation.held_bytes().saturating_sub(kept));
        Ok(Self { filter: Some(filter), _reservation: reservation })
    }

    /// Of the values of one key; `None` where there is no memory for it.
    pub(super) fn of_values(values: &[ArrayRef], context: &TaskContext) -> Option<Self> {
        let mut reservation = context.budget.reservation("join (keys)");
        let rows: usize = values.iter().map(|values| values.len()).sum();
        let kept = BloomFilter::bytes_for(rows) as u64;
        if !reservation.try_grow(kept + (size_of::<u64>() * rows) as u64) {
            return None;
        }
        let (mut all, mut hashes) = (Vec::with_capacity(rows), Vec::new());
        for column in values {
            hash_columns(std::slice::from_ref(column), &mut hashes);
            all.extend_from_slice(&hashes);
        }
        let filter = Some(BloomFilter::of(&all));
        drop(all);
        reservation.shrink(reservation.held_bytes().saturating_sub(kept));
        Some(Self { filter, _reservation: reservation })
    }

    fn test(filter: &BloomFilter, hashes: &[u64]) -> BooleanBuffer {
        BooleanBuffer::collect_bool(hashes.len(), |row| filter.may_contain(hashes[row]))
    }
}

impl KeySet for KeyHashes {
    fn bounds(&self) -> Option<(ArrayRef, ArrayRef)> {
        None
    }

    fn contains(&self, values: &ArrayRef) -> Result<BooleanBuffer> {
        let Some(filter) = &self.filter else { return Ok(BooleanBuffer::new_set(values.len())) };
        let mut hashes = Vec::new();
        hash_columns(std::slice::from_ref(values), &mut hashes);
        let found = Self::test(filter, &hashes);
        Ok(match values.logical_nulls() {
            Some(nulls) => &found & nulls.inner(),
            None => found,
        })
    }
}

fn hashes_of(batch: &RecordBatch) -> Result<&[u64]> {
    let hashes = batch.columns().last().and_then(|column| column.as_primitive_opt::<UInt64Type>());
    let missing = || Error::Internal(String::from("rows to filter have no hash column"));
    Ok(hashes.ok_or_else(missing)?.values())
}

/// The input's rows whose hash, their last column, a build side may have.
///
/// - Shape: the input's batches, in their order, with fewer rows. All rows come out once it is known
///   that most of them do.
/// - Memory: 2 bytes a row of the build side, once for all tasks of a process, and while it is read
///   16 more; refused, all rows come out.
/// - Errors: those of the inputs.
pub struct KeyFilter {
    input: Box<dyn Operator>,
    /// Before the first pull.
    build: Option<Box<dyn Operator>>,
    /// Which build side all tasks of the stage read, and how many these are.
    shared: (BuildKey, u32),
    /// Where a source below tests the keys, it is told them, and this is not needed.
    source: Option<RuntimeFilter>,
    tested: Option<Known<KeyHashes>>,
    /// Held until this task has done with it.
    held: Option<Build>,
    context: TaskContext,
}

impl KeyFilter {
    /// Nothing is read before the first pull.
    pub fn new(
        input: Box<dyn Operator>,
        build: Box<dyn Operator>,
        shared: (BuildKey, u32),
        source: Option<RuntimeFilter>,
        context: &TaskContext,
    ) -> Self {
        let context = context.clone();
        Self { input, build: Some(build), shared, source, tested: None, held: None, context }
    }

    fn begin(&mut self, mut build: Box<dyn Operator>) -> Result<()> {
        let ((key, tasks), context) = (self.shared, &self.context);
        let make = || Ok(Side::Keys(Arc::new(KeyHashes::of(&mut *build, context)?)));
        let held = context.store.builds().get(key, tasks, &context.cancel, make)?;
        let Side::Keys(keys) = held.side() else {
            return Err(Error::Internal(String::from("a build side is no set of keys")));
        };
        let keys: Arc<KeyHashes> = Arc::clone(keys);
        match &self.source {
            Some(source) => source.set(keys),
            None => self.tested = Some(Known::new(keys)),
        }
        self.held = Some(held);
        Ok(())
    }
}

impl Operator for KeyFilter {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        if let Some(build) = self.build.take() {
            self.begin(build)?;
        }
        loop {
            let Some(batch) = self.input.next()? else {
                self.held = None;
                return Ok(None);
            };
            let Some(tested) = self.tested.as_mut().filter(|tested| tested.pays()) else {
                return Ok(Some(batch));
            };
            let Some(filter) = &tested.keys.filter else { return Ok(Some(batch)) };
            let found = KeyHashes::test(filter, hashes_of(&batch)?);
            tested.count(found.len(), found.count_set_bits());
            let batch = filter_record_batch(&batch, &BooleanArray::new(found, None))?;
            if batch.num_rows() > 0 {
                return Ok(Some(batch));
            }
        }
    }
}
