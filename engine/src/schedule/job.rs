//! A job's states, and how it gets from one to the next; what goes wrong is in [`super::recover`].
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

use crate::{
    error::{Class, Code},
    exchange::MapOutput,
    id::{Attempt, Epoch, JobId, StageId, TaskAttempt, TaskId, WorkerId},
    plan::{Distribution, NodeIndex, Output, Plan, Stage},
    schedule::{
        Command, Fact, JobError, JobStatus, Now, Settings,
        ledger::{End as LedgerEnd, Restored},
        recover::{self, Verdict},
        stage::{Accepted, Life, Regained, Run, StageState, TaskState},
        worker::Workers,
    },
    task::{NodeRows, TaskReport},
};

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

#[derive(Debug)]
pub(super) enum Phase {
    /// Tasks run, or wait for something.
    Running,
    /// All results are there; the driver has been asked to put them in place and has not answered.
    /// Nothing else is started meanwhile, so that there are never two commits of a job.
    Committing,
    /// The commit failed and is tried again when its back-off is over.
    CommitDelayed,
    Ended(Box<End>),
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
    /// How long it had been running in earlier lives of the scheduler.
    pub(super) earlier: Duration,
    pub(super) phase: Phase,
    pub(super) has_started: bool,
    pub(super) stages: Vec<StageState>,
    /// The stages with a task that can start now, by index: earlier stages are served first.
    offers: BTreeSet<usize>,
    /// Where a task's last attempt failed: another worker gets it, if there is one.
    pub(super) avoid: BTreeMap<TaskId, WorkerId>,
    /// Which worker (first) could not read from which (second), and until when that is believed.
    pub(super) strangers: BTreeMap<(WorkerId, WorkerId), Now>,
    /// Whoever was given a task, in the last life in which it was.
    pub(super) holders: BTreeMap<WorkerId, Epoch>,
    pub(super) running: u32,
    pub(super) tasks: u32,
    pub(super) done: u32,
    /// The most tasks that were ever done at once: progress goes by it and so never falls.
    pub(super) most_done: u32,
    pub(super) failure_count: u32,
    pub(super) reruns: u32,
    pub(super) commit_failures: u32,
    pub(super) rows: Vec<NodeRows>,
    pub(super) shuffled_bytes: u64,
    pub(super) spilled_bytes: u64,
    /// Under which count of running tasks the scheduler has queued it.
    pub(super) queued: Option<u32>,
}

impl Job {
    /// A job of which nothing has started.
    pub(super) fn new(turn: &mut Turn<'_>, id: JobId, number: u64, plan: Arc<Plan>) -> Self {
        let mut job = Self::unstarted(turn.now, id, number, plan);
        turn.record(Fact::Accepted { job: id });
        job.replan(turn);
        job.settle(turn);
        job
    }

    /// The job before anything is known of it but its plan.
    fn unstarted(now: Now, id: JobId, number: u64, plan: Arc<Plan>) -> Self {
        let mut stages: Vec<_> = plan.stages.iter().map(StageState::new).collect();
        for (reader, stage) in plan.stages.iter().enumerate() {
            for input in &stage.inputs {
                stages[input.index()].readers.push(reader);
            }
        }
        let nodes = (0..).map(NodeIndex).take(plan.nodes.len());
        Self {
            id,
            number,
            submitted: now,
            earlier: Duration::ZERO,
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
            rows: nodes.map(NodeRows::none).collect(),
            shuffled_bytes: 0,
            spilled_bytes: 0,
            queued: None,
            plan,
        }
    }

    /// The job as its ledger has it. What is to be done about it is found by the
    /// [`Job::replan`] and [`Job::settle`] that must follow.
    ///
    /// Outputs and attempts count that belong to the lives in `workers`; the others are lost.
    pub(super) fn taken_up(now: Now, number: u64, past: Restored, workers: &Workers) -> Self {
        let Restored { job: id, plan, ledger, elapsed } = past;
        let mut job = Self::unstarted(now, id, number, plan);
        job.earlier = elapsed;
        job.failure_count = ledger.failure_count;
        job.most_done = ledger.most_done;
        for (index, kept) in ledger.stages.iter().enumerate().take(job.stages.len()) {
            let stage = &mut job.stages[index];
            job.has_started |= kept.attempts > 0;
            stage.take_up(kept, ledger.end.is_some());
            let totals = &kept.totals;
            job.done += totals.tasks;
            for counted in &totals.nodes {
                if let Some(rows) = job.rows.get_mut(counted.node.index()) {
                    rows.count(counted, u64::saturating_add);
                }
            }
            if !stage.is_sink {
                job.shuffled_bytes += totals.bytes;
            }
            job.spilled_bytes += totals.spilled_bytes;
            for (worker, epoch) in kept.lives() {
                if workers.knows(worker, epoch) {
                    job.holders.insert(worker.clone(), epoch);
                }
            }
            job.running += stage.release_unknown(|worker, epoch| workers.knows(worker, epoch));
        }
        if let Some(LedgerEnd { status, error, .. }) = ledger.end {
            job.phase = Phase::Ended(Box::new(End { status, at: now, error }));
        }
        job
    }

    /// Outputs and attempts of this life of the worker that it does not have (`held`) are gone,
    /// and outputs of an earlier life that it still has count again.
    pub(super) fn worker_returned(
        &mut self,
        turn: &mut Turn<'_>,
        life: &Life<'_>,
        held: &BTreeSet<TaskAttempt>,
    ) {
        if self.has_ended() {
            return;
        }
        let mut has_changed = false;
        for index in 0..self.stages.len() {
            if life.is_expected {
                has_changed |= self.stages[index]
                    .lose_unless(life.worker, life.epoch, |map| held.contains(&map));
            }
        }
        let id = self.id;
        for &attempt in held.iter().filter(|attempt| attempt.task.job == id) {
            let index = attempt.task.stage.index();
            let Some(stage) = self.stages.get_mut(index) else { continue };
            match stage.regain(attempt, life) {
                Regained::No => continue,
                Regained::Again(accepted) => {
                    turn.record(Fact::OutputLost { attempt });
                    let Accepted { output, report } = *accepted;
                    turn.record(Fact::OutputAccepted { output, report });
                }
                Regained::Done(accepted) => {
                    self.done += 1;
                    self.most_done = self.most_done.max(self.done);
                    self.count_rows(index, &accepted.report, u64::saturating_add);
                    let Accepted { output, report } = *accepted;
                    turn.record(Fact::OutputAccepted { output, report });
                    if self.stages[index].is_complete() {
                        turn.record(Fact::StageDone { job: self.id, stage: attempt.task.stage });
                    }
                }
            }
            self.holders.insert(life.worker.clone(), life.epoch);
            has_changed = true;
        }
        if has_changed && !matches!(self.phase, Phase::Committing) {
            self.replan(turn);
            self.settle(turn);
        }
    }

    /// Whether somebody still has to read what this life of the worker holds.
    pub(super) fn needs(&self, worker: &WorkerId, epoch: Epoch) -> bool {
        if self.has_ended() || self.holders.get(worker) != Some(&epoch) {
            return false;
        }
        let is_read = |stage: &StageState| {
            stage.is_sink
                || stage.readers.iter().any(|&reader| {
                    let reader = &self.stages[reader];
                    reader.is_needed && !reader.is_done()
                })
        };
        self.stages.iter().any(|stage| {
            (is_read(stage) && stage.is_held_by(worker, epoch))
                || stage.holds_bad_rows(worker, epoch)
        })
    }

    /// The attempts under way, with who runs them.
    pub(super) fn runs(&self) -> Vec<(WorkerId, TaskAttempt)> {
        let stages = self.plan.stages.iter().zip(&self.stages);
        let of_stage = |(stage, state): (&Stage, &StageState)| {
            let run = |(partition, of_task): (u32, &TaskState)| {
                let run = of_task.run()?;
                let task = TaskId { job: self.id, stage: stage.id, partition };
                Some((run.worker.clone(), TaskAttempt { task, attempt: run.attempt }))
            };
            (0..).zip(state.tasks()).filter_map(run).collect::<Vec<_>>()
        };
        stages.flat_map(of_stage).collect()
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
            inputs: self.inputs(task),
        });
        attempt
    }

    /// The outputs that the task reads, by stage and then by map task: all of each stage, but of
    /// one whose tasks are handed on one by one ([`Distribution::Forward`]) only the task's own.
    fn inputs(&self, task: TaskId) -> Vec<MapOutput> {
        let reader = &self.plan.stages[task.stage.index()];
        let stages = self.stages[task.stage.index()].inputs.iter();
        let tasks = stages.flat_map(|&input| {
            let tasks = self.stages[input].tasks();
            if matches!(self.plan.stages[input].output, Output::Exchange(Distribution::Forward)) {
                let count = u32::try_from(tasks.len()).unwrap_or(u32::MAX);
                let own = reader.map_tasks(self.plan.stages[input].id, count, task.partition);
                tasks.get(own.start as usize..own.end as usize).unwrap_or_default()
            } else {
                tasks
            }
        });
        let accepted = tasks.filter_map(TaskState::accepted);
        accepted.map(|accepted| accepted.output.clone()).collect()
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
            turn.record(Fact::AttemptReturned { attempt });
            return false;
        }
        let inputs = self.inputs(attempt.task);
        turn.commands.push(Command::Assign { worker: worker.clone(), epoch, attempt, inputs });
        true
    }

    // What attempts come to.

    /// The current attempt succeeded.
    ///
    /// More bad rows than a node may have end the job.
    pub(super) fn task_done(
        &mut self,
        turn: &mut Turn<'_>,
        output: MapOutput,
        report: TaskReport,
    ) -> Verdict {
        let (attempt, worker) = (output.map, output.worker.clone());
        let first_bad_row = report.first_bad_row.clone();
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
        let is_stage_done = self.stages[index].is_complete();
        if let Some(reason) = self.too_many_bad_rows(index, is_stage_done, first_bad_row.as_deref())
        {
            let failure = recover::failure(Class::Fail, Code::BadRowsLimit, reason);
            return Err(self.error(attempt, &worker, failure));
        }
        if is_stage_done {
            turn.record(Fact::StageDone { job: self.id, stage: task.stage });
            self.replan(turn);
            self.settle(turn);
        }
        Ok(())
    }

    /// Why the bad rows of a node that the stage works for are too many; their share is looked at
    /// once all tasks of the stage are done.
    fn too_many_bad_rows(
        &self,
        stage: usize,
        is_stage_done: bool,
        first: Option<&str>,
    ) -> Option<String> {
        self.stages[stage].nodes.iter().find_map(|node| {
            let (node, rows) = (self.plan.nodes.get(node.index())?, self.rows.get(node.index())?);
            let policy = node.op.on_bad_row()?;
            let reason = policy.exceeded(rows.quarantined, rows.rows_in, is_stage_done)?;
            let first = first.map(|row| format!("; one is {row}")).unwrap_or_default();
            Some(format!("too many bad rows in `{}`: {reason}{first}", node.id))
        })
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

    pub(super) fn has_all_results(&self) -> bool {
        self.stages
            .iter()
            .all(|stage| if stage.is_sink { stage.is_complete() } else { !stage.lacks_bad_rows() })
    }

    /// Goes on to the commit when there is nothing left to compute, and back when there is.
    pub(super) fn settle(&mut self, turn: &mut Turn<'_>) {
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
        self.phase = Phase::Ended(Box::new(End { status, at: now, error }));
        runs
    }

    // What may run.

    /// Finds which stages are needed and what of them must run again; true if something must.
    pub(super) fn replan(&mut self, turn: &mut Turn<'_>) -> bool {
        let mut has_reopened = false;
        // Readers stand behind what they read, so their needs are known first.
        for index in (0..self.stages.len()).rev() {
            let stage = &self.stages[index];
            let is_wanted_by = |&reader: &usize| {
                let reader = &self.stages[reader];
                reader.is_needed && !reader.is_complete()
            };
            // Bad rows are written with the results, whoever has read the stage's others.
            let is_needed =
                stage.is_sink || stage.readers.iter().any(is_wanted_by) || stage.lacks_bad_rows();
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

    pub(super) fn refresh_offer(&mut self, index: usize) {
        if self.is_offering(index) {
            self.offers.insert(index);
        } else {
            self.offers.remove(&index);
        }
    }

    /// The task's attempt is over, and the task waits for a slot again.
    pub(super) fn stop(&mut self, task: TaskId) {
        self.stages[task.stage.index()].stop(task.partition);
        self.running -= 1;
        self.refresh_offer(task.stage.index());
    }

    /// Adds what a report counted, or takes it back.
    fn count_rows(&mut self, stage: usize, report: &TaskReport, apply: fn(u64, u64) -> u64) {
        for counted in &report.nodes {
            if let Some(rows) = self.rows.get_mut(counted.node.index()) {
                rows.count(counted, apply);
            }
        }
        if !self.stages[stage].is_sink {
            self.shuffled_bytes = apply(self.shuffled_bytes, report.bytes);
        }
        self.spilled_bytes = apply(self.spilled_bytes, report.spilled_bytes);
    }
}
