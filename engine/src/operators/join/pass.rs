//! One pass: rows of the build side in a table, past which the probe side streams.
//!
//! A probe gives two lists of row numbers, one a side. Rows without a partner are known where a
//! probe batch ends, and those of the build side where the probe side does. Where the table has but
//! a chunk of the build side's rows, the probe side streams past several times ([`Chunks`]), and
//! which of its rows have a partner is known in the last pass.

use std::sync::Arc;

use arrow::array::{BooleanBufferBuilder, RecordBatch};

use super::{
    BATCH_ROWS, NO_ROW,
    build::{Built, Gathered, gather},
    output::{BuildRows, holds, output},
    probe::{Pairs, Probing},
    shape::Shape,
};
use crate::{
    Error, Result,
    memory::{Reservation, spill::SpillFile},
    operators::Operator,
    plan::JoinRows,
    task::context::TaskContext,
};

/// A table and the rows that stream past it.
pub(super) struct Pass {
    pub(super) built: Arc<Built>,
    probe: Box<dyn Operator>,
    probing: Option<Probing>,
    /// Of each row of the build side whether it has met a partner; empty where nobody asks.
    met: Vec<bool>,
    /// How many rows of the build side have been looked at once the probe side had ended.
    left_over: usize,
}

/// What one of several passes knows of the rows of the probe side.
struct Marks<'a> {
    /// Of each row whether a pass before this one has found a partner.
    met: &'a mut BooleanBufferBuilder,
    /// The first row of the batch at hand.
    first: &'a mut usize,
    is_last: bool,
}

impl Pass {
    /// All rows of `probe` past `built`.
    pub(super) fn new(built: Arc<Built>, probe: Box<dyn Operator>, shape: &Shape) -> Self {
        let asked = if shape.rows.asks_build() { built.rows } else { 0 };
        Self { built, probe, probing: None, met: vec![false; asked], left_over: 0 }
    }

    /// The next rows; `None` at the end.
    pub(super) fn next(
        &mut self,
        shape: &Shape,
        context: &TaskContext,
    ) -> Result<Option<RecordBatch>> {
        self.step(shape, context, None)
    }

    fn step(
        &mut self,
        shape: &Shape,
        context: &TaskContext,
        mut marks: Option<Marks<'_>>,
    ) -> Result<Option<RecordBatch>> {
        loop {
            // Few pairs may be left of many, so that batches alone do not ask often enough.
            context.cancel.check()?;
            if self.probing.is_some() {
                if let Some(batch) = self.advance(shape, marks.as_mut())? {
                    return Ok(Some(batch));
                }
            } else if !self.pull(shape, marks.as_ref())? {
                return self.left_over(shape);
            }
        }
    }

    /// The next rows of the probe side, looked up; `false` at its end.
    fn pull(&mut self, shape: &Shape, marks: Option<&Marks<'_>>) -> Result<bool> {
        let Some(batch) = self.probe.next()? else { return Ok(false) };
        let rows = batch.num_rows();
        let probing = Probing::new(batch, shape, &self.built)?;
        self.probing = Some(match marks {
            Some(marks) => {
                let met = (*marks.first..*marks.first + rows).map(|row| marks.met.get_bit(row));
                probing.tracking(met.collect())
            }
            None if shape.condition.is_some() => probing.tracking(vec![false; rows]),
            None => probing,
        });
        Ok(true)
    }

    /// Goes on with the probe batch at hand: what of it can come out next, if anything.
    fn advance(
        &mut self,
        shape: &Shape,
        marks: Option<&mut Marks<'_>>,
    ) -> Result<Option<RecordBatch>> {
        let Some(probing) = &mut self.probing else { return Ok(None) };
        let (rows, gives_pairs) = (shape.rows, shape.gives_pairs());
        let has_condition = shape.condition.is_some();
        // Else it is known by the keys alone, and at once, which rows of the probe side have a
        // partner.
        let tracks = has_condition || marks.is_some();
        if gives_pairs || has_condition {
            let keeps_lonely = !tracks && rows.keeps_lonely_probe();
            let once = matches!(rows, JoinRows::ProbeWith | JoinRows::ProbeWithout { .. });
            let mut pairs = probing.pairs(&self.built, keeps_lonely, once);
            if !pairs.is_empty() {
                if let Some(condition) = &shape.condition {
                    let holds = holds(condition, &probing.batch, &self.built, &pairs)?;
                    pairs.retain(&holds);
                }
                if tracks {
                    probing.mark(&pairs);
                }
                mark(&mut self.met, &pairs);
                if gives_pairs && !pairs.is_empty() {
                    let build = BuildRows::Held(&self.built);
                    return output(shape, Some(&probing.batch), build, pairs).map(Some);
                }
                return Ok(None);
            }
        } else {
            if rows.asks_build() {
                probing.mark_groups(&self.built, &mut self.met);
            }
            if tracks {
                probing.mark_found();
            }
        }
        let Some(done) = self.probing.take() else { return Ok(None) };
        if let Some(marks) = marks {
            for (row, met) in (*marks.first..).zip(done.met()) {
                marks.met.set_bit(row, *met);
            }
            *marks.first += done.batch.num_rows();
            if !marks.is_last {
                return Ok(None);
            }
        }
        let chosen = match rows {
            JoinRows::ProbeWith if tracks => done.rows(true),
            JoinRows::Pairs { lonely_probe: true, .. }
            | JoinRows::ProbeWithout { null_aware: false }
                if tracks =>
            {
                done.rows(false)
            }
            JoinRows::ProbeWith => done.rows_in_groups(true),
            JoinRows::ProbeWithout { null_aware: false } => done.rows_in_groups(false),
            JoinRows::ProbeWithout { null_aware: true } => done.rows_not_in(&self.built),
            JoinRows::Pairs { .. } | JoinRows::BuildWith | JoinRows::BuildWithout => Vec::new(),
        };
        if chosen.is_empty() {
            return Ok(None);
        }
        output(shape, Some(&done.batch), BuildRows::None, Pairs::of_probe(chosen)).map(Some)
    }

    /// The next rows of the build side that come out behind all others.
    fn left_over(&mut self, shape: &Shape) -> Result<Option<RecordBatch>> {
        let wants = match shape.rows {
            JoinRows::Pairs { lonely_build: true, .. } | JoinRows::BuildWithout => false,
            JoinRows::BuildWith => true,
            JoinRows::Pairs { .. } | JoinRows::ProbeWith | JoinRows::ProbeWithout { .. } => {
                return Ok(None);
            }
        };
        let rest = (0_u32..).zip(&self.met).skip(self.left_over);
        let rows: Vec<u32> =
            rest.filter(|(_, met)| **met == wants).map(|(row, _)| row).take(BATCH_ROWS).collect();
        let Some(last) = rows.last() else { return Ok(None) };
        self.left_over = *last as usize + 1;
        output(shape, None, BuildRows::Held(&self.built), Pairs::of_build(rows)).map(Some)
    }
}

/// Marks the build side's rows among some pairs; where `met` is empty nobody asks.
fn mark(met: &mut [bool], pairs: &Pairs) {
    if met.is_empty() {
        return;
    }
    for row in pairs.build_rows.iter().filter(|row| **row != NO_ROW) {
        met[*row as usize] = true;
    }
}

/// A build side that no hash takes apart, chunk after chunk, each with a pass of the probe side.
///
/// - Memory: a chunk is what the budget grants, and the least that is worth a pass; a bit a row of
///   the probe side.
pub(super) struct Chunks {
    /// Absent for a moment, while the next chunk is read.
    pass: Option<Pass>,
    /// Of the build side, what has not been in a table.
    rest: Box<dyn Operator>,
    refused: Option<RecordBatch>,
    probe: Arc<SpillFile>,
    met: BooleanBufferBuilder,
    first: usize,
    _reservation: Reservation,
}

impl Chunks {
    /// Of a build side of which `built` is the first chunk, `refused` the batch behind it and
    /// `rest` what follows.
    ///
    /// # Errors
    /// [`Error::Internal`] where the probe side has more rows than addresses.
    pub(super) fn new(
        built: Built,
        refused: Option<RecordBatch>,
        rest: Box<dyn Operator>,
        probe: Arc<SpillFile>,
        shape: &Shape,
        context: &TaskContext,
    ) -> Result<Self> {
        let rows = usize::try_from(probe.rows())
            .map_err(|_| Error::Internal(format!("{} rows in a spill file", probe.rows())))?;
        let mut reservation = context.budget.reservation("join (rows with a partner)");
        reservation.grow(rows as u64 / 8);
        let mut met = BooleanBufferBuilder::new(rows);
        met.append_n(rows, false);
        let pass = Some(Pass::new(Arc::new(built), all_of(&probe), shape));
        Ok(Self { pass, rest, refused, probe, met, first: 0, _reservation: reservation })
    }

    /// The next rows; `None` at the end.
    pub(super) fn next(
        &mut self,
        shape: &Shape,
        context: &TaskContext,
    ) -> Result<Option<RecordBatch>> {
        loop {
            let is_last = self.refused.is_none();
            let marks = Marks { met: &mut self.met, first: &mut self.first, is_last };
            if let Some(pass) = &mut self.pass
                && let Some(batch) = pass.step(shape, context, Some(marks))?
            {
                return Ok(Some(batch));
            }
            // The last chunk's memory is given back before the next one asks for its own.
            self.pass = None;
            let Some(first) = self.refused.take() else { return Ok(None) };
            let built = match gather(shape, Some(first), &mut *self.rest, context)? {
                Gathered::Whole(built) => built,
                Gathered::Refused(collected, refused) => {
                    self.refused = refused;
                    collected.forced(shape, context)?
                }
            };
            self.pass = Some(Pass::new(Arc::new(built), all_of(&self.probe), shape));
            self.first = 0;
        }
    }
}

/// All rows of a file.
pub(super) fn all_of(file: &Arc<SpillFile>) -> Box<dyn Operator> {
    Box::new(file.reader(0..file.blocks()))
}
