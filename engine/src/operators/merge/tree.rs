//! A tree of losers over the rows that sorted inputs have next.

use std::cmp::Ordering;

use arrow::{array::RecordBatch, datatypes::SchemaRef, row::Rows};

use crate::{
    Result,
    formats::BATCH_ROWS,
    kernels::compact::unique_bytes,
    memory::Reservation,
    operators::{
        Operator,
        merge::{gather, keys::KeyEncoder},
    },
};

/// Rows of one input that come before all others are passed on as they are, if there are so many.
const MIN_PASSED_ROWS: usize = 1024;

/// Each inner node remembers who lost there, node 0 who won all.
pub(super) struct Tree {
    encoder: KeyEncoder,
    cursors: Vec<Cursor>,
    nodes: Vec<usize>,
    /// The cursors that have rows left.
    active: usize,
    /// The cursors' batches, and those before them whose rows have not been given out.
    held: Vec<Loaded>,
    /// The rows of the next output, as (batch, row).
    chosen: Vec<(usize, usize)>,
    reservation: Reservation,
}

struct Loaded {
    batch: RecordBatch,
    /// Encoded once it is needed.
    tail: Option<Rows>,
    charged_bytes: u64,
}

/// A place in one input.
struct Cursor {
    input: Box<dyn Operator>,
    /// The words of the batch's rows.
    words: Vec<u128>,
    /// The row's word; `None` at the end of the input.
    word: Option<u128>,
    place: Place,
}

/// A row of [`Tree::held`].
#[derive(Clone, Copy)]
struct Place {
    batch: usize,
    row: usize,
}

impl Tree {
    /// Over the first rows of `inputs`; what is held is charged to `reservation`.
    pub(super) fn new(
        inputs: Vec<Box<dyn Operator>>,
        encoder: KeyEncoder,
        reservation: Reservation,
    ) -> Result<Self> {
        let place = Place { batch: 0, row: 0 };
        let before_rows = |input| Cursor { input, words: Vec::new(), word: None, place };
        let mut tree = Self {
            encoder,
            active: inputs.len(),
            cursors: inputs.into_iter().map(before_rows).collect(),
            nodes: Vec::new(),
            held: Vec::new(),
            chosen: Vec::new(),
            reservation,
        };
        for cursor in 0..tree.cursors.len() {
            tree.load(cursor)?;
        }
        tree.play_all()?;
        Ok(tree)
    }

    /// The next rows, at most `wanted`.
    pub(super) fn next_batch(
        &mut self,
        wanted: u64,
        schema: &SchemaRef,
    ) -> Result<Option<RecordBatch>> {
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        if wanted == 0 || self.active == 0 {
            return Ok(None);
        }
        if self.rest_is_next()? {
            return self.rest_of_batch(wanted).map(Some);
        }
        let count = wanted.min(BATCH_ROWS);
        while self.chosen.len() < count && self.active > 0 {
            let winner = self.nodes[0];
            let Place { batch, row } = self.cursors[winner].place;
            self.chosen.push((batch, row));
            self.advance(winner)?;
            self.replay(winner)?;
        }
        let batch = gather(&self.held.iter().map(|l| &l.batch), &self.chosen, schema)?;
        self.chosen.clear();
        self.release();
        Ok(Some(batch))
    }

    /// Whether all that is left of the winner's batch comes before all other rows, and is worth a
    /// batch of its own.
    fn rest_is_next(&mut self) -> Result<bool> {
        if self.active == 1 {
            return Ok(true);
        }
        let winner = self.nodes[0];
        let Cursor { words, place, .. } = &self.cursors[winner];
        let last = Place { row: words.len() - 1, ..*place };
        if last.row + 1 - place.row < MIN_PASSED_ROWS {
            return Ok(false);
        }
        let word = words.last().copied();
        // The second best is among those that lost against the winner itself.
        let mut node = usize::midpoint(winner, self.cursors.len());
        while node != 0 {
            let other = self.nodes[node];
            let at = self.cursors[other].place;
            let order = self.compare((word, last), (self.cursors[other].word, at))?;
            if order.then(winner.cmp(&other)).is_gt() {
                return Ok(false);
            }
            node /= 2;
        }
        Ok(true)
    }

    /// What is left of the winner's batch, at most `wanted` rows of it.
    fn rest_of_batch(&mut self, wanted: usize) -> Result<RecordBatch> {
        let winner = self.nodes[0];
        let Place { batch, row } = self.cursors[winner].place;
        let whole = &self.held[batch].batch;
        let rest = whole.slice(row, wanted.min(whole.num_rows() - row));
        self.load(winner)?;
        self.replay(winner)?;
        self.release();
        Ok(rest)
    }

    fn advance(&mut self, cursor: usize) -> Result<()> {
        let moved = &mut self.cursors[cursor];
        moved.place.row += 1;
        moved.word = moved.words.get(moved.place.row).copied();
        if moved.word.is_none() { self.load(cursor) } else { Ok(()) }
    }

    /// Puts a cursor onto the first row of its input's next batch, or at its end.
    fn load(&mut self, cursor: usize) -> Result<()> {
        let cursor = &mut self.cursors[cursor];
        let batch = loop {
            match cursor.input.next()? {
                Some(batch) if batch.num_rows() == 0 => {}
                other => break other,
            }
        };
        let Some(batch) = batch else {
            (cursor.word, cursor.words) = (None, Vec::new());
            self.active -= 1;
            return Ok(());
        };
        cursor.words = self.encoder.words(&batch);
        let charged_bytes = unique_bytes(&batch) + size_of_val(cursor.words.as_slice()) as u64;
        self.reservation.grow(charged_bytes);
        cursor.place = Place { batch: self.held.len(), row: 0 };
        cursor.word = cursor.words.first().copied();
        self.held.push(Loaded { batch, tail: None, charged_bytes });
        Ok(())
    }

    /// Lets go of the batches that no cursor stands in.
    fn release(&mut self) {
        let mut held: Vec<_> = std::mem::take(&mut self.held).into_iter().map(Some).collect();
        for cursor in self.cursors.iter_mut().filter(|cursor| cursor.word.is_some()) {
            if let Some(loaded) = held[cursor.place.batch].take() {
                cursor.place.batch = self.held.len();
                self.held.push(loaded);
            }
        }
        let released = held.into_iter().flatten().map(|loaded| loaded.charged_bytes).sum();
        self.reservation.shrink(released);
    }

    fn play_all(&mut self) -> Result<()> {
        const NOBODY: usize = usize::MAX;
        let count = self.cursors.len();
        self.nodes = vec![NOBODY; count];
        for cursor in 0..count {
            let mut winner = cursor;
            let mut node = usize::midpoint(cursor, count);
            while node != 0 && self.nodes[node] != NOBODY {
                if self.beats(self.nodes[node], winner)? {
                    std::mem::swap(&mut winner, &mut self.nodes[node]);
                }
                node /= 2;
            }
            self.nodes[node] = winner;
        }
        Ok(())
    }

    /// Plays a cursor that has moved up to the root.
    fn replay(&mut self, cursor: usize) -> Result<()> {
        let mut winner = cursor;
        let mut node = usize::midpoint(cursor, self.cursors.len());
        while node != 0 {
            if self.beats(self.nodes[node], winner)? {
                std::mem::swap(&mut winner, &mut self.nodes[node]);
            }
            node /= 2;
        }
        self.nodes[0] = winner;
        Ok(())
    }

    fn beats(&mut self, one: usize, other: usize) -> Result<bool> {
        let (a, b) = (&self.cursors[one], &self.cursors[other]);
        if let (Some(a), Some(b)) = (a.word, b.word)
            && a != b
        {
            return Ok(a < b);
        }
        let (a, b) = ((a.word, a.place), (b.word, b.place));
        Ok(self.compare(a, b)?.then(one.cmp(&other)).is_lt())
    }

    /// The order of two rows, each with its word; no row comes last.
    fn compare(
        &mut self,
        (a, a_place): (Option<u128>, Place),
        (b, b_place): (Option<u128>, Place),
    ) -> Result<Ordering> {
        let (Some(a), Some(b)) = (a, b) else { return Ok(b.is_some().cmp(&a.is_some())) };
        if a != b || !self.encoder.goes_on(a) {
            return Ok(a.cmp(&b));
        }
        self.encode_tail(a_place.batch)?;
        self.encode_tail(b_place.batch)?;
        let tail = |place: Place| {
            let rows = self.held[place.batch].tail.as_ref();
            rows.map(|rows| rows.row(place.row))
        };
        Ok(tail(a_place).cmp(&tail(b_place)))
    }

    fn encode_tail(&mut self, batch: usize) -> Result<()> {
        let loaded = &mut self.held[batch];
        if loaded.tail.is_none() {
            let tail = self.encoder.tail(&loaded.batch)?;
            let bytes = tail.size() as u64;
            self.reservation.grow(bytes);
            loaded.charged_bytes += bytes;
            loaded.tail = Some(tail);
        }
        Ok(())
    }
}
