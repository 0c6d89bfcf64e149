//! Batches → [`Rows`]: keys, hashes, and what each aggregate takes.
//!
//! A filter is applied before the arguments are evaluated, so that `sum(1 / x) filter (where x <> 0)`
//! has no error. Aggregates that go by the order of rows get a key a row, as bytes: their `order by`,
//! then the row's number, which is that of its task and its place in it, since tasks have the numbers
//! of their partitions and those follow the input's order.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array, UInt64Array},
    buffer::{NullBuffer, ScalarBuffer},
    compute::{SortOptions, filter, filter_record_batch, take},
    datatypes::UInt64Type,
};

use crate::{
    Error, Result,
    expr::{Aggregate, AggregateFunction, Expr},
    kernels::{
        accumulate::{Inputs, row_arguments, sees_nulls, takes_order},
        column::{ASCENDING, encoded},
    },
};

/// A row's number has so many bits for its place in the task's input.
const PLACE_BITS: u32 = 40;

/// A batch made ready to be grouped.
pub(super) struct Rows {
    pub(super) keys: Vec<ArrayRef>,
    pub(super) inputs: Vec<Inputs>,
    /// The hashes of the keys, where they came with the rows.
    pub(super) hashes: Option<ScalarBuffer<u64>>,
    pub(super) count: usize,
}

/// Makes rows of values ready.
pub(super) struct Intake {
    pub(super) keys: Vec<Expr>,
    pub(super) aggregates: Vec<Aggregate>,
    /// The task's partition.
    pub(super) partition: u32,
    /// How many rows have come.
    pub(super) rows: u64,
}

impl Intake {
    /// The next batch's rows.
    ///
    /// # Errors
    /// [`Error::Evaluate`] of a key or an argument.
    pub(super) fn rows(&mut self, batch: &RecordBatch) -> Result<Rows> {
        let keys = self.keys.iter().map(|key| key.evaluate(batch)).collect::<Result<_>>()?;
        let first = self.next_numbers(batch.num_rows())?;
        let inputs = self.aggregates.iter().map(|aggregate| inputs(aggregate, batch, first));
        let inputs = inputs.collect::<Result<_>>()?;
        Ok(Rows { keys, inputs, hashes: None, count: batch.num_rows() })
    }

    /// The number of the first of `rows` rows more.
    fn next_numbers(&mut self, rows: usize) -> Result<u64> {
        let place = self.rows;
        self.rows += rows as u64;
        if self.rows >> PLACE_BITS > 0 || self.partition >> (64 - PLACE_BITS) > 0 {
            let reason = format!("row {} of partition {}", self.rows, self.partition);
            return Err(Error::Internal(format!("{reason} has no number")));
        }
        Ok((u64::from(self.partition) << PLACE_BITS) | place)
    }
}

/// The rows of states that [`PartialReduce`](super::PartialReduce) gave: `keys` columns, then so many
/// columns an aggregate, then the hash.
///
/// # Errors
/// [`Error::Internal`] for a batch of another shape.
pub(super) fn states(batch: &RecordBatch, keys: usize, counts: &[usize]) -> Result<Rows> {
    let Some((hashes, columns)) = batch.columns().split_last() else {
        return Err(Error::Internal(String::from("states without a hash")));
    };
    let Some(hashes) = hashes.as_primitive_opt::<UInt64Type>() else {
        return Err(Error::Internal(format!("a hash of type {}", hashes.data_type())));
    };
    let (keys, mut states) = columns
        .split_at_checked(keys)
        .ok_or_else(|| Error::Internal(String::from("states without their keys")))?;
    let mut inputs = Vec::with_capacity(counts.len());
    for count in counts {
        let (own, others) = states
            .split_at_checked(*count)
            .ok_or_else(|| Error::Internal(String::from("an aggregate without its state")))?;
        inputs.push(Inputs { columns: own.to_vec(), rows: None });
        states = others;
    }
    let (keys, hashes) = (keys.to_vec(), Some(hashes.values().clone()));
    Ok(Rows { keys, inputs, hashes, count: batch.num_rows() })
}

/// What an aggregate takes of a batch whose first row has the number `first`.
pub(crate) fn inputs(aggregate: &Aggregate, batch: &RecordBatch, first: u64) -> Result<Inputs> {
    let mask = match &aggregate.filter {
        Some(filter) => mask(filter, batch)?,
        None => None,
    };
    let mut chosen = None;
    let mut evaluate = |expr: &Expr| match &mask {
        None => expr.evaluate(batch),
        // A column can't fail, and is filtered alone.
        Some(mask) if matches!(expr, Expr::Column { .. }) => {
            Ok(filter(&expr.evaluate(batch)?, mask)?)
        }
        Some(mask) => {
            let kept = match &mut chosen {
                Some(kept) => kept,
                none => none.insert(filter_record_batch(batch, mask)?),
            };
            expr.evaluate(kept)
        }
    };
    let arguments = row_arguments(aggregate).iter();
    let mut columns = arguments.map(&mut evaluate).collect::<Result<Vec<ArrayRef>>>()?;
    let mut rows = mask.as_ref().map(places);
    // What must not be null: the arguments, and what min_by and max_by compare.
    let mut nulls = if sees_nulls(aggregate) {
        None
    } else {
        columns.iter().fold(None, |nulls, column| {
            NullBuffer::union(nulls.as_ref(), column.logical_nulls().as_ref())
        })
    };
    if takes_order(aggregate) {
        let count = rows.as_ref().map_or(batch.num_rows(), Vec::len);
        let (mut order, mut options) = (Vec::new(), Vec::new());
        if aggregate.function.goes_by_value()
            && let Some(by) = aggregate.arguments.get(1)
        {
            let by = evaluate(by)?;
            nulls = NullBuffer::union(nulls.as_ref(), by.logical_nulls().as_ref());
            order.push(by);
            let descending = aggregate.function == AggregateFunction::MaxBy;
            options.push(SortOptions { descending, nulls_first: false });
        }
        for key in &aggregate.order_by {
            order.push(evaluate(&key.expr)?);
            let (descending, nulls_first) = (key.descending, key.nulls_first);
            options.push(SortOptions { descending, nulls_first });
        }
        let numbers = match &rows {
            None => (first..first + count as u64).collect::<Vec<u64>>(),
            Some(rows) => rows.iter().map(|row| first + u64::from(*row)).collect(),
        };
        order.push(Arc::new(UInt64Array::from(numbers)));
        options.push(ASCENDING);
        columns.push(Arc::new(encoded(&order, &options)?));
    }
    if let Some(nulls) = nulls.filter(|nulls| nulls.null_count() > 0) {
        let valid = BooleanArray::new(nulls.into_inner(), None);
        let kept = places(&valid);
        let places = UInt32Array::from(kept.clone());
        for column in &mut columns {
            *column = take(column, &places, None)?;
        }
        rows = Some(match rows {
            None => kept,
            Some(rows) => kept.into_iter().map(|place| rows[place as usize]).collect(),
        });
    }
    Ok(Inputs { columns, rows })
}

/// Which rows a filter lets through; `None` where it is all.
fn mask(filter: &Expr, batch: &RecordBatch) -> Result<Option<BooleanArray>> {
    let kept = filter.evaluate(batch)?;
    let Some(kept) = kept.as_boolean_opt() else {
        return Err(Error::Internal(format!("a filter of type {}", kept.data_type())));
    };
    let kept = match kept.nulls() {
        None => kept.values().clone(),
        Some(nulls) => kept.values() & nulls.inner(),
    };
    Ok((kept.count_set_bits() < kept.len()).then(|| BooleanArray::new(kept, None)))
}

/// The places that are true.
#[expect(clippy::cast_possible_truncation, reason = "a batch has some thousand rows")]
fn places(mask: &BooleanArray) -> Vec<u32> {
    mask.values().set_indices().map(|place| place as u32).collect()
}
