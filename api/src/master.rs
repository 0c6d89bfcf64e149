//! The master: event → `Scheduler::step` → remember facts → act on commands.
//!
//! One lock owns the scheduler ([`cluster`]); whoever has an event takes it, steps, and does what
//! comes out after letting go. REST, Flight, a clock's tick and the commits are its only sources
//! of events.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use minispark_engine::{
    disk::RealDisk,
    job::check::Site,
    memory::Budget,
    runtime::{Clock, SystemClock},
    schedule::{Event, Scheduler, Settings},
    sink::commit::Publisher,
};
use minispark_flight::{FlightService, RemoteExchange, Results, SharedKey};
use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{error::Error, rest};

pub(crate) mod cluster;
pub(crate) mod events;
pub(crate) mod observe;
pub(crate) mod commit;
pub(crate) mod folder;
pub(crate) mod results;
#[cfg(test)]
pub(crate) mod testing;

use cluster::{Cluster, Effect};
use folder::StateFolder;

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
    /// Relative paths in job documents are relative to this folder.
    pub base_dir: PathBuf,
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

/// How many documents are checked at once; each reads samples of its inputs.
const CHECKS_AT_ONCE: usize = 4;

/// What all parts of a master share.
pub(crate) struct Master {
    pub(crate) cluster: Mutex<Cluster>,
    pub(crate) clock: Arc<dyn Clock>,
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
    work: TaskTracker,
    superseded_by: Mutex<Option<u64>>,
}

impl Master {
    /// The scheduler and its companions; held for short steps only.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Cluster> {
        // A step that panicked is a bug, but the state behind it serves better than none.
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
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
            }
        }
    }

    /// Stops this master, because a worker has seen a later one.
    pub(crate) fn stop_for(&self, newer: u64) {
        *self.superseded_by.lock().unwrap_or_else(PoisonError::into_inner) = Some(newer);
        self.stop.cancel();
    }

    async fn tick(self: Arc<Self>) {
        loop {
            tokio::time::sleep(TICK).await;
            let effects = {
                let mut cluster = self.lock();
                cluster.tick(self.clock.now())
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
    let state = StateFolder::open(&disk, &options.state_dir)?;
    folder::prepare_output(&*disk, &options.output_dir)?;
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
    let master = Arc::new(Master {
        cluster: Mutex::new(Cluster::new(state.term, Scheduler::new(settings.clone()))),
        clock: Arc::new(SystemClock::start()),
        publisher: Publisher {
            disk: Arc::clone(&disk),
            output_dir: options.output_dir,
            budget: Budget::new(options.memory_bytes),
        },
        exchange: Arc::new(RemoteExchange::new(None, key.clone(), runtime)),
        site: Site { disk, base_dir: options.base_dir },
        settings,
        heartbeat: options.heartbeat,
        ticket_key: folder::to_hex(&state.ticket_key),
        commits: Semaphore::new(commit::COMMITS_AT_ONCE),
        checks: Semaphore::new(CHECKS_AT_ONCE),
        stop: shutdown.child_token(),
        work: TaskTracker::new(),
        superseded_by: Mutex::default(),
    });

    tracing::info!(
        rest = %addresses.rest, flight = %addresses.flight, term = %state.term, "master started"
    );
    on_ready(addresses);
    let outcome = serve(&master, key, rest_listener, flight_listener).await;
    master.lock().stop_commits();
    master.work.close();
    if tokio::time::timeout(GRACE, master.work.wait()).await.is_err() {
        tracing::warn!("a commit did not end in time");
    }
    tracing::info!(term = %state.term, "master stopped");
    let newer = *master.superseded_by.lock().unwrap_or_else(PoisonError::into_inner);
    match newer {
        Some(newer) => Err(Error::Superseded { newer, ours: state.term.0 }),
        None => outcome,
    }
}

/// Serves REST, Flight and the clock until the master is stopped, or one of them ends.
async fn serve(
    master: &Arc<Master>,
    key: SharedKey,
    rest_listener: TcpListener,
    flight_listener: tokio::net::TcpListener,
) -> Result<(), Error> {
    let service =
        FlightService { store: None, results: Some(Arc::clone(master) as Arc<dyn Results>), key };
    let stop = master.stop.clone();
    let mut parts: JoinSet<Result<(), Error>> = JoinSet::new();
    parts.spawn(rest::serve(Arc::clone(master), rest_listener, GRACE));
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
