//! What the master knows: the scheduler, and beside it what is shown of jobs and workers.
//!
//! It is a plain value behind one lock, whose critical sections do no input or output. Commands to
//! workers are not queued: a worker whose answer would change is woken, and its poll then asks the
//! scheduler what it should do differently. So a lost answer needs no memory.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, Local};
use minispark_engine::{
    exchange::MapOutput,
    id::{Epoch, JobId, StageId, TaskAttempt, Term, WorkerId},
    plan::{NodeIndex, Output, Plan, Stage},
    runtime::sinks,
    schedule::{
        Command, Event, Fact, JobStatus, JobView, Now, Scheduler, WorkerView,
        ledger::{Ledger, Restored, StageLedger},
    },
    sink::{commit::Published, shared::SharedFolder},
    task::{Part, ResultPlace, Task, context::CancelFlag},
};
use tokio::sync::watch;

use super::{
    commit::Sharing,
    journal::{
        Journal,
        entry::{self, Entry, KeptKey, Key, Memory, Percent, Saved},
    },
    observe::Observer,
};
use crate::{
    VERSION,
    metrics::{Standing, state as job_state},
    protocol::{Load, Outcome, Poll, PollAnswer, Register},
    rest::wire::Finding,
};

/// The most jobs that may wait or run.
pub(crate) const MAX_OPEN_JOBS: usize = 10_000;

/// The most map outputs that one poll's answer lists, unless a single task needs more: at about
/// 250 bytes each this keeps an answer well below what a worker takes.
const MAX_LISTED_INPUTS: usize = 40_000;

/// The most workers, dead ones included.
const MAX_WORKERS: usize = 1_024;

/// The scheduler, and what is shown beside it.
pub(crate) struct Cluster {
    term: Term,
    scheduler: Scheduler,
    jobs: BTreeMap<JobId, JobRecord>,
    by_number: BTreeMap<u64, JobId>,
    open_jobs: usize,
    links: BTreeMap<WorkerId, Link>,
    pub(crate) observer: Observer,
    /// The jobs of repeatable submissions.
    by_key: BTreeMap<(Option<String>, String), JobId>,
    /// Keys that outlive their jobs, and since when this life knows them so.
    keys: VecDeque<(Now, KeptKey)>,
    journal: Arc<Journal>,
    /// What is to be journaled together.
    pending: Vec<Entry>,
    sharing: Sharing,
}

/// What is shown of a job, and what its commit needs.
pub(crate) struct JobRecord {
    /// What is kept of it.
    pub(crate) saved: Saved,
    /// Its stages without their splits, of which each task gets its own; none once it has ended.
    stages: Vec<Arc<Stage>>,
    /// Ends a commit under way.
    commit: CancelFlag,
    is_committing: bool,
    /// Whether its end has been seen to.
    has_ended: bool,
}

/// A job that is to run.
pub(crate) struct NewJob {
    /// Its identity.
    pub(crate) job: JobId,
    /// When it was submitted, for display.
    pub(crate) submitted_at: DateTime<Local>,
    /// Its document.
    pub(crate) document: String,
    /// Its plan.
    pub(crate) plan: Plan,
    /// What was strange in the document.
    pub(crate) warnings: Vec<Finding>,
    /// Whose it is, where tokens are used.
    pub(crate) owner: Option<String>,
    /// By which the submission may be repeated.
    pub(crate) key: Option<Key>,
}

/// What became of a submission.
pub(crate) enum Submission {
    /// The job is taken.
    Taken(Vec<Effect>),
    /// The same submission was taken before, as this job.
    Repeated(JobId),
    /// The key belongs to another document.
    KeyReused,
    /// Too many jobs wait.
    QueueFull,
}

impl JobRecord {
    fn new(saved: Saved) -> Self {
        let without_splits = |stage: &Stage| Stage { splits: Vec::new(), ..stage.clone() };
        let stages = saved.plan.stages.iter().map(without_splits).map(Arc::new).collect();
        let (commit, is_committing) = (CancelFlag::default(), false);
        Self { saved, stages, commit, is_committing, has_ended: false }
    }

    /// Its state.
    pub(crate) fn status(&self) -> JobStatus {
        self.saved.status()
    }

    /// When it ended, by the wall.
    pub(super) fn ended_at(&self) -> Option<DateTime<Local>> {
        let end = self.saved.ledger.end.as_ref()?;
        Some(self.saved.submitted_at + Duration::from_millis(end.elapsed_ms))
    }

    /// Its stages with what happened to them.
    pub(crate) fn stages(&self) -> impl Iterator<Item = (&Stage, &StageLedger)> {
        self.saved.plan.stages.iter().zip(&self.saved.ledger.stages)
    }
}

/// The connection to a worker.
struct Link {
    registered: Register,
    load: Load,
    seq: u64,
    is_up: bool,
    /// Counts the reasons to look at the worker's commands again.
    wake: watch::Sender<u64>,
}

impl Link {
    fn wake(&self) {
        self.wake.send_modify(|count| *count += 1);
    }
}

/// Something that the master has to do outside the lock.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    /// Put a job's results in place.
    Commit(JobId),
    /// Remove what a final job has staged.
    Sweep(JobId),
    /// Remove results of a job that has been forgotten.
    Withdraw(JobId, Vec<Published>),
    /// Remove files that nobody may ask for any more.
    Remove(Vec<PathBuf>),
}

/// Why a worker's message has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fenced {
    /// The worker registered with an earlier master: it registers again, same epoch.
    StaleTerm,
    /// The worker has seen a later master than this one.
    Newer {
        /// The later master's term.
        term: Term,
        /// Whether it is one of our workers, whose word counts.
        is_ours: bool,
    },
    /// This master does not count on that life of the worker: it takes a new epoch.
    Unknown,
    /// There are too many workers.
    Full,
}

/// A poll that was taken.
pub(crate) struct Turn {
    /// What is to be answered as far as is known.
    pub(crate) answer: PollAnswer,
    /// Changes when there is reason to look again.
    pub(crate) wake: watch::Receiver<u64>,
}

/// An output of a sink's task, and the parts of it that its worker has left in a shared folder.
pub(crate) type SinkOutput = (MapOutput, Option<Vec<Part>>);

/// What a commit works on.
pub(crate) struct CommitWork {
    /// The job's plan.
    pub(crate) plan: Arc<Plan>,
    /// The sinks' stages and their outputs by partition, without what is in place already.
    pub(crate) outputs: Vec<(StageId, Vec<SinkOutput>)>,
    /// The outputs that keep bad rows.
    pub(crate) bad_rows: Vec<MapOutput>,
    /// Set when the job ended otherwise.
    pub(crate) cancel: CancelFlag,
}

impl Cluster {
    /// One without jobs and workers.
    pub(crate) fn new(
        term: Term,
        scheduler: Scheduler,
        journal: Arc<Journal>,
        sharing: Sharing,
    ) -> Self {
        Self {
            sharing,
            term,
            scheduler,
            jobs: BTreeMap::new(),
            by_number: BTreeMap::new(),
            open_jobs: 0,
            links: BTreeMap::new(),
            by_key: BTreeMap::new(),
            keys: VecDeque::new(),
            journal,
            pending: Vec::new(),
            observer: Observer::new(term),
        }
    }

    /// What was seen of jobs and workers.
    pub(crate) fn observer(&self) -> &Observer {
        &self.observer
    }

    /// Takes up the jobs of earlier lives; at `wall` it is `now`.
    pub(crate) fn restore(
        &mut self,
        now: Now,
        wall: DateTime<Local>,
        memory: Memory,
    ) -> Vec<Effect> {
        let mut jobs: Vec<Saved> = memory.jobs.into_values().collect();
        jobs.sort_unstable_by_key(|saved| saved.number);
        let mut past = Vec::with_capacity(jobs.len());
        for saved in jobs {
            let since = wall.signed_duration_since(saved.submitted_at).to_std().unwrap_or_default();
            let job = saved.job;
            let elapsed =
                saved.ledger.end.as_ref().map(|end| Duration::from_millis(end.elapsed_ms));
            let restored = Restored {
                job,
                plan: Arc::clone(&saved.plan),
                ledger: saved.ledger.clone(),
                elapsed: elapsed.unwrap_or(since),
            };
            past.push(restored);
            self.by_number.insert(saved.number, job);
            if let Some(key) = &saved.key {
                self.by_key.insert(key.name(), job);
            }
            let mut record = JobRecord::new(saved);
            if elapsed.is_some() {
                record.has_ended = true;
                record.stages.clear();
            } else {
                self.open_jobs += 1;
                self.observer.watch(now, job, &record.saved.plan);
                self.observer.resume(now, job, &record.saved.ledger);
            }
            self.jobs.insert(job, record);
        }
        let open = self.open_jobs;
        tracing::info!(term = %self.term, jobs = self.jobs.len(), open, "state restored");
        self.keys = memory.keys.into_iter().map(|key| (now, key)).collect();
        for (_, kept) in &self.keys {
            self.by_key.entry(kept.key.name()).or_insert(kept.job);
        }
        let swept = memory.just_ended.into_iter().chain(memory.forgotten);
        let mut effects: Vec<Effect> = swept.map(Effect::Sweep).collect();
        for command in self.scheduler.restore(now, past) {
            self.act(now, command, &mut effects);
        }
        self.flush();
        effects
    }

    /// Takes a job, unless it has been taken before.
    pub(crate) fn submit(&mut self, now: Now, new: NewJob) -> Submission {
        let NewJob { job, submitted_at, document, plan, warnings, owner, key } = new;
        if let Some(known) = key.as_ref().and_then(|key| self.known_key(key)) {
            return known;
        }
        if self.open_jobs >= MAX_OPEN_JOBS {
            return Submission::QueueFull;
        }
        let number = self.by_number.last_key_value().map_or(1, |(last, _)| last + 1);
        let plan = Arc::new(plan);
        let saved = Saved {
            job,
            number,
            submitted_at,
            engine: String::from(VERSION),
            document: Some(document),
            ledger: Ledger::new(&plan),
            plan: Arc::clone(&plan),
            warnings,
            owner,
            key,
            published: Vec::new(),
            percent: 0,
        };
        tracing::info!(job_id = %job, term = %self.term, name = plan.name, "job accepted");
        self.observer.submitted(now, job, &plan);
        if let Some(named) = &saved.key {
            self.by_key.insert(named.name(), job);
        }
        self.pending.push(Entry::Job(Box::new(saved.clone())));
        self.jobs.insert(job, JobRecord::new(saved));
        self.by_number.insert(number, job);
        self.open_jobs += 1;
        Submission::Taken(self.step(now, Event::Submit { job, plan }))
    }

    /// What a submission by a key comes to that was used before.
    pub(crate) fn known_key(&self, key: &Key) -> Option<Submission> {
        let job = self.by_key.get(&key.name())?;
        let of_job = self.jobs.get(job).and_then(|record| record.saved.key.as_ref());
        let of_past =
            || self.keys.iter().map(|(_, kept)| &kept.key).find(|kept| kept.name() == key.name());
        let first = of_job.or_else(of_past)?;
        Some(if first.body == key.body {
            Submission::Repeated(*job)
        } else {
            Submission::KeyReused
        })
    }

    /// Tells the scheduler what happened; what is left to do comes back.
    pub(crate) fn step(&mut self, now: Now, event: Event) -> Vec<Effect> {
        let commands = self.scheduler.step(now, event);
        let mut effects = Vec::new();
        for command in commands {
            self.act(now, command, &mut effects);
        }
        self.flush();
        effects
    }

    /// Journals what was remembered.
    pub(super) fn flush(&mut self) {
        self.journal.append(&std::mem::take(&mut self.pending));
    }

    /// Something to be journaled with the next [`Cluster::flush`].
    pub(super) fn pending(&mut self, entry: Entry) {
        self.pending.push(entry);
    }

    /// The jobs that have ended and are not committing, by submission.
    pub(super) fn finals(&self) -> impl Iterator<Item = (JobId, &JobRecord)> {
        self.by_number.values().filter_map(|job| Some((*job, self.final_job(*job)?)))
    }

    /// A job that has ended and is not committing.
    pub(super) fn final_job(&self, job: JobId) -> Option<&JobRecord> {
        self.jobs.get(&job).filter(|job| job.status().has_ended() && !job.is_committing)
    }

    pub(super) fn job_mut(&mut self, job: JobId) -> Option<&mut JobRecord> {
        self.jobs.get_mut(&job)
    }

    /// Removes what is shown of a job; its key is known for a while yet.
    pub(super) fn remove(&mut self, now: Now, job: JobId) {
        let Some(record) = self.jobs.remove(&job) else { return };
        self.observer.forget(job);
        self.by_number.remove(&record.saved.number);
        if let Some(key) = record.saved.key {
            self.keys.push_back((now, KeptKey { key, job }));
        }
    }

    /// Lets go of keys whose jobs are forgotten: those kept for `age`, and the oldest beyond `most`.
    pub(super) fn forget_keys(&mut self, now: Now, age: Duration, most: usize) {
        let is_over = |kept: &VecDeque<(Now, KeptKey)>| {
            let is_old = |(at, _): &(Now, KeptKey)| now.saturating_sub(*at) >= age;
            kept.len() > most || kept.front().is_some_and(is_old)
        };
        while is_over(&self.keys)
            && let Some((_, kept)) = self.keys.pop_front()
        {
            let name = kept.key.name();
            if self.by_key.get(&name) == Some(&kept.job) {
                self.by_key.remove(&name);
            }
        }
    }

    /// All that is remembered, as a snapshot keeps it.
    pub(crate) fn snapshot(&self) {
        let jobs = self.jobs.values().map(|record| Entry::Job(Box::new(record.saved.clone())));
        let keys = self.keys.iter().map(|(_, kept)| Entry::Key(kept.clone()));
        self.journal.snapshot(jobs.chain(keys));
    }

    fn act(&mut self, now: Now, command: Command, effects: &mut Vec<Effect>) {
        match command {
            Command::Assign { worker, epoch, attempt, .. } => {
                self.log_assignment(&worker, attempt, epoch);
                self.wake(&worker);
            }
            Command::Revoke { worker, .. } | Command::DropJob { worker, .. } => self.wake(&worker),
            Command::Commit { job } => effects.push(Effect::Commit(job)),
            Command::Record(fact) => self.remember(now, fact),
            Command::Ended { job } => {
                if let Some(record) = self.jobs.get(&job) {
                    record.commit.cancel();
                    if !record.is_committing {
                        effects.push(Effect::Sweep(job));
                    }
                }
                self.open_jobs = self.open_jobs.saturating_sub(1);
            }
        }
    }

    /// The one place where facts are remembered: for display, and in the log.
    fn remember(&mut self, now: Now, fact: Fact) {
        self.tell(&fact);
        self.observer.fact(now, &fact, &self.scheduler);
        let mut ended = None;
        if let Some(record) = self.jobs.get_mut(&fact.job()) {
            record.saved.ledger.apply(&fact);
            if record.status().has_ended() && !record.has_ended {
                record.has_ended = true;
                record.saved.shed();
                record.stages.clear();
                ended = Some(Arc::clone(&record.saved.plan));
            }
        }
        if let Some(plan) = ended {
            self.observer.shed(fact.job(), &plan);
            self.scheduler.shed(fact.job(), plan);
        }
        match self.pending.last_mut() {
            Some(Entry::Facts(facts)) => facts.push(fact),
            _ => self.pending.push(Entry::Facts(vec![fact])),
        }
    }

    /// Puts a fact into the log, before it is remembered.
    fn tell(&self, fact: &Fact) {
        let term = self.term;
        tracing::debug!(?fact, %term, "fact");
        let record = self.jobs.get(&fact.job());
        match fact {
            Fact::Accepted { .. }
            | Fact::AttemptReturned { .. }
            | Fact::OutputAccepted { .. }
            | Fact::OutputLost { .. }
            | Fact::CommitIntent { .. }
            | Fact::Committed { .. } => {}
            Fact::AttemptStarted { attempt, .. } => {
                let job = attempt.task.job;
                if record.is_some_and(|record| record.status() == JobStatus::Accepted) {
                    tracing::info!(job_id = %job, %term, "job started");
                }
                let stage = attempt.task.stage;
                let ledger =
                    record.and_then(|record| record.saved.ledger.stages.get(stage.index()));
                if ledger.is_some_and(|ledger| ledger.attempts == 0) {
                    tracing::info!(job_id = %job, %stage, %term, "stage started");
                }
            }
            Fact::AttemptFailed { attempt, failure, .. } => {
                tracing::warn!(
                    job_id = %attempt.task.job,
                    stage = %attempt.task.stage,
                    partition = attempt.task.partition,
                    attempt = %attempt.attempt,
                    code = failure.code.name(),
                    %term,
                    "attempt failed"
                );
                // Its text may show a row, which is nothing for a log that everybody keeps.
                tracing::debug!(
                    job_id = %attempt.task.job,
                    attempt = %attempt.attempt,
                    reason = failure.message,
                    "why the attempt failed"
                );
            }
            Fact::StageDone { job, stage } => {
                tracing::info!(job_id = %job, %stage, %term, "stage done");
            }
            Fact::Ended { job, status, error, elapsed_ms } => {
                let code = error.as_ref().map(|error| error.failure.code.name());
                let elapsed_secs = Duration::from_millis(*elapsed_ms).as_secs_f64();
                let status = job_state(*status);
                tracing::info!(job_id = %job, status, code, elapsed_secs, %term, "job ended");
            }
        }
    }

    fn log_assignment(&self, worker: &WorkerId, attempt: TaskAttempt, epoch: Epoch) {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let job = attempt.task.job;
        let plan = self.scheduler.plan(job);
        let stage = self.jobs.get(&job).and_then(|job| job.stages.get(attempt.task.stage.index()));
        let nodes = plan.zip(stage).map(|(plan, stage)| node_ids(plan, &stage.nodes()).join(", "));
        tracing::debug!(
            job_id = %job,
            stage = %attempt.task.stage,
            partition = attempt.task.partition,
            attempt = %attempt.attempt,
            node = nodes,
            %worker,
            address = self.links.get(worker).map(|link| link.registered.address.as_str()),
            %epoch,
            term = %self.term,
            "task assigned"
        );
    }

    fn wake(&self, worker: &WorkerId) {
        if let Some(link) = self.links.get(worker) {
            link.wake();
        }
    }

    /// Makes a worker known, or known again.
    pub(crate) fn register(&mut self, now: Now, register: Register) -> Result<Vec<Effect>, Fenced> {
        let (worker, epoch) = (register.worker.clone(), register.epoch);
        let is_known = self.scheduler.knows(&worker, epoch);
        let is_full = self.links.len() >= MAX_WORKERS;
        match self.links.get_mut(&worker) {
            Some(link) => {
                let last = link.registered.epoch;
                if epoch < last || (epoch == last && !is_known) {
                    return Err(Fenced::Unknown);
                }
                if epoch > last {
                    link.seq = 0;
                    link.load = Load::default();
                }
                link.is_up = true;
                link.registered = register.clone();
            }
            None if is_full => return Err(Fenced::Full),
            None => {
                let link = Link {
                    registered: register.clone(),
                    load: Load::default(),
                    seq: 0,
                    is_up: true,
                    wake: watch::Sender::new(0),
                };
                self.links.insert(worker.clone(), link);
            }
        }
        tracing::info!(
            %worker, %epoch, term = %self.term, address = register.address, slots = register.slots,
            "worker up"
        );
        self.observer.worker_up(&register);
        let Register { address, slots, held, .. } = register;
        Ok(self.step(now, Event::WorkerJoined { worker, epoch, address, slots, held }))
    }

    /// Takes a poll: its reports, its load, and what its worker should do differently.
    pub(crate) fn poll(&mut self, now: Now, poll: &Poll) -> (Result<Turn, Fenced>, Vec<Effect>) {
        let mut effects = Vec::new();
        let turn = self.poll_into(now, poll, &mut effects);
        match &turn {
            Ok(turn) if !turn.answer.superseded => {
                self.observer.polled(now, poll);
                self.remember_progress(poll);
            }
            Ok(_) => {}
            Err(fenced) => self.observer.fenced(*fenced),
        }
        (turn, effects)
    }

    /// Remembers whole percents of what a poll tells of, so that a restart does not take them back.
    fn remember_progress(&mut self, poll: &Poll) {
        let jobs: BTreeSet<JobId> =
            poll.running.iter().map(|running| running.attempt.task.job).collect();
        for job in jobs {
            let reached = self.observer.progress(job).floor();
            let Some(record) = self.jobs.get_mut(&job) else { continue };
            if reached > f64::from(record.saved.percent) {
                // Below 100 until the job has ended.
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "0 to 100"
                )]
                let percent = reached as u8;
                record.saved.percent = percent;
                self.pending.push(Entry::Percent(Percent { job, percent }));
            }
        }
        self.flush();
    }

    fn poll_into(
        &mut self,
        now: Now,
        poll: &Poll,
        effects: &mut Vec<Effect>,
    ) -> Result<Turn, Fenced> {
        if poll.term_seen < self.term {
            return Err(Fenced::StaleTerm);
        }
        let is_known = self.scheduler.knows(&poll.worker, poll.epoch);
        let link = self.links.get_mut(&poll.worker).filter(|_| is_known);
        if poll.term_seen > self.term {
            return Err(Fenced::Newer { term: poll.term_seen, is_ours: link.is_some() });
        }
        let link = link.ok_or(Fenced::Unknown)?;
        let mut answer = PollAnswer { term: Some(self.term), ..PollAnswer::default() };
        if poll.seq <= link.seq {
            answer.superseded = true;
            return Ok(Turn { answer, wake: link.wake.subscribe() });
        }
        link.seq = poll.seq;
        link.load = poll.load;
        link.wake();
        for report in &poll.reports {
            let (worker, epoch, attempt) = (poll.worker.clone(), poll.epoch, report.attempt);
            let event = match report.outcome.clone() {
                Outcome::Done(report) => Event::TaskDone { worker, epoch, attempt, report },
                Outcome::Failed(failure) => Event::TaskFailed { worker, epoch, attempt, failure },
            };
            self.answer(now, poll, event, &mut answer, effects);
            answer.acks.push(attempt);
        }
        self.answer(now, poll, seen(poll), &mut answer, effects);
        if poll.draining {
            let (worker, epoch) = (poll.worker.clone(), poll.epoch);
            effects.extend(self.step(now, Event::WorkerDraining { worker, epoch }));
            answer.may_leave = self.scheduler.may_leave(&poll.worker, poll.epoch);
        }
        let wake = self.links.get(&poll.worker).ok_or(Fenced::Unknown)?.wake.subscribe();
        Ok(Turn { answer, wake })
    }

    /// Looks again at a held poll; its answer is to be sent where it asks for something, or where
    /// the poll has been superseded.
    pub(crate) fn poll_again(&mut self, now: Now, poll: &Poll) -> (PollAnswer, Vec<Effect>) {
        let mut answer = PollAnswer { term: Some(self.term), ..PollAnswer::default() };
        let mut effects = Vec::new();
        let is_known = self.scheduler.knows(&poll.worker, poll.epoch);
        let is_current = self.links.get(&poll.worker).is_some_and(|link| link.seq == poll.seq);
        if is_known && is_current {
            self.answer(now, poll, seen(poll), &mut answer, &mut effects);
            answer.may_leave = poll.draining && self.scheduler.may_leave(&poll.worker, poll.epoch);
        } else {
            answer.superseded = true;
        }
        (answer, effects)
    }

    /// Tells the scheduler what a poll says, and puts into `answer` what its worker should do.
    fn answer(
        &mut self,
        now: Now,
        poll: &Poll,
        event: Event,
        answer: &mut PollAnswer,
        effects: &mut Vec<Effect>,
    ) {
        let is_theirs =
            |worker: &WorkerId, epoch: Epoch| *worker == poll.worker && epoch == poll.epoch;
        for command in self.scheduler.step(now, event) {
            match command {
                Command::Assign { worker, epoch, attempt, inputs } if is_theirs(&worker, epoch) => {
                    self.log_assignment(&worker, attempt, epoch);
                    answer.assign.retain(|task| task.attempt != attempt);
                    let listed: usize =
                        answer.assign.iter().map(|task| 1 + task.inputs.len()).sum();
                    // What does not fit is asked for by the next poll, which comes at once.
                    if listed == 0 || listed + inputs.len() <= MAX_LISTED_INPUTS {
                        answer.assign.extend(self.task(&worker, attempt, inputs));
                    }
                }
                Command::Revoke { worker, epoch, attempt } if is_theirs(&worker, epoch) => {
                    answer.assign.retain(|task| task.attempt != attempt);
                    answer.revoke.push(attempt);
                }
                Command::DropJob { worker, epoch, job } if is_theirs(&worker, epoch) => {
                    answer.drop_jobs.retain(|other| *other != job);
                    answer.drop_jobs.push(job);
                }
                other => self.act(now, other, effects),
            }
        }
        self.flush();
    }

    /// All that a worker needs for an attempt.
    fn task(
        &self,
        worker: &WorkerId,
        attempt: TaskAttempt,
        inputs: Vec<MapOutput>,
    ) -> Option<Task> {
        let job = attempt.task.job;
        let plan = self.scheduler.plan(job)?;
        let index = attempt.task.stage.index();
        let stage = plan.stages.get(index)?;
        let writes = self.links.get(worker).is_some_and(|link| link.registered.writes);
        let shared = writes.then(|| self.sharing.folder(job, stage)).flatten();
        Some(Task {
            attempt,
            stage: Arc::clone(self.jobs.get(&job)?.stages.get(index)?),
            split: stage.splits.get(attempt.task.partition as usize).cloned(),
            inputs,
            result: shared.map_or(ResultPlace::Store, ResultPlace::Shared),
            limits: plan.limits,
            is_measured: false,
        })
    }

    /// Takes a worker's goodbye.
    pub(crate) fn leave(&mut self, now: Now, worker: &WorkerId, epoch: Epoch) -> Vec<Effect> {
        let effects = self.step(now, Event::WorkerLost { worker: worker.clone(), epoch });
        self.notice_losses();
        effects
    }

    /// Lets time pass while the journal stands still: nobody's silence counts.
    pub(crate) fn stand_still(&mut self, now: Now) {
        self.scheduler.grant(now);
    }

    /// Lets time pass.
    pub(crate) fn tick(&mut self, now: Now) -> Vec<Effect> {
        let effects = self.step(now, Event::Tick);
        self.notice_losses();
        self.observer.exclusions(self.scheduler.excluded());
        effects
    }

    /// Wakes workers that the scheduler has given up, so that their next poll is told so, and
    /// lets go of those that it has forgotten.
    fn notice_losses(&mut self) {
        let scheduler = &self.scheduler;
        let term = self.term;
        for (worker, link) in &mut self.links {
            let epoch = link.registered.epoch;
            if link.is_up && !scheduler.knows(worker, epoch) {
                link.is_up = false;
                link.wake();
                tracing::info!(%worker, %epoch, %term, "worker down");
                self.observer.worker_down(worker, epoch);
            }
        }
        if self.links.values().any(|link| !link.is_up) {
            let known: BTreeSet<_> =
                scheduler.workers().into_iter().map(|view| view.worker).collect();
            self.links.retain(|worker, _| known.contains(worker));
            self.observer.forget_workers(|worker| known.contains(worker));
        }
    }

    /// Begins a commit; `None` where the job has ended or is not known.
    pub(crate) fn begin_commit(&mut self, job: JobId) -> Option<CommitWork> {
        let plan = Arc::clone(self.scheduler.plan(job)?);
        let record = self.jobs.get_mut(&job)?;
        if record.status().has_ended() || record.is_committing {
            return None;
        }
        record.is_committing = true;
        let is_published = |stage: &StageId| match &plan.stages.get(stage.index())?.output {
            Output::Sink(sink) => {
                Some(record.saved.published.iter().any(|published| published.sink == sink.id))
            }
            Output::Exchange(_) => None,
        };
        let outputs = self
            .scheduler
            .outputs(job)
            .into_iter()
            .filter(|(stage, _)| is_published(stage) == Some(false))
            .map(|(stage, outputs)| {
                let outputs = outputs.into_iter().map(|(output, report)| (output, report.parts));
                (stage, outputs.collect())
            })
            .collect();
        let bad_rows = self.scheduler.bad_rows(job);
        let cancel = record.commit.clone();
        Some(CommitWork { plan, outputs, bad_rows, cancel })
    }

    /// Ends a commit: what is in place, and the event that tells how it went.
    pub(crate) fn end_commit(
        &mut self,
        now: Now,
        job: JobId,
        published: Vec<Published>,
        event: Event,
    ) -> Vec<Effect> {
        let Some(record) = self.jobs.get_mut(&job) else { return Vec::new() };
        record.is_committing = false;
        self.observer.metrics().published(&published);
        record.saved.published.extend(published.iter().cloned());
        if !published.is_empty() {
            self.pending.push(Entry::Published(entry::Results { job, published }));
        }
        if record.status().has_ended() {
            self.flush();
            // It was cancelled meanwhile; its end has been told, its leftovers have not been swept.
            return vec![Effect::Sweep(job)];
        }
        self.step(now, event)
    }

    /// Whether there is such a job, and it is seen.
    pub(crate) fn has(&self, job: JobId, is_seen: impl FnOnce(&JobRecord) -> bool) -> bool {
        self.jobs.get(&job).is_some_and(is_seen)
    }

    /// What is known of a job.
    pub(crate) fn job(&self, job: JobId) -> Option<(JobView, &JobRecord)> {
        let mut view = self.scheduler.view(job)?;
        let record = self.jobs.get(&job)?;
        let told = f64::from(record.saved.percent);
        view.progress_percent = view.progress_percent.max(self.observer.progress(job)).max(told);
        Some((view, record))
    }

    /// What gauges are set from, but for the workers.
    pub(crate) fn standing(&self) -> Standing {
        let mut standing = Standing { fenced: self.scheduler.fenced(), ..Standing::default() };
        standing.event_streams = self.observer.feed().readers() as u64;
        let journal = self.journal.figures();
        (standing.journal_bytes, standing.journal_syncs) = (journal.bytes, journal.syncs);
        standing.jobs = [
            JobStatus::Accepted,
            JobStatus::Running,
            JobStatus::Completed,
            JobStatus::Failed,
            JobStatus::Cancelled,
        ]
        .map(|status| (status, 0))
        .to_vec();
        for record in self.jobs.values() {
            let mut counted = standing.jobs.iter_mut();
            if let Some((_, count)) = counted.find(|(status, _)| *status == record.status()) {
                *count += 1;
            }
        }
        standing.queued = standing.jobs[0].1;
        standing
    }

    /// The jobs that have not ended, at most so many, the newest first.
    pub(crate) fn open_jobs(&self, limit: usize) -> Vec<JobId> {
        let is_open =
            |job: &&JobId| self.jobs.get(*job).is_some_and(|job| !job.status().has_ended());
        self.by_number.values().rev().filter(is_open).take(limit).copied().collect()
    }

    /// The newest `limit` jobs before number `before` that are seen, of one state where one is
    /// asked for; and whether there are more.
    pub(crate) fn page(
        &self,
        before: Option<u64>,
        is_seen: &dyn Fn(&JobRecord) -> bool,
        status: Option<JobStatus>,
        limit: usize,
    ) -> (Vec<JobId>, bool) {
        let mut jobs: Vec<JobId> = self
            .by_number
            .range(..before.unwrap_or(u64::MAX))
            .rev()
            .filter(|(_, job)| {
                self.jobs.get(*job).is_some_and(|job| {
                    is_seen(job) && status.is_none_or(|status| job.status() == status)
                })
            })
            .take(limit + 1)
            .map(|(_, job)| *job)
            .collect();
        let has_more = jobs.len() > limit;
        jobs.truncate(limit);
        (jobs, has_more)
    }

    /// All workers with what they said of themselves.
    pub(crate) fn workers(&self) -> Vec<(WorkerView, Register, Load)> {
        self.scheduler
            .workers()
            .into_iter()
            .filter_map(|view| {
                let link = self.links.get(&view.worker)?;
                Some((view, link.registered.clone(), link.load))
            })
            .collect()
    }

    /// The folders of a job's results that are offered to workers; none where no worker may write.
    pub(crate) fn shared_folders(&self, job: JobId, plan: &Plan) -> Vec<SharedFolder> {
        let writes = |link: &Link| link.is_up && link.registered.writes;
        if !self.links.values().any(writes) {
            return Vec::new();
        }
        plan.stages.iter().filter_map(|stage| self.sharing.folder(job, stage)).collect()
    }

    /// How many workers take tasks.
    pub(crate) fn workers_up(&self) -> usize {
        self.links.values().filter(|link| link.is_up).count()
    }

    /// Results in place of completed jobs that are seen.
    pub(crate) fn results(
        &self,
        is_seen: impl Fn(&JobRecord) -> bool,
    ) -> impl Iterator<Item = (JobId, &Published)> {
        let seen = move |(_, record): &(&JobId, &JobRecord)| {
            record.status() == JobStatus::Completed && is_seen(record)
        };
        self.jobs.iter().filter(seen).flat_map(|(job, record)| {
            record.saved.published.iter().map(|published| (*job, published))
        })
    }

    /// The number of the last poll that was taken of a worker.
    #[cfg(test)]
    pub(crate) fn last_seq(&self, worker: &str) -> u64 {
        self.links.get(&WorkerId(String::from(worker))).map_or(0, |link| link.seq)
    }

    /// Ends all commits under way.
    pub(crate) fn stop_commits(&self) {
        for record in self.jobs.values().filter(|record| record.is_committing) {
            record.commit.cancel();
        }
    }
}

/// What a poll says of its worker.
fn seen(poll: &Poll) -> Event {
    Event::WorkerSeen {
        worker: poll.worker.clone(),
        epoch: poll.epoch,
        running: poll.running.iter().map(|running| running.attempt).collect(),
        held_jobs: poll.held_jobs.clone(),
    }
}

/// The ids of nodes.
pub(crate) fn node_ids(plan: &Plan, nodes: &[NodeIndex]) -> Vec<String> {
    nodes
        .iter()
        .filter_map(|node| plan.nodes.get(node.index()))
        .map(|node| node.id.clone())
        .collect()
}

/// The sinks' ids of a plan, in the order of their stages.
pub(crate) fn sink_ids(plan: &Plan) -> Vec<String> {
    sinks(plan).map(|sink| sink.id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use minispark_engine::{
        error::{Class, Code, Failure},
        id::{Epoch, JobId, Term},
        schedule::JobStatus,
    };

    use super::{Effect, Fenced, MAX_OPEN_JOBS, Submission};
    use crate::{
        master::testing::{EPOCH, TERM, done, master, one_task, poll, register, submit},
        protocol::{Outcome, Report},
    };

    const HEARTBEAT: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn a_lost_answer_is_given_again_and_an_acknowledged_report_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        let (master, clock) = master(folder.path(), HEARTBEAT);
        let job = submit(&master, "one");
        let mut cluster = master.lock();
        let now = Duration::ZERO;
        assert_eq!(cluster.register(now, register("w")), Ok(Vec::new()));
        let assigned = |answer: &crate::protocol::PollAnswer| {
            answer.assign.iter().map(|task| task.attempt).collect::<Vec<_>>()
        };
        let first = cluster.poll(now, &poll("w", 1, &[])).0.unwrap().answer;
        let [attempt] = assigned(&first)[..] else { panic!("{first:?}") };
        assert_eq!((attempt.task.job, attempt.attempt.term), (job, TERM));
        assert!(first.assign[0].stage.splits.is_empty() && first.assign[0].split.is_some());

        // The answer was lost: the worker says that it runs nothing.
        let again = cluster.poll(now, &poll("w", 2, &[])).0.unwrap().answer;
        assert_eq!(assigned(&again), [attempt]);
        let running = cluster.poll(now, &poll("w", 3, &[attempt])).0.unwrap().answer;
        assert!(!running.has_commands());

        let mut report = poll("w", 4, &[]);
        report.reports.push(done(attempt));
        let (turn, effects) = cluster.poll(now, &report);
        assert_eq!(turn.unwrap().answer.acks, [attempt]);
        assert_eq!(effects, [Effect::Commit(job)]);
        let (repeated, no_effects) = cluster.poll(now, &super::Poll { seq: 5, ..report });
        assert_eq!(repeated.unwrap().answer.acks, [attempt]);
        assert_eq!(no_effects, []);
        drop(clock);
    }

    #[tokio::test]
    async fn an_earlier_poll_than_the_last_one_has_no_effect() {
        let folder = tempfile::tempdir().unwrap();
        let (master, _clock) = master(folder.path(), HEARTBEAT);
        let mut cluster = master.lock();
        let now = Duration::ZERO;
        cluster.register(now, register("w")).unwrap();
        assert!(!cluster.poll(now, &poll("w", 2, &[])).0.unwrap().answer.superseded);
        assert!(cluster.poll(now, &poll("w", 2, &[])).0.unwrap().answer.superseded);
        assert!(cluster.poll(now, &poll("w", 1, &[])).0.unwrap().answer.superseded);
        assert!(cluster.poll_again(now, &poll("w", 1, &[])).0.superseded);
        assert!(!cluster.poll_again(now, &poll("w", 2, &[])).0.superseded);
    }

    #[tokio::test]
    async fn a_life_that_was_given_up_is_over_and_the_next_one_counts() {
        let folder = tempfile::tempdir().unwrap();
        let (master, _clock) = master(folder.path(), HEARTBEAT);
        let mut cluster = master.lock();
        assert_eq!(cluster.poll(Duration::ZERO, &poll("w", 1, &[])).0.err(), Some(Fenced::Unknown));
        cluster.register(Duration::ZERO, register("w")).unwrap();
        assert_eq!(cluster.workers_up(), 1);
        let late = Duration::from_secs(6);
        cluster.tick(late);
        assert_eq!(cluster.workers_up(), 0);
        assert_eq!(cluster.poll(late, &poll("w", 1, &[])).0.err(), Some(Fenced::Unknown));
        assert_eq!(cluster.register(late, register("w")), Err(Fenced::Unknown));
        let next = super::Register { epoch: Epoch(EPOCH.0 + 1), ..register("w") };
        assert_eq!(cluster.register(late, next), Ok(Vec::new()));
        assert_eq!(cluster.workers_up(), 1);
    }

    #[tokio::test]
    async fn terms_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let (master, _clock) = master(folder.path(), HEARTBEAT);
        let mut cluster = master.lock();
        let now = Duration::ZERO;
        let of = |term: u64| super::Poll { term_seen: Term(term), ..poll("w", 1, &[]) };
        assert_eq!(cluster.poll(now, &of(TERM.0 - 1)).0.err(), Some(Fenced::StaleTerm));
        let term = Term(TERM.0 + 1);
        assert_eq!(
            cluster.poll(now, &of(term.0)).0.err(),
            Some(Fenced::Newer { term, is_ours: false })
        );
        cluster.register(now, register("w")).unwrap();
        assert_eq!(
            cluster.poll(now, &of(term.0)).0.err(),
            Some(Fenced::Newer { term, is_ours: true })
        );
    }

    #[tokio::test]
    async fn what_a_worker_holds_of_unknown_jobs_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let (master, _clock) = master(folder.path(), HEARTBEAT);
        let mut cluster = master.lock();
        cluster.register(Duration::ZERO, register("w")).unwrap();
        let stranger = JobId::random();
        let held = super::Poll { held_jobs: vec![stranger], ..poll("w", 1, &[]) };
        let answer = cluster.poll(Duration::ZERO, &held).0.unwrap().answer;
        assert_eq!(answer.drop_jobs, [stranger]);
    }

    #[tokio::test]
    async fn a_cancelled_job_ends_its_commit_and_is_swept_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let (master, _clock) = master(folder.path(), HEARTBEAT);
        let job = submit(&master, "one");
        let mut cluster = master.lock();
        let now = Duration::ZERO;
        cluster.register(now, register("w")).unwrap();
        let answer = cluster.poll(now, &poll("w", 1, &[])).0.unwrap().answer;
        let mut report = poll("w", 2, &[]);
        report.reports.push(done(answer.assign[0].attempt));
        cluster.poll(now, &report).0.unwrap();
        let work = cluster.begin_commit(job).unwrap();
        assert_eq!((work.outputs.len(), work.cancel.is_cancelled()), (1, false));
        let effects = cluster.step(now, super::Event::Cancel { job });
        assert_eq!(effects, [], "the commit is still under way");
        assert!(work.cancel.is_cancelled());
        let failed = super::Event::CommitFailed {
            job,
            failure: Failure {
                class: Class::Cancel,
                code: Code::Cancelled,
                message: String::new(),
                fetch: None,
            },
        };
        assert_eq!(cluster.end_commit(now, job, Vec::new(), failed), [Effect::Sweep(job)]);
        assert_eq!(cluster.job(job).unwrap().1.status(), JobStatus::Cancelled);
        assert!(cluster.begin_commit(job).is_none());
    }

    #[tokio::test]
    async fn a_failed_attempt_is_shown_with_its_stage() {
        let folder = tempfile::tempdir().unwrap();
        let (master, _clock) = master(folder.path(), HEARTBEAT);
        let job = submit(&master, "one");
        let mut cluster = master.lock();
        let now = Duration::ZERO;
        cluster.register(now, register("w")).unwrap();
        let answer = cluster.poll(now, &poll("w", 1, &[])).0.unwrap().answer;
        let attempt = answer.assign[0].attempt;
        let mut report = poll("w", 2, &[]);
        let failure = Failure {
            class: Class::Fail,
            code: Code::InputCorrupt,
            message: String::from("bad row"),
            fetch: None,
        };
        report.reports.push(Report { attempt, outcome: Outcome::Failed(failure) });
        let (_, effects) = cluster.poll(now, &report);
        assert_eq!(effects, [Effect::Sweep(job)]);
        let (view, record) = cluster.job(job).unwrap();
        assert_eq!((view.status, record.status()), (JobStatus::Failed, JobStatus::Failed));
        let (_, stage) = record.stages().next().unwrap();
        assert_eq!((stage.attempts, stage.failed_attempts, stage.totals.tasks), (1, 1, 0));
    }

    #[tokio::test]
    async fn ten_thousand_jobs_may_wait_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let (master, _clock) = master(folder.path(), HEARTBEAT);
        let take = || {
            let new = super::NewJob {
                job: JobId::random(),
                submitted_at: chrono::Local::now(),
                document: String::from("{}"),
                plan: one_task("one"),
                warnings: Vec::new(),
                owner: None,
                key: None,
            };
            matches!(master.lock().submit(Duration::ZERO, new), Submission::Taken(_))
        };
        assert!((0..MAX_OPEN_JOBS).all(|_| take()));
        assert!(!take());
        let oldest = master.lock().by_number[&1];
        master.lock().step(Duration::ZERO, super::Event::Cancel { job: oldest });
        assert!(take());
    }

    #[tokio::test]
    async fn pages_go_from_the_newest_back_and_stay_while_jobs_arrive() {
        let folder = tempfile::tempdir().unwrap();
        let (master, _clock) = master(folder.path(), HEARTBEAT);
        let jobs: Vec<_> = (0..3).map(|_| submit(&master, "one")).collect();
        let first = master.lock().page(None, &|_| true, None, 2);
        assert_eq!(first, (vec![jobs[2], jobs[1]], true));
        submit(&master, "later");
        let cluster = master.lock();
        let before = cluster.job(jobs[1]).unwrap().1.saved.number;
        assert_eq!(cluster.page(Some(before), &|_| true, None, 2), (vec![jobs[0]], false));
        assert_eq!(
            cluster.page(None, &|_| true, Some(JobStatus::Completed), 2),
            (Vec::new(), false)
        );
    }
}
