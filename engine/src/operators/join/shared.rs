//! [`SharedBuilds`]: build sides that all tasks of a process probe.
//!
//! Where every task of a stage reads the same build side, the first one builds it, those that come
//! meanwhile wait, and later ones find it. It is kept until all tasks of the stage have ended, or
//! until its memory is wanted while no task uses it, or its job is dropped: whoever comes after
//! that builds it again from the build stage's output, which the store has.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::build::Built;
use crate::{
    Result,
    id::{JobId, StageId},
    plan::StepIndex,
    task::context::CancelFlag,
};

/// How soon one that waits notices that its attempt was cancelled.
const WAIT: Duration = Duration::from_millis(50);

/// Which build side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BuildKey {
    /// The job.
    pub job: JobId,
    /// The stage whose tasks probe it.
    pub stage: StageId,
    /// The step of that stage whose rows it has.
    pub step: StepIndex,
}

/// The shared build sides of a process.
///
/// - Memory: each is charged to the budget once.
/// - Locks: none is held while one is built.
#[derive(Debug, Default)]
pub struct SharedBuilds {
    entries: Mutex<Entries>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Entries {
    by_key: BTreeMap<BuildKey, Entry>,
    next_number: u64,
}

#[derive(Debug)]
struct Entry {
    /// Tells it from another one that has had its key.
    number: u64,
    /// Absent while it is being built.
    built: Option<Arc<Built>>,
    /// How many tasks have ended that probed it.
    ended: u32,
    /// How many tasks probe it.
    tasks: u32,
}

/// A build side in use.
#[derive(Debug)]
pub(super) struct Build {
    built: Arc<Built>,
    shared: Option<(Arc<SharedBuilds>, BuildKey, u64)>,
}

impl Build {
    /// One that nobody else uses.
    pub(super) fn own(built: Built) -> Self {
        Self { built: Arc::new(built), shared: None }
    }

    /// What is probed.
    pub(super) fn built(&self) -> &Arc<Built> {
        &self.built
    }
}

impl Drop for Build {
    fn drop(&mut self) {
        if let Some((builds, key, number)) = self.shared.take() {
            builds.ended(key, number);
        }
    }
}

impl SharedBuilds {
    /// The build side of `key`, which `tasks` tasks probe; where it is not there, `make` builds
    /// it.
    ///
    /// # Errors
    /// Those of `make`; [`Error::Cancelled`](crate::Error) while it waits for another task's.
    pub(super) fn get(
        self: &Arc<Self>,
        key: BuildKey,
        tasks: u32,
        cancel: &CancelFlag,
        make: impl FnOnce() -> Result<Built>,
    ) -> Result<Build> {
        let mut entries = self.entries();
        let number = loop {
            match entries.by_key.get(&key) {
                Some(Entry { built: Some(built), number, .. }) => {
                    let shared = Some((Arc::clone(self), key, *number));
                    return Ok(Build { built: Arc::clone(built), shared });
                }
                Some(_) => {
                    let waited = self.changed.wait_timeout(entries, WAIT);
                    entries = waited.unwrap_or_else(PoisonError::into_inner).0;
                    cancel.check()?;
                }
                None => {
                    entries.next_number += 1;
                    let number = entries.next_number;
                    let entry = Entry { number, built: None, ended: 0, tasks };
                    entries.by_key.insert(key, entry);
                    break number;
                }
            }
        };
        drop(entries);
        // Should this thread fail or panic, those that wait try for themselves.
        let claim = Claim { builds: self, key, number };
        let built = Arc::new(make()?);
        if let Some(entry) = self.entries().by_key.get_mut(&key).filter(|e| e.number == number) {
            entry.built = Some(Arc::clone(&built));
        }
        drop(claim);
        Ok(Build { built, shared: Some((Arc::clone(self), key, number)) })
    }

    /// Forgets those that no task uses at the moment.
    pub(super) fn drop_idle(&self) {
        let mut idle = Vec::new();
        self.entries().by_key.retain(|_, entry| {
            let is_idle = entry.built.as_ref().is_some_and(|built| Arc::strong_count(built) == 1);
            if is_idle {
                idle.extend(entry.built.take());
            }
            !is_idle
        });
        // What they hold is given back here, after the lock was.
        drop(idle);
    }

    /// The jobs that it has one of, with repeats.
    pub(crate) fn jobs(&self) -> Vec<JobId> {
        self.entries().by_key.keys().map(|key| key.job).collect()
    }

    /// Forgets those of a job; tasks that use one go on with it.
    pub(crate) fn drop_job(&self, job: JobId) {
        let mut dropped = Vec::new();
        self.entries().by_key.retain(|key, entry| {
            let stays = key.job != job;
            if !stays {
                dropped.extend(entry.built.take());
            }
            stays
        });
        drop(dropped);
        self.changed.notify_all();
    }

    /// A task has done with it; the last one takes it away.
    fn ended(&self, key: BuildKey, number: u64) {
        let mut entries = self.entries();
        let Some(entry) = entries.by_key.get_mut(&key).filter(|entry| entry.number == number)
        else {
            return;
        };
        entry.ended += 1;
        let last = if entry.ended >= entry.tasks { entries.by_key.remove(&key) } else { None };
        drop(entries);
        drop(last);
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        // Every change is whole, so that a lock that a panic has poisoned is as good.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to build; given back, what was not built may be built by others.
struct Claim<'a> {
    builds: &'a SharedBuilds,
    key: BuildKey,
    number: u64,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut entries = self.builds.entries();
        let is_open = |entry: &Entry| entry.number == self.number && entry.built.is_none();
        if entries.by_key.get(&self.key).is_some_and(is_open) {
            entries.by_key.remove(&self.key);
        }
        drop(entries);
        self.builds.changed.notify_all();
    }
}
