//! `union`, `repartition`, `cache` and `expect`, made of exchanges that exist.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::{Cutter, Pipeline, Rows, reading};
use crate::{
    Error, Result,
    expr::{Expr, parse},
    formats::intake::OnBadRow,
    id::StageId,
    kernels::hash::is_key,
    plan::{
        Check, Distribution, NodeIndex, Order, Output, Share, Step, StepIndex, StepKind,
        with_hash_column,
    },
};

impl Cutter<'_> {
    /// A task for each task of every input, in their order, which reads what that one kept.
    pub(super) fn united(
        &mut self,
        node: NodeIndex,
        schema: SchemaRef,
        inputs: &[NodeIndex],
    ) -> Result<Pipeline> {
        let mut united = Pipeline {
            steps: Vec::new(),
            partitions: 0,
            splits: Vec::new(),
            inputs: Vec::new(),
            bytes: 0,
        };
        for input in inputs {
            let (stage, partitions, bytes) = self.kept(*input)?;
            let own_schema = Arc::clone(&self.plan.nodes[input.index()].schema);
            let share = Share::Section { first: united.partitions, partitions };
            let kind = StepKind::Read { stage, share };
            united.steps.push(Step { node: *input, schema: own_schema, kind });
            united.inputs.push(stage);
            united.bytes = united.bytes.saturating_add(bytes);
            let more = united.partitions.checked_add(partitions);
            united.partitions =
                more.ok_or_else(|| Error::Internal(String::from("a union of 2^32 partitions")))?;
        }
        united.inputs.sort_unstable();
        united.inputs.dedup();
        let reads = (0..united.steps.len()).map(StepIndex).collect();
        united.steps.push(Step { node, schema, kind: StepKind::Union { inputs: reads } });
        Ok(united)
    }

    /// The stage that keeps a node's rows, with its tasks and bytes.
    fn kept(&mut self, index: NodeIndex) -> Result<(StageId, u32, u64)> {
        if let Rows::Kept { stage, partitions, bytes } = self.rows[index.index()] {
            return Ok((stage, partitions, bytes));
        }
        let pipeline = self.rows_of(index)?;
        let (partitions, bytes) = (pipeline.partitions, pipeline.bytes);
        let stage = self.close(pipeline, Output::Exchange(Distribution::Forward));
        Ok((stage, partitions, bytes))
    }

    /// Rows by the hash of their keys, or by turns; one partition has them in their order. Without a
    /// defined order a task that runs again may have its rows in another sequence, and by turns one
    /// could come twice or not at all: then all columns are the keys.
    pub(super) fn repartitioned(
        &mut self,
        node: NodeIndex,
        input: Pipeline,
        keys: &[Expr],
        partitions: u32,
    ) -> Pipeline {
        let schema = input.schema();
        if partitions == 1 {
            let gathered = self.gathered(node, input, Share::All);
            return as_it_is(node, gathered);
        }
        let has_order = self.plan.nodes[node.index()]
            .inputs
            .first()
            .is_some_and(|from| self.plan.nodes[from.index()].order != Order::None);
        let whole: Vec<Expr> = if keys.is_empty() && !has_order {
            let columns = (0..schema.fields().len()).map(|index| parse::column(&schema, index));
            columns.filter(|column| is_key(&column.data_type())).collect()
        } else {
            Vec::new()
        };
        let keys = if whole.is_empty() { keys } else { &whole };
        let spread = if keys.is_empty() {
            let (bytes, with_hash) = (input.bytes, with_hash_column(&schema));
            let spread = input.then(node, Arc::clone(&with_hash), |input| StepKind::Spread {
                input,
                buckets: partitions,
            });
            let distribution = Distribution::Hash { keys: Vec::new(), buckets: partitions };
            let stage = self.close(spread, Output::Exchange(distribution));
            reading(node, with_hash, stage, Share::Bucket, partitions, bytes)
        } else {
            self.hashed(node, input, keys, partitions)
        };
        let columns = (0..schema.fields().len()).map(|index| parse::column(&schema, index));
        let columns = columns.collect();
        spread.then(node, schema, |below| StepKind::Map { input: below, columns })
    }

    /// The first input's rows behind those of the others, of which there must be none: so no task
    /// of it begins before they are known.
    pub(super) fn expected(
        &mut self,
        node: NodeIndex,
        inputs: &[NodeIndex],
        checks: Vec<Check>,
        offences: Vec<String>,
        on_fail: OnBadRow,
    ) -> Result<Pipeline> {
        let [rows, others @ ..] = inputs else {
            return Err(Error::Internal(String::from("an expect without input")));
        };
        let mut pipeline = self.rows_of(*rows)?;
        let (schema, input) = (pipeline.schema(), pipeline.top());
        let mut found = Vec::new();
        for (other, offence) in others.iter().zip(offences) {
            // A step of the node's own, so that what there is counts as its input.
            let below = as_it_is(node, self.rows_of(*other)?);
            let other_schema = below.schema();
            let stage = self.close(below, Output::Exchange(Distribution::Broadcast));
            let kind = StepKind::Read { stage, share: Share::All };
            pipeline.steps.push(Step { node, schema: other_schema, kind });
            pipeline.inputs.push(stage);
            found.push((pipeline.top(), offence));
        }
        pipeline.inputs.sort_unstable();
        pipeline.inputs.dedup();
        let id = self.plan.nodes[node.index()].id.clone();
        let kind = StepKind::Expect { input, id, checks, offences: found, on_fail };
        pipeline.steps.push(Step { node, schema, kind });
        Ok(pipeline)
    }
}

/// The rows as they are, as work for `node`.
pub(super) fn as_it_is(node: NodeIndex, input: Pipeline) -> Pipeline {
    let schema = input.schema();
    let columns = (0..schema.fields().len()).map(|index| parse::column(&schema, index)).collect();
    input.then(node, schema, |input| StepKind::Map { input, columns })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Schema;

    use crate::{
        id::StageId,
        plan::{Distribution, NodeIndex, Output, Share, Stage, Step, StepKind},
    };

    fn reading(shares: &[(u32, Share)]) -> Stage {
        let step = |(stage, share): &(u32, Share)| Step {
            node: NodeIndex(0),
            schema: Arc::new(Schema::empty()),
            kind: StepKind::Read { stage: StageId(*stage), share: share.clone() },
        };
        Stage {
            id: StageId(9),
            steps: shares.iter().map(step).collect(),
            output: Output::Exchange(Distribution::Forward),
            partitions: 8,
            splits: Vec::new(),
            inputs: Vec::new(),
        }
    }

    #[test]
    fn a_task_is_given_the_outputs_that_it_reads() {
        let section = |first| Share::Section { first, partitions: 3 };
        // Twice the same stage, with another one between.
        let union = reading(&[(0, section(0)), (1, section(3)), (0, section(6))]);
        let given = |stage, partition| union.map_tasks(StageId(stage), 3, partition);
        assert_eq!([given(0, 2), given(0, 6), given(1, 4)], [2..3, 0..1, 1..2]);
        assert!(given(0, 4).is_empty() && given(1, 2).is_empty() && given(1, 7).is_empty());
        let forward = reading(&[(0, Share::Partition)]);
        assert_eq!(forward.map_tasks(StageId(0), 3, 1), 1..2);
        let both = reading(&[(0, Share::Partition), (0, Share::All)]);
        assert_eq!(both.map_tasks(StageId(0), 3, 1), 0..3);
    }
}
