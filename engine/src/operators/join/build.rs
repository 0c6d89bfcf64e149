//! The build side in memory: rows are collected while the budget allows, then their keys go into a
//! [`Lookup`] and the columns that are read into one array each.

use std::{mem::size_of, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions},
    buffer::BooleanBuffer,
    compute::{concat, filter_record_batch, not},
    datatypes::{DataType, Schema},
};

use super::{NO_ROW, key_filter::KeyHashes, lookup::Lookup, shape::Shape};
use crate::{
    Error, Result,
    kernels::{
        column::from_canonical_words,
        compact::{compact, unique_bytes},
        growth::settle,
    },
    memory::Reservation,
    operators::Operator,
    source::runtime_filter::KeySet,
    task::context::TaskContext,
};

/// What a row costs in a table at most, with one key; set aside while rows are collected.
const TABLE_ROW_BYTES: u64 = 64;
/// What each key more costs.
const KEY_BYTES: u64 = 16;

/// A text column in more buffers than this is copied into one, where there is room: each batch that
/// is made of it refers to all of them.
const MANY_BUFFERS: usize = 8;

/// What is known of all rows of a build side, held or not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts {
    /// Whether there was a row at all.
    pub(super) has_rows: bool,
    /// Whether a row had a null among its keys, where nulls equal nothing.
    pub(super) has_null_key: bool,
}

/// The build side, ready to be probed.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) lookup: Lookup,
    /// The columns that are read, by their index on the build side.
    columns: Vec<Option<ArrayRef>>,
    /// How many rows are held.
    pub(super) rows: usize,
    pub(super) facts: Facts,
    /// The type of its key, where there is one.
    key: Option<DataType>,
    /// Of several keys, those that are told to sources, by their places.
    told: Vec<(usize, Arc<KeyHashes>)>,
    /// All of it, and a byte a row where it must be known which of them had a partner.
    _reservation: Reservation,
}

impl Built {
    /// The values of a column that is read.
    pub(super) fn column(&self, index: usize) -> Result<&ArrayRef> {
        let missing = || Error::Internal(format!("column {index} of a build side is not held"));
        self.columns.get(index).and_then(Option::as_ref).ok_or_else(missing)
    }

    /// The values of one of its keys, where they are known apart.
    pub(super) fn key_set(self: &Arc<Self>, key: usize) -> Option<Arc<dyn KeySet>> {
        if self.key.is_some() {
            let keys: Arc<Self> = Arc::clone(self);
            return Some(keys);
        }
        let (_, keys) = self.told.iter().find(|(place, _)| *place == key)?;
        let keys: Arc<KeyHashes> = Arc::clone(keys);
        Some(keys)
    }
}

impl KeySet for Built {
    fn bounds(&self) -> Option<(ArrayRef, ArrayRef)> {
        let (least, greatest) = self.lookup.bounds?;
        // They are those of signed words.
        if self.key == Some(DataType::UInt64) && least > greatest {
            return None;
        }
        let value =
            |word| from_canonical_words(self.key.as_ref()?, std::iter::once(word), None).ok();
        Some((value(least)?, value(greatest)?))
    }

    fn contains(&self, values: &ArrayRef) -> Result<BooleanBuffer> {
        self.lookup.contains(values)
    }
}

/// How memory is had for a table.
pub(super) struct Room<'a> {
    reservation: &'a mut Reservation,
    context: &'a TaskContext,
    /// Whether it is had in any case.
    is_forced: bool,
}

impl Room<'_> {
    /// Sees to it that `bytes` in all are reserved; `false` where that is refused.
    pub(super) fn ask(&mut self, bytes: u64) -> bool {
        let more = bytes.saturating_sub(self.reservation.held_bytes());
        if grow(self.reservation, more, self.context) {
            return true;
        }
        if self.is_forced {
            self.reservation.grow(more);
        }
        self.is_forced
    }
}

/// Takes memory; build sides that wait for a task of theirs make room.
fn grow(reservation: &mut Reservation, bytes: u64, context: &TaskContext) -> bool {
    // Nothing is granted even where others have taken more than there is.
    if bytes == 0 || reservation.try_grow(bytes) {
        return true;
    }
    context.store.builds().drop_idle();
    reservation.try_grow(bytes)
}

/// Rows of the build side on their way into a table.
pub(super) struct Collected {
    /// Rows whose keys may have partners.
    pub(super) keyed: Vec<RecordBatch>,
    /// Rows that have none, and come out.
    pub(super) lonely: Vec<RecordBatch>,
    pub(super) facts: Facts,
    rows: usize,
    /// Of the batches.
    rows_memory: Reservation,
    /// Of the table that they will make.
    table_memory: Reservation,
}

/// What became of a build side.
pub(super) enum Gathered {
    /// All of it is in memory.
    Whole(Built),
    /// It does not fit: what was collected, and the batch that was refused if it was not the table.
    Refused(Collected, Option<RecordBatch>),
}

/// Collects rows of `input`, behind `first`, until it ends or memory is refused.
pub(super) fn gather(
    shape: &Shape,
    first: Option<RecordBatch>,
    input: &mut dyn Operator,
    context: &TaskContext,
) -> Result<Gathered> {
    let mut collected = Collected::new(context);
    let mut first = first;
    loop {
        let Some(batch) = first.take().map_or_else(|| input.next(), |batch| Ok(Some(batch)))?
        else {
            break;
        };
        context.cancel.check()?;
        if let Some(refused) = collected.take(&batch, shape, context)? {
            return Ok(Gathered::Refused(collected, Some(refused)));
        }
    }
    Ok(match collected.built(shape, context, false)? {
        Ok(built) => Gathered::Whole(built),
        Err(collected) => Gathered::Refused(collected, None),
    })
}

impl Collected {
    /// Ready to be probed, whatever the budget says.
    pub(super) fn forced(self, shape: &Shape, context: &TaskContext) -> Result<Built> {
        let refused = |_| Error::Internal(String::from("memory that is taken was refused"));
        self.built(shape, context, true)?.map_err(refused)
    }

    fn new(context: &TaskContext) -> Self {
        Self {
            keyed: Vec::new(),
            lonely: Vec::new(),
            facts: Facts::default(),
            rows: 0,
            rows_memory: context.budget.reservation("join (build side)"),
            table_memory: context.budget.reservation("join (table)"),
        }
    }

    /// Takes a batch in, or gives it back where there is no room.
    fn take(
        &mut self,
        batch: &RecordBatch,
        shape: &Shape,
        context: &TaskContext,
    ) -> Result<Option<RecordBatch>> {
        let (rows, batch) = (batch.num_rows(), compact(batch)?);
        let bytes = unique_bytes(&batch);
        let keys = shape.build_keys.len().saturating_sub(1) as u64;
        let table_bytes = rows as u64 * (TABLE_ROW_BYTES + KEY_BYTES * keys);
        if self.rows + rows >= NO_ROW as usize {
            return Ok(Some(batch));
        }
        let held = self.rows_memory.held_bytes() + self.table_memory.held_bytes();
        if !grow(&mut self.rows_memory, bytes + table_bytes, context) {
            if self.rows > 0 && held + bytes + table_bytes > shape.least_bytes {
                return Ok(Some(batch));
            }
            self.rows_memory.grow(bytes + table_bytes);
        }
        // No other can come between, and take what was granted.
        self.table_memory.grow(table_bytes);
        self.rows_memory.shrink(table_bytes);
        self.rows += rows;
        let (keyed, lonely) = self.facts.apart(batch, shape)?;
        self.keyed.extend(keyed);
        self.lonely.extend(lonely);
        Ok(None)
    }

    /// What the table would have taken is given back, and what each batch takes is told.
    pub(super) fn into_batches(mut self) -> (Vec<RecordBatch>, Vec<RecordBatch>, Reservation) {
        self.table_memory.free();
        (self.keyed, self.lonely, self.rows_memory)
    }

    /// Ready to be probed; itself where there is no room for that and it is not `forced`.
    fn built(
        mut self,
        shape: &Shape,
        context: &TaskContext,
        forced: bool,
    ) -> Result<Result<Built, Self>> {
        // The rows may be fewer by now.
        settle(
            &mut self.rows_memory,
            self.keyed.iter().chain(&self.lonely).map(unique_bytes).sum(),
        );
        let mut room = Room { reservation: &mut self.table_memory, context, is_forced: forced };
        let Some(lookup) = Lookup::build(shape, &self.keyed, &mut room)? else {
            return Ok(Err(self));
        };
        let rows: usize = self.keyed.iter().chain(&self.lonely).map(RecordBatch::num_rows).sum();
        let marks = if shape.rows.asks_build() { rows as u64 } else { 0 };
        let told = told(shape, &self.keyed, context)?;
        let mut rest = Room { reservation: &mut self.table_memory, context, is_forced: forced };
        if !rest.ask(lookup.memory_bytes() + marks) {
            return Ok(Err(self));
        }
        settle(&mut self.table_memory, lookup.memory_bytes() + marks);
        let held: Vec<&RecordBatch> = self.keyed.iter().chain(&self.lonely).collect();
        let mut columns = vec![None; shape.build_schema.fields().len()];
        for index in shape.wanted() {
            let parts: Vec<&ArrayRef> = held.iter().map(|batch| batch.column(index)).collect();
            // Old and new are both there for a moment. The bytes that views point to are shared.
            let mut copy = context.budget.reservation("join (a column of the build side)");
            if parts.len() > 1 && !grow(&mut copy, copied_bytes(&parts), context) {
                if !forced {
                    return Ok(Err(self));
                }
                copy.grow(copied_bytes(&parts));
            }
            columns[index] = whole(&parts, &mut copy)?;
        }
        let facts = self.facts;
        self.keyed.clear();
        self.lonely.clear();
        let mut reservation = self.rows_memory;
        settle(&mut reservation, held_bytes(&columns)? + self.table_memory.held_bytes());
        self.table_memory.free();
        let key = match shape.build_keys.as_slice() {
            [key] => Some(key.data_type()),
            _ => None,
        };
        Ok(Ok(Built { lookup, columns, rows, facts, key, told, _reservation: reservation }))
    }
}

/// The values of each of several keys that is told, where there is memory for them.
fn told(
    shape: &Shape,
    keyed: &[RecordBatch],
    context: &TaskContext,
) -> Result<Vec<(usize, Arc<KeyHashes>)>> {
    let mut told = Vec::new();
    if shape.build_keys.len() < 2 {
        return Ok(told);
    }
    for key in &shape.told_keys {
        let values = keyed.iter().map(|batch| shape.build_keys[*key].evaluate(batch));
        let values = values.collect::<Result<Vec<_>>>()?;
        told.extend(KeyHashes::of_values(&values, context).map(|keys| (*key, Arc::new(keys))));
    }
    Ok(told)
}

impl Facts {
    /// The rows of a batch whose keys may have partners, and those that have none and come out.
    pub(super) fn apart(
        &mut self,
        batch: RecordBatch,
        shape: &Shape,
    ) -> Result<(Option<RecordBatch>, Option<RecordBatch>)> {
        self.has_rows = true;
        let Some(unequal) = shape.unequal(&shape.build_keys(&batch)?) else {
            return Ok((Some(batch), None));
        };
        self.has_null_key = true;
        let is_valid = BooleanArray::new(unequal.into_inner(), None);
        let lonely = if shape.keeps_lonely_build() {
            Some(filter_record_batch(&batch, &not(&is_valid)?)?)
        } else {
            None
        };
        let keyed = filter_record_batch(&batch, &is_valid)?;
        Ok((Some(keyed).filter(|keyed| keyed.num_rows() > 0), lonely))
    }
}

/// What bringing the parts of a column together takes.
fn copied_bytes(parts: &[&ArrayRef]) -> u64 {
    let bytes = |part: &&ArrayRef| match part.as_string_view_opt() {
        Some(part) => part.len() * size_of::<u128>(),
        None => part.get_buffer_memory_size(),
    };
    parts.iter().map(bytes).sum::<usize>() as u64
}

/// The parts of a column as one; `None` where there are no rows.
fn whole(parts: &[&ArrayRef], copy: &mut Reservation) -> Result<Option<ArrayRef>> {
    let array = match parts {
        [] => return Ok(None),
        [only] => ArrayRef::clone(only),
        _ => concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<&dyn Array>>())?,
    };
    if let Some(text) = array.as_string_view_opt()
        && text.data_buffers().len() > MANY_BUFFERS
    {
        let bytes: usize = text.data_buffers().iter().map(arrow::buffer::Buffer::len).sum();
        if copy.try_grow(bytes as u64) {
            return Ok(Some(Arc::new(text.gc())));
        }
    }
    Ok(Some(array))
}

/// The bytes of columns, each allocation once.
fn held_bytes(columns: &[Option<ArrayRef>]) -> Result<u64> {
    let columns: Vec<ArrayRef> = columns.iter().flatten().map(ArrayRef::clone).collect();
    let Some(rows) = columns.first().map(Array::len) else { return Ok(0) };
    let field =
        |column: &ArrayRef| arrow::datatypes::Field::new("", column.data_type().clone(), true);
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let batch = RecordBatch::try_new_with_options(Arc::new(schema), columns, &options)?;
    Ok(unique_bytes(&batch))
}
