//! A disk that is full at any of a job's writes: spill, map output, sink, manifest.

use std::{io::Write as _, path::Path, sync::Arc};

use super::{Session, SessionOptions};
use crate::{
    disk::{DataDisks, Disk, RealDisk},
    error::Code,
    memory::spill::tests::FaultyDisk,
    schedule::JobStatus,
    task::context::CancelFlag,
};

/// Counts keys and sorts them, in less memory than they take, and replaces what `result` has.
const DOCUMENT: &str = r#"{"dag": {"nodes": [
    {"id": "read", "op": "read_text", "path": "keys.txt"},
    {"id": "count", "op": "reduce_by_key", "key": "line", "fn": "count"},
    {"id": "sort", "op": "sort", "by": ["line desc"]},
    {"id": "write", "op": "write_csv", "path": "result", "mode": "overwrite"}
], "edges": [["read", "count"], ["count", "sort"], ["sort", "write"]]}}"#;

fn session(folder: &Path, disk: &Arc<dyn Disk>) -> Session {
    let options = SessionOptions {
        base_dir: folder.to_owned(),
        output_dir: folder.join("out"),
        scratch_dir: folder.join("scratch"),
        threads: 2,
        memory_bytes: 4 << 20,
        data: DataDisks { inputs: RealDisk::shared(), outputs: Arc::clone(disk) },
    };
    Session { disk: Arc::clone(disk), ..Session::new(options).unwrap() }
}

/// All files below a folder, sorted.
fn files_below(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for path in RealDisk.list(folder).unwrap() {
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path.display().to_string());
        }
    }
    files
}

/// How a run ended: completed, or the code and the message of what it failed with.
fn run(session: &Session, document: &str) -> Result<u64, (Code, String)> {
    let checked = session.check(document, true).unwrap();
    match session.run(checked, &CancelFlag::default(), &mut |_| {}) {
        Err(error) => Err((error.code(), error.chain())),
        Ok(outcome) if outcome.status == JobStatus::Completed => Ok(outcome.view.spilled_bytes),
        Ok(outcome) => {
            let failure = outcome.error.unwrap().failure;
            Err((failure.code, failure.message))
        }
    }
}

fn write_keys(path: &Path) {
    let lines = (0..60_000).map(|number| format!("key-{:08}\n", number * 7_919 % 60_000));
    let text: String = lines.collect();
    RealDisk.create(path).unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn whatever_write_finds_the_disk_full_the_target_is_as_it_was_and_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    write_keys(&folder.path().join("keys.txt"));
    run(&session(folder.path(), &RealDisk::shared()), DOCUMENT).unwrap();
    let manifest = folder.path().join("result/_manifest.json");
    let old = std::fs::read(&manifest).unwrap();
    let before = files_below(folder.path());
    let (mut writes, mut failures) = (0, 0);
    let spilled = loop {
        let disk: Arc<dyn Disk> = FaultyDisk::failing_after(writes);
        match run(&session(folder.path(), &disk), DOCUMENT) {
            Ok(spilled_bytes) => break spilled_bytes,
            Err((code, message)) => {
                assert_eq!(code, Code::DiskFull, "{writes} writes: {message}");
                assert!(message.starts_with("cannot "), "{message}");
            }
        }
        assert_eq!(files_below(folder.path()), before, "{writes} writes");
        assert_eq!(std::fs::read(&manifest).unwrap(), old, "{writes} writes");
        failures += 1;
        writes += 1 + writes / 4;
    };
    assert!(failures > 10 && spilled > 0, "{failures} failures, {spilled} bytes spilled");
    assert_eq!(files_below(folder.path()), before);
    assert_ne!(std::fs::read(&manifest).unwrap(), old);
}

#[test]
fn a_job_beyond_its_quota_fails_by_name_and_the_next_one_runs() {
    let folder = tempfile::tempdir().unwrap();
    write_keys(&folder.path().join("keys.txt"));
    let disk = RealDisk::shared();
    let limited = DOCUMENT.replacen('{', r#"{"limits": {"spill": "100kB"}, "#, 1);
    let refused = run(&session(folder.path(), &disk), &limited).unwrap_err();
    assert_eq!(refused.0, Code::DiskFull);
    assert!(refused.1.contains("the job's `limits.spill` of 97 KiB is used up"), "{refused:?}");
    let within = session(folder.path(), &disk).with_spill_quota(Some(100_000));
    let (of_process, text) = run(&within, DOCUMENT).unwrap_err();
    assert_eq!(of_process, Code::DiskFull);
    assert!(text.contains("the process's spill quota of 97 KiB is used up"), "{text}");
    assert!(text.contains("--spill-quota"), "{text}");
    assert_eq!(files_below(&folder.path().join("scratch")), Vec::<String>::new());
    assert!(!folder.path().join("result").exists());
    let enough = session(folder.path(), &disk).with_spill_quota(Some(1 << 30));
    assert!(run(&enough, DOCUMENT).unwrap() > 0);
}

#[test]
fn a_job_spills_at_its_own_limit_where_the_process_has_more() {
    let folder = tempfile::tempdir().unwrap();
    write_keys(&folder.path().join("keys.txt"));
    let disk = RealDisk::shared();
    let mut roomy = session(folder.path(), &disk);
    roomy.options.memory_bytes = 1 << 30;
    assert_eq!(run(&roomy, DOCUMENT).unwrap(), 0);
    let limited = DOCUMENT.replacen('{', r#"{"limits": {"memory": "2MiB"}, "#, 1);
    assert!(run(&roomy, &limited).unwrap() > 0);
}
