//! `worker`: runs a master's tasks until it is asked to end.

use std::net::SocketAddr;

use minispark_api::{
    auth::Secret,
    worker::{self, WorkerOptions},
};
use tokio_util::sync::CancellationToken;

use super::{
    master::{open_to_all, until_stopped},
    service,
};
use crate::{
    args,
    error::{Exit, Result},
    host,
};

/// Works for the master at `--master`, or else at `server`; waits for it where it is not there
/// yet. The first signal lets it end in order, the second ends it at once.
///
/// # Errors
/// Where its port is taken, its folder can't be used, or the master refuses it.
pub(crate) fn worker(args: args::Worker, server: &str, token: Option<Secret>) -> Result<Exit> {
    let bind = SocketAddr::new(args.bind, args.port);
    if !args.bind.is_loopback() && token.is_none() {
        if !args.insecure {
            return Err(open_to_all(&bind.to_string()));
        }
        tracing::warn!(address = %bind, "no token: the master and its network are trusted");
    }
    let work_dir = args.work_dir.unwrap_or_else(|| {
        let name = match args.port {
            0 => format!("mini-spark-worker-of-{}", std::process::id()),
            port => format!("mini-spark-worker-{port}"),
        };
        std::env::temp_dir().join(name)
    });
    let options = WorkerOptions {
        master_url: args.master.unwrap_or_else(|| server.to_owned()),
        token,
        bind,
        advertise: args.advertise,
        slots: args.slots.map_or_else(host::default_threads, usize::from),
        memory_bytes: args.memory.unwrap_or_else(host::default_memory_bytes),
        spill_quota_bytes: args.spill_quota,
        read_roots: host::read_roots(&args.read_roots)?,
        write_roots: host::absolutes(&args.write_roots)?,
        stores: host::stores(&args.stores),
        work_dir: host::absolute(&work_dir)?,
        drain: args.drain,
    };
    service()?.block_on(async {
        let shutdown = CancellationToken::new();
        let agent = worker::run(options, shutdown.clone(), |_| {});
        until_stopped(agent, &shutdown).await
    })
}
