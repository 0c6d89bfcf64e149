//! `push_predicate`: conditions are tested as early as they can be.
//!
//! A filter's condition is a conjunction, each part of which sinks by itself: through maps that
//! only move its columns, sorts, unions, the side of a join that it speaks of, and the keys of a
//! reduction, until something stops it; there a filter is added. A part that can fail (a division,
//! a cast) stays where it was written, lest it fail for rows that never got there. Readers of
//! columnar files are told what the filters directly above them keep, so that they may skip what
//! can't contain it.

use std::{collections::BTreeSet, sync::Arc};

use arrow::datatypes::DataType;

use super::Nodes;
use crate::{
    expr::{BinaryOp, Expr, Literal, Predicate},
    plan::{JoinColumn, JoinKind, NodeIndex, Op},
};

/// Applies the rule.
pub(super) fn apply(nodes: &mut Nodes) -> Vec<String> {
    let mut done = Vec::new();
    let filters: Vec<usize> =
        (0..nodes.0.len()).filter(|at| matches!(nodes.0[*at].op, Op::Filter { .. })).collect();
    // From the sinks upwards, so that what sinks onto a filter can sink on together with it.
    for at in filters.into_iter().rev() {
        sink(nodes, at, &mut done);
    }
    hint(nodes, &mut done);
    done
}

/// Where a condition may stand: between a node and one of its inputs.
#[derive(Clone, Copy, PartialEq)]
struct Edge {
    reader: usize,
    input: usize,
}

impl Edge {
    /// The node whose rows go along it.
    fn begin(self, nodes: &Nodes) -> NodeIndex {
        nodes.0[self.reader].inputs[self.input]
    }
}

/// Has the parts of a filter's condition sink.
fn sink(nodes: &mut Nodes, at: usize, done: &mut Vec<String>) {
    let Op::Filter { predicate } = &nodes.0[at].op else { return };
    let (mut stay, mut landed): (Vec<Expr>, Vec<(Edge, Expr)>) = (Vec::new(), Vec::new());
    for part in conjuncts(predicate.0.clone()) {
        let mut places = Vec::new();
        let begin = nodes.0[at].inputs[0];
        let edge = Edge { reader: at, input: 0 };
        descend(nodes, edge, part.clone(), &mut places);
        // What only changed places with other filters has gained nothing.
        let bottom = below_filters(nodes, begin);
        let has_moved = places.iter().any(|(landing, _)| {
            let place = landing.begin(nodes);
            place != begin && place != bottom
        });
        if part.is_fallible() || !has_moved {
            stay.push(part);
        } else {
            landed.extend(places);
        }
    }
    if landed.is_empty() {
        return;
    }
    let id = nodes.0[at].id.clone();
    let mut by_place: Vec<(Edge, Vec<Expr>)> = Vec::new();
    for (place, part) in landed {
        match by_place.iter_mut().find(|(known, _)| *known == place) {
            Some((_, parts)) => parts.push(part),
            None => by_place.push((place, vec![part])),
        }
    }
    for (edge, parts) in by_place {
        let place = edge.begin(nodes);
        let text: Vec<_> = parts.iter().map(ToString::to_string).collect();
        let below = &nodes.0[place.index()];
        done.push(format!("{} of `{id}` is tested behind `{}`", text.join(" and "), below.id));
        let (schema, order) = (Arc::clone(&below.schema), below.order.clone());
        let helper = format!("{}.{}", super::root(&id), super::root(&below.id));
        let op = Op::Filter { predicate: Predicate(conjunction(parts)) };
        // Others may read `place` too; the condition is none of theirs.
        let added = nodes.add(&helper, op, place, schema, order);
        nodes.0[edge.reader].inputs[edge.input] = added;
    }
    nodes.0[at].op = Op::Filter { predicate: Predicate(conjunction(stay)) };
}

/// What stands below the filters that begin at a node.
fn below_filters(nodes: &Nodes, mut node: NodeIndex) -> NodeIndex {
    while let Op::Filter { .. } = nodes.0[node.index()].op {
        node = nodes.0[node.index()].inputs[0];
    }
    node
}

/// Follows a condition from an edge down to where it can get: the edges on which it would stand,
/// each with the condition over the columns there.
fn descend(nodes: &Nodes, edge: Edge, part: Expr, places: &mut Vec<(Edge, Expr)>) {
    let below = edge.begin(nodes);
    let node = &nodes.0[below.index()];
    let is_shared = nodes.0.iter().flat_map(|n| &n.inputs).filter(|i| **i == below).count() > 1;
    let stop = |found: &mut Vec<_>, condition| found.push((edge, condition));
    if is_shared {
        stop(places, part);
        return;
    }
    let read: BTreeSet<usize> = part.columns().into_iter().collect();
    let same = |column: usize| Some(column);
    match &node.op {
        Op::Filter { .. } | Op::Sort { limit: None, .. } => {
            through(nodes, below, 0, part, &same, places);
        }
        Op::Map { columns } => {
            let source = |column: usize| match &columns[column] {
                Expr::Column { index, .. } => Some(*index),
                _ => None,
            };
            if read.iter().all(|column| source(*column).is_some()) {
                through(nodes, below, 0, part, &source, places);
            } else {
                stop(places, part);
            }
        }
        Op::Union => {
            for input in 0..node.inputs.len() {
                through(nodes, below, input, part.clone(), &same, places);
            }
        }
        Op::Explode { column, .. } | Op::Split { column, .. } if !read.contains(column) => {
            through(nodes, below, 0, part, &same, places);
        }
        Op::Reduce { keys, .. } => {
            let source = |column: usize| match keys.get(column) {
                Some(Expr::Column { index, .. }) => Some(*index),
                _ => None,
            };
            if !read.is_empty() && read.iter().all(|column| source(*column).is_some()) {
                through(nodes, below, 0, part, &source, places);
            } else {
                stop(places, part);
            }
        }
        Op::Window { partition_by, .. } if !read.is_empty() && is_subset(&read, partition_by) => {
            through(nodes, below, 0, part, &same, places);
        }
        Op::Join { how, columns, .. } => {
            let left = |column: usize| match columns[column] {
                JoinColumn::Left(left) | JoinColumn::Both { left, .. } => Some(left),
                JoinColumn::Right(_) => None,
            };
            let right = |column: usize| match columns[column] {
                JoinColumn::Right(right) | JoinColumn::Both { right, .. } => Some(right),
                JoinColumn::Left(_) => None,
            };
            let keeps_left = matches!(
                how,
                JoinKind::Inner
                    | JoinKind::Cross
                    | JoinKind::Left
                    | JoinKind::Semi
                    | JoinKind::Anti { null_aware: false }
            );
            let keeps_right = matches!(how, JoinKind::Inner | JoinKind::Cross | JoinKind::Right);
            let speaks_of_left =
                !read.is_empty() && read.iter().all(|column| left(*column).is_some());
            let speaks_of_right =
                !read.is_empty() && read.iter().all(|column| right(*column).is_some());
            // A key that both sides have is tested on both.
            let (to_left, to_right) =
                (keeps_left && speaks_of_left, keeps_right && speaks_of_right);
            if to_left {
                through(nodes, below, 0, part.clone(), &left, places);
            }
            if to_right {
                through(nodes, below, 1, part.clone(), &right, places);
            }
            if !to_left && !to_right {
                stop(places, part);
            }
        }
        Op::Read(_)
        | Op::Sleep { .. }
        | Op::Tokenize { .. }
        | Op::Explode { .. }
        | Op::Split { .. }
        | Op::Unpivot { .. }
        | Op::Sample { .. }
        | Op::Repartition { .. }
        | Op::Cache
        | Op::Expect { .. }
        | Op::Sort { .. }
        | Op::Limit { .. }
        | Op::Window { .. }
        | Op::Write(_) => stop(places, part),
    }
}

/// Goes on below a node, with every column at its place in the node's input.
fn through(
    nodes: &Nodes,
    node: NodeIndex,
    input: usize,
    mut part: Expr,
    source: &impl Fn(usize) -> Option<usize>,
    places: &mut Vec<(Edge, Expr)>,
) {
    let below = nodes.0[node.index()].inputs[input];
    let schema = &nodes.0[below.index()].schema;
    part.replace_columns(&|column| {
        crate::expr::parse::column(schema, source(column).unwrap_or(column))
    });
    descend(nodes, Edge { reader: node.index(), input }, part, places);
}

fn is_subset(read: &BTreeSet<usize>, columns: &[usize]) -> bool {
    read.iter().all(|column| columns.contains(column))
}

/// Tells readers of columnar files what the filters directly above them keep.
fn hint(nodes: &mut Nodes, done: &mut Vec<String>) {
    let consumers = nodes.consumers();
    for at in 0..nodes.0.len() {
        let Op::Filter { predicate } = &nodes.0[at].op else { continue };
        let (predicate, input) = (predicate.clone(), nodes.0[at].inputs[0].index());
        // Through other filters down to the reader.
        let mut below = input;
        while let Op::Filter { .. } = nodes.0[below].op
            && consumers.get(below).is_none_or(|count| *count == 1)
        {
            below = nodes.0[below].inputs[0].index();
        }
        if consumers.get(below).is_some_and(|count| *count > 1) {
            continue;
        }
        let id = nodes.0[below].id.clone();
        let Op::Read(read) = &mut nodes.0[below].op else { continue };
        if !read.format.is_columnar() && read.scan.folders.is_empty() {
            continue;
        }
        done.push(format!("`{id}` skips what can't have {}", predicate.0));
        read.restrict(predicate);
    }
}

/// The parts of a conjunction.
pub(super) fn conjuncts(expr: Expr) -> Vec<Expr> {
    match expr {
        Expr::Binary { op: BinaryOp::And, left, right, .. } => {
            let mut parts = conjuncts(*left);
            parts.extend(conjuncts(*right));
            parts
        }
        Expr::Literal(Literal::Bool(true)) => Vec::new(),
        other => vec![other],
    }
}

/// The parts as one condition; of none, what is true of every row.
pub(super) fn conjunction(parts: Vec<Expr>) -> Expr {
    let and = |left: Expr, right: Expr| Expr::Binary {
        op: BinaryOp::And,
        left: Box::new(left),
        right: Box::new(right),
        data_type: DataType::Boolean,
    };
    parts.into_iter().reduce(and).unwrap_or(Expr::Literal(Literal::Bool(true)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::before_and_after;
    use super::apply;

    #[test]
    fn a_condition_sinks_to_the_side_of_a_join_that_it_speaks_of() {
        let (before, after) = before_and_after(
            apply,
            r#"{"nodes": [
                {"id": "a", "op": "read_csv", "path": "a.csv", "header": true},
                {"id": "b", "op": "read_csv", "path": "b.csv", "header": true},
                {"id": "j", "op": "join", "key": "k", "how": "left"},
                {"id": "f", "op": "filter", "where": "v > 1 and x > 2 and v div x = 1"}],
              "edges": [["a", "j"], ["b", "j"], ["j", "f"]]}"#,
        );
        assert_eq!(
            before,
            [
                "j <- a, b: join left on k = k -> k, v, w, x",
                "f <- j: filter (((v > 1) and (x > 2)) and ((v // x) = 1)) -> k, v, w, x",
            ]
        );
        // The other side of a left join may be null, and a division may fail for rows without a
        // partner's.
        assert_eq!(
            after,
            [
                "f.a <- a: filter (v > 1) -> k, v, w",
                "j <- f.a, b: join left on k = k -> k, v, w, x",
                "f <- j: filter ((x > 2) and ((v // x) = 1)) -> k, v, w, x",
            ]
        );
    }

    #[test]
    fn a_condition_passes_names_and_sorts_and_stops_at_what_picks_rows() {
        let (_, after) = before_and_after(
            apply,
            r#"{"nodes": [
                {"id": "a", "op": "read_csv", "path": "a.csv", "header": true},
                {"id": "n", "op": "limit", "n": 5},
                {"id": "m", "op": "map", "select": {"value": "v", "sum": "v + w"}},
                {"id": "s", "op": "sort", "by": ["sum"]},
                {"id": "f", "op": "filter", "where": "value > 1 and sum > 3"}],
              "edges": [["a", "n"], ["n", "m"], ["m", "s"], ["s", "f"]]}"#,
        );
        assert_eq!(
            after,
            [
                "n <- a: limit the first 5 -> k, v, w",
                "f.n <- n: filter (v > 1) -> k, v, w",
                "m <- f.n: map value = v, sum = (v + w) -> value, sum",
                "f.m <- m: filter (sum > 3) -> value, sum",
                "s <- f.m: sort sum -> value, sum",
                "f <- s: filter true -> value, sum",
            ]
        );
    }

    #[test]
    fn what_others_read_too_keeps_its_rows() {
        let dag = r#"{"nodes": [
                {"id": "a", "op": "read_csv", "path": "a.csv", "header": true},
                {"id": "m", "op": "map", "select": {"value": "v"}},
                {"id": "f", "op": "filter", "where": "value > 1"},
                {"id": "g", "op": "filter", "where": "value > 2"}],
              "edges": [["a", "m"], ["m", "f"], ["m", "g"]]}"#;
        let (before, after) = before_and_after(apply, dag);
        assert_eq!(before, after);
    }

    #[test]
    fn a_condition_on_keys_is_tested_before_rows_are_grouped() {
        let (_, after) = before_and_after(
            apply,
            r#"{"nodes": [
                {"id": "a", "op": "read_csv", "path": "a.csv", "header": true},
                {"id": "r", "op": "reduce_by_key", "key": ["k"], "aggs": {"n": "sum(v)"}},
                {"id": "f", "op": "filter", "where": "k > 1 and n > 3"}],
              "edges": [["a", "r"], ["r", "f"]]}"#,
        );
        assert_eq!(
            after,
            [
                "f.a <- a: filter (k > 1) -> k, v, w",
                "r <- f.a: reduce_by_key by k: n = sum(v) -> k, n",
                "f <- r: filter (n > 3) -> k, n",
            ]
        );
    }
}
