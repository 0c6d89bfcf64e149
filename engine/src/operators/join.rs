//! `join`: a hash join of every kind; without keys every row meets every other.
//!
//! The build side is collected into a table whose groups list their rows ([`build`]), once for
//! all tasks of a process where all of them read the same ([`shared`]); then the probe side streams
//! past ([`probe`]). A probe gives two lists of row numbers, one a side; what is left of them after
//! the condition comes out by one `take` a column. Rows without a partner are known where a probe
//! batch ends, and those of the build side where the probe side does. It does not spill.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BooleanArray, NullArray, RecordBatch, RecordBatchOptions, UInt32Array,
        new_null_array,
    },
    buffer::NullBuffer,
    compute::{interleave, take},
    datatypes::{Field, Schema, SchemaRef},
};

use crate::{
    Result,
    expr::Expr,
    memory::Reservation,
    operators::Operator,
    plan::{JoinCondition, JoinRows, ProbeColumn},
    task::context::TaskContext,
};

mod build;
mod probe;
pub mod shared;
#[cfg(test)]
mod tests;

use build::{Built, ask};
use probe::{Pairs, Probing};
use shared::{Build, BuildKey};

/// The most rows of an output batch, however many partners a row has.
const BATCH_ROWS: usize = 8192;

/// Stands for no row of a side.
const NO_ROW: u32 = u32::MAX;

/// What a [`Join`] joins, and how.
pub struct JoinInput {
    /// The rows that stream past; their last column is the hash of `probe_keys`.
    pub probe: Box<dyn Operator>,
    /// The rows that are held; their last column is the hash of `build_keys`.
    pub build: Box<dyn Operator>,
    /// The keys, over the probe side's schema.
    pub probe_keys: Vec<Expr>,
    /// The keys, over the build side's schema; of the same types.
    pub build_keys: Vec<Expr>,
    /// Whether a null key equals a null key; else it equals nothing.
    pub null_safe: bool,
    /// What must be true of a pair beside its keys.
    pub condition: Option<JoinCondition>,
    /// Which rows come out.
    pub rows: JoinRows,
    /// Where each output column comes from.
    pub columns: Vec<ProbeColumn>,
    /// The output's schema.
    pub schema: SchemaRef,
    /// The build side's schema.
    pub build_schema: SchemaRef,
    /// Where all tasks of a stage read the same build side: which, and how many tasks there are.
    pub shared: Option<(BuildKey, u32)>,
}

/// Pairs of rows with equal keys for which the condition is true, and rows without a partner.
///
/// - Shape: `schema`, at most 8192 rows a batch, or as many as a probe batch has. Order: none;
///   without a condition the probe side's, the partners of one row in the build side's order, and
///   rows of the build side last.
/// - Memory: the build side's columns that are read, its keys, 8 bytes a row, and one more where
///   its rows without a partner come out, are reserved; beside them one batch of pairs.
/// - Errors: [`Error::MemoryLimit`](crate::Error) where the build side is refused memory;
///   [`Error::Evaluate`](crate::Error) of a key or the condition.
pub struct Join {
    input: JoinInput,
    context: TaskContext,
    built: Option<Build>,
    probing: Option<Probing>,
    /// Of each row of the build side whether it has met a partner; empty where nobody asks.
    met: Vec<bool>,
    /// For `met`.
    reservation: Reservation,
    /// How many rows of the build side have been looked at once the probe side had ended.
    left_over: usize,
    has_ended: bool,
}

impl Join {
    /// Nothing is read before the first pull.
    pub fn new(input: JoinInput, context: &TaskContext) -> Self {
        Self {
            input,
            context: context.clone(),
            built: None,
            probing: None,
            met: Vec::new(),
            reservation: context.budget.reservation("join (rows without a partner)"),
            left_over: 0,
            has_ended: false,
        }
    }

    /// The build side, which is built on the first pull.
    fn built(&mut self) -> Result<Arc<Built>> {
        if let Some(build) = &self.built {
            return Ok(Arc::clone(build.built()));
        }
        let all = Arc::clone(self.context.store.builds());
        let own = match self.input.shared {
            Some((key, tasks)) => {
                let (input, context) = (&mut self.input, &self.context);
                all.get(key, tasks, &context.cancel, || build::build(input, context))?
            }
            None => Build::own(build::build(&mut self.input, &self.context)?),
        };
        if self.input.rows.asks_build() {
            let rows = own.built().row_count();
            ask(&mut self.reservation, rows as u64, &self.context)?;
            self.met = vec![false; rows];
        }
        let built = Arc::clone(own.built());
        self.built = Some(own);
        Ok(built)
    }

    /// Goes on with the probe batch at hand: what of it can come out next, if anything.
    fn advance(&mut self, built: &Built) -> Result<Option<RecordBatch>> {
        let Some(probing) = &mut self.probing else { return Ok(None) };
        let rows = self.input.rows;
        let gives_pairs = matches!(rows, JoinRows::Pairs { .. });
        if gives_pairs || self.input.condition.is_some() {
            let keeps_lonely = self.input.condition.is_none() && rows.keeps_lonely_probe();
            let once = matches!(rows, JoinRows::ProbeWith | JoinRows::ProbeWithout { .. });
            let mut pairs = probing.pairs(built, keeps_lonely, once);
            if !pairs.is_empty() {
                if let Some(condition) = &self.input.condition {
                    let holds = holds(condition, &probing.batch, built, &pairs)?;
                    pairs.retain(&holds);
                    probing.mark(&pairs);
                }
                mark(&mut self.met, &pairs);
                if gives_pairs && !pairs.is_empty() {
                    return output(&self.input, Some(&probing.batch), built, &pairs).map(Some);
                }
                return Ok(None);
            }
        } else if rows.asks_build() {
            probing.mark_groups(built, &mut self.met);
        }
        let Some(done) = self.probing.take() else { return Ok(None) };
        let has_condition = self.input.condition.is_some();
        let chosen = match rows {
            JoinRows::ProbeWith if has_condition => done.rows(true),
            JoinRows::Pairs { lonely_probe: true, .. }
            | JoinRows::ProbeWithout { null_aware: false }
                if has_condition =>
            {
                done.rows(false)
            }
            JoinRows::ProbeWith => done.rows_in_groups(true),
            JoinRows::ProbeWithout { null_aware: false } => done.rows_in_groups(false),
            JoinRows::ProbeWithout { null_aware: true } => done.rows_not_in(built),
            JoinRows::Pairs { .. } | JoinRows::BuildWith | JoinRows::BuildWithout => Vec::new(),
        };
        if chosen.is_empty() {
            return Ok(None);
        }
        let pairs = Pairs::of_probe(chosen);
        output(&self.input, Some(&done.batch), built, &pairs).map(Some)
    }

    /// The next rows of the probe side, looked up; `false` at its end.
    fn pull(&mut self, built: &Built) -> Result<bool> {
        let Some(batch) = self.input.probe.next()? else { return Ok(false) };
        let tracks = self.input.condition.is_some();
        let probing = Probing::new(batch, &self.input.probe_keys, built, self.input.null_safe)?;
        self.probing = Some(if tracks { probing.tracking() } else { probing });
        Ok(true)
    }

    /// The next rows of the build side that come out behind all others.
    fn left_over(&mut self, built: &Built) -> Result<Option<RecordBatch>> {
        let wants = match self.input.rows {
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
        output(&self.input, None, built, &Pairs::of_build(rows)).map(Some)
    }
}

impl Operator for Join {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        if self.has_ended {
            return Ok(None);
        }
        let built = self.built()?;
        loop {
            // Few pairs may be left of many, so that batches alone do not ask often enough.
            self.context.cancel.check()?;
            if self.probing.is_some() {
                if let Some(batch) = self.advance(&built)? {
                    return Ok(Some(batch));
                }
            } else if !self.pull(&built)? {
                let batch = self.left_over(&built)?;
                if batch.is_none() {
                    self.has_ended = true;
                    self.met = Vec::new();
                    self.reservation.free();
                    self.built = None;
                }
                return Ok(batch);
            }
        }
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

/// Of each pair whether the condition is true.
fn holds(
    condition: &JoinCondition,
    probe: &RecordBatch,
    built: &Built,
    pairs: &Pairs,
) -> Result<Vec<bool>> {
    let rows = pairs.probe_rows.len();
    let probe_rows = UInt32Array::from(pairs.probe_rows.clone());
    let build_rows = UInt32Array::from(pairs.build_rows.clone());
    let column = |column: &Option<ProbeColumn>| -> Result<ArrayRef> {
        Ok(match column {
            Some(ProbeColumn::Probe(index)) => take(probe.column(*index), &probe_rows, None)?,
            Some(ProbeColumn::Build(index)) => take(built.column(*index)?, &build_rows, None)?,
            // What the condition does not read only keeps its place.
            Some(ProbeColumn::Either { .. }) | None => Arc::new(NullArray::new(rows)),
        })
    };
    let columns = condition.columns.iter().map(column).collect::<Result<Vec<_>>>()?;
    let fields = columns.iter().map(|values| Field::new("", values.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
    let holds: BooleanArray = condition.predicate.evaluate(&batch)?;
    Ok(holds.iter().map(|holds| holds == Some(true)).collect())
}

/// The output rows of some pairs; without a probe batch they are all rows of the build side.
fn output(
    input: &JoinInput,
    probe: Option<&RecordBatch>,
    built: &Built,
    pairs: &Pairs,
) -> Result<RecordBatch> {
    let rows = pairs.probe_rows.len();
    // A batch whose every row has one partner needs no copy of the probe side.
    let is_whole = probe.is_some_and(|probe| {
        rows == probe.num_rows() && (0u32..).zip(&pairs.probe_rows).all(|(n, row)| n == *row)
    });
    let probe_rows = nullable_rows(&pairs.probe_rows, false);
    let build_rows = nullable_rows(&pairs.build_rows, pairs.has_lonely);
    let nulls = |place: usize| new_null_array(input.schema.field(place).data_type(), rows);
    let column = |(place, column): (usize, &ProbeColumn)| -> Result<ArrayRef> {
        let of_probe = |index: usize| match probe {
            Some(probe) if is_whole => Ok(Arc::clone(probe.column(index))),
            Some(probe) => Ok(take(probe.column(index), &probe_rows, None)?),
            None => Ok(nulls(place)),
        };
        let of_build = |index: usize| {
            if pairs.build_rows.iter().all(|row| *row == NO_ROW) {
                return Ok(nulls(place));
            }
            Ok(take(built.column(index)?, &build_rows, None)?)
        };
        match *column {
            ProbeColumn::Probe(index) => of_probe(index),
            ProbeColumn::Build(index) => of_build(index),
            ProbeColumn::Either { probe: probe_index, build, prefers_build } => {
                let Some(probe) = probe else { return of_build(build) };
                let is_lonely = pairs.has_lonely;
                match (prefers_build, is_lonely) {
                    // Every pair has a probe row here.
                    (false, _) => of_probe(probe_index),
                    (true, false) => of_build(build),
                    (true, true) => {
                        let pairs = pairs.probe_rows.iter().zip(&pairs.build_rows);
                        let side = |(probe_row, build_row): (&u32, &u32)| match *build_row {
                            NO_ROW => (0, *probe_row as usize),
                            build_row => (1, build_row as usize),
                        };
                        let places: Vec<_> = pairs.map(side).collect();
                        if places.iter().all(|(from, _)| *from == 0) {
                            return of_probe(probe_index);
                        }
                        let sides = [probe.column(probe_index).as_ref(), built.column(build)?];
                        Ok(interleave(&sides, &places)?)
                    }
                }
            }
        }
    };
    let columns = input.columns.iter().enumerate().map(column).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(&input.schema), columns, &options)?)
}

/// Row numbers, with nulls where there is no row.
fn nullable_rows(rows: &[u32], has_none: bool) -> UInt32Array {
    if !has_none {
        return UInt32Array::from(rows.to_vec());
    }
    let nulls: NullBuffer = rows.iter().map(|row| *row != NO_ROW).collect();
    let rows = rows.iter().map(|row| if *row == NO_ROW { 0 } else { *row });
    UInt32Array::new(rows.collect(), Some(nulls))
}
