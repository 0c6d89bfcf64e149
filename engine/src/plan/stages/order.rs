//! Partitions that are each sorted, and whose merge is the node's order.
//!
//! A window leaves them: each of its tasks sorts the partitions of its bucket. As long as nobody
//! asks for the rows in sequence they stay apart, and whoever does merges them; a step that would
//! lose the keys stands behind the merge.

use super::range::is_range;
use crate::{
    expr::{Expr, SortKey},
    kernels::accumulate::takes_order,
    plan::{Node, NodeIndex, Op, Order, Plan, Share, Stage, Step, StepIndex, StepKind},
};

/// By which keys the partitions that `steps` give are to be merged; `None` where they stand in the
/// order of their numbers, or in none.
///
/// - Shape: the keys are columns of the last step's rows; they are complete, but for rows that are
///   equal and stand in one partition, or follow one another as their partitions do.
pub(super) fn merge_keys(
    steps: &[Step],
    partitions: u32,
    stages: &[Stage],
) -> Option<Vec<SortKey>> {
    if partitions == 1 {
        return None;
    }
    let top = StepIndex(steps.len().checked_sub(1)?);
    let below = |input: StepIndex| merge_keys(&steps[..=input.0], partitions, stages);
    match &steps[top.0].kind {
        StepKind::Sort { input, keys, .. } => {
            (!is_range(steps, *input, stages)).then(|| keys.clone())
        }
        // Its rows begin with those that were sorted.
        StepKind::Window { input, .. }
        | StepKind::FirstRows { input, .. }
        | StepKind::Filter { input, .. }
        | StepKind::Sleep { input, .. }
        | StepKind::Sample { input, .. }
        | StepKind::Limit { input, .. } => below(*input),
        StepKind::Map { input, columns } => moved(&below(*input)?, columns),
        StepKind::Read { stage, share: Share::Partition } => {
            let kept = stages.iter().find(|known| known.id == *stage)?;
            merge_keys(&kept.steps, kept.partitions, stages)
        }
        _ => None,
    }
}

/// Keys in rows of which `columns` are made; `None` where one is lost.
fn moved(keys: &[SortKey], columns: &[Expr]) -> Option<Vec<SortKey>> {
    let moved = keys.iter().map(|key| {
        let is_key =
            |expr: &Expr| matches!(expr, Expr::Column { index, .. } if *index == key.column);
        columns.iter().position(is_key).map(|column| SortKey { column, ..key.clone() })
    });
    moved.collect()
}

/// For each node whether somebody follows its rows in their order.
pub(super) fn wanted(plan: &Plan) -> Vec<bool> {
    let mut has_reader = vec![false; plan.nodes.len()];
    for input in plan.nodes.iter().flat_map(|node| &node.inputs) {
        has_reader[input.index()] = true;
    }
    // A result stands in its order.
    let mut wanted: Vec<_> = has_reader.iter().map(|has_reader| !has_reader).collect();
    // Every node stands behind its inputs.
    for (index, node) in plan.nodes.iter().enumerate().rev() {
        let follows = follows(node) || (node.order != Order::None && wanted[index]);
        for input in &node.inputs {
            wanted[input.index()] |= follows;
        }
    }
    wanted
}

/// Whether a node's rows or their order depend on the order of its input.
fn follows(node: &Node) -> bool {
    match &node.op {
        // Ties stay as they were.
        Op::Limit { .. } | Op::Sort { .. } | Op::Window { .. } | Op::Write(_) => true,
        Op::Reduce { aggregates, .. } => aggregates.iter().any(takes_order),
        _ => false,
    }
}

/// Whether a reader of a node can't do with partitions that are to be merged by `keys`.
pub(super) fn needs_sequence(
    reader: &Node,
    index: NodeIndex,
    keys: &[SortKey],
    wanted: &[bool],
) -> bool {
    let is_wanted = wanted[index.index()];
    match &reader.op {
        Op::Filter { .. }
        | Op::Sleep { .. }
        | Op::Sample { .. }
        | Op::Cache
        | Op::Sort { .. }
        | Op::Limit { .. }
        | Op::Window { .. }
        | Op::Write(_) => false,
        Op::Map { columns } => is_wanted && moved(keys, columns).is_none(),
        _ => follows(reader) || (reader.order != Order::None && is_wanted),
    }
}
