//! How a writer's rows become as many files as it wants, in their order, folder by folder.

use super::{Cutter, Pipeline, every_column, reading};
use crate::{
    expr::SortKey,
    plan::{Distribution, NodeIndex, Order, Output, Share, StepKind, Write},
};

impl Cutter<'_> {
    /// The rows of a writer, a part of the target in each partition.
    ///
    /// - Order: a defined one is kept, within partitions and from one to the next; of rows for
    ///   folders within each folder.
    pub(super) fn laid_out(
        &mut self,
        leaf: NodeIndex,
        pipeline: Pipeline,
        write: &Write,
        order: &Order,
    ) -> Pipeline {
        let in_order = if *order == Order::None && write.stable {
            let keys = every_column(&pipeline.schema());
            self.sorted(leaf, pipeline, &keys, None)
        } else {
            self.in_sequence(leaf, pipeline)
        };
        let spread = match write.files {
            Some(1) => self.gathered(leaf, in_order, Share::All),
            Some(files)
                if *order == Order::None && !write.stable && files != in_order.partitions =>
            {
                self.repartitioned(leaf, in_order, &[], files)
            }
            Some(files) if files < in_order.partitions => {
                let (schema, bytes) = (in_order.schema(), in_order.bytes);
                let distribution = Distribution::Gather { ordered: false };
                let (in_order, from) = in_order.leaving_for(leaf);
                let stage = self.close(in_order, Output::Exchange(distribution));
                reading(from, schema, stage, Share::Neighbours { readers: files }, files, bytes)
            }
            // Nothing cuts a partition in order without counting its rows first.
            None | Some(_) => in_order,
        };
        if write.partition_by.is_empty() {
            return spread;
        }
        // Equal values stand together then, in the order that the rows came in.
        let key =
            |column: &usize| SortKey { column: *column, descending: false, nulls_first: false };
        let keys: Vec<SortKey> = write.partition_by.iter().map(key).collect();
        let schema = spread.schema();
        spread.then(leaf, schema, |input| StepKind::Sort { input, keys, limit: None })
    }
}
