//! The agent: registers, polls, starts and ends attempts, reports until it is acknowledged.
//!
//! It runs on a thread and a runtime of its own, so that no task can keep a poll from being sent
//! and a busy worker is not taken for a dead one. What it says is always its whole state; what it
//! hears is compared with that state, so that nothing depends on an answer having arrived.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use minispark_engine::{
    disk::{DataDisks, Disk},
    exchange::{Exchange, store::PartitionStore},
    id::{Epoch, JobId, TaskAttempt, Term},
    memory::Budget,
    runtime::Clock,
    schedule::Now,
    task::{
        Task,
        context::{CancelFlag, TaskContext},
        limits::Resources,
        metrics::RowCounter,
    },
};
use minispark_flight::{SharedKey, traffic::Traffic};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    call::{Backoff, CallError, MasterClient},
    folder::WorkFolder,
    slots::{Assigned, Finished, Slots},
};
use crate::{
    VERSION,
    error::Error,
    master::folder::from_hex,
    meter::Meter,
    protocol::{
        self, HASH_VERSION, Leave, Left, Load, Outcome, PROTOCOL, Poll, PollAnswer, Register,
        Registered, Report, RunningAttempt,
    },
};

/// How often the log says that the master is away.
const AWAY_LOG: Duration = Duration::from_secs(30);

/// The pause before the next poll where an answer asked for nothing that could be done.
const IDLE_PAUSE: Duration = Duration::from_millis(200);

/// How long a draining worker waits for a master that does not answer.
const AWAY_PATIENCE: Duration = Duration::from_secs(3);

/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// How long cancelled tasks get to end.
const TASKS_END: Duration = Duration::from_secs(10);

/// What an agent works with.
pub(crate) struct Tools {
    /// This worker's own files.
    pub(crate) disk: Arc<dyn Disk>,
    /// The files that tasks may read.
    pub(crate) data: DataDisks,
    /// Time.
    pub(crate) clock: Arc<dyn Clock>,
    /// The process's memory.
    pub(crate) budget: Budget,
    /// What jobs have of it and of the disk.
    pub(crate) resources: Resources,
    /// Map outputs of this worker.
    pub(crate) store: Arc<PartitionStore>,
    /// Map outputs of all workers.
    pub(crate) exchange: Arc<dyn Exchange>,
    /// Counts what is fetched from them.
    pub(crate) traffic: Arc<Traffic>,
    /// Signs tickets once the master has told the key.
    pub(crate) key: SharedKey,
    /// The Flight address as other workers reach it.
    pub(crate) address: String,
    /// How many tasks run at once.
    pub(crate) slots: usize,
    /// Whether tasks may write results.
    pub(crate) writes: bool,
    /// How long it goes on for others when it is asked to end.
    pub(crate) drain: Duration,
}

/// An attempt that a thread runs or will run.
struct Running {
    cancel: CancelFlag,
    progress: RowCounter,
    read_bytes: Arc<AtomicU64>,
    /// Not revoked; what is not wanted is not mentioned any more.
    is_wanted: bool,
}

/// What to do after a round of polls.
enum Next {
    Register,
    NewLife,
    Stop,
}

/// The agent.
pub(crate) struct Agent {
    tools: Tools,
    master: MasterClient,
    folder: WorkFolder,
    epoch: Epoch,
    term_seen: Option<Term>,
    /// For how long the master may hold a poll.
    hold: Duration,
    seq: u64,
    slots: Slots,
    /// How many attempts may be running or queued: those of all slots, and as many that were
    /// revoked and have not ended yet.
    capacity: usize,
    finished: mpsc::Receiver<Finished>,
    running: BTreeMap<TaskAttempt, Running>,
    reports: BTreeMap<TaskAttempt, Outcome>,
    /// Jobs whose files are being removed.
    dropping: BTreeSet<JobId>,
    cleaning: JoinSet<()>,
    meter: Meter,
    last_away_log: Option<Now>,
    /// Since when the master does not answer a draining worker.
    away_since: Option<Now>,
    /// It has been asked to end.
    is_draining: bool,
    /// Nobody needs it any more.
    may_leave: bool,
}

impl Agent {
    /// An agent in a new life, with its threads.
    pub(crate) fn new(
        tools: Tools,
        master: MasterClient,
        mut folder: WorkFolder,
    ) -> Result<Self, Error> {
        let epoch = folder.next_epoch(wall_ms(&*tools.clock))?;
        let capacity = tools.slots * 2;
        let (done, finished) = mpsc::channel(capacity);
        let slots = Slots::start(tools.slots, capacity, &done, &tools.clock)
            .map_err(|source| Error::System { action: "start a task thread", source })?;
        Ok(Self {
            tools,
            master,
            folder,
            epoch,
            term_seen: None,
            hold: Duration::ZERO,
            seq: 0,
            slots,
            capacity,
            finished,
            running: BTreeMap::new(),
            reports: BTreeMap::new(),
            dropping: BTreeSet::new(),
            cleaning: JoinSet::new(),
            meter: Meter::new(),
            last_away_log: None,
            away_since: None,
            is_draining: false,
            may_leave: false,
        })
    }

    /// Works for the master until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), Error> {
        let outcome = self.live(&stop).await;
        if outcome.is_ok() && self.term_seen.is_some() {
            self.drain().await;
        }
        self.end().await;
        outcome
    }

    async fn live(&mut self, stop: &CancellationToken) -> Result<(), Error> {
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                registered = self.register() => registered?,
            }
            match self.poll_until_something_changes(stop).await? {
                Next::Register => {}
                Next::NewLife => self.begin_new_life().await?,
                Next::Stop => return Ok(()),
            }
        }
    }

    /// Takes nothing new, lets what runs end and what is held be read, for a while; then hands back
    /// what is not over. A master that is away is not waited for.
    async fn drain(&mut self) {
        self.is_draining = true;
        tracing::info!(worker = %self.folder.worker, running = self.running.len(), "draining");
        let never = CancellationToken::new();
        let waits = self.tools.drain;
        let polls = async {
            // A master that restarts meanwhile hears of it, too.
            while let Ok(Next::Register) = self.poll_until_something_changes(&never).await {
                match tokio::time::timeout(AWAY_PATIENCE, self.register()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) | Err(_) => return,
                }
            }
        };
        if tokio::time::timeout(waits, polls).await.is_err() {
            tracing::info!(worker = %self.folder.worker, "not all is over; it is handed back");
        }
        if !self.running.is_empty() {
            self.hand_back().await;
        }
    }

    /// Ends what runs; the master is told so and counts it as no failure.
    async fn hand_back(&mut self) {
        for (attempt, running) in &self.running {
            running.cancel.cancel();
            self.log(*attempt, "attempt handed back");
        }
        let all_end = async {
            while !self.running.is_empty() {
                let Some(finished) = self.finished.recv().await else { return };
                self.ended(finished);
            }
        };
        if tokio::time::timeout(TASKS_END, all_end).await.is_err() {
            tracing::warn!("a task did not end in time");
        }
        let call = self.master.clone().call::<PollAnswer>(protocol::POLL, self.state(), self.hold);
        if !matches!(tokio::time::timeout(GOODBYE, call).await, Ok(Ok(_))) {
            tracing::debug!("the master did not hear what was handed back");
        }
    }

    /// Registers, however long the master is away.
    async fn register(&mut self) -> Result<(), Error> {
        let mut backoff = Backoff::new();
        loop {
            let message = Register {
                protocol: PROTOCOL,
                version: String::from(VERSION),
                hash_version: HASH_VERSION,
                worker: self.folder.worker.clone(),
                epoch: self.epoch,
                address: self.tools.address.clone(),
                slots: u32::try_from(self.tools.slots).unwrap_or(u32::MAX),
                budget_bytes: self.tools.budget.limit_bytes(),
                writes: self.tools.writes,
                held: self.held(),
            };
            match self
                .master
                .clone()
                .call::<Registered>(protocol::REGISTER, message, Duration::ZERO)
                .await
            {
                Ok(registered) => match self.accept(&registered) {
                    Ok(()) => return Ok(()),
                    Err(reason) => self.master_is_away(&reason),
                },
                Err(CallError::Lost) => {
                    self.begin_new_life().await?;
                    continue;
                }
                Err(CallError::StaleTerm) => self.master_is_away("it is not in charge any more"),
                Err(CallError::Unsupported(reason)) => return Err(self.refused(reason)),
                Err(CallError::NotAdmitted(reason)) => self.not_admitted(reason)?,
                Err(CallError::Away(reason)) => self.master_is_away(&reason),
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    /// Takes a master's answer to a registration, unless it is an older master's.
    fn accept(&mut self, registered: &Registered) -> Result<(), String> {
        let term = registered.term;
        if let Some(seen) = self.term_seen.filter(|seen| term < *seen) {
            return Err(format!(
                "its term is {term} and this worker has seen {seen}; restart the worker if the \
                 master's state was removed"
            ));
        }
        let key = from_hex(&registered.ticket_key)
            .ok_or_else(|| String::from("its ticket key can't be read"))?;
        self.tools.key.set(key);
        self.term_seen = Some(term);
        self.hold = Duration::from_millis(registered.heartbeat_ms);
        self.last_away_log = None;
        tracing::info!(
            worker = %self.folder.worker,
            epoch = %self.epoch,
            %term,
            master = self.master.url(),
            "registered"
        );
        Ok(())
    }

    fn refused(&self, reason: String) -> Error {
        Error::Refused { url: String::from(self.master.url()), reason }
    }

    /// A token that was never good is a mistake that is told at once; one that was good until now
    /// may be so again, and the outputs are kept meanwhile.
    fn not_admitted(&mut self, reason: String) -> Result<(), Error> {
        if self.term_seen.is_none() {
            return Err(Error::NotAdmitted { url: String::from(self.master.url()), reason });
        }
        self.master_is_away(&reason);
        Ok(())
    }

    fn master_is_away(&mut self, reason: &str) {
        let now = self.tools.clock.now();
        if self.last_away_log.is_some_and(|last| now.saturating_sub(last) < AWAY_LOG) {
            return;
        }
        self.last_away_log = Some(now);
        tracing::warn!(master = self.master.url(), reason, "no answer from the master; trying on");
    }

    /// Polls until there is reason to register again, or to stop.
    async fn poll_until_something_changes(
        &mut self,
        stop: &CancellationToken,
    ) -> Result<Next, Error> {
        let mut backoff = Backoff::new();
        loop {
            self.take_ended();
            let sent = self.tools.clock.now();
            let call =
                self.master.clone().call::<PollAnswer>(protocol::POLL, self.state(), self.hold);
            let answer = tokio::select! {
                () = stop.cancelled() => return Ok(Next::Stop),
                // News does not wait: the next poll takes the place of the pending one.
                Some(finished) = self.finished.recv() => {
                    self.ended(finished);
                    continue;
                }
                answer = call => answer,
            };
            let pause = match answer {
                Ok(answer) => {
                    backoff.reset();
                    self.last_away_log = None;
                    self.away_since = None;
                    let was_held = self.tools.clock.now().saturating_sub(sent) > IDLE_PAUSE;
                    let has_news = answer.has_commands() || !answer.acks.is_empty();
                    let has_changed = self.apply(answer);
                    if self.may_leave {
                        return Ok(Next::Stop);
                    }
                    // Whatever a master answers, it is not asked again and again at once.
                    (if has_news { !has_changed } else { !was_held }).then_some(IDLE_PAUSE)
                }
                Err(CallError::StaleTerm) => return Ok(Next::Register),
                Err(CallError::Lost) => return Ok(Next::NewLife),
                Err(CallError::Unsupported(reason)) => return Err(self.refused(reason)),
                Err(CallError::NotAdmitted(_) | CallError::Away(_))
                    if self.is_draining && self.is_given_up() =>
                {
                    return Ok(Next::Stop);
                }
                Err(CallError::NotAdmitted(reason) | CallError::Away(reason)) => {
                    self.master_is_away(&reason);
                    Some(backoff.pause())
                }
            };
            if let Some(pause) = pause {
                tokio::select! {
                    () = stop.cancelled() => return Ok(Next::Stop),
                    Some(finished) = self.finished.recv() => self.ended(finished),
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
    }

    /// Whether the master has been away for as long as a draining worker waits for it.
    fn is_given_up(&mut self) -> bool {
        let now = self.tools.clock.now();
        now.saturating_sub(*self.away_since.get_or_insert(now)) >= AWAY_PATIENCE
    }

    /// The attempts whose outputs can be served.
    fn held(&self) -> Vec<TaskAttempt> {
        let held = self.tools.store.held().into_iter().map(|held| held.attempt);
        held.filter(|attempt| !self.dropping.contains(&attempt.task.job)).collect()
    }

    /// All that the master has to know.
    fn state(&mut self) -> Poll {
        self.seq += 1;
        let usage = self.meter.measure(self.tools.clock.now());
        let store = &self.tools.store;
        let held_jobs = store.jobs().into_iter().filter(|job| !self.dropping.contains(job));
        Poll {
            protocol: PROTOCOL,
            worker: self.folder.worker.clone(),
            epoch: self.epoch,
            term_seen: self.term_seen.unwrap_or(Term(0)),
            seq: self.seq,
            running: self
                .running
                .iter()
                .filter(|(_, running)| running.is_wanted)
                .map(|(attempt, running)| RunningAttempt {
                    attempt: *attempt,
                    rows: running.progress.rows(),
                    bytes: running.read_bytes.load(Ordering::Relaxed),
                })
                .collect(),
            held_jobs: held_jobs.collect(),
            reports: self
                .reports
                .iter()
                .map(|(attempt, outcome)| Report { attempt: *attempt, outcome: outcome.clone() })
                .collect(),
            load: Load {
                usage,
                fetched: self.tools.traffic.fetched(),
                reserved_bytes: self.tools.budget.used_bytes(),
                store_memory_bytes: store.memory_bytes(),
                store_disk_bytes: store.disk_bytes(),
            },
            draining: self.is_draining,
        }
    }

    /// Does what an answer asks for; `false` where nothing came of it.
    fn apply(&mut self, answer: PollAnswer) -> bool {
        if answer.term != self.term_seen {
            // What an older master says has no effect; a newer one asks to register first.
            tracing::debug!(?answer.term, "an answer of another term is dropped");
            return false;
        }
        if answer.superseded {
            return false;
        }
        let mut has_changed = false;
        self.may_leave = self.is_draining && answer.may_leave && answer.assign.is_empty();
        for attempt in answer.acks {
            has_changed |= self.reports.remove(&attempt).is_some();
        }
        for task in answer.assign {
            has_changed |= self.start(task);
        }
        for attempt in answer.revoke {
            has_changed |= self.revoke(attempt);
        }
        for job in answer.drop_jobs {
            has_changed |= self.drop_job(job);
        }
        has_changed
    }

    /// Hands an attempt to the threads; `false` where it is known already or there is no room.
    fn start(&mut self, task: Task) -> bool {
        let attempt = task.attempt;
        if self.running.contains_key(&attempt) || self.reports.contains_key(&attempt) {
            return false;
        }
        if self.running.len() >= self.capacity {
            tracing::debug!(%attempt, "no room for an attempt yet");
            return false;
        }
        let running = Running {
            cancel: CancelFlag::default(),
            progress: RowCounter::default(),
            read_bytes: Arc::default(),
            is_wanted: true,
        };
        let of_job = self.tools.resources.of(attempt.task.job, &task.limits);
        let context = TaskContext {
            budget: of_job.budget,
            cancel: running.cancel.clone(),
            disk: of_job.disk,
            data: self.tools.data.clone(),
            scratch: self.folder.scratch(attempt),
            spilled_bytes: Arc::new(AtomicU64::new(0)),
            read_bytes: Arc::clone(&running.read_bytes),
            store: Arc::clone(&self.tools.store),
            exchange: Arc::clone(&self.tools.exchange),
        };
        let assigned = Assigned { task, context, progress: running.progress.clone() };
        let is_queued = self.slots.run(assigned).is_ok();
        if is_queued {
            self.log(attempt, "attempt assigned");
            self.running.insert(attempt, running);
        }
        is_queued
    }

    /// Ends an attempt and drops what it wrote; `false` where nothing is known of it.
    fn revoke(&mut self, attempt: TaskAttempt) -> bool {
        let was_reported = self.reports.remove(&attempt).is_some();
        let Some(running) = self.running.get_mut(&attempt) else {
            self.drop_output(attempt);
            return was_reported;
        };
        running.cancel.cancel();
        let was_wanted = std::mem::replace(&mut running.is_wanted, false);
        if was_wanted {
            self.log(attempt, "attempt revoked");
        }
        was_wanted
    }

    /// Drops all that belongs to a job; `false` where that is under way.
    fn drop_job(&mut self, job: JobId) -> bool {
        let attempts: Vec<_> =
            self.running.keys().filter(|it| it.task.job == job).copied().collect();
        for attempt in attempts {
            self.revoke(attempt);
        }
        self.reports.retain(|attempt, _| attempt.task.job != job);
        if !self.dropping.insert(job) {
            return false;
        }
        let (store, disk) = (Arc::clone(&self.tools.store), Arc::clone(&self.tools.disk));
        let spill = self.folder.spill_of(job);
        self.cleaning.spawn_blocking(move || {
            store.drop_job(job);
            if let Err(error) = disk.remove_dir_all(&spill) {
                tracing::warn!(job_id = %job, %error, "spill files are left");
            }
        });
        true
    }

    fn drop_output(&mut self, attempt: TaskAttempt) {
        let store = Arc::clone(&self.tools.store);
        self.cleaning.spawn_blocking(move || store.drop_attempt(attempt));
    }

    /// Takes in what ended since the last look.
    fn take_ended(&mut self) {
        while let Ok(finished) = self.finished.try_recv() {
            self.ended(finished);
        }
        while self.cleaning.try_join_next().is_some() {}
        if self.cleaning.is_empty() {
            self.dropping.clear();
        }
    }

    fn ended(&mut self, Finished { attempt, outcome }: Finished) {
        let running = self.running.remove(&attempt);
        if running.is_some_and(|running| running.is_wanted) {
            self.log(attempt, "attempt ended");
            self.reports.insert(attempt, outcome);
        } else {
            self.drop_output(attempt);
        }
    }

    fn log(&self, attempt: TaskAttempt, message: &'static str) {
        tracing::debug!(
            job_id = %attempt.task.job,
            stage = %attempt.task.stage,
            partition = attempt.task.partition,
            attempt = %attempt.attempt,
            worker = %self.folder.worker,
            epoch = %self.epoch,
            "{message}"
        );
    }

    /// The master has given this life up: ends what runs and takes a new epoch. What is held is
    /// announced with it, since it may still be of use.
    async fn begin_new_life(&mut self) -> Result<(), Error> {
        for (attempt, outcome) in &self.reports {
            if matches!(outcome, Outcome::Done(_)) {
                let (store, attempt) = (Arc::clone(&self.tools.store), *attempt);
                self.cleaning.spawn_blocking(move || store.drop_attempt(attempt));
            }
        }
        self.cancel_all();
        // The new life may get tasks of the same jobs: nothing of theirs may be dropped then.
        while self.cleaning.join_next().await.is_some() {}
        self.dropping.clear();
        // Two workers that were given the same identity would otherwise chase each other.
        tokio::time::sleep(IDLE_PAUSE).await;
        self.epoch = self.folder.next_epoch(wall_ms(&*self.tools.clock))?;
        self.seq = 0;
        tracing::info!(
            worker = %self.folder.worker,
            epoch = %self.epoch,
            "the master had given this worker up; it begins anew"
        );
        Ok(())
    }

    fn cancel_all(&mut self) {
        for running in self.running.values_mut() {
            running.cancel.cancel();
            running.is_wanted = false;
        }
        self.reports.clear();
    }

    /// Says goodbye and ends the threads.
    async fn end(mut self) {
        self.cancel_all();
        let store = Arc::clone(&self.tools.store);
        match tokio::task::spawn_blocking(move || store.leave()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(
                    error = error.chain(),
                    "not all outputs are kept for the next start"
                );
            }
            Err(error) => tracing::warn!(%error, "outputs are not kept for the next start"),
        }
        if self.term_seen.is_some() {
            let message =
                Leave { protocol: PROTOCOL, worker: self.folder.worker.clone(), epoch: self.epoch };
            let call = self.master.clone().call::<Left>(protocol::LEAVE, message, Duration::ZERO);
            if let Ok(Ok(Left { term })) = tokio::time::timeout(GOODBYE, call).await {
                tracing::info!(worker = %self.folder.worker, %term, "left the cluster");
            } else {
                tracing::debug!("the master did not hear the goodbye");
            }
        }
        // A thread whose report nobody takes ends.
        self.finished.close();
        if tokio::time::timeout(TASKS_END, self.slots.ended()).await.is_err() {
            tracing::warn!("a task did not end in time");
            return;
        }
        while self.cleaning.join_next().await.is_some() {}
        if let Err(error) = self.folder.sweep() {
            tracing::warn!(%error, "spill files are left");
        }
    }
}

fn wall_ms(clock: &dyn Clock) -> u64 {
    u64::try_from(clock.wall().timestamp_millis()).unwrap_or_default()
}
