//! `dev`: a master and workers on this machine, in the background.
//!
//! All that is known of them stands in two files each below `logs/`: `<name>.pid` has the process
//! number alone, for `kill $(cat logs/worker1.pid)`; `<name>.json` has the rest, above all when the
//! process started, so that a number that now belongs to a stranger is never taken for ours.

use std::path::{Path, PathBuf};

use minispark_engine::{
    disk::{Disk, Lock, RealDisk},
    error::Code,
};
use serde::Serialize;

use super::control;
use crate::{
    args::{self, Global},
    error::{Error, Exit, Result},
    host,
    output::{self, Output},
};

mod member;
mod process;
mod up;
mod down;

use member::{Life, Member};

/// The master's name among the members.
const MASTER: &str = "master";

/// Does what was asked for with the local cluster.
///
/// # Errors
/// Where it can't be started or stopped; each says what stands in the way.
pub(crate) fn dev(args: &args::dev::Dev, global: &Global, output: Output) -> Result<Exit> {
    match args {
        args::dev::Dev::Up(args) => control()?.block_on(up::up(args, global, output)),
        args::dev::Dev::Down(args) => control()?.block_on(down::down(args, output)),
        args::dev::Dev::Status(args) => status(&Folders::of(args)?, output),
    }
}

/// Where a local cluster keeps things.
#[derive(Clone, Debug)]
struct Folders {
    /// Logs, pid files and the lock.
    logs: PathBuf,
    /// State and work folders.
    data: PathBuf,
}

impl Folders {
    fn of(args: &args::dev::Folder) -> Result<Self> {
        let base = host::absolute(&args.dir)?;
        Ok(Self { logs: base.join("logs"), data: base.join("mini-spark-dev") })
    }

    /// Takes the right to start and stop here. `logs` must be there.
    fn lock(&self) -> Result<Lock> {
        let path = self.logs.join(".lock");
        let taken = RealDisk.lock(&path).map_err(|error| refused("lock", &path, &error))?;
        taken.ok_or_else(|| {
            Error::new(Exit::Conflict, Code::Conflict, "another `dev up` or `dev down` is at work")
                .at(self.logs.display().to_string())
        })
    }

    /// The master and the workers that have files here, in this order, by number.
    fn members(&self) -> Result<Vec<Member>> {
        if !RealDisk.exists(&self.logs) {
            return Ok(Vec::new());
        }
        let paths = RealDisk.list(&self.logs);
        let paths = paths.map_err(|error| refused("read", &self.logs, &error))?;
        let mut members: Vec<(u32, Member)> = Vec::new();
        for path in paths.iter().filter(|path| path.extension().is_some_and(|end| end == "json")) {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let number = match name.strip_prefix("worker") {
                Some(number) => number.parse().ok().filter(|number| *number > 0),
                None => (name == MASTER).then_some(0),
            };
            if let Some(number) = number {
                members.push((number, Member::read(&self.logs, &name)?));
            }
        }
        members.sort_unstable_by_key(|(number, _)| *number);
        Ok(members.into_iter().map(|(_, member)| member).collect())
    }
}

/// What keeps a file of ours from being used.
fn refused(verb: &str, path: &Path, error: &std::io::Error) -> Error {
    let what = format!("cannot {verb} `{}`: {error}", path.display());
    Error::new(Exit::Other, Code::Internal, what)
}

/// The members, as they are shown.
#[derive(Serialize)]
struct Shown {
    items: Vec<ShownMember>,
}

#[derive(Serialize)]
struct ShownMember {
    name: String,
    state: &'static str,
    pid: u32,
    /// Where REST is served, by the master.
    #[serde(skip_serializing_if = "Option::is_none")]
    rest: Option<String>,
    /// Where Flight is served.
    flight: Option<String>,
    log: PathBuf,
}

impl Shown {
    fn of(folders: &Folders, members: &[Member]) -> Self {
        let items = members.iter().map(|member| ShownMember {
            name: member.name.clone(),
            state: match member.life() {
                Life::Running => "RUNNING",
                Life::Gone => "STOPPED",
            },
            pid: member.record.pid,
            rest: member.record.rest.clone(),
            flight: member.record.flight.clone(),
            log: folders.logs.join(format!("{}.log", member.name)),
        });
        Self { items: items.collect() }
    }

    fn print(&self, output: Output) -> Result<()> {
        if output.is_json() {
            return output::document(self);
        }
        let rows = self.items.iter().map(|item| {
            let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            vec![
                item.name.clone(),
                item.state.to_owned(),
                item.pid.to_string(),
                or_dash(&item.rest),
                or_dash(&item.flight),
                item.log.display().to_string(),
            ]
        });
        output::table(&["NAME", "STATE", "PID", "REST", "FLIGHT", "LOG"], rows.collect())
    }
}

/// Shows the members; all of them must run, and a master among them, for exit code 0.
fn status(folders: &Folders, output: Output) -> Result<Exit> {
    let members = folders.members()?;
    let runs = |member: &Member| member.life() == Life::Running;
    let all_run =
        members.first().is_some_and(|first| first.name == MASTER) && members.iter().all(runs);
    if members.is_empty() {
        output.say("nothing runs; start it with: minispark dev up");
    }
    Shown::of(folders, &members).print(output)?;
    Ok(if all_run { Exit::Done } else { Exit::Other })
}
