//! [`prefetch`]: asks for memory some time before it is needed.
//!
//! A load that misses the caches stops a processor once its window of instructions is full, some ten
//! rows further; a prefetch leaves the window at once, so that many more misses are under way. In a
//! virtual machine, where a miss of the page table costs as much again, grouping by 300 thousand words
//! took 45 ns a row without and 18 ns with it.
//!
//! Source: S. Chen et al., "Improving hash join performance through prefetching", ICDE 2004 (group
//! prefetching).

/// What is no larger stays near anyway: half of a small second-level cache.
const NEAR_BYTES: usize = 128 << 10;

/// Rows whose memory is asked for together. 64 lines of a first-level cache, of which it has 512.
const GROUP: usize = 64;

/// Whether some of so many bytes lie far enough apart that asking for them early pays.
pub(crate) fn are_far(bytes: usize) -> bool {
    bytes > NEAR_BYTES
}

/// [`are_far`] of elements.
pub(crate) fn is_far<T>(values: &[T]) -> bool {
    are_far(size_of_val(values))
}

/// What processors load at once on most machines.
const LINE_BYTES: usize = 64;

/// Asks for the cache lines in which an element begins and ends; nothing happens where there is no such
/// element. Elements whose size divides a line's lie in one, as far as their memory begins with one;
/// of the 40 bytes of a float's sum half lie in two.
#[inline(always)]
#[expect(clippy::inline_always, reason = "a comparison and one instruction or two")]
pub(crate) fn prefetch<T>(values: &[T], index: usize) {
    let Some(element) = values.get(index) else { return };
    let pointer = std::ptr::from_ref(element);
    ask_for(pointer.cast());
    if size_of::<T>() > 1 && !LINE_BYTES.is_multiple_of(size_of::<T>()) {
        ask_for(pointer.wrapping_add(1).cast::<u8>().wrapping_sub(1));
    }
}

/// Asks for the cache line of an address.
#[inline]
fn ask_for(pointer: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        #[expect(unsafe_code, reason = "prefetching has no safe form")]
        // SAFETY: a prefetch reads nothing that the program sees and faults at no address.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(pointer.cast());
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        #[expect(unsafe_code, reason = "prefetching has no safe form")]
        // SAFETY: as above; the instruction changes no register and no flag.
        unsafe {
            std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) pointer, options(nostack, preserves_flags, readonly));
        }
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = pointer;
}

/// Asks for the elements of these indices, where they lie far apart.
#[inline]
pub(crate) fn prefetch_each<T>(values: &[T], indices: &[u32]) {
    if is_far(values) {
        for index in indices {
            prefetch(values, *index as usize);
        }
    }
}

/// Appends the values at some places.
///
/// # Panics
/// Where there is no value at a place; callers know theirs.
#[inline]
pub(crate) fn extend_from<T: Copy>(
    own: &mut Vec<T>,
    values: &[T],
    mut places: impl Iterator<Item = usize>,
) {
    if !is_far(values) {
        own.extend(places.map(|place| values[place]));
        return;
    }
    loop {
        let (mut group, mut count) = ([0; GROUP], 0);
        for (slot, place) in group.iter_mut().zip(&mut places) {
            prefetch(values, place);
            *slot = place;
            count += 1;
        }
        own.extend(group[..count].iter().map(|place| values[*place]));
        if count < GROUP {
            return;
        }
    }
}

/// Calls `each(place, state)` for the state of each index, in order; the next ones' are asked for
/// meanwhile.
///
/// # Panics
/// Where there is no state of an index; callers know theirs.
#[inline]
pub(crate) fn for_each_at<S>(
    states: &mut [S],
    indices: &[u32],
    mut each: impl FnMut(usize, &mut S),
) {
    if !is_far(states) {
        for (place, index) in indices.iter().enumerate() {
            each(place, &mut states[*index as usize]);
        }
        return;
    }
    prefetch_each(states, &indices[..GROUP.min(indices.len())]);
    let mut first = 0;
    while first < indices.len() {
        let end = indices.len().min(first + GROUP);
        for index in &indices[end..indices.len().min(end + GROUP)] {
            prefetch(states, *index as usize);
        }
        for (place, index) in (first..end).zip(&indices[first..end]) {
            each(place, &mut states[*index as usize]);
        }
        first = end;
    }
}

#[cfg(test)]
mod tests {
    use super::{NEAR_BYTES, extend_from, for_each_at, prefetch};

    #[test]
    fn every_index_has_its_state_once_and_in_order() {
        for len in [1, 10, NEAR_BYTES / 8 + 1] {
            for rows in [0, 1, 63, 64, 65, 128, 1000] {
                let all = 0..u32::try_from(len).unwrap();
                let indices: Vec<u32> = all.cycle().step_by(7).take(rows).collect();
                let mut expected = vec![0; len];
                for index in &indices {
                    expected[*index as usize] += 1;
                }
                let (mut states, mut places) = (vec![0_u64; len], Vec::new());
                for_each_at(&mut states, &indices, |place, state| {
                    places.push(place);
                    *state += 1;
                });
                assert_eq!(places, (0..rows).collect::<Vec<_>>());
                assert_eq!(states, expected);
            }
        }
    }

    #[test]
    fn values_come_in_the_order_of_their_places() {
        let values: Vec<u64> = (0..NEAR_BYTES as u64).collect();
        for count in [0, 1, 63, 64, 65, 200] {
            let places = || (0..values.len()).cycle().step_by(7919).take(count);
            let mut own = vec![7];
            extend_from(&mut own, &values, places());
            let expected = places().map(|place| place as u64);
            assert_eq!(own, [7].into_iter().chain(expected).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_does_not_exist_may_be_asked_for() {
        prefetch(&[1_u8], usize::MAX);
        prefetch::<u64>(&[], 0);
    }
}
