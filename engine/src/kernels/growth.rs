//! How the vectors of a table grow, foretold to the byte, so that memory is reserved before use.
//!
//! Capacities are powers of two, so that it makes no difference whether room is made for many
//! elements at once or for one after the other. While a vector grows its old and new contents are
//! both there, so what a step needs is what stays plus the greatest copy.

use std::{mem::size_of, ops::Add};

use crate::memory::Reservation;

/// The least capacity of a vector that grows.
const LEAST_CAPACITY: usize = 64;

/// What a step may add to the memory of a structure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// Bytes more than now, once it is done.
    pub lasting_bytes: u64,
    /// Bytes more on top while it is done.
    pub passing_bytes: u64,
}

impl Growth {
    /// What must be reserved before the step.
    pub fn bytes(self) -> u64 {
        self.lasting_bytes + self.passing_bytes
    }
}

impl Add for Growth {
    type Output = Self;

    /// Steps that are done one after the other.
    fn add(self, other: Self) -> Self {
        Self {
            lasting_bytes: self.lasting_bytes + other.lasting_bytes,
            passing_bytes: self.passing_bytes.max(other.passing_bytes),
        }
    }
}

impl std::iter::Sum for Growth {
    fn sum<I: Iterator<Item = Self>>(steps: I) -> Self {
        steps.fold(Self::default(), Add::add)
    }
}

/// The capacity of a vector that must hold `needed` elements and holds up to `capacity` now.
fn grown(capacity: usize, needed: usize) -> usize {
    if needed <= capacity { capacity } else { needed.next_power_of_two().max(LEAST_CAPACITY) }
}

/// What [`reserve`] would add.
pub(crate) fn growth_of<T>(vec: &Vec<T>, more: usize) -> Growth {
    growth_from::<T>(vec.capacity(), vec.len() + more)
}

/// What a vector of capacity `capacity` adds to hold `needed` elements.
pub(crate) fn growth_from<T>(capacity: usize, needed: usize) -> Growth {
    let bytes = |elements: usize| (elements * size_of::<T>()) as u64;
    let after = grown(capacity, needed);
    if after == capacity {
        return Growth::default();
    }
    let copied = if capacity == 0 { 0 } else { bytes(after / 2) };
    Growth { lasting_bytes: bytes(after - capacity), passing_bytes: copied }
}

/// Makes room for `more` elements.
pub(crate) fn reserve<T>(vec: &mut Vec<T>, more: usize) {
    let after = grown(vec.capacity(), vec.len() + more);
    if after > vec.capacity() {
        vec.reserve_exact(after - vec.len());
    }
}

/// Brings a reservation from what was foretold to the `bytes` that are really held.
pub(crate) fn settle(reservation: &mut Reservation, bytes: u64) {
    match bytes.checked_sub(reservation.held_bytes()) {
        Some(more) => reservation.grow(more),
        None => reservation.shrink(reservation.held_bytes() - bytes),
    }
}

/// The bytes that a vector holds.
pub(crate) fn bytes_of<T>(vec: &Vec<T>) -> u64 {
    (vec.capacity() * size_of::<T>()) as u64
}

#[cfg(test)]
mod tests {
    use super::{Growth, bytes_of, growth_of, reserve};

    #[test]
    fn what_is_foretold_is_what_happens() {
        let mut vec: Vec<u64> = Vec::new();
        for more in [0, 1, 63, 1, 1000, 1, 1064] {
            let (before, foretold) = (bytes_of(&vec), growth_of(&vec, more));
            reserve(&mut vec, more);
            assert_eq!(bytes_of(&vec), before + foretold.lasting_bytes);
            assert!(foretold == Growth::default() || foretold.passing_bytes >= before);
            vec.resize(vec.len() + more, 0);
        }
    }
}
