//! Sorts of large inputs: rows by ranges of their keys, each range sorted by a task of its own.
//!
//! A sample of the keys says where ranges begin, so the input is read twice: from a stage that keeps
//! it, or the keys alone from a file that has them by themselves. The sorted ranges one after another
//! are the order: who follows it needs no merge.

use std::sync::Arc;

use arrow::datatypes::Schema;

use super::{Cutter, Pipeline, reading};
use crate::{
    expr::{SortKey, parse},
    formats::Format,
    operators::range::sample_schema,
    plan::{
        Distribution, NodeIndex, Op, Order, Output, Scan, Share, Stage, Step, StepIndex, StepKind,
        estimate, with_hash_column,
    },
};

/// How many keys are sampled for each range: its rows then differ by some tenth from the mean.
const SAMPLED_PER_RANGE: u32 = 128;

/// The fewest and the most keys that a task samples.
const SAMPLED_PER_TASK: (u32, u32) = (16, 512);

impl Cutter<'_> {
    /// Into how many ranges rows are sorted for `node`; `None` where its partitions are sorted where
    /// they are, because they are small, or one.
    pub(super) fn ranges(&self, node: NodeIndex, below: &Pipeline) -> Option<u32> {
        if below.partitions == 1 {
            return None;
        }
        let bytes = self.bytes_to_sort(node, below);
        let buckets = self.buckets(bytes);
        (bytes > self.sizes.range_bytes && buckets > 1).then_some(buckets)
    }

    /// An estimate of what the rows take that are sorted for `node`.
    fn bytes_to_sort(&self, node: NodeIndex, below: &Pipeline) -> u64 {
        let nodes = &self.plan.nodes;
        let of_nodes = estimate::of(nodes, self.disk);
        let estimated = of_nodes.get(node.index()).map_or(below.bytes, |found| found.bytes);
        let knows_rows = |op: &Op| match op {
            Op::Read(read) => read.statistics.is_some(),
            _ => true,
        };
        // Values take less in a columnar file than in memory, and text files less than guesses say.
        if nodes.iter().all(|other| knows_rows(&other.op)) {
            estimated
        } else {
            estimated.min(below.bytes)
        }
    }

    /// Rows sorted by keys, which are with their ties, in so many ranges that follow one another.
    pub(super) fn in_ranges(
        &mut self,
        node: NodeIndex,
        below: Pipeline,
        keys: Vec<SortKey>,
        buckets: u32,
    ) -> Pipeline {
        let schema = below.schema();
        let bytes = below.bytes;
        let owner = below.steps[below.top().0].node;
        let before = self.plan.nodes[node.index()].inputs.first().copied();
        // A result without an order of its own is sorted for its own node.
        let whose = before.filter(|_| owner != node).unwrap_or(node);
        let in_order = self.plan.nodes[whose.index()].order != Order::None;
        let (keys_read, mut scattered) = match keys_alone(node, &below, &keys) {
            Some(keys_read) => (keys_read, below),
            None => self.twice(node, below, &keys),
        };

        // All of it is the sort's own, so that its input is counted by the stage below alone.
        let (fewest, most) = SAMPLED_PER_TASK;
        let rows = SAMPLED_PER_RANGE.saturating_mul(buckets).div_ceil(scattered.partitions);
        let rows = rows.clamp(fewest, most);
        let KeysRead { rows: rows_read, keys: their_keys } = keys_read;
        let sampled = rows_read.then(node, sample_schema(), |input| StepKind::SampleKeys {
            input,
            keys: their_keys,
            rows,
            in_order,
        });
        let gather = Distribution::Gather { ordered: false };
        let sample = self.close(sampled, Output::Exchange(gather));

        let source = scattered.top();
        let share = StepKind::Read { stage: sample, share: Share::All };
        scattered.steps.push(Step { node, schema: sample_schema(), kind: share });
        scattered.inputs.push(sample);
        let with_hash = with_hash_column(&schema);
        let ranged = scattered.then(node, Arc::clone(&with_hash), |keys_of| StepKind::Range {
            input: source,
            sample: keys_of,
            keys: keys.clone(),
            buckets,
        });
        let text = keys.iter().map(|key| shown(key, &schema)).collect();
        let distribution = Distribution::Range { keys: text, buckets };
        let stage = self.close(ranged, Output::Exchange(distribution));

        let columns = (0..schema.fields().len()).map(|index| parse::column(&schema, index));
        let columns = columns.collect();
        reading(node, with_hash, stage, Share::Bucket, buckets, bytes)
            .then(node, Arc::clone(&schema), |input| StepKind::Map { input, columns })
            .then(node, schema, |input| StepKind::Sort { input, keys, limit: None })
    }

    /// Two readers of a pipeline's rows: from the stage that it reads, where it does nothing else, or
    /// from one that keeps them.
    fn twice(
        &mut self,
        node: NodeIndex,
        below: Pipeline,
        keys: &[SortKey],
    ) -> (KeysRead, Pipeline) {
        let (schema, partitions, bytes) = (below.schema(), below.partitions, below.bytes);
        let owner = below.steps[below.top().0].node;
        let stage = match below.steps.as_slice() {
            [Step { kind: StepKind::Read { stage, share: Share::Partition }, .. }] => *stage,
            // What is sorted for its own node is counted as that one's output once it is sorted.
            _ if owner == node => {
                let gather = Distribution::Gather { ordered: false };
                self.close(below, Output::Exchange(gather))
            }
            _ => self.close(below, Output::Exchange(Distribution::Forward)),
        };
        let read =
            |whose| reading(whose, Arc::clone(&schema), stage, Share::Partition, partitions, bytes);
        (KeysRead { rows: read(node), keys: keys.to_vec() }, read(owner))
    }
}

/// Rows whose keys are sampled.
struct KeysRead {
    rows: Pipeline,
    keys: Vec<SortKey>,
}

/// The key columns of `below`, read by themselves for `node`: from columnar files that are not filtered.
fn keys_alone(node: NodeIndex, below: &Pipeline, keys: &[SortKey]) -> Option<KeysRead> {
    let [Step { kind: StepKind::Source { format, scan }, schema, .. }] = below.steps.as_slice()
    else {
        return None;
    };
    if !matches!(format, Format::Parquet | Format::Arrow) || scan.predicate.is_some() {
        return None;
    }
    let mut columns: Vec<usize> = keys.iter().map(|key| key.column).collect();
    columns.sort_unstable();
    columns.dedup();
    let projected = Arc::new(schema.project(&columns).ok()?);
    let place = |column: &usize| match &scan.projection {
        Some(places) => places.get(*column).copied(),
        None => Some(*column),
    };
    let scan = Scan {
        schema: Some(scan.schema.clone().unwrap_or_else(|| Arc::clone(schema))),
        projection: Some(columns.iter().map(place).collect::<Option<_>>()?),
        ..scan.clone()
    };
    let moved = |key: &SortKey| {
        let column = columns.binary_search(&key.column).ok()?;
        Some(SortKey { column, ..key.clone() })
    };
    let keys = keys.iter().map(moved).collect::<Option<_>>()?;
    let kind = StepKind::Source { format: format.clone(), scan };
    let rows = Pipeline {
        steps: vec![Step { node, schema: projected, kind }],
        partitions: below.partitions,
        splits: below.splits.clone(),
        inputs: Vec::new(),
        bytes: below.bytes,
    };
    Some(KeysRead { rows, keys })
}

/// Whether a sort of what `step` gives leaves partitions that follow one another: it is one of
/// [`Cutter::in_ranges`].
pub(super) fn is_range(steps: &[Step], step: StepIndex, stages: &[Stage]) -> bool {
    let StepKind::Map { input, .. } = &steps[step.0].kind else { return false };
    let StepKind::Read { stage, share: Share::Bucket } = &steps[input.0].kind else { return false };
    let is_read = |known: &&Stage| known.id == *stage;
    stages
        .iter()
        .find(is_read)
        .is_some_and(|known| matches!(known.output, Output::Exchange(Distribution::Range { .. })))
}

/// A key for people.
fn shown(key: &SortKey, schema: &Schema) -> String {
    let mut text = schema.field(key.column).name().clone();
    if key.descending {
        text.push_str(" desc");
    }
    if key.nulls_first {
        text.push_str(" nulls first");
    }
    text
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};

    use super::{
        super::{Sizes, tests::stages_by},
        *,
    };
    use crate::expr::{Expr, Literal, Predicate};

    /// Everything is large, and the file of 16 bytes goes to three buckets.
    const SMALL: Sizes =
        Sizes { range_bytes: 0, bucket_bytes: 6, broadcast_bytes: 0, filter_factor: None };

    /// The stages of nodes behind a reader `r` of three partitions.
    fn stages(nodes: &[&str], edges: &str, sizes: Sizes) -> Vec<String> {
        let nodes = nodes.join(",");
        let document = format!(
            r#"{{"dag": {{"nodes": [{{"id": "r", "op": "read_csv", "path": "large.csv",
                "header": true, "partitions": 3}}, {nodes}], "edges": {edges}}}}}"#
        );
        stages_by(&document, sizes)
    }

    const SORT: &str = r#"{"id": "s", "op": "sort", "by": ["k desc nulls first"]}"#;
    const WRITE: &str = r#"{"id": "w", "op": "write_csv", "path": "out"}"#;
    const SAMPLE: &str = "3x partition of 0, sample keys -> gather false";
    const RANGE: &str = "3x partition of 0, all of 1, range -> range(k desc nulls first) to 3";

    #[test]
    fn ranges_of_a_large_input_are_the_parts_of_a_writer() {
        let found = stages(&[SORT, WRITE], r#"[["r", "s"], ["s", "w"]]"#, SMALL);
        let last = "3x bucket of 2, map, sort -> sink w";
        assert_eq!(found, ["3x source -> forward", SAMPLE, RANGE, last]);
    }

    #[test]
    fn a_text_sink_reads_one_range_after_another() {
        let map = r#"{"id": "m", "op": "map", "fn": "identity"}"#;
        let found = stages(&[map, SORT], r#"[["r", "m"], ["m", "s"]]"#, SMALL);
        assert_eq!(found[..3], ["3x source, map -> forward", SAMPLE, RANGE]);
        assert_eq!(found[3], "3x bucket of 2, map, sort -> gather false");
        assert_eq!(found[4..], ["1x all of 3 -> sink s"]);
    }

    #[test]
    fn what_is_kept_already_is_not_kept_again_and_readers_of_ranges_need_no_merge() {
        let shared = stages(
            &[SORT, r#"{"id": "l", "op": "limit", "n": 2}"#, WRITE],
            r#"[["r", "s"], ["r", "l"], ["s", "w"]]"#,
            SMALL,
        );
        assert_eq!(shared[..3], ["3x source -> forward", SAMPLE, RANGE]);

        let nodes = [
            SORT,
            r#"{"id": "a", "op": "filter", "where": "w > 1"}"#,
            r#"{"id": "b", "op": "map", "select": {"w": "w"}}"#,
        ];
        let found = stages(&nodes, r#"[["r", "s"], ["s", "a"], ["s", "b"]]"#, SMALL);
        let behind = [
            "3x bucket of 2, map, sort -> forward",
            "3x partition of 3, filter -> gather false",
            "1x all of 4 -> sink a",
            "3x partition of 3, map -> gather false",
            "1x all of 6 -> sink b",
        ];
        assert_eq!(found[3..], behind);
    }

    #[test]
    fn a_result_without_an_order_is_sorted_by_ranges_of_all_columns() {
        let found = stages(&[r#"{"id": "a", "op": "distinct"}"#], r#"[["r", "a"]]"#, SMALL);
        let last = [
            "3x bucket of 0, final -> gather false",
            "3x partition of 1, sample keys -> gather false",
            "3x partition of 1, all of 2, range -> range(k, w) to 3",
            "3x bucket of 3, map, sort -> gather false",
            "1x all of 4 -> sink a",
        ];
        assert_eq!(found[1..], last);
    }

    #[test]
    fn of_a_columnar_file_the_keys_are_read_alone_unless_it_is_filtered() {
        let field = |name| Field::new(name, DataType::Int64, true);
        let schema = Arc::new(Schema::new(vec![field("a"), field("b"), field("c")]));
        let reader = |scan: Scan| Pipeline {
            steps: vec![Step {
                node: NodeIndex(0),
                schema: Arc::clone(&schema),
                kind: StepKind::Source { format: Format::Parquet, scan },
            }],
            partitions: 2,
            splits: Vec::new(),
            inputs: Vec::new(),
            bytes: 0,
        };
        let key = |column| SortKey { column, descending: true, nulls_first: false };
        let keys = [key(2), key(0)];
        let scan = Scan { projection: Some(vec![7, 5, 3]), ..Scan::default() };
        let KeysRead { rows, keys: moved } =
            keys_alone(NodeIndex(1), &reader(scan), &keys).unwrap();
        let StepKind::Source { scan: moved_scan, .. } = &rows.steps[0].kind else { panic!() };
        assert_eq!(moved_scan.projection, Some(vec![7, 3]));
        assert_eq!(rows.schema().fields().iter().map(|f| f.name()).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!((rows.steps[0].node, moved), (NodeIndex(1), vec![key(1), key(0)]));

        let predicate = Some(Predicate(Expr::Literal(Literal::Bool(true))));
        let filtered = reader(Scan { predicate, ..Scan::default() });
        assert!(keys_alone(NodeIndex(1), &filtered, &keys).is_none());
    }

    #[test]
    fn a_stable_writer_sorts_by_ranges_of_all_columns() {
        let reduce = r#"{"id": "a", "op": "distinct"}"#;
        let write = r#"{"id": "w", "op": "write_csv", "path": "out", "order": "stable"}"#;
        let found = stages(&[reduce, write], r#"[["r", "a"], ["a", "w"]]"#, SMALL);
        let last = [
            "3x bucket of 0, final -> forward",
            "3x partition of 1, sample keys -> gather false",
            "3x partition of 1, all of 2, range -> range(k, w) to 3",
            "3x bucket of 3, map, sort -> sink w",
        ];
        assert_eq!(found[1..], last);
    }

    #[test]
    fn what_is_small_or_limited_or_one_partition_is_sorted_where_it_is() {
        let edges = r#"[["r", "s"], ["s", "w"]]"#;
        let merged = ["3x source, sort -> gather true", "1x merge of 0 -> sink w"];
        for sizes in [Sizes { range_bytes: 16, ..SMALL }, Sizes { bucket_bytes: 16, ..SMALL }] {
            assert_eq!(stages(&[SORT, WRITE], edges, sizes), merged);
        }
        let top = r#"{"id": "s", "op": "top_k", "by": ["k"], "n": 2}"#;
        let found = stages(&[top, WRITE], edges, SMALL);
        assert_eq!(found[0], "3x source, sort -> gather true");
        let one = stages_by(
            r#"{"dag": {"nodes": [
                {"id": "r", "op": "read_csv", "path": "large.csv", "header": true, "partitions": 1},
                {"id": "s", "op": "sort", "by": ["k"]}], "edges": [["r", "s"]]}}"#,
            SMALL,
        );
        assert_eq!(one, ["1x source, sort -> sink s"]);
    }
}
