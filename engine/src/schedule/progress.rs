//! How far a job is, finer than by whole tasks.
//!
//! A running task counts by the share of its input that it has read, so that a job of one long task
//! moves too. It stands beside the scheduler: what tasks have read decides nothing.

use crate::{
    id::TaskId,
    plan::{Distribution, Output, Plan},
    task::TaskReport,
};

/// What a running task has read so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Rows, of its split and of other tasks' outputs.
    pub rows: u64,
    /// Bytes of its split.
    pub bytes: u64,
}

/// A running task is never taken for done, whatever it has read.
const MOST_OF_A_TASK: f64 = 0.99;

/// The progress of one job.
///
/// - Units: 0 to 100 percent; less than 100 until the job is completed, which its status tells.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Rows that left each stage, by accepted outputs.
    rows: Vec<u64>,
    highest: f64,
}

impl Progress {
    /// An output was accepted.
    pub fn task_done(&mut self, task: TaskId, report: &TaskReport) {
        let stage = task.stage.index();
        if self.rows.len() <= stage {
            self.rows.resize(stage + 1, 0);
        }
        self.rows[stage] = self.rows[stage].saturating_add(report.rows);
    }

    /// How far the job is with `done` tasks and these running; never less than it was.
    ///
    /// The commit counts as one more task, so all tasks done is still less than 100.
    pub fn percent(
        &mut self,
        plan: &Plan,
        done: u32,
        running: impl IntoIterator<Item = (TaskId, Read)>,
    ) -> f64 {
        let tasks: u32 = plan.stages.iter().map(|stage| stage.partitions).sum();
        let shares: f64 =
            running.into_iter().map(|(task, read)| self.share(plan, task, read)).sum();
        let reached = (f64::from(done) + shares).min(f64::from(tasks));
        self.highest = self.highest.max(100.0 * reached / (f64::from(tasks) + 1.0));
        self.highest
    }

    /// The most that was ever told.
    pub fn highest(&self) -> f64 {
        self.highest
    }

    /// The share of its input that a task has read; 0 where the whole is not known.
    fn share(&self, plan: &Plan, task: TaskId, read: Read) -> f64 {
        let Some(stage) = plan.stages.get(task.stage.index()) else { return 0.0 };
        let split = stage.splits.get(task.partition as usize);
        let (part, whole) = if let Some(split) = split {
            (read.bytes, split.end.saturating_sub(split.start))
        } else {
            // Rows are spread evenly enough over buckets for people to look at.
            let inputs = stage.inputs.iter();
            let rows = inputs.map(|input| self.rows_for_one(plan, input.index()));
            (read.rows, rows.sum())
        };
        if whole == 0 { 0.0 } else { ratio(part, whole).min(MOST_OF_A_TASK) }
    }

    /// The rows of a stage that one task of its reader is to read.
    fn rows_for_one(&self, plan: &Plan, stage: usize) -> u64 {
        let rows = self.rows.get(stage).copied().unwrap_or(0);
        let readers = match plan.stages.get(stage).map(|stage| (&stage.output, stage.partitions)) {
            Some((
                Output::Exchange(
                    Distribution::Hash { buckets, .. } | Distribution::Range { buckets, .. },
                ),
                _,
            )) => *buckets,
            Some((Output::Exchange(Distribution::Forward), partitions)) => partitions,
            Some((
                Output::Exchange(Distribution::Gather { .. } | Distribution::Broadcast)
                | Output::Sink(_),
                _,
            ))
            | None => 1,
        };
        rows / u64::from(readers.max(1))
    }
}

/// A part of a whole, as a fraction.
#[expect(clippy::cast_precision_loss, reason = "it is shown with one digit behind the point")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these percents are exact")]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Schema;
    use uuid::Uuid;

    use super::{Progress, Read};
    use crate::{
        formats::{Format, intake::Intake},
        id::{JobId, StageId, TaskId},
        plan::{Distribution, InputFile, NodeIndex, Output, Plan, Scan, Stage, Step, StepKind},
        source::split::Split,
        task::TaskReport,
    };

    /// Two splits of 100 bytes, then two tasks that read their buckets.
    fn plan() -> Plan {
        let schema = Arc::new(Schema::empty());
        let file = InputFile { path: "lines".into(), size_bytes: 200, version: None };
        let split = |start| Split { file: file.clone(), start, end: start + 100, aligned: false };
        let step = Step {
            node: NodeIndex(0),
            schema,
            kind: StepKind::Source {
                format: Format::Text(Intake::default()),
                scan: Scan::default(),
            },
        };
        let stage = |id, splits: Vec<Split>, inputs| Stage {
            id: StageId(id),
            steps: vec![step.clone()],
            output: Output::Exchange(Distribution::Hash { keys: Vec::new(), buckets: 2 }),
            partitions: 2,
            splits,
            inputs,
        };
        let stages =
            vec![stage(0, vec![split(0), split(100)], vec![]), stage(1, vec![], vec![StageId(0)])];
        Plan {
            name: String::new(),
            parallelism: None,
            limits: crate::task::limits::Limits::default(),
            nodes: Vec::new(),
            stages,
            rules: Vec::new(),
        }
    }

    fn task(stage: u32, partition: u32) -> TaskId {
        TaskId { job: JobId(Uuid::nil()), stage: StageId(stage), partition }
    }

    #[test]
    fn a_running_task_counts_by_what_it_has_read_and_never_as_done() {
        let (plan, mut progress) = (plan(), Progress::default());
        let bytes = |bytes| Read { rows: 0, bytes };
        // Four tasks and the commit are five steps of 20 %.
        assert_eq!(progress.percent(&plan, 0, []), 0.0);
        assert_eq!(progress.percent(&plan, 0, [(task(0, 0), bytes(50))]), 10.0);
        assert_eq!(progress.percent(&plan, 0, [(task(0, 0), bytes(900))]), 19.8);
        assert_eq!(progress.percent(&plan, 1, [(task(0, 1), bytes(25))]), 25.0);
        for rows in [60, 40] {
            progress.task_done(task(0, 0), &TaskReport { rows, ..TaskReport::default() });
        }
        // Each bucket holds about half of 100 rows.
        let rows = |rows| Read { rows, bytes: 0 };
        let running = [(task(1, 0), rows(25)), (task(1, 1), rows(0))];
        assert_eq!(progress.percent(&plan, 2, running), 50.0);
        assert_eq!(progress.percent(&plan, 4, []), 80.0);
    }

    #[test]
    fn it_never_falls_when_outputs_are_lost() {
        let (plan, mut progress) = (plan(), Progress::default());
        assert_eq!(progress.percent(&plan, 3, []), 60.0);
        assert_eq!(progress.percent(&plan, 1, []), 60.0);
        assert_eq!(progress.highest(), 60.0);
    }
}
