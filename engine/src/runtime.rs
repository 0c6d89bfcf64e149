//! The embedded runtime: the scheduler and a few threads in one process.
//!
//! It is what `run` uses and what a cluster is compared with: the same plan, the same tasks, the
//! same commit; only the exchange hands batches over as they are.

use std::{
    collections::{BTreeMap, VecDeque},
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use chrono::{DateTime, Local};

use crate::{
    Error, Result,
    disk::{DataDisks, Disk, Lock, quota::Quota},
    error::{Failure, without_base},
    exchange::{LocalExchange, store::PartitionStore},
    id::{Epoch, JobId, TaskAttempt, Term, WorkerId},
    job::check::{self, Checked, Problem, Site},
    memory::Budget,
    plan::{
        Output, Plan, Sink,
        explain::{self, Explanation},
        rules,
        stages::{self, Sizes},
    },
    schedule::{
        Command, Event, Fact, JobError, JobStatus, JobView, Now, Scheduler, Settings,
        progress::{Progress, Read},
    },
    sink::{
        STAGING,
        commit::{Published, Publisher},
    },
    task::{
        self, ResultPlace, Task, TaskReport,
        context::{CancelFlag, TaskContext},
        limits::Resources,
        metrics::RowCounter,
    },
};

pub mod collect;

use collect::Collected;

/// Where time comes from.
pub trait Clock: Send + Sync {
    /// Time since the clock was made; never goes back. All that is decided by time goes by it.
    fn now(&self) -> Now;

    /// The wall's time, for display only.
    fn wall(&self) -> DateTime<Local>;
}

/// The system's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock(Instant);

impl SystemClock {
    /// A clock that starts now.
    #[expect(clippy::disallowed_methods, reason = "this is the clock that the rule points to")]
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        self.0.elapsed()
    }

    fn wall(&self) -> DateTime<Local> {
        Local::now()
    }
}

/// How a [`Session`] works.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// Relative paths in documents are relative to this folder.
    pub base_dir: PathBuf,
    /// The files that jobs may read and write.
    pub data: DataDisks,
    /// Where text sinks appear.
    pub output_dir: PathBuf,
    /// Where spill files go; each run has a folder of its own in it and removes it.
    pub scratch_dir: PathBuf,
    /// How many tasks run at once.
    pub threads: usize,
    /// The memory budget, in bytes.
    pub memory_bytes: u64,
}

/// Runs jobs in this process.
pub struct Session {
    options: SessionOptions,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    sizes: Sizes,
    spill_quota_bytes: Option<u64>,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The run's identity.
    pub job: JobId,
    /// How it ended.
    pub status: JobStatus,
    /// Why it failed.
    pub error: Option<JobError>,
    /// The results that are in place.
    pub sinks: Vec<Published>,
    /// The job as it was at its end.
    pub view: JobView,
    /// From the start to the last result in place.
    pub elapsed: Duration,
}

/// How often the watcher of a run is called, and a cancelled run noticed.
const WATCH: Duration = Duration::from_millis(50);

impl Session {
    /// A session on the system's files and clocks. Folders of earlier runs whose process is dead
    /// are swept from the scratch folder.
    ///
    /// # Errors
    /// [`Error::Io`] where the output or scratch folder can't be made.
    pub fn new(options: SessionOptions) -> Result<Self> {
        let disk = crate::disk::RealDisk::shared();
        for folder in [&options.output_dir, &options.scratch_dir] {
            disk.create_dir_all(folder).map_err(Error::io("create", folder))?;
        }
        sweep_dead_runs(&*disk, &options.scratch_dir)?;
        let clock = Arc::new(SystemClock::start());
        let sizes = Sizes::of_process(options.memory_bytes);
        Ok(Self { options, disk, clock, sizes, spill_quota_bytes: None })
    }

    /// The session with plans cut by other sizes: other stages and tasks for the same rows.
    #[must_use]
    pub fn with_sizes(self, sizes: Sizes) -> Self {
        Self { sizes, ..self }
    }

    /// The session with a limit for what spill files and map outputs take on disk, in bytes.
    #[must_use]
    pub fn with_spill_quota(self, spill_quota_bytes: Option<u64>) -> Self {
        Self { spill_quota_bytes, ..self }
    }

    /// Checks a document without running it.
    ///
    /// # Errors
    /// All its problems.
    pub fn check(&self, document: &str, strict: bool) -> Result<Checked, Vec<Problem>> {
        let base_dir = Some(self.options.base_dir.clone());
        let now_micros = self.clock.wall().timestamp_micros();
        let site = Site { data: self.options.data.clone(), base_dir, now_micros };
        check::check(document, strict, &site)
    }

    /// Runs a checked job on the calling thread and `threads` others; returns when it has ended.
    ///
    /// `watch` is called about every 50 ms and once at the end.
    ///
    /// # Errors
    /// Where the job could not be started; a job that fails is an [`Outcome`].
    pub fn run(
        &self,
        checked: Checked,
        cancel: &CancelFlag,
        watch: &mut dyn FnMut(&JobView),
    ) -> Result<Outcome> {
        let plan = self.laid_out(checked.plan)?;
        let ended = self.run_plan(Arc::new(plan), Manner::default(), cancel, watch)?;
        Ok(self.told(ended.outcome))
    }

    /// Explains a checked job without running it.
    ///
    /// # Errors
    /// Where its stages can't be cut: those of the files that it reads.
    pub fn explain(&self, checked: Checked) -> Result<Explanation> {
        Ok(explain::explain(&self.laid_out(checked.plan)?, &self.options.data.inputs))
    }

    /// As [`Session::run`], with every step measured: the plan as it was run, with what it did.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn analyze(
        &self,
        checked: Checked,
        cancel: &CancelFlag,
        watch: &mut dyn FnMut(&JobView),
    ) -> Result<(Outcome, Explanation)> {
        let plan = Arc::new(self.laid_out(checked.plan)?);
        let mut explanation = explain::explain(&plan, &self.options.data.inputs);
        let manner = Manner { is_measured: true, ..Manner::default() };
        let Ended { outcome, reports, .. } = self.run_plan(plan, manner, cancel, watch)?;
        explanation.measured(&outcome.view.rows, &reports);
        Ok((self.told(outcome), explanation))
    }

    /// The outcome with its error's paths as the document has them.
    fn told(&self, mut outcome: Outcome) -> Outcome {
        if let Some(error) = &mut outcome.error {
            let failure = &mut error.failure;
            failure.message = without_base(&failure.message, &self.options.base_dir);
        }
        outcome
    }

    fn laid_out(&self, plan: Plan) -> Result<Plan> {
        let disk = &self.options.data.inputs;
        stages::cut_by(rules::apply(plan, disk), disk, self.sizes)
    }

    /// Runs a plan that is laid out.
    fn run_plan(
        &self,
        plan: Arc<Plan>,
        manner: Manner,
        cancel: &CancelFlag,
        watch: &mut dyn FnMut(&JobView),
    ) -> Result<Ended> {
        let job = JobId::random();
        let mut staging: Vec<PathBuf> =
            sinks(&plan).map(|sink| sink.staging(job, &self.options.output_dir)).collect();
        staging.push(self.options.output_dir.join(STAGING).join(job.to_string()));
        let scratch = RunFolder::create(&self.disk, &self.options.scratch_dir, job, &staging)?;
        let budget = Budget::of_tasks(self.options.memory_bytes, self.options.threads);
        let quota = Quota::of_process(self.spill_quota_bytes);
        let resources = Resources::new(budget.clone(), Arc::clone(&self.disk), quota);
        let of_job = resources.of(job, &plan.limits);
        let publisher = Publisher {
            disk: Arc::clone(&self.options.data.outputs),
            output_dir: self.options.output_dir.clone(),
            budget: budget.clone(),
        };
        let shuffle = scratch.path.join("shuffle");
        let store = Arc::new(PartitionStore::new(Arc::clone(&self.disk), shuffle, budget));
        let context = TaskContext {
            budget: of_job.budget,
            cancel: CancelFlag::default(),
            disk: of_job.disk,
            data: self.options.data.clone(),
            scratch: scratch.path.join("spill"),
            spilled_bytes: Arc::default(),
            read_bytes: Arc::default(),
            exchange: Arc::new(LocalExchange { store: Arc::clone(&store) }),
            store,
        };
        let started = self.clock.now();
        let driven = thread::scope(|scope| {
            let (tasks, queue) = sync_channel(self.options.threads * 4);
            let (reports, results) = sync_channel(self.options.threads);
            let queue = Arc::new(Mutex::new(queue));
            for number in 0..self.options.threads {
                let (queue, reports) = (Arc::clone(&queue), reports.clone());
                let clock = Arc::clone(&self.clock);
                thread::Builder::new()
                    .name(format!("slot-{number}"))
                    .stack_size(task::STACK_BYTES)
                    .spawn_scoped(scope, move || work(&queue, &reports, &*clock))
                    .map_err(Error::io("start a thread for", "tasks"))?;
            }
            drop(reports);
            let mut run = Run {
                job,
                plan,
                context,
                publisher: &publisher,
                clock: &*self.clock,
                scheduler: Scheduler::new(settings()),
                tasks,
                results,
                running: BTreeMap::new(),
                progress: Progress::default(),
                published: Vec::new(),
                collected: Vec::new(),
                has_ended: false,
                manner,
                reports: Vec::new(),
            };
            let (view, sinks) = run.drive(self.options.threads, cancel, watch)?;
            Ok::<_, Error>((view, sinks, run.collected, run.reports))
        });
        let (view, sinks, collected, reports) = driven?;
        let elapsed = self.clock.now().saturating_sub(started);
        let (status, error) = (view.status, view.error.clone());
        let outcome = Outcome { job, status, error, sinks, view, elapsed };
        Ok(Ended { outcome, collected, reports })
    }
}

/// What is asked of a run beside its result.
#[derive(Clone, Copy, Default)]
struct Manner {
    /// Measure every step.
    is_measured: bool,
    /// Leave the results' rows in memory instead of writing them.
    collects: bool,
}

/// What a run has left.
struct Ended {
    outcome: Outcome,
    /// The results' rows, where they were to stay in memory.
    collected: Vec<Collected>,
    /// What the tasks reported, where they were measured.
    reports: Vec<(TaskAttempt, TaskReport)>,
}

/// Longer than any run, and short enough to be added to a time.
const FOREVER: Duration = Duration::from_secs(1 << 40);

/// One process can't be lost without losing the scheduler with it, so no lease ever ends.
fn settings() -> Settings {
    Settings { term: Term(1), lost_after: FOREVER, no_worker_wait: FOREVER, attempts: 4 }
}

/// The only worker of an embedded run.
fn this_process() -> (WorkerId, Epoch) {
    (WorkerId(String::from("local")), Epoch(1))
}

/// A task on its way to a thread.
struct Job {
    task: Task,
    context: TaskContext,
    rows: RowCounter,
}

/// An attempt that a thread runs or will run.
struct Running {
    cancel: CancelFlag,
    rows: RowCounter,
    read_bytes: Arc<AtomicU64>,
}

impl Running {
    fn read(&self) -> Read {
        Read { rows: self.rows.rows(), bytes: self.read_bytes.load(Ordering::Relaxed) }
    }
}

/// How an attempt ended.
type Report = (TaskAttempt, Result<TaskReport>);

/// A task thread: takes, runs, reports, until there is no more.
fn work(queue: &Mutex<Receiver<Job>>, reports: &SyncSender<Report>, clock: &dyn Clock) {
    loop {
        // A poisoned lock means that another thread died holding it; a receiver has no state
        // that this could have broken.
        let next = queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).recv();
        let Ok(Job { task, context, rows }) = next else { return };
        let started = clock.now();
        let outcome = task::run(&task, &context, &rows).map(|report| {
            let elapsed = clock.now().saturating_sub(started);
            let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
            TaskReport { elapsed_ms, ..report }
        });
        if reports.send((task.attempt, outcome)).is_err() {
            return;
        }
    }
}

/// A job being run.
struct Run<'a> {
    job: JobId,
    plan: Arc<Plan>,
    context: TaskContext,
    publisher: &'a Publisher,
    clock: &'a dyn Clock,
    scheduler: Scheduler,
    tasks: SyncSender<Job>,
    results: Receiver<Report>,
    running: BTreeMap<TaskAttempt, Running>,
    progress: Progress,
    published: Vec<Published>,
    collected: Vec<Collected>,
    has_ended: bool,
    manner: Manner,
    /// What the tasks reported, where they are measured.
    reports: Vec<(TaskAttempt, TaskReport)>,
}

impl Run<'_> {
    fn drive(
        &mut self,
        threads: usize,
        cancel: &CancelFlag,
        watch: &mut dyn FnMut(&JobView),
    ) -> Result<(JobView, Vec<Published>)> {
        let (worker, epoch) = this_process();
        let slots = u32::try_from(threads).unwrap_or(u32::MAX);
        self.happen(Event::WorkerJoined {
            worker,
            epoch,
            address: String::new(),
            slots,
            held: Vec::new(),
        })?;
        self.happen(Event::Submit { job: self.job, plan: Arc::clone(&self.plan) })?;
        let mut last_watch = self.clock.now();
        while !(self.has_ended && self.running.is_empty()) {
            if cancel.is_cancelled() && !self.has_ended {
                self.happen(Event::Cancel { job: self.job })?;
            }
            match self.results.recv_timeout(WATCH) {
                Ok((attempt, outcome)) => self.ended(attempt, outcome)?,
                Err(RecvTimeoutError::Timeout) => self.happen(Event::Tick)?,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::Internal(String::from("all task threads are gone")));
                }
            }
            // The end is told once, when all is in its place.
            if !self.has_ended && self.clock.now().saturating_sub(last_watch) >= WATCH {
                last_watch = self.clock.now();
                watch(&self.view()?);
            }
        }
        let sinks: Vec<&Sink> = sinks(&self.plan).collect();
        if let Err(error) = self.publisher.sweep(self.job, &sinks, false) {
            tracing::warn!(error = %error.chain(), "staged files are left");
        }
        let view = self.view()?;
        watch(&view);
        Ok((view, std::mem::take(&mut self.published)))
    }

    fn view(&mut self) -> Result<JobView> {
        let unknown = || Error::Internal(format!("job {} is not known", self.job));
        let mut view = self.scheduler.view(self.job).ok_or_else(unknown)?;
        let running = self.running.iter().map(|(attempt, running)| (attempt.task, running.read()));
        let percent = self.progress.percent(&self.plan, view.tasks_done, running);
        view.progress_percent = view.progress_percent.max(percent);
        Ok(view)
    }

    fn ended(&mut self, attempt: TaskAttempt, outcome: Result<TaskReport>) -> Result<()> {
        self.running.remove(&attempt);
        let (worker, epoch) = this_process();
        self.happen(match outcome {
            Ok(report) => Event::TaskDone { worker, epoch, attempt, report },
            Err(error) => {
                Event::TaskFailed { worker, epoch, attempt, failure: Failure::from(&error) }
            }
        })
    }

    /// Tells the scheduler, and does what it asks for until it asks for nothing more.
    fn happen(&mut self, event: Event) -> Result<()> {
        let mut events = VecDeque::from([event]);
        while let Some(next) = events.pop_front() {
            for command in self.scheduler.step(self.clock.now(), next) {
                events.extend(self.act(command)?);
            }
        }
        Ok(())
    }

    fn act(&mut self, command: Command) -> Result<Option<Event>> {
        match command {
            Command::Assign { attempt, inputs, .. } => self.start(attempt, inputs)?,
            Command::Revoke { attempt, .. } => {
                if let Some(running) = self.running.get(&attempt) {
                    running.cancel.cancel();
                }
            }
            Command::DropJob { job, .. } => self.context.store.drop_job(job),
            Command::Commit { job } => return Ok(Some(self.commit(job))),
            Command::Record(fact) => {
                tracing::debug!(?fact, "fact");
                if let Fact::OutputAccepted { output, report } = &fact {
                    self.progress.task_done(output.map.task, report);
                    if self.manner.is_measured {
                        self.reports.push((output.map, report.clone()));
                    }
                }
            }
            Command::Ended { .. } => self.has_ended = true,
        }
        Ok(None)
    }

    fn start(
        &mut self,
        attempt: TaskAttempt,
        inputs: Vec<crate::exchange::MapOutput>,
    ) -> Result<()> {
        let stage = &self.plan.stages[attempt.task.stage.index()];
        let result = match &stage.output {
            Output::Sink(sink) if !self.manner.collects => {
                ResultPlace::Folder(sink.staging(self.job, &self.publisher.output_dir))
            }
            Output::Sink(_) | Output::Exchange(_) => ResultPlace::Store,
        };
        let task = Task {
            attempt,
            split: stage.splits.get(attempt.task.partition as usize).cloned(),
            stage: Arc::new(stage.clone()),
            inputs,
            result,
            limits: self.plan.limits,
            is_measured: self.manner.is_measured,
        };
        let cancel = CancelFlag::default();
        let folder =
            format!("{}-{}-{}", attempt.task.stage, attempt.task.partition, attempt.attempt);
        let running = Running { cancel, rows: RowCounter::default(), read_bytes: Arc::default() };
        let context = TaskContext {
            cancel: running.cancel.clone(),
            scratch: self.context.scratch.join(folder),
            spilled_bytes: Arc::new(AtomicU64::new(0)),
            read_bytes: Arc::clone(&running.read_bytes),
            ..self.context.clone()
        };
        let rows = running.rows.clone();
        self.running.insert(attempt, running);
        self.tasks
            .send(Job { task, context, rows })
            .map_err(|_| Error::Internal(String::from("all task threads are gone")))
    }

    fn commit(&mut self, job: JobId) -> Event {
        match self.publish(job) {
            Ok(published) => {
                self.published = published;
                Event::Committed { job }
            }
            Err(error) => Event::CommitFailed { job, failure: Failure::from(&error) },
        }
    }

    fn publish(&mut self, job: JobId) -> Result<Vec<Published>> {
        if !self.manner.collects {
            self.publisher.check_targets(job, &sinks(&self.plan).collect::<Vec<_>>())?;
        }
        self.publisher.publish_bad_rows(
            job,
            &self.plan,
            &self.scheduler.bad_rows(job),
            &*self.context.exchange,
            &self.context.data.inputs,
            &self.context.cancel,
        )?;
        if self.manner.collects {
            self.collected = self.collect(job)?;
            return Ok(Vec::new());
        }
        let mut published = Vec::new();
        for (stage, outputs) in self.scheduler.outputs(job) {
            let Output::Sink(sink) = &self.plan.stages[stage.index()].output else { continue };
            let parts: Vec<_> =
                outputs.into_iter().filter_map(|(_, report)| report.parts).flatten().collect();
            published.push(self.publisher.publish(job, sink, &parts)?);
        }
        Ok(published)
    }
}

/// The sinks of a plan with stages, by stage.
pub fn sinks(plan: &Plan) -> impl Iterator<Item = &Sink> {
    plan.stages.iter().filter_map(|stage| match &stage.output {
        Output::Sink(sink) => Some(sink),
        Output::Exchange(_) => None,
    })
}

/// A run's scratch folder, locked while it runs and removed when dropped.
struct RunFolder {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    _lock: Lock,
}

const LOCK_FILE: &str = "LOCK";
/// Names the folders outside the run's own that hold attempt files, as a JSON list.
const STAGING_FILE: &str = "staging.json";
const RUN_PREFIX: &str = "run-";

impl RunFolder {
    fn create(
        disk: &Arc<dyn Disk>,
        scratch_dir: &Path,
        job: JobId,
        staging: &[PathBuf],
    ) -> Result<Self> {
        let path = scratch_dir.join(format!("{RUN_PREFIX}{job}"));
        disk.create_dir_all(&path).map_err(Error::io("create", &path))?;
        let lock_file = path.join(LOCK_FILE);
        let lock = disk.lock(&lock_file).map_err(Error::io("lock", &lock_file))?;
        let lock = lock.ok_or_else(|| Error::Internal(format!("run {job} is not new")))?;
        let folder = Self { disk: Arc::clone(disk), path, _lock: lock };
        let list = serde_json::to_vec(staging)
            .map_err(|error| Error::Internal(format!("staging folders: {error}")))?;
        let list_file = folder.path.join(STAGING_FILE);
        let mut file = disk.create(&list_file).map_err(Error::io("create", &list_file))?;
        file.write_all(&list).map_err(Error::io("write", &list_file))?;
        Ok(folder)
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        if let Err(source) = self.disk.remove_dir_all(&self.path) {
            let error = Error::io("remove", &self.path)(source);
            tracing::warn!(error = %error.chain(), "scratch files are left");
        }
    }
}

/// Removes the folders of runs whose process is dead: their lock is free.
fn sweep_dead_runs(disk: &dyn Disk, scratch_dir: &Path) -> Result<()> {
    for path in disk.list(scratch_dir).map_err(Error::io("list", scratch_dir))? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let lock_file = path.join(LOCK_FILE);
        if !name.starts_with(RUN_PREFIX) || !disk.exists(&lock_file) {
            continue;
        }
        if let Ok(Some(_lock)) = disk.lock(&lock_file) {
            for staging in staged(disk, &path.join(STAGING_FILE)) {
                disk.remove_dir_all(&staging).map_err(Error::io("remove", &staging))?;
            }
            disk.remove_dir_all(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

/// The folders that a run's staging file names; none where it died before writing it.
fn staged(disk: &dyn Disk, file: &Path) -> Vec<PathBuf> {
    let read = || -> std::io::Result<Vec<u8>> {
        let file = disk.open(file)?;
        let mut bytes = vec![0; usize::try_from(file.size()?).unwrap_or(0)];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    };
    let paths: Vec<PathBuf> =
        read().ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let is_staging = |path: &PathBuf| {
        path.parent().and_then(Path::file_name).is_some_and(|name| name == STAGING)
    };
    paths.into_iter().filter(is_staging).collect()
}

#[cfg(test)]
mod full_disk;
#[cfg(test)]
mod ranges;
#[cfg(test)]
mod relational;
#[cfg(test)]
mod windows;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{Session, SessionOptions};
    use crate::{
        disk::{Disk, RealDisk},
        schedule::JobStatus,
        task::context::CancelFlag,
    };

    #[test]
    fn a_run_moves_within_its_only_task_and_never_back() {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("lines.txt");
        let line = b"some words of a line\n";
        RealDisk.create(&input).unwrap().write_all(&line.repeat(2_000_000)).unwrap();
        let options = SessionOptions {
            base_dir: folder.path().to_owned(),
            output_dir: folder.path().join("out"),
            scratch_dir: folder.path().join("scratch"),
            threads: 1,
            memory_bytes: 1 << 30,
            data: crate::disk::DataDisks::everywhere(),
        };
        let document = r#"{"dag": {"nodes": [
            {"id": "read", "op": "read_text", "path": "lines.txt", "partitions": 1},
            {"id": "flat", "op": "flat_map", "fn": "tokenize"},
            {"id": "agg", "op": "reduce_by_key", "key": "token", "fn": "count"}
        ], "edges": [["read", "flat"], ["flat", "agg"]]}}"#;
        let session = Session::new(options).unwrap();
        let checked = session.check(document, true).unwrap();
        let mut seen = Vec::new();
        let outcome = session
            .run(checked, &CancelFlag::default(), &mut |view| {
                seen.push((view.tasks_done, view.progress_percent));
            })
            .unwrap();
        assert_eq!(outcome.status, JobStatus::Completed);
        assert!(seen.iter().any(|(done, percent)| *done == 0 && *percent > 0.0), "{seen:?}");
        assert!(seen.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{seen:?}");
        let last = seen.last().unwrap().1;
        assert!((last - 100.0).abs() < f64::EPSILON, "{seen:?}");
        assert!(seen.iter().rev().skip(1).all(|(_, percent)| *percent < 100.0), "{seen:?}");
    }
}
