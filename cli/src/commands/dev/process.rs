//! Processes that are no children of ours: who they are, and signals to them.
//!
//! A process number is given to another process some time after its end; together with the time of
//! its start it names one process only.

use std::path::Path;

use minispark_engine::disk::Disk;
use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process},
};

use crate::host;

/// When the process started, in ticks since the machine did; `None` where it has ended.
pub(super) fn start_ticks(disk: &dyn Disk, pid: u32) -> Option<u64> {
    let stat = host::small_file(disk, Path::new(&format!("/proc/{pid}/stat")))?;
    parse_start_ticks(&stat)
}

/// Reads `/proc/<pid>/stat`: field 3 is the state, field 22 the start (proc(5)). The program's name,
/// field 2, may have blanks and brackets in it. One that only waits to be reaped has ended.
fn parse_start_ticks(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Sends the signal; one that has ended needs none.
///
/// # Errors
/// Where the process is another user's.
pub(super) fn signal(pid: u32, signal: Signal) -> Result<(), Errno> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Err(Errno::SRCH);
    };
    match kill_process(pid, signal) {
        Err(Errno::SRCH) => Ok(()),
        sent => sent,
    }
}

#[cfg(test)]
mod tests {
    use minispark_engine::disk::RealDisk;

    use super::{parse_start_ticks, start_ticks};

    const TAIL: &str = "1 7 7 0 -1 4194560 1 0 0 0 3 4 0 0 20 0 1 0 998877 1 2 3";

    #[test]
    fn the_start_is_behind_any_name() {
        assert_eq!(parse_start_ticks(&format!("7 (minispark) S {TAIL}\n")), Some(998_877));
        assert_eq!(parse_start_ticks(&format!("7 (a b) (c) S {TAIL}\n")), Some(998_877));
        assert_eq!(parse_start_ticks("7 (minispark) S 1 7"), None);
    }

    #[test]
    fn one_that_waits_to_be_reaped_has_ended() {
        assert_eq!(parse_start_ticks(&format!("7 (minispark) Z {TAIL}\n")), None);
    }

    #[test]
    fn this_process_has_a_start() {
        assert!(start_ticks(&RealDisk, std::process::id()).is_some());
        assert_eq!(start_ticks(&RealDisk, u32::MAX), None);
    }
}
