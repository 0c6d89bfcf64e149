//! `master`: serves until it is asked to end.

use std::path::PathBuf;

use minispark_api::master::{self, MasterOptions};
use minispark_engine::{disk::RealDisk, error::Code};
use tokio_util::sync::CancellationToken;

use super::{Stop, service};
use crate::{
    args,
    error::{Error, Exit, Result},
    host,
    output::Output,
};

/// Serves REST and Flight. The first signal lets it end in order, the second ends it at once.
///
/// # Errors
/// Where an address is taken or refused, a folder can't be used, or flags contradict each other.
pub(crate) fn master(
    args: &args::Master,
    token_file: Option<PathBuf>,
    output: Output,
) -> Result<Exit> {
    let is_open = token_file.is_none();
    if !args.bind.ip().is_loopback() && is_open && !args.insecure {
        return Err(open_to_all(&args.bind.to_string()));
    }
    if args.lost_after <= args.heartbeat {
        return Err(Error::usage("--lost-after must be longer than --heartbeat"));
    }
    if args.no_worker_wait <= args.lost_after {
        return Err(Error::usage("--no-worker-wait must be longer than --lost-after"));
    }
    let (output_dir, note) = host::output_dir(&RealDisk, args.output_dir.as_deref())?;
    if let Some(note) = note {
        output.say(&note);
    }
    if is_open && args.insecure {
        tracing::warn!(
            address = %args.bind,
            "no tokens are asked for: whoever reaches this address may run jobs and read results"
        );
    }
    let mut flight_bind = args.bind;
    flight_bind.set_port(args.flight_port);
    let options = MasterOptions {
        bind: args.bind,
        flight_bind,
        state_dir: host::absolute(&args.state_dir)?,
        output_dir,
        token_file,
        allowed_hosts: args.allowed_hosts.clone(),
        read_roots: host::read_roots(&args.read_roots)?,
        write_roots: host::absolutes(&args.write_roots)?,
        memory_bytes: args.memory,
        heartbeat: args.heartbeat,
        lost_after: args.lost_after,
        no_worker_wait: args.no_worker_wait,
        attempts: args.attempts,
    };
    service()?.block_on(async {
        let shutdown = CancellationToken::new();
        // That it is ready, and where, stands in the log.
        let server = master::run(options, shutdown.clone(), |_| {});
        until_stopped(server, &shutdown).await
    })
}

/// Drives a server to its end; a signal asks it to end, a second one does not wait for that.
///
/// # Errors
/// Those of the server.
pub(super) async fn until_stopped(
    server: impl Future<Output = Result<(), minispark_api::Error>>,
    shutdown: &CancellationToken,
) -> Result<Exit> {
    let mut stop = Stop::listen()?;
    let mut server = std::pin::pin!(server);
    tokio::select! {
        ended = &mut server => return ended.map(|()| Exit::Done).map_err(|error| service_error(&error)),
        _ = stop.next() => shutdown.cancel(),
    }
    tracing::info!("stopping");
    tokio::select! {
        ended = server => ended.map(|()| Exit::Done).map_err(|error| service_error(&error)),
        exit = stop.next() => Ok(exit),
    }
}

/// Why an address that other machines reach is refused.
pub(super) fn open_to_all(address: &str) -> Error {
    let what = format!("{address} can be reached by other machines, and no tokens are asked for");
    Error::new(Exit::Usage, Code::Forbidden, what).help(
        "make tokens (minispark token new) and name their file with --token-file; on a network \
         that you trust, add --insecure",
    )
}

fn service_error(error: &minispark_api::Error) -> Error {
    use std::error::Error as _;
    let code = error.code();
    let exit = match code {
        Code::Conflict | Code::StaleTerm => Exit::Conflict,
        Code::Forbidden | Code::Unauthenticated => Exit::NotAllowed,
        Code::BadRequest => Exit::Usage,
        _ => Exit::Other,
    };
    let mut what = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let part = inner.to_string();
        if !what.contains(&part) {
            what.push_str(": ");
            what.push_str(&part);
        }
        source = inner.source();
    }
    let told = Error::new(exit, code, what);
    match error {
        minispark_api::Error::Bind { .. } => {
            told.help("is another one running? Name another port; 0 takes a free one")
        }
        _ => told,
    }
}
