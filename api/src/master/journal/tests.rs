//! What a crash, a flipped bit and a full disk leave of a journal.

use std::{
    fmt, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use chrono::DateTime;
use minispark_engine::{
    disk::{Disk, Lock, ReadAt, RealDisk, WriteFile},
    id::{Attempt, Epoch, JobId, StageId, TaskAttempt, TaskId, Term, WorkerId},
    schedule::{Fact, JobStatus, ledger::Ledger},
};
use tempfile::TempDir;

use super::{
    Journal, Settled,
    entry::{Entry, Memory, Of, Saved},
    repair::repair,
};
use crate::{error::Error, master::testing::one_task};

fn job(number: u128) -> JobId {
    JobId(uuid::Uuid::from_u128(number))
}

fn accepted(number: u128) -> Entry {
    let plan = Arc::new(one_task("one"));
    Entry::Job(Box::new(Saved {
        job: job(number),
        number: u64::try_from(number).unwrap(),
        submitted_at: DateTime::UNIX_EPOCH.into(),
        engine: String::from(crate::VERSION),
        document: Some(String::from("{}")),
        ledger: Ledger::new(&plan),
        plan,
        warnings: Vec::new(),
        owner: None,
        key: None,
        published: Vec::new(),
        percent: 0,
    }))
}

fn started(number: u128) -> Entry {
    let task = TaskId { job: job(number), stage: StageId(0), partition: 0 };
    let attempt = TaskAttempt { task, attempt: Attempt { term: Term(1), n: 1 } };
    let worker = WorkerId(String::from("w"));
    Entry::Facts(vec![Fact::AttemptStarted { attempt, worker, epoch: Epoch(1) }])
}

fn ended(number: u128) -> Entry {
    let (job, status) = (job(number), JobStatus::Cancelled);
    Entry::Facts(vec![Fact::Ended { job, status, error: None, elapsed_ms: 7 }])
}

fn open(folder: &Path) -> Result<Memory, Error> {
    let (journal, memory) = Journal::open(&RealDisk::shared(), folder)?;
    journal.close();
    Ok(memory)
}

/// A journal of these entries, written and closed by a process of its own as it were.
fn written(entries: &[Entry]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(&RealDisk::shared(), folder.path()).unwrap();
    journal.append(entries);
    journal.close();
    folder
}

fn states(memory: &Memory) -> Vec<(u128, JobStatus)> {
    memory.jobs.iter().map(|(job, saved)| (job.0.as_u128(), saved.status())).collect()
}

fn files(folder: &Path, below: &str, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join(below)).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_str().unwrap().ends_with(ending));
    paths.sort();
    paths
}

#[expect(clippy::disallowed_methods, reason = "the test damages files behind the journal")]
fn damage(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn what_was_written_is_there_in_the_next_life_and_the_one_after_it() {
    let folder = written(&[accepted(1), accepted(2), started(1), ended(2)]);
    for _ in 0..2 {
        let memory = open(folder.path()).unwrap();
        assert_eq!(states(&memory), [(1, JobStatus::Running), (2, JobStatus::Cancelled)]);
        let saved = &memory.jobs[&job(2)];
        assert_eq!(saved.document, None, "what has ended needs it no more");
        assert!(saved.plan.stages[0].splits.is_empty());
        assert_eq!(memory.jobs[&job(1)].plan.stages[0].splits.len(), 1);
    }
    let (journal, _) = Journal::open(&RealDisk::shared(), folder.path()).unwrap();
    journal.append(&[Entry::Forgotten(Of { job: job(2) })]);
    journal.close();
    assert_eq!(states(&open(folder.path()).unwrap()), [(1, JobStatus::Running)]);
}

#[test]
fn an_empty_journal_is_a_fresh_start() {
    let folder = tempfile::tempdir().unwrap();
    assert!(open(folder.path()).unwrap().jobs.is_empty());
    let segment = files(folder.path(), "journal", ".log").pop().unwrap();
    damage(&segment, Vec::clear);
    assert!(open(folder.path()).unwrap().jobs.is_empty());
}

#[test]
fn a_last_record_cut_at_any_byte_is_cut_off_and_all_before_it_is_there() {
    let whole = written(&[accepted(1), started(1)]);
    let segment = files(whole.path(), "journal", ".log").pop().unwrap();
    let bytes = fs::read(&segment).unwrap();
    let with_one = written(&[accepted(1)]);
    let shorter = fs::metadata(files(with_one.path(), "journal", ".log").pop().unwrap()).unwrap();
    let kept = usize::try_from(shorter.len()).unwrap();
    for end in kept..bytes.len() {
        damage(&segment, |file| *file = bytes[..end].to_vec());
        let later = files(whole.path(), "journal", ".log");
        later.iter().filter(|path| **path != segment).for_each(|path| {
            damage(path, Vec::clear);
        });
        let memory = open(whole.path()).unwrap();
        assert_eq!(states(&memory), [(1, JobStatus::Accepted)], "cut at {end}");
        for path in files(whole.path(), "journal", ".log") {
            if path != segment {
                RealDisk.remove_file(&path).unwrap();
            }
        }
    }
}

#[test]
fn a_flipped_bit_stops_the_start_with_its_place_and_repair_sets_the_segment_aside() {
    let folder = written(&[accepted(1), accepted(2), started(1), accepted(3)]);
    let segment = files(folder.path(), "journal", ".log").pop().unwrap();
    let first = fs::metadata(
        files(written(&[accepted(1)]).keep().as_path(), "journal", ".log").pop().unwrap(),
    )
    .unwrap()
    .len();
    let offset = usize::try_from(first).unwrap();
    damage(&segment, |bytes| bytes[offset + 100] ^= 1);
    let before = fs::read(&segment).unwrap();
    let error = open(folder.path()).unwrap_err();
    let Error::StateCorrupt { path, reason } = &error else { panic!("{error:?}") };
    assert_eq!(path, &segment);
    assert!(reason.starts_with(&format!("at byte {offset}: ")), "{reason}");
    assert_eq!(fs::read(&segment).unwrap(), before, "nothing is touched");

    let repaired = repair(&RealDisk::shared(), folder.path()).unwrap();
    let [part] = &repaired[..] else { panic!("{repaired:?}") };
    assert_eq!((part.offset, &part.lost[..], part.kept), (first, &[2][..], 3));
    assert_eq!(part.jobs, [job(1), job(3)]);
    assert_eq!(fs::read(&part.aside).unwrap(), before);
    let memory = open(folder.path()).unwrap();
    assert_eq!(states(&memory), [(1, JobStatus::Running), (3, JobStatus::Accepted)]);
    assert_eq!(repair(&RealDisk::shared(), folder.path()).unwrap(), []);
}

#[test]
fn a_missing_segment_stops_the_start() {
    let folder = written(&[accepted(1)]);
    let first = files(folder.path(), "journal", ".log").pop().unwrap();
    let (journal, _) = Journal::open(&RealDisk::shared(), folder.path()).unwrap();
    journal.append(&[accepted(2)]);
    journal.close();
    RealDisk.remove_file(&first).unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(matches!(error, Error::StateCorrupt { .. }), "{error:?}");
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let folder = written(&[accepted(1)]);
    let segment = files(folder.path(), "journal", ".log").pop().unwrap();
    damage(&segment, |bytes| bytes[8] = 9);
    let error = open(folder.path()).unwrap_err();
    assert!(matches!(error, Error::StateVersion { found: 9, known: 1, .. }), "{error:?}");
}

/// Keeps a snapshot of `memory` behind what is queued.
fn snapshot(journal: &Journal, memory: &Memory) {
    journal.snapshot(memory.jobs.values().map(|saved| Entry::Job(Box::new(saved.clone()))));
}

#[test]
fn snapshots_stand_for_the_records_before_them_and_two_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    for number in 1..=5 {
        let (journal, mut memory) = Journal::open(&RealDisk::shared(), folder.path()).unwrap();
        journal.append(&[accepted(number)]);
        memory.apply(accepted(number));
        snapshot(&journal, &memory);
        journal.close();
    }
    assert_eq!(files(folder.path(), "snapshot", ".snap").len(), 2);
    assert!(files(folder.path(), "journal", ".log").len() <= 3);
    let all: Vec<_> = (1..=5).map(|number| (number, JobStatus::Accepted)).collect();
    assert_eq!(states(&open(folder.path()).unwrap()), all);

    // The newest can't be read: the one before it and the records since have it all.
    let newest = files(folder.path(), "snapshot", ".snap").pop().unwrap();
    damage(&newest, |bytes| bytes[60] ^= 1);
    assert_eq!(states(&open(folder.path()).unwrap()), all);
    damage(&newest, |bytes| bytes.truncate(30));
    assert_eq!(states(&open(folder.path()).unwrap()), all);
}

/// The real disk, which has no room while `is_full`.
#[derive(Debug, Default)]
struct SmallDisk {
    is_full: Arc<AtomicBool>,
    does_not_sync: Arc<AtomicBool>,
}

struct SmallFile {
    file: Box<dyn WriteFile>,
    is_full: Arc<AtomicBool>,
    does_not_sync: Arc<AtomicBool>,
}

impl fmt::Debug for SmallFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SmallFile")
    }
}

impl Write for SmallFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_full.load(Ordering::Relaxed) {
            // A little of it still fits.
            self.file.write_all(&bytes[..bytes.len().min(5)])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl WriteFile for SmallFile {
    fn sync(&mut self) -> io::Result<()> {
        if self.does_not_sync.load(Ordering::Relaxed) {
            return Err(io::Error::other("the disk is gone"));
        }
        self.file.sync()
    }
}

impl Disk for SmallDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadAt>> {
        RealDisk.open(path)
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let file = RealDisk.create(path)?;
        let (is_full, does_not_sync) = (Arc::clone(&self.is_full), Arc::clone(&self.does_not_sync));
        Ok(Box::new(SmallFile { file, is_full, does_not_sync }))
    }
    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        RealDisk.truncate(path, bytes)
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_dir_all(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_file(path)
    }
    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_dir_all(path)
    }
    fn remove_empty_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_empty_dir(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        RealDisk.lock(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        RealDisk.list(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.sync_dir(path)
    }
    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_nothing_is_lost_once_it_has_room() {
    let folder = tempfile::tempdir().unwrap();
    let small = SmallDisk::default();
    let is_full = Arc::clone(&small.is_full);
    let disk: Arc<dyn Disk> = Arc::new(small);
    let (journal, _) = Journal::open(&disk, folder.path()).unwrap();
    journal.append(&[accepted(1)]);
    assert_eq!(journal.settled().await, Settled::OnDisk);
    is_full.store(true, Ordering::Relaxed);
    journal.append(&[accepted(2)]);
    assert_eq!(journal.settled().await, Settled::Full);
    assert!(journal.is_full());
    is_full.store(false, Ordering::Relaxed);
    assert!(journal.settled_at_last().await);
    journal.append(&[accepted(3)]);
    assert_eq!(journal.settled().await, Settled::OnDisk);
    journal.close();
    let all: Vec<_> = (1..=3).map(|number| (number, JobStatus::Accepted)).collect();
    assert_eq!(states(&open(folder.path()).unwrap()), all);
}

#[tokio::test]
async fn a_failed_sync_ends_the_journal_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let small = SmallDisk::default();
    let does_not_sync = Arc::clone(&small.does_not_sync);
    let disk: Arc<dyn Disk> = Arc::new(small);
    let (journal, _) = Journal::open(&disk, folder.path()).unwrap();
    does_not_sync.store(true, Ordering::Relaxed);
    journal.append(&[accepted(1)]);
    assert_eq!(journal.settled().await, Settled::Broken);
    assert!(journal.broken().await.contains("the disk is gone"));
    journal.close();
}

#[tokio::test]
async fn what_may_lag_is_written_and_synced_with_the_next_that_may_not() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(&RealDisk::shared(), folder.path()).unwrap();
    journal.append(&[accepted(1)]);
    journal.settled().await;
    let synced = journal.figures().syncs;
    journal.append(&[started(1)]);
    journal.settled().await;
    assert_eq!(journal.figures().syncs, synced);
    journal.append(&[ended(1)]);
    journal.settled().await;
    assert_eq!(journal.figures().syncs, synced + 1);
    journal.close();
}
