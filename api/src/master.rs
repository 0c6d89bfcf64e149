//! The master: event → `Scheduler::step` → remember facts → act on commands.
//!
//! One lock owns the scheduler ([`cluster`]); whoever has an event takes it, steps, and does what
//! comes out after letting go. REST, Flight, a clock's tick and the commits are its only sources
//! of events.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Local};
use minispark_engine::{
    disk::{DataDisks, Disk, RealDisk},
    error::{Class, Code, Failure},
    id::JobId,
    job::check::{self, Site},
    memory::Budget,
    runtime::{Clock, SystemClock},
    schedule::{Event, Fact, JobError, JobStatus, Scheduler, Settings, ledger::Ledger},
    sink::commit::Publisher,
};
use minispark_flight::{
    FlightService, Refusal, RemoteExchange, Results, SharedKey,
    objects::{Objects, StoreRule},
};
use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    VERSION,
    auth::{Caller, Door},
    error::Error,
    rest::{self, guard::AllowedHosts},
};

pub(crate) mod cluster;
pub(crate) mod events;
pub(crate) mod observe;
pub(crate) mod commit;
pub(crate) mod folder;
pub(crate) mod journal;
pub(crate) mod results;
pub(crate) mod retention;
#[cfg(test)]
pub(crate) mod testing;

use cluster::{Cluster, Effect};
use commit::Sharing;
use folder::StateFolder;
use journal::{
    Journal,
    entry::{Entry, Memory, Saved, Started},
};

pub use journal::repair::Repaired;
pub use retention::Retention;

/// How a master works.
#[derive(Clone, Debug)]
pub struct MasterOptions {
    /// Where REST and the worker protocol are served; port 0 picks a free one.
    pub bind: SocketAddr,
    /// Where Flight is served; port 0 picks a free one.
    pub flight_bind: SocketAddr,
    /// Holds the lock, the term and the ticket key.
    pub state_dir: PathBuf,
    /// Where text results appear.
    pub output_dir: PathBuf,
    /// The tokens that callers need; none where absent.
    pub token_file: Option<PathBuf>,
    /// More host names under which clients reach the server.
    pub allowed_hosts: Vec<String>,
    /// The folders beneath which jobs may read; relative paths begin at the first.
    pub read_roots: Vec<PathBuf>,
    /// The folders beneath which jobs may write, beside the output folder.
    pub write_roots: Vec<PathBuf>,
    /// The object stores that jobs may use; the workers are told the same.
    pub stores: Vec<StoreRule>,
    /// The memory budget, in bytes.
    pub memory_bytes: u64,
    /// A poll is held for at most so long.
    pub heartbeat: Duration,
    /// A worker not seen for so long is lost.
    pub lost_after: Duration,
    /// A job that has had no worker for so long fails.
    pub no_worker_wait: Duration,
    /// How often a task is tried before its job fails.
    pub attempts: u32,
    /// What is kept of jobs that have ended.
    pub retention: Retention,
}

/// Where a master listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MasterAddresses {
    /// REST and the worker protocol.
    pub rest: SocketAddr,
    /// Flight.
    pub flight: SocketAddr,
}

/// How often time passes for the scheduler.
const TICK: Duration = Duration::from_millis(100);

/// How long open requests and commits get to end when the master stops.
const GRACE: Duration = Duration::from_secs(3);

/// How often old jobs are looked for.
const TIDY: Duration = Duration::from_mins(1);

/// How many documents are checked at once; each reads samples of its inputs.
const CHECKS_AT_ONCE: usize = 4;

/// What all parts of a master share.
pub(crate) struct Master {
    pub(crate) cluster: Mutex<Cluster>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) retention: Retention,
    pub(crate) publisher: Publisher,
    pub(crate) exchange: Arc<RemoteExchange>,
    pub(crate) site: Site,
    pub(crate) settings: Settings,
    pub(crate) heartbeat: Duration,
    pub(crate) ticket_key: String,
    pub(crate) commits: Semaphore,
    pub(crate) checks: Semaphore,
    /// Ends everything; set by who runs the master, or by the master itself.
    pub(crate) stop: CancellationToken,
    /// Who may call.
    pub(crate) door: Door,
    work: TaskTracker,
    superseded_by: Mutex<Option<u64>>,
}

impl Master {
    /// The scheduler and its companions; held for short steps only.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Cluster> {
        // A step that panicked is a bug, but the state behind it serves better than none.
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who calls, by the value of an `Authorization` header.
    pub(crate) fn admit(
        &self,
        authorization: Option<&[u8]>,
        peer: Option<SocketAddr>,
    ) -> Result<Caller, Refusal> {
        let wall = self.clock.wall().to_utc();
        self.door.admit(authorization, peer, self.clock.now(), wall)
    }

    /// Whether there is such a job for this caller.
    pub(crate) fn sees(&self, caller: &Caller, job: JobId) -> bool {
        self.lock().has(job, |job| caller.sees(job.saved.owner.as_deref()))
    }

    /// Tells the scheduler what happened, and sees to what it asks for.
    pub(crate) fn happen(self: &Arc<Self>, event: Event) {
        let effects = {
            let mut cluster = self.lock();
            cluster.step(self.clock.now(), event)
        };
        self.act(effects);
    }

    /// Sees to what a step left to do, beside the loop.
    pub(crate) fn act(self: &Arc<Self>, effects: Vec<Effect>) {
        for effect in effects {
            let master = Arc::clone(self);
            match effect {
                Effect::Commit(job) => drop(self.work.spawn(commit::commit(master, job))),
                Effect::Sweep(job) => drop(self.work.spawn(commit::sweep(master, job))),
                Effect::Withdraw(job, published) => {
                    drop(self.work.spawn(commit::withdraw(master, job, published)));
                }
                Effect::Remove(paths) => drop(self.work.spawn(commit::remove(master, paths))),
            }
        }
    }

    /// Takes up the jobs of earlier lives. Those that another build has planned and that have not
    /// ended are planned anew from their documents.
    fn take_up(self: &Arc<Self>, mut memory: Memory) {
        let (term, at) = (self.settings.term, self.clock.wall());
        let version = String::from(VERSION);
        self.journal.append(&[Entry::Started(Started { term, version, at })]);
        for saved in memory.jobs.values_mut() {
            if saved.engine != VERSION && !saved.status().has_ended() {
                self.plan_anew(saved);
            }
        }
        let effects = {
            let mut cluster = self.lock();
            cluster.restore(self.clock.now(), at, memory)
        };
        self.act(effects);
    }

    /// The place where a document is checked that was submitted at this time.
    pub(crate) fn site_at(&self, submitted_at: DateTime<Local>) -> Site {
        Site { now_micros: submitted_at.timestamp_micros(), ..self.site.clone() }
    }

    /// Makes the plan of a job that another build has planned; it starts from its beginning. One
    /// that this build can't plan fails.
    fn plan_anew(&self, saved: &mut Saved) {
        let document = saved.document.clone().unwrap_or_default();
        let planned = check::check(&document, false, &self.site_at(saved.submitted_at))
            .map_err(|problems| {
                let first = problems.first().map(|problem| problem.message.clone());
                first.unwrap_or_default()
            })
            .and_then(|checked| {
                checked.plan.laid_out(&self.site.data.inputs).map_err(|error| error.chain())
            });
        let job = saved.job;
        match planned {
            Ok(plan) => {
                tracing::info!(job_id = %job, engine = saved.engine, "planned anew after an upgrade");
                saved.engine = String::from(VERSION);
                saved.ledger = Ledger::new(&plan);
                saved.plan = Arc::new(plan);
            }
            Err(reason) => {
                let message = format!("minispark {VERSION} can't plan the job anew: {reason}");
                let failure = Failure {
                    class: Class::Fail,
                    code: Code::ValidationFailed,
                    message,
                    fetch: None,
                };
                let (nodes, attempt, worker) = (Vec::new(), None, None);
                let error = JobError { failure, nodes, attempt, worker };
                saved.ledger.apply(&Fact::Ended {
                    job,
                    status: JobStatus::Failed,
                    error: Some(error),
                    elapsed_ms: 0,
                });
                saved.shed();
            }
        }
        self.journal.append(&[Entry::Job(Box::new(saved.clone()))]);
    }

    /// Stops this master, because a worker has seen a later one.
    pub(crate) fn stop_for(&self, newer: u64) {
        *self.superseded_by.lock().unwrap_or_else(PoisonError::into_inner) = Some(newer);
        self.stop.cancel();
    }

    async fn tick(self: Arc<Self>) {
        let mut last_tidied = self.clock.now();
        let mut unsettled_since = None;
        loop {
            tokio::time::sleep(TICK).await;
            let now = self.clock.now();
            // What a worker has not heard because answers wait for the disk is not its fault.
            unsettled_since = (!self.journal.is_settled()).then(|| unsettled_since.unwrap_or(now));
            let is_slow = unsettled_since.is_some_and(|at| now.saturating_sub(at) > self.heartbeat);
            if is_slow || self.journal.is_full() {
                self.lock().stand_still(now);
                continue;
            }
            let effects = {
                let mut cluster = self.lock();
                let mut effects = cluster.tick(now);
                if now.saturating_sub(last_tidied) >= TIDY {
                    last_tidied = now;
                    effects.extend(cluster.retain(now, self.clock.wall(), &self.retention).1);
                }
                if self.journal.wants_snapshot() {
                    cluster.snapshot();
                }
                effects
            };
            self.act(effects);
        }
    }
}

/// Runs a master until `shutdown`; `on_ready` is told where it listens.
///
/// # Errors
/// Where it can't start (an address or a folder is taken), or can't go on.
pub async fn run(
    options: MasterOptions,
    shutdown: CancellationToken,
    on_ready: impl FnOnce(MasterAddresses),
) -> Result<(), Error> {
    let disk = RealDisk::shared();
    let door = Door::new(options.token_file)?;
    let state = StateFolder::open(&disk, &options.state_dir)?;
    let (journal, memory) = Journal::open(&disk, &options.state_dir)?;
    let journal = Arc::new(journal);
    folder::prepare_output(&*disk, &options.output_dir)?;
    let output_dir = std::slice::from_ref(&options.output_dir);
    let write_roots = [output_dir, &options.write_roots].concat();
    let files = DataDisks::beneath(&options.read_roots, &write_roots)?;
    let data = Objects::within(options.stores).beside(files);
    let rest_listener = bind("REST", options.bind)?;
    let flight_listener = bind("Flight", options.flight_bind)?;
    let system = |action| move |source| Error::System { action, source };
    let addresses = MasterAddresses {
        rest: rest_listener.local_addr().map_err(system("read the REST address"))?,
        flight: flight_listener.local_addr().map_err(system("read the Flight address"))?,
    };
    flight_listener.set_nonblocking(true).map_err(system("prepare the Flight socket"))?;
    let flight_listener = tokio::net::TcpListener::from_std(flight_listener)
        .map_err(system("prepare the Flight socket"))?;

    let settings = Settings {
        term: state.term,
        lost_after: options.lost_after,
        no_worker_wait: options.no_worker_wait,
        attempts: options.attempts,
    };
    let key = SharedKey::new(state.ticket_key);
    let runtime = tokio::runtime::Handle::current();
    let sharing = Sharing::new(&options.output_dir, &state.ticket_key);
    let scheduler = Scheduler::new(settings.clone());
    let cluster = Cluster::new(state.term, scheduler, Arc::clone(&journal), sharing);
    let master = Arc::new(Master {
        cluster: Mutex::new(cluster),
        clock: Arc::new(SystemClock::start()),
        journal,
        retention: options.retention,
        publisher: Publisher {
            disk: Arc::clone(&data.outputs),
            output_dir: options.output_dir,
            budget: Budget::new(options.memory_bytes),
        },
        exchange: Arc::new(RemoteExchange::new(None, key.clone(), runtime)),
        site: Site { data, base_dir: options.read_roots.into_iter().next(), now_micros: 0 },
        settings,
        heartbeat: options.heartbeat,
        ticket_key: folder::to_hex(&state.ticket_key),
        commits: Semaphore::new(commit::COMMITS_AT_ONCE),
        checks: Semaphore::new(CHECKS_AT_ONCE),
        stop: shutdown.child_token(),
        work: TaskTracker::new(),
        superseded_by: Mutex::default(),
        door,
    });

    master.take_up(memory);
    tracing::info!(
        rest = %addresses.rest, flight = %addresses.flight, term = %state.term, "master started"
    );
    on_ready(addresses);
    let hosts = AllowedHosts::of(addresses.rest, &options.allowed_hosts);
    let outcome = serve(&master, key, hosts, rest_listener, flight_listener).await;
    master.lock().stop_commits();
    master.work.close();
    if tokio::time::timeout(GRACE, master.work.wait()).await.is_err() {
        tracing::warn!("a commit did not end in time");
    }
    master.journal.close();
    tracing::info!(term = %state.term, "master stopped");
    let newer = *master.superseded_by.lock().unwrap_or_else(PoisonError::into_inner);
    match newer {
        Some(newer) => Err(Error::Superseded { newer, ours: state.term.0 }),
        None => outcome,
    }
}

/// Sets corrupt segments of a master's journal aside; see [`Repaired`]. No master may run on the
/// folder.
///
/// # Errors
/// Where the folder is in use or can't be read or written.
pub fn repair_state(state_dir: &Path) -> Result<Vec<Repaired>, Error> {
    let disk: Arc<dyn Disk> = RealDisk::shared();
    disk.create_dir_all(state_dir).map_err(minispark_engine::Error::io("create", state_dir))?;
    let _lock = folder::lock(&*disk, state_dir)?;
    journal::repair::repair(&disk, state_dir)
}

/// Serves REST, Flight and the clock until the master is stopped, or one of them ends.
async fn serve(
    master: &Arc<Master>,
    key: SharedKey,
    hosts: AllowedHosts,
    rest_listener: TcpListener,
    flight_listener: tokio::net::TcpListener,
) -> Result<(), Error> {
    let service =
        FlightService { store: None, results: Some(Arc::clone(master) as Arc<dyn Results>), key };
    let stop = master.stop.clone();
    let mut parts: JoinSet<Result<(), Error>> = JoinSet::new();
    let watch = parts.spawn({
        let journal = Arc::clone(&master.journal);
        async move { Err(Error::Journal(String::from(&*journal.broken().await))) }
    });
    parts.spawn(rest::serve(Arc::clone(master), rest_listener, hosts, GRACE));
    parts.spawn({
        let stop = stop.clone();
        async move {
            minispark_flight::serve(flight_listener, service, stop).await.map_err(Error::Flight)
        }
    });
    let ticks = parts.spawn({
        let master = Arc::clone(master);
        async move {
            master.tick().await;
            Ok(())
        }
    });
    let mut outcome = Ok(());
    tokio::select! {
        () = stop.cancelled() => {}
        ended = parts.join_next() => {
            outcome = ended.map_or(Ok(()), flatten).and_then(|()| early_end(&stop));
            stop.cancel();
        }
    }
    ticks.abort();
    watch.abort();
    // REST lets open requests end first; Flight ends its streams with its token.
    while let Ok(Some(ended)) = tokio::time::timeout(GRACE * 2, parts.join_next()).await {
        outcome = outcome.and(flatten(ended));
    }
    outcome
}

fn early_end(stop: &CancellationToken) -> Result<(), Error> {
    if stop.is_cancelled() {
        return Ok(());
    }
    Err(Error::Internal(String::from("a part of the master ended by itself")))
}

fn flatten(ended: Result<Result<(), Error>, tokio::task::JoinError>) -> Result<(), Error> {
    match ended {
        Ok(outcome) => outcome,
        Err(error) if error.is_cancelled() => Ok(()),
        Err(error) => Err(Error::Internal(format!("a part of the master panicked: {error}"))),
    }
}

/// A listener on an address.
pub(crate) fn bind(purpose: &'static str, address: SocketAddr) -> Result<TcpListener, Error> {
    let bound: io::Result<TcpListener> = TcpListener::bind(address);
    bound.map_err(|source| Error::Bind { purpose, address, source })
}
