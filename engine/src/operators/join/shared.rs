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

use super::{build::Built, key_filter::KeyHashes, split::Parts};
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
    side: Option<Side>,
    /// How many tasks have ended that probed it.
    ended: u32,
    /// How many tasks probe it.
    tasks: u32,
}

/// A build side, in memory or in spill files; clones share it.
#[derive(Clone, Debug)]
pub(super) enum Side {
    /// All of it in a table.
    Whole(Arc<Built>),
    /// Apart by its keys' hash, as it does not fit the budget.
    Parted(Arc<Parts>),
    /// Its keys alone, for rows that will meet it later.
    Keys(Arc<KeyHashes>),
}

impl Side {
    /// Whether it holds memory that nobody uses.
    fn is_idle(&self) -> bool {
        match self {
            Self::Whole(built) => Arc::strong_count(built) == 1,
            Self::Keys(keys) => Arc::strong_count(keys) == 1,
            // Its files take no memory, and would have to be written anew.
            Self::Parted(_) => false,
        }
    }
}

/// A shared build side in use.
#[derive(Debug)]
pub(super) struct Build {
    side: Side,
    builds: Arc<SharedBuilds>,
    key: BuildKey,
    number: u64,
}

impl Build {
    /// What is probed.
    pub(super) fn side(&self) -> &Side {
        &self.side
    }
}

impl Drop for Build {
    fn drop(&mut self) {
        self.builds.ended(self.key, self.number);
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
        make: impl FnOnce() -> Result<Side>,
    ) -> Result<Build> {
        let mut entries = self.entries();
        let number = loop {
            match entries.by_key.get(&key) {
                Some(Entry { side: Some(side), number, .. }) => {
                    let (side, number) = (side.clone(), *number);
                    return Ok(Build { side, builds: Arc::clone(self), key, number });
                }
                Some(_) => {
                    let waited = self.changed.wait_timeout(entries, WAIT);
                    entries = waited.unwrap_or_else(PoisonError::into_inner).0;
                    cancel.check()?;
                }
                None => {
                    entries.next_number += 1;
                    let number = entries.next_number;
                    let entry = Entry { number, side: None, ended: 0, tasks };
                    entries.by_key.insert(key, entry);
                    break number;
                }
            }
        };
        drop(entries);
        // Should this thread fail or panic, those that wait try for themselves.
        let claim = Claim { builds: self, key, number };
        let side = make()?;
        if let Some(entry) = self.entries().by_key.get_mut(&key).filter(|e| e.number == number) {
            entry.side = Some(side.clone());
        }
        drop(claim);
        Ok(Build { side, builds: Arc::clone(self), key, number })
    }

    /// Forgets those that no task uses at the moment.
    pub(super) fn drop_idle(&self) {
        let mut idle = Vec::new();
        self.entries().by_key.retain(|_, entry| {
            let is_idle = entry.side.as_ref().is_some_and(Side::is_idle);
            if is_idle {
                idle.extend(entry.side.take());
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
                dropped.extend(entry.side.take());
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
        let is_open = |entry: &Entry| entry.number == self.number && entry.side.is_none();
        if entries.by_key.get(&self.key).is_some_and(is_open) {
            entries.by_key.remove(&self.key);
        }
        drop(entries);
        self.builds.changed.notify_all();
    }
}
