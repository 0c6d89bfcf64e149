//! [`Ledger`]: what is remembered of a job over the lives of a master: its facts, folded.
//!
//! Folding is all that a restart does: `facts.fold(Ledger::new(plan), apply)` is what
//! [`Scheduler::restore`](super::Scheduler::restore) takes up a job from. Facts may be missing at
//! the end (a crash took them), never in between.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    error::Class,
    id::{Epoch, JobId, TaskAttempt, WorkerId},
    plan::Plan,
    schedule::{Accepted, Fact, JobError, JobStatus, Run},
    task::{NodeRows, TaskReport},
};

/// A job's facts so far.
///
/// - Memory: about 500 bytes a done task while the job runs; a few hundred once it has ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// Its stages, in the plan's order.
    pub stages: Vec<StageLedger>,
    /// Attempts that failed or went with their worker.
    pub failure_count: u32,
    /// The most tasks that were ever done at once.
    pub most_done: u32,
    /// How it ended.
    pub end: Option<End>,
}

/// The facts of one stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageLedger {
    /// The outputs that count, by partition; none once the job has ended.
    pub done: BTreeMap<u32, Accepted>,
    /// The attempts under way, by partition.
    pub running: BTreeMap<u32, Run>,
    /// What tasks have been through, by partition; none once the job has ended.
    pub tries: BTreeMap<u32, Tries>,
    /// Attempts that were started.
    pub attempts: u32,
    /// Attempts that failed or went with their worker.
    pub failed_attempts: u32,
    /// What the outputs that count add up to.
    pub totals: Totals,
}

/// What a task has been through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tries {
    /// The number of its last attempt.
    pub last_attempt: u32,
    /// Failed attempts that count against it.
    pub faults: u32,
    /// Lives of workers that ended while it ran.
    pub kills: u32,
}

/// Sums over done tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Tasks.
    pub tasks: u32,
    /// Rows that left them.
    pub rows: u64,
    /// Bytes that left them.
    pub bytes: u64,
    /// Bytes that they spilled.
    pub spilled_bytes: u64,
    /// Time that they took, in milliseconds.
    pub elapsed_ms: u64,
    /// The longest time that one of them ever took, in milliseconds.
    #[serde(default)]
    pub longest_ms: u64,
    /// Bytes of splits that they read.
    #[serde(default)]
    pub read_bytes: u64,
    /// Rows of each node.
    pub nodes: Vec<NodeRows>,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// Its last state.
    pub status: JobStatus,
    /// Why it failed.
    pub error: Option<JobError>,
    /// From its submission to its end, in milliseconds.
    pub elapsed_ms: u64,
}

/// A job of an earlier life of the scheduler.
#[derive(Clone, Debug)]
pub struct Restored {
    /// Which.
    pub job: JobId,
    /// Its plan, with stages; splits are only needed while it runs.
    pub plan: Arc<Plan>,
    /// What happened to it.
    pub ledger: Ledger,
    /// How long it has been running, or was.
    pub elapsed: Duration,
}

impl Ledger {
    /// The ledger of a job of which nothing but its acceptance has happened.
    pub fn new(plan: &Plan) -> Self {
        let stages = plan.stages.iter().map(|_| StageLedger::default()).collect();
        Self { stages, ..Self::default() }
    }

    /// The state that the facts show.
    pub fn status(&self) -> JobStatus {
        match &self.end {
            Some(end) => end.status,
            None if self.stages.iter().any(|stage| stage.attempts > 0) => JobStatus::Running,
            None => JobStatus::Accepted,
        }
    }

    /// Adds a fact of this job; one of a stage that it does not have is passed over.
    pub fn apply(&mut self, fact: &Fact) {
        match fact {
            Fact::Accepted { .. }
            | Fact::StageDone { .. }
            | Fact::CommitIntent { .. }
            | Fact::Committed { .. } => {}
            Fact::AttemptStarted { attempt, worker, epoch } => {
                if let Some(stage) = self.stage(*attempt) {
                    stage.started(*attempt, worker.clone(), *epoch);
                }
            }
            Fact::AttemptFailed { attempt, failure, worker_lost } => {
                self.failure_count += 1;
                if let Some(stage) = self.stage(*attempt) {
                    stage.failed(*attempt, failure.class, *worker_lost);
                }
            }
            Fact::AttemptReturned { attempt } => {
                if let Some(stage) = self.stage(*attempt) {
                    stage.stopped(*attempt);
                }
            }
            Fact::OutputAccepted { output, report } => {
                if let Some(stage) = self.stage(output.map) {
                    let accepted = Accepted { output: output.clone(), report: report.clone() };
                    stage.accepted(accepted);
                }
                let done = self.stages.iter().map(|stage| stage.totals.tasks).sum();
                self.most_done = self.most_done.max(done);
            }
            Fact::OutputLost { attempt } => {
                if let Some(stage) = self.stage(*attempt) {
                    stage.lost(*attempt);
                }
            }
            Fact::Ended { status, error, elapsed_ms, .. } => {
                let end = End { status: *status, error: error.clone(), elapsed_ms: *elapsed_ms };
                self.end = Some(end);
                self.stages.iter_mut().for_each(StageLedger::shed);
            }
        }
    }

    fn stage(&mut self, attempt: TaskAttempt) -> Option<&mut StageLedger> {
        self.stages.get_mut(attempt.task.stage.index())
    }
}

impl StageLedger {
    fn started(&mut self, attempt: TaskAttempt, worker: WorkerId, epoch: Epoch) {
        self.attempts += 1;
        let tries = self.tries.entry(attempt.task.partition).or_default();
        tries.last_attempt = tries.last_attempt.max(attempt.attempt.n);
        let run = Run { attempt: attempt.attempt, worker, epoch };
        self.running.insert(attempt.task.partition, run);
    }

    fn stopped(&mut self, attempt: TaskAttempt) {
        let partition = attempt.task.partition;
        if self.running.get(&partition).is_some_and(|run| run.attempt == attempt.attempt) {
            self.running.remove(&partition);
        }
    }

    fn failed(&mut self, attempt: TaskAttempt, class: Class, worker_lost: bool) {
        self.stopped(attempt);
        self.failed_attempts += 1;
        let tries = self.tries.entry(attempt.task.partition).or_default();
        match class {
            _ if worker_lost => tries.kills += 1,
            Class::Retry => tries.faults += 1,
            // A failed fetch is not the reader's fault, and after a fatal one the job has ended.
            Class::Recompute | Class::Fail | Class::Cancel => {}
        }
    }

    fn accepted(&mut self, accepted: Accepted) {
        let map = accepted.output.map;
        self.stopped(map);
        self.totals.count(&accepted.report, u64::saturating_add);
        self.totals.tasks += 1;
        if let Some(replaced) = self.done.insert(map.task.partition, accepted) {
            self.totals.count(&replaced.report, u64::saturating_sub);
            self.totals.tasks -= 1;
        }
    }

    fn lost(&mut self, attempt: TaskAttempt) {
        let partition = attempt.task.partition;
        if self.done.get(&partition).is_some_and(|accepted| accepted.output.map == attempt)
            && let Some(accepted) = self.done.remove(&partition)
        {
            self.totals.count(&accepted.report, u64::saturating_sub);
            self.totals.tasks -= 1;
        }
    }

    /// Lets go of what only a running job needs.
    fn shed(&mut self) {
        self.done.clear();
        self.running.clear();
        self.tries.clear();
    }

    /// The lives of workers that hold an output or run an attempt.
    pub(super) fn lives(&self) -> impl Iterator<Item = (&WorkerId, Epoch)> {
        let holders = self.done.values().map(|kept| (&kept.output.worker, kept.output.epoch));
        holders.chain(self.running.values().map(|run| (&run.worker, run.epoch)))
    }
}

impl Totals {
    fn count(&mut self, report: &TaskReport, apply: fn(u64, u64) -> u64) {
        self.rows = apply(self.rows, report.rows);
        self.bytes = apply(self.bytes, report.bytes);
        self.spilled_bytes = apply(self.spilled_bytes, report.spilled_bytes);
        self.elapsed_ms = apply(self.elapsed_ms, report.elapsed_ms);
        self.longest_ms = self.longest_ms.max(report.elapsed_ms);
        self.read_bytes = apply(self.read_bytes, report.read_bytes);
        for counted in &report.nodes {
            let known = self.nodes.iter_mut().find(|known| known.node == counted.node);
            match known {
                Some(known) => known.count(counted, apply),
                None => self.nodes.push(*counted),
            }
        }
    }
}

/// The last life of each worker that running jobs count on, with its address where one is known.
pub(super) fn last_lives(past: &[Restored]) -> BTreeMap<WorkerId, (Epoch, String)> {
    let mut lives = BTreeMap::<WorkerId, (Epoch, String)>::new();
    let running = past.iter().filter(|past| past.ledger.end.is_none());
    for stage in running.flat_map(|job| &job.ledger.stages) {
        for (worker, epoch) in stage.lives() {
            let life = lives.entry(worker.clone()).or_insert((epoch, String::new()));
            if life.0 < epoch {
                *life = (epoch, String::new());
            }
        }
        for Accepted { output, .. } in stage.done.values() {
            if let Some(life) = lives.get_mut(&output.worker)
                && life.0 == output.epoch
            {
                life.1.clone_from(&output.address);
            }
        }
    }
    lives
}
