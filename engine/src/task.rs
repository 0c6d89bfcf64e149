//! A task: source → operators → exchange or sink, on one thread.
//!
//! [`run`] is the one place where a [`Step`](crate::plan::Step) becomes an operator.

use std::{
    any::Any,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    exchange::{self, MapOutput, store::Held},
    expr::Predicate,
    id::{StageId, TaskAttempt},
    operators::{
        Operator,
        expect::Expect,
        explode::{Explode, Split as SplitText},
        filter::Filter,
        first_rows::{FirstRows, Wanted},
        flat_map::Tokenize,
        hash::Hash,
        join::{Join, JoinInput, key_filter::KeyFilter, shared::BuildKey},
        limit::Limit,
        map::Map,
        range::{Range, SampleKeys},
        reduce_by_key::{FinalReduce, PartialReduce},
        sample::Sample,
        sleep::Sleep,
        sort::Sort,
        spread::Spread,
        union::Union,
        unpivot::Unpivot,
        window::{Functions, Window},
    },
    plan::{
        Distribution, NodeIndex, Output, Scan, Share, Stage, Step, StepIndex, StepKind,
        filtered::{Filtered, filtered_sources},
    },
    sink::{self, shared::SharedFolder},
    source::{
        self,
        columnar::condition::parts,
        quarantine::Quarantine,
        runtime_filter::{RuntimeFilter, Tested, Told},
        split::Split,
    },
    task::{
        context::TaskContext,
        limits::Limits,
        metrics::{Meter, Observed, RowCounter, StepFigures},
    },
};

pub mod context;
pub mod limits;
pub mod metrics;

/// The stack of a thread that runs tasks, in bytes: room for the longest stage, whose steps pull
/// one another. Only what is used becomes memory.
pub const STACK_BYTES: usize = 32 << 20;

/// All that an attempt needs, as it is sent to a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    /// Which.
    pub attempt: TaskAttempt,
    /// What is done.
    pub stage: Arc<Stage>,
    /// The split of its source, where it has one.
    pub split: Option<Split>,
    /// The map outputs that it reads, by stage and then by map task.
    pub inputs: Vec<MapOutput>,
    /// Where a sink's rows go.
    pub result: ResultPlace,
    /// What its job may take of the process.
    #[serde(default, skip_serializing_if = "Limits::are_absent")]
    pub limits: Limits,
    /// Whether its steps are measured.
    #[serde(default)]
    pub is_measured: bool,
}

/// Where a sink stage's task leaves its rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResultPlace {
    /// In the partition store, as bucket 0: the master pulls them.
    Store,
    /// In an attempt file of the sink's format below this folder.
    Folder(PathBuf),
    /// In an attempt file in this folder, with a typed copy of a text sink, where the process has
    /// the folder; otherwise in the store.
    Shared(SharedFolder),
}

/// What a successful attempt counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskReport {
    /// Rows of each node that the stage works for.
    pub nodes: Vec<NodeRows>,
    /// Rows that left the task.
    pub rows: u64,
    /// Bytes that left the task.
    pub bytes: u64,
    /// Bytes spilled on the way.
    pub spilled_bytes: u64,
    /// Bytes of the split that were read; 0 where only other tasks' outputs are.
    #[serde(default)]
    pub read_bytes: u64,
    /// Time from start to end, in milliseconds.
    pub elapsed_ms: u64,
    /// The attempt's files, where the result went to a folder.
    #[serde(default)]
    pub parts: Option<Vec<Part>>,
    /// Bad rows that are kept beside the output, as that of [`TaskAttempt::rejects`].
    #[serde(default)]
    pub kept_bad_rows: u64,
    /// The first bad row, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_bad_row: Option<String>,
    /// What its steps did, in the stage's order; empty where they were not measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepFigures>,
}

/// Rows that went into and came out of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRows {
    /// Which.
    pub node: NodeIndex,
    /// Rows in; of a reader: records decoded, bad ones too.
    pub rows_in: u64,
    /// Rows out.
    pub rows_out: u64,
    /// Rows that a condition left out.
    #[serde(default)]
    pub filtered: u64,
    /// Bad rows, put aside or skipped.
    #[serde(default)]
    pub quarantined: u64,
}

impl NodeRows {
    /// Those of a node that has had none.
    pub fn none(node: NodeIndex) -> Self {
        Self { node, rows_in: 0, rows_out: 0, filtered: 0, quarantined: 0 }
    }

    /// Adds what was counted elsewhere, or takes it back.
    pub fn count(&mut self, counted: &Self, apply: fn(u64, u64) -> u64) {
        self.rows_in = apply(self.rows_in, counted.rows_in);
        self.rows_out = apply(self.rows_out, counted.rows_out);
        self.filtered = apply(self.filtered, counted.filtered);
        self.quarantined = apply(self.quarantined, counted.quarantined);
    }
}

/// An encoded file of a sink that is not published yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Where it is.
    pub path: PathBuf,
    /// The folder below the target where it belongs, as `column=value/…`; empty for none.
    #[serde(default)]
    pub folder: String,
    /// Its rows.
    pub rows: u64,
    /// Its bytes.
    pub bytes: u64,
    /// `xxh3-128:<hex>` of its bytes.
    pub checksum: String,
    /// The sum of its rows' hashes, independent of their order.
    pub content_checksum: u64,
}

/// Runs an attempt to its end on the calling thread.
///
/// A panic is contained. Whatever happens, the attempt's scratch folder is gone afterwards, and
/// of a failed attempt nothing is left in the store. It has a share of `context`'s budget. `progress` counts the rows read so far, of the
/// split and of other tasks' outputs.
///
/// - Units: the report's `elapsed_ms` is left 0; whoever has a clock fills it in.
///
/// # Errors
/// What the attempt ended with; [`Error::Panicked`] for a panic.
pub fn run(task: &Task, context: &TaskContext, progress: &RowCounter) -> Result<TaskReport> {
    let share = context.budget.task();
    let context = &TaskContext { budget: share.budget().clone(), ..context.clone() };
    let work = || execute(task, context, progress);
    let outcome = catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(Error::Panicked { message: panic_text(&*panic) }));
    if outcome.is_err() {
        context.store.drop_attempt(task.attempt);
    }
    if let Err(source) = context.disk.remove_dir_all(&context.scratch) {
        let error = Error::io("remove", &context.scratch)(source);
        tracing::warn!(attempt = %task.attempt, error = %error.chain(), "spill files are left");
    }
    outcome
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    text.or(owned).unwrap_or("without a message").to_owned()
}

fn execute(task: &Task, context: &TaskContext, progress: &RowCounter) -> Result<TaskReport> {
    task.stage.verify()?;
    let mut builder = Builder {
        task,
        context,
        progress,
        rows: BTreeMap::new(),
        told: BTreeMap::new(),
        meters: BTreeMap::new(),
        counters: BTreeMap::new(),
        sieves: Vec::new(),
        quarantine: Quarantine::new(task.attempt, context),
    };
    let (root, root_rows) = builder.step(StepIndex(task.stage.steps.len() - 1))?;
    let Builder { mut rows, meters, counters, sieves, quarantine, .. } = builder;
    let schema = &task.stage.root().schema;
    let keep = |input, distribution: &Distribution| {
        exchange::write::write(input, schema, distribution, task.attempt, context)
    };
    let mut report = match (&task.stage.output, &task.result) {
        (Output::Exchange(distribution), _) => kept(&keep(root, distribution)?),
        (Output::Sink(sink), ResultPlace::Folder(folder)) => {
            let path = sink::attempt_file(folder, sink, task.attempt);
            let outputs = &*context.data.outputs;
            written(sink::write_part(sink, root, &path, outputs, &context.cancel)?)
        }
        (Output::Sink(sink), ResultPlace::Shared(shared))
            if shared.is_ours(&*context.data.outputs) =>
        {
            let (path, typed) = shared.paths(sink, task.attempt);
            let (outputs, cancel) = (&*context.data.outputs, &context.cancel);
            written(sink::write_parts(sink, root, &path, typed.as_deref(), outputs, cancel)?)
        }
        (Output::Sink(_), ResultPlace::Store | ResultPlace::Shared(_)) => {
            kept(&keep(root, &Distribution::Forward)?)
        }
    };
    match &task.stage.output {
        Output::Exchange(Distribution::Forward) => {
            left(&mut rows, task.stage.root().node, root_rows);
        }
        Output::Sink(sink) => {
            let last = task.stage.root();
            if sink.node != last.node {
                if !last.reads_kept_rows() {
                    left(&mut rows, last.node, root_rows.clone());
                }
                entered(&mut rows, sink.node, root_rows.clone());
            }
            left(&mut rows, sink.node, root_rows);
        }
        Output::Exchange(
            Distribution::Hash { .. }
            | Distribution::Range { .. }
            | Distribution::Broadcast
            | Distribution::Gather { .. },
        ) => {}
    }
    let rejected = quarantine.finish()?;
    report.steps = meters.values().map(|(meter, given)| meter.figures(given.rows())).collect();
    report.nodes = rows.into_iter().map(|(node, crossings)| crossings.total(node)).collect();
    for sieve in &sieves {
        let node = task.stage.steps[sieve.step.0].node;
        let bad = rejected.nodes.get(&node).copied().unwrap_or_default();
        sieve.verify(&counters, bad).map_err(|what| {
            Error::Internal(format!(
                "rows of node {} don't add up in {}: {what}",
                node.0, task.attempt
            ))
        })?;
        if let Some(total) = report.nodes.iter_mut().find(|total| total.node == node) {
            total.filtered += sieve.dropped.rows();
        }
    }
    for (node, bad) in &rejected.nodes {
        if let Some(total) = report.nodes.iter_mut().find(|total| total.node == *node) {
            total.quarantined += bad;
        }
    }
    report.kept_bad_rows = rejected.kept;
    report.first_bad_row = rejected.first;
    report.spilled_bytes = context.spilled_bytes.load(Ordering::Relaxed);
    report.read_bytes = context.read_bytes.load(Ordering::Relaxed);
    Ok(report)
}

fn written(parts: Vec<Part>) -> TaskReport {
    TaskReport {
        rows: parts.iter().map(|part| part.rows).sum(),
        bytes: parts.iter().map(|part| part.bytes).sum(),
        parts: Some(parts),
        ..TaskReport::default()
    }
}

fn kept(held: &Held) -> TaskReport {
    TaskReport { rows: held.rows, bytes: held.bytes, ..TaskReport::default() }
}

/// The counters of the steps through which rows enter and leave a node.
#[derive(Default)]
struct Crossings {
    entered: Vec<RowCounter>,
    left: Vec<RowCounter>,
}

impl Crossings {
    fn total(&self, node: NodeIndex) -> NodeRows {
        let sum = |counters: &[RowCounter]| counters.iter().map(RowCounter::rows).sum();
        NodeRows { rows_in: sum(&self.entered), rows_out: sum(&self.left), ..NodeRows::none(node) }
    }
}

fn entered(rows: &mut BTreeMap<NodeIndex, Crossings>, node: NodeIndex, counter: RowCounter) {
    rows.entry(node).or_default().entered.push(counter);
}

fn left(rows: &mut BTreeMap<NodeIndex, Crossings>, node: NodeIndex, counter: RowCounter) {
    rows.entry(node).or_default().left.push(counter);
}

/// A step that leaves rows out, whose rows must add up.
struct Sieve {
    step: StepIndex,
    /// Counts what comes in.
    taken: Taken,
    /// Counts what a condition leaves out.
    dropped: RowCounter,
}

/// What comes into a [`Sieve`].
enum Taken {
    /// Records of a split.
    Records(RowCounter),
    /// The rows of a step.
    Rows(StepIndex),
    /// The rows of a step, of which bad ones are put aside.
    Checked(StepIndex),
}

impl Sieve {
    /// Whether rows in are rows out, dropped ones and bad ones.
    ///
    /// # Errors
    /// The sums.
    fn verify(&self, counters: &BTreeMap<StepIndex, RowCounter>, bad: u64) -> Result<(), String> {
        let rows_of = |step: &StepIndex| counters.get(step).map_or(0, RowCounter::rows);
        let taken = match &self.taken {
            Taken::Records(records) => records.rows(),
            Taken::Rows(step) | Taken::Checked(step) => rows_of(step),
        };
        let bad = if matches!(self.taken, Taken::Rows(_)) { 0 } else { bad };
        let (given, dropped) = (rows_of(&self.step), self.dropped.rows());
        let adds_up = taken == given + dropped + bad;
        adds_up
            .then_some(())
            .ok_or_else(|| format!("{taken} in, {given} out, {dropped} filtered, {bad} bad"))
    }
}

struct Builder<'a> {
    task: &'a Task,
    context: &'a TaskContext,
    progress: &'a RowCounter,
    rows: BTreeMap<NodeIndex, Crossings>,
    /// Counts the rows that each step gives.
    counters: BTreeMap<StepIndex, RowCounter>,
    sieves: Vec<Sieve>,
    quarantine: Quarantine,
    /// What each source and the steps above it tell one another.
    told: BTreeMap<StepIndex, Told>,
    /// Of each step that is measured, in their order.
    meters: BTreeMap<StepIndex, (Meter, RowCounter)>,
}

impl Builder<'_> {
    /// The operator of a step on top of those below it, with the counter of the rows it gives.
    fn step(&mut self, index: StepIndex) -> Result<(Box<dyn Operator>, RowCounter)> {
        let step = &self.task.stage.steps[index.0];
        let input = self.operator(index, step)?;
        let counter = RowCounter::default();
        self.counters.insert(index, counter.clone());
        // Who samples keys reads rows that are read, and counted, once more.
        let is_sample = matches!(self.task.stage.root().kind, StepKind::SampleKeys { .. });
        if matches!(step.kind, StepKind::Source { .. }) && !is_sample {
            let sieve = self.sieves.iter().find(|sieve| sieve.step == index);
            let records = match sieve.map(|sieve| &sieve.taken) {
                Some(Taken::Records(records)) => records.clone(),
                Some(Taken::Rows(_) | Taken::Checked(_)) | None => counter.clone(),
            };
            entered(&mut self.rows, step.node, records);
        }
        let is_input = matches!(step.kind, StepKind::Source { .. } | StepKind::Read { .. });
        let progress = is_input.then(|| self.progress.clone());
        let cancel = self.context.cancel.clone();
        let meter = self.task.is_measured.then(|| Meter::new(&self.context.spilled_bytes));
        if let Some(meter) = &meter {
            self.meters.insert(index, (meter.clone(), counter.clone()));
        }
        let observed = Observed { input, counter: counter.clone(), progress, cancel, meter };
        Ok((Box::new(observed), counter))
    }

    /// The operator below a step of `node`; rows that come from another node are counted for both.
    fn input(&mut self, node: NodeIndex, index: StepIndex) -> Result<Box<dyn Operator>> {
        let (operator, counter) = self.step(index)?;
        let below = &self.task.stage.steps[index.0];
        if below.node != node {
            if !below.reads_kept_rows() {
                left(&mut self.rows, below.node, counter.clone());
            }
            entered(&mut self.rows, node, counter);
        }
        Ok(operator)
    }

    /// The one place where a step becomes an operator.
    fn operator(&mut self, index: StepIndex, step: &Step) -> Result<Box<dyn Operator>> {
        let context = self.context;
        let schema = Arc::clone(&step.schema);
        Ok(match &step.kind {
            StepKind::Source { format, scan } => {
                let missing = || Error::Internal(format!("{} has no split", self.task.attempt));
                let split = self.task.split.as_ref().ok_or_else(missing)?;
                let gate = self.quarantine.gate(step.node, format.intake().on_bad_row);
                let told = self.told.remove(&index).unwrap_or_default();
                let opened = source::open(split, format, scan, schema, (gate, told), context)?;
                if let Some(records) = opened.records {
                    let (taken, dropped) = (Taken::Records(records), RowCounter::default());
                    self.sieves.push(Sieve { step: index, taken, dropped });
                }
                opened.rows
            }
            StepKind::Read { stage, share } => {
                let outputs = self.outputs_of(*stage);
                let partition = self.task.attempt.task.partition;
                exchange::read::read(&outputs, share, partition, &schema, context)?
            }
            StepKind::Map { input, columns } => {
                let input = self.input(step.node, *input)?;
                Box::new(Map { input, columns: columns.clone(), schema })
            }
            StepKind::Sleep { input, row_ms } => {
                let input = self.input(step.node, *input)?;
                Box::new(Sleep::new(input, *row_ms, context.cancel.clone()))
            }
            StepKind::Filter { input, predicate } => {
                let (taken, dropped) = (Taken::Rows(*input), RowCounter::default());
                self.sieves.push(Sieve { step: index, taken, dropped: dropped.clone() });
                let tested = self.tested(*input, predicate);
                let input = self.input(step.node, *input)?;
                Box::new(Filter { input, predicate: predicate.clone(), dropped, tested })
            }
            StepKind::Tokenize { input, columns, lower } => {
                let input = self.input(step.node, *input)?;
                Box::new(Tokenize::new(input, columns.clone(), schema).lowered(*lower))
            }
            StepKind::Hash { input, keys } => {
                let input = self.input(step.node, *input)?;
                Box::new(Hash::new(input, keys.clone(), schema))
            }
            StepKind::PartialReduce { input, keys, aggregates } => {
                let input = self.input(step.node, *input)?;
                let (keys, aggregates) = (keys.clone(), aggregates.clone());
                let partition = self.task.attempt.task.partition;
                let is_last = index.0 + 1 == self.task.stage.steps.len();
                let buckets = match &self.task.stage.output {
                    Output::Exchange(to) if is_last => to.buckets(),
                    _ => 1,
                };
                let reduce = PartialReduce::new(input, keys, aggregates, schema, context);
                Box::new(reduce.of_partition(partition).for_buckets(buckets))
            }
            StepKind::FinalReduce { input, keys, aggregates } => {
                let input = self.input(step.node, *input)?;
                Box::new(FinalReduce::new(input, *keys, aggregates.clone(), schema, context))
            }
            StepKind::Join { .. } => self.join(index, step)?,
            StepKind::KeyFilter { input, build } => {
                let stage = Arc::clone(&self.task.stage);
                let task = self.task.attempt.task;
                let key = BuildKey { job: task.job, stage: task.stage, step: *build };
                let filter = self.filters_of(index).pop().map(|(_, filter)| filter);
                let build = self.input(step.node, *build)?;
                let input = self.input(step.node, *input)?;
                Box::new(KeyFilter::new(input, build, (key, stage.partitions), filter, context))
            }
            StepKind::Union { inputs } => {
                let inputs = inputs.iter().map(|input| self.input(step.node, *input));
                Box::new(Union::new(inputs.collect::<Result<_>>()?, schema))
            }
            StepKind::Explode { input, column, outer } => {
                let input = self.input(step.node, *input)?;
                Box::new(Explode::new(input, *column, *outer, schema))
            }
            StepKind::Split { input, column, by, outer } => {
                let input = self.input(step.node, *input)?;
                Box::new(SplitText::new(input, *column, by.clone(), *outer, schema))
            }
            StepKind::Unpivot { input, keep, values } => {
                let input = self.input(step.node, *input)?;
                Box::new(Unpivot::new(input, keep.clone(), values.clone(), schema))
            }
            StepKind::Sample { input, threshold, seed } => {
                let (taken, dropped) = (Taken::Rows(*input), RowCounter::default());
                self.sieves.push(Sieve { step: index, taken, dropped: dropped.clone() });
                let input = self.input(step.node, *input)?;
                Box::new(Sample { input, threshold: *threshold, seed: *seed, dropped })
            }
            StepKind::Spread { input, buckets } => {
                let input = self.input(step.node, *input)?;
                let first = self.task.attempt.task.partition;
                Box::new(Spread::new(input, *buckets, first, schema))
            }
            StepKind::SampleKeys { input: below, keys, rows, in_order } => {
                let below_schema = Arc::clone(&self.task.stage.steps[below.0].schema);
                let input = self.input(step.node, *below)?;
                Box::new(SampleKeys::new(
                    input,
                    keys.clone(),
                    *rows,
                    *in_order,
                    below_schema,
                    schema,
                ))
            }
            StepKind::Range { input, sample, keys, buckets } => {
                let input = self.input(step.node, *input)?;
                let sample = self.input(step.node, *sample)?;
                Box::new(Range::new(input, sample, keys, *buckets, schema, context)?)
            }
            StepKind::Expect { input, id, checks, offences, on_fail } => {
                if on_fail.tolerates() {
                    let (taken, dropped) = (Taken::Checked(*input), RowCounter::default());
                    self.sieves.push(Sieve { step: index, taken, dropped });
                }
                let gate = on_fail.tolerates().then(|| self.quarantine.gate(step.node, *on_fail));
                let input = self.input(step.node, *input)?;
                let offences = offences.iter().map(|(offending, check)| {
                    Ok((self.input(step.node, *offending)?, check.clone()))
                });
                let offences = offences.collect::<Result<_>>()?;
                Box::new(Expect { node: id.clone(), input, checks: checks.clone(), offences, gate })
            }
            StepKind::Sort { input, keys, limit } => {
                let input = self.input(step.node, *input)?;
                Box::new(Sort::new(input, keys.clone(), *limit, schema, context))
            }
            StepKind::Window { input: below, columns, partition_by, order_by, functions } => {
                let input_schema = Arc::clone(&self.task.stage.steps[below.0].schema);
                let input = self.input(step.node, *below)?;
                let functions = Functions {
                    columns: *columns,
                    partition_by: partition_by.clone(),
                    order_by: order_by.clone(),
                    functions: functions.clone(),
                };
                Box::new(Window::new(input, functions, input_schema, schema, context))
            }
            StepKind::FirstRows { input, partition_by, key, rank, is_hashed } => {
                let (taken, dropped) = (Taken::Rows(*input), RowCounter::default());
                self.sieves.push(Sieve { step: index, taken, dropped: dropped.clone() });
                let input = self.input(step.node, *input)?;
                let of = |column: &usize| schema.field(*column).data_type().clone();
                let types: Vec<_> = partition_by.iter().map(of).collect();
                let wanted = Wanted {
                    partition_by: partition_by.clone(),
                    key: key.clone(),
                    rank: *rank,
                    is_hashed: *is_hashed,
                };
                let rows = FirstRows::new(input, wanted, &types, context)?;
                Box::new(rows.counting(dropped))
            }
            StepKind::Limit { input, offset, n } => {
                let input = self.input(step.node, *input)?;
                Box::new(Limit::new(input, *offset, *n))
            }
        })
    }

    /// A join; one whose build side is the same for all tasks shares it with those of the process.
    fn join(&mut self, index: StepIndex, step: &Step) -> Result<Box<dyn Operator>> {
        let StepKind::Join {
            probe,
            build,
            probe_keys,
            build_keys,
            is_hashed,
            null_safe,
            condition,
            rows,
            columns,
        } = &step.kind
        else {
            return Err(Error::Internal(String::from("a join's step is another's")));
        };
        let stage = &self.task.stage;
        let build_step = &stage.steps[build.0];
        let task = self.task.attempt.task;
        let is_shared = stage.partitions > 1
            && matches!(build_step.kind, StepKind::Read { share: Share::All, .. });
        let key = BuildKey { job: task.job, stage: task.stage, step: *build };
        let filters = self.filters_of(index);
        let input = JoinInput {
            build_schema: Arc::clone(&build_step.schema),
            shared: is_shared.then_some((key, stage.partitions)),
            probe: self.input(step.node, *probe)?,
            build: self.input(step.node, *build)?,
            probe_keys: probe_keys.clone(),
            build_keys: build_keys.clone(),
            is_hashed: *is_hashed,
            null_safe: *null_safe,
            condition: condition.clone(),
            rows: *rows,
            columns: columns.clone(),
            schema: Arc::clone(&step.schema),
            filters,
        };
        Ok(Box::new(Join::new(input, self.context)))
    }

    /// Where a step leaves the keys of its build side for sources below it, by the key's place.
    fn filters_of(&mut self, index: StepIndex) -> Vec<(usize, RuntimeFilter)> {
        let mut filters = Vec::new();
        for Filtered { key, source, column } in filtered_sources(&self.task.stage.steps, index) {
            let filter = RuntimeFilter::default();
            let told = self.told.entry(source).or_default();
            told.filters.push((column, filter.clone()));
            filters.push((key, filter));
        }
        filters
    }

    /// Where the source that is the step below a filter says that it has tested the predicate.
    fn tested(&mut self, below: StepIndex, predicate: &Predicate) -> Tested {
        match self.task.stage.steps.get(below.0).map(|step| &step.kind) {
            Some(StepKind::Source { scan: Scan { predicate: Some(of_scan), .. }, .. })
                if parts(predicate).iter().all(|part| parts(of_scan).contains(part)) =>
            {
                self.told.entry(below).or_default().tested.clone()
            }
            _ => Tested::default(),
        }
    }

    /// The outputs of one stage among the task's inputs, by map task.
    fn outputs_of(&self, stage: StageId) -> Vec<MapOutput> {
        self.task.inputs.iter().filter(|output| output.map.task.stage == stage).cloned().collect()
    }
}
