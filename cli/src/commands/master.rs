//! `master`: serves until it is asked to end.

use std::path::PathBuf;

use minispark_api::master::{self, MasterOptions, Retention};
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
    if args.repair_state {
        return repair(args, output);
    }
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
        stores: host::stores(&args.stores),
        memory_bytes: args.memory,
        heartbeat: args.heartbeat,
        lost_after: args.lost_after,
        no_worker_wait: args.no_worker_wait,
        attempts: args.attempts,
        retention: Retention {
            keep_jobs: args.keep_jobs,
            keep_for: args.keep_for,
            results_quota: args.results_quota,
        },
    };
    service()?.block_on(async {
        let shutdown = CancellationToken::new();
        // That it is ready, and where, stands in the log.
        let server = master::run(options, shutdown.clone(), |_| {});
        until_stopped(server, &shutdown).await
    })
}

/// Sets corrupt parts of a state folder aside and says what was lost.
fn repair(args: &args::Master, output: Output) -> Result<Exit> {
    let state_dir = host::absolute(&args.state_dir)?;
    let repaired = master::repair_state(&state_dir).map_err(|error| service_error(&error))?;
    for part in &repaired {
        output.say(&format!(
            "{}: corrupt at byte {}; kept aside, its {} whole records were put in its place",
            part.aside.display(),
            part.offset,
            part.kept
        ));
        let numbers: Vec<String> = part.lost.iter().map(ToString::to_string).collect();
        output.say(&format!("  lost: record {}", numbers.join(", ")));
        for job in &part.jobs {
            output.say(&format!("  it speaks of job {job}: what was lost may concern it"));
        }
    }
    if repaired.is_empty() {
        output.say("nothing is corrupt");
    } else {
        output.say("start the master as usual; what is lost of a running job is computed again");
    }
    Ok(Exit::Done)
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
        minispark_api::Error::StateCorrupt { .. } => {
            told.help("nothing was deleted; `minispark master --repair-state` sets the part aside")
        }
        minispark_api::Error::Bind { .. } => {
            told.help("is another one running? Name another port; 0 takes a free one")
        }
        _ => told,
    }
}
