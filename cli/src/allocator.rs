//! The allocator, and how soon it gives memory back.
//!
//! The budget bounds what is in use. What has been freed and is kept for later comes on top, so an
//! allocator that keeps it long would break the bound on resident memory.

use std::ffi::c_int;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc's `mi_option_t`, whose numbers the binding has no names for.
const PURGE_DELAY: c_int = 15;

/// How long freed pages are kept, in milliseconds. The default of a second keeps 50 MiB more in a
/// run of 32 MiB.
const PURGE_DELAY_MS: i64 = 1;

/// The same in a process whose budget is large. A batch's buffers are free for a few milliseconds
/// before the next batch asks for as many: given back between the two, they cost a page fault for
/// every 4 KiB, which was half of the time of a scan. In 100 ms some 10 to 40 MiB are kept.
const LONG_PURGE_DELAY_MS: i64 = 100;

/// From so many bytes on a budget is large: a quarter of it may be resident on top.
const LARGE_BUDGET_BYTES: u64 = 512 << 20;

/// The same where the budget is larger still, and memory that goes back is cleared anew by huge pages:
/// TPC-H at scale factor 1 took 13 % less time than with 100 ms, and a word count had 20 MiB more.
const LONGEST_PURGE_DELAY_MS: i64 = 1000;

/// From so many bytes on a budget leaves room for huge pages, which are resident as a whole as soon as
/// a byte of them is used. Where a miss of the page table is dear, as in a virtual machine, they made
/// group-bys and joins of ten million rows 10 to 40 % faster, and a word count's peak 20 MiB larger.
const HUGE_BUDGET_BYTES: u64 = 4 << 30;

/// `mi_option_allow_large_os_pages`: asks for them.
const HUGE_PAGES: c_int = 6;

/// Lets go of freed memory soon. Called once, before any other thread runs.
pub(crate) fn set_up() {
    set(PURGE_DELAY, PURGE_DELAY_MS);
    // With many threads huge pages alone are more than a small budget. A kernel that can't turn them
    // off is as good.
    rustix::thread::disable_transparent_huge_pages(true).unwrap_or_default();
}

/// Keeps freed memory as long as a budget allows, in pages as large as it allows. Called once that is
/// known.
pub(crate) fn suit(budget_bytes: u64) {
    if budget_bytes >= LARGE_BUDGET_BYTES {
        set(PURGE_DELAY, LONG_PURGE_DELAY_MS);
    }
    if budget_bytes >= HUGE_BUDGET_BYTES {
        rustix::thread::disable_transparent_huge_pages(false).unwrap_or_default();
        set(HUGE_PAGES, 1);
        set(PURGE_DELAY, LONGEST_PURGE_DELAY_MS);
    }
}

fn set(option: c_int, value: i64) {
    #[expect(unsafe_code, reason = "the option has no safe binding")]
    // SAFETY: it stores a number into mimalloc's own table; the index is one of the table's. Threads
    // that allocate meanwhile read the one number or the other.
    unsafe {
        libmimalloc_sys::mi_option_set(option, value);
    }
}
