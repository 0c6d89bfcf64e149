//! The build side: its keys in a table whose groups list their rows, and the columns that are read.

use std::{mem::size_of, ops::Range};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch},
    buffer::NullBuffer,
    compute::{concat, filter, filter_record_batch, not},
    datatypes::UInt64Type,
};

use super::{JoinInput, NO_ROW};
use crate::{
    Error, Result,
    expr::Expr,
    kernels::{
        compact::{compact, unique_bytes},
        growth::{bytes_of, growth_of, reserve, settle},
        key_table::{KeyBatch, KeyTable, NO_GROUP},
    },
    memory::Reservation,
    plan::ProbeColumn,
    task::context::TaskContext,
};

/// The build side, ready to be probed.
#[derive(Debug)]
pub(super) struct Built {
    table: KeyTable,
    /// Where each group's rows begin in `rows`, and behind the last one their number.
    starts: Vec<u32>,
    /// Row numbers, group after group, each group's ascending.
    rows: Vec<u32>,
    /// The columns that are read, by their index on the build side.
    columns: Vec<Option<ArrayRef>>,
    /// How many rows are held.
    row_count: usize,
    /// Whether there was a row at all, held or not.
    has_rows: bool,
    /// Whether a row had a null among its keys.
    has_null_key: bool,
    /// All of it.
    _reservation: Reservation,
}

impl Built {
    /// The place of a group's rows in [`Self::rows`].
    pub(super) fn partners(&self, group: u32) -> Range<usize> {
        let group = group as usize;
        self.starts[group] as usize..self.starts[group + 1] as usize
    }

    /// Row numbers, group after group.
    pub(super) fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// How many rows are held.
    pub(super) fn row_count(&self) -> usize {
        self.row_count
    }

    /// Whether there was a row at all.
    pub(super) fn has_rows(&self) -> bool {
        self.has_rows
    }

    /// Whether a row had a null among its keys.
    pub(super) fn has_null_key(&self) -> bool {
        self.has_null_key
    }

    /// The values of a column that is read.
    pub(super) fn column(&self, index: usize) -> Result<&dyn Array> {
        let column = self.columns.get(index).and_then(Option::as_ref);
        let missing = || Error::Internal(format!("column {index} of a build side is not held"));
        column.map(AsRef::as_ref).ok_or_else(missing)
    }

    /// Puts each row's group into `groups`, [`NO_GROUP`] where it has no partner by its keys.
    pub(super) fn find(
        &self,
        keys: &[ArrayRef],
        hashes: &[u64],
        groups: &mut Vec<u32>,
    ) -> Result<()> {
        self.table.find(&KeyBatch::new(keys)?, hashes, groups);
        Ok(())
    }
}

/// The build side while it is read.
struct Building<'a> {
    context: &'a TaskContext,
    reservation: Reservation,
    table: KeyTable,
    /// With [`NO_GROUP`] for rows that have no partner and are held all the same.
    group_of_row: Vec<u32>,
    /// The columns that are read, ascending, and their parts.
    wanted: Vec<usize>,
    parts: Vec<Vec<ArrayRef>>,
    part_bytes: u64,
}

/// Reads the whole build side.
pub(super) fn build(input: &mut JoinInput, context: &TaskContext) -> Result<Built> {
    let types: Vec<_> = input.build_keys.iter().map(Expr::data_type).collect();
    let wanted = wanted_columns(input);
    let mut building = Building {
        context,
        reservation: context.budget.reservation("join (build side)"),
        table: KeyTable::new(&types)?,
        group_of_row: Vec::new(),
        parts: vec![Vec::new(); wanted.len()],
        wanted,
        part_bytes: 0,
    };
    let (mut has_rows, mut has_null_key) = (false, false);
    let mut groups = Vec::new();
    while let Some(batch) = input.build.next()? {
        context.cancel.check()?;
        has_rows = true;
        let mut keys = evaluate(&input.build_keys, &batch)?;
        let mut batch = batch;
        if !input.null_safe
            && let Some(nulls) = any_null(&keys)
        {
            has_null_key = true;
            let is_valid = BooleanArray::new(nulls.into_inner(), None);
            if input.rows.asks_build() {
                let lonely = filter_record_batch(&batch, &not(&is_valid)?)?;
                building.hold_lonely(&lonely)?;
            }
            batch = filter_record_batch(&batch, &is_valid)?;
            keys = keys.iter().map(|key| filter(key, &is_valid)).collect::<Result<_, _>>()?;
        }
        building.hold(&batch, &keys, &mut groups)?;
    }
    building.finish(input.build_schema.fields().len(), has_rows, has_null_key)
}

impl Building<'_> {
    /// Takes rows in whose keys may have partners.
    fn hold(
        &mut self,
        batch: &RecordBatch,
        keys: &[ArrayRef],
        groups: &mut Vec<u32>,
    ) -> Result<()> {
        let rows = batch.num_rows();
        let keys = KeyBatch::new(keys)?;
        let growth = self.table.growth(&keys, rows) + growth_of(&self.group_of_row, rows);
        self.check_count(rows)?;
        ask(&mut self.reservation, growth.bytes(), self.context)?;
        self.table.find_or_insert(&keys, hashes(batch)?, groups);
        reserve(&mut self.group_of_row, rows);
        self.group_of_row.extend_from_slice(groups);
        self.keep(batch)
    }

    /// Takes rows in that have no partner.
    fn hold_lonely(&mut self, batch: &RecordBatch) -> Result<()> {
        let rows = batch.num_rows();
        self.check_count(rows)?;
        let growth = growth_of(&self.group_of_row, rows);
        ask(&mut self.reservation, growth.bytes(), self.context)?;
        reserve(&mut self.group_of_row, rows);
        self.group_of_row.resize(self.group_of_row.len() + rows, NO_GROUP);
        self.keep(batch)
    }

    fn check_count(&self, more: usize) -> Result<()> {
        if self.group_of_row.len() + more >= NO_ROW as usize {
            return Err(Error::Internal(String::from("a build side of more than 2^32 rows")));
        }
        Ok(())
    }

    /// Keeps the columns that are read.
    fn keep(&mut self, batch: &RecordBatch) -> Result<()> {
        let held = self.table.memory_bytes() + bytes_of(&self.group_of_row) + self.part_bytes;
        settle(&mut self.reservation, held);
        let kept = compact(&batch.project(&self.wanted)?)?;
        ask(&mut self.reservation, unique_bytes(&kept), self.context)?;
        self.part_bytes += unique_bytes(&kept);
        for (part, column) in self.parts.iter_mut().zip(kept.columns()) {
            part.push(ArrayRef::clone(column));
        }
        Ok(())
    }

    fn finish(mut self, columns: usize, has_rows: bool, has_null_key: bool) -> Result<Built> {
        let lists = ((self.table.len() + 2 + self.group_of_row.len()) * size_of::<u32>()) as u64;
        ask(&mut self.reservation, lists, self.context)?;
        let (starts, rows) = rows_by_group(&self.group_of_row, self.table.len());
        let row_count = self.group_of_row.len();
        self.reservation.shrink(bytes_of(&self.group_of_row));
        self.group_of_row = Vec::new();
        let mut whole = vec![None; columns];
        for (index, part) in self.wanted.into_iter().zip(self.parts) {
            whole[index] = concatenated(&part, &mut self.reservation, self.context)?;
        }
        Ok(Built {
            table: self.table,
            starts,
            rows,
            columns: whole,
            row_count,
            has_rows,
            has_null_key,
            _reservation: self.reservation,
        })
    }
}

/// A counting sort of row numbers by their group: where each group begins, and all rows that have
/// one.
#[expect(clippy::cast_possible_truncation, reason = "fewer than 2³² rows, which the caller checks")]
fn rows_by_group(group_of_row: &[u32], groups: usize) -> (Vec<u32>, Vec<u32>) {
    // Counts are kept two places on: the first sum makes them starts one place on, and placing the
    // rows, which moves each start to its end, the starts themselves.
    let mut starts = vec![0; groups + 2];
    for group in group_of_row.iter().filter(|group| **group != NO_GROUP) {
        starts[*group as usize + 2] += 1;
    }
    let mut sum = 0;
    for start in &mut starts {
        sum += *start;
        *start = sum;
    }
    let mut rows = vec![0; sum as usize];
    for (row, group) in group_of_row.iter().enumerate().filter(|(_, group)| **group != NO_GROUP) {
        let next = &mut starts[*group as usize + 1];
        rows[*next as usize] = row as u32;
        *next += 1;
    }
    starts.truncate(groups + 1);
    (starts, rows)
}

/// The parts of a column as one; `None` where there are no rows.
fn concatenated(
    parts: &[ArrayRef],
    reservation: &mut Reservation,
    context: &TaskContext,
) -> Result<Option<ArrayRef>> {
    let [first, _, ..] = parts else { return Ok(parts.first().map(ArrayRef::clone)) };
    // Old and new are both there for a moment. The bytes that views point to are shared.
    let copied: usize = if first.as_string_view_opt().is_some() {
        parts.iter().map(|part| part.len() * size_of::<u128>()).sum()
    } else {
        parts.iter().map(Array::get_buffer_memory_size).sum()
    };
    ask(reservation, copied as u64, context)?;
    let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
    let whole = concat(&parts)?;
    reservation.shrink(copied as u64);
    Ok(Some(whole))
}

/// The build side's columns that are read, ascending.
fn wanted_columns(input: &JoinInput) -> Vec<usize> {
    let of_condition =
        input.condition.iter().flat_map(|condition| condition.columns.iter().flatten());
    let mut wanted: Vec<usize> = input
        .columns
        .iter()
        .chain(of_condition)
        .filter_map(|column| match column {
            ProbeColumn::Build(build) | ProbeColumn::Either { build, .. } => Some(*build),
            ProbeColumn::Probe(_) => None,
        })
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

/// The keys of a batch.
pub(super) fn evaluate(keys: &[Expr], batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
    keys.iter().map(|key| key.evaluate(batch)).collect()
}

/// Rows of which a key is null; `None` where there is no such row.
pub(super) fn any_null(keys: &[ArrayRef]) -> Option<NullBuffer> {
    let union = keys
        .iter()
        .fold(None, |union, key| NullBuffer::union(union.as_ref(), key.logical_nulls().as_ref()));
    union.filter(|nulls| nulls.null_count() > 0)
}

/// The batch's last column.
pub(super) fn hashes(batch: &RecordBatch) -> Result<&[u64]> {
    let column = batch.columns().last().and_then(|column| column.as_primitive_opt::<UInt64Type>());
    let column = column.ok_or_else(|| Error::Internal(String::from("a join without hashes")))?;
    Ok(column.values())
}

/// Memory for the build side, of which all must be held; build sides that wait for a task of
/// theirs make room.
pub(super) fn ask(reservation: &mut Reservation, bytes: u64, context: &TaskContext) -> Result<()> {
    if reservation.try_grow(bytes) {
        return Ok(());
    }
    context.store.builds().drop_idle();
    if reservation.try_grow(bytes) {
        return Ok(());
    }
    Err(Error::MemoryLimit {
        operator: format!(
            "{}, which holds {} bytes and can't spill,",
            reservation.owner(),
            reservation.held_bytes()
        ),
        asked_bytes: bytes,
        budget_bytes: reservation.budget().limit_bytes(),
    })
}
