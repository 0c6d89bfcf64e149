//! Joins: which side is held in a table, whether it goes to every task or both sides by key hash,
//! and what that makes of the node's columns and condition.

use arrow::datatypes::SchemaRef;

use super::{BROADCAST_BYTES, Cutter, Pipeline, reading, relational::as_it_is};
use crate::{
    expr::{Expr, Predicate},
    plan::{
        Distribution, JoinColumn, JoinCondition, JoinKind, JoinRows, NodeIndex, Output,
        ProbeColumn, Share, Step, StepIndex, StepKind,
    },
};

/// A bucket of the build side is to take this part of what a bucket may have: with its table it
/// takes as much again, and each thread has one.
const HELD_FACTOR: u64 = 2;

/// One table is made by one task while others wait for it. A large one pays where the other side, which
/// then need not be moved, is so many times larger.
const MOVED_FACTOR: u64 = 3;

/// A join's inputs, and what pairs of them must fulfil.
pub(super) struct Sides {
    pub(super) left: Pipeline,
    pub(super) right: Pipeline,
    /// What the rows of either side may take in memory.
    pub(super) held: [u64; 2],
    pub(super) left_keys: Vec<Expr>,
    pub(super) right_keys: Vec<Expr>,
    pub(super) null_safe: bool,
    pub(super) on: Option<Predicate>,
}

/// How a join is done.
struct Strategy {
    /// Whether the left side is held in the table.
    builds_left: bool,
    rows: JoinRows,
    /// Whether the table's side goes to every task of the other.
    is_broadcast: bool,
}

impl Cutter<'_> {
    /// The side that is held goes to every task of the other one where it is small enough and no
    /// row of it must be known to have had no partner anywhere; else both go by key hash.
    pub(super) fn joined(
        &mut self,
        node: NodeIndex,
        schema: SchemaRef,
        how: JoinKind,
        sides: Sides,
        columns: &[JoinColumn],
    ) -> Pipeline {
        let Strategy { builds_left, rows, is_broadcast } = self.strategy(how, &sides);
        let Sides { left, right, held, left_keys, right_keys, null_safe, on } = sides;
        let (left_columns, right_columns) =
            (left.schema().fields().len(), right.schema().fields().len());
        let columns = columns.iter().map(|column| probe_column(*column, builds_left)).collect();
        let condition = on.map(|predicate| {
            let read = |column, index| {
                let is_read = predicate.0.reads(index);
                is_read.then(|| probe_column(column, builds_left))
            };
            let of_left = (0..left_columns).map(|index| read(JoinColumn::Left(index), index));
            let of_right = (0..right_columns)
                .map(|index| read(JoinColumn::Right(index), left_columns + index));
            JoinCondition {
                columns: of_left.chain(of_right).collect(),
                predicate: predicate.clone(),
            }
        });
        let moved = left.bytes + right.bytes;
        let bytes = if how.is_left_only() { left.bytes } else { moved };
        let ((probe, probe_keys), (build, build_keys)) = if builds_left {
            ((right, right_keys), (left, left_keys))
        } else {
            ((left, left_keys), (right, right_keys))
        };
        let (probe, build) = if is_broadcast {
            // Each row is looked up where it is, so that no hash has to travel with it.
            (probe, self.broadcast(node, build))
        } else {
            // Without a key all rows belong together.
            let held = held[usize::from(!builds_left)];
            let buckets = if probe_keys.is_empty() {
                1
            } else {
                self.buckets(moved.max(held.saturating_mul(HELD_FACTOR)))
            };
            (
                self.hashed(node, probe, &probe_keys, buckets),
                self.hashed(node, build, &build_keys, buckets),
            )
        };
        let mut inputs = [probe.inputs, build.inputs].concat();
        inputs.sort_unstable();
        inputs.dedup();
        // The build side is one step, a read, so that the probe side's places need no shift.
        let (mut steps, partitions) = (probe.steps, probe.partitions);
        let probe_step = StepIndex(steps.len() - 1);
        steps.extend(build.steps);
        let kind = StepKind::Join {
            probe: probe_step,
            build: StepIndex(probe_step.0 + 1),
            probe_keys,
            build_keys,
            is_hashed: !is_broadcast,
            null_safe,
            condition,
            rows,
            columns,
        };
        steps.push(Step { node, schema, kind });
        Pipeline { steps, partitions, splits: probe.splits, inputs, bytes }
    }

    fn strategy(&self, how: JoinKind, sides: &Sides) -> Strategy {
        let (left, right) = (sides.left.bytes, sides.right.bytes);
        let has_keys = !sides.left_keys.is_empty();
        let is_small = |bytes: u64, other: u64| {
            let pays = bytes <= BROADCAST_BYTES || bytes.saturating_mul(MOVED_FACTOR) <= other;
            pays && bytes <= self.sizes.broadcast_bytes
        };
        let pairs = |lonely_probe, lonely_build| JoinRows::Pairs { lonely_probe, lonely_build };
        // Building the other side costs the broadcast, and is done only where a table may be large.
        // Without keys there is no other way to have more than one task. Which side has fewer rows is
        // guessed, as what was read says nothing of what filters and joins left of it.
        let [left_held, right_held] = sides.held;
        let of_left = (left_held, left);
        let of_right = (right_held, right);
        let is_pinned = |side: (u64, u64), other: (u64, u64)| {
            !has_keys || is_small(side.1, other.1) || side <= other
        };
        let (builds_left, rows) = match how {
            JoinKind::Inner | JoinKind::Cross => (left < right, pairs(false, false)),
            JoinKind::Left if is_pinned(of_right, of_left) => (false, pairs(true, false)),
            JoinKind::Left => (true, pairs(false, true)),
            JoinKind::Right if is_pinned(of_left, of_right) => (true, pairs(true, false)),
            JoinKind::Right => (false, pairs(false, true)),
            JoinKind::Full => (left < right, pairs(true, true)),
            JoinKind::Anti { null_aware: true } => {
                (false, JoinRows::ProbeWithout { null_aware: true })
            }
            JoinKind::Semi if is_pinned(of_right, of_left) => (false, JoinRows::ProbeWith),
            JoinKind::Semi => (true, JoinRows::BuildWith),
            JoinKind::Anti { null_aware: false } if is_pinned(of_right, of_left) => {
                (false, JoinRows::ProbeWithout { null_aware: false })
            }
            JoinKind::Anti { null_aware: false } => (true, JoinRows::BuildWithout),
        };
        let (build, probe) = if builds_left { (left, right) } else { (right, left) };
        // One null on the right decides about all rows of the left, and without keys any row.
        let must = !has_keys || matches!(rows, JoinRows::ProbeWithout { null_aware: true });
        let is_broadcast = !rows.asks_build() && (must || is_small(build, probe));
        Strategy { builds_left, rows, is_broadcast }
    }

    /// A build side, all of it read by each task.
    fn broadcast(&mut self, node: NodeIndex, build: Pipeline) -> Pipeline {
        // A step of the node's own, which counts what goes into it.
        let build = as_it_is(node, build);
        let (bytes, schema) = (build.bytes, build.schema());
        let stage = self.close(build, Output::Exchange(Distribution::Broadcast));
        reading(node, schema, stage, Share::All, 1, bytes)
    }
}

/// A column of the node as one of its step.
fn probe_column(column: JoinColumn, builds_left: bool) -> ProbeColumn {
    match (column, builds_left) {
        (JoinColumn::Left(index), false) | (JoinColumn::Right(index), true) => {
            ProbeColumn::Probe(index)
        }
        (JoinColumn::Left(index), true) | (JoinColumn::Right(index), false) => {
            ProbeColumn::Build(index)
        }
        (JoinColumn::Both { left, right }, false) => {
            ProbeColumn::Either { probe: left, build: right, prefers_build: false }
        }
        (JoinColumn::Both { left, right }, true) => {
            ProbeColumn::Either { probe: right, build: left, prefers_build: true }
        }
    }
}
