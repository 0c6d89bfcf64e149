//! Windows: rows by hash of their partition, sorted in each task. Where a filter behind wants only rows
//! of the first ranks, most others are dropped before they are sorted.

use arrow::datatypes::{Schema, SchemaRef};

use super::{Cutter, Pipeline};
use crate::{
    Result,
    expr::{
        BinaryOp, Expr, Literal, SortKey,
        window::{Kind, WindowFunction},
    },
    operators::first_rows::{MOST_RANK, orders_by},
    plan::{NodeIndex, Op, Order, Share, StepKind},
};

/// What a window asks.
pub(super) struct Asked {
    pub(super) partition_by: Vec<usize>,
    pub(super) order_by: Vec<SortKey>,
    pub(super) functions: Vec<WindowFunction>,
}

impl Cutter<'_> {
    /// All rows of a partition in one task, sorted by partition and order, and the functions over
    /// them. Rows of one bucket, and rows without partitions, are sorted where they are and merged.
    pub(super) fn windowed(
        &mut self,
        index: NodeIndex,
        schema: SchemaRef,
        input: NodeIndex,
        order: &Order,
        asked: Asked,
    ) -> Result<Pipeline> {
        let below = self.rows_of(input)?;
        let input_schema = below.schema();
        let first = self.first_wanted(index, &input_schema, &asked);
        let first_rows = |pipeline: Pipeline, is_hashed: bool| match &first {
            Some((key, rank)) => {
                let (same_schema, partition_by) = (pipeline.schema(), asked.partition_by.clone());
                let (key, rank) = (key.clone(), *rank);
                pipeline.then(index, same_schema, |rows| StepKind::FirstRows {
                    input: rows,
                    partition_by,
                    key,
                    rank,
                    is_hashed,
                })
            }
            None => pipeline,
        };
        let below = first_rows(below, false);
        let columns = input_schema.fields().len();
        let has_order = self.plan.nodes[input.index()].order != Order::None;
        let keys = match order {
            // Without keys the rows stay as they are.
            _ if asked.partition_by.is_empty() && asked.order_by.is_empty() && has_order => {
                Vec::new()
            }
            Order::Sorted(keys) => keys.clone(),
            Order::None | Order::Source => Vec::new(),
        };
        let bucket_count = self.buckets(below.bytes);
        let sorted = if keys.is_empty() {
            self.gathered(index, below, Share::All)
        } else if asked.partition_by.is_empty() || bucket_count == 1 {
            // One task takes all rows: they gain nothing from being sorted by ranges.
            self.merged(index, below, &keys, None)
        } else {
            let keys = self.with_ties(keys, &below);
            let key =
                |column: &usize| -> Expr { crate::expr::parse::column(&input_schema, *column) };
            let by: Vec<Expr> = asked.partition_by.iter().map(key).collect();
            let read = first_rows(self.hashed(index, below, &by, bucket_count), true);
            let hashed = read.schema();
            read.then(index, hashed, |read| StepKind::Sort { input: read, keys, limit: None })
        };
        let Asked { partition_by, order_by, functions } = asked;
        Ok(sorted.then(index, schema, |sorted| StepKind::Window {
            input: sorted,
            columns,
            partition_by,
            order_by,
            functions,
        }))
    }
}

impl Cutter<'_> {
    /// The first key of a window's order, with the greatest rank that the filter behind it keeps. The
    /// window must have no other function than ranks, which don't see the rows behind, and no other
    /// reader.
    fn first_wanted(
        &self,
        index: NodeIndex,
        schema: &Schema,
        asked: &Asked,
    ) -> Option<(SortKey, u64)> {
        let key = asked.order_by.first()?;
        let is_rank =
            |function: &WindowFunction| matches!(function.function, Kind::RowNumber | Kind::Rank);
        let mut readers = self.plan.nodes.iter().filter(|node| node.inputs.contains(&index));
        let (reader, others) = (readers.next()?, readers.next());
        if others.is_some()
            || !asked.functions.iter().all(is_rank)
            || !orders_by(schema.field(key.column).data_type())
        {
            return None;
        }
        let Op::Filter { predicate } = &reader.op else { return None };
        let rank = greatest_rank(&predicate.0, schema.fields().len())?;
        (rank <= MOST_RANK).then(|| (key.clone(), rank))
    }
}

/// The greatest value, and at least 1, that a condition lets a column from number `first` on have.
fn greatest_rank(condition: &Expr, first: usize) -> Option<u64> {
    let Expr::Binary { op, left, right, .. } = condition else { return None };
    if *op == BinaryOp::And {
        let (left, right) = (greatest_rank(left, first), greatest_rank(right, first));
        return left.into_iter().chain(right).min();
    }
    let (op, number) = match (left.as_ref(), right.as_ref()) {
        (Expr::Column { index, .. }, Expr::Literal(Literal::Int64(number))) if *index >= first => {
            (*op, *number)
        }
        (Expr::Literal(Literal::Int64(number)), Expr::Column { index, .. }) if *index >= first => {
            let turned = match op {
                BinaryOp::Greater => BinaryOp::Less,
                BinaryOp::GreaterOrEqual => BinaryOp::LessOrEqual,
                BinaryOp::Equal => BinaryOp::Equal,
                _ => return None,
            };
            (turned, *number)
        }
        _ => return None,
    };
    let greatest = match op {
        BinaryOp::LessOrEqual | BinaryOp::Equal => number,
        BinaryOp::Less => number.saturating_sub(1),
        _ => return None,
    };
    Some(u64::try_from(greatest).unwrap_or(0).max(1))
}

#[cfg(test)]
mod tests {
    use std::{io::Write, path::Path};

    use super::*;
    use crate::{
        disk::{DataDisks, RealDisk},
        job::check::{Site, check},
        plan::stages::{Rows, Sizes, consumers, order, tests::shown},
    };

    /// The stages of nodes behind a reader `r` of the columns g, n and x, with four splits and as
    /// if it had 100 MB.
    fn stages(nodes: &[&str], edges: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let disk = RealDisk::shared();
        let mut file = disk.create(&folder.path().join("in.csv")).unwrap();
        file.write_all(b"g,n,x\na,1,1\nb,2,2\nc,3,3\nd,4,4\n").unwrap();
        let base_dir = Some(Path::new(folder.path()).to_owned());
        let site = Site { data: DataDisks::everywhere(), base_dir, now_micros: 0 };
        let nodes = nodes.join(",");
        let document = format!(
            r#"{{"dag": {{"nodes": [{{"id": "r", "op": "read_csv", "path": "in.csv", "header": true,
                "partitions": 4}}, {nodes}], "edges": {edges}}}}}"#
        );
        let plan = check(&document, true, &site).unwrap_or_else(|p| panic!("{p:?}")).plan;
        let rows = plan.nodes.iter().map(|_| Rows::None).collect();
        let (consumers, wanted) = (consumers(&plan), order::wanted(&plan));
        let (sizes, most_rows) = (Sizes::default(), vec![None; plan.nodes.len()]);
        let (disk, estimates, stages) = (&disk, Vec::new(), Vec::new());
        let mut cutter =
            Cutter { plan, disk, consumers, wanted, estimates, most_rows, stages, rows, sizes };
        let mut read = cutter.pipeline(NodeIndex(0)).unwrap();
        read.bytes = 100 << 20;
        cutter.rows[0] = Rows::Open(read);
        for index in (1_u32..).map(NodeIndex).take(cutter.plan.nodes.len() - 1) {
            cutter.node(index).unwrap();
        }
        cutter.stages.iter().map(shown).collect()
    }

    const WINDOW: &str = r#"{"id": "w", "op": "window", "partition_by": "g", "order_by": "n desc",
        "with": {"i": "row_number()"}}"#;

    #[test]
    fn partitions_are_sorted_in_their_buckets_and_a_text_sink_merges_them() {
        assert_eq!(
            stages(&[WINDOW], r#"[["r", "w"]]"#),
            [
                "4x source, hash -> hash(g) to 4",
                "4x bucket of 0, sort, window -> gather true",
                "1x merge of 1 -> sink w"
            ]
        );
    }

    #[test]
    fn a_filter_and_a_limit_work_before_the_merge() {
        let filter = r#"{"id": "f", "op": "filter", "where": "i < 3"}"#;
        let limit = r#"{"id": "l", "op": "limit", "n": 5}"#;
        assert_eq!(
            stages(&[WINDOW, filter, limit], r#"[["r", "w"], ["w", "f"], ["f", "l"]]"#),
            [
                "4x source, first rows, hash -> hash(g) to 4",
                "4x bucket of 0, first rows, sort, window, filter, limit -> gather true",
                "1x merge of 1, limit -> sink l"
            ]
        );
    }

    #[test]
    fn rows_are_dropped_only_where_ranks_alone_are_asked_for() {
        let first = |window: &str, filter: &str| {
            let filter = format!(r#"{{"id": "f", "op": "filter", "where": "{filter}"}}"#);
            let stages = stages(&[window, &filter], r#"[["r", "w"], ["w", "f"]]"#);
            stages[0].contains("first rows")
        };
        assert!(first(WINDOW, "2 >= i and x > 1"));
        assert!(first(WINDOW, "i = 1"));
        assert!(!first(WINDOW, "i > 2"));
        assert!(!first(WINDOW, "i < 3 or x > 1"));
        assert!(!first(WINDOW, "i < 1000"));
        assert!(!first(WINDOW, "n < 3"));
        let sum = WINDOW.replace("row_number()", "sum(x)");
        assert!(!first(&sum, "i < 3"));
    }

    #[test]
    fn a_map_that_loses_a_key_stands_behind_the_merge_only_where_order_is_followed() {
        let kept = r#"{"id": "m", "op": "map", "select": {"y": "x", "n": "n", "g": "g"}}"#;
        let lost = r#"{"id": "m", "op": "map", "select": {"g": "g", "i": "i"}}"#;
        let sum = r#"{"id": "a", "op": "reduce_by_key", "key": "i", "aggs": {"c": "count(*)"}}"#;
        let edges = r#"[["r", "w"], ["w", "m"]]"#;
        assert_eq!(
            stages(&[WINDOW, kept], edges)[1..],
            ["4x bucket of 0, sort, window, map -> gather true", "1x merge of 1 -> sink m"]
        );
        assert_eq!(
            stages(&[WINDOW, lost], edges)[1..],
            ["4x bucket of 0, sort, window -> gather true", "1x merge of 1, map -> sink m"]
        );
        assert_eq!(
            stages(&[WINDOW, lost, sum], r#"[["r", "w"], ["w", "m"], ["m", "a"]]"#)[1],
            "4x bucket of 0, sort, window, map, partial -> hash(i) to 4"
        );
    }

    #[test]
    fn a_writer_gets_the_rows_in_their_order_and_a_second_reader_from_what_is_kept() {
        let write = r#"{"id": "o", "op": "write_csv", "path": "out"}"#;
        assert_eq!(
            stages(&[WINDOW, write], r#"[["r", "w"], ["w", "o"]]"#)[1..],
            ["4x bucket of 0, sort, window -> gather true", "1x merge of 1 -> sink o"]
        );
        let sort = r#"{"id": "s", "op": "sort", "by": "i"}"#;
        assert_eq!(
            stages(&[WINDOW, write, sort], r#"[["r", "w"], ["w", "o"], ["w", "s"]]"#)[1..],
            [
                "4x bucket of 0, sort, window -> forward",
                "4x partition of 1, map -> gather true",
                "1x merge of 2 -> sink o",
                "4x partition of 1, sort -> gather true",
                "1x merge of 4 -> sink s"
            ]
        );
    }

    #[test]
    fn without_partitions_rows_are_sorted_where_they_are_and_merged() {
        let all = r#"{"id": "w", "op": "window", "order_by": "n", "with": {"i": "rank()"}}"#;
        assert_eq!(
            stages(&[all], r#"[["r", "w"]]"#),
            ["4x source, sort -> gather true", "1x merge of 0, window -> sink w"]
        );
        let none = r#"{"id": "w", "op": "window", "with": {"i": "row_number()"}}"#;
        assert_eq!(
            stages(&[none], r#"[["r", "w"]]"#),
            ["4x source -> gather false", "1x all of 0, window -> sink w"]
        );
    }

    #[test]
    fn ties_of_what_follows_stand_as_the_merge_would_have_them() {
        let again = r#"{"id": "v", "op": "window", "partition_by": "x", "with": {"j": "rank()"}}"#;
        let shown = stages(&[WINDOW, again], r#"[["r", "w"], ["w", "v"]]"#);
        assert_eq!(shown[1], "4x bucket of 0, sort, window, hash -> hash(x) to 4");
        assert_eq!(shown[2], "4x bucket of 1, sort, window -> gather true");
    }
}
