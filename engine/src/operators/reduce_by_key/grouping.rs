//! [`Grouping`]: rows by their keys, with the states of their aggregates; how it gets room, and how it
//! leaves again, as batches or into spill files.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, UInt64Array},
    datatypes::{DataType, SchemaRef},
};

use super::rows::Rows;
use crate::{
    Result,
    expr::Aggregate,
    kernels::{
        accumulate::{Accumulators, Carried, Pieces},
        group_index::{GroupIndex, Unknown},
        growth::{Growth, bytes_of, settle},
        key_table::{Groups, MAX_GROUPS},
        scatter::Scatter,
    },
    memory::{
        Reservation,
        spill::{SpillFile, SpillWriter},
    },
    task::context::TaskContext,
};

/// Rows of a batch that is given or spilled.
const BATCH_ROWS: usize = 8192;
/// About how many bytes of groups go into a batch at most.
const BATCH_BYTES: u64 = 8 << 20;
/// A group with more bytes of lists comes as several rows: no message holds one of any size.
const PIECE_BYTES: u64 = 1 << 20;
/// A spill splits by so many bits of the hash.
const SPLIT_BITS: u32 = 4;
/// After so many splits all bits of the hash are used up.
pub(super) const LEVELS: u32 = 64 / SPLIT_BITS;
/// So many rows tell whether keys repeat. If of these 96 % are different, then even a million rows
/// have 570 000 keys, should each be as likely as the others.
pub(super) const PROBED_ROWS: u64 = 1 << 16;

/// How a grouping gets room for a batch.
#[derive(Clone, Copy)]
pub(super) enum Room {
    /// Up to so many bytes, and for the first batch, in any case; beyond that by the budget.
    AtLeast(u64),
    /// In any case.
    Taken,
}

/// Groups and the states of their aggregates.
pub(super) struct Grouping {
    index: GroupIndex,
    accumulators: Accumulators,
    /// How many rows have been added.
    rows: u64,
}

impl Grouping {
    pub(super) fn new(
        keys: impl IntoIterator<Item = DataType>,
        aggregates: &[Aggregate],
        carried: Carried,
    ) -> Result<Self> {
        let keys: Vec<DataType> = keys.into_iter().collect();
        let index = GroupIndex::new(&keys, carried == Carried::States)?;
        Ok(Self { index, accumulators: Accumulators::new(aggregates, carried)?, rows: 0 })
    }

    /// Adds a batch's rows; `false` where the room for them was refused, and nothing was added.
    pub(super) fn add(
        &mut self,
        rows: &Rows,
        reservation: &mut Reservation,
        room: Room,
    ) -> Result<bool> {
        let hashes = rows.hashes.as_ref();
        let unknown = self.index.look_up(&rows.keys, rows.count, hashes, reservation)?;
        let (before, coming) = (self.index.len(), unknown.len());
        let growth = self.growth(&unknown, rows)?;
        let held = self.memory_bytes();
        let needed = (held + growth.bytes()).saturating_sub(reservation.held_bytes());
        let fits = before + coming <= MAX_GROUPS && reservation.try_grow(needed);
        if !fits {
            let is_due = match room {
                Room::AtLeast(bytes) => before == 0 || held + growth.bytes() <= bytes,
                Room::Taken => true,
            };
            if !is_due {
                return Ok(false);
            }
            reservation.grow(needed);
        }
        self.index.enter(&unknown);
        self.accumulators.take(&rows.inputs, self.index.groups(), self.index.len())?;
        self.rows += rows.count as u64;
        settle(reservation, self.memory_bytes());
        Ok(true)
    }

    /// The most that a batch may add.
    fn growth(&self, unknown: &Unknown, rows: &Rows) -> Result<Growth> {
        let groups = self.index.len() + unknown.len();
        let states = self.accumulators.growth(&rows.inputs, groups, rows.count)?;
        Ok(self.index.growth(unknown) + states)
    }

    /// The bytes that it would hold with a batch's rows, where a single group may hold that much.
    pub(super) fn unbounded_bytes(
        &mut self,
        rows: &Rows,
        reservation: &mut Reservation,
    ) -> Result<Option<u64>> {
        if !self.accumulators.are_unbounded() {
            return Ok(None);
        }
        let hashes = rows.hashes.as_ref();
        let unknown = self.index.look_up(&rows.keys, rows.count, hashes, reservation)?;
        Ok(Some(self.memory_bytes() + self.growth(&unknown, rows)?.bytes()))
    }

    /// Whether so many rows have come, and nearly as many groups of them, that more of their kind had
    /// better not be grouped here.
    pub(super) fn hardly_repeats(&self, probed_rows: u64) -> bool {
        self.rows >= probed_rows && self.index.len() as u64 * 25 >= self.rows * 24
    }

    /// Whether there is no group.
    pub(super) fn is_empty(&self) -> bool {
        self.index.len() == 0
    }

    /// The one group of no keys, without a row.
    pub(super) fn add_empty_group(&mut self, reservation: &mut Reservation) -> Result<()> {
        let unknown = self.index.look_up(&[], 1, None, reservation)?;
        self.index.enter(&unknown);
        self.accumulators.extend(self.index.len());
        Ok(())
    }

    /// How many columns stand for each aggregate as its state.
    pub(super) fn state_counts(&self) -> Vec<usize> {
        self.accumulators.state_counts()
    }

    fn memory_bytes(&self) -> u64 {
        self.index.memory_bytes() + self.accumulators.memory_bytes()
    }

    /// Whether the groups have different hashes.
    pub(super) fn can_be_split(&self) -> bool {
        let hashes = self.index.hashes();
        hashes.iter().any(|hash| *hash != hashes[0])
    }

    /// Ends the grouping and gives the memory of its slots back.
    pub(super) fn drain(self, reservation: &mut Reservation) -> Draining {
        let groups = self.index.into_groups();
        let mut accumulators = self.accumulators;
        accumulators.freeze();
        let bytes = groups.memory_bytes() + accumulators.memory_bytes();
        settle(reservation, bytes);
        let group_bytes = (bytes / (groups.len() as u64).max(1)).max(1);
        let batch_rows = usize::try_from(BATCH_BYTES / group_bytes).unwrap_or(BATCH_ROWS);
        let differs = accumulators.are_unbounded();
        let batch_rows = batch_rows.clamp(1, BATCH_ROWS);
        let (order, ends) = (Vec::new(), Vec::new());
        Draining { groups, accumulators, order, ends, next: 0, batch_rows, differs, pieces: None }
    }
}

/// Groups that are complete and are given batch by batch.
pub(super) struct Draining {
    groups: Groups,
    accumulators: Accumulators,
    /// The groups in the order in which they are given; empty where that is the one of their coming.
    order: Vec<u32>,
    /// Places behind the last group of a bucket, of which a batch has one only; the last comes first.
    ends: Vec<u32>,
    /// A place in that order.
    next: u32,
    batch_rows: usize,
    /// Whether some groups may be far larger than others.
    differs: bool,
    /// A group of which rows are to come, and which is the next.
    pieces: Option<(u32, Pieces, usize)>,
}

impl Draining {
    /// The same bucket after bucket of an exchange, so that a batch goes to one reader and need not be
    /// taken apart. In a bucket groups stand as they came.
    #[expect(clippy::cast_possible_truncation, reason = "a table has at most 2³¹ groups")]
    pub(super) fn by_bucket(mut self, buckets: u32, reservation: &mut Reservation) -> Self {
        if buckets > 1 && self.groups.len() > self.batch_rows {
            let mut scatter = Scatter::default();
            scatter.scatter(self.groups.hashes(), buckets);
            self.ends = (0..buckets).rev().map(|bucket| scatter.range(bucket).end as u32).collect();
            self.order = scatter.into_rows();
            // The slots that were given back had more.
            reservation.grow(bytes_of(&self.order));
        }
        self
    }

    /// The group at a place in the order.
    fn at(&self, place: u32) -> u32 {
        self.order.get(place as usize).copied().unwrap_or(place)
    }

    /// Keys, states and hashes of the next batch; a large group comes as several rows.
    pub(super) fn next_states(&mut self) -> Result<Option<Vec<ArrayRef>>> {
        if let Some((group, pieces, row)) = self.pieces.take()
            && row < pieces.rows
        {
            let columns = self.piece(group, &pieces, row)?;
            self.pieces = Some((group, pieces, row + 1));
            return Ok(Some(columns));
        }
        if let Some(groups) = self.next_groups(true) {
            return self.states(&groups).map(Some);
        }
        if (self.next as usize) < self.groups.len() {
            let group = self.at(self.next);
            self.next += 1;
            self.pieces = Some((group, self.accumulators.pieces(group, PIECE_BYTES), 0));
            return self.next_states();
        }
        Ok(None)
    }

    /// One row of a group's states, with its key and its hash.
    fn piece(&self, group: u32, pieces: &Pieces, row: usize) -> Result<Vec<ArrayRef>> {
        let mut columns = self.groups.keys(&[group])?;
        columns.extend(self.accumulators.piece(pieces, row)?);
        let hash = self.groups.hashes()[group as usize];
        columns.push(Arc::new(UInt64Array::from(vec![hash])));
        Ok(columns)
    }

    /// Keys and values of the next batch; errors call the values by `names`.
    pub(super) fn next_values(&mut self, names: &[&str]) -> Result<Option<Vec<ArrayRef>>> {
        let Some(groups) = self.next_groups(false) else { return Ok(None) };
        let mut columns = self.groups.keys(&groups)?;
        columns.extend(self.accumulators.values(&groups, names)?);
        Ok(Some(columns))
    }

    /// The numbers of the groups of the next batch, up to one that comes in pieces.
    #[expect(clippy::cast_possible_truncation, reason = "a table has at most 2³¹ groups")]
    fn next_groups(&mut self, in_pieces: bool) -> Option<Vec<u32>> {
        while self.ends.last().is_some_and(|end| *end <= self.next) {
            self.ends.pop();
        }
        let all = self.ends.last().copied().unwrap_or(self.groups.len() as u32);
        let mut groups = Vec::new();
        let mut bytes = 0;
        while self.next < all && self.has_room(groups.len(), bytes) {
            let group = self.at(self.next);
            let own = self.group_bytes(group);
            if in_pieces && own > PIECE_BYTES {
                break;
            }
            bytes += own;
            groups.push(group);
            self.next += 1;
        }
        (!groups.is_empty()).then_some(groups)
    }

    /// Whether a batch of so many groups takes one more.
    fn has_room(&self, groups: usize, bytes: u64) -> bool {
        groups < self.batch_rows && bytes < BATCH_BYTES
    }

    /// The bytes of a group beyond the others', where they differ.
    fn group_bytes(&self, group: u32) -> u64 {
        if self.differs { self.accumulators.group_bytes(group) } else { 0 }
    }

    /// Keys, states and hash of some groups.
    fn states(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut columns = self.groups.keys(groups)?;
        columns.extend(self.accumulators.states(groups)?);
        let hashes = groups.iter().map(|group| self.groups.hashes()[*group as usize]);
        columns.push(Arc::new(UInt64Array::from_iter_values(hashes)));
        Ok(columns)
    }
}

/// Spill files, one for each value of some bits of the hash.
pub(super) struct Split {
    schema: SchemaRef,
    level: u32,
    /// Not an array: this stands on the stack of a pull, below those of all steps before it.
    writers: Vec<Option<SpillWriter>>,
}

impl Split {
    pub(super) fn new(schema: SchemaRef, level: u32) -> Self {
        let writers = std::iter::repeat_with(|| None).take(1 << SPLIT_BITS).collect();
        Self { schema, level, writers }
    }

    /// Writes all groups, each to the file of its hash.
    pub(super) fn spill(&mut self, full: &Draining, context: &TaskContext) -> Result<()> {
        let mut chosen: Vec<u32> = Vec::with_capacity(full.batch_rows);
        for (part, writer) in self.writers.iter_mut().enumerate() {
            let mut write = |columns: Vec<ArrayRef>| -> Result<()> {
                context.cancel.check()?;
                let writer = match writer {
                    Some(writer) => writer,
                    None => writer.insert(context.spill(Arc::clone(&self.schema))?),
                };
                writer.write(&RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
            };
            // A pass over the hashes for each part costs less than a list of its groups would.
            let mut bytes = 0;
            for (group, hash) in (0u32..).zip(full.groups.hashes()) {
                if part_of(*hash, self.level) != part {
                    continue;
                }
                let own = full.group_bytes(group);
                if own > PIECE_BYTES {
                    let pieces = full.accumulators.pieces(group, PIECE_BYTES);
                    for row in 0..pieces.rows {
                        write(full.piece(group, &pieces, row)?)?;
                    }
                    continue;
                }
                bytes += own;
                chosen.push(group);
                if !full.has_room(chosen.len(), bytes) {
                    write(full.states(&chosen)?)?;
                    chosen.clear();
                    bytes = 0;
                }
            }
            if !chosen.is_empty() {
                write(full.states(&chosen)?)?;
                chosen.clear();
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Vec<SpillFile>> {
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
