//! The worker: threads that run tasks, a Flight server for what they put out, and an agent that
//! speaks with the master.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, thread, time::Duration};

use minispark_engine::{
    disk::{DataDisks, RealDisk, quota::Quota},
    exchange::store::PartitionStore,
    memory::Budget,
    runtime::SystemClock,
    task::limits::Resources,
};
use minispark_flight::{
    FlightService, RemoteExchange, SharedKey,
    objects::{Objects, StoreRule},
};
use tokio::{runtime, sync::oneshot, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{auth::Secret, error::Error, master::bind};

mod agent;
mod call;
mod folder;
mod slots;

use agent::{Agent, Tools};
use call::MasterClient;
use folder::WorkFolder;

/// How a worker works.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// Where the master is: `http://host:port`.
    pub master_url: String,
    /// What the master lets the worker in by, where it asks for one.
    pub token: Option<Secret>,
    /// Where Flight is served; port 0 picks a free one.
    pub bind: SocketAddr,
    /// The Flight address as others reach it, with or without a port; from `bind` where absent.
    pub advertise: Option<String>,
    /// How many tasks run at once.
    pub slots: usize,
    /// The memory budget, in bytes.
    pub memory_bytes: u64,
    /// What spill files and map outputs may take on disk, in bytes.
    pub spill_quota_bytes: Option<u64>,
    /// The folders beneath which tasks may read.
    pub read_roots: Vec<PathBuf>,
    /// The folders that it may share with the master, and beneath which tasks write results then.
    pub write_roots: Vec<PathBuf>,
    /// The object stores that tasks may read.
    pub stores: Vec<StoreRule>,
    /// Holds the lock, the identity, and spill and shuffle files.
    pub work_dir: PathBuf,
    /// How long it goes on for others when it is asked to end: its tasks may end, and others may
    /// read what it holds. What is not over by then is handed back.
    pub drain: Duration,
}

/// How long the agent's blocking leftovers may take once it has ended.
const LEFTOVERS: Duration = Duration::from_secs(1);

/// Runs a worker until `shutdown`; `on_ready` is told where Flight listens.
///
/// It waits for a master that is away, for ever.
///
/// # Errors
/// Where it can't start (the address or the folder is taken), or the master's version is another.
pub async fn run(
    options: WorkerOptions,
    shutdown: CancellationToken,
    on_ready: impl FnOnce(SocketAddr),
) -> Result<(), Error> {
    let master = MasterClient::new(&options.master_url, options.token.clone())?;
    let disk = RealDisk::shared();
    let folder = WorkFolder::open(&disk, &options.work_dir)?;
    let system = |action| move |source| Error::System { action, source };
    // Results go through the store, but where a folder turns out to be the master's.
    let files = DataDisks::beneath(&options.read_roots, &options.write_roots)?;
    let data = Objects::within(options.stores.clone()).beside(files);
    let listener = bind("Flight", options.bind)?;
    let bound = listener.local_addr().map_err(system("read the Flight address"))?;
    let address = advertised(&options, bound, &master).map_err(system("find our own address"))?;
    listener.set_nonblocking(true).map_err(system("prepare the Flight socket"))?;
    let listener =
        tokio::net::TcpListener::from_std(listener).map_err(system("prepare the Flight socket"))?;

    let slots = options.slots.max(1);
    let budget = Budget::of_tasks(options.memory_bytes, slots);
    let quota = Quota::of_process(options.spill_quota_bytes);
    let resources = Resources::new(budget.clone(), Arc::clone(&disk), quota);
    let store = PartitionStore::durable(Arc::clone(&disk), folder.shuffle(), budget.clone())?;
    let store = Arc::new(store);
    let key = SharedKey::default();
    let own = (folder.worker.clone(), Arc::clone(&store));
    let exchange = RemoteExchange::new(Some(own), key.clone(), runtime::Handle::current());
    let service =
        FlightService { store: Some(Arc::clone(&store)), results: None, key: key.clone() };
    let worker = folder.worker.clone();
    let tools = Tools {
        disk,
        data,
        clock: Arc::new(SystemClock::start()),
        budget,
        resources,
        store,
        traffic: exchange.traffic(),
        exchange: Arc::new(exchange),
        key,
        address: address.clone(),
        slots,
        writes: !options.write_roots.is_empty(),
        drain: options.drain,
    };
    let agent = Agent::new(tools, master, folder)?;

    let stop = shutdown.child_token();
    let mut parts: JoinSet<Result<(), Error>> = JoinSet::new();
    let serving = minispark_flight::serve(listener, service, CancellationToken::new());
    parts.spawn(async move { serving.await.map_err(Error::Flight) });
    let mut agent_ended = start_agent(agent, stop.clone())?;
    tracing::info!(%worker, flight = %bound, address, slots = options.slots, "worker started");
    on_ready(bound);

    let outcome = tokio::select! {
        ended = &mut agent_ended => agent_outcome(ended),
        ended = parts.join_next() => {
            // Without Flight its outputs can't be read: it leaves in order, then says why.
            stop.cancel();
            let left = agent_outcome(agent_ended.await);
            flight_outcome(ended).and(left)
        }
    };
    // It has said goodbye, so nobody counts on its outputs any more.
    parts.shutdown().await;
    tracing::info!(%worker, "worker stopped");
    outcome
}

/// Why Flight ended while the worker was not asked to.
fn flight_outcome(
    ended: Option<Result<Result<(), Error>, tokio::task::JoinError>>,
) -> Result<(), Error> {
    match ended {
        Some(Ok(Err(error))) => Err(error),
        Some(Err(error)) => Err(Error::Internal(format!("the Flight server ended: {error}"))),
        Some(Ok(Ok(()))) | None => {
            Err(Error::Internal(String::from("the Flight server ended by itself")))
        }
    }
}

/// The address that others reach Flight by, `host:port`.
fn advertised(
    options: &WorkerOptions,
    bound: SocketAddr,
    master: &MasterClient,
) -> io::Result<String> {
    let port = bound.port();
    match &options.advertise {
        Some(address) if has_port(address) => Ok(address.clone()),
        Some(host) if host.contains(':') && !host.starts_with('[') => {
            Ok(format!("[{host}]:{port}"))
        }
        Some(host) => Ok(format!("{host}:{port}")),
        None if bound.ip().is_unspecified() => {
            Ok(SocketAddr::new(master.local_address()?, port).to_string())
        }
        None => Ok(bound.to_string()),
    }
}

/// Whether an address ends in a port; the colons of a bare IPv6 address are none.
fn has_port(address: &str) -> bool {
    match address.rsplit_once(':') {
        Some((host, port)) => {
            port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']'))
        }
        None => false,
    }
}

/// Starts the agent on its own thread and runtime; what it ended with comes out.
fn start_agent(
    agent: Agent,
    stop: CancellationToken,
) -> Result<oneshot::Receiver<Result<(), Error>>, Error> {
    let system = |action| move |source| Error::System { action, source };
    let control = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system("make a runtime for polls"))?;
    let (tell, ended) = oneshot::channel();
    thread::Builder::new()
        .name(String::from("control"))
        .spawn(move || {
            let outcome = control.block_on(agent.run(stop));
            control.shutdown_timeout(LEFTOVERS);
            // Whoever waited may be gone, and then nobody wants to know.
            drop(tell.send(outcome));
        })
        .map_err(system("start the thread for polls"))?;
    Ok(ended)
}

fn agent_outcome(ended: Result<Result<(), Error>, oneshot::error::RecvError>) -> Result<(), Error> {
    ended.unwrap_or_else(|_| Err(Error::Internal(String::from("the worker's agent panicked"))))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{MasterClient, WorkerOptions, advertised};

    fn address(bind: &str, advertise: Option<&str>) -> String {
        let options = WorkerOptions {
            master_url: String::from("http://127.0.0.1:8080"),
            token: None,
            bind: bind.parse().unwrap(),
            advertise: advertise.map(String::from),
            slots: 1,
            memory_bytes: 0,
            spill_quota_bytes: None,
            read_roots: Vec::new(),
            write_roots: Vec::new(),
            stores: Vec::new(),
            work_dir: PathBuf::new(),
            drain: std::time::Duration::ZERO,
        };
        let master = MasterClient::new(&options.master_url, None).unwrap();
        advertised(&options, options.bind, &master).unwrap()
    }

    #[test]
    fn an_advertised_address_gets_the_bound_port_where_it_names_none() {
        assert_eq!(address("127.0.0.1:9001", None), "127.0.0.1:9001");
        assert_eq!(address("0.0.0.0:9001", None), "127.0.0.1:9001");
        assert_eq!(address("0.0.0.0:9001", Some("worker-1")), "worker-1:9001");
        assert_eq!(address("0.0.0.0:9001", Some("worker-1:7")), "worker-1:7");
        assert_eq!(address("[::]:9001", Some("fd00::1")), "[fd00::1]:9001");
        assert_eq!(address("[::]:9001", Some("[fd00::1]:7")), "[fd00::1]:7");
    }
}
