//! The documents of the REST interface, shared with clients: what is on the wire, and no more.
//!
//! No engine type is serialised, so that the engine may change without a client noticing; but for a
//! plan's [`Explanation`], which is made to be read. Maps keep the order of the job's nodes
//! ([`Ordered`]).

use std::{fmt, marker::PhantomData};

use minispark_engine::{
    expr::parse::type_name,
    formats::WriteFormat,
    plan::explain::Explanation,
    sink::commit::{Published, PublishedFile},
};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
    ser::SerializeMap,
};
use utoipa::ToSchema;

mod observe;

pub use observe::{
    Attempt, AttemptState, Cluster, JobMetrics, LatencySeconds, MetricBucket, MetricFamily,
    MetricSample, Metrics, NodeRows, StageMetrics, TaskSeconds, WorkerMetrics,
};

/// A JSON object whose keys keep the order in which they were put in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ordered<V>(pub Vec<(String, V)>);

impl<V> Default for Ordered<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V> Ordered<V> {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&V> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// Keys and values, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl<V> FromIterator<(String, V)> for Ordered<V> {
    fn from_iter<I: IntoIterator<Item = (String, V)>>(items: I) -> Self {
        Self(items.into_iter().collect())
    }
}

impl<V: Serialize> Serialize for Ordered<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Ordered<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for InOrder<V> {
            type Value = Ordered<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = map.next_entry()? {
                    items.push(item);
                }
                Ok(Ordered(items))
            }
        }
        deserializer.deserialize_map(InOrder(PhantomData))
    }
}

/// The state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobState {
    /// It will run.
    Accepted,
    /// A task has been started.
    Running,
    /// All results are in place.
    Completed,
    /// It ended with an error.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

impl JobState {
    /// Whether it stays so for ever.
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// As it is written on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "ACCEPTED",
            Self::Running => "RUNNING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The state of a node, or of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum NodeState {
    /// Nothing of it has started.
    Pending,
    /// Some of it has started.
    Running,
    /// It is done.
    Completed,
    /// It made the job fail.
    Failed,
    /// The job ended before it was completed.
    Cancelled,
}

impl NodeState {
    /// As it is written on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The answer to a submission.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Submitted {
    /// The new job.
    pub job_id: String,
    /// Always `ACCEPTED`.
    pub status: JobState,
    /// What was strange in the document and did not stop it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Finding>,
}

/// A job that was checked and planned, and not started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DryRun {
    /// Always true: there is no job.
    pub dry_run: bool,
    /// What would be done, as `minispark explain --format json` prints it.
    #[schema(value_type = Object)]
    pub plan: Explanation,
    /// What is strange about the document.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Finding>,
}

/// One thing found in a job document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// Where in the document, as a JSON pointer.
    pub pointer: String,
    /// What kind, from a closed list.
    pub code: String,
    /// What is wrong and what was expected.
    pub message: String,
    /// What was probably meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

/// A job as `GET /jobs/{id}` shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// Its identity.
    pub id: String,
    /// Its name in the document.
    pub name: String,
    /// Its state.
    pub status: JobState,
    /// When it was submitted: RFC 3339 with offset.
    pub submitted_at: String,
    /// From submission to its end, or until now, in seconds.
    pub duration_secs: f64,
    /// 0 to 100; never falls; 100 exactly when completed.
    pub progress_percent: f64,
    /// The state of each node, in the plan's order.
    #[schema(value_type = BTreeMap<String, NodeState>)]
    pub node_status: Ordered<NodeState>,
    /// Failed attempts, those of lost workers included.
    pub failure_count: u32,
    /// What it waits for, where it can't go on.
    pub waiting_for: Option<String>,
    /// Why it failed.
    pub error: Option<JobFailure>,
    /// The life of the master that runs it.
    pub term: u64,
    /// Rows so far.
    pub rows: Rows,
    /// Bytes so far.
    pub bytes: Bytes,
    /// Its stages, each behind those it reads.
    pub stages: Vec<Stage>,
    /// Its figures.
    #[serde(default)]
    pub metrics: JobMetrics,
}

/// A job in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobSummary {
    /// Its identity.
    pub id: String,
    /// Its name in the document.
    pub name: String,
    /// Its state.
    pub status: JobState,
    /// When it was submitted: RFC 3339 with offset.
    pub submitted_at: String,
    /// From submission to its end, or until now, in seconds.
    pub duration_secs: f64,
    /// 0 to 100; never falls; 100 exactly when completed.
    pub progress_percent: f64,
    /// Failed attempts, those of lost workers included.
    pub failure_count: u32,
}

/// Why and where a job failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobFailure {
    /// From the closed list of codes.
    pub code: String,
    /// The error and its causes, in one line.
    pub message: String,
    /// Where it happened.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

/// Where something happened; only what applies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Place {
    /// The job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// The nodes that the stage works for, joined by `, `.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<u32>,
    /// The partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<u32>,
    /// The attempt, `<term>.<n>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<String>,
    /// The worker's identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
}

/// Rows of a job; none is dropped in silence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rows {
    /// Decoded by readers.
    #[serde(rename = "in")]
    pub input: u64,
    /// Given to sinks.
    #[serde(rename = "out")]
    pub output: u64,
    /// Dropped by filters, as the job says.
    pub filtered: u64,
    /// Bad rows, put aside or skipped.
    pub quarantined: u64,
}

/// Bytes of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Bytes {
    /// Read from inputs.
    #[serde(default)]
    pub read: u64,
    /// Put into exchanges.
    pub shuffled: u64,
    /// Spilled to disk.
    pub spilled: u64,
    /// Written to results.
    pub written: u64,
}

/// A stage of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Stage {
    /// Its number.
    pub id: u32,
    /// The nodes that it works for.
    pub nodes: Vec<String>,
    /// The stages that it reads.
    pub inputs: Vec<u32>,
    /// Its state; not `status`, which scripts search the whole answer for.
    pub state: NodeState,
    /// Tasks in all.
    pub tasks: u32,
    /// Tasks whose output counts.
    pub tasks_done: u32,
    /// Attempts that were started.
    #[serde(default)]
    pub attempts: u32,
    /// Attempts that failed or went with their worker.
    pub failed_attempts: u32,
    /// Rows that left its tasks.
    pub rows: u64,
    /// Bytes that left its tasks.
    pub bytes: u64,
    /// Bytes spilled by its tasks.
    pub spilled: u64,
    /// Its figures.
    #[serde(default)]
    pub metrics: StageMetrics,
}

/// The results of a completed job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Results {
    /// The job.
    pub job_id: String,
    /// Where each sink is: a file, or a writer's folder.
    #[schema(value_type = BTreeMap<String, String>)]
    pub outputs: Ordered<String>,
    /// Where each sink can be downloaded, relative to the server.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    pub urls: Ordered<String>,
    /// The format of each sink's files.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, ResultFormat>)]
    pub formats: Ordered<ResultFormat>,
    /// The files of each sink, in order.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, Vec<ResultFile>>)]
    pub files: Ordered<Vec<ResultFile>>,
    /// The columns of each sink.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, Vec<Column>>)]
    pub schema: Ordered<Vec<Column>>,
    /// The rows of each sink.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, u64>)]
    pub rows: Ordered<u64>,
}

impl Results {
    /// The document of a job's published results, without `urls`.
    pub fn of(job_id: &str, published: &[Published]) -> Self {
        fn by_sink<V>(published: &[Published], value: impl Fn(&Published) -> V) -> Ordered<V> {
            published.iter().map(|result| (result.sink.clone(), value(result))).collect()
        }
        let file = |file: &PublishedFile| ResultFile {
            path: file.path.display().to_string(),
            rows: file.rows,
            bytes: file.bytes,
            checksum: file.checksum.clone(),
        };
        let columns = |result: &Published| {
            let fields = result.schema.fields().iter();
            fields
                .map(|field| Column {
                    name: field.name().clone(),
                    kind: type_name(field.data_type()),
                    nullable: field.is_nullable(),
                })
                .collect()
        };
        Self {
            job_id: job_id.to_owned(),
            outputs: by_sink(published, |result| result.path.display().to_string()),
            urls: Ordered::default(),
            formats: by_sink(published, |result| ResultFormat::of(&result.format)),
            files: by_sink(published, |result| result.files.iter().map(file).collect()),
            schema: by_sink(published, columns),
            rows: by_sink(published, |result| result.rows),
        }
    }
}

/// A format in which a result can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ResultFormat {
    /// Columns joined by `, `, one row a line.
    Text,
    /// RFC 4180, with a header.
    Csv,
    /// One JSON object a line.
    Jsonl,
    /// A Parquet file.
    Parquet,
    /// An Arrow IPC file, or a stream where the request accepts that type.
    Arrow,
}

impl ResultFormat {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Text, Self::Csv, Self::Jsonl, Self::Parquet, Self::Arrow];

    /// That of a writer.
    pub fn of(format: &WriteFormat) -> Self {
        match format {
            WriteFormat::Text => Self::Text,
            WriteFormat::Csv(_) => Self::Csv,
            WriteFormat::Jsonl => Self::Jsonl,
            WriteFormat::Parquet => Self::Parquet,
            WriteFormat::Arrow | WriteFormat::ArrowStream => Self::Arrow,
        }
    }

    /// As it is written on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
        }
    }

    /// What the names of its files end with.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Text => "txt",
            Self::Csv | Self::Jsonl | Self::Parquet | Self::Arrow => self.name(),
        }
    }
}

/// A file of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResultFile {
    /// Where it is.
    pub path: String,
    /// Its rows.
    pub rows: u64,
    /// Its bytes.
    pub bytes: u64,
    /// `xxh3-128:<hex>` of its bytes.
    pub checksum: String,
}

/// A column of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, as job documents name it.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it may be null.
    pub nullable: bool,
}

/// What `POST /gc` let go of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Freed {
    /// Jobs that were forgotten.
    pub jobs: u64,
    /// Jobs that lost the typed copies of their results; the results themselves stay.
    pub results: u64,
    /// The size of what was removed, in bytes.
    pub bytes: u64,
}

/// One server-sent event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServerSentEvent {
    /// Its place, `<term>-<seq>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `job`, `stage`, `task`, `worker`, `progress`, `warning`, `reset` or `end`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// A JSON object: `time`, `job_id`, and what has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// After how many milliseconds to connect again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<u64>,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Asks for the next page, where there is one.
    pub next_cursor: Option<String>,
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Worker {
    /// Its identity, kept over its restarts.
    pub id: String,
    /// Its Flight address.
    pub address: String,
    /// Its state.
    pub state: WorkerState,
    /// The life of its process.
    pub epoch: u64,
    /// How many tasks it runs at once.
    pub slots: u32,
    /// How many it runs now.
    pub running: u32,
    /// Attempts that it finished in this life.
    pub tasks_done: u64,
    /// Attempts that failed on it in this life.
    pub tasks_failed: u64,
    /// Use of the processor, 100 a core.
    pub cpu_percent: f32,
    /// Resident memory.
    pub rss_bytes: u64,
    /// Its memory budget.
    pub budget_bytes: u64,
    /// What of the budget is reserved.
    pub reserved_bytes: u64,
    /// What its partition store holds on disk.
    pub store_disk_bytes: u64,
    /// The version of its build.
    pub version: String,
    /// Since its last poll, in seconds.
    pub last_seen_secs: f64,
    /// Its figures.
    #[serde(default)]
    pub metrics: WorkerMetrics,
}

/// The state of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum WorkerState {
    /// It takes tasks.
    Up,
    /// It is alive and gets no new tasks for a while, after failures.
    Excluded,
    /// It is about to leave and gets no new tasks.
    Draining,
    /// It was lost or has left.
    Down,
}

impl fmt::Display for WorkerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Up => "UP",
            Self::Excluded => "EXCLUDED",
            Self::Draining => "DRAINING",
            Self::Down => "DOWN",
        })
    }
}

/// What `GET /version` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// The version of the build.
    pub version: String,
    /// The version of the worker protocol.
    pub protocol: u32,
    /// The life of the master.
    pub term: u64,
}

/// What `GET /functions` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Functions {
    /// Those that job documents may name, group by group.
    pub functions: Vec<Function>,
}

/// A function that job documents may name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Other names it is known by.
    pub aliases: Vec<String>,
    /// Where it may stand.
    pub kind: FunctionKind,
    /// What it belongs to.
    pub group: String,
    /// How it is called and what it gives.
    pub signatures: Vec<String>,
    /// What it does.
    pub about: String,
    /// What it makes of nulls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nulls: Option<String>,
    /// When it fails for a row; never where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<String>,
    /// Calls with their values as text.
    pub examples: Vec<FunctionExample>,
    /// Where it differs from DuckDB's function of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differs: Option<String>,
}

/// Where a function may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FunctionKind {
    /// In any expression.
    Scalar,
    /// In `aggs`.
    Aggregate,
    /// In `with` of `window`.
    Window,
    /// In `fn` of a node.
    Form,
}

/// A call with its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FunctionExample {
    /// The call.
    pub call: String,
    /// Its value as text; empty where it stands among the rows of a window.
    pub value: String,
}

/// What `GET /health` and its kin say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok`, or `stopping`.
    pub status: String,
    /// The version of the build.
    pub version: String,
    /// Workers that take tasks.
    pub workers: u32,
}

/// An error, as RFC 9457 has it (`application/problem+json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemDocument {
    /// `/docs/errors#<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of error, in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time.
    pub detail: String,
    /// From the closed list of codes.
    pub code: String,
    /// As `detail`, for old clients.
    pub error: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// Finds the request in the log.
    pub request_id: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Where it happened.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// All that is wrong with a document.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Finding>,
}

#[cfg(test)]
mod tests {
    use super::{NodeState, Ordered};

    #[test]
    fn an_ordered_map_keeps_its_order_both_ways() {
        let text = r#"{"z":"PENDING","a":"RUNNING","m":"COMPLETED"}"#;
        let map: Ordered<NodeState> = serde_json::from_str(text).unwrap();
        assert_eq!(map.0[0], (String::from("z"), NodeState::Pending));
        assert_eq!(map.get("m"), Some(&NodeState::Completed));
        assert_eq!(serde_json::to_string(&map).unwrap(), text);
    }
}
