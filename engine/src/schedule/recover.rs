//! What goes wrong with a job, and what becomes of it: one short function per event.
//!
//! Only the class of a failure decides; no text is read. What is tried again has a cap, so that
//! every job ends.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{
    error::{Class, Code, Failure, FetchFailure},
    id::{Epoch, StageId, TaskAttempt, TaskId, WorkerId},
    schedule::{
        Fact, JobError,
        job::{Job, Phase, Turn, Wake},
        stage::{StageState, TaskState},
    },
};

/// Lives of workers that may end under one task before it is to blame.
const MAX_KILLS: u32 = 3;
/// Re-runs of one stage for failed fetches with no reader's success in between.
const MAX_STAGE_RERUNS: u32 = 4;
/// Re-runs in one job: for failed fetches, and one for each lost worker that took needed outputs.
const MAX_JOB_RERUNS: u32 = 64;
/// Attempts of one task that could not read their inputs, whoever was to blame.
const MAX_FETCH_FAILURES: u32 = 64;
/// How long a failed fetch keeps its reader's worker from reading from its holder.
const STRANGERS_FOR: Duration = Duration::from_mins(5);
/// The back-off before a second attempt; it doubles from there.
const FIRST_DELAY: Duration = Duration::from_millis(200);
/// The longest back-off.
const MAX_DELAY: Duration = Duration::from_secs(10);

/// Whether the job goes on; if not, why it fails.
pub(super) type Verdict = Result<(), Box<JobError>>;

impl Job {
    /// The current attempt failed.
    pub(super) fn task_failed(
        &mut self,
        turn: &mut Turn<'_>,
        attempt: TaskAttempt,
        worker: &WorkerId,
        failure: Failure,
    ) -> Verdict {
        self.stop(attempt.task);
        self.avoid.insert(attempt.task, worker.clone());
        if failure.class == Class::Cancel {
            turn.record(Fact::AttemptReturned { attempt });
            return Ok(());
        }
        self.failure_count += 1;
        let told = Fact::AttemptFailed { attempt, failure: failure.clone(), worker_lost: false };
        turn.record(told);
        if !self.stages[attempt.task.stage.index()].is_needed {
            // Whoever wanted it has got on without it, so its failure is nobody's.
            return Ok(());
        }
        match (failure.class, &failure.fetch) {
            (Class::Recompute, Some(fetch)) if self.is_input(attempt.task, fetch) => {
                let fetch = fetch.clone();
                self.fetch_failed(turn, attempt, worker, failure, &fetch)
            }
            (Class::Fail, _) => Err(self.error(attempt, worker, failure)),
            // A fetch that names nothing that the task reads is the task's own fault.
            (Class::Retry | Class::Recompute | Class::Cancel, _) => {
                self.task_faulted(turn, attempt, worker, failure)
            }
        }
    }

    /// The task is to blame: it is tried again after a while, so many times.
    fn task_faulted(
        &mut self,
        turn: &mut Turn<'_>,
        attempt: TaskAttempt,
        worker: &WorkerId,
        failure: Failure,
    ) -> Verdict {
        let task = attempt.task;
        let stage = &mut self.stages[task.stage.index()];
        let faults = stage.task_mut(task.partition).map_or(0, |state| {
            state.faults += 1;
            state.faults
        });
        if faults >= turn.settings.attempts {
            return Err(self.error(attempt, worker, failure));
        }
        stage.delay(task.partition);
        self.refresh_offer(task.stage.index());
        turn.wakes.push((turn.now + back_off(Wake::Task(task), faults), Wake::Task(task)));
        Ok(())
    }

    /// The task is not to blame: what it could not read runs again, and the task after it.
    fn fetch_failed(
        &mut self,
        turn: &mut Turn<'_>,
        attempt: TaskAttempt,
        worker: &WorkerId,
        failure: Failure,
        fetch: &FetchFailure,
    ) -> Verdict {
        let task = attempt.task;
        let stage = &mut self.stages[task.stage.index()];
        let fetch_failures = stage.task_mut(task.partition).map_or(0, |state| {
            state.fetch_failures += 1;
            state.fetch_failures
        });
        if self.names_what_counts(fetch) && fetch.worker != *worker {
            self.strangers.retain(|_, until| *until > turn.now);
            let pair = (worker.clone(), fetch.worker.clone());
            self.strangers.insert(pair, turn.now + STRANGERS_FOR);
        }
        if self.give_up(turn, fetch) && fetch_failures <= MAX_FETCH_FAILURES {
            Ok(())
        } else {
            Err(self.error(attempt, worker, failure))
        }
    }

    /// Whether the task reads what the failed fetch names. An output that has been replaced since
    /// counts: its reader only has not heard of the new one.
    fn is_input(&self, reader: TaskId, fetch: &FetchFailure) -> bool {
        let map = fetch.map;
        map.task.job == self.id
            && self.plan.stages[reader.stage.index()].inputs.contains(&map.task.stage)
            && self.was_started(map)
    }

    fn was_started(&self, attempt: TaskAttempt) -> bool {
        self.task(attempt.task)
            .is_some_and(|state| (1..=state.last_attempt).contains(&attempt.attempt.n))
    }

    /// Whether the fetch names the output that is still the accepted one.
    fn names_what_counts(&self, fetch: &FetchFailure) -> bool {
        let task = fetch.map.task;
        let is_held = |stage: &StageState| stage.is_held(task.partition);
        self.stages.get(task.stage.index()).is_some_and(is_held)
            && self.task(task).and_then(TaskState::accepted).is_some_and(|accepted| {
                accepted.output.map == fetch.map && accepted.output.worker == fetch.worker
            })
    }

    /// Has an output computed again, if it is still the accepted one; false when that has been
    /// done too often.
    fn give_up(&mut self, turn: &mut Turn<'_>, fetch: &FetchFailure) -> bool {
        if !self.names_what_counts(fetch) {
            return true;
        }
        let task = fetch.map.task;
        let stage = &mut self.stages[task.stage.index()];
        // A stage that is already being repaired is not counted for each of its outputs.
        if stage.is_complete() {
            stage.reruns += 1;
            self.reruns += 1;
        }
        let is_within_caps = stage.reruns <= MAX_STAGE_RERUNS && self.reruns <= MAX_JOB_RERUNS;
        stage.lose(task.partition);
        self.avoid.insert(task, fetch.worker.clone());
        self.replan(turn);
        is_within_caps
    }

    /// A worker's life has ended, and `runs` of this job with it.
    pub(super) fn worker_lost(
        &mut self,
        turn: &mut Turn<'_>,
        worker: &WorkerId,
        epoch: Epoch,
        runs: &[TaskAttempt],
    ) -> Verdict {
        let mut verdict = Ok(());
        for &attempt in runs {
            verdict = verdict.and(self.attempt_lost(turn, attempt, worker));
        }
        self.strangers.retain(|(reader, holder), _| reader != worker && holder != worker);
        for stage in &mut self.stages {
            stage.lose_held_by(worker, epoch);
        }
        // While a commit is under way its answer is waited for; it may have read all it needs.
        if !matches!(self.phase, Phase::Committing) && self.replan(turn) {
            self.reruns += 1;
        }
        self.settle(turn);
        if self.reruns > MAX_JOB_RERUNS {
            return verdict.and(Err(worn_out()));
        }
        verdict
    }

    fn attempt_lost(
        &mut self,
        turn: &mut Turn<'_>,
        attempt: TaskAttempt,
        worker: &WorkerId,
    ) -> Verdict {
        let loss = failure(Class::Retry, Code::TaskFailed, format!("worker {worker} was lost"));
        turn.record(Fact::AttemptFailed { attempt, failure: loss, worker_lost: true });
        self.failure_count += 1;
        self.stop(attempt.task);
        self.avoid.insert(attempt.task, worker.clone());
        let stage = &mut self.stages[attempt.task.stage.index()];
        let kills = stage.task_mut(attempt.task.partition).map_or(0, |state| {
            state.kills += 1;
            state.kills
        });
        if kills < MAX_KILLS || !stage.is_needed {
            return Ok(());
        }
        let message = format!(
            "{kills} workers were lost while they ran partition {} of stage {}, the last one was {worker}",
            attempt.task.partition, attempt.task.stage,
        );
        Err(self.error(attempt, worker, failure(Class::Fail, Code::TaskKillsWorkers, message)))
    }

    /// The commit that was asked for could not be done.
    pub(super) fn commit_failed(&mut self, turn: &mut Turn<'_>, failure: Failure) -> Verdict {
        self.phase = Phase::Running;
        let sink_fetch = failure.fetch.clone().filter(|fetch| {
            failure.class == Class::Recompute
                && fetch.map.task.job == self.id
                && self.was_started(fetch.map)
        });
        let is_within_caps = sink_fetch.as_ref().is_none_or(|fetch| self.give_up(turn, fetch));
        // Outputs may also have been lost with their worker while the commit was under way.
        self.replan(turn);
        let is_blameless = sink_fetch.is_some() && !self.has_all_results();
        self.commit_failures += u32::from(!is_blameless);
        let is_last = self.commit_failures >= turn.settings.attempts;
        if failure.class == Class::Fail || !is_within_caps || (is_last && !is_blameless) {
            return Err(self.commit_error(failure, sink_fetch.map(|fetch| fetch.map.task.stage)));
        }
        if self.has_all_results() {
            self.phase = Phase::CommitDelayed;
            let wake = Wake::Commit(self.id);
            turn.wakes.push((turn.now + back_off(wake, self.commit_failures), wake));
        }
        Ok(())
    }

    fn commit_error(&self, failure: Failure, stage: Option<StageId>) -> Box<JobError> {
        let nodes = stage.map_or_else(Vec::new, |stage| self.node_ids(stage));
        Box::new(JobError { failure, nodes, attempt: None, worker: None })
    }

    pub(super) fn error(
        &self,
        attempt: TaskAttempt,
        worker: &WorkerId,
        failure: Failure,
    ) -> Box<JobError> {
        let nodes = self.node_ids(attempt.task.stage);
        let (attempt, worker) = (Some(attempt), Some(worker.clone()));
        Box::new(JobError { failure, nodes, attempt, worker })
    }

    fn node_ids(&self, stage: StageId) -> Vec<String> {
        let nodes = self.stages.get(stage.index()).map_or(&[][..], |stage| &stage.nodes);
        nodes
            .iter()
            .filter_map(|node| Some(self.plan.nodes.get(node.index())?.id.clone()))
            .collect()
    }
}

/// For a job whose outputs go faster than they come.
fn worn_out() -> Box<JobError> {
    let message =
        format!("outputs that were still needed were lost more than {MAX_JOB_RERUNS} times");
    let failure = failure(Class::Fail, Code::FetchFailed, message);
    Box::new(JobError { failure, nodes: Vec::new(), attempt: None, worker: None })
}

/// A failure that the scheduler itself found.
pub(super) fn failure(class: Class, code: Code, message: String) -> Failure {
    Failure { class, code, message, fetch: None }
}

/// How long to wait after the `failures`th failure: full jitter below 200 ms, doubled each time,
/// at most 10 s. Nothing is drawn: who waits decides, so that a run can be repeated exactly.
fn back_off(wake: Wake, failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let ceiling = (FIRST_DELAY * (1 << doublings)).min(MAX_DELAY);
    let salt = match wake {
        Wake::Task(task) => u64::from(task.stage.0) << 32 | u64::from(task.partition),
        Wake::Commit(_) => u64::MAX,
    };
    let seed = salt.wrapping_mul(31).wrapping_add(u64::from(failures));
    let share = xxh3_64_with_seed(wake.job().0.as_bytes(), seed) % 1024 + 1;
    ceiling * u32::try_from(share).unwrap_or(1024) / 1024
}

#[cfg(test)]
mod tests {
    use super::{Wake, back_off};
    use crate::id::{JobId, StageId, TaskId};
    use std::time::Duration;
    use uuid::Uuid;

    fn wake(partition: u32) -> Wake {
        Wake::Task(TaskId { job: JobId(Uuid::from_u128(7)), stage: StageId(1), partition })
    }

    #[test]
    fn back_off_doubles_its_ceiling_up_to_ten_seconds() {
        for (failures, ceiling_ms) in [(1, 200), (2, 400), (3, 800), (7, 10_000), (99, 10_000)] {
            let longest = (0..1_000).map(|n| back_off(wake(n), failures)).max().unwrap();
            let ceiling = Duration::from_millis(ceiling_ms);
            assert!(longest <= ceiling && longest > ceiling * 9 / 10, "{failures}: {longest:?}");
        }
    }

    #[test]
    fn tasks_that_fail_together_do_not_return_together() {
        let mut waits: Vec<_> = (0..100).map(|n| back_off(wake(n), 3)).collect();
        waits.sort_unstable();
        waits.dedup();
        assert!(waits.len() > 80, "{waits:?}");
    }
}
