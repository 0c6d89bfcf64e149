//! The witness: what must hold after every step, seen from outside.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use minispark_engine::{
    error::Code,
    exchange::MapOutput,
    id::{Epoch, JobId, TaskAttempt, TaskId, WorkerId},
    plan::{Output, Plan},
    schedule::{Command, Fact, JobStatus, Scheduler},
};

use crate::plans::own_alone;

/// Follows the commands and compares the scheduler's views with them.
#[derive(Default)]
pub(crate) struct Witness {
    plans: BTreeMap<JobId, Arc<Plan>>,
    accepted: BTreeMap<TaskId, MapOutput>,
    started: BTreeSet<TaskAttempt>,
    progress: BTreeMap<JobId, f64>,
    failures: BTreeMap<JobId, u32>,
    ended: BTreeMap<JobId, JobStatus>,
}

impl Witness {
    pub(crate) fn check(&mut self, scheduler: &Scheduler, commands: &[Command]) {
        for command in commands {
            match command {
                Command::Assign { worker, epoch, attempt, inputs } => {
                    self.check_assignment(scheduler, worker, *epoch, *attempt, inputs);
                }
                Command::Commit { job } => self.check_commit(*job),
                Command::Record(fact) => self.check_fact(scheduler, fact),
                Command::Ended { job } => {
                    assert!(self.ended.contains_key(job), "ended without a fact");
                }
                Command::Revoke { worker, epoch, attempt } => {
                    let is_held = self.accepted.get(&attempt.task).is_some_and(|output| {
                        output.map == *attempt && output.worker == *worker && output.epoch == *epoch
                    });
                    let has_ended = self.ended.contains_key(&attempt.task.job);
                    assert!(!is_held || has_ended, "revoked what was accepted: {attempt}");
                }
                Command::DropJob { job, .. } => {
                    assert!(self.is_over(scheduler, *job), "dropped a job that runs: {job}");
                }
            }
        }
        self.check_workers(scheduler);
        self.check_views(scheduler);
    }

    /// The master begins anew from these facts; the others are as if they had never been.
    pub(crate) fn master_restarted(&mut self, facts: &[Fact]) {
        self.accepted.clear();
        self.progress.clear();
        self.failures.clear();
        self.ended.clear();
        for fact in facts {
            match fact {
                Fact::OutputAccepted { output, .. } => {
                    self.accepted.insert(output.map.task, output.clone());
                }
                Fact::OutputLost { attempt } => {
                    self.accepted.remove(&attempt.task);
                }
                Fact::Ended { job, status, .. } => {
                    self.ended.insert(*job, *status);
                }
                Fact::Accepted { .. }
                | Fact::AttemptStarted { .. }
                | Fact::AttemptFailed { .. }
                | Fact::AttemptReturned { .. }
                | Fact::StageDone { .. }
                | Fact::CommitIntent { .. }
                | Fact::Committed { .. } => {}
            }
        }
    }

    fn is_over(&self, scheduler: &Scheduler, job: JobId) -> bool {
        self.ended.contains_key(&job)
            || scheduler.view(job).is_none_or(|view| view.status.has_ended())
    }

    fn check_assignment(
        &self,
        scheduler: &Scheduler,
        worker: &WorkerId,
        epoch: Epoch,
        attempt: TaskAttempt,
        inputs: &[MapOutput],
    ) {
        assert!(
            scheduler.knows(worker, epoch),
            "{attempt} was assigned to {worker}, which is not up"
        );
        assert!(
            !self.ended.contains_key(&attempt.task.job),
            "{attempt} was assigned after the end"
        );
        assert!(self.started.contains(&attempt), "{attempt} was assigned without a fact");
        let plan = &self.plans[&attempt.task.job];
        let mut expected = Vec::new();
        for input in &plan.stages[attempt.task.stage.index()].inputs {
            for partition in 0..plan.stages[input.index()].partitions {
                let map = TaskId { job: attempt.task.job, stage: *input, partition };
                let output = self.accepted.get(&map);
                assert!(output.is_some(), "{attempt} was assigned before {map} was done");
                if partition == attempt.task.partition || !own_alone(plan, *input) {
                    expected.extend(output.cloned());
                }
            }
        }
        assert_eq!(inputs, expected, "inputs of {attempt}");
        for input in inputs {
            assert!(scheduler.knows(&input.worker, input.epoch), "{attempt} reads from the dead");
        }
    }

    fn check_commit(&self, job: JobId) {
        assert!(!self.ended.contains_key(&job), "a commit after the end");
        for stage in &self.plans[&job].stages {
            for partition in 0..stage.partitions {
                let task = TaskId { job, stage: stage.id, partition };
                let is_sink = matches!(stage.output, Output::Sink(_));
                assert!(!is_sink || self.accepted.contains_key(&task), "{task} is not there");
            }
        }
    }

    fn check_fact(&mut self, scheduler: &Scheduler, fact: &Fact) {
        let job = fact.job();
        assert!(!self.ended.contains_key(&job), "a fact after the end: {fact:?}");
        match fact {
            Fact::Accepted { .. } => {
                self.plans.extend(scheduler.plan(job).map(|plan| (job, Arc::clone(plan))));
            }
            Fact::AttemptStarted { attempt, .. } => {
                assert!(self.started.insert(*attempt), "{attempt} was used twice");
            }
            Fact::OutputAccepted { output, .. } => {
                let other = self.accepted.insert(output.map.task, output.clone());
                assert_eq!(other, None, "a second output was accepted");
            }
            Fact::OutputLost { attempt } => {
                let lost = self.accepted.remove(&attempt.task).map(|output| output.map);
                assert_eq!(lost, Some(*attempt), "what was lost was not what counted");
            }
            Fact::Ended { status, .. } => {
                self.ended.insert(job, *status);
            }
            Fact::AttemptFailed { .. }
            | Fact::AttemptReturned { .. }
            | Fact::StageDone { .. }
            | Fact::CommitIntent { .. }
            | Fact::Committed { .. } => {}
        }
    }

    fn check_workers(&self, scheduler: &Scheduler) {
        let mut running = BTreeSet::new();
        for worker in scheduler.workers() {
            let is_within_slots =
                worker.is_expected || worker.running.len() <= worker.slots as usize;
            assert!(is_within_slots, "{} has more tasks than slots", worker.worker);
            assert!(worker.is_up || worker.running.is_empty(), "{} is dead", worker.worker);
            for attempt in worker.running {
                assert!(running.insert(attempt.task), "{} runs twice", attempt.task);
                assert!(!self.ended.contains_key(&attempt.task.job), "{attempt} runs on");
            }
        }
    }

    fn check_views(&mut self, scheduler: &Scheduler) {
        for job in scheduler.jobs() {
            let Some(view) = scheduler.view(job) else { continue };
            let before = self.progress.insert(job, view.progress_percent).unwrap_or_default();
            assert!(view.progress_percent >= before, "progress of {job} fell");
            let is_whole = view.progress_percent >= 100.0;
            assert_eq!(is_whole, view.status == JobStatus::Completed, "100 % of {job}");
            let earlier = self.failures.insert(job, view.failure_count).unwrap_or_default();
            assert!(view.failure_count >= earlier, "failures of {job} fell");
            let most = view.plan.parallelism.unwrap_or(u32::MAX);
            assert!(view.tasks_running <= most, "{job} runs more than its parallelism");
            let ended = self.ended.get(&job).copied();
            assert_eq!(ended, Some(view.status).filter(|status| status.has_ended()));
        }
    }
}

/// Which failures are the faults' doing and not the scheduler's.
pub(crate) fn check_the_end(scheduler: &Scheduler) {
    for job in scheduler.jobs() {
        let error = scheduler.view(job).and_then(|view| view.error);
        let code = error.map(|error| error.failure.code);
        let is_legitimate = matches!(
            code,
            None | Some(
                Code::TaskFailed
                    | Code::InputCorrupt
                    | Code::TaskKillsWorkers
                    | Code::FetchFailed
                    | Code::DiskFull
            )
        );
        assert!(is_legitimate, "{job} failed with {code:?}");
    }
}
