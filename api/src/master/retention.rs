//! What is kept of final jobs, and for how long.
//!
//! Outputs are the user's and stay. What goes is the memory of old jobs and the typed copies of
//! text results; without its copy a result can still be downloaded as text.

use std::{path::PathBuf, time::Duration};

use chrono::{DateTime, Local};
use minispark_engine::{
    id::JobId,
    schedule::{Event, Now},
};

use super::{
    cluster::{Cluster, Effect, JobRecord},
    journal::entry::{self, Entry, Of},
};

/// The key of a submission is known at least so long, whatever becomes of its job.
const KEYS_KEPT: Duration = Duration::from_hours(24);

/// The most keys of forgotten jobs; the oldest go first.
const MAX_KEYS: usize = 100_000;

/// Before this master has been up for so long, age alone lets go of nothing: the clock of a machine
/// that has just started may be wrong.
const CLOCK_SETTLES: Duration = Duration::from_hours(1);

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// The most final jobs that are remembered; the oldest go first.
    pub keep_jobs: usize,
    /// A final job is forgotten so long after its end.
    pub keep_for: Duration,
    /// The most bytes of typed copies; those of the oldest jobs go first.
    pub results_quota: u64,
}

impl Default for Retention {
    /// 10,000 jobs, 30 days, 10 GiB.
    fn default() -> Self {
        Self { keep_jobs: 10_000, keep_for: Duration::from_hours(24 * 30), results_quota: 10 << 30 }
    }
}

/// What a pass let go of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Freed {
    /// Jobs that were forgotten.
    pub(crate) jobs: usize,
    /// Jobs that lost the typed copies of their results.
    pub(crate) results: usize,
    /// The size of the removed files, in bytes.
    pub(crate) bytes: u64,
}

impl Cluster {
    /// Lets go of what is beyond the rules; what is left to do comes back.
    pub(crate) fn retain(
        &mut self,
        now: Now,
        wall: DateTime<Local>,
        rules: &Retention,
    ) -> (Freed, Vec<Effect>) {
        let mut freed = Freed::default();
        let mut effects = Vec::new();
        self.forget_keys(now, KEYS_KEPT, MAX_KEYS);
        let wall = (now >= CLOCK_SETTLES).then_some(wall);
        for job in self.too_old(wall, rules) {
            if let Some((bytes, more)) = self.forget(now, job) {
                freed.jobs += 1;
                freed.bytes += bytes;
                effects.extend(more);
            }
        }
        for job in self.over_quota(rules.results_quota) {
            let (bytes, paths) = self.expire(job);
            freed.results += 1;
            freed.bytes += bytes;
            effects.push(Effect::Remove(paths));
        }
        self.flush();
        (freed, effects)
    }

    /// Final jobs to be forgotten, the oldest first.
    fn too_old(&self, wall: Option<DateTime<Local>>, rules: &Retention) -> Vec<JobId> {
        let finals: Vec<_> = self.finals().collect();
        let excess = finals.len().saturating_sub(rules.keep_jobs);
        let is_due = |(place, (_, record)): &(usize, (JobId, &JobRecord))| {
            let age = wall.zip(record.ended_at()).map(|(wall, at)| wall.signed_duration_since(at));
            let age = age.and_then(|age| age.to_std().ok()).unwrap_or_default();
            *place < excess || age >= rules.keep_for
        };
        finals.into_iter().enumerate().filter(is_due).map(|(_, (job, _))| job).collect()
    }

    /// Jobs whose typed copies are too much, the oldest first.
    fn over_quota(&self, quota: u64) -> Vec<JobId> {
        let mut total: u64 = self.finals().map(|(_, record)| typed_bytes(record)).sum();
        let mut over = Vec::new();
        for (job, record) in self.finals() {
            let bytes = typed_bytes(record);
            if total <= quota {
                break;
            }
            if bytes > 0 {
                over.push(job);
                total -= bytes;
            }
        }
        over
    }

    /// Forgets a final job; gives the size of its typed copies, and what is left to do. `None`
    /// where it is unknown or has not ended.
    pub(crate) fn forget(&mut self, now: Now, job: JobId) -> Option<(u64, Vec<Effect>)> {
        let record = self.final_job(job)?;
        let (bytes, paths) = (typed_bytes(record), typed_paths(record));
        self.pending(Entry::Forgotten(Of { job }));
        self.remove(now, job);
        let mut effects = self.step(now, Event::Forget { job });
        effects.push(Effect::Remove(paths));
        Some((bytes, effects))
    }

    fn expire(&mut self, job: JobId) -> (u64, Vec<PathBuf>) {
        let Some(record) = self.job_mut(job) else { return (0, Vec::new()) };
        let (bytes, paths) = (typed_bytes(record), typed_paths(record));
        entry::expire(&mut record.saved.published);
        self.pending(Entry::Expired(Of { job }));
        (bytes, paths)
    }
}

fn typed_bytes(record: &JobRecord) -> u64 {
    record.saved.published.iter().map(|published| published.typed_bytes).sum()
}

fn typed_paths(record: &JobRecord) -> Vec<PathBuf> {
    record.saved.published.iter().filter_map(|published| published.typed.clone()).collect()
}
