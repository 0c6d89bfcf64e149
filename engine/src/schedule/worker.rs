//! Workers as the scheduler sees them: lives, slots, the ring in which they are served, exclusion.
//!
//! It knows no jobs: what a lost worker's attempts and outputs mean is decided in [`super::job`].

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    time::Duration,
};

use crate::{
    id::{Epoch, TaskAttempt, TaskId, WorkerId},
    schedule::{Now, WorkerView},
};

/// So many failures of different tasks within [`FAULT_WINDOW`] exclude a worker.
const MAX_FAULTS: usize = 3;
/// How long a failure is held against a worker.
const FAULT_WINDOW: Duration = Duration::from_mins(10);
/// How long an excluded worker gets no new tasks.
const EXCLUSION: Duration = Duration::from_mins(5);
/// How long a lost worker is remembered, so that late words of its past lives are known as such.
const FORGET_AFTER: Duration = Duration::from_hours(24);

/// One worker in its latest life.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) epoch: Epoch,
    pub(super) address: String,
    pub(super) is_up: bool,
    /// Only known from a ledger: its outputs count, and it is waited for.
    pub(super) is_expected: bool,
    /// About to leave: it gets no new tasks.
    is_draining: bool,
    slots: u32,
    /// The attempts that are its own now.
    pub(super) running: BTreeSet<TaskAttempt>,
    last_seen: Now,
    /// Attempts of its own that it does not know of, and since when it has said so.
    unheard: BTreeMap<TaskAttempt, Now>,
    done: u64,
    failed: u64,
    /// Recent failures, one entry a task; `None` stands for a life that ended with work under way.
    /// They outlive an epoch, since a worker that keeps dying is what they are meant to show.
    faults: Vec<(Now, Option<TaskId>)>,
    excluded_until: Option<Now>,
}

impl Worker {
    fn has_free_slot(&self) -> bool {
        let takes_tasks = self.is_up && !self.is_expected && !self.is_draining;
        takes_tasks && self.running.len() < self.slots as usize
    }
}

/// All workers, with the indices that keep a decision from looking at each.
#[derive(Debug)]
pub(super) struct Workers {
    all: BTreeMap<WorkerId, Worker>,
    /// Up, not excluded, with a free slot.
    free: BTreeSet<WorkerId>,
    /// Up and excluded, with a free slot: served only where nobody else is up.
    benched: BTreeSet<WorkerId>,
    /// When exclusions end.
    exclusions: BTreeSet<(Now, WorkerId)>,
    /// The worker that was served last; the ring goes on behind it.
    cursor: WorkerId,
    up: usize,
    /// Up and not excluded.
    healthy: usize,
    /// Since when nobody is up, where nobody is.
    none_since: Now,
    /// No worker can be overdue before this; a lower bound, so that being seen costs nothing.
    overdue_from: Option<Now>,
}

impl Workers {
    pub(super) fn new() -> Self {
        Self {
            all: BTreeMap::new(),
            free: BTreeSet::new(),
            benched: BTreeSet::new(),
            exclusions: BTreeSet::new(),
            cursor: WorkerId(String::new()),
            up: 0,
            healthy: 0,
            none_since: Now::ZERO,
            overdue_from: None,
        }
    }

    pub(super) fn get(&self, worker: &WorkerId) -> Option<&Worker> {
        self.all.get(worker)
    }

    /// Whether the worker is up in this very life.
    pub(super) fn knows(&self, worker: &WorkerId, epoch: Epoch) -> bool {
        self.all.get(worker).is_some_and(|known| known.is_up && known.epoch == epoch)
    }

    /// Since when no worker is up; `None` while one is.
    pub(super) fn none_since(&self) -> Option<Now> {
        (self.up == 0).then_some(self.none_since)
    }

    /// Begins a life, or brings address and slots of the present one up to date.
    pub(super) fn join(
        &mut self,
        now: Now,
        worker: &WorkerId,
        epoch: Epoch,
        address: String,
        slots: u32,
        lost_after: Duration,
    ) {
        let past = self.all.remove(worker);
        let mut life = Worker {
            epoch,
            address,
            is_up: true,
            is_expected: false,
            is_draining: false,
            slots,
            running: BTreeSet::new(),
            last_seen: now,
            unheard: BTreeMap::new(),
            done: 0,
            failed: 0,
            faults: Vec::new(),
            excluded_until: None,
        };
        if let Some(past) = past {
            life.faults = past.faults;
            life.excluded_until = past.excluded_until;
            if past.is_up {
                life.is_draining = past.is_draining;
                (life.running, life.done, life.failed) = (past.running, past.done, past.failed);
                // To register again is no sign that it hears us; only polls keep it alive.
                (life.last_seen, life.unheard) = (past.last_seen, past.unheard);
                self.uncount(past.excluded_until.is_some());
            }
        }
        self.up += 1;
        self.healthy += usize::from(life.excluded_until.is_none());
        self.all.insert(worker.clone(), life);
        self.refresh(worker);
        self.overdue_from.get_or_insert(now.saturating_add(lost_after));
    }

    /// A life that an earlier life of the scheduler knew: its outputs count and its attempts run,
    /// it gets no tasks, and it is lost like any other unless it is heard within `grace` beyond
    /// the usual.
    pub(super) fn expect(
        &mut self,
        now: Now,
        worker: &WorkerId,
        (epoch, address): (Epoch, String),
        grace: Duration,
        lost_after: Duration,
    ) {
        self.join(now, worker, epoch, address, 0, lost_after);
        if let Some(known) = self.all.get_mut(worker) {
            known.is_expected = true;
            known.last_seen = now.saturating_add(grace);
        }
    }

    /// All that are up count as heard and hearing now.
    pub(super) fn grant(&mut self, now: Now) {
        for known in self.all.values_mut().filter(|known| known.is_up) {
            known.last_seen = known.last_seen.max(now);
            known.unheard.clear();
        }
    }

    /// The worker gets no new tasks any more.
    pub(super) fn drain(&mut self, worker: &WorkerId) {
        if let Some(known) = self.all.get_mut(worker) {
            known.is_draining = true;
        }
        self.refresh(worker);
    }

    fn uncount(&mut self, is_excluded: bool) {
        self.up -= 1;
        self.healthy -= usize::from(!is_excluded);
    }

    /// The worker was heard.
    pub(super) fn seen(&mut self, now: Now, worker: &WorkerId) {
        if let Some(known) = self.all.get_mut(worker) {
            known.last_seen = known.last_seen.max(now);
        }
    }

    /// The worker does not know of these attempts of its own; true if that has been so for too
    /// long: we hear it, but it does not hear us.
    pub(super) fn is_deaf(
        &mut self,
        now: Now,
        worker: &WorkerId,
        missing: &[TaskAttempt],
        lost_after: Duration,
    ) -> bool {
        let Some(known) = self.all.get_mut(worker) else { return false };
        let since = |attempt| (attempt, known.unheard.get(&attempt).copied().unwrap_or(now));
        known.unheard = missing.iter().copied().map(since).collect();
        known.unheard.values().any(|&at| now.saturating_sub(at) >= lost_after)
    }

    /// Ends the worker's life and gives the attempts that went with it.
    pub(super) fn lose(&mut self, now: Now, worker: &WorkerId) -> BTreeSet<TaskAttempt> {
        let Some(known) = self.all.get_mut(worker).filter(|known| known.is_up) else {
            return BTreeSet::new();
        };
        known.is_up = false;
        known.unheard.clear();
        let running = std::mem::take(&mut known.running);
        known.failed += running.len() as u64;
        let is_excluded = known.excluded_until.is_some();
        self.uncount(is_excluded);
        if self.up == 0 {
            self.none_since = now;
        }
        self.refresh(worker);
        if !running.is_empty() {
            self.blame(now, worker, None);
        }
        running
    }

    /// Who gets the next task: behind the last one served, in the order of ids.
    ///
    /// Nobody who is `unfit`, unless all are; `avoid` only where nobody else has a free slot.
    pub(super) fn next_free(
        &self,
        avoid: Option<&WorkerId>,
        unfit: &BTreeSet<WorkerId>,
    ) -> Option<&WorkerId> {
        let mut fit = self.ring().filter(|id| !unfit.contains(*id));
        match fit.next() {
            Some(first) if Some(first) == avoid => fit.next().or(Some(first)),
            Some(first) => Some(first),
            None if unfit.is_empty() || self.serves_others_than(unfit) => None,
            None => self.ring().next(),
        }
    }

    /// The workers with a free slot that are served now.
    fn ring(&self) -> impl Iterator<Item = &WorkerId> {
        let serving = self.serving();
        let behind = (Bound::Excluded(&self.cursor), Bound::Unbounded);
        let before = (Bound::Unbounded, Bound::Included(&self.cursor));
        serving.range::<WorkerId, _>(behind).chain(serving.range::<WorkerId, _>(before))
    }

    /// Whether a slot may come free on somebody who is not `unfit`.
    fn serves_others_than(&self, unfit: &BTreeSet<WorkerId>) -> bool {
        self.all.iter().any(|(id, known)| {
            let takes_tasks = known.is_up && !known.is_expected && !known.is_draining;
            let is_served = takes_tasks && (self.healthy == 0 || known.excluded_until.is_none());
            is_served && known.slots > 0 && !unfit.contains(id)
        })
    }

    fn serving(&self) -> &BTreeSet<WorkerId> {
        if self.healthy == 0 { &self.benched } else { &self.free }
    }

    /// Takes a slot of the worker for the attempt.
    pub(super) fn occupy(&mut self, worker: &WorkerId, attempt: TaskAttempt) {
        self.cursor.clone_from(worker);
        if let Some(known) = self.all.get_mut(worker) {
            known.running.insert(attempt);
            if !known.has_free_slot() {
                self.refresh(worker);
            }
        }
    }

    /// Gives the attempt's slot back.
    pub(super) fn release(&mut self, worker: &WorkerId, attempt: TaskAttempt) {
        let Some(known) = self.all.get_mut(worker) else { return };
        let was_full = !known.has_free_slot();
        known.running.remove(&attempt);
        if was_full {
            self.refresh(worker);
        }
    }

    /// Counts an attempt that ended by itself.
    pub(super) fn count_end(&mut self, worker: &WorkerId, is_done: bool) {
        if let Some(known) = self.all.get_mut(worker) {
            known.done += u64::from(is_done);
            known.failed += u64::from(!is_done);
        }
    }

    /// Holds a failure against the worker: of a task, or (`None`) of the whole process.
    pub(super) fn blame(&mut self, now: Now, worker: &WorkerId, task: Option<TaskId>) {
        let Some(known) = self.all.get_mut(worker) else { return };
        known.faults.retain(|(at, of)| {
            now.saturating_sub(*at) < FAULT_WINDOW && (task.is_none() || *of != task)
        });
        known.faults.push((now, task));
        if known.faults.len() < MAX_FAULTS || known.excluded_until.is_some() {
            return;
        }
        known.faults.clear();
        known.excluded_until = Some(now + EXCLUSION);
        self.healthy -= usize::from(known.is_up);
        self.exclusions.insert((now + EXCLUSION, worker.clone()));
        self.refresh(worker);
    }

    /// Ends the exclusions that are over.
    pub(super) fn end_exclusions(&mut self, now: Now) {
        while let Some((until, worker)) = self.exclusions.pop_first() {
            if until > now {
                self.exclusions.insert((until, worker));
                return;
            }
            if let Some(known) = self.all.get_mut(&worker) {
                known.excluded_until = None;
                self.healthy += usize::from(known.is_up);
            }
            self.refresh(&worker);
        }
    }

    /// The workers that have not been seen for `lost_after`; those lost long ago are forgotten.
    pub(super) fn overdue(&mut self, now: Now, lost_after: Duration) -> Vec<WorkerId> {
        if self.overdue_from.is_none_or(|from| from > now) {
            return Vec::new();
        }
        self.all.retain(|_, known| {
            let is_fresh = now.saturating_sub(known.last_seen) < FORGET_AFTER;
            known.is_up || known.excluded_until.is_some() || is_fresh
        });
        let alive = self.all.values().filter(|known| known.is_up);
        self.overdue_from = alive
            .map(|known| known.last_seen.saturating_add(lost_after))
            .filter(|&at| at > now)
            .min();
        let overdue =
            |known: &Worker| known.is_up && known.last_seen.saturating_add(lost_after) <= now;
        self.all.iter().filter(|(_, known)| overdue(known)).map(|(id, _)| id.clone()).collect()
    }

    /// When [`Workers::overdue`] or [`Workers::end_exclusions`] may next find something.
    pub(super) fn next_wake(&self) -> Option<Now> {
        let exclusion_ends = self.exclusions.first().map(|(until, _)| *until);
        [self.overdue_from, exclusion_ends].into_iter().flatten().min()
    }

    /// The workers whose exclusion has not ended.
    pub(super) fn excluded(&self) -> impl Iterator<Item = &WorkerId> {
        self.exclusions.iter().map(|(_, worker)| worker)
    }

    /// What users may see, by worker id.
    pub(super) fn views(&self) -> Vec<WorkerView> {
        let view = |(id, known): (&WorkerId, &Worker)| WorkerView {
            worker: id.clone(),
            epoch: known.epoch,
            address: known.address.clone(),
            is_up: known.is_up,
            is_expected: known.is_up && known.is_expected,
            is_excluded: known.excluded_until.is_some(),
            is_draining: known.is_up && known.is_draining,
            slots: known.slots,
            running: known.running.iter().copied().collect(),
            last_seen: known.last_seen,
            finished: BTreeMap::from([("done", known.done), ("failed", known.failed)]),
        };
        self.all.iter().map(view).collect()
    }

    /// Brings the ring up to date with what the worker is now.
    fn refresh(&mut self, worker: &WorkerId) {
        self.free.remove(worker);
        self.benched.remove(worker);
        let Some(known) = self.all.get(worker).filter(|known| known.has_free_slot()) else {
            return;
        };
        let ring = if known.excluded_until.is_some() { &mut self.benched } else { &mut self.free };
        ring.insert(worker.clone());
    }
}
