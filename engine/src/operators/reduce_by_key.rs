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
    array::{Array, ArrayRef, AsArray, RecordBatch, UInt64Array},
    datatypes::{DataType, SchemaRef, UInt64Type},
};

pub use crate::kernels::accumulate::state_fields;

use crate::{
    Error, Result,
    expr::{Aggregate, Expr},
    kernels::{
        accumulate::{Accumulators, Inputs, state_count},
        growth::settle,
        key_table::{Groups, KeyBatch, KeyTable, MAX_GROUPS},
    },
    memory::{
        Reservation,
        spill::{SpillFile, SpillWriter},
    },
    operators::{Operator, hash::evaluate_keys},
    task::context::TaskContext,
};

/// Rows of a batch that is given or spilled.
const BATCH_ROWS: usize = 8192;
/// About how many bytes of groups go into a batch at most.
const BATCH_BYTES: u64 = 8 << 20;
/// What a grouping may hold whatever the budget says: less than this is not worth a spill.
const LEAST_BYTES: u64 = 1 << 20;
/// A spill splits by so many bits of the hash.
const SPLIT_BITS: u32 = 4;
/// After so many splits all bits of the hash are used up.
const LEVELS: u32 = 64 / SPLIT_BITS;

/// Map-side aggregation: what reaches the exchange is one row a group, not one row a row.
///
/// - Shape: `schema` = keys, [states](state_fields), the keys' hash. A group may come several
///   times, once each time that memory ran out. Order: none.
/// - Memory: its table is reserved; refused, the groups so far are handed on and it starts anew.
///   One batch, and 1 MiB, it takes in any case.
/// - Errors: [`Error::Evaluate`] of a key or an argument.
pub struct PartialReduce {
    input: Box<dyn Operator>,
    keys: Vec<Expr>,
    aggregates: Vec<Aggregate>,
    schema: SchemaRef,
    context: TaskContext,
    reservation: Reservation,
    /// A batch that the last grouping had no room for.
    refused: Option<Rows>,
    has_ended: bool,
    draining: Option<Draining>,
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
            keys,
            aggregates,
            schema,
            context,
            reservation,
            refused: None,
            has_ended: false,
            draining: None,
        }
    }

    /// Groups rows until the input ends or memory is refused.
    fn build(&mut self) -> Result<Grouping> {
        let mut grouping =
            Grouping::new(self.keys.iter().map(Expr::data_type), &self.aggregates, Taken::Values)?;
        loop {
            let rows = match self.refused.take() {
                Some(rows) => rows,
                None => match self.input.next()? {
                    Some(batch) => self.rows(&batch)?,
                    None => break,
                },
            };
            self.context.cancel.check()?;
            if !grouping.add(&rows, &mut self.reservation, Room::Granted)? {
                self.refused = Some(rows);
                return Ok(grouping);
            }
        }
        self.has_ended = true;
        Ok(grouping)
    }

    fn rows(&self, batch: &RecordBatch) -> Result<Rows> {
        let mut hashes = Vec::new();
        let keys = evaluate_keys(&self.keys, batch, &mut hashes)?;
        let argument = |aggregate: &Aggregate| {
            aggregate.argument.iter().map(|argument| argument.evaluate(batch)).collect()
        };
        let inputs = self.aggregates.iter().map(argument).collect::<Result<_>>()?;
        Ok(Rows { keys: KeyBatch::new(&keys)?, inputs, hashes })
    }
}

impl Operator for PartialReduce {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(draining) = &mut self.draining {
                if let Some(groups) = draining.next() {
                    let columns = draining.states(&groups)?;
                    return Ok(Some(RecordBatch::try_new(Arc::clone(&self.schema), columns)?));
                }
                self.draining = None;
                self.reservation.free();
            }
            if self.has_ended {
                return Ok(None);
            }
            self.draining = Some(self.build()?.drain(&mut self.reservation));
        }
    }
}

/// Merges what [`PartialReduce`] gave: one row a group, with its aggregates' values.
///
/// - Shape: `schema` = keys, values; input as [`PartialReduce`]'s output. Order: none.
/// - Memory: its table is reserved; refused, the groups go to spill files, apart by their hash.
///   One batch, and 1 MiB, it takes in any case, and groups that no hash keeps apart.
/// - Errors: [`Error::Evaluate`] for an integer sum beyond int64; those of spilling.
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
        }
    }

    /// Merges all of `self.input`: into groups that fit, or into spill files that wait.
    fn build(&mut self) -> Result<Option<Draining>> {
        let mut grouping = self.grouping()?;
        let mut split: Option<Split> = None;
        while let Some(batch) = self.input.next()? {
            self.context.cancel.check()?;
            let rows = self.rows(&batch)?;
            if grouping.add(&rows, &mut self.reservation, Room::Granted)? {
                continue;
            }
            if self.level < LEVELS && grouping.can_be_split() {
                let split = split.get_or_insert_with(|| Split::new(batch.schema(), self.level));
                let full = std::mem::replace(&mut grouping, self.grouping()?);
                split.spill(full.drain(&mut self.reservation), &self.context)?;
                self.reservation.free();
            }
            grouping.add(&rows, &mut self.reservation, Room::Taken)?;
        }
        let rest = grouping.drain(&mut self.reservation);
        let Some(mut split) = split else { return Ok(Some(rest)) };
        split.spill(rest, &self.context)?;
        self.reservation.free();
        for file in split.finish()? {
            self.waiting.push((Arc::new(file), self.level + 1));
        }
        Ok(None)
    }

    fn grouping(&self) -> Result<Grouping> {
        let types = self.schema.fields()[..self.keys].iter().map(|field| field.data_type().clone());
        Grouping::new(types, &self.aggregates, Taken::States)
    }

    fn rows(&self, batch: &RecordBatch) -> Result<Rows> {
        let Some((hashes, columns)) = batch.columns().split_last() else {
            return Err(Error::Internal(String::from("states without a hash")));
        };
        let Some(hashes) = hashes.as_primitive_opt::<UInt64Type>() else {
            return Err(Error::Internal(format!("a hash of type {}", hashes.data_type())));
        };
        let (keys, mut states) = columns
            .split_at_checked(self.keys)
            .ok_or_else(|| Error::Internal(String::from("states without their keys")))?;
        let mut inputs = Vec::with_capacity(self.aggregates.len());
        for aggregate in &self.aggregates {
            let (own, others) = states
                .split_at_checked(state_count(aggregate))
                .ok_or_else(|| Error::Internal(String::from("an aggregate without its state")))?;
            inputs.push(own.to_vec());
            states = others;
        }
        Ok(Rows { keys: KeyBatch::new(keys)?, inputs, hashes: hashes.values().to_vec() })
    }
}

impl Operator for FinalReduce {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(draining) = &mut self.draining {
                if let Some(groups) = draining.next() {
                    let names = self.schema.fields()[self.keys..].iter().map(|field| field.name());
                    let columns = draining.values(&groups, names.map(String::as_str))?;
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

/// A batch made ready to be grouped.
struct Rows {
    keys: KeyBatch,
    inputs: Vec<Inputs>,
    hashes: Vec<u64>,
}

/// What the rows of a grouping carry for its aggregates.
#[derive(Clone, Copy)]
enum Taken {
    Values,
    States,
}

/// How a grouping gets room for a batch.
#[derive(Clone, Copy)]
enum Room {
    /// By the budget; a refusal is reported, unless it is about the least that is needed.
    Granted,
    /// In any case.
    Taken,
}

/// Groups and the states of their aggregates.
struct Grouping {
    table: KeyTable,
    accumulators: Accumulators,
    taken: Taken,
    /// The group of each row of a batch.
    groups: Vec<u32>,
}

impl Grouping {
    fn new(
        keys: impl IntoIterator<Item = DataType>,
        aggregates: &[Aggregate],
        taken: Taken,
    ) -> Result<Self> {
        let keys: Vec<DataType> = keys.into_iter().collect();
        let accumulators = Accumulators::new(aggregates)?;
        Ok(Self { table: KeyTable::new(&keys)?, accumulators, taken, groups: Vec::new() })
    }

    /// Adds a batch's rows; `false` where the room for them was refused, and nothing was added.
    fn add(&mut self, rows: &Rows, reservation: &mut Reservation, room: Room) -> Result<bool> {
        let (before, count) = (self.table.len(), rows.hashes.len());
        let growth = self.table.growth(&rows.keys, count)
            + self.accumulators.growth(&rows.inputs, before, count)?;
        let held = self.memory_bytes();
        let needed = (held + growth.bytes()).saturating_sub(reservation.held_bytes());
        let fits = before + count <= MAX_GROUPS && reservation.try_grow(needed);
        if !fits {
            let is_least = before == 0 || held + growth.bytes() <= LEAST_BYTES;
            if matches!(room, Room::Granted) && !is_least {
                return Ok(false);
            }
            reservation.grow(needed);
        }
        self.table.find_or_insert(&rows.keys, &rows.hashes, &mut self.groups);
        let (inputs, groups, after) = (&rows.inputs, &self.groups, self.table.len());
        match self.taken {
            Taken::Values => self.accumulators.update(inputs, groups, after)?,
            Taken::States => self.accumulators.merge(inputs, groups, after)?,
        }
        settle(reservation, self.memory_bytes());
        Ok(true)
    }

    fn memory_bytes(&self) -> u64 {
        self.table.memory_bytes() + self.accumulators.memory_bytes()
    }

    /// Whether the groups have different hashes.
    fn can_be_split(&self) -> bool {
        let hashes = self.table.hashes();
        hashes.iter().any(|hash| *hash != hashes[0])
    }

    /// Ends the grouping and gives the memory of its slots back.
    fn drain(self, reservation: &mut Reservation) -> Draining {
        let groups = self.table.into_groups();
        let mut accumulators = self.accumulators;
        accumulators.freeze();
        let bytes = groups.memory_bytes() + accumulators.memory_bytes();
        settle(reservation, bytes);
        let group_bytes = (bytes / (groups.len() as u64).max(1)).max(1);
        let batch_rows = usize::try_from(BATCH_BYTES / group_bytes).unwrap_or(BATCH_ROWS);
        Draining { groups, accumulators, next: 0, batch_rows: batch_rows.clamp(1, BATCH_ROWS) }
    }
}

/// Groups that are complete and are given batch by batch.
struct Draining {
    groups: Groups,
    accumulators: Accumulators,
    next: u32,
    batch_rows: usize,
}

impl Draining {
    /// The numbers of the groups of the next batch.
    #[expect(clippy::cast_possible_truncation, reason = "a table has at most 2³¹ groups")]
    fn next(&mut self) -> Option<Vec<u32>> {
        let end = self.groups.len().min(self.next as usize + self.batch_rows) as u32;
        let groups: Vec<u32> = (self.next..end).collect();
        self.next = end;
        (!groups.is_empty()).then_some(groups)
    }

    /// Keys, states and hash of some groups.
    fn states(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut columns = self.groups.keys(groups)?;
        columns.extend(self.accumulators.states(groups)?);
        let hashes = groups.iter().map(|group| self.groups.hashes()[*group as usize]);
        columns.push(Arc::new(UInt64Array::from_iter_values(hashes)));
        Ok(columns)
    }

    /// Keys and values of some groups.
    fn values<'a>(
        &self,
        groups: &[u32],
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<ArrayRef>> {
        let mut columns = self.groups.keys(groups)?;
        columns.extend(self.accumulators.values(groups, names)?);
        Ok(columns)
    }
}

/// Spill files, one for each value of some bits of the hash.
struct Split {
    schema: SchemaRef,
    level: u32,
    writers: [Option<SpillWriter>; 1 << SPLIT_BITS],
}

impl Split {
    fn new(schema: SchemaRef, level: u32) -> Self {
        Self { schema, level, writers: [const { None }; 1 << SPLIT_BITS] }
    }

    /// Writes all groups, each to the file of its hash.
    fn spill(&mut self, full: Draining, context: &TaskContext) -> Result<()> {
        let mut chosen: Vec<u32> = Vec::with_capacity(full.batch_rows);
        for (part, writer) in self.writers.iter_mut().enumerate() {
            let mut write = |chosen: &mut Vec<u32>| -> Result<()> {
                if chosen.is_empty() {
                    return Ok(());
                }
                context.cancel.check()?;
                let columns = full.states(chosen)?;
                chosen.clear();
                let writer = match writer {
                    Some(writer) => writer,
                    None => writer.insert(context.spill(Arc::clone(&self.schema))?),
                };
                writer.write(&RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
            };
            // A pass over the hashes for each part costs less than a list of its groups would.
            for (group, hash) in (0u32..).zip(full.groups.hashes()) {
                if part_of(*hash, self.level) == part {
                    chosen.push(group);
                    if chosen.len() == full.batch_rows {
                        write(&mut chosen)?;
                    }
                }
            }
            write(&mut chosen)?;
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<SpillFile>> {
        self.writers.into_iter().flatten().map(SpillWriter::finish).collect()
    }
}

/// The part of a hash at a level, below `1 << SPLIT_BITS`.
///
/// The hash's own high bits have chosen the bucket, so that they are much alike here. Multiplied by
/// an odd number, which loses nothing, every bit has a part in the high bits of the product.
fn part_of(hash: u64, level: u32) -> usize {
    let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let bits = mixed >> (64 - SPLIT_BITS * (level + 1));
    #[expect(clippy::cast_possible_truncation, reason = "a few bits")]
    let part = bits as usize & ((1 << SPLIT_BITS) - 1);
    part
}
