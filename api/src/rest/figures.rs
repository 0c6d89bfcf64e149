//! Figures of jobs, stages and workers, from accepted outputs and from what was seen of attempts.

use std::time::Duration;

use chrono::{DateTime, Local};
use minispark_engine::{
    plan::{Op, Output, Stage},
    schedule::{
        JobView, Now,
        ledger::{StageLedger, Totals},
    },
    task::NodeRows,
};

use super::wire;
use crate::{
    master::{
        cluster::JobRecord,
        observe::{JobTrace, Tally},
    },
    protocol::Load,
};

/// The figures of a job.
pub(crate) fn of_job(
    view: &JobView,
    record: &JobRecord,
    trace: Option<&JobTrace>,
    now: Now,
) -> wire::JobMetrics {
    let started = trace.and_then(|trace| trace.started);
    let ran = started.map(|started| view.ended.unwrap_or(now).saturating_sub(started));
    let rows = wire::NodeRows::of;
    let nodes = view.plan.nodes.iter().zip(&view.rows);
    let ended = view.ended.map(|_| record.saved.submitted_at + view.elapsed(now));
    wire::JobMetrics {
        started_at: started.map(|at| time(view, record, at)),
        ended_at: ended.map(rfc3339),
        attempts: record.stages().map(|(_, ledger)| u64::from(ledger.attempts)).sum(),
        task_secs: task_secs(record.stages().map(|(_, ledger)| &ledger.totals)),
        rows_per_sec: rate(rows_read(view), ran),
        bytes_per_sec: rate(read_bytes(record), ran),
        nodes: nodes.map(|(node, counted)| (node.id.clone(), rows(counted))).collect(),
    }
}

/// Bytes read from inputs by accepted attempts.
pub(crate) fn read_bytes(record: &JobRecord) -> u64 {
    record.stages().map(|(_, ledger)| ledger.totals.read_bytes).sum()
}

fn rows_read(view: &JobView) -> u64 {
    let is_reader = |rows: &&NodeRows| {
        view.plan.nodes.get(rows.node.index()).is_some_and(|node| matches!(node.op, Op::Read(_)))
    };
    view.rows.iter().filter(is_reader).map(|rows| rows.rows_in).sum()
}

/// The figures of a stage.
pub(crate) fn of_stage(
    view: &JobView,
    record: &JobRecord,
    stage: &Stage,
    ledger: &StageLedger,
    trace: Option<&JobTrace>,
) -> wire::StageMetrics {
    let totals = &ledger.totals;
    let is_sink = matches!(stage.output, Output::Sink(_));
    let mut metrics = wire::StageMetrics {
        attempts: u64::from(ledger.attempts),
        running: u32::try_from(ledger.running.len()).unwrap_or(u32::MAX),
        task_secs: task_secs([totals].into_iter()),
        read_bytes: totals.read_bytes,
        shuffled_bytes: if is_sink { 0 } else { totals.bytes },
        spilled_bytes: totals.spilled_bytes,
        written_bytes: if is_sink { totals.bytes } else { 0 },
        ..wire::StageMetrics::default()
    };
    if let Some(seen) = trace.and_then(|trace| trace.stages.get(stage.id.index())) {
        metrics.started_at = seen.started.map(|at| time(view, record, at));
        let ended = seen.ended.filter(|_| totals.tasks >= stage.partitions);
        metrics.ended_at = ended.map(|at| time(view, record, at));
    }
    for index in stage.nodes() {
        let Some(node) = view.plan.nodes.get(index.index()) else { continue };
        let counted = totals.nodes.iter().find(|counted| counted.node == index);
        let rows = counted.map(wire::NodeRows::of).unwrap_or_default();
        metrics.rows_filtered += match node.op {
            Op::Sample { .. } => rows.rows_in.saturating_sub(rows.rows_out),
            _ => rows.filtered,
        };
        metrics.nodes.0.push((node.id.clone(), rows));
    }
    metrics
}

/// The figures of a worker.
pub(crate) fn of_worker(load: &Load, tally: Option<&Tally>) -> wire::WorkerMetrics {
    let usage = load.usage;
    let mut metrics = wire::WorkerMetrics {
        host_cpu_percent: usage.host_cpu_percent,
        host_memory_bytes: usage.host_memory_bytes,
        host_memory_used_bytes: usage.host_memory_used_bytes,
        cpu_seconds: usage.cpu_seconds,
        ..wire::WorkerMetrics::default()
    };
    if let Some(tally) = tally {
        metrics.latency_secs = wire::LatencySeconds {
            count: tally.latency.count(),
            mean: tally.latency.mean_secs(),
            p50: tally.latency.quantile_secs(50),
            p95: tally.latency.quantile_secs(95),
            p99: tally.latency.quantile_secs(99),
        };
        metrics.retries = tally.retries;
        metrics.rows_in = tally.rows_in;
        metrics.rows_out = tally.rows_out;
        metrics.read_bytes = tally.read_bytes;
        metrics.shuffled_bytes = tally.shuffled_bytes;
        metrics.spilled_bytes = tally.spilled_bytes;
        metrics.result_bytes = tally.result_bytes;
    }
    metrics
}

/// A moment of this master's life on the wall's clock. What was submitted to an earlier one was
/// taken up `earlier` after that.
pub(crate) fn time(view: &JobView, record: &JobRecord, at: Now) -> String {
    let since = view.earlier.saturating_add(at.saturating_sub(view.submitted));
    rfc3339(record.saved.submitted_at + since)
}

fn rfc3339(time: DateTime<Local>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Millis, false)
}

fn task_secs<'a>(all: impl Iterator<Item = &'a Totals>) -> wire::TaskSeconds {
    let (mut count, mut total, mut max) = (0_u32, Duration::ZERO, Duration::ZERO);
    for totals in all {
        count += totals.tasks;
        total += Duration::from_millis(totals.elapsed_ms);
        max = max.max(Duration::from_millis(totals.longest_ms));
    }
    let mean = total.checked_div(count).unwrap_or_default().as_secs_f64();
    let skew = match (count, mean > 0.0) {
        (0, _) => 0.0,
        (_, true) => max.as_secs_f64() / mean,
        (_, false) => 1.0,
    };
    wire::TaskSeconds { total: total.as_secs_f64(), max: max.as_secs_f64(), mean, skew }
}

#[expect(clippy::cast_precision_loss, reason = "a rate is for people to look at")]
fn rate(amount: u64, ran: Option<Duration>) -> f64 {
    match ran.map(|ran| ran.as_secs_f64()) {
        Some(seconds) if seconds > 0.0 => amount as f64 / seconds,
        Some(_) | None => 0.0,
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these numbers are exact")]
mod tests {
    use std::time::Duration;

    use minispark_engine::schedule::ledger::Totals;

    use super::{rate, task_secs};

    #[test]
    fn skew_is_the_longest_task_by_the_mean() {
        let totals = |tasks, elapsed_ms, longest_ms| Totals {
            tasks,
            elapsed_ms,
            longest_ms,
            ..Totals::default()
        };
        let secs = task_secs([totals(2, 2_000, 1_000), totals(1, 4_000, 4_000)].iter());
        assert_eq!((secs.total, secs.max, secs.mean, secs.skew), (6.0, 4.0, 2.0, 2.0));
        assert_eq!(task_secs([].iter()).skew, 0.0);
        assert_eq!(task_secs([totals(1, 0, 0)].iter()).skew, 1.0);
    }

    #[test]
    fn a_rate_needs_time() {
        assert_eq!(rate(10, Some(Duration::from_secs(2))), 5.0);
        assert_eq!((rate(10, Some(Duration::ZERO)), rate(10, None)), (0.0, 0.0));
    }
}
