//! Sorts of large inputs: rows by ranges of their keys, each range sorted by a task of its own.
//!
//! A sample of the keys says where ranges begin, so the input is read twice, from a stage that keeps
//! it. The sorted ranges one after another are the order: who follows it needs no merge.

use std::sync::Arc;

use arrow::datatypes::Schema;

use super::{Cutter, Pipeline, reading};
use crate::{
    expr::{SortKey, parse},
    id::StageId,
    operators::range::sample_schema,
    plan::{
        Distribution, NodeIndex, Order, Output, Share, Stage, Step, StepIndex, StepKind,
        with_hash_column,
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
        // A stage that keeps rows counts them as its node's output, which they are not yet where
        // they are sorted for the same node.
        let is_other = below.steps[below.top().0].node != node;
        let is_large = below.bytes > self.sizes.range_bytes && below.partitions > 1;
        let buckets = self.buckets(below.bytes);
        (is_other && is_large && buckets > 1).then_some(buckets)
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
        let (partitions, bytes) = (below.partitions, below.bytes);
        let owner = below.steps[below.top().0].node;
        let has_order = |input: &NodeIndex| self.plan.nodes[input.index()].order != Order::None;
        let in_order = self.plan.nodes[node.index()].inputs.first().is_some_and(has_order);
        let kept = self.kept_as_it_is(below);
        let read =
            |whose| reading(whose, Arc::clone(&schema), kept, Share::Partition, partitions, bytes);

        // All of it is the sort's own, so that its input is counted by the stage below alone.
        let (fewest, most) = SAMPLED_PER_TASK;
        let rows = SAMPLED_PER_RANGE.saturating_mul(buckets).div_ceil(partitions);
        let rows = rows.clamp(fewest, most);
        let sampled = read(node).then(node, sample_schema(), |input| StepKind::SampleKeys {
            input,
            keys: keys.clone(),
            rows,
            in_order,
        });
        let gather = Distribution::Gather { ordered: false };
        let sample = self.close(sampled, Output::Exchange(gather));

        let mut scattered = read(owner);
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

    /// The stage that keeps a pipeline's rows: that which it reads, where it does nothing else.
    fn kept_as_it_is(&mut self, below: Pipeline) -> StageId {
        if let [Step { kind: StepKind::Read { stage, share: Share::Partition }, .. }] =
            below.steps.as_slice()
        {
            return *stage;
        }
        self.close(below, Output::Exchange(Distribution::Forward))
    }
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
    use super::super::{Sizes, tests::stages_by};

    /// Everything is large, and the file of 16 bytes goes to three buckets.
    const SMALL: Sizes = Sizes { range_bytes: 0, bucket_bytes: 6, broadcast_bytes: 0 };

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
