//! What the commands that look at files share: each makes a job document and runs it here.
//!
//! The job is that of [`Job`]; its rows go to a folder of its own among the results' staging, from
//! where they are printed, and which goes with the command.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use minispark_engine::{
    disk::{Disk, RealDisk},
    error::Code,
    id::JobId,
    job::{Json, check::Checked},
    runtime::{Session, SessionOptions},
    schedule::JobStatus,
    sink::{STAGING, commit::Published},
    task::context::CancelFlag,
};

use super::{
    finding, invalid,
    run::{Interrupt, failure, watched},
    warn,
};
use crate::{
    args::files::{Input, Resources},
    error::{Error, Exit, Result},
    host,
    output::{self, Output},
};

mod formats;
mod job;
mod rows;
mod table;
mod sql;
mod head;
mod schema;
mod describe;
mod count;
mod convert;

pub(super) use convert::convert;
pub(super) use count::count;
pub(super) use describe::describe;
pub(super) use head::head;
pub(super) use schema::schema;
pub(super) use sql::sql;

use job::Job;

/// The node whose rows are the answer.
const ANSWER: &str = "answer";

/// The node that reads, where there is one.
const FILE: &str = "file";

/// Runs jobs for one command.
struct Look {
    session: Session,
    folder: PathBuf,
    disk: RealDisk,
    output: Output,
}

impl Look {
    fn start(resources: Option<&Resources>, output: Output) -> Result<Self> {
        let disk = RealDisk;
        let (output_dir, note) = host::output_dir(&disk, None)?;
        if let Some(note) = note {
            output.say(&note);
        }
        let folder = output_dir.join(STAGING).join(format!("look-{}", JobId::random()));
        disk.create_dir_all(&folder).map_err(|error| file_error("create", &folder, &error))?;
        let threads = resources.and_then(|resources| resources.threads);
        let memory = resources.and_then(|resources| resources.memory);
        let session = Session::new(SessionOptions {
            data: host::data_disks(),
            base_dir: host::working_directory()?,
            scratch_dir: output_dir.join(STAGING),
            output_dir: folder.clone(),
            threads: threads.map_or_else(host::default_threads, usize::from),
            memory_bytes: memory.unwrap_or_else(host::default_memory_bytes),
        })?;
        Ok(Self { session, folder, disk, output })
    }

    /// The node that reads `file`, under this id.
    fn reader(&self, id: &str, file: &str, input: &Input) -> Result<Json> {
        let path = if file == "-" { self.spooled()? } else { PathBuf::from(file) };
        let shown = if file == "-" { Path::new("-") } else { &path };
        let format = match input.format {
            Some(format) => format,
            None => formats::of_path(shown, &self.disk)?,
        };
        Ok(formats::reader(id, &path.to_string_lossy(), format, input))
    }

    /// Stdin as a file: jobs read files, from several places at once.
    fn spooled(&self) -> Result<PathBuf> {
        let path = self.folder.join("stdin");
        if self.disk.exists(&path) {
            return Ok(path);
        }
        let failed = |error: std::io::Error| file_error("write", &path, &error);
        let mut file = self.disk.create(&path).map_err(failed)?;
        let mut buffer = vec![0; 256 << 10];
        let mut stdin = std::io::stdin().lock();
        loop {
            let read = stdin.read(&mut buffer).map_err(|error| {
                let what = format!("cannot read stdin: {error}");
                Error::new(Exit::Other, Code::InputNotFound, what)
            })?;
            if read == 0 {
                break;
            }
            file.write_all(&buffer[..read]).map_err(failed)?;
        }
        file.flush().map_err(failed)?;
        Ok(path)
    }

    /// Checks a job as `run` would.
    fn check(&self, job: &Job) -> Result<Checked> {
        let document = job.document();
        let checked = self.session.check(&document, true);
        let checked = checked.map_err(|problems| {
            let mut error = invalid(&document, job.shown, &problems);
            if let [problem] = &problems[..] {
                // One problem is what happened; where it stands in a document that nobody wrote
                // helps nobody.
                error.findings.clear();
                let hint = problem.suggestion.as_ref();
                if let Some(name) = hint {
                    error = error.help(format!("did you mean `{name}`?"));
                }
            }
            error
        })?;
        warn(&checked.warnings.iter().map(finding).collect::<Vec<_>>(), self.output);
        Ok(checked)
    }

    /// Runs a job; its only result, or how it ended without one.
    fn run(&self, job: &Job) -> Result<Result<Published, Exit>> {
        let checked = self.check(job)?;
        let cancel = CancelFlag::default();
        let interrupt = Interrupt::listen(cancel.clone(), self.output)?;
        let (outcome, _) = watched(&self.session, checked, false, &cancel, self.output)?;
        let signal = interrupt.end();
        match outcome.status {
            JobStatus::Completed => {
                let sink = outcome.sinks.into_iter().next();
                let missing = || Error::new(Exit::Other, Code::Internal, "the job has no result");
                sink.ok_or_else(missing).map(Ok)
            }
            JobStatus::Cancelled => Ok(Err(signal.unwrap_or(Exit::JobCancelled))),
            JobStatus::Failed | JobStatus::Accepted | JobStatus::Running => {
                Err(failure(outcome.error.as_ref()))
            }
        }
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        if let Err(error) = self.disk.remove_dir_all(&self.folder) {
            tracing::warn!(%error, folder = %self.folder.display(), "files are left");
        }
    }
}

/// Prints the document that a command would run.
fn print_job(job: &Job) -> Result<Exit> {
    output::document(&job.json())?;
    Ok(Exit::Done)
}

fn file_error(what: &str, path: &Path, error: &std::io::Error) -> Error {
    let what = format!("cannot {what} `{}`: {error}", path.display());
    Error::new(Exit::Other, Code::Internal, what)
}
