//! A job's states; one short function per event.
//!
//! A job knows its own stages and tasks, and which worker's life runs or holds what. It gives out
//! no slots: which job and which worker come next is decided by the [`Scheduler`](super::Scheduler).
//!
//! What runs is derived, not commanded: a stage is *needed* while it has a result that is not
//! committed or a needed reader with open tasks, and an open task of a needed stage starts as soon
//! as all outputs of the stages it reads can be read. Losing an output therefore only marks it as
//! lost; [`Job::replan`] finds what must run again, however deep, and leaves alone what nobody
//! reads any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{
    error::{Class, Code, Failure, FetchFailure},
    exchange::MapOutput,
    id::{Attempt, Epoch, JobId, StageId, TaskAttempt, TaskId, WorkerId},
    plan::{NodeIndex, Plan},
    schedule::{
        Command, Fact, JobError, JobStatus, Now, Settings,
        stage::{Accepted, Run, StageState, TaskState},
    },
    task::{NodeRows, TaskReport},
};

/// Lives of workers that may end under one task before it is to blame.
const MAX_KILLS: u32 = 3;
/// Re-runs of one stage for failed fetches with no reader's success in between.
const MAX_STAGE_RERUNS: u32 = 4;
/// Re-runs in one job: for failed fetches, and one for each lost worker that took needed outputs.
const MAX_JOB_RERUNS: u32 = 64;
/// Attempts of one task that could not read their inputs, whoever was to blame.
const MAX_FETCH_FAILURES: u32 = 64;
/// How long a failed fetch keeps its reader's worker from reading from its holder.
const STRANGERS_FOR: Duration = Duration::from_mins(5);
/// The back-off before a second attempt; it doubles from there.
const FIRST_DELAY: Duration = Duration::from_millis(200);
/// The longest back-off.
const MAX_DELAY: Duration = Duration::from_secs(10);

/// What one step has to work with, and what comes out of it.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) now: Now,
    pub(super) settings: &'a Settings,
    pub(super) commands: Vec<Command>,
    pub(super) wakes: Vec<(Now, Wake)>,
}

impl Turn<'_> {
    pub(super) fn record(&mut self, fact: Fact) {
        self.commands.push(Command::Record(fact));
    }
}

/// What a back-off was for. The order has no meaning, it only makes a set of them possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wake {
    Task(TaskId),
    Commit(JobId),
}

impl Wake {
    pub(super) fn job(self) -> JobId {
        match self {
            Self::Task(task) => task.job,
            Self::Commit(job) => job,
        }
    }
}

/// Whether the job goes on; if not, why it fails.
pub(super) type Verdict = Result<(), Box<JobError>>;

#[derive(Debug)]
pub(super) enum Phase {
    /// Tasks run, or wait for something.
    Running,
    /// All results are there; the driver has been asked to put them in place and has not answered.
    /// Nothing else is started meanwhile, so that there are never two commits of a job.
    Committing,
    /// The commit failed and is tried again when its back-off is over.
    CommitDelayed,
    Ended(End),
}

#[derive(Debug)]
pub(super) struct End {
    pub(super) status: JobStatus,
    pub(super) at: Now,
    pub(super) error: Option<JobError>,
}

#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: JobId,
    /// Its place in the order of submission.
    pub(super) number: u64,
    pub(super) plan: Arc<Plan>,
    pub(super) submitted: Now,
    pub(super) phase: Phase,
    pub(super) has_started: bool,
    pub(super) stages: Vec<StageState>,
    /// The stages with a task that can start now, by index: earlier stages are served first.
    offers: BTreeSet<usize>,
    /// Where a task's last attempt failed: another worker gets it, if there is one.
    avoid: BTreeMap<TaskId, WorkerId>,
    /// Which worker (first) could not read from which (second), and until when that is believed.
    strangers: BTreeMap<(WorkerId, WorkerId), Now>,
    /// Whoever was given a task, in the last life in which it was.
    pub(super) holders: BTreeMap<WorkerId, Epoch>,
    pub(super) running: u32,
    pub(super) tasks: u32,
    pub(super) done: u32,
    /// The most tasks that were ever done at once: progress goes by it and so never falls.
    pub(super) most_done: u32,
    pub(super) failure_count: u32,
    reruns: u32,
    commit_failures: u32,
    pub(super) rows: Vec<NodeRows>,
    pub(super) shuffled_bytes: u64,
    pub(super) spilled_bytes: u64,
    /// Under which count of running tasks the scheduler has queued it.
    pub(super) queued: Option<u32>,
}

impl Job {
    /// A job of which nothing has started.
    pub(super) fn new(turn: &mut Turn<'_>, id: JobId, number: u64, plan: Arc<Plan>) -> Self {
        let mut stages: Vec<_> = plan.stages.iter().map(StageState::new).collect();
        for (reader, stage) in plan.stages.iter().enumerate() {
            for input in &stage.inputs {
                stages[input.index()].readers.push(reader);
            }
        }
        let nodes = (0..).map(NodeIndex).take(plan.nodes.len());
        let mut job = Self {
            id,
            number,
            submitted: turn.now,
            phase: Phase::Running,
            has_started: false,
            tasks: plan.stages.iter().map(|stage| stage.partitions).sum(),
            stages,
            offers: BTreeSet::new(),
            avoid: BTreeMap::new(),
            strangers: BTreeMap::new(),
            holders: BTreeMap::new(),
            running: 0,
            done: 0,
            most_done: 0,
            failure_count: 0,
            reruns: 0,
            commit_failures: 0,
            rows: nodes.map(|node| NodeRows { node, rows_in: 0, rows_out: 0 }).collect(),
            shuffled_bytes: 0,
            spilled_bytes: 0,
            queued: None,
            plan,
        };
        turn.record(Fact::Accepted { job: id });
        job.replan(turn);
        job.settle(turn);
        job
    }

    /// What became of it, if it has ended.
    pub(super) fn end_state(&self) -> Option<&End> {
        match &self.phase {
            Phase::Ended(end) => Some(end),
            Phase::Running | Phase::Committing | Phase::CommitDelayed => None,
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.end_state().is_some()
    }

    pub(super) fn is_committing(&self) -> bool {
        matches!(self.phase, Phase::Committing)
    }

    /// Whether it can't go on without a worker.
    pub(super) fn waits_for_workers(&self) -> bool {
        matches!(self.phase, Phase::Running)
    }

    pub(super) fn task(&self, task: TaskId) -> Option<&TaskState> {
        self.stages.get(task.stage.index())?.task(task.partition)
    }

    /// Whether the attempt is the task's own and runs in this life of this worker.
    pub(super) fn is_current(&self, attempt: TaskAttempt, worker: &WorkerId, epoch: Epoch) -> bool {
        self.task(attempt.task).and_then(TaskState::run).is_some_and(|run| {
            run.attempt == attempt.attempt && run.worker == *worker && run.epoch == epoch
        })
    }

    /// Whether the attempt's output is the accepted one, held in this life of this worker.
    pub(super) fn is_accepted(
        &self,
        attempt: TaskAttempt,
        worker: &WorkerId,
        epoch: Epoch,
    ) -> bool {
        self.task(attempt.task).and_then(TaskState::accepted).is_some_and(|accepted| {
            let output = &accepted.output;
            output.map == attempt && output.worker == *worker && output.epoch == epoch
        })
    }

    // Starting tasks.

    /// The task that can start next, if the job may run one more.
    pub(super) fn next_task(&self) -> Option<TaskId> {
        let most = self.plan.parallelism.unwrap_or(u32::MAX);
        if !matches!(self.phase, Phase::Running) || self.running >= most {
            return None;
        }
        let (stage, id) = (*self.offers.first()?, self.id);
        let partition = self.stages[stage].first_open()?;
        Some(TaskId { job: id, stage: self.plan.stages[stage].id, partition })
    }

    /// Whether some task waits for a slot alone.
    pub(super) fn has_offers(&self) -> bool {
        !self.offers.is_empty()
    }

    /// The worker that should rather not get the task.
    pub(super) fn avoids(&self, task: TaskId) -> Option<&WorkerId> {
        self.avoid.get(&task)
    }

    /// The workers that can't reach a holder of what the task reads: a cut between two workers, both
    /// of which the master hears, must move work and not fail it again and again.
    pub(super) fn unfit(&self, now: Now, task: TaskId) -> BTreeSet<WorkerId> {
        if self.strangers.is_empty() {
            return BTreeSet::new();
        }
        let holders: BTreeSet<_> =
            self.accepted_inputs(task.stage).map(|accepted| &accepted.output.worker).collect();
        let pairs = self.strangers.iter().filter(|(_, until)| **until > now);
        let unfit = pairs.filter(|((_, holder), _)| holders.contains(holder));
        unfit.map(|((reader, _), _)| reader.clone()).collect()
    }

    /// Starts the task's next attempt on the worker.
    pub(super) fn start(
        &mut self,
        turn: &mut Turn<'_>,
        task: TaskId,
        worker: &WorkerId,
        epoch: Epoch,
    ) -> TaskAttempt {
        let n = self.task(task).map_or(0, |state| state.last_attempt) + 1;
        let attempt = Attempt { term: turn.settings.term, n };
        let run = Run { attempt, worker: worker.clone(), epoch };
        self.stages[task.stage.index()].start(task.partition, run);
        self.refresh_offer(task.stage.index());
        self.running += 1;
        self.has_started = true;
        if self.holders.get(worker) != Some(&epoch) {
            self.holders.insert(worker.clone(), epoch);
        }
        let attempt = TaskAttempt { task, attempt };
        turn.record(Fact::AttemptStarted { attempt, worker: worker.clone(), epoch });
        turn.commands.push(Command::Assign {
            worker: worker.clone(),
            epoch,
            attempt,
            inputs: self.inputs(task.stage),
        });
        attempt
    }

    /// All outputs of the stages that the stage reads, by stage and then by map task. A task that
    /// reads only its own partition ([`Forward`](crate::plan::Distribution::Forward)) gets them
    /// all as well, so that a place in the list means the same for every share.
    fn inputs(&self, stage: StageId) -> Vec<MapOutput> {
        self.accepted_inputs(stage).map(|accepted| accepted.output.clone()).collect()
    }

    fn accepted_inputs(&self, stage: StageId) -> impl Iterator<Item = &Accepted> {
        let stages = self.stages[stage.index()].inputs.iter().map(|&input| &self.stages[input]);
        stages.flat_map(StageState::tasks).filter_map(TaskState::accepted)
    }

    /// For a worker that does not run what is its own: the assignment once more, or, where its
    /// inputs are gone meanwhile, nothing, and the task waits for them (`false`).
    pub(super) fn assign_again(
        &mut self,
        turn: &mut Turn<'_>,
        attempt: TaskAttempt,
        worker: &WorkerId,
        epoch: Epoch,
    ) -> bool {
        let stage = attempt.task.stage;
        if !self.is_ready(stage.index()) {
            self.stop(attempt.task);
            return false;
        }
        let inputs = self.inputs(stage);
        turn.commands.push(Command::Assign { worker: worker.clone(), epoch, attempt, inputs });
        true
    }

    // What attempts come to.

    /// The current attempt succeeded.
    pub(super) fn task_done(&mut self, turn: &mut Turn<'_>, output: MapOutput, report: TaskReport) {
        let task = output.map.task;
        let index = task.stage.index();
        turn.record(Fact::OutputAccepted { output: output.clone(), report: report.clone() });
        self.running -= 1;
        self.done += 1;
        self.most_done = self.most_done.max(self.done);
        self.avoid.remove(&task);
        self.count_rows(index, &report, u64::saturating_add);
        self.stages[index].accept(task.partition, Accepted { output, report });
        for input in self.stages[index].inputs.clone() {
            self.stages[input].reruns = 0;
        }
        if self.stages[index].is_complete() {
            turn.record(Fact::StageDone { job: self.id, stage: task.stage });
            self.replan(turn);
            self.settle(turn);
        }
    }

    /// The current attempt failed.
    pub(super) fn task_failed(
        &mut self,
        turn: &mut Turn<'_>,
        attempt: TaskAttempt,
        worker: &WorkerId,
        failure: Failure,
    ) -> Verdict {
        self.avoid.insert(attempt.task, worker.clone());
        if failure.class == Class::Cancel {
            self.stop(attempt.task);
            return Ok(());
        }
        self.failure_count += 1;
        turn.record(Fact::AttemptFailed { attempt, failure: failure.clone() });
        if !self.stages[attempt.task.stage.index()].is_needed {
            // Whoever wanted it has got on without it, so its failure is nobody's.
            self.stop(attempt.task);
            return Ok(());
        }
        match (failure.class, &failure.fetch) {
            (Class::Recompute, Some(fetch)) if self.is_input(attempt.task, fetch) => {
                let fetch = fetch.clone();
                self.fetch_failed(turn, attempt, worker, failure, &fetch)
            }
            (Class::Fail, _) => Err(self.error(attempt, worker, failure)),
            // A fetch that names nothing that the task reads is the task's own fault.
            (Class::Retry | Class::Recompute | Class::Cancel, _) => {
                self.task_faulted(turn, attempt, worker, failure)
            }
        }
    }

    /// The task is to blame: it is tried again after a while, so many times.
    fn task_faulted(
        &mut self,
        turn: &mut Turn<'_>,
        attempt: TaskAttempt,
        worker: &WorkerId,
        failure: Failure,
    ) -> Verdict {
        let task = attempt.task;
        let stage = &mut self.stages[task.stage.index()];
        let faults = stage.task_mut(task.partition).map_or(0, |state| {
            state.faults += 1;
            state.faults
        });
        if faults >= turn.settings.attempts {
            return Err(self.error(attempt, worker, failure));
        }
        stage.delay(task.partition);
        self.running -= 1;
        turn.wakes.push((turn.now + back_off(Wake::Task(task), faults), Wake::Task(task)));
        Ok(())
    }

    /// The task is not to blame: what it could not read runs again, and the task after it.
    fn fetch_failed(
        &mut self,
        turn: &mut Turn<'_>,
        attempt: TaskAttempt,
        worker: &WorkerId,
        failure: Failure,
        fetch: &FetchFailure,
    ) -> Verdict {
        let task = attempt.task;
        let stage = &mut self.stages[task.stage.index()];
        let fetch_failures = stage.task_mut(task.partition).map_or(0, |state| {
            state.fetch_failures += 1;
            state.fetch_failures
        });
        self.stop(task);
        if self.names_what_counts(fetch) && fetch.worker != *worker {
            self.strangers.retain(|_, until| *until > turn.now);
            let pair = (worker.clone(), fetch.worker.clone());
            self.strangers.insert(pair, turn.now + STRANGERS_FOR);
        }
        if self.give_up(turn, fetch) && fetch_failures <= MAX_FETCH_FAILURES {
            Ok(())
        } else {
            Err(self.error(attempt, worker, failure))
        }
    }

    /// Whether the task reads what the failed fetch names. An output that has been replaced since
    /// counts: its reader only has not heard of the new one.
    fn is_input(&self, reader: TaskId, fetch: &FetchFailure) -> bool {
        let map = fetch.map;
        map.task.job == self.id
            && self.plan.stages[reader.stage.index()].inputs.contains(&map.task.stage)
            && self.was_started(map)
    }

    fn was_started(&self, attempt: TaskAttempt) -> bool {
        self.task(attempt.task)
            .is_some_and(|state| (1..=state.last_attempt).contains(&attempt.attempt.n))
    }

    /// Whether the fetch names the output that is still the accepted one.
    fn names_what_counts(&self, fetch: &FetchFailure) -> bool {
        let task = fetch.map.task;
        let is_held = |stage: &StageState| stage.is_held(task.partition);
        self.stages.get(task.stage.index()).is_some_and(is_held)
            && self.task(task).and_then(TaskState::accepted).is_some_and(|accepted| {
                accepted.output.map == fetch.map && accepted.output.worker == fetch.worker
            })
    }

    /// Has an output computed again, if it is still the accepted one; false when that has been
    /// done too often.
    fn give_up(&mut self, turn: &mut Turn<'_>, fetch: &FetchFailure) -> bool {
        if !self.names_what_counts(fetch) {
            return true;
        }
        let task = fetch.map.task;
        let stage = &mut self.stages[task.stage.index()];
        // A stage that is already being repaired is not counted for each of its outputs.
        if stage.is_complete() {
            stage.reruns += 1;
            self.reruns += 1;
        }
        let is_within_caps = stage.reruns <= MAX_STAGE_RERUNS && self.reruns <= MAX_JOB_RERUNS;
        stage.lose(task.partition);
        self.avoid.insert(task, fetch.worker.clone());
        self.replan(turn);
        is_within_caps
    }

    /// A worker's life has ended, and `runs` of this job with it.
    pub(super) fn worker_lost(
        &mut self,
        turn: &mut Turn<'_>,
        worker: &WorkerId,
        epoch: Epoch,
        runs: &[TaskAttempt],
    ) -> Verdict {
        let mut verdict = Ok(());
        for &attempt in runs {
            verdict = verdict.and(self.attempt_lost(turn, attempt, worker));
        }
        self.strangers.retain(|(reader, holder), _| reader != worker && holder != worker);
        for stage in &mut self.stages {
            stage.lose_held_by(worker, epoch);
        }
        // While a commit is under way its answer is waited for; it may have read all it needs.
        if !matches!(self.phase, Phase::Committing) && self.replan(turn) {
            self.reruns += 1;
        }
        self.settle(turn);
        if self.reruns > MAX_JOB_RERUNS {
            return verdict.and(Err(self.worn_out()));
        }
        verdict
    }

    fn attempt_lost(
        &mut self,
        turn: &mut Turn<'_>,
        attempt: TaskAttempt,
        worker: &WorkerId,
    ) -> Verdict {
        let message = format!("worker {worker} was lost");
        let failure = failure(Class::Retry, Code::TaskFailed, message);
        turn.record(Fact::AttemptFailed { attempt, failure });
        self.failure_count += 1;
        self.stop(attempt.task);
        self.avoid.insert(attempt.task, worker.clone());
        let stage = &mut self.stages[attempt.task.stage.index()];
        let kills = stage.task_mut(attempt.task.partition).map_or(0, |state| {
            state.kills += 1;
            state.kills
        });
        if kills < MAX_KILLS || !stage.is_needed {
            return Ok(());
        }
        let message = format!(
            "{kills} workers were lost while they ran partition {} of stage {}, the last one was {worker}",
            attempt.task.partition, attempt.task.stage,
        );
        Err(self.error(
            attempt,
            worker,
            self::failure(Class::Fail, Code::TaskKillsWorkers, message),
        ))
    }

    fn worn_out(&self) -> Box<JobError> {
        let message =
            format!("outputs that were still needed were lost more than {MAX_JOB_RERUNS} times");
        let failure = failure(Class::Fail, Code::FetchFailed, message);
        Box::new(JobError { failure, nodes: Vec::new(), attempt: None, worker: None })
    }

    /// The back-off of a task or of the commit is over.
    pub(super) fn woken(&mut self, turn: &mut Turn<'_>, wake: Wake) {
        match wake {
            Wake::Task(task) => {
                if let Some(stage) = self.stages.get_mut(task.stage.index()) {
                    stage.wake(task.partition);
                    self.refresh_offer(task.stage.index());
                }
            }
            Wake::Commit(_) => {
                if matches!(self.phase, Phase::CommitDelayed) {
                    self.begin_commit(turn);
                }
            }
        }
    }

    // Committing.

    /// The commit that was asked for could not be done.
    pub(super) fn commit_failed(&mut self, turn: &mut Turn<'_>, failure: Failure) -> Verdict {
        self.phase = Phase::Running;
        let sink_fetch = failure.fetch.clone().filter(|fetch| {
            failure.class == Class::Recompute
                && fetch.map.task.job == self.id
                && self.was_started(fetch.map)
        });
        let is_within_caps = sink_fetch.as_ref().is_none_or(|fetch| self.give_up(turn, fetch));
        // Outputs may also have been lost with their worker while the commit was under way.
        self.replan(turn);
        let is_blameless = sink_fetch.is_some() && !self.has_all_results();
        self.commit_failures += u32::from(!is_blameless);
        let is_last = self.commit_failures >= turn.settings.attempts;
        if failure.class == Class::Fail || !is_within_caps || (is_last && !is_blameless) {
            return Err(self.commit_error(failure, sink_fetch.map(|fetch| fetch.map.task.stage)));
        }
        if self.has_all_results() {
            self.phase = Phase::CommitDelayed;
            let wake = Wake::Commit(self.id);
            turn.wakes.push((turn.now + back_off(wake, self.commit_failures), wake));
        }
        Ok(())
    }

    fn commit_error(&self, failure: Failure, stage: Option<StageId>) -> Box<JobError> {
        let nodes = stage.map_or_else(Vec::new, |stage| self.node_ids(stage));
        Box::new(JobError { failure, nodes, attempt: None, worker: None })
    }

    fn has_all_results(&self) -> bool {
        self.stages.iter().all(|stage| !stage.is_sink || stage.is_complete())
    }

    /// Goes on to the commit when there is nothing left to compute, and back when there is.
    fn settle(&mut self, turn: &mut Turn<'_>) {
        match (&self.phase, self.has_all_results()) {
            (Phase::Running, true) => self.begin_commit(turn),
            (Phase::CommitDelayed, false) => self.phase = Phase::Running,
            (Phase::Running, false)
            | (Phase::CommitDelayed, true)
            | (Phase::Committing | Phase::Ended(_), _) => {}
        }
    }

    fn begin_commit(&mut self, turn: &mut Turn<'_>) {
        self.phase = Phase::Committing;
        self.has_started = true;
        turn.record(Fact::CommitIntent { job: self.id });
        turn.commands.push(Command::Commit { job: self.id });
    }

    /// Ends the job and gives the attempts that are still under way.
    pub(super) fn end(
        &mut self,
        now: Now,
        status: JobStatus,
        error: Option<JobError>,
    ) -> Vec<(TaskAttempt, Run)> {
        let mut runs = Vec::new();
        for (stage, state) in self.plan.stages.iter().zip(&mut self.stages) {
            for (partition, run) in state.end() {
                let task = TaskId { job: self.id, stage: stage.id, partition };
                runs.push((TaskAttempt { task, attempt: run.attempt }, run));
            }
        }
        self.offers.clear();
        self.avoid.clear();
        self.strangers.clear();
        self.running = 0;
        self.phase = Phase::Ended(End { status, at: now, error });
        runs
    }

    // What may run.

    /// Finds which stages are needed and what of them must run again; true if something must.
    fn replan(&mut self, turn: &mut Turn<'_>) -> bool {
        let mut has_reopened = false;
        // Readers stand behind what they read, so their needs are known first.
        for index in (0..self.stages.len()).rev() {
            let stage = &self.stages[index];
            let is_wanted_by = |&reader: &usize| {
                let reader = &self.stages[reader];
                reader.is_needed && !reader.is_complete()
            };
            let is_needed = stage.is_sink || stage.readers.iter().any(is_wanted_by);
            self.stages[index].is_needed = is_needed;
            while is_needed && let Some(accepted) = self.stages[index].reopen_lost() {
                self.done -= 1;
                self.count_rows(index, &accepted.report, u64::saturating_sub);
                turn.record(Fact::OutputLost { attempt: accepted.output.map });
                has_reopened = true;
            }
        }
        self.offers = (0..self.stages.len()).filter(|&index| self.is_offering(index)).collect();
        has_reopened
    }

    fn is_offering(&self, index: usize) -> bool {
        let stage = &self.stages[index];
        stage.is_needed && stage.first_open().is_some() && self.is_ready(index)
    }

    fn is_ready(&self, index: usize) -> bool {
        self.stages[index].inputs.iter().all(|&input| self.stages[input].is_complete())
    }

    fn refresh_offer(&mut self, index: usize) {
        if self.is_offering(index) {
            self.offers.insert(index);
        } else {
            self.offers.remove(&index);
        }
    }

    /// The task's attempt is over, and the task waits for a slot again.
    fn stop(&mut self, task: TaskId) {
        self.stages[task.stage.index()].stop(task.partition);
        self.running -= 1;
        self.refresh_offer(task.stage.index());
    }

    /// Adds what a report counted, or takes it back.
    fn count_rows(&mut self, stage: usize, report: &TaskReport, apply: fn(u64, u64) -> u64) {
        for counted in &report.nodes {
            if let Some(rows) = self.rows.get_mut(counted.node.index()) {
                rows.rows_in = apply(rows.rows_in, counted.rows_in);
                rows.rows_out = apply(rows.rows_out, counted.rows_out);
            }
        }
        if !self.stages[stage].is_sink {
            self.shuffled_bytes = apply(self.shuffled_bytes, report.bytes);
        }
        self.spilled_bytes = apply(self.spilled_bytes, report.spilled_bytes);
    }

    fn error(&self, attempt: TaskAttempt, worker: &WorkerId, failure: Failure) -> Box<JobError> {
        let nodes = self.node_ids(attempt.task.stage);
        let (attempt, worker) = (Some(attempt), Some(worker.clone()));
        Box::new(JobError { failure, nodes, attempt, worker })
    }

    fn node_ids(&self, stage: StageId) -> Vec<String> {
        let nodes = self.stages.get(stage.index()).map_or(&[][..], |stage| &stage.nodes);
        nodes
            .iter()
            .filter_map(|node| Some(self.plan.nodes.get(node.index())?.id.clone()))
            .collect()
    }
}

/// A failure that the scheduler itself found.
pub(super) fn failure(class: Class, code: Code, message: String) -> Failure {
    Failure { class, code, message, fetch: None }
}

/// How long to wait after the `failures`th failure: full jitter below 200 ms, doubled each time,
/// at most 10 s. Nothing is drawn: who waits decides, so that a run can be repeated exactly.
fn back_off(wake: Wake, failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let ceiling = (FIRST_DELAY * (1 << doublings)).min(MAX_DELAY);
    let salt = match wake {
        Wake::Task(task) => u64::from(task.stage.0) << 32 | u64::from(task.partition),
        Wake::Commit(_) => u64::MAX,
    };
    let seed = salt.wrapping_mul(31).wrapping_add(u64::from(failures));
    let share = xxh3_64_with_seed(wake.job().0.as_bytes(), seed) % 1024 + 1;
    ceiling * u32::try_from(share).unwrap_or(1024) / 1024
}
