//! Joins: which side is held in a table, whether it goes to every task or both sides by key hash,
//! and what that makes of the node's columns and condition.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::{BROADCAST_BYTES, Cutter, Pipeline, reading, relational::as_it_is, with_hash};
use crate::{
    expr::{Expr, Predicate},
    plan::{
        Distribution, JoinColumn, JoinCondition, JoinKind, JoinRows, NodeIndex, Output,
        ProbeColumn, Share, Step, StepIndex, StepKind, estimate::Estimate,
    },
};

/// A bucket of the build side is to take this part of what a bucket may have: with its table it
/// takes as much again, and each thread has one.
const HELD_FACTOR: u64 = 2;

/// One table is made by one task while others wait for it. A large one pays where the other side, which
/// then need not be moved, is so many times larger.
const MOVED_FACTOR: u64 = 3;

/// A table of so many bytes is made in no time.
const SMALL_BYTES: u64 = 1 << 20;

/// So many times more than estimated a side may have; more is not reckoned with than what was read.
const DOUBT: u64 = 4;

/// A join's inputs, and what pairs of them must fulfil.
pub(super) struct Sides {
    pub(super) left: Pipeline,
    pub(super) right: Pipeline,
    /// What either side may give.
    pub(super) estimates: [Estimate; 2],
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
    /// Where both sides move: whether rows of the other side whose keys the table's has not stay away.
    is_filtered: bool,
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
        let Strategy { builds_left, rows, is_broadcast, is_filtered } = self.strategy(how, &sides);
        let Sides { left, right, estimates, left_keys, right_keys, null_safe, on } = sides;
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
            let held = estimates[usize::from(!builds_left)].bytes;
            let buckets = if probe_keys.is_empty() {
                1
            } else {
                self.buckets(moved.max(held.saturating_mul(HELD_FACTOR)))
            };
            if is_filtered {
                let build = self.hashed(node, build, &build_keys, buckets);
                (self.hashed_where_met(node, probe, &probe_keys, &build), build)
            } else {
                (
                    self.hashed(node, probe, &probe_keys, buckets),
                    self.hashed(node, build, &build_keys, buckets),
                )
            }
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
        let [of_left, of_right] = &sides.estimates;
        // What may be there: what was read says nothing of what filters and joins left of it, and
        // what is estimated may be wrong.
        let likely =
            |bytes: u64, estimate: &Estimate| bytes.min(estimate.bytes.saturating_mul(DOUBT));
        let left = (of_left.bytes, likely(sides.left.bytes, of_left));
        let right = (of_right.bytes, likely(sides.right.bytes, of_right));
        let has_keys = !sides.left_keys.is_empty();
        let is_small = |side: (u64, u64), other: (u64, u64)| {
            let pays = side.1 <= BROADCAST_BYTES || side.1.saturating_mul(MOVED_FACTOR) <= other.1;
            pays && side.1 <= self.sizes.broadcast_bytes
        };
        let pairs = |lonely_probe, lonely_build| JoinRows::Pairs { lonely_probe, lonely_build };
        // Building the other side costs the broadcast, and is done only where a table may be large.
        // Without keys there is no other way to have more than one task.
        let filter_factor = self.sizes.filter_factor.filter(|_| has_keys && !sides.null_safe);
        let is_met_by_few = |side: &Estimate, other: &Estimate| {
            filter_factor.is_some_and(|factor| is_met_by_few(side, other, factor))
        };
        let is_pinned = |side: (&Estimate, (u64, u64)), other: (&Estimate, (u64, u64))| {
            // The one task that makes the table of what goes to every task would take longer.
            let is_far_less = other.0.bytes.saturating_mul(MOVED_FACTOR) <= side.0.bytes
                && side.0.bytes > SMALL_BYTES;
            let is_moved = is_far_less || is_met_by_few(side.0, other.0);
            !has_keys || (is_small(side.1, other.1) && !is_moved) || side.1 <= other.1
        };
        let (of_left, of_right) = ((of_left, left), (of_right, right));
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
        let (build, probe) = if builds_left { (of_left, of_right) } else { (of_right, of_left) };
        // One null on the right decides about all rows of the left, and without keys any row.
        let must = !has_keys || matches!(rows, JoinRows::ProbeWithout { null_aware: true });
        let is_broadcast = !rows.asks_build() && (must || is_small(build.1, probe.1));
        let is_filtered =
            !is_broadcast && rows.drops_lonely_probe() && is_met_by_few(probe.0, build.0);
        Strategy { builds_left, rows, is_broadcast, is_filtered }
    }

    /// As [`Cutter::hashed`], without rows whose keys `build` has not, which is there before.
    fn hashed_where_met(
        &mut self,
        node: NodeIndex,
        probe: Pipeline,
        keys: &[Expr],
        build: &Pipeline,
    ) -> Pipeline {
        let (bytes, buckets) = (probe.bytes, build.partitions);
        let mut hashed = with_hash(node, probe, keys);
        let (input, schema) = (hashed.top(), hashed.schema());
        // It reads one stage, the one that its rows were exchanged by.
        for stage in &build.inputs {
            let read = StepKind::Read { stage: *stage, share: Share::Buckets { buckets } };
            hashed.steps.push(Step { node, schema: build.schema(), kind: read });
            let filter = StepKind::KeyFilter { input, build: hashed.top() };
            hashed.steps.push(Step { node, schema: Arc::clone(&schema), kind: filter });
            hashed.inputs.push(*stage);
        }
        hashed.inputs.sort_unstable();
        hashed.inputs.dedup();
        self.exchanged_by_hash(node, hashed, keys, buckets, bytes)
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

/// Whether few rows of `side` may have a partner in `other`: `factor` times what conditions have left
/// of that is no more than it was, and no more than `side`.
fn is_met_by_few(side: &Estimate, other: &Estimate, factor: u64) -> bool {
    other.rows.saturating_mul(factor) <= other.unfiltered_rows.min(side.rows)
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
