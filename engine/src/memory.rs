//! One memory budget per process, and the reservations that operators hold in it.
//!
//! An operator asks before it grows. Refused means: spill, then ask again; never fail while there
//! is something to spill. The budget counts bytes of unique buffers, not of views.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

pub mod spill;

/// A process's memory budget, in bytes; clones share it.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit_bytes: u64,
    used_bytes: AtomicU64,
    peak_bytes: AtomicU64,
}

impl Budget {
    /// A budget of `limit_bytes`.
    pub fn new(limit_bytes: u64) -> Self {
        Self(Arc::new(Shared {
            limit_bytes,
            used_bytes: AtomicU64::new(0),
            peak_bytes: AtomicU64::new(0),
        }))
    }

    /// The most that reservations may hold together, in bytes.
    pub fn limit_bytes(&self) -> u64 {
        self.0.limit_bytes
    }

    /// What reservations hold now, in bytes.
    pub fn used_bytes(&self) -> u64 {
        self.0.used_bytes.load(Ordering::Relaxed)
    }

    /// The most that reservations ever held, in bytes.
    pub fn peak_bytes(&self) -> u64 {
        self.0.peak_bytes.load(Ordering::Relaxed)
    }

    /// An empty reservation for `owner`, which errors name.
    pub fn reservation(&self, owner: &'static str) -> Reservation {
        Reservation { budget: self.clone(), owner, held_bytes: 0 }
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
    #[must_use]
    pub fn try_grow(&mut self, bytes: u64) -> bool {
        let shared = &self.budget.0;
        let granted =
            shared.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= shared.limit_bytes)
            });
        let Ok(before) = granted else { return false };
        shared.peak_bytes.fetch_max(before + bytes, Ordering::Relaxed);
        self.held_bytes += bytes;
        true
    }

    /// Takes `bytes` more whatever the budget says: only for the least that an operator can't
    /// work without (one batch, one merge buffer a run).
    pub fn grow(&mut self, bytes: u64) {
        let shared = &self.budget.0;
        let before = shared.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        shared.peak_bytes.fetch_max(before + bytes, Ordering::Relaxed);
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
        self.budget.0.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
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
}
