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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::{DateTime, Local};
    use minispark_engine::{id::JobId, schedule::Event};

    use super::Retention;
    use crate::master::{
        cluster::{Effect, NewJob, Submission},
        journal::entry::Key,
        testing::{master, one_task, submit},
    };

    fn wall(days: u64) -> DateTime<Local> {
        DateTime::<Local>::from(DateTime::UNIX_EPOCH) + Duration::from_hours(24 * days)
    }

    #[tokio::test]
    async fn the_oldest_final_jobs_go_beyond_the_number_that_is_kept_and_open_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (master, _clock) = master(folder.path(), Duration::from_secs(1));
        let jobs: Vec<JobId> = (0..4).map(|_| submit(&master, "one")).collect();
        let mut cluster = master.lock();
        for &job in &jobs[..3] {
            cluster.step(Duration::ZERO, Event::Cancel { job });
        }
        let rules = Retention { keep_jobs: 1, ..Retention::default() };
        let (freed, _) = cluster.retain(Duration::ZERO, wall(0), &rules);
        assert_eq!((freed.jobs, freed.results, freed.bytes), (2, 0, 0));
        let is_known: Vec<bool> = jobs.iter().map(|job| cluster.job(*job).is_some()).collect();
        assert_eq!(is_known, [false, false, true, true]);
        assert!(cluster.forget(Duration::ZERO, jobs[3]).is_none(), "it has not ended");
    }

    #[tokio::test]
    async fn age_counts_once_the_clock_has_settled() {
        let folder = tempfile::tempdir().unwrap();
        let (master, _clock) = master(folder.path(), Duration::from_secs(1));
        let job = submit(&master, "one");
        let mut cluster = master.lock();
        cluster.step(Duration::ZERO, Event::Cancel { job });
        let rules = Retention::default();
        let minute = Duration::from_mins(1);
        assert_eq!(cluster.retain(minute, wall(40), &rules).0.jobs, 0, "the clock may be wrong");
        let two_hours = Duration::from_hours(2);
        assert_eq!(cluster.retain(two_hours, wall(29), &rules).0.jobs, 0);
        assert_eq!(cluster.retain(two_hours, wall(31), &rules).0.jobs, 1);
    }

    #[tokio::test]
    async fn a_key_is_known_for_a_day_though_its_job_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let (master, _clock) = master(folder.path(), Duration::from_secs(1));
        let key = |body: &str| Key {
            owner: None,
            text: String::from("night 1"),
            body: String::from(body),
        };
        let job = JobId::random();
        let new = NewJob {
            job,
            submitted_at: wall(0),
            document: String::from("{}"),
            plan: one_task("one"),
            warnings: Vec::new(),
            owner: None,
            key: Some(key("a")),
        };
        let mut cluster = master.lock();
        assert!(matches!(cluster.submit(Duration::ZERO, new), Submission::Taken(_)));
        cluster.step(Duration::ZERO, Event::Cancel { job });
        let rules = Retention { keep_jobs: 0, ..Retention::default() };
        let (freed, effects) = cluster.retain(Duration::ZERO, wall(0), &rules);
        assert_eq!(freed.jobs, 1);
        assert!(effects.contains(&Effect::Remove(Vec::new())), "{effects:?}");
        let known = cluster.known_key(&key("a"));
        assert!(matches!(known, Some(Submission::Repeated(first)) if first == job));
        assert!(matches!(cluster.known_key(&key("b")), Some(Submission::KeyReused)));
        cluster.retain(Duration::from_hours(25), wall(1), &rules);
        assert!(cluster.known_key(&key("a")).is_none());
    }
}
