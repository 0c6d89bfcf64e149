//! [`Pool`]: who is granted what of a budget when several tasks want it.
//!
//! Every task has a floor that nobody else can take: half of its even part of the limit once it
//! has asked for memory, a quarter for each task that could still begin. What is above the floors
//! goes to whoever asks first. So a task that sorts alone has most of the budget, and one that
//! begins beside it still sorts by runs of a useful size. A floor is nothing set aside: a task
//! that is above its own is refused what others have a right to, spills, and gives back.
//!
//! What can't be spilled may wait, in a queue by age. While somebody waits, tasks are granted
//! their floors alone.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

/// How soon one that waits looks again, where nobody wakes it.
const LOOK: Duration = Duration::from_millis(20);

/// A limit, what is taken of it, and the tasks that share it. A job's is within its process's.
#[derive(Debug)]
pub(super) struct Pool {
    limit: u64,
    /// How many tasks run at once.
    tasks: u64,
    used: AtomicU64,
    peak: AtomicU64,
    within: Option<Arc<Pool>>,
    /// Of the tasks that have asked.
    shares: Mutex<Vec<Arc<Share>>>,
    queue: Arc<Queue>,
}

/// What a task holds.
#[derive(Debug)]
pub(super) struct Share {
    /// Tasks that begin later have a higher one.
    number: u64,
    held: AtomicU64,
    has_asked: AtomicBool,
}

/// Those who wait, of all pools of a process.
#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<BTreeSet<u64>>,
    count: AtomicUsize,
    freed: Condvar,
}

impl Share {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { number, held: AtomicU64::new(0), has_asked: AtomicBool::new(false) }
    }

    fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }
}

impl Pool {
    pub(super) fn new(limit: u64, tasks: usize) -> Self {
        Self {
            limit,
            tasks: (tasks as u64).max(1),
            used: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            within: None,
            shares: Mutex::default(),
            queue: Arc::default(),
        }
    }

    pub(super) fn within(outer: &Arc<Self>, limit: u64) -> Self {
        Self {
            tasks: outer.tasks,
            within: Some(Arc::clone(outer)),
            queue: Arc::clone(&outer.queue),
            ..Self::new(limit.min(outer.limit), 1)
        }
    }

    pub(super) fn limit_bytes(&self) -> u64 {
        self.limit
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn peak_bytes(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Takes bytes from this pool and those it is within, or from none of them.
    pub(super) fn try_take(&self, bytes: u64, share: Option<&Arc<Share>>) -> bool {
        if let Some(share) = share {
            self.enter(share);
        }
        self.take_by(bytes, share, &|pool, after| pool.leaves_floors(after, bytes, share))
    }

    /// Takes bytes whatever the limit.
    pub(super) fn take(&self, bytes: u64, share: Option<&Arc<Share>>) {
        for pool in self.chain() {
            let before = pool.used.fetch_add(bytes, Ordering::Relaxed);
            pool.peak.fetch_max(before + bytes, Ordering::Relaxed);
        }
        if let Some(share) = share {
            share.held.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    pub(super) fn give(&self, bytes: u64, share: Option<&Arc<Share>>) {
        for pool in self.chain() {
            pool.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        if let Some(share) = share {
            share.held.fetch_sub(bytes, Ordering::Relaxed);
        }
        if bytes > 0 {
            self.queue.wake();
        }
    }

    /// A task has ended: it has no floor any more, and nobody waits for what it left.
    pub(super) fn forget(&self, share: &Arc<Share>) {
        for pool in self.chain() {
            pool.shares().retain(|other| !Arc::ptr_eq(other, share));
        }
        self.queue.wake();
    }

    /// Queues a task.
    pub(super) fn wait<'a>(&'a self, share: &'a Arc<Share>) -> Waiting<'a> {
        self.enter(share);
        self.queue.count.fetch_add(1, Ordering::SeqCst);
        self.queue.lock().insert(share.number);
        // Others who wait look whether they still may.
        self.queue.freed.notify_all();
        Waiting { pool: self, share }
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.queue.lock().len()
    }

    /// This pool and those it is within.
    fn chain(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |pool| pool.within.as_deref())
    }

    /// Counts a task among those that ask.
    fn enter(&self, share: &Arc<Share>) {
        if !share.has_asked.swap(true, Ordering::Relaxed) {
            for pool in self.chain() {
                pool.shares().push(Arc::clone(share));
            }
        }
    }

    fn take_by(
        &self,
        bytes: u64,
        share: Option<&Arc<Share>>,
        may: &dyn Fn(&Self, u64) -> bool,
    ) -> bool {
        let mut taken = 0;
        let is_granted = self.chain().all(|pool| {
            let granted = pool.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= pool.limit)
            });
            let Ok(before) = granted else { return false };
            taken += 1;
            may(pool, before + bytes)
        });
        if !is_granted {
            for pool in self.chain().take(taken) {
                pool.used.fetch_sub(bytes, Ordering::Relaxed);
            }
            return false;
        }
        for pool in self.chain() {
            pool.peak.fetch_max(pool.used_bytes(), Ordering::Relaxed);
        }
        if let Some(share) = share {
            share.held.fetch_add(bytes, Ordering::Relaxed);
        }
        true
    }

    /// Whether others keep their floors where `after` bytes are taken once `bytes` are granted.
    fn leaves_floors(&self, after: u64, bytes: u64, share: Option<&Arc<Share>>) -> bool {
        let is_waited_for = self.queue.count.load(Ordering::SeqCst) > 0;
        // All floors together are half of the limit at most.
        if after <= self.limit / 2 && !is_waited_for {
            return true;
        }
        let shares = self.shares();
        let asking = shares.len() as u64;
        let tasks = self.tasks.max(asking);
        let floor = self.limit / (2 * tasks);
        if share.is_some_and(|share| share.held() + bytes <= floor) {
            return true;
        }
        if is_waited_for {
            return false;
        }
        let is_other = |other: &&Arc<Share>| share.is_none_or(|own| !Arc::ptr_eq(own, other));
        let of_others: u64 =
            shares.iter().filter(is_other).map(|other| floor.saturating_sub(other.held())).sum();
        let idle = tasks - asking.max(1);
        after + of_others + idle * (floor / 2) <= self.limit
    }

    fn shares(&self) -> MutexGuard<'_, Vec<Arc<Share>>> {
        // Every change is whole, so that a lock that a panic has poisoned is as good.
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        if self.count.load(Ordering::SeqCst) > 0 {
            // Whoever looked before the bytes came back waits by now, or will look again.
            drop(self.lock());
            self.freed.notify_all();
        }
    }
}

/// What one that waits may do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The bytes are its own.
    Granted,
    /// Others may still give back.
    Later,
    /// Nobody can, or this one has to give way.
    Hopeless,
}

/// A task in the queue; dropped, it has left it.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    pool: &'a Pool,
    share: &'a Arc<Share>,
}

impl Waiting<'_> {
    /// Whether it has come to be its turn.
    pub(super) fn turn(&mut self, bytes: u64) -> Turn {
        let waiting = self.pool.queue.lock();
        let is_first = waiting.first() == Some(&self.share.number);
        if is_first && self.pool.take_by(bytes, Some(self.share), &|_, _| true) {
            return Turn::Granted;
        }
        // The pool that lacks room tells whose memory would make some.
        let is_full = |pool: &&Pool| pool.used_bytes().saturating_add(bytes) > pool.limit;
        let Some(full) = self.pool.chain().find(is_full) else { return Turn::Later };
        let shares = full.shares();
        let holders = shares.iter().filter(|share| share.held() > 0);
        let others = holders.filter(|share| !Arc::ptr_eq(share, self.share));
        let (mut latest, mut has_others) = (None, false);
        for other in others {
            if !waiting.contains(&other.number) {
                return Turn::Later;
            }
            has_others = true;
            latest = latest.max(Some(other.number));
        }
        // All that hold something wait. The latest of them gives way, and then the next.
        let gives_way = !is_first && self.share.held() > 0 && latest < Some(self.share.number);
        if !has_others || gives_way { Turn::Hopeless } else { Turn::Later }
    }

    /// Waits until something has changed, but not for long; for how long at most.
    pub(super) fn pause(&mut self) -> Duration {
        let waiting = self.pool.queue.lock();
        drop(self.pool.queue.freed.wait_timeout(waiting, LOOK));
        LOOK
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pool.queue.lock().remove(&self.share.number);
        self.pool.queue.count.fetch_sub(1, Ordering::SeqCst);
        self.pool.queue.freed.notify_all();
    }
}
