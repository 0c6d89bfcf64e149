//! `join`: a hash join of every kind; without keys every row meets every other.
//!
//! The build side is collected ([`build`]) and its keys put in order ([`lookup`]), once for all tasks
//! of a process where all of them read the same ([`shared`]); then the probe side streams past
//! ([`pass`], [`probe`]), and pairs become rows ([`output`]). A build side that does not fit the
//! budget is taken apart into spill files by its keys' hash, and the probe side likewise ([`split`]);
//! what belongs together is joined part by part.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef};

use crate::{
    Error, Result,
    expr::Expr,
    memory::spill::SpillReader,
    operators::Operator,
    plan::{JoinCondition, JoinRows, ProbeColumn},
    source::runtime_filter::RuntimeFilter,
    task::context::TaskContext,
};

mod shape;
mod build;
mod lookup;
mod probe;
mod output;
mod pass;
mod split;
pub mod key_filter;
pub mod shared;
#[cfg(test)]
mod tests;

use build::{Gathered, gather};
use output::{BuildRows, output};
use pass::{Chunks, Pass, all_of};
use probe::Pairs;
use shape::Shape;
use shared::{Build, BuildKey, Side};
use split::{Level, Part, Parts, Place, Splitting};

/// The most rows of an output batch, however many partners a row has.
const BATCH_ROWS: usize = 8192;

/// Stands for no row of a side.
const NO_ROW: u32 = u32::MAX;

/// What a [`Join`] joins, and how.
pub struct JoinInput {
    /// The rows that stream past.
    pub probe: Box<dyn Operator>,
    /// The rows that are held.
    pub build: Box<dyn Operator>,
    /// The keys, over the probe side's schema.
    pub probe_keys: Vec<Expr>,
    /// The keys, over the build side's schema; of the same types.
    pub build_keys: Vec<Expr>,
    /// Whether the last column of both sides is the hash of their keys; else it is computed where
    /// it is needed.
    pub is_hashed: bool,
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
    /// Where the build side's keys are left for sources of the probe side, before those are read, each
    /// with the place of its key.
    pub filters: Vec<(usize, RuntimeFilter)>,
}

/// Pairs of rows with equal keys for which the condition is true, and rows without a partner.
///
/// - Shape: `schema`, at most 8192 rows a batch, or as many as a batch of an input has. Order: none.
/// - Memory: the build side and its table are reserved, with a byte a row where its rows without a
///   partner come out; refused, both sides go to spill files, apart by their hash. A 32nd of the
///   budget (1 to 16 MiB) is taken in any case, and one batch of pairs.
/// - Errors: [`Error::Evaluate`](crate::Error) of a key or the condition; those of spilling.
pub struct Join {
    shape: Shape,
    context: TaskContext,
    /// The inputs, before the first pull.
    inputs: Option<Inputs>,
    /// Parts that wait.
    waiting: Vec<Part>,
    current: Current,
    /// A build side that other tasks use too, until this one has done with it.
    shared: Option<Build>,
}

struct Inputs {
    probe: Box<dyn Operator>,
    build: Box<dyn Operator>,
    shared: Option<(BuildKey, u32)>,
    filters: Vec<(usize, RuntimeFilter)>,
}

/// What is done at the moment.
enum Current {
    Nothing,
    /// The probe side streams past a table.
    Pass(Pass),
    /// The probe side is taken apart.
    Splitting(Splitting),
    /// What can't be taken apart is joined chunk by chunk.
    Chunks(Box<Chunks>),
    /// Rows of the build side come out that have no partner.
    Alone(SpillReader),
}

impl Join {
    /// Nothing is read before the first pull.
    pub fn new(input: JoinInput, context: &TaskContext) -> Self {
        let JoinInput { probe, build, shared, filters, .. } = input;
        let told_keys = filters.iter().map(|(key, _)| *key).collect();
        let shape = Shape {
            told_keys,
            probe_keys: input.probe_keys,
            build_keys: input.build_keys,
            is_hashed: input.is_hashed,
            null_safe: input.null_safe,
            condition: input.condition,
            rows: input.rows,
            columns: input.columns,
            schema: input.schema,
            build_schema: input.build_schema,
            least_bytes: Shape::least_bytes(context.budget.limit_bytes()),
        };
        Self {
            shape,
            context: context.clone(),
            inputs: Some(Inputs { probe, build, shared, filters }),
            waiting: Vec::new(),
            current: Current::Nothing,
            shared: None,
        }
    }

    /// Begins with both inputs.
    fn begin(&mut self, inputs: Inputs) -> Result<Current> {
        let Inputs { probe, mut build, shared, filters } = inputs;
        let (shape, context) = (&self.shape, &self.context);
        let mut prepared = |place| side(shape, &mut *build, Level::NONE, place, context);
        let ready = match shared {
            None => prepared(Place::Attempt)?,
            Some((key, tasks)) => {
                let all = Arc::clone(context.store.builds());
                let make = || prepared(Place::Job(key.job));
                let of_all = all.get(key, tasks, &context.cancel, make)?;
                let ready = of_all.side().clone();
                self.shared = Some(of_all);
                ready
            }
        };
        drop(build);
        Ok(match ready {
            Side::Whole(built) => {
                for (key, filter) in filters {
                    if let Some(keys) = built.key_set(key) {
                        filter.set(keys);
                    }
                }
                Current::Pass(Pass::new(built, probe, shape))
            }
            Side::Parted(parts) => Current::Splitting(Splitting::new(parts, probe)),
            Side::Keys(_) => return Err(keys_alone()),
        })
    }

    /// Begins with a part of both sides.
    fn part(&self, part: Part) -> Result<Current> {
        let (shape, context) = (&self.shape, &self.context);
        let Part { build, probe, level, is_stubborn } = part;
        let (build, probe) = match (build, probe) {
            (Some(build), Some(probe)) => (build, probe),
            (Some(build), None) if shape.keeps_lonely_build() => {
                return Ok(Current::Alone(build.reader(0..build.blocks())));
            }
            // Rows of the probe side that have no partner were settled before they came here.
            (_, _) => return Ok(Current::Nothing),
        };
        let mut rest = all_of(&build);
        drop(build);
        if !is_stubborn {
            return Ok(match side(shape, &mut *rest, level, Place::Attempt, context)? {
                Side::Whole(whole) => Current::Pass(Pass::new(whole, all_of(&probe), shape)),
                Side::Parted(parts) => Current::Splitting(Splitting::new(parts, all_of(&probe))),
                Side::Keys(_) => return Err(keys_alone()),
            });
        }
        Ok(match gather(shape, None, &mut *rest, context)? {
            Gathered::Whole(whole) => {
                Current::Pass(Pass::new(Arc::new(whole), all_of(&probe), shape))
            }
            Gathered::Refused(collected, refused) => {
                let chunk = collected.forced(shape, context)?;
                let chunks = Chunks::new(chunk, refused, rest, probe, shape, context)?;
                Current::Chunks(Box::new(chunks))
            }
        })
    }
}

fn keys_alone() -> Error {
    Error::Internal(String::from("keys alone can't be joined"))
}

/// All rows of a build side, in memory or in parts.
fn side(
    shape: &Shape,
    rows: &mut dyn Operator,
    level: Level,
    place: Place,
    context: &TaskContext,
) -> Result<Side> {
    Ok(match gather(shape, None, rows, context)? {
        Gathered::Whole(built) => Side::Whole(Arc::new(built)),
        Gathered::Refused(collected, refused) => {
            let parts = Parts::of(shape, (collected, refused), rows, level, place, context)?;
            Side::Parted(Arc::new(parts))
        }
    })
}

impl Operator for Join {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        if let Some(inputs) = self.inputs.take() {
            self.current = self.begin(inputs)?;
        }
        loop {
            self.context.cancel.check()?;
            let (shape, context) = (&self.shape, &self.context);
            let batch = match &mut self.current {
                Current::Nothing => None,
                Current::Pass(pass) => pass.next(shape, context)?,
                Current::Splitting(splitting) => splitting.next(shape, context)?,
                Current::Chunks(chunks) => chunks.next(shape, context)?,
                Current::Alone(rows) => {
                    rows.next()?.map(|batch| alone(shape, &batch)).transpose()?
                }
            };
            if batch.is_some() {
                return Ok(batch);
            }
            if let Current::Splitting(done) = std::mem::replace(&mut self.current, Current::Nothing)
            {
                self.waiting.extend(done.finish(&self.context)?);
                // What a null means for the whole of a side was settled with the first split.
                if let JoinRows::ProbeWithout { null_aware } = &mut self.shape.rows {
                    *null_aware = false;
                }
            }
            let Some(part) = self.waiting.pop() else {
                self.shared = None;
                return Ok(None);
            };
            self.current = self.part(part)?;
        }
    }
}

/// Rows of the build side that have no partner, as output.
fn alone(shape: &Shape, batch: &RecordBatch) -> Result<RecordBatch> {
    let rows = (0_u32..).zip(0..batch.num_rows()).map(|(row, _)| row).collect();
    output(shape, None, BuildRows::Batch(batch), Pairs::of_build(rows))
}
