//! `met_groups`: a group-by whose groups are joined by their keys with few rows makes the groups of
//! those rows alone.
//!
//! The other side of the join is kept, and what the group-by reads is semi-joined with its keys: where
//! a query asks for the average of a hundred parts, those of two hundred thousand are not computed. A
//! group is whole or absent, so that the join finds the same.
//!
//! Source: Mumick, Finkelstein, Pirahesh, Ramakrishnan, "Magic is relevant" (SIGMOD 1990).

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};

use super::{Nodes, root};
use crate::{
    disk::Disk,
    expr::{Expr, parse},
    kernels::accumulate::takes_order,
    plan::{
        JoinColumn, JoinKind, Node, NodeIndex, Op, Order,
        estimate::{self, Estimate, row_bytes},
        stages::BROADCAST_BYTES,
    },
};

/// Conditions must have left less than such a part of the other side, and of as many rows as the
/// group-by reads: reading it once more costs little then, and leaves out much.
const FEWER: u64 = 4;

/// Applies the rule; files on `disk` tell how many rows there may be.
pub(super) fn apply(nodes: &mut Nodes, disk: &Arc<dyn Disk>) -> Vec<String> {
    let found: Vec<Met> = (0..nodes.0.len()).filter_map(|at| met(nodes, at)).collect();
    if found.is_empty() {
        return Vec::new();
    }
    let estimates = estimate::of(&nodes.0, disk);
    let mut done = Vec::new();
    for met in found {
        let input = nodes.0[met.reduce.index()].inputs[0];
        let key_bytes = row_bytes(&met.asked());
        let (asking, of) = (&estimates[met.asking.index()], &estimates[input.index()]);
        if is_worth(asking, key_bytes, of) {
            let ids = [met.reduce, met.asking].map(|node| nodes.0[node.index()].id.clone());
            met.rewrite(nodes);
            done.push(format!("`{}` makes only groups that `{}` has rows for", ids[0], ids[1]));
        }
    }
    done
}

/// Whether rows that ask by keys of so many bytes are few beside those that the group-by reads.
fn is_worth(asking: &Estimate, key_bytes: u64, input: &Estimate) -> bool {
    asking.rows.saturating_mul(key_bytes) <= BROADCAST_BYTES
        && asking.rows.saturating_mul(FEWER) < asking.unfiltered_rows.min(input.rows)
}

/// A group-by, and whose rows ask for its groups.
struct Met {
    reduce: NodeIndex,
    asking: NodeIndex,
    /// Equal of both: a column of the group-by's input, an expression over the asking side.
    keys: Vec<(usize, Expr)>,
}

/// The group-by on one side of a join that leaves out groups without a partner.
fn met(nodes: &Nodes, at: usize) -> Option<Met> {
    let Op::Join { how, left_keys, right_keys, null_safe: false, .. } = &nodes.0[at].op else {
        return None;
    };
    let sides: &[usize] = match how {
        JoinKind::Inner | JoinKind::Semi => &[1, 0],
        JoinKind::Left | JoinKind::Anti { null_aware: false } => &[1],
        JoinKind::Right => &[0],
        JoinKind::Full | JoinKind::Cross | JoinKind::Anti { null_aware: true } => &[],
    };
    sides.iter().find_map(|side| {
        let of_sides = [left_keys, right_keys];
        let pairs = of_sides[*side].iter().zip(of_sides[1 - side]);
        let keys = pairs.filter_map(|(own, other)| match own {
            Expr::Column { index, .. } if !other.is_fallible() => Some((*index, other.clone())),
            _ => None,
        });
        let asking = nodes.0[at].inputs[1 - side];
        below(nodes, nodes.0[at].inputs[*side], keys.collect(), asking)
    })
}

/// Follows columns of a node down to the keys of a group-by whose rows are the node's.
fn below(
    nodes: &Nodes,
    mut node: NodeIndex,
    mut keys: Vec<(usize, Expr)>,
    asking: NodeIndex,
) -> Option<Met> {
    loop {
        let readers = nodes.0.iter().flat_map(|reader| &reader.inputs);
        if keys.is_empty() || readers.filter(|input| **input == node).count() > 1 {
            return None;
        }
        let Node { op, inputs, .. } = &nodes.0[node.index()];
        let columns = match op {
            // For fewer rows it could fail less.
            Op::Filter { predicate } if !predicate.0.is_fallible() => None,
            Op::Map { columns } if columns.iter().all(|column| !column.is_fallible()) => {
                Some(columns)
            }
            Op::Reduce { keys: groups, aggregates } => {
                if groups.is_empty() || aggregates.iter().any(takes_order) {
                    return None;
                }
                Some(groups)
            }
            _ => return None,
        };
        if let Some(columns) = columns {
            let moved = keys.into_iter().filter_map(|(key, other)| match columns.get(key) {
                Some(Expr::Column { index, .. }) => Some((*index, other)),
                _ => None,
            });
            keys = moved.collect();
        }
        if matches!(op, Op::Reduce { .. }) {
            return (!keys.is_empty()).then_some(Met { reduce: node, asking, keys });
        }
        node = inputs[0];
    }
}

impl Met {
    /// The keys that are asked for.
    fn asked(&self) -> Schema {
        let keys = self.keys.iter().enumerate();
        let field = |(place, (_, key)): (usize, &(usize, Expr))| {
            Field::new(format!("__key{place}"), key.data_type(), true)
        };
        Schema::new(keys.map(field).collect::<Vec<_>>())
    }

    /// Puts the semi-join below the group-by.
    fn rewrite(self, nodes: &mut Nodes) {
        let input = nodes.0[self.reduce.index()].inputs[0];
        let id = String::from(root(&nodes.0[self.reduce.index()].id));
        let asked = Arc::new(self.asked());
        let (own, others): (Vec<usize>, Vec<Expr>) = self.keys.into_iter().unzip();
        let columns = Op::Map { columns: others };
        let (asked_id, met_id) = (format!("{id}.keys"), format!("{id}.met"));
        let asked_rows =
            nodes.add(&asked_id, columns, self.asking, Arc::clone(&asked), Order::None);
        let schema = Arc::clone(&nodes.0[input.index()].schema);
        let op = Op::Join {
            how: JoinKind::Semi,
            left_keys: own.iter().map(|column| parse::column(&schema, *column)).collect(),
            right_keys: (0..own.len()).map(|column| parse::column(&asked, column)).collect(),
            null_safe: false,
            on: None,
            columns: (0..schema.fields().len()).map(JoinColumn::Left).collect(),
        };
        let joined = nodes.add(&met_id, op, input, schema, Order::None);
        nodes.0[joined.index()].inputs.push(asked_rows);
        nodes.0[self.reduce.index()].inputs[0] = joined;
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::before_and_after, *};
    use crate::disk::RealDisk;

    /// The nodes after the rule, where the estimates are set aside.
    fn rewritten(dag: &str) -> Vec<String> {
        let rule = |nodes: &mut Nodes| {
            let found: Vec<Met> = (0..nodes.0.len()).filter_map(|at| met(nodes, at)).collect();
            for met in found {
                met.rewrite(nodes);
            }
            Vec::new()
        };
        before_and_after(rule, dag).1
    }

    fn dag(aggregate: &str, join: &str) -> String {
        format!(
            r#"{{"nodes": [
                {{"id": "a", "op": "read_csv", "path": "a.csv", "header": true}},
                {{"id": "b", "op": "read_csv", "path": "b.csv", "header": true}},
                {{"id": "g", "op": "reduce_by_key", "key": ["k"], "aggs": {{"n": "{aggregate}"}}}},
                {{"id": "h", "op": "filter", "where": "n > 1"}},
                {{"id": "j", "op": "join", "key": "k", "how": "{join}"}}],
              "edges": [["a", "g"], ["g", "h"], ["b", "j"], ["h", "j"]]}}"#
        )
    }

    #[test]
    fn groups_that_a_join_does_not_ask_for_are_not_made() {
        for how in ["inner", "left", "semi", "anti"] {
            let nodes = rewritten(&dag("sum(v)", how));
            let starts = |text: &str| nodes.iter().any(|node| node.starts_with(text));
            assert!(starts("g.keys <- b: map"), "{how}: {nodes:#?}");
            assert!(starts("g.met <- a, g.keys: join"), "{how}: {nodes:#?}");
            assert!(starts("g <- g.met: reduce_by_key"), "{how}: {nodes:#?}");
        }
    }

    #[test]
    fn groups_that_come_out_alone_or_follow_an_order_are_all_made() {
        for how in ["right", "full"] {
            let nodes = rewritten(&dag("sum(v)", how));
            assert!(nodes.iter().any(|node| node.starts_with("g <- a:")), "{how}: {nodes:#?}");
        }
        let nodes = rewritten(&dag("first(v)", "inner"));
        assert!(nodes.iter().any(|node| node.starts_with("g <- a:")), "{nodes:#?}");
    }

    #[test]
    fn it_pays_where_conditions_have_left_few_rows() {
        let of = |rows, unfiltered_rows| Estimate { rows, bytes: 100 * rows, unfiltered_rows };
        let input = of(6_000_000, 6_000_000);
        assert!(is_worth(&of(200, 200_000), 8, &input));
        assert!(!is_worth(&of(200_000, 200_000), 8, &input), "each group may be asked for");
        assert!(!is_worth(&of(200, 200_000), 8, &of(500, 500)), "there are few rows");
        let (asking, many) = (of(3_000_000, 60_000_000), of(60_000_000, 60_000_000));
        assert!(is_worth(&asking, 8, &many) && !is_worth(&asking, 16, &many), "48 MB of keys");
        let rule = |nodes: &mut Nodes| apply(nodes, &RealDisk::shared());
        let (before, after) = before_and_after(rule, &dag("sum(v)", "inner"));
        assert_eq!(before, after, "nothing says that rows are few");
    }
}
