//! Quotas: how much of the disk spill files and map outputs may take, of a process and of a job.
//!
//! A [`QuotaDisk`] counts the bytes of the files that are made through it until they are removed
//! through it. A write beyond a quota fails as one to a full disk does, and both say who uses what.

use std::{
    collections::HashMap,
    fmt,
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{Disk, Lock, ReadAt, WriteFile};

/// What the spill files and map outputs of a process, or of one job in it, may take on disk.
#[derive(Clone, Debug)]
pub struct Quota(Arc<Usage>);

/// All in bytes.
#[derive(Debug)]
struct Usage {
    limit: Option<u64>,
    used: AtomicU64,
    /// The process's, where this is a job's.
    process: Option<Quota>,
}

impl Quota {
    /// That of a process; without a limit it only counts.
    pub fn of_process(limit_bytes: Option<u64>) -> Self {
        Self(Arc::new(Usage { limit: limit_bytes, used: AtomicU64::new(0), process: None }))
    }

    /// That of a job in this process.
    #[must_use]
    pub fn of_job(&self, limit_bytes: Option<u64>) -> Self {
        let process = Some(self.clone());
        Self(Arc::new(Usage { limit: limit_bytes, used: AtomicU64::new(0), process }))
    }

    /// What files take now, in bytes.
    pub fn used_bytes(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }

    /// The most that they may take, in bytes.
    pub fn limit_bytes(&self) -> Option<u64> {
        self.0.limit
    }

    fn take(&self, bytes: u64) -> Result<(), Full> {
        let limit = self.0.limit.unwrap_or(u64::MAX);
        let taken = self.0.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|sum| *sum <= limit)
        });
        if taken.is_err() {
            let cause = match self.0.process {
                Some(_) => Cause::JobQuota(limit),
                None => Cause::ProcessQuota(limit),
            };
            return Err(self.full(cause));
        }
        if let Some(process) = &self.0.process
            && let Err(full) = process.take(bytes)
        {
            self.0.used.fetch_sub(bytes, Ordering::Relaxed);
            return Err(self.full(full.cause));
        }
        Ok(())
    }

    fn give(&self, bytes: u64) {
        self.0.used.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(process) = &self.0.process {
            process.give(bytes);
        }
    }

    fn full(&self, cause: Cause) -> Full {
        let of_process = self.0.process.as_ref().map(Self::used_bytes);
        Full {
            cause,
            of_job: of_process.map(|_| self.used_bytes()),
            of_process: of_process.unwrap_or_else(|| self.used_bytes()),
        }
    }
}

/// Why a file can't grow, and who uses what: the inner error of an [`io::Error`] of the kind
/// `QuotaExceeded` or `StorageFull`.
#[derive(Debug, thiserror::Error)]
struct Full {
    cause: Cause,
    /// Where a job asked.
    of_job: Option<u64>,
    of_process: u64,
}

#[derive(Clone, Copy, Debug)]
enum Cause {
    /// `limits.spill` of the job.
    JobQuota(u64),
    ProcessQuota(u64),
    /// The disk has so much left, where it says so.
    Disk(Option<u64>),
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause {
            Cause::JobQuota(limit) => {
                write!(f, "the job's `limits.spill` of {} is used up", Size(limit))?;
            }
            Cause::ProcessQuota(limit) => {
                write!(f, "the process's spill quota of {} is used up", Size(limit))?;
            }
            Cause::Disk(Some(free)) => {
                write!(f, "no space left on the disk ({} free)", Size(free))?;
            }
            Cause::Disk(None) => f.write_str("no space left on the disk")?,
        }
        write!(f, "; spill files and map outputs of this process take {}", Size(self.of_process))?;
        match self.of_job {
            Some(of_job) => write!(f, ", those of the job {}", Size(of_job)),
            None => Ok(()),
        }
    }
}

/// Bytes for people.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes < 10 << 10 => write!(f, "{bytes} bytes"),
            bytes if bytes < 10 << 20 => write!(f, "{} KiB", bytes >> 10),
            bytes => write!(f, "{} MiB", bytes >> 20),
        }
    }
}

/// Whether an error says that a job has used up what it may have, so that it would only repeat.
pub(crate) fn is_of_job(error: &io::Error) -> bool {
    let full = error.get_ref().and_then(|inner| inner.downcast_ref::<Full>());
    full.is_some_and(|full| matches!(full.cause, Cause::JobQuota(_)))
}

/// Whether an error says that there is no room for a file's bytes.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// A disk whose new files count against a quota.
#[derive(Debug)]
pub struct QuotaDisk {
    disk: Arc<dyn Disk>,
    quota: Quota,
    /// The bytes of each file that was made and not removed.
    files: Mutex<HashMap<PathBuf, Arc<AtomicU64>>>,
}

impl QuotaDisk {
    /// `disk` with a quota.
    pub fn new(disk: Arc<dyn Disk>, quota: Quota) -> Self {
        Self { disk, quota, files: Mutex::default() }
    }

    fn files(&self) -> MutexGuard<'_, HashMap<PathBuf, Arc<AtomicU64>>> {
        // Every change is whole, so that a lock that a panic has poisoned is as good.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, bytes: Option<Arc<AtomicU64>>) {
        if let Some(bytes) = bytes {
            self.quota.give(bytes.swap(0, Ordering::Relaxed));
        }
    }
}

impl Disk for QuotaDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadAt>> {
        self.disk.open(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let file = self.disk.create(path)?;
        let bytes = Arc::<AtomicU64>::default();
        let replaced = self.files().insert(path.to_owned(), Arc::clone(&bytes));
        self.forget(replaced);
        let (quota, disk) = (self.quota.clone(), Arc::clone(&self.disk));
        Ok(Box::new(CountedFile { file, bytes, quota, disk, path: path.to_owned() }))
    }

    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        self.disk.truncate(path, bytes)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)?;
        let mut files = self.files();
        if let Some(bytes) = files.remove(from) {
            let replaced = files.insert(to.to_owned(), bytes);
            drop(files);
            self.forget(replaced);
        }
        Ok(())
    }

    fn exchange(&self, one: &Path, other: &Path) -> io::Result<()> {
        self.disk.exchange(one, other)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_file(path)?;
        let removed = self.files().remove(path);
        self.forget(removed);
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir_all(path)?;
        let mut removed = Vec::new();
        self.files().retain(|file, bytes| {
            let is_below = file.starts_with(path);
            if is_below {
                removed.push(Arc::clone(bytes));
            }
            !is_below
        });
        for bytes in removed {
            self.forget(Some(bytes));
        }
        Ok(())
    }

    fn true_name(&self, path: &Path) -> io::Result<PathBuf> {
        self.disk.true_name(path)
    }

    fn remove_empty_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_empty_dir(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        self.disk.lock(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.disk.list(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_dir(path)
    }

    fn exists(&self, path: &Path) -> bool {
        self.disk.exists(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.disk.free_bytes(path)
    }
}

/// A file whose bytes are taken from a quota before they are written.
struct CountedFile {
    file: Box<dyn WriteFile>,
    bytes: Arc<AtomicU64>,
    quota: Quota,
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl CountedFile {
    /// The error with what is known of the disk.
    fn told(&self, error: io::Error) -> io::Error {
        if !is_full(&error) {
            return error;
        }
        let free = self.path.parent().and_then(|folder| self.disk.free_bytes(folder).ok());
        io::Error::new(error.kind(), self.quota.full(Cause::Disk(free)))
    }
}

impl Write for CountedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let asked = bytes.len() as u64;
        let taken = self.quota.take(asked);
        taken.map_err(|full| io::Error::new(ErrorKind::QuotaExceeded, full))?;
        let written = self.file.write(bytes);
        let kept = *written.as_ref().unwrap_or(&0) as u64;
        self.quota.give(asked - kept);
        self.bytes.fetch_add(kept, Ordering::Relaxed);
        written.map_err(|error| self.told(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl WriteFile for CountedFile {
    fn sync(&mut self) -> io::Result<()> {
        self.file.sync().map_err(|error| self.told(error))
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, path::Path, sync::Arc};

    use super::{Quota, QuotaDisk, is_full, is_of_job};
    use crate::{
        disk::{Disk, RealDisk},
        memory::spill::tests::FaultyDisk,
    };

    fn disk(quota: &Quota) -> QuotaDisk {
        QuotaDisk::new(RealDisk::shared(), quota.clone())
    }

    fn write(disk: &dyn Disk, path: &Path, bytes: usize) -> std::io::Result<()> {
        disk.create(path)?.write_all(&vec![b'x'; bytes])
    }

    #[test]
    fn a_file_counts_until_it_is_removed_alone_or_with_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let process = Quota::of_process(None);
        let job = process.of_job(Some(100));
        let disk = disk(&job);
        let path = |name: &str| folder.path().join(name);
        disk.create_dir_all(&path("deep")).unwrap();
        for (name, bytes) in [("a", 10), ("b", 20), ("deep/c", 30)] {
            write(&disk, &path(name), bytes).unwrap();
        }
        write(&disk, &path("a"), 15).unwrap();
        disk.rename(&path("b"), &path("d")).unwrap();
        assert_eq!((job.used_bytes(), process.used_bytes()), (65, 65));
        disk.remove_file(&path("d")).unwrap();
        disk.remove_dir_all(&path("deep")).unwrap();
        assert_eq!((job.used_bytes(), process.used_bytes()), (15, 15));
    }

    #[test]
    fn a_write_beyond_a_quota_says_whose_it_is_and_who_uses_what() {
        let folder = tempfile::tempdir().unwrap();
        let process = Quota::of_process(Some(1_000));
        let (one, other) = (disk(&process.of_job(Some(600))), disk(&process.of_job(None)));
        let path = |name: &str| folder.path().join(name);
        write(&one, &path("a"), 500).unwrap();
        let of_job = write(&one, &path("b"), 101).unwrap_err();
        assert!(is_full(&of_job) && is_of_job(&of_job));
        assert_eq!(
            of_job.to_string(),
            "the job's `limits.spill` of 600 bytes is used up; spill files and map outputs of \
             this process take 500 bytes, those of the job 500 bytes"
        );
        write(&other, &path("c"), 300).unwrap();
        let too_many = write(&other, &path("d"), 201).unwrap_err();
        assert!(is_full(&too_many) && !is_of_job(&too_many));
        assert_eq!(
            too_many.to_string(),
            "the process's spill quota of 1000 bytes is used up; spill files and map outputs of \
             this process take 800 bytes, those of the job 300 bytes"
        );
        one.remove_file(&path("a")).unwrap();
        write(&other, &path("d"), 201).unwrap();
        assert_eq!(process.used_bytes(), 501);
    }

    #[test]
    fn a_full_disk_is_told_with_what_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let quota = Quota::of_process(None);
        let faulty: Arc<dyn Disk> = FaultyDisk::failing_after(1);
        let disk = QuotaDisk::new(faulty, quota.clone());
        write(&disk, &folder.path().join("a"), 10).unwrap();
        let full = write(&disk, &folder.path().join("b"), 10).unwrap_err();
        assert!(is_full(&full) && !is_of_job(&full));
        let told = full.to_string();
        assert!(told.starts_with("no space left on the disk (77 bytes free); "), "{told}");
        assert!(told.ends_with("of this process take 10 bytes"), "{told}");
        assert_eq!(quota.used_bytes(), 10);
    }
}
