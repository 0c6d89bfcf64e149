//! Windows: rows by hash of their partition, sorted in each task.

use arrow::datatypes::SchemaRef;

use super::{Cutter, Pipeline};
use crate::{
    Result,
    expr::{Expr, SortKey, window::WindowFunction},
    plan::{NodeIndex, Order, Share, StepKind},
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
        let Asked { partition_by, order_by, functions } = asked;
        let input_schema = below.schema();
        let columns = input_schema.fields().len();
        let has_order = self.plan.nodes[input.index()].order != Order::None;
        let keys = match order {
            // Without keys the rows stay as they are.
            _ if partition_by.is_empty() && order_by.is_empty() && has_order => Vec::new(),
            Order::Sorted(keys) => keys.clone(),
            Order::None | Order::Source => Vec::new(),
        };
        let bucket_count = self.buckets(below.bytes);
        let sorted = if keys.is_empty() {
            self.gathered(index, below, Share::All)
        } else if partition_by.is_empty() || bucket_count == 1 {
            // One task takes all rows: they gain nothing from being sorted by ranges.
            self.merged(index, below, &keys, None)
        } else {
            let keys = self.with_ties(keys, &below);
            let key =
                |column: &usize| -> Expr { crate::expr::parse::column(&input_schema, *column) };
            let by: Vec<Expr> = partition_by.iter().map(key).collect();
            let read = self.hashed(index, below, &by, bucket_count);
            let hashed = read.schema();
            read.then(index, hashed, |read| StepKind::Sort { input: read, keys, limit: None })
        };
        Ok(sorted.then(index, schema, |sorted| StepKind::Window {
            input: sorted,
            columns,
            partition_by,
            order_by,
            functions,
        }))
    }
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
        let sizes = Sizes::default();
        let mut cutter = Cutter {
            consumers,
            wanted,
            estimates: Vec::new(),
            plan,
            disk: &disk,
            stages: Vec::new(),
            rows,
            sizes,
        };
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
            stages(&[WINDOW, filter, limit], r#"[["r", "w"], ["w", "f"], ["f", "l"]]"#)[1..],
            [
                "4x bucket of 0, sort, window, filter, limit -> gather true",
                "1x merge of 1, limit -> sink l"
            ]
        );
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
                "4x partition of 1 -> gather true",
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
