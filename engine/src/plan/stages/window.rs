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
            self.sorted(index, below, &keys, None)
        } else {
            let keys = self.with_ties(keys, &below);
            let key =
                |column: &usize| -> Expr { crate::expr::parse::column(&input_schema, *column) };
            let by: Vec<Expr> = partition_by.iter().map(key).collect();
            let read = self.hashed(index, below, &by, bucket_count);
            let hashed = read.schema();
            read.then(index, hashed, |input| StepKind::Sort { input, keys, limit: None })
        };
        Ok(sorted.then(index, schema, |input| StepKind::Window {
            input,
            columns,
            partition_by,
            order_by,
            functions,
        }))
    }
}
