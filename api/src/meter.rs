//! How busy this process and its machine are, looked up at most once a second.

use std::time::Duration;

use minispark_engine::schedule::Now;
use serde::{Deserialize, Serialize};
use sysinfo::{
    CGroupLimits, CpuRefreshKind, MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate,
    RefreshKind, System,
};

/// How long a measurement is good for.
const FRESH: Duration = Duration::from_secs(1);

/// What was measured; 0 where the system does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Usage {
    /// Use of the processor by the process, 100 a core.
    pub cpu_percent: f32,
    /// Processor time that the process has used in its life.
    pub cpu_seconds: f64,
    /// Resident memory of the process.
    pub rss_bytes: u64,
    /// Use of all the machine's processors, 100 when all are busy.
    pub host_cpu_percent: f32,
    /// Memory that the process may use: the machine's, or its container's where that is less.
    pub host_memory_bytes: u64,
    /// What of that memory is in use.
    pub host_memory_used_bytes: u64,
}

/// Measures this process.
pub(crate) struct Meter {
    system: Option<System>,
    pid: Pid,
    measured: Option<Now>,
    last: Usage,
}

impl Meter {
    /// One that has measured nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            system: System::new_with_specifics(RefreshKind::nothing()).ok(),
            pid: Pid::from_u32(std::process::id()),
            measured: None,
            last: Usage::default(),
        }
    }

    /// The last measurement, or a new one where that is a second old.
    pub(crate) fn measure(&mut self, now: Now) -> Usage {
        let is_fresh = self.measured.is_some_and(|at| now.saturating_sub(at) < FRESH);
        if let Some(system) = self.system.as_mut().filter(|_| !is_fresh) {
            self.measured = Some(now);
            self.last = look(system, self.pid);
        }
        self.last
    }
}

fn look(system: &mut System, pid: Pid) -> Usage {
    let kind = ProcessRefreshKind::nothing().with_cpu().with_memory();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, kind);
    system.refresh_cpu_specifics(CpuRefreshKind::nothing().with_usage());
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    let mut usage = Usage {
        host_cpu_percent: system.global_cpu_usage(),
        host_memory_bytes: system.total_memory(),
        host_memory_used_bytes: system.used_memory(),
        ..Usage::default()
    };
    // In a container the machine's own figures would be somebody else's; cgroups of both versions
    // are looked at, the process's own and the one at the root of what it sees.
    let process = system.process(pid);
    let own = process.and_then(sysinfo::Process::cgroup_limits);
    for limit in own.into_iter().chain(system.cgroup_limits()) {
        narrow(&mut usage, &limit);
    }
    if let Some(process) = process {
        usage.cpu_percent = process.cpu_usage();
        usage.cpu_seconds = Duration::from_millis(process.accumulated_cpu_time()).as_secs_f64();
        usage.rss_bytes = process.memory();
    }
    usage
}

/// Takes a container's limit for the memory, where it is one.
fn narrow(usage: &mut Usage, limit: &CGroupLimits) {
    if limit.total_memory > 0 && limit.total_memory < usage.host_memory_bytes {
        usage.host_memory_bytes = limit.total_memory;
        usage.host_memory_used_bytes = limit.total_memory.saturating_sub(limit.free_memory);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sysinfo::CGroupLimits;

    use super::{Meter, Usage, narrow};

    #[test]
    fn a_process_has_resident_memory_and_a_machine_around_it() {
        let mut meter = Meter::new();
        let usage = meter.measure(Duration::ZERO);
        assert!(usage.rss_bytes > 1 << 20, "{usage:?}");
        assert!(usage.host_memory_bytes > usage.rss_bytes, "{usage:?}");
        assert!(usage.host_memory_used_bytes <= usage.host_memory_bytes, "{usage:?}");
        assert_eq!(meter.measure(Duration::from_millis(999)), usage);
    }

    #[test]
    fn a_container_with_less_memory_counts_for_the_machine() {
        let host =
            Usage { host_memory_bytes: 1_000, host_memory_used_bytes: 900, ..Usage::default() };
        let limit = |total_memory, free_memory| CGroupLimits {
            total_memory,
            free_memory,
            free_swap: 0,
            rss: 0,
        };
        let mut usage = host;
        narrow(&mut usage, &limit(0, 0));
        narrow(&mut usage, &limit(u64::MAX, u64::MAX));
        assert_eq!(usage, host, "no limit");
        narrow(&mut usage, &limit(100, 30));
        assert_eq!((usage.host_memory_bytes, usage.host_memory_used_bytes), (100, 70));
    }
}
