//! [`Pool`]: who is granted what of a budget when several tasks want it.
//!
//! Every task has a floor that nobody else can take: half of its even part of the limit once it
//! has asked for memory, a quarter for each task that could still begin. What is above the floors
//! goes to whoever asks first. So a task that sorts alone has most of the budget, and one that
//! begins beside it still sorts by runs of a useful size. A floor is nothing set aside: a task
//! that is above its own is refused what others have a right to, spills, and gives back.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

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
}

/// What a task holds.
#[derive(Debug)]
pub(super) struct Share {
    held: AtomicU64,
    has_asked: AtomicBool,
}

impl Share {
    pub(super) fn new() -> Self {
        Self { held: AtomicU64::new(0), has_asked: AtomicBool::new(false) }
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
        }
    }

    pub(super) fn within(outer: &Arc<Self>, limit: u64) -> Self {
        Self {
            tasks: outer.tasks,
            within: Some(Arc::clone(outer)),
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
            // Before the pool's, so that nobody takes for missing in a floor what fills it.
            share.held.fetch_add(bytes, Ordering::Relaxed);
        }
        let mut taken = 0;
        let is_granted = self.chain().all(|pool| {
            let granted = pool.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= pool.limit)
            });
            let Ok(before) = granted else { return false };
            taken += 1;
            pool.leaves_floors(before + bytes, share)
        });
        if !is_granted {
            for pool in self.chain().take(taken) {
                pool.used.fetch_sub(bytes, Ordering::Relaxed);
            }
            if let Some(share) = share {
                share.held.fetch_sub(bytes, Ordering::Relaxed);
            }
            return false;
        }
        for pool in self.chain() {
            pool.peak.fetch_max(pool.used_bytes(), Ordering::Relaxed);
        }
        true
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
    }

    /// A task has ended: it has no floor any more, whatever it leaves.
    pub(super) fn forget(&self, share: &Arc<Share>) {
        for pool in self.chain() {
            pool.shares().retain(|other| !Arc::ptr_eq(other, share));
        }
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

    /// Whether others keep their floors where `after` bytes are taken, `share`'s new ones among them.
    fn leaves_floors(&self, after: u64, share: Option<&Arc<Share>>) -> bool {
        // All floors together are half of the limit at most.
        if after <= self.limit / 2 {
            return true;
        }
        let shares = self.shares();
        let asking = shares.len() as u64;
        let tasks = self.tasks.max(asking);
        let floor = self.limit / (2 * tasks);
        if share.is_some_and(|share| share.held() <= floor) {
            return true;
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
