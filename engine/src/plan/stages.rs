//! Where a plan is cut into stages, and how many partitions each has.
//!
//! Every count follows from input sizes and the document alone, never from slots or memory, so
//! that a job's tasks are the same wherever it runs. Narrow nodes fuse into their input's stage.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};

use crate::{
    Error, Result,
    disk::Disk,
    expr::{Expr, SortKey},
    id::StageId,
    plan::{
        Distribution, NodeIndex, Op, Order, Output, Plan, Share, Sink, Stage, Step, StepIndex,
        StepKind, Target,
        estimate::{self, Estimate},
        with_hash_column,
    },
    source::split::{self, Split},
};

mod join;
mod order;
mod range;
mod reduce;
mod relational;
mod layout;
mod tokens;
mod window;

use relational::as_it_is;

/// One bucket of a hash exchange for so many bytes of input.
pub const BUCKET_BYTES: u64 = 32 << 20;

/// The most bytes, by estimate, of a join's side that goes to every task of the other side. As much
/// as one bucket holds: a build side of this size is in the memory of a process either way, and so
/// it is there once, and the other side stays where it is.
pub const BROADCAST_BYTES: u64 = BUCKET_BYTES;

/// The part of a process's budget that a join's side may take by estimate and still go to every task,
/// where all tasks are in that process: it is there once, and the other side need not be moved.
/// Bytes in memory are often a few times those of the estimate.
const BROADCAST_PART: u64 = 16;

/// See [`Sizes::filter_factor`].
const FILTER_FACTOR: u64 = 3;

/// From more bytes on, by estimate, a sort goes by ranges of its keys. Below, one task that merges
/// sorted partitions is done sooner than the input is kept, sampled and exchanged once more: with 64 MiB
/// a join's 5 M rows of 109 MB took 15 % more CPU time and 2.8 times the memory.
pub const RANGE_BYTES: u64 = 256 << 20;

/// The most buckets of a hash exchange.
const MAX_BUCKETS: u64 = 64;

/// The most steps of one stage: a pull goes through all of them on one thread's stack.
const MAX_STEPS: usize = 100;

/// By what sizes a plan is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// One bucket of a hash exchange for so many bytes of input.
    pub bucket_bytes: u64,
    /// The most bytes, by estimate, of a join's side that goes to every task of the other side.
    pub broadcast_bytes: u64,
    /// The most bytes, by estimate, that are sorted where they are and merged by one task.
    pub range_bytes: u64,
    /// Rows of a join's larger side are kept from moving where the smaller one has not their keys, if
    /// so many times the smaller one's rows are fewer. Who tests that must have all keys of that side:
    /// absent where it may be in another process.
    pub filter_factor: Option<u64>,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            bucket_bytes: BUCKET_BYTES,
            broadcast_bytes: BROADCAST_BYTES,
            range_bytes: RANGE_BYTES,
            filter_factor: None,
        }
    }
}

impl Sizes {
    /// Those of a plan whose tasks all run in one process of such a memory budget.
    pub fn of_process(budget_bytes: u64) -> Self {
        let broadcast_bytes = BROADCAST_BYTES.max(budget_bytes / BROADCAST_PART);
        Self { broadcast_bytes, filter_factor: Some(FILTER_FACTOR), ..Self::default() }
    }
}

/// Cuts `plan` into stages; the sizes of the files that it names decide the splits.
///
/// # Errors
/// Those of finding record boundaries: a file that has changed or can't be read, a quote that is
/// never closed.
pub fn cut(plan: Plan, disk: &Arc<dyn Disk>) -> Result<Plan> {
    cut_by(plan, disk, Sizes::default())
}

/// [`cut`] with other sizes, which change stages and tasks but no row of a result.
///
/// # Errors
/// Those of [`cut`].
pub fn cut_by(plan: Plan, disk: &Arc<dyn Disk>, sizes: Sizes) -> Result<Plan> {
    let rows = plan.nodes.iter().map(|_| Rows::None).collect();
    let consumers = consumers(&plan);
    let wanted = order::wanted(&plan);
    let joins = plan.nodes.iter().any(|node| matches!(node.op, Op::Join { .. }));
    let estimates = if joins { estimate::of(&plan.nodes, disk) } else { Vec::new() };
    let (most_rows, stages) = (reduce::most_rows(&plan.nodes), Vec::new());
    let mut cutter =
        Cutter { plan, disk, consumers, wanted, estimates, most_rows, stages, rows, sizes };
    // Every node stands behind its inputs, so that one pass is enough and nothing recurses.
    for index in (0_u32..).map(NodeIndex).take(cutter.plan.nodes.len()) {
        cutter.node(index)?;
    }
    Ok(Plan { stages: cutter.stages, ..cutter.plan })
}

/// How many edges leave each node.
fn consumers(plan: &Plan) -> Vec<u32> {
    let mut counts = vec![0; plan.nodes.len()];
    for input in plan.nodes.iter().flat_map(|node| &node.inputs) {
        counts[input.index()] += 1;
    }
    counts
}

struct Cutter<'a> {
    plan: Plan,
    disk: &'a Arc<dyn Disk>,
    consumers: Vec<u32>,
    /// Of each node: whether its order is followed.
    wanted: Vec<bool>,
    /// Of each node: what it may give; none where there is no join.
    estimates: Vec<Estimate>,
    /// Of each node: the most rows that it may have, where that is known.
    most_rows: Vec<Option<u64>>,
    stages: Vec<Stage>,
    /// Of each node: how its rows are to be had.
    rows: Vec<Rows>,
    sizes: Sizes,
}

/// How the rows of a node are to be had.
enum Rows {
    /// Not yet, or not any more.
    None,
    /// By going on with the stage that computes them.
    Open(Pipeline),
    /// From a stage that keeps them.
    Kept { stage: StageId, partitions: u32, bytes: u64 },
}

/// A stage that is not closed yet: the steps so far, and what its tasks read.
struct Pipeline {
    /// As [`Stage::steps`]; never empty.
    steps: Vec<Step>,
    partitions: u32,
    splits: Vec<Split>,
    inputs: Vec<StageId>,
    /// An estimate (an upper bound where nodes only drop rows) of the bytes that flow.
    bytes: u64,
}

impl Pipeline {
    /// The pipeline with one more step on top.
    fn then(
        mut self,
        node: NodeIndex,
        schema: SchemaRef,
        kind: impl FnOnce(StepIndex) -> StepKind,
    ) -> Self {
        let kind = kind(self.top());
        self.steps.push(Step { node, schema, kind });
        self
    }

    /// The last step.
    fn top(&self) -> StepIndex {
        StepIndex(self.steps.len() - 1)
    }

    /// The rows, and the node whose they are where a task of `node` reads them in other portions:
    /// there they leave it and enter `node`, so that both count them. The rows of a kept node have
    /// left it already; they enter `node` here.
    fn leaving_for(self, node: NodeIndex) -> (Self, NodeIndex) {
        let top = &self.steps[self.top().0];
        if top.node != node && top.reads_kept_rows() {
            return (as_it_is(node, self), node);
        }
        let from = top.node;
        (self, from)
    }

    /// The rows that flow.
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.steps[self.top().0].schema)
    }
}

impl Cutter<'_> {
    /// Computes a node; one that nobody reads is a result, one with several readers, or at the end
    /// of a long pipeline, is kept by a stage of its own.
    fn node(&mut self, index: NodeIndex) -> Result<()> {
        let pipeline = self.pipeline(index)?;
        let pipeline = self.in_sequence_for_readers(index, pipeline);
        let consumers = self.consumers[index.index()];
        if consumers == 0 {
            self.sink(index, pipeline);
        } else if consumers > 1
            || pipeline.steps.len() >= MAX_STEPS
            || matches!(self.plan.nodes[index.index()].op, Op::Cache)
        {
            let (partitions, bytes) = (pipeline.partitions, pipeline.bytes);
            let stage = self.close(pipeline, Output::Exchange(Distribution::Forward));
            self.rows[index.index()] = Rows::Kept { stage, partitions, bytes };
        } else {
            self.rows[index.index()] = Rows::Open(pipeline);
        }
        Ok(())
    }

    /// Adds the stages that make the result of a leaf.
    fn sink(&mut self, leaf: NodeIndex, pipeline: Pipeline) {
        let node = self.plan.nodes[leaf.index()].clone();
        let (pipeline, target, ordered) = if let Op::Write(write) = node.op {
            let order = self.plan.nodes[node.inputs[0].index()].order.clone();
            let ordered = order != Order::None || write.stable;
            (self.laid_out(leaf, pipeline, &write, &order), Target::Files(write), ordered)
        } else {
            (self.in_one_order(leaf, pipeline, &node.order), Target::Text, true)
        };
        let sink = Sink { node: leaf, id: node.id, schema: node.schema, target, ordered };
        self.close(pipeline, Output::Sink(sink));
    }

    /// All rows in one partition, in the defined order or else sorted by all columns.
    fn in_one_order(&mut self, node: NodeIndex, pipeline: Pipeline, order: &Order) -> Pipeline {
        if *order == Order::None {
            let keys = every_column(&pipeline.schema());
            let sorted = self.sorted(node, pipeline, &keys, None);
            self.gathered(node, sorted, Share::All)
        } else {
            self.gathered(node, pipeline, Share::All)
        }
    }

    /// Partitions that follow one another: merged where each is sorted by itself.
    fn in_sequence(&mut self, node: NodeIndex, pipeline: Pipeline) -> Pipeline {
        match self.merge_keys(&pipeline) {
            Some(keys) => self.gathered(node, pipeline, Share::Merged { keys }),
            None => pipeline,
        }
    }

    /// The same, where one of a node's readers can't do without.
    fn in_sequence_for_readers(&mut self, node: NodeIndex, pipeline: Pipeline) -> Pipeline {
        let Some(keys) = self.merge_keys(&pipeline) else { return pipeline };
        let nodes = (0_u32..).map(NodeIndex).zip(&self.plan.nodes);
        let is_needed = nodes
            .filter(|(_, reader)| reader.inputs.contains(&node))
            .any(|(index, reader)| order::needs_sequence(reader, index, &keys, &self.wanted));
        if is_needed { self.in_sequence(node, pipeline) } else { pipeline }
    }

    /// By what a pipeline's partitions are to be merged, where each is sorted by itself.
    fn merge_keys(&self, pipeline: &Pipeline) -> Option<Vec<SortKey>> {
        order::merge_keys(&pipeline.steps, pipeline.partitions, &self.stages)
    }

    /// Keys with those behind them that leave equal rows as `below` has them, where its partitions
    /// do not follow one another.
    fn with_ties(&self, keys: Vec<SortKey>, below: &Pipeline) -> Vec<SortKey> {
        let mut keys = keys;
        for tie in self.merge_keys(below).unwrap_or_default() {
            if keys.iter().all(|key| key.column != tie.column) {
                keys.push(tie);
            }
        }
        keys
    }

    /// A pipeline that gives the rows of a node.
    fn rows_of(&mut self, index: NodeIndex) -> Result<Pipeline> {
        let node = &self.plan.nodes[index.index()];
        let rows = &mut self.rows[index.index()];
        if let Rows::Kept { stage, partitions, bytes } = *rows {
            let schema = Arc::clone(&node.schema);
            return Ok(reading(index, schema, stage, Share::Partition, partitions, bytes));
        }
        match std::mem::replace(rows, Rows::None) {
            Rows::Open(pipeline) => Ok(pipeline),
            Rows::None | Rows::Kept { .. } => {
                Err(Error::Internal(format!("node `{}` has no rows to read", node.id)))
            }
        }
    }

    /// The pipeline that computes a node, whoever reads it.
    fn pipeline(&mut self, index: NodeIndex) -> Result<Pipeline> {
        let node = self.plan.nodes[index.index()].clone();
        let schema = node.schema;
        match node.op {
            Op::Read(read) => {
                let splits = split::splits(&read, &schema, self.disk)?;
                let bytes = read.estimated_bytes();
                let kind = StepKind::Source { format: read.format, scan: read.scan };
                Ok(Pipeline {
                    steps: vec![Step { node: index, schema, kind }],
                    partitions: count(splits.len())?,
                    bytes,
                    splits,
                    inputs: Vec::new(),
                })
            }
            Op::Map { columns } => {
                let mut input = self.rows_of(node.inputs[0])?;
                let columns = tokens::lowered(&mut input.steps, columns);
                Ok(input.then(index, schema, |input| StepKind::Map { input, columns }))
            }
            Op::Sleep { row_ms } => {
                let input = self.rows_of(node.inputs[0])?;
                Ok(input.then(index, schema, |input| StepKind::Sleep { input, row_ms }))
            }
            Op::Filter { predicate } => {
                let input = self.rows_of(node.inputs[0])?;
                Ok(input.then(index, schema, |input| StepKind::Filter { input, predicate }))
            }
            Op::Tokenize { columns } => {
                let input = self.rows_of(node.inputs[0])?;
                Ok(input.then(index, schema, |input| StepKind::Tokenize {
                    input,
                    columns,
                    lower: false,
                }))
            }
            Op::Reduce { keys, aggregates } => {
                let has_order = self.plan.nodes[node.inputs[0].index()].order != Order::None;
                let below = self.rows_of(node.inputs[0])?;
                self.reduced(
                    index,
                    schema,
                    below,
                    reduce::Reduction { keys, aggregates, has_order },
                )
            }
            Op::Join { how, left_keys, right_keys, null_safe, on, columns } => {
                let left = self.rows_of(node.inputs[0])?;
                let right = self.rows_of(node.inputs[1])?;
                let estimates = [0, 1].map(|side| self.estimate(node.inputs[side]));
                let sides =
                    join::Sides { left, right, estimates, left_keys, right_keys, null_safe, on };
                Ok(self.joined(index, schema, how, sides, &columns))
            }
            Op::Union => self.united(index, schema, &node.inputs),
            Op::Explode { column, outer } => {
                let input = self.rows_of(node.inputs[0])?;
                Ok(input.then(index, schema, |input| StepKind::Explode { input, column, outer }))
            }
            Op::Split { column, by, outer } => {
                let input = self.rows_of(node.inputs[0])?;
                Ok(input.then(index, schema, |input| StepKind::Split { input, column, by, outer }))
            }
            Op::Unpivot { keep, values } => {
                let input = self.rows_of(node.inputs[0])?;
                Ok(input.then(index, schema, |input| StepKind::Unpivot { input, keep, values }))
            }
            Op::Sample { threshold, seed } => {
                let input = self.rows_of(node.inputs[0])?;
                Ok(input.then(index, schema, |input| StepKind::Sample { input, threshold, seed }))
            }
            Op::Repartition { keys, partitions } => {
                let input = self.rows_of(node.inputs[0])?;
                Ok(self.repartitioned(index, input, &keys, partitions))
            }
            Op::Cache => {
                let input = self.rows_of(node.inputs[0])?;
                Ok(as_it_is(index, input))
            }
            Op::Expect { checks, offences, on_fail } => {
                self.expected(index, &node.inputs, checks, offences, on_fail)
            }
            Op::Sort { keys, limit } => {
                let input = self.rows_of(node.inputs[0])?;
                Ok(self.sorted(index, input, &keys, limit))
            }
            Op::Limit { offset, n } => {
                let input = self.rows_of(node.inputs[0])?;
                Ok(self.limited(index, input, offset, n))
            }
            Op::Window { partition_by, order_by, functions } => {
                let asked = window::Asked { partition_by, order_by, functions };
                self.windowed(index, schema, node.inputs[0], &node.order, asked)
            }
            Op::Write(_) => self.rows_of(node.inputs[0]),
        }
    }

    /// All rows sorted: large inputs by ranges that follow one another, others in one partition.
    fn sorted(
        &mut self,
        node: NodeIndex,
        below: Pipeline,
        keys: &[SortKey],
        limit: Option<u64>,
    ) -> Pipeline {
        match self.ranges(node, &below) {
            Some(buckets) if limit.is_none() => {
                let keys = self.with_ties(keys.to_vec(), &below);
                self.in_ranges(node, below, keys, buckets)
            }
            _ => self.merged(node, below, keys, limit),
        }
    }

    /// Each partition sorted, then all merged into one.
    fn merged(
        &mut self,
        node: NodeIndex,
        below: Pipeline,
        keys: &[SortKey],
        limit: Option<u64>,
    ) -> Pipeline {
        let schema = below.schema();
        let keys = self.with_ties(keys.to_vec(), &below);
        let runs = below.then(node, Arc::clone(&schema), |input| StepKind::Sort {
            input,
            keys: keys.clone(),
            limit,
        });
        if runs.partitions == 1 {
            return runs;
        }
        let merged = self.gathered(node, runs, Share::Merged { keys });
        match limit {
            Some(n) => merged.then(node, schema, |input| StepKind::Limit { input, offset: 0, n }),
            None => merged,
        }
    }

    /// The first rows of each partition, then the first of all.
    fn limited(&mut self, node: NodeIndex, below: Pipeline, offset: u64, n: u64) -> Pipeline {
        let schema = below.schema();
        let first = if below.partitions == 1 {
            below
        } else {
            let most = offset.saturating_add(n);
            let heads = below.then(node, Arc::clone(&schema), |input| StepKind::Limit {
                input,
                offset: 0,
                n: most,
            });
            self.gathered(node, heads, Share::All)
        };
        first.then(node, schema, |input| StepKind::Limit { input, offset, n })
    }

    /// All partitions read by one task.
    fn gathered(&mut self, node: NodeIndex, input: Pipeline, share: Share) -> Pipeline {
        if input.partitions == 1 {
            return input;
        }
        let (schema, bytes) = (input.schema(), input.bytes);
        let share = match (share, self.merge_keys(&input)) {
            (Share::All, Some(keys)) => Share::Merged { keys },
            (share, _) => share,
        };
        let ordered = matches!(share, Share::Merged { .. });
        let (input, from) = input.leaving_for(node);
        let stage = self.close(input, Output::Exchange(Distribution::Gather { ordered }));
        reading(from, schema, stage, share, 1, bytes)
    }

    /// What a node may give.
    fn estimate(&self, node: NodeIndex) -> Estimate {
        self.estimates.get(node.index()).copied().unwrap_or_default()
    }

    /// How many buckets so many bytes go to.
    fn buckets(&self, bytes: u64) -> u32 {
        let wanted = bytes.div_ceil(self.sizes.bucket_bytes.max(1)).clamp(1, MAX_BUCKETS);
        u32::try_from(wanted).unwrap_or(1)
    }

    /// A pipeline behind an exchange by the hash of some keys, which is its last column.
    fn hashed(
        &mut self,
        node: NodeIndex,
        input: Pipeline,
        keys: &[Expr],
        buckets: u32,
    ) -> Pipeline {
        let bytes = input.bytes;
        let hashed = with_hash(node, input, keys);
        self.exchanged_by_hash(node, hashed, keys, buckets, bytes)
    }

    /// A pipeline whose last column is the hash of some keys, behind an exchange by it.
    fn exchanged_by_hash(
        &mut self,
        node: NodeIndex,
        hashed: Pipeline,
        keys: &[Expr],
        buckets: u32,
        bytes: u64,
    ) -> Pipeline {
        let schema = hashed.schema();
        let text = keys.iter().map(ToString::to_string).collect();
        let distribution = Distribution::Hash { keys: text, buckets };
        let stage = self.close(hashed, Output::Exchange(distribution));
        reading(node, schema, stage, Share::Bucket, buckets, bytes)
    }

    /// Makes a stage of a pipeline.
    fn close(&mut self, pipeline: Pipeline, output: Output) -> StageId {
        // The count of nodes bounds that of stages, and the checker bounds that of nodes.
        let id = StageId(u32::try_from(self.stages.len()).unwrap_or(u32::MAX));
        let Pipeline { steps, partitions, splits, inputs, .. } = pipeline;
        self.stages.push(Stage { id, steps, output, partitions, splits, inputs });
        id
    }
}

/// A pipeline that begins with what other stages put out.
fn reading(
    node: NodeIndex,
    schema: SchemaRef,
    stage: StageId,
    share: Share,
    partitions: u32,
    bytes: u64,
) -> Pipeline {
    Pipeline {
        steps: vec![Step { node, schema, kind: StepKind::Read { stage, share } }],
        partitions,
        splits: Vec::new(),
        inputs: vec![stage],
        bytes,
    }
}

/// A pipeline with the hash of some keys as its last column.
fn with_hash(node: NodeIndex, input: Pipeline, keys: &[Expr]) -> Pipeline {
    let schema = with_hash_column(&input.schema());
    input.then(node, schema, |input| StepKind::Hash { input, keys: keys.to_vec() })
}

fn count(partitions: usize) -> Result<u32> {
    u32::try_from(partitions).map_err(|_| Error::Internal(format!("{partitions} splits")))
}

/// All columns ascending, nulls last: the order of a result that has none of its own.
fn every_column(schema: &Schema) -> Vec<SortKey> {
    (0..schema.fields().len())
        .map(|column| SortKey { column, descending: false, nulls_first: false })
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::{io::Write, path::Path};

    use tempfile::TempDir;

    use super::*;
    use crate::{
        disk::{DataDisks, RealDisk},
        job::check::{Site, check},
    };

    /// The stages of a document over `small.csv` (2 rows) and `large.csv` (4 rows), a line each:
    /// tasks, steps by name, output.
    fn stages(document: &str) -> Vec<String> {
        stages_by(document, Sizes::default())
    }

    pub(super) fn stages_by(document: &str, sizes: Sizes) -> Vec<String> {
        let folder = TempDir::new().unwrap();
        let disk = RealDisk::shared();
        for (name, text) in [("small.csv", "k,v\na,1\n"), ("large.csv", "k,w\na,1\nb,2\nc,3\n")] {
            disk.create(&folder.path().join(name)).unwrap().write_all(text.as_bytes()).unwrap();
        }
        let base_dir = Some(Path::new(folder.path()).to_owned());
        let site = Site { data: DataDisks::everywhere(), base_dir, now_micros: 0 };
        let checked =
            check(document, true, &site).unwrap_or_else(|problems| panic!("{problems:?}"));
        // As a worker is told of them.
        let sent = |stage: &Stage| -> Stage {
            serde_json::from_str(&serde_json::to_string(stage).unwrap()).unwrap()
        };
        let plan = cut_by(checked.plan, &disk, sizes).unwrap();
        plan.stages.iter().map(|stage| shown(&sent(stage))).collect()
    }

    pub(super) fn shown(stage: &Stage) -> String {
        let steps: Vec<_> = stage.steps.iter().map(step).collect();
        let output = match &stage.output {
            Output::Exchange(Distribution::Hash { keys, buckets }) => {
                format!("hash({}) to {buckets}", keys.join(", "))
            }
            Output::Exchange(Distribution::Range { keys, buckets }) => {
                format!("range({}) to {buckets}", keys.join(", "))
            }
            Output::Exchange(Distribution::Forward) => String::from("forward"),
            Output::Exchange(Distribution::Broadcast) => String::from("broadcast"),
            Output::Exchange(Distribution::Gather { ordered }) => format!("gather {ordered}"),
            Output::Sink(sink) => format!("sink {}", sink.id),
        };
        format!("{}x {} -> {output}", stage.partitions, steps.join(", "))
    }

    fn step(step: &Step) -> String {
        match &step.kind {
            StepKind::Source { .. } => String::from("source"),
            StepKind::Read { stage, share } => match share {
                Share::Bucket => format!("bucket of {stage}"),
                Share::Partition => format!("partition of {stage}"),
                Share::Section { first, .. } => format!("section {first} of {stage}"),
                Share::Neighbours { .. } => format!("neighbours of {stage}"),
                Share::All => format!("all of {stage}"),
                Share::Buckets { .. } => format!("all buckets of {stage}"),
                Share::Merged { .. } => format!("merge of {stage}"),
            },
            StepKind::Map { .. } => String::from("map"),
            StepKind::Sleep { .. } => String::from("sleep"),
            StepKind::Filter { .. } => String::from("filter"),
            StepKind::Tokenize { .. } => String::from("tokenize"),
            StepKind::Hash { .. } => String::from("hash"),
            StepKind::KeyFilter { build, .. } => format!("keys of {}", build.0),
            StepKind::PartialReduce { .. } => String::from("partial"),
            StepKind::FinalReduce { .. } => String::from("final"),
            StepKind::Join { probe, build, rows, .. } => {
                format!("join {} with {} {rows:?}", probe.0, build.0)
            }
            StepKind::Union { .. } => String::from("union"),
            StepKind::Explode { .. } => String::from("explode"),
            StepKind::Split { .. } => String::from("split"),
            StepKind::Unpivot { .. } => String::from("unpivot"),
            StepKind::Sample { .. } => String::from("sample"),
            StepKind::Spread { .. } => String::from("spread"),
            StepKind::SampleKeys { .. } => String::from("sample keys"),
            StepKind::Range { .. } => String::from("range"),
            StepKind::Expect { .. } => String::from("expect"),
            StepKind::Sort { .. } => String::from("sort"),
            StepKind::Limit { .. } => String::from("limit"),
            StepKind::Window { .. } => String::from("window"),
            StepKind::FirstRows { .. } => String::from("first rows"),
        }
    }

    #[test]
    fn narrow_nodes_fuse_and_an_aggregation_is_cut_at_its_exchange() {
        let found = stages(
            r#"{"dag": {"nodes": [
                {"id": "r", "op": "read_csv", "path": "large.csv", "partitions": 4},
                {"id": "t", "op": "flat_map", "fn": "tokenize"},
                {"id": "m", "op": "map", "fn": "to_lower"},
                {"id": "a", "op": "reduce_by_key", "key": "token", "fn": "sum"}],
              "edges": [["r", "t"], ["t", "m"], ["m", "a"]]}}"#,
        );
        assert_eq!(
            found,
            [
                "4x source, tokenize, map, partial -> hash(token) to 1",
                "1x bucket of 0, final, sort -> sink a"
            ]
        );
    }

    #[test]
    fn a_sort_merges_sorted_partitions_and_a_limit_cuts_each_first() {
        let found = stages(
            r#"{"dag": {"nodes": [
                {"id": "r", "op": "read_csv", "path": "large.csv", "header": true, "partitions": 3},
                {"id": "s", "op": "sort", "by": ["k desc"]},
                {"id": "l", "op": "limit", "n": 2}],
              "edges": [["r", "s"], ["r", "l"]]}}"#,
        );
        assert_eq!(
            found,
            [
                "3x source -> forward",
                "3x partition of 0, sort -> gather true",
                "1x merge of 1 -> sink s",
                "3x partition of 0, limit -> gather false",
                "1x all of 3, limit -> sink l"
            ]
        );
    }

    #[test]
    fn rows_without_order_are_dealt_by_what_is_in_them() {
        let dealt = |op: &str| {
            stages(&format!(
                r#"{{"dag": {{"nodes": [
                    {{"id": "r", "op": "read_csv", "path": "large.csv", "header": true}},
                    {{"id": "a", "op": "{op}"}},
                    {{"id": "p", "op": "repartition", "partitions": 2}},
                    {{"id": "w", "op": "write_csv", "path": "out"}}],
                  "edges": [["r", "a"], ["a", "p"], ["p", "w"]]}}}}"#
            ))
            .join("; ")
        };
        // A task that runs again has the rows of a file in the same sequence, those of groups not.
        assert!(dealt("cache").contains("spread -> hash() to 2"), "{}", dealt("cache"));
        assert!(dealt("distinct").contains("-> hash(k, w) to 2"), "{}", dealt("distinct"));
    }

    #[test]
    fn a_chain_of_a_thousand_nodes_is_cut_into_stages_that_a_stack_can_hold() {
        let map = |n| format!(r#"{{"id": "m{n}", "op": "map", "fn": "identity"}}"#);
        let edge = |n| format!(r#"["m{n}", "m{}"]"#, n + 1);
        let maps: Vec<_> = (0..999).map(map).collect();
        let edges: Vec<_> = (0..998).map(edge).collect();
        let found = stages(&format!(
            r#"{{"dag": {{"nodes": [{{"id": "r", "op": "read_text", "path": "small.csv"}}, {}],
              "edges": [["r", "m0"], {}]}}}}"#,
            maps.join(","),
            edges.join(",")
        ));
        assert_eq!(found.len(), 11);
        assert!(found.iter().all(|stage| stage.matches(',').count() < MAX_STEPS));
        assert!(found[9].ends_with("-> forward") && found[10].ends_with("-> sink m998"));
    }

    fn joined(how: &str, sizes: Sizes) -> Vec<String> {
        let document = format!(
            r#"{{"dag": {{"nodes": [
                {{"id": "a", "op": "read_csv", "path": "small.csv", "header": true}},
                {{"id": "b", "op": "read_csv", "path": "large.csv", "header": true}},
                {{"id": "j", "op": "join", {how}}},
                {{"id": "w", "op": "write_csv", "path": "out"}}],
              "edges": [["a", "j"], ["b", "j"], ["j", "w"]]}}}}"#
        );
        stages_by(&document, sizes)
    }

    #[test]
    fn a_small_side_goes_to_every_task_of_the_other() {
        let found = |how: &str| joined(&format!(r#""key": "k", "how": "{how}""#), Sizes::default());
        let pairs = |lonely_probe| {
            format!("Pairs {{ lonely_probe: {lonely_probe}, lonely_build: false }} -> sink w")
        };
        assert_eq!(found("inner")[0], "1x source, map -> broadcast");
        let inner = "1x source, all of 0, join 0 with 1 ";
        assert_eq!(found("inner")[1], format!("{inner}{}", pairs(false)));
        // The left side is the smaller one; the right one is held where the left one's rows must
        // be known to have no partner.
        assert_eq!(found("right")[1], format!("{inner}{}", pairs(true)));
        assert_eq!(found("left")[1], format!("{inner}{}", pairs(true)));
        assert_eq!(found("semi")[1], format!("{inner}ProbeWith -> sink w"));
        let anti = format!("{inner}ProbeWithout {{ null_aware: false }} -> sink w");
        assert_eq!(found("anti")[1], anti);
    }

    #[test]
    fn large_sides_both_go_by_key_and_the_smaller_one_is_held() {
        let sizes = Sizes { broadcast_bytes: 0, bucket_bytes: 100, ..Sizes::default() };
        let found = |how: &str| joined(&format!(r#""key": "k", "how": "{how}""#), sizes);
        let pairs = |lonely_probe, lonely_build| {
            format!("Pairs {{ lonely_probe: {lonely_probe}, lonely_build: {lonely_build} }}")
        };
        assert_eq!(found("inner")[0], "1x source, hash -> hash(k) to 2");
        // The first step of the last stage is the probe side; stage 0 is the one that is closed
        // first, the probe side's.
        let last =
            |rows: &str| format!("2x bucket of 0, bucket of 1, join 0 with 1 {rows} -> sink w");
        assert_eq!(found("inner")[2], last(&pairs(false, false)));
        assert_eq!(found("left")[2], last(&pairs(false, true)));
        assert_eq!(found("right")[2], last(&pairs(true, false)));
        assert_eq!(found("full")[2], last(&pairs(true, true)));
        assert_eq!(found("semi")[2], last("BuildWith"));
        assert_eq!(found("anti")[2], last("BuildWithout"));
    }

    #[test]
    fn the_smaller_sides_keys_are_tested_before_the_larger_one_moves() {
        let sizes = Sizes {
            broadcast_bytes: 0,
            bucket_bytes: 100,
            filter_factor: Some(0),
            ..Sizes::default()
        };
        for how in ["inner", "semi", "anti"] {
            let found = joined(&format!(r#""key": "k", "how": "{how}""#), sizes);
            assert_eq!(found[0], "1x source, hash -> hash(k) to 2", "{how}");
            let tested = "1x source, hash, all buckets of 0, keys of 2 -> hash(k) to 2";
            assert_eq!(found[1], tested, "{how}");
        }
        // Rows without a partner come out.
        let full = joined(r#""key": "k", "how": "full""#, sizes);
        assert!(full.iter().all(|stage| !stage.contains("keys of")), "{full:?}");
    }

    #[test]
    fn without_keys_one_side_goes_to_every_task_whatever_its_size() {
        let sizes = Sizes { broadcast_bytes: 0, bucket_bytes: 10, ..Sizes::default() };
        let cross = joined(r#""how": "cross""#, sizes);
        assert_eq!(cross[0], "1x source, map -> broadcast");
        let full = joined(r#""on": "v < w", "how": "full""#, sizes);
        assert_eq!(full[0], "1x source, hash -> hash() to 1");
    }

    #[test]
    fn a_union_has_a_task_for_each_task_of_its_inputs() {
        let found = stages(
            r#"{"dag": {"nodes": [
                {"id": "a", "op": "read_csv", "path": "large.csv", "header": true, "partitions": 3},
                {"id": "m", "op": "map", "fn": "identity"},
                {"id": "u", "op": "union"},
                {"id": "w", "op": "write_csv", "path": "out"}],
              "edges": [["a", "m"], ["a", "u"], ["m", "u"], ["a", "u"], ["u", "w"]]}}"#,
        );
        assert_eq!(
            found,
            [
                "3x source -> forward",
                "3x partition of 0, map -> forward",
                "9x section 0 of 0, section 3 of 1, section 6 of 0, union -> sink w"
            ]
        );
    }

    #[test]
    fn rows_are_spread_by_turns_and_a_cache_is_a_stage() {
        let found = stages(
            r#"{"dag": {"nodes": [
                {"id": "a", "op": "read_csv", "path": "large.csv", "header": true},
                {"id": "c", "op": "cache"},
                {"id": "r", "op": "repartition", "partitions": 5},
                {"id": "w", "op": "write_csv", "path": "out"}],
              "edges": [["a", "c"], ["c", "r"], ["r", "w"]]}}"#,
        );
        assert_eq!(
            found,
            [
                "1x source, map -> forward",
                "1x partition of 0, spread -> hash() to 5",
                "5x bucket of 1, map -> sink w"
            ]
        );
    }

    #[test]
    fn an_expectation_of_all_rows_stands_before_the_first_of_them() {
        let found = stages(
            r#"{"dag": {"nodes": [
                {"id": "a", "op": "read_csv", "path": "small.csv", "header": true},
                {"id": "e", "op": "expect", "unique": ["k"], "not_null": "v"},
                {"id": "w", "op": "write_csv", "path": "out"}],
              "edges": [["a", "e"], ["e", "w"]]}}"#,
        );
        assert_eq!(
            found,
            [
                "1x source -> forward",
                "1x partition of 0, filter, partial, final, filter, map -> broadcast",
                "1x partition of 0, all of 1, expect -> sink w"
            ]
        );
    }
}
