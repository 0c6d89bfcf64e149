//! The scheduler: a pure state machine, `step(now, event) -> commands`.
//!
//! It reads no clock, does no I/O, draws no random number and iterates no hash map: time comes in
//! as an argument and what must be remembered comes out as [`Command::Record`]. The embedded
//! runtime, the master and the simulator drive the same one.
//!
//! # Who gets the next slot
//!
//! The job with the fewest running tasks, the older one of two equals; of it the first open task
//! of the first stage that can start; the next worker with a free slot behind the last one served,
//! in the order of their ids. All three are looked up, not searched for.
//!
//! # What a driver does
//!
//! - It hands in what happened, in the order in which it learned of it, and does what comes out,
//!   in order: a [`Command::Record`] before what follows it.
//! - It hands in [`Event::Tick`] at [`Scheduler::next_wake`] (or, simpler, often enough): back-off,
//!   lost workers and waits without workers are only looked at then.
//! - It answers each [`Command::Commit`] with [`Event::Committed`] or [`Event::CommitFailed`]
//!   within a deadline of its own. If the job ends before that ([`Command::Ended`], by a cancel),
//!   it stops the commit, undoes what is not published yet, and its answer has no more effect.
//! - It turns away a worker that the scheduler does not know ([`Scheduler::knows`]) in this life.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crate::{
    error::{Class, Code, Failure},
    exchange::MapOutput,
    id::{Epoch, JobId, StageId, TaskAttempt, Term, WorkerId},
    plan::Plan,
    task::TaskReport,
};

pub mod event;
pub mod ledger;
mod job;
pub mod progress;
mod recover;
mod stage;
mod view;
mod worker;
#[cfg(test)]
mod tests;

pub use event::{Command, Event, Fact, JobError, JobStatus, JobView, NodeStatus, WorkerView};

pub use stage::{Accepted, Run};

use job::{Job, Turn, Wake};
use ledger::Restored;
use recover::Verdict;
use stage::{Life, TaskState};
use worker::Workers;

/// How much longer than usual a worker of an earlier life is waited for, at least: workers that
/// wait for their master ask for it every few seconds.
const LEAST_GRACE: Duration = Duration::from_secs(5);

/// Time since the driver's start, on a clock that never goes back.
pub type Now = Duration;

/// What the scheduler goes by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This master's life; stands in every attempt.
    pub term: Term,
    /// A worker not seen for so long is lost.
    pub lost_after: Duration,
    /// A job that has had no worker for so long fails with `NO_WORKERS`.
    pub no_worker_wait: Duration,
    /// How often a task is tried before its job fails.
    pub attempts: u32,
}

/// Jobs, workers, and who does what for whom.
///
/// - Memory: a running job costs about 100 bytes a task and its accepted reports; an ended one only
///   its plan and counts, until [`Event::Forget`].
#[derive(Debug)]
pub struct Scheduler {
    settings: Settings,
    jobs: BTreeMap<JobId, Job>,
    /// Jobs by submission.
    order: BTreeMap<u64, JobId>,
    submissions: u64,
    /// Jobs with a task that can start: fewest running first, then the oldest.
    queue: BTreeSet<(u32, u64, JobId)>,
    workers: Workers,
    /// Back-offs under way.
    wakes: BTreeSet<(Now, Wake)>,
    fenced: u64,
}

impl Scheduler {
    /// A scheduler without jobs and workers.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            jobs: BTreeMap::new(),
            order: BTreeMap::new(),
            submissions: 0,
            queue: BTreeSet::new(),
            workers: Workers::new(),
            wakes: BTreeSet::new(),
            fenced: 0,
        }
    }

    /// Takes in one event at `now` and says what is to be done about it, in order.
    ///
    /// `now` never falls from one step to the next. An event may come twice, late or not at all:
    /// what is not current any more has no effect and is counted ([`Scheduler::fenced`]).
    pub fn step(&mut self, now: Now, event: Event) -> Vec<Command> {
        // The settings are taken along so that a job can be changed while they are read.
        let settings = self.settings.clone();
        let mut turn = Turn { now, settings: &settings, commands: Vec::new(), wakes: Vec::new() };
        match event {
            Event::Submit { job, plan } => self.submit(&mut turn, job, plan),
            Event::Cancel { job } => self.cancel(&mut turn, job),
            Event::Forget { job } => self.forget(job),
            Event::WorkerJoined { worker, epoch, address, slots, held } => {
                self.worker_joined(&mut turn, &worker, epoch, &address, slots, &held);
            }
            Event::WorkerDraining { worker, epoch } => {
                if self.workers.knows(&worker, epoch) {
                    self.workers.drain(&worker);
                }
            }
            Event::WorkerSeen { worker, epoch, running, held_jobs } => {
                self.worker_seen(&mut turn, &worker, epoch, &running, &held_jobs);
            }
            Event::WorkerLost { worker, epoch } => self.worker_lost(&mut turn, &worker, epoch),
            Event::TaskDone { worker, epoch, attempt, report } => {
                self.task_done(&mut turn, worker, epoch, attempt, report);
            }
            Event::TaskFailed { worker, epoch, attempt, failure } => {
                self.task_failed(&mut turn, &worker, epoch, attempt, failure);
            }
            Event::Committed { job } => self.committed(&mut turn, job),
            Event::CommitFailed { job, failure } => self.commit_failed(&mut turn, job, failure),
            Event::Tick => self.tick(&mut turn),
        }
        self.assign(&mut turn);
        self.wakes.extend(turn.wakes);
        turn.commands
    }

    /// Takes up jobs of an earlier life of the scheduler, in the order of their submission.
    ///
    /// The lives of workers that hold outputs or run attempts count as up without slots until they
    /// register again ([`Event::WorkerJoined`]) or are lost for their silence. What comes out is to
    /// be treated as what [`Scheduler::step`] gives.
    pub fn restore(&mut self, now: Now, past: Vec<Restored>) -> Vec<Command> {
        let settings = self.settings.clone();
        let mut turn = Turn { now, settings: &settings, commands: Vec::new(), wakes: Vec::new() };
        let grace = settings.lost_after.max(LEAST_GRACE);
        for (worker, life) in ledger::last_lives(&past) {
            self.workers.expect(now, &worker, life, grace, settings.lost_after);
        }
        for job in past {
            let id = job.job;
            self.submissions += 1;
            let mut job = Job::taken_up(now, self.submissions, job, &self.workers);
            for (worker, attempt) in job.runs() {
                self.workers.occupy(&worker, attempt);
            }
            if !job.has_ended() {
                job.replan(&mut turn);
                job.settle(&mut turn);
            }
            self.order.insert(job.number, id);
            self.jobs.insert(id, job);
            self.requeue(id);
        }
        self.wakes.extend(turn.wakes);
        turn.commands
    }

    // Questions.

    /// What users may see of a job.
    pub fn view(&self, job: JobId) -> Option<JobView> {
        Some(self.jobs.get(&job)?.view(&self.workers, &self.settings))
    }

    /// All jobs that are not forgotten, by submission.
    pub fn jobs(&self) -> Vec<JobId> {
        self.order.values().copied().collect()
    }

    /// All workers, lost ones included, by id.
    pub fn workers(&self) -> Vec<WorkerView> {
        self.workers.views()
    }

    /// The workers that get no new tasks for a while, because too many failed on them.
    pub fn excluded(&self) -> impl Iterator<Item = &WorkerId> {
        self.workers.excluded()
    }

    /// A job's plan.
    pub fn plan(&self, job: JobId) -> Option<&Arc<Plan>> {
        Some(&self.jobs.get(&job)?.plan)
    }

    /// The accepted outputs of a job's sink stages, by partition: all of them from
    /// [`Command::Commit`] to its answer, none once the job has ended.
    pub fn outputs(&self, job: JobId) -> Vec<(StageId, Vec<(MapOutput, TaskReport)>)> {
        let Some(job) = self.jobs.get(&job) else { return Vec::new() };
        let sinks = job.plan.stages.iter().zip(&job.stages).filter(|(_, state)| state.is_sink);
        sinks
            .map(|(stage, state)| {
                let accepted = state.tasks().iter().filter_map(TaskState::accepted);
                let parts = accepted.map(|part| (part.output.clone(), part.report.clone()));
                (stage.id, parts.collect())
            })
            .collect()
    }

    /// The accepted outputs of a job that keep bad rows, by stage and partition; as
    /// [`Scheduler::outputs`].
    pub fn bad_rows(&self, job: JobId) -> Vec<MapOutput> {
        let Some(job) = self.jobs.get(&job) else { return Vec::new() };
        let accepted = job.stages.iter().flat_map(stage::StageState::tasks);
        let accepted = accepted.filter_map(TaskState::accepted);
        let keeping = accepted.filter(|part| part.report.kept_bad_rows > 0);
        keeping.map(|part| part.output.clone()).collect()
    }

    /// Whether the worker is up in this very life. One that is not must register (in a new life,
    /// where this one was declared lost).
    pub fn knows(&self, worker: &WorkerId, epoch: Epoch) -> bool {
        self.workers.knows(worker, epoch)
    }

    /// Holds no worker's silence against it until now: the driver could not listen.
    pub fn grant(&mut self, now: Now) {
        self.workers.grant(now);
    }

    /// Replaces the plan of a job that has ended by one without what only a running job needs.
    pub fn shed(&mut self, job: JobId, plan: Arc<Plan>) {
        if let Some(job) = self.jobs.get_mut(&job).filter(|job| job.has_ended()) {
            job.plan = plan;
        }
    }

    /// Whether a draining worker may go: it runs nothing, and nobody has to read what it holds.
    pub fn may_leave(&self, worker: &WorkerId, epoch: Epoch) -> bool {
        let is_idle = self.workers.get(worker).is_none_or(|known| known.running.is_empty());
        is_idle && !self.jobs.values().any(|job| job.needs(worker, epoch))
    }

    /// How many messages had no effect because they were not current.
    pub fn fenced(&self) -> u64 {
        self.fenced
    }

    /// When the next [`Event::Tick`] may have an effect; `None`: not before something else happens.
    /// It may lie in the past: then a tick is due.
    pub fn next_wake(&self) -> Option<Now> {
        let back_off = self.wakes.first().map(|(at, _)| *at);
        let no_workers = self.workers.none_since().and_then(|since| {
            let waits = |job: &&Job| job.waits_for_workers();
            let oldest = self.order.values().filter_map(|id| self.jobs.get(id)).find(waits)?;
            Some(oldest.submitted.max(since).saturating_add(self.settings.no_worker_wait))
        });
        [back_off, no_workers, self.workers.next_wake()].into_iter().flatten().min()
    }

    // Jobs.

    fn submit(&mut self, turn: &mut Turn<'_>, id: JobId, plan: Arc<Plan>) {
        if self.jobs.contains_key(&id) {
            self.fenced += 1;
            return;
        }
        self.submissions += 1;
        let job = Job::new(turn, id, self.submissions, plan);
        self.order.insert(job.number, id);
        self.jobs.insert(id, job);
        self.requeue(id);
    }

    fn cancel(&mut self, turn: &mut Turn<'_>, id: JobId) {
        if self.jobs.get(&id).is_some_and(|job| !job.has_ended()) {
            self.end(turn, id, JobStatus::Cancelled, None);
        }
    }

    fn forget(&mut self, id: JobId) {
        if let Some(job) = self.jobs.get(&id).filter(|job| job.has_ended()) {
            self.order.remove(&job.number);
            self.jobs.remove(&id);
        }
    }

    fn committed(&mut self, turn: &mut Turn<'_>, id: JobId) {
        if self.jobs.get(&id).is_some_and(Job::is_committing) {
            turn.record(Fact::Committed { job: id });
            self.end(turn, id, JobStatus::Completed, None);
        } else {
            self.fenced += 1;
        }
    }

    fn commit_failed(&mut self, turn: &mut Turn<'_>, id: JobId, failure: Failure) {
        match self.jobs.get_mut(&id).filter(|job| job.is_committing()) {
            Some(job) => {
                let verdict = job.commit_failed(turn, failure);
                self.conclude(turn, id, verdict);
            }
            None => self.fenced += 1,
        }
    }

    /// Fails the job or lets it go on.
    fn conclude(&mut self, turn: &mut Turn<'_>, id: JobId, verdict: Verdict) {
        match verdict {
            Ok(()) => self.requeue(id),
            Err(error) => self.end(turn, id, JobStatus::Failed, Some(*error)),
        }
    }

    /// Makes a job final: whoever works for it stops, whoever holds something drops it.
    fn end(&mut self, turn: &mut Turn<'_>, id: JobId, status: JobStatus, error: Option<JobError>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        for (attempt, run) in job.end(turn.now, status, error.clone()) {
            self.workers.release(&run.worker, attempt);
            turn.commands.push(Command::Revoke { worker: run.worker, epoch: run.epoch, attempt });
        }
        for (worker, epoch) in std::mem::take(&mut job.holders) {
            if self.workers.knows(&worker, epoch) {
                turn.commands.push(Command::DropJob { worker, epoch, job: id });
            }
        }
        let elapsed = job.earlier.saturating_add(turn.now.saturating_sub(job.submitted));
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        turn.record(Fact::Ended { job: id, status, error, elapsed_ms });
        turn.commands.push(Command::Ended { job: id });
        self.requeue(id);
    }

    // Workers.

    fn worker_joined(
        &mut self,
        turn: &mut Turn<'_>,
        worker: &WorkerId,
        epoch: Epoch,
        address: &str,
        slots: u32,
        held: &[TaskAttempt],
    ) {
        let past = self.workers.get(worker).map(|known| (known.epoch, known.is_up));
        if past.is_some_and(|(last, is_up)| epoch < last || (epoch == last && !is_up)) {
            self.fenced += 1;
            return;
        }
        if past.is_some_and(|(last, is_up)| is_up && last < epoch) {
            self.lose(turn, worker);
        }
        if self.workers.get(worker).is_some_and(|known| known.is_up && known.address != address) {
            for job in self.jobs.values_mut() {
                job.stages.iter_mut().for_each(|stage| stage.readdress(worker, epoch, address));
            }
        }
        let is_expected = self.workers.get(worker).is_some_and(|known| known.is_expected);
        let lost_after = self.settings.lost_after;
        self.workers.join(turn.now, worker, epoch, address.to_owned(), slots, lost_after);
        if held.is_empty() && !is_expected {
            return;
        }
        let held: BTreeSet<_> = held.iter().copied().collect();
        let life = Life { worker, epoch, address, is_expected };
        let concerned: Vec<JobId> = self.order.values().copied().collect();
        for id in concerned {
            if let Some(job) = self.jobs.get_mut(&id) {
                job.worker_returned(turn, &life, &held);
                self.requeue(id);
            }
        }
    }

    fn worker_seen(
        &mut self,
        turn: &mut Turn<'_>,
        worker: &WorkerId,
        epoch: Epoch,
        running: &[TaskAttempt],
        held_jobs: &[JobId],
    ) {
        let Some(known) =
            self.workers.get(worker).filter(|known| known.is_up && known.epoch == epoch)
        else {
            self.fenced += 1;
            return;
        };
        let says: BTreeSet<_> = running.iter().copied().collect();
        let missing: Vec<_> = known.running.difference(&says).copied().collect();
        let foreign: Vec<_> = says.difference(&known.running).copied().collect();
        if self.workers.is_deaf(turn.now, worker, &missing, self.settings.lost_after) {
            self.lose(turn, worker);
            return;
        }
        self.workers.seen(turn.now, worker);
        for attempt in missing {
            self.assign_again(turn, worker, epoch, attempt);
        }
        for attempt in foreign {
            self.revoke_stale(turn, worker, epoch, attempt);
        }
        for &job in held_jobs {
            if self.jobs.get(&job).is_none_or(Job::has_ended) {
                turn.commands.push(Command::DropJob { worker: worker.clone(), epoch, job });
            }
        }
    }

    fn assign_again(
        &mut self,
        turn: &mut Turn<'_>,
        worker: &WorkerId,
        epoch: Epoch,
        attempt: TaskAttempt,
    ) {
        let id = attempt.task.job;
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if !job.assign_again(turn, attempt, worker, epoch) {
            self.workers.release(worker, attempt);
            self.requeue(id);
        }
    }

    /// Ends an attempt that is not the worker's own. An accepted one whose acknowledgement was lost
    /// is left alone, since its output is needed.
    fn revoke_stale(
        &self,
        turn: &mut Turn<'_>,
        worker: &WorkerId,
        epoch: Epoch,
        attempt: TaskAttempt,
    ) {
        let job = self.jobs.get(&attempt.task.job);
        if !job.is_some_and(|job| job.is_accepted(attempt, worker, epoch)) {
            turn.commands.push(Command::Revoke { worker: worker.clone(), epoch, attempt });
        }
    }

    fn worker_lost(&mut self, turn: &mut Turn<'_>, worker: &WorkerId, epoch: Epoch) {
        if self.workers.knows(worker, epoch) {
            self.lose(turn, worker);
        } else {
            self.fenced += 1;
        }
    }

    /// The one path for a worker that is gone, whoever noticed it.
    fn lose(&mut self, turn: &mut Turn<'_>, worker: &WorkerId) {
        let Some(epoch) = self.workers.get(worker).map(|known| known.epoch) else { return };
        let running = self.workers.lose(turn.now, worker);
        let holds = |job: &&Job| job.holders.get(worker) == Some(&epoch);
        let jobs: Vec<_> = self
            .order
            .values()
            .filter_map(|id| self.jobs.get(id))
            .filter(holds)
            .map(|job| job.id)
            .collect();
        for id in jobs {
            let runs: Vec<_> =
                running.iter().copied().filter(|attempt| attempt.task.job == id).collect();
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            let verdict = job.worker_lost(turn, worker, epoch, &runs);
            self.conclude(turn, id, verdict);
        }
    }

    // Attempts.

    fn task_done(
        &mut self,
        turn: &mut Turn<'_>,
        worker: WorkerId,
        epoch: Epoch,
        attempt: TaskAttempt,
        report: TaskReport,
    ) {
        let Some(address) = self.heard(turn.now, &worker, epoch) else { return };
        let id = attempt.task.job;
        let job = self.jobs.get_mut(&id).filter(|job| job.is_current(attempt, &worker, epoch));
        let Some(job) = job else {
            self.fenced += 1;
            self.revoke_stale(turn, &worker, epoch, attempt);
            return;
        };
        self.workers.release(&worker, attempt);
        self.workers.count_end(&worker, true);
        let verdict =
            job.task_done(turn, MapOutput { map: attempt, worker, epoch, address }, report);
        self.conclude(turn, id, verdict);
    }

    fn task_failed(
        &mut self,
        turn: &mut Turn<'_>,
        worker: &WorkerId,
        epoch: Epoch,
        attempt: TaskAttempt,
        failure: Failure,
    ) {
        if self.heard(turn.now, worker, epoch).is_none() {
            return;
        }
        let id = attempt.task.job;
        let job = self.jobs.get_mut(&id).filter(|job| job.is_current(attempt, worker, epoch));
        let Some(job) = job else {
            self.fenced += 1;
            return;
        };
        self.workers.release(worker, attempt);
        if failure.class != Class::Cancel {
            self.workers.count_end(worker, false);
        }
        if failure.class == Class::Retry {
            self.workers.blame(turn.now, worker, Some(attempt.task));
        }
        let verdict = job.task_failed(turn, attempt, worker, failure);
        self.conclude(turn, id, verdict);
    }

    /// Notes a sign of life and gives the worker's address, if it is up in this life.
    fn heard(&mut self, now: Now, worker: &WorkerId, epoch: Epoch) -> Option<String> {
        if !self.workers.knows(worker, epoch) {
            self.fenced += 1;
            return None;
        }
        self.workers.seen(now, worker);
        Some(self.workers.get(worker)?.address.clone())
    }

    // Time.

    fn tick(&mut self, turn: &mut Turn<'_>) {
        for worker in self.workers.overdue(turn.now, self.settings.lost_after) {
            self.lose(turn, &worker);
        }
        self.workers.end_exclusions(turn.now);
        self.wake(turn);
        self.fail_without_workers(turn);
    }

    fn wake(&mut self, turn: &mut Turn<'_>) {
        while let Some(&(at, wake)) = self.wakes.first().filter(|(at, _)| *at <= turn.now) {
            self.wakes.remove(&(at, wake));
            if let Some(job) = self.jobs.get_mut(&wake.job()) {
                job.woken(turn, wake);
                self.requeue(wake.job());
            }
        }
    }

    fn fail_without_workers(&mut self, turn: &mut Turn<'_>) {
        let Some(since) = self.workers.none_since() else { return };
        let wait = self.settings.no_worker_wait;
        let is_over = |job: &&Job| {
            job.waits_for_workers() && job.submitted.max(since).saturating_add(wait) <= turn.now
        };
        let over: Vec<_> = self.jobs.values().filter(is_over).map(|job| job.id).collect();
        for id in over {
            let message = format!("no worker was connected for {} s", wait.as_secs());
            let failure = recover::failure(Class::Fail, Code::NoWorkers, message);
            let error = JobError { failure, nodes: Vec::new(), attempt: None, worker: None };
            self.end(turn, id, JobStatus::Failed, Some(error));
        }
    }

    // Slots.

    /// Gives out tasks while there are both tasks and slots.
    fn assign(&mut self, turn: &mut Turn<'_>) {
        // Jobs whose next task waits for a worker that can reach its inputs.
        let mut passed_over = BTreeSet::new();
        while let Some(id) = self.next_in_queue(&passed_over) {
            let Some(job) = self.jobs.get_mut(&id) else { return };
            let Some(task) = job.next_task() else { return };
            let unfit = job.unfit(turn.now, task);
            let Some(worker) = self.workers.next_free(job.avoids(task), &unfit).cloned() else {
                if unfit.is_empty() {
                    return;
                }
                passed_over.insert(id);
                continue;
            };
            let Some(epoch) = self.workers.get(&worker).map(|known| known.epoch) else { return };
            let attempt = job.start(turn, task, &worker, epoch);
            self.workers.occupy(&worker, attempt);
            self.requeue(id);
        }
    }

    fn next_in_queue(&self, passed_over: &BTreeSet<JobId>) -> Option<JobId> {
        self.queue.iter().map(|&(_, _, id)| id).find(|id| !passed_over.contains(id))
    }

    /// Puts the job where it belongs in the queue for slots, if it wants one.
    fn requeue(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let wanted = job.next_task().is_some().then_some(job.running);
        if job.queued == wanted {
            return;
        }
        if let Some(running) = std::mem::replace(&mut job.queued, wanted) {
            self.queue.remove(&(running, job.number, id));
        }
        if let Some(running) = wanted {
            self.queue.insert((running, job.number, id));
        }
    }
}
