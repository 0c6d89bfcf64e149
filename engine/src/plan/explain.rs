//! [`Explanation`]: what a plan will do, with estimates, and what it did, where it was measured.
//!
//! Plain data, which the command line prints and REST answers. It is made of a plan that is laid
//! out; nodes that rules added stand among the document's own.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    disk::Disk,
    expr::parse::type_name,
    id::TaskAttempt,
    plan::{
        Distribution, Order, Output, Plan, Share, Stage, StepKind, Target,
        estimate::{self, Estimate},
        rules::Applied,
    },
    task::{NodeRows, TaskReport},
};

mod describe;

pub use describe::detail;

/// A plan for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The job's name.
    pub name: String,
    /// The logical plan: every node behind its inputs.
    pub nodes: Vec<ExplainedNode>,
    /// What the rules did.
    pub rules: Vec<Applied>,
    /// The physical plan: every stage behind those it reads.
    pub stages: Vec<ExplainedStage>,
}

/// A node of the logical plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainedNode {
    /// Its id in the document; one with a dot was added for the node before the dot.
    pub id: String,
    /// What it does, in a word.
    pub op: String,
    /// What it does, in full.
    pub detail: String,
    /// The ids of its inputs.
    pub inputs: Vec<String>,
    /// Its columns.
    pub columns: Vec<ExplainedColumn>,
    /// The order of its rows: `none`, `source`, or its keys.
    pub order: String,
    /// What it may give.
    pub estimate: Estimate,
    /// What it took and gave, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual: Option<ActualRows>,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedColumn {
    /// Its name.
    pub name: String,
    /// Its type, as documents name it.
    #[serde(rename = "type")]
    pub data_type: String,
}

/// Rows that were counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActualRows {
    /// Rows that went in.
    pub rows_in: u64,
    /// Rows that came out.
    pub rows_out: u64,
}

/// A stage of the physical plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainedStage {
    /// Its number.
    pub id: u32,
    /// How many tasks it has, each for one partition.
    pub tasks: u32,
    /// The stages that it reads.
    pub inputs: Vec<u32>,
    /// How many splits of files it reads.
    pub splits: usize,
    /// What its tasks do, from the sources on.
    pub steps: Vec<ExplainedStep>,
    /// What becomes of its rows.
    pub output: String,
    /// The most memory that a task may want, in bytes; more than the budget is spilled.
    pub memory_bytes: u64,
    /// What was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual: Option<ActualStage>,
}

/// A step of a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainedStep {
    /// Whose work it is.
    pub node: String,
    /// What it does.
    pub what: String,
    /// The steps of the stage whose rows it takes, by number.
    pub inputs: Vec<usize>,
    /// What was measured, over all tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual: Option<ActualStep>,
}

/// What a step did, over all tasks of its stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActualStep {
    /// Rows that it gave.
    pub rows: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Record batches that it gave.
    pub batches: u64,
    /// Time in it, without that of its inputs, in microseconds.
    pub micros: u64,
    /// Bytes that it spilled.
    pub spilled_bytes: u64,
}

/// What a stage did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ActualStage {
    /// Rows that left it.
    pub rows: u64,
    /// Bytes that left it.
    pub bytes: u64,
    /// Bytes that it read of files.
    pub read_bytes: u64,
    /// Bytes that it spilled.
    pub spilled_bytes: u64,
    /// Time of all its tasks, in milliseconds.
    pub elapsed_ms: u64,
    /// The rows of its largest partition by those of its mean one; 1 where all are equal.
    pub skew: f64,
    /// Each task.
    pub partitions: Vec<ActualPartition>,
}

/// What a task did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActualPartition {
    /// Its partition.
    pub partition: u32,
    /// Rows that left it.
    pub rows: u64,
    /// Bytes that left it.
    pub bytes: u64,
    /// Bytes that it spilled.
    pub spilled_bytes: u64,
    /// From its start to its end, in milliseconds.
    pub elapsed_ms: u64,
}

/// Explains a plan that is laid out.
pub fn explain(plan: &Plan, disk: &Arc<dyn Disk>) -> Explanation {
    let estimates = estimate::of(&plan.nodes, disk);
    let nodes = plan.nodes.iter().zip(&estimates).map(|(node, estimate)| ExplainedNode {
        id: node.id.clone(),
        op: String::from(node.op.name()),
        detail: detail(plan, node),
        inputs: node.inputs.iter().map(|input| plan.nodes[input.index()].id.clone()).collect(),
        columns: (node.schema.fields().iter())
            .map(|field| ExplainedColumn {
                name: field.name().clone(),
                data_type: type_name(field.data_type()),
            })
            .collect(),
        order: order(&node.order, &node.schema),
        estimate: *estimate,
        actual: None,
    });
    let stages = plan.stages.iter().map(|stage| ExplainedStage {
        id: stage.id.0,
        tasks: stage.partitions,
        inputs: stage.inputs.iter().map(|input| input.0).collect(),
        splits: stage.splits.len(),
        steps: (stage.steps.iter())
            .map(|step| ExplainedStep {
                node: plan.nodes[step.node.index()].id.clone(),
                what: describe::step(step, stage),
                inputs: step.inputs().iter().map(|input| input.0).collect(),
                actual: None,
            })
            .collect(),
        output: output(&stage.output),
        memory_bytes: memory_bytes(stage, &estimates),
        actual: None,
    });
    Explanation {
        name: plan.name.clone(),
        nodes: nodes.collect(),
        rules: plan.rules.clone(),
        stages: stages.collect(),
    }
}

impl Explanation {
    /// Adds what a run did: the rows of each node, in the plan's order, and its tasks' reports.
    pub fn measured(&mut self, rows: &[NodeRows], reports: &[(TaskAttempt, TaskReport)]) {
        for (node, counted) in self.nodes.iter_mut().zip(rows) {
            let (rows_in, rows_out) = (counted.rows_in, counted.rows_out);
            node.actual = Some(ActualRows { rows_in, rows_out });
        }
        for (attempt, report) in reports {
            if let Some(stage) = self.stages.get_mut(attempt.task.stage.index()) {
                stage.add(attempt.task.partition, report);
            }
        }
        for stage in &mut self.stages {
            stage.settle();
        }
    }
}

impl ExplainedStage {
    fn add(&mut self, partition: u32, report: &TaskReport) {
        let actual = self.actual.get_or_insert_default();
        actual.rows += report.rows;
        actual.bytes += report.bytes;
        actual.read_bytes += report.read_bytes;
        actual.spilled_bytes += report.spilled_bytes;
        actual.elapsed_ms += report.elapsed_ms;
        actual.partitions.push(ActualPartition {
            partition,
            rows: report.rows,
            bytes: report.bytes,
            spilled_bytes: report.spilled_bytes,
            elapsed_ms: report.elapsed_ms,
        });
        for (step, figures) in self.steps.iter_mut().zip(&report.steps) {
            let of_step = step.actual.get_or_insert_default();
            of_step.rows += figures.rows;
            of_step.bytes += figures.bytes;
            of_step.batches += figures.batches;
            of_step.micros += figures.micros;
            of_step.spilled_bytes += figures.spilled_bytes;
        }
    }

    /// Takes from each step what its inputs took, and sees how even the partitions are.
    fn settle(&mut self) {
        let measured: Vec<_> = self.steps.iter().map(|step| step.actual).collect();
        for step in &mut self.steps {
            let Some(actual) = &mut step.actual else { continue };
            for input in step.inputs.iter().filter_map(|input| measured.get(*input)?.as_ref()) {
                actual.micros = actual.micros.saturating_sub(input.micros);
                actual.spilled_bytes = actual.spilled_bytes.saturating_sub(input.spilled_bytes);
            }
        }
        let Some(actual) = &mut self.actual else { return };
        actual.partitions.sort_unstable_by_key(|partition| partition.partition);
        let most = actual.partitions.iter().map(|partition| partition.rows).max().unwrap_or(0);
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        if actual.rows > 0 {
            actual.skew = most as f64 * actual.partitions.len() as f64 / actual.rows as f64;
        }
    }
}

fn order(order: &Order, schema: &arrow::datatypes::Schema) -> String {
    match order {
        Order::None => String::from("none"),
        Order::Source => String::from("source"),
        Order::Sorted(keys) => describe::sort_keys(keys, schema),
    }
}

fn output(output: &Output) -> String {
    match output {
        Output::Exchange(Distribution::Hash { keys, buckets }) => {
            format!("by hash of {} into {buckets} buckets", keys.join(", "))
        }
        Output::Exchange(Distribution::Range { keys, buckets }) => {
            format!("by ranges of {} into {buckets} buckets", keys.join(", "))
        }
        Output::Exchange(Distribution::Forward) => String::from("kept as it is"),
        Output::Exchange(Distribution::Broadcast) => String::from("broadcast to every task"),
        Output::Exchange(Distribution::Gather { ordered: true }) => {
            String::from("gathered, to be merged")
        }
        Output::Exchange(Distribution::Gather { ordered: false }) => String::from("gathered"),
        Output::Sink(sink) => match &sink.target {
            Target::Text => format!("result `{}` as text", sink.id),
            Target::Files(write) => format!("result `{}` in {}", sink.id, write.path.display()),
        },
    }
}

/// The bytes that one task's steps may want to hold: what is sorted, grouped or built.
fn memory_bytes(stage: &Stage, estimates: &[Estimate]) -> u64 {
    let tasks = u64::from(stage.partitions.max(1));
    let held = |step: crate::plan::StepIndex| {
        let below = &stage.steps[step.0];
        let bytes = estimates[below.node.index()].bytes;
        let is_whole = matches!(below.kind, StepKind::Read { share: Share::All, .. });
        if is_whole { bytes } else { bytes.div_ceil(tasks) }
    };
    let of_step = |kind: &StepKind| match kind {
        StepKind::Join { build, .. } => held(*build),
        StepKind::Sort { input, limit: None, .. }
        | StepKind::PartialReduce { input, .. }
        | StepKind::FinalReduce { input, .. } => held(*input),
        _ => 0,
    };
    stage.steps.iter().map(|step| of_step(&step.kind)).sum()
}
