//! `prune_columns`: columns that nobody reads are neither decoded, nor computed, nor moved.
//!
//! From the sinks upwards each node learns which of its columns are wanted. Readers of columnar
//! files read only those; a map, a join and a reduction leave the others out; and where rows go on
//! into a join, a sort, a window or a store with columns that only a filter above needed, a map
//! between drops them. Readers of text are left alone: a bad value in a column is a bad row whether
//! somebody reads that column or not.

use std::collections::BTreeSet;

use arrow::datatypes::{DataType, Schema};

use super::{Nodes, projected};
use crate::{
    expr::{Aggregate, Expr, SortKey, parse},
    kernels::accumulate::takes_order,
    plan::{JoinColumn, NodeIndex, Op, Order},
};

/// Applies the rule.
pub(super) fn apply(nodes: &mut Nodes) -> Vec<String> {
    let wanted = wanted(nodes);
    let widths: Vec<usize> = nodes.0.iter().map(|node| node.schema.fields().len()).collect();
    let count = widths.len();
    let mut pruning = Pruning { nodes, widths, kept: vec![Vec::new(); count], done: Vec::new() };
    for at in 0..count {
        pruning.node(at, &wanted);
    }
    pruning.done
}

/// The columns of each node that somebody reads; never none, since a batch must have a column.
fn wanted(nodes: &Nodes) -> Vec<BTreeSet<usize>> {
    let consumers = nodes.consumers();
    let mut wanted: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); nodes.0.len()];
    for at in (0..nodes.0.len()).rev() {
        let node = &nodes.0[at];
        let width = node.schema.fields().len();
        if consumers[at] == 0 {
            wanted[at].extend(0..width);
        }
        if let Order::Sorted(keys) = &node.order {
            wanted[at].extend(keys.iter().map(|key| key.column));
        }
        if let Op::Read(read) = &node.op
            && let Some(predicate) = &read.scan.predicate
        {
            predicate.0.collect_columns(&mut wanted[at]);
        }
        if let Op::Read(read) = &node.op {
            let hints = read.scan.predicate.iter();
            wanted[at].extend(hints.flat_map(|predicate| predicate.0.columns()));
        }
        if wanted[at].is_empty() {
            wanted[at].extend(narrowest(&node.schema));
        }
        let needs = needs(nodes, at, &wanted[at]);
        for (input, needed) in node.inputs.iter().zip(needs) {
            wanted[input.index()].extend(needed);
        }
    }
    wanted
}

/// The column that costs least to carry.
fn narrowest(schema: &Schema) -> Option<usize> {
    let width = |data_type: &DataType| data_type.primitive_width().unwrap_or(usize::MAX);
    (0..schema.fields().len()).min_by_key(|column| width(schema.field(*column).data_type()))
}

/// The columns of each input that a node needs so that it can give `wanted`.
fn needs(nodes: &Nodes, at: usize, wanted: &BTreeSet<usize>) -> Vec<BTreeSet<usize>> {
    let node = &nodes.0[at];
    let all = |input: usize| -> BTreeSet<usize> {
        (0..nodes.0[node.inputs[input].index()].schema.fields().len()).collect()
    };
    let mut first = BTreeSet::new();
    match &node.op {
        Op::Read(_) => return Vec::new(),
        Op::Map { columns } => {
            for column in wanted {
                columns[*column].collect_columns(&mut first);
            }
        }
        Op::Sleep { .. } | Op::Limit { .. } | Op::Cache => first.clone_from(wanted),
        Op::Filter { predicate } => {
            first.clone_from(wanted);
            predicate.0.collect_columns(&mut first);
        }
        Op::Tokenize { columns } => first.extend(columns),
        Op::Reduce { keys, aggregates } => {
            for key in keys {
                key.collect_columns(&mut first);
            }
            let is_wanted = |column: usize| keys.is_empty() || wanted.contains(&column);
            for aggregate in narrowed(aggregates, keys.len(), is_wanted) {
                for input in aggregate.inputs() {
                    input.collect_columns(&mut first);
                }
                // Where the input has no order, all of its columns decide which row is first.
                let input = &nodes.0[node.inputs[0].index()];
                if takes_order(&aggregate) && input.order == Order::None {
                    first.extend(all(0));
                }
            }
        }
        Op::Join { left_keys, right_keys, on, columns, .. } => {
            let mut right = BTreeSet::new();
            for key in left_keys {
                key.collect_columns(&mut first);
            }
            for key in right_keys {
                key.collect_columns(&mut right);
            }
            for column in wanted.iter().map(|column| columns[*column]) {
                match column {
                    JoinColumn::Left(left) => drop(first.insert(left)),
                    JoinColumn::Right(index) => drop(right.insert(index)),
                    JoinColumn::Both { left, right: index } => {
                        first.insert(left);
                        right.insert(index);
                    }
                }
            }
            let left_width = nodes.0[node.inputs[0].index()].schema.fields().len();
            for column in on.iter().flat_map(|on| on.0.columns()) {
                if column < left_width {
                    first.insert(column);
                } else {
                    right.insert(column - left_width);
                }
            }
            return vec![first, right];
        }
        Op::Union => return vec![wanted.clone(); node.inputs.len()],
        Op::Explode { column, .. } | Op::Split { column, .. } => {
            first.clone_from(wanted);
            first.insert(*column);
        }
        Op::Unpivot { keep, values } => {
            first.extend(keep);
            for (_, value) in values {
                value.collect_columns(&mut first);
            }
        }
        Op::Repartition { keys, .. } => {
            first.clone_from(wanted);
            for key in keys {
                key.collect_columns(&mut first);
            }
        }
        Op::Sort { keys, .. } => {
            first.clone_from(wanted);
            first.extend(keys.iter().map(|key| key.column));
        }
        Op::Window { partition_by, order_by, functions } => {
            let width = all(0).len();
            first.extend(wanted.iter().filter(|column| **column < width));
            first.extend(partition_by);
            first.extend(order_by.iter().map(|key| key.column));
            // All functions are computed, wanted or not: a window without one makes no sense.
            for function in functions {
                function.inputs().into_iter().for_each(|e| e.collect_columns(&mut first));
            }
        }
        // Whose rows are picked or checked as a whole.
        Op::Sample { .. } | Op::Expect { .. } | Op::Write(_) => {
            return (0..node.inputs.len()).map(all).collect();
        }
    }
    vec![first]
}

struct Pruning<'a> {
    nodes: &'a mut Nodes,
    /// How many columns each node had before this rule.
    widths: Vec<usize>,
    /// Of each node behind this rule: which of its old columns it still gives, in their order.
    kept: Vec<Vec<usize>>,
    done: Vec<String>,
}

impl Pruning<'_> {
    /// Rewrites a node whose inputs have been.
    fn node(&mut self, at: usize, wanted: &[BTreeSet<usize>]) {
        let want: Vec<usize> = wanted[at].iter().copied().collect();
        let op = self.nodes.0[at].op.clone();
        if let Op::Union = op {
            self.make_equal(at, &want);
        }
        let inputs = self.nodes.0[at].inputs.clone();
        let input_kept: Vec<_> = inputs.iter().map(|i| self.kept[i.index()].clone()).collect();
        let input_width = |input: usize| self.widths[inputs[input].index()];
        let old_width = self.widths[at];
        let place = |input: usize, column: usize| moved(&input_kept[input], column);
        let first = |expr: &mut Expr| expr.move_columns(&|column| place(0, column));
        let (op, kept) = match op {
            Op::Read(mut read) if read.format.is_columnar() && want.len() < old_width => {
                read.project(&self.nodes.0[at].schema, &want);
                if let Some(predicate) = &mut read.scan.predicate {
                    predicate.0.move_columns(&|column| moved(&want, column));
                }
                (Op::Read(read), want.clone())
            }
            Op::Read(read) => (Op::Read(read), (0..old_width).collect()),
            Op::Map { columns } => {
                let mut columns: Vec<Expr> = want.iter().map(|c| columns[*c].clone()).collect();
                columns.iter_mut().for_each(first);
                (Op::Map { columns }, want.clone())
            }
            Op::Filter { mut predicate } => {
                first(&mut predicate.0);
                (Op::Filter { predicate }, input_kept[0].clone())
            }
            Op::Sleep { .. } | Op::Limit { .. } | Op::Cache | Op::Sample { .. } | Op::Write(_) => {
                (op, input_kept[0].clone())
            }
            Op::Expect { mut checks, offences, on_fail } => {
                for check in &mut checks {
                    first(&mut check.predicate.0);
                }
                (Op::Expect { checks, offences, on_fail }, input_kept[0].clone())
            }
            Op::Tokenize { columns } => {
                let columns = columns.into_iter().map(|column| place(0, column)).collect();
                (Op::Tokenize { columns }, vec![0])
            }
            Op::Reduce { mut keys, aggregates } => {
                keys.iter_mut().for_each(first);
                let is_kept = |column: usize| keys.is_empty() || want.contains(&column);
                let of_aggregates = (keys.len()..old_width).filter(|column| is_kept(*column));
                let kept: Vec<usize> = (0..keys.len()).chain(of_aggregates).collect();
                let mut aggregates = narrowed(&aggregates, keys.len(), is_kept);
                for aggregate in &mut aggregates {
                    aggregate.inputs_mut().into_iter().for_each(first);
                }
                (Op::Reduce { keys, aggregates }, kept)
            }
            Op::Join { how, mut left_keys, mut right_keys, null_safe, mut on, columns } => {
                left_keys.iter_mut().for_each(first);
                for key in &mut right_keys {
                    key.move_columns(&|column| place(1, column));
                }
                let old_left = input_width(0);
                let new_left = input_kept[0].len();
                if let Some(on) = &mut on {
                    on.0.move_columns(&|column| match column.checked_sub(old_left) {
                        None => place(0, column),
                        Some(right) => new_left + place(1, right),
                    });
                }
                let moved = |column: &usize| match columns[*column] {
                    JoinColumn::Left(left) => JoinColumn::Left(place(0, left)),
                    JoinColumn::Right(right) => JoinColumn::Right(place(1, right)),
                    JoinColumn::Both { left, right } => {
                        JoinColumn::Both { left: place(0, left), right: place(1, right) }
                    }
                };
                let given = want.iter().map(moved).collect();
                let join = Op::Join { how, left_keys, right_keys, null_safe, on, columns: given };
                (join, want.clone())
            }
            Op::Union => (Op::Union, want.clone()),
            Op::Explode { column, outer } => {
                (Op::Explode { column: place(0, column), outer }, input_kept[0].clone())
            }
            Op::Split { column, by, outer } => {
                (Op::Split { column: place(0, column), by, outer }, input_kept[0].clone())
            }
            Op::Unpivot { keep, mut values } => {
                let keep = keep.into_iter().map(|column| place(0, column)).collect();
                for (_, value) in &mut values {
                    first(value);
                }
                (Op::Unpivot { keep, values }, (0..old_width).collect())
            }
            Op::Repartition { mut keys, partitions } => {
                keys.iter_mut().for_each(first);
                (Op::Repartition { keys, partitions }, input_kept[0].clone())
            }
            Op::Sort { keys, limit } => {
                let keys = keys.iter().map(|key| moved_key(&input_kept[0], key)).collect();
                (Op::Sort { keys, limit }, input_kept[0].clone())
            }
            Op::Window { partition_by, order_by, mut functions } => {
                let old_input = input_width(0);
                let partition_by = partition_by.into_iter().map(|c| place(0, c)).collect();
                let order_by = order_by.iter().map(|k| moved_key(&input_kept[0], k)).collect();
                for function in &mut functions {
                    function.inputs_mut().into_iter().for_each(first);
                }
                let kept = input_kept[0].iter().copied().chain(old_input..old_width).collect();
                (Op::Window { partition_by, order_by, functions }, kept)
            }
        };
        let node = &mut self.nodes.0[at];
        if kept.len() < old_width {
            if matches!(op, Op::Read(_)) {
                let (id, kept) = (&node.id, kept.len());
                self.done.push(format!("`{id}` reads {kept} of {old_width} columns"));
            }
            node.schema = projected(&node.schema, &kept);
        }
        node.order = match std::mem::replace(&mut node.order, Order::None) {
            Order::Sorted(keys) => {
                Order::Sorted(keys.iter().map(|key| moved_key(&kept, key)).collect())
            }
            order => order,
        };
        node.op = op;
        self.kept[at] = kept;
        self.narrow(at, &want);
    }

    /// Has all inputs of a union give exactly what is wanted of it.
    fn make_equal(&mut self, at: usize, want: &[usize]) {
        for edge in 0..self.nodes.0[at].inputs.len() {
            let input = self.nodes.0[at].inputs[edge];
            if self.kept[input.index()] != want {
                let added = self.add_map(input.index(), want);
                self.nodes.0[at].inputs[edge] = added;
            }
        }
    }

    /// Puts a map behind a node that gives more than what is wanted, where that saves something:
    /// where rows are moved, stored, or must have the same columns as others.
    fn narrow(&mut self, at: usize, want: &[usize]) {
        let has_more = self.kept[at].len() > want.len();
        let readers: Vec<usize> = (0..self.nodes.0.len())
            .filter(|reader| self.nodes.0[*reader].inputs.iter().any(|input| input.index() == at))
            .collect();
        let moves = |op: &Op| {
            matches!(
                op,
                Op::Join { .. }
                    | Op::Union
                    | Op::Sort { .. }
                    | Op::Window { .. }
                    | Op::Repartition { .. }
                    | Op::Cache
            )
        };
        let is_worth = readers.len() > 1 || readers.iter().any(|r| moves(&self.nodes.0[*r].op));
        if !has_more || !is_worth {
            return;
        }
        let (from, to) = (self.kept[at].len(), want.len());
        self.done.push(format!("{to} of {from} columns of `{}` go on", self.nodes.0[at].id));
        let added = self.add_map(at, want);
        for reader in readers {
            for edge in &mut self.nodes.0[reader].inputs {
                if edge.index() == at {
                    *edge = added;
                }
            }
        }
    }

    /// Adds a map that gives these of a node's old columns.
    fn add_map(&mut self, at: usize, want: &[usize]) -> NodeIndex {
        let node = &self.nodes.0[at];
        let places: Vec<usize> = want.iter().map(|column| moved(&self.kept[at], *column)).collect();
        let columns = places.iter().map(|place| parse::column(&node.schema, *place)).collect();
        let (schema, id) = (projected(&node.schema, &places), format!("{}.pruned", node.id));
        let order = match &node.order {
            Order::Sorted(keys) => {
                let key = |key: &SortKey| {
                    let column = places.iter().position(|place| *place == key.column)?;
                    Some(SortKey { column, ..key.clone() })
                };
                keys.iter().map(key).collect::<Option<_>>().map_or(Order::Source, Order::Sorted)
            }
            order => order.clone(),
        };
        let input = NodeIndex(u32::try_from(at).unwrap_or(u32::MAX));
        let added = self.nodes.add(&id, Op::Map { columns }, input, schema, order);
        self.kept.push(want.to_vec());
        self.widths.push(self.widths[at]);
        added
    }
}

/// Where a column has gone that stood at `column` before only `kept` were.
///
/// # Panics
/// For a column that is not kept: then it was not asked for where it is used.
fn moved(kept: &[usize], column: usize) -> usize {
    kept.iter()
        .position(|kept| *kept == column)
        .unwrap_or_else(|| unreachable!("column {column} is used and was pruned"))
}

fn moved_key(kept: &[usize], key: &SortKey) -> SortKey {
    SortKey { column: moved(kept, key.column), ..key.clone() }
}

/// What is left of the aggregates, whose columns begin at `first`, where only some are wanted.
fn narrowed(
    aggregates: &[Aggregate],
    first: usize,
    is_wanted: impl Fn(usize) -> bool,
) -> Vec<Aggregate> {
    let mut next = first;
    let narrowed = aggregates.iter().filter_map(|aggregate| {
        let start = next;
        next += aggregate.width();
        aggregate.narrowed(|place| is_wanted(start + place))
    });
    narrowed.collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::before_and_after;
    use super::apply;

    #[test]
    fn what_only_a_filter_needed_does_not_go_into_a_join() {
        let (before, after) = before_and_after(
            apply,
            r#"{"nodes": [
                {"id": "a", "op": "read_csv", "path": "a.csv", "header": true},
                {"id": "b", "op": "read_csv", "path": "b.csv", "header": true},
                {"id": "f", "op": "filter", "where": "w > 1"},
                {"id": "j", "op": "join", "key": "k"},
                {"id": "r", "op": "reduce_by_key", "key": ["k"], "aggs": {"n": "sum(v)"}}],
              "edges": [["a", "f"], ["f", "j"], ["b", "j"], ["j", "r"]]}"#,
        );
        assert_eq!(
            before,
            [
                "f <- a: filter (w > 1) -> k, v, w",
                "j <- f, b: join inner on k = k -> k, v, w, x",
                "r <- j: reduce_by_key by k: n = sum(v) -> k, n",
            ]
        );
        assert_eq!(
            after,
            [
                "f <- a: filter (w > 1) -> k, v, w",
                "b.pruned <- b: map k -> k",
                "f.pruned <- f: map k, v -> k, v",
                "j <- f.pruned, b.pruned: join inner on k = k -> k, v",
                "r <- j: reduce_by_key by k: n = sum(v) -> k, n",
            ]
        );
    }

    #[test]
    fn expressions_and_aggregates_that_nobody_reads_are_not_computed() {
        let (_, after) = before_and_after(
            apply,
            r#"{"nodes": [
                {"id": "a", "op": "read_csv", "path": "a.csv", "header": true},
                {"id": "m", "op": "map", "with": {"s": "v + w", "p": "v * w"}},
                {"id": "r", "op": "reduce_by_key", "key": ["k"], "aggs": {"n": "sum(s)", "q": "sum(p)"}},
                {"id": "o", "op": "map", "select": {"q": "q"}}],
              "edges": [["a", "m"], ["m", "r"], ["r", "o"]]}"#,
        );
        assert_eq!(
            after,
            [
                "m <- a: map k, p = (v * w) -> k, p",
                "r <- m: reduce_by_key by k: q = sum(p) -> k, q",
                "o <- r: map q -> q",
            ]
        );
    }

    #[test]
    fn the_first_row_of_a_key_has_the_columns_that_are_read() {
        let (_, after) = before_and_after(
            apply,
            r#"{"nodes": [
                {"id": "a", "op": "read_csv", "path": "a.csv", "header": true},
                {"id": "d", "op": "distinct", "key": "k"},
                {"id": "o", "op": "map", "select": {"w": "w"}}],
              "edges": [["a", "d"], ["d", "o"]]}"#,
        );
        assert_eq!(
            after[after.len() - 3..],
            [
                "d.first <- a: reduce_by_key by k: c2 = first_row(w) -> c0, c2",
                "d <- d.first: map w = c2 -> w",
                "o <- d: map w -> w",
            ]
        );
    }

    #[test]
    fn an_order_keeps_its_keys_and_a_shared_node_what_each_reader_needs() {
        let (_, after) = before_and_after(
            apply,
            r#"{"nodes": [
                {"id": "a", "op": "read_csv", "path": "a.csv", "header": true},
                {"id": "s", "op": "sort", "by": ["w desc"]},
                {"id": "n", "op": "limit", "n": 1},
                {"id": "x", "op": "map", "select": {"v": "v"}},
                {"id": "y", "op": "map", "select": {"k": "k"}}],
              "edges": [["a", "s"], ["s", "n"], ["n", "x"], ["s", "y"]]}"#,
        );
        assert_eq!(
            after,
            [
                "s <- a: sort w desc -> k, v, w",
                "n <- s: limit the first 1 -> k, v, w",
                "x <- n: map v -> v",
                "y <- s: map k -> k",
            ]
        );
    }
}
