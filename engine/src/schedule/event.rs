//! All that can happen to the scheduler, all that it can ask for, and what it shows.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    error::Failure,
    exchange::MapOutput,
    id::{Epoch, JobId, StageId, TaskAttempt, WorkerId},
    plan::Plan,
    schedule::Now,
    task::{NodeRows, TaskReport},
};

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A checked job is to run; its id is new.
    Submit {
        /// Its identity.
        job: JobId,
        /// Its plan, with stages.
        plan: Arc<Plan>,
    },
    /// Somebody wants a job to end now; no effect on one that has ended.
    Cancel {
        /// Which.
        job: JobId,
    },
    /// A final job is to be forgotten.
    Forget {
        /// Which.
        job: JobId,
    },
    /// A worker registered: a new one, a new epoch of a known one, or the same epoch again.
    ///
    /// What it `held` from an earlier life counts again where nobody has begun to replace it; of a
    /// life that the scheduler only knew from its ledger ([`super::Scheduler::restore`]), what is
    /// not `held` is lost.
    WorkerJoined {
        /// Who.
        worker: WorkerId,
        /// Its life.
        epoch: Epoch,
        /// Its Flight address, `host:port`.
        address: String,
        /// How many tasks it runs at once; 0: it gets no new ones.
        slots: u32,
        /// The attempts whose outputs it can serve.
        held: Vec<TaskAttempt>,
    },
    /// A worker is about to leave: it gets no new tasks, what it holds is served as long as it
    /// stays. It may go once [`Scheduler::may_leave`](super::Scheduler::may_leave) says so.
    WorkerDraining {
        /// Who.
        worker: WorkerId,
        /// Its life.
        epoch: Epoch,
    },
    /// A worker polled. The answer is what it should do differently: an [`Command::Assign`] for
    /// each attempt that is its own and that it does not run, a [`Command::Revoke`] for each that
    /// it runs and that is not its own, a [`Command::DropJob`] for each job that is not (any
    /// more) running. So a lost answer is healed by the next poll. Reports that came with the poll
    /// may be handed in before it or after it. A worker that says again and again that it does not
    /// know of an attempt of its own does not hear us, and is lost as one that we don't hear.
    WorkerSeen {
        /// Who.
        worker: WorkerId,
        /// Its life.
        epoch: Epoch,
        /// What it runs, and what it finished and has not reported yet.
        running: Vec<TaskAttempt>,
        /// Jobs of which it holds outputs.
        held_jobs: Vec<JobId>,
    },
    /// A worker is gone for certain (it left, or its held poll was cut and it did not return).
    WorkerLost {
        /// Who.
        worker: WorkerId,
        /// The life that ended.
        epoch: Epoch,
    },
    /// An attempt succeeded; its output is in the worker's store or staging folder. One that is not
    /// current is answered with a [`Command::Revoke`], so that the worker drops what it wrote.
    TaskDone {
        /// Who ran it.
        worker: WorkerId,
        /// The life in which it ran.
        epoch: Epoch,
        /// Which.
        attempt: TaskAttempt,
        /// What it counted.
        report: TaskReport,
    },
    /// An attempt failed.
    TaskFailed {
        /// Who ran it.
        worker: WorkerId,
        /// The life in which it ran.
        epoch: Epoch,
        /// Which.
        attempt: TaskAttempt,
        /// How.
        failure: Failure,
    },
    /// All sinks of a job are in place.
    Committed {
        /// Which.
        job: JobId,
    },
    /// The commit could not be done. A failed fetch recomputes and commits again; what may pass is
    /// tried again after a back-off, as often as a task would be.
    CommitFailed {
        /// Which.
        job: JobId,
        /// How.
        failure: Failure,
    },
    /// Time passed.
    Tick,
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Run an attempt. It may come twice: a worker that runs it, has to report it or holds its
    /// output does nothing.
    Assign {
        /// Where.
        worker: WorkerId,
        /// In which of its lives.
        epoch: Epoch,
        /// What.
        attempt: TaskAttempt,
        /// The map outputs that it reads, by stage and then by map task.
        inputs: Vec<MapOutput>,
    },
    /// End an attempt that nobody wants any more and drop what it wrote.
    Revoke {
        /// Where.
        worker: WorkerId,
        /// In which of its lives.
        epoch: Epoch,
        /// What.
        attempt: TaskAttempt,
    },
    /// Drop all that belongs to a job.
    DropJob {
        /// Where.
        worker: WorkerId,
        /// In which of its lives.
        epoch: Epoch,
        /// Whose.
        job: JobId,
    },
    /// Put the results of all sinks in place; answered by [`Event::Committed`] or
    /// [`Event::CommitFailed`]. [`Scheduler::outputs`](super::Scheduler::outputs) has the parts.
    Commit {
        /// Which.
        job: JobId,
    },
    /// Remember a fact.
    Record(Fact),
    /// A job is final: wake who waits for it, free what it holds.
    Ended {
        /// Which.
        job: JobId,
    },
}

/// What a restarted master must know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Fact {
    /// A job was accepted.
    Accepted {
        /// Which.
        job: JobId,
    },
    /// An attempt was started.
    AttemptStarted {
        /// Which.
        attempt: TaskAttempt,
        /// Where.
        worker: WorkerId,
        /// In which of its lives.
        epoch: Epoch,
    },
    /// An attempt failed, or its worker was lost.
    AttemptFailed {
        /// Which.
        attempt: TaskAttempt,
        /// How.
        failure: Failure,
        /// Whether its worker's life ended under it.
        worker_lost: bool,
    },
    /// An attempt ended without an outcome: it was handed back.
    AttemptReturned {
        /// Which.
        attempt: TaskAttempt,
    },
    /// An attempt's output is the one that counts.
    OutputAccepted {
        /// Whose, and who holds it.
        output: MapOutput,
        /// What it counted.
        report: TaskReport,
    },
    /// An accepted output is gone.
    OutputLost {
        /// Whose.
        attempt: TaskAttempt,
    },
    /// All outputs of a stage are accepted.
    StageDone {
        /// The job.
        job: JobId,
        /// The stage.
        stage: StageId,
    },
    /// Results are about to be put in place.
    CommitIntent {
        /// Which.
        job: JobId,
    },
    /// Results are in place.
    Committed {
        /// Which.
        job: JobId,
    },
    /// A job is final.
    Ended {
        /// Which.
        job: JobId,
        /// How.
        status: JobStatus,
        /// Why, where it failed.
        error: Option<JobError>,
        /// From its submission to its end, in milliseconds.
        elapsed_ms: u64,
    },
}

impl Fact {
    /// Whose fact it is.
    pub fn job(&self) -> JobId {
        match self {
            Self::Accepted { job }
            | Self::StageDone { job, .. }
            | Self::CommitIntent { job }
            | Self::Committed { job }
            | Self::Ended { job, .. } => *job,
            Self::AttemptStarted { attempt, .. }
            | Self::AttemptFailed { attempt, .. }
            | Self::AttemptReturned { attempt }
            | Self::OutputLost { attempt } => attempt.task.job,
            Self::OutputAccepted { output, .. } => output.map.task.job,
        }
    }

    /// Whether it must be on disk before anybody may see what follows from it. Of the others the
    /// loss costs work that is done again, and nothing else.
    pub fn is_binding(&self) -> bool {
        match self {
            Self::Accepted { .. }
            | Self::StageDone { .. }
            | Self::CommitIntent { .. }
            | Self::Committed { .. }
            | Self::Ended { .. } => true,
            Self::AttemptStarted { .. }
            | Self::AttemptFailed { .. }
            | Self::AttemptReturned { .. }
            | Self::OutputAccepted { .. }
            | Self::OutputLost { .. } => false,
        }
    }
}

/// The state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobStatus {
    /// It will run.
    Accepted,
    /// A task has been started.
    Running,
    /// All results are in place.
    Completed,
    /// It ended with an error.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

impl JobStatus {
    /// Whether it stays so for ever.
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// The state of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum NodeStatus {
    /// None of its tasks has started.
    Pending,
    /// Some of its tasks have started.
    Running,
    /// All its tasks are done.
    Completed,
    /// A task of it made the job fail.
    Failed,
    /// The job ended before it was completed.
    Cancelled,
}

/// Why and where a job failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobError {
    /// The last failure.
    pub failure: Failure,
    /// The ids of the nodes that the failed stage works for.
    pub nodes: Vec<String>,
    /// The failed attempt, where a task is to blame.
    pub attempt: Option<TaskAttempt>,
    /// Who ran it.
    pub worker: Option<WorkerId>,
}

/// What a user may see of a job.
#[derive(Clone, Debug)]
pub struct JobView {
    /// Its identity.
    pub job: JobId,
    /// Its plan.
    pub plan: Arc<Plan>,
    /// Its state.
    pub status: JobStatus,
    /// 0 to 100 by tasks; never falls; 100 exactly when completed.
    pub progress_percent: f64,
    /// The state of each node, in the plan's order.
    pub nodes: Vec<NodeStatus>,
    /// Rows in and out of each node, from accepted outputs, in the plan's order.
    pub rows: Vec<NodeRows>,
    /// Failed attempts: those of lost workers and those that could not fetch their inputs included,
    /// those that were cancelled or handed back not.
    pub failure_count: u32,
    /// What it waits for, where nothing of it runs.
    pub waiting_for: Option<String>,
    /// Why it failed.
    pub error: Option<JobError>,
    /// When it was submitted, or taken up from an earlier life of the scheduler.
    pub submitted: Now,
    /// How long it had been running before that.
    pub earlier: Duration,
    /// When it ended.
    pub ended: Option<Now>,
    /// Tasks done, running and in all.
    pub tasks_done: u32,
    /// Tasks running.
    pub tasks_running: u32,
    /// Tasks in all.
    pub tasks: u32,
    /// Bytes put into exchanges by accepted outputs.
    pub shuffled_bytes: u64,
    /// Bytes spilled by accepted attempts.
    pub spilled_bytes: u64,
}

impl JobView {
    /// From its submission to its end, or until `now`. Of a job that has ended, in whole
    /// milliseconds, which is what is remembered of it.
    pub fn elapsed(&self, now: Now) -> Duration {
        let until = self.ended.unwrap_or(now).saturating_sub(self.submitted);
        let elapsed = self.earlier.saturating_add(until);
        match self.ended {
            Some(_) => {
                Duration::from_millis(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
            }
            None => elapsed,
        }
    }
}

/// What a user may see of a worker.
#[expect(clippy::struct_excessive_bools, reason = "each is a claim of its own")]
#[derive(Clone, Debug)]
pub struct WorkerView {
    /// Who.
    pub worker: WorkerId,
    /// Its life.
    pub epoch: Epoch,
    /// Its Flight address.
    pub address: String,
    /// Whether it is alive.
    pub is_up: bool,
    /// Whether it is only known from an earlier life of the scheduler and has not registered yet.
    pub is_expected: bool,
    /// Whether it gets no new tasks for a while, because too many failed on it.
    pub is_excluded: bool,
    /// Whether it gets no new tasks because it is about to leave.
    pub is_draining: bool,
    /// How many tasks it runs at once.
    pub slots: u32,
    /// The attempts assigned to it.
    pub running: Vec<TaskAttempt>,
    /// When it was last seen.
    pub last_seen: Now,
    /// Attempts done and failed in this life, by outcome ("done", "failed").
    pub finished: BTreeMap<&'static str, u64>,
}
