//! `reduce_by_key`: hash aggregation, [`PartialReduce`] before the exchange and [`FinalReduce`]
//! behind it.
//!
//! Both group by a [`KeyTable`] and keep their aggregates as columns of states. They differ in what
//! they do when the budget refuses more memory: the partial one hands its groups on as they are
//! and starts anew, since the final one merges them anyway; the final one writes them to spill
//! files, apart by some bits of their hash, and later takes one file after the other, which has
//! fewer groups, by the next bits. So the same groups come out, whatever the budget; only their
//! order differs, and none is defined.

use std::sync::Arc;

use arrow::{
    array::{RecordBatch, UInt64Array},
    datatypes::SchemaRef,
};

pub use crate::kernels::accumulate::state_fields;

use crate::{
    Error, Result,
    expr::{Aggregate, Expr},
    kernels::{
        accumulate::{Carried, row_states},
        hash::hash_columns,
    },
    memory::{Reservation, spill::SpillFile},
    operators::Operator,
    task::context::TaskContext,
};
use grouping::{Draining, Grouping, LEVELS, PROBED_ROWS, Room, Split};
use rows::{Intake, Rows};

mod grouping;
pub(crate) mod rows;

/// What an operator may hold whatever the budget says: less than this is not worth a spill.
const LEAST_BYTES: u64 = 1 << 20;
/// So many rows of keys that hardly repeat are handed on as they are before it is tried again.
const PASSED_ROWS: u64 = 1 << 20;
/// After so many rows a partial aggregation hands its groups on, so that their states have room: sums
/// of short integers travel in 64 bits.
const MOST_ROWS: u64 = 1 << 30;
/// What a single group's values may hold whatever the budget says.
const LEAST_GROUP_BYTES: u64 = 16 << 20;

/// Map-side aggregation: what reaches the exchange is one row a group, not one row a row.
///
/// - Shape: `schema` = keys, [states](state_fields), the keys' hash. A group may come several
///   times, once each time that memory ran out, or where its lists take several rows. Order: none.
/// - Memory: its table is reserved; refused, the groups so far are handed on and it starts anew.
///   One batch, and 1 MiB, it takes in any case.
/// - Where keys hardly repeat, rows are handed on as groups of one row, without a table.
/// - Errors: [`Error::Evaluate`] of a key or an argument.
/// - Source: P. Larson, "Data reduction by partial preaggregation", ICDE 2002, has the idea of giving
///   it up where it does not reduce.
pub struct PartialReduce {
    input: Box<dyn Operator>,
    intake: Intake,
    schema: SchemaRef,
    context: TaskContext,
    reservation: Reservation,
    /// A batch that the last grouping had no room for.
    refused: Option<Rows>,
    has_ended: bool,
    draining: Option<Draining>,
    /// So many rows more are handed on as they are.
    passing: u64,
    probed_rows: u64,
    least_bytes: u64,
    /// Those of the exchange that the groups go to.
    buckets: u32,
}

impl PartialReduce {
    /// Over the rows of `input`, to whose schema keys and aggregates are bound.
    pub fn new(
        input: Box<dyn Operator>,
        keys: Vec<Expr>,
        aggregates: Vec<Aggregate>,
        schema: SchemaRef,
        context: &TaskContext,
    ) -> Self {
        let reservation = context.budget.reservation("reduce_by_key (partial)");
        let context = context.clone();
        Self {
            input,
            intake: Intake { keys, aggregates, partition: 0, rows: 0 },
            schema,
            context,
            reservation,
            refused: None,
            has_ended: false,
            draining: None,
            passing: 0,
            probed_rows: PROBED_ROWS,
            least_bytes: LEAST_BYTES,
            buckets: 1,
        }
    }

    /// For an exchange of so many buckets, bucket after bucket.
    #[must_use]
    pub fn for_buckets(mut self, buckets: u32) -> Self {
        self.buckets = buckets;
        self
    }

    /// As the task of this partition, whose number is the first part of its rows'.
    #[must_use]
    pub fn of_partition(mut self, partition: u32) -> Self {
        self.intake.partition = partition;
        self
    }

    /// Groups rows until the input ends or memory is refused.
    fn build(&mut self) -> Result<Grouping> {
        let keys = self.intake.keys.iter().map(Expr::data_type);
        let mut grouping = Grouping::new(keys, &self.intake.aggregates, Carried::Values)?;
        let first = self.intake.rows;
        while let Some(rows) = self.next_rows()? {
            let room = Room::AtLeast(self.least_bytes);
            if !grouping.add(&rows, &mut self.reservation, room)? {
                self.refused = Some(rows);
                return Ok(grouping);
            }
            // Without keys there is one group, whatever the first rows look like.
            if !self.intake.keys.is_empty() && grouping.hardly_repeats(self.probed_rows) {
                self.passing = PASSED_ROWS;
                return Ok(grouping);
            }
            if self.intake.rows - first > MOST_ROWS {
                return Ok(grouping);
            }
        }
        self.has_ended = true;
        Ok(grouping)
    }

    /// The rows that were refused, or the input's next.
    fn next_rows(&mut self) -> Result<Option<Rows>> {
        self.context.cancel.check()?;
        if let Some(rows) = self.refused.take() {
            return Ok(Some(rows));
        }
        self.input.next()?.map(|batch| self.intake.rows(&batch)).transpose()
    }

    /// Rows as groups of one row.
    fn passed(&mut self) -> Result<Option<RecordBatch>> {
        let Some(rows) = self.next_rows()? else {
            self.has_ended = true;
            return Ok(None);
        };
        self.passing = self.passing.saturating_sub(rows.count as u64);
        let mut hashes = Vec::new();
        hash_columns(&rows.keys, &mut hashes);
        let mut columns = rows.keys;
        columns.extend(row_states(&self.intake.aggregates, &rows.inputs, rows.count)?);
        columns.push(Arc::new(UInt64Array::from(hashes)));
        Ok(Some(RecordBatch::try_new(Arc::clone(&self.schema), columns)?))
    }
}

impl Operator for PartialReduce {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(draining) = &mut self.draining {
                if let Some(columns) = draining.next_states()? {
                    return Ok(Some(RecordBatch::try_new(Arc::clone(&self.schema), columns)?));
                }
                self.draining = None;
                self.reservation.free();
            }
            if self.has_ended {
                return Ok(None);
            }
            if self.passing > 0 {
                if let Some(batch) = self.passed()? {
                    return Ok(Some(batch));
                }
                continue;
            }
            let draining = self.build()?.drain(&mut self.reservation);
            self.draining = Some(draining.by_bucket(self.buckets, &mut self.reservation));
        }
    }
}

/// Merges what [`PartialReduce`] gave: one row a group, with its aggregates' values.
///
/// - Shape: `schema` = keys, values; input as [`PartialReduce`]'s output. Order: none. Without a key
///   there is one group, over no rows too.
/// - Memory: its table is reserved; refused, the groups go to spill files, apart by their hash.
///   One batch, and 1 MiB, it takes in any case, and groups that no hash keeps apart.
/// - Errors: [`Error::Evaluate`] for a sum beyond its type; [`Error::MemoryLimit`] where the values of
///   one group, which an aggregate needs all at once, take more than half of the budget; those of
///   spilling.
pub struct FinalReduce {
    input: Box<dyn Operator>,
    /// How many times the rows of `input` have been split by their hash.
    level: u32,
    keys: usize,
    aggregates: Vec<Aggregate>,
    schema: SchemaRef,
    context: TaskContext,
    reservation: Reservation,
    /// Spilled parts that wait, with how many times they were split.
    waiting: Vec<(Arc<SpillFile>, u32)>,
    draining: Option<Draining>,
    has_begun: bool,
    least_bytes: u64,
}

impl FinalReduce {
    /// Over the rows of `input`, of which the first `keys` columns are the keys.
    pub fn new(
        input: Box<dyn Operator>,
        keys: usize,
        aggregates: Vec<Aggregate>,
        schema: SchemaRef,
        context: &TaskContext,
    ) -> Self {
        let reservation = context.budget.reservation("reduce_by_key (final)");
        let context = context.clone();
        Self {
            input,
            level: 0,
            keys,
            aggregates,
            schema,
            context,
            reservation,
            waiting: Vec::new(),
            draining: None,
            has_begun: false,
            least_bytes: LEAST_BYTES,
        }
    }

    /// Merges all of `self.input`: into groups that fit, or into spill files that wait.
    fn build(&mut self) -> Result<Option<Draining>> {
        let mut grouping = self.grouping()?;
        let counts = grouping.state_counts();
        let mut split: Option<Split> = None;
        while let Some(batch) = self.input.next()? {
            self.context.cancel.check()?;
            let rows = rows::states(&batch, self.keys, &counts)?;
            let room = Room::AtLeast(self.least_bytes);
            if grouping.add(&rows, &mut self.reservation, room)? {
                continue;
            }
            if self.level < LEVELS && grouping.can_be_split() {
                let split = split.get_or_insert_with(|| Split::new(batch.schema(), self.level));
                let full = std::mem::replace(&mut grouping, self.grouping()?);
                split.spill(&full.drain(&mut self.reservation), &self.context)?;
                self.reservation.free();
            } else {
                self.check_group(&mut grouping, &rows)?;
            }
            grouping.add(&rows, &mut self.reservation, Room::Taken)?;
        }
        if self.keys == 0 && grouping.is_empty() {
            grouping.add_empty_group(&mut self.reservation)?;
        }
        let rest = grouping.drain(&mut self.reservation);
        let Some(mut split) = split else { return Ok(Some(rest)) };
        split.spill(&rest, &self.context)?;
        drop(rest);
        self.reservation.free();
        for file in split.finish()? {
            self.waiting.push((Arc::new(file), self.level + 1));
        }
        Ok(None)
    }

    /// Refuses to collect more values of what no hash keeps apart than memory can hold.
    fn check_group(&mut self, grouping: &mut Grouping, rows: &Rows) -> Result<()> {
        let budget_bytes = self.context.budget.limit_bytes();
        let most_bytes = (budget_bytes / 2).max(LEAST_GROUP_BYTES);
        match grouping.unbounded_bytes(rows, &mut self.reservation)? {
            Some(bytes) if bytes > most_bytes => Err(Error::MemoryLimit {
                operator: String::from("one group's values in reduce_by_key"),
                asked_bytes: bytes - self.reservation.held_bytes().min(bytes),
                budget_bytes,
            }),
            _ => Ok(()),
        }
    }

    fn grouping(&self) -> Result<Grouping> {
        let types = self.schema.fields()[..self.keys].iter().map(|field| field.data_type().clone());
        Grouping::new(types, &self.aggregates, Carried::States)
    }
}

impl Operator for FinalReduce {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(draining) = &mut self.draining {
                let names = self.schema.fields()[self.keys..].iter();
                let names: Vec<&str> = names.map(|field| field.name().as_str()).collect();
                if let Some(columns) = draining.next_values(&names)? {
                    return Ok(Some(RecordBatch::try_new(Arc::clone(&self.schema), columns)?));
                }
                self.draining = None;
                self.reservation.free();
            }
            if std::mem::replace(&mut self.has_begun, true) {
                let Some((file, level)) = self.waiting.pop() else { return Ok(None) };
                self.input = Box::new(file.reader(0..file.blocks()));
                self.level = level;
            }
            self.draining = self.build()?;
        }
    }
}

#[cfg(test)]
mod tests;
