//! The allocator, and how soon it gives memory back.
//!
//! The budget bounds what is in use. What has been freed and is kept for later comes on top, so an
//! allocator that keeps it long would break the bound on resident memory.

use std::ffi::c_int;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc's `mi_option_t`, which the binding has no name for.
const PURGE_DELAY: c_int = 15;

/// How long freed pages are kept, in milliseconds. The default of a second keeps 50 MiB more in a
/// run of 32 MiB; at 1 no run has been found that is measurably slower.
const PURGE_DELAY_MS: i64 = 1;

/// Lets go of freed memory soon. Called once, before any other thread runs.
pub(crate) fn set_up() {
    #[expect(unsafe_code, reason = "the option has no safe binding")]
    // SAFETY: it stores a number into mimalloc's own table; the index is one of the table's.
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_DELAY_MS);
    }
    // A huge page is resident as a whole as soon as a byte of it is used: with many threads that
    // alone is more than a small budget. A kernel that can't turn them off is as good.
    rustix::thread::disable_transparent_huge_pages(true).unwrap_or_default();
}
