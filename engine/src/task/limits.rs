//! [`Limits`]: what a job may take of each process that works for it, and [`Resources`]: what the
//! process has.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::{
    disk::{
        Disk,
        quota::{Quota, QuotaDisk},
    },
    id::JobId,
    memory::Budget,
};

/// `limits` of a job's document: what its tasks may take in each process; where a limit is absent,
/// what the process has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory that its operators and map outputs hold, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Spill files and map outputs on disk, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spill_bytes: Option<u64>,
}

impl Limits {
    /// Whether none is set.
    pub fn are_absent(&self) -> bool {
        *self == Self::default()
    }
}

/// The memory and the disk of a process, and what each job has of them.
#[derive(Debug)]
pub struct Resources {
    budget: Budget,
    disk: Arc<dyn Disk>,
    quota: Quota,
    jobs: Mutex<HashMap<JobId, JobResources>>,
}

/// What the tasks of a job work with in a process.
#[derive(Clone, Debug)]
pub struct JobResources {
    /// Memory.
    pub budget: Budget,
    /// Where spill files and map outputs go.
    pub disk: Arc<dyn Disk>,
}

impl Resources {
    /// Those of a process.
    pub fn new(budget: Budget, disk: Arc<dyn Disk>, quota: Quota) -> Self {
        Self { budget, disk, quota, jobs: Mutex::default() }
    }

    /// Those of a job, the same for all of its tasks.
    pub fn of(&self, job: JobId, limits: &Limits) -> JobResources {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        // What nobody holds anything of would be made anew as it is.
        jobs.retain(|other, held| *other == job || held.is_in_use());
        let resources = jobs.entry(job).or_insert_with(|| {
            let budget = self.budget.limited(limits.memory_bytes.unwrap_or(u64::MAX));
            let quota = self.quota.of_job(limits.spill_bytes);
            let disk = Arc::new(QuotaDisk::new(Arc::clone(&self.disk), quota));
            JobResources { budget, disk }
        });
        resources.clone()
    }

    /// What spill files and map outputs take on disk, in bytes.
    pub fn disk_bytes(&self) -> u64 {
        self.quota.used_bytes()
    }
}

impl JobResources {
    /// Whether a task, a reservation or a file of the job is there.
    fn is_in_use(&self) -> bool {
        self.budget.is_held() || Arc::strong_count(&self.disk) > 1
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::{Limits, Resources};
    use crate::{
        disk::{RealDisk, quota::Quota},
        id::JobId,
        memory::Budget,
    };

    #[test]
    fn a_job_keeps_its_limits_while_it_holds_anything() {
        let folder = tempfile::tempdir().unwrap();
        let quota = Quota::of_process(None);
        let resources = Resources::new(Budget::new(1_000), RealDisk::shared(), quota);
        let limits = Limits { memory_bytes: Some(100), spill_bytes: Some(50) };
        let (one, other) = (JobId::random(), JobId::random());
        let mut held = resources.of(one, &limits).budget.reservation("task");
        assert!(held.try_grow(60));
        let path = folder.path().join("spilled");
        resources.of(one, &limits).disk.create(&path).unwrap().write_all(&[0; 40]).unwrap();
        // Others come and go meanwhile.
        assert!(resources.of(other, &Limits::default()).budget.reservation("task").try_grow(900));
        let again = resources.of(one, &limits);
        assert!(!again.budget.reservation("task").try_grow(41));
        assert!(again.disk.create(&folder.path().join("x")).unwrap().write_all(&[0; 11]).is_err());
        assert_eq!(resources.disk_bytes(), 40);
    }
}
