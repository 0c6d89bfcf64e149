//! How busy this process is: processor and memory, looked up at most once a second.

use std::time::Duration;

use minispark_engine::schedule::Now;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, RefreshKind, System};

/// How long a measurement is good for.
const FRESH: Duration = Duration::from_secs(1);

/// Measures this process.
pub(crate) struct Meter {
    system: Option<System>,
    pid: Pid,
    measured: Option<Now>,
    last: (f32, u64),
}

impl Meter {
    /// One that has measured nothing yet; where the system tells nothing, all is 0.
    pub(crate) fn new() -> Self {
        Self {
            system: System::new_with_specifics(RefreshKind::nothing()).ok(),
            pid: Pid::from_u32(std::process::id()),
            measured: None,
            last: (0.0, 0),
        }
    }

    /// Use of the processor (100 a core) and resident bytes.
    pub(crate) fn measure(&mut self, now: Now) -> (f32, u64) {
        let is_fresh = self.measured.is_some_and(|at| now.saturating_sub(at) < FRESH);
        if let Some(system) = self.system.as_mut().filter(|_| !is_fresh) {
            self.measured = Some(now);
            let kind = ProcessRefreshKind::nothing().with_cpu().with_memory();
            system.refresh_processes_specifics(ProcessesToUpdate::Some(&[self.pid]), false, kind);
            if let Some(process) = system.process(self.pid) {
                self.last = (process.cpu_usage(), process.memory());
            }
        }
        self.last
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Meter;

    #[test]
    fn a_process_has_resident_memory() {
        let mut meter = Meter::new();
        let (_, rss_bytes) = meter.measure(Duration::ZERO);
        assert!(rss_bytes > 1 << 20, "{rss_bytes}");
        assert_eq!(meter.measure(Duration::from_millis(999)).1, rss_bytes);
    }
}
