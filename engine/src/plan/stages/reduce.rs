//! How groups are made: aggregation on the map side, an exchange by the keys' hash, final aggregation.
//!
//! Where all aggregates are over the same different values (`count(distinct x)`), those are found by a
//! reduction of their own, with the values among its keys: it spills like any other, where a set of
//! values as one group's state would have to fit into memory.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};

use super::{Cutter, Pipeline, reading};
use crate::{
    Result,
    expr::{Aggregate, AggregateFunction, Expr, OrderKey, parse},
    kernels::{
        accumulate::{row_arguments, takes_order},
        hash::is_key,
    },
    operators::reduce_by_key::state_fields,
    plan::{
        Distribution, Node, NodeIndex, Op, Output, Share, StepKind, estimate::row_bytes,
        with_hash_column,
    },
};

/// What a node reduces its input to.
pub(super) struct Reduction {
    pub(super) keys: Vec<Expr>,
    pub(super) aggregates: Vec<Aggregate>,
    /// Whether the input's rows have a defined order.
    pub(super) has_order: bool,
}

impl Reduction {
    /// The aggregates, with an order for their rows where the input has none: all its columns,
    /// ascending, behind what they say themselves.
    fn ordered(&self, schema: &Schema) -> Vec<Aggregate> {
        let mut aggregates = self.aggregates.clone();
        if self.has_order {
            return aggregates;
        }
        for aggregate in aggregates.iter_mut().filter(|aggregate| takes_order(aggregate)) {
            for index in 0..schema.fields().len() {
                let expr = parse::column(schema, index);
                if aggregate.order_by.iter().all(|key| key.expr != expr) {
                    let (descending, nulls_first) = (false, false);
                    aggregate.order_by.push(OrderKey { expr, descending, nulls_first });
                }
            }
        }
        aggregates
    }

    /// The arguments that all aggregates have, where each is over their different values.
    fn different(&self) -> Option<Vec<Expr>> {
        let first = row_arguments(self.aggregates.first()?);
        let is_alike = |aggregate: &Aggregate| {
            aggregate.distinct
                && aggregate.filter.is_none()
                && row_arguments(aggregate) == first
                && first.iter().all(|argument| is_key(&argument.data_type()))
        };
        self.aggregates.iter().all(is_alike).then(|| first.to_vec())
    }

    /// The same over the rows of a reduction to keys and different arguments.
    fn over_different(self, schema: &Schema) -> Self {
        let key_count = self.keys.len();
        let keys = (0..key_count).map(|index| parse::column(schema, index)).collect();
        let over = |mut aggregate: Aggregate| {
            let count = row_arguments(&aggregate).len();
            for index in 0..count {
                aggregate.arguments[index] = parse::column(schema, key_count + index);
            }
            aggregate.distinct = false;
            let value = parse::column(schema, key_count);
            for key in &mut aggregate.order_by {
                key.expr = value.clone();
            }
            let follows = matches!(
                aggregate.function,
                AggregateFunction::StringAgg | AggregateFunction::ArrayAgg
            );
            if follows && aggregate.order_by.is_empty() {
                let (descending, nulls_first) = (false, false);
                aggregate.order_by.push(OrderKey { expr: value, descending, nulls_first });
            }
            aggregate
        };
        let aggregates = self.aggregates.into_iter().map(over).collect();
        // Rows differ in what they are ordered by, and no other order is left.
        Self { keys, aggregates, has_order: true }
    }
}

/// The most rows of each node, where that follows from what files say of themselves.
pub(super) fn most_rows(nodes: &[Node]) -> Vec<Option<u64>> {
    let mut most: Vec<Option<u64>> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let of_inputs = || {
            let mut rows = node.inputs.iter().map(|input| most[input.index()]);
            rows.try_fold(0_u64, |sum, rows| Some(sum.saturating_add(rows?)))
        };
        let rows = match &node.op {
            Op::Read(read) => read.estimated_rows(),
            Op::Map { .. }
            | Op::Filter { .. }
            | Op::Reduce { .. }
            | Op::Union
            | Op::Sample { .. }
            | Op::Repartition { .. }
            | Op::Cache
            | Op::Sort { .. }
            | Op::Limit { .. }
            | Op::Window { .. }
            | Op::Sleep { .. } => of_inputs(),
            Op::Tokenize { .. }
            | Op::Explode { .. }
            | Op::Split { .. }
            | Op::Unpivot { .. }
            | Op::Join { .. }
            | Op::Expect { .. }
            | Op::Write(_) => None,
        };
        most.push(rows);
    }
    most
}

impl Cutter<'_> {
    /// The groups of a node's input.
    pub(super) fn reduced(
        &mut self,
        node: NodeIndex,
        schema: SchemaRef,
        below: Pipeline,
        reduction: Reduction,
    ) -> Result<Pipeline> {
        let Some(arguments) = reduction.different() else {
            return self.two_steps(node, schema, below, reduction);
        };
        let mut fields: Vec<_> =
            schema.fields().iter().take(reduction.keys.len()).cloned().collect();
        for (index, argument) in arguments.iter().enumerate() {
            let name = format!("__different{index}");
            fields.push(Arc::new(Field::new(name, argument.data_type(), true)));
        }
        let different = Arc::new(Schema::new(fields));
        let keys = reduction.keys.iter().cloned().chain(arguments).collect();
        let has_order = reduction.has_order;
        let first = Reduction { keys, aggregates: Vec::new(), has_order };
        let rows = self.two_steps(node, Arc::clone(&different), below, first)?;
        self.two_steps(node, schema, rows, reduction.over_different(&different))
    }

    /// How many buckets groups go to. Columnar files say how many rows there are, which in memory take
    /// more than there: should each be a group, two tasks' tables still fit into a small budget.
    fn buckets_of_groups(&self, node: NodeIndex, bytes: u64, states: &Schema) -> u32 {
        let rows = self.plan.nodes[node.index()].inputs.first();
        let rows = rows.and_then(|input| self.most_rows[input.index()]).unwrap_or(0);
        self.buckets(bytes.max(rows.saturating_mul(row_bytes(states))))
    }

    /// Aggregation on the map side, an exchange by key hash, final aggregation.
    fn two_steps(
        &mut self,
        node: NodeIndex,
        schema: SchemaRef,
        below: Pipeline,
        reduction: Reduction,
    ) -> Result<Pipeline> {
        let aggregates = reduction.ordered(&below.schema());
        let keys = reduction.keys;
        let key_count = keys.len();
        let names = schema.fields().iter().skip(key_count).map(|field| field.name().as_str());
        let mut fields: Vec<_> = schema.fields().iter().take(key_count).cloned().collect();
        let states = state_fields(&aggregates, &names.collect::<Vec<_>>())?;
        fields.extend(states.into_iter().map(Arc::new));
        let partial_schema = with_hash_column(&Schema::new(fields));

        let bytes = below.bytes;
        let is_one_task =
            below.partitions == 1 && (bytes <= self.sizes.bucket_bytes || key_count == 0);
        let text =
            keys.iter().zip(schema.fields()).map(|(_, field)| field.name().clone()).collect();
        let partial = below.then(node, Arc::clone(&partial_schema), |input| {
            StepKind::PartialReduce { input, keys, aggregates: aggregates.clone() }
        });
        let merged = if is_one_task {
            partial
        } else if key_count == 0 {
            // There is one group, and one row even over nothing: one task merges what all found.
            self.gathered(node, partial, Share::All)
        } else {
            let buckets = self.buckets_of_groups(node, bytes, &partial_schema);
            let distribution = Distribution::Hash { keys: text, buckets };
            let stage = self.close(partial, Output::Exchange(distribution));
            reading(node, partial_schema, stage, Share::Bucket, buckets, bytes)
        };
        Ok(merged.then(node, schema, |input| StepKind::FinalReduce {
            input,
            keys: key_count,
            aggregates,
        }))
    }
}
