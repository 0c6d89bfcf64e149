//! A worker's own folder: its lock, its persistent identity, its epoch, and what earlier lives left:
//! spill files are of no use to the next life, map outputs are.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use minispark_engine::{
    Error as EngineError,
    disk::{Disk, Lock},
    id::{Epoch, JobId, TaskAttempt, WorkerId},
};

use crate::{
    error::Error,
    master::folder::{lock, read_text, write_durably},
};

/// The work folder, held by this process.
#[derive(Debug)]
pub(crate) struct WorkFolder {
    /// Who this worker is, over its restarts.
    pub(crate) worker: WorkerId,
    disk: Arc<dyn Disk>,
    path: PathBuf,
    last_epoch: u64,
    _lock: Lock,
}

impl WorkFolder {
    /// Takes the folder, and sweeps what former lives spilled in it.
    pub(crate) fn open(disk: &Arc<dyn Disk>, path: &Path) -> Result<Self, Error> {
        disk.create_dir_all(path).map_err(EngineError::io("create", path))?;
        let lock = lock(&**disk, path)?;
        let worker = identity(&**disk, path)?;
        let epoch_file = path.join("epoch");
        let last_epoch = match read_text(&**disk, &epoch_file)? {
            None => 0,
            Some(text) => text.trim().parse().map_err(|_| Error::StateCorrupt {
                path: epoch_file,
                reason: String::from("it should hold the number of the last epoch"),
            })?,
        };
        let folder =
            Self { worker, disk: Arc::clone(disk), path: path.to_owned(), last_epoch, _lock: lock };
        folder.sweep()?;
        Ok(folder)
    }

    /// The next life: greater than any before, kept before it is used.
    pub(crate) fn next_epoch(&mut self, wall_ms: u64) -> Result<Epoch, Error> {
        let epoch = wall_ms.max(self.last_epoch + 1);
        let path = self.path.join("epoch");
        write_durably(&*self.disk, &path, format!("{epoch}\n").as_bytes())?;
        self.last_epoch = epoch;
        Ok(Epoch(epoch))
    }

    /// Where the partition store keeps what does not fit into memory.
    pub(crate) fn shuffle(&self) -> PathBuf {
        self.path.join("shuffle")
    }

    fn spill(&self) -> PathBuf {
        self.path.join("spill")
    }

    /// Where a job's attempts spill.
    pub(crate) fn spill_of(&self, job: JobId) -> PathBuf {
        self.spill().join(job.to_string())
    }

    /// An attempt's own scratch folder.
    pub(crate) fn scratch(&self, attempt: TaskAttempt) -> PathBuf {
        let task = attempt.task;
        let name = format!("{}-{}-{}", task.stage, task.partition, attempt.attempt);
        self.spill_of(task.job).join(name)
    }

    /// Removes all spill files.
    pub(crate) fn sweep(&self) -> Result<(), Error> {
        let folder = self.spill();
        self.disk.remove_dir_all(&folder).map_err(EngineError::io("remove", &folder))?;
        Ok(())
    }
}

fn identity(disk: &dyn Disk, folder: &Path) -> Result<WorkerId, Error> {
    let path = folder.join("id");
    if let Some(text) = read_text(disk, &path)? {
        let id = text.trim();
        return match uuid::Uuid::parse_str(id) {
            Ok(_) => Ok(WorkerId(String::from(id))),
            Err(_) => Err(Error::StateCorrupt {
                path,
                reason: String::from("it should hold this worker's UUID"),
            }),
        };
    }
    let id = uuid::Uuid::new_v4().to_string();
    write_durably(disk, &path, format!("{id}\n").as_bytes())?;
    Ok(WorkerId(id))
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use minispark_engine::{
        disk::{Disk, RealDisk},
        id::Epoch,
    };

    use super::WorkFolder;
    use crate::error::Error;

    #[test]
    fn a_worker_keeps_its_identity_and_its_epochs_grow_even_if_the_clock_goes_back() {
        let folder = tempfile::tempdir().unwrap();
        let disk = RealDisk::shared();
        let mut first = WorkFolder::open(&disk, folder.path()).unwrap();
        let worker = first.worker.clone();
        assert_eq!(first.next_epoch(1_000).unwrap(), Epoch(1_000));
        assert_eq!(first.next_epoch(900).unwrap(), Epoch(1_001));
        drop(first);
        let mut second = WorkFolder::open(&disk, folder.path()).unwrap();
        assert_eq!(second.worker, worker);
        assert_eq!(second.next_epoch(500).unwrap(), Epoch(1_002));
    }

    #[test]
    fn what_former_lives_spilled_is_swept_and_what_they_put_out_stays() {
        let folder = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = RealDisk::shared();
        for name in ["spill/job/0-0-1.1", "shuffle/job"] {
            disk.create_dir_all(&folder.path().join(name)).unwrap();
        }
        let _held = WorkFolder::open(&disk, folder.path()).unwrap();
        let mut left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["LOCK", "id", "shuffle"]);
        let second = WorkFolder::open(&disk, folder.path()).unwrap_err();
        assert!(matches!(second, Error::Locked { .. }), "{second}");
    }
}
