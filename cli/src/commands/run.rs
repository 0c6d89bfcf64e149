//! `run`: a job in this process.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread,
    time::Duration,
};

use minispark_api::rest::wire::Results;
use minispark_engine::{
    disk::{DataDisks, Disk, RealDisk, rooted::RootedDisk, unsynced::UnsyncedDisk},
    error::Code,
    formats::{WriteFormat, compression::Compression, intake::BadRowMode},
    job::check::Checked,
    plan::{Op, explain::Explanation},
    runtime::{Clock, Outcome, Session, SessionOptions, SystemClock},
    schedule::{JobError, JobStatus, JobView},
    sink::{STAGING, bad_rows, commit::Published},
    task::context::CancelFlag,
};
use serde::Serialize;
use tokio::sync::oneshot;

use super::{Stop, control, finding, invalid, warn};
use crate::{
    allocator, args,
    error::{Error, Exit, Result},
    host,
    output::{self, Output, head::Head, progress::Progress},
    units::{show_bytes, show_count},
};

/// Runs the job; prints its first rows, or its results document with `--json`.
///
/// # Errors
/// All problems of the document, or why the job failed.
pub(crate) fn run(args: &args::Run, output: Output) -> Result<Exit> {
    let disk = RealDisk;
    let document = host::read_document(&disk, &args.file)?;
    let shown = args.file.display().to_string();
    let document = host::with_parameters(document, &args.parameters, &shown)?;
    let (output_dir, note) = host::output_dir(&disk, args.output_dir.as_deref())?;
    if let Some(note) = note {
        output.say(&note);
    }
    let data = data_disks(args, &output_dir)?;
    let results = Arc::clone(&data.outputs);
    let memory_bytes = args.memory.unwrap_or_else(host::default_memory_bytes);
    let session = Session::new(SessionOptions {
        data,
        base_dir: host::working_directory()?,
        scratch_dir: output_dir.join(STAGING),
        output_dir: output_dir.clone(),
        threads: args.threads.map_or_else(host::default_threads, usize::from),
        memory_bytes,
    })?
    .with_spill_quota(args.spill_quota);
    let checked = session
        .check(&document, args.strict)
        .map_err(|problems| invalid(&document, &shown, &problems))?;
    let limit = checked.plan.limits.memory_bytes.unwrap_or(memory_bytes);
    allocator::suit(memory_bytes.min(limit));
    warn(&checked.warnings.iter().map(finding).collect::<Vec<_>>(), output);
    let cancel = CancelFlag::default();
    let interrupt = Interrupt::listen(cancel.clone(), output)?;
    let (outcome, explanation) = watched(&session, checked, args.explain, &cancel, output)?;
    let signal = interrupt.end();
    if let Some(explanation) = explanation {
        for line in super::explain::text::lines(&explanation) {
            output.say(&line);
        }
    }
    match outcome.status {
        JobStatus::Completed => {
            succeed(&outcome, args.show, &output_dir, &*results, output)?;
            Ok(Exit::Done)
        }
        JobStatus::Cancelled => {
            output.say("cancelled; no result was written");
            Ok(signal.unwrap_or(Exit::JobCancelled))
        }
        JobStatus::Failed | JobStatus::Accepted | JobStatus::Running => {
            Err(failure(outcome.error.as_ref()))
        }
    }
}

/// The user's own files and objects; files beneath roots alone where some are set.
fn data_disks(args: &args::Run, output_dir: &Path) -> Result<DataDisks> {
    let mut data = host::data_disks();
    if !args.read_roots.is_empty() {
        data.inputs = RootedDisk::open(&host::absolutes(&args.read_roots)?)?;
    }
    if !args.write_roots.is_empty() {
        let mut roots = host::absolutes(&args.write_roots)?;
        roots.push(output_dir.to_owned());
        data.outputs = RootedDisk::open(&roots)?;
    }
    if args.no_sync {
        data.outputs = Arc::new(UnsyncedDisk(data.outputs));
    }
    Ok(data)
}

/// Runs with a progress bar; with what was measured, where that is asked for.
pub(super) fn watched(
    session: &Session,
    checked: Checked,
    is_measured: bool,
    cancel: &CancelFlag,
    output: Output,
) -> Result<(Outcome, Option<Explanation>)> {
    let clock = SystemClock::start();
    let mut progress = Progress::new(output, &checked.plan.name, false);
    let mut watch = |view: &JobView| {
        let rows = show_count(rows_read(view));
        let message = format!("{rows} rows, {} of {} tasks", view.tasks_done, view.tasks);
        progress.update(view.progress_percent, clock.now(), &message);
    };
    let outcome = if is_measured {
        let analyzed = session.analyze(checked, cancel, &mut watch);
        analyzed.map(|(outcome, explanation)| (outcome, Some(explanation)))
    } else {
        session.run(checked, cancel, &mut watch).map(|outcome| (outcome, None))
    };
    progress.finish();
    Ok(outcome?)
}

/// What the sources gave.
fn rows_read(view: &JobView) -> u64 {
    let is_source = |index: usize| {
        view.plan.nodes.get(index).is_some_and(|node| matches!(node.op, Op::Read(_)))
    };
    let sources = view.rows.iter().filter(|rows| is_source(rows.node.index()));
    sources.map(|rows| rows.rows_out).sum()
}

fn succeed(
    outcome: &Outcome,
    show: u64,
    output_dir: &Path,
    results: &dyn Disk,
    output: Output,
) -> Result<()> {
    let disk = &RealDisk;
    if output.json_asked() {
        output::document(&Document {
            results: Results::of(&outcome.job.to_string(), &outcome.sinks),
            duration_secs: outcome.elapsed.as_secs_f64(),
            shuffled_bytes: outcome.view.shuffled_bytes,
            spilled_bytes: outcome.view.spilled_bytes,
            peak_memory_bytes: host::peak_memory_bytes(disk),
        })?;
    }
    for sink in &outcome.sinks {
        let (rows, bytes) = (show_count(sink.rows), show_bytes(sink.bytes));
        let cut = if output.json_asked() || sink.rows <= show {
            String::new()
        } else {
            format!(", the first {show} on stdout")
        };
        let path = sink.path.display();
        output.say(&format!("{}: {rows} rows, {bytes}{cut}, in {path}", sink.sink));
        if !output.json_asked() {
            first_rows(sink, show, results)?;
        }
    }
    for line in bad_rows(outcome, output_dir) {
        output.say(&line);
    }
    let rows = rows_read(&outcome.view);
    let seconds = outcome.elapsed.as_secs_f64();
    let mut figures = vec![format!("{} rows read in {seconds:.3} s", show_count(rows))];
    if outcome.elapsed > Duration::ZERO {
        let per_second = u128::from(rows) * 1_000_000_000 / outcome.elapsed.as_nanos();
        let per_second = u64::try_from(per_second).unwrap_or(u64::MAX);
        figures.push(format!("{} rows/s", show_count(per_second)));
    }
    if outcome.view.spilled_bytes > 0 {
        figures.push(format!("{} spilled", show_bytes(outcome.view.spilled_bytes)));
    }
    if let Some(peak) = host::peak_memory_bytes(disk) {
        figures.push(format!("{} peak memory", show_bytes(peak)));
    }
    output.say(&figures.join(", "));
    Ok(())
}

/// What became of rows that were none, a line a node that had any.
fn bad_rows(outcome: &Outcome, output_dir: &Path) -> Vec<String> {
    let plan = &outcome.view.plan;
    let had_some = outcome.view.rows.iter().filter(|counted| counted.quarantined > 0);
    had_some
        .filter_map(|counted| {
            let node = plan.nodes.get(counted.node.index())?;
            let rows = show_count(counted.quarantined);
            Some(match node.op.on_bad_row()?.mode {
                BadRowMode::Quarantine => {
                    let folder = bad_rows::folder(plan, outcome.job, output_dir);
                    let file = folder.join(bad_rows::file_name(&node.id));
                    format!("{}: {rows} bad rows put aside in {}", node.id, file.display())
                }
                BadRowMode::Skip | BadRowMode::Fail => {
                    format!("{}: {rows} bad rows skipped", node.id)
                }
            })
        })
        .collect()
}

/// Prints the first rows of a result from its files, as they stand there; of compressed ones none.
fn first_rows(sink: &Published, rows: u64, disk: &dyn Disk) -> Result<()> {
    if sink.compression != Compression::None {
        return Ok(());
    }
    let (is_csv, has_header) = match &sink.format {
        WriteFormat::Csv(options) => (true, options.header),
        WriteFormat::Text | WriteFormat::Jsonl => (false, false),
        WriteFormat::Arrow | WriteFormat::ArrowStream | WriteFormat::Parquet => return Ok(()),
    };
    let mut rows_left = rows;
    for (number, file) in sink.files.iter().enumerate() {
        if rows_left == 0 && number > 0 {
            break;
        }
        // Every file has the header; it is shown once.
        let header = u64::from(has_header);
        let skip = if number > 0 { header } else { 0 };
        copy_rows(&file.path, skip, rows_left + header - skip, is_csv, disk)?;
        rows_left = rows_left.saturating_sub(file.rows);
    }
    Ok(())
}

/// Prints `rows` records of a file behind its first `skip`.
fn copy_rows(path: &Path, skip: u64, rows: u64, quotes: bool, disk: &dyn Disk) -> Result<()> {
    let failed = |error: std::io::Error| {
        let what = format!("cannot read `{}`: {error}", path.display());
        Error::new(Exit::Other, Code::Internal, what)
    };
    let file = disk.open(path).map_err(failed)?;
    let (mut skipped, mut wanted) = (Head::new(skip, quotes), Head::new(rows, quotes));
    let mut buffer = vec![0; 64 << 10];
    let mut offset = 0;
    while !wanted.is_full() {
        let read = file.read_at(&mut buffer, offset).map_err(failed)?;
        if read == 0 {
            break;
        }
        offset += read as u64;
        let bytes = &buffer[..read];
        let behind = skipped.take(bytes).len();
        output::rows(wanted.take(&bytes[behind..]))?;
    }
    Ok(())
}

/// The results document, as REST gives it, with the figures of the run.
#[derive(Serialize)]
struct Document {
    #[serde(flatten)]
    results: Results,
    duration_secs: f64,
    shuffled_bytes: u64,
    spilled_bytes: u64,
    peak_memory_bytes: Option<u64>,
}

pub(super) fn failure(error: Option<&JobError>) -> Error {
    let Some(JobError { failure, nodes, attempt, .. }) = error else {
        return Error::new(Exit::JobFailed, Code::JobFailed, "the job failed");
    };
    let told = Error::new(Exit::JobFailed, failure.code, failure.message.clone());
    let mut place = Vec::new();
    // A helper is part of the document's node that it stands before.
    let mut named: Vec<&str> = nodes.iter().map(|id| id.split('.').next().unwrap_or(id)).collect();
    named.dedup();
    if !named.is_empty() {
        place.push(format!("node {}", named.join(", ")));
    }
    if let Some(attempt) = attempt {
        let task = attempt.task;
        place.push(format!(
            "stage {}, partition {}, attempt {}",
            task.stage, task.partition, attempt.attempt
        ));
    }
    if place.is_empty() { told } else { told.at(place.join(", ")) }
}

/// Turns the first Ctrl-C (or SIGTERM) into a cancellation and lets the second end the process.
pub(super) struct Interrupt {
    signal: Arc<AtomicU8>,
    end: oneshot::Sender<()>,
    listener: thread::JoinHandle<()>,
}

impl Interrupt {
    pub(super) fn listen(cancel: CancelFlag, output: Output) -> Result<Self> {
        let signal = Arc::new(AtomicU8::new(0));
        let (end, mut ended) = oneshot::channel();
        let runtime = control()?;
        let mut stop = {
            let _guard = runtime.enter();
            Stop::listen()?
        };
        let seen = Arc::clone(&signal);
        let listener = thread::spawn(move || {
            runtime.block_on(async {
                loop {
                    let exit = tokio::select! {
                        exit = stop.next() => exit,
                        _ = &mut ended => return,
                    };
                    if cancel.is_cancelled() {
                        end_now(exit);
                    }
                    seen.store(exit.code(), Ordering::Relaxed);
                    cancel.cancel();
                    output.say("cancelling; once more ends at once");
                }
            });
        });
        Ok(Self { signal, end, listener })
    }

    /// Stops listening; the signal that came, as an exit code.
    pub(super) fn end(self) -> Option<Exit> {
        if self.end.send(()).is_err() || self.listener.join().is_err() {
            tracing::warn!("the listener for signals ended before its time");
        }
        [Exit::Interrupted, Exit::Terminated]
            .into_iter()
            .find(|exit| exit.code() == self.signal.load(Ordering::Relaxed))
    }
}

#[expect(
    clippy::exit,
    reason = "the user asked twice; tasks that don't answer must not hold it up"
)]
fn end_now(exit: Exit) {
    std::process::exit(i32::from(exit.code()));
}
