//! One memory budget per process, what jobs and tasks have of it, and operators' reservations.
//!
//! An operator asks before it grows. Refused means: spill, then ask again; never fail while there
//! is something to spill. Nobody waits for memory, so that no two tasks can wait for each other's.
//! The budget counts bytes of unique buffers, not of views. Who is granted what when several tasks
//! ask is decided by a [`pool`].

use std::sync::Arc;

use pool::{Pool, Share};

mod pool;
pub mod spill;

/// A memory budget, in bytes: a process's, a job's part of it, or a task's share; clones are the
/// same one.
#[derive(Clone, Debug)]
pub struct Budget {
    pool: Arc<Pool>,
    /// Absent where no task asks: what a process or a job holds beside its tasks.
    share: Option<Arc<Share>>,
}

impl Budget {
    /// A budget of `limit_bytes` for whoever comes.
    pub fn new(limit_bytes: u64) -> Self {
        Self::of_tasks(limit_bytes, 1)
    }

    /// The budget of a process that runs `tasks` tasks at once.
    pub fn of_tasks(limit_bytes: u64, tasks: usize) -> Self {
        Self { pool: Arc::new(Pool::new(limit_bytes, tasks)), share: None }
    }

    /// A part of it that has a limit of its own, for a job.
    #[must_use]
    pub fn limited(&self, limit_bytes: u64) -> Self {
        Self { pool: Arc::new(Pool::within(&self.pool, limit_bytes)), share: None }
    }

    /// The budget as a task has it, from its beginning to the end of the [`TaskBudget`].
    pub fn task(&self) -> TaskBudget {
        let share = Arc::new(Share::new());
        TaskBudget(Self { pool: Arc::clone(&self.pool), share: Some(share) })
    }

    /// The budget for what outlives the task that asks.
    #[must_use]
    pub fn beside_tasks(&self) -> Self {
        Self { pool: Arc::clone(&self.pool), share: None }
    }

    /// The most that reservations may hold together, in bytes.
    pub fn limit_bytes(&self) -> u64 {
        self.pool.limit_bytes()
    }

    /// What reservations hold now, in bytes; of a job, what those of the job do.
    pub fn used_bytes(&self) -> u64 {
        self.pool.used_bytes()
    }

    /// The most that reservations ever held, in bytes.
    pub fn peak_bytes(&self) -> u64 {
        self.pool.peak_bytes()
    }

    /// An empty reservation for `owner`, which errors name.
    pub fn reservation(&self, owner: &'static str) -> Reservation {
        Reservation { budget: self.clone(), owner, held_bytes: 0 }
    }

    /// Whether another handle or a reservation of it is there.
    pub(crate) fn is_held(&self) -> bool {
        Arc::strong_count(&self.pool) > 1
    }

    fn share(&self) -> Option<&Arc<Share>> {
        self.share.as_ref()
    }
}

/// A task's budget. When it ends, nobody counts on what the task may hold any more.
#[derive(Debug)]
pub struct TaskBudget(Budget);

impl TaskBudget {
    /// What its operators reserve from.
    pub fn budget(&self) -> &Budget {
        &self.0
    }
}

impl Drop for TaskBudget {
    fn drop(&mut self) {
        if let Some(share) = self.0.share() {
            self.0.pool.forget(share);
        }
    }
}

/// Bytes held in a [`Budget`]; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Budget,
    owner: &'static str,
    held_bytes: u64,
}

impl Reservation {
    /// What it holds, in bytes.
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// Who holds it.
    pub fn owner(&self) -> &'static str {
        self.owner
    }

    /// The budget it is part of.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Takes `bytes` more if the budget allows; `false` means spill first.
    ///
    /// The budget allows what is free, but for what other tasks have a right to: see [`pool`].
    #[must_use]
    pub fn try_grow(&mut self, bytes: u64) -> bool {
        let is_granted = self.budget.pool.try_take(bytes, self.budget.share());
        if is_granted {
            self.held_bytes += bytes;
        }
        is_granted
    }

    /// Takes `bytes` more whatever the budget says: only for the least that an operator can't
    /// work without (one batch, one merge buffer a run).
    pub fn grow(&mut self, bytes: u64) {
        self.budget.pool.take(bytes, self.budget.share());
        self.held_bytes += bytes;
    }

    /// Brings the reservation to `bytes`: shrinks, or tries to grow; `false` means spill first.
    #[must_use]
    pub fn try_resize(&mut self, bytes: u64) -> bool {
        if bytes > self.held_bytes {
            return self.try_grow(bytes - self.held_bytes);
        }
        self.shrink(self.held_bytes - bytes);
        true
    }

    /// Gives `bytes` back; more than is held gives back all.
    pub fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.min(self.held_bytes);
        self.budget.pool.give(bytes, self.budget.share());
        self.held_bytes -= bytes;
    }

    /// Gives all back.
    pub fn free(&mut self) {
        self.shrink(self.held_bytes);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.free();
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Barrier, thread};

    use super::Budget;

    #[test]
    fn a_reservation_beyond_the_limit_is_refused_and_changes_nothing() {
        let budget = Budget::new(100);
        let mut first = budget.reservation("first");
        let mut second = budget.reservation("second");
        assert!(first.try_grow(60));
        assert!(!second.try_grow(41));
        assert!(second.try_grow(40));
        assert_eq!(budget.used_bytes(), 100);
    }

    #[test]
    fn a_dropped_reservation_gives_back_what_it_held() {
        let budget = Budget::new(100);
        let mut held = budget.reservation("held");
        held.grow(150);
        assert_eq!(budget.used_bytes(), 150);
        drop(held);
        assert_eq!((budget.used_bytes(), budget.peak_bytes()), (0, 150));
    }

    #[test]
    fn a_task_that_comes_late_finds_the_floor_that_is_kept_for_it() {
        let budget = Budget::of_tasks(1_600, 2);
        let (early, late) = (budget.task(), budget.task());
        let mut first = early.budget().reservation("first");
        // An eighth is kept for the second task while it has not asked.
        assert!(first.try_grow(1_400));
        assert!(!first.try_grow(1));
        let mut second = late.budget().reservation("second");
        assert!(second.try_grow(200));
        // Now that two ask, a quarter is each one's own: what is given back goes there.
        first.shrink(100);
        assert!(!first.try_grow(100));
        assert!(second.try_grow(100));
    }

    #[test]
    fn a_task_alone_has_the_whole_budget_and_an_ended_one_has_no_floor() {
        let budget = Budget::of_tasks(1_000, 1);
        let (one, other) = (budget.task(), budget.task());
        let mut held = one.budget().reservation("one");
        assert!(held.try_grow(1_000));
        held.free();
        assert!(other.budget().reservation("other").try_grow(1));
        assert!(!held.try_grow(1_000));
        drop(other);
        assert!(held.try_grow(1_000));
    }

    #[test]
    fn what_is_held_beside_tasks_leaves_them_their_floors() {
        let budget = Budget::of_tasks(1_600, 2);
        let tasks = [budget.task(), budget.task()];
        let mut held = tasks.each_ref().map(|task| task.budget().reservation("task"));
        assert!(held.iter_mut().all(|held| held.try_grow(100)));
        let mut outputs = tasks[0].budget().beside_tasks().reservation("outputs");
        assert!(!outputs.try_grow(801));
        assert!(outputs.try_grow(800));
        assert!(held.iter_mut().all(|held| held.try_grow(300)));
    }

    #[test]
    fn a_job_has_its_limit_and_takes_from_the_process() {
        let process = Budget::new(1_000);
        let (small, large) = (process.limited(300), process.limited(5_000));
        assert_eq!((small.limit_bytes(), large.limit_bytes()), (300, 1_000));
        let mut of_small = small.reservation("small");
        assert!(!of_small.try_grow(301));
        assert!(of_small.try_grow(300));
        let mut of_large = large.reservation("large");
        assert!(!of_large.try_grow(701));
        assert!(of_large.try_grow(700));
        assert_eq!((process.used_bytes(), small.used_bytes()), (1_000, 300));
        of_small.free();
        assert_eq!((process.used_bytes(), small.used_bytes(), large.used_bytes()), (700, 0, 700));
    }

    /// Were either to wait for what the other holds, both would wait for ever.
    #[test]
    fn two_tasks_that_want_each_others_memory_are_refused_and_one_that_spills_goes_on() {
        let budget = Budget::of_tasks(1_000, 2);
        let both_hold = Barrier::new(2);
        let run = || {
            let task = budget.task();
            let mut held = task.budget().reservation("task");
            assert!(held.try_grow(400));
            both_hold.wait();
            let is_refused = !held.try_grow(500);
            both_hold.wait();
            // What is refused is spilled, and what was asked for is there then for one after the other.
            held.free();
            let is_granted = held.try_grow(250);
            (is_refused, is_granted)
        };
        thread::scope(|scope| {
            for task in [scope.spawn(run), scope.spawn(run)] {
                assert_eq!(task.join().unwrap(), (true, true));
            }
        });
        assert_eq!(budget.used_bytes(), 0);
    }
}
