//! How many rows there may be: rough, and only ever compared with another estimate.

use sqlparser::ast::{BinaryOperator, Expr as Sql, InTarget, UnaryOperator, Value};

use super::tree;
use crate::plan::{JoinKind, Node, NodeIndex, Op};

/// The share of rows for which a condition is true.
pub(super) fn kept(condition: &Sql) -> f64 {
    match condition {
        Sql::Nested(inner) => kept(inner),
        Sql::UnaryOp { op: UnaryOperator::Not, expr } => 1.0 - kept(expr),
        Sql::BinaryOp { left, op: BinaryOperator::And, right } => kept(left) * kept(right),
        Sql::BinaryOp { left, op: BinaryOperator::Or, right } => {
            (kept(left) + kept(right)).min(1.0)
        }
        Sql::BinaryOp { left, op: BinaryOperator::Eq, right } => {
            // Two columns of one table are seldom equal; a value is one of several.
            let is_value = [left, right].iter().any(|side| tree::names(side).is_empty());
            if is_value { 0.05 } else { 0.1 }
        }
        Sql::BinaryOp { op: BinaryOperator::NotEq, .. } => 0.9,
        Sql::Between { negated, .. } => {
            if *negated {
                0.8
            } else {
                0.2
            }
        }
        Sql::Like { negated, .. } | Sql::ILike { negated, .. } => {
            if *negated {
                0.9
            } else {
                0.1
            }
        }
        Sql::In { target: InTarget::List(list), negated, .. } => {
            #[expect(clippy::cast_precision_loss, reason = "an estimate")]
            let some = (list.len() as f64 * 0.05).min(0.5);
            if *negated { 1.0 - some } else { some }
        }
        Sql::IsNull(_) => 0.05,
        Sql::IsNotNull(_) => 0.95,
        Sql::Value(value) => {
            if value.value == Value::Boolean(true) {
                1.0
            } else {
                0.0
            }
        }
        _ => 0.4,
    }
}

/// How many rows a node of the plan may have; `known` keeps what was found.
pub(super) fn rows(nodes: &[Node], index: NodeIndex) -> f64 {
    // Every node stands behind its inputs, so that one pass is enough.
    let mut found: Vec<f64> = Vec::with_capacity(index.index() + 1);
    for node in nodes.iter().take(index.index() + 1) {
        let input = |place: usize| {
            let input = node.inputs.get(place).and_then(|input| found.get(input.index()));
            input.copied().unwrap_or(1.0)
        };
        let all = || (0..node.inputs.len()).map(input).sum::<f64>();
        let rows = match &node.op {
            Op::Read(read) => {
                let bytes: u64 = read.files.iter().map(|file| file.size_bytes).sum();
                #[expect(clippy::cast_precision_loss, reason = "an estimate")]
                let rows = bytes as f64 / (node.schema.fields().len() as f64 * 8.0);
                rows
            }
            Op::Filter { .. } => input(0) * 0.3,
            Op::Reduce { keys, .. } if keys.is_empty() => 1.0,
            Op::Reduce { .. } => input(0).powf(0.8),
            Op::Join { how, .. } => match how {
                JoinKind::Cross => input(0) * input(1),
                JoinKind::Semi | JoinKind::Anti { .. } => input(0) * 0.5,
                JoinKind::Inner | JoinKind::Left | JoinKind::Right | JoinKind::Full => {
                    input(0).max(input(1))
                }
            },
            #[expect(clippy::cast_precision_loss, reason = "an estimate")]
            Op::Limit { n, .. } => input(0).min(*n as f64),
            Op::Tokenize { .. } | Op::Explode { .. } | Op::Split { .. } => input(0) * 8.0,
            _ => all(),
        };
        found.push(rows.max(1.0));
    }
    found.last().copied().unwrap_or(1.0)
}
