//! Functions that look around a row, over a file: as many blocks are held as frames reach.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch},
    compute::concat_batches,
};

use crate::{
    Result,
    expr::window::{Kind, WindowFunction},
    kernels::compact::unique_bytes,
    memory::{
        Reservation,
        spill::{SpillFile, SpillReader},
    },
    operators::{
        Operator,
        window::{
            ROW_BYTES, State,
            aggregate::{Carried, Method},
            chunk::{Chunk, Start, Starts},
            frames::frames,
            large::{Over, Values, too_large},
            value,
        },
    },
};

/// So much is held even where the budget refuses it: a block, and one before and behind it.
const MIN_AROUND_BYTES: u64 = 8 << 20;

/// About what a block takes.
const BLOCK_BYTES: u64 = 1 << 20;

/// Values of a function whose frames reach a bounded way from each row of the file's partition.
///
/// - Memory: the blocks that the frames of a few blocks' rows reach, twice, charged; refused, it
///   fails with [`Error::MemoryLimit`](crate::Error).
pub(super) struct Around {
    function: WindowFunction,
    over: Over,
    reader: SpillReader,
    starts: Starts,
    has_ended: bool,
    /// Blocks that rows still see, in turn.
    blocks: VecDeque<Block>,
    /// How many of them have been given.
    given: usize,
    /// Whether blocks before them have been let go.
    has_begun: bool,
    /// How many blocks are given at once.
    step: usize,
    rows: u64,
    reservation: Reservation,
}

struct Block {
    batch: RecordBatch,
    starts: Vec<Start>,
    charged_bytes: u64,
}

impl Around {
    pub(super) fn new(function: &WindowFunction, file: &Arc<SpillFile>, over: &Over) -> Self {
        Self {
            function: function.clone(),
            over: over.clone(),
            rows: file.rows(),
            reader: file.reader(0..file.blocks()),
            starts: over.starts(),
            has_ended: false,
            blocks: VecDeque::new(),
            given: 0,
            has_begun: false,
            step: 1,
            reservation: over.context.budget.reservation("window"),
        }
    }

    /// Holds one block more, if there is one.
    fn load(&mut self) -> Result<()> {
        self.over.context.cancel.check()?;
        let Some(batch) = self.reader.next()? else {
            self.has_ended = true;
            return Ok(());
        };
        let starts = self.starts.of(&batch)?;
        let bytes = 2 * unique_bytes(&batch) + 2 * ROW_BYTES * batch.num_rows() as u64;
        if !self.reservation.try_grow(bytes) {
            if self.reservation.held_bytes() + bytes > MIN_AROUND_BYTES {
                return Err(too_large(self.rows, &self.over));
            }
            self.reservation.grow(bytes);
        }
        self.blocks.push_back(Block { batch, starts, charged_bytes: bytes });
        Ok(())
    }

    /// Whether a block more than what is needed may be held.
    fn has_room(&mut self) -> bool {
        let is_granted = self.reservation.try_grow(BLOCK_BYTES);
        if is_granted {
            self.reservation.shrink(BLOCK_BYTES);
        }
        is_granted || self.reservation.held_bytes() + 3 * BLOCK_BYTES < MIN_AROUND_BYTES
    }

    /// The blocks that are held, as one chunk.
    fn chunk(&self) -> Result<Chunk> {
        let batches = self.blocks.iter().map(|block| &block.batch);
        let batch = concat_batches(&self.over.input_schema, batches)?;
        let mut starts: Vec<Start> =
            self.blocks.iter().flat_map(|block| block.starts.iter().copied()).collect();
        if let Some(first) = starts.first_mut() {
            // Where the partition began before, no row that is asked for sees so far.
            *first = Start::Partition;
        }
        Ok(Chunk { batch, starts })
    }

    /// The rows of a chunk that each of `own` sees.
    fn seen(&self, chunk: &Chunk, own: &Range<usize>) -> Result<Vec<Range<usize>>> {
        if let Kind::Lag(by) = self.function.function {
            let distance = usize::try_from(by.unsigned_abs()).unwrap_or(usize::MAX);
            let seen = |row: usize| match by {
                0.. => row.saturating_sub(distance)..row + 1,
                _ => row..row.saturating_add(distance).saturating_add(1).min(chunk.rows()),
            };
            return Ok(own.clone().map(seen).collect());
        }
        Ok(frames(&self.function.frame, &self.over.order_by, chunk)?[own.clone()].to_vec())
    }

    /// Lets go of the blocks that are not needed for a row, nor the ones before those that are: what
    /// reaches to the first row that is held may reach further.
    fn release(&mut self, first_seen: usize) {
        let mut before = 0;
        while self.given > 0
            && let Some(next) = self.blocks.get(1)
        {
            let Some(block) = self.blocks.front() else { break };
            before += block.batch.num_rows();
            if before + next.batch.num_rows() > first_seen {
                break;
            }
            self.reservation.shrink(block.charged_bytes);
            self.blocks.pop_front();
            self.given -= 1;
            self.has_begun = true;
        }
    }
}

impl Values for Around {
    fn next(&mut self) -> Result<Option<ArrayRef>> {
        while !self.has_ended && self.blocks.len() < self.given + self.step {
            if self.blocks.len() > self.given && !self.has_room() {
                break;
            }
            self.load()?;
        }
        let count = self.step.min(self.blocks.len() - self.given);
        if count == 0 {
            self.reservation.free();
            return Ok(None);
        }
        loop {
            let rows = |blocks: Range<usize>| -> usize {
                self.blocks.range(blocks).map(|block| block.batch.num_rows()).sum()
            };
            let first = rows(0..self.given);
            let own = first..first + rows(self.given..self.given + count);
            let chunk = self.chunk()?;
            let seen = self.seen(&chunk, &own)?;
            let behind = seen.iter().map(|frame| frame.end.max(frame.start)).max().unwrap_or(0);
            if behind >= chunk.rows() && !self.has_ended {
                // As many blocks again, so that few chunks are made in vain.
                self.load()?;
                for _ in 1..self.blocks.len() {
                    if self.has_room() {
                        self.load()?;
                    }
                }
                continue;
            }
            let values = self.values(&chunk)?.slice(own.start, own.len());
            if self.has_begun && first_of(&seen) == 0 {
                // A calendar's months may reach back further than those of the rows before.
                return Err(too_large(self.rows, &self.over));
            }
            self.given += count;
            let last_rows = rows(self.given - 1..self.given);
            self.release(first_of(&seen[seen.len() - last_rows..]).min(own.end));
            self.step = self.blocks.len().max(1);
            return Ok(Some(values));
        }
    }
}

/// The first row that is seen.
fn first_of(seen: &[Range<usize>]) -> usize {
    seen.iter().map(|frame| frame.start.min(frame.end)).min().unwrap_or(0)
}

impl Around {
    /// The function's values for all rows of a chunk.
    fn values(&self, chunk: &Chunk) -> Result<ArrayRef> {
        let mut state = match &self.function.function {
            Kind::Aggregate(aggregate) => {
                State::Aggregate(Method::of(aggregate), Carried::default())
            }
            _ => State::Nothing,
        };
        let frames = if self.function.function.has_frame() {
            frames(&self.function.frame, &self.over.order_by, chunk)?
        } else {
            Vec::new()
        };
        value(&self.function, &mut state, chunk, &frames)
    }
}
