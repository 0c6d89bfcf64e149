//! The allocator, and how soon it gives memory back.
//!
//! The budget bounds what is in use. What has been freed and is kept for later comes on top, so an
//! allocator that keeps it long would break the bound on resident memory; one that gives it back at
//! once has every batch's buffers cleared anew by the kernel. So it is kept for a while, and a guard
//! looks at the resident memory, and has all of it given back where that comes near the bound.

use std::{
    ffi::c_int,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    thread,
    time::Duration,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc's `mi_option_t`, whose numbers the binding has no names for.
const PURGE_DELAY: c_int = 15;

/// How long freed pages are kept where nothing guards the bound, in milliseconds. The default of a
/// second keeps 50 MiB more in a run of 32 MiB.
const PURGE_DELAY_MS: i64 = 1;

/// The same where the guard does. A batch's buffers are free for a few milliseconds before the next
/// batch asks for as many: given back between the two, they cost a page fault for every 4 KiB, which
/// was half of the time of a scan, and a third of that of a group-by in 256 MB.
const LONG_PURGE_DELAY_MS: i64 = 100;

/// The same of a large budget: TPC-H at scale factor 1 took 13 % less time than with 100 ms, and a word
/// count had 20 MiB more.
const LONGEST_PURGE_DELAY_MS: i64 = 1000;

/// From so many bytes on a budget is large: it leaves room for huge pages, which are resident as a whole
/// as soon as a byte of them is used. Where a miss of the page table is dear, as in a virtual machine,
/// they made group-bys and joins of ten million rows 10 to 40 % faster, and a word count's peak 20 MiB
/// larger.
const LARGE_BUDGET_BYTES: u64 = 4 << 30;

/// The least order of free blocks that the kernel tells a host of, which takes their memory away: a
/// number beyond all orders where there is no such host. A huge page is such a block, and is had back
/// from the host page by page: a join of 1.2 GB took 1.5 s instead of 0.45 s with small pages, which
/// mostly come from blocks that the host has left alone, and 0.26 s with huge ones that it had.
const REPORTED_ORDER: &str = "/sys/module/page_reporting/parameters/page_reporting_order";
const MOST_ORDER: u32 = 63;

/// `mi_option_allow_large_os_pages`: asks for them.
const HUGE_PAGES: c_int = 6;

/// Where resident memory is so far above the budget, what is free goes back. A process that does
/// nothing has about 26 MiB, and the bound is at 64.
const SLACK_BYTES: u64 = 40 << 20;

/// No process gets more memory than this in a second: how long the guard may look away.
const MOST_BYTES_A_SECOND: u64 = 4 << 30;
const SHORTEST_LOOK: Duration = Duration::from_millis(2);
const LONGEST_LOOK: Duration = Duration::from_secs(1);

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
    let is_large = budget_bytes >= LARGE_BUDGET_BYTES;
    if is_large && !is_taken_by_host() {
        rustix::thread::disable_transparent_huge_pages(false).unwrap_or_default();
        set(HUGE_PAGES, 1);
    }
    if guard(budget_bytes.saturating_add(SLACK_BYTES)).is_ok() {
        set(PURGE_DELAY, if is_large { LONGEST_PURGE_DELAY_MS } else { LONG_PURGE_DELAY_MS });
    }
}

/// Whether a host takes free memory away.
fn is_taken_by_host() -> bool {
    let order = fs::read_to_string(REPORTED_ORDER).unwrap_or_default();
    order.trim().parse().is_ok_and(|order: u32| order <= MOST_ORDER)
}

/// Starts to look after the resident memory for the life of the process. It also mends that mimalloc
/// 3.3.2 may miss to give anything back any more: a page that is freed while another thread ends a
/// round of giving back sets an arena's time, but not the one that is looked at.
///
/// # Errors
/// Where the system does not tell how much memory is resident, or gives no thread.
fn guard(most_bytes: u64) -> io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "what the kernel tells is on no disk")]
    let statistics = File::open("/proc/self/statm")?;
    resident_bytes(&statistics)?;
    let look = move || {
        while let Ok(resident) = resident_bytes(&statistics) {
            if resident > most_bytes {
                collect();
            }
            let until_then = most_bytes.saturating_sub(resident).saturating_mul(1000);
            let pause = Duration::from_millis(until_then / MOST_BYTES_A_SECOND);
            thread::sleep(pause.clamp(SHORTEST_LOOK, LONGEST_LOOK));
        }
    };
    thread::Builder::new().name(String::from("memory guard")).spawn(look).map(drop)
}

/// What of this process is in memory.
fn resident_bytes(statistics: &File) -> io::Result<u64> {
    let mut text = [0; 128];
    let length = statistics.read_at(&mut text, 0)?;
    let mut pages = text[..length].split(|byte| *byte == b' ').skip(1);
    let pages = pages.next().and_then(|pages| str::from_utf8(pages).ok()?.parse::<u64>().ok());
    let pages = pages.ok_or(io::ErrorKind::InvalidData)?;
    Ok(pages.saturating_mul(rustix::param::page_size() as u64))
}

/// Gives back all that is free.
fn collect() {
    #[expect(unsafe_code, reason = "it has no safe binding")]
    // SAFETY: any thread may call it at any time.
    unsafe {
        libmimalloc_sys::mi_collect(true);
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
