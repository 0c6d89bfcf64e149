//! Documents about how a cluster works: figures of jobs, stages, attempts, workers; metrics.

use minispark_engine::schedule::WorkerView;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Ordered, WorkerState};

/// Figures of a job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobMetrics {
    /// When its first task started: RFC 3339 with offset.
    pub started_at: Option<String>,
    /// When it ended.
    pub ended_at: Option<String>,
    /// Attempts started, failed ones included.
    pub attempts: u64,
    /// How long its accepted attempts ran.
    pub task_secs: TaskSeconds,
    /// Rows read a second, from its first task to its end or until now.
    pub rows_per_sec: f64,
    /// Bytes read a second.
    pub bytes_per_sec: f64,
    /// Rows of each node, in the plan's order.
    #[schema(value_type = BTreeMap<String, NodeRows>)]
    pub nodes: Ordered<NodeRows>,
}

/// Rows of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeRows {
    /// Rows in; of a reader: records decoded, bad ones too.
    pub rows_in: u64,
    /// Rows out.
    pub rows_out: u64,
    /// Rows that a condition left out.
    #[serde(default)]
    pub filtered: u64,
    /// Bad rows, put aside or skipped.
    #[serde(default)]
    pub quarantined: u64,
}

impl NodeRows {
    /// Those that were counted.
    pub(crate) fn of(counted: &minispark_engine::task::NodeRows) -> Self {
        let minispark_engine::task::NodeRows { rows_in, rows_out, filtered, quarantined, .. } =
            *counted;
        Self { rows_in, rows_out, filtered, quarantined }
    }
}

/// Figures of a stage, from the outputs that count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StageMetrics {
    /// When its first attempt started: RFC 3339 with offset.
    pub started_at: Option<String>,
    /// When its last output was accepted.
    pub ended_at: Option<String>,
    /// Attempts started, failed ones included.
    pub attempts: u64,
    /// Attempts that run now.
    pub running: u32,
    /// How long its accepted attempts ran.
    pub task_secs: TaskSeconds,
    /// Bytes read from inputs.
    pub read_bytes: u64,
    /// Bytes put into an exchange.
    pub shuffled_bytes: u64,
    /// Bytes spilled.
    pub spilled_bytes: u64,
    /// Bytes of results.
    pub written_bytes: u64,
    /// Rows of each of its nodes.
    #[schema(value_type = BTreeMap<String, NodeRows>)]
    pub nodes: Ordered<NodeRows>,
    /// Rows dropped by filters.
    pub rows_filtered: u64,
}

/// How long tasks ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskSeconds {
    /// All together.
    pub total: f64,
    /// The longest.
    pub max: f64,
    /// On average.
    pub mean: f64,
    /// The longest by the mean: 1 where all are alike, 0 where there are none.
    pub skew: f64,
}

/// An attempt at a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// The stage.
    pub stage: u32,
    /// The partition.
    pub partition: u32,
    /// The attempt, `<term>.<n>`.
    pub attempt: String,
    /// Who runs or ran it.
    pub worker: String,
    /// Its state.
    pub state: AttemptState,
    /// When it was assigned: RFC 3339 with offset.
    pub started_at: String,
    /// When its end was reported.
    pub ended_at: Option<String>,
    /// From the one to the other, or until now, in seconds.
    pub duration_secs: f64,
    /// Rows that left it; while it runs, rows read.
    pub rows: u64,
    /// Bytes that left it.
    pub bytes: u64,
    /// Bytes read from its split.
    pub read_bytes: u64,
    /// Bytes spilled.
    pub spilled_bytes: u64,
    /// Why it failed, from the closed list of codes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// The state of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AttemptState {
    /// It was assigned.
    Running,
    /// Its output was accepted.
    Completed,
    /// It failed.
    Failed,
    /// It went with its worker.
    Lost,
    /// Nobody wanted it any more.
    Cancelled,
}

impl AttemptState {
    /// As it is written on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Lost => "LOST",
            Self::Cancelled => "CANCELLED",
        }
    }
}

/// Figures of a worker since the master's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkerMetrics {
    /// Use of all the machine's processors, 100 when all are busy.
    pub host_cpu_percent: f32,
    /// Memory of the machine, or of its container.
    pub host_memory_bytes: u64,
    /// What of it is in use.
    pub host_memory_used_bytes: u64,
    /// Processor time of its process.
    pub cpu_seconds: f64,
    /// How long attempts that succeeded ran on it.
    pub latency_secs: LatencySeconds,
    /// Attempts beyond a task's first that it was given.
    pub retries: u64,
    /// Rows read from inputs.
    pub rows_in: u64,
    /// Rows that left its tasks.
    pub rows_out: u64,
    /// Bytes read from inputs.
    pub read_bytes: u64,
    /// Bytes put into exchanges.
    pub shuffled_bytes: u64,
    /// Bytes spilled.
    pub spilled_bytes: u64,
    /// Bytes of results that left its tasks.
    pub result_bytes: u64,
}

/// A mean and quantiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LatencySeconds {
    /// How many.
    pub count: u64,
    /// On average.
    pub mean: f64,
    /// Half of them do not exceed it.
    pub p50: f64,
    /// 95 of 100 do not exceed it.
    pub p95: f64,
    /// 99 of 100 do not exceed it.
    pub p99: f64,
}

/// What `GET /cluster` says: everything in a few numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Cluster {
    /// The version of the build.
    pub version: String,
    /// The life of the master.
    pub term: u64,
    /// Since the master's start, in seconds.
    pub uptime_secs: f64,
    /// Jobs that are remembered, by state.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub jobs: Ordered<u64>,
    /// Workers by state.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub workers: Ordered<u64>,
    /// Slots of the workers that are up.
    pub slots: u64,
    /// Tasks that they run.
    pub tasks_running: u64,
    /// Jobs of which no task has started.
    pub queue_depth: u64,
    /// Memory budgets of the master and of the workers that are up.
    pub budget_bytes: u64,
    /// What of them is reserved.
    pub reserved_bytes: u64,
    /// Outputs that workers hold on disk.
    pub store_disk_bytes: u64,
    /// The master's own process.
    pub master: crate::meter::Usage,
}

/// What `GET /metrics` says, as JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Metrics {
    /// All families that have a sample.
    pub metrics: Vec<MetricFamily>,
}

/// The series of one name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MetricFamily {
    /// The name.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it counts.
    pub help: String,
    /// A sample for each set of labels.
    pub samples: Vec<MetricSample>,
}

/// One series at this moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MetricSample {
    /// Its labels.
    #[schema(value_type = BTreeMap<String, String>)]
    pub labels: Ordered<String>,
    /// The number of a counter or gauge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// How many a histogram has seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Their sum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sum: Option<f64>,
    /// How many of them were not above each bound.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<MetricBucket>,
}

/// A bucket of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MetricBucket {
    /// The upper bound.
    pub le: f64,
    /// How many were not above it.
    pub count: u64,
}

impl WorkerState {
    /// A worker's state.
    pub(crate) fn of(view: &WorkerView) -> Self {
        match (view.is_up, view.is_draining, view.is_excluded) {
            (false, ..) => Self::Down,
            (true, true, _) => Self::Draining,
            (true, false, true) => Self::Excluded,
            (true, false, false) => Self::Up,
        }
    }
}
