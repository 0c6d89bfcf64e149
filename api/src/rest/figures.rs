//! Figures of jobs, stages and workers, from accepted outputs and from what was seen of attempts.

use std::time::Duration;

use minispark_engine::{
    plan::{NodeIndex, Op, Output, Plan},
    schedule::{JobView, Now},
    task::{NodeRows, TaskReport},
};

use super::wire;
use crate::{
    master::{
        cluster::{JobRecord, StageRecord},
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
    let reports = || record.stages.iter().flat_map(|stage| stage.done.values());
    let started = trace.and_then(|trace| trace.started);
    let ran = started.map(|started| view.ended.unwrap_or(now).saturating_sub(started));
    let rows = |rows: &NodeRows| wire::NodeRows { rows_in: rows.rows_in, rows_out: rows.rows_out };
    let nodes = view.plan.nodes.iter().zip(&view.rows);
    wire::JobMetrics {
        started_at: started.map(|at| time(view, record, at)),
        ended_at: view.ended.map(|at| time(view, record, at)),
        attempts: trace.map_or(0, JobTrace::attempts),
        task_secs: task_secs(reports()),
        rows_per_sec: rate(rows_read(&view.plan, reports()), ran),
        bytes_per_sec: rate(read_bytes(record), ran),
        nodes: nodes.map(|(node, counted)| (node.id.clone(), rows(counted))).collect(),
    }
}

/// Bytes read from inputs by accepted attempts.
pub(crate) fn read_bytes(record: &JobRecord) -> u64 {
    let reports = record.stages.iter().flat_map(|stage| stage.done.values());
    reports.map(|report| report.read_bytes).sum()
}

fn rows_read<'a>(plan: &Plan, reports: impl Iterator<Item = &'a TaskReport>) -> u64 {
    let is_reader = |rows: &&NodeRows| {
        plan.nodes.get(rows.node.index()).is_some_and(|node| matches!(node.op, Op::Read(_)))
    };
    reports.flat_map(|report| report.nodes.iter().filter(is_reader)).map(|rows| rows.rows_in).sum()
}

/// The figures of a stage.
pub(crate) fn of_stage(
    view: &JobView,
    record: &JobRecord,
    stage: &StageRecord,
    trace: Option<&JobTrace>,
) -> wire::StageMetrics {
    let seen = trace.and_then(|trace| trace.stages.get(stage.stage().id.index()));
    let sum = |of: fn(&TaskReport) -> u64| stage.done.values().map(of).sum::<u64>();
    let left = sum(|report| report.bytes);
    let is_sink = matches!(stage.stage().output, Output::Sink(_));
    let mut metrics = wire::StageMetrics {
        task_secs: task_secs(stage.done.values()),
        read_bytes: sum(|report| report.read_bytes),
        shuffled_bytes: if is_sink { 0 } else { left },
        spilled_bytes: sum(|report| report.spilled_bytes),
        written_bytes: if is_sink { left } else { 0 },
        ..wire::StageMetrics::default()
    };
    if let Some(seen) = seen {
        metrics.started_at = seen.started.map(|at| time(view, record, at));
        let is_over = stage.done.len() >= stage.stage().partitions as usize;
        let ended = seen.ended.filter(|_| is_over);
        metrics.ended_at = ended.map(|at| time(view, record, at));
        metrics.attempts = seen.attempts;
        metrics.running = seen.running;
    }
    for (counted, rows) in rows_of(stage) {
        let Some(node) = view.plan.nodes.get(counted.index()) else { continue };
        if let Op::Filter { .. } = node.op {
            metrics.rows_filtered += rows.rows_in.saturating_sub(rows.rows_out);
        }
        metrics.nodes.0.push((node.id.clone(), rows));
    }
    metrics
}

/// The rows of a stage's nodes, all tasks together. Stages have many tasks and few nodes, which
/// all tasks list alike, so each report is gone through once.
fn rows_of(stage: &StageRecord) -> Vec<(NodeIndex, wire::NodeRows)> {
    let mut sums: Vec<(NodeIndex, wire::NodeRows)> =
        stage.nodes.iter().map(|node| (*node, wire::NodeRows::default())).collect();
    for counted in stage.done.values().flat_map(|report| &report.nodes) {
        if let Some((_, sum)) = sums.iter_mut().find(|(node, _)| *node == counted.node) {
            sum.rows_in += counted.rows_in;
            sum.rows_out += counted.rows_out;
        }
    }
    sums
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

/// A moment on the wall's clock, as far from the job's submission as on ours.
pub(crate) fn time(view: &JobView, record: &JobRecord, at: Now) -> String {
    let since = at.saturating_sub(view.submitted);
    let time = record.submitted_at + since;
    time.to_rfc3339_opts(chrono::SecondsFormat::Millis, false)
}

fn task_secs<'a>(reports: impl Iterator<Item = &'a TaskReport>) -> wire::TaskSeconds {
    let (mut count, mut total, mut max) = (0_u32, Duration::ZERO, Duration::ZERO);
    for report in reports {
        let elapsed = Duration::from_millis(report.elapsed_ms);
        count += 1;
        total += elapsed;
        max = max.max(elapsed);
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

    use minispark_engine::task::TaskReport;

    use super::{rate, task_secs};

    #[test]
    fn skew_is_the_longest_task_by_the_mean() {
        let reports = [1_000, 1_000, 4_000]
            .map(|elapsed_ms| TaskReport { elapsed_ms, ..TaskReport::default() });
        let secs = task_secs(reports.iter());
        assert_eq!((secs.total, secs.max, secs.mean, secs.skew), (6.0, 4.0, 2.0, 2.0));
        assert_eq!(task_secs([].iter()).skew, 0.0);
        assert_eq!(task_secs([TaskReport::default()].iter()).skew, 1.0);
    }

    #[test]
    fn a_rate_needs_time() {
        assert_eq!(rate(10, Some(Duration::from_secs(2))), 5.0);
        assert_eq!((rate(10, Some(Duration::ZERO)), rate(10, None)), (0.0, 0.0));
    }
}
