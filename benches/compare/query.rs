//! Runs job documents one after another in one process and says how long each took, as the peers'
//! processes do: `query [--write] [--keep DIR] THREADS MEMORY_BYTES WORK_DIR DOCUMENT...`
//!
//! A query's time goes from its document to the last row of its result: in memory, or with
//! `--write` in the files that the document names. `--keep` writes what was collected as Arrow IPC
//! files, off the clock, so that it can be compared. Prints one JSON object.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that fails should stop and say so, and its figures go to stdout"
)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::ipc::writer::FileWriter;
use minispark_engine::{
    disk::{DataDisks, Disk, RealDisk, unsynced::UnsyncedDisk},
    runtime::{Clock, Session, SessionOptions, SystemClock, collect::Collected},
    schedule::{JobStatus, JobView},
    task::context::CancelFlag,
};
use serde_json::json;

#[path = "../../cli/src/allocator.rs"]
mod allocator;

fn main() {
    allocator::set_up();
    let mut arguments = env::args().skip(1).peekable();
    let writes = arguments.next_if(|argument| argument == "--write").is_some();
    let keep = arguments.next_if(|argument| argument == "--keep").is_some();
    let keep = keep.then(|| PathBuf::from(arguments.next().unwrap()));
    let threads = arguments.next().unwrap().parse().unwrap();
    let memory_bytes = arguments.next().unwrap().parse().unwrap();
    let work = PathBuf::from(arguments.next().unwrap());
    let mut data = DataDisks::everywhere();
    // The peers leave it to the system when a result reaches the disk.
    data.outputs = Arc::new(UnsyncedDisk(data.outputs));
    let session = Session::new(SessionOptions {
        data,
        base_dir: env::current_dir().unwrap(),
        output_dir: work.join("output"),
        scratch_dir: work.join("scratch"),
        threads,
        memory_bytes,
    })
    .unwrap();
    let clock = SystemClock::start();
    let mut queries = Vec::new();
    for path in arguments.map(PathBuf::from) {
        let document = fs::read_to_string(&path).unwrap();
        let started = clock.now();
        let (view, collected) = answered(&session, &document, writes);
        let seconds = clock.now().saturating_sub(started).as_secs_f64();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if let Some(folder) = &keep {
            for result in &collected {
                kept(result, &folder.join(format!("{name}.arrow")));
            }
        }
        queries.push(json!({
            "name": name,
            "seconds": seconds,
            "spilled_bytes": view.spilled_bytes,
        }));
    }
    println!("{}", json!({"queries": queries, "peak_memory_bytes": peak_memory_bytes()}));
}

/// A query's end, and its rows where they stay in memory.
fn answered(session: &Session, document: &str, writes: bool) -> (JobView, Vec<Collected>) {
    let checked = session.check(document, true).unwrap();
    let cancel = CancelFlag::default();
    let (outcome, collected) = if writes {
        (session.run(checked, &cancel, &mut |_| ()).unwrap(), Vec::new())
    } else {
        session.collect(checked, &cancel, &mut |_| ()).unwrap()
    };
    assert_eq!(outcome.status, JobStatus::Completed, "{:?}", outcome.error);
    (outcome.view, collected)
}

fn kept(result: &Collected, path: &Path) {
    let file = RealDisk.create(path).unwrap();
    let mut writer = FileWriter::try_new(file, &result.schema).unwrap();
    for batch in &result.batches {
        writer.write(batch).unwrap();
    }
    writer.finish().unwrap();
}

/// The process's peak resident memory, where the system tells it.
fn peak_memory_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
