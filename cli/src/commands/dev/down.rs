//! `dev down`: ends what `dev up` started, and nothing else.

use std::time::Duration;

use minispark_engine::error::Code;
use rustix::process::Signal;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::{Folders, Life, MASTER, Member, process};
use crate::{
    args,
    error::{Error, Exit, Result},
    output::{self, Output},
};

/// How long the system may take to end a process that was killed.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at processes that are to end.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks the workers and then the master to end, kills what does not, and removes their files.
/// That nothing runs is no error.
///
/// # Errors
/// Where a process can't be ended.
pub(super) async fn down(args: &args::dev::Down, output: Output) -> Result<Exit> {
    let folders = Folders::of(&args.folder)?;
    let mut ended = Ended::default();
    if !folders.members()?.is_empty() {
        let _lock = folders.lock()?;
        // Read again: another may have changed them before the lock was ours.
        ended = end(&folders, folders.members()?, args.grace, output).await?;
    }
    if output.is_json() {
        output::document(&ended)?;
    } else if ended.stopped.is_empty() && ended.killed.is_empty() {
        output::line("nothing runs")?;
    } else {
        let names: Vec<&str> =
            ended.stopped.iter().chain(&ended.killed).map(String::as_str).collect();
        output::line(&format!("stopped {}", names.join(", ")))?;
    }
    Ok(Exit::Done)
}

/// How the members ended.
#[derive(Debug, Default, Serialize)]
pub(super) struct Ended {
    /// By themselves, when they were asked to.
    stopped: Vec<String>,
    /// After the time they had for that.
    killed: Vec<String>,
    /// Before anyone asked.
    gone: Vec<String>,
}

/// Ends these members, the workers first, so that they can say goodbye to the master.
///
/// # Errors
/// Where one can't be ended.
pub(super) async fn end(
    folders: &Folders,
    members: Vec<Member>,
    grace: Duration,
    output: Output,
) -> Result<Ended> {
    let mut ended = Ended::default();
    let (master, workers): (Vec<_>, Vec<_>) =
        members.into_iter().partition(|member| member.name == MASTER);
    for group in [workers, master] {
        let mut open = Vec::new();
        for member in group {
            if member.life() == Life::Running {
                signal(&member, Signal::TERM)?;
                open.push(member);
            } else {
                output.say(&format!("{} had ended before", member.name));
                member.forget(&folders.logs)?;
                ended.gone.push(member.name);
            }
        }
        wait(&mut open, grace, folders, &mut ended.stopped).await?;
        for member in &open {
            output.say(&format!("{} does not end by itself; it is killed", member.name));
            signal(member, Signal::KILL)?;
        }
        wait(&mut open, KILL_PATIENCE, folders, &mut ended.killed).await?;
        if let Some(member) = open.first() {
            let what = format!("{} (process {}) does not end", member.name, member.record.pid);
            return Err(Error::new(Exit::Other, Code::Internal, what));
        }
    }
    Ok(ended)
}

/// Waits for members to end; those that did are forgotten and named.
async fn wait(
    open: &mut Vec<Member>,
    patience: Duration,
    folders: &Folders,
    names: &mut Vec<String>,
) -> Result<()> {
    let start = Instant::now();
    loop {
        for member in open.extract_if(.., |member| member.life() == Life::Gone) {
            member.forget(&folders.logs)?;
            names.push(member.name);
        }
        if open.is_empty() || start.elapsed() > patience {
            return Ok(());
        }
        sleep(PAUSE).await;
    }
}

/// Sends a signal to a member that was just seen running.
fn signal(member: &Member, signal: Signal) -> Result<()> {
    process::signal(member.record.pid, signal).map_err(|error| {
        let what = format!("cannot end {} (process {}): {error}", member.name, member.record.pid);
        Error::new(Exit::NotAllowed, Code::Forbidden, what)
    })
}
