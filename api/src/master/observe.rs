//! What is seen of a cluster at work: one place that hears of every fact and tells the log, the
//! metrics, the followers of events, and whoever asks about a job's attempts.
//!
//! Nothing is decided by it. A job that it has not seen from the beginning has no figures, and all
//! else goes on.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use minispark_engine::{
    error::{Code, Failure},
    id::{Epoch, JobId, StageId, TaskAttempt, TaskId, Term, WorkerId},
    plan::{Op, Output, Plan},
    runtime::{Clock, SystemClock},
    schedule::{
        Fact, JobError, JobStatus, Now, Scheduler,
        ledger::Ledger,
        progress::{Progress, Read},
    },
    task::TaskReport,
};
use minispark_flight::traffic::Fetched;
use serde_json::{Map, Value, json};

use super::{
    cluster::{Fenced, node_ids},
    events::{Feed, Kind},
};
use crate::{
    metrics::{self, Metrics, latency::Latency},
    protocol::{Poll, Register},
    rest::wire::{AttemptState, JobState, NodeState, WorkerState},
};

/// The most attempts that are remembered of one job; the oldest go first.
const MAX_ATTEMPTS_OF_JOB: usize = 20_000;
/// The most attempts that are remembered in all; those of the job that ended first go first.
const MAX_ATTEMPTS: usize = 100_000;
/// Progress is told at most so often, unless it has moved by a whole percent.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// Hears and tells.
pub(crate) struct Observer {
    term: Term,
    /// For the time in events alone.
    clock: SystemClock,
    metrics: Arc<Metrics>,
    feed: Arc<Feed>,
    jobs: BTreeMap<JobId, JobTrace>,
    /// Ended jobs whose attempts are remembered, the first that ended first.
    ended: VecDeque<JobId>,
    attempts: usize,
    workers: BTreeMap<WorkerId, Tally>,
    excluded: BTreeSet<WorkerId>,
}

/// What was seen of a job.
pub(crate) struct JobTrace {
    plan: Arc<Plan>,
    submitted: Now,
    /// When its first task started.
    pub(crate) started: Option<Now>,
    /// Its stages.
    pub(crate) stages: Vec<StageTrace>,
    /// Its attempts, in the order in which they started.
    attempts: VecDeque<AttemptTrace>,
    /// The number of the first of them.
    first: u64,
    running: BTreeMap<TaskAttempt, (u64, Read)>,
    /// Why a task's last attempt ended without success.
    last_ends: BTreeMap<TaskId, &'static str>,
    done: u32,
    progress: Progress,
    told: f64,
    told_at: Now,
}

/// What was seen of a stage.
#[derive(Clone, Debug, Default)]
pub(crate) struct StageTrace {
    /// When its first attempt started.
    pub(crate) started: Option<Now>,
    /// When its last output was accepted.
    pub(crate) ended: Option<Now>,
    done: u32,
    is_done: bool,
}

/// What was seen of an attempt.
#[derive(Clone, Debug)]
pub(crate) struct AttemptTrace {
    /// Which.
    pub(crate) attempt: TaskAttempt,
    /// Who runs or ran it.
    pub(crate) worker: Arc<str>,
    epoch: Epoch,
    /// Its state.
    pub(crate) state: AttemptState,
    /// When it was assigned.
    pub(crate) started: Now,
    /// When its end was reported.
    pub(crate) ended: Option<Now>,
    /// Rows that left it; while it runs, rows read.
    pub(crate) rows: u64,
    /// Bytes that left it.
    pub(crate) bytes: u64,
    /// Bytes read of its split.
    pub(crate) read_bytes: u64,
    /// Bytes spilled.
    pub(crate) spilled_bytes: u64,
    /// Why it failed.
    pub(crate) code: Option<Code>,
}

/// What was seen of a worker's work.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    name: Arc<str>,
    /// How long attempts that succeeded ran.
    pub(crate) latency: Latency,
    /// Attempts beyond a task's first that it was given.
    pub(crate) retries: u64,
    /// Rows read from inputs.
    pub(crate) rows_in: u64,
    /// Rows that left its tasks.
    pub(crate) rows_out: u64,
    /// Bytes read from inputs.
    pub(crate) read_bytes: u64,
    /// Bytes put into exchanges.
    pub(crate) shuffled_bytes: u64,
    /// Bytes spilled.
    pub(crate) spilled_bytes: u64,
    /// Bytes of results that left its tasks.
    pub(crate) result_bytes: u64,
    /// What it last said to have fetched.
    fetched: Fetched,
}

impl Observer {
    /// One that has seen nothing.
    pub(crate) fn new(term: Term) -> Self {
        Self {
            term,
            clock: SystemClock::start(),
            metrics: Arc::new(Metrics::new()),
            feed: Arc::new(Feed::new(term)),
            jobs: BTreeMap::new(),
            ended: VecDeque::new(),
            attempts: 0,
            workers: BTreeMap::new(),
            excluded: BTreeSet::new(),
        }
    }

    /// The master's numbers.
    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The master's events.
    pub(crate) fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// What was seen of a job.
    pub(crate) fn job(&self, job: JobId) -> Option<&JobTrace> {
        self.jobs.get(&job)
    }

    /// What was seen of a worker's work.
    pub(crate) fn worker(&self, worker: &WorkerId) -> Option<&Tally> {
        self.workers.get(worker)
    }

    // What happens.

    /// A job is about to be accepted.
    pub(crate) fn submitted(&mut self, now: Now, job: JobId, plan: &Arc<Plan>) {
        self.metrics.jobs_submitted.inc();
        self.watch(now, job, plan);
        let fields = json!({"name": plan.name, "status": JobState::Accepted});
        self.tell(Kind::Job, Some(job), fields);
    }

    /// From now on a job's figures are kept.
    pub(crate) fn watch(&mut self, now: Now, job: JobId, plan: &Arc<Plan>) {
        let stages = vec![StageTrace::default(); plan.stages.len()];
        let trace = JobTrace {
            plan: Arc::clone(plan),
            submitted: now,
            started: None,
            stages,
            attempts: VecDeque::new(),
            first: 0,
            running: BTreeMap::new(),
            last_ends: BTreeMap::new(),
            done: 0,
            progress: Progress::default(),
            told: 0.0,
            told_at: now,
        };
        self.jobs.insert(job, trace);
    }

    /// Takes up the figures of a job of an earlier life, as far as they are known.
    pub(crate) fn resume(&mut self, now: Now, job: JobId, ledger: &Ledger) {
        for (stage, past) in (0..).map(StageId).zip(&ledger.stages) {
            let attempt = |partition: u32, attempt| {
                let task = TaskId { job, stage, partition };
                TaskAttempt { task, attempt }
            };
            if let Some(trace) = self.jobs.get_mut(&job) {
                trace.done += past.totals.tasks;
                if let Some(seen) = trace.stages.get_mut(stage.index()) {
                    seen.done += past.totals.tasks;
                }
                for (&partition, accepted) in &past.done {
                    let task = TaskId { job, stage, partition };
                    trace.progress.task_done(task, &accepted.report);
                }
            }
            for (&partition, run) in &past.running {
                self.attempt_started(now, attempt(partition, run.attempt), &run.worker, run.epoch);
            }
        }
    }

    /// A job has ended: its plan is no longer needed whole.
    pub(crate) fn shed(&mut self, job: JobId, plan: &Arc<Plan>) {
        if let Some(trace) = self.jobs.get_mut(&job) {
            trace.plan = Arc::clone(plan);
        }
    }

    /// A job is not known any more.
    pub(crate) fn forget(&mut self, job: JobId) {
        if let Some(trace) = self.jobs.remove(&job) {
            self.attempts -= trace.attempts.len();
        }
    }

    /// A fact came out of the scheduler.
    pub(crate) fn fact(&mut self, now: Now, fact: &Fact, scheduler: &Scheduler) {
        match fact {
            Fact::Accepted { .. } | Fact::CommitIntent { .. } | Fact::Committed { .. } => {}
            Fact::AttemptStarted { attempt, worker, epoch } => {
                self.attempt_started(now, *attempt, worker, *epoch);
            }
            Fact::AttemptFailed { attempt, failure, worker_lost } => {
                self.attempt_failed(now, *attempt, failure, *worker_lost);
            }
            Fact::AttemptReturned { attempt } => self.attempt_returned(now, *attempt),
            Fact::OutputAccepted { output, report } => {
                self.output_accepted(now, output.map, &output.worker, report);
            }
            Fact::OutputLost { attempt } => self.output_lost(*attempt, scheduler),
            Fact::StageDone { job, stage } => self.stage_done(*job, *stage),
            Fact::Ended { job, status, error, .. } => {
                self.ended(now, *job, *status, error.as_ref());
            }
        }
    }

    fn attempt_started(&mut self, now: Now, attempt: TaskAttempt, worker: &WorkerId, epoch: Epoch) {
        let TaskAttempt { task, .. } = attempt;
        let name = Arc::clone(&self.tally(worker).name);
        let Some(trace) = self.jobs.get_mut(&task.job) else { return };
        let is_first = trace.started.is_none();
        if is_first {
            trace.started = Some(now);
            self.metrics.queue_wait.observe(secs(now.saturating_sub(trace.submitted)));
        }
        let reason = trace.last_ends.remove(&task);
        let started = AttemptTrace {
            attempt,
            worker: name,
            epoch,
            state: AttemptState::Running,
            started: now,
            ended: None,
            rows: 0,
            bytes: 0,
            read_bytes: 0,
            spilled_bytes: 0,
            code: None,
        };
        self.attempts += trace.start(started);
        let stage = trace.stages.get_mut(task.stage.index());
        let is_stage_first = stage
            .is_some_and(|stage| stage.started.replace(stage.started.unwrap_or(now)).is_none());
        if let Some(reason) = reason {
            self.metrics.task_retries.with_label_values(&[reason]).inc();
            self.tally(worker).retries += 1;
        }
        if is_first {
            self.tell(Kind::Job, Some(task.job), json!({"status": JobState::Running}));
        }
        if is_stage_first {
            self.tell_stage(task.job, task.stage, NodeState::Running);
        }
        self.tell_task(attempt, worker, AttemptState::Running, Map::new());
        self.keep_bound();
    }

    fn attempt_failed(&mut self, now: Now, attempt: TaskAttempt, failure: &Failure, is_lost: bool) {
        let TaskAttempt { task, .. } = attempt;
        let Some(trace) = self.jobs.get_mut(&task.job) else { return };
        let Some(seen) = trace.attempt(attempt).cloned() else { return };
        let worker = WorkerId(seen.worker.to_string());
        let (state, reason, outcome) = if is_lost {
            (AttemptState::Lost, "worker_lost", "lost")
        } else if failure.fetch.is_some() {
            (AttemptState::Failed, "fetch_failed", "failed")
        } else {
            (AttemptState::Failed, "failed", "failed")
        };
        trace.finish(now, attempt, state);
        if let Some(kept) = trace.attempt_mut(attempt) {
            kept.code = Some(failure.code);
        }
        trace.last_ends.insert(task, reason);
        let op = stage_op(&trace.plan, task.stage);
        self.metrics.task_attempts.with_label_values(&[op, outcome]).inc();
        let code = failure.code.name();
        let why = Map::from_iter([(String::from("code"), json!(code))]);
        self.tell_task(attempt, &worker, state, why);
        let fields = json!({
            "code": code,
            "message": failure.message,
            "where": {
                "stage": task.stage.0,
                "partition": task.partition,
                "attempt": attempt.attempt.to_string(),
                "worker": worker.0,
            },
        });
        self.tell(Kind::Warning, Some(task.job), fields);
    }

    fn attempt_returned(&mut self, now: Now, attempt: TaskAttempt) {
        let Some(trace) = self.jobs.get_mut(&attempt.task.job) else { return };
        let Some(seen) = trace.attempt(attempt).cloned() else { return };
        trace.finish(now, attempt, AttemptState::Cancelled);
        trace.last_ends.insert(attempt.task, "handed_back");
        let op = stage_op(&trace.plan, attempt.task.stage);
        self.metrics.task_attempts.with_label_values(&[op, "cancelled"]).inc();
        let worker = WorkerId(seen.worker.to_string());
        self.tell_task(attempt, &worker, AttemptState::Cancelled, Map::new());
    }

    fn output_accepted(
        &mut self,
        now: Now,
        attempt: TaskAttempt,
        worker: &WorkerId,
        report: &TaskReport,
    ) {
        let TaskAttempt { task, .. } = attempt;
        let elapsed = Duration::from_millis(report.elapsed_ms);
        let Some(trace) = self.jobs.get_mut(&task.job) else { return };
        trace.finish(now, attempt, AttemptState::Completed);
        trace.last_ends.remove(&task);
        trace.done += 1;
        trace.progress.task_done(task, report);
        if let Some(stage) = trace.stages.get_mut(task.stage.index()) {
            stage.done += 1;
            stage.ended = Some(now);
        }
        if let Some(kept) = trace.attempt_mut(attempt) {
            kept.rows = report.rows;
            kept.bytes = report.bytes;
            kept.read_bytes = report.read_bytes;
            kept.spilled_bytes = report.spilled_bytes;
        }
        let plan = Arc::clone(&trace.plan);
        let op = stage_op(&plan, task.stage);
        self.metrics.task_attempts.with_label_values(&[op, "done"]).inc();
        self.metrics.task_duration.with_label_values(&[op]).observe(secs(elapsed));
        let rows_in = self.count_rows(&plan, report);
        let stage = plan.stages.get(task.stage.index());
        let is_sink = stage.is_some_and(|stage| matches!(stage.output, Output::Sink(_)));
        let shuffled_bytes = if is_sink { 0 } else { report.bytes };
        for (kind, bytes) in [
            ("read", report.read_bytes),
            ("shuffle_sent", shuffled_bytes),
            ("spilled", report.spilled_bytes),
        ] {
            self.metrics.bytes.with_label_values(&[kind]).inc_by(bytes);
        }
        let tally = self.tally(worker);
        tally.latency.record(elapsed);
        tally.rows_in += rows_in;
        tally.rows_out += report.rows;
        tally.read_bytes += report.read_bytes;
        tally.shuffled_bytes += shuffled_bytes;
        tally.spilled_bytes += report.spilled_bytes;
        tally.result_bytes += report.bytes - shuffled_bytes;
        tracing::debug!(
            job_id = %task.job,
            stage = %task.stage,
            partition = task.partition,
            attempt = %attempt.attempt,
            %worker,
            term = %self.term,
            elapsed_secs = secs(elapsed),
            "task done"
        );
        let fields = Map::from_iter([
            (String::from("duration_secs"), json!(secs(elapsed))),
            (String::from("rows"), json!(report.rows)),
            (String::from("bytes"), json!(report.bytes)),
        ]);
        self.tell_task(attempt, worker, AttemptState::Completed, fields);
        self.tell_progress(now, task.job);
    }

    /// Counts an output's rows by operator; gives the rows that readers decoded.
    fn count_rows(&self, plan: &Plan, report: &TaskReport) -> u64 {
        let mut read = 0;
        for counted in &report.nodes {
            let Some(node) = plan.nodes.get(counted.node.index()) else { continue };
            let op = node.op.name();
            let count = |kind, rows| self.metrics.rows.with_label_values(&[op, kind]).inc_by(rows);
            count("in", counted.rows_in);
            count("out", counted.rows_out);
            match node.op {
                Op::Filter { .. } => count("filtered", counted.filtered),
                Op::Sample { .. } => {
                    count("filtered", counted.rows_in.saturating_sub(counted.rows_out));
                }
                _ => {}
            }
            if counted.quarantined > 0 {
                count("quarantined", counted.quarantined);
            }
            if let Op::Read(_) = node.op {
                read += counted.rows_in;
            }
        }
        read
    }

    fn output_lost(&mut self, attempt: TaskAttempt, scheduler: &Scheduler) {
        let task = attempt.task;
        let Some(trace) = self.jobs.get_mut(&task.job) else { return };
        let is_lost = trace
            .attempt(attempt)
            .is_some_and(|seen| !scheduler.knows(&WorkerId(seen.worker.to_string()), seen.epoch));
        let reason = if is_lost { "worker_lost" } else { "fetch_failed" };
        trace.done = trace.done.saturating_sub(1);
        trace.last_ends.insert(task, "output_lost");
        let Some(stage) = trace.stages.get_mut(task.stage.index()) else { return };
        stage.done = stage.done.saturating_sub(1);
        if std::mem::replace(&mut stage.is_done, false) {
            self.metrics.stage_recomputes.with_label_values(&[reason]).inc();
            tracing::info!(
                job_id = %task.job, stage = %task.stage, term = %self.term, reason,
                "stage runs again in part"
            );
            self.tell_stage(task.job, task.stage, NodeState::Running);
        }
    }

    fn stage_done(&mut self, job: JobId, stage: StageId) {
        let Some(trace) = self.jobs.get_mut(&job) else { return };
        if let Some(seen) = trace.stages.get_mut(stage.index()) {
            seen.is_done = true;
        }
        self.tell_stage(job, stage, NodeState::Completed);
    }

    fn ended(&mut self, now: Now, job: JobId, status: JobStatus, error: Option<&JobError>) {
        let code = error.map_or_else(|| String::from("NONE"), |error| error.failure.code.name());
        let labels = [metrics::state(status), code.as_str()];
        self.metrics.jobs_finished.with_label_values(&labels).inc();
        let Some(trace) = self.jobs.get_mut(&job) else { return };
        let elapsed = secs(now.saturating_sub(trace.submitted));
        self.metrics.job_duration.observe(elapsed);
        let running: Vec<_> = trace.running.keys().copied().collect();
        for attempt in running {
            trace.finish(now, attempt, AttemptState::Cancelled);
            let op = stage_op(&trace.plan, attempt.task.stage);
            self.metrics.task_attempts.with_label_values(&[op, "cancelled"]).inc();
        }
        trace.last_ends = BTreeMap::new();
        let percent = if status == JobStatus::Completed { 100.0 } else { trace.progress.highest() };
        self.ended.push_back(job);
        let mut fields = json!({
            "status": metrics::state(status),
            "progress_percent": percent,
            "duration_secs": elapsed,
        });
        if let Some(error) = error {
            fields["error"] = json!(crate::rest::jobs::failure(job, error));
        }
        self.tell(Kind::End, Some(job), fields);
        self.keep_bound();
    }

    /// Forgets the attempts of jobs that ended long ago, where there are too many.
    fn keep_bound(&mut self) {
        while self.attempts > MAX_ATTEMPTS
            && let Some(job) = self.ended.pop_front()
        {
            if let Some(trace) = self.jobs.get_mut(&job) {
                self.attempts -= trace.attempts.len();
                trace.first += trace.attempts.len() as u64;
                trace.attempts = VecDeque::new();
            }
        }
    }

    /// A poll says what its worker has fetched, and how far its attempts are.
    pub(crate) fn polled(&mut self, now: Now, poll: &Poll) {
        let fetched = poll.load.fetched;
        let before = std::mem::replace(&mut self.tally(&poll.worker).fetched, fetched);
        self.metrics.fetched(&fetched.since(&before));
        let mut moved = BTreeSet::new();
        for running in &poll.running {
            let job = running.attempt.task.job;
            let Some(trace) = self.jobs.get_mut(&job) else { continue };
            let read = Read { rows: running.rows, bytes: running.bytes };
            if let Some((_, known)) = trace.running.get_mut(&running.attempt)
                && *known != read
            {
                *known = read;
                moved.insert(job);
            }
        }
        for job in moved {
            self.tell_progress(now, job);
        }
    }

    /// How far a job is, where that was seen.
    pub(crate) fn progress(&self, job: JobId) -> f64 {
        self.jobs.get(&job).map_or(0.0, |trace| trace.progress.highest())
    }

    /// A worker's message has no effect.
    pub(crate) fn fenced(&self, fenced: Fenced) {
        let kind = match fenced {
            Fenced::StaleTerm => "stale_term",
            Fenced::Newer { .. } => "newer_term",
            Fenced::Unknown => "unknown_worker",
            Fenced::Full => return,
        };
        self.metrics.fenced.with_label_values(&[kind]).inc();
    }

    /// A worker has registered.
    pub(crate) fn worker_up(&mut self, register: &Register) {
        self.tally(&register.worker);
        let fields = json!({
            "address": register.address, "slots": register.slots, "epoch": register.epoch.0,
        });
        self.tell_worker(&register.worker, WorkerState::Up, fields);
    }

    /// A worker is lost or has left.
    pub(crate) fn worker_down(&mut self, worker: &WorkerId, epoch: Epoch) {
        self.tell_worker(worker, WorkerState::Down, json!({"epoch": epoch.0}));
    }

    /// These workers get no new tasks for a while; whoever is not among them any more does again.
    pub(crate) fn exclusions<'a>(&mut self, excluded: impl Iterator<Item = &'a WorkerId>) {
        let now: BTreeSet<_> = excluded.cloned().collect();
        if now == self.excluded {
            return;
        }
        let before = std::mem::replace(&mut self.excluded, now.clone());
        for worker in now.difference(&before) {
            tracing::info!(%worker, term = %self.term, "worker excluded");
            self.tell_worker(worker, WorkerState::Excluded, json!({}));
        }
        for worker in before.difference(&now) {
            tracing::info!(%worker, term = %self.term, "worker not excluded any more");
            self.tell_worker(worker, WorkerState::Up, json!({}));
        }
    }

    /// A worker that is not known any more.
    pub(crate) fn forget_workers(&mut self, is_known: impl Fn(&WorkerId) -> bool) {
        self.workers.retain(|worker, _| is_known(worker));
    }

    fn tally(&mut self, worker: &WorkerId) -> &mut Tally {
        self.workers.entry(worker.clone()).or_insert_with(|| Tally {
            name: Arc::from(worker.0.as_str()),
            latency: Latency::default(),
            retries: 0,
            rows_in: 0,
            rows_out: 0,
            read_bytes: 0,
            shuffled_bytes: 0,
            spilled_bytes: 0,
            result_bytes: 0,
            fetched: Fetched::default(),
        })
    }

    // What is told.

    fn tell_stage(&self, job: JobId, id: StageId, state: NodeState) {
        let Some(trace) = self.jobs.get(&job) else { return };
        let Some(planned) = trace.plan.stages.get(id.index()) else { return };
        let done = trace.stages.get(id.index()).map_or(0, |stage| stage.done);
        let fields = json!({"stage": {
            "id": id.0,
            "nodes": node_ids(&trace.plan, &planned.nodes()),
            "state": state,
            "tasks": planned.partitions,
            "tasks_done": done,
        }});
        self.tell(Kind::Stage, Some(job), fields);
    }

    fn tell_task(
        &self,
        attempt: TaskAttempt,
        worker: &WorkerId,
        state: AttemptState,
        more: Map<String, Value>,
    ) {
        let mut task = Map::from_iter([
            (String::from("stage"), json!(attempt.task.stage.0)),
            (String::from("partition"), json!(attempt.task.partition)),
            (String::from("attempt"), json!(attempt.attempt.to_string())),
            (String::from("worker"), json!(worker.0)),
            (String::from("state"), json!(state)),
        ]);
        task.extend(more);
        self.tell(Kind::Task, Some(attempt.task.job), json!({ "task": task }));
    }

    fn tell_worker(&self, worker: &WorkerId, state: WorkerState, more: Value) {
        let mut fields = json!({"id": worker.0, "state": state});
        if let (Value::Object(fields), Value::Object(more)) = (&mut fields, more) {
            fields.extend(more);
        }
        self.tell(Kind::Worker, None, json!({ "worker": fields }));
    }

    /// Tells how far a job is, where that has changed enough.
    fn tell_progress(&mut self, now: Now, job: JobId) {
        let Some(trace) = self.jobs.get_mut(&job) else { return };
        let running = trace.running.iter().map(|(attempt, (_, read))| (attempt.task, *read));
        let percent = trace.progress.percent(&trace.plan, trace.done, running);
        let is_due = now.saturating_sub(trace.told_at) >= PROGRESS_EVERY;
        if percent - trace.told >= 1.0 || (percent > trace.told && is_due) {
            (trace.told, trace.told_at) = (percent, now);
            let fields = json!({
                "progress_percent": percent,
                "duration_secs": secs(now.saturating_sub(trace.submitted)),
                "tasks_done": trace.done,
                "tasks_running": trace.running.len(),
            });
            self.tell(Kind::Progress, Some(job), fields);
        }
    }

    fn tell(&self, kind: Kind, job: Option<JobId>, fields: Value) {
        self.feed.push(kind, job, stamped(&self.clock, job, fields));
    }
}

/// An event's object: when, of which job, and what.
pub(crate) fn stamped(clock: &dyn Clock, job: Option<JobId>, fields: Value) -> String {
    let mut object = Map::new();
    let time = clock.wall().to_utc().to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    object.insert(String::from("time"), json!(time));
    if let Some(job) = job {
        object.insert(String::from("job_id"), json!(job.to_string()));
    }
    if let Value::Object(fields) = fields {
        object.extend(fields);
    }
    Value::Object(object).to_string()
}

impl JobTrace {
    /// The attempts from number `from` on, with their numbers.
    pub(crate) fn attempts_from(
        &self,
        from: u64,
    ) -> impl Iterator<Item = (u64, AttemptTrace)> + '_ {
        let skip = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let shown = |(number, attempt): (u64, &AttemptTrace)| {
            let mut attempt = attempt.clone();
            if let Some((_, read)) = self.running.get(&attempt.attempt) {
                (attempt.rows, attempt.read_bytes) = (read.rows, read.bytes);
            }
            (number, attempt)
        };
        (self.first..).zip(&self.attempts).skip(skip).map(shown)
    }

    /// Remembers an attempt; gives by how many there are more.
    fn start(&mut self, attempt: AttemptTrace) -> usize {
        let number = self.first + self.attempts.len() as u64;
        self.running.insert(attempt.attempt, (number, Read::default()));
        self.attempts.push_back(attempt);
        if self.attempts.len() > MAX_ATTEMPTS_OF_JOB {
            self.attempts.pop_front();
            self.first += 1;
            return 0;
        }
        1
    }

    /// An attempt is over.
    fn finish(&mut self, now: Now, attempt: TaskAttempt, state: AttemptState) {
        let Some((number, read)) = self.running.remove(&attempt) else { return };
        if let Some(kept) = self.numbered(number) {
            (kept.state, kept.ended) = (state, Some(now));
            (kept.rows, kept.read_bytes) = (read.rows, read.bytes);
        }
    }

    fn numbered(&mut self, number: u64) -> Option<&mut AttemptTrace> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.attempts.get_mut(place)
    }

    /// An attempt that is remembered; the newest are looked at first.
    fn attempt(&self, attempt: TaskAttempt) -> Option<&AttemptTrace> {
        self.attempts.iter().rev().find(|seen| seen.attempt == attempt)
    }

    fn attempt_mut(&mut self, attempt: TaskAttempt) -> Option<&mut AttemptTrace> {
        self.attempts.iter_mut().rev().find(|seen| seen.attempt == attempt)
    }
}

/// The operator by which a stage's tasks are counted: that of the node which ends it.
fn stage_op(plan: &Plan, stage: StageId) -> &'static str {
    let stage = plan.stages.get(stage.index());
    let node = stage.and_then(|stage| plan.nodes.get(stage.root().node.index()));
    node.map_or("unknown", |node| node.op.name())
}

fn secs(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these percents are exact")]
mod tests {
    use std::time::Duration;

    use minispark_engine::{
        error::{Class, Code, Failure},
        id::{Epoch, WorkerId},
        task::TaskReport,
    };

    use crate::{
        master::testing::{EPOCH, done, master, poll, register, submit},
        metrics,
        protocol::{Outcome, Register, Report},
        rest::wire::AttemptState,
    };

    const HEARTBEAT: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn a_job_of_one_task_moves_by_the_bytes_that_it_has_read_and_never_back() {
        let folder = tempfile::tempdir().unwrap();
        let (master, _clock) = master(folder.path(), HEARTBEAT);
        let job = submit(&master, "one");
        let mut cluster = master.lock();
        let now = Duration::ZERO;
        cluster.register(now, register("w")).unwrap();
        let attempt = cluster.poll(now, &poll("w", 1, &[])).0.unwrap().answer.assign[0].attempt;
        let mut progress = |seq, bytes| {
            let mut running = poll("w", seq, &[attempt]);
            running.running[0].bytes = bytes;
            cluster.poll(now, &running).0.unwrap();
            cluster.job(job).unwrap().0.progress_percent
        };
        // One of the split's two bytes, and the task is one of two steps.
        assert_eq!([progress(2, 0), progress(3, 1), progress(4, 0)], [0.0, 25.0, 25.0]);
    }

    #[tokio::test]
    async fn attempts_are_remembered_with_their_ends() {
        let folder = tempfile::tempdir().unwrap();
        let (master, _clock) = master(folder.path(), HEARTBEAT);
        let job = submit(&master, "one");
        let mut cluster = master.lock();
        let at = Duration::from_millis;
        cluster.register(at(0), register("w")).unwrap();
        let first = cluster.poll(at(0), &poll("w", 1, &[])).0.unwrap().answer.assign[0].attempt;
        let failure = Failure {
            class: Class::Retry,
            code: Code::TaskFailed,
            message: String::from("no luck"),
            fetch: None,
        };
        let mut failed = poll("w", 2, &[]);
        failed.reports.push(Report { attempt: first, outcome: Outcome::Failed(failure) });
        cluster.poll(at(10), &failed).0.unwrap();
        cluster.tick(at(1_000));
        let answer = cluster.poll(at(1_000), &poll("w", 3, &[])).0.unwrap().answer;
        let second = answer.assign[0].attempt;
        // The worker is lost with the second attempt; its next life gets the third.
        cluster.tick(at(9_000));
        let next = Register { epoch: Epoch(EPOCH.0 + 1), ..register("w") };
        cluster.register(at(9_000), next).unwrap();
        let mut of_next = poll("w", 1, &[]);
        of_next.epoch = Epoch(EPOCH.0 + 1);
        let third = cluster.poll(at(9_000), &of_next).0.unwrap().answer.assign[0].attempt;
        let report = TaskReport { rows: 5, elapsed_ms: 70, ..TaskReport::default() };
        let mut ended = super::Poll { seq: 2, ..of_next };
        ended.reports.push(Report { attempt: third, outcome: Outcome::Done(report) });
        cluster.poll(at(9_100), &ended).0.unwrap();

        let trace = cluster.observer().job(job).unwrap();
        let seen: Vec<_> = trace
            .attempts_from(0)
            .map(|(number, seen)| (number, seen.attempt, seen.state, seen.ended, seen.rows))
            .collect();
        assert_eq!(
            seen,
            [
                (0, first, AttemptState::Failed, Some(at(10)), 0),
                (1, second, AttemptState::Lost, Some(at(9_000)), 0),
                (2, third, AttemptState::Completed, Some(at(9_100)), 5),
            ]
        );
        assert_eq!(trace.attempts_from(2).count(), 1);
        let tally = cluster.observer().worker(&WorkerId(String::from("w"))).unwrap();
        assert_eq!((tally.retries, tally.rows_out, tally.latency.count()), (2, 5, 1));
        let numbers = cluster.observer().metrics();
        let count = |family: &prometheus::IntCounterVec, labels: &[&str]| {
            family.with_label_values(labels).get()
        };
        assert_eq!(count(&numbers.task_attempts, &["read", "failed"]), 1);
        assert_eq!(count(&numbers.task_attempts, &["read", "lost"]), 1);
        assert_eq!(count(&numbers.task_attempts, &["read", "done"]), 1);
        assert_eq!(count(&numbers.task_retries, &["failed"]), 1);
        assert_eq!(count(&numbers.task_retries, &["worker_lost"]), 1);
    }

    #[tokio::test]
    async fn three_failed_tasks_exclude_a_worker_and_time_brings_it_back() {
        let folder = tempfile::tempdir().unwrap();
        let (master, _clock) = master(folder.path(), HEARTBEAT);
        for _ in 0..3 {
            submit(&master, "one");
        }
        let mut cluster = master.lock();
        let now = Duration::ZERO;
        cluster.register(now, Register { slots: 3, ..register("w") }).unwrap();
        cluster.register(now, Register { slots: 1, ..register("v") }).unwrap();
        let answer = cluster.poll(now, &poll("w", 1, &[])).0.unwrap().answer;
        let mut failed = poll("w", 2, &[]);
        for task in &answer.assign {
            let failure = Failure {
                class: Class::Retry,
                code: Code::TaskFailed,
                message: String::new(),
                fetch: None,
            };
            let outcome = Outcome::Failed(failure);
            failed.reports.push(Report { attempt: task.attempt, outcome });
        }
        assert_eq!(failed.reports.len(), 3);
        cluster.poll(now, &failed).0.unwrap();
        let before = cluster.observer().feed().last();
        cluster.tick(now);
        let feed = std::sync::Arc::clone(cluster.observer().feed());
        let told = || {
            let (entries, _) = feed.after(before, None, 100).unwrap();
            let workers = entries.iter().filter(|entry| entry.kind == super::Kind::Worker);
            let state = |entry: &super::super::events::Entry| {
                let data: serde_json::Value = serde_json::from_str(&entry.data).unwrap();
                let worker = &data["worker"];
                format!("{} {}", worker["id"], worker["state"]).replace('"', "")
            };
            workers.map(|entry| state(entry)).collect::<Vec<_>>()
        };
        assert_eq!(told(), ["w EXCLUDED"]);
        let standing = metrics::standing(&cluster, now);
        assert_eq!(
            standing.workers.iter().map(|(_, count)| *count).collect::<Vec<_>>(),
            [1, 1, 0, 0]
        );
        for minutes in 1..=6 {
            let later = Duration::from_mins(minutes);
            // Both go on polling, so nobody is lost.
            for worker in ["w", "v"] {
                cluster.poll(later, &poll(worker, 10 + minutes, &[])).0.ok();
            }
            cluster.tick(later);
        }
        assert!(told().contains(&String::from("w UP")), "{:?}", told());
    }

    #[tokio::test]
    async fn what_ended_is_forgotten_with_its_job() {
        let folder = tempfile::tempdir().unwrap();
        let (master, _clock) = master(folder.path(), HEARTBEAT);
        let job = submit(&master, "one");
        let mut cluster = master.lock();
        let now = Duration::ZERO;
        cluster.register(now, register("w")).unwrap();
        let attempt = cluster.poll(now, &poll("w", 1, &[])).0.unwrap().answer.assign[0].attempt;
        let mut report = poll("w", 2, &[]);
        report.reports.push(done(attempt));
        cluster.poll(now, &report).0.unwrap();
        assert_eq!(cluster.observer.attempts, 1);
        cluster.observer.forget(job);
        assert_eq!((cluster.observer.attempts, cluster.observer.jobs.len()), (0, 0));
    }
}
