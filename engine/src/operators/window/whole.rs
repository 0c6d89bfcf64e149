//! Values that all rows of a file share: those of functions over whole partitions, or over groups of
//! equal rows and what comes before them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, new_null_array};

use crate::{
    Error, Result,
    expr::{
        Aggregate,
        window::{Kind, WindowFunction},
    },
    kernels::{
        accumulate::{Accumulators, Carried as Kept},
        compact::compact,
    },
    memory::spill::SpillReader,
    operators::{
        Operator,
        reduce_by_key::rows::inputs,
        window::{
            aggregate::{self, Carried, Method},
            chunk::{Chunk, Start},
            large::Over,
            value,
        },
    },
};

/// The value of a function of which every frame is the whole file, as one row.
///
/// - Memory: a block of the file, and what the aggregate's own state takes.
pub(super) fn whole(
    function: &WindowFunction,
    reader: SpillReader,
    over: &Over,
) -> Result<ArrayRef> {
    if let Kind::Aggregate(aggregate) = &function.function {
        let method = Method::of(aggregate);
        if method == Method::States {
            return by_accumulators(aggregate, reader, over);
        }
        return running(aggregate, method, reader, Start::Partition, &mut Carried::Nothing, over);
    }
    picked(function, reader, over)
}

/// The value of an aggregate over all rows of a file and those that `carried` knows, which has them
/// all afterwards. The file's rows belong to one group, which begins as `first` says.
pub(super) fn running(
    aggregate: &Aggregate,
    method: Method,
    mut reader: SpillReader,
    first: Start,
    carried: &mut Carried,
    over: &Over,
) -> Result<ArrayRef> {
    let mut begins = first;
    let mut next = reader.next()?;
    while let Some(batch) = next {
        over.context.cancel.check()?;
        let chunk = one_group(batch, begins);
        begins = Start::Row;
        next = reader.next()?;
        let rows = chunk.rows();
        // Only the last block's value is asked for: a sum may be too large on the way to it.
        let frames = if next.is_some() { Vec::new() } else { vec![0..rows; rows] };
        let values = aggregate::evaluate(aggregate, method, &chunk, &frames, carried)?;
        if next.is_none() {
            return Ok(values.slice(rows - 1, 1));
        }
    }
    Err(Error::Internal(String::from("a window over a file without rows")))
}

/// Rows that are one group, or a part of one.
pub(super) fn one_group(batch: RecordBatch, first: Start) -> Chunk {
    let mut starts = vec![Start::Row; batch.num_rows()];
    if let Some(begins) = starts.first_mut() {
        *begins = first;
    }
    Chunk { batch, starts }
}

fn by_accumulators(
    aggregate: &Aggregate,
    mut reader: SpillReader,
    over: &Over,
) -> Result<ArrayRef> {
    let mut accumulators = Accumulators::new(std::slice::from_ref(aggregate), Kept::Values)?;
    let mut reservation = over.context.budget.reservation("window");
    let mut before = 0;
    while let Some(batch) = reader.next()? {
        over.context.cancel.check()?;
        let inputs = inputs(aggregate, &batch, before)?;
        before += batch.num_rows() as u64;
        accumulators.take(&[inputs], &vec![0; batch.num_rows()], 1)?;
        let held = accumulators.memory_bytes();
        reservation.grow(held.saturating_sub(reservation.held_bytes()));
    }
    accumulators.extend(1);
    accumulators.freeze();
    let name = aggregate.to_string();
    let values = accumulators.values(&[0], &[name.as_str()])?;
    let missing = || Error::Internal(String::from("an aggregate without its value"));
    values.into_iter().next().ok_or_else(missing)
}

/// The value at a row of the file: the first, the last, or the n-th.
fn picked(function: &WindowFunction, mut reader: SpillReader, over: &Over) -> Result<ArrayRef> {
    let ignore_nulls = function.ignore_nulls;
    // How many values are still to be passed over; none for the last one.
    let mut skip = match &function.function {
        Kind::NthValue(n) => Some(usize::try_from(n - 1).unwrap_or(usize::MAX)),
        Kind::LastValue => None,
        _ => Some(0),
    };
    let mut found = new_null_array(&function.data_type, 1);
    while let Some(batch) = reader.next()? {
        over.context.cancel.check()?;
        let rows = batch.num_rows();
        let missing = || Error::Internal(String::from("a window function without its argument"));
        let values = function.arguments.first().ok_or_else(missing)?.evaluate(&batch)?;
        let nulls = values.logical_null_count();
        let counted = if ignore_nulls { rows - nulls } else { rows };
        if counted == 0 {
            continue;
        }
        let frame = 0..rows;
        let frame = std::slice::from_ref(&frame);
        match &mut skip {
            None => found = value::last_value(&values, frame, ignore_nulls)?,
            Some(skip) if *skip < counted => {
                return compacted(&value::nth_value(&values, frame, *skip, ignore_nulls)?);
            }
            Some(skip) => *skip -= counted,
        }
        found = compacted(&found)?;
    }
    Ok(found)
}

/// The same values without the block that they were in.
fn compacted(values: &ArrayRef) -> Result<ArrayRef> {
    let batch = RecordBatch::try_from_iter_with_nullable([("value", Arc::clone(values), true)])?;
    Ok(Arc::clone(compact(&batch)?.column(0)))
}
